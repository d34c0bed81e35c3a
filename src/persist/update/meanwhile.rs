//! What other threads do while an update is being prepared. Its plan holds as long as the modules are those that it was made
//! for. (Names that were taken from them meanwhile are seen to afterwards; see `rebind.py`.)

use std::sync::Arc;

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyFunction, PyModule, PyStrRef, PyType},
};

use crate::{import::generation::Generation, vm::heap::Stopped};

pub(super) struct Meanwhile {
    generation: Arc<Generation>,
    /// The `sys.modules` of all threads.
    modules: PyObjectRef,
    /// What stands in it under the names that the update is about; nothing where none is loaded.
    seen: Vec<(PyStrRef, Option<PyObjectRef>)>,
    /// The functions and classes in the namespaces of modules that are updated, in order. Other values come and go while a
    /// program runs.
    defined: Vec<(PyDictRef, Vec<PyObjectRef>)>,
}

impl Meanwhile {
    pub(super) fn new(
        generation: &Arc<Generation>,
        modules: &PyObjectRef,
        seen: Vec<(PyStrRef, Option<PyObjectRef>)>,
    ) -> Self {
        Self { generation: Arc::clone(generation), modules: modules.clone(), seen, defined: Vec::new() }
    }

    /// To be called before a plan is made, with the modules that are updated, and the new ones that come with them.
    pub(super) fn begin_plan(&mut self, olds: &[PyObjectRef], added: &[(String, PyObjectRef)], vm: &VirtualMachine) {
        self.seen.extend(added.iter().map(|(name, _)| (vm.ctx.new_str(&**name), None)));
        let namespaces = olds.iter().filter_map(|old| Some(old.downcast_ref::<PyModule>()?.dict()));
        self.defined = namespaces.map(|dict| (dict.clone(), defined(&dict).collect())).collect();
    }

    /// Whether the modules are those that were seen, as far as that can only be asked while other threads run: a program
    /// may have a `sys.modules` of its own kind, and may assign another one.
    pub(super) fn is_as_seen(&self, vm: &VirtualMachine) -> PyResult<bool> {
        if !self.generation.common_modules(vm)?.is(&self.modules) {
            return Ok(false);
        }
        if self.modules.downcast_ref::<PyDict>().is_some() {
            return Ok(true);
        }
        for (name, seen) in &self.seen {
            let now = match self.modules.get_item(&**name, vm) {
                Ok(now) => Some(now),
                Err(error) if error.fast_isinstance(vm.ctx.exceptions.key_error) => None,
                Err(error) => return Err(error),
            };
            if !is_same(now.as_deref(), seen.as_deref()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the modules are those that were seen, and define what they did.
    pub(super) fn is_unchanged(&self, _world: &Stopped<'_>, vm: &VirtualMachine) -> bool {
        let is_as_seen = |modules: &Py<PyDict>, (name, seen): &(PyStrRef, Option<PyObjectRef>)| {
            modules.get_item_opt(&**name, vm).is_ok_and(|now| is_same(now.as_deref(), seen.as_deref()))
        };
        let modules = self.modules.downcast_ref::<PyDict>();
        modules.is_none_or(|modules| self.seen.iter().all(|entry| is_as_seen(modules, entry)))
            && self.defined.iter().all(|(dict, before)| {
                let mut now = defined(dict);
                before.iter().all(|before| now.next().is_some_and(|now| now.is(before))) && now.next().is_none()
            })
    }
}

fn is_same(now: Option<&PyObject>, seen: Option<&PyObject>) -> bool {
    match (now, seen) {
        (Some(now), Some(seen)) => now.is(seen),
        (now, seen) => now.is_none() && seen.is_none(),
    }
}

fn defined(dict: &PyDictRef) -> impl Iterator<Item = PyObjectRef> {
    let is_definition =
        |value: &PyObjectRef| value.downcast_ref::<PyFunction>().is_some() || value.downcast_ref::<PyType>().is_some();
    dict.clone().into_iter().map(|(_, value)| value).filter(is_definition)
}
