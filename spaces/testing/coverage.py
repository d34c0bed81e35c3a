"""Which lines a run executes, in all spaces and in all workers.

`sys.monitoring` tells of lines, and is asked for them in what is measured alone: all other code runs as it is. Each space has code
objects of its own, of which each tells of a line once.
"""

import opcode
import os
import sys

from modspace.testing import coverage_file
from modspace.testing.coverage_settings import Settings

#: Those that tools do not take, first, so that tests of tools have theirs.
TOOLS = 3, 4, 5, 2, 1, 0

EVENTS = sys.monitoring.events
EXTENDED = opcode.opmap["EXTENDED_ARG"]


def run(options, start):
    """Runs tests by `start`, and measures them. Returns the exit status."""
    try:
        settings = Settings(options["cov"], options["site"])
    except ValueError as error:
        print(f"modspace test: {error}", file=sys.stderr)
        return 4
    is_worker = options["link"] is not None
    directory = os.path.dirname(settings.data_file)
    if not os.path.isdir(directory) or os.path.isdir(settings.data_file):
        what = "is in no directory that exists" if not os.path.isdir(directory) else "is a directory"
        print(f"modspace test: the data file of --cov, {settings.data_file}, {what}", file=sys.stderr)
        return 4
    if settings.has_branches and not is_worker:
        print("modspace test: --cov measures lines: the setting branch = true is not heeded", file=sys.stderr)
    coverage = options["coverage"] = Coverage(settings, options["watch_code"])
    process = os.getpid()
    is_written = True
    coverage.begin()
    try:
        status = start(options)
    finally:
        coverage.end()
        # What a test has forked, and comes here, too, is not the run.
        if not is_worker and os.getpid() == process:
            is_written = coverage.write()
    return status if is_written else status or 3


class Coverage:
    """Notes lines, from `begin` to `end`."""

    def __init__(self, settings, watch_code):
        self.settings = settings
        #: As `set_local_events`, for pairs of code objects and events, with what is set after it.
        self.watch_code = watch_code
        #: Tells the `sys.path` of the tests that run.
        self.search = lambda: sys.path
        #: The lines of files, by the names that code objects have for them; None for one that is not measured.
        self.names = {}
        #: The same by paths, in the form of `coverage_file`, of this process and of its workers.
        self.lines = {}
        #: By their ids, code objects that were seen, for some the lines of their instructions, and lines that count when they
        #: begin. They are kept: others at the same place in memory would count as seen.
        self.codes = {}

    def begin(self):
        # A run in the middle of another one has another.
        self.tool = next(tool for tool in TOOLS if sys.monitoring.get_tool(tool) is None)
        sys.monitoring.use_tool_id(self.tool, "modspace test --cov")
        self.listen()

    def listen(self):
        monitoring = sys.monitoring
        monitoring.register_callback(self.tool, EVENTS.PY_START, self.on_start)
        monitoring.register_callback(self.tool, EVENTS.LINE, self.on_line)
        monitoring.register_callback(self.tool, EVENTS.INSTRUCTION, self.on_instruction)
        monitoring.set_events(self.tool, EVENTS.PY_START)

    def end(self):
        sys.monitoring.free_tool_id(self.tool)

    # What happens in tests, on any thread.

    def on_start(self, code, offset):
        _, _, annotated = self.codes.get(id(code)) or self.see(code)
        if annotated:
            self.names[code.co_filename].update(annotated)
        return sys.monitoring.DISABLE

    def on_line(self, code, line):
        self.names[code.co_filename].add(line)
        return sys.monitoring.DISABLE

    def on_instruction(self, code, offset):
        _, lines, _ = self.codes.get(id(code)) or self.see(code)
        if lines is not None and (line := lines[offset // 2]):
            self.names[code.co_filename].add(line)
        return sys.monitoring.DISABLE

    def see(self, code):
        """Has a code object that begins for the first time tell of its lines, if they count, with those in it."""
        name = code.co_filename
        if name not in self.names:
            self.names[name] = set() if self.is_measured(name) else None
        if self.names[name] is not None:
            return self.watch(code)
        known = self.codes[id(code)] = code, None, None
        return known

    def is_measured(self, name):
        # What is frozen has the name of its module.
        is_file = os.path.isabs(name) or name.endswith(".py")
        return is_file and self.settings.measures(self.path(name), self.search())

    def path(self, name):
        return os.path.realpath(os.path.join(self.settings.here, name))

    def watch(self, code):
        # Other threads may run the same code, or `forget`, meanwhile: what is not asked for yet does not count as seen.
        events, seen = [], {}
        waiting = [code]
        while waiting:
            one = waiting.pop()
            waiting.extend(inner for inner in one.co_consts if type(inner) is type(code) and id(inner) not in self.codes)
            # RustPython takes a jump to such an instruction for one to what comes after it when it looks for lines.
            is_long = EXTENDED in one.co_code[::2]
            lines = [line for line, *_ in one.co_positions()] if is_long else None
            seen[id(one)] = one, lines, annotations(one)
            events.append((one, EVENTS.INSTRUCTION if is_long else EVENTS.LINE))
        # Each call of `set_local_events` has all code looked at anew, that which runs among it.
        self.watch_code(self.tool, events[1:])
        sys.monitoring.set_local_events(self.tool, *events[0])
        self.codes.update(seen)
        return seen[id(code)]

    def forget(self):
        """Lets go of the code objects of a file's space. Others that go on tell of their lines once more."""
        sys.monitoring.clear_tool_id(self.tool)
        self.codes.clear()
        self.listen()

    # What became known.

    def news(self):
        """The lines that were executed since this was asked the last time."""
        news = {}
        for name, lines in list(self.names.items()):
            if not lines:
                continue
            path, bits = self.path(name), 0
            for line in list(lines):
                bits |= 1 << line
            if new := bits & ~self.lines.get(path, 0):
                news[path] = news.get(path, 0) | new
        self.add(news)
        return news

    def add(self, news):
        for path, bits in news.items():
            self.lines[path] = self.lines.get(path, 0) | bits

    def write(self):
        """Writes the data file. Returns whether it could be written."""
        self.news()
        settings = self.settings
        never = dict.fromkeys(settings.never_imported(set(self.lines), self.search()), 0)
        found = {settings.name(path): bits for path, bits in {**never, **self.lines}.items()}
        for package in settings.packages:
            inner = package.replace(".", os.sep)
            if not any(f"/{inner}/" in f"/{name}" or f"/{name}".endswith(f"/{inner}.py") for name in found):
                print(f"modspace test: --cov={package}: no test has imported it, and it is nowhere on sys.path", file=sys.stderr)
        try:
            coverage_file.write(settings.data_file, found)
        except OSError as error:
            print(f"modspace test: {settings.data_file}: cannot be written: {error}", file=sys.stderr)
            return False
        return True


def annotations(code):
    """The lines of a module or a class that only annotate. Since Python 3.14 they do nothing when they are come to; before, and
    for a `coverage` that runs there, they are statements like others."""
    name = "__annotate__" if code.co_name == "<module>" else f"{code.co_qualname}.__annotate__"
    for inner in code.co_consts:
        if type(inner) is type(code) and inner.co_qualname == name:
            return lines_of(inner) - lines_of(code) - {inner.co_firstlineno}
    return None


def lines_of(code):
    return {line for _, _, line in code.co_lines() if line}
