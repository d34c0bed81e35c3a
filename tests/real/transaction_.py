"""PyPI's transaction: stores take part in its transactions, beside other data managers."""

import logging
import pathlib
import re
import threading

import modspace
import transaction
from transaction.interfaces import (
    DoomedTransaction, InvalidSavepointRollbackError, IRetryDataManager, ISavepointDataManager, TransactionFailedError,
    TransientError,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

# It reports what data managers raise while it cleans up.
logging.disable(logging.CRITICAL)


class Account:
    def __init__(self, owner):
        self.owner = owner
        self.balance = 0

    def pay(self, amount):
        self.balance += amount


@implementer(ISavepointDataManager)
class Other:
    """Another data manager, which notes what it is asked, and fails where it is told to."""

    transaction_manager = transaction.manager

    def __init__(self, key="other", fails_in=()):
        self.key, self.fails_in, self.calls = key, fails_in, []

    def sortKey(self):
        return self.key

    def __getattr__(self, name):
        if name not in {"abort", "tpc_begin", "commit", "tpc_vote", "tpc_finish", "tpc_abort"}:
            raise AttributeError(name)

        def call(transaction):
            self.calls.append(name)
            if name in self.fails_in:
                raise ValueError(f"fails in {name}")
        return call

    def savepoint(self):
        self.calls.append("savepoint")
        return self

    def rollback(self):
        self.calls.append("rollback")


def joined(**options):
    return store.transaction(manager=transaction.manager, **options)


def raised(kind, function, *args):
    """The exception of this kind that a function raises."""
    try:
        function(*args)
    except kind as error:
        return error
    raise AssertionError(f"{function} did not raise {kind}")


def committed(other):
    """Commits with another data manager; returns what that raised."""
    transaction.get().join(other)
    return raised(ValueError, transaction.commit)


store = modspace.Store.memory()
root = store.root()

# A store's transaction ends with the manager's, which says what the commit says of itself.
with transaction.manager as current:
    current.note("open an account")
    current.setUser("ann", "/bank")
    change = joined()
    change.new("bank", "RATE = 2\n")
    change.root()["ann"] = Account("Ann")
    assert (len(root), store.modules()) == (0, [])
assert (root["ann"].owner, store.modules(), len(store.log())) == ("Ann", ["bank"], 1)
assert (store.log()[0].message, store.log()[0].author) == ("open an account", "/bank ann")
assert "has been committed" in str(raised(modspace.StoreError, change.root))

transaction.begin()
joined(message="mine", author="me").root()["ann"].balance
transaction.get().note("theirs")
joined(message="mine", author="me").root()["bob"] = Account("Bob")
transaction.commit()
assert (store.log()[0].message, store.log()[0].author) == ("mine", "me")
assert len(store.log()) == 2

# It cannot be ended for itself, and `with` leaves that to the manager.
change = joined()
change.root()["ann"].balance = 5
for end in (change.commit, change.abort):
    assert "belongs to a transaction manager" in str(raised(modspace.StoreError, end))
with change:
    pass
assert root["ann"].balance == 0
try:
    with change:
        1 / 0
except ZeroDivisionError:
    pass
transaction.commit()
assert root["ann"].balance == 5

# Aborting forgets everything.
for abort in (transaction.abort, transaction.begin):
    change = joined()
    change.root()["ann"].balance = 6
    change.new("more", "")
    abort()
    assert "has been aborted" in str(raised(modspace.StoreError, change.root))
transaction.doom()
joined().root()["ann"].balance = 6
raised(DoomedTransaction, transaction.commit)
transaction.abort()
assert (root["ann"].balance, store.modules(), len(store.log())) == (5, ["bank"], 3)

# The interfaces of the package are provided, and the class is not marked by them.
other = Other()
joined()
manager, = transaction.get()._resources
assert verifyObject(ISavepointDataManager, manager) and verifyObject(IRetryDataManager, manager)
assert manager.transaction_manager is transaction.manager
assert not [name for name in vars(type(manager)) if name.startswith("__implemented") or name == "__provides__"]
transaction.abort()

# Both phases go to all, in order; the store comes last.
change = joined()
change.root()["ann"].balance = 7
other = Other("zzz")
transaction.get().join(other)
transaction.commit()
assert other.calls == ["tpc_begin", "commit", "tpc_vote", "tpc_finish"] and root["ann"].balance == 7

# Another one fails before the store has voted: the head never moved.
for phase in ("tpc_begin", "commit", "tpc_vote"):
    head = store.head()
    joined().root()["ann"].balance = 8
    assert phase in str(committed(Other("zzz", [phase])))
    raised(TransactionFailedError, transaction.commit)
    transaction.abort()
    assert (store.head(), root["ann"].balance) == (head, 7)

# One that votes even later fails: the head goes back.
for phase in ("tpc_vote", "tpc_finish"):
    head = store.head()
    seen = []
    joined().root()["ann"].balance = 8

    class Late(Other):
        def tpc_vote(self, transaction):
            seen.append(root["ann"].balance)
            if phase == "tpc_vote":
                raise ValueError("fails in tpc_vote")
    assert phase in str(committed(Late("~~", [phase] if phase == "tpc_finish" else [])))
    transaction.abort()
    # In between, the commit can be seen; after `tpc_finish` of the store it stays.
    assert seen == [8], seen
    expected = (head, 7) if phase == "tpc_vote" else (store.log()[0].id, 8)
    assert (store.head(), root["ann"].balance) == expected
    root["ann"] = account = Account("Ann")
    account.balance = 7
    root["ann"] = account

# One that finishes before the store fails in that: the head goes back.
head = store.head()
joined().root()["ann"].balance = 8
committed(Other("aaa", ["tpc_finish"]))
transaction.abort()
assert (store.head(), root["ann"].balance) == (head, 7)

# When somebody else moved on in between, the commit is undone by another one.
head = store.head()
change = joined(author="me")
change.root()["ann"].balance = 8
change.root()["carol"] = 1


class Busy(Other):
    def tpc_vote(self, transaction):
        root["dave"] = 2
        raise ValueError("fails in tpc_vote")


committed(Busy("~~"))
transaction.abort()
assert (root["ann"].balance, "carol" in root, root["dave"]) == (7, False, 2)
assert store.log()[0].message.startswith("undo ") and store.log()[0].author == "me"
assert [commit.id for commit in store.log()].index(head) == 3


# When they changed the same object, the commit stays: nobody's work is lost.
class Rival(Other):
    def tpc_vote(self, transaction):
        root["ann"] = "theirs"
        raise ValueError("fails in tpc_vote")


change = joined()
change.root()["ann"].balance = 8
change.root()["carol"] = 1
committed(Rival("~~"))
transaction.abort()
assert (root["ann"], root["carol"]) == ("theirs", 1)

# The first commit of a branch is taken back to nothing.
store.transaction(manager=transaction.manager, branch="fresh").root()["a"] = 1
committed(Other("~~", ["tpc_vote"]))
transaction.abort()
assert (store.head("fresh"), list(store.branches())) == (None, ["main"])

# A transaction without changes makes no commit, and takes none back.
head = store.head()
joined().root()["ann"]
committed(Other("~~", ["tpc_vote"]))
transaction.abort()
assert store.head() == head

# A conflict aborts everything, and can be tried again.
root["ann"] = Account("Ann")
change = joined()
change.root()["ann"].balance = 1
root["ann"] = "theirs"
other = Other("zzz")
transaction.get().join(other)
conflict = raised(modspace.ConflictError, transaction.commit)
assert conflict.objects == ["ann"] and other.calls == ["tpc_begin", "commit", "tpc_vote", "tpc_abort"]
assert transaction.get().isRetryableError(conflict) and not transaction.get().isRetryableError(ValueError())
transaction.abort()
assert root["ann"] == "theirs"

attempts = []


def pay():
    """Pay"""
    attempts.append(len(attempts))
    mine = joined().root()
    mine["count"] = mine.get("count", 0) + 1
    if len(attempts) < 3:
        root["count"] = 10 * len(attempts)


transaction.manager.run(pay)
assert (attempts, root["count"]) == ([0, 1, 2], 21)
assert store.log()[0].message == "pay\n\nPay"

for attempt in transaction.manager.attempts():
    with attempt:
        mine = joined().root()
        mine["count"] += 1
        if len(attempts) == 3:
            attempts.append(3)
            root["count"] = 100
assert root["count"] == 101
assert not isinstance(conflict, TransientError)

# What cannot be pickled aborts everything, too.
joined().root()["lock"] = threading.Lock()
other = Other("aaa")
transaction.get().join(other)
error = raised(modspace.ObjectError, transaction.commit)
assert error.key == "lock" and other.calls == ["tpc_begin", "commit", "abort", "tpc_abort"], other.calls
transaction.abort()
assert "lock" not in root

# Savepoints.
root["list"] = []
change = joined()
mine = change.root()
mine["list"].append(1)
first = transaction.savepoint()
mine["list"].append(2)
mine["new"] = 1
change.new("temporary", "")
second = transaction.savepoint()
mine["list"].append(3)
second.rollback()
assert (mine["list"], mine["new"], change.modules()) == ([1, 2], 1, ["bank", "temporary"])
first.rollback()
assert (mine["list"], "new" in mine, change.modules()) == ([1], False, ["bank"])
raised(InvalidSavepointRollbackError, second.rollback)
mine["list"].append(4)
transaction.commit()
assert root["list"] == [1, 4]

# Who joins after a savepoint is out of the transaction after going back to it.
savepoint = transaction.savepoint()
late = joined()
late.root()["late"] = 1
savepoint.rollback()
assert "has been aborted" in str(raised(modspace.StoreError, late.root))
transaction.commit()
assert "late" not in root

# A savepoint that fails fails the transaction.
joined().root()["lock"] = threading.Lock()
raised(modspace.ObjectError, transaction.savepoint)
raised(TransactionFailedError, transaction.commit)
transaction.abort()

# A root that belongs to a manager takes part in each of its transactions, as ZODB's does.
zodb = store.root(manager=transaction.manager)
zodb["list"].append(5)
assert zodb["list"] is zodb["list"] and root["list"] == [1, 4]
transaction.commit()
assert root["list"] == [1, 4, 5]
zodb["list"].append(6)
transaction.abort()
assert zodb["list"] == [1, 4, 5] and "missing" not in zodb
del zodb["list"]
savepoint = transaction.savepoint()
zodb["list"] = "again"
savepoint.rollback()
assert "list" not in zodb
transaction.abort()
zodb.update(a=1, b=2)
zodb.copy("a", zodb, "c")
transaction.commit()
assert (root["a"], root["b"], root["c"], sorted(zodb)) == (1, 2, 1, sorted(root))
transaction.abort()

# A manager of one's own, and each thread with its own transaction.
own = transaction.TransactionManager(explicit=True)
raised(transaction.interfaces.NoTransaction, lambda: store.transaction(manager=own))
own.begin()
store.transaction(manager=own).root()["own"] = 1
joined().root()["a"] = "aborted"
own.commit()
transaction.abort()
assert (root["own"], root["a"]) == (1, 1)
own.begin()
change = store.transaction(manager=own)
change.root()["own"] = 2
failure = []
thread = threading.Thread(target=lambda: failure.append(raised(modspace.StoreError, own.commit)))
thread.start()
thread.join()
assert "another thread" in str(failure[0])


def work(number):
    with transaction.manager:
        joined().root()[f"thread {number}"] = number


threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert [root[f"thread {number}"] for number in range(4)] == [0, 1, 2, 3]

for wrong in ("transaction", transaction.commit):
    assert "must be a transaction manager" in str(raised(TypeError, lambda: store.transaction(manager=wrong)))

# Two stores in one transaction.
second = modspace.Store.memory()
joined().root()["both"] = 1
second.transaction(manager=transaction.manager).root()["both"] = 1
transaction.commit()
assert (root["both"], second.root()["both"]) == (1, 1)

# The example in the documentation.
text = pathlib.Path(__file__).parents[2].joinpath("docs", "objects.md").read_text()
example, = re.findall("^```python\n(import transaction\n.*?)^```$", text, re.DOTALL | re.MULTILINE)
documented = modspace.Store.memory()
exec(example, {"store": documented, "source": "RATE = 1\n", "Account": Account})
assert [commit.message for commit in documented.log()] == ["", "open an account"]
assert (documented.root()["ann"].balance, documented.modules()) == (5, ["bank"])

print("ok: transaction", len(store.log()), "commits")
