//! Objects that are neither functions nor classes and keep their identity in an update; see `spaces/boot/update/adopt.py`.

use rustpython_vm::{Py, PyObjectRef, VirtualMachine, builtins::PyType, function::PyMethodDef};

use crate::vm::{heap::Stopped, native::def};

pub(super) static INSTANCES: PyMethodDef = def("instances", instances);

/// The instances of the classes, and of what derives from them.
fn instances(_none: PyObjectRef, classes: Vec<PyObjectRef>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
    let classes: Vec<&Py<PyType>> = classes.iter().filter_map(|class| class.downcast_ref()).collect();
    let found = {
        let world = Stopped::new(vm);
        world.instances(&classes)
    };
    found.into_iter().flatten().collect()
}
