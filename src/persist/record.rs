//! What a store consists of: immutable records, each named by the hash of its bytes.
//!
//! ```text
//! Commit ── modules ──> map of a package ── "pkg" ──> map of a package ── "mod" ──> source
//!   │                     (see `map`)                                       ├──> metadata
//!   │                                                                       └──> …
//!   ├─ objects ──> map of objects ── "key" ──> pickle, references
//!   └─ parents
//! ```
//!
//! A record is a byte that says what it is, and its fields in [postcard's] wire format, which is fixed; equal values have
//! equal bytes. The name is the BLAKE3 hash of all of it, so whoever reads a record knows whether it is whole.
//!
//! What an earlier format has is read as well: commits without objects ([`Kind::FirstCommit`]), and modules without an
//! identity, recorded imports and state ([`Stored::First`]). What is written is of the newest format.
//!
//! [postcard's]: https://postcard.jamesmunns.com/wire-format

use std::{fmt, str::FromStr, time::SystemTime};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::StoreError;

/// The name of a record: the BLAKE3 hash of its bytes. Written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordId([u8; 32]);

impl RecordId {
    /// The name of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id with this hash.
    #[must_use]
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The first 12 hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for RecordId {
    type Err = StoreError;

    /// # Errors
    /// [`StoreError::Id`] when it is not 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let hash =
            blake3::Hash::from_hex(text).map_err(|_| StoreError::Id { text: text.chars().take(80).collect() })?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// What kind of record some bytes are: their first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Bytes: a source, say.
    Blob = b'b',
    /// A node of a map from names to what is in a package.
    Package = b'p',
    /// A commit of the first format.
    FirstCommit = b'c',
    Commit = b'd',
    /// What an object refers to.
    References = b'r',
}

/// A record on its way into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub id: RecordId,
    /// The bytes that the name is the hash of.
    pub bytes: Vec<u8>,
}

impl Record {
    pub(crate) fn blob(bytes: &[u8]) -> Self {
        Self::new([&[Kind::Blob as u8], bytes].concat())
    }

    pub(crate) fn of(kind: Kind, value: &impl Serialize) -> Result<Self, StoreError> {
        let bytes = postcard::to_extend(value, vec![kind as u8]);
        bytes.map(Self::new).map_err(|error| StoreError::Encoding { reason: error.to_string() })
    }

    /// The record of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { id: RecordId::of(&bytes), bytes }
    }
}

/// What is in `bytes`, which were found under `id`: nothing else is ever given out.
///
/// # Errors
/// [`StoreError::Corrupt`] when the hash is another one, [`StoreError::Kind`] when it is not a record of this kind.
fn checked(kind: Kind, id: RecordId, bytes: &[u8]) -> Result<&[u8], StoreError> {
    if RecordId::of(bytes) != id {
        return Err(StoreError::Corrupt { id });
    }
    match bytes.split_first() {
        Some((first, rest)) if *first == kind as u8 => Ok(rest),
        _ => Err(StoreError::Kind { id, expected: kind_name(kind) }),
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Blob => "a blob",
        Kind::Package => "a package",
        Kind::FirstCommit | Kind::Commit => "a commit",
        Kind::References => "a list of references",
    }
}

/// The bytes of a blob.
pub(crate) fn read_blob(id: RecordId, bytes: &[u8]) -> Result<&[u8], StoreError> {
    checked(Kind::Blob, id, bytes)
}

/// The fields of a record that is not a blob.
pub(crate) fn read<T: DeserializeOwned>(kind: Kind, id: RecordId, bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(checked(kind, id, bytes)?).map_err(|_| StoreError::Kind { id, expected: kind_name(kind) })
}

/// The fields of a commit, of whatever format.
pub(crate) fn read_commit(id: RecordId, bytes: &[u8]) -> Result<Commit, StoreError> {
    if bytes.first() == Some(&(Kind::FirstCommit as u8)) {
        let FirstCommit { modules, parents, author, time, message } = read(Kind::FirstCommit, id, bytes)?;
        return Ok(Commit { modules, objects: None, parents, author, time, message });
    }
    read(Kind::Commit, id, bytes)
}

/// Which module it is, whatever it is called: it stays with updates and new names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity([u8; 16]);

impl Identity {
    /// One that no other module has.
    pub(crate) fn new() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0).as_simple(), formatter)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Identity {
    type Err = StoreError;

    /// # Errors
    /// [`StoreError::Id`] when it is not 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| StoreError::Id { text: text.chars().take(80).collect() })?;
        Ok(Self(*id.as_bytes()))
    }
}

/// A module in a store: where its parts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its source, as the bytes of a file.
    pub source: RecordId,
    /// What was noted of it: a JSON object. `None` when nothing was.
    pub metadata: Option<RecordId>,
    /// Which module it is. `None` in what the first format has, until the module is updated.
    pub identity: Option<Identity>,
    /// Which names it imports from which modules. `None` when that was not recorded.
    pub imports: Option<RecordId>,
    /// The values of its globals that are kept. `None` when none are.
    pub state: Option<RecordId>,
}

/// What a name in a package stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) enum Entry {
    Module(Module),
    /// The map of a package.
    Package(RecordId),
}

/// An entry as it is written.
#[derive(Serialize, Deserialize)]
enum Stored {
    /// A module of the first format.
    First {
        source: RecordId,
        metadata: Option<RecordId>,
    },
    Package(RecordId),
    Module(Module),
}

impl From<Stored> for Entry {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::First { source, metadata } => {
                Self::Module(Module { source, metadata, identity: None, imports: None, state: None })
            }
            Stored::Package(inside) => Self::Package(inside),
            Stored::Module(module) => Self::Module(module),
        }
    }
}

impl From<Entry> for Stored {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Module(module) => Self::Module(module),
            Entry::Package(inside) => Self::Package(inside),
        }
    }
}

/// An immutable snapshot of a store's modules and objects, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The map of the top-level names; `None` when there are no modules.
    pub(crate) modules: Option<RecordId>,
    /// The map of the objects; `None` when there are none.
    pub(crate) objects: Option<RecordId>,
    /// The commits it was made from: none for the first of a branch, one otherwise.
    pub parents: Vec<RecordId>,
    /// Who made it.
    pub author: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub time: i64,
    /// What its author said of it.
    pub message: String,
}

/// A commit as the first format has it.
#[derive(Deserialize)]
struct FirstCommit {
    modules: Option<RecordId>,
    parents: Vec<RecordId>,
    author: String,
    time: i64,
    message: String,
}

/// This moment, as a commit has it.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
