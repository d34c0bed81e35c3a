//! Whether a copy of importlib is what it was made as.
//!
//! What is done natively in the place of functions of the copy is right as long as these, and what they call, are the
//! copy's own, with the code that they had.

use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyFunction, PyStrInterned, PyType},
};

use crate::vm::class_version;

/// What some names of dicts stand for, and how the functions and classes among these are.
#[derive(Default)]
pub(crate) struct Untouched {
    values: Vec<(PyDictRef, &'static PyStrInterned, PyObjectRef)>,
    /// Each with the version that it has as long as nobody changes it or its bases.
    classes: Vec<(PyRef<PyType>, Option<u32>)>,
    /// Each with the version that it has as long as nobody gives it other code or defaults; 0 is none.
    functions: Vec<(PyRef<PyFunction>, u32)>,
}

impl Untouched {
    /// Notes what the names stand for now.
    pub(crate) fn note(dict: &PyDictRef, names: &[&'static str], vm: &VirtualMachine) -> PyResult<Self> {
        let mut noted = Self::default();
        for name in names {
            let name = vm.ctx.intern_str(*name);
            let value = dict.get_item(name, vm)?;
            if let Some(class) = value.downcast_ref::<PyType>() {
                noted.classes.push((class.to_owned(), class_version::give(class, vm)));
                for (_, attribute) in class.attributes.entries() {
                    noted.note_function(&attribute, vm)?;
                }
            }
            noted.note_function(&value, vm)?;
            noted.values.push((dict.clone(), name, value));
        }
        Ok(noted)
    }

    /// Notes the function that a value is, or that a method or property has.
    fn note_function(&mut self, value: &PyObject, vm: &VirtualMachine) -> PyResult<()> {
        let mut function = value.to_owned().downcast::<PyFunction>().ok();
        if [vm.ctx.types.classmethod_type, vm.ctx.types.staticmethod_type].iter().any(|class| value.class().is(*class))
        {
            function = value.get_attr("__func__", vm)?.downcast().ok();
        } else if value.class().is(vm.ctx.types.property_type) {
            function = value.get_attr("fget", vm)?.downcast().ok();
        }
        self.functions.extend(function.map(|function| {
            let version = function.get_version_for_current_state();
            (function, version)
        }));
        Ok(())
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.values.extend(other.values);
        self.classes.extend(other.classes);
        self.functions.extend(other.functions);
        self
    }

    /// Whether all of it is as it was noted.
    pub(crate) fn holds(&self, vm: &VirtualMachine) -> bool {
        let stands = |(dict, name, value): &(PyDictRef, &'static PyStrInterned, PyObjectRef)| {
            dict.get_item_opt(*name, vm).is_ok_and(|now| now.is_some_and(|now| now.is(value)))
        };
        self.values.iter().all(stands)
            && self.classes.iter().all(|(class, version)| version.is_some() && class_version::get(class) == *version)
            && self.functions.iter().all(|(function, version)| *version != 0 && function.func_version() == *version)
    }
}
