"""Two discards: one leaves nothing behind, the other says what the host still holds."""

import pathlib

from modspace import ModuleSpace, SpaceClosedError, current

VENDOR = str(pathlib.Path(__file__).parent / "vendor")
handlers = {}


def plugin():
    space = ModuleSpace(current(), name="plugin")
    space.sys.path.insert(0, VENDOR)
    return space, space.import_("plugin")


space, module = plugin()
module.save()
del module
print("freed everything:", space.discard().clean)

space, module = plugin()
handlers["save"] = module.save
del module
report = space.discard()
print("freed everything:", report.clean)
for held in report.held:
    print("held:", held)
print("the host still saves:", handlers["save"]())

space.discard(force=True)
try:
    handlers["save"]()
except SpaceClosedError as error:
    print("and cannot, once it is forced:", error)
