//! Spaces that were discarded leave nothing behind, however many there were.

use super::harness::{modspace, packages, root};

/// A tenth of what the benchmark does.
const ROUNDS: usize = 200;

fn is_flat(program: &str, sets: &[&str], fresh: &[&str]) {
    let mut args = vec!["run".to_owned()];
    for set in sets {
        args.extend(["--path".to_owned(), packages(set).to_string_lossy().into_owned()]);
    }
    let file = format!("tests/soak/{program}.py");
    args.extend(["tests/soak/soak.py".to_owned(), ROUNDS.to_string(), file]);
    args.extend(fresh.iter().map(|pattern| (*pattern).to_owned()));
    let mut command = modspace(&args);
    command.env("SOAK_TESTS", root().join("tests/soak/test_sample.py"));
    // A huge page of 2 MiB is more than a hundredth of the memory that is measured.
    command.env("MIMALLOC_ALLOW_THP", "0");
    let run: super::harness::Run = command.output().expect("the program starts").into();
    run.succeeded().stdout_has("ok: flat");
}

#[test]
fn the_standard_library_in_the_default_policy() {
    is_flat("library", &[], &[]);
}

#[test]
fn the_standard_library_all_fresh() {
    is_flat("library", &[], &["*"]);
}

#[test]
fn flask() {
    is_flat("flask_", &["flask"], &[]);
}

#[test]
fn jinja2() {
    is_flat("jinja2_", &["jinja2"], &[]);
}

#[test]
fn pytest() {
    is_flat("pytest_", &["pytest"], &[]);
}
