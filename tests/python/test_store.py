"""Modules in a store: transactions, savepoints, conflicts and history."""

import unittest

import modspace
from storing import Stored
from support import run_threads


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


if __name__ == "__main__":
    unittest.main()
