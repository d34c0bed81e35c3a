//! Random sequences of what people do with stores and spaces, against a model of what each space sees.
//!
//! The model has the modules as trees, not as sources: from those of the commit that a space sees it works out what every
//! function and method returns, what imported names are bound to, which objects stay the same, and which updates fail.

mod modules;
mod watched;
mod world;

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use modspace::Runtime;
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};

use modules::{Seed, seed};
use watched::Watched;
use world::{Step, World, step};

/// The modules that there can be. Each imports only from those before it.
const NAMES: [&str; 8] = ["a", "b", "p.c", "p.d", "p.__init__", "q.e", "q.f", "r"];
/// The package with code.
const PACKAGE: usize = 4;
const IN_PACKAGE: [usize; 2] = [2, 3];
const BRANCHES: [&str; 2] = ["main", "side"];
const STORES: usize = 2;
const SPACES: usize = 3;

/// What an import statement calls a module.
fn import_name(module: usize) -> &'static str {
    NAMES[module].strip_suffix(".__init__").unwrap_or(NAMES[module])
}

type Outcome = Result<(), TestCaseError>;

macro_rules! ensure {
    ($holds:expr, $($told:tt)*) => {
        if !$holds {
            return Err(TestCaseError::fail(format!($($told)*)));
        }
    };
}

fn wrong(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

use ensure;

/// How often what happened, so that a generator which reaches nothing is noticed.
#[derive(Default)]
struct Counts {
    synced: AtomicUsize,
    updated: AtomicUsize,
    failed: AtomicUsize,
    refused: AtomicUsize,
    replaced: AtomicUsize,
    rebound: AtomicUsize,
    planned: AtomicUsize,
    reloaded: AtomicUsize,
    not_reloaded: AtomicUsize,
    imported: AtomicUsize,
    not_imported: AtomicUsize,
    undone: AtomicUsize,
    discarded: AtomicUsize,
    checks: AtomicUsize,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(Counts::default);

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Relaxed);
}

fn follow(runtime: &Runtime, seeds: &[Seed], steps: &[Step]) -> Outcome {
    let mut world = World::new(runtime, seeds)?;
    for (number, step) in steps.iter().enumerate() {
        let taken = world.take(step);
        let checked = taken.and_then(|()| world.spaces.iter_mut().try_for_each(Watched::check));
        checked.map_err(|error| wrong(format!("step {number}, {step:?}: {error}")))?;
    }
    for watched in world.spaces {
        let report = watched.space.discard().map_err(wrong)?;
        ensure!(report.is_clean(), "{report}");
    }
    Ok(())
}

#[test]
fn spaces_see_what_their_commits_say() {
    let runtime = Runtime::builder().site(false).build().expect("a runtime starts");
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(30, |cases| cases.parse().expect("a number")),
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    };
    let seeds = prop::collection::vec(seed(), NAMES.len());
    let strategy = (seeds, prop::collection::vec(step(), 10..50));
    let outcome = TestRunner::new(config).run(&strategy, |(seeds, steps)| follow(&runtime, &seeds, &steps));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let told = |counter: &AtomicUsize| counter.load(Relaxed);
    let counts = [
        ("synced", &COUNTS.synced, 100),
        ("updated", &COUNTS.updated, 10),
        ("failed", &COUNTS.failed, 5),
        ("refused", &COUNTS.refused, 3),
        ("replaced", &COUNTS.replaced, 1),
        ("rebound", &COUNTS.rebound, 1),
        ("planned", &COUNTS.planned, 10),
        ("reloaded", &COUNTS.reloaded, 5),
        ("not reloaded", &COUNTS.not_reloaded, 0),
        ("imported", &COUNTS.imported, 50),
        ("not imported", &COUNTS.not_imported, 5),
        ("undone", &COUNTS.undone, 1),
        ("discarded", &COUNTS.discarded, 5),
        ("checks", &COUNTS.checks, 5000),
    ];
    println!("{:?}", counts.map(|(what, counter, _)| (what, told(counter))));
    for (what, counter, least) in counts {
        assert!(told(counter) >= least, "{what}: {}, which says nothing", told(counter));
    }
}
