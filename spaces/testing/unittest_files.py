"""Looking for the files of plain `unittest` suites, and running them: each in a space of its own, with a unittest of its own.

What becomes of tests is told as plain data: the name of a method of `unittest.TestResult`, the test, and what else the method is
given, see `unittests.Printed`.
"""

import ast
import contextvars
import fnmatch
import io
import itertools
import os
import sys
import traceback
import types
from unittest.loader import VALID_MODULE_NAME

from modspace.testing import modules, state

#: By this, unittest leaves what is here out of tracebacks.
__unittest = True

#: The files that have tests.
PATTERN = "test*.py"


class Search:
    """Looks for test files as unittest does, without importing anything."""

    def __init__(self, options):
        self.options = options
        self.here = os.getcwd()

    def files(self):
        """The files, each with what leads to its tests, see `load`."""
        found = {}
        for argument in self.options["args"] or ["."]:
            if os.path.isdir(argument):
                start = os.path.abspath(argument)
                top = self.top(start)
                for path, packages in self.inside(start, []) if start == top else self.package(start, []):
                    found.setdefault(path, ["find", top, *packages])
            else:
                path, top, name = self.named(argument)
                arguments = found.setdefault(path, ["name", top])
                if arguments[0] == "name":
                    arguments.append(name)
        if self.options["shard"] is not None:
            number, count = self.options["shard"]
            own = set(sorted(found)[number - 1::count])
            found = {path: arguments for path, arguments in found.items() if path in own}
        return [(arguments, path) for path, arguments in found.items()]

    def top(self, directory):
        """The directory that a directory's modules are imported from: above the packages that it is in, but not above the
        current one."""
        while directory != self.here and is_package(directory):
            directory = os.path.dirname(directory)
        return directory

    def inside(self, directory, packages):
        """Yields the files in a directory, each with the packages above it that have code."""
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                if VALID_MODULE_NAME.match(name) and fnmatch.fnmatch(name, PATTERN):
                    yield path, packages
            elif is_package(path):
                yield from self.package(path, packages)

    def package(self, directory, packages):
        """Yields the files in a package, and before them its own, if that has code: there may be tests in it. With `load_tests`,
        it loads all of the package's tests itself."""
        path, source = os.path.join(directory, "__init__.py"), b""
        try:
            with open(path, "rb") as file:
                source = file.read()
            body = ast.parse(source).body
            has_code = any(not isinstance(part, ast.Expr) or not isinstance(part.value, ast.Constant) for part in body)
        except (OSError, SyntaxError, ValueError):
            has_code = True
        if has_code:
            yield path, packages
            packages = [*packages, directory]
        if b"load_tests" not in source:
            yield from self.inside(directory, packages)

    def named(self, argument):
        """Of a file or a dotted name: the file, the directory that it is imported from, and the dotted name."""
        if os.path.isfile(argument) and argument.lower().endswith(".py"):
            path = os.path.abspath(argument)
            top = self.here if path.startswith(os.path.join(self.here, "")) else self.top(os.path.dirname(path))
            return path, top, os.path.relpath(path, top)[:-3].replace(os.sep, ".")
        parts = argument.split(".")
        for length in range(len(parts), 0, -1):
            for place in [self.here, *self.options["path"], *sys.path, *self.options["in_place"]]:
                for end in ".py", f"{os.sep}__init__.py":
                    path = os.path.join(place, *parts[:length]) + end
                    if os.path.isfile(path):
                        return path, self.here, argument
        # The import says that there is none.
        return os.path.join(self.here, argument), self.here, argument


def is_package(directory):
    return os.path.isfile(os.path.join(directory, "__init__.py"))


class Spaces(modules.Spaces):
    """The spaces of files that have nothing together but what they are told to share."""

    def __init__(self, options):
        super().__init__(options)
        self.config = types.SimpleNamespace(rootpath=os.getcwd())
        # `traceback` imports it, and that takes a third of the time that unittest takes.
        self.shared = ["_colorize", *options["share"]]
        # It looks for modules of tests in its own `sys`.
        self.fresh = [*options["fresh"], "unittest"]


class Files:
    """Runs files, and tells what becomes of their tests."""

    def __init__(self, options, tell):
        self.options = options
        self.tell = tell
        self.spaces = Spaces(options)
        #: As `files.Files.left`.
        self.left = []
        #: Whether no test is to be begun any more.
        self.is_stopped = False
        self.is_running = False
        #: The traceback of what ends the run.
        self.interrupted_at = ""
        self.shared = state.Shared(options)
        self.spaces.when_loaded(self.shared.note)

    def run(self, arguments, path):
        """Runs a file, in one space or several."""
        for part in self.run_part([(arguments, path)], path):
            if not self.is_stopped:
                self.run_part([(arguments, path)], path, part)

    def end(self):
        self.spaces.discard()
        self.spaces.patched.close()

    def run_part(self, files, place, wanted=None):
        """Runs tests of files in a space of their own: those that are `wanted`, by their places in the suite, or all. If all
        belong into several spaces, it runs none, and returns the parts."""
        self.shared.begin()
        tops = [arguments[1] for arguments, _ in files]
        search = dict.fromkeys([*tops, os.getcwd(), *self.spaces.main.sys.path])
        name = self.spaces.open([place], list(search))
        space = self.spaces.current.space
        self.is_running = True
        try:
            return contextvars.copy_context().run(self.run_in_space, files, wanted)
        except KeyboardInterrupt as error:
            # As long as the space is there: modules that were discarded have no names to be known by.
            self.interrupted_at = text_of(error)
            raise
        except BaseException as error:
            # Of no test: tests cannot be loaded, or there was a `SystemExit` between two of them.
            self.tell("file", place)
            self.tell("addError", (name, None, "", None), (False, text_of(error)))
            self.is_stopped = self.is_stopped or self.options["failfast"]
            return []
        finally:
            self.is_running = False
            self.spaces.close()
            if changes := self.shared.restore(space):
                self.left.append((name, changes))
            self.spaces.discard_when_due()

    def run_in_space(self, files, wanted):
        current = self.spaces.current
        with current.space:
            if self.options["link"] is not None:
                for name in "stdout", "stderr":
                    setattr(current.sys, name, Output.on(name, self))
            own = current.import_("unittest")
            keywords = self.options["keywords"]
            if keywords is not None:
                own.defaultTestLoader.testNamePatterns = [keywords if "*" in keywords else f"*{keywords}*"]
            suites = [(path, load(own, arguments, path)) for arguments, path in files]
            if wanted is not None:
                keep(suites[0][1], wanted, itertools.count())
            elif len(parts := self.parts(*suites[0])) > 1:
                return parts
            result = result_of(own, self)
            warnings = current.import_("warnings")
            with warnings.catch_warnings():
                if not sys.warnoptions:
                    warnings.simplefilter("default")
                for path, suite in suites:
                    if not result.shouldStop:
                        self.tell("file", path)
                        suite(result)
                        # What it has set up was torn down.
                        result._previousTestClass = None
            self.is_stopped = self.is_stopped or result.shouldStop
            return []

    def parts(self, path, suite):
        """The places of a file's tests in their suite, by what has modules of its own."""
        parts = {}
        isolate = self.options["isolate"]
        for place, test in enumerate(tests_of(suite)):
            module, name = type(test).__module__, type(test).__qualname__
            if isolate == "file" and is_of_package(path):
                # A package that has loaded the tests of its modules.
                key = module
            else:
                key = {"class": (module, name), "test": place}.get(isolate)
            parts.setdefault(key, set()).add(place)
        return list(parts.values())


def load(own, arguments, path):
    """A file's tests: those of dotted names, or what is found in it, unless a package above it cannot be imported, is skipped or
    has loaded tests itself."""
    loader = own.defaultTestLoader
    how, top, *rest = arguments
    if how == "name":
        try:
            return loader.loadTestsFromNames(rest)
        except own.SkipTest as error:
            return own.loader._make_skipped_test(rest[0], error, loader.suiteClass)
    loader._top_level_dir = top
    if not all(loader._find_test_path(package, PATTERN)[1] for package in rest):
        return loader.suiteClass()
    tests, _ = loader._find_test_path(os.path.dirname(path) if is_of_package(path) else path, PATTERN)
    return loader.suiteClass([tests] if tests is not None else [])


def is_of_package(path):
    return os.path.basename(path) == "__init__.py"


def is_suite(test):
    try:
        iter(test)
    except TypeError:
        return False
    return True


def tests_of(suite):
    for test in suite:
        if is_suite(test):
            yield from tests_of(test)
        else:
            yield test


def keep(suite, wanted, places):
    """Takes the tests out of a suite whose places are not wanted."""
    suite._tests = [
        test for test in suite if (keep(test, wanted, places) if is_suite(test) else next(places) in wanted)
    ]
    return True


def result_of(own, files):
    """A result for the tests of a space, which tells all that it hears."""
    tell, case = files.tell, own.case

    def described(test):
        """What it prints as, its description, what reports call it, and which subtest it is."""
        subtest = test._subDescription() if isinstance(test, case._SubTest) else None
        owner = test if subtest is None else test.test_case
        cls, name = type(owner), owner.id()
        prefix = f"{cls.__module__}.{cls.__qualname__}."
        if name.startswith(prefix):
            name = f"{cls.__qualname__}::{name.removeprefix(prefix)}"
        return str(test), test.shortDescription(), name, subtest

    class Result(own.TestResult):
        # By this, tracebacks have colours where they are printed to a terminal.
        stream = sys.stderr

        def startTest(self, test):
            super().startTest(test)
            tell("startTest", described(test))

        def stopTest(self, test):
            super().stopTest(test)
            tell("stopTest", described(test))
            if files.is_stopped or files.options["link"] is not None and files.options["link"].is_stopped():
                self.stop()

        def addSuccess(self, test):
            super().addSuccess(test)
            tell("addSuccess", described(test))

        def addError(self, test, err):
            super().addError(test, err)
            tell("addError", described(test), (False, self.errors[-1][1]))

        def addFailure(self, test, err):
            super().addFailure(test, err)
            tell("addFailure", described(test), (True, self.failures[-1][1]))

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            tell("addSkip", described(test), reason)

        def addExpectedFailure(self, test, err):
            super().addExpectedFailure(test, err)
            tell("addExpectedFailure", described(test), (True, self.expectedFailures[-1][1]))

        def addUnexpectedSuccess(self, test):
            super().addUnexpectedSuccess(test)
            tell("addUnexpectedSuccess", described(test))

        def addSubTest(self, test, subtest, err):
            super().addSubTest(test, subtest, err)
            if err is not None:
                is_failure = issubclass(err[0], test.failureException)
                text = (self.failures if is_failure else self.errors)[-1][1]
                tell("addSubTest", described(subtest), (is_failure, text))

        def addDuration(self, test, elapsed):
            tell("addDuration", described(test), elapsed)

    result = Result()
    result.failfast = files.options["failfast"]
    return result


def text_of(error):
    """The traceback of an exception, from where it leaves unittest."""
    place = error.__traceback__
    while place is not None and "__unittest" in place.tb_frame.f_globals:
        place = place.tb_next
    return "".join(traceback.format_exception(error.with_traceback(place)))


class Output(io.RawIOBase):
    """Standard output or error of tests in a worker: the run writes it, between the results."""

    def __init__(self, name, files):
        self.name = name
        self.files = files
        self.stream = getattr(sys, name)

    @classmethod
    def on(cls, name, files):
        own = cls(name, files)
        return io.TextIOWrapper(own, own.stream.encoding, own.stream.errors, line_buffering=True, write_through=True)

    def writable(self):
        return True

    def write(self, data):
        if self.files.is_running:
            self.files.tell("output", self.name, bytes(data))
        else:
            # Between files there is nobody to hear it.
            self.stream.buffer.write(data)
            self.stream.flush()
        return len(data)

    def fileno(self):
        return self.stream.fileno()

    def isatty(self):
        return self.stream.isatty()
