//! A store in one SQLite file, which any number of processes can have open.
//!
//! The file is in WAL mode: one process writes at a time, and the others read what was committed before meanwhile.
//!
//! | table | what it has |
//! | --- | --- |
//! | `records` | the records, by their names |
//! | `heads` | the head of each branch |
//! | `moves` | every move of a head, in order |
//!
//! `PRAGMA application_id` says that it is a store, `PRAGMA user_version` which format it has.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior,
    types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};

use super::{
    backend::{Backend, Move, Outcome},
    error::StoreError,
    record::{Record, RecordId},
    watch::Watch,
};

/// "mods", the application id of SQLite files that are stores.
const APPLICATION: i32 = 0x6d6f_6473;

/// How SQLite files begin.
const HEADER: &[u8] = b"SQLite format 3\0";

/// The format that is written. A store of an earlier one is read, and gets this one with the first write.
///
/// | format | what it has |
/// | --- | --- |
/// | 1 | modules: source and metadata |
/// | 2 | identities, imports and state of modules; objects |
const FORMAT: u32 = 2;

/// The bytes of a page.
const PAGE: u32 = 1024;

/// How many moves are given at once.
const AT_ONCE: usize = 10_000;

/// How long another process may have the store to itself.
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE records (id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE heads (branch TEXT PRIMARY KEY, target BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE moves (number INTEGER PRIMARY KEY AUTOINCREMENT, branch TEXT NOT NULL, source BLOB, target BLOB);
    CREATE INDEX moves_by_target ON moves (branch, target);
";

impl ToSql for RecordId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

impl FromSql for RecordId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(Self::from_bytes)
    }
}

/// What to do when there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Create,
    Existing,
}

/// A backend in a file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Records never change, so readers need no transaction and no connection of their own.
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    watch: Watch,
}

impl Sqlite {
    /// Opens the file, which is made when it is not there.
    ///
    /// # Errors
    /// As [`super::Store::open`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open(path.as_ref(), Mode::Create)
    }

    pub(crate) fn open(path: &Path, mode: Mode) -> Result<Self, StoreError> {
        let not_a_store = |reason: &str| StoreError::NotAStore { path: path.to_owned(), reason: reason.to_owned() };
        let unreadable = |error: &std::io::Error| StoreError::File {
            path: path.to_owned(),
            reason: format!("it cannot be read: {error}; look at the permissions of the file and its directory"),
        };
        if path.as_os_str().is_empty() {
            return Err(not_a_store("the path is empty"));
        }
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(not_a_store("it is a directory")),
            Ok(metadata) if !metadata.is_file() => return Err(not_a_store("it is not a regular file")),
            // SQLite takes a file of one byte for an empty one, and would write over it.
            Ok(metadata) if metadata.len() > 0 && !has_header(path).map_err(|error| unreadable(&error))? => {
                return Err(not_a_store("it is not an SQLite file"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if mode == Mode::Existing {
                    return Err(not_a_store("there is no such file; `modspace store init` makes one"));
                }
                if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
                {
                    return Err(not_a_store(&format!("there is no directory {}", folder.display())));
                }
            }
            Err(error) => return Err(unreadable(&error)),
        }
        let connect = || -> Result<Connection, StoreError> {
            let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            if mode == Mode::Create {
                flags |= OpenFlags::SQLITE_OPEN_CREATE;
            }
            let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, &error))?;
            connection.busy_timeout(PATIENCE).map_err(|error| failed(path, &error))?;
            Ok(connection)
        };
        let mut writer = connect()?;
        prepare(path, &mut writer)?;
        let reader = connect()?;
        Ok(Self {
            path: path.to_owned(),
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            // Where the log is: beside the file that a link means, wherever the process goes.
            watch: Watch::new(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())),
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        read(&self.reader.lock()).map_err(|error| failed(&self.path, &error))
    }

    fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut writer = self.writer.lock();
        // At once: a transaction that began by reading could not go on when another process wrote meanwhile.
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate);
        let written = transaction.and_then(|transaction| {
            let written = write(&transaction)?;
            transaction.commit().map(|()| written)
        });
        written.map_err(|error| failed(&self.path, &error))
    }

    fn last(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT max(number) FROM moves")?
                .query_row([], |row| Ok(row.get::<_, Option<u64>>(0)?.unwrap_or(0)))
        })
    }
}

/// Whether the file begins as SQLite files do.
fn has_header(path: &Path) -> std::io::Result<bool> {
    let mut header = Vec::new();
    std::fs::File::open(path)?.take(HEADER.len() as u64).read_to_end(&mut header)?;
    Ok(header == HEADER)
}

/// The format of the store.
fn format(connection: &Connection) -> rusqlite::Result<u32> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}

/// Looks what the file is, and makes a new one a store.
fn prepare(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| failed(path, &error);
    let read =
        |connection: &Connection, pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = read(connection, "application_id").map_err(failed)?;
    let tables = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))
    };
    if application != i64::from(APPLICATION) && (application != 0 || tables(connection).map_err(failed)? != 0) {
        let reason = "it is an SQLite file of another program".to_owned();
        return Err(StoreError::NotAStore { path: path.to_owned(), reason });
    }
    // Only a new file takes it. The names of records are hashes, so each record of a commit is written to another page: with
    // small pages, the log of a commit has a third of the bytes.
    connection.pragma_update(None, "page_size", PAGE).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    // Acknowledged is on the disk.
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let make = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        if read(&transaction, "application_id")? == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
        }
        transaction.commit()
    };
    if application == 0 {
        make(connection).map_err(failed)?;
    }
    let found = format(connection).map_err(failed)?;
    if found > FORMAT {
        return Err(StoreError::Format { path: path.to_owned(), found, supported: FORMAT });
    }
    Ok(())
}

fn failed(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ) {
        return StoreError::Damaged { path, reason: "it ends too early".to_owned() };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotAStore { path, reason: "it is not an SQLite file".to_owned() },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, reason: error.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::ReadOnly { path, reason: error.to_string() }
        }
        // What it is was looked at before: this is about permissions.
        Some(ErrorCode::CannotOpen) => {
            let reason = "the file, or the log beside it, cannot be opened or made".to_owned();
            StoreError::ReadOnly { path, reason }
        }
        Some(ErrorCode::DiskFull) => StoreError::Backend {
            store: path.display().to_string(),
            reason: "the disk is full; nothing was committed: make room, and begin again".to_owned(),
        },
        _ => StoreError::Backend { store: path.display().to_string(), reason: error.to_string() },
    }
}

fn head(connection: &Connection, branch: &str) -> rusqlite::Result<Option<RecordId>> {
    let mut statement = connection.prepare_cached("SELECT target FROM heads WHERE branch = ?")?;
    statement.query_row([branch], |row| row.get(0)).optional()
}

fn to_move(row: &Row<'_>) -> rusqlite::Result<Move> {
    Ok(Move { number: row.get(0)?, branch: row.get(1)?, from: row.get(2)?, to: row.get(3)? })
}

impl Backend for Sqlite {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn get(&self, id: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT bytes FROM records WHERE id = ?")?;
            statement.query_row([id], |row| row.get(0)).optional()
        })
    }

    fn heads(&self) -> Result<BTreeMap<String, RecordId>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT branch, target FROM heads")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError> {
        self.read(|connection| head(connection, branch))
    }

    fn move_head(
        &self,
        branch: &str,
        from: Option<RecordId>,
        to: Option<RecordId>,
        records: &[Record],
    ) -> Result<Outcome, StoreError> {
        let outcome = self.write(|transaction| {
            let now = head(transaction, branch)?;
            if now != from {
                return Ok(Outcome::Elsewhere(now));
            }
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO records (id, bytes) VALUES (?, ?)")?;
            if format(transaction)? < FORMAT {
                transaction.pragma_update(None, "user_version", FORMAT)?;
            }
            for record in records {
                insert.execute((record.id, &record.bytes))?;
            }
            match to {
                Some(to) => transaction
                    .prepare_cached("INSERT OR REPLACE INTO heads (branch, target) VALUES (?, ?)")?
                    .execute((branch, to))?,
                None => transaction.prepare_cached("DELETE FROM heads WHERE branch = ?")?.execute([branch])?,
            };
            transaction
                .prepare_cached("INSERT INTO moves (branch, source, target) VALUES (?, ?, ?)")?
                .execute((branch, from, to))?;
            Ok(Outcome::Moved(transaction.last_insert_rowid().unsigned_abs()))
        })?;
        if matches!(outcome, Outcome::Moved(_)) {
            self.watch.notify();
        }
        Ok(outcome)
    }

    fn moves(&self, after: u64) -> Result<Vec<Move>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, branch, source, target FROM moves WHERE number > ? ORDER BY number LIMIT ?",
            )?;
            statement.query_map((after, AT_ONCE), to_move)?.collect()
        })
    }

    fn number_of(&self, branch: &str, commit: RecordId) -> Result<Option<u64>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT max(number) FROM moves WHERE branch = ? AND target = ?")?;
            statement.query_row((branch, commit), |row| row.get(0))
        })
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, StoreError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // Before the look, so that nothing that happens after it is missed.
            let seen = self.watch.seen();
            let last = self.last()?;
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            if last > after || left.is_zero() {
                return Ok(last);
            }
            self.watch.wait(seen, left);
        }
    }

    fn records(&self) -> Result<Vec<RecordId>, StoreError> {
        self.read(|connection| {
            connection.prepare_cached("SELECT id FROM records")?.query_map([], |row| row.get(0))?.collect()
        })
    }

    fn sweep(&self, number: u64, keep: &dyn Fn(RecordId) -> bool) -> Result<Option<usize>, StoreError> {
        self.write(|transaction| {
            let last: Option<u64> = transaction.query_row("SELECT max(number) FROM moves", [], |row| row.get(0))?;
            if last.unwrap_or(0) != number {
                return Ok(None);
            }
            let all: Vec<RecordId> = transaction
                .prepare("SELECT id FROM records")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut delete = transaction.prepare("DELETE FROM records WHERE id = ?")?;
            let mut deleted = 0;
            for id in all.into_iter().filter(|id| !keep(*id)) {
                deleted += delete.execute([id])?;
            }
            Ok(Some(deleted))
        })
    }
}
