"""zope.interface: declarations, verification, adapters, components; a package inside a namespace package."""

import abc
import collections.abc
import importlib.metadata
import pickle

import zope
from zope.interface import (
    Attribute, Interface, Invalid, alsoProvides, classImplements, directlyProvidedBy, directlyProvides, implementedBy,
    implementer, implementer_only, invariant, noLongerProvides, providedBy, provider, taggedValue,
)
from zope.interface.adapter import AdapterRegistry
from zope.interface.common.collections import IMapping, ISequence
from zope.interface.exceptions import BrokenImplementation, BrokenMethodImplementation, MultipleInvalid
from zope.interface.interface import InterfaceClass, adapter_hooks
from zope.interface.registry import Components
from zope.interface.verify import verifyClass, verifyObject

# The Python code of the package is at work, not its C module.
assert getattr(zope, "__file__", None) is None and len(zope.__path__) == 1
assert InterfaceClass.__mro__[1].__module__ == "zope.interface.interface"
assert Interface.providedBy.__func__.__code__.co_filename.endswith(".py")


class INamed(Interface):
    """Something with a name."""

    name = Attribute("The name")
    taggedValue("colour", "red")

    def rename(name, *, loudly=False):
        """Gives it another name."""

    @invariant
    def has_name(self):
        if not self.name:
            raise Invalid("no name")


class IPet(INamed):
    def feed(food): ...


class ILabel(Interface):
    def text(): ...


@implementer(IPet)
class Dog:
    def __init__(self, name):
        self.name = name

    def rename(self, name, *, loudly=False):
        self.name = name

    def feed(self, food):
        return f"{self.name} eats {food}"


class Puppy(Dog):
    pass


dog = Dog("Rex")
assert IPet.providedBy(dog) and INamed.providedBy(dog) and INamed.implementedBy(Puppy)
assert list(providedBy(dog)) == [IPet] and IPet.extends(INamed) and IPet.isOrExtends(Interface)
assert list(IPet.names(all=True)) and set(IPet.names(all=True)) == {"name", "rename", "feed"}
assert IPet["rename"].getSignatureString() in ("(name)", "(name, loudly=False)", "(name, *, loudly=False)")
assert INamed.__doc__ == "Something with a name." and IPet.getTaggedValue("colour") == "red"
assert INamed.__module__ == __name__ and repr(INamed) == f"<InterfaceClass {__name__}.INamed>"
assert [interface.__name__ for interface in IPet.__iro__] == ["IPet", "INamed", "Interface"]

assert verifyObject(IPet, dog) and verifyClass(IPet, Dog)
INamed.validateInvariants(dog)
try:
    INamed.validateInvariants(Dog(""))
except Invalid as error:
    assert str(error) == "no name"
else:
    raise AssertionError("the invariant does not hold")


@implementer(IPet)
class Stone:
    name = "stone"

    def feed(self):
        pass


try:
    verifyClass(IPet, Stone)
except MultipleInvalid as error:
    assert {type(one) for one in error.exceptions} == {BrokenImplementation, BrokenMethodImplementation}, error
    assert 'rename(name) attribute was not provided' in str(error)
else:
    raise AssertionError("a stone is no pet")

# Declarations of objects and of classes, made later and taken back.
directlyProvides(dog, ILabel)
assert ILabel.providedBy(dog) and IPet.providedBy(dog) and list(directlyProvidedBy(dog)) == [ILabel]
noLongerProvides(dog, ILabel)
assert not ILabel.providedBy(dog)
alsoProvides(Dog, ILabel)
assert ILabel.providedBy(Dog) and not ILabel.providedBy(Dog("x"))
classImplements(Stone, ILabel)
assert list(implementedBy(Stone)) == [IPet, ILabel]


@implementer_only(ILabel)
@provider(INamed)
class Tag(Dog):
    name = "tag"


assert not IPet.implementedBy(Tag) and INamed.providedBy(Tag)

# Adapters: by a registry, by a hook, by calling the interface.
registry = AdapterRegistry()
registry.register([INamed], ILabel, "", lambda named: f"[{named.name}]")
registry.register([IPet], ILabel, "pet", "exact")
assert registry.lookup1(providedBy(dog), ILabel)(dog) == "[Rex]"
assert registry.lookup1(providedBy(dog), ILabel, "pet") == "exact"
assert registry.lookup1(INamed, ILabel, "pet") is None
registry.subscribe([INamed], None, print)
assert list(registry.subscriptions([IPet], None)) == [print]


class Label:
    def __init__(self, context):
        self.context = context

    def text(self):
        return f"<{self.context.name}>"


classImplements(Label, ILabel)
try:
    ILabel(dog)
except TypeError as error:
    assert error.args[0] == "Could not adapt"
else:
    raise AssertionError("there is no adapter yet")
assert ILabel(dog, None) is None and IPet(dog) is dog


def hook(interface, instance):
    return Label(instance) if interface is ILabel and IPet.providedBy(instance) else None


adapter_hooks.append(hook)
assert ILabel(dog).text() == "<Rex>"
adapter_hooks.remove(hook)

components, events = Components("test"), []
components.registerUtility(dog, IPet, "rex")
components.registerAdapter(Label, [IPet], ILabel)
components.registerHandler(events.append, [IPet])
assert components.getUtility(IPet, "rex") is dog and components.queryUtility(IPet) is None
assert components.getAdapter(dog, ILabel).text() == "<Rex>"
components.handle(dog)
assert events == [dog]
child = Components("child", (components,))
assert child.getAdapter(Puppy("P"), ILabel).text() == "<P>"

# Interfaces for the abstract classes of the standard library, pickles, weak maps keyed by class.
assert IMapping.providedBy({}) and ISequence.providedBy([]) and not ISequence.providedBy({})
assert IMapping.implementedBy(dict) and isinstance({}, collections.abc.Mapping)
assert pickle.loads(pickle.dumps(IPet)) is IPet
assert pickle.loads(pickle.dumps(providedBy(dog))) == providedBy(dog)
assert pickle.loads(pickle.dumps(implementedBy(Dog))) is implementedBy(Dog)
assert sorted([IPet, INamed, ILabel]) == sorted([ILabel, INamed, IPet]) and hash(IPet) == hash((IPet.__name__, IPet.__module__))


@implementer(IPet)
class Abstract(abc.ABC):
    @abc.abstractmethod
    def feed(self, food): ...


assert IPet.implementedBy(Abstract)

print("ok: zope.interface", importlib.metadata.version("zope.interface"))
