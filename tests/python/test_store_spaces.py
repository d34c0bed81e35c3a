"""Spaces on a store see one commit of it at a time, keep the state of its modules, and follow it under threads."""

import random
import threading
import unittest

import modspace
from storing import Stored
from support import SEED, STRESS, run_threads


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


if __name__ == "__main__":
    unittest.main()
