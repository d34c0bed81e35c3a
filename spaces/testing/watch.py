"""Running those files again whose imports have changed."""

import os
import time

from modspace.testing import display
from modspace.testing.files import Files
from modspace.testing.runner import Runner
from modspace.testing.search import Search


class Watch(Runner):
    """A plugin of pytest that runs files, and then those again that a change of a source concerns, until it is interrupted."""

    def pytest_runtestloop(self, session):
        manager = self.config.pluginmanager
        self.reporter = manager.get_plugin("terminalreporter")
        # Nothing that happens from here on is missed.
        watcher = self.options["watch"](self.directories())
        self.read_once = {str(self.config.inipath), *(module.__file__ for module in manager._conftest_plugins)}
        self.everything = self.files
        try:
            super().pytest_runtestloop(session)
        except (session.Failed, session.Interrupted):
            # Told by the summary.
            pass
        self.summarise(session)
        runner = Files(self.spaces, session, self.options)
        runner.end()
        try:
            while True:
                self.reporter.write_line("waiting for changes; Ctrl-C ends", light=True)
                self.reporter._tw.flush()
                self.round(session, runner, watcher)
                if self.is_to_restart:
                    break
        except KeyboardInterrupt:
            self.reporter.line("")
            runner.end()
        # All has been told.
        self.reporter.stats.clear()
        self.reporter.summary_stats = lambda: None
        self.config.option.no_summary = True
        session.testscollected = 1
        session.shouldfail = session.shouldstop = False
        return True

    def directories(self):
        """What is watched: the root, and what else is tested."""
        found = []
        for directory in [str(self.config.rootpath), *self.spaces.main.sys.path]:
            directory = os.path.abspath(directory)
            is_ours = os.path.isdir(directory) and not (directory + os.sep).startswith(self.spaces.site)
            if is_ours and not any((directory + os.sep).startswith(os.path.join(one, "")) for one in found):
                found.append(directory)
        return found

    def round(self, session, runner, watcher):
        """Waits for a change, and runs the files that it concerns."""
        changed = set()
        while not (changed & self.read_once or (files := self.concerned(changed))):
            changed = {path for path in watcher.next() if not self.is_output(path)}
            known = set().union(*self.imports.values())
            if any(path not in known and path.endswith(".py") for path in changed):
                self.everything = Search(session, self.options).files()
                runner.outer.restore()
        if changed & self.read_once:
            self.is_to_restart = True
            return
        self.reset(session)
        self.display.total, self.display.done = len(files), 0
        self.display.is_last = lambda: runner.is_last
        runner.begin()
        for arguments, path in files:
            begun = time.monotonic()
            runner.imports.pop(path, None)
            runner.run(arguments, path)
            self.times[path] = time.monotonic() - begun
            self.display.done += 1
            if session.shouldfail or session.shouldstop:
                break
        self.imports.update(runner.imports)
        self.left = list(runner.left)
        runner.left.clear()
        self.summarise(session)
        # The answer does not wait for it.
        runner.end()

    @staticmethod
    def is_output(path):
        """Whether a file is what running tests writes."""
        return "__pycache__" in path or ".pytest_cache" in path or f"{os.sep}.git{os.sep}" in path

    def concerned(self, changed):
        """The files that have imported what was changed, and those of which nobody knows."""
        return [
            (arguments, path)
            for arguments, path in self.everything
            if not self.imports.get(path, changed).isdisjoint(changed)
        ]

    def reset(self, session):
        """Lets pytest's counts begin anew."""
        from _pytest import timing

        session.testsfailed = 0
        session.shouldfail = session.shouldstop = False
        self.collection_errors = 0
        self.reporter.stats.clear()
        self.reporter._main_color = None
        self.reporter._progress_nodeids_reported.clear()
        self.reporter._already_displayed_warnings = None
        self.reporter._session_start = timing.Instant()

    def summarise(self, session):
        """What pytest writes and keeps when a run ends."""
        manager = self.config.pluginmanager
        told = [self.reporter, manager.get_plugin("lfplugin"), self]
        others = [plugin for plugin in manager.get_plugins() if plugin not in told]
        status = 2 if self.collection_errors else 1 if session.testsfailed else 0
        if status == 2:
            session.shouldstop = display.errors_during_collection(self.collection_errors)
        manager.subset_hook_caller("pytest_sessionfinish", others)(session=session, exitstatus=min(status, 1))
        self.reporter._tw.flush()
