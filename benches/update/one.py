"""Runs one case of tests/python/update_cases.py in modspace, and prints how it went.

    modspace run benches/update/one.py CASE
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "python"))

import modspace
from update_cases import CASES


def sync(space, one):
    """Why the update did not go as it should, or None."""
    options = {"replace": True} if one.replaced else {}
    try:
        space.sync(**options)
    except modspace.UpdateError as error:
        raised = type(error.__cause__ or error).__name__
        if raised != one.error:
            return f"error: {raised}: {error.__cause__ or error}"
    else:
        if one.error:
            return f"wrong: {one.error} was not raised"
    return None


def outcome(one):
    store = modspace.Store.memory()
    for name, source in one.old.items():
        store.new_module(name, source)
    space = modspace.ModuleSpace()
    space.attach(store)
    space.exec(one.holder)
    try:
        with store.transaction() as transaction:
            for name, source in one.new.items():
                if name in one.old:
                    transaction.update(name, source)
                else:
                    transaction.new(name, source)
        failed = sync(space, one)
    except SyntaxError:
        # What does not compile is not stored.
        failed = None if one.error == "SyntaxError" else "error: SyntaxError"
    if failed:
        return failed
    try:
        space.exec(one.check)
    except BaseException as error:
        return f"wrong: {type(error).__name__}: {error}"
    return "ok"


if __name__ == "__main__":
    [case] = [case for case in CASES if case.name == sys.argv[1]]
    print(outcome(case))
