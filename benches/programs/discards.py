"""Measures discarding spaces that imported a lot; prints JSON."""

import sys
import time

from modspace import ModuleSpace

FOUR = "import logging, unittest, asyncio, json"
fresh = ("*",) if sys.argv[1] == "fresh" else ()


def used():
    space = ModuleSpace(fresh=fresh)
    space.exec(FOUR)
    return space


def discard(repeat=10):
    """Seconds that the fastest discard took, without what led to it."""
    fastest = float("inf")
    for _ in range(repeat):
        space = used()
        start = time.perf_counter()
        report = space.discard()
        fastest = min(fastest, time.perf_counter() - start)
        assert report.clean, str(report)
    return fastest


figures = {"alone": discard()}
others = [used() for _ in range(10)]
figures["beside ten"] = discard(20)
for space in others:
    space.discard()
# The machine may have become slower or faster meanwhile. As many attempts now as beside the others.
figures["alone"] = min(figures["alone"], discard())

import json

print(json.dumps(figures))
