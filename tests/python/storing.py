"""What the test programs share that have a store, for modules or for objects."""

import modspace
from support import Watched

ACCOUNT = """
class Account:
    def __init__(self, owner):
        self.owner = owner
        self.entries = []

    def pay(self, amount):
        self.entries.append(amount)

    def balance(self):
        return sum(self.entries)
"""


class Stored(Watched):
    """A test with a store."""

    def setUp(self):
        super().setUp()
        self.store = modspace.Store.memory()

    def attached(self, store=None, branch="main", files=(), prefix=None, **options):
        """A new space attached to the store, which finds these files, too."""
        space = self.space(**options)
        if files:
            space.sys.path.insert(0, self.tree(files))
        space.attach(store or self.store, branch=branch, prefix=prefix)
        return space

    def commit(self, sources, store=None, **options):
        """Commits these sources; `None` removes a module. Returns the new head."""
        store = store or self.store
        with store.transaction(**options) as change:
            there = change.modules()
            for name, source in sources.items():
                if source is None:
                    change.remove(name)
                elif name in there:
                    change.update(name, source)
                else:
                    change.new(name, source)
        return store.head(branch=options.get("branch", "main"))

    def assert_absent(self, space, *names):
        """The space has no such modules, and finds none."""
        for name in names:
            self.assertNotIn(name, space.sys.modules)
            with self.assertRaises(ModuleNotFoundError) as caught:
                space.import_(name)
            self.assertEqual(caught.exception.name, name)


class Objects(Watched):
    """A test with a store and its objects."""

    def setUp(self):
        super().setUp()
        self.store = modspace.Store.memory()
        self.root = self.store.root()

    def attached(self, store=None, **options):
        space = self.space(**options)
        space.attach(store or self.store)
        return space

    def put(self, space, expression, key="it", store=None, references="name"):
        """Stores the value of an expression of the space."""
        space.ns["root"] = (store or self.store).root(references=references)
        space.exec(f"root[{key!r}] = {expression}")

    def take(self, space, expression, key="it", store=None, **options):
        """The value of an expression of the space about what is stored, `it`."""
        space.ns["root"] = (store or self.store).root(**options)
        space.exec(f"it = root[{key!r}]")
        return space.eval(expression)

    def refused(self, *parts):
        """An `ObjectError` whose message has these parts."""
        test = self

        class Refused:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, traceback):
                test.assertIsNotNone(error, "nothing was raised")
                if not isinstance(error, modspace.ObjectError):
                    return False
                for part in parts:
                    test.assertIn(part, str(error))
                self.error = error
                return True
        return Refused()


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __init__(self):
        self.value = 0

    def __getstate__(self):
        Counted.pickled += 1
        return vars(self)
