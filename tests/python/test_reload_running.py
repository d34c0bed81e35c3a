"""Calls that run while their space is reloaded finish in their generation, which goes when they are over."""

import io
import linecache
import sys
import threading
import time
import unittest
import weakref

import modspace
from reloading import Reloading, version
from support import STRESS, Worker, run_threads, write_tree

WORKER = """
def work(ready, wait):
    ready()
    wait()
    import helper, late, sys
    return version, helper.version, late.owner, sys.modules["helper"] is helper, sys.modules[__name__].version
"""


class Running(Reloading):
    FILES = {"late.py": "import helper\nowner = helper.version"}

    def files(self, number):
        return {"worker.py": version(number, WORKER), "helper.py": version(number)}

    def workers(self, count):
        """A space, its directory, and a worker in each of its `count` generations; the last is the current one."""
        space, root = self.app({**self.FILES, **self.files(1)})
        workers = []
        for number in range(1, count + 1):
            space.import_("helper")
            workers.append(self.worker(space.import_("worker").work))
            if number < count:
                write_tree(root, self.files(number + 1))
                report = space.reload()
                self.assertIsNone(report.old)
                self.assertEqual(report.generation, number + 1)
        return space, root, workers

    def test_a_call_goes_on_in_the_old_generation(self):
        space, root, (old, new) = self.workers(2)
        self.assertEqual(space.import_("worker").answer(), 2)
        self.assertEqual(old.finish(), (1, 1, 1, True, 1))
        self.assertEqual(new.finish(), (2, 2, 2, True, 2))

    def test_several_generations_at_once(self):
        space, root, workers = self.workers(5)
        for number in (3, 1, 5, 2, 4):
            self.assertEqual(workers[number - 1].finish(), (number, number, number, True, number))
        self.assertEqual(space.generation, 5)

    def test_what_is_drained_is_freed(self):
        space, root = self.app({**self.FILES, **self.files(1)})
        modules = []
        for number in range(2, 5):
            worker = Worker(space.import_("worker").work)
            modules.append(weakref.ref(space.import_("worker")))
            write_tree(root, self.files(number))
            self.assertIsNone(space.reload().old)
            self.assertIsNotNone(modules[-1]())
            self.assertEqual(worker.finish()[0], number - 1)
            del worker
        self.assertTrue(space.reload().old.clean)
        self.assertEqual([module() for module in modules], [None] * 3)

    def test_exit_callbacks_of_a_generation_run_when_its_last_call_is_over(self):
        space, root = self.app({**self.FILES, **self.files(1),
                                "worker.py": version(1, WORKER + "import atexit\natexit.register(print, version)\n")})
        space.sys.stdout = io.StringIO()
        worker = Worker(space.import_("worker").work)
        space.reload()
        self.assertEqual(space.sys.stdout.getvalue(), "")
        worker.finish()
        write_tree(root, {"worker.py": version(2)})
        space.reload()
        self.assertEqual(space.sys.stdout.getvalue(), "1\n1\n")

    def test_a_discard_waits_for_all_generations(self):
        space, root, workers = self.workers(3)
        stop = threading.Timer(0.05, lambda: [worker.go.set() for worker in workers])
        stop.start()
        report = space.discard()
        self.assertEqual(report.threads, [])
        for number, worker in enumerate(workers, 1):
            outcome = worker.finish()
            # Its late import may have come when the space was closed.
            if not isinstance(outcome, modspace.SpaceClosedError):
                self.assertEqual(outcome, (number, number, number, True, number))
        stop.join()

    def test_a_discard_names_the_threads_of_all_generations(self):
        space, root, workers = self.workers(3)
        report = space.discard(timeout=0.05)
        self.assertEqual({thread.ident for thread in report.threads}, {worker.thread.ident for worker in workers})
        for worker in workers:
            self.assertIsInstance(worker.finish(), modspace.SpaceClosedError)

    def test_the_end_of_one_does_not_wait_for_another(self):
        """While a generation of one space ends, another space with an older generation can be discarded."""
        discarded = []

        def discard():
            discarding = threading.Thread(target=lambda: discarded.append(other.discard(timeout=5)))
            discarding.start()
            discarding.join()
        space, root = self.app(self.files(1))
        worker = Worker(space.import_("worker").work)
        space.ns["discard"] = discard
        space.exec("import atexit\natexit.register(discard)")
        self.assertIsNone(space.reload().old)
        other, _, workers = self.workers(2)
        for ending in (worker, *workers):
            ending.finish()
        modspace.ModuleSpace(name="reloaded").reload()
        self.assertEqual([report.threads for report in discarded], [[]])
        self.assertTrue(other.closed)

    def test_a_generator_goes_on_in_the_old_generation(self):
        space, root = self.app({"module.py": version(1, "def numbers():\n    yield 0\n    import helper\n"
                                                        "    yield version, helper.version\n"),
                                "helper.py": version(1)})
        space.import_("helper")
        numbers = space.import_("module").numbers()
        next(numbers)
        write_tree(root, {"module.py": version(2), "helper.py": version(2)})
        space.reload()
        self.assertEqual(next(numbers), (1, 1))

    def test_a_function_that_is_held_goes_on_in_the_old_generation(self):
        space, root = self.app({"module.py": version(1, "def work():\n    import helper, late, sys\n"
                                                        "    own = sys.modules['module'].version\n"
                                                        "    return version, helper.version, late.owner, own\n"),
                                "helper.py": version(1), **self.FILES})
        space.import_("helper")
        work = space.import_("module").work
        for number in (2, 3):
            write_tree(root, {"module.py": version(number), "helper.py": version(number)})
            space.reload()
            self.assertEqual(work(), (1, 1, 1, 1))

    def test_a_call_to_a_host_function(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")

        def within():
            write_tree(root, {"module.py": version(2)})
            report = space.reload()
            return report.old, space.import_("module").version
        old, seen = space.call(within)
        self.assertEqual(seen, 2)
        self.assertEqual(space.generation, 2)


class FromInside(Reloading):
    """The space's own code reloads it."""

    def refused(self, more):
        """A space whose reload fails and changes nothing, as its new module does `more`; its directory; the error."""
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        space.sys.hook = space.discard
        write_tree(root, {"module.py": version(2, more)})
        with self.unchanged(space), self.assertRaises(modspace.SpaceError) as caught:
            space.reload()
        self.assertFalse(space.closed)
        return space, root, caught.exception

    def test_the_caller_finishes_in_the_old_generation(self):
        space, root = self.app({"module.py": version(1, "def again():\n    import modspace\n"
                                                        "    report = modspace.current().reload()\n"
                                                        "    import helper, late, sys\n"
                                                        "    return report, version, helper.version, late.owner,"
                                                        " sys.modules[__name__].version, modspace.current()\n"),
                                "helper.py": version(1), **Running.FILES})
        space.import_("helper")
        module = space.import_("module")
        write_tree(root, {"module.py": version(2), "helper.py": version(2)})
        report, *seen = module.again()
        self.assertEqual(seen, [1, 1, 1, 1, space])
        self.assertEqual((report.generation, report.old), (2, None))
        self.assertEqual((space.import_("module").version, space.import_("helper").version), (2, 2))
        gone = weakref.ref(module)
        del module
        space.reload()
        self.assertIsNone(gone())

    def test_through_exec(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")
        write_tree(root, {"module.py": version(2)})
        space.exec("import modspace, module\nmodspace.current().reload()\nresult = module.version")
        self.assertEqual(space.generation, 2)
        self.assertEqual(space.import_("module").version, 2)
        self.assertEqual(space.eval("1 + 1"), 2)

    def test_a_reload_within_a_reload_is_refused(self):
        space, root, error = self.refused("import modspace\nmodspace.current().reload()")
        self.assertIn("app", str(error))
        write_tree(root, {"module.py": version(3)})
        space.reload()
        self.assertEqual(space.import_("module").version, 3)

    AGAIN = version(1, "import modspace, sys\nif sys.again:\n    sys.again = False\n    modspace.current().reload()\n")

    def test_a_module_that_reloads_the_space_while_it_is_imported(self):
        space, root = self.app({"module.py": self.AGAIN})
        space.sys.again = True
        self.assertEqual(space.import_("module").version, 1)
        self.assertEqual(space.generation, 2)
        # It was asked for.
        write_tree(root, {"module.py": version(2)})
        space.reload()
        self.assertIn("module", space.sys.modules)
        self.assertEqual(space.import_("module").version, 2)

    def test_what_is_being_imported_while_another_thread_reloads_was_asked_for(self):
        space, root = self.app({"module.py": version(1, "import sys\nsys.hook()")})

        def load(ready, wait):
            hooks = [lambda: (ready(), wait())]
            space.sys.hook = lambda: hooks and hooks.pop()()
            return space.import_("module").version
        worker = self.worker(load)
        space.reload()
        self.assertEqual(worker.finish(), 1)
        space.reload()
        self.assertIn("module", space.sys.modules)

    def test_an_exit_callback_that_reloads_the_space_ends(self):
        space, root = self.app({"module.py": "import atexit, modspace\natexit.register(modspace.current().reload)\n"})
        seen = []
        space.sys.unraisablehook = lambda report: seen.append(report.exc_type)
        space.import_("module")
        space.reload()
        self.assertEqual(seen, [modspace.SpaceError])
        space.discard()

    def test_a_module_that_discards_the_space_that_reloads_it(self):
        self.refused("import modspace\nmodspace.current().discard()")

    def test_a_host_function_called_by_the_new_generation_discards_the_space(self):
        self.refused("import sys\nsys.hook()")

    def test_another_thread_discards_the_space_meanwhile(self):
        space, root = self.app({"module.py": version(1)})
        space.import_("module")

        def hook():
            thread = threading.Thread(target=lambda: reports.append(space.discard(timeout=0.1)))
            thread.start()
            thread.join()
        reports, space.sys.hook = [], hook
        write_tree(root, {"module.py": version(2, "import sys\nsys.hook()")})
        with self.assertRaises(modspace.SpaceClosedError):
            space.reload()
        self.assertTrue(space.closed)
        staying, = reports[0].threads
        self.assertEqual(staying.ident, threading.get_ident())
        self.assertIn("in hook", staying.stack)

    def test_another_thread_discards_the_space_while_a_third_imports(self):
        root = self.tree({"module.py": version(1, "import sys\nsys.hook()"),
                          "slow.py": "import sys\nsys.wait()\nimport late", "late.py": ""})

        def step():
            space = modspace.ModuleSpace(modspace.current(), name="app", path=[root, *sys.path])
            space.sys.hook = lambda: None
            space.import_("module")

            def load(ready, wait):
                space.sys.wait = lambda: (ready(), wait())
                space.import_("slow")

            def reload(ready, wait):
                space.sys.hook = lambda: (ready(), wait())
                space.reload()
            importing, reloading = Worker(load), Worker(reload)
            space.discard(timeout=0)
            self.assertIsInstance(reloading.finish(), modspace.SpaceClosedError)
            self.assertIsInstance(importing.finish(), modspace.SpaceClosedError)
            space.discard()
            # The lines of the source that the report of the discard showed.
            linecache.clearcache()
        step()
        self.assert_flat(step, times=5)

class Concurrency(Reloading):
    PACKAGE = {"pkg/__init__.py": "version = {0}\nfrom . import a, b\n\ndef value():\n    from . import b as again\n"
                                  "    import pkg.a\n"
                                  "    return version, a.version, a.other(), b.version, again.version, pkg.a.version\n",
               "pkg/a.py": "version = {0}\ndef other():\n    from .b import version\n    return version\n",
               "pkg/b.py": "from . import a\nversion = {0}\n"}

    def package(self, number):
        return {name: source.format(number) for name, source in self.PACKAGE.items()}

    def test_reloads_at_once_are_done_one_after_the_other(self):
        space, root = self.app(self.package(1))
        space.import_("pkg")
        numbers = []

        def work():
            for _ in range(5 * STRESS):
                numbers.append(space.reload().generation)
        self.assertEqual(run_threads([work] * 6), [])
        self.assertEqual(sorted(numbers), list(range(2, 30 * STRESS + 2)))
        self.assertEqual(space.import_("pkg").value(), (1,) * 6)

    def test_callers_see_one_generation_whole(self):
        space, root = self.app(self.package(0))
        space.import_("pkg")
        space.exec("import pkg")
        done, wrong = threading.Event(), []

        def call(ways):
            last = 0
            while not done.is_set():
                for name in ways:
                    values = uses[name]()
                    if len(values) != 6 or len(set(values)) != 1 or values[0] < last:
                        wrong.append((name, values, last))
                        return
                    last = values[0]

        def reload():
            try:
                for number in range(1, 300 * STRESS + 1):
                    write_tree(root, self.package(number))
                    space.reload()
            finally:
                done.set()
        uses = {"import_": lambda: space.import_("pkg").value(), "eval": lambda: space.eval("pkg.value()"),
                "__import__": lambda: space.eval("__import__('pkg').value()")}
        callers = [*([name] for name in uses), list(uses)] * 2
        errors = run_threads([reload, *(lambda ways=ways: call(ways) for ways in callers)])
        self.assertEqual([repr(error) for error in errors], [])
        self.assertEqual(wrong, [])
        self.assertEqual(space.import_("pkg").value(), (300 * STRESS,) * 6)
        self.assertEqual(space.generation, 300 * STRESS + 1)

    def test_the_first_import_while_the_space_is_reloaded(self):
        for attempt in range(100 * STRESS):
            space, root = self.app({"module.py": version(1), "other.py": version(1)})

            def reload():
                time.sleep(attempt % 25 / 1000)
                space.reload()
            errors = run_threads([lambda: space.import_("module"), reload])
            self.assertEqual([repr(error) for error in errors], [], attempt)
            self.assertEqual(space.import_("other").version, 1)
            space.reload()
            self.assertEqual(space.import_("other").version, 1)
            space.discard()

    def test_imports_while_the_space_is_reloaded(self):
        files = {f"m{index}.py": f"import m{index + 1}\nvalue = m{index + 1}.value" for index in range(10)}
        space, root = self.app({**files, "m10.py": "value = 1"})
        done = threading.Event()

        def work(first):
            while not done.is_set():
                for index in range(first, 11):
                    self.assertEqual(space.import_(f"m{index}").value, 1)
                    self.assertEqual(space.eval(f"__import__('m{index}').value"), 1)

        def reload():
            try:
                for _ in range(50 * STRESS):
                    space.reload()
            finally:
                done.set()
        errors = run_threads([reload, *(lambda first=first: work(first) for first in (0, 3, 5, 9))])
        self.assertEqual([repr(error) for error in errors], [])

    def test_memory_is_flat(self):
        space, root = self.app(self.package(1))
        space.import_("pkg")
        space.exec("import pkg, json, logging")

        def step():
            space.exec("import json, logging\ndef own(): return json\nclass Own: me = own")
            space.reload()
        self.assert_flat(step, times=100)

    def test_memory_is_flat_when_threads_drain(self):
        space, root = self.app({**Running.FILES, "worker.py": version(1, WORKER), "helper.py": version(1)})

        def step():
            worker = Worker(space.import_("worker").work)
            self.assertIsNone(space.reload().old)
            worker.finish()
            space.reload()
        self.assert_flat(step)


if __name__ == "__main__":
    unittest.main()
