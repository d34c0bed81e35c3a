//! Transactions, branches and history.

use std::time::Duration;

use modspace::persist::{Conflict, Store, StoreError, Transaction};

fn commit(store: &Store, change: impl FnOnce(&mut Transaction) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let mut transaction = store.begin("main")?.author("a").message("m");
    change(&mut transaction)?;
    transaction.commit().map(drop)
}

fn new(store: &Store, name: &str, source: &str) -> Result<(), StoreError> {
    commit(store, |change| change.new_module(name, source.as_bytes()))
}

fn names(store: &Store) -> Vec<String> {
    let modules = store.snapshot("main").and_then(|snapshot| snapshot.modules()).expect("it works");
    modules.into_iter().map(|(name, _)| name).collect()
}

fn source(store: &Store, name: &str) -> Result<String, StoreError> {
    store.snapshot("main")?.source(name).map(|source| String::from_utf8(source).expect("UTF-8"))
}

fn conflict(error: StoreError) -> Conflict {
    match error {
        StoreError::Conflict(conflict) => *conflict,
        other => panic!("not a conflict: {other}"),
    }
}

#[test]
fn a_commit_has_what_was_changed_and_who_did_it() -> Result<(), StoreError> {
    let store = Store::memory();
    let mut change = store.begin("main")?.author("me").message("the first");
    change.new_module("pkg.mod", b"x = 1")?;
    assert_eq!(change.source("pkg.mod")?, b"x = 1");
    assert_eq!(names(&store), [] as [&str; 0]);
    let id = change.commit()?.expect("a commit");
    assert_eq!(store.head("main")?, Some(id));
    assert_eq!(names(&store), ["pkg.mod"]);
    let commit = store.commit(id)?;
    assert_eq!((&*commit.author, &*commit.message, commit.parents.len()), ("me", "the first", 0));
    assert!(commit.time > 1_700_000_000_000);
    new(&store, "other", "")?;
    let history: Vec<_> = store.history(store.head("main")?).collect::<Result<_, _>>()?;
    assert_eq!(history.iter().map(|(_, commit)| &*commit.message).collect::<Vec<_>>(), ["m", "the first"]);
    assert_eq!(history[0].1.parents, [id]);
    Ok(())
}

#[test]
fn a_transaction_sees_its_own_changes_and_no_others() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "a", "1")?;
    let mut change = store.begin("main")?;
    new(&store, "b", "1")?;
    assert_eq!(change.modules()?, ["a"]);
    change.update_module("a", b"2")?;
    change.new_module("c", b"1")?;
    change.remove_module("a")?;
    assert_eq!(change.modules()?, ["c"]);
    assert!(matches!(change.source("a"), Err(StoreError::NoModule { .. })));
    change.abort();
    assert_eq!(names(&store), ["a", "b"]);
    Ok(())
}

#[test]
fn nothing_to_commit_is_no_commit() -> Result<(), StoreError> {
    let store = Store::memory();
    assert_eq!(store.begin("main")?.commit()?, None);
    new(&store, "a", "1")?;
    let head = store.head("main")?;
    commit(&store, |change| change.update_module("a", b"1"))?;
    commit(&store, |change| {
        change.new_module("b", b"1")?;
        change.remove_module("b")
    })?;
    assert_eq!(store.head("main")?, head);
    Ok(())
}

#[test]
fn changes_of_different_modules_are_both_kept() -> Result<(), StoreError> {
    let store = Store::memory();
    commit(&store, |change| ["a", "b", "p.a"].iter().try_for_each(|name| change.new_module(name, b"1")))?;
    let mut one = store.begin("main")?;
    one.update_module("a", b"2")?;
    one.new_module("p.b", b"2")?;
    commit(&store, |change| {
        change.update_module("b", b"3")?;
        change.new_module("p.c", b"3")
    })?;
    one.commit()?;
    assert_eq!((source(&store, "a")?, source(&store, "b")?), ("2".into(), "3".into()));
    assert_eq!(names(&store), ["a", "b", "p.a", "p.b", "p.c"]);
    Ok(())
}

#[test]
fn a_conflict_names_modules_commits_and_authors() -> Result<(), StoreError> {
    let store = Store::memory();
    commit(&store, |change| ["a", "b", "c"].iter().try_for_each(|name| change.new_module(name, b"1")))?;
    let base = store.head("main")?;
    let mut mine = store.begin("main")?.author("me");
    mine.update_module("a", b"mine")?;
    mine.remove_module("b")?;
    mine.update_module("c", b"mine")?;
    let mut others = Vec::new();
    for (name, author) in [("a", "Ann"), ("b", "Bob"), ("unrelated", "Eve")] {
        let mut other = store.begin("main")?.author(author);
        if name == "unrelated" {
            other.new_module(name, b"")?
        } else {
            other.update_module(name, b"theirs")?
        }
        others.extend(other.commit()?);
    }
    let head = store.head("main")?;
    let error = mine.commit().expect_err("a conflict");
    let message = error.to_string();
    let conflict = conflict(error);
    assert_eq!(conflict.modules, ["a", "b"]);
    assert_eq!((conflict.base, &*conflict.author), (base, "me"));
    assert_eq!(conflict.others, [(others[1], "Bob".to_owned()), (others[0], "Ann".to_owned())]);
    for part in ["a, b changed", "by Ann", "by Bob", "of me"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(store.head("main")?, head);
    Ok(())
}

#[test]
fn the_same_change_twice_is_no_conflict() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "a", "1")?;
    let mut mine = store.begin("main")?;
    mine.update_module("a", b"2")?;
    mine.new_module("b", b"2")?;
    commit(&store, |change| change.update_module("a", b"2"))?;
    mine.commit()?;
    assert_eq!(names(&store), ["a", "b"]);
    Ok(())
}

#[test]
fn a_name_is_a_module_or_a_package() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "A.B.C", "")?;
    let refused = |error: StoreError, name: &str| match error {
        StoreError::ModuleAndPackage { name: named } => assert_eq!(named, name),
        other => panic!("{other}"),
    };
    refused(new(&store, "A.B", "").expect_err("a package"), "A.B");
    refused(new(&store, "A.B.C.D", "").expect_err("below a module"), "A.B.C");
    refused(new(&store, "A.B.C.__init__", "").expect_err("below a module"), "A.B.C");
    new(&store, "A.B.D", "")?;
    new(&store, "A.B.__init__", "x = 2")?;
    assert_eq!(source(&store, "A.B")?, "x = 2");
    assert_eq!(source(&store, "A.B.__init__")?, "x = 2");
    commit(&store, |change| change.update_module("A.B", b"x = 3"))?;
    assert_eq!(source(&store, "A.B.__init__")?, "x = 3");
    // Within one transaction the place may become free.
    commit(&store, |change| {
        change.remove_module("A.B")?;
        change.new_module("A.B", b"a module")
    })?;
    assert_eq!(names(&store), ["A.B"]);
    // And two transactions can make it taken.
    let mut mine = store.begin("main")?;
    mine.new_module("P.inside", b"")?;
    new(&store, "P", "")?;
    assert_eq!(conflict(mine.commit().expect_err("a conflict")).modules, ["P"]);
    Ok(())
}

#[test]
fn a_package_is_there_as_long_as_something_is_in_it() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "a.b.c", "")?;
    let snapshot = store.snapshot("main")?;
    assert_eq!(snapshot.children(None)?, Some(vec![("a".to_owned(), true)]));
    assert_eq!(snapshot.children(Some("a.b"))?, Some(vec![("c".to_owned(), false)]));
    assert_eq!(snapshot.children(Some("a.b.c"))?, None);
    commit(&store, |change| change.remove_module("a.b.c"))?;
    assert_eq!(store.snapshot("main")?.children(None)?, Some(Vec::new()));
    assert_eq!(store.snapshot("main")?.find("a")?, None);
    Ok(())
}

#[test]
fn packages_are_removed_and_renamed_whole() -> Result<(), StoreError> {
    let store = Store::memory();
    commit(&store, |change| {
        ["p.__init__", "p.a", "p.q.b", "other"].iter().try_for_each(|name| change.new_module(name, name.as_bytes()))
    })?;
    commit(&store, |change| change.rename_module("p", "new.place"))?;
    assert_eq!(names(&store), ["new.place.__init__", "new.place.a", "new.place.q.b", "other"]);
    assert_eq!(source(&store, "new.place.q.b")?, "p.q.b");
    commit(&store, |change| change.rename_module("new.place.a", "p"))?;
    assert!(matches!(commit(&store, |change| change.rename_module("p", "other")), Err(StoreError::Exists { .. })));
    let mut change = store.begin("main")?;
    assert!(change.rename_module("new", "p").is_err());
    assert_eq!(change.changed().count(), 0, "a rename that is refused changes nothing");
    // Below itself.
    change.rename_module("new", "new.deeper")?;
    assert_eq!(change.modules()?, ["new.deeper.place.__init__", "new.deeper.place.q.b", "other", "p"]);
    change.remove_module("new")?;
    change.commit()?;
    assert_eq!(names(&store), ["other", "p"]);
    Ok(())
}

#[test]
fn savepoints_nest() -> Result<(), StoreError> {
    let store = Store::memory();
    let mut change = store.begin("main")?;
    change.new_module("a", b"1")?;
    let first = change.savepoint();
    change.new_module("b", b"1")?;
    let second = change.savepoint();
    change.update_module("a", b"2")?;
    change.rollback(second)?;
    assert_eq!(change.source("a")?, b"1");
    change.rollback(first)?;
    assert_eq!(change.modules()?, ["a"]);
    change.new_module("b", b"2")?;
    assert!(matches!(change.rollback(second), Err(StoreError::Savepoint)));
    change.rollback(first)?;
    // What came in its place is not the one that is gone, nor is one of another transaction.
    change.new_module("c", b"")?;
    let third = change.savepoint();
    let mut other = store.begin("main")?;
    let foreign = other.savepoint();
    for gone in [second, foreign] {
        assert!(matches!(change.rollback(gone), Err(StoreError::Savepoint)));
    }
    assert!(matches!(other.rollback(third), Err(StoreError::Savepoint)));
    change.rollback(first)?;
    change.rollback(first)?;
    change.commit()?;
    assert_eq!(names(&store), ["a"]);
    Ok(())
}

#[test]
fn packages_may_be_called_as_they_like() -> Result<(), StoreError> {
    let store = Store::memory();
    let mut change = store.begin("main")?;
    change.new_module("foo__init__.__init__", b"1")?;
    change.update_module("foo__init__", b"2")?;
    assert_eq!(change.source("foo__init__")?, b"2");
    Ok(())
}

#[test]
fn undo_is_another_commit() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "a", "1")?;
    commit(&store, |change| {
        change.update_module("a", b"2")?;
        change.new_module("b", b"2")
    })?;
    let second = store.head("main")?.expect("a commit");
    new(&store, "c", "3")?;
    store.undo("main", second, "me")?;
    assert_eq!(names(&store), ["a", "c"]);
    assert_eq!(source(&store, "a")?, "1");
    let undone = store.commit(store.head("main")?.expect("a commit"))?;
    assert_eq!((&*undone.author, undone.message), ("me", format!("undo {}: m", second.short())));
    // What undid can be undone.
    let undo = store.head("main")?.expect("a commit");
    store.undo("main", undo, "me")?;
    assert_eq!(source(&store, "a")?, "2");
    commit(&store, |change| change.update_module("a", b"later"))?;
    assert_eq!(conflict(store.undo("main", second, "me").expect_err("a conflict")).modules, ["a"]);
    Ok(())
}

#[test]
fn a_snapshot_stays_as_it_is() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "a", "1")?;
    let before = store.snapshot("main")?;
    commit(&store, |change| {
        change.remove_module("a")?;
        change.new_module("p.b", b"")
    })?;
    assert_eq!(before.source("a")?, b"1");
    let after = store.snapshot("main")?;
    let changes = before.changes(&after)?;
    let told: Vec<_> = changes.iter().map(|one| (&*one.name, one.old.is_some(), one.new.is_some())).collect();
    assert_eq!(told, [("a", true, false), ("p.b", false, true)]);
    assert_eq!(after.changes(&after)?, []);
    let error = after.source("a").expect_err("it is gone").to_string();
    assert!(error.contains("\"a\"") && error.contains("the commit "), "{error}");
    Ok(())
}

#[test]
fn metadata_goes_with_the_module() -> Result<(), StoreError> {
    let store = Store::memory();
    let metadata = serde_json::json!({"owner": "me", "tags": [1, "é"]});
    let metadata = metadata.as_object().expect("an object");
    commit(&store, |change| {
        change.new_module("p.a", b"1")?;
        assert!(change.metadata("p.a")?.is_empty());
        change.set_metadata("p.a", metadata)
    })?;
    commit(&store, |change| {
        change.update_module("p.a", b"2")?;
        change.rename_module("p", "q")
    })?;
    assert_eq!(store.begin("main")?.metadata("q.a")?, *metadata);
    commit(&store, |change| change.set_metadata("q.a", &serde_json::Map::new()))?;
    assert!(store.begin("main")?.metadata("q.a")?.is_empty());
    Ok(())
}

#[test]
fn a_subscription_resumes_without_a_gap() -> Result<(), StoreError> {
    let store = Store::memory();
    new(&store, "a", "")?;
    let known = store.head("main")?;
    let mut from_now = store.subscribe("main", None)?;
    for name in ["b", "c"] {
        new(&store, name, "")?;
    }
    let mut resumed = store.subscribe("main", known)?;
    let mut side = store.begin("side")?;
    side.new_module("x", b"")?;
    side.commit()?;
    for heads in [&mut from_now, &mut resumed] {
        let moves = heads.next(Duration::ZERO)?;
        assert_eq!(moves.len(), 2);
        assert_eq!((moves[0].from, moves[1].to), (known, store.head("main")?));
        assert_eq!(heads.next(Duration::from_millis(10))?, []);
    }
    let unknown = store.head("side")?;
    assert!(matches!(store.subscribe("main", unknown), Err(StoreError::NoCommit { .. })));
    Ok(())
}

#[test]
fn names_that_no_import_can_name_are_refused() -> Result<(), StoreError> {
    let store = Store::memory();
    let long = "x".repeat(251);
    let longer = vec!["x".repeat(200); 6].join(".");
    for (name, reason) in [
        ("", "empty"),
        (".a", "empty"),
        ("a..b", "empty"),
        ("a.", "empty"),
        ("1a", "identifier"),
        ("a b", "identifier"),
        ("a-b", "identifier"),
        ("a\0", "identifier"),
        ("a/b", "identifier"),
        ("ﬁ", "NFKC"),
        ("__init__", "stands at the end"),
        ("a.__init__.b", "stands at the end"),
        (&long, "250 bytes"),
        (&longer, "1000 bytes"),
    ] {
        let mut change = store.begin("main")?;
        for refused in [
            change.new_module(name, b""),
            change.update_module(name, b""),
            change.remove_module(name),
            change.rename_module("a", name),
        ] {
            let error = refused.expect_err(name);
            assert!(matches!(error, StoreError::Name { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert_eq!(change.changed().count(), 0);
    }
    for name in ["a", "_", "é", "名前", "b.c.__main__", "class", "__init__x"] {
        new(&store, name, "")?;
    }
    for branch in ["", "a b", "/", "a//b", "..", "-x", "é", "a\0"] {
        assert!(matches!(store.begin(branch), Err(StoreError::Branch { .. })), "{branch}");
    }
    store.begin("feature/x-1_2.3")?.abort();
    Ok(())
}

#[test]
fn sources_that_python_cannot_read_are_refused() -> Result<(), StoreError> {
    let store = Store::memory();
    let mut change = store.begin("main")?;
    let nul = change.new_module("a", b"x = 1\0").expect_err("NUL").to_string();
    assert!(nul.contains("\"a\"") && nul.contains("NUL at byte 5"), "{nul}");
    let undeclared = change.new_module("a", b"x = 1\ny = '\xe9'").expect_err("Latin-1").to_string();
    assert!(undeclared.contains("line 2") && undeclared.contains("0xe9"), "{undeclared}");
    change.new_module("latin", b"# -*- coding: latin-1 -*-\ny = '\xe9'")?;
    change.new_module("second", b"#!python\n# vim: set fileencoding=latin-1 :\ny = '\xe9'")?;
    assert!(change.new_module("third", b"x = 1\n\n# coding: latin-1\ny = '\xe9'").is_err());
    change.new_module("large", &b"x = 1\n".repeat(1_700_000))?;
    change.commit()?;
    assert_eq!(names(&store), ["large", "latin", "second"]);
    assert_eq!(store.snapshot("main")?.source("large")?.len(), 10_200_000);
    Ok(())
}

#[test]
fn a_commit_writes_what_it_changes() -> Result<(), StoreError> {
    let store = Store::memory();
    commit(&store, |change| {
        (0..2000).try_for_each(|number| change.new_module(&format!("m{number}"), format!("x = {number}").as_bytes()))
    })?;
    // The same sources, one after the other, whatever the order.
    let other = Store::memory();
    commit(&other, |change| (1000..2000).try_for_each(|number| change.new_module(&format!("m{number}"), b"")))?;
    commit(&other, |change| change.new_module("extra", b""))?;
    commit(&other, |change| {
        (0..1000)
            .rev()
            .try_for_each(|number| change.new_module(&format!("m{number}"), format!("x = {number}").as_bytes()))
    })?;
    commit(&other, |change| {
        change.remove_module("extra")?;
        (1000..2000)
            .try_for_each(|number| change.update_module(&format!("m{number}"), format!("x = {number}").as_bytes()))
    })?;
    // They are other modules, with identities of their own, so only their names and sources are the same.
    let told = |store: &Store| -> Result<Vec<_>, StoreError> {
        Ok(store.snapshot("main")?.modules()?.into_iter().map(|(name, module)| (name, module.source)).collect())
    };
    assert!(told(&store)? == told(&other)?);
    // One and the same, changed and changed back, is the same snapshot.
    let before = other.snapshot("main")?.modules_id();
    commit(&other, |change| change.update_module("m7", b"x = 'another'"))?;
    assert!(other.snapshot("main")?.modules_id() != before);
    commit(&other, |change| change.update_module("m7", b"x = 7"))?;
    assert_eq!(other.snapshot("main")?.modules_id(), before);
    Ok(())
}
