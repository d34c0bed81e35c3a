//! The end of a space, of a program and of a runtime.

mod census;
mod collect;
mod discard;
pub(crate) mod modules;
mod paths;
mod probe;
mod program;
mod registrations;
mod reload;
mod report;
mod scope;
mod sweep;
mod tombstone;

pub use discard::DiscardOptions;
pub(crate) use discard::discard;
pub use modules::UnloadReport;
pub(crate) use paths::why;
pub(crate) use program::{run_program, shut_down};
pub(crate) use registrations::{is_main_thread, stacks, started as started_threads};
pub use reload::ReloadReport;
pub(crate) use reload::{raise as raise_reload, reload};
pub use report::{DiscardReport, Held, StayingThread};
pub(crate) use sweep::{install, leaks};
