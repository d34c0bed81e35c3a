"""Runs a test file with fixtures, parameters and a failing assertion."""

import contextlib
import io
import os
import pathlib

import pytest

file = pathlib.Path(os.environ["SOAK_TESTS"])
output = io.StringIO()
with contextlib.redirect_stdout(output):
    status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", str(file)])
assert status == 1, output.getvalue()
assert "3 passed" in output.getvalue() and "1 failed" in output.getvalue(), output.getvalue()
