//! Taking module locks from inside the interpreter; [`super::waits`] tells how they work.

use std::sync::LazyLock;

use rustpython_vm::{PyResult, VirtualMachine};

pub(crate) use super::waits::LockKey;
use super::waits::{self, Locks};

pub(crate) type Acquired = waits::Acquired<'static>;
pub(crate) type Guard = waits::Guard<'static>;

static LOCKS: LazyLock<Locks> = LazyLock::new(Locks::default);

/// Takes the lock `key`, waiting for the thread that holds it.
///
/// # Errors
/// What a signal handler raised while the thread waited.
pub(crate) fn acquire(key: LockKey, vm: &VirtualMachine) -> PyResult<Acquired> {
    loop {
        match LOCKS.try_acquire(&key) {
            Some(acquired) => return Ok(acquired),
            None => vm.allow_threads(|| LOCKS.wait(&key)),
        }
        vm.check_signals()?;
    }
}

/// In the child of a fork: the threads that held locks or waited are not there.
pub(crate) fn after_fork() {
    crate::vm::native::unlock_after_fork(&LOCKS.0);
    LOCKS.keep_only_own();
}
