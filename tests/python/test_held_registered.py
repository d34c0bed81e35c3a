"""What outlives its space because it was registered with the host or given to native code is named with the path to it,
goes on working, and is freed when it is let go."""

import atexit
import contextlib
import contextvars
import ctypes
import io
import logging
import sqlite3
import sys
import threading
import unittest
import weakref

from leaking import HERE, Box, Held
from support import shelf


class WeakReferences(Held):
    """Weak references that hold."""

    def test_a_weakref_callback(self):
        def hold(plugin):
            box = Box()
            return box, weakref.ref(box, plugin.handle)
        self.leak(hold, r"plugin\.handle", r"\[1\]\.__callback__", lambda held: held[1].__callback__())

    def test_a_weakref_subclass(self):
        def hold(plugin):
            box = Box()
            return box, plugin.Reference(box)
        self.leak(hold, r"plugin\.Reference", r"\[1\]", lambda held: held[1].answer(),
                  source="import weakref\nclass Reference(weakref.ref):\n    def answer(self): return answer()\n")

    def test_a_finalizer_of_the_host(self):
        def hold(plugin):
            box = Box()
            return box, weakref.finalize(box, plugin.handle)

        def release():
            if "held" in shelf:
                shelf["held"][1].detach()
        self.leak(hold, r"plugin\.handle", r"finalize|_registry", lambda held: held[1].peek()[1](), where="",
                  release=release)


class Registrations(Held):
    def test_an_exit_callback(self):
        def hold(plugin):
            atexit.register(plugin.handle)
        self.leak(hold, r"plugin\.handle", r"atexit", where="", release=atexit._clear)

    def test_a_hook_of_sys(self):
        for hook in ("excepthook", "displayhook", "unraisablehook"):
            with self.subTest(hook=hook):
                before = getattr(sys, hook)
                def hold(plugin):
                    setattr(sys, hook, plugin.handle)
                self.leak(hold, r"plugin\.handle", rf"sys\.{hook}", lambda held: getattr(sys, hook)(),
                          where=HERE, release=lambda: setattr(sys, hook, before))

    def test_a_finder(self):
        def hold(plugin):
            sys.meta_path.append(plugin.Finder())

        def release():
            sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "Finder"]
        self.leak(hold, r"plugin\.Finder", r"sys\.meta_path\[\d+\]", lambda held: sys.meta_path[-1].handle(),
                  where=HERE, release=release,
                  source="class Finder(Handler):\n    def find_spec(self, name, path=None, target=None): return None\n")

    def test_a_stream(self):
        before = sys.stdout

        def hold(plugin):
            sys.stdout = plugin.Stream()
        self.leak(hold, r"plugin\.Stream", r"sys\.stdout", lambda held: sys.stdout.handle(), where=HERE,
                  release=lambda: setattr(sys, "stdout", before),
                  source="""\
            class Stream(Handler):
                def write(self, text): return len(text)
                def flush(self): pass
            """)

    def test_a_handler_of_a_shared_logging(self):
        def hold(plugin):
            logging.getLogger("test_held").addHandler(plugin.Log())
        self.leak(hold, r"plugin\.Log", r"logging.*handlers\[0\]", share=("logging",), where=HERE,
                  use=lambda held: logging.getLogger("test_held").handlers[0].answer(),
                  release=lambda: logging.getLogger("test_held").handlers.clear(),
                  source="import logging\nclass Log(logging.Handler):\n    def answer(self): return answer()\n")

    def test_an_exit_stack(self):
        results = []

        def hold(plugin):
            stack = contextlib.ExitStack()
            stack.callback(lambda handle: results.append(handle()), plugin.handle)
            return stack

        def use(stack):
            stack.close()
            return results.pop()
        self.leak(hold, r"plugin\.handle", r"\._exit_callbacks", use)

    def test_a_thread_local(self):
        def hold(plugin):
            local = threading.local()
            local.handle = plugin.handle
            return local
        self.leak(hold, r"plugin\.handle", "", lambda held: held.handle())

    def test_a_context_variable(self):
        seat = contextvars.ContextVar("seat")

        def hold(plugin):
            seat.set(plugin.handle)
        self.leak(hold, r"plugin\.handle", r"seat|[Cc]ontext", lambda held: seat.get()(), where="",
                  release=lambda: seat.set(None))

    def test_a_context(self):
        def hold(plugin):
            seat, context = contextvars.ContextVar("seat"), contextvars.Context()
            context.run(seat.set, plugin.handle)
            return seat, context
        self.leak(hold, r"plugin\.handle", "", lambda held: held[1][held[0]]())


class Native(Held):
    def test_a_ctypes_callback(self):
        self.leak(lambda plugin: ctypes.CFUNCTYPE(ctypes.c_int)(plugin.handle), r"plugin\.handle", "",
                  lambda held: held(), where="")

    def test_a_database_function(self):
        def hold(plugin):
            connection = sqlite3.connect(":memory:")
            connection.create_function("handle", 0, plugin.handle)
            return connection
        self.leak(hold, r"plugin\.handle", "", lambda held: held.execute("select handle()").fetchone()[0], where="")

    def test_a_row_factory(self):
        def hold(plugin):
            connection = sqlite3.connect(":memory:")
            connection.row_factory = plugin.handle
            return connection
        self.leak(hold, r"plugin\.handle", r"\.row_factory", lambda held: held.execute("select 1").fetchone())

    def test_a_stream_over_the_plugins_own(self):
        self.leak(lambda plugin: io.BufferedReader(plugin.Raw()), r"plugin\.Raw", r"\.raw",
                  lambda held: held.raw.answer(), source="""\
            import io
            class Raw(io.RawIOBase):
                def readable(self): return True
                def readinto(self, buffer): return 0
                def answer(self): return answer()
            """)

    def test_a_template_string(self):
        def hold(plugin):
            handle = plugin.handle
            return t"{handle}"
        self.leak(hold, r"plugin\.handle", "", lambda held: held.interpolations[0].value())


if __name__ == "__main__":
    unittest.main()
