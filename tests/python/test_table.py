"""The module table tells the truth about each module of a space, also while threads import."""

import os
import sys
import threading
import time
import unittest

from support import STRESS, SpaceTest


class Rows(SpaceTest):
    def test_a_module_is_initialising_while_it_runs_and_ready_afterwards(self):
        space = self.library({"module.py": "look('module'); import other; look('module'); look('other')",
                              "other.py": "look('module'); look('other')"})
        states = []
        space.builtins.look = lambda name: states.append((name, space.modules[name].state))
        space.import_("module")
        self.assertEqual(states, [("module", "initialising"), ("module", "initialising"), ("other", "initialising"),
                                  ("module", "initialising"), ("other", "ready")])
        self.assertEqual(space.modules["module"].state, "ready")

    def test_a_module_that_raised_is_failed_and_can_become_ready(self):
        space = self.library({"module.py": "import helper\nif fail: 1/0", "helper.py": ""})
        space.builtins.fail = True
        with self.assertRaises(ZeroDivisionError):
            space.import_("module")
        self.assertEqual(space.modules["module"].state, "failed")
        self.assertEqual(space.modules["helper"].state, "ready")
        self.assertNotIn("module", space.sys.modules)
        space.builtins.fail = False
        space.import_("module")
        self.assertEqual(space.modules["module"].state, "ready")

    def test_a_module_taken_out_of_sys_modules_is_unloaded(self):
        space = self.library({"module.py": ""})
        space.import_("module")
        del space.sys.modules["module"]
        self.assertEqual(space.modules["module"].state, "unloaded")
        space.import_("module")
        self.assertEqual(space.modules["module"].state, "ready")

    def test_names_never_found_have_no_row(self):
        space = self.space()
        with self.assertRaises(ModuleNotFoundError):
            space.import_("absent.module")
        self.assertFalse({"absent", "absent.module"} & set(space.modules))

    def test_origin_loader_and_spec_are_those_of_the_module(self):
        space = self.library({"module.py": "", "pkg/__init__.py": "", "ns/sub.py": ""})
        for name in ("module", "pkg", "ns", "ns.sub", "math", "logging", "os"):
            with self.subTest(name=name):
                module = space.import_(name)
                info = space.modules[name]
                self.assertEqual(info.name, name)
                self.assertEqual(info.origin, module.__spec__.origin)
                self.assertIs(info.spec, module.__spec__)
        self.assertEqual(space.modules["module"].loader, "SourceFileLoader")
        self.assertEqual(space.modules["math"].loader, "BuiltinImporter")
        self.assertIsNone(space.modules["ns"].origin)
        self.assertIn("module", repr(space.modules["module"]))

    def test_load_time_covers_what_the_module_imported(self):
        space = self.library({"outer.py": "import inner", "inner.py": "for _ in range(20000): pass"})
        before = time.time()
        space.import_("outer")
        outer, inner = space.modules["outer"], space.modules["inner"]
        self.assertGreater(inner.load_time, 0)
        self.assertGreaterEqual(outer.load_time, inner.load_time)
        self.assertLessEqual(before - 1, outer.loaded_at)
        self.assertLessEqual(outer.loaded_at, inner.loaded_at)
        self.assertLessEqual(inner.loaded_at, time.time() + 1)

    def test_a_table_once_read_does_not_change(self):
        space = self.library({"module.py": ""})
        table = space.modules
        space.import_("module")
        self.assertNotIn("module", table)
        table["invented"] = 1
        self.assertNotIn("invented", space.modules)

    def test_taken_from_names_the_space_that_loaded_the_module(self):
        top = self.space(name="top", path=[self.tree({"module.py": "", "pkg/__init__.py": "", "pkg/sub.py": ""})])
        middle = self.space(top, name="middle", path=[])
        low = self.space(middle, name="low", path=[])
        low.import_("module")
        low.import_("pkg.sub")
        for space, expected in ((low, "top"), (middle, "top"), (top, None)):
            for name in ("module", "pkg", "pkg.sub"):
                with self.subTest(space=space.name, name=name):
                    self.assertEqual(space.modules[name].taken_from, expected)
                    self.assertEqual(space.modules[name].origin, top.modules[name].origin)

    def test_a_module_loaded_by_the_space_itself_after_all_is_not_taken(self):
        parent = self.space(name="parent", path=[self.tree({"module.py": ""})])
        child = self.space(parent, path=[])
        child.import_("module")
        del child.sys.modules["module"]
        child.sys.path.append(self.tree({"module.py": ""}))
        child.import_("module")
        self.assertIsNone(child.modules["module"].taken_from)


class Importers(SpaceTest):
    def test_importers_and_the_names_they_took_are_listed(self):
        space = self.library({
            "target.py": "a = b = c = 1", "pkg/__init__.py": "", "pkg/sub.py": "x = 1",
            "one.py": "import target", "two.py": "from target import a, b", "three.py": "from target import *",
            "pkg/four.py": "from . import sub\nfrom .sub import x\nfrom target import c as d",
            "five.py": "import pkg.sub as s\ndef later():\n    from target import b"})
        for name in ("one", "two", "three", "pkg.four", "five"):
            space.import_(name)
        importers = set(space.modules["target"].importers)
        self.assertEqual(importers, {("one", ()), ("two", ("a", "b")), ("three", ("*",)), ("pkg.four", ("c",))})
        space.import_("five").later()
        self.assertIn(("five", ("b",)), space.modules["target"].importers)
        self.assertEqual(set(space.modules["pkg.sub"].importers), {("pkg.four", ("x",)), ("five", ())})
        self.assertIn(("pkg.four", ("sub",)), space.modules["pkg"].importers)

    def test_a_statement_that_runs_often_is_listed_once(self):
        space = self.library({"target.py": "a = 1"})
        space.exec("for _ in range(50): from target import a; import target")
        self.assertEqual(sorted(space.modules["target"].importers), [("__main__", ()), ("__main__", ("a",))])

    def test_every_importer_is_listed_also_when_objects_come_and_go(self):
        space = self.library({"target.py": "a = b = 1"})
        space.exec("""if True:
            for number in range(200):
                exec("import target", {"__name__": f"short{number}"})
                exec("from target import " + ("a", "b")[number % 2], {"__name__": "names" + str(number)})
        """)
        importers = set(space.modules["target"].importers)
        missing = {f"short{number}" for number in range(200)} - {name for name, _ in importers}
        self.assertEqual(len(missing), 0)
        missing = {(f"names{number}", (("a", "b")[number % 2],)) for number in range(200)} - importers
        self.assertEqual(len(missing), 0)

    def test_an_import_of_a_shared_module_is_listed_where_it_happened(self):
        parent = self.library({"target.py": ""})
        child = self.space(parent, path=[])
        child.exec("import target")
        self.assertIn(("__main__", ()), child.modules["target"].importers)


class Hashes(SpaceTest):
    def test_the_hash_changes_with_the_source_and_with_nothing_else(self):
        root = self.tree({"module.py": "x = 1", "same.py": "x = 1", "other.py": "x = 2", "pkg/__init__.py": "x = 1"})
        space = self.space(path=[root, *sys.path])
        for name in ("module", "same", "other", "pkg"):
            space.import_(name)
        table = space.modules
        self.assertRegex(table["module"].source_hash, "^[0-9a-f]{64}$")
        self.assertEqual(table["module"].source_hash, table["same"].source_hash)
        self.assertEqual(table["module"].source_hash, table["pkg"].source_hash)
        self.assertNotEqual(table["module"].source_hash, table["other"].source_hash)
        again = self.space(path=[root, *sys.path])
        again.import_("module")
        self.assertEqual(again.modules["module"].source_hash, table["module"].source_hash)

    def test_the_hash_is_that_of_the_source_also_when_bytecode_was_loaded(self):
        root = self.tree({"module.py": "x = 1"})
        os.utime(os.path.join(root, "module.py"), ns=(10**18, 10**18))
        hashes = set()
        for _ in range(3):
            space = self.space(path=[root])
            space.sys.dont_write_bytecode = False
            space.import_("module")
            hashes.add(space.modules["module"].source_hash)
        self.assertTrue(os.path.isdir(os.path.join(root, "__pycache__")))
        self.assertEqual(len(hashes), 1)
        self.assertNotIn(None, hashes)

    def test_native_modules_have_no_source(self):
        space = self.space()
        space.import_("math")
        self.assertIsNone(space.modules["math"].source_hash)

    def test_a_reload_updates_the_row(self):
        root = self.tree({"module.py": "x = 1"})
        space = self.space(path=[root, *sys.path])
        space.exec("import importlib, module")
        before = space.modules["module"].source_hash
        with open(os.path.join(root, "module.py"), "w") as file:
            file.write("x = 22")
        space.exec("importlib.reload(module)")
        self.assertEqual(space.sys.modules["module"].x, 22)
        self.assertNotEqual(space.modules["module"].source_hash, before)


class Threads(SpaceTest):
    def test_the_table_is_right_while_eight_threads_import(self):
        count = 20 * STRESS
        files = {f"pkg/m{index}.py": f"import common, pkg.n{index % 5}" for index in range(count)}
        files.update({f"pkg/n{index}.py": "from common import value" for index in range(5)})
        files.update({"pkg/__init__.py": "", "common.py": "value = 1", "bad.py": "1/0"})
        space = self.library(files)
        errors, done = [], threading.Event()

        def work(start):
            try:
                for index in range(count):
                    space.import_(f"pkg.m{(start + index) % count}")
                    try:
                        space.import_("bad")
                    except ZeroDivisionError:
                        pass
            except BaseException as error:
                errors.append(repr(error))

        def read():
            while not done.is_set():
                for name, info in space.modules.items():
                    if info.name != name or info.state not in ("initialising", "ready", "failed"):
                        errors.append((name, info.state))
                    if info.state == "ready" and name.startswith("pkg.m") and info.origin is None:
                        errors.append((name, "no origin"))
        threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
        reader = threading.Thread(target=read)
        for thread in [reader, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        reader.join()
        self.assertEqual(errors, [])
        table = space.modules
        names = {name for name in table if name.startswith("pkg.") or name in ("pkg", "common")}
        self.assertEqual(len(names), count + 7)
        self.assertEqual({table[name].state for name in names}, {"ready"})
        self.assertEqual(table["bad"].state, "failed")
        self.assertEqual({name for name, _ in table["common"].importers}, names - {"pkg", "common"})
        self.assertEqual({name for name, names in table["common"].importers if names == ("value",)},
                         {f"pkg.n{index}" for index in range(5)})


if __name__ == "__main__":
    unittest.main()
