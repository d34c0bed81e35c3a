"""A process with a space that follows a store. It says how soon it heard of what another process committed, and how much
processor time it took while nothing happened.

    modspace run benches/programs/store_waits.py STORE SECONDS
"""

import json
import sys
import time

from modspace import ModuleSpace, Store

space = ModuleSpace()
space.attach(Store.open(sys.argv[1]), follow=True)
signal = space.import_("signal_")
print("ready", flush=True)
# The module notes when it is executed; nothing here looks before it is asked.
for line in sys.stdin:
    if line == "wait\n":
        before = time.process_time()
        time.sleep(float(sys.argv[2]))
        print(json.dumps({"processor": time.process_time() - before}), flush=True)
    else:
        print(json.dumps({"number": signal.NUMBER, "seen": signal.SEEN}), flush=True)
