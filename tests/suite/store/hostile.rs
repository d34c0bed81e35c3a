//! Stores where something is wrong with the file, the disk or who may do what: each is a clear error, and nothing is lost.

use std::{
    fs,
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use modspace::persist::{Store, StoreError};

use crate::suite::harness::{Run, modspace};

/// The bytes of a page of the file.
const PAGE: usize = 1024;

/// A store of three commits. Each says in one of its modules which one it is.
fn filled(path: &Path) -> Result<(), StoreError> {
    let store = Store::open(path)?;
    for number in 0..3 {
        let mut change = store.begin("main")?;
        for module in 0..40 {
            change.new_module(&format!("pkg{number}.m{module}"), format!("x = {module}\n").repeat(50).as_bytes())?;
        }
        match change.source("last") {
            Ok(_) => change.update_module("last", format!("{number}").as_bytes())?,
            Err(_) => change.new_module("last", format!("{number}").as_bytes())?,
        }
        change.commit()?;
    }
    Ok(())
}

/// What is read of the store: all that can be reached, or an error. Returns the number of the last commit that is there.
fn read(path: &Path) -> Result<Option<usize>, StoreError> {
    let store = Store::open_existing(path)?;
    let snapshot = store.snapshot("main")?;
    for (name, _) in snapshot.modules()? {
        let source = snapshot.source(&name)?;
        if let Some(module) = name.rsplit_once(".m").map(|(_, module)| module) {
            assert_eq!(source, format!("x = {module}\n").repeat(50).into_bytes(), "{name} has something else");
        }
    }
    if snapshot.commit().is_none() {
        return Ok(None);
    }
    let last: usize = String::from_utf8_lossy(&snapshot.source("last")?).parse().expect("a number");
    assert_eq!(snapshot.modules()?.len(), (last + 1) * 40 + 1, "commit {last} is not whole");
    assert_eq!(store.history(snapshot.commit()).collect::<Result<Vec<_>, _>>()?.len(), last + 1);
    Ok(Some(last))
}

fn named(error: &StoreError, path: &Path) {
    let told = error.to_string();
    let is_record = matches!(error, StoreError::Corrupt { .. } | StoreError::Missing { .. } | StoreError::Kind { .. });
    assert!(is_record || told.contains(&*path.to_string_lossy()), "{told}");
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    (folder, path)
}

fn log_of(path: &Path) -> PathBuf {
    path.with_file_name("app.store-wal")
}

#[test]
fn a_file_that_was_cut_anywhere_is_damaged_and_serves_nothing_else() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    filled(&path)?;
    assert!(!log_of(&path).exists(), "closing a store moves its log into the file");
    let whole = fs::read(&path).expect("a file");
    let pages = whole.len() / PAGE;
    // Around the header, its fields, and each page; and here and there inside of them.
    let mut lengths = vec![1, 15, 16, 17, 18, 23, 24, 27, 28, 59, 60, 67, 68, 71, 72, 99, 100, 101, 511, 512, 513];
    lengths.extend((1..=pages).flat_map(|page| [page * PAGE - 1, page * PAGE, page * PAGE + 1, page * PAGE + 500]));
    let mut damaged = 0;
    for length in lengths.into_iter().filter(|length| *length < whole.len()) {
        fs::write(&path, &whole[..length]).expect("a file");
        match read(&path) {
            Ok(last) => assert_eq!(last, Some(2), "{length} bytes of {}: something is missing, silently", whole.len()),
            Err(error) => {
                damaged += 1;
                named(&error, &path);
                assert!(!matches!(error, StoreError::Backend { .. }), "{length} bytes: {error:?}");
            }
        }
        // What can still be saved is not made worse by looking.
        let after = fs::read(&path).expect("a file");
        assert!(
            after.len() >= length && after[..length.min(18)] == whole[..length.min(18)],
            "{length}: it was changed"
        );
    }
    assert!(damaged > pages, "{damaged} of {pages} pages");
    fs::write(&path, &whole).expect("a file");
    assert_eq!(read(&path)?, Some(2));
    Ok(())
}

#[test]
fn a_log_that_was_cut_anywhere_has_the_commits_before() -> Result<(), StoreError> {
    let (_folder, path) = folder();
    filled(&path)?;
    // Another handle keeps the log from being moved into the file.
    let keeper = Store::open(&path)?;
    for number in 3..6 {
        let mut change = keeper.begin("main")?;
        for module in 0..40 {
            change.new_module(&format!("pkg{number}.m{module}"), format!("x = {module}\n").repeat(50).as_bytes())?;
        }
        change.update_module("last", format!("{number}").as_bytes())?;
        change.commit()?;
    }
    let (file, log) = (fs::read(&path).expect("a file"), fs::read(log_of(&path)).expect("a log"));
    drop(keeper);
    let frame = 24 + PAGE;
    let frames = (log.len() - 32) / frame;
    let mut lengths = vec![0, 1, 31, 32, 33, 55, 56];
    lengths.extend((1..=frames).flat_map(|one| [32 + one * frame - 1, 32 + one * frame, 32 + one * frame + 24]));
    let mut seen = std::collections::BTreeSet::new();
    let mut before = 0;
    for length in lengths.into_iter().filter(|length| *length <= log.len()) {
        let (_folder, path) = folder();
        fs::write(&path, &file).expect("a file");
        fs::write(log_of(&path), &log[..length]).expect("a log");
        // A log is written from the front: what is cut off was never acknowledged, and what is there is whole.
        let last = read(&path)?.expect("a commit");
        assert!(last >= before, "{length} bytes have commit {last}, fewer bytes had {before}");
        before = last;
        seen.insert(last);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
    Ok(())
}

/// The program in `source`, run by somebody who may only do what others may.
fn run_as_other(folder: &Path, source: &str) -> Option<Run> {
    let program = folder.join("program.py");
    fs::write(&program, source).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let mut command = modspace([std::ffi::OsStr::new("run"), program.as_os_str()]);
    if fs::metadata(folder).expect("it is there").uid() == 0 {
        // Nobody.
        command.uid(65534).gid(65534);
    }
    match command.output() {
        Ok(output) => Some(output.into()),
        Err(error) => {
            eprintln!("left out: no program can be run for somebody else: {error}");
            None
        }
    }
}

const USE: &str = r#"
import modspace, sys
path = PATH
def tell(what, use):
    try:
        print(what, use())
    except modspace.StoreError as error:
        print(what, type(error).__name__, error)
def commit():
    return modspace.Store.open(path).new_module("more", "")
tell("read:", lambda: modspace.Store.open(path).find_module("last").source)
tell("write:", commit)
"#;

#[test]
fn a_store_that_cannot_be_written_is_read_or_named() -> Result<(), StoreError> {
    let (folder, path) = folder();
    filled(&path)?;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    let program = USE.replace("PATH", &format!("{path:?}"));
    // The file may be read and not written, its directory may be written: SQLite can make its log.
    mode(&path, 0o444);
    mode(folder.path(), 0o777);
    let Some(run) = run_as_other(folder.path(), &program) else { return Ok(()) };
    let run = run.succeeded().stdout_has("read: 2\n").stdout_has("write: StoreError the store ");
    assert!(run.stdout.contains("cannot be written") && run.stdout.contains("permissions"), "{}", run.stdout);
    assert!(run.stdout.contains(&*path.to_string_lossy()), "{}", run.stdout);
    for beside in ["app.store-wal", "app.store-shm"] {
        let _ = fs::remove_file(path.with_file_name(beside));
    }
    // Neither: SQLite cannot open a file in WAL mode then.
    mode(folder.path(), 0o555);
    let run = run_as_other(folder.path(), &program).map(Run::succeeded);
    if let Some(run) = run {
        assert_eq!(run.stdout.matches("cannot be written").count(), 2, "{}", run.stdout);
        assert_eq!(run.stdout.matches("permissions of the file and its directory").count(), 2, "{}", run.stdout);
    }
    // It may not even be read.
    mode(folder.path(), 0o755);
    mode(&path, 0o000);
    if let Some(run) = run_as_other(folder.path(), &program) {
        let run = run.succeeded();
        assert_eq!(run.stdout.matches("it cannot be read: ").count(), 2, "{}", run.stdout);
    }
    mode(&path, 0o644);
    assert_eq!(read(&path)?, Some(2));
    Ok(())
}

/// A way to open a store.
type Open = fn(&Path) -> Result<Store, StoreError>;

/// A file system of its own, while this exists.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, options: &[&str]) -> Option<Self> {
        fs::create_dir_all(path).expect("a folder");
        let mounted = Command::new("mount").args(options).arg(path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(path.to_owned()));
        }
        eprintln!("left out: nothing can be mounted here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_file_system_that_is_read_only_is_named() -> Result<(), StoreError> {
    let (folder, path) = folder();
    filled(&path)?;
    let place = tempfile::tempdir().expect("a folder");
    let from = folder.path().to_string_lossy().into_owned();
    let Some(mounted) = Mounted::new(place.path(), &["--bind", &from]) else { return Ok(()) };
    let again = Command::new("mount").args(["-o", "remount,ro,bind"]).arg(place.path()).status().expect("mount runs");
    assert!(again.success());
    let there = place.path().join("app.store");
    let error = Store::open(&there).expect_err("it cannot be written");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    named(&error, &there);
    let error = Store::open(place.path().join("new.store")).expect_err("it cannot be made");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    drop(mounted);
    assert_eq!(read(&path)?, Some(2));
    Ok(())
}

#[test]
fn a_disk_that_is_full_takes_no_commit_and_loses_none() -> Result<(), StoreError> {
    let place = tempfile::tempdir().expect("a folder");
    let Some(_mounted) = Mounted::new(place.path(), &["-t", "tmpfs", "-o", "size=1500k", "tmpfs"]) else {
        return Ok(());
    };
    let path = place.path().join("app.store");
    filled(&path)?;
    let store = Store::open(&path)?;
    let head = store.head("main")?;
    // One that is too large, and then one small one after the other until there is no room.
    let big: Vec<u8> = (0..3_000_000u32).map(|number| b'a' + (number % 23) as u8).collect();
    let mut change = store.begin("main")?;
    change.new_module("big", &[b"x = '", big.as_slice(), b"'\n"].concat())?;
    let error = change.commit().expect_err("there is no room");
    assert!(error.to_string().contains("the disk is full") && error.to_string().contains("app.store"), "{error}");
    assert_eq!(store.head("main")?, head);
    let mut acknowledged = 0;
    let error = loop {
        let mut change = store.begin("main")?;
        change.new_module(&format!("small.m{acknowledged}"), &big[..20_000])?;
        match change.commit() {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 200, "the disk is never full");
    };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let small = |store: &Store| -> Result<usize, StoreError> {
        let snapshot = store.snapshot("main")?;
        let names = snapshot.modules()?.into_iter().map(|(name, _)| name).filter(|name| name.starts_with("small."));
        names
            .map(|name| snapshot.source(&name).map(|source| assert_eq!(source, &big[..20_000])))
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.len())
    };
    assert_eq!(small(&store)?, acknowledged);
    drop(store);
    // Opened again, also without room to spare.
    let store = Store::open(&path)?;
    assert_eq!(small(&store)?, acknowledged);
    assert!(store.verify(&mut |_| {})?.problems.is_empty());
    Ok(())
}

#[test]
fn devices_and_pipes_are_no_stores() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    // A link to nowhere, and one to itself.
    let (nowhere, around) = (folder.path().join("nowhere"), folder.path().join("around"));
    std::os::unix::fs::symlink(folder.path().join("absent/x"), &nowhere).expect("a link");
    std::os::unix::fs::symlink(&around, &around).expect("a link");
    for path in [pipe.as_path(), Path::new("/dev/null"), Path::new("/dev/zero"), &nowhere, &around] {
        let opens: [Open; 2] = [|path| Store::open(path), |path| Store::open_existing(path)];
        for open in opens {
            let error = open(path).expect_err("it is no store");
            named(&error, path);
            let is_clear =
                matches!(error, StoreError::NotAStore { .. } | StoreError::File { .. } | StoreError::ReadOnly { .. });
            assert!(is_clear, "{error:?}");
        }
    }
}

#[test]
fn a_link_to_a_store_is_that_store() -> Result<(), StoreError> {
    let (folder, path) = folder();
    filled(&path)?;
    let link = folder.path().join("link.store");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let (one, other) = (Store::open(&path)?, Store::open(&link)?);
    let mut heads = other.subscribe("main", None)?;
    let mut change = one.begin("main")?;
    change.update_module("last", b"3")?;
    let id = change.commit()?;
    assert_eq!(other.head("main")?, id);
    assert_eq!(heads.next(std::time::Duration::from_secs(5))?.len(), 1);
    assert!(!folder.path().join("link.store-wal").exists(), "a second log would be a second store");
    Ok(())
}
