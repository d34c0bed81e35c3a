"""Objects that stand for what a source defines and are neither functions nor classes: they keep their identity, too.

A family knows the instances of some classes. `ROLES` names these by module and qualified name; what derives from them is
meant, too. The update asks it

- `match(role, old, new, path)`, to pair a value of the new source with the one in whose place it is, and what is in them;
- `look_into(role, value)`, to see to what refers to second copies in a value that was not paired; false when it knows
  nothing about it;
- `plan_class(old, new, path)` for each class that is updated, and `keeps(cls, name)`, whether it looks after an attribute
  of a class;
- `plan()`, when everything was paired, to say what has to be changed;
- `finish()`, when the changes were made: other code runs again, and what is derived from them can be worked out;
- `forget()` instead, when nothing is changed.

Another package gets a class of its own here, and a place in `FAMILIES`.

Runs as platform code, once for the whole process. `instances(classes)` has the living instances of classes.
"""

import types

MISSING = object()

heap_type = 1 << 9


class Adopted:
    """What the families have to do with one update; `attempt(function, *arguments)` calls a function and reports what it
    raises, `is_same(one, other)` compares values without asking them."""

    def __init__(self, update, attempt, is_same):
        self.families = [family(update, attempt, is_same) for family in FAMILIES]
        self.roles = {}

    def role(self, kind):
        """The family that knows the instances of `kind`, and what they are to it."""
        if not kind.__flags__ & heap_type:
            return None
        if kind not in self.roles:
            self.roles[kind] = self.find(kind)
        return self.roles[kind]

    def find(self, kind):
        for cls in kind.__mro__:
            name = type.__dict__["__qualname__"].__get__(cls)
            for family in self.families:
                for (module, known), role in family.ROLES.items():
                    # A metaclass may compute it.
                    if name == known and getattr(cls, "__module__", None) == module:
                        return family, role
        return None

    def match(self, old, new, path):
        """Whether a family knows the value, so that nobody else has to match it."""
        found = self.role(type(new))
        if found is None:
            return False
        family, role = found
        other = self.role(type(old))
        if other is not None and other == found:
            family.match(role, old, new, path)
        return True

    def look_into(self, value, kind):
        found = self.role(kind)
        return found is not None and found[0].look_into(found[1], value)

    def keeps(self, cls, name):
        return any(family.keeps(cls, name) for family in self.families)

    def plan_class(self, old, new, path):
        for family in self.families:
            family.plan_class(old, new, path)

    def plan(self):
        for family in self.families:
            family.plan()

    def finish(self):
        for family in self.families:
            family.finish()

    def forget(self):
        for family in self.families:
            family.forget()


def slot(value, name, default=None):
    """An attribute as `object` has it, whatever the class says."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return default


def attributes(value):
    found = slot(value, "__dict__")
    return found if type(found) is dict else None


def is_same_items(one, other):
    return len(one) == len(other) and all(left is right for left, right in zip(one, other))


class Interfaces:
    """zope.interface.

    An interface is what it was, with the bases, attributes, tagged values and documentation of the new one. What a class
    declares is changed where its specification is, so that everything that depends on it hears of that: specifications
    of subclasses and of instances, and the registries that looked an adapter up. The source's declarations take the
    place of those that the source before made; what others declared (`classImplements`, `alsoProvides`) stays.
    """

    ROLES = {
        ("zope.interface.interface", "InterfaceClass"): "interface",
        ("zope.interface.interface", "Attribute"): "attribute",
        ("zope.interface.declarations", "Implements"): "implements",
        ("zope.interface.declarations", "ClassProvides"): "provides",
        ("zope.interface.interface", "Specification"): "specification",
    }

    #: What a specification works out itself, or has to itself.
    DERIVED = {"_dependents", "_implied", "_v_attrs", "_v_cached_hash", "__iro__", "__sro__", "__weakref__", "_bases",
               "__name__", "__ibmodule__", "_super_cache"}

    #: What declarations leave in classes.
    DECLARATIONS = {"__implemented__", "__provides__", "__providedBy__"}

    ATTRIBUTES, TAGS, ARGUMENTS = "_InterfaceClass__attrs", "_Element__tagged_values", "_ClassProvides__args"

    def __init__(self, update, attempt, is_same):
        self.update = update
        self.attempt, self.is_same_value = attempt, is_same
        self.pairs = []
        #: Specifications with the bases that they had, and those that they have got.
        self.rebased = []
        #: Those that changed, and about which their dependents do not know yet.
        self.changed = []
        #: Specifications of classes whose declarations changed: by `implementer`, and by `provider`.
        self.declared = []
        self.provided = []
        #: What the modules of zope.interface define, one for each copy of the package.
        self.packages = []
        #: Whether a registry referred to a second copy.
        self.is_relinked = False

    # Matching.

    def match(self, role, old, new, path):
        if role == "interface":
            self.match_interfaces(old, new, path)
        elif role == "attribute":
            if type(old) is self.update.counterpart(type(new)) and vars(old).get("__name__") == vars(new).get("__name__"):
                self.pair(role, old, new, path)
        elif role != "specification" and path.rpartition(".")[2] in self.DECLARATIONS:
            # Those of instances are shared by all that declare the same.
            self.pair(role, old, new, path)

    def pair(self, role, old, new, path):
        self.update.pair(old, new)
        self.pairs.append((role, old, new, path))
        self.note_package(type(new))

    def match_interfaces(self, old, new, path):
        update = self.update
        if id(new) in update.shared or slot(new, "__ibmodule__") not in update.modules:
            return
        if any(slot(old, name) != slot(new, name) for name in ("__name__", "__ibmodule__")):
            return
        kinds = [self.plain_kind(type(value)) for value in (old, new)]
        if update.counterpart(kinds[1]) is not kinds[0]:
            update.note("replaced", path, f"its class was {kinds[0].__name__} and is {kinds[1].__name__}")
            return
        self.pair("interface", old, new, path)
        before, after = vars(old), vars(new)
        attributes = before.get(self.ATTRIBUTES) or {}
        for name, attribute in (after.get(self.ATTRIBUTES) or {}).items():
            if name in attributes:
                update.match(attributes[name], attribute, f"{path}.{name}", 1)
        update.match(before.get(self.TAGS), after.get(self.TAGS), path, 1)
        if self.is_custom(type(old)) and self.is_custom(type(new)):
            update.match_namespaces(vars(type(old)), vars(type(new)), path)

    def is_custom(self, kind):
        """Whether the class was made for one interface, which has methods of its own."""
        return kind.__name__.endswith("<WithCustomMethods>")

    def plain_kind(self, kind):
        return kind.__mro__[1] if self.is_custom(kind) else kind

    def note_package(self, kind):
        """Notes the modules of the copy of the package that a class of it is from."""
        for cls in kind.__mro__:
            function = vars(cls).get("changed")
            if type(function) is types.FunctionType and "calculate_ro" in function.__globals__:
                names = function.__globals__
                if not any(names is known for known, _ in self.packages):
                    self.packages.append((names, names["implementedBy"].__globals__))
                return

    # References to what was paired.

    def live(self, value):
        return self.update.forward.get(id(value), (None, value))[1]

    def is_same(self, one, other):
        """Whether two values are equal, or will be."""
        other = self.live(other)
        if one is other or type(one) is not self.live(type(other)):
            return one is other
        if self.update.adopted.role(type(one)) == (self, "attribute"):
            before, after = ({name: value for name, value in vars(field).items() if name != "order"} for field in (one, other))
            return before.keys() == after.keys() and all(self.is_same(before[name], after[name]) for name in before)
        if type(one) in (list, tuple):
            return len(one) == len(other) and all(map(self.is_same, one, other))
        if type(one) is dict:
            return one.keys() == other.keys() and all(self.is_same(one[key], other[key]) for key in one)
        return self.is_same_value(one, other)

    def is_new(self, role, value):
        """Whether the new sources may have made the specification."""
        if id(value) in self.update.taken:
            return False
        if role == "interface":
            return slot(value, "__ibmodule__") in self.update.own_modules
        inherit = vars(value).get("inherit") if role == "implements" else None
        return inherit is None or self.update.is_own_class(inherit)

    def look_into(self, role, value):
        if role == "attribute":
            return False
        if self.is_new(role, value):
            self.note_package(type(value))
            self.take_state(value, value)
            self.take_bases(value, value)
        return True

    def take_state(self, old, new):
        """What `new` has of its own, but for what is worked out. Returns the names of what differs."""
        update, differs = self.update, []
        after = attributes(new)
        if after is not None:
            before = attributes(old)
            for name, value in list(after.items()):
                if name in self.DERIVED or name[:3] == "_v_":
                    continue
                fixed = update.fix(value)
                if before.get(name, MISSING) is not fixed:
                    update.changes.append(("item", before, name, fixed))
                    if not self.is_same(before.get(name, MISSING), fixed):
                        differs.append(name)
        for cls in type(new).__mro__:
            for name, descriptor in vars(cls).items():
                if type(descriptor) is types.MemberDescriptorType and cls.__flags__ & heap_type and name not in self.DERIVED:
                    value = slot(new, name, MISSING)
                    fixed = update.fix(value)
                    if value is not MISSING and slot(old, name, MISSING) is not fixed:
                        update.changes.append(("attribute", old, name, fixed))
                        differs.append(name)
        return differs

    def take_bases(self, old, new):
        """Whether they differ from those that `old` has."""
        update = self.update
        before, after = slot(old, "_bases", ()), update.fix(slot(new, "_bases", ()))
        if is_same_items(before, after):
            return False
        update.changes.append(("attribute", old, "_bases", after))
        if old is not new:
            for name in ("__sro__", "__iro__"):
                update.changes.append(("attribute", old, name, update.fix(slot(new, name, ()))))
            implied = {self.live(ancestor): value for ancestor, value in slot(new, "_implied", {}).items()}
            update.changes.append(("swap", slot(old, "_implied"), implied))
        self.rebased.append((old, before, after))
        self.changed.append(old)
        return True

    # The plan.

    def plan(self):
        for role, old, new, path in self.pairs:
            if role == "interface":
                self.plan_interface(old, new, path)
            elif role == "attribute":
                # zope.schema counts all fields that are made.
                if set(self.take_state(old, new)) - {"order"}:
                    self.update.note("updated", path)
                for name in [name for name in vars(old) if name not in vars(new)]:
                    self.update.changes.append(("item", vars(old), name))
            elif role == "implements" and vars(new).get("inherit") is None and not vars(new).get("declared"):
                # Of a function: there is nothing to inherit from.
                self.take_bases(old, new)
        for names, declarations in self.packages:
            for registry in self.registries(declarations):
                self.relink(registry)

    def plan_interface(self, old, new, path):
        update = self.update
        before, after = vars(old), vars(new)
        known = before.get(self.ATTRIBUTES) or {}
        attributes = after.get(self.ATTRIBUTES) or {}
        count = len(update.report)
        for name, attribute in attributes.items():
            if update.fix(attribute) is not known.get(name):
                update.note("updated" if name in known else "added", f"{path}.{name}")
        for name in known:
            if name not in attributes:
                update.note("deleted", f"{path}.{name}")
        self.keep_tags(old, new)
        kind = update.fix(type(new))
        if self.is_custom(kind):
            for value in list(vars(kind).values()):
                update.fix(value)
        if kind is not type(old):
            update.changes.append(("attribute", old, "__class__", kind))
            update.note("updated", path, "its own methods changed")
        differs = set(self.take_state(old, new)) - {self.ATTRIBUTES, "__doc__"}
        update.changes.append(("attribute", old, "_v_attrs", None))
        if self.take_bases(old, new):
            update.note("updated", path, "its bases changed")
        elif len(update.report) > count or differs:
            self.changed.append(old)
            if len(update.report) == count:
                update.note("updated", path)

    def keep_tags(self, old, new):
        """Tagged values that others have set stay."""
        before = vars(old).get(self.TAGS) or {}
        defined = self.recorded(slot(old, "__ibmodule__"), f"{slot(old, '__name__')} tags")
        kept = {tag: value for tag, value in before.items() if tag not in defined}
        if kept:
            vars(new)[self.TAGS] = {**kept, **(vars(new).get(self.TAGS) or {})}

    def recorded(self, module, what):
        """What the source of a module declared when it was executed last."""
        return self.update.defined(self.update.modules[module][0]).get(what) or ()

    def specification(self, cls, name, role):
        """The specification that a class has of its own."""
        value = vars(cls).get(name)
        found = self.update.adopted.role(type(value))
        return value if found is not None and found == (self, role) else None

    def keeps(self, cls, name):
        return name in self.DECLARATIONS and self.specification(cls, "__implemented__", "implements") is not None

    def plan_class(self, old, new, path):
        module, name = vars(old)["__module__"], old.__qualname__
        mine, other = (self.specification(cls, "__implemented__", "implements") for cls in (old, new))
        if mine is not None:
            recorded = self.recorded(module, f"{name} implements")
            declared = self.declarations(vars(mine).get("declared", ()), vars(other).get("declared", ()) if other else (),
                                         recorded)
            before = vars(mine).get("inherit")
            # `implementer_only`, in the source or by somebody else.
            is_only = (other is not None and vars(other).get("inherit") is None) or (before is None and "" not in recorded)
            inherit = None if is_only else old
            is_same = is_same_items(declared, vars(mine).get("declared", ())) and inherit is before
            bases = tuple(self.update.fix(base) for base in new.__bases__)
            if not is_same or bases != old.__bases__:
                self.update.changes.append(("item", vars(mine), "declared", declared))
                self.update.changes.append(("item", vars(mine), "inherit", inherit))
                self.declared.append(mine)
                self.note_package(type(mine))
            if not is_same:
                self.update.note("updated", path, "it implements other interfaces")
        mine, other = (self.specification(cls, "__provides__", "provides") for cls in (old, new))
        if mine is not None:
            arguments, others = (slot(one, self.ARGUMENTS, ()) if one else () for one in (mine, other))
            declared = self.declarations(arguments[2:], others[2:], self.recorded(module, f"{name} provides"))
            if not is_same_items(declared, arguments[2:]):
                self.update.changes.append(("attribute", mine, self.ARGUMENTS, (*arguments[:2], *declared)))
                self.provided.append((mine, arguments[1], declared))
                self.note_package(type(mine))
                self.update.note("updated", path, "it provides other interfaces")

    def declarations(self, before, after, recorded):
        """What the new source declares, and what others have."""
        fixed = [self.update.fix(interface) for interface in after]
        others = [
            interface for interface in before
            if self.identifier(interface) not in recorded and not any(interface is one for one in fixed)
        ]
        return tuple(fixed + others)

    def identifier(self, interface):
        names = attributes(interface) or {}
        return names.get("__identifier__") or names.get("__name__")

    # Registries of adapters.

    def registries(self, declarations):
        """All adapter registries of a copy of the package."""
        bases = [
            cls for cls in type.__subclasses__(object)
            if cls.__qualname__ == "BaseAdapterRegistry" and vars(cls).get("__module__") == "zope.interface.adapter"
            and vars(cls)["register"].__globals__.get("Interface") is declarations["Interface"]
        ]
        return instances(bases) if bases else ()

    def relink(self, registry):
        """Lets a registry refer to what there is, where the new sources registered second copies."""
        inner = attributes(registry) or {}
        for name in ("_adapters", "_subscribers"):
            if type(inner.get(name)) is list:
                for components in inner[name]:
                    self.relink_mapping(components)
        self.relink_mapping(inner.get("_provided"))

    def relink_mapping(self, mapping):
        if type(mapping) is not dict:
            return
        fixed = {}
        for key, value in mapping.copy().items():
            if type(value) is dict:
                self.relink_mapping(value)
                now = value
            elif type(value) is tuple:
                now = tuple(map(self.live, value))
                now = value if is_same_items(now, value) else now
            else:
                now = self.live(value)
            if type(key) is str and now is not value:
                self.update.changes.append(("item", mapping, key, now))
                self.is_relinked = True
            fixed[self.live(key)] = now
        if any(self.live(key) is not key for key in mapping.copy()):
            self.update.changes.append(("swap", mapping, fixed))
            self.is_relinked = True

    # When the changes were made.

    def finish(self):
        # First, as equal interfaces are one dependent to their bases.
        self.detach()
        for specification, before, after in self.rebased:
            for base in before:
                self.attempt(base.unsubscribe, specification)
            for base in after:
                self.attempt(base.subscribe, specification)
        for _, declarations in self.packages:
            for specification in self.declared:
                if isinstance(specification, declarations["Implements"]):
                    self.attempt(self.declare, declarations, specification)
        for specification, metaclass, interfaces in self.provided:
            self.attempt(self.set_bases, specification, interfaces, metaclass)
        for specification in self.in_order(self.changed):
            self.attempt(specification.changed, specification)
        for _, declarations in self.packages:
            self.attempt(self.rename, declarations)
            if self.changed or self.declared or self.provided or self.is_relinked:
                for registry in self.registries(declarations):
                    self.attempt(self.refresh, registry)

    def detach(self):
        """No second copy is to depend on anything."""
        for role, old, new, path in self.pairs:
            if role != "attribute":
                self.attempt(setattr, new, "__bases__", ())

    def declare(self, declarations, specification):
        declarations["_classImplements_ordered"](specification)
        # What was declared for an instance may have gone without saying before, and does not now.
        for dependent in list(specification.dependents):
            arguments = (attributes(dependent) or {}).get("_Provides__args")
            if arguments is not None:
                self.attempt(self.set_bases, dependent, arguments[1:], arguments[0])

    def set_bases(self, specification, interfaces, cls):
        specification.__bases__ = tuple(specification._add_interfaces_to_cls(tuple(interfaces), cls))

    def in_order(self, specifications):
        """Bases before what derives from them."""
        waiting = {id(one): one for one in specifications}
        ordered, seen = [], set()

        def visit(one):
            if id(one) not in seen:
                seen.add(id(one))
                for base in slot(one, "_bases", ()):
                    visit(base)
                if id(one) in waiting:
                    ordered.append(one)

        for one in specifications:
            visit(one)
        return ordered

    def refresh(self, registry):
        """What a registry works out from the interfaces that are provided."""
        lookup = registry._v_lookup
        # Aside: who looks something up meanwhile finds what was there, or this.
        probe = object.__new__(type(lookup))
        probe._registry = registry
        probe.init_extendors()
        lookup._extendors = probe._extendors
        registry.changed(registry)

    def rename(self, declarations):
        """Declarations for instances are found by class and interfaces."""
        table = declarations["InstanceDeclarations"]
        for key, specification in list(table.items()):
            fixed = tuple(map(self.live, key))
            if not is_same_items(fixed, key):
                del table[key]
                table.setdefault(fixed, specification)

    def forget(self):
        self.detach()
        made = {id(value) for name, old, new in self.update.pairs for value in list(vars(new).values())}
        made -= self.update.shared
        made.update(self.update.forward)
        for _, declarations in self.packages:
            table = declarations["InstanceDeclarations"]
            for key in list(table.keys()):
                if any(id(part) in made for part in key):
                    self.attempt(table.pop, key, None)


FAMILIES = [Interfaces]
