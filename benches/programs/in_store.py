"""What stores and updates cost in modspace. Prints the figures as JSON.

    modspace run benches/programs/in_store.py DIRECTORY
"""

import json
import os
import sqlite3
import statistics
import sys
import time

import modspace
from modspace import ModuleSpace, Store

import common
import store_sources

COUNT = 10_000
directory = sys.argv[1]
path = os.path.join(directory, "app.store")
figures = {}


def name(number):
    return f"pkg{number % 100}.m{number}"


def ask(question):
    """What an SQL question about the file of the store has for an answer."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(question).fetchone()[0]
    finally:
        connection.close()


# A commit of one changed module among ten thousand.
store = Store.open(path)
start = time.perf_counter()
with store.transaction(message="all") as change:
    for number in range(COUNT):
        change.new(name(number), f"VALUE = {number}\n")
figures["commit all"] = time.perf_counter() - start

BYTES = "SELECT sum(length(bytes)) FROM records"
watching = sqlite3.connect(path)  # who has it open keeps the log from being moved into the file
watching.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
before = ask(BYTES)
store.update_module(name(4242), "VALUE = 'another'\n")
figures["records"] = ask(BYTES) - before
figures["log"] = os.path.getsize(path + "-wal")
watching.close()

rounds = iter(range(10**9))


def commit_one():
    number = next(rounds)
    store.update_module(name(number * 37 % COUNT), f"VALUE = 'round {number}'\n")


# A bare commit of as many bytes, beside it.
bare = sqlite3.connect(os.path.join(directory, "bare.sqlite"), isolation_level=None)
bare.execute("PRAGMA journal_mode = WAL").fetchone()
bare.execute("PRAGMA synchronous = FULL")
bare.execute("CREATE TABLE records (id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID")


def commit_bare():
    bare.execute("BEGIN IMMEDIATE")
    bare.execute("INSERT INTO records VALUES (?, ?)", (os.urandom(32), os.urandom(figures["records"])))
    bare.execute("COMMIT")


# By turns: how long the disk takes changes from one second to the next.
commit_one(), commit_bare()
pairs = [(common.best(commit_one, repeat=1), common.best(commit_bare, repeat=1)) for _ in range(200)]
figures["commit"], figures["bare here"] = (statistics.median(times) for times in zip(*pairs))
bare.close()

# Attaching to it: a space that has imported something, and one that has not, and gets its import system with that.
for what, imports in (("attach", True), ("attach first", False)):
    spaces = [ModuleSpace() for _ in range(20)]
    for space in spaces:
        if imports:
            space.import_("marshal")
    waiting = iter(spaces)
    figures[what] = common.best(lambda: next(waiting).attach(store), repeat=20)
    for space in spaces:
        space.discard()

# Importing from it, and from files: modules of five hundred lines, compiled for the first time and again.
IMPORTS = 12
files = os.path.join(directory, "files")
os.mkdir(files)
with store.transaction() as change:
    for number in range(IMPORTS):
        source = store_sources.module(number)
        change.new(f"stored{number}", source)
        with open(os.path.join(files, f"filed{number}.py"), "w") as file:
            file.write(source)


def import_all(kind, prepare):
    """Seconds for one module, in a new space."""
    space = ModuleSpace()
    prepare(space)
    space.import_("json")  # what the importing itself needs is there
    start = time.perf_counter()
    for number in range(IMPORTS):
        space.import_(f"{kind}{number}")
    figure = (time.perf_counter() - start) / IMPORTS
    space.discard()
    return figure


ways = {"stored": lambda space: space.attach(store), "filed": lambda space: space.sys.path.insert(0, files)}
for kind, prepare in ways.items():
    figures[f"{kind} first"] = import_all(kind, prepare)
for kind, prepare in ways.items():
    figures[f"{kind} again"] = min(import_all(kind, prepare) for _ in range(3))

# Applying an update of a module of five hundred lines, and executing it.
small = Store.memory()
small.new_module("big", store_sources.module(0))
space = ModuleSpace()
space.attach(small)
big = space.import_("big")
instances = [big.Record0(str(number)) for number in range(100)]
versions = iter(range(1, 10**9))
applying, whole, executing, compiling = [], [], [], []
for _ in range(12):
    version = next(versions)
    source = store_sources.module(version)
    small.update_module("big", source)
    start = time.perf_counter()
    report = space.sync()
    whole.append(time.perf_counter() - start)
    applying.append(report.duration)
    assert big.VERSION == version and instances[0].version() == version
    # As new to this process as the source was to the space.
    source = source.replace("VERSION =", "VERSION=")
    start = time.perf_counter()
    code = compile(source, "big.py", "exec")
    compiling.append(time.perf_counter() - start)
    start = time.perf_counter()
    exec(code, {"__name__": "big"})
    executing.append(time.perf_counter() - start)
figures["update"] = min(whole)
figures["update, as reported"] = min(applying)
figures["compile"], figures["execute"] = min(compiling), min(executing)
one_line = []
for _ in range(12):
    small.update_module("big", source + f"\nEXTRA = {next(versions)}\n")
    start = time.perf_counter()
    space.sync()
    one_line.append(time.perf_counter() - start)
figures["update of one line"] = min(one_line)
print(json.dumps(figures))
