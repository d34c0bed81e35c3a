"""Creates a space, runs a program in it and discards it, again and again: nothing may stay behind.

    soak.py COUNT PROGRAM [FRESH]

After a tenth of the rounds the number of objects that the collector tracks must not change by one, and resident memory
must grow by less than a hundredth from the first half of the rest to the second; in a run of fewer than 2,000 rounds, where
the allocator is still settling, by less than four hundredths. Run it with `MIMALLOC_ALLOW_THP=0`: one huge page of 2 MiB
is more than a hundredth.
"""

import gc
import pathlib
import sys

import modspace

ROUNDS = int(sys.argv[1])
PROGRAM = pathlib.Path(sys.argv[2])
FRESH = sys.argv[3:]
WARM_UP = ROUNDS // 10


def resident():
    """Resident memory in KiB."""
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])


def once():
    space = modspace.ModuleSpace(modspace.current(), name="soak", fresh=FRESH)
    space.run_path(PROGRAM)
    report = space.discard()
    assert report.clean, str(report)


tracked = []
memory = []
slowest = 0
for number in range(ROUNDS):
    once()
    memory.append(resident())
    if number >= WARM_UP and (number - WARM_UP) % max(1, WARM_UP // 2) == 0:
        gc.collect()
        tracked.append(len(gc.get_objects()))

rest = sorted(memory[WARM_UP:][: (ROUNDS - WARM_UP) // 2]), sorted(memory[WARM_UP:][(ROUNDS - WARM_UP) // 2 :])
first, second = (half[len(half) // 2] for half in rest)
growth = second / first - 1
print(f"{PROGRAM.stem} {FRESH or 'default'}: {tracked[0]} objects tracked, memory {first} KiB, then {second} KiB")
assert len(set(tracked[1:])) == 1, f"objects stay behind: {tracked}"
assert growth < (0.01 if ROUNDS >= 2000 else 0.04), f"memory grows: {memory[WARM_UP:: max(1, WARM_UP)]}"
print("ok: flat")
