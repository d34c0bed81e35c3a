"""Cycles through native objects that own references which nothing outside them can read (`opaque`, and what the lists
leave out, in spaces/policies/types.toml). What these refer to cannot be told from what native code holds: it is not
freed, the report says so, it goes on to work, and a collection frees it once the cycle is broken."""

import contextvars
import gc
import unittest

from leaking import PluginTest
from support import alive, own_objects


class Opaque(PluginTest):
    def keep(self, source, release, use=None, held="plugin.Handler", path=None):
        """A module with this source stays: `report.held` has `held`, which native code seems to hold, with this path.
        `use(module)` is 42 all the same, and after `release(module)`, if there is a way, it is gone."""
        space = self.plugin(source)
        own = own_objects(space, "plugin")
        report = space.discard()
        self.assertFalse(report.clean, report)
        self.assertEqual([entry.path for entry in report.held if not entry.path.startswith("native code: ")], [])
        path = path or f"native code: {held}"
        self.assertIn((held, path), [(entry.object, entry.path) for entry in report.held])
        self.assertIn(f"{path} -> {held}", str(report))
        gc.collect()
        self.assertEqual(alive(own), list(own))
        plugin = own["plugin"]()
        self.assertEqual((plugin.handle(), plugin.Handler().handle()), (42, 42))
        if use:
            self.assertEqual(use(plugin), 42)
        if release:
            release(plugin)
            del plugin
            gc.collect()
            self.assertEqual(alive(own), [])

    # Contexts

    def test_the_context_of_a_token(self):
        self.keep("""\
            import contextvars
            variable = contextvars.ContextVar('variable')
            Handler.token = contextvars.Context().run(variable.set, Handler)
            """, lambda plugin: delattr(plugin.Handler, "token"))

    def test_the_running_context_of_a_token(self):
        self.keep("""\
            import contextvars
            variable = contextvars.ContextVar('variable')
            Handler.token = variable.set(Handler)
            """, lambda plugin: delattr(plugin.Handler, "token"))

    def test_what_was_set_last_in_a_context_variable_outside_modules(self):
        self.keep("""\
            import contextvars
            Handler.variable = contextvars.ContextVar('variable')
            contextvars.Context().run(Handler.variable.set, Handler)
            """, lambda plugin: contextvars.Context().run(plugin.Handler.variable.set, None))

    # What runs, and what is suspended

    def test_the_exception_that_a_generator_handles(self):
        self.keep("""\
            def numbers():
                try:
                    raise ValueError(Handler)
                except ValueError as error:
                    yield error
            g = numbers()
            next(g)
            """, lambda plugin: plugin.g.close(), path="native code: builtins.ValueError instance.args[0]")

    def test_the_exception_that_a_coroutine_handles(self):
        self.keep("""\
            import types
            @types.coroutine
            def pause():
                yield
            async def main():
                try:
                    raise ValueError
                except ValueError:
                    await pause()
            c = main()
            c.send(None)
            """, lambda plugin: plugin.c.close(), held="frame of plugin.main")

    def test_a_constant_of_a_code_object(self):
        self.keep("""\
            import types
            code = handle.__code__.replace(co_consts=(*handle.__code__.co_consts, Handler))
            changed = types.FunctionType(code, globals())
            """, lambda plugin: (delattr(plugin, "changed"), delattr(plugin, "code")), lambda plugin: plugin.changed())

    # Containers and iterators

    def test_an_iterator_over_a_dict(self):
        for iterator in ("iter({Handler: 1})", "iter({1: Handler}.values())", "iter({1: Handler}.items())",
                         "reversed({Handler: 1})", "reversed({1: Handler}.values())", "reversed({1: Handler}.items())"):
            with self.subTest(iterator=iterator):
                self.keep(f"Handler.iterator = {iterator}\n", lambda plugin: list(plugin.Handler.iterator))

    def test_an_iterator_over_a_set(self):
        for iterator in ("iter({Handler})", "iter(frozenset({Handler}))"):
            with self.subTest(iterator=iterator):
                self.keep(f"Handler.iterator = {iterator}\n", lambda plugin: list(plugin.Handler.iterator))

    def test_an_iterator_over_elements(self):
        for method in ("iter", "itertext"):
            with self.subTest(method=method):
                self.keep(f"""\
                    import xml.etree.ElementTree as E
                    class A(E.Element):
                        def handle(self): return answer()
                    a = A('a')
                    a.append(A('b'))
                    A.iterator = a.{method}()
                    """, lambda plugin: list(plugin.A.iterator), lambda plugin: plugin.a[0].handle(),
                          held="plugin.A instance")

    # Functions and types

    def test_the_evaluated_bound_of_a_type_parameter(self):
        for parameter, value in (("T: Handler", "bound"), ("T: (Handler, int)", "constraints"),
                                 ("T = Handler", "default"), ("*T = *tuple[Handler]", "default"),
                                 ("**T = [Handler]", "default")):
            with self.subTest(parameter=parameter):
                self.keep(f"""\
                    def f[{parameter}](): return answer()
                    f.__type_params__[0].__{value}__
                    """, lambda plugin: setattr(plugin.f, "__type_params__", ()), lambda plugin: plugin.f())

    def test_the_evaluated_value_of_an_alias(self):
        self.keep("""\
            type X = Handler
            X.__value__
            """, lambda plugin: delattr(plugin, "X"), lambda plugin: plugin.X.__value__().handle())

    def test_the_callback_of_a_proxy(self):
        self.keep("""\
            import weakref
            handler = Handler()
            proxy = weakref.proxy(handler, handle)
            """, lambda plugin: delattr(plugin, "proxy"), lambda plugin: plugin.proxy.handle(), held="plugin.handle")

    # Native modules

    def test_the_memo_of_a_pickler(self):
        self.keep("""\
            import io, pickle
            Handler.pickler = pickle.Pickler(io.BytesIO())
            Handler.pickler.dump(Handler())
            """, lambda plugin: plugin.Handler.pickler.clear_memo())

    def test_the_memo_of_an_unpickler(self):
        self.keep("""\
            import io, pickle
            Handler.unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps(Handler())))
            Handler.unpickler.load()
            """, lambda plugin: setattr(plugin.Handler.unpickler, "memo", {}))

    def test_a_function_of_a_database(self):
        self.keep("""\
            import sqlite3
            connection = sqlite3.connect(':memory:')
            connection.create_function('f', 0, handle)
            """, lambda plugin: delattr(plugin, "connection"),
                  lambda plugin: plugin.connection.execute("select f()").fetchone()[0], held="plugin.handle")

    def test_the_trace_callback_of_a_database(self):
        # RustPython never lets go of one, even when the connection is closed and gone.
        self.keep("""\
            import sqlite3
            connection = sqlite3.connect(':memory:')
            connection.set_trace_callback(handle)
            """, None, lambda plugin: plugin.connection.execute("select 42").fetchone()[0], held="plugin.handle")

    def test_a_ctypes_callback(self):
        self.keep("""\
            import ctypes
            callback = ctypes.CFUNCTYPE(ctypes.c_int)(handle)
            """, lambda plugin: delattr(plugin, "callback"), lambda plugin: plugin.callback(), held="plugin.handle")


if __name__ == "__main__":
    unittest.main()
