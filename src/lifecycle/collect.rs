//! Finding garbage, finishing it, and taking it out of everybody's reach.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyList, PyWeak},
    function::PyMethodDef,
};

use super::{
    census::{Census, Extent},
    scope::{Belongs, Scope},
};
use crate::{
    import::generation::Generation,
    sysview::visible,
    vm::{
        heap::{Isolated, Stopped, address},
        native::def,
        panic,
    },
};

/// How often garbage may come to life again in a finalizer before it is left alone.
const ROUNDS: usize = 8;

/// What a scope was found to consist of.
pub(super) struct Found {
    /// What nothing outside holds.
    pub(super) garbage: Isolated,
    /// What surely belongs to the scope and is held.
    pub(super) held: Vec<PyObjectRef>,
}

/// Finds the garbage of `scope`, and runs its weakref callbacks and finalizers while everything is whole. `None` when
/// these brought some of it to life again, each time.
pub(super) fn find(scope: &Scope, extent: Extent, vm: &VirtualMachine) -> Option<Found> {
    for _ in 0..ROUNDS {
        let (garbage, held) = {
            let world = Stopped::new(vm);
            let counted = Census::take(&world, scope, extent, vm);
            let owned = |objects: &[&PyObject]| -> Vec<PyObjectRef> {
                objects.iter().map(|object| (*object).to_owned()).collect()
            };
            let (garbage, held) = (owned(&counted.garbage), owned(&counted.held));
            let last_words = LastWords::of(&garbage, scope, vm);
            if last_words.are_none() {
                // SAFETY: the world has stood still since they were counted: nothing refers to them but they themselves,
                // `garbage`, what the generations among them own, and what was taken out of their weak references. Nobody
                // else has a handle of one of these generations (`Scope::is_in_use`), and who ends it does not use it any
                // more until the garbage is freed.
                let garbage = unsafe { world.isolate_counted(garbage, last_words.unheard) };
                return Some(Found { garbage, held });
            }
            drop(world);
            last_words.hear(scope, vm);
            (garbage, held)
        };
        let isolated = {
            let world = Stopped::new(vm);
            // A thread may have come in while finalizers ran.
            if garbage.iter().any(|object| scope.is_in_use(object)) {
                Err(garbage)
            } else {
                let mut given_up: Vec<_> = scope.pinned().collect();
                for generation in garbage.iter().filter_map(|object| scope.keyed(object)) {
                    generation.references(&mut |object| given_up.push(object));
                }
                world.isolate(garbage, &given_up)
            }
        };
        match isolated {
            Ok(garbage) => return Some(Found { garbage, held }),
            // Here the world runs, so it may be dropped.
            Err(alive) => drop(alive),
        }
    }
    None
}

/// What is to be called before garbage is freed.
struct LastWords {
    /// Weak references, which are cleared, and what they are to call.
    callbacks: Vec<(PyRef<PyWeak>, PyObjectRef)>,
    /// Those that are not to be called. Nothing may be dropped while the world stands still.
    unheard: Vec<(PyRef<PyWeak>, PyObjectRef)>,
    finalizable: Vec<PyObjectRef>,
}

impl LastWords {
    /// Clears the weak references to `garbage`.
    fn of(garbage: &[PyObjectRef], scope: &Scope, vm: &VirtualMachine) -> Self {
        let all: Vec<_> = garbage.iter().flat_map(|object| object.gc_clear_weakrefs_collect_callbacks()).collect();
        let dying: FxHashSet<usize> =
            if all.is_empty() { FxHashSet::default() } else { garbage.iter().map(|object| address(object)).collect() };
        // As CPython has it, a reference that dies itself is not told, unless a program's own function is to be: those of
        // platform code (`WeakMethod`, `WeakValueDictionary`) tidy up what goes anyway.
        let (callbacks, unheard) = all.into_iter().partition(|(reference, callback)| {
            !dying.contains(&address(reference.as_object())) || scope.belongs(callback, vm) == Belongs::Core
        });
        let is_finalizable =
            |object: &&PyObjectRef| object.class().slots.del.load().is_some() && !object.gc_finalized();
        Self { callbacks, unheard, finalizable: garbage.iter().filter(is_finalizable).cloned().collect() }
    }

    /// Whether no Python code is to be called.
    fn are_none(&self) -> bool {
        self.callbacks.is_empty() && self.finalizable.is_empty()
    }

    /// Runs the callbacks, then the finalizers. What they raise is reported to the `sys.unraisablehook` of the space that
    /// they belong to.
    fn hear(self, scope: &Scope, vm: &VirtualMachine) {
        for (reference, callback) in self.callbacks {
            if let Err(error) = callback.call((reference,), vm) {
                report(error, "Exception ignored while calling weakref callback", callback, scope, vm);
            }
        }
        let mut rest = self.finalizable.into_iter().map(|object| (scope.generation_of(&object, vm), object)).peekable();
        while let Some((generation, object)) = rest.next() {
            let mut objects = vec![object];
            let is_same = |other: Option<&Arc<Generation>>| other.map(Arc::as_ptr) == generation.map(Arc::as_ptr);
            while let Some((_, object)) = rest.next_if(|(other, _)| is_same(*other)) {
                objects.push(object);
            }
            // The interpreter reports what they raise to the space of the topmost frame.
            if let Some(generation) = generation {
                let bound = vm.ctx.new_list(objects.clone());
                // What may fail is the way to the finalizers.
                let _ = visible::in_space(generation, &FINALIZE, bound.into(), vm);
            }
            objects.iter().for_each(|object| object.try_call_finalizer());
        }
    }
}

static FINALIZE: PyMethodDef = def("finalize", call_finalizers);

fn call_finalizers(objects: PyRef<PyList>, vm: &VirtualMachine) -> PyResult<()> {
    let objects = std::mem::take(&mut *objects.borrow_vec_mut());
    // RustPython takes it for granted that it can import `sys` and that there is a hook. (Upstream should fall back on its
    // own, as CPython does.)
    vm.import("sys", 0)?.get_attr("unraisablehook", vm)?;
    panic::catch(vm, || {
        objects.iter().for_each(|object| object.try_call_finalizer());
        Ok(())
    })
}

fn report(error: PyBaseExceptionRef, message: &str, object: PyObjectRef, scope: &Scope, vm: &VirtualMachine) {
    match scope.generation_of(&object, vm) {
        Some(generation) => visible::unraisable(generation, error, message.to_owned(), object, vm),
        None => vm.run_unraisable(error, Some(message.to_owned()), object),
    }
}
