//! Spaces on stores, from Rust.

use std::time::{Duration, Instant};

use modspace::{
    AttachOptions, Error, Runtime, Space, Store, StoreError, Transaction, UpdateKind, UpdateOptions, persist::RecordId,
};

fn runtime() -> Runtime {
    Runtime::builder().site(false).build().expect("a runtime starts")
}

fn commit(store: &Store, modules: &[(&str, &str)]) -> RecordId {
    let mut change = store.begin("main").expect("it works");
    put(&mut change, modules);
    change.commit().expect("it works").expect("a commit")
}

fn put(change: &mut Transaction, modules: &[(&str, &str)]) {
    for (name, source) in modules {
        match change.source(name) {
            Ok(_) => change.update_module(name, source.as_bytes()),
            Err(_) => change.new_module(name, source.as_bytes()),
        }
        .expect("it works");
    }
}

fn attached(runtime: &Runtime, store: &Store) -> Space {
    let space = runtime.root().child().name("shop").create().expect("a space is made");
    space.attach(store, AttachOptions::default()).expect("it works");
    space
}

const DEFAULTS: UpdateOptions = UpdateOptions { replace: false, time_limit: Duration::from_secs(10) };

#[test]
fn a_space_sees_one_commit_until_it_goes_to_another() {
    let (runtime, store) = (runtime(), Store::memory());
    let first = commit(&store, &[("a", "X = 1\ndef f():\n    return X\n")]);
    let space = attached(&runtime, &store);
    space.exec("from a import f, X").unwrap();
    let second = commit(&store, &[("a", "X = 2\ndef f():\n    return X * 10\n")]);
    assert_eq!((space.commit().unwrap(), space.eval_repr("f(), X").unwrap()), (Some(first), "(1, 1)".into()));
    let report = space.sync(&DEFAULTS).unwrap();
    assert_eq!((report.from, report.to, report.modules), (Some(first), Some(second), vec!["a".to_owned()]));
    assert!(report.entries.iter().any(|one| one.kind == UpdateKind::Rebound && one.path == "__main__.X"));
    assert_eq!((space.commit().unwrap(), space.eval_repr("f(), X").unwrap()), (Some(second), "(20, 2)".into()));
    space.at(first, &DEFAULTS).unwrap();
    assert_eq!(space.eval_repr("f(), X").unwrap(), "(1, 1)");
    assert_eq!(space.at(first, &DEFAULTS).unwrap().modules, [""; 0]);
}

#[test]
fn errors_of_stores_come_out_as_such() {
    let (runtime, store, other) = (runtime(), Store::memory(), Store::memory());
    let first = commit(&store, &[("a", "")]);
    let bare = runtime.root().child().name("bare").create().unwrap();
    for error in [
        bare.sync(&DEFAULTS).map(drop).unwrap_err(),
        bare.at(first, &DEFAULTS).map(drop).unwrap_err(),
        bare.detach(None).unwrap_err(),
        bare.plan(&store.snapshot("main").unwrap(), &DEFAULTS).map(drop).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Store(StoreError::NotAttached { space }) if space == "bare"), "{error:?}");
    }
    assert_eq!(bare.commit().unwrap(), None);
    let wrong = AttachOptions { branch: "a b".to_owned(), ..AttachOptions::default() };
    assert!(matches!(bare.attach(&store, wrong), Err(Error::Store(StoreError::Branch { .. }))));
    let wrong = AttachOptions { prefix: Some("a..b".to_owned()), ..AttachOptions::default() };
    assert!(matches!(bare.attach(&store, wrong), Err(Error::Store(StoreError::Name { .. }))));
    let space = attached(&runtime, &store);
    let nowhere = RecordId::of(b"nothing");
    assert!(matches!(space.at(nowhere, &DEFAULTS), Err(Error::Store(StoreError::NoCommit { id })) if id == nowhere));
    commit(&other, &[("a", "")]);
    let of_other = other.snapshot("main").unwrap();
    assert!(matches!(space.plan(&of_other, &DEFAULTS), Err(Error::Store(StoreError::NotAttached { .. }))));
    assert!(matches!(space.detach(Some(&other)), Err(Error::Store(StoreError::NotAttached { .. }))));
    space.discard().unwrap();
    assert!(matches!(space.sync(&DEFAULTS), Err(Error::Unknown { .. })));
    assert!(matches!(space.attach(&store, AttachOptions::default()), Err(Error::Unknown { .. })));
}

#[test]
fn an_error_of_a_store_in_the_middle_of_a_sync_comes_out_as_such() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.store");
    let store = Store::open(&path).unwrap();
    commit(&store, &[("a", "x = 1")]);
    let space = attached(&runtime, &store);
    space.import("a").unwrap();
    let second = commit(&store, &[("a", "x = 2")]);
    let file = rusqlite::Connection::open(&path).unwrap();
    let bytes: Vec<u8> = second.as_bytes().to_vec();
    let commit: Vec<u8> = file.query_row("SELECT bytes FROM records WHERE id = ?", [&bytes], |row| row.get(0)).unwrap();
    // What the commit refers to first: the map of the modules.
    let (map, _): (Option<RecordId>, _) = postcard::take_from_bytes(&commit[1..]).unwrap();
    let map = map.unwrap();
    file.execute("UPDATE records SET bytes = x'7000' WHERE id = ?", [map.as_bytes().to_vec()]).unwrap();
    let error = space.sync(&DEFAULTS).unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Corrupt { id }) if id == map), "{error:?}");
    assert_eq!(space.eval_repr("__import__('a').x").unwrap(), "1");
}

#[test]
fn what_a_new_source_raises_is_the_cause() {
    let (runtime, store) = (runtime(), Store::memory());
    commit(&store, &[("a", "x = 1"), ("b", "class A:\n    pass\n")]);
    let space = attached(&runtime, &store);
    space.exec("import a, b").unwrap();
    commit(
        &store,
        &[("a", "x = 2\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('no') from e\n")],
    );
    for error in [
        space.sync(&DEFAULTS).map(drop).unwrap_err(),
        space.plan(&store.snapshot("main").unwrap(), &DEFAULTS).map(drop).unwrap_err(),
    ] {
        let Error::Python(error) = error else { panic!("{error:?}") };
        assert_eq!(error.class, "modspace.UpdateError");
        let cause = error.cause.as_deref().expect("a cause");
        assert_eq!((cause.class.as_str(), cause.message.as_str()), ("ValueError", "no"));
        assert!(cause.traceback.contains("line 5"), "{}", cause.traceback);
        assert_eq!(cause.cause.as_ref().expect("its own").class, "ZeroDivisionError");
        // As errors in Rust are chained.
        let chained = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(chained, "ValueError: no");
    }
    assert_eq!(space.eval_repr("a.x").unwrap(), "1");
    // What cannot be done in place has none, and the plan says what it is.
    commit(&store, &[("a", "x = 3"), ("b", "class A:\n    __slots__ = ('x',)\n")]);
    let Err(Error::Python(error)) = space.sync(&DEFAULTS) else { panic!("it was done") };
    assert!(error.cause.is_none() && error.message.contains("b.A"), "{error}");
    let plan = space.plan(&store.snapshot("main").unwrap(), &DEFAULTS).unwrap();
    assert!(plan.entries.iter().any(|one| one.kind == UpdateKind::Refused && one.path == "b.A"), "{plan}");
    assert_eq!(space.eval_repr("a.x").unwrap(), "1");
    space.sync(&UpdateOptions { replace: true, ..DEFAULTS }).unwrap();
    assert_eq!(space.eval_repr("a.x, b.A.__slots__").unwrap(), "(3, ('x',))");
}

#[test]
fn an_exception_that_causes_itself_is_told() {
    let space = runtime().root().child().create().unwrap();
    let Err(Error::Python(error)) = space.exec("e = ValueError('round')\ne.__cause__ = e\nraise e") else {
        panic!("no")
    };
    let causes = std::iter::successors(error.cause.as_deref(), |one| one.cause.as_deref()).count();
    assert!((1..=16).contains(&causes), "{causes}");
}

#[test]
fn a_transaction_is_planned_and_does_nothing() {
    let (runtime, store) = (runtime(), Store::memory());
    commit(&store, &[("a", "x = 1\ndef f():\n    return x\n")]);
    let space = attached(&runtime, &store);
    space.exec("import a").unwrap();
    let mut change = store.begin("main").unwrap();
    put(&mut change, &[("a", "x = 2\ndef f():\n    return x\ndef g(): pass\n"), ("b", "")]);
    let plan = space.plan(&change, &DEFAULTS).unwrap();
    let kinds: Vec<_> = plan.entries.iter().map(|one| (one.kind, one.path.as_str())).collect();
    assert!(kinds.contains(&(UpdateKind::Added, "a.g")) && kinds.contains(&(UpdateKind::Updated, "a.x")), "{plan}");
    // What a transaction would make is a snapshot, too.
    assert_eq!(space.plan(&change.preview().unwrap(), &DEFAULTS).unwrap().entries, plan.entries);
    assert_eq!(space.eval_repr("a.f(), hasattr(a, 'g')").unwrap(), "(1, False)");
    change.commit().unwrap();
    space.sync(&DEFAULTS).unwrap();
    assert_eq!(space.eval_repr("a.f(), hasattr(a, 'g')").unwrap(), "(2, True)");
}

#[test]
fn branches_prefixes_and_several_stores() {
    let (runtime, one, two) = (runtime(), Store::memory(), Store::memory());
    commit(&one, &[("app.a", "x = 'one'"), ("other", "x = 'one'")]);
    commit(&two, &[("app.a", "x = 'two'"), ("other", "x = 'two'")]);
    let mut side = one.begin("side").unwrap();
    put(&mut side, &[("app.a", "x = 'side'")]);
    side.commit().unwrap();
    let space = attached(&runtime, &one);
    space.attach(&two, AttachOptions { prefix: Some("app".to_owned()), ..AttachOptions::default() }).unwrap();
    space.exec("import app.a, other").unwrap();
    assert_eq!(space.eval_repr("app.a.x, other.x").unwrap(), "('two', 'one')");
    commit(&one, &[("other", "x = 'new one'")]);
    commit(&two, &[("app.a", "x = 'new two'"), ("other", "")]);
    let report = space.sync(&DEFAULTS).unwrap();
    assert_eq!(report.modules.len(), 2, "{report}");
    assert_eq!(space.eval_repr("app.a.x, other.x").unwrap(), "('new two', 'new one')");
    space.detach(Some(&one)).unwrap();
    space.detach(None).unwrap();
    assert_eq!(space.commit().unwrap(), None);
    let aside = runtime.root().child().create().unwrap();
    aside.attach(&one, AttachOptions { branch: "side".to_owned(), ..AttachOptions::default() }).unwrap();
    assert_eq!(aside.eval_repr("__import__('app.a').a.x").unwrap(), "'side'");
}

#[test]
fn a_space_that_follows_comes_by_itself() {
    let (runtime, store) = (runtime(), Store::memory());
    commit(&store, &[("a", "x = 1")]);
    let space = runtime.root().child().create().unwrap();
    space.attach(&store, AttachOptions { follow: true, ..AttachOptions::default() }).unwrap();
    space.exec("import a").unwrap();
    let second = commit(&store, &[("a", "x = 2")]);
    let end = Instant::now() + Duration::from_secs(10);
    while space.commit().unwrap() != Some(second) {
        assert!(Instant::now() < end, "it did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(space.eval_repr("a.x").unwrap(), "2");
    assert!(space.discard().unwrap().is_clean());
}

#[test]
fn a_name_of_ones_own_is_not_taken_for_an_imported_one() {
    let (runtime, store) = (runtime(), Store::memory());
    commit(&store, &[("a", "K = 0\n"), ("p", "K = 0\nfrom a import K as K_a\n"), ("q", "from a import *\n")]);
    let space = attached(&runtime, &store);
    space.exec("import p, q\nfrom a import K").unwrap();
    commit(&store, &[("a", "K = 38\n")]);
    space.sync(&DEFAULTS).unwrap();
    assert_eq!(space.eval_repr("p.K, p.K_a, q.K, K").unwrap(), "(0, 38, 38, 38)");
}

/// Another thread may be in the middle of importing what an update asks; no program is needed for that, but a trace function
/// makes it so for sure.
#[test]
fn a_module_of_the_interpreter_that_is_loaded_half_is_not_asked() {
    let (runtime, store) = (runtime(), Store::memory());
    commit(&store, &[("a", "X = 1\n")]);
    let space = attached(&runtime, &store);
    let other = runtime.root().child().create().unwrap();
    space.exec("import a").unwrap();
    // What an update asks before it has a plan is loaded then, and not yet what plans need.
    commit(&store, &[("a", "1 / 0\n")]);
    space.sync(&DEFAULTS).unwrap_err();
    commit(&store, &[("a", "X = 2\n")]);
    other
        .exec(
            r#"
import _thread, sys, time
half, whole = _thread.allocate_lock(), _thread.allocate_lock()
half.acquire()
whole.acquire()
def trace(frame, event, arg):
    if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.endswith("copyreg.py"):
        half.release()
        time.sleep(0.5)
def work():
    sys.settrace(trace)
    try:
        import copyreg
    finally:
        sys.settrace(None)
        whole.release()
_thread.start_new_thread(work, ())
assert half.acquire(timeout=30), "copyreg was loaded before"
"#,
        )
        .unwrap();
    let report = space.sync(&DEFAULTS);
    other.exec("whole.acquire()").unwrap();
    assert_eq!(report.unwrap().modules, ["a"]);
    assert_eq!(space.eval_repr("a.X").unwrap(), "2");
}
