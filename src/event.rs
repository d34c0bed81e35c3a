//! What happens in a runtime, told to subscribers.
//!
//! Whoever makes something happen puts it into the channel of every subscriber and goes on: channels have no limit, and
//! nobody is called then. A subscriber takes events out in its own time, on its own thread. All subscribers get all
//! events in the same order, because numbering an event and sending it are one critical section.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Instant, SystemTime},
};

use crossbeam::channel::{Receiver, Sender, unbounded};
use parking_lot::{Condvar, Mutex};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A space was made.
    Created,
    /// A space was entered from Rust, or by one of its `ModuleSpace` object's methods.
    Entered,
    /// A space loaded a module itself.
    Imported,
    /// A space, or a single module, was reloaded.
    Reloaded,
    /// A module was unloaded.
    Unloaded,
    /// A space is being closed.
    Closing,
    /// A space was discarded, and nothing of it is left.
    Discarded,
    /// A space was discarded, and something outside holds it.
    Leaked,
    /// Loading a module, or reloading a space, failed.
    Failed,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Entered,
        Self::Imported,
        Self::Reloaded,
        Self::Unloaded,
        Self::Closing,
        Self::Discarded,
        Self::Leaked,
        Self::Failed,
    ];

    /// The kind's name in Python.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Entered => "entered",
            Self::Imported => "imported",
            Self::Reloaded => "reloaded",
            Self::Unloaded => "unloaded",
            Self::Closing => "closing",
            Self::Discarded => "discarded",
            Self::Leaked => "leaked",
            Self::Failed => "failed",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// What kind of thing.
    pub kind: EventKind,
    /// The name of the space it happened in.
    pub space: String,
    /// The space's id, as a number.
    pub space_id: u64,
    /// The generation it happened in.
    pub generation: u64,
    /// The module it happened to.
    pub module: Option<String>,
    /// What else there is to say: what holds a leaked space, why something failed.
    pub message: Option<String>,
    /// Its number: events are numbered in order, without gaps for a subscriber that takes all kinds.
    pub number: u64,
    /// When it happened.
    pub time: SystemTime,
}

/// How far a thread has come that hands events on to a function.
#[derive(Default)]
pub(crate) struct Delivery {
    pub(crate) number: u64,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// All events with a smaller number were handed on.
    next: u64,
    finished: bool,
}

/// A thread that works for a space until it is told to end.
#[derive(Default)]
pub(crate) struct Worker {
    ended: AtomicBool,
    progress: Delivery,
}

impl Worker {
    /// Tells it to end; it does within a tenth of a second, or when what it is at is done.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The thread is out of the interpreter.
    pub(crate) fn finish(&self) {
        self.progress.finish();
    }

    /// Waits for that; false when the time is up.
    pub(crate) fn wait_until_finished(&self, until: Instant) -> bool {
        self.progress.wait_until_finished(until)
    }
}

impl Delivery {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    pub(crate) fn delivered(&self, number: u64) {
        self.progress.lock().next = number + 1;
        self.changed.notify_all();
    }

    pub(crate) fn finish(&self) {
        self.progress.lock().finished = true;
        self.changed.notify_all();
    }

    /// Waits until all events before `number` were handed on, or none will be any more; false when the time is up.
    pub(crate) fn wait_for(&self, number: u64, deadline: Option<Instant>) -> bool {
        let mut progress = self.progress.lock();
        while progress.next < number && !progress.finished {
            match deadline {
                None => self.changed.wait(&mut progress),
                Some(deadline) => {
                    if self.changed.wait_until(&mut progress, deadline).timed_out() {
                        return progress.next >= number || progress.finished;
                    }
                }
            }
        }
        true
    }

    /// Waits until the thread has let go of its function; false when the time is up.
    pub(crate) fn wait_until_finished(&self, until: Instant) -> bool {
        let mut progress = self.progress.lock();
        while !progress.finished {
            if self.changed.wait_until(&mut progress, until).timed_out() {
                return progress.finished;
            }
        }
        true
    }
}

/// Where events go.
#[derive(Default)]
pub(crate) struct Events {
    /// Whether there is a subscriber: asked before an event is even made.
    wanted: AtomicBool,
    next: AtomicU64,
    subscriptions: AtomicU64,
    subscribers: Mutex<Vec<(u64, Sender<Event>)>>,
}

impl Events {
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A channel that gets everything that happens from now on; it ends when the runtime does. The number names it.
    pub(crate) fn subscribe(&self) -> (u64, Receiver<Event>) {
        let (sender, receiver) = unbounded();
        let number = self.subscriptions.fetch_add(1, Ordering::Relaxed);
        self.subscribers.lock().push((number, sender));
        self.wanted.store(true, Ordering::Relaxed);
        (number, receiver)
    }

    /// Ends a channel: the subscriber still gets what is in it.
    pub(crate) fn unsubscribe(&self, number: u64) {
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(other, _)| *other != number);
        self.wanted.store(!subscribers.is_empty(), Ordering::Relaxed);
    }

    /// Ends all channels.
    pub(crate) fn close(&self) {
        self.subscribers.lock().clear();
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// The number that the next event gets.
    pub(crate) fn next_number(&self) -> u64 {
        // In the critical section, so that all events with a smaller number are in the channels.
        let _subscribers = self.subscribers.lock();
        self.next.load(Ordering::Relaxed)
    }

    /// Sends an event. A subscriber that dropped its channel is forgotten.
    pub(crate) fn send(&self, mut event: Event) {
        let mut subscribers = self.subscribers.lock();
        event.number = self.next.fetch_add(1, Ordering::Relaxed);
        subscribers.retain(|(_, sender)| sender.send(event.clone()).is_ok());
        self.wanted.store(!subscribers.is_empty(), Ordering::Relaxed);
    }
}
