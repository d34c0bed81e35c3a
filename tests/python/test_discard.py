"""Discarding a space runs what it wants to do at its end, refuses what cannot be, says what is wrong with its
arguments, and may be asked for twice."""

import collections
import gc
import io
import sys
import threading
import time
import unittest
import weakref

import modspace
from discarding import HOST, Discarding
from support import shelf


class Callbacks(Discarding):
    """Exit callbacks, finalizers and weak reference callbacks, and what they do wrong."""

    def test_exit_callbacks_that_raise(self):
        space, seen = self.recorded()
        order = space.ns["order"] = []
        space.exec("import atexit, sys\nfor number in range(4): atexit.register(order.append, number)\n"
                   "atexit.register(lambda: 1/0)\natexit.register(sys.exit, 3)\natexit.register(order.append, 'a')\n"
                   "def interrupt(): raise KeyboardInterrupt\natexit.register(interrupt)\n"
                   "atexit.register(order.append)\natexit.register(order.append, 'b')")
        report = space.discard()
        self.assertEqual(order, ["b", "a", 3, 2, 1, 0])
        self.assertEqual(seen[:2], ["TypeError", "KeyboardInterrupt"])
        self.assertIn("ZeroDivisionError", seen)
        self.assertTrue(report.clean, report)

    def test_finalizers_that_raise(self):
        space, seen = self.recorded()
        space.exec("class Bad:\n    def __del__(self): 1/0\nclass Cycle:\n    def __del__(self): {}['x']\n"
                   "bad = [Bad() for _ in range(3)]\ncycle = Cycle()\ncycle.me = cycle")
        report = space.discard()
        self.assertEqual(sorted(seen), ["KeyError", "ZeroDivisionError", "ZeroDivisionError", "ZeroDivisionError"])
        self.assertTrue(report.clean, report)

    def test_weakref_callbacks_that_raise(self):
        space, seen = self.recorded()
        called = []
        space.ns["called"] = called.append
        space.exec("import weakref\nclass Target: pass\ntarget = Target()\ntarget.me = target\n"
                   "def bad(reference): called('bad'); 1/0\ndef good(reference): called(reference() is None)\n"
                   "references = [weakref.ref(target, function) for function in (bad, good, bad)]")
        target = weakref.ref(space.ns["target"], lambda reference: called.append("host"))
        report = space.discard()
        self.assertEqual(seen, ["ZeroDivisionError"] * 2)
        self.assertEqual(sorted(map(str, called)), ["True", "bad", "bad", "host"])
        self.assertIsNone(target())
        self.assertTrue(report.clean, report)

    def test_a_hook_that_raises_itself(self):
        for hook in ("1/0", "None", "lambda: None", "lambda report: 1/0", "__import__('absent')"):
            with self.subTest(hook=hook):
                space = self.space()
                space.sys.stderr = io.StringIO()
                done = space.ns["done"] = []
                space.exec(f"import atexit, sys\natexit.register(done.append, 1)\n"
                           f"def bad(): raise LookupError\natexit.register(bad)\n"
                           f"class Bad:\n    def __del__(self): raise LookupError\nbad = Bad()\nbad.me = bad\n"
                           f"try: sys.unraisablehook = {hook}\nexcept Exception: del sys.unraisablehook")
                self.assertTrue(space.discard().clean)
                self.assertEqual(done, [1])

    def test_callbacks_before_finalizers(self):
        order = []
        space = self.space()
        space.ns["note"] = order.append
        space.exec("import atexit\natexit.register(note, 'exit')\nclass Late:\n    def __del__(self): note('del')\n"
                   "late = Late()\nlate.me = late")
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
                   "class Thing:\n    def __del__(self): load('del', 'later')\nthing = Thing()\nthing.me = thing\n"
                   "atexit.register(load, 'exit', 'late')")
        space.discard()
        self.assertEqual(seen, [("exit", 1), ("del", "SpaceClosedError")])
        self.assertEqual(errors, [])

    def test_an_object_that_comes_to_life_again_outside(self):
        space, errors = self.recorded({"plugin.py": """\
            import sys
            def answer(): return 42
            class Phoenix:
                def __del__(self): sys.save(self)
                def answer(self): return answer()
            phoenix = Phoenix()
            phoenix.me = phoenix
            """})
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
                space.exec(f"saved = []\nclass Phoenix:\n    def __del__(self):\n        note(len(saved))\n"
                           f"        if len(saved) < {lives}: saved.extend([self, Phoenix()])\n"
                           f"phoenix = Phoenix()\nphoenix.me = phoenix")
                gone = weakref.ref(space.ns["Phoenix"])
                space.discard()
                for _ in range(5):
                    self.space().discard()
                self.assertIsNone(gone())
                self.assertEqual(errors, [])
                self.assertTrue(space.discard().clean)

    #: What calls `act` at the end.
    ENDS = {
        "exit callback": "atexit.register(act)",
        "finalizer": "class Thing:\n    def __del__(self): act()\nthing = Thing()\nthing.me = thing",
        "weakref callback": "class Thing: pass\nthing = Thing()\nthing.me = thing\n"
                            "r = weakref.ref(thing, lambda r: act())",
    }

    #: What it does, what it notes, and the error that ends it.
    ACTS = (
        ("gc.collect()", [], None),
        ("space = modspace.ModuleSpace(); note(space.eval('1 + 1')); space.discard()", [2], None),
        ("thread = threading.Thread(target=note, args=(1,)); thread.start(); thread.join()", [1], None),
        ("print('end')", [], None),
        ("exec('note(1)', {'note': note})", [1], None),
        ("note(modspace.current().discard().generation)", [0], None),
        ("sys.modules.clear(); globals().clear(); note(1)", [1], None),
        ("modspace.current().reload()", [], "SpaceClosedError"),
        ("act(note=len)", [], "RecursionError"),
        ("raise SystemExit", [], "SystemExit"),
        ("raise KeyboardInterrupt", [], "KeyboardInterrupt"),
    )

    def test_finalizers_that_do_much(self):
        for act, noted, error in self.ACTS:
            for name, end in self.ENDS.items():
                with self.subTest(act=act, end=name):
                    space, errors = self.recorded()
                    seen = space.ns["seen"] = []
                    space.sys.stdout = output = io.StringIO()
                    space.exec(f"import atexit, gc, modspace, sys, threading, weakref\n"
                               f"def act(note=seen.append):\n    note('began')\n    {act}\n    note('ended')\n{end}")
                    gone = weakref.ref(space.ns["act"])
                    report = space.discard()
                    self.assertEqual(seen, ["began", *noted, *([] if error else ["ended"])])
                    self.assertEqual(errors, [error] if error else [])
                    self.assertEqual(output.getvalue(), "end\n" if "print" in act else "")
                    self.assertTrue(space.closed)
                    self.assertTrue(report.clean, report)
                    self.assertIsNone(gone())

    def test_exit_callbacks_can_be_registered_until_the_last_ran(self):
        for name, end in self.ENDS.items():
            with self.subTest(end=name):
                space, errors = self.recorded()
                seen = space.ns["seen"] = []
                space.exec(f"import atexit, weakref\ndef act(): atexit.register(seen.append, 1)\n{end}")
                self.assertTrue(space.discard().clean)
                self.assertEqual((seen, errors), ([1], []) if name == "exit callback" else ([], ["SpaceClosedError"]))

    def test_an_exit_callback_makes_children_and_they_go_too(self):
        space, errors = self.recorded()
        space.exec("import atexit, modspace\ndef make():\n    global child\n"
                   "    child = modspace.ModuleSpace(modspace.current(), name='late child')\n"
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
        self.assertEqual((space.generation, dict(space.sys.modules), space.ns["mark"],
                          space.eval("atexit._ncallbacks()")), before)
        del before
        space.exec("import json\nassert json.loads('[1]') == [1]\nimport string")
        return caught.exception

    def test_by_its_own_code(self):
        space = self.library({"plugin.py": "import modspace\n"
                                           "def end(**options): modspace.current().discard(**options)"},
                             name="plugins")
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
            ({"timeout": "1"}, TypeError, "timeout"), ({"timeout": []}, TypeError, "timeout"),
            ({"timeout": 1j}, TypeError, "timeout"), ({"timeout": -1}, ValueError, "timeout"),
            ({"timeout": -0.001}, ValueError, "timeout"), ({"timeout": float("nan")}, ValueError, "timeout"),
            ({"timeout": 10**400}, (ValueError, OverflowError), ""), ({"force": "no"}, TypeError, "force"),
            ({"force": 1}, TypeError, "force"), ({"recursive": 1}, TypeError, "recursive"),
            ({"recursive": "yes"}, TypeError, "recursive"), ({"forced": True}, TypeError, "forced"),
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
                worker = self.inside(space, daemon=True)
                timer = threading.Timer(0.02, worker.go.set)
                timer.start()
                self.assertEqual(space.discard(timeout=timeout).threads, [])
                self.assertTrue(worker.go.is_set())
                self.assertEqual(worker.finish(), 42)
                timer.join()

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


class Bystanders(Discarding):
    """What the host has is looked at, and not touched."""

    def test_a_profile_function_is_not_called_while_nothing_may_run(self):
        space = self.space()
        space.exec("import operator\ncaller = operator.methodcaller('method', 1, key=2)")
        seen, other = [], threading.Thread(target=time.sleep, args=(0.5,))
        self.addCleanup(sys.setprofile, None)
        other.start()
        sys.setprofile(lambda frame, event, argument: seen.append(type(argument).__name__))
        space.discard()
        # Another thread goes on, so the world does.
        other.join()
        sys.setprofile(None)
        self.assertIn("builtin_function_or_method", seen)
        self.assertNotIn("methodcaller", seen)
        self.assertNotIn("ArgumentProbe", seen)

    def test_dicts_with_methods_of_their_own(self):
        seen = []

        class Nosy(dict):
            def __getitem__(self, key):
                seen.append(key)
                return super().__getitem__(key)

            def __missing__(self, key):
                seen.append(key)
        default = collections.defaultdict(list, a=1)
        for use in (lambda: space.reload(), lambda: space.discard(), lambda: space.discard(force=True)):
            space = self.library({"plugin.py": "class Thing:\n    def f(self): pass\nthing = Thing()"})
            shelf.update(held=space.import_("plugin").thing, nosy=Nosy(a=1), default=default)
            use()
            self.assertEqual((seen, dict(default)), ([], {"a": 1}))

if __name__ == "__main__":
    unittest.main()
