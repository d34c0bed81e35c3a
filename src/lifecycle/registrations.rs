//! What a space registered with the process, and how it is taken back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyDict, PyDictRef, PyModule},
    function::PyMethodDef,
};

use super::{paths, probe, report::StayingThread, scope::Scope};
use crate::{
    import::{
        boot,
        generation::{Generation, Mark, Node, Shared},
        level,
        owner::{self, Owner},
        project::{self, hidden_module},
    },
    sysview::{natives, visible},
    vm::{
        heap::{self, ClassCache, Stopped},
        hidden,
        native::def,
    },
};

/// Shuts down the thread pools of the space, as the interpreter does before it joins threads (`threading._shutdown`).
pub(crate) fn end_thread_pools(generation: &Arc<Generation>, vm: &VirtualMachine) {
    // Who started no thread and has no `threading` has no pool.
    if !matches!(generation.loaded(&vm.ctx.new_str("threading"), vm), Ok(Some(_))) {
        return;
    }
    if let Err(error) = ask(generation, "end_thread_pools", Vec::new(), vm) {
        let message = "Exception ignored in thread pool shutdown".to_owned();
        visible::unraisable(generation, error, message, vm.ctx.none(), vm);
    }
}

/// Ends the space's subscriptions, once its functions got what happened until now, or the time is up. A signal ends the
/// wait, too; it is handled when the program goes on.
pub(crate) fn end_subscriptions(generation: &Generation, deadline: Option<Instant>, vm: &VirtualMachine) {
    let subscriptions = std::mem::take(&mut *generation.state.subscriptions.lock());
    for subscription in &subscriptions {
        generation.shared.events.unsubscribe(subscription.number);
    }
    for subscription in subscriptions {
        wait_for_end(|until| subscription.wait_until_finished(until), deadline, vm);
    }
}

/// Ends the threads that work for the space, but for the running one.
pub(crate) fn end_workers(node: &Node, deadline: Option<Instant>, vm: &VirtualMachine) {
    let workers = std::mem::take(&mut *node.workers.lock());
    workers.iter().for_each(|worker| worker.end());
    for worker in workers {
        wait_for_end(|until| worker.wait_until_finished(until), deadline, vm);
    }
}

fn wait_for_end(is_over: impl Fn(Instant) -> bool, deadline: Option<Instant>, vm: &VirtualMachine) {
    loop {
        let look = Instant::now() + Duration::from_millis(50);
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        let finished = vm.allow_threads(|| is_over(until));
        if finished || deadline.is_some_and(|deadline| Instant::now() >= deadline) || vm.check_signals().is_err() {
            break;
        }
    }
}

const HELPER: &str = include_str!("../../spaces/boot/threads.py");

/// Calls a function of `spaces/boot/threads.py` with what it is about and the space's own `threading`.
fn ask(generation: &Arc<Generation>, function: &str, about: Vec<PyObjectRef>, vm: &VirtualMachine) -> PyResult {
    let own = generation.loaded(&vm.ctx.new_str("threading"), vm)?.filter(|_| {
        !project::is_projected(generation, "threading", vm) && generation.table.taken_from("threading").is_none()
    });
    let about = vm.ctx.new_list(about);
    let dict = probe::globals(std::slice::from_ref(generation), &[], vm)?;
    let answer = boot::run(generation, HELPER, "<frozen modspace.threads>", &dict, vm)
        .and_then(|()| dict.get_item(function, vm)?.call((about, own.unwrap_or_else(|| vm.ctx.none())), vm));
    dict.clear();
    answer
}

/// The identifiers of the running threads that the space started.
pub(crate) fn started(generation: &Generation) -> Vec<u64> {
    generation.state.threads.lock().keys().copied().collect()
}

/// The identifiers of those for which a program waits when it ends, or of the others.
pub(crate) fn threads_waited_for(generation: &Generation, waited_for: bool) -> Vec<u64> {
    let threads = generation.state.threads.lock();
    threads.iter().filter(|(_, is_waited_for)| **is_waited_for == waited_for).map(|(thread, _)| *thread).collect()
}

/// Names and stacks of the threads that the space started, and of those `inside`.
pub(crate) fn describe_threads(
    generation: &Arc<Generation>,
    inside: &[u64],
    vm: &VirtualMachine,
) -> Vec<StayingThread> {
    let mut idents = started(generation);
    idents.extend(inside);
    idents.sort_unstable();
    idents.dedup();
    let describe = || -> PyResult<Vec<StayingThread>> {
        let stacks = idents.iter().zip(stacks(&idents, vm)).map(|(ident, stack)| {
            let frames = stack.into_iter().map(|(code, line)| {
                let line = vm.ctx.new_int(line).into();
                vm.ctx
                    .new_tuple(vec![code.source_path().to_owned().into(), line, code.obj_name.to_owned().into()])
                    .into()
            });
            vm.ctx.new_tuple(vec![vm.ctx.new_int(*ident).into(), vm.ctx.new_list(frames.collect()).into()]).into()
        });
        let rows: Vec<PyObjectRef> = ask(generation, "describe", stacks.collect(), vm)?.try_to_value(vm)?;
        let row = |row: PyObjectRef| -> PyResult<StayingThread> {
            Ok(StayingThread {
                ident: row.get_item(&0usize, vm)?.try_to_value(vm)?,
                name: row.get_item(&1usize, vm)?.try_to_value(vm)?,
                stack: row.get_item(&2usize, vm)?.try_to_value(vm)?,
            })
        };
        rows.into_iter().map(row).collect()
    };
    describe().unwrap_or_else(|_| {
        let unnamed = |ident: &u64| StayingThread { ident: *ident, name: ident.to_string(), stack: String::new() };
        idents.iter().map(unnamed).collect()
    })
}

/// The code and line of each frame of these threads, the outermost first.
///
/// Not by `sys._current_frames()`: RustPython follows a frame of a running thread to its caller without stopping it first,
/// which may be gone by then. (Upstream should read `previous` after it stopped the world in `FrameObject::f_back`.)
pub(crate) fn stacks(idents: &[u64], vm: &VirtualMachine) -> Vec<Vec<(PyRef<PyCode>, usize)>> {
    let world = Stopped::new(vm);
    let stacks = world.stacks();
    let stack_of = |ident: &u64| {
        let frames = stacks.iter().find(|(thread, _)| thread == ident).map(|(_, frames)| frames.iter().rev());
        frames.into_iter().flatten().map(|frame| (frame.code().to_owned(), frame.line())).collect()
    };
    idents.iter().map(stack_of).collect()
}

/// Whether the running thread is the one that handles signals.
pub(crate) fn is_main_thread(vm: &VirtualMachine) -> bool {
    let main = || -> PyResult<u64> {
        let main = hidden_module("threading", vm)?.dict().get_item("_main_thread", vm)?;
        main.get_attr("_ident", vm)?.try_to_value(vm)
    };
    main().is_ok_and(|main| main == rustpython_vm::stdlib::_thread::get_ident())
}

/// After how many ended generations abstract classes forget what they were asked about.
const FORGET_AFTER: usize = 64;

/// Takes back what the generations registered with the interpreter itself.
pub(crate) fn take_back(generations: &[Arc<Generation>], vm: &VirtualMachine) {
    for generation in generations {
        if let Err(error) = natives::take_back_adapters(generation, vm) {
            vm.run_unraisable(error, Some("while taking back sqlite3 adapters".to_owned()), vm.ctx.none());
        }
        generation.state.clear();
        let running = generation.state.retired.take_running(vm);
        if !running.is_empty() {
            generation.shared.retired.add(running, |_| false, vm);
        }
        let hooks = std::mem::take(&mut *generation.state.fork_hooks.lock());
        for list in [&vm.state.before_forkers, &vm.state.after_forkers_child, &vm.state.after_forkers_parent] {
            let removed: Vec<PyObjectRef> = {
                let mut list = list.lock();
                let (removed, kept) = list.drain(..).partition(|hook| hooks.iter().any(|other| other.is(hook)));
                *list = kept;
                removed
            };
            drop(removed);
        }
    }
    for generation in generations {
        // Every space that parametrises a generic class leaves something in these caches.
        if let (Ok(Some(_)), Ok(typing)) =
            (generation.loaded(&vm.ctx.new_str("typing"), vm), hidden_module("typing", vm))
            && let Ok(clear) = typing.dict().get_item("_cleanups", vm)
            && let Ok(clear) = clear.try_to_value::<Vec<PyObjectRef>>(vm)
        {
            for clear in clear {
                let _ = clear.call((), vm);
            }
            break;
        }
    }
    if !generations.is_empty()
        && let Err(error) = probe::purge_context(generations, vm)
    {
        vm.run_unraisable(error, Some("while leaving the context".to_owned()), vm.ctx.none());
    }
    if let Err(error) = visible::in_frame(&RESET_WARNINGS, vm) {
        vm.run_unraisable(error, Some("while resetting the warnings state".to_owned()), vm.ctx.none());
    }
}

/// Now and then, once spaces have ended and what was theirs has gone: takes out what is left of many, a little of each.
pub(crate) fn tidy_when_due(shared: &Shared, ended: usize, vm: &VirtualMachine) {
    let before = shared.ended.fetch_add(ended, Ordering::Relaxed);
    if before / FORGET_AFTER != (before + ended) / FORGET_AFTER
        && let Err(error) = tidy(vm)
    {
        vm.run_unraisable(error, Some("while tidying platform modules".to_owned()), vm.ctx.none());
    }
}

/// Tables of native and platform modules in which the same keys come and go, in them or in the tables in them; no Python
/// code loops over them.
const BUSY_TABLES: [(&str, &str); 4] = [
    ("threading", "_active"),
    ("threading", "_limbo"),
    ("_asyncio", "_current_tasks"),
    ("typing", "_overload_registry"),
];

fn tidy(vm: &VirtualMachine) -> PyResult<()> {
    let modules = hidden::modules(vm)?;
    let mut tables = Vec::new();
    for (module, name) in BUSY_TABLES {
        if let Ok(module) = modules.get_item(module, vm)
            && let Some(table) = vm.get_attribute_opt(&module, name)?
            && let Ok(table) = table.downcast::<PyDict>()
        {
            tables.extend(table.clone().into_iter().filter_map(|(_, inner)| inner.downcast::<PyDict>().ok()));
            tables.push(table);
        }
    }
    heap::compact(&tables, vm)?;
    probe::rebuild_busy_sets(vm)?;
    probe::forget_dead_classes(vm)?;
    heap::prune_all_subclasses(vm);
    heap::collect_old_garbage(vm);
    Ok(())
}

static RESET_WARNINGS: PyMethodDef = def("reset_warnings", reset_warnings);

/// Native code keeps the filters of the space that warned last; the next that warns brings its own. What
/// is replaced lives as long as the frame below this call.
fn reset_warnings(vm: &VirtualMachine) -> PyResult<()> {
    let dict = hidden_module("_warnings", vm)?.dict();
    let warnings = &vm.state.warnings;
    if let Ok(filters) = dict.get_item("filters", vm)?.downcast() {
        warnings.filters.swap_to_temporary_refs(filters, vm);
    }
    if let Ok(registry) = dict.get_item("_onceregistry", vm)?.downcast() {
        warnings.once_registry.swap_to_temporary_refs(registry, vm);
    }
    if let Ok(action) = dict.get_item("_defaultaction", vm)?.downcast() {
        warnings.default_action.swap_to_temporary_refs(action, vm);
    }
    Ok(())
}

/// Makes the thread, platform modules and the collector's lists forget the generations, as far as a plain count of
/// references found them held.
pub(crate) fn purge(generations: &[Arc<Generation>], classes: &[Mark], vm: &VirtualMachine) {
    for generation in generations {
        detach_projections(generation, vm);
    }
    if let Err(error) = probe::purge(generations, classes, vm) {
        vm.run_unraisable(error, Some("while purging the caches of platform modules".to_owned()), vm.ctx.none());
    }
    drop_callbacks(generations, classes, vm);
    // To look into a `methodcaller`, native code may import it for whoever asks; see `vm::edges`.
    if let Some(caller) = owner::lexical(vm) {
        let _ = level::import_module(&caller, "functools", vm);
    }
}

/// Gives what is left of the generations back the native state that was taken away to see whether it held them.
pub(crate) fn restore_natives(generations: &[Arc<Generation>], vm: &VirtualMachine) {
    for generation in generations {
        let restored = || -> PyResult<()> {
            let Some(dict) = element_tree(generation, vm) else { return Ok(()) };
            if !dict.get_item_opt("_state", vm)?.is_some_and(|state| vm.is_none(&state)) {
                return Ok(());
            }
            dict.set_item("_state", natives::new_state("_elementtree", "_state", vm)?, vm)?;
            let Some(python) = generation.loaded(&vm.ctx.new_str("xml.etree.ElementTree"), vm)? else { return Ok(()) };
            let factories = (python.get_attr("Comment", vm)?, python.get_attr("ProcessingInstruction", vm)?);
            owner::enter(Owner::Space(Arc::clone(generation)), || {
                dict.get_item("_set_factories", vm)?.call(factories, vm)
            })
            .map(drop)
        };
        if let Err(error) = restored() {
            vm.run_unraisable(error, Some("while restoring _elementtree".to_owned()), vm.ctx.none());
        }
    }
}

/// The dict of the generation's projection of `_elementtree`, whose state object refers to functions and modules in a way
/// that nothing can see.
fn element_tree(generation: &Arc<Generation>, vm: &VirtualMachine) -> Option<PyDictRef> {
    // One that was ended by force has no modules any more.
    let module = generation.loaded(&vm.ctx.new_str("_elementtree"), vm).ok().flatten()?;
    module.downcast_ref::<PyModule>().map(|module| module.dict())
}

/// Native code remembers some modules that it imported, per thread (`_json`, `_asyncio`): these must not lead on.
fn detach_projections(generation: &Arc<Generation>, vm: &VirtualMachine) {
    if let Some(dict) = element_tree(generation, vm) {
        let _ = dict.set_item("_state", vm.ctx.none(), vm);
    }
    for name in ["_json", "_asyncio", "_contextvars", "contextvars"] {
        let Ok(Some(module)) = generation.loaded(&vm.ctx.new_str(name), vm) else { continue };
        let Some(module) = module.downcast_ref::<PyModule>() else { continue };
        if project::is_projected(generation, name, vm) {
            for key in ["__spec__", "__loader__", "__builtins__"] {
                if module.dict().contains_key(key, vm) {
                    // Held by nobody else, the module is garbage.
                    let _ = module.dict().set_item(key, vm.ctx.none(), vm);
                }
            }
        }
    }
}

/// `sys.monitoring` callbacks, and the functions that trace all threads.
fn drop_callbacks(generations: &[Arc<Generation>], classes: &[Mark], vm: &VirtualMachine) {
    let scope = Scope::new(generations.to_vec(), classes, vm);
    let held =
        |object: &PyObjectRef| paths::leads_into(&scope, object, &Stopped::new(vm), &mut ClassCache::default(), vm);
    let callbacks: Vec<_> = {
        let monitoring = vm.state.monitoring.lock();
        monitoring.callbacks.iter().map(|(key, callback)| (*key, callback.clone())).collect()
    };
    let gone: Vec<_> = callbacks.into_iter().filter(|(_, callback)| held(callback)).collect();
    if !gone.is_empty() {
        let mut monitoring = vm.state.monitoring.lock();
        for (key, _) in &gone {
            monitoring.callbacks.remove(key);
        }
        let unused = |tool: usize| !monitoring.callbacks.keys().any(|(other, _)| *other == tool);
        let tools: Vec<usize> = gone.iter().map(|((tool, _), _)| *tool).filter(|tool| unused(*tool)).collect();
        for tool in tools {
            monitoring.tool_names[tool] = None;
            monitoring.global_events[tool] = 0;
            monitoring.local_events.retain(|(other, _), _| *other != tool);
        }
        vm.state.monitoring_events.store(monitoring.combined_events());
        vm.state.instrumentation_version.fetch_add(1, Ordering::AcqRel);
    }
    drop(gone);
    for place in [&vm.state.global_trace_func, &vm.state.global_profile_func] {
        let function = place.lock().clone();
        if function.as_ref().is_some_and(&held) {
            let taken = place.lock().take();
            drop(taken);
        }
    }
    let slots: Vec<_> = vm.state.thread_frames.lock().values().cloned().collect();
    for slot in slots {
        for place in [&slot.trace_func, &slot.profile_func] {
            let function = place.lock().clone();
            if held(&function) {
                let taken = std::mem::replace(&mut *place.lock(), vm.ctx.none());
                drop(taken);
            }
        }
    }
}
