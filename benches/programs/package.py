"""Writes a package of fifty modules, each about a hundred lines, and changes one of them at a time."""

import os

COUNT = 50
NAME = "fifty"

HEAD = '''"""Module {number} of fifty."""

{imports}
LIMIT = {number}
NAMES = {{"first": 1, "second": 2, "third": 3}}
'''

# About as many functions and classes per line as ordinary code has.
PART = '''

def combine_{part}(first, second=LIMIT, *rest, scale=1.0):
    """Adds what is below the limit."""
    total = first * scale
    for value in (second, *rest):
        if value < LIMIT:
            total += value * scale
        else:
            total -= 1
    return total


class Record{part}({base}):
    """A value with a name."""

    kind = "record {part}"
    names = tuple(NAMES)

    def __init__(self, name, value=0):
        self.name = name
        self.value = value

    def __repr__(self):
        return f"{{type(self).__name__}}({{self.name!r}}, {{self.value}})"

    @property
    def double(self):
        return self.value * 2

    @classmethod
    def of(cls, pairs):
        return [cls(name, value) for name, value in pairs.items()]

    def total(self, others):
        return combine_{part}(self.value, *(other.value for other in others))
'''


def source(number):
    imports, base = "", "object"
    if number:
        imports, base = f"from .m{number - 1:02} import Record2 as Before\n", "Before"
    parts = [PART.format(part=part, base=base if part == 0 else f"Record{part - 1}") for part in range(3)]
    return HEAD.format(number=number, imports=imports) + "".join(parts)


def write(directory):
    """Writes the package into `directory`; importing it imports all its modules."""
    package = os.path.join(directory, NAME)
    os.mkdir(package)
    for number in range(COUNT):
        with open(os.path.join(package, f"m{number:02}.py"), "w") as file:
            file.write(source(number))
    with open(os.path.join(package, "__init__.py"), "w") as file:
        file.write("from . import " + ", ".join(f"m{number:02}" for number in range(COUNT)) + "\n")


def change(directory, time):
    """Changes one module, another each time, and returns its name and what its REVISION is now.

    The file gets longer: a second file of one length and second would be taken for the first by its bytecode file."""
    name = f"m{time % COUNT:02}"
    with open(os.path.join(directory, NAME, name + ".py"), "a") as file:
        file.write(f"\nREVISION = {time}\n")
    return f"{NAME}.{name}", time
