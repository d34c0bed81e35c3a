"""Runs test files under the user's pytest, each in a module space of its own.

pytest is loaded once, in the space that runs this. One session collects and runs one file after the other: a file, the
`conftest.py` files above it and the code under test are imported into a child that is discarded when the file is done.
What pytest keeps of a file's plugins and fixtures is taken out again, and so is what the file did to the process.

Before that, the files are looked for in a child of its own, which has the `conftest.py` files that pytest loads when it
starts: these answer for the whole run (options, report header, summary).
"""

import collections
import contextlib
import contextvars
import fnmatch
import importlib
import os
import pathlib
import pkgutil
import sys
import threading
import types
from importlib import abc

import modspace
from modspace.testing import state

#: Tests and pytest have the very same modules of these, always: tests would else define fixtures of another pytest.
NEEDED = "pytest", "_pytest"

#: What pytest hands to tests, and what that needs: shared as well, unless it is to be fresh.
HANDED_OUT = "pluggy", "iniconfig", "pygments", "logging", "unittest", "warnings"

#: How many files' spaces are discarded at a time: each time, the whole heap is looked through.
BATCH = 16


class Space:
    """The modules of a test file."""

    def __init__(self, runner, name, path, parent):
        self.runner = runner
        self.space = modspace.ModuleSpace(
            parent, name=name, path=path, share=runner.shared, fresh=runner.fresh, argv=list(sys.argv)
        )
        self.sys = self.space.sys
        own = "lambda *args: __import__({!r}).{}(*args)"
        self.importlib = types.SimpleNamespace(import_module=self.space.eval(own.format("importlib", "import_module")))
        self.pkgutil = types.SimpleNamespace(resolve_name=self.space.eval(own.format("pkgutil", "resolve_name")))
        self.import_ = self.space.eval("__import__")
        self.hook = self.import_path = None

    def prepare(self, config):
        """Lets test files be imported here, with their assertions rewritten."""
        from _pytest import pathlib as imports
        from _pytest.assertion import rewrite

        self.import_path = self.copy(imports)["import_path"]
        if config.getoption("assertmode") == "rewrite":
            self.hook = self.copy(rewrite)["AssertionRewritingHook"](config)
            self.hook._must_rewrite.update(self.runner.marked)
            self.sys.meta_path.insert(0, self.hook)

    def copy(self, module):
        """The names of a module of pytest whose functions work on the import system here: the same code over the space's own
        `sys`, `importlib` and builtins. To load the module anew would take longer than most test files."""
        importlib, machinery, builtins = self.space.eval(IMPORT_SYSTEM)
        names = {**vars(module), "__builtins__": builtins, "sys": self.sys, "importlib": importlib}
        for name, value in vars(module).items():
            if isinstance(value, type) and hasattr(machinery, name):
                names[name] = getattr(machinery, name)
            elif isinstance(value, types.FunctionType) and value.__globals__ is vars(module):
                names[name] = over(names, value)
            elif isinstance(value, type) and value.__module__ == module.__name__ and issubclass(value, abc.Loader):
                body = {key: over(names, item) for key, item in vars(value).items() if key not in ("__dict__", "__weakref__")}
                body["_find_spec"] = machinery.PathFinder.find_spec
                names[name] = type(value)(name, value.__bases__, body)
        return names

    def forget(self):
        self.hook = self.import_path = self.import_ = self.importlib = self.pkgutil = None


#: What a space imports with.
IMPORT_SYSTEM = "[__import__(name, fromlist=['']) for name in ('importlib.util', 'importlib.machinery')] and " \
    "(__import__('importlib'), __import__('importlib.machinery').machinery, __import__('builtins').__dict__)"


def over(names, value):
    """A function over other globals; anything else as it is."""
    if not isinstance(value, types.FunctionType):
        return value
    function = types.FunctionType(value.__code__, names, value.__name__, value.__defaults__, value.__closure__)
    function.__kwdefaults__ = value.__kwdefaults__
    function.__qualname__ = value.__qualname__
    function.__module__ = value.__module__
    vars(function).update(vars(value))
    return function


class OfTests:
    """A module for parts of pytest that work on the import system of tests: some of it is the running file's."""

    NAMES = {
        "sys": ("path", "modules", "meta_path", "path_hooks", "path_importer_cache"),
        "importlib": ("import_module",),
        "pkgutil": ("resolve_name",),
    }

    def __init__(self, runner, module, **own):
        vars(self).update(_runner=runner, _module=module, _names=self.NAMES[module.__name__], _own=own)

    def _owner(self, name):
        return getattr(self._runner.current, self._module.__name__) if name in self._names else self._module

    def __getattr__(self, name):
        return self._own[name]() if name in self._own else getattr(self._owner(name), name)

    def __setattr__(self, name, value):
        setattr(self._owner(name), name, value)

    def __dir__(self):
        return dir(self._module)


class Runner:
    """A plugin of pytest that collects and runs file by file."""

    def __init__(self, options):
        self.options = options
        self.here = modspace.current()
        self.fresh = options["fresh"]
        others = [name for name in HANDED_OUT if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.fresh)]
        self.shared = [*NEEDED, *others, *options["share"]]
        self.marked = []
        self.left = []
        self.leaks = []
        self.total = self.done = 0
        self.targets = []
        self.group = None
        self.waiting = 0
        path = [*options["path"], *sys.path]
        if options["share"]:
            # What is shared may lie there.
            sys.path.extend(options["path"])
        self.main = Space(self, "the test run", path, self.here)
        self.current = self.main

    # What of pytest works on the import system of tests.

    def patch(self):
        import unittest.mock

        import _pytest.assertion
        import _pytest.config
        import _pytest.doctest
        import _pytest.main
        import _pytest.monkeypatch
        import _pytest.outcomes
        import _pytest.pathlib
        import _pytest.pytester
        import _pytest.python

        for module in (_pytest.monkeypatch, _pytest.outcomes, _pytest.pytester):
            module.sys = OfTests(self, sys)
        # Plugins are of the environment, or of the tests.
        _pytest.config.sys = OfTests(
            self, sys, modules=lambda: collections.ChainMap(self.current.sys.modules, sys.modules)
        )
        # Names in strings, of what is to be patched, are names of the tests. Standard modules are in all spaces.
        for module in (_pytest.monkeypatch, _pytest.outcomes):
            module.__import__ = lambda *args, **kwargs: self.current.import_(*args, **kwargs)
            module.importlib = OfTests(self, importlib)
        unittest.mock.pkgutil = OfTests(self, pkgutil)
        for module in (_pytest.config, _pytest.doctest, _pytest.python):
            if hasattr(module, "import_path"):
                module.import_path = self.import_path
        scandir = _pytest.pathlib.scandir
        for module in (_pytest.main, _pytest.python):
            if hasattr(module, "scandir"):
                module.scandir = lambda path, *args: self.on_the_way(os.fspath(path), scandir(path, *args))
        install = _pytest.assertion.install_importhook

        def install_importhook(config):
            hook = install(config)
            mark = hook.mark_rewrite

            def mark_rewrite(*names):
                self.marked.extend(names)
                mark(*names)
                if self.current.hook is not None:
                    self.current.hook.mark_rewrite(*names)

            hook.mark_rewrite = mark_rewrite
            return hook

        _pytest.assertion.install_importhook = install_importhook

    def import_path(self, path, **options):
        __tracebackhide__ = True
        if self.current.import_path is None:
            self.current.prepare(self.config)
        return self.current.import_path(path, **options)

    def on_the_way(self, directory, entries):
        """Of the entries of a directory above the file that is collected, those that lead to it."""
        if self.target is None or not self.target.startswith(directory.rstrip(os.sep) + os.sep):
            return entries
        return [entry for entry in entries if self.target == entry.path or self.target.startswith(entry.path + os.sep)]

    target = None

    # Hooks.

    def pytest_load_initial_conftests(self, early_config):
        self.config = early_config

    def pytest_configure(self, config):
        self.config = config

    def pytest_collection(self, session):
        self.session = session
        self.outer = state.Hooks(self.config.pluginmanager)
        self.find_files()
        return True

    def pytest_runtestloop(self, session):
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(f"{session.testsfailed} error{'s' if session.testsfailed != 1 else ''} during collection")
        self.begin()
        collected = 0
        try:
            for number, (arguments, path) in enumerate(self.targets):
                for part in self.parts(arguments, path):
                    self.run_part(part, path)
                    collected += session.testscollected
                    if session.shouldfail:
                        raise session.Failed(session.shouldfail)
                    if session.shouldstop:
                        raise session.Interrupted(session.shouldstop)
                self.done = number + 1
        finally:
            session.testscollected = collected
            self.end()
        errors = self.collection_errors
        if errors and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(f"{errors} error{'s' if errors != 1 else ''} during collection")
        return True

    collection_errors = 0
    is_last = False

    def pytest_collectreport(self, report):
        if report.failed:
            self.collection_errors += 1

    # Looking for the files.

    def find_files(self):
        """The test files, with the arguments that lead to them."""
        hook = self.config.hook
        quiet = [hook.pytest_collection_modifyitems, hook.pytest_collection_finish]
        saved = [list(caller._hookimpls) for caller in quiet]
        seen = set()
        try:
            for caller in quiet:
                caller._hookimpls[:] = []
            for argument in self.config.args:
                place = argument.partition("::")[0]
                file = os.path.join(self.config.invocation_params.dir, place)
                # What a file has is seen when it is run.
                for path in [os.path.normpath(file)] if os.path.isfile(file) else self.files_of(place):
                    if (argument, path) not in seen:
                        seen.add((argument, path))
                        self.targets.append((argument, path))
        finally:
            for caller, implementations in zip(quiet, saved):
                caller._hookimpls[:] = implementations
        selectors = {}
        for argument, path in self.targets:
            selectors.setdefault(path, []).append(argument)
        self.targets = [(arguments, path) for path, arguments in selectors.items()]
        self.choose_failed()

    def files_of(self, argument):
        from _pytest import nodes
        from _pytest.runner import collect_one_node

        waiting = list(self.session.perform_collect([argument], genitems=False))
        while waiting:
            node = waiting.pop(0)
            if isinstance(node, nodes.File):
                yield str(node.path)
            elif isinstance(node, nodes.Collector):
                report = collect_one_node(node)
                if report.failed:
                    node.ihook.pytest_collectreport(report=report)
                else:
                    waiting[:0] = report.result

    def choose_failed(self):
        """`--lf` and `--ff`, as far as they are about files; pytest does the rest within a file."""
        only, first = self.config.getoption("lf", False), self.config.getoption("failedfirst", False)
        if not only and not first:
            return
        failed = self.config.cache.get("cache/lastfailed", {})
        files = {str(self.config.rootpath / name.partition("::")[0]) for name in failed}
        if only and any(path in files for _, path in self.targets):
            self.targets = [(arguments, path) for arguments, path in self.targets if path in files]
        self.targets.sort(key=lambda target: target[1] not in files)

    # One file after the other.

    def begin(self):
        """Notes how things are before the first file."""
        from _pytest.fixtures import FixtureManager

        manager = self.config.pluginmanager
        # Without what came while files were looked for.
        self.outer.restore()
        own = {plugin for plugin in self.outer.plugins() if self.is_of_tests(plugin)}
        self.initial = [module.__file__ for module in manager._conftest_plugins]
        own.add(self.session._fixturemanager)
        self.base = state.Hooks(manager)
        self.base.forget(own)
        # Options are known; who comes later shall not add them again.
        self.base.callers["pytest_addoption"][1][:] = []
        self.base.restore()
        self.session._fixturemanager = FixtureManager(self.session)
        self.base = state.Hooks(manager)
        self.fixtures = state.Containers(self.session._fixturemanager)
        self.settings = state.Containers(self.config, ("_inicache",))
        self.path = list(self.main.sys.path)
        loaded = [module for module in list(sys.modules.values()) if isinstance(module, types.ModuleType)]
        shared = "logging", "unittest", "warnings"
        self.attributes = state.Attributes([module for module in loaded if module.__name__.partition(".")[0] in shared])
        self.classes = state.AbstractClasses(loaded)
        self.total = len(self.targets)
        self.reporter = manager.get_plugin("terminalreporter")
        if self.reporter is not None:
            # Of all files together, and so when they have been collected.
            self.reporter.report_collect = lambda final=False: None
            self.reporter._write_report_lines_from_hooks = self.print_once(self.reporter._write_report_lines_from_hooks)
            self.reporter._get_progress_information_message = self.progress
            self.stack = []
            self.reporter._printcollecteditems = self.print_collected

    def is_of_tests(self, plugin):
        """Whether a plugin is of the modules that were loaded for the tests, and not of the environment."""
        named = plugin if isinstance(plugin, (types.ModuleType, type)) else type(plugin)
        try:
            return modspace.space_of(named) is self.main.space
        except TypeError:
            return False

    def parts(self, arguments, path):
        """Arguments for pytest that lead to what has modules of its own: the file, or its classes or tests."""
        if self.options["isolate"] == "file" or self.config.option.collectonly:
            return [arguments]
        names = []
        with self.without_reports():
            self.run_part(arguments, path, lambda items: names.extend(item.nodeid for item in items))
        parts = {}
        for name in names:
            inner = name.partition("::")[2]
            owner, _, test = inner.partition("[")[0].rpartition("::")
            parts.setdefault(owner if self.options["isolate"] == "class" else name, []).append(f"{path}::{inner}")
        # What cannot be collected says so when it is run.
        return list(parts.values()) or [arguments]

    @contextlib.contextmanager
    def without_reports(self):
        """Nobody hears of what is collected meanwhile."""
        names = "pytest_collectreport", "pytest_deselected", "pytest_warning_recorded"
        saved = [(getattr(self.base.manager.hook, name), self.base.callers[name]) for name in names]
        try:
            for caller, _ in saved:
                self.base.callers[caller.name] = [], None
            self.base.restore()
            yield
        finally:
            for caller, known in saved:
                self.base.callers[caller.name] = known
            self.base.restore()

    def run_part(self, arguments, path, look=None):
        """Runs tests of a file in a space of their own, or looks at them."""
        if self.group is None:
            self.group = modspace.ModuleSpace(self.here, name="test files", path=[], share=["*"])
        name = os.path.relpath(path, self.config.rootpath)
        process = state.Process()
        self.current = Space(self, name, self.path, self.group)
        self.target = path
        cleanup, self.config._cleanup_stack = self.config._cleanup_stack, contextlib.ExitStack()
        try:
            contextvars.copy_context().run(self.run_in_space, arguments, path, look)
        finally:
            self.base.restore()
            self.fixtures.restore()
            self.settings.restore()
            self.config._cleanup_stack = cleanup
            self.session.items = []
            self.session._setupstate.stack.clear()
            self.target = None
            self.current.forget()
            self.current = self.main
            # What pytest does between two tests is not the file's doing.
            changes = [*process.restore(), *self.attributes.restore(), *self.classes.restore()]
            for cls, attribute, was_there in self.options["restore_classes"]():
                changes.append((f"{cls.__module__}.{cls.__qualname__}.{attribute}", "was changed" if was_there else "was added"))
            if changes:
                self.left.append((name, changes))
            self.is_last = False
            self.waiting += 1
            if self.waiting >= BATCH:
                self.discard()

    def run_in_space(self, arguments, path, look):
        with self.current.space:
            self.current.prepare(self.config)
            # Hooks of pytest, for what is raised where no test sees it.
            self.current.sys.unraisablehook = sys.unraisablehook
            self.current.space.import_("threading").excepthook = threading.excepthook
            self.collect_and_run(arguments, path, look)

    def catching_warnings(self, when):
        """Warnings go into the report, as those of the same phase of pytest do."""
        from _pytest.warnings import catch_warnings_for_item

        return catch_warnings_for_item(config=self.config, ihook=self.config.hook, when=when, item=None)

    def collect_and_run(self, arguments, path, look):
        session, config, manager = self.session, self.config, self.config.pluginmanager
        hook = self.current.hook
        if hook is not None:
            hook.set_session(session)
            rewrite, manager.rewrite_hook = manager.rewrite_hook, hook
        others = self.base.plugins()
        failed, status = session.testsfailed, 2
        with self.catching_warnings("config"):
            self.load_initial(path)
            manager.subset_hook_caller("pytest_sessionstart", others)(session=session)
        try:
            with self.catching_warnings("collect"):
                session.perform_collect(arguments)
            if look is not None:
                look(session.items)
            elif not config.option.collectonly:
                items = session.items
                for index, item in enumerate(items):
                    following = items[index + 1] if index + 1 < len(items) else None
                    self.is_last = following is None
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if session.shouldfail or session.shouldstop:
                        break
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

    def load_initial(self, path):
        """The `conftest.py` files that pytest had loaded when it started, as far as they are of this file."""
        manager = self.config.pluginmanager
        # These may name plugins; those that come later may not.
        configured, manager._configured = manager._configured, False
        try:
            for conftest in self.initial:
                directory = os.path.dirname(conftest)
                if path.startswith(directory + os.sep):
                    manager._loadconftestmodules(
                        pathlib.Path(directory),
                        self.config.getoption("importmode"),
                        self.config.rootpath,
                        consider_namespace_packages=self.config.getini("consider_namespace_packages"),
                    )
        finally:
            manager._configured = configured

    def discard(self):
        """Ends the spaces of the last files, all at a time."""
        group, self.group, self.waiting = self.group, None, 0
        if group is not None:
            # What cannot be ended is no failure of a test: it is printed, and not given to pytest.
            hook, sys.unraisablehook = sys.unraisablehook, sys.__unraisablehook__
            try:
                report = group.discard(force=True, recursive=True, timeout=0.1)
            finally:
                sys.unraisablehook = hook
            if self.options["leaks"] and not report.clean:
                self.leaks.append(str(report))

    def end(self):
        self.discard()
        self.outer.restore()

    # What the terminal shows.

    def print_once(self, write):
        """What plugins say when tests were collected, for the first file."""
        lines_of_first = [write]
        return lambda lines: lines_of_first and lines_of_first.pop()(lines)

    def progress(self):
        """By files: how many tests there are is known when the last file was collected."""
        return f" [{100 * (self.done + self.is_last) // max(self.total, 1):3d}%]"

    def print_collected(self, items):
        """As pytest prints it, but for directories that were printed for the file before."""
        terminal = self.reporter._tw
        if self.config.get_verbosity() < 0:
            return self.reporter.__class__._printcollecteditems(self.reporter, items)
        for item in items:
            chain = item.listchain()[1:]
            names = [node.nodeid for node in chain]
            common = 0
            while common < min(len(names), len(self.stack)) and names[common] == self.stack[common]:
                common += 1
            for depth, node in enumerate(chain[common:], common):
                terminal.line(f"{'  ' * depth}{node}")
            self.stack = names

    def pytest_terminal_summary(self, terminalreporter):
        if self.left and self.config.get_verbosity() >= 1:
            terminalreporter.section("put back after test files")
            for name, changes in self.left:
                for what, how in changes:
                    terminalreporter.line(f"{name}: {what} {how}")
        if self.options["leaks"]:
            terminalreporter.section("left of test files")
            for report in self.leaks:
                terminalreporter.line(report)
            if not self.leaks:
                terminalreporter.line(f"nothing is left of {self.done} files")


def run(options):
    """Runs pytest with `options["args"]`, and returns its exit code."""
    try:
        import pytest
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        print(f"modspace test: there is no pytest in {', '.join(options['site']) or 'this environment'}; install it there, "
              "or name another place with --python-path DIR or --venv DIR", file=sys.stderr)
        return 4
    sys.argv[:] = ["pytest", *options["args"]]
    if options["isolate"] == "none":
        sys.path[:0] = options["path"]
        return int(pytest.main(options["args"]))
    runner = Runner(options)
    runner.patch()
    with runner.main.space:
        return int(pytest.main(options["args"], plugins=[runner]))
