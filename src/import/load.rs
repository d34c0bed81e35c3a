//! Asking the finders, and making modules of specs: what importlib does once for every import, over the space's own
//! `sys`. The rest of importlib is Python, and reaches these by name.
//!
//! Each function here is the one of the same name in CPython's `Lib/importlib/_bootstrap.py`, for what nearly all imports
//! are; what is rarer is left to the copy's own. As a frame of that does, they see to it that native code which they call
//! works for the space, whoever imports.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyList, PyModule, PyStr},
    function::PyMethodDef,
};

use super::{
    boot::{self, Importlib},
    generation::Generation,
    key::SpaceKey,
    owner,
    source::Settings,
};
use crate::vm::native::def;

type Key = PyRef<SpaceKey>;

pub(crate) const LOAD_UNLOCKED: PyMethodDef = def("_load_unlocked", load_unlocked_of);

fn load_unlocked_of(key: Key, spec: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let importlib = boot::importlib(&generation, vm)?;
    owner::stand_in(&generation, || load_unlocked(&generation, &importlib, &spec, vm))
}

/// `_find_spec`: what the finders on `sys.meta_path` say.
pub(crate) fn find_spec(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    name: &Py<PyStr>,
    path: PyObjectRef,
    target: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    owner::stand_in(generation, || search(generation, importlib, name, &path, &target, vm))
}

fn search(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    name: &Py<PyStr>,
    path: &PyObject,
    target: &PyObject,
    vm: &VirtualMachine,
) -> PyResult {
    let meta_path = importlib.get("sys", vm)?.get_attr("meta_path", vm)?;
    // A look at one list while finders change it.
    let finders: Vec<PyObjectRef> = match meta_path.downcast_ref_if_exact::<PyList>(vm) {
        Some(list) => list.borrow_vec().to_vec(),
        None if vm.is_none(&meta_path) => Vec::new(),
        None => meta_path.try_to_value(vm)?,
    };
    if finders.is_empty() {
        // It has a warning to say, or an error.
        return importlib.get("_plain__find_spec", vm)?.call((name.to_owned(), path.to_owned(), target.to_owned()), vm);
    }
    let imp = importlib.get("_imp", vm)?;
    let (acquire, release) = (imp.get_attr("acquire_lock", vm)?, imp.get_attr("release_lock", vm)?);
    let is_reload = generation.loaded(name, vm)?.is_some();
    let own = importlib.made().map(|made| &made.finders);
    // Whether the finders that are importlib's own are what they were; unknown again after others had their turn. (What a
    // path hook changes in them counts from the next import on.)
    let mut are_untouched = None;
    for finder in finders {
        acquire.call((), vm)?;
        let native = match own.filter(|own| own.has(&finder)) {
            Some(own) if *are_untouched.get_or_insert_with(|| own.are_untouched(vm)) => {
                own.find_spec(&finder, name, path, target, vm)
            }
            _ => Ok(None),
        };
        let asked = if let Ok(None) = native {
            are_untouched = None;
            ask(&finder, name, path, target, vm)
        } else {
            native
        };
        release.call((), vm)?;
        let Some(spec) = asked?.filter(|spec| !vm.is_none(spec)) else { continue };
        // The finder may have imported the module.
        if !is_reload && let Some(module) = generation.loaded(name, vm)? {
            let known = vm.get_attribute_opt(&module, "__spec__")?;
            return Ok(known.filter(|known| !vm.is_none(known)).unwrap_or(spec));
        }
        return Ok(spec);
    }
    Ok(vm.ctx.none())
}

/// What a finder says; `None` when it has no way to say anything.
fn ask(
    finder: &PyObject,
    name: &Py<PyStr>,
    path: &PyObject,
    target: &PyObject,
    vm: &VirtualMachine,
) -> PyResult<Option<PyObjectRef>> {
    let Some(ask) = vm.get_attribute_opt(finder, "find_spec")? else { return Ok(None) };
    ask.call((name.to_owned(), path.to_owned(), target.to_owned()), vm).map(Some)
}

/// `_load_unlocked`: makes the module of a spec, and has its loader execute it. Loaders may change both on the way, and so
/// each step asks the spec again.
fn load_unlocked(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    spec: &PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    let loader = spec.get_attr("loader", vm)?;
    // Namespace packages, loaders of old, and who wants to hear of each module, or has functions of its own.
    if vm.get_attribute_opt(&loader, "exec_module")?.is_none()
        || vm.state.config.settings.verbose > 0
        || !importlib.has_own_steps(vm)
    {
        return importlib.get("_plain__load_unlocked", vm)?.call((spec.clone(),), vm);
    }
    let module = module_from_spec(generation, importlib, spec, vm)?;
    spec.set_attr("_initializing", vm.ctx.new_bool(true), vm)?;
    let executed = execute(generation, spec, module, vm);
    spec.set_attr("_initializing", vm.ctx.new_bool(false), vm)?;
    executed
}

/// What importing consists of, and is done natively instead.
pub(super) const STEPS: [&str; 6] = [
    "_call_with_frames_removed",
    "_find_and_load",
    "_gcd_import",
    "_handle_fromlist",
    "_init_module_attrs",
    "module_from_spec",
];

/// Executes a module that is in `sys.modules` meanwhile, and returns what is there then. It is taken out if that fails.
fn execute(generation: &Arc<Generation>, spec: &PyObject, module: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let name = || spec.get_attr("name", vm);
    let modules = || generation.modules(vm);
    modules()?.set_item(&*name()?, module.clone(), vm)?;
    if let Err(error) = execute_by_loader(spec, module, vm) {
        match modules()?.del_item(&*name()?, vm) {
            Err(missing) if !missing.fast_isinstance(vm.ctx.exceptions.key_error) => return Err(missing),
            _ => return Err(error),
        }
    }
    // To its end: the module may have imported others.
    let table = modules()?;
    let module = vm.call_method(&table, "pop", (name()?,))?;
    modules()?.set_item(&*name()?, module.clone(), vm)?;
    Ok(module)
}

fn execute_by_loader(spec: &PyObject, module: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let loader = spec.get_attr("loader", vm)?;
    if !vm.is_none(&loader) {
        return vm.call_method(&loader, "exec_module", (module,)).map(drop);
    }
    let locations = spec.get_attr("submodule_search_locations", vm)?;
    if vm.is_none(&locations) {
        let error = vm.new_exception_msg(vm.ctx.exceptions.import_error.to_owned(), "missing loader".into());
        error.as_object().set_attr("name", spec.get_attr("name", vm)?, vm)?;
        return Err(error);
    }
    Ok(())
}

/// `module_from_spec`: makes the module of a spec.
fn module_from_spec(
    generation: &Generation,
    importlib: &Importlib,
    spec: &PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    let loader = spec.get_attr("loader", vm)?;
    let Some(create) = vm.get_attribute_opt(&loader, "create_module")? else {
        return importlib.get("module_from_spec", vm)?.call((spec.clone(),), vm);
    };
    let module = create.call((spec.clone(),), vm)?;
    let module = if vm.is_none(&module) {
        vm.ctx.types.module_type.as_object().call((spec.get_attr("name", vm)?,), vm)?
    } else {
        module
    };
    let is_done = match module.downcast_ref_if_exact::<PyModule>(vm) {
        Some(plain) if !plain.dict().contains_key("__getattr__", vm) => {
            init_module_attrs(generation, importlib, spec, plain, vm)
        }
        _ => Ok(false),
    };
    match is_done {
        Ok(true) => {}
        // It passes over some attributes that a spec does not have.
        Err(error) if !error.fast_isinstance(vm.ctx.exceptions.attribute_error) => return Err(error),
        _ => {
            importlib.get("_init_module_attrs", vm)?.call((spec.clone(), module.clone()), vm)?;
        }
    }
    Ok(module)
}

/// `_init_module_attrs` of a plain module, which takes any attribute, and whose spec has a loader. False for another spec.
fn init_module_attrs(
    generation: &Generation,
    importlib: &Importlib,
    spec: &PyObject,
    module: &Py<PyModule>,
    vm: &VirtualMachine,
) -> PyResult<bool> {
    let loader = spec.get_attr("loader", vm)?;
    if vm.is_none(&loader) {
        return Ok(false);
    }
    let told = match importlib.finders(vm) {
        Some(finders) => finders.told_by(spec, || Settings::of(generation, vm), vm)?,
        None => None,
    };
    let asked = |name: &'static str| spec.get_attr(name, vm);
    let dict = module.dict();
    let set = |name: &'static str, value: &dyn Fn() -> PyResult| -> PyResult<()> {
        if dict.get_item_opt(name, vm)?.is_none_or(|present| vm.is_none(&present)) {
            dict.set_item(name, value()?, vm)?;
        }
        Ok(())
    };
    set("__name__", &|| asked("name"))?;
    set("__loader__", &|| Ok(loader.clone()))?;
    set("__package__", &|| told.as_ref().map_or_else(|| asked("parent"), |told| Ok(told.parent.clone())))?;
    dict.set_item("__spec__", spec.to_owned(), vm)?;
    let locations = asked("submodule_search_locations")?;
    if !vm.is_none(&locations) {
        set("__path__", &|| Ok(locations.clone()))?;
    }
    let has_location = match &told {
        Some(told) => told.has_location,
        None => asked("has_location")?.try_to_bool(vm)?,
    };
    if has_location {
        set("__file__", &|| asked("origin"))?;
        let cached = told.map_or_else(|| asked("cached"), |told| Ok(told.cached))?;
        if !vm.is_none(&cached) {
            set("__cached__", &|| Ok(cached.clone()))?;
        }
    }
    Ok(true)
}
