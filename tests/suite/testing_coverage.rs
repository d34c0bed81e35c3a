//! `modspace test --cov`: what the package `coverage` reads in the data file, against what it measures itself in CPython.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    harness::{Run, modspace, packages},
    testing::{project, test},
};

const TOOLS: &str = r#""""Tools."""
import contextlib
import functools
import threading

LIMIT = 3


def choose(value):
    """One of two."""
    if value > LIMIT:
        result = "big"
    else:
        result = "small"
    return result


@functools.lru_cache(
    maxsize=None,
)
def cached(
    one,
    two=2,
):
    return dict(
        one=one,
        two=two,
    )


class Kind:
    """A class."""

    number: int
    size: int = 1
    names: dict[
        str,
        int,
    ]

    @property
    def double(self):
        return self.size * 2

    @staticmethod
    def never():
        return 0


if LIMIT > 5:
    other: int

    def never(value: int):
        pass


def loop(values):
    total = 0
    for value in values:
        if value is None:
            continue
        if value < 0:
            break
        total += value
    else:
        total += 100
    while total > 1000:
        total -= 1000
    return total


def careful(call):
    try:
        return call()
    except ZeroDivisionError:
        return None
    except ValueError as error:
        print(error)
        raise
    finally:
        call = None


def match(value):
    match value:
        case [1, *rest]:
            return rest
        case {"a": found}:
            return found
        case str() | bytes():
            return "text"
        case _:
            pass
    return None


def generate(count):
    for number in range(count):
        yield number
    yield from [7, 8]


async def wait():
    async with Manager() as manager:
        return manager
    return None


class Manager:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return False


def in_thread():
    found = []

    def work():
        found.append(1)
        if not found:
            found.append(2)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def read(value):
    assert value, (
        "no value"
    )
    with contextlib.nullcontext(
        [value]
    ) as lines:
        found = [
            line
            for line in lines
        ]
    return (
        found
        and found[0]
    )


lambdas = [
    lambda: 1,
    lambda: 2,
]
"#;

const FIRST: &str = r#"import asyncio
import unittest

from app import long, tools


class First(unittest.TestCase):
    def test_choose(self):
        self.assertEqual(tools.choose(5), "big")
        assert long.long([1, 5, 40]) == 46

    def test_thread(self):
        assert tools.in_thread() == [1]

    def test_match(self):
        assert tools.match([1, 2]) == [2]
        assert (
            tools.match("x")
            == "text"
        )

    def test_careful(self):
        assert tools.careful(lambda: 1 / 0) is None
        with self.assertRaises(ValueError):
            tools.careful(lambda: int("x"))

    def test_wait(self):
        asyncio.run(tools.wait())
        tools.read(1)
"#;

const SECOND: &str = r#"import unittest

from app.tools import Kind, cached, choose, generate, loop


class Second(unittest.TestCase):
    def setUp(self):
        self.kind = Kind()

    def test_choose(self):
        self.assertEqual(choose(1), "small")
        self.assertEqual(self.kind.double, 2)
        self.assertEqual(cached(1), {"one": 1, "two": 2})

    def test_loop(self):
        self.assertEqual(loop([1, None, 2]), 103)
        self.assertEqual(list(generate(2)), [0, 1, 7, 8])

    @unittest.skip("no")
    def test_skipped(self):
        self.fail()
"#;

fn application(more: &[(&str, &str)]) -> tempfile::TempDir {
    // So long that jumps over it need two instructions.
    let cases = (1..60).map(|case| format!("        elif value == {case}:\n            total += {case}\n"));
    let long =
        "def long(values):\n    total = 0\n    for value in values:\n        if value == 0:\n            total += 0\n";
    let long = format!("{long}{}    return total\n", cases.collect::<String>());
    let mut files = vec![
        ("app/__init__.py", "VERSION = 1\n"),
        ("app/tools.py", TOOLS),
        ("app/long.py", &long),
        ("app/never.py", "def nobody():\n    return 1\n"),
        ("conftest.py", "import app\n\n\ndef unused():\n    return app\n"),
    ];
    files.extend(more);
    project(&files)
}

/// CPython's `coverage` with these arguments, in a directory.
fn coverage(folder: &Path, file: &str, arguments: &[&str]) -> Run {
    let path = std::env::join_paths([packages("coverage"), packages("pytest")]).expect("no colon is in them");
    let mut command = Command::new("python3");
    command.args(["-m", "coverage"]).args(arguments).current_dir(folder).env("PYTHONPATH", path);
    command.env("COVERAGE_FILE", folder.join(file)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.output().expect("python3 starts").into()
}

/// Of each file, the lines that ran, and those that did not.
fn lines(folder: &Path, file: &str) -> BTreeMap<String, (Value, Value)> {
    let report = coverage(folder, file, &["json", "-q", "-o", "-"]).succeeded();
    let report: Value = serde_json::from_str(&report.stdout).expect("it is JSON");
    let files = report["files"].as_object().expect("an object").iter();
    files
        .map(|(name, lines)| (name.clone(), (lines["executed_lines"].clone(), lines["missing_lines"].clone())))
        .collect()
}

#[test]
fn lines_are_those_that_coverage_measures_in_cpython() {
    let folder = application(&[("test_first.py", FIRST), ("test_second.py", SECOND)]);
    let folder = folder.path();
    for (reference, runs) in [
        (
            &["pytest", "-q", "-p", "no:cacheprovider"][..],
            &[
                &["-j", "1"][..],
                &["-j", "2"],
                &["--isolate", "class"],
                &["--isolate", "test"],
                &["--isolate", "test", "-j", "2"],
                &["--isolate", "none"],
            ][..],
        ),
        (&["unittest"], &[&["--unittest", "-j", "1"], &["--unittest", "-j", "2"]]),
    ] {
        coverage(folder, "reference", &[&["run", "--source=.", "-m"], reference].concat()).succeeded();
        let expected = lines(folder, "reference");
        assert_eq!(expected["app/never.py"].1, serde_json::json!([1, 2]));
        for run in runs {
            let args = [&["--cov"], *run].concat();
            let ran = if run.contains(&"--unittest") {
                modspace(["test"])
                    .args(&args)
                    .current_dir(folder)
                    .env_remove("VIRTUAL_ENV")
                    .output()
                    .expect("it starts")
                    .into()
            } else {
                test(folder, &args)
            };
            ran.succeeded();
            let found = lines(folder, ".coverage");
            for (name, expected) in &expected {
                assert_eq!(found.get(name), Some(expected), "{name} with {run:?}: lines that ran, and that did not");
            }
            assert_eq!(found.len(), expected.len(), "{run:?}: {:?}", found.keys());
            fs::remove_file(folder.join(".coverage")).expect("it was written");
        }
    }
}

#[test]
fn the_configuration_of_coverage_is_heeded() {
    let folder = application(&[
        ("test_first.py", FIRST),
        (
            "pyproject.toml",
            "[tool.coverage.run]\nbranch = true\nsource = ['app']\nomit = ['*/long.py']\ndata_file = 'out/data'\n",
        ),
        ("out/data", "of an older run"),
    ]);
    let names = |file| lines(folder.path(), file).into_keys().collect::<Vec<_>>();
    test(folder.path(), &["--cov", "-j", "2", "--timeout", "60"]).succeeded().stderr_has("branch = true is not heeded");
    assert_eq!(names("out/data"), ["app/__init__.py", "app/never.py", "app/tools.py"]);
    test(folder.path(), &["--cov=app.tools", "--cov=app.never"]).succeeded();
    assert_eq!(names("out/data"), ["app/never.py", "app/tools.py"]);
    test(folder.path(), &["--cov=no_such"]).succeeded().stderr_has("no test has imported it");
    test(folder.path(), &["--cov=no/such"]).failed_with(4).stderr_has("there is no such directory");
    fs::remove_dir_all(folder.path().join("out")).expect("it is there");
    test(folder.path(), &["--cov"]).failed_with(4).stderr_has("is in no directory that exists");
    for other in ["--watch", "--find-pollution", "--co"] {
        test(folder.path(), &["--cov", other]).failed_with(4).stderr_has("cannot be used with");
    }
}

#[test]
fn what_ran_before_the_run_ended_is_written() {
    let folder = application(&[
        ("test_a.py", "from app.tools import choose\ndef test_it(): choose(5)\n"),
        ("test_b.py", "import os\nfrom app.tools import choose\ndef test_it():\n    choose(1)\n    os.abort()\n"),
        ("test_c.py", "from app.tools import choose\ndef test_it():\n    choose(1)\n    raise KeyboardInterrupt\n"),
    ]);
    let ran = || lines(folder.path(), ".coverage")["app/tools.py"].0.as_array().expect("a list").clone();
    test(folder.path(), &["--cov=app", "-j", "2", "test_a.py", "test_b.py"]).failed_with(1);
    // Of `choose`, what the file has run whose worker did not crash.
    assert!(ran().contains(&12.into()) && !ran().contains(&14.into()), "{:?}", ran());
    for jobs in ["1", "2"] {
        test(folder.path(), &["--cov=app", "-j", jobs, "test_c.py", "test_a.py"]).failed_with(2);
        assert!(ran().contains(&14.into()), "{:?}", ran());
    }
}
