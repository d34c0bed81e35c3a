#!/usr/bin/env python3
"""Runs the suites of suites.toml in spaces and in plain pytest, and compares what became of each test.

    cargo build --release --ignore-rust-version
    python3 tests/real/suites.py [--modspace PATH] [SUITE ...]

All suites take long; status 1 if an outcome differs for no reason that suites.toml gives. Needs pip, and Python 3.11.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.join(ROOT, "target", "suites")


def read(name):
    with open(os.path.join(HERE, name), "rb") as file:
        return tomllib.load(file)


def pip(*arguments):
    run = subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"pip {' '.join(arguments)} failed:\n{run.stderr}")


def prepare(name, suite):
    """The directory of the source, and the one of the packages."""
    directory = os.path.join(TARGET, name)
    wanted = json.dumps([suite["source"], suite["packages"], SUITES["pytest"]])
    stamp = os.path.join(directory, "stamp")
    packages, sources = os.path.join(directory, "packages"), os.path.join(directory, "source")
    if not (os.path.exists(stamp) and open(stamp).read() == wanted):
        # Left by an interrupted or older installation.
        shutil.rmtree(directory, ignore_errors=True)
        flags = read("packages.toml")["flags"]
        pip("install", *flags, "--target", packages, *SUITES["pytest"], *suite["packages"])
        pip("download", "--no-deps", "--no-binary=:all:", "--dest", directory, suite["source"])
        archive, = [file for file in os.listdir(directory) if file.endswith(".tar.gz")]
        with tarfile.open(os.path.join(directory, archive)) as file:
            file.extractall(sources, filter="data")
        with open(stamp, "w") as file:
            file.write(wanted)
    source, = os.listdir(sources)
    return os.path.join(sources, source), packages


def run(modspace, suite, source, packages, *options):
    """What became of each test, seconds, and what the run printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.join(source, path) for path in suite.get("path", ()))
    fresh = [option for pattern in suite.get("fresh", ()) for option in ("--fresh", pattern)]
    with tempfile.TemporaryDirectory() as directory:
        report = os.path.join(directory, "report.json")
        command = [modspace, "test", "--python-path", packages, "--json", report, *options, *fresh, *suite["arguments"]]
        if "--" not in command:
            command.append("--")
        start = time.perf_counter()
        process = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=source, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if not os.path.exists(report):
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{process.stdout}{process.stderr}")
        with open(report) as file:
            tests = json.load(file)["tests"]
    outcomes = {}
    for test in tests:
        reason = test["message"] if test["outcome"] == "skipped" else ""
        outcomes[test["name"], test["subtest"]] = test["outcome"], reason
    return outcomes, seconds, process.stdout + process.stderr


def compare(name, modspace, jobs):
    """Prints a line, and lines for what differs. Returns whether something does for no known reason."""
    suite = SUITES["suite"][name]
    source, packages = prepare(name, suite)
    plain, plain_seconds, _ = run(modspace, suite, source, packages, "--isolate", "none")
    ours, seconds, output = run(modspace, suite, source, packages, "-j", str(jobs))
    counts = {}
    for outcome, _ in ours.values():
        counts[outcome] = counts.get(outcome, 0) + 1
    different = [test for test in plain.keys() | ours.keys() if plain.get(test) != ours.get(test)]
    known = {entry["tests"]: entry["reason"] for entry in suite.get("differs", ())}
    unknown = [test for test in different if not test[0].startswith(tuple(known))]
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    print(f"{suite['source']:24} {told}; {seconds:.1f} s, plain {plain_seconds:.1f} s; "
          f"{len(different)} differ, {len(unknown)} of them for no known reason", flush=True)
    for reason in known.values():
        print(f"    {len(different) - len(unknown)}: {reason}")
    for test in sorted(unknown, key=str)[:20]:
        print(f"    {test[0]} {test[1] or ''}: plain {plain.get(test)}, in spaces {ours.get(test)}")
    if unknown or not ours:
        print(output)
    return bool(unknown) or not ours


SUITES = read("suites.toml")
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modspace", metavar="PATH", default=os.path.join(ROOT, "target", "release", "modspace"),
                        help="the program; the release build unless given")
    parser.add_argument("-j", dest="jobs", type=int, default=2, metavar="N", help="workers; 2 unless given")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="all unless given")
    options = parser.parse_args()
    if not os.path.exists(options.modspace):
        sys.exit(f"{options.modspace} is missing; see the first lines of {sys.argv[0]}")
    program = os.path.abspath(options.modspace)
    different = [name for name in options.suites or SUITES["suite"] if compare(name, program, options.jobs)]
    sys.exit(f"differences: {', '.join(different)}" if different else 0)
