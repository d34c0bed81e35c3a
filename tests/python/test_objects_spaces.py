"""Roots of stored objects and the spaces that use them."""

import pickle
import unittest
import weakref

import modspace
from storing import ACCOUNT, Objects
from support import shelf
from test_objects import Point


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


if __name__ == "__main__":
    unittest.main()
