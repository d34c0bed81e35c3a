//! The end of a space: close it, wait for who is inside, run its callbacks, take back what it registered, free it, and say
//! what is left and why.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use rustc_hash::FxHashSet;
use rustpython_vm::{
    AsObject, PyObjectRef, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyType},
};

use super::{
    census::Extent,
    collect, paths, registrations, reload,
    report::{DiscardReport, StayingThread},
    scope::Scope,
    tombstone,
};
use crate::{
    error::Error,
    event::EventKind,
    import::{
        generation::{Generation, Leftovers, Mark, Node, Shared, SpaceId},
        hooks,
        owner::{self, Owner},
    },
    space::Space,
    sysview::exit,
    vm::{
        frames,
        heap::{Stopped, address},
    },
};

/// How a space is to be discarded.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiscardOptions {
    /// Free the modules even when something outside holds them: functions and classes held there raise
    /// `SpaceClosedError` when called.
    pub force: bool,
    /// How long to wait for threads inside, one that reloads the space among them. `None` waits for all but daemon threads, which are not waited for, as when
    /// a program ends.
    pub timeout: Option<Duration>,
    /// Discard the descendants, too, leaves first.
    pub recursive: bool,
}

impl DiscardOptions {
    const fn effort(self) -> Effort {
        if self.force { Effort::Force } else { Effort::Thorough }
    }
}

/// A discard that came to its end.
pub(crate) struct Discarded {
    pub(crate) report: DiscardReport,
    /// Ctrl-C while it waited for threads; the space was ended all the same.
    pub(crate) interrupt: Option<PyBaseExceptionRef>,
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Discards the space `node`.
///
/// # Errors
/// [`Error::Root`], [`Error::Inside`], and [`Error::HasChildren`] unless recursive. The space is unchanged then.
pub(crate) fn discard(
    shared: &Arc<Shared>,
    node: &Arc<Node>,
    options: DiscardOptions,
    vm: &VirtualMachine,
) -> Result<Discarded, Error> {
    let mut report = DiscardReport::new(&node.name);
    if node.is_closed() {
        again(shared, node.id, options, &mut report, vm);
        return Ok(Discarded { report, interrupt: None });
    }
    if node.parent.is_none() {
        return Err(Error::Root);
    }
    let subtree = subtree_of(shared, node);
    if subtree.len() > 1 && !options.recursive {
        let children = subtree.iter().filter(|other| other.id != node.id).map(|other| format!("{:?}", other.name));
        let children = children.collect::<Vec<_>>().join(", ");
        return Err(Error::HasChildren { name: node.name.clone(), children });
    }
    if runs_on_this_thread(&subtree) {
        return Err(Error::Inside { name: node.name.clone() });
    }
    let started = Instant::now();
    // Longer than the clock goes is for ever; a wait that ends some day in a century is near enough.
    let deadline = options.timeout.map(|timeout| started.checked_add(timeout).unwrap_or(started + CENTURY));
    let mut ended = Vec::new();
    let mut interrupt = None;
    // A callback may make a child; it goes with the others.
    while let Some(next) = subtree_of(shared, node).into_iter().next() {
        // Otherwise another thread discards it, or has not finished making it and hears that it is gone.
        let Some(generation) = close(shared, &next) else { continue };
        shut(&generation);
        // Another thread may reload it, or end a generation that was superseded.
        let (working, interrupted) = wait(&generation, deadline, || reload::at_work_on(shared, next.id), vm);
        report.threads.extend(working);
        interrupt = interrupted.or(interrupt);
        // Calls may still run in generations that it took the place of.
        let draining: Vec<_> = shared.others.lock().draining.extract_if(.., |older| older.id() == next.id).collect();
        draining.iter().for_each(shut);
        for generation in draining.into_iter().chain([generation]) {
            interrupt = end(&generation, deadline, &mut report, vm).or(interrupt);
            ended.push(generation);
        }
    }
    report.generation = ended.last().map_or(0, |generation| generation.number);
    let names: Vec<_> =
        ended.iter().map(|generation| (generation.id(), generation.name().to_owned(), generation.number)).collect();
    let ids: Vec<_> = names.iter().map(|(id, ..)| *id).collect();
    reclaim(shared, &ids, ended, options.effort(), &mut report, vm);
    report.duration = started.elapsed();
    let kind = if report.is_clean() { EventKind::Discarded } else { EventKind::Leaked };
    for (id, name, number) in names {
        shared.tell_of(kind, (id, &name, number), None, || report.held.first().map(ToString::to_string));
    }
    tracing::debug!(space = node.name, objects = report.objects, held = report.held.len(), "discarded");
    Ok(Discarded { report, interrupt })
}

/// Looks again at what is left of a space that was discarded before; perhaps nothing holds it any longer.
fn again(shared: &Arc<Shared>, id: SpaceId, options: DiscardOptions, report: &mut DiscardReport, vm: &VirtualMachine) {
    let started = Instant::now();
    let left: Vec<_> = shared.leftovers.lock().generations.iter().filter_map(Weak::upgrade).collect();
    let left = left.into_iter().filter(|generation| generation.id() == id).collect();
    reclaim(shared, &[id], left, options.effort(), report, vm);
    report.duration = started.elapsed();
}

/// `node` and its descendants, leaves first.
fn subtree_of(shared: &Shared, node: &Node) -> Vec<Arc<Node>> {
    let belongs = |other: &&Arc<Node>| other.id == node.id || node.is_ancestor_of(other);
    let mut subtree: Vec<Arc<Node>> = shared.tree.read().values().filter(belongs).cloned().collect();
    subtree.sort_by_key(|node| std::cmp::Reverse(node.chain().count()));
    subtree
}

/// Takes `node` out of the tree. Of two threads that close it, one gets the generation.
fn close(shared: &Arc<Shared>, node: &Arc<Node>) -> Option<Arc<Generation>> {
    let (generation, removed) = {
        // Both at once: who makes a space gives it its generation only as long as it is in the tree.
        let mut tree = shared.tree.write();
        (node.generation.swap(None), tree.remove(node.id))
    };
    shared.forget_handle(node.id);
    drop(removed);
    generation
}

/// From here on, only the running thread may import in the generation.
fn shut(generation: &Arc<Generation>) {
    generation.tell(EventKind::Closing, None, || None);
    generation.life.begin_ending();
    generation.withdraw();
}

/// Whether a thread runs in the generation.
pub(crate) fn is_inside(generation: &Arc<Generation>, vm: &VirtualMachine) -> bool {
    !threads_inside(generation, vm).is_empty()
}

/// Brings a generation to its end in which no thread runs: code that something still holds can go on in it, and import.
pub(crate) fn finish(generation: &Arc<Generation>, vm: &VirtualMachine) {
    generation.withdraw();
    registrations::end_subscriptions(generation, None, vm);
    owner::enter(Owner::Space(Arc::clone(generation)), || {
        registrations::end_thread_pools(generation, vm);
        exit::run(generation, vm);
    });
    generation.importlib.store(None);
}

/// Brings a generation that was shut to its end: only code that something still holds can run in it afterwards, and it
/// cannot import what is not loaded.
fn end(
    generation: &Arc<Generation>,
    deadline: Option<Instant>,
    report: &mut DiscardReport,
    vm: &VirtualMachine,
) -> Option<PyBaseExceptionRef> {
    let mut interrupt = None;
    if generation.was_used() || !generation.life.is_empty() {
        registrations::end_workers(&generation.node, deadline, vm);
        registrations::end_subscriptions(generation, deadline, vm);
        owner::enter(Owner::Space(Arc::clone(generation)), || registrations::end_thread_pools(generation, vm));
        let (staying, interrupted) = wait(generation, deadline, || threads_inside(generation, vm), vm);
        report.threads.extend(staying);
        interrupt = interrupted;
        owner::enter(Owner::Space(Arc::clone(generation)), || exit::run(generation, vm));
    }
    generation.importlib.store(None);
    generation.life.finish_ending();
    interrupt
}

/// Whether a frame of one of these spaces is below this call, or one of them was entered from native code.
fn runs_on_this_thread(nodes: &[Arc<Node>]) -> bool {
    let belongs = |generation: &Generation| nodes.iter().any(|node| node.id == generation.id());
    let mut found = false;
    frames::find_builtins(frames::FrameMark::bottom(), |builtins| {
        found = Generation::of_builtins(builtins).is_some_and(|generation| belongs(&generation));
        found.then_some(())
    });
    found || owner::any_entered(belongs)
}

/// How long a thread may take to leave the space when it has left `threading`.
const LEAVING: Duration = Duration::from_millis(50);

/// The longest sleep between two looks at the threads inside.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until no thread is `inside`, and returns those that stay.
fn wait(
    generation: &Arc<Generation>,
    deadline: Option<Instant>,
    inside: impl Fn() -> Vec<u64>,
    vm: &VirtualMachine,
) -> (Vec<StayingThread>, Option<PyBaseExceptionRef>) {
    let mut pause = Duration::from_micros(50);
    let mut late_since = None;
    loop {
        let inside = inside();
        if inside.is_empty() {
            return (Vec::new(), None);
        }
        let late = match deadline {
            Some(deadline) => Instant::now() >= deadline,
            None => {
                let daemons = registrations::threads_waited_for(generation, false);
                inside.iter().all(|thread| daemons.contains(thread))
            }
        };
        // A thread that ends leaves `threading` a moment before it leaves the space.
        let since = *late_since.get_or_insert_with(Instant::now);
        if !late {
            late_since = None;
        } else if deadline.is_some() || since.elapsed() >= LEAVING {
            return (registrations::describe_threads(generation, &inside, vm), None);
        }
        vm.allow_threads(|| std::thread::sleep(pause));
        pause = (pause * 2).min(LOOK);
        if let Err(interrupt) = vm.check_signals() {
            return (registrations::describe_threads(generation, &inside, vm), Some(interrupt));
        }
    }
}

/// The threads that run a frame of the generation, or that native code took into it.
fn threads_inside(generation: &Generation, vm: &VirtualMachine) -> Vec<u64> {
    let mut threads = generation.life.inside();
    let builtins = generation.builtins_dict.as_object();
    let world = Stopped::new(vm);
    let stacks = world.stacks();
    for (thread, frames) in stacks {
        if !threads.contains(&thread) && frames.iter().any(|frame| frame.builtins().is(builtins)) {
            threads.push(thread);
        }
    }
    threads
}

/// How hard to look for what can be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Count what the generations lead to. What seems to be held, perhaps by a call that is about to return, is looked at
    /// again later.
    Quick,
    /// Empty caches of platform modules and look at all objects of the process before saying that something is held.
    Thorough,
    /// Free it even if something holds it.
    Force,
}

/// Frees what nothing outside holds of ended generations, those of earlier discards that something held then included.
/// What is held of `spaces` goes into the report.
pub(crate) fn reclaim(
    shared: &Arc<Shared>,
    spaces: &[SpaceId],
    ended: Vec<Arc<Generation>>,
    effort: Effort,
    report: &mut DiscardReport,
    vm: &VirtualMachine,
) {
    let mut remains = Remains::default();
    for generation in ended {
        if generation.was_used() || !generation.life.is_empty() {
            remains.generations.push(generation);
        } else {
            // Only dict operations, which cannot fail for lack of anything but memory.
            let _ = hooks::untie(&generation, vm);
            generation.key.keep(None);
        }
    }
    let used = remains.generations.len();
    registrations::take_back(&remains.generations, vm);
    remains.take_up(std::mem::take(&mut *shared.leftovers.lock()));
    if remains.is_empty() {
        return;
    }
    remains.collect_with(spaces, effort, report, vm);
    if !remains.is_empty() {
        if effort != Effort::Quick {
            if effort != Effort::Force {
                registrations::restore_natives(&remains.generations, vm);
            }
            let of_spaces = |id: SpaceId| spaces.contains(&id);
            let generations = remains.generations.iter().filter(|generation| of_spaces(generation.id())).cloned();
            let classes = remains.classes.iter().filter(|mark| of_spaces(mark.space)).cloned();
            let scope = Scope::new(generations.collect(), &classes.collect::<Vec<_>>(), vm);
            if !scope.is_empty() {
                report.held.extend(paths::entries(&scope, vm));
            }
        }
        remains.leave(&mut shared.leftovers.lock());
    }
    registrations::tidy_when_due(shared, used, vm);
}

/// What is being freed.
#[derive(Default)]
struct Remains {
    generations: Vec<Arc<Generation>>,
    classes: Vec<Mark>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.classes.is_empty()
    }

    fn take_up(&mut self, leftovers: Leftovers) {
        for leftover in leftovers.generations.iter().filter_map(Weak::upgrade) {
            if !self.generations.iter().any(|generation| Arc::ptr_eq(generation, &leftover)) {
                self.generations.push(leftover);
            }
        }
        self.classes.extend(leftovers.classes.into_iter().filter(|mark| mark.class.upgrade().is_some()));
    }

    fn leave(self, leftovers: &mut Leftovers) {
        leftovers.generations.extend(self.generations.iter().map(Arc::downgrade));
        leftovers.classes.extend(self.classes);
    }

    fn collect_with(&mut self, spaces: &[SpaceId], effort: Effort, report: &mut DiscardReport, vm: &VirtualMachine) {
        // Garbage that the program left behind lately; what it refers to would seem to be held. All of it would take as long as
        // the process is large.
        vm.state.gc.collect_force(1);
        if self.collect(Extent::Spaces, report, vm) || effort == Effort::Quick {
            return;
        }
        registrations::purge(&self.generations, &self.classes, vm);
        let freed = report.objects;
        if self.collect(Extent::Spaces, report, vm) || self.collect(Extent::Process, report, vm) {
            return;
        }
        // It may have been what was freed just now that native code held the rest by.
        if report.objects > freed && self.collect(Extent::Spaces, report, vm) {
            return;
        }
        if effort == Effort::Force {
            let generations: Vec<_> =
                self.generations.iter().filter(|generation| spaces.contains(&generation.id())).cloned().collect();
            let classes: Vec<_> = self.classes.iter().filter(|mark| spaces.contains(&mark.space)).cloned().collect();
            tombstone::bury(&generations, &classes, vm);
            drop(generations);
            self.collect(Extent::Process, report, vm);
        }
    }

    /// Frees what only the generations themselves keep alive, and takes those out of which nothing is left. Returns
    /// whether that was everything.
    fn collect(&mut self, extent: Extent, report: &mut DiscardReport, vm: &VirtualMachine) -> bool {
        self.classes.retain(|mark| mark.class.upgrade().is_some());
        let scope = Scope::new(self.generations.clone(), &self.classes, vm);
        let Some(collect::Found { garbage, held }) = collect::find(&scope, extent, vm) else { return false };
        report.count(garbage.objects());
        self.mark(&held, &scope, vm);
        let anything = !held.is_empty();
        drop((held, scope));
        let dead: FxHashSet<usize> = garbage.objects().iter().map(|object| address(object)).collect();
        let is_garbage = |generation: &mut Arc<Generation>| dead.contains(&address(generation.key.as_object()));
        let freed: Vec<_> = self.generations.extract_if(.., is_garbage).collect();
        for generation in &freed {
            generation.key.keep(None);
        }
        garbage.free();
        drop(freed);
        !anything
    }

    /// Remembers the classes among what is held: the module that says whose they are may go.
    fn mark(&mut self, held: &[PyObjectRef], scope: &Scope, vm: &VirtualMachine) {
        for class in held {
            if let Some(space) = class.downcast_ref::<PyType>().and_then(|class| scope.home(class, vm))
                && !self.classes.iter().any(|mark| mark.class.upgrade().is_some_and(|other| other.is(class)))
                && let Ok(class) = class.downgrade(None, vm)
            {
                self.classes.push(Mark { space, class });
            }
        }
    }
}

impl Space {
    /// Discards the space: closes it, waits for threads inside, runs its `atexit` callbacks and frees everything that
    /// nothing outside holds.
    ///
    /// What is still held goes on working, and is reported with the path that holds it; only importing what is not
    /// loaded raises `SpaceClosedError` there. Discarding a discarded space does nothing.
    ///
    /// # Errors
    /// [`Error::Root`] for the root, [`Error::HasChildren`] while it has live children (use
    /// [`DiscardOptions::recursive`]), [`Error::Inside`] when code of the space is running on this thread. The space is
    /// unchanged then.
    ///
    /// ```
    /// # let runtime = modspace::Runtime::new()?;
    /// let space = runtime.root().child().create()?;
    /// space.exec("import json; text = json.dumps([1, 2])")?;
    /// let report = space.discard()?;
    /// assert!(report.held.is_empty());
    /// # Ok::<(), modspace::Error>(())
    /// ```
    pub fn discard(&self) -> Result<DiscardReport, Error> {
        self.discard_with(DiscardOptions::default())
    }

    /// [`Space::discard`], with options.
    ///
    /// # Errors
    /// As [`Space::discard`].
    pub fn discard_with(&self, options: DiscardOptions) -> Result<DiscardReport, Error> {
        self.runtime.with(|vm| {
            let Ok(node) = self.node() else {
                let mut report = DiscardReport::default();
                again(self.runtime.shared(), self.id, options, &mut report, vm);
                return Ok(report);
            };
            let discarded = discard(self.runtime.shared(), &node, options, vm)?;
            match discarded.interrupt {
                Some(interrupt) => Err(crate::space::to_python_error(&interrupt, vm).into()),
                None => Ok(discarded.report),
            }
        })
    }
}
