//! What others import does not go unnoticed: imports are recorded, and what would break is listed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use modspace::persist::{Committed, InUse, Module, Policy, Snapshot, Store, StoreError, Transaction};

fn filled(sources: &[(&str, &str)]) -> Result<Store, StoreError> {
    let store = Store::memory();
    commit(&store, |change| sources.iter().try_for_each(|(name, source)| change.new_module(name, source.as_bytes())))?;
    Ok(store)
}

fn commit(
    store: &Store,
    change: impl FnOnce(&mut Transaction) -> Result<(), StoreError>,
) -> Result<Committed, StoreError> {
    let mut transaction = store.begin("main")?;
    change(&mut transaction)?;
    transaction.commit_and_tell()
}

fn told(in_use: &[InUse]) -> Vec<String> {
    in_use.iter().map(ToString::to_string).collect()
}

fn record(store: &Store, name: &str) -> Result<(Snapshot, Module), StoreError> {
    let snapshot = store.snapshot("main")?;
    let module = snapshot.module(name)?;
    Ok((snapshot, module))
}

#[test]
fn each_commit_records_who_takes_which_name_from_whom() -> Result<(), StoreError> {
    let store = filled(&[
        ("base", "def f(): pass\nclass A: pass\n"),
        ("pkg.__init__", "from .mod import g\n"),
        ("pkg.mod", "import base as b, os\ndef g(): return b.f(os.path)\n"),
        ("user", "from base import A\nfrom pkg import mod\nmod.g()\n"),
    ])?;
    let (snapshot, module) = record(&store, "user")?;
    assert!(module.imports.is_some());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected =
        [("base", names(&["A"])), ("pkg", names(&["mod"])), ("pkg.mod", names(&["g"]))].map(|(m, n)| (m.to_owned(), n));
    assert_eq!(snapshot.imports("user")?, BTreeMap::from(expected));
    // Of what no store has, the record knows as well.
    let (_, module) = record(&store, "pkg.mod")?;
    assert!(snapshot.imports_of("pkg.mod", &module)?.of("os").is_some());
    assert!(!snapshot.imports("pkg.mod")?.contains_key("os"));
    let importers: Vec<_> = snapshot.importers("base")?.into_keys().collect();
    assert_eq!(importers, ["pkg.mod", "user"]);
    assert_eq!(snapshot.importers("pkg.mod")?.into_keys().collect::<Vec<_>>(), ["pkg.__init__", "user"]);
    // A new name changes what relative imports mean.
    commit(&store, |change| change.rename_module("pkg", "other.place"))?;
    let snapshot = store.snapshot("main")?;
    assert_eq!(snapshot.imports("other.place")?.into_keys().collect::<Vec<_>>(), ["other.place.mod"]);
    // Equal sources have equal records, whoever stores them.
    let again = filled(&[("user", "from base import A\nfrom pkg import mod\nmod.g()\n")])?;
    assert_eq!(record(&again, "user")?.1.imports, record(&store, "user")?.1.imports);
    Ok(())
}

#[test]
fn what_is_in_use_is_told_when_it_goes() -> Result<(), StoreError> {
    let sources = [
        ("base", "def f(): pass\nX = 1\n"),
        ("one", "from base import f, X\n"),
        ("pkg.__init__", ""),
        ("pkg.sub", "Y = 1\n"),
        ("three", "from pkg import sub\n"),
        ("two", "import base\ndef late():\n    return base.f()\n"),
        ("unused", "def f(): pass\n"),
    ];
    let goes = |change: &dyn Fn(&mut Transaction) -> Result<(), StoreError>| -> Result<Vec<String>, StoreError> {
        let store = filled(&sources)?;
        let mut transaction = store.begin("main")?;
        change(&mut transaction)?;
        let planned = transaction.in_use()?;
        let committed = transaction.commit_and_tell()?;
        assert_eq!(planned, committed.in_use);
        assert_eq!(committed.head, store.head("main")?);
        Ok(told(&committed.in_use))
    };
    let base = "base goes and is imported by one (X, f), two (f)";
    assert_eq!(goes(&|change| change.remove_module("base"))?, [base]);
    assert_eq!(goes(&|change| change.rename_module("base", "ground"))?, [base]);
    assert_eq!(
        goes(&|change| change.update_module("base", b"X = 2\ndef g(): pass\n"))?,
        ["base.f goes and is imported by one, two"]
    );
    assert_eq!(goes(&|change| change.remove_module("pkg.sub"))?, ["pkg.sub goes and is imported by three"]);
    assert_eq!(goes(&|change| change.remove_module("pkg"))?, ["pkg goes and is imported by three (sub)"]);
    // What is defined in another way, or by the package itself, is there.
    let none: [&str; 0] = [];
    assert_eq!(goes(&|change| change.update_module("base", b"from unused import f\nfor X in (1, 2): pass\n"))?, none);
    assert_eq!(goes(&|change| change.update_module("base", b"from unused import *\n"))?, none);
    assert_eq!(goes(&|change| change.update_module("base", b"def __getattr__(name): return 1\n"))?, none);
    assert_eq!(
        goes(&|change| {
            change.remove_module("pkg.sub")?;
            change.update_module("pkg", b"sub = None\n")
        })?,
        none
    );
    // What nobody imports, and what goes with its importers.
    assert_eq!(goes(&|change| change.remove_module("unused"))?, none);
    assert_eq!(goes(&|change| ["base", "one", "two"].iter().try_for_each(|name| change.remove_module(name)))?, none);
    // A module becomes a package of the same name.
    assert_eq!(goes(&|change| change.rename_module("base", "base.__init__"))?, none);
    Ok(())
}

#[test]
fn names_taken_by_a_star_are_those_that_are_used() -> Result<(), StoreError> {
    let store = filled(&[("base", "def f(): pass\ndef g(): pass\n"), ("one", "from base import *\nprint(f())\n")])?;
    let only_f = commit(&store, |change| change.update_module("base", b"def f(): pass\n"))?;
    assert_eq!(told(&only_f.in_use), [] as [&str; 0]);
    let none = commit(&store, |change| change.update_module("base", b"def h(): pass\n"))?;
    assert_eq!(told(&none.in_use), ["base.f goes and is imported by one"]);
    Ok(())
}

#[test]
fn the_store_says_what_becomes_of_it() -> Result<(), StoreError> {
    let store = filled(&[("base", "f = 1\n"), ("one", "from base import f\n")])?;
    assert_eq!(store.removal()?, Policy::Warn);
    store.set("removal", "refuse")?;
    let head = store.head("main")?;
    let refused = commit(&store, |change| change.remove_module("base")).expect_err("it is in use");
    let message = refused.to_string();
    assert!(message.contains("base goes and is imported by one (f)") && message.contains("removal"), "{message}");
    let StoreError::InUse(in_use) = refused else { panic!("{message}") };
    assert_eq!((&*in_use[0].module, &in_use[0].name), ("base", &None));
    assert!(matches!(commit(&store, |change| change.update_module("base", b"")), Err(StoreError::InUse(_))));
    assert_eq!(store.head("main")?, head);
    store.set("removal", "allow")?;
    assert_eq!(commit(&store, |change| change.remove_module("base"))?.in_use, []);
    for (key, value) in [("removal", "never"), ("colour", "red")] {
        let error = store.set(key, value).expect_err("it is not known").to_string();
        assert!(error.contains(if key == "removal" { "allow or warn or refuse" } else { "removal" }), "{error}");
    }
    // The settings are no branch, are needed, and are looked at.
    assert_eq!(store.branches()?.into_keys().collect::<Vec<_>>(), ["main"]);
    assert!(matches!(store.begin("@settings"), Err(StoreError::Branch { .. })));
    store.collect_garbage(&mut |_| ())?;
    assert_eq!(store.removal()?, Policy::Allow);
    assert_eq!(store.verify(&mut |_| ())?.problems, []);
    Ok(())
}

#[test]
fn undoing_what_is_in_use_asks_as_well() -> Result<(), StoreError> {
    let store = filled(&[("other", "")])?;
    commit(&store, |change| change.new_module("base", b"f = 1\n"))?;
    let added = store.head("main")?.expect("a commit");
    commit(&store, |change| change.new_module("one", b"import base\n"))?;
    store.set("removal", "refuse")?;
    assert!(matches!(store.undo("main", added, "me"), Err(StoreError::InUse(_))));
    store.set("removal", "allow")?;
    store.undo("main", added, "me")?;
    Ok(())
}

#[test]
fn a_guard_decides_in_the_place_of_the_store() -> Result<(), StoreError> {
    let store = filled(&[("base", "f = 1\n"), ("one", "from base import f\n")])?;
    store.set("removal", "refuse")?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let mut change = store.begin("main")?.guard(move |in_use| {
        assert_eq!(in_use.len(), 1);
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Policy::Warn)
    });
    change.update_module("base", b"g = 1\n")?;
    assert_eq!(told(&change.commit_and_tell()?.in_use), ["base.f goes and is imported by one"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let mut change = store.begin("main")?.guard(|_| Err(StoreError::Encoding { reason: "not today".into() }));
    change.remove_module("base")?;
    let head = store.head("main")?;
    assert!(change.commit().expect_err("it raised").to_string().contains("not today"));
    assert_eq!(store.head("main")?, head);
    // It is asked about nothing where nothing breaks.
    let mut change = store.begin("main")?.guard(|_| panic!("nothing breaks"));
    change.remove_module("one")?;
    change.commit()?;
    Ok(())
}

#[test]
fn importers_that_came_meanwhile_count() -> Result<(), StoreError> {
    let store = filled(&[("base", "f = 1\n"), ("other", "")])?;
    store.set("removal", "refuse")?;
    let mut mine = store.begin("main")?;
    mine.remove_module("base")?;
    assert_eq!(mine.in_use()?, []);
    commit(&store, |change| change.new_module("late", b"from base import f\n"))?;
    match mine.commit() {
        Err(StoreError::InUse(in_use)) => assert_eq!(told(&in_use), ["base goes and is imported by late (f)"]),
        other => panic!("{other:?}"),
    }
    // And one that went meanwhile does not.
    let mut mine = store.begin("main")?;
    mine.remove_module("base")?;
    commit(&store, |change| change.remove_module("late"))?;
    mine.commit()?;
    Ok(())
}

#[test]
fn an_unknown_state_of_modules_is_refused() -> Result<(), StoreError> {
    let store = filled(&[("m", "x = 1\n")])?;
    let mut change = store.begin("main")?;
    for value in [serde_json::json!("pickle"), serde_json::json!(true)] {
        let metadata = serde_json::json!({ "persistent_state": value });
        let error = change.set_metadata("m", metadata.as_object().expect("an object")).expect_err("not known");
        let message = error.to_string();
        assert!(message.contains("persistent_state") && message.contains("\"dict\""), "{message}");
    }
    assert_eq!(change.changed().count(), 0);
    Ok(())
}

#[test]
fn one_module_among_ten_thousand_costs_little() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    let store = Store::open(&path)?;
    commit(&store, |change| {
        (0..10_000).try_for_each(|number| {
            let source = format!("from m{} import f\ndef f(): return {number}\n", (number + 1) % 10_000);
            change.new_module(&format!("m{number}"), source.as_bytes())
        })
    })?;
    let size = || -> i64 {
        let file = rusqlite::Connection::open(&path).expect("a database");
        let size = file.query_row("SELECT sum(length(id) + length(bytes)) FROM records", [], |row| row.get(0));
        size.expect("it works")
    };
    let before = size();
    let told = commit(&store, |change| change.update_module("m77", b"from m3 import f as h\ndef g(): return h()\n"))?;
    assert_eq!(told.in_use.len(), 1);
    let written = size() - before;
    assert!(written < 10_000, "{written} bytes");
    Ok(())
}
