"""Single modules are reloaded in place, unloaded, or imported a second time, and the rest of their space stays as it
is."""

import contextlib
import os
import sys
import threading
import traceback
import unittest
import weakref

import modspace
from reloading import Single, version
from support import STRESS, alive, own_objects, run_threads, shelf, write_tree


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
        space, root = self.prepared({"pkg/__init__.py": "from . import sub\nvalue = sub.version",
                                     "pkg/sub.py": version(1)})
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
        space, root = self.prepared({"pkg/__init__.py": "", "pkg/a.py": "", "pkg/inner/__init__.py": "",
                                     "pkg/inner/b.py": "", "pkgother.py": ""})
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
        space, root = self.prepared({"module.py": version(1),
                                     "user.py": "from module import answer\nimport module as whole"})
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
            "slots with references": "class C:\n    __slots__ = ('x', '__weakref__')\n    def f(self): pass\nc = C()\n"
                                     "c.x = c",
            "dataclasses": "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass D:\n    x: object\n"
                           "    def f(self): pass\nd = D(None)\nd.x = d",
            "closures": "def make():\n    def inner(): return inner\n    return inner\nf = make()",
            "generators": "def numbers():\n    yield numbers\ng = numbers()\nnext(g)",
            "instances": "class C:\n    def f(self): pass\nc = C()\nc.me = c\nb = c.f",
            "enums": "import enum\nclass E(enum.Enum):\n    A = 1\n    def f(self): pass",
            "metaclasses": "class M(type):\n    def f(cls): pass\nclass C(metaclass=M):\n    def g(self): pass",
            "subclasses": "import collections\nclass D(collections.UserDict):\n    def f(self): pass\nd = D(x=1)",
            "logging": "import logging\nlog = logging.getLogger('of this module')\nlog.warning",
            "exceptions": "class E(Exception):\n    def f(self): pass\ntry: raise E\nexcept E as error: kept = error",
            "a cycle of modules": "import helper\nhelper.back = __import__(__name__)\ndel helper.back",
            "annotations": "import typing\nclass C:\n    x: 'C'\n    y: typing.Optional[int]\n"
                           "    def f(self) -> 'C': return self\nhints = typing.get_type_hints(C)",
            "compiled expressions": "import re\np = re.compile('x')\ndef f(): return p",
            "cached functions": "import functools\n@functools.lru_cache\ndef f(x): return f\nf(1)",
            "properties": "class C:\n    @property\n    def p(self): return self\n    @staticmethod\n"
                          "    def s(): return C\n    @classmethod\n    def c(cls): return cls",
        }
        for name, source in sources.items():
            with self.subTest(name):
                space, root = self.prepared({"module.py": source, "helper.py": ""})
                own = own_objects(space, "module")
                report = space.eval("modspace.unload('module')")
                self.assertTrue(report.clean, report)
                self.assertEqual(alive(own), [])

    def test_finalizers_see_the_whole_module(self):
        space, root = self.prepared({"helper.py": "seen = []", "module.py": """\
            import helper
            class C:
                def __del__(self):
                    import helper
                    helper.seen.append((answer(), helper is globals()['helper']))
            def answer(): return 42
            c = C()
            c.me = c
            """})
        space.import_("module")
        self.assertTrue(space.eval("modspace.unload('module')").clean)
        self.assertEqual(space.import_("helper").seen, [(42, True)])

    def test_a_thread_inside_goes_on(self):
        space, root = self.prepared({"module.py": version(1, "def work(ready, wait):\n    ready()\n    wait()\n"
                                                             "    return version, answer()\n")})
        worker = self.worker(space.import_("module").work, name="busy")
        report = space.eval("modspace.unload('module')")
        self.assertFalse(report.clean)
        self.assertEqual(worker.finish(), (1, 1))

    def test_a_module_that_unloads_itself_in_a_call(self):
        space, root = self.prepared({"module.py": version(1, "def go():\n    import modspace\n"
                                                             "    report = modspace.unload(__name__)\n"
                                                             "    return report.clean, answer(), version\n")})
        self.assertEqual(space.import_("module").go(), (False, 1, 1))
        self.assertNotIn("module", space.sys.modules)
        self.assertEqual(space.import_("module").version, 1)

    def test_what_a_package_took_from_the_parent_is_only_forgotten(self):
        parent = self.library({"pkg/__init__.py": "import sys\n__path__ = list(__path__)", "pkg/above.py": version(1)},
                              name="parent")
        child = self.space(parent, path=[self.tree({"pkg/__init__.py": "", "pkg/sub.py": ""})])
        child.exec("import modspace")
        child.import_("pkg.sub")
        child.eval("modspace.unload('pkg')")
        self.assertEqual([name for name in child.sys.modules if name.startswith("pkg")], [])
        self.assertEqual(parent.import_("pkg.above").version, 1)

    def test_memory_is_flat(self):
        space, root = self.prepared({"pkg/__init__.py": "from . import sub\nclass C:\n    __slots__ = ('x',)\n"
                                                        "    def f(self): pass",
                                     "pkg/sub.py": version(1, "import pkg")})

        def step():
            space.import_("pkg")
            self.assertTrue(space.eval("modspace.unload('pkg')").clean)
        self.assert_flat(step)


class Reimport(Single):
    FILES = {"pkg/__init__.py": "from . import a\nfrom .a import answer\nitems = []",
             "pkg/a.py": version(1, "from . import b"), "pkg/b.py": "import pkg.a\nhere = pkg"}

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
        self.assertIs(modspace.space_of(copy), modspace.current())

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


    def test_sys_is_afterwards_what_it_was(self):
        space, root = self.prepared({"module.py": version(1)})
        space.import_("module")
        names = set(vars(space.sys))
        self.assertIn("modules", names)
        for source in (version(1), "1/0"):
            write_tree(root, {"module.py": source})
            with contextlib.suppress(ZeroDivisionError):
                space.exec("modspace.reimport('module')")
            self.assertEqual(set(vars(space.sys)), names)

    def test_other_threads_see_the_first_copy_all_the_time(self):
        space, root = self.prepared({"pkg/__init__.py": "", "pkg/sub.py": "import sys\nsys.wait()"})
        space.sys.wait = lambda: None
        first = space.import_("pkg")
        space.ns["sub"] = space.import_("pkg.sub")

        def copy(ready, wait):
            space.sys.wait = lambda: (ready(), wait())
            space.exec("modspace.reimport('pkg')")
        write_tree(root, {"pkg/__init__.py": "from . import sub"})
        copying, seen = self.worker(copy), []
        self.assertTrue(copying.thread.is_alive())
        # Whoever waits for the copy to be made gets on.
        timer = threading.Timer(0.2, copying.go.set)
        timer.start()
        for expression in ("sys.modules['pkg']", "sys.modules['pkg.sub'] is sub and __import__('pkg')",
                           "__import__('pkg')", "__import__('pkg.sub')",
                           "__import__('importlib').import_module('pkg')"):
            seen.append(space.eval(expression) is first)
        timer.join()
        self.assertIsNone(copying.finish())
        self.assertEqual(seen, [True] * 5)

class Races(Single):
    def test_imports_while_a_module_is_unloaded(self):
        space, root = self.prepared({
            "pkg/__init__.py": "from . import sub\nvalue = 1", "pkg/sub.py": "value = 1",
            "user.py": "def use():\n    import pkg.sub\n    from pkg import sub\n    return pkg.value + sub.value\n"})
        use, done = space.import_("user").use, threading.Event()

        def work():
            while not done.is_set():
                try:
                    self.assertEqual(use(), 2)
                except (ImportError, KeyError):
                    # Between one import and the next the package was taken away; CPython raises KeyError, too.
                    pass

        def unload():
            try:
                for _ in range(100 * STRESS):
                    try:
                        space.eval("modspace.unload('pkg')")
                    except ImportError:
                        # Not there, or in the middle of its import.
                        pass
            finally:
                done.set()
        errors = run_threads([unload, *[work] * 4])
        self.assertEqual(["".join(traceback.format_exception(error)) for error in errors], [])
        self.assertEqual(use(), 2)

    def test_reloads_and_copies_at_once(self):
        space, root = self.prepared({"pkg/__init__.py": "from . import sub\nvalue = 1", "pkg/sub.py": "value = 1"})
        first = space.import_("pkg")

        def work(expression):
            for _ in range(200 * STRESS):
                try:
                    self.assertEqual(space.eval(expression).value, 1)
                except ImportError:
                    # Another thread has it in the middle of its import.
                    pass
        errors = run_threads([lambda operation=operation, name=name: work(f"modspace.{operation}({name!r})")
                              for operation in ("reload", "reimport") for name in ("pkg", "pkg.sub")])
        self.assertEqual(["".join(traceback.format_exception(error)) for error in errors], [])
        self.assertIs(space.import_("pkg"), first)
        self.assertIs(space.import_("pkg").sub, space.import_("pkg.sub"))

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

    def test_they_are_not_among_what_the_module_defines(self):
        space, root = self.prepared({})
        space.exec("import importlib.util as util")
        own = {name for name, value in vars(space.ns["util"]).items() if not name.startswith("_")
               and getattr(value, "__module__", None) in ("importlib.util", "importlib._bootstrap", "_frozen_importlib",
                                                          "importlib._bootstrap_external", "_frozen_importlib_external")}
        self.assertLessEqual({"find_spec", "module_from_spec", "LazyLoader"}, own)
        self.assertFalse(own & {"reload", "unload", "reimport"})
        self.assertEqual({space.ns["util"].reload.__module__, modspace.reload.__module__}, {"modspace"})

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
