//! The submodules of `modspace`, which are written in Python.
//!
//! `modspace` itself is native, and each space has its own projection of it; these are frozen modules, each space's own
//! when it imports them. They have no `__file__`.

use rustpython_vm::{PyRef, VirtualMachine, builtins::PyCode, frozen::FrozenCodeObject, py_compile};

use crate::vm::code;

/// A module of the library.
pub(crate) struct Source {
    name: &'static str,
    frozen: fn() -> FrozenCodeObject<&'static [u8]>,
    pub(crate) is_package: bool,
}

macro_rules! sources {
    ($($name:literal $kind:ident $file:tt),* $(,)?) => {
        &[$(Source {
            name: concat!("modspace.", $name),
            frozen: || {
                // Cargo does not see that the macro reads it.
                const _: &[u8] = include_bytes!($file);
                py_compile!(file = $file)
            },
            is_package: sources!($kind),
        }),*]
    };
    (package) => { true };
    (module) => { false };
}

const SOURCES: &[Source] = sources![
    "pytest" module "../../spaces/testing/plugin.py",
    "testing" package "../../spaces/testing/__init__.py",
    "testing.changes" module "../../spaces/testing/changes.py",
    "testing.coverage" module "../../spaces/testing/coverage.py",
    "testing.coverage_file" module "../../spaces/testing/coverage_file.py",
    "testing.coverage_settings" module "../../spaces/testing/coverage_settings.py",
    "testing.display" module "../../spaces/testing/display.py",
    "testing.files" module "../../spaces/testing/files.py",
    "testing.leftovers" module "../../spaces/testing/leftovers.py",
    "testing.modules" module "../../spaces/testing/modules.py",
    "testing.nested" module "../../spaces/testing/nested.py",
    "testing.pollution" module "../../spaces/testing/pollution.py",
    "testing.results" module "../../spaces/testing/results.py",
    "testing.runner" module "../../spaces/testing/runner.py",
    "testing.search" module "../../spaces/testing/search.py",
    "testing.start" module "../../spaces/testing/start.py",
    "testing.state" module "../../spaces/testing/state.py",
    "testing.unittest_files" module "../../spaces/testing/unittest_files.py",
    "testing.unittests" module "../../spaces/testing/unittests.py",
    "testing.watch" module "../../spaces/testing/watch.py",
    "testing.workers" module "../../spaces/testing/workers.py",
];

/// The source of the module `name`, if it is one of these.
pub(crate) fn source(name: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.name == name)
}

impl Source {
    /// Its code. Nobody has executed it.
    pub(crate) fn code(&self, vm: &VirtualMachine) -> PyRef<PyCode> {
        let code = PyCode::new_ref_from_frozen(vm, (self.frozen)());
        code::set_path(&code, vm.ctx.intern_str(format!("<frozen {}>", self.name)));
        code
    }
}
