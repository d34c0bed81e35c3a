#!/usr/bin/env python3
"""Runs the cases of tests/python/update_cases.py with what updates modules in CPython, and prints how they went.

    pip install --target DIR ipython jurigged
    python3 benches/update/peers.py --packages DIR --modspace target/release/modspace

| column | what it is |
| --- | --- |
| reload | `importlib.reload` of the modules that change |
| autoreload 2, autoreload 3 | IPython's extension in these modes; holder and check are cells |
| jurigged | jurigged, told of each file that changes |
| modspace | benches/update/one.py |

ok: the check held. wrong: it did not. error: the update failed although the new source is right, or the process did.
What is not installed is left out. Each case runs in a process of its own, so that a case cannot disturb another.
"""

import argparse
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SECONDS = 60

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests", "python"))

from update_cases import CASES


class Failed(Exception):
    """The update failed."""


def file_of(directory, module):
    return os.path.join(directory, *module.split(".")) + ".py"


def write(directory, sources, moment):
    for module, source in sources.items():
        path = file_of(directory, module)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        os.utime(path, (moment, moment))
    importlib.invalidate_caches()


class Reload:
    name = "reload"
    raises = True

    def __init__(self, directory):
        self.namespace = {"__name__": "__main__"}

    def run(self, source):
        exec(source, self.namespace)

    def update(self, modules):
        for name in modules:
            module = sys.modules.get(name.removesuffix(".__init__"))
            if module is not None:
                importlib.reload(module)

    check = run


class Jurigged(Reload):
    name = "jurigged"
    raises = False  # it logs

    def __init__(self, directory):
        import jurigged

        super().__init__(directory)
        self.directory = directory
        self.events = []
        self.watcher = jurigged.watch(os.path.join(directory, "*.py"), logger=self.events.append, autostart=False)

    def update(self, modules):
        for name in modules:
            if name.removesuffix(".__init__") in sys.modules:
                self.watcher.refresh(file_of(self.directory, name))
        for event in self.events:
            if isinstance(event, Exception):
                raise event


class Autoreload:
    mode = ""
    raises = False  # it logs

    def __init__(self, directory):
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        os.environ["IPYTHONDIR"] = os.path.join(directory, ".ipython")
        config = Config()
        config.HistoryManager.enabled = False
        self.shell = InteractiveShell.instance(config=config)
        self.shell.run_line_magic("load_ext", "autoreload")
        self.shell.run_line_magic("autoreload", self.mode)

    def run(self, source):
        result = self.shell.run_cell(source)
        if not result.success:
            raise result.error_before_exec or result.error_in_exec

    def update(self, modules):
        """Runs a cell: the extension looks for changes before each."""
        self.run("pass")
        [reloader] = [callback.__self__._reloader for callback in self.shell.events.callbacks["pre_run_cell"]
                      if hasattr(getattr(callback, "__self__", None), "_reloader")]
        if reloader.failed:
            raise Failed(", ".join(map(os.path.basename, reloader.failed)))

    check = run


class Autoreload2(Autoreload):
    name = "autoreload 2"
    mode = "2"


class Autoreload3(Autoreload):
    name = "autoreload 3"
    mode = "3"


TOOLS = {tool.name: tool for tool in (Reload, Autoreload2, Autoreload3, Jurigged)}


def told(kind, error):
    return f"{kind}: {type(error).__name__}: {error}".split("\n")[0]


def outcome(tool, one, directory):
    now = time.time()
    write(directory, one.old, now - 100)
    sys.path.insert(0, directory)
    try:
        tool = tool(directory)
        tool.run(one.holder)
        tool.run("pass")
    except BaseException as error:
        return told("error", error)
    write(directory, one.new, now)
    raised = None
    try:
        tool.update(one.new)
    except BaseException as error:
        raised = error
    if raised and not one.error:
        return told("error", raised)
    try:
        tool.check(one.check)
    except BaseException as error:
        return told("wrong", error)
    if tool.raises and one.error and type(raised).__name__ != one.error:
        return f"wrong: {one.error} was not raised"
    return "ok"


def in_process(tool, one):
    """The outcome of a case, in a copy of this process."""
    with tempfile.TemporaryDirectory() as directory:
        read, written = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            text = "error"
            try:
                nowhere = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(nowhere, number)
                sys.stdout = sys.stderr = io.StringIO()
                text = outcome(tool, one, os.path.realpath(directory))
            finally:
                os.write(written, text.encode()[:2000])
                os._exit(0)
        os.close(written)
        with os.fdopen(read, "rb") as pipe:
            text = pipe.read().decode(errors="replace")
        _, status = os.waitpid(child, 0)
        return text or f"error: the process ended with status {status}"


def serve(name, cases):
    """Prints the outcomes of all cases with one of the tools."""
    if name.startswith("autoreload"):
        import IPython.core.interactiveshell
        import IPython.extensions.autoreload
    elif name == "jurigged":
        import jurigged
    for one in cases:
        print(json.dumps([one.name, in_process(TOOLS[name], one)]), flush=True)


def outcomes(name, cases, options):
    """The outcomes of the cases with one of the tools, or None when it is not installed."""
    command = [sys.executable, __file__, "--serve", name]
    if options.packages:
        command += ["--packages", options.packages]
    run = subprocess.run([*command, *[one.name for one in cases]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    if run.returncode:
        print(f"{name}: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return dict(map(json.loads, run.stdout.splitlines()))


def in_modspace(program, cases):
    found = {}
    for one in cases:
        try:
            run = subprocess.run([program, "run", os.path.join(HERE, "one.py"), one.name], capture_output=True,
                                 text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            found[one.name] = f"error: not done after {SECONDS} seconds"
            continue
        lines = run.stdout.splitlines() if run.returncode == 0 else run.stderr.splitlines()
        last = lines[-1] if lines else f"status {run.returncode}"
        found[one.name] = last if run.returncode == 0 else f"error: {last}"
    return found


def table(columns, cases, details):
    wide = max(len(one.name) for one in cases) + 2
    widths = {name: max(8, len(name) + 2) for name in columns}

    def line(first, cells):
        print((first.ljust(wide) + "".join(cell.ljust(widths[name]) for name, cell in zip(columns, cells))).rstrip())

    line("", columns)
    for one in cases:
        line(one.name, [found[one.name].split(":")[0] for found in columns.values()])
    print()
    for kind in ("ok", "wrong", "error"):
        line(kind, [str(sum(text.split(":")[0] == kind for text in found.values())) for found in columns.values()])
    line("of", [str(len(cases))] * len(columns))
    if details:
        print()
        for one in cases:
            for name, found in columns.items():
                if found[one.name] != "ok":
                    print(f"{one.name} ({name}): {found[one.name]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all unless given")
    parser.add_argument("--packages", metavar="DIR", help="where ipython and jurigged are installed")
    parser.add_argument("--modspace", metavar="PATH", help="adds a column for this program")
    parser.add_argument("--details", action="store_true", help="tell what went wrong")
    parser.add_argument("--serve", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.packages:
        options.packages = os.path.abspath(options.packages)
        sys.path.insert(1, options.packages)
    cases = [one for one in CASES if not options.cases or one.name in options.cases]
    if unknown := set(options.cases) - {one.name for one in cases}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.serve:
        return serve(options.serve, cases)
    columns = {name: found for name in TOOLS if (found := outcomes(name, cases, options)) is not None}
    if options.modspace:
        columns["modspace"] = in_modspace(os.path.abspath(options.modspace), cases)
    table(columns, cases, options.details)


if __name__ == "__main__":
    main()
