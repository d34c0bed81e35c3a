"""Threads inside a space that is discarded are waited for or named, and threads that discard, import, collect and make
spaces at once do not disturb each other."""

import contextlib
import gc
import random
import sys
import threading
import time
import traceback
import unittest

import modspace
from discarding import HOST, Discarding
from support import SEED, STRESS, join_threads, run_threads


class Inside(Discarding):
    """Threads that run in the space."""

    def test_a_thread_that_stays_is_named(self):
        space = self.space(name="plugins")
        worker = self.inside(space, name="busy")
        report = space.discard(timeout=0.1)
        self.assertGreaterEqual(report.duration, 0.1)
        self.assertFalse(report.clean)
        staying, = report.threads
        self.assertEqual((staying.name, staying.ident), ("busy", worker.thread.ident))
        self.assertIn("in work", staying.stack)
        self.assertIn("busy", str(report))
        self.assertIn("in work", str(report))
        self.assertIn("busy", repr(staying))
        self.assertTrue(space.closed)
        self.assertEqual(worker.finish(), 42)
        gc.collect()
        self.assertTrue(space.discard().clean)

    def test_several_threads(self):
        space = self.space(name="plugins")
        workers = [self.inside(space, name=f"busy{index}", daemon=index % 2 == 0) for index in range(4)]
        report = space.discard(timeout=0)
        self.assertEqual(sorted(thread.name for thread in report.threads), [f"busy{index}" for index in range(4)])
        for worker in workers:
            worker.finish()

    def reloading(self):
        """A space in the middle of a reload, and what comes of that."""
        space = self.library({"module.py": "pause()\nimport sys\nstream = sys.stderr"}, name="plugins")
        ready, go, outcomes = threading.Event(), threading.Event(), []
        space.builtins.pause = lambda: None
        space.import_("module")

        def pause():
            ready.set()
            go.wait()
        space.builtins.pause = pause

        def work():
            try:
                space.reload()
            except BaseException as error:
                outcomes.append(error)
        thread = threading.Thread(target=work, name="reloading")
        thread.start()
        ready.wait()
        return space, thread, go, outcomes

    def test_a_thread_that_reloads_it_is_named(self):
        space, thread, go, outcomes = self.reloading()
        report = space.discard(timeout=0.1)
        self.assertEqual([staying.name for staying in report.threads], ["reloading"])
        go.set()
        thread.join()
        self.assertIsInstance(outcomes[0], modspace.SpaceClosedError)
        gc.collect()
        self.assertTrue(space.discard().clean)

    def test_a_thread_that_reloads_it_is_waited_for(self):
        for force in (False, True):
            space, thread, go, outcomes = self.reloading()
            timer = threading.Timer(0.1, go.set)
            timer.start()
            report = space.discard(force=force)
            self.assertEqual(report.threads, [])
            thread.join()
            timer.join()
            # The module ran to its end, with a whole `sys`.
            self.assertIsInstance(outcomes[0], modspace.SpaceClosedError)

    def test_threads_that_are_no_daemons_are_waited_for(self):
        space = self.space(name="plugins")
        worker = self.inside(space)
        order = space.ns["order"] = []
        space.exec("import atexit\natexit.register(order.append, 'exit')")
        timer = threading.Timer(0.1, lambda: (order.append("go"), worker.go.set()))
        timer.start()
        report = space.discard()
        self.assertEqual((report.threads, order), ([], ["go", "exit"]))
        timer.join()
        worker.finish()

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
                join_threads("own")

    def test_a_host_function_that_the_space_was_entered_for(self):
        for source in ("", "import json"):
            with self.subTest(source):
                space = self.space(name="plugins")
                if source:
                    space.exec(source)
                worker = self.worker(lambda ready, wait: space.call(lambda: (ready(), wait())), name="guest")
                report = space.discard(timeout=0.05)
                self.assertEqual([thread.name for thread in report.threads], ["guest"])
                self.assertFalse(report.clean, report)
                worker.finish()

    def test_what_a_thread_that_stays_can_do(self):
        space = self.library({"loaded.py": "value = 1", "late.py": "value = 2"}, name="plugins")
        space.import_("loaded")
        space.exec("import sys\ndef helper(): return 42\ndef work(ready, wait):\n    ready(); wait()\n"
                   "    import loaded\n    try: import late\n"
                   "    except Exception as error: caught = type(error).__name__\n"
                   "    try: __import__('modspace').ModuleSpace(__import__('modspace').current())\n"
                   "    except Exception as error: refused = type(error).__name__\n"
                   "    return helper(), loaded.value, caught, refused, sys is __import__('sys')\n")
        worker = self.worker(space.ns["work"])
        space.discard(timeout=0)
        self.assertEqual(worker.finish(), (42, 1, "SpaceClosedError", "SpaceClosedError", True))

    def test_a_thread_in_the_middle_of_an_import(self):
        for timeout in (0.05, None):
            with self.subTest(timeout=timeout):
                space = self.library({"slow.py": "import sys\nsys.ready()\nsys.wait()\nimport late\nvalue = 1",
                                      "late.py": ""}, name="plugins")

                def load(ready, wait):
                    space.sys.ready, space.sys.wait = ready, wait
                    return space.import_("slow").value
                worker = self.worker(load, name="importer")
                if timeout is None:
                    threading.Timer(0.05, worker.go.set).start()
                report = space.discard(timeout=timeout)
                if timeout is None:
                    self.assertEqual(report.threads, [])
                else:
                    self.assertEqual([thread.name for thread in report.threads], ["importer"])
                self.assertIs(type(worker.finish()), modspace.SpaceClosedError)

    def test_the_first_import_while_the_space_is_discarded(self):
        for timeout in (None, 0):
            for attempt in range(50 * STRESS):
                space = self.library({"module.py": "value = 1"}, name="plugins")

                def load():
                    with contextlib.suppress(modspace.SpaceClosedError):
                        self.assertEqual(space.import_("module").value, 1)

                def discard():
                    time.sleep(attempt % 20 / 5000)
                    space.discard(timeout=timeout)
                errors = run_threads([load, discard])
                self.assertEqual([repr(error) for error in errors], [], (timeout, attempt))

    def test_imports_by_other_threads_until_it_is_closed(self):
        for attempt in range(5 * STRESS):
            files = {f"m{index}.py": f"import m{index + 1}" for index in range(20)}
            space = self.library({**files, "m20.py": ""}, name="plugins")
            started = threading.Event()

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
            errors = run_threads([discard, *(lambda order=order: load(order) for order in orders)])
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


class AtOnce(Discarding):
    def test_two_threads_at_once(self):
        for attempt in range(10 * STRESS):
            space = self.space(name="plugins")
            ran, reports = [], []
            space.ns["ran"] = ran.append
            space.exec("import atexit, json\natexit.register(ran, 1)")
            del space.ns["ran"]
            errors = run_threads([lambda: reports.append(space.discard())] * 3)
            self.assertEqual([repr(error) for error in errors], [])
            self.assertEqual(ran, [1])
            self.assertEqual(sorted(report.generation for report in reports), [0, 0, 1])
            self.assertTrue(space.closed)

    def test_a_second_thread_while_the_first_waits(self):
        space = self.space(name="plugins")
        worker = self.inside(space)
        reports = []
        first = threading.Thread(target=lambda: reports.append(space.discard()))
        first.start()
        while not space.closed:
            time.sleep(0.001)
        self.assertEqual(space.discard().generation, 0)
        self.assertEqual(reports, [])
        self.assertEqual(worker.finish(), 42)
        first.join()
        self.assertEqual((reports[0].generation, reports[0].threads), (1, []))

    def test_a_parent_while_another_thread_discards_the_child(self):
        for attempt in range(10 * STRESS):
            parent = self.space()
            child = self.space(parent)
            child.exec("import json"), parent.exec("import json")
            errors = run_threads([child.discard, lambda: parent.discard(recursive=True)])
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
                    space.exec("import json, logging\nclass C:\n    def __del__(self): json.dumps(1)\n"
                               "c = C()\nc.me = c")
                    report = space.discard()
                    self.assertEqual(report.threads, [])
            finally:
                done.set()
        self.assertEqual(run_threads([collect, collect, work]), [])

    def test_while_children_are_made(self):
        for attempt in range(300 * STRESS):
            parent, children = modspace.ModuleSpace(HOST), []

            def make():
                try:
                    while True:
                        children.append(modspace.ModuleSpace(parent))
                except modspace.SpaceError:
                    pass

            def discard():
                while len(children) < attempt % 50:
                    time.sleep(0)
                parent.discard(recursive=True)
            self.assertEqual(run_threads([make, make, make, discard]), [])
            self.assertEqual([child for child in children if not child.closed], [])

    def test_while_other_threads_make_spaces(self):
        def work():
            for _ in range(15 * STRESS):
                space = modspace.ModuleSpace(HOST)
                space.exec("import json\nclass C:\n    def f(self): pass\nc = C()")
                space.discard()
                self.assertTrue(space.closed)
        self.assertEqual(run_threads([work] * 4), [])


class Stress(Discarding):
    """Many threads do everything at once."""

    FILES = {"pkg/__init__.py": "from . import a, b\nversion = a.version\ndef value():\n    from . import b as again\n"
                                "    return version, a.version, again.version\n"
                                "class Thing:\n    def __init__(self): self.me = self\n"
                                "    def value(self): return value()\n",
             "pkg/a.py": "version = 1\nimport json", "pkg/b.py": "from .a import version\nimport logging",
             "late.py": "import pkg\nversion = pkg.version\ndef call(f, *args): return f(*args)"}

    ROUNDS = 60

    def test_the_first_uses_of_a_space_at_once(self):
        for attempt in range(100 * STRESS):
            space = self.library({"module.py": "value = 1"})

            def look():
                time.sleep(attempt % 20 / 5000)
                self.assertEqual(space.ns["__name__"], "__main__")
            errors = run_threads([lambda: self.assertEqual(space.import_("module").value, 1), look])
            self.assertEqual([repr(error) for error in errors], [], attempt)
            space.discard()

    def test_everything_at_once(self):
        self.rounds(force=False)

    def test_everything_at_once_with_force(self):
        self.rounds(force=True)

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
        slots, lock = [None] * 6, threading.Lock()

        def end(space, **options):
            try:
                space.discard(recursive=True, **options)
            except modspace.SpaceError as error:
                raise AssertionError("a space cannot be discarded") from error
            assert space.closed

        def make(rng, index, parent):
            space = modspace.ModuleSpace(parent, name=f"stress{index}", path=[root, *sys.path])
            with lock:
                if slots[index] is None:
                    slots[index], space = space, None
            if space is not None:
                end(space)

        def load(rng, space, other):
            module = space.import_(rng.choice(["pkg", "late", "pkg.b", "json", "string"]))
            if module.__name__ == "pkg":
                assert module.value() == (1, 1, 1)
                assert module.Thing().value() == (1, 1, 1)

        def execute(rng, space, other):
            generation = space.generation
            try:
                space.exec("import pkg, late\nassert late.call(pkg.value) == (1, 1, 1)\nclass Own(pkg.Thing):\n"
                           "    def f(self): return self\nown = Own()\nown.own = own")
            except NameError:
                # The namespace of `__main__` is one for all generations.
                if space.closed or space.generation == generation:
                    raise

        def evaluate(rng, space, other):
            assert space.eval("__import__('pkg').value()") == (1, 1, 1)

        def across(rng, space, other):
            assert other.call(space.import_("late").call, other.import_("pkg").value) == (1, 1, 1)

        def reload(rng, space, other):
            space.reload()

        def unload(rng, space, other):
            space.exec("import modspace, pkg\ntry: modspace.unload('late')\nexcept ImportError: pass")

        def discard(rng, space, other):
            with lock:
                if space in slots:
                    slots[slots.index(space)] = None
            end(space, timeout=rng.choice([None, 0, 1]), force=force and rng.random() < 0.5)

        actions = [load] * 4 + [execute] * 3 + [evaluate] * 3 + [across] * 3 + [reload] * 2 + [discard] * 2 + [unload]

        def work(number):
            rng = random.Random(f"{SEED} {attempt} {number}")
            for _ in range(rounds):
                index = rng.randrange(len(slots))
                space, other = slots[index], rng.choice(slots)
                try:
                    if space is None:
                        make(rng, index, other if other and rng.random() < 0.3 else HOST)
                    else:
                        rng.choice(actions)(rng, space, other or space)
                except modspace.SpaceError:
                    pass
                except Exception:
                    # Names are gone in what runs while its modules are emptied.
                    if not (force and any(used and used.closed for used in (space, other))):
                        raise

        failures = run_threads([lambda number=number: work(number) for number in range(8)])
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
