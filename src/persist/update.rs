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

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyDictRef, PyList, PyModule, PyStr, PyStrRef, PyTuple, PyType},
    function::{FuncArgs, PyMethodDef},
    pyclass,
};

use super::{
    error::StoreError,
    finder::{Attachment, StoreFinder},
    raise::{class, raise},
    record::RecordId,
    snapshot::Snapshot,
};
use crate::{
    event::EventKind,
    import::{
        aside::Copied,
        boot, find,
        generation::Generation,
        key::SpaceKey,
        level,
        locks::{self, Acquired, LockKey},
        owner::{self, Owner},
    },
    lifecycle,
    vm::{
        change::{self, Change},
        heap::{Stopped, address},
        hidden,
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

/// What has to be done for the loaded modules of a space.
struct Work {
    /// Their names, as imports have them.
    updated: Vec<String>,
    removed: Vec<String>,
    /// Every module that is another one in the two commits, loaded or not.
    changed: HashSet<String>,
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
    if current.commit() == target.commit() && current.modules_id() == target.modules_id() {
        return Ok(report);
    }
    let work = work(generation, attachment, &current, &target, vm)?;
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
    let copied = Copied::Names(work.changed.clone());
    let what = attachment.store.describe();
    let retired = lifecycle::modules::second_copies(generation, &what, &names, copied, vm, || {
        attachment.while_ahead(Arc::clone(&target), || {
            let olds = work.updated.iter().map(|name| live.get_item(&**name, vm)).collect::<PyResult<Vec<_>>>()?;
            let news = execute(generation, &work.updated, options, vm)?;
            let aside = generation.modules(vm)?;
            let mut added = Vec::new();
            for name in &work.changed {
                if !work.updated.contains(name)
                    && let Ok(module) = aside.get_item(&**name, vm)
                    && !vm.is_none(&module)
                {
                    added.push((name.clone(), module));
                }
            }
            added.sort_by(|(one, _), (other, _)| one.cmp(other));
            let pairs: Vec<_> = work.updated.iter().zip(olds.into_iter().zip(news)).collect();
            let planner = Planner::new(generation, vm)?;
            let result = planner.plan(generation, &pairs, &added, options, &mut report, vm).and_then(|planned| {
                if dry {
                    return Ok(Vec::new());
                }
                let refused: Vec<_> =
                    report.entries.iter().filter(|entry| entry.kind == UpdateKind::Refused).cloned().collect();
                if !refused.is_empty() {
                    return Err(cannot(&refused, vm));
                }
                let mut changes = planned.changes;
                changes.extend(of_table(generation, &live, &added, &work, vm)?);
                let retired = apply(&changes, attachment, &target, vm)?;
                drop(changes);
                planner.finish(&planned.update, vm)?;
                Ok(retired)
            });
            planner.close();
            result
        })
    })?;
    if !dry {
        retire(generation, retired, vm)?;
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
    current: &Snapshot,
    target: &Snapshot,
    vm: &VirtualMachine,
) -> PyResult<Work> {
    let changes = vm.allow_threads(|| current.changes(target)).map_err(|error| raise(&error, vm))?;
    let mut changed: BTreeSet<String> = BTreeSet::new();
    for change in &changes {
        let name = change.name.strip_suffix(".__init__").unwrap_or(&change.name);
        changed.insert(name.to_owned());
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
    Ok(Work { updated, removed, changed: changed.into_iter().collect() })
}

/// The packages that a module is in.
fn packages(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(end, _)| name[..end].to_owned())
}

/// Whether the attachment's finder loaded the module.
fn is_from(attachment: &Arc<Attachment>, module: &PyObjectRef, vm: &VirtualMachine) -> PyResult<bool> {
    let Some(spec) = vm.get_attribute_opt(module, "__spec__")? else { return Ok(false) };
    let loader = vm.get_attribute_opt(&spec, "loader")?;
    Ok(loader.is_some_and(|loader| {
        loader.downcast_ref::<StoreFinder>().is_some_and(|finder| Arc::ptr_eq(&finder.0, attachment))
    }))
}

/// Imports second copies of the modules.
fn execute(
    generation: &Arc<Generation>,
    names: &[String],
    options: &UpdateOptions,
    vm: &VirtualMachine,
) -> PyResult<Vec<PyObjectRef>> {
    let _watched = Watched::begin(options.time_limit, vm);
    names
        .iter()
        .map(|name| {
            level::import_module(generation, name, vm).map_err(|error| {
                rustpython_vm::import::remove_importlib_frames(vm, &error);
                failed(name, error, vm)
            })
        })
        .collect()
}

/// The `UpdateError` for a source that raised.
fn failed(name: &str, cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
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

fn cannot(refused: &[UpdateEntry], vm: &VirtualMachine) -> PyBaseExceptionRef {
    let reasons: Vec<_> = refused.iter().map(|entry| format!("{}: {}", entry.path, entry.detail)).collect();
    let message = format!(
        "cannot be updated in place: {}; nothing was changed. Pass replace=True to put new objects in their places",
        reasons.join("; ")
    );
    vm.new_exception_msg(class("UpdateError", vm), message.into())
}

/// What happens to `sys.modules`, and to packages, with modules that come and go.
fn of_table(
    generation: &Arc<Generation>,
    live: &PyObjectRef,
    added: &[(String, PyObjectRef)],
    work: &Work,
    vm: &VirtualMachine,
) -> PyResult<Vec<Change>> {
    let Some(modules) = live.downcast_ref::<PyDict>().map(Py::to_owned) else { return Ok(Vec::new()) };
    let mut changes = Vec::new();
    let mut item = |dict: PyDictRef, key: &str, value: Option<PyObjectRef>| {
        changes.push(Change::Item { dict, key: vm.ctx.new_str(key), value });
    };
    let namespace = |name: &str| -> Option<PyDictRef> {
        Some(modules.get_item_opt(name, vm).ok()??.downcast_ref::<PyModule>()?.dict())
    };
    for (name, module) in added {
        item(modules.clone(), name, Some(module.clone()));
        if let Some((package, child)) = name.rsplit_once('.')
            && !work.updated.iter().any(|updated| updated == package)
            && let Some(package) = namespace(package)
        {
            item(package, child, Some(module.clone()));
        }
    }
    for name in &work.removed {
        let module = generation.loaded(&vm.ctx.new_str(&**name), vm)?.or(modules.get_item_opt(&**name, vm)?);
        item(modules.clone(), name, None);
        if let Some((package, child)) = name.rsplit_once('.')
            && let Some(package) = namespace(package)
            && let (Some(module), Some(attribute)) = (module, package.get_item_opt(child, vm)?)
            && attribute.is(&module)
        {
            item(package, child, None);
        }
    }
    Ok(changes)
}

/// Makes the changes, and moves the attachment on. Returns the functions that have the old code now.
fn apply(
    changes: &[Change],
    attachment: &Attachment,
    target: &Arc<Snapshot>,
    vm: &VirtualMachine,
) -> PyResult<Vec<PyObjectRef>> {
    let (replaced, made) = {
        let world = Stopped::new(vm);
        let (replaced, made) = change::apply(changes, &world, vm);
        if made.is_ok() {
            attachment.move_to(Arc::clone(target));
        }
        (replaced, made)
    };
    match made {
        Ok(()) => Ok(replaced.functions().collect()),
        Err(cause) => {
            let message = "the update could not be applied, and was undone";
            let error = vm.new_exception_msg(class("UpdateError", vm), message.into());
            Err(caused(error, cause, vm))
        }
    }
}

/// The code of `update.py`, over globals that are cleared afterwards.
struct Planner {
    globals: PyDictRef,
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
    fn new(generation: &Generation, vm: &VirtualMachine) -> PyResult<Self> {
        let globals = vm.ctx.new_dict();
        globals.set_item("__name__", vm.ctx.new_str("modspace.update").into(), vm)?;
        globals.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
        globals.set_item("modules", hidden::modules(vm)?, vm)?;
        globals.set_item(IMPORTERS.name, bind(&IMPORTERS, generation.key.clone(), vm), vm)?;
        globals.set_item(DISOWN.name, bind(&DISOWN, vm.ctx.none(), vm), vm)?;
        Ok(Self { globals })
    }

    fn close(&self) {
        self.globals.clear();
    }

    fn plan(
        &self,
        generation: &Arc<Generation>,
        pairs: &[(&String, (PyObjectRef, PyObjectRef))],
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
        );
        let planned = owner::enter(Owner::Hidden, || {
            boot::run(generation, UPDATE, "<frozen modspace.update>", &self.globals, vm)?;
            self.globals.get_item("plan", vm)?.call(args, vm)
        })?;
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

    fn finish(&self, update: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        owner::enter(Owner::Hidden, || self.globals.get_item("finish", vm)?.call((update.clone(),), vm).map(drop))
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

static IMPORTERS: PyMethodDef = def("importers", importers);

/// Who has imported names from a module, and which: in this space, and in those below it that may have taken the module
/// from it.
fn importers(key: PyRef<SpaceKey>, module: PyStrRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let generation = key.get(vm)?;
    let below: Vec<Arc<Generation>> = {
        let tree = generation.shared.tree.read();
        let nodes = tree.values().filter(|node| generation.node.is_ancestor_of(node));
        nodes.filter_map(|node| node.current()).collect()
    };
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

/// Keeps functions that have the code of others now while that code may be running, and lets go of those from before of
/// which nothing runs any more.
///
/// A frame borrows what it runs from the function that was called. So what was replaced is kept over two more updates, for
/// threads that had come to the function and not to its frame, and then until no thread has a frame of it.
fn retire(generation: &Generation, new: Vec<PyObjectRef>, vm: &VirtualMachine) -> PyResult<()> {
    let before = std::mem::take(&mut *generation.state.retired.lock());
    let mut kept = Vec::new();
    let mut over = Vec::new();
    let codes = before.iter().map(|(function, _)| function.get_attr("__code__", vm)).collect::<PyResult<Vec<_>>>()?;
    let running: HashSet<usize> = {
        let world = Stopped::new(vm);
        let frames = world.stacks().into_iter().flat_map(|(_, frames)| frames);
        frames.map(|frame| address(frame.code().as_object())).collect()
    };
    for ((function, updates), code) in before.into_iter().zip(codes) {
        if updates < 2 || running.contains(&address(&code)) {
            kept.push((function, updates + 1));
        } else {
            over.push(function);
        }
    }
    kept.extend(new.into_iter().map(|function| (function, 0)));
    generation.state.retired.lock().extend(kept);
    drop(over);
    Ok(())
}

/// Ends code that runs longer than it may: a trace function looks at the clock.
#[pyclass(module = "modspace", name = "Deadline")]
struct Deadline {
    at: Instant,
    limit: Duration,
}
payload!(Deadline);

#[pyclass]
impl Deadline {}

/// While this exists, the code that the running thread executes has to come to an end.
struct Watched<'vm> {
    vm: &'vm VirtualMachine,
    function: PyObjectRef,
}

impl<'vm> Watched<'vm> {
    /// Does nothing where somebody else traces the thread, or when the limit is longer than the clock goes.
    fn begin(limit: Duration, vm: &'vm VirtualMachine) -> Option<Self> {
        let at = Instant::now().checked_add(limit)?;
        if vm.use_tracing.get() {
            return None;
        }
        let function = bind(&LOOK, Deadline { at, limit }.into_ref(&vm.ctx), vm);
        let _ = vm.trace_func.replace(function.clone());
        vm.use_tracing.set(true);
        Some(Self { vm, function })
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        // A program may have set another one; who raises in one loses it.
        let is_ours = self.vm.trace_func.borrow().is(&self.function);
        if is_ours {
            let replaced = self.vm.trace_func.replace(self.vm.ctx.none());
            drop(replaced);
        }
        let is_used =
            !self.vm.is_none(&self.vm.trace_func.borrow()) || !self.vm.is_none(&self.vm.profile_func.borrow());
        self.vm.use_tracing.set(is_used);
    }
}

static LOOK: PyMethodDef = def("look", look);

fn look(deadline: PyRef<Deadline>, _args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    if Instant::now() >= deadline.at {
        let message = format!("the new source ran longer than {} s", deadline.limit.as_secs_f64());
        return Err(vm.new_exception_msg(vm.ctx.exceptions.timeout_error.to_owned(), message.into()));
    }
    Ok(vm.trace_func.borrow().clone())
}
