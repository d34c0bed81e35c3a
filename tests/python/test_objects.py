"""Objects in a store: pickled graphs under keys, and transactions that change them."""

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import gc
import pathlib
import re
import sys
import threading
import typing
import unittest
import weakref

import modspace
from storing import ACCOUNT, Counted, Objects
from support import run_threads


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    class Nested:
        value = 1


@dataclasses.dataclass
class Line:
    start: Point
    end: Point


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Pair(typing.NamedTuple):
    left: int
    right: int


class Slotted:
    __slots__ = ("a", "b")


class Reduced:
    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return Reduced, (self.text + "!",)


class Locked:
    def __init__(self):
        self.names = {"inside": [1, threading.Lock()]}


class Awkward:
    """Does what it is told when it is pickled."""

    action = staticmethod(lambda: None)

    def __reduce__(self):
        Awkward.action()
        return Awkward, ()


class Roots(Objects):
    def test_it_is_a_mapping(self):
        root = self.root
        self.assertIsInstance(root, collections.abc.MutableMapping)
        self.assertEqual((len(root), list(root), dict(root)), (0, [], {}))
        root["b"] = [1, {"two": 2}]
        root["a"] = None
        self.assertEqual((len(root), list(root), dict(root)), (2, ["a", "b"], {"a": None, "b": [1, {"two": 2}]}))
        self.assertTrue("a" in root and "c" not in root and 1 not in root and "\ud800" not in root)
        self.assertEqual((root.get("c", 5), root.pop("a", 6), root.pop("a", 7)), (5, None, 7))
        self.assertEqual(root.setdefault("b", 8), [1, {"two": 2}])
        self.assertEqual(root.setdefault("c", 9), 9)
        del root["c"]
        self.assertEqual(sorted(root.items()), [("b", [1, {"two": 2}])])
        for missing in ("c", "\ud800", 1, None):
            with self.subTest(missing), self.assertRaises(KeyError) as caught:
                root[missing]
            self.assertEqual(caught.exception.args, (missing,))
            with self.assertRaises(KeyError) as caught:
                del root[missing]
            self.assertEqual(caught.exception.args, (missing,))
        self.assertIn("'main'".replace("'", '"'), repr(root))

    def test_each_change_is_a_commit(self):
        self.root["a"] = 1
        first = self.store.head()
        self.root["a"] = 2
        self.assertEqual(self.store.log()[0].parents, [first])
        self.root["a"] = 2
        self.assertEqual(len(self.store.log()), 2)
        self.root.update({"b": 3}, c=4)
        self.assertEqual((len(self.store.log()), dict(self.root)), (3, {"a": 2, "b": 3, "c": 4}))
        self.root.clear()
        self.assertEqual((len(self.store.log()), dict(self.root)), (4, {}))
        self.assertEqual(dict(self.store.root(at=first)), {"a": 1})

    def test_reading_makes_a_new_object_and_keeps_nothing_done_to_it(self):
        self.root["a"] = []
        self.root["a"].append(1)
        self.assertEqual(self.root["a"], [])
        self.assertIsNot(self.root["a"], self.root["a"])

    def test_branches_and_commits(self):
        self.root["a"] = 1
        head = self.store.head()
        other = self.store.root("other")
        other["a"] = 2
        self.assertEqual((self.root["a"], other["a"]), (1, 2))
        self.root["a"] = 3
        then = self.store.root(at=head)
        self.assertEqual((then["a"], list(then)), (1, ["a"]))
        for change in (lambda: then.update(a=4), lambda: then.clear(), lambda: then.__delitem__("a")):
            with self.assertRaisesRegex(modspace.StoreError, f"shows the commit {head[:12]}.*branch"):
                change()
        with self.assertRaisesRegex(modspace.StoreError, "no commit"):
            self.store.root(at="0" * 64)
        with self.assertRaisesRegex(modspace.StoreError, "not a branch name"):
            self.store.root("no branch")
        with self.assertRaisesRegex(ValueError, "'name' or 'identity', not 'both'"):
            self.store.root(references="both")
        with self.assertRaisesRegex(TypeError, "class_factory must be a function, not int"):
            self.store.root(class_factory=1)

    def test_what_cannot_be_a_key_is_named(self):
        for key, error, message in (
            (1, TypeError, "must be str, not int"), (b"a", TypeError, "must be str, not bytes"),
            ("a\ud800", modspace.StoreError, "surrogate"), ("k" * 1001, modspace.StoreError, "longer than 1000 bytes"),
            ("ü" * 501, modspace.StoreError, "longer than 1000 bytes"),
        ):
            with self.subTest(key), self.assertRaisesRegex(error, message):
                self.root[key] = 1
            with self.subTest(key), self.assertRaisesRegex(error, message), self.store.transaction() as change:
                change.root()[key] = 1
        self.assertIsNone(self.store.head())
        for key in ("", "ü" * 500, "a/b c\0\n"):
            self.root[key] = key
            self.assertEqual(self.root[key], key)

    def test_values_of_all_kinds(self):
        values = {
            "atoms": [None, True, 1, -2**100, 1.5, 2j, "text \ud800 ü", b"\0\xff", bytearray(b"x"), ...],
            "containers": ({1, 2}, frozenset("ab"), (1, (2,)), collections.OrderedDict(a=1), collections.Counter("aab")),
            "library": [decimal.Decimal("1.10"), datetime.date(2026, 1, 2), datetime.timezone.utc],
            "instance": Line(Point(1, 2), Point(3, 4)),
            "enum": [Colour.RED, Colour.GREEN],
            "tuple": Pair(1, 2),
            "class": [Point, Point.Nested, Pair, len, Point.__init__],
        }
        self.root.update(values)
        for key in ("atoms", "containers", "library", "enum", "tuple", "class"):
            self.assertEqual(self.root[key], values[key])
        line = self.root["instance"]
        self.assertEqual((type(line), line.start.x, line.end.y), (Line, 1, 4))
        self.assertIs(self.root["enum"][0], Colour.RED)
        slotted = Slotted()
        slotted.a = 1
        self.root["slotted"] = slotted
        self.assertEqual((self.root["slotted"].a, hasattr(self.root["slotted"], "b")), (1, False))
        self.root["reduced"] = Reduced("x")
        self.assertEqual(self.root["reduced"].text, "x!")

    def test_a_graph_keeps_its_shape(self):
        ring = [Point(1, 2)]
        ring.append(ring)
        ring.append(ring[0])
        self.root["ring"] = ring
        ring = self.root["ring"]
        self.assertIs(ring[1], ring)
        self.assertIs(ring[2], ring[0])

    def test_an_object_under_two_keys_is_stored_twice(self):
        point = Point(1, 2)
        with self.store.transaction() as change:
            change.root().update(a=point, b=point)
        with self.store.transaction() as change:
            self.assertIsNot(change.root()["a"], change.root()["b"])

    def test_what_an_object_refers_to(self):
        self.root["a"] = [Point(1, 2), Colour.RED, decimal.Decimal(1)]
        self.root["b"] = "text"
        self.assertEqual(self.root.classes("a"), [
            ("__main__", "Colour", None), ("__main__", "Point", None), ("decimal", "Decimal", None),
        ])
        self.assertEqual(self.root.classes("b"), [])
        with self.assertRaises(KeyError):
            self.root.classes("c")

    def test_a_large_value(self):
        data = b"0123456789" * 10_000_000
        self.root["large"] = data
        with self.store.transaction() as change:
            self.assertTrue(change.root()["large"] == data)
        self.assertEqual(len(self.store.log()), 1)

    def test_a_deep_value_is_an_error_that_names_the_key(self):
        deep = []
        for _ in range(100_000):
            deep = [deep]
        with self.refused('the object "deep" cannot be pickled: RecursionError'):
            self.root["deep"] = deep
        self.assertIsNone(self.store.head())
        while deep:
            deep = deep.pop()

    def test_what_cannot_be_pickled_is_named_with_the_way_to_it(self):
        with self.refused('the object "a" cannot be pickled: TypeError', "in list item 1 of dict item 'inside' of dict item",
                          "of Locked state of Locked object") as caught:
            self.root["a"] = Locked()
        self.assertEqual(caught.error.key, "a")
        self.assertIsInstance(caught.error.__cause__, TypeError)
        self.assertIsInstance(caught.error, modspace.StoreError)

        def local():
            class Local:
                pass
            return Local()
        for value in (local(), lambda: 1, (one for one in ()), sys):
            with self.subTest(value), self.refused('the object "a" cannot be pickled'):
                self.root.update(b=1, a=value)
        self.assertEqual((len(self.root), self.store.head()), (0, None))

    def test_interrupts_are_no_errors_of_objects(self):
        def interrupt():
            raise KeyboardInterrupt
        Awkward.action = interrupt
        self.addCleanup(setattr, Awkward, "action", staticmethod(lambda: None))
        with self.assertRaises(KeyboardInterrupt):
            self.root["a"] = Awkward()
        self.assertEqual(len(self.root), 0)

    def test_extension_codes_are_refused(self):
        import copyreg
        copyreg.add_extension("__main__", "Point", 0x7001)
        self.addCleanup(copyreg.remove_extension, "__main__", "Point", 0x7001)
        with self.refused('the object "a" cannot be stored', "copyreg.remove_extension()"):
            self.root["a"] = Point(1, 2)

    def test_undo_and_log(self):
        self.root.update(a=1, b=1)
        self.root.update(a=2)
        second = self.store.head()
        self.root["b"] = 3
        self.store.undo(second)
        self.assertEqual(dict(self.root), {"a": 1, "b": 3})

    def test_threads_share_a_root(self):
        def put(number):
            for step in range(10):
                while True:
                    try:
                        self.root[f"{number} {step}"] = [number, step]
                        break
                    except modspace.ConflictError:
                        self.fail("nobody else has this key")
        self.assertEqual(run_threads([lambda number=number: put(number) for number in range(4)], collect=True), [])
        self.assertEqual(len(self.root), 40)
        self.assertEqual(self.root["3 9"], [3, 9])


class Transactions(Objects):
    def test_objects_and_modules_go_together(self):
        with self.store.transaction(message="both", author="me") as change:
            change.new("bank", ACCOUNT)
            change.root()["rate"] = 0.5
            self.assertEqual((len(self.root), self.store.modules()), (0, []))
        self.assertEqual((self.root["rate"], self.store.modules(), len(self.store.log())), (0.5, ["bank"], 1))

    def test_reading_gives_the_same_object_and_stores_what_was_done_to_it(self):
        self.root.update(a=[], b={"x": Point(1, 2)}, c=[1])
        with self.store.transaction() as change:
            root = change.root()
            self.assertIs(root, change.root())
            self.assertIs(root["a"], root["a"])
            root["a"].append(1)
            root["b"]["x"].x = 5
            root["c"]
        self.assertEqual((self.root["a"], self.root["b"]["x"].x, self.root["c"]), ([1], 5, [1]))
        self.assertEqual(len(self.store.log()), 2)

    def test_what_did_not_change_is_not_written(self):
        self.root.update(a=Counted(), b=Counted())
        head = self.store.head()
        with self.store.transaction() as change:
            self.assertEqual((change.root()["a"].value, change.root()["b"].value), (0, 0))
        self.assertEqual(self.store.head(), head)
        # Who changed the other one meanwhile is in nobody's way.
        with self.store.transaction() as change:
            change.root()["a"].value = change.root()["b"].value + 1
            self.root["b"] = Counted()
        self.assertEqual(self.root["a"].value, 1)

    def test_what_was_not_read_is_not_pickled(self):
        self.root.update(a=Counted(), b=Counted())
        Counted.pickled = 0
        with self.store.transaction() as change:
            root = change.root()
            self.assertEqual((len(root), sorted(root), "b" in root), (2, ["a", "b"], True))
            root["c"] = 1
        self.assertEqual(Counted.pickled, 0)

    def test_it_sees_its_own_changes_and_no_others(self):
        self.root.update(a=1, b=2)
        with self.store.transaction() as change:
            root = change.root()
            root["c"] = assigned = [3]
            del root["a"]
            self.root.update(b="theirs", d="theirs")
            self.assertEqual((sorted(root.items()), len(root)), ([("b", 2), ("c", [3])], 2))
            self.assertIs(root["c"], assigned)
            for missing in ("a", "d"):
                self.assertNotIn(missing, root)
                with self.assertRaises(KeyError):
                    root[missing]
                with self.assertRaises(KeyError):
                    del root[missing]
            root["a"] = "again"
            assigned.append(4)
        self.assertEqual(dict(self.root), {"a": "again", "b": "theirs", "c": [3, 4], "d": "theirs"})

    def test_clear_and_update(self):
        self.root.update(a=1, b=2)
        with self.store.transaction() as change:
            root = change.root()
            root["c"] = 3
            root.clear()
            self.assertEqual((len(root), list(root)), (0, []))
            root.update({"d": 4}, e=5)
        self.assertEqual(dict(self.root), {"d": 4, "e": 5})

    def test_two_that_change_one_object_conflict(self):
        self.root.update(a=[], b=[])
        one, two = self.store.transaction(author="Ann"), self.store.transaction(author="Bob")
        one.root()["a"].append(1)
        two.root()["a"].append(2)
        two.root()["b"].append(2)
        one.commit()
        head = self.store.head()
        with self.assertRaisesRegex(modspace.ConflictError, "the object \"a\" changed in .* by Ann") as caught:
            two.commit()
        self.assertEqual((caught.exception.objects, caught.exception.modules), (["a"], []))
        self.assertEqual((caught.exception.others, self.store.head()), ([(head, "Ann")], head))
        with self.assertRaisesRegex(modspace.StoreError, "failed to commit"):
            two.root()

    def test_two_that_change_different_objects_are_merged(self):
        self.root.update(a=[], b=[])
        one, two = self.store.transaction(), self.store.transaction()
        one.root()["a"].append(len(one.root()["b"]))
        two.root()["b"].append(len(two.root()["a"]))
        one.commit()
        two.commit()
        self.assertEqual(dict(self.root), {"a": [0], "b": [0]})

    def test_savepoints_bring_objects_back(self):
        self.root.update(a=[1], b=[2])
        with self.store.transaction() as change:
            root = change.root()
            root["a"].append("kept")
            root["new"] = ["kept"]
            savepoint = change.savepoint()
            held = root["a"]
            root["a"].append("gone")
            root["new"].append("gone")
            root["b"].append("gone")
            root["other"] = 1
            del root["b"]
            change.rollback(savepoint)
            self.assertEqual(dict(root), {"a": [1, "kept"], "b": [2], "new": ["kept"]})
            # It is an object of before: what is done to it is lost.
            held.append("lost")
            self.assertIsNot(held, root["a"])
            root["b"].append("kept")
            change.rollback(savepoint)
            root["b"].append("last")
        self.assertEqual(dict(self.root), {"a": [1, "kept"], "b": [2, "last"], "new": ["kept"]})

    def test_an_aborted_one_changes_nothing(self):
        self.root["a"] = [1]
        change = self.store.transaction()
        root = change.root()
        held = root["a"]
        held.append(2)
        root["b"] = 1
        change.abort()
        for use in (lambda: root["a"], lambda: root.__setitem__("a", 1), lambda: len(root), lambda: list(root), change.root,
                    lambda: root.__delitem__("a"), lambda: "a" in root, lambda: root.classes("a"), change.savepoint):
            with self.assertRaisesRegex(modspace.StoreError, "has been aborted"):
                use()
        with self.assertRaises(ZeroDivisionError), self.store.transaction() as change:
            change.root()["a"].append(3)
            1 / 0
        self.assertEqual((dict(self.root), held), ({"a": [1]}, [1, 2]))

    def test_only_the_thread_that_began_it_can_use_it(self):
        self.root["a"] = [1]
        change = self.store.transaction()
        root = change.root()
        root["a"]
        uses = [lambda: root["a"], lambda: root.__setitem__("a", 1), lambda: len(root), change.root]
        errors = run_threads(uses)
        self.assertEqual([type(error) for error in errors], [modspace.StoreError] * len(uses))
        for error in errors:
            self.assertIn("another thread", str(error))
        self.assertEqual(root["a"], [1])

    def test_it_has_one_root(self):
        with self.store.transaction() as change:
            def factory(module, name): ...
            root = change.root(class_factory=factory, references="identity")
            self.assertIs(change.root(), root)
            self.assertIs(change.root(class_factory=factory, references="identity"), root)
            with self.assertRaisesRegex(ValueError, "another class_factory or references"):
                change.root(references="name")

    def test_what_cannot_be_pickled_leaves_it_open(self):
        self.root["a"] = [1]
        change = self.store.transaction()
        root = change.root()
        root["a"].append(2)
        root["b"] = lock = threading.Lock()
        change.new("m", "")
        for attempt in (change.commit, change.savepoint):
            with self.refused('the object "b" cannot be pickled'):
                attempt()
            self.assertEqual((dict(self.root), self.store.modules()), ({"a": [1]}, []))
            self.assertEqual((root["a"], root["b"]), ([1, 2], lock))
        root["b"] = "better"
        change.commit()
        self.assertEqual((dict(self.root), self.store.modules()), ({"a": [1, 2], "b": "better"}, ["m"]))

    def test_what_cannot_be_pickled_at_the_end_of_with_aborts(self):
        with self.refused('the object "a" cannot be pickled'), self.store.transaction() as change:
            change.root()["a"] = threading.Lock()
            change.new("m", "")
        with self.assertRaisesRegex(modspace.StoreError, "has been aborted"):
            change.root()
        self.assertIsNone(self.store.head())

    def test_pickling_may_use_the_root(self):
        self.addCleanup(setattr, Awkward, "action", staticmethod(lambda: None))
        change = self.store.transaction()
        root = change.root()
        root["a"] = Awkward()

        def commit():
            with self.assertRaisesRegex(modspace.StoreError, "are being pickled"):
                change.commit()
            root["b"] = len(root)
        Awkward.action = staticmethod(commit)
        change.savepoint()
        Awkward.action = staticmethod(lambda: None)
        change.commit()
        self.assertEqual(self.root["b"], 1)

    def test_what_can_be_read_but_not_written_is_said_when_it_is_read(self):
        class Gone:
            pass
        globals()["Gone"] = Gone
        Gone.__qualname__ = "Gone"
        self.root["a"] = Gone()
        try:
            with self.store.transaction() as change:
                # What the factory gives has a name under which it is not found.
                local = type("Local", (), {"__module__": "nowhere"})
                with self.refused('the object "a" cannot be pickled', "nowhere"):
                    change.root(class_factory=lambda module, name: local)["a"]
        finally:
            del globals()["Gone"]

    def test_ended_ones_hold_nothing(self):
        self.root["a"] = Point(1, 2)
        for end in ("commit", "abort", None):
            change = self.store.transaction()
            root = change.root()
            objects = [weakref.ref(root["a"])]
            root["b"] = Point(3, 4)
            objects.append(weakref.ref(root["b"]))
            if end is not None:
                getattr(change, end)()
                root = None if end == "abort" else root
            else:
                del root
            del change
            gc.collect()
            self.assertEqual([reference() for reference in objects], [None, None], end)


class Documentation(Objects):
    def test_the_examples_work(self):
        text = pathlib.Path(__file__).parents[2].joinpath("docs", "objects.md").read_text()
        mapping, moved, copies, _ = re.findall("^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        self.store.new_module("bank", ACCOUNT)
        space = self.attached()
        space.exec("from bank import Account")
        space.ns.update(store=self.store, new_source=ACCOUNT + "    limit = 5\n", other_store=modspace.Store.memory())
        space.exec(mapping)
        self.assertEqual((self.store.log()[0].message, sorted(self.root)), ("pay", ["ann", "bob"]))
        self.store.rename_module("bank", "finance.accounts")
        space.sync()
        space.exec(moved)
        space.exec(copies)
        there = self.attached(space.ns["other_store"])
        self.assertEqual(self.take(there, "(it.balance(), it.limit)", "ann", space.ns["other_store"]), (10, 5))


if __name__ == "__main__":
    unittest.main()
