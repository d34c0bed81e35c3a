//! Reloading a space: the next generation beside the old one, then a swap.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rustpython_vm::{
    AsObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyDictRef, PyList, PyModule, PyStr},
    stdlib::_thread::get_ident,
};

use super::{
    discard::{self, Effort},
    report::DiscardReport,
    scope::Scope,
};
use crate::{
    error::Error,
    event::EventKind,
    import::{
        context,
        generation::{Asked, Generation, IMPORT_STATE, Node, Others, Shared, SpaceId},
        key::{self, SpaceKey},
        level,
        locks::{self, Acquired, LockKey},
    },
    space::{Space, create::Failure, run},
    sysview::visible,
    vm::{
        heap::{ClassCache, Stopped},
        native::copy_dict,
        panic,
    },
};

/// What reloading a space changed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The space's name.
    pub space: String,
    /// The number of the new generation.
    pub generation: u64,
    /// Modules that the new generation has loaded and the old one had not.
    pub added: Vec<String>,
    /// Modules that the old generation had loaded and the new one has not; it loads them when something imports them.
    pub removed: Vec<String>,
    /// Modules of both whose source differs.
    pub changed: Vec<String>,
    /// Modules of both with the same source, or without any.
    pub unchanged: Vec<String>,
    /// How long it took until the new generation was in place.
    pub duration: Duration,
    /// What came of discarding the old generation; `None` while threads still run in it.
    pub old: Option<DiscardReport>,
}

impl std::fmt::Display for ReloadReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "space {:?}: generation {} in {:.1} ms: {} changed, {} added, {} removed, {} unchanged",
            self.space,
            self.generation,
            self.duration.as_secs_f64() * 1e3,
            self.changed.len(),
            self.added.len(),
            self.removed.len(),
            self.unchanged.len()
        )?;
        for (what, names) in [("changed", &self.changed), ("added", &self.added), ("removed", &self.removed)] {
            if !names.is_empty() {
                write!(formatter, "\n  {what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Builds the next generation of `node`, swaps it in, and discards the old one when no thread is inside.
///
/// # Errors
/// [`Error::Closed`], and what the modules raised; the old generation is in place and unchanged then.
pub(crate) fn reload(shared: &Arc<Shared>, node: &Arc<Node>, vm: &VirtualMachine) -> Result<ReloadReport, Failure> {
    let started = Instant::now();
    // Two reloads of one space, one after the other.
    let Acquired::Lock(turn) = shared.reload_turn(node.id, vm)? else {
        return Err(Error::Reloading { name: node.name.clone() }.into());
    };
    if !turn.is_outermost() {
        return Err(Error::Reloading { name: node.name.clone() }.into());
    }
    let _work = Work::begin(shared, node.id);
    let old = node.current().ok_or_else(|| Error::Closed { name: node.name.clone() })?;
    if node.parent.is_none() {
        return Err(Error::Root.into());
    }
    let (new, names) = build(&old, vm)?;
    let report = ReloadReport {
        space: node.name.clone(),
        generation: new.number,
        duration: started.elapsed(),
        ..compare(&old, &new)
    };
    // Discarded meanwhile: the new generation goes the way of the old one.
    let in_place = {
        let _world = Stopped::new(vm);
        let in_place = node.generation.compare_and_swap(&Some(Arc::clone(&old)), Some(Arc::clone(&new)));
        if in_place.as_ref().is_some_and(|current| Arc::ptr_eq(current, &old)) {
            old.life.supersede();
            names.apply(vm)?;
        }
        in_place
    };
    drop(names);
    if !in_place.as_ref().is_some_and(|current| Arc::ptr_eq(current, &old)) {
        abandon(shared, new, vm);
        return Err(Error::Closed { name: node.name.clone() }.into());
    }
    drop(in_place);
    // In front of what was asked of the new one by now.
    let later = std::mem::replace(&mut *new.asked.lock(), old.asked.lock().clone());
    new.add_asked(later);
    new.tell(EventKind::Reloaded, None, || None);
    tracing::debug!(space = node.name, generation = new.number, "reloaded");
    shared.others.lock().draining.push(old);
    // While other threads run, one of them may be about to leave the old generation: it is looked at again.
    let alone = vm.state.thread_frames.lock().len() == 1;
    let mut drained = drain(shared, if alone { Effort::Thorough } else { Effort::Quick }, vm);
    let old = drained.iter().position(|(id, old)| *id == node.id && old.generation + 1 == new.number);
    Ok(ReloadReport { old: old.map(|index| drained.swap_remove(index).1), ..report })
}

/// While this exists, who discards the space waits: the thread makes or ends a generation of it. What all generations of a
/// space have in common, its `sys` above all, is needed for that.
struct Work<'shared> {
    shared: &'shared Shared,
    entry: (SpaceId, u64),
}

impl<'shared> Work<'shared> {
    fn begin(shared: &'shared Shared, space: SpaceId) -> Self {
        Self::note(shared, &mut shared.others.lock(), space)
    }

    fn note(shared: &'shared Shared, others: &mut Others, space: SpaceId) -> Self {
        let entry = (space, get_ident());
        others.in_work.push(entry);
        Self { shared, entry }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let mut others = self.shared.others.lock();
        if let Some(index) = others.in_work.iter().position(|entry| *entry == self.entry) {
            others.in_work.swap_remove(index);
        }
    }
}

/// The other threads that make or end a generation of the space.
pub(super) fn at_work_on(shared: &Shared, space: SpaceId) -> Vec<u64> {
    let this = get_ident();
    let others = shared.others.lock();
    others.in_work.iter().filter(|(id, thread)| *id == space && *thread != this).map(|(_, thread)| *thread).collect()
}

/// How many handles a superseded generation has that nobody uses: that of the list, and that of the table by which code
/// finds it.
const UNUSED_HANDLES: usize = 2;

/// Discards the superseded generations that no thread runs in any more.
pub(crate) fn drain(shared: &Arc<Shared>, effort: Effort, vm: &VirtualMachine) -> Vec<(SpaceId, DiscardReport)> {
    let mut reports = Vec::new();
    let count = shared.others.lock().draining.len();
    for _ in 0..count {
        // One after the other: while a program hears of the end of one, nobody needs to wait for another.
        let (work, generation) = {
            let others = &mut *shared.others.lock();
            let Some(generation) = (!others.draining.is_empty()).then(|| others.draining.remove(0)) else { break };
            (Work::note(shared, others, generation.id()), generation)
        };
        // Who has just looked up the generation is about to enter it.
        if Arc::strong_count(&generation) > UNUSED_HANDLES || discard::is_inside(&generation, vm) {
            shared.others.lock().draining.push(generation);
            drop(work);
            continue;
        }
        let mut report = DiscardReport::new(generation.name());
        report.generation = generation.number;
        let id = generation.id();
        let started = Instant::now();
        discard::finish(&generation, vm);
        discard::reclaim(shared, &[id], vec![generation], effort, &mut report, vm);
        report.duration = started.elapsed();
        reports.push((id, report));
    }
    reports
}

/// The next generation: configured as the old one, and with what was asked of that imported and run.
fn build(old: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<(Arc<Generation>, Names)> {
    let first = separate(old, vm)?;
    let key = SpaceKey::new(old.name()).into_ref(&vm.ctx);
    let (builtins, builtins_dict) = visible::new_builtins(vm)?;
    let sys = (old.sys.clone(), old.sys_dict.clone());
    let new = Generation::new(
        &old.node,
        &old.shared,
        old.number + 1,
        old.policy.clone(),
        key,
        sys,
        (builtins, builtins_dict),
    );
    let scope = Scope::new(vec![Arc::clone(old)], &[], vm);
    carry_builtins(old, &new, &scope, vm)?;
    let hooks = old.state.migrations.all().into_iter();
    new.state.migrations.carry_over(hooks.filter(|hook| is_foreign(&scope, &hook.function, vm)).collect());
    let state = vm.ctx.new_dict();
    let modules = vm.ctx.new_dict();
    modules.set_item("sys", new.sys.clone().into(), vm)?;
    modules.set_item("builtins", new.builtins.clone().into(), vm)?;
    for (name, module) in stand_ins(old, &scope, vm)? {
        modules.set_item(&*name, module, vm)?;
    }
    state.set_item("modules", modules.into(), vm)?;
    new.set_import_state(state);
    new.publish();
    let main = old.main.get().cloned();
    let before = main.as_ref().map(|main| copy_dict(&main.dict(), vm));
    if let Some(main) = &main {
        let _ = new.main.set(main.clone());
        new.modules(vm)?.set_item("__main__", main.clone().into(), vm)?;
    }
    let system = Kept::of(&old.sys_dict, vm);
    // The new import system sets what is not set.
    for name in ["__spec__", "__loader__"] {
        old.sys_dict.set_item(name, vm.ctx.none(), vm)?;
    }
    let result = configure(old, &new, &scope, vm)
        .and_then(|()| ask(old, &new, main.as_ref().map(|main| main.dict()), &scope, vm))
        .and_then(|()| match (&main, &before) {
            (Some(main), Some(before)) => rebind(main.dict(), before.clone(), &new, &scope, vm),
            _ => Ok(Names::default()),
        })
        .and_then(|names| visible::bind_sys(&new.key, &new.sys_dict, vm).map(|()| names));
    let error = match result {
        Ok(names) => return Ok((new, names)),
        Err(error) => error,
    };
    rustpython_vm::import::remove_importlib_frames(vm, &error);
    old.tell(EventKind::Failed, None, || Some(format!("reload: {}", error.class().name())));
    let undo = || -> PyResult<()> {
        system.restore(&old.sys_dict, vm)?;
        if let (Some(main), Some(before)) = (&main, &before) {
            restore(&main.dict(), before, vm)?;
        }
        if first {
            rejoin(old, vm)?;
        }
        Ok(())
    };
    abandon(&Arc::clone(&old.shared), new, vm);
    let undone = undo();
    undone.and(Err(error))
}

/// Ends a generation that did not come to be.
fn abandon(shared: &Arc<Shared>, new: Arc<Generation>, vm: &VirtualMachine) {
    discard::finish(&new, vm);
    discard::reclaim(shared, &[], vec![new], Effort::Quick, &mut DiscardReport::default(), vm);
}

/// Gives the old generation an import state of its own, if it is the space's first; returns whether it is.
pub(super) fn separate(old: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<bool> {
    // Not while its import system is being made.
    let _lock = locks::acquire(LockKey::new(old.serial, "_frozen_importlib"), vm)?;
    if !old.import_state().is(&old.sys_dict) {
        return Ok(false);
    }
    // Two generations with one import state would import into each other.
    if !move_import_state(old, &old.sys_dict, vm.ctx.new_dict(), vm)? {
        return Err(key::closed(old.name(), vm));
    }
    Ok(true)
}

/// Undoes [`separate`].
pub(super) fn rejoin(old: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<()> {
    // Closed meanwhile, it keeps what it has.
    move_import_state(old, &old.import_state(), old.sys_dict.clone(), vm).map(drop)
}

/// Returns whether it moved, which it does not once the generation was withdrawn. What a program has assigned in `to`
/// stays.
fn move_import_state(old: &Generation, from: &PyDictRef, to: PyDictRef, vm: &VirtualMachine) -> PyResult<bool> {
    // Keeps every value until the world runs again, so that nothing is freed before.
    let mut values = Vec::new();
    // Who looks something up finds the state and its entry without a stop between: it sees both moves or neither.
    let world = Stopped::new(vm);
    let moved = old.set_import_state(to.clone());
    if moved {
        for name in IMPORT_STATE {
            if let Some(value) = from.get_item_opt(name, vm)? {
                if !to.contains_key(name, vm) {
                    to.set_item(name, value.clone(), vm)?;
                }
                from.del_item(name, vm)?;
                values.push(value);
            }
        }
    }
    drop(world);
    Ok(moved)
}

/// The entries of `sys.modules` that somebody put there: no import of the space made them.
fn stand_ins(old: &Generation, scope: &Scope, vm: &VirtualMachine) -> PyResult<Vec<(PyObjectRef, PyObjectRef)>> {
    let Ok(modules) = old.modules(vm)?.downcast::<PyDict>() else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    for (name, module) in modules {
        let Some(text) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str()) else { continue };
        if old.is_stand_in(text, &module) && is_foreign(scope, &module, vm) {
            kept.push((name, module));
        }
    }
    Ok(kept)
}

/// Whether `object` is nobody's of the spaces, and leads to nothing of theirs.
fn is_foreign(scope: &Scope, object: &PyObjectRef, vm: &VirtualMachine) -> bool {
    !super::paths::belongs(scope, object, vm)
        && !super::paths::leads_into(scope, object, &Stopped::new(vm), &mut ClassCache::default(), vm)
}

/// Carries over the finders and path hooks that somebody added.
fn configure(old: &Arc<Generation>, new: &Arc<Generation>, scope: &Scope, vm: &VirtualMachine) -> PyResult<()> {
    if !old.boot_began.load(std::sync::atomic::Ordering::Acquire) {
        return Ok(());
    }
    crate::import::boot::importlib(new, vm)?;
    for name in ["meta_path", "path_hooks"] {
        let items = |generation: &Generation| -> PyResult<Option<Vec<PyObjectRef>>> {
            generation.import_state().get_item_opt(name, vm)?.map(|items| items.try_to_value(vm)).transpose()
        };
        // Another thread may be making the old one's import system.
        let (Some(before), Some(own)) = (items(old)?, items(new)?) else { continue };
        let foreign = |item: &PyObjectRef| is_foreign(scope, item, vm);
        // Where they stood relative to the space's own finders, which are new.
        let first_own = before.iter().position(|item| !foreign(item)).unwrap_or(before.len());
        let (front, back): (Vec<_>, Vec<_>) =
            before.iter().enumerate().filter(|(_, item)| foreign(item)).partition(|(index, _)| *index < first_own);
        let items = |items: Vec<(usize, &PyObjectRef)>| -> Vec<PyObjectRef> {
            items.into_iter().map(|(_, item)| item.clone()).collect()
        };
        let merged = [items(front), own, items(back)].concat();
        new.import_state().set_item(name, vm.ctx.new_list(merged).into(), vm)?;
    }
    Ok(())
}

/// Imports and runs in the new generation what was asked of the old one by name.
fn ask(
    old: &Arc<Generation>,
    new: &Arc<Generation>,
    main: Option<PyDictRef>,
    scope: &Scope,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let asked = old.asked.lock().clone();
    let runs = asked.iter().any(|asked| !matches!(asked, Asked::Import(_)));
    if let Some(main) = main.filter(|_| runs) {
        // What the old program defined goes; what it was given stays.
        for (name, value) in main.clone() {
            let defined = name.downcast_ref::<PyStr>().and_then(|name| name.to_str());
            let is_defined = defined.is_some_and(|name| old.defined.lock().contains(name));
            if is_defined || super::paths::belongs(scope, &value, vm) {
                remove(&main, &name, vm)?;
            }
        }
        main.set_item("__builtins__", new.builtins.clone().into(), vm)?;
    }
    let path =
        |vm: &VirtualMachine| -> PyResult<Vec<PyObjectRef>> { new.sys_dict.get_item("path", vm)?.try_to_value(vm) };
    let before = path(vm)?;
    context::enter(Arc::clone(new), vm, || {
        panic::catch(vm, || {
            for asked in asked {
                match asked {
                    Asked::Import(name) => level::import_module(new, &name, vm).map(drop)?,
                    Asked::Path(path, argv) => run::path(new, &path, argv, vm)?,
                    Asked::Module(name, argv) => run::module(new, &name, argv, vm)?,
                }
            }
            Ok(())
        })
    })?;
    if !runs {
        return Ok(());
    }
    // A program's directory goes in front of `sys.path` each time it is run: once is enough.
    let now = path(vm)?;
    let front = now.len().saturating_sub(before.len());
    if now[front..].iter().zip(&before).all(|(now, before)| now.is(before)) {
        let mut kept = Vec::new();
        for entry in &now[..front] {
            let known = before.iter().chain(&kept).any(|other| vm.bool_eq(entry, other).unwrap_or(false));
            if !known {
                kept.push(entry.clone());
            }
        }
        kept.extend(before);
        let list = new.sys_dict.get_item("path", vm)?;
        vm.call_method(&list, "clear", ())?;
        vm.call_method(&list, "extend", (vm.ctx.new_list(kept),))?;
    }
    Ok(())
}

/// What the names in `__main__` are to mean from the swap on. It keeps what they meant before: nothing may be freed while
/// the world is stopped.
#[derive(Default)]
struct Names {
    main: Option<PyDictRef>,
    changes: Vec<(PyObjectRef, Option<PyObjectRef>)>,
    _before: Option<PyDictRef>,
}

impl Names {
    fn apply(&self, vm: &VirtualMachine) -> PyResult<()> {
        let Some(main) = &self.main else { return Ok(()) };
        for (name, value) in &self.changes {
            match value {
                Some(value) => main.set_item(&**name, value.clone(), vm)?,
                None => remove(main, name, vm)?,
            }
        }
        Ok(())
    }
}

/// Makes the names in `__main__` mean the new generation: modules are those of that name, what else was the old one's goes.
fn rebind(
    main: PyDictRef,
    before: PyDictRef,
    new: &Arc<Generation>,
    scope: &Scope,
    vm: &VirtualMachine,
) -> PyResult<Names> {
    let builtins: PyObjectRef = vm.ctx.new_str("__builtins__").into();
    let mut changes = vec![(builtins.clone(), Some(new.builtins.clone().into()))];
    for (name, value) in before.clone() {
        let unchanged = main.get_item_opt(&*name, vm)?.is_some_and(|now| now.is(&value));
        if !unchanged || vm.bool_eq(&name, &builtins)? {
            continue;
        }
        if !super::paths::belongs(scope, &value, vm) {
            continue;
        }
        let module_name = value.downcast_ref::<PyModule>().map(|module| module.dict().get_item_opt("__name__", vm));
        let replacement = match module_name.transpose()?.flatten().and_then(|name| name.downcast::<PyStr>().ok()) {
            Some(module_name) => new.loaded(&module_name, vm)?,
            None => None,
        };
        changes.push((name, replacement));
    }
    Ok(Names { main: Some(main), changes, _before: Some(before) })
}

/// What is in a `sys` dict, and in the lists there. Restored, it undoes what a generation that failed did to `sys`; what
/// other threads did there meanwhile is undone with it, for it cannot be told apart.
struct Kept {
    dict: PyDictRef,
    lists: Vec<(PyRef<PyList>, Vec<PyObjectRef>)>,
}

impl Kept {
    fn of(dict: &PyDictRef, vm: &VirtualMachine) -> Self {
        let dict = copy_dict(dict, vm);
        let lists = dict.clone().into_iter().filter_map(|(_, value)| value.downcast::<PyList>().ok());
        let lists = lists.map(|list| (list.clone(), list.borrow_vec().to_vec())).collect();
        Self { dict, lists }
    }

    fn restore(self, dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
        restore(dict, &self.dict, vm)?;
        for (list, items) in self.lists {
            let replaced = std::mem::replace(&mut *list.borrow_vec_mut(), items);
            drop(replaced);
        }
        Ok(())
    }
}

/// Gives the new generation's builtins what somebody put into the old one's, but for what is the old one's own.
fn carry_builtins(old: &Generation, new: &Generation, scope: &Scope, vm: &VirtualMachine) -> PyResult<()> {
    let interpreter = vm.builtins.dict();
    for (name, value) in old.builtins_dict.clone() {
        let is_new = interpreter.get_item_opt(&*name, vm)?.is_none_or(|theirs| !theirs.is(&value));
        let bound_to = |value: &PyObjectRef| vm.get_attribute_opt(value, "__self__").ok().flatten();
        let is_own = || bound_to(&value).is_some_and(|this| this.is(&old.builtins));
        // Somebody's own `__import__` goes on to call the old one.
        let is_its_own = ["__spec__", "__loader__", "__import__", "exec", "eval", "__build_class__"];
        let text = name.downcast_ref::<PyStr>().and_then(|name| name.to_str());
        if is_new && !is_own() && !text.is_some_and(|name| is_its_own.contains(&name)) && is_foreign(scope, &value, vm)
        {
            new.builtins_dict.set_item(&*name, value, vm)?;
        }
    }
    Ok(())
}

/// Takes `name` out of a namespace, if other threads have left it there.
fn remove(namespace: &PyDictRef, name: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    match namespace.del_item(&**name, vm) {
        Err(error) if error.fast_isinstance(vm.ctx.exceptions.key_error) => Ok(()),
        result => result,
    }
}

/// Gives a dict, that of `__main__` say, back what it had.
fn restore(main: &PyDictRef, before: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    for (name, _) in main.clone() {
        if !before.contains_key(&*name, vm) {
            remove(main, &name, vm)?;
        }
    }
    for (name, value) in before.clone() {
        main.set_item(&*name, value, vm)?;
    }
    Ok(())
}

/// The modules of two generations side by side.
fn compare(old: &Generation, new: &Generation) -> ReloadReport {
    let own = |generation: &Generation| -> BTreeMap<String, Option<[u8; 32]>> {
        let names = generation.table.names().into_iter();
        names
            .filter_map(|name| {
                let record = generation.table.get(&name)?;
                let loaded = record.state == crate::import::table::ModuleState::Ready && record.from.is_none();
                (loaded && record.loader.is_some()).then_some((name, record.source_hash))
            })
            .collect()
    };
    let (old, new) = (own(old), own(new));
    let mut report = ReloadReport::default();
    for (name, hash) in &new {
        match old.get(name) {
            None => report.added.push(name.clone()),
            Some(before) if before == hash => report.unchanged.push(name.clone()),
            Some(_) => report.changed.push(name.clone()),
        }
    }
    report.removed = old.into_keys().filter(|name| !new.contains_key(name)).collect();
    report
}

/// The exception for a failed reload.
pub(crate) fn raise(failure: Failure, raise: impl FnOnce(&Error) -> PyBaseExceptionRef) -> PyBaseExceptionRef {
    match failure {
        Failure::Raised(error) => error,
        Failure::Refused(error) => raise(&error),
    }
}

impl Space {
    /// Reloads the space: builds its next generation beside the old one, imports and runs there what was asked of the
    /// space by name, and swaps it in. Calls that run finish in the old generation, which is discarded when no thread is
    /// in it any more.
    ///
    /// Configuration survives: `sys.path` and the rest of `sys`, finders and stand-ins that somebody added, streams, what
    /// was put into `builtins`, the identity of `sys` and of `__main__`'s namespace. Modules do not. That namespace is one
    /// for all generations: code that runs in it while the space is reloaded finds what the old generation's names meant
    /// gone.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded, [`Error::Root`] for the root,
    /// [`Error::Python`] with what a module raised. The space is unchanged then.
    ///
    /// ```
    /// # let runtime = modspace::Runtime::new()?;
    /// let space = runtime.root().child().create()?;
    /// space.import("json")?;
    /// let report = space.reload()?;
    /// assert_eq!(report.generation, 2);
    /// # Ok::<(), modspace::Error>(())
    /// ```
    pub fn reload(&self) -> Result<ReloadReport, Error> {
        let node = self.node()?;
        self.runtime.with(|vm| {
            reload(self.runtime.shared(), &node, vm).map_err(|failure| match failure {
                Failure::Refused(error) => error,
                Failure::Raised(error) => crate::space::to_python_error(&error, vm).into(),
            })
        })
    }
}
