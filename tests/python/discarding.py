"""What the test programs share that discard spaces under all circumstances."""

import gc
import io

import modspace
from support import Watched, shelf

HOST = modspace.current()


class Discarding(Watched):
    def setUp(self):
        super().setUp()
        self.addCleanup(shelf.clear)
        self.beside = self.space(name="beside")
        self.beside.exec("import json\ndef beside(x):\n    import sys\n"
                         "    return json.loads(json.dumps(x)), __import__('sys') is sys")

    def tearDown(self):
        """Whatever happened to one space: others work, and one that comes and goes leaves nothing behind."""
        shelf.clear()
        gc.collect()
        self.assertEqual(self.beside.eval("beside([1])"), ([1], True))
        self.assertEqual(self.beside.eval("sorted([2, 1])"), [1, 2])
        self.beside.discard()
        self.assertIs(modspace.current(), HOST)
        self.assertIn(modspace.context(), (None, HOST))
        counts = []
        for _ in range(5):
            space = modspace.ModuleSpace(HOST, name="soak")
            space.exec("import json, logging\ndef f(): pass")
            report = space.discard()
            self.assertTrue(report.clean, report)
            del space, report
            gc.collect()
            counts.append(len(gc.get_objects()))
        self.assertEqual(counts[-1], counts[-3], counts)

    def recorded(self, files=(), **options):
        """A space that finds these files, and the list that its sys.unraisablehook adds to."""
        space = self.library(files, name="plugins", **options)
        seen = []
        space.sys.unraisablehook = lambda report: seen.append(report.exc_type.__name__)
        space.sys.stderr = io.StringIO()
        return space, seen

    def inside(self, space, **options):
        """A thread inside a function of the space that returns 42."""
        space.exec("def work(ready, wait):\n    ready()\n    wait()\n    return 42\n")
        return self.worker(space.ns["work"], **options)
