#!/usr/bin/env python3
"""Measures `modspace test` on many small test files, beside plain pytest and its peers, and prints a table.

    cargo build --release --ignore-rust-version --bins --examples
    python3 benches/testing.py --python-path DIR

DIR has pytest in it: `cargo test` leaves one in target/packages/pytest. Figures of one run on one machine are comparable, those
of two are not: read the ratios. The peers run in CPython, in the program that CPYTHON names or this one, and are left out where
pytest, pytest-forked and pytest-xdist are not installed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RELEASE = os.path.join(ROOT, "target", "release")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--python-path", metavar="DIR", default=os.path.join(ROOT, "target", "packages", "pytest"),
                    help="where pytest is; target/packages/pytest unless given")
parser.add_argument("--files", type=int, default=200, metavar="N", help="how many test files; 200 unless given")
parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the fastest of so many counts; 3 unless given")
options = parser.parse_args()
modspace, plain = os.path.join(RELEASE, "modspace"), os.path.join(RELEASE, "examples", "plain")
for program in modspace, plain:
    if not os.path.exists(program):
        sys.exit(f"{program} is missing; see the first lines of {sys.argv[0]}")
cpython = os.environ.get("CPYTHON", sys.executable)
packages = os.path.abspath(options.python_path)
environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}

MODULE = """\
import collections
import re

WORD = re.compile(r"[a-z]+{number}")
DEFAULTS = {{"size": {number}, "name": "item", "tags": ("a", "b")}}
state = []


class Item{number}:
    \"\"\"Something that has a size.\"\"\"

    def __init__(self, name, size={number}):
        self.name = name
        self.size = size

    def grow(self, by=1):
        self.size += by
        return self.size

    @property
    def label(self):
        return f"{{self.name}}: {{self.size}}"

    def __eq__(self, other):
        return isinstance(other, Item{number}) and self.label == other.label


class Items(collections.UserList):
    def total(self):
        return sum(item.size for item in self)


def count(text):
    return collections.Counter(WORD.findall(text))


def make(**options):
    options = {{**DEFAULTS, **options}}
    return Item{number}(options["name"], options["size"])
"""
TEST = """\
import pytest
from app import core
from app.m{module} import Item{module}


def test_grow(item):
    assert item.grow() == 1


def test_patched(monkeypatch):
    monkeypatch.setattr("app.core.state", [1, 2])
    assert core.length() == 2


class TestItem:
    @pytest.mark.parametrize("by", [1, 2])
    def test_grow(self, by, tmp_path):
        assert Item{module}("x").grow(by) == {module} + by
"""


def project(directory):
    """200 files of tests over an application of 20 modules that import each other."""
    def write(name, text):
        file = os.path.join(directory, name)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w") as output:
            output.write(text)

    write("pytest.ini", "[pytest]\npythonpath = .\n")
    write("app/__init__.py", "")
    write("app/core.py", "from app import " + ", ".join(f"m{number}" for number in range(19)) +
          "\n\nstate = []\n\n\ndef length():\n    return len(state)\n")
    for number in range(19):
        before = f"from app import m{number - 1}\n" if number else ""
        write(f"app/m{number}.py", before + MODULE.format(number=number))
    write("tests/conftest.py", "import pytest\nfrom app.m0 import Item0\n\n\n@pytest.fixture\ndef item():\n    return Item0('one')\n")
    for number in range(options.files):
        write(f"tests/test_{number:03}.py", TEST.format(module=number % 19))
    return [f"tests/test_{number:03}.py" for number in range(options.files)]


class Failed(Exception):
    """A run had another status than 0."""


def run(command, directory, **variables):
    """Seconds, and the largest resident memory of the process itself, in bytes."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, env={**environment, **variables})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise Failed(f"{' '.join(command)} failed: {text[:500]}\n...\n{text[-500:]}")
    return seconds, usage.ru_maxrss * 1024


def best(*commands, **variables):
    """Of some rounds of commands one after the other, the fastest."""
    return min(sum(run(command, directory, **variables)[0] for command in commands) for _ in range(options.rounds))


def has(*modules):
    return not subprocess.run([cpython, "-c", "import " + ", ".join(modules)], stderr=subprocess.DEVNULL).returncode


with tempfile.TemporaryDirectory() as directory:
    files = project(directory)
    test = [modspace, "test", "--python-path", packages, "-q"]
    # Bytecode is written once.
    run([*test, "-j", "1", "tests"], directory)
    run([plain, "-m", "pytest", "-q", "tests"], directory, PYTHONPATH=packages)
    times = {"pytest in the plain interpreter of this build": best([plain, "-m", "pytest", "-q", "tests"], PYTHONPATH=packages)}
    for count in 1, 2:
        times[f"modspace test -j {count}"] = best([*test, "-j", str(count), "tests"])
    memory = [run([*test, "-j", "1", *files[:number]], directory)[1] for number in (len(files) // 4, len(files))]
    pytest = [cpython, "-m", "pytest", "-q"]
    peers = {
        "pytest in CPython": (["pytest"], [[*pytest, "tests"]]),
        "the same, a process for each file": (["pytest"], [[*pytest, file] for file in files]),
        "the same, pytest-forked": (["pytest", "pytest_forked"], [[*pytest, "--forked", "tests"]]),
        "the same, pytest-xdist, 2 workers, by files": (["pytest", "xdist"], [[*pytest, "-n", "2", "--dist", "loadfile", "tests"]]),
    }
    for name, (needed, commands) in peers.items():
        if not has(*needed):
            print(f"left out, not installed: {name}", file=sys.stderr)
            continue
        try:
            run(commands[0], directory)
            times[name] = best(*commands)
        except Failed as error:
            print(f"left out: {name}: {error}", file=sys.stderr)

version = subprocess.run([cpython, "--version"], capture_output=True, text=True).stdout.strip()
first, ours = list(times.values())[:2]
print(f"{options.files} test files over an application of 20 modules; peers in {version}\n")
for name, seconds in times.items():
    print(f"{name:48}  {seconds:7.2f} s  {seconds / options.files * 1e3:6.1f} ms a file  ×{seconds / ours:.2f} of -j 1")
processes = times.get("the same, a process for each file")
print(f"\n-j 1 is {ours / first:.2f}× of plain pytest (target ≤ 2: {'yes' if ours <= 2 * first else 'NO'})")
if processes is not None:
    print(f"processes of CPython take {processes / ours:.2f}× of -j 1 (target ≥ 5: {'yes' if processes >= 5 * ours else 'NO'})")
few, all_ = memory
print(f"memory at most: {few / 1e6:.0f} MB for {len(files) // 4} files, {all_ / 1e6:.0f} MB for {len(files)} "
      f"({'flat' if all_ <= 1.1 * few else 'NOT flat'})")
