"""What the test programs of this directory share."""

import os
import shutil
import sys
import tempfile
import textwrap
import unittest

import modspace

#: Multiplies the sizes of stress tests.
STRESS = max(1, int(os.environ.get("MODSPACE_STRESS", "1")))


def write_tree(root, files):
    """Writes `files` (relative path to text or bytes) below the directory `root`."""
    for name, content in files.items():
        path = os.path.join(root, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(content, bytes):
            with open(path, "wb") as file:
                file.write(content)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(content))


class SpaceTest(unittest.TestCase):
    """A test that makes spaces and directory trees, and leaves neither behind."""

    def tree(self, files=()):
        """A new directory with these files; returns its path."""
        root = os.path.realpath(tempfile.mkdtemp(prefix="modspace-test-"))
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        write_tree(root, dict(files))
        return root

    def space(self, parent=None, **options):
        """A new space, a child of the test's own unless `parent` is given."""
        space = modspace.ModuleSpace(parent or modspace.current(), **options)
        self.addCleanup(self.throw_away, space)
        return space

    def pair(self, **options):
        """Two sibling spaces of the same configuration."""
        return self.space(name="one", **options), self.space(name="two", **options)

    @staticmethod
    def throw_away(space):
        if not space.closed:
            space.discard(recursive=True)

    def library(self, files, **options):
        """A new space that finds these files first, and the standard library after them."""
        return self.space(path=[self.tree(files), *sys.path], **options)
