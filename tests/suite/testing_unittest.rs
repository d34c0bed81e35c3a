//! `modspace test --unittest`: unittest's own runner, each test file with modules of its own.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    harness::{Run, modspace, root},
    testing::project,
};

fn test(folder: &Path, args: &[&str]) -> Run {
    let mut command = modspace(["test", "--unittest"]);
    command.args(args).current_dir(folder).env_remove("VIRTUAL_ENV").output().expect("modspace starts").into()
}

/// What unittest prints without the frames of tracebacks, times, addresses and what spaces say of failed imports.
fn told(run: &Run) -> Vec<String> {
    let lines = run.stdout.lines().chain(run.stderr.lines());
    let lines = lines.filter(|line| !line.starts_with("  ") && !line.starts_with("modspace: looked in"));
    let without = |line: &str| {
        let line = line.split(" at 0x").next().unwrap_or_default();
        match line.split_once(" in ") {
            Some((count, _)) if count.starts_with("Ran ") => count.to_owned(),
            _ => line.to_owned(),
        }
    };
    lines.map(without).collect()
}

#[test]
fn everything_is_as_unittest_has_it() {
    let folder = root().join("tests/fixtures/test_unittest");
    for (args, plain) in [
        (&[][..], &[][..]),
        (&["-v"], &["-v"]),
        (&["-q"], &["-q"]),
        (&["-x"], &["-f"]),
        (&["-k", "fails"], &["-k", "fails"]),
        (&["-k", "nothing_has_this_name"], &["-k", "nothing_has_this_name"]),
        (&["test_basic.Basic"], &["test_basic.Basic"]),
        (&["test_basic.py", "no_such_module"], &["test_basic.py", "no_such_module"]),
    ] {
        let reference: Run = modspace(["run", "--root", "-m", "unittest"])
            .args(plain)
            .current_dir(&folder)
            .output()
            .expect("modspace starts")
            .into();
        let ours = test(&folder, &[&["-j", "1"][..], args].concat());
        // What was put back is told by -v.
        let mut lines = told(&ours);
        lines.truncate(told(&reference).len());
        assert_eq!(lines, told(&reference), "{args:?}: {}", ours.stderr);
        assert_eq!(ours.status, reference.status, "{args:?}: {}", ours.stderr);
    }
}

#[test]
fn workers_tell_the_same() {
    let folder = root().join("tests/fixtures/test_unittest");
    let [one, two] = ["1", "2"].map(|jobs| test(&folder, &["-j", jobs, "-v"]).failed_with(1));
    // Files end in another order.
    let sorted = |run: &Run| {
        let mut lines = told(run);
        lines.sort();
        lines
    };
    assert_eq!(sorted(&one), sorted(&two));
    assert!(one.stderr.contains("FAILED (failures=4, errors=11, skipped=10, expected failures=2"), "{}", one.stderr);
}

#[test]
fn files_that_crash_or_take_too_long_are_told() {
    let case = |body: &str| {
        format!(
            "import os, unittest\nclass Case(unittest.TestCase):\n    def test_a(self): pass\n    def test_b(self): {body}\n"
        )
    };
    let (crashing, endless, good) = (case("os.abort()"), case("\n        while True: pass"), case("pass"));
    let folder =
        project(&[("test_a.py", crashing.as_str()), ("test_b.py", endless.as_str()), ("test_c.py", good.as_str())]);
    let run = test(folder.path(), &["-j", "2", "--timeout", "10"]).failed_with(1);
    for text in [
        "crashed: it was ended by SIGABRT (signal 6), while test_b (test_a.Case.test_b) ran.",
        "Timeout: the file was ended after 10 s, while test_b (test_b.Case.test_b) ran.",
        "test_b.py\", line 5, in test_b\n    while True: pass\n",
        "Ran 6 tests",
        "FAILED (errors=2)",
    ] {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
}

#[test]
fn no_file_sees_what_another_left() {
    let source = "import logging, os, unittest, app\nclass Case(unittest.TestCase):\n    def test_it(self):\n        \
                  self.assertEqual(app.state, [])\n        self.assertNotIn('ODD', os.environ)\n        \
                  self.assertEqual(logging.getLogger('odd').level, 0)\n        app.state.append(1)\n        \
                  os.environ['ODD'] = '1'\n        logging.getLogger('odd').setLevel(10)\n";
    let folder = project(&[("app.py", "state = []\n"), ("test_a.py", source), ("test_b.py", source)]);
    test(folder.path(), &["-j", "1"]).succeeded().stderr_has("Ran 2 tests").stderr_has("OK");
    test(folder.path(), &["-j", "2", "-v"]).succeeded().stderr_has("test_b.py: os.environ['ODD'] was set");
    test(folder.path(), &["--isolate", "none"]).failed_with(1).stderr_has("FAILED (failures=1)");
}

#[test]
fn reports_are_those_of_pytest() {
    let folder = project(&[(
        "test_a.py",
        "import unittest\nclass Case(unittest.TestCase):\n    def test_good(self): pass\n    def test_bad(self): self.fail('so')\n    \
         @unittest.skip('why')\n    def test_skipped(self): pass\n",
    )]);
    let report = folder.path().join("report.json");
    test(folder.path(), &["--json", report.to_str().expect("it is text")]).failed_with(1);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).expect("it was written")).expect("it is JSON");
    let outcomes: BTreeMap<_, _> = report["tests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|test| (test["name"].as_str().expect("a name"), test["outcome"].as_str().expect("an outcome")))
        .collect();
    let expected = [
        ("test_a.py::Case::test_bad", "failed"),
        ("test_a.py::Case::test_good", "passed"),
        ("test_a.py::Case::test_skipped", "skipped"),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected));
    test(folder.path(), &["-m", "slow"]).failed_with(4).stderr_has("cannot be used with");
}
