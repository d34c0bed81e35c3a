//! What keeps records, and the heads of branches.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    error::StoreError,
    record::{Record, RecordId},
};

/// The head of a branch moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Greater than that of every earlier move in the store.
    pub number: u64,
    /// The branch.
    pub branch: String,
    /// Where its head was; `None` when the branch was made.
    pub from: Option<RecordId>,
    /// Where it is now; `None` when the branch was deleted.
    pub to: Option<RecordId>,
}

/// Whether a head was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was, by the move with this number.
    Moved(u64),
    /// It was not where it was thought to be, but here; nothing changed.
    Elsewhere(Option<RecordId>),
}

/// What keeps a store: in memory, in a file, or on several machines.
///
/// Records are put if they are absent, heads move by compare-and-swap, and moves can be waited for. No backend has to do
/// more. Every method may be called from any thread, and blocks; nothing of Python is inside.
pub trait Backend: Send + Sync + 'static {
    /// The store's name for people: its path, say.
    fn describe(&self) -> String;

    /// The bytes that were put under `id`, whole or damaged: whoever reads them compares the hash.
    ///
    /// # Errors
    /// What the medium raised. `None` when no such record was put.
    fn get(&self, id: RecordId) -> Result<Option<Vec<u8>>, StoreError>;

    /// The head of each branch.
    ///
    /// # Errors
    /// What the medium raised.
    fn heads(&self) -> Result<BTreeMap<String, RecordId>, StoreError>;

    /// The head of one branch; `None` when there is no such branch.
    ///
    /// # Errors
    /// What the medium raised.
    fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError>;

    /// Moves the head of `branch` from one commit to another, if it is there; before that is visible, `records` are put as
    /// far as they are absent. `from: None` makes the branch, `to: None` deletes it.
    ///
    /// When it returns [`Outcome::Moved`], the move outlives the process. Killed at any moment, it is done or not.
    ///
    /// # Errors
    /// What the medium raised; the head has not moved then.
    fn move_head(
        &self,
        branch: &str,
        from: Option<RecordId>,
        to: Option<RecordId>,
        records: &[Record],
    ) -> Result<Outcome, StoreError>;

    /// The moves of all branches after the one with this number, in order; 0 is before the first. When there are very many,
    /// only the first of them.
    ///
    /// # Errors
    /// What the medium raised.
    fn moves(&self, after: u64) -> Result<Vec<Move>, StoreError>;

    /// The number of the last move of `branch` to this commit, from which on a subscription can resume.
    ///
    /// # Errors
    /// What the medium raised. `None` when its head was never there.
    fn number_of(&self, branch: &str, commit: RecordId) -> Result<Option<u64>, StoreError>;

    /// Waits until there is a move after the one with this number, or the time is over; returns the number of the last
    /// move.
    ///
    /// # Errors
    /// What the medium raised.
    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, StoreError>;

    /// The names of all records.
    ///
    /// # Errors
    /// What the medium raised.
    fn records(&self) -> Result<Vec<RecordId>, StoreError>;

    /// Deletes what is not in `keep`, if no head has moved since the move with this number; returns how many records went,
    /// `None` when one has.
    ///
    /// # Errors
    /// What the medium raised; nothing is deleted then.
    fn sweep(&self, number: u64, keep: &dyn Fn(RecordId) -> bool) -> Result<Option<usize>, StoreError>;
}

impl dyn Backend {
    /// The bytes of a record that something refers to.
    ///
    /// # Errors
    /// [`StoreError::Missing`], and what the medium raised.
    pub(super) fn bytes(&self, id: RecordId) -> Result<Vec<u8>, StoreError> {
        self.get(id)?.ok_or(StoreError::Missing { id })
    }
}

/// A backend with more records than it has. Only reading is meant.
pub(super) struct Overlay {
    pub(super) below: Arc<dyn Backend>,
    pub(super) records: HashMap<RecordId, Vec<u8>>,
}

impl Backend for Overlay {
    fn describe(&self) -> String {
        self.below.describe()
    }

    fn get(&self, id: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.records.get(&id).map_or_else(|| self.below.get(id), |bytes| Ok(Some(bytes.clone())))
    }

    fn heads(&self) -> Result<BTreeMap<String, RecordId>, StoreError> {
        self.below.heads()
    }

    fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError> {
        self.below.head(branch)
    }

    fn move_head(
        &self,
        branch: &str,
        from: Option<RecordId>,
        to: Option<RecordId>,
        records: &[Record],
    ) -> Result<Outcome, StoreError> {
        self.below.move_head(branch, from, to, records)
    }

    fn moves(&self, after: u64) -> Result<Vec<Move>, StoreError> {
        self.below.moves(after)
    }

    fn number_of(&self, branch: &str, commit: RecordId) -> Result<Option<u64>, StoreError> {
        self.below.number_of(branch, commit)
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, StoreError> {
        self.below.wait(after, timeout)
    }

    fn records(&self) -> Result<Vec<RecordId>, StoreError> {
        self.below.records()
    }

    fn sweep(&self, number: u64, keep: &dyn Fn(RecordId) -> bool) -> Result<Option<usize>, StoreError> {
        self.below.sweep(number, keep)
    }
}
