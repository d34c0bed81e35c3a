"""Values cross spaces: platform types are the same everywhere, and platform code works for the space that calls it."""

import os
import pickle
import sys
import tomllib
import unittest

from support import SpaceTest

POLICY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "spaces", "policies", "platform.toml")

#: An expression that makes a value, and one that names its type.
VALUES = {
    "__import__('pathlib').Path('/a')": "__import__('pathlib').Path",
    "__import__('pathlib').PurePosixPath('/a')": "__import__('pathlib').PurePath",
    "__import__('decimal').Decimal('1.5')": "__import__('decimal').Decimal",
    "__import__('fractions').Fraction(1, 3)": "__import__('fractions').Fraction",
    "__import__('datetime').datetime(2024, 1, 2)": "__import__('datetime').datetime",
    "__import__('datetime').timezone.utc": "__import__('datetime').tzinfo",
    "__import__('uuid').UUID(int=7)": "__import__('uuid').UUID",
    "__import__('collections').OrderedDict(a=1)": "__import__('collections').OrderedDict",
    "__import__('collections').deque([1])": "__import__('collections').deque",
    "__import__('collections').Counter('ab')": "__import__('collections').Counter",
    "__import__('re').compile('a')": "__import__('re').Pattern",
    "__import__('ipaddress').ip_address('::1')": "__import__('ipaddress').IPv6Address",
    "__import__('array').array('i', [1])": "__import__('array').array",
    "__import__('types').SimpleNamespace(a=1)": "__import__('types').SimpleNamespace",
    "__import__('io').StringIO('x')": "__import__('io').IOBase",
    "__import__('signal').SIGTERM": "__import__('enum').IntEnum",
    "__import__('queue').Full()": "__import__('queue').Full",
    "__import__('decimal').InvalidOperation()": "__import__('decimal').DecimalException",
    "__import__('re').error('x')": "__import__('re').error",
    "OSError(2, 'x')": "FileNotFoundError",
    "[1]": "__import__('collections.abc').abc.Sequence",
    "5": "__import__('numbers').Integral",
    "__import__('threading').Thread()": "__import__('threading').Thread",
}


class Crossing(SpaceTest):
    def test_a_value_of_one_space_is_an_instance_of_the_others_type(self):
        one, two = self.pair()
        for value, kind in VALUES.items():
            with self.subTest(value=value):
                made = one.eval(value)
                self.assertIsInstance(made, two.eval(kind))
                self.assertIsInstance(made, eval(kind))
                self.assertIs(one.eval(kind), two.eval(kind))

    def test_values_of_two_spaces_compare_and_combine(self):
        one, two = self.pair()
        for expression in ("__import__('pathlib').Path('/a')", "__import__('decimal').Decimal('1.5')",
                           "__import__('fractions').Fraction(1, 3)", "__import__('uuid').UUID(int=7)",
                           "__import__('datetime').date(2024, 1, 2)"):
            left, right = one.eval(expression), two.eval(expression)
            self.assertEqual(left, right)
            self.assertEqual(len({left, right}), 1)
        self.assertEqual(one.eval("__import__('decimal').Decimal(1)") + two.eval("__import__('decimal').Decimal(2)"), 3)
        self.assertEqual(str(one.eval("__import__('pathlib').Path('a')") / two.eval("__import__('pathlib').Path('b')")),
                         "a/b")

    def test_an_enum_made_in_one_space_is_an_enum_in_the_other(self):
        one, two = self.pair()
        one.exec("import enum\nclass Colour(enum.Enum):\n    RED = 1\nclass Bits(enum.Flag):\n    A = 1\n    B = 2")
        two.exec("import enum")
        self.assertTrue(issubclass(one.ns["Colour"], two.eval("enum.Enum")))
        self.assertIsInstance(one.ns["Colour"].RED, two.eval("enum.Enum"))
        self.assertIs(one.ns["Colour"](1), one.ns["Colour"].RED)
        two.ns["Bits"] = one.ns["Bits"]
        self.assertEqual(two.eval("(Bits.A | Bits.B).value"), 3)

    def test_dataclasses_of_one_space_work_in_the_other(self):
        one, two = self.pair()
        one.exec("from dataclasses import dataclass, field\n@dataclass\nclass P:\n    x: int\n"
                 "    ys: list = field(default_factory=list)")
        two.exec("import dataclasses, copy")
        two.ns["p"] = one.eval("P(1, [2])")
        self.assertTrue(two.eval("dataclasses.is_dataclass(p)"))
        self.assertEqual(two.eval("dataclasses.asdict(p)"), {"x": 1, "ys": [2]})
        self.assertEqual(two.eval("dataclasses.replace(p, x=5)"), one.eval("P(5, [2])"))
        self.assertEqual(two.eval("copy.deepcopy(p)"), one.eval("P(1, [2])"))

    def test_an_exception_raised_in_one_space_is_caught_in_the_other(self):
        one, two = self.pair()
        one.exec("import decimal\ndef fail(): decimal.Decimal('x')")
        two.ns["fail"] = one.ns["fail"]
        two.exec("import decimal\ntry: fail()\nexcept decimal.InvalidOperation as error: caught = error")
        self.assertEqual(two.ns["caught"].__traceback__.tb_next.tb_frame.f_code.co_name, "fail")

    def test_an_abstract_class_counts_implementations_of_another_space(self):
        one, two = self.pair()
        one.exec("import abc\nclass Shape(abc.ABC):\n    @abc.abstractmethod\n    def area(self): ...")
        two.ns["Shape"] = one.ns["Shape"]
        two.exec("class Square(Shape):\n    def area(self): return 4\nclass Half(Shape): pass\nclass Foreign: pass\n"
                 "Shape.register(Foreign)")
        self.assertIsInstance(two.eval("Square()"), one.ns["Shape"])
        self.assertIsInstance(two.eval("Foreign()"), one.ns["Shape"])
        with self.assertRaisesRegex(TypeError, "abstract"):
            two.eval("Half()")

    def test_a_class_mixes_bases_of_two_spaces(self):
        one, two, three = self.space(), self.space(), self.space()
        one.exec("import sys, collections.abc\nclass Left(collections.abc.Sized):\n    def __len__(self): return 3\n"
                 "    def left(self): return sys")
        two.exec("import sys, collections.abc\nclass Right(collections.abc.Iterable):\n"
                 "    def __iter__(self): return iter('ab')\n    def right(self): return sys")
        three.ns.update(Left=one.ns["Left"], Right=two.ns["Right"])
        three.exec("class Both(Left, Right):\n    def left(self): return super().left()\nboth = Both()")
        both = three.ns["both"]
        self.assertEqual((len(both), list(both)), (3, ["a", "b"]))
        self.assertIs(both.left(), one.sys)
        self.assertIs(both.right(), two.sys)

    def test_classes_of_two_spaces_are_different_classes(self):
        root = self.tree({"module.py": "class C: pass\nclass E(Exception): pass"})
        one, two = self.pair(path=[root, *sys.path])
        self.assertIsNot(one.import_("module").C, two.import_("module").C)
        self.assertNotIsInstance(one.import_("module").C(), two.import_("module").C)
        with self.assertRaises(one.import_("module").E):
            raise one.import_("module").E

    def test_exc_info_is_that_of_the_thread_whatever_space_asks(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("import sys\ndef current(): return sys.exc_info()[1], sys.exception()")
        error = ValueError("shared")
        try:
            raise error
        except ValueError:
            self.assertEqual(one.ns["current"](), (error, error))
            self.assertEqual(two.ns["current"](), (error, error))
        self.assertEqual(one.ns["current"](), (None, None))

    def test_getframe_sees_the_callers_of_other_spaces(self):
        space = self.space()
        space.exec("import sys\ndef names(): return [sys._getframe(0).f_code.co_name, sys._getframe(1).f_code.co_name]")

        def caller():
            return space.ns["names"]()
        self.assertEqual(caller(), ["names", "caller"])


class Callers(SpaceTest):
    """Platform code looks things up in `sys.modules`: it finds the modules of the space that called it."""

    SOURCE = {
        "shapes.py": """\
            from __future__ import annotations
            import collections, dataclasses, enum, typing, pickle, inspect

            VERSION = {version}
            Pair = collections.namedtuple("Pair", "a b")
            Made = enum.Enum("Made", "X Y")
            Data = dataclasses.make_dataclass("Data", [("x", int)])

            class Typed(typing.NamedTuple):
                a: int = {version}

            class Colour(enum.IntEnum):
                RED = {version}

            class Local: pass

            @dataclasses.dataclass
            class Record:
                kind: typing.ClassVar[int] = {version}
                local: Local | None = None

            def hints():
                return typing.get_type_hints(Record)

            def text():
                return inspect.getsource(text)
            # version {version}
            """,
    }

    def setUp(self):
        self.roots = [self.tree({"shapes.py": self.SOURCE["shapes.py"].replace("{version}", str(version))})
                      for version in (1, 2)]
        self.one, self.two = (self.space(path=[root, *sys.path], name=f"v{index + 1}")
                              for index, root in enumerate(self.roots))
        self.shapes = [space.import_("shapes") for space in (self.one, self.two)]

    def test_type_hints_are_resolved_in_the_calling_space(self):
        for shapes in self.shapes:
            self.assertIs(shapes.hints()["local"].__args__[0], shapes.Local)

    def test_dataclasses_recognise_classvar_by_the_spaces_module(self):
        for version, shapes in enumerate(self.shapes, 1):
            self.assertEqual([field.name for field in shapes.dataclasses.fields(shapes.Record)], ["local"])
            self.assertEqual(shapes.Record.kind, version)

    def test_types_made_by_a_call_know_their_module(self):
        for shapes in self.shapes:
            for name in ("Pair", "Made", "Typed", "Data"):
                self.assertEqual(getattr(shapes, name).__module__, "shapes", name)

    def test_getsource_reads_the_calling_spaces_file(self):
        for root, space, shapes in zip(self.roots, (self.one, self.two), self.shapes):
            self.assertEqual(shapes.text(), "def text():\n    return inspect.getsource(text)\n")
            space.exec("import inspect, shapes")
            self.assertEqual(space.eval("inspect.getsourcefile(shapes.Record)"), os.path.join(root, "shapes.py"))
            self.assertIn("# version", space.eval("inspect.getsource(shapes)"))
            self.assertIs(space.eval("inspect.getmodule(shapes.Local)"), shapes)
        self.assertIn("= 1", self.one.eval("inspect.getsource(shapes.Colour)"))
        self.assertIn("= 2", self.two.eval("inspect.getsource(shapes.Colour)"))

    def test_pickling_by_name_finds_the_calling_spaces_class(self):
        for name in ("Pair(1, 2)", "Made.X", "Typed()", "Colour.RED", "Record()", "Data(3)", "hints", "Local"):
            for module in ("pickle", "_pickle"):
                with self.subTest(name=name, module=module):
                    data = {}
                    for space in (self.one, self.two):
                        space.exec(f"import {module}, shapes")
                        data[space] = space.eval(f"{module}.dumps(shapes.{name})")
                    # What one space wrote, the other reads as its own.
                    if name == "Colour.RED":
                        continue
                    self.two.ns["data"] = data[self.one]
                    value = self.two.eval(f"{module}.loads(data)")
                    self.assertEqual(type(value), type(eval(f"shapes.{name}", {"shapes": self.shapes[1]})))

    def test_an_object_of_another_space_is_not_pickled_as_ones_own(self):
        self.two.ns["foreign"] = self.shapes[0].Local()
        with self.assertRaisesRegex(pickle.PicklingError, "not the same object"):
            self.two.eval("__import__('pickle').dumps(foreign)")

    def test_pickling_works_from_both_pickle_modules_of_a_third_space(self):
        third = self.space(path=[self.roots[0], *sys.path])
        third.ns["data"] = self.one.eval("__import__('pickle').dumps(__import__('shapes').Pair(1, 2))")
        pair = third.eval("__import__('pickle').loads(data)")
        self.assertIs(type(pair), third.sys.modules["shapes"].Pair)
        self.assertEqual(pair, (1, 2))

    def test_copy_and_deepcopy_keep_the_class(self):
        value = self.one.eval("__import__('copy').deepcopy(__import__('shapes').Record())")
        self.assertIs(type(value), self.shapes[0].Record)

    def test_what_platform_code_imports_late_it_imports_for_its_caller(self):
        class Stopped(Exception):
            pass

        def popen(*args, **kwargs):
            raise Stopped(args)

        space, beside = self.space(name="late"), self.space()
        stand_in = space.sys.modules["subprocess"] = type(sys)("subprocess")
        stand_in.Popen, stand_in.PIPE = popen, -1
        with self.assertRaises(Stopped):
            space.exec("import os; os.popen('true')")
        self.assertEqual(beside.eval("__import__('os').popen('echo x').read()"), "x\n")
        self.assertIsNot(beside.sys.modules["subprocess"], sys.modules.get("subprocess"))

    def test_singledispatch_functions_of_two_spaces_stay_apart(self):
        for version, space in enumerate((self.one, self.two), 1):
            space.exec(f"import functools\n@functools.singledispatch\ndef f(x): return {version}\n@f.register\n"
                       f"def _(x: int): return {version} * 10")
        self.assertEqual((self.one.eval("f(1), f('')"), self.two.eval("f(1), f('')")), ((10, 1), (20, 2)))


class Projections(SpaceTest):
    def test_assigning_to_a_projection_is_seen_in_its_space_alone(self):
        one, two = self.pair()
        for name, attribute in (("os", "getcwd"), ("math", "pi"), ("enum", "auto"), ("os.path", "join"),
                                ("time", "time"), ("threading", "Thread"), ("decimal", "Decimal"),
                                ("_thread", "allocate_lock"), ("errno", "ENOENT"), ("collections", "deque"),
                                ("io", "open"), ("_io", "open")):
            with self.subTest(name=name):
                module, other = one.import_(name), two.import_(name)
                mine = __import__("importlib").import_module(name)
                before = getattr(other, attribute)
                setattr(module, attribute, "replaced")
                module.invented = 1
                self.assertIs(getattr(other, attribute), before)
                self.assertIs(getattr(mine, attribute), before)
                self.assertFalse(hasattr(other, "invented") or hasattr(mine, "invented"))
                self.assertEqual(one.eval(f"__import__('importlib').import_module({name!r}).{attribute}"), "replaced")

    def test_a_projection_is_one_module_object_per_space(self):
        one, two = self.pair()
        for name in ("os", "math", "enum", "typing", "posixpath", "collections.abc", "_io"):
            self.assertIsNot(one.import_(name), two.import_(name))
            self.assertIs(one.import_(name), one.import_(name))
            self.assertIs(one.import_(name), one.sys.modules[name])

    def test_modules_inside_a_projection_are_the_spaces_own(self):
        space = self.space()
        for name, attribute, target in (("os", "path", "os.path"), ("os", "path", "posixpath"), ("os", "sys", "sys"),
                                        ("collections", "abc", "collections.abc"), ("dataclasses", "re", "re"),
                                        ("pathlib", "os", "os"), ("threading", "_sys", "sys"), ("enum", "sys", "sys"),
                                        ("encodings", "aliases", "encodings.aliases"),
                                        ("inspect", "builtins", "builtins")):
            with self.subTest(name=f"{name}.{attribute}"):
                self.assertIs(getattr(space.import_(name), attribute), space.import_(target))

    def test_native_and_platform_modules_carry_the_spaces_own_import_metadata(self):
        with open(POLICY, "rb") as file:
            platform = list(tomllib.load(file)["modules"])
        one, two = self.pair()
        for space in (one, two):
            space.exec("import importlib.machinery as machinery")
        loaders = one.eval("(machinery.BuiltinImporter, machinery.FrozenImporter)")
        for name in [*sys.builtin_module_names, *platform]:
            if name in ("sys", "builtins"):
                continue
            with self.subTest(name=name):
                module, other = one.import_(name), two.import_(name)
                self.assertIsNot(module, other)
                self.assertIsNot(module.__spec__, other.__spec__)
                self.assertIs(type(module.__spec__), one.eval("machinery.ModuleSpec"))
                self.assertIs(module.__spec__.loader, module.__loader__)
                loader = module.__loader__
                self.assertIn(loader if isinstance(loader, type) else type(loader), loaders)
                self.assertEqual(module.__package__ or "", module.__spec__.parent)
                if name not in ("os.path", "collections.abc"):
                    self.assertEqual(module.__spec__.name, name)
                if hasattr(module, "__path__"):
                    self.assertIsNot(module.__path__, other.__path__)

    def test_an_attribute_deleted_from_a_projection_stays_in_the_others(self):
        one, two = self.pair()
        one.exec("import os; del os.getcwd")
        self.assertFalse(hasattr(one.import_("os"), "getcwd"))
        self.assertTrue(hasattr(two.import_("os"), "getcwd"))

    def test_a_projection_can_be_reloaded_and_imported_again(self):
        space = self.space()
        space.exec("import importlib, math, enum, sys; math.pi = 3; del sys.modules['math']; import math as again")
        self.assertAlmostEqual(space.eval("again.pi"), 3.14159, places=4)
        space.exec("old = enum.Enum; importlib.reload(enum)\nclass E(enum.Enum):\n    A = 1")
        self.assertIs(space.eval("enum.Enum"), __import__("enum").Enum)

    def test_constants_copied_per_space_do_not_leak(self):
        one, two = self.pair()
        one.exec("import errno, _warnings; errno.errorcode[99999] = 'made up'; _warnings.filters.append('made up')")
        self.assertNotIn(99999, two.import_("errno").errorcode)
        self.assertNotIn("made up", two.import_("_warnings").filters)


if __name__ == "__main__":
    unittest.main()
