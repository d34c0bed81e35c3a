"""What the test programs share that reload a space or single modules."""

import contextlib
import gc
import importlib.machinery
import sys
import types

from support import Watched, shelf


def version(number, more=""):
    """The source of a module of this version."""
    return f"version = {number}\n\ndef answer():\n    return version\n\n{more}"


class Finder:
    """A finder of the host's: knows one module."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.value = self.value


class Reloading(Watched):
    def setUp(self):
        super().setUp()
        self.addCleanup(shelf.clear)

    def app(self, files, **options):
        """A space that finds these files, and the directory they are in."""
        root = self.tree(files)
        return self.space(path=[root, *sys.path], name="app", **options), root

    def state(self, space):
        """All of the space that a refused or failed operation must leave alone."""
        system, namespace = space.sys, space.ns
        kept = {name: getattr(system, name) for name in dir(system)}
        return {
            "generation": space.generation,
            "modules": {name: id(module) for name, module in system.modules.items()},
            "table": {name: (info.state, info.source_hash, info.taken_from) for name, info in space.modules.items()},
            "attributes": {name: sorted(vars(module)) for name, module in system.modules.items()
                           if isinstance(module, types.ModuleType) and name != "sys"},
            "namespace": {name: id(value) for name, value in namespace.items()},
            "sys": {name: id(value) if value is getattr(system, name) else None for name, value in kept.items()},
            "lists": [list(system.path), list(system.argv), *([id(item) for item in items] for items in
                                                             (system.meta_path, system.path_hooks))],
        }

    @contextlib.contextmanager
    def unchanged(self, space):
        before = self.state(space)
        yield
        after = self.state(space)
        for part, value in before.items():
            if isinstance(value, dict):
                names = value.keys() | after[part].keys()
                changed = [name for name in sorted(names)
                           if value.get(name, "absent") != after[part].get(name, "absent")]
                self.assertEqual(changed, [], part)
            self.assertEqual(after[part], value, part)

    def assert_flat(self, step, warm_up=5, times=20):
        """After a few times, `step` leaves nothing behind."""
        counts = []
        for _ in range(warm_up + times):
            step()
            gc.collect()
            counts.append(len(gc.get_objects()))
        self.assertEqual(counts[warm_up], counts[-1], counts)


class Single(Reloading):
    """`modspace.reload`, `unload` and `reimport` of single modules."""

    OPERATIONS = ("reload", "unload", "reimport")

    def prepared(self, files, **options):
        """A space with `modspace` at hand, and its directory."""
        space, root = self.app(files, **options)
        space.exec("import modspace, sys")
        return space, root

    def refused(self, space, operation, argument, error, *texts):
        """`operation(argument)` raises, says why, and changes nothing."""
        expression = f"modspace.{operation}({argument})"
        with self.subTest(expression=expression), self.unchanged(space):
            with self.assertRaises(error) as caught:
                space.eval(expression)
            for text in texts:
                self.assertIn(text, str(caught.exception))
            return caught.exception

    def in_the_host(self, files):
        """Lets the space of the test itself find these files."""
        root = self.tree(files)
        sys.path.insert(0, root)
        self.addCleanup(sys.path.remove, root)
        for name in files:
            self.addCleanup(sys.modules.pop, name.removesuffix(".py"), None)
        return root
