//! Lets a space see another commit: the modules that it has loaded are updated in place.
//!
//! The new sources are executed aside first, as second copies of their modules, by the running thread alone ([`execute`]);
//! a [`plan`] is made of that, and then the changes are made and the commit is moved on in one stop of all threads
//! ([`apply`]).

mod adopt;
mod ahead;
mod apply;
mod effects;
mod execute;
mod meanwhile;
mod migrate;
mod plan;
mod platform;
mod report;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rustpython_vm::{
    AsObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyStrRef},
};

pub use self::report::{UpdateEntry, UpdateKind, UpdateReport};
use self::{meanwhile::Meanwhile, plan::Planner};
use super::{
    error::StoreError,
    finder::{Attachment, is_from},
    imports::import_name,
    raise::{class, raise},
    record::Module,
    snapshot::{Found, Snapshot},
    state,
};
use crate::{
    event::EventKind,
    import::{
        find,
        generation::Generation,
        locks::{self, Acquired, LockKey},
    },
    lifecycle,
    sysview::visible,
};

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

/// How often an update begins anew because other threads have loaded modules that it should have.
const ATTEMPTS: usize = 16;

/// A module's name, and the module with its second copy.
type Pair<'name> = (&'name String, (PyObjectRef, PyObjectRef));

/// What has to be done for the loaded modules of a space.
struct Work {
    /// Their names, as imports have them.
    updated: Vec<String>,
    removed: Vec<String>,
    /// All names that mean something else from now on, with what stands in `sys.modules` under them.
    seen: Vec<(PyStrRef, Option<PyObjectRef>)>,
}

impl Work {
    fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&(_, Option<PyObjectRef>), &(_, Option<PyObjectRef>))| match (&one.1, &other.1) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.updated == other.updated && self.removed == other.removed && self.seen.iter().zip(&other.seen).all(is_same)
    }
}

/// Lets the space see the commit that `target` gives.
///
/// # Errors
/// `UpdateError` when a new source raises, runs too long, or cannot be applied in place, and when other threads do not stop
/// loading modules that the update should have; `StoreError`. The space and its modules are as before then.
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
    for _ in 0..ATTEMPTS {
        if let Some(mut report) = attempt(generation, attachment, &target, options, dry, vm)? {
            report.duration = started.elapsed();
            return Ok(report);
        }
    }
    Err(unsettled(generation, vm))
}

fn unsettled(generation: &Generation, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let message = format!(
        "other threads of the space {:?} went on loading, or defining anew, what the update is about; nothing was changed, sync \
         again",
        generation.name()
    );
    vm.new_exception_msg(class("UpdateError", vm), message.into())
}

/// The update, or `None` where the modules are not the same any more when it is to be made: nothing is changed then.
fn attempt(
    generation: &Arc<Generation>,
    attachment: &Arc<Attachment>,
    target: &Arc<Snapshot>,
    options: &UpdateOptions,
    dry: bool,
    vm: &VirtualMachine,
) -> PyResult<Option<UpdateReport>> {
    let current = attachment.snapshot();
    let mut report = UpdateReport {
        space: generation.name().to_owned(),
        from: current.commit(),
        to: target.commit(),
        ..UpdateReport::default()
    };
    let own = attachment.own();
    if current.commit() == target.commit() && current.modules_id() == target.modules_id() && own.is_empty() {
        return Ok(Some(report));
    }
    let work = work(generation, attachment, (&current, &own), target, vm)?;
    // Of all threads, before this one has its own.
    let live = generation.modules(vm)?;
    let mut meanwhile = Meanwhile::new(generation, &live, work.seen.clone());
    report.modules.clone_from(&work.updated);
    report.removed.clone_from(&work.removed);
    if work.updated.is_empty() && work.removed.is_empty() {
        return Ok((dry || apply::move_on(&meanwhile, attachment, target, vm)?).then_some(report));
    }
    let names: Vec<PyStrRef> = work.updated.iter().chain(&work.removed).map(|name| vm.ctx.new_str(&**name)).collect();
    let entries = |names: &[String]| -> Option<Vec<(String, PyObjectRef)>> {
        names.iter().map(|name| Some((name.clone(), live.get_item(&**name, vm).ok()?))).collect()
    };
    // Who has taken one out meanwhile will not have it updated.
    let (Some(olds), Some(removed)) = (entries(&work.updated), entries(&work.removed)) else { return Ok(None) };
    let olds: Vec<_> = olds.into_iter().map(|(_, old)| old).collect();
    let mut same = BTreeMap::new();
    for (name, old) in work.updated.iter().zip(&olds) {
        if let Some(stays) = stays(generation, old, target, name, vm)? {
            same.insert(name.clone(), stays);
        }
    }
    let copied = execute::new_modules(generation, &live, &names);
    let what = attachment.store.describe();
    let before = effects::Before::look(generation, vm)?;
    let made = lifecycle::modules::second_copies(generation, &what, &names, copied, vm, || {
        attachment.while_ahead(Arc::clone(target), same, || {
            let executed = execute::execute(generation, (&work.updated, &work.removed), &olds, options, vm);
            let news = executed.inspect_err(|_| execute::abandon(generation, &live, &work.updated, vm))?;
            let executed = before.compare(generation, names.iter().map(|name| name.clone().into()).collect(), vm)?;
            let added = execute::added(generation, &live, vm)?;
            meanwhile.begin_plan(&olds, &added, vm);
            let pairs: Vec<_> = work.updated.iter().zip(olds.into_iter().zip(news)).collect();
            let planner = Planner::new(generation, executed, vm)?;
            let planned = planner.plan(generation, &pairs, &added, options, &mut report, vm);
            let result = planned.map_err(|error| plan::unplanned(error, vm)).and_then(|planned| {
                if dry {
                    return planner.call("forget", &planned.update, vm).map(|()| true);
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
                    changes.extend(apply::of_tables(generation, &live, &added, &work, vm)?);
                    apply::apply(generation, &planner, (changes, watched), &pairs, meanwhile, (attachment, target), vm)
                });
                if !matches!(made, Ok(true)) {
                    planner.call("cancel", &planned.update, vm)?;
                    return made;
                }
                // The changes have been made; what is derived from them, and what other threads took meanwhile.
                let late = catch_up(generation, &planner, &planned.update, &removed, &mut report, vm);
                for error in [late, planner.call("finish", &planned.update, vm)].into_iter().filter_map(Result::err) {
                    let message = "Exception ignored after an update".to_owned();
                    visible::unraisable(generation, error, message, vm.ctx.none(), vm);
                }
                Ok(true)
            });
            let is_made = !dry && matches!(result, Ok(true));
            let copies = pairs.iter().map(|(_, (_, new))| new.clone());
            let copies: Vec<_> = copies.chain(added.iter().filter(|_| !is_made).map(|(_, new)| new.clone())).collect();
            drop((pairs, added));
            if dry && result.is_ok() {
                return Ok(Some(copies));
            }
            if !is_made || attachment.is_due() {
                lifecycle::modules::free(copies, work.updated.clone(), vm);
            }
            Ok(result?.then(Vec::new))
        })
    })?;
    let Some(left) = made else { return Ok(None) };
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
    Ok(Some(report))
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
    // Or why the work cannot be told for the moment.
    let look = || -> PyResult<Result<Work, PyBaseExceptionRef>> {
        let (mut updated, mut removed, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for name in changed.union(&above).filter(|name| attachment.has_in_view(name)) {
            let text = vm.ctx.new_str(&**name);
            // Who is in the middle of importing it comes first.
            let acquired = locks::acquire(LockKey::new(generation.serial, name), vm)?;
            let is_own_import = !matches!(&acquired, Acquired::Lock(guard) if guard.is_outermost());
            drop(acquired);
            let loaded = generation.loaded(&text, vm)?;
            let is_of_update = loaded.as_ref().map(|module| is_from(attachment, module, vm)).transpose()? == Some(true);
            let Some(module) = loaded.clone().filter(|_| is_of_update) else {
                seen.push((text, loaded));
                continue;
            };
            seen.push((text, loaded));
            let is_there = vm.allow_threads(|| target.find(name)).map_err(|error| raise(&error, vm))?.is_some();
            if !is_there {
                removed.push(name.clone());
            } else if changed.contains(name) {
                if find::is_initialising(&generation.shared.names, &module, vm)? {
                    let message = format!("{name:?} is in the middle of its import; sync when that is over");
                    let error = vm.new_exception_msg(class("UpdateError", vm), message.into());
                    return if is_own_import { Err(error) } else { Ok(Err(error)) };
                }
                updated.push(name.clone());
            }
        }
        Ok(Ok(Work { updated, removed, seen }))
    };
    // While it waited for the import of one module, another may have been loaded.
    let mut found = look()?;
    for _ in 0..ATTEMPTS {
        let again = look()?;
        match (found, again) {
            (Ok(before), Ok(now)) if now.is_same(&before) => return Ok(now),
            (_, again) => found = again,
        }
    }
    Err(found.err().unwrap_or_else(|| unsettled(generation, vm)))
}

/// Sees to what other threads have taken from modules before these changed, and after the plan was made.
fn catch_up(
    generation: &Arc<Generation>,
    planner: &Planner,
    update: &PyObjectRef,
    removed: &[(String, PyObjectRef)],
    report: &mut UpdateReport,
    vm: &VirtualMachine,
) -> PyResult<()> {
    apply::remove_below(generation, removed, vm)?;
    // While one look is made, another thread may bind what it had taken before.
    for _ in 0..ATTEMPTS {
        let changes = planner.late(update, report, vm)?;
        if changes.is_empty() {
            break;
        }
        apply::make(&changes, vm)?;
    }
    Ok(())
}

/// The values of a loaded module that stay the objects that they are: they are what `target` keeps of it.
fn stays(
    generation: &Arc<Generation>,
    old: &PyObjectRef,
    target: &Snapshot,
    name: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<state::Same>> {
    let kept = || {
        let state = target.find(name)?.and_then(Found::module).and_then(|module| module.state);
        state.map(|state| target.blob(state)).transpose()
    };
    match vm.allow_threads(kept).map_err(|error: StoreError| raise(&error, vm))? {
        Some(kept) => state::same(generation, old, &kept, vm),
        None => Ok(None),
    }
}

/// The packages that a module is in.
fn packages(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(end, _)| name[..end].to_owned())
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
