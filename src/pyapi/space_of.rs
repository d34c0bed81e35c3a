//! Which space an object belongs to.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObject, PyResult, VirtualMachine,
    builtins::{PyDict, PyModule, PyStr, PyType},
};

use super::ModuleSpace;
use crate::import::generation::{Generation, Node, Shared};

/// Where the function of a callable, coroutine, generator or frame is found.
const LEADS: [&str; 6] = ["__func__", "__wrapped__", "gi_frame", "cr_frame", "ag_frame", "func"];

/// The space of `object`; `None` for native and platform objects, which belong to no space.
pub(crate) fn space_of(shared: &Arc<Shared>, object: &PyObject, vm: &VirtualMachine) -> PyResult<Option<Arc<Node>>> {
    if let Some(space) = object.downcast_ref::<ModuleSpace>() {
        return Ok(space.node.get().cloned());
    }
    if let Some(module) = object.downcast_ref::<PyModule>() {
        return of_module(shared, object, module, vm);
    }
    if let Some(class) = object.downcast_ref::<PyType>() {
        return of_class(shared, class.as_object(), vm);
    }
    for name in ["__builtins__", "f_builtins"] {
        if let Some(builtins) = vm.get_attribute_opt(object, name)? {
            return Ok(Generation::of_builtins(&builtins).map(|generation| Arc::clone(&generation.node)));
        }
    }
    for name in LEADS {
        if let Some(next) = vm.get_attribute_opt(object, name)?
            && !vm.is_none(&next)
        {
            return space_of(shared, &next, vm);
        }
    }
    of_class(shared, object.class().as_object(), vm)
}

fn generations(shared: &Shared) -> Vec<Arc<Generation>> {
    shared.tree.read().values().filter_map(|node| node.current()).collect()
}

fn of_module(
    shared: &Arc<Shared>,
    object: &PyObject,
    module: &rustpython_vm::Py<PyModule>,
    vm: &VirtualMachine,
) -> PyResult<Option<Arc<Node>>> {
    let dict = module.dict();
    if let Some(builtins) = dict.get_item_opt("__builtins__", vm)? {
        let builtins = match builtins.downcast_ref::<PyModule>() {
            Some(module) => module.dict().into(),
            None => builtins,
        };
        if let Some(generation) = Generation::of_builtins(&builtins) {
            return Ok(Some(Arc::clone(&generation.node)));
        }
    }
    // Native modules, and modules made by hand: the first space, from the root down, that has this very object.
    let Some(name) = dict.get_item_opt("__name__", vm)? else { return Ok(None) };
    let Some(name) = name.downcast_ref::<PyStr>() else { return Ok(None) };
    for generation in generations(shared) {
        if generation.loaded(name, vm)?.is_some_and(|loaded| loaded.is(object)) {
            return Ok(Some(Arc::clone(&generation.node)));
        }
    }
    Ok(None)
}

fn of_class(shared: &Arc<Shared>, class: &PyObject, vm: &VirtualMachine) -> PyResult<Option<Arc<Node>>> {
    let name = vm.get_attribute_opt(class, "__module__")?;
    let Some(name) = name.as_ref().and_then(|name| name.downcast_ref::<PyStr>()) else { return Ok(None) };
    // A function in the class body knows its builtins, and a class made in a space has them in its module's globals.
    let namespace = class.get_attr("__dict__", vm)?;
    for value in vm.call_method(&namespace, "values", ())?.try_to_value::<Vec<_>>(vm).unwrap_or_default() {
        let value: rustpython_vm::PyObjectRef = value;
        if let Some(function) = value.downcast_ref::<rustpython_vm::builtins::PyFunction>()
            && let Some(builtins) = vm.get_attribute_opt(function.as_object(), "__builtins__")?
        {
            return Ok(Generation::of_builtins(&builtins).map(|generation| Arc::clone(&generation.node)));
        }
    }
    let mut owner = None;
    for generation in generations(shared) {
        let Some(module) = generation.loaded(name, vm)? else { continue };
        let Some(dict) = module.dict() else { continue };
        let dict: &rustpython_vm::Py<PyDict> = &dict;
        let holds = dict.into_iter().any(|(_, value)| value.is(class));
        if holds {
            let found = of_module(
                shared,
                &module,
                module.downcast_ref().ok_or_else(|| vm.new_type_error("not a module"))?,
                vm,
            )?;
            // A projected class stands in many spaces' modules, and belongs to none.
            if found.is_none() || owner.is_some() {
                return Ok(None);
            }
            owner = found;
        }
    }
    Ok(owner)
}
