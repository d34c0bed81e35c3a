//! Makes the changes of a plan, and moves the space to its commit.

use std::sync::Arc;

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyModule},
    function::PyMethodDef,
    pyclass,
};

use super::{Pair, Work, caused, migrate::Listing, plan::Planner};
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
    outcome: Mutex<Option<(Replaced, PyResult<()>)>>,
}

payload!(Application);

#[pyclass]
impl Application {}

static CARRY_OUT: PyMethodDef = def("carry_out", carry_out);

fn carry_out(application: PyRef<Application>, vm: &VirtualMachine) {
    let changes = std::mem::take(&mut *application.changes.lock());
    let watched = application.watched.lock().take();
    let outcome = {
        let world = Stopped::new(vm);
        if let Some(watched) = &watched {
            watched.list(&world, vm);
        }
        let outcome = change::apply(&changes, &world, vm);
        if outcome.1.is_ok() {
            application.attachment.move_to(Arc::clone(&application.target));
        }
        outcome
    };
    *application.outcome.lock() = Some(outcome);
    drop((changes, watched));
}

/// Makes the changes, and moves the attachment on.
pub(super) fn apply(
    generation: &Generation,
    planner: &Planner,
    (changes, watched): (Vec<Change>, Listing),
    pairs: &[Pair<'_>],
    attachment: &Arc<Attachment>,
    target: &Arc<Snapshot>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let application = Application {
        changes: Mutex::new(changes),
        watched: Mutex::new(Some(watched)),
        attachment: Arc::clone(attachment),
        target: Arc::clone(target),
        outcome: Mutex::default(),
    };
    let application = application.into_ref(&vm.ctx);
    // What RustPython keeps for the length of the calling frame, the classes that instances had among it, goes at once.
    let carry_out = bind(&CARRY_OUT, application.clone(), vm);
    planner.call_with("carry_out", (carry_out,), vm)?;
    let Some((replaced, made)) = application.outcome.lock().take() else { return Ok(()) };
    // Second copies of functions run only on threads that the new sources started.
    let is_copy = |function: &PyObject| {
        let globals = function.get_attr("__globals__", vm).ok();
        let namespaces = pairs.iter().filter_map(|(_, (_, new))| new.downcast_ref::<PyModule>());
        namespaces.into_iter().any(|new| globals.as_ref().is_some_and(|globals| globals.is(&new.dict())))
    };
    generation.state.retired.add(replaced.functions(), |function| !is_copy(function), vm);
    made.map_err(|cause| {
        let message = "the update could not be applied, and was undone";
        caused(vm.new_exception_msg(class("UpdateError", vm), message.into()), cause, vm)
    })
}
