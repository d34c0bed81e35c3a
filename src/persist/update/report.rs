//! What an update of a space's modules does, or did.

use std::time::Duration;

use crate::persist::record::RecordId;

/// What an update does to one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UpdateKind {
    /// It has another value, or its object takes what the new source says.
    Updated,
    /// It is new.
    Added,
    /// It goes.
    Deleted,
    /// Another module imported it and gets the new value.
    Rebound,
    /// A new object takes its place: it cannot be updated in place.
    Replaced,
    /// It cannot be updated in place, and is not to be replaced.
    Refused,
    /// Something that is worth knowing.
    Note,
}

impl UpdateKind {
    /// The kind's name in Python.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Added => "added",
            Self::Deleted => "deleted",
            Self::Rebound => "rebound",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
            Self::Note => "note",
        }
    }

    pub(super) fn of(name: &str) -> Self {
        let all = [Self::Updated, Self::Added, Self::Deleted, Self::Rebound, Self::Replaced, Self::Refused];
        all.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Self::Note)
    }
}

/// One line of an [`UpdateReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpdateEntry {
    /// What happens.
    pub kind: UpdateKind,
    /// To what: module and qualified name.
    pub path: String,
    /// Why, where that is not plain.
    pub detail: String,
}

/// What an update does, or did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UpdateReport {
    /// The space's name.
    pub space: String,
    /// The commit that it saw; `None` before the first one.
    pub from: Option<RecordId>,
    /// The commit that it sees then.
    pub to: Option<RecordId>,
    /// The loaded modules that are updated.
    pub modules: Vec<String>,
    /// The loaded modules that go.
    pub removed: Vec<String>,
    /// What is done to what is in them.
    pub entries: Vec<UpdateEntry>,
    /// How long it took.
    pub duration: Duration,
}

impl UpdateReport {
    /// Adds what was done for another store that the space is attached to.
    pub(crate) fn add(&mut self, other: Self) {
        self.modules.extend(other.modules);
        self.removed.extend(other.removed);
        self.entries.extend(other.entries);
        self.duration += other.duration;
    }
}

impl std::fmt::Display for UpdateReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |id: &Option<RecordId>| id.map_or_else(|| "the beginning".to_owned(), |id| id.short());
        write!(
            formatter,
            "space {:?}: from {} to {}: {} updated, {} removed",
            self.space,
            named(&self.from),
            named(&self.to),
            self.modules.len(),
            self.removed.len()
        )?;
        for entry in &self.entries {
            write!(formatter, "\n  {:8} {}", entry.kind.as_str(), entry.path)?;
            if !entry.detail.is_empty() {
                write!(formatter, ": {}", entry.detail)?;
            }
        }
        for name in &self.removed {
            write!(formatter, "\n  removed  {name}")?;
        }
        Ok(())
    }
}
