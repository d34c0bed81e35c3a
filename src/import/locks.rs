//! Module locks: one per module and space, re-entrant, held only while that module loads.
//!
//! All spaces share one waits-for graph, so a circle of threads that wait for each other is found even when it runs
//! through several spaces. CPython's rule (`Lib/importlib/_bootstrap.py`, `_ModuleLock`) resolves it: the importer
//! that would close the circle does not wait, and sees the partly initialised module.
//!
//! # Why nothing hangs
//! *Invariant:* under the mutex of [`LOCKS`], following "thread waits for lock, lock is held by thread" from any thread
//! never comes back to it. [`acquire`] adds the only edges there are (a thread to a lock it starts to wait for) and
//! walks the path first; the walk and the insertion are one critical section. Edges go when the lock is taken or the
//! wait is given up. No Python code runs and nothing is allocated on the garbage-collected heap under the mutex, and a
//! thread takes it only for a few map operations, so no thread is ever kept from reaching a safepoint by it; the wait
//! itself happens outside the interpreter (`allow_threads`), so a waiting thread never holds up a collection.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    thread::ThreadId,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use rustpython_vm::{PyResult, VirtualMachine};

/// A module of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LockKey {
    generation: u64,
    name: Arc<str>,
}

impl LockKey {
    pub(crate) fn new(generation: u64, name: &str) -> Self {
        Self { generation, name: name.into() }
    }
}

struct Held {
    by: ThreadId,
    depth: usize,
    released: Arc<Condvar>,
}

#[derive(Default)]
struct Graph {
    held: HashMap<LockKey, Held>,
    waiting: HashMap<ThreadId, LockKey>,
}

impl Graph {
    /// Whether `thread` is reached from the holder of `key` by following the waits.
    fn would_deadlock(&self, thread: ThreadId, key: &LockKey) -> bool {
        let mut key = key;
        while let Some(held) = self.held.get(key) {
            if held.by == thread {
                return true;
            }
            match self.waiting.get(&held.by) {
                Some(next) => key = next,
                None => return false,
            }
        }
        false
    }
}

static LOCKS: LazyLock<Mutex<Graph>> = LazyLock::new(Mutex::default);

/// How long a waiting thread stays away from the interpreter before it looks for signals.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// What came of asking for a lock.
#[must_use]
pub(crate) enum Acquired {
    /// The lock is held until this is dropped.
    Lock(Guard),
    /// Waiting would never have ended.
    Deadlock,
}

/// A held module lock.
pub(crate) struct Guard(LockKey);

impl Guard {
    /// Whether this is the only guard that its thread has on the lock.
    pub(crate) fn is_outermost(&self) -> bool {
        LOCKS.lock().held.get(&self.0).is_some_and(|held| held.depth == 1)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut graph = LOCKS.lock();
        let Some(held) = graph.held.get_mut(&self.0) else { return };
        held.depth -= 1;
        if held.depth == 0 {
            let released = Arc::clone(&held.released);
            graph.held.remove(&self.0);
            released.notify_all();
        }
    }
}

/// Takes the lock `key`, waiting for the thread that holds it.
///
/// # Errors
/// What a signal handler raised while the thread waited.
pub(crate) fn acquire(key: LockKey, vm: &VirtualMachine) -> PyResult<Acquired> {
    let me = std::thread::current().id();
    loop {
        match try_acquire(&key, me) {
            Some(acquired) => return Ok(acquired),
            None => vm.allow_threads(|| wait(&key, me)),
        }
        vm.check_signals()?;
    }
}

/// The lock or the deadlock, when either can be told at once.
fn try_acquire(key: &LockKey, me: ThreadId) -> Option<Acquired> {
    let mut graph = LOCKS.lock();
    match graph.held.get_mut(key) {
        None => {
            graph.held.insert(key.clone(), Held { by: me, depth: 1, released: Arc::default() });
        }
        Some(held) if held.by == me => held.depth += 1,
        Some(_) => return graph.would_deadlock(me, key).then_some(Acquired::Deadlock),
    }
    Some(Acquired::Lock(Guard(key.clone())))
}

/// Waits until the lock is released, for a while, or not at all when it is free or waiting would close a circle.
fn wait(key: &LockKey, me: ThreadId) {
    let mut graph = LOCKS.lock();
    let Some(held) = graph.held.get(key) else { return };
    if graph.would_deadlock(me, key) {
        return;
    }
    let released = Arc::clone(&held.released);
    graph.waiting.insert(me, key.clone());
    released.wait_for(&mut graph, SIGNAL_CHECK);
    graph.waiting.remove(&me);
}

/// In the child of a fork: the threads that held locks or waited are not there.
pub(crate) fn after_fork() {
    crate::vm::native::unlock_after_fork(&LOCKS);
    let me = std::thread::current().id();
    let mut graph = LOCKS.lock();
    graph.waiting.clear();
    graph.held.retain(|_, held| held.by == me);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> LockKey {
        LockKey::new(0, name)
    }

    fn thread_ids<const N: usize>() -> [ThreadId; N] {
        std::array::from_fn(|_| std::thread::spawn(|| std::thread::current().id()).join().unwrap())
    }

    fn hold(graph: &mut Graph, name: &str, by: ThreadId) {
        graph.held.insert(key(name), Held { by, depth: 1, released: Arc::default() });
    }

    #[test]
    fn a_circle_is_found_at_its_last_edge_only() {
        let [one, two, three] = thread_ids();
        let mut graph = Graph::default();
        for (name, by) in [("a", one), ("b", two), ("c", three)] {
            hold(&mut graph, name, by);
        }
        assert!(!graph.would_deadlock(one, &key("b")));
        graph.waiting.insert(one, key("b"));
        assert!(!graph.would_deadlock(two, &key("c")));
        graph.waiting.insert(two, key("c"));
        assert!(graph.would_deadlock(three, &key("a")));
    }

    #[test]
    fn a_lock_is_reentrant_and_freed_by_its_last_guard() {
        let me = std::thread::current().id();
        let name = key("reentrant");
        let first = try_acquire(&name, me);
        let second = try_acquire(&name, me);
        let [other] = thread_ids();
        assert!(try_acquire(&name, other).is_none());
        drop(first);
        assert!(try_acquire(&name, other).is_none());
        drop(second);
        assert!(matches!(try_acquire(&name, other), Some(Acquired::Lock(_))));
    }
}
