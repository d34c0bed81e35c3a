"""The context space: entered by `with`, restored, per thread and task, and asked for what parents do not have."""

import asyncio
import contextvars
import sys
import threading
import unittest

import modspace
from support import STRESS, SpaceTest, run_threads


class Entering(SpaceTest):
    def test_without_entering_the_context_is_no_child(self):
        self.assertNotIn(modspace.context(), modspace.current().children)

    def test_with_is_nested_and_restored(self):
        outer = modspace.context()
        one, two = self.pair()
        with one as entered:
            self.assertIs(entered, one)
            self.assertIs(modspace.context(), one)
            with two:
                self.assertIs(modspace.context(), two)
                with one, one:
                    self.assertIs(modspace.context(), one)
                self.assertIs(modspace.context(), two)
            self.assertIs(modspace.context(), one)
        self.assertIs(modspace.context(), outer)

    def test_the_context_is_restored_after_exceptions_and_exits(self):
        outer = modspace.context()
        one, two = self.pair()
        for error in (ValueError, SystemExit, KeyboardInterrupt, GeneratorExit):
            with one:
                try:
                    with two:
                        raise error
                except error:
                    pass
                self.assertIs(modspace.context(), one)
        self.assertIs(modspace.context(), outer)
        for _ in range(2):
            with two:
                break
        self.assertIs(modspace.context(), outer)

    def test_an_exception_passes_through(self):
        with self.assertRaises(ZeroDivisionError), self.space():
            1 / 0

    def test_the_lexical_space_stays_what_it_was(self):
        here, space = modspace.current(), self.space()
        with space:
            self.assertIs(modspace.current(), here)
            self.assertIs(__import__("sys"), sys)
            self.assertIs(__import__("logging"), sys.modules["logging"])

    def test_methods_of_a_space_make_it_the_context(self):
        one, two = self.pair()
        with two:
            one.exec("import modspace; seen = modspace.context()")
            self.assertIs(one.ns["seen"], one)
            self.assertIs(one.eval("modspace.context()"), one)
            self.assertIs(one.call(modspace.context), one)
            self.assertIs(modspace.context(), two)
        one.ns["two"] = two
        one.exec("with two: seen = modspace.context()")
        self.assertIs(one.ns["seen"], two)

    def test_what_an_import_of_a_parent_calls_has_the_context_of_its_caller(self):
        parent = self.space(path=[*sys.path, "marked"])
        child = self.space(parent)
        seen = []

        def hook(path):
            if path == "marked":
                seen.append(modspace.context())
            raise ImportError
        parent.sys.path_hooks.insert(0, hook)
        parent.exec("def load():\n    try: import missing\n    except ImportError: pass")
        child.call(parent.ns["load"])
        self.assertEqual(seen, [child])

    def test_leaving_without_entering_is_an_error(self):
        with self.assertRaises(RuntimeError):
            self.space().__exit__(None, None, None)

    def test_a_closed_space_cannot_be_entered_and_is_no_context(self):
        space = self.space()
        outer = modspace.context()
        with space:
            pass
        space.discard()
        with self.assertRaises(modspace.SpaceClosedError):
            space.__enter__()
        self.assertIs(modspace.context(), outer)


class Following(SpaceTest):
    def test_each_asyncio_task_has_its_own(self):
        spaces = [self.space(name=str(index)) for index in range(4)]

        async def work(space):
            seen = []
            for _ in range(10):
                with space:
                    await asyncio.sleep(0)
                    seen.append(modspace.context() is space)
                    with spaces[0]:
                        await asyncio.sleep(0)
                        seen.append(modspace.context() is spaces[0])
                    seen.append(modspace.context() is space)
                await asyncio.sleep(0)
            return seen

        async def everything():
            return await asyncio.gather(*(work(space) for space in spaces for _ in range(3)))
        for seen in asyncio.run(everything()):
            self.assertEqual(seen, [True] * 30)

    def test_a_task_starts_with_the_context_of_its_creator(self):
        space = self.space()

        async def child():
            return modspace.context()

        async def main():
            with space:
                task = asyncio.create_task(child())
            return await task
        self.assertIs(asyncio.run(main()), space)

    def test_each_thread_has_its_own(self):
        outer = modspace.context()
        one, two = self.pair()
        barrier = threading.Barrier(2)
        seen = {}

        def work(space):
            before = modspace.context()
            with space:
                barrier.wait()
                seen[space] = modspace.context()
                barrier.wait()
            seen[space.name] = modspace.context() is before
        self.assertEqual(run_threads([lambda: work(one), lambda: work(two)]), [])
        self.assertEqual(seen, {one: one, two: two, "one": True, "two": True})
        self.assertIs(modspace.context(), outer)

    def test_many_threads_enter_one_space_at_once(self):
        space = self.space()

        def work():
            for _ in range(300 * STRESS):
                with space, space:
                    self.assertIs(modspace.context(), space)
        # The collector stops the threads wherever they are, again and again.
        errors = run_threads([work] * 8, collect=True)
        self.assertEqual([repr(error) for error in errors], [])

    def test_a_copied_context_carries_it(self):
        space = self.space()
        outer = modspace.context()
        with space:
            context = contextvars.copy_context()
        self.assertIs(modspace.context(), outer)
        self.assertIs(context.run(modspace.context), space)

    def test_a_called_space_sees_the_context_of_its_caller(self):
        variable = contextvars.ContextVar("variable")
        space = self.space()
        space.ns["variable"] = variable
        space.exec("def read(): return variable.get('unset')")
        token = variable.set("set")
        self.assertEqual(space.ns["read"](), "set")
        variable.reset(token)
        self.assertEqual(contextvars.copy_context().run(space.ns["read"]), "unset")

    def test_an_event_loop_runs_tasks_of_several_spaces(self):
        one, two = self.pair()
        for space in (one, two):
            space.exec("import asyncio, sys\nasync def work(n):\n    for _ in range(n): await asyncio.sleep(0)\n"
                       "    return sys")

        async def both():
            return await asyncio.gather(one.ns["work"](3), two.ns["work"](5))
        self.assertEqual([id(result) for result in asyncio.run(both())], [id(one.sys), id(two.sys)])


class Importing(SpaceTest):
    def setUp(self):
        self.parent = self.space(name="parent", path=[self.tree({
            "framework.py": "import importlib\n"
                            "def load(name): return importlib.import_module(name)\n"
                            "def statement():\n    import plugin\n    return plugin\n"
                            "def nested():\n    import bundle.part.leaf\n    return bundle\n"
                            "def from_package():\n    from bundle.part import leaf\n    return leaf\n"
                            "def from_plugin():\n    from plugin import value\n    return value\n"
                            "def spaces_of_ns():\n    import ns.below\n    return ns.below\n"
                            "def from_ns():\n    from ns import below\n    return below\n",
            "ns/above.py": "", "own.py": "value = 'parent'"})])
        self.child = self.plugin_space("child")
        self.framework = self.child.import_("framework")

    def plugin_space(self, name, parent=None):
        return self.space(parent or self.parent, name=name, path=[self.tree({
            "plugin.py": f"value = {name!r}", "own.py": f"value = {name!r}", "ns/below.py": f"value = {name!r}",
            "bundle/__init__.py": "", "bundle/part/__init__.py": "", "bundle/part/leaf.py": f"value = {name!r}"})])

    def test_code_of_the_parent_imports_what_the_context_space_has(self):
        self.assertIs(self.framework, self.parent.import_("framework"))
        with self.child:
            self.assertIs(self.framework.load("plugin"), self.child.import_("plugin"))
            self.assertIs(self.framework.statement(), self.child.import_("plugin"))
            self.assertEqual(self.framework.from_plugin(), "child")
            self.assertIs(self.framework.nested(), self.child.import_("bundle"))
            self.assertIs(self.framework.nested().part.leaf, self.child.import_("bundle.part.leaf"))
            self.assertIs(self.framework.from_package(), self.child.import_("bundle.part.leaf"))

    def test_nothing_is_kept_above(self):
        before = dict(self.parent.sys.modules)
        with self.child:
            self.framework.statement()
            self.framework.nested()
            self.framework.load("bundle.part")
        self.assertEqual([name for name in self.parent.sys.modules if "plugin" in name or "bundle" in name], [])
        self.assertFalse({"plugin", "bundle", "bundle.part", "bundle.part.leaf"} & set(self.parent.modules))
        for load in (self.framework.statement, self.framework.nested, lambda: self.framework.load("bundle")):
            with self.assertRaises(ModuleNotFoundError):
                load()
        self.assertLessEqual(set(before), set(self.parent.sys.modules))

    def test_each_context_gets_its_own(self):
        other = self.plugin_space("other")
        for space in (self.child, other, self.child):
            with space:
                self.assertEqual(self.framework.statement().value, space.name)
                self.assertEqual(self.framework.from_package().value, space.name)

    def test_what_the_lexical_space_has_goes_first(self):
        with self.child:
            self.assertEqual(self.framework.load("own").value, "parent")

    def test_a_namespace_package_of_the_parent_is_completed_by_the_context(self):
        self.parent.import_("ns.above")
        with self.child:
            self.assertEqual(self.framework.spaces_of_ns().value, "child")
            self.assertEqual(self.framework.from_ns().value, "child")
        self.assertFalse(hasattr(self.parent.import_("ns"), "below"))

    def test_a_space_that_does_not_descend_from_the_importing_one_is_not_asked(self):
        sibling = self.plugin_space("sibling", modspace.current())
        for context in (sibling, modspace.root, self.parent):
            with context, self.assertRaises(ModuleNotFoundError):
                self.framework.statement()
        user = self.space(path=[self.tree({"user.py": "def load():\n    import plugin"})])
        with self.child, self.assertRaises(ModuleNotFoundError):
            user.import_("user").load()

    def test_a_grandchild_serves_all_above_it(self):
        grandchild = self.space(self.child, name="grandchild", path=[self.tree({"deep.py": "value = 'deep'"})])
        with grandchild:
            self.assertEqual(self.framework.load("deep").value, "deep")
            self.assertEqual(self.framework.statement().value, "child")
        for space in (self.parent, self.child):
            self.assertNotIn("deep", space.sys.modules)

    def test_modules_the_context_space_loads_belong_to_it(self):
        with self.child:
            self.assertIs(modspace.space_of(self.framework.statement()), self.child)
        self.assertEqual(self.child.modules["plugin"].state, "ready")
        self.assertIsNone(self.child.modules["plugin"].taken_from)

    def test_an_error_in_the_context_spaces_module_is_raised(self):
        self.child.sys.path.insert(0, self.tree({"broken.py": "1/0"}))
        with self.child, self.assertRaises(ZeroDivisionError):
            self.framework.load("broken")

    def test_a_task_of_the_context_imports_from_it(self):
        other = self.plugin_space("other")

        async def work(space):
            with space:
                await asyncio.sleep(0)
                return self.framework.statement().value

        async def both():
            return await asyncio.gather(work(self.child), work(other))
        self.assertEqual(asyncio.run(both()), ["child", "other"])

    def test_a_space_entered_by_a_method_call_serves_its_parent(self):
        self.child.exec("import framework; found = framework.statement()")
        self.assertEqual(self.child.ns["found"].value, "child")


if __name__ == "__main__":
    unittest.main()
