"""Values of a module's globals: what they are pickled to, which of them have changed, and how they come back.

Runs as platform code, for the space whose module it is. `pickle` is the interpreter's own module; `digest(bytes)` stands for
bytes.
"""

import gc
import types

MISSING = object()

#: The same in every process that reads it.
PROTOCOL = 4

#: What a module has by its source, and not by what the program did.
NOT_DATA = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


#: What nobody can change, and nothing is in.
ATOMIC = {int, float, complex, str, bytes, bool, type(None), type(...), range}


def is_data(value):
    return not issubclass(type(value), NOT_DATA)


def reason(error):
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def mark(value):
    return digest(pickle.dumps(value, PROTOCOL))


def marks(namespace, names):
    """What the values are at this moment; None for what cannot be pickled."""
    found = {}
    for name in names:
        value = namespace.get(name, MISSING)
        if value is not MISSING and is_data(value):
            try:
                found[name] = mark(value)
            except Exception:
                found[name] = None
    return found


def known(name, marked, loaded):
    """The mark with which a value was kept, when it is as it was loaded: what was read is not always pickled to the same bytes."""
    return loaded[name][1] if name in loaded and loaded[name][0] == marked else marked


def collect(namespace, names, before, loaded):
    """The values that are others than `before`, pickled together, so that what they share stays shared; what each is; and what
    cannot be pickled, with the reason."""
    values, found, failed = {}, {}, []
    for name in names:
        value = namespace.get(name, MISSING)
        if value is MISSING or not is_data(value):
            continue
        try:
            marked = mark(value)
        except Exception as error:
            failed.append((name, reason(error)))
            continue
        if before.get(name) != marked:
            values[name] = value
            found[name] = known(name, marked, loaded)
    return pickle.dumps(values, PROTOCOL) if values else None, found, failed


def restore(namespace, kept, marked, names):
    """Puts values back that were kept, under those of the names that they had; returns what each is now, and was then."""
    values = pickle.loads(kept)
    values = {name: values[name] for name in names if name in values}
    namespace.update(values)
    now = marks(values, values)
    return {name: (now[name], marked[name]) for name in now if now[name] is not None}


def same(namespace, kept, loaded):
    """The values of a module that are what is kept, by name."""
    now = marks(namespace, kept)
    return {name: namespace[name] for name in now
            if now[name] is not None and known(name, now[name], loaded) == kept[name]}


def reach(values):
    """The objects that values consist of, by identity."""
    found, waiting = {}, list(values)
    while waiting:
        value = waiting.pop()
        if id(value) not in found and type(value) not in ATOMIC and is_data(value):
            found[id(value)] = value
            waiting.extend(gc.get_referents(value))
    return found


def stay(namespace, same, kept):
    """Puts the values `same` into a second copy of their module; `kept` are the names of all that was put back there."""
    changed = [namespace[name] for name in kept if name not in same and name in namespace]
    left = {name: value for name, value in same.items() if name in namespace}
    while changed:
        reached = reach(changed)
        changed = []
        for name in list(left):
            if not reached.keys().isdisjoint(reach([namespace[name]])):
                changed.append(namespace[name])
                del left[name]
    namespace.update(left)
