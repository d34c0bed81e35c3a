//! Module locks: one per module and space, re-entrant, held only while that module loads.
//!
//! All spaces share one waits-for graph, so a circle of threads that wait for each other is found even when it runs
//! through several spaces. CPython's rule (`Lib/importlib/_bootstrap.py`, `_ModuleLock`) resolves it: the importer
//! that would close the circle does not wait, and sees the partly initialised module.
//!
//! # Why nothing hangs
//! *Invariant:* under the mutex of [`Locks`], following "thread waits for lock, lock is held by thread" from any thread
//! never comes back to it. [`Locks::wait`] adds the only edges there are (a thread to a lock it starts to wait for) and
//! walks the path first; the walk and the insertion are one critical section. Edges go when the lock is taken or the
//! wait is given up. No Python code runs and nothing is allocated on the garbage-collected heap under the mutex, and a
//! thread takes it only for a few map operations, so no thread is ever kept from reaching a safepoint by it; the wait
//! itself happens outside the interpreter (`allow_threads`), so a waiting thread never holds up a collection.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::sync::{Condvar, Mutex, ThreadId, current_thread};

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
pub(super) struct Graph {
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

/// All locks that are held, and who waits for them.
#[derive(Default)]
pub(crate) struct Locks(pub(super) Mutex<Graph>);

/// How long a waiting thread stays away from the interpreter before it looks for signals.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// What came of asking for a lock.
#[must_use]
pub(crate) enum Acquired<'locks> {
    /// The lock is held until this is dropped.
    Lock(Guard<'locks>),
    /// Waiting would never have ended.
    Deadlock,
}

/// A held module lock.
pub(crate) struct Guard<'locks> {
    locks: &'locks Locks,
    key: LockKey,
}

impl Guard<'_> {
    /// Whether this is the only guard that its thread has on the lock.
    pub(crate) fn is_outermost(&self) -> bool {
        self.locks.0.lock().held.get(&self.key).is_some_and(|held| held.depth == 1)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut graph = self.locks.0.lock();
        let Some(held) = graph.held.get_mut(&self.key) else { return };
        held.depth -= 1;
        if held.depth == 0 {
            let released = Arc::clone(&held.released);
            graph.held.remove(&self.key);
            released.notify_all();
        }
    }
}

impl Locks {
    /// The lock or the deadlock, when either can be told at once.
    pub(crate) fn try_acquire(&self, key: &LockKey) -> Option<Acquired<'_>> {
        let me = current_thread().id();
        let mut graph = self.0.lock();
        match graph.held.get_mut(key) {
            None => {
                graph.held.insert(key.clone(), Held { by: me, depth: 1, released: Arc::default() });
            }
            Some(held) if held.by == me => held.depth += 1,
            Some(_) => return graph.would_deadlock(me, key).then_some(Acquired::Deadlock),
        }
        Some(Acquired::Lock(Guard { locks: self, key: key.clone() }))
    }

    /// Waits until the lock is released, for a while, or not at all when it is free or waiting would close a circle.
    pub(crate) fn wait(&self, key: &LockKey) {
        let me = current_thread().id();
        let mut graph = self.0.lock();
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
    pub(crate) fn keep_only_own(&self) {
        let me = current_thread().id();
        let mut graph = self.0.lock();
        graph.waiting.clear();
        graph.held.retain(|_, held| held.by == me);
    }
}
