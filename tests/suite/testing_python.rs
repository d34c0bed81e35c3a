//! Tests from programs, `modspace.testing`, and tests of what uses module spaces, `-p modspace.pytest`.

use super::{
    harness::{Run, modspace, packages},
    testing::{project, test},
};

/// Counts its calls, so that it tells whether tests have the same one.
const APPLICATION: (&str, &str) =
    ("app.py", "calls = 0\ndef call():\n    global calls\n    calls += 1\n    return calls\n");

/// Runs the project in `folder` with the plugin under plain pytest, and by `modspace test`, in one process and in two.
fn with_plugin(folder: &tempfile::TempDir, arguments: &[&str]) -> impl Iterator<Item = Run> {
    let arguments: Vec<&str> = ["-p", "modspace.pytest"].into_iter().chain(arguments.iter().copied()).collect();
    let folder = folder.path();
    [None, Some("1"), Some("2")].into_iter().map(move |jobs| match jobs {
        None => {
            let mut plain = modspace(["run", "--root", "-m", "pytest"]);
            plain.args(&arguments).env("PYTHONPATH", packages("pytest")).env_remove("PYTHONDONTWRITEBYTECODE");
            plain.current_dir(folder).output().expect("modspace starts").into()
        }
        Some(jobs) => test(folder, &[&["-j", jobs], arguments.as_slice()].concat()),
    })
}

#[test]
fn a_marked_test_has_modules_of_its_own() {
    let folder = project(&[
        APPLICATION,
        (
            "conftest.py",
            "import pytest\n@pytest.fixture(scope='module')\ndef shared():\n    print('begun')\n    yield []\n    print('ended')\n",
        ),
        (
            "test_a.py",
            "import pytest, app\n\
             def test_first(shared):\n    shared.append(1)\n    assert app.call() == 1\n\
             @pytest.mark.isolated\ndef test_alone(shared, capsys):\n    assert shared == [] and app.call() == 1\n\
             @pytest.mark.isolated\n@pytest.mark.parametrize('number', [1, 2])\ndef test_each(number):\n    assert app.call() == number\n\
             def test_same(shared):\n    assert shared == [1] and app.call() == 2\n\
             @pytest.mark.isolated\nclass TestAll:\n    def test_one(self): assert app.call() == 1\n    \
             def test_two(self): assert app.call() == 1\n    @pytest.mark.skip(reason='for a reason')\n    def test_none(self): pass\n",
        ),
        (
            "test_b.py",
            "import pytest, app\npytestmark = pytest.mark.isolated\ndef test_it(): assert app.call() == 1\n\
             @pytest.mark.xfail\ndef test_expected(): assert app.call() == 2\n\
             @pytest.fixture\ndef broken(): raise ValueError('no fixture')\ndef test_broken(broken): pass\n",
        ),
    ]);
    for run in with_plugin(&folder, &["-rA"]) {
        let run = run.failed_with(1);
        run.stdout_has_all(&[
            "1 failed, 7 passed, 1 skipped, 1 xfailed, 1 error in",
            "PASSED test_a.py::test_same",
            "FAILED test_a.py::test_each[2] - assert 1 == 2",
            "PASSED test_a.py::TestAll::test_two",
            "for a reason",
            "ERROR test_b.py::test_broken - ValueError: no fixture",
        ]);
        // What the fixture prints is captured, where it ends after a marked test, too.
        let shown = run.stdout.lines().take_while(|line| !line.contains("= FAILURES =")).collect::<String>();
        assert!(!shown.contains("ended") && !run.stdout.contains("warnings summary"), "{}", run.stdout);
    }
}

#[test]
fn a_marked_test_ends_the_run_as_another_one_does() {
    let folder = project(&[
        ("test_a.py", "import pytest\n@pytest.mark.isolated\ndef test_it(): END\ndef test_never(): pass\n"),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    for (end, status, text) in
        [("pytest.exit('that is all', 7)", 7, "Exit: that is all"), ("raise KeyboardInterrupt", 2, "KeyboardInterrupt")]
    {
        let source = format!("import pytest\n@pytest.mark.isolated\ndef test_it(): {end}\ndef test_never(): pass\n");
        std::fs::write(folder.path().join("test_a.py"), source).expect("it is writable");
        // Another worker may have run the other file already.
        for run in with_plugin(&folder, &["-v"]).take(2) {
            let run = run.failed_with(status).stdout_has(text);
            assert!(!run.stdout.contains("test_never PASSED"), "{}", run.stdout);
        }
    }
}

#[test]
fn a_marked_test_that_crashes_its_worker_is_named() {
    let folder = project(&[
        ("test_a.py", "import os, pytest\ndef test_fine(): pass\n@pytest.mark.isolated\ndef test_it(): os.abort()\n"),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    test(folder.path(), &["-j", "2", "-p", "modspace.pytest", "-rA"]).failed_with(1).stdout_has_all(&[
        // What the other session told of its setup went with it.
        "2 passed, 1 error",
        "ERROR test_a.py::test_it",
        "(signal 6), while test_a.py::test_it ran.",
    ]);
}

#[test]
fn a_test_that_ends_the_run_has_no_outcome() {
    let folder = project(&[("test_a.py", "def test_first(): pass\ndef test_it(): raise KeyboardInterrupt\n")]);
    test(folder.path(), &["--json", "report.json"]).failed_with(2);
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("it was written");
    assert!(report.contains("test_first") && !report.contains("test_it"), "{report}");
}

#[test]
fn a_marked_test_that_is_not_there_by_itself_fails() {
    let folder = project(&[
        (
            "test_a.py",
            "import os, pytest\nif 'LOADED' in os.environ: raise ValueError('loaded again')\nos.environ['LOADED'] = '1'\n\
             @pytest.mark.isolated\ndef test_it(): pass\ndef test_other(): pass\n",
        ),
        (
            "test_b.py",
            "import pytest\n@pytest.mark.isolated\n@pytest.mark.parametrize('it', [object()], ids=[hex(id(object))])\n\
             def test_it(it): pass\nimport sys\n@pytest.mark.isolated\n\
             @pytest.mark.parametrize('it', range(getattr(sys, 'once', 2)))\ndef test_each(it): pass\nsys.once = 1\n",
        ),
    ]);
    for run in with_plugin(&folder, &["-rA"]) {
        let run = run.failed_with(1).stdout_has("ValueError: loaded again").stdout_has("PASSED test_a.py::test_other");
        assert!(run.stdout.contains("PASSED test_b.py::test_it["), "{}", run.stdout);
    }
}

#[test]
fn a_test_has_a_space_that_goes_with_it() {
    let folder = project(&[
        APPLICATION,
        (
            "test_a.py",
            "import app, modspace\nheld = []\n\
             def test_space(space):\n    assert space.import_('app').call() == 1 and app.call() == 1 and app.calls == 1\n    \
             assert space.parent is modspace.current() and space.name == 'test_space'\n\
             def test_gone():\n    assert not any(space.name == 'test_space' for space in modspace.spaces())\n\
             def test_held(space):\n    held.append(space.import_('app').call)\n\
             def test_failed(space):\n    call = space.import_('app').call\n    assert call() == 2\n",
        ),
    ]);
    for run in with_plugin(&folder, &[]) {
        run.failed_with(1)
            .stdout_has("1 failed, 3 passed, 1 warning in")
            .stdout_has("SpaceLeakWarning: space \"test_held\"")
            .stdout_has("test_a.held[0] -> app.call");
    }
    for run in with_plugin(&folder, &["-W", "error::modspace.pytest.SpaceLeakWarning", "-k", "held"]) {
        run.failed_with(1).stdout_has("ERROR test_a.py::test_held - modspace.pytest.SpaceLeakWarning");
    }
}

#[test]
fn a_program_runs_tests() {
    let folder = project(&[
        APPLICATION,
        (
            "test_a.py",
            "import app, pytest\ndef test_it(record_property):\n    record_property('size', 3)\n    print('told')\n    \
             assert app.call() == 1\n\
             def test_again(): assert app.call() == 1\n@pytest.mark.skip(reason='later')\ndef test_none(): pass\n",
        ),
        ("test_b.py", "import sys, app\ndef test_it():\n    sys.path.append('/nowhere')\n    assert app.call() == 1\n"),
        (
            "program.py",
            "import contextlib, io, json, sys\nimport modspace, modspace.testing\nfrom modspace.testing import run, UsageError\n\
             site = sys.argv[1]\nbefore = modspace.spaces()\n\
             for jobs in 1, 2:\n    \
                 output = io.StringIO()\n    \
                 with contextlib.redirect_stdout(output):\n        \
                     result = run(python_path=site, jobs=jobs, json='report.json')\n    \
                 assert result.status == 1 and result.counts() == {'failed': 1, 'passed': 2, 'skipped': 1}, result\n    \
                 tests = {test.name: test for test in result.tests}\n    \
                 assert tests['test_a.py::test_it'].properties == [('size', '3')], result\n    \
                 assert tests['test_a.py::test_it'].stdout == 'told\\n', result\n    \
                 assert tests['test_a.py::test_again'].message == 'assert 2 == 1\\n +  where 2 = <function call at '\\\n        \
                     + tests['test_a.py::test_again'].message.partition(' at ')[2], result\n    \
                 assert tests['test_a.py::test_none'].message == 'later'\n    \
                 assert '1 failed, 2 passed, 1 skipped' in output.getvalue(), output.getvalue()\n    \
                 assert len(json.load(open('report.json'))['tests']) == 4\n    \
                 assert modspace.spaces() == before\n\
             same = run(python_path=site, isolate='test', j=1, q=True, k='again or b')\n\
             assert same.status == 0 and same.counts() == {'passed': 2}, same\n\
             assert run('nowhere', python_path=site).status == 4\n\
             assert run('test_b.py', unittest=True, k='nothing').status == 5\n\
             for wrong, text in {'jobs': \"'--jobs <N>'\", 'nonsense': '--nonsense'}.items():\n    \
                 try:\n        run(**{wrong: 0})\n    \
                 except UsageError as error: assert text in str(error), error\n    \
                 else: raise AssertionError(wrong)\n\
             assert 'app' not in sys.modules and '_pytest' not in sys.modules\n\
             print('done')\n",
        ),
    ]);
    let site = packages("pytest");
    let output = modspace(["run", "program.py"]).arg(site).current_dir(folder.path()).output();
    let run: Run = output.expect("modspace starts").into();
    let run = run.succeeded();
    assert!(run.stdout.ends_with("done\n"), "{}", run.stdout);
}
