"""The module spaces of test files, and pytest over them.

pytest is loaded once. What of it imports tests, or is about what tests have imported, is turned here to the space of the file
that runs.
"""

import collections
import contextlib
import fnmatch
import functools
import importlib
import marshal
import opcode
import os
import pkgutil
import sys
import types
from importlib import abc, machinery, util

import modspace

#: Tests and pytest have the very same modules of these, always: tests would else define fixtures of another pytest.
NEEDED = "pytest", "_pytest"

#: What pytest hands to tests, and what that needs: shared as well, unless it is to be fresh.
HANDED_OUT = "pluggy", "iniconfig", "pygments", "logging", "unittest", "warnings"

#: How many files' spaces are discarded at a time: each time, the whole heap is looked through.
BATCH = 16


class Space:
    """The modules of a test file."""

    def __init__(self, spaces, name, path, parent):
        self.spaces = spaces
        self.space = modspace.ModuleSpace(
            parent, name=name, path=path, share=spaces.shared, fresh=spaces.fresh, argv=list(sys.argv)
        )
        self.sys = self.space.sys
        self.import_ = self.sys.modules["builtins"].__import__
        self.hook = self.import_path = self.core = None

    @functools.cached_property
    def importlib(self):
        return Own(self, importlib)

    @functools.cached_property
    def pkgutil(self):
        return Own(self, pkgutil)

    def prepare(self, config):
        """Lets test files be imported here, with their assertions rewritten."""
        from _pytest import pathlib as imports
        from _pytest.assertion import rewrite

        finders = self.sys.meta_path
        of_core = map(self.sys.modules.get, ("_frozen_importlib", "_frozen_importlib_external"))
        self.core = {name: value for module in of_core for name, value in vars(module).items()}
        self.import_path = self.copy(imports)["import_path"]
        # As pytest decides it, also before all options are known; its plugin may have been left out.
        if getattr(config.known_args_namespace, "assertmode", "plain") == "rewrite":
            names = self.copy(rewrite)
            names["marshal"] = self.spaces.marshal
            if "_rewrite_test" in names:
                names["_rewrite_test"] = functools.partial(self.spaces.rewritten, names["_rewrite_test"])
            Hook = names["AssertionRewritingHook"]
            Hook.plain_find_spec, Hook.find_spec = Hook.find_spec, over(names, find_spec)
            Hook.plain_bailout, Hook._early_rewrite_bailout = Hook._early_rewrite_bailout, over(names, note_bailout)
            self.hook = Hook(config)
            self.hook.others = self.spaces.others
            self.hook._must_rewrite.update(self.spaces.marked)
            finders.insert(0, self.hook)

    def copy(self, module):
        """The names of a module of pytest whose functions work on the import system here: the same code over the space's own
        `sys`, `importlib` and builtins. To load the module anew would take longer than most test files."""
        builtins = vars(self.sys.modules["builtins"])
        names = {**vars(module), "__builtins__": builtins, "sys": self.sys, "importlib": self.importlib}
        if module not in self.spaces.importing:
            self.spaces.importing[module] = importing(module)
        for name in self.spaces.importing[module]:
            # A test may have put something else there.
            value = names.get(name)
            if is_function_of(module, value):
                names[name] = over(names, value)
            elif isinstance(value, type) and value is getattr(machinery, name, None):
                names[name] = self.core[name]
            elif isinstance(value, type):
                body = {key: item for key, item in vars(value).items() if key not in ("__dict__", "__weakref__")}
                body.update((key, over(names, item)) for key, item in body.items() if is_function_of(module, item))
                body["_find_spec"] = self.core["PathFinder"].find_spec
                names[name] = type(value)(name, value.__bases__, body)
        return names

    def forget(self):
        self.hook = self.import_path = self.import_ = self.core = self.importlib = self.pkgutil = None


class Own:
    """A module of the standard library for pytest's functions: that of a space, which imports it when something is taken
    from it. What importlib takes from the import system itself is there before."""

    def __init__(self, space, module):
        self.space = space
        self.module = module

    def __getattr__(self, name):
        value, full_name = getattr(self.module, name), self.module.__name__
        if isinstance(value, types.ModuleType) and value.__name__ == f"{full_name}.{name}":
            return Own(self.space, value)
        if full_name not in self.space.sys.modules and value is CORE.get(name, self):
            return self.space.core[name]
        return getattr(self.space.space.import_(full_name), name)


#: What the import system itself consists of.
CORE = {**vars(importlib._bootstrap), **vars(importlib._bootstrap_external)}


def is_function_of(module, value):
    return isinstance(value, types.FunctionType) and value.__globals__ is vars(module)


def importing(module):
    """The names in a module of what works on an import system: classes of importlib and loaders, and functions that refer to
    these, import something, or call such functions."""
    found = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and (value is getattr(machinery, name, None) or value.__module__ == module.__name__ and issubclass(value, abc.Loader))
    }
    functions = {name: value.__code__ for name, value in vars(module).items() if is_function_of(module, value)}
    new = True
    while new:
        sought = {"sys", "importlib", *found}
        new = {name for name, code in functions.items() if name not in found and refers(code, sought)}
        found |= new
    return found


def refers(code, names):
    """Whether code, or what is defined in it, imports something, or may refer to one of the names."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return not names.isdisjoint(code.co_names) or IMPORT_NAME in code.co_code[::2] or any(refers(code, names) for code in inner)


IMPORT_NAME = opcode.opmap["IMPORT_NAME"]


def over(names, value):
    """A function over other globals."""
    function = types.FunctionType(value.__code__, names, value.__name__, value.__defaults__, value.__closure__)
    function.__kwdefaults__ = value.__kwdefaults__
    function.__qualname__ = value.__qualname__
    function.__module__ = value.__module__
    vars(function).update(vars(value))
    return function


def find_spec(hook, name, path=None, target=None):
    """pytest's method of a rewriting hook, which finds out once for a name that it leaves the module alone, and not in each
    space."""
    # As soon as there is a session, it looks at what files there are.
    is_checked = hook.session is None or hook._session_paths_checked
    if is_checked and name in hook.others and name.rpartition(".")[2] not in hook._basenames_to_check_rewrite:
        return None
    return hook.plain_find_spec(name, path, target)


def note_bailout(hook, name, state):
    """pytest's method by which a hook leaves a module alone; notes the name if it does."""
    answer = hook.plain_bailout(name, state)
    if answer:
        hook.others.add(name)
    return answer


class Rewritten:
    """What pytest's hooks have rewritten, for where no bytecode is written: what is rewritten a second time is kept."""

    def __init__(self):
        #: By names of files: the hash of the source, and the code as `marshal` has it, or None.
        self.known = {}

    def __call__(self, rewrite, file, config):
        """pytest's `_rewrite_test`."""
        __tracebackhide__ = True
        known, data = self.known.get(str(file), (None, None))
        if data is not None and known == util.source_hash(file.read_bytes()):
            return known, marshal.loads(data)
        source_hash, code = rewrite(file, config)
        self.known[str(file)] = source_hash, marshal.dumps(code) if source_hash == known else None
        return source_hash, code


class OfTests:
    """A module for parts of pytest that work on the import system of tests: some of it is the running file's."""

    NAMES = {
        "sys": ("path", "modules", "meta_path", "path_hooks", "path_importer_cache"),
        "importlib": ("import_module",),
        "pkgutil": ("resolve_name",),
    }

    def __init__(self, spaces, module, **own):
        vars(self).update(_spaces=spaces, _module=module, _names=self.NAMES[module.__name__], _own=own)

    def _owner(self, name):
        return getattr(self._spaces.current, self._module.__name__) if name in self._names else self._module

    def __getattr__(self, name):
        return self._own[name]() if name in self._own else getattr(self._owner(name), name)

    def __setattr__(self, name, value):
        setattr(self._owner(name), name, value)

    def __dir__(self):
        return dir(self._module)


class StreamsOfTests(OfTests):
    """`sys` for pytest's capture, whose files are the streams of the space that runs tests, too, once one of these was set
    there. That is so after each `contextlib.redirect_stdout`, which sets what there was before."""

    NAMES = {"sys": ("stdin", "stdout", "stderr")}

    def __setattr__(self, name, value):
        setattr(self._module, name, value)
        own = vars(self._spaces.current.sys)
        if name in own:
            own[name] = value


def without_closed(hook):
    """A `sys.unraisablehook` that is silent about finalizers of what is left of a file: their space has gone."""
    def call(unraisable):
        if unraisable.exc_type is None or not issubclass(unraisable.exc_type, modspace.SpaceClosedError):
            hook(unraisable)

    return call


class Spaces:
    """The spaces of a run: that in which files are looked for, "the test run", which has the `conftest.py` files that pytest
    loads when it starts, and that of the file that runs."""

    config = None
    #: The paths of the files that are collected.
    targets = ()

    def __init__(self, options, parent=None):
        #: Below it are the others. Whoever has given one discards it, and all at a time.
        self.here = parent or modspace.current()
        self.is_kept = parent is not None
        self.fresh = options["fresh"]
        others = [name for name in HANDED_OUT if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.fresh)]
        self.shared = [*NEEDED, *others, *options["share"]]
        self.marked = []
        #: Names of modules in which no assertions are to be rewritten, unless their last part is that of a file that is collected.
        self.others = set()
        #: `marshal` for pytest's rewriting hooks, all of which read the same `conftest.py` files.
        self.marshal = types.SimpleNamespace(**{**vars(marshal), "load": options["load_code"]})
        self.rewritten = Rewritten()
        #: What `importing` says of modules.
        self.importing = {}
        #: Entries of directories above the files that are collected, by their names.
        self.entries = {}
        self.site = tuple(os.path.join(directory, "") for directory in options["site"])
        self.group = None
        self.waiting = 0
        self.leaks = []
        #: How many files' spaces are discarded at a time. What is left of one alone is that file's.
        self.batch = 1 if options["leaks"] else BATCH
        path = [*options["path"], *sys.path, *options["in_place"]]
        if options["share"]:
            # What is shared may lie there.
            sys.path.extend([*options["path"], *options["in_place"]])
        self.main = Space(self, "the test run", path, self.here)
        self.current = self.main
        self.coverage = options["coverage"]
        if self.coverage is not None:
            self.coverage.search = lambda: self.current.sys.path
        #: Undoes what `patch` did.
        self.patched = contextlib.ExitStack()

    def open(self, paths, search):
        """Makes a space for files the current one. `search` is its `sys.path`."""
        name = os.path.relpath(paths[0], self.config.rootpath)
        if self.group is None:
            name_of_all = name if self.batch == 1 else "test files"
            self.group = modspace.ModuleSpace(self.here, name=name_of_all, path=[], share=["*"])
        self.current = Space(self, name, search, self.group)
        self.targets = paths
        return name

    def sources(self):
        """Yields the sources of what the current space has imported, but for libraries of the environment."""
        for module in list(self.current.sys.modules.values()):
            source = vars(module).get("__file__") if isinstance(module, types.ModuleType) else None
            if type(source) is str and os.path.isabs(source) and not source.startswith(self.site):
                yield source

    def close(self):
        """Leaves the space of files."""
        self.targets = ()
        self.current.forget()
        self.current = self.main
        self.waiting += 1
        if self.coverage is not None:
            self.coverage.forget()

    def discard_when_due(self):
        if self.waiting >= self.batch:
            self.discard()

    def discard(self):
        """Ends the spaces of the last files, all at a time."""
        if not self.waiting or self.is_kept:
            return
        group, self.group, self.waiting = self.group, None, 0
        # What cannot be ended is no failure of a test: it is printed, and not given to pytest.
        hook, sys.unraisablehook = sys.unraisablehook, without_closed(sys.__unraisablehook__)
        try:
            report = group.discard(force=True, recursive=True, timeout=0.1)
        finally:
            sys.unraisablehook = hook
        if not report.clean:
            self.leaks.append(str(report))

    def set(self, module, name, value):
        """Sets what a module has, for as long as tests run in these spaces."""
        undo = delattr if name not in vars(module) else lambda *args: setattr(*args, old)
        old = vars(module).get(name)
        setattr(module, name, value)
        self.patched.callback(undo, module, name)

    def when_loaded(self, function):
        """Calls a function with the name of each module that is loaded for all files from now on, and with the module, before
        anybody else has it; until `patched` is closed."""
        bootstrap = importlib._bootstrap
        load = bootstrap._load_unlocked

        def load_unlocked(spec):
            module = load(spec)
            function(spec.name, module)
            return module

        # Warnings and tracebacks pass over what is of importlib's files.
        file = bootstrap._gcd_import.__code__.co_filename
        load_unlocked.__code__ = load_unlocked.__code__.replace(co_filename=file)
        self.set(bootstrap, "_load_unlocked", functools.wraps(load)(load_unlocked))

    def patch_mock(self, name, module):
        if name == "unittest.mock":
            self.set(module, "pkgutil", OfTests(self, pkgutil))

    def patch(self):
        """Turns pytest to these spaces, until `patched` is closed."""
        import _pytest.assertion
        import _pytest.capture
        import _pytest.config
        import _pytest.doctest
        import _pytest.main
        import _pytest.monkeypatch
        import _pytest.outcomes
        import _pytest.pathlib
        import _pytest.pytester
        import _pytest.python

        for module in (_pytest.monkeypatch, _pytest.outcomes, _pytest.pytester):
            self.set(module, "sys", OfTests(self, sys))
        self.set(_pytest.capture, "sys", StreamsOfTests(self, sys))
        # Plugins are of the environment, or of the tests.
        modules = lambda: collections.ChainMap(self.current.sys.modules, sys.modules)
        self.set(_pytest.config, "sys", OfTests(self, sys, modules=modules))
        # Names in strings, of what is to be patched, are names of the tests. Standard modules are in all spaces.
        for module in (_pytest.monkeypatch, _pytest.outcomes):
            self.set(module, "__import__", lambda *args, **kwargs: self.current.import_(*args, **kwargs))
            self.set(module, "importlib", OfTests(self, importlib))
        self.when_loaded(self.patch_mock)
        if "unittest.mock" in sys.modules:
            self.patch_mock("unittest.mock", sys.modules["unittest.mock"])
        for module in (_pytest.config, _pytest.doctest, _pytest.python):
            if hasattr(module, "import_path"):
                self.set(module, "import_path", self.import_path)
        scandir = _pytest.pathlib.scandir
        for module in (_pytest.main, _pytest.python):
            if hasattr(module, "scandir"):
                self.set(module, "scandir", lambda path, *args: self.on_the_way(os.fspath(path), scandir, path, *args))
        install = _pytest.assertion.install_importhook

        def install_importhook(config):
            hook = install(config)
            mark = hook.mark_rewrite

            def mark_rewrite(*names):
                self.marked.extend(names)
                self.others.clear()
                mark(*names)
                if self.current.hook is not None:
                    self.current.hook.mark_rewrite(*names)

            hook.mark_rewrite = mark_rewrite
            return hook

        self.set(_pytest.assertion, "install_importhook", install_importhook)

    def import_path(self, path, **options):
        __tracebackhide__ = True
        if self.current.import_path is None:
            self.current.prepare(self.config)
        return self.current.import_path(path, **options)

    def on_the_way(self, directory, scandir, *args):
        """Of the entries of a directory above the files that are collected, those that lead to them. A large directory is not
        looked through for each file."""
        inside = directory.rstrip(os.sep) + os.sep
        needed = {target[len(inside):].partition(os.sep)[0] for target in self.targets if target.startswith(inside)}
        if not needed:
            return scandir(*args)
        known = self.entries.get(directory, {})
        if not needed.issubset(known):
            known = self.entries[directory] = {entry.name: entry for entry in scandir(*args)}
        return [entry for name, entry in known.items() if name in needed]
