//! Whether a class is what it was.
//!
//! RustPython gives a class a number when something is looked up in it, and takes that away whenever an attribute of the class
//! or of one of its bases is assigned to or deleted; no number comes twice.

use std::sync::atomic::Ordering;

use rustpython_vm::{VirtualMachine, builtins::PyType, identifier};

/// The number that the class has now; `None` when it was changed, and nothing was looked up in it since.
pub(crate) fn get(class: &PyType) -> Option<u32> {
    Some(class.tp_version_tag.load(Ordering::Acquire)).filter(|version| *version != 0)
}

/// [`get`], after a look that gives the class a number. `None` when there are no more of them.
pub(crate) fn give(class: &PyType, vm: &VirtualMachine) -> Option<u32> {
    class.get_attr(identifier!(vm, __module__));
    get(class)
}
