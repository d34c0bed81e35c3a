"""Matches what modules were with what they became: by name, and by where it is in what was matched.

Runs as platform code, once for the whole process.
"""

import functools
import types

values = modules["modspace.values"]
ATOMIC, MISSING, heap_type = values.ATOMIC, values.MISSING, values.heap_type
is_a, is_class, attributes, own_name = values.is_a, values.is_class, values.attributes, values.own_name
is_same_layout, subclasses = values.is_same_layout, values.subclasses


class Match:
    """What of the new sources stands for what there was. `settle(name, old, new, update)` does that for what is plain, and
    returns the names of it; everything here is for the rest."""

    def __init__(self, pairs, added, replace, settle, adopted):
        self.pairs = pairs
        self.replace = replace
        self.settle = settle
        self.adopted = adopted
        self.live = {id(vars(new)): vars(old) for name, old, new in pairs}
        self.modules = {name: (old, new) for name, old, new in pairs}
        self.own_modules = {*self.modules, *(module.__name__ for module in added)}
        #: What stands for a second object, by its address, with that object.
        self.forward = {}
        #: The addresses of the first objects.
        self.taken = set()
        self.functions = []
        self.classes = []
        self.members = []
        self.descriptors = []
        self.caches = []
        #: What the values of the modules are that programs may have in common with others.
        self.shared = set()
        self.settled = set()
        #: The names of each module that native code has settled, and the second copies of classes among them.
        self.plain = {}
        self.settled_classes = []
        self.changes = []
        self.report = []
        self.refused = []

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
            self.plain[name] = self.settle(name, vars(old), vars(new), self)
        for name, old, new in self.pairs:
            self.match_namespaces(vars(old), vars(new), name, self.plain[name])

    def match_namespaces(self, old, new, path, plain=()):
        names = [name for name in new if name in old and name not in plain]
        # The object that a name was made for goes before its aliases, of which there may be other ones than there were.
        names.sort(key=lambda name: (own_name(new[name]) != name, own_name(old[name]) != name))
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
