//! `ModuleInfo`: a row of the module table, in Python.

use std::{sync::Arc, time::UNIX_EPOCH};

use rustpython_vm::{Py, PyObjectRef, PyResult, VirtualMachine, builtins::PyStr, pyclass, types::Representable};

use crate::{
    import::{generation::Node, table::ModuleRecord},
    vm::native::payload,
};

/// What a space knows of one module, at the moment it was asked.
#[pyclass(module = "modspace", name = "ModuleInfo")]
pub(crate) struct ModuleInfo {
    name: String,
    node: Arc<Node>,
    record: ModuleRecord,
}

payload!(ModuleInfo);

impl ModuleInfo {
    pub(crate) const fn new(name: String, node: Arc<Node>, record: ModuleRecord) -> Self {
        Self { name, node, record }
    }
}

#[pyclass(with(Representable))]
impl ModuleInfo {
    /// The module's name in `sys.modules`.
    #[pygetset]
    fn name(zelf: &Py<Self>) -> String {
        zelf.name.clone()
    }

    /// "initialising", "ready", "failed" or "unloaded".
    #[pygetset]
    fn state(zelf: &Py<Self>) -> &'static str {
        zelf.record.state.as_str()
    }

    /// `spec.origin`.
    #[pygetset]
    fn origin(zelf: &Py<Self>) -> Option<String> {
        zelf.record.origin.clone()
    }

    /// The class name of the spec's loader.
    #[pygetset]
    fn loader(zelf: &Py<Self>) -> Option<String> {
        zelf.record.loader.clone()
    }

    /// The module's `__spec__` now, or None when it is not in the space's `sys.modules`.
    #[pygetset]
    fn spec(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        let Some(generation) = zelf.node.current() else { return Ok(vm.ctx.none()) };
        match generation.loaded(&vm.ctx.new_str(zelf.name.as_str()), vm)? {
            Some(module) => Ok(vm.get_attribute_opt(&module, "__spec__")?.unwrap_or_else(|| vm.ctx.none())),
            None => Ok(vm.ctx.none()),
        }
    }

    /// The name of the space it was taken from, or None when the space loaded it itself.
    #[pygetset]
    fn taken_from(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Option<String>> {
        let shared = super::shared(vm)?;
        Ok(zelf.record.from.and_then(|id| shared.node(id)).map(|node| node.name.clone()))
    }

    /// Seconds it took to find and execute, its own imports included.
    #[pygetset]
    fn load_time(zelf: &Py<Self>) -> f64 {
        zelf.record.load_time.as_secs_f64()
    }

    /// When loading began, in seconds since the epoch.
    #[pygetset]
    fn loaded_at(zelf: &Py<Self>) -> f64 {
        zelf.record.loaded_at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    /// Who imported it: a list of `(module, names)`, with no names for `import m`.
    #[pygetset]
    fn importers(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let tuple = |names: &[String]| {
            vm.ctx.new_tuple(names.iter().map(|name| vm.ctx.new_str(name.as_str()).into()).collect())
        };
        let importers = zelf.record.importers.iter();
        importers
            .map(|importer| {
                let module: PyObjectRef = vm.ctx.new_str(importer.module.as_str()).into();
                vm.ctx.new_tuple(vec![module, tuple(&importer.names).into()]).into()
            })
            .collect()
    }

    /// BLAKE3 of the source file's bytes, in hexadecimal; None when it was not loaded from a file.
    #[pygetset]
    fn source_hash(zelf: &Py<Self>) -> Option<String> {
        zelf.record.source_hash.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string())
    }
}

impl Representable for ModuleInfo {
    fn repr_str(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<String> {
        let name: PyObjectRef = vm.ctx.new_str(zelf.name.as_str()).into();
        let name = name.repr(vm)?;
        let name: &PyStr = &name;
        Ok(format!(
            "<ModuleInfo {} {} in space '{}'>",
            name.to_string_lossy(),
            zelf.record.state.as_str(),
            zelf.node.name
        ))
    }
}
