//! What can go wrong with a store.

use std::path::PathBuf;

use super::{
    guard::{InUse, listed},
    record::RecordId,
};

/// An error of a store. Unless it says otherwise, the store is what it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Two transactions changed the same modules or objects.
    #[error(transparent)]
    Conflict(#[from] Box<Conflict>),
    /// What goes is imported by other modules, and is not to go then.
    #[error("refused: {}; change the importers first, or allow it: by the setting `removal`, or by a guard", listed(.0))]
    InUse(Vec<InUse>),
    /// Something cannot have this value.
    #[error("{what} cannot be {given:?}; it can be {allowed}")]
    Value {
        /// What was to have it.
        what: String,
        /// What was given, cut after 80 characters.
        given: String,
        /// What can be given.
        allowed: String,
    },
    /// There is no such module.
    #[error("the store has no module {name:?} in {snapshot}")]
    NoModule {
        /// The name asked for.
        name: String,
        /// Where it was looked for: a branch or a commit.
        snapshot: String,
    },
    /// There is such a module already.
    #[error("the store has a module {name:?} already; update it, or remove it first")]
    Exists {
        /// The module's name.
        name: String,
    },
    /// A name that a module is to have is taken by a package, or the other way round.
    #[error("{name:?} cannot be a module and have children at once; give a package its code as {name}.__init__")]
    ModuleAndPackage {
        /// The name.
        name: String,
    },
    /// Not a name for a module.
    #[error("{name:?} is not a module name: {reason}")]
    Name {
        /// What was given, cut after 80 characters.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a source.
    #[error("the source of {name:?} cannot be stored: {reason}")]
    Source {
        /// The module's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a key for an object.
    #[error("{key:?} cannot be the key of an object: {reason}")]
    Key {
        /// What was given, cut after 80 characters.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such object.
    #[error("the store has no object {key:?} in {snapshot}")]
    NoObject {
        /// The key asked for.
        key: String,
        /// Where it was looked for: a branch or a commit.
        snapshot: String,
    },
    /// An object cannot be stored, or not be read.
    #[error("the object {key:?} {what}")]
    Object {
        /// Its key.
        key: String,
        /// What cannot be done with it, and why.
        what: String,
    },
    /// Modules that would go along with an object are others in the store that it is copied to.
    #[error(
        "the object {key:?} of {from} cannot be copied with its classes: in {to}, {} other sources; copy it without \
         classes, or make the modules the same",
        are(modules)
    )]
    Differ {
        /// The object's key.
        key: String,
        /// The store that it comes from.
        from: String,
        /// The store that it was to go to.
        to: String,
        /// The modules, in order.
        modules: Vec<String>,
    },
    /// Not the name of a branch.
    #[error("{name:?} is not a branch name; use letters, digits, and - . _ / between them")]
    Branch {
        /// What was given, cut after 80 characters.
        name: String,
    },
    /// Not the id of a commit.
    #[error("{text:?} is not a commit id; ids have 64 hexadecimal digits, and `log` lists them")]
    Id {
        /// What was given, cut after 80 characters.
        text: String,
    },
    /// There is no such commit.
    #[error("the store has no commit {id}; `log` lists those of a branch")]
    NoCommit {
        /// The commit's id.
        id: RecordId,
    },
    /// A transaction was used after its end.
    #[error("this transaction has {how}; begin another one")]
    Ended {
        /// How it ended: "been committed", "been aborted".
        how: &'static str,
    },
    /// A space has nothing to do with the store.
    #[error("the space {space:?} is not attached to this store; call attach() first")]
    NotAttached {
        /// The space's name.
        space: String,
    },
    /// A savepoint was used after the transaction went back behind it, or with another transaction.
    #[error("this savepoint is of another transaction, or the transaction went back to an earlier one; make a new one")]
    Savepoint,
    /// A record is not what its name says.
    #[error("the record {id} is damaged: its bytes have another hash; `modspace store verify` lists what is affected")]
    Corrupt {
        /// The record's name.
        id: RecordId,
    },
    /// A record is not there.
    #[error("the record {id} is missing; `modspace store verify` lists what is affected")]
    Missing {
        /// The record's name.
        id: RecordId,
    },
    /// A record is of another kind than what refers to it says.
    #[error("the record {id} is not {expected}")]
    Kind {
        /// The record's name.
        id: RecordId,
        /// What it should be.
        expected: &'static str,
    },
    /// Something cannot be written as a record.
    #[error("this cannot be stored: {reason}")]
    Encoding {
        /// Why not.
        reason: String,
    },
    /// The store was written by a newer version of this library.
    #[error("the store {} has format {found}, and this version reads formats up to {supported}; use a newer modspace", path.display())]
    Format {
        /// Where the store is.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        supported: u32,
    },
    /// What is there is not a store.
    #[error("{} is not a modspace store: {reason}", path.display())]
    NotAStore {
        /// What was to be opened.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// The file of the store is damaged.
    #[error("the store {} is damaged: {reason}; restore it from a copy", path.display())]
    Damaged {
        /// Where the store is.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process has the store, and did not let go of it.
    #[error("the store {} is locked by another process; try again when that has finished", path.display())]
    Locked {
        /// Where the store is.
        path: PathBuf,
    },
    /// The store cannot be written.
    #[error(
        "the store {} cannot be written: {reason}; look at the permissions of the file and its directory",
        path.display()
    )]
    ReadOnly {
        /// Where the store is.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file or directory cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// What the backend said.
    #[error("the store {store} failed: {reason}")]
    Backend {
        /// Which store.
        store: String,
        /// What happened.
        reason: String,
    },
}

/// The modules, as the subject of a sentence.
fn are(modules: &[String]) -> String {
    let names: Vec<_> = modules.iter().map(|name| format!("{name:?}")).collect();
    let noun = if names.len() == 1 { "module" } else { "modules" };
    format!("the {noun} {} {}", names.join(", "), if names.len() == 1 { "has" } else { "have" })
}

/// Two commits that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The modules that both changed.
    pub modules: Vec<String>,
    /// The keys of the objects that both changed.
    pub objects: Vec<String>,
    /// The branch.
    pub branch: String,
    /// The commit that the transaction began at; `None` when the branch was empty.
    pub base: Option<RecordId>,
    /// Who wanted to commit.
    pub author: String,
    /// The commits that changed these meanwhile, with their authors, the latest first: those among the last thousand of the
    /// branch.
    pub others: Vec<(RecordId, String)>,
}

/// How many commits a message names.
const TOLD: usize = 5;

impl std::error::Error for Conflict {}

impl std::fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |author: &str| if author.is_empty() { "somebody".to_owned() } else { author.to_owned() };
        let mut others: Vec<_> =
            self.others.iter().map(|(id, author)| format!("{} by {}", id.short(), named(author))).collect();
        match others.len() {
            0 => others.push("earlier commits".to_owned()),
            // All of them are in `others`; who reads this wants to know whom to talk to.
            count if count > TOLD => {
                others.truncate(TOLD);
                others.push(format!("{} more", count - TOLD));
            }
            _ => {}
        }
        let base = self.base.map_or_else(|| "the beginning".to_owned(), |id| id.short());
        let objects = self.objects.iter().map(|key| format!("the object {key:?}"));
        let changed: Vec<_> = self.modules.iter().cloned().chain(objects).collect();
        write!(
            formatter,
            "{} changed in {} since {base}, where this transaction of {} began; begin again from the new head of {:?}",
            changed.join(", "),
            others.join(" and "),
            named(&self.author),
            self.branch
        )
    }
}
