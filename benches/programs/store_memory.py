"""What a space takes that has imported something, is attached to a store besides, or has loaded a module of it, too: each in a
process of its own. Prints bytes.

    modspace run benches/programs/store_memory.py STORE used|attached|loaded
"""

import os
import sys

from modspace import ModuleSpace, Store

COUNT = 300
store, kind = Store.open(sys.argv[1]), sys.argv[2]
spaces = []


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make():
    space = ModuleSpace()
    if kind != "used":
        space.attach(store)
    space.import_("pkg1.m1" if kind == "loaded" else "marshal")
    spaces.append(space)


for _ in range(50):
    make()
before = resident()
for _ in range(COUNT):
    make()
print((resident() - before) / COUNT)
