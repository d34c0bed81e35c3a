"""Each space has its own `sys`: what code does to it in one space is seen nowhere else."""

import builtins
import contextlib
import io
import os
import sys
import threading
import unittest

import modspace
from support import SpaceTest

LISTS = ["path", "meta_path", "path_hooks", "argv", "orig_argv", "warnoptions"]
DICTS = ["modules", "path_importer_cache"]
HOOKS = ["displayhook", "excepthook", "unraisablehook", "breakpointhook"]
STREAMS = ["stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"]
VALUES = ["flags", "dont_write_bytecode", "pycache_prefix", "__displayhook__", "__excepthook__",
          "__unraisablehook__", "__breakpointhook__", "platform", "version", "byteorder", "maxsize", "executable"]
ABSENT = ["ps1", "ps2", "last_exc", "last_type", "last_value", "last_traceback", "tracebacklimit", "made_up"]
EVERYTHING = LISTS + DICTS + HOOKS + STREAMS + VALUES + ABSENT

MISSING = "<absent>"


def snapshot(module):
    """Which object each attribute is, and what the containers hold."""
    seen = {}
    for name in EVERYTHING:
        value = getattr(module, name, MISSING)
        if isinstance(value, dict):
            content = {key: id(item) for key, item in value.items()}
        elif isinstance(value, list):
            content = [id(item) for item in value]
        else:
            content = None
        seen[name] = (id(value) if value is not MISSING else MISSING, content)
    return seen


class Isolation(SpaceTest):
    def setUp(self):
        self.parent = self.space(name="parent")
        self.one = self.space(self.parent, name="one")
        self.two = self.space(self.parent, name="two")
        for space in (self.parent, self.one, self.two):
            space.exec("import sys, os.path, importlib.util")

    @contextlib.contextmanager
    def nothing_changes_elsewhere(self, name):
        """The parent, the sibling, the testing space and the root keep their `sys` while the block runs."""
        watched = {"parent": self.parent.sys, "sibling": self.two.sys, "tester": sys, "root": modspace.root.sys}
        before = {where: snapshot(module) for where, module in watched.items()}
        yield
        for where, module in watched.items():
            with self.subTest(attribute=name, seen_in=where):
                self.assertEqual(snapshot(module), before[where])

    def test_hooks_are_their_defaults_until_somebody_sets_them(self):
        for name in HOOKS:
            with self.subTest(name):
                self.assertIs(getattr(self.one.sys, name), getattr(self.one.sys, f"__{name}__"))

    def test_replacing_an_attribute_is_seen_in_its_space_alone(self):
        for name in EVERYTHING:
            if name == "modules":
                continue
            with self.nothing_changes_elsewhere(name):
                self.one.exec(f"sys.{name} = mark = ['replaced']")
                with self.subTest(attribute=name):
                    self.assertTrue(self.one.eval(f"sys.{name} is mark"))
                    self.assertIs(getattr(self.one.sys, name), self.one.ns["mark"])

    def test_replacing_sys_modules_is_seen_in_its_space_alone(self):
        with self.nothing_changes_elsewhere("modules"):
            self.one.exec("sys.modules = dict(sys.modules); sys.modules['invented'] = 7\nimport invented")
            self.assertEqual(self.one.eval("invented"), 7)
        for space in (self.parent, self.two):
            with self.assertRaises(ModuleNotFoundError):
                space.exec("import invented")

    def test_deleting_an_attribute_is_seen_in_its_space_alone(self):
        for name in EVERYTHING:
            if name in ABSENT or name in ("stdin", "stdout", "stderr"):
                continue
            space = self.space(self.parent)
            space.exec("import sys, os.path")
            with self.nothing_changes_elsewhere(name):
                space.exec(f"value = sys.{name}; del sys.{name}")
                with self.subTest(attribute=name):
                    self.assertNotIn(name, vars(space.sys))
                # Without sys.modules a space imports nothing more, in CPython too.
                space.exec(f"sys.{name} = value")

    def test_an_attribute_can_be_deleted_before_anything_needed_it(self):
        for name in ("meta_path", "path_hooks", "path_importer_cache"):
            with self.subTest(attribute=name):
                space = self.space()
                space.exec(f"import sys; del sys.{name}")
                self.assertFalse(hasattr(space.sys, name))

    def test_a_deleted_own_stream_is_gone_or_the_parents_again(self):
        self.one.exec("import io; sys.stdout = io.StringIO(); del sys.stdout")
        self.assertIs(self.one.eval("sys.stdout"), self.parent.sys.stdout)

    def test_mutating_a_list_is_seen_in_its_space_alone(self):
        for name in LISTS:
            with self.nothing_changes_elsewhere(name):
                self.one.exec(f"sys.{name}.append('appended')")
                self.assertEqual(self.one.eval(f"sys.{name}[-1]"), "appended")
                self.one.exec(f"sys.{name}.pop()")
                self.one.exec(f"kept = sys.{name}[:]; sys.{name}.clear(); assert sys.{name} == []\n"
                              f"sys.{name}[:] = kept")

    def test_mutating_a_dict_is_seen_in_its_space_alone(self):
        for name in DICTS:
            with self.nothing_changes_elsewhere(name):
                self.one.exec(f"sys.{name}['added'] = None")
                self.one.exec(f"del sys.{name}['added']")
                self.one.exec(f"kept = dict(sys.{name}); sys.{name}.clear(); sys.{name}.update(kept)")

    def test_vars_of_sys_writes_to_its_space_alone(self):
        with self.nothing_changes_elsewhere("vars"):
            self.one.exec("vars(sys)['made_up'] = 1; setattr(sys, 'ps1', '? ')")
            self.assertEqual(self.one.eval("(sys.made_up, sys.ps1)"), (1, "? "))

    def test_the_space_object_shows_the_sys_that_its_code_sees(self):
        self.assertIs(self.one.sys, self.one.eval("sys"))
        self.assertIs(self.one.sys, self.one.sys.modules["sys"])
        self.assertIsNot(self.one.sys, self.two.sys)
        self.assertIsNot(self.one.sys, sys)
        self.assertIs(type(self.one.sys), type(sys))
        self.assertEqual(self.one.sys.__name__, "sys")

    def test_every_module_of_a_space_imports_that_spaces_sys(self):
        space = self.library({"pkg/__init__.py": "import sys", "pkg/sub.py": "import sys as name"})
        self.assertIs(space.import_("pkg").sys, space.sys)
        self.assertIs(space.import_("pkg.sub").name, space.sys)
        self.assertIs(space.import_("logging").sys, space.sys)
        self.assertIs(space.eval("__import__('os').sys"), space.sys)

    def test_dir_of_sys_lists_what_can_be_got(self):
        names = self.one.eval("dir(sys)")
        for name in ("stdout", "meta_path", "path_hooks", "modules", "path_importer_cache"):
            self.assertIn(name, names)
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            getattr(self.one.sys, name)

    def test_builtins_belong_to_a_space(self):
        self.one.exec("import builtins; builtins.len = lambda value: -1; builtins.invented = 5; del builtins.hash")
        self.assertEqual(self.one.eval("(len([]), invented)"), (-1, 5))
        with self.assertRaises(NameError):
            self.one.eval("hash(1)")
        for space in (self.parent, self.two):
            self.assertEqual(space.eval("(len([]), hash(1))"), (0, 1))
            with self.assertRaises(NameError):
                space.eval("invented")
        self.assertFalse(hasattr(builtins, "invented"))


class Streams(SpaceTest):
    def test_print_writes_to_the_stdout_of_its_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("import sys, io; sys.stdout = io.StringIO(); sys.stderr = io.StringIO()")
        one.exec("print('from one'); print('error one', file=sys.stderr)")
        two.exec("print('from two')")
        self.assertEqual(one.sys.stdout.getvalue(), "from one\n")
        self.assertEqual(one.sys.stderr.getvalue(), "error one\n")
        self.assertEqual(two.sys.stdout.getvalue(), "from two\n")
        self.assertEqual(two.sys.stderr.getvalue(), "")

    def test_a_child_follows_its_parents_current_streams_until_it_has_its_own(self):
        parent = self.space(name="parent")
        child = self.space(self.space(parent, name="middle"), name="child")
        child.exec("import sys\ndef say(text): print(text)")
        child.exec("def complain(text): sys.stderr.write(text)")
        first, second, own = io.StringIO(), io.StringIO(), io.StringIO()
        parent.sys.stdout = parent.sys.stderr = first
        child.ns["say"]("a")
        child.ns["complain"]("b")
        parent.sys.stdout = second
        child.ns["say"]("c")
        child.sys.stdout = own
        child.ns["say"]("d")
        parent.sys.stdout = first
        child.ns["say"]("e")
        self.assertEqual((first.getvalue(), second.getvalue(), own.getvalue()), ("a\nb", "c\n", "d\ne\n"))

    def test_input_reads_from_the_stdin_of_its_space(self):
        one, two = self.pair()
        for space, text in ((one, "first\n"), (two, "second\n")):
            space.sys.stdin = io.StringIO(text)
            space.sys.stdout = io.StringIO()
        self.assertEqual(one.eval("input('? ')"), "first")
        self.assertEqual(two.eval("input()"), "second")
        self.assertEqual(one.sys.stdout.getvalue(), "? ")
        self.assertEqual(two.sys.stdout.getvalue(), "")
        with self.assertRaises(EOFError):
            one.eval("input()")

    def test_redirect_stdout_changes_the_calling_space(self):
        one, two = self.pair()
        two.sys.stdout = io.StringIO()
        one.ns["say_in_two"] = two.eval("lambda: print('two')")
        one.exec("""if True:
            import contextlib, io
            buffer = io.StringIO()
            with contextlib.redirect_stdout(buffer):
                print('one')
                say_in_two()
        """)
        self.assertEqual(one.ns["buffer"].getvalue(), "one\n")
        self.assertEqual(two.sys.stdout.getvalue(), "two\n")

    def test_warnings_of_native_code_go_to_the_stderr_of_its_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stderr = io.StringIO()
        one.exec("import warnings; warnings.simplefilter('always'); warnings.warn('careful')")
        one.exec("compile('x is 1', 'file', 'exec')")
        self.assertIn("careful", one.sys.stderr.getvalue())
        self.assertEqual(two.sys.stderr.getvalue(), "")

    def test_a_function_uses_the_streams_of_the_space_that_defined_it_wherever_it_runs(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stdout = io.StringIO()
            space.exec("import sys\ndef call(function, *args): return function(*args)")
        one.exec("def speak(): print('one'); sys.made_up = 1; return sys")
        self.assertIs(two.ns["call"](one.ns["speak"]), one.sys)
        threads = [threading.Thread(target=one.ns["speak"])]
        two.ns["speak"] = one.ns["speak"]
        two.exec("import threading; thread = threading.Thread(target=speak)")
        threads.append(two.ns["thread"])
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(one.sys.stdout.getvalue(), "one\n" * 3)
        self.assertEqual(two.sys.stdout.getvalue(), "")
        self.assertFalse(hasattr(two.sys, "made_up"))

    def test_native_functions_work_for_the_space_that_calls_them(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stdout = io.StringIO()
        two.ns["foreign_print"] = one.eval("print")
        two.exec("foreign_print('called in two')")
        self.assertEqual(two.sys.stdout.getvalue(), "called in two\n")

    def test_a_thread_that_runs_a_native_function_works_for_the_space_that_started_it(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stdout = io.StringIO()
            space.exec("""if True:
                import threading
                thread = threading.Thread(target=print, args=('native',))
                thread.start()
                thread.join()
            """)
            self.assertEqual(space.sys.stdout.getvalue(), "native\n")

    def test_generators_and_coroutines_keep_their_space(self):
        one, two = self.pair()
        one.exec("import sys\ndef produce():\n    while True: yield sys.name_of_space")
        one.sys.name_of_space, two.sys.name_of_space = "one", "two"
        two.ns["generator"] = one.ns["produce"]()
        self.assertEqual(two.eval("next(generator)"), "one")
        self.assertEqual(next(two.ns["generator"]), "one")
        one.exec("import sys\nasync def ask(): return sys.name_of_space")
        two.ns["ask"] = one.ns["ask"]
        self.assertEqual(two.eval("__import__('asyncio').run(ask())"), "one")


class Hooks(SpaceTest):
    def test_displayhook_prints_and_sets_underscore_in_its_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stdout = io.StringIO()
        one.exec("import sys; exec(compile('40 + 2', '<stdin>', 'single'))")
        self.assertEqual(one.sys.stdout.getvalue(), "42\n")
        self.assertEqual(one.eval("_"), 42)
        with self.assertRaises(NameError):
            two.eval("_")
        self.assertEqual(two.sys.stdout.getvalue(), "")
        seen = []
        two.sys.displayhook = seen.append
        two.exec("exec(compile('6 * 7', '<stdin>', 'single'))")
        one.exec("exec(compile('1', '<stdin>', 'single'))")
        self.assertEqual(seen, [42])

    def test_breakpoint_calls_the_hook_of_its_space(self):
        one, two = self.pair()
        seen = []
        one.sys.breakpointhook = lambda *args, **kwargs: seen.append(("one", args))
        two.sys.breakpointhook = lambda *args, **kwargs: seen.append(("two", args))
        one.exec("breakpoint(1)")
        two.exec("breakpoint(2)")
        self.assertEqual(seen, [("one", (1,)), ("two", (2,))])

    def test_unraisablehook_is_called_for_the_space_of_the_finalizer(self):
        one, two = self.pair()
        seen = []
        for name, space in (("one", one), ("two", two)):
            space.sys.unraisablehook = lambda report, name=name: seen.append((name, type(report.exc_value)))
            space.exec("class Bad:\n    def __del__(self): raise OSError('while dying')")
        two.ns["Foreign"] = one.ns["Bad"]
        one.exec("Bad()")
        two.exec("Bad()")
        two.exec("Bad(); x = 1")
        self.assertEqual(seen, [("one", OSError), ("two", OSError), ("two", OSError)])

    def test_the_standard_excepthook_writes_to_the_stderr_of_its_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stderr = io.StringIO()
        one.exec("import sys\ntry: 1/0\nexcept ZeroDivisionError: sys.excepthook(*sys.exc_info())")
        self.assertIn("ZeroDivisionError", one.sys.stderr.getvalue())
        self.assertEqual(two.sys.stderr.getvalue(), "")

    def test_an_uncaught_exception_of_a_program_reaches_its_spaces_excepthook(self):
        done = self.program("""\
            import sys, modspace
            other = modspace.ModuleSpace(modspace.current())
            other.sys.excepthook = lambda *args: print("wrong")
            sys.excepthook = lambda kind, error, trace: print("hook", kind.__name__)
            1 / 0
            """)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "hook ZeroDivisionError\n", ""))

    def test_an_uncaught_exception_of_a_thread_is_printed_to_the_stderr_of_its_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stderr = io.StringIO()
        one.exec("import threading\nthread = threading.Thread(target=lambda: 1/0); thread.start(); thread.join()")
        self.assertIn("ZeroDivisionError", one.sys.stderr.getvalue())
        self.assertEqual(two.sys.stderr.getvalue(), "")


class Settings(SpaceTest):
    def test_dont_write_bytecode_decides_for_its_space_alone(self):
        root = self.tree({"writer.py": "x = 1", "other.py": "x = 2"})
        one, two = self.pair(path=[root, *sys.path])
        one.sys.dont_write_bytecode, two.sys.dont_write_bytecode = True, False
        one.import_("writer")
        self.assertFalse(os.path.exists(os.path.join(root, "__pycache__")))
        two.import_("other")
        self.assertEqual([name.split(".")[0] for name in os.listdir(os.path.join(root, "__pycache__"))], ["other"])

    def test_pycache_prefix_decides_for_its_space_alone(self):
        root, prefix = self.tree({"module.py": "x = 1"}), self.tree()
        one, two = self.pair(path=[root, *sys.path])
        one.sys.pycache_prefix = prefix
        one.sys.dont_write_bytecode = two.sys.dont_write_bytecode = False
        self.assertTrue(one.import_("module").__cached__.startswith(prefix))
        self.assertFalse(os.path.exists(os.path.join(root, "__pycache__")))
        self.assertTrue(two.import_("module").__cached__.startswith(root))
        self.assertEqual(one.eval("__import__('importlib.util').util.cache_from_source('/a/b.py')").startswith(prefix),
                         True)

    def test_last_exc_is_kept_in_the_space_that_set_it(self):
        one, two = self.pair()
        one.exec("import sys; sys.last_exc = ValueError(1); sys.last_type = ValueError")
        self.assertFalse(hasattr(two.sys, "last_exc") or hasattr(sys, "last_exc") or hasattr(two.sys, "last_type"))
        two.sys.stderr = io.StringIO()
        two.exec("import sys, traceback; sys.last_exc = KeyError('two'); traceback.print_last()")
        self.assertIn("KeyError: 'two'", two.sys.stderr.getvalue())

    def test_tracebacklimit_holds_for_its_space_alone(self):
        one, two = self.pair()
        source = "import traceback\ndef f(n):\n    if n: f(n - 1)\n    1/0\ntry: f(1)\n" \
                 "except ZeroDivisionError: text = traceback.format_exc()"
        one.exec("import sys; sys.tracebacklimit = 0")
        one.exec(source)
        two.exec(source)
        self.assertNotIn("line 4", one.ns["text"])
        self.assertIn("line 4", two.ns["text"])

    def test_argv_given_to_a_space_is_its_own(self):
        space = self.space(argv=["program", "-x"])
        self.assertEqual(space.eval("__import__('sys').argv"), ["program", "-x"])
        self.assertNotEqual(sys.argv, ["program", "-x"])

    def test_implementation_and_xoptions_are_copies(self):
        one, two = self.pair()
        one.exec("import sys; sys.implementation.made_up = 1; sys._xoptions['made_up'] = '1'")
        for other in (two.sys, sys):
            self.assertFalse(hasattr(other.implementation, "made_up"))
            self.assertNotIn("made_up", other._xoptions)


if __name__ == "__main__":
    unittest.main()
