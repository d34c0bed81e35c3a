"""A framework in a parent space loads plugins that only a child space can find.

    modspace run spaces/examples/plugin_framework/main.py

`framework` calls importlib.import_module("greeter"), and the program's own space has no greeter. The spaces below it
have one each. `with space:` makes a space the context, which is asked when nothing else has the module.
"""

import os
import sys

import framework
import modspace
from modspace import ModuleSpace

plugins = os.path.join(os.path.dirname(__file__), "plugins")
english, french = (
    ModuleSpace(modspace.current(), name=name, path=[os.path.join(plugins, name)]) for name in ("english", "french")
)

with english:
    print(framework.run("greeter", "Ann"))
    with french:
        print(framework.run("greeter", "Ann"))
    print(framework.run("greeter", "Bob"))

# The plugins imported the framework of the parent, so they all registered with the one there is.
print("registered:", sorted(framework.registry))
print("one framework?", english.sys.modules["framework"] is framework)

# The framework's space did not keep what it found in a child.
print("greeter here?", "greeter" in sys.modules)
try:
    framework.run("greeter", "Ann")
except ModuleNotFoundError as error:
    print("outside of the spaces there is no", error.name)
