"""Data files of the package `coverage`, see "Coverage.py database schema" in its documentation.

The lines of a file are one integer here, whose bit N says of line N whether it was executed. Its bytes are what `coverage` calls
numbits.
"""

import contextlib
import datetime
import os

#: Version 7. Tables for branches and for plugins are there, and stay empty.
SCHEMA = """
create table coverage_schema (version integer);
create table meta (key text, value text, unique (key));
create table file (id integer primary key, path text, unique (path));
create table context (id integer primary key, context text, unique (context));
create table line_bits (
    file_id integer references file (id), context_id integer references context (id), numbits blob, unique (file_id, context_id)
);
create table arc (
    file_id integer references file (id), context_id integer references context (id), fromno integer, tono integer,
    unique (file_id, context_id, fromno, tono)
);
create table tracer (file_id integer primary key references file (id), tracer text);
insert into coverage_schema values (7);
insert into meta values ('has_arcs', '0');
insert into context values (1, '');
"""


def write(path, lines):
    """Writes the lines of files, by their paths, into a file that replaces what is there when it is whole."""
    directory, name = os.path.split(path)
    # `coverage combine` takes whatever begins as the name of the data file does.
    new = os.path.join(directory, f".{os.getpid()}{name}")
    try:
        fill(new, lines)
        os.replace(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)


def fill(path, lines):
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.executescript(SCHEMA)
            now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
            database.execute("insert into meta values ('when', ?)", (now,))
            for number, (source, bits) in enumerate(sorted(lines.items()), 1):
                database.execute("insert into file values (?, ?)", (number, source))
                if bits:
                    numbits = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
                    database.execute("insert into line_bits values (?, 1, ?)", (number, numbits))
            database.commit()
    except sqlite3.Error as error:
        raise OSError(str(error)) from None
