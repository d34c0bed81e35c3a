//! Makes the changes of a plan, and moves the space to its commit.

use std::sync::Arc;

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyModule},
    function::PyMethodDef,
    pyclass,
};

use super::{Pair, Work, caused, meanwhile::Meanwhile, migrate::Listing, plan::Planner};
use crate::{
    import::generation::Generation,
    persist::{finder::Attachment, raise::class, snapshot::Snapshot},
    vm::{
        change::{self, Change, Replaced},
        heap::Stopped,
        native::{bind, def, payload},
    },
};

/// What happens to `sys.modules`, and to packages, with modules that come and go. Spaces below lose a module with the one
/// that they took it from.
pub(super) fn of_tables(
    generation: &Arc<Generation>,
    live: &PyObjectRef,
    added: &[(String, PyObjectRef)],
    work: &Work,
    vm: &VirtualMachine,
) -> PyResult<Vec<Change>> {
    let Some(modules) = live.downcast_ref::<PyDict>().map(Py::to_owned) else { return Ok(Vec::new()) };
    let mut changes = Vec::new();
    let item = |dict: &PyDictRef, key: &str, value: Option<PyObjectRef>| Change::Item {
        dict: dict.clone(),
        key: vm.ctx.new_str(key),
        value,
    };
    let namespace = |modules: &PyDictRef, name: &str| -> Option<PyDictRef> {
        Some(modules.get_item_opt(name, vm).ok()??.downcast_ref::<PyModule>()?.dict())
    };
    for (name, module) in added {
        changes.push(item(&modules, name, Some(module.clone())));
        if let Some((package, child)) = name.rsplit_once('.')
            && !work.updated.iter().any(|updated| updated == package)
            && let Some(package) = namespace(&modules, package)
        {
            changes.push(item(&package, child, Some(module.clone())));
        }
    }
    let below = below(generation).into_iter().filter_map(|generation| generation.modules(vm).ok()?.downcast().ok());
    let tables: Vec<PyDictRef> = std::iter::once(modules.clone()).chain(below).collect();
    for name in &work.removed {
        let Some(module) = modules.get_item_opt(&**name, vm)? else { continue };
        for modules in &tables {
            if modules.get_item_opt(&**name, vm)?.is_some_and(|other| other.is(&module)) {
                changes.push(item(modules, name, None));
            }
        }
        if let Some((package, child)) = name.rsplit_once('.')
            && let Some(package) = namespace(&modules, package)
            && package.get_item_opt(child, vm)?.is_some_and(|attribute| attribute.is(&module))
        {
            changes.push(item(&package, child, None));
        }
    }
    Ok(changes)
}

/// The current generations of the spaces below a generation's.
pub(super) fn below(generation: &Generation) -> Vec<Arc<Generation>> {
    let tree = generation.shared.tree.read();
    let nodes = tree.values().filter(|node| generation.node.is_ancestor_of(node));
    nodes.filter_map(|node| node.current()).collect()
}

/// Changes that are to be made, and classes whose instances are to be listed when that happens.
#[pyclass(module = "modspace", name = "Application")]
struct Application {
    changes: Mutex<Vec<Change>>,
    watched: Mutex<Option<Listing>>,
    attachment: Arc<Attachment>,
    target: Arc<Snapshot>,
    meanwhile: Meanwhile,
    outcome: Mutex<Option<Outcome>>,
}

enum Outcome {
    /// Nothing was done: the plan was made for other modules.
    Outdated,
    Made(Replaced, PyResult<()>),
}

payload!(Application);

#[pyclass]
impl Application {}

static CARRY_OUT: PyMethodDef = def("carry_out", carry_out);

fn carry_out(application: PyRef<Application>, vm: &VirtualMachine) -> PyResult<()> {
    if !application.meanwhile.is_as_seen(vm)? {
        return Ok(());
    }
    let changes = std::mem::take(&mut *application.changes.lock());
    let watched = application.watched.lock().take();
    let outcome = {
        let world = Stopped::new(vm);
        if !application.meanwhile.is_unchanged(&world, vm) {
            Outcome::Outdated
        } else {
            if let Some(watched) = &watched {
                watched.list(&world, vm);
            }
            let (replaced, made) = change::apply(&changes, &world, vm);
            if made.is_ok() {
                application.attachment.move_to(Arc::clone(&application.target));
            }
            Outcome::Made(replaced, made)
        }
    };
    *application.outcome.lock() = Some(outcome);
    drop((changes, watched));
    Ok(())
}

/// Moves the attachment on where nothing is to be changed. False, and nothing is done, when another thread has loaded a
/// module that would have to be.
pub(super) fn move_on(
    meanwhile: &Meanwhile,
    attachment: &Attachment,
    target: &Arc<Snapshot>,
    vm: &VirtualMachine,
) -> PyResult<bool> {
    if !meanwhile.is_as_seen(vm)? {
        return Ok(false);
    }
    let world = Stopped::new(vm);
    let is_unchanged = meanwhile.is_unchanged(&world, vm);
    if is_unchanged {
        attachment.move_to(Arc::clone(target));
    }
    Ok(is_unchanged)
}

/// Makes changes that are due after an update.
pub(super) fn make(changes: &[Change], vm: &VirtualMachine) -> PyResult<()> {
    let (replaced, made) = {
        let world = Stopped::new(vm);
        change::apply(changes, &world, vm)
    };
    drop(replaced);
    made
}

/// Takes removed modules out of spaces below that got them while the update was prepared.
pub(super) fn remove_below(
    generation: &Generation,
    removed: &[(String, PyObjectRef)],
    vm: &VirtualMachine,
) -> PyResult<()> {
    for below in below(generation) {
        let modules = below.modules(vm)?;
        for (name, module) in removed {
            if modules.get_item(&**name, vm).is_ok_and(|other| other.is(module)) {
                modules.del_item(&**name, vm)?;
            }
        }
    }
    Ok(())
}

/// Makes the changes, and moves the attachment on. False, and nothing is done, when the plan does not hold any more.
pub(super) fn apply(
    generation: &Generation,
    planner: &Planner,
    (changes, watched): (Vec<Change>, Listing),
    pairs: &[Pair<'_>],
    meanwhile: Meanwhile,
    (attachment, target): (&Arc<Attachment>, &Arc<Snapshot>),
    vm: &VirtualMachine,
) -> PyResult<bool> {
    let application = Application {
        changes: Mutex::new(changes),
        watched: Mutex::new(Some(watched)),
        attachment: Arc::clone(attachment),
        target: Arc::clone(target),
        meanwhile,
        outcome: Mutex::default(),
    };
    let application = application.into_ref(&vm.ctx);
    // What RustPython keeps for the length of the calling frame, the classes that instances had among it, goes at once.
    let carry_out = bind(&CARRY_OUT, application.clone(), vm);
    planner.call_with("carry_out", (carry_out,), vm)?;
    let Some(Outcome::Made(replaced, made)) = application.outcome.lock().take() else { return Ok(false) };
    // Second copies of functions run only on threads that the new sources started.
    let is_copy = |function: &PyObject| {
        let globals = function.get_attr("__globals__", vm).ok();
        let namespaces = pairs.iter().filter_map(|(_, (_, new))| new.downcast_ref::<PyModule>());
        namespaces.into_iter().any(|new| globals.as_ref().is_some_and(|globals| globals.is(&new.dict())))
    };
    generation.state.retired.add(replaced.functions(), |function| !is_copy(function), vm);
    made.map(|()| true).map_err(|cause| {
        let message = "the update could not be applied, and was undone";
        caused(vm.new_exception_msg(class("UpdateError", vm), message.into()), cause, vm)
    })
}
