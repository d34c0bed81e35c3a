"""What has changed against a revision of git."""

import os
import subprocess


def since(revision, directory):
    """The paths of files that are not as they are in a revision, those among them that git does not know."""
    top = ask(directory, "rev-parse", "--show-toplevel").strip()
    # A revision that begins with a dash is no option.
    commit = ask(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", missing=revision).strip()
    changed = ask(top, "diff", "--name-only", "--no-renames", "-z", commit, "--")
    unknown = ask(top, "ls-files", "--others", "--exclude-standard", "-z")
    return [os.path.join(top, name) for name in (changed + unknown).split("\0") if name]


def ask(directory, *command, missing=None):
    import pytest

    try:
        run = subprocess.run(["git", *command], cwd=directory, capture_output=True, text=True, errors="surrogateescape")
    except OSError as error:
        raise pytest.UsageError(f"--changed needs git: {error}") from None
    if run.returncode:
        raise pytest.UsageError(
            f"--changed: git knows no revision {missing!r}" if missing is not None else f"--changed: {run.stderr.strip()}"
        )
    return run.stdout
