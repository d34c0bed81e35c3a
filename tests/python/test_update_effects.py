"""A report of an update says what the new sources did outside of their modules, as far as that shows."""

import gc
import os
import signal
import threading
import unittest

import modspace

OLD = "class A:\n    def m(self): ...\ndef f(): ...\n"


class Effects(unittest.TestCase):
    def attached(self, source=OLD, **others):
        store = modspace.Store.memory()
        with store.transaction() as change:
            for name, text in {**others, "m": source}.items():
                change.new(name, text)
        space = modspace.ModuleSpace(name="app")
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        for name in (*others, "m"):
            space.import_(name)
        self.store, self.space = store, space

    def notes(self, report):
        return {path: detail for kind, path, detail in report.entries if kind == "note"}

    def both(self, source, sync_only=False):
        """The notes of a plan, and of the update."""
        planned = self.notes(self.store.plan({"m": source}, self.space))
        self.store.update_module("m", source)
        return planned, self.notes(self.space.sync())

    def check(self, source, *paths, where=""):
        """Both have notes with these paths, and what is said there fits `where`."""
        for notes in self.both(source):
            for path in paths:
                self.assertIn(path, notes)
                self.assertRegex(notes[path], where)

    def test_a_source_that_does_nothing_elsewhere(self):
        self.attached()
        self.assertEqual(self.both(OLD + "import json, warnings, os.path, collections.abc\nx = 1\n"), ({}, {}))

    def test_modules_that_are_imported_on_the_way(self):
        self.attached()
        planned, notes = self.both(OLD + "import logging\n")
        self.assertEqual(notes, {})
        # The plan's copy is gone, but for what it gave to others.
        self.assertIn("app: atexit callback[0]", planned)
        self.assertTrue(all("second copy of logging." in detail for detail in planned.values()), planned)

    def test_threads(self):
        self.attached()
        done = threading.Event()
        self.addCleanup(done.set)
        self.space.sys.modules["shared_done"] = done
        self.check(OLD + "import sys, threading\nthreading.Thread(target=sys.modules['shared_done'].wait, args=(20,), name='busy', "
                         "daemon=True).start()\n", "thread busy", where="was started and runs on")

    def test_what_is_registered_with_native_code(self):
        self.attached()
        self.check(OLD + "import atexit, codecs, os, sys, functools\natexit.register(f)\natexit.register(functools.partial(f))\n",
                   "atexit callback", where=r"^m\.f was registered")
        self.check(OLD + "import os\nos.register_at_fork(before=A().m)\n", "fork hook", where=r"m\.A\.m")
        self.check(OLD + "import codecs\ncodecs.register(f)\ncodecs.register_error('m.error', f)\n", "codec", where=r"m\.f")
        self.check(OLD + "import sys\nsys.addaudithook(lambda *args: None)\n", "audit hook", where=r"<lambda>")
        self.space.exec("'x'.encode('utf-8'), 'x'.encode('latin-1')")
        self.assertEqual(self.both(OLD), ({}, {}))

    def test_the_process(self):
        self.attached()
        before, directory = dict(os.environ), os.getcwd()
        self.addCleanup(os.chdir, directory)
        self.addCleanup(lambda: [os.environ.pop(name) for name in set(os.environ) - set(before)])
        os.environ["MODSPACE_TEST_GOES"] = "x"
        source = OLD + "import os\nos.environ['MODSPACE_TEST_NEW'] = 'secret' + str(%d)\nos.environ.pop('MODSPACE_TEST_GOES', None)\n"
        notes = self.notes(self.store.plan({"m": source % 1}, self.space))
        self.assertRegex(notes["os.environ['MODSPACE_TEST_NEW']"], "was set, for the whole process")
        self.assertRegex(notes["os.environ['MODSPACE_TEST_GOES']"], "was deleted")
        self.assertNotIn("secret", str(notes))
        self.store.update_module("m", OLD + "import os\nos.chdir('/')\n")
        self.assertRegex(self.notes(self.space.sync())["os.getcwd()"], "is '/' now")

    def test_signals(self):
        self.attached()
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        self.store.update_module("m", OLD + "import signal\nsignal.signal(signal.SIGUSR1, lambda *args: None)\n")
        self.assertRegex(self.notes(self.space.sync())[f"signal {int(signal.SIGUSR1)}"], "is handled by m.<lambda> now")

    def test_sys(self):
        self.attached()
        self.check(OLD + "import sys\nclass Finder:\n    def find_spec(*args): ...\nsys.path.append('/nowhere/' + str(id(f)))\n"
                         "sys.meta_path.append(Finder())\nsys.path_hooks.insert(0, f)\nsys.excepthook = f\n",
                   "sys.path", "sys.meta_path", "sys.path_hooks", "sys.excepthook", where="stays")

    def test_stand_ins(self):
        self.attached(other="x = 1")
        self.space.import_("json")
        source = (OLD + "import sys, types\nsys.modules['by_hand'] = types.ModuleType('by_hand')\nsys.modules['thing'] = 3\n"
                  "sys.modules['json'] = types.ModuleType('json')\ndel sys.modules['other']\n")
        plan, notes = self.both(source)
        self.assertEqual(plan, notes)
        self.assertRegex(notes["sys.modules['by_hand']"], "put there by hand, and comes")
        self.assertRegex(notes["sys.modules['thing']"], "is no module")
        self.assertRegex(notes["sys.modules['json']"], "replaced, which is not taken over")
        self.assertRegex(notes["sys.modules['other']"], "deleted, which is not taken over")
        self.assertIn("by_hand", self.space.sys.modules)
        self.assertTrue(hasattr(self.space.sys.modules["json"], "loads") and "other" in self.space.sys.modules)

    def test_warnings_and_logging(self):
        self.attached()
        self.space.exec("import logging, warnings")
        self.check(OLD + "import logging, warnings\nwarnings.filterwarnings('error', 'something ' + str(id(f)))\n"
                         "logging.getLogger('m').addHandler(logging.NullHandler())\nlogging.root.addHandler(logging.NullHandler())\n",
                   "warnings.filters", "logging 'm'", "logging 'root'", where="stays|beside what was there")

    def test_copyreg(self):
        self.attached(other="class Point: ...\n")
        self.check(OLD + "import copyreg, other\nclass B: ...\ncopyreg.dispatch_table.pop(other.Point, None)\n"
                         "copyreg.pickle(other.Point, f)\n", "copyreg", where=r"other\.Point is pickled by m\.f")
        import copyreg
        source = OLD + "import copyreg\ndef reduce(one):\n    return A, ()\ncopyreg.pickle(A, reduce)\n"
        self.store.update_module("m", source)
        self.space.sync()
        self.store.plan({"m": source + "x = 1\n"}, self.space)
        self.store.update_module("m", source + "x = 2\n")
        self.space.sync()
        module = self.space.import_("m")
        mine = {cls: function for cls, function in copyreg.dispatch_table.items() if cls.__module__ == "m"}
        self.assertEqual(mine, {module.A: module.reduce})

    def test_subclasses_of_foreign_classes(self):
        self.attached(base="class Plugin: ...\nclass Asking:\n    seen = []\n    def __init_subclass__(cls):\n        Asking.seen.append(cls)\n")
        self.check(OLD + "import base, enum\nclass Mine(base.Plugin): ...\nclass Error(ValueError): ...\nclass E(enum.Enum): ...\n",
                   where="")
        source = OLD + "import base\nclass New%d(base.Plugin): ...\nclass Child(base.Asking): ...\n"
        self.store.update_module("m", source % 1)
        notes = self.notes(self.space.sync())
        self.assertEqual(sorted(notes), ["m.Child", "m.New1"])
        self.assertRegex(notes["m.New1"], r"is a new subclass of base\.Plugin")
        self.store.update_module("m", source % 1 + "x = 1\n")
        notes = self.notes(self.space.sync())
        self.assertEqual(sorted(notes), ["m.Child"])
        self.assertRegex(notes["m.Child"], r"base\.Asking\.__init_subclass__ was called with a second copy")

    def test_abstract_classes(self):
        self.attached(base="import abc\nclass Shape(abc.ABC): ...\nclass Other(abc.ABC): ...\n")
        source = OLD + "import base\nbase.Shape.register(A)\n"
        self.check(source, "m.A", where=r"was registered with base\.Shape")
        self.space.exec("import base, m\nassert isinstance(m.A(), base.Shape) and not isinstance(m.A(), base.Other)")
        self.assertEqual(self.both("# Again.\n" + source), ({}, {}))

    def test_containers_that_keep_second_copies(self):
        self.attached(registry="items = {}\nclass Box:\n    pass\nbox = Box()\nimport functools\n@functools.singledispatch\n"
                               "def show(value): return 'any'\n")
        source = (OLD + "import registry\nregistry.items['f'] = f\nregistry.box.instance = A()\n"
                  "registry.show.register(A, lambda value: 'A')\n")
        notes = self.notes(self.store.plan({"m": source}, self.space))
        self.assertRegex(notes["app: registry.items['f']"], r"refers to a second copy of m\.f; let the program look it up")
        self.assertRegex(notes["app: registry.box.instance"], r"second copy of m\.A")
        self.assertTrue(any("registry.show" in path for path in notes), notes)

    def test_a_plan_leaves_nothing_behind(self):
        base = "class Plugin: ...\nlast = None\n"
        self.attached(base=base)
        source = (OLD + "import base, weakref\nclass B(base.Plugin):\n    def m(self): ...\nbase.last = weakref.ref(B)\nb = B()\nb.me = b\n"
                  "def g(x=[A]): return g\nfor number in range(3):\n    A.numbers = [A, number]\n")
        space, counts = self.space, []
        self.store.plan({"m": source}, space)
        self.assertEqual(space.eval("__import__('base').Plugin.__subclasses__()"), [])
        self.assertIsNone(space.eval("__import__('base').last()"))
        for _ in range(6):
            self.store.plan({"m": source}, space)
            gc.collect()
            counts.append(len(gc.get_objects()))
        self.assertLess(max(counts[2:]) - min(counts[2:]), 10, counts)
        self.assertEqual(space.eval("sorted(name for name in vars(__import__('m')) if name[:2] != '__')"), ["A", "f"])
        self.assertTrue(space.discard().clean)


if __name__ == "__main__":
    unittest.main()
