"""Modules of a store are imported, beside those in files, and found again by what names them in a pickle."""

import traceback
import unittest

import modspace
from storing import Stored


class Importing(Stored):
    def test_a_cycle_of_two_new_modules(self):
        self.commit({
            "left": "first = 1\nimport right\ndef both():\n    return first, right.first\nlast = right.seen",
            "right": "first = 2\nimport left\nseen = hasattr(left, 'first'), hasattr(left, 'last')\n"
                     "def both():\n    return left.last, left.both()"})
        space = self.attached()
        left, right = space.import_("left"), space.import_("right")
        self.assertEqual((left.both(), right.both()), ((1, 2), ((True, False), (1, 2))))
        # And of two that are updated.
        self.commit({"left": "first = 10\nimport right\ndef both():\n    return first, right.first\nlast = None",
                     "right": "first = 20\nimport left\ndef both():\n    return left.last, left.both()"})
        space.sync()
        self.assertEqual((left.both(), right.both()), ((10, 20), (None, (10, 20))))

    def test_packages(self):
        self.commit({"pkg.__init__": "from . import one\nfrom .two import value as taken\nname = __name__",
                     "pkg.one": "from .two import value\npackage = __package__", "pkg.two": "value = 2",
                     "pkg.deep.er.mod": "from ...two import value\nfrom .. import er\nfrom . import other",
                     "pkg.deep.er.other": "value = 'other'"})
        space = self.attached()
        space.exec("import pkg.deep.er.mod")
        pkg = space.import_("pkg")
        self.assertEqual((pkg.name, pkg.taken, pkg.one.value, pkg.one.package), ("pkg", 2, 2, "pkg"))
        self.assertEqual((pkg.deep.er.mod.value, pkg.deep.er.mod.other.value), (2, "other"))
        self.assertIs(pkg.deep.er.mod.er, pkg.deep.er)
        for name in ("pkg", "pkg.deep", "pkg.deep.er"):
            module = space.sys.modules[name]
            self.assertEqual((module.__name__, module.__package__, module.__spec__.name), (name, name, name))
            self.assertIsNotNone(module.__spec__.submodule_search_locations)
        self.assertIsNone(space.sys.modules["pkg.one"].__spec__.submodule_search_locations)
        self.assert_absent(space, "pkg.absent", "pkg.deep.absent")
        with self.assertRaises(ImportError):
            space.exec("from pkg import absent")
        with self.assertRaises(ModuleNotFoundError):
            space.exec("import pkg.two.three")

    def test_relative_imports_beyond_the_top(self):
        self.commit({"pkg.mod": "from .. import other", "top": "from . import pkg"})
        space = self.attached()
        for name in ("pkg.mod", "top"):
            with self.assertRaises(ImportError):
                space.import_(name)
            self.assertNotIn(name, space.sys.modules)

    def test_stars_and_all(self):
        self.commit({"pkg.__init__": "__all__ = ['sub', 'shown']\nshown = hidden = 1", "pkg.sub": "value = 1",
                     "pkg.unnamed": "", "plain": "public, _private = 1, 2", "wrong": "__all__ = ['absent']"})
        space = self.attached()
        space.exec("from pkg import *\nfrom plain import *")
        self.assertEqual((space.ns["sub"].value, space.ns["shown"], space.ns["public"]), (1, 1, 1))
        self.assertFalse({"hidden", "unnamed", "_private"} & space.ns.keys())
        with self.assertRaises(AttributeError):
            space.exec("from wrong import *")

    def test_an_import_that_fails_leaves_nothing(self):
        self.commit({"bad": "import good\n1/0", "good": "value = 1",
                     "pkg.__init__": "from . import bad", "pkg.bad": "raise KeyError('stored')"})
        space = self.attached()
        for _ in range(2):
            for name, error in (("bad", ZeroDivisionError), ("pkg", KeyError)):
                with self.assertRaises(error):
                    space.import_(name)
                self.assertNotIn(name, space.sys.modules)
        self.assertEqual(space.import_("good").value, 1)
        self.assertNotIn("pkg.bad", space.sys.modules)

    def test_what_a_module_says_of_itself(self):
        self.commit({"pkg.mod": "'What it is.'\nimport sys\nmyself = sys.modules[__name__]\nspec = __spec__"})
        space = self.attached()
        module = space.import_("pkg.mod")
        self.assertIs(module.myself, module)
        self.assertEqual((module.__doc__, module.__name__, module.__package__), ("What it is.", "pkg.mod", "pkg"))
        self.assertIs(module.__spec__, module.spec)
        self.assertIs(module.__loader__, module.__spec__.loader)
        self.assertIs(modspace.space_of(module), space)
        space.exec("import importlib.util\nspec = importlib.util.find_spec('pkg.mod')")
        self.assertEqual((space.ns["spec"].name, space.ns["spec"].origin), ("pkg.mod", module.__spec__.origin))
        self.assertIn("pkg.mod", repr(module))

    FAILING = "def outer(zero):\n    return inner(zero)\n\n\ndef inner(zero):\n    return 1 / zero  # the sixth line\n"

    def test_tracebacks_show_the_stored_lines(self):
        self.commit({"pkg.failing": self.FAILING})
        space = self.attached()
        module = space.import_("pkg.failing")
        space.ns["module"] = module
        space.exec("import traceback\ndef told():\n    try:\n        module.outer(0)\n    except ZeroDivisionError:\n"
                   "        return traceback.format_exc()")

        def check(*lines):
            try:
                module.outer(0)
            except ZeroDivisionError as error:
                text = "".join(traceback.format_exception(error))
            for told in (space.eval("told()"), text):
                for line in lines:
                    self.assertIn(line, told)
        check("return inner(zero)", "return 1 / zero  # the sixth line", "line 6, in inner", "pkg")
        # After an update they are the new ones.
        self.store.update_module("pkg.failing", "# A new first line.\n" + self.FAILING.replace("sixth", "seventh"))
        space.sync()
        check("return 1 / zero  # the seventh line", "line 7, in inner")

    def test_the_traceback_of_a_program_shows_them(self):
        done = self.program(f"""\
            import modspace
            store = modspace.Store.memory()
            store.new_module("failing", {self.FAILING!r})
            modspace.current().attach(store)
            import failing
            failing.outer(0)
            """)
        self.assertEqual(done.returncode, 1)
        for line in ("return 1 / zero  # the sixth line", "line 6, in inner", "ZeroDivisionError"):
            self.assertIn(line, done.stderr)

    def test_tracebacks_of_imports(self):
        self.commit({"first": "import second", "second": "\n\nvalue = undefined"})
        space = self.attached()
        frames = []
        try:
            space.import_("first")
        except NameError as error:
            frames = traceback.extract_tb(error.__traceback__)
        self.assertEqual([(frame.lineno, frame.line) for frame in frames[-2:]],
                         [(1, "import second"), (3, "value = undefined")])
        self.assertFalse([frame for frame in frames if "importlib" in frame.filename])

    def test_what_does_not_compile_is_not_stored(self):
        with self.assertRaises(SyntaxError) as caught:
            self.commit({"good": "x = 1", "worse": "x = 1\ndef f(:\n"})
        self.assertEqual(self.store.modules(), [])
        self.assertEqual(caught.exception.lineno, 2)
        self.assertIn("worse", caught.exception.filename)

    def test_inspect_finds_the_source(self):
        function, method = "def f(x):\n    return x\n", "    def m(self):\n        return 1\n"
        self.commit({"pkg.mod": f"import os\n\n{function}\nclass C:\n{method}"})
        space = self.attached()
        space.exec("import inspect, pkg.mod")
        for expression, source in (("pkg.mod", f"import os\n\n{function}\nclass C:\n{method}"), ("pkg.mod.f", function),
                                   ("pkg.mod.C", f"class C:\n{method}"), ("pkg.mod.C.m", method)):
            with self.subTest(expression=expression):
                self.assertEqual(space.eval(f"inspect.getsource({expression})"), source)
        self.assertTrue(space.eval("inspect.getmodule(pkg.mod.f) is pkg.mod"))
        self.store.update_module("pkg.mod", "x = 1\ndef f(x):\n    return 2 * x\n")
        space.sync()
        self.assertEqual(space.eval("inspect.getsource(pkg.mod.f)"), "def f(x):\n    return 2 * x\n")

    def test_a_declared_encoding_and_a_mark_at_the_beginning(self):
        # A str has been decoded.
        self.commit({"declared": "# -*- coding: latin-1 -*-\nvalue = 'é'\n", "marked": "\ufeffvalue = 'é'\n"})
        space = self.attached()
        self.assertEqual([space.import_(name).value for name in ("declared", "marked")], ["é", "é"])


class Ordinary(Stored):
    """Modules of the store and modules in files."""

    def test_they_import_each_other(self):
        self.commit({"stored": "import ordinary\nvalue = 'stored'\ndef both():\n    return value, ordinary.value",
                     "below": "value = 'below'"})
        space = self.attached(files={"ordinary.py": "value = 'ordinary'\ndef load():\n    import below, stored\n"
                                                    "    return below.value, stored.both()\n",
                                     "above.py": "import stored\nfrom stored import both"})
        above = space.import_("above")
        self.assertIs(above.stored, space.import_("stored"))
        self.assertEqual(above.both(), ("stored", "ordinary"))
        self.assertEqual(space.import_("ordinary").load(), ("below", ("stored", "ordinary")))
        self.commit({"stored": "import ordinary\nvalue = 'new'\ndef both():\n    return value, ordinary.value, 2"})
        space.sync()
        self.assertEqual(above.both(), ("new", "ordinary", 2))
        self.assertIs(above.both, above.stored.both)

    def test_packages_in_one_place_and_the_other(self):
        self.commit({"stored.sub": "import filed.sub\nvalue = filed.sub.value", "stored.__init__": "value = 'package'"})
        space = self.attached(files={"filed/__init__.py": "", "filed/sub.py": "from stored import value"})
        self.assertEqual(space.import_("stored.sub").value, "package")

    def test_a_stored_module_shadows_a_file(self):
        self.commit({"both": "value = 'stored'", "pkg.sub": "value = 'stored'"})
        files = {"both.py": "value = 'file'", "pkg/__init__.py": "", "pkg/sub.py": "value = 'file'",
                 "only.py": "value = 'file'"}
        space = self.attached(files=files)
        self.assertEqual([space.import_(name).value for name in ("both", "pkg.sub", "only")],
                         ["stored", "stored", "file"])

    def test_files_win_when_the_finder_is_moved_back(self):
        self.commit({"both": "value = 'stored'", "stored": "value = 'stored'"})
        space = self.space()
        space.sys.path.insert(0, self.tree({"both.py": "value = 'file'"}))
        before = list(space.sys.meta_path)
        space.attach(self.store)
        [finder] = [one for one in space.sys.meta_path if one not in before]
        space.sys.meta_path.remove(finder)
        space.sys.meta_path.append(finder)
        self.assertEqual([space.import_(name).value for name in ("both", "stored")], ["file", "stored"])
        # A sync does not move it, and leaves the file's module alone.
        self.commit({"both": "value = 'new'", "stored": "value = 'new'"})
        space.sync()
        self.assertIs(space.sys.meta_path[-1], finder)
        self.assertEqual([space.import_(name).value for name in ("both", "stored")], ["file", "new"])
        space.detach()
        self.assertEqual(list(space.sys.meta_path), before)

    def test_a_file_appears_when_the_stored_module_goes(self):
        self.commit({"both": "value = 'stored'"})
        space = self.attached(files={"both.py": "value = 'file'"})
        self.assertEqual(space.import_("both").value, "stored")
        self.commit({"both": None})
        space.sync()
        self.assertEqual(space.import_("both").value, "file")

    def test_modules_put_into_sys_modules_come_first(self):
        self.commit({"stored": "value = 1"})
        space = self.attached()
        space.sys.modules["stored"] = stand_in = object()
        self.assertIs(space.import_("stored"), stand_in)
        self.commit({"stored": "value = 2"})
        space.sync()
        self.assertIs(space.import_("stored"), stand_in)


class Pickling(Stored):
    SOURCE = """\
class Point:
    def __init__(self, x):
        self.x = x

    class Inner:
        value = 1

def function():
    return 1
"""

    def test_instances_classes_functions_and_modules(self):
        self.commit({"pkg.shapes": self.SOURCE,
                     "more": "from pkg.shapes import Point\nclass Point3(Point):\n    z = 3"})
        one, two = self.attached(), self.attached()
        one.exec("""if True:
            import pickle, pkg.shapes as shapes, more
            point = more.Point3(5)
            things = [point, point, shapes.Point, shapes.Point.Inner(), shapes.function, shapes]
            data = {protocol: pickle.dumps(things, protocol) for protocol in range(2, 6)}
            """)
        for space in (one, two):
            space.ns["data"] = one.ns["data"]
            space.exec("import pickle\nread = {protocol: pickle.loads(data[protocol]) for protocol in data}")
            shapes, more = space.import_("pkg.shapes"), space.import_("more")
            for protocol, read in space.ns["read"].items():
                with self.subTest(space=space.name, protocol=protocol):
                    self.assertIs(type(read[0]), more.Point3)
                    self.assertIs(read[0], read[1])
                    self.assertEqual((read[0].x, read[0].z), (5, 3))
                    self.assertIs(read[2], shapes.Point)
                    self.assertIs(type(read[3]), shapes.Point.Inner)
                    self.assertIs(read[4], shapes.function)
                    self.assertIs(read[5], shapes)

    def test_what_was_written_before_an_update_is_read_after_it(self):
        self.commit({"shapes": self.SOURCE})
        space = self.attached()
        space.exec("import pickle, shapes\nwritten = pickle.dumps(shapes.Point(5))\n"
                   "function = pickle.dumps(shapes.function)")
        self.commit({"shapes": "class Point:\n    def twice(self):\n        return 2 * self.x\n"})
        space.sync()
        self.assertEqual(space.eval("pickle.loads(written).twice()"), 10)
        self.assertTrue(space.eval("pickle.loads(pickle.dumps(pickle.loads(written))).x == 5"))
        with self.assertRaises(AttributeError):
            space.eval("pickle.loads(function)")
        self.store.remove_module("shapes")
        space.sync()
        with self.assertRaises(ModuleNotFoundError):
            space.eval("pickle.loads(written)")

    def test_copies(self):
        self.commit({"shapes": self.SOURCE})
        space = self.attached()
        space.exec("import copy, shapes\npoint = shapes.Point([1])\nread = copy.deepcopy([point, shapes.Point])")
        point, kind = space.ns["read"]
        self.assertIs(type(point), space.import_("shapes").Point)
        self.assertEqual((point.x, point.x is space.ns["point"].x), ([1], False))
        self.assertIs(kind, type(point))


if __name__ == "__main__":
    unittest.main()
