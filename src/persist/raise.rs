//! Errors of stores as Python exceptions.

use std::{cell::RefCell, collections::BTreeMap};

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyStr, PyTypeRef},
    pyclass,
    types::Representable,
};

use super::{error::StoreError, guard, imports::Names};
use crate::{import::project::hidden_module, vm::native::payload};

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
    make("InUseError", vec![base.clone()])?;
    make("StoreWarning", vec![exceptions.user_warning.to_owned()])?;
    make("UpdateError", vec![base.clone()])?;
    make("ObjectError", vec![base])?;
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

/// An exception that was made of an error, by its address.
type Made = (usize, StoreError);

thread_local! {
    /// While somebody of this thread wants errors as they were: the last one.
    static MADE: RefCell<Option<Option<Made>>> = const { RefCell::new(None) };
}

/// Runs `body`. When it raises the exception that was made of an error of a store, the error comes with it.
pub(crate) fn typed<R>(body: impl FnOnce() -> PyResult<R>) -> (PyResult<R>, Option<StoreError>) {
    struct Back(Option<Option<Made>>);
    impl Drop for Back {
        fn drop(&mut self) {
            let before = self.0.take();
            MADE.with_borrow_mut(|made| *made = before);
        }
    }
    let _back = Back(MADE.replace(Some(None)));
    let done = body();
    let made = MADE.take().flatten();
    let error = match (&done, made) {
        // The address is that of this exception, which was there all the while, if the message is its own, too.
        (Err(raised), Some((address, error))) if raised.get_id() == address && is_of(raised, &error) => Some(error),
        _ => None,
    };
    (done, error)
}

fn is_of(raised: &PyBaseExceptionRef, error: &StoreError) -> bool {
    let args = raised.args();
    let message = args.as_slice().first().and_then(|message| message.downcast_ref::<PyStr>());
    message.is_some_and(|message| message.as_bytes() == error.to_string().as_bytes())
}

/// The Python exception for an error of a store.
pub(crate) fn raise(error: &StoreError, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let name = match error {
        StoreError::Conflict(_) => "ConflictError",
        StoreError::InUse(_) => "InUseError",
        StoreError::NoModule { .. } => "NoModuleError",
        StoreError::Object { .. } | StoreError::Differ { .. } => "ObjectError",
        _ => "StoreError",
    };
    let exception = vm.new_exception_msg(class(name, vm), error.to_string().into());
    if let StoreError::Object { key, .. } | StoreError::Differ { key, .. } = error {
        let _ = exception.as_object().set_attr("key", vm.ctx.new_str(&**key), vm);
    }
    if let StoreError::Conflict(conflict) = error {
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let others = conflict
            .others
            .iter()
            .map(|(id, author)| vm.ctx.new_tuple(vec![text(&id.to_string()), text(author)]).into());
        let others = vm.ctx.new_list(others.collect());
        let modules = vm.ctx.new_list(conflict.modules.iter().map(|name| text(name)).collect());
        let objects = vm.ctx.new_list(conflict.objects.iter().map(|key| text(key)).collect());
        let base = conflict.base.map_or_else(|| vm.ctx.none(), |base| text(&base.to_string()));
        for (name, value) in [
            ("modules", modules.into()),
            ("objects", objects.into()),
            ("base", base),
            ("branch", text(&conflict.branch)),
            ("author", text(&conflict.author)),
            ("others", others.into()),
        ] {
            // Without it, the message still says it.
            let _ = exception.as_object().set_attr(name, value, vm);
        }
    }
    if let StoreError::InUse(all) = error {
        let all = all.iter().map(|one| InUse(one.clone()).into_ref(&vm.ctx).into()).collect();
        // As above.
        let _ = exception.as_object().set_attr("in_use", vm.ctx.new_list(all), vm);
    }
    MADE.with_borrow_mut(|made| {
        if let Some(made) = made {
            *made = Some((exception.get_id(), error.clone()));
        }
    });
    exception
}

/// A module or a name that goes although other modules import it.
#[pyclass(module = "modspace", name = "InUse")]
pub(crate) struct InUse(pub(crate) guard::InUse);
payload!(InUse);

impl Representable for InUse {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<InUse: {}>", zelf.0))
    }
}

#[pyclass(with(Representable))]
impl InUse {
    /// The module that goes, or that loses the name.
    #[pygetset]
    fn module(zelf: &Py<Self>) -> String {
        zelf.0.module.clone()
    }

    /// The name; None when the whole module goes.
    #[pygetset]
    fn name(zelf: &Py<Self>) -> Option<String> {
        zelf.0.name.clone()
    }

    /// The modules that import it: a dict, with a list of the names that each takes.
    #[pygetset]
    fn importers(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<PyDictRef> {
        name_lists(&zelf.0.importers, vm)
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}

/// A dict from modules to lists of names.
pub(crate) fn name_lists(all: &BTreeMap<String, Names>, vm: &VirtualMachine) -> PyResult<PyDictRef> {
    let dict = vm.ctx.new_dict();
    for (module, names) in all {
        let names = names.iter().map(|name| vm.ctx.new_str(&**name).into()).collect();
        dict.set_item(&**module, vm.ctx.new_list(names).into(), vm)?;
    }
    Ok(dict)
}
