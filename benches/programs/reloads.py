"""Measures reloading a space with a package of fifty modules; prints JSON."""

import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
import package
from modspace import ModuleSpace


def new(directory):
    space = ModuleSpace()
    space.sys.path.insert(0, directory)
    space.sys.dont_write_bytecode = False
    return space


def imported(directory):
    """Seconds that importing the package takes in a new space, without making the space."""
    space = new(directory)
    start = time.perf_counter()
    space.import_(package.NAME)
    taken = time.perf_counter() - start
    report = space.discard()
    assert report.clean, str(report)
    return taken


def reloaded(space, directory, number):
    """Seconds until the next generation is in place, and until the old one is gone as well."""
    name, revision = package.change(directory, number)
    start = time.perf_counter()
    report = space.reload()
    taken = time.perf_counter() - start
    assert report.changed == [name], str(report)
    assert space.sys.modules[name].REVISION == revision
    assert report.old.clean, str(report.old)
    return report.duration, taken


with tempfile.TemporaryDirectory() as directory:
    package.write(directory)
    imported(directory)  # writes the bytecode
    space = new(directory)
    space.import_(package.NAME)
    imports, places, wholes = [], [], []
    for number in range(20):
        imports.append(imported(directory))
        place, whole = reloaded(space, directory, number)
        places.append(place)
        wholes.append(whole)
    space.discard()

import json

print(json.dumps({"import": min(imports), "in place": min(places), "whole": min(wholes)}))
