"""Names that modules have imported from updated ones, and names in classes: they get what these stand for now.

Runs as platform code, once for the whole process. `bindings(module)` tells from a module's source how it came to its names.
"""

import collections

values = modules["modspace.values"]
MISSING, MODULE_KEPT, heap_type, is_class = values.MISSING, values.MODULE_KEPT, values.heap_type, values.is_class


def rebind(update, importers):
    """`importers(module)` has the modules that imported names from a module, with these names."""
    update.rebinding = Rebinding(update, importers)
    update.rebinding.all()


class Rebinding:
    def __init__(self, update, importers):
        self.update = update
        self.importers = importers
        self.known = {}
        self.done = set()
        #: What names in modules and classes got: that is not to be taken for the old value of another name.
        self.given = {}
        self.waiting = collections.deque()
        #: What was followed.
        self.followed = []

    def all(self):
        for module, old, new in self.update.pairs:
            before, after = vars(old).copy(), vars(new)
            moved, gone = {}, set()
            for name, value in before.items():
                if name not in after:
                    gone.add(name)
                elif name not in self.update.plain[module]:
                    fixed = self.update.fix(after[name])
                    if fixed is not value and name not in MODULE_KEPT:
                        moved[name] = value, fixed
            self.waiting.append((module, before, moved, gone))
        self.follow_all()

    def again(self):
        """Once the changes were made: other threads may have taken names while the plan was made."""
        self.done.clear()
        self.waiting.extend((module, namespace, moved, set()) for module, namespace, moved, gone in self.followed)
        self.followed.clear()
        self.follow_all()

    def follow_all(self):
        while self.waiting:
            following = self.waiting.popleft()
            self.followed.append(following)
            self.follow(*following)

    def follow(self, module, namespace, moved, gone):
        """Gives importers what names of `module` stand for now; who imports from them comes later."""
        if not moved and not gone:
            return
        for importer, names in self.importers(module):
            # What is executed anew has taken the new values.
            if any(importer is old for name, old, new in self.update.pairs) or any(importer is one for one in self.update.added):
                continue
            if "*" in names:
                public = namespace.get("__all__") or [name for name in namespace.copy() if type(name) is str and name[:1] != "_"]
                names = [*names, *public]
            for name in gone.intersection(names):
                self.update.note("note", importer.__name__, f"still has {name}, which {module} defines no more")
            wanted = {name: moved[name] for name in names if name in moved}
            if wanted:
                rebound = self.bind(module, importer, wanted)
                self.waiting.append((importer.__name__, vars(importer), rebound, set()))

    def bind(self, module, importer, moved):
        """Returns the names of the importing module that have another value."""
        rebound = {}
        for owner in scopes(importer):
            is_module = owner is importer
            namespace = vars(owner)
            for name, value in list(namespace.copy().items()):
                key = id(owner), name
                if key in self.done or self.given.get(key, MISSING) is value:
                    continue
                for imported, (before, now) in moved.items():
                    if value is not before or not self.takes(importer, is_module, module, imported, name):
                        continue
                    self.done.add(key)
                    self.given[key] = now
                    if is_module:
                        self.update.changes.append(("item", namespace, name, now))
                        rebound[name] = before, now
                    else:
                        self.update.changes.append(("class", owner, name, now))
                    path = importer.__name__ if is_module else f"{importer.__name__}.{owner.__qualname__}"
                    self.update.note("rebound", f"{path}.{name}", f"imported from {module}")
                    break
        return rebound

    def takes(self, importer, is_module, module, imported, name):
        """Whether `name` is what the importer, or a class in it, calls the name `imported` of `module`. Equal numbers are one
        object, so that the values do not say that."""
        if id(importer) not in self.known:
            self.known[id(importer)] = bindings(importer)
        known = self.known[id(importer)]
        # Where there is no source, as in `__main__`, the name is taken for the imported one.
        if known is None:
            return name == imported
        taken, inner, own = known
        if not is_module:
            return (module, imported, name) in inner
        if (module, imported, name) in taken:
            return True
        # By `import *`, or by what no statement says.
        is_bound = name in own or any(local == name for _, _, local in taken)
        return name == imported and name not in own and ((module, "*", "*") in taken or not is_bound)


def scopes(importer):
    """The module, and the classes that it defines."""
    found, index = [importer], 0
    while index < len(found):
        for value in list(vars(found[index]).copy().values()):
            if is_class(value) and value.__flags__ & heap_type and vars(value).get("__module__") == importer.__name__:
                if not any(value is other for other in found):
                    found.append(value)
        index += 1
    return found
