"""Instances are converted when their class is updated: at once or lazily, by a hook of the class and by registered ones."""

import gc
import threading
import unittest
import weakref

import modspace
from support import run_threads

OLD = "class A:\n    def __init__(self, name='n'):\n        self.name = name\n"
LAZY = "    __modspace_migrate_lazily__ = True\n"


def new(body, version=2, lazy=False, base=""):
    """A class with a hook that has `body`."""
    lines = "".join(f"        {line}\n" for line in body.split("\n"))
    return (f"calls = []\nclass A{base}:\n    version = {version}\n{LAZY if lazy else ''}"
            f"    def __modspace_migrate__(self, old):\n{lines}")


RENAME = "calls.append(id(self))\nself.title = self.name\ndel self.name"


class Migrate(unittest.TestCase):
    def attached(self, source, **options):
        store = modspace.Store.memory()
        store.new_module("m", source)
        space = modspace.ModuleSpace(**options)
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        self.errors = []
        space.sys.unraisablehook = lambda raised: self.errors.append(raised.exc_value)
        self.store, self.space, self.module = store, space, space.import_("m")
        return self.module

    def update(self, source, **options):
        self.store.update_module("m", source)
        return self.space.sync(**options)

    def traps(self, cls):
        return [name for name in ("__getattribute__", "__setattr__", "__delattr__") if name in vars(cls)]


class AtOnce(Migrate):
    def test_all_instances_that_there_are_and_no_others(self):
        module = self.attached(OLD)
        kept = [module.A(str(number)) for number in range(50)]
        self.update(new(RENAME) + "    def __init__(self, name='n'):\n        self.title = name\nmade_by_the_source = A()\n")
        self.assertEqual([vars(one) for one in kept], [{"title": str(number)} for number in range(50)])
        self.assertEqual(sorted(module.calls), sorted(map(id, kept)))
        self.assertEqual(module.made_by_the_source.title, "n")
        self.assertEqual(self.errors, [])

    def test_instances_of_subclasses_elsewhere(self):
        module = self.attached(OLD)
        self.space.exec("import m\nclass B(m.A): ...\nclass C(B):\n    def __modspace_migrate__(self, old):\n"
                        "        raise RuntimeError('of another class')\none, other = B('b'), C('c')")
        self.update(new(RENAME))
        self.assertEqual(self.space.eval("vars(one), vars(other)"), ({"title": "b"}, {"title": "c"}))
        self.assertEqual(self.errors, [])
        self.assertEqual(len(module.calls), 2)

    def test_each_class_converts_its_own_the_base_first(self):
        module = self.attached("class A:\n    def __init__(self):\n        self.log = []\nclass B(A): ...\n")
        one = module.B()
        hook = "    v = 1\n    def __modspace_migrate__(self, old):\n        self.log.append(({!r}, 'v' in old))\n"
        self.update("class A:\n" + hook.format("A") + "class B(A):\n" + hook.format("B"))
        self.assertEqual(one.log, [("A", False), ("B", False)])

    def test_a_class_that_does_not_change_is_left_alone(self):
        source = new(RENAME)
        module = self.attached(OLD)
        one = module.A()
        self.update(source)
        for more in ("# A line.\n", "def f(): ...\n", "LIMIT = 3\n"):
            self.update(more + source)
        self.assertEqual((vars(one), self.errors), ({"title": "n"}, []))
        self.update(new("self.version_before = old['version']", version=3))
        self.assertEqual(vars(one), {"title": "n", "version_before": 2})

    def test_slots_and_numbers(self):
        module = self.attached("class S:\n    __slots__ = 'x',\nclass N(int): ...\nclass E(Exception): ...\n")
        one, two, three = module.S(), module.N(3), module.E("e")
        one.x = 1
        hook = "    def __modspace_migrate__(self, old):\n        calls.append(self)\n"
        self.update(f"calls = []\nclass S:\n    __slots__ = 'x',\n{hook}class N(int):\n{hook}class E(Exception):\n{hook}")
        self.assertEqual({id(one), id(two), id(three)}, set(map(id, module.calls)))

    def test_a_hook_that_raises_is_reported(self):
        module = self.attached(OLD)
        kept = [module.A("1"), module.A("bad"), module.A("3")]
        self.update(new("if self.name == 'bad': raise ValueError(self.name)\n" + RENAME))
        self.assertEqual([type(error) for error in self.errors], [ValueError])
        self.assertEqual([vars(one) for one in kept], [{"title": "1"}, {"name": "bad"}, {"title": "3"}])

    def test_a_refused_update_migrates_nothing(self):
        module = self.attached(OLD + "class B: ...\n")
        one = module.A()
        self.store.update_module("m", new(RENAME, lazy=True) + "class B:\n    __slots__ = ()\n")
        with self.assertRaises(modspace.UpdateError):
            self.space.sync()
        self.assertEqual((vars(one), self.traps(module.A)), ({"name": "n"}, []))
        self.store.plan({"m": new(RENAME, lazy=True)}, self.space)
        self.assertEqual((vars(one), self.traps(module.A)), ({"name": "n"}, []))


class Registered(Migrate):
    def test_a_hook_of_a_third_party(self):
        module = self.attached(OLD)
        one, seen = module.A(), []

        def hook(instance, old):
            seen.append((instance, sorted(name for name in old if not name.startswith("__"))))

        migration = self.space.migrate("m.A", hook)
        self.assertEqual((migration.class_name, repr(migration)), ("m.A", "<Migration of m.A>"))
        self.update(OLD + "    x = 1\n")
        self.assertEqual(seen, [(one, [])])
        self.update("# Nothing.\n" + OLD + "    x = 1\n")
        self.update(OLD + "    x = 2\n")
        self.assertEqual(seen, [(one, []), (one, ["x"])])
        self.assertTrue(migration.cancel())
        self.assertFalse(migration.cancel())
        self.update(OLD + "    x = 3\n")
        self.assertEqual(len(seen), 2)

    def test_a_class_of_which_only_a_method_changes(self):
        for lazy in (False, True):
            source = OLD + "    def m(self):\n        return 1\n"
            module = self.attached(source)
            one, seen = module.A(), []
            self.space.migrate("m.A", lambda instance, old: seen.append(instance), lazy=lazy)
            self.update(source + "def f(): ...\n")
            self.update(source.replace("return 1", "return 2"))
            self.assertEqual((one.m(), seen, self.traps(module.A)), (2, [one], []))

    def test_the_class_s_own_hook_comes_first(self):
        for own_lazily, lazily in ((False, False), (False, True), (True, False), (True, True)):
            with self.subTest(own_lazily=own_lazily, lazily=lazily):
                module = self.attached(OLD)
                one, seen = module.A(), []
                self.space.migrate("m.A", lambda instance, old: seen.append((instance.title, old["__module__"])), lazy=lazily)
                self.update(new(RENAME, lazy=own_lazily))
                self.assertEqual(one.title, "n")
                self.assertEqual((seen, vars(one), self.traps(module.A)), ([("n", "m")], {"title": "n"}, []))

    def test_bad_input(self):
        self.attached(OLD)
        for name, error in (("A", ValueError), ("m..A", ValueError), ("", ValueError), (3, TypeError)):
            with self.assertRaises(error):
                self.space.migrate(name, print)
        with self.assertRaisesRegex(TypeError, "callable.*cancel"):
            self.space.migrate("m.A", None)
        with self.assertRaises(TypeError):
            self.space.migrate("m.A", print, lazy="no")
        self.space.discard()
        with self.assertRaises(modspace.SpaceClosedError):
            self.space.migrate("m.A", print)

    def test_it_goes_with_the_space(self):
        self.attached(OLD)
        space = self.space

        class Hook:
            def __call__(self, instance, old):
                return space

        hook = Hook()
        space.exec("def own(instance, old): ...")
        self.module = None
        migrations = [space.migrate("m.A", hook), space.migrate("m.A", space.ns["own"])]
        reference = weakref.ref(hook)
        del hook
        report = space.discard()
        self.assertTrue(report.clean, report)
        gc.collect()
        self.assertIsNone(reference())
        self.assertEqual([migration.cancel() for migration in migrations], [False, False])

    def test_what_the_host_registered_survives_a_reload(self):
        self.attached(OLD)
        self.module, seen = None, []
        self.space.exec("def own(instance, old):\n    raise RuntimeError('of the old generation')")
        migration = self.space.migrate("m.A", lambda instance, old: seen.append(instance))
        self.space.migrate("m.A", self.space.ns["own"])
        report = self.space.reload().old
        self.assertTrue(report.clean, report)
        one = self.space.import_("m").A()
        self.update(OLD + "    x = 1\n")
        self.assertEqual((seen, self.errors), ([one], []))
        self.assertTrue(migration.cancel())


class Lazily(Migrate):
    def lazily(self, count=1, body=RENAME, source=OLD):
        module = self.attached(source)
        kept = [module.A(str(number)) for number in range(count)]
        self.update(new(body, lazy=True))
        return module, kept

    def test_before_the_first_access(self):
        touches = {
            "get": lambda one: one.title, "set": lambda one: setattr(one, "other", 1), "del": lambda one: delattr(one, "title"),
            "class attribute": lambda one: one.version, "missing": lambda one: getattr(one, "missing", None),
            "vars": vars, "repr of it": lambda one: f"{one!r}",
        }
        for name, touch in touches.items():
            with self.subTest(name):
                module, (one, other) = self.lazily(2)
                self.assertEqual((len(module.calls), len(self.traps(module.A))), (0, 3))
                touch(one)
                if name != "repr of it":
                    self.assertEqual(module.calls, [id(one)])
                self.assertEqual(getattr(one, "name", None), None)
                self.assertEqual(other.title, "1")
                self.assertEqual(sorted(module.calls), sorted([id(one), id(other)]))
                self.assertEqual(self.traps(module.A), [])

    def test_through_a_special_method(self):
        module = self.attached(OLD + "    def __len__(self):\n        return len(self.name)\n")
        one = module.A("four")
        self.update(new(RENAME, lazy=True) + "    def __len__(self):\n        return len(self.title)\n")
        self.assertEqual((len(one), len(module.calls)), (4, 1))

    def test_instances_made_later_are_not_migrated(self):
        module, (one,) = self.lazily()
        later = module.A()
        later.title = "later"
        self.assertEqual((module.calls, later.title), ([], "later"))
        self.assertEqual((one.title, module.calls), ("0", [id(one)]))

    def test_an_instance_that_is_never_touched(self):
        module, kept = self.lazily(3)
        kept.pop()
        gc.collect()
        self.assertEqual((kept[0].title, len(self.traps(module.A))), ("0", 3))
        kept.clear()
        gc.collect()
        self.assertEqual((self.traps(module.A), len(module.calls)), ([], 1))

    def test_the_hook_touches_its_instance_and_others(self):
        module = self.attached(OLD)
        one, other = module.A("1"), module.A("2")
        one.other, other.other = other, one
        self.update(new(RENAME + "\nself.seen = self.other.title if hasattr(self.other, 'title') else self.other.name", lazy=True))
        self.assertEqual((one.title, other.title, one.seen, other.seen), ("1", "2", "2", "1"))
        self.assertEqual(sorted(module.calls), sorted([id(one), id(other)]))

    def test_threads_that_come_at_once_see_it_migrated(self):
        for _ in range(10):
            module, kept = self.lazily(20, RENAME + "\nfor i in range(200): self.sum = i")
            seen = []
            errors = run_threads([lambda: seen.extend((one.title, one.sum) for one in kept) for _ in range(4)])
            self.assertEqual([repr(error) for error in errors], [])
            self.assertEqual(set(seen), {(str(number), 199) for number in range(20)})
            self.assertEqual(sorted(module.calls), sorted(map(id, kept)))
            self.assertEqual(self.traps(module.A), [])

    def test_hooks_that_wait_for_each_other_do_not_deadlock(self):
        module = self.attached(OLD + "import threading\nbarrier = threading.Barrier(2)\n")
        one, other = module.A("1"), module.A("2")
        one.other, other.other = other, one
        self.update("import threading\nbarrier = threading.Barrier(2)\n"
                    + new(RENAME + "\nbarrier.wait(20)\nself.seen = vars(self.other) is not None", lazy=True))
        seen = {}
        errors = run_threads([lambda one=one: seen.update({id(one): one.title}) for one in (one, other)])
        self.assertEqual(([repr(error) for error in errors], seen), ([], {id(one): "1", id(other): "2"}))
        self.assertEqual(sorted(module.calls), sorted([id(one), id(other)]))

    def test_migrations_chain(self):
        module, (one, other, third) = self.lazily(3)
        self.assertEqual(third.title, "2")
        self.update(new("self.log = [self.title, old['version']]", version=3, lazy=True))
        self.update(new("self.log.append(old['version'])", version=4, lazy=True))
        self.assertEqual((one.log, third.log), (["0", 2, 3], ["2", 2, 3]))
        self.update(new("self.log.append('at once')", version=5))
        self.assertEqual((other.log, one.log), (["1", 2, 3, "at once"], ["0", 2, 3, "at once"]))
        self.assertEqual((self.errors, self.traps(module.A)), ([], []))

    def test_a_class_that_loses_its_hook_goes_on_migrating(self):
        module, (one, other) = self.lazily(2)
        self.update("calls = []\nclass A:\n    version = 3\n")
        self.assertEqual((one.title, other.title, module.calls), ("0", "1", [id(one), id(other)]))
        self.assertEqual(self.traps(module.A), [])

    def test_a_class_that_gets_its_own_getattribute_migrates_the_rest(self):
        module, (one, other) = self.lazily(2)
        self.assertEqual(one.title, "0")
        self.update("calls = []\nclass A:\n    version = 3\n    def __getattribute__(self, name):\n"
                    "        return object.__getattribute__(self, name)\n")
        self.assertEqual(object.__getattribute__(other, "__dict__"), {"title": "1"})
        self.assertEqual((self.traps(module.A), self.errors), (["__getattribute__"], []))

    def test_what_would_not_be_noticed_is_migrated_at_once(self):
        module = self.attached(OLD + "class S:\n    __slots__ = 'x',\n")
        self.space.exec("import m\nclass B(m.A):\n    def __getattribute__(self, name):\n"
                        "        return object.__getattribute__(self, name)\nbypassing = B('b')")
        slotted = module.S()
        slotted.x = 1
        self.update(new(RENAME, lazy=True) + "class S:\n    __slots__ = 'x',\n" + LAZY
                    + "    def __modspace_migrate__(self, old):\n        self.x += 1\n")
        self.assertEqual(self.space.eval("object.__getattribute__(bypassing, '__dict__')"), {"title": "b"})
        self.assertEqual((slotted.x, self.traps(module.S), self.errors), (2, [], []))

    def test_subclasses_elsewhere(self):
        module = self.attached(OLD)
        self.space.exec("import m\nclass B(m.A):\n    def __getattr__(self, name):\n        return name.upper()\none = B('b')")
        self.update(new(RENAME, lazy=True))
        self.assertEqual(self.space.eval("one.title, one.missing"), ("b", "MISSING"))
        self.assertEqual((len(module.calls), self.traps(module.A)), (1, []))

    def test_a_base_and_what_derives_from_it(self):
        module = self.attached("class A:\n    def __init__(self):\n        self.log = []\nclass B(A): ...\n")
        kept = [module.B(), module.A()]
        hook = "    v = 1\n" + LAZY + "    def __modspace_migrate__(self, old):\n        self.log.append({!r})\n"
        self.update("class A:\n" + hook.format("A") + "class B(A):\n" + hook.format("B"))
        self.assertEqual([one.log for one in kept], [["A", "B"], ["A"]])
        self.assertEqual((self.traps(module.A), self.traps(module.B)), ([], []))

    def test_a_hook_that_raises_is_raised_to_who_touches_and_called_again(self):
        module = self.attached(OLD + "    def __getattr__(self, name):\n        return 'from getattr'\n")
        one, other = module.A("bad"), module.A("attribute")
        self.update("fails = True\n" + new("if fails and self.name == 'bad': raise ValueError(self.name)\n"
                                          "if fails and self.name == 'attribute': raise AttributeError('gone')\n" + RENAME, lazy=True)
                    + "    def __getattr__(self, name):\n        return 'from getattr'\n")
        for _ in range(2):
            with self.assertRaisesRegex(ValueError, "bad"):
                one.title
            with self.assertRaisesRegex(RuntimeError, "migration of an instance of A failed: gone"):
                other.title
        module.fails = False
        self.assertEqual((one.title, other.title, self.traps(module.A), self.errors), ("bad", "attribute", [], []))

    def test_lazy_migrations_leave_nothing_behind(self):
        module = self.attached(OLD)
        counts = []
        for number in range(20):
            kept = [module.A() for _ in range(5)]
            self.update(new("self.seen = old.get('version')", version=number, lazy=True)
                        + "    def __init__(self): ...\n")
            [one.seen for one in kept[1:]]
            kept.clear()
            gc.collect()
            counts.append(len(gc.get_objects()))
        self.assertEqual(self.traps(module.A), [])
        self.assertLess(max(counts[5:]) - min(counts[5:]), 20, counts)
        left = module.A()
        self.update(new("self.seen = 1", version=99, lazy=True))
        del module, self.module, left
        self.assertTrue(self.space.discard().clean)

    def test_while_other_threads_use_the_instances(self):
        module = self.attached(OLD + "    def read(self):\n        return self.name\n")
        kept, done = [module.A(str(number)) for number in range(200)], threading.Event()

        def use():
            while not done.is_set():
                for number, one in enumerate(kept):
                    if one.read() != str(number):
                        raise AssertionError(vars(one))

        def sync():
            try:
                attribute = "name"
                for number in range(2, 8):
                    now = f"name{number}"
                    self.update(new(f"self.{now} = self.{attribute}", version=number, lazy=True)
                                + f"    def read(self):\n        return self.{now}\n")
                    attribute = now
            finally:
                done.set()
        errors = run_threads([use, use, sync])
        self.assertEqual([repr(error) for error in errors], [])
        self.assertEqual([(one.name7, len(vars(one))) for one in kept], [(str(number), 7) for number in range(200)])
        self.assertEqual((self.traps(module.A), self.errors), ([], []))


if __name__ == "__main__":
    unittest.main()
