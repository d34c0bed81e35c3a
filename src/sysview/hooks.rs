//! Functions of platform modules that programs assign and the module itself calls, such as `threading.excepthook`.
//!
//! Assigning to an attribute of a projection changes that projection alone, so the platform module would never notice.
//! The hidden module's function is therefore replaced by one that looks at the running space's projection first. The
//! projections themselves carry the original, so a space that assigned nothing sees what CPython shows.

use rustpython_vm::{
    AsObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyTupleRef},
    function::{FuncArgs, PyMethodDef},
};

use crate::{
    import::owner,
    vm::native::{bind, def},
};

static DISPATCH: PyMethodDef = def("hook", dispatch);

/// Makes `attribute` of the hidden module `name` a dispatching hook, unless it is one, and puts the original into the
/// projection's dict.
pub(crate) fn install(
    name: &str,
    attribute: &str,
    hidden: &PyDictRef,
    projection: &PyDictRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let kept = vm.ctx.new_str(format!("_plain_{attribute}"));
    let original = match hidden.get_item_opt(&*kept, vm)? {
        Some(original) => original,
        None => {
            let Some(original) = hidden.get_item_opt(attribute, vm)? else { return Ok(()) };
            let names: [PyObjectRef; 2] = [name, attribute].map(|text| vm.ctx.new_str(text).into());
            let bound = vm.ctx.new_tuple(names.into_iter().chain([original.clone()]).collect());
            hidden.set_item(&*kept, original.clone(), vm)?;
            hidden.set_item(attribute, bind(&DISPATCH, bound, vm), vm)?;
            original
        }
    };
    projection.set_item(attribute, original, vm)
}

fn dispatch(bound: PyTupleRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let [module, attribute, original] = bound.as_slice() else {
        return Err(vm.new_system_error("a hook without a function"));
    };
    let assigned = match (owner::lexical(vm), module.downcast_ref()) {
        (Some(space), Some(module)) => match space.loaded(module, vm)?.and_then(|module| module.dict()) {
            Some(dict) => dict.get_item_opt(attribute.as_object(), vm)?,
            None => None,
        },
        _ => None,
    };
    assigned.as_ref().unwrap_or(original).call(args, vm)
}
