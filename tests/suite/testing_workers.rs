//! `modspace test` with worker processes.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    harness::{Run, modspace},
    testing::{command, project, test},
};

#[test]
fn a_file_that_crashes_its_worker_is_reported_and_the_others_run() {
    let folder = project(&[
        ("test_abort.py", "import os\ndef test_before(): pass\ndef test_it(): os.abort()\ndef test_after(): pass\n"),
        ("test_kill.py", "import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)\n"),
        ("test_exit.py", "import os\nos._exit(7)\n"),
        ("test_deep.py", "def deep(x): return [x for x in map(deep, [x])]\ndef test_it(): deep(1)\n"),
        ("test_last.py", "def test_it(): pass\n"),
    ]);
    let run = test(folder.path(), &["-j", "2", "-rA", "--", "--continue-on-collection-errors"]).failed_with(1);
    run.stdout_has_all(&[
        "PASSED test_abort.py::test_before",
        "PASSED test_last.py::test_it",
        "crashed: it was ended by SIGABRT (signal 6), while test_abort.py::test_it ran. Tests of the file that come after it",
        "crashed: it was ended by SIGKILL (signal 9), while test_kill.py::test_it ran.",
        "crashed: it exited with status 7 before its first test.",
        "FAILED test_kill.py::test_it",
        "ERROR test_exit.py",
    ]);
    assert!(!run.stdout.contains("test_after"), "{}", run.stdout);
}

#[test]
fn a_file_that_takes_too_long_is_ended_with_what_it_started() {
    let folder = project(&[
        (
            "test_a.py",
            "import subprocess, time\ndef test_quick(): pass\n\
             def test_endless():\n    child = subprocess.Popen(['sleep', '600'])\n    \
             open('child', 'w').write(str(child.pid))\n    while True: pass\n",
        ),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    for jobs in ["1", "2"] {
        let run = test(folder.path(), &["-j", jobs, "--timeout", "10", "-rA"]).failed_with(1);
        run.stdout_has_all(&[
            "PASSED test_a.py::test_quick",
            "PASSED test_b.py::test_it",
            "Timeout: the file was ended after 10 s, while test_a.py::test_endless ran.",
            "1 failed, 2 passed",
        ]);
        let child = fs::read_to_string(folder.path().join("child")).expect("the test wrote it");
        assert!(!is_alive(&child), "process {child} is left");
    }
}

#[test]
fn where_a_test_hangs_is_said_and_what_it_had_printed() {
    let folder = project(&[
        (
            "test_a.py",
            "import threading\ndef wait(lock):\n    with lock:\n        lock.acquire()\n\
             def test_locked():\n    print('about to wait')\n    wait(threading.Lock())\n",
        ),
        ("test_b.py", "import time\ntime.sleep(600)\n"),
        // Nobody can look into what does not let the world stop.
        ("test_c.py", "import re\ndef test_native(): re.match(r'(a+)+$', 'a' * 60 + 'b')\n"),
    ]);
    test(folder.path(), &["--timeout", "10"]).failed_with(2).stdout_has_all(&[
        "line 7, in test_locked\n    wait(threading.Lock())\n  File",
        "line 4, in wait\n    lock.acquire()\n--",
        "Captured stdout call",
        "about to wait",
        "before its first test.\n\nIt was here:\n  File",
        "test_b.py\", line 2, in <module>\n    time.sleep(600)\n",
        "while test_c.py::test_native ran.",
    ]);
}

#[test]
fn suites_do_without_temporary_directories() {
    let folder = project(&[("test_a.py", "def test_it(): pass\n"), ("test_b.py", "def test_it(): pass\n")]);
    test(folder.path(), &["-j", "2", "-p", "no:tmpdir"]).succeeded().stdout_has("2 passed");
}

/// Whether there is a process that is more than a dead child which nobody has waited for.
fn is_alive(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[test]
fn only_the_worker_itself_tells_what_becomes_of_tests() {
    let folder = project(&[
        (
            "test_fork.py",
            "import os, pytest\ndef test_child_that_goes_on():\n    child = os.fork()\n    if child == 0: raise SystemExit(5)\n    \
             os.waitpid(child, 0)\n@pytest.fixture\ndef crashing():\n    yield\n    os._exit(3)\n\
             def test_teardown(crashing): pass\n",
        ),
        ("test_other.py", "def test_it(): pass\n"),
    ]);
    let report = folder.path().join("report.json");
    let run =
        test(folder.path(), &["-j", "2", "-rA", "--timeout", "60", "--json", report.to_str().expect("it is text")]);
    let run = run.failed_with(1).stdout_has("= 3 passed, ").stdout_has(", 1 error in ");
    run.stdout_has("ERROR test_fork.py::test_teardown - The worker gw").stdout_has("PASSED test_fork.py::test_child");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).expect("it was written")).expect("it is JSON");
    assert_eq!(report["tests"].as_array().expect("a list").len(), 3);
    assert_eq!(report["summary"]["errors"], 1);
}

#[test]
fn each_file_is_in_one_part() {
    let names: Vec<String> = (0..7).map(|number| format!("test_{number}.py")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "def test_it(): pass\n")).collect();
    let folder = project(&files);
    let mut seen = BTreeSet::new();
    for part in ["1/3", "2/3", "3/3"] {
        let run = test(folder.path(), &["-j", "1", "--shard", part, "--co", "-q"]).succeeded();
        for name in run.stdout.lines().filter(|line| line.contains("::")) {
            assert!(seen.insert(name.to_owned()), "{name} is in two parts");
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    for wrong in ["0/3", "4/3", "1", "1/0", "a/b"] {
        test(folder.path(), &["--shard", wrong]).failed_with(4).stderr_has("K/N is expected");
    }
}

#[test]
fn the_first_failure_ends_the_run() {
    let wait = "import os, time\ndef wait(name):\n    while not os.path.exists(name): time.sleep(0.01)\n";
    let folder = project(&[
        ("pytest.ini", "[pytest]\npythonpath = .\n"),
        ("wait.py", wait),
        // In the run, which hears of the failure, and not in the worker.
        (
            "conftest.py",
            "import os\ndef pytest_runtest_logreport(report):\n    \
             if report.failed and 'PYTEST_XDIST_WORKER' not in os.environ: open('failed', 'w')\n",
        ),
        (
            "test_a.py",
            "from wait import wait\ndef test_it():\n    wait('begun')\n    assert 0\ndef test_other(): open('other', 'w')\n",
        ),
        (
            "test_b.py",
            "from wait import wait\ndef test_it():\n    open('begun', 'w')\n    wait('failed')\n    open('ended', 'w')\n",
        ),
        ("test_c.py", "def test_it(): open('other', 'w')\n"),
    ]);
    test(folder.path(), &["-j", "2", "-x"])
        .failed_with(1)
        .stdout_has("stopping after 1 failures")
        .stdout_has("1 failed, 1 passed");
    assert!(folder.path().join("ended").exists(), "the test that ran was not left to its end");
    assert!(!folder.path().join("other").exists(), "a test ran after the failure");
}

#[test]
fn a_crash_or_a_timeout_is_a_first_failure_too() {
    let killed = "os.kill(os.getpid(), signal.SIGKILL)";
    let other = "open('other', 'w')";
    let pytests = |body: &str| format!("import os, signal, time\ndef test_it():\n    {body}\n");
    let told = "import os\ndef pytest_runtest_logreport(report):\n    \
                if report.failed and 'PYTEST_XDIST_WORKER' not in os.environ: open('told', 'w')\n";
    let until_told = pytests("while not os.path.exists('told'): time.sleep(0.01)");
    let no_other = |files: &[(&str, &str)], args: &[&str]| {
        let folder = project(files);
        test(folder.path(), args).failed_with(1).stdout_has("stopping after 1 failures").stdout_has("1 failed");
        assert!(!folder.path().join("other").exists(), "a test ran after the failure");
    };
    let files = [
        ("conftest.py", told),
        ("test_a.py", &pytests(killed)),
        ("test_b.py", &until_told),
        ("test_c.py", &pytests(other)),
        ("test_d.py", &pytests(other)),
    ];
    no_other(&files, &["-j", "2", "-x"]);
    let files = [
        ("conftest.py", told),
        ("test_a.py", &*pytests("time.sleep(300)")),
        // They last until the first file is ended, and neither as long as it.
        ("test_b.py", &pytests("time.sleep(6)")),
        ("test_c.py", &until_told),
        ("test_d.py", &pytests(other)),
        ("test_e.py", &pytests(other)),
    ];
    no_other(&files, &["-j", "2", "-x", "--timeout", "10"]);
}

#[test]
fn a_crash_is_the_first_failure_of_unittest_too() {
    let unittests = |body: &str| {
        format!(
            "import os, signal, time, unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        {body}\n"
        )
    };
    let other = unittests("open('other', 'w')");
    let folder = project(&[
        ("test_a.py", unittests("os.kill(os.getpid(), signal.SIGKILL)").as_str()),
        ("test_b.py", unittests("time.sleep(5)").as_str()),
        ("test_c.py", other.as_str()),
        ("test_d.py", other.as_str()),
    ]);
    let mut command = modspace(["test", "--unittest", "-j", "2", "-x", "."]);
    let run: Run = command.current_dir(folder.path()).output().expect("modspace starts").into();
    run.failed_with(1);
    assert!(!folder.path().join("other").exists(), "a test ran after the failure");
}

#[test]
fn a_test_ends_the_run() {
    for (what, status, text) in [
        ("pytest.exit('enough', returncode=9)", 9, "Exit: enough"),
        ("raise KeyboardInterrupt", 2, "test_a.py:3: KeyboardInterrupt"),
    ] {
        let source = format!("import pytest\ndef test_before(): pass\ndef test_it(): {what}\n");
        let folder = project(&[("test_a.py", source.as_str()), ("test_b.py", "def test_it(): pass\n")]);
        let run = test(folder.path(), &["-j", "2", "-v"]).failed_with(status).stdout_has(text);
        assert!(run.stdout.contains("test_a.py::test_before PASSED"), "{}", run.stdout);
    }
}

fn start(folder: &Path, args: &[&str]) -> Child {
    let mut args = args.to_vec();
    args.extend(["--", "-p", "no:cacheprovider"]);
    let mut command = command("pytest", folder, &args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("modspace starts")
}

/// What is there in time.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
}

#[test]
fn control_c_ends_the_tests_and_writes_the_reports() {
    let folder = project(&[
        (
            "test_a.py",
            "import pytest, time\n@pytest.fixture\ndef kept():\n    yield\n    open('torn_down', 'w')\n\
             def test_before(): pass\n\
             def test_slow(kept):\n    open('begun', 'w')\n    time.sleep(600)\n",
        ),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    let report = folder.path().join("report.xml");
    let option = format!("--junitxml={}", report.display());
    let mut child = command("pytest", folder.path(), &["-j", "2", "--", "-p", "no:cacheprovider", "-rA", &option]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("modspace starts");
    wait_for(|| folder.path().join("begun").exists().then_some(())).expect("the test begins");
    interrupt(&child);
    let run: Run = child.wait_with_output().expect("it ends").into();
    let run = run.failed_with(2).stdout_has("KeyboardInterrupt").stdout_has("PASSED test_a.py::test_before");
    assert!(folder.path().join("torn_down").exists(), "{}{}", run.stdout, run.stderr);
    assert!(fs::read_to_string(report).expect("it was written").contains("test_before"));
}

#[test]
fn a_second_control_c_ends_all_at_once() {
    let test = |file: &str| {
        format!(
            "import os, time\ndef test_stubborn():\n    open('begun_{file}', 'w').write(str(os.getpid()))\n    while True:\n        \
             try: time.sleep(600)\n        except KeyboardInterrupt: open('again_{file}', 'w')\n"
        )
    };
    let (one, other) = (test("a"), test("b"));
    let folder = project(&[("test_a.py", one.as_str()), ("test_b.py", other.as_str())]);
    let both = |what: &str| {
        let exist = || ["a", "b"].iter().all(|file| folder.path().join(format!("{what}_{file}")).exists());
        wait_for(|| exist().then_some(())).unwrap_or_else(|| panic!("{what}, both tests"));
    };
    let child = start(folder.path(), &["-j", "2"]);
    both("begun");
    interrupt(&child);
    both("again");
    interrupt(&child);
    let run: Run = child.wait_with_output().expect("it ends").into();
    run.failed_with(2).stdout_has("KeyboardInterrupt while test_a.py::test_stubborn and test_b.py::test_stubborn ran");
    for file in ["begun_a", "begun_b"] {
        let worker = fs::read_to_string(folder.path().join(file)).expect("the test wrote it");
        assert!(!is_alive(&worker), "process {worker} is left");
    }
}

#[test]
fn workers_do_not_outlive_the_run() {
    let folder = project(&[
        (
            "test_a.py",
            "import os, time\ndef test_it():\n    open('begun', 'w').write(str(os.getpid()))\n    time.sleep(600)\n",
        ),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    let mut child = start(folder.path(), &["-j", "2"]);
    wait_for(|| fs::read_to_string(folder.path().join("begun")).ok().filter(|text| !text.is_empty()))
        .expect("it begins");
    let worker = fs::read_to_string(folder.path().join("begun")).expect("the test wrote it");
    child.kill().expect("it lives");
    child.wait().expect("it ends");
    wait_for(|| (!is_alive(&worker)).then_some(())).expect("the worker ends, too");
}

#[test]
fn the_longest_files_come_first_once_it_is_known_which_they_are() {
    let folder = project(&[
        ("test_a.py", "def test_it(): pass\n"),
        ("test_b.py", "def test_it(): pass\n"),
        ("test_c.py", "import time\ndef test_it(): time.sleep(4)\n"),
    ]);
    let run =
        || -> Run { command("pytest", folder.path(), &["-j", "2", "-v"]).output().expect("modspace starts").into() };
    let first_files = |run: &Run| {
        let names = ["test_a.py", "test_b.py", "test_c.py"];
        let place = |name: &&str| run.stdout.find(&format!("{name}::test_it")).unwrap_or(usize::MAX);
        let mut names = names.to_vec();
        names.sort_by_key(place);
        names
    };
    run().succeeded();
    // The longest one is begun first, and so done last; with it last, the other two would be done before it begins.
    let again = run().succeeded();
    assert_eq!(first_files(&again).last(), Some(&"test_c.py"), "{}", again.stdout);
    let times = fs::read_to_string(folder.path().join(".pytest_cache/v/modspace/durations")).expect("it is kept");
    let times: std::collections::BTreeMap<String, f64> = serde_json::from_str(&times).expect("it is JSON");
    assert!(times.len() == 3 && times["test_c.py"] >= 4.0, "{times:?}");
}

#[test]
fn what_needs_one_process_says_so() {
    let folder = project(&[("test_a.py", "def test_it(): pass\n"), ("test_b.py", "def test_it(): pass\n")]);
    let run = |args: &[&str]| test(folder.path(), args);
    run(&["-j", "2", "--", "--pdb"]).failed_with(4).stderr_has("--pdb needs the tests to run in one process");
    run(&["--", "--pdb"]).succeeded().stdout_has("2 passed");
    run(&["--isolate", "none", "-j", "2"]).failed_with(4).stderr_has("--isolate none");
    run(&["-j", "0"]).failed_with(4).stderr_has("a number from 1 on is expected");
    run(&["--timeout", "-1"]).failed_with(4);
    run(&["--timeout", "soon"]).failed_with(4).stderr_has("a number of seconds, more than 0, is expected");
    let alone = Command::new(env!("CARGO_BIN_EXE_modspace")).arg("test-worker").stdin(Stdio::null()).output();
    let alone: Run = alone.expect("modspace starts").into();
    alone.failed_with(4).stderr_has("there is no run of tests at the other end of standard input");
}

#[test]
fn a_terminal_shows_what_runs() {
    let folder = project(&[
        ("test_a.py", "import time\ndef test_it(): time.sleep(1)\n"),
        ("test_b.py", "import time\ndef test_it(): time.sleep(1)\ndef test_bad(): assert 0\n"),
        ("test_c.py", "def test_it(): pass\n"),
    ]);
    let command = command("pytest", folder.path(), &["-j", "2", "--", "-p", "no:cacheprovider", "--color=no"]);
    let quoted = |part: &std::ffi::OsStr| format!("'{}'", part.to_string_lossy());
    let line: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]).current_dir(folder.path());
    terminal.env("TERM", "xterm").env("COLUMNS", "80").env_remove("VIRTUAL_ENV").stdin(Stdio::null());
    let run: Run = terminal.output().expect("script starts").into();
    let run = run.failed_with(1);
    // The last state of each line: what is written over is gone.
    let lines: Vec<_> =
        run.stdout.lines().map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or_default().trim_end()).collect();
    run.stdout_has_all(&["0/3 files  test_", " s  test_", "3/3 files, 1 failed"]);
    let begin = |text: &str| lines.iter().position(|line| line.starts_with(text));
    let first = begin("test_a.py .").expect("it is there");
    assert!(lines[first].ends_with("%]"), "{}", run.stdout);
    let failures = begin("=================================== FAILURES").expect("it is there");
    // Whole lines, one for each file, and nothing of what was shown below them.
    assert_eq!(
        lines[failures - 4..failures].iter().filter(|line| line.starts_with("test_")).count(),
        3,
        "{}",
        run.stdout
    );
}
