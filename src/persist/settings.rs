//! Settings that a store carries with it.
//!
//! Heads whose names begin with "@", which no branch has, are the store's own: `@settings` is at a blob with a JSON object.

use serde_json::Value;

use super::{
    backend::Outcome,
    error::StoreError,
    guard::Policy,
    record::{Record, RecordId},
    snapshot,
    store::Store,
    transaction::{Metadata, read_metadata},
};

/// The head of the settings.
const SETTINGS: &str = "@settings";

/// What becomes of a change that takes away what other modules import.
const REMOVAL: &str = "removal";

/// Whether a head is the store's own, and not a branch.
pub(super) fn is_own(head: &str) -> bool {
    head.starts_with('@')
}

fn unknown(key: &str) -> StoreError {
    StoreError::Value {
        what: "the name of a setting".to_owned(),
        given: key.chars().take(80).collect(),
        allowed: REMOVAL.to_owned(),
    }
}

impl Store {
    /// Where the settings are; `None` when nothing was ever set.
    pub(super) fn settings_id(&self) -> Result<Option<RecordId>, StoreError> {
        self.backend().head(SETTINGS)
    }

    fn read_settings(&self, id: Option<RecordId>) -> Result<Metadata, StoreError> {
        id.map_or_else(|| Ok(Metadata::new()), |id| read_metadata(&snapshot::blob(self.backend(), id)?))
    }

    /// The settings of the store, those that were not set among them.
    ///
    /// # Errors
    /// What reading raised.
    pub fn settings(&self) -> Result<Metadata, StoreError> {
        let mut settings = self.read_settings(self.settings_id()?)?;
        settings.entry(REMOVAL).or_insert_with(|| Value::from(Policy::default().as_str()));
        Ok(settings)
    }

    /// Sets one of the settings, for everybody who uses the store from now on.
    ///
    /// # Errors
    /// [`StoreError::Value`] when there is no such setting, or it cannot have this value; what the backend raised. Nothing
    /// has changed then.
    pub fn set(&self, key: &str, value: &str) -> Result<(), StoreError> {
        if key != REMOVAL {
            return Err(unknown(key));
        }
        let value = value.parse::<Policy>()?.as_str();
        loop {
            let before = self.settings_id()?;
            let mut settings = self.read_settings(before)?;
            if settings.get(key).and_then(Value::as_str) == Some(value) {
                return Ok(());
            }
            settings.insert(key.to_owned(), Value::from(value));
            let bytes = serde_json::to_vec(&settings);
            let bytes = bytes.map_err(|error| StoreError::Encoding { reason: error.to_string() })?;
            let record = Record::blob(&bytes);
            let id = record.id;
            if let Outcome::Moved(_) = self.backend().move_head(SETTINGS, before, Some(id), &[record])? {
                return Ok(());
            }
        }
    }

    /// One of the settings.
    ///
    /// # Errors
    /// [`StoreError::Value`] when there is no such setting; what reading raised.
    pub fn setting(&self, key: &str) -> Result<Value, StoreError> {
        self.settings()?.remove(key).ok_or_else(|| unknown(key))
    }

    /// What becomes of changes that take away what other modules import, unless a transaction has a guard of its own.
    ///
    /// # Errors
    /// [`StoreError::Value`] when a newer version has set another one; what reading raised.
    pub fn removal(&self) -> Result<Policy, StoreError> {
        match self.setting(REMOVAL)? {
            Value::String(text) => text.parse(),
            other => other.to_string().parse(),
        }
    }
}
