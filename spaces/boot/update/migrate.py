"""Instances of classes that are updated are converted: at once, or before somebody first touches them.

A class's hook is its `__modspace_migrate__(self, old)`; others are registered for it. Each class that defines a hook converts
what itself has changed, in its own instances and in those of all that derives from it, with what it had before in `old`.
The instances are those that there are when all threads stand still for the change: native code lists them.

Lazily means: while there are instances to be converted, the class has a `__getattribute__`, `__setattr__` and `__delattr__`
of this module, which see to that first. They go with the last instance.

Runs as platform code, once for the whole process: what keeps two threads from converting one instance must be one.
"""

import functools
import threading
import types
import weakref

HOOK, LAZILY = "__modspace_migrate__", "__modspace_migrate_lazily__"
TRAPS = "__getattribute__", "__setattr__", "__delattr__"

heap_type = 1 << 9

#: Guards what is below, and everything in `Pending`.
turn = threading.Condition()

#: Which thread converts an instance, for a class; and for which one a thread waits.
moving, blocked = {}, {}


class Entry:
    """An instance that is to be converted, with what has to be done, oldest first."""

    __slots__ = "reference", "steps"

    def __init__(self, reference):
        self.reference = reference
        self.steps = []


class Pending:
    """The instances of a class, and of what derives from it, that are to be converted when they are touched."""

    def __init__(self, cls):
        self.cls = cls
        self.entries = {}
        #: Updates whose instances are listed, or are about to be.
        self.listed = []
        self.traps = traps(self)

    def take(self):
        """Enters the instances that were listed. Those that nobody would notice being touched stay in the list."""
        with turn:
            for migration in [one for one in self.listed if one.is_ready and one.found]:
                # What the list begins with says that it is one.
                instances, migration.found[1:] = migration.found[1:], []
                steps = [(migration.own_hook() if hook is None else hook, migration.old) for hook in migration.lazily]
                for instance in instances:
                    if not self.enter(instance, steps):
                        migration.found.append(instance)
                        migration.left = steps
                # Now: others ask without waiting whether there is something to take.
                self.listed.remove(migration)

    def enter(self, instance, steps):
        key = id(instance)
        entry = self.entries.get(key)
        if entry is None or entry.reference() is not instance:
            if not self.is_noticed(type(instance)):
                return False
            try:
                # Without a reference from the callback to this object, which the collector would not see.
                entry = Entry(weakref.ref(instance, functools.partial(gone, weakref.ref(self), key)))
            except TypeError:
                return False
            self.entries[key] = entry
        entry.steps.extend(steps)
        return True

    def is_noticed(self, kind):
        """Whether the class's traps are asked before anything else, for instances of `kind`."""
        for cls in kind.__mro__:
            if cls is self.cls:
                return True
            if any(name in vars(cls) and pending_of(cls) is None for name in TRAPS):
                return False
        return False

    def settle(self, instance):
        """Converts the instance, if that is to be done; when another thread is about it, it is done afterwards."""
        if self.listed:
            self.take()
        key, thread = id(instance), threading.get_ident()
        if key not in self.entries:
            return
        place = id(self), key
        with turn:
            while True:
                entry = self.entries.get(key)
                if entry is None or entry.reference() is not instance:
                    return
                if place not in moving:
                    break
                # The hook touches its instance, or waits for what this thread does.
                if leads_to(moving[place], thread):
                    return
                blocked[thread] = place
                try:
                    turn.wait()
                finally:
                    del blocked[thread]
            moving[place] = thread
        try:
            while entry.steps:
                hook, old = entry.steps[0]
                hook(instance, old)
                entry.steps.pop(0)
        except AttributeError as error:
            # It would be taken for a missing attribute of the instance.
            raise RuntimeError(f"the migration of an instance of {type(instance).__qualname__} failed: {error}") from error
        finally:
            with turn:
                del moving[place]
                if not entry.steps:
                    self.entries.pop(key, None)
                turn.notify_all()
        if entry.steps:
            # Of an update that came meanwhile.
            self.settle(instance)
        else:
            self.tidy()

    def tidy(self):
        """Takes the traps away when there is nothing left to do."""
        with turn:
            if self.entries or self.listed:
                return
            for name, trap in self.traps.items():
                if vars(self.cls).get(name) is trap:
                    type.__delattr__(self.cls, name)

    def rest(self):
        """The instances that are left."""
        with turn:
            found = [entry.reference() for entry in self.entries.values()]
        return [instance for instance in found if instance is not None]


def gone(pending, key, reference):
    """An instance is gone that was not touched again."""
    pending = pending()
    if pending is not None:
        entry = pending.entries.get(key)
        if entry is not None and entry.reference is reference:
            pending.entries.pop(key, None)
            if not pending.entries and turn.acquire(False):
                try:
                    pending.tidy()
                finally:
                    turn.release()


def leads_to(thread, wanted):
    """Whether a thread is `wanted`, or waits for it to convert something."""
    while thread != wanted:
        thread = moving.get(blocked.get(thread))
        if thread is None:
            return False
    return True


def traps(pending):
    """What a class has while instances of it are to be converted."""
    cls = pending.cls

    def __getattribute__(self, name):
        pending.settle(self)
        return super(cls, self).__getattribute__(name)

    def __setattr__(self, name, value):
        pending.settle(self)
        super(cls, self).__setattr__(name, value)

    def __delattr__(self, name):
        pending.settle(self)
        super(cls, self).__delattr__(name)

    found = {trap.__name__: trap for trap in (__getattribute__, __setattr__, __delattr__)}
    for trap in found.values():
        trap.__modspace_pending__ = pending
    return found


def pending_of(cls):
    """What a class still has to do, if it has traps."""
    for name in TRAPS:
        pending = getattr(vars(cls).get(name), "__modspace_pending__", None)
        if type(pending) is Pending:
            return pending
    return None


class Migration:
    """What has to be done for the instances of one class in one update."""

    def __init__(self, cls, path, hooks, old):
        self.cls = cls
        self.path = path
        self.old = old
        #: Hooks; None stands for the class's own. What comes after a lazy one is lazy, too.
        lazy = next((index for index, (hook, is_lazy) in enumerate(hooks) if is_lazy), len(hooks))
        self.at_once = [hook for hook, _ in hooks[:lazy]]
        self.lazily = [hook for hook, _ in hooks[lazy:]]
        #: Native code fills it.
        self.found = []
        #: Steps for instances that are to be converted at once after all.
        self.left = []
        self.is_ready = not self.at_once
        self.pending = None
        self.hook = None

    def own_hook(self):
        """The class's own hook, as it is now: its function takes other code with the next update."""
        if self.hook is None:
            hook = vars(self.cls).get(HOOK)
            if type(hook) is types.FunctionType:
                copy = types.FunctionType(
                    hook.__code__.replace(), hook.__globals__, hook.__name__, hook.__defaults__, hook.__closure__,
                )
                copy.__kwdefaults__ = hook.__kwdefaults__
                copy.__qualname__, copy.__module__ = hook.__qualname__, hook.__module__
                self.hook = copy
            else:
                cls = self.cls
                self.hook = lambda instance, old: getattr(cls, HOOK)(instance, old)
        return self.hook


def is_changed(update, path):
    """Whether the plan has something to do for a class."""
    return any(
        kind != "note" and (name == path or name.startswith(f"{path}.")) for kind, name, detail in update.report
    )


def prepare(update, registered):
    """What has to be migrated, and what has to be changed for that. `registered` has tuples of class, hook, and whether it
    is lazy."""
    migrations, changes = [], []
    # A hook of its own makes a class one that native code does not settle.
    for cls, new, path in update.all_classes() if registered else update.classes:
        name = f"{vars(cls).get('__module__')}.{cls.__qualname__}"
        after = vars(new)
        hooks = [(hook, is_lazy) for known, hook, is_lazy in registered if known == name]
        if HOOK in after:
            hooks.insert(0, (None, after.get(LAZILY) is True))
        pending = pending_of(cls)
        is_own = any(trap in after for trap in TRAPS)
        if pending is not None and is_own:
            # Its traps go with this update.
            migration = Migration(cls, path, [], None)
            migration.pending = pending
            migrations.append(migration)
        if not hooks or not is_changed(update, path):
            continue
        if is_own or issubclass(cls, type):
            hooks = [(hook, False) for hook, _ in hooks]
        old = {key: value for key, value in vars(cls).items() if not hasattr(value, "__modspace_pending__")}
        migration = Migration(cls, path, hooks, types.MappingProxyType(old))
        migrations.append(migration)
        if migration.lazily:
            migration.pending = pending or Pending(cls)
            with turn:
                migration.pending.listed.append(migration)
            # Set also when they are there: the last instance may just be touched.
            changes += [("class", cls, trap, function) for trap, function in migration.pending.traps.items()]
    # A base before what derives from it.
    migrations.sort(key=lambda migration: len(migration.cls.__mro__))
    return migrations, changes


def cancel(migrations):
    """The update was not made."""
    for migration in migrations:
        if migration.pending is not None:
            with turn:
                if migration in migration.pending.listed:
                    migration.pending.listed.remove(migration)
            migration.pending.tidy()


def finish(migrations, unraisable):
    """Migrates what is to be migrated at once."""

    def call(hook, instance, old):
        try:
            hook(instance, old)
        except Exception as error:
            unraisable(error, hook)

    for migration in migrations:
        pending = migration.pending
        if migration.old is None:
            for instance in pending.rest():
                try:
                    pending.settle(instance)
                except Exception as error:
                    unraisable(error, pending.settle)
            continue
        if migration.at_once:
            for instance in migration.found[1:]:
                for hook in migration.at_once:
                    call(hook or migration.own_hook(), instance, migration.old)
            migration.is_ready = True
        if pending is not None:
            pending.take()
            for instance in migration.found[1:]:
                for hook, old in migration.left:
                    call(hook, instance, old)
            pending.tidy()
        migration.found.clear()
