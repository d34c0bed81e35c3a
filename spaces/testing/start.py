"""Runs test files under the user's pytest, each in a module space of its own."""

import sys

from modspace.testing import coverage, unittests
from modspace.testing.modules import Spaces, without_closed
from modspace.testing.pollution import Hunt
from modspace.testing.results import Results
from modspace.testing.runner import Runner
from modspace.testing.watch import Watch
from modspace.testing.workers import Worker


#: As pytest has it.
INTERNAL_ERROR = 3


def run(options):
    """Runs pytest, or unittest, with `options["args"]`, and returns its exit code."""
    try:
        options.setdefault("coverage", None)
        return coverage.run(options, start) if options.get("cov") else start(options)
    except KeyboardInterrupt:
        # Before pytest looks after it itself, or after that.
        print("modspace test: interrupted", file=sys.stderr)
        return 2


def start(options):
    if options["unittest"] is not None:
        return unittests.run({**options, **options["unittest"]})
    try:
        import pytest
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        print(f"modspace test: there is no pytest in {', '.join(options['site']) or 'this environment'}; install it there, "
              "name another place with --python-path DIR or --venv DIR, or run "
              "unittest suites with --unittest", file=sys.stderr)
        return 4
    sys.argv[:] = ["pytest", *options["args"]]
    # What workers hear, the run writes.
    results = Results(options["write_reports"]) if options["has_reports"] and options["link"] is None else None
    plugins = [] if results is None else [results]
    if options["isolate"] == "none":
        sys.path[:] = [*options["path"], *sys.path, *options["in_place"]]
        return status_of(int(pytest.main(options["args"], plugins=plugins)), results)
    # What pytest puts its own before.
    sys.unraisablehook = without_closed(sys.unraisablehook)
    while True:
        spaces = Spaces(options)
        if options["link"] is not None:
            runner = Worker(spaces, options)
        else:
            kind = Hunt if options["find_pollution"] else Runner if options["watch"] is None else Watch
            runner = kind(spaces, options)
            for results in plugins:
                results.files = runner.told
        with spaces.patched, spaces.main.space:
            spaces.patch()
            status = int(pytest.main(options["args"], plugins=[*plugins, runner]))
        if not runner.is_to_restart:
            return status_of(status, results)


def status_of(status, results):
    """The exit status of a run whose reports may not have been written."""
    if results is None or results.error is None:
        return status
    print(f"modspace test: {results.error}", file=sys.stderr)
    return status or INTERNAL_ERROR
