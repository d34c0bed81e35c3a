//! What `modspace test` says of bad input, and with which status.

use std::fs;

use super::{
    harness::{Run, modspace},
    testing::{command, project},
    testing_output::{GOOD, is_shown, plainly, run, shows, shows_with},
};

#[test]
fn no_tests() {
    let stdout = r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

= no tests ran in TIME =
";
    for files in [&[][..], &[("test_a.py", "value = 1\n"), ("test_b.py", "value = 2\n")]] {
        shows(files, &[], 5, stdout);
    }
}

#[test]
fn files_that_cannot_be_collected() {
    // What is shown of errors has places of pytest and of the standard library.
    shows_with(
        "1",
        &[("test_a.py", "def test_bad(:\n"), ("test_b.py", "def test_it(): pass\n"), ("test_c.py", "import nothing\n")],
        &["--tb", "no"],
        2,
        r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

test_b.py .

=========================== short test summary info ============================
ERROR test_a.py
ERROR test_c.py
!!!!!!!!!!!!!!!!!!! Interrupted: 2 errors during collection !!!!!!!!!!!!!!!!!!!!
= 1 passed, 2 errors in TIME =
",
    );
}

const NOTHING: &str = r"
============================= test session starts ==============================
platform VERSIONS
rootdir: FOLDER

= no tests ran in TIME =
";

#[test]
fn wrong_usage() {
    let folder = project(&GOOD);
    let usage = "ERROR: usage: pytest.main() [options] [file_or_dir] [file_or_dir] [...]\n";
    let rest = "\n\nFor more information, try '--help'.";
    for (args, stdout, stderr) in [
        (&["missing"][..], NOTHING, "ERROR: file or directory not found: missing".to_owned()),
        (
            &["test_a.py::nothing"],
            NOTHING,
            "ERROR: not found: FOLDER/test_a.py::nothing\n(no match in any of [<Module test_a.py>])".to_owned(),
        ),
        (
            &["-j", "1", "-k", "a and"],
            NOTHING,
            "ERROR: Wrong expression passed to '-k': a and: at column 6: expected not OR left parenthesis OR identifier; got end \
             of input"
                .to_owned(),
        ),
        (
            &["--", "--no-such-option"],
            "",
            format!(
                "{usage}pytest.main(): error: unrecognized arguments: --no-such-option\n  inifile: None\n  rootdir: FOLDER"
            ),
        ),
        (
            &["--no-such-option"],
            "",
            format!(
                "error: unexpected argument '--no-such-option' found\n\n  tip: to pass '--no-such-option' as a value, use '-- \
                 --no-such-option'\n\nUsage: modspace test --python-path <DIR> [PATHS]... [-- <PYTEST OPTIONS>...]{rest}"
            ),
        ),
        (
            &["--shard", "3/2"],
            "",
            format!(
                "error: invalid value '3/2' for '--shard <K/N>': K/N is expected, with a K from 1 to N: 1/3, say{rest}"
            ),
        ),
        (
            &["-j", "0"],
            "",
            format!("error: invalid value '0' for '--jobs <N>': a number from 1 on is expected{rest}"),
        ),
        (
            &["--timeout", "soon"],
            "",
            format!(
                "error: invalid value 'soon' for '--timeout <SECONDS>': a number of seconds, more than 0, is expected{rest}"
            ),
        ),
        (
            &["--junit", "none/report.xml"],
            "",
            "modspace: --junit none/report.xml: is in no directory that exists".to_owned(),
        ),
        (&["--json", "."], "", "modspace: --json .: is a directory".to_owned()),
        (
            &["--isolate", "none", "--leaks"],
            "",
            "modspace: --isolate none: is plain pytest in one process and knows no files: leave out --leaks".to_owned(),
        ),
        (
            &["--find-pollution", "-j", "2"],
            "",
            "modspace: --find-pollution: runs files in one process: leave out -j".to_owned(),
        ),
    ] {
        is_shown(&run(folder.path(), args), folder.path(), 4, stdout, &stderr);
    }
    let without = plainly(modspace(["test"]).current_dir(folder.path()));
    is_shown(
        &without,
        folder.path(),
        4,
        "",
        "modspace test: there is no pytest in this environment; install it there, name another place with --python-path DIR or \
         --venv DIR, or run unittest suites with --unittest",
    );
}

#[test]
fn what_pytest_reads_first_is_wrong() {
    for (name, text, stderr) in [
        (
            "conftest.py",
            "1 / 0\n",
            "ImportError while loading conftest 'FOLDER/conftest.py'.\nconftest.py:1: in <module>\n    1 / 0\n\
             E   ZeroDivisionError: division by zero",
        ),
        ("pytest.ini", "[pytest\nx\n", "ERROR: FOLDER/pytest.ini:1: unexpected value continuation"),
        (
            "pytest.ini",
            "[pytest]\nminversion = 99\n",
            "ERROR: FOLDER/pytest.ini: 'minversion' requires pytest-99, actual pytest-VERSION'",
        ),
    ] {
        let folder = project(&GOOD);
        fs::write(folder.path().join(name), text).expect("a file");
        for jobs in ["1", "2"] {
            let mut run = run(folder.path(), &["-j", jobs]);
            if let Some((before, _)) = run.stderr.split_once("actual pytest-") {
                run.stderr = format!("{before}actual pytest-VERSION'");
            }
            is_shown(&run, folder.path(), 4, "", stderr);
        }
    }
}

#[test]
fn what_is_wrong_is_said_once_and_with_pytests_status() {
    let files = [GOOD[0], GOOD[1], ("test_c.py", "def test_last(): pass\n")];
    let folder = project(&files);
    let folder = folder.path();
    for jobs in ["1", "2"] {
        let run = |args: &[&str]| run(folder, &[&["-j", jobs], args].concat());
        for args in [&["-k", "a and"][..], &["test_a.py::nowhere", "test_b.py"]] {
            let run = run(args).failed_with(4);
            assert_eq!(run.stderr.matches("ERROR: ").count(), 1, "{}", run.stderr);
            assert!(!run.stdout.contains("crashed"), "{}", run.stdout);
        }
        // pytest warns of it before there are tests.
        fs::write(folder.join("pytest.ini"), "[pytest]\nnothing_known = 1\n").expect("a file");
        run(&[]).succeeded().stdout_has("4 passed, 1 warning").stdout_has("Unknown config option: nothing_known");
        fs::remove_file(folder.join("pytest.ini")).expect("it is there");
        run(&["--shard", "4/4"]).succeeded().stdout_has("no file is in part 4 of 4");
        let unwritten = run(&["--junit", "/proc/report.xml"]).failed_with(3).stdout_has("= 4 passed in");
        assert_eq!(unwritten.stderr.lines().count(), 1, "{}", unwritten.stderr);
        unwritten.stderr_has("modspace test: /proc/report.xml: cannot be written: ");
        let arguments = ["-j", jobs, "-v", "--", "-p", "no:cacheprovider"];
        let mut full = command("pytest", folder, &arguments);
        let device = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let full: Run = full.stdout(device).output().expect("modspace starts").into();
        assert!(!full.stderr.contains("panicked"), "{}", full.stderr);
        assert_ne!(full.status, Some(0));
        full.stderr_has("No space left on device");
    }
}

#[test]
fn lines_say_how_many_files_are_done() {
    let files: Vec<(String, &str)> =
        (0..5).map(|number| (format!("test_{number}.py"), "def test_it(): pass\n")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let folder = project(&files);
    for (jobs, verbose) in [("1", false), ("1", true), ("2", false), ("2", true)] {
        let arguments: &[&str] = if verbose { &["-j", jobs, "-v"] } else { &["-j", jobs] };
        let run = run(folder.path(), arguments).succeeded();
        let done =
            run.stdout.lines().filter_map(|line| line.strip_suffix("%]")?.rsplit_once('[')?.1.trim().parse().ok());
        assert_eq!(done.collect::<Vec<u32>>(), [20, 40, 60, 80, 100], "{arguments:?}: {}", run.stdout);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_a_warning() {
    // The superuser may write everywhere; a file in the place of the directory stops it, too.
    let folder = project(&[("test_a.py", "def test_it(): pass\n"), (".pytest_cache", "no directory")]);
    for jobs in ["1", "2"] {
        let run: Run = plainly(&mut command("pytest", folder.path(), &["-j", jobs]));
        run.succeeded().stdout_has("1 passed").stdout_has("could not create cache path");
    }
}
