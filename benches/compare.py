#!/usr/bin/env python3
"""Runs modspace and its peers one after the other and prints a table of ratios.

    cargo build --release --ignore-rust-version --bins --examples
    cargo bench --ignore-rust-version
    python3 benches/compare.py

Figures of one run on one machine are comparable, those of two are not: read the ratios. A peer that is not installed is
left out. CPython is the newest python3.N on the path that has subinterpreters, or the program that CPYTHON names.

With --soak it then makes, uses and discards 2000 spaces for each program in tests/soak, which takes long, and ends with
status 1 if anything stays behind. The packages that they need are there once `cargo test` has run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = os.path.join(ROOT, "benches", "programs")
RELEASE = os.path.join(ROOT, "target", "release")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--soak", nargs="?", type=int, const=2000, metavar="ROUNDS", help="2000 unless given")
options = parser.parse_args()


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


LOADERS = """
import java.io.File;
import java.net.URL;
import java.net.URLClassLoader;

class Loaders {
    static final int COUNT = 200;

    public static void main(String[] args) throws Exception {
        URL[] path = {new File(args[0]).toURI().toURL()};
        double best = Double.POSITIVE_INFINITY;
        for (int round = 0; round < 30; round++) {
            long start = System.nanoTime();
            for (int number = 0; number < COUNT; number++) {
                try (URLClassLoader loader = new URLClassLoader(path)) {
                    if (Class.forName("Loaded", true, loader).getClassLoader() != loader) {
                        throw new IllegalStateException("another loader has the class");
                    }
                }
            }
            best = Math.min(best, (System.nanoTime() - start) / 1e9 / COUNT);
        }
        System.out.println("{\\"loader\\": " + best + "}");
    }
}
"""


def jvm():
    """Seconds that Java takes to make a class loader, to load one class with it and to close it, if there is a JDK."""
    programs = [shutil.which(name) for name in ("java", "javac")]
    # Some systems have programs of these names that only say where to get Java.
    if not all(program and subprocess.run([program, "-version"], capture_output=True).returncode == 0
               for program in programs):
        return None
    java, javac = programs
    with tempfile.TemporaryDirectory() as directory:
        # Apart, so that the program's own class loader does not find the class that is to be loaded.
        loaded = "public class Loaded { static int number = 1; }"
        for part, name, source in (("program", "Loaders", LOADERS), ("path", "Loaded", loaded)):
            file = os.path.join(directory, part, f"{name}.java")
            os.mkdir(os.path.dirname(file))
            with open(file, "w") as text:
                text.write(source)
            subprocess.run([javac, file], check=True)
        return output(java, "-cp", os.path.join(directory, "program"), "Loaders", os.path.join(directory, "path"))


def soak(rounds):
    """Runs tests/soak with so many rounds and prints what it says. Returns whether nothing stayed behind."""
    tests = os.path.join(ROOT, "tests", "soak")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment.pop("MODSPACE_LOG", None)
    environment.update(PYTHONDONTWRITEBYTECODE="1", SOAK_TESTS=os.path.join(tests, "test_sample.py"))
    flat = True
    for program, packages, fresh in (
        ("library", None, []), ("library", None, ["*"]), ("flask_", "flask", []), ("jinja2_", "jinja2", []),
        ("pytest_", "pytest", []),
    ):
        path = packages and os.path.join(ROOT, "target", "packages", packages)
        if path and not os.path.isdir(path):
            print(f"{program}: left out, {path} is missing", flush=True)
            continue
        command = [modspace, "run", *(("--path", path) if path else ()), os.path.join(tests, "soak.py"), str(rounds),
                   os.path.join(tests, f"{program}.py"), *fresh]
        start = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        taken = seconds((time.perf_counter() - start) / rounds)
        said = run.stdout.splitlines()[-2:] or [f"{program} {fresh or 'default'}"]
        if run.returncode == 0:
            print("; ".join(said) + f"; {taken} each", flush=True)
        else:
            flat = False
            print("; ".join(said) + f"; FAILED\n{run.stderr}", end="", flush=True)
    return flat


def seconds(value):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


rows = []


def row(what, value, show=seconds, target=None, met=None, of=None, **peers):
    """A line of the table. `of` is the name and the figure of what the target is a multiple of."""
    ratios = [f"{name.replace('_', ' ')} {show(peer)} (×{peer / value:.3g})" for name, peer in peers.items() if peer]
    verdict = "" if met is None else "yes" if met else "NO"
    times = f" ({value / of[1]:.2f}× of {of[0]})" if of else ""
    rows.append((what, show(value) + times, target or "", verdict, ", ".join(ratios)))


modspace = os.path.join(RELEASE, "modspace")
plain_program = os.path.join(RELEASE, "examples", "plain")
for program in (modspace, plain_program):
    if not os.path.exists(program):
        sys.exit(f"{program} is missing; see the first lines of {sys.argv[0]}")

default = output(modspace, "run", os.path.join(PROGRAMS, "in_spaces.py"), "default")
fresh = output(modspace, "run", os.path.join(PROGRAMS, "in_spaces.py"), "fresh")
discards, fresh_discards = (
    output(modspace, "run", os.path.join(PROGRAMS, "discards.py"), policy) for policy in ("default", "fresh")
)
reloads = output(modspace, "run", os.path.join(PROGRAMS, "reloads.py"))
plain = output(plain_program, os.path.join(PROGRAMS, "in_plain.py"))
python = cpython()
peer = output(python, os.path.join(PROGRAMS, "in_plain.py")) if python else {}
node = output("node", os.path.join(PROGRAMS, "contexts.js")) if shutil.which("node") else {}
java = jvm()
FOUR = "import logging, unittest, asyncio, json"
cpython_process = process(python, "-c", "pass") if python else None
cpython_process_four = process(python, "-c", FOUR) if python else None
version = subprocess.run([python, "--version"], capture_output=True, text=True).stdout.strip() if python else "no CPython"

bare = default["bare"]
row(
    "bare space, created and discarded", bare, target="< 60 µs, 100× CPython",
    met=bare < 60e-6 and ("subinterpreter" not in peer or peer["subinterpreter"] / bare >= 100),
    CPython_subinterpreter=peer.get("subinterpreter"), CPython_process=cpython_process,
    RustPython_subinterpreter=plain.get("subinterpreter"), Node_context=node.get("context"),
    JVM_class_loader_with_a_class=java and java["loader"],
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
alone, beside = discards["alone"], discards["beside ten"]
row("discard after the four imports", alone, target="< 10 ms", met=alone < 10e-3,
    CPython_subinterpreter=peer.get("subinterpreter four destroyed"))
row("the same beside ten such spaces", beside, target="≤ 1.2× of alone", met=beside <= 1.2 * alone,
    of=("alone", alone))
alone, beside = fresh_discards["alone"], fresh_discards["beside ten"]
row('the discard with fresh="*"', alone, target="as it is")
row('the same beside ten with fresh="*"', beside, target="as it is", of=("alone", alone))
anew = reloads["import"]
for what, figure in (("reload of fifty modules, until in place", "in place"), ("the whole call of reload()", "whole")):
    row(what, reloads[figure], target="≤ 2× of their import", met=reloads[figure] <= 2 * anew, of=("import", anew),
        import_in_a_new_space=anew, plain_anew=plain[f"anew {figure}"], CPython_anew=peer.get(f"anew {figure}"))
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
if java is None:
    print("\nno JVM class loader: java or javac is missing")
if options.soak:
    print(f"\n{options.soak} spaces each, made, used and discarded", flush=True)
    if not soak(options.soak):
        sys.exit(1)
