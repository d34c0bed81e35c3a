"""What a store has: modules, on branches, in files; and the names and errors of its interface."""

import ast
import os
import pathlib
import unittest

import modspace
from storing import Stored

try:
    import sqlite3
except ImportError:
    sqlite3 = None


class Modules(Stored):
    def test_find_module(self):
        self.commit({"a": "x = 'é'\n", "pkg.__init__": "y = 1\n", "pkg.sub": "z = 1\r\n"})
        found = self.store.find_module("a")
        self.assertEqual((found.name, found.source, found.metadata), ("a", "x = 'é'\n", {}))
        self.assertEqual(self.store.find_module("pkg.__init__").source, "y = 1\n")
        self.assertEqual(self.store.find_module("pkg").source, "y = 1\n")
        self.assertEqual(self.store.find_module("pkg.sub").source, "z = 1\r\n")
        # What was found stays as it was found.
        self.commit({"a": "x = 2\n"})
        self.assertEqual(found.source, "x = 'é'\n")

    def test_what_is_not_there(self):
        self.commit({"a": "1", "pkg.sub": "1"})
        for name in ("absent", "a.b", "pkg.absent", "pkg.sub.__init__", "pkg.__init__"):
            for use in (self.store.find_module, lambda name: self.store.update_module(name, ""),
                        self.store.remove_module, lambda name: self.store.rename_module(name, "other")):
                with self.subTest(name=name), self.assertRaises(modspace.NoModuleError) as caught:
                    use(name)
                self.assertIn(name, str(caught.exception))
                self.assertIsInstance(caught.exception, LookupError)
                self.assertIsInstance(caught.exception, modspace.StoreError)
        self.assertEqual(self.store.modules(), ["a", "pkg.sub"])

    def test_what_is_there_already(self):
        self.commit({"a": "1", "pkg.__init__": "", "pkg.sub": "1"})
        head = self.store.head()
        places = ["pkg", "pkg.__init__", "pkg.sub", "pkg.sub.__init__", "pkg.sub.below"]
        uses = [lambda name=name: self.store.new_module(name, "2") for name in ("a", "a.b", *places)]
        uses += [lambda name=name: self.store.rename_module("a", name) for name in places]
        for use in uses:
            with self.assertRaises(modspace.StoreError) as caught:
                use()
            self.assertNotIsInstance(caught.exception, modspace.NoModuleError)
        self.assertEqual(self.store.head(), head)

    def test_bad_names(self):
        self.commit({"a": "1"})
        for name in ("", ".", ".a", "a.", "a..b", "1a", "a b", "a-b", "a/b", "../a", "a\0b", "a\nb", "ﬁ", "\ud800",
                     "__init__", "b.__init__.c", "x" * 300, "x." * 1000 + "x"):
            for use in (lambda: self.store.new_module(name, ""), lambda: self.store.rename_module("a", name),
                        lambda: self.store.update_module(name, ""), lambda: self.store.remove_module(name)):
                with self.subTest(name=name), self.assertRaises(modspace.StoreError) as caught:
                    use()
                self.assertLess(len(str(caught.exception)), 1000)
        self.assertEqual(self.store.modules(), ["a"])
        for name in ("_", "é", "名前.名", "class", "b.__main__", "__init__x"):
            self.store.new_module(name, "")
            self.assertIn(name, self.store.modules())

    def test_bad_sources(self):
        for source in ("x = '\ud800'", "\udfff", "x = 1\0", "\0"):
            with self.subTest(source=source), self.assertRaises(modspace.StoreError) as caught:
                self.store.new_module("broken_one", source)
            self.assertIn("broken_one", str(caught.exception))
        self.assertEqual(self.store.modules(), [])

    def test_sources_come_back_as_they_were(self):
        sources = ["", "\n", "x = 1", "x = 1\r\ny = 2\r", "\ufeffx = 1\n", "x = '\U0001f40d'\n", "\f\nx = 1\n",
                   "'\u2028\x0c'"]
        for number, source in enumerate(sources):
            self.store.new_module(f"m{number}", source)
            self.assertEqual(self.store.find_module(f"m{number}").source, source)

    def test_metadata(self):
        self.commit({"pkg.a": "1"})
        found = self.store.find_module("pkg.a")
        self.assertEqual(found.metadata, {})
        found.metadata["owner"] = "nobody"
        self.assertEqual(self.store.find_module("pkg.a").metadata, {})
        metadata = {"owner": "me", "tags": [1, "é", None, True, 1.5, {"deep": []}]}
        with self.store.transaction() as change:
            change.set_metadata("pkg.a", metadata)
            self.assertEqual(change.metadata("pkg.a"), metadata)
        self.assertEqual(self.store.find_module("pkg.a").metadata, metadata)
        # It goes with the module.
        with self.store.transaction() as change:
            change.update("pkg.a", "2")
            change.rename("pkg", "other")
        found = self.store.find_module("other.a")
        self.assertEqual((found.source, found.metadata), ("2", metadata))
        with self.store.transaction() as change:
            for wrong in ([], "x", None, {"x": object()}, {1: {2}}):
                with self.assertRaises((TypeError, ValueError, modspace.StoreError)):
                    change.set_metadata("other.a", wrong)
            change.set_metadata("other.a", {})
        self.assertEqual(self.store.find_module("other.a").metadata, {})

    def test_a_big_source(self):
        source = "TEXT = '''\n" + "all work and no play\n" * 200_000 + "'''\nsize = len(TEXT)\n"
        self.store.new_module("big", source)
        self.assertEqual(self.store.find_module("big").source, source)
        space = self.attached()
        self.assertEqual(space.import_("big").size, 21 * 200_000 + 1)
        self.store.update_module("big", source + "more = size + 1\n")
        space.sync()
        self.assertEqual(space.import_("big").more, 21 * 200_000 + 2)


class Branches(Stored):
    def test_they_are_independent(self):
        main = self.commit({"a": "value = 'main'"})
        side = self.commit({"a": "value = 'side'", "b": "value = 'side'"}, branch="work/side-1")
        self.assertEqual((self.store.head(), self.store.head(branch="work/side-1")), (main, side))
        self.assertEqual((self.store.modules(), self.store.modules(branch="work/side-1")), (["a"], ["a", "b"]))
        self.assertEqual([commit.id for commit in self.store.log(branch="work/side-1")], [side])
        self.assertEqual(self.store.find_module("a", branch="work/side-1").source, "value = 'side'")
        one, two = self.attached(), self.attached(branch="work/side-1")
        self.assertEqual([space.import_("a").value for space in (one, two)], ["main", "side"])
        self.assert_absent(one, "b")
        self.store.update_module("a", "value = 'later'", branch="work/side-1")
        one.sync()
        two.sync()
        self.assertEqual([space.import_("a").value for space in (one, two)], ["main", "later"])

    def test_a_branch_that_has_no_commits(self):
        self.commit({"a": "value = 1"})
        space = self.attached(branch="empty")
        self.assertEqual((self.store.head(branch="empty"), self.store.modules(branch="empty")), (None, []))
        self.assert_absent(space, "a")
        space.sync()
        self.store.new_module("a", "value = 2", branch="empty")
        space.sync()
        self.assertEqual(space.import_("a").value, 2)

    def test_names_that_no_branch_can_have(self):
        space = self.space()
        for branch in ("", "a b", "/", "a//b", "..", "-x", "é", "a\0", "x" * 1000):
            for use in (lambda: self.store.transaction(branch=branch).__enter__(),
                        lambda: self.store.new_module("a", "", branch=branch), lambda: self.store.head(branch=branch),
                        lambda: space.attach(self.store, branch=branch)):
                with self.subTest(branch=branch), self.assertRaises(modspace.StoreError):
                    use()


class Files(Stored):
    def path(self, name="app.store"):
        return os.path.join(self.tree(), name)

    def test_two_handles_on_one_file(self):
        path = self.path()
        one, two = modspace.Store.open(path), modspace.Store.open(pathlib.Path(path))
        first = one.new_module("a", "value = 1", author="one")
        self.assertEqual((two.head(), two.modules()), (first, ["a"]))
        space = self.attached(store=two)
        self.assertEqual(space.import_("a").value, 1)
        one.update_module("a", "value = 2")
        self.assertEqual(space.import_("a").value, 1)
        space.sync()
        self.assertEqual(space.import_("a").value, 2)
        with self.assertRaises(modspace.ConflictError) as caught:
            with two.transaction(author="two") as change:
                change.update("a", "value = 3")
                one.update_module("a", "value = 4", author="one")
        self.assertEqual((caught.exception.author, caught.exception.others[0][1]), ("two", "one"))
        self.assertEqual([commit.id for commit in one.log()], [commit.id for commit in two.log()])

    def test_it_is_there_the_next_time(self):
        path = self.path()
        head = modspace.Store.open(path).new_module("a", "value = 'é'")
        store = modspace.Store.open(path)
        self.assertEqual((store.head(), store.find_module("a").source), (head, "value = 'é'"))
        done = self.program(f"""\
            import modspace
            space = modspace.ModuleSpace()
            store = modspace.Store.open({path!r})
            space.attach(store)
            print(space.import_("a").value)
            store.new_module("b", "")
            """)
        self.assertEqual((done.stdout, done.stderr), ("é\n", ""))
        self.assertEqual(store.modules(), ["a", "b"])

    def test_what_is_not_a_store(self):
        root = self.tree({"text": "not a store", "bytes": bytes(range(256)) * 16, "byte": b"S",
                          "header": b"SQLite format 3\0" + b"\xff" * 4096})
        places = [os.path.join(root, name) for name in ("text", "bytes", "byte", "header", "absent/app.store")]
        if sqlite3:
            places.append(os.path.join(root, "other"))
            connection = sqlite3.connect(places[-1])
            connection.execute("CREATE TABLE records (id, bytes)")
            connection.execute("INSERT INTO records VALUES (1, 2)")
            connection.commit()
            connection.close()
        contents = [pathlib.Path(place).read_bytes() if os.path.exists(place) else None for place in places]
        for place in [root, *places]:
            with self.subTest(place=place), self.assertRaises(modspace.StoreError) as caught:
                modspace.Store.open(place)
            self.assertIn(os.path.basename(place), str(caught.exception))
        # They are left alone.
        self.assertEqual([pathlib.Path(place).read_bytes() if os.path.exists(place) else None for place in places],
                         contents)

    def test_paths_that_make_no_sense(self):
        for path in ("", "a\0b"):
            with self.subTest(path=path), self.assertRaises((modspace.StoreError, ValueError)):
                modspace.Store.open(path)
        for path in (None, 5, object(), []):
            with self.subTest(path=path), self.assertRaises(TypeError):
                modspace.Store.open(path)

    def test_an_empty_file_becomes_a_store(self):
        path = os.path.join(self.tree({"empty": b""}), "empty")
        modspace.Store.open(path).new_module("a", "")
        self.assertEqual(modspace.Store.open(path).modules(), ["a"])


class Interface(Stored):
    def test_errors_are_classes_of_the_module(self):
        for name, bases in (("StoreError", (Exception,)), ("NoModuleError", (modspace.StoreError, LookupError)),
                            ("ConflictError", (modspace.StoreError,)), ("UpdateError", (Exception,))):
            kind = getattr(modspace, name)
            self.assertEqual((kind.__module__, kind.__name__), ("modspace", name))
            for base in bases:
                self.assertTrue(issubclass(kind, base), name)

    def test_the_interface_is_there_in_every_space(self):
        space = self.space()
        space.exec("""if True:
            import modspace
            store = modspace.Store.memory()
            store.new_module("inner", "value = 1")
            modspace.current().attach(store)
            import inner
            try:
                store.find_module("absent")
            except modspace.NoModuleError as error:
                raised = error
            """)
        self.assertEqual(space.ns["inner"].value, 1)
        self.assertIsInstance(space.ns["raised"], modspace.NoModuleError)

    def test_representations(self):
        path = os.path.join(self.tree(), "app.store")
        self.assertIn("app.store", repr(modspace.Store.open(path)))
        commit = self.commit({"a": "1"})
        self.assertIn(commit[:12], repr(self.store.log()[0]))
        self.assertIn("'a'", repr(self.store.find_module("a")))
        for text in (repr(self.store), repr(self.store.transaction())):
            self.assertTrue(text.startswith("<") and text.endswith(">"), text)

    def test_a_source_is_the_text_that_ast_unparses(self):
        """A program that changes modules by their syntax trees, as an editor does."""
        self.commit({"rates": "RATE = 5\ndef tax(x):\n    return x * RATE\n"})
        space = self.attached()
        tax = space.import_("rates").tax
        with self.store.transaction(message="raise the rate") as change:
            tree = ast.parse(change.source("rates"))
            tree.body[0].value = ast.Constant(7)
            change.update("rates", ast.unparse(tree))
        space.sync()
        self.assertEqual(tax(2), 14)


if __name__ == "__main__":
    unittest.main()
