"""The finders of a space answer as CPython's do, also where native code answers for them."""

import contextlib
import os
import sys
import time
import unittest

from support import SpaceTest, write_tree

FILES = {
    "plain.py": "",
    "package/__init__.py": "",
    "package/inner.py": "",
    "package/deep/__init__.py": "",
    "package/deep/deeper.py": "",
    "both.py": "",
    "both/other.py": "",
    "regular.py": "",
    "regular/__init__.py": "",
    "names/pace.py": "",
    "data": "",
    "dotted.name.py": "",
    "directory.py/empty": "",
}

#: Runs code and returns which functions of importlib were called for it.
CALLS = """
def calls(code):
    import sys
    called = []
    def note(frame, event, arg):
        if event == "call" and "importlib" in frame.f_code.co_filename:
            called.append(frame.f_code.co_qualname)
    sys.setprofile(note)
    try:
        exec(code, {})
    finally:
        sys.setprofile(None)
    return called
"""


class Answers(SpaceTest):
    def setUp(self):
        self.root = self.tree(FILES)
        self.given = self.space(path=[self.root, *sys.path])
        self.given.sys.dont_write_bytecode = True

    def look(self, spec):
        loader = spec.loader
        told = {"parent": spec.parent, "has_location": spec.has_location, "cached": spec.cached}
        own = {name: value for name, value in vars(spec).items() if name not in ("loader", "_initializing")}
        locations = own["submodule_search_locations"]
        own["submodule_search_locations"] = None if locations is None else (type(locations).__name__, list(locations))
        return list(own.items()), told, type(loader).__name__, getattr(loader, "__dict__", None)

    def test_specs_are_those_of_the_finder_itself(self):
        # The directories are looked into first.
        self.given.exec("import plain, package.deep.deeper, names.pace")
        names = "plain", "package", "package.inner", "package.deep", "package.deep.deeper", "both", "regular", "names", "names.pace"
        for name in names:
            module = self.given.import_(name)
            package = self.given.import_(name.rpartition(".")[0]).__path__ if "." in name else None
            machinery = self.given.eval("__import__('importlib.machinery').machinery")
            spec = machinery.PathFinder.find_spec(name, package)
            self.assertIs(type(module.__spec__), type(spec))
            if spec.loader is None:
                # As loading a namespace package sets it.
                spec.loader = module.__spec__.loader
            self.assertIs(type(module.__spec__.loader), type(spec.loader))
            self.assertEqual(self.look(module.__spec__), self.look(spec), name)
            self.assertEqual(getattr(module, "__file__", None), spec.origin, name)
            self.assertEqual(module.__package__, spec.parent)

    def test_there_is_nothing_else(self):
        self.given.exec("import plain, package.inner")
        for name in "data", "missing", "package.missing", "package.inner.missing", "directory", "dotted.name", "pla\0in", "Plain", "":
            with self.assertRaises((ModuleNotFoundError, ValueError), msg=name) as caught:
                self.given.eval(f"__import__({name!r})")
            self.assertTrue(name == "" or isinstance(caught.exception, ModuleNotFoundError))

    def test_native_code_answers(self):
        self.given.exec(CALLS)
        self.given.exec("import plain, package.inner")
        for name in "both", "regular", "package.deep.deeper":
            called = self.given.eval(f"calls('import {name}')")
            # The first of a directory has it read.
            asked = [one for one in called if one.endswith("find_spec")]
            self.assertIn(asked, ([], ["FileFinder.find_spec"]), name)
        self.assertEqual([one for one in self.given.eval("calls('from package import inner, deep')") if "find" in one], [])
        self.given.exec("import package, sys; del sys.modules['package.inner'], package.inner")
        called = self.given.eval("calls('from package import inner')")
        self.assertEqual([one for one in called if one.endswith("find_spec") or one == "_handle_fromlist"], [])

    def test_a_frozen_module_has_the_spec_that_the_finder_gives_it(self):
        for name in "json", "json.decoder", "tokenize":
            module = self.given.import_(name)
            importer = self.given.eval("__import__('importlib.machinery').machinery.FrozenImporter")
            spec = importer.find_spec(name)
            self.assertIs(module.__spec__.loader, spec.loader)
            self.assertEqual(self.look(module.__spec__)[:2], self.look(spec)[:2])
            self.assertIs(type(module.__spec__.loader_state), type(spec.loader_state))

    def test_a_directory_that_was_changed_is_read_again(self):
        self.given.import_("plain")
        newer = os.path.join(self.root, "newer.py")
        for value in 1, 2:
            write_tree(self.root, {"newer.py": f"value = {value}"})
            later = time.time() + 10 * value
            os.utime(self.root, (later, later))
            self.assertEqual(self.given.import_("newer").value, value)
            os.remove(newer)
            os.utime(self.root, (later + 5, later + 5))
            self.given.exec("import sys; del sys.modules['newer']")
            with self.assertRaises(ModuleNotFoundError):
                self.given.import_("newer")


class Changed(SpaceTest):
    """What a program puts in the place of the finders, or of what they call, is asked."""

    def setUp(self):
        self.root = self.tree(FILES)

    def prepared(self, code):
        space = self.space(path=[self.root, *sys.path])
        space.sys.dont_write_bytecode = True
        space.exec("import importlib.machinery, importlib.util, plain, sys, types\nasked = []\n"
                   "boot, external = importlib._bootstrap, importlib._bootstrap_external\n" + code)
        return space

    def assert_called(self, path, plain, replaced):
        """A function of the program, in the place of `path`, is called where a directory is looked into once more."""
        space = self.prepared(f"import package.deep\nplain = {path}{plain}\n"
                              "def own(*args, **kwargs):\n    asked.append(1)\n    return plain(*args, **kwargs)\n"
                              f"{path} = {replaced}")
        space.import_("package.inner")
        self.assertTrue(space.eval("asked"), path)

    def test_functions_are_called(self):
        for name in "_path_stat", "_path_isfile", "_path_join", "spec_from_file_location":
            self.assert_called(f"external.{name}", "", "own")

    def test_methods_are_called(self):
        for path in "external.FileFinder.find_spec", "external.FileFinder._get_spec", "external.SourceFileLoader.__init__", \
                "boot.ModuleSpec.__init__":
            self.assert_called(path, "", "own")
        for path in "external.PathFinder.find_spec", "external.PathFinder._get_spec", "boot.BuiltinImporter.find_spec", \
                "boot.FrozenImporter.find_spec":
            self.assert_called(path, ".__func__", "classmethod(own)")

    def test_functions_with_other_code_are_called(self):
        for path in "external._path_isfile", "external.FileFinder.find_spec", "external.PathFinder._get_spec", \
                "boot.BuiltinImporter.find_spec":
            space = self.prepared(f"def other(*args): raise KeyError('other code')\n"
                                  f"getattr({path}, '__func__', {path}).__code__ = other.__code__")
            with self.assertRaisesRegex(KeyError, "other code", msg=path):
                space.import_("package.inner")
        space = self.prepared("def parent(self): return 'elsewhere'\nboot.ModuleSpec.parent.fget.__code__ = parent.__code__")
        self.assertEqual(space.import_("both").__package__, "elsewhere")

    def test_properties_are_asked(self):
        space = self.prepared("boot.ModuleSpec.parent = property(lambda self: 'elsewhere')")
        self.assertEqual(space.import_("both").__package__, "elsewhere")
        space = self.prepared("boot.ModuleSpec.has_location = False")
        self.assertFalse(hasattr(space.import_("both"), "__file__"))

    def test_finders_of_a_program_are_asked(self):
        space = self.prepared("""if True:
            class Finder(importlib.machinery.FileFinder):
                def find_spec(self, name, target=None):
                    asked.append((name, target))
                    return super().find_spec(name, target)
            details = importlib.machinery.SourceFileLoader, [".py"]
            sys.path_hooks.insert(0, Finder.path_hook(details))
            sys.path_importer_cache.clear()
        """)
        space.import_("both")
        self.assertIn(("both", None), space.eval("asked"))
        space = self.prepared("finder = sys.path_importer_cache[sys.path[0]]\n"
                              "finder.find_spec = lambda *args: asked.append(args)")
        with self.assertRaises(ModuleNotFoundError):
            space.import_("both")
        self.assertEqual(space.eval("asked"), [("both", None)])
        space = self.prepared("sys.path_importer_cache[sys.path[0]] = None")
        with self.assertRaises(ModuleNotFoundError):
            space.import_("both")

    def test_loaders_of_a_program_are_made(self):
        space = self.prepared("""if True:
            class Loader(importlib.machinery.SourceFileLoader):
                def __init__(self, name, path):
                    asked.append((name, path))
                    super().__init__(name, path)
            details = Loader, [".py"]
            sys.path_hooks.insert(0, importlib.machinery.FileFinder.path_hook(details))
            sys.path_importer_cache.clear()
            import plain, regular
        """)
        space.import_("both")
        self.assertEqual(space.eval("asked[-1]"), ("both", os.path.join(self.root, "both.py")))

    def test_a_finder_may_change_the_path(self):
        other = self.tree({"late.py": "by = 'a later entry'"})
        space = self.prepared(f"""if True:
            class Entry:
                def find_spec(self, name, target=None):
                    if name == "late" and {other!r} not in sys.path:
                        sys.path.append({other!r})
            sys.path.insert(0, "entry")
            sys.path_importer_cache["entry"] = Entry()
        """)
        self.assertEqual(space.import_("late").by, "a later entry")

    def test_entries_may_be_anything(self):
        space = self.prepared("sys.path[:] = [3, None, b'bytes', 'relative', '/nowhere', '', *sys.path]")
        space.import_("package.inner")
        space = self.prepared("sys.path = tuple(sys.path)")
        space.import_("package.inner")
        space = self.prepared("package = types.ModuleType('package')\npackage.__path__ = 7\nsys.modules['package'] = package")
        with self.assertRaises(TypeError):
            space.import_("package.inner")

    def test_portions_are_put_together(self):
        other = self.tree({"names/other.py": ""})
        space = self.prepared(f"sys.path.append({other!r})")
        self.assertEqual(list(space.import_("names").__path__), [os.path.join(root, "names") for root in (self.root, other)])
        space.import_("names.other")
        third = self.tree({"names/third.py": ""})
        space.exec(f"sys.path.append({third!r})")
        space.import_("names.third")

    def test_where_bytecode_is(self):
        for code, end in (
            ("sys.implementation.cache_tag = 'other'", "/__pycache__/both.other.pyc"),
            ("sys.pycache_prefix = '/elsewhere'", f"/elsewhere{self.root}/both.cpython-314.pyc"),
            ("sys.pycache_prefix = '/else\\udcffwhere'", f"/else\udcffwhere{self.root}/both.cpython-314.pyc"),
            ("flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] != '_'}\n"
             "sys.flags = types.SimpleNamespace(**{**flags, 'optimize': 2})", "/__pycache__/both.cpython-314.opt-2.pyc"),
        ):
            space = self.prepared(code)
            found = space.eval("__import__('importlib.util').util.find_spec('both')")
            self.assertTrue(found.cached.endswith(end), found.cached)
            module = space.import_("both")
            self.assertEqual(module.__spec__.cached, found.cached)
        space = self.prepared("sys.implementation.cache_tag = None")
        self.assertIsNone(space.import_("both").__spec__.cached)


class FromLists(SpaceTest):
    def prepared(self):
        return self.space(path=[self.tree({
            **FILES, "package/broken.py": "import nothing_like_it", "package/full.py": "__all__ = ['x']\nx = 1",
            "package/gone.py": "import sys; sys.modules[__name__] = None; raise ModuleNotFoundError(name=__name__)",
        }), *sys.path])

    def test_submodules_are_imported(self):
        space = self.prepared()
        space.exec("from package import inner, deep")
        self.assertEqual(space.eval("inner.__name__, deep.__name__"), ("package.inner", "package.deep"))
        space.exec("from package.full import *")
        self.assertEqual(space.eval("x"), 1)

    def test_what_is_missing_is_no_error_of_the_import_itself(self):
        space = self.prepared()
        self.assertEqual(space.eval("__import__('package', fromlist=('missing', 'inner')).inner.__name__"), "package.inner")
        with self.assertRaisesRegex(ImportError, "cannot import name 'missing' from 'package'"):
            space.exec("from package import missing")

    def test_other_errors_are(self):
        space = self.prepared()
        with self.assertRaisesRegex(ModuleNotFoundError, "nothing_like_it"):
            space.exec("from package import broken")
        space.exec("import sys; sys.modules['package.inner'] = None")
        with self.assertRaisesRegex(ModuleNotFoundError, "package.inner"):
            space.exec("from package import inner")
        with self.assertRaisesRegex(TypeError, "must be str"):
            space.eval("__import__('package', fromlist=(1,))")

    def test_names_are_taken_as_they_are(self):
        root = self.tree({"package/__init__.py": "", "package/\ufffd.py": "raise KeyError('executed')", "package/inner.py": ""})
        space = self.space(path=[root, *sys.path])
        with contextlib.suppress(UnicodeEncodeError):
            space.eval("__import__('package', fromlist=('\\udc80',))")
        self.assertEqual([name for name in space.sys.modules if name.startswith("package.")], [])
        space.exec("""if True:
            import package
            class Name(str):
                def __format__(self, spec): return "package"
                def __str__(self): return "nowhere"
            package.__name__ = Name("elsewhere")
            from package import inner
        """)
        self.assertEqual(space.eval("inner.__name__"), "package.inner")

    def test_functions_of_a_program_are_called(self):
        for name in "_handle_fromlist", "_gcd_import":
            space = self.prepared()
            space.exec(f"import importlib\ncalled = []\nplain = importlib._bootstrap.{name}\n"
                       f"importlib._bootstrap.{name} = lambda *args, **kwargs: called.append(1) or plain(*args, **kwargs)\n"
                       "from package import inner")
            self.assertTrue(space.eval("called"), name)


if __name__ == "__main__":
    unittest.main()
