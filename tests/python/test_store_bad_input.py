"""Bad input for stores and spaces on them: each is an error that names the thing, and the store is as it was."""

import os
import pathlib
import sqlite3
import subprocess
import threading
import time
import unittest

import modspace
from support import MODSPACE, STRESS, Watched


class Bad(Watched):
    """A test with a store that has one module, and stays as it is."""

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.tree(), "app.store")
        self.store = modspace.Store.open(self.path)
        self.store.new_module("good", "value = 1\n", author="me", message="first")
        self.head = self.store.head()

    def assert_refused(self, use, *named, kind=modspace.StoreError):
        """It raises an error that names these, and the store is as before."""
        with self.assertRaises(kind) as caught:
            use()
        for part in named:
            self.assertIn(part, str(caught.exception))
        self.assertLess(len(str(caught.exception)), 2000)
        self.assert_whole()
        return caught.exception

    def assert_whole(self):
        self.assertEqual((self.store.head(), self.store.modules()), (self.head, ["good"]))
        self.assertEqual(self.store.find_module("good").source, "value = 1\n")
        # Somebody else sees the same.
        other = modspace.Store.open(self.path)
        self.assertEqual((other.head(), other.modules()), (self.head, ["good"]))

    def attached(self, **options):
        space = self.space()
        space.attach(self.store, **options)
        return space


class Names(Bad):
    def test_what_is_wrong_with_a_name_is_said(self):
        for name, reason in {
            "": "it is empty", "a..b": "a part of it is empty", ".": "a part of it is empty", "a.": "empty",
            "1a": "'1a'", "a b": "is not an identifier", "a-b": "is not an identifier", "a\0": "is not an identifier",
            "\ud800": "is not an identifier", "ﬁx": "NFKC", "x" * 1200: "longer than 1000", "y" * 300: "longer than 250",
            "__init__": "the code of a package", "a.__init__.b": "the code of a package",
        }.items():
            for use in (lambda: self.store.new_module(name, ""), lambda: self.store.rename_module("good", name),
                        lambda: self.store.transaction().new(name, ""), lambda: self.store.find_module(name),
                        lambda: self.attached().import_(name) and None):
                if "import_" in use.__code__.co_names:
                    # No such module, or no such name: what Python says.
                    self.assert_refused(use, kind=(ImportError, ValueError, TypeError))
                else:
                    self.assert_refused(use, "is not a module name", reason.replace("'", '"'))

    def test_prefixes_and_branches(self):
        space = self.space()
        for prefix in ("", "a..b", "1", "x.", "a b"):
            self.assert_refused(lambda: space.attach(self.store, prefix=prefix), "is not a module name")
        for branch in ("", "a b", "..", "x" * 300, "\udcff", "a\0b", "-x"):
            self.assert_refused(lambda: space.attach(self.store, branch), "is not a branch name")
            self.assert_refused(lambda: self.store.transaction(branch=branch), "is not a branch name")
        self.assertIsNone(space.commit)
        self.assert_refused(space.sync, "is not attached")

    def test_ids(self):
        space = self.attached()
        for commit in ("", "x", "0" * 63, "g" * 64, "\ud800" * 64, self.head[:12]):
            for use in (lambda: space.at(commit), lambda: self.store.undo(commit),
                        lambda: self.store.modules(at=commit)):
                self.assert_refused(use, "is not a commit id", "`log` lists them")
        for use in (lambda: space.at("0" * 64), lambda: self.store.undo("0" * 64)):
            self.assert_refused(use, "has no commit 000000", "`log` lists")

    def test_texts_with_surrogates(self):
        for use in (lambda text: self.store.transaction(author=text), lambda text: self.store.transaction(message=text),
                    lambda text: self.store.undo(self.head, author=text)):
            self.assert_refused(lambda: use("\ud800"), "surrogate", kind=ValueError)
        with self.store.transaction() as change:
            for metadata in ({"text": "\ud800"}, {"\udfff": 1}, {"number": float("nan")}, {"number": float("inf")}):
                self.assert_refused(lambda: change.set_metadata("good", metadata), "metadata", kind=ValueError)
            change.abort()
        self.assert_whole()


class Sources(Bad):
    def test_what_no_file_can_have(self):
        for source, named in {
            "x = '\ud800'": "surrogate", "x = 1\0": "NUL at byte 5", b"x = 1\0": "NUL at byte 5",
            b"x = 1\ny = '\xe9'\n": "line 2 has the byte 0xe9", b"\xff\xfex\0": "NUL",
            "# coding: latin-1\nx = '\u20ac'": "latin-1, which it declares, cannot write it" ,
        }.items():
            for use in (lambda: self.store.new_module("bad", source), lambda: self.store.update_module("good", source),
                        lambda: self.store.transaction().new("bad", source)):
                self.assert_refused(use, '"bad"' if use.__code__.co_consts[1:2] == ("bad",) else "",
                                    named.replace("latin-1", "iso-8859-1"))

    def test_encodings_that_are_not_there(self):
        for source in (b"# coding: no-such-encoding\nx = 1\n", "# coding: no-such-encoding\nx = '\u20ac'\n"):
            self.assert_refused(lambda: self.store.new_module("bad", source), "no-such-encoding", kind=SyntaxError)
        # Declared too late.
        late = b"x = 1\n\n# coding: latin-1\ny = '\xe9'\n"
        self.assert_refused(lambda: self.store.new_module("bad", late), "line 4", "no encoding is declared")

    def test_sources_that_do_not_compile(self):
        for source in ("def (:", "return 1", "x = ", "  x = 1\n y = 2", "from __future__ import nothing",
                       "(" * 500, "x = '''"):
            for use in (lambda: self.store.new_module("bad", source), lambda: self.store.update_module("good", source)):
                self.assert_refused(use, kind=(SyntaxError, MemoryError, RecursionError))

    def test_other_types(self):
        for source in (None, 1, [], bytearray(b""), object()):
            self.assert_refused(lambda: self.store.new_module("bad", source), '"bad"', "str or bytes", kind=TypeError)

    def test_marks_and_ends_of_lines(self):
        """They are kept, and mean what they mean to Python."""
        sources = {
            "mark": b"\xef\xbb\xbfvalue = '\xc3\xa9'\n", "dos": b"value = '''a\r\nb'''\r\n",
            "old": b"value = 1\rother = 2\r", "latin": b"# coding: latin-1\nvalue = '\xe9'\n",
            "none": b"value = 1", "emacs": b"#!x\n# -*- coding: cp1252 -*-\nvalue = '\x80'",
        }
        files = self.tree()
        for name, source in sources.items():
            self.store.new_module(name, source)
            pathlib.Path(files, f"f_{name}.py").write_bytes(source)
        space = self.attached()
        space.sys.path.insert(0, files)
        for name, source in sources.items():
            self.assertEqual(space.import_(name).value, space.import_(f"f_{name}").value, name)
            stored = self.store.find_module(name).source
            self.store.update_module(name, stored)
            self.assertEqual(self.store.find_module(name).source, stored)
            with self.subTest(name=name):
                # Only the mark and the ends of lines are as they were.
                space.exec(f"import inspect, {name}")
                self.assertEqual(space.eval(f"inspect.getsource({name})"),
                                 space.eval(f"__import__('inspect').getsource(__import__('f_{name}'))"))

    def test_ten_megabytes(self):
        line = "entry_{} = 'all work and no play makes Jack a dull boy'\n"
        lines = [line.format(number) for number in range(100)]
        text = "text = '''\n" + "all work and no play\n" * 520_000 + "'''\n"
        source = "".join(lines) + text + "def size():\n    return len(text)\n"
        self.assertGreater(len(source), 10_000_000)
        self.store.new_module("big", source)
        self.assertEqual(self.store.find_module("big").source, source)
        space = self.attached()
        size = space.import_("big").size
        self.assertEqual(size(), 21 * 520_000 + 1)
        self.store.update_module("big", source.replace("return len(text)", "return -len(text)"))
        space.sync()
        self.assertEqual(size(), -(21 * 520_000 + 1))
        new, old = [commit.id for commit in self.store.log(limit=2)]
        begun = time.monotonic()
        for command, told in ((("diff", old, new), "\n-    return len(text)\n+    return -len(text)\n"),
                              (("show", "big"), "\n    return -len(text)\n"), (("verify",), "")):
            run = subprocess.run([MODSPACE, "store", "--store", self.path, *command], capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stderr), (0, ""), command)
            self.assertIn(told, run.stdout)
        self.assertLess(time.monotonic() - begun, 60 * STRESS)
        self.store.remove_module("big")
        space.sync()
        self.assertNotIn("big", space.sys.modules)

    def test_a_thousand_functions(self):
        """More than any module has: they are stored, imported and updated like others."""
        function = "def f{0}(x, y={0}):\n    if x:\n        return x + y\n    return {0}\n"
        source = "".join(function.format(number) for number in range(1000))
        self.store.new_module("long", source)
        space = self.attached()
        last = space.import_("long").f999
        self.assertEqual(last(0), 999)
        self.store.update_module("long", source.replace("return 999", "return 'new'"))
        report = space.sync()
        self.assertEqual((last(0), report.updated), ("new", ["long.f999"]))


class Cycles(Bad):
    def test_new_modules_of_one_transaction_import_each_other(self):
        names = ["one", "two", "three"]
        with self.store.transaction() as change:
            for name, other in zip(names, names[1:] + names[:1]):
                change.new(name, f"import {other}\ndef f():\n    return {name!r}, {other}.__name__\n")
        space = self.attached()
        self.assertEqual([space.import_(name).f() for name in names],
                         [("one", "two"), ("two", "three"), ("three", "one")])
        functions = [space.import_(name).f for name in names]
        with self.store.transaction() as change:
            for name, other in zip(names, names[-1:] + names[:-1]):
                change.update(name, f"import {other}\ndef f():\n    return {name!r}, {other}.__name__\n")
        space.sync()
        self.assertEqual([f() for f in functions], [("one", "three"), ("two", "one"), ("three", "two")])
        self.assertEqual([space.import_(name).f for name in names], functions)

    def test_a_cycle_that_needs_a_name_too_early(self):
        with self.store.transaction() as change:
            change.new("early", "from late import name\nvalue = name\n")
            change.new("late", "from early import value\nname = 1\n")
        space = self.attached()
        with self.assertRaises(ImportError) as caught:
            space.import_("early")
        self.assertIn("early", str(caught.exception))
        for name in ("early", "late"):
            self.assertNotIn(name, space.sys.modules)
        with self.store.transaction() as change:
            change.update("late", "name = 1\n")
        space.sync()
        self.assertEqual(space.import_("early").value, 1)

    def test_loaded_modules_become_a_cycle(self):
        with self.store.transaction() as change:
            change.new("left", "def f():\n    return 'left'\n")
            change.new("right", "import left\ndef g():\n    return left.f()\n")
        space = self.attached()
        f, g = space.import_("left").f, space.import_("right").g
        self.store.update_module("left", "import right\ndef f():\n    return 'new', right.__name__\n")
        space.sync()
        self.assertEqual((f(), g()), (("new", "right"),) * 2)
        # One that fails leaves them as they are.
        self.store.update_module("left", "from right import g\nfrom right import missing\n")
        with self.assertRaises(modspace.UpdateError) as caught:
            space.sync()
        self.assertIn("'left'".replace("'", '"'), str(caught.exception))
        self.assertIsInstance(caught.exception.__cause__, ImportError)
        self.assertEqual((f(), g()), (("new", "right"),) * 2)

    def test_a_module_that_imports_itself(self):
        self.store.new_module("self_", "import self_\nvalue = self_.__name__\n")
        space = self.attached()
        self.assertEqual(space.import_("self_").value, "self_")
        self.store.update_module("self_", "import self_\nvalue = self_.__name__ * 2\n")
        space.sync()
        self.assertEqual((space.import_("self_").value, space.import_("self_").self_), ("self_self_", space.import_("self_")))


class Ends(Bad):
    def uses(self, change):
        """What can be done with a transaction."""
        return {
            "new": lambda: change.new("other", ""), "update": lambda: change.update("good", "value = 2"),
            "remove": lambda: change.remove("good"), "rename": lambda: change.rename("good", "bad"),
            "source": lambda: change.source("good"), "modules": change.modules, "savepoint": change.savepoint,
            "commit": change.commit, "abort": change.abort, "enter": change.__enter__,
            "metadata": lambda: change.metadata("good"), "set": lambda: change.set_metadata("good", {}),
            "plan": lambda: change.plan(self.attached()), "base": lambda: change.base,
        }

    def test_after_its_end(self):
        for end, how in ((lambda change: change.commit(), "been committed"),
                         (lambda change: change.abort(), "been aborted")):
            change = self.store.transaction()
            savepoint = change.savepoint()
            end(change)
            for name, use in {**self.uses(change), "rollback": lambda: change.rollback(savepoint)}.items():
                with self.subTest(use=name):
                    self.assert_refused(use, f"has {how}", "begin another one")

    def test_after_a_commit_that_failed(self):
        change = self.store.transaction()
        change.update("good", "value = 2\n")
        self.store.update_module("good", "value = 3\n")
        with self.assertRaises(modspace.ConflictError):
            change.commit()
        for name, use in self.uses(change).items():
            with self.subTest(use=name), self.assertRaises(modspace.StoreError) as caught:
                use()
            self.assertIn("failed to commit", str(caught.exception))
        self.assertEqual(self.store.find_module("good").source, "value = 3\n")

    def test_from_another_thread(self):
        change = self.store.transaction()
        change.new("mine", "")
        savepoint = change.savepoint()
        uses = {**self.uses(change), "rollback": lambda: change.rollback(savepoint),
                "exit": lambda: change.__exit__(None, None, None)}
        raised = {}

        def work():
            for name, use in uses.items():
                try:
                    use()
                except Exception as error:
                    raised[name] = error
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual(sorted(raised), sorted(uses))
        for error in raised.values():
            self.assertIsInstance(error, modspace.StoreError)
            self.assertIn("another thread", str(error))
            self.assertIn("begins its own", str(error))
        self.assert_whole()
        # It is as its own thread left it.
        self.assertEqual(change.modules(), ["good", "mine"])
        change.abort()

    def test_savepoints_of_others(self):
        one, other = self.store.transaction(), self.store.transaction()
        one.new("mine", "")
        savepoint = one.savepoint()
        other.savepoint()
        self.assert_refused(lambda: other.rollback(savepoint), "of another transaction")
        del one
        # Another one may come to stand where that was.
        for _ in range(50):
            third = self.store.transaction()
            third.savepoint()
            self.assert_refused(lambda: third.rollback(savepoint), "of another transaction")
            third.abort()
        for wrong in (None, 0, object()):
            self.assert_refused(lambda: other.rollback(wrong), kind=TypeError)

    def test_one_that_is_forgotten(self):
        change = self.store.transaction()
        change.new("forgotten", "")
        del change
        self.assert_whole()

    def test_a_thread_ends_in_the_middle(self):
        kept = []

        def work():
            change = self.store.transaction()
            change.new("left", "")
            kept.append(change)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assert_refused(kept[0].commit, "another thread")


class Places(Bad):
    def test_what_is_no_regular_file(self):
        root = self.tree()
        pipe = os.path.join(root, "pipe")
        subprocess.run(["mkfifo", pipe], check=True)
        for place, reason in ((root, "directory"), (pipe, "regular file"), ("/dev/null", "regular file"),
                              (os.path.join(root, "absent", "x"), "no directory")):
            self.assert_refused(lambda: modspace.Store.open(place), place, reason)

    def test_a_file_that_another_holds_for_too_long(self):
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        space = self.attached()
        begun = time.monotonic()
        self.assert_refused(lambda: self.store.new_module("late", ""), self.path, "locked by another process", "try again")
        self.assertLess(time.monotonic() - begun, 30 * STRESS)
        # Who reads goes on.
        self.assertEqual(space.import_("good").value, 1)
        other.execute("ROLLBACK")
        self.store.new_module("late", "")
        self.assertEqual(self.store.modules(), ["good", "late"])

    def test_records_that_somebody_changed(self):
        space = self.attached()
        other = sqlite3.connect(self.path)
        self.addCleanup(other.close)
        [(found,)] = other.execute("SELECT id FROM records WHERE bytes LIKE 'bvalue%'").fetchall()
        other.execute("UPDATE records SET bytes = CAST('bvalue = 2' || char(10) AS BLOB) WHERE id = ?", (found,))
        other.commit()
        for use in (lambda: self.store.find_module("good"), lambda: space.import_("good")):
            with self.assertRaises((modspace.StoreError, ImportError)) as caught:
                use()
            self.assertIn(found.hex(), str(caught.exception))
            self.assertIn("verify", str(caught.exception))
        self.assertNotIn("good", space.sys.modules)
        # The others are there, and it can be put right.
        self.store.new_module("other", "value = 3\n")
        self.assertEqual(self.attached().import_("other").value, 3)
        self.store.remove_module("good")
        self.store.new_module("good", "value = 4\n")
        self.assertEqual(self.attached().import_("good").value, 4)


if __name__ == "__main__":
    unittest.main()
