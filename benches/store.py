#!/usr/bin/env python3
"""Measures stores and updates in place, and prints a table with targets and peers.

    cargo build --release --ignore-rust-version --bins
    python3 benches/store.py

Figures of one run on one machine are comparable, those of two are not: read the ratios. The directory of the store is on
the disk where TMPDIR is; on one in memory, a commit costs less than it should. IPython's autoreload is left out where
IPython is not installed.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = os.path.join(ROOT, "benches", "programs")
sys.dont_write_bytecode = True
sys.path.insert(0, PROGRAMS)

import store_sources

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--modspace", metavar="PATH", default=os.path.join(ROOT, "target", "release", "modspace"),
                    help="the program; the release build unless given")
parser.add_argument("--wait", type=float, default=5, metavar="SECONDS", help="how long a process waits; 5 unless given")
options = parser.parse_args()
if not os.path.exists(options.modspace):
    sys.exit(f"{options.modspace} is missing; see the first lines of {sys.argv[0]}")
modspace = os.path.abspath(options.modspace)
environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
environment["PYTHONDONTWRITEBYTECODE"] = "1"


def output(*command):
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def bare_commit(directory, count, repeat=60):
    """Seconds of a commit of so many bytes, by CPython's sqlite3: the median."""
    file = sqlite3.connect(os.path.join(directory, "cpython.sqlite"), isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL").fetchone()
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE records (id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID")
    times = []
    for _ in range(repeat):
        key, value = os.urandom(32), os.urandom(count)
        start = time.perf_counter()
        file.execute("BEGIN IMMEDIATE")
        file.execute("INSERT INTO records VALUES (?, ?)", (key, value))
        file.execute("COMMIT")
        times.append(time.perf_counter() - start)
    file.close()
    return statistics.median(times)


def heard(directory, rounds=20):
    """Seconds until another process has a commit, of each of some; and its processor time while it waits."""
    path = os.path.join(directory, "heard.store")
    source = "import time\nNUMBER = {}\nSEEN = time.time()\n"
    commits = f"""if True:
        import json, sys, time, modspace
        store = modspace.Store.open({path!r})
        for line in sys.stdin:
            store.update_module("signal_", {source!r}.format(int(line)))
            print(time.time(), flush=True)
        """
    make = f"import modspace; modspace.Store.open({path!r}).new_module('signal_', {source.format(0)!r})"
    subprocess.run([modspace, "run", "-c", make], check=True, env=environment)

    def start(*command):
        return subprocess.Popen([modspace, "run", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                env=environment)

    def ask(process, line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline()

    waits = start(os.path.join(PROGRAMS, "store_waits.py"), path, str(options.wait))
    assert waits.stdout.readline() == "ready\n"
    writes = start("-c", commits)
    times = []
    for number in range(1, rounds + 1):
        committed = float(ask(writes, str(number)))
        time.sleep(0.2)
        seen = json.loads(ask(waits, "look"))
        if seen["number"] != number:
            sys.exit(f"the other process has {seen['number']} 0.2 s after {number} was committed")
        times.append(seen["seen"] - committed)
    processor = json.loads(ask(waits, "wait"))["processor"]
    for process in (waits, writes):
        process.stdin.close()
        process.wait()
    return times, processor


RELOAD = """if True:
    import importlib, json, os, sys, time
    sys.dont_write_bytecode = True
    sys.path[:0] = [{directory!r}, {programs!r}]
    import store_sources
    path = os.path.join({directory!r}, "big.py")
    def write(version):
        with open(path, "w") as file:
            file.write(store_sources.module(version))
        os.utime(path, (1e9 + version, 1e9 + version))
    write(0)
    import big
    {prepare}
    times, executing = [], []
    for version in range(1, 13):
        write(version)
        importlib.invalidate_caches()
        start = time.perf_counter()
        {update}
        times.append(time.perf_counter() - start)
        assert big.VERSION == version, (big.VERSION, version)
        code = compile(store_sources.module(version), "big.py", "exec")
        start = time.perf_counter()
        exec(code, {{"__name__": "big"}})
        executing.append(time.perf_counter() - start)
    print(json.dumps({{"update": min(times), "execute": min(executing)}}))
"""
AUTORELOAD = """from IPython.extensions.autoreload import ModuleReloader
    reloader = ModuleReloader()
    reloader.check_all = True
    reloader.enabled = True
    reloader.check()"""


def in_cpython(directory, prepare, update):
    """Seconds of the fastest update, and of executing the module; None where it does not run."""
    program = RELOAD.format(directory=directory, programs=PROGRAMS, prepare=prepare, update=update)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if run.returncode:
        print(f"left out: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(run.stdout.splitlines()[-1])


def seconds(value):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if abs(value) * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def size(value):
    return f"{value / 1024:.1f} KiB"


rows = []


def row(what, value, show=seconds, target=None, met=None, of=None, **peers):
    """A line of the table. `of` is the name and the figure of what the target is a multiple of."""
    ratios = [f"{name.replace('_', ' ')} {show(peer)} (×{peer / value:.3g})" for name, peer in peers.items() if peer]
    verdict = "" if met is None else "yes" if met else "NO"
    times = f" ({value / of[1]:.2f}× of {of[0]})" if of else ""
    rows.append((what, show(value) + times, target or "", verdict, ", ".join(ratios)))


with tempfile.TemporaryDirectory() as directory:
    ours = output(modspace, "run", os.path.join(PROGRAMS, "in_store.py"), directory)
    used, attached, loaded = (
        output(modspace, "run", os.path.join(PROGRAMS, "store_memory.py"), os.path.join(directory, "app.store"), kind)
        for kind in ("used", "attached", "loaded")
    )
    bare = bare_commit(directory, ours["records"])
    times, processor = heard(directory)
    reload = in_cpython(directory, "", "importlib.reload(big)")
    autoreload = in_cpython(directory, AUTORELOAD, "reloader.check()")

row("records of a commit of one module among 10,000", ours["records"], show=size, target="< 10 KB",
    met=ours["records"] < 10_000)
row("log of it", ours["log"], show=size, target="< 64 KB", met=ours["log"] < 64_000)
row("that commit", ours["commit"], target="< 3× of bare SQLite", met=ours["commit"] < 3 * ours["bare here"],
    of=("bare SQLite", ours["bare here"]), bare_SQLite=ours["bare here"], bare_SQLite_in_CPython=bare)
row("a commit of 10,000 new modules", ours["commit all"], target="as it is")
row("attaching to 10,000 modules", ours["attach"], target="< 1 ms", met=ours["attach"] < 1e-3)
row("the same as the first thing that a space does", ours["attach first"], target="as it is")
for what, figure in (("import of 500 lines, compiled", "first"), ("the same in another space", "again")):
    stored, filed = ours[f"stored {figure}"], ours[f"filed {figure}"]
    row(what, stored, target="≤ from a file, within noise", met=stored <= 1.1 * filed, of=("a file", filed), file=filed)
executed, compiled = ours["execute"], ours["compile"]
row("update of 500 lines, all of them", ours["update"], target="< 5× of executing (compiled anew)",
    met=ours["update"] < 5 * (executed + compiled), of=("compile and execute", executed + compiled),
    reload=reload and reload["update"], autoreload=autoreload and autoreload["update"])
row("the same against cached code", ours["update"], target="as it is", of=("execute", executed), execute=executed,
    CPython_executes=reload and reload["execute"])
row("update of 500 lines, one of them", ours["update of one line"], target="as it is",
    of=("compile and execute", executed + compiled))
times.sort()
row("another process has a commit", times[len(times) // 2], target="< 20 ms to hear, median",
    met=times[len(times) // 2] < 20e-3, slowest=times[-1])
row(f"processor time of waiting {options.wait:g} s", processor, target="no spinning: < 1 %",
    met=processor < 0.01 * options.wait)
row("memory of an attached space", attached, show=size, target="as it is", of=("one that is not", used), not_attached=used,
    with_a_module=loaded)

print(f"stores and updates of {os.path.relpath(modspace, ROOT)}, beside CPython {sys.version.split()[0]}\n")
widths = [max(len(line[column]) for line in rows) for column in range(4)]
for line in rows:
    print("  ".join(text.ljust(width) for text, width in zip(line, widths)) + "  " + line[4])
