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
    test_broken,
    test_code_cache,
    test_context,
    test_delegation,
    test_discard,
    test_discard_threads,
    test_finders,
    test_force,
    test_freed,
    test_freed_library,
    test_freed_running,
    test_held,
    test_held_registered,
    test_held_running,
    test_import,
    test_locks,
    test_module_refusals,
    test_modules,
    test_native_state,
    test_objects,
    test_objects_classes,
    test_objects_copies,
    test_objects_spaces,
    test_opaque,
    test_processes,
    test_registrations,
    test_reload,
    test_reload_running,
    test_reload_state,
    test_store,
    test_store_bad_input,
    test_store_guards,
    test_store_importing,
    test_store_modules,
    test_store_processes,
    test_store_spaces,
    test_store_state,
    test_survivors,
    test_sys,
    test_table,
    test_update,
    test_update_ahead,
    test_update_effects,
    test_update_migrate,
    test_values,
    test_zodbcode,
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
