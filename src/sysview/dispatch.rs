//! The dispatching `sys`.
//!
//! Native code looks into `vm.sys_module`, and platform code into the `sys` it imported, which is the same object. Its
//! class is replaced by one whose data descriptors find the owner of the running code and look there. Every name that
//! the interpreter's `sys` has is dispatched, and those it gets only later, so that a space can replace any of them.
//!
//! Nobody but the hidden interpreter sees this object: importlib makes modules with `type(sys)(name)`, and its
//! class must not be theirs.

use rustpython_vm::{
    AsObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyStr, PyStrRef},
    function::PyMethodDef,
};

use crate::{
    import::{
        generation::Generation,
        owner::{self, Owner},
    },
    vm::{
        hidden,
        native::{bind, def},
    },
};

static GET: PyMethodDef = def("get", get);
static SET: PyMethodDef = def("set", set);
static DELETE: PyMethodDef = def("delete", delete);
static SET_ATTRIBUTE: PyMethodDef = def("__setattr__", set_attribute);
static DELETE_ATTRIBUTE: PyMethodDef = def("__delattr__", delete_attribute);
static MISSING: PyMethodDef = def("__getattr__", missing);

/// Names that `sys` may get while programs run.
const LATER: [&str; 10] = [
    "last_exc",
    "last_type",
    "last_value",
    "last_traceback",
    "ps1",
    "ps2",
    "tracebacklimit",
    "breakpointhook",
    "__interactivehook__",
    "gettotalrefcount",
];

/// What makes the object a module; it stays its own.
const OWN: [&str; 6] = ["__name__", "__doc__", "__package__", "__loader__", "__spec__", "__dict__"];

/// Turns `vm.sys_module` into the dispatching `sys`. The hidden owner is entered.
pub(crate) fn install(vm: &VirtualMachine) -> PyResult<()> {
    let hidden = hidden::sys_dict(vm);
    // The two places that take the class of `sys` for the class of modules: `types.ModuleType`, and the hidden
    // importlib's `_new_module`.
    hidden::import("types", vm)?;
    let importlib = hidden::modules(vm)?.get_item("_frozen_importlib", vm)?;
    importlib.set_attr("_new_module", vm.ctx.types.module_type.to_owned(), vm)?;
    let namespace = vm.ctx.new_dict();
    let names = hidden.clone().into_iter().filter_map(|(name, _)| name.downcast::<PyStr>().ok());
    let later = LATER.iter().map(|name| vm.ctx.new_str(*name));
    for name in names.chain(later) {
        if name.to_str().is_none_or(|text| OWN.contains(&text)) {
            continue;
        }
        let accessors: [PyObjectRef; 3] = [&GET, &SET, &DELETE].map(|def| bind(def, name.clone(), vm));
        let property = vm.ctx.types.property_type.as_object().call(accessors.to_vec(), vm)?;
        namespace.set_item(&*name, property, vm)?;
    }
    namespace.set_item("__setattr__", SET_ATTRIBUTE.build_function(&vm.ctx).into(), vm)?;
    namespace.set_item("__delattr__", DELETE_ATTRIBUTE.build_function(&vm.ctx).into(), vm)?;
    let bases = vm.ctx.new_tuple(vec![vm.ctx.types.module_type.to_owned().into()]);
    let class = vm.ctx.types.type_type.as_object().call((vm.ctx.new_str("dispatching_sys"), bases, namespace), vm)?;
    hidden.set_item("__getattr__", MISSING.build_function(&vm.ctx).into(), vm)?;
    vm.sys_module.as_object().set_attr("__class__", class, vm)
}

fn no_attribute(name: &PyStr, vm: &VirtualMachine) -> rustpython_vm::builtins::PyBaseExceptionRef {
    vm.new_attribute_error(format!("module 'sys' has no attribute '{}'", name.as_wtf8()))
}

fn get(name: PyStrRef, _sys: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    look_up(&name, vm)
}

fn missing(name: PyStrRef, vm: &VirtualMachine) -> PyResult {
    look_up(&name, vm)
}

/// The dict that has `name` for the generation.
fn dict_of(generation: &Generation, name: &PyStr) -> PyDictRef {
    match name.to_str() {
        Some("modules" | "meta_path" | "path_hooks" | "path_importer_cache") => generation.import_state(),
        _ => generation.sys_dict.clone(),
    }
}

fn look_up(name: &PyStrRef, vm: &VirtualMachine) -> PyResult {
    match owner::current(vm) {
        Some(Owner::Space(generation)) => {
            if let Some(value) = dict_of(&generation, name).get_item_opt(&**name, vm)? {
                return Ok(value);
            }
            generation.sys.as_object().get_attr(name, vm)
        }
        Some(Owner::Hidden) | None => {
            hidden::sys_dict(vm).get_item_opt(&**name, vm)?.ok_or_else(|| no_attribute(name, vm))
        }
    }
}

fn set(name: PyStrRef, _sys: PyObjectRef, value: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    set_attribute(name, value, vm)
}

fn set_attribute(name: PyStrRef, value: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    match owner::current(vm) {
        Some(Owner::Space(generation)) => dict_of(&generation, &name).set_item(&*name, value, vm),
        Some(Owner::Hidden) | None => hidden::sys_dict(vm).set_item(&*name, value, vm),
    }
}

fn delete(name: PyStrRef, _sys: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    delete_attribute(name, vm)
}

fn delete_attribute(name: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
    let dict = match owner::current(vm) {
        Some(Owner::Space(generation)) => dict_of(&generation, &name),
        Some(Owner::Hidden) | None => hidden::sys_dict(vm),
    };
    if !dict.contains_key(&*name, vm) {
        return Err(no_attribute(&name, vm));
    }
    dict.del_item(&*name, vm)
}
