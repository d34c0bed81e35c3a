"""A program may do to its own space what it likes: it is discarded all the same, and the others do not notice."""

import contextlib
import gc
import io
import sys
import unittest
import weakref

import modspace
from discarding import Discarding
from support import shelf


class Broken(Discarding):
    PROGRAMS = {
        "sys.modules is another dict": "import sys\nsys.modules = {}",
        "sys.modules is a copy": "import sys\nsys.modules = dict(sys.modules)",
        "sys.modules is empty": "import sys\nsys.modules.clear()",
        "sys.modules is gone": "import sys\ndel sys.modules",
        "sys.modules is None": "import sys\nsys.modules = None",
        "sys.modules is a number": "import sys\nsys.modules = 5",
        "sys.modules is a mapping": "import sys, collections\nsys.modules = collections.UserDict(sys.modules)",
        "sys.modules is a dict that raises": "import sys\nclass D(dict):\n"
                                             "    def __getitem__(self, key): raise OSError\n"
                                             "    def get(self, *a): raise OSError\n"
                                             "    def __iter__(self): raise OSError\nsys.modules = D(sys.modules)",
        "sys.modules has odd keys": "import sys\nsys.modules[5] = 5\nsys.modules[None] = None\n"
                                    "sys.modules['x'] = object()\nsys.modules['\\ud800'] = 1",
        "sys.path is gone": "import sys\ndel sys.path, sys.meta_path, sys.path_hooks, sys.path_importer_cache",
        "sys.stdout is None": "import sys\nsys.stdout = sys.stderr = sys.stdin = None",
        "sys.stdout is closed": "import sys, io\nsys.stdout = io.StringIO()\nsys.stdout.close()",
        "sys.stdout fails": "import sys\nclass F:\n    def write(self, text): 1/0\n    def flush(self): 1/0\n"
                            "sys.stdout = sys.stderr = F()",
        "__import__ is gone": "import builtins\ndel builtins.__import__",
        "__import__ fails": "import builtins\ndef bad(*args): 1/0\nbuiltins.__import__ = bad",
        "builtins are another module": "import sys, types\nsys.modules['builtins'] = types.ModuleType('builtins')",
        "sys is another module": "import sys, types\nsys.modules['sys'] = types.ModuleType('sys')",
        "__main__ is gone": "import sys\ndel sys.modules['__main__']",
        "the namespace is empty": "globals().clear()",
        "threading is a stand-in": "import sys, types\nsys.modules['threading'] = types.ModuleType('threading')",
        "threading is an object": "import sys\nsys.modules['threading'] = object()",
        "threading is None": "import sys\nsys.modules['threading'] = None",
        "threading raises": "import sys\nclass T:\n    def __getattr__(self, name): raise OSError(name)\n"
                            "sys.modules['threading'] = T()",
        "threading lies": "import sys, types\n"
                          "lie = types.SimpleNamespace(_threading_atexits=[1, None], _active={1: 2}, _shutdown=5)\n"
                          "sys.modules['threading'] = lie",
        "threading lies differently": "import sys, types\n"
                                      "lie = types.SimpleNamespace(_threading_atexits=5, _active=7)\n"
                                      "sys.modules['threading'] = lie",
        "atexit is a stand-in": "import sys\nsys.modules['atexit'] = object()",
        "importlib is a stand-in": "import sys\nfor name in list(sys.modules):\n"
                                   "    if 'importlib' in name: sys.modules[name] = object()",
        "hooks are nonsense": "import sys\nsys.excepthook = sys.unraisablehook = sys.displayhook = 5",
        "the spec is nonsense": "import sys\n__spec__ = 5\nfor module in list(sys.modules.values()):\n"
                                "    try: module.__spec__ = 5\n    except Exception: pass",
        "the names are nonsense": "import json, logging\njson.__name__ = 5\nlogging.__dict__['__name__'] = None\n"
                                  "del json.__spec__\n__name__ = 7",
        "classes are nonsense": "class C: pass\nC.__module__ = 5\nC.__qualname__ = 'a.b.c'\nclass M(type):\n"
                                "    def __getattribute__(cls, name): raise OSError\nclass D(metaclass=M): pass",
        "instances lie": "class C:\n    def __getattribute__(self, name): raise OSError(name)\nc = C()\nclass L:\n"
                         "    @property\n    def __class__(self): raise OSError\nl = L()",
        "hashes fail": "class C:\n    def __hash__(self): raise OSError\n    def __eq__(self, other): raise OSError\n"
                       "    def __bool__(self): raise OSError\n    def __len__(self): raise OSError\nc = [C()]",
        "a module that is a class": "import sys, types\nclass M(types.ModuleType):\n"
                                    "    def __getattribute__(self, name): raise OSError(name)\n"
                                    "sys.modules['m'] = M('m')",
        "the collector is off": "import gc\ngc.disable()\ngc.freeze()",
        "the recursion limit is low": "import sys\nsys.setrecursionlimit(60)",
        "a deep structure": "x = []\nfor _ in range(100000): x = [x]",
        "a deep chain of objects": "class N:\n    def __init__(self, next): self.next = next\n    def f(self): pass\n"
                                   "n = None\nfor _ in range(50000): n = N(n)",
        "many objects": "class N:\n    def f(self): pass\nobjects = [N() for _ in range(50000)]\n"
                        "for o in objects: o.all = objects",
    }

    @contextlib.contextmanager
    def repaired(self):
        """Afterwards, what a program changed for the whole process is as it was."""
        limit, enabled = sys.getrecursionlimit(), gc.isenabled()
        try:
            yield
        finally:
            sys.setrecursionlimit(limit)
            gc.unfreeze()
            if enabled:
                gc.enable()

    def check(self, source, **options):
        space = self.library({"json_user.py": "import json"}, name="plugins")
        space.sys.stderr = io.StringIO()
        with self.repaired():
            space.exec("import json, logging, atexit, threading, json_user\nclass Thing:\n    def f(self): pass\n"
                       "thing = Thing()\nthing.me = thing")
            gone = weakref.ref(space.ns["Thing"])
            space.exec(source)
            report = space.discard(timeout=5, **options)
        self.assertTrue(space.closed)
        self.assertEqual(report.threads, [])
        self.assertTrue(report.clean, report)
        self.assertIsNone(gone())
        self.assertEqual(self.beside.eval("beside([1])"), ([1], True))

    def test_it_is_discarded_all_the_same(self):
        for name, source in self.PROGRAMS.items():
            with self.subTest(name):
                self.check(source)

    def test_it_is_forced_all_the_same(self):
        for name, source in self.PROGRAMS.items():
            with self.subTest(name):
                self.check(source, force=True)

    def test_it_is_reported_all_the_same(self):
        for name, source in self.PROGRAMS.items():
            for force in (False, True):
                with self.subTest(name, force=force):
                    space = self.library({"plugin.py": "def f(): return 42"}, name="plugins")
                    space.sys.stderr = io.StringIO()
                    with self.repaired():
                        shelf["held"] = space.import_("plugin").f
                        space.exec(source)
                        report = space.discard(timeout=5, force=force)
                        str(report), repr(report)
                    self.assertTrue(space.closed)
                    if force:
                        with self.assertRaises(modspace.SpaceClosedError):
                            shelf["held"]()
                    else:
                        self.assertTrue(any("shelf['held']" in held.path for held in report.held), report)
                        self.assertEqual(shelf["held"](), 42)
                    shelf.clear()
                    gc.collect()


if __name__ == "__main__":
    unittest.main()
