"""pytest runs the tests in pytest_tree: assertion rewriting, fixtures, its own plugins, one of the tree's, the reports."""

import contextlib
import importlib.metadata
import io
import pathlib
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

import pytest


class Recorder:
    """Keeps what each test came to."""

    def __init__(self):
        self.outcomes, self.texts, self.plugins = {}, {}, set()

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            outcome = ("error" if report.outcome == "failed" else report.outcome) if report.when != "call" else report.outcome
            self.outcomes[report.nodeid] = "xfailed" if hasattr(report, "wasxfail") else outcome
            self.texts[report.nodeid] = report.longreprtext

    def pytest_sessionstart(self, session):
        self.plugins = {name for name, _ in session.config.pluginmanager.list_name_plugin()}


def run(tree, *args):
    """Runs pytest on a tree; returns its status, what it printed, and the recorder."""
    for name in [name for name in sys.modules if name.partition(".")[0] in TREE_MODULES]:
        del sys.modules[name]
    recorder, out = Recorder(), io.StringIO()
    before, finders = sys.path[:], sys.meta_path[:]
    with contextlib.redirect_stdout(out):
        status = pytest.main([str(tree), "--rootdir", str(tree), "--color=no", *args], plugins=[recorder])
    assert sys.meta_path == finders, "the rewriting finder is gone"
    sys.path[:] = before
    return status, out.getvalue(), recorder


TREE_MODULES = {"conftest", "helper_plugin", "pkg", "test_pass", "test_fail"}
source = pathlib.Path(__file__).resolve().parent / "pytest_tree"
with tempfile.TemporaryDirectory() as directory:
    tree = pathlib.Path(directory).resolve() / "tree"
    shutil.copytree(source, tree, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    sys.dont_write_bytecode = False
    report = tree / "report.xml"
    status, text, first = run(tree, f"--junit-xml={report}", "--durations=1", "-ra")

    assert status is pytest.ExitCode.TESTS_FAILED, text
    assert {"pytester", "helper_plugin", "doctest", "junitxml", "logging", "capturemanager"} <= first.plugins, first.plugins
    assert "helper: present" in text and "slowest durations" in text or "slowest 1 durations" in text
    outcomes = {nodeid.partition("::")[2]: outcome for nodeid, outcome in first.outcomes.items()}
    wanted = {
        "passed": [
            "pkg.maths.double", "test_double[1-2]", "test_double[2-4]", "test_product[SMALL-c-a]", "test_product[SMALL-c-b]",
            "test_product[LARGE-c-a]", "test_product[LARGE-c-b]", "test_fixture", "test_monkeypatch", "test_capsys",
            "test_capfd", "test_caplog", "test_recwarn", "test_raises", "test_tmp_path", "test_approx",
            "test_a_session_inside", "TestUnittest::test_equal", "TestClass::test_prepared",
        ],
        "failed": ["test_compare", "test_dicts", "test_strings", "test_in_a_plugin", "test_hook", "test_exception"],
        "error": ["test_error", "test_unknown"],
        "skipped": ["test_skipped"],
        "xfailed": ["test_double[3-7]"],
    }
    wanted = {name: outcome for outcome, names in wanted.items() for name in names}
    assert outcomes == wanted, {name: (outcomes.get(name), wanted.get(name)) for name in outcomes.keys() | wanted.keys()
                                if outcomes.get(name) != wanted.get(name)} | {"text": text}
    assert "6 failed, 19 passed, 1 skipped, 1 xfailed, 2 errors in " in text, text

    # The rewritten assertions tell the values.
    texts = {nodeid.partition("::")[2]: text for nodeid, text in first.texts.items()}
    for test, lines in {
        "test_compare": ["E   AssertionError: too long", "E   assert 5 <= 3", "limit = 3"],
        "test_dicts": [
            "E   AssertionError: assert {'a': 1, 'bb': 2} == {'a': 1, 'bb': 3}", "E     Omitting 1 identical items, use -vv to show",
            "E     Differing items:", "E     {'bb': 2} != {'bb': 3}",
        ],
        "test_strings": ["E     - third", "E     + second"],
        "test_in_a_plugin": ["E   assert [2, 1] == [1, 2]", "helper_plugin.py:8: AssertionError"],
        "test_hook": ["E   assert complex numbers differ:", "E        real: 1.0 == 2.0"],
        "test_exception": ["E   KeyError: 'missing'", "test_fail.py:33: KeyError"],
        "test_error": ["E   RuntimeError: no fixture"],
        "test_unknown": ["fixture 'nothing_like_it' not found"],
    }.items():
        for line in lines:
            shown = [" ".join(shown.split()) for shown in texts[test].splitlines()]
            assert any(" ".join(line.split()) in one for one in shown), (test, line, texts[test])
    assert "before it broke" in text and "not today" in text

    # The report of the junitxml plugin, which counts the subtest, too.
    [suite] = ElementTree.parse(report).getroot()
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["30", "6", "2", "2"], suite.attrib

    # The rewritten code is cached, and a second session that reads it, last failures only, says the same.
    cached = sorted(path.name.partition(".")[0] for path in tree.glob("__pycache__/*-pytest-9*.pyc"))
    assert {"conftest", "helper_plugin", "test_fail", "test_pass"} <= set(cached), cached
    status, text, second = run(tree, "--last-failed", "-q")
    assert status is pytest.ExitCode.TESTS_FAILED and "6 failed, 2 errors in " in text, text
    assert second.texts[[nodeid for nodeid in second.texts if nodeid.endswith("test_dicts")][0]] == texts["test_dicts"]

    # Selections, and the statuses for nothing to do and for wrong use.
    status, text, third = run(tree, "-k", "capsys or approx", "-m", "not slow", "-q")
    assert status is pytest.ExitCode.OK and len(third.outcomes) == 2 and "2 passed" in text, text
    assert run(tree, "-k", "nothing_like_it_at_all")[0] is pytest.ExitCode.NO_TESTS_COLLECTED
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        assert run(tree, "--no-such-option")[0] is pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --no-such-option" in errors.getvalue()

print("ok: pytest", importlib.metadata.version("pytest"))
