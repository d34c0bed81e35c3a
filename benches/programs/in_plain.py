"""Measures an interpreter without spaces, and its subinterpreters where it has them; prints JSON."""

import os
import sys
import time

FOUR = "import logging, unittest, asyncio, json"
start = time.perf_counter()
exec(FOUR)
figures = {"four first": time.perf_counter() - start}

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import gc
import json
import package
import tempfile

figures["import"] = common.best(common.import_loaded) / 200_000
figures["uncached arithmetic"] = common.best(common.arithmetic)


def anew(directory, number):
    """Reloads a package as one can without spaces: seconds until it is there, and until the old one is gone."""
    name, revision = package.change(directory, number)
    start = time.perf_counter()
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == package.NAME]:
        del sys.modules[loaded]
    __import__(package.NAME)
    place = time.perf_counter() - start
    gc.collect()
    whole = time.perf_counter() - start
    assert sys.modules[name].REVISION == revision
    return place, whole


with tempfile.TemporaryDirectory() as directory:
    package.write(directory)
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = False
    __import__(package.NAME)
    reloads = [anew(directory, number) for number in range(20)]
figures["anew in place"], figures["anew whole"] = (min(times) for times in zip(*reloads))

try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        interpreters = None


def subinterpreter(source=None):
    """Makes a subinterpreter, runs the source and destroys it; returns the seconds that only the last took."""
    identity = interpreters.create()
    if source:
        (getattr(interpreters, "exec", None) or interpreters.run_string)(identity, source)
    start = time.perf_counter()
    interpreters.destroy(identity)
    return time.perf_counter() - start


if interpreters is not None:
    figures["subinterpreter"] = common.best(subinterpreter, 5)
    if "RustPython" not in sys.version:
        figures["subinterpreter four"] = common.best(lambda: subinterpreter(FOUR), 5)
        figures["subinterpreter four destroyed"] = min(subinterpreter(FOUR) for _ in range(5))
print(json.dumps(figures))
