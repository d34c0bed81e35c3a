//! Objects that are neither functions nor classes and keep their identity in an update; see `spaces/boot/adopt.py`.

use rustpython_vm::{Py, PyObjectRef, PyResult, VirtualMachine, builtins::PyType, function::PyMethodDef};

use super::effects::platform_module;
use crate::{
    import::generation::Generation,
    vm::{heap::Stopped, native::def},
};

const ADOPT: &str = include_str!("../../spaces/boot/adopt.py");

pub(super) fn module(generation: &Generation, vm: &VirtualMachine) -> PyResult {
    platform_module(generation, "modspace.adopt", ADOPT, &[&INSTANCES], vm)
}

static INSTANCES: PyMethodDef = def("instances", instances);

/// The instances of the classes, and of what derives from them.
fn instances(_none: PyObjectRef, classes: Vec<PyObjectRef>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
    let classes: Vec<&Py<PyType>> = classes.iter().filter_map(|class| class.downcast_ref()).collect();
    let found = {
        let world = Stopped::new(vm);
        world.instances(&classes)
    };
    found.into_iter().flatten().collect()
}
