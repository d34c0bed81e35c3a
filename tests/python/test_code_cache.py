"""Source is compiled once per process; a changed file is never served stale, and spaces do not share executed code."""

import contextlib
import importlib.util
import os
import py_compile
import shutil
import sys
import time
import types
import unittest

from support import STRESS, SpaceTest, write_tree


class Stale(SpaceTest):
    def setUp(self):
        self.root = self.tree()
        self.file = os.path.join(self.root, "module.py")

    def write(self, value):
        """Writes a source of constant size, with constant times."""
        with open(self.file, "w") as file:
            file.write(f"value = {value:04}\n".replace("= 0", "= 1"))
        os.utime(self.file, ns=(10**18, 10**18))

    def value(self, dont_write_bytecode):
        space = self.space(path=[self.root, *sys.path])
        space.sys.dont_write_bytecode = dont_write_bytecode
        return space.import_("module").value

    def test_a_change_of_same_size_and_time_is_seen_without_bytecode(self):
        for value in range(1000, 1005 + STRESS):
            self.write(value)
            self.assertEqual(self.value(True), value)

    def test_a_change_is_seen_after_another_space_compiled_the_file(self):
        self.write(1000)
        one = self.space(path=[self.root])
        one.sys.dont_write_bytecode = True
        self.assertEqual(one.import_("module").value, 1000)
        self.write(1001)
        self.assertEqual(self.value(True), 1001)
        one.exec("import importlib, module; importlib.reload(module)")
        self.assertEqual(one.sys.modules["module"].value, 1001)

    def test_a_change_right_after_bytecode_was_written_is_seen(self):
        # The times stay as the file system sets them: all writes may fall into one tick of its clock.
        for value in range(1000, 1020 + 10 * STRESS):
            with open(self.file, "w") as file:
                file.write(f"value = {value}\n")
            self.assertEqual(self.value(False), value)

    def test_a_source_written_after_its_bytecode_in_the_same_second_is_not_shadowed(self):
        for value in range(1000, 1005):
            with open(self.file, "w") as file:
                file.write(f"value = {value}\n")
            status = os.stat(self.file)
            self.assertEqual(self.value(False), value)
            with open(self.file, "w") as file:
                file.write(f"value = {value + 5000}\n")
            os.utime(self.file, ns=(status.st_atime_ns, status.st_mtime_ns))
            self.assertEqual(self.value(False), value + 5000)

    def test_a_file_replaced_by_another_directory_entry_is_seen(self):
        self.write(1000)
        self.assertEqual(self.value(True), 1000)
        shutil.rmtree(self.root)
        write_tree(self.root, {"module/__init__.py": "value = 'package'"})
        self.assertEqual(self.value(True), "package")

    def test_valid_bytecode_files_are_used(self):
        write_tree(self.root, {"module.py": "value = 'source'"})
        os.utime(self.file, ns=(10**18, 10**18))
        cached = importlib.util.cache_from_source(self.file)
        py_compile.compile(self.file)
        with open(cached, "rb") as file:
            data = file.read()
        # Same header, other code: what the file says shows that it was read.
        with open(cached, "wb") as file:
            file.write(data.replace(b"source", b"cached"))
        self.assertEqual(self.value(False), "cached")
        with open(cached, "wb") as file:
            file.write(data.replace(b"source", b"CACHED"))
        self.assertEqual(self.value(False), "CACHED")

    def test_bytecode_of_another_source_time_or_size_is_not_used(self):
        for change in (lambda: os.utime(self.file, ns=(2 * 10**18, 2 * 10**18)),
                       lambda: write_tree(self.root, {"module.py": "value = 'changed!'"})):
            write_tree(self.root, {"module.py": "value = 'source'"})
            os.utime(self.file, ns=(10**18, 10**18))
            py_compile.compile(self.file)
            cached = importlib.util.cache_from_source(self.file)
            with open(cached, "rb") as file:
                data = file.read()
            with open(cached, "wb") as file:
                file.write(data.replace(b"source", b"cached"))
            change()
            self.assertIn(self.value(True), ("source", "changed!"))

    def test_unchecked_hash_bytecode_is_believed_and_checked_hash_bytecode_is_checked(self):
        for mode, expected in ((py_compile.PycInvalidationMode.UNCHECKED_HASH, "old"),
                               (py_compile.PycInvalidationMode.CHECKED_HASH, "new")):
            write_tree(self.root, {"module.py": "value = 'old'"})
            py_compile.compile(self.file, invalidation_mode=mode)
            write_tree(self.root, {"module.py": "value = 'new'"})
            self.assertEqual(self.value(True), expected)

    def test_a_corrupt_bytecode_file_does_not_keep_the_source_from_running(self):
        for data in (b"", b"garbage", b"\0" * 16, importlib.util.MAGIC_NUMBER):
            self.write(1234)
            cached = importlib.util.cache_from_source(self.file)
            os.makedirs(os.path.dirname(cached), exist_ok=True)
            with open(cached, "wb") as file:
                file.write(data)
            self.assertEqual(self.value(True), 1234)


class Settled(SpaceTest):
    """Files that were not written just now are not read again, as long as they are what they were."""

    NAMES = "same", "edited", "replaced", "without_bytecode", "own_methods", "own_loader", "elsewhere", "other_name", \
        "private", "cache_tag", "own_function", "moved/one/module", "moved/two/module"

    def setUp(self):
        self.root = self.tree({f"{name}.py": f"value = 'before {name}'" for name in self.NAMES})
        # Bytecode that is as young as its source is written again.
        for _ in "writes bytecode", "reads it too early":
            self.import_all()
            for name in "one", "two":
                space = self.writing_space()
                space.sys.path.insert(0, os.path.join(self.root, "moved", name))
                space.import_("module")
        newest = max(os.stat(os.path.join(directory, file)).st_ctime
                     for directory, _, files in os.walk(self.root) for file in files)
        # Times of files cannot be set back: of an inode's last change there is only the file system's word.
        while time.time() < newest + 4.5:
            time.sleep(0.1)
        # What was read twice is kept.
        for _ in range(2):
            self.import_all()

    def writing_space(self):
        space = self.space(path=[self.root, *sys.path])
        space.sys.dont_write_bytecode = False
        return space

    def import_all(self):
        space = self.writing_space()
        for name in self.NAMES:
            if "/" not in name:
                space.import_(name)

    def reading(self, name, before=""):
        """What a new space, in which some code was run before, finds and what it opens for that."""
        space = self.writing_space()
        space.exec("import _io, importlib, importlib.machinery, os, sys\nopened = []\nplain = _io.open_code\n"
                   "_io.open_code = lambda path: opened.append(os.path.basename(path)) or plain(path)\n" + before)
        return space.import_(name).value, space.eval("opened")

    def change(self, name, replace=False):
        """Changes a source; its size and the time of its content stay what they were."""
        file = os.path.join(self.root, f"{name}.py")
        status = os.stat(file)
        target = file + ".new" if replace else file
        with open(target, "w") as output:
            output.write(f"value = 'after! {name}'")
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(target, file)
        self.assertEqual(os.stat(file).st_size, status.st_size)

    def test_settled(self):
        self.assertEqual(self.reading("same"), ("before same", []))
        self.assertEqual(self.reading("same"), ("before same", []))
        for name in "edited", "replaced":
            self.change(name, replace=name == "replaced")
            value, opened = self.reading(name)
            self.assertEqual(value, f"after! {name}")
            self.assertIn(f"{name}.py", opened)
        bytecode = importlib.util.cache_from_source(os.path.join(self.root, "without_bytecode.py"))
        os.remove(bytecode)
        value, opened = self.reading("without_bytecode")
        self.assertIn("without_bytecode.py", opened)
        self.assertTrue(os.path.exists(bytecode))
        read = "importlib.machinery.SourceFileLoader.get_data = lambda self, path: b'value = 1'"
        self.assertEqual(self.reading("own_methods", read), (1, []))
        loader = "class Loader(importlib.machinery.SourceFileLoader):\n    def get_data(self, path): return b'value = 2'\n" \
            "sys.path_hooks.insert(0, importlib.machinery.FileFinder.path_hook((Loader, ['.py'])))\n" \
            "sys.path_importer_cache.clear()"
        self.assertEqual(self.reading("own_loader", loader), (2, []))
        elsewhere = self.tree({})
        value, opened = self.reading("elsewhere", f"sys.pycache_prefix = {elsewhere!r}")
        self.assertIn("elsewhere.py", opened)
        self.assertTrue([files for _, _, files in os.walk(elsewhere) if files])
        space = self.space(path=[self.root, *sys.path])
        with self.assertRaisesRegex(ImportError, "loader for other_name cannot handle another"):
            space.eval(f"__import__('importlib.machinery').machinery.SourceFileLoader('other_name', "
                       f"{os.path.join(self.root, 'other_name.py')!r}).get_code('another')")
        self.assertEqual(self.reading("same"), ("before same", []))

        # What a loader makes of the files is its own space's.
        loader = "class Loader(importlib.machinery.SourceFileLoader):\n" \
            "    def get_data(self, path): return super().get_data(path).replace(b'before', b'BEFORE')\n" \
            "sys.path_hooks.insert(0, importlib.machinery.FileFinder.path_hook((Loader, ['.py'])))\n" \
            "sys.path_importer_cache.clear()"
        self.assertEqual(self.reading("private", loader)[0], "BEFORE private")
        for _ in range(2):
            self.assertEqual(self.reading("private")[0], "before private")
        self.assertEqual(self.reading("private"), ("before private", []))
        read = "external = importlib._bootstrap_external\nexternal._compile_bytecode = lambda *args, **kwargs: compile('value = 3', '', 'exec')"
        self.assertEqual(self.reading("own_function", read)[0], 3)
        self.assertEqual(self.reading("own_function"), ("before own_function", []))
        self.assertIn("cache_tag.py", self.reading("cache_tag", "sys.implementation.cache_tag = None")[1])

        # Another directory comes in the place of one, between the look at the source and the reading of its bytecode.
        self.link("one")
        path = [os.path.join(self.root, "moved", "now")]
        space = self.writing_space()
        space.sys.path[:0] = path
        space.exec("import _io\nplain = _io.open_code")
        space.sys.modules["_io"].open_code = lambda name: (space.eval("plain")(name), self.link("two"))[0]
        self.assertEqual(space.import_("module").value, "before moved/one/module")
        for _ in range(2):
            space = self.writing_space()
            space.sys.path[:0] = path
            self.assertEqual(space.import_("module").value, "before moved/two/module")

        self.modules_are_as_after_reading()

    def modules_are_as_after_reading(self):
        space = self.writing_space()
        space.sys.dont_write_bytecode = True
        # Whatever the importing code has: a module has its space's builtins.
        space.exec("exec('import same', {'__builtins__': {'__import__': __import__, 'mark': 1}})")
        module = space.sys.modules["same"]
        self.assertIs(module.__builtins__, space.eval("__builtins__") if isinstance(space.eval("__builtins__"), dict)
                      else vars(space.eval("__builtins__")))
        self.assertEqual(module.__cached__, importlib.util.cache_from_source(module.__file__))
        self.assertEqual(module.__spec__.cached, module.__cached__)
        self.assertIs(module.__loader__, module.__spec__.loader)

        # What a program has put into importlib is called.
        space = self.writing_space()
        space.exec("import importlib._bootstrap as bootstrap, importlib._bootstrap_external as external, builtins\n"
                   "called = []\n"
                   "def call(function, *args, plain=bootstrap._call_with_frames_removed, **kwargs):\n"
                   "    called.append(function)\n    return plain(function, *args, **kwargs)\n"
                   "bootstrap._call_with_frames_removed = call\n"
                   "import same\nassert exec in called, called\n"
                   "bootstrap._call_with_frames_removed = call.__kwdefaults__['plain']\n"
                   "plain, builtins.exec = exec, lambda *args: (called.append('own'), plain(*args))[1]\n"
                   "import private\nassert 'own' in called, called\n"
                   "builtins.exec = plain\n"
                   "external._get_cached = lambda file: 'somewhere'\n"
                   "import cache_tag\nassert cache_tag.__cached__ == 'somewhere', cache_tag.__cached__\n")

    def link(self, target):
        link = os.path.join(self.root, "moved", "now")
        with contextlib.suppress(FileNotFoundError):
            os.remove(link)
        os.symlink(os.path.join(self.root, "moved", target), link)


class Sharing(SpaceTest):
    SOURCE = """\
        def function(x, y=[]):
            total = 0
            for i in range(x):
                total += i
            return total

        class Class:
            def method(self):
                return function

        generator = (x for x in range(3))
        nested = lambda: (lambda: function)
        """

    def test_functions_of_two_spaces_have_their_own_code(self):
        one, two = self.pair(path=[self.tree({"module.py": self.SOURCE}), *sys.path])
        left, right = one.import_("module"), two.import_("module")
        for get in (lambda m: m.function, lambda m: m.Class.method, lambda m: m.nested, lambda m: m.nested()):
            self.assertIsNot(get(left).__code__, get(right).__code__)
            self.assertEqual(get(left).__code__.co_filename, get(right).__code__.co_filename)
            self.assertEqual(get(left).__code__.co_code, get(right).__code__.co_code)

    def test_nested_code_objects_are_not_shared_either(self):
        one, two = self.pair(path=[self.tree({"module.py": self.SOURCE}), *sys.path])

        def all_code(code):
            yield code
            for constant in code.co_consts:
                if isinstance(constant, types.CodeType):
                    yield from all_code(constant)
        left = {id(code) for function in (one.import_("module").nested, one.import_("module").Class.method)
                for code in all_code(function.__code__)}
        right = {id(code) for function in (two.import_("module").nested, two.import_("module").Class.method)
                 for code in all_code(function.__code__)}
        self.assertFalse(left & right)

    def test_standard_library_functions_have_their_own_code(self):
        one, two = self.pair()
        self.assertIsNot(one.import_("logging").getLogger.__code__, two.import_("logging").getLogger.__code__)

    def test_what_an_import_system_rarely_runs_is_the_same_code_in_all_spaces(self):
        spaces = self.space(), self.space(), self.space()
        code = "__import__('importlib._bootstrap_external')._bootstrap_external.{}.__code__"
        for name, is_shared in {
            "decode_source": True, "_calc_mode": True, "NamespaceLoader.is_package": True, "FileFinder.path_hook": True,
            "PathFinder.find_spec": True, "_LoaderBasics.exec_module": False, "_LoaderBasics.create_module": False,
        }.items():
            with self.subTest(name):
                codes = {id(space.eval(code.format(name))) for space in spaces}
                self.assertEqual(len(codes), 1 if is_shared else 3)
        # It works on what is the space's own, whichever space ran it before.
        for round in range(100):
            for number, space in enumerate(spaces):
                space.exec("import importlib._bootstrap_external as external, types")
                space.exec(f"external._path_stat = lambda path: types.SimpleNamespace(st_mode={number})")
                self.assertEqual(space.eval("external._calc_mode('anything')"), number | 0o200)
        one, two, three = spaces
        one.discard()
        self.assertEqual(two.eval("external.decode_source(b'x\\r\\n')"), "x\n")
        one = self.space()
        self.assertEqual(one.import_("importlib.util").decode_source(b"y\r\n"), "y\n")

    def test_defaults_and_closures_are_the_spaces_own(self):
        one, two = self.pair(path=[self.tree({"module.py": self.SOURCE}), *sys.path])
        one.import_("module").function.__defaults__[0].append(1)
        self.assertEqual(two.import_("module").function.__defaults__[0], [])

    def test_code_that_ran_hot_in_one_space_is_right_in_the_next(self):
        root = self.tree({"module.py": "def add(a, b): return a + b\ndef get(x): return x.value\n"
                                       "class A:\n    value = 'class'\n"})
        one, two = self.pair(path=[root])
        left, right = one.import_("module"), two.import_("module")
        for number in range(200):
            self.assertEqual(left.add(number, 1), number + 1)
            self.assertEqual(left.get(left.A), "class")
        self.assertEqual(right.add("a", "b"), "ab")
        instance = right.A()
        instance.value = "instance"
        self.assertEqual(right.get(instance), "instance")
        self.assertEqual(left.add([1], [2]), [1, 2])

    def test_one_source_works_in_many_spaces(self):
        root = self.tree({"module.py": self.SOURCE})
        modules = [self.space(path=[root]).import_("module") for _ in range(30 * STRESS)]
        self.assertEqual({module.function(5) for module in modules}, {10})
        self.assertEqual(len({id(module.function.__globals__) for module in modules}), len(modules))
        self.assertTrue(all(module.Class().method() is module.function for module in modules))

    def test_equal_sources_in_different_files_keep_their_own_names(self):
        roots = [self.tree({"module.py": "def where(): raise ValueError"}) for _ in range(2)]
        for root in roots:
            module = self.space(path=[root]).import_("module")
            self.assertEqual(module.where.__code__.co_filename, os.path.join(root, "module.py"))
            try:
                module.where()
            except ValueError as error:
                self.assertEqual(error.__traceback__.tb_next.tb_frame.f_code.co_filename, module.__file__)
            else:
                self.fail("where() raises")

    def test_source_to_code_of_an_own_loader_is_respected(self):
        root = self.tree({"module.py": "value = 1"})
        one, two = self.pair(path=[root, *sys.path])
        one.exec(f"""if True:
            import sys, importlib.machinery as machinery
            class Loader(machinery.SourceFileLoader):
                def get_data(self, path):
                    return super().get_data(path).replace(b"1", b"2")
                def get_code(self, name):
                    return self.source_to_code(self.get_data(self.path), self.path)
            sys.path_hooks.insert(0, machinery.FileFinder.path_hook((Loader, [".py"])))
            sys.path_importer_cache.clear()
        """)
        self.assertEqual((one.import_("module").value, two.import_("module").value), (2, 1))
        three = self.space(path=[root])
        self.assertEqual(three.import_("module").value, 1)

    def test_compiling_by_hand_is_not_cached(self):
        one, two = self.pair()
        codes = [space.eval("compile('x = 1', 'file', 'exec')") for space in (one, two, one)]
        self.assertEqual(len({id(code) for code in codes}), 3)

    def test_monkeypatching_code_in_one_space_leaves_the_other(self):
        one, two = self.pair(path=[self.tree({"module.py": self.SOURCE})])
        left, right = one.import_("module"), two.import_("module")
        left.function.__code__ = (lambda x, y: "patched").__code__
        self.assertEqual((left.function(3), right.function(3)), ("patched", 3))


if __name__ == "__main__":
    unittest.main()
