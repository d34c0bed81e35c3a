//! Lets a space see another commit: the modules that it has loaded are updated in place.
//!
//! The new sources are executed aside first, as second copies of their modules, by the running thread alone; see
//! `spaces/boot/update.py` for how a plan is made of that. Then the changes are made and the commit is moved on in one stop
//! of all threads.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyDictRef, PyList, PyModule, PyStr, PyStrRef, PyTuple, PyType},
    function::{IntoFuncArgs, PyMethodDef},
    pyclass,
    vm::thread,
};

use super::{
    adopt, effects,
    error::StoreError,
    finder::{Attachment, is_from},
    imports::import_name,
    migrate::{self, Listing},
    raise::{class, raise},
    record::{Module, RecordId},
    settle::SETTLE,
    snapshot::{Found, Snapshot},
    state,
};
use crate::{
    event::EventKind,
    import::{
        aside::Copied,
        find,
        generation::Generation,
        key::SpaceKey,
        level,
        locks::{self, Acquired, LockKey},
        owner::{self, Owner},
        project,
    },
    lifecycle,
    sysview::visible,
    vm::{
        change::{self, Change, Replaced},
        deadline::Deadline,
        heap::Stopped,
        native::{bind, def, payload},
    },
};

const UPDATE: &str = include_str!("../../spaces/boot/update.py");

/// How a space comes to another commit.
#[derive(Clone, Debug)]
pub struct UpdateOptions {
    /// Whether a class that cannot be updated in place is replaced by a new one; otherwise the update is refused.
    pub replace: bool,
    /// How long the new sources may run.
    pub time_limit: Duration,
}

impl Default for UpdateOptions {
    fn default() -> Self {
        Self { replace: false, time_limit: Duration::from_secs(10) }
    }
}

/// What an update does to one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UpdateKind {
    /// It has another value, or its object takes what the new source says.
    Updated,
    /// It is new.
    Added,
    /// It goes.
    Deleted,
    /// Another module imported it and gets the new value.
    Rebound,
    /// A new object takes its place: it cannot be updated in place.
    Replaced,
    /// It cannot be updated in place, and is not to be replaced.
    Refused,
    /// Something that is worth knowing.
    Note,
}

impl UpdateKind {
    /// The kind's name in Python.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Added => "added",
            Self::Deleted => "deleted",
            Self::Rebound => "rebound",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
            Self::Note => "note",
        }
    }

    fn of(name: &str) -> Self {
        let all = [Self::Updated, Self::Added, Self::Deleted, Self::Rebound, Self::Replaced, Self::Refused];
        all.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Self::Note)
    }
}

/// One line of an [`UpdateReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpdateEntry {
    /// What happens.
    pub kind: UpdateKind,
    /// To what: module and qualified name.
    pub path: String,
    /// Why, where that is not plain.
    pub detail: String,
}

/// What an update does, or did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UpdateReport {
    /// The space's name.
    pub space: String,
    /// The commit that it saw; `None` before the first one.
    pub from: Option<RecordId>,
    /// The commit that it sees then.
    pub to: Option<RecordId>,
    /// The loaded modules that are updated.
    pub modules: Vec<String>,
    /// The loaded modules that go.
    pub removed: Vec<String>,
    /// What is done to what is in them.
    pub entries: Vec<UpdateEntry>,
    /// How long it took.
    pub duration: Duration,
}

impl UpdateReport {
    /// Adds what was done for another store that the space is attached to.
    pub(crate) fn add(&mut self, other: Self) {
        self.modules.extend(other.modules);
        self.removed.extend(other.removed);
        self.entries.extend(other.entries);
        self.duration += other.duration;
    }
}

impl std::fmt::Display for UpdateReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |id: &Option<RecordId>| id.map_or_else(|| "the beginning".to_owned(), |id| id.short());
        write!(
            formatter,
            "space {:?}: from {} to {}: {} updated, {} removed",
            self.space,
            named(&self.from),
            named(&self.to),
            self.modules.len(),
            self.removed.len()
        )?;
        for entry in &self.entries {
            write!(formatter, "\n  {:8} {}", entry.kind.as_str(), entry.path)?;
            if !entry.detail.is_empty() {
                write!(formatter, ": {}", entry.detail)?;
            }
        }
        for name in &self.removed {
            write!(formatter, "\n  removed  {name}")?;
        }
        Ok(())
    }
}

/// A module's name, and the module with its second copy.
type Pair<'name> = (&'name String, (PyObjectRef, PyObjectRef));

/// What has to be done for the loaded modules of a space.
struct Work {
    /// Their names, as imports have them.
    updated: Vec<String>,
    removed: Vec<String>,
}

/// Lets the space see the commit that `target` gives.
///
/// # Errors
/// `UpdateError` when a new source raises, runs too long, or cannot be applied in place; `StoreError`. The space and its
/// modules are as before then.
pub(crate) fn update(
    generation: &Arc<Generation>,
    attachment: &Arc<Attachment>,
    target: impl FnOnce() -> Result<Snapshot, StoreError> + Send,
    options: &UpdateOptions,
    dry: bool,
    vm: &VirtualMachine,
) -> PyResult<UpdateReport> {
    let started = Instant::now();
    // One after the other; who comes later sees what is there then.
    let Acquired::Lock(_turn) = generation.shared.reload_turn(generation.id(), vm)? else {
        let message = format!("the space {:?} is being updated by a thread that waits for this one", generation.name());
        return Err(vm.new_exception_msg(class("UpdateError", vm), message.into()));
    };
    let target = Arc::new(vm.allow_threads(target).map_err(|error| raise(&error, vm))?);
    let current = attachment.snapshot();
    let mut report = UpdateReport {
        space: generation.name().to_owned(),
        from: current.commit(),
        to: target.commit(),
        ..UpdateReport::default()
    };
    let own = attachment.own();
    if current.commit() == target.commit() && current.modules_id() == target.modules_id() && own.is_empty() {
        return Ok(report);
    }
    let work = work(generation, attachment, (&current, &own), &target, vm)?;
    report.modules.clone_from(&work.updated);
    report.removed.clone_from(&work.removed);
    if work.updated.is_empty() && work.removed.is_empty() {
        if !dry {
            attachment.move_to(target);
        }
        report.duration = started.elapsed();
        return Ok(report);
    }
    // Of all threads, before this one has its own.
    let live = generation.modules(vm)?;
    let names: Vec<PyStrRef> = work.updated.iter().chain(&work.removed).map(|name| vm.ctx.new_str(&**name)).collect();
    let stays =
        work.updated.iter().map(|name| stays(generation, &live, &target, name, vm)).collect::<PyResult<Vec<_>>>()?;
    let copied = new_modules(generation, &live, &names);
    let what = attachment.store.describe();
    let before = effects::Before::look(generation, vm)?;
    let left = lifecycle::modules::second_copies(generation, &what, &names, copied, vm, || {
        attachment.while_ahead(Arc::clone(&target), || {
            let olds = work.updated.iter().map(|name| live.get_item(&**name, vm)).collect::<PyResult<Vec<_>>>()?;
            let news = execute(generation, &work.updated, options, vm)?;
            if let Some(name) = work.updated.iter().zip(&news).find(|(_, new)| new.downcast_ref::<PyModule>().is_none())
            {
                let message = format!("the new source of {:?} puts something else into sys.modules", name.0);
                return Err(vm.new_exception_msg(class("UpdateError", vm), message.into()));
            }
            // What is kept is there already, as the objects that the program has.
            for (stays, new) in stays.iter().zip(&news) {
                stays.as_ref().map_or(Ok(()), |stays| state::stay(generation, stays, new, vm))?;
            }
            drop(stays);
            let executed = before.compare(generation, names.iter().map(|name| name.clone().into()).collect(), vm)?;
            let added = added(generation, &live, vm)?;
            let pairs: Vec<_> = work.updated.iter().zip(olds.into_iter().zip(news)).collect();
            let planner = Planner::new(generation, executed, vm)?;
            let planned = planner.plan(generation, &pairs, &added, options, &mut report, vm);
            let result = planned.map_err(|error| unplanned(error, vm)).and_then(|planned| {
                if dry {
                    return planner.call("forget", &planned.update, vm);
                }
                let refused: Vec<_> =
                    report.entries.iter().filter(|entry| entry.kind == UpdateKind::Refused).cloned().collect();
                if !refused.is_empty() {
                    planner.call("forget", &planned.update, vm)?;
                    return Err(cannot(&refused, vm));
                }
                let mut changes = planned.changes;
                let made = planner.prepare(generation, &planned.update, vm).and_then(|(more, watched)| {
                    changes.extend(more);
                    changes.extend(of_tables(generation, &live, &added, &work, vm)?);
                    apply(generation, &planner, (changes, watched), &pairs, attachment, &target, vm)
                });
                if let Err(error) = made {
                    planner.call("cancel", &planned.update, vm)?;
                    return Err(error);
                }
                // What is derived from the changes; they have been made.
                if let Err(error) = planner.call("finish", &planned.update, vm) {
                    let message = "Exception ignored after an update".to_owned();
                    visible::unraisable(generation, error, message, vm.ctx.none(), vm);
                }
                Ok(())
            });
            let copies = pairs.iter().map(|(_, (_, new))| new.clone());
            let copies: Vec<_> =
                copies.chain(added.iter().filter(|_| result.is_err() || dry).map(|(_, new)| new.clone())).collect();
            drop((pairs, added));
            if dry && result.is_ok() {
                return Ok(copies);
            }
            if result.is_err() || attachment.is_due() {
                lifecycle::modules::free(copies, work.updated.clone(), vm);
            }
            result.map(|()| Vec::new())
        })
    })?;
    if dry {
        // Now that the thread's own `sys.modules` does not hold them any more.
        report.entries.extend(effects::held_copies(left, work.updated.clone(), vm));
    } else {
        for name in &work.removed {
            generation.table.unloaded(name);
            generation.tell(EventKind::Unloaded, Some(name), || None);
        }
        for name in &work.updated {
            generation.tell(EventKind::Reloaded, Some(name), || None);
        }
    }
    report.duration = started.elapsed();
    Ok(report)
}

fn work(
    generation: &Arc<Generation>,
    attachment: &Arc<Attachment>,
    (current, own): (&Snapshot, &BTreeMap<String, Module>),
    target: &Snapshot,
    vm: &VirtualMachine,
) -> PyResult<Work> {
    let changes = vm.allow_threads(|| current.changes(target)).map_err(|error| raise(&error, vm))?;
    // What only says something else of a module changes nothing of it. Values that the space kept itself, it has.
    let mut changed: BTreeSet<String> = BTreeSet::new();
    for change in &changes {
        let name = import_name(&change.name);
        let seen = own.get(name).filter(|_| change.old.is_some()).or(change.old.as_ref());
        if state::differs(seen, change.new.as_ref()) {
            changed.insert(name.to_owned());
        }
    }
    for (name, seen) in own {
        let new = vm.allow_threads(|| target.find(name)).map_err(|error| raise(&error, vm))?.and_then(Found::module);
        if state::differs(Some(seen), new.as_ref()) {
            changed.insert(name.clone());
        }
    }
    // A package goes with the last thing in it, and comes with the first.
    let above: BTreeSet<String> = changed.iter().flat_map(|name| packages(name)).collect();
    let (mut updated, mut removed) = (Vec::new(), Vec::new());
    for name in changed.union(&above).filter(|name| attachment.has_in_view(name)) {
        let text = vm.ctx.new_str(&**name);
        // Who is in the middle of importing it comes first.
        drop(locks::acquire(LockKey::new(generation.serial, name), vm)?);
        let Some(module) = generation.loaded(&text, vm)? else { continue };
        if !is_from(attachment, &module, vm)? {
            continue;
        }
        let is_there = vm.allow_threads(|| target.find(name)).map_err(|error| raise(&error, vm))?.is_some();
        if !is_there {
            removed.push(name.clone());
        } else if changed.contains(name) {
            if find::is_initialising(&generation.shared.names, &module, vm)? {
                let message = format!("{name:?} is in the middle of its import; sync when that is over");
                return Err(vm.new_exception_msg(class("UpdateError", vm), message.into()));
            }
            updated.push(name.clone());
        }
    }
    Ok(Work { updated, removed })
}

/// The values of a loaded module that stay the objects that they are: they are what `target` keeps of it.
fn stays(
    generation: &Arc<Generation>,
    live: &PyObjectRef,
    target: &Snapshot,
    name: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<state::Same>> {
    let kept = || {
        let state = target.find(name)?.and_then(Found::module).and_then(|module| module.state);
        state.map(|state| target.blob(state)).transpose()
    };
    match vm.allow_threads(kept).map_err(|error: StoreError| raise(&error, vm))? {
        Some(kept) => state::same(generation, &live.get_item(name, vm)?, &kept, vm),
        None => Ok(None),
    }
}

/// The packages that a module is in.
fn packages(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(end, _)| name[..end].to_owned())
}

/// Which modules the running thread imports for itself while it executes new sources: what no thread has loaded, but for
/// native and platform modules. What refers to second copies is so seen by nobody else.
fn new_modules(generation: &Arc<Generation>, live: &PyObjectRef, updated: &[PyStrRef]) -> Copied {
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
fn added(
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

/// Imports second copies of the modules.
fn execute(
    generation: &Arc<Generation>,
    names: &[String],
    options: &UpdateOptions,
    vm: &VirtualMachine,
) -> PyResult<Vec<PyObjectRef>> {
    let deadline = Deadline::begin(options.time_limit, too_late, vm);
    names
        .iter()
        .map(|name| {
            let imported = level::import_module(generation, name, vm).and_then(|module| {
                deadline.as_ref().map_or(Ok(()), Deadline::check)?;
                Ok(module)
            });
            imported.map_err(|error| {
                rustpython_vm::import::remove_importlib_frames(vm, &error);
                failed(name, error, vm)
            })
        })
        .collect()
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

fn caused(error: PyBaseExceptionRef, cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
    // Without it, the message still says what went wrong.
    let _ = error.as_object().set_attr("__cause__", cause, vm);
    error
}

/// The `UpdateError` for a plan that could not be made.
fn unplanned(cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
    if !cause.fast_isinstance(vm.ctx.exceptions.exception_type) {
        return cause;
    }
    let what = cause.class().name().to_string();
    let message = format!("the update could not be planned: {what}; nothing was changed");
    caused(vm.new_exception_msg(class("UpdateError", vm), message.into()), cause, vm)
}

fn cannot(refused: &[UpdateEntry], vm: &VirtualMachine) -> PyBaseExceptionRef {
    let reasons: Vec<_> = refused.iter().map(|entry| format!("{}: {}", entry.path, entry.detail)).collect();
    let message = format!(
        "cannot be updated in place: {}; nothing was changed. Pass replace=True to put new objects in their places",
        reasons.join("; ")
    );
    vm.new_exception_msg(class("UpdateError", vm), message.into())
}

/// What happens to `sys.modules`, and to packages, with modules that come and go. Spaces below lose a module with the one
/// that they took it from.
fn of_tables(
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
fn below(generation: &Generation) -> Vec<Arc<Generation>> {
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
fn apply(
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

/// The functions of `update.py`, for one update.
struct Planner {
    functions: PyObjectRef,
    /// What was found about what the new sources did elsewhere.
    executed: PyObjectRef,
}

struct Planned {
    update: PyObjectRef,
    changes: Vec<Change>,
}

static DISOWN: PyMethodDef = def("disown", disown);

/// Takes second copies of classes out of the lists of subclasses that their bases have.
fn disown(_none: PyObjectRef, classes: Vec<PyObjectRef>) {
    for class in &classes {
        let Some(class) = class.downcast_ref::<PyType>() else { continue };
        let bases = class.bases.read().as_slice().to_vec();
        for base in bases {
            let mut gone = Vec::new();
            base.subclasses.write().retain(|entry| match entry.upgrade() {
                Some(subclass) if !subclass.is(class) => {
                    gone.push(subclass);
                    true
                }
                Some(subclass) => {
                    gone.push(subclass);
                    false
                }
                None => false,
            });
            drop(gone);
        }
    }
}

impl Planner {
    fn new(generation: &Arc<Generation>, executed: PyObjectRef, vm: &VirtualMachine) -> PyResult<Self> {
        // It uses these.
        for module in [adopt::module, migrate::module, effects::module] {
            module(generation, vm)?;
        }
        let functions = effects::platform_module(generation, "modspace.update", UPDATE, &[&DISOWN, &SETTLE], vm)?;
        Ok(Self { functions, executed })
    }

    fn call_with(&self, function: &'static str, args: impl IntoFuncArgs, vm: &VirtualMachine) -> PyResult {
        owner::enter(Owner::Hidden, || self.functions.get_attr(function, vm)?.call(args, vm))
    }

    fn plan(
        &self,
        generation: &Arc<Generation>,
        pairs: &[Pair<'_>],
        added: &[(String, PyObjectRef)],
        options: &UpdateOptions,
        report: &mut UpdateReport,
        vm: &VirtualMachine,
    ) -> PyResult<Planned> {
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let list = |items: Vec<PyObjectRef>| -> PyObjectRef { vm.ctx.new_list(items).into() };
        let tuple = |items: Vec<PyObjectRef>| -> PyObjectRef { vm.ctx.new_tuple(items).into() };
        let args = (
            list(pairs.iter().map(|(name, (old, new))| tuple(vec![text(name), old.clone(), new.clone()])).collect()),
            list(added.iter().map(|(_, module)| module.clone()).collect()),
            options.replace,
            bind(&IMPORTERS, generation.key.clone(), vm),
            bind(&UNRAISABLE, generation.key.clone(), vm),
            self.executed.clone(),
        );
        let planned = self.call_with("plan", args, vm)?;
        let wrong = || vm.new_type_error("the plan has another shape");
        let parts = planned.downcast::<PyTuple>().map_err(|_| wrong())?;
        let [update, changes, entries, _refused] = parts.as_slice() else { return Err(wrong()) };
        for entry in entries.downcast_ref::<PyList>().ok_or_else(wrong)?.borrow_vec().iter() {
            let (kind, path, detail): (PyStrRef, PyStrRef, PyStrRef) = match entry.downcast_ref::<PyTuple>() {
                Some(entry) => match entry.as_slice() {
                    [kind, path, detail] => (
                        kind.clone().try_into_value(vm)?,
                        path.clone().try_into_value(vm)?,
                        detail.clone().try_into_value(vm)?,
                    ),
                    _ => return Err(wrong()),
                },
                None => return Err(wrong()),
            };
            report.entries.push(UpdateEntry {
                kind: UpdateKind::of(&kind.to_string_lossy()),
                path: path.to_string_lossy().into_owned(),
                detail: detail.to_string_lossy().into_owned(),
            });
        }
        let changes = changes.downcast_ref::<PyList>().ok_or_else(wrong)?.borrow_vec().to_vec();
        let changes = changes.iter().map(|change| to_change(change, vm)).collect::<PyResult<_>>()?;
        Ok(Planned { update: update.clone(), changes })
    }

    /// What is to be changed beside what the plan has, and whose instances are to be listed then.
    fn prepare(
        &self,
        generation: &Generation,
        update: &PyObjectRef,
        vm: &VirtualMachine,
    ) -> PyResult<(Vec<Change>, Listing)> {
        let args = (update.clone(), migrate::registered(generation, vm));
        let changes = self.call_with("prepare", args, vm)?;
        let changes: Vec<PyObjectRef> = changes.try_to_value(vm)?;
        let changes = changes.iter().map(|change| to_change(change, vm)).collect::<PyResult<_>>()?;
        Ok((changes, Listing::of(&update.get_attr("watched", vm)?, vm)?))
    }

    /// Calls a function about what was planned.
    fn call(&self, function: &'static str, update: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        self.call_with(function, (update.clone(),), vm).map(drop)
    }
}

/// A change, as the plan has it: what it is, and its parts.
fn to_change(change: &PyObjectRef, vm: &VirtualMachine) -> PyResult<Change> {
    let wrong = || vm.new_type_error("a change in the plan has another shape");
    let parts = change.downcast_ref::<PyTuple>().ok_or_else(wrong)?.as_slice();
    let text = |object: &PyObjectRef| object.clone().downcast::<PyStr>().map_err(|_| wrong());
    let (Some(kind), Some(object)) = (parts.first(), parts.get(1)) else { return Err(wrong()) };
    let value = parts.get(3).cloned();
    let key = parts.get(2).ok_or_else(wrong)?;
    Ok(match text(kind)?.to_str() {
        Some("item") => {
            let dict = object.clone().downcast::<PyDict>().map_err(|_| wrong())?;
            Change::Item { dict, key: text(key)?, value }
        }
        Some("attribute") => Change::Attribute { object: object.clone(), name: text(key)?, value },
        Some("class") => Change::ClassAttribute { class: object.clone(), name: text(key)?, value },
        Some("swap") => Change::Swap { one: object.clone(), other: key.clone() },
        _ => return Err(wrong()),
    })
}

static UNRAISABLE: PyMethodDef = def("unraisable", unraisable);

/// Reports what a program's hook raised, by the space's `sys.unraisablehook`.
fn unraisable(
    key: PyRef<SpaceKey>,
    error: PyBaseExceptionRef,
    function: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let message = "Exception ignored while an instance took over a new class".to_owned();
    visible::unraisable(&key.get(vm)?, error, message, function, vm);
    Ok(())
}

static IMPORTERS: PyMethodDef = def("importers", importers);

/// Who has imported names from a module, and which: in this space, and in those below it that may have taken the module
/// from it.
fn importers(key: PyRef<SpaceKey>, module: PyStrRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let generation = key.get(vm)?;
    let below = below(&generation);
    let mut all = Vec::new();
    for generation in std::iter::once(generation).chain(below) {
        let Some(record) = generation.table.get(&module.to_string_lossy()) else { continue };
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for importer in record.importers {
            names.entry(importer.module).or_default().extend(importer.names);
        }
        for (importer, names) in names.into_iter().filter(|(_, names)| !names.is_empty()) {
            let found = generation.loaded(&vm.ctx.new_str(importer), vm)?;
            if let Some(found) = found.filter(|found| found.downcast_ref::<PyModule>().is_some()) {
                let names = names.into_iter().map(|name| vm.ctx.new_str(name).into()).collect();
                all.push(vm.ctx.new_tuple(vec![found, vm.ctx.new_list(names).into()]).into());
            }
        }
    }
    Ok(all)
}

fn too_late(limit: Duration, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let message = format!("the new source ran longer than {} s", limit.as_secs_f64());
    vm.new_exception_msg(class("TimeLimit", vm), message.into())
}
