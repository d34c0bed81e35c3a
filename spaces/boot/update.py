"""Plans how modules take over what second copies of them define.

Each module was executed anew, aside, from its new source. What it was and what it became are matched by name: a function, a
class, a member of an enumeration keeps its identity and gets what its counterpart has. The plan is a list of changes that
native code makes all at once; nothing that another thread could see is changed here.

Runs as platform code. `settle(name, old, new, update)` does that for what is plain, and returns the names of it; everything here
is for the rest. `disown(classes)` makes the bases of classes forget them. What belongs to one update: `importers(module)` has
the modules that imported names from a module, with these names; `unraisable(error, function)` reports what a hook raised;
`executed` is what `effects` found that the new sources did elsewhere.
"""

import collections
import functools
import gc
import types
import weakref

adopting, migrating, effects = (modules["modspace." + name] for name in ("adopt", "migrate", "effects"))

MISSING = object()

#: What modules have that is not of their source.
MODULE_KEPT = {"__builtins__", "__name__", "__package__", "__path__"}

#: What classes have of their own, whatever their source says.
CLASS_KEPT = {"__dict__", "__weakref__", "__slots__", "_abc_impl", "__annotations_cache__", "__module__",
              "__slotnames__"}

#: What changes with each edit above it: not worth a line in a plan.
UNREMARKABLE = {"__firstlineno__", "__static_attributes__", "__spec__", "__loader__", "__doc__", "__annotate_func__",
                "__annotate__", "__qualname__", "__file__", "__cached__", "__abstractmethods__", "__conditional_annotations__"}

ATOMIC = {int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range, slice,
          types.CodeType, types.BuiltinFunctionType}

#: Objects in whose place another one comes when something in them is another one.
REBUILT = {frozenset, property, classmethod, staticmethod, types.MethodType, functools.partial, types.GenericAlias,
           types.UnionType, weakref.ref}

#: More objects than this are not looked through for what was replaced.
BUDGET = 200_000

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
    return (before is None) is (after is None) and (before is None or is_same_code(before.__code__, after.__code__))


class Update:
    def __init__(self, pairs, added, replace, importers, unraisable):
        self.importers = importers
        self.unraisable = unraisable
        self.pairs = pairs
        self.added = added
        self.replace = replace
        self.live = {id(vars(new)): vars(old) for name, old, new in pairs}
        self.modules = {name: (old, new) for name, old, new in pairs}
        self.own_modules = {*self.modules, *(module.__name__ for module in added)}
        #: The namespaces of code that was executed for this update.
        self.namespaces = {*self.live, *(id(vars(module)) for module in added)}
        self.forward = {}
        self.taken = set()
        self.functions = []
        self.classes = []
        self.members = []
        self.descriptors = []
        self.caches = []
        self.migrations = []
        #: What has to be registered with abstract classes of others.
        self.registrations = []
        self.fresh = []
        self.seen = {}
        self.shared = set()
        self.changes = []
        self.report = []
        self.rebound = set()
        self.settled = set()
        #: The names of each module that native code has settled, and the second copies of classes among them.
        self.plain = {}
        self.settled_classes = []
        self.waiting = collections.deque()
        self.refused = []
        self.budget = BUDGET
        self.adopted = adopting.Adopted(self, self.attempt, is_same_value)

    def attempt(self, function, *arguments):
        """Whatever a program's classes raise, the update has been made."""
        try:
            function(*arguments)
        except Exception as error:
            self.unraisable(error, function)

    # Matching.

    def note(self, kind, path, detail=""):
        self.report.append((kind, path, detail))

    def pair(self, old, new):
        self.forward[id(new)] = (new, old)
        self.taken.add(id(old))

    def match_all(self):
        for name, old, new in self.pairs:
            self.pair(old, new)
            self.pair(vars(old), vars(new))
            self.shared.update(map(id, vars(old).copy().values()))
        for name, old, new in self.pairs:
            self.plain[name] = settle(name, vars(old), vars(new), self)
        for name, old, new in self.pairs:
            self.match_namespaces(vars(old), vars(new), name, self.plain[name])

    def match_namespaces(self, old, new, path, plain=()):
        names = [name for name in new if name in old and name not in plain]
        # The object that a name was made for goes before its aliases.
        names.sort(key=lambda name: own_name(new[name]) != name)
        for name in names:
            self.match(old[name], new[name], f"{path}.{name}")

    def match(self, old, new, path, depth=0):
        if old is new or id(new) in self.forward or id(old) in self.taken or depth > 8:
            return
        kind = type(new)
        if kind is types.FunctionType:
            is_named = depth == 0 or own_name(old) == new.__name__
            if type(old) is kind and is_named and self.is_counterpart(old, new):
                self.pair_functions(old, new, path)
        elif is_class(new):
            # In a container, the place says nothing.
            is_named = depth == 0 or old.__qualname__ == new.__qualname__
            if is_class(old) and is_named and self.is_own_class(old) and self.is_own_class(new):
                self.pair_classes(old, new, path)
        elif self.adopted.match(old, new, path):
            return
        elif type(old) is not kind and self.forward.get(id(kind), (None, None))[1] is not type(old):
            return
        elif kind is property:
            for part in ("fget", "fset", "fdel"):
                self.match(getattr(old, part), getattr(new, part), path, depth + 1)
            self.pair(old, new)
            self.descriptors.append((old, new))
        elif kind in (classmethod, staticmethod):
            self.match(old.__func__, new.__func__, path, depth + 1)
            self.pair(old, new)
            self.descriptors.append((old, new))
        elif kind is functools.partial:
            self.match(old.func, new.func, path, depth + 1)
        elif kind in (list, tuple):
            for index, (one, other) in enumerate(zip(old, new)):
                self.match(one, other, f"{path}[{index}]", depth + 1)
        elif kind is dict:
            for key in new:
                if type(key) in (str, int) and key in old:
                    self.match(old[key], new[key], f"{path}[{key!r}]", depth + 1)
        elif kind not in ATOMIC and id(new) not in self.shared:
            inner_old, inner_new = attributes(old), attributes(new)
            if inner_old is not None and inner_new is not None:
                for key in inner_new:
                    if key in inner_old:
                        self.match(inner_old[key], inner_new[key], f"{path}.{key}", depth + 1)
                if type(kind) is type and kind.__name__ == "_lru_cache_wrapper" and not kind.__flags__ & heap_type:
                    self.caches.append(old)

    def is_counterpart(self, old, new):
        """Whether `new` is what the new source has in the place of `old`."""
        live = self.live.get(id(new.__globals__))
        if live is not None:
            return live is old.__globals__
        # A wrapper that the same factory made.
        return (
            old.__globals__ is new.__globals__
            and "<locals>" in new.__code__.co_qualname
            and old.__code__.co_qualname == new.__code__.co_qualname
        )

    def is_own_class(self, cls):
        return bool(cls.__flags__ & heap_type) and vars(cls).get("__module__") in self.own_modules

    def pair_functions(self, old, new, path):
        self.pair(old, new)
        self.functions.append((old, new, path))
        cells = dict(zip(old.__code__.co_freevars, old.__closure__ or ()))
        for name, cell in zip(new.__code__.co_freevars, new.__closure__ or ()):
            if name in cells and name != "__class__":
                try:
                    values = cells[name].cell_contents, cell.cell_contents
                except ValueError:
                    continue
                if name == "registry" and new.__code__.co_qualname.startswith("singledispatch.<locals>."):
                    self.keep_registrations(*values)
                self.match(*values, f"{path}.<{name}>", 1)
        for name, value in vars(new).items():
            if name in vars(old):
                self.match(vars(old)[name], value, f"{path}.{name}", 1)
        for one, other in zip(old.__defaults__ or (), new.__defaults__ or ()):
            self.match(one, other, path, 1)
        for name, value in (new.__kwdefaults__ or {}).items():
            if name in (old.__kwdefaults__ or ()):
                self.match(old.__kwdefaults__[name], value, path, 1)

    def keep_registrations(self, old, new):
        """What other modules registered with a `functools.singledispatch` function stays."""
        for cls, function in old.items():
            if cls not in new and getattr(function, "__module__", None) not in self.own_modules:
                new[cls] = function

    def counterpart(self, cls):
        """The class that takes the place of `cls`: itself, unless it was made anew."""
        if id(cls) in self.forward:
            return self.forward[id(cls)][1]
        if not self.is_own_class(cls) or vars(cls)["__module__"] not in self.modules:
            return cls
        old, new = self.modules[vars(cls)["__module__"]]
        found, fresh = old, new
        for name in cls.__qualname__.split("."):
            found, fresh = vars(found).get(name, MISSING), vars(fresh).get(name, MISSING)
            if found is MISSING or fresh is MISSING or not (is_class(found) and is_class(fresh)):
                return cls
        if fresh is cls:
            self.match(found, cls, f"{vars(cls)['__module__']}.{cls.__qualname__}")
        return self.forward.get(id(cls), (cls, cls))[1]

    def obstacle(self, old, new):
        """Why the class cannot be updated in place; None when it can."""
        metaclass = self.counterpart(type(new))
        if metaclass is not type(old):
            return f"its metaclass was {type(old).__name__} and is {type(new).__name__}"
        slots = [tuple([names] if type(names) is str else names)
                 for names in (vars(cls).get("__slots__", ("__dict__",)) for cls in (old, new))]
        if slots[0] != slots[1]:
            return "its __slots__ changed"
        bases = tuple(self.counterpart(base) for base in new.__bases__)
        if bases != old.__bases__:
            if (object,) in (bases, old.__bases__):
                return "classes without and with bases have different layouts"
            if not is_same_layout(old.__bases__, bases):
                return "its new bases have another layout"
            if any(type(cls).mro is not type.mro for cls in subclasses([old])):
                return "a metaclass computes in which order its bases are asked"
        return None

    def pair_classes(self, old, new, path):
        reason = self.obstacle(old, new)
        # Looking for its bases may have come here before.
        if id(new) in self.forward or id(old) in self.taken or id(new) in self.settled:
            return
        if reason is not None:
            self.settled.add(id(new))
            self.note("replaced" if self.replace else "refused", path, reason)
            if not self.replace:
                self.refused.append((path, reason))
            return
        self.pair(old, new)
        self.classes.append((old, new, path))
        members = vars(new).get("_member_map_")
        if type(members) is dict:
            self.match_members(vars(old).get("_member_map_", {}), members, path)
        self.match_namespaces(vars(old), vars(new), path)

    def match_members(self, old, new, path):
        """Members of an enumeration keep their identity with their name."""
        for name, member in new.items():
            before = old.get(name)
            if before is None or id(member) in self.forward or id(before) in self.taken:
                continue
            for kind in (int, str, float, bytes, tuple):
                if is_a(member, kind) and kind.__ne__(before, member):
                    self.note("replaced", f"{path}.{name}", "its value is part of the object")
                    break
            else:
                self.pair(before, member)
                self.members.append((before, member))

    def keep_combinations(self, old, new):
        """Members that were made by combining flags stay, as far as there are such flags."""
        before, after = vars(old).get("_value2member_map_"), vars(new).get("_value2member_map_")
        mask = vars(new).get("_flag_mask_")
        if type(before) is not dict or type(after) is not dict or type(mask) is not int:
            return
        for value, member in before.items():
            if value not in after and value & ~mask == 0 and id(member) not in self.taken:
                after[value] = member
                self.changes.append(("item", vars(member), "_inverted_", None))

    # References to what was matched.

    def fix(self, value):
        """What stands for `value` when the plan is carried out. What is in it is seen to."""
        key = id(value)
        if key in self.forward:
            return self.forward[key][1]
        if key in self.seen:
            return self.seen[key][1]
        kind = type(value)
        if kind in ATOMIC or is_a(value, types.ModuleType) or self.budget <= 0:
            return value
        self.budget -= 1
        if self.budget == 0:
            self.note("note", self.pairs[0][0], f"has more than {BUDGET} objects; the rest was not looked through")
        self.seen[key] = value, value
        if not issubclass(kind, tuple) and kind not in REBUILT:
            # It stays the object that it is; what is in it can wait.
            self.waiting.append(value)
            return value
        fixed = self.look_into(value, kind)
        if fixed is not value:
            self.seen[key] = value, fixed
        return fixed

    def look_into_waiting(self):
        while self.waiting:
            value = self.waiting.popleft()
            self.look_into(value, type(value))

    def look_into(self, value, kind):
        if kind is types.FunctionType:
            # Of a function that is defined elsewhere, only what it was made with can be new.
            if id(value.__globals__) in self.namespaces or "<locals>" in value.__code__.co_qualname:
                self.fresh.append(value)
                self.fix_function(value)
            return value
        if is_a(value, type):
            if self.is_own_class(value) and id(value) not in self.shared:
                self.fix_new_class(value)
            return value
        if id(value) in self.shared or id(value) in self.taken:
            return value
        if is_a(value, tuple):
            items = [self.fix(item) for item in tuple.__iter__(value)]
            if any(one is not other for one, other in zip(items, tuple.__iter__(value))):
                return tuple.__new__(kind, items)
            return self.fix_instance(value, kind)
        if kind is list:
            items = [self.fix(item) for item in value]
            if any(one is not other for one, other in zip(items, value)):
                self.changes.append(("swap", value, items))
            return value
        if kind in (set, frozenset):
            items = [self.fix(item) for item in value]
            if any(item not in value for item in items):
                if kind is frozenset:
                    return frozenset(items)
                self.changes.append(("swap", value, set(items)))
            return value
        if kind is dict:
            return self.fix_dict(value)
        if kind is types.CellType:
            self.fix_cell(value)
            return value
        if kind is property:
            parts = value.fget, value.fset, value.fdel
            fixed = [self.fix(part) for part in parts]
            if any(one is not other for one, other in zip(parts, fixed)):
                return property(*fixed, value.__doc__)
            return value
        if kind in (classmethod, staticmethod):
            fixed = self.fix(value.__func__)
            return value if fixed is value.__func__ else kind(fixed)
        if kind is types.MethodType:
            function, owner = self.fix(value.__func__), self.fix(value.__self__)
            if function is value.__func__ and owner is value.__self__:
                return value
            return types.MethodType(function, owner)
        if kind is functools.partial:
            function, args, keywords = self.fix(value.func), self.fix(value.args), dict(value.keywords)
            keywords = {name: self.fix(item) for name, item in keywords.items()}
            if function is not value.func or args is not value.args or keywords != value.keywords:
                return functools.partial(function, *args, **keywords)
            return value
        if kind is types.GenericAlias:
            origin, args = self.fix(value.__origin__), self.fix(value.__args__)
            if origin is value.__origin__ and args is value.__args__:
                return value
            return types.GenericAlias(origin, args)
        if kind is types.UnionType:
            args = [self.fix(item) for item in value.__args__]
            if any(one is not other for one, other in zip(args, value.__args__)):
                return functools.reduce(lambda one, other: one | other, args)
            return value
        if kind is weakref.ref:
            target = value()
            fixed = self.fix(target)
            return value if fixed is target else weakref.ref(fixed, value.__callback__)
        if is_a(value, (list, dict, collections.deque)):
            self.fix_container(value)
        elif is_a(value, BaseException):
            fixed = self.fix(value.args)
            if fixed is not value.args:
                self.changes.append(("attribute", value, "args", fixed))
        elif not kind.__flags__ & heap_type:
            # What cannot be changed may still lead to functions, or to what can.
            for item in gc.get_referents(value):
                self.fix(item)
        return self.fix_instance(value, kind)

    def fix_dict(self, value):
        fixed = {self.fix(key): self.fix(item) for key, item in value.items()}
        if all(type(key) is str for key in value):
            for key, item in value.items():
                if fixed[key] is not item:
                    self.changes.append(("item", value, key, fixed[key]))
        elif any(one is not other for one, other in zip(fixed, value)) or any(
            one is not other for one, other in zip(fixed.values(), value.values())
        ):
            self.changes.append(("swap", value, fixed))
        return value

    def fix_container(self, value):
        """A list or dict of another class: only native code could change it together with the rest."""
        items = list(value.items() if is_a(value, dict) else enumerate(value))
        fixed = [(self.fix(key), self.fix(item)) for key, item in items]
        try:
            if any(one is not other for (one, _), (other, _) in zip(items, fixed)):
                value.clear()
                for key, now in fixed:
                    value[key] = now
            for (key, item), (_, now) in zip(items, fixed):
                if item is not now:
                    value[self.fix(key)] = now
            factory = getattr(value, "default_factory", None)
            if factory is not None and self.fix(factory) is not factory:
                value.default_factory = self.fix(factory)
        except Exception as error:
            self.note("note", type(value).__name__, f"still refers to a second copy: {error}")

    def fix_instance(self, value, kind):
        if self.adopted.look_into(value, kind):
            return value
        inner = attributes(value)
        if inner is not None:
            self.fix_dict(inner)
        for cls in kind.__mro__:
            for name, descriptor in vars(cls).items():
                if type(descriptor) is types.MemberDescriptorType and cls.__flags__ & heap_type:
                    try:
                        item = descriptor.__get__(value, kind)
                    except AttributeError:
                        continue
                    fixed = self.fix(item)
                    if fixed is not item:
                        self.changes.append(("attribute", value, name, fixed))
        live = self.forward.get(id(kind))
        if live is not None:
            self.changes.append(("attribute", value, "__class__", live[1]))
        return value

    def fix_cell(self, cell):
        try:
            item = cell.cell_contents
        except ValueError:
            return
        fixed = self.fix(item)
        if fixed is not item:
            self.changes.append(("attribute", cell, "cell_contents", fixed))

    def fix_function(self, function):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            # Where `super()` finds the class; see `closure`.
            if name != "__class__":
                self.fix(cell)
        for value in (function.__defaults__, function.__kwdefaults__, function.__type_params__):
            if value:
                self.fix(value)
        if id(function.__globals__) in self.namespaces:
            annotate = function.__annotate__
            if annotate is not None:
                self.fix(annotate)
        self.fix_dict(vars(function))

    def fix_new_class(self, cls):
        for name, value in list(vars(cls).items()):
            if name not in CLASS_KEPT and type(value) is not types.MemberDescriptorType:
                fixed = self.fix(value)
                if fixed is not value:
                    self.changes.append(("class", cls, name, fixed))
        bases = tuple(self.fix(base) for base in cls.__bases__)
        if bases != cls.__bases__:
            self.changes.append(("class", cls, "__bases__", bases))
        live = self.forward.get(id(type(cls)))
        if live is not None:
            self.changes.append(("attribute", cls, "__class__", live[1]))

    # The plan.

    def plan(self):
        self.match_all()
        for name, old, new in self.pairs:
            self.plan_namespace(old, new, name)
        for module in self.added:
            self.fix_dict(vars(module))
            self.note("added", module.__name__)
        for old, new, path in self.classes:
            self.plan_class(old, new, path)
        for old, new in self.descriptors:
            self.changes.append(("swap", old, self.rebuilt(new)))
        for old, new in self.members:
            for key, value in vars(new).items():
                fixed = self.fix(value)
                if vars(old).get(key, MISSING) is not fixed:
                    self.changes.append(("item", vars(old), key, fixed))
        self.adopted.plan()
        for old, new, path in self.functions:
            self.fresh.append(new)
            self.fix_function(new)
        self.look_into_waiting()
        for old, new, path in self.functions:
            self.plan_function(old, new, path)
        # The list grows: what a function refers to may be another new one.
        for function in self.fresh:
            live = self.live.get(id(function.__globals__))
            if live is not None:
                # A second copy that somebody has goes on with its class; what is new comes to the class that there is.
                closure = function.__closure__ if id(function) in self.forward else self.closure(function)
                self.changes.append(("swap", function, self.twin(function, live, closure)))
            self.look_into_waiting()

    def all_classes(self):
        """The classes that are updated, those that native code has settled among them, with their second copies and paths."""
        settled = [(self.forward[id(new)][1], new, f"{vars(new)['__module__']}.{new.__qualname__}") for new in self.settled_classes]
        return self.classes + settled

    def defined(self, module):
        state = getattr(getattr(module, "__spec__", None), "loader_state", None)
        return state if type(state) is dict else {}

    def plan_namespace(self, old, new, path):
        before, after, plain = vars(old), vars(new), self.plain[path]
        if type(new) is not type(old):
            self.changes.append(("attribute", old, "__class__", self.fix(type(new))))
        if "__path__" in before and "__path__" not in after:
            self.changes.append(("item", before, "__path__"))
        for name, value in list(after.items()):
            if name in plain or type(name) is not str or name in MODULE_KEPT and name in before:
                continue
            fixed = self.fix(value)
            previous = before.get(name, MISSING)
            if previous is fixed:
                continue
            self.changes.append(("item", before, name, fixed))
            if name not in UNREMARKABLE:
                same = type(previous) is type(fixed) and type(fixed) in ATOMIC and previous == fixed
                if not same and id(value) not in self.settled:
                    self.note("added" if previous is MISSING else "updated", f"{path}.{name}")
        for name in self.defined(old).get("", ()):
            if name in before and name not in after and name not in MODULE_KEPT:
                value = before[name]
                if is_a(value, types.ModuleType) and value.__name__ == f"{path}.{name}":
                    continue
                self.changes.append(("item", before, name))
                self.note("deleted", f"{path}.{name}")

    def rebuilt(self, descriptor):
        """Another property, class method or static method, over what stands for its parts."""
        kind = type(descriptor)
        if kind is property:
            parts = descriptor.fget, descriptor.fset, descriptor.fdel
            return property(*map(self.fix, parts), descriptor.__doc__)
        return kind(self.fix(descriptor.__func__))

    def plan_class(self, old, new, path):
        self.keep_combinations(old, new)
        self.adopted.plan_class(old, new, path)
        before, after = vars(old), vars(new)
        for name, value in list(after.items()):
            if name in CLASS_KEPT or type(value) in (types.MemberDescriptorType, types.GetSetDescriptorType):
                continue
            fixed = self.fix(value)
            previous = before.get(name, MISSING)
            if name == "__class__":
                # Assigning it would change the class's own class.
                if previous is not fixed:
                    self.note("note", f"{path}.{name}", "stays as it was")
                continue
            # A descriptor that stays is set all the same: instances look at it in another way then.
            if previous is fixed and type(fixed) not in (property, classmethod, staticmethod):
                continue
            self.changes.append(("class", old, name, fixed))
            if previous is fixed:
                continue
            if name not in UNREMARKABLE and not (type(fixed) in ATOMIC and type(previous) is type(fixed) and previous == fixed):
                self.note("added" if previous is MISSING else "updated", f"{path}.{name}")
        if "__annotations_cache__" in before:
            self.changes.append(("class", old, "__annotations_cache__"))
        defined = self.defined(self.modules[before["__module__"]][0]).get(before.get("__qualname__", old.__qualname__), ())
        for name in defined:
            if name in before and name not in after and name not in CLASS_KEPT and not self.adopted.keeps(old, name):
                self.changes.append(("class", old, name))
                self.note("deleted", f"{path}.{name}")
        bases = tuple(self.fix(base) for base in new.__bases__)
        if bases != old.__bases__:
            self.changes.append(("class", old, "__bases__", bases))
            self.note("updated", path, "its bases changed")

    def plan_function(self, old, new, path):
        live = self.live.get(id(new.__globals__), new.__globals__)
        self.changes.append(("swap", old, self.twin(new, live, self.closure(new))))
        if not is_same_function(old, new):
            self.note("updated", path)
        before, after = vars(old), vars(new)
        for name, value in after.items():
            fixed = self.fix(value)
            if before.get(name, MISSING) is not fixed:
                self.changes.append(("item", before, name, fixed))
        module = self.modules.get(old.__module__)
        if module is not None:
            for name in self.defined(module[0]).get(f"{old.__qualname__}()", ()):
                if name in before and name not in after:
                    self.changes.append(("item", before, name))

    def closure(self, function):
        """The closure for who takes over from a second copy: in it, `super()` means the class that there is."""
        def stands(name, cell):
            if name != "__class__":
                return cell
            try:
                return types.CellType(self.fix(cell.cell_contents))
            except ValueError:
                return cell

        cells = function.__closure__
        return cells and tuple(map(stands, function.__code__.co_freevars, cells))

    def twin(self, function, namespace, closure):
        """Another function over another namespace. Its code was never run."""
        twin = types.FunctionType(
            function.__code__.replace(), namespace, function.__name__,
            self.fix(function.__defaults__) if function.__defaults__ else None, closure,
        )
        if function.__kwdefaults__:
            twin.__kwdefaults__ = {name: self.fix(value) for name, value in function.__kwdefaults__.items()}
        twin.__qualname__ = function.__qualname__
        twin.__doc__ = function.__doc__
        twin.__module__ = function.__module__
        if function.__type_params__:
            twin.__type_params__ = self.fix(function.__type_params__)
        annotate = function.__annotate__
        if annotate is not None:
            twin.__annotate__ = self.fix(annotate)
        elif function.__annotations__:
            twin.__annotations__ = self.fix(function.__annotations__)
        return twin

    # Names that other modules imported.

    def rebind(self):
        for module, old, new in self.pairs:
            before, after = vars(old).copy(), vars(new)
            moved, gone = {}, set()
            for name, value in before.items():
                if name not in after:
                    gone.add(name)
                elif name not in self.plain[module]:
                    fixed = self.fix(after[name])
                    if fixed is not value and name not in MODULE_KEPT:
                        moved[name] = value, fixed
            self.rebind_importers(module, before, moved, gone)

    def rebind_importers(self, module, namespace, moved, gone):
        """Gives the modules that imported names from `module` what these stand for now, and so on from them."""
        if not moved and not gone:
            return
        for importer, names in self.importers(module):
            if any(importer is old for name, old, new in self.pairs):
                continue
            if "*" in names:
                public = namespace.get("__all__") or [name for name in namespace.copy() if type(name) is str and name[:1] != "_"]
                names = [*names, *public]
            for name in gone.intersection(names):
                self.note("note", importer.__name__, f"still has {name}, which {module} defines no more")
            wanted = {name: moved[name] for name in names if name in moved}
            if wanted:
                rebound = self.rebind_in(module, importer, wanted)
                self.rebind_importers(importer.__name__, vars(importer), rebound, set())

    def rebind_in(self, module, importer, moved):
        """Returns the names of the importing module that have another value."""
        aliases = None
        rebound = {}
        for owner in self.scopes(importer):
            is_module = owner is importer
            namespace = vars(owner)
            for name, value in list(namespace.copy().items()):
                for imported, (before, now) in moved.items():
                    if value is not before:
                        continue
                    if aliases is None:
                        aliases = import_aliases(importer, module)
                    # Equal numbers are one object, and the module may have one of its own under the name. Where there is no
                    # source, as in `__main__`, the name is taken for the imported one.
                    is_unknown = name == imported and (not aliases or ("*", "*") in aliases)
                    if (imported, name) not in aliases and not is_unknown:
                        continue
                    if is_module:
                        if (id(importer), name) in self.rebound:
                            continue
                        self.rebound.add((id(importer), name))
                        self.changes.append(("item", namespace, name, now))
                        rebound[name] = before, now
                    else:
                        self.changes.append(("class", owner, name, now))
                    path = importer.__name__ if is_module else f"{importer.__name__}.{owner.__qualname__}"
                    self.note("rebound", f"{path}.{name}", f"imported from {module}")
                    break
        return rebound

    def scopes(self, importer):
        """The module, and the classes that it defines."""
        found, index = [importer], 0
        while index < len(found):
            for value in list(vars(found[index]).copy().values()):
                if is_class(value) and value.__flags__ & heap_type and vars(value).get("__module__") == importer.__name__:
                    if not any(value is other for other in found):
                        found.append(value)
            index += 1
        return found


def import_aliases(importer, module):
    """The pairs (name, local name) of the names that a module's source imports from `module`."""
    import ast

    try:
        spec = importer.__spec__
        source = spec.loader.get_source(spec.name)
        tree = ast.parse(source)
    except Exception:
        return set()
    package = importer.__package__ or ""
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, node.module] if node.module else base)
            if name == module:
                aliases.update((alias.name, alias.asname or alias.name) for alias in node.names)
    return aliases


def subclasses(classes):
    """Everything that derives from the classes, a base before what derives from it."""
    found, index = list(classes), 0
    while index < len(found):
        for cls in type.__subclasses__(found[index]) if is_class(found[index]) else ():
            if not any(cls is other for other in found):
                found.append(cls)
        index += 1
    return found


def carry_out(changes):
    """Makes the changes, in a frame of its own."""
    changes()


def take_over_registrations(update, old, new):
    import _abc, abc

    for reference in _abc._get_dump(new)[0]:
        cls = reference()
        if cls is not None:
            abc.ABCMeta.register(old, update.fix(cls))


def take_over_reducers(update):
    """`copyreg` is to know the classes that there are."""
    import copyreg

    for cls, function in list(copyreg.dispatch_table.items()):
        if id(cls) in update.forward:
            copyreg.dispatch_table.pop(cls, None)
            copyreg.dispatch_table[update.fix(cls)] = update.fix(function)


def finish(update):
    """What is derived from classes and functions, when they have changed."""
    import abc
    import linecache

    attempt = update.attempt
    disown([*update.settled_classes, *(new for old, new, path in update.classes)])
    for old, new, path in update.classes:
        if is_a(old, abc.ABCMeta):
            attempt(take_over_registrations, update, old, new)
    for cls in subclasses(old for old, new, path in update.classes):
        if is_a(cls, abc.ABCMeta):
            attempt(abc.update_abstractmethods, cls)
            attempt(abc._reset_caches, cls)
    for cache in update.caches:
        attempt(cache.cache_clear)
    for foreign, cls in update.registrations:
        attempt(abc.ABCMeta.register, foreign, cls)
    take_over_reducers(update)
    update.adopted.finish()
    migrating.finish(update.migrations, update.unraisable)
    for name, old, new in update.pairs:
        file = vars(old).get("__file__")
        if type(file) is str:
            linecache.cache.pop(file, None)


def prepare(update, registered):
    """What is to be changed beside what the plan has, when it is carried out; in `update.watched`, classes whose instances
    are to be listed at that moment, with the lists."""
    update.migrations, changes = migrating.prepare(update, registered)
    update.watched = [(migration.cls, migration.found) for migration in update.migrations]
    return changes


def cancel(update):
    """The changes could not be made."""
    migrating.cancel(update.migrations)
    update.adopted.forget()


def plan(pairs, added, replace, importers, unraisable, executed):
    update = Update(pairs, added, replace, importers, unraisable)
    update.plan()
    update.rebind()
    effects.of_plan(update, executed)
    update.report.sort(key=lambda entry: entry[1])
    return update, update.changes, update.report, update.refused


def forget(update):
    """Nothing is changed."""
    import copyreg

    disown([new for old, new, path in update.all_classes()])
    for old, new, path in update.all_classes():
        copyreg.dispatch_table.pop(new, None)
    update.adopted.forget()
