"""Plans how modules take over what second copies of them define.

Each module was executed anew, aside, from its new source. What it was and what it became are matched by name: a function, a
class, a member of an enumeration keeps its identity and gets what its counterpart has. The plan is a list of changes that
native code makes all at once; nothing that another thread could see is changed here.

Runs as platform code, once for the whole process. `settle(name, old, new, update)` matches what is plain; `disown(classes)`
makes the bases of classes forget them. What belongs to one update: `importers(module)` has the modules that imported names from
a module, with these names; `unraisable(error, function)` reports what a hook raised; `executed` is what `effects` found that
the new sources did elsewhere.
"""

import types

adopting, migrating, effects, rebinding, values = (
    modules["modspace." + name] for name in ("adopt", "migrate", "effects", "rebind", "values")
)
ATOMIC, CLASS_KEPT, MISSING, MODULE_KEPT = values.ATOMIC, values.CLASS_KEPT, values.MISSING, values.MODULE_KEPT
is_a, is_class, subclasses = values.is_a, values.is_class, values.subclasses

#: What changes with each edit above it: not worth a line in a plan.
UNREMARKABLE = {"__firstlineno__", "__static_attributes__", "__spec__", "__loader__", "__doc__", "__annotate_func__",
                "__annotate__", "__qualname__", "__file__", "__cached__", "__abstractmethods__", "__conditional_annotations__"}


class Update(modules["modspace.references"].References):
    def __init__(self, pairs, added, replace, unraisable):
        adopted = adopting.Adopted(self, self.attempt, values.is_same_value)
        super().__init__(pairs, added, replace, settle, adopted)
        self.added = added
        self.unraisable = unraisable
        self.migrations = []
        #: New classes that `copyreg` knows.
        self.entered = []
        #: What has to be registered with abstract classes of others.
        self.registrations = []

    def attempt(self, function, *arguments):
        """Whatever a program's classes raise, the update has been made."""
        try:
            function(*arguments)
        except Exception as error:
            self.unraisable(error, function)

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
        if not values.is_same_function(old, new):
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


def late(update):
    """Changes for names that other threads took from the modules while the plan was made; and lines for the report."""
    update.changes, update.report = [], []
    update.rebinding.again()
    return update.changes, update.report


def cancel(update):
    """The changes could not be made."""
    migrating.cancel(update.migrations)
    forget(update)


def plan(pairs, added, replace, importers, unraisable, executed):
    update = Update(pairs, added, replace, unraisable)
    update.plan()
    rebinding.rebind(update, importers)
    effects.of_plan(update, executed)
    update.report.sort(key=lambda entry: entry[1])
    return update, update.changes, update.report, update.refused


def forget(update):
    """Nothing is changed."""
    leave([*(new for old, new, path in update.all_classes()), *update.entered])
    update.adopted.forget()


def leave(classes):
    """Second copies of classes are not entered anywhere."""
    import copyreg

    disown(classes)
    for cls in classes:
        copyreg.dispatch_table.pop(cls, None)


def abandon(copies):
    """The modules are not needed any more, before a plan was made."""
    for module in copies:
        name = vars(module).get("__name__")
        leave([value for value in list(vars(module).values()) if is_class(value) and vars(value).get("__module__") == name])
