"""Two versions of Jinja2 in one process, each with a plugin that was written for it.

    python3 -m pip install --target target/packages/jinja2_old jinja2==3.0.3
    python3 -m pip install --target target/packages/jinja2 jinja2==3.1.6
    modspace run spaces/examples/two_versions/main.py target/packages/jinja2_old target/packages/jinja2
"""

import os
import sys

import modspace
from modspace import ModuleSpace

if len(sys.argv) != 3:
    sys.exit("usage: main.py OLD_DIR NEW_DIR")
old_dir, new_dir = map(os.path.abspath, sys.argv[1:])


def load(plugin, directory):
    """Loads a plugin into a space of its own, which finds the libraries of `directory` first."""
    space = ModuleSpace(modspace.current(), name=plugin)
    space.sys.path.insert(0, directory)
    return space.import_(plugin)


old = load("plugin_old", old_dir)
new = load("plugin_new", new_dir)

# Templates of both versions are ordinary objects here, side by side.
pages = {"plugin_old": old.page(), "plugin_new": new.page()}
for plugin, page in pages.items():
    version = modspace.space_of(page).sys.modules["jinja2"].__version__
    print(f"{plugin} runs Jinja2 {version}: {page.render(name='Ann', prices={'tea': 2, 'cake': 3})}")

old_class, new_class = (type(page) for page in pages.values())
print("both classes are called", {old_class.__qualname__, new_class.__qualname__})
print("are they one class?", old_class is new_class)
print("is the old template a new Template?", isinstance(pages["plugin_old"], new_class))
print("has the host a jinja2?", "jinja2" in sys.modules)

# Neither plugin could live with the other's version.
for plugin, directory in [("plugin_old", new_dir), ("plugin_new", old_dir)]:
    try:
        load(plugin, directory).page()
    except Exception as error:
        print(f"{plugin} with the other version: {type(error).__name__}: {error}")
