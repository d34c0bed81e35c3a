"""Bad input gives a clear exception that names the space and the thing, and every other space works on."""

import os
import sys
import unittest

import modspace
from support import SpaceTest, run_program

ODD_NAMES = ["a\0b", "\0", "\ud800", "a.\udfff", ".a", "..", "a..b", "a.", "x" * 10_000, "x." * 5_000 + "x", " ", "a b",
             "a/b", "../a", "a\nb", "é", "\u202e"]


class Surviving(SpaceTest):
    def setUp(self):
        self.beside = self.space(name="beside")

    def tearDown(self):
        self.assertEqual(self.beside.eval("__import__('json').dumps([1])"), "[1]")
        fresh = modspace.ModuleSpace(name="fresh")
        self.assertEqual(fresh.eval("__import__('logging').__name__"), "logging")
        fresh.discard()

    def fails(self, function, kind, *words):
        """`function` raises `kind`, and message and notes have the words. Returns the exception."""
        try:
            function()
        except BaseException as error:
            self.assertIsInstance(error, kind)
            self.assertNotIn("panicked", str(error))
            text = "\n".join([str(error), *getattr(error, "__notes__", ())])
            for word in words:
                self.assertIn(word, text)
            return error
        self.fail(f"nothing raised; {kind} expected")


class Spaces(Surviving):
    def test_foreign_objects_as_parents_are_refused(self):
        for parent in (5, "root", object(), modspace, sys, modspace.ModuleSpace, [modspace.root]):
            self.fails(lambda: modspace.ModuleSpace(parent), TypeError, "parent", type(parent).__name__)

    def test_a_space_that_was_never_initialised_is_refused(self):
        class Half(modspace.ModuleSpace):
            def __init__(self):
                pass
        half = Half()
        self.fails(lambda: modspace.ModuleSpace(half), RuntimeError, "not initialised")
        for use in (lambda: half.exec("1"), lambda: half.sys, lambda: half.name, half.__enter__, half.discard,
                    lambda: half.import_("os"), lambda: half.modules):
            self.fails(use, RuntimeError, "not initialised")
        repr(half)

    def test_a_space_cannot_become_its_own_parent_or_descendant(self):
        space = self.space(name="cyclic")
        child = self.space(space, name="child")
        self.fails(lambda: space.__init__(child), TypeError)
        self.fails(lambda: setattr(space, "parent", child), AttributeError)
        self.assertIs(space.parent, modspace.current())

    def test_a_closed_space_says_so(self):
        space = self.space(name="closed one")
        space.exec("def load(): import colorsys\ndef answer(): return 42")
        functions = dict(space.ns)
        space.discard()
        for use in (lambda: space.exec("1"), lambda: space.eval("1"), lambda: space.import_("os"), lambda: space.sys,
                    lambda: space.ns, lambda: space.modules, lambda: space.builtins, lambda: space.call(print),
                    lambda: space.run_path("x.py"), lambda: space.run_module("os"), space.__enter__,
                    lambda: modspace.ModuleSpace(space)):
            self.fails(use, modspace.SpaceClosedError, "closed one")
        self.assertTrue(space.closed)
        self.assertEqual(space.name, "closed one")
        self.assertIn("closed", repr(space))
        space.discard()
        self.assertEqual(functions["answer"](), 42)
        self.fails(functions["load"], modspace.SpaceClosedError, "closed one")

    def test_the_root_and_a_space_in_use_cannot_be_discarded(self):
        self.fails(modspace.root.discard, modspace.SpaceError, "root")
        self.fails(modspace.current().discard, modspace.SpaceError)
        space = self.space(name="busy")
        space.ns["space"] = space
        self.fails(lambda: space.exec("space.discard()"), modspace.SpaceError, "busy")
        child = self.space(space, name="child of busy")
        self.fails(space.discard, modspace.SpaceError, "child of busy")
        self.assertFalse(space.closed or child.closed)

    def test_names_of_spaces_are_checked(self):
        for name in ("", "a\0b", "\ud800", "x" * 10_000, "a\nb"):
            self.fails(lambda: modspace.ModuleSpace(name=name), ValueError, "name")
        for name in (5, b"x", ["x"]):
            self.fails(lambda: modspace.ModuleSpace(name=name), TypeError, "name")
        self.assertEqual(self.space(name="ü ☃").name, "ü ☃")

    def test_other_arguments_are_checked(self):
        for options in ({"path": "one"}, {"path": 5}, {"path": [5]}, {"path": [b"x"]}, {"path": {"a": 1}},
                        {"argv": "x"}, {"argv": [5]}, {"delegation": 5}, {"share": 5}, {"unknown": 1}):
            self.fails(lambda: modspace.ModuleSpace(**options), TypeError)
        for options in ({"path": ["a\0b"]}, {"path": ["\ud800"]}, {"argv": ["\0"]}):
            self.fails(lambda: modspace.ModuleSpace(**options), ValueError)

    def test_odd_entries_put_on_sys_path_later_are_skipped(self):
        space = self.library({"module.py": ""})
        space.sys.path[:0] = [5, None, b"bytes", "x" * 10_000, object(), __file__, "/dev/null"]
        space.import_("module")
        self.fails(lambda: space.import_("absent"), ModuleNotFoundError, "absent")


class Names(Surviving):
    def test_odd_module_names_are_not_found_and_nothing_else(self):
        space = self.space(name="asked")
        space.exec("import importlib")
        for name in ODD_NAMES:
            for function in (space.import_, space.builtins.__import__, space.eval("importlib.import_module")):
                with self.subTest(name=ascii(name)[:40], function=function):
                    self.fails(lambda: function(name), (ImportError, ValueError, TypeError))

    def test_an_error_for_a_missing_module_names_the_space_and_the_module(self):
        space = self.space(name="asked")
        for name in ("absent", "x" * 10_000, "é"):
            self.fails(lambda: space.import_(name), ModuleNotFoundError, "asked", name)

    def test_names_that_are_no_strings_are_refused(self):
        space = self.space()
        for name in (5, None, b"os", ["os"], object()):
            self.fails(lambda: space.import_(name), TypeError)
            self.fails(lambda: space.builtins.__import__(name), TypeError)
            self.fails(lambda: space.run_module(name), TypeError)
        self.fails(lambda: space.import_(""), ValueError, "Empty module name")

    def test_a_subclass_of_str_with_ideas_of_its_own(self):
        class Odd(str):
            def __eq__(self, other): raise ZeroDivisionError
            __hash__ = str.__hash__
            def rpartition(self, dot): raise ZeroDivisionError
        space = self.library({"module.py": ""})
        try:
            space.import_(Odd("module"))
        except ZeroDivisionError:
            pass
        space.import_("module")

    def test_source_that_is_none(self):
        space = self.space(name="asked")
        for source in (5, None, ["x"]):
            self.fails(lambda: space.exec(source), TypeError)
        self.fails(lambda: space.exec("1 +"), SyntaxError)
        self.fails(lambda: space.eval("x = 1"), SyntaxError)
        self.fails(lambda: space.exec("a\0b"), (SyntaxError, ValueError))
        self.fails(lambda: space.exec("'\ud800'"), (SyntaxError, UnicodeError))
        self.fails(lambda: space.run_path("/no/such/file.py"), OSError, "/no/such/file.py")
        self.fails(lambda: space.run_module("no.such.module"), ImportError, "no")
        self.fails(lambda: space.run_path("a\0b"), (ValueError, OSError))


class Sources(Surviving):
    def check(self, files, kind, *words, name="module"):
        space = self.library(files, name="victim")
        error = self.fails(lambda: space.import_(name), kind, "victim", *words)
        self.assertNotIn(name, space.sys.modules)
        self.assertEqual(space.eval("__import__('json').loads('[2]')"), [2])
        self.fails(lambda: space.exec(f"import {name}"), kind)
        return error

    def test_unreadable_sources(self):
        root = self.tree({"target.py": ""})
        os.symlink(os.path.join(root, "nowhere.py"), os.path.join(root, "dangling.py"))
        os.symlink(os.path.join(root, "loop.py"), os.path.join(root, "loop.py"))
        space = self.space(name="victim", path=[root])
        for name in ("dangling", "loop"):
            self.fails(lambda: space.import_(name), ImportError, "victim", name)
        os.mkdir(os.path.join(root, "folder.py"))
        self.fails(lambda: space.import_("folder"), ImportError, "victim", "folder")
        os.symlink("/proc/self/mem", os.path.join(root, "memory.py"))
        self.fails(lambda: space.import_("memory"), OSError, "victim", "memory")

    def test_binary_and_wrongly_encoded_sources(self):
        for content in (b"\x7fELF\x02\x01\x01\0\0", b"\xff\xfe\x00\x01", b"x = '\xe9'", b"x = 1\0", b"\0",
                        b"\x89PNG\r\n\x1a\n", b"# -*- coding: utf-8 -*-\nx = '\xff'",
                        b"# -*- coding: no-such-codec -*-\n", b"\xef\xbb\xbf# coding: latin-1\n",
                        b"x = \\\n", b"\xf0\x28\x8c\x28", b"def f(:\n", b"\x1a"):
            with self.subTest(content=content):
                error = self.check({"module.py": content}, (SyntaxError, UnicodeError, ValueError), "module")
                self.assertNotIsInstance(error, SystemError)

    def test_declared_encodings_are_honoured(self):
        space = self.library({"latin.py": b"# -*- coding: latin-1 -*-\nx = '\xe9'",
                              "bom.py": b"\xef\xbb\xbfx = '\xc3\xa9'", "crlf.py": b"x = 'e'\r\ny = 1\r\n",
                              "empty.py": b""})
        self.assertEqual((space.import_("latin").x, space.import_("bom").x, space.import_("crlf").y), ("é", "é", 1))
        space.import_("empty")

    def test_deeply_nested_source(self):
        # The parser or the compiler may refuse it, but must not take the process down.
        done = self.program("try:\n    import deep\nexcept (SyntaxError, RecursionError, MemoryError): pass\n"
                            "print('alive')",
                            {"deep.py": "x = " + "(" * 20000 + "1" + ")" * 20000})
        self.assertEqual((done.returncode, done.stdout), (0, "alive\n"))

    def test_a_module_that_raises_anything_at_all(self):
        for source, kind in (("1/0", ZeroDivisionError), ("raise KeyboardInterrupt", KeyboardInterrupt),
                             ("raise SystemExit(3)", SystemExit), ("import sys; sys.exit('bye')", SystemExit),
                             ("class E(BaseException): pass\nraise E", BaseException),
                             ("raise ImportError", ImportError), ("raise GeneratorExit", GeneratorExit),
                             ("raise StopIteration", StopIteration), ("assert False", AssertionError),
                             ("import module_that_is_absent", ModuleNotFoundError)):
            with self.subTest(source=source):
                self.check({"module.py": source}, kind)

    def test_a_package_that_raises_in_the_middle(self):
        error = self.check({"module/__init__.py": "import module.good\nimport module.bad", "module/good.py": "",
                            "module/bad.py": "raise OSError('in the middle')"}, OSError, "in the middle")
        self.assertNotIsInstance(error, SystemError)

    def test_a_module_that_recurses_without_end(self):
        self.check({"module.py": "def f(): return f()\nf()"}, RecursionError)
        self.check({"module.py": "class A:\n    def __getattr__(self, n): return getattr(self, n + 'x')\nA().x"},
                   RecursionError)
        self.check({"module.py": "import sys, importlib\ndel sys.modules[__name__]\nimportlib.import_module(__name__)"},
                   RecursionError)


class Hostile(Surviving):
    def test_a_module_that_takes_itself_out_of_sys_modules(self):
        space = self.library({"module.py": "import sys\ndel sys.modules[__name__]", "pkg/__init__.py": "",
                              "pkg/sub.py": "import sys\nsys.modules.pop('pkg'); sys.modules.pop('pkg.sub')"},
                             name="victim")
        # CPython takes the module back from sys.modules and reports a KeyError.
        self.fails(lambda: space.import_("module"), (KeyError, ImportError), "module")
        self.fails(lambda: space.import_("pkg.sub"), (KeyError, ImportError), "pkg")
        space.import_("pkg")

    def test_a_module_that_replaces_sys_modules(self):
        for replacement in ("{}", "dict(sys.modules)", "5", "None", "[]", "type('D', (dict,), {})(sys.modules)"):
            space = self.library({"module.py": f"import sys\nsys.modules = {replacement}\nimport colorsys"},
                                 name="victim")
            with self.subTest(replacement=replacement):
                try:
                    space.import_("module")
                except Exception as error:
                    self.assertNotIsInstance(error, SystemError)
                try:
                    space.exec("import json")
                except Exception as error:
                    self.assertNotIsInstance(error, SystemError)

    def test_a_sys_modules_that_fights_back(self):
        space = self.space(name="victim")
        space.exec("""if True:
            import sys
            class Hostile(dict):
                def __getitem__(self, name): raise OSError("hostile")
                def get(self, *args): raise OSError("hostile")
                def __contains__(self, name): raise OSError("hostile")
            sys.modules = Hostile(sys.modules)
        """)
        self.fails(lambda: space.exec("import colorsys"), Exception)

    def test_a_module_that_empties_sys_modules(self):
        space = self.library({"module.py": "import sys\nsys.modules.clear()"}, name="victim")
        self.fails(lambda: space.import_("module"), (KeyError, ImportError))
        space.exec("import json; assert json.dumps([1]) == '[1]'")

    def test_a_module_that_replaces_or_empties_builtins(self):
        for source in ("import builtins\nbuiltins.__import__ = 5", "import builtins\nvars(builtins).clear()",
                       "import builtins\ndel builtins.__import__",
                       "import builtins, sys\nsys.modules['builtins'] = None", "__builtins__ = 5\nimport json",
                       "global __builtins__\n__builtins__ = {}",
                       "import builtins\n"
                       "del builtins.__build_class__, builtins.isinstance, builtins.type, builtins.Exception"):
            space = self.library({"module.py": source}, name="victim")
            with self.subTest(source=source):
                for use in (lambda: space.import_("module"), lambda: space.exec("import colorsys"),
                            lambda: space.exec("class C: pass")):
                    try:
                        use()
                    except Exception as error:
                        self.assertNotIsInstance(error, SystemError)
                space.discard()

    def test_hostile_importers(self):
        space = self.library({"module.py": ""}, name="victim")
        for source in ("sys.meta_path = 5", "sys.meta_path = None", "sys.meta_path = [5]", "sys.path_hooks = 5",
                       "sys.path = 5", "sys.path = None", "sys.path_importer_cache = 5",
                       "sys.meta_path; del sys.meta_path", "del sys.path", "del sys.modules",
                       "sys.meta_path.insert(0, type('F', (), {'find_spec': lambda *a: 5})())",
                       "sys.meta_path.insert(0, type('F', (), {'find_spec': lambda *a: 1/0})())"):
            victim = self.library({"module.py": ""}, name="victim")
            with self.subTest(source=source):
                victim.exec("import sys; " + source)
                try:
                    victim.exec("import module")
                except Exception as error:
                    self.assertNotIsInstance(error, SystemError)
        space.import_("module")

    def test_odd_objects_as_modules(self):
        space = self.space(name="victim")
        space.exec("""if True:
            import sys
            class Odd:
                def __getattribute__(self, name): raise OSError(name)
            class Spec:
                @property
                def _initializing(self): raise OSError("spec")
            class Module:
                __spec__ = Spec()
            sys.modules["odd"] = Odd()
            sys.modules["module"] = Module()
            sys.modules["number"] = 5
            sys.modules["package"] = type("P", (), {"__path__": 5})()
        """)
        for name in ("odd", "module", "number", "package.sub", "number.sub", "odd.sub"):
            for source in (f"import {name}", f"from {name} import x"):
                with self.subTest(source=source):
                    try:
                        space.exec(source)
                    except Exception as error:
                        self.assertNotIsInstance(error, SystemError)

    def test_stand_ins_that_native_code_trips_over_raise(self):
        """Natives that want a class of a module panic when a stand-in has none; that must come out as exceptions."""
        done = self.program("""\
            import modspace
            ways = {
                "exec": lambda space, module: space.exec(f"import {module}\\n{module}.trip()"),
                "eval": lambda space, module: space.eval(f"__import__({module!r}).trip()"),
                "call": lambda space, module: space.call(space.import_(module).trip),
                "import_": lambda space, module: space.import_("at_once_" + module),
                "run_module": lambda space, module: space.run_module("at_once_" + module),
            }
            for name in ("zlib", "lzma"):
                for way, run in ways.items():
                    space = modspace.ModuleSpace(name="victim")
                    try:
                        run(space, "trip_" + name)
                    except Exception as error:
                        print(name, "raised in", way)
                    assert space.eval("__import__('json').dumps([1])") == "[1]"
                    try:
                        modspace.ModuleSpace().exec("import zlib; zlib.decompress(b'bad')")
                    except Exception as error:
                        print(type(error).__name__)
            """, {
            "trip_zlib.py": "import sys, zlib\ndef trip():\n    sys.modules['zlib'] = object()\n"
                            "    zlib.decompress(b'bad')",
            "trip_lzma.py": "import sys, lzma\ndef trip():\n    sys.modules['_lzma'] = sys.modules['lzma'] = object()\n"
                            "    lzma.decompress(b'bad')",
            "at_once_trip_zlib.py": "import trip_zlib\ntrip_zlib.trip()",
            "at_once_trip_lzma.py": "import trip_lzma\ntrip_lzma.trip()"})
        lines = [f"{name} raised in {way}\nerror\n" for name in ("zlib", "lzma")
                 for way in ("exec", "eval", "call", "import_", "run_module")]
        self.assertEqual(done.stdout, "".join(lines))
        self.assertNotIn("panicked", done.stderr)
        self.assertEqual(done.returncode, 0)

    def test_stand_ins_of_platform_modules_hurt_their_space_alone(self):
        for name in ("collections", "enum", "re", "types", "typing", "os", "io", "codecs", "encodings", "threading",
                     "warnings", "builtins", "sys", "importlib", "_frozen_importlib", "_frozen_importlib_external",
                     "zipimport", "_imp", "_thread", "marshal", "posix", "_io", "_warnings", "time", "traceback",
                     "linecache", "atexit", "modspace"):
            space = self.space(name="victim")
            space.sys.modules[name] = object()
            with self.subTest(name=name):
                for source in ("import dataclasses, logging", "import json; json.loads('[1')", "print(end='')", "1/0",
                               "import warnings; warnings.warn_explicit('x', DeprecationWarning, 'f', 1)",
                               "open('/dev/null').close()", "'x'.encode('cp500')", "raise SystemExit"):
                    try:
                        space.exec(source)
                    except (Exception, SystemExit) as error:
                        self.assertNotIsInstance(error, SystemError)
                space.discard()
                self.assertEqual(self.beside.eval(f"type(__import__({name!r})).__name__"), "module")

    def test_finalizers_that_import_while_the_space_goes(self):
        space = self.space(name="victim")
        reports = []
        space.sys.unraisablehook = lambda report: reports.append(report.exc_type)
        space.exec("class Late:\n    def __del__(self):\n        import colorsys\nlate = Late(); late.me = late")
        space.discard()
        self.assertEqual(reports, [modspace.SpaceClosedError])


class Manifests(Surviving):
    def test_a_malformed_manifest_is_explained(self):
        cases = {
            "": "entry", "entry = 5": "entry", "this is no toml": "space.toml",
            "entry = \"main.py\"\nunknown = 1": "unknown", "entry = \"main.py\"\ndelegation = \"sideways\"": "sideways",
            "entry = \"main.py\"\npath = \"x\"": "path", "entry = \"main.py\"\nshare = [\"a b\"]": "a b",
            "entry = \"main.py\"\nname = \"\"": "name",
            "entry = \"main.py\"\n[[space]]\nname = \"c\"\nentry = \"x\"": "entry",
            "entry = \"main.py\"\nfresh = [1]": "fresh", "entry = \"absent.py\"": "absent",
            "entry = \"main.py\"\n[[space]]\ndelegation = 3": "delegation",
            "entry = \"a\\u0000b\"": "space.toml", "entry = \"\"": "entry",
        }
        for content, word in cases.items():
            root = self.tree({"space.toml": content, "main.py": "print('ran')"})
            done = run_program(root)
            with self.subTest(content=content):
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(word, done.stderr)
                self.assertNotIn("panicked", done.stderr)
                self.assertEqual(done.stdout, "")

    def test_manifests_that_cannot_be_read(self):
        root = self.tree({"space.toml": b"\xff\xfe\x00"})
        done = run_program(root)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("space.toml", done.stderr)


if __name__ == "__main__":
    unittest.main()
