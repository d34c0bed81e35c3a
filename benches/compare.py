#!/usr/bin/env python3
"""Runs modspace and its peers one after the other and prints a table of ratios.

    cargo build --release --ignore-rust-version --bins --examples
    cargo bench --ignore-rust-version
    python3 benches/compare.py

Figures of one run on one machine are comparable, those of two are not: read the ratios. A peer that is not installed is
left out. CPython is the newest python3.N on the path that has subinterpreters.
"""

import json
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = os.path.join(ROOT, "benches", "programs")
RELEASE = os.path.join(ROOT, "target", "release")


def output(*command):
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def process(*command, repeat=7):
    """Seconds of the fastest run of a whole process."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def criterion(name):
    """Seconds that `cargo bench` measured, if it was run."""
    file = os.path.join(ROOT, "target", "criterion", name, "new", "estimates.json")
    try:
        with open(file) as text:
            return json.load(text)["median"]["point_estimate"] / 1e9
    except FileNotFoundError:
        return None


def cpython():
    names = [f"python3.{minor}" for minor in range(15, 12, -1)]
    found = [shutil.which(name) for name in names] + [os.environ.get("CPYTHON")]
    for program in filter(None, found):
        if subprocess.run([program, "-c", "import _interpreters"], capture_output=True).returncode == 0:
            return program
    return None


def seconds(value):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


rows = []


def row(what, value, show=seconds, target=None, met=None, **peers):
    ratios = [f"{name.replace('_', ' ')} {show(peer)} (×{peer / value:.3g})" for name, peer in peers.items() if peer]
    verdict = "" if met is None else "yes" if met else "NO"
    rows.append((what, show(value), target or "", verdict, ", ".join(ratios)))


modspace = os.path.join(RELEASE, "modspace")
plain_program = os.path.join(RELEASE, "examples", "plain")
for program in (modspace, plain_program):
    if not os.path.exists(program):
        sys.exit(f"{program} is missing; see the first lines of {sys.argv[0]}")

default = output(modspace, "run", os.path.join(PROGRAMS, "in_spaces.py"), "default")
fresh = output(modspace, "run", os.path.join(PROGRAMS, "in_spaces.py"), "fresh")
plain = output(plain_program, os.path.join(PROGRAMS, "in_plain.py"))
python = cpython()
peer = output(python, os.path.join(PROGRAMS, "in_plain.py")) if python else {}
node = output("node", os.path.join(PROGRAMS, "contexts.js")) if shutil.which("node") else {}
FOUR = "import logging, unittest, asyncio, json"
cpython_process = process(python, "-c", "pass") if python else None
cpython_process_four = process(python, "-c", FOUR) if python else None
version = subprocess.run([python, "--version"], capture_output=True, text=True).stdout.strip() if python else "no CPython"

bare = default["bare"]
row(
    "bare space, created and dropped", bare, target="< 50 µs, 100× CPython",
    met=bare < 50e-6 and ("subinterpreter" not in peer or peer["subinterpreter"] / bare >= 100),
    CPython_subinterpreter=peer.get("subinterpreter"), CPython_process=cpython_process,
    RustPython_subinterpreter=plain.get("subinterpreter"), Node_context=node.get("context"),
)
row(
    "four imports in a second space", default["four second"], target="< 60 ms", met=default["four second"] < 60e-3,
    first_space=default["four first"], plain=plain["four first"],
    CPython_subinterpreter=peer.get("subinterpreter four"), CPython_process=cpython_process_four,
)
row(
    'the same with fresh="*"', fresh["four second"], target="≤ 0.8 of the first",
    met=fresh["four second"] <= 0.8 * fresh["four first"], first_space=fresh["four first"],
)
row("import of a loaded module", default["import"], target="≤ plain", met=default["import"] <= plain["import"] * 1.05,
    plain=plain["import"], CPython=peer.get("import"))
row("a loop in cached code", default["cached arithmetic"], target="≤ uncached",
    met=default["cached arithmetic"] <= default["uncached arithmetic"] * 1.05,
    uncached=default["uncached arithmetic"], plain=plain["uncached arithmetic"], CPython=peer.get("uncached arithmetic"))
if entering := criterion("enter a space"):
    row("entering a space from Rust", entering, target="< 300 ns", met=entering < 300e-9)
row("memory of a bare space", default["bytes"], show=lambda value: f"{value / 1024:.1f} KiB", target="< 40 KB",
    met=default["bytes"] < 40_000)
factor = "{:.2f}× of one alone".format
row("arithmetic in two spaces on two threads", default["arithmetic on two threads"], show=factor,
    target="1× within noise", met=default["arithmetic on two threads"] < 1.15)
row("allocation in two spaces on two threads", default["allocation on two threads"], show=factor, target="as it is")

print(f"modspace beside the plain interpreter of the same build and {version}\n")
widths = [max(len(line[column]) for line in rows) for column in range(4)]
for line in rows:
    print("  ".join(text.ljust(width) for text, width in zip(line, widths)) + "  " + line[4])
