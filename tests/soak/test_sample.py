import pytest


@pytest.fixture
def number():
    yield 3


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_product(number, factor):
    assert number * factor == 3 * factor


def test_fails(number):
    assert number == 4
