//! The life of a generation, and who is inside it.
//!
//! # Why nobody uses what is freed
//! *Invariant:* a thread that went in before [`Life::begin_ending`] is among [`Life::inside`] until it comes out, and one
//! that goes in later finds the generation closed. Both the phase and the list of threads are behind one mutex, so of a
//! thread that goes in and one that ends the generation each sees the other, or is seen by it. Whoever goes in asks
//! [`Life::is_open`] *after* it did, before it touches anything; whoever ends the generation waits until nobody is inside,
//! or keeps everything alive that those inside may use.

use crate::sync::{Mutex, ThreadId, current_thread};

/// Who may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Another generation took its place; what still runs in it goes on.
    Superseded,
    /// Only the thread that ends it, which runs its `atexit` callbacks.
    Ending(ThreadId),
    Closed,
}

/// The life of a generation.
pub(crate) struct Life(Mutex<State>);

struct State {
    phase: Phase,
    /// The identifiers of the threads inside, once for each time that native code took them in.
    inside: Vec<u64>,
}

impl Default for Life {
    fn default() -> Self {
        Self(Mutex::new(State { phase: Phase::Open, inside: Vec::new() }))
    }
}

impl Life {
    /// Notes that the thread goes in, whether it may or not.
    pub(crate) fn enter(&self, thread: u64) {
        self.0.lock().inside.push(thread);
    }

    /// Notes that the thread comes out, once.
    pub(crate) fn leave(&self, thread: u64) {
        let mut state = self.0.lock();
        // The last to go in is mostly the first to come out.
        if let Some(index) = state.inside.iter().rposition(|inside| *inside == thread) {
            state.inside.swap_remove(index);
        }
    }

    /// The threads inside.
    pub(crate) fn inside(&self) -> Vec<u64> {
        let mut inside = self.0.lock().inside.clone();
        inside.sort_unstable();
        inside.dedup();
        inside
    }

    /// Whether nobody is inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().inside.is_empty()
    }

    /// Whether the running thread may import and be let in.
    pub(crate) fn is_open(&self) -> bool {
        match self.0.lock().phase {
            Phase::Open | Phase::Superseded => true,
            Phase::Ending(by) => by == current_thread().id(),
            Phase::Closed => false,
        }
    }

    /// Another generation takes its place.
    pub(crate) fn supersede(&self) {
        self.0.lock().phase = Phase::Superseded;
    }

    /// From here on, only the running thread may import.
    pub(crate) fn begin_ending(&self) {
        self.0.lock().phase = Phase::Ending(current_thread().id());
    }

    /// From here on, nobody may.
    pub(crate) fn finish_ending(&self) {
        self.0.lock().phase = Phase::Closed;
    }

    /// In the child of a fork: no other thread is there.
    pub(crate) fn keep_only(&self, thread: u64) {
        self.0.lock().inside.retain(|inside| *inside == thread);
    }
}
