"""Roots: mappings over the objects of a store, which pickle what is put into them.

Native code keeps the pickles; `source` stands for a branch, a commit or a transaction there. Objects are made and taken
apart here.

Runs as platform code: classes are looked up in the space that calls, and hooks of classes run there.
"""

import collections.abc
import io
from _pickle import Pickler, Unpickler, dumps

PROTOCOL = 5

#: Instances of these never change, so nobody has to look whether they did.
ATOMS = {type(None), bool, int, float, complex, str, bytes}

#: In the place of the digest of a pickle, for what the program put there.
ASSIGNED = object()

#: So many steps of the way to what cannot be pickled are told.
STEPS = 12


class Writer(Pickler):
    """Pickles with references by identity: an instance can have a `persistent_id`."""


class Reader(Unpickler):
    """Unpickles, and knows which class it was looking for when something failed."""

    def __init__(self, data, source, factory):
        super().__init__(io.BytesIO(data))
        self.source = source
        self.factory = factory
        self.wanted = None

    def find_class(self, module, name):
        return self.look_up(module, name, lambda: module)

    def persistent_load(self, reference):
        _, module, name = reference.split(" ", 2)
        return self.look_up(module, name, lambda: locate(self.source, reference))

    def look_up(self, module, name, where):
        found = None if self.factory is None else self.factory(module, name)
        if found is None:
            self.wanted = module, name
            found = super().find_class(where(), name)
            self.wanted = None
        return found


def failure(key, what, **attributes):
    """An error about the object under a key."""
    error = ObjectError(f"the object {shown(key)} {what}")
    error.key = key
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def told(error):
    """An exception in one line."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def way(error):
    """Where in the object something happened that pickling noted, from the inside out."""
    start = "when serializing "
    notes = [note for note in getattr(error, "__notes__", ()) if type(note) is str and note.startswith(start)]
    steps = [note[len(start):] for note in notes]
    if len(steps) > STEPS:
        steps[STEPS // 2:-STEPS // 2] = ["…"]
    return ", in " + " of ".join(steps) if steps else ""


def dump(key, value, references):
    """The pickle of a value."""
    try:
        if references == "name":
            return dumps(value, PROTOCOL)
        buffer = io.BytesIO()
        writer = Writer(buffer, PROTOCOL)
        writer.persistent_id = identifier()
        writer.dump(value)
        return buffer.getvalue()
    except Exception as error:
        raise failure(key, f"cannot be pickled: {told(error)}{way(error)}") from error


def load(key, data, source, factory):
    """The value of a pickle."""
    reader = Reader(data, source, factory)
    try:
        return reader.load()
    except Exception as error:
        if reader.wanted is None or not isinstance(error, (ImportError, AttributeError, LookupError)):
            raise failure(key, f"cannot be unpickled: {told(error)}") from error
        module, name = reader.wanted
        what = f"refers to {shown(name)} of the module {shown(module)}, which is not found here ({told(error)}); "
        if module == "__main__":
            what += "the program that stored it had this itself. Put it into a module, or pass class_factory="
        else:
            what += "make the module importable, attach the space to a store that has it, or pass class_factory="
        raise failure(key, f"{what} to say what to take", module=module, name=name) from error


class Root(collections.abc.MutableMapping):
    """The objects of a branch, by key; or of one commit, to be read.

    Reading makes a new object each time. What is done to it is not stored, but assigning is: at once, in a commit.
    """

    def __init__(self, source, class_factory, references):
        if references not in ("name", "identity"):
            raise ValueError(f"references must be 'name' or 'identity', not {references!r}")
        if class_factory is not None and not callable(class_factory):
            raise TypeError(f"class_factory must be a function, not {type(class_factory).__name__}")
        self._source = source
        self._factory = class_factory
        self._references = references

    def __getitem__(self, key):
        data = get(self._source, key)
        if data is None:
            raise KeyError(key)
        return load(key, data, self._source, self._factory)

    def __setitem__(self, key, value):
        check_key(key)
        change(self._source, {key: dump(key, value, self._references)})

    def __delitem__(self, key):
        change(self._source, {key: None})

    def __contains__(self, key):
        return has(self._source, key)

    def __iter__(self):
        return iter(keys(self._source))

    def __len__(self):
        return count(self._source)

    def __repr__(self):
        return f"<Root of {describe(self._source)}>"

    def update(self, other=(), /, **values):
        """Puts several objects there, in one commit."""
        values = dict(other, **values)
        for key in values:
            check_key(key)
        change(self._source, {key: dump(key, value, self._references) for key, value in values.items()})

    def clear(self):
        """Takes all objects away, in one commit."""
        change(self._source, dict.fromkeys(self))

    def classes(self, key):
        """What an object refers to: triples of module, qualified name and, for references by identity, the identity of the
        module. Nothing is unpickled."""
        return references(self._source, key)

    def copy(self, key, other, new_key=None, *, classes=False):
        """Copies an object to another root or store, as it is stored. With `classes`, the modules that it refers to come
        along, and what these import, as far as they are in this store."""
        new_key = key if new_key is None else new_key
        check_key(new_key)
        target = other._target() if isinstance(other, Root) else other
        copy(self._target(), key, target, new_key, bool(classes))
        if isinstance(other, Root):
            other._replaced(new_key)

    def _target(self):
        """What native code can read, and change."""
        return self._source

    def _replaced(self, key):
        """Forgets what is known of an object that another one took the place of."""


class TransactionRoot(Root):
    """The objects as a transaction sees them. Reading gives the same object each time. When the transaction is committed,
    what was assigned is stored, and of what was read whatever has changed."""

    def __init__(self, *args):
        super().__init__(*args)
        # Objects that the program may have, with the digests of what they were when they were read.
        self._live = {}
        self._is_writing = False

    def __getitem__(self, key):
        check_open(self._source)
        try:
            return self._live[key][0]
        except KeyError:
            pass
        data = get(self._source, key)
        if data is None:
            raise KeyError(key)
        value = load(key, data, self._source, self._factory)
        was = None if type(value) in ATOMS else digest(dump(key, value, self._references))
        # Unpickling may have come here.
        return self._live.setdefault(key, (value, was))[0]

    def __setitem__(self, key, value):
        check_open(self._source)
        check_key(key)
        self._live[key] = value, ASSIGNED

    def __delitem__(self, key):
        if key not in self:
            raise KeyError(key)
        if has(self._source, key):
            change(self._source, {key: None})
        self._live.pop(key, None)

    def __contains__(self, key):
        return has(self._source, key) or key in self._live

    def __iter__(self):
        return iter(sorted({*keys(self._source), *self._live}))

    def __len__(self):
        source = self._source
        new = sum(1 for key, (_, was) in self._live.items() if was is ASSIGNED and not has(source, key))
        return count(source) + new

    def update(self, other=(), /, **values):
        for key, value in dict(other, **values).items():
            self[key] = value

    def clear(self):
        for key in self:
            del self[key]

    def classes(self, key):
        self._write()
        return super().classes(key)

    def _target(self):
        self._write()
        return self._source

    def _replaced(self, key):
        self._live.pop(key, None)

    def _write(self):
        """Gives the transaction what has changed, all of it or nothing."""
        if self._is_writing:
            raise StoreError("the objects of this transaction are being pickled; what is pickled cannot ask for that")
        self._is_writing = True
        try:
            written = {}
            now = {}
            for key, (value, was) in list(self._live.items()):
                if was is None:
                    continue
                data = dump(key, value, self._references)
                now[key] = value, digest(data)
                if was is ASSIGNED or now[key][1] != was:
                    written[key] = data
            change(self._source, written)
            # What pickling has assigned meanwhile comes with the next call.
            for key, (value, _) in now.items():
                if key in self._live and self._live[key][0] is value:
                    self._live[key] = now[key]
        finally:
            self._is_writing = False

    def _forget(self):
        """Lets go of all objects."""
        self._live.clear()


class JoinedRoot(Root):
    """The objects of a branch as each transaction of a transaction manager sees them. The first use in a transaction joins
    it."""

    def __init__(self, store, branch, manager, class_factory, references):
        super().__init__(store, class_factory, references)
        self._branch = branch
        self._manager = manager

    def _root(self):
        transaction = self._manager.get()
        try:
            return transaction.data(self)[1]
        except KeyError:
            pass
        own = self._source.transaction(manager=self._manager, branch=self._branch)
        root = own.root(class_factory=self._factory, references=self._references)
        # With itself: it is known by its address there.
        transaction.set_data(self, (self, root))
        return root

    def __getitem__(self, key):
        return self._root()[key]

    def __setitem__(self, key, value):
        self._root()[key] = value

    def __delitem__(self, key):
        del self._root()[key]

    def __contains__(self, key):
        return key in self._root()

    def __iter__(self):
        return iter(self._root())

    def __len__(self):
        return len(self._root())

    def __repr__(self):
        return f"<Root of {self._branch!r} in {self._source!r}, for {self._manager!r}>"

    def update(self, other=(), /, **values):
        self._root().update(other, **values)

    def clear(self):
        self._root().clear()

    def classes(self, key):
        return self._root().classes(key)

    def _target(self):
        return self._root()._target()

    def _replaced(self, key):
        self._root()._replaced(key)


class DataManager:
    """Takes part in a transaction of PyPI's `transaction` package, for a transaction of a store.

    A store has no state between open and committed: voting commits. So it votes after everybody else, and takes the commit
    back when the whole fails all the same.
    """

    def __init__(self, manager, transaction, message, author):
        self.transaction_manager = manager
        self._transaction = transaction
        self._store = store_of(transaction)
        self._message = message
        self._author = author
        self._voted = None

    def __repr__(self):
        return f"<modspace.DataManager of {self._store!r}>"

    def sortKey(self):
        return f"~modspace:{self._store!r}:{id(self):x}"

    def abort(self, transaction):
        end(self._transaction)

    def tpc_begin(self, transaction):
        pass

    def commit(self, transaction):
        message = self._message
        if message is None:
            message = getattr(transaction, "description", None)
        author = self._author
        if author is None:
            author = getattr(transaction, "user", None)
        prepare(self._transaction, message, author)

    def tpc_vote(self, transaction):
        self._voted = vote(self._transaction)

    def tpc_finish(self, transaction):
        self._voted = None

    def tpc_abort(self, transaction):
        voted, self._voted = self._voted, None
        if voted is None:
            end(self._transaction)
        else:
            take_back(self._store, *voted)

    def savepoint(self):
        return DataManagerSavepoint(self._transaction)

    def should_retry(self, error):
        return isinstance(error, ConflictError)


class DataManagerSavepoint:
    """A moment in a transaction of a store."""

    def __init__(self, transaction):
        self._transaction = transaction
        self._savepoint = transaction.savepoint()

    def rollback(self):
        self._transaction.rollback(self._savepoint)


def join(manager, transaction, message, author):
    """Lets a transaction of a store take part in the manager's current one."""
    if not hasattr(manager, "get"):
        raise TypeError(f"manager must be a transaction manager, such as transaction.manager, not {manager!r}")
    data_manager = DataManager(manager, transaction, message, author)
    try:
        from transaction.interfaces import IRetryDataManager, ISavepointDataManager
        from zope.interface.declarations import Declaration
    except ImportError:
        # Another package with the same protocol.
        pass
    else:
        # On the instance: the class is the same in all spaces, the interfaces are not.
        data_manager.__provides__ = Declaration(ISavepointDataManager, IRetryDataManager)
    manager.get().join(data_manager)


for public in (Root, TransactionRoot, JoinedRoot, DataManager):
    public.__module__ = "modspace"
    public.__name__ = public.__qualname__ = "DataManager" if public is DataManager else "Root"
