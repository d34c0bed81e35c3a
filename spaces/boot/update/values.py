"""What the values of programs are, told without running code of theirs.

Runs as platform code, once for the whole process.
"""

import types

MISSING = object()

#: What modules have that is not of their source.
MODULE_KEPT = {"__builtins__", "__name__", "__package__", "__path__"}

#: What classes have of their own, whatever their source says.
CLASS_KEPT = {"__dict__", "__weakref__", "__slots__", "_abc_impl", "__annotations_cache__", "__module__",
              "__slotnames__"}

ATOMIC = {int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range, slice,
          types.CodeType, types.BuiltinFunctionType}

heap_type = 1 << 9


def is_a(value, kind):
    """`isinstance`, without asking the value, which may say what it likes."""
    return issubclass(type(value), kind)


def is_class(value):
    return is_a(value, type)


def attributes(value):
    """The `__dict__` of an instance, whatever its class says; None when it has none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


def own_name(value):
    """The name that a function or class was made with."""
    if type(value) is types.FunctionType:
        return value.__name__
    return type.__dict__["__name__"].__get__(value) if is_class(value) else None


def slotted(bases):
    """The classes that give instances slots."""
    return {cls for base in bases for cls in base.__mro__ if cls.__flags__ & heap_type and vars(cls).get("__slots__")}


def natives(bases):
    """The native classes that decide how instances are laid out."""
    found = []
    for base in bases:
        native = next(cls for cls in base.__mro__ if not cls.__flags__ & heap_type)
        if native not in found:
            found.append(native)
    return tuple(found)


def is_same_layout(old, new):
    """Whether a class with the bases `old` can get the bases `new`."""
    if slotted(old) != slotted(new):
        return False
    old, new = natives(old), natives(new)
    if old != new:
        try:
            type("probe", old, {}).__bases__ = new
        except TypeError:
            return False
    return True


def is_same_code(one, other):
    if type(one) is not types.CodeType or type(other) is not types.CodeType:
        return type(one) is type(other) and one == other
    parts = "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags"
    return (
        all(getattr(one, part) == getattr(other, part) for part in parts)
        and len(one.co_consts) == len(other.co_consts)
        and all(map(is_same_code, one.co_consts, other.co_consts))
    )


def is_same_value(one, other):
    """Whether two values are equal, as far as that can be told without running code of theirs."""
    if type(one) is not type(other):
        return False
    if type(one) is tuple:
        return len(one) == len(other) and all(map(is_same_value, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(is_same_value(one[key], other[key]) for key in one)
    return one is other or type(one) in ATOMIC and one == other


def is_same_function(one, other):
    """Whether nothing that a caller could notice differs."""
    if not is_same_code(one.__code__, other.__code__):
        return False
    for part in ("__defaults__", "__kwdefaults__", "__doc__"):
        before, after = getattr(one, part), getattr(other, part)
        if type(before) is not type(after) or not is_same_value(before, after):
            return False
    before, after = one.__annotate__, other.__annotate__
    if before is after is None and not is_same_value(one.__annotations__, other.__annotations__):
        return False
    return (before is None) is (after is None) and (before is None or is_same_code(before.__code__, after.__code__))


def subclasses(classes):
    """Everything that derives from the classes, a base before what derives from it."""
    found, index = list(classes), 0
    while index < len(found):
        for cls in type.__subclasses__(found[index]) if is_class(found[index]) else ():
            if not any(cls is other for other in found):
                found.append(cls)
        index += 1
    return found
