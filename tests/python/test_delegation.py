"""Who is asked for a module: the space itself or its parent."""

import os
import sys
import unittest

import modspace
from support import SpaceTest


class Orders(SpaceTest):
    def setUp(self):
        self.above = self.tree({"both.py": "where = 'above'", "above.py": "where = 'above'"})
        self.below = self.tree({"both.py": "where = 'below'", "below.py": "where = 'below'"})
        self.parent = self.space(name="parent", path=[self.above])

    def child(self, **options):
        return self.space(self.parent, name="child", path=[self.below], **options)

    def test_child_first_prefers_its_own_and_takes_the_rest_from_the_parent(self):
        for options in ({}, {"delegation": "child-first"}):
            child = self.child(**options)
            self.assertEqual(child.import_("both").where, "below")
            self.assertEqual(child.import_("below").where, "below")
            self.assertIs(child.import_("above"), self.parent.import_("above"))

    def test_parent_first_prefers_the_parent_and_finds_the_rest_itself(self):
        child = self.child(delegation="parent-first")
        self.assertIs(child.import_("both"), self.parent.import_("both"))
        self.assertEqual(child.import_("below").where, "below")

    def test_parent_first_shares_pure_standard_modules_with_the_parent(self):
        child = self.child(delegation="parent-first")
        self.assertIs(child.import_("logging"), self.parent.import_("logging"))
        self.assertIsNot(child.import_("sys"), self.parent.import_("sys"))
        self.assertIsNot(child.import_("importlib"), self.parent.import_("importlib"))
        self.assertIsNot(child.import_("builtins"), self.parent.import_("builtins"))

    def test_isolated_never_asks_the_parent(self):
        child = self.child(delegation="isolated")
        self.assertEqual(child.import_("both").where, "below")
        with self.assertRaises(ModuleNotFoundError):
            child.import_("above")
        self.parent.import_("above")
        with self.assertRaises(ModuleNotFoundError):
            child.import_("above")
        self.assertEqual(child.import_("json").dumps([1]), "[1]")

    def test_a_parent_never_sees_what_its_child_has(self):
        child = self.child()
        child.import_("below")
        with self.assertRaises(ModuleNotFoundError):
            self.parent.import_("below")
        self.assertNotIn("below", self.parent.sys.modules)

    def test_siblings_load_apart(self):
        one, two = self.child(), self.child()
        self.assertIsNot(one.import_("both"), two.import_("both"))
        one.import_("both").where = "changed"
        self.assertEqual(two.import_("both").where, "below")

    def test_the_order_is_that_of_the_space_at_each_step(self):
        middle = self.child(delegation="parent-first")
        leaf = self.space(middle, path=[self.tree({"leaf.py": ""})])
        self.assertIs(leaf.import_("both"), self.parent.import_("both"))
        self.assertIs(leaf.import_("below"), middle.import_("below"))
        closed = self.space(self.child(delegation="isolated"), path=[])
        self.assertEqual(closed.import_("both").where, "below")
        with self.assertRaises(ModuleNotFoundError):
            closed.import_("above")

    def test_a_module_keeps_its_identity_three_levels_down(self):
        leaf = self.space(self.space(self.child(), path=[]), path=[])
        module = leaf.import_("above")
        self.assertIs(module, self.parent.sys.modules["above"])
        self.assertIs(leaf.sys.modules["above"], module)
        self.assertIs(modspace.space_of(module), self.parent)
        self.assertEqual(leaf.modules["above"].taken_from, "parent")
        leaf.exec("import above; above.where = 'changed'")
        self.assertEqual(self.parent.import_("above").where, "changed")

    def test_an_unknown_delegation_is_refused(self):
        for wrong in ("sideways", "", "Child-First"):
            with self.assertRaisesRegex(ValueError, "delegation"):
                self.child(delegation=wrong)


class Patterns(SpaceTest):
    def test_share_takes_the_parents_very_module(self):
        root = self.tree({"iface/__init__.py": "class Base: pass", "iface/sub.py": "", "iface_not.py": ""})
        parent = self.space(path=[root, *sys.path])
        child = self.space(parent, path=[root, *sys.path], share=["iface"])
        self.assertIs(child.import_("iface"), parent.import_("iface"))
        self.assertIs(child.import_("iface.sub"), parent.import_("iface.sub"))
        self.assertIsNot(child.import_("iface_not"), parent.import_("iface_not"))

    def test_shared_modules_work_for_the_space_that_loaded_them(self):
        root = self.tree({"shared.py": "import sys\ndef which(): return sys\ndef load(n): return __import__(n)",
                          "thing.py": ""})
        parent = self.space(path=[root])
        child = self.space(parent, path=[root], share=["shared"])
        shared = child.import_("shared")
        self.assertIs(shared.which(), parent.sys)
        child.exec("import shared; found = shared.load('thing')")
        self.assertIs(child.ns["found"], parent.sys.modules["thing"])

    def test_a_shared_name_that_the_parent_lacks_is_not_found(self):
        child = self.space(self.space(path=[]), path=[self.tree({"only.py": ""})], share=["only"])
        with self.assertRaises(ModuleNotFoundError):
            child.import_("only")

    def test_fresh_loads_an_own_copy_of_a_platform_module(self):
        plain, fresh = self.space(), self.space(fresh=["decimal", "_decimal", "_pydecimal"])
        self.assertIs(plain.import_("decimal").Decimal, __import__("decimal").Decimal)
        self.assertIsNot(fresh.import_("decimal").Decimal, plain.import_("decimal").Decimal)
        self.assertEqual(fresh.eval("str(__import__('decimal').Decimal('1.5') * 2)"), "3.0")

    def test_fresh_overrides_parent_first(self):
        parent = self.space()
        child = self.space(parent, delegation="parent-first", fresh=["logging"])
        self.assertIsNot(child.import_("logging"), parent.import_("logging"))
        self.assertIs(child.import_("json"), parent.import_("json"))

    def test_everything_fresh_still_works(self):
        space = self.space(fresh=["*"])
        space.exec("import enum, typing, dataclasses, pathlib, threading, collections, json, logging")
        space.exec("@dataclasses.dataclass\nclass Point:\n    x: int\n    y: int = 0")
        self.assertEqual(space.eval("repr(Point(1))"), "Point(x=1, y=0)")
        self.assertIsNot(space.eval("enum.Enum"), __import__("enum").Enum)
        self.assertEqual(space.eval("json.loads('[1]')"), [1])

    def test_the_more_exact_pattern_wins(self):
        root = self.tree({"pkg/__init__.py": "", "pkg/sub.py": "", "other.py": ""})
        parent = self.space(path=[root])
        child = self.space(parent, path=[root], fresh=["*"], share=["pkg"])
        self.assertIs(child.import_("pkg.sub"), parent.import_("pkg.sub"))
        self.assertIsNot(child.import_("other"), parent.import_("other"))

    def test_patterns_that_are_none_are_refused(self):
        for wrong in ([""], ["."], ["a."], ["a b"], ["a\0"], ["\ud800"]):
            for option in ("share", "fresh"):
                with self.assertRaises(ValueError, msg=f"{option}={wrong!a}"):
                    self.space(**{option: wrong})
        for wrong in (5, [5], [b"a"], {"a": 1}):
            with self.assertRaises(TypeError):
                self.space(share=wrong)


class StandIns(SpaceTest):
    def test_a_stand_in_is_seen_in_its_space_and_in_those_that_fall_back_to_it(self):
        user = self.tree({"user.py": "import invented, socket\nkind = socket.kind"})
        parent = self.space(name="parent", path=[user, *sys.path])
        dummy = type(sys)("socket")
        dummy.kind = "dummy"
        parent.sys.modules["socket"] = parent.sys.modules["invented"] = dummy
        below = self.space(parent, path=[])
        self.assertIs(below.import_("invented"), dummy)
        self.assertIs(below.import_("socket"), dummy)
        self.assertEqual(below.import_("user").kind, "dummy")
        beside = self.space()
        self.assertTrue(hasattr(beside.import_("socket"), "AF_INET"))
        with self.assertRaises(ModuleNotFoundError):
            beside.import_("invented")
        self.assertTrue(hasattr(__import__("socket"), "AF_INET"))

    def test_a_stand_in_may_be_any_object(self):
        space = self.space()
        space.sys.modules["thing"] = 42
        self.assertEqual(space.eval("__import__('thing')"), 42)
        self.assertEqual(space.import_("thing"), 42)

    def test_a_stand_in_replaces_a_module_already_imported(self):
        parent = self.library({"module.py": ""})
        child = self.space(parent, path=[])
        child.import_("module")
        child.sys.modules["module"] = stand_in = type(sys)("module")
        self.assertIs(child.import_("module"), stand_in)
        self.assertIsNot(parent.import_("module"), stand_in)

    def test_what_is_removed_from_a_childs_table_is_taken_from_the_parent_again(self):
        parent = self.library({"module.py": ""})
        child = self.space(parent, path=[])
        module = child.import_("module")
        del child.sys.modules["module"]
        self.assertIs(child.import_("module"), module)


class Paths(SpaceTest):
    def test_without_a_path_a_space_copies_its_parents(self):
        root = self.tree({"module.py": ""})
        parent = self.space(path=[root])
        child = self.space(parent)
        self.assertEqual(child.sys.path, [root])
        child.sys.path.append("elsewhere")
        self.assertEqual(parent.sys.path, [root])
        self.assertIsNot(child.import_("module"), parent.import_("module"))

    def test_a_given_path_is_exactly_that(self):
        root = self.tree()
        self.assertEqual(self.space(path=[root, "x"]).sys.path, [root, "x"])
        self.assertEqual(self.space(path=(root,)).sys.path, [root])

    def test_an_empty_path_finds_nothing_itself(self):
        parent = self.space()
        child = self.space(parent, path=[])
        self.assertEqual(child.sys.path, [])
        self.assertIs(child.import_("json"), parent.import_("json"))
        self.assertIs(child.import_("logging.handlers"), parent.import_("logging.handlers"))

    def test_a_path_changed_later_counts(self):
        space = self.space(path=[])
        with self.assertRaises(ModuleNotFoundError):
            space.import_("late")
        space.sys.path.insert(0, self.tree({"late.py": "x = 1"}))
        self.assertEqual(space.import_("late").x, 1)


class Submodules(SpaceTest):
    def test_submodules_follow_their_package(self):
        parent = self.space(path=[self.tree({"lib/__init__.py": "v = 1", "lib/extra.py": "v = 1",
                                             "lib/both.py": "v = 1"})])
        child = self.space(parent, path=[self.tree({"lib/__init__.py": "v = 2", "lib/both.py": "v = 2"})])
        self.assertEqual(parent.import_("lib.extra").v, 1)
        self.assertEqual(child.import_("lib.both").v, 2)
        with self.assertRaisesRegex(ModuleNotFoundError, "lib.extra"):
            child.import_("lib.extra")
        with self.assertRaises(ImportError):
            child.exec("from lib import extra")
        self.assertFalse(hasattr(child.import_("lib"), "extra"))

    def test_an_optional_submodule_of_another_version_is_not_mixed_in(self):
        parent = self.space(path=[self.tree({"lib/__init__.py": "from lib import speed", "lib/speed.py": "v = 1"})])
        parent.import_("lib")
        child = self.space(parent, path=[self.tree({
            "lib/__init__.py": "try:\n    from lib import speed\nexcept ImportError:\n    speed = None"})])
        self.assertIsNone(child.import_("lib").speed)

    def test_submodules_of_a_package_taken_from_the_parent_come_from_there(self):
        above = self.tree({"lib/__init__.py": "", "lib/sub.py": "v = 'above'"})
        parent = self.space(path=[above])
        child = self.space(parent, path=[self.tree({"lib/sub.py": "v = 'below'"})], share=["lib"])
        self.assertIs(child.import_("lib.sub"), parent.import_("lib.sub"))
        other = self.space(parent, path=[])
        self.assertIs(other.eval("__import__('lib.sub')"), parent.import_("lib"))
        self.assertIs(other.sys.modules["lib.sub"], parent.sys.modules["lib.sub"])

    def test_a_namespace_package_is_completed_by_the_parent(self):
        parent = self.space(name="parent", path=[self.tree({"ns/up.py": "v = 'up'", "ns/both.py": "v = 'up'"})])
        child = self.space(parent, path=[self.tree({"ns/down.py": "v = 'down'", "ns/both.py": "v = 'down'"})])
        self.assertEqual(child.import_("ns.down").v, "down")
        self.assertEqual(child.import_("ns.both").v, "down")
        self.assertIs(child.import_("ns.up"), parent.import_("ns.up"))
        self.assertIs(child.import_("ns").up, parent.import_("ns.up"))
        child.exec("from ns import up, down")
        self.assertFalse(hasattr(parent.import_("ns"), "down"))

    def test_a_namespace_package_of_the_parent_alone_serves_the_child(self):
        parent = self.space(path=[self.tree({"ns/up.py": ""})])
        child = self.space(parent, path=[])
        self.assertIs(child.import_("ns.up"), parent.import_("ns.up"))
        child.exec("import ns.up; assert ns.up")

    def test_importing_by_statement_binds_the_first_package_of_the_space(self):
        parent = self.space(path=[self.tree({"a/__init__.py": "", "a/b/__init__.py": "", "a/b/c.py": "v = 1"})])
        child = self.space(parent, path=[])
        child.exec("import a.b.c; import a.b.c as c; from a.b import c as c2; from a import b")
        self.assertIs(child.ns["a"].b.c, child.ns["c"])
        self.assertIs(child.ns["c2"], child.ns["c"])


class Messages(SpaceTest):
    def notes(self, space, name):
        with self.assertRaises(ModuleNotFoundError) as caught:
            space.import_(name)
        self.assertEqual(caught.exception.name, name.split(".")[0])
        self.assertEqual(str(caught.exception), f"No module named {name.split('.')[0]!r}")
        return "\n".join(caught.exception.__notes__)

    def test_an_error_names_the_spaces_that_were_asked_and_no_others(self):
        top = self.space(name="top space", path=["/no/top"])
        middle = self.space(top, name="middle space", path=["/no/middle"])
        low = self.space(middle, name="low space", path=["/no/low"])
        text = self.notes(low, "absent.sub")
        places = [text.index(word)
                  for word in ("low space", "/no/low", "middle space", "/no/middle", "top space", "/no/top")]
        self.assertEqual(places, sorted(places))
        closed = self.space(middle, name="closed space", delegation="isolated", path=[])
        text = self.notes(closed, "absent")
        self.assertIn("closed space", text)
        self.assertNotIn("middle space", text)

    def test_an_import_statement_gives_the_same_note(self):
        space = self.space(name="noted")
        for source in ("import absent", "from absent import x", "__import__('absent')",
                       "import importlib; importlib.import_module('absent')"):
            with self.subTest(source=source), self.assertRaises(ModuleNotFoundError) as caught:
                space.exec(source)
            self.assertTrue(any("noted" in note for note in getattr(caught.exception, "__notes__", ())), source)

    def test_a_missing_submodule_of_an_own_package_names_it(self):
        space = self.library({"pkg/__init__.py": ""}, name="noted")
        with self.assertRaises(ModuleNotFoundError) as caught:
            space.import_("pkg.missing")
        self.assertEqual(caught.exception.name, "pkg.missing")
        self.assertEqual(str(caught.exception), "No module named 'pkg.missing'")


class TheTree(SpaceTest):
    def test_a_space_without_parent_is_a_child_of_the_root(self):
        space = modspace.ModuleSpace(name="free")
        self.addCleanup(space.discard)
        self.assertIs(space.parent, modspace.root)
        self.assertIn(space, modspace.root.children)
        self.assertIsNone(modspace.root.parent)
        self.assertIn(space, modspace.spaces())

    def test_current_is_the_space_of_the_calling_function(self):
        space = self.space()
        space.exec("import modspace\ndef where(): return modspace.current()")
        self.assertIs(space.ns["where"](), space)
        self.assertIsNot(modspace.current(), space)
        self.assertIs(modspace.space_of(space.ns["where"]), space)

    def test_space_of_tells_where_an_object_belongs(self):
        space, other = self.pair()
        other.exec("def foreign(): pass")
        space.ns["foreign"] = other.ns["foreign"]
        space.exec("""if True:
            import enum, dataclasses, collections, functools, os
            class Plain: pass
            class Method:
                def method(self): pass
            class Borrowing:
                borrowed = foreign
                def own(self): pass
            class Colour(enum.Enum):
                RED = 1
            @dataclasses.dataclass
            class Data:
                x: int = 0
            Pair = collections.namedtuple("Pair", "a b")
            def function(): yield
            things = {"class": Plain, "instance": Plain(), "bound method": Method().method, "class of methods": Method,
                      "class with a foreign function": Borrowing, "enum": Colour, "member": Colour.RED,
                      "dataclass": Data, "namedtuple": Pair, "function": function, "generator": function(),
                      "lambda": lambda: 0, "partial": functools.partial(function)}
        """)
        for name, thing in space.ns["things"].items():
            with self.subTest(thing=name):
                self.assertIs(modspace.space_of(thing), space)
        for thing in (int, len, "text", 5, os.path.join, os.PathLike):
            self.assertIsNone(modspace.space_of(thing))

    def test_names_and_ids(self):
        one, two = self.space(name="same"), self.space(name="same")
        self.assertEqual((one.name, two.name), ("same", "same"))
        self.assertNotEqual(one.id, two.id)
        self.assertIn("same", repr(one))

    def test_the_documented_attributes_are_there(self):
        space = self.space()
        for name in ("name", "id", "parent", "children", "closed", "modules", "builtins", "generation", "sys", "ns"):
            with self.subTest(name=name):
                getattr(space, name)


if __name__ == "__main__":
    unittest.main()
