//! Whether a copy of importlib is what it was made as.
//!
//! What is done natively in the place of functions of the copy is right as long as these, and what they call, are the copy's own.

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyStrInterned, PyType},
};

use crate::vm::class_version;

/// What some names of dicts stand for, and how the classes among these are.
pub(crate) struct Untouched(Vec<Noted>);

struct Noted {
    dict: PyDictRef,
    name: &'static PyStrInterned,
    value: PyObjectRef,
    /// A class, with the version that it has as long as nobody changes it or its bases.
    class: Option<(PyRef<PyType>, Option<u32>)>,
}

impl Noted {
    fn holds(&self, vm: &VirtualMachine) -> bool {
        let is_same = self.dict.get_item_opt(self.name, vm).is_ok_and(|now| now.is_some_and(|now| now.is(&self.value)));
        let is_as_before = |(class, version): &(PyRef<PyType>, Option<u32>)| {
            version.is_some() && class_version::get(class) == *version
        };
        is_same && self.class.as_ref().is_none_or(is_as_before)
    }
}

impl Untouched {
    /// Notes what the names stand for now.
    pub(crate) fn note(dict: &PyDictRef, names: &[&'static str], vm: &VirtualMachine) -> PyResult<Self> {
        let note = |name: &&'static str| {
            let name = vm.ctx.intern_str(*name);
            let value = dict.get_item(name, vm)?;
            let class = value.clone().downcast::<PyType>().ok().map(|class| {
                let version = class_version::give(&class, vm);
                (class, version)
            });
            Ok(Noted { dict: dict.clone(), name, value, class })
        };
        names.iter().map(note).collect::<PyResult<_>>().map(Self)
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether all of it is as it was noted.
    pub(crate) fn holds(&self, vm: &VirtualMachine) -> bool {
        self.0.iter().all(|noted| noted.holds(vm))
    }
}
