"""Two applications set up `logging` and `warnings`, each its own way and for itself alone.

    modspace run spaces/examples/two_applications/main.py
"""

import io
import logging
import os
import warnings

import modspace
from modspace import ModuleSpace

here = os.path.dirname(__file__)


def start(name):
    """Runs an application in a space of its own, with a stderr of its own."""
    space = ModuleSpace(modspace.current(), name=name)
    space.sys.stderr = io.StringIO()
    space.run_path(os.path.join(here, f"{name}.py"))
    return space


strict, relaxed = start("strict"), start("relaxed")
before = list(warnings.filters)

# Both are set up now; they work in turns.
for item in ["apple", "", "pear"]:
    for space in (strict, relaxed):
        space.ns["handle"](item)

for space in (strict, relaxed):
    print(f"stderr of {space.name}:")
    print(space.sys.stderr.getvalue())

print("handlers:", *(f"{space.name} {len(space.import_('logging').root.handlers)}" for space in (strict, relaxed)),
      "host", len(logging.root.handlers))
print("levels:", *(f"{space.name} {space.eval('logging.getLevelName(logging.root.level)')}" for space in (strict, relaxed)),
      "host", logging.getLevelName(logging.root.level))
print("first filter:", *(f"{space.name} {space.import_('warnings').filters[0][0]}" for space in (strict, relaxed)))
print("the host's filters are as they were:", warnings.filters == before)
print("one logging module?", strict.import_("logging") is relaxed.import_("logging"))
