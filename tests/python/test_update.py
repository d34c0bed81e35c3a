"""Modules are updated in place: each case of `update_cases`, in a space on a store."""

import unittest

import modspace
from update_cases import CASES


class Update(unittest.TestCase):
    def update(self, case):
        store = modspace.Store.memory()
        with store.transaction() as change:
            for name, source in case.old.items():
                change.new(name, source)
        space = modspace.ModuleSpace(name=case.name)
        self.addCleanup(space.discard, force=True)
        space.attach(store)
        space.exec(case.holder)
        raised = None
        try:
            with store.transaction() as change:
                known = change.modules()
                for name, source in case.new.items():
                    (change.update if name in known else change.new)(name, source)
            space.sync(replace=bool(case.replaced))
        except modspace.UpdateError as error:
            raised = error.__cause__ or error
        except SyntaxError as error:
            raised = error
        if case.error:
            self.assertEqual(type(raised).__name__, case.error)
        elif raised is not None:
            raise raised
        space.exec(case.check)


def test(case):
    def run(self):
        self.update(case)
    run.__name__ = f"test_{case.name}"
    return run


for case in CASES:
    setattr(Update, f"test_{case.name}", test(case))


if __name__ == "__main__":
    unittest.main()
