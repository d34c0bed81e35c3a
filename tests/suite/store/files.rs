//! Stores in files.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use modspace::persist::{Store, StoreError};
use rusqlite::Connection;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    (folder, path)
}

fn filled(path: &Path) -> Result<Store, StoreError> {
    let store = Store::open(path)?;
    let mut change = store.begin("main")?.author("me").message("the first");
    for number in 0..100 {
        change.new_module(&format!("pkg.m{number}"), format!("x = {number}\n").as_bytes())?;
    }
    change.commit()?;
    Ok(store)
}

fn refused(path: &Path) -> String {
    let error = Store::open(path).expect_err("it is not a store").to_string();
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
    error
}

#[test]
fn a_store_is_there_when_it_is_opened_again() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    let head = filled(&path)?.head("main")?;
    let store = Store::open_existing(&path)?;
    assert_eq!(store.head("main")?, head);
    assert_eq!(store.snapshot("main")?.source("pkg.m42")?, b"x = 42\n");
    let history: Vec<_> = store.history(head).collect::<Result<_, _>>()?;
    assert_eq!(history[0].1.author, "me");
    Ok(())
}

#[test]
fn who_has_it_open_hears_of_others_commits() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    let (one, two) = (filled(&path)?, Store::open(&path)?);
    let mut heads = two.subscribe("main", two.head("main")?)?;
    let snapshot = two.snapshot("main")?;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| heads.next(Duration::MAX));
        let mut change = one.begin("main")?;
        change.update_module("pkg.m1", b"changed = True\n")?;
        let commit = change.commit()?;
        assert_eq!(waiting.join().expect("no panic")?[0].to, commit);
        Ok::<_, StoreError>(())
    })?;
    assert_eq!(snapshot.source("pkg.m1")?, b"x = 1\n");
    assert_eq!(two.snapshot("main")?.source("pkg.m1")?, b"changed = True\n");
    Ok(())
}

#[test]
fn many_handles_commit_at_once() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    filled(&path)?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let path = &path;
                scope.spawn(move || {
                    let store = Store::open(path)?;
                    for round in 0..20 {
                        let mut change = store.begin("main")?;
                        change.new_module(&format!("t{thread}.r{round}"), b"")?;
                        change.commit()?;
                    }
                    Ok::<_, StoreError>(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let store = Store::open(&path)?;
    assert_eq!(store.snapshot("main")?.modules()?.len(), 180);
    assert_eq!(store.history(store.head("main")?).count(), 81);
    Ok(())
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let (folder, path) = folder();
    assert!(refused(folder.path()).contains("it is a directory"));
    assert!(refused(&folder.path().join("absent").join("x")).contains("there is no directory"));
    assert!(refused(Path::new("")).contains("the path is empty"));
    let missing = Store::open_existing(&path).expect_err("it is not there").to_string();
    assert!(missing.contains("there is no such file"), "{missing}");
    assert!(!path.exists());
    fs::write(&path, b"import this\n".repeat(1000)).expect("a file");
    assert!(refused(&path).contains("it is not an SQLite file"));
    assert_eq!(fs::read(&path).expect("a file").len(), 12_000);
    fs::remove_file(&path).expect("a file");
    let other = Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE bookmarks (url TEXT)").expect("it works");
    drop(other);
    let before = fs::read(&path).expect("a file");
    assert!(refused(&path).contains("of another program"));
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[test]
fn a_newer_format_is_refused() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    drop(filled(&path)?);
    Connection::open(&path).and_then(|file| file.pragma_update(None, "user_version", 99)).expect("it works");
    let error = refused(&path);
    assert!(error.contains("format 99") && error.contains("up to 2") && error.contains("newer"), "{error}");
    Ok(())
}

#[test]
fn damaged_bytes_are_named_and_never_served() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    let store = filled(&path)?;
    let module = store.snapshot("main")?.module("pkg.m7")?;
    let file = Connection::open(&path).expect("a database");
    let id = module.source.as_bytes().to_vec();
    file.execute("UPDATE records SET bytes = CAST('bx = 8' || char(10) AS BLOB) WHERE id = ?", [&id])
        .expect("it works");
    let error = store.snapshot("main")?.source("pkg.m7").expect_err("it is damaged");
    assert!(matches!(error, StoreError::Corrupt { id } if id == module.source), "{error}");
    file.execute("DELETE FROM records WHERE id = ?", [&id]).expect("it works");
    let error = store.snapshot("main")?.source("pkg.m7").expect_err("it is missing");
    assert!(matches!(error, StoreError::Missing { id } if id == module.source), "{error}");
    assert_eq!(store.snapshot("main")?.source("pkg.m8")?, b"x = 8\n");
    Ok(())
}

#[test]
fn a_truncated_file_is_refused() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    drop(filled(&path)?);
    let whole = fs::read(&path).expect("a file");
    for length in [1, 50, 100, 5000, whole.len() / 2] {
        fs::write(&path, &whole[..length]).expect("a file");
        let read = || -> Result<usize, StoreError> {
            let store = Store::open(&path)?;
            let snapshot = store.snapshot("main")?;
            let modules = snapshot.modules()?;
            modules.iter().try_for_each(|(name, _)| snapshot.source(name).map(drop))?;
            Ok(modules.len())
        };
        let error = read().expect_err("it is damaged");
        assert!(
            matches!(error, StoreError::NotAStore { .. } | StoreError::Damaged { .. }),
            "{length} bytes: {error:?}"
        );
    }
    Ok(())
}

#[test]
fn a_lock_of_another_program_is_waited_for_and_named() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    let store = filled(&path)?;
    let other = Connection::open(&path).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("it works");
    let mut change = store.begin("main")?;
    change.new_module("late", b"")?;
    // Readers go on.
    assert_eq!(store.snapshot("main")?.source("pkg.m1")?, b"x = 1\n");
    let head = store.head("main")?;
    let error = change.commit().expect_err("it is locked");
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    other.execute_batch("ROLLBACK").expect("it works");
    assert_eq!(store.head("main")?, head);
    let mut change = store.begin("main")?;
    change.new_module("late", b"")?;
    change.commit()?;
    Ok(())
}
