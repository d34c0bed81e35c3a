//! `modspace test`: real pytest, each test file in a space of its own.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command, sync::Mutex, thread};

use super::harness::{Run, modspace, packages, root};

/// `modspace test` in a directory, with the pinned pytest, in one process unless the arguments say more. Nothing of earlier runs
/// is in what it says.
pub fn test(folder: &Path, args: &[&str]) -> Run {
    let mut args = args.to_vec();
    if !args.contains(&"--") {
        args.push("--");
    }
    args.extend(["-p", "no:cacheprovider"]);
    test_with_cache(folder, &args)
}

/// [`test`], with what the last run left in the directory.
pub fn test_with_cache(folder: &Path, args: &[&str]) -> Run {
    test_under("pytest", folder, args)
}

fn test_under(pytest: &str, folder: &Path, args: &[&str]) -> Run {
    let mut args = args.to_vec();
    if !args.contains(&"-j") {
        args.splice(0..0, ["-j", "1"]);
    }
    command(pytest, folder, &args).output().expect("modspace starts").into()
}

/// The program for it. Bytecode is kept: to compile pytest each time would take longer than most runs.
pub fn command(pytest: &str, folder: &Path, args: &[&str]) -> Command {
    let mut command = modspace(["test", "--python-path"]);
    command.arg(packages(pytest)).args(args).current_dir(folder);
    command.env_remove("VIRTUAL_ENV").env_remove("PYTHONDONTWRITEBYTECODE");
    command
}

pub fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it is in the folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }
    folder
}

/// What became of each test, by the short summary.
fn summary(run: &Run) -> Vec<String> {
    const OUTCOMES: [&str; 6] = ["PASSED ", "FAILED ", "SKIPPED ", "XFAIL ", "ERROR ", "SUBFAILED"];
    let is_outcome = |line: &&str| OUTCOMES.iter().any(|outcome| line.starts_with(outcome));
    let mut lines: Vec<String> = run.stdout.lines().filter(is_outcome).map(str::to_owned).collect();
    lines.sort();
    assert!(lines.len() > 1, "{}\n{}", run.stdout, run.stderr);
    lines
}

#[test]
fn everything_is_as_in_plain_pytest() {
    is_as_in_plain("pytest");
}

#[test]
fn everything_is_as_in_plain_pytest_8() {
    is_as_in_plain("pytest8");
}

/// Whether isolated runs, in one process and in workers, have the outcomes that plain pytest has.
#[track_caller]
fn is_as_in_plain(pytest: &str) {
    let folder = root().join("tests/fixtures/test_features");
    let options =
        ["--", "-rA", "-p", "no:cacheprovider", "-p", "pytester", "--doctest-modules", "--doctest-glob=*.txt"];
    let [plain, isolated, by_workers] = [["none", "1"], ["file", "1"], ["file", "2"]].map(|[isolate, jobs]| {
        let mut args = vec!["--isolate", isolate, "-j", jobs];
        args.extend(options);
        test_under(pytest, &folder, &args)
            .failed_with(1)
            .stdout_has("the header of conftest.py")
            .stdout_has("the summary of conftest.py")
    });
    // One test is about what the other file did.
    let but_that = |run: &Run| {
        let lines = summary(run)
            .into_iter()
            .filter(|line| !line.contains("nothing_of_the_other") && !line.contains(" failed, "));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(but_that(&plain), but_that(&isolated));
    assert_eq!(summary(&isolated), summary(&by_workers));
    assert!(isolated.stdout.contains("PASSED sub/test_b.py::test_nothing_of_the_other_file"), "{}", isolated.stdout);
    for text in
        ["E       AssertionError: assert {'x': 1} == {'x': 2}", "what it printed", "what it printed at last", "[100%]"]
    {
        assert!(isolated.stdout.contains(text), "{}", isolated.stdout);
    }
}

#[test]
fn selections_are_those_of_pytest() {
    let folder = root().join("tests/fixtures/test_features");
    for (args, status, last) in [
        (&["-k", "parametrized"][..], 0, "3 passed, 32 deselected"),
        (&["-m", "slow"], 0, "1 passed, 34 deselected"),
        (&["test_a.py::TestClass", "sub/test_b.py::test_fixtures_of_both"], 0, "3 passed"),
        (&["test_a.py::test_parametrized[2]"], 0, "1 passed"),
        (&["-x", "test_a.py", "pkg"], 1, "1 failed, "),
        (&["-k", "nothing_has_this_name"], 5, "35 deselected"),
    ] {
        let mut args = args.to_vec();
        args.extend(["--", "-p", "pytester"]);
        test(&folder, &args).failed_with(status).stdout_has(last);
    }
    let listed = test(&folder, &["--co", "-q", "--", "-p", "pytester"]).succeeded();
    for name in
        ["pkg/test_c.py::test_relative_import", "sub/test_b.py::Cases::test_parts", "test_a.py::test_parametrized[3]"]
    {
        assert!(listed.stdout.lines().any(|line| line == name), "{}", listed.stdout);
    }
}

#[test]
fn tests_that_failed() {
    let folder = project(&[
        ("test_a.py", "def test_good(): pass\n"),
        ("test_b.py", "def test_good(): pass\ndef test_bad(): assert 0\n"),
    ]);
    let run = |args: &[&str]| test_with_cache(folder.path(), args);
    run(&[]).failed_with(1).stdout_has("1 failed, 2 passed");
    let first = run(&["--ff", "-v"]).failed_with(1).stdout_has("1 failed, 2 passed");
    let place = |name: &str| first.stdout.find(name).unwrap_or_else(|| panic!("no {name} in {}", first.stdout));
    assert!(place("test_b.py::test_bad") < place("test_b.py::test_good"), "{}", first.stdout);
    assert!(place("test_b.py::test_good") < place("test_a.py::test_good"), "{}", first.stdout);
    run(&["--lf"]).failed_with(1).stdout_has("= 1 failed in ");
    fs::write(folder.path().join("test_b.py"), "def test_bad(): pass\n").expect("a file");
    run(&["--lf"]).succeeded().stdout_has("1 passed");
    run(&["--lf"]).succeeded().stdout_has("2 passed");
}

#[test]
fn import_modes() {
    let folder = root().join("tests/fixtures/test_features");
    // Two files `conftest.py` outside of packages are one module in this mode, in plain pytest, too.
    test(&folder, &["pkg", "--", "-p", "pytester", "--import-mode=append"]).succeeded().stdout_has("2 passed");
    for mode in ["prepend", "importlib"] {
        let mode = format!("--import-mode={mode}");
        let args = ["pkg", "sub/test_b.py::test_fixtures_of_both", "--", "-p", "pytester", &mode];
        test(&folder, &args).succeeded().stdout_has("3 passed");
    }
}

#[test]
fn classes_and_tests_may_have_modules_of_their_own() {
    let folder = project(&[
        ("app.py", "state = []\n"),
        ("pytest.ini", "[pytest]\npythonpath = .\n"),
        (
            "test_a.py",
            "import app\ndef look():\n    app.state.append(1)\n    return len(app.state)\n\
             def test_one(): assert look() == 1\ndef test_two(): assert look() == 1\n\
             class TestA:\n    def test_one(self): assert look() == 1\n    def test_two(self): assert look() == 1\n",
        ),
    ]);
    for (isolate, last) in [("file", "3 failed, 1 passed"), ("class", "2 failed, 2 passed"), ("test", "4 passed")] {
        test(folder.path(), &["--isolate", isolate]).stdout_has(last);
    }
}

#[derive(serde::Deserialize)]
struct Pollution {
    leaves: String,
    looks: String,
}

const APP: &str = "\
import contextvars, functools
state = []
variable = contextvars.ContextVar('variable', default=1)
def f(): return 1
class C: limit = 1
@functools.lru_cache
def cached(number): return number
";

/// All kinds, and a folder with a test of each that leaves something, `test_KIND_1.py`, and one that looks, `test_KIND_2.py`.
pub fn pollution() -> (Vec<String>, tempfile::TempDir) {
    let text = fs::read_to_string(root().join("tests/fixtures/pollution.toml")).expect("it is readable");
    let kinds: BTreeMap<String, Pollution> = toml::from_str(&text).expect("it is well formed");
    let folder = project(&[("app.py", APP), ("pytest.ini", "[pytest]\npythonpath = .\n")]);
    for (name, kind) in &kinds {
        for (number, body) in [(1, &kind.leaves), (2, &kind.looks)] {
            let mut source = "def test_it():\n".to_owned();
            for line in body.lines() {
                writeln!(source, "    {line}").expect("a string takes it");
            }
            fs::write(folder.path().join(format!("test_{name}_{number}.py")), source).expect("a file");
        }
    }
    (kinds.into_keys().collect(), folder)
}

#[test]
fn no_file_sees_what_another_left() {
    let (kinds, folder) = pollution();
    assert!(kinds.len() >= 30);
    let mut files: Vec<_> =
        kinds.iter().flat_map(|kind| [1, 2].map(|number| format!("test_{kind}_{number}.py"))).collect();
    for jobs in ["1", "2", "3"] {
        let args: Vec<_> = ["-j", jobs].into_iter().chain(files.iter().map(String::as_str)).collect();
        let passed = format!("{} passed", files.len());
        test(folder.path(), &args).succeeded().stdout_has(&passed);
        files.reverse();
    }
}

#[test]
fn the_same_files_disturb_each_other_in_plain_pytest() {
    let (kinds, folder) = pollution();
    for_each(kinds, |kind| {
        let files = [format!("test_{kind}_1.py"), format!("test_{kind}_2.py")];
        let run = test(folder.path(), &["--isolate", "none", &files[0], &files[1]]);
        run.failed_with(1).stdout_has("1 failed, 1 passed");
    });
}

/// Does something for each kind, two at a time.
pub fn for_each(kinds: Vec<String>, act: impl Fn(String) + Sync) {
    let waiting = Mutex::new(kinds);
    let next = || waiting.lock().expect("nobody panics with it").pop();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(kind) = next() {
                    act(kind);
                }
            });
        }
    });
}

#[test]
fn what_pytest_sees_to() {
    let folder = project(&[
        (
            "conftest.py",
            "import pathlib\npytest_plugins = ['plugin']\n\
                         def pytest_sessionfinish(session, exitstatus):\n    \
                         with open(session.path / 'status', 'a') as file: file.write(str(int(exitstatus)))\n",
        ),
        ("plugin.py", "import pytest\n@pytest.fixture\ndef answer(): return 42\n"),
        (
            "test_a.py",
            "import argparse, pytest, threading, warnings\nwarnings.warn('at import')\n\
                       def test_plugin(answer): assert answer == 42\n\
                       @pytest.mark.nobody_knows\n\
                       def test_program(): assert argparse.ArgumentParser().prog == 'pytest'\n",
        ),
        (
            "test_b.py",
            "import threading\nclass Bad:\n    def __del__(self): 1 / 0\n\
                       def test_thread():\n    thread = threading.Thread(target=lambda: 1 / 0)\n    thread.start()\n    thread.join()\n\
                       def test_finalizer(): Bad()\n",
        ),
    ]);
    test(folder.path(), &["test_a.py"])
        .succeeded()
        .stdout_has("2 passed, 2 warnings")
        .stdout_has("UserWarning: at import");
    test(folder.path(), &["test_b.py"]).succeeded().stdout_has("PytestUnhandledThreadExceptionWarning");
    fs::remove_file(folder.path().join("status")).expect("it was written");
    fs::write(folder.path().join("test_c.py"), "def test_it(): pass\n").expect("a file");
    let args = ["test_b.py", "test_c.py", "--", "-W", "error"];
    test(folder.path(), &args).failed_with(1).stdout_has("2 failed, 1 passed");
    // Of the two files, and of the run.
    assert_eq!(fs::read_to_string(folder.path().join("status")).expect("it was written"), "101");
    let listed = test(folder.path(), &["--isolate", "test", "--co", "-q"]).succeeded();
    assert_eq!(listed.stdout.matches("test_a.py::test_plugin").count(), 1, "{}", listed.stdout);
}

#[test]
fn assertions_may_be_left_as_they_are() {
    let project = project(&[("conftest.py", "x = 1"), ("test_one.py", "def test_one():\n    assert 1 == 2")]);
    let plain = |args: &[&str]| test(project.path(), args).failed_with(1).stdout_has("1 failed").stdout;
    assert!(plain(&[]).contains("assert 1 == 2"));
    for args in [&["--", "--assert=plain"][..], &["--", "-p", "no:assertion"]] {
        assert!(!plain(args).contains("E       assert 1 == 2"));
    }
}

#[test]
fn tests_may_start_python() {
    let text = "\
import subprocess, sys
def test_code():
    command = [sys.executable, '-bb', '-c', 'import sys; print(sys.argv)', 'a']
    assert subprocess.check_output(command, text=True) == \"['-c', 'a']\\n\"
def test_module():
    command = [sys.executable, '-m', 'json.tool', '--compact']
    assert subprocess.check_output(command, input='[1, 2]', text=True) == '[1,2]\\n'
def test_script(tmp_path):
    script = tmp_path / 'script'
    script.write_text('print(__name__)')
    assert subprocess.check_output([sys.executable, script], text=True) == '__main__\\n'
";
    let project = project(&[("test_programs.py", text)]);
    test(project.path(), &[]).succeeded().stdout_has("3 passed");
}

#[test]
fn what_was_put_back_is_told() {
    let folder = project(&[(
        "test_a.py",
        "import os, logging\ndef test_it():\n    os.environ['ODD'] = os.environ['TZ'] = '1'\n    os.chdir('/')\n    \
         logging.getLogger('x').setLevel(10)\n",
    )]);
    test(folder.path(), &["-v"])
        .succeeded()
        .stdout_has("put back after test files")
        .stdout_has("test_a.py: os.environ['ODD'] was set")
        .stdout_has("test_a.py: os.environ['TZ'] was ")
        .stdout_has("test_a.py: the current directory became '/'")
        .stdout_has("test_a.py: logging 'x' level was 0, and became 10");
}

#[test]
fn attributes_are_put_back_each_time() {
    const CHANGES: &str = "import unittest, logging\ndef test_it():\n    \
                           logging.BASIC_FORMAT = logging.Handler.level = unittest.TestCase.maxDiff = 1\n    \
                           del unittest.TestCase.assertTrue\n";
    const LOOKS: &str = "import unittest, logging\ndef test_it():\n    \
                         assert logging.BASIC_FORMAT != 1 and not hasattr(logging.Handler, 'level')\n    \
                         assert unittest.TestCase.maxDiff == 640 and unittest.TestCase.assertTrue\n";
    let folder = project(&[
        ("test_a.py", LOOKS),
        ("test_b.py", CHANGES),
        ("test_c.py", LOOKS),
        ("test_d.py", CHANGES),
        ("test_e.py", LOOKS),
    ]);
    let run = test(folder.path(), &["-v"]).succeeded();
    for file in ["test_b.py", "test_d.py"] {
        for what in [
            "logging.BASIC_FORMAT was changed",
            "logging.Handler.level was added",
            "unittest.case.TestCase.maxDiff was changed",
            "unittest.case.TestCase.assertTrue was deleted",
        ] {
            let line = format!("{file}: {what}");
            assert_eq!(run.stdout.matches(&line).count(), 1, "{line} in {}", run.stdout);
        }
    }
}

#[test]
fn what_a_file_loads_for_all_is_put_back_after_it() {
    const CHANGES: &str = "import logging.handlers, unittest.mock\ndef test_it():\n    \
                           unittest.mock.Mock.late = logging.handlers.DEFAULT_TCP_LOGGING_PORT = 1\n    \
                           unittest.mock.DEFAULT = None\n";
    const LOOKS: &str = "import logging.handlers, unittest.mock, sys\ndef test_it():\n    \
                         assert logging.handlers.DEFAULT_TCP_LOGGING_PORT == 9020\n    \
                         assert not hasattr(unittest.mock.Mock, 'late') and unittest.mock.DEFAULT\n    \
                         with unittest.mock.patch('test_b.sys', 7):\n        import test_b\n        assert test_b.sys == 7\n";
    let folder = project(&[("test_a.py", CHANGES), ("test_b.py", LOOKS), ("test_c.py", CHANGES)]);
    let run = test(folder.path(), &["-v"]).succeeded();
    for file in ["test_a.py", "test_c.py"] {
        for what in [
            "logging.handlers.DEFAULT_TCP_LOGGING_PORT was changed",
            "unittest.mock.Mock.late was added",
            "unittest.mock.DEFAULT was changed",
        ] {
            let line = format!("{file}: {what}");
            assert_eq!(run.stdout.matches(&line).count(), 1, "{line} in {}", run.stdout);
        }
    }
}

#[test]
fn what_is_loaded_for_all_files_is_imported_by_the_test() {
    let folder = project(&[
        (
            "lib/helping.py",
            "import sys, warnings\nwarnings.warn('who', stacklevel=2)\nframe = sys._getframe(1)\n\
             while 'importlib' in frame.f_code.co_filename: frame = frame.f_back\nby = frame.f_code.co_filename\n",
        ),
        ("lib/broken.py", "1 / 0\n"),
        (
            "test_a.py",
            "import traceback, warnings\n\
             def test_warning():\n    with warnings.catch_warnings(record=True) as caught:\n        \
             warnings.simplefilter('always')\n        import helping\n    \
             assert [each.filename for each in caught] == [__file__]\n    assert helping.by == __file__\n\
             def test_traceback():\n    try: import broken\n    except ZeroDivisionError as error: \
             entries = traceback.extract_tb(error.__traceback__)\n    \
             assert [each.filename.rpartition('/')[2] for each in entries] == ['test_a.py', 'broken.py']\n",
        ),
    ]);
    let options = ["-j", "1", "--python-path", "lib", "--share", "helping", "--share", "broken"];
    test(folder.path(), &options).succeeded().stdout_has("2 passed");
}

#[test]
fn an_import_function_that_a_test_had_is_not_kept() {
    let folder = project(&[(
        "test_a.py",
        "import builtins, os, pytest\n\
         def test_blocked(monkeypatch):\n    plain = builtins.__import__\n    \
         def blocked(name, *args):\n        if name == 'json': raise ImportError('no json')\n        return plain(name, *args)\n    \
         monkeypatch.setattr(builtins, '__import__', blocked)\n    \
         monkeypatch.setattr('os.path.sep', '|')\n    pytest.importorskip('csv')\n\
         def test_after(monkeypatch):\n    assert pytest.importorskip('json')\n    monkeypatch.setattr('json.dumps', None)\n",
    )]);
    for pytest in ["pytest", "pytest8"] {
        test_under(pytest, folder.path(), &["--", "-p", "no:cacheprovider"]).succeeded().stdout_has("2 passed");
    }
}

#[test]
fn what_is_rewritten_again_and_again_is_kept_where_no_bytecode_is_written() {
    const LOOKS: &str = "def test_it(value): assert value() == ";
    let (before, after) = (format!("{LOOKS}1\n"), format!("{LOOKS}2\n"));
    let changes = format!(
        "{before}def test_change(request):\n    conftest = request.path.parent / 'conftest.py'\n    \
         conftest.write_text(conftest.read_text().replace('return 1', 'return 2'))\n"
    );
    let folder = project(&[
        (
            "counting.py",
            "from _pytest.assertion import rewrite\nplain = rewrite.rewrite_asserts\n\
             def counted(tree, source, path, *rest):\n    print('rewrote', path.rpartition('/')[2])\n    \
             return plain(tree, source, path, *rest)\nrewrite.rewrite_asserts = counted\n",
        ),
        (
            "conftest.py",
            "import pytest\ndef number():\n    return 1\n@pytest.fixture\ndef value():\n    \
             with pytest.raises(AssertionError, match='where 7 = len'): assert len('seven..') == 8\n    return number\n",
        ),
        ("test_a.py", &before),
        ("test_b.py", &before),
        ("test_c.py", &changes),
        ("test_d.py", &after),
        ("test_e.py", &after),
        ("test_f.py", &after),
    ]);
    let site = folder.path().to_string_lossy().into_owned();
    let arguments = ["--python-path", &site, "-s", "-j", "1", "--", "-p", "counting", "-p", "no:cacheprovider"];
    let mut command = command("pytest", folder.path(), &arguments);
    let run: Run = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("modspace starts").into();
    let run = run.succeeded().stdout_has("7 passed");
    // Twice for each content: the first time is when pytest starts.
    assert_eq!(run.stdout.matches("rewrote conftest.py").count(), 4, "{}", run.stdout);
    assert_eq!(run.stdout.matches("rewrote test_").count(), 6, "{}", run.stdout);
}

#[test]
fn plugins_may_wrap_what_imports_tests() {
    let folder = project(&[
        (
            "wrapping.py",
            "import time\nfrom _pytest.assertion import rewrite\n\
             def wrap(plain):\n    def call(*args):\n        begun = time.monotonic()\n        try: return plain(*args)\n        \
             finally: print('took', time.monotonic() - begun >= 0)\n    return call\n\
             rewrite.AssertionRewritingHook.find_spec = wrap(rewrite.AssertionRewritingHook.find_spec)\n\
             rewrite._should_repr_global_name = wrap(rewrite._should_repr_global_name)\n",
        ),
        ("test_a.py", "def test_it(): assert 1\n"),
    ]);
    let site = folder.path().to_string_lossy().into_owned();
    test(folder.path(), &["--python-path", &site, "-s", "--", "-p", "wrapping"]).succeeded().stdout_has("took True");
}

#[test]
fn the_allocators_option_has_its_number() {
    // The program knows it by its number in `mimalloc.h`; another number would have another value.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: it reads a number.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 1000);
    }
}

#[test]
fn what_stays_is_told() {
    let folder = project(&[
        (
            "test_a.py",
            "import threading, time, xml.etree.ElementTree\nbegun = threading.Event()\n\
             def stay():\n    begun.set()\n    while True: time.sleep(30)\n\
             def test_it():\n    threading.Thread(target=stay, name='stayer', daemon=True).start()\n    begun.wait()\n",
        ),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    let run = test(folder.path(), &["-v", "--leaks"]).succeeded();
    run.stdout_has_all(&[
        "test_a.py: thread 'stayer' runs on, in stay, ",
        "test_a.py:5, started in test_it, ",
        "test_a.py:7\n",
        "space \"test_a.py\": ",
        "thread \"stayer\" is still inside:",
    ]);
    assert_eq!(run.stderr, "");
    let run = test(folder.path(), &["--leaks", "test_b.py"]).succeeded().stdout_has("nothing is left of 1 file");
    assert_eq!(run.stderr, "");
}

#[test]
fn what_tests_leave_dies_in_silence() {
    let folder = project(&[
        (
            "test_a.py",
            "import io, pytest, weakref\nclass Closed(io.TextIOWrapper):\n    def close(self): pass\n\
             kept = Closed(io.BytesIO())\nclass Mark: pass\n\
             def test_it():\n    closed = Closed(io.BytesIO())\n    closed.me = closed\n    weakref.WeakSet.__mark__ = Mark()\n    assert 0\n",
        ),
        (
            "test_b.py",
            "import ctypes, pytest\nclass Odd(ctypes.BigEndianStructure): _fields_ = [('a', ctypes.c_int)]\n\
             pytest.kept = Odd\ndef test_it(): pass\n",
        ),
    ]);
    let run = test(folder.path(), &["--leaks", "-W", "error"]).failed_with(1).stdout_has("1 failed, 1 passed");
    assert_eq!(run.stderr, "");
}

#[test]
fn bad_input() {
    let folder = project(&[
        ("test_good.py", "def test_good(): pass\n"),
        ("test_syntax.py", "def test_bad(:\n"),
        ("test_import.py", "import no_such_module\n"),
        ("test_exit.py", "import sys\nsys.exit(3)\n"),
        ("none/nothing.py", ""),
        ("broken/conftest.py", "1 / 0\n"),
        ("broken/test_a.py", "def test_a(): pass\n"),
        (
            "output/test_bytes.py",
            "import sys, os\ndef test_it():\n    os.write(1, b'\\xff\\xfe')\n    sys.stdout.write('no end')\n    assert 0\n",
        ),
    ]);
    let run = |args: &[&str]| test(folder.path(), args);
    run(&["none"]).failed_with(5).stdout_has("no tests ran");
    run(&["no_such_file.py"]).failed_with(4).stderr_has("file or directory not found: no_such_file.py");
    run(&["test_good.py::test_other"]).failed_with(4).stderr_has("not found: ");
    // All other files are run.
    let errors = run(&["test_good.py", "test_syntax.py", "test_import.py"]).failed_with(2);
    errors.stdout_has_all(&[
        "SyntaxError",
        "No module named 'no_such_module'",
        "1 passed, 2 errors",
        "Interrupted: 2 errors during collection",
    ]);
    assert!(!errors.stdout.contains("modspace.testing"), "{}", errors.stdout);
    run(&["broken"]).failed_with(4).stderr_has("ZeroDivisionError: division by zero");
    run(&["output"]).failed_with(1).stdout_has("no end");
    run(&["test_good.py", "--", "--no-such-option"]).failed_with(4).stderr_has("--no-such-option");
    let without = |args: &[&str]| -> Run {
        modspace(args).current_dir(folder.path()).env_remove("VIRTUAL_ENV").output().expect("modspace starts").into()
    };
    without(&["test"])
        .failed_with(4)
        .stderr_has("modspace test: there is no pytest in this environment; install it there, name");
    without(&["test", "--venv", "none"])
        .failed_with(4)
        .stderr_has("--venv none")
        .stderr_has("is no virtual environment");
    without(&["test", "--python-path", "nowhere"]).failed_with(4).stderr_has("there is no such directory");
    without(&["test", "--isolate", "much"]).failed_with(4).stderr_has("[possible values: file, class, test, none]");
}

/// The suites of packages that nobody here wrote; those that take long are left to `tests/real/suites.py`.
#[test]
fn suites_of_packages_have_the_outcomes_of_plain_pytest() {
    let suites = ["markupsafe", "itsdangerous", "iniconfig", "pluggy", "jinja2", "zope.interface"];
    let mut command = Command::new("python3");
    command.arg(root().join("tests/real/suites.py")).args(["--modspace", env!("CARGO_BIN_EXE_modspace")]);
    let run: Run = command.args(suites).output().expect("python3 starts").into();
    let run = run.succeeded();
    assert_eq!(run.stdout.matches("; 0 differ, 0 of them for no known reason").count(), suites.len(), "{}", run.stdout);
}

#[test]
fn projects_that_are_installed_in_place_are_found() {
    let folder = project(&[
        ("source/app.py", "import sys\nloaded = sys.modules.setdefault('loaded', [])\n"),
        (
            "venv/lib/python3.14/site-packages/app.pth",
            "# a comment\n../../../../source\nimport sys; sys.exit(9)\nnowhere\n",
        ),
        ("venv/lib/python3.14/site-packages/other.pth", "import __editable___other_finder\n"),
        ("test_a.py", "import app\ndef test_it():\n    app.loaded.append(1)\n    assert app.loaded == [1]\n"),
        ("test_b.py", "import app\ndef test_it():\n    app.loaded.append(1)\n    assert app.loaded == [1]\n"),
    ]);
    let site = folder.path().join("venv/lib/python3.14/site-packages");
    for entry in fs::read_dir(packages("pytest")).expect("it is there").flatten() {
        std::os::unix::fs::symlink(entry.path(), site.join(entry.file_name())).expect("a link");
    }
    let mut command = modspace(["test", "-j", "1", "-p", "no:cacheprovider"]);
    command.current_dir(folder.path()).env("VIRTUAL_ENV", folder.path().join("venv"));
    let run: Run = command.output().expect("modspace starts").into();
    run.succeeded()
        .stdout_has("2 passed")
        .stderr_has("other.pth")
        .stderr_has("name the project's directory in PYTHONPATH");
}

#[test]
fn what_the_standard_library_completes_as_it_is_loaded_stays() {
    let source = "import array, ast, collections.abc\ndef test_it():\n    assert ast.Tuple.dims\n    \
                  assert isinstance(array.array('i'), collections.abc.MutableSequence)\n";
    let folder = project(&[("test_a.py", source), ("test_b.py", source)]);
    let run = test(folder.path(), &["-v"]).succeeded().stdout_has("2 passed");
    assert!(!run.stdout.contains("was added") && !run.stdout.contains("registered"), "{}", run.stdout);
}
