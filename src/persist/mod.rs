//! Persistent modules: a store of commits, and spaces that follow one.
//!
//! | noun | what it is |
//! | --- | --- |
//! | [`Store`] | branches of commits, in memory or in a file |
//! | [`Transaction`] | a change that is committed whole or not at all |
//! | [`Snapshot`] | the modules and objects of one commit |
//! | [`Object`] | a pickle under a key, and what it refers to |
//! | [`InUse`] | a module or name that goes although others import it |
//! | [`Commit`] | a snapshot, where it came from, who made it and why |
//! | [`Heads`] | the moves of a branch's head, as they come |
//! | [`Backend`] | what keeps a store; [`Memory`] and [`Sqlite`] are two |
//! | [`AttachOptions`] | which branch of a store a space sees; see [`Space::attach`](crate::Space::attach) |
//! | [`UpdateReport`] | what an update of a space's modules did, or would do |
//! | [`Checkout`] | a directory with the modules of a branch as files |

mod backend;
mod copy;
mod declared;
mod error;
pub(crate) mod finder;
pub(crate) mod follow;
pub(crate) mod guard;
pub(crate) mod imports;
mod maintain;
mod map;
mod memory;
mod name;
mod objects;
mod pickle;
pub(crate) mod raise;
mod record;
mod settings;
mod snapshot;
mod source;
pub(crate) mod space;
mod sqlite;
pub(crate) mod state;
mod store;
pub(crate) mod transaction;
pub(crate) mod update;
mod watch;
mod worktree;

pub use backend::{Backend, Move, Outcome};
pub use error::{Conflict, StoreError};
pub use guard::{Guard, InUse, Policy};
pub use imports::{Imports, Names};
pub use maintain::{Problem, Verification};
pub use memory::Memory;
pub(crate) use name::parts as check_name;
pub(crate) use objects::check_key;
pub use objects::{Object, ObjectChange};
pub use pickle::Reference;
pub use record::{Commit, Identity, Module, Record, RecordId};
pub use snapshot::{Change, Found, Snapshot};
pub(crate) use source::check as check_source;
pub use space::{AttachOptions, Target};
pub use sqlite::Sqlite;
pub use store::{Heads, MAIN, Store};
pub use transaction::{Committed, Metadata, Savepoint, Transaction};
pub use update::{UpdateEntry, UpdateKind, UpdateOptions, UpdateReport};
pub use worktree::{
    Checkout, Contents, FileChange, FileState, Files, Imported, LeftOut, Merged, import_files, read_files, write_files,
};
