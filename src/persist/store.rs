//! A store: its branches, its history, and the ways to change it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use super::{
    backend::{Backend, Move, Outcome},
    error::StoreError,
    memory::Memory,
    name,
    record::{Commit, RecordId},
    settings,
    snapshot::{self, Snapshot},
    sqlite::{self, Sqlite},
    transaction::Transaction,
};

/// The branch that is meant where none is named.
pub const MAIN: &str = "main";

/// Commits of modules. Cheap to clone; all clones are one store. Its methods block, and may be called from any thread.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Store").field(&self.backend.describe()).finish()
    }
}

impl Store {
    /// Opens the store in this file, which is made when it is not there.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Format`], [`StoreError::Locked`]; what the file system raised.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// let store = modspace::persist::Store::open(folder.path().join("app.store"))?;
    /// let mut change = store.begin("main")?.message("a greeting").author("me");
    /// change.new_module("greeting", b"TEXT = 'hello'\n")?;
    /// let commit = change.commit()?;
    /// assert_eq!(store.snapshot("main")?.commit(), commit);
    /// # Ok::<(), modspace::persist::StoreError>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Sqlite::open(path.as_ref(), sqlite::Mode::Create).map(Self::with)
    }

    /// Opens a store that is there, as [`Store::open`] does.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::NotAStore`] when there is none.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Sqlite::open(path.as_ref(), sqlite::Mode::Existing).map(Self::with)
    }

    /// A store that is gone with its last clone.
    #[must_use]
    pub fn memory() -> Self {
        Self::with(Memory::default())
    }

    /// The store that this backend keeps.
    #[must_use]
    pub fn with(backend: impl Backend) -> Self {
        Self { backend: Arc::new(backend) }
    }

    /// The store's name for people: its path, say.
    #[must_use]
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// Whether both are clones of one handle.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }

    pub(super) fn is_kept_by(&self, backend: &Arc<dyn Backend>) -> bool {
        Arc::ptr_eq(&self.backend, backend)
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn shared_backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    /// The number of the last move of any head.
    pub(super) fn last_move(&self) -> Result<u64, StoreError> {
        self.backend.wait(u64::MAX, Duration::ZERO)
    }

    /// The head of each branch.
    ///
    /// # Errors
    /// What the backend raised.
    pub fn branches(&self) -> Result<BTreeMap<String, RecordId>, StoreError> {
        let mut heads = self.backend.heads()?;
        heads.retain(|name, _| !settings::is_own(name));
        Ok(heads)
    }

    /// The last commit of a branch; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Branch`], and what the backend raised.
    pub fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError> {
        name::check_branch(branch)?;
        self.backend.head(branch)
    }

    /// The modules at the head of a branch; no modules when there is no such branch.
    ///
    /// # Errors
    /// As [`Store::head`].
    pub fn snapshot(&self, branch: &str) -> Result<Snapshot, StoreError> {
        let head = self.head(branch)?;
        Snapshot::new(self.shared_backend(), head)
    }

    /// The modules at a commit.
    ///
    /// # Errors
    /// [`StoreError::NoCommit`], and what the backend raised.
    pub fn at(&self, commit: RecordId) -> Result<Snapshot, StoreError> {
        Snapshot::new(self.shared_backend(), Some(commit))
    }

    /// What a commit says of itself.
    ///
    /// # Errors
    /// [`StoreError::NoCommit`], and what the backend raised.
    pub fn commit(&self, id: RecordId) -> Result<Commit, StoreError> {
        snapshot::commit(self.backend(), id)
    }

    /// A commit and those it came from, the latest first. It ends after an error.
    pub fn history(&self, from: Option<RecordId>) -> impl Iterator<Item = Result<(RecordId, Commit), StoreError>> {
        let mut next = from;
        std::iter::from_fn(move || {
            let id = next.take()?;
            Some(self.commit(id).map(|commit| {
                next = commit.parents.first().copied();
                (id, commit)
            }))
        })
    }

    /// Begins a transaction on a branch, which need not have a commit yet.
    ///
    /// # Errors
    /// As [`Store::head`].
    pub fn begin(&self, branch: &str) -> Result<Transaction, StoreError> {
        Transaction::begin(self.clone(), branch)
    }

    /// Begins a transaction on a branch as if it had begun at one of its earlier commits.
    ///
    /// # Errors
    /// As [`Store::begin`]; [`StoreError::NoCommit`].
    pub fn begin_at(&self, branch: &str, commit: Option<RecordId>) -> Result<Transaction, StoreError> {
        let base = Snapshot::new(self.shared_backend(), commit)?;
        Ok(self.begin(branch)?.over(base))
    }

    /// Undoes a commit by another one, at the head of the branch; returns it.
    ///
    /// # Errors
    /// As [`Transaction::commit`]: [`StoreError::Conflict`] when modules or objects of it were changed by later commits. And
    /// [`StoreError::NoCommit`].
    pub fn undo(&self, branch: &str, commit: RecordId, author: &str) -> Result<Option<RecordId>, StoreError> {
        self.undoing(branch, commit, author)?.commit()
    }

    /// Begins a transaction that undoes a commit.
    ///
    /// # Errors
    /// [`StoreError::NoCommit`], and what the backend raised.
    pub fn undoing(&self, branch: &str, commit: RecordId, author: &str) -> Result<Transaction, StoreError> {
        let undone = self.commit(commit)?;
        let before = Snapshot::new(self.shared_backend(), undone.parents.first().copied())?;
        let after = self.at(commit)?;
        let (changes, objects) = (after.changes(&before)?, after.object_changes(&before)?);
        let message = format!("undo {}: {}", commit.short(), undone.message);
        Ok(Transaction::reverting(self.clone(), branch, commit, changes, objects)?.message(message).author(author))
    }

    /// Takes back a commit that was made a moment ago: the head of the branch goes back to where it was before, if it is
    /// still at that commit; otherwise the commit is undone by another one. Returns the head then.
    ///
    /// # Errors
    /// As [`Store::undo`]; the commit stays then.
    pub fn take_back(&self, branch: &str, commit: RecordId, author: &str) -> Result<Option<RecordId>, StoreError> {
        name::check_branch(branch)?;
        let before = self.commit(commit)?.parents.first().copied();
        match self.backend.move_head(branch, Some(commit), before, &[])? {
            Outcome::Moved(_) => Ok(before),
            Outcome::Elsewhere(_) => self.undo(branch, commit, author),
        }
    }

    /// The moves of a branch's head from now on, or since it was at `known`.
    ///
    /// # Errors
    /// [`StoreError::NoCommit`] when the head was never at `known`, [`StoreError::Branch`], and what the backend raised.
    pub fn subscribe(&self, branch: &str, known: Option<RecordId>) -> Result<Heads, StoreError> {
        name::check_branch(branch)?;
        let after = match known {
            Some(id) => self.backend.number_of(branch, id)?.ok_or(StoreError::NoCommit { id })?,
            None => self.last_move()?,
        };
        Ok(Heads { backend: self.shared_backend(), branch: branch.to_owned(), after })
    }
}

/// The moves of a branch's head, in order and without a gap.
pub struct Heads {
    backend: Arc<dyn Backend>,
    branch: String,
    after: u64,
}

impl std::fmt::Debug for Heads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Heads")
            .field("branch", &self.branch)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Heads {
    /// Waits until the head has moved, or the time is over; returns the moves since the last call. When there are very many,
    /// it returns the first of them, and the next call goes on.
    ///
    /// # Errors
    /// What the backend raised; nothing is lost then.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<Move>, StoreError> {
        let deadline = std::time::Instant::now().checked_add(timeout);
        loop {
            let left =
                deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(std::time::Instant::now()));
            self.backend.wait(self.after, left)?;
            let moves = self.backend.moves(self.after)?;
            let is_all = moves.is_empty();
            if let Some(last) = moves.last() {
                self.after = last.number;
            }
            let mine: Vec<_> = moves.into_iter().filter(|one| one.branch == self.branch).collect();
            if !mine.is_empty() || left.is_zero() && is_all {
                return Ok(mine);
            }
        }
    }
}
