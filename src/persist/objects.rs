//! The objects of a store: pickled graphs, by key.
//!
//! They are plain records here, bytes and what these refer to; pickling is the business of `pyapi`. They are in commits as
//! modules are: a transaction changes both at once, merges with those that changed others, and is undone as one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    map, pickle,
    pickle::Reference,
    record::{self, Identity, Kind, Record, RecordId},
    snapshot::{self, Snapshot},
    transaction::Transaction,
};

/// The longest key, in bytes.
const MAX_KEY: usize = 1000;

/// What is to become of objects, by key; `None` removes one.
pub(super) type Edits = BTreeMap<String, Option<Object>>;

/// An object in a store: where its parts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its pickle, a blob.
    pub pickle: RecordId,
    /// What it refers to; `None` when that is nothing.
    pub(super) references: Option<RecordId>,
    /// How many bytes the pickle has.
    pub size: u64,
}

/// How an object differs between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectChange {
    /// Its key.
    pub key: String,
    /// What it was; `None` when it is new.
    pub old: Option<Object>,
    /// What it is; `None` when it was removed.
    pub new: Option<Object>,
}

/// Checks that objects can have this key: text of at most 1000 bytes.
///
/// # Errors
/// [`StoreError::Key`].
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.len() <= MAX_KEY {
        return Ok(());
    }
    let reason = format!("it is longer than {MAX_KEY} bytes");
    Err(StoreError::Key { key: key.chars().take(80).collect(), reason })
}

impl Snapshot {
    /// What is stored under a key; `None` when nothing is.
    ///
    /// # Errors
    /// What reading raised.
    pub fn object(&self, key: &str) -> Result<Option<Object>, StoreError> {
        map::get(self.reader(), self.objects_id(), key)
    }

    /// The pickle that is stored under a key; `None` when nothing is.
    ///
    /// # Errors
    /// [`StoreError::Object`] when its bytes are damaged or missing, and what reading raised.
    pub fn pickle(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.object(key)?.map(|object| self.pickle_of(key, &object)).transpose()
    }

    pub(super) fn pickle_of(&self, key: &str, object: &Object) -> Result<Vec<u8>, StoreError> {
        self.blob(object.pickle).map_err(|error| named(key, error))
    }

    /// What an object refers to.
    ///
    /// # Errors
    /// What reading raised.
    pub fn references(&self, object: &Object) -> Result<Vec<Reference>, StoreError> {
        let Some(id) = object.references else { return Ok(Vec::new()) };
        record::read(Kind::References, id, &self.reader().bytes(id)?)
    }

    /// All objects, in order of key.
    ///
    /// # Errors
    /// What reading raised.
    pub fn objects(&self) -> Result<Vec<(String, Object)>, StoreError> {
        map::entries(self.reader(), self.objects_id())
    }

    /// How many objects there are.
    ///
    /// # Errors
    /// What reading raised.
    pub fn count_objects(&self) -> Result<u64, StoreError> {
        map::count::<Object>(self.reader(), self.objects_id())
    }

    /// What is different in `new`, in order of key.
    ///
    /// # Errors
    /// What reading raised.
    pub fn object_changes(&self, new: &Self) -> Result<Vec<ObjectChange>, StoreError> {
        // The new one may have more records than are stored.
        let all = map::differences(new.reader(), self.objects_id(), new.objects_id())?;
        Ok(all.into_iter().map(|(key, old, new)| ObjectChange { key, old, new }).collect())
    }

    /// The map of objects with these changes made to it.
    pub(super) fn edited_objects(
        &self,
        changes: &Edits,
        written: &mut Vec<Record>,
    ) -> Result<Option<RecordId>, StoreError> {
        if changes.is_empty() {
            return Ok(self.objects_id());
        }
        map::edit(self.reader(), self.objects_id(), changes.clone(), written)
    }
}

/// An error that says of which object the record is.
fn named(key: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt { .. } | StoreError::Missing { .. } | StoreError::Kind { .. } => {
            StoreError::Object { key: key.to_owned(), what: format!("cannot be read: {error}") }
        }
        other => other,
    }
}

/// The records that an object consists of.
pub(super) fn records(object: &Object) -> impl Iterator<Item = RecordId> {
    [Some(object.pickle), object.references].into_iter().flatten()
}

impl Transaction {
    /// The keys of all objects, in order.
    ///
    /// # Errors
    /// What reading raised.
    pub fn objects(&self) -> Result<Vec<String>, StoreError> {
        let mut keys: BTreeSet<String> = self.base.objects()?.into_iter().map(|(key, _)| key).collect();
        for (key, object) in &self.objects {
            match object {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        Ok(keys.into_iter().collect())
    }

    /// How many objects there are.
    ///
    /// # Errors
    /// What reading raised.
    pub fn count_objects(&self) -> Result<u64, StoreError> {
        let mut count = self.base.count_objects()?;
        for (key, object) in &self.objects {
            match (self.base.object(key)?, object) {
                (None, Some(_)) => count += 1,
                (Some(_), None) => count -= 1,
                _ => {}
            }
        }
        Ok(count)
    }

    /// The keys of the objects that it changes, in order.
    pub fn changed_objects(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// What is stored under a key, as the transaction sees it.
    fn object(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.objects.get(key).map_or_else(|| self.base.object(key), |object| Ok(object.clone()))
    }

    /// Whether there is an object under a key.
    ///
    /// # Errors
    /// What reading raised.
    pub fn has_object(&self, key: &str) -> Result<bool, StoreError> {
        self.object(key).map(|object| object.is_some())
    }

    /// The pickle under a key; `None` when there is none.
    ///
    /// # Errors
    /// As [`Snapshot::pickle`].
    pub fn pickle(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(object) = self.object(key)? else { return Ok(None) };
        self.read(object.pickle).map(Some).map_err(|error| named(key, error))
    }

    /// Puts a pickle under a key, in the place of what was there.
    ///
    /// # Errors
    /// [`StoreError::Key`]; [`StoreError::Object`] when it is no pickle, or one that only this program could read. The
    /// transaction is unchanged then.
    pub fn set_object(&mut self, key: &str, pickle: &[u8]) -> Result<(), StoreError> {
        check_key(key)?;
        let references = pickle::references(pickle).map_err(|reason| StoreError::Object {
            key: key.to_owned(),
            what: format!("cannot be stored: {reason}"),
        })?;
        let references = if references.is_empty() { None } else { Some(Record::of(Kind::References, &references)?) };
        let object = Object {
            pickle: self.blob(pickle),
            references: references.as_ref().map(|record| record.id),
            size: pickle.len() as u64,
        };
        self.keep_record(references);
        self.objects.insert(key.to_owned(), Some(object));
        Ok(())
    }

    /// Takes away what is under a key.
    ///
    /// # Errors
    /// [`StoreError::NoObject`]; the transaction is unchanged then.
    pub fn remove_object(&mut self, key: &str) -> Result<(), StoreError> {
        if self.object(key)?.is_none() {
            return Err(StoreError::NoObject { key: key.to_owned(), snapshot: self.base.named() });
        }
        self.objects.insert(key.to_owned(), None);
        Ok(())
    }

    /// Puts pickles under their keys, and takes away what is under keys without one: all of it or nothing.
    ///
    /// # Errors
    /// As [`Self::set_object`] and [`Self::remove_object`]; the transaction is unchanged then.
    pub fn change_objects(&mut self, changes: &BTreeMap<&str, Option<&[u8]>>) -> Result<(), StoreError> {
        let before = self.objects.clone();
        let changed = changes.iter().try_for_each(|(key, pickle)| match pickle {
            Some(pickle) => self.set_object(key, pickle),
            None => self.remove_object(key),
        });
        if changed.is_err() {
            self.objects = before;
        }
        changed
    }

    /// What the module with this identity was called where the transaction began; see [`Snapshot::name_of`].
    ///
    /// # Errors
    /// What reading raised.
    pub fn name_of(&self, identity: Identity, hint: &str) -> Result<Option<String>, StoreError> {
        self.base.name_of(identity, hint)
    }

    /// Puts an object of a snapshot, maybe of another store, under `key`, as it is. With `classes`, the modules that it
    /// refers to come along, and what these import, as far as they are in the snapshot.
    ///
    /// # Errors
    /// [`StoreError::NoObject`], [`StoreError::Key`]; [`StoreError::Differ`] and [`StoreError::ModuleAndPackage`] when a
    /// module cannot come along. The transaction is unchanged then.
    pub fn copy_object(&mut self, key: &str, from: &Snapshot, from_key: &str, classes: bool) -> Result<(), StoreError> {
        check_key(key)?;
        let object = from
            .object(from_key)?
            .ok_or_else(|| StoreError::NoObject { key: from_key.to_owned(), snapshot: from.named() })?;
        let pickle = from.pickle_of(from_key, &object)?;
        let references = object.references.map(|id| from.record(id)).transpose()?;
        if classes {
            let before = self.edits.clone();
            let copied = super::copy::modules(self, from, from_key, &from.references(&object)?);
            if copied.is_err() {
                self.edits = before;
            }
            copied?;
        }
        self.blob(&pickle);
        self.keep_record(references);
        self.objects.insert(key.to_owned(), Some(object));
        Ok(())
    }

    /// The keys of objects that both this transaction and `target` changed since its base.
    pub(super) fn objects_in_conflict(&self, target: &Snapshot) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        for (key, object) in &self.objects {
            let there = target.object(key)?;
            if there != *object && there != self.base.object(key)? {
                keys.push(key.clone());
            }
        }
        Ok(keys)
    }
}

impl Snapshot {
    /// A record as it is stored.
    pub(super) fn record(&self, id: RecordId) -> Result<Record, StoreError> {
        let record = Record::new(self.reader().bytes(id)?);
        if record.id == id { Ok(record) } else { Err(StoreError::Corrupt { id }) }
    }
}

/// What is wrong with the parts of an object, as [`super::maintain`] reads them.
pub(super) fn read_pickle(backend: &dyn super::Backend, id: RecordId) -> Result<(), StoreError> {
    snapshot::blob(backend, id).map(drop)
}

pub(super) fn read_references(backend: &dyn super::Backend, id: RecordId) -> Result<(), StoreError> {
    record::read::<Vec<Reference>>(Kind::References, id, &backend.bytes(id)?).map(drop)
}
