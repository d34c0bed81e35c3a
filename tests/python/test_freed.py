"""A space is freed whole: what its modules define, in whatever cycles it is, what the host refers to without holding
it, and spaces that refer to each other."""

import concurrent.futures
import gc
import sys
import textwrap
import unittest
import weakref

from leaking import PLUGIN, Box, Freed
from support import alive, own_objects, shelf


class Definitions(Freed):
    """Modules, functions, classes and instances that refer to each other."""

    def test_functions_classes_and_instances(self):
        self.free("""\
            handler = Handler()
            handler.self = handler
            Handler.instance = handler
            handle.handler = handler
            """)

    def test_the_sys_and_builtins_of_the_space(self):
        space = self.space()
        space.exec("import sys, builtins\nclass A: pass\nsys.a = builtins.a = A()")
        references = {name: weakref.ref(value) for name, value in
                      (("sys", space.sys), ("builtins", space.builtins), ("A", space.ns["A"]), ("a", space.sys.a))}
        self.assertTrue(space.discard().clean)
        self.assertEqual(alive(references), [])

    def test_what_was_executed_in_main(self):
        space = self.space()
        space.exec("class A:\n    def f(self): return A\ndef f(): return f\na = A()\n")
        references = {name: weakref.ref(space.ns[name]) for name in ("A", "f", "a")}
        self.assertTrue(space.discard().clean)
        self.assertEqual(alive(references), [])

    def test_a_package(self):
        self.free("import package.inner\nfrom package.inner import Inner\n", files={
            "package/__init__.py": "from . import inner\n",
            "package/inner.py": "import package\nimport plugin\nclass Inner: pass\n"})

    def test_closures(self):
        self.free("""\
            def outer():
                class A:
                    def f(self): return __class__
                def f(): return A, f
                A.g = f
                return A
            Made = outer()
            recursive = (lambda f: lambda: f)(lambda: recursive)
            """)

    def test_a_changed_code_object(self):
        self.free("""\
            class A: pass
            code = handle.__code__.replace(co_consts=(*handle.__code__.co_consts, A))
            import types
            changed = types.FunctionType(code, globals())
            """)

    def at_once(self, source, keep):
        """What `keep(plugin, marker)` puts into the module goes with the space, without a collection after that."""
        references = []

        def before(plugin):
            marker = Box()
            references.append(weakref.ref(marker))
            keep(plugin, marker)
        self.free(source, before=before)
        self.assertIsNone(references[0]())

    def test_classes_that_platform_code_makes(self):
        for expression in ("collections.namedtuple('X', 'a b')", "typing.NamedTuple('X', [('a', int)])",
                           "enum.Enum('X', 'A B')", "types.new_class('X')", "abc.ABCMeta('X', (), {})",
                           "dataclasses.make_dataclass('X', ['a'])", "typing.TypedDict('X', {'a': int})"):
            with self.subTest(expression):
                self.at_once(f"import abc, collections, dataclasses, enum, types, typing\nX = {expression}",
                             lambda plugin, marker: setattr(plugin.X, "marker", marker))
        # Its base has the same name, and only the class itself leads there.
        self.at_once("import collections\nclass X(collections.namedtuple('X', 'a b')): pass\n",
                     lambda plugin, marker: setattr(plugin.X.__base__, "marker", marker))

    def test_cycles_of_plain_objects(self):
        for expression in ("[]", "{}", "types.SimpleNamespace()", "collections.OrderedDict()", "collections.deque()",
                           "threading.local()", "pathlib.Path()", "ValueError()", "functools.partial(print)"):
            def keep(plugin, marker):
                cycle = [plugin.x, marker]
                cycle.append(cycle)
                if hasattr(plugin.x, "append"):
                    plugin.x.append(cycle)
                elif hasattr(plugin.x, "__setitem__"):
                    plugin.x[1] = cycle
                else:
                    try:
                        plugin.x.cycle = cycle
                    except AttributeError:
                        plugin.x = cycle
            with self.subTest(expression):
                self.at_once(f"import collections, functools, pathlib, threading, types\nx = {expression}", keep)

    def test_classes_with_slots(self):
        self.free("""\
            class A:
                __slots__ = ('x', 'y')
            a = A()
            a.x = a
            a.y = A
            class B(A):
                __slots__ = ('z',)
            b = B()
            """)

    def test_slotted_dataclasses(self):
        self.free("""\
            import dataclasses
            @dataclasses.dataclass(slots=True, weakref_slot=True)
            class A:
                x: object = None
            a = A()
            a.x = a
            @dataclasses.dataclass
            class B:
                x: A
                y: list = dataclasses.field(default_factory=list)
            b = B(a)
            """)

    def test_metaclasses(self):
        self.free("""\
            class Meta(type):
                made = []
                def __new__(meta, name, bases, body, **options):
                    made = super().__new__(meta, name, bases, body)
                    meta.made.append(made)
                    return made
                @classmethod
                def __prepare__(meta, name, bases, **options): return {}
            class A(metaclass=Meta): pass
            class B(A, option=1):
                def __init_subclass__(cls): pass
            class C(B): pass
            """)

    def test_descriptors(self):
        self.free("""\
            class Field:
                def __set_name__(self, owner, name): self.owner = owner
                def __get__(self, obj, owner=None): return self
            class A:
                field = Field()
                @property
                def x(self): return self._x
                @x.setter
                def x(self, value): self._x = value
                @staticmethod
                def s(): return A
                @classmethod
                def c(cls): return cls
            a = A()
            a.x = a
            A.p = property(a.c)
            bound = A.c
            """)

    def test_enums(self):
        self.free("""\
            import enum
            class Color(enum.Enum):
                RED = 1
                BLUE = Handler()
                def f(self): return Color
            class Flag(enum.Flag):
                A = 1
                B = 2
            both = Flag.A | Flag.B
            class Number(enum.IntEnum):
                ONE = 1
            Number(1), Color['RED']
            """)

    def test_named_tuples(self):
        self.free("""\
            import collections, typing
            Pair = collections.namedtuple('Pair', 'a b', defaults=(Handler,))
            pair = Pair(Handler)
            class T(typing.NamedTuple):
                x: Handler
            t = T(Handler())
            """)

    def test_subclasses_of_shared_classes(self):
        self.free("""\
            import collections, contextlib, datetime, decimal, enum, fractions, io, json, pathlib, random, threading
            import types
            class T(threading.Thread): pass
            class E(Exception): pass
            class P(pathlib.PurePosixPath): pass
            class D(dict): pass
            class O(collections.OrderedDict): pass
            class U(collections.UserDict): pass
            class C(collections.abc.Sequence):
                def __getitem__(self, i): raise IndexError
                def __len__(self): return 0
            class S(io.StringIO): pass
            class J(json.JSONEncoder): pass
            class Dec(decimal.Decimal): pass
            class F(fractions.Fraction): pass
            class Date(datetime.date): pass
            class R(random.Random): pass
            class M(types.ModuleType): pass
            class L(threading.local): pass
            class X(contextlib.ExitStack): pass
            class Dd(collections.defaultdict): pass
            class Q(collections.deque): pass
            t, e, p, d, o, u, c, s, j, m, l, x = T(), E(), P('a'), D(), O(), U(), C(), S(), J(), M('m'), L(), X()
            dd = Dd(Dd)
            q = Q()
            for item in (t, e, d, o, u, c, s, j, m, l, x, dd, q):
                item.own = item
            for item in (d, o, u, dd): item['self'] = item
            q.append(q)
            dec, f, r, date = Dec(1), F(1, 2), R(), Date(2000, 1, 1)
            """)

    def test_stored_dict_views(self):
        self.free("""\
            class A: pass
            a = A()
            a.values = vars(a).values()
            a.items = vars(a).items()
            a.keys = vars(a).keys()
            views = globals().values(), globals().items(), vars(A).values(), vars(A)
            """)

    def test_bound_slot_wrappers(self):
        self.free("""\
            class A: pass
            a = A()
            a.repr = object.__repr__.__get__(a)
            a.hash = a.__hash__
            """)

    def test_bound_builtin_methods(self):
        self.free("""\
            class A(list): pass
            a = A()
            a.push = a.append
            a.push(a)
            class D(dict): pass
            fromkeys = D.fromkeys
            """)


class WeakReferences(Freed):
    def test_weakref_subclasses(self):
        self.free("""\
            import weakref
            class Reference(weakref.ref):
                pass
            reference = Reference(Handler)
            class Slotted(weakref.ref):
                __slots__ = ('key',)
            slotted = Slotted(Handler)
            slotted.key = slotted
            """)

    def test_keyed_references_and_weak_methods(self):
        self.free("""\
            import weakref
            handler = Handler()
            method = weakref.WeakMethod(handler.handle)
            keyed = weakref.KeyedRef(handler, handle, 'key')
            """)

    def test_weak_containers(self):
        self.free("""\
            import weakref
            handler = Handler()
            values = weakref.WeakValueDictionary(x=handler)
            keys = weakref.WeakKeyDictionary({handler: Handler})
            bag = weakref.WeakSet([handler, Handler])
            handler.all = values, keys, bag
            proxy = weakref.proxy(handler)
            handler.proxy = proxy
            """)


class NotHolding(Freed):
    """What the host keeps without holding."""

    def test_plain_data(self):
        self.free("data = {'x': [1, 'two', (3.0, b'four')], 'y': {5, None, True}}\n", lambda plugin: plugin.data)
        self.assertEqual(shelf["held"]["x"], [1, "two", (3.0, b"four")])

    def test_objects_of_shared_classes(self):
        self.free("""\
            import pathlib, datetime, decimal, re, collections
            data = [pathlib.Path('x'), datetime.date(2000, 1, 1), decimal.Decimal(1), re.compile('x'), ValueError(1)]
            data.append(collections.OrderedDict(a=1))
            """,
                  lambda plugin: plugin.data)
        self.assertEqual(shelf["held"][2] + 1, 2)

    def test_a_code_object(self):
        self.free("", lambda plugin: plugin.handle.__code__)

    def test_weak_references(self):
        def hold(plugin):
            shelf["handler"] = weakref.WeakSet([plugin.Handler, plugin.handle])
            return (weakref.ref(plugin.Handler), weakref.ref(plugin), weakref.WeakMethod(plugin.handler.handle),
                    weakref.WeakValueDictionary(x=plugin.Handler), weakref.WeakKeyDictionary({plugin.Handler: 1}),
                    weakref.proxy(plugin.handler))
        self.free("handler = Handler()\n", hold)
        reference, module, method, values, keys, proxy = shelf["held"]
        self.assertEqual((reference(), module(), method()), (None, None, None))
        self.assertEqual((len(values), len(keys), len(shelf["handler"])), (0, 0, 0))
        with self.assertRaises(ReferenceError):
            proxy.handle()

    def test_a_weakref_callback_of_the_host_runs(self):
        seen = []

        def hold(plugin):
            return (weakref.ref(plugin.Handler, lambda reference: seen.append("class")),
                    weakref.ref(plugin, lambda reference: seen.append("module")),
                    weakref.finalize(plugin.handler, seen.append, "instance"))
        self.free("handler = Handler()\nhandler.handler = handler\n", hold)
        self.assertEqual(sorted(seen), ["class", "instance", "module"])

    def test_an_abc_of_the_host(self):
        import abc

        class Base(abc.ABC):
            pass

        def hold(plugin):
            Base.register(plugin.Handler)
            return isinstance(plugin.Handler(), Base)
        self.free("", hold)
        self.assertEqual((shelf["held"], Base.__subclasses__()), (True, []))

    def test_subclasses_of_a_class_of_the_host(self):
        def before(plugin):
            plugin.Derived = type("Derived", (Box,), {"__module__": "plugin"})
            plugin.box = plugin.Derived(plugin.Handler)
        self.free("", before=before)
        gc.collect()
        self.assertEqual(Box.__subclasses__(), [])

    def test_a_call_that_failed(self):
        def before(plugin):
            with self.assertRaises(ZeroDivisionError):
                plugin.fail(Box())
        self.free("""\
            def fail(box):
                own = Handler()
                box.content = own
                1 / 0
            """, before=before)

    def test_a_class_of_the_host_without_methods(self):
        shelf["class"] = type("Empty", (), {"__module__": "__main__"})

        def before(plugin):
            plugin.handler = shelf["class"]()
        self.free("", before=before)

    def test_a_class_of_a_sibling_whose_module_has_the_same_name(self):
        sibling = self.library({"plugin.py": "class Empty: pass\n"}, name="sibling")

        def before(plugin):
            plugin.Empty = sibling.import_("plugin").Empty
            plugin.empty = plugin.Empty()
        space = self.space(name="plugins", path=[self.tree({"plugin.py": PLUGIN}), *sys.path])
        before(space.import_("plugin"))
        reference = weakref.ref(space.import_("plugin"))
        report = space.discard()
        self.assertTrue(report.clean, report)
        self.assertIsNone(reference())
        self.assertEqual(sibling.import_("plugin").Empty.__name__, "Empty")

    def test_objects_of_the_host(self):
        shelf["box"] = box = Box([1])

        def before(plugin):
            plugin.box = box
            plugin.Handler.box = shelf
        self.free("import modspace\nhere = modspace.current()\nparent = here.parent\n", before=before)
        self.assertEqual(box.content, [1])


class Spaces(Freed):
    def test_a_space_whose_handle_is_kept(self):
        space = self.space(name="plugins")
        space.exec("class A: pass")
        reference = weakref.ref(space.ns["A"])
        shelf["space"] = space
        self.assertTrue(space.discard().clean)
        self.assertIsNone(reference())

    def test_a_space_inside_a_space(self):
        space = self.space(name="outer")
        space.exec(textwrap.dedent("""\
            import modspace
            class A: pass
            inner = modspace.ModuleSpace(modspace.current(), name='inner')
            inner.ns['A'] = A
            inner.exec('class B(A): pass')
            B = inner.ns['B']
            """))
        references = {name: weakref.ref(space.ns[name]) for name in ("A", "B")}
        report = space.discard(recursive=True)
        self.assertTrue(report.clean, report)
        self.assertEqual(alive(references), [])

    def test_what_an_earlier_discard_left_goes_with_the_next(self):
        one = self.library({"plugin.py": PLUGIN}, name="one")
        own = own_objects(one, "plugin")
        shelf["held"] = one.import_("plugin").handle
        self.assertFalse(one.discard().clean)
        shelf.clear()
        two = self.space(name="two")
        two.exec("import modspace\ninner = modspace.ModuleSpace(modspace.current(), name='inner')\ninner.exec('1')")
        report = two.discard(recursive=True)
        self.assertTrue(report.clean, report)
        self.assertEqual(alive(own), [])

    def test_two_spaces_that_hold_each_other_go_with_the_second(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("class A: pass\ndef f(): return A\na = A()")
        one.ns["other"], two.ns["other"] = two.ns["f"], one.ns["f"]
        references = {f"{space.name}.{name}": weakref.ref(space.ns[name])
                      for space in (one, two) for name in ("A", "f", "a")}
        first = one.discard()
        self.assertRegex(first.held[0].path, r"two: __main__\.other")
        self.assertEqual(two.eval("other().__name__"), "A")
        second = two.discard()
        self.assertTrue(second.clean, second)
        self.assertEqual(alive(references), [])

    def test_a_discard_within_another_spaces_code(self):
        manager = self.space(name="manager")
        manager.exec(textwrap.dedent("""\
            import modspace, weakref
            def run():
                space = modspace.ModuleSpace(modspace.current(), name='plugins')
                space.exec('class A: pass')
                reference = weakref.ref(space.ns['A'])
                return space.discard().clean, reference() is None
            """))
        self.assertEqual(manager.eval("run()"), (True, True))

    def test_a_discard_on_another_thread(self):
        space = self.space(name="plugins")
        space.exec("class A: pass\na = A()")
        reference = weakref.ref(space.ns["A"])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            report = pool.submit(space.discard).result(timeout=30)
        self.assertTrue(report.clean, report)
        self.assertIsNone(reference())

    def test_many_lives_leave_no_more_than_one(self):
        source = """\
            import dataclasses, typing
            @dataclasses.dataclass(slots=True)
            class A:
                x: int = 0
            x = typing.List[A]
            """
        for _ in range(3):
            self.free(source)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(5):
            self.free(source)
        gc.collect()
        self.assertLess(len(gc.get_objects()) - before, 100)


if __name__ == "__main__":
    unittest.main()
