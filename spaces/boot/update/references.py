"""Finds what refers to second copies, and what is to be changed so that it refers to what stands for them.

Runs as platform code, once for the whole process.
"""

import collections
import functools
import gc
import types
import weakref

values = modules["modspace.values"]
ATOMIC, CLASS_KEPT, heap_type = values.ATOMIC, values.CLASS_KEPT, values.heap_type
is_a, attributes = values.is_a, values.attributes

#: Objects in whose place another one comes when something in them is another one.
REBUILT = {frozenset, property, classmethod, staticmethod, types.MethodType, functools.partial, types.GenericAlias,
           types.UnionType, weakref.ref}

#: More objects than this are not looked through for what was replaced.
BUDGET = 200_000


class References(modules["modspace.match"].Match):
    def __init__(self, pairs, added, *arguments):
        super().__init__(pairs, added, *arguments)
        #: The namespaces of code that was executed for this update.
        self.namespaces = {*self.live, *(id(vars(module)) for module in added)}
        #: Functions that were made for this update.
        self.fresh = []
        #: What stands for what was looked at, by address, with that object.
        self.seen = {}
        self.waiting = collections.deque()
        self.budget = BUDGET

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
