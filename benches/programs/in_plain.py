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
import json

figures["import"] = common.best(common.import_loaded) / 200_000
figures["uncached arithmetic"] = common.best(common.arithmetic)

try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        interpreters = None


def subinterpreter(source=None):
    identity = interpreters.create()
    if source:
        (getattr(interpreters, "exec", None) or interpreters.run_string)(identity, source)
    interpreters.destroy(identity)


if interpreters is not None:
    figures["subinterpreter"] = common.best(subinterpreter, 5)
    if "RustPython" not in sys.version:
        figures["subinterpreter four"] = common.best(lambda: subinterpreter(FOUR), 5)
print(json.dumps(figures))
