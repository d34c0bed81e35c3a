"""Reloading a space brings it into its next generation whole, or changes nothing; it tells what changed, and leaves
parents and children alone."""

import io
import os
import traceback
import unittest
import weakref

import modspace
from reloading import Reloading, version
from support import shelf, write_tree


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
        held = [held for held in old.held if "shelf['held']" in held.path]
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
        self.assertEqual([name for name in report.removed if name in ("one", "quiet", "pkg", "pkg.sub", "late")],
                         ["late"])
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
        space, root = self.app({"script.py": "import sys\nseen = sys.argv[1:]\nversion = 1\n"
                                             "if __name__ == '__main__': ran = True"})
        script = os.path.join(root, "script.py")
        namespace = space.run_path(script, argv=["-x", "y"])
        write_tree(root, {"script.py": "import sys\nseen = sys.argv[1:]\nversion = 2\n"
                                       "if __name__ == '__main__': ran = 'again'"})
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
        space, root = self.app({"pkg/__init__.py": "",
                                "pkg/__main__.py": "import sys\nfrom . import part\nseen = sys.argv[1:], part.version",
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

    def test_what_a_program_left_behind_goes(self):
        space, root = self.app({"script.py": "old_name = 1\ndef old_function(): pass\nclass Old: pass"})
        space.run_path(os.path.join(root, "script.py"))
        write_tree(root, {"script.py": "new_name = {'old_function', 'Old', 'old_name'} & globals().keys()"})
        space.reload()
        self.assertEqual([name for name in space.ns if not name.startswith("__")], ["new_name"])
        self.assertEqual(space.ns["new_name"], set())

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
              ("raise KeyboardInterrupt", KeyboardInterrupt), ("x = '\0'", SyntaxError),
              ("def f(): f()\nf()", RecursionError), ("import sys\nsys.modules.clear()\n1/0", ZeroDivisionError),
              ("import json, logging, asyncio\n1/0", ZeroDivisionError))

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

    def test_a_program_that_fails(self):
        space, root = self.app({"script.py": "import part\nname = part.version", "part.py": version(1)})
        script = os.path.join(root, "script.py")
        space.ns["value"] = value = object()
        space.run_path(script, argv=["-x"])
        write_tree(root, {"script.py": "import sys, part\nname = part.version\nother = 1\nsys.argv.append('y')\n1/0",
                          "part.py": version(2)})
        with self.unchanged(space), self.assertRaises(ZeroDivisionError):
            space.reload()
        self.assertEqual((space.ns["name"], space.ns["value"]), (1, value))
        write_tree(root, {"script.py": "import part\nname = part.version"})
        space.reload()
        self.assertEqual(space.ns["name"], 2)

    def test_what_a_failed_generation_did_to_sys_is_undone(self):
        space, root = self.app({"top.py": version(1)})
        space.import_("top")
        space.sys.stdout = stdout = io.StringIO()
        write_tree(root, {"top.py": """\
            import sys, io
            sys.path.append('elsewhere')
            sys.stdout = io.StringIO()
            sys.invented = 1
            sys.argv = ['other']
            sys.displayhook = print
            sys.meta_path.insert(0, None)
            sys.path_hooks.clear()
            1/0
            """})
        with self.unchanged(space), self.assertRaises(ZeroDivisionError):
            space.reload()
        self.assertIs(space.sys.stdout, stdout)

    def test_the_traceback_is_that_of_an_import(self):
        space, root = self.app({"top.py": "import part", "part.py": ""})
        space.import_("top")
        write_tree(root, {"part.py": "\n\n1/0"})
        frames = []
        try:
            space.reload()
        except ZeroDivisionError as error:
            frames = traceback.extract_tb(error.__traceback__)
        self.assertEqual([(os.path.basename(frame.filename), frame.lineno) for frame in frames[1:]],
                         [("top.py", 1), ("part.py", 3)])

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
        space, root = self.app({"top.py": version(1, "def work(ready, wait):\n    ready()\n    wait()\n"
                                                     "    import late\n    return version, late.version\n"),
                                "late.py": version(1)})
        worker = self.worker(space.import_("top").work)
        write_tree(root, {"top.py": "1/0"})
        with self.unchanged(space), self.assertRaises(ZeroDivisionError):
            space.reload()
        self.assertEqual(worker.finish(), (1, 1))


class Tree(Reloading):
    """Parents and children."""

    def test_a_child_goes_on_with_what_it_has_and_reloads_by_itself(self):
        parent, root = self.app({"module.py": version(1), "other.py": version(1)})
        child = self.space(parent, path=[self.tree({"own.py": "import module\nvalue = module.version\ndef now():\n"
                                                              "    import module\n    return module.version"})])
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
        space, root = self.app({"maker.py": "import modspace\n"
                                            "child = modspace.ModuleSpace(modspace.current(), name='made')\n"
                                            "child.exec('x = 1')"})
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

    def test_the_root_cannot_be_reloaded(self):
        before = modspace.root.generation
        with self.assertRaises(modspace.SpaceError) as caught:
            modspace.root.reload()
        self.assertIn("reload", str(caught.exception))
        self.assertNotIsInstance(caught.exception, modspace.SpaceClosedError)
        self.assertEqual(modspace.root.generation, before)

    def test_reload_takes_no_arguments(self):
        space = self.space()
        with self.assertRaises(TypeError):
            space.reload(True)
        with self.assertRaises(TypeError):
            space.reload(force=True)
        self.assertEqual(space.generation, 1)


if __name__ == "__main__":
    unittest.main()
