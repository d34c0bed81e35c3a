//! Import states that one thread has for itself: while it makes the import system of a space, and while it imports a second
//! copy of a module. No other thread sees what is in them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{ThreadId, current},
};

use parking_lot::Mutex;
use rustpython_vm::builtins::PyDictRef;

/// What threads have put in the place of a generation's import state.
#[derive(Default)]
pub(crate) struct Asides {
    /// How many there are; asked at every import.
    count: AtomicUsize,
    asides: Mutex<Vec<Aside>>,
}

struct Aside {
    thread: ThreadId,
    state: PyDictRef,
    copied: Option<Arc<Copied>>,
}

/// The modules of which a thread imports second copies.
pub(crate) enum Copied {
    /// This one and its submodules.
    Tree(String),
    /// Those of which this is true.
    Where(Box<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Copied {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Tree(top) => name.strip_prefix(&**top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            Self::Where(is_copied) => is_copied(name),
        }
    }
}

/// While this exists, the thread that made it has a state of its own.
pub(crate) struct Guard<'asides>(&'asides Asides);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut asides = self.0.asides.lock();
        let removed = asides.iter().rposition(|aside| aside.thread == current().id()).map(|last| asides.remove(last));
        self.0.count.store(asides.len(), Ordering::Release);
        drop(asides);
        drop(removed);
    }
}

impl Asides {
    /// Gives the running thread `state`; to import second copies of the modules `copied`, if that is what it is for.
    pub(crate) fn enter(&self, state: PyDictRef, copied: Option<Copied>) -> Guard<'_> {
        let mut asides = self.asides.lock();
        asides.push(Aside { thread: current().id(), state, copied: copied.map(Arc::new) });
        self.count.store(asides.len(), Ordering::Release);
        Guard(self)
    }

    fn last<T>(&self, read: impl FnOnce(&Aside) -> T) -> Option<T> {
        // A thread sees at least what it stored itself.
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.asides.lock().iter().rfind(|aside| aside.thread == current().id()).map(read)
    }

    /// The running thread's own state.
    pub(crate) fn state(&self) -> Option<PyDictRef> {
        self.last(|aside| aside.state.clone())
    }

    /// Whether the running thread imports a second copy, and `name` is or is not one of the copied modules.
    pub(crate) fn copies(&self, name: &str) -> Option<bool> {
        self.last(|aside| aside.copied.clone())?.map(|copied| copied.contains(name))
    }
}
