import logging
import os
import sys
import unittest
import warnings

import pytest
from pkg.maths import double


@pytest.mark.parametrize("number, result", [(1, 2), (2, 4), pytest.param(3, 7, marks=pytest.mark.xfail(strict=True))])
def test_double(number, result):
    assert double(number) == result


@pytest.mark.parametrize("left", "ab")
@pytest.mark.parametrize("right", ["c"])
def test_product(left, right, size):
    assert len(left + right + size) == 7


def test_fixture(numbers, request):
    assert sum(numbers) == 6 and request.node.name == "test_fixture"


def test_monkeypatch(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTEST_TREE", "set")
    monkeypatch.setattr(os, "getcwd", lambda: "nowhere")
    monkeypatch.setattr("pkg.maths.double", lambda number: 0)
    monkeypatch.setitem(sys.modules, "never_there", os)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "only_here.py").write_text("import never_there\nvalue = never_there.getcwd()\n")
    import only_here
    from pkg import maths

    assert only_here.value == "nowhere" and maths.double(4) == 0 and os.environ["PYTEST_TREE"] == "set"
    monkeypatch.undo()
    assert os.getcwd() != "nowhere" and "never_there" not in sys.modules and "PYTEST_TREE" not in os.environ
    assert str(tmp_path) not in sys.path


def test_capsys(capsys):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("to stdout\n", "to stderr\n")


def test_capfd(capfd):
    os.write(1, b"raw\n")
    print("printed", flush=True)
    assert capfd.readouterr().out == "raw\nprinted\n"


def test_caplog(caplog):
    with caplog.at_level(logging.INFO, logger="tree"):
        logging.getLogger("tree").info("value %d", 3)
    assert caplog.record_tuples == [("tree", logging.INFO, "value 3")]


def test_recwarn():
    with pytest.warns(DeprecationWarning, match="old .* use new"):
        warnings.warn("old thing, use new", DeprecationWarning, stacklevel=1)


def test_raises():
    with pytest.raises(ValueError, match=r"invalid literal .* 'x'") as caught:
        int("x")
    assert caught.type is ValueError and caught.traceback[-1].name == "test_raises"
    with pytest.RaisesGroup(KeyError, pytest.RaisesExc(OSError, match="disk")):
        raise ExceptionGroup("both", [KeyError("k"), OSError("disk full")])


def test_tmp_path(tmp_path, tmp_path_factory, testdir):
    (tmp_path / "a.txt").write_text("a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert tmp_path_factory.mktemp("other") != tmp_path
    assert os.path.samefile(os.getcwd(), testdir.tmpdir)


def test_approx():
    assert 0.1 + 0.2 == pytest.approx(0.3) and {"a": 1.0} == pytest.approx({"a": 1.0 + 1e-9})


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info > (3,), reason="not today")
def test_skipped():
    assert False


def test_a_session_inside(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def one():
            return 1

        def test_good(one):
            assert one == 1

        def test_bad(one):
            assert one == 2
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E       assert 1 == 2"])


class TestUnittest(unittest.TestCase):
    def setUp(self):
        self.value = 1

    def test_equal(self):
        self.assertEqual(self.value, 1)
        with self.subTest("inner"):
            self.assertTrue(self.value)


class TestClass:
    @pytest.fixture(autouse=True)
    def prepare(self, numbers):
        self.first = numbers[0]

    def test_prepared(self):
        assert self.first == 1
