"""What the terminal shows of a run: pytest's own lines, where these count on all tests being collected first, by files."""

import os
import shutil
import time


class Display:
    """Adapts pytest's terminal reporter, if there is one."""

    def __init__(self, config, total):
        self.config = config
        self.total = total
        #: How many files are done.
        self.done = 0
        #: Whether the test that is told about is the last one of its file.
        self.is_last = lambda: False
        #: The nodes above the test that `--co` printed last.
        self.stack = []
        self.reporter = config.pluginmanager.get_plugin("terminalreporter")
        if self.reporter is not None:
            # Of all files together, and so when they have been collected.
            self.reporter.report_collect = lambda final=False: None
            self.reporter._write_report_lines_from_hooks = self.once(self.reporter._write_report_lines_from_hooks)
            self.reporter._get_progress_information_message = self.progress
            self.reporter._printcollecteditems = self.print_collected

    @staticmethod
    def once(write):
        """What plugins say when tests were collected, for the first file."""
        lines_of_first = [write]
        return lambda lines: lines_of_first and lines_of_first.pop()(lines)

    def progress(self):
        """By files: how many tests there are is known when the last file was collected."""
        return f" [{100 * (self.done + self.is_last()) // max(self.total, 1):3d}%]"

    def print_collected(self, items):
        """As pytest prints it, but for directories that were printed for the file before."""
        terminal = self.reporter._tw
        if self.config.get_verbosity() < 0:
            return self.reporter.__class__._printcollecteditems(self.reporter, items)
        for item in items:
            chain = item.listchain()[1:]
            names = [node.nodeid for node in chain]
            common = 0
            while common < min(len(names), len(self.stack)) and names[common] == self.stack[common]:
                common += 1
            for depth, node in enumerate(chain[common:], common):
                terminal.line(f"{'  ' * depth}{node}")
            self.stack = names


def end_line_of_collection(config, count):
    """Ends the line that pytest begins when it collects. It counts files: nobody has looked into them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.verbosity >= (0 if reporter.isatty else 1):
        reporter.line(f"{count} file{'s' if count != 1 else ''}")


def say(config, text):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(text)


def errors_during_collection(count):
    return f"{count} error{'s' if count != 1 else ''} during collection"


def summary(reporter, left, leaks, done):
    """The last sections: what was put back after files, and what is left of them, where this is asked for."""
    if left and reporter.config.get_verbosity() >= 1:
        reporter.section("put back after test files")
        for name, changes in left:
            for what, how in changes:
                reporter.line(f"{name}: {what} {how}")
    if leaks is not None:
        reporter.section("left of test files")
        for report in leaks:
            reporter.line(report)
        if not leaks:
            reporter.line(f"nothing is left of {done} file{'s' if done != 1 else ''}")


class Progress:
    """A last line on a terminal, below what pytest writes: what is done, and what runs."""

    def __init__(self, reporter, total):
        self.reporter = reporter
        self.terminal = reporter._tw._file
        self.total = total
        self.done = self.failed = 0
        #: The files that run, and when they began.
        self.running = {}
        self.is_shown = False
        self.is_at_begin = True
        #: Whether the line is ended already that pytest ends before it writes of the next file.
        self.is_ended = False
        reporter._tw._file = self

    @classmethod
    def on(cls, reporter, total):
        """The line, where there is a terminal for it."""
        if reporter is None or os.environ.get("TERM") == "dumb" or not reporter._tw._file.isatty():
            return None
        return cls(reporter, total)

    def __getattr__(self, name):
        return getattr(self.terminal, name)

    # What pytest writes to.

    def write(self, text):
        self.clear()
        if self.is_ended and text:
            self.is_ended = False
            text = text.removeprefix("\n")
        if text:
            self.is_at_begin = text.endswith("\n")
        return self.terminal.write(text)

    # The line.

    def clear(self):
        if self.is_shown:
            self.is_shown = False
            self.terminal.write("\r\x1b[2K")

    def show(self):
        """Writes the line, unless pytest is in the middle of one."""
        if not self.is_at_begin:
            return
        width = shutil.get_terminal_size().columns - 1
        self.clear()
        self.terminal.write(cut(self.text(), width))
        self.terminal.flush()
        self.is_shown = True

    def end_line(self):
        """Ends what pytest has written of a file: there is another line below it."""
        if self.is_at_begin:
            return
        if self.reporter._show_progress_info:
            self.reporter._write_progress_information_filling_space()
        self.reporter.ensure_newline()
        self.is_ended = True
        # What pytest would write at the end of the last line.
        self.reporter._progress_nodeids_reported.clear()

    def text(self):
        now = time.monotonic()
        failed = f", {self.failed} failed" if self.failed else ""
        running = [f"{name} {now - begun:.1f} s" for name, begun in sorted(self.running.items(), key=lambda file: file[1])]
        return f"{self.done}/{self.total} files{failed}  " + "  ".join(running)

    def end(self):
        self.clear()
        self.terminal.flush()
        self.reporter._tw._file = self.terminal


def cut(text, width):
    return text if len(text) <= width else text[:max(width - 1, 0)] + "…"
