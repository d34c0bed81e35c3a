"""What zodbcode, Zope's persistent modules, promised in its tests, promised here for modules of a store.

There a connection to the database had its modules, and another connection saw what was committed; here it is a space
attached to the store. Each test names the one it answers to, and checks that behaviour with sources of its own.
"""

import unittest

import modspace
from support import Watched

#: A polynomial: constants and a function that reads them.
POLYNOMIAL = '''\
"""A parabola."""

first = 1
second = 2
third = 3

def value(at):
    return (first * at + second) * at + third
'''

#: A class whose instances count up and down.
COUNTER = """\
class Counter:
    def __init__(self, start=0):
        self.count = start

    def up(self):
        self.count += 1
        return self.count

    def down(self):
        self.count -= 1
        return self.count
"""

#: The same class, faster and in one direction.
FAST_COUNTER = """\
class Counter:
    def __init__(self, start=100):
        self.count = start

    def up(self):
        self.count += 10
        return self.count
"""


class Persistent(Watched):
    """A test with a store and a space attached to it."""

    def setUp(self):
        super().setUp()
        self.store = modspace.Store.memory()
        self.here = self.attached(name="here")

    def attached(self, **options):
        space = self.space(**options)
        space.attach(self.store)
        return space

    def new(self, **sources):
        """Commits new modules, and lets the space see them; "__" in a name stands for a dot."""
        for name, source in sources.items():
            self.store.new_module(name.replace("__", "."), source)
        self.here.sync()

    def update(self, **sources):
        """Commits new sources, and lets the space see them."""
        for name, source in sources.items():
            self.store.update_module(name.replace("__", "."), source)
        self.here.sync()

    def elsewhere(self):
        """Another space attached to the store, which has loaded every module that is there."""
        space = self.attached(name="elsewhere")
        for name in self.store.modules():
            name = name.removesuffix(".__init__")
            self.assertEqual(space.import_(name).__name__, name)
        return space


class Module(Persistent):
    def test_a_module_is_found_loaded_and_run(self):
        """test_module.TestModule.testModule: a module that was stored is found, imported and works, elsewhere too."""
        self.new(parabola=POLYNOMIAL)
        self.assertEqual(self.store.find_module("parabola").source, POLYNOMIAL)
        parabola = self.here.import_("parabola")
        # It is whole again after a sync that had nothing to do.
        self.here.sync()
        self.assertEqual((parabola.first, parabola.value(4)), (1, 27))
        self.assertEqual(parabola.__doc__, "A parabola.")
        other = self.elsewhere().import_("parabola")
        self.assertIsNot(other, parabola)
        self.assertEqual((other.first, other.value(4)), (1, 27))

    def test_a_function_takes_its_new_code(self):
        """test_module.TestModule.testUpdateFunction: a reference taken before the update runs the new code."""
        self.new(plain="def same(x):\n    return x\n")
        plain = self.here.import_("plain")
        taken = plain.same
        self.assertEqual(taken(3), 3)
        self.update(plain="def same(x):\n    return x + 1\n")
        self.assertEqual((plain.same(3), taken(3)), (4, 4))
        self.assertIs(plain.same, taken)
        self.assertIs(self.here.import_("plain"), plain)
        self.assertEqual(self.elsewhere().import_("plain").same(3), 4)

    def test_instances_see_their_new_class(self):
        """test_module.TestModule.testUpdateClass: an instance made before the update loses a method that is gone."""
        self.new(counters=COUNTER)
        counter = self.here.import_("counters").Counter(5)
        self.assertEqual((counter.up(), counter.down()), (6, 5))
        self.update(counters=FAST_COUNTER)
        with self.assertRaises(AttributeError):
            counter.down()
        self.assertFalse(hasattr(type(counter), "down"))
        self.assertEqual((counter.count, counter.up()), (5, 15))
        self.assertIs(type(counter), self.here.import_("counters").Counter)
        self.assertEqual(self.elsewhere().import_("counters").Counter().count, 100)

    def test_modules_import_each_other(self):
        """test_module.TestModule.testModules: references, copies and stars among modules of one commit; functions read
        the globals of the module they were defined in."""
        with self.store.transaction() as change:
            change.new("base", "import string\nnumber = 1\ndef add(x):\n    return number + x\n")
            change.new("copies", "from base import number\ndef add(x):\n    return number + x\n")
            change.new("refers", "import base")
            change.new("takes_all", "from base import *")
            self.assertEqual(change.modules(), ["base", "copies", "refers", "takes_all"])
            # Nobody else sees them before the commit, nor the space before its sync.
            self.assertEqual(self.store.modules(), [])
        with self.assertRaises(ModuleNotFoundError):
            self.here.import_("base")
        self.here.sync()
        refers, takes_all, copies, base = map(self.here.import_, ("refers", "takes_all", "copies", "base"))
        self.assertEqual([base.add(4), refers.base.add(4), takes_all.add(4), copies.add(4)], [5, 5, 5, 5])
        self.assertIs(base.add, refers.base.add)
        self.assertIs(base.add, takes_all.add)
        base.number = 42
        for _ in range(2):
            self.assertEqual([base.add(4), refers.base.add(4), takes_all.add(4), copies.add(4)], [46, 46, 46, 5])
            self.here.sync()
        # It was assigned in that space alone, and is no part of the source.
        other = self.elsewhere()
        self.assertEqual([other.import_(name).add(4) for name in ("base", "takes_all", "copies")], [5, 5, 5])

    def test_attributes_of_functions(self):
        """test_module.TestModule.testFunctionAttrs: what is set on a function stays there, and can be deleted."""
        self.new(plain="def same(x):\n    return x\n", other="")
        function = self.here.import_("plain").same
        function.label = label = ["label"]
        self.assertIs(function.label, label)
        self.update(other="value = 1")
        self.assertIs(self.here.import_("plain").same.label, label)
        other = self.elsewhere()
        self.assertFalse(hasattr(other.import_("plain").same, "label"))
        del function.label
        with self.assertRaises(AttributeError):
            function.label
        self.assertEqual(function.__code__.co_name, "same")

    def test_functions_with_side_effects(self):
        """test_module.TestModule.testFunctionSideEffects: a function that rebinds a global changes its module."""
        self.new(effect="total = 1\ndef add():\n    global total\n    total += 1\n    return total\n", other="")
        effect = self.here.import_("effect")
        self.assertEqual(effect.add(), 2)
        self.update(other="value = 1")
        self.assertEqual((effect.add(), effect.total, vars(effect)["total"]), (3, 3, 3))
        self.assertEqual(self.elsewhere().import_("effect").total, 1)

    def test_builtins(self):
        """test_module.TestModule.testBuiltins: the builtins are there, also after a sync and elsewhere."""
        self.new(measures="data = 'a', 'b', 'c'\ndef size():\n    return len(data), max(data), place\n", other="")
        self.here.builtins.place = "here"
        measures = self.here.import_("measures")
        self.assertEqual(measures.size(), (3, "c", "here"))
        self.update(other="value = 1")
        self.assertEqual(measures.size(), (3, "c", "here"))
        other = self.elsewhere()
        other.builtins.place = "elsewhere"
        self.assertEqual(other.import_("measures").size(), (3, "c", "elsewhere"))

    def test_nested_functions(self):
        """test_module.TestModule.testNested: a source that fails leaves no module, and its name is free for a good one
        with functions in functions."""
        source = """\
def outer(a):
    def middle(b):
        def inner(c):
            return a + b + c
        return inner
    return middle
"""
        bad = self.store.new_module("nested", source + "wrong = outer(1)(2)('3')\n")
        self.here.sync()
        for _ in range(2):
            with self.assertRaises(TypeError):
                self.here.import_("nested")
            self.assertNotIn("nested", self.here.sys.modules)
        self.store.undo(bad)
        self.assertEqual(self.store.modules(), [])
        self.new(nested=source)
        middle = self.here.import_("nested").outer(3)
        self.assertEqual(middle(4)(5), 12)
        self.assertEqual(self.elsewhere().import_("nested").outer(1)(2)(3), 6)

    def test_lambdas(self):
        """test_module.TestModule.testLambda: a lambda with another lambda as a default."""
        self.new(short="add = lambda x, more=lambda: 1: x + more()")
        short = self.here.import_("short")
        taken = short.add
        self.assertEqual(taken(1), 2)
        self.assertEqual(self.elsewhere().import_("short").add(1), 2)
        self.update(short="add = lambda x, more=lambda: 10: x - more()")
        self.assertEqual((short.add(1), taken(1)), (-9, -9))

    def test_instances_kept_outside(self):
        """test_module.TestModule.testClass: instances are written and read, and their class works on."""
        self.new(counters=COUNTER, other="")
        self.here.exec("import pickle, counters\ncounter = counters.Counter(7)\ncounter.up()\n"
                       "written = pickle.dumps(counter)")
        self.update(other="value = 1")
        counter = self.here.import_("counters").Counter()
        self.assertEqual([counter.up(), counter.up()], [1, 2])
        other = self.elsewhere()
        other.ns["written"] = self.here.ns["written"]
        other.exec("import pickle\nread = pickle.loads(written)")
        self.assertEqual(other.ns["read"].up(), 9)
        self.assertIs(type(other.ns["read"]), other.import_("counters").Counter)

    def test_packages_are_made_as_needed(self):
        """test_module.TestModule.testPackage: the packages above a module are made; a package is no module; modules
        are added to it later."""
        self.new(A__B__C="def same(x):\n    return x\n")
        self.here.exec("import A.B.C")
        self.assertEqual(self.here.eval("A.B.C.same('A')"), "A")
        self.assertTrue(self.here.eval("all(hasattr(package, '__path__') for package in (A, A.B))"))
        self.assertFalse(self.here.eval("hasattr(A.B.C, '__path__')"))
        with self.assertRaises(modspace.StoreError) as caught:
            self.store.new_module("A.B", "def same(x):\n    return x + 1\n")
        self.assertIn("A.B", str(caught.exception))
        self.new(A__B__D="def same(x):\n    return x\n")
        self.here.exec("from A.B import D")
        self.assertTrue(self.here.eval("D is A.B.D and callable(A.B.D.same)"))
        self.elsewhere()

    def test_the_code_of_a_package(self):
        """test_module.TestModule.testPackageInit: a package that is loaded gets code and keeps its modules; the code is
        no package."""
        self.new(A__B__C="def same(x):\n    return x\n")
        submodule = self.here.import_("A.B.C")
        package = self.here.import_("A.B")
        self.store.new_module("A.B.__init__", "number = 2")
        self.here.sync()
        self.here.exec("import A.B")
        self.assertIs(self.here.eval("A.B"), package)
        self.assertIs(package.C, submodule)
        self.assertEqual(package.number, 2)
        with self.assertRaises(modspace.StoreError):
            self.store.new_module("A.__init__.D", "number = 2")
        self.assertEqual(self.store.modules(), ["A.B.C", "A.B.__init__"])
        self.assertEqual(self.elsewhere().import_("A.B").number, 2)

    def test_relative_imports(self):
        """test_module.TestModule.testPackageRelativeImport: a module imports from a package beside it, and what it
        imports changes with its source; what is nowhere raises ImportError."""
        self.new(A__B__C="def same(x):\n    return x\n", A__Q="from .B.C import same\n")
        self.here.exec("import A.Q")
        self.assertIs(self.here.eval("A.B.C.same"), self.here.eval("A.Q.same"))
        self.update(A__Q="from . import B\nfrom .B import C as _\n")
        self.assertIs(self.here.eval("A.B.C.same"), self.here.eval("A.Q.B.C.same"))
        self.assertFalse(self.here.eval("hasattr(A.Q, 'same')"))
        with self.assertRaises(ImportError):
            self.here.exec("import A.B.Q")
        self.elsewhere()

    def test_stars(self):
        """test_module.TestModule.testImportAll: a star takes what __all__ names, from a module and from a package."""
        self.new(A__B__C="__all__ = ['a', 'b']\na, b, c = 1, 2, 3\n")
        self.here.exec("taken = {}\nexec('from A.B.C import *', taken)")
        taken = self.here.ns["taken"]
        self.assertEqual((taken["a"], taken["b"]), (1, 2))
        self.assertNotIn("c", taken)
        self.new(A__B__D="from .C import *\n")
        module = self.here.import_("A.B.D")
        self.assertEqual((module.a, module.b, hasattr(module, "c")), (1, 2, False))
        self.store.new_module("A.__init__", "__all__ = ['B', 'F']\n")
        self.store.new_module("A.F", "number = 1\n")
        self.here.sync()
        self.here.exec("from A import *\nimport A")
        self.assertEqual(self.here.eval("(A.F.number, F is A.F, B.C.a)"), (1, True, 1))
        self.elsewhere()


class Reload(Persistent):
    """The first space goes before the second one comes."""

    def again(self):
        """A space after this one."""
        self.here.discard()
        self.here = self.attached(name="again")
        return self.here

    def test_a_module_in_a_later_space(self):
        """test_module.TestModuleReload.testModuleReload: what was stored is there after everything was closed."""
        self.new(parabola=POLYNOMIAL)
        self.assertEqual(self.here.import_("parabola").value(4), 27)
        parabola = self.again().import_("parabola")
        self.assertEqual((parabola.first, parabola.value(4)), (1, 27))

    def test_a_class_in_a_later_space(self):
        """test_module.TestModuleReload.testClassReload: instances that were written are read after everything was
        closed."""
        self.new(counters=COUNTER)
        self.here.exec("import pickle, counters\ncounter = counters.Counter()\ncounter.up()\n"
                       "written = pickle.dumps({'m': counter})")
        written = self.here.ns["written"]
        later = self.again()
        later.ns["written"] = written
        later.exec("import pickle, sys\nread = pickle.loads(written)['m']")
        self.assertEqual(later.ns["read"].up(), 2)
        self.assertTrue(later.eval("type(read) is sys.modules['counters'].Counter"))

    def test_modules_are_pickled_by_name(self):
        """test_module.TestModuleReload.testModulePicklability: a pickled module is the module of that name."""
        self.new(pkg__sub="number = 1", counters=COUNTER)
        self.here.exec("import pickle, pkg.sub, counters")
        for name in ("pkg", "pkg.sub", "counters"):
            for protocol in range(6):
                with self.subTest(name=name, protocol=protocol):
                    self.assertTrue(self.here.eval(f"pickle.loads(pickle.dumps({name}, {protocol})) is {name}"))
        written = self.here.eval("pickle.dumps([pkg.sub, counters.Counter, pkg.sub])")
        later = self.again()
        later.ns["written"] = written
        later.exec("import pickle, sys\nread = pickle.loads(written)")
        self.assertTrue(later.eval("read[0] is read[2] is sys.modules['pkg.sub']"))
        self.assertTrue(later.eval("read[1] is sys.modules['counters'].Counter"))


class Class(Persistent):
    LABEL = "class Label:\n    def __init__(self, text):\n        self.text = text\n"

    def test_a_class_with_an_initializer(self):
        """test_class.TestClass.testClassWithInit: instances are made here and elsewhere."""
        self.new(labels=self.LABEL)
        self.assertEqual(self.here.import_("labels").Label(12).text, 12)
        self.assertEqual(self.elsewhere().import_("labels").Label(12).text, 12)

    def test_a_class_and_its_instances_in_one_module(self):
        """test_class.TestClass.testClassAndInstance: a module's instances are ordinary objects, each space has its
        own."""
        self.new(labels=self.LABEL + "one = Label(11)\ntwo = Label(12)\n")
        labels = self.here.import_("labels")
        self.assertEqual((labels.one.text, labels.two.text), (11, 12))
        other = self.elsewhere().import_("labels")
        self.assertEqual((other.Label(12).text, other.one.text, other.two.text), (12, 11, 12))
        self.assertEqual((vars(other.one), vars(other.two)), ({"text": 11}, {"text": 12}))
        other.one.own, other.two.own = 1234, 4321
        self.assertEqual((other.one.own, other.two.own), (1234, 4321))
        self.assertFalse(hasattr(labels.one, "own"))

    def test_class_attributes_of_any_name(self):
        """test_class.TestClass.testClassInterface: attributes with two underscores are found through instances."""
        self.new(labels="class Label:\n    __implements__ = 1\n    __interfaces__ = 'x', 'y'\n")
        label = self.here.import_("labels").Label()
        self.assertEqual((label.__implements__, label.__interfaces__), (1, ("x", "y")))
        self.update(labels="class Label:\n    __implements__ = 2\n")
        self.assertEqual(label.__implements__, 2)
        self.assertFalse(hasattr(label, "__interfaces__"))

    def test_an_import_across_modules(self):
        """test_class.TestClass.testCrossModuleImport: a module of a later commit imports a class of an earlier one."""
        self.new(labels=self.LABEL)
        self.new(another="from labels import Label\n")
        self.assertIs(self.here.import_("another").Label, self.here.import_("labels").Label)
        other = self.elsewhere()
        self.assertIs(other.import_("another").Label, other.import_("labels").Label)

    def test_an_update_is_seen_by_each_space_when_it_syncs(self):
        """test_class.TestClass.testUpdateInPlace: instances here have the new method at once, and those of another
        space when that has synced."""
        self.new(methods="class Calculates:\n    def result(self, x):\n        return x * 3\n")
        calculates = self.here.import_("methods").Calculates()
        other = self.elsewhere()
        other_class = other.import_("methods").Calculates
        other_calculates = other_class()
        self.assertEqual((calculates.result(4), other_calculates.result(4)), (12, 12))
        self.update(methods="class Calculates:\n    def result(self, x):\n        return x + 3\n")
        self.assertEqual(calculates.result(4), 7)
        self.assertEqual((other_calculates.result(4), other_class().result(4)), (12, 12))
        other.sync()
        self.assertEqual((other_calculates.result(4), other_class().result(4)), (7, 7))
        self.assertIs(other.import_("methods").Calculates, other_class)

    def test_inheritance_across_modules(self):
        """test_class.TestClass.testInheritanceAcrossModules: a subclass in another module follows its base class."""
        self.new(parent="class Base:\n    def result(self, x):\n        return x * 2\n",
                 child="import parent\n\nclass Derived(parent.Base):\n    def result(self, x):\n"
                       "        return super(Derived, self).result(x) + 5\n")
        child = self.here.import_("child")
        derived = child.Derived()
        self.assertEqual(derived.result(3), 11)
        self.update(parent="class Base:\n    def result(self, x):\n        return x // 2\n")
        self.assertEqual((derived.result(3), child.Derived().result(3)), (6, 6))
        self.assertTrue(issubclass(child.Derived, self.here.import_("parent").Base))
        self.assertEqual(self.elsewhere().import_("child").Derived().result(3), 6)

    #: A base class that notes things on each instance, and a class of the store that derives from it.
    RECORDED = "class Recorded:\n    key = None\n    __slots__ = ('noted', '__dict__')\n"
    DERIVED = "from records import Recorded\nclass Row(Recorded):\n    pass\n"

    def recorded(self, *spaces):
        """Lets the spaces find the ordinary module `records`."""
        root = self.tree({"records.py": self.RECORDED})
        for space in spaces:
            space.sys.path.insert(0, root)

    def test_a_subclass_of_an_ordinary_class(self):
        """test_class.TestClass.testPersistentSubclass: what instances note of themselves and what their class has are
        two things."""
        self.recorded(self.here)
        self.new(rows=self.DERIVED)
        rows = self.here.import_("rows")
        row = rows.Row()
        self.assertIsNone(row.key)
        row.key, row.noted = 1, "here"
        self.assertEqual((row.key, rows.Row.key, rows.Row().key), (1, None, None))
        self.update(rows=self.DERIVED.replace("pass", "kind = 'updated'"))
        self.assertEqual((row.key, row.noted, row.kind, rows.Row.key), (1, "here", "updated", None))
        self.assertIsInstance(row, self.here.import_("records").Recorded)

    def test_an_instance_of_such_a_subclass_in_a_module(self):
        """test_class.TestClass.testSavePersistentSubclass: a module of a later commit makes an instance of it."""
        other = self.attached(name="other")
        self.recorded(self.here, other)
        self.new(rows=self.DERIVED)
        self.here.import_("rows")
        self.new(keeps_row="from rows import Row\nrow = Row()\n")
        row = self.here.import_("keeps_row").row
        self.assertIs(type(row), self.here.import_("rows").Row)
        other.sync()
        self.assertIs(type(other.import_("keeps_row").row), other.import_("rows").Row)


class Patch(Persistent):
    #: Everything that can be named, under a marker that says which version it is of.
    SOURCE = '''\
from helping import *
import helping

def outer():
    def local():
        return outer, {marker!r}
    return local

class Plain:
    def method(self):
        return {marker!r}

    class Nested:
        def inside(self):
            return {marker!r}

def maker():
    class Local:
        def method(self):
            return {marker!r}
    return Local

held = (outer,)

class Base:
    def twice(self, x=1):
        return 2 * x, {marker!r}

    static = staticmethod(outer)
    alias = outer
    of_class = classmethod(twice)

class Derived(Base):
    pass
'''

    #: What it imports.
    HELPING = "__all__ = ['help_out', 'Helper', 'HELP']\nHELP = ['help']\ndef help_out():\n    return HELP\n" \
              "class Helper:\n    pass\n"

    def loaded(self):
        """The module in its first version."""
        self.new(helping=self.HELPING, target=self.SOURCE.format(marker="old"))
        return self.here.import_("target")

    def renew(self):
        self.update(target=self.SOURCE.format(marker="new"))

    def test_what_has_a_name_is_updated_in_place(self):
        """test_patch.TestNameFinder.testNameFinder: functions, classes, methods and nested classes are found by their
        names in module and classes; what a function makes when it runs is not."""
        target = self.loaded()
        named = {"outer": target.outer, "maker": target.maker, "Plain": target.Plain, "Base": target.Base,
                 "Plain.method": target.Plain.method, "Plain.Nested": target.Plain.Nested,
                 "Base.twice": target.Base.twice, "Plain.Nested.inside": target.Plain.Nested.inside}
        local, local_class = target.outer(), target.maker()
        instances = target.Plain(), target.Plain.Nested(), local_class()
        bound = instances[0].method
        self.renew()
        for name, thing in named.items():
            with self.subTest(name=name):
                found = target
                for part in name.split("."):
                    found = getattr(found, part)
                self.assertIs(found, thing)
        self.assertEqual(named["Plain.method"](instances[0]), "new")
        self.assertEqual(named["Plain.Nested.inside"](instances[1]), "new")
        self.assertEqual((instances[0].method(), instances[1].inside(), bound()), ("new", "new", "new"))
        self.assertEqual(target.outer()()[1], "new")
        self.assertEqual(target.maker()().method(), "new")
        # These have no name in the module.
        self.assertEqual((local()[1], local_class().method(), instances[2].method()), ("old", "old", "old"))
        self.assertIs(local()[0], target.outer)

    def test_identities_are_kept(self):
        """test_patch.TestPatch.testPatch: an update keeps who is who: bases, aliases, functions in containers; it
        touches nothing that is imported."""
        target = self.loaded()
        before, identities = set(vars(target)), {}
        for name in ("outer", "maker", "Plain", "Base", "Derived", *self.here.import_("helping").__all__):
            identities[name] = getattr(target, name)
        base = target.Base()
        for marker in ("old", "new"):
            with self.subTest(marker=marker):
                self.assertEqual(set(vars(target)), before)
                for name, thing in identities.items():
                    self.assertIs(getattr(target, name), thing, name)
                self.assertIs(target.outer.__globals__, vars(target))
                self.assertEqual(target.Derived.__bases__, (target.Base,))
                self.assertIs(target.Derived.__bases__[0], target.Base)
                self.assertIs(target.held[0], target.outer)
                for alias in (target.Base.static, base.static, vars(target.Base)["alias"], base.alias.__func__):
                    self.assertIs(alias, target.outer)
                self.assertIs(base.of_class.__self__, target.Base)
                self.assertEqual((base.twice(4), base.of_class(4), target.Derived().twice()),
                                 ((8, marker), (8, marker), (2, marker)))
                for name in target.helping.__all__:
                    self.assertIs(getattr(target, name), getattr(self.here.import_("helping"), name))
            if marker == "old":
                self.renew()


if __name__ == "__main__":
    unittest.main()
