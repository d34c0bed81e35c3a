"""Modules in a store: transactions and history, and spaces that see one commit of it at a time."""

import ast
import os
import pathlib
import random
import threading
import traceback
import unittest

import modspace
from support import SEED, STRESS, Watched, run_threads

try:
    import sqlite3
except ImportError:
    sqlite3 = None


class Stored(Watched):
    """A test with a store."""

    def setUp(self):
        super().setUp()
        self.store = modspace.Store.memory()

    def attached(self, store=None, branch="main", files=(), prefix=None, **options):
        """A new space attached to the store, which finds these files, too."""
        space = self.space(**options)
        if files:
            space.sys.path.insert(0, self.tree(files))
        space.attach(store or self.store, branch=branch, prefix=prefix)
        return space

    def commit(self, sources, store=None, **options):
        """Commits these sources; `None` removes a module. Returns the new head."""
        store = store or self.store
        with store.transaction(**options) as change:
            there = change.modules()
            for name, source in sources.items():
                if source is None:
                    change.remove(name)
                elif name in there:
                    change.update(name, source)
                else:
                    change.new(name, source)
        return store.head(branch=options.get("branch", "main"))

    def assert_absent(self, space, *names):
        """The space has no such modules, and finds none."""
        for name in names:
            self.assertNotIn(name, space.sys.modules)
            with self.assertRaises(ModuleNotFoundError) as caught:
                space.import_(name)
            self.assertEqual(caught.exception.name, name)


class Transactions(Stored):
    def test_it_is_committed_at_the_end(self):
        with self.store.transaction(message="two modules", author="me") as change:
            change.new("a", "x = 1")
            change.new("pkg.b", "x = 2")
            self.assertEqual(change.modules(), ["a", "pkg.b"])
            self.assertEqual(change.source("pkg.b"), "x = 2")
            self.assertEqual((self.store.modules(), self.store.head(), self.store.log()), ([], None, []))
        self.assertEqual(self.store.modules(), ["a", "pkg.b"])
        self.assertEqual(len(self.store.log()), 1)
        commit = self.store.log()[0]
        self.assertEqual((commit.id, commit.message, commit.author), (self.store.head(), "two modules", "me"))

    def test_all_kinds_of_changes(self):
        self.commit({"a": "1", "b": "2", "pkg.__init__": "3", "pkg.c": "4"})
        with self.store.transaction() as change:
            change.update("a", "11")
            change.remove("b")
            change.rename("pkg", "other.place")
            change.new("b.inside", "22")
            expected = ["a", "b.inside", "other.place.__init__", "other.place.c"]
            self.assertEqual(change.modules(), expected)
            self.assertEqual(change.source("other.place.c"), "4")
            with self.assertRaises(modspace.NoModuleError):
                change.source("pkg.c")
        self.assertEqual(self.store.modules(), expected)
        self.assertEqual([self.store.find_module(name).source for name in expected], ["11", "22", "3", "4"])

    def test_single_changes_are_transactions(self):
        ids = [self.store.new_module("a", "1", message="made", author="me"), self.store.update_module("a", "2"),
               self.store.rename_module("a", "b"), self.store.remove_module("b")]
        self.assertEqual([commit.id for commit in self.store.log()], ids[::-1])
        self.assertEqual(len(set(ids)), 4)
        self.assertTrue(all(isinstance(one, str) for one in ids))
        self.assertEqual((self.store.log()[-1].message, self.store.log()[-1].author), ("made", "me"))
        self.assertEqual(self.store.modules(), [])

    def test_an_exception_aborts(self):
        self.commit({"a": "1"})
        head = self.store.head()
        for error in (ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit):
            with self.subTest(error=error), self.assertRaises(error):
                with self.store.transaction() as change:
                    change.update("a", "2")
                    change.new("b", "2")
                    raise error
        self.assertEqual((self.store.head(), self.store.modules()), (head, ["a"]))
        self.assertEqual(self.store.find_module("a").source, "1")

    def test_aborting_inside(self):
        with self.store.transaction() as change:
            change.new("a", "1")
            change.abort()
        self.assertEqual((self.store.head(), self.store.modules()), (None, []))

    def test_after_its_end_it_says_how_it_ended(self):
        with self.store.transaction() as committed:
            committed_point = committed.savepoint()
            committed.new("made", "1")
        with self.store.transaction() as aborted:
            aborted_point = aborted.savepoint()
            aborted.update("made", "2")
            aborted.abort()
        with self.assertRaises(ZeroDivisionError):
            with self.store.transaction() as failed:
                failed_point = failed.savepoint()
                failed.update("made", "3")
                1 / 0
        for change, point, how in ((committed, committed_point, "committed"), (aborted, aborted_point, "aborted"),
                                   (failed, failed_point, "aborted")):
            for use in (lambda: change.new("b", ""), lambda: change.update("made", ""), lambda: change.remove("made"),
                        lambda: change.rename("made", "c"), lambda: change.source("made"), change.modules,
                        change.savepoint, lambda: change.rollback(point), change.__enter__):
                with self.assertRaises(modspace.StoreError) as caught:
                    use()
                self.assertIn(how, str(caught.exception))
        self.assertEqual((self.store.modules(), self.store.find_module("made").source), (["made"], "1"))

    def test_an_abort_inside_ends_it_at_once(self):
        with self.store.transaction() as change:
            change.abort()
            with self.assertRaises(modspace.StoreError) as caught:
                change.new("a", "1")
            self.assertIn("aborted", str(caught.exception))
        self.assertEqual(self.store.modules(), [])

    def test_another_thread_cannot_use_it(self):
        with self.store.transaction() as change:
            change.new("mine", "1")
            point = change.savepoint()
            uses = (lambda: change.new("theirs", "1"), lambda: change.update("mine", "2"),
                    lambda: change.remove("mine"), lambda: change.rename("mine", "theirs"),
                    lambda: change.source("mine"), change.modules, change.savepoint, lambda: change.rollback(point),
                    change.abort, lambda: change.__exit__(None, None, None))
            for use in uses:
                [error] = run_threads([use])
                self.assertIsInstance(error, (modspace.StoreError, RuntimeError))
                self.assertIn("thread", str(error))
            self.assertEqual(change.modules(), ["mine"])
        self.assertEqual(self.store.modules(), ["mine"])
        self.assertEqual(self.store.find_module("mine").source, "1")

    def test_each_thread_has_its_own(self):
        def work(number):
            for index in range(10):
                with self.store.transaction() as change:
                    change.new(f"pkg{number}.m{index}", f"x = {index}")
        errors = run_threads([lambda number=number: work(number) for number in range(4)])
        self.assertEqual(errors, [])
        self.assertEqual(self.store.modules(),
                         sorted(f"pkg{number}.m{index}" for number in range(4) for index in range(10)))
        self.assertEqual(len(self.store.log()), 40)

    def test_nothing_to_commit_is_no_commit(self):
        with self.store.transaction():
            pass
        self.assertIsNone(self.store.head())
        head = self.commit({"a": "1"})
        self.commit({"a": "1"})
        with self.store.transaction() as change:
            change.new("b", "1")
            change.remove("b")
        self.assertEqual(self.store.head(), head)

    def test_a_change_that_fails_changes_nothing_and_the_others_stay(self):
        self.commit({"a": "1", "pkg.b": "1"})
        with self.store.transaction() as change:
            change.update("a", "2")
            for fails in (lambda: change.new("a", "3"), lambda: change.new("pkg", "3"), lambda: change.new("a.b", "3"),
                          lambda: change.update("absent", "3"), lambda: change.remove("absent"),
                          lambda: change.rename("pkg", "a"), lambda: change.rename("absent", "c"),
                          lambda: change.update("a", "\0"), lambda: change.new("1", "")):
                with self.assertRaises(modspace.StoreError):
                    fails()
                self.assertEqual((change.modules(), change.source("a")), (["a", "pkg.b"], "2"))
        self.assertEqual(self.store.find_module("a").source, "2")

    def test_an_error_that_leaves_the_block_is_the_one_raised_in_it(self):
        self.commit({"a": "1"})
        with self.assertRaises(modspace.NoModuleError) as caught:
            with self.store.transaction() as change:
                change.update("a", "2")
                change.remove("absent")
        self.assertIn("absent", str(caught.exception))
        self.assertEqual(self.store.find_module("a").source, "1")

    def test_one_inside_another(self):
        with self.store.transaction() as outer:
            outer.new("outer", "1")
            with self.store.transaction() as inner:
                inner.new("inner", "1")
                self.assertEqual(inner.modules(), ["inner"])
            self.assertEqual(self.store.modules(), ["inner"])
            self.assertEqual(outer.modules(), ["outer"])
        self.assertEqual(self.store.modules(), ["inner", "outer"])

    def test_arguments_of_other_types(self):
        with self.store.transaction() as change:
            for wrong in (lambda: change.new("a", 5), lambda: change.new("a", None), lambda: change.new(5, ""),
                          lambda: change.new("a"), lambda: change.remove(None), lambda: change.rename("a", 1),
                          lambda: self.store.transaction(message=5),
                          lambda: self.store.transaction(branch=1), lambda: self.store.undo(5)):
                with self.assertRaises(TypeError):
                    wrong()
            self.assertEqual(change.modules(), [])


class Savepoints(Stored):
    def test_they_nest(self):
        with self.store.transaction() as change:
            change.new("a", "1")
            first = change.savepoint()
            change.new("b", "1")
            second = change.savepoint()
            change.update("a", "2")
            change.remove("b")
            change.rollback(second)
            self.assertEqual((change.modules(), change.source("a")), (["a", "b"], "1"))
            change.update("b", "3")
            change.rollback(first)
            self.assertEqual(change.modules(), ["a"])
            with self.assertRaises(modspace.StoreError):
                change.rollback(second)
            # The first one stays.
            change.new("c", "1")
            change.rollback(first)
            change.new("d", "1")
        self.assertEqual(self.store.modules(), ["a", "d"])

    def test_back_to_the_beginning_is_nothing_to_commit(self):
        head = self.commit({"a": "1"})
        with self.store.transaction() as change:
            start = change.savepoint()
            change.remove("a")
            change.new("a.b", "1")
            change.rollback(start)
        self.assertEqual(self.store.head(), head)


class Conflicts(Stored):
    def test_the_error_names_modules_commits_and_authors(self):
        base = self.commit({"a": "1", "b": "1", "c": "1"}, author="Ada")
        with self.assertRaises(modspace.ConflictError) as caught:
            with self.store.transaction(author="Me", message="mine") as change:
                change.update("a", "mine")
                change.remove("b")
                change.update("c", "mine")
                first = self.commit({"a": "theirs"}, author="Ann")
                second = self.commit({"b": "theirs"}, author="Bob")
                last = self.commit({"unrelated": ""}, author="Eve")
        error = caught.exception
        self.assertIsInstance(error, modspace.StoreError)
        self.assertEqual(list(error.modules), ["a", "b"])
        self.assertEqual((error.base, error.author), (base, "Me"))
        self.assertEqual([tuple(other) for other in error.others], [(second, "Bob"), (first, "Ann")])
        for part in ("a, b", base[:12], first[:12], second[:12], "Ann", "Bob", "Me"):
            self.assertIn(part, str(error))
        self.assertNotIn("Eve", str(error))
        # Nothing of it was committed.
        self.assertEqual(self.store.head(), last)
        self.assertEqual([self.store.find_module(name).source for name in "abc"], ["theirs", "theirs", "1"])
        with self.assertRaises(modspace.StoreError):
            change.modules()

    def test_on_an_empty_branch_there_is_no_base(self):
        with self.assertRaises(modspace.ConflictError) as caught:
            with self.store.transaction() as change:
                change.new("a", "mine")
                theirs = self.store.new_module("a", "theirs")
        self.assertIsNone(caught.exception.base)
        self.assertEqual([tuple(other) for other in caught.exception.others], [(theirs, "")])
        self.assertIn(theirs[:12], str(caught.exception))

    def test_what_conflicts(self):
        def new(name):
            return lambda change: change.new(name, "mine")
        cases = {
            "a": [("a", None), lambda change: change.update("a", "mine")],
            "b": [("b", "theirs"), lambda change: change.rename("b", "c")],
            "made": [("made", "theirs"), new("made")],
            "target": [("target", "theirs"), lambda change: change.rename("a", "target")],
            "place": [("place", "theirs"), new("place.inside")],
            "pkg": [("pkg.sub", "theirs"), new("pkg")],
        }
        for name, ((module, theirs), mine) in cases.items():
            with self.subTest(name=name):
                store = modspace.Store.memory()
                self.commit({"a": "1", "b": "1"}, store=store)
                with self.assertRaises(modspace.ConflictError) as caught:
                    with store.transaction() as change:
                        mine(change)
                        self.commit({module: theirs}, store=store)
                self.assertEqual(list(caught.exception.modules), [name])

    def test_different_modules_are_both_changed(self):
        self.commit({"a": "1", "b": "1", "pkg.a": "1"})
        with self.store.transaction(message="mine") as change:
            change.update("a", "mine")
            change.new("pkg.mine", "mine")
            theirs = self.commit({"b": "theirs", "pkg.theirs": "theirs"}, message="theirs")
            # It goes on seeing what was there when it began.
            self.assertEqual((change.source("b"), change.modules()), ("1", ["a", "b", "pkg.a", "pkg.mine"]))
        self.assertEqual(self.store.modules(), ["a", "b", "pkg.a", "pkg.mine", "pkg.theirs"])
        self.assertEqual([self.store.find_module(name).source for name in "ab"], ["mine", "theirs"])
        self.assertEqual(list(self.store.log()[0].parents), [theirs])
        self.assertEqual([commit.message for commit in self.store.log()], ["mine", "theirs", ""])

    def test_the_same_change_twice_is_no_conflict(self):
        self.commit({"a": "1"})
        with self.store.transaction() as change:
            change.update("a", "2")
            change.new("b", "2")
            self.commit({"a": "2"})
        self.assertEqual(self.store.modules(), ["a", "b"])


class History(Stored):
    def test_log_and_head(self):
        self.assertEqual((self.store.head(), self.store.log()), (None, []))
        ids = [self.store.new_module("a", "0", message="0", author="a0")]
        for number in range(1, 4):
            ids.append(self.store.update_module("a", str(number), message=str(number), author=f"a{number}"))
            self.assertEqual(self.store.head(), ids[-1])
        log = self.store.log()
        self.assertEqual([commit.id for commit in log], ids[::-1])
        self.assertEqual([list(commit.parents) for commit in log], [[ids[2]], [ids[1]], [ids[0]], []])
        self.assertEqual([(commit.message, commit.author) for commit in log],
                         [(str(number), f"a{number}") for number in (3, 2, 1, 0)])
        times = [commit.time for commit in log]
        self.assertEqual(times, sorted(times, reverse=True))
        self.assertEqual([commit.id for commit in self.store.log()], ids[::-1])

    def test_messages_and_authors_of_all_kinds(self):
        for number, text in enumerate(("", "é \U0001f40d\n\tlines\n", "x" * 10_000, "a\0b")):
            self.store.new_module(f"m{number}", "", message=text, author=text[:200])
            self.assertEqual((self.store.log()[0].message, self.store.log()[0].author), (text, text[:200]))

    def test_undo(self):
        self.commit({"a": "1"})
        second = self.commit({"a": "2", "b": "2"}, message="the second")
        third = self.commit({"c": "3"})
        self.store.undo(second)
        self.assertEqual(self.store.modules(), ["a", "c"])
        self.assertEqual(self.store.find_module("a").source, "1")
        undo = self.store.log()[0]
        self.assertEqual(list(undo.parents), [third])
        self.assertIn("the second", undo.message)
        self.assertIn(second[:12], undo.message)
        # Nothing is forgotten, and an undo can be undone.
        self.assertIn(second, [commit.id for commit in self.store.log()])
        self.store.undo(undo.id)
        self.assertEqual(self.store.modules(), ["a", "b", "c"])
        self.assertEqual(self.store.find_module("a").source, "2")

    def test_undo_of_what_changed_since(self):
        self.commit({"a": "1", "b": "1"})
        second = self.commit({"a": "2", "b": "2"})
        head = self.commit({"a": "3"}, author="Ann")
        with self.assertRaises(modspace.ConflictError) as caught:
            self.store.undo(second)
        self.assertEqual(list(caught.exception.modules), ["a"])
        self.assertIn("Ann", str(caught.exception))
        self.assertEqual(self.store.head(), head)

    def test_commits_that_are_not_there(self):
        self.commit({"a": "1"})
        elsewhere = modspace.Store.memory().new_module("other", "2")
        space = self.attached()
        for wrong in (elsewhere, "0" * 64, "", "x" * 64, "é" * 64):
            for use in (self.store.undo, space.at):
                with self.subTest(wrong=wrong, use=use), self.assertRaises(modspace.StoreError):
                    use(wrong)
        self.assertEqual(space.import_("a").__name__, "a")


class Modules(Stored):
    def test_find_module(self):
        self.commit({"a": "x = 'é'\n", "pkg.__init__": "y = 1\n", "pkg.sub": "z = 1\r\n"})
        found = self.store.find_module("a")
        self.assertEqual((found.name, found.source, found.metadata), ("a", "x = 'é'\n", {}))
        self.assertEqual(self.store.find_module("pkg.__init__").source, "y = 1\n")
        self.assertEqual(self.store.find_module("pkg").source, "y = 1\n")
        self.assertEqual(self.store.find_module("pkg.sub").source, "z = 1\r\n")
        # What was found stays as it was found.
        self.commit({"a": "x = 2\n"})
        self.assertEqual(found.source, "x = 'é'\n")

    def test_what_is_not_there(self):
        self.commit({"a": "1", "pkg.sub": "1"})
        for name in ("absent", "a.b", "pkg.absent", "pkg.sub.__init__", "pkg.__init__"):
            for use in (self.store.find_module, lambda name: self.store.update_module(name, ""),
                        self.store.remove_module, lambda name: self.store.rename_module(name, "other")):
                with self.subTest(name=name), self.assertRaises(modspace.NoModuleError) as caught:
                    use(name)
                self.assertIn(name, str(caught.exception))
                self.assertIsInstance(caught.exception, LookupError)
                self.assertIsInstance(caught.exception, modspace.StoreError)
        self.assertEqual(self.store.modules(), ["a", "pkg.sub"])

    def test_what_is_there_already(self):
        self.commit({"a": "1", "pkg.__init__": "", "pkg.sub": "1"})
        head = self.store.head()
        places = ["pkg", "pkg.__init__", "pkg.sub", "pkg.sub.__init__", "pkg.sub.below"]
        uses = [lambda name=name: self.store.new_module(name, "2") for name in ("a", "a.b", *places)]
        uses += [lambda name=name: self.store.rename_module("a", name) for name in places]
        for use in uses:
            with self.assertRaises(modspace.StoreError) as caught:
                use()
            self.assertNotIsInstance(caught.exception, modspace.NoModuleError)
        self.assertEqual(self.store.head(), head)

    def test_bad_names(self):
        self.commit({"a": "1"})
        for name in ("", ".", ".a", "a.", "a..b", "1a", "a b", "a-b", "a/b", "../a", "a\0b", "a\nb", "ﬁ", "\ud800",
                     "__init__", "b.__init__.c", "x" * 300, "x." * 1000 + "x"):
            for use in (lambda: self.store.new_module(name, ""), lambda: self.store.rename_module("a", name),
                        lambda: self.store.update_module(name, ""), lambda: self.store.remove_module(name)):
                with self.subTest(name=name), self.assertRaises(modspace.StoreError) as caught:
                    use()
                self.assertLess(len(str(caught.exception)), 1000)
        self.assertEqual(self.store.modules(), ["a"])
        for name in ("_", "é", "名前.名", "class", "b.__main__", "__init__x"):
            self.store.new_module(name, "")
            self.assertIn(name, self.store.modules())

    def test_bad_sources(self):
        for source in ("x = '\ud800'", "\udfff", "x = 1\0", "\0"):
            with self.subTest(source=source), self.assertRaises(modspace.StoreError) as caught:
                self.store.new_module("broken_one", source)
            self.assertIn("broken_one", str(caught.exception))
        self.assertEqual(self.store.modules(), [])

    def test_sources_come_back_as_they_were(self):
        sources = ["", "\n", "x = 1", "x = 1\r\ny = 2\r", "\ufeffx = 1\n", "x = '\U0001f40d'\n", "\f\nx = 1\n",
                   "'\u2028\x0c'"]
        for number, source in enumerate(sources):
            self.store.new_module(f"m{number}", source)
            self.assertEqual(self.store.find_module(f"m{number}").source, source)

    def test_metadata(self):
        self.commit({"pkg.a": "1"})
        found = self.store.find_module("pkg.a")
        self.assertEqual(found.metadata, {})
        found.metadata["owner"] = "nobody"
        self.assertEqual(self.store.find_module("pkg.a").metadata, {})
        metadata = {"owner": "me", "tags": [1, "é", None, True, 1.5, {"deep": []}]}
        with self.store.transaction() as change:
            change.set_metadata("pkg.a", metadata)
            self.assertEqual(change.metadata("pkg.a"), metadata)
        self.assertEqual(self.store.find_module("pkg.a").metadata, metadata)
        # It goes with the module.
        with self.store.transaction() as change:
            change.update("pkg.a", "2")
            change.rename("pkg", "other")
        found = self.store.find_module("other.a")
        self.assertEqual((found.source, found.metadata), ("2", metadata))
        with self.store.transaction() as change:
            for wrong in ([], "x", None, {"x": object()}, {1: {2}}):
                with self.assertRaises((TypeError, ValueError, modspace.StoreError)):
                    change.set_metadata("other.a", wrong)
            change.set_metadata("other.a", {})
        self.assertEqual(self.store.find_module("other.a").metadata, {})

    def test_a_big_source(self):
        source = "TEXT = '''\n" + "all work and no play\n" * 200_000 + "'''\nsize = len(TEXT)\n"
        self.store.new_module("big", source)
        self.assertEqual(self.store.find_module("big").source, source)
        space = self.attached()
        self.assertEqual(space.import_("big").size, 21 * 200_000 + 1)
        self.store.update_module("big", source + "more = size + 1\n")
        space.sync()
        self.assertEqual(space.import_("big").more, 21 * 200_000 + 2)


class Branches(Stored):
    def test_they_are_independent(self):
        main = self.commit({"a": "value = 'main'"})
        side = self.commit({"a": "value = 'side'", "b": "value = 'side'"}, branch="work/side-1")
        self.assertEqual((self.store.head(), self.store.head(branch="work/side-1")), (main, side))
        self.assertEqual((self.store.modules(), self.store.modules(branch="work/side-1")), (["a"], ["a", "b"]))
        self.assertEqual([commit.id for commit in self.store.log(branch="work/side-1")], [side])
        self.assertEqual(self.store.find_module("a", branch="work/side-1").source, "value = 'side'")
        one, two = self.attached(), self.attached(branch="work/side-1")
        self.assertEqual([space.import_("a").value for space in (one, two)], ["main", "side"])
        self.assert_absent(one, "b")
        self.store.update_module("a", "value = 'later'", branch="work/side-1")
        one.sync()
        two.sync()
        self.assertEqual([space.import_("a").value for space in (one, two)], ["main", "later"])

    def test_a_branch_that_has_no_commits(self):
        self.commit({"a": "value = 1"})
        space = self.attached(branch="empty")
        self.assertEqual((self.store.head(branch="empty"), self.store.modules(branch="empty")), (None, []))
        self.assert_absent(space, "a")
        space.sync()
        self.store.new_module("a", "value = 2", branch="empty")
        space.sync()
        self.assertEqual(space.import_("a").value, 2)

    def test_names_that_no_branch_can_have(self):
        space = self.space()
        for branch in ("", "a b", "/", "a//b", "..", "-x", "é", "a\0", "x" * 1000):
            for use in (lambda: self.store.transaction(branch=branch).__enter__(),
                        lambda: self.store.new_module("a", "", branch=branch), lambda: self.store.head(branch=branch),
                        lambda: space.attach(self.store, branch=branch)):
                with self.subTest(branch=branch), self.assertRaises(modspace.StoreError):
                    use()


class Files(Stored):
    def path(self, name="app.store"):
        return os.path.join(self.tree(), name)

    def test_two_handles_on_one_file(self):
        path = self.path()
        one, two = modspace.Store.open(path), modspace.Store.open(pathlib.Path(path))
        first = one.new_module("a", "value = 1", author="one")
        self.assertEqual((two.head(), two.modules()), (first, ["a"]))
        space = self.attached(store=two)
        self.assertEqual(space.import_("a").value, 1)
        one.update_module("a", "value = 2")
        self.assertEqual(space.import_("a").value, 1)
        space.sync()
        self.assertEqual(space.import_("a").value, 2)
        with self.assertRaises(modspace.ConflictError) as caught:
            with two.transaction(author="two") as change:
                change.update("a", "value = 3")
                one.update_module("a", "value = 4", author="one")
        self.assertEqual((caught.exception.author, caught.exception.others[0][1]), ("two", "one"))
        self.assertEqual([commit.id for commit in one.log()], [commit.id for commit in two.log()])

    def test_it_is_there_the_next_time(self):
        path = self.path()
        head = modspace.Store.open(path).new_module("a", "value = 'é'")
        store = modspace.Store.open(path)
        self.assertEqual((store.head(), store.find_module("a").source), (head, "value = 'é'"))
        done = self.program(f"""\
            import modspace
            space = modspace.ModuleSpace()
            store = modspace.Store.open({path!r})
            space.attach(store)
            print(space.import_("a").value)
            store.new_module("b", "")
            """)
        self.assertEqual((done.stdout, done.stderr), ("é\n", ""))
        self.assertEqual(store.modules(), ["a", "b"])

    def test_what_is_not_a_store(self):
        root = self.tree({"text": "not a store", "bytes": bytes(range(256)) * 16, "byte": b"S",
                          "header": b"SQLite format 3\0" + b"\xff" * 4096})
        places = [os.path.join(root, name) for name in ("text", "bytes", "byte", "header", "absent/app.store")]
        if sqlite3:
            places.append(os.path.join(root, "other"))
            connection = sqlite3.connect(places[-1])
            connection.execute("CREATE TABLE records (id, bytes)")
            connection.execute("INSERT INTO records VALUES (1, 2)")
            connection.commit()
            connection.close()
        contents = [pathlib.Path(place).read_bytes() if os.path.exists(place) else None for place in places]
        for place in [root, *places]:
            with self.subTest(place=place), self.assertRaises(modspace.StoreError) as caught:
                modspace.Store.open(place)
            self.assertIn(os.path.basename(place), str(caught.exception))
        # They are left alone.
        self.assertEqual([pathlib.Path(place).read_bytes() if os.path.exists(place) else None for place in places],
                         contents)

    def test_paths_that_make_no_sense(self):
        for path in ("", "a\0b"):
            with self.subTest(path=path), self.assertRaises((modspace.StoreError, ValueError)):
                modspace.Store.open(path)
        for path in (None, 5, object(), []):
            with self.subTest(path=path), self.assertRaises(TypeError):
                modspace.Store.open(path)

    def test_an_empty_file_becomes_a_store(self):
        path = os.path.join(self.tree({"empty": b""}), "empty")
        modspace.Store.open(path).new_module("a", "")
        self.assertEqual(modspace.Store.open(path).modules(), ["a"])


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


class Spaces(Stored):
    def test_a_space_sees_one_commit_until_it_syncs(self):
        self.commit({"loaded": "value = 1", "later": "value = 1", "removed": "value = 1"})
        space = self.attached()
        loaded = space.import_("loaded")
        self.commit({"loaded": "value = 2", "later": "value = 2", "removed": None, "new": "value = 2"})
        self.assertEqual(loaded.value, 1)
        self.assertEqual([space.import_(name).value for name in ("later", "removed")], [1, 1])
        self.assert_absent(space, "new")
        self.assertIsNotNone(space.sync())
        self.assertIs(space.import_("loaded"), loaded)
        self.assertEqual([space.import_(name).value for name in ("loaded", "later", "new")], [2, 2, 2])
        self.assert_absent(space, "removed")

    def test_a_sync_with_nothing_to_do(self):
        self.commit({"a": "import sys\nsys.runs = getattr(sys, 'runs', 0) + 1"})
        space = self.attached()
        space.import_("a")
        for _ in range(3):
            self.assertIsNotNone(space.sync())
        self.assertEqual(space.sys.runs, 1)

    def test_a_removed_module(self):
        self.commit({"pkg.a": "def answer():\n    return 42", "pkg.b": "from . import a", "pkg.c": "", "alone": ""})
        space = self.attached()
        b, c, pkg = space.import_("pkg.b"), space.import_("pkg.c"), space.import_("pkg")
        answer = b.a.answer
        space.import_("alone")
        self.commit({"pkg.a": None, "pkg.b": "", "alone": None})
        space.sync()
        self.assert_absent(space, "pkg.a", "alone")
        self.assertFalse(hasattr(pkg, "a"))
        self.assertIs(space.import_("pkg.c"), c)
        # What is held goes on working.
        self.assertEqual(answer(), 42)
        self.commit({"pkg.a": "value = 'again'"})
        space.sync()
        self.assertEqual(space.import_("pkg.a").value, "again")
        self.store.remove_module("pkg")
        space.sync()
        self.assert_absent(space, "pkg")

    def test_a_renamed_module(self):
        self.commit({"old.mod": "value = 1", "old.__init__": ""})
        space = self.attached()
        space.import_("old.mod")
        self.store.rename_module("old", "new.place")
        space.sync()
        self.assertEqual(space.import_("new.place.mod").value, 1)
        self.assert_absent(space, "old")

    def test_a_module_becomes_a_package_and_a_package_a_module(self):
        self.commit({"thing": "value = 'module'"})
        space = self.attached()
        space.import_("thing")
        with self.store.transaction() as change:
            change.remove("thing")
            change.new("thing.__init__", "value = 'package'")
            change.new("thing.sub", "value = 'submodule'")
        space.sync()
        self.assertEqual((space.import_("thing.sub").value, space.import_("thing").value), ("submodule", "package"))
        with self.store.transaction() as change:
            change.remove("thing")
            change.new("thing", "value = 'again'")
        space.sync()
        self.assertEqual(space.import_("thing").value, "again")
        self.assertNotIn("thing.sub", space.sys.modules)
        with self.assertRaises(ModuleNotFoundError):
            space.import_("thing.sub")

    def test_what_a_module_imports_only_now(self):
        self.commit({"a": "value = 1"})
        space = self.attached()
        a = space.import_("a")
        self.commit({"a": "import b, json\nvalue = b.value", "b": "from c import value", "c": "value = 2"})
        space.sync()
        self.assertEqual((a.value, a.b, space.import_("c").value), (2, space.import_("b"), 2))

    def test_sync_is_all_or_nothing(self):
        def sources(number):
            return {"a": f"value = {number}\ndef f():\n    return value",
                    "b": f"from a import value, f\nclass C:\n    value = {number}\n",
                    "third": f"import a, b\nvalue = {number}", "late": f"value = {number}"}
        for bad, error in (("1/0", ZeroDivisionError), ("import absent", ModuleNotFoundError),
                           ("from a import absent", ImportError), ("import failing", ValueError)):
            with self.subTest(bad=bad):
                store = modspace.Store.memory()
                first = self.commit(sources(1), store=store)
                space = self.attached(store=store)
                a, b, third = map(space.import_, ("a", "b", "third"))
                instance, attributes = b.C(), [dict(vars(module)) for module in (a, b, third)]
                loaded = set(space.sys.modules)
                self.commit({**sources(2), "third": f"import fresh\nvalue = 2\n{bad}", "fresh": "value = 2",
                             "failing": "raise ValueError"}, store=store)
                for _ in range(2):
                    with self.assertRaises(modspace.UpdateError) as caught:
                        space.sync()
                    self.assertIsInstance(caught.exception.__cause__, error)
                    self.assertIn("third", str(caught.exception))
                    self.assertEqual([dict(vars(module)) for module in (a, b, third)], attributes)
                    self.assertEqual((a.f(), b.f(), b.value, instance.value, third.value), (1, 1, 1, 1, 1))
                    self.assertEqual(set(space.sys.modules), loaded)
                # All of it is at the old commit, what is not loaded yet, too.
                self.assertEqual(space.import_("late").value, 1)
                self.assert_absent(space, "fresh")
                self.commit({"third": "import fresh\nvalue = 2"}, store=store)
                space.sync()
                self.assertEqual((a.f(), b.f(), b.value, instance.value, third.value), (2, 2, 2, 2, 2))
                self.assertEqual((space.import_("late").value, third.fresh.value), (2, 2))
                space.at(first)
                self.assertEqual((a.f(), b.f(), b.value, instance.value, third.value), (1, 1, 1, 1, 1))

    def test_a_bad_source_of_what_is_not_loaded_does_no_harm(self):
        self.commit({"a": "value = 1", "b": "value = 1"})
        space = self.attached()
        a = space.import_("a")
        self.commit({"a": "value = 2", "b": "1/0"})
        space.sync()
        self.assertEqual(a.value, 2)
        with self.assertRaises(ZeroDivisionError):
            space.import_("b")

    def test_at(self):
        first = self.commit({"a": "value = 1\ndef f():\n    return value\ndef old(): pass", "gone": "value = 1"})
        second = self.commit({"a": "value = 2\ndef f():\n    return value\ndef new(): pass", "gone": None})
        third = self.commit({"a": "value = 3\ndef f():\n    return value", "came": "value = 3"})
        space = self.attached()
        a = space.import_("a")
        f = a.f
        for commit, number in ((first, 1), (third, 3), (second, 2), (first, 1)):
            space.at(commit)
            self.assertIs(space.import_("a"), a)
            self.assertIs(a.f, f)
            self.assertEqual((a.value, f(), hasattr(a, "old"), hasattr(a, "new")),
                             (number, number, number == 1, number == 2))
        self.assertEqual(space.import_("gone").value, 1)
        self.assert_absent(space, "came")
        space.sync()
        self.assertEqual((f(), space.import_("came").value), (3, 3))
        self.assert_absent(space, "gone")

    def test_two_spaces_at_different_commits(self):
        first = self.commit({"a": "class C:\n    value = 1", "b": "from a import C"})
        one, two = self.attached(name="one"), self.attached(name="two")
        for space in (one, two):
            space.import_("b")
        self.commit({"a": "class C:\n    value = 2"})
        two.sync()
        self.assertEqual([space.import_("b").C.value for space in (one, two)], [1, 2])
        self.assertIsNot(one.import_("a").C, two.import_("a").C)
        two.at(first)
        one.sync()
        self.assertEqual([space.import_("b").C.value for space in (one, two)], [2, 1])
        one.discard()
        self.assertEqual(two.import_("a").C.value, 1)

    def test_detach(self):
        self.commit({"loaded": "value = 1\ndef f():\n    return value", "unloaded": ""})
        space = self.space()
        before = list(space.sys.meta_path)
        space.attach(self.store)
        f = space.import_("loaded").f
        space.detach()
        self.assertEqual(list(space.sys.meta_path), before)
        self.assertEqual(f(), 1)
        self.assert_absent(space, "unloaded")
        self.commit({"loaded": "value = 2\ndef f():\n    return value"})
        for use in (space.sync, lambda: space.at(self.store.head())):
            with self.assertRaises((modspace.StoreError, modspace.SpaceError)):
                use()
        self.assertEqual(f(), 1)
        space.attach(self.store)
        self.assertEqual(space.import_("unloaded").__name__, "unloaded")

    def test_without_a_store(self):
        space = self.space(name="bare")
        for use in (space.sync, lambda: space.at("0" * 64)):
            with self.assertRaises((modspace.StoreError, modspace.SpaceError)) as caught:
                use()
            self.assertIn("bare", str(caught.exception))
        for wrong in (None, 5, "app.store", object(), modspace.Store):
            with self.assertRaises(TypeError):
                space.attach(wrong)
        space.discard()
        for use in (lambda: space.attach(self.store), space.sync):
            with self.assertRaises(modspace.SpaceClosedError):
                use()

    def test_prefix(self):
        """The space finds in the store what the prefix names, and what is below that."""
        self.commit({"app.__init__": "value = 'stored'", "app.part.mod": "value = 'stored'",
                     "apple": "value = 'stored'", "other": "value = 'stored'"})
        space = self.attached(prefix="app", files={"other.py": "value = 'file'"})
        self.assertEqual([space.import_(name).value for name in ("app", "app.part.mod", "other")],
                         ["stored", "stored", "file"])
        self.assert_absent(space, "apple")
        self.commit({"app.part.mod": "value = 'new'", "other": "value = 'new'", "app.more": "value = 'new'"})
        space.sync()
        self.assertEqual([space.import_(name).value for name in ("app.part.mod", "app.more", "other")],
                         ["new", "new", "file"])

    def test_a_child_takes_the_modules_of_its_parent(self):
        self.commit({"a": "value = 1\ndef f():\n    return value"})
        parent = self.attached(name="parent")
        child = self.space(parent, name="child")
        child.exec("from a import f")
        self.assertIs(child.import_("a"), parent.import_("a"))
        self.commit({"a": "value = 2\ndef f():\n    return value"})
        parent.sync()
        self.assertEqual(child.eval("f()"), 2)

    def test_a_space_that_is_reloaded_stays_attached(self):
        self.commit({"a": "value = []"})
        space = self.attached()
        space.import_("a").value.append(1)
        space.reload()
        self.assertEqual(space.import_("a").value, [])
        self.commit({"a": "value = ['new']"})
        space.sync()
        self.assertEqual(space.import_("a").value, ["new"])

    def test_a_space_that_is_discarded_leaves_nothing(self):
        self.commit({"a": "import b\nclass C:\n    def f(self):\n        return b", "b": "import a\nvalue = a"})
        space = self.attached()
        space.import_("a")
        self.commit({"a": "import b\nclass C:\n    def f(self):\n        return 2"})
        space.sync()
        report = space.discard()
        self.assertTrue(report.clean, report)


class State(Stored):
    COUNTING = """\
count = 0
seen = []

def add():
    global count
    count += 1
    seen.append(count)
    return count
"""

    def test_it_stays_as_long_as_the_module_does_not_change(self):
        self.commit({"counting": self.COUNTING, "other": "value = 1"})
        space = self.attached()
        counting = space.import_("counting")
        counting.add()
        counting.extra = extra = object()
        self.commit({"other": "value = 2", "more": ""})
        space.sync()
        self.assertEqual((counting.add(), counting.seen), (2, [1, 2]))
        self.assertIs(counting.extra, extra)

    def test_it_is_what_the_source_says_after_an_update(self):
        self.commit({"counting": self.COUNTING})
        space = self.attached()
        counting = space.import_("counting")
        add = counting.add
        self.assertEqual([add(), add()], [1, 2])
        self.commit({"counting": self.COUNTING.replace("count += 1", "count += 10")})
        space.sync()
        self.assertEqual((counting.count, counting.seen), (0, []))
        self.assertEqual((add(), counting.count, counting.seen), (10, 10, [10]))

    def test_it_stays_when_an_update_fails(self):
        self.commit({"counting": self.COUNTING})
        space = self.attached()
        counting = space.import_("counting")
        seen = counting.seen
        counting.add()
        self.commit({"counting": self.COUNTING + "add()\n1/0"})
        with self.assertRaises(modspace.UpdateError):
            space.sync()
        self.assertIs(counting.seen, seen)
        self.assertEqual((counting.add(), seen), (2, [1, 2]))

    def test_each_space_has_its_own(self):
        self.commit({"counting": self.COUNTING})
        one, two = self.attached(), self.attached()
        self.assertEqual([space.import_("counting").add() for space in (one, one, two)], [1, 2, 1])

    def test_what_others_imported_by_name_is_the_new_value(self):
        self.commit({"values": "LIMIT = 1\nPAIR = 1, 1", "uses": "from values import LIMIT, PAIR as both\n"
                                                                "def now():\n    return LIMIT, both"})
        space = self.attached()
        uses = space.import_("uses")
        self.commit({"values": "LIMIT = 2\nPAIR = 2, 2"})
        space.sync()
        self.assertEqual((uses.LIMIT, uses.both, uses.now()), (2, (2, 2), (2, (2, 2))))


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


class Threads(Stored):
    SYNCS = 25 * STRESS

    @staticmethod
    def sources(number):
        """Two modules that are of one version, in their values and in their code."""
        return {
            "left": f"FIRST = {number}\nSECOND = {number}\ndef pair():\n    return FIRST, SECOND, {number}\n"
                    f"class Kind:\n    value = {number}\n    def read(self):\n        return self.value, {number}\n",
            "right": f"import left\nfrom left import FIRST\nTHIRD = {number}\n"
                     f"def both():\n    return left.FIRST, left.SECOND, FIRST, THIRD, {number}\n",
        }

    def test_calls_during_syncs_see_one_commit(self):
        self.commit(self.sources(0))
        space = self.attached()
        left, right = space.import_("left"), space.import_("right")
        both = right.both
        done = threading.Event()

        def look():
            """What a module has at one moment."""
            while not done.is_set():
                for module, names in ((left, ("FIRST", "SECOND")), (right, ("FIRST", "THIRD"))):
                    seen = vars(module).copy()
                    self.assertEqual(seen[names[0]], seen[names[1]])

        def compare(one, other):
            """What was seen of one module holds for the other, seen later."""
            while not done.is_set():
                before = one()
                self.assertGreaterEqual(other(), before)
        # A call that goes on finishes in the old code; it ends with the number of that.
        reads = (lambda: left.FIRST, lambda: right.THIRD, lambda: right.FIRST, lambda: left.pair()[-1],
                 lambda: right.both()[-1], lambda: left.Kind.value, left.Kind().read)
        reads = (*reads[:-1], lambda read=reads[-1]: read()[-1])

        def follow():
            try:
                for number in range(1, self.SYNCS + 1):
                    self.commit(self.sources(number))
                    space.sync()
                    self.assertEqual(set(both()), {number})
            finally:
                done.set()
        pairs = [(one, other) for one in reads for other in reads if one is not other]
        pairs = random.Random(SEED).sample(pairs, 6)
        errors = run_threads([follow, look, *(lambda pair=pair: compare(*pair) for pair in pairs)])
        self.assertEqual([repr(error) for error in errors], [], f"MODSPACE_SEED={SEED}")
        self.assertEqual(set(left.pair()), {self.SYNCS})

    def test_imports_during_syncs(self):
        names = [f"pkg.m{index}" for index in range(20)]
        self.commit({name: "value = 0" for name in names})
        space = self.attached()

        def load(order):
            for name in order:
                self.assertEqual(space.import_(name).__name__, name)

        def follow():
            for number in range(1, 11):
                self.commit({name: f"value = {number}" for name in names})
                space.sync()
        errors = run_threads([follow, lambda: load(names), lambda: load(names[::-1]), lambda: load(names[::3])])
        self.assertEqual([repr(error) for error in errors], [])
        self.assertEqual({space.import_(name).value for name in names}, {10})

    def test_syncs_at_once(self):
        self.commit(self.sources(0))
        space = self.attached()
        both = space.import_("right").both

        def work(first):
            for number in range(first, first + 10):
                with self.store.transaction() as change:
                    change.new(f"made.m{number}", f"value = {number}")
                space.sync()
                self.assertEqual(space.import_(f"made.m{number}").value, number)
        errors = run_threads([lambda first=first: work(first) for first in (0, 100, 200)])
        self.assertEqual([repr(error) for error in errors], [])
        self.assertEqual(set(both()), {0})

    def test_a_sync_of_one_space_does_not_touch_another(self):
        self.commit(self.sources(0))
        still, moving = self.attached(name="still"), self.attached(name="moving")
        both = still.import_("right").both
        moving.import_("right")
        done = threading.Event()

        def call():
            while not done.is_set():
                self.assertEqual(set(both()), {0})

        def follow():
            try:
                for number in range(1, 11):
                    self.commit(self.sources(number))
                    moving.sync()
            finally:
                done.set()
        self.assertEqual([repr(error) for error in run_threads([follow, call, call])], [])
        self.assertEqual(set(moving.import_("right").both()), {10})


class Interface(Stored):
    def test_errors_are_classes_of_the_module(self):
        for name, bases in (("StoreError", (Exception,)), ("NoModuleError", (modspace.StoreError, LookupError)),
                            ("ConflictError", (modspace.StoreError,)), ("UpdateError", (Exception,))):
            kind = getattr(modspace, name)
            self.assertEqual((kind.__module__, kind.__name__), ("modspace", name))
            for base in bases:
                self.assertTrue(issubclass(kind, base), name)

    def test_the_interface_is_there_in_every_space(self):
        space = self.space()
        space.exec("""if True:
            import modspace
            store = modspace.Store.memory()
            store.new_module("inner", "value = 1")
            modspace.current().attach(store)
            import inner
            try:
                store.find_module("absent")
            except modspace.NoModuleError as error:
                raised = error
            """)
        self.assertEqual(space.ns["inner"].value, 1)
        self.assertIsInstance(space.ns["raised"], modspace.NoModuleError)

    def test_representations(self):
        path = os.path.join(self.tree(), "app.store")
        self.assertIn("app.store", repr(modspace.Store.open(path)))
        commit = self.commit({"a": "1"})
        self.assertIn(commit[:12], repr(self.store.log()[0]))
        self.assertIn("'a'", repr(self.store.find_module("a")))
        for text in (repr(self.store), repr(self.store.transaction())):
            self.assertTrue(text.startswith("<") and text.endswith(">"), text)

    def test_a_source_is_the_text_that_ast_unparses(self):
        """A program that changes modules by their syntax trees, as an editor does."""
        self.commit({"rates": "RATE = 5\ndef tax(x):\n    return x * RATE\n"})
        space = self.attached()
        tax = space.import_("rates").tax
        with self.store.transaction(message="raise the rate") as change:
            tree = ast.parse(change.source("rates"))
            tree.body[0].value = ast.Constant(7)
            change.update("rates", ast.unparse(tree))
        space.sync()
        self.assertEqual(tax(2), 14)


if __name__ == "__main__":
    unittest.main()
