"""What is held of a discarded space goes on working for its closed space."""

import contextlib
import io
import unittest

import modspace
from discarding import Discarding
from support import shelf


class Survivors(Discarding):
    SOURCE = """\
        import sys, atexit, loaded, modspace, warnings
        state = []

        def shout(text): print(text)
        def system(): import sys as again; return again
        def loaded_module(): import loaded as again; from loaded import value; return again, value
        def late_module(): import late
        def late_name(): from loaded import absent
        def late_submodule(): import pkg.late
        def late_from(): from pkg import late
        def by_name(name): return __import__(name)
        def by_importlib(name): import importlib; return importlib.import_module(name)
        def register(): atexit.register(print)
        def run(source): exec(source, globals()); return eval("42")
        def space(): return modspace.current()
        def child(): return modspace.ModuleSpace(modspace.current())
        def warn(): warnings.warn("careful")
        def counter(): state.append(1); return len(state)
        def fail(): 1/0
        def numbers():
            yield 1
            yield counter()
        def define():
            class Made:
                def f(self): return state
            return Made
        def thread():
            import threading
            out = []
            t = threading.Thread(target=lambda: out.append(counter()))
            t.start(); t.join()
            return out
        class Thing:
            def method(self): return counter()
        """

    def survivor(self, **options):
        space = self.library({"plugin.py": self.SOURCE, "loaded.py": "value = 1", "late.py": "", "pkg/__init__.py": "",
                              "pkg/late.py": ""},
                             name="plugins", **options)
        space.import_("importlib"), space.import_("pkg"), space.import_("threading")
        plugin = space.import_("plugin")
        shelf["held"] = plugin
        return space, plugin

    def test_streams(self):
        space, plugin = self.survivor()
        space.sys.stdout, space.sys.stderr = stdout, stderr = io.StringIO(), io.StringIO()
        space.discard()
        plugin.shout("hello")
        plugin.warn()
        self.assertEqual(stdout.getvalue(), "hello\n")
        self.assertIn("careful", stderr.getvalue())

    def test_streams_of_the_parent(self):
        parent = self.space(name="parent")
        space, plugin = self.survivor(parent=parent)
        parent.sys.stdout = stdout = io.StringIO()
        space.discard()
        plugin.shout("hello")
        self.assertEqual(stdout.getvalue(), "hello\n")
        parent.discard()
        plugin.by_name("loaded")
        with contextlib.suppress(RuntimeError, modspace.SpaceClosedError):
            plugin.shout("nobody hears this")

    def test_imports(self):
        space, plugin = self.survivor()
        system, loaded = space.sys, space.import_("loaded")
        space.discard()
        self.assertIs(plugin.system(), system)
        self.assertIs(plugin.sys, system)
        self.assertEqual(plugin.loaded_module(), (loaded, 1))
        self.assertIs(plugin.by_name("loaded"), loaded)
        self.assertIs(plugin.by_importlib("loaded"), loaded)
        for function, args in ((plugin.late_module, ()), (plugin.late_submodule, ()), (plugin.by_name, ("late",)),
                               (plugin.by_name, ("absent",)), (plugin.by_importlib, ("late",)),
                               (plugin.by_importlib, ("string",)), (plugin.by_name, ("decimal",))):
            with self.subTest(function=function, args=args):
                with self.assertRaises(modspace.SpaceClosedError) as caught:
                    function(*args)
                self.assertIn("plugins", str(caught.exception))
        with self.assertRaises((ImportError, modspace.SpaceClosedError)):
            plugin.late_from()
        with self.assertRaises(ImportError):
            plugin.late_name()

    def test_what_needs_a_live_space_raises(self):
        space, plugin = self.survivor()
        space.discard()
        for function in (plugin.register, plugin.child):
            with self.subTest(function=function), self.assertRaises(modspace.SpaceClosedError):
                function()

    def test_the_rest_works(self):
        space, plugin = self.survivor()
        numbers = plugin.numbers()
        next(numbers)
        space.discard()
        self.assertEqual((plugin.counter(), plugin.Thing().method(), next(numbers), plugin.thread()), (1, 2, 3, [4]))
        self.assertEqual(plugin.run("x = 5"), 42)
        self.assertEqual(plugin.x, 5)
        self.assertEqual(plugin.define()().f(), [1] * 4)
        with self.assertRaises(ZeroDivisionError):
            plugin.fail()

    def test_their_space(self):
        space, plugin = self.survivor()
        number = space.id
        space.discard()
        for held in (plugin, plugin.counter, plugin.Thing().method):
            self.assertTrue(modspace.space_of(held).closed)
            self.assertEqual(modspace.space_of(held).id, number)
        self.assertTrue(plugin.space().closed)
        self.assertIn("closed", repr(plugin.space()))

    def test_the_handle(self):
        parent = self.space(name="parent")
        space = self.space(parent, name="plugins")
        number = space.id
        space.discard()
        self.assertTrue(space.closed)
        self.assertEqual((space.name, space.id, space.parent, space.children), ("plugins", number, parent, []))
        self.assertEqual(repr(space), "<ModuleSpace 'plugins', closed>")
        self.assertIs(modspace.space_of(space), space)
        self.assertNotIn(space, modspace.spaces())
        self.assertNotIn(space, parent.children)
        for use in (lambda: space.sys, lambda: space.ns, lambda: space.builtins, lambda: space.modules,
                    lambda: space.generation, lambda: space.import_("json"), lambda: space.exec("pass"),
                    lambda: space.eval("1"), lambda: space.call(len, ""), lambda: space.run_path("x"),
                    lambda: space.run_module("json"), lambda: space.reload(), lambda: space.__enter__(),
                    lambda: modspace.ModuleSpace(space)):
            with self.assertRaises(modspace.SpaceClosedError) as caught:
                use()
            self.assertIn("plugins", str(caught.exception))

    def test_streams_modules_and_path_of_the_closed_sys(self):
        space, plugin = self.survivor()
        space.sys.path.append("mark")
        stdout, argv = space.sys.stdout, list(space.sys.argv)
        space.discard()
        self.assertIs(plugin.sys.modules["plugin"], plugin)
        self.assertEqual(plugin.sys.path[-1], "mark")
        self.assertIs(plugin.sys.stdout, stdout)
        self.assertEqual(plugin.sys.argv, argv)

    def test_a_child_of_a_closed_parent_goes_on(self):
        parent = self.library({"above.py": "def f(): return 42"}, name="parent")
        held = parent.import_("above")
        other = self.space(name="other")
        other.ns["above"] = held
        parent.discard()
        self.assertEqual(other.eval("above.f()"), 42)
        other.exec("del above")


if __name__ == "__main__":
    unittest.main()
