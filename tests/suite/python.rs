//! Every program in `tests/python` tests itself with `unittest`; here each is a test.

use super::harness::{root, run};

macro_rules! programs {
    ($($name:ident),* $(,)?) => {
        const LISTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                let program = concat!("tests/python/", stringify!($name), ".py");
                run(["run", program]).succeeded();
            }
        )*
    };
}

programs! {
    test_bad_input,
    test_code_cache,
    test_context,
    test_delegation,
    test_discard,
    test_import,
    test_leaks,
    test_locks,
    test_native_state,
    test_reload,
    test_sys,
    test_table,
    test_values,
}

#[test]
fn every_program_is_run() {
    let directory = std::fs::read_dir(root().join("tests/python")).expect("tests/python is there");
    for entry in directory {
        let name = entry.expect("a directory entry").file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".py").filter(|name| name.starts_with("test_")) {
            assert!(LISTED.contains(&name), "{name} is not listed in tests/suite/python.rs");
        }
    }
}
