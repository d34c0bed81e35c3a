//! The class `UpdateReport`.

use rustpython_vm::{Py, PyObjectRef, PyResult, VirtualMachine, pyclass, types::Representable};

use super::convert::{id_object, texts};
use crate::{persist, vm::native::payload};

/// What an update of a space did, or would do.
#[pyclass(module = "modspace", name = "UpdateReport")]
pub(crate) struct UpdateReport(pub(super) persist::UpdateReport);
payload!(UpdateReport);

impl Representable for UpdateReport {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<UpdateReport: {} modules updated>", zelf.0.modules.len()))
    }
}

#[pyclass(with(Representable))]
impl UpdateReport {
    fn paths(&self, kind: persist::UpdateKind, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(self.0.entries.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.path), vm)
    }

    /// The commit that the space saw before, or None.
    #[pygetset]
    fn old_commit(zelf: &Py<Self>, vm: &VirtualMachine) -> PyObjectRef {
        id_object(zelf.0.from, vm)
    }

    /// The commit that it sees then, or None.
    #[pygetset]
    fn commit(zelf: &Py<Self>, vm: &VirtualMachine) -> PyObjectRef {
        id_object(zelf.0.to, vm)
    }

    /// The loaded modules that are updated.
    #[pygetset]
    fn modules(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(&zelf.0.modules, vm)
    }

    /// The loaded modules that go.
    #[pygetset]
    fn removed(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(&zelf.0.removed, vm)
    }

    /// Names that have another value, or whose object takes what the new source says.
    #[pygetset]
    fn updated(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Updated, vm)
    }

    /// New names.
    #[pygetset]
    fn added(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Added, vm)
    }

    /// Names that go.
    #[pygetset]
    fn deleted(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Deleted, vm)
    }

    /// Names in other modules that were imported and get the new value.
    #[pygetset]
    fn rebound(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Rebound, vm)
    }

    /// What cannot be updated in place and has a new object in its place.
    #[pygetset]
    fn replaced(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Replaced, vm)
    }

    /// What cannot be updated in place.
    #[pygetset]
    fn refused(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Refused, vm)
    }

    /// All entries: triples of kind, path and reason.
    #[pygetset]
    fn entries(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let entries = zelf.0.entries.iter();
        entries
            .map(|entry| {
                vm.ctx.new_tuple(vec![text(entry.kind.as_str()), text(&entry.path), text(&entry.detail)]).into()
            })
            .collect()
    }

    /// How long it took, in seconds.
    #[pygetset]
    fn duration(zelf: &Py<Self>) -> f64 {
        zelf.0.duration.as_secs_f64()
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}
