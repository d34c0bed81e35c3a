//! Stores that an earlier version wrote.

use std::path::Path;

use modspace::persist::{Store, StoreError};
use rusqlite::Connection;
use serde::Serialize;

type Id = [u8; 32];

/// What the first format has in a package.
#[derive(Serialize)]
enum Entry {
    Module { source: Id, metadata: Option<Id> },
    Package(Id),
}

#[derive(Serialize)]
enum Node {
    Leaf(Vec<(String, Entry)>),
}

#[derive(Serialize)]
struct Commit {
    modules: Option<Id>,
    parents: Vec<Id>,
    author: String,
    time: i64,
    message: String,
}

struct First(Connection);

impl First {
    /// A file of the first format.
    fn new(path: &Path) -> Self {
        let file = Connection::open(path).expect("a database");
        file.execute_batch(
            "CREATE TABLE records (id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE heads (branch TEXT PRIMARY KEY, target BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE moves
                 (number INTEGER PRIMARY KEY AUTOINCREMENT, branch TEXT NOT NULL, source BLOB, target BLOB);
             CREATE INDEX moves_by_target ON moves (branch, target);
             PRAGMA user_version = 1;
             PRAGMA application_id = 0x6d6f6473;",
        )
        .expect("it works");
        Self(file)
    }

    fn put(&self, kind: u8, bytes: &[u8]) -> Id {
        let bytes = [&[kind], bytes].concat();
        let id = *blake3::hash(&bytes).as_bytes();
        self.0.execute("INSERT OR IGNORE INTO records VALUES (?, ?)", (id, bytes)).expect("it works");
        id
    }

    fn record(&self, kind: u8, value: &impl Serialize) -> Id {
        self.put(kind, &postcard::to_stdvec(value).expect("it works"))
    }

    fn commit(&self, modules: Id, parents: &[Id], message: &str) -> Id {
        let commit = Commit {
            modules: Some(modules),
            parents: parents.to_vec(),
            author: "Ann".to_owned(),
            time: 1_700_000_000_000,
            message: message.to_owned(),
        };
        let id = self.record(b'c', &commit);
        self.0.execute("INSERT OR REPLACE INTO heads VALUES ('main', ?)", (id,)).expect("it works");
        let moved = "INSERT INTO moves (branch, source, target) VALUES ('main', ?, ?)";
        self.0.execute(moved, (parents.first(), id)).expect("it works");
        id
    }
}

/// Two commits: `base`, and then `base` and a package.
fn first(path: &Path) {
    let file = First::new(path);
    let module = |source: &str, metadata: Option<&str>| Entry::Module {
        source: file.put(b'b', source.as_bytes()),
        metadata: metadata.map(|metadata| file.put(b'b', metadata.as_bytes())),
    };
    let base = || ("base".to_owned(), module("f = 1\n", Some("{\"owner\":\"Ann\"}")));
    let one = file.commit(file.record(b'p', &Node::Leaf(vec![base()])), &[], "one");
    let inside = vec![
        ("__init__".to_owned(), module("from .mod import x\n", None)),
        ("mod".to_owned(), module("from base import f\nx = f\n", None)),
    ];
    let package = Entry::Package(file.record(b'p', &Node::Leaf(inside)));
    file.commit(file.record(b'p', &Node::Leaf(vec![base(), ("pkg".to_owned(), package)])), &[one], "two");
}

fn version(path: &Path) -> u32 {
    let file = Connection::open(path).expect("a database");
    file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("it works")
}

#[test]
fn a_store_of_the_first_format_is_read_and_goes_on() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old.store");
    first(&path);
    let store = Store::open_existing(&path)?;
    let snapshot = store.snapshot("main")?;
    let names: Vec<_> = snapshot.modules()?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["base", "pkg.__init__", "pkg.mod"]);
    assert_eq!(snapshot.source("pkg.mod")?, b"from base import f\nx = f\n");
    assert_eq!(store.begin("main")?.metadata("base")?["owner"], "Ann");
    let log: Vec<_> = store.history(store.head("main")?).collect::<Result<_, _>>()?;
    assert_eq!(log.iter().map(|(_, commit)| &*commit.message).collect::<Vec<_>>(), ["two", "one"]);
    assert_eq!(store.verify(&mut |_| ())?.problems, []);
    // Nobody recorded imports then; the sources say them.
    assert_eq!(snapshot.imports("pkg")?.into_keys().collect::<Vec<_>>(), ["pkg.mod"]);
    assert_eq!(snapshot.importers("base")?.into_keys().collect::<Vec<_>>(), ["pkg.mod"]);
    assert_eq!(version(&path), 1, "reading changes nothing");
    let mut change = store.begin("main")?;
    change.update_module("base", b"g = 2\n")?;
    let told = change.commit_and_tell()?;
    assert_eq!(told.in_use.len(), 1);
    assert_eq!(told.in_use[0].to_string(), "base.f goes and is imported by pkg.mod");
    assert_eq!(version(&path), 2);
    drop(store);
    let store = Store::open(&path)?;
    assert_eq!(store.snapshot("main")?.source("base")?, b"g = 2\n");
    assert!(store.snapshot("main")?.module("base")?.imports.is_some());
    assert_eq!(store.snapshot("main")?.metadata(&store.snapshot("main")?.module("base")?)?["owner"], "Ann");
    // A commit of the first format can be undone, and its modules removed.
    let log: Vec<_> = store.history(store.head("main")?).collect::<Result<_, _>>()?;
    assert_eq!(log.len(), 3);
    store.undo("main", log[1].0, "Bob")?;
    let names: Vec<_> = store.snapshot("main")?.modules()?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["base"]);
    assert_eq!(store.verify(&mut |_| ())?.problems, []);
    assert_eq!(store.collect_garbage(&mut |_| ())?, 0);
    Ok(())
}
