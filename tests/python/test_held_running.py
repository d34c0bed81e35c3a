"""What outlives its space because a thread, a frame, a generator, an iterator, an exception or a task outside holds it
is named with the path to it, goes on working, and is freed when that is over."""

import asyncio
import collections
import concurrent.futures
import csv
import itertools
import sys
import threading
import traceback
import types
import unittest
import weakref

from leaking import HERE, Held
from support import join_threads, shelf


def end_of(coroutine):
    """What the coroutine returns when it is sent None once more."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


class Running(Held):
    """What runs, and what is suspended."""

    def test_a_running_thread(self):
        event = threading.Event()

        def hold(plugin):
            plugin.start(event)

        def release():
            event.set()
            join_threads("worker")
        source = """\
            import threading
            def loop(event, ready):
                handler = Handler()
                ready.set()
                event.wait()
                return handler.handle()
            def start(event):
                ready = threading.Event()
                threading.Thread(target=loop, args=(event, ready), name="worker", daemon=True).start()
                ready.wait()
            """
        report = self.leak(hold, r"plugin\.loop", where="thread .*worker", release=release, timeout=0.1, source=source)
        thread, = report.threads
        self.assertEqual(thread.name, "worker")
        self.assertIn("loop", thread.stack)
        self.assertIn("plugin.py", thread.stack)
        self.assertGreaterEqual(report.duration, 0.1)

    def test_a_local_variable_of_a_host_thread(self):
        event, ready = threading.Event(), threading.Event()

        def wait_with(cargo):
            ready.set()
            event.wait()

        def hold(plugin):
            thread = threading.Thread(target=wait_with, args=(plugin.handle,), name="holder", daemon=True)
            thread.start()
            ready.wait()

        def release():
            event.set()
            join_threads("holder")
        self.leak(hold, r"plugin\.handle", "", where=r"thread.*wait_with.*cargo", release=release)

    def test_a_local_variable_below_a_function_that_runs_for_the_first_time(self):
        end, ready = [], threading.Event()
        # A function runs for the first time once: each has code of its own.
        names = {"ready": ready, "end": end}
        exec("def first():\n    ready.set()\n    while not end: pass\n", names)

        def call_with(cargo):
            names["first"]()

        def hold(plugin):
            threading.Thread(target=call_with, args=(plugin.handle,), name="holder", daemon=True).start()
            ready.wait()

        def release():
            end.append(True)
            join_threads("holder")
        self.leak(hold, r"plugin\.handle", "", where=r"thread.*call_with.*cargo", release=release)

    def test_a_local_variable_of_the_test(self):
        space = self.plugin()
        kept = space.import_("plugin").handle
        report = space.discard()
        self.check(report, r"plugin\.handle", r"thread.*test_a_local_variable_of_the_test.*kept")
        self.assertEqual(kept(), 42)
        own = {"kept": weakref.ref(kept)}
        del kept
        self.assert_freed(own)

    def test_a_captured_variable_of_the_test(self):
        space = self.plugin()
        kept = space.import_("plugin").handle
        report = space.discard()
        self.check(report, r"plugin\.handle", r"thread.*test_a_captured_variable_of_the_test.*kept")
        self.assertEqual((lambda: kept)()(), 42)
        own = {"kept": weakref.ref(kept)}
        del kept
        self.assert_freed(own)

    def test_a_suspended_generator(self):
        def hold(plugin):
            numbers = plugin.numbers()
            next(numbers)
            return numbers
        self.leak(hold, r"plugin\.numbers", "", lambda held: next(held),
                  source="""\
            def numbers():
                handler = Handler()
                yield 0
                yield handler.handle()
            """)

    def test_a_generator_that_never_started(self):
        self.leak(lambda plugin: plugin.numbers(), r"plugin\.numbers", "", lambda held: next(held),
                  source="def numbers():\n    yield answer()\n")

    def test_a_generator_of_the_host(self):
        def numbers(handle):
            yield 0
            yield handle()

        def hold(plugin):
            suspended = numbers(plugin.handle)
            next(suspended)
            return suspended
        self.leak(hold, r"plugin\.handle", r".*handle", lambda held: next(held))

    def test_a_coroutine(self):
        def hold(plugin):
            coroutine = plugin.main()
            coroutine.send(None)
            return coroutine
        self.leak(hold, r"plugin\.main", "", end_of, source="""\
            import types
            @types.coroutine
            def pause():
                yield
            async def main():
                handler = Handler()
                await pause()
                return handler.handle()
            """)

    def test_an_async_generator(self):
        def hold(plugin):
            numbers = plugin.numbers()
            end_of(numbers.__anext__())
            return numbers
        self.leak(hold, r"plugin\.numbers", "", lambda held: end_of(held.__anext__()),
                  source="""\
            async def numbers():
                handler = Handler()
                yield 0
                yield handler.handle()
            """)

    def test_a_frame(self):
        self.leak(lambda plugin: plugin.frame(), r"plugin\.frame", "", lambda held: held.f_locals["handler"].handle(),
                  source="""\
            import sys
            def frame():
                handler = Handler()
                return sys._getframe()
            """)


class Iterators(Held):
    def test_an_iterator(self):
        for iterator in (lambda plugin: iter([plugin.handle]), lambda plugin: iter((plugin.handle,)),
                         lambda plugin: reversed([plugin.handle]), lambda plugin: itertools.chain([plugin.handle]),
                         lambda plugin: itertools.cycle([plugin.handle]),
                         lambda plugin: itertools.repeat(plugin.handle),
                         lambda plugin: itertools.islice([plugin.handle], 1),
                         lambda plugin: filter(None, [plugin.handle]),
                         lambda plugin: iter(collections.deque([plugin.handle]))):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=None))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held)())

    def test_an_iterator_of_pairs(self):
        for iterator in (lambda plugin: zip("x", [plugin.handle]), lambda plugin: enumerate([plugin.handle]),
                         lambda plugin: itertools.product("x", [plugin.handle])):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=None))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held)[1]())

    def test_an_iterator_that_calls(self):
        for iterator in (lambda plugin: map(plugin.handle, "x"), lambda plugin: itertools.starmap(plugin.handle, ["x"]),
                         lambda plugin: iter(plugin.handle, None)):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=len))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held))

    def test_an_iterator_over_a_dict_or_set(self):
        for iterator in (lambda plugin: iter({"x": plugin.handle}.values()), lambda plugin: iter({plugin.handle})):
            with self.subTest(iterator=iterator(types.SimpleNamespace(handle=None))):
                self.leak(iterator, r"plugin\.handle", "", lambda held: next(held)(), where="")

    def test_a_csv_reader(self):
        self.leak(lambda plugin: csv.reader(plugin.lines()), r"plugin\.lines", "", lambda held: int(next(held)[1]),
                  source="def lines():\n    yield f'x,{answer()}'\n")


class Exceptions(Held):
    FAIL = "class Error(Exception):\n    def answer(self): return answer()\n" \
           "def fail():\n    handler = Handler()\n    raise ValueError(1)\n"

    def test_a_traceback(self):
        def hold(plugin):
            try:
                plugin.fail()
            except ValueError as error:
                return error

        def use(held):
            self.assertIn("in fail\n", "".join(traceback.format_exception(held)))
            return 42
        self.leak(hold, r"plugin", r"\.__traceback__.*", use, source=self.FAIL)

    def test_an_exception(self):
        self.leak(lambda plugin: plugin.Error(), r"plugin\.Error", "", lambda held: held.answer(), source=self.FAIL)

    def test_an_argument_of_an_exception(self):
        self.leak(lambda plugin: ValueError(plugin.handle), r"plugin\.handle", r"\.args\[0\]",
                  lambda held: held.args[0]())

    def test_the_context_and_cause_of_an_exception(self):
        for attribute in ("__context__", "__cause__"):
            def hold(plugin):
                error = ValueError()
                setattr(error, attribute, plugin.Error())
                return error
            with self.subTest(attribute=attribute):
                self.leak(hold, r"plugin\.Error", rf"\.{attribute}", lambda held: getattr(held, attribute).answer(),
                          source=self.FAIL)

    def test_an_exception_group(self):
        self.leak(lambda plugin: ExceptionGroup("group", [ValueError(), plugin.Error()]), r"plugin\.Error",
                  r"\..*\[1\]", lambda held: held.exceptions[1].answer(), source=self.FAIL)

    def test_the_last_exception_of_the_host(self):
        def hold(plugin):
            sys.last_exc = plugin.Error()
        self.leak(hold, r"plugin\.Error", r"sys\.last_exc", lambda held: sys.last_exc.answer(),
                  where=HERE, release=lambda: vars(sys).pop("last_exc", None), source=self.FAIL)


class Concurrency(Held):
    def test_the_result_of_a_future(self):
        def hold(plugin):
            future = concurrent.futures.Future()
            future.set_result(plugin.handle)
            return future
        self.leak(hold, r"plugin\.handle", r"\._result", lambda held: held.result()())

    def test_a_callback_of_a_future(self):
        def hold(plugin):
            future = concurrent.futures.Future()
            future.add_done_callback(plugin.handle)
            return future
        self.leak(hold, r"plugin\.handle", r"\._done_callbacks\[0\]", lambda held: held._done_callbacks[0]())

    def test_pending_work_of_a_thread_pool(self):
        event = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)

        def hold(plugin):
            pool.submit(event.wait)
            return pool.submit(plugin.handle)

        def use(future):
            event.set()
            return future.result()

        def release():
            event.set()
            pool.shutdown()
        self.leak(hold, r"plugin\.handle", "", use, where="", release=release)

    def test_an_asyncio_task(self):
        loop = asyncio.new_event_loop()

        def hold(plugin):
            return loop.create_task(plugin.main())
        self.leak(hold, r"plugin\.main", "", lambda held: loop.run_until_complete(held), release=loop.close,
                  source="async def main():\n    return answer()\n")

    def test_a_scheduled_call(self):
        shelf["loop"] = asyncio.new_event_loop()

        def hold(plugin):
            return shelf["loop"].call_later(3600, plugin.handle)
        self.leak(hold, r"plugin\.handle", r"\._callback", lambda held: held._callback(),
                  release=lambda: shelf["loop"].close() if "loop" in shelf else None)

    def test_a_variable_of_a_function_that_was_called_often(self):
        # The frame objects of specialised calls do not have the variables.
        def call(often):
            space = self.plugin()
            local = [space.import_("plugin").handle]
            report = space.discard()
            if not often:
                self.check(report, r"plugin\.handle", r"^thread MainThread: frame call local local\[0\]$")
            return local
        for number in range(6):
            call(number < 5)


if __name__ == "__main__":
    unittest.main()
