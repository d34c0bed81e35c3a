"""Discarding a space under all circumstances: failing callbacks, threads inside, broken programs, held objects, forks."""

import codecs
import contextlib
import faulthandler
import functools
import gc
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import types
import unittest
import weakref

import modspace
from support import STRESS, SpaceTest

HOST = modspace.current()
MODSPACE = os.readlink("/proc/self/exe")
SEED = int(os.environ.get("MODSPACE_SEED", random.randrange(2**32)))

#: What the tests hold on to.
shelf = {}


class Discarding(SpaceTest):
    def setUp(self):
        faulthandler.dump_traceback_later(120 * STRESS, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.addCleanup(shelf.clear)
        self.beside = self.space(name="beside")
        self.beside.exec("import json\ndef beside(x):\n    import sys\n    return json.loads(json.dumps(x)), __import__('sys') is sys")

    def tearDown(self):
        """Whatever happened to one space: others work, and one that comes and goes leaves nothing behind."""
        shelf.clear()
        gc.collect()
        self.assertEqual(self.beside.eval("beside([1])"), ([1], True))
        self.assertEqual(self.beside.eval("sorted([2, 1])"), [1, 2])
        self.beside.discard()
        self.assertIs(modspace.current(), HOST)
        self.assertIsNone(modspace.context() if modspace.context() is not HOST else None)
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
        """A thread that runs `work` of the space until its event `go` is set."""
        ready, go = threading.Event(), threading.Event()
        space.exec("def work(ready, wait):\n    ready()\n    wait()\n    return 42\n")
        work = space.ns["work"]
        outcome = []

        def run():
            try:
                outcome.append(work(ready.set, go.wait))
            except BaseException as error:
                outcome.append(error)
        thread = threading.Thread(target=run, **options)
        thread.go, thread.outcome = go, outcome
        self.addCleanup(go.set)
        thread.start()
        ready.wait()
        return thread

    def run_threads(self, functions):
        """Runs the functions at once; returns the exceptions raised."""
        errors, barrier = [], threading.Barrier(len(functions))

        def run(function):
            try:
                barrier.wait()
                function()
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=run, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors

    def program(self, source, **options):
        """Runs a program in a process of its own."""
        path = os.path.join(self.tree({"program.py": source}), "program.py")
        return subprocess.run([MODSPACE, "run", path], capture_output=True, text=True, timeout=100, **options)


class Callbacks(Discarding):
    """Exit callbacks, finalizers and weak reference callbacks, and what they do wrong."""

    def test_exit_callbacks_that_raise(self):
        space, seen = self.recorded()
        order = space.ns["order"] = []
        space.exec("import atexit, sys\nfor number in range(4): atexit.register(order.append, number)\n"
                   "atexit.register(lambda: 1/0)\natexit.register(sys.exit, 3)\natexit.register(order.append, 'a')\n"
                   "def interrupt(): raise KeyboardInterrupt\natexit.register(interrupt)\natexit.register(order.append)\n"
                   "atexit.register(order.append, 'b')")
        report = space.discard()
        self.assertEqual(order, ["b", "a", 3, 2, 1, 0])
        self.assertEqual(seen[:2], ["TypeError", "KeyboardInterrupt"])
        self.assertIn("ZeroDivisionError", seen)
        self.assertTrue(report.clean, report)

    def test_a_hook_that_raises_itself(self):
        for hook in ("1/0", "None", "lambda: None", "lambda report: 1/0", "__import__('absent')"):
            with self.subTest(hook=hook):
                space = self.space()
                space.sys.stderr = io.StringIO()
                done = space.ns["done"] = []
                space.exec(f"import atexit, sys\natexit.register(done.append, 1)\ndef bad(): raise LookupError\natexit.register(bad)\n"
                           f"class Bad:\n    def __del__(self): raise LookupError\nbad = Bad()\nbad.me = bad\n"
                           f"try: sys.unraisablehook = {hook}\nexcept Exception: del sys.unraisablehook")
                self.assertTrue(space.discard().clean)
                self.assertEqual(done, [1])

    def test_callbacks_before_finalizers(self):
        order = []
        space = self.space()
        space.ns["note"] = order.append
        space.exec("import atexit\natexit.register(note, 'exit')\nclass Late:\n    def __del__(self): note('del')\nlate = Late()\nlate.me = late")
        space.discard()
        self.assertEqual(order, ["exit", "del"])

    WHOLE = """\
        import atexit, helper, json, weakref
        CONSTANT = 5

        def look(when):
            import helper as again, json, sys, plugin
            helper.note((when, CONSTANT, again is helper, json.loads("[1]"), sys.modules["plugin"] is plugin, answer()))

        def answer():
            return helper.value

        class Thing:
            def __del__(self):
                look("del")

        def dead(reference):
            look("weakref")

        thing = Thing()
        thing.me = thing
        other = type("Other", (), {})()
        other.me = other
        reference = weakref.ref(other, dead)
        atexit.register(look, "exit")
        """

    def test_everything_is_whole_while_they_run(self):
        seen = []
        space, errors = self.recorded({"plugin.py": self.WHOLE, "helper.py": "value = 42\nimport sys\nnote = sys.note"})
        space.sys.note = seen.append
        space.import_("plugin")
        report = space.discard()
        rest = (5, True, [1], True, 42)
        self.assertEqual(errors, [])
        self.assertEqual(seen[0], ("exit", *rest))
        self.assertEqual(sorted(seen), [(when, *rest) for when in ("del", "exit", "weakref")])
        self.assertTrue(report.clean, report)

    def test_imports_of_what_is_not_loaded(self):
        seen = []
        space, errors = self.recorded({"late.py": "value = 1", "later.py": "value = 2"})
        space.ns["note"] = seen.append
        space.exec("import atexit\ndef load(when, name):\n    try: note((when, __import__(name).value))\n"
                   "    except Exception as error: note((when, type(error).__name__))\n"
                   "class Thing:\n    def __del__(self): load('del', 'later')\nthing = Thing()\nthing.me = thing\natexit.register(load, 'exit', 'late')")
        space.discard()
        self.assertEqual(seen, [("exit", 1), ("del", "SpaceClosedError")])
        self.assertEqual(errors, [])

    def test_an_object_that_comes_to_life_again_outside(self):
        space, errors = self.recorded({"plugin.py": "import sys\ndef answer(): return 42\nclass Phoenix:\n    def __del__(self): sys.save(self)\n"
                                                    "    def answer(self): return answer()\nphoenix = Phoenix()\nphoenix.me = phoenix"})
        space.sys.save = lambda phoenix: shelf.setdefault("held", phoenix)
        gone = weakref.ref(space.import_("plugin").Phoenix)
        report = space.discard()
        self.assertFalse(report.clean)
        self.assertTrue(any("shelf['held']" in held.path for held in report.held), report)
        self.assertEqual(shelf["held"].answer(), 42)
        shelf.clear()
        gc.collect()
        again = space.discard()
        self.assertIsNone(gone())
        self.assertTrue(again.clean, again)

    def test_objects_that_come_to_life_again_inside(self):
        for lives in (1, 5, 30):
            with self.subTest(lives=lives):
                space, errors = self.recorded()
                ended = []
                space.ns["note"] = ended.append
                space.exec(f"saved = []\nclass Phoenix:\n    def __del__(self):\n        note(len(saved))\n        if len(saved) < {lives}:\n"
                           f"            saved.append(self)\n            saved.append(Phoenix())\nphoenix = Phoenix()\nphoenix.me = phoenix")
                gone = weakref.ref(space.ns["Phoenix"])
                space.discard()
                for _ in range(5):
                    self.space().discard()
                self.assertIsNone(gone())
                self.assertEqual(errors, [])
                self.assertTrue(space.discard().clean)

    def test_finalizers_that_do_much(self):
        acts = {
            "collect": "import gc; gc.collect()",
            "make a space": "import modspace; modspace.ModuleSpace().discard()",
            "start a thread": "import threading; t = threading.Thread(target=len, args=('',)); t.start(); t.join()",
            "print": "print('end')",
            "exec": "exec('x = 1')",
            "register": "import atexit; atexit.register(print)",
            "discard": "import modspace; modspace.current().discard()",
            "reload": "import modspace; modspace.current().reload()",
            "recurse": "act()",
            "clear": "import sys; sys.modules.clear(); globals().clear()",
            "raise": "raise SystemExit",
        }
        imports = "import gc, modspace, threading, sys, atexit\n"
        for name, act in acts.items():
            for kind in ("class Thing:\n    def __del__(self): act()\nthing = Thing()\nthing.me = thing", "import atexit\natexit.register(act)",
                         "import weakref\nclass Thing: pass\nthing = Thing()\nthing.me = thing\nr = weakref.ref(thing, lambda r: act())"):
                with self.subTest(act=name, kind=kind):
                    space, errors = self.recorded()
                    space.sys.stdout = io.StringIO()
                    space.exec(f"{imports}\ndef act():\n    {act}\n{kind}")
                    space.discard()
                    self.assertTrue(space.closed)

    def test_an_exit_callback_makes_children_and_they_go_too(self):
        space, errors = self.recorded()
        space.exec("import atexit, modspace\ndef make():\n    global child\n    child = modspace.ModuleSpace(modspace.current(), name='late child')\n"
                   "    child.exec('import json')\natexit.register(make)")
        before = len(modspace.spaces())
        space.discard()
        self.assertFalse([space for space in modspace.spaces() if space.name == "late child"])
        self.assertEqual(len(modspace.spaces()), before - 1)


class Refused(Discarding):
    """From inside, and with live children."""

    def check(self, space, refused):
        """`refused()` raises `SpaceError`, and the space goes on as if nothing had been."""
        space.exec("import atexit\nmark = object()\natexit.register(print, end='')")
        before = space.generation, dict(space.sys.modules), space.ns["mark"], space.eval("atexit._ncallbacks()")
        with self.assertRaises(modspace.SpaceError) as caught:
            refused()
        self.assertNotIsInstance(caught.exception, modspace.SpaceClosedError)
        self.assertIn(space.name, str(caught.exception))
        self.assertFalse(space.closed)
        self.assertIn(space, modspace.spaces())
        self.assertEqual((space.generation, dict(space.sys.modules), space.ns["mark"], space.eval("atexit._ncallbacks()")), before)
        del before
        space.exec("import json\nassert json.loads('[1]') == [1]\nimport string")
        return caught.exception

    def test_by_its_own_code(self):
        space = self.library({"plugin.py": "import modspace\ndef end(**options): modspace.current().discard(**options)"}, name="plugins")
        plugin = space.import_("plugin")
        self.check(space, lambda: space.exec("import modspace\nmodspace.current().discard()"))
        for options in ({}, {"force": True}, {"timeout": 0}, {"recursive": True}):
            self.check(space, lambda: plugin.end(**options))
        self.check(space, lambda: space.eval("modspace.current().discard()"))
        del plugin
        self.assertTrue(space.discard().clean)

    def test_by_host_functions_that_its_code_calls(self):
        space, other = self.space(name="plugins"), self.space(name="other")
        space.ns["end"] = other.ns["end"] = space.discard
        self.check(space, lambda: space.exec("end()"))
        self.check(space, lambda: space.exec("def f(n): return end() if n == 0 else f(n - 1)\nf(50)"))
        self.check(space, lambda: space.exec("sorted([1, 2], key=lambda x: end())"))
        self.check(space, lambda: space.exec("class C:\n    def __eq__(self, other): end()\nC() == 1"))
        self.check(space, lambda: space.exec("def numbers():\n    yield end()\nnext(numbers())"))
        self.check(space, lambda: space.exec("list(map(lambda x: end(), [1]))"))
        self.check(space, lambda: space.exec("exec('end()')"))
        other.exec("def through(): end()")
        space.ns["through"] = other.ns["through"]
        self.check(space, lambda: space.exec("through()"))
        self.check(space, lambda: space.call(lambda: space.discard()))
        self.check(space, lambda: space.call(other.call, space.call, space.discard))

    def test_by_a_module_being_imported(self):
        space = self.library({"plugin.py": "import sys\nsys.end()", "good.py": ""}, name="plugins")
        space.sys.end = space.discard
        self.check(space, lambda: space.import_("plugin"))
        self.assertNotIn("plugin", space.sys.modules)
        del space.sys.end

    def test_by_a_finder_and_by_a_stream(self):
        space = self.library({"good.py": ""}, name="plugins")

        class Ender:
            def find_spec(self, name, *args):
                if name == "good":
                    space.discard()

            def write(self, text):
                space.discard()
        space.sys.meta_path.insert(0, Ender())
        self.check(space, lambda: space.import_("good"))
        del space.sys.meta_path[0]
        space.sys.stdout = Ender()
        self.check(space, lambda: space.exec("print(1)"))
        del space.sys.stdout
        space.discard()

    def test_by_code_of_a_child(self):
        space = self.space(name="plugins")
        child = self.space(space, name="below")
        child.ns["end"] = space.discard
        self.check(space, lambda: child.exec("end(recursive=True)"))
        self.assertFalse(child.closed)
        self.assertEqual(child.eval("1 + 1"), 2)

    def test_in_a_context(self):
        # The context space is where names are looked up; nothing runs there.
        space = self.space(name="plugins")
        with self.beside:
            with space:
                space.exec("import json")
                self.assertTrue(space.discard().clean)
                self.assertIsNot(modspace.context(), space)
            self.assertIs(modspace.context(), self.beside)
        with self.assertRaises(modspace.SpaceClosedError):
            with space:
                pass

    def test_the_root_and_the_program(self):
        for space in (modspace.root, HOST):
            with self.assertRaises(modspace.SpaceError):
                space.discard(recursive=True, force=True)
            self.assertFalse(space.closed)

    def test_with_children(self):
        space = self.space(name="plugins")
        children = [self.space(space, name=name) for name in ("left", "right")]
        grandchild = self.space(children[0], name="deep")
        message = str(self.check(space, space.discard))
        self.assertIn("left", message)
        self.assertIn("right", message)
        self.check(children[0], lambda: children[0].discard(recursive=False))
        order = []
        for other in (space, *children, grandchild):
            other.ns["note"] = order.append
            other.exec(f"import atexit, json; atexit.register(note, {other.name!r})")
        report = space.discard(recursive=True)
        self.assertTrue(report.clean, report)
        self.assertEqual(order[-1], "plugins")
        self.assertLess(order.index("deep"), order.index("left"))
        self.assertEqual(sorted(order), ["deep", "left", "plugins", "right"])
        self.assertTrue(all(other.closed for other in (space, *children, grandchild)))
        self.assertEqual(space.children, [])
        for other in (space, *children, grandchild):
            with self.assertRaises(modspace.SpaceClosedError):
                other.exec("pass")

    def test_with_children_that_were_discarded(self):
        space = self.space()
        for _ in range(3):
            self.space(space).discard()
        self.assertTrue(space.discard().clean)


class Arguments(Discarding):
    def test_what_makes_no_sense(self):
        space = self.space()
        for options, error, text in (
            ({"timeout": "1"}, TypeError, "timeout"), ({"timeout": []}, TypeError, "timeout"), ({"timeout": 1j}, TypeError, "timeout"),
            ({"timeout": -1}, ValueError, "timeout"), ({"timeout": -0.001}, ValueError, "timeout"), ({"timeout": float("nan")}, ValueError, "timeout"),
            ({"timeout": 10**400}, (ValueError, OverflowError), ""), ({"force": "no"}, TypeError, "force"), ({"force": 1}, TypeError, "force"),
            ({"recursive": 1}, TypeError, "recursive"), ({"recursive": "yes"}, TypeError, "recursive"), ({"forced": True}, TypeError, "forced"),
        ):
            with self.subTest(options=options):
                with self.assertRaises(error) as caught:
                    space.discard(**options)
                self.assertIn(text, str(caught.exception))
                self.assertFalse(space.closed)
        with self.assertRaises(TypeError):
            space.discard(False, None, False, 1)
        self.assertEqual(space.eval("1 + 1"), 2)

    def test_very_long_timeouts(self):
        for timeout in (1e9, 1e12, 1e18, 1.8e19, float("inf"), 1e300, 2**63, 2**64, sys.maxsize):
            with self.subTest(timeout=timeout):
                space = self.space()
                space.exec("import json")
                try:
                    report = space.discard(timeout=timeout)
                except (ValueError, OverflowError):
                    self.assertFalse(space.closed)
                else:
                    self.assertTrue(report.clean)

    def test_numbers_of_other_kinds(self):
        import decimal
        import fractions
        for timeout in (0, 0.0, True, fractions.Fraction(1, 2), decimal.Decimal("0.5")):
            with self.subTest(timeout=timeout):
                self.assertTrue(self.space().discard(timeout=timeout).clean)

    def test_by_position(self):
        space = self.space()
        self.space(space)
        self.assertTrue(space.discard(True, 1.5, True).clean)


class Twice(Discarding):
    def test_again(self):
        space = self.space(name="plugins")
        space.exec("import json")
        first = space.discard()
        self.assertEqual((first.generation, first.clean), (1, True))
        self.assertGreater(first.objects, 100)
        self.assertGreater(first.bytes, 1000)
        for options in ({}, {"force": True}, {"recursive": True}, {"timeout": 0}):
            again = space.discard(**options)
            self.assertEqual((again.space, again.generation, again.objects, again.clean), ("plugins", 0, 0, True))

    def test_again_when_nothing_holds_it_any_more(self):
        space = self.library({"plugin.py": "def f(): pass"}, name="plugins")
        shelf["held"] = space.import_("plugin").f
        self.assertFalse(space.discard().clean)
        self.assertEqual(space.discard().objects, 0)
        gone = weakref.ref(shelf.pop("held"))
        gc.collect()
        again = space.discard()
        self.assertIsNone(gone())
        self.assertTrue(again.clean)

    def test_two_threads_at_once(self):
        for attempt in range(10 * STRESS):
            space = self.space(name="plugins")
            ran, reports = [], []
            space.ns["ran"] = ran.append
            space.exec("import atexit, json\natexit.register(ran, 1)")
            del space.ns["ran"]
            errors = self.run_threads([lambda: reports.append(space.discard())] * 3)
            self.assertEqual([repr(error) for error in errors], [])
            self.assertEqual(ran, [1])
            self.assertEqual(sorted(report.generation for report in reports), [0, 0, 1])
            self.assertTrue(space.closed)

    def test_a_second_thread_while_the_first_waits(self):
        space = self.space(name="plugins")
        thread = self.inside(space)
        reports = []
        first = threading.Thread(target=lambda: reports.append(space.discard()))
        first.start()
        while not space.closed:
            time.sleep(0.001)
        self.assertEqual(space.discard().generation, 0)
        self.assertEqual(reports, [])
        thread.go.set()
        thread.join()
        first.join()
        self.assertEqual((reports[0].generation, reports[0].threads), (1, []))
        self.assertEqual(thread.outcome, [42])

    def test_a_parent_while_another_thread_discards_the_child(self):
        for attempt in range(10 * STRESS):
            parent = self.space()
            child = self.space(parent)
            child.exec("import json"), parent.exec("import json")
            errors = self.run_threads([child.discard, lambda: parent.discard(recursive=True)])
            self.assertEqual([repr(error) for error in errors], [])
            self.assertTrue(child.closed and parent.closed)

    def test_while_another_thread_collects(self):
        done = threading.Event()

        def collect():
            while not done.is_set():
                gc.collect()

        def work():
            try:
                for _ in range(20 * STRESS):
                    space = modspace.ModuleSpace(HOST)
                    space.exec("import json, logging\nclass C:\n    def __del__(self): json.dumps(1)\nc = C()\nc.me = c")
                    report = space.discard()
                    self.assertEqual(report.threads, [])
            finally:
                done.set()
        self.assertEqual(self.run_threads([collect, collect, work]), [])

    def test_while_other_threads_make_spaces(self):
        def work():
            for _ in range(15 * STRESS):
                space = modspace.ModuleSpace(HOST)
                space.exec("import json\nclass C:\n    def f(self): pass\nc = C()")
                space.discard()
                self.assertTrue(space.closed)
        self.assertEqual(self.run_threads([work] * 4), [])


class Inside(Discarding):
    """Threads that run in the space."""

    def test_a_thread_that_stays_is_named(self):
        space = self.space(name="plugins")
        thread = self.inside(space, name="busy")
        report = space.discard(timeout=0.1)
        self.assertGreaterEqual(report.duration, 0.1)
        self.assertFalse(report.clean)
        staying, = report.threads
        self.assertEqual((staying.name, staying.ident), ("busy", thread.ident))
        self.assertIn("in work", staying.stack)
        self.assertIn("busy", str(report))
        self.assertIn("in work", str(report))
        self.assertIn("busy", repr(staying))
        self.assertTrue(space.closed)
        thread.go.set()
        thread.join()
        self.assertEqual(thread.outcome, [42])
        thread.outcome.clear()
        gc.collect()
        self.assertTrue(space.discard().clean)

    def test_several_threads(self):
        space = self.space(name="plugins")
        threads = [self.inside(space, name=f"busy{index}", daemon=index % 2 == 0) for index in range(4)]
        report = space.discard(timeout=0)
        self.assertEqual(sorted(thread.name for thread in report.threads), [f"busy{index}" for index in range(4)])
        for thread in threads:
            thread.go.set()
            thread.join()

    def test_threads_that_are_no_daemons_are_waited_for(self):
        space = self.space(name="plugins")
        thread = self.inside(space)
        order = space.ns["order"] = []
        space.exec("import atexit\natexit.register(order.append, 'exit')")
        timer = threading.Timer(0.1, lambda: (order.append("go"), thread.go.set()))
        timer.start()
        report = space.discard()
        self.assertEqual((report.threads, order), ([], ["go", "exit"]))
        timer.join()
        thread.join()

    def test_threads_that_the_space_started(self):
        for daemon in (False, True):
            with self.subTest(daemon=daemon):
                space = self.space(name="plugins")
                go, ready = threading.Event(), threading.Event()
                self.addCleanup(go.set)
                seen = []
                space.ns.update(ready=ready.set, wait=go.wait, note=seen.append)
                space.exec(f"import threading\ndef work():\n    ready()\n    wait()\n    note(1)\n"
                           f"thread = threading.Thread(target=work, name='own', daemon={daemon})\nthread.start()")
                ready.wait()
                if daemon:
                    report = space.discard()
                    self.assertEqual([thread.name for thread in report.threads], ["own"])
                    self.assertEqual(seen, [])
                    go.set()
                else:
                    threading.Timer(0.05, go.set).start()
                    report = space.discard()
                    self.assertEqual((report.threads, seen), ([], [1]))
                for thread in threading.enumerate():
                    if thread.name == "own":
                        thread.join()

    def test_what_a_thread_that_stays_can_do(self):
        space = self.library({"loaded.py": "value = 1", "late.py": "value = 2"}, name="plugins")
        space.import_("loaded")
        ready, go, seen = threading.Event(), threading.Event(), []
        self.addCleanup(go.set)
        space.exec("import sys\ndef helper(): return 42\ndef work(ready, wait):\n    ready(); wait()\n    import loaded\n"
                   "    try: import late\n    except Exception as error: caught = type(error).__name__\n"
                   "    try: __import__('modspace').ModuleSpace(__import__('modspace').current())\n"
                   "    except Exception as error: refused = type(error).__name__\n"
                   "    return helper(), loaded.value, caught, sys is __import__('sys')\n")
        thread = threading.Thread(target=lambda work=space.ns["work"]: seen.append(work(ready.set, go.wait)))
        thread.start()
        ready.wait()
        space.discard(timeout=0)
        go.set()
        thread.join()
        self.assertEqual(seen, [(42, 1, "SpaceClosedError", True)])

    def test_a_thread_in_the_middle_of_an_import(self):
        for timeout in (0.05, None):
            with self.subTest(timeout=timeout):
                space = self.library({"slow.py": "import sys\nsys.ready()\nsys.wait()\nimport late\nvalue = 1", "late.py": ""}, name="plugins")
                ready, go, seen = threading.Event(), threading.Event(), []
                self.addCleanup(go.set)
                space.sys.ready, space.sys.wait = ready.set, go.wait

                def load():
                    try:
                        seen.append(space.import_("slow").value)
                    except BaseException as error:
                        seen.append(type(error))
                thread = threading.Thread(target=load, name="importer")
                thread.start()
                ready.wait()
                if timeout is None:
                    threading.Timer(0.05, go.set).start()
                report = space.discard(timeout=timeout)
                if timeout is None:
                    self.assertEqual(report.threads, [])
                else:
                    self.assertEqual([thread.name for thread in report.threads], ["importer"])
                go.set()
                thread.join()
                self.assertEqual(seen, [modspace.SpaceClosedError])

    def test_imports_by_other_threads_until_it_is_closed(self):
        for attempt in range(5 * STRESS):
            files = {f"m{index}.py": f"import m{index + 1}" for index in range(20)}
            space = self.library({**files, "m20.py": ""}, name="plugins")
            started, odd = threading.Event(), []

            def load(order):
                started.set()
                try:
                    for index in order:
                        space.import_(f"m{index}")
                except modspace.SpaceClosedError:
                    pass

            def discard():
                started.wait()
                report = space.discard()
                self.assertEqual(report.threads, [])
            orders = [range(20), range(20, -1, -1), range(0, 20, 3)]
            errors = self.run_threads([discard, *(lambda order=order: load(order) for order in orders)])
            self.assertEqual([repr(error) for error in errors], [])

    def test_ctrl_c_while_it_waits(self):
        done = self.program("""\
            import modspace, os, signal, threading
            space = modspace.ModuleSpace(name="plugins")
            go, ready = threading.Event(), threading.Event()
            space.exec("import atexit\\natexit.register(print, 'exit')\\ndef work(ready, wait): ready(); wait()")
            thread = threading.Thread(target=space.ns["work"], args=(ready.set, go.wait))
            thread.start()
            ready.wait()
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                space.discard()
            except KeyboardInterrupt:
                print("interrupted", space.closed)
            go.set()
            thread.join()
            print(modspace.ModuleSpace().eval("1 + 1"))
            """)
        self.assertEqual((done.stdout.split("\n"), done.stderr), (["exit", "interrupted True", "2", ""], ""))


class Broken(Discarding):
    """A program may do to its own space what it likes."""

    PROGRAMS = {
        "sys.modules is another dict": "import sys\nsys.modules = {}",
        "sys.modules is a copy": "import sys\nsys.modules = dict(sys.modules)",
        "sys.modules is empty": "import sys\nsys.modules.clear()",
        "sys.modules is gone": "import sys\ndel sys.modules",
        "sys.modules is None": "import sys\nsys.modules = None",
        "sys.modules is a number": "import sys\nsys.modules = 5",
        "sys.modules is a mapping": "import sys, collections\nsys.modules = collections.UserDict(sys.modules)",
        "sys.modules is a dict that raises": "import sys\nclass D(dict):\n    def __getitem__(self, key): raise OSError\n    def get(self, *a): raise OSError\n"
                                             "    def __iter__(self): raise OSError\nsys.modules = D(sys.modules)",
        "sys.modules has odd keys": "import sys\nsys.modules[5] = 5\nsys.modules[None] = None\nsys.modules['x'] = object()\nsys.modules['\\ud800'] = 1",
        "sys.path is gone": "import sys\ndel sys.path, sys.meta_path, sys.path_hooks, sys.path_importer_cache",
        "sys.stdout is None": "import sys\nsys.stdout = sys.stderr = sys.stdin = None",
        "sys.stdout is closed": "import sys, io\nsys.stdout = io.StringIO()\nsys.stdout.close()",
        "sys.stdout fails": "import sys\nclass F:\n    def write(self, text): 1/0\n    def flush(self): 1/0\nsys.stdout = sys.stderr = F()",
        "__import__ is gone": "import builtins\ndel builtins.__import__",
        "__import__ fails": "import builtins\ndef bad(*args): 1/0\nbuiltins.__import__ = bad",
        "builtins are another module": "import sys, types\nsys.modules['builtins'] = types.ModuleType('builtins')",
        "sys is another module": "import sys, types\nsys.modules['sys'] = types.ModuleType('sys')",
        "__main__ is gone": "import sys\ndel sys.modules['__main__']",
        "the namespace is empty": "globals().clear()",
        "threading is a stand-in": "import sys, types\nsys.modules['threading'] = types.ModuleType('threading')",
        "threading is an object": "import sys\nsys.modules['threading'] = object()",
        "threading is None": "import sys\nsys.modules['threading'] = None",
        "threading raises": "import sys\nclass T:\n    def __getattr__(self, name): raise OSError(name)\nsys.modules['threading'] = T()",
        "threading lies": "import sys, types\nsys.modules['threading'] = types.SimpleNamespace(_threading_atexits=[1, None], _active={1: 2}, _shutdown=5)",
        "threading lies differently": "import sys, types\nsys.modules['threading'] = types.SimpleNamespace(_threading_atexits=5, _active=7)",
        "atexit is a stand-in": "import sys\nsys.modules['atexit'] = object()",
        "importlib is a stand-in": "import sys\nfor name in list(sys.modules):\n    if 'importlib' in name: sys.modules[name] = object()",
        "hooks are nonsense": "import sys\nsys.excepthook = sys.unraisablehook = sys.displayhook = 5",
        "the spec is nonsense": "import sys\n__spec__ = 5\nfor module in list(sys.modules.values()):\n    try: module.__spec__ = 5\n    except Exception: pass",
        "the names are nonsense": "import json, logging\njson.__name__ = 5\nlogging.__dict__['__name__'] = None\ndel json.__spec__\n__name__ = 7",
        "classes are nonsense": "class C: pass\nC.__module__ = 5\nC.__qualname__ = 'a.b.c'\nclass M(type):\n    def __getattribute__(cls, name): raise OSError\nclass D(metaclass=M): pass",
        "instances lie": "class C:\n    def __getattribute__(self, name): raise OSError(name)\nc = C()\nclass L:\n    @property\n    def __class__(self): raise OSError\nl = L()",
        "hashes fail": "class C:\n    def __hash__(self): raise OSError\n    def __eq__(self, other): raise OSError\n    def __bool__(self): raise OSError\n    def __len__(self): raise OSError\nc = [C()]",
        "a module that is a class": "import sys, types\nclass M(types.ModuleType):\n    def __getattribute__(self, name): raise OSError(name)\nsys.modules['m'] = M('m')",
        "the collector is off": "import gc\ngc.disable()\ngc.freeze()",
        "the recursion limit is low": "import sys\nsys.setrecursionlimit(60)",
        "a deep structure": "x = []\nfor _ in range(100000): x = [x]",
        "a deep chain of objects": "class N:\n    def __init__(self, next): self.next = next\n    def f(self): pass\nn = None\nfor _ in range(50000): n = N(n)",
        "many objects": "class N:\n    def f(self): pass\nobjects = [N() for _ in range(50000)]\nfor o in objects: o.all = objects",
    }

    def check(self, source, **options):
        space = self.library({"json_user.py": "import json"}, name="plugins")
        space.sys.stderr = io.StringIO()
        limit, enabled = sys.getrecursionlimit(), gc.isenabled()
        try:
            space.exec("import json, logging, atexit, threading, json_user\nclass Thing:\n    def f(self): pass\nthing = Thing()\nthing.me = thing")
            gone = weakref.ref(space.ns["Thing"])
            space.exec(source)
            report = space.discard(timeout=5, **options)
        finally:
            sys.setrecursionlimit(limit)
            gc.unfreeze()
            if enabled:
                gc.enable()
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
                    limit, enabled = sys.getrecursionlimit(), gc.isenabled()
                    try:
                        shelf["held"] = space.import_("plugin").f
                        space.exec(source)
                        report = space.discard(timeout=5, force=force)
                        str(report), repr(report)
                    finally:
                        sys.setrecursionlimit(limit)
                        gc.unfreeze()
                        if enabled:
                            gc.enable()
                    self.assertTrue(space.closed)
                    if force:
                        with self.assertRaises(modspace.SpaceClosedError):
                            shelf["held"]()
                    else:
                        self.assertTrue(any("shelf['held']" in held.path for held in report.held), report)
                        self.assertEqual(shelf["held"](), 42)
                    shelf.clear()
                    gc.collect()


PLUGIN = '''\
import functools, enum, dataclasses, typing, asyncio, contextlib
log = []
state = {"x": 1}

def answer(): return state["x"]
def defaults(a, b=state, *, c=answer, d=5): return a, b, c, d
def spread(*args, **kwargs): return args, kwargs
def annotated(x: int = 3) -> int: return x
def many(a, b, c, d, e=1, f=2, /, g=3, *, h, i=4): return a
square = lambda x: x * state["x"]

def closure():
    count = 0
    other = [answer]
    def step():
        nonlocal count
        count += 1
        return count, other, answer()
    return step

@functools.wraps(answer)
def wrapped(): return answer()

@functools.lru_cache
def cached(x): return answer()

def numbers(note):
    try:
        yield 1
        yield answer()
    finally:
        note(("finally", answer()))

async def coroutine(note):
    try:
        await Pause()
        return answer()
    finally:
        note(("finally", answer()))

async def stream():
    yield 1

class Pause:
    def __await__(self): yield

@contextlib.contextmanager
def manager():
    yield answer()

class Base:
    kind = "base"
    def __init__(self, value=1): self.value = value
    def method(self): return self.value
    @classmethod
    def make(cls): return cls()
    @staticmethod
    def static(): return answer()
    @property
    def prop(self): return self.value
    @functools.cached_property
    def slow(self): return self.value
    def __call__(self): return self.value
    def __add__(self, other): return 1
    def __len__(self): return 1
    def __iter__(self): return iter([1])
    def __getitem__(self, key): return 1
    def __enter__(self): return self
    def __exit__(self, *exc): pass
    def __eq__(self, other): return True
    def __hash__(self): return 1
    def __repr__(self): return "Base"
    def __getattr__(self, name): return answer()

class Derived(Base):
    def method(self): return super().method()

class Slotted:
    __slots__ = ("x",)
    def __init__(self, x): self.x = x
    def method(self): return self.x

class Meta(type):
    def method(cls): return answer()
class WithMeta(metaclass=Meta): pass

@dataclasses.dataclass
class Point:
    x: int = 1
    def method(self): return self.x

class Color(enum.Enum):
    RED = 1
    def method(self): return answer()

class Pair(typing.NamedTuple):
    left: int
    right: int
    def method(self): return self.left

class Fault(Exception):
    def method(self): return answer()

class Number(int):
    def method(self): return self + 1
'''


#: Longer than what the tests take of it.
host_numbers = [1, 2, 3]


class Forced(Discarding):
    """force=True: what is held raises `SpaceClosedError` when it is called, and everything else is gone."""

    CALLS = {
        "function": (lambda p: p.answer, lambda h: h()),
        "function with defaults": (lambda p: p.defaults, lambda h: h(1)),
        "function with defaults, all given": (lambda p: p.defaults, lambda h: h(1, 2, c=3, d=4)),
        "function called wrongly": (lambda p: p.answer, lambda h: h(1, 2, x=3)),
        "variadic function": (lambda p: p.spread, lambda h: h(1, x=2)),
        "annotated function": (lambda p: p.annotated, lambda h: h()),
        "many parameters": (lambda p: p.many, lambda h: h(1, 2, 3, 4, h=5)),
        "lambda": (lambda p: p.square, lambda h: h(2)),
        "closure": (lambda p: p.closure(), lambda h: h()),
        "closure maker": (lambda p: p.closure, lambda h: h()),
        "wrapper": (lambda p: p.wrapped, lambda h: h()),
        "cached function": (lambda p: p.cached, lambda h: h(1)),
        "generator function": (lambda p: p.numbers, lambda h: next(h(print))),
        "coroutine function": (lambda p: p.coroutine, lambda h: h(print).send(None)),
        "async generator function": (lambda p: p.stream, lambda h: h().__anext__().send(None)),
        "context manager function": (lambda p: p.manager, lambda h: h().__enter__()),
        "bound method": (lambda p: p.Base().method, lambda h: h()),
        "class method": (lambda p: p.Base.make, lambda h: h()),
        "static method": (lambda p: p.Base.static, lambda h: h()),
        "class": (lambda p: p.Base, lambda h: h()),
        "class with arguments": (lambda p: p.Base, lambda h: h(5)),
        "derived class": (lambda p: p.Derived, lambda h: h()),
        "slotted class": (lambda p: p.Slotted, lambda h: h(1)),
        "class with a metaclass": (lambda p: p.WithMeta, lambda h: h()),
        "method of a metaclass": (lambda p: p.WithMeta, lambda h: h.method()),
        "dataclass": (lambda p: p.Point, lambda h: h()),
        "named tuple class": (lambda p: p.Pair, lambda h: h(1, 2)),
        "exception class": (lambda p: p.Fault, lambda h: h()),
        "number class": (lambda p: p.Number, lambda h: h(3)),
        "host subclass": (lambda p: type("Host", (p.Base,), {}), lambda h: h()),
        "instance called": (lambda p: p.Base(), lambda h: h()),
        "instance method": (lambda p: p.Base(), lambda h: h.method()),
        "instance class method": (lambda p: p.Base(), lambda h: h.make()),
        "instance property": (lambda p: p.Base(), lambda h: h.prop),
        "cached property": (lambda p: p.Base(), lambda h: h.slow),
        "__getattr__": (lambda p: p.Base(), lambda h: h.absent),
        "addition": (lambda p: p.Base(), lambda h: h + 1),
        "length": (lambda p: p.Base(), len),
        "iteration": (lambda p: p.Base(), list),
        "subscription": (lambda p: p.Base(), lambda h: h[0]),
        "comparison": (lambda p: p.Base(), lambda h: h == 1),
        "hash": (lambda p: p.Base(), hash),
        "repr": (lambda p: p.Base(), repr),
        "derived method": (lambda p: p.Derived(), lambda h: h.method()),
        "slotted method": (lambda p: p.Slotted(1), lambda h: h.method()),
        "dataclass method": (lambda p: p.Point(), lambda h: h.method()),
        "enum method": (lambda p: p.Color.RED, lambda h: h.method()),
        "named tuple method": (lambda p: p.Pair(1, 2), lambda h: h.method()),
        "exception method": (lambda p: p.Fault(), lambda h: h.method()),
        "number method": (lambda p: p.Number(3), lambda h: h.method()),
        "host subclass method": (lambda p: type("Host", (p.Base,), {})(), lambda h: h.method()),
        "partial": (lambda p: functools.partial(p.answer), lambda h: h()),
        "partial with an argument": (lambda p: functools.partial(p.defaults, 1), lambda h: h()),
        "list": (lambda p: [p.answer], lambda h: h[0]()),
        "map": (lambda p: map(p.square, host_numbers), next),
        "sort key": (lambda p: p.square, lambda h: sorted([2, 1], key=h)),
        "host closure": (lambda p: (lambda f: lambda: f())(p.answer), lambda h: h()),
        "functions in a dict": (lambda p: {"answer": p.answer}, lambda h: h["answer"]()),
    }

    def plugin(self, **options):
        space = self.library({"plugin.py": PLUGIN}, name="plugins", **options)
        space.sys.stderr = io.StringIO()
        return space

    def test_calls_raise(self):
        for again in (False, True):
            space = self.plugin()
            plugin = space.import_("plugin")
            shelf["held"] = {name: hold(plugin) for name, (hold, use) in self.CALLS.items()}
            del plugin
            if again:
                # What an earlier discard left working.
                space.discard()
            space.discard(force=True)
            for name, (hold, use) in self.CALLS.items():
                with self.subTest(name, again=again):
                    for _ in range(2):
                        with self.assertRaises(modspace.SpaceClosedError) as caught:
                            use(shelf["held"][name])
                    self.assertIn("plugins", str(caught.exception))
            shelf.clear()

    def test_what_is_held_alone_raises(self):
        for name in ("function", "closure", "bound method", "class", "instance method", "number method", "partial", "generator function"):
            with self.subTest(name):
                hold, use = self.CALLS[name]
                space = self.plugin()
                shelf["held"] = hold(space.import_("plugin"))
                space.discard(force=True)
                with self.assertRaises(modspace.SpaceClosedError):
                    use(shelf["held"])
                shelf.clear()

    def test_finalizers_of_what_is_held_raise_where_nobody_sees_it(self):
        space = self.library({"plugin.py": "class Thing:\n    def __del__(self): print('end')\ndef dead(reference): print('dead')"}, name="plugins")
        plugin = space.import_("plugin")
        shelf["held"] = [plugin.Thing(), weakref.ref(self.beside.ns["beside"], plugin.dead)]
        del plugin
        space.discard(force=True)
        with contextlib.redirect_stderr(io.StringIO()):
            shelf.clear()

    def test_everything_else_is_freed(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        shelf["held"] = [plugin.answer, plugin.Base()]
        gone = {name: weakref.ref(value) for name, value in vars(plugin).items()
                if isinstance(value, (type, types.FunctionType)) and value.__module__ == "plugin" and name not in ("answer", "Base")}
        gone["plugin"] = weakref.ref(plugin)
        gone["Meta"] = weakref.ref(plugin.Meta)
        del plugin
        report = space.discard(force=True)
        self.assertGreater(report.objects, 500)
        gc.collect()
        self.assertEqual([name for name, reference in gone.items() if reference() is not None], [])

    def test_shells_are_freed_with_their_holder(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        shelf["held"] = [plugin.answer, plugin.Base, plugin.Base(), plugin.closure()]
        gone = [weakref.ref(plugin.answer), weakref.ref(plugin.Base)]
        del plugin
        space.discard(force=True)
        shelf.clear()
        gc.collect()
        self.assertTrue(space.discard().clean)
        self.assertEqual([reference() for reference in gone], [None, None])

    def test_generators_are_closed(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        notes = []
        suspended, fresh = plugin.numbers(notes.append), plugin.numbers(notes.append)
        next(suspended)
        shelf["held"] = [suspended, fresh]
        del plugin
        space.discard(force=True)
        self.assertEqual(notes, [("finally", 1)])
        for generator in (suspended, fresh):
            self.assertIsNone(generator.gi_frame)
            with self.assertRaises((StopIteration, modspace.SpaceClosedError)):
                next(generator)

    def test_coroutines_are_closed(self):
        space = self.plugin()
        plugin = space.import_("plugin")
        notes = []
        suspended = plugin.coroutine(notes.append)
        suspended.send(None)
        shelf["held"] = suspended
        del plugin
        space.discard(force=True)
        self.assertEqual(notes, [("finally", 1)])
        with self.assertRaises((RuntimeError, modspace.SpaceClosedError)):
            suspended.send(None)

    def test_a_generator_that_refuses_to_end(self):
        space = self.library({"plugin.py": "def stubborn():\n    while True:\n        try: yield 1\n        except GeneratorExit: pass\n"
                                           "def failing():\n    try: yield 1\n    finally: 1/0\n"}, name="plugins")
        errors = []
        space.sys.unraisablehook = lambda report: errors.append(report.exc_type.__name__)
        space.sys.stderr = io.StringIO()
        plugin = space.import_("plugin")
        shelf["held"] = held = [plugin.stubborn(), plugin.failing()]
        for generator in held:
            next(generator)
        del plugin
        space.discard(force=True)
        self.assertTrue(space.closed)
        for generator in held:
            with contextlib.suppress(StopIteration, modspace.SpaceClosedError, RuntimeError, NameError):
                for _ in range(3):
                    next(generator)

    def test_a_generator_that_runs(self):
        space = self.plugin()
        ready, go, seen = threading.Event(), threading.Event(), []
        self.addCleanup(go.set)
        space.exec("def numbers(ready, wait):\n    yield 0\n    ready()\n    wait()\n    yield 1\n")
        numbers = shelf["held"] = space.ns["numbers"](ready.set, go.wait)
        next(numbers)

        def run():
            try:
                seen.append(next(numbers))
            except BaseException as error:
                seen.append(error)
        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        space.discard(force=True, timeout=0.05)
        go.set()
        thread.join()
        self.assertEqual(len(seen), 1)

    def test_threads_inside_go_on_or_raise(self):
        for source in ("return 42", "return helper()", "import json\n    return json.dumps([1])", "return [helper() for _ in range(3)]",
                       "def inner(): return late\n    late = 5\n    return inner()", "return len(Thing().values)", "import late\n    return late",
                       "global mark\n    mark = 1\n    return mark", "return (lambda: helper)()()", "yield_ = list(numbers())\n    return yield_",
                       "return super(Thing, Thing()).__init__()", "raise Fault", "try: 1/0\n    except ZeroDivisionError as error: return helper()"):
            with self.subTest(source):
                space = self.plugin()
                space.exec(f"import json\ndef helper(): return 7\ndef numbers(): yield 1\nclass Fault(Exception): pass\nclass Thing:\n"
                           f"    def __init__(self): self.values = [1]\ndef work(ready, wait):\n    ready()\n    wait()\n    {source}\n")
                ready, go, seen = threading.Event(), threading.Event(), []
                self.addCleanup(go.set)

                def run(work=space.ns["work"]):
                    try:
                        seen.append(work(ready.set, go.wait))
                    except Exception as error:
                        seen.append(type(error).__name__)
                thread = threading.Thread(target=run)
                thread.start()
                del run
                ready.wait()
                report = space.discard(force=True, timeout=0.02)
                self.assertEqual(len(report.threads), 1)
                go.set()
                thread.join()
                self.assertEqual(len(seen), 1)
                seen.clear()

    def test_a_tree(self):
        parent = self.plugin()
        child = self.space(parent, name="below")
        child.exec("from plugin import answer\nimport plugin\ndef own(): return plugin.answer()\nclass Own(plugin.Base):\n    def method(self): return 1")
        shelf["held"] = [parent.import_("plugin").answer, child.ns["own"], child.ns["Own"]]
        parent.discard(force=True, recursive=True)
        for held in shelf["held"]:
            with self.assertRaises(modspace.SpaceClosedError):
                held()

    def test_survivors_of_other_spaces_go_on_working(self):
        one, two, three = self.plugin(), self.plugin(), self.plugin()
        plugins = shelf["held"] = [space.import_("plugin") for space in (one, two, three)]
        one.discard()
        two.discard()
        three.discard(force=True)
        self.assertEqual([plugin.answer() for plugin in plugins[:2]], [1, 1])
        one.discard(force=True)
        self.assertEqual(plugins[1].answer(), 1)
        self.assertEqual(plugins[1].Base(5).method(), 5)

    def test_survivors_of_an_older_generation_raise_too(self):
        space = self.plugin()
        shelf["held"] = held = [space.import_("plugin").answer]
        space.reload()
        held.append(space.import_("plugin").answer)
        self.assertEqual([function() for function in held], [1, 1])
        space.discard(force=True)
        for function in held:
            with self.assertRaises(modspace.SpaceClosedError):
                function()

    def test_a_child_of_a_sibling_class_is_left_alone(self):
        space, other = self.plugin(), self.plugin()
        other.ns["Base"] = space.import_("plugin").Base
        other.exec("class Own(Base):\n    def __init__(self): self.y = 2\n    def own(self): return self.y")
        instance = other.eval("Own()")
        space.discard(force=True)
        self.assertEqual(instance.own(), 2)
        with self.assertRaises(modspace.SpaceClosedError):
            instance.prop
        self.assertFalse(other.closed)
        other.exec("del Base, Own")

    def test_host_callbacks_that_the_space_was_given_go_on(self):
        space = self.plugin()
        calls = []

        class Host:
            def method(self):
                calls.append(1)
        host = Host()
        space.ns.update(host=host, method=host.method, Host=Host)
        space.exec("import plugin\nhost.attribute = plugin.answer\nclass Sub(Host): pass")
        space.discard(force=True)
        host.method()
        self.assertEqual((calls, Host().__class__), ([1], Host))
        with self.assertRaises(modspace.SpaceClosedError):
            host.attribute()
        del host.attribute

    def test_a_function_patched_into_the_host(self):
        space = self.plugin()
        target = types.ModuleType("target")
        target.run = lambda: "host"
        space.ns["target"] = target
        space.exec("original = target.run\ntarget.run = lambda: original()")
        shelf["held"] = target
        space.discard(force=True)
        with self.assertRaises(modspace.SpaceClosedError):
            target.run()


class Survivors(Discarding):
    """What is held and not forced goes on working for its closed space."""

    SOURCE = """\
        import sys, atexit, loaded, modspace, warnings
        state = []

        def shout(text): print(text)
        def system(): import sys as again; return again
        def loaded_module(): import loaded as again; from loaded import value; return again, value
        def late_module(): import late
        def late_name(): from loaded import absent
        def late_submodule(): import pkg.late
        def late_from(): from pkg import late
        def by_name(name): return __import__(name)
        def by_importlib(name): import importlib; return importlib.import_module(name)
        def register(): atexit.register(print)
        def run(source): exec(source, globals()); return eval("42")
        def space(): return modspace.current()
        def child(): return modspace.ModuleSpace(modspace.current())
        def warn(): warnings.warn("careful")
        def counter(): state.append(1); return len(state)
        def fail(): 1/0
        def numbers():
            yield 1
            yield counter()
        def define():
            class Made:
                def f(self): return state
            return Made
        def thread():
            import threading
            out = []
            t = threading.Thread(target=lambda: out.append(counter()))
            t.start(); t.join()
            return out
        class Thing:
            def method(self): return counter()
        """

    def survivor(self, **options):
        space = self.library({"plugin.py": self.SOURCE, "loaded.py": "value = 1", "late.py": "", "pkg/__init__.py": "", "pkg/late.py": ""},
                             name="plugins", **options)
        space.import_("importlib"), space.import_("pkg"), space.import_("threading")
        plugin = space.import_("plugin")
        shelf["held"] = plugin
        return space, plugin

    def test_streams(self):
        space, plugin = self.survivor()
        space.sys.stdout, space.sys.stderr = stdout, stderr = io.StringIO(), io.StringIO()
        space.discard()
        plugin.shout("hello")
        plugin.warn()
        self.assertEqual(stdout.getvalue(), "hello\n")
        self.assertIn("careful", stderr.getvalue())

    def test_streams_of_the_parent(self):
        parent = self.space(name="parent")
        space, plugin = self.survivor(parent=parent)
        parent.sys.stdout = stdout = io.StringIO()
        space.discard()
        plugin.shout("hello")
        self.assertEqual(stdout.getvalue(), "hello\n")
        parent.discard()
        plugin.by_name("loaded")
        with contextlib.suppress(RuntimeError, modspace.SpaceClosedError):
            plugin.shout("nobody hears this")

    def test_imports(self):
        space, plugin = self.survivor()
        system, loaded = space.sys, space.import_("loaded")
        space.discard()
        self.assertIs(plugin.system(), system)
        self.assertIs(plugin.sys, system)
        self.assertEqual(plugin.loaded_module(), (loaded, 1))
        self.assertIs(plugin.by_name("loaded"), loaded)
        self.assertIs(plugin.by_importlib("loaded"), loaded)
        for function, args in ((plugin.late_module, ()), (plugin.late_submodule, ()), (plugin.by_name, ("late",)), (plugin.by_name, ("absent",)),
                               (plugin.by_importlib, ("late",)), (plugin.by_importlib, ("string",)), (plugin.by_name, ("decimal",))):
            with self.subTest(function=function, args=args):
                with self.assertRaises(modspace.SpaceClosedError) as caught:
                    function(*args)
                self.assertIn("plugins", str(caught.exception))
        with self.assertRaises((ImportError, modspace.SpaceClosedError)):
            plugin.late_from()
        with self.assertRaises(ImportError):
            plugin.late_name()

    def test_what_needs_a_live_space_raises(self):
        space, plugin = self.survivor()
        space.discard()
        for function in (plugin.register, plugin.child):
            with self.subTest(function=function), self.assertRaises(modspace.SpaceClosedError):
                function()

    def test_the_rest_works(self):
        space, plugin = self.survivor()
        numbers = plugin.numbers()
        next(numbers)
        space.discard()
        self.assertEqual((plugin.counter(), plugin.Thing().method(), next(numbers), plugin.thread()), (1, 2, 3, [4]))
        self.assertEqual(plugin.run("x = 5"), 42)
        self.assertEqual(plugin.x, 5)
        self.assertEqual(plugin.define()().f(), [1] * 4)
        with self.assertRaises(ZeroDivisionError):
            plugin.fail()

    def test_their_space(self):
        space, plugin = self.survivor()
        number = space.id
        space.discard()
        for held in (plugin, plugin.counter, plugin.Thing().method):
            self.assertTrue(modspace.space_of(held).closed)
            self.assertEqual(modspace.space_of(held).id, number)
        self.assertTrue(plugin.space().closed)
        self.assertIn("closed", repr(plugin.space()))

    def test_streams_modules_and_path_of_the_closed_sys(self):
        space, plugin = self.survivor()
        space.sys.path.append("mark")
        space.discard()
        self.assertIs(plugin.sys.modules["plugin"], plugin)
        self.assertEqual(plugin.sys.path[-1], "mark")
        self.assertEqual(plugin.sys.argv, plugin.sys.argv)

    def test_a_child_of_a_closed_parent_goes_on(self):
        parent = self.library({"above.py": "def f(): return 42"}, name="parent")
        held = parent.import_("above")
        other = self.space(name="other")
        other.ns["above"] = held
        parent.discard()
        self.assertEqual(other.eval("above.f()"), 42)
        other.exec("del above")


class Registrations(Discarding):
    """What a space registered with the process is taken back."""

    def gone(self, source, check=lambda: None, **options):
        """Runs `source` in a space; after its discard its function `callback` is gone."""
        space = self.space(name="plugins")
        space.sys.stderr = io.StringIO()
        calls = []
        space.ns["calls"] = calls
        space.exec("def callback(*args, **kwargs): calls.append(1)\nclass Callback:\n    def __call__(self, *args): calls.append(1)")
        space.exec(source)
        gone = weakref.ref(space.ns["callback"])
        report = space.discard(**options)
        calls.clear()
        check()
        self.assertEqual(calls, [])
        self.assertTrue(report.clean, report)
        self.assertIsNone(gone())

    def test_fork_hooks(self):
        def fork():
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.gone("import os\nos.register_at_fork(before=callback, after_in_child=callback, after_in_parent=callback)", fork)

    def test_codecs(self):
        def look():
            with self.assertRaises(LookupError):
                codecs.lookup("plugins-own")
        self.gone("import codecs\ncodecs.register(callback)\ncodecs.register_error('plugins-own', callback)", look)

    def test_a_signal_handler(self):
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.gone("import signal\nsignal.signal(signal.SIGUSR1, callback)")
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)

    def test_a_signal_handler_of_the_host_stays(self):
        calls = []
        before = signal.signal(signal.SIGUSR1, lambda *args: calls.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.gone("import signal\nsignal.getsignal(signal.SIGUSR1)")
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(1000):
            if calls:
                break
            time.sleep(0.001)
        self.assertEqual(calls, [1])

    def test_tracing(self):
        for setting in ("sys.settrace", "sys.setprofile"):
            with self.subTest(setting):
                self.gone(f"import sys\n{setting}(callback)", lambda: len(sorted([1])))
        self.assertEqual((sys.gettrace(), sys.getprofile()), (None, None))

    def test_tracing_of_threads(self):
        def run():
            thread = threading.Thread(target=lambda: len(""))
            thread.start()
            thread.join()
        for setting in ("settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads"):
            with self.subTest(setting):
                self.gone(f"import threading\nthreading.{setting}(callback)", run)
        self.assertEqual((threading.gettrace(), threading.getprofile(), sys.gettrace(), sys.getprofile()), (None,) * 4)

    def test_a_trace_function_of_the_host_stays(self):
        def trace(*args):
            return None
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            self.gone("import sys\nsys.gettrace()")
            self.assertIs(sys.gettrace(), trace)
        finally:
            sys.settrace(before)

    def test_monitoring(self):
        def look():
            len(sorted([1]))
            self.assertIsNone(sys.monitoring.get_tool(3))
        self.gone("import sys\nm = sys.monitoring\nm.use_tool_id(3, 'plugins')\nm.register_callback(3, m.events.PY_START, callback)\n"
                  "m.register_callback(3, m.events.CALL, callback)\nm.set_events(3, m.events.PY_START | m.events.CALL)", look)

    def test_collector_callbacks(self):
        before = list(gc.callbacks)
        self.gone("import gc\ngc.callbacks.append(callback)\ngc.callbacks.append(Callback())", gc.collect)
        self.assertEqual(gc.callbacks, before)

    def test_context_variables(self):
        self.gone("import contextvars\nvariable = contextvars.ContextVar('v', default=callback)\nvariable.set(callback)\n"
                  "import decimal\ndecimal.getcontext().prec = 5")

    def test_thread_pools(self):
        before = threading.active_count()
        self.gone("from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(3)\n"
                  "assert [future.result() for future in [pool.submit(callback) for _ in range(5)]] == [None] * 5")
        self.assertEqual(threading.active_count(), before)

    def test_a_thread_pool_with_work_left(self):
        self.gone("import time\nfrom concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
                  "futures = [pool.submit(time.sleep, 0.01) for _ in range(5)]")

    def test_an_event_loop_in_a_thread(self):
        space = self.space(name="plugins")
        space.sys.stderr = io.StringIO()
        space.exec("import asyncio, threading, atexit\nloop = asyncio.new_event_loop()\nticks = []\nasync def tick():\n"
                   "    while True:\n        ticks.append(1)\n        await asyncio.sleep(0.001)\n"
                   "def run():\n    asyncio.set_event_loop(loop)\n    task = loop.create_task(tick())\n    loop.run_forever()\n"
                   "    task.cancel()\n    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))\n    loop.close()\n"
                   "thread = threading.Thread(target=run, daemon=True, name='loop')\nthread.start()\n"
                   "def stop():\n    loop.call_soon_threadsafe(loop.stop)\n    thread.join()\n")
        while not space.eval("ticks"):
            time.sleep(0.001)
        stop = space.ns["stop"]
        report = space.discard(timeout=0.1)
        self.assertEqual([thread.name for thread in report.threads], ["loop"])
        stop()
        del stop
        gc.collect()
        self.assertTrue(space.discard().clean)

    def test_asyncio_run(self):
        self.gone("import asyncio\nasync def main():\n    await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))\n    callback()\nasyncio.run(main())")

    def test_registries_of_the_library(self):
        sources = {
            "copyreg": "import copyreg\nclass C: pass\ncopyreg.pickle(C, callback)",
            "functools": "import functools\n@functools.singledispatch\ndef f(x): pass\nf.register(int, callback)",
            "mimetypes": "import mimetypes\nmimetypes.add_type('x/y', '.z')",
            "logging": "import logging\nclass H(logging.Handler):\n    def emit(self, record): callback()\nlogging.getLogger().addHandler(H())\nlogging.warning('x')",
            "warnings": "import warnings\nwarnings.showwarning = callback\nwarnings.warn('x')",
            "weakref.finalize": "import weakref\nclass C: pass\nc = C()\nweakref.finalize(c, callback)",
            "threading.excepthook": "import threading\nthreading.excepthook = callback",
            "sys hooks": "import sys\nsys.excepthook = sys.displayhook = sys.unraisablehook = callback\nsys.last_value = callback",
            "linecache": "import linecache\nlinecache.cache['<x>'] = (callback,)",
            "timer": "import threading\nt = threading.Timer(100, callback)\nt.daemon = True",
            "abc": "import abc\nclass A(abc.ABC): pass\nclass B:\n    def f(self): pass\nA.register(B)\nimport collections.abc\ncollections.abc.Sized.register(B)\nassert isinstance(B(), collections.abc.Sized)",
            "re": "import re\nre.sub('a', lambda m: 'b', 'aaa')\nre.compile('callback')",
            "subclasses": "import collections\nclass D(dict):\n    def f(self): callback()\nclass U(collections.UserList):\n    def f(self): callback()",
            "sys.setrecursionlimit": "import sys\nsys.setrecursionlimit(sys.getrecursionlimit())",
        }
        for name, source in sources.items():
            with self.subTest(name):
                self.gone(source)


class Processes(Discarding):
    def test_a_fork_with_live_spaces(self):
        done = self.program("""\
            import modspace, os, sys
            spaces = [modspace.ModuleSpace(name=f"s{index}") for index in range(3)]
            for space in spaces:
                space.exec("import json, logging, atexit\\natexit.register(print, 'exit', flush=True)\\ndef f(): return json.dumps([1])")
            child = modspace.ModuleSpace(spaces[0])
            child.exec("import json")
            pid = os.fork()
            if pid == 0:
                status = 0
                for space in (child, *spaces):
                    report = space.discard()
                    if not report.clean or not space.closed:
                        status = 1
                space = modspace.ModuleSpace()
                space.exec("import json, string")
                if space.eval("json.loads('[1]')") != [1] or space.reload().generation != 2 or not space.discard().clean:
                    status = 2
                sys.stdout.flush()
                os._exit(40 + status)
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            print([space.eval("f()") for space in spaces], [space.closed for space in spaces])
            for space in (child, *spaces):
                space.discard()
            print("parent", len(modspace.spaces()))
            """)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.split("\n"), [*["exit"] * 3, "child 40", "['[1]', '[1]', '[1]'] [False, False, False]", *["exit"] * 3, "parent 2", ""])
        self.assertEqual(done.returncode, 0)

    def test_a_fork_with_threads_inside(self):
        done = self.program("""\
            import modspace, os, threading
            space = modspace.ModuleSpace(name="plugins")
            ready, go = threading.Event(), threading.Event()
            space.exec("import json\\ndef work(ready, wait): ready(); wait()")
            thread = threading.Thread(target=space.ns["work"], args=(ready.set, go.wait))
            thread.start()
            ready.wait()
            importer = modspace.ModuleSpace(name="importer")
            pid = os.fork()
            if pid == 0:
                # The thread is not there.
                report = space.discard(timeout=20)
                importer.exec("import json")
                importer.discard()
                os._exit(len(report.threads) + (report.duration > 15))
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), space.closed)
            go.set()
            thread.join()
            print(space.discard().threads)
            """)
        self.assertEqual(done.stdout, "0 False\n[]\n", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_fork_in_a_space(self):
        done = self.program("""\
            import modspace, os
            space = modspace.ModuleSpace(name="plugins")
            space.exec('''if True:
                import os, sys, atexit
                atexit.register(print, "exit", flush=True)
                pid = os.fork()
                if pid == 0:
                    import json
                    os._exit(json.loads("7"))
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                ''')
            print(space.ns["status"], flush=True)
            space.discard()
            """)
        self.assertEqual((done.stdout, done.stderr), ("7\nexit\n", ""))

    def test_a_child_that_ends_as_a_program_does(self):
        done = self.program("""\
            import modspace, os, sys, atexit
            space = modspace.ModuleSpace(name="plugins")
            space.exec("import atexit\\natexit.register(lambda: print('exit', flush=True))")
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                sys.exit(5)
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            """)
        self.assertEqual((done.stdout, done.stderr), ("exit\nchild 5\nexit\n", ""))

    def test_subprocesses(self):
        space = self.space(name="plugins")
        space.exec("import subprocess, sys\ndone = subprocess.run(['echo', 'hello'], capture_output=True, text=True)\n"
                   "process = subprocess.Popen(['sleep', '100'])")
        self.assertEqual(space.ns["done"].stdout, "hello\n")
        pid = space.eval("process.pid")
        space.exec("process.terminate(); process.wait()")
        self.assertTrue(space.discard().clean)
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)

    def test_a_process_left_running(self):
        space = self.space(name="plugins")
        space.sys.stderr = io.StringIO()
        space.exec("import subprocess, warnings\nwarnings.simplefilter('ignore')\nprocess = subprocess.Popen(['sleep', '100'])")
        pid = space.eval("process.pid")
        try:
            self.assertTrue(space.discard().clean)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


class Stress(Discarding):
    """Many threads do everything at once."""

    FILES = {"pkg/__init__.py": "from . import a, b\nversion = a.version\ndef value():\n    from . import b as again\n    return version, a.version, again.version\n"
                                "class Thing:\n    def __init__(self): self.me = self\n    def value(self): return value()\n",
             "pkg/a.py": "version = 1\nimport json", "pkg/b.py": "from .a import version\nimport logging",
             "late.py": "import pkg\nversion = pkg.version\ndef call(f, *args): return f(*args)"}
    ROUNDS = 60

    def rounds(self, force):
        root = self.tree(self.FILES)
        counts = []
        # What the library caches comes once; what leaks comes each time.
        for attempt in range(7):
            self.round(root, attempt, self.ROUNDS * STRESS, force)
            gc.collect()
            counts.append(len(gc.get_objects()))
            if attempt >= 2 and counts[-1] <= counts[-2] + 20:
                return
        self.fail(f"MODSPACE_SEED={SEED}: objects left after each round: {counts}")

    def round(self, root, attempt, rounds, force):
        slots, errors, tally = [None] * 6, [], {}

        def make(rng, index):
            parent = rng.choice(slots) if rng.random() < 0.3 else HOST
            space = modspace.ModuleSpace(parent or HOST, name=f"stress{index}", path=[root, *sys.path])
            if slots[index] is None:
                slots[index] = space
            else:
                space.discard(recursive=True)

        def load(rng, index):
            space = slots[index]
            module = space.import_(rng.choice(["pkg", "late", "pkg.b", "json", "string"]))
            if module.__name__ == "pkg":
                assert module.value() == (1, 1, 1)
                assert module.Thing().value() == (1, 1, 1)

        def execute(rng, index):
            slots[index].exec("import pkg, late\nassert late.call(pkg.value) == (1, 1, 1)\nclass Own(pkg.Thing):\n    def f(self): return self\nown = Own()\nown.own = own")

        def evaluate(rng, index):
            assert slots[index].eval("__import__('pkg').value()") == (1, 1, 1)

        def across(rng, index):
            one, two = slots[index], rng.choice(slots)
            if two is not None:
                assert two.call(one.import_("late").call, two.import_("pkg").value) == (1, 1, 1)

        def reload(rng, index):
            slots[index].reload()

        def unload(rng, index):
            slots[index].exec("import modspace, pkg\ntry: modspace.unload('late')\nexcept ImportError: pass")

        def discard(rng, index):
            space, slots[index] = slots[index], None
            space.discard(recursive=True, timeout=rng.choice([None, 0, 1]), force=force and rng.random() < 0.5)
            assert space.closed

        actions = [load] * 4 + [execute] * 3 + [evaluate] * 3 + [across] * 3 + [reload] * 2 + [discard] * 2 + [unload]

        def work(number):
            rng = random.Random(f"{SEED} {attempt} {number}")
            for _ in range(rounds):
                index = rng.randrange(len(slots))
                space = slots[index]
                action = make if space is None else rng.choice(actions)
                try:
                    action(rng, index)
                except modspace.SpaceError:
                    pass
                except (TypeError, AttributeError) as error:
                    # Another thread took the space out of its slot.
                    if "NoneType" not in str(error) and not (force and space and space.closed):
                        raise
                except Exception:
                    # Names are gone in what runs while its modules are emptied.
                    if not (force and space and space.closed):
                        raise
                tally[action.__name__] = tally.get(action.__name__, 0) + 1

        failures = self.run_threads([lambda number=number: work(number) for number in range(8)])
        for space in slots:
            if space is not None:
                space.discard(recursive=True)
        slots.clear()
        message = f"MODSPACE_SEED={SEED}, attempt {attempt}"
        if failures:
            self.fail("\n".join([message, *("".join(traceback.format_exception(failure)) for failure in failures)]))
        self.assertFalse([space for space in modspace.spaces() if space.name.startswith("stress")], message)


if __name__ == "__main__":
    unittest.main()
