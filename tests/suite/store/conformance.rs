//! What every backend has to do. A new one is added to the list at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use modspace::persist::{Backend, Memory, Move, Outcome, Record, RecordId, Sqlite};

/// A backend with nothing in it, and what it needs to be there.
struct Fresh<B> {
    backend: B,
    _folder: Option<tempfile::TempDir>,
}

fn memory() -> Fresh<Memory> {
    Fresh { backend: Memory::default(), _folder: None }
}

fn sqlite() -> Fresh<Sqlite> {
    let folder = tempfile::tempdir().expect("a folder");
    Fresh { backend: Sqlite::create(folder.path().join("test.store")).expect("a store"), _folder: Some(folder) }
}

fn record(text: &str) -> Record {
    Record::new(text.as_bytes().to_vec())
}

fn id(text: &str) -> RecordId {
    record(text).id
}

/// Moves the head of "main", which must be possible.
fn advance(backend: &impl Backend, from: Option<&str>, to: &str, records: &[&str]) -> u64 {
    let records: Vec<_> = records.iter().map(|text| record(text)).collect();
    match backend.move_head("main", from.map(id), Some(id(to)), &records).expect("it works") {
        Outcome::Moved(number) => number,
        Outcome::Elsewhere(head) => panic!("the head is at {head:?}"),
    }
}

fn a_new_one_is_empty(backend: &impl Backend) {
    assert_eq!(backend.get(id("a")).expect("it works"), None);
    assert_eq!(backend.head("main").expect("it works"), None);
    assert_eq!(backend.heads().expect("it works"), BTreeMap::new());
    assert_eq!(backend.moves(0).expect("it works"), []);
    assert_eq!(backend.number_of("main", id("a")).expect("it works"), None);
    assert_eq!(backend.wait(0, Duration::ZERO).expect("it works"), 0);
    assert!(!backend.describe().is_empty());
}

fn records_are_put_once_and_come_back_as_they_were(backend: &impl Backend) {
    let all = [Record::new(Vec::new()), Record::new((0..=255).collect()), Record::new(vec![7; 10_000_000])];
    backend.move_head("main", None, Some(all[0].id), &all).expect("it works");
    backend.move_head("main", Some(all[0].id), Some(all[1].id), &all).expect("it works");
    for record in &all {
        assert!(backend.get(record.id).expect("it works").as_ref() == Some(&record.bytes));
    }
    let mut there = backend.records().expect("it works");
    there.sort();
    let mut ids: Vec<_> = all.iter().map(|record| record.id).collect();
    ids.sort();
    assert_eq!(there, ids);
}

fn a_head_moves_from_where_it_is_said_to_be(backend: &impl Backend) {
    advance(backend, None, "a", &["a"]);
    for from in [None, Some(id("b"))] {
        let outcome = backend.move_head("main", from, Some(id("c")), &[record("c")]).expect("it works");
        assert_eq!(outcome, Outcome::Elsewhere(Some(id("a"))));
    }
    assert_eq!(backend.head("main").expect("it works"), Some(id("a")));
    assert_eq!(backend.moves(0).expect("it works").len(), 1);
    let outcome = backend.move_head("other", Some(id("a")), Some(id("b")), &[]).expect("it works");
    assert_eq!(outcome, Outcome::Elsewhere(None));
    advance(backend, Some("a"), "b", &["b"]);
    assert_eq!(backend.head("main").expect("it works"), Some(id("b")));
}

fn branches_are_made_and_deleted(backend: &impl Backend) {
    for branch in ["main", "feature/x", "é"] {
        assert!(matches!(backend.move_head(branch, None, Some(id(branch)), &[]), Ok(Outcome::Moved(_))));
    }
    let heads = backend.heads().expect("it works");
    assert_eq!(heads.keys().collect::<Vec<_>>(), ["feature/x", "main", "é"]);
    assert_eq!(heads["é"], id("é"));
    assert!(matches!(backend.move_head("é", Some(id("é")), None, &[]), Ok(Outcome::Moved(_))));
    assert_eq!(backend.head("é").expect("it works"), None);
    assert_eq!(backend.heads().expect("it works").len(), 2);
}

fn moves_are_numbered_and_kept(backend: &impl Backend) {
    let first = advance(backend, None, "a", &[]);
    let second = advance(backend, Some("a"), "b", &[]);
    backend.move_head("side", None, Some(id("b")), &[]).expect("it works");
    let fourth = advance(backend, Some("b"), "a", &[]);
    assert!(0 < first && first < second && second < fourth);
    let moves = backend.moves(first).expect("it works");
    let expected = [("main", Some("a"), Some("b")), ("side", None, Some("b")), ("main", Some("b"), Some("a"))];
    let told: Vec<_> = moves.iter().map(|one| (one.branch.as_str(), one.from, one.to)).collect();
    assert_eq!(told, expected.map(|(branch, from, to)| (branch, from.map(id), to.map(id))));
    assert!(moves.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert_eq!(backend.moves(fourth).expect("it works"), []);
    assert_eq!(backend.moves(u64::MAX).expect("it works"), []);
    // The last time that it was there.
    assert_eq!(backend.number_of("main", id("a")).expect("it works"), Some(fourth));
    assert_eq!(backend.number_of("main", id("b")).expect("it works"), Some(second));
    assert_eq!(backend.number_of("side", id("a")).expect("it works"), None);
}

fn who_waits_hears_of_a_move(backend: &impl Backend) {
    let first = advance(backend, None, "0", &[]);
    let started = Instant::now();
    assert_eq!(backend.wait(first, Duration::from_millis(50)).expect("it works"), first);
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(backend.wait(0, Duration::MAX).expect("it works"), first);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| backend.wait(first, Duration::MAX))).collect();
        let second = advance(backend, Some("0"), "1", &[]);
        for thread in waiting {
            assert_eq!(thread.join().expect("no panic").expect("it works"), second);
        }
    });
}

fn of_many_that_move_a_head_at_once_one_succeeds(backend: &impl Backend) {
    const THREADS: usize = 8;
    const ROUNDS: usize = 40;
    let (barrier, successes) = (Barrier::new(THREADS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, successes) = (&barrier, &successes);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..ROUNDS {
                    let next = record(&format!("{thread} {round}"));
                    let head = backend.head("main").expect("it works");
                    let records = std::slice::from_ref(&next);
                    match backend.move_head("main", head, Some(next.id), records).expect("it works") {
                        Outcome::Moved(_) => drop(successes.fetch_add(1, Ordering::Relaxed)),
                        Outcome::Elsewhere(there) => assert_ne!(there, head),
                    }
                }
            });
        }
    });
    let moves = backend.moves(0).expect("it works");
    assert_eq!(moves.len(), successes.into_inner());
    assert!(moves.len() >= ROUNDS, "somebody always succeeds: {}", moves.len());
    // Each move began where the one before it ended.
    let ends: Vec<_> = std::iter::once(None).chain(moves.iter().map(|one| one.to)).collect();
    assert!(moves.iter().zip(&ends).all(|(one, end): (&Move, _)| one.from == *end));
    assert_eq!(backend.head("main").expect("it works"), *ends.last().expect("one"));
    assert!(ends.iter().flatten().all(|id| backend.get(*id).expect("it works").is_some()));
}

fn what_nothing_needs_is_swept(backend: &impl Backend) {
    let number = advance(backend, None, "a", &["a", "b", "c"]);
    assert_eq!(backend.sweep(number - 1, &|_| false).expect("it works"), None);
    assert_eq!(backend.records().expect("it works").len(), 3);
    assert_eq!(backend.sweep(number, &|one| one == id("a")).expect("it works"), Some(2));
    assert_eq!(backend.records().expect("it works"), [id("a")]);
    assert_eq!(backend.get(id("b")).expect("it works"), None);
    advance(backend, Some("a"), "b", &["b"]);
    assert!(backend.get(id("b")).expect("it works").is_some());
}

fn a_backend_works_from_all_threads(backend: impl Backend) {
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let backend = Arc::clone(&backend);
            thread::spawn(move || {
                let branch = format!("branch{number}");
                let mut head = None;
                for round in 0..20 {
                    let next = record(&format!("{number} {round}"));
                    let outcome = backend.move_head(&branch, head, Some(next.id), std::slice::from_ref(&next));
                    assert!(matches!(outcome, Ok(Outcome::Moved(_))));
                    assert_eq!(backend.get(next.id).expect("it works"), Some(next.bytes));
                    head = Some(next.id);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(backend.heads().expect("it works").len(), 8);
    assert_eq!(backend.moves(0).expect("it works").len(), 160);
}

macro_rules! conformance {
    ($($backend:ident),*) => {$(
        mod $backend {
            conformance!(@ $backend: a_new_one_is_empty, records_are_put_once_and_come_back_as_they_were,
                a_head_moves_from_where_it_is_said_to_be, branches_are_made_and_deleted, moves_are_numbered_and_kept,
                who_waits_hears_of_a_move, of_many_that_move_a_head_at_once_one_succeeds, what_nothing_needs_is_swept);

            #[test]
            fn a_backend_works_from_all_threads() {
                let fresh = super::$backend();
                super::a_backend_works_from_all_threads(fresh.backend);
            }
        }
    )*};
    (@ $backend:ident: $($promise:ident),*) => {$(
        #[test]
        fn $promise() {
            super::$promise(&super::$backend().backend);
        }
    )*};
}

conformance!(memory, sqlite);
