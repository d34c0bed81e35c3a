//! The submodules of `modspace`, which are written in Python.
//!
//! `modspace` itself is native, and each space has its own projection of it; these are frozen modules, each space's own
//! when it imports them. They have no `__file__`.

use rustpython_vm::{PyRef, PyResult, VirtualMachine, builtins::PyCode, compiler::Mode};

/// A module of the library.
pub(crate) struct Source {
    name: &'static str,
    text: &'static str,
    pub(crate) is_package: bool,
}

macro_rules! sources {
    ($($name:literal $kind:ident $file:literal),* $(,)?) => {
        &[$(Source {
            name: concat!("modspace.", $name),
            text: include_str!(concat!("../../spaces/", $file)),
            is_package: sources!($kind),
        }),*]
    };
    (package) => { true };
    (module) => { false };
}

const SOURCES: &[Source] = sources![
    "pytest" module "testing/plugin.py",
    "testing" package "testing/__init__.py",
    "testing.changes" module "testing/changes.py",
    "testing.coverage" module "testing/coverage.py",
    "testing.coverage_file" module "testing/coverage_file.py",
    "testing.coverage_settings" module "testing/coverage_settings.py",
    "testing.display" module "testing/display.py",
    "testing.files" module "testing/files.py",
    "testing.leftovers" module "testing/leftovers.py",
    "testing.modules" module "testing/modules.py",
    "testing.nested" module "testing/nested.py",
    "testing.pollution" module "testing/pollution.py",
    "testing.results" module "testing/results.py",
    "testing.runner" module "testing/runner.py",
    "testing.search" module "testing/search.py",
    "testing.start" module "testing/start.py",
    "testing.state" module "testing/state.py",
    "testing.unittest_files" module "testing/unittest_files.py",
    "testing.unittests" module "testing/unittests.py",
    "testing.watch" module "testing/watch.py",
    "testing.workers" module "testing/workers.py",
];

/// The source of the module `name`, if it is one of these.
pub(crate) fn source(name: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.name == name)
}

impl Source {
    /// Its code. Nobody has executed it.
    pub(crate) fn compile(&self, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
        let file = format!("<frozen {}>", self.name);
        vm.compile(self.text, Mode::Exec, &file).map_err(|error| error.into_pyexception(vm, Some(self.text)))
    }
}
