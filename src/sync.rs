//! The locks of those parts that are explored schedule by schedule: `tests/schedules` compiles them once more, over locks
//! and threads that a model checker drives.

pub(crate) use std::thread::{ThreadId, current as current_thread};

pub(crate) use parking_lot::{Condvar, Mutex};
