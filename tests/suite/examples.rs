//! Every example prints what its `expected.txt` says.

use super::harness::{Run, packages, root, run};

fn expected(example: &str) -> String {
    let file = root().join("spaces/examples").join(example).join("expected.txt");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[track_caller]
fn check(example: &str, run: Run) {
    run.succeeded().stdout_is(&expected(example));
}

macro_rules! examples {
    ($($name:ident),* $(,)?) => {
        const ALONE: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                let example = stringify!($name);
                check(example, run(["run", &format!("spaces/examples/{example}/main.py")]));
            }
        )*
    };
}

examples!(dummy_socket, leak, persistent, plugin_framework, shared_interface, side_by_side, two_applications);

#[test]
fn two_versions() {
    let (old, new) = (packages("jinja2_old"), packages("jinja2"));
    let script = "spaces/examples/two_versions/main.py";
    check("two_versions", run(["run", script, &old.to_string_lossy(), &new.to_string_lossy()]));
}

#[test]
fn manifest() {
    check("manifest", run(["run", "spaces/examples/manifest"]));
}

#[test]
fn every_example_is_run() {
    for entry in std::fs::read_dir(root().join("spaces/examples")).expect("spaces/examples is there") {
        let name = entry.expect("a directory entry").file_name().to_string_lossy().into_owned();
        let known = ALONE.contains(&name.as_str()) || ["two_versions", "manifest"].contains(&name.as_str());
        assert!(known, "the example {name} is run by no test");
    }
}
