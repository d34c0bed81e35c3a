"""Classes of objects in a store: where they are found, by name, by a factory, or by the identity of their module."""

import unittest

import modspace
from storing import ACCOUNT, Objects
from test_objects import Point


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


if __name__ == "__main__":
    unittest.main()
