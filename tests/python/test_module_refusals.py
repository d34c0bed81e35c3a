"""Modules that cannot or will not be reloaded, unloaded or imported a second time: it is refused and changes
nothing."""

import importlib.util
import os
import types
import unittest

import modspace
from reloading import Finder, Single, version


class Refusals(Single):
    FILES = {"module.py": version(1), "pkg/__init__.py": "", "pkg/sub.py": ""}

    def test_never_imported(self):
        space, root = self.prepared(self.FILES)
        for operation in self.OPERATIONS:
            for name in ("module", "absent", "pkg.sub", ""):
                self.refused(space, operation, repr(name), ImportError, operation, repr(name).strip("'"), "app")

    def test_forgotten_and_blocked_modules(self):
        space, root = self.prepared(self.FILES)
        space.ns["forgotten"] = space.import_("module")
        del space.sys.modules["module"]
        space.sys.modules["blocked"] = None
        for operation in self.OPERATIONS:
            self.refused(space, operation, "forgotten", ImportError, operation, "module", "sys.modules")
            self.refused(space, operation, "'blocked'", ImportError, operation, "blocked")

    def test_a_module_of_another_space(self):
        space, root = self.prepared(self.FILES)
        other, _ = self.prepared(self.FILES)
        space.ns["foreign"] = other.import_("module")
        for own in (False, True):
            if own:
                space.import_("module")
            for operation in self.OPERATIONS:
                with self.unchanged(other):
                    self.refused(space, operation, "foreign", ImportError, operation, "module", "app")

    def test_a_module_taken_from_the_parent(self):
        parent, root = self.app(self.FILES)
        child = self.space(parent, path=[], name="below")
        child.exec("import modspace, module")
        for operation in self.OPERATIONS:
            for argument in ("module", "'module'"):
                with self.unchanged(parent):
                    self.refused(child, operation, argument, modspace.SpaceError, operation, "module", "below", "app")
                    self.refused(child, operation, f"{argument}, force=True", modspace.SpaceError, operation, "module")

    def test_native_and_platform_modules(self):
        space, root = self.prepared({})
        space.exec("import math, _json, time, os, abc, threading, importlib")
        for operation in self.OPERATIONS:
            for name, what in (("math", "native"), ("_json", "native"), ("time", "native"), ("abc", "platform"),
                               ("threading", "platform")):
                self.refused(space, operation, name, modspace.SpaceError, operation, name, what)
                self.refused(space, operation, f"{name!r}, force=True", modspace.SpaceError, operation, name, what)

    def test_sys_builtins_and_main(self):
        space, root = self.prepared({})
        space.exec("import builtins, importlib, __main__")
        for operation in self.OPERATIONS:
            for name in ("sys", "builtins"):
                self.refused(space, operation, name, modspace.SpaceError, operation, name)
                self.refused(space, operation, f"{name!r}, force=True", modspace.SpaceError, operation, name)
            self.refused(space, operation, "'__main__'", (modspace.SpaceError, ImportError), "__main__")
            self.refused(space, operation, "__main__", (modspace.SpaceError, ImportError), "__main__")

    def test_the_import_system_itself(self):
        space, root = self.prepared({})
        space.exec("import importlib")
        for operation in self.OPERATIONS:
            for name in ("_frozen_importlib", "_frozen_importlib_external", "importlib._bootstrap",
                         "importlib._bootstrap_external"):
                self.refused(space, operation, repr(name), modspace.SpaceError, operation)
        self.assertEqual(space.eval("__import__('json').dumps([1])"), "[1]")

    def test_arguments_of_other_types(self):
        space, root = self.prepared(self.FILES)
        space.import_("module")
        for operation in self.OPERATIONS:
            for argument, kind in (("None", "None"), ("1", "int"), ("b'module'", "bytes"), ("['module']", "list"),
                                   ("object()", "object"), ("modspace.current()", "ModuleSpace")):
                self.refused(space, operation, argument, TypeError, operation, kind)
            for argument in ("", "'module', True, True", "'module', forced=True"):
                self.refused(space, operation, argument, TypeError)
            for force in ("1", "'yes'", "0", "[]"):
                self.refused(space, operation, f"'module', force={force}", TypeError, "force")

    def test_modules_with_odd_names(self):
        space, root = self.prepared(self.FILES)
        space.import_("module")
        for setup in ("odd.__name__ = 5", "del odd.__name__", "odd.__name__ = 'other'", "odd.__spec__ = 5"):
            space.exec(f"odd = type(sys)('odd')\n{setup}")
            for operation in self.OPERATIONS:
                self.refused(space, operation, "odd", (TypeError, ImportError, AttributeError))

    def test_a_module_in_the_middle_of_its_import(self):
        for operation in self.OPERATIONS:
            for name in ("pkg", "pkg.sub"):
                source = f"import modspace\ntry: modspace.{operation}({name!r})\n" \
                         "except ImportError as error: refused = str(error)\n"
                files = {"pkg/__init__.py": source + "from . import sub\n", "pkg/sub.py": ""} if name == "pkg" else \
                    {"pkg/__init__.py": "from . import sub\n", "pkg/sub.py": source}
                with self.subTest(operation=operation, name=name):
                    space, root = self.prepared(files)
                    space.import_("pkg")
                    self.assertIn("middle of its import", space.sys.modules[name].refused)
                    self.assertIn(operation, space.sys.modules[name].refused)
                    self.assertIs(space.import_("pkg.sub"), space.import_("pkg").sub)
                    self.assertEqual(space.modules[name].state, "ready")

    def test_a_package_whose_submodule_is_in_the_middle_of_its_import(self):
        for operation in ("unload", "reimport"):
            with self.subTest(operation=operation):
                space, root = self.prepared({"pkg/__init__.py": "",
                                             "pkg/sub.py": f"import modspace\ntry: modspace.{operation}('pkg')\n"
                                                           "except ImportError as error: refused = str(error)\n"})
                space.import_("pkg")
                self.assertIn("pkg.sub", space.import_("pkg.sub").refused)
                self.assertIs(space.import_("pkg").sub, space.sys.modules["pkg.sub"])

    def test_in_a_closed_space(self):
        space, root = self.prepared({"module.py": "import importlib, modspace\n"
                                                  "def go(operation): return getattr(modspace, operation)('module')"})
        go = space.import_("module").go
        space.discard()
        for operation in ("reload", "reimport"):
            with self.assertRaises(modspace.SpaceClosedError):
                go(operation)
        self.assertEqual(go("unload").modules, ["module"])


class Flags(Single):
    def flagged(self, flags):
        """A space with a module that sets these on its own spec."""
        setting = "".join(f"__spec__.{name} = {value!r}\n" for name, value in flags.items())
        space, root = self.prepared({"module.py": version(1, setting)})
        space.import_("module")
        return space

    def test_a_module_may_refuse(self):
        for operation in self.OPERATIONS:
            flag = f"allow_{operation}"
            space = self.flagged({flag: False})
            self.refused(space, operation, "'module'", modspace.SpaceError, "'module'".strip("'"), flag, "force=True")
            self.refused(space, operation, "'module', force=False", modspace.SpaceError, "module", flag)
            space = self.flagged({flag: False})
            space.eval(f"modspace.{operation}('module', force=True)")
            space = self.flagged({flag: False})
            space.eval(f"modspace.{operation}('module', True)")

    def test_a_flag_speaks_of_its_operation_alone(self):
        for flag in self.OPERATIONS:
            for operation in self.OPERATIONS:
                if operation != flag:
                    with self.subTest(flag=flag, operation=operation):
                        self.flagged({f"allow_{flag}": False}).eval(f"modspace.{operation}('module')")
            self.flagged({f"allow_{flag}": True}).eval(f"modspace.{flag}('module')")

    def test_a_loader_may_set_them(self):
        class Careful(Finder):
            def find_spec(self, name, path=None, target=None):
                spec = super().find_spec(name)
                if spec:
                    spec.allow_reload = spec.allow_unload = spec.allow_reimport = False
                return spec
        space, root = self.prepared({})
        space.sys.meta_path.insert(0, Careful("careful", 1))
        space.import_("careful")
        for operation in self.OPERATIONS:
            self.refused(space, operation, "'careful'", modspace.SpaceError, "careful", f"allow_{operation}")
        first = space.import_("careful")
        self.assertIsNot(space.eval("modspace.reimport('careful', force=True)"), first)
        self.assertIs(space.eval("modspace.reload('careful', force=True)"), first)
        self.assertEqual(space.eval("modspace.unload('careful', force=True)").modules, ["careful"])

    def test_a_spec_made_by_hand(self):
        space, root = self.prepared({"file.py": version(1)})
        spec = importlib.util.spec_from_file_location("made", os.path.join(root, "file.py"))
        spec.allow_unload = False
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        space.sys.modules["made"] = module
        self.refused(space, "unload", "'made'", modspace.SpaceError, "made", "allow_unload")

    def test_a_submodule_may_refuse_for_its_package(self):
        for operation in ("unload", "reimport"):
            space, root = self.prepared({"pkg/__init__.py": "", "pkg/a.py": "",
                                         "pkg/sub.py": f"__spec__.allow_{operation} = False"})
            space.import_("pkg.a"), space.import_("pkg.sub")
            self.refused(space, operation, "'pkg'", modspace.SpaceError, "pkg.sub", f"allow_{operation}")
            space.eval(f"modspace.{operation}('pkg', force=True)")

    def test_misspelt_flags(self):
        for flag in ("allow_relaod", "allow_", "allow_unloading", "allow_Reload"):
            space = self.flagged({flag: True})
            for operation in self.OPERATIONS:
                self.refused(space, operation, "'module'", (ValueError, TypeError, modspace.SpaceError), "module", flag,
                             "allow_reload")

    def test_flags_that_are_no_booleans(self):
        for value in (None, 0, 1, "no", [], 1.0):
            for name in self.OPERATIONS:
                space = self.flagged({f"allow_{name}": value})
                for operation in self.OPERATIONS:
                    self.refused(space, operation, "'module'", TypeError, "module", f"allow_{name}",
                                 type(value).__name__)

    def test_a_module_without_a_spec(self):
        space, root = self.prepared({"module.py": version(1)})
        space.sys.modules["made"] = types.ModuleType("made")
        self.assertEqual(space.eval("modspace.unload('made')").modules, ["made"])


if __name__ == "__main__":
    unittest.main()
