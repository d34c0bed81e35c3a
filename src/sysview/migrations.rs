//! Functions that somebody wants to be called for the instances of a class when it is updated.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustpython_vm::PyObjectRef;

/// One of them.
#[derive(Clone)]
pub(crate) struct Hook {
    /// Unique in the process.
    pub(crate) number: u64,
    /// Module and qualified name of the class.
    pub(crate) class: String,
    pub(crate) function: PyObjectRef,
    /// Whether an instance is converted when somebody touches it.
    pub(crate) is_lazy: bool,
}

/// What was registered in a space, oldest first.
#[derive(Default)]
pub(crate) struct Hooks(Mutex<Vec<Hook>>);

static NUMBER: AtomicU64 = AtomicU64::new(1);

impl Hooks {
    /// Returns the number under which the hook can be removed.
    pub(crate) fn add(&self, class: String, function: PyObjectRef, is_lazy: bool) -> u64 {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.0.lock().push(Hook { number, class, function, is_lazy });
        number
    }

    pub(crate) fn all(&self) -> Vec<Hook> {
        self.0.lock().clone()
    }

    /// Has these, too; they keep their numbers.
    pub(crate) fn carry_over(&self, hooks: Vec<Hook>) {
        self.0.lock().extend(hooks);
    }

    /// Whether there was such a hook.
    pub(crate) fn remove(&self, number: u64) -> bool {
        let removed = {
            let mut hooks = self.0.lock();
            let index = hooks.iter().position(|hook| hook.number == number);
            index.map(|index| hooks.remove(index))
        };
        removed.is_some()
    }

    pub(crate) fn clear(&self) {
        let hooks = std::mem::take(&mut *self.0.lock());
        drop(hooks);
    }
}
