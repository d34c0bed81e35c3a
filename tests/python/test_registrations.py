"""What a space registered with the interpreter, with native modules and with the platform is taken back when it goes:
it is freed, and not called any more. What the host registered stays."""

import _abc
import codecs
import collections.abc
import contextlib
import gc
import io
import os
import signal
import sqlite3
import sys
import threading
import time
import unittest
import weakref

from discarding import Discarding
from leaking import Freed


class Gone(Freed):
    """It is freed."""

    def test_codecs(self):
        self.free("""\
            import codecs
            def search(name):
                if name == 'own_codec': return codecs.CodecInfo(encode, None, name=name)
            def encode(text, errors='strict'): return b'own', len(text)
            codecs.register(search)
            'x'.encode('own_codec')
            class S(str): pass
            codecs.register_error(S('own_errors'), lambda error: ('?', error.end))
            '\\xe9'.encode('ascii', 'own_errors')
            """)

    def test_codecs_of_the_library(self):
        self.free("""\
            names = 'cp866', 'cp865', 'koi8_r', 'utf_16', 'idna', 'punycode', 'cp500'
            encoded = ['xxxxxxxx'.encode(name) for name in names]
            import codecs
            reader = codecs.getreader('cp866')
            """)
        self.assertEqual((chr(1046).encode("cp866"), chr(1046).encode("koi8_r")), (b"\x86", b"\xf6"))
        self.assertEqual(b"\x86".decode("cp866"), chr(1046))

    def test_exit_callbacks(self):
        seen = []
        self.free("""\
            import atexit
            atexit.register(lambda: seen.append(handle()))
            atexit.register(Handler().handle)
            """, given={"seen": seen})
        self.assertEqual(seen, [42])

    def test_fork_hooks(self):
        self.free("""\
            import os, threading
            os.register_at_fork(before=handle, after_in_parent=Handler().handle, after_in_child=handle)
            lock = threading.Lock()
            class A: pass
            a = A()
            a.lock = lock
            os.register_at_fork(before=lock.acquire, after_in_parent=lock.release)
            """)

    def test_pickling_functions(self):
        self.free("""\
            import copyreg, copy
            copyreg.pickle(Handler, lambda handler: (Handler, ()))
            copyreg.add_extension('plugin', 'Handler', 0x7ffe)
            import pickle
            handler = pickle.loads(pickle.dumps(Handler(), 2))
            copied = copy.copy(Handler())
            copy._deepcopy_dispatch[Handler] = handle
            """)
        import copyreg
        with contextlib.suppress(ValueError):
            copyreg.remove_extension("plugin", "Handler", 0x7ffe)

    def test_abc_registrations(self):
        self.free("""\
            import abc, collections.abc, numbers, os
            class A: pass
            collections.abc.Sequence.register(A)
            numbers.Number.register(A)
            os.PathLike.register(A)
            class Base(abc.ABC):
                @abc.abstractmethod
                def f(self): ...
            Base.register(A)
            checks = isinstance(A(), Base), issubclass(A, collections.abc.Mapping), isinstance(A(), os.PathLike)
            """)

    def test_a_signal_handler(self):
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.free("import signal\nsignal.signal(signal.SIGUSR1, handle)\n")
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)

    def test_a_trace_function(self):
        self.addCleanup(sys.settrace, sys.gettrace())
        self.free("""\
            import sys
            def trace(frame, event, argument): return trace
            sys.settrace(trace)
            handle()
            """)
        self.assertIsNone(sys.gettrace())

    def test_a_profile_function(self):
        self.addCleanup(sys.setprofile, sys.getprofile())
        self.free("""\
            import sys
            def profile(frame, event, argument): pass
            sys.setprofile(profile)
            handle()
            """)
        self.assertIsNone(sys.getprofile())

    def test_trace_functions_of_threads(self):
        self.addCleanup(threading.settrace, None)
        self.addCleanup(threading.setprofile, None)
        self.free("""\
            import threading
            def trace(frame, event, argument): pass
            threading.settrace(trace)
            threading.setprofile(trace)
            thread = threading.Thread(target=handle)
            thread.start()
            thread.join()
            """)

    def test_async_generator_hooks(self):
        self.addCleanup(sys.set_asyncgen_hooks, *sys.get_asyncgen_hooks())
        self.free("import sys\nsys.set_asyncgen_hooks(handle, Handler().handle)\n")

    def test_a_monitoring_tool(self):
        def release():
            if sys.monitoring.get_tool(3):
                sys.monitoring.free_tool_id(3)
        self.addCleanup(release)
        self.free("""\
            import sys
            m = sys.monitoring
            m.use_tool_id(3, 'plugin')
            m.register_callback(3, m.events.PY_START, handle)
            m.set_local_events(3, answer.__code__, m.events.PY_START)
            handle()
            """)
        self.assertIsNone(sys.monitoring.get_tool(3))

    def test_an_audit_hook(self):
        seen = []
        self.free("""\
            import sys
            def hook(event, arguments):
                if event == 'plugin.event': seen.append(event)
            sys.addaudithook(hook)
            """, given={"seen": seen})
        sys.audit("plugin.event")
        self.assertEqual(seen, [])

    def test_warnings(self):
        self.free("""\
            import warnings
            class W(UserWarning): pass
            warnings.simplefilter('ignore', W)
            warnings.warn('x', W)
            warnings.showwarning = handle
            warnings.warn('y')
            with warnings.catch_warnings(record=True) as recorded:
                warnings.simplefilter('always')
                warnings.warn('z', W)
            """)

    def test_database_adapters(self):
        self.free("""\
            import sqlite3
            sqlite3.register_adapter(Handler, handle)
            sqlite3.register_converter('handler', handle)
            """)
        import datetime
        row = sqlite3.connect(":memory:").execute("select ?", ("x",)).fetchone()
        self.assertEqual((row, datetime.date in {key[0] for key in sqlite3.adapters}), (("x",), True))

    def test_csv_dialects(self):
        self.free("""\
            import csv
            class D(csv.excel): delimiter = ';'
            csv.register_dialect('plugin', D)
            reader = csv.reader(['a;b'], 'plugin')
            row = next(reader)
            class Writer:
                def write(self, text): pass
            out = Writer()
            out.writer = csv.writer(out, D)
            """)

    def test_a_decimal_context(self):
        import decimal
        self.addCleanup(decimal.setcontext, decimal.getcontext())
        self.free("""\
            import decimal
            class Context(decimal.Context): pass
            decimal.setcontext(Context())
            class Signal(decimal.DecimalException): pass
            third = decimal.Decimal(1) / 3
            """)

    def test_lines_of_a_loader(self):
        self.free("""\
            import linecache
            class Loader:
                def get_source(self, name): return 'source'
            linecache.lazycache('plugin-file', {'__name__': 'x', '__loader__': Loader()})
            line = linecache.getline(__file__, 1)
            """)

    def test_flags_of_the_library(self):
        self.free("""\
            import re, enum
            class I(int): pass
            flag = re.RegexFlag(I(1 << 20))
            class F(enum.IntFlag):
                A = 1 << 21
            other = re.RegexFlag(F.A)
            """)

    def test_caches_of_the_library(self):
        self.free("""\
            import inspect, ipaddress, typing, json, functools
            class A(ipaddress.IPv4Address): pass
            a = A('10.0.0.1')
            a.is_private
            attribute = inspect.getattr_static(Handler(), 'handle')
            signature = inspect.signature(Handler.handle)
            source = inspect.getsource(Handler)
            class E(json.JSONEncoder):
                def default(self, o): return 1
            text = json.dumps([Handler()], cls=E)
            members = inspect.getmembers(Handler)
            """)

    def test_changes_of_platform_objects(self):
        def restore():
            import reprlib
            vars(reprlib.aRepr).pop("repr_Handler", None)
        self.addCleanup(restore)
        self.free("""\
            import reprlib, pathlib
            reprlib.aRepr.repr_Handler = handle
            pathlib.PurePath.plugin_attribute = handle
            """)
        import pathlib
        self.assertFalse(hasattr(pathlib.PurePath, "plugin_attribute"))

    def test_collector_callbacks(self):
        self.free("""\
            import gc
            def callback(phase, info): pass
            gc.callbacks.append(callback)
            gc.collect()
            """)
        self.assertFalse([callback for callback in gc.callbacks if getattr(callback, "__module__", "") == "plugin"])

    def test_hooks_and_streams_of_the_space(self):
        self.free("""\
            import sys, threading, builtins
            class Stream:
                def write(self, text): pass
                def flush(self): pass
            sys.stdout = sys.stderr = Stream()
            sys.excepthook = sys.displayhook = sys.unraisablehook = handle
            threading.excepthook = handle
            builtins.own = Handler()
            sys.breakpointhook = handle
            sys.own = handle
            """)

    def test_finders_of_the_space(self):
        self.free("""\
            import sys
            class Finder:
                def find_spec(self, name, path=None, target=None): return None
            sys.meta_path.append(Finder())
            sys.path_hooks.append(Finder)
            sys.path_importer_cache['x'] = Finder()
            sys.modules['own'] = Finder()
            import types
            sys.modules['made'] = types.ModuleType('made')
            sys.modules['made'].own = handle
            """)

    def test_the_last_exception(self):
        self.free("""\
            import sys
            class Error(Exception): pass
            try:
                raise Error(Handler())
            except Error as error:
                sys.last_exc = sys.last_value = error
                sys.last_traceback = error.__traceback__
            """)


class Dead(Discarding):
    """What is left of classes that are gone."""

    def test_abstract_classes_forget_what_they_were_asked_about(self):
        def remembered():
            _registry, cache, negative_cache, _version = _abc._get_dump(collections.abc.Mapping)
            return len(cache) + len(negative_cache)

        def ask():
            space = self.space()
            space.exec("import collections.abc\nclass A: pass\nclass B(collections.abc.Mapping): pass\n"
                       "found = [issubclass(kind, collections.abc.Mapping) for kind in (A, B)]")
            self.assertEqual(space.eval("found"), [False, True])
            space.discard()
        most = 0
        for _ in range(200):
            ask()
            most = max(most, remembered())
        self.assertLess(most, 200)


class Silent(Discarding):
    """It is not called any more."""

    def gone(self, source, check=lambda: None, **options):
        """Runs `source` in a space; after its discard its function `callback` is gone."""
        space = self.space(name="plugins")
        space.sys.stderr = io.StringIO()
        calls = []
        space.ns["calls"] = calls
        space.exec("def callback(*args, **kwargs): calls.append(1)\nclass Callback:\n"
                   "    def __call__(self, *args): calls.append(1)")
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
        self.gone("import os\nos.register_at_fork(before=callback, after_in_child=callback, after_in_parent=callback)",
                  fork)

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
        self.gone("import sys\nm = sys.monitoring\nm.use_tool_id(3, 'plugins')\n"
                  "m.register_callback(3, m.events.PY_START, callback)\n"
                  "m.register_callback(3, m.events.CALL, callback)\nm.set_events(3, m.events.PY_START | m.events.CALL)",
                  look)

    def test_collector_callbacks(self):
        before = list(gc.callbacks)
        self.gone("import gc\ngc.callbacks.append(callback)\ngc.callbacks.append(Callback())", gc.collect)
        self.assertEqual(gc.callbacks, before)

    def test_context_variables(self):
        self.gone("import contextvars\nvariable = contextvars.ContextVar('v', default=callback)\n"
                  "variable.set(callback)\nimport decimal\ndecimal.getcontext().prec = 5")

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
                   "def run():\n    asyncio.set_event_loop(loop)\n    task = loop.create_task(tick())\n"
                   "    loop.run_forever()\n    task.cancel()\n"
                   "    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))\n"
                   "    loop.close()\n"
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

    def test_an_event_loop_that_an_exit_callback_stops(self):
        space = self.space(name="plugins")
        space.exec("import asyncio, threading\nloop = asyncio.new_event_loop()\nready = threading.Event()\n"
                   "def run():\n    loop.call_soon(ready.set)\n    loop.run_forever()\n    loop.close()\n"
                   "thread = threading.Thread(target=run, name='loop')\nthread.start()\n"
                   "threading._register_atexit(lambda: loop.call_soon_threadsafe(loop.stop))\nready.wait()\n")
        report = space.discard()
        self.assertEqual(report.threads, [])
        self.assertTrue(report.clean, report)

    def test_asyncio_run(self):
        self.gone("import asyncio\nasync def main():\n    await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))\n"
                  "    callback()\nasyncio.run(main())")

    def test_registries_of_the_library(self):
        sources = {
            "copyreg": "import copyreg\nclass C: pass\ncopyreg.pickle(C, callback)",
            "functools": "import functools\n@functools.singledispatch\ndef f(x): pass\nf.register(int, callback)",
            "mimetypes": "import mimetypes\nmimetypes.add_type('x/y', '.z')",
            "logging": "import logging\nclass H(logging.Handler):\n    def emit(self, record): callback()\n"
                       "logging.getLogger().addHandler(H())\nlogging.warning('x')",
            "warnings": "import warnings\nwarnings.showwarning = callback\nwarnings.warn('x')",
            "weakref.finalize": "import weakref\nclass C: pass\nc = C()\nweakref.finalize(c, callback)",
            "threading.excepthook": "import threading\nthreading.excepthook = callback",
            "sys hooks": "import sys\nsys.excepthook = sys.displayhook = sys.unraisablehook = callback\n"
                         "sys.last_value = callback",
            "linecache": "import linecache\nlinecache.cache['<x>'] = (callback,)",
            "timer": "import threading\nt = threading.Timer(100, callback)\nt.daemon = True",
            "abc": "import abc\nclass A(abc.ABC): pass\nclass B:\n    def f(self): pass\nA.register(B)\n"
                   "import collections.abc\ncollections.abc.Sized.register(B)\n"
                   "assert isinstance(B(), collections.abc.Sized)",
            "re": "import re\nre.sub('a', lambda m: 'b', 'aaa')\nre.compile('callback')",
            "subclasses": "import collections\nclass D(dict):\n    def f(self): callback()\n"
                          "class U(collections.UserList):\n    def f(self): callback()",
            "sys.setrecursionlimit": "import sys\nsys.setrecursionlimit(sys.getrecursionlimit())",
        }
        for name, source in sources.items():
            with self.subTest(name):
                self.gone(source)


if __name__ == "__main__":
    unittest.main()
