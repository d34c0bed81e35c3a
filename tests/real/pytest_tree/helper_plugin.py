"""A plugin of the tree's own: its assertions are rewritten, its hooks called, its fixtures found."""

import pytest


def check_sorted(values):
    ordered = sorted(values)
    assert values == ordered


@pytest.fixture
def checker():
    return check_sorted


def pytest_report_header(config):
    return "helper: present"


def pytest_assertrepr_compare(config, op, left, right):
    if isinstance(left, complex) and isinstance(right, complex):
        return ["complex numbers differ:", f"   real: {left.real} {op} {right.real}"]
