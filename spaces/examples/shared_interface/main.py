"""Two plugins implement one interface class, which their parent space has.

    modspace run spaces/examples/shared_interface/main.py

Each plugin directory carries a copy of interface.py, as plugins do that are also developed alone. With
delegation="parent-first" the copies are not used: the parent is asked first. What only the plugin has is its own.
"""

import os

import modspace
from interface import Shape
from modspace import ModuleSpace

plugins = os.path.join(os.path.dirname(__file__), "plugins")


def load(name, delegation):
    space = ModuleSpace(modspace.current(), name=name, path=[os.path.join(plugins, name)], delegation=delegation)
    return space.import_("plugin").create()


shapes = [load(name, "parent-first") for name in ("circle", "square")]
for shape in shapes:
    print(f"{shape.name()}: area {shape.area():.2f}, a Shape? {isinstance(shape, Shape)}")
print("all in all", format(Shape.total(shapes), ".2f"))
print("one helper module?", shapes[0].helper is shapes[1].helper, [shape.helper.UNIT for shape in shapes])

# The other way round, each plugin takes its own copy of the interface, and the host does not know its class.
stranger = load("circle", "child-first")
print("child-first:", f"{stranger.name()}, a Shape? {isinstance(stranger, Shape)}")
