"""One store and several processes: each sees what another committed, without being started anew.

The processes are those of the design of Zope's persistent modules: one changes a base class; a second has loaded the
modules of the base class and of a subclass, a third the base class alone, a fourth the subclass alone.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
import unittest

import modspace
from support import MODSPACE, STRESS, Watched

#: How long a space that follows its store may take to get there, in seconds.
DEADLINE = 20

#: A process with a space on the store: a step comes in as one line, and its answer goes out as one line.
PROGRAM = """\
import json, sys, modspace

path, name, follow = sys.argv[1:]
store = modspace.Store.open(path)
space = modspace.ModuleSpace(name=name)
space.attach(store, follow=follow == "follow")

def sync():
    space.sync()

def head():
    return store.head()

def loaded():
    return sorted(name for name in ("base", "derived") if name in space.sys.modules)

def update(message, sources):
    with store.transaction(author=name, message=message) as change:
        for module, source in sources.items():
            change.update(module, source)
    return store.head()

steps = {"exec": space.exec, "eval": space.eval, "sync": sync, "head": head, "loaded": loaded, "update": update}
for line in iter(sys.stdin.readline, ""):
    step, *arguments = json.loads(line)
    try:
        answer = {"value": steps[step](*arguments)}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error), "cause": type(error.__cause__).__name__}
    print(json.dumps(answer), flush=True)
"""

#: The base class before and after. Its subclass caches what it inherits.
BASE = """\
class Base:
    def __init__(self, *items):
        self.items = list(items)

    def __getitem__(self, index):
        return self.items[index]

    def old(self):
        return "old"
"""
NEW_BASE = """\
class Base:
    def __init__(self, *items):
        self.items = list(items)

    def __getitem__(self, index):
        return "item", self.items[index]

    def __len__(self):
        return len(self.items)

    def new(self):
        return "new", type(self).__name__
"""
DERIVED = """\
from base import Base

class Derived(Base):
    label = "derived"
"""


class StepError(Exception):
    """A step failed in the other process."""

    def __init__(self, answer):
        super().__init__(f"{answer['error']}: {answer['message']}")
        self.kind, self.cause = answer["error"], answer["cause"]


class Process:
    """Another process with a space on the store."""

    def __init__(self, program, path, name, follow=False):
        self.name = name
        self.process = subprocess.Popen([MODSPACE, "run", program, path, name, "follow" if follow else "sync"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # One that hangs ends, and with it the wait for its answer.
        self.timer = threading.Timer(120 * STRESS, self.process.kill)
        self.timer.daemon = True
        self.timer.start()

    def step(self, *step):
        """What the step returns."""
        self.process.stdin.write(json.dumps(step) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"{self.name} ended with status {self.process.wait()} in {step}")
        answer = json.loads(line)
        if "error" in answer:
            raise StepError(answer)
        return answer["value"]

    def eval(self, expression):
        return self.step("eval", expression)

    def end(self):
        """Lets the process end, and returns its status."""
        self.process.stdin.close()
        status = self.process.wait()
        self.process.stdout.close()
        self.timer.cancel()
        return status


class Processes(Watched):
    def setUp(self):
        super().setUp()
        self.root = self.tree({"program.py": PROGRAM})
        self.path = os.path.join(self.root, "app.store")
        self.store = modspace.Store.open(self.path)
        self.store.new_module("base", BASE)
        self.store.new_module("derived", DERIVED)

    def start(self, name, follow=False):
        process = Process(os.path.join(self.root, "program.py"), self.path, name, follow)
        self.addCleanup(self.stop, process)
        return process

    @staticmethod
    def stop(process):
        """Ends a process that a test left running because it failed."""
        process.process.kill()
        # What was not written yet cannot be written any more.
        with contextlib.suppress(OSError):
            process.process.stdin.close()
        process.end()

    def end(self, *processes):
        """The processes end as they should."""
        self.assertEqual([process.end() for process in processes], [0] * len(processes))

    #: What the processes make of the modules that they have loaded, and what it is before and after the change.
    DERIVED_SEEN = "[thing[1], hasattr(thing, '__len__'), hasattr(thing, 'old'), hasattr(thing, 'new'), thing.label]"
    BASE_SEEN = "[plain[1], hasattr(plain, '__len__'), hasattr(plain, 'old'), hasattr(plain, 'new')]"
    OLD = ["b", False, True, False]
    NEW = [["item", "b"], True, False, True]

    def start_four(self, follow=False):
        """P1 to P4, with what the design says of them in their memory."""
        one, two, three, four = [self.start(name, follow) for name in ("P1", "P2", "P3", "P4")]
        for process in (one, two):
            process.step("exec", "import base, derived\nthing = derived.Derived('a', 'b')\nplain = base.Base('a', 'b')")
        three.step("exec", "import base\nplain = base.Base('a', 'b')")
        four.step("exec", "import derived\nthing = derived.Derived('a', 'b')")
        self.assertEqual([process.step("loaded") for process in (one, two, three, four)],
                         [["base", "derived"], ["base", "derived"], ["base"], ["base", "derived"]])
        self.check((one, two, four), (one, two, three), self.OLD)
        return one, two, three, four

    def check(self, with_derived, with_base, seen):
        for process in with_derived:
            self.assertEqual(process.eval(self.DERIVED_SEEN), [*seen, "derived"], process.name)
        for process in with_base:
            self.assertEqual(process.eval(self.BASE_SEEN), seen, process.name)

    def check_new(self, one, two, three, four):
        """All of them have the new base class, in instances that they had made before, and in new ones."""
        self.check((one, two, four), (one, two, three), self.NEW)
        for process in (one, two, four):
            self.assertEqual(process.eval("[len(thing), thing.new(), bool(derived.Derived()), derived.Derived(1)[0]]"),
                             [2, ["new", "Derived"], False, ["item", 1]], process.name)
            self.assertTrue(process.eval("isinstance(thing, derived.Derived) and type(thing) is derived.Derived and "
                                         "derived.Derived.__base__ is __import__('base').Base"), process.name)
        for process in (one, two, three):
            self.assertEqual(process.eval("[len(plain), plain.new(), type(plain) is base.Base]"),
                             [2, ["new", "Base"], True], process.name)
        # What had not been imported there works with what was updated there.
        three.step("exec", "import derived\nthing = derived.Derived('a', 'b')")
        four.step("exec", "import base\nplain = base.Base('a', 'b')")
        self.check((three,), (four,), self.NEW)


class Syncing(Processes):
    def test_a_base_class_changes_in_the_four_processes_of_the_design(self):
        four = self.start_four()
        one, *others = four
        commit = one.step("update", "the base class has a length", {"base": NEW_BASE})
        # Before its sync each is at its commit, that of the change, too.
        self.check((one, others[0], others[2]), (one, *others[:2]), self.OLD)
        for process in four:
            self.assertEqual(process.step("head"), commit, process.name)
            process.step("sync")
        self.check_new(*four)
        self.assertEqual((self.store.log()[0].author, self.store.log()[0].id), ("P1", commit))
        self.end(*four)

    def test_each_process_at_its_own_pace(self):
        one, two, three, four = self.start_four()
        one.step("update", "", {"base": NEW_BASE})
        two.step("sync")
        self.check((two,), (two,), self.NEW)
        self.check((one, four), (one, three), self.OLD)
        # Another process changes it again.
        two.step("update", "", {"base": NEW_BASE.replace('"item"', '"thing"')})
        for process in (four, one, three, two):
            process.step("sync")
        self.check((one, two, four), (one, two, three), [["thing", "b"], *self.NEW[1:]])
        self.end(one, two, three, four)

    def test_a_bad_source_is_refused_by_those_who_loaded_it(self):
        one, two, three, four = self.start_four()
        one.step("update", "a mistake", {"base": NEW_BASE, "derived": DERIVED + "\n1 / 0\n"})
        for process in (one, two, four):
            with self.assertRaises(StepError) as caught:
                process.step("sync")
            self.assertEqual((caught.exception.kind, caught.exception.cause), ("UpdateError", "ZeroDivisionError"))
            self.assertIn("derived", str(caught.exception))
        self.check((one, two, four), (one, two), self.OLD)
        # The third one has only loaded what is good.
        three.step("sync")
        self.check((), (three,), self.NEW)
        two.step("update", "mended", {"derived": DERIVED})
        for process in (one, two, three, four):
            process.step("sync")
        self.check_new(one, two, three, four)
        self.end(one, two, three, four)


class Following(Processes):
    def wait_for(self, process, expression, wanted):
        """Asks until the answer is the one that is wanted; returns all answers before."""
        end, seen = time.monotonic() + DEADLINE * STRESS, []
        while (answer := process.eval(expression)) != wanted:
            seen.append(answer)
            if time.monotonic() > end:
                self.fail(f"{process.name} still sees {answer!r}, not {wanted!r}")
            time.sleep(0.02)
        return seen

    def test_the_four_processes_of_the_design_without_a_sync(self):
        one, two, three, four = self.start_four(follow=True)
        one.step("update", "the base class has a length", {"base": NEW_BASE})
        for process in (one, two, four):
            for seen in self.wait_for(process, self.DERIVED_SEEN, [*self.NEW, "derived"]):
                self.assertEqual(seen, [*self.OLD, "derived"], process.name)
        for process in (one, two, three):
            for seen in self.wait_for(process, self.BASE_SEEN, self.NEW):
                self.assertEqual(seen, self.OLD, process.name)
        self.check_new(one, two, three, four)
        self.end(one, two, three, four)

    @staticmethod
    def numbered(number):
        return {"base": f"number = {number}\n",
                "derived": f"import base\nnumber = {number}\ndef both():\n    return [base.number, number, {number}]\n"}

    def test_commits_are_seen_whole_and_in_order(self):
        one, two = self.start("P1"), self.start("P2", follow=True)
        one.step("update", "", self.numbered(0))
        two.step("exec", "import derived")
        # Its first import may have been before that commit.
        self.wait_for(two, "derived.both() if hasattr(derived, 'both') else None", [0, 0, 0])
        last = 0
        for number in range(1, 11):
            one.step("update", str(number), self.numbered(number))
            if number % 5 == 0:
                for seen in self.wait_for(two, "derived.both()", [number] * 3):
                    self.assertEqual(len(set(seen)), 1, seen)
                    self.assertGreaterEqual(seen[0], last)
                    last = seen[0]
        self.end(one, two)

    def test_it_goes_on_after_a_bad_source(self):
        two = self.start("P2", follow=True)
        two.step("exec", "import base, derived\nplain = base.Base('a', 'b')")
        with self.store.transaction() as change:
            change.update("base", NEW_BASE)
            change.update("derived", DERIVED + "\n1 / 0\n")
        # Long enough to have tried.
        end = time.monotonic() + 1
        while time.monotonic() < end:
            self.assertEqual(two.eval(self.BASE_SEEN), self.OLD)
        self.store.update_module("derived", DERIVED)
        self.wait_for(two, self.BASE_SEEN, self.NEW)
        self.end(two)

    def test_a_space_of_this_process_follows_another_process(self):
        space = self.space()
        space.attach(self.store, follow=True)
        plain = space.import_("base").Base("a", "b")
        one = self.start("P1")
        one.step("update", "", {"base": NEW_BASE})
        end = time.monotonic() + DEADLINE * STRESS
        while plain[1] == "b" and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual((plain[1], len(plain)), (("item", "b"), 2))
        # It ends with its attachment.
        space.detach()
        one.step("update", "", {"base": BASE})
        time.sleep(1)
        self.assertEqual((plain[1], len(plain)), (("item", "b"), 2))
        self.end(one)

    def test_a_space_that_follows_can_be_discarded(self):
        space = self.space()
        space.attach(self.store, follow=True)
        space.import_("derived")
        report = space.discard(timeout=DEADLINE * STRESS)
        self.assertEqual((report.clean, report.threads), (True, []), report)
        self.store.update_module("base", NEW_BASE)
        self.assertTrue(space.closed)


if __name__ == "__main__":
    unittest.main()
