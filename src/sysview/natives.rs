//! `_imp` and `_thread`: native functions that act on the module system, or start code in it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyModule, PyStr, PyStrRef, PyTupleRef},
    common::wtf8::Wtf8,
    function::{FuncArgs, PyMethodDef},
};

use crate::{
    import::{
        boot,
        generation::{Generation, Shared},
        key::SpaceKey,
        library, locks,
        owner::{self, Owner},
        policy,
        project::{self, hidden_module},
    },
    vm::{
        code, freelists, hidden,
        native::{bind, bind_in, def, function},
        panic, queue,
    },
};

static IMP: [PyMethodDef; 7] = [
    def("create_builtin", create_builtin),
    def("exec_builtin", exec_builtin),
    def("get_frozen_object", get_frozen_object),
    def("find_frozen", find_frozen),
    def("is_frozen", is_frozen),
    def("is_frozen_package", is_frozen_package),
    def("init_frozen", init_frozen),
];

static WARNINGS: [PyMethodDef; 1] = [def("warn", warn)];

static THREAD: [PyMethodDef; 4] = [
    def("start_new_thread", start_new_thread),
    def("start_new", start_new_thread),
    def("start_joinable_thread", start_joinable_thread),
    def("_shutdown", thread_shutdown),
];

static ADD_AUDIT_HOOK: PyMethodDef = def("addaudithook", add_audit_hook);
static AUDIT: PyMethodDef = def("audit", audit);

static AFTER_FORK: PyMethodDef = def("after_fork", after_fork);

static POSIX: [PyMethodDef; 1] = [def("register_at_fork", register_at_fork)];

static IMPORTLIB: [PyMethodDef; 1] = [def("_module_repr", module_repr)];

static CACHE: PyMethodDef = def("_lru_cache_wrapper", make_cache);
static DISPLAY_HOOK: PyMethodDef = def("displayhook", display_hook);
static THREAD_MAIN: PyMethodDef = def("thread_main", thread_main);

pub(crate) fn emulate(vm: &VirtualMachine) -> PyResult<()> {
    replace("_imp", &IMP, vm)?;
    replace("_frozen_importlib", &IMPORTLIB, vm)?;
    replace("_warnings", &WARNINGS, vm)?;
    guard_caches(vm)?;
    queue::install(&hidden_module("_queue", vm)?.dict(), vm)?;
    let sys = hidden::sys_dict(vm);
    let display = function(&DISPLAY_HOOK, "sys", vm);
    sys.set_item("_plain_displayhook", sys.get_item("displayhook", vm)?, vm)?;
    for name in ["displayhook", "__displayhook__"] {
        sys.set_item(name, display.clone(), vm)?;
    }
    // As CPython has it, so that `sys.excepthook is sys.__excepthook__` tells whether somebody set it. (Upstream has two
    // functions of each, and should have one.)
    for name in ["breakpointhook", "excepthook", "unraisablehook"] {
        sys.set_item(&*vm.ctx.new_str(format!("__{name}__")), sys.get_item(name, vm)?, vm)?;
    }
    let audit = function(&ADD_AUDIT_HOOK, "sys", vm);
    sys.set_item("_plain_addaudithook", sys.get_item("addaudithook", vm)?, vm)?;
    sys.set_item("addaudithook", audit, vm)?;
    replace("posix", &POSIX, vm)?;
    let fork = hidden_module("posix", vm)?.dict().get_item_opt("register_at_fork", vm)?;
    if let Some(fork) = fork {
        hidden_module("os", vm)?.dict().set_item("register_at_fork", fork, vm)?;
    }
    vm.state.after_forkers_child.lock().push(AFTER_FORK.build_function(&vm.ctx).into());
    replace("_thread", &THREAD, vm)
}

/// Puts `defs` into the hidden module `name`; what they replace stays there as `_plain_NAME`.
fn replace(name: &'static str, defs: &'static [PyMethodDef], vm: &VirtualMachine) -> PyResult<()> {
    let dict = hidden_module(name, vm)?.dict();
    for def in defs {
        if let Some(original) = dict.get_item_opt(def.name, vm)? {
            dict.set_item(&*vm.ctx.new_str(format!("_plain_{}", def.name)), original, vm)?;
            dict.set_item(def.name, function(def, name, vm), vm)?;
        }
    }
    Ok(())
}

fn original(module: &str, name: &str, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let dict: PyDictRef = hidden_module(module, vm)?.dict();
    dict.get_item(&*vm.ctx.new_str(format!("_plain_{name}")), vm)?.call(args, vm)
}

fn space(vm: &VirtualMachine) -> Option<Arc<Generation>> {
    match owner::current(vm)? {
        Owner::Space(generation) => Some(generation),
        Owner::Hidden => None,
    }
}

/// In a space, a native module is projected: creating it again would make its types a second time.
fn create_builtin(spec: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let Some(generation) = space(vm) else { return original("_imp", "create_builtin", vec![spec].into(), vm) };
    let name: PyStrRef = spec.get_attr("name", vm)?.try_into_value(vm)?;
    if let Some(module) = generation.loaded(&name, vm)? {
        return Ok(module);
    }
    match name.to_str() {
        Some(text) if hidden::is_native(text, vm) => project::create(&generation, text, vm).map(Into::into),
        _ => Ok(vm.ctx.none()),
    }
}

fn exec_builtin(module: PyRef<PyModule>, vm: &VirtualMachine) -> PyResult<i32> {
    if let Some(generation) = space(vm)
        && let Some(spec) = vm.get_attribute_opt(module.as_object(), "__spec__")?
        && let Ok(name) = spec.get_attr("name", vm)
        && let Some(name) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str())
        && hidden::is_native(name, vm)
    {
        project::fill(&generation, &module, name, vm)?;
    }
    Ok(0)
}

/// The class of a warning that exists is its category, whatever else is given (`get_category` in CPython's `Python/_warnings.c`).
/// (Upstream checks what is given before it looks at the message.)
fn warn(mut args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let message = args.args.first().or_else(|| args.kwargs.get("message"));
    if message.is_some_and(|message| message.fast_isinstance(vm.ctx.exceptions.warning)) {
        if let Some(category) = args.args.get_mut(1) {
            *category = vm.ctx.none();
        }
        args.kwargs.shift_remove("category");
    }
    original("_warnings", "warn", args, vm)
}

fn get_frozen_object(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let name = match &*args.args {
        [name] => name.downcast_ref::<PyStr>().and_then(|name| name.to_str()),
        _ => None,
    };
    match name {
        None => original("_imp", "get_frozen_object", args, vm),
        Some(name) => match Shared::of(vm) {
            Some(shared) => shared.code.frozen(name, vm).map(Into::into),
            // While the runtime starts.
            None => code::frozen(name, vm).map(Into::into),
        },
    }
}

/// A space made with `path=[]` finds no frozen module itself, except its import system and what is projected.
fn find_frozen(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    if let Some(source) = of_library(&args) {
        // Without the name by which a path would be made, under that of the standard library.
        let found = vec![vm.ctx.none(), vm.ctx.new_bool(source.is_package).into(), vm.ctx.none()];
        return Ok(vm.ctx.new_tuple(found).into());
    }
    if let Some(generation) = space(vm)
        && !generation.policy.own_library
        && let Some(name) = args.args.first().and_then(|name| name.downcast_ref::<PyStr>())
        && let Some(name) = name.to_str()
        && !policy::is_import_system(name)
        && !generation.policy.is_fresh(name)
        && !project::is_projected(&generation, name, vm)
    {
        return Ok(vm.ctx.none());
    }
    original("_imp", "find_frozen", args, vm)
}

/// The module of our own that a function is asked for.
fn of_library(args: &FuncArgs) -> Option<&'static library::Source> {
    args.args.first()?.downcast_ref::<PyStr>()?.to_str().and_then(library::source)
}

fn is_frozen(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    match of_library(&args) {
        Some(_) => Ok(vm.ctx.new_bool(true).into()),
        None => original("_imp", "is_frozen", args, vm),
    }
}

fn is_frozen_package(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    match of_library(&args) {
        Some(source) => Ok(vm.ctx.new_bool(source.is_package).into()),
        None => original("_imp", "is_frozen_package", args, vm),
    }
}

/// RustPython's own runs the code over the interpreter's builtins.
fn init_frozen(name: PyStrRef, vm: &VirtualMachine) -> PyResult {
    let Some(generation) = space(vm) else { return original("_imp", "init_frozen", vec![name.into()].into(), vm) };
    let text = name.to_string_lossy();
    let (module, _) = boot::execute_frozen(&generation, &text, vm)?;
    generation.modules(vm)?.set_item(&*name, module.clone().into(), vm)?;
    Ok(module.into())
}

/// `repr(module)`: the interpreter asks its own importlib, which does not know the loader classes of a space's copy.
fn module_repr(module: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    match space(vm) {
        Some(generation) if generation.importlib.load().is_some() => {
            boot::importlib(&generation, vm)?.get("_module_repr", vm)?.call((module,), vm)
        }
        _ => original("_frozen_importlib", "_module_repr", vec![module].into(), vm),
    }
}

/// Makes platform modules use `functools`' Python code for their caches, which all spaces share.
///
/// RustPython's native `lru_cache` compares keys, and so runs Python code, while it holds a mutex that other threads wait
/// for without leaving the interpreter: one thread that collects garbage meanwhile, and none of the three goes on.
/// (Upstream should look keys up outside the mutex, or wait in `allow_threads`.) Programs' own caches stay native.
fn guard_caches(vm: &VirtualMachine) -> PyResult<()> {
    let native = hidden_module("_functools", vm)?.dict();
    let wrapper = native.get_item("_lru_cache_wrapper", vm)?;
    native.del_item("_lru_cache_wrapper", vm)?;
    let functools = hidden_module("functools", vm)?.dict();
    native.set_item("_lru_cache_wrapper", wrapper.clone(), vm)?;
    let python = functools.get_item("_lru_cache_wrapper", vm)?;
    functools.set_item("_plain__lru_cache_wrapper", wrapper.clone(), vm)?;
    let both = vm.ctx.new_tuple(vec![python, wrapper]);
    functools.set_item("_lru_cache_wrapper", bind(&CACHE, both, vm), vm)
}

/// The native class of cached functions.
pub(crate) fn native_cache(vm: &VirtualMachine) -> PyResult {
    hidden_module("functools", vm)?.dict().get_item("_plain__lru_cache_wrapper", vm)
}

fn make_cache(both: PyTupleRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let [python, native] = both.as_slice() else { return Err(vm.new_system_error("a cache without a class")) };
    if space(vm).is_some() { native.call(args, vm) } else { python.call(args, vm) }
}

static ADAPT: [PyMethodDef; 2] =
    [def("register_adapter", register_adapter), def("register_converter", register_converter)];

/// Makes the projection of `_sqlite3` remember what the space registers: the interpreter has one registry, and each space
/// that imports `sqlite3` puts its own functions for dates there.
pub(crate) fn own_adapters(generation: &Arc<Generation>, dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    for def in &ADAPT {
        let plain = dict.get_item(def.name, vm)?;
        let bound = vm.ctx.new_tuple(vec![generation.key.clone().into(), plain]);
        dict.set_item(def.name, bind_in(def, bound, "_sqlite3", vm)?, vm)?;
    }
    Ok(())
}

/// What a space registered with `_sqlite3`.
#[derive(Clone)]
pub(crate) struct Adapter {
    registry: &'static str,
    key: PyObjectRef,
    function: PyObjectRef,
}

fn register_adapter(bound: PyTupleRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    adapt(&bound, "adapters", args, vm)
}

fn register_converter(bound: PyTupleRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    adapt(&bound, "converters", args, vm)
}

fn adapt(bound: &PyTupleRef, registry: &'static str, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let [key, plain] = bound.as_slice() else { return Err(vm.new_system_error("an adapter without a space")) };
    let function = args.args.get(1).cloned();
    let before = adapters(registry, vm)?;
    let result = plain.call(args, vm)?;
    // Under which key it was entered is the native function's business.
    if let (Some(function), Some(key)) = (function, key.downcast_ref::<SpaceKey>()) {
        let generation = key.get(vm)?;
        generation.check_open(vm)?;
        for (key, value) in adapters(registry, vm)? {
            let known = before.iter().any(|(other, old)| other.is(&key) && old.is(&value));
            if !known && value.is(&function) {
                generation.state.adapters.lock().push(Adapter { registry, key, function: function.clone() });
            }
        }
    }
    Ok(result)
}

fn adapters(registry: &str, vm: &VirtualMachine) -> PyResult<Vec<(PyObjectRef, PyObjectRef)>> {
    let registry: PyDictRef = hidden_module("_sqlite3", vm)?
        .dict()
        .get_item(registry, vm)?
        .downcast()
        .map_err(|_| vm.new_type_error("_sqlite3's registry is not a dict"))?;
    Ok(registry.into_iter().collect())
}

/// Takes back what a space registered with `_sqlite3`; what another space had registered for the same class or name, the
/// one loaded last first, is in force again.
pub(crate) fn take_back_adapters(generation: &Generation, vm: &VirtualMachine) -> PyResult<()> {
    let own = std::mem::take(&mut *generation.state.adapters.lock());
    for Adapter { registry, key, function } in own {
        let dict = hidden_module("_sqlite3", vm)?.dict().get_item(registry, vm)?;
        if !dict.get_item(&*key, vm).is_ok_and(|current| current.is(&function)) {
            continue;
        }
        let mut others: Vec<_> = generation.shared.tree.read().values().filter_map(|node| node.current()).collect();
        others.sort_by_key(|other| std::cmp::Reverse(other.serial));
        let same = |adapter: &Adapter| adapter.registry == registry && vm.bool_eq(&adapter.key, &key).unwrap_or(false);
        let found = others.iter().find_map(|other| {
            let adapters = other.state.adapters.lock().clone();
            adapters.into_iter().rev().find(same)
        });
        match found {
            Some(other) => dict.set_item(&*key, other.function, vm)?,
            None => dict.del_item(&*key, vm)?,
        }
    }
    Ok(())
}

/// The attribute of a native module as a first import makes it, for a space of its own.
pub(crate) fn new_state(module: &str, attribute: &'static str, vm: &VirtualMachine) -> PyResult {
    let Some(def) = vm.state.module_defs.get(module) else {
        return Err(vm.new_system_error(format!("the build has no native module {module}")));
    };
    owner::enter(Owner::Hidden, || {
        let scratch = def.create_module(vm)?;
        def.exec_module(vm, &scratch)?;
        scratch.as_object().get_attr(attribute, vm)
    })
}

/// `sys.displayhook`: the interpreter's sets `_` in its own builtins.
fn display_hook(value: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let plain = hidden::sys_dict(vm).get_item("_plain_displayhook", vm)?;
    let Some(generation) = space(vm) else { return plain.call((value,), vm).map(drop) };
    plain.call((value.clone(),), vm)?;
    if !vm.is_none(&value) {
        vm.builtins.dict().del_item("_", vm)?;
        generation.builtins_dict.set_item("_", value, vm)?;
    }
    Ok(())
}

/// `sys.addaudithook`: the interpreter's hooks cannot be removed, so it gets one that calls those of the spaces.
fn add_audit_hook(hook: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let plain = hidden::sys_dict(vm).get_item("_plain_addaudithook", vm)?;
    let Some(generation) = space(vm) else { return plain.call((hook,), vm).map(drop) };
    if generation.shared.auditing.swap(true, Ordering::AcqRel) {
        audit(vm.ctx.new_str("sys.addaudithook"), vm.ctx.empty_tuple.clone().into(), vm)?;
    } else {
        plain.call((AUDIT.build_function(&vm.ctx),), vm)?;
    }
    generation.check_open(vm)?;
    generation.state.audit_hooks.lock().push(hook);
    Ok(())
}

/// Tells the audit hooks of all spaces, in the order of the tree.
fn audit(event: PyStrRef, args: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let Some(shared) = Shared::of(vm) else { return Ok(()) };
    let generations: Vec<_> = shared.tree.read().values().filter_map(|node| node.current()).collect();
    for generation in generations {
        let hooks = generation.state.audit_hooks.lock().clone();
        for hook in hooks {
            hook.call((event.clone(), args.clone()), vm)?;
        }
    }
    Ok(())
}

fn after_fork(vm: &VirtualMachine) {
    locks::after_fork();
    let Some(shared) = Shared::of(vm) else { return };
    let me = rustpython_vm::stdlib::_thread::get_ident();
    for generation in shared.generations() {
        generation.life.keep_only(me);
        generation.state.threads.lock().retain(|thread, _| *thread == me);
    }
}

/// `os.register_at_fork`: the space's hooks go with it.
fn register_at_fork(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let hooks: Vec<PyObjectRef> = args.kwargs.values().cloned().collect();
    let result = original("posix", "register_at_fork", args, vm)?;
    if let Some(generation) = space(vm) {
        generation.state.fork_hooks.lock().extend(hooks);
    }
    Ok(result)
}

fn start_new_thread(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    original("_thread", "start_new_thread", carry_space(args, false, vm), vm)
}

fn start_joinable_thread(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let daemon = args.args.get(2).or_else(|| args.kwargs.get("daemon"));
    let is_waited_for = daemon.is_some_and(|daemon| daemon.is(&vm.ctx.false_value));
    original("_thread", "start_joinable_thread", carry_space(args, is_waited_for, vm), vm)
}

/// `_thread._shutdown`, which joins the threads that are no daemons when the program ends. RustPython's does not hear
/// Ctrl-C before a thread has ended, so this waits for those of the spaces first. (Upstream should check signals.)
fn thread_shutdown(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let me = rustpython_vm::stdlib::_thread::get_ident();
    let is_waited_for = |generation: &Arc<Generation>| {
        generation.state.threads.lock().iter().any(|(thread, is_waited_for)| *is_waited_for && *thread != me)
    };
    let mut pause = Duration::from_micros(50);
    if let Some(shared) = Shared::of(vm) {
        while shared.generations().iter().any(is_waited_for) {
            vm.allow_threads(|| std::thread::sleep(pause));
            pause = (pause * 2).min(Duration::from_millis(10));
            vm.check_signals()?;
        }
    }
    original("_thread", "_shutdown", args, vm)
}

/// Wraps the function of a new thread, so that native code which runs before the first frame of a space (and platform
/// code, whose frames do not count) works for the space that started the thread.
fn carry_space(mut args: FuncArgs, is_waited_for: bool, vm: &VirtualMachine) -> FuncArgs {
    let Some(generation) = space(vm) else { return args };
    let wrap = |function: &PyObjectRef| {
        let is_waited_for = vm.ctx.new_bool(is_waited_for).into();
        let start = vm.ctx.new_tuple(vec![generation.key.clone().into(), function.clone(), is_waited_for]);
        bind(&THREAD_MAIN, start, vm)
    };
    let function = match args.args.first_mut() {
        Some(function) => Some(function),
        None => args.kwargs.get_mut(Wtf8::new("function")),
    };
    // What cannot be called is left for the original to refuse.
    if let Some(function) = function.filter(|function| function.is_callable()) {
        *function = wrap(function);
    }
    args
}

fn thread_main(start: PyTupleRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let [key, function, is_waited_for] = start.as_slice() else {
        return Err(vm.new_system_error("a thread started without a space"));
    };
    let key = key.downcast_ref::<SpaceKey>().ok_or_else(|| vm.new_system_error("a thread started without a space"))?;
    let run = || {
        let result = panic::catch(vm, || function.call(args, vm));
        match result {
            Err(error) if !error.fast_isinstance(vm.ctx.exceptions.system_exit) => {
                // Reported here, because the interpreter would name this wrapper.
                let message = function
                    .repr(vm)
                    .ok()
                    .map(|repr| format!("Exception ignored in thread started by {}", repr.to_string_lossy()));
                vm.run_unraisable(error, message, vm.ctx.none());
                Ok(vm.ctx.none())
            }
            result => result,
        }
    };
    let result = match key.get(vm) {
        Ok(generation) => {
            let ident = rustpython_vm::stdlib::_thread::get_ident();
            generation.state.threads.lock().insert(ident, is_waited_for.is(&vm.ctx.true_value));
            let result = owner::enter(Owner::Space(Arc::clone(&generation)), run);
            generation.state.threads.lock().remove(&ident);
            result
        }
        // The space was closed in the meantime; whoever started the thread still waits for it.
        Err(_) => run(),
    };
    freelists::free_at_exit();
    result
}
