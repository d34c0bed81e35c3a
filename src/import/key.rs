//! What built-in functions of a space are bound to.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustpython_vm::{
    PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyStrRef},
    function::{FuncArgs, PyMethodDef},
    pyclass,
};

use super::generation::{Generation, WeakGeneration};
use crate::vm::native::{bind, def, payload};

/// Leads from a built-in function to its space. It keeps the space once that is closed, and only then: a closed space
/// lives as long as something of it does.
#[pyclass(module = "modspace", name = "SpaceReference")]
pub(crate) struct SpaceKey {
    generation: OnceLock<WeakGeneration>,
    kept: Mutex<Option<Arc<Generation>>>,
    name: String,
}

payload!(SpaceKey);

#[pyclass]
impl SpaceKey {
    pub(crate) fn new(name: &str) -> Self {
        Self { generation: OnceLock::new(), kept: Mutex::default(), name: name.to_owned() }
    }

    pub(crate) fn set(&self, generation: &Arc<Generation>) {
        let set = self.generation.set(Arc::downgrade(generation));
        debug_assert!(set.is_ok(), "a key belongs to one generation");
    }

    /// Keeps the generation, or lets go of it.
    pub(crate) fn keep(&self, generation: Option<Arc<Generation>>) {
        let replaced = std::mem::replace(&mut *self.kept.lock(), generation);
        drop(replaced);
    }

    /// The generation, or `SpaceClosedError` when it is gone.
    pub(crate) fn get(&self, vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
        self.generation.get().and_then(std::sync::Weak::upgrade).ok_or_else(|| closed(&self.name, vm))
    }
}

/// `SpaceClosedError`, naming the space.
pub(crate) fn closed(name: &str, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let error = crate::error::Error::Closed { name: name.to_owned() };
    let class = super::generation::Shared::of(vm).map(|shared| shared.closed_error.clone());
    let class = class.unwrap_or_else(|| vm.ctx.exceptions.runtime_error.to_owned());
    vm.new_exception_msg(class, error.to_string().into())
}

static CLOSED: PyMethodDef = def("closed", raise_closed);

/// A built-in function that raises `SpaceClosedError`, whatever it is called with.
pub(crate) fn closed_function(name: &str, vm: &VirtualMachine) -> PyObjectRef {
    bind(&CLOSED, vm.ctx.new_str(name), vm)
}

fn raise_closed(space: PyStrRef, _args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    Err(closed(&space.to_string_lossy(), vm))
}
