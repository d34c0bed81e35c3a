//! Stores with very much in them.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use modspace::{
    AttachOptions, Runtime, UpdateOptions,
    persist::{Record, RecordId, Store, StoreError},
};
use rusqlite::Connection;
use serde::Serialize;

const MILLION: usize = 1_000_000;

/// A commit as the format has it.
#[derive(Serialize)]
struct Commit {
    modules: Option<RecordId>,
    objects: Option<RecordId>,
    parents: Vec<RecordId>,
    author: String,
    time: i64,
    message: String,
}

/// Adds commits to the branch "main", one after the other, as fast as SQLite can: in order of their names, and without
/// waiting for the disk. They all have what the last one of them has, but every second one, which has what is given.
fn add_commits(path: &Path, count: usize, others: Option<RecordId>) -> Result<Vec<RecordId>, StoreError> {
    let store = Store::open(path)?;
    let head = store.head("main")?.expect("a commit");
    // The commit's map is the first thing in its record.
    let bytes = |file: &Connection, id: RecordId| -> Vec<u8> {
        let id = id.as_bytes().to_vec();
        file.query_row("SELECT bytes FROM records WHERE id = ?", [&id], |row| row.get(0)).expect("it is there")
    };
    drop(store);
    let mut file = Connection::open(path).expect("a database");
    let modules = |id| -> Option<RecordId> { postcard::take_from_bytes(&bytes(&file, id)[1..]).expect("a map").0 };
    let (last, other) = (modules(head), others.map_or_else(|| modules(head), modules));
    let mut parent = head;
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let commit = Commit {
            modules: if (count - number) % 2 == 1 { last } else { other },
            objects: None,
            parents: vec![parent],
            author: "me".to_owned(),
            time: 1_700_000_000_000 + i64::try_from(number).expect("small"),
            message: format!("commit {number}"),
        };
        let record = Record::new(postcard::to_extend(&commit, vec![b'd']).expect("a record"));
        parent = record.id;
        all.push(record);
    }
    let ids: Vec<RecordId> = all.iter().map(|record| record.id).collect();
    file.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; DROP INDEX moves_by_target")
        .expect("it works");
    let transaction = file.transaction().expect("it works");
    {
        let mut insert =
            transaction.prepare("INSERT INTO moves (branch, source, target) VALUES ('main', ?, ?)").expect("it works");
        let mut source = head;
        for id in &ids {
            insert.execute((source.as_bytes(), id.as_bytes())).expect("it works");
            source = *id;
        }
        all.sort_by_key(|record| record.id);
        let mut insert = transaction.prepare("INSERT INTO records (id, bytes) VALUES (?, ?)").expect("it works");
        for record in &all {
            insert.execute((record.id.as_bytes(), &record.bytes)).expect("it works");
        }
        transaction
            .execute("UPDATE heads SET target = ? WHERE branch = 'main'", [parent.as_bytes()])
            .expect("it works");
    }
    transaction.commit().expect("it works");
    file.execute_batch("CREATE INDEX moves_by_target ON moves (branch, target)").expect("it works");
    Ok(ids)
}

/// How much memory the process has had at most, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// Verifies a store and collects its garbage; prints commits, problems, steps of progress, the records that went, and how
/// much memory it had at most.
#[test]
#[ignore = "the other process of a_million_commits_are_in_the_way_of_nothing"]
fn caretaker() -> Result<(), StoreError> {
    let store = Store::open(std::env::var("MODSPACE_TEST_STORE").expect("the path of a store"))?;
    let mut steps = 0;
    let verified = store.verify(&mut |records| steps = records)?;
    let garbage = store.collect_garbage(&mut |_| {})?;
    println!("\nseen {} {} {steps} {garbage} {}", verified.commits, verified.problems.len(), peak());
    Ok(())
}

#[test]
fn a_million_commits_are_in_the_way_of_nothing() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    let store = Store::open(&path)?;
    let mut first = store.begin("main")?.author("first");
    first.new_module("rates", b"RATE = 1\ndef rate():\n    return RATE\n")?;
    first.new_module("other", b"")?;
    let first = first.commit()?.expect("a commit");
    let mut second = store.begin("main")?.author("second");
    second.update_module("rates", b"RATE = 2\ndef rate():\n    return RATE\n")?;
    second.commit()?;
    drop(store);
    let made = Instant::now();
    let ids = add_commits(&path, MILLION, Some(first))?;
    let last = *ids.last().expect("one");
    println!("made in {:?}", made.elapsed());
    let timed = |what: &str, begun: Instant| println!("{what}: {:?}", begun.elapsed());

    let begun = Instant::now();
    let store = Store::open(&path)?;
    assert_eq!(store.head("main")?, Some(last));
    timed("opening and the head", begun);

    let begun = Instant::now();
    let log: Vec<_> = store.history(Some(last)).take(10).collect::<Result<_, _>>()?;
    assert_eq!((log.len(), log[0].1.message.as_str(), log[9].0), (10, "commit 999999", ids[MILLION - 10]));
    timed("the last ten of the log", begun);

    let begun = Instant::now();
    let mut heads = store.subscribe("main", Some(ids[MILLION - 3]))?;
    assert_eq!(heads.next(Duration::ZERO)?.len(), 2);
    timed("a subscription from a known commit", begun);

    let runtime = Runtime::builder().site(false).build().expect("a runtime starts");
    let space = runtime.root().child().create().expect("a space is made");
    let options = UpdateOptions::default();
    let begun = Instant::now();
    space.attach(&store, AttachOptions::default()).expect("it works");
    timed("attaching", begun);
    let begun = Instant::now();
    space.exec("from rates import rate").expect("it works");
    assert_eq!(space.eval_repr("rate()").expect("it works"), "2");
    space.at(ids[0], &options).expect("it works");
    assert_eq!(space.eval_repr("rate()").expect("it works"), "1");
    let report = space.sync(&options).expect("it works");
    assert_eq!((report.from, report.to), (Some(ids[0]), Some(last)));
    assert_eq!(space.eval_repr("rate()").expect("it works"), "2");
    timed("to the first of the commits and back", begun);

    let begun = Instant::now();
    let undone = store.undo("main", last, "me")?;
    space.sync(&options).expect("it works");
    assert_eq!((store.head("main")?, space.eval_repr("rate()").expect("it works")), (undone, "1".to_owned()));
    timed("undoing the last one", begun);

    // Both changed it, and one of them began a million commits ago.
    let begun = Instant::now();
    let mut change = store.begin_at("main", Some(ids[0]))?.author("late");
    change.update_module("rates", b"RATE = 3\n")?;
    let mut other = store.begin("main")?.author("early");
    other.update_module("rates", b"RATE = 4\n")?;
    other.commit()?;
    let error = change.commit().expect_err("a conflict");
    let StoreError::Conflict(conflict) = &error else { panic!("{error}") };
    assert_eq!((conflict.modules.as_slice(), conflict.others[0].1.as_str()), (&["rates".to_owned()][..], "early"));
    assert!(error.to_string().len() < 200_000 && error.to_string().contains("rates changed in"), "{error}");
    timed("a conflict", begun);

    let begun = Instant::now();
    let mut heads = store.subscribe("main", Some(ids[0]))?;
    let mut told = 0;
    loop {
        let moves = heads.next(Duration::ZERO)?;
        if moves.is_empty() {
            break;
        }
        told += moves.len();
    }
    assert_eq!(told, MILLION - 1 + 2);
    timed("all the moves since the first", begun);

    // This looks at everything, in a process of its own, so that what it takes is known.
    drop(store);
    let begun = Instant::now();
    let caretaker = Command::new(std::env::current_exe().expect("the test program"))
        .args(["--exact", "suite::store::many::caretaker", "--ignored", "--nocapture"])
        .env("MODSPACE_TEST_STORE", &path)
        .output()
        .expect("the test program starts");
    let told = String::from_utf8_lossy(&caretaker.stdout);
    let told = told.lines().find_map(|line| line.strip_prefix("seen ")).unwrap_or_else(|| panic!("{caretaker:?}"));
    let told: Vec<usize> = told.split(' ').map(|number| number.parse().expect("a number")).collect();
    timed("verifying and collecting garbage", begun);
    let [commits, problems, steps, garbage, memory] = told[..] else { panic!("{told:?}") };
    // The late change was not committed; what it wrote before it was refused is garbage.
    assert_eq!((commits, problems), (MILLION + 4, 0), "commits and problems");
    assert!(steps >= MILLION && garbage < 10, "{steps} steps of progress, {garbage} records that nobody needs");
    assert!(memory < 300_000_000, "{memory} bytes");
    Ok(())
}

#[test]
fn a_commit_among_ten_thousand_modules_writes_little() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    let store = Store::open(&path)?;
    let mut change = store.begin("main")?;
    for number in 0..10_000 {
        change.new_module(&format!("pkg{}.m{number}", number % 100), format!("VALUE = {number}\n").as_bytes())?;
    }
    let begun = Instant::now();
    change.commit()?;
    println!("ten thousand at once: {:?}", begun.elapsed());
    let file = Connection::open(&path).expect("a database");
    let bytes = || -> usize {
        file.query_row("SELECT sum(length(bytes)) FROM records", [], |row| row.get(0)).expect("it works")
    };
    // Emptied, so that it grows by what comes.
    let log = path.with_file_name("app.store-wal");
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("it works");
    assert_eq!(log.metadata().expect("a log").len(), 0);
    let before = bytes();
    let mut change = store.begin("main")?;
    change.update_module("pkg42.m4242", b"VALUE = 'another'\n")?;
    change.commit()?;
    let (records, logged) = (bytes() - before, log.metadata().expect("a log").len());
    println!("{records} bytes of records, {logged} bytes of log");
    assert!(records < 10_000, "{records} bytes of records");
    assert!(logged < 64 * 1024, "{logged} bytes of log");
    // What is new needs no look at all the others either.
    let begun = Instant::now();
    let mut change = store.begin("main")?;
    for number in 0..100 {
        change.new_module(&format!("more.m{number}"), b"")?;
    }
    change.remove_module("pkg1")?;
    change.commit()?;
    println!("a hundred more: {:?}", begun.elapsed());
    Ok(())
}
