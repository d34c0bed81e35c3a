//! Threads that do random things with shared spaces and stores. What each of them sees is of one commit at any moment.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime},
};

use modspace::{AttachOptions, Error, Runtime, Space, Store, StoreError, UpdateOptions, persist::RecordId};

/// How long the threads go on at least: until they have done enough to say something.
const LENGTH: Duration = Duration::from_secs(6);

/// What a source that raises ends with.
const RAISES: &str = "\n1 / 0\n";

/// Numbers that a seed determines (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("it is small")
    }
}

/// Two modules that are of one version: in their values, in their classes and in their code. `moment()` reads all values
/// of a module at once.
fn sources(number: usize) -> [(&'static str, String); 2] {
    let moment = "def moment():\n    seen = globals().copy()\n    return [seen[name] for name in NAMES]\n";
    [
        (
            "pkg.left",
            format!(
                "FIRST = {number}\nSECOND = {number}\nNAMES = 'FIRST', 'SECOND'\n{moment}\
                 def pair():\n    return FIRST, SECOND, {number}\n\
                 class Kind:\n    value = {number}\n    def read(self):\n        return self.value, {number}\n"
            ),
        ),
        (
            "pkg.right",
            format!(
                "from . import left\nfrom .left import FIRST, Kind, pair\nTHIRD = {number}\nNAMES = 'FIRST', 'THIRD'\n{moment}\
                 class Derived(Kind):\n    def read(self):\n        return *super().read(), {number}\n\
                 def both():\n    return left.FIRST, left.SECOND, FIRST, THIRD, {number}\n"
            ),
        ),
    ]
}

struct Shared {
    runtime: Runtime,
    store: Store,
    /// Goes to any commit of the branch "side".
    wandering: Space,
    /// Syncs to the branch "main", whose versions only rise.
    forward: Space,
    /// Follows "main" by itself.
    following: Space,
    /// Commits of "side", the first of which raises.
    commits: Vec<RecordId>,
    /// The last version that was committed.
    last: AtomicUsize,
    done: AtomicBool,
    updates: AtomicUsize,
    refused: AtomicUsize,
    calls: AtomicUsize,
    undone: AtomicUsize,
}

type Outcome = Result<(), Error>;

fn numbers(space: &Space, expression: &str) -> Result<Vec<usize>, Error> {
    let text = space.eval_repr(expression)?;
    let parts = text.split(|one: char| !one.is_ascii_digit()).filter(|part| !part.is_empty());
    Ok(parts.map(|part| part.parse().expect("digits")).collect())
}

impl Shared {
    fn commit(&self, branch: &str, extra: &str) -> Result<Option<RecordId>, StoreError> {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let mut change = self.store.begin(branch)?;
        for (name, source) in sources(number) {
            let source = source + extra;
            match change.source(name) {
                Ok(_) => change.update_module(name, source.as_bytes())?,
                Err(_) => change.new_module(name, source.as_bytes())?,
            }
        }
        change.commit()
    }

    /// What is true at any moment: the values are of one version, which was committed.
    fn look(&self, space: &Space) -> Outcome {
        self.calls.fetch_add(1, Relaxed);
        for module in ["left", "right"] {
            let seen = numbers(space, &format!("{module}.moment()"))?;
            assert!(seen.len() == 2 && seen[0] == seen[1], "{module} is of two commits: {seen:?}");
            assert!(seen[0] <= self.last.load(Relaxed), "{seen:?} was never committed");
        }
        Ok(())
    }

    /// Values that are read one after the other do not go back where versions only rise; a call ends with the number of
    /// the code that it began with, which is no newer than what it read.
    fn look_forward(&self, space: &Space, expression: &str) -> Outcome {
        self.calls.fetch_add(1, Relaxed);
        let before = numbers(space, "left.FIRST")?[0];
        let seen = numbers(space, expression)?;
        let after = numbers(space, "right.FIRST")?[0];
        let (code, read) = seen.split_last().expect("some");
        assert!(read.is_sorted(), "{expression} went back: {seen:?}");
        assert!(before <= *code && code <= &read[0] && read[read.len() - 1] <= after, "{before} {seen:?} {after}");
        Ok(())
    }

    /// Goes to a commit; a source that raises is the only reason not to.
    fn go(&self, moved: Result<modspace::UpdateReport, Error>) -> Outcome {
        match moved {
            Ok(report) => {
                self.updates.fetch_add(usize::from(!report.modules.is_empty()), Relaxed);
                Ok(())
            }
            Err(Error::Python(error))
                if error.cause.as_ref().is_some_and(|cause| cause.class == "ZeroDivisionError") =>
            {
                self.refused.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Commits, good and bad sources, on both branches.
    fn commit_at_random(&self, random: &mut Random) -> Outcome {
        match random.below(6) {
            0 => self.commit("side", RAISES).map(drop)?,
            1 => self.commit("main", "").map(drop)?,
            2 => {
                let Some(head) = self.store.head("side")? else { return Ok(()) };
                match self.store.undo("side", head, "") {
                    // Only this thread commits, so nothing is in between.
                    Err(error) => return Err(error.into()),
                    Ok(_) => drop(self.undone.fetch_add(1, Relaxed)),
                }
            }
            _ => self.commit("side", "").map(drop)?,
        }
        Ok(())
    }

    fn wander(&self, random: &mut Random) -> Outcome {
        let options = UpdateOptions { replace: random.below(2) == 0, ..UpdateOptions::default() };
        self.go(match random.below(2) {
            0 => self.wandering.sync(&options),
            _ => self.wandering.at(self.commits[random.below(self.commits.len())], &options),
        })
    }

    /// Updates, refused updates, looks, undone commits.
    fn told(&self) -> [usize; 4] {
        [&self.updates, &self.refused, &self.calls, &self.undone].map(|one| one.load(Relaxed))
    }

    fn is_enough(&self) -> bool {
        self.told().into_iter().zip([20, 1, 20, 1]).all(|(told, least)| told >= least)
    }

    fn call(&self, random: &mut Random) -> Outcome {
        const READ: [&str; 4] = ["left.pair()", "right.both()", "thing.read()", "right.Kind().read()"];
        match random.below(6) {
            0 => self.look(&self.wandering),
            1 => self.look(&self.forward),
            2 => self.look(&self.following),
            3 => self.go(self.forward.sync(&UpdateOptions::default())),
            4 => self.look_forward(&self.following, READ[random.below(2)]),
            _ => {
                // The wandering one goes back and forth: what it gives was committed once.
                let seen = numbers(&self.wandering, READ[random.below(4)])?;
                let last = self.last.load(Relaxed);
                assert!(seen.iter().all(|one| *one <= last), "{seen:?} was never committed");
                Ok(())
            }
        }
    }

    /// Makes a space, uses and discards it.
    fn pass_by(&self, random: &mut Random) -> Outcome {
        let space = self.runtime.root().child().create()?;
        let follow = random.below(2) == 0;
        space.attach(&self.store, AttachOptions { follow, ..AttachOptions::default() })?;
        space.exec("from pkg import left, right")?;
        for _ in 0..random.below(4) {
            match random.below(3) {
                0 => self.go(space.sync(&UpdateOptions::default()))?,
                1 => self.look(&space)?,
                _ => drop(space.plan(&self.store.snapshot("main")?, &UpdateOptions::default())?),
            }
        }
        if random.below(2) == 0 {
            space.detach(Some(&self.store))?;
        }
        space.discard().map(drop)
    }
}

#[test]
fn threads_see_one_commit_at_any_moment() {
    let seed = std::env::var("MODSPACE_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_micros() as u64;
    let seed: u64 = seed.unwrap_or_else(now);
    println!("MODSPACE_SEED={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::builder().site(false).build().expect("a runtime starts");
    let child = |name: &str| runtime.root().child().name(name).create().expect("a space is made");
    let mut shared = Shared {
        store: Store::open(folder.path().join("app.store")).expect("a store"),
        wandering: child("wandering"),
        forward: child("forward"),
        following: child("following"),
        commits: Vec::new(),
        last: AtomicUsize::new(0),
        done: AtomicBool::new(false),
        updates: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
        undone: AtomicUsize::new(0),
        runtime: runtime.clone(),
    };
    for extra in [RAISES, "", "", ""] {
        let id = shared.commit("side", extra).expect("it works").expect("a commit");
        shared.commits.push(id);
        shared.commit("main", "").expect("it works");
    }
    for (space, branch, follow) in
        [(&shared.wandering, "side", false), (&shared.forward, "main", false), (&shared.following, "main", true)]
    {
        space.attach(&shared.store, AttachOptions { branch: branch.to_owned(), follow, ..Default::default() }).unwrap();
        space.exec("from pkg import left, right\nthing = right.Derived()").unwrap();
    }
    let works: [fn(&Shared, &mut Random) -> Outcome; 5] =
        [Shared::commit_at_random, Shared::wander, Shared::call, Shared::call, Shared::pass_by];
    let deadline = Instant::now() + LENGTH;
    thread::scope(|scope| {
        let threads: Vec<_> = works
            .iter()
            .enumerate()
            .map(|(number, work)| {
                let shared = &shared;
                scope.spawn(move || {
                    let mut random = Random(seed.wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                    let mut outcome = Ok(());
                    while outcome.is_ok() && !shared.done.load(Relaxed) {
                        outcome = work(shared, &mut random);
                        if Instant::now() >= deadline && shared.is_enough() {
                            shared.done.store(true, Relaxed);
                        }
                    }
                    if outcome.is_err() {
                        shared.done.store(true, Relaxed);
                    }
                    outcome
                })
            })
            .collect();
        for (number, thread) in threads.into_iter().enumerate() {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => panic!("thread {number} with MODSPACE_SEED={seed}: {error}\n{error:?}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{:?} updates, refused, looks, undone", shared.told());
    // In the end all are where they should be, in everything.
    shared.commit("side", "").expect("it works");
    let side = shared.last.load(Relaxed);
    shared.commit("main", "").expect("it works");
    shared.wandering.sync(&UpdateOptions::default()).unwrap();
    shared.forward.sync(&UpdateOptions::default()).unwrap();
    for (space, number) in [(&shared.wandering, side), (&shared.forward, side + 1)] {
        for expression in ["left.pair()", "right.both()", "thing.read()", "right.moment()", "right.pair()"] {
            let seen = numbers(space, expression).unwrap();
            assert!(seen.iter().all(|one| *one == number), "{expression}: {seen:?}, not {number}");
        }
    }
    let soon = Instant::now() + Duration::from_secs(10);
    while shared.following.commit().unwrap() != shared.store.head("main").expect("it works") {
        assert!(Instant::now() < soon, "the space that follows is still elsewhere");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(numbers(&shared.following, "right.both()").unwrap(), [side + 1; 5]);
    for space in [shared.wandering, shared.forward, shared.following] {
        let report = space.discard().unwrap();
        assert!(report.is_clean(), "{report}");
    }
}
