//! The library from Rust.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use modspace::{Delegation, Error, ModuleState, Pattern, Runtime, Space};

/// Each test has a runtime of its own: several live in one process.
fn runtime() -> Runtime {
    Runtime::builder().site(false).build().expect("a runtime starts")
}

fn child(runtime: &Runtime, name: &str) -> Space {
    runtime.root().child().name(name).create().expect("a space is made")
}

#[test]
fn a_space_has_modules_of_its_own() {
    let runtime = runtime();
    let (one, two) = (child(&runtime, "one"), child(&runtime, "two"));
    one.exec("import json; json.mark = 1").unwrap();
    two.exec("import json").unwrap();
    assert_eq!(one.eval_repr("json.mark").unwrap(), "1");
    assert_eq!(two.eval_repr("hasattr(json, 'mark')").unwrap(), "False");
}

#[test]
fn the_tree_is_readable() {
    let runtime = runtime();
    let parent = child(&runtime, "parent");
    let grandchild = parent.child().name("grandchild").create().unwrap();
    assert_eq!(grandchild.parent().unwrap(), Some(parent.clone()));
    assert_eq!(parent.children(), std::slice::from_ref(&grandchild));
    assert_eq!(runtime.root().parent().unwrap(), None);
    assert_eq!(runtime.spaces(), [runtime.root(), parent.clone(), grandchild.clone()]);
    assert_eq!(runtime.space(grandchild.id()), Some(grandchild));
    assert_eq!((parent.name().unwrap().as_str(), parent.generation_number().unwrap()), ("parent", 1));
}

#[test]
fn exceptions_come_out_as_data() {
    let space = child(&runtime(), "failing");
    let Err(Error::Python(error)) = space.exec("def f():\n    raise ValueError('no')\nf()") else {
        panic!("no exception")
    };
    assert_eq!((error.class.as_str(), error.message.as_str()), ("ValueError", "no"));
    assert!(error.traceback.contains("line 2, in f"), "{}", error.traceback);
}

#[test]
fn a_discarded_space_gives_errors_and_its_id_names_nothing_else() {
    let runtime = runtime();
    let space = child(&runtime, "short");
    let id = space.id();
    space.discard().unwrap();
    assert!(space.is_closed());
    assert!(matches!(space.exec("pass"), Err(Error::Unknown { .. })));
    assert!(matches!(space.child().create(), Err(Error::Unknown { .. })));
    space.discard().unwrap();
    assert_ne!(child(&runtime, "next").id(), id);
    assert_eq!(runtime.space(id), None);
}

#[test]
fn a_parent_with_children_is_discarded_as_a_tree_or_not_at_all() {
    let runtime = runtime();
    let parent = child(&runtime, "parent");
    let below = parent.child().name("below").create().unwrap();
    let error = parent.discard().unwrap_err();
    assert!(error.to_string().contains("\"below\""), "{error}");
    below.exec("import json").unwrap();
    parent.discard_with(modspace::DiscardOptions { recursive: true, ..Default::default() }).unwrap();
    assert!(below.is_closed() && parent.is_closed());
    assert!(matches!(runtime.root().discard(), Err(Error::Root)));
}

#[test]
fn a_space_cannot_be_discarded_from_inside() {
    let space = child(&runtime(), "inside");
    let inner = space.clone();
    space
        .enter(|_| {
            assert!(matches!(inner.discard(), Err(Error::Inside { .. })));
            Ok(())
        })
        .unwrap();
    space.exec("x = 1").unwrap();
}

#[test]
fn a_discard_says_what_it_freed_and_what_is_held_by_which_path() {
    let runtime = runtime();
    let space = child(&runtime, "plugin");
    space.exec("import json\nclass Handler:\n    def run(self): return json.dumps([1])\nhandler = Handler()").unwrap();
    // A host keeps an object of the plugin.
    runtime
        .root()
        .enter(|root| {
            let handler = space
                .enter(|plugin| plugin.eval("handler"))
                .map_err(|error| root.vm().new_runtime_error(error.to_string()))?;
            root.namespace()?.set_item("registry", root.vm().ctx.new_list(vec![handler]).into(), root.vm())
        })
        .unwrap();
    let report = space.discard().unwrap();
    let held: Vec<String> = report.held.iter().map(ToString::to_string).collect();
    assert_eq!(held, ["root: __main__.registry[0] -> __main__.Handler instance"]);
    assert!(!report.is_clean());
    assert_eq!(runtime.root().eval_repr("registry[0].run()").unwrap(), "'[1]'");
    let forced = space.discard_with(modspace::DiscardOptions { force: true, ..Default::default() }).unwrap();
    assert!(forced.objects > 500 && forced.bytes > 100_000, "{forced}");
    let error = runtime.root().eval_repr("registry[0].run()").unwrap_err();
    assert!(error.to_string().starts_with("modspace.SpaceClosedError: the space \"plugin\" is closed"), "{error}");
    runtime.root().exec("registry.clear()").unwrap();
    let nothing = child(&runtime, "other");
    nothing.exec("import json").unwrap();
    let report = nothing.discard().unwrap();
    assert!(report.is_clean() && report.objects > 500, "{report}");
}

#[test]
fn a_reload_keeps_the_handle_and_replaces_the_modules() {
    let directory = tempfile::tempdir().unwrap();
    let write = |version: u32| {
        std::fs::write(directory.path().join("plug.py"), format!("VERSION = {version}\n")).unwrap();
    };
    write(1);
    let space = runtime().root().child().prepend_path(directory.path().to_string_lossy()).create().unwrap();
    space.import("plug").unwrap();
    write(2);
    let report = space.reload().unwrap();
    assert_eq!((report.generation, report.changed.as_slice()), (2, &["plug".to_owned()][..]));
    assert!(report.old.is_some_and(|old| old.is_clean()));
    assert_eq!(space.eval_repr("__import__('plug').VERSION").unwrap(), "2");
    std::fs::write(directory.path().join("plug.py"), "1 / 0\n").unwrap();
    let error = space.reload().unwrap_err();
    assert!(matches!(&error, Error::Python(error) if error.class == "ZeroDivisionError"), "{error}");
    assert_eq!(
        (space.generation_number().unwrap(), space.eval_repr("__import__('plug').VERSION").unwrap()),
        (2, "2".into())
    );
}

#[test]
fn subscribers_get_every_event_in_order() {
    use modspace::EventKind::{Closing, Created, Discarded, Entered, Failed, Imported, Reloaded};
    let runtime = runtime();
    let events = runtime.subscribe();
    let other = runtime.subscribe();
    let space = child(&runtime, "watched");
    space.import("marshal").unwrap();
    space.import("no_such_module").unwrap_err();
    space.exec("1").unwrap();
    space.reload().unwrap();
    space.discard().unwrap();
    let events: Vec<_> = events.try_iter().filter(|event| event.space == "watched").collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let first =
        |kind| kinds.iter().position(|other| *other == kind).unwrap_or_else(|| panic!("no {kind:?} in {kinds:?}"));
    let order = [Created, Entered, Imported, Reloaded, Closing, Discarded].map(first);
    assert!(order.is_sorted(), "{kinds:?}");
    assert!(!kinds.contains(&Failed), "a module that is not found is not loaded: {kinds:?}");
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert!(numbers.is_sorted());
    let theirs: Vec<_> = other.try_iter().filter(|event| event.space == "watched").map(|event| event.number).collect();
    assert_eq!(theirs, numbers);
    runtime.shut_down();
    // It ends: otherwise this would wait for more.
    let _ = other.iter().count();
}

#[test]
fn a_panic_becomes_an_exception_and_the_runtime_goes_on() {
    let runtime = runtime();
    let space = child(&runtime, "panics");
    for _ in 0..50 {
        let result: Result<(), Error> = space.enter(|_| panic!("on purpose"));
        let Err(Error::Python(error)) = result else { panic!("no exception") };
        assert_eq!(
            (error.class.as_str(), error.message.as_str()),
            ("SystemError", "the virtual machine panicked: on purpose")
        );
    }
    // With Python frames on the stack, through a native function that trips over a stand-in.
    space.exec("import sys, types\nsys.modules['zlib'] = types.ModuleType('zlib')").unwrap();
    space.exec("def f(n):\n    return f(n - 1) if n else sys._getframe().f_code.co_name").unwrap();
    assert_eq!(space.eval_repr("f(50)").unwrap(), "'f'");
    assert_eq!(child(&runtime, "other").eval_repr("6 * 7").unwrap(), "42");
}

#[test]
fn the_module_table_tells_state_origin_importers_and_source() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("good.py"), "from json import dumps, loads\nimport bad_cause\n").unwrap();
    std::fs::write(directory.path().join("bad_cause.py"), "VALUE = 1\n").unwrap();
    std::fs::write(directory.path().join("bad.py"), "import bad_cause\n1 / 0\n").unwrap();
    let space = runtime().root().child().prepend_path(directory.path().to_string_lossy()).create().unwrap();
    space.import("good").unwrap();
    space.import("bad").unwrap_err();
    let good = space.module("good").unwrap().unwrap();
    assert_eq!(good.state, ModuleState::Ready);
    assert_eq!(good.origin.as_deref(), directory.path().join("good.py").to_str());
    assert_eq!(good.source_hash, Some(*blake3::hash(b"from json import dumps, loads\nimport bad_cause\n").as_bytes()));
    assert_eq!(space.module("bad").unwrap().unwrap().state, ModuleState::Failed);
    let json = space.module("json").unwrap().unwrap();
    let importer = json.importers.iter().find(|importer| importer.module == "good").unwrap();
    assert_eq!(importer.names, ["dumps", "loads"]);
    let cause = space.module("bad_cause").unwrap().unwrap();
    let importers: Vec<_> = cause.importers.iter().map(|importer| importer.module.as_str()).collect();
    assert_eq!(importers, ["bad", "good"]);
}

#[test]
fn delegation_and_patterns_are_set_by_the_builder() {
    let runtime = runtime();
    runtime.root().exec("import json, sys; json.mark = 1").unwrap();
    let has_mark = |space: &Space| space.eval_repr("hasattr(__import__('json'), 'mark')").unwrap() == "True";
    let pattern = |text: &str| [Pattern::new(text).unwrap()];
    let build = || runtime.root().child();
    assert!(!has_mark(&build().create().unwrap()));
    assert!(has_mark(&build().delegation(Delegation::ParentFirst).create().unwrap()));
    assert!(has_mark(&build().share(pattern("json")).create().unwrap()));
    assert!(has_mark(&build().path([""; 0]).create().unwrap()), "a space with no path falls back to its parent");
    assert!(!has_mark(&build().delegation(Delegation::ParentFirst).fresh(pattern("json")).create().unwrap()));
    let isolated = build().path([""; 0]).delegation(Delegation::Isolated).create().unwrap();
    let Err(Error::Python(error)) = isolated.import("json") else { panic!("found json") };
    assert_eq!(error.class, "ModuleNotFoundError");
}

#[test]
fn spaces_are_made_used_and_discarded_on_many_threads() {
    let runtime = runtime();
    let done = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (runtime, done) = (runtime.clone(), Arc::clone(&done));
            thread::spawn(move || {
                for round in 0..5 {
                    let space = child(&runtime, &format!("space-{number}-{round}"));
                    space.exec("import string, textwrap; value = textwrap.dedent('  x')").unwrap();
                    assert_eq!(space.eval_repr("value").unwrap(), "'x'");
                    if round % 2 == 0 {
                        space.exec("import gc; gc.collect()").unwrap();
                    }
                    space.discard().unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 40);
    assert_eq!(runtime.spaces().len(), 1);
}

#[test]
fn the_context_space_is_the_one_entered_last() {
    let runtime = runtime();
    let parent = child(&runtime, "parent");
    let below = parent.child().name("below").create().unwrap();
    parent.exec("import modspace").unwrap();
    let context = "str(modspace.context())";
    assert_eq!(parent.eval_repr(context).unwrap(), "\"<ModuleSpace 'parent'>\"");
    let seen = parent.enter(|outer| {
        let name =
            below.enter(|_| outer.eval(context)?.str(outer.vm()).map(|text| text.to_string_lossy().into_owned()));
        Ok((name.unwrap(), outer.eval(context)?.str(outer.vm())?.to_string_lossy().into_owned()))
    });
    assert_eq!(seen.unwrap(), ("<ModuleSpace 'below'>".to_owned(), "<ModuleSpace 'parent'>".to_owned()));
}

#[test]
fn a_runtime_can_be_shut_down_and_another_started() {
    for _ in 0..2 {
        let runtime = runtime();
        child(&runtime, "last").exec("import logging").unwrap();
        let _status = runtime.shut_down();
    }
}

#[test]
fn platform_modules_are_never_seen_half_loaded() {
    let runtime = runtime();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let runtime = runtime.clone();
            thread::spawn(move || {
                let space = child(&runtime, &format!("space-{number}"));
                space
                    .exec("import typing, inspect, dataclasses; typing.Protocol, inspect.signature, dataclasses.field")
                    .unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_handle_prepends_to_the_path_in_order() {
    let space = child(&runtime(), "paths");
    space.prepend_path(["/one", "/two"]).unwrap();
    assert_eq!(space.eval_repr("__import__('sys').path[:2]").unwrap(), "['/one', '/two']");
}

#[test]
fn a_missing_name_asks_each_space_of_a_chain_once() {
    let runtime = runtime();
    let finder = "import sys\nclass Finder:\n    asked = 0\n    def find_spec(self, name, path, target=None):\n        \
                  Finder.asked += name == 'missing'\nsys.meta_path.insert(0, Finder())";
    runtime.root().exec(finder).unwrap();
    let mut space = runtime.root();
    for _ in 0..12 {
        space = space.child().create().unwrap();
    }
    space.import("missing").unwrap_err();
    assert_eq!(runtime.root().eval_repr("Finder.asked").unwrap(), "1");
}

#[test]
fn a_name_of_very_many_parts_is_an_error() {
    let space = child(&runtime(), "deep");
    let Err(Error::Python(error)) = space.import(&"a.".repeat(20_000)) else { panic!("it was found") };
    assert!(["RecursionError", "ModuleNotFoundError"].contains(&error.class.as_str()), "{}", error.class);
}

#[test]
fn panics_do_not_use_up_the_recursion_limit() {
    let space = child(&runtime(), "panics");
    let source = "import sys, zlib\nsys.modules['zlib'] = object()\ndef f(n):\n    return f(n - 1) if n else zlib.decompress(b'bad')\n\
                  def d(n):\n    return d(n - 1) if n else 'bottom'";
    space.exec(source).unwrap();
    for _ in 0..30 {
        let Err(Error::Python(error)) = space.exec("f(100)") else { panic!("no exception") };
        assert_eq!(error.class, "SystemError");
    }
    assert_eq!(space.eval_repr("d(500)").unwrap(), "'bottom'");
}

#[test]
fn a_space_with_a_compile_of_its_own_changes_no_other() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("value.py"), "x = 1\n").unwrap();
    let runtime = runtime();
    let space = || runtime.root().child().prepend_path(directory.path().to_string_lossy()).create().unwrap();
    let (odd, plain) = (space(), space());
    odd.exec(
        "import builtins, sys\nsys.dont_write_bytecode = True\nplain = compile\n\
              builtins.compile = lambda source, *args, **options: plain(b'x = 666', *args, **options)",
    )
    .unwrap();
    assert_eq!(odd.eval_repr("__import__('value').x").unwrap(), "666");
    assert_eq!(plain.eval_repr("__import__('value').x").unwrap(), "1");
}

#[test]
fn a_space_can_be_used_while_its_thread_blocks_outside_the_interpreter() {
    let runtime = runtime();
    let (outer, inner) = (child(&runtime, "outer"), child(&runtime, "inner"));
    let collecting = {
        let runtime = runtime.clone();
        thread::spawn(move || {
            for _ in 0..50 {
                runtime.root().exec("import gc; gc.collect()").unwrap();
            }
        })
    };
    let sum = outer.enter(|entered| {
        Ok(entered.vm().allow_threads(|| inner.eval_repr("sum(len([number]) for number in range(200000))")))
    });
    assert_eq!(sum.unwrap().unwrap(), "200000");
    collecting.join().unwrap();
}

#[test]
fn a_child_made_by_an_exit_callback_goes_with_its_parent() {
    let runtime = runtime();
    let space = child(&runtime, "parent");
    space.exec("import atexit, modspace\natexit.register(lambda: modspace.ModuleSpace(modspace.current()))").unwrap();
    space.discard().unwrap();
    assert_eq!(runtime.spaces(), [runtime.root()]);
}
