//! What `modspace test` shows, word for word.

use std::{path::Path, process::Command};

use super::{
    harness::{Run, modspace, packages},
    testing::{command, project},
};

/// A line as it is compared: without its time, and so without the width of its rule, which depends on that.
fn without_time(line: &str) -> String {
    let line = line.trim_end();
    let Some((before, after)) = line.rsplit_once(" in ") else { return line.to_owned() };
    let time = after.trim_end_matches(['=', ' ']).split(" (").next().unwrap_or_default();
    if time.strip_suffix('s').is_none_or(|number| number.parse::<f64>().is_err()) {
        return line.to_owned();
    }
    if before.starts_with('=') {
        format!("={} in TIME =", before.trim_start_matches('='))
    } else {
        format!("{before} in TIME")
    }
}

/// A text as it is compared: of no place, time, version or worker, and with the lines of files in the order of their names, though
/// workers are done with them in any order; what is done by then stays where it was.
fn shown(text: &str, folder: &Path) -> String {
    let place = folder.canonicalize().expect("it is there");
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let text = text.replace(&*packages("pytest").to_string_lossy(), "PACKAGES");
    let text = text.replace(&*place.to_string_lossy(), "FOLDER").replace(&format!("<Dir {name}>"), "<Dir FOLDER>");
    let lines = text.lines().map(without_time).map(|line| match line.split_once("The worker gw") {
        // A number of one digit: no test has more workers.
        Some((before, after)) => format!("{before}The worker gwN{}", &after[1..]),
        None if line.starts_with("platform ") => "platform VERSIONS".to_owned(),
        None => line,
    });
    let mut lines: Vec<_> = lines.collect();
    let is_progress = |line: &String| line.starts_with("test_") && line.ends_with("%]");
    if let Some(begin) = lines.iter().position(is_progress) {
        let end = lines[begin..].iter().position(|line| !is_progress(line)).map_or(lines.len(), |count| begin + count);
        let split = |line: &String| line.rsplit_once('[').map(|(name, done)| (name.to_owned(), done.to_owned()));
        let (mut names, done): (Vec<_>, Vec<_>) = lines[begin..end].iter().filter_map(split).unzip();
        names.sort();
        for (line, (name, done)) in lines[begin..end].iter_mut().zip(names.into_iter().zip(done)) {
            *line = format!("{name}[{done}");
        }
    }
    lines.join("\n").trim_matches('\n').to_owned()
}

/// What the environment says of a terminal, and of machines for which pytest shortens nothing, is not heard.
pub(super) fn plainly(command: &mut Command) -> Run {
    for name in ["CI", "BUILD_NUMBER", "FORCE_COLOR", "PY_COLORS", "PYTEST_ADDOPTS", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    command.env("COLUMNS", "80").output().expect("modspace starts").into()
}

pub(super) fn run(folder: &Path, args: &[&str]) -> Run {
    let mut args = args.to_vec();
    if !args.contains(&"--") {
        args.push("--");
    }
    args.extend(["-p", "no:cacheprovider"]);
    plainly(&mut command("pytest", folder, &args))
}

#[track_caller]
pub(super) fn is_shown(run: &Run, folder: &Path, status: i32, stdout: &str, stderr: &str) {
    for (name, text, expected) in [("stdout", &run.stdout, stdout), ("stderr", &run.stderr, stderr)] {
        let (text, expected) = (shown(text, folder), expected.trim_matches('\n'));
        assert!(text == expected, "{name} is\n{text}\n\nand not\n{expected}\n\nstderr:\n{}", run.stderr);
    }
    assert_eq!(run.status, Some(status), "{}", run.stdout);
}

/// Runs files with the arguments in one process and in two: both show this on standard output, and nothing on standard error.
#[track_caller]
pub(super) fn shows(files: &[(&str, &str)], args: &[&str], status: i32, stdout: &str) {
    for jobs in ["1", "2"] {
        shows_with(jobs, files, args, status, stdout);
    }
}

#[track_caller]
pub(super) fn shows_with(jobs: &str, files: &[(&str, &str)], args: &[&str], status: i32, stdout: &str) {
    let folder = project(files);
    let all = [&["-j", jobs][..], args].concat();
    is_shown(&run(folder.path(), &all), folder.path(), status, stdout, "");
}

pub(super) const GOOD: [(&str, &str); 2] = [
    ("test_a.py", "def test_one(): pass\n"),
    ("test_b.py", "class TestIt:\n    def test_two(self): pass\n    def test_three(self): pass\n"),
];

#[test]
fn all_pass() {
    shows(
        &GOOD,
        &[],
        0,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .                                                              [ 50%]
test_b.py ..                                                             [100%]

= 3 passed in TIME =
",
    );
    shows(
        &GOOD,
        &["-q"],
        0,
        r"
...                                                                      [100%]
3 passed in TIME
",
    );
    shows_with(
        "1",
        &GOOD,
        &["-v"],
        0,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER
collecting ... 2 files

test_a.py::test_one PASSED                                               [ 50%]
test_b.py::TestIt::test_three PASSED                                     [ 50%]
test_b.py::TestIt::test_two PASSED                                       [100%]

= 3 passed in TIME =
",
    );
}

#[test]
fn only_what_there_is() {
    shows(
        &GOOD[1..],
        &["--co"],
        0,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

<Dir FOLDER>
  <Module test_b.py>
    <Class TestIt>
      <Function test_two>
      <Function test_three>

= 2 tests collected in TIME =
",
    );
    shows(
        &GOOD,
        &["--co", "-q"],
        0,
        r"
test_a.py::test_one
test_b.py::TestIt::test_two
test_b.py::TestIt::test_three

3 tests collected in TIME
",
    );
    shows(
        &GOOD,
        &["-q", "-k", "two or three", "-m", "not slow"],
        0,
        r"
..                                                                       [100%]
2 passed, 1 deselected in TIME
",
    );
}

#[test]
fn a_failure() {
    let source = "def test_fine(): pass\ndef test_diff():\n    one = {'a': 1, 'b': [1, 2]}\n    print('said')\n    \
                  assert one == {'a': 1, 'b': [1, 3]}\n";
    shows(
        &[("test_a.py", "def test_it(): pass\n"), ("test_b.py", source)],
        &[],
        1,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .                                                              [ 50%]
test_b.py .F                                                             [100%]

=================================== FAILURES ===================================
__________________________________ test_diff ___________________________________

    def test_diff():
        one = {'a': 1, 'b': [1, 2]}
        print('said')
>       assert one == {'a': 1, 'b': [1, 3]}
E       AssertionError: assert {'a': 1, 'b': [1, 2]} == {'a': 1, 'b': [1, 3]}
E
E         Omitting 1 identical items, use -vv to show
E         Differing items:
E         {'b': [1, 2]} != {'b': [1, 3]}
E         Use -v to get more diff

test_b.py:5: AssertionError
----------------------------- Captured stdout call -----------------------------
said
=========================== short test summary info ============================
FAILED test_b.py::test_diff - AssertionError: assert {'a': 1, 'b': [1, 2]} ==...
= 1 failed, 2 passed in TIME =
",
    );
}

#[test]
fn the_first_failure_ends_it() {
    let source = "def test_fine(): pass\ndef test_bad(): assert 0\ndef test_after(): pass\n";
    // Of two processes, the other one may have run its file meanwhile.
    shows_with(
        "1",
        &[("test_a.py", source), ("test_b.py", "def test_it(): pass\n")],
        &["-x"],
        1,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .F

=================================== FAILURES ===================================
___________________________________ test_bad ___________________________________

>   def test_bad(): assert 0
                    ^^^^^^^^
E   assert 0

test_a.py:2: AssertionError
=========================== short test summary info ============================
FAILED test_a.py::test_bad - assert 0
!!!!!!!!!!!!!!!!!!!!!!!!!! stopping after 1 failures !!!!!!!!!!!!!!!!!!!!!!!!!!!
= 1 failed, 1 passed in TIME =
",
    );
}

#[test]
fn a_broken_fixture() {
    let fixture = "import pytest\n@pytest.fixture\ndef broken():\n    raise ValueError('no database')\n";
    shows(
        &[
            ("conftest.py", fixture),
            ("test_a.py", "def test_it(): pass\n"),
            ("test_b.py", "def test_uses(broken): pass\ndef test_fine(): pass\n"),
        ],
        &[],
        1,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .                                                              [ 50%]
test_b.py E.                                                             [100%]

==================================== ERRORS ====================================
_________________________ ERROR at setup of test_uses __________________________

    @pytest.fixture
    def broken():
>       raise ValueError('no database')
E       ValueError: no database

conftest.py:4: ValueError
=========================== short test summary info ============================
ERROR test_b.py::test_uses - ValueError: no database
= 2 passed, 1 error in TIME =
",
    );
}

#[test]
fn other_outcomes() {
    let source = "import pytest\n@pytest.mark.skip(reason='not now')\ndef test_skip(): pass\n\
                  @pytest.mark.xfail(reason='a bug')\ndef test_xfail(): assert 0\n\
                  @pytest.mark.xfail\ndef test_xpass(): pass\n\
                  @pytest.mark.xfail(strict=True)\ndef test_strict(): pass\ndef test_fine(): print('said')\n";
    shows(
        &[("test_a.py", "def test_it(): pass\n"), ("test_b.py", source)],
        &["-r", "fEsxX"],
        1,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .                                                              [ 50%]
test_b.py sxXF.                                                          [100%]

=================================== FAILURES ===================================
_________________________________ test_strict __________________________________
[XPASS(strict)]
=================================== XPASSES ====================================
=========================== short test summary info ============================
FAILED test_b.py::test_strict - [XPASS(strict)]
SKIPPED [1] test_b.py:2: not now
XFAIL test_b.py::test_xfail - a bug
XPASS test_b.py::test_xpass
= 1 failed, 2 passed, 1 skipped, 1 xfailed, 1 xpassed in TIME =
",
    );
}

#[test]
fn warnings() {
    let source = "import warnings\ndef test_one(): warnings.warn('old')\ndef test_two():\n    \
                  warnings.warn(DeprecationWarning('soon'))\n";
    shows(
        &[("test_a.py", "def test_it(): pass\n"), ("test_b.py", source)],
        &[],
        0,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .                                                              [ 50%]
test_b.py ..                                                             [100%]

=============================== warnings summary ===============================
test_b.py::test_one
  FOLDER/test_b.py:2: UserWarning: old
    def test_one(): warnings.warn('old')

test_b.py::test_two
  FOLDER/test_b.py:4: DeprecationWarning: soon
    warnings.warn(DeprecationWarning('soon'))

-- Docs: https://docs.pytest.org/en/stable/how-to/capture-warnings.html
= 3 passed, 2 warnings in TIME =
",
    );
}

#[test]
fn what_was_put_back() {
    let source = "import logging, os, signal, sys\ndef test_it():\n    os.environ['ODD'] = '1'\n    del os.environ['COLUMNS']\n    \
                  os.chdir('/')\n    logging.getLogger('x').setLevel(10)\n    sys.setrecursionlimit(500)\n    \
                  signal.signal(signal.SIGUSR1, lambda *args: None)\n";
    shows_with(
        "1",
        &[("test_a.py", source), ("test_b.py", "def test_it(): pass\n")],
        &["-v"],
        0,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER
collecting ... 2 files

test_a.py::test_it PASSED                                                [ 50%]
test_b.py::test_it PASSED                                                [100%]
========================== put back after test files ===========================
test_a.py: os.environ['COLUMNS'] was deleted
test_a.py: os.environ['ODD'] was set
test_a.py: the current directory became '/'
test_a.py: the handler of SIGUSR1 was changed
test_a.py: sys.getrecursionlimit() became 500
test_a.py: logging 'x' level was 0, and became 10

= 2 passed in TIME =
",
    );
}

#[test]
fn nothing_leaks() {
    shows(
        &GOOD,
        &["--leaks"],
        0,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .                                                              [ 50%]
test_b.py ..                                                             [100%]
============================== left of test files ==============================
nothing is left of 2 files

= 3 passed in TIME =
",
    );
}

#[test]
fn a_crash() {
    let source = "import os\ndef test_before(): pass\ndef test_crash():\n    os.abort()\ndef test_after(): pass\n";
    let folder = project(&[("test_a.py", source), ("test_b.py", "def test_it(): pass\n")]);
    let mut run = run(folder.path(), &["-j", "2"]);
    // The rest are frames of pytest.
    let frame = "  File \"FOLDER/test_a.py\", line 4 in test_crash";
    let stderr = shown(&run.stderr, folder.path());
    assert!(stderr.starts_with("Fatal Python error: Aborted\n") && stderr.contains(frame), "{stderr}");
    run.stderr.clear();
    is_shown(
        &run,
        folder.path(),
        1,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .F                                                             [ 50%]
test_b.py .                                                              [100%]

=================================== FAILURES ===================================
__________________________________ test_crash __________________________________
The worker gwN crashed: it was ended by SIGABRT (signal 6), while test_a.py::test_crash ran. Tests of the file that come after it were not run.
=========================== short test summary info ============================
FAILED test_a.py::test_crash - The worker gwN crashed: it was ended by SIGABR...
= 1 failed, 2 passed in TIME =
",
        "",
    );
}

#[test]
fn files_that_take_too_long() {
    let source = "def test_before(): pass\ndef test_endless():\n    while True: pass\ndef test_after(): pass\n";
    shows_with(
        "2",
        &[("test_a.py", source), ("test_b.py", "def test_it(): pass\n")],
        // The other file takes less on the slowest machine.
        &["--timeout", "15"],
        1,
        r#"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py .F                                                             [ 50%]
test_b.py .                                                              [100%]

=================================== FAILURES ===================================
_________________________________ test_endless _________________________________
Timeout: the file was ended after 15 s, while test_a.py::test_endless ran. Tests of the file that come after it were not run.

It was here:
  File "FOLDER/test_a.py", line 3, in test_endless
    while True: pass
=========================== short test summary info ============================
FAILED test_a.py::test_endless - Timeout: the file was ended after 15 s, whil...
= 1 failed, 2 passed in TIME =
"#,
    );
}

#[test]
fn parts() {
    let two = "def test_one(): pass\ndef test_two(): pass\n";
    let files = [("test_a.py", two), ("test_b.py", two), ("test_c.py", two)];
    for (part, stdout) in [
        (
            "1/2",
            r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_a.py ..                                                             [ 50%]
test_c.py ..                                                             [100%]

= 4 passed in TIME =
",
        ),
        (
            "2/2",
            r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_b.py ..                                                             [100%]

= 2 passed in TIME =
",
        ),
    ] {
        shows(&files, &["--shard", part], 0, stdout);
    }
}

#[test]
fn pollution() {
    let folder = project(&[
        ("pytest.ini", "[pytest]\npythonpath = .\n"),
        ("app.py", "settings = {'limit': 10}\n"),
        ("test_a.py", "import app, os\ndef test_it():\n    app.settings['limit'] = 3\n    os.environ['DEBUG'] = '1'\n"),
        ("test_b.py", "import app\ndef test_limit(): assert app.settings['limit'] == 10\ndef test_fine(): pass\n"),
    ]);
    is_shown(
        &run(folder.path(), &["--find-pollution"]),
        folder.path(),
        1,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER
configfile: pytest.ini
3 tests of 2 files, apart and together

test_b.py::test_limit: passed alone, failed together
  because of test_a.py
  test_a.py leaves
    app.settings['limit'] was 10, and became 3
    os.environ['DEBUG'] was set
  see it with: modspace test --python-path PACKAGES --isolate none test_a.py test_b.py::test_limit
",
        "",
    );
}

#[test]
fn plain_unittest() {
    let good = "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n    \
                @unittest.skip('why')\n    def test_skipped(self): pass\n";
    let bad = "import unittest\nclass B(unittest.TestCase):\n    def test_b(self):\n        self.assertEqual(1, 2)\n    \
               def test_error(self):\n        raise KeyError('x')\n";
    let folder = project(&[("test_a.py", good), ("test_b.py", bad)]);
    for (jobs, args, status, stderr) in [
        (
            &["1", "2"][..],
            &["test_a.py"][..],
            0,
            r"
.s
----------------------------------------------------------------------
Ran 2 tests in TIME

OK (skipped=1)
",
        ),
        (
            &["1", "2"],
            &["test_a.py", "-v"],
            0,
            r"
test_a (test_a.A.test_a) ... ok
test_skipped (test_a.A.test_skipped) ... skipped 'why'

----------------------------------------------------------------------
Ran 2 tests in TIME

OK (skipped=1)
",
        ),
        // Of two processes, either may be done first.
        (
            &["1"],
            &[],
            1,
            r#"
.sFE
======================================================================
ERROR: test_error (test_b.B.test_error)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "FOLDER/test_b.py", line 6, in test_error
    raise KeyError('x')
KeyError: 'x'

======================================================================
FAIL: test_b (test_b.B.test_b)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "FOLDER/test_b.py", line 4, in test_b
    self.assertEqual(1, 2)
    ~~~~~~~~~~~~~~~~^^^^^^
AssertionError: 1 != 2

----------------------------------------------------------------------
Ran 4 tests in TIME

FAILED (failures=1, errors=1, skipped=1)
"#,
        ),
        (
            &["1", "2"],
            &["-k", "nothing"],
            5,
            r"
----------------------------------------------------------------------
Ran 0 tests in TIME

NO TESTS RAN
",
        ),
    ] {
        for jobs in jobs {
            let run = plainly(modspace(["test", "--unittest", "-j", jobs]).args(args).current_dir(folder.path()));
            is_shown(&run, folder.path(), status, "", stderr);
        }
    }
}
