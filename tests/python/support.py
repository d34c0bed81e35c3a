"""What the test programs of this directory share."""

import contextlib
import faulthandler
import gc
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
import weakref

import modspace

#: Multiplies the sizes of stress tests.
STRESS = max(1, int(os.environ.get("MODSPACE_STRESS", "1")))

#: What random tests begin with; they print it when they fail.
SEED = int(os.environ.get("MODSPACE_SEED", random.randrange(2**32)))

#: The program that runs the tests.
MODSPACE = os.readlink("/proc/self/exe")

#: What the tests hold on to.
shelf = {}


def write_tree(root, files):
    """Writes `files` (relative path to text or bytes) below the directory `root`."""
    for name, content in files.items():
        path = os.path.join(root, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(content, bytes):
            with open(path, "wb") as file:
                file.write(content)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(content))


def run_program(path):
    """Runs the program at `path` in a process of its own."""
    return subprocess.run([MODSPACE, "run", path], capture_output=True, text=True, timeout=120)


def own_objects(space, *modules):
    """Weak references, by name, to `modules` of the space and to what they define."""
    references = {}
    for name in modules:
        module = space.import_(name)
        references[name] = weakref.ref(module)
        for key, value in list(vars(module).items()):
            if getattr(value, "__module__", None) == name:
                with contextlib.suppress(TypeError):
                    references[f"{name}.{key}"] = weakref.ref(value)
    return references


def alive(references):
    """The names of those that are still there."""
    return [name for name, reference in references.items() if reference() is not None]


def run_threads(functions, collect=False):
    """Runs the functions at once, if told so with a thread that collects garbage; returns the exceptions raised."""
    errors, done = [], threading.Event()
    barrier = threading.Barrier(len(functions))

    def run(function):
        try:
            barrier.wait()
            function()
        except BaseException as error:
            errors.append(error)

    def collector():
        while not done.is_set():
            gc.collect()

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    collecting = [threading.Thread(target=collector)] if collect else []
    for thread in [*collecting, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    for thread in collecting:
        thread.join()
    return errors


def join_threads(name):
    """Waits for the threads of this name."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join()


class Worker:
    """A thread in `work(ready, wait)`, which has called `ready()`; `wait()` returns when it is told to `finish`."""

    def __init__(self, work, **options):
        self.go, self.outcome = threading.Event(), None
        ready = threading.Event()

        # Once it is over, nothing here holds `work`.
        def run(work=work):
            try:
                self.outcome = work(ready.set, self.go.wait)
            except BaseException as error:
                self.outcome = error
            finally:
                ready.set()
        self.thread = threading.Thread(target=run, **options)
        self.thread.start()
        ready.wait()

    def finish(self):
        """What `work` returns or raises."""
        self.go.set()
        self.thread.join()
        return self.outcome


class SpaceTest(unittest.TestCase):
    """A test that makes spaces and directory trees, and leaves neither behind."""

    def tree(self, files=()):
        """A new directory with these files; returns its path."""
        root = os.path.realpath(tempfile.mkdtemp(prefix="modspace-test-"))
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        write_tree(root, dict(files))
        return root

    def space(self, parent=None, **options):
        """A new space, a child of the test's own unless `parent` is given."""
        space = modspace.ModuleSpace(parent or modspace.current(), **options)
        self.addCleanup(self.throw_away, space)
        return space

    def pair(self, **options):
        """Two sibling spaces of the same configuration."""
        return self.space(name="one", **options), self.space(name="two", **options)

    @staticmethod
    def throw_away(space):
        if not space.closed:
            space.discard(recursive=True)

    def library(self, files, **options):
        """A new space that finds these files first, and the standard library after them."""
        return self.space(path=[self.tree(files), *sys.path], **options)

    def program(self, source, files=()):
        """Runs a program of this source, which finds these files, in a process of its own."""
        return run_program(os.path.join(self.tree({"program.py": source, **dict(files)}), "program.py"))

    def worker(self, work, **options):
        """A `Worker`, which does not stay when the test fails."""
        worker = Worker(work, **options)
        self.addCleanup(worker.go.set)
        return worker


class Watched(SpaceTest):
    """A test that ends the program with the stacks of all threads when it hangs."""

    def setUp(self):
        faulthandler.dump_traceback_later(300 * STRESS, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
