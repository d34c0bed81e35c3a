"""zope.interface under updates in place: interfaces keep their identity, and everything that depends on them is right."""

import gc
import importlib.metadata
import sys
import threading
import unittest
import weakref

import modspace

CONTRACTS = """
from zope.interface import Interface, Attribute, Invalid, invariant, taggedValue

class IBase(Interface):
    base = Attribute("In the base")

class IOther(Interface):
    other = Attribute("In the other")

class INamed(IBase):
    "Something with a name."
    taggedValue("colour", "red")
    name = Attribute("The name")
    def rename(name): "Gives it another name."
    @invariant
    def has_name(self):
        if not self.name:
            raise Invalid("no name")
"""

MODELS = """
from zope.interface import Interface, implementer, provider, directlyProvides
from contracts import INamed, IOther

class ILocal(Interface):
    "Of this module."

@implementer(INamed)
class Dog:
    name = "Rex"
    def rename(self, name):
        self.name = name

class Puppy(Dog): ...

@provider(ILocal)
class Factory: ...

special = Dog()
directlyProvides(special, ILocal)
"""

APP = """
import contracts, models
from contracts import IBase, INamed, IOther
from models import Dog, Factory, ILocal
from zope.interface import (
    Interface, alsoProvides, classImplements, directlyProvidedBy, directlyProvides, implementedBy, implementer, providedBy,
)
from zope.interface.adapter import AdapterRegistry, VerifyingAdapterRegistry
from zope.interface.verify import verifyClass, verifyObject

class IPet(INamed):
    def feed(food): ...

class ILabel(Interface): ...

@implementer(IPet)
class Cat:
    name = "Tom"
    def rename(self, name): ...
    def feed(self, food): ...

class Wolf(Dog): ...

dog, wolf, cat, plain = Dog(), Wolf(), Cat(), object()
class Thing: ...
thing = Thing()
directlyProvides(thing, INamed)
parent = AdapterRegistry()
registry = AdapterRegistry((parent,))
verifying = VerifyingAdapterRegistry((parent,))
parent.register([IOther], ILabel, "", "by IOther")
parent.register([IBase], ILabel, "", "by IBase")
parent.register([INamed], ILabel, "", "by INamed")
parent.subscribe([INamed], ILabel, "subscribed")

def label(subject, registry=registry):
    return registry.lookup1(providedBy(subject), ILabel)
"""


class ZopeUpdate(unittest.TestCase):
    def setUp(self):
        self.store = modspace.Store.memory()
        with self.store.transaction() as change:
            for name, source in (("contracts", CONTRACTS), ("models", MODELS)):
                change.new(name, source)
        self.space = modspace.ModuleSpace(name="zope", path=list(sys.path))
        self.addCleanup(self.space.discard, force=True)
        self.space.attach(self.store)
        self.space.exec(APP)
        self.errors = []
        self.space.sys.unraisablehook = lambda raised: self.errors.append(raised.exc_value)

    def update(self, **sources):
        with self.store.transaction() as change:
            for name, source in sources.items():
                change.update(name, source)
        report = self.space.sync()
        self.assertEqual(self.errors, [])
        return report

    def replaced(self, module, *pairs):
        source = {"contracts": CONTRACTS, "models": MODELS}[module]
        for old, new in pairs:
            self.assertIn(old, source)
            source = source.replace(old, new)
        return self.update(**{module: source})

    def check(self, *expressions):
        for expression in expressions:
            with self.subTest(expression):
                self.assertTrue(self.space.eval(expression), expression)

    def test_an_interface_keeps_its_identity_and_takes_what_is_new(self):
        self.space.exec("held = INamed['name'], INamed['rename']")
        report = self.replaced(
            "contracts", ('Attribute("The name")', 'Attribute("Another name")'), ("rename(name)", "rename(name, loudly=False)"),
            ('"Something with a name."', '"Something else."'), ('"red"', '"blue"'), ('"no name"', '"nameless"'),
            ("    @invariant", "    def shout(): ...\n    @invariant"), ('base = Attribute("In the base")', '"Nothing."'))
        self.assertEqual(set(report.updated) & {"contracts.INamed.name", "contracts.INamed.rename"},
                         {"contracts.INamed.name", "contracts.INamed.rename"})
        self.assertEqual((report.added, report.deleted), (["contracts.INamed.shout"], ["contracts.IBase.base"]))
        self.check(
            "contracts.INamed is INamed", "models.INamed is INamed", "INamed.__doc__ == 'Something else.'",
            "INamed['name'] is held[0] and held[0].__doc__ == 'Another name'",
            "held[1].getSignatureString() == '(name, loudly=False)'",
            "all(attribute.interface is INamed for _, attribute in INamed.namesAndDescriptions())",
            "INamed.getTaggedValue('colour') == IPet.getTaggedValue('colour') == 'blue'",
            "set(IPet.names(all=True)) == {'name', 'rename', 'shout', 'feed'}",
            "IPet['shout'].interface is INamed and 'base' not in IPet", "INamed.getBases() == (IBase,)",
            "len(INamed.getTaggedValue('invariants')) == 1",
        )
        self.space.exec("from zope.interface import Invalid\nunnamed = Cat()\nunnamed.name = ''\n"
                        "try:\n    IPet.validateInvariants(unnamed)\nexcept Invalid as error:\n    said = str(error)\n")
        self.check("said == 'nameless'")

    def test_what_did_not_change_is_not_in_the_report(self):
        self.assertEqual(self.update(contracts="# A line.\n" + CONTRACTS, models="# A line.\n" + MODELS).updated, ["models.special"])
        self.check("providedBy(dog) is implementedBy(Dog)", "ILocal.providedBy(models.special)", "label(dog) == 'by INamed'")

    def test_bases_of_an_interface_change_what_derives_from_it(self):
        self.check("label(dog) == label(cat) == label(dog, verifying) == 'by INamed'", "not IOther.providedBy(cat)")
        self.space.exec("parent.unregister([INamed], ILabel, '')\nassert label(cat) == label(wolf, verifying) == 'by IBase'\n"
                        "assert label(thing) == 'by IBase'")
        self.replaced("contracts", ("INamed(IBase)", "INamed(IOther)"))
        self.check(
            "[one.__name__ for one in IPet.__iro__] == ['IPet', 'INamed', 'IOther', 'Interface']",
            "IPet.__iro__[1] is INamed and IPet.__iro__[2] is IOther", "IPet.extends(IOther) and not IPet.extends(IBase)",
            "IOther.providedBy(cat) and IOther.implementedBy(Wolf) and IOther.providedBy(thing)",
            "not IBase.providedBy(cat) and not IBase.implementedBy(Wolf) and not IBase.providedBy(thing)",
            "set(IPet.names(all=True)) == {'name', 'rename', 'other', 'feed'}",
            "label(cat) == label(wolf) == label(dog) == label(thing) == 'by IOther'",
            "label(cat, verifying) == label(dog, verifying) == 'by IOther'",
        )
        self.update(contracts=CONTRACTS)
        self.check("label(cat) == label(thing, verifying) == 'by IBase'", "not IPet.extends(IOther)")

    def test_an_interface_that_is_provided_by_adapters_gets_other_bases(self):
        self.space.exec("parent.register([Interface], INamed, '', 'a name')\n"
                        "def adapted(to, registry=registry): return registry.lookup1(providedBy(plain), to)\n"
                        "assert adapted(IBase) == adapted(IBase, verifying) == 'a name' and adapted(IOther) is None")
        self.replaced("contracts", ("INamed(IBase)", "INamed(IOther)"))
        self.check("adapted(IOther) == adapted(IOther, verifying) == 'a name'", "adapted(IBase) is None",
                   "adapted(IBase, verifying) is None", "adapted(INamed) == 'a name'")

    def test_a_class_implements_another_interface(self):
        self.space.exec("subscribed = list(registry.subscriptions([providedBy(wolf)], ILabel))")
        self.check("subscribed == ['subscribed'] and label(wolf) == label(wolf, verifying) == 'by INamed'")
        report = self.replaced("models", ("@implementer(INamed)", "@implementer(IOther)"))
        self.assertIn("models.Dog", report.updated)
        self.check(
            "list(implementedBy(Dog)) == list(implementedBy(Wolf)) == [IOther]", "list(providedBy(wolf)) == [IOther]",
            "IOther.providedBy(dog) and not INamed.providedBy(dog)", "implementedBy(models.Puppy).isOrExtends(IOther)",
            "label(dog) == label(wolf) == label(wolf, verifying) == 'by IOther'",
            "list(registry.subscriptions([providedBy(wolf)], ILabel)) == []",
        )
        self.replaced("models", ("@implementer(INamed)\n", ""))
        self.check("list(implementedBy(Wolf)) == [] and label(wolf) is None and label(dog, verifying) is None")
        self.replaced("models", ("@implementer(INamed)", "@implementer(INamed, IOther)"))
        self.check("list(implementedBy(Wolf)) == [INamed, IOther]", "label(wolf) == 'by INamed'")

    def test_a_class_without_declarations_gets_some(self):
        self.update(models=MODELS.replace("class Puppy(Dog): ...", "class Puppy(Dog): ...\nclass Bare: ..."))
        self.space.exec("class Sub(models.Bare): ...\nsub = Sub()")
        source = MODELS.replace("class Puppy(Dog): ...", "class Puppy(Dog): ...\n@implementer(INamed)\n@provider(IOther)\nclass Bare: ...")
        self.update(models=source)
        self.check("INamed.providedBy(sub) and IOther.providedBy(models.Bare) and not IOther.providedBy(Sub)",
                   "implementedBy(models.Bare).inherit is models.Bare", "label(sub) == 'by INamed'")
        self.update(models="# A line.\n" + source)
        self.check("INamed.providedBy(sub) and IOther.providedBy(models.Bare)")

    def test_only_declarations_of_the_source_change(self):
        self.space.exec("classImplements(Dog, ILabel)\nalsoProvides(Factory, ILabel)\nINamed.setTaggedValue('mine', 1)\n"
                        "assert list(implementedBy(Dog)) == [INamed, ILabel]")
        self.update(contracts=CONTRACTS.replace('"red"', '"blue"'),
                    models=MODELS.replace("@implementer(INamed)", "@implementer(IOther)"))
        self.check("set(implementedBy(Dog)) == set(implementedBy(Wolf)) == {IOther, ILabel}", "ILabel.providedBy(wolf)",
                   "set(directlyProvidedBy(Factory)) == {ILocal, ILabel}",
                   "INamed.getTaggedValue('mine') == 1 and INamed.getTaggedValue('colour') == 'blue'")
        self.replaced("models", ("@provider(ILocal)\n", ""))
        self.check("set(directlyProvidedBy(Factory)) == {ILabel} and not ILocal.providedBy(Factory)",
                   "set(implementedBy(Dog)) == {INamed, ILabel}")

    def test_what_a_class_provides_itself(self):
        self.check("ILocal.providedBy(Factory) and not ILocal.providedBy(Factory())")
        self.space.exec("parent.register([ILocal], ILabel, '', 'by ILocal')\nassert label(Factory) == 'by ILocal'")
        self.replaced("models", ("@provider(ILocal)", "@provider(IOther)"))
        self.check("IOther.providedBy(Factory) and not ILocal.providedBy(Factory)", "label(Factory) == 'by IOther'",
                   "models.Factory is Factory and not IOther.providedBy(Factory())")

    def test_only_the_class_s_own_declarations(self):
        self.update(models=MODELS.replace("class Puppy(Dog): ...", "from zope.interface import implementer_only\n"
                                          "@implementer_only(IOther)\nclass Puppy(Dog): ..."))
        self.check("list(implementedBy(models.Puppy)) == [IOther]")
        self.space.exec("puppy = models.Puppy()")
        self.update(models=MODELS)
        self.check("list(providedBy(puppy)) == [INamed]")

    def test_bases_of_a_class_change(self):
        more = "class Cow:\n    pass\n@implementer(IOther)\nclass Bull(Cow): ...\nclass Calf(%s): ...\n"
        self.update(models=MODELS + more % "Dog")
        self.space.exec("class Mine(models.Calf): ...\nmine = Mine()")
        self.check("list(providedBy(mine)) == [INamed]")
        self.update(models=MODELS + more % "Bull")
        self.check("list(providedBy(mine)) == [IOther] and label(mine) == 'by IOther'")

    def test_an_interface_goes_and_another_comes(self):
        source = CONTRACTS.replace("class INamed(IBase):", "class INew(IOther):\n    new = Attribute('New')\n\nclass INamed(INew):")
        start, end = source.index("class IBase"), source.index("class IOther")
        report = self.update(contracts=source[:start] + source[end:])
        self.assertEqual((report.added, report.deleted), (["contracts.INew"], ["contracts.IBase"]))
        self.check("contracts.INamed is INamed and INamed.__bases__ == (contracts.INew,)",
                   "contracts.INew.extends(IOther) and contracts.INew.__bases__[0] is IOther",
                   "IPet.extends(contracts.INew) and not IPet.extends(IBase)", "contracts.INew.providedBy(cat)",
                   "contracts.INew['new'].interface is contracts.INew", "not hasattr(contracts, 'IBase')")

    def test_interfaces_of_modules_that_are_not_updated_stay_right(self):
        self.replaced("models", ('"Of this module."', '"Other."'))
        self.check("models.ILocal is ILocal and ILocal.__doc__ == 'Other.'", "ILocal.providedBy(models.special)",
                   "directlyProvidedBy(models.special).__iro__[0] is ILocal", "list(implementedBy(Dog)) == [INamed]",
                   "providedBy(models.special).isOrExtends(INamed) and type(models.special) is Dog")

    def test_methods_of_interfaces(self):
        with_method = CONTRACTS.replace("class IOther(Interface):", "from zope.interface import interfacemethod\nclass IOther(Interface):\n"
                                        "    @interfacemethod\n    def __adapt__(self, value):\n        return [LIMIT, value]\n") + "LIMIT = %d\n"
        self.update(contracts=with_method % 1)
        self.check("IOther(2) == [1, 2]", "contracts.IOther is IOther")
        self.update(contracts=(with_method % 3).replace("[LIMIT, value]", "(LIMIT, value)"))
        self.check("IOther(2) == (3, 2)", "contracts.IOther is IOther and not IOther.providedBy(dog)")
        self.update(contracts=CONTRACTS)
        self.check("IOther(2, None) is None")

    def test_registrations_by_the_source_refer_to_what_is_there(self):
        self.space.exec("import sys, types\nregistries = types.ModuleType('registries')\nregistries.main = parent\n"
                        "sys.modules['registries'] = registries")
        source = MODELS + ("import registries\nclass Adapter:\n    version = %d\n    def __init__(self, context): ...\n"
                           "registries.main.register([ILocal], INamed, 'x', Adapter)\n"
                           "registries.main.subscribe([ILocal], INamed, Adapter)\n")
        self.update(models=source % 1)
        self.update(models=source % 2)
        self.check("registry.lookup1(providedBy(models.special), INamed, 'x') is models.Adapter",
                   "verifying.lookup1(providedBy(models.special), INamed, 'x').version == 2",
                   "all(one is models.Adapter for one in registry.subscriptions([ILocal], INamed))",
                   "all(required[0] is ILocal for required, _, name, _ in parent.allRegistrations() if name == 'x')")

    def test_no_second_copies_are_left(self):
        self.space.exec("from zope.interface import interface, declarations\n"
                        "def dependents(one): return [d for d in one.dependents.keys()]")
        counts = []
        for number in range(12):
            bases = "IOther, IBase" if number % 2 else "IBase"
            self.update(contracts=CONTRACTS.replace("INamed(IBase)", f"INamed({bases})").replace("red", f"red{number}"),
                        models=MODELS.replace("@implementer(INamed)", "@implementer(%s)" % ("IOther, INamed" if number % 3 else "INamed")))
            self.check("all(one is INamed for one in dependents(IBase) if one == INamed)",
                       "sum(one == INamed for one in dependents(IBase)) == 1",
                       "[one for one in dependents(INamed) if isinstance(one, interface.InterfaceClass)] == [IPet]",
                       "all(one.inherit in (Dog, Cat, None) or not one.inherit for one in dependents(INamed) if isinstance(one, declarations.Implements))",
                       "IBase.dependents[INamed] == 1")
            gc.collect()
            gc.collect()
            counts.append(len(gc.get_objects()))
        self.assertLess(max(counts[4:]) - min(counts[4:]), 30, counts)
        self.check("all(key[0] is Dog for key in declarations.InstanceDeclarations if key[0].__name__ == 'Dog')")

    def test_a_plan_leaves_no_second_copies(self):
        reference = weakref.ref(self.space.eval("INamed"))
        before = self.space.eval("sorted(map(repr, INamed.dependents.keys())), sorted(map(repr, IBase.dependents.keys()))")
        self.space.exec("from zope.interface import declarations")
        keys = self.space.eval("len(declarations.InstanceDeclarations)")
        for _ in range(3):
            plan = self.store.plan({"contracts": CONTRACTS.replace("INamed(IBase)", "INamed(IOther)"),
                                    "models": MODELS.replace("@implementer(INamed)", "@implementer(IOther)")}, self.space)
            self.assertEqual(set(plan.updated), {"contracts.INamed", "models.Dog", "models.special"})
            self.assertEqual([entry for entry in plan.entries if entry[0] == "note"], [])
        self.assertEqual(self.space.eval("sorted(map(repr, INamed.dependents.keys())), sorted(map(repr, IBase.dependents.keys()))"), before)
        self.assertEqual(self.space.eval("len(declarations.InstanceDeclarations)"), keys)
        self.check("INamed.__bases__ == (IBase,) and list(implementedBy(Dog)) == [INamed]", "IBase.dependents[INamed] == 1")
        self.assertIsNotNone(reference())

    def test_a_failed_update_changes_no_interface(self):
        source = CONTRACTS.replace("INamed(IBase)", "INamed(IOther)") + "\nclass A:\n    __slots__ = ('x',)\n"
        self.update(contracts=CONTRACTS + "\nclass A:\n    __slots__ = ()\n")
        self.store.update_module("contracts", source)
        with self.assertRaises(modspace.UpdateError):
            self.space.sync()
        self.check("INamed.__bases__ == (IBase,) and IPet.extends(IBase) and not IPet.extends(IOther)",
                   "IBase.dependents[INamed] == 1 and all(one is not INamed for one in IOther.dependents.keys())")

    def test_modules_and_functions_that_declare_something(self):
        source = MODELS + ("from zope.interface import moduleProvides\nmoduleProvides(%s)\n"
                           "@implementer(%s)\ndef make():\n    return special\n")
        self.update(models=source % ("ILocal", "ILocal"))
        self.space.exec("from models import make")
        self.check("ILocal.providedBy(models) and ILocal.implementedBy(make)")
        self.update(models=source % ("IOther", "INamed"))
        self.check("IOther.providedBy(models) and not ILocal.providedBy(models)", "models.make is make",
                   "INamed.implementedBy(make) and not ILocal.implementedBy(make)")
        self.update(models=MODELS)
        self.check("not IOther.providedBy(models)")

    def test_fields_of_other_classes(self):
        source = ("from zope.interface import Interface, Attribute\nclass Field(Attribute):\n    order = 0\n"
                  "    def __init__(self, doc, default=None, value=None):\n        super().__init__(doc)\n"
                  "        Field.order += 1\n        self.order, self.default, self.value = Field.order, default, value\n"
                  "class IForm(Interface):\n    title = Field('Title', default=%d, value=Field('Inner'))\n")
        self.store.new_module("forms", source % 1)
        self.space.sync()
        self.space.exec("import forms\ntitle = forms.IForm['title']")
        self.assertEqual(self.update(forms="# A line.\n" + source % 1).updated, [])
        self.assertEqual(self.update(forms=source % 2).updated, ["forms.IForm.title"])
        self.check("forms.IForm['title'] is title and title.default == 2 and type(title) is forms.Field",
                   "type(title.value) is forms.Field and title.interface is forms.IForm")

    def test_what_changed_raises_is_reported_and_the_others_are_told(self):
        self.space.exec("class Dependent:\n    def changed(self, originally):\n        raise ValueError('of the dependent')\n"
                        "dependent = Dependent()\nINamed.subscribe(dependent)")
        self.store.update_module("contracts", CONTRACTS.replace("INamed(IBase)", "INamed(IOther)"))
        self.space.sync()
        self.assertEqual({type(error) for error in self.errors}, {ValueError})
        self.check("INamed.extends(IOther)")

    def test_while_threads_look_adapters_up(self):
        self.space.exec("seen = set()\ndef use():\n    for _ in range(300):\n        seen.add(label(cat))\n"
                        "        seen.add(label(wolf, verifying))\n")
        threads = [threading.Thread(target=self.space.ns["use"]) for _ in range(2)]
        failed = []
        self.addCleanup(setattr, threading, "excepthook", threading.excepthook)
        threading.excepthook = lambda raised: failed.append(raised.exc_value)
        for thread in threads:
            thread.start()
        number = 0
        while any(thread.is_alive() for thread in threads):
            number += 1
            base = "IOther" if number % 2 else "IBase"
            self.update(contracts=CONTRACTS.replace("INamed(IBase)", f"INamed({base})"))
        for thread in threads:
            thread.join()
        self.assertEqual((failed, self.space.ns["seen"]), ([], {"by INamed"}))

    def test_verification_goes_by_the_new_interface(self):
        self.space.exec("dog.base = cat.base = 1\nassert verifyObject(INamed, dog) and verifyObject(IPet, cat)")
        self.replaced("contracts", ("    @invariant", "    def shout(): ...\n    @invariant"))
        self.space.exec("from zope.interface.exceptions import BrokenImplementation\n"
                        "def broken(interface, subject):\n    try:\n        verifyObject(interface, subject)\n"
                        "    except BrokenImplementation:\n        return True")
        self.check("broken(INamed, dog) and broken(IPet, cat)")
        self.update(contracts=CONTRACTS)
        self.check("verifyObject(INamed, dog) and verifyObject(IPet, cat)")


if unittest.main(exit=False, argv=["zope_update"]).result.wasSuccessful():
    print("ok: zope.interface", importlib.metadata.version("zope.interface"))
else:
    raise SystemExit(1)
