"""Looking for test files, without importing them, and running them, here or by workers."""

import os
import sys
import time

from modspace.testing import changes, display, search, state, workers
from modspace.testing.files import Files

#: Where pytest's cache keeps how long files took, in seconds, and which sources they imported.
TIMES, IMPORTS = "modspace/durations", "modspace/imports"


class Runner:
    """A plugin of pytest that collects and runs file by file."""

    collection_errors = 0
    #: As `workers.Run.interrupted_at`.
    interrupted_at = None
    #: What runs files in this process, if something does.
    here = None
    #: Whether pytest has to start anew, because of what it has read when it started.
    is_to_restart = False

    def __init__(self, spaces, options):
        self.spaces = spaces
        self.options = options
        self.files = []
        #: What was put back after files, as `Files.left` has it.
        self.left = []
        self.leaks = spaces.leaks
        #: How long files took, by their paths.
        self.times = {}
        #: The sources that files had imported.
        self.imports = {}
        #: Names of files in reports and in pytest's cache, by their paths.
        self.names = {}

    def pytest_load_initial_conftests(self, early_config):
        self.spaces.config = early_config

    def pytest_configure(self, config):
        self.config = self.spaces.config = config

    def pytest_collection(self, session):
        outer = state.Hooks(self.config.pluginmanager)
        self.files = search.Search(session, self.options).files()
        # Without the `conftest.py` files that were read on the way.
        outer.restore()
        if self.options["changed"] is not None:
            self.choose_changed(self.options["changed"])
        display.end_line_of_collection(self.config, len(self.files))
        if self.options["shard"] is not None and not self.files:
            display.say(self.config, "no file is in part {} of {}".format(*self.options["shard"]))
        return True

    def choose_changed(self, revision):
        """Leaves the files that have imported, or are, what is not as in a revision of git, and those of which nobody knows."""
        changed = set(map(self.name, changes.since(revision, self.config.rootpath)))
        known = self.known(IMPORTS)
        self.files = [
            (arguments, path) for arguments, path in self.files if not changed.isdisjoint(known.get(self.name(path), changed))
        ]

    def pytest_collectreport(self, report):
        if report.failed:
            self.collection_errors += 1

    def pytest_runtestloop(self, session):
        self.check_errors(session, session.testsfailed)
        self.display = display.Display(self.config, len(self.files))
        self.collection_errors = 0
        count = self.processes()
        if count is None:
            self.run_here(session)
        elif self.files:
            self.run_elsewhere(session, count)
        self.check_errors(session, self.collection_errors)
        is_part = self.options["changed"] is not None or self.options["shard"] is not None
        if is_part and not self.files:
            # That nothing is to be run is no mistake.
            session.testscollected = 1
        return True

    def pytest_keyboard_interrupt(self, excinfo):
        """Has the terminal show where a test in a worker was, and not where the run heard of it."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.interrupted_at is not None and reporter is not None:
            from _pytest._code.code import ReprFileLocation

            reporter._keyboardinterrupt_memo.reprcrash = ReprFileLocation(*self.interrupted_at)

    def check_errors(self, session, errors):
        if errors and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(display.errors_during_collection(errors))

    def processes(self):
        """How many workers there are to be; None when files are run here."""
        import pytest

        option = self.config.option
        # What shows something while tests run, or asks.
        here = [
            name
            for name, is_given in {
                "--pdb": option.usepdb,
                "--trace": option.trace,
                "--co": option.collectonly,
                "--setup-show": option.setupshow,
                "--setup-only": option.setuponly,
                "--setup-plan": option.setupplan,
                "-s": option.capture == "no",
                "--sw": getattr(option, "stepwise", False),
                "log_cli": self.config.getini("log_cli") or option.log_cli_level,
            }.items()
            if is_given
        ]
        count, has_timeout = self.options["workers"], self.options["has_timeout"]
        # Only a process can be ended from outside.
        is_wanted = has_timeout or count is not None and count > 1
        if here and is_wanted and here != ["-s"] and not option.collectonly:
            raise pytest.UsageError(
                f"{here[0]} needs the tests to run in one process: leave out {'--timeout' if has_timeout else '-j'}"
            )
        if here and (here != ["-s"] or not is_wanted):
            return None
        count = min(self.options["cores"] if count is None else count, len(self.files))
        return count if count > 1 or has_timeout else None

    def run_here(self, session):
        files = Files(self.spaces, session, self.options)
        self.left, self.imports = files.left, files.imports
        self.display.is_last = lambda: files.is_last
        self.here = files
        collected = 0
        try:
            for arguments, path in self.files:
                begun = time.monotonic()
                collected += files.run(arguments, path)
                self.times[path] = time.monotonic() - begun
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
                self.display.done += 1
        finally:
            session.testscollected = collected
            files.end()

    def pytest_runtest_setup(self):
        if self.here is not None:
            self.here.is_last = self.here.begins_last

    def run_elsewhere(self, session, count):
        # They write to the same place with `-s`.
        sys.stdout.flush()
        known = self.known(TIMES)
        files = self.files
        if not self.config.getoption("failedfirst", False) and known:
            # The longest ones first; those that nobody knows are as long as most.
            usual = sorted(known.values())[len(known) // 2]
            files = sorted(files, key=lambda file: -known.get(self.name(file[1]), usual))
        run = workers.Run(session, files, self.options, count, self.display)
        self.left, self.leaks, self.times, self.imports = run.left, run.leaks, run.times, run.imports
        try:
            run.run()
        finally:
            session.testscollected = run.collected
            self.interrupted_at = run.interrupted_at
        if session.shouldfail:
            raise session.Failed(session.shouldfail)

    def name(self, path):
        # Most sources are imported by many files.
        name = self.names.get(path)
        if name is None:
            name = self.names[path] = os.path.relpath(path, self.config.rootpath).replace(os.sep, "/")
        return name

    def known(self, what):
        """What earlier runs have kept of files that still exist."""
        cache = getattr(self.config, "cache", None)
        known = cache.get(what, {}) if cache is not None else {}
        return {name: value for name, value in known.items() if os.path.exists(os.path.join(self.config.rootpath, name))}

    def pytest_sessionfinish(self):
        cache = getattr(self.config, "cache", None)
        if cache is None or not self.times or self.config.option.collectonly:
            return
        times = {self.name(path): round(time, 3) for path, time in self.times.items()}
        cache.set(TIMES, {**self.known(TIMES), **times})
        imports = {self.name(path): sorted(map(self.name, sources)) for path, sources in self.imports.items()}
        cache.set(IMPORTS, {**self.known(IMPORTS), **imports})

    def told(self):
        """What there is to say of each file."""
        files = {self.name(path): {"name": self.name(path), "seconds": time, "put_back": []} for path, time in self.times.items()}
        for name, changed in self.left:
            file = files.setdefault(name, {"name": name, "seconds": 0.0, "put_back": []})
            file["put_back"].extend([what, how] for what, how in changed)
        return list(files.values())

    def pytest_terminal_summary(self, terminalreporter):
        display.summary(terminalreporter, self.left, self.leaks if self.options["leaks"] else None, len(self.files))
