//! Whatever happens in the middle of a commit, the last one that was acknowledged is there, whole.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use modspace::persist::{Backend, Move, Outcome, Record, RecordId, Store, StoreError};

/// Everything that can be reached from the head is there and readable; returns how many commits there are.
fn check_whole(store: &Store) -> Result<usize, StoreError> {
    let mut commits = 0;
    for entry in store.history(store.head("main")?) {
        let (id, _) = entry?;
        commits += 1;
        // Older ones share most of their records with it.
        if commits <= 3 {
            let snapshot = store.at(id)?;
            for (name, _) in snapshot.modules()? {
                snapshot.source(&name)?;
            }
        }
    }
    Ok(commits)
}

/// Commits, and prints each commit once it is acknowledged, until it is killed.
#[test]
#[ignore = "the other process of a_process_is_killed_at_any_moment"]
fn writer() -> Result<(), StoreError> {
    let path = std::env::var("MODSPACE_TEST_STORE").expect("the path of a store");
    let store = Store::open(path)?;
    let begun = store.history(store.head("main")?).count();
    for number in begun.. {
        let mut change = store.begin("main")?;
        change.new_module(&format!("p{}.m{number}", number % 7), format!("x = {number}\n").repeat(200).as_bytes())?;
        let id = change.commit()?.expect("a commit");
        println!("\ncommit {id}");
    }
    Ok(())
}

#[test]
fn a_process_is_killed_at_any_moment() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.store");
    let mut acknowledged: Option<RecordId> = None;
    let mut commits = 0;
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().expect("the test program"))
            .args(["--exact", "suite::store::crash::writer", "--ignored", "--nocapture"])
            .env("MODSPACE_TEST_STORE", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the test program starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut ids =
            output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("commit ").map(str::to_owned));
        let first = ids.next().expect("a commit");
        std::thread::sleep(Duration::from_micros(round * 731));
        child.kill().expect("it is running");
        child.wait().expect("it ends");
        let last = ids.last().unwrap_or(first).parse()?;
        let store = Store::open_existing(&path)?;
        let now = check_whole(&store)?;
        assert!(now > commits, "round {round}");
        commits = now;
        // What was acknowledged is the head, or below it when the process was killed before it could say more.
        let mut below = store.history(store.head("main")?).take(2).collect::<Result<Vec<_>, _>>()?.into_iter();
        assert!(below.any(|(id, _)| id == last), "round {round}");
        if let Some(before) = acknowledged {
            assert!(store.history(store.head("main")?).any(|entry| entry.is_ok_and(|(id, _)| id == before)));
        }
        acknowledged = Some(last);
    }
    Ok(())
}

/// What is on a medium that can fail.
#[derive(Default)]
struct Medium {
    records: HashMap<RecordId, Vec<u8>>,
    heads: BTreeMap<String, RecordId>,
    moves: Vec<Move>,
}

/// A backend without transactions, as one over a network is: each write may be the last.
struct Failing {
    medium: Arc<Mutex<Medium>>,
    writes_left: AtomicUsize,
}

impl Failing {
    fn write(&self, write: impl FnOnce(&mut Medium)) -> Result<(), StoreError> {
        let left = self.writes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            return Err(StoreError::Backend { store: self.describe(), reason: "the cable was pulled".to_owned() });
        }
        write(&mut self.medium.lock().expect("no panic"));
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce(&Medium) -> T) -> Result<T, StoreError> {
        Ok(read(&self.medium.lock().expect("no panic")))
    }
}

impl Backend for Failing {
    fn describe(&self) -> String {
        "far away".to_owned()
    }

    fn get(&self, id: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|medium| medium.records.get(&id).cloned())
    }

    fn heads(&self) -> Result<BTreeMap<String, RecordId>, StoreError> {
        self.read(|medium| medium.heads.clone())
    }

    fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError> {
        self.read(|medium| medium.heads.get(branch).copied())
    }

    fn move_head(
        &self,
        branch: &str,
        from: Option<RecordId>,
        to: Option<RecordId>,
        records: &[Record],
    ) -> Result<Outcome, StoreError> {
        let now = self.head(branch)?;
        if now != from {
            return Ok(Outcome::Elsewhere(now));
        }
        for record in records {
            self.write(|medium| drop(medium.records.insert(record.id, record.bytes.clone())))?;
        }
        let number = self.wait(0, Duration::ZERO)? + 1;
        self.write(|medium| {
            match to {
                Some(to) => medium.heads.insert(branch.to_owned(), to),
                None => medium.heads.remove(branch),
            };
            medium.moves.push(Move { number, branch: branch.to_owned(), from, to });
        })?;
        Ok(Outcome::Moved(number))
    }

    fn moves(&self, after: u64) -> Result<Vec<Move>, StoreError> {
        self.read(|medium| medium.moves.iter().filter(|one| one.number > after).cloned().collect())
    }

    fn number_of(&self, branch: &str, commit: RecordId) -> Result<Option<u64>, StoreError> {
        let found = |one: &&Move| one.branch == branch && one.to == Some(commit);
        self.read(|medium| medium.moves.iter().rfind(found).map(|one| one.number))
    }

    fn wait(&self, _after: u64, _timeout: Duration) -> Result<u64, StoreError> {
        self.read(|medium| medium.moves.last().map_or(0, |last| last.number))
    }

    fn records(&self) -> Result<Vec<RecordId>, StoreError> {
        self.read(|medium| medium.records.keys().copied().collect())
    }

    fn sweep(&self, _number: u64, _keep: &dyn Fn(RecordId) -> bool) -> Result<Option<usize>, StoreError> {
        Ok(None)
    }
}

#[test]
fn a_backend_fails_at_the_nth_write_for_every_n() -> Result<(), StoreError> {
    let medium = Arc::<Mutex<Medium>>::default();
    let open = |writes| Store::with(Failing { medium: Arc::clone(&medium), writes_left: AtomicUsize::new(writes) });
    let fill = |store: &Store| -> Result<Option<RecordId>, StoreError> {
        let mut change = store.begin("main")?;
        (0..60).try_for_each(|number| change.new_module(&format!("p{}.m{number}", number % 3), b"x = 1\n"))?;
        change.commit()
    };
    let head = fill(&open(usize::MAX))?;
    let mut failures = 0;
    for writes in 0.. {
        let store = open(writes);
        let mut change = store.begin("main")?;
        change.update_module("p1.m1", b"x = 2\n")?;
        change.remove_module("p2")?;
        change.new_module("q.new", b"x = 3\n")?;
        let outcome = change.commit();
        let again = open(usize::MAX);
        check_whole(&again)?;
        let snapshot = again.snapshot("main")?;
        let Err(error) = outcome else {
            assert_eq!(snapshot.modules()?.len(), 41);
            assert_eq!(snapshot.source("p1.m1")?, b"x = 2\n");
            break;
        };
        assert!(error.to_string().contains("the cable was pulled"), "{error}");
        assert_eq!(again.head("main")?, head);
        assert_eq!((snapshot.modules()?.len(), snapshot.source("p1.m1")?), (60, b"x = 1\n".to_vec()));
        failures = writes + 1;
    }
    // Two sources, the nodes above what changed, the commit, the head.
    assert!((5..20).contains(&failures), "{failures} writes");
    Ok(())
}
