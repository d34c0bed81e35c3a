"""What new sources did outside of their modules while they were executed, as far as that shows.

`look` says how things are, before and after; `compare` makes lines of a report of the differences; `of_plan` adds what
classes and registrations tell once the plan is made.

Runs as platform code, once for the whole process; `loaded(name)` gives one of the interpreter's own modules, or None while
it is not loaded whole.
"""

import collections
import functools
import os
import sys
import types

heap_type = 1 << 9

#: What programs assign in `sys`.
SYS = "excepthook", "unraisablehook", "displayhook", "breakpointhook", "stdin", "stdout", "stderr"

#: The lists of `sys` on which the import system goes.
PATHS = "path", "meta_path", "path_hooks"

#: What to do about what is not undone, and happens again with each update.
ADVICE = "do that in a function that the program calls"


def is_class(value):
    return issubclass(type(value), type)


def describe(value):
    """What an object is, without asking it."""
    if is_class(value):
        return f"{type.__dict__['__module__'].__get__(value)}.{value.__qualname__}"
    if type(value) in (types.FunctionType, types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value) is types.MethodType:
        return describe(value.__func__)
    if type(value) is functools.partial:
        return describe(value.func)
    if type(value) is str:
        return repr(value)
    return f"an instance of {describe(type(value))}"


def key(value):
    """What stays the same of what is looked at twice."""
    return tuple(map(id, value)) if type(value) is tuple else id(value)


def names_in(module):
    """The names of a module that is loaded whole. A thread may be in the middle of its import, and what a program puts into
    `sys.modules` in place of it has what it likes."""
    if not issubclass(type(module), types.ModuleType):
        return {}
    names = types.ModuleType.__dict__["__dict__"].__get__(module)
    return {} if getattr(names.get("__spec__"), "_initializing", False) else names


def threads(modules_of_space):
    """The names of all threads that `threading` knows, by identifier."""
    names = {}
    for module in (loaded("threading"), modules_of_space.get("threading")):
        active = names_in(module).get("_active")
        if type(active) is dict:
            names.update((ident, thread.name) for ident, thread in list(active.items()))
    return names


def handlers(logging):
    """The handlers of each logger."""
    names = names_in(logging)
    root = names.get("root")
    if root is None or type(root) is not names.get("RootLogger"):
        return {}
    found = {"root": list(root.handlers)}
    for name, logger in list(root.manager.loggerDict.items()):
        if hasattr(logger, "handlers"):
            found[name] = list(logger.handlers)
    return found


def signals(is_main_thread):
    """The handlers of signals. On another thread, asking would take the signals away from the main thread."""
    signal = loaded("_signal")
    if signal is None or not is_main_thread:
        return {}
    found = {}
    for number in range(1, signal.NSIG):
        try:
            found[number] = signal.getsignal(number)
        except (OSError, ValueError):
            pass
    return found


def directory():
    try:
        return os.getcwd()
    except OSError:
        return None


def look(names, table, registered, is_main_thread):
    """How things are: `names` has the space's `sys`, `table` its `sys.modules`, `registered` rows of what the space has
    given to native code."""
    filters = names_in(table.get("warnings")).get("filters")
    abc, copyreg = loaded("_abc"), loaded("copyreg")
    return {
        "registered": registered,
        "table": table.copy(),
        "paths": {name: list(names[name]) for name in PATHS if type(names.get(name)) is list},
        "sys": {name: names.get(name) for name in SYS},
        "environ": os.environ._data.copy(),
        "directory": directory(),
        "signals": signals(is_main_thread),
        "filters": list(filters) if type(filters) is list else [],
        "handlers": handlers(table.get("logging")),
        "abc": abc.get_cache_token() if abc is not None else None,
        "copyreg": copyreg.dispatch_table.copy() if copyreg is not None else {},
    }


def home(value):
    """The module that a function is of."""
    while type(value) in (types.MethodType, functools.partial):
        value = value.__func__ if type(value) is types.MethodType else value.func
    return value.__module__ if type(value) is types.FunctionType else None


def compare(before, after, updated):
    """The lines of the report, whether classes were registered with abstract classes, and the new classes that `copyreg`
    knows. The modules `updated` are executed anew; what others do that are imported on the way is as with any import."""
    notes = []
    known_modules = {*before["table"], *updated}

    def note(where, what):
        notes.append(("note", where, what))

    known = collections.Counter((kind, key(value)) for kind, value in before["registered"])
    names = threads(after["table"])
    for kind, value in after["registered"]:
        if kind == "thread":
            if not any(one == kind and other == value for one, other in before["registered"]):
                name = names.get(value, value)
                note(f"thread {name}", f"was started and runs on; {ADVICE}, and end it before")
            continue
        if known[kind, key(value)] > 0:
            known[kind, key(value)] -= 1
            continue
        # What a search function found is only remembered.
        if kind == "codec" and type(value) is tuple:
            continue
        function = value[0] if kind == "atexit callback" else value
        if home(function) in after["table"] and home(function) not in known_modules:
            continue
        note(kind, f"{describe(function)} was registered, beside what was there; {ADVICE}")
    for name, items in after["paths"].items():
        old = before["paths"].get(name, [])
        for item in items:
            if not any(item is one or type(item) is str and item == one for one in old):
                note(f"sys.{name}", f"{describe(item)} was put in, and stays; {ADVICE}")
        gone = [one for one in old if not any(item is one or type(item) is str and item == one for item in items)]
        for item in gone:
            note(f"sys.{name}", f"{describe(item)} was taken out, and is not put back")
    for name, value in after["sys"].items():
        if value is not before["sys"][name]:
            note(f"sys.{name}", f"was set, and stays so; {ADVICE}")
    compare_modules(before["table"], after["table"], updated, note)
    for name in sorted({*before["environ"], *after["environ"]}):
        if before["environ"].get(name) != after["environ"].get(name):
            # Its value may be a secret.
            what = "was set" if name in after["environ"] else "was deleted"
            note(f"os.environ[{os.fsdecode(name)!r}]", f"{what}, for the whole process; {ADVICE}")
    if before["directory"] != after["directory"]:
        note("os.getcwd()", f"is {after['directory']!r} now, for the whole process; {ADVICE}")
    for number, handler in after["signals"].items():
        if handler is not before["signals"].get(number, handler):
            note(f"signal {number}", f"is handled by {describe(handler)} now, for the whole process; {ADVICE}")
    for entry in after["filters"] if "warnings" in before["table"] else ():
        if not any(entry is one or is_same_filter(entry, one) for one in before["filters"]):
            note("warnings.filters", f"a filter {entry[0]!r} was put in, and stays; {ADVICE}")
    for name, items in after["handlers"].items():
        old = before["handlers"].get(name, [])
        for item in items:
            if not any(item is one for one in old):
                note(f"logging {name!r}", f"{describe(item)} was added, beside what was there; {ADVICE}")
    entered = []
    for cls, function in after["copyreg"].items():
        if before["copyreg"].get(cls) is function:
            continue
        module = vars(cls).get("__module__")
        if module in updated or module not in before["table"]:
            entered.append(cls)
        if module not in updated:
            note("copyreg", f"{describe(cls)} is pickled by {describe(function)} now, for the whole process; {ADVICE}")
    return notes, before["abc"] != after["abc"], entered


def is_same_filter(one, other):
    return len(one) == len(other) and all(left is right or type(left) is str and left == right for left, right in zip(one, other))


def is_by_hand(module):
    """Whether no import made what stands in `sys.modules`."""
    return not issubclass(type(module), types.ModuleType) or types.ModuleType.__getattribute__(module, "__dict__").get("__spec__") is None


def compare_modules(before, after, updated, note):
    for name, module in after.items():
        if type(name) is not str or name in updated:
            continue
        if name not in before:
            if is_by_hand(module):
                if issubclass(type(module), types.ModuleType):
                    note(f"sys.modules[{name!r}]", "was put there by hand, and comes with the update")
                else:
                    note(f"sys.modules[{name!r}]", "is no module, and is not taken over; put it there when the program starts")
        elif before[name] is not module:
            note(f"sys.modules[{name!r}]", "was replaced, which is not taken over; put it there when the program starts")
    for name in before:
        if name not in after and name not in updated:
            note(f"sys.modules[{name!r}]", "was deleted, which is not taken over; delete it when the program starts")


def is_foreign(update, cls):
    """Whether a class is of another module, of a program."""
    module = vars(cls).get("__module__")
    return (
        bool(cls.__flags__ & heap_type) and type(module) is str and module not in update.own_modules
        and module.partition(".")[0] not in sys.stdlib_module_names
    )


def of_plan(update, executed):
    """Adds to the plan's report what was found, and what its classes did elsewhere."""
    notes, is_registered, update.entered = executed
    update.report.extend(notes)
    for name, old, new in update.pairs:
        for value in list(vars(new).values()):
            if is_class(value) and id(value) not in update.forward and update.is_own_class(value):
                for base in value.__bases__:
                    if is_foreign(update, base):
                        where = f"{vars(value)['__module__']}.{value.__qualname__}"
                        update.note("note", where, f"is a new subclass of {describe(base)}, which knows of it from now on")
    for old, new, path in update.all_classes():
        for base in new.__mro__[1:]:
            if "__init_subclass__" in vars(base):
                if is_foreign(update, base):
                    what = f"{describe(base)}.__init_subclass__ was called with a second copy, which is not the class"
                    update.note("note", path, f"{what}; let it look classes up by name")
                break
    if is_registered:
        of_abstract_classes(update)


def of_abstract_classes(update):
    """What was registered with abstract classes of others: the class that there is has to be, too."""
    import _abc

    seen, waiting = set(), [object]
    while waiting:
        cls = waiting.pop()
        if id(cls) in seen:
            continue
        seen.add(id(cls))
        waiting.extend(type.__subclasses__(cls))
        if "_abc_impl" not in vars(cls) or vars(cls).get("__module__") in update.own_modules:
            continue
        registered = [reference() for reference in _abc._get_dump(cls)[0]]
        for new in registered:
            if new is None or not update.is_own_class(new):
                continue
            live = update.forward.get(id(new), (None, None))[1]
            if live is None:
                live = new if is_second_copy(update, new) else None
            elif any(live is other for other in registered):
                continue
            if live is not None:
                update.registrations.append((cls, live))
                where = f"{vars(live)['__module__']}.{live.__qualname__}"
                update.note("note", where, f"was registered with {describe(cls)}, and stays so")


def is_second_copy(update, cls):
    return any(value is cls for name, old, new in update.pairs for value in list(vars(new).values()))
