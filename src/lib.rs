//! Module spaces for Python: what class loaders are to Java.
//!
//! A [`Runtime`] is one Python interpreter (RustPython, with its whole standard library) and a tree of *module spaces* over
//! it. Each [`Space`] has its own `sys`, its own `builtins` with its own `__import__`, its own import system and its own
//! table of modules, and falls back to its parent for what it does not load itself:
//!
//! ```
//! use modspace::Runtime;
//!
//! let runtime = Runtime::new()?;
//! let spaces = [1, 2].map(|version| {
//!     let vendor = format!("{}/spaces/examples/side_by_side/vendor/v{version}", env!("CARGO_MANIFEST_DIR"));
//!     runtime.root().child().name(format!("v{version}")).prepend_path(vendor).create()
//! });
//! let [one, two] = spaces;
//! let (one, two) = (one?, two?);
//! for space in [&one, &two] {
//!     space.exec("import shapes")?;
//! }
//! assert_eq!(one.eval_repr("shapes.__version__")?, "'1.0'");
//! assert_eq!(two.eval_repr("shapes.__version__")?, "'2.0'");
//! # Ok::<(), modspace::Error>(())
//! ```
//!
//! # The nouns, in order
//!
//! | noun | what it is |
//! | --- | --- |
//! | [`Runtime`] | one interpreter and the tree of spaces; belongs to the thread that built it, usable from all |
//! | [`Space`] | a handle to a space: an id, cheap to clone, usable from any thread, never dangling |
//! | [`SpaceBuilder`] | what a space is made from: name, `sys.path`, [`Delegation`], `share` and `fresh` [`Pattern`]s |
//! | [`Entered`] | a space while a thread is inside it, with the virtual machine |
//! | [`ModuleRecord`] | what a space knows of one module: state, origin, importers, hash of its source |
//! | [`Store`] | commits of modules, in memory or in a file; [`Space::attach`] lets a space see one of them |
//! | [`Transaction`] | a change to a store that is committed whole or not at all |
//! | [`UpdateReport`] | what an update of a space's modules in place did, or would do; see [`Space::plan`] |
//! | [`Error`], [`PythonError`] | what can go wrong; a Python exception comes out as data |
//!
//! [`persist`] has the rest of what concerns stores.
//!
//! # Which space code works on
//!
//! The *lexical* space decides. Whatever a running function does to the module system, it does to the space whose
//! `builtins` its globals name, wherever and on whichever thread it is called. Native and platform code has no space of
//! its own and works for its caller; outside any Python frame, for the space that was entered from Rust.
//!
//! # What is held apart
//!
//! A space is a namespace boundary, not a security sandbox. [`policies`] lists every native and platform module, with its
//! process-wide state and what is done about it.
#![warn(missing_docs)]

mod cli;
mod error;
mod event;
mod import;
mod lifecycle;
pub mod persist;
mod pyapi;
mod space;
mod sync;
mod sysview;
mod testing;
mod vm;

#[doc = include_str!("../spaces/policies/README.md")]
pub mod policies {}

#[doc(hidden)]
pub use cli::main as cli_main;
pub use error::{Error, PythonError};
pub use event::{Event, EventKind};
pub use import::{
    generation::SpaceId,
    policy::{
        Attribute, Delegation, NativeModule, Pattern, PlatformModule, Treatment, native_modules, platform_modules,
    },
    table::{Importer, ModuleRecord, ModuleState},
};
pub use lifecycle::{DiscardOptions, DiscardReport, Held, ReloadReport, StayingThread, UnloadReport};
pub use persist::{
    AttachOptions, Store, StoreError, Target, Transaction, UpdateEntry, UpdateKind, UpdateOptions, UpdateReport,
};
pub use space::{Entered, Flags, Runtime, RuntimeBuilder, Space, SpaceBuilder};
