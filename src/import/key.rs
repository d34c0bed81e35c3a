//! What built-in functions of a space are bound to.

use std::sync::{Arc, OnceLock};

use rustpython_vm::{
    Context, Py, PyPayload, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyType},
    pyclass,
};

use super::generation::{Generation, WeakGeneration};

/// Leads from a built-in function to its space, and does not keep the space.
#[pyclass(module = "modspace", name = "SpaceReference")]
pub(crate) struct SpaceKey {
    generation: OnceLock<WeakGeneration>,
    name: String,
}

impl std::fmt::Debug for SpaceKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SpaceKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PyPayload for SpaceKey {
    fn class(_ctx: &Context) -> &'static Py<PyType> {
        use rustpython_vm::class::StaticType;
        Self::static_type()
    }
}

#[pyclass]
impl SpaceKey {
    pub(crate) fn new(name: &str) -> Self {
        Self { generation: OnceLock::new(), name: name.to_owned() }
    }

    pub(crate) fn set(&self, generation: &Arc<Generation>) {
        let set = self.generation.set(Arc::downgrade(generation));
        debug_assert!(set.is_ok(), "a key belongs to one generation");
    }

    /// The generation, or `SpaceClosedError` when it is gone.
    pub(crate) fn get(&self, vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
        self.generation.get().and_then(std::sync::Weak::upgrade).ok_or_else(|| self.closed(vm))
    }

    /// `SpaceClosedError`, naming the space.
    pub(crate) fn closed(&self, vm: &VirtualMachine) -> PyBaseExceptionRef {
        let error = crate::error::Error::Closed { name: self.name.clone() };
        let class = super::generation::Shared::of(vm).map(|shared| shared.closed_error.clone());
        let class = class.unwrap_or_else(|| vm.ctx.exceptions.runtime_error.to_owned());
        vm.new_exception_msg(class, error.to_string().into())
    }
}
