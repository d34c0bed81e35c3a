"""attrs builds classes: it makes methods by exec and reads their sources back through linecache."""

import abc
import copy
import importlib.metadata
import inspect
import pickle
import typing
from functools import cached_property

import attr
import attrs
from attrs import Factory, asdict, astuple, define, evolve, field, fields, frozen, make_class, resolve_types, validators


@define
class Point:
    x: int = field(validator=validators.instance_of(int))
    y: int = field(default=0, converter=int)

    @y.validator
    def positive(self, attribute, value):
        if value < 0:
            raise ValueError(f"{attribute.name} must not be negative")


assert Point(1, "2") == Point(x=1, y=2) and repr(Point(1)) == "Point(x=1, y=0)"
assert Point(1) != Point(2) and Point.__match_args__ == ("x", "y")
for bad, message in [(("1",), "'x' must be <class 'int'>"), ((1, -1), "y must not be negative")]:
    try:
        Point(*bad)
    except (TypeError, ValueError) as error:
        assert message in str(error), error
    else:
        raise AssertionError(bad)

point = Point(1)
try:
    point.x = "one"
except TypeError:
    pass
else:
    raise AssertionError("validators run on assignment")
try:
    point.z = 1
except AttributeError:
    pass
else:
    raise AssertionError("a defined class has slots")

match Point(3, 4):
    case Point(x, y):
        assert (x, y) == (3, 4)

# The generated method has a source that tools can show.
assert inspect.getsource(Point.__init__).startswith("def __init__(self, x")
assert str(inspect.signature(Point)) == "(x: int, y=0) -> None", inspect.signature(Point)


@frozen(order=True)
class Version:
    major: int
    minor: int = 0
    tags: list = field(factory=list, eq=False, repr=False)

    @cached_property
    def text(self):
        return f"{self.major}.{self.minor}"


assert sorted([Version(2), Version(1, 5)])[0].text == "1.5"
assert hash(Version(1)) == hash(Version(1)) and Version(1).tags is not Version(1).tags
try:
    Version(1).major = 2
except attrs.exceptions.FrozenInstanceError as error:
    assert isinstance(error, AttributeError)
else:
    raise AssertionError("a frozen instance changed")
assert evolve(Version(1), minor=9) == Version(1, 9)
assert copy.replace(Version(1), minor=9) == Version(1, 9)
assert pickle.loads(pickle.dumps(Version(3, 1))) == Version(3, 1)
assert copy.deepcopy(Point(5)) == Point(5)


@define
class Tree:
    name: str
    children: typing.List["Tree"] = Factory(list)
    parent: typing.Optional["Tree"] = field(default=None, repr=False, eq=False)

    def __attrs_post_init__(self):
        for child in self.children:
            child.parent = self


tree = Tree("root", [Tree("leaf")])
assert tree.children[0].parent is tree
assert asdict(Tree("leaf")) == {"name": "leaf", "children": [], "parent": None}
assert astuple(Point(1, 2)) == (1, 2)
resolve_types(Tree)
assert fields(Tree).children.type == typing.List[Tree]


@define
class Base(abc.ABC):
    name: str

    @abc.abstractmethod
    def run(self): ...


@define
class Derived(Base):
    size: int = 1

    def run(self):
        return super().run(), __class__, repr(self)


assert Derived("n").run() == (None, Derived, "Derived(name='n', size=1)")
try:
    Base("n")
except TypeError:
    pass
else:
    raise AssertionError("Base is abstract")


# The older names, and classes made by a function.
@attr.s(auto_attribs=True, slots=False, kw_only=True)
class Old:
    a: int
    b: int = attr.ib(default=attr.Factory(lambda self: self.a + 1, takes_self=True))


assert Old(a=1).b == 2 and vars(Old(a=1)) == {"a": 1, "b": 2}
assert attr.asdict(Old(a=1), filter=attr.filters.include("a")) == {"a": 1}
made = make_class("Made", {"left": field(), "right": field(default=2)}, frozen=True)
assert repr(made(1)) == "Made(left=1, right=2)" and made.__module__ == __name__

in_range = validators.and_(validators.ge(0), validators.lt(10))
shape = make_class("Shape", {"size": field(validator=validators.optional(in_range)), "kind": field(validator=validators.in_(["a"]))})
shape(None, "a"), shape(9, "a")
for bad in [(10, "a"), (1, "b")]:
    try:
        shape(*bad)
    except ValueError:
        pass
    else:
        raise AssertionError(bad)

print("ok: attrs", importlib.metadata.version("attrs"))
