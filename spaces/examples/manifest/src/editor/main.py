"""The entry: loads the plugin of each child space, then runs every command on its arguments."""

import sys

import modspace
from editor.commands import commands

here = modspace.current()


def show(space, depth=0):
    print("  " * depth + space.name)
    for child in sorted(space.children, key=lambda child: child.name):
        show(child, depth + 1)


show(here)
for child in here.children:
    child.import_("plugin")

text = " ".join(sys.argv[1:]) or "teh quick fox"
for name, command in sorted(commands.items()):
    print(f"{name}, from {modspace.space_of(command).name}: {command(text)}")

print("one list of commands?", all(child.sys.modules["editor.commands"].commands is commands for child in here.children))
print("two plugins?", len({id(child.sys.modules["plugin"]) for child in here.children}) == 2)
