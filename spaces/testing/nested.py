"""Running a single test in spaces of its own, in the middle of a session of pytest."""

import contextlib
import marshal
import os

import modspace
from modspace.testing import workers
from modspace.testing.modules import Spaces

#: Whether such a test runs.
is_running = False


class Here:
    """What a worker has for a link when it runs one file in the same process."""

    def __init__(self, file):
        self.file = file
        self.events = []
        #: As `Worker.end_of_run` has it.
        self.end = None

    def next(self):
        file, self.file = self.file, None
        return file

    def event(self, data):
        self.events.append(marshal.loads(data))

    def interrupted(self, data):
        self.end = marshal.loads(data)[:3]

    def is_stopped(self):
        return False

    def ready(self):
        """Nobody waits for it."""

    def test(self, name):
        """Nobody waits for it."""

    def done(self, data):
        """The session has its own account of what there is."""

    def finished(self, data):
        """It ends when `pytest.main` returns."""


def run(item, nextitem):
    """Runs a test as a session of its own would, with the same pytest, and tells the item's session what became of it."""
    global is_running
    path, _, inside = item.nodeid.partition("::")
    link = Here(([f"{item.path}::{inside}"], str(item.path)))
    is_running = True
    try:
        status = run_session(item, link)
    finally:
        is_running = False
    teller = workers.Teller(item.session)
    begun = ("start", item.nodeid, item.location)
    events = [event for event in link.events if event[0] not in ("collected", "deselected")]
    if not any(event[0] == "report" for event in events) and (link.end is None or link.end[0] == "usage"):
        failures = [teller.report(event[1]).longreprtext for event in link.events if event[0] == "collected" and event[-1]]
        reason = link.end[1] if link.end is not None else [f"pytest ended with status {status}"]
        text = "\n".join(failures or [f"The test was not found again in a space of its own: {', '.join(reason)}."])
        link.end = None
        events = [begun, *workers.Run.failure_of_test(begun, text, [])]
    for name, *rest in events:
        getattr(teller, "tell_" + name)(*rest)
    tear_down(item, nextitem)
    if link.end is not None:
        raise teller.error(f"in the session of {item.nodeid}", *link.end)


def run_session(item, link):
    import pytest

    config = item.config
    args = list(config.invocation_params.args)
    owner = modspace.space_of(item.module) if hasattr(item, "module") else None
    here = modspace.current()
    options = {
        **modspace._test_options([]), "args": args, "link": link, "worker": 0, "worker_count": 1, "site": [], "coverage": None,
        # Those of its file.
        "path": [] if owner in (None, here) else [entry for entry in owner.sys.path if entry not in here.sys.path],
        "temporary": str(config._tmp_path_factory.mktemp("isolated")),
    }
    parent = modspace.ModuleSpace(here, name=item.nodeid, path=[], share=["*"])
    spaces = Spaces(options, parent)
    directory = os.getcwd()
    os.chdir(config.invocation_params.dir)
    try:
        with spaces.patched:
            spaces.patch()
            with spaces.main.space:
                return int(pytest.main(args, plugins=[workers.Worker(spaces, options)]))
    finally:
        with contextlib.suppress(OSError):
            os.chdir(directory)
        parent.discard(force=True, recursive=True)


def tear_down(item, nextitem):
    """Ends what fixtures of classes and files there are that the next test does not need: the item was not set up itself."""
    from _pytest.reports import TestReport
    from _pytest.runner import CallInfo

    capture = item.config.pluginmanager.get_plugin("capturemanager")
    with contextlib.nullcontext() if capture is None else capture.item_capture("teardown", item):
        call = CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown")
    if call.excinfo is not None:
        item.ihook.pytest_runtest_logreport(report=TestReport.from_item_and_call(item, call))
