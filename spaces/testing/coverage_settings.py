"""What coverage is measured of, by the command line and by the configuration of the package `coverage`."""

import os
import re
import threading

#: Where the settings are, in the order in which `coverage` looks.
FILES = ".coveragerc", "setup.cfg", "tox.ini", "pyproject.toml"

LISTS = "source", "source_pkgs", "source_dirs", "include", "omit"
SWITCHES = "branch", "parallel", "relative_files"

#: Names of files that can be imported.
IMPORTABLE = re.compile(r"[^.#~!$@%^&*()+=,]+\.pyw?")


class Settings:
    """What `--cov` was given, and what the configuration says."""

    def __init__(self, given, site):
        self.here = os.getcwd()
        known = configured()
        lists = {name: list_of(known.get(name, ())) for name in LISTS}
        self.has_branches, self.is_parallel, self.is_relative = [is_on(known.get(name, False)) for name in SWITCHES]
        file = os.environ.get("COVERAGE_FILE") or os.path.expandvars(os.path.expanduser(known.get("data_file", ""))) or ".coverage"
        self.data_file = os.path.join(self.here, file)
        if self.is_parallel:
            self.data_file += f".{os.uname().nodename}.{os.getpid()}"
        self.directories, self.packages = [], lists["source_pkgs"]
        sources = [source for source in given if source] or [*lists["source"], *lists["source_dirs"]]
        for source in sources:
            if os.path.isdir(source):
                self.directories.append(os.path.realpath(source))
            elif all(part.isidentifier() for part in source.split(".")):
                self.packages.append(source)
            else:
                raise ValueError(f"--cov={source}: there is no such directory, and it is no package's name")
        self.include, self.omit = [
            [re.compile(expression(pattern, self.here)) for pattern in lists[name]] for name in ("include", "omit")
        ]
        if not self.directories and not self.packages and not self.include:
            self.directories.append(os.path.realpath(self.here))
        self.site = tuple(os.path.join(os.path.realpath(directory), "") for directory in site)
        library = getattr(threading, "__file__", None)
        self.library = os.path.join(os.path.realpath(os.path.dirname(library)), "") if library else None

    def measures(self, path, search):
        """Whether lines of a file count. `search` is the `sys.path` it was imported by."""
        if any(pattern.fullmatch(path) for pattern in self.omit):
            return False
        if not self.directories and not self.packages:
            return not self.is_third_party(path) and any(pattern.fullmatch(path) for pattern in self.include)
        roots = [root for root in [*self.directories, *self.places(search)] if is_in(path, root)]
        return bool(roots) and (not self.is_third_party(path) or any(map(self.is_third_party, roots)))

    def is_third_party(self, path):
        """Whether it is of the standard library, or of a library of the environment."""
        inside = os.path.join(path, "")
        return (
            self.library is not None and inside.startswith(self.library)
            or inside.startswith(self.site)
            or "/site-packages/" in inside
            or "/dist-packages/" in inside
        )

    def places(self, search):
        """Yields where packages would be, without their ends."""
        for package in self.packages:
            for entry in search:
                yield os.path.realpath(os.path.join(self.here, entry, *package.split(".")))

    def never_imported(self, known, search):
        """Yields files that could have been imported and are not among the known ones."""
        roots = dict.fromkeys(self.directories)
        for package in self.packages:
            parts = os.sep + package.replace(".", os.sep) + os.sep
            roots.update((path[:path.index(parts)] + parts.rstrip(os.sep), None) for path in known if parts in path)
        roots.update((place, None) for place in self.places(search))
        for root in roots:
            # A module alone.
            if (path := f"{root}.py") not in known and os.path.isfile(path) and self.measures(path, search):
                yield path
            for directory, directories, names in os.walk(root):
                if directory != root and "__init__.py" not in names:
                    directories.clear()
                    continue
                for name in names:
                    path = os.path.realpath(os.path.join(directory, name))
                    if IMPORTABLE.fullmatch(name) and path not in known and self.measures(path, [*search, *parents(roots)]):
                        yield path

    def name(self, path):
        """A file's name in the data file."""
        root = os.path.join(os.path.realpath(self.here), "")
        return path.removeprefix(root) if self.is_relative else path


def parents(roots):
    return {os.path.dirname(root) for root in roots}


def is_in(path, root):
    return path.startswith(os.path.join(root, "")) or path in (root, f"{root}.py")


def configured():
    """The section `run` of the first file that has settings of `coverage`."""
    import configparser
    import tomllib

    given = os.environ.get("COVERAGE_RCFILE")
    if given and not os.path.isfile(given):
        raise ValueError(f"COVERAGE_RCFILE={given}: there is no such file")
    for name in [given, *FILES]:
        if not name or not os.path.isfile(name):
            continue
        if name.endswith(".toml"):
            with open(name, "rb") as file:
                try:
                    known = tomllib.load(file).get("tool", {}).get("coverage")
                except tomllib.TOMLDecodeError as error:
                    raise ValueError(f"{name}: {error}") from None
            if known is not None:
                return known.get("run", {})
            continue
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(name, encoding="utf-8")
        except configparser.Error as error:
            raise ValueError(f"{name}: {error}") from None
        is_own = name not in FILES[1:]
        for section in ["coverage:run", *(["run"] if is_own else [])]:
            if parser.has_section(section):
                return dict(parser[section])
        if is_own or any(section.startswith("coverage:") for section in parser.sections()):
            return {}
    return {}


def list_of(value):
    """A list, which is in lines or between commas where it is text."""
    parts = re.split(r"[,\n]", value) if isinstance(value, str) else value
    return [os.path.expandvars(part.strip()) for part in parts if part.strip()]


def is_on(value):
    return value.lower() in ("1", "yes", "true", "on") if isinstance(value, str) else bool(value)


def expression(pattern, here):
    """The regular expression for a pattern of paths: one without a slash is of names, and others begin with a wildcard or are of
    the current directory."""
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    elif not pattern.startswith(("*", "?")):
        pattern = os.path.join(here, pattern)
    parts = re.split(r"(^\*+/|/\*+$|\*\*/|\*|\?|\[[^]]+\])", pattern)
    return "".join(
        part if part.startswith("[")
        else re.escape(part) if index % 2 == 0
        else "/.*" if part.startswith("/")
        else "(.*/)?" if part.endswith("/")
        else "[^/]*" if part == "*"
        else "[^/]"
        for index, part in enumerate(parts)
    )
