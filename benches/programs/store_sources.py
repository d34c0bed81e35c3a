"""A module of five hundred lines, as ordinary as code is, in as many versions as are asked for."""

from package import PART

LINES = 500


def module(version):
    """The source of a version: all functions and methods of it differ from those of others."""
    text = f"VERSION = {version}\nLIMIT = {version}\nNAMES = {{'first': 1}}\n"
    part = 0
    while text.count("\n") < LINES - 6:
        text += PART.format(part=part, base="object" if part == 0 else f"Record{part - 1}")
        text += f"\n    def version(self):\n        return {version}\n"
        text = text.replace("total -= 1\n", f"total -= {version + part + 2}\n")
        part += 1
    return text
