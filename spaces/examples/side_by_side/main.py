"""Two versions of one library in one process.

    modspace run spaces/examples/side_by_side/main.py

The library is `shapes`; vendor/v1 and vendor/v2 hold its two versions.
"""

import os

import modspace
from modspace import ModuleSpace

vendor = os.path.join(os.path.dirname(__file__), "vendor")


def space_with(version):
    space = ModuleSpace(modspace.current(), name=version)
    space.sys.path.insert(0, os.path.join(vendor, version))
    return space


v1, v2 = space_with("v1"), space_with("v2")
old, new = v1.import_("shapes"), v2.import_("shapes")
print("versions:", old.__version__, "and", new.__version__)

# Objects of both versions, held by one program.
squares = [old.Square(3), new.Square(side=3)]
print("areas:", squares[0].area(), "and", squares[1].area)
print("both say they are", {type(square).__name__ for square in squares}, "of", {type(square).__module__ for square in squares})
print("one class?", type(squares[0]) is type(squares[1]))
print("an old square is a new Square?", isinstance(squares[0], new.Square))
print("they live in", *(modspace.space_of(square).name for square in squares))

# Code that runs in a space imports what that space has.
for space in (v1, v2):
    exec("import shapes; answer = shapes.__version__", space.ns)
    print(f"import shapes in {space.name}:", space.ns["answer"])

# State of the one is not state of the other.
old.registry.append("made by the host")
print("registries:", old.registry, new.registry)

try:
    import shapes
except ModuleNotFoundError as error:
    print("the host itself has no", error.name)
