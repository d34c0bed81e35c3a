//! `modspace test --watch`, `--changed` and `--find-pollution`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use super::{
    harness::Run,
    testing::{command, for_each, pollution, project, test, test_with_cache},
};

/// A run that watches, and what it prints.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut all = vec!["--watch"];
        all.extend(args);
        let mut command = command("pytest", folder, &all);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("modspace starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    /// What it prints until it waits.
    fn round(&mut self) -> String {
        let mut text = String::new();
        while !text.contains("waiting for changes") {
            assert_ne!(self.lines.read_line(&mut text).expect("it is text"), 0, "it ended: {text}");
        }
        text
    }

    fn end(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill starts").success());
        self.child.wait().expect("it ends").code()
    }
}

fn watched() -> tempfile::TempDir {
    project(&[
        ("pytest.ini", "[pytest]\npythonpath = .\n"),
        ("conftest.py", ""),
        ("one.py", "value = 1\n"),
        ("two.py", "import three\nvalue = 2\n"),
        ("three.py", "value = 3\n"),
        ("test_one.py", "import one\ndef test_one(): assert one.value == 1\n"),
        ("test_two.py", "import two\ndef test_two(): assert two.three.value == 3\n"),
    ])
}

#[test]
fn files_that_import_what_changes_run_again() {
    let folder = watched();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    for jobs in ["1", "2"] {
        let mut watching = Watching::start(folder.path(), &["-v", "-j", jobs]);
        let first = watching.round();
        assert!(first.contains("2 passed"), "{first}");
        write("three.py", "value = 333\n");
        let second = watching.round();
        assert!(second.contains("test_two.py::test_two FAILED") && second.contains("1 failed in"), "{second}");
        assert!(!second.contains("test_one"), "{second}");
        write("three.py", "value = 3\n");
        let third = watching.round();
        assert!(third.contains("test_two.py::test_two PASSED") && third.contains("= 1 passed in"), "{third}");
        write("test_one.py", "import one, sys\ndef test_other(): assert one.value == 1\n");
        let fourth = watching.round();
        assert!(fourth.contains("test_one.py::test_other PASSED") && !fourth.contains("test_two"), "{fourth}");
        write("test_new.py", "def test_new(): pass\n");
        let fifth = watching.round();
        assert!(fifth.contains("test_new.py::test_new PASSED") && !fifth.contains("test_two"), "{fifth}");
        write("test_one.py", "def test_broken(:\n");
        let sixth = watching.round();
        assert!(sixth.contains("SyntaxError") && sixth.contains("1 error in"), "{sixth}");
        // All is read again.
        write("conftest.py", "def pytest_report_header(): return 'a new header'\n");
        let seventh = watching.round();
        assert!(seventh.contains("a new header") && seventh.contains("test_two.py::test_two PASSED"), "{seventh}");
        // That of the last round.
        assert_eq!(watching.end(), Some(1));
        for (name, text) in
            [("conftest.py", ""), ("test_one.py", "import one\ndef test_one(): assert one.value == 1\n")]
        {
            write(name, text);
        }
        fs::remove_file(folder.path().join("test_new.py")).expect("it is there");
    }
}

#[test]
fn files_that_import_what_changed_since_a_revision() {
    let folder = watched();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args).current_dir(folder.path());
        assert!(command.output().expect("git starts").status.success(), "git {args:?}");
    };
    let run = |args: &[&str]| -> Run { test_with_cache(folder.path(), args) };
    run(&["--changed", "HEAD"]).failed_with(4).stderr_has("--changed: ");
    git(&["init", "-q"]);
    fs::write(folder.path().join(".gitignore"), ".pytest_cache\n__pycache__\n").expect("a file");
    git(&["add", "."]);
    git(&["commit", "-qm", "all"]);
    // Nobody knows yet what files import, but nothing has changed.
    run(&["--changed", "HEAD"]).succeeded().stdout_has("no tests ran");
    run(&[]).succeeded().stdout_has("2 passed");
    fs::write(folder.path().join("three.py"), "value = 3  # as before\n").expect("a file");
    let concerned = run(&["-v", "--changed", "HEAD"]).succeeded().stdout_has("1 passed");
    assert!(concerned.stdout.contains("test_two.py::test_two PASSED"), "{}", concerned.stdout);
    // A file that git does not know.
    fs::write(folder.path().join("test_new.py"), "def test_new(): pass\n").expect("a file");
    run(&["--changed", "HEAD"]).succeeded().stdout_has("2 passed");
    git(&["add", "."]);
    git(&["commit", "-qm", "more"]);
    run(&["--changed", "HEAD~1"]).succeeded().stdout_has("2 passed");
    run(&["--changed", "--output=x"]).failed_with(4);
    run(&["--changed", "no_such"]).failed_with(4).stderr_has("--changed: git knows no revision 'no_such'");
}

#[test]
fn what_pollutes_is_found_and_named() {
    let (kinds, folder) = pollution();
    for_each(kinds, |kind| {
        let [polluter, victim] = [1, 2].map(|number| format!("test_{kind}_{number}.py"));
        let run = test(folder.path(), &["--find-pollution", &polluter, &victim]);
        assert_eq!(run.status, Some(1), "{kind}: {}{}", run.stdout, run.stderr);
        for text in [
            format!("{victim}::test_it: passed alone, failed together\n"),
            format!("because of {polluter}\n"),
            format!("{polluter} leaves\n    "),
        ] {
            assert!(run.stdout.contains(&text), "{kind}: no {text:?} in {}", run.stdout);
        }
    });
}

#[test]
fn files_that_leave_nothing_are_clean() {
    let folder = project(&[
        ("test_a.py", "import os\ndef test_it(monkeypatch): monkeypatch.setenv('A', '1')\n"),
        ("test_b.py", "import os\ndef test_it(): assert 'A' not in os.environ\ndef test_other(): assert 0\n"),
    ]);
    test(folder.path(), &["--find-pollution"])
        .succeeded()
        .stdout_has("3 tests of 2 files, apart and together")
        .stdout_has("no test has another outcome when files run together");
}

#[test]
fn two_files_that_pollute_only_together() {
    let folder = project(&[
        ("pytest.ini", "[pytest]\npythonpath = .\n"),
        ("app.py", "seen = []\nsettings = {'limit': 10}\n"),
        // As it is imported.
        ("test_a.py", "import app\napp.seen.append(1)\ndef test_it(): pass\n"),
        ("test_b.py", "def test_it(): pass\n"),
        ("test_c.py", "import app\ndef test_it(): app.seen.append(2); app.settings['limit'] = 3\n"),
        ("test_d.py", "import app\ndef test_it(): assert len(app.seen) < 2\ndef test_fine(): pass\n"),
    ]);
    test(folder.path(), &["--find-pollution"])
        .failed_with(1)
        .stdout_has("test_d.py::test_it: passed alone, failed together")
        .stdout_has("because of test_a.py and test_c.py")
        .stdout_has("    app.seen was [], and became [1]")
        .stdout_has("    app.settings['limit'] was 10, and became 3")
        .stdout_has("see it with: modspace test --python-path ")
        .stdout_has("/pytest --isolate none test_a.py test_c.py test_d.py::test_it\n");
}
