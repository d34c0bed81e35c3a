"""Objects in a store: pickled graphs under keys, their classes, transactions, and copies of them."""

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import gc
import pathlib
import pickle
import re
import sys
import threading
import typing
import unittest
import weakref

import modspace
from support import Watched, run_threads, shelf

ACCOUNT = """
class Account:
    def __init__(self, owner):
        self.owner = owner
        self.entries = []

    def pay(self, amount):
        self.entries.append(amount)

    def balance(self):
        return sum(self.entries)
"""


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


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __init__(self):
        self.value = 0

    def __getstate__(self):
        Counted.pickled += 1
        return vars(self)


class Locked:
    def __init__(self):
        self.names = {"inside": [1, threading.Lock()]}


class Awkward:
    """Does what it is told when it is pickled."""

    action = staticmethod(lambda: None)

    def __reduce__(self):
        Awkward.action()
        return Awkward, ()


class Objects(Watched):
    """A test with a store and its objects."""

    def setUp(self):
        super().setUp()
        self.store = modspace.Store.memory()
        self.root = self.store.root()

    def attached(self, store=None, **options):
        space = self.space(**options)
        space.attach(store or self.store)
        return space

    def put(self, space, expression, key="it", store=None, references="name"):
        """Stores the value of an expression of the space."""
        space.ns["root"] = (store or self.store).root(references=references)
        space.exec(f"root[{key!r}] = {expression}")

    def take(self, space, expression, key="it", store=None, **options):
        """The value of an expression of the space about what is stored, `it`."""
        space.ns["root"] = (store or self.store).root(**options)
        space.exec(f"it = root[{key!r}]")
        return space.eval(expression)

    def refused(self, *parts):
        """An `ObjectError` whose message has these parts."""
        test = self

        class Refused:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, traceback):
                test.assertIsNotNone(error, "nothing was raised")
                if not isinstance(error, modspace.ObjectError):
                    return False
                for part in parts:
                    test.assertIn(part, str(error))
                self.error = error
                return True
        return Refused()


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


class Classes(Objects):
    """Where the classes of stored objects come from."""

    def test_a_space_finds_classes_of_its_modules(self):
        files = {"shapes.py": "class Square:\n    def __init__(self, side):\n        self.side = side\n"}
        one, two = self.space(), self.space()
        for space in (one, two):
            space.sys.path.insert(0, self.tree(files))
        self.put(one, "__import__('shapes').Square(3)")
        self.assertEqual(self.take(two, "it.side"), 3)
        self.assertIs(self.take(two, "type(it)"), two.sys.modules["shapes"].Square)
        self.assertIsNot(two.sys.modules["shapes"], one.sys.modules["shapes"])

    def test_main_is_that_of_the_space(self):
        space = self.space()
        space.exec("class Mine:\n    class Inner: pass")
        self.put(space, "[Mine(), Mine.Inner()]")
        self.assertEqual(self.take(space, "[type(one) for one in it]"), [space.ns["Mine"], space.ns["Mine"].Inner])
        with self.refused('the object "it" refers to "Mine" of the module "__main__"', "Put it into a module",
                          "class_factory=") as caught:
            self.root["it"]
        self.assertEqual((caught.error.key, caught.error.module, caught.error.name), ("it", "__main__", "Mine"))

    def test_classes_of_modules_in_the_store(self):
        self.store.new_module("bank", ACCOUNT)
        one, two = self.attached(), self.attached()
        self.put(one, "__import__('bank').Account('Ann')")
        self.assertEqual(self.take(two, "it.owner"), "Ann")
        self.assertIs(self.take(two, "type(it)"), two.sys.modules["bank"].Account)
        with self.refused('the object "it" refers to "Account" of the module "bank"', "No module named 'bank'",
                          "attach the space"):
            self.root["it"]

    def test_a_child_finds_what_its_parent_has(self):
        self.store.new_module("bank", ACCOUNT)
        parent = self.attached()
        for references in ("name", "identity"):
            child = self.space(parent)
            self.put(child, "__import__('bank').Account('Ann')", references=references)
            self.assertEqual(self.take(child, "it.owner"), "Ann")
            self.assertIs(self.take(child, "type(it)"), parent.sys.modules["bank"].Account)

    def test_an_instance_loads_under_the_next_version_of_its_class(self):
        self.store.new_module("bank", ACCOUNT)
        space = self.attached()
        self.put(space, "__import__('bank').Account('Ann')")
        self.store.update_module("bank", ACCOUNT.replace("sum(self.entries)", "'much'") + """
    limit = 100

    def __setstate__(self, state):
        self.__dict__.update(state, name=state.get("owner", state.get("name")))
""")
        # The space has the commit that it sees, and so the class.
        self.assertEqual(self.take(space, "(it.balance(), it.owner)"), (0, "Ann"))
        space.sync()
        self.assertEqual(self.take(space, "(it.balance(), it.limit, it.name)"), ("much", 100, "Ann"))
        self.put(space, "it")
        self.assertEqual(self.take(self.attached(), "it.name"), "Ann")

    def test_versions_of_classes(self):
        """What is stored under the first source loads under the second one."""
        cases = {
            "an attribute comes": ("class A: pass", "A()", "class A:\n    size = 5", "it.size", 5),
            "an attribute goes": ("class A:\n    x = 1\n    def __init__(self): self.y = 2", "A()", "class A: pass",
                                  "(it.y, hasattr(it, 'x'))", (2, False)),
            "a dataclass gets a field": (
                "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int", "A(1)",
                "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\n    y: int = 7", "(it.x, it.y)", (1, 7)),
            "a member comes": ("import enum\nclass A(enum.Enum):\n    B = 1", "A.B",
                               "import enum\nclass A(enum.Enum):\n    C = 0\n    B = 1", "it.name", "B"),
            "a member gets another name": ("import enum\nclass A(enum.Enum):\n    B = 1", "A.B",
                                           "import enum\nclass A(enum.Enum):\n    C = 1", "it.name", "C"),
            "a member gets another value": (
                "import enum\nclass A(enum.Enum):\n    B = 1", "A.B",
                "import enum\nclass A(enum.Enum):\n    B = 2\n    @classmethod\n    def _missing_(cls, value):\n"
                "        return {1: cls.B}.get(value)", "it.value", 2),
            "a named tuple gets a default": (
                "import typing\nclass A(typing.NamedTuple):\n    x: int", "A(1)",
                "import typing\nclass A(typing.NamedTuple):\n    x: int\n    y: int = 3", "it", (1, 3)),
            "slots come": ("class A:\n    def __init__(self): self.x = 1", "A()",
                           "class A:\n    __slots__ = ('x', 'y')\n    def __setstate__(self, state):\n"
                           "        for pair in state.items(): setattr(self, *pair)", "it.x", 1),
            "slots get another": ("class A:\n    __slots__ = ('x',)\n    def __init__(self): self.x = 1", "A()",
                                  "class A:\n    __slots__ = ('y', 'x')", "(it.x, hasattr(it, 'y'))", (1, False)),
            "slots go": ("class A:\n    __slots__ = ('x',)\n    def __init__(self): self.x = 1", "A()", "class A: pass",
                         "vars(it)", {"x": 1}),
            "a base comes": ("class A: pass", "A()", "class B: kind = 'b'\nclass A(B): pass", "it.kind", "b"),
            "reduced by a function": (
                "def make(x):\n    return A(x)\nclass A:\n    def __init__(self, x): self.x = x\n"
                "    def __reduce__(self): return make, (self.x,)", "A(1)",
                "def make(x, y=2):\n    return A(x + y)\nclass A:\n    def __init__(self, x): self.x = x", "it.x", 3),
            "new arguments": ("class A:\n    def __new__(cls, x):\n        self = object.__new__(cls)\n        self.x = x\n"
                              "        return self\n    def __getnewargs__(self): return (self.x,)", "A(1)",
                              "class A:\n    def __new__(cls, x, y=5):\n        self = object.__new__(cls)\n"
                              "        self.y = y\n        return self", "(it.x, it.y)", (1, 5)),
            "a class becomes a function": ("class A: pass", "A", "def A(): return 'made'", "it()", "made"),
            "a nested class": ("class A:\n    class B: pass", "A.B()", "class A:\n    class B: z = 1", "it.z", 1),
        }
        for name, (old, expression, new, question, answer) in cases.items():
            for references in ("name", "identity"):
                with self.subTest(name, references=references):
                    store = modspace.Store.memory()
                    store.new_module("m", old)
                    space = self.attached(store)
                    space.exec("from m import *")
                    self.put(space, expression, store=store, references=references)
                    store.update_module("m", new)
                    # In one that never saw the old source, and in one that is updated.
                    self.assertEqual(self.take(self.attached(store), question, store=store), answer)
                    space.sync(replace=True)
                    self.assertEqual(self.take(space, question, store=store), answer)

    def test_a_class_that_went_is_named(self):
        self.store.new_module("bank", ACCOUNT)
        space = self.attached()
        self.put(space, "[__import__('bank').Account('Ann')]")
        self.store.update_module("bank", "")
        space.sync()
        for references in ("name", "identity"):
            with self.refused('the object "it" refers to "Account" of the module "bank"', "AttributeError"):
                self.take(space, "it", references=references)

    def test_a_module_that_fails_is_the_cause(self):
        self.store.new_module("bank", ACCOUNT)
        self.put(self.attached(), "__import__('bank').Account('Ann')")
        self.store.update_module("bank", "1 / 0")
        with self.refused('the object "it" cannot be unpickled: ZeroDivisionError') as caught:
            self.take(self.attached(), "it")
        self.assertIsInstance(caught.error.__cause__, ZeroDivisionError)

    def test_a_class_factory_is_asked_first(self):
        self.store.new_module("bank", ACCOUNT)
        self.put(self.attached(), "[__import__('bank').Account('Ann'), __import__('decimal').Decimal(5)]")
        asked = []

        def factory(module, name):
            asked.append((module, name))
            return Point.Nested if module == "bank" else None
        account, number = self.store.root(class_factory=factory)["it"]
        self.assertEqual((type(account), account.owner, number), (Point.Nested, "Ann", 5))
        self.assertEqual(asked, [("bank", "Account"), ("decimal", "Decimal")])

        def failing(module, name):
            raise LookupError("no idea")
        with self.refused('the object "it" cannot be unpickled: LookupError: no idea'):
            self.store.root(class_factory=failing)["it"]

    def test_a_moved_class_is_found_by_a_factory_and_stored_under_its_new_name(self):
        self.store.new_module("bank", ACCOUNT)
        space = self.attached()
        self.put(space, "__import__('bank').Account('Ann')")
        with self.store.transaction() as change:
            change.remove("bank")
            change.new("finance.accounts", ACCOUNT)
        space.sync()
        space.exec("""
def factory(module, name):
    if module == "bank":
        import finance.accounts
        return getattr(finance.accounts, name)
""")
        space.ns["store"] = self.store
        space.exec("""
with store.transaction() as change:
    change.root(class_factory=factory)["it"].pay(5)
""")
        self.assertEqual(self.take(self.attached(), "(it.balance(), type(it).__module__)"), (5, "finance.accounts"))
        self.assertEqual(self.root.classes("it"), [("finance.accounts", "Account", None)])

    def test_damaged_pickles_are_named(self):
        path = self.tree() + "/app.store"
        store = modspace.Store.open(path)
        store.root()["a"] = "x" * 1000
        store.root()["b"] = "y"
        import sqlite3
        with sqlite3.connect(path) as file:
            file.execute("UPDATE records SET bytes = CAST('bzzz' AS BLOB) WHERE length(bytes) > 1000")
        file.close()
        with self.refused('the object "a" cannot be read: the record', "damaged"):
            store.root()["a"]
        self.assertEqual(store.root()["b"], "y")


class Identity(Objects):
    """References by the identity of the class's module."""

    def setUp(self):
        super().setUp()
        self.store.new_module("bank", ACCOUNT)
        self.store.new_module("shop.__init__", "class Cart:\n    pass\n\ndef make():\n    return 'made'\n")
        self.one = self.attached()

    def test_a_renamed_module_is_found(self):
        self.put(self.one, "[__import__('bank').Account('Ann'), __import__('shop').Cart(), __import__('shop').make]",
                 references="identity")
        self.put(self.one, "__import__('bank').Account('Bob')", "by name")
        with self.store.transaction() as change:
            change.rename("bank", "finance.accounts")
            change.rename("shop", "market.shop")
            change.new("bank", "# another one")
        modules = "[type(it[0]).__module__, type(it[1]).__module__, it[2].__module__]"
        new = self.attached()
        self.assertEqual(self.take(new, modules), ["finance.accounts", "market.shop", "market.shop"])
        self.assertEqual(new.eval("it[0].owner"), "Ann")
        with self.refused('the object "by name" refers to "Account" of the module "bank"'):
            self.take(new, "it", "by name")
        # A space that sees an earlier commit has them under their earlier names.
        self.assertEqual(self.take(self.one, modules), ["bank", "shop", "shop"])
        self.one.sync()
        self.assertEqual(self.take(self.one, modules), ["finance.accounts", "market.shop", "market.shop"])
        # Written again, they have the new names.
        self.put(self.one, "it", references="identity")
        self.assertEqual([one[:2] for one in self.root.classes("it")],
                         [("finance.accounts", "Account"), ("market.shop", "Cart"), ("market.shop", "make")])

    def test_without_a_space_on_the_store_the_commit_decides(self):
        files = {"finance.py": ACCOUNT}
        self.put(self.one, "__import__('bank').Account('Ann')", references="identity")
        self.store.rename_module("bank", "finance")
        space = self.space()
        space.sys.path.insert(0, self.tree(files))
        self.assertEqual(self.take(space, "type(it).__module__"), "finance")
        before = self.store.log()[1].id
        with self.refused('"Account" of the module "bank"'):
            self.take(space, "it", at=before)

    def test_a_module_that_is_gone_is_looked_for_by_its_name(self):
        self.put(self.one, "__import__('bank').Account('Ann')", references="identity")
        self.store.remove_module("bank")
        with self.refused('"Account" of the module "bank"'):
            self.take(self.attached(), "it")
        self.store.new_module("bank", ACCOUNT)
        self.assertEqual(self.take(self.attached(), "it.owner"), "Ann")

    def test_classes_elsewhere_go_by_name(self):
        self.put(self.one, "[__import__('decimal').Decimal(1), __import__('bank').Account('Ann'), __import__('bank').Account]",
                 references="identity")
        (module, name, identity), decimal = self.root.classes("it")
        self.assertEqual((module, name, len(identity), decimal), ("bank", "Account", 32, ("decimal", "Decimal", None)))
        self.assertEqual(self.take(self.one, "(it[0], type(it[1]) is it[2])"), (1, True))

    def test_a_class_factory_is_asked_for_these_too(self):
        self.put(self.one, "__import__('bank').Account('Ann')", references="identity")
        asked = []
        with self.refused("No module named 'bank'"):
            self.store.root(class_factory=lambda *names: asked.append(names))["it"]
        self.assertEqual(asked, [("bank", "Account")])
        self.assertIs(type(self.store.root(class_factory=lambda *names: Point)["it"]), Point)

    def test_what_is_not_what_it_says_is_refused_as_ever(self):
        self.one.exec("import bank\nold = bank.Account\nbank.Account = None")
        with self.refused('the object "it" cannot be pickled', "not the same object"):
            self.put(self.one, "old('Ann')", references="identity")

    def test_many_references_are_short(self):
        self.put(self.one, "[__import__('bank').Account for _ in range(1000)]", references="identity")
        self.assertEqual(len(self.root.classes("it")), 1)
        self.assertEqual(self.take(self.one, "len(it)"), 1000)

    def test_ten_thousand_modules(self):
        with self.store.transaction() as change:
            for number in range(10_000):
                change.new(f"p{number % 100}.m{number}", f"class C{number}: pass\n")
        space = self.attached()
        self.put(space, "__import__('p7.m7', fromlist=['C7']).C7()", references="identity")
        self.store.rename_module("p7.m7", "q.renamed")
        space = self.attached()
        space.ns["root"] = self.store.root()
        self.assertEqual(self.take(space, "type(it).__module__"), "q.renamed")


class Copies(Objects):
    def setUp(self):
        super().setUp()
        self.other = modspace.Store.memory()

    def bank(self):
        with self.store.transaction() as change:
            change.new("bank.__init__", "from . import money")
            change.new("bank.money", "RATE = 2")
            change.new("bank.accounts", "from bank.money import RATE\n" + ACCOUNT)
            change.new("elsewhere", "import bank.accounts")
        return self.attached()

    def test_objects_are_copied_as_they_are(self):
        self.root["a"] = Counted()
        Counted.pickled = 0
        self.root.copy("a", self.other)
        self.root.copy("a", self.other.root("branch"), "b")
        self.root.copy("a", self.root, "c")
        self.assertEqual(Counted.pickled, 0)
        self.assertEqual((list(self.other.root()), list(self.other.root("branch")), list(self.root)), (["a"], ["b"], ["a", "c"]))
        self.assertEqual(self.other.root()["a"].value, 0)
        with self.assertRaises(KeyError):
            self.root.copy("missing", self.other)
        with self.assertRaisesRegex(TypeError, "expected a modspace.Store or a root of one, not dict"):
            self.root.copy("a", {})
        with self.assertRaisesRegex(TypeError, "must be str"):
            self.root.copy("a", self.other, 5)

    def test_classes_are_left_behind_unless_asked(self):
        for references in ("name", "identity"):
            with self.subTest(references):
                self.setUp()
                space = self.bank()
                self.put(space, "__import__('bank.accounts', fromlist=['Account']).Account('Ann')", references=references)
                self.root.copy("it", self.other)
                self.assertEqual(self.other.modules(), [])
                with self.refused('"Account" of the module "bank.accounts"'):
                    self.take(self.attached(self.other), "it", store=self.other)
                self.root.copy("it", self.other, classes=True)
                self.assertEqual(self.other.modules(), ["bank.__init__", "bank.accounts", "bank.money"])
                self.assertEqual(len(self.other.log()), 2)
                self.assertEqual(self.take(self.attached(self.other), "it.owner", store=self.other), "Ann")
                # Identities went along.
                self.other.rename_module("bank", "banking")
                if references == "identity":
                    there = self.attached(self.other)
                    self.other.update_module("banking.__init__", "")
                    self.other.update_module("banking.accounts", ACCOUNT)
                    there = self.attached(self.other)
                    self.assertEqual(self.take(there, "type(it).__module__", store=self.other), "banking.accounts")

    def test_references_by_identity_fall_back_to_names(self):
        space = self.bank()
        self.put(space, "__import__('bank.accounts', fromlist=['Account']).Account('Ann')", references="identity")
        self.other.new_module("bank.accounts", ACCOUNT)
        self.root.copy("it", self.other)
        self.assertEqual(self.take(self.attached(self.other), "it.owner", store=self.other), "Ann")

    def test_modules_that_differ_are_named_and_nothing_is_copied(self):
        space = self.bank()
        self.put(space, "__import__('bank.accounts', fromlist=['Account']).Account('Ann')")
        self.other.new_module("bank.money", "RATE = 3")
        with self.refused("the object \"it\"", "the module \"bank.money\" has other sources") as caught:
            self.root.copy("it", self.other, classes=True)
        self.assertEqual(caught.error.key, "it")
        self.assertEqual((len(self.other.root()), self.other.modules()), (0, ["bank.money"]))
        self.other.update_module("bank.money", "RATE = 2")
        self.root.copy("it", self.other, classes=True)
        self.assertEqual(len(self.other.modules()), 3)

    def test_copies_within_transactions(self):
        self.root["a"] = [1]
        with self.store.transaction() as source, self.other.transaction() as target:
            source.root()["a"].append(2)
            target.root()["b"] = "before"
            source.root().copy("a", target.root(), "b")
            self.assertEqual((target.root()["b"], len(self.other.root())), ([1, 2], 0))
            target.root()["b"].append(3)
        self.assertEqual((self.other.root()["b"], self.root["a"]), ([1, 2, 3], [1, 2]))


class Spaces(Objects):
    """Roots and the spaces that use them."""

    def test_a_space_is_freed_whose_objects_were_read(self):
        self.store.new_module("bank", ACCOUNT)
        space = self.attached()
        space.ns["store"] = self.store
        space.exec("""
import bank
def factory(module, name):
    return None
root = store.root(class_factory=factory, references="identity")
root["it"] = bank.Account("Ann")
change = store.transaction()
mine = change.root(class_factory=factory)
mine["it"].pay(1)
mine["new"] = bank.Account("Bob")
""")
        shelf["class"] = weakref.ref(space.ns["bank"].Account)
        report = space.discard()
        self.assertEqual((report.held, shelf.pop("class")()), ([], None))

    def test_hooks_run_in_the_space_of_their_class(self):
        self.store.new_module("hooked", """
import sys
class Hooked:
    def __getstate__(self):
        sys.modules["hooked"].seen.append("get")
        return {"x": 1}
    def __setstate__(self, state):
        import hooked
        hooked.seen.append("set")
seen = []
""")
        one, two = self.attached(), self.attached()
        self.put(one, "__import__('hooked').Hooked()")
        self.take(two, "it")
        self.assertEqual((one.sys.modules["hooked"].seen, two.sys.modules["hooked"].seen), (["get"], ["set"]))

    def test_roots_work_in_every_kind_of_space(self):
        for options in ({}, {"fresh": ("*",)}, {"delegation": "isolated"}, {"delegation": "parent-first"}):
            with self.subTest(options):
                space = self.space(**options)
                space.ns["store"] = modspace.Store.memory()
                space.exec("""
import decimal, collections, datetime
class A:
    pass
root = store.root(references="identity")
root["a"] = [A(), decimal.Decimal(5), collections.OrderedDict(x=1), datetime.date(2026, 1, 1)]
with store.transaction() as change:
    change.root()["a"][0].x = 1
a, number, mapping, day = root["a"]
result = type(a) is A and a.x == 1 and number == 5 and dict(mapping) == {"x": 1} and day.year == 2026
""")
                self.assertTrue(space.ns["result"])

    def test_pickle_of_the_space_reads_what_is_stored(self):
        self.root["a"] = [Point(1, 2)]
        self.assertIn("Root of", repr(self.root))
        with self.assertRaises((pickle.PicklingError, TypeError, AttributeError)):
            pickle.dumps(self.root)


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
