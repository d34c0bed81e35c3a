"""What the test programs share that tell what a discard leaves: what is held, and what is freed."""

import gc
import re
import sys
import textwrap

import modspace
from support import SpaceTest, alive, own_objects, shelf

#: How paths begin that come from the tests' own space, and from the shelf in any module that imported it.
HERE = rf"^{re.escape(modspace.current().name)}: "
SHELF = HERE + r"(__main__|leaking|support)\.shelf\['held'\]"

#: What the space under test imports, with more of each test's own.
PLUGIN = '''\
calls = []

def answer():
    calls.append("answer")
    return 42

def handle(*args, **options):
    return answer()

class Handler:
    def handle(self, *args, **options):
        return answer()
'''


class Box:
    """A class of the host's."""

    def __init__(self, content=None):
        self.content = content


class PluginTest(SpaceTest):
    def setUp(self):
        self.addCleanup(shelf.clear)

    def plugin(self, source="", files=(), **options):
        """A space with a module `plugin`: the one above and `source`."""
        return self.library({"plugin.py": PLUGIN + textwrap.dedent(source), **dict(files)}, name="plugins", **options)


class Held(PluginTest):
    """Something outside holds something of a space."""

    def leak(self, hold, held, step="", use=None, *, where=SHELF, release=None, source="", timeout=None, **options):
        """`hold(plugin)` keeps something of the plugin: `report.held` names it as `held`, with a path of `where` and
        `step`. `use(what is held)` is 42 all the same, and when nothing holds it any more, it is gone."""
        space = self.plugin(source, **options)
        shelf["held"] = hold(space.import_("plugin"))
        if release:
            self.addCleanup(release)
        own = own_objects(space, "plugin")
        report = space.discard(timeout=timeout)
        self.check(report, held, where + step)
        if use:
            self.assertEqual(use(shelf["held"]), 42)
        if release:
            release()
        shelf.clear()
        self.assert_freed(own)
        return report

    def check(self, report, held, path):
        self.assertFalse(report.clean, report)
        self.assertEqual(report.space, "plugins")
        entries = [entry for entry in report.held if re.search(held, entry.object)]
        self.assertTrue(entries, f"nothing like {held!r} in:\n{report}")
        found = [entry for entry in entries if re.search(path, entry.path)]
        self.assertTrue(found, f"no path like {path!r} in:\n{report}")
        self.assertTrue(all(entry.kind for entry in report.held), report)
        lengths = [entry.length for entry in report.held]
        self.assertEqual(lengths, sorted(lengths))
        self.assertIn(found[0].path, str(report))

    def assert_freed(self, references):
        """Once nothing holds it, a collection and the next discard of a space free all of it."""
        gc.collect()
        other = self.space(name="other")
        other.exec("used = True")
        other.discard()
        self.assertEqual(alive(references), [])


class Freed(PluginTest):
    """Everything of a space is freed with it, whatever refers to what in it."""

    def free(self, source, hold=None, *, files=(), given=(), before=None, errors=(), **options):
        """A space that imports a module with this source leaves nothing. Its finalizers raise `errors`.
        The names `given` are set in the module, `before(module)` is called, and `hold(module)` is kept meanwhile."""
        space = self.plugin(source, files, **options)
        names = ["plugin.py", *files]
        modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names}
        raised = []
        self.addCleanup(setattr, sys, "unraisablehook", sys.unraisablehook)
        space.sys.unraisablehook = lambda report: raised.append(repr(report.exc_value))
        sys.unraisablehook = lambda report: raised.append(f"in the host: {report.exc_value!r}")
        plugin = space.import_("plugin")
        vars(plugin).update(given)
        if before:
            before(plugin)
        if hold:
            shelf["held"] = hold(plugin)
        del plugin
        own = own_objects(space, *space.modules.keys() & modules)
        report = space.discard()
        self.assertEqual((alive(own), [str(entry) for entry in report.held], report.threads), ([], [], []))
        self.assertTrue(report.clean)
        self.assertEqual(raised, list(errors))
        self.assertGreater(report.objects, 0)
        self.assertGreater(report.bytes, 0)
        return report
