"""Running one test file after the other."""

import contextlib
import contextvars
import gc
import os
import pathlib
import sys
import threading
import types

import modspace
from modspace.testing import modules, state


class Files:
    """Runs files in the session of a pytest, each in a space of its own.

    What pytest keeps of a file's plugins and fixtures is taken out again after it, and so is what the file did to the process.
    """

    def __init__(self, spaces, session, options):
        from _pytest.fixtures import FixtureManager

        self.spaces = spaces
        self.session = session
        self.config = session.config
        self.options = options
        #: What was put back after files: their names, and what had changed.
        self.left = []
        #: The sources of modules that each file had imported, itself among them.
        self.imports = {}
        #: Whether the running test is the last one of its part; and the same, told only once the line of the file before has ended.
        self.begins_last = self.is_last = False
        #: Whether no test is to be begun any more.
        self.is_stopped = lambda: False
        manager = self.config.pluginmanager
        self.outer = state.Hooks(manager)
        own = {plugin for plugin in self.outer.plugins() if self.is_of_tests(plugin)}
        self.initial = [module.__file__ for module in manager._conftest_plugins]
        self.outer_fixtures = session._fixturemanager
        own.add(self.outer_fixtures)
        self.base = state.Hooks(manager)
        self.base.forget(own)
        # Options are known; who comes later shall not add them again.
        self.base.callers["pytest_addoption"][1][:] = []
        self.base.restore()
        self.own_fixtures = session._fixturemanager = FixtureManager(session)
        self.base = state.Hooks(manager)
        self.fixtures = state.Containers(self.own_fixtures)
        self.settings = state.Containers(self.config, ("_inicache",))
        self.path = list(spaces.main.sys.path)
        self.shared = state.Shared(options)
        spaces.when_loaded(self.shared.note)
        # What is there by now stays: no longer young, it is not looked through when the spaces of files are discarded.
        gc.freeze()
        gc.unfreeze()

    def is_of_tests(self, plugin):
        """Whether a plugin is of the modules that were loaded for the tests, and not of the environment."""
        named = plugin if isinstance(plugin, (types.ModuleType, type)) else type(plugin)
        try:
            return modspace.space_of(named) is self.spaces.main.space
        except TypeError:
            return False

    def run(self, arguments, path):
        """Runs a file, in one space or several, and returns how many tests were collected."""
        collected = 0
        for part in self.parts(arguments, path):
            self.run_part(part, [path])
            collected += self.session.testscollected
            if self.session.shouldfail or self.session.shouldstop:
                break
        return collected

    def begin(self):
        """Gives pytest the plugins and fixtures that all files have."""
        self.base.restore()
        self.session._fixturemanager = self.own_fixtures

    def end(self):
        """Ends what spaces there are, and gives pytest back what it had."""
        self.spaces.discard()
        self.outer.restore()
        self.session._fixturemanager = self.outer_fixtures

    def parts(self, arguments, path):
        """Arguments for pytest that lead to what has modules of its own: the file, or its classes or tests."""
        if self.options["isolate"] == "file" or self.config.option.collectonly:
            return [arguments]
        names = []
        with self.without_reports():
            look = lambda: names.extend(item.nodeid for item in self.session.items)
            self.run_part(arguments, [path], before=look, only_collect=True)
        parts = {}
        for name in names:
            inner = name.partition("::")[2]
            owner, _, test = inner.partition("[")[0].rpartition("::")
            parts.setdefault(owner if self.options["isolate"] == "class" else name, []).append(f"{path}::{inner}")
        # What cannot be collected says so when it is run.
        return list(parts.values()) or [arguments]

    @contextlib.contextmanager
    def without_reports(self, listener=None):
        """Nobody hears of what becomes of tests meanwhile, but for one plugin."""
        names = (
            "pytest_collectreport", "pytest_deselected", "pytest_warning_recorded", "pytest_runtest_logstart",
            "pytest_runtest_logreport", "pytest_runtest_logfinish", "pytest_exception_interact",
        )
        saved = [(getattr(self.base.manager.hook, name), self.base.callers[name]) for name in names]
        try:
            for caller, (implementations, _) in saved:
                heard = [one for one in implementations if listener is not None and one.plugin is listener]
                self.base.callers[caller.name] = heard, None
            self.base.restore()
            yield
        finally:
            for caller, known in saved:
                self.base.callers[caller.name] = known
            self.base.restore()

    def run_part(self, arguments, paths, first=None, before=None, after=None, only_collect=False):
        """Runs tests of files in a space of their own. `first`, `before` and `after` are called there: before anything is
        imported, and around the tests."""
        self.shared.begin()
        name = self.spaces.open(paths, self.path)
        space = self.spaces.current.space
        cleanup, self.config._cleanup_stack = self.config._cleanup_stack, contextlib.ExitStack()
        try:
            contextvars.copy_context().run(self.run_in_space, arguments, paths, first, before, after, only_collect)
        finally:
            sources = {*self.spaces.sources(), *(module.__file__ for module in self.config.pluginmanager._conftest_plugins)}
            for path in paths:
                self.imports.setdefault(path, {path}).update(sources)
            self.base.restore()
            self.fixtures.restore()
            self.settings.restore()
            self.config._cleanup_stack = cleanup
            self.session.items = []
            self.session._setupstate.stack.clear()
            self.spaces.close()
            # What pytest does between two tests is not the file's doing.
            if changes := self.shared.restore(space):
                self.left.append((name, changes))
            self.begins_last = self.is_last = False
            self.spaces.discard_when_due()

    def run_in_space(self, arguments, paths, first, before, after, only_collect):
        current = self.spaces.current
        with current.space:
            current.prepare(self.config)
            # Hooks of pytest, for what is raised where no test sees it.
            current.sys.unraisablehook = modules.without_closed(sys.unraisablehook)
            current.space.import_("threading").excepthook = threading.excepthook
            if first is not None:
                first()
            self.collect_and_run(arguments, paths, before, after, only_collect)

    def catching_warnings(self, when):
        """Warnings go into the report, as those of the same phase of pytest do."""
        from _pytest.warnings import catch_warnings_for_item

        return catch_warnings_for_item(config=self.config, ihook=self.config.hook, when=when, item=None)

    def collect_and_run(self, arguments, paths, before, after, only_collect):
        session, config, manager = self.session, self.config, self.config.pluginmanager
        hook = self.spaces.current.hook
        if hook is not None:
            hook.set_session(session)
            rewrite, manager.rewrite_hook = manager.rewrite_hook, hook
        others = self.base.plugins()
        failed, status = session.testsfailed, 2
        with self.catching_warnings("config"):
            self.load_initial(paths)
            manager.subset_hook_caller("pytest_sessionstart", others)(session=session)
        try:
            with self.catching_warnings("collect"):
                session.perform_collect(arguments)
            if before is not None:
                before()
            if not only_collect and not config.option.collectonly:
                self.run_tests(session.items)
            if after is not None:
                after()
            status = 1 if session.testsfailed > failed else 0
        finally:
            session._setupstate.teardown_exact(None)
            with self.catching_warnings("config"):
                manager.subset_hook_caller("pytest_sessionfinish", others)(session=session, exitstatus=status)
                manager.subset_hook_caller("pytest_unconfigure", others)(config=config)
                config._cleanup_stack.close()
            if hook is not None:
                hook.set_session(None)
                manager.rewrite_hook = rewrite

    def run_tests(self, items):
        for index, item in enumerate(items):
            following = items[index + 1] if index + 1 < len(items) else None
            self.begins_last = following is None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.session.shouldfail or self.session.shouldstop or self.is_stopped():
                break

    def load_initial(self, paths):
        """The `conftest.py` files that pytest had loaded when it started, as far as they are of these files."""
        manager = self.config.pluginmanager
        # These may name plugins; those that come later may not.
        configured, manager._configured = manager._configured, False
        try:
            for conftest in self.initial:
                directory = os.path.dirname(conftest)
                if any(path.startswith(directory + os.sep) for path in paths):
                    manager._loadconftestmodules(
                        pathlib.Path(directory),
                        self.config.getoption("importmode"),
                        self.config.rootpath,
                        consider_namespace_packages=self.config.getini("consider_namespace_packages"),
                    )
        finally:
            manager._configured = configured
