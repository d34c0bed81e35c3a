"""Modules that keep values of their globals with each commit."""

import threading
import unittest
import warnings

import modspace
from storing import Stored

KEPT = {"persistent_state": "dict"}


class State(Stored):
    def new(self, name, source, metadata=KEPT, store=None):
        with (store or self.store).transaction() as change:
            change.new(name, source, metadata=metadata)

    def keep(self, space, store=None, **options):
        """Commits what the modules of the space keep; returns the transaction."""
        with (store or self.store).transaction(space=space, **options) as change:
            pass
        return change

    def test_changed_values_are_there_in_other_spaces(self):
        self.new("m", "count = 0\nseen = []\nSAME = {'a': 1}\n")
        space = self.attached()
        module = space.import_("m")
        module.count += 1
        module.seen.append(("x", 2.5))
        self.assertEqual(self.keep(space).unkept, [])
        self.assertEqual(self.store.find_module("m").kept, ["count", "seen"])
        other = self.attached().import_("m")
        self.assertEqual((other.count, other.seen, other.SAME), (1, [("x", 2.5)], {"a": 1}))

    def test_values_survive_the_process(self):
        path = self.tree({}) + "/app.store"
        store = modspace.Store.open(path)
        self.new("m", "class A: pass\nfound = {}\n", store=store)
        space = self.attached(store)
        module = space.import_("m")
        module.found["it"] = module.A()
        module.found["it"].name = "kept"
        self.keep(space, store)
        out = self.run_store(path, "import m\nprint(m.found['it'].name, type(m.found['it']) is m.A)")
        self.assertEqual(out, "kept True\n")

    def run_store(self, path, code):
        import subprocess
        from support import MODSPACE
        program = f"import modspace\nmodspace.current().attach(modspace.Store.open({path!r}))\n{code}\n"
        done = subprocess.run([MODSPACE, "run", "-c", program], capture_output=True, text=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_a_constant_that_nobody_changed_follows_the_source(self):
        self.new("m", "LIMIT = 1\ncount = 0\n")
        space = self.attached()
        module = space.import_("m")
        module.count = 5
        self.keep(space)
        with self.store.transaction(space=space) as change:
            change.update("m", "LIMIT = 2\ncount = 100\n")
        space.sync()
        self.assertEqual((module.LIMIT, module.count), (2, 5))
        # What is again as the source has it, is the source's.
        module.count = 100
        self.keep(space)
        self.assertEqual(self.store.find_module("m").kept, [])
        self.store.update_module("m", "LIMIT = 3\ncount = 0\n")
        space.sync()
        self.assertEqual((module.LIMIT, module.count), (3, 0))

    def test_only_data_of_its_own_is_kept(self):
        self.new("lib", "table = []\n", metadata={})
        self.new("m", "import lib\nfrom lib import table\ndef f(): pass\nclass A: x = 1\n_hidden = 1\n__version__ = '1'\n"
                      "def make():\n    global made\n    made = [1]\n")
        space = self.attached()
        module = space.import_("m")
        module.table.append(1)
        module.A.x = 2
        module.f.attribute = 1
        module.f = len
        module.A = dict
        module._hidden = 2
        module.__version__ = "2"
        module.lib = 7
        module.added_by_others = 1
        module.make()
        self.keep(space)
        self.assertEqual(self.store.find_module("m").kept, ["_hidden", "made"])
        other = self.attached().import_("m")
        self.assertEqual((other._hidden, other.made, other.__version__, other.table), (2, [1], "1", []))

    def test_what_a_decorator_makes_is_no_data(self):
        self.new("m", "class Command:\n    def __init__(self, run): self.run = lambda: run()\n"
                      "@Command\ndef f(): pass\n@Command\nclass B: pass\ntype T = int\ncount = 0\n")
        space = self.attached()
        space.import_("m").count = 1
        self.assertEqual(self.keep(space).unkept, [])
        self.assertEqual(self.store.find_module("m").kept, ["count"])

    def test_modules_that_do_not_ask_keep_nothing(self):
        self.new("m", "count = 0\n", metadata={"owner": "me"})
        space = self.attached()
        space.import_("m").count = 5
        head = self.store.head()
        self.keep(space)
        self.assertEqual(self.store.head(), head)
        self.assertEqual(self.attached().import_("m").count, 0)

    def test_another_value_of_the_metadata_is_refused(self):
        with self.assertRaises(modspace.StoreError) as caught:
            self.new("m", "", metadata={"persistent_state": "all"})
        self.assertIn('"dict"', str(caught.exception))
        self.assertIsNone(self.store.head())

    def test_what_cannot_be_kept_is_reported(self):
        self.new("m", "import threading\nlock = threading.Lock()\ncount = 0\nhandlers = []\n")
        space = self.attached()
        module = space.import_("m")
        module.count = 1
        module.handlers.append(lambda: 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            change = self.keep(space)
        self.assertEqual([entry[:2] for entry in change.unkept], [("m", "handlers"), ("m", "lock")])
        for (module, name, reason), warning in zip(change.unkept, caught, strict=True):
            self.assertIs(warning.category, modspace.StoreWarning)
            self.assertEqual(str(warning.message), f"{module}.{name} is not kept: {reason}")
            self.assertEqual(warning.filename, __file__)
            self.assertIn("ickl", reason)
        self.assertEqual(self.store.find_module("m").kept, ["count"])
        # A filter that makes an error of it refuses.
        space.import_("m").count = 2
        head = self.store.head()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with self.assertRaises(modspace.StoreWarning):
                self.keep(space)
        self.assertEqual(self.store.head(), head)

    def test_what_values_share_stays_shared(self):
        self.new("m", "a = []\nb = {}\n")
        space = self.attached()
        module = space.import_("m")
        module.b["a"] = module.a
        module.a.append(module.b)
        self.keep(space)
        other = self.attached().import_("m")
        self.assertIs(other.b["a"], other.a)
        self.assertIs(other.a[0], other.b)

    def test_a_space_commits_again_without_a_sync(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        module = space.import_("m")
        for number in range(1, 4):
            module.count = number
            self.keep(space)
            self.assertEqual(self.attached().import_("m").count, number)
        # It has what it kept: a sync changes nothing, and loses nothing that came later.
        module.count = 10
        self.assertEqual(space.sync().modules, [])
        self.assertEqual(module.count, 10)
        self.assertEqual(space.commit, self.store.head())
        self.keep(space)
        self.assertEqual(self.attached().import_("m").count, 10)

    def test_nothing_new_makes_no_commit(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        space.import_("m").count = 1
        self.keep(space)
        head = self.store.head()
        self.keep(space)
        other = self.attached()
        other.import_("m")
        self.keep(other)
        self.assertEqual(self.store.head(), head)

    def test_the_callers_space_is_meant_where_none_is_named(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        space.exec("import m\nm.count = 7")
        space.ns["store"] = self.store
        space.exec("store.new_module('other', '')")
        self.assertEqual(self.store.find_module("m").kept, ["count"])
        # Its branch counts, too.
        space.exec("m.count = 8\nstore.new_module('third', '', branch='side')")
        self.assertEqual(self.attached().import_("m").count, 7)
        with self.assertRaises(modspace.StoreError):
            self.store.transaction(space=self.space())
        with self.assertRaises(modspace.StoreError):
            self.store.transaction(space=space, branch="side")
        with self.assertRaises(TypeError):
            self.store.transaction(space=1)

    def test_who_sees_an_older_version_syncs_first(self):
        self.new("m", "count = 0\n")
        one, two, idle = [self.attached() for _ in range(3)]
        for space, count in ((one, 1), (two, 2)):
            space.import_("m").count = count
        idle.import_("m")
        self.keep(one, author="one")
        with self.assertRaises(modspace.ConflictError) as caught:
            self.keep(two, author="two")
        self.assertEqual(caught.exception.modules, ["m"])
        self.assertEqual(caught.exception.others, [(self.store.head(), "one")])
        head = self.store.head()
        self.keep(idle)
        self.assertEqual(self.store.head(), head, "who changed nothing is in nobody's way")
        two.sync()
        self.assertEqual(two.import_("m").count, 1)
        two.import_("m").count += 10
        self.keep(two)
        one.sync()
        self.assertEqual(one.import_("m").count, 11)

    def test_a_sync_brings_values_and_leaves_what_is_the_same(self):
        self.new("m", "class A: pass\nfirst = A()\nsecond = []\nthird = {}\n")
        one, two = self.attached(), self.attached()
        module = one.import_("m")
        module.first.x, module.third["k"] = 1, [module.A()]
        self.keep(one)
        held = two.import_("m")
        two.sync()
        self.assertEqual(held.first.x, 1)
        first, third, second = held.first, held.third, held.second
        self.assertIs(type(first), held.A)
        module.second.append(5)
        self.keep(one)
        report = two.sync()
        self.assertEqual((report.modules, report.updated), (["m"], ["m.second"]))
        self.assertEqual(held.second, [5])
        self.assertIs(held.first, first)
        self.assertIs(held.third, third)
        self.assertIs(type(held.third["k"][0]), held.A)

    def test_others_that_are_executed_anew_take_the_objects_that_there_are(self):
        self.new("a", "X = 1\ncounter = {'n': 0}\n")
        sources = {"early": "from a import counter\n", "late": "import a\ncounter = a.counter\n",
                   "zbefore": "import a\n"}
        for name, source in sources.items():
            self.new(name, source, metadata=None)
        space = self.attached(self.store)
        space.exec("import a, early, late, zbefore\na.counter['n'] = 5\nheld = a.counter")
        self.keep(space)
        with self.store.transaction() as change:
            change.update("a", "X = 2\ncounter = {'n': 0}\n")
            for name, source in sources.items():
                change.update(name, f"{source}seen = a.counter['n'] if 'a' in globals() else counter['n']\n")
        space.sync()
        self.assertEqual(space.eval("a.X, a.counter, early.seen, late.seen, zbefore.seen"), (2, {"n": 5}, 5, 5, 5))
        space.exec("assert held is a.counter is early.counter is late.counter")

    def test_what_shares_objects_with_what_changed_comes_anew(self):
        self.new("m", "a = []\nb = {}\nc = []\n")
        one, two = self.attached(), self.attached()
        module = one.import_("m")
        module.a.append(1)
        module.b["a"] = module.a
        module.c.append(1)
        self.keep(one)
        held = two.import_("m")
        two.sync()
        c = held.c
        module.b["more"] = 2
        self.keep(one)
        two.sync()
        self.assertEqual((held.a, held.b), ([1], {"a": [1], "more": 2}))
        self.assertIs(held.b["a"], held.a)
        self.assertIs(held.c, c)

    def test_metadata_alone_executes_nothing(self):
        self.new("m", "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\ncount = 0\n")
        space = self.attached()
        module = space.import_("m")
        module.count = 3
        with self.store.transaction() as change:
            change.set_metadata("m", {**KEPT, "owner": "me"})
        report = space.sync()
        self.assertEqual((report.modules, module.count, space.builtins.runs), ([], 3, 1))
        self.assertEqual(space.commit, self.store.head())
        self.keep(space)
        self.assertEqual(self.attached().import_("m").count, 3)

    def test_history_brings_the_values_of_its_commits(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        module = space.import_("m")
        commits = []
        for number in (1, 2, 3):
            module.count = number
            self.keep(space)
            commits.append(self.store.head())
        space.at(commits[0])
        self.assertEqual(module.count, 1)
        space.sync()
        self.assertEqual(module.count, 3)
        self.store.undo(commits[2])
        space.sync()
        self.assertEqual(module.count, 2)
        # Also when it never left the commit it sees.
        module.count = 50
        self.keep(space)
        space.at(self.store.log()[1].id)
        self.assertEqual(module.count, 2)
        self.assertEqual(self.attached().import_("m").count, 50)

    def test_names_that_the_source_has_no_more_are_given_up(self):
        self.new("m", "old = 0\ncount = 0\n")
        space = self.attached()
        module = space.import_("m")
        module.old = module.count = 9
        self.keep(space)
        self.store.update_module("m", "count = 0\n")
        space.sync()
        self.assertEqual((hasattr(module, "old"), module.count), (False, 9))
        module.count = 10
        self.keep(space)
        self.assertEqual(self.store.find_module("m").kept, ["count"])

    def test_a_module_can_give_up_what_it_keeps(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        space.import_("m").count = 9
        self.keep(space)
        with self.store.transaction() as change:
            change.set_metadata("m", {})
        self.assertEqual(self.store.find_module("m").kept, [])
        self.assertEqual(self.attached().import_("m").count, 0)

    def test_values_that_cannot_be_read_any_more_are_not_lost(self):
        self.new("m", "class A: pass\nit = None\n")
        space = self.attached()
        module = space.import_("m")
        module.it = module.A()
        self.keep(space)
        with self.store.transaction() as change:
            change.update("m", "it = None\n")
        with self.assertRaises(modspace.StoreError) as caught:
            self.attached().import_("m")
        self.assertIn('"m"', str(caught.exception))
        self.assertIsInstance(caught.exception.__cause__, AttributeError)
        with self.assertRaises(modspace.UpdateError):
            space.sync()
        self.assertIs(type(module.it), module.A)
        self.store.undo(self.store.head())
        self.assertEqual(type(self.attached().import_("m").it).__name__, "A")

    def test_a_failure_in_pickling_is_reported_and_others_are_kept(self):
        self.new("m", "class Odd:\n    broken = False\n    def __reduce__(self):\n        if self.broken:\n"
                      "            raise ValueError('not now')\n        return Odd, ()\nodd = Odd()\ncount = 0\n")
        space = self.attached()
        module = space.import_("m")
        module.odd.broken = True
        module.count = 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.assertEqual(self.keep(space).unkept, [("m", "odd", "ValueError: not now")])
        self.assertEqual(self.store.find_module("m").kept, ["count"])
        module.Odd.__reduce__ = lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
        head = self.store.head()
        module.count = 2
        with self.assertRaises(KeyboardInterrupt):
            self.keep(space)
        self.assertEqual(self.store.head(), head)

    def test_pickling_can_use_the_store(self):
        self.new("m", "class Odd:\n    store = None\n    def __reduce__(self):\n        if self.store:\n"
                      "            self.store.head()\n            self.store.transaction().abort()\n"
                      "        return Odd, ()\nodd = Odd()\ncount = 0\n")
        space = self.attached()
        module = space.import_("m")
        module.Odd.store = self.store
        module.count = 1
        self.keep(space)
        self.assertEqual(self.store.find_module("m").kept, ["count"])

    def test_a_package_keeps_values_too(self):
        self.new("pkg.__init__", "count = 0\n")
        self.new("pkg.mod", "from pkg import count\nown = []\n")
        space = self.attached()
        space.import_("pkg.mod").own.append(1)
        space.import_("pkg").count = 4
        self.keep(space)
        other = self.attached()
        self.assertEqual((other.import_("pkg.mod").own, other.import_("pkg").count, other.import_("pkg.mod").count), ([1], 4, 4))

    def test_a_reload_has_the_last_kept_values(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        module = space.import_("m")
        module.count = 1
        self.keep(space)
        module.count = 2
        space.exec("import modspace, m; modspace.reload(m)")
        self.assertEqual(module.count, 1)
        space.reload()
        self.assertEqual(space.import_("m").count, 1)

    def test_a_module_that_asks_late_keeps_what_changes_from_then_on(self):
        self.new("m", "count = 0\nLIMIT = 1\n", metadata={})
        space = self.attached()
        module = space.import_("m")
        with self.store.transaction(space=space) as change:
            change.set_metadata("m", KEPT)
        module.count = 5
        space.sync()
        self.keep(space)
        self.assertEqual(self.store.find_module("m").kept, ["count"])

    def test_transactions_that_end_otherwise_keep_nothing(self):
        self.new("m", "count = 0\n")
        space = self.attached()
        space.import_("m").count = 5
        with self.assertRaises(ZeroDivisionError):
            with self.store.transaction(space=space):
                1 / 0
        self.store.transaction(space=space).abort()
        self.assertEqual(self.store.find_module("m").kept, [])

    def test_many_threads_keep_without_a_deadlock(self):
        self.new("m", "counts = {}\n")
        space = self.attached()
        module = space.import_("m")
        errors = []

        def work(number):
            try:
                for step in range(5):
                    module.counts[number] = step
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        try:
                            self.keep(space)
                        except modspace.ConflictError:
                            pass
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])


if __name__ == "__main__":
    unittest.main()
