"""Measures module spaces; prints JSON."""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
import common
import modspace
from modspace import ModuleSpace

FOUR = "import logging, unittest, asyncio, json"
figures = {}


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def four(fresh=()):
    start = time.perf_counter()
    ModuleSpace(fresh=fresh).exec(FOUR)
    return time.perf_counter() - start


# In a process that has imported nothing else yet: what the first space takes, and what the second.
policy = sys.argv[1]
fresh = ("*",) if policy == "fresh" else ()
figures["four first"] = four(fresh)
figures["four second"] = min(four(fresh) for _ in range(8))

def bare(count=200):
    for _ in range(count):
        ModuleSpace().discard()


figures["bare"] = common.best(bare) / 200

spaces = [ModuleSpace() for _ in range(100)]  # the allocator's first pages are not the spaces'
before = resident()
spaces += [ModuleSpace() for _ in range(1000)]
figures["bytes"] = (resident() - before) / 1000
for space in spaces:
    space.discard()


import json

figures["import"] = common.best(common.import_loaded) / 200_000
figures["uncached arithmetic"] = common.best(common.arithmetic)
# The module comes from the code cache the second and third time; its code then runs on its own.
one, two = ModuleSpace(), ModuleSpace()
for space in (one, two):
    space.sys.path.insert(0, os.path.dirname(__file__))
in_one, in_two = one.import_("common"), two.import_("common")
figures["cached arithmetic"] = common.best(in_two.arithmetic)


def on_two_threads(name):
    """How much longer two threads, each in its own space, take than one alone."""

    def both():
        threads = [threading.Thread(target=getattr(module, name)) for module in (in_one, in_two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return common.best(both) / common.best(getattr(in_one, name))


figures["arithmetic on two threads"] = on_two_threads("arithmetic")
figures["allocation on two threads"] = on_two_threads("allocation")
print(json.dumps(figures))
