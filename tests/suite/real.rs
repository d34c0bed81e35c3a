//! Real packages from PyPI, in the default policy and with own copies of everything.

use super::harness::{packages, run};

#[track_caller]
fn works(program: &str, sets: &[&str]) {
    for fresh in [None, Some("*")] {
        let mut args = vec!["run".to_owned()];
        for set in sets {
            args.extend(["--path".to_owned(), packages(set).to_string_lossy().into_owned()]);
        }
        args.extend(fresh.into_iter().flat_map(|pattern| ["--fresh".to_owned(), pattern.to_owned()]));
        args.push(format!("tests/real/{program}.py"));
        run(&args).succeeded().stdout_has("ok: ");
    }
}

macro_rules! programs {
    ($($name:ident: $program:literal with $sets:expr),* $(,)?) => {
        $(#[test] fn $name() { works($program, &$sets); })*
    };
}

programs! {
    flask_serves_requests: "flask_" with ["flask"],
    requests_speaks_http: "requests_" with ["requests"],
    attrs_makes_classes: "attrs_" with ["attrs"],
    click_runs_commands: "click_" with ["click"],
    pyyaml_loads_and_dumps: "pyyaml_" with ["pyyaml"],
    transaction_commits_stores_and_others: "transaction_" with ["transaction"],
    zope_interface_adapts: "zope_interface" with ["zope_interface"],
    zope_interface_is_updated_in_place: "zope_update" with ["zope_interface"],
    pytest_runs_a_directory: "pytest9" with ["pytest"],
}

#[test]
fn jinja2_in_two_versions_at_once() {
    let (old, new) = (packages("jinja2_old"), packages("jinja2"));
    for fresh in [&[][..], &["--fresh", "*"]] {
        let mut args = vec!["run"];
        args.extend(fresh);
        let (old, new) = (old.to_string_lossy(), new.to_string_lossy());
        args.extend(["tests/real/jinja2_two.py", &old, &new]);
        run(&args).succeeded().stdout_has("ok: ");
    }
}
