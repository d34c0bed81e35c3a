"""A space is freed whole when generators, threads, tasks or finalizers of its own were in the middle of something or
are over."""

import contextlib
import gc
import io
import os
import threading
import typing
import unittest
import weakref

import modspace
from leaking import Freed


class Suspended(Freed):
    def test_a_suspended_generator(self):
        self.free("""\
            def numbers():
                own = Handler
                yield own
            g = numbers()
            next(g)
            h = numbers()
            Handler.g = (x for x in [Handler])
            """)

    def test_a_generator_closed_in_a_handler(self):
        self.free("""\
            def numbers():
                try:
                    raise ValueError(Handler)
                except ValueError as error:
                    yield error
            g = numbers()
            error = next(g)
            g.close()
            """)

    def test_coroutines_never_awaited(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.free("""\
                import types, warnings
                warnings.simplefilter('ignore')
                @types.coroutine
                def pause():
                    yield
                async def main(x):
                    await pause()
                c = main(Handler)
                d = main(Handler)
                d.send(None)
                async def numbers():
                    yield Handler
                a = numbers()
                b = numbers()
                try:
                    b.__anext__().send(None)
                except StopIteration:
                    pass
                """)

    def test_exceptions(self):
        self.free("""\
            class Error(Exception): pass
            def fail():
                own = Handler()
                raise Error(own)
            try:
                fail()
            except Error as e:
                error = e
            group = ExceptionGroup('group', [error])
            error.__context__ = ValueError(error)
            """)

    def test_frames(self):
        self.free("""\
            import sys
            frame = sys._getframe()
            def f():
                own = Handler()
                return sys._getframe()
            inner = f()
            variables = inner.f_locals
            """)


class Threads(Freed):
    """Threads and tasks."""

    def test_a_finished_thread(self):
        self.free("""\
            import threading
            class T(threading.Thread):
                def run(self): self.result = handle()
            thread = T()
            thread.start()
            thread.join()
            local = threading.local()
            local.own = Handler()
            timer = threading.Timer(0, handle)
            timer.start()
            timer.join()
            """)

    def test_a_thread_that_ends_while_the_discard_waits(self):
        self.free("""\
            import threading, time
            def work():
                own = Handler()
                time.sleep(0.1)
                return own.handle()
            thread = threading.Thread(target=work)
            thread.start()
            """)

    def test_a_thread_pool_never_shut_down(self):
        self.free("""\
            import concurrent.futures
            pool = concurrent.futures.ThreadPoolExecutor(2)
            future = pool.submit(handle)
            future.result()
            mapped = list(pool.map(handle, range(4)))
            """)

    def test_an_event_loop(self):
        self.free("""\
            import asyncio
            async def main():
                own = Handler()
                await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))
                return own
            asyncio.run(main())
            """)

    def test_an_event_loop_with_pending_tasks(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.free("""\
                import asyncio
                async def main(): await asyncio.sleep(3600)
                loop = asyncio.new_event_loop()
                task = loop.create_task(main())
                later = loop.call_later(3600, handle)
                loop.run_until_complete(asyncio.sleep(0))
                future = loop.create_future()
                future.add_done_callback(handle)
                loop.close()
                import logging
                logging.disable()
                loop.set_exception_handler(lambda loop, context: None)
                """)

    def test_logging(self):
        self.free("""\
            import logging
            class H(logging.Handler):
                def emit(self, record): self.record = record
            logging.getLogger('plugin').addHandler(H())
            logging.getLogger().addHandler(H())
            logging.getLogger('plugin').error('%s', Handler())
            class L(logging.Logger): pass
            logging.setLoggerClass(L)
            logger = logging.getLogger('own')
            """)


    def test_what_a_thread_kept_for_later(self):
        def run(count):
            for _ in range(count):
                # Dead dicts are kept by the thread, to be used again.
                thread = threading.Thread(target=lambda: [{} for _ in range(200)])
                thread.start()
                thread.join()
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        before = run(500)
        self.assertLess((run(3000) - before) / 2**20, 7)

    def test_tables_of_threads(self):
        def size():
            return max(table.__sizeof__() for table in (threading._active, threading._limbo, threading._dangling.data))
        for _ in range(1000):
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
        self.assertGreater(size(), 30_000)
        for _ in range(128):
            space = modspace.ModuleSpace()
            space.exec("used = True")
            space.discard()
        self.assertLess(size(), 3_000)
        self.assertIs(threading.current_thread(), threading.main_thread())
        self.assertIn(threading.current_thread(), list(threading._dangling))


class Tidied(unittest.TestCase):
    """What ends with many spaces, a little with each."""

    def end(self, count, source="used = True"):
        for _ in range(count):
            space = modspace.ModuleSpace()
            space.exec(source)
            space.discard()

    def test_overloads(self):
        def size():
            return typing._overload_registry["__main__"].__sizeof__()

        @typing.overload
        def kept(argument: int): ...

        def kept(argument): ...
        self.end(640, "import typing\n" + "".join(
            f"@typing.overload\ndef f{number}(argument: int): ...\n" for number in range(20)))
        self.assertLess(size(), 64 * 20 * 100)
        self.end(64)
        self.assertLess(size(), 2_000)
        self.assertEqual(len(typing.get_overloads(kept)), 1)

    def test_classes_that_were_subclasses(self):
        def dead():
            # Not `__subclasses__()`, which forgets them.
            references = [entry for entry in gc.get_referents(Base) if isinstance(entry, weakref.ref)]
            return len([entry for entry in references if entry() is None])

        class Base: ...
        class Kept(Base): ...
        for _ in range(100):
            type("Dropped", (Base,), {})
        gc.collect()
        self.assertEqual(dead(), 100)
        self.end(64)
        self.assertEqual(dead(), 0)
        self.assertEqual(Base.__subclasses__(), [Kept])


class Finalizers(Freed):
    def test_finalizers_in_a_cycle_see_the_whole_module(self):
        seen = []
        self.free("""\
            class A:
                def __del__(self): seen.append((handle(), Handler.__name__, self.other is not None))
            a, b = A(), A()
            a.other, b.other = b, a
            alone = A()
            alone.other = A
            """, given={"seen": seen})
        self.assertEqual(seen, [(42, "Handler", True)] * 3)

    def test_weakref_callbacks_see_the_whole_module(self):
        for cycle in ("", "a.me = a"):
            seen = []
            with self.subTest(cycle=cycle):
                self.free(f"""\
                    import weakref
                    class A: pass
                    a = A()
                    {cycle}
                    def dead(reference): seen.append((reference() is None, handle(), Handler.__name__))
                    reference = weakref.ref(a, dead)
                    """, given={"seen": seen})
                self.assertEqual(seen, [(True, 42, "Handler")])

    def test_finalize_runs_at_the_discard(self):
        seen = []
        self.free("""\
            import weakref
            handler = Handler()
            finalizer = weakref.finalize(handler, lambda: seen.append(handle()))
            """, given={"seen": seen})
        self.assertEqual(seen, [42])

    def test_a_finalizer_that_fails(self):
        self.free("""\
            class A:
                def __del__(self): raise ValueError
            a = A()
            a.a = a
            """, errors=["ValueError()"])

    def test_a_finalizer_that_makes_more(self):
        self.free("""\
            class A:
                def __del__(self):
                    if self.depth: B(self.depth - 1)
                def __init__(self, depth):
                    self.depth = depth
                    self.own = self
            class B(A): pass
            a = A(3)
            """)

    def test_a_generator_is_closed(self):
        seen = []
        self.free("""\
            def numbers():
                try:
                    yield
                finally:
                    seen.append(handle())
            g = numbers()
            """, given={"seen": seen}, before=lambda plugin: next(plugin.g))
        self.assertEqual(seen, [42])


if __name__ == "__main__":
    unittest.main()
