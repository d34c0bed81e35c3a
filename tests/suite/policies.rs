//! The tables of native and platform modules say what the build does.

use std::collections::BTreeSet;

use modspace::{Treatment, native_modules, platform_modules};

use super::harness::run;

/// The lines that a program prints.
fn lines(program: &str) -> BTreeSet<String> {
    run(["run", "-c", program]).succeeded().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn the_native_table_names_every_native_module_and_no_other() {
    let build = lines("import sys\nfor name in sys.builtin_module_names: print(name)");
    let table: BTreeSet<String> = native_modules().keys().cloned().collect();
    let unnamed: Vec<_> = build.difference(&table).collect();
    assert!(unnamed.is_empty(), "name these native modules in spaces/policies/native.toml: {unnamed:?}");
    let gone: Vec<_> = table.difference(&build).collect();
    assert!(gone.is_empty(), "spaces/policies/native.toml names modules that the build does not have: {gone:?}");
}

#[test]
fn shared_state_is_explained() {
    for (name, module) in native_modules() {
        if module.treatment == Treatment::Shared {
            let explained =
                !module.note.is_empty() || module.attributes.values().any(|attribute| !attribute.note.is_empty());
            assert!(!module.state.is_empty() && explained, "{name}: say what is shared and what happens");
        }
    }
}

/// The process-wide state that programs meet most is in the table, whatever else is.
#[test]
fn what_cannot_be_held_apart_is_named() {
    let attribute = |module: &str, name: &str| native_modules()[module].attributes.contains_key(name);
    for (module, name) in [
        ("posix", "register_at_fork"),
        ("posix", "environ"),
        ("_codecs", "register"),
        ("_warnings", "filters"),
        ("atexit", "register"),
        ("sys", "monitoring"),
        ("sys", "addaudithook"),
    ] {
        assert!(attribute(module, name), "{module}.{name} is not in spaces/policies/native.toml");
    }
    for module in ["_signal", "gc", "_csv", "_locale", "_contextvars"] {
        assert!(!native_modules()[module].state.is_empty(), "{module}: say which state it has");
    }
}

#[test]
fn every_platform_module_has_a_reason() {
    for (name, module) in platform_modules() {
        assert!(["types", "process", "closure"].contains(&module.reason.as_str()), "{name}: {}", module.reason);
        assert!(module.why.ends_with('.'), "{name}: the reason is no sentence");
    }
}

/// Loads each platform module in a process of its own kind: what the hidden interpreter then has beside natives must be
/// in the table too. `sys.modules` of the space shows it, because a projection brings the modules it refers to.
#[test]
fn the_platform_set_is_closed_under_imports() {
    let program = "\
import importlib, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
for name in set(sys.modules) - before:
    if name not in sys.builtin_module_names:
        print(name)";
    let names: Vec<&str> = platform_modules().keys().map(String::as_str).collect();
    let mut args = vec!["run", "-c", program];
    args.extend(&names);
    let loaded = run(&args).succeeded().stdout;
    let strays: Vec<&str> = loaded.lines().filter(|name| !platform_modules().contains_key(*name)).collect();
    assert!(
        strays.is_empty(),
        "platform modules import these, which are not in spaces/policies/platform.toml: {strays:?}"
    );
}

/// What the table says a module imports is in the table or native.
#[test]
fn the_platform_table_is_closed() {
    for (name, module) in platform_modules() {
        for import in &module.imports {
            let known = platform_modules().contains_key(import) || native_modules().contains_key(import);
            let hidden = import == "importlib" || import.starts_with("importlib.");
            assert!(known || hidden, "{name} imports {import}, which is neither platform nor native");
        }
    }
}

#[test]
fn every_native_module_of_the_build_can_be_imported_into_a_space() {
    let program = "\
import importlib, sys
for name in sys.builtin_module_names:
    module = importlib.import_module(name)
    assert module.__spec__.name == name, name
    assert sys.modules[name] is module, name
print('all')";
    run(["run", "-c", program]).succeeded().stdout_has("all");
}

fn treatment(treatment: Treatment) -> String {
    format!("{treatment:?}").to_lowercase()
}

/// `spaces/policies/README.md`, made from the two tables.
fn page() -> String {
    use std::fmt::Write;
    let mut page = String::from(
        "# Native and platform modules in a space\n\n\
        Made from `native.toml` and `platform.toml`; a test fails when it differs, and writes it anew when it is run with \
        `MODSPACE_BLESS=1`.\n\n\
        A *projection* is a module object of the space's own over functions and types that exist once. What is \
        **emulated**, the space has for itself; **copied**, it has a copy of; a **hook** is a function that programs assign \
        and the module calls: the space's own is called; **shared** means one for the whole process; **refused** raises.\n\n\
        ## Native modules\n\n| module | treatment | process-wide state | what happens |\n| --- | --- | --- | --- |\n",
    );
    let cell = |text: &str| text.replace('|', "\\|");
    for (name, module) in native_modules() {
        let row = (treatment(module.treatment), cell(&module.state), cell(&module.note));
        writeln!(page, "| `{name}` | {} | {} | {} |", row.0, row.1, row.2).unwrap();
        for (attribute, row) in &module.attributes {
            let note = cell(&row.note);
            writeln!(page, "| `{name}.{attribute}` | {} | | {note} |", treatment(row.treatment)).unwrap();
        }
    }
    page.push_str("\n## Platform modules\n\n| module | why it is loaded once |\n| --- | --- |\n");
    for (name, module) in platform_modules() {
        let why = cell(&module.why);
        writeln!(page, "| `{name}` | {} ({}) |", why, module.reason).unwrap();
        for (attribute, row) in &module.attributes {
            let note = cell(&row.note);
            writeln!(page, "| `{name}.{attribute}` | {}: {note} |", treatment(row.treatment)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_about_modules_shows_the_tables() {
    let file = super::harness::root().join("spaces/policies/README.md");
    if std::env::var_os("MODSPACE_BLESS").is_some() {
        std::fs::write(&file, page()).expect("the page is written");
    }
    let shown = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(shown == page(), "spaces/policies/README.md is out of date; run this test with MODSPACE_BLESS=1");
}

/// Imports every native module, and prints every class that is implemented in Rust. Static classes that carry CPython's
/// flag for heap classes are told by what the collector sees: an instance's class is a reference only if it is on the heap.
const NATIVE_CLASSES: &str = "\
import gc, sys
for name in sys.builtin_module_names:
    try:
        __import__(name)
    except ImportError:
        pass
import asyncio, contextvars, ctypes, sqlite3, ssl, string.templatelib, typing, zoneinfo
seen = set()
def walk(cls):
    if cls in seen:
        return
    seen.add(cls)
    for other in type.__subclasses__(cls):
        walk(other)
    walk(type(cls))
walk(object)
for cls in seen:
    if not cls.__flags__ & 1 << 9:
        print(f'{cls.__module__}.{cls.__qualname__}')";

#[test]
fn every_native_class_says_which_references_its_instances_own() {
    let text = std::fs::read_to_string(super::harness::root().join("spaces/policies/types.toml")).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let build = lines(NATIVE_CLASSES);
    assert!(build.len() > 400, "{} native classes", build.len());
    let unnamed: Vec<_> = build.iter().filter(|name| !table.contains_key(*name)).collect();
    assert!(
        unnamed.is_empty(),
        "say in spaces/policies/types.toml which references the instances of these own (read the payload's fields and its \
         `Traverse`): {unnamed:?}"
    );
}
