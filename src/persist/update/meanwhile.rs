//! What other threads do while an update is being prepared. Its plan holds as long as the modules are those that it was made
//! for. (Names that were taken from them meanwhile are seen to afterwards; see `rebind.py`.)

use std::sync::Arc;

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyFunction, PyModule, PyStr, PyStrRef, PyType},
};

use crate::{import::generation::Generation, vm::heap::Stopped};

pub(super) struct Meanwhile {
    generation: Arc<Generation>,
    /// The `sys.modules` of all threads.
    modules: PyObjectRef,
    /// What stands in it under the names that the update is about; nothing where none is loaded.
    seen: Vec<(PyStrRef, Option<PyObjectRef>)>,
    /// The functions and classes that modules of the update have under their own names: what `def` and `class` bind, and
    /// bind anew when a module is reloaded. Other values come and go while a program runs.
    defined: Vec<(PyDictRef, PyStrRef, PyObjectRef)>,
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
        let definitions = |dict: PyDictRef| {
            let items: Vec<_> = dict.clone().into_iter().collect();
            let named = items.into_iter().filter_map(|(name, value)| Some((name.downcast::<PyStr>().ok()?, value)));
            named
                .filter(|(name, value)| is_definition(name, value, vm))
                .map(move |(name, value)| (dict.clone(), name, value))
        };
        self.defined = namespaces.flat_map(definitions).collect();
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
            && self.defined.iter().all(|(dict, name, value)| {
                dict.get_item_opt(&**name, vm).is_ok_and(|now| now.is_some_and(|now| now.is(value)))
            })
    }
}

fn is_same(now: Option<&PyObject>, seen: Option<&PyObject>) -> bool {
    match (now, seen) {
        (Some(now), Some(seen)) => now.is(seen),
        (now, seen) => now.is_none() && seen.is_none(),
    }
}

fn is_definition(name: &Py<PyStr>, value: &PyObject, vm: &VirtualMachine) -> bool {
    if let Some(class) = value.downcast_ref::<PyType>() {
        return name.as_bytes() == class.name().as_bytes();
    }
    // A function's name is asked of native code.
    let own =
        value.downcast_ref::<PyFunction>().and_then(|function| function.as_object().get_attr("__name__", vm).ok());
    own.is_some_and(|own| own.downcast_ref::<PyStr>().is_some_and(|own| own.as_bytes() == name.as_bytes()))
}
