"""Running suites of plain `unittest`: what the run makes of what becomes of tests."""

import _colorize
import json
import marshal
import os
import sys
import time
import types
import unittest

from modspace.testing import display, workers
from modspace.testing.results import clean
from modspace.testing.unittest_files import Files, Search, text_of

#: By this, unittest leaves what is here out of tracebacks.
__unittest = True

#: The status of a program that Ctrl-C has ended.
INTERRUPTED = 130


def run(options):
    """Runs the tests of files, directories and dotted names, and returns the exit status."""
    sys.argv[:] = ["python -m unittest", *options["args"]]
    if options["link"] is not None:
        work(options)
        return 0
    suite = Suite(options)
    runner = unittest.TextTestRunner(verbosity=options["verbosity"], failfast=options["failfast"], resultclass=Printed)
    end = ""
    try:
        result = runner.run(suite)
        nothing = result.testsRun == 0 and not result.skipped
        status = 1 if not result.wasSuccessful() else 5 if nothing else 0
    except KeyboardInterrupt as error:
        suite.result.printErrors()
        status, end = INTERRUPTED, suite.interrupted_at or text_of(error)
    except workers.InternalError as error:
        suite.result.printErrors()
        status, end = 3, f"modspace test: {error}\n"
    suite.show_summary(runner.stream)
    runner.stream.write(end)
    runner.stream.flush()
    if options["has_reports"]:
        try:
            options["write_reports"](suite.record.document(status, suite.files()))
        except OSError as error:
            print(f"modspace test: {error}", file=sys.stderr)
            return status or 3
    return status


class Test:
    """What stands for a test where it is printed."""

    failureException = AssertionError

    def __init__(self, text, description, name, subtest):
        self.text = text
        self.description = description
        self.name = name
        self.subtest = subtest

    def __str__(self):
        return self.text

    def shortDescription(self):
        return self.description

    def id(self):
        return self.name


class SubTest(Test, unittest.case._SubTest):
    """The same for a subtest."""


class Printed(unittest.TextTestResult):
    """unittest's own result, which hears of tests that run elsewhere."""

    def hear(self, method, test, *details):
        """`details` are what the method is given. An exception is whether it is a failure, and its traceback as text."""
        stand = Test(*test) if test[3] is None else SubTest(*test)
        if method == "addSubTest":
            is_failure, text = details[0]
            self.addSubTest(stand, stand, (AssertionError if is_failure else Exception, text))
        else:
            getattr(self, method)(stand, *details)

    def _exc_info_to_string(self, err, test):
        return err[1]


class Suite:
    """What unittest's runner runs as its suite: all files."""

    def __init__(self, options):
        self.options = options
        self.root = os.getcwd()
        self.record = Record()
        #: What was put back after files, as `files.Files.left` has it.
        self.left = []
        self.leaks = []
        #: How long files took, by their paths.
        self.times = {}
        #: The file that is heard of.
        self.path = ""
        self.count = 0
        #: The traceback of what ends the run, where it is known better than by the exception.
        self.interrupted_at = ""

    def __call__(self, result):
        self.result = result
        files = Search(self.options).files()
        self.count = len(files)
        jobs, has_timeout = self.options["workers"], self.options["has_timeout"]
        jobs = min(self.options["cores"] if jobs is None else jobs, len(files))
        if not files:
            return
        if self.options["isolate"] == "none" or jobs == 1 and not has_timeout:
            self.run_here(files)
        else:
            self.run_elsewhere(files, jobs)

    def run_here(self, files):
        own = Files(self.options, self.hear)
        self.left, self.leaks = own.left, own.spaces.leaks
        try:
            if self.options["isolate"] == "none":
                own.run_part(files, os.getcwd())
                return
            for arguments, path in files:
                begun = time.monotonic()
                own.run(arguments, path)
                self.times[path] = time.monotonic() - begun
                if own.is_stopped or self.result.shouldStop:
                    break
        finally:
            self.interrupted_at = own.interrupted_at
            own.end()

    def run_elsewhere(self, files, count):
        run = Run(self, files, count)
        try:
            run.run()
        finally:
            self.interrupted_at = run.interrupted_at

    def hear(self, event, *details):
        """What is told of tests, in the order of a run in one process."""
        if event == "file":
            self.path = details[0]
        elif event == "output":
            name, data = details
            stream = getattr(sys, name)
            stream.write(data.decode(stream.encoding, "backslashreplace"))
            stream.flush()
        elif event == "covered":
            self.options["coverage"].add(*details)
        else:
            self.record.hear(self.name(self.path), event, *details)
            self.result.hear(event, *details)

    def files(self):
        """What there is to say of each file."""
        names = {self.name(path): seconds for path, seconds in self.times.items()}
        known = {name: {"name": name, "seconds": seconds, "put_back": []} for name, seconds in names.items()}
        for name, changes in self.left:
            file = known.setdefault(name, {"name": name, "seconds": 0.0, "put_back": []})
            file["put_back"].extend([what, how] for what, how in changes)
        return list(known.values())

    def name(self, path):
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def show_summary(self, stream):
        display.summary(Reporter(stream, self.options), self.left, self.leaks if self.options["leaks"] else None, self.count)


class Reporter:
    """What `display` takes for a terminal reporter of pytest."""

    def __init__(self, stream, options):
        self.line = stream.writeln
        self.config = types.SimpleNamespace(get_verbosity=lambda: options["verbosity"] - 1)

    def section(self, title):
        self.line(f" {title} ".center(70, "="))


def work(options):
    """Runs files in a worker."""
    link = options["link"]

    def tell(event, *details):
        if event == "startTest":
            link.test(details[0][0])
        link.event(marshal.dumps(workers.plain((event, *details))))

    files = Files(options, tell)
    try:
        link.ready(lambda: marshal.dumps((workers.where_tests_are(link), [])))
        while (file := link.next()) is not None:
            try:
                files.run(*file)
            finally:
                if options["coverage"] is not None:
                    tell("covered", options["coverage"].news())
            link.done(marshal.dumps({"left": files.left, "is_stopped": files.is_stopped}), files.is_stopped)
            files.left = []
    except KeyboardInterrupt as error:
        link.interrupted(marshal.dumps(files.interrupted_at or text_of(error)))
    finally:
        files.end()
    link.finished(marshal.dumps(files.spaces.leaks))


class Run(workers.Listener):
    """Has files run by workers, and tells what became of their tests, file by file."""

    begins, ends = "startTest", "stopTest"

    def __init__(self, suite, files, count):
        super().__init__(suite.root)
        self.suite = suite
        self.times = suite.times
        #: The traceback of what interrupts the run in a worker.
        self.interrupted_at = ""
        self.broken = None
        self.workers = suite.options["start_workers"].start(files, count, "")

    def run(self):
        self.follow()
        if self.interrupted_at:
            raise KeyboardInterrupt
        if self.broken is not None:
            raise workers.InternalError(self.broken)

    def note(self, worker, event):
        super().note(worker, event)
        if self.suite.options["failfast"] and event[0] in ("addError", "addFailure", "addSubTest", "addUnexpectedSuccess"):
            self.workers.stop()

    def on_done(self, worker, data, seconds):
        result = marshal.loads(data)
        self.times[self.running[worker][0]] = seconds
        self.suite.left.extend(result["left"])
        if result["is_stopped"]:
            self.workers.stop()
        self.tell(worker)

    def on_interrupted(self, worker, data):
        self.interrupted_at = self.interrupted_at or marshal.loads(data)
        self.workers.stop()

    def on_finished(self, worker, data):
        self.suite.leaks.extend(marshal.loads(data))

    def on_broken(self, worker, how):
        self.broken = how
        self.workers.stop()

    def tell(self, worker):
        path, events = self.running.pop(worker)
        self.suite.hear("file", path)
        for event in events:
            self.suite.hear(*event)

    @staticmethod
    def name_of(event):
        return event[1][0]

    @staticmethod
    def failure_of_test(begun, text, printed, events):
        _, test = begun
        return [("addError", test, (False, text + "\n")), ("stopTest", test)]

    @staticmethod
    def failure_of_file(name, text):
        return [("addError", (name, None, "", None), (False, text + "\n"))]


class Record:
    """What became of each test, for reports in files; see `results.Results`."""

    def __init__(self):
        self.begun = time.time()
        self.tests = []
        #: The last ones, by their names: several tests may have one name.
        self.known = {}

    def hear(self, file, event, test, *details):
        _, _, name, subtest = test
        name = f"{file}::{name}" if name else file
        known = self.test(name, subtest if event == "addSubTest" else None, is_new=event == "startTest")
        if event in ("addError", "addFailure", "addSubTest"):
            is_failure, text = details[0]
            text = clean(_colorize.decolor(text))
            self.fail(known, "failed" if is_failure else "error", message_of(text), text)
            if event == "addSubTest":
                self.fail(self.test(name), "failed", "contains failed subtests", "")
        elif event == "addUnexpectedSuccess":
            self.fail(known, "failed", "unexpected success", "")
        elif event in ("addSkip", "addExpectedFailure") and known["outcome"] == "passed":
            known["outcome"] = "skipped" if event == "addSkip" else "xfailed"
            known["message"] = clean(str(details[0])) if event == "addSkip" else ""
        elif event == "addDuration":
            known["seconds"] = details[0]

    def test(self, name, subtest=None, is_new=False):
        if is_new or (name, subtest) not in self.known:
            self.known[name, subtest] = {
                "name": clean(name), "subtest": subtest and clean(subtest), "outcome": "passed", "seconds": 0.0,
                "message": "", "details": "", "stdout": "", "stderr": "", "log": "", "properties": [],
            }
            self.tests.append(self.known[name, subtest])
        return self.known[name, subtest]

    @staticmethod
    def fail(test, outcome, message, details):
        """What fails after the test itself does not make a failed one better."""
        if test["outcome"] not in ("failed", "error"):
            test.update(outcome=outcome, message=message)
        test["details"] += details

    def document(self, status, files):
        return json.dumps({
            "pytest": "unittest",
            "begun": self.begun,
            "seconds": time.time() - self.begun,
            "status": status,
            "tests": self.tests,
            "files": files,
        })


def message_of(text):
    """The exception at the end of a traceback."""
    lines = text.rpartition("Traceback (most recent call last):\n")[2].splitlines()
    return next((line for line in lines if line and not line.startswith(" ")), "")
