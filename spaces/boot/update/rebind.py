"""Names that modules have from modules that are updated.

While new sources are executed, they see a module that is not executed anew through a view, which has what the module will have
when the update is made; so they take the new values also by way of others. When the plan is made, the modules themselves, and
classes in them, get the values that stand for these.

Runs as platform code, once for the whole process. `aliases(name, source, module)` has the pairs (name, local name) of what the
source of the module `name` imports from `module`; "*" is a name.
"""

import collections
import types

values = modules["modspace.values"]
MODULE_KEPT, heap_type, is_a, is_class = values.MODULE_KEPT, values.heap_type, values.is_a, values.is_class


class Takers:
    """Knows which names modules take from others: equal numbers are one object, so the values do not say that."""

    def __init__(self):
        self.known = {}

    def takes(self, importer, module, imported, name):
        """Whether `name` is what `importer` calls the name `imported` of the module called `module`."""
        key = id(importer), module
        if key not in self.known:
            # With the importer, so that its address stays its own.
            self.known[key] = importer, self.read(importer, module)
        pairs = self.known[key][1]
        # Where there is no source, as in `__main__`, the name is taken for the imported one.
        return (imported, name) in pairs or name == imported and (not pairs or ("*", "*") in pairs)

    def read(self, importer, module):
        try:
            spec = importer.__spec__
            source = spec.loader.get_source(spec.name)
        except Exception:
            return set()
        if type(source) is not str:
            return set()
        name = spec.name if spec.submodule_search_locations is None else f"{spec.name}.__init__"
        return set(aliases(name, source, module))


class Views:
    """What stands for modules that are not executed anew while new sources are. `loaded` is `sys.modules` for these;
    `importers` has the names of the modules that may have something from a module."""

    def __init__(self, loaded, importers):
        self.loaded = loaded
        self.importers = importers
        self.takers = Takers()
        #: The modules and their views, by the address of the module.
        self.views = {}

    def show(self, name, old, new):
        """The module `name` was executed anew: who has something from it shows what that is now."""
        done, waiting = set(), collections.deque([(name, old, new)])
        while waiting:
            module, old, new = waiting.popleft()
            for importer in self.importers.get(module, ()):
                if (module, importer) in done:
                    continue
                done.add((module, importer))
                found = self.loaded.get(importer)
                live = self.live(found)
                if live is not None and self.take(live, module, old, new):
                    waiting.append((importer, live, self.views[id(live)][1]))

    def end(self):
        """Nobody is to see the views any more. Returns the pairs of a module and its view."""
        for live, view in self.views.values():
            for name, module in list(self.loaded.items()):
                if module is view:
                    self.loaded[name] = live
        return list(self.views.values())

    def live(self, found):
        """The module behind what is loaded; None when there can be no view of it."""
        for live, view in self.views.values():
            if found is view:
                return live
        # Looking at one that is to be loaded when it is looked at would load it.
        is_plain = is_a(found, types.ModuleType) and type(found).__getattribute__ is types.ModuleType.__getattribute__
        return found if is_plain else None

    def take(self, live, module, old, new):
        """Whether a module shows something else of another one than before."""
        before, after = vars(old).copy(), vars(new)
        named = {}
        for name, value in before.items():
            if name not in MODULE_KEPT and name in after and after[name] is not value:
                named.setdefault(id(value), []).append(name)
        changed = False
        for local, value in vars(live).copy().items():
            if value is old:
                now = new
            else:
                name = next((name for name in named.get(id(value), ()) if self.takers.takes(live, module, name, local)), None)
                if name is None:
                    continue
                now = after[name]
            view = self.view(live)
            if vars(view)[local] is not now:
                vars(view)[local] = now
                changed = True
        return changed

    def view(self, live):
        known = self.views.get(id(live))
        if known is None:
            view = types.ModuleType.__new__(type(live))
            types.ModuleType.__init__(view, live.__name__)
            vars(view).update(vars(live).copy())
            known = self.views[id(live)] = live, view
            for name, module in list(self.loaded.items()):
                if module is live:
                    self.loaded[name] = view
        return known[1]


def rebind(update, importers):
    """Gives the modules that imported names from updated ones what these stand for now. `importers(module)` has them, with
    the names."""
    Rebinding(update, importers).all()


class Rebinding:
    def __init__(self, update, importers):
        self.update = update
        self.importers = importers
        self.takers = Takers()
        self.done = set()

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
            self.follow(module, before, moved, gone)

    def follow(self, module, namespace, moved, gone):
        """Gives importers what names of `module` stand for now, and goes on to who imports from them."""
        if not moved and not gone:
            return
        for importer, names in self.importers(module):
            # What is executed anew has taken the new values.
            if any(importer is old for name, old, new in self.update.pairs):
                continue
            if "*" in names:
                public = namespace.get("__all__") or [name for name in namespace.copy() if type(name) is str and name[:1] != "_"]
                names = [*names, *public]
            for name in gone.intersection(names):
                self.update.note("note", importer.__name__, f"still has {name}, which {module} defines no more")
            wanted = {name: moved[name] for name in names if name in moved}
            if wanted:
                rebound = self.bind(module, importer, wanted)
                self.follow(importer.__name__, vars(importer), rebound, set())

    def bind(self, module, importer, moved):
        """Returns the names of the importing module that have another value."""
        rebound = {}
        for owner in scopes(importer):
            is_module = owner is importer
            namespace = vars(owner)
            for name, value in list(namespace.copy().items()):
                for imported, (before, now) in moved.items():
                    if value is not before or not self.takers.takes(importer, module, imported, name):
                        continue
                    if is_module:
                        if (id(importer), name) in self.done:
                            continue
                        self.done.add((id(importer), name))
                        self.update.changes.append(("item", namespace, name, now))
                        rebound[name] = before, now
                    else:
                        self.update.changes.append(("class", owner, name, now))
                    path = importer.__name__ if is_module else f"{importer.__name__}.{owner.__qualname__}"
                    self.update.note("rebound", f"{path}.{name}", f"imported from {module}")
                    break
        return rebound


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
