"""Every test here fails; what pytest says about it is checked."""

import pytest


def lengths(*words):
    return {word: len(word) for word in words}


def test_compare():
    limit = 3
    assert lengths("one", "three")["three"] <= limit, "too long"


def test_dicts():
    assert lengths("a", "bb") == {"a": 1, "bb": 3}


def test_strings():
    assert "first\nsecond\n" == "first\nthird\n"


def test_in_a_plugin(checker):
    checker([2, 1])


def test_hook():
    assert 1 + 2j == 2 + 2j


def test_exception():
    print("before it broke")
    {}["missing"]


@pytest.fixture
def broken():
    raise RuntimeError("no fixture")


def test_error(broken): ...


def test_unknown(nothing_like_it): ...
