//! Reports, in Python.

use rustpython_vm::{Py, PyObjectRef, PyPayload, PyResult, VirtualMachine, pyclass, types::Representable};

use crate::{lifecycle, vm::native::payload};

/// An object of a discarded space that something outside holds.
#[pyclass(module = "modspace", name = "Held")]
pub(crate) struct Held(lifecycle::Held);
payload!(Held);

impl From<lifecycle::Held> for Held {
    fn from(held: lifecycle::Held) -> Self {
        Self(held)
    }
}

#[pyclass(with(Representable))]
impl Held {
    /// What is held: "plugin.Handler".
    #[pygetset]
    fn object(zelf: &Py<Self>) -> String {
        zelf.0.object.clone()
    }

    /// Its class: "function", "type", "module", or the class of an instance.
    #[pygetset]
    fn kind(zelf: &Py<Self>) -> String {
        zelf.0.kind.clone()
    }

    /// From a root outside to the object: "root: app.registry['x']".
    #[pygetset]
    fn path(zelf: &Py<Self>) -> String {
        zelf.0.path.clone()
    }

    /// How many references the path has.
    #[pygetset]
    fn length(zelf: &Py<Self>) -> usize {
        zelf.0.length
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}

impl Representable for Held {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<Held {}>", zelf.0))
    }
}

/// A thread that stays inside a discarded space.
#[pyclass(module = "modspace", name = "StayingThread")]
pub(crate) struct StayingThread(lifecycle::StayingThread);
payload!(StayingThread);

#[pyclass(with(Representable))]
impl StayingThread {
    /// `threading.Thread.name`.
    #[pygetset]
    fn name(zelf: &Py<Self>) -> String {
        zelf.0.name.clone()
    }

    /// `threading.get_ident()` of the thread.
    #[pygetset]
    fn ident(zelf: &Py<Self>) -> u64 {
        zelf.0.ident
    }

    /// Its Python stack, as a traceback shows one.
    #[pygetset]
    fn stack(zelf: &Py<Self>) -> String {
        zelf.0.stack.clone()
    }
}

impl Representable for StayingThread {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<StayingThread {:?}>", zelf.0.name))
    }
}

/// What came of unloading a module.
#[pyclass(module = "modspace", name = "UnloadReport")]
pub(crate) struct UnloadReport(lifecycle::UnloadReport);
payload!(UnloadReport);

impl From<lifecycle::UnloadReport> for UnloadReport {
    fn from(report: lifecycle::UnloadReport) -> Self {
        Self(report)
    }
}

#[pyclass(with(Representable))]
impl UnloadReport {
    /// The modules that were unloaded: the one named, and its submodules.
    #[pygetset]
    fn modules(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        names(&zelf.0.modules, vm)
    }

    /// How many container objects were freed.
    #[pygetset]
    fn objects(zelf: &Py<Self>) -> usize {
        zelf.0.objects
    }

    /// What is still held of them, shortest path first.
    #[pygetset]
    fn held(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        held(&zelf.0.held, vm)
    }

    /// Whether nothing is left of them.
    #[pygetset]
    fn clean(zelf: &Py<Self>) -> bool {
        zelf.0.held.is_empty()
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}

impl Representable for UnloadReport {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<UnloadReport of {}: {} held>", zelf.0.modules.join(", "), zelf.0.held.len()))
    }
}

fn held(held: &[lifecycle::Held], vm: &VirtualMachine) -> Vec<PyObjectRef> {
    held.iter().map(|held| Held(held.clone()).into_ref(&vm.ctx).into()).collect()
}

fn names(names: &[String], vm: &VirtualMachine) -> Vec<PyObjectRef> {
    names.iter().map(|name| vm.ctx.new_str(name.as_str()).into()).collect()
}

/// What reloading a space changed.
#[pyclass(module = "modspace", name = "ReloadReport")]
pub(crate) struct ReloadReport(lifecycle::ReloadReport);
payload!(ReloadReport);

impl From<lifecycle::ReloadReport> for ReloadReport {
    fn from(report: lifecycle::ReloadReport) -> Self {
        Self(report)
    }
}

#[pyclass(with(Representable))]
impl ReloadReport {
    /// The space's name.
    #[pygetset]
    fn space(zelf: &Py<Self>) -> String {
        zelf.0.space.clone()
    }

    /// The number of the new generation.
    #[pygetset]
    fn generation(zelf: &Py<Self>) -> u64 {
        zelf.0.generation
    }

    /// Modules that the new generation has loaded and the old one had not.
    #[pygetset]
    fn added(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        names(&zelf.0.added, vm)
    }

    /// Modules that the old generation had loaded and the new one loads when something imports them.
    #[pygetset]
    fn removed(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        names(&zelf.0.removed, vm)
    }

    /// Modules of both whose source differs.
    #[pygetset]
    fn changed(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        names(&zelf.0.changed, vm)
    }

    /// Modules of both with the same source, or without any.
    #[pygetset]
    fn unchanged(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        names(&zelf.0.unchanged, vm)
    }

    /// Seconds until the new generation was in place.
    #[pygetset]
    fn duration(zelf: &Py<Self>) -> f64 {
        zelf.0.duration.as_secs_f64()
    }

    /// The DiscardReport of the old generation; None while threads still run in it.
    #[pygetset]
    fn old(zelf: &Py<Self>, vm: &VirtualMachine) -> Option<PyObjectRef> {
        zelf.0.old.clone().map(|old| DiscardReport(old).into_ref(&vm.ctx).into())
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}

impl Representable for ReloadReport {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<ReloadReport of {:?}: generation {}>", zelf.0.space, zelf.0.generation))
    }
}

/// What came of discarding a space.
#[pyclass(module = "modspace", name = "DiscardReport")]
pub(crate) struct DiscardReport(lifecycle::DiscardReport);
payload!(DiscardReport);

impl From<lifecycle::DiscardReport> for DiscardReport {
    fn from(report: lifecycle::DiscardReport) -> Self {
        Self(report)
    }
}

#[pyclass(with(Representable))]
impl DiscardReport {
    /// The space's name.
    #[pygetset]
    fn space(zelf: &Py<Self>) -> String {
        zelf.0.space.clone()
    }

    /// The number of the generation that ended; 0 when the space had been discarded before.
    #[pygetset]
    fn generation(zelf: &Py<Self>) -> u64 {
        zelf.0.generation
    }

    /// How many container objects were freed.
    #[pygetset]
    fn objects(zelf: &Py<Self>) -> usize {
        zelf.0.objects
    }

    /// Their size in bytes, an estimate from below.
    #[pygetset]
    fn bytes(zelf: &Py<Self>) -> usize {
        zelf.0.bytes
    }

    /// Seconds it took, waiting and callbacks included.
    #[pygetset]
    fn duration(zelf: &Py<Self>) -> f64 {
        zelf.0.duration.as_secs_f64()
    }

    /// Threads that were still inside when the time was up.
    #[pygetset]
    fn threads(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.0.threads.iter().map(|thread| StayingThread(thread.clone()).into_ref(&vm.ctx).into()).collect()
    }

    /// What something outside still holds, shortest path first.
    #[pygetset]
    fn held(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        held(&zelf.0.held, vm)
    }

    /// Whether nothing is left of the space.
    #[pygetset]
    fn clean(zelf: &Py<Self>) -> bool {
        zelf.0.is_clean()
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}

impl Representable for DiscardReport {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        let report = &zelf.0;
        Ok(format!(
            "<DiscardReport of {:?}: {} objects freed, {} held, {} threads inside>",
            report.space,
            report.objects,
            report.held.len(),
            report.threads.len()
        ))
    }
}
