//! Which space an object belongs to.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyFunction, PyModule, PyStr, PyStrRef, PyType},
};

use crate::import::{
    generation::{Generation, Node, Shared},
    project,
};

/// Where the function of a callable, coroutine, generator or frame is found.
const LEADS: [&str; 6] = ["__func__", "__wrapped__", "gi_frame", "cr_frame", "ag_frame", "func"];

/// The space of `object`; `None` for native and platform objects, which belong to no space.
pub(crate) fn space_of(shared: &Arc<Shared>, object: &PyObject, vm: &VirtualMachine) -> PyResult<Option<Arc<Node>>> {
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

/// A class belongs to the space whose module of its `__module__` has it under its qualified name; one that stands in no
/// module (made in a function, or replaced there) to that of a function written in its body.
fn of_class(shared: &Arc<Shared>, class: &PyObject, vm: &VirtualMachine) -> PyResult<Option<Arc<Node>>> {
    let text = |name: &'static str| -> PyResult<Option<PyStrRef>> {
        Ok(vm.get_attribute_opt(class, name)?.and_then(|value| value.downcast().ok()))
    };
    let (Some(module_name), Some(qualified)) = (text("__module__")?, text("__qualname__")?) else { return Ok(None) };
    for generation in generations(shared) {
        let Some(module) = generation.loaded(&module_name, vm)? else { continue };
        let mut found = Some(module.clone());
        for part in qualified.to_string_lossy().split('.') {
            let part = vm.ctx.new_str(part);
            found = match found {
                Some(object) => vm.get_attribute_opt(&object, &part)?,
                None => break,
            };
        }
        if !found.is_some_and(|found| found.is(class)) {
            continue;
        }
        let Some(name) = module_name.to_str() else { return Ok(None) };
        if matches!(name, "sys" | "builtins") || project::is_projected(&generation, name, vm) {
            return Ok(None);
        }
        // The module may be a parent's.
        let owner = generation.table.taken_from(name).and_then(|id| shared.node(id));
        return Ok(Some(owner.unwrap_or_else(|| Arc::clone(&generation.node))));
    }
    let body = class.get_attr("__dict__", vm)?;
    let values: Vec<PyObjectRef> = vm.call_method(&body, "values", ())?.try_to_value(vm)?;
    let prefix = format!("{}.", qualified.to_string_lossy());
    for value in values.iter().filter(|value| value.downcast_ref::<PyFunction>().is_some()) {
        let name = vm.get_attribute_opt(value, "__qualname__")?.and_then(|name| name.downcast::<PyStr>().ok());
        if name.is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            && let Some(builtins) = vm.get_attribute_opt(value, "__builtins__")?
            && let Some(generation) = Generation::of_builtins(&builtins)
        {
            return Ok(Some(Arc::clone(&generation.node)));
        }
    }
    Ok(None)
}
