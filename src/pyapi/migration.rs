//! Functions that convert instances when their class is updated.

use rustpython_vm::{Py, PyResult, VirtualMachine, pyclass, types::Representable};

use super::shared;
use crate::{import::generation::SpaceId, vm::native::payload};

/// What `ModuleSpace.migrate` registered.
#[pyclass(module = "modspace", name = "Migration")]
pub(crate) struct Migration {
    pub(super) space: SpaceId,
    pub(super) number: u64,
    pub(super) class: String,
}
payload!(Migration);

impl Representable for Migration {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<Migration of {}>", zelf.class))
    }
}

#[pyclass(with(Representable))]
impl Migration {
    /// Module and qualified name of the class.
    #[pygetset(name = "class_name")]
    fn class_name(zelf: &Py<Self>) -> String {
        zelf.class.clone()
    }

    /// Ends it: later updates do not call the function. What an update before has left to be converted is converted.
    /// Returns whether it was registered still.
    #[pymethod]
    fn cancel(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<bool> {
        let generation = shared(vm)?.node(zelf.space).and_then(|node| node.current());
        Ok(generation.is_some_and(|generation| generation.state.migrations.remove(zelf.number)))
    }
}
