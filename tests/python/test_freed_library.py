"""A space is freed whole when its objects and those of the standard library or native modules refer to each other."""

import unittest

from leaking import Freed


class Types(Freed):
    def test_generic_aliases(self):
        self.free("""\
            import collections.abc
            class A: pass
            A.all = list[A], dict[str, A], A | None, collections.abc.Callable[[A], A], tuple[A, ...], type[A]
            """)

    def test_generics_of_typing(self):
        self.free("""\
            import typing
            T = typing.TypeVar('T')
            class A(typing.Generic[T]): pass
            A.all = typing.List[A], typing.Optional[A], typing.Callable[[A], A], A[int]
            A.more = typing.Annotated[A, A], typing.Dict[str, A], typing.Union[A, int], typing.Literal[1]
            B = typing.TypeVar('B', bound=A)
            N = typing.NewType('N', A)
            P = typing.ParamSpec('P')
            """)

    def test_type_parameters(self):
        self.free("""\
            class A[T, *Ts, **P]:
                def f[S: A](self, x: S = None) -> T: return x
            def f[T](x: T) -> list[T]: return [x]
            type X[T] = list[T]
            value = X.__value__
            parameters = A.__type_params__, f.__type_params__, X.__type_params__
            alias = X[int]
            """)

    def test_annotations(self):
        self.free("""\
            import typing
            class A:
                x: A
                y: list[A] = None
                def f(self, a: A) -> A: return a
            hints = typing.get_type_hints(A), typing.get_type_hints(A.f), A.__annotations__, A.f.__annotations__
            """)

    def test_protocols_overloads_and_typed_dicts(self):
        self.free("""\
            import typing
            @typing.runtime_checkable
            class P(typing.Protocol):
                x: int
                def handle(self): ...
            class D(typing.TypedDict):
                h: Handler
            @typing.overload
            def f(x: int): ...
            @typing.overload
            def f(x: str): ...
            def f(x): return x
            known = isinstance(Handler(), P), typing.get_overloads(f)
            """)


class Contexts(Freed):
    def test_a_context(self):
        self.free("""\
            import contextvars
            variable = contextvars.ContextVar('variable', default=Handler)
            context = contextvars.Context()
            context.run(variable.set, Handler())
            Handler.context = context
            context.run(variable.set, Handler)
            """)

    def test_a_context_variable_of_the_running_context(self):
        self.free("""\
            import contextvars
            variable = contextvars.ContextVar('variable')
            variable.set(Handler())
            variable.set(Handler)
            class A: pass
            copy = A.copy = contextvars.copy_context()
            """)

    def test_a_plain_object_in_the_running_context(self):
        self.free("""\
            import contextvars
            class A: pass
            variable = contextvars.ContextVar('variable')
            variable.set(A)
            """)


class Library(Freed):
    def test_the_items_of_a_simple_queue(self):
        self.free("""\
            import queue
            class A:
                queue = queue.SimpleQueue()
            A.queue.put(A)
            A.queue.put([A.queue])
            class Own(queue.SimpleQueue): pass
            own = Own()
            own.put(Own)
            """)

    def test_getters_and_callers(self):
        self.free("""\
            import operator
            class A: pass
            item = A.item = operator.itemgetter(A)
            caller = A.caller = operator.methodcaller('x', A)
            A.keywords = operator.methodcaller('x', y=A, z=caller)
            attribute = A.attribute = operator.attrgetter('x.y')
            """)

    def test_partials(self):
        self.free("""\
            import functools
            class A:
                def f(self, x): return x
                g = functools.partialmethod(f, 1)
            A.p = functools.partial(A, A, x=A)
            bound = A.__init__
            @functools.total_ordering
            class B:
                def __lt__(self, other): return True
            """)

    def test_queues(self):
        self.free("""\
            import queue
            class A: pass
            simple = A.simple = queue.SimpleQueue()
            simple.put(A)
            simple.get()
            full = A.full = queue.Queue()
            full.put(A())
            """)

    def test_iterators(self):
        self.free("""\
            import itertools
            class A:
                def __init__(self, *arguments): pass
            items = A.items = [A]
            A.simple = iter(items), reversed(items), iter(tuple(items)), iter(A, None), iter(range(3))
            A.nested = zip(items, items), map(A, items), filter(A, items), enumerate(items)
            A.cycle, A.groups = itertools.cycle(items), itertools.groupby(items, A)
            A.others = itertools.chain(items), itertools.tee(items), itertools.islice(items, 1)
            A.running = itertools.accumulate(items, A)
            next(A.cycle), next(A.cycle)
            group = next(A.groups)
            """)

    def test_iterators_over_dicts_and_sets(self):
        self.free("""\
            class A: pass
            dicts = iter({1: A}.values()), iter({1: A}.items()), iter({A: 1}), reversed({1: A}.values())
            sets = iter({A}), iter(frozenset({A}))
            A.exhausted = iter({1: A}.values()), iter({1: A}.items()), iter({A: 1}), reversed({1: A}.values())
            A.exhausted += iter({A}), iter(frozenset({A}))
            for iterator in A.exhausted:
                for item in iterator: pass
            """)

    def test_cached_functions(self):
        self.free("""\
            import functools
            @functools.lru_cache
            def f(x): return x
            f(Handler)
            @functools.cache
            def g(x): return x
            g(handle)
            class A:
                @functools.cached_property
                def x(self): return self
                @functools.lru_cache(maxsize=None)
                def y(self): return self
            a = A()
            a.x, a.y()
            """)

    def test_generic_functions(self):
        self.free("""\
            import functools
            @functools.singledispatch
            def f(x): pass
            @f.register
            def _(x: Handler): return x
            @f.register(int)
            def _(x): return Handler
            f(1), f(Handler())
            class A:
                @functools.singledispatchmethod
                def f(self, x): pass
                @f.register
                def _(self, x: int): pass
            A().f(1)
            """)

    def test_pickles_and_copies(self):
        self.free("""\
            import copy, pickle
            class A: pass
            a = A()
            a.a = a
            b = copy.deepcopy(a)
            c = pickle.loads(pickle.dumps(a))
            d = copy.copy(a)
            """)

    def test_a_pickler(self):
        self.free("""\
            import io, pickle
            class A: pass
            A.pickler = pickle.Pickler(io.BytesIO())
            A.pickler.dump(A())
            A.pickler.clear_memo()
            A.unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps(A())))
            pickler = pickle.Pickler(io.BytesIO())
            pickler.dump(A())
            unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps(A())))
            unpickler.load()
            """)

    def test_streams(self):
        self.free("""\
            import io
            class Raw(io.RawIOBase):
                def readable(self): return True
                def readinto(self, buffer): return 0
            raw = Raw()
            raw.buffered = io.BufferedReader(raw)
            raw.text = io.TextIOWrapper(raw.buffered)
            class B(bytearray): pass
            b = B(b'x')
            b.view = memoryview(b)
            """)

    def test_templates(self):
        self.free("class A: pass\nA.template = t'{A}{A!r:x}'\nparts = list(A.template)\n")

    def test_regular_expressions(self):
        self.free("""\
            import re, fnmatch
            class S(str): pass
            A = re.compile(S('a+'))
            match = A.match('aaa')
            substituted = re.sub('a', S('b'), 'aaa')
            scanner = A.scanner('aaa')
            found = fnmatch.fnmatch('x', S('*')), fnmatch.filter(['x'], S('?'))
            S.match = match
            S.made = A
            S.callback = re.sub('a', lambda m: S('x'), 'aaa')
            flags = re.I | re.X
            """)

    def test_fresh_copies_of_platform_modules(self):
        self.free("""\
            import abc, enum, typing, functools, collections, dataclasses, threading
            class A(abc.ABC): pass
            class E(enum.Enum):
                X = 1
            x = typing.List[A]
            """,
                  fresh=("*",))

    def test_much_of_the_library(self):
        self.free("""\
            import argparse, asyncio, configparser, concurrent.futures, ctypes, decimal, doctest, email.message
            import html.parser, http.client, json, logging, multiprocessing, pdb, random, shutil, socketserver, sqlite3
            import statistics, subprocess, tarfile, tempfile, unittest, urllib.request, xml.dom.minidom, zipfile
            """)


class Native(Freed):
    def test_ctypes(self):
        self.free("""\
            import ctypes
            class S(ctypes.Structure):
                _fields_ = [('x', ctypes.c_int), ('y', ctypes.c_int * 3)]
            P = ctypes.POINTER(S)
            p = ctypes.pointer(S())
            class N(ctypes.Structure): pass
            N._fields_ = [('next', ctypes.POINTER(N))]
            n = N()
            n.next = ctypes.pointer(n)
            A = S * 4
            a = A()
            class U(ctypes.Union):
                _fields_ = [('s', S), ('i', ctypes.c_int)]
            """)

    def test_a_ctypes_callback(self):
        self.free("""\
            import ctypes
            TYPE = ctypes.CFUNCTYPE(ctypes.c_int)
            handle.type = TYPE
            callback = TYPE(int)
            called = callback()
            """)

    def test_a_database(self):
        self.free("""\
            import sqlite3
            connection = sqlite3.connect(':memory:')
            connection.row_factory = handle
            cursor = connection.execute('select 1')
            row = cursor.fetchone()
            handle.connection = connection
            """)

    def test_elements(self):
        self.free("""\
            import xml.etree.ElementTree as E
            class A(E.Element): pass
            a = A('a')
            a.append(A('b'))
            iterator = a.iter()
            next(iterator)
            A.a = a
            """)


if __name__ == "__main__":
    unittest.main()
