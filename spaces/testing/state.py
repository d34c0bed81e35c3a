"""What is put back after a test file: what pytest keeps of the file's plugins and fixtures, and what belongs to the process."""

import _abc
import abc
import contextlib
import copyreg
import functools
import gc
import locale
import logging
import os
import signal
import sys
import threading
import time
import types
import warnings

import _csv
import _signal
import _socket
import decimal

import modspace


def copied(value):
    """A copy of containers in containers; what is in them stays what it is."""
    kind = type(value)
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is list:
        return [copied(item) for item in value]
    return set(value) if kind is set else value


def put_back(container, saved):
    """Makes a container have what it had. It stays the same object: others refer to it."""
    if type(container) is list:
        container[:] = copied(saved)
    else:
        container.clear()
        container.update(copied(saved))


class Containers:
    """The containers in an object's attributes, or in those of some names, as they are now."""

    def __init__(self, owner, names=None):
        self.owner = owner
        self.saved = {
            name: copied(value)
            for name, value in vars(owner).items()
            if (names is None or name in names) and type(value) in (dict, list, set)
        }

    def restore(self):
        for name, saved in self.saved.items():
            put_back(getattr(self.owner, name), saved)


class Hooks:
    """Who is registered with a plugin manager, and what historic hooks tell to those that come.

    Plugins are taken out and put back as a whole: to register a plugin again would call its historic hooks once more.
    """

    def __init__(self, manager):
        self.manager = manager
        self.containers = Containers(manager, ("_name2plugin", "_plugin_distinfo", "_conftest_plugins", "_dirpath2confmods"))
        self.callers = {
            name: (list(caller._hookimpls), copied(caller._call_history))
            for name, caller in vars(manager.hook).items()
            if not name.startswith("_")
        }

    def plugins(self):
        return set(filter(None, self.containers.saved["_name2plugin"].values()))

    def restore(self):
        self.containers.restore()
        for name, caller in list(vars(self.manager.hook).items()):
            if name.startswith("_"):
                continue
            if name not in self.callers:
                delattr(self.manager.hook, name)
                continue
            implementations, history = self.callers[name]
            caller._hookimpls[:] = implementations
            if history is not None:
                caller._call_history[:] = history

    def forget(self, gone):
        """Leaves out some plugins, all `conftest.py` files among them."""
        saved = self.containers.saved
        saved["_name2plugin"] = {name: plugin for name, plugin in saved["_name2plugin"].items() if plugin not in gone}
        saved["_conftest_plugins"] = set()
        saved["_dirpath2confmods"] = {}
        self.callers = {
            name: ([one for one in implementations if one.plugin not in gone], history)
            for name, (implementations, history) in self.callers.items()
        }


class Logging:
    """The loggers, their handlers and levels, of a `logging` that many files share."""

    def __init__(self):
        self.root = logging.root
        self.known = {name: self.look(logger) for name, logger in self.loggers()}
        self.disabled = logging.root.manager.disable
        self.factory = logging.root.manager.logRecordFactory, logging.getLogRecordFactory()
        self.logger_class = logging.root.manager.loggerClass, logging.getLoggerClass()
        self.names = dict(logging._levelToName), dict(logging._nameToLevel)
        self.raise_exceptions = logging.raiseExceptions

    @staticmethod
    def loggers():
        yield "root", logging.root
        yield from list(logging.root.manager.loggerDict.items())

    @staticmethod
    def look(logger):
        if isinstance(logger, logging.PlaceHolder):
            return None
        return logger.level, logger.propagate, logger.disabled, list(logger.handlers), list(logger.filters)

    def changes(self):
        if logging.root.manager.disable != self.disabled:
            yield "logging", "logging.disable() was called"
        for name, logger in self.loggers():
            now, before = self.look(logger), self.known.get(name)
            if now is None or now == before:
                continue
            if before is None:
                # That a logger was made is nothing that anybody sees.
                before = 0, True, False, [], []
            for what, one, other in zip(("level", "propagate", "disabled", "handlers", "filters"), before, now):
                if one != other:
                    yield f"logging {name!r}", f"{what} was {one!r}, and became {other!r}"

    def restore(self):
        manager = self.root.manager
        logging.root = logging.Logger.root = self.root
        manager.disable = self.disabled
        manager.logRecordFactory, logging._logRecordFactory = self.factory
        manager.loggerClass, logging._loggerClass = self.logger_class
        put_back(logging._levelToName, self.names[0])
        put_back(logging._nameToLevel, self.names[1])
        logging.raiseExceptions = self.raise_exceptions
        for name, logger in self.loggers():
            before = self.known.get(name)
            if name not in self.known:
                manager.loggerDict.pop(name, None)
            elif before is not None:
                logger.level, logger.propagate, logger.disabled, handlers, filters = before
                logger.handlers[:] = handlers
                logger.filters[:] = filters
                logger._cache.clear()


#: What importing sets on a module and tests do not.
OF_IMPORT = {"__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__path__", "__spec__"}

MISSING = object()


class Attributes:
    """The attributes of shared modules, and of the classes that these define. `differing` gives those of `owners` that have other
    attributes than they had."""

    def __init__(self, differing):
        self.differing = differing
        #: Each with its path, what it is to have, and the names and values of all that it had.
        self.owners = []

    def note(self, module):
        name = module.__name__
        self.add(name, module, vars(module))
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == name:
                self.add(f"{name}.{value.__qualname__}", value, vars(value))

    def add(self, path, owner, names):
        before = {name: value for name, value in names.items() if name not in OF_IMPORT}
        self.owners.append((path, owner, before, tuple(names), tuple(names.values())))

    def restore(self):
        """Yields what was changed."""
        for path, owner, before, *_ in self.differing(self.owners):
            now = vars(owner)
            if len(now) < len(before) or any(now.get(name, MISSING) is not value for name, value in before.items()):
                for name, value in before.items():
                    if now.get(name, MISSING) is not value and not self.is_own(path, name):
                        yield f"{path}.{name}", "was changed" if name in now else "was deleted"
                        setattr(owner, name, value)
            for name in [name for name in now if name not in before and name not in OF_IMPORT]:
                # A submodule that was imported, or what a class remembers.
                if isinstance(now[name], types.ModuleType) or isinstance(owner, type) and name.startswith("_"):
                    continue
                if not self.is_own(path, name):
                    yield f"{path}.{name}", "was added"
                    delattr(owner, name)

    @staticmethod
    def is_own(path, name):
        """Whether the module itself changes it when it is used; `Logging` sees to the rest."""
        return (path, name) in {
            ("logging", "_logRecordFactory"), ("logging", "_loggerClass"), ("logging", "lastResort"),
            ("logging", "root"), ("logging.Logger", "root"), ("logging", "raiseExceptions"),
            ("warnings", "_onceregistry"), ("warnings", "filters"), ("warnings", "showwarning"),
            ("warnings", "_showwarnmsg_impl"), ("warnings", "_filters_mutated"),
        }


class AbstractClasses:
    """Which classes were registered with abstract ones of modules that all files have together."""

    def __init__(self, modules):
        # What a value says of its class may be anything.
        self.classes = {
            id(value): value
            for module in modules
            for value in list(vars(module).values())
            if issubclass(type(value), abc.ABCMeta)
        }
        self.registered = {key: self.look(cls) for key, cls in self.classes.items()}
        self.token = abc.get_cache_token()

    @staticmethod
    def look(cls):
        return [registered for reference in _abc._get_dump(cls)[0] if (registered := reference()) is not None]

    def restore(self, space, loaded):
        """Yields what was registered since the last time, by tests of a space. `loaded` is as `is_by_tests` has it."""
        if abc.get_cache_token() == self.token:
            return
        for key, cls in self.classes.items():
            before, now = self.registered[key], self.look(cls)
            new = [registered for registered in now if not any(registered is one for one in before)]
            own = [registered for registered in new if is_by_tests(space, registered, loaded)]
            before.extend(registered for registered in new if not any(registered is one for one in own))
            if own:
                for registered in own:
                    yield f"{cls.__module__}.{cls.__qualname__}", f"{registered.__qualname__} was registered with it"
                _abc._reset_registry(cls)
                for registered in before:
                    _abc._abc_register(cls, registered)
        for cls in self.classes.values():
            _abc._reset_caches(cls)
        self.token = abc.get_cache_token()


class Shared:
    """All that files have together and could change."""

    HANDED_OUT = "logging", "pytest", "unittest", "warnings"

    def __init__(self, options):
        loaded = {name: module for name, module in sys.modules.items() if isinstance(module, types.ModuleType)}
        self.attributes = Attributes(options["differing"])
        for name, module in loaded.items():
            self.note(name, module)
        self.classes = AbstractClasses(list(loaded.values()))
        self.restore_classes = options["restore_classes"]

    def note(self, name, module):
        """Notes how a module is that was loaded for all files just now, if it is one of those that are handed out."""
        if name.partition(".")[0] in self.HANDED_OUT and isinstance(module, types.ModuleType):
            self.attributes.note(module)

    def begin(self):
        """Notes how the process is before a file."""
        self.process = Process()
        self.loaded = set(sys.modules)

    def restore(self, space):
        """Puts all back that was changed in a space, and returns what that was, and how it was changed."""
        changes = [
            *self.process.restore(space, self.loaded), *self.attributes.restore(), *self.classes.restore(space, self.loaded)
        ]
        for cls, name, was_there in self.restore_classes(lambda value: is_of(space, value)):
            changes.append((f"{cls.__module__}.{cls.__qualname__}.{name}", "was changed" if was_there else "was added"))
        return changes


def is_by_tests(space, cls, loaded):
    """Whether it is the tests of a space that have a class registered, and not a module of the standard library that was
    not among those `loaded` before: it registers its own classes, once."""
    return cls.__module__ in loaded or is_of(space, cls)


def is_of(space, value):
    """Whether a value, or its class, was made in a space."""
    cls = value if isinstance(value, type) else type(value)
    looks = [lambda: value, lambda: cls]
    if cls.__module__ not in sys.modules:
        # It may stand in no module, but in a function of one.
        looks.append(lambda: own_module(space, cls.__module__))
    for look in looks:
        # An object may have its own idea of attributes.
        with contextlib.suppress(Exception):
            if modspace.space_of(look()) is space:
                return True
    return False


def own_module(space, name):
    """A module that a space has loaded from a source; those of the standard library are all spaces'."""
    module = space.sys.modules[name]
    return module if module.__spec__.origin not in ("built-in", "frozen") else None


class Process:
    """What a process has once, for all of its spaces."""

    #: What is asked, and how it is set.
    SWITCHES = (
        ("sys.getrecursionlimit()", sys.getrecursionlimit, sys.setrecursionlimit),
        ("sys.getswitchinterval()", sys.getswitchinterval, sys.setswitchinterval),
        ("gc.isenabled()", gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
        ("gc.get_threshold()", gc.get_threshold, lambda thresholds: gc.set_threshold(*thresholds)),
        ("socket.getdefaulttimeout()", _socket.getdefaulttimeout, _socket.setdefaulttimeout),
        ("sys.gettrace()", sys.gettrace, sys.settrace),
        ("sys.getprofile()", sys.getprofile, sys.setprofile),
    )

    def __init__(self):
        # As the process has it: to decode it all takes longer than all the rest here.
        self.environ = dict(os.environ._data)
        self.directory = os.getcwd()
        self.umask = os.umask(0)
        os.umask(self.umask)
        self.locale = locale.setlocale(locale.LC_ALL)
        self.signals = {number: _signal.getsignal(number) for number in self.numbers()}
        self.filters = list(warnings.filters)
        self.switches = [look() for _, look, _ in self.SWITCHES]
        self.dialects = set(_csv.list_dialects())
        self.reducers = dict(copyreg.dispatch_table)
        decimal.setcontext(decimal.getcontext().copy())
        self.decimal = decimal.getcontext().copy()
        self.threads = set(threading.enumerate())
        self.start_thread = self.note_starts()
        self.logging = Logging()

    @staticmethod
    @functools.cache
    def numbers():
        return tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

    def restore(self, space, loaded):
        """Yields what was changed in a space, and how. `loaded` is as `is_by_tests` has it."""
        environ = os.environ
        for key in sorted({*self.environ, *environ._data}) if environ._data != self.environ else ():
            before, now = self.environ.get(key), environ._data.get(key)
            name = environ.decodekey(key)
            if before != now and name != "PYTEST_CURRENT_TEST":
                what = "was set" if before is None else "was deleted" if now is None else "was changed"
                yield f"os.environ[{name!r}]", what
                if before is None:
                    del environ[name]
                else:
                    environ[name] = environ.decodevalue(before)
                if name == "TZ" and hasattr(time, "tzset"):
                    time.tzset()
        try:
            directory = os.getcwd()
        except FileNotFoundError:
            directory = None
        if directory != self.directory:
            yield "the current directory", f"became {directory!r}"
            os.chdir(self.directory)
        umask = os.umask(self.umask)
        if umask != self.umask:
            yield "the umask", f"became {umask:#o}"
        now = locale.setlocale(locale.LC_ALL)
        if now != self.locale:
            yield "the locale", f"became {now!r}"
            locale.setlocale(locale.LC_ALL, self.locale)
        for number, handler in self.signals.items():
            if _signal.getsignal(number) is not handler and handler is not None:
                yield f"the handler of {signal.Signals(number).name}", "was changed"
                signal.signal(number, handler)
        if warnings.filters != self.filters:
            yield "warnings.filters", "was changed"
            warnings.filters[:] = self.filters
            warnings._filters_mutated_lock_held() if hasattr(warnings, "_filters_mutated_lock_held") else None
        for (what, look, change), before in zip(self.SWITCHES, self.switches):
            now = look()
            if now != before:
                yield what, f"became {now!r}"
                change(before)
        for dialect in set(_csv.list_dialects()) - self.dialects:
            yield "csv", f"the dialect {dialect!r} was registered"
            _csv.unregister_dialect(dialect)
        if copyreg.dispatch_table != self.reducers:
            for cls in {*self.reducers, *copyreg.dispatch_table}:
                new = copyreg.dispatch_table.get(cls)
                if cls not in self.reducers and not is_by_tests(space, cls, loaded) and not is_of(space, new):
                    self.reducers[cls] = new
                elif self.reducers.get(cls) is not new:
                    yield "copyreg", f"how {cls.__qualname__} is pickled was changed"
            put_back(copyreg.dispatch_table, self.reducers)
        now = decimal.getcontext()
        if repr(now) != repr(self.decimal):
            yield "decimal.getcontext()", f"became {now!r}"
        decimal.setcontext(self.decimal)
        yield from self.logging.changes()
        self.logging.restore()
        threading.Thread.start = self.start_thread
        for thread in threading.enumerate():
            if thread not in self.threads:
                started = vars(thread).get("_modspace_started")
                where = [f"in {place(sys._current_frames().get(thread.ident))}", f"started in {started}"]
                yield f"thread {thread.name!r}", ", ".join(["runs on", *[text for text in where if not text.endswith("None")]])

    @staticmethod
    def note_starts():
        """Has each thread know where it was started. Returns what does not."""
        plain = threading.Thread.start

        @functools.wraps(plain)
        def start(thread):
            thread._modspace_started = place(sys._getframe(1))
            return plain(thread)

        threading.Thread.start = start
        return plain


def place(frame):
    """Where a frame is in code that is not of the standard library, or the innermost such caller is."""
    while frame is not None and is_of_library(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_name}, {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else None


def is_of_library(file):
    """Whether a source is frozen, or lies beside that of `threading`."""
    return file.startswith("<") or os.path.dirname(file).startswith(os.path.dirname(threading.__file__ or "/"))
