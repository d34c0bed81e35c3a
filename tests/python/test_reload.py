"""Reloading: a whole space at once, into its next generation; and single modules, which are reloaded, unloaded, or imported
a second time."""

import contextlib
import faulthandler
import gc
import importlib.machinery
import importlib.util
import io
import linecache
import os
import sys
import threading
import time
import traceback
import types
import unittest
import weakref

import modspace
from support import STRESS, SpaceTest, write_tree

HOST = modspace.current()

#: What the tests hold on to.
shelf = {}


def version(number, more=""):
    """The source of a module of this version."""
    return f"version = {number}\n\ndef answer():\n    return version\n\n{more}"


class Reloading(SpaceTest):
    def setUp(self):
        faulthandler.dump_traceback_later(120 * STRESS, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
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
                changed = [name for name in sorted(names) if value.get(name, "absent") != after[part].get(name, "absent")]
                self.assertEqual(changed, [], part)
            self.assertEqual(after[part], value, part)

    def run_threads(self, functions):
        """Runs the functions at once; returns the exceptions raised."""
        errors, barrier = [], threading.Barrier(len(functions))

        def run(function):
            try:
                barrier.wait()
                function()
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=run, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors

    def assert_flat(self, step, warm_up=5, times=20):
        """After a few times, `step` leaves nothing behind."""
        counts = []
        for _ in range(warm_up + times):
            step()
            gc.collect()
            counts.append(len(gc.get_objects()))
        self.assertEqual(counts[warm_up], counts[-1], counts)


class Report(Reloading):
    def test_it_tells_what_changed(self):
        space, root = self.app({"app.py": "import same, changed, leaving", "same.py": "", "changed.py": "x = 1",
                                "leaving.py": "", "coming.py": ""})
        space.import_("app")
        write_tree(root, {"app.py": "import same, changed, coming", "changed.py": "x = 2"})
        report = space.reload()
        self.assertIsInstance(report, modspace.ReloadReport)
        self.assertEqual((report.space, report.generation), ("app", 2))
        self.assertEqual(report.changed, ["app", "changed"])
        self.assertEqual(report.added, ["coming"])
        self.assertEqual(report.removed, ["leaving"])
        self.assertIn("same", report.unchanged)
        self.assertFalse(set(report.unchanged) & {"app", "changed", "coming", "leaving"})
        self.assertGreaterEqual(report.duration, 0)
        self.assertIsInstance(report.old, modspace.DiscardReport)
        self.assertEqual((report.old.space, report.old.generation, report.old.clean), ("app", 1, True))
        self.assertGreater(report.old.objects, 0)
        for text in ("app", "2", "changed", "coming", "leaving"):
            self.assertIn(text, str(report))
        self.assertIn("generation 2", repr(report))

    def test_a_space_never_used_can_be_reloaded(self):
        space = self.space()
        report = space.reload()
        self.assertEqual((report.added, report.removed, report.changed, report.unchanged), ([], [], [], []))
        self.assertEqual(space.generation, 2)
        self.assertEqual(space.eval("1 + 1"), 2)

    def test_what_is_held_of_the_old_generation_is_named(self):
        space, root = self.app({"module.py": version(1)})
        shelf["held"] = space.import_("module").answer
        write_tree(root, {"module.py": version(2)})
        old = space.reload().old
        self.assertFalse(old.clean)
        held = [held for held in old.held if "__main__.shelf['held']" in held.path]
        self.assertEqual(held[0].object, "module.answer", old)
        self.assertEqual((shelf["held"](), space.import_("module").answer()), (1, 2))
        gone = weakref.ref(shelf.pop("held"))
        space.reload()
        self.assertIsNone(gone())


class Asked(Reloading):
    """What the next generation imports at once."""

    def test_what_was_imported_by_name(self):
        files = {"one.py": "import quiet", "quiet.py": "", "pkg/__init__.py": "", "pkg/sub.py": "", "late.py": ""}
        space, root = self.app(files)
        for name in ("one", "pkg.sub", "one"):
            space.import_(name)
        space.exec("import late")
        report = space.reload()
        self.assertEqual({name for name in ("one", "quiet", "pkg", "pkg.sub", "late") if name in space.sys.modules},
                         {"one", "quiet", "pkg", "pkg.sub"})
        self.assertEqual([name for name in report.removed if name in ("one", "quiet", "pkg", "pkg.sub", "late")], ["late"])
        self.assertEqual(space.eval("__import__('late').__name__"), "late")

    def test_in_the_order_in_which_it_was_asked_for(self):
        space, root = self.app({f"{name}.py": "import sys\nsys.order.append(__name__)" for name in "abcd"})
        space.sys.order = []
        for name in "cadbac":
            space.import_(name)
        for _ in range(3):
            space.sys.order.clear()
            space.reload()
            self.assertEqual(space.sys.order, list("cadb"))

    def test_names_from_earlier_generations_and_from_this_one(self):
        space, root = self.app({"a.py": "", "b.py": "", "c.py": ""})
        for count, name in enumerate("abc", 1):
            space.import_(name)
            space.reload()
            self.assertEqual([name for name in "abc" if name in space.sys.modules], list("abc")[:count])

    def test_not_what_was_asked_for_in_vain(self):
        space, root = self.app({"good.py": "", "bad.py": "1/0"})
        space.import_("good")
        for name, error in (("bad", ZeroDivisionError), ("absent", ModuleNotFoundError)):
            with self.assertRaises(error):
                space.import_(name)
        self.assertEqual(space.reload().generation, 2)

    def test_a_script_with_its_arguments(self):
        space, root = self.app({"script.py": "import sys\nseen = sys.argv[1:]\nversion = 1\nif __name__ == '__main__': ran = True"})
        script = os.path.join(root, "script.py")
        namespace = space.run_path(script, argv=["-x", "y"])
        write_tree(root, {"script.py": "import sys\nseen = sys.argv[1:]\nversion = 2\nif __name__ == '__main__': ran = 'again'"})
        space.reload()
        self.assertIs(namespace, space.ns)
        self.assertEqual([namespace[name] for name in ("seen", "version", "ran")], [["-x", "y"], 2, "again"])
        self.assertEqual(space.sys.argv, [script, "-x", "y"])

    def test_a_directory_with_a_main(self):
        space, root = self.app({"tool/__main__.py": "import part\nversion = part.version", "tool/part.py": version(1)})
        space.run_path(os.path.join(root, "tool"))
        write_tree(root, {"tool/part.py": version(2)})
        space.reload()
        self.assertEqual(space.ns["version"], 2)

    def test_a_module_run_as_a_program(self):
        space, root = self.app({"pkg/__init__.py": "", "pkg/__main__.py": "import sys\nfrom . import part\nseen = sys.argv[1:], part.version",
                                "pkg/part.py": version(1)})
        self.assertEqual(space.run_module("pkg", argv=["-v"])["seen"], (["-v"], 1))
        write_tree(root, {"pkg/part.py": version(2)})
        space.reload()
        self.assertEqual(space.ns["seen"], (["-v"], 2))

    def test_a_program_that_failed_is_not_run_again(self):
        space, root = self.app({"script.py": "1/0"})
        with self.assertRaises(ZeroDivisionError):
            space.run_path(os.path.join(root, "script.py"))
        self.assertEqual(space.reload().generation, 2)

    def test_a_program_finds_what_the_host_gave_it(self):
        space, root = self.app({"script.py": "result = config['x'] + 1\nconfig = None if result is None else config"})
        config = space.ns["config"] = {"x": 41}
        script = os.path.join(root, "script.py")
        space.run_path(script)
        config["x"] = 1
        space.reload()
        self.assertEqual(space.ns["result"], 2)
        self.assertIs(space.ns["config"], config)

    def test_sys_path_does_not_grow_by_running_again(self):
        space, root = self.app({"script.py": "", "pkg/__main__.py": "", "pkg/__init__.py": "", "tool/__main__.py": ""})
        space.run_path(os.path.join(root, "script.py"))
        space.run_path(os.path.join(root, "tool"))
        space.run_module("pkg")
        before = list(space.sys.path)
        for _ in range(3):
            space.reload()
            self.assertEqual(space.sys.path, before)


class Failure(Reloading):
    """A reload succeeds, or nothing happened."""

    FAULTS = (("def", SyntaxError), ("1/0", ZeroDivisionError), ("import absent_module", ModuleNotFoundError),
              ("from other import absent", ImportError), ("raise SystemExit(3)", SystemExit),
              ("raise KeyboardInterrupt", KeyboardInterrupt), ("x = '\0'", SyntaxError), ("def f(): f()\nf()", RecursionError),
              ("import sys\nsys.modules.clear()\n1/0", ZeroDivisionError), ("import json, logging, asyncio\n1/0", ZeroDivisionError))

    def check(self, files, broken, error, fixed):
        space, root = self.app({"other.py": version(1), "late.py": version(1), **files})
        top = space.import_("top")
        space.import_("other")
        space.exec("import top, other\ndef call(): return top.answer(), other.answer()")
        write_tree(root, {"other.py": version(2), **broken})
        for name in [name for name, source in broken.items() if source is None]:
            os.remove(os.path.join(root, name))
        for _ in range(3):
            with self.unchanged(space):
                with self.assertRaises(error):
                    space.reload()
        self.assertIs(space.import_("top"), top)
        self.assertEqual((space.eval("call()"), top.answer(), top.inside()), ((1, 1), 1, 1))
        self.assertIs(modspace.space_of(top), space)
        self.assertEqual(space.import_("late").version, 1)
        write_tree(root, fixed)
        report = space.reload()
        self.assertEqual((report.generation, space.generation), (2, 2))
        self.assertEqual((space.import_("top").answer(), space.import_("other").answer()), (2, 2))

    INSIDE = "def inside():\n    import other\n    return other.version\n"

    def test_a_module_that_fails(self):
        for source, error in self.FAULTS:
            with self.subTest(source=source):
                self.check({"top.py": version(1, self.INSIDE)}, {"top.py": version(2, self.INSIDE) + source}, error,
                           {"top.py": version(2, self.INSIDE)})

    def test_a_submodule_that_fails(self):
        for source, error in self.FAULTS:
            with self.subTest(source=source):
                init = "from .sub import *\nfrom .sub import inside"
                self.check({"top/__init__.py": init, "top/sub.py": version(1, self.INSIDE)},
                           {"top/sub.py": version(2, self.INSIDE) + source}, error,
                           {"top/sub.py": version(2, self.INSIDE)})

    def test_a_file_that_is_gone(self):
        space, root = self.app({"top.py": version(1)})
        top = space.import_("top")
        os.rename(os.path.join(root, "top.py"), os.path.join(root, "away"))
        with self.unchanged(space), self.assertRaises(ModuleNotFoundError) as caught:
            space.reload()
        self.assertEqual(caught.exception.name, "top")
        self.assertEqual(top.answer(), 1)
        write_tree(root, {"top.py": version(2)})
        space.reload()
        self.assertEqual(space.import_("top").answer(), 2)

    def test_the_second_of_two_names_fails(self):
        space, root = self.app({"first.py": version(1), "second.py": version(1)})
        first, second = space.import_("first"), space.import_("second")
        write_tree(root, {"first.py": version(2), "second.py": "1/0"})
        with self.unchanged(space), self.assertRaises(ZeroDivisionError):
            space.reload()
        self.assertEqual((space.import_("first").answer(), space.import_("second").answer()), (1, 1))

    def test_exit_callbacks_of_a_failed_generation_run_and_those_of_the_old_do_not(self):
        space, root = self.app({"top.py": "import atexit\natexit.register(print, 'old')"})
        space.import_("top")
        space.sys.stdout = io.StringIO()
        write_tree(root, {"top.py": "import atexit\natexit.register(print, 'new')\n1/0"})
        with self.assertRaises(ZeroDivisionError):
            space.reload()
        self.assertEqual(space.sys.stdout.getvalue(), "new\n")
        write_tree(root, {"top.py": ""})
        space.reload()
        self.assertEqual(space.sys.stdout.getvalue(), "new\nold\n")

    def test_a_failed_generation_leaves_nothing_behind(self):
        space, root = self.app({"top.py": version(1)})
        space.import_("top")
        write_tree(root, {"top.py": version(2) + "import json, logging\nclass Cycle: pass\nCycle.me = Cycle()\n1/0"})

        def fail():
            with self.assertRaises(ZeroDivisionError):
                space.reload()
        self.assert_flat(fail)

    def test_it_fails_while_a_thread_is_inside(self):
        space, root = self.app({"top.py": version(1, "def wait(ready, go):\n    ready.set()\n    go.wait()\n    import late\n"
                                                    "    return version, late.version\n"), "late.py": version(1)})
        top, ready, go, seen = space.import_("top"), threading.Event(), threading.Event(), []
        thread = threading.Thread(target=lambda: seen.append(top.wait(ready, go)))
        self.addCleanup(go.set)
        thread.start()
        ready.wait()
        write_tree(root, {"top.py": "1/0"})
        with self.unchanged(space), self.assertRaises(ZeroDivisionError):
            space.reload()
        go.set()
        thread.join()
        self.assertEqual(seen, [(1, 1)])


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
        values |= {name: lambda *args: None for name in ("excepthook", "displayhook", "unraisablehook", "breakpointhook")}
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
                                             "sys.meta_path.append(Finder())\nsys.path_hooks.append(lambda path: 1/0 if path == 'x' else None)"})
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

    def test_modules_that_the_space_made_itself_go(self):
        space, root = self.app({"maker.py": "import sys, types\nclass Lazy(types.ModuleType): pass\nsys.modules['made'] = Lazy('made')"})
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
            "modules": lambda space: setattr(space.sys, "modules", {**space.sys.modules, "given": types.ModuleType("given")}),
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


WORKER = """
def work(ready, go):
    ready()
    go.wait()
    import helper, late, sys
    return version, helper.version, late.owner, sys.modules["helper"] is helper, sys.modules[__name__].version
"""


class Worker:
    """A thread inside the `work` of a space's module `worker`."""

    def __init__(self, space):
        self.go, self.outcome = threading.Event(), None
        ready = threading.Event()

        def run(work=space.import_("worker").work):
            try:
                self.outcome = work(ready.set, self.go)
            except BaseException as error:
                self.outcome = error
        self.thread = threading.Thread(target=run)
        self.thread.start()
        ready.wait()

    def finish(self):
        self.go.set()
        self.thread.join()
        return self.outcome


class Running(Reloading):
    """Calls that run finish in their generation."""

    FILES = {"late.py": "import helper\nowner = helper.version"}

    def files(self, number):
        return {"worker.py": version(number, WORKER), "helper.py": version(number)}

    def workers(self, count):
        """A space, its directory, and a worker in each of its `count` generations; the last is the current one."""
        space, root = self.app({**self.FILES, **self.files(1)})
        workers = []
        for number in range(1, count + 1):
            space.import_("helper")
            workers.append(Worker(space))
            self.addCleanup(workers[-1].go.set)
            if number < count:
                write_tree(root, self.files(number + 1))
                report = space.reload()
                self.assertIsNone(report.old)
                self.assertEqual(report.generation, number + 1)
        return space, root, workers

    def test_a_call_goes_on_in_the_old_generation(self):
        space, root, (old, new) = self.workers(2)
        self.assertEqual(space.import_("worker").answer(), 2)
        self.assertEqual(old.finish(), (1, 1, 1, True, 1))
        self.assertEqual(new.finish(), (2, 2, 2, True, 2))

    def test_several_generations_at_once(self):
        space, root, workers = self.workers(5)
        for number in (3, 1, 5, 2, 4):
            self.assertEqual(workers[number - 1].finish(), (number, number, number, True, number))
        self.assertEqual(space.generation, 5)

    def test_what_is_drained_is_freed(self):
        space, root = self.app({**self.FILES, **self.files(1)})
        modules = []
        for number in range(2, 5):
            worker = Worker(space)
            modules.append(weakref.ref(space.import_("worker")))
            write_tree(root, self.files(number))
            self.assertIsNone(space.reload().old)
            self.assertIsNotNone(modules[-1]())
            self.assertEqual(worker.finish()[0], number - 1)
            del worker
        self.assertTrue(space.reload().old.clean)
        self.assertEqual([module() for module in modules], [None] * 3)

    def test_exit_callbacks_of_a_generation_run_when_its_last_call_is_over(self):
        space, root = self.app({**self.FILES, **self.files(1), "worker.py": version(1, WORKER + "import atexit\natexit.register(print, version)\n")})
        space.sys.stdout = io.StringIO()
        worker = Worker(space)
        space.reload()
        self.assertEqual(space.sys.stdout.getvalue(), "")
        worker.finish()
        write_tree(root, {"worker.py": version(2)})
        space.reload()
        self.assertEqual(space.sys.stdout.getvalue(), "1\n1\n")

    def test_a_discard_waits_for_all_generations(self):
        space, root, workers = self.workers(3)
        stop = threading.Timer(0.05, lambda: [worker.go.set() for worker in workers])
        stop.start()
        report = space.discard()
        self.assertEqual(report.threads, [])
        for number, worker in enumerate(workers, 1):
            outcome = worker.finish()
            # Its late import may have come when the space was closed.
            if not isinstance(outcome, modspace.SpaceClosedError):
                self.assertEqual(outcome, (number, number, number, True, number))
        stop.join()

    def test_a_discard_names_the_threads_of_all_generations(self):
        space, root, workers = self.workers(3)
        report = space.discard(timeout=0.05)
        self.assertEqual({thread.ident for thread in report.threads}, {worker.thread.ident for worker in workers})
        for worker in workers:
            self.assertIsInstance(worker.finish(), modspace.SpaceClosedError)

    def test_a_generator_goes_on_in_the_old_generation(self):
        space, root = self.app({"module.py": version(1, "def numbers():\n    yield 0\n    import helper\n    yield version, helper.version\n"),
                                "helper.py": version(1)})
        space.import_("helper")
        numbers = space.import_("module").numbers()
        next(numbers)
        write_tree(root, {"module.py": version(2), "helper.py": version(2)})
        space.reload()
        self.assertEqual(next(numbers), (1, 1))

    def test_a_function_that_is_held_goes_on_in_the_old_generation(self):
        space, root = self.app({"module.py": version(1, "def work():\n    import helper, late, sys\n"
                                                       "    return version, helper.version, late.owner, sys.modules['module'].version\n"),
                                "helper.py": version(1), **self.FILES})
        space.import_("helper")
        work = space.import_("module").work
        for number in (2, 3):
            write_tree(root, {"module.py": version(number), "helper.py": version(number)})
            space.reload()
            self.assertEqual(work(), (1, 1, 1, 1))

    def test_a_call_to_a_host_function(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")

        def within():
            write_tree(root, {"module.py": version(2)})
            report = space.reload()
            return report.old, space.import_("module").version
        old, seen = space.call(within)
        self.assertEqual(seen, 2)
        self.assertEqual(space.generation, 2)


class FromInside(Reloading):
    """The space's own code reloads it."""

    def test_the_caller_finishes_in_the_old_generation(self):
        space, root = self.app({"module.py": version(1, "def again():\n    import modspace\n    report = modspace.current().reload()\n"
                                                       "    import helper, late, sys\n    return report, version, helper.version, late.owner,"
                                                       " sys.modules[__name__].version, modspace.current()\n"),
                                "helper.py": version(1), "late.py": "import helper\nowner = helper.version"})
        space.import_("helper")
        module = space.import_("module")
        write_tree(root, {"module.py": version(2), "helper.py": version(2)})
        report, *seen = module.again()
        self.assertEqual(seen, [1, 1, 1, 1, space])
        self.assertEqual((report.generation, report.old), (2, None))
        self.assertEqual((space.import_("module").version, space.import_("helper").version), (2, 2))
        gone = weakref.ref(module)
        del module
        space.reload()
        self.assertIsNone(gone())

    def test_through_exec(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        write_tree(root, {"module.py": version(2)})
        space.exec("import modspace, module\nmodspace.current().reload()\nresult = module.version")
        self.assertEqual(space.generation, 2)
        self.assertEqual(space.import_("module").version, 2)
        self.assertEqual(space.eval("1 + 1"), 2)

    def test_a_reload_within_a_reload_is_refused(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        write_tree(root, {"module.py": version(2, "import modspace\nmodspace.current().reload()")})
        with self.unchanged(space), self.assertRaises(modspace.SpaceError) as caught:
            space.reload()
        self.assertIn("app", str(caught.exception))
        write_tree(root, {"module.py": version(3)})
        space.reload()
        self.assertEqual(space.import_("module").version, 3)

    def test_an_exit_callback_that_reloads_the_space_ends(self):
        space, root = self.app({"module.py": "import atexit, modspace\natexit.register(modspace.current().reload)\n"})
        seen = []
        space.sys.unraisablehook = lambda report: seen.append(report.exc_type)
        space.import_("module")
        space.reload()
        self.assertEqual(seen, [modspace.SpaceError])
        space.discard()

    def test_a_module_that_discards_the_space_that_reloads_it(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        write_tree(root, {"module.py": version(2, "import modspace\nmodspace.current().discard()")})
        with self.unchanged(space), self.assertRaises(modspace.SpaceError):
            space.reload()
        self.assertFalse(space.closed)

    def test_a_host_function_called_by_the_new_generation_discards_the_space(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        space.sys.hook = lambda: space.discard()
        write_tree(root, {"module.py": version(2, "import sys\nsys.hook()")})
        with self.unchanged(space), self.assertRaises(modspace.SpaceError):
            space.reload()
        self.assertFalse(space.closed)

    def test_another_thread_discards_the_space_meanwhile(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")

        def hook():
            thread = threading.Thread(target=space.discard)
            thread.start()
            thread.join()
        space.sys.hook = hook
        write_tree(root, {"module.py": version(2, "import sys\nsys.hook()")})
        with self.assertRaises(modspace.SpaceClosedError):
            space.reload()
        self.assertTrue(space.closed)



class Tree(Reloading):
    """Parents and children."""

    def test_a_child_goes_on_with_what_it_has_and_reloads_by_itself(self):
        parent, root = self.app({"module.py": version(1), "other.py": version(1)})
        child = self.space(parent, path=[self.tree({"own.py": "import module\nvalue = module.version\ndef now():\n    import module\n    return module.version"})])
        own = child.import_("own")
        parent.import_("module")
        self.assertIs(own.module, parent.import_("module"))
        write_tree(root, {"module.py": version(2), "other.py": version(2)})
        parent.reload()
        self.assertEqual(own.module.answer(), 1)
        self.assertIs(child.import_("own"), own)
        self.assertEqual(child.generation, 1)
        # What the child has not taken yet is the new generation's.
        self.assertIs(child.import_("other"), parent.import_("other"))
        self.assertEqual(child.import_("other").version, 2)
        gone = weakref.ref(own.module)
        del own
        child.reload()
        self.assertEqual(child.import_("own").value, 2)
        self.assertIs(child.import_("module"), parent.import_("module"))
        parent.reload()
        self.assertIsNone(gone())

    def test_the_report_of_the_parent_names_the_child_that_holds_its_old_modules(self):
        parent, root = self.app({"module.py": version(1)})
        child = self.space(parent, path=[], name="below")
        child.exec("from module import answer")
        old = parent.reload().old
        self.assertTrue([held for held in old.held if held.path.startswith("below: ")], old)

    def test_reloading_a_child_leaves_its_parent_and_siblings_alone(self):
        parent, root = self.app({"module.py": version(1)})
        one, two = self.space(parent, path=[root], name="one"), self.space(parent, path=[root], name="two")
        for space in (parent, one, two):
            space.import_("module")
        write_tree(root, {"module.py": version(2)})
        with self.unchanged(parent), self.unchanged(two):
            one.reload()
        self.assertEqual([space.import_("module").version for space in (parent, one, two)], [1, 2, 1])

    def test_a_child_made_by_the_old_generation_lives_on(self):
        space, root = self.app({"maker.py": "import modspace\nchild = modspace.ModuleSpace(modspace.current(), name='made')\nchild.exec('x = 1')"})
        child = space.import_("maker").child
        write_tree(root, {"maker.py": ""})
        space.reload()
        self.assertFalse(child.closed)
        self.assertEqual((child.eval("x"), child.parent, space.children), (1, space, [child]))

    def test_a_child_asks_the_new_generation_through_the_context(self):
        above = self.space(path=[self.tree({"frame.py": "def load(name):\n    return __import__(name)"})])
        below, root = self.app({"plugin.py": version(1)}, parent=above)
        load = above.import_("frame").load
        self.assertEqual(below.call(load, "plugin").version, 1)
        below.import_("plugin")
        write_tree(root, {"plugin.py": version(2)})
        below.reload()
        self.assertEqual(below.call(load, "plugin").version, 2)

    def test_a_closed_space_cannot_be_reloaded(self):
        space = self.space()
        space.discard()
        with self.assertRaises(modspace.SpaceClosedError):
            space.reload()

    def test_reload_takes_no_arguments(self):
        space = self.space()
        with self.assertRaises(TypeError):
            space.reload(True)
        with self.assertRaises(TypeError):
            space.reload(force=True)
        self.assertEqual(space.generation, 1)


class Concurrency(Reloading):
    PACKAGE = {"pkg/__init__.py": "version = {0}\nfrom . import a, b\n\ndef value():\n    from . import b as again\n"
                                  "    import pkg.a\n    return version, a.version, a.other(), b.version, again.version, pkg.a.version\n",
               "pkg/a.py": "version = {0}\ndef other():\n    from .b import version\n    return version\n",
               "pkg/b.py": "from . import a\nversion = {0}\n"}

    def package(self, number):
        return {name: source.format(number) for name, source in self.PACKAGE.items()}

    def test_reloads_at_once_are_done_one_after_the_other(self):
        space, root = self.app(self.package(1))
        space.import_("pkg")
        numbers = []

        def work():
            for _ in range(5 * STRESS):
                numbers.append(space.reload().generation)
        self.assertEqual(self.run_threads([work] * 6), [])
        self.assertEqual(sorted(numbers), list(range(2, 30 * STRESS + 2)))
        self.assertEqual(space.import_("pkg").value(), (1,) * 6)

    def test_memory_is_flat(self):
        space, root = self.app(self.package(1))
        space.import_("pkg")
        space.exec("import pkg, json, logging")

        def step():
            space.exec("import json, logging\ndef own(): return json\nclass Own: me = own")
            space.reload()
        self.assert_flat(step, times=100)

    def test_memory_is_flat_when_threads_drain(self):
        space, root = self.app({**Running.FILES, "worker.py": version(1, WORKER), "helper.py": version(1)})

        def step():
            worker = Worker(space)
            self.assertIsNone(space.reload().old)
            worker.finish()
            space.reload()
        self.assert_flat(step)


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


class Reload(Single):
    def test_the_module_is_the_same_object(self):
        space, root = self.prepared({"module.py": version(1, "class Thing: pass")})
        module = space.import_("module")
        answer, thing, module.extra = module.answer, module.Thing, 5
        write_tree(root, {"module.py": version(2, "class Thing: pass")})
        space.exec("import module")
        for argument in ("module", "'module'"):
            self.assertIs(space.eval(f"modspace.reload({argument})"), module)
        self.assertIs(space.sys.modules["module"], module)
        self.assertEqual((module.version, module.answer(), answer(), module.extra), (2, 2, 2, 5))
        self.assertIsNot(module.Thing, thing)
        self.assertEqual((space.generation, space.modules["module"].state), (1, "ready"))

    def test_in_the_calling_space(self):
        root = self.in_the_host({"host_module.py": version(1)})
        import host_module
        write_tree(root, {"host_module.py": version(2)})
        self.assertIs(modspace.reload(host_module), host_module)
        self.assertEqual(host_module.answer(), 2)
        write_tree(root, {"host_module.py": version(3)})
        self.assertIs(modspace.reload("host_module"), host_module)
        self.assertEqual(host_module.answer(), 3)

    def test_a_submodule_and_a_package(self):
        space, root = self.prepared({"pkg/__init__.py": "from . import sub\nvalue = sub.version", "pkg/sub.py": version(1)})
        package = space.import_("pkg")
        sub = package.sub
        write_tree(root, {"pkg/sub.py": version(2)})
        self.assertIs(space.eval("modspace.reload('pkg.sub')"), sub)
        self.assertEqual((sub.version, package.value), (2, 1))
        self.assertIs(space.eval("modspace.reload('pkg')"), package)
        self.assertEqual(package.value, 2)
        self.assertIs(package.sub, sub)

    def test_a_module_that_fails_stays_as_it_got(self):
        space, root = self.prepared({"module.py": version(1)})
        module = space.import_("module")
        write_tree(root, {"module.py": "version = 2\n1/0"})
        with self.assertRaises(ZeroDivisionError):
            space.eval("modspace.reload('module')")
        self.assertIs(space.sys.modules["module"], module)
        self.assertEqual((module.version, module.answer()), (2, 2))
        write_tree(root, {"module.py": "def"})
        with self.assertRaises(SyntaxError):
            space.eval("modspace.reload('module')")
        os.remove(os.path.join(root, "module.py"))
        with self.assertRaises(ModuleNotFoundError):
            space.eval("modspace.reload('module')")
        write_tree(root, {"module.py": version(3)})
        self.assertEqual(space.eval("modspace.reload('module').answer()"), 3)
        self.assertEqual(space.modules["module"].state, "ready")

    def test_the_table_has_the_new_source(self):
        space, root = self.prepared({"module.py": version(1)})
        space.import_("module")
        before = space.modules["module"].source_hash
        write_tree(root, {"module.py": version(2)})
        space.eval("modspace.reload('module')")
        self.assertNotEqual(space.modules["module"].source_hash, before)
        self.assertIn("module", space.reload().unchanged)

    def test_a_module_of_a_fresh_copy_of_a_platform_module(self):
        space, root = self.prepared({}, fresh=["string"])
        module = space.import_("string")
        self.assertIs(space.eval("modspace.reload('string')"), module)

    def test_a_module_of_the_standard_library_that_is_the_spaces_own(self):
        space, root = self.prepared({})
        logging = space.import_("logging")
        self.assertIs(space.eval("modspace.reload('logging')"), logging)
        self.assertIsNot(logging, sys.modules.get("logging"))


class Unload(Single):
    def test_the_module_and_its_submodules_go(self):
        space, root = self.prepared({"pkg/__init__.py": "", "pkg/a.py": "", "pkg/inner/__init__.py": "", "pkg/inner/b.py": "",
                                     "pkgother.py": ""})
        for name in ("pkg.a", "pkg.inner.b", "pkgother"):
            space.import_(name)
        names = ["pkg", "pkg.a", "pkg.inner", "pkg.inner.b"]
        gone = [weakref.ref(space.sys.modules[name]) for name in names]
        report = space.eval("modspace.unload('pkg')")
        self.assertIsInstance(report, modspace.UnloadReport)
        self.assertEqual(report.modules, names)
        self.assertEqual((report.held, report.clean), ([], True))
        self.assertGreater(report.objects, len(names))
        self.assertEqual([module() for module in gone], [None] * 4)
        self.assertEqual([name for name in space.sys.modules if name.startswith("pkg")], ["pkgother"])
        self.assertEqual({space.modules[name].state for name in names}, {"unloaded"})
        self.assertEqual(space.modules["pkgother"].state, "ready")
        for text in ("pkg.inner.b", str(report.objects)):
            self.assertIn(text, str(report))
        self.assertIn("pkg", repr(report))

    def test_it_can_be_imported_anew(self):
        space, root = self.prepared({"module.py": version(1)})
        first = id(space.import_("module"))
        space.import_("module").mark = True
        space.eval("modspace.unload('module')")
        write_tree(root, {"module.py": version(2)})
        module = space.import_("module")
        self.assertEqual(module.version, 2)
        self.assertFalse(hasattr(module, "mark"))
        self.assertEqual(space.modules["module"].state, "ready")

    def test_a_submodule_is_detached_from_its_package(self):
        space, root = self.prepared({"pkg/__init__.py": "", "pkg/sub.py": "", "pkg/other.py": ""})
        package = space.import_("pkg")
        space.import_("pkg.sub"), space.import_("pkg.other")
        self.assertEqual(space.eval("modspace.unload('pkg.sub')").modules, ["pkg.sub"])
        self.assertFalse(hasattr(package, "sub"))
        self.assertTrue(hasattr(package, "other"))
        self.assertEqual([name for name in sorted(space.sys.modules) if name.startswith("pkg")], ["pkg", "pkg.other"])
        self.assertIs(space.import_("pkg.sub"), package.sub)

    def test_another_attribute_of_the_package_of_that_name_stays(self):
        space, root = self.prepared({"pkg/__init__.py": "from .sub import sub", "pkg/sub.py": "def sub(): return 42"})
        package = space.import_("pkg")
        space.eval("modspace.unload('pkg.sub')")
        self.assertEqual(package.sub(), 42)

    def test_a_module_given_itself(self):
        space, root = self.prepared({"module.py": version(1)})
        module = space.import_("module")
        report = space.ns["modspace"] and space.eval("modspace.unload(__import__('module'))")
        self.assertEqual(report.modules, ["module"])
        self.assertNotIn("module", space.sys.modules)
        self.assertEqual(module.answer(), 1)

    def test_in_the_calling_space(self):
        self.in_the_host({"host_module.py": version(1)})
        import host_module
        shelf["held"] = host_module.answer
        del host_module
        report = modspace.unload("host_module")
        self.assertNotIn("host_module", sys.modules)
        self.assertTrue(any("shelf['held']" in held.path for held in report.held), report)

    def test_what_another_module_took_is_named_and_goes_on_working(self):
        space, root = self.prepared({"module.py": version(1), "user.py": "from module import answer\nimport module as whole"})
        user = space.import_("user")
        space.import_("module")
        report = space.eval("modspace.unload('module')")
        self.assertFalse(report.clean)
        found = {held.object: held for held in report.held}
        self.assertRegex(found["module.answer"].path, r"^app: user\.answer$")
        self.assertEqual(found["module.answer"].kind, "function")
        self.assertTrue(any(held.path == "app: user.whole" for held in report.held), report)
        self.assertIn("user.answer", str(report))
        lengths = [held.length for held in report.held]
        self.assertEqual(lengths, sorted(lengths))
        self.assertEqual((user.answer(), user.whole.answer()), (1, 1))
        self.assertIsNot(space.import_("module"), user.whole)

    def test_what_the_host_holds_is_named(self):
        space, root = self.prepared({"module.py": version(1, "class Thing:\n    def answer(self): return version\n")})
        shelf["held"] = space.import_("module").Thing()
        report = space.eval("modspace.unload('module')")
        self.assertTrue(any("shelf['held']" in held.path and "Thing" in held.object for held in report.held), report)
        self.assertEqual(shelf["held"].answer(), 1)
        gone = weakref.ref(shelf.pop("held"))
        self.assertIsNone(gone())

    def test_what_nobody_holds_is_freed(self):
        sources = {
            "functions and classes": "def f(): return C\nclass C:\n    def g(self): return f",
            "slotted classes": "class C:\n    __slots__ = ('x', 'y')\n    def f(self): pass\nc = C()\nc.x = c\nc.y = C",
            "slots with references": "class C:\n    __slots__ = ('x', '__weakref__')\n    def f(self): pass\nc = C()\nc.x = c",
            "dataclasses": "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass D:\n    x: object\n    def f(self): pass\nd = D(None)\nd.x = d",
            "closures": "def make():\n    def inner(): return inner\n    return inner\nf = make()",
            "generators": "def numbers():\n    yield numbers\ng = numbers()\nnext(g)",
            "instances": "class C:\n    def f(self): pass\nc = C()\nc.me = c\nb = c.f",
            "enums": "import enum\nclass E(enum.Enum):\n    A = 1\n    def f(self): pass",
            "metaclasses": "class M(type):\n    def f(cls): pass\nclass C(metaclass=M):\n    def g(self): pass",
            "subclasses": "import collections\nclass D(collections.UserDict):\n    def f(self): pass\nd = D(x=1)",
            "logging": "import logging\nlog = logging.getLogger('of this module')\nlog.warning",
            "exceptions": "class E(Exception):\n    def f(self): pass\ntry: raise E\nexcept E as error: kept = error",
            "a cycle of modules": "import helper\nhelper.back = __import__(__name__)\ndel helper.back",
            "annotations": "import typing\nclass C:\n    x: 'C'\n    y: typing.Optional[int]\n    def f(self) -> 'C': return self\nhints = typing.get_type_hints(C)",
            "compiled expressions": "import re\np = re.compile('x')\ndef f(): return p",
            "cached functions": "import functools\n@functools.lru_cache\ndef f(x): return f\nf(1)",
            "properties": "class C:\n    @property\n    def p(self): return self\n    @staticmethod\n    def s(): return C\n    @classmethod\n    def c(cls): return cls",
        }
        for name, source in sources.items():
            with self.subTest(name):
                space, root = self.prepared({"module.py": source, "helper.py": ""})
                module = space.import_("module")
                gone = {"module": weakref.ref(module)}
                for key, value in vars(module).items():
                    if getattr(value, "__module__", None) == "module":
                        with contextlib.suppress(TypeError):
                            gone[key] = weakref.ref(value)
                del module, value
                report = space.eval("modspace.unload('module')")
                self.assertTrue(report.clean, report)
                self.assertEqual([key for key, reference in gone.items() if reference() is not None], [])

    def test_finalizers_see_the_whole_module(self):
        space, root = self.prepared({"module.py": "import helper\nclass C:\n    def __del__(self):\n        import helper\n"
                                                  "        helper.seen.append((answer(), helper is globals()['helper']))\n"
                                                  "def answer(): return 42\nc = C()\nc.me = c\n", "helper.py": "seen = []"})
        space.import_("module")
        self.assertTrue(space.eval("modspace.unload('module')").clean)
        self.assertEqual(space.import_("helper").seen, [(42, True)])

    def test_a_thread_inside_goes_on(self):
        space, root = self.prepared({"module.py": version(1, "def wait(ready, go):\n    ready.set()\n    go.wait()\n    return version, answer()\n")})
        ready, go, seen = threading.Event(), threading.Event(), []
        thread = threading.Thread(target=lambda work=space.import_("module").wait: seen.append(work(ready, go)), name="busy")
        self.addCleanup(go.set)
        thread.start()
        ready.wait()
        report = space.eval("modspace.unload('module')")
        self.assertFalse(report.clean)
        go.set()
        thread.join()
        self.assertEqual(seen, [(1, 1)])

    def test_a_module_that_unloads_itself_in_a_call(self):
        space, root = self.prepared({"module.py": version(1, "def go():\n    import modspace\n    report = modspace.unload(__name__)\n    return report.clean, answer(), version\n")})
        self.assertEqual(space.import_("module").go(), (False, 1, 1))
        self.assertNotIn("module", space.sys.modules)
        self.assertEqual(space.import_("module").version, 1)

    def test_what_a_package_took_from_the_parent_is_only_forgotten(self):
        parent = self.library({"pkg/__init__.py": "import sys\n__path__ = list(__path__)", "pkg/above.py": version(1)}, name="parent")
        child = self.space(parent, path=[self.tree({"pkg/__init__.py": "", "pkg/sub.py": ""})])
        child.exec("import modspace")
        child.import_("pkg.sub")
        child.eval("modspace.unload('pkg')")
        self.assertEqual([name for name in child.sys.modules if name.startswith("pkg")], [])
        self.assertEqual(parent.import_("pkg.above").version, 1)

    def test_memory_is_flat(self):
        space, root = self.prepared({"pkg/__init__.py": "from . import sub\nclass C:\n    __slots__ = ('x',)\n    def f(self): pass",
                                     "pkg/sub.py": version(1, "import pkg")})

        def step():
            space.import_("pkg")
            self.assertTrue(space.eval("modspace.unload('pkg')").clean)
        self.assert_flat(step)


class Reimport(Single):
    FILES = {"pkg/__init__.py": "from . import a\nfrom .a import answer\nitems = []", "pkg/a.py": version(1, "from . import b"),
             "pkg/b.py": "import pkg.a\nhere = pkg"}

    def test_an_independent_copy_with_its_submodules(self):
        space, root = self.prepared(self.FILES)
        first = space.import_("pkg")
        with self.unchanged(space):
            copy = space.eval("modspace.reimport('pkg')")
        self.assertIsNot(copy, first)
        for name in ("a", "items", "answer"):
            self.assertIsNot(getattr(copy, name), getattr(first, name), name)
        self.assertIsNot(copy.a.b, first.a.b)
        self.assertIs(copy.a.b.here, copy)
        self.assertIs(first.a.b.here, first)
        copy.items.append(1)
        copy.a.version = 2
        self.assertEqual((first.items, first.answer(), copy.answer()), ([], 1, 2))
        self.assertEqual(copy.__name__, "pkg")
        self.assertIs(space.import_("pkg"), first)
        self.assertIs(space.eval("__import__('pkg.a').a"), first.a)

    def test_a_submodule_alone(self):
        space, root = self.prepared(self.FILES)
        first = space.import_("pkg")
        with self.unchanged(space):
            copy = space.eval("modspace.reimport('pkg.a')")
        self.assertIsNot(copy, first.a)
        self.assertIs(space.import_("pkg").a, first.a)
        self.assertIs(space.import_("pkg.a"), first.a)

    def test_a_module_given_itself(self):
        space, root = self.prepared({"module.py": version(1)})
        first = space.import_("module")
        write_tree(root, {"module.py": version(2)})
        copy = space.eval("modspace.reimport(__import__('module'))")
        self.assertEqual((first.answer(), copy.answer()), (1, 2))

    def test_in_the_calling_space(self):
        self.in_the_host({"host_module.py": version(1)})
        import host_module
        copy = modspace.reimport("host_module")
        self.assertIsNot(copy, host_module)
        self.assertIs(sys.modules["host_module"], host_module)
        self.assertIs(modspace.space_of(copy), HOST)

    def test_a_failure_leaves_all_as_it_was(self):
        for broken in ({"pkg/__init__.py": "1/0"}, {"pkg/a.py": "1/0"}, {"pkg/b.py": "1/0"},
                       {"pkg/a.py": "import sys\ndel sys.modules['pkg']\n1/0"}):
            with self.subTest(broken=broken):
                space, root = self.prepared(self.FILES)
                first = space.import_("pkg")
                write_tree(root, broken)
                for _ in range(2):
                    with self.unchanged(space), self.assertRaises(ZeroDivisionError):
                        space.eval("modspace.reimport('pkg')")
                self.assertIs(space.import_("pkg"), first)
                self.assertIs(first.a.b.here, first)
                self.assertEqual(first.answer(), 1)

    def test_what_only_the_copy_imports_is_not_left_in_sight(self):
        space, root = self.prepared({"pkg/__init__.py": "", "pkg/extra.py": ""})
        first = space.import_("pkg")
        write_tree(root, {"pkg/__init__.py": "from . import extra"})
        copy = space.eval("modspace.reimport('pkg')")
        self.assertTrue(hasattr(copy, "extra"))
        self.assertFalse(hasattr(first, "extra"))
        self.assertNotIn("pkg.extra", space.sys.modules)

    def test_other_modules_are_not_copied(self):
        space, root = self.prepared({"module.py": "import helper", "helper.py": ""})
        first = space.import_("module")
        self.assertIs(space.eval("modspace.reimport('module').helper"), first.helper)

    def test_a_copy_nobody_holds_is_freed(self):
        space, root = self.prepared(self.FILES)
        space.import_("pkg")
        self.assert_flat(lambda: space.exec("modspace.reimport('pkg')"))

    def test_the_copy_is_reported_when_the_space_is_discarded(self):
        space, root = self.prepared(self.FILES)
        space.import_("pkg")
        shelf["held"] = space.eval("modspace.reimport('pkg')")
        self.assertIs(modspace.space_of(shelf["held"]), space)
        report = space.discard()
        self.assertTrue(any("shelf['held']" in held.path for held in report.held), report)


class Refusals(Single):
    FILES = {"module.py": version(1), "pkg/__init__.py": "", "pkg/sub.py": ""}

    def test_never_imported(self):
        space, root = self.prepared(self.FILES)
        for operation in self.OPERATIONS:
            for name in ("module", "absent", "pkg.sub", ""):
                self.refused(space, operation, repr(name), ImportError, operation, repr(name).strip("'"), "app")

    def test_forgotten_and_blocked_modules(self):
        space, root = self.prepared(self.FILES)
        space.ns["forgotten"] = space.import_("module")
        del space.sys.modules["module"]
        space.sys.modules["blocked"] = None
        for operation in self.OPERATIONS:
            self.refused(space, operation, "forgotten", ImportError, operation, "module", "sys.modules")
            self.refused(space, operation, "'blocked'", ImportError, operation, "blocked")

    def test_a_module_of_another_space(self):
        space, root = self.prepared(self.FILES)
        other, _ = self.prepared(self.FILES)
        space.ns["foreign"] = other.import_("module")
        for own in (False, True):
            if own:
                space.import_("module")
            for operation in self.OPERATIONS:
                with self.unchanged(other):
                    self.refused(space, operation, "foreign", ImportError, operation, "module", "app")

    def test_a_module_taken_from_the_parent(self):
        parent, root = self.app(self.FILES)
        child = self.space(parent, path=[], name="below")
        child.exec("import modspace, module")
        for operation in self.OPERATIONS:
            for argument in ("module", "'module'"):
                with self.unchanged(parent):
                    self.refused(child, operation, argument, modspace.SpaceError, operation, "module", "below", "app")
                    self.refused(child, operation, f"{argument}, force=True", modspace.SpaceError, operation, "module")

    def test_native_and_platform_modules(self):
        space, root = self.prepared({})
        space.exec("import math, _json, time, os, abc, threading, importlib")
        for operation in self.OPERATIONS:
            for name, what in (("math", "native"), ("_json", "native"), ("time", "native"), ("abc", "platform"), ("threading", "platform")):
                self.refused(space, operation, name, modspace.SpaceError, operation, name, what)
                self.refused(space, operation, f"{name!r}, force=True", modspace.SpaceError, operation, name, what)

    def test_sys_builtins_and_main(self):
        space, root = self.prepared({})
        space.exec("import builtins, importlib, __main__")
        for operation in self.OPERATIONS:
            for name in ("sys", "builtins"):
                self.refused(space, operation, name, modspace.SpaceError, operation, name)
                self.refused(space, operation, f"{name!r}, force=True", modspace.SpaceError, operation, name)
            self.refused(space, operation, "'__main__'", (modspace.SpaceError, ImportError), "__main__")
            self.refused(space, operation, "__main__", (modspace.SpaceError, ImportError), "__main__")

    def test_the_import_system_itself(self):
        space, root = self.prepared({})
        space.exec("import importlib")
        for operation in self.OPERATIONS:
            for name in ("_frozen_importlib", "_frozen_importlib_external", "importlib._bootstrap", "importlib._bootstrap_external"):
                self.refused(space, operation, repr(name), modspace.SpaceError, operation)
        self.assertEqual(space.eval("__import__('json').dumps([1])"), "[1]")

    def test_arguments_of_other_types(self):
        space, root = self.prepared(self.FILES)
        space.import_("module")
        for operation in self.OPERATIONS:
            for argument, kind in (("None", "None"), ("1", "int"), ("b'module'", "bytes"), ("['module']", "list"), ("object()", "object"),
                                   ("modspace.current()", "ModuleSpace")):
                self.refused(space, operation, argument, TypeError, operation, kind)
            for argument in ("", "'module', True, True", "'module', forced=True"):
                self.refused(space, operation, argument, TypeError)
            for force in ("1", "'yes'", "0", "[]"):
                self.refused(space, operation, f"'module', force={force}", TypeError, "force")

    def test_modules_with_odd_names(self):
        space, root = self.prepared(self.FILES)
        space.import_("module")
        for setup in ("odd.__name__ = 5", "del odd.__name__", "odd.__name__ = 'other'", "odd.__spec__ = 5"):
            space.exec(f"odd = type(sys)('odd')\n{setup}")
            for operation in self.OPERATIONS:
                self.refused(space, operation, "odd", (TypeError, ImportError, AttributeError))

    def test_a_module_in_the_middle_of_its_import(self):
        for operation in self.OPERATIONS:
            for name in ("pkg", "pkg.sub"):
                source = f"import modspace\ntry: modspace.{operation}({name!r})\nexcept ImportError as error: refused = str(error)\n"
                files = {"pkg/__init__.py": source + "from . import sub\n", "pkg/sub.py": ""} if name == "pkg" else \
                    {"pkg/__init__.py": "from . import sub\n", "pkg/sub.py": source}
                with self.subTest(operation=operation, name=name):
                    space, root = self.prepared(files)
                    space.import_("pkg")
                    self.assertIn("middle of its import", space.sys.modules[name].refused)
                    self.assertIn(operation, space.sys.modules[name].refused)
                    self.assertIs(space.import_("pkg.sub"), space.import_("pkg").sub)
                    self.assertEqual(space.modules[name].state, "ready")

    def test_a_package_whose_submodule_is_in_the_middle_of_its_import(self):
        for operation in ("unload", "reimport"):
            with self.subTest(operation=operation):
                space, root = self.prepared({"pkg/__init__.py": "", "pkg/sub.py": f"import modspace\ntry: modspace.{operation}('pkg')\n"
                                                                                  "except ImportError as error: refused = str(error)\n"})
                space.import_("pkg")
                self.assertIn("pkg.sub", space.import_("pkg.sub").refused)
                self.assertIs(space.import_("pkg").sub, space.sys.modules["pkg.sub"])

    def test_in_a_closed_space(self):
        space, root = self.prepared({"module.py": "import importlib, modspace\ndef go(operation): return getattr(modspace, operation)('module')"})
        go = space.import_("module").go
        space.discard()
        for operation in ("reload", "reimport"):
            with self.assertRaises(modspace.SpaceClosedError):
                go(operation)
        self.assertEqual(go("unload").modules, ["module"])


class Flags(Single):
    def flagged(self, flags):
        """A space with a module that sets these on its own spec."""
        space, root = self.prepared({"module.py": version(1, "".join(f"__spec__.{name} = {value!r}\n" for name, value in flags.items()))})
        space.import_("module")
        return space

    def test_a_module_may_refuse(self):
        for operation in self.OPERATIONS:
            flag = f"allow_{operation}"
            space = self.flagged({flag: False})
            self.refused(space, operation, "'module'", modspace.SpaceError, "'module'".strip("'"), flag, "force=True")
            self.refused(space, operation, "'module', force=False", modspace.SpaceError, "module", flag)
            space = self.flagged({flag: False})
            space.eval(f"modspace.{operation}('module', force=True)")
            space = self.flagged({flag: False})
            space.eval(f"modspace.{operation}('module', True)")

    def test_a_flag_speaks_of_its_operation_alone(self):
        for flag in self.OPERATIONS:
            for operation in self.OPERATIONS:
                if operation != flag:
                    with self.subTest(flag=flag, operation=operation):
                        self.flagged({f"allow_{flag}": False}).eval(f"modspace.{operation}('module')")
            self.flagged({f"allow_{flag}": True}).eval(f"modspace.{flag}('module')")

    def test_a_loader_may_set_them(self):
        class Careful(Finder):
            def find_spec(self, name, path=None, target=None):
                spec = super().find_spec(name)
                if spec:
                    spec.allow_reload = spec.allow_unload = spec.allow_reimport = False
                return spec
        space, root = self.prepared({})
        space.sys.meta_path.insert(0, Careful("careful", 1))
        space.import_("careful")
        for operation in self.OPERATIONS:
            self.refused(space, operation, "'careful'", modspace.SpaceError, "careful", f"allow_{operation}")
        first = space.import_("careful")
        self.assertIsNot(space.eval("modspace.reimport('careful', force=True)"), first)
        self.assertIs(space.eval("modspace.reload('careful', force=True)"), first)
        self.assertEqual(space.eval("modspace.unload('careful', force=True)").modules, ["careful"])

    def test_a_spec_made_by_hand(self):
        space, root = self.prepared({"file.py": version(1)})
        spec = importlib.util.spec_from_file_location("made", os.path.join(root, "file.py"))
        spec.allow_unload = False
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        space.sys.modules["made"] = module
        self.refused(space, "unload", "'made'", modspace.SpaceError, "made", "allow_unload")

    def test_a_submodule_may_refuse_for_its_package(self):
        for operation in ("unload", "reimport"):
            space, root = self.prepared({"pkg/__init__.py": "", "pkg/a.py": "", "pkg/sub.py": f"__spec__.allow_{operation} = False"})
            space.import_("pkg.a"), space.import_("pkg.sub")
            self.refused(space, operation, "'pkg'", modspace.SpaceError, "pkg.sub", f"allow_{operation}")
            space.eval(f"modspace.{operation}('pkg', force=True)")

    def test_misspelt_flags(self):
        for flag in ("allow_relaod", "allow_", "allow_unloading", "allow_Reload"):
            space = self.flagged({flag: True})
            for operation in self.OPERATIONS:
                self.refused(space, operation, "'module'", (ValueError, TypeError, modspace.SpaceError), "module", flag, "allow_reload")

    def test_flags_that_are_no_booleans(self):
        for value in (None, 0, 1, "no", [], 1.0):
            for name in self.OPERATIONS:
                space = self.flagged({f"allow_{name}": value})
                for operation in self.OPERATIONS:
                    self.refused(space, operation, "'module'", TypeError, "module", f"allow_{name}", type(value).__name__)

    def test_a_module_without_a_spec(self):
        space, root = self.prepared({"module.py": version(1)})
        space.sys.modules["made"] = types.ModuleType("made")
        self.assertEqual(space.eval("modspace.unload('made')").modules, ["made"])


class ImportlibUtil(Single):
    def test_the_same_three(self):
        space, root = self.prepared({"module.py": version(1)})
        space.exec("import importlib.util as util, module")
        first = space.import_("module")
        self.assertIs(space.eval("util.reload(module)"), first)
        self.assertIs(space.eval("util.reload('module')"), first)
        self.assertIsNot(space.eval("util.reimport('module')"), first)
        del first, space.ns["module"]
        report = space.eval("util.unload('module')")
        self.assertIsInstance(report, modspace.UnloadReport)
        self.assertEqual((report.modules, report.clean), (["module"], True))

    def test_they_work_for_their_space(self):
        one, _ = self.prepared({"module.py": version(1)})
        two, _ = self.prepared({"module.py": version(2)})
        for space in (one, two):
            space.exec("import importlib.util\nutil = importlib.util")
            space.import_("module")
        two.exec("def unload(name): return util.unload(name)")
        one.ns["unload"] = two.ns["unload"]
        one.exec("unload('module')")
        self.assertIn("module", one.sys.modules)
        self.assertNotIn("module", two.sys.modules)

    def test_flags_and_force(self):
        space, root = self.prepared({"module.py": "__spec__.allow_unload = False"})
        space.exec("from importlib import util")
        space.import_("module")
        with self.assertRaises(modspace.SpaceError):
            space.eval("util.unload('module')")
        self.assertEqual(space.eval("util.unload('module', force=True)").modules, ["module"])


if __name__ == "__main__":
    unittest.main()
