"""Modules and names that others import do not go unnoticed."""

import gc
import unittest
import warnings
import weakref

import modspace
from storing import Stored


class Guards(Stored):
    def setUp(self):
        super().setUp()
        self.commit({
            "base": "def f(): pass\nLIMIT = 1\n",
            "one": "from base import f, LIMIT\n",
            "two": "import base\ndef g(): return base.f()\n",
        })

    def warned(self, call, *args, **options):
        """What is warned of while the call runs, which must succeed."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call(*args, **options)
        self.assertEqual({warning.category for warning in caught} - {modspace.StoreWarning}, set())
        return [(str(warning.message), warning.filename) for warning in caught]

    def test_imports_are_recorded(self):
        self.assertEqual(self.store.find_module("one").imports, {"base": ["LIMIT", "f"]})
        self.assertEqual(self.store.find_module("base").imports, {})
        self.assertEqual(self.store.importers("base"), {"one": ["LIMIT", "f"], "two": ["f"]})
        self.assertEqual(self.store.importers("one"), {})

    def test_what_is_in_use_is_warned_of(self):
        message = "base goes and is imported by one (LIMIT, f), two (f)"
        self.assertEqual(self.warned(self.store.remove_module, "base"), [(message, __file__)])
        self.assertEqual(self.store.modules(), ["one", "two"])
        self.store.undo(self.store.head())
        message = "base.f goes and is imported by one, two"
        self.assertEqual(self.warned(self.store.update_module, "base", "LIMIT = 2\n"), [(message, __file__)])
        self.assertEqual(self.warned(self.store.update_module, "base", "LIMIT = 3\n"), [])
        with self.store.transaction() as change:
            change.rename("base", "ground")
            self.assertEqual([(one.module, one.name, one.importers) for one in change.in_use],
                             [("base", None, {"one": ["LIMIT", "f"], "two": ["f"]})])
            self.assertEqual(str(change.in_use[0]), "base goes and is imported by one (LIMIT, f), two (f)")
            change.abort()

    def test_a_filter_that_raises_refuses(self):
        head = self.store.head()
        with warnings.catch_warnings():
            warnings.simplefilter("error", modspace.StoreWarning)
            with self.assertRaises(modspace.StoreWarning):
                self.store.remove_module("base")
        self.assertEqual(self.store.head(), head)

    def test_the_store_can_refuse(self):
        self.assertEqual(self.store.removal, "warn")
        self.store.removal = "refuse"
        head = self.store.head()
        with self.assertRaises(modspace.InUseError) as caught:
            with self.store.transaction() as change:
                change.remove("base")
        self.assertIsInstance(caught.exception, modspace.StoreError)
        one, = caught.exception.in_use
        self.assertEqual((one.module, one.name, one.importers), ("base", None, {"one": ["LIMIT", "f"], "two": ["f"]}))
        self.assertIn("one (LIMIT, f), two (f)", str(caught.exception))
        self.assertEqual(self.store.head(), head)
        with self.assertRaises(modspace.StoreError):
            change.modules()
        self.store.removal = "allow"
        self.assertEqual(self.warned(self.store.remove_module, "base"), [])
        with self.assertRaises(modspace.StoreError) as caught:
            self.store.removal = "perhaps"
        self.assertIn("allow or warn or refuse", str(caught.exception))
        self.assertEqual(self.store.removal, "allow")
        self.assertEqual(list(self.store.branches()), ["main"])

    def test_the_policy_is_in_the_file(self):
        path = self.tree({}) + "/app.store"
        modspace.Store.open(path).removal = "refuse"
        store = modspace.Store.open(path)
        self.assertEqual((store.removal, store.branches(), store.head()), ("refuse", {}, None))

    def test_a_guard_decides_in_the_place_of_the_store(self):
        self.store.removal = "refuse"
        asked = []

        def guard(in_use):
            asked.append([str(one) for one in in_use])
            return answer

        for answer, expected in [("allow", 0), ("warn", 1)]:
            self.assertEqual(len(self.warned(self.store.remove_module, "base", guard=guard)), expected)
            self.store.undo(self.store.head())
        head = self.store.head()
        for answer, error in [("refuse", modspace.InUseError), (None, modspace.InUseError),
                              ("perhaps", modspace.StoreError), (7, TypeError)]:
            with self.subTest(answer=answer), self.assertRaises(error):
                self.store.remove_module("base", guard=guard)
        self.assertEqual(asked, [["base goes and is imported by one (LIMIT, f), two (f)"]] * 6)
        self.assertEqual(self.store.head(), head)
        with self.assertRaises(TypeError):
            self.store.transaction(guard=1)
        self.store.remove_module("two", guard=guard)
        self.assertEqual(len(asked), 6, "where nothing breaks, nobody is asked")

    def test_what_a_guard_raises_ends_the_commit(self):
        head = self.store.head()

        def guard(in_use):
            raise KeyError(in_use[0].module)

        with self.assertRaises(KeyError):
            self.store.remove_module("base", guard=guard)
        self.assertEqual(self.store.head(), head)

    def test_a_guard_can_use_the_store(self):
        def guard(in_use):
            # Somebody else commits while it thinks, and it is asked again about what that changes.
            if "late" not in self.store.modules():
                self.store.new_module("late", "from base import f\n")
            seen.append(sorted(in_use[0].importers))
            return "allow"

        seen = []
        self.store.remove_module("base", guard=guard)
        self.assertEqual(seen, [["one", "two"], ["late", "one", "two"]])

    def test_an_application_has_a_guard_of_its_own(self):
        self.store.guard = lambda in_use: "refuse"
        for call in (lambda: self.store.remove_module("base"), lambda: self.store.undo(self.store.head(), guard=None)):
            with self.assertRaises((modspace.InUseError, TypeError)):
                call()
        added = self.store.new_module("late", "")
        self.store.new_module("later", "import late\n")
        with self.assertRaises(modspace.InUseError):
            self.store.undo(added)
        self.store.remove_module("late", guard=lambda in_use: "allow")
        del self.store.guard
        self.assertEqual(len(self.warned(self.store.remove_module, "base")), 1)

    def test_guards_are_no_leak(self):
        def cycle():
            class Holder:
                pass
            holder = Holder()
            holder.store = modspace.Store.memory()
            holder.store.guard = lambda in_use: holder
            holder.transaction = holder.store.transaction(guard=lambda in_use: holder)
            return weakref.ref(holder)

        references = [cycle() for _ in range(10)]
        gc.collect()
        self.assertEqual([reference() for reference in references], [None] * 10)


if __name__ == "__main__":
    unittest.main()
