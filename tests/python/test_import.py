"""The import system of a space keeps CPython's rules."""

import os
import sys
import unittest
import zipfile

from support import SpaceTest, write_tree


class Statements(SpaceTest):
    def test_packages_bind_their_submodules(self):
        space = self.library({"a/__init__.py": "", "a/b/__init__.py": "", "a/b/c.py": "v = 1"})
        space.exec("import a.b.c; import a.b.c as c; from a.b import c as d; from a import b")
        self.assertIs(space.ns["a"].b.c, space.ns["c"])
        self.assertIs(space.ns["c"], space.ns["d"])
        self.assertIs(space.ns["b"], space.sys.modules["a.b"])
        self.assertEqual(space.ns["c"].__package__, "a.b")
        self.assertEqual(space.ns["a"].__spec__.submodule_search_locations, list(space.ns["a"].__path__))

    def test_relative_imports(self):
        space = self.library({
            "p/__init__.py": "from . import q\nfrom .q import r as short", "p/q/__init__.py": "from .. import q as me",
            "p/q/r.py": "from ..s import value\nfrom . import __name__ as package\nfrom .. import s",
            "p/s.py": "value = 5"})
        p = space.import_("p")
        self.assertEqual((p.short.value, p.short.package), (5, "p.q"))
        self.assertIs(p.q.me, p.q)
        with self.assertRaisesRegex(ImportError, "no known parent package"):
            space.exec("from . import x", )
        with self.assertRaisesRegex(ImportError, "beyond top-level package"):
            space.exec("exec('from ... import x', {'__package__': 'p.q', '__name__': 'p.q.z'})")

    def test_star_imports(self):
        space = self.library({
            "listed.py": "__all__ = ['a', '_b']\na = _b = c = 1", "plain.py": "a = 1\n_b = 2\nimport os",
            "pkg/__init__.py": "__all__ = ['sub', 'x']\nx = 1", "pkg/sub.py": "", "wrong.py": "__all__ = ['missing']"})
        for source, expected in (("from listed import *", {"a", "_b"}), ("from plain import *", {"a", "os"}),
                                 ("from pkg import *", {"sub", "x"})):
            names = {}
            space.ns["names"] = names
            space.ns["source"] = source
            space.exec("exec(source, names)")
            self.assertEqual(set(names) - {"__builtins__"}, expected)
        with self.assertRaises(AttributeError):
            space.exec("from wrong import *")

    def test_circular_imports(self):
        space = self.library({"a.py": "import b\nx = 1", "b.py": "import a\nseen = hasattr(a, 'x')",
                              "c.py": "from d import y\nx = 1", "d.py": "from c import x\ny = 1",
                              "p/__init__.py": "from p import one", "p/one.py": "from p import two",
                              "p/two.py": "import p.one as one"})
        self.assertIs(space.import_("a").b.seen, False)
        with self.assertRaisesRegex(ImportError, "partially initialized module 'c'.*circular import"):
            space.import_("c")
        self.assertFalse({"c", "d"} & set(space.sys.modules))
        self.assertIs(space.import_("p").one.two.one, space.sys.modules["p.one"])

    def test_none_in_sys_modules_halts_the_import(self):
        space = self.library({"module.py": ""})
        space.sys.modules["module"] = None
        for source in ("import module", "from module import x", "import module.sub"):
            with self.assertRaises(ModuleNotFoundError) as caught:
                space.exec(source)
            self.assertIn("None in sys.modules", str(caught.exception))
        del space.sys.modules["module"]
        space.exec("import module")

    def test_a_failing_submodule_leaves_its_package_and_nothing_else(self):
        space = self.library({"p/__init__.py": "", "p/good.py": "", "p/bad.py": "import p.good\n1/0",
                              "q/__init__.py": "import q.good\n1/0", "q/good.py": ""})
        with self.assertRaises(ZeroDivisionError):
            space.import_("p.bad")
        self.assertIn("p", space.sys.modules)
        self.assertIn("p.good", space.sys.modules)
        self.assertNotIn("p.bad", space.sys.modules)
        self.assertFalse(hasattr(space.sys.modules["p"], "bad"))
        with self.assertRaises(ZeroDivisionError):
            space.import_("q")
        # As in CPython, a submodule that was loaded stays.
        self.assertNotIn("q", space.sys.modules)
        self.assertIn("q.good", space.sys.modules)
        with self.assertRaises(ZeroDivisionError):
            space.import_("p.bad")

    def test_errors_of_the_from_statement(self):
        space = self.library({"module.py": "", "pkg/__init__.py": "",
                              "odd.py": "def __getattr__(n): raise AttributeError(n)"})
        for source, kind, text in (
                ("from module import x", ImportError, "cannot import name 'x' from 'module'"),
                ("from pkg import x", ImportError, "cannot import name 'x' from 'pkg'"),
                ("from odd import x", ImportError, "cannot import name 'x' from 'odd'"),
                ("import module.x", ModuleNotFoundError, "'module' is not a package"),
                ("import pkg.x", ModuleNotFoundError, "No module named 'pkg.x'"),
                ("import x.y.z", ModuleNotFoundError, "No module named 'x'"),
                ("__import__('')", ValueError, "Empty module name"),
                ("__import__(5)", TypeError, "must be a string|must be str"),
                ("__import__('os', level=-1)", ValueError, "level must be >= 0")):
            with self.subTest(source=source), self.assertRaisesRegex(kind, text):
                space.exec(source)

    def test_module_getattr_serves_from_imports(self):
        space = self.library({"module.py": "def __getattr__(name):\n    if name == 'x': return 7\n"
                                           "    raise AttributeError(name)"})
        space.exec("from module import x")
        self.assertEqual(space.ns["x"], 7)

    def test_a_module_may_replace_itself(self):
        space = self.library({"module.py": "import sys\nclass M: value = 3\nsys.modules[__name__] = M()"})
        self.assertEqual(space.import_("module").value, 3)
        space.exec("import module; from module import value")
        self.assertEqual(space.ns["value"], 3)

    def test_tracebacks_do_not_show_the_import_machinery(self):
        space = self.library({"outer.py": "import inner", "inner.py": "1/0"})
        for load in (lambda: space.import_("outer"), lambda: space.exec("import outer")):
            try:
                load()
            except ZeroDivisionError as error:
                files, trace = [], error.__traceback__
                while trace:
                    files.append(os.path.basename(trace.tb_frame.f_code.co_filename))
                    trace = trace.tb_next
                self.assertEqual(files[-2:], ["outer.py", "inner.py"])
                self.assertFalse([name for name in files if "importlib" in name], files)


class Replacing(SpaceTest):
    def test_a_replaced_import_function_serves_its_space_alone(self):
        root = self.tree({"module.py": "import json", "lazy.py": "def load():\n    import json; return json"})
        one, two = self.pair(path=[root, *sys.path])
        lazy = two.import_("lazy")
        one.exec("""if True:
            import builtins
            calls = []
            original = builtins.__import__
            def replaced(name, *args, **kwargs):
                calls.append(name)
                return original(name, *args, **kwargs)
            builtins.__import__ = replaced
            import module
        """)
        self.assertIn("module", one.ns["calls"])
        self.assertIn("json", one.ns["calls"])
        one.ns["calls"].clear()
        two.exec("import module")
        lazy.load()
        self.assertEqual(one.ns["calls"], [])
        self.assertIs(two.import_("module").json, lazy.load())

    def test_exec_and_eval_with_bare_globals_use_the_spaces_builtins(self):
        one, two = self.pair()
        one.builtins.marker, two.builtins.marker = "one", "two"
        for space, expected in ((one, "one"), (two, "two")):
            space.exec("names = {}; exec('import sys; found = marker', names); value = eval('marker', {})")
            self.assertEqual((space.ns["names"]["found"], space.ns["value"]), (expected, expected))
            self.assertIs(space.ns["names"]["sys"], space.sys)
            self.assertIs(space.eval("eval('lambda: __import__(\"sys\")', {})()"), space.sys)

    def test_own_builtins_in_globals_are_respected(self):
        space = self.space()
        with self.assertRaises(NameError):
            space.exec("exec('len([])', {'__builtins__': {}})")
        with self.assertRaises(ImportError):
            space.exec("exec('import sys', {'__builtins__': {}})")
        self.assertEqual(space.eval("eval('f()', {'__builtins__': {'f': lambda: 4}})"), 4)

    def test_replaced_exec_and_eval_serve_their_space_alone(self):
        one, two = self.pair()
        one.exec("import builtins; builtins.eval = lambda *args: 'replaced'")
        self.assertEqual((one.ns["__builtins__"]["eval"]("1") if isinstance(one.ns["__builtins__"], dict)
                          else one.ns["__builtins__"].eval("1")), "replaced")
        two.exec("value = eval('1')")
        self.assertEqual(two.ns["value"], 1)


class Finders(SpaceTest):
    FINDER = """if True:
        import sys, importlib.abc, importlib.machinery, importlib.util

        class Loader(importlib.abc.Loader):
            def create_module(self, spec): return None
            def exec_module(self, module): module.value = label

        class Finder(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                asked.append(name)
                if name.startswith("made"):
                    return importlib.machinery.ModuleSpec(name, Loader(), origin="made", is_package=True)

        asked = []
        sys.meta_path.insert(0, Finder())
    """

    def test_a_finder_on_meta_path_serves_its_space_alone(self):
        one, two = self.pair()
        one.ns["label"] = "mine"
        one.exec(self.FINDER)
        self.assertEqual(one.import_("made.sub").value, "mine")
        one.exec("import made; from made import other")
        self.assertEqual(one.ns["other"].__spec__.origin, "made")
        with self.assertRaises(ModuleNotFoundError):
            two.import_("made")
        with self.assertRaises(ModuleNotFoundError):
            one.import_("absent")
        self.assertIn("absent", one.ns["asked"])

    def test_a_path_hook_serves_its_space_alone(self):
        one, two = self.pair(path=["/hook:here", *sys.path])
        one.exec("""if True:
            import sys, importlib.machinery
            class Loader:
                def create_module(self, spec): return None
                def exec_module(self, module): exec("value = __name__", module.__dict__)
            class Finder:
                def find_spec(self, name, target=None):
                    if name == "hooked": return importlib.machinery.ModuleSpec(name, Loader())
                def invalidate_caches(self): cleared.append(1)
            def hook(entry):
                if entry.startswith("/hook:"): return Finder()
                raise ImportError
            cleared = []
            sys.path_hooks.insert(0, hook)
            sys.path_importer_cache.clear()
            import importlib; importlib.invalidate_caches()
        """)
        self.assertEqual(one.import_("hooked").value, "hooked")
        one.exec("importlib.invalidate_caches()")
        self.assertTrue(one.ns["cleared"])
        with self.assertRaises(ModuleNotFoundError):
            two.import_("hooked")

    def test_zip_files(self):
        archive = os.path.join(self.tree(), "lib.zip")
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("zipped/__init__.py", "from . import inner\nvalue = 1")
            file.writestr("zipped/inner.py", "value = 2")
            file.writestr("zipped/data.txt", "text")
        one, two = self.pair()
        one.sys.path.insert(0, archive)
        module = one.import_("zipped")
        self.assertEqual((module.value, module.inner.value), (1, 2))
        self.assertEqual(type(module.__loader__).__name__, "zipimporter")
        self.assertEqual(one.eval("__import__('pkgutil').get_data('zipped', 'data.txt')"), b"text")
        one.exec("import importlib.resources\nfile = importlib.resources.files('zipped').joinpath('data.txt')")
        self.assertEqual(one.eval("file.read_text()"), "text")
        with self.assertRaises(ModuleNotFoundError):
            two.import_("zipped")

    def test_namespace_packages_span_path_entries(self):
        roots = [self.tree({f"ns/m{index}.py": f"v = {index}", "ns/deep/x%d.py" % index: ""}) for index in range(2)]
        space = self.space(path=roots[:1])
        self.assertEqual(space.import_("ns.m0").v, 0)
        with self.assertRaises(ModuleNotFoundError):
            space.import_("ns.m1")
        space.sys.path.append(roots[1])
        self.assertEqual(space.import_("ns.m1").v, 1)
        self.assertEqual(list(space.import_("ns").__path__), [os.path.join(root, "ns") for root in roots])
        space.exec("import ns.deep.x0, ns.deep.x1")
        self.assertIsNone(space.import_("ns").__spec__.origin)

    def test_a_regular_package_beats_a_namespace_portion(self):
        space = self.space(path=[self.tree({"pkg/only.py": ""}), self.tree({"pkg/__init__.py": "regular = 1"})])
        self.assertEqual(space.import_("pkg").regular, 1)
        with self.assertRaises(ModuleNotFoundError):
            space.import_("pkg.only")


class Library(SpaceTest):
    def test_import_module_reload_and_the_functions_of_importlib_util(self):
        root = self.tree({"pkg/__init__.py": "", "pkg/sub.py": "value = 1"})
        space = self.space(path=[root, *sys.path])
        space.exec("import importlib, importlib.util as util, sys")
        module = space.eval("importlib.import_module('.sub', 'pkg')")
        self.assertIs(module, space.sys.modules["pkg.sub"])
        write_tree(root, {"pkg/sub.py": "other = 22"})
        self.assertIs(space.eval("importlib.reload(sys.modules['pkg.sub'])"), module)
        self.assertEqual((module.value, module.other), (1, 22))
        self.assertIsNone(space.eval("util.find_spec('absent')"))
        self.assertIs(space.eval("util.find_spec('pkg.sub')"), module.__spec__)
        space.exec("spec = util.find_spec('pkg'); copy = util.module_from_spec(spec); spec.loader.exec_module(copy)")
        self.assertIsNot(space.ns["copy"], space.sys.modules["pkg"])
        self.assertEqual(space.eval("util.resolve_name('..x', 'a.b')"), "a.x")
        with self.assertRaises(ImportError):
            space.exec("import types; importlib.reload(types.ModuleType('absent'))")

    def test_find_spec_agrees_with_import(self):
        parent = self.space(path=[self.tree({"lib/__init__.py": "", "lib/extra.py": "", "up.py": ""})])
        child = self.space(parent, path=[self.tree({"lib/__init__.py": ""})])
        child.exec("import importlib.util as util")
        parent.import_("lib.extra")
        for name in ("lib", "lib.extra", "up", "absent", "logging", "math"):
            try:
                child.import_(name)
                found = True
            except ModuleNotFoundError:
                found = False
            child.sys.modules.pop(name, None)
            with self.subTest(name=name):
                self.assertEqual(child.eval(f"util.find_spec({name!r})") is not None, found)

    def test_spec_from_file_location(self):
        root = self.tree({"plain.py": "import sys\nvalue = sys"})
        space = self.space()
        space.ns["file"] = os.path.join(root, "plain.py")
        space.exec("""if True:
            import importlib.util as util
            spec = util.spec_from_file_location("named", file)
            module = util.module_from_spec(spec)
            spec.loader.exec_module(module)
        """)
        self.assertIs(space.ns["module"].value, space.sys)

    def test_lazy_loader(self):
        space = self.library({"lazy.py": "ran.append(1)\nvalue = 3"})
        ran = space.builtins.ran = []
        space.exec("""if True:
            import importlib.util as util, sys
            spec = util.find_spec("lazy")
            loader = spec.loader = util.LazyLoader(spec.loader)
            module = sys.modules["lazy"] = util.module_from_spec(spec)
            loader.exec_module(module)
        """)
        self.assertEqual(ran, [])
        self.assertEqual(space.eval("__import__('lazy').value"), 3)
        self.assertEqual(ran, [1])

    def test_pkgutil_walks_the_spaces_packages(self):
        space = self.library({"w/__init__.py": "", "w/a.py": "", "w/b/__init__.py": "", "w/b/c.py": ""})
        space.exec("import pkgutil, w; names = [m.name for m in pkgutil.walk_packages(w.__path__, 'w.')]")
        self.assertEqual(space.ns["names"], ["w.a", "w.b", "w.b.c"])
        self.assertIn("w.b", space.sys.modules)
        self.assertNotIn("w.b", sys.modules)
        self.assertIs(space.eval("pkgutil.resolve_name('w.b.c')"), space.import_('w.b.c'))

    def test_runpy_runs_modules_and_files_of_its_space(self):
        root = self.tree({"tool/__init__.py": "",
                          "tool/__main__.py": "import sys\nran = (__name__, sys.argv[0])\nwhere = sys",
                          "script.py": "import sys\nwhere = sys\nname = __name__"})
        space = self.space(path=[root, *sys.path])
        space.exec("import runpy, sys; main = sys.modules.get('__main__')")
        found = space.eval("runpy.run_module('tool', run_name='__main__', alter_sys=True)")
        self.assertEqual(found["ran"], ("__main__", os.path.join(root, "tool", "__main__.py")))
        self.assertIs(found["where"], space.sys)
        self.assertIs(space.sys.modules.get("__main__"), space.ns["main"])
        space.ns["script"] = os.path.join(root, "script.py")
        found = space.eval("runpy.run_path(script, run_name='other')")
        self.assertEqual((found["name"], found["where"]), ("other", space.sys))

    def test_a_space_runs_scripts_and_modules_as_its_main(self):
        root = self.tree({"tool.py": "import sys\nargs, name = sys.argv, __name__",
                          "script.py": "import sys\nargs = sys.argv\nmain = sys.modules['__main__']"})
        space = self.space(path=[root, *sys.path])
        found = space.run_module("tool", argv=["-x"])
        self.assertEqual((found["args"][1:], found["name"]), (["-x"], "__main__"))
        found = self.space().run_path(os.path.join(root, "script.py"), argv=["-y"])
        self.assertEqual(found["args"], [os.path.join(root, "script.py"), "-y"])
        self.assertIs(vars(found["main"]), found)

    def test_resources_and_metadata(self):
        root = self.tree({"res/__init__.py": "", "res/data/file.txt": "content", "tool-1.5.dist-info/METADATA":
                          "Metadata-Version: 2.1\nName: tool\nVersion: 1.5\n", "tool-1.5.dist-info/RECORD": "",
                          "tool-1.5.dist-info/entry_points.txt": "[group]\nname = tool.module:attr\n",
                          "tool/__init__.py": "", "tool/module.py": "attr = 9"})
        other = self.tree({"tool-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 2.0\n"})
        one, two = self.space(path=[root, *sys.path]), self.space(path=[other, *sys.path])
        for space in (one, two):
            space.exec("import importlib.metadata as metadata, importlib.resources as resources")
        self.assertEqual(one.eval("resources.files('res').joinpath('data', 'file.txt').read_text()"), "content")
        self.assertEqual((one.eval("metadata.version('tool')"), two.eval("metadata.version('tool')")), ("1.5", "2.0"))
        self.assertEqual(one.eval("[e.load() for e in metadata.entry_points(group='group')]"), [9])
        with self.assertRaises(ImportError):
            two.eval("metadata.version('res')")

    def test_input_of_the_import_functions_is_the_spaces_own(self):
        space = self.space()
        self.assertIsNot(space.import_("importlib._bootstrap"), sys.modules["_frozen_importlib"])
        self.assertIs(space.eval("__import__('importlib')._bootstrap"), space.sys.modules["_frozen_importlib"])
        self.assertIs(space.eval("__import__('importlib').__import__('sys')"), space.sys)


class Specs(SpaceTest):
    """Loaders may change the spec while its module is made, and programs what importlib makes it with."""

    def finding(self, create="pass", execute="pass"):
        """A space in which a loader runs some code when it makes and when it executes the module `made`."""
        space = self.space()
        space.exec(f"""if True:
            import sys, importlib._bootstrap, importlib.machinery
            class Other:
                def create_module(self, spec): pass
                def exec_module(self, module): module.by = "other"
            class Loader(Other):
                def create_module(self, spec): {create}
                def exec_module(self, module):
                    module.by = "loader"
                    {execute}
            class Finder:
                @staticmethod
                def find_spec(name, path=None, target=None):
                    return importlib.machinery.ModuleSpec("made", Loader()) if name == "made" else None
            sys.meta_path.insert(0, Finder)
        """)
        return space

    def test_the_loader_is_the_one_that_the_spec_has_then(self):
        self.assertEqual(self.finding().import_("made").by, "loader")
        self.assertEqual(self.finding("spec.loader = Other()").import_("made").by, "other")
        with self.assertRaisesRegex(ImportError, "missing loader"):
            self.finding("spec.loader = None").import_("made")

    def test_the_name_is_the_one_that_the_spec_has_then(self):
        space = self.finding("spec.name = 'renamed'")
        space.eval("__import__('made')")
        self.assertIn("renamed", space.sys.modules)
        space = self.finding(execute="module.__spec__.name = 'renamed'; sys.modules['renamed'] = Other")
        self.assertEqual(space.eval("__import__('made')"), space.eval("Other"))

    def test_a_failure_takes_the_module_out_again(self):
        space = self.finding(execute="raise KeyError('made')")
        with self.assertRaisesRegex(KeyError, "made"):
            space.import_("made")
        self.assertNotIn("made", space.sys.modules)

    def test_a_spec_may_lack_what_only_names_things(self):
        space = self.finding()
        space.exec("""if True:
            class Spec:
                name, submodule_search_locations, has_location = "made", None, False
                def __init__(self): self.loader = Loader()
            Finder.find_spec = lambda name, path=None, target=None: Spec() if name == "made" else None
            Spec.origin = None
        """)
        self.assertEqual(space.import_("made").by, "loader")

    def test_functions_of_a_program_are_called(self):
        for name in "_load_unlocked", "module_from_spec", "_init_module_attrs":
            space = self.finding()
            space.exec(f"called = []\nplain = importlib._bootstrap.{name}\n"
                       f"importlib._bootstrap.{name} = lambda *args, **kwargs: called.append(1) or plain(*args, **kwargs)")
            self.assertEqual(space.import_("made").by, "loader")
            self.assertEqual(space.eval("called"), [1], name)


if __name__ == "__main__":
    unittest.main()
