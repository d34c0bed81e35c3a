//! Projections: per-space module objects over functions and types that exist once.
//!
//! A projection is made in two steps, as importlib loads any module: [`create`] makes the module object, and, when it
//! is in `sys.modules`, [`fill`] sets the attributes that are modules themselves (`concurrent.futures`, `os.path`,
//! `dataclasses.re`), each to the space's own module of that name. Two platform modules that import each other would
//! never end otherwise.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyList, PyModule, PySet, PyStr, PyStrRef},
    function::PyMethodDef,
};

use super::{
    find,
    generation::{Generation, Shared},
    locks::{self, Acquired, LockKey},
    owner::{self, Owner},
    policy::{self, Attribute, Treatment},
};
use crate::{
    sysview,
    vm::{
        hidden,
        native::{copy_dict, def, is_module, module_over},
    },
};

/// Whether `name`, imported by the space's own finders, is a projection there.
pub(crate) fn is_projected(generation: &Generation, name: &str, vm: &VirtualMachine) -> bool {
    if hidden::is_native(name, vm) {
        return true;
    }
    policy::platform_modules().contains_key(name) && !generation.policy.is_fresh(name)
}

/// The hidden module `name`, loaded now if need be, and never half loaded.
///
/// One lock covers all loading there. It is waited for like any module lock, and platform modules import only each
/// other, so a thread that holds it waits for nobody.
pub(crate) fn hidden_module(name: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyModule>> {
    let import = || owner::enter(Owner::Hidden, || hidden::import(name, vm));
    // While the runtime starts there is one thread.
    let Some(shared) = Shared::of(vm) else { return import() };
    if let Some(module) = shared.hidden.get(name).map(|module| module.clone()) {
        return Ok(module);
    }
    let lock = locks::acquire(LockKey::new(0, &format!("interpreter {}", shared.interpreter)), vm)?;
    let module = import()?;
    if let Acquired::Lock(guard) = lock {
        // Loading may have come back here for a module further up the stack, which is not whole yet.
        if guard.is_outermost() {
            shared.hidden.insert(name.to_owned(), module.clone());
            shared.originals.note(&shared.names, vm)?;
        }
    }
    Ok(module)
}

/// `loaded(name)`, for platform code: the hidden module, or None if it is not loaded or a thread is in the middle of its
/// import. Its caches and registries are empty then.
pub(crate) static LOADED: PyMethodDef = def("loaded", loaded);

fn loaded(_none: PyObjectRef, name: PyStrRef, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    let Some(shared) = Shared::of(vm) else { return Ok(None) };
    let Ok(module) = hidden::modules(vm)?.get_item(&*name, vm) else { return Ok(None) };
    Ok((!find::is_initialising(&shared.names, &module, vm)?).then_some(module))
}

/// What importlib sets on each module from its spec, and what must not be taken over from the hidden module.
const FROM_SPEC: [&str; 5] = ["__spec__", "__loader__", "__path__", "__cached__", "__origname__"];

/// A new projection of the native or platform module `name`, without its module-valued attributes.
pub(crate) fn create(generation: &Arc<Generation>, name: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyModule>> {
    match name {
        "sys" => return Ok(generation.sys.clone()),
        "builtins" => return Ok(generation.builtins.clone()),
        _ => {}
    }
    let hidden = hidden_module(name, vm)?.dict();
    let dict = copy_dict(&hidden, vm);
    for key in FROM_SPEC {
        if dict.contains_key(key, vm) {
            dict.del_item(key, vm)?;
        }
    }
    settle(name, &hidden, &dict, vm)?;
    for (attribute, row) in attributes(name) {
        if row.treatment == Treatment::Hook {
            sysview::hooks::install(name, attribute, &hidden, &dict, vm)?;
        }
    }
    // What emulated functions replaced is the hidden interpreter's business.
    for (key, _) in dict.clone() {
        if key.downcast_ref::<PyStr>().is_some_and(|key| key.as_bytes().starts_with(b"_plain_")) {
            dict.del_item(&*key, vm)?;
        }
    }
    // Module creation leaves `__package__` as None for importlib to set; a native module's dict has it that way.
    if dict.contains_key("__builtins__", vm) {
        dict.set_item("__builtins__", generation.builtins_dict.clone().into(), vm)?;
    }
    for (key, value) in dict.clone() {
        if is_module(&value, vm) {
            dict.del_item(&*key, vm)?;
        }
    }
    copy_mutable(name, &dict, vm)?;
    sysview::customise(generation, name, &dict, vm)?;
    Ok(module_over(dict, vm))
}

/// Fills in what platform code sets in its own module at the first call, and would take from whichever space calls
/// first; and takes out of the copy what another space has set.
fn settle(name: &str, hidden: &PyDictRef, copy: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    let late = match name {
        "collections" => Some(("heapq", "heapq")),
        "typing" => Some(("_lazy_annotationlib", "annotationlib")),
        _ => None,
    };
    if let Some((attribute, module)) = late {
        hidden.set_item(attribute, hidden_module(module, vm)?.into(), vm)?;
        if name == "typing" {
            copy.set_item(attribute, hidden.get_item(attribute, vm)?, vm)?;
        }
    }
    if name == "threading" {
        for hook in ["_trace_hook", "_profile_hook"] {
            copy.set_item(hook, vm.ctx.none(), vm)?;
        }
    }
    Ok(())
}

/// Sets the module-valued attributes of the projection `module` that it does not have yet.
pub(crate) fn fill(
    generation: &Arc<Generation>,
    module: &PyRef<PyModule>,
    name: &str,
    vm: &VirtualMachine,
) -> PyResult<()> {
    if matches!(name, "sys" | "builtins") {
        return Ok(());
    }
    let dict = module.dict();
    for (key, value) in hidden_module(name, vm)?.dict() {
        if is_module(&value, vm)
            && !dict.contains_key(&*key, vm)
            && let Some(own) = counterpart(generation, &value, vm)?
        {
            dict.set_item(&*key, own, vm)?;
        }
    }
    // `os` enters `os.path` into `sys.modules` when it runs, and `collections` its `abc`.
    let modules = generation.modules(vm)?;
    for (alias, row) in policy::platform_modules() {
        if let (Some((owner, _)), Some(target)) = (alias.rsplit_once('.'), &row.alias)
            && owner == name
            && modules.get_item(alias.as_str(), vm).is_err()
            && !generation.policy.is_fresh(target)
        {
            let target = super::level::import_module(generation, target, vm)?;
            modules.set_item(alias.as_str(), target.clone(), vm)?;
            generation.share_loaded(&vm.ctx.new_str(alias.as_str()), &target, vm)?;
        }
    }
    Ok(())
}

/// The space's own module for a hidden one.
fn counterpart(
    generation: &Arc<Generation>,
    hidden: &PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<Option<PyObjectRef>> {
    if hidden.is(vm.sys_module.as_object()) {
        return Ok(Some(generation.sys.clone().into()));
    }
    if hidden.is(vm.builtins.as_object()) {
        return Ok(Some(generation.builtins.clone().into()));
    }
    let name = hidden.get_attr("__name__", vm)?;
    let Some(name) = name.downcast_ref::<PyStr>() else { return Ok(None) };
    if let Some(module) = generation.loaded(name, vm)? {
        return Ok(Some(module));
    }
    let Some(text) = name.to_str() else { return Ok(None) };
    // `_collections_abc` calls itself `collections.abc`, which no finder finds.
    let text = policy::platform_modules().get(text).and_then(|row| row.alias.as_deref()).unwrap_or(text);
    // A part of a native module that is no import target (`sys.monitoring`) is shared as it is.
    if hidden::modules(vm)?.get_item(text, vm).is_err() {
        return Ok(Some(hidden.clone()));
    }
    if is_projected(generation, text, vm) {
        return super::level::import_module(generation, text, vm).map(Some);
    }
    Ok(None)
}

/// Copies the attributes that the policy tables say each space has for itself.
fn copy_mutable(name: &str, dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    for (key, attribute) in attributes(name) {
        if attribute.treatment == Treatment::Copied
            && let Some(value) = dict.get_item_opt(key, vm)?
        {
            dict.set_item(key, copy(&value, vm)?, vm)?;
        }
    }
    Ok(())
}

/// What the policy tables say of the mutable attributes of the module `name`.
pub(crate) fn attributes(name: &str) -> impl Iterator<Item = (&'static str, &'static Attribute)> {
    let native = policy::native_modules().get(name).map(|module| &module.attributes);
    let attributes = native.or_else(|| policy::platform_modules().get(name).map(|module| &module.attributes));
    attributes.into_iter().flatten().map(|(name, attribute)| (name.as_str(), attribute))
}

/// A shallow copy of a container; anything else as it is.
pub(crate) fn copy(value: &PyObjectRef, vm: &VirtualMachine) -> PyResult {
    if value.class().is(vm.ctx.types.namespace_type) {
        let copy = value.class().as_object().call((), vm)?;
        let (from, to) = (value.get_attr("__dict__", vm)?, copy.get_attr("__dict__", vm)?);
        vm.call_method(&to, "update", (from,))?;
        return Ok(copy);
    }
    let container = value.downcast_ref::<PyList>().is_some()
        || value.downcast_ref::<PyDict>().is_some()
        || value.downcast_ref::<PySet>().is_some();
    if container { vm.call_method(value, "copy", ()) } else { Ok(value.clone()) }
}
