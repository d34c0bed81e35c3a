//! Errors of stores as Python exceptions.

use rustpython_vm::{
    AsObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyTypeRef},
};

use super::error::StoreError;
use crate::import::project::hidden_module;

/// Puts the exception classes into the module `modspace`.
pub(crate) fn publish(dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    let exceptions = &vm.ctx.exceptions;
    let make = |name: &str, bases: Vec<PyTypeRef>| -> PyResult<PyTypeRef> {
        let class = vm.ctx.new_exception_type("modspace", name, Some(bases));
        dict.set_item(name, class.clone().into(), vm)?;
        Ok(class)
    };
    let base = make("StoreError", vec![exceptions.exception_type.to_owned()])?;
    make("NoModuleError", vec![base.clone(), exceptions.lookup_error.to_owned()])?;
    make("ConflictError", vec![base.clone()])?;
    make("UpdateError", vec![base])?;
    // What code that takes too long cannot take for an error of its own.
    make("TimeLimit", vec![exceptions.base_exception_type.to_owned()])?;
    Ok(())
}

/// The exception class of this name.
pub(crate) fn class(name: &str, vm: &VirtualMachine) -> PyTypeRef {
    let found = hidden_module("modspace", vm).and_then(|module| module.dict().get_item(name, vm));
    let class = found.ok().and_then(|class| class.downcast().ok());
    class.unwrap_or_else(|| vm.ctx.exceptions.runtime_error.to_owned())
}

/// The Python exception for an error of a store.
pub(crate) fn raise(error: &StoreError, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let name = match error {
        StoreError::Conflict(_) => "ConflictError",
        StoreError::NoModule { .. } => "NoModuleError",
        _ => "StoreError",
    };
    let exception = vm.new_exception_msg(class(name, vm), error.to_string().into());
    if let StoreError::Conflict(conflict) = error {
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let others = conflict
            .others
            .iter()
            .map(|(id, author)| vm.ctx.new_tuple(vec![text(&id.to_string()), text(author)]).into());
        let others = vm.ctx.new_list(others.collect());
        let modules = vm.ctx.new_list(conflict.modules.iter().map(|name| text(name)).collect());
        let base = conflict.base.map_or_else(|| vm.ctx.none(), |base| text(&base.to_string()));
        for (name, value) in [
            ("modules", modules.into()),
            ("base", base),
            ("branch", text(&conflict.branch)),
            ("author", text(&conflict.author)),
            ("others", others.into()),
        ] {
            // Without it, the message still says it.
            let _ = exception.as_object().set_attr(name, value, vm);
        }
    }
    exception
}
