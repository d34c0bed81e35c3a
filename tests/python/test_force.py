"""A forced discard: what is held raises `SpaceClosedError` when it is called, and everything else is gone."""

import functools
import gc
import io
import sys
import types
import unittest
import weakref

import modspace
from discarding import Discarding
from support import alive, own_objects, shelf

PLUGIN = '''\
import functools, enum, dataclasses, typing, asyncio, contextlib
log = []
state = {"x": 1}

def answer(): return state["x"]
def defaults(a, b=state, *, c=answer, d=5): return a, b, c, d
def spread(*args, **kwargs): return args, kwargs
def annotated(x: int = 3) -> int: return x
def many(a, b, c, d, e=1, f=2, /, g=3, *, h, i=4): return a
square = lambda x: x * state["x"]

def closure():
    count = 0
    other = [answer]
    def step():
        nonlocal count
        count += 1
        return count, other, answer()
    return step

@functools.wraps(answer)
def wrapped(): return answer()

@functools.lru_cache
def cached(x): return answer()

def numbers(note):
    try:
        yield 1
        yield answer()
    finally:
        note(("finally", answer()))

async def coroutine(note):
    try:
        await Pause()
        return answer()
    finally:
        note(("finally", answer()))

async def stream():
    yield 1

class Pause:
    def __await__(self): yield

@contextlib.contextmanager
def manager():
    yield answer()

class Base:
    kind = "base"
    def __init__(self, value=1): self.value = value
    def method(self): return self.value
    @classmethod
    def make(cls): return cls()
    @staticmethod
    def static(): return answer()
    @property
    def prop(self): return self.value
    @functools.cached_property
    def slow(self): return self.value
    def __call__(self): return self.value
    def __add__(self, other): return 1
    def __len__(self): return 1
    def __iter__(self): return iter([1])
    def __getitem__(self, key): return 1
    def __enter__(self): return self
    def __exit__(self, *exc): pass
    def __eq__(self, other): return True
    def __hash__(self): return 1
    def __repr__(self): return "Base"
    def __getattr__(self, name): return answer()

class Derived(Base):
    def method(self): return super().method()

class Slotted:
    __slots__ = ("x",)
    def __init__(self, x): self.x = x
    def method(self): return self.x

class Meta(type):
    def method(cls): return answer()
class WithMeta(metaclass=Meta): pass

@dataclasses.dataclass
class Point:
    x: int = 1
    def method(self): return self.x

class Color(enum.Enum):
    RED = 1
    def method(self): return answer()

class Pair(typing.NamedTuple):
    left: int
    right: int
    def method(self): return self.left

class Fault(Exception):
    def method(self): return answer()

class Number(int):
    def method(self): return self + 1
'''


#: Longer than what the tests take of it.
host_numbers = [1, 2, 3]


class Forced(Discarding):
    CALLS = {
        "function": (lambda p: p.answer, lambda h: h()),
        "function with defaults": (lambda p: p.defaults, lambda h: h(1)),
        "function with defaults, all given": (lambda p: p.defaults, lambda h: h(1, 2, c=3, d=4)),
        "function called wrongly": (lambda p: p.answer, lambda h: h(1, 2, x=3)),
        "variadic function": (lambda p: p.spread, lambda h: h(1, x=2)),
        "annotated function": (lambda p: p.annotated, lambda h: h()),
        "many parameters": (lambda p: p.many, lambda h: h(1, 2, 3, 4, h=5)),
        "lambda": (lambda p: p.square, lambda h: h(2)),
        "closure": (lambda p: p.closure(), lambda h: h()),
        "closure maker": (lambda p: p.closure, lambda h: h()),
        "wrapper": (lambda p: p.wrapped, lambda h: h()),
        "cached function": (lambda p: p.cached, lambda h: h(1)),
        "generator function": (lambda p: p.numbers, lambda h: next(h(print))),
        "coroutine function": (lambda p: p.coroutine, lambda h: h(print).send(None)),
        "async generator function": (lambda p: p.stream, lambda h: h().__anext__().send(None)),
        "context manager function": (lambda p: p.manager, lambda h: h().__enter__()),
        "bound method": (lambda p: p.Base().method, lambda h: h()),
        "class method": (lambda p: p.Base.make, lambda h: h()),
        "static method": (lambda p: p.Base.static, lambda h: h()),
        "class": (lambda p: p.Base, lambda h: h()),
        "class with arguments": (lambda p: p.Base, lambda h: h(5)),
        "derived class": (lambda p: p.Derived, lambda h: h()),
        "slotted class": (lambda p: p.Slotted, lambda h: h(1)),
        "class with a metaclass": (lambda p: p.WithMeta, lambda h: h()),
        "method of a metaclass": (lambda p: p.WithMeta, lambda h: h.method()),
        "dataclass": (lambda p: p.Point, lambda h: h()),
        "named tuple class": (lambda p: p.Pair, lambda h: h(1, 2)),
        "exception class": (lambda p: p.Fault, lambda h: h()),
        "number class": (lambda p: p.Number, lambda h: h(3)),
        "host subclass": (lambda p: type("Host", (p.Base,), {}), lambda h: h()),
        "instance called": (lambda p: p.Base(), lambda h: h()),
        "instance method": (lambda p: p.Base(), lambda h: h.method()),
        "instance class method": (lambda p: p.Base(), lambda h: h.make()),
        "instance property": (lambda p: p.Base(), lambda h: h.prop),
        "cached property": (lambda p: p.Base(), lambda h: h.slow),
        "__getattr__": (lambda p: p.Base(), lambda h: h.absent),
        "addition": (lambda p: p.Base(), lambda h: h + 1),
        "length": (lambda p: p.Base(), len),
        "iteration": (lambda p: p.Base(), list),
        "subscription": (lambda p: p.Base(), lambda h: h[0]),
        "comparison": (lambda p: p.Base(), lambda h: h == 1),
        "hash": (lambda p: p.Base(), hash),
        "repr": (lambda p: p.Base(), repr),
        "derived method": (lambda p: p.Derived(), lambda h: h.method()),
        "slotted method": (lambda p: p.Slotted(1), lambda h: h.method()),
        "dataclass method": (lambda p: p.Point(), lambda h: h.method()),
        "enum method": (lambda p: p.Color.RED, lambda h: h.method()),
        "named tuple method": (lambda p: p.Pair(1, 2), lambda h: h.method()),
        "exception method": (lambda p: p.Fault(), lambda h: h.method()),
        "number method": (lambda p: p.Number(3), lambda h: h.method()),
        "host subclass method": (lambda p: type("Host", (p.Base,), {})(), lambda h: h.method()),
        "partial": (lambda p: functools.partial(p.answer), lambda h: h()),
        "partial with an argument": (lambda p: functools.partial(p.defaults, 1), lambda h: h()),
        "list": (lambda p: [p.answer], lambda h: h[0]()),
        "map": (lambda p: map(p.square, host_numbers), next),
        "sort key": (lambda p: p.square, lambda h: sorted([2, 1], key=h)),
        "host closure": (lambda p: (lambda f: lambda: f())(p.answer), lambda h: h()),
        "functions in a dict": (lambda p: {"answer": p.answer}, lambda h: h["answer"]()),
    }

    def plugin(self, **options):
        space = self.library({"plugin.py": PLUGIN}, name="plugins", **options)
        space.sys.stderr = io.StringIO()
        return space

    def test_calls_raise(self):
        for again in (False, True):
            space = self.plugin()
            plugin = space.import_("plugin")
            shelf["held"] = {name: hold(plugin) for name, (hold, use) in self.CALLS.items()}
            del plugin
            if again:
                # What an earlier discard left working.
                space.discard()
            space.discard(force=True)
            for name, (hold, use) in self.CALLS.items():
                with self.subTest(name, again=again):
                    for _ in range(2):
                        with self.assertRaises(modspace.SpaceClosedError) as caught:
                            use(shelf["held"][name])
                    self.assertIn("plugins", str(caught.exception))
            shelf.clear()

    def test_what_is_held_alone_raises(self):
        for name in ("function", "closure", "bound method", "class", "instance method", "number method", "partial",
                     "generator function"):
            with self.subTest(name):
                hold, use = self.CALLS[name]
                space = self.plugin()
                shelf["held"] = hold(space.import_("plugin"))
                space.discard(force=True)
                with self.assertRaises(modspace.SpaceClosedError):
                    use(shelf["held"])
                shelf.clear()

    def test_finalizers_of_what_is_held_raise_where_only_the_host_sees_it(self):
        space, errors = self.recorded({"plugin.py": "class Thing:\n    def __del__(self): print('end')\n"
                                                    "def dead(reference): print('dead')"})
        space.sys.stdout = output = io.StringIO()
        reports = []
        self.addCleanup(setattr, sys, "unraisablehook", sys.unraisablehook)
        sys.unraisablehook = lambda report: reports.append(report.exc_type)
        plugin, target = space.import_("plugin"), types.ModuleType("target")
        shelf["held"] = [plugin.Thing(), weakref.ref(target, plugin.dead)]
        del plugin
        space.discard(force=True)
        self.assertEqual(reports, [])
        del target
        self.assertIsNone(shelf["held"][1]())
        shelf.clear()
        self.assertEqual((set(reports), errors, output.getvalue()), ({modspace.SpaceClosedError}, [], ""))

    def test_everything_else_is_freed(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        shelf["held"] = [plugin.answer, plugin.Base()]
        own = own_objects(space, "plugin")
        del plugin, own["plugin.answer"], own["plugin.Base"]
        report = space.discard(force=True)
        self.assertGreater(report.objects, 500)
        gc.collect()
        self.assertEqual(alive(own), [])

    def test_shells_are_freed_with_their_holder(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        shelf["held"] = [plugin.answer, plugin.Base, plugin.Base(), plugin.closure()]
        gone = [weakref.ref(plugin.answer), weakref.ref(plugin.Base)]
        del plugin
        space.discard(force=True)
        shelf.clear()
        gc.collect()
        self.assertTrue(space.discard().clean)
        self.assertEqual([reference() for reference in gone], [None, None])

    def test_instances_keep_their_data(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        objects = shelf["held"] = {
            "base": plugin.Base([1]), "slotted": plugin.Slotted("y"), "point": plugin.Point(7),
            "pair": plugin.Pair(1, 2), "number": plugin.Number(5), "fault": plugin.Fault("text", 3),
            "color": plugin.Color.RED}
        classes = shelf["classes"] = {name: type(value) for name, value in objects.items()}
        objects["base"].more = {"key": "value"}
        del plugin
        space.discard(force=True)
        self.assertEqual(vars(objects["base"]), {"value": [1], "more": {"key": "value"}})
        self.assertEqual(objects["base"].value, [1])
        self.assertEqual(objects["slotted"].x, "y")
        self.assertEqual(objects["point"].x, 7)
        self.assertEqual((objects["pair"].left, objects["pair"][1], list(objects["pair"])), (1, 2, [1, 2]))
        self.assertEqual(int(objects["number"]) + 1, 6)
        self.assertEqual(objects["fault"].args, ("text", 3))
        self.assertEqual(vars(objects["color"])["_value_"], 1)
        for name, value in objects.items():
            self.assertIsInstance(value, classes[name])
            self.assertTrue(issubclass(type(value), classes[name]))
        self.assertIsInstance(objects["fault"], Exception)
        self.assertFalse(isinstance(objects["point"], classes["base"]))
        self.assertEqual(classes["base"].__name__, "Base")
        with self.assertRaises(classes["fault"]):
            raise objects["fault"]
        objects["base"].value = 9
        self.assertEqual(objects["base"].value, 9)

    def test_a_class_of_another_space_that_a_class_statement_returned(self):
        class Base:
            limit = 5

            def hello(self):
                return "hello"
        space = self.space()
        space.ns["Base"] = Base
        space.exec("class Other(metaclass=lambda name, bases, body: Base): pass\ndef held(): pass")
        shelf["held"] = space.ns["held"]
        space.discard(force=True)
        self.assertEqual((Base.limit, Base().hello()), (5, "hello"))

    def test_generators_are_closed(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        notes = []
        suspended, fresh = plugin.numbers(notes.append), plugin.numbers(notes.append)
        next(suspended)
        shelf["held"] = [suspended, fresh]
        del plugin
        space.discard(force=True)
        self.assertEqual(notes, [("finally", 1)])
        for generator in (suspended, fresh):
            self.assertIsNone(generator.gi_frame)
            with self.assertRaises((StopIteration, modspace.SpaceClosedError)):
                next(generator)

    def test_coroutines_are_closed(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        notes = []
        suspended = plugin.coroutine(notes.append)
        suspended.send(None)
        shelf["held"] = suspended
        del plugin
        space.discard(force=True)
        self.assertEqual(notes, [("finally", 1)])
        with self.assertRaises((RuntimeError, modspace.SpaceClosedError)):
            suspended.send(None)

    def test_a_generator_that_refuses_to_end(self):
        space, errors = self.recorded({"plugin.py": """\
            def stubborn():
                while True:
                    try: yield 1
                    except GeneratorExit: pass
            def failing():
                try: yield 1
                finally: 1/0
            """})
        plugin = space.import_("plugin")
        shelf["held"] = stubborn, failing = plugin.stubborn(), plugin.failing()
        next(stubborn), next(failing)
        del plugin
        space.discard(force=True)
        self.assertTrue(space.closed)
        # As with CPython, the one lives on and the other is over.
        self.assertEqual(next(stubborn), 1)
        with self.assertRaises(StopIteration):
            next(failing)
        self.assertEqual(sorted(errors), ["RuntimeError", "ZeroDivisionError"])
        with self.assertRaises(ZeroDivisionError):
            stubborn.throw(ZeroDivisionError)

    def test_a_generator_that_runs(self):
        space = self.plugin()
        space.exec("def answer(): return 42\n"
                   "def numbers(ready, wait):\n    yield 0\n    ready()\n    wait()\n    yield 1\n    yield answer()\n")

        def run(ready, wait):
            numbers = shelf["held"] = space.ns["numbers"](ready, wait)
            next(numbers)
            return next(numbers)
        worker = self.worker(run, name="counting")
        report = space.discard(force=True, timeout=0.05)
        self.assertEqual([thread.name for thread in report.threads], ["counting"])
        self.assertEqual(worker.finish(), 1)
        with self.assertRaises(self.GONE):
            next(shelf["held"])

    #: What running code raises that looks for what is no more.
    GONE = (NameError, modspace.SpaceClosedError)

    #: What code that a thread runs goes on with, and what comes of it.
    REST = {
        "return 42": 42,
        "def inner(): return late\n    late = 5\n    return inner()": 5,
        "global mark\n    mark = 1\n    return mark": 1,
        "try: 1/0\n    except ZeroDivisionError as error: return str(error)": "division by zero",
        "return len(thing.values)": 1,
        "return helper()": GONE,
        "return [helper() for _ in range(3)]": GONE,
        "return (lambda: helper)()()": GONE,
        "return len(Thing().values)": GONE,
        "return super(Thing, thing).__init__()": GONE,
        "return list(numbers())": GONE,
        "raise Fault": GONE,
        "try: 1/0\n    except ZeroDivisionError as error: return helper()": GONE,
        "return helping()": modspace.SpaceClosedError,
        "thing.__init__()": modspace.SpaceClosedError,
        "import json\n    return json.dumps([1])": modspace.SpaceClosedError,
        "import late\n    return late": modspace.SpaceClosedError,
    }

    def test_threads_inside_go_on_or_raise(self):
        for source, expected in self.REST.items():
            with self.subTest(source):
                space = self.plugin()
                space.exec(f"import json\ndef helper(): return 7\ndef numbers(): yield 1\n"
                           f"class Fault(Exception): pass\nclass Thing:\n    def __init__(self): self.values = [1]\n"
                           f"def work(ready, wait):\n    thing, helping = Thing(), helper\n    ready()\n    wait()\n"
                           f"    {source}\n")
                worker = self.worker(space.ns["work"])
                report = space.discard(force=True, timeout=0.02)
                self.assertEqual(len(report.threads), 1)
                outcome = worker.finish()
                if isinstance(expected, (int, str)):
                    self.assertEqual(outcome, expected)
                else:
                    self.assertIsInstance(outcome, expected)
                del worker, outcome

    def test_a_tree(self):
        parent = self.plugin()
        child = self.space(parent, name="below")
        child.exec("from plugin import answer\nimport plugin\ndef own(): return plugin.answer()\n"
                   "class Own(plugin.Base):\n    def method(self): return 1")
        shelf["held"] = [parent.import_("plugin").answer, child.ns["own"], child.ns["Own"]]
        parent.discard(force=True, recursive=True)
        for held in shelf["held"]:
            with self.assertRaises(modspace.SpaceClosedError):
                held()

    def test_survivors_of_other_spaces_go_on_working(self):
        one, two, three = self.plugin(), self.plugin(), self.plugin()
        plugins = shelf["held"] = [space.import_("plugin") for space in (one, two, three)]
        one.discard()
        two.discard()
        three.discard(force=True)
        self.assertEqual([plugin.answer() for plugin in plugins[:2]], [1, 1])
        one.discard(force=True)
        self.assertEqual(plugins[1].answer(), 1)
        self.assertEqual(plugins[1].Base(5).method(), 5)

    def test_survivors_of_an_older_generation_raise_too(self):
        space = self.plugin()
        shelf["held"] = held = [space.import_("plugin").answer]
        space.reload()
        held.append(space.import_("plugin").answer)
        self.assertEqual([function() for function in held], [1, 1])
        space.discard(force=True)
        for function in held:
            with self.assertRaises(modspace.SpaceClosedError):
                function()

    def test_a_child_of_a_sibling_class_is_left_alone(self):
        space, other = self.plugin(), self.plugin()
        other.ns["Base"] = space.import_("plugin").Base
        other.exec("class Own(Base):\n    def __init__(self): self.y = 2\n    def own(self): return self.y")
        instance = other.eval("Own()")
        space.discard(force=True)
        self.assertEqual(instance.own(), 2)
        with self.assertRaises(modspace.SpaceClosedError):
            instance.prop
        self.assertFalse(other.closed)
        other.exec("del Base, Own")

    def test_host_callbacks_that_the_space_was_given_go_on(self):
        space = self.plugin()
        calls = []

        class Host:
            def method(self):
                calls.append(1)
        host = Host()
        space.ns.update(host=host, method=host.method, Host=Host)
        space.exec("import plugin\nhost.attribute = plugin.answer\nclass Sub(Host): pass")
        space.discard(force=True)
        host.method()
        self.assertEqual((calls, Host().__class__), ([1], Host))
        with self.assertRaises(modspace.SpaceClosedError):
            host.attribute()
        del host.attribute

    def test_a_function_patched_into_the_host(self):
        space = self.plugin()
        target = types.ModuleType("target")
        target.run = lambda: "host"
        space.ns["target"] = target
        space.exec("original = target.run\ntarget.run = lambda: original()")
        shelf["held"] = target
        space.discard(force=True)
        with self.assertRaises(modspace.SpaceClosedError):
            target.run()


if __name__ == "__main__":
    unittest.main()
