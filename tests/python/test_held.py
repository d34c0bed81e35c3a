"""What outlives its space because a container, an attribute, a function, a class or a module outside holds it is named
with the path to it, goes on working, and is freed when nothing holds it any more."""

import builtins
import collections
import contextlib
import functools
import operator
import queue
import sys
import threading
import types
import typing
import unittest

import modspace
from leaking import HERE, SHELF, Box, Held
from support import own_objects, shelf


class Slot:
    __slots__ = ("content",)

    def __init__(self, content):
        self.content = content


class Containers(Held):
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


class Attributes(Held):
    def test_an_instance_attribute(self):
        self.leak(lambda plugin: Box(plugin.handle), r"plugin\.handle", r"\.content", lambda held: held.content())

    def test_a_slot(self):
        self.leak(lambda plugin: Slot(plugin.handle), r"plugin\.handle", r"\.content", lambda held: held.content())

    def test_a_class_attribute(self):
        def hold(plugin):
            Box.handler = plugin.Handler

        def release():
            Box.handler = None
        self.leak(hold, r"plugin\.Handler", r"(__main__|leaking)\.Box\.handler", lambda held: Box.handler().handle(),
                  where=HERE, release=release)

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


class Functions(Held):
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


class Classes(Held):
    """Classes and instances."""

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


class Types(Held):
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


class Modules(Held):
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


class Report(Held):
    def test_the_report_names_what_is_held_and_no_more(self):
        space = self.plugin()
        shelf["held"] = space.import_("plugin").handle
        report = space.discard()
        entry, = report.held
        self.assertEqual((entry.object, entry.kind), ("plugin.handle", "function"))
        self.assertRegex(entry.path, SHELF + "$")
        self.assertIn(f"{entry.path} -> plugin.handle", str(report))

    def test_everything_held_is_reported_nearest_first(self):
        space = self.plugin()
        shelf["far"] = [[[[space.import_("plugin").handle]]]]
        shelf["near"] = space.import_("plugin").Handler
        report = space.discard()
        paths = {entry.object: entry.path for entry in report.held}
        self.assertEqual(list(paths), ["plugin.Handler", "plugin.handle"])
        self.assertTrue(paths["plugin.Handler"].endswith("shelf['near']"), report)
        self.assertTrue(paths["plugin.handle"].endswith("shelf['far'][0][0][0][0]"), report)

    def test_of_two_holders_of_one_object_the_nearer_is_named(self):
        space = self.plugin()
        shelf["far"] = [[[[space.import_("plugin").handle]]]]
        shelf["near"] = space.import_("plugin").handle
        report = space.discard()
        self.assertEqual([entry.object for entry in report.held], ["plugin.handle"])
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


if __name__ == "__main__":
    unittest.main()
