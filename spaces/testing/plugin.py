"""A plugin of pytest, for tests of what uses module spaces: `-p modspace.pytest`.

PYTEST_DONT_REWRITE: it has no assertions, and each session that runs in the middle of another one would say that it is loaded.
"""

import modspace
import pytest


class SpaceLeakWarning(pytest.PytestWarning):
    """Something outside holds what a space had loaded, when the space of a test was discarded."""


def pytest_configure(config):
    config.addinivalue_line("markers", "isolated: run the test with modules of its own, its file, conftest.py files and fixtures among them")


@pytest.fixture
def space(request):
    """A module space below that of the test, which is discarded after it. What is left of it is a `SpaceLeakWarning`."""
    function = request.function
    made = modspace.ModuleSpace(modspace.space_of(function), name=request.node.name)
    yield made
    # What a failed test refers to is kept for its report.
    failed = request.session.testsfailed
    report = made.discard(force=True, recursive=True)
    if not report.clean and failed == request.node.stash.get(FAILED, failed):
        request.node.warn(SpaceLeakWarning(str(report)))


#: How many tests had failed before this one.
FAILED = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    from modspace.testing import nested

    item.stash[FAILED] = item.session.testsfailed
    if nested.is_running or item.get_closest_marker("isolated") is None:
        return None
    nested.run(item, nextitem)
    return True
