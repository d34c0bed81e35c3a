"""State that native modules keep for the process: each space has its own, or the table of native modules says
otherwise."""

import gc
import io
import os
import queue
import signal
import threading
import unittest
import weakref

from support import SpaceTest


class Exit(SpaceTest):
    def test_discard_runs_the_callbacks_of_the_space_last_registered_first(self):
        one, two = self.pair()
        seen = []
        for name, space in (("one", one), ("two", two)):
            space.ns["seen"] = seen
            space.exec("import atexit")
            for index in range(3):
                space.exec(f"atexit.register(seen.append, ({name!r}, {index}))")
        one.discard()
        self.assertEqual(seen, [("one", 2), ("one", 1), ("one", 0)])
        two.discard()
        self.assertEqual(seen[3:], [("two", 2), ("two", 1), ("two", 0)])

    def test_callbacks_are_counted_unregistered_and_cleared_per_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("import atexit\ndef callback(): seen.append(1)\nseen = []\n"
                       "atexit.register(callback); atexit.register(callback)")
        one.exec("atexit.unregister(callback)")
        self.assertEqual((one.eval("atexit._ncallbacks()"), two.eval("atexit._ncallbacks()")), (0, 2))
        one.exec("atexit.register(callback); atexit._run_exitfuncs()")
        self.assertEqual((one.ns["seen"], two.ns["seen"]), ([1], []))
        two.exec("atexit._clear()")
        self.assertEqual(two.eval("atexit._ncallbacks()"), 0)

    def test_a_callback_that_raises_does_not_keep_the_others_from_running(self):
        space = self.space()
        seen = space.ns["seen"] = []
        space.sys.stderr = io.StringIO()
        space.sys.unraisablehook = lambda report: seen.append(type(report.exc_value))
        space.exec("import atexit\natexit.register(seen.append, 'first'); atexit.register(lambda: 1/0)\n"
                   "atexit.register(lambda: atexit.register(seen.append, 'late'))")
        space.discard()
        self.assertEqual(seen, ["late", ZeroDivisionError, "first"])

    def test_a_function_registers_with_its_own_space_wherever_it_is_called(self):
        one, two = self.pair()
        one.exec("import atexit\ndef register(): atexit.register(print)")
        two.ns["register"] = one.ns["register"]
        two.exec("import atexit; register()")
        self.assertEqual((one.eval("atexit._ncallbacks()"), two.eval("atexit._ncallbacks()")), (1, 0))
        one.exec("atexit._clear()")

    def test_at_exit_of_the_process_leaves_run_before_their_parents(self):
        done = self.program("""\
            import atexit, modspace
            atexit.register(print, "program")
            modspace.root.exec("import atexit; atexit.register(print, 'root')")
            child = modspace.ModuleSpace(modspace.current())
            child.exec("import atexit; atexit.register(print, 'child')")
            grandchild = modspace.ModuleSpace(child)
            grandchild.exec("import atexit; atexit.register(print, 'grandchild')")
            print("end")
            """)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.split(), ["end", "grandchild", "child", "program", "root"])


class Codecs(SpaceTest):
    REGISTER = """if True:
        import codecs

        def encode(text, errors="strict"):
            return mark.encode() + text.encode("utf-8", errors), len(text)

        def decode(data, errors="strict"):
            return mark + bytes(data).decode("utf-8", errors), len(data)

        class Encoder(codecs.IncrementalEncoder):
            def encode(self, text, final=False):
                return encode(text)[0]

        class Decoder(codecs.IncrementalDecoder):
            def decode(self, data, final=False):
                return decode(data)[0] if data else ""

        class Reader(codecs.StreamReader):
            decode = staticmethod(decode)

        class Writer(codecs.StreamWriter):
            encode = staticmethod(encode)

        def search(name):
            asked.append(name)
            if name == "marked":
                return codecs.CodecInfo(encode, decode, Reader, Writer, Encoder, Decoder, name="marked")

        asked = []
        codecs.register(search)
    """

    def registered(self, mark):
        space = self.space()
        space.ns["mark"] = mark
        space.exec(self.REGISTER)
        self.addCleanup(lambda: space.closed or space.exec("codecs.unregister(search)"))
        return space

    def test_a_codec_is_known_in_the_space_that_registered_it_alone(self):
        one, other = self.registered("1"), self.space()
        for expression in ("'x'.encode('marked')", "b'x'.decode('marked')", "__import__('codecs').lookup('marked')",
                           "str(b'x', 'marked')", "bytes('x', 'marked')"):
            with self.subTest(expression=expression):
                one.eval(expression)
                with self.assertRaises(LookupError):
                    other.eval(expression)
                with self.assertRaises(LookupError):
                    eval(expression)

    def test_one_name_means_different_codecs_in_two_spaces(self):
        one, two = self.registered("1"), self.registered("2")
        for _ in range(2):
            for mark, space in (("1", one), ("2", two)):
                self.assertEqual(space.eval("'x'.encode('marked')"), mark.encode() + b"x")
                self.assertEqual(space.eval("b'x'.decode('marked')"), mark + "x")
                self.assertEqual(space.eval("codecs.encode('x', 'Marked')"), mark.encode() + b"x")
                self.assertIs(space.eval("codecs.lookup('marked').encode"), space.ns["encode"])
                self.assertIs(space.eval("codecs.getincrementaldecoder('marked')"), space.ns["Decoder"])
                self.assertIs(space.eval("codecs.getreader('marked')"), space.ns["Reader"])

    def test_open_uses_the_calling_spaces_codec(self):
        one, two = self.registered("1"), self.registered("2")
        name = os.path.join(self.tree(), "file.txt")
        for mark, space in (("1", one), ("2", two), ("1", one)):
            space.ns["name"] = name
            space.exec("with open(name, 'w', encoding='marked') as file: file.write('x')")
            with open(name, "rb") as file:
                self.assertEqual(file.read(), mark.encode() + b"x")
            self.assertEqual(space.eval("open(name, encoding='marked').read()"), mark + mark + "x")
            self.assertEqual(space.eval("codecs.open(name, encoding='marked').read()"), mark + mark + "x")
            space.exec("import io; stream = io.TextIOWrapper(io.BytesIO(b'y'), 'marked')")
            self.assertEqual(space.eval("stream.read()"), mark + "y")

    def test_a_codec_unregistered_in_one_space_stays_in_the_other(self):
        one, two = self.registered("1"), self.registered("2")
        self.assertEqual(one.eval("'x'.encode('marked')"), b"1x")
        one.exec("codecs.unregister(search)")
        with self.assertRaises(LookupError):
            one.eval("'x'.encode('marked')")
        self.assertEqual(two.eval("'x'.encode('marked')"), b"2x")

    def test_a_name_looked_up_in_vain_can_be_registered_later(self):
        other = self.space()
        with self.assertRaises(LookupError):
            other.eval("'x'.encode('marked')")
        self.assertEqual(self.registered("1").eval("'x'.encode('marked')"), b"1x")
        with self.assertRaises(LookupError):
            other.eval("'x'.encode('marked')")

    def test_a_found_codec_is_remembered(self):
        one = self.registered("1")
        one.exec("'x'.encode('marked'); 'y'.encode('marked'); codecs.lookup('marked')")
        self.assertEqual(one.ns["asked"].count("marked"), 1)

    def test_a_function_uses_its_own_spaces_codec_wherever_it_is_called(self):
        one, two = self.registered("1"), self.registered("2")
        one.exec("def convert(text): return text.encode('marked')")
        two.ns["convert"] = one.ns["convert"]
        self.assertEqual(two.eval("convert('x')"), b"1x")

    def test_the_codec_of_a_discarded_space_is_gone(self):
        one = self.registered("1")
        one.eval("'x'.encode('marked')")
        one.discard()
        two = self.registered("2")
        self.assertEqual(two.eval("'x'.encode('marked')"), b"2x")

    def test_error_handlers_are_per_space(self):
        one, two = self.pair()
        other = self.space()
        for mark, space in (("1", one), ("2", two)):
            space.exec(f"import codecs; codecs.register_error('mine', lambda error: ({mark!r}, error.end))")
        for mark, space in (("1", one), ("2", two), ("1", one)):
            self.assertEqual(space.eval("'ä'.encode('ascii', 'mine')"), mark.encode())
            self.assertEqual(space.eval("b'\\xff'.decode('ascii', 'mine')"), mark)
            self.assertEqual(space.eval("b'\\xff'.decode('utf-8', 'mine')"), mark)
        with self.assertRaises(LookupError):
            other.eval("'ä'.encode('ascii', 'mine')")
        with self.assertRaises(LookupError):
            other.eval("__import__('codecs').lookup_error('mine')")

    def test_standard_codecs_work_everywhere(self):
        space = self.space()
        self.assertEqual(space.eval("'ä'.encode('latin-1'), 'ä'.encode('cp1252'), 'ä'.encode('utf-16-le'), "
                                    "'a'.encode('utf-7')"), (b"\xe4", b"\xe4", b"\xe4\x00", b"a"))
        self.assertEqual(space.eval("__import__('codecs').encode(b'abc', 'hex')"), b"616263")


class Warnings(SpaceTest):
    def test_filters_are_per_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("import warnings\ndef warn(): warnings.warn('careful', UserWarning)")
            space.sys.stderr = io.StringIO()
        one.exec("warnings.simplefilter('error')")
        two.exec("warnings.simplefilter('ignore')")
        with self.assertRaises(UserWarning):
            one.exec("warn()")
        two.exec("warn()")
        two.exec("import warnings; assert warnings.filters[0][0] == 'ignore'")
        self.assertEqual(one.eval("warnings.filters[0][0]"), "error")
        self.assertEqual(two.sys.stderr.getvalue(), "")

    def test_native_warnings_follow_the_calling_spaces_filters(self):
        one, two = self.pair()
        for space, action in ((one, "error"), (two, "ignore")):
            space.sys.stderr = io.StringIO()
            space.exec(f"import warnings; warnings.simplefilter({action!r})")
        with self.assertRaises(SyntaxError):
            one.exec("compile('x = \"\\\\d\"', 'file', 'exec')")
        two.exec("compile('x = \"\\\\d\"', 'file', 'exec')")
        self.assertEqual(two.sys.stderr.getvalue(), "")

    def test_showwarning_of_a_space_gets_its_warnings_alone(self):
        one, two = self.pair()
        seen = []
        for name, space in (("one", one), ("two", two)):
            space.exec("import warnings; warnings.simplefilter('always')")

            def show(message, *rest, name=name, **more):
                seen.append((name, str(message)))
            space.import_("warnings").showwarning = show
        one.exec("warnings.warn('a')")
        two.exec("warnings.warn('b')")
        one.exec("import _warnings; _warnings.warn('c')")
        self.assertEqual(seen, [("one", "a"), ("two", "b"), ("one", "c")])

    def test_catch_warnings_catches_those_of_its_space(self):
        one, two = self.pair()
        two.sys.stderr = io.StringIO()
        two.exec("import warnings; warnings.simplefilter('always')\ndef warn(): warnings.warn('two')")
        one.ns["warn_in_two"] = two.ns["warn"]
        one.exec("import warnings\nwith warnings.catch_warnings(record=True) as caught:\n"
                 "    warnings.simplefilter('always'); warnings.warn('one'); warn_in_two()")
        self.assertEqual([str(entry.message) for entry in one.ns["caught"]], ["one"])
        self.assertIn("two", two.sys.stderr.getvalue())

    def test_once_is_once_per_space(self):
        one, two = self.pair()
        for space in (one, two):
            space.sys.stderr = io.StringIO()
            space.exec("import warnings; warnings.simplefilter('once')\nfor _ in range(3): warnings.warn('careful')")
            self.assertEqual(space.sys.stderr.getvalue().count("careful"),
                             1 + space.sys.stderr.getvalue().count("warn('careful')"))


class Logging(SpaceTest):
    def test_two_spaces_configure_logging_apart(self):
        one, two = self.pair()
        for name, space in (("one", one), ("two", two)):
            space.sys.stderr = io.StringIO()
            space.exec(f"import logging\n"
                       f"logging.basicConfig(level=logging.DEBUG, format='{name} %(message)s', force=True)")
        one.exec("logging.getLogger('app').debug('hello')")
        two.exec("logging.disable(logging.CRITICAL); logging.getLogger('app').error('unheard')")
        one.exec("logging.getLogger('app').error('heard')")
        self.assertEqual(one.sys.stderr.getvalue(), "one hello\none heard\n")
        self.assertEqual(two.sys.stderr.getvalue(), "")
        self.assertIsNot(one.eval("logging.getLogger('app')"), two.eval("logging.getLogger('app')"))


class Threads(SpaceTest):
    CRASH = "import threading\ndef crash(): 1/0\n" \
            "def run():\n    t = threading.Thread(target=crash); t.start(); t.join()\n"

    def test_threading_excepthook_is_that_of_the_space_that_started_the_thread(self):
        one, two = self.pair()
        seen = []
        for name, space in (("one", one), ("two", two)):
            space.exec(self.CRASH)
            space.sys.stderr = io.StringIO()
        one.import_("threading").excepthook = lambda args: seen.append(("one", args.exc_type))
        one.exec("run()")
        two.exec("run()")
        self.assertEqual(seen, [("one", ZeroDivisionError)])
        self.assertIn("ZeroDivisionError", two.sys.stderr.getvalue())
        self.assertIs(threading.excepthook, threading.__excepthook__)

    def test_a_thread_and_its_locks_pass_between_spaces(self):
        one, two = self.pair()
        one.exec("import threading\nlock = threading.RLock()\nevent = threading.Event()\n"
                 "thread = threading.Thread(target=event.wait)")
        two.ns.update(lock=one.ns["lock"], event=one.ns["event"], thread=one.ns["thread"])
        two.exec("import threading\nthread.start()\nassert thread in threading.enumerate()\nwith lock: event.set()\n"
                 "thread.join()")
        self.assertFalse(one.ns["thread"].is_alive())
        self.assertIs(one.eval("threading.current_thread()"), two.eval("threading.current_thread()"))

    def test_an_exception_in_a_bare_thread_reaches_the_unraisablehook_of_its_space(self):
        one, two = self.pair()
        seen = []
        for name, space in (("one", one), ("two", two)):
            space.sys.unraisablehook = lambda report, name=name: seen.append((name, report.exc_type))
            space.exec("import _thread\ndef crash(): 1/0\nhandle = _thread.start_joinable_thread(crash); handle.join()")
        self.assertEqual(seen, [("one", ZeroDivisionError), ("two", ZeroDivisionError)])

    def test_a_thread_pool_works_for_the_space_that_made_it(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("import sys\nfrom concurrent.futures import ThreadPoolExecutor\ndef which(): return sys\n"
                       "with ThreadPoolExecutor(2) as pool: results = list(pool.map(lambda _: which(), range(4)))")
            self.assertEqual({id(result) for result in space.ns["results"]}, {id(space.sys)})


class Process(SpaceTest):
    def test_fork_hooks_of_all_spaces_run_each_for_its_space(self):
        done = self.program("""\
            import modspace, os, sys
            spaces = [modspace.ModuleSpace(modspace.current(), name=name) for name in ("one", "two")]
            for space in spaces:
                space.exec('''if True:
                    import os, sys, modspace
                    def say(when): os.write(1, f"{when} {modspace.current().name}\\\\n".encode())
                    os.register_at_fork(before=lambda: say("before"), after_in_parent=lambda: say("parent"),
                                        after_in_child=lambda: say("child"))
                ''')
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            """)
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        self.assertEqual(lines[:2], ["before two", "before one"])
        self.assertEqual(sorted(lines[2:]), ["child one", "child two", "parent one", "parent two"])

    def test_a_signal_handler_works_for_the_space_that_defined_it(self):
        one, two = self.pair()
        one.exec("import signal, sys\nseen = []\ndef handler(number, frame): seen.append((number, sys))")
        previous = signal.getsignal(signal.SIGUSR1)
        one.exec("old = signal.signal(signal.SIGUSR1, handler)")
        try:
            self.assertIs(two.eval("__import__('signal').getsignal(__import__('signal').SIGUSR1)"), one.ns["handler"])
            two.exec("import os, signal\nos.kill(os.getpid(), signal.SIGUSR1)\nfor _ in range(1000): pass")
        finally:
            signal.signal(signal.SIGUSR1, previous)
        self.assertEqual(one.ns["seen"], [(signal.SIGUSR1, one.sys)])

    def test_environment_and_directory_are_those_of_the_process(self):
        one, two = self.pair()
        self.addCleanup(os.environ.pop, "MODSPACE_TEST_VARIABLE", None)
        one.exec("import os; os.environ['MODSPACE_TEST_VARIABLE'] = 'x'")
        self.assertEqual(two.eval("__import__('os').environ['MODSPACE_TEST_VARIABLE']"), "x")
        self.assertEqual(two.eval("__import__('os').getcwd()"), os.getcwd())

    def test_classes_of_platform_modules_get_back_what_a_space_assigned(self):
        import fractions, string

        before = dict(vars(fractions.Fraction)), dict(vars(string.Formatter))
        one, two = self.pair()
        one.exec("import fractions, string\n"
                 "class Own: ...\n"
                 "fractions.Fraction.limit_denominator = lambda self, most: 'patched'\n"
                 "fractions.Fraction.added = Own()\n"
                 "string.Formatter.vformat = Own")
        two.exec("import fractions")
        self.assertEqual(two.eval("fractions.Fraction(1, 3).limit_denominator(2)"), "patched")
        one.discard()
        self.assertEqual((dict(vars(fractions.Fraction)), dict(vars(string.Formatter))), before)
        self.assertEqual(two.eval("fractions.Fraction(1, 3).limit_denominator(2)"), fractions.Fraction(1, 2))

    def test_csv_dialects_are_shared(self):
        one, two = self.pair()
        one.exec("import csv; csv.register_dialect('semicolon', delimiter=';')")
        self.addCleanup(one.exec, "csv.unregister_dialect('semicolon')")
        self.assertIn("semicolon", two.eval("__import__('csv').list_dialects()"))
        self.assertEqual(two.eval("next(__import__('csv').reader(['a;b'], 'semicolon'))"), ["a", "b"])


class SimpleQueue(SpaceTest):
    """`queue.SimpleQueue` is a class of our own, whose items the collector sees; it does what CPython's does."""

    def test_first_in_first_out(self):
        items = queue.SimpleQueue()
        self.assertTrue(items.empty())
        for item in range(3):
            items.put(item)
        items.put_nowait(3)
        items.put(4, block=False, timeout=None)
        self.assertEqual((items.qsize(), items.empty()), (5, False))
        self.assertEqual([items.get(), items.get(False), items.get_nowait(), items.get(timeout=1),
                          items.get(True, None)], list(range(5)))

    def test_an_empty_one(self):
        items = queue.SimpleQueue()
        for get in (items.get_nowait, lambda: items.get(False), lambda: items.get(timeout=0.01),
                    lambda: items.get(block=False, timeout=-1)):
            self.assertRaises(queue.Empty, get)
        self.assertRaises(ValueError, items.get, timeout=-1)
        self.assertRaises(TypeError, items.get, timeout="x")
        self.assertRaises(TypeError, items.put)
        self.assertRaises(TypeError, queue.SimpleQueue, 3)

    def test_waiting_for_an_item(self):
        items, collected = queue.SimpleQueue(), []
        threads = [threading.Thread(target=lambda: collected.append(items.get())) for _ in range(4)]
        for thread in threads:
            thread.start()
        # A thread that waits does not hold up a collection.
        gc.collect()
        for item in range(4):
            items.put(item)
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(collected), [0, 1, 2, 3])
        self.assertEqual(items.get.__self__, items)

    def test_the_class(self):
        self.assertEqual((queue.SimpleQueue.__module__, queue.SimpleQueue.__name__), ("_queue", "SimpleQueue"))
        self.assertEqual(repr(queue.SimpleQueue[int]), "_queue.SimpleQueue[int]")
        items = weakref.ref(queue.SimpleQueue())
        self.assertIsNone(items())
        self.assertIsInstance(type("Own", (queue.SimpleQueue,), {})(), queue.SimpleQueue)

    def test_a_cycle_is_collected(self):
        class Item:
            pass
        item = Item()
        item.queue = queue.SimpleQueue()
        item.queue.put(item)
        item = weakref.ref(item)
        gc.collect()
        self.assertIsNone(item())


class Appearance(SpaceTest):
    def test_functions_that_act_on_the_space_look_like_those_they_stand_for(self):
        space = self.space()
        space.exec("import atexit, builtins, codecs, _codecs, _thread, sys, pickle, _imp")
        for module, names in (("atexit", "register unregister _clear"), ("_codecs", "register lookup register_error"),
                              ("_thread", "start_new_thread"), ("builtins", "exec eval __import__"),
                              ("sys", "displayhook")):
            for name in names.split():
                with self.subTest(name=f"{module}.{name}"):
                    function = space.eval(f"{module}.{name}")
                    self.assertEqual((function.__module__, function.__name__), (module, name))
                    self.assertIs(space.eval(f"pickle.loads(pickle.dumps({module}.{name}))"), function)


if __name__ == "__main__":
    unittest.main()
