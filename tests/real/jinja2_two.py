"""Two versions of jinja2, and of markupsafe below it, at work in one process.

usage: jinja2_two.py OLD_DIR NEW_DIR
"""

import asyncio
import io
import os
import sys
import threading

import modspace
from modspace import ModuleSpace

OLD, NEW = map(os.path.abspath, sys.argv[1:])
CHECKS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jinja2_.py")
SOURCE = "{% for user in users %}{{ loop.index }}:{{ user }}{{ ' ' if not loop.last }}{% endfor %}"


def both(fresh):
    spaces = {}
    for name, directory in [("old", OLD), ("new", NEW)]:
        space = spaces[name] = ModuleSpace(modspace.current(), name=name, fresh=fresh)
        space.sys.path.insert(0, directory)
    old, new = (space.import_("jinja2") for space in spaces.values())
    assert (old.__version__, new.__version__) == ("3.0.3", "3.1.6")
    for space, directory, module in [(spaces["old"], OLD, old), (spaces["new"], NEW, new)]:
        assert space.sys.modules["jinja2"] is module and modspace.space_of(module) is space
        for name in ("jinja2", "jinja2.environment", "markupsafe"):
            assert space.modules[name].state == "ready" and space.modules[name].origin.startswith(directory + os.sep)
            assert space.sys.modules[name].__file__.startswith(directory + os.sep)
        assert space.eval("__import__('jinja2')") is module
    assert "jinja2" not in sys.modules

    # Objects of both, held and mixed here.
    environments = [module.Environment(autoescape=True, enable_async=True) for module in (old, new)]
    assert type(environments[0]) is not type(environments[1]) and old.Template is not new.Template
    assert not isinstance(environments[0], new.Environment) and modspace.space_of(environments[0]) is spaces["old"]
    templates = [environment.from_string(SOURCE) for environment in environments]
    marks = [space.import_("markupsafe").Markup("<i>") for space in spaces.values()]
    assert type(marks[0]) is not type(marks[1]) and marks[0] == marks[1]
    for template in templates:
        assert template.render(users=["<", *marks]) == "1:&lt; 2:<i> 3:<i>"
    environments[0].filters["only_old"] = str
    assert "only_old" not in environments[1].filters and "items" in environments[1].filters

    # An error of one is no error of the other; both are errors.
    for module, other in [(old, new), (new, old)]:
        try:
            try:
                module.Environment(undefined=module.StrictUndefined).from_string("{{ x.y }}").render()
            except other.UndefinedError:
                raise AssertionError("caught by the wrong class") from None
        except module.UndefinedError as error:
            assert str(error) == "'x' is undefined"
        else:
            raise AssertionError("x is undefined")

    # One event loop, two threads.
    async def gather():
        return await asyncio.gather(*(template.render_async(users=["a"]) for template in templates))

    assert asyncio.run(gather()) == ["1:a", "1:a"]
    results = {}

    def render(key, module):
        results[key] = [module.Template("{{ n }}").render(n=n) for n in range(50)]

    threads = [threading.Thread(target=render, args=pair) for pair in [("old", old), ("new", new)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["old"] == results["new"] == [str(n) for n in range(50)]

    # Each passes its own checks, as a program, beside the other.
    for space, version in [(spaces["old"], "3.0.3"), (spaces["new"], "3.1.6")]:
        space.sys.stdout = out = io.StringIO()
        space.run_path(CHECKS)
        assert out.getvalue() == f"ok: jinja2 {version}\n", out.getvalue()
    assert spaces["old"].sys.modules["jinja2"] is old and spaces["new"].sys.modules["jinja2"] is new

    # What is held of a discarded space goes on working.
    kept = [module.Template("{{ text|upper }}") for module in (old, new)]
    for space in spaces.values():
        space.discard()
        assert space.closed
    assert [template.render(text="here") for template in kept] == ["HERE", "HERE"]


both(fresh=())
both(fresh=["*"])
try:
    import jinja2
except ModuleNotFoundError as error:
    assert error.name == "jinja2"
else:
    raise AssertionError(f"the host has {jinja2}")

print("ok: jinja2 3.0.3 and 3.1.6")
