"""Running tests from a program, as `modspace test` does."""

import dataclasses
import json
import os
import sys

import modspace

__all__ = "File", "Result", "Test", "UsageError", "run"


class UsageError(ValueError):
    """The arguments are none that `modspace test` takes; the text is what it would print."""


@dataclasses.dataclass(frozen=True)
class Test:
    """What became of a test."""

    #: pytest's node id, or unittest's `id()`.
    name: str
    #: What `subTest` was given, as JSON; None if the test is no subtest.
    subtest: str | None
    #: "passed", "failed", "error", "skipped", "xfailed" or "xpassed".
    outcome: str
    #: With its fixtures.
    seconds: float
    #: The exception, or why it was skipped.
    message: str
    #: What is printed of a failure.
    details: str
    stdout: str
    stderr: str
    log: str
    #: What `record_property` recorded: pairs of a name and a value.
    properties: list


@dataclasses.dataclass(frozen=True)
class File:
    """What there is to say of a test file."""

    name: str
    seconds: float
    #: What was put back after it: pairs of what it was, and how it had been changed.
    put_back: list


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a run."""

    #: The exit status of `modspace test`.
    status: int
    seconds: float
    tests: list
    files: list

    def counts(self):
        """How many tests there are of each outcome."""
        counts = {}
        for test in self.tests:
            counts[test.outcome] = counts.get(test.outcome, 0) + 1
        return counts


def run(*arguments, **options):
    """Runs tests and returns what became of them.

    `arguments` are those of `modspace test`, and so are `options`, by their names: `run("tests", jobs=1, isolate="class",
    share=["numpy", "pandas"], k="fast", x=True)` does what `modspace test tests --jobs=1 --isolate=class --share=numpy
    --share=pandas -k fast -x` does, and prints what it prints, to `sys.stdout` and `sys.stderr` as they are here.
    Whether tests fail is told by the result; `UsageError` is raised for arguments that `modspace test` does not take.
    """
    try:
        settings = modspace._test_options([*command_line(options), *map(os.fspath, arguments)])
    except ValueError as error:
        raise UsageError(str(error)) from None
    documents = []
    write = settings["write_reports"]

    def write_reports(document):
        documents.append(document)
        write(document)

    settings.update(has_reports=True, write_reports=write_reports)
    space = modspace.ModuleSpace(modspace.root, name="pytest", path=[*settings["site"], *modspace.root.sys.path])
    space.sys.stdout, space.sys.stderr = sys.stdout, sys.stderr
    current = os.environ.get("PYTEST_CURRENT_TEST")
    try:
        with space:
            status = space.import_("modspace.testing.start").run({**settings})
    finally:
        space.discard(force=True, recursive=True)
        if current is not None:
            os.environ["PYTEST_CURRENT_TEST"] = current
    document = json.loads(documents[-1]) if documents else {"seconds": 0.0, "tests": [], "files": []}
    tests = [Test(**{**test, "properties": list(map(tuple, test["properties"]))}) for test in document["tests"]]
    files = [File(**{**file, "put_back": list(map(tuple, file["put_back"]))}) for file in document["files"]]
    return Result(status, document["seconds"], tests, files)


def command_line(options):
    """Options as a command line has them."""
    for name, value in options.items():
        for one in value if isinstance(value, (list, tuple, set, frozenset)) else [value]:
            option = f"-{name}" if len(name) == 1 else "--" + name.replace("_", "-")
            if one is True:
                yield option
            elif name in ("v", "q"):
                yield from [option] * int(one)
            elif one is not None and one is not False:
                text = str(one)
                yield f"{option}={text}" if len(name) > 1 else option + text
