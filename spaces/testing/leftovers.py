"""What tests have left in the modules of a space: the differences between two looks at it."""

import contextvars
import types

#: What importing sets on a module, and what the interpreter itself changes.
UNSEEN = {"__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"}

#: Of some modules, what is told in other words, or changes by itself.
UNSEEN_OF = {
    "sys": {"modules", "path_importer_cache", "last_exc", "last_type", "last_value", "last_traceback"},
    "os": {"environ", "environb"},
    "posix": {"environ"},
}

#: The framework's own.
FRAMEWORK = "pytest", "_pytest", "pluggy"

MISSING = object()

#: Kinds whose values are compared by what they are.
PLAIN = str, int, float, bytes, bool

#: How much of a value is shown.
SHOWN = 60


class Look:
    """What the modules of a space have: their attributes, and what is in containers, classes and objects that they refer to.

    Nothing of the tests is called for it: values are compared by identity, plain ones by what they are.
    """

    def __init__(self, space):
        self.modules = dict(space.sys.modules)
        self.known = {}
        for name, module in list(self.modules.items()):
            if isinstance(module, types.ModuleType) and name.partition(".")[0] not in FRAMEWORK:
                self.known[name] = {
                    key: (value, inside(value, name))
                    for key, value in list(vars(module).items())
                    if key not in UNSEEN and key not in UNSEEN_OF.get(name, ())
                }
        # State that no attribute shows.
        if "atexit" in self.modules:
            self.known["atexit"]["_ncallbacks()"] = space.eval("__import__('atexit')._ncallbacks()"), None
        if "random" in self.modules:
            self.known["random"]["getstate()"] = space.eval("__import__('random').getstate()"), None

    def changes_to(self, other):
        """Yields what has another value in a later look: what it is, and how it changed."""
        for name in other.modules.keys() | self.modules.keys():
            before, now = self.modules.get(name, MISSING), other.modules.get(name, MISSING)
            if before is now:
                continue
            if before is MISSING and was_imported(now):
                # It may have done something as it was.
                yield f"sys.modules[{name!r}]", "was imported"
            elif before is MISSING:
                yield f"sys.modules[{name!r}]", f"was set to {shown(now)}"
            else:
                yield f"sys.modules[{name!r}]", "was removed" if now is MISSING else f"was replaced by {shown(now)}"
        for name, before in self.known.items():
            if name in other.known and other.modules.get(name) is self.modules.get(name):
                yield from self.changes_of(name, before, other.known[name])

    @staticmethod
    def changes_of(name, before, now):
        for key in before.keys() | now.keys():
            path = f"{name}.{key}"
            if key not in now:
                yield path, "was deleted"
            elif key not in before:
                # A submodule that was imported is in `sys.modules`.
                if not isinstance(now[key][0], types.ModuleType):
                    yield path, f"was added: {shown(now[key][0])}"
            else:
                (one, inner), (other, other_inner) = before[key], now[key]
                if not same(one, other):
                    yield path, f"was {shown(one)}, and became {shown(other)}"
                elif inner is not None:
                    yield from inner_changes(path, inner, other_inner)


def was_imported(module):
    """Whether a module is one that a finder has found, and not something that was set in its place."""
    return type(getattr(module, "__spec__", None)).__name__ == "ModuleSpec"


def inner_changes(path, before, now):
    """What changed in a container, in a class or in an object."""
    (kind, before), (_, now) = before, now
    if kind in ("items", "value", "cached"):
        if len(before) != len(now) or not all(map(same, before, now)):
            if kind != "items":
                path, (before,), (now,) = f"{path}.{'get()' if kind == 'value' else 'cache_info().currsize'}", before, now
            yield path, f"was {shown(before)}, and became {shown(now)}"
        return
    for key in before.keys() | now.keys():
        place = f"{path}.{key}" if kind == "attributes" else f"{path}[{key!r}]"
        if key not in now:
            yield place, "was deleted"
        elif key not in before:
            yield place, f"was added: {shown(now[key][0])}"
        elif not same(before[key][0], now[key][0]):
            yield place, f"was {shown(before[key][0])}, and became {shown(now[key][0])}"
        elif before[key][1] is not None:
            yield from inner_changes(place, before[key][1], now[key][1])


def inside(value, module, depth=2):
    """A copy of what is in a value, so far as it is seen into; None for what is only compared itself."""
    kind = type(value)
    if kind in (list, tuple):
        return "items", list(value)
    if kind in (set, frozenset):
        return "items", sorted(value, key=id)
    if kind is dict:
        return "keys", entries(value, module, depth)
    if kind is contextvars.ContextVar:
        try:
            return "value", [value.get()]
        except LookupError:
            return "value", [MISSING]
    if isinstance(value, type):
        if value.__module__ != module:
            return None
        return "attributes", {key: (item, None) for key, item in list(vars(value).items()) if not is_of_class(key)}
    if hasattr(kind, "cache_info") and kind.__module__ == "functools":
        return "cached", [value.cache_info().currsize]
    if not depth or isinstance(value, (types.ModuleType, types.FunctionType)):
        return None
    try:
        # Without its class's own ways to have attributes.
        return "attributes", entries(object.__getattribute__(value, "__dict__"), module, depth)
    except AttributeError:
        return None


def entries(names, module, depth):
    """A copy of a dict's items, but for keys whose comparison a program defines."""
    return {
        key: (item, inside(item, module, depth - 1) if depth else None)
        for key, item in list(names.items())
        if type(key) in PLAIN or isinstance(key, type)
    }


def is_of_class(key):
    """Whether the interpreter itself sets such attributes of classes."""
    return key in ("__dict__", "__weakref__", "__doc__") or key.startswith("_abc")


def same(one, other):
    if one is other:
        return True
    return type(one) is type(other) and (
        type(one) in PLAIN and one == other or type(one) is tuple and len(one) == len(other) and all(map(same, one, other))
    )


def shown(value):
    if value is MISSING:
        return "nothing"
    try:
        text = repr(value)
    except Exception:
        # A class of the tests may well not know how to show itself.
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= SHOWN else text[:SHOWN - 1] + "…"
