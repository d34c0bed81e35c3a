//! Objects: what transactions, history and maintenance promise of them. Here they are pickles, made by hand.

use std::collections::{BTreeMap, BTreeSet};

use modspace::persist::{
    Backend, Conflict, Memory, Move, Outcome, Record, RecordId, Reference, Store, StoreError, Transaction,
};
use proptest::prelude::*;

/// The pickle of a text.
fn pickle(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short");
    [b"\x80\x05X", &length.to_le_bytes()[..], text.as_bytes(), b"."].concat()
}

/// The pickle of a class.
fn class(module: &str, name: &str) -> Vec<u8> {
    let text = |text: &str| [&[0x8c, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    [&b"\x80\x05"[..], &text(module), &text(name), b"\x93."].concat()
}

/// The pickle of a class that goes by the identity of its module.
fn class_by_identity(store: &Store, module: &str, name: &str) -> Result<Vec<u8>, StoreError> {
    let identity = store.snapshot("main")?.module(module)?.identity.expect("new ones have one");
    let id = Reference::to_persistent_id(identity, module, name);
    Ok([b"\x80\x05\x8c", &[u8::try_from(id.len()).expect("short")][..], id.as_bytes(), b"Q."].concat())
}

fn commit(
    store: &Store,
    change: impl FnOnce(&mut Transaction) -> Result<(), StoreError>,
) -> Result<Option<RecordId>, StoreError> {
    let mut transaction = store.begin("main")?.author("a").message("m");
    change(&mut transaction)?;
    transaction.commit()
}

fn set(store: &Store, key: &str, text: &str) -> Result<Option<RecordId>, StoreError> {
    commit(store, |change| change.set_object(key, &pickle(text)))
}

fn keys(store: &Store) -> Result<Vec<String>, StoreError> {
    Ok(store.snapshot("main")?.objects()?.into_iter().map(|(key, _)| key).collect())
}

fn at(store: &Store, key: &str) -> Option<Vec<u8>> {
    store.snapshot("main").and_then(|snapshot| snapshot.pickle(key)).expect("it works")
}

fn conflict(error: StoreError) -> Conflict {
    match error {
        StoreError::Conflict(conflict) => *conflict,
        other => panic!("not a conflict: {other}"),
    }
}

#[test]
fn objects_and_modules_are_committed_together() -> Result<(), StoreError> {
    let store = Store::memory();
    let id = commit(&store, |change| {
        change.new_module("m", b"class A: pass")?;
        change.set_object("one", &pickle("1"))?;
        change.set_object("", &pickle("empty"))?;
        change.set_object("ключ/\0", &class("m", "A"))?;
        assert_eq!(change.objects()?, ["", "one", "ключ/\0"]);
        assert_eq!(change.pickle("one")?, Some(pickle("1")));
        Ok(())
    })?;
    assert_eq!(keys(&store)?, ["", "one", "ключ/\0"]);
    assert_eq!(at(&store, "one"), Some(pickle("1")));
    assert_eq!(at(&store, "two"), None);
    let snapshot = store.snapshot("main")?;
    assert_eq!((snapshot.count_objects()?, snapshot.modules()?.len()), (3, 1));
    let object = snapshot.object("ключ/\0")?.expect("it is there");
    assert_eq!(object.size, class("m", "A").len() as u64);
    let reference = Reference { module: "m".to_owned(), name: "A".to_owned(), identity: None };
    assert_eq!(snapshot.references(&object)?, [reference]);
    // Earlier commits have what they had.
    commit(&store, |change| change.remove_object("one"))?;
    assert_eq!(keys(&store)?, ["", "ключ/\0"]);
    assert_eq!(store.at(id.expect("a commit"))?.pickle("one")?, Some(pickle("1")));
    // Modules that change take nothing away.
    commit(&store, |change| change.update_module("m", b"class A: x = 1"))?;
    assert_eq!(keys(&store)?, ["", "ключ/\0"]);
    Ok(())
}

#[test]
fn the_same_objects_are_no_commit() -> Result<(), StoreError> {
    let store = Store::memory();
    assert!(!store.begin("main")?.commit_and_tell()?.is_new);
    let head = set(&store, "one", "1")?;
    assert_eq!(set(&store, "one", "1")?, head);
    commit(&store, |change| {
        change.set_object("two", &pickle("2"))?;
        change.remove_object("two")
    })?;
    let mut change = store.begin("main")?;
    change.set_object("one", &pickle("1"))?;
    let committed = change.commit_and_tell()?;
    assert_eq!((committed.head, committed.is_new), (head, false));
    assert_eq!(store.head("main")?, head);
    Ok(())
}

#[test]
fn changes_of_different_objects_are_both_kept() -> Result<(), StoreError> {
    let store = Store::memory();
    set(&store, "a", "1")?;
    set(&store, "b", "1")?;
    let mut one = store.begin("main")?;
    one.set_object("a", &pickle("mine"))?;
    one.set_object("c", &pickle("mine"))?;
    one.remove_object("b")?;
    commit(&store, |change| {
        change.new_module("m", b"")?;
        change.set_object("d", &pickle("theirs"))?;
        // The same as the other does.
        change.remove_object("b")
    })?;
    assert_eq!(one.objects()?, ["a", "c"]);
    one.commit()?;
    assert_eq!(keys(&store)?, ["a", "c", "d"]);
    assert_eq!((at(&store, "a"), at(&store, "d")), (Some(pickle("mine")), Some(pickle("theirs"))));
    assert_eq!(store.snapshot("main")?.modules()?.len(), 1);
    Ok(())
}

#[test]
fn a_conflict_names_keys_commits_and_authors() -> Result<(), StoreError> {
    let store = Store::memory();
    for key in ["a", "b", "c"] {
        set(&store, key, "1")?;
    }
    commit(&store, |change| change.new_module("m", b""))?;
    let mut mine = store.begin("main")?.author("me");
    mine.set_object("a", &pickle("mine"))?;
    mine.remove_object("b")?;
    mine.set_object("c", &pickle("mine"))?;
    mine.update_module("m", b"mine = 1")?;
    let mut others = Vec::new();
    for (key, author) in [("a", "Ann"), ("b", "Bob"), ("unrelated", "Eve")] {
        let mut other = store.begin("main")?.author(author);
        other.set_object(key, &pickle("theirs"))?;
        others.extend(other.commit()?);
    }
    let mut other = store.begin("main")?.author("Eve");
    other.update_module("m", b"theirs = 1")?;
    others.extend(other.commit()?);
    let head = store.head("main")?;
    let error = mine.commit().expect_err("a conflict");
    let message = error.to_string();
    let conflict = conflict(error);
    assert_eq!((conflict.modules, conflict.objects), (vec!["m".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    let named = [(others[3], "Eve"), (others[1], "Bob"), (others[0], "Ann")];
    assert_eq!(conflict.others, named.map(|(id, author)| (id, author.to_owned())));
    assert!(message.starts_with("m, the object \"a\", the object \"b\" changed in "), "{message}");
    assert_eq!(store.head("main")?, head);
    assert_eq!(at(&store, "c"), Some(pickle("1")));
    Ok(())
}

#[test]
fn a_savepoint_brings_objects_back() -> Result<(), StoreError> {
    let store = Store::memory();
    set(&store, "a", "1")?;
    let mut change = store.begin("main")?;
    change.set_object("a", &pickle("2"))?;
    let savepoint = change.savepoint();
    change.new_module("m", b"")?;
    change.set_object("b", &pickle("3"))?;
    change.remove_object("a")?;
    change.rollback(savepoint)?;
    assert_eq!((change.objects()?, change.modules()?.len()), (vec!["a".to_owned()], 0));
    assert_eq!(change.changed_objects().collect::<Vec<_>>(), ["a"]);
    change.commit()?;
    assert_eq!(at(&store, "a"), Some(pickle("2")));
    Ok(())
}

#[test]
fn what_cannot_be_stored_changes_nothing() -> Result<(), StoreError> {
    let store = Store::memory();
    set(&store, "there", "1")?;
    let mut change = store.begin("main")?;
    let long = "k".repeat(1001);
    let error = change.set_object(&long, &pickle("1")).expect_err("it is too long");
    assert!(error.to_string().contains("longer than 1000 bytes") && error.to_string().len() < 200, "{error}");
    change.set_object(&long[..1000], &pickle("1"))?;
    for bytes in [&b""[..], b"no pickle", &pickle("1")[..5]] {
        let error = change.set_object("wrong", bytes).expect_err("it is no pickle");
        assert!(error.to_string().starts_with("the object \"wrong\" cannot be stored: "), "{error}");
    }
    let error = change.remove_object("missing").expect_err("it is not there");
    assert!(matches!(&error, StoreError::NoObject { key, .. } if key == "missing"), "{error}");
    let one = pickle("1");
    let both = [("new", Some(&one[..])), ("missing", None), ("there", None)].into_iter().collect();
    assert!(change.change_objects(&both).is_err());
    assert_eq!(change.objects()?, [long[..1000].to_owned(), "there".to_owned()]);
    Ok(())
}

#[test]
fn undoing_brings_objects_back_or_names_what_changed_since() -> Result<(), StoreError> {
    let store = Store::memory();
    set(&store, "a", "1")?;
    set(&store, "b", "1")?;
    let undone = commit(&store, |change| {
        change.set_object("a", &pickle("2"))?;
        change.remove_object("b")?;
        change.set_object("c", &pickle("2"))?;
        change.new_module("m", b"")
    })?
    .expect("a commit");
    set(&store, "d", "3")?;
    store.undo("main", undone, "me")?;
    assert_eq!(keys(&store)?, ["a", "b", "d"]);
    assert_eq!((at(&store, "a"), at(&store, "b")), (Some(pickle("1")), Some(pickle("1"))));
    assert_eq!(store.snapshot("main")?.modules()?.len(), 0);

    let again = set(&store, "a", "4")?.expect("a commit");
    set(&store, "a", "5")?;
    let conflict = conflict(store.undo("main", again, "me").expect_err("it changed since"));
    assert_eq!((conflict.modules.len(), conflict.objects), (0, vec!["a".to_owned()]));
    assert_eq!(at(&store, "a"), Some(pickle("5")));
    Ok(())
}

#[test]
fn a_commit_is_taken_back_or_undone() -> Result<(), StoreError> {
    let store = Store::memory();
    let first = set(&store, "a", "1")?;
    let second = set(&store, "a", "2")?.expect("a commit");
    // Nobody moved on.
    assert_eq!(store.take_back("main", second, "me")?, first);
    assert_eq!((store.head("main")?, at(&store, "a")), (first, Some(pickle("1"))));
    // Somebody did, elsewhere.
    let second = set(&store, "a", "2")?.expect("a commit");
    set(&store, "b", "3")?;
    store.take_back("main", second, "me")?;
    assert_eq!((at(&store, "a"), at(&store, "b")), (Some(pickle("1")), Some(pickle("3"))));
    assert!(store.commit(store.head("main")?.expect("a commit"))?.message.starts_with("undo "));
    // Somebody did, to the same object: the commit stays.
    let second = set(&store, "a", "2")?.expect("a commit");
    let head = set(&store, "a", "4")?;
    assert_eq!(conflict(store.take_back("main", second, "me").expect_err("it changed")).objects, ["a"]);
    assert_eq!(store.head("main")?, head);
    // Who began at a commit that was taken back hears who changed the same since.
    let second = set(&store, "a", "2")?.expect("a commit");
    let mut mine = store.begin("main")?;
    mine.set_object("a", &pickle("mine"))?;
    store.take_back("main", second, "me")?;
    let third = set(&store, "a", "3")?.expect("a commit");
    let conflict = conflict(mine.commit().expect_err("it changed"));
    assert_eq!(conflict.others, [(third, "a".to_owned())]);
    // The first commit of a branch.
    let mut change = store.begin("other")?;
    change.set_object("a", &pickle("1"))?;
    let only = change.commit()?.expect("a commit");
    assert_eq!(store.take_back("other", only, "me")?, None);
    assert_eq!(store.head("other")?, None);
    Ok(())
}

#[test]
fn garbage_is_what_no_commit_has() -> Result<(), StoreError> {
    let store = Store::memory();
    for number in 0..100 {
        set(&store, &format!("key {number}"), &"x".repeat(number))?;
    }
    commit(&store, |change| change.set_object("class", &class("m", "A")))?;
    let taken_back = set(&store, "gone", "a long text that nothing else has")?.expect("a commit");
    store.take_back("main", taken_back, "")?;
    let verified = store.verify(&mut |_| {})?;
    assert_eq!((verified.problems.len(), verified.commits), (0, 101));
    let deleted = store.collect_garbage(&mut |_| {})?;
    // The commit, the pickle, and nodes above it.
    assert!((3..8).contains(&deleted), "{deleted} records");
    let head = store.head("main")?;
    for (id, _) in store.history(head).collect::<Result<Vec<_>, _>>()? {
        let snapshot = store.at(id)?;
        for (key, object) in snapshot.objects()? {
            assert!(snapshot.pickle(&key)?.is_some());
            snapshot.references(&object)?;
        }
    }
    assert_eq!(store.collect_garbage(&mut |_| {})?, 0);
    Ok(())
}

#[test]
fn damaged_objects_are_named_and_never_served() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    let store = Store::open(&path)?;
    set(&store, "whole", "1")?;
    set(&store, "hurt", "2")?;
    commit(&store, |change| change.set_object("class", &class("m", "A")))?;
    let pickled = store.snapshot("main")?.object("hurt")?.expect("it is there").pickle;
    let file = rusqlite::Connection::open(&path).expect("an SQLite file");
    let damage = |id: &RecordId| {
        let changed = file.execute("UPDATE records SET bytes = x'620000' WHERE id = ?", [id.as_bytes().to_vec()]);
        assert_eq!(changed, Ok(1));
    };
    damage(&pickled);
    let snapshot = store.snapshot("main")?;
    let error = snapshot.pickle("hurt").expect_err("it is damaged");
    assert!(error.to_string().starts_with("the object \"hurt\" cannot be read: the record "), "{error}");
    assert!(store.begin("main")?.pickle("hurt").is_err());
    assert_eq!(snapshot.pickle("whole")?, Some(pickle("1")));
    let problems = store.verify(&mut |_| {})?.problems;
    assert_eq!(
        problems.iter().map(|one| (&*one.what, one.record)).collect::<Vec<_>>(),
        [("the object \"hurt\"", pickled)]
    );
    // What hurt needs is not known to be all.
    assert!(matches!(store.collect_garbage(&mut |_| {}), Err(StoreError::Damaged { .. })));
    // Others can still be changed, and it can be put anew.
    set(&store, "whole", "3")?;
    commit(&store, |change| change.remove_object("hurt"))?;
    set(&store, "hurt", "4")?;
    assert_eq!((at(&store, "whole"), at(&store, "hurt")), (Some(pickle("3")), Some(pickle("4"))));
    Ok(())
}

/// A memory that counts what is written.
struct Counting {
    memory: Memory,
    written: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Backend for Counting {
    fn describe(&self) -> String {
        self.memory.describe()
    }
    fn get(&self, id: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.get(id)
    }
    fn heads(&self) -> Result<std::collections::BTreeMap<String, RecordId>, StoreError> {
        self.memory.heads()
    }
    fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError> {
        self.memory.head(branch)
    }
    fn move_head(
        &self,
        branch: &str,
        from: Option<RecordId>,
        to: Option<RecordId>,
        records: &[Record],
    ) -> Result<Outcome, StoreError> {
        let bytes = records.iter().map(|record| record.bytes.len()).sum();
        self.written.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        self.memory.move_head(branch, from, to, records)
    }
    fn moves(&self, after: u64) -> Result<Vec<Move>, StoreError> {
        self.memory.moves(after)
    }
    fn number_of(&self, branch: &str, commit: RecordId) -> Result<Option<u64>, StoreError> {
        self.memory.number_of(branch, commit)
    }
    fn wait(&self, after: u64, timeout: std::time::Duration) -> Result<u64, StoreError> {
        self.memory.wait(after, timeout)
    }
    fn records(&self) -> Result<Vec<RecordId>, StoreError> {
        self.memory.records()
    }
    fn sweep(&self, number: u64, keep: &dyn Fn(RecordId) -> bool) -> Result<Option<usize>, StoreError> {
        self.memory.sweep(number, keep)
    }
}

#[test]
fn changing_one_object_of_10_000_writes_little() -> Result<(), StoreError> {
    let written = std::sync::Arc::default();
    let store = Store::with(Counting { memory: Memory::default(), written: std::sync::Arc::clone(&written) });
    commit(&store, |change| {
        (0..10_000)
            .try_for_each(|number| change.set_object(&format!("customer {number}"), &pickle(&number.to_string())))
    })?;
    assert_eq!(store.snapshot("main")?.count_objects()?, 10_000);
    written.store(0, std::sync::atomic::Ordering::Relaxed);
    set(&store, "customer 4711", "changed")?;
    let bytes = written.load(std::sync::atomic::Ordering::Relaxed);
    assert!(bytes < 10_000, "{bytes} bytes");
    Ok(())
}

#[test]
fn an_object_of_100_megabytes_is_stored_and_read() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("app.store"))?;
    let large = pickle(&"0123456789".repeat(10_000_000));
    commit(&store, |change| change.set_object("large", &large))?;
    set(&store, "small", "1")?;
    let again = Store::open_existing(folder.path().join("app.store"))?;
    assert!(again.snapshot("main")?.pickle("large")?.as_deref() == Some(&large));
    assert_eq!(again.verify(&mut |_| {})?.problems, []);
    Ok(())
}

#[test]
fn a_module_is_found_by_identity_under_any_name() -> Result<(), StoreError> {
    let store = Store::memory();
    commit(&store, |change| {
        (0..50).try_for_each(|number| change.new_module(&format!("p{}.m{number}", number % 5), b""))?;
        change.new_module("p1.__init__", b"")
    })?;
    let snapshot = store.snapshot("main")?;
    let identity = |name: &str| snapshot.module(name).map(|module| module.identity.expect("new ones have one"));
    let (module, package) = (identity("p2.m7")?, identity("p1")?);
    assert_eq!(snapshot.name_of(module, "p2.m7")?.as_deref(), Some("p2.m7"));
    assert_eq!(snapshot.name_of(module, "p2.m2")?.as_deref(), Some("p2.m7"));
    assert_eq!(snapshot.name_of(package, "not a name")?.as_deref(), Some("p1"));
    commit(&store, |change| {
        change.rename_module("p2.m7", "elsewhere")?;
        change.rename_module("p1", "q.r")?;
        change.new_module("p2.m7", b"# another one")
    })?;
    let later = store.snapshot("main")?;
    assert_eq!(later.name_of(module, "p2.m7")?.as_deref(), Some("elsewhere"));
    assert_eq!(later.name_of(package, "p1")?.as_deref(), Some("q.r"));
    assert_eq!(snapshot.name_of(module, "elsewhere")?.as_deref(), Some("p2.m7"));
    commit(&store, |change| change.remove_module("elsewhere"))?;
    assert_eq!(store.snapshot("main")?.name_of(module, "elsewhere")?, None);
    Ok(())
}

/// A store with an object whose class needs several modules, and some that it does not need.
fn shop() -> Result<Store, StoreError> {
    let store = Store::memory();
    commit(&store, |change| {
        for (name, source) in [
            ("shop.__init__", "from shop import settings"),
            ("shop.settings", "import os"),
            ("shop.accounts", "from .base import Base\nclass Account(Base): pass"),
            ("shop.base", "def f():\n    import helpers.text"),
            ("helpers.text", "import helpers.missing, json"),
            ("helpers.other", ""),
            ("unrelated", "import shop.accounts"),
        ] {
            change.new_module(name, source.as_bytes())?;
        }
        change.set_metadata("shop.base", &serde_json::from_str("{\"a\": 1}").expect("JSON"))
    })?;
    commit(&store, |change| change.set_object("account", &class("shop.accounts", "Account")))?;
    let by_identity = class_by_identity(&store, "shop.accounts", "Account")?;
    commit(&store, |change| change.set_object("by identity", &by_identity))?;
    Ok(store)
}

const NEEDED: [&str; 5] = ["helpers.text", "shop.__init__", "shop.accounts", "shop.base", "shop.settings"];

fn names(store: &Store) -> Result<Vec<String>, StoreError> {
    Ok(store.snapshot("main")?.modules()?.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn a_copy_is_the_same_bytes_and_brings_classes_when_asked() -> Result<(), StoreError> {
    let store = shop()?;
    let from = store.snapshot("main")?;
    for key in ["account", "by identity"] {
        let alone = Store::memory();
        commit(&alone, |change| change.copy_object("copy", &from, key, false))?;
        assert_eq!((keys(&alone)?, names(&alone)?.len()), (vec!["copy".to_owned()], 0));
        assert_eq!(at(&alone, "copy"), from.pickle(key)?);
        assert_eq!(alone.verify(&mut |_| {})?.problems, []);

        let whole = Store::memory();
        commit(&whole, |change| change.copy_object(key, &from, key, true))?;
        assert_eq!(names(&whole)?, NEEDED);
        let (there, here) = (whole.snapshot("main")?, &from);
        for name in NEEDED {
            assert_eq!(there.module(name)?, here.module(name)?);
            assert_eq!(there.source(name)?, here.source(name)?);
        }
        assert_eq!(there.metadata(&there.module("shop.base")?)?.len(), 1);
        assert_eq!(whole.verify(&mut |_| {})?.problems, []);
        // Once more changes nothing.
        let head = whole.head("main")?;
        assert_eq!(commit(&whole, |change| change.copy_object(key, &from, key, true))?, head);
    }
    Ok(())
}

#[test]
fn a_copy_by_identity_follows_a_renamed_module() -> Result<(), StoreError> {
    let store = shop()?;
    commit(&store, |change| change.rename_module("shop.accounts", "shop.books"))?;
    let from = store.snapshot("main")?;
    let target = Store::memory();
    commit(&target, |change| change.copy_object("by identity", &from, "by identity", true))?;
    assert_eq!(names(&target)?, ["helpers.text", "shop.__init__", "shop.base", "shop.books", "shop.settings"]);
    // By name, there is nothing to bring any more.
    let target = Store::memory();
    commit(&target, |change| change.copy_object("account", &from, "account", true))?;
    assert_eq!(names(&target)?, ["shop.__init__", "shop.settings"]);
    Ok(())
}

#[test]
fn a_copy_names_the_modules_that_are_others_there() -> Result<(), StoreError> {
    let from = shop()?.snapshot("main")?;
    let target = Store::memory();
    commit(&target, |change| {
        change.new_module("shop.base", b"# another one")?;
        change.new_module("helpers.text", b"# another one")?;
        change.new_module("shop.settings", b"import os")
    })?;
    let mut change = target.begin("main")?;
    let error = change.copy_object("account", &from, "account", true).expect_err("they differ");
    let message = error.to_string();
    assert!(
        matches!(&error, StoreError::Differ { key, modules, .. }
            if key == "account" && *modules == ["helpers.text", "shop.base"]),
        "{message}"
    );
    assert!(message.contains("the modules \"helpers.text\", \"shop.base\" have other sources"), "{message}");
    assert_eq!((change.objects()?.len(), change.modules()?.len()), (0, 3));
    // A package where a module should go, or the other way round.
    let target = Store::memory();
    commit(&target, |change| change.new_module("shop.accounts.old", b""))?;
    let mut change = target.begin("main")?;
    let error = change.copy_object("account", &from, "account", true).expect_err("a package");
    assert!(matches!(&error, StoreError::ModuleAndPackage { name } if name == "shop.accounts"), "{error}");
    assert_eq!((change.objects()?.len(), change.modules()?.len()), (0, 1));
    // Without classes it can be copied.
    change.copy_object("account", &from, "account", false)?;
    assert_eq!(change.objects()?, ["account"]);
    let error = change.copy_object("x", &from, "missing", false).expect_err("there is none");
    assert!(matches!(&error, StoreError::NoObject { key, .. } if key == "missing"), "{error}");
    Ok(())
}

/// Objects by key, in a model of a branch.
type Model = BTreeMap<String, String>;

/// What one of two transactions does, or what is done to the branch.
#[derive(Clone, Debug)]
enum Step {
    Set(bool, String, u8),
    Remove(bool, String),
    Commit(bool),
    Undo(usize),
    TakeBack,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned);
    prop_oneof![
        5 => (any::<bool>(), key(), 0..3u8).prop_map(|(which, key, value)| Step::Set(which, key, value)),
        2 => (any::<bool>(), key()).prop_map(|(which, key)| Step::Remove(which, key)),
        3 => any::<bool>().prop_map(Step::Commit),
        1 => (0..3usize).prop_map(Step::Undo),
        1 => Just(Step::TakeBack),
    ]
}

/// A transaction, what the branch had when it began, and what it sees.
struct Pending {
    transaction: Transaction,
    base: Model,
    now: Model,
}

fn changed(old: &Model, new: &Model) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

/// What comes of changes to `base` that are made to `head`, or the keys that are in the way.
fn merged(base: &Model, mine: &Model, touched: &BTreeSet<String>, head: &Model) -> Result<Model, Vec<String>> {
    let theirs = changed(base, head);
    let conflicts: Vec<_> =
        touched.iter().filter(|key| theirs.contains(key) && head.get(*key) != mine.get(*key)).cloned().collect();
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut merged = head.clone();
    for key in touched {
        match mine.get(key) {
            Some(value) => drop(merged.insert(key.clone(), value.clone())),
            None => drop(merged.remove(key)),
        }
    }
    Ok(merged)
}

fn contents(store: &Store) -> Result<Model, StoreError> {
    let snapshot = store.snapshot("main")?;
    let objects = snapshot.objects()?.into_iter().map(|(key, _)| {
        let pickle = snapshot.pickle(&key)?.expect("it is listed");
        Ok((key, String::from_utf8_lossy(&pickle[7..pickle.len() - 1]).into_owned()))
    });
    objects.collect()
}

fn follow(steps: &[Step]) -> Result<(), StoreError> {
    let store = Store::memory();
    // What each commit of the branch has, below that of the empty branch.
    let mut history = vec![Model::new()];
    let begin = |model: &Model| -> Result<Pending, StoreError> {
        Ok(Pending { transaction: store.begin("main")?, base: model.clone(), now: model.clone() })
    };
    let mut pending = [begin(&history[0])?, begin(&history[0])?];
    for step in steps {
        let head = history.last().expect("one").clone();
        match step {
            Step::Set(which, key, value) => {
                let one = &mut pending[usize::from(*which)];
                one.transaction.set_object(key, &pickle(&value.to_string()))?;
                one.now.insert(key.clone(), value.to_string());
            }
            Step::Remove(which, key) => {
                let one = &mut pending[usize::from(*which)];
                assert_eq!(one.transaction.remove_object(key).is_ok(), one.now.remove(key).is_some());
            }
            Step::Commit(which) => {
                let fresh = begin(&head)?;
                let one = std::mem::replace(&mut pending[usize::from(*which)], fresh);
                let touched = one.transaction.changed_objects().map(str::to_owned).collect();
                match (one.transaction.commit_and_tell(), merged(&one.base, &one.now, &touched, &head)) {
                    (Ok(committed), Ok(model)) => {
                        assert_eq!(committed.is_new, model != head);
                        if committed.is_new {
                            history.push(model);
                        }
                    }
                    (Err(error), Err(keys)) => assert_eq!(conflict(error).objects, keys),
                    (outcome, expected) => panic!("{outcome:?}, but {expected:?}"),
                }
                pending[usize::from(*which)] = begin(history.last().expect("one"))?;
            }
            Step::Undo(below) => {
                let Some((id, _)) = store.history(store.head("main")?).nth(*below).transpose()? else { continue };
                let (before, after) = (&history[history.len() - 2 - below], &history[history.len() - 1 - below]);
                let touched = changed(before, after).into_iter().collect();
                match (store.undo("main", id, ""), merged(after, before, &touched, &head)) {
                    (Ok(_), Ok(model)) if model == head => {}
                    (Ok(_), Ok(model)) => history.push(model),
                    (Err(error), Err(keys)) => assert_eq!(conflict(error).objects, keys),
                    (outcome, expected) => panic!("{outcome:?}, but {expected:?}"),
                }
            }
            Step::TakeBack => {
                if let Some(id) = store.head("main")? {
                    store.take_back("main", id, "")?;
                    history.pop();
                }
            }
        }
        assert_eq!(contents(&store)?, *history.last().expect("one"));
        for one in &pending {
            assert_eq!(one.transaction.objects()?, one.now.keys().cloned().collect::<Vec<_>>());
            assert_eq!(one.transaction.count_objects()?, one.now.len() as u64);
        }
    }
    assert_eq!(store.verify(&mut |_| {})?.problems, []);
    store.collect_garbage(&mut |_| {})?;
    assert_eq!(store.history(store.head("main")?).count(), history.len() - 1);
    assert_eq!(contents(&store)?, *history.last().expect("one"));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_two_transactions_are_merged_as_maps_are(steps in prop::collection::vec(step(), 1..40)) {
        follow(&steps).expect("it works");
    }
}
