"""Which tests depend on what other files have left, and what that is.

Files run apart, each in a space of its own, and together, in one space, in both orders. Where a test has another outcome, the
files that ran before it are halved until those are left that it takes, and what these leave is looked for.
"""

import contextlib
import os
import shlex

from modspace.testing.display import Display
from modspace.testing.files import Files
from modspace.testing.leftovers import Look, shown, was_imported
from modspace.testing.runner import Runner

#: The outcome of a file that has no tests, because of an error.
BROKEN = "cannot be collected"

#: How many of the things that a file left are told.
TOLD = 12


class Hunt(Runner):
    """A plugin of pytest that runs files together and apart."""

    found = 0

    def pytest_runtestloop(self, session):
        self.check_errors(session, session.testsfailed)
        self.runner = Files(self.spaces, session, self.options)
        self.outcomes = {}
        self.paths = [path for _, path in self.files]
        self.arguments = {path: arguments for arguments, path in self.files}
        terminal = self.config.get_terminal_writer()
        reporter = Display(self.config, len(self.files)).reporter
        if reporter is not None:
            # It is not about what passed.
            reporter.summary_stats = lambda: None
        if not self.files:
            return True
        try:
            with self.runner.without_reports(self):
                apart = self.outcomes_apart()
                tests = sum(map(len, apart.values()))
                terminal.line(f"{counted(tests, 'test')} of {counted(len(self.paths), 'file')}, apart and together")
                self.tell_broken(terminal, apart)
                for victim in self.victims(apart):
                    self.explain(terminal, *victim, apart)
        finally:
            session.testscollected = 1
            self.runner.end()
        if not self.found:
            terminal.line("no test has another outcome when files run together")
        session.testsfailed = self.found
        return True

    # What `Files` tells.

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            outcome = "failed" if report.failed else report.outcome
            if self.outcomes.get(report.nodeid) != "failed":
                self.outcomes[report.nodeid] = outcome

    def pytest_collectreport(self, report):
        if report.failed:
            self.outcomes[report.nodeid] = BROKEN

    # Running files.

    def run(self, paths, first=None, after=None):
        """Runs files in one space and returns the outcomes of their tests."""
        self.outcomes = {}
        arguments = [argument for path in paths for argument in self.arguments[path]]
        self.runner.run_part(arguments, paths, first=first, after=after)
        return self.outcomes

    def outcomes_apart(self):
        return {path: self.run([path]) for path in self.paths}

    def differs(self, paths, victim, tests, apart):
        """Whether one of the tests of the last file has another outcome when the others run before."""
        outcomes = self.run([*paths, victim])
        return any(outcomes.get(test) != apart[victim].get(test) for test in tests)

    def victims(self, apart):
        """Yields files with tests that have another outcome together, these, and what ran before."""
        seen = set()
        for order in self.paths, self.paths[::-1]:
            outcomes = self.run(order)
            for index, path in enumerate(order):
                tests = [
                    test for test, outcome in apart[path].items()
                    if outcomes.get(test) != outcome and test not in seen
                ]
                if tests:
                    seen.update(tests)
                    yield path, tests, order[:index], {test: outcomes.get(test) for test in tests}

    # Explaining.

    @staticmethod
    def tell_broken(terminal, apart):
        """Says which files nothing can be found out about."""
        for outcomes in apart.values():
            for name, outcome in outcomes.items():
                if outcome == BROKEN:
                    terminal.line(f"{name} {BROKEN} alone, and is left out", bold=True)

    def explain(self, terminal, victim, tests, before, together, apart):
        self.found += len(tests)
        terminal.line()
        for test in tests:
            terminal.line(f"{test}: {apart[victim][test]} alone, {together[test] or 'not there'} together", bold=True)
        if not self.differs(before, victim, tests, apart):
            terminal.line("  only when the files after it are collected, too: these do something as they are imported")
            before = [path for path in self.paths if path != victim]
        polluters = self.smallest(before, victim, tests, apart)
        names = [self.name(path) for path in polluters]
        terminal.line(f"  because of {' and '.join(names) or 'something that runs with other outcomes each time'}")
        for path in polluters:
            self.tell_leftovers(terminal, path)
        if names:
            selected = shlex.join([*self.options["environment"], "--isolate", "none", *names, *tests])
            terminal.line(f"  see it with: modspace test {selected}")

    def smallest(self, paths, victim, tests, apart):
        """Of the files, so few that without one of them the tests have their outcomes (Zeller's ddmin)."""
        parts = 2
        while len(paths) > 1:
            size = max(len(paths) // parts, 1)
            pieces = [paths[start:start + size] for start in range(0, len(paths), size)]
            for piece in pieces:
                if self.differs(piece, victim, tests, apart):
                    paths, parts = piece, 2
                    break
                rest = [path for path in paths if path not in piece]
                if len(pieces) > 2 and self.differs(rest, victim, tests, apart):
                    paths, parts = rest, max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    return paths
                parts = min(parts * 2, len(paths))
        return paths if paths and self.differs(paths, victim, tests, apart) else []

    def tell_leftovers(self, terminal, path):
        changes = self.leftovers(path)
        terminal.line(f"  {self.name(path)} leaves{'' if changes else ' nothing that can be seen'}")
        for what, how in changes[:TOLD]:
            terminal.line(f"    {what} {how}")
        if len(changes) > TOLD:
            terminal.line(f"    and {len(changes) - TOLD} more")

    def leftovers(self, path):
        """What a file leaves: what, and how it was changed."""
        looks, calls, searched = [], [], []

        def see():
            looks.append(Look(self.spaces.current.space))
            searched.extend(self.spaces.current.sys.path)

        # What it imports is imported before it the second time, and so is seen as it finds it.
        self.run([path], after=see)
        names = [
            name
            for name, module in looks.pop().modules.items()
            if was_imported(module) and module.__spec__.origin != path and not name.endswith("conftest")
        ] if looks else []

        def first():
            space = self.spaces.current.space
            before, space.sys.path[:] = list(space.sys.path), searched
            for name in names:
                # What cannot be imported alone is not seen.
                with contextlib.suppress(Exception):
                    space.import_(name)
            space.sys.path[:] = before
            record_codecs(space, calls)
            looks.append(Look(space))

        self.runner.left.clear()
        self.run([path], first=first, after=see)
        changes = [change for _, changes in self.runner.left for change in changes] + calls
        if len(looks) == 2:
            changes += looks[0].changes_to(looks[1])
        own = os.path.splitext(os.path.basename(path))[0]
        changes = [(what, how) for what, how in changes if not what.startswith((f"{own}.", f"sys.modules[{own!r}]"))]
        # What was only imported, last: that alone rarely disturbs.
        return sorted(dict(changes).items(), key=lambda change: (change[1] == "was imported", change[0]))


def counted(count, noun):
    return f"{count} {noun}{'s' if count != 1 else ''}"


def record_codecs(space, calls):
    """Has calls noted that register codecs and error handlers: no attribute shows these."""
    def recorder(function, name):
        def call(first, *args):
            calls.append((f"codecs.{name}()", f"was called with {shown(first)}"))
            return function(first, *args)
        return call

    for module in "codecs", "_codecs":
        for name in "register", "register_error":
            owner = space.import_(module)
            setattr(owner, name, recorder(getattr(owner, name), name))
