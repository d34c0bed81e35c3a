"""What the host configured goes on with the space into its next generation; what the space did itself goes with the old
one."""

import importlib.machinery
import io
import os
import types
import unittest
import weakref

import modspace
from reloading import Finder, Reloading, version
from support import write_tree


class Configuration(Reloading):
    def test_sys_and_the_namespace_are_the_same_objects(self):
        space, root = self.app({"module.py": "import sys, __main__"})
        system, namespace, path, flags = space.sys, space.ns, space.sys.path, space.sys.flags
        for _ in range(3):
            module = space.import_("module")
            space.reload()
            self.assertIs(space.sys, system)
            self.assertIs(space.ns, namespace)
            self.assertIs(space.sys.path, path)
            self.assertIs(space.sys.flags, flags)
            after = space.import_("module")
            self.assertIsNot(after, module)
            self.assertIs(after.sys, system)
            self.assertIs(vars(after.__main__), namespace)
            self.assertIs(space.eval("__import__('sys')"), system)
            self.assertIs(space.sys.modules["module"], after)
            self.assertIs(space.eval("__import__('sys').modules"), space.sys.modules)

    def test_the_path_as_it_was_changed_in_place(self):
        one, two, three = (self.tree({f"{name}.py": version(1)}) for name in ("one", "two", "three"))
        space = self.space(path=[one])
        space.sys.path.append(two)
        space.import_("two")
        space.reload()
        self.assertEqual(space.sys.path, [one, two])
        space.sys.path = [three]
        with self.assertRaises(ModuleNotFoundError):
            space.reload()
        space.sys.path[:0] = [two]
        space.reload()
        self.assertEqual(space.sys.path, [two, three])
        self.assertEqual((space.import_("two").version, space.import_("three").version), (1, 1))
        with self.assertRaises(ModuleNotFoundError):
            space.import_("one")

    def test_what_is_assigned_to_sys(self):
        space = self.space(argv=["program", "-x"])
        values = {name: io.StringIO() for name in ("stdin", "stdout", "stderr")}
        values |= {name: lambda *args: None
                   for name in ("excepthook", "displayhook", "unraisablehook", "breakpointhook")}
        values |= {"ps1": "? ", "tracebacklimit": 5, "invented": object(), "dont_write_bytecode": True}
        for name, value in values.items():
            setattr(space.sys, name, value)
        for _ in range(2):
            space.reload()
            for name, value in values.items():
                self.assertIs(getattr(space.sys, name), value, name)
            self.assertEqual(space.sys.argv, ["program", "-x"])
        space.exec("print('hello')")
        self.assertEqual(space.sys.stdout.getvalue(), "hello\n")

    def test_a_stream_that_follows_the_parent_goes_on_following(self):
        parent = self.space()
        space = self.space(parent)
        space.reload()
        parent.sys.stdout = io.StringIO()
        space.exec("print('hello')")
        self.assertEqual(parent.sys.stdout.getvalue(), "hello\n")

    def test_finders_of_the_host_keep_their_places(self):
        space, root = self.app({"found.py": version(1)})
        front, back = Finder("found", "front"), Finder("missing", "back")
        space.sys.meta_path.insert(0, front)
        space.sys.meta_path.append(back)
        kinds = [type(finder) for finder in space.sys.meta_path]
        for _ in range(2):
            self.assertEqual((space.import_("found").value, space.import_("missing").value), ("front", "back"))
            space.reload()
            self.assertIs(space.sys.meta_path[0], front)
            self.assertIs(space.sys.meta_path[-1], back)
            self.assertEqual(len(space.sys.meta_path), len(kinds))
        space.sys.meta_path.remove(front)
        space.reload()
        self.assertEqual(space.import_("found").version, 1)

    def test_a_finder_that_is_a_class_of_the_host(self):
        class Static:
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                if name == "static":
                    return importlib.machinery.ModuleSpec(name, Finder("static", 7))
        space = self.space()
        space.sys.meta_path.append(Static)
        self.assertEqual(space.import_("static").value, 7)
        space.reload()
        self.assertIs(space.sys.meta_path[-1], Static)
        self.assertEqual(space.sys.modules["static"].value, 7)

    def test_finders_of_the_space_itself_go(self):
        space, root = self.app({"finder.py": "import sys\nclass Finder:\n    def find_spec(self, *args): return None\n"
                                             "sys.meta_path.append(Finder())\n"
                                             "sys.path_hooks.append(lambda path: 1/0 if path == 'x' else None)"})
        space.import_("finder")
        before = len(space.sys.meta_path), len(space.sys.path_hooks)
        for _ in range(3):
            self.assertTrue(space.reload().old.clean)
            self.assertEqual((len(space.sys.meta_path), len(space.sys.path_hooks)), before)

    def test_path_hooks_of_the_host(self):
        class Entry:
            def find_spec(self, name, target=None):
                if name == "hooked":
                    return importlib.machinery.ModuleSpec(name, Finder("hooked", 1))

        def hook(path):
            if path != "marked":
                raise ImportError
            return Entry()
        space = self.space()
        space.sys.path_hooks.insert(0, hook)
        space.sys.path.append("marked")
        self.assertEqual(space.import_("hooked").value, 1)
        for _ in range(2):
            space.reload()
            self.assertIs(space.sys.path_hooks[0], hook)
            self.assertEqual(space.sys.path_hooks.count(hook), 1)
            self.assertEqual(space.sys.modules["hooked"].value, 1)

    def test_stand_ins(self):
        space, root = self.app({"user.py": "import socket, hidden\nfrom dummy import value"})
        socket, dummy, hidden = types.ModuleType("socket"), types.SimpleNamespace(value=3), object()
        space.sys.modules.update(socket=socket, dummy=dummy, hidden=hidden, blocked=None)
        for _ in range(2):
            user = space.import_("user")
            self.assertIs(user.socket, socket)
            self.assertIs(user.hidden, hidden)
            self.assertEqual(user.value, 3)
            with self.assertRaises(ModuleNotFoundError):
                space.exec("import blocked")
            space.reload()
            self.assertIsNot(space.import_("user"), user)
            self.assertIsNone(space.sys.modules["blocked"])

    def test_a_stand_in_for_a_module_that_was_loaded(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        stand_in = space.sys.modules["module"] = types.ModuleType("module")
        space.reload()
        self.assertIs(space.sys.modules["module"], stand_in)
        self.assertIs(space.import_("module"), stand_in)

    def test_modules_that_the_space_made_itself_go(self):
        space, root = self.app({"maker.py": "import sys, types\nclass Lazy(types.ModuleType): pass\n"
                                            "sys.modules['made'] = Lazy('made')"})
        space.import_("maker")
        made = weakref.ref(space.sys.modules["made"])
        space.reload()
        self.assertIsNone(made())
        self.assertIn("made", space.sys.modules)

    def test_another_dict_as_sys_modules(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        space.sys.modules = own = dict(space.sys.modules)
        write_tree(root, {"module.py": version(2)})
        space.reload()
        self.assertEqual(space.sys.modules["module"].version, 2)
        self.assertEqual(own["module"].version, 1)

    def test_what_is_assigned_to_the_import_systems_part_of_sys_after_a_reload(self):
        assignments = {
            "modules": lambda space: setattr(space.sys, "modules",
                                             {**space.sys.modules, "given": types.ModuleType("given")}),
            "meta_path": lambda space: setattr(space.sys, "meta_path", [Finder("given", 1), *space.sys.meta_path]),
            "path_hooks": lambda space: setattr(space.sys, "path_hooks", list(space.sys.path_hooks)),
            "path_importer_cache": lambda space: setattr(space.sys, "path_importer_cache", {}),
        }
        for name, assign in assignments.items():
            for reloads in (0, 1, 2):
                with self.subTest(name, reloads=reloads):
                    space, root = self.app({"module.py": version(1), "other.py": version(1)})
                    space.import_("module")
                    for _ in range(reloads):
                        space.reload()
                    assign(space)
                    for number in (2, 3):
                        if name in ("modules", "meta_path"):
                            space.import_("given")
                            self.assertIn("given", space.sys.modules)
                        self.assertEqual(space.import_("other").version, number - 1)
                        self.assertIs(space.sys.modules["other"], space.import_("other"))
                        write_tree(root, {"module.py": version(number), "other.py": version(number)})
                        report = space.reload()
                        self.assertTrue(report.old is None or report.old.clean, report.old)
                        self.assertEqual(space.import_("module").version, number)
                    self.assertTrue(space.discard().clean)

    def test_delegation_share_and_fresh(self):
        parent, root = self.app({"module.py": version(1), "shared.py": version(1)})
        first = self.space(parent, path=[root], delegation="parent-first")
        isolated = self.space(parent, path=[], delegation="isolated")
        picky = self.space(parent, path=[root], share=["shared"], fresh=["string"])
        for space in (first, isolated, picky):
            space.reload()
        self.assertIs(first.import_("module"), parent.import_("module"))
        with self.assertRaises(ModuleNotFoundError):
            isolated.import_("module")
        self.assertIs(picky.import_("shared"), parent.import_("shared"))
        self.assertIsNot(picky.import_("module"), parent.import_("module"))
        self.assertIsNot(picky.import_("string").Template, parent.import_("string").Template)

    def test_names_that_the_host_put_into_builtins(self):
        space, root = self.app({"module.py": "value = helper()"})
        space.builtins.helper = lambda: 5
        self.assertEqual(space.import_("module").value, 5)
        space.reload()
        self.assertEqual(space.import_("module").value, 5)

    def test_an_import_function_of_the_host_does_not_lead_into_the_old_generation(self):
        space, root = self.app({"module.py": version(1)})
        names, plain = [], space.builtins.__import__
        space.builtins.__import__ = lambda name, *args: (names.append(name), plain(name, *args))[1]
        space.import_("module")
        write_tree(root, {"module.py": version(2)})
        space.reload()
        self.assertEqual(space.import_("module").version, 2)

    def test_what_the_space_put_into_builtins_goes(self):
        space, root = self.app({"module.py": version(1, "import builtins\nclass Thing: pass\n"
                                                        "if not hasattr(builtins, 'things'): builtins.things = []\n"
                                                        "builtins.things.append(Thing())")})
        space.import_("module")
        for _ in range(3):
            self.assertTrue(space.reload().old.clean)
        self.assertEqual(len(space.builtins.things), 1)

    def test_a_module_that_put_another_in_its_place(self):
        space, root = self.app({"module.py": "import sys, types\nother = types.ModuleType(__name__)\n"
                                             "other.version = 1\nsys.modules[__name__] = other"})
        self.assertEqual(space.import_("module").version, 1)
        write_tree(root, {"module.py": version(2)})
        self.assertIn("module", space.reload().changed)
        self.assertEqual(space.import_("module").version, 2)

    def test_builtins_that_the_space_changed_are_whole_again(self):
        space, root = self.app({"module.py": "import builtins\nbuiltins.answer = lambda: 42\ndel builtins.sorted"})
        space.import_("module")
        write_tree(root, {"module.py": ""})
        space.reload()
        self.assertEqual(space.eval("sorted([2, 1])"), [1, 2])
        with self.assertRaises(NameError):
            space.eval("answer")


class Namespace(Reloading):
    def test_names_of_modules_mean_the_new_ones(self):
        space, root = self.app({"module.py": version(1), "pkg/__init__.py": "", "pkg/sub.py": version(1)})
        space.import_("pkg.sub")
        space.import_("module")
        space.exec("import module, module as alias, pkg.sub, os\nfrom pkg import sub")
        write_tree(root, {"module.py": version(2), "pkg/sub.py": version(2)})
        space.reload()
        self.assertEqual(space.eval("module.version, alias.answer(), pkg.sub.version, sub.version"), (2, 2, 2, 2))
        self.assertEqual(space.eval("os.path.join('a', 'b')"), os.path.join("a", "b"))
        self.assertIs(space.ns["module"], space.import_("module"))

    def test_what_exec_defined_goes_and_what_the_host_gave_stays(self):
        space, root = self.app({"module.py": version(1, "class Thing: pass")})
        given = {"function": lambda: 1, "module_of_the_host": types, "number": 5, "items": [1, 2],
                 "kind": type("Kind", (), {}), "stream": io.StringIO()}
        space.ns.update(given)
        space.exec("import module\nfrom module import answer, Thing\nthing = Thing()\nbound = module.Thing\n"
                   "def own(): pass\nclass Own: pass\ninstance = Own()\ndef numbers(): yield 1\nsuspended = numbers()")
        space.import_("module")
        self.assertTrue(space.reload().old.clean)
        for name, value in given.items():
            self.assertIs(space.ns[name], value, name)
        names = [name for name in space.ns if not name.startswith("__")]
        self.assertEqual(sorted(names), sorted([*given, "module"]))
        self.assertEqual(space.ns["__name__"], "__main__")

    def test_code_executed_afterwards_is_the_new_generations(self):
        space, root = self.app({"module.py": version(1)})
        for number in range(2, 5):
            space.import_("module")
            space.exec("def own():\n    import module\n    return module.version")
            self.assertEqual(space.eval("own()"), number - 1)
            write_tree(root, {"module.py": version(number)})
            space.reload()
            space.exec("def own():\n    import module\n    return module.version")
            self.assertEqual(space.eval("own()"), number)

    def test_handles_stay_valid(self):
        space, root = self.app({"module.py": version(1, "import modspace\nspace = modspace.current()")})
        module, ident, parent = space.import_("module"), space.id, space.parent
        self.assertIs(module.space, space)
        child = self.space(space)
        space.reload()
        new = space.import_("module")
        self.assertIs(new.space, space)
        for object in (module, module.answer, new, new.answer):
            self.assertIs(modspace.space_of(object), space)
        self.assertEqual([other for other in modspace.spaces() if other.id == ident], [space])
        self.assertEqual((space.id, space.parent, space.children, child.parent), (ident, parent, [child], space))
        self.assertFalse(space.closed)
        with space:
            self.assertIs(modspace.context(), space)
            space.reload()
            self.assertIs(modspace.context(), space)
        self.assertEqual(space.generation, 3)


if __name__ == "__main__":
    unittest.main()
