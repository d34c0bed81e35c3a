"""Running test files in other processes: what these tell the run, and what the run makes of it.

A worker runs files with a pytest of its own, whose reports, warnings and so on go to the run, which tells its pytest of them
as if the tests had run there, file by file.
"""

import builtins
import marshal
import os
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings

from modspace.testing.display import Progress
from modspace.testing.files import Files
from modspace.testing.state import is_of_library


def plain(value):
    """Of the values that `marshal` knows; of others, what they print."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None), bytes):
        return value
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple([plain(item) for item in value])
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for base in str, int, float:
        if isinstance(value, base):
            return base(value)
    return repr(value)


def temporary_directory(config):
    """Where those of workers are. Without pytest's plugin for them nobody makes one, and it is a name."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None:
        return str(factory.getbasetemp())
    return os.path.join(tempfile.gettempdir(), f"modspace-test-{os.getpid()}")


def where_tests_are(link):
    """The calls in which the main thread is, from the first one that is of no library that runs tests."""
    calls = link.stack(threading.main_thread().ident)
    while calls and is_of_runner(calls[0][0].co_filename):
        del calls[0]
    calls = [traceback.FrameSummary(code.co_filename, line, code.co_name) for code, line in calls]
    return "".join(traceback.StackSummary.from_list(calls).format())


def is_of_runner(file):
    """Whether a source is of what calls tests."""
    runners = [sys.modules.get(name) for name in ("_pytest", "pluggy")]
    directories = [os.path.join(os.path.dirname(module.__file__), "") for module in runners if module is not None]
    return is_of_library(file) or file.startswith(tuple(directories))


class Worker:
    """A plugin of the pytest in a worker, which has no files to look for and nobody to show anything."""

    is_to_restart = False
    #: Whether there is somebody to tell: what happens while pytest starts, the run has seen itself.
    is_ready = False

    def __init__(self, spaces, options):
        import pytest

        self.spaces = spaces
        self.options = options
        self.link = options["link"]
        for hook in Worker.pytest_configure, Worker.pytest_sessionstart:
            pytest.hookimpl(tryfirst=True)(hook)

    def tell(self, *event):
        if self.is_ready:
            self.link.event(marshal.dumps(plain(event)))

    def pytest_load_initial_conftests(self, early_config):
        self.spaces.config = early_config
        # By this, plugins know that somebody else writes their files.
        name = f"gw{self.options['worker']}"
        early_config.workerinput = {
            "workerid": name,
            "workercount": self.options["worker_count"],
            "mainargv": list(sys.argv),
            "testrunuid": os.path.basename(self.options["temporary"]),
        }

    def pytest_configure(self, config):
        self.config = self.spaces.config = config
        config.option.basetemp = os.path.join(self.options["temporary"], f"gw{self.options['worker']}")
        config.option.no_summary = True

    def pytest_sessionstart(self, session):
        # Plugins may want to write to it; nobody reads that.
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter._tw._file = open(os.devnull, "w")

    def pytest_collection(self, session):
        return True

    def pytest_runtestloop(self, session):
        import pytest

        files = Files(self.spaces, session, self.options)
        files.is_stopped = self.link.is_stopped
        try:
            self.link.ready(self.where)
            self.is_ready = True
            while (file := self.link.next()) is not None:
                try:
                    collected = files.run(*file)
                finally:
                    if self.options["coverage"] is not None:
                        self.tell("covered", self.options["coverage"].news())
                imports = sorted(files.imports.pop(file[1], ()))
                result = {"collected": collected, "left": files.left, "imports": imports}
                self.link.done(marshal.dumps(plain(result)), bool(self.config.getoption("maxfail")))
                files.left = []
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
                # It does not let itself be set to that in the open.
                session._shouldfail = False
        except pytest.UsageError as error:
            self.link.interrupted(marshal.dumps(plain(("usage", list(error.args), None))))
        finally:
            files.end()
            session.testscollected = 1
        self.link.finished(marshal.dumps(plain({"leaks": self.spaces.leaks})))
        return True

    def where(self):
        """Where tests are that take too long, and what pytest has captured since it last said what that was."""
        printed = []
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if capture is not None and capture.is_globally_capturing():
            printed = [part for part in zip(("stdout", "stderr"), capture.read_global_capture()) if part[1]]
        return marshal.dumps((where_tests_are(self.link), printed))

    # What the run is told.

    def pytest_runtest_logstart(self, nodeid, location):
        self.link.test(nodeid)
        self.tell("start", nodeid, location)

    def pytest_runtest_logfinish(self, nodeid, location):
        self.tell("finish", nodeid, location)

    def pytest_runtest_logreport(self, report):
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.tell("report", data, report.failed and not hasattr(report, "wasxfail"))

    def pytest_collectreport(self, report):
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        names = [node.nodeid for node in report.result or []]
        self.tell("collected", data, names, report.failed)

    def pytest_deselected(self, items):
        self.tell("deselected", [item.nodeid for item in items])

    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        category = warning_message.category
        names = (category.__module__, category.__qualname__) if category is not None else None
        warning = str(warning_message.message), names, warning_message.filename, warning_message.lineno, warning_message.line
        self.tell("warning", warning, when, nodeid, location)

    def pytest_keyboard_interrupt(self, excinfo):
        where = excinfo.getrepr(funcargs=True).reprcrash
        end = self.end_of_run(excinfo.value)
        self.link.interrupted(marshal.dumps(plain((*end, str(where.path), where.lineno, where.message))))

    @staticmethod
    def end_of_run(error):
        """How a test ends the whole run: the kind, what is said, and pytest's status."""
        from _pytest.main import Session
        from _pytest.outcomes import Exit

        if isinstance(error, Exit):
            return "exit", error.msg, error.returncode
        return "stop" if isinstance(error, Session.Interrupted) else "interrupt", str(error), None

    def pytest_internalerror(self, excrepr):
        self.link.interrupted(marshal.dumps(plain(("internal", str(excrepr), None, None, None, None))))


class Stand:
    """What stands for a test, or for another node, of a worker."""

    def __init__(self, nodeid):
        self.nodeid = nodeid

    @property
    def id(self):
        """The node id as an object, which newer versions of pytest use, as reports have it."""
        from _pytest.reports import CollectReport

        return CollectReport(self.nodeid, "passed", None, []).id


class InternalError(Exception):
    """What went wrong in a worker, and not in a test."""


class Listener:
    """Hears what happens in workers, and keeps of each file what there is to tell of it until the file is done."""

    #: The names of events by which a test begins and ends.
    begins, ends = "start", "finish"

    def __init__(self, root):
        self.root = root
        #: The workers; they are set by who starts them.
        self.workers = None
        #: How long files took.
        self.times = {}
        #: By workers, the file that runs, and what was heard of it.
        self.running = {}

    def follow(self):
        """Does what there is to do when something happens in a worker, until all have ended."""
        interrupt, is_killed = None, False
        while True:
            try:
                event = self.workers.next(0.1)
                if event is None:
                    break
                if event:
                    name, worker, *rest = event
                    getattr(self, "on_" + name)(worker, *rest)
                else:
                    self.wait()
            except KeyboardInterrupt as error:
                if interrupt is None:
                    interrupt = error
                    self.workers.interrupt()
                elif not is_killed:
                    # What they had told before counts.
                    is_killed = True
                    self.workers.kill()
                else:
                    break
        if is_killed:
            self.on_killed()
        # Of files that were not ended, what is known.
        for worker in list(self.running):
            self.tell(worker)
        if interrupt is not None:
            raise interrupt

    def wait(self):
        """Nothing happens."""

    def on_killed(self):
        """Workers have been ended in the middle of what they did."""

    def name(self, path):
        """A file's name as node ids have it."""
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def on_file(self, worker, path):
        self.running[worker] = path, []

    def on_test(self, worker, name):
        pass

    def on_report(self, worker, data):
        self.note(worker, marshal.loads(data))

    def note(self, worker, event):
        """Keeps an event of a test, or of a file."""
        self.running[worker][1].append(event)

    def on_crashed(self, worker, test, how):
        self.fail(worker, f"The worker gw{worker} crashed: {how}")

    def on_timed_out(self, worker, test, limit, place):
        self.times[self.running[worker][0]] = limit
        stack, printed = marshal.loads(place) if place is not None else ("", [])
        place = f"\n\nIt was here:\n{stack.rstrip()}" if stack else ""
        self.fail(worker, f"Timeout: the file was ended after {limit:g} s", place, printed)

    def fail(self, worker, text, place="", printed=()):
        """Adds to a file that what ran in it failed: a test, or the file, when none did. `place` is where that was, and
        `printed` what was captured there, as pairs of the stream's name and a text."""
        path, events = self.running[worker]
        tests = [event for event in events if event[0] in (self.begins, self.ends)]
        if tests and tests[-1][0] == self.begins:
            what = f"{text}, while {self.name_of(tests[-1])} ran. Tests of the file that come after it were not run."
            failure = self.failure_of_test(tests[-1], what + place, printed, events)
        else:
            what = f"{text} after {self.name_of(tests[-1])}." if tests else f"{text} before its first test."
            failure = self.failure_of_file(self.name(path), what + place)
        for event in failure:
            self.note(worker, event)
        self.tell(worker)


class Teller:
    """Tells a session of pytest what a worker has told."""

    def __init__(self, session):
        self.session = session
        self.config = session.config
        self.hook = session.config.hook

    def error(self, where, kind, text, status):
        """What ends the run, by what `Worker.end_of_run` says of it."""
        from _pytest.config import UsageError
        from _pytest.outcomes import Exit

        if kind == "usage":
            return UsageError(*text)
        if kind == "exit":
            return Exit(text, status)
        if kind == "stop":
            return self.session.Interrupted(text)
        return InternalError(f"{where}:\n{text}") if kind == "internal" else KeyboardInterrupt()

    def report(self, data):
        if not isinstance(data, dict):
            return data
        report = self.hook.pytest_report_from_serializable(config=self.config, data=data)
        subtest = data.get("_subtest.context")
        if subtest is not None:
            # pytest takes the texts that it reads for values, and so would show the texts of texts.
            object.__setattr__(report.context, "kwargs", subtest["kwargs"])
        return report

    def tell_start(self, nodeid, location):
        self.hook.pytest_runtest_logstart(nodeid=nodeid, location=location)

    def tell_finish(self, nodeid, location):
        self.hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def tell_report(self, data, failed):
        self.hook.pytest_runtest_logreport(report=self.report(data))

    def tell_collected(self, data, names, failed):
        from _pytest.reports import CollectErrorRepr

        report = self.report(data)
        report.result = [Stand(name) for name in names]
        if isinstance(report.longrepr, str):
            report.longrepr = CollectErrorRepr(report.longrepr)
        self.hook.pytest_collectreport(report=report)

    def tell_covered(self, lines):
        self.coverage.add(lines)

    def tell_deselected(self, names):
        self.hook.pytest_deselected(items=[Stand(name) for name in names])

    def tell_warning(self, warning, when, nodeid, location):
        text, names, filename, line_number, line = warning
        category = self.category(*names) if names is not None else Warning
        message = warnings.WarningMessage(category(text), category, filename, line_number, line=line)
        known = {"warning_message": message, "when": when, "nodeid": nodeid, "location": location}
        self.hook.pytest_warning_recorded.call_historic(kwargs=known)

    @staticmethod
    def category(module, name):
        """A warning's class, or one of its name where the class is the tests' own."""
        known = getattr(builtins if module == "builtins" else sys.modules.get(module), name, None)
        if isinstance(known, type) and issubclass(known, Warning):
            return known
        return types.new_class(name, (Warning,), exec_body=lambda body: body.update(__module__=module))


class Run(Teller, Listener):
    """Has files run by workers, and tells pytest what became of them."""

    def __init__(self, session, files, options, count, display):
        Teller.__init__(self, session)
        Listener.__init__(self, session.config.rootpath)
        self.display = display
        self.coverage = options["coverage"]
        #: As `Files.left`.
        self.left = []
        self.leaks = []
        self.collected = 0
        #: As `Files.imports`.
        self.imports = {}
        self.failures = 0
        #: How the run ends early, if it does.
        self.end = None
        #: Where a test has raised `KeyboardInterrupt`: the file, the line, and what it says.
        self.interrupted_at = None
        self.progress = Progress.on(display.reporter, len(files))
        temporary = temporary_directory(self.config)
        self.workers = options["start_workers"].start(files, count, temporary)

    def run(self):
        try:
            self.follow()
        finally:
            if self.progress is not None:
                self.progress.end()
        if self.end is not None:
            raise self.end

    # What happens in workers.

    def wait(self):
        if self.progress is not None:
            self.progress.show()

    def on_file(self, worker, path):
        super().on_file(worker, path)
        if self.progress is not None:
            self.progress.running[self.name(path)] = time.monotonic()

    def note(self, worker, event):
        super().note(worker, event)
        if event[0] in ("report", "collected") and event[-1]:
            self.failures += 1
            if self.progress is not None:
                self.progress.failed += 1
            if 0 < (self.config.getoption("maxfail") or 0) <= self.failures:
                self.workers.stop()

    def on_done(self, worker, data, seconds):
        result = marshal.loads(data)
        path, _ = self.running[worker]
        self.times[path] = seconds
        self.imports[path] = set(result["imports"])
        self.collected += result["collected"]
        self.left.extend(result["left"])
        self.tell(worker)

    def on_interrupted(self, worker, data):
        kind, text, status, *where = marshal.loads(data)
        if self.end is not None:
            return
        self.end = self.error(f"in worker gw{worker}", kind, text, status)
        if isinstance(self.end, KeyboardInterrupt):
            self.interrupted_at = tuple(where)
        self.workers.stop()

    def on_killed(self):
        last = [[event for event in events if event[0] in ("start", "finish")][-1:] for _, events in self.running.values()]
        running = sorted((name, location) for kind, name, location in sum(last, []) if kind == "start")
        if running:
            path, line, _ = running[0][1]
            names = " and ".join(name for name, _ in running)
            self.interrupted_at = path, (line or 0) + 1, f"KeyboardInterrupt while {names} ran"

    def on_finished(self, worker, data):
        self.leaks.extend(marshal.loads(data)["leaks"])

    def on_broken(self, worker, how):
        self.end = InternalError(how)
        self.workers.stop()

    # What pytest is told.

    def tell(self, worker):
        """Tells pytest what was heard of the file that a worker has run."""
        path, events = self.running.pop(worker)
        last = max((index for index, event in enumerate(events) if event[0] == "start"), default=None)
        for index, (name, *rest) in enumerate(events):
            # Not as it begins: pytest ends the line of the file before then.
            self.display.is_last = lambda: last is not None and index > last
            getattr(self, "tell_" + name)(*rest)
        self.display.is_last = lambda: False
        self.display.done += 1
        if self.progress is not None:
            self.progress.done += 1
            self.progress.running.pop(self.name(path))
            self.progress.end_line()
            self.progress.show()

    @staticmethod
    def name_of(event):
        return event[1]

    @staticmethod
    def failure_of_test(begun, text, printed, events):
        """Events by which a test has failed, of which others were heard."""
        from _pytest.reports import TestReport

        _, nodeid, location = begun
        heard = {event[1]["when"] for event in events if event[0] == "report" and event[1]["nodeid"] == nodeid}
        phase = "teardown" if "call" in heard else "call" if "setup" in heard else "setup"
        sections = [(f"Captured {stream} {phase}", captured) for stream, captured in printed]
        report = TestReport(nodeid, location, {}, "failed", text, phase, sections)
        return [("report", report, True), ("finish", nodeid, location)]

    @staticmethod
    def failure_of_file(name, text):
        """Events by which something has failed in a file that is no test."""
        from _pytest.reports import CollectReport

        report = CollectReport(name, "failed", text, [])
        return [("collected", report, [], True)]
