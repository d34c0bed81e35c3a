"""What new sources see of other modules while they are executed for an update, and what other modules have after it."""

import unittest

import modspace


class Case(unittest.TestCase):
    def updated(self, old, new, load=None, **options):
        """A space in which modules were loaded and updated to what `new` says of them, and the report."""
        store = modspace.Store.memory()
        with store.transaction() as change:
            for name, source in old.items():
                change.new(name, source)
        space = modspace.ModuleSpace()
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        space.exec("import sys\n" + "\n".join(f"import {name.removesuffix('.__init__')}" for name in load or old))
        with store.transaction() as change:
            for name, source in new.items():
                (change.update if name in old else change.new)(name, source)
        return space, space.sync(**options)


class Ahead(Case):
    def test_new_sources_see_each_other_whoever_they_ask(self):
        for asks in (
            "import p.limit\nseen = p.limit.L",
            "import p.limit as limit\nseen = limit.L",
            "from . import limit\nseen = limit.L",
            "from .limit import L\nseen = L",
            "from p import *\nfrom p import limit\nseen = limit.L",
            "import sys, p.limit\nseen = sys.modules['p'].limit.L",
            "import p\nseen = getattr(p, 'limit').L",
            "import importlib\nseen = importlib.import_module('p').limit.L",
        ):
            # In the order of names, one is before the other and one behind.
            for name in "p.early", "p.user":
                with self.subTest(asks, name=name):
                    space, report = self.updated(
                        {"p.limit": "L = 1\n", name: f"{asks}\n"},
                        {"p.limit": "L = 5\n", name: f"{asks}\nfrom . import limit\nimport p\nfound = limit, p\n"},
                    )
                    self.assertEqual(space.eval(f"{name}.seen"), 5)
                    space.exec(f"assert {name}.found[0] is p.limit and {name}.found[1] is p is sys.modules['p']")
                    self.assertNotIn("sys.modules", str(report))

    def test_new_sources_see_what_modules_that_stay_will_have(self):
        old = {
            "p.__init__": "from .base import LIMIT, f, C\n",
            "p.base": "LIMIT = 1001\ndef f(): return 1\n"
                      "class C:\n    x = 1\n    def __init_subclass__(cls): cls.made_by = 1\n",
            "between": "from p import LIMIT as BOUND\nimport p as package\nown = []\n",
            "star": "from between import *\n",
            "user": "",
        }
        new = {
            "p.base": "LIMIT = 1005\ndef f(): return 5\n"
                      "class C:\n    x = 5\n    def __init_subclass__(cls): cls.made_by = 5\n",
            "user": "import between\nfrom p import f, C\nimport other\nfrom star import *\n"
                    "seen = between.BOUND, between.package.LIMIT, f(), C.x, other.seen, BOUND\n"
                    "class D(C): pass\n"
                    "kept = between, between.own, between.package, f, C, package\n",
            "other": "from between import BOUND\nfrom p import LIMIT\nseen = BOUND, LIMIT\n",
        }
        space, report = self.updated(old, new)
        self.assertEqual(space.eval("user.seen"), (1005, 1005, 5, 5, (1005, 1005), 1005))
        self.assertEqual(space.eval("user.D.made_by"), 5)
        space.exec("import other\n"
                   "assert user.kept[0] is between and user.kept[1] is between.own and user.kept[2] is user.kept[5] is p\n"
                   "assert user.kept[3] is p.f is p.base.f and user.kept[4] is p.C is p.base.C is user.D.__bases__[0]\n"
                   "assert between.BOUND == p.LIMIT == other.BOUND == star.BOUND == user.BOUND == 1005\n"
                   "assert sys.modules['between'] is between and sys.modules['p'] is p")
        self.assertNotIn("sys.modules", str(report))

    def test_names_that_come_by_several_modules(self):
        old = {
            "base": "L1 = 1001\nL2 = 1001\n",
            "b": "from base import L2\n",
            "a": "from base import L1\nfrom b import L2\n",
            "c": "from a import L1, L2\n",
            "early": "", "user": "",
        }
        source = "import c\nseen = c.L1, c.L2\n"
        space, _ = self.updated(old, {"base": "L1 = 1002\nL2 = 1003\n", "early": source, "user": source})
        self.assertEqual(space.eval("early.seen, user.seen, (c.L1, c.L2)"), ((1002, 1003),) * 3)

    def test_modules_that_are_loaded_by_the_update(self):
        space, _ = self.updated(
            {"zbase": "X = 1001\n", "between": "from zbase import X\n", "auser": "",
             "other": "from zbase import X\nimport between\nseen = X, between.X\n"},
            {"zbase": "X = 1002\n", "auser": "import other, p.new\nseen = p.new.X\n", "p.new": "from between import X\n"},
            load=["zbase", "between", "auser"],
        )
        space.exec("import other")
        self.assertEqual(space.eval("other.seen, auser.seen"), ((1002, 1002), 1002))
        space.exec("assert auser.p.new is sys.modules['p.new']")

    def test_modules_that_stay_are_the_ones_that_there_are(self):
        old = {
            "base": "L = 1001\n",
            "config": "from base import L\nDEBUG = False\ncount = 0\nMODE = 'a'\n"
                      "def set_mode(mode):\n    global MODE\n    MODE = mode\n",
            "registry": "found = []\n",
            "user": "",
        }
        user = (
            "import config, registry\nregistry.found.append(config)\nconfig.DEBUG = True\nconfig.count += 1\n"
            "config.NEW = 1\nconfig.set_mode('b')\nseen = config.MODE, config.L\n"
        )
        space, _ = self.updated(old, {"base": "L = 1002\n", "user": user})
        self.assertEqual(space.eval("config.DEBUG, config.count, config.NEW, config.MODE, config.L"), (True, 1, 1, "b", 1002))
        self.assertEqual(space.eval("user.seen"), ("b", 1002))
        space.exec("assert registry.found == [config] and registry.found[0] is user.config is sys.modules['config']")

    def test_what_a_new_source_gives_a_module_it_keeps(self):
        space, _ = self.updated(
            {"base": "L = 1001\n", "config": "from base import L\n", "user": ""},
            {"base": "L = 1002\n", "user": "import config\nfirst = config.L\nconfig.L = 7\nseen = config.L\n"},
        )
        self.assertEqual(space.eval("user.first, user.seen, config.L"), (1002, 7, 7))

    def test_what_a_new_source_takes_from_a_module_it_misses(self):
        old = {"a": "X = 1005\n", "c": "X = 1005\n", "between": "from c import X\nfrom a import X\n", "b": ""}
        space, _ = self.updated(
            old, {"b": "import a, between\ndel between.X\n", "c": "import b\nX = 1007\n", "a": "X = 1006\n"}
        )
        self.assertEqual(space.eval("a.X, c.X, hasattr(between, 'X')"), (1006, 1007, False))

    def test_the_source_that_raises_is_named(self):
        for error in "AttributeError", "ValueError", "ImportError":
            for asks in "p.zbase.L", "hasattr(p, 'zbase')", "try: p.zbase\nexcept Exception: ...":
                with self.subTest(error, asks=asks):
                    with self.assertRaises(modspace.UpdateError) as caught:
                        self.updated(
                            {"p.zbase": "L = 1\n", "p.user": "", "log": "runs = []\n"},
                            {"p.zbase": f"import log\nlog.runs.append(1)\nif len(log.runs) > 1: raise SystemError\n"
                                        f"raise {error}('on purpose')\n", "p.user": f"import p\n{asks}\n"},
                        )
                    chain, found = caught.exception, []
                    while chain is not None:
                        found.append(str(chain))
                        chain = chain.__cause__
                    self.assertIn("p.zbase", " ".join(found[:2]))
                    self.assertEqual(found[-1], "on purpose")

    def test_circles(self):
        old = {
            "a": "X = 1001\nimport b\n", "b": "from a import X\nimport c\n", "c": "import b\nY = 1001\n",
        }
        new = {"a": "X = 1002\nimport b\nseen = b.X\n", "c": "import b\nY = 1002\nimport a\nseen = b.X, a.X, b.c.Y\n"}
        space, _ = self.updated(old, new)
        self.assertEqual(space.eval("a.seen, c.seen"), (1002, (1002, 1002, 1002)))

    def test_a_package_has_its_loaded_modules(self):
        for new in (
            {"p.__init__": "# comment\nimport p.stay\nA = p.stay.X\n"},
            {"p.__init__": "import p.stay\nA = p.stay.X\nB = 1\n", "user": "import p.stay\nseen = p.stay.X\n"},
        ):
            with self.subTest(new):
                space, _ = self.updated({"p.__init__": "import p.stay\nA = p.stay.X\n", "p.stay": "X = 3\n", "user": ""}, new)
                self.assertEqual(space.eval("p.A, p.stay.X, p.stay is sys.modules['p.stay']"), (3, 3, True))

    def test_a_module_that_goes_is_not_in_its_package(self):
        store = modspace.Store.memory()
        with store.transaction() as change:
            for name in "p.old", "p.k", "user":
                change.new(name, "X = 1\n")
        space = modspace.ModuleSpace()
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        space.exec("import p.old, p.k, user")
        with store.transaction() as change:
            change.remove("p.old")
            change.update("user", "import p.k\nseen = p.old.X\n")
        with self.assertRaises(modspace.UpdateError) as caught:
            space.sync()
        self.assertEqual(str(caught.exception.__cause__), "module 'p' has no attribute 'old'")
        self.assertEqual(space.eval("p.old.X"), 1)

    def test_other_spaces_stay_as_they_are(self):
        store = modspace.Store.memory()
        with store.transaction() as change:
            for name, source in {"base": "L = 1\n", "p.between": "from base import L\n", "user": ""}.items():
                change.new(name, source)
        one, other = modspace.ModuleSpace(), modspace.ModuleSpace()
        for space in one, other:
            self.addCleanup(space.discard, force=True)
            space.attach(store)
            space.exec("import base, p.between, user")
        one.ns["held"] = other.eval("p.between"), other.eval("p")
        with store.transaction() as change:
            change.update("base", "L = 2\n")
            change.new("p.new", "")
            change.update("user", "import sys, base, p.new, __main__\nb, q = __main__.held\n"
                                  "seen = b.L, b.__dict__['L'], hasattr(q, 'new'), p.between.L, hasattr(p, 'new')\n")
        one.sync()
        self.assertEqual(one.eval("user.seen"), (1, 1, False, 2, True))

    def test_spaces_below_that_took_a_module(self):
        space = modspace.ModuleSpace()
        store = modspace.Store.memory()
        with store.transaction() as change:
            for name, source in {"base": "L = 1001\n", "between": "from base import L\n", "user": ""}.items():
                change.new(name, source)
        space.attach(store)
        space.exec("import base, between, user, sys")
        child = modspace.ModuleSpace(space)
        self.addCleanup(space.discard, force=True, recursive=True)
        child.exec("import types, sys\nmodule = sys.modules['cm'] = types.ModuleType('cm')\n"
                   "exec('from base import L\\nfrom between import L as M', module.__dict__)")
        child.exec("import linecache\nclass Loader:\n    def get_source(self, name):\n"
                   "        return 'from base import L\\nfrom between import L as M'\n"
                   "from importlib.machinery import ModuleSpec\nmodule.__spec__ = ModuleSpec('cm', Loader())")
        space.ns["cm"] = child.eval("module")
        with store.transaction() as change:
            change.update("base", "L = 1002\n")
            change.update("user", "import __main__\nseen = __main__.cm.L, __main__.cm.M\n")
        space.sync()
        self.assertEqual(space.eval("user.seen, (cm.L, cm.M)"), ((1002, 1002), (1002, 1002)))

    def test_code_that_stays_works_with_what_there_is(self):
        old = {
            "base": "class C:\n    v = 1\n", "between": "from base import C\n",
            "cache": "import between\nkept = []\ndef get():\n    if not kept:\n        kept.append(between.C)\n    return kept[0]\n",
            "user": "",
        }
        space, report = self.updated(
            old, {"base": "class C:\n    v = 2\n", "user": "import cache, between\nseen = cache.get().v, between.C.v\n"}
        )
        self.assertEqual(space.eval("user.seen, cache.get().v, cache.get() is base.C"), ((1, 2), 2, True))
        with self.assertRaises(modspace.UpdateError):
            self.updated(old, {"base": "class C:\n    v = 2\n", "user": "import cache\ncache.get()\n1 / 0\n"})

    def test_all_names(self):
        # With a list of the names, others are not asked for.
        space, _ = self.updated(
            {"p.__init__": "__all__ = ['L']\nL = 5\n", "p.auser": "", "p.zimpl": ""},
            {"p.auser": "from p import *\ndef helper(): ...\n", "p.zimpl": "from p.auser import helper\n"},
        )
        self.assertEqual(space.eval("p.auser.L"), 5)
        lazy = ("import sys, types\nclass M(types.ModuleType):\n    A = property(lambda self: 7)\n"
                "m = M('lazy')\nm.__all__ = ['A']\nsys.modules[__name__] = m\n")
        space, _ = self.updated({"lazy": lazy, "user": ""}, {"user": "from lazy import *\nseen = A\n"})
        self.assertEqual(space.eval("user.seen"), 7)
        settings = "X = 1001\nfrom conf import *\n"
        for source in settings, f"try:\n    {settings.strip().replace(chr(10), chr(10) + '    ')}\nfinally: ...\n":
            # One object, as None always is.
            old = {"values": "X = 1001\n", "conf": "from values import X\n", "user": "",
                   "settings": source.replace("1001", "__import__('values').X")}
            space, _ = self.updated(old, {"conf": "X = 1005\n", "user": "import settings\nseen = settings.X\n"})
            self.assertEqual(space.eval("user.seen, settings.X"), (1005, 1005))
        conf = "__all__ = ['_X']\n_X = "
        space, _ = self.updated(
            {"conf": f"{conf}1001\n", "settings": "from conf import *\n", "user": ""},
            {"conf": f"{conf}1005\n", "user": "import settings\nseen = settings._X\n"},
        )
        self.assertEqual(space.eval("user.seen, settings._X"), (1005, 1005))

    def test_imports_that_did_not_happen(self):
        space, _ = self.updated(
            {"a": "X = True\n", "settings": "import a\nX = True\nif a is None:\n    from a import X\n", "user": ""},
            {"a": "X = False\n", "user": "import settings\nseen = settings.X\n"},
        )
        self.assertEqual(space.eval("user.seen, settings.X"), (True, True))

    def test_a_plan_shows_nobody_else_what_new_sources_see(self):
        store = modspace.Store.memory()
        with store.transaction() as change:
            change.new("a", "K = 1\n")
            change.new("b", "from a import K\n")
            change.new("c", "import b\nseen = b.K\n")
        space = modspace.ModuleSpace()
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        space.exec("import a, b, c, sys")
        same = "assert b.K == 1 and c.seen == 1 and c.b is b is sys.modules['b']"
        good = {"a": "K = 2\n", "c": "import b\nseen = b.K + 0\n"}
        with self.assertRaises(modspace.UpdateError) as caught:
            store.plan(good | {"c": good["c"] + "raise ValueError(seen)\n"}, space)
        self.assertEqual(str(caught.exception.__cause__), "2")
        space.exec(same)
        plan = store.plan(good, space)
        self.assertEqual(sorted(plan.updated), ["a.K", "c.seen"])
        self.assertNotIn("second copy", str(plan))
        space.exec(same)

    def test_many_importers(self):
        count = 400
        old = {"base": "L = 1001\n", "user": ""} | {f"m{one}": "from base import L\n" for one in range(count)}
        names = ", ".join(f"m{one}" for one in range(count))
        user = f"import {names}\nseen = {{one.L for one in ({names})}}\n"
        space, report = self.updated(old, {"base": "L = 1002\n", "user": user})
        self.assertEqual(space.eval("user.seen"), {1002})
        self.assertEqual(len([line for line in str(report).splitlines() if "rebound" in line]), count)

    def test_a_long_chain_of_modules_that_pass_a_name_on(self):
        count = 1500
        old = {"m0": "X = 1001\n", "user": ""}
        old |= {f"m{one}": f"from m{one - 1} import X\n" for one in range(1, count)}
        # Each is loaded after the one before it: importing the last first is too deep for Python.
        last = f"m{count - 1}"
        space, _ = self.updated(old, {"m0": "X = 1002\n", "user": f"import {last}\nseen = {last}.X\n"})
        self.assertEqual(space.eval(f"user.seen, {last}.X"), (1002, 1002))

    def test_a_failed_update_leaves_no_classes(self):
        store = modspace.Store.memory()
        with store.transaction() as change:
            change.new("registry", "class Base: pass\n")
            change.new("a", "")
            change.new("z", "")
        space = modspace.ModuleSpace()
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        space.exec("import registry, a, z")
        with store.transaction() as change:
            change.update("a", "import registry\nclass C(registry.Base): pass\n")
            change.update("z", "import a, new\n1 / 0\n")
            change.new("new", "import registry\nclass D(registry.Base): pass\n")
        with self.assertRaises(modspace.UpdateError) as caught:
            space.sync()
        # Whoever has the error, with the frames that it came through.
        self.assertEqual(space.eval("registry.Base.__subclasses__()"), [])
        self.assertIsInstance(caught.exception.__cause__, ZeroDivisionError)


class Rebinding(Case):
    def test_the_last_binding_of_a_name_counts(self):
        for title, source, expected in (
            ("another import", "from a import X\nfrom b import X\n", 1001),
            ("the same import", "from b import X\nfrom a import X\n", 1002),
            ("an assignment", "from a import X\nX = 1001\n", 1001),
            ("an assignment before", "X = 1001\nfrom a import X\n", 1002),
            ("all names, and an assignment", "from a import *\nX = 1001\n", 1001),
            ("all names", "from a import *\n", 1002),
            ("one of two", "try:\n    from a import X\nexcept ImportError:\n    from b import X\n", 1002),
        ):
            # One object, as small numbers, True and None always are.
            old = {"values": "X = 1001\n", "a": "from values import X\n", "b": "from values import X\n",
                   "m": source.replace("1001", "__import__('values').X"), "user": ""}
            with self.subTest(title):
                space, _ = self.updated(old, {"a": "X = 1002\n", "user": "import m\nseen = m.X\n"})
                self.assertEqual(space.eval("m.X, user.seen"), (expected, expected))
                space, _ = self.updated(old, {"a": "X = 1002\n"})
                self.assertEqual(space.eval("m.X"), expected)

    def test_names_in_classes(self):
        old = {"a": "X = 1001\n", "m": "X = 1001\nclass A:\n    from a import X\nclass B:\n    X = 1001\n"}
        space, _ = self.updated(old, {"a": "X = 1002\n"})
        self.assertEqual(space.eval("m.X, m.A.X, m.B.X"), (1001, 1002, 1001))


if __name__ == "__main__":
    unittest.main()
