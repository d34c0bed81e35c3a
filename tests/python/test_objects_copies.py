"""Objects are copied from one store to another, with their classes or without."""

import unittest

import modspace
from storing import ACCOUNT, Counted, Objects


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


if __name__ == "__main__":
    unittest.main()
