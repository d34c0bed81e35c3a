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

    def ready(self, witness):
        """Nobody waits for it."""

    def test(self, name):
        """Nobody waits for it."""

    def done(self, data, may_end_run):
        """The session has its own account of what there is."""

    def finished(self, data):
        """It ends when `pytest.main` returns."""


class Session(workers.Worker):
    """A plugin of the pytest of the other session."""

    def __init__(self, spaces, options):
        import pytest

        super().__init__(spaces, options)
        pytest.hookimpl(tryfirst=True)(Session.pytest_configure)

    def pytest_configure(self, config):
        # It is the first session's, which would lose what it has written.
        config.option.log_file = os.devnull
        super().pytest_configure(config)


def run(item, nextitem):
    """Runs a test as a session of its own would, with the same pytest, and tells the item's session what became of it."""
    global is_running
    inside = item.nodeid.partition("::")[2]
    link = Here(([f"{item.path}::{inside}"], str(item.path)))
    teller = workers.Teller(item.session)
    # A worker's run knows by this which test it was that crashed it.
    teller.tell_start(item.nodeid, item.location)
    is_running = True
    try:
        status = run_session(item, link)
    finally:
        is_running = False
    # What is told of the file was told when the session itself collected it.
    events = [
        event for event in link.events if event[0] == "report" or event[0] == "warning" and event[2] == "runtest"
    ]
    if not any(event[0] == "report" for event in events) and (link.end is None or link.end[0] == "usage"):
        failures = [teller.report(event[1]).longreprtext for event in link.events if event[0] == "collected" and event[-1]]
        reason = link.end[1] if link.end is not None else [f"pytest ended with status {status}"]
        text = "\n".join(failures or [f"The test was not found again in a space of its own: {', '.join(reason)}."])
        link.end = None
        events = workers.Run.failure_of_test(("start", item.nodeid, item.location), text, [], [])[:1]
    for name, *rest in events:
        getattr(teller, "tell_" + name)(*rest)
    tear_down(item, nextitem)
    teller.tell_finish(item.nodeid, item.location)
    if link.end is not None:
        raise teller.error(f"in the session of {item.nodeid}", *link.end)


def run_session(item, link):
    import pytest

    config = item.config
    args = list(config.invocation_params.args)
    owner = modspace.space_of(item.module) if hasattr(item, "module") else None
    here = modspace.current()
    options = {
        # It matters to the run where its environment is, and not here.
        **modspace._test_options(["--python-path", os.sep]), "site": [], "args": args, "link": link, "coverage": None,
        **identity(config),
        # Those of its file.
        "path": [] if owner in (None, here) else [entry for entry in owner.sys.path if entry not in here.sys.path],
    }
    parent = modspace.ModuleSpace(here, name=item.nodeid, path=[], share=["*"])
    spaces = Spaces(options, parent)
    directory = os.getcwd()
    os.chdir(config.invocation_params.dir)
    try:
        with spaces.patched:
            spaces.patch()
            with spaces.main.space:
                return int(pytest.main(args, plugins=[Session(spaces, options)]))
    finally:
        with contextlib.suppress(OSError):
            os.chdir(directory)
        parent.discard(force=True, recursive=True)
        restore_faulthandler(config)


def identity(config):
    """Which worker this is; the only one, where there are none."""
    own = getattr(config, "workerinput", {"workerid": "gw0", "workercount": 1})
    factory = getattr(config, "_tmp_path_factory", None)
    temporary = workers.temporary_directory(config) if factory is None else str(factory.mktemp("isolated"))
    return {"worker": own["workerid"].removeprefix("gw"), "worker_count": own["workercount"], "temporary": temporary}


def restore_faulthandler(config):
    """Has tracebacks of crashes go where they went: the other session has sent them to its own output."""
    import faulthandler

    from _pytest.faulthandler import fault_handler_stderr_fd_key

    if fault_handler_stderr_fd_key in config.stash:
        faulthandler.enable(file=config.stash[fault_handler_stderr_fd_key])


def tear_down(item, nextitem):
    """Ends what fixtures of classes and files there are that the next test does not need: the item was not set up itself."""
    from _pytest.reports import TestReport
    from _pytest.runner import CallInfo

    capture = item.config.pluginmanager.get_plugin("capturemanager")
    with contextlib.nullcontext() if capture is None else capture.item_capture("teardown", item):
        call = CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown")
    if call.excinfo is not None:
        item.ihook.pytest_runtest_logreport(report=TestReport.from_item_and_call(item, call))
