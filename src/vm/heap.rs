//! The object graph, read while the world stands still.

use std::sync::atomic::Ordering;

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::{FxHashMap, FxHashSet};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyDictRef, PyType, PyWeak},
    common::{rc::PyRc, refcount::with_deferred_drops},
    frame::InterpreterFrame,
    gc_state::gc_state,
    vm::{PyGlobalState, runtime::live_interpreter_states, thread},
};

use super::edges::{self, Readers};

/// Where an object is: its identity, as `id()` has it.
pub(crate) fn address(object: &PyObject) -> usize {
    std::ptr::from_ref(object).addr()
}

/// While this exists, every other thread in any interpreter stands still.
///
/// That is what makes `&'world PyObject` true for everything reached from a live object: references are dropped by
/// threads that run, no other thread runs, and whoever holds a `Stopped` drops nothing that an object owns. It runs no
/// Python code but the `__eq__` of a key that derives from `str`, stands in a namespace, and has the hash of the name that
/// is looked up there. Threads that left the interpreter for a blocking call go on, and stop when they come back; they touch no
/// objects meanwhile.
///
/// Interpreters share classes and constants, so all of them are stopped, in the order in which a collection does it, lest
/// two that stop each other wait forever.
pub(crate) struct Stopped<'vm> {
    vm: &'vm VirtualMachine,
    interpreters: Vec<PyRc<PyGlobalState>>,
    /// Whether the running thread has a trace or profile function: native calls would call it.
    traced: bool,
    /// Given up last, when the world runs again.
    _starting: MutexGuard<'static, ()>,
}

/// Held while an interpreter is being made, and while the world is stopped: an interpreter that is only being made cannot
/// be stopped, and its objects are among all others. (RustPython's own collections have a gate for that; upstream should
/// make it public.)
static STARTING: Mutex<()> = Mutex::new(());

/// Keeps the world from being stopped. A thread that waits for it is out of the interpreter that it may be in.
pub(crate) fn while_starting<R>(body: impl FnOnce() -> R) -> R {
    let _starting = STARTING.try_lock().unwrap_or_else(|| {
        if thread::current_vm_is_set() {
            thread::with_current_vm(|vm| vm.allow_threads(|| STARTING.lock()))
        } else {
            STARTING.lock()
        }
    });
    body()
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.vm.use_tracing.set(self.traced);
        for interpreter in self.interpreters.iter().rev() {
            interpreter.stop_the_world.start_the_world(interpreter);
        }
    }
}

/// One Python frame of a thread that stands still.
#[derive(Clone, Copy)]
pub(crate) struct StoppedFrame<'world> {
    frame: &'world InterpreterFrame,
}

impl<'world> StoppedFrame<'world> {
    pub(crate) fn builtins(&self) -> &'world PyObject {
        self.frame.builtins()
    }

    /// The function that runs; code at the top of a module has none.
    pub(crate) fn function(&self) -> Option<&'world PyObject> {
        self.frame.func_obj()
    }

    pub(crate) fn code(&self) -> &'world Py<PyCode> {
        self.frame.code()
    }

    /// The number of the line it is at.
    pub(crate) fn line(&self) -> usize {
        let code = self.code();
        let last = usize::try_from(self.frame.get_lasti()).unwrap_or(0);
        match last.checked_sub(1).and_then(|last| code.locations.get(last)) {
            Some(location) => location.0.line.get(),
            None => code.first_line_number.map_or(1, |line| line.get()),
        }
    }
}

/// What classes say about their instances' references; see [`Stopped::references`].
#[derive(Default)]
pub(crate) struct ClassCache(FxHashMap<usize, Readers>);

impl<'vm> Stopped<'vm> {
    /// Stops the world. The caller must be inside the interpreter and hold no lock that another thread may wait for
    /// inside it.
    pub(crate) fn new(vm: &'vm VirtualMachine) -> Self {
        let starting = STARTING.try_lock().unwrap_or_else(|| vm.allow_threads(|| STARTING.lock()));
        let traced = vm.use_tracing.replace(false);
        let mut stopped = Self { vm, interpreters: Vec::new(), traced, _starting: starting };
        for interpreter in live_interpreter_states() {
            interpreter.stop_the_world.stop_the_world(&interpreter);
            stopped.interpreters.push(interpreter);
        }
        stopped
    }

    /// Calls `visit` once for each strong reference that `object` owns, as far as [`edges`] can read them.
    pub(crate) fn references<'world>(
        &'world self,
        object: &'world PyObject,
        classes: &mut ClassCache,
        mut visit: impl FnMut(&'world PyObject),
    ) {
        let mut extend = |child: &PyObject| {
            // SAFETY: `object` owns a reference to `child`, and keeps it while the world is stopped (see the type).
            visit(unsafe { &*std::ptr::from_ref(child) });
        };
        let readers = classes
            .0
            .entry(address(object.class().as_object()))
            .or_insert_with(|| Readers::of(object.class(), self.vm));
        readers.visit(object, self.vm, &mut extend);
    }

    /// Whether instances of exactly this class own no references.
    pub(crate) fn is_leaf(&self, class: &Py<PyType>) -> bool {
        edges::is_leaf(class, self.vm)
    }

    /// Every object that the collector tracks.
    pub(crate) fn tracked(&self) -> Vec<&PyObject> {
        let objects = self.vm.state.gc.get_objects(None);
        // SAFETY: the list was alive before it was borrowed, and nothing is dropped while the world is stopped (see the
        // type), but for the list's own references, which cannot be the last: each object had one before.
        objects.iter().map(|object| unsafe { &*object.as_raw() }).collect()
    }

    /// The tracked instances of each of the classes, and of what derives from it.
    pub(crate) fn instances(&self, classes: &[&Py<PyType>]) -> Vec<Vec<PyObjectRef>> {
        let mut found: Vec<Vec<PyObjectRef>> = classes.iter().map(|_| Vec::new()).collect();
        // Which of the classes the instances of a class are instances of.
        let mut known: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
        for object in self.tracked() {
            let kind = object.class();
            let of = known.entry(address(kind.as_object())).or_insert_with(|| {
                let order = kind.mro.read();
                let is_wanted = |class: &&Py<PyType>| order.iter().any(|base| base.is(*class));
                (0..classes.len()).filter(|number| is_wanted(&classes[*number])).collect()
            });
            for number in of {
                found[*number].push(object.to_owned());
            }
        }
        found
    }

    /// What a weak reference refers to, if that is alive.
    pub(crate) fn referent<'world>(&'world self, reference: &Py<PyWeak>) -> Option<&'world PyObject> {
        let object = reference.upgrade()?;
        // SAFETY: somebody else refers to the object, since the reference is weak, and nothing is dropped while the world
        // is stopped but this reference, which is not the last (see the type).
        Some(unsafe { &*object.as_raw() })
    }

    /// The Python frames of every thread that has any, innermost first, with the thread's identifier.
    pub(crate) fn stacks<'world>(&'world self) -> Vec<(u64, Vec<StoppedFrame<'world>>)> {
        let own = rustpython_vm::stdlib::_thread::get_ident();
        let registry = self.vm.state.thread_frames.lock();
        let mut stacks = Vec::new();
        for (thread, slot) in registry.iter() {
            let mut frames = Vec::new();
            let mut next = if *thread == own {
                rustpython_vm::frame::current_thread_iframe()
            } else {
                std::ptr::with_exposed_provenance(slot.top_iframe.load(Ordering::Relaxed))
            };
            // SAFETY: the pointers make up the chain of frames that the thread is executing. The thread is this one,
            // whose frames wait for this call to return, or stands still, so no frame of it returns or is freed while
            // the world is stopped.
            while let Some(frame) = unsafe { next.as_ref() } {
                let frame: &'world InterpreterFrame = frame;
                frames.push(StoppedFrame { frame });
                next = frame.previous();
            }
            if !frames.is_empty() {
                stacks.push((*thread, frames));
            }
        }
        stacks.sort_unstable_by_key(|(thread, _)| *thread);
        stacks
    }

    /// Lets `sys._current_frames()` copy the frames of other threads, whose variables then can be read.
    ///
    /// It does not copy where it finds a frame object on top, and a function's first call of all runs in one: the thread
    /// goes on executing it, and neither its variables nor its caller can be asked for. Without the frame object, it
    /// copies what `top_iframe` leads to. Each call and return of the thread publishes both anew; it is in neither, since
    /// it stands still. (Upstream should begin with `top_iframe` in `get_all_current_frames`.)
    pub(crate) fn hide_frame_objects(&self) {
        let own = rustpython_vm::stdlib::_thread::get_ident();
        for (_, slot) in self.vm.state.thread_frames.lock().iter().filter(|(thread, _)| **thread != own) {
            slot.top_frame.store(std::ptr::null_mut(), Ordering::Relaxed);
        }
    }

    /// Takes `garbage` out of the collector's lists and clears the weak references to it, when nothing refers to it but
    /// itself, this list, and native code of the caller: `given_up` has the object of each of those references, which the
    /// caller does not use any more until the garbage is freed.
    /// Afterwards no thread can come to an object of it. Otherwise nothing happens, and the list is given back, to be
    /// dropped when the world runs again.
    pub(crate) fn isolate(
        &self,
        garbage: Vec<PyObjectRef>,
        given_up: &[&PyObject],
    ) -> Result<Isolated, Vec<PyObjectRef>> {
        let numbers: FxHashMap<usize, usize> =
            garbage.iter().enumerate().map(|(number, object)| (address(object), number)).collect();
        let mut known = vec![1_usize; garbage.len()];
        let mut count = |child: &PyObject| {
            if let Some(number) = numbers.get(&address(child)) {
                known[*number] += 1;
            }
        };
        given_up.iter().for_each(|object| count(object));
        let mut classes = ClassCache::default();
        for object in &garbage {
            self.references(object, &mut classes, &mut count);
        }
        if garbage.iter().zip(known).any(|(object, known)| object.strong_count() != known) {
            return Err(garbage);
        }
        let late = garbage.iter().flat_map(|object| object.gc_clear_weakrefs_collect_callbacks()).collect();
        Ok(self.take_out(garbage, late))
    }

    /// [`Stopped::isolate`], of what was counted already. `unheard` is what its weak references would have called.
    ///
    /// # Safety
    /// Since before the world was stopped, nothing refers to `garbage` but itself, these two lists, and native code of the
    /// caller, which does not use its references any more until the garbage is freed: of each object, as many references
    /// were found there as it has. The weak references to it were cleared.
    pub(crate) unsafe fn isolate_counted(
        &self,
        garbage: Vec<PyObjectRef>,
        unheard: Vec<(PyRef<PyWeak>, PyObjectRef)>,
    ) -> Isolated {
        self.take_out(garbage, unheard)
    }

    fn take_out(&self, garbage: Vec<PyObjectRef>, unheard: Vec<(PyRef<PyWeak>, PyObjectRef)>) -> Isolated {
        for object in &garbage {
            if object.is_gc_tracked() {
                // SAFETY: the object is alive (`garbage` holds it) and tracked; nobody else changes that while the world
                // is stopped.
                unsafe { gc_state().untrack_object(std::ptr::NonNull::from(&**object)) };
            }
        }
        Isolated { garbage, _unheard: unheard }
    }
}

/// Garbage that only refers to itself, out of every other thread's reach. To be freed when the world runs again.
pub(crate) struct Isolated {
    garbage: Vec<PyObjectRef>,
    /// Weak references to it and their callbacks, which are not called: those of references that go with it, and those that
    /// finalizers have made since the others were called.
    _unheard: Vec<(PyRef<PyWeak>, PyObjectRef)>,
}

impl Isolated {
    pub(crate) fn objects(&self) -> &[PyObjectRef] {
        &self.garbage
    }

    /// Breaks every cycle in the garbage, and so frees it.
    pub(crate) fn free(self) {
        let mut bases: Vec<PyRef<PyType>> = Vec::new();
        for class in self.garbage.iter().filter_map(|object| object.downcast_ref::<PyType>()) {
            // The type cache holds borrowed pointers to what is about to go.
            class.modified();
            bases.extend(class.bases.read().iter().map(|base| base.to_owned()));
        }
        with_deferred_drops(|| {
            let mut released = Vec::new();
            for object in &self.garbage {
                if object.gc_has_clear() {
                    // SAFETY: exclusive access. The makers of this value, `isolate` and the caller of `isolate_counted`,
                    // counted while nothing ran: all references to the object come from the garbage itself, from `self.garbage`, and from what the
                    // caller gave up, which it does not use before this function has returned. Its weak references
                    // were cleared and it was taken out of the collector's lists, which are the other ways to come to
                    // it. No Python code runs before the last object is cleared: what is released is kept, and
                    // finalizers were called before.
                    released.push(unsafe { object.gc_clear() });
                }
            }
            drop(released);
        });
        drop(self);
        bases.sort_unstable_by_key(|class| address(class.as_object()));
        bases.dedup_by_key(|class| address(class.as_object()));
        for class in bases {
            prune_subclasses(&class);
        }
    }
}

/// Takes the entries of classes that are gone out of the list in which a class notes its subclasses; returns the others.
/// The list is pruned by nothing else but `__subclasses__()`. (Upstream should remove the entry when a class goes, as
/// CPython does.)
fn prune_subclasses(class: &Py<PyType>) -> Vec<PyObjectRef> {
    // Whatever goes goes after the lock: finalizers may make subclasses.
    let (mut alive, mut dead) = (Vec::new(), Vec::new());
    class.subclasses.write().retain(|entry| match entry.upgrade() {
        Some(subclass) => {
            alive.push(subclass);
            true
        }
        None => {
            dead.push(entry.clone());
            false
        }
    });
    alive
}

/// [`prune_subclasses`], for all classes.
pub(crate) fn prune_all_subclasses(vm: &VirtualMachine) {
    let mut next: Vec<PyObjectRef> = vec![vm.ctx.types.object_type.to_owned().into()];
    let mut seen = FxHashSet::default();
    while let Some(class) = next.pop() {
        if let Some(class) = class.downcast_ref::<PyType>()
            && seen.insert(address(class.as_object()))
        {
            next.extend(prune_subclasses(class));
        }
    }
}

/// Gives back the memory of what was in these dicts before.
///
/// A dict of RustPython's keeps room for each key that was ever put in at the place of a deleted one, so one with the same
/// few keys again and again, identifiers of threads say, grows for ever. (Upstream should count such entries when it decides
/// whether to rebuild the table.) A dict with other keys than numbers and strings is left alone: comparing them could run Python code.
/// The caller knows that no Python code loops over these: a loop would lose its place.
pub(crate) fn compact(dicts: &[PyDictRef], vm: &VirtualMachine) -> PyResult<()> {
    // Keeps what is in them until the world runs again, so that nothing is freed before.
    let mut kept = Vec::new();
    let _world = Stopped::new(vm);
    for dict in dicts {
        let items: Vec<_> = dict.clone().into_iter().collect();
        let is_plain = |key: &PyObjectRef| {
            let class = key.class();
            class.is(vm.ctx.types.int_type) || class.is(vm.ctx.types.str_type)
        };
        if items.iter().all(|(key, _)| is_plain(key)) {
            kept.extend(items.iter().cloned());
            dict.clear();
            for (key, value) in items {
                // A subclass's own `__setitem__` is not asked.
                dict.inner_setitem(&*key, value, vm)?;
            }
        }
    }
    Ok(())
}

/// Collects all garbage when there may be much of it. By itself, RustPython collects only what is young; what platform code
/// leaves behind and survived one collection would stay for ever. (Upstream should collect older objects, too, by the rule
/// that is applied here: `long_lived_pending` in CPython's `Python/gc.c`.)
pub(crate) fn collect_old_garbage(vm: &VirtualMachine) {
    let (_, pending, old) = gc_state().get_count();
    if vm.state.gc.is_enabled() && pending > old / 4 {
        vm.state.gc.collect_force(2);
    }
}
