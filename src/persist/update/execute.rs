//! Executes the new sources of an update, as second copies of their modules.

use std::{collections::HashSet, rc::Rc, sync::Arc, time::Duration};

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyModule, PyStr, PyStrRef},
    vm::thread,
};

use super::{UpdateOptions, ahead::Ahead, caused, plan};
use crate::{
    import::{aside::Copied, generation::Generation, level, project},
    lifecycle,
    persist::raise::class,
    vm::{deadline::Deadline, reads},
};

/// Which modules the running thread imports for itself while it executes new sources: what no thread has loaded, but for
/// native and platform modules. What refers to second copies is so seen by nobody else.
pub(super) fn new_modules(generation: &Arc<Generation>, live: &PyObjectRef, updated: &[PyStrRef]) -> Copied {
    let names = live.downcast_ref::<PyDict>().map(Py::to_owned).into_iter().flatten();
    let mut known: HashSet<String> =
        names.filter_map(|(name, _)| Some(name.downcast_ref::<PyStr>()?.to_str()?.to_owned())).collect();
    for name in updated {
        known.remove(&*name.to_string_lossy());
    }
    let generation = Arc::downgrade(generation);
    Copied::Where(Box::new(move |name| {
        !known.contains(name)
            && generation
                .upgrade()
                .is_none_or(|generation| thread::with_current_vm(|vm| !project::is_projected(&generation, name, vm)))
    }))
}

/// The modules that the new sources imported and that nobody had loaded before: they are this thread's alone so far.
pub(super) fn added(
    generation: &Arc<Generation>,
    live: &PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<Vec<(String, PyObjectRef)>> {
    let (Ok(aside), Some(live)) = (generation.modules(vm)?.downcast::<PyDict>(), live.downcast_ref::<PyDict>()) else {
        return Ok(Vec::new());
    };
    let mut added = Vec::new();
    for (name, module) in aside {
        if let Some(name) = name.downcast_ref::<PyStr>()
            && module.downcast_ref::<PyModule>().is_some()
            && live.get_item_opt(name, vm)?.is_none()
        {
            added.push((name.to_string_lossy().into_owned(), module));
        }
    }
    added.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(added)
}

/// Imports second copies of the modules. They see each other whatever way they come to each other; see [`Ahead`].
pub(super) fn execute(
    generation: &Arc<Generation>,
    (names, removed): (&[String], &[String]),
    olds: &[PyObjectRef],
    options: &UpdateOptions,
    vm: &VirtualMachine,
) -> PyResult<Vec<PyObjectRef>> {
    let ahead = Rc::new(Ahead::new(generation, (names, removed), olds, vm)?);
    let deadline = Deadline::begin(options.time_limit, too_late, vm);
    let one = |name: &String| {
        let import = || match ahead.raised(name) {
            Some(error) => Err(error),
            None => level::import_module(generation, name, vm),
        };
        let imported = reads::reading(ahead.clone(), import).and_then(|module| {
            deadline.as_ref().map_or(Ok(()), Deadline::check)?;
            Ok(module)
        });
        let new = imported.map_err(|error| {
            rustpython_vm::import::remove_importlib_frames(vm, &error);
            failed(ahead.culprit(&error).as_ref().unwrap_or(name), error, vm)
        })?;
        if new.downcast_ref::<PyModule>().is_none() {
            let message = format!("the new source of {name:?} puts something else into sys.modules");
            return Err(vm.new_exception_msg(class("UpdateError", vm), message.into()));
        }
        Ok(new)
    };
    names.iter().map(one).collect()
}

/// Frees what a failed execution left: second copies, and what they have entered elsewhere as classes.
pub(super) fn abandon(generation: &Arc<Generation>, live: &PyObjectRef, names: &[String], vm: &VirtualMachine) {
    let Ok(aside) = generation.modules(vm) else { return };
    let own = names.iter().filter_map(|name| aside.get_item(&**name, vm).ok());
    let new = added(generation, live, vm).unwrap_or_default().into_iter().map(|(_, module)| module);
    let copies: Vec<PyObjectRef> =
        own.chain(new).filter(|module| module.downcast_ref::<PyModule>().is_some()).collect();
    // The error that is on its way says more than one of this.
    let _ = plan::disown_all(generation, &copies, vm);
    lifecycle::modules::free(copies, names.to_vec(), vm);
}

/// The `UpdateError` for a source that raised.
fn failed(name: &str, cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let cause = if cause.fast_isinstance(&class("TimeLimit", vm)) {
        let message = cause.as_object().str(vm).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        vm.new_exception_msg(vm.ctx.exceptions.timeout_error.to_owned(), message.into())
    } else {
        cause
    };
    if !cause.fast_isinstance(vm.ctx.exceptions.exception_type) {
        return cause;
    }
    let what = cause.class().name().to_string();
    let message = format!("the new source of {name:?} raised {what}; nothing was changed");
    let error = vm.new_exception_msg(class("UpdateError", vm), message.into());
    caused(error, cause, vm)
}

fn too_late(limit: Duration, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let message = format!("the new source ran longer than {} s", limit.as_secs_f64());
    vm.new_exception_msg(class("TimeLimit", vm), message.into())
}
