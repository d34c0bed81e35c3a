"""What a discard leaves: what something outside holds is named with the path to it, and everything else is gone."""

import asyncio
import atexit
import builtins
import collections
import concurrent.futures
import contextlib
import contextvars
import csv
import ctypes
import functools
import gc
import io
import itertools
import logging
import operator
import queue
import re
import signal
import sqlite3
import sys
import textwrap
import threading
import traceback
import types
import typing
import unittest
import weakref

import modspace
from support import SpaceTest

HOST = modspace.current()

#: What the tests hold on to.
shelf = {}

HERE = rf"{re.escape(HOST.name)}: "
SHELF = HERE + r"__main__\.shelf\['held'\]"

PLUGIN = '''\
calls = []

def answer():
    calls.append("answer")
    return 42

def handle(*args, **options):
    return answer()

class Handler:
    def handle(self, *args, **options):
        return answer()
'''


class Box:
    """A class of the host's."""

    def __init__(self, content=None):
        self.content = content


class Slot:
    __slots__ = ("content",)

    def __init__(self, content):
        self.content = content


def own_objects(space, *modules):
    """Weak references, by name, to `modules` of the space and to what they define."""
    references = {}
    for name in modules:
        module = space.import_(name)
        references[name] = weakref.ref(module)
        for key, value in list(vars(module).items()):
            if getattr(value, "__module__", None) == name:
                with contextlib.suppress(TypeError):
                    references[f"{name}.{key}"] = weakref.ref(value)
    return references


def alive(references):
    return [name for name, reference in references.items() if reference() is not None]


def end_of(coroutine):
    """What the coroutine returns when it is sent None once more."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


class Leaks(SpaceTest):
    def setUp(self):
        self.addCleanup(shelf.clear)

    def plugin(self, source="", parent=None, **options):
        """A space with a module `plugin`: the one above and `source`."""
        path = [self.tree({"plugin.py": PLUGIN + textwrap.dedent(source)}), *sys.path]
        return self.space(parent, name="plugins", path=path, **options)

    def leak(self, hold, held, step="", use=None, *, where=SHELF, release=None, source="", timeout=None, **options):
        """`hold(plugin)` keeps something of the plugin: `report.held` names it as `held`, with a path of `where` and
        `step`. `use(what is held)` is 42 all the same, and when nothing holds it any more, it is gone."""
        space = self.plugin(source, **options)
        shelf["held"] = hold(space.import_("plugin"))
        if release:
            self.addCleanup(release)
        own = own_objects(space, "plugin")
        report = space.discard(timeout=timeout)
        self.check(report, held, where + step)
        if use:
            self.assertEqual(use(shelf["held"]), 42)
        if release:
            release()
        shelf.clear()
        self.assert_freed(own)
        return report

    def check(self, report, held, path):
        self.assertFalse(report.clean, report)
        self.assertEqual(report.space, "plugins")
        entries = [entry for entry in report.held if re.search(held, entry.object)]
        self.assertTrue(entries, f"nothing like {held!r} in:\n{report}")
        found = [entry for entry in entries if re.search(path, entry.path)]
        self.assertTrue(found, f"no path like {path!r} in:\n{report}")
        self.assertTrue(all(entry.kind for entry in report.held), report)
        lengths = [entry.length for entry in report.held]
        self.assertEqual(lengths, sorted(lengths))
        self.assertIn(found[0].path, str(report))

    def assert_freed(self, references):
        """Once nothing holds it, a collection and the next discard of a space free all of it."""
        gc.collect()
        other = self.space(name="other")
        other.exec("used = True")
        other.discard()
        self.assertEqual(alive(references), [])

    # Containers

    def test_a_list(self):
        self.leak(lambda plugin: [0, plugin.Handler], r"plugin\.Handler", r"\[1\]", lambda held: held[1]().handle())

    def test_a_tuple(self):
        self.leak(lambda plugin: (0, (plugin.handle,)), r"plugin\.handle", r"\[1\]\[0\]", lambda held: held[1][0]())

    def test_a_dict_value(self):
        self.leak(lambda plugin: {"x": plugin.handle}, r"plugin\.handle", r"\['x'\]", lambda held: held["x"]())

    def test_a_dict_value_under_a_number(self):
        self.leak(lambda plugin: {7: plugin.handle}, r"plugin\.handle", r"\[7\]", lambda held: held[7]())

    def test_a_dict_key(self):
        self.leak(lambda plugin: {plugin.Handler: 1}, r"plugin\.Handler", "", lambda held: next(iter(held))().handle())

    def test_a_set(self):
        self.leak(lambda plugin: {plugin.Handler}, r"plugin\.Handler", "", lambda held: held.pop()().handle())

    def test_a_frozenset(self):
        self.leak(lambda plugin: frozenset({plugin.handle}), r"plugin\.handle", "", lambda held: next(iter(held))())

    def test_a_deque(self):
        self.leak(lambda plugin: collections.deque([0, plugin.handle]), r"plugin\.handle", "",
                  lambda held: held.pop()())

    def test_an_ordered_dict(self):
        self.leak(lambda plugin: collections.OrderedDict(x=plugin.handle), r"plugin\.handle", r"\['x'\]",
                  lambda held: held["x"]())

    def test_a_default_factory(self):
        self.leak(lambda plugin: collections.defaultdict(plugin.handle), r"plugin\.handle", "", lambda held: held["x"])

    def test_a_chain_map(self):
        self.leak(lambda plugin: collections.ChainMap({}, {"x": plugin.handle}), r"plugin\.handle",
                  r"\.maps\[1\]\['x'\]", lambda held: held["x"]())

    def test_a_namespace(self):
        self.leak(lambda plugin: types.SimpleNamespace(handler=plugin.handle), r"plugin\.handle", r"\.handler",
                  lambda held: held.handler())

    def test_a_named_tuple(self):
        self.leak(lambda plugin: collections.namedtuple("Pair", "left right")(1, plugin.handle), r"plugin\.handle",
                  r"(\[1\]|\.right)", lambda held: held.right())

    def test_a_queue(self):
        def hold(plugin):
            queued = queue.Queue()
            queued.put(plugin.handle)
            return queued
        self.leak(hold, r"plugin\.handle", r"\.queue", lambda held: held.get()())

    def test_a_simple_queue(self):
        def hold(plugin):
            queued = queue.SimpleQueue()
            queued.put(plugin.handle)
            return queued
        self.leak(hold, r"plugin\.handle", "", lambda held: held.get()(), where="")

    def test_a_dict_view(self):
        for view, use in (("values", lambda held: next(iter(held))()), ("items", lambda held: dict(held)["x"]())):
            with self.subTest(view=view):
                self.leak(lambda plugin: getattr({"x": plugin.handle}, view)(), r"plugin\.handle", "", use)

    def test_a_mapping_proxy(self):
        self.leak(lambda plugin: types.MappingProxyType({"x": plugin.handle}), r"plugin\.handle", r".*'x'",
                  lambda held: held["x"]())

    def test_a_slice(self):
        self.leak(lambda plugin: slice(plugin.handle, None), r"plugin\.handle", r"\.start", lambda held: held.start())

    def test_a_long_way(self):
        def hold(plugin):
            chain = plugin.handle
            for _ in range(100):
                chain = [chain]
            return chain

        def use(held):
            while isinstance(held, list):
                held, = held
            return held()
        report = self.leak(hold, r"plugin\.handle", r"(\[0\]){100}$", use)
        self.assertGreaterEqual(report.held[0].length, 100)

    # Attributes

    def test_an_instance_attribute(self):
        self.leak(lambda plugin: Box(plugin.handle), r"plugin\.handle", r"\.content", lambda held: held.content())

    def test_a_slot(self):
        self.leak(lambda plugin: Slot(plugin.handle), r"plugin\.handle", r"\.content", lambda held: held.content())

    def test_a_class_attribute(self):
        def hold(plugin):
            Box.handler = plugin.Handler

        def release():
            Box.handler = None
        self.leak(hold, r"plugin\.Handler", r"__main__\.Box\.handler", lambda held: Box.handler().handle(), where=HERE,
                  release=release)

    def test_a_global(self):
        def hold(plugin):
            globals()["plugin_handle"] = plugin.handle
        self.leak(hold, r"plugin\.handle", r"__main__\.plugin_handle", lambda held: globals()["plugin_handle"](),
                  where=HERE, release=lambda: globals().pop("plugin_handle", None))

    def test_a_function_attribute(self):
        def hold(plugin):
            def function():
                pass
            function.handler = plugin.handle
            return function
        self.leak(hold, r"plugin\.handle", r"\.handler", lambda held: held.handler())

    def test_a_wrapper(self):
        self.leak(lambda plugin: functools.wraps(plugin.handle)(lambda: 42), r"plugin\.handle", r"\.__wrapped__",
                  lambda held: held.__wrapped__())

    def test_a_name_in_builtins(self):
        def hold(plugin):
            builtins.plugin_handle = plugin.handle
        self.leak(hold, r"plugin\.handle", r"builtins\.plugin_handle", lambda held: plugin_handle(),
                  where=HERE, release=lambda: vars(builtins).pop("plugin_handle", None))

    def test_a_name_in_sys_modules(self):
        def hold(plugin):
            sys.modules["alias"] = plugin
        self.leak(hold, r"plugin", r"(sys\.modules\['alias'\]|alias)$", lambda held: sys.modules["alias"].answer(),
                  where=HERE, release=lambda: sys.modules.pop("alias", None))

    # Functions

    def test_a_function(self):
        self.leak(lambda plugin: plugin.handle, r"plugin\.handle", "$", lambda held: held())

    def test_a_bound_method(self):
        self.leak(lambda plugin: plugin.Handler().handle, r"plugin\.Handler", "", lambda held: held())

    def test_a_bound_method_in_a_timer(self):
        def hold(plugin):
            timer = threading.Timer(3600, plugin.Handler().handle)
            timer.daemon = True
            timer.start()
            return timer

        def release():
            if "held" in shelf:
                shelf["held"].cancel()
                shelf["held"].join()
        self.leak(hold, r"plugin\.Handler", r"\.function", lambda held: held.function(), where="", release=release)

    def test_a_method_over_a_host_object(self):
        self.leak(lambda plugin: types.MethodType(plugin.handle, Box()), r"plugin\.handle", r"\.__func__",
                  lambda held: held())

    def test_a_bound_builtin_method(self):
        self.leak(lambda plugin: [plugin.handle].pop, r"plugin\.handle", r"\.__self__\[0\]", lambda held: held()())

    def test_a_bound_slot_wrapper(self):
        self.leak(lambda plugin: plugin.Handler().__repr__, r"plugin\.Handler", "", lambda held: held() and 42)

    def test_a_closure_cell(self):
        def hold(plugin):
            target = plugin.handle
            return lambda: target()
        self.leak(hold, r"plugin\.handle", r".*target", lambda held: held())

    def test_a_default_argument(self):
        def hold(plugin):
            def function(target=plugin.handle):
                return target()
            return function
        self.leak(hold, r"plugin\.handle", r"\.__defaults__\[0\]", lambda held: held())

    def test_a_keyword_default(self):
        def hold(plugin):
            def function(*, target=plugin.handle):
                return target()
            return function
        self.leak(hold, r"plugin\.handle", r"\.__kwdefaults__\['target'\]", lambda held: held())

    def test_an_annotation(self):
        def hold(plugin):
            def function():
                pass
            function.__annotations__ = {"return": plugin.Handler}
            return function
        self.leak(hold, r"plugin\.Handler", r"\.__annotations__\['return'\]",
                  lambda held: held.__annotations__["return"]().handle())

    def test_a_partial(self):
        self.leak(lambda plugin: functools.partial(plugin.handle, 1), r"plugin\.handle", r"\.func", lambda held: held())

    def test_the_arguments_of_a_partial(self):
        self.leak(lambda plugin: functools.partial(operator.call, plugin.handle), r"plugin\.handle", r"\.args\[0\]",
                  lambda held: held())
        self.leak(lambda plugin: functools.partial(dict, x=plugin.handle), r"plugin\.handle", r"\.keywords\['x'\]",
                  lambda held: held()["x"]())

    def test_a_methodcaller(self):
        self.leak(lambda plugin: operator.methodcaller("get", "x", plugin.handle), r"plugin\.handle", "",
                  lambda held: held({})())

    def test_an_itemgetter(self):
        self.leak(lambda plugin: operator.itemgetter(plugin.Handler), r"plugin\.Handler", "",
                  lambda held: held({key: 42 for key in held.__reduce__()[1]}))

    def test_a_property(self):
        self.leak(lambda plugin: type("Host", (), {"x": property(plugin.handle)}), r"plugin\.handle", r"\.x\.fget",
                  lambda held: held().x)

    def test_a_static_method(self):
        self.leak(lambda plugin: type("Host", (), {"x": staticmethod(plugin.handle)}), r"plugin\.handle", r"\.x",
                  lambda held: held.x())

    def test_a_class_method(self):
        self.leak(lambda plugin: type("Host", (), {"x": classmethod(plugin.handle)}), r"plugin\.handle", r"\.x",
                  lambda held: held.x())

    def test_a_method_of_a_host_class(self):
        self.leak(lambda plugin: type("Host", (), {"x": plugin.handle}), r"plugin\.handle", r"\.x",
                  lambda held: held().x())

    def test_a_cached_call(self):
        def hold(plugin):
            @functools.lru_cache
            def cached(handler):
                return 42
            cached(plugin.Handler)
            return cached
        self.leak(hold, r"plugin\.Handler", "", lambda held: held(1))

    def test_a_generic_function(self):
        def hold(plugin):
            generic = functools.singledispatch(lambda value: None)
            generic.register(int, plugin.handle)
            return generic
        self.leak(hold, r"plugin\.handle", "", lambda held: held(1))

    def test_a_generic_function_by_a_class(self):
        def hold(plugin):
            generic = functools.singledispatch(lambda value: None)
            generic.register(plugin.Handler, lambda value: value.handle())
            return generic
        self.leak(hold, r"plugin\.Handler", "",
                  lambda held: held(next(key for key in held.registry if key is not object)()))

    def test_a_function_of_the_host_called_by_the_plugins_default(self):
        self.leak(lambda plugin: contextlib.contextmanager(plugin.numbers), r"plugin\.numbers", "",
                  lambda held: held().__enter__(), source="def numbers():\n    yield answer()\n")

    # Classes and instances

    def test_a_class(self):
        self.leak(lambda plugin: plugin.Handler, r"plugin\.Handler", "$", lambda held: held().handle())

    def test_an_instance(self):
        self.leak(lambda plugin: plugin.Handler(), r"plugin\.Handler", "", lambda held: held.handle())

    def test_a_subclass_of_the_host(self):
        self.leak(lambda plugin: type("Host", (plugin.Handler,), {}), r"plugin\.Handler",
                  r".*(__bases__|__base__|__mro__)", lambda held: held().handle())

    def test_a_subclass_in_a_sibling(self):
        sibling = self.space(name="sibling")

        def hold(plugin):
            sibling.ns["Base"] = plugin.Handler
            sibling.exec("class Derived(Base): pass\ndel Base")
        self.leak(hold, r"plugin\.Handler", r"__main__\.Derived.*(__bases__|__base__|__mro__)", where="sibling: ",
                  use=lambda held: sibling.eval("Derived().handle()"), release=lambda: sibling.ns.pop("Derived", None))

    def test_a_class_of_the_host_with_the_plugins_metaclass(self):
        self.leak(lambda plugin: plugin.Meta("Host", (), {}), r"plugin\.Meta", "", lambda held: held.handle(),
                  source="class Meta(type):\n    def handle(self): return answer()\n")

    def test_an_instance_with_slots(self):
        self.leak(lambda plugin: plugin.Slotted(), r"plugin\.Slotted", "", lambda held: held.handle(),
                  source="class Slotted(Handler):\n    __slots__ = ('x',)\n")

    def test_a_dataclass_instance(self):
        self.leak(lambda plugin: plugin.Point(1), r"plugin\.Point", "", lambda held: held.x + 41,
                  source="""\
            import dataclasses
            @dataclasses.dataclass(slots=True)
            class Point:
                x: int
            """)

    def test_an_enum_member(self):
        self.leak(lambda plugin: plugin.Color.RED, r"plugin\.Color", "", lambda held: held.answer(),
                  source="""\
            import enum
            class Color(enum.Enum):
                RED = 1
                def answer(self): return answer()
            """)

    def test_a_named_tuple_instance(self):
        self.leak(lambda plugin: plugin.Pair(40, 2), r"plugin\.Pair", "", lambda held: held.left + held.right,
                  source="""\
            import typing
            class Pair(typing.NamedTuple):
                left: int
                right: int
            """)

    def test_a_number_of_the_plugins_class(self):
        self.leak(lambda plugin: plugin.Number(42), r"plugin\.Number", "", lambda held: held,
                  source="class Number(int): pass\n")

    def test_a_string_of_the_plugins_class(self):
        self.leak(lambda plugin: [plugin.Name("x" * 42)], r"plugin\.Name", r"\[0\]", lambda held: len(held[0]),
                  source="class Name(str): pass\n")

    def test_a_memoryview(self):
        self.leak(lambda plugin: memoryview(plugin.Buffer(b"*")), r"plugin\.Buffer", "", lambda held: held[0],
                  source="class Buffer(bytearray): pass\n")

    def test_a_super_object(self):
        self.leak(lambda plugin: super(plugin.Derived, plugin.Derived()), r"plugin\.Derived", "",
                  lambda held: held.handle(), source="class Derived(Handler): pass\n")

    def test_the_dict_of_a_class(self):
        self.leak(lambda plugin: vars(plugin.Handler), r"plugin\.Handler", "", lambda held: held["handle"](None))

    def test_a_member_of_a_class(self):
        self.leak(lambda plugin: plugin.Slotted.x, r"plugin\.Slotted", "", lambda held: held.__objclass__().handle(),
                  source="class Slotted(Handler):\n    __slots__ = ('x',)\n")

    # Types

    def test_a_generic_alias(self):
        self.leak(lambda plugin: list[plugin.Handler], r"plugin\.Handler", r"\.__args__\[0\]",
                  lambda held: held.__args__[0]().handle())

    def test_a_union(self):
        self.leak(lambda plugin: plugin.Handler | None, r"plugin\.Handler", r"\.__args__\[0\]",
                  lambda held: held.__args__[0]().handle())

    def test_a_generic_of_typing(self):
        self.leak(lambda plugin: typing.List[plugin.Handler], r"plugin\.Handler", r"\.__args__\[0\]",
                  lambda held: held.__args__[0]().handle())

    def test_a_callable_type(self):
        self.leak(lambda plugin: collections.abc.Callable[[plugin.Handler], int], r"plugin\.Handler",
                  r"\.__args__\[0\]", lambda held: held.__args__[0]().handle())

    def test_an_annotated_type(self):
        self.leak(lambda plugin: typing.Annotated[int, plugin.handle], r"plugin\.handle", r"\.__metadata__\[0\]",
                  lambda held: held.__metadata__[0]())

    def test_a_type_variable(self):
        self.leak(lambda plugin: typing.TypeVar("T", bound=plugin.Handler), r"plugin\.Handler", r"\.__bound__",
                  lambda held: held.__bound__().handle())

    # Modules

    def test_a_module(self):
        self.leak(lambda plugin: plugin, r"plugin", "$", lambda held: held.handle())

    def test_the_dict_of_a_module(self):
        self.leak(vars, r"plugin", "", lambda held: held["handle"]())

    def test_a_module_monkeypatched_in_a_sibling(self):
        sibling = self.library({"target.py": "def run(): return 0\n"}, name="sibling")

        def hold(plugin):
            sibling.import_("target").run = plugin.handle
        self.leak(hold, r"plugin\.handle", r"target\.run", where="sibling: ",
                  use=lambda held: sibling.import_("target").run(),
                  release=lambda: sibling.closed or sibling.exec("import target\ntarget.run = None"))

    def test_a_registry_of_the_parent(self):
        parent = self.library({"app.py": "registry = {}\n"}, name="application")

        def hold(plugin):
            parent.import_("app").registry["x"] = plugin.Handler
        self.leak(hold, r"plugin\.Handler", r"app\.registry\['x'\]", where="application: ", parent=parent,
                  use=lambda held: parent.import_("app").registry["x"]().handle(),
                  release=lambda: parent.import_("app").registry.clear())

    def test_a_module_that_imported_the_plugin_from_a_sibling(self):
        sibling = self.library({"target.py": "import plugin\n"}, name="sibling")

        def hold(plugin):
            sibling.sys.modules["plugin"] = plugin
            sibling.import_("target")
            del sibling.sys.modules["plugin"]
        self.leak(hold, r"plugin", r"target\.plugin", where="sibling: ",
                  use=lambda held: sibling.import_("target").plugin.handle(),
                  release=lambda: sibling.closed or sibling.exec("import target\ntarget.plugin = None"))

    # What runs, and what is suspended

    def test_a_running_thread(self):
        event = threading.Event()

        def hold(plugin):
            plugin.start(event)

        def release():
            event.set()
            for thread in threading.enumerate():
                if thread.name == "worker":
                    thread.join()
        source = """\
            import threading
            def loop(event):
                handler = Handler()
                event.wait()
                return handler.handle()
            def start(event):
                threading.Thread(target=loop, args=(event,), name="worker", daemon=True).start()
            """
        report = self.leak(hold, r"plugin\.loop", where="thread .*worker", release=release, timeout=0.1, source=source)
        thread, = report.threads
        self.assertEqual(thread.name, "worker")
        self.assertIn("loop", thread.stack)
        self.assertIn("plugin.py", thread.stack)
        self.assertGreaterEqual(report.duration, 0.1)

    def test_a_local_variable_of_a_host_thread(self):
        event, ready = threading.Event(), threading.Event()

        def wait_with(cargo):
            ready.set()
            event.wait()

        def hold(plugin):
            thread = threading.Thread(target=wait_with, args=(plugin.handle,), name="holder", daemon=True)
            thread.start()
            ready.wait()

        def release():
            event.set()
            for thread in threading.enumerate():
                if thread.name == "holder":
                    thread.join()
        self.leak(hold, r"plugin\.handle", "", where=r"thread.*wait_with.*cargo", release=release)

    def test_a_local_variable_of_the_test(self):
        space = self.plugin()
        kept = space.import_("plugin").handle
        report = space.discard()
        self.check(report, r"plugin\.handle", r"thread.*test_a_local_variable_of_the_test.*kept")
        self.assertEqual(kept(), 42)
        own = {"kept": weakref.ref(kept)}
        del kept
        self.assert_freed(own)

    def test_a_captured_variable_of_the_test(self):
        space = self.plugin()
        kept = space.import_("plugin").handle
        report = space.discard()
        self.check(report, r"plugin\.handle", r"thread.*test_a_captured_variable_of_the_test.*kept")
        self.assertEqual((lambda: kept)()(), 42)
        own = {"kept": weakref.ref(kept)}
        del kept
        self.assert_freed(own)

    def test_a_suspended_generator(self):
        def hold(plugin):
            numbers = plugin.numbers()
            next(numbers)
            return numbers
        self.leak(hold, r"plugin\.numbers", "", lambda held: next(held),
                  source="""\
            def numbers():
                handler = Handler()
                yield 0
                yield handler.handle()
            """)

    def test_a_generator_that_never_started(self):
        self.leak(lambda plugin: plugin.numbers(), r"plugin\.numbers", "", lambda held: next(held),
                  source="def numbers():\n    yield answer()\n")

    def test_a_generator_of_the_host(self):
        def numbers(handle):
            yield 0
            yield handle()

        def hold(plugin):
            suspended = numbers(plugin.handle)
            next(suspended)
            return suspended
        self.leak(hold, r"plugin\.handle", r".*handle", lambda held: next(held))

    def test_a_coroutine(self):
        def hold(plugin):
            coroutine = plugin.main()
            coroutine.send(None)
            return coroutine
        self.leak(hold, r"plugin\.main", "", end_of, source="""\
            import types
            @types.coroutine
            def pause():
                yield
            async def main():
                handler = Handler()
                await pause()
                return handler.handle()
            """)

    def test_an_async_generator(self):
        def hold(plugin):
            numbers = plugin.numbers()
            end_of(numbers.__anext__())
            return numbers
        self.leak(hold, r"plugin\.numbers", "", lambda held: end_of(held.__anext__()),
                  source="""\
            async def numbers():
                handler = Handler()
                yield 0
                yield handler.handle()
            """)

    def test_a_frame(self):
        self.leak(lambda plugin: plugin.frame(), r"plugin\.frame", "", lambda held: held.f_locals["handler"].handle(),
                  source="""\
            import sys
            def frame():
                handler = Handler()
                return sys._getframe()
            """)

    def test_an_iterator(self):
        for iterator in (lambda plugin: iter([plugin.handle]), lambda plugin: iter((plugin.handle,)),
                         lambda plugin: reversed([plugin.handle]), lambda plugin: itertools.chain([plugin.handle]),
                         lambda plugin: itertools.cycle([plugin.handle]),
                         lambda plugin: itertools.repeat(plugin.handle),
                         lambda plugin: itertools.islice([plugin.handle], 1),
                         lambda plugin: filter(None, [plugin.handle]),
                         lambda plugin: iter(collections.deque([plugin.handle]))):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=None))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held)())

    def test_an_iterator_of_pairs(self):
        for iterator in (lambda plugin: zip("x", [plugin.handle]), lambda plugin: enumerate([plugin.handle]),
                         lambda plugin: itertools.product("x", [plugin.handle])):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=None))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held)[1]())

    def test_an_iterator_that_calls(self):
        for iterator in (lambda plugin: map(plugin.handle, "x"), lambda plugin: itertools.starmap(plugin.handle, ["x"]),
                         lambda plugin: iter(plugin.handle, None)):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=len))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held))

    def test_an_iterator_over_a_dict_or_set(self):
        for iterator in (lambda plugin: iter({"x": plugin.handle}.values()), lambda plugin: iter({plugin.handle})):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=None))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held)(), where="")

    def test_a_csv_reader(self):
        self.leak(lambda plugin: csv.reader(plugin.lines()), r"plugin\.lines", "", lambda held: int(next(held)[1]),
                  source="def lines():\n    yield f'x,{answer()}'\n")

    # Exceptions

    FAIL = "class Error(Exception):\n    def answer(self): return answer()\n" \
           "def fail():\n    handler = Handler()\n    raise ValueError(1)\n"

    def test_a_traceback(self):
        def hold(plugin):
            try:
                plugin.fail()
            except ValueError as error:
                return error

        def use(held):
            self.assertIn("in fail\n", "".join(traceback.format_exception(held)))
            return 42
        self.leak(hold, r"plugin", r"\.__traceback__.*", use, source=self.FAIL)

    def test_an_exception(self):
        self.leak(lambda plugin: plugin.Error(), r"plugin\.Error", "", lambda held: held.answer(), source=self.FAIL)

    def test_an_argument_of_an_exception(self):
        self.leak(lambda plugin: ValueError(plugin.handle), r"plugin\.handle", r"\.args\[0\]",
                  lambda held: held.args[0]())

    def test_the_context_and_cause_of_an_exception(self):
        for attribute in ("__context__", "__cause__"):
            def hold(plugin):
                error = ValueError()
                setattr(error, attribute, plugin.Error())
                return error
            with self.subTest(attribute=attribute):
                self.leak(hold, r"plugin\.Error", rf"\.{attribute}", lambda held: getattr(held, attribute).answer(),
                          source=self.FAIL)

    def test_an_exception_group(self):
        self.leak(lambda plugin: ExceptionGroup("group", [ValueError(), plugin.Error()]), r"plugin\.Error",
                  r"\..*\[1\]", lambda held: held.exceptions[1].answer(), source=self.FAIL)

    def test_the_last_exception_of_the_host(self):
        def hold(plugin):
            sys.last_exc = plugin.Error()
        self.leak(hold, r"plugin\.Error", r"sys\.last_exc", lambda held: sys.last_exc.answer(),
                  where=HERE, release=lambda: vars(sys).pop("last_exc", None), source=self.FAIL)

    # Weak references that hold

    def test_a_weakref_callback(self):
        def hold(plugin):
            box = Box()
            return box, weakref.ref(box, plugin.handle)
        self.leak(hold, r"plugin\.handle", r"\[1\]\.__callback__", lambda held: held[1].__callback__())

    def test_a_weakref_subclass(self):
        def hold(plugin):
            box = Box()
            return box, plugin.Reference(box)
        self.leak(hold, r"plugin\.Reference", r"\[1\]", lambda held: held[1].answer(),
                  source="import weakref\nclass Reference(weakref.ref):\n    def answer(self): return answer()\n")

    def test_a_finalizer_of_the_host(self):
        def hold(plugin):
            box = Box()
            return box, weakref.finalize(box, plugin.handle)

        def release():
            if "held" in shelf:
                shelf["held"][1].detach()
        self.leak(hold, r"plugin\.handle", r"finalize|_registry", lambda held: held[1].peek()[1](), where="",
                  release=release)

    # Registrations with the host

    def test_an_exit_callback(self):
        def hold(plugin):
            atexit.register(plugin.handle)
        self.leak(hold, r"plugin\.handle", r"atexit", where="", release=atexit._clear)

    def test_a_hook_of_sys(self):
        for hook in ("excepthook", "displayhook", "unraisablehook"):
            with self.subTest(hook=hook):
                before = getattr(sys, hook)
                def hold(plugin):
                    setattr(sys, hook, plugin.handle)
                self.leak(hold, r"plugin\.handle", rf"sys\.{hook}", lambda held: getattr(sys, hook)(),
                          where=HERE, release=lambda: setattr(sys, hook, before))

    def test_a_finder(self):
        def hold(plugin):
            sys.meta_path.append(plugin.Finder())

        def release():
            sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "Finder"]
        self.leak(hold, r"plugin\.Finder", r"sys\.meta_path\[\d+\]", lambda held: sys.meta_path[-1].handle(),
                  where=HERE, release=release,
                  source="class Finder(Handler):\n    def find_spec(self, name, path=None, target=None): return None\n")

    def test_a_stream(self):
        before = sys.stdout

        def hold(plugin):
            sys.stdout = plugin.Stream()
        self.leak(hold, r"plugin\.Stream", r"sys\.stdout", lambda held: sys.stdout.handle(), where=HERE,
                  release=lambda: setattr(sys, "stdout", before),
                  source="""\
            class Stream(Handler):
                def write(self, text): return len(text)
                def flush(self): pass
            """)

    def test_a_handler_of_a_shared_logging(self):
        def hold(plugin):
            logging.getLogger("test_leaks").addHandler(plugin.Log())
        self.leak(hold, r"plugin\.Log", r"logging.*handlers\[0\]", share=("logging",), where=HERE,
                  use=lambda held: logging.getLogger("test_leaks").handlers[0].answer(),
                  release=lambda: logging.getLogger("test_leaks").handlers.clear(),
                  source="import logging\nclass Log(logging.Handler):\n    def answer(self): return answer()\n")

    def test_an_exit_stack(self):
        def hold(plugin):
            stack = contextlib.ExitStack()
            stack.callback(plugin.handle)
            return stack
        self.leak(hold, r"plugin\.handle", r"\._exit_callbacks", lambda held: held.close() or 42)

    def test_a_thread_local(self):
        def hold(plugin):
            local = threading.local()
            local.handle = plugin.handle
            return local
        self.leak(hold, r"plugin\.handle", "", lambda held: held.handle())

    def test_a_context_variable(self):
        seat = contextvars.ContextVar("seat")

        def hold(plugin):
            seat.set(plugin.handle)
        self.leak(hold, r"plugin\.handle", r"seat|[Cc]ontext", lambda held: seat.get()(), where="",
                  release=lambda: seat.set(None))

    def test_a_context(self):
        def hold(plugin):
            seat, context = contextvars.ContextVar("seat"), contextvars.Context()
            context.run(seat.set, plugin.handle)
            return seat, context
        self.leak(hold, r"plugin\.handle", "", lambda held: held[1][held[0]]())

    # Concurrency

    def test_the_result_of_a_future(self):
        def hold(plugin):
            future = concurrent.futures.Future()
            future.set_result(plugin.handle)
            return future
        self.leak(hold, r"plugin\.handle", r"\._result", lambda held: held.result()())

    def test_a_callback_of_a_future(self):
        def hold(plugin):
            future = concurrent.futures.Future()
            future.add_done_callback(plugin.handle)
            return future
        self.leak(hold, r"plugin\.handle", r"\._done_callbacks\[0\]", lambda held: held._done_callbacks[0]())

    def test_pending_work_of_a_thread_pool(self):
        event = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)

        def hold(plugin):
            pool.submit(event.wait)
            return pool.submit(plugin.handle)

        def use(future):
            event.set()
            return future.result()

        def release():
            event.set()
            pool.shutdown()
        self.leak(hold, r"plugin\.handle", "", use, where="", release=release)

    def test_an_asyncio_task(self):
        loop = asyncio.new_event_loop()

        def hold(plugin):
            return loop.create_task(plugin.main())
        self.leak(hold, r"plugin\.main", "", lambda held: loop.run_until_complete(held), release=loop.close,
                  source="async def main():\n    return answer()\n")

    def test_a_scheduled_call(self):
        loop = asyncio.new_event_loop()

        def hold(plugin):
            return loop, loop.call_later(3600, plugin.handle)
        self.leak(hold, r"plugin\.handle", r".*_callback", lambda held: held[1]._callback(), release=loop.close)

    # Native objects

    def test_a_ctypes_callback(self):
        self.leak(lambda plugin: ctypes.CFUNCTYPE(ctypes.c_int)(plugin.handle), r"plugin\.handle", "",
                  lambda held: held(), where="")

    def test_a_database_function(self):
        def hold(plugin):
            connection = sqlite3.connect(":memory:")
            connection.create_function("handle", 0, plugin.handle)
            return connection
        self.leak(hold, r"plugin\.handle", "", lambda held: held.execute("select handle()").fetchone()[0], where="")

    def test_a_row_factory(self):
        def hold(plugin):
            connection = sqlite3.connect(":memory:")
            connection.row_factory = plugin.handle
            return connection
        self.leak(hold, r"plugin\.handle", r"\.row_factory", lambda held: held.execute("select 1").fetchone())

    def test_a_stream_over_the_plugins_own(self):
        self.leak(lambda plugin: io.BufferedReader(plugin.Raw()), r"plugin\.Raw", r"\.raw",
                  lambda held: held.raw.answer(), source="""\
            import io
            class Raw(io.RawIOBase):
                def readable(self): return True
                def readinto(self, buffer): return 0
                def answer(self): return answer()
            """)

    def test_a_template_string(self):
        def hold(plugin):
            handle = plugin.handle
            return t"{handle}"
        self.leak(hold, r"plugin\.handle", "", lambda held: held.interpolations[0].value())

    # The report

    def test_the_report_names_what_is_held_and_no_more(self):
        space = self.plugin()
        shelf["held"] = space.import_("plugin").handle
        report = space.discard()
        self.assertEqual([entry.object for entry in report.held], ["plugin.handle"])
        self.assertEqual(report.held[0].kind, "function")
        self.assertEqual(report.held[0].path, f"{HOST.name}: __main__.shelf['held']")
        self.assertIn(f"{HOST.name}: __main__.shelf['held'] -> plugin.handle", str(report))

    def test_everything_held_is_reported_nearest_first(self):
        space = self.plugin()
        shelf["far"] = [[[[space.import_("plugin").handle]]]]
        shelf["near"] = space.import_("plugin").Handler
        report = space.discard()
        paths = {entry.object: entry.path for entry in report.held}
        self.assertEqual(list(paths), ["plugin.Handler", "plugin.handle"])
        self.assertTrue(paths["plugin.Handler"].endswith("shelf['near']"), report)
        self.assertTrue(paths["plugin.handle"].endswith("shelf['far'][0][0][0][0]"), report)

    def test_two_holders_of_one_object_are_a_path_each_or_the_shorter(self):
        space = self.plugin()
        shelf["far"] = [[[[space.import_("plugin").handle]]]]
        shelf["near"] = space.import_("plugin").handle
        report = space.discard()
        self.assertTrue(report.held[0].path.endswith("shelf['near']"), report)

    def test_of_a_module_whose_function_is_held_the_rest_is_kept_working(self):
        space = self.plugin("def make():\n    return type('Made', (Handler,), {'other': lambda self: calls})()\n")
        shelf["held"] = space.import_("plugin").make
        space.discard()
        made = shelf["held"]()
        self.assertEqual((made.handle(), made.other()), (42, ["answer"]))

    def test_of_two_modules_the_one_that_nobody_holds_is_freed(self):
        space = self.library({"one.py": "def f(): return 1\n", "two.py": "def f(): return 2\n"}, name="plugins")
        own = own_objects(space, "two")
        shelf["held"] = space.import_("one").f
        report = space.discard()
        self.assertEqual([entry.object for entry in report.held], ["one.f"])
        self.assertEqual(shelf["held"](), 1)
        shelf.clear()
        self.assert_freed(own)

    def test_why_tells_the_path_of_one_object(self):
        space = self.plugin()
        shelf["held"] = [0, space.import_("plugin").Handler]
        space.discard()
        self.assertRegex(modspace.why(shelf["held"][1]), SHELF + r"\[1\]")

    def test_why_tells_the_path_in_a_live_space(self):
        space = self.plugin()
        self.assertRegex(modspace.why(space.import_("plugin").Handler), r"plugins: plugin\.Handler")


class NoLeaks(SpaceTest):
    """Everything of a space is freed with it, whatever refers to what in it."""

    def setUp(self):
        self.addCleanup(shelf.clear)

    def free(self, source, hold=None, *, files=(), before=None, errors=(), parent=None, **options):
        """A space that imports a module with this source leaves nothing. Its finalizers raise `errors`.
        `hold(module)` is kept meanwhile."""
        files = {"plugin.py": PLUGIN + textwrap.dedent(source), **dict(files)}
        modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
        space = self.space(parent, name="plugins", path=[self.tree(files), *sys.path], **options)
        raised = []
        self.addCleanup(setattr, sys, "unraisablehook", sys.unraisablehook)
        sys.unraisablehook = space.sys.unraisablehook = lambda report: raised.append(repr(report.exc_value))
        plugin = space.import_("plugin")
        if before:
            before(plugin)
        if hold:
            shelf["held"] = hold(plugin)
        del plugin
        own = own_objects(space, *space.modules.keys() & modules)
        report = space.discard()
        self.assertEqual((alive(own), [str(entry) for entry in report.held], report.threads), ([], [], []))
        self.assertTrue(report.clean)
        self.assertEqual(raised, list(errors))
        self.assertGreater(report.objects, 0)
        self.assertGreater(report.bytes, 0)
        return report

    # The plugin's own cycles

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

    def test_generic_aliases(self):
        self.free("""\
            import collections.abc
            class A: pass
            A.all = list[A], dict[str, A], A | None, collections.abc.Callable[[A], A], tuple[A, ...], type[A]
            """)

    def test_generics_of_typing(self):
        self.free("""\
            import typing
            T = typing.TypeVar('T')
            class A(typing.Generic[T]): pass
            A.all = typing.List[A], typing.Optional[A], typing.Callable[[A], A], A[int]
            A.more = typing.Annotated[A, A], typing.Dict[str, A], typing.Union[A, int], typing.Literal[1]
            B = typing.TypeVar('B', bound=A)
            N = typing.NewType('N', A)
            P = typing.ParamSpec('P')
            """)

    def test_type_parameters(self):
        self.free("""\
            class A[T, *Ts, **P]:
                def f[S: A](self, x: S = None) -> T: return x
            def f[T](x: T) -> list[T]: return [x]
            type X[T] = list[T]
            value = X.__value__
            parameters = A.__type_params__, f.__type_params__, X.__type_params__
            alias = X[int]
            """)

    def test_annotations(self):
        self.free("""\
            import typing
            class A:
                x: A
                y: list[A] = None
                def f(self, a: A) -> A: return a
            hints = typing.get_type_hints(A), typing.get_type_hints(A.f), A.__annotations__, A.f.__annotations__
            """)

    def test_protocols_overloads_and_typed_dicts(self):
        self.free("""\
            import typing
            @typing.runtime_checkable
            class P(typing.Protocol):
                x: int
                def handle(self): ...
            class D(typing.TypedDict):
                h: Handler
            @typing.overload
            def f(x: int): ...
            @typing.overload
            def f(x: str): ...
            def f(x): return x
            known = isinstance(Handler(), P), typing.get_overloads(f)
            """)

    def test_getters_and_callers(self):
        self.free("""\
            import operator
            class A: pass
            item = A.item = operator.itemgetter(A)
            caller = A.caller = operator.methodcaller('x', A)
            attribute = A.attribute = operator.attrgetter('x.y')
            """)

    def test_partials(self):
        self.free("""\
            import functools
            class A:
                def f(self, x): return x
                g = functools.partialmethod(f, 1)
            A.p = functools.partial(A, A, x=A)
            bound = A.__init__
            @functools.total_ordering
            class B:
                def __lt__(self, other): return True
            """)

    def test_queues(self):
        self.free("""\
            import queue
            class A: pass
            simple = A.simple = queue.SimpleQueue()
            simple.put(A)
            simple.get()
            full = A.full = queue.Queue()
            full.put(A())
            """)

    def test_iterators(self):
        self.free("""\
            import itertools
            class A:
                def __init__(self, *arguments): pass
            items = A.items = [A]
            A.simple = iter(items), reversed(items), iter(tuple(items)), iter(A, None), iter(range(3))
            A.nested = zip(items, items), map(A, items), filter(A, items), enumerate(items)
            A.cycle, A.groups = itertools.cycle(items), itertools.groupby(items, A)
            A.others = itertools.chain(items), itertools.tee(items), itertools.islice(items, 1)
            A.running = itertools.accumulate(items, A)
            next(A.cycle), next(A.cycle)
            group = next(A.groups)
            """)

    def test_iterators_over_dicts_and_sets(self):
        self.free("""\
            class A: pass
            dicts = iter({1: A}.values()), iter({1: A}.items()), iter({A: 1}), reversed({1: A}.values())
            sets = iter({A}), iter(frozenset({A}))
            A.exhausted = iter({1: A}.values()), iter({1: A}.items()), iter({A: 1}), reversed({1: A}.values())
            A.exhausted += iter({A}), iter(frozenset({A}))
            for iterator in A.exhausted:
                for item in iterator: pass
            """)

    def test_a_context(self):
        self.free("""\
            import contextvars
            variable = contextvars.ContextVar('variable', default=Handler)
            context = contextvars.Context()
            context.run(variable.set, Handler())
            Handler.context = context
            context.run(variable.set, Handler)
            """)

    def test_a_context_variable_of_the_running_context(self):
        self.free("""\
            import contextvars
            variable = contextvars.ContextVar('variable')
            variable.set(Handler())
            variable.set(Handler)
            class A: pass
            copy = A.copy = contextvars.copy_context()
            """)

    def test_a_plain_object_in_the_running_context(self):
        self.free("""\
            import contextvars
            class A: pass
            variable = contextvars.ContextVar('variable')
            variable.set(A)
            """)

    def test_a_suspended_generator(self):
        self.free("""\
            def numbers():
                own = Handler
                yield own
            g = numbers()
            next(g)
            h = numbers()
            Handler.g = (x for x in [Handler])
            """)

    def test_a_generator_closed_in_a_handler(self):
        self.free("""\
            def numbers():
                try:
                    raise ValueError(Handler)
                except ValueError as error:
                    yield error
            g = numbers()
            error = next(g)
            g.close()
            """)

    def test_coroutines_never_awaited(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.free("""\
                import types, warnings
                warnings.simplefilter('ignore')
                @types.coroutine
                def pause():
                    yield
                async def main(x):
                    await pause()
                c = main(Handler)
                d = main(Handler)
                d.send(None)
                async def numbers():
                    yield Handler
                a = numbers()
                b = numbers()
                try:
                    b.__anext__().send(None)
                except StopIteration:
                    pass
                """)

    def test_cached_functions(self):
        self.free("""\
            import functools
            @functools.lru_cache
            def f(x): return x
            f(Handler)
            @functools.cache
            def g(x): return x
            g(handle)
            class A:
                @functools.cached_property
                def x(self): return self
                @functools.lru_cache(maxsize=None)
                def y(self): return self
            a = A()
            a.x, a.y()
            """)

    def test_generic_functions(self):
        self.free("""\
            import functools
            @functools.singledispatch
            def f(x): pass
            @f.register
            def _(x: Handler): return x
            @f.register(int)
            def _(x): return Handler
            f(1), f(Handler())
            class A:
                @functools.singledispatchmethod
                def f(self, x): pass
                @f.register
                def _(self, x: int): pass
            A().f(1)
            """)

    def test_exceptions(self):
        self.free("""\
            class Error(Exception): pass
            def fail():
                own = Handler()
                raise Error(own)
            try:
                fail()
            except Error as e:
                error = e
            group = ExceptionGroup('group', [error])
            error.__context__ = ValueError(error)
            """)

    def test_frames(self):
        self.free("""\
            import sys
            frame = sys._getframe()
            def f():
                own = Handler()
                return sys._getframe()
            inner = f()
            variables = inner.f_locals
            """)

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

    def test_a_changed_code_object(self):
        self.free("""\
            class A: pass
            code = handle.__code__.replace(co_consts=(*handle.__code__.co_consts, A))
            import types
            changed = types.FunctionType(code, globals())
            """)

    def test_pickles_and_copies(self):
        self.free("""\
            import copy, pickle
            class A: pass
            a = A()
            a.a = a
            b = copy.deepcopy(a)
            c = pickle.loads(pickle.dumps(a))
            d = copy.copy(a)
            """)

    def test_a_pickler(self):
        self.free("""\
            import io, pickle
            class A: pass
            A.pickler = pickle.Pickler(io.BytesIO())
            A.pickler.dump(A())
            A.pickler.clear_memo()
            A.unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps(A())))
            pickler = pickle.Pickler(io.BytesIO())
            pickler.dump(A())
            unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps(A())))
            unpickler.load()
            """)

    def test_streams(self):
        self.free("""\
            import io
            class Raw(io.RawIOBase):
                def readable(self): return True
                def readinto(self, buffer): return 0
            raw = Raw()
            raw.buffered = io.BufferedReader(raw)
            raw.text = io.TextIOWrapper(raw.buffered)
            class B(bytearray): pass
            b = B(b'x')
            b.view = memoryview(b)
            """)

    def test_templates(self):
        self.free("class A: pass\nA.template = t'{A}{A!r:x}'\nparts = list(A.template)\n")

    def test_regular_expressions(self):
        self.free("""\
            import re, fnmatch
            class S(str): pass
            A = re.compile(S('a+'))
            match = A.match('aaa')
            substituted = re.sub('a', S('b'), 'aaa')
            scanner = A.scanner('aaa')
            found = fnmatch.fnmatch('x', S('*')), fnmatch.filter(['x'], S('?'))
            S.match = match
            S.made = A
            S.callback = re.sub('a', lambda m: S('x'), 'aaa')
            flags = re.I | re.X
            """)

    def test_ctypes(self):
        self.free("""\
            import ctypes
            class S(ctypes.Structure):
                _fields_ = [('x', ctypes.c_int), ('y', ctypes.c_int * 3)]
            P = ctypes.POINTER(S)
            p = ctypes.pointer(S())
            class N(ctypes.Structure): pass
            N._fields_ = [('next', ctypes.POINTER(N))]
            n = N()
            n.next = ctypes.pointer(n)
            A = S * 4
            a = A()
            class U(ctypes.Union):
                _fields_ = [('s', S), ('i', ctypes.c_int)]
            """)

    def test_a_ctypes_callback(self):
        self.free("""\
            import ctypes
            TYPE = ctypes.CFUNCTYPE(ctypes.c_int)
            handle.type = TYPE
            callback = TYPE(int)
            called = callback()
            """)

    def test_a_database(self):
        self.free("""\
            import sqlite3
            connection = sqlite3.connect(':memory:')
            connection.row_factory = handle
            cursor = connection.execute('select 1')
            row = cursor.fetchone()
            handle.connection = connection
            """)

    def test_elements(self):
        self.free("""\
            import xml.etree.ElementTree as E
            class A(E.Element): pass
            a = A('a')
            a.append(A('b'))
            iterator = a.iter()
            next(iterator)
            A.a = a
            """)

    # Registrations with native and platform modules

    def test_codecs(self):
        self.free("""\
            import codecs
            def search(name):
                if name == 'own_codec': return codecs.CodecInfo(encode, None, name=name)
            def encode(text, errors='strict'): return b'own', len(text)
            codecs.register(search)
            'x'.encode('own_codec')
            class S(str): pass
            codecs.register_error(S('own_errors'), lambda error: ('?', error.end))
            '\\xe9'.encode('ascii', 'own_errors')
            """)

    def test_codecs_of_the_library(self):
        self.free("""\
            names = 'cp866', 'cp865', 'koi8_r', 'utf_16', 'idna', 'punycode', 'cp500'
            encoded = ['xxxxxxxx'.encode(name) for name in names]
            import codecs
            reader = codecs.getreader('cp866')
            """)
        self.assertEqual((chr(1046).encode("cp866"), chr(1046).encode("koi8_r")), (b"\x86", b"\xf6"))
        self.assertEqual(b"\x86".decode("cp866"), chr(1046))

    def test_exit_callbacks(self):
        seen = []

        def before(plugin):
            plugin.seen = seen
        self.free("""\
            import atexit
            atexit.register(lambda: seen.append(handle()))
            atexit.register(Handler().handle)
            """, before=before)
        self.assertEqual(seen, [42])

    def test_fork_hooks(self):
        self.free("""\
            import os, threading
            os.register_at_fork(before=handle, after_in_parent=Handler().handle, after_in_child=handle)
            lock = threading.Lock()
            class A: pass
            a = A()
            a.lock = lock
            os.register_at_fork(before=lock.acquire, after_in_parent=lock.release)
            """)

    def test_pickling_functions(self):
        self.free("""\
            import copyreg, copy
            copyreg.pickle(Handler, lambda handler: (Handler, ()))
            copyreg.add_extension('plugin', 'Handler', 0x7ffe)
            import pickle
            handler = pickle.loads(pickle.dumps(Handler(), 2))
            copied = copy.copy(Handler())
            copy._deepcopy_dispatch[Handler] = handle
            """)
        import copyreg
        with contextlib.suppress(ValueError):
            copyreg.remove_extension("plugin", "Handler", 0x7ffe)

    def test_abc_registrations(self):
        self.free("""\
            import abc, collections.abc, numbers, os
            class A: pass
            collections.abc.Sequence.register(A)
            numbers.Number.register(A)
            os.PathLike.register(A)
            class Base(abc.ABC):
                @abc.abstractmethod
                def f(self): ...
            Base.register(A)
            checks = isinstance(A(), Base), issubclass(A, collections.abc.Mapping), isinstance(A(), os.PathLike)
            """)

    def test_a_signal_handler(self):
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.free("import signal\nsignal.signal(signal.SIGUSR1, handle)\n")
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)

    def test_a_trace_function(self):
        self.addCleanup(sys.settrace, sys.gettrace())
        self.free("""\
            import sys
            def trace(frame, event, argument): return trace
            sys.settrace(trace)
            handle()
            """)
        self.assertIsNone(sys.gettrace())

    def test_a_profile_function(self):
        self.addCleanup(sys.setprofile, sys.getprofile())
        self.free("""\
            import sys
            def profile(frame, event, argument): pass
            sys.setprofile(profile)
            handle()
            """)
        self.assertIsNone(sys.getprofile())

    def test_trace_functions_of_threads(self):
        self.addCleanup(threading.settrace, None)
        self.addCleanup(threading.setprofile, None)
        self.free("""\
            import threading
            def trace(frame, event, argument): pass
            threading.settrace(trace)
            threading.setprofile(trace)
            thread = threading.Thread(target=handle)
            thread.start()
            thread.join()
            """)

    def test_async_generator_hooks(self):
        self.addCleanup(sys.set_asyncgen_hooks, *sys.get_asyncgen_hooks())
        self.free("import sys\nsys.set_asyncgen_hooks(handle, Handler().handle)\n")

    def test_a_monitoring_tool(self):
        def release():
            if sys.monitoring.get_tool(3):
                sys.monitoring.free_tool_id(3)
        self.addCleanup(release)
        self.free("""\
            import sys
            m = sys.monitoring
            m.use_tool_id(3, 'plugin')
            m.register_callback(3, m.events.PY_START, handle)
            m.set_local_events(3, answer.__code__, m.events.PY_START)
            handle()
            """)
        self.assertIsNone(sys.monitoring.get_tool(3))

    def test_an_audit_hook(self):
        seen = []

        def before(plugin):
            plugin.seen = seen
        self.free("""\
            import sys
            seen = []
            def hook(event, arguments):
                if event == 'plugin.event': seen.append(event)
            sys.addaudithook(hook)
            """, before=before)
        sys.audit("plugin.event")
        self.assertEqual(seen, [])

    def test_warnings(self):
        self.free("""\
            import warnings
            class W(UserWarning): pass
            warnings.simplefilter('ignore', W)
            warnings.warn('x', W)
            warnings.showwarning = handle
            warnings.warn('y')
            with warnings.catch_warnings(record=True) as recorded:
                warnings.simplefilter('always')
                warnings.warn('z', W)
            """)

    def test_database_adapters(self):
        self.free("""\
            import sqlite3
            sqlite3.register_adapter(Handler, handle)
            sqlite3.register_converter('handler', handle)
            """)
        import datetime
        row = sqlite3.connect(":memory:").execute("select ?", ("x",)).fetchone()
        self.assertEqual((row, datetime.date in {key[0] for key in sqlite3.adapters}), (("x",), True))

    def test_csv_dialects(self):
        self.free("""\
            import csv
            class D(csv.excel): delimiter = ';'
            csv.register_dialect('plugin', D)
            reader = csv.reader(['a;b'], 'plugin')
            row = next(reader)
            class Writer:
                def write(self, text): pass
            out = Writer()
            out.writer = csv.writer(out, D)
            """)

    def test_a_decimal_context(self):
        import decimal
        self.addCleanup(decimal.setcontext, decimal.getcontext())
        self.free("""\
            import decimal
            class Context(decimal.Context): pass
            decimal.setcontext(Context())
            class Signal(decimal.DecimalException): pass
            third = decimal.Decimal(1) / 3
            """)

    def test_lines_of_a_loader(self):
        self.free("""\
            import linecache
            class Loader:
                def get_source(self, name): return 'source'
            linecache.lazycache('plugin-file', {'__name__': 'x', '__loader__': Loader()})
            line = linecache.getline(__file__, 1)
            """)

    def test_flags_of_the_library(self):
        self.free("""\
            import re, enum
            class I(int): pass
            flag = re.RegexFlag(I(1 << 20))
            class F(enum.IntFlag):
                A = 1 << 21
            other = re.RegexFlag(F.A)
            """)

    def test_caches_of_the_library(self):
        self.free("""\
            import inspect, ipaddress, typing, json, functools
            class A(ipaddress.IPv4Address): pass
            a = A('10.0.0.1')
            a.is_private
            attribute = inspect.getattr_static(Handler(), 'handle')
            signature = inspect.signature(Handler.handle)
            source = inspect.getsource(Handler)
            class E(json.JSONEncoder):
                def default(self, o): return 1
            text = json.dumps([Handler()], cls=E)
            members = inspect.getmembers(Handler)
            """)

    def test_changes_of_platform_objects(self):
        def restore():
            import reprlib
            vars(reprlib.aRepr).pop("repr_Handler", None)
        self.addCleanup(restore)
        self.free("""\
            import reprlib, pathlib
            reprlib.aRepr.repr_Handler = handle
            pathlib.PurePath.plugin_attribute = handle
            """)
        import pathlib
        self.assertFalse(hasattr(pathlib.PurePath, "plugin_attribute"))

    def test_collector_callbacks(self):
        self.free("""\
            import gc
            def callback(phase, info): pass
            gc.callbacks.append(callback)
            gc.collect()
            """)
        self.assertFalse([callback for callback in gc.callbacks if getattr(callback, "__module__", "") == "plugin"])

    def test_hooks_and_streams_of_the_space(self):
        self.free("""\
            import sys, threading, builtins
            class Stream:
                def write(self, text): pass
                def flush(self): pass
            sys.stdout = sys.stderr = Stream()
            sys.excepthook = sys.displayhook = sys.unraisablehook = handle
            threading.excepthook = handle
            builtins.own = Handler()
            sys.breakpointhook = handle
            sys.own = handle
            """)

    def test_finders_of_the_space(self):
        self.free("""\
            import sys
            class Finder:
                def find_spec(self, name, path=None, target=None): return None
            sys.meta_path.append(Finder())
            sys.path_hooks.append(Finder)
            sys.path_importer_cache['x'] = Finder()
            sys.modules['own'] = Finder()
            import types
            sys.modules['made'] = types.ModuleType('made')
            sys.modules['made'].own = handle
            """)

    def test_the_last_exception(self):
        self.free("""\
            import sys
            class Error(Exception): pass
            try:
                raise Error(Handler())
            except Error as error:
                sys.last_exc = sys.last_value = error
                sys.last_traceback = error.__traceback__
            """)

    # Threads and tasks

    def test_a_finished_thread(self):
        self.free("""\
            import threading
            class T(threading.Thread):
                def run(self): self.result = handle()
            thread = T()
            thread.start()
            thread.join()
            local = threading.local()
            local.own = Handler()
            timer = threading.Timer(0, handle)
            timer.start()
            timer.join()
            """)

    def test_a_thread_that_ends_while_the_discard_waits(self):
        self.free("""\
            import threading, time
            def work():
                own = Handler()
                time.sleep(0.1)
                return own.handle()
            thread = threading.Thread(target=work)
            thread.start()
            """)

    def test_a_thread_pool_never_shut_down(self):
        self.free("""\
            import concurrent.futures
            pool = concurrent.futures.ThreadPoolExecutor(2)
            future = pool.submit(handle)
            future.result()
            mapped = list(pool.map(handle, range(4)))
            """)

    def test_an_event_loop(self):
        self.free("""\
            import asyncio
            async def main():
                own = Handler()
                await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))
                return own
            asyncio.run(main())
            """)

    def test_an_event_loop_with_pending_tasks(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.free("""\
                import asyncio
                async def main(): await asyncio.sleep(3600)
                loop = asyncio.new_event_loop()
                task = loop.create_task(main())
                later = loop.call_later(3600, handle)
                loop.run_until_complete(asyncio.sleep(0))
                future = loop.create_future()
                future.add_done_callback(handle)
                loop.close()
                import logging
                logging.disable()
                loop.set_exception_handler(lambda loop, context: None)
                """)

    def test_logging(self):
        self.free("""\
            import logging
            class H(logging.Handler):
                def emit(self, record): self.record = record
            logging.getLogger('plugin').addHandler(H())
            logging.getLogger().addHandler(H())
            logging.getLogger('plugin').error('%s', Handler())
            class L(logging.Logger): pass
            logging.setLoggerClass(L)
            logger = logging.getLogger('own')
            """)

    # Finalizers

    def test_finalizers_in_a_cycle_see_the_whole_module(self):
        seen = []

        def before(plugin):
            plugin.seen = seen
        self.free("""\
            class A:
                def __del__(self): seen.append((handle(), Handler.__name__, self.other is not None))
            a, b = A(), A()
            a.other, b.other = b, a
            alone = A()
            alone.other = A
            """, before=before)
        self.assertEqual(seen, [(42, "Handler", True)] * 3)

    def test_weakref_callbacks_see_the_whole_module(self):
        seen = []

        def before(plugin):
            plugin.seen = seen
        self.free("""\
            import weakref
            class A: pass
            a = A()
            reference = weakref.ref(a, lambda reference: seen.append(handle()))
            """, before=before)
        self.assertIn(seen, ([], [42]))

    def test_finalize_runs_at_the_discard(self):
        seen = []

        def before(plugin):
            plugin.seen = seen
        self.free("""\
            import weakref
            handler = Handler()
            finalizer = weakref.finalize(handler, lambda: seen.append(handle()))
            """, before=before)
        self.assertEqual(seen, [42])

    def test_a_finalizer_that_fails(self):
        self.free("""\
            class A:
                def __del__(self): raise ValueError
            a = A()
            a.a = a
            """, errors=["ValueError()"])

    def test_a_finalizer_that_makes_more(self):
        self.free("""\
            class A:
                def __del__(self):
                    if self.depth: B(self.depth - 1)
                def __init__(self, depth):
                    self.depth = depth
                    self.own = self
            class B(A): pass
            a = A(3)
            """)

    def test_a_generator_is_closed(self):
        seen = []

        def before(plugin):
            plugin.seen = seen
            next(plugin.g)
        self.free("""\
            def numbers():
                try:
                    yield
                finally:
                    seen.append(handle())
            g = numbers()
            seen = []
            """, before=before)
        self.assertEqual(seen, [42])

    # What the host keeps without holding

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

    # Spaces

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

    def test_fresh_copies_of_platform_modules(self):
        self.free("""\
            import abc, enum, typing, functools, collections, dataclasses, threading
            class A(abc.ABC): pass
            class E(enum.Enum):
                X = 1
            x = typing.List[A]
            """,
                  fresh=("*",))

    def test_much_of_the_library(self):
        self.free("""\
            import argparse, asyncio, configparser, concurrent.futures, ctypes, decimal, doctest, email.message
            import html.parser, http.client, json, logging, multiprocessing, pdb, random, shutil, socketserver, sqlite3
            import statistics, subprocess, tarfile, tempfile, unittest, urllib.request, xml.dom.minidom, zipfile
            """)

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


class Opaque(SpaceTest):
    """Cycles through native objects that own references which nothing outside them can read (`opaque`, and what the
    lists leave out, in spaces/policies/types.toml). What these refer to cannot be told from what native code holds: it
    is not freed, the report says so, it goes on to work, and a collection frees it once the cycle is broken."""

    def keep(self, source, release, use=None, held="plugin.Handler", path=None):
        """A module with this source stays: `report.held` has `held`, which native code seems to hold, with this path.
        `use(module)` is 42 all the same, and after `release(module)`, if there is a way, it is gone."""
        files = {"plugin.py": PLUGIN + textwrap.dedent(source)}
        space = self.space(name="plugins", path=[self.tree(files), *sys.path])
        space.import_("plugin")
        own = own_objects(space, "plugin")
        report = space.discard()
        self.assertFalse(report.clean, report)
        self.assertEqual([entry.path for entry in report.held if not entry.path.startswith("native code: ")], [])
        path = path or f"native code: {held}"
        self.assertIn((held, path), [(entry.object, entry.path) for entry in report.held])
        self.assertIn(f"{path} -> {held}", str(report))
        gc.collect()
        self.assertEqual(alive(own), list(own))
        plugin = own["plugin"]()
        self.assertEqual((plugin.handle(), plugin.Handler().handle()), (42, 42))
        if use:
            self.assertEqual(use(plugin), 42)
        if release:
            release(plugin)
            del plugin
            gc.collect()
            self.assertEqual(alive(own), [])

    # Contexts

    def test_the_context_of_a_token(self):
        self.keep("""\
            import contextvars
            variable = contextvars.ContextVar('variable')
            Handler.token = contextvars.Context().run(variable.set, Handler)
            """, lambda plugin: delattr(plugin.Handler, "token"))

    def test_the_running_context_of_a_token(self):
        self.keep("""\
            import contextvars
            variable = contextvars.ContextVar('variable')
            Handler.token = variable.set(Handler)
            """, lambda plugin: delattr(plugin.Handler, "token"))

    def test_what_was_set_last_in_a_context_variable_outside_modules(self):
        self.keep("""\
            import contextvars
            Handler.variable = contextvars.ContextVar('variable')
            contextvars.Context().run(Handler.variable.set, Handler)
            """, lambda plugin: contextvars.Context().run(plugin.Handler.variable.set, None))

    # What runs, and what is suspended

    def test_the_exception_that_a_generator_handles(self):
        self.keep("""\
            def numbers():
                try:
                    raise ValueError(Handler)
                except ValueError as error:
                    yield error
            g = numbers()
            next(g)
            """, lambda plugin: plugin.g.close(), path="native code: builtins.ValueError instance.args[0]")

    def test_the_exception_that_a_coroutine_handles(self):
        self.keep("""\
            import types
            @types.coroutine
            def pause():
                yield
            async def main():
                try:
                    raise ValueError
                except ValueError:
                    await pause()
            c = main()
            c.send(None)
            """, lambda plugin: plugin.c.close(), held="frame of plugin.main")

    def test_a_constant_of_a_code_object(self):
        self.keep("""\
            import types
            code = handle.__code__.replace(co_consts=(*handle.__code__.co_consts, Handler))
            changed = types.FunctionType(code, globals())
            """, lambda plugin: (delattr(plugin, "changed"), delattr(plugin, "code")), lambda plugin: plugin.changed())

    # Containers and iterators

    def test_the_items_of_a_simple_queue(self):
        self.keep("""\
            import queue
            Handler.queue = queue.SimpleQueue()
            Handler.queue.put(Handler)
            """, lambda plugin: plugin.Handler.queue.get())

    def test_an_iterator_over_a_dict(self):
        for iterator in ("iter({Handler: 1})", "iter({1: Handler}.values())", "iter({1: Handler}.items())",
                         "reversed({Handler: 1})", "reversed({1: Handler}.values())", "reversed({1: Handler}.items())"):
            with self.subTest(iterator=iterator):
                self.keep(f"Handler.iterator = {iterator}\n", lambda plugin: list(plugin.Handler.iterator))

    def test_an_iterator_over_a_set(self):
        for iterator in ("iter({Handler})", "iter(frozenset({Handler}))"):
            with self.subTest(iterator=iterator):
                self.keep(f"Handler.iterator = {iterator}\n", lambda plugin: list(plugin.Handler.iterator))

    def test_an_iterator_over_elements(self):
        for method in ("iter", "itertext"):
            with self.subTest(method=method):
                self.keep(f"""\
                    import xml.etree.ElementTree as E
                    class A(E.Element):
                        def handle(self): return answer()
                    a = A('a')
                    a.append(A('b'))
                    A.iterator = a.{method}()
                    """, lambda plugin: list(plugin.A.iterator), lambda plugin: plugin.a[0].handle(),
                          held="plugin.A instance")

    # Functions and types

    def test_the_keyword_arguments_of_a_methodcaller(self):
        self.keep("""\
            import operator
            Handler.caller = operator.methodcaller('handle', x=Handler)
            """, lambda plugin: delattr(plugin.Handler, "caller"),
                  lambda plugin: plugin.Handler.caller(plugin.Handler()))

    def test_the_evaluated_bound_of_a_type_parameter(self):
        for parameter, value in (("T: Handler", "bound"), ("T: (Handler, int)", "constraints"),
                                 ("T = Handler", "default"), ("*T = *tuple[Handler]", "default"),
                                 ("**T = [Handler]", "default")):
            with self.subTest(parameter=parameter):
                self.keep(f"""\
                    def f[{parameter}](): return answer()
                    f.__type_params__[0].__{value}__
                    """, lambda plugin: setattr(plugin.f, "__type_params__", ()), lambda plugin: plugin.f())

    def test_the_evaluated_value_of_an_alias(self):
        self.keep("""\
            type X = Handler
            X.__value__
            """, lambda plugin: delattr(plugin, "X"), lambda plugin: plugin.X.__value__().handle())

    def test_the_callback_of_a_proxy(self):
        self.keep("""\
            import weakref
            handler = Handler()
            proxy = weakref.proxy(handler, handle)
            """, lambda plugin: delattr(plugin, "proxy"), lambda plugin: plugin.proxy.handle(), held="plugin.handle")

    # Native modules

    def test_the_memo_of_a_pickler(self):
        self.keep("""\
            import io, pickle
            Handler.pickler = pickle.Pickler(io.BytesIO())
            Handler.pickler.dump(Handler())
            """, lambda plugin: plugin.Handler.pickler.clear_memo())

    def test_the_memo_of_an_unpickler(self):
        self.keep("""\
            import io, pickle
            Handler.unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps(Handler())))
            Handler.unpickler.load()
            """, lambda plugin: setattr(plugin.Handler.unpickler, "memo", {}))

    def test_a_function_of_a_database(self):
        self.keep("""\
            import sqlite3
            connection = sqlite3.connect(':memory:')
            connection.create_function('f', 0, handle)
            """, lambda plugin: delattr(plugin, "connection"),
                  lambda plugin: plugin.connection.execute("select f()").fetchone()[0], held="plugin.handle")

    def test_the_trace_callback_of_a_database(self):
        # RustPython never lets go of one, even when the connection is closed and gone.
        self.keep("""\
            import sqlite3
            connection = sqlite3.connect(':memory:')
            connection.set_trace_callback(handle)
            """, None, lambda plugin: plugin.connection.execute("select 42").fetchone()[0], held="plugin.handle")

    def test_a_ctypes_callback(self):
        self.keep("""\
            import ctypes
            callback = ctypes.CFUNCTYPE(ctypes.c_int)(handle)
            """, lambda plugin: delattr(plugin, "callback"), lambda plugin: plugin.callback(), held="plugin.handle")


if __name__ == "__main__":
    unittest.main()
