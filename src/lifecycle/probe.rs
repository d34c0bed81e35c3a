//! What the purging code asks about objects; see `spaces/boot/purge.py`.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use rustpython_vm::{
    AsObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyFunction, PyModule, PyProperty, PyStr, PyType},
    function::PyMethodDef,
    pyclass,
};

use super::{
    paths,
    scope::{Belongs, Scope},
};
use crate::{
    import::{
        boot,
        generation::{Generation, Mark, Shared},
        owner::{self, Owner},
        project,
        project::{LOADED, hidden_module},
    },
    vm::{
        heap::{ClassCache, Stopped},
        hidden,
        native::{bind, def, payload},
    },
};

/// Answers for the spaces that end.
#[pyclass(module = "modspace", name = "Probe")]
pub(super) struct Probe(Scope);

payload!(Probe);

#[pyclass]
impl Probe {}

static HELD: PyMethodDef = def("held", held);
static OWN_VARIABLES: PyMethodDef = def("own_variables", own_variables);
static PLATFORM_VARIABLES: PyMethodDef = def("platform_variables", platform_variables);
static NEW_CONTEXT: PyMethodDef = def("new_context", new_context);
static PATCHED_CLASSES: PyMethodDef = def("patched_classes", patched_classes);
static FORGET_CODEC: PyMethodDef = def("forget_codec", forget_codec);

const PURGE: &str = include_str!("../../spaces/boot/purge.py");

/// Globals for platform code that asks about the generations. Whoever runs code over them clears them afterwards: what
/// is defined in them is a cycle.
pub(super) fn globals(generations: &[Arc<Generation>], classes: &[Mark], vm: &VirtualMachine) -> PyResult<PyDictRef> {
    let probe = Probe(Scope::new(generations.to_vec(), classes, vm)).into_ref(&vm.ctx);
    let dict = vm.ctx.new_dict();
    dict.set_item("__name__", vm.ctx.new_str("modspace.end").into(), vm)?;
    dict.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
    dict.set_item("modules", hidden::modules(vm)?, vm)?;
    for def in [&HELD, &OWN_VARIABLES, &PLATFORM_VARIABLES, &NEW_CONTEXT, &PATCHED_CLASSES, &FORGET_CODEC] {
        dict.set_item(def.name, bind(def, probe.clone(), vm), vm)?;
    }
    dict.set_item(LOADED.name, bind(&LOADED, vm.ctx.none(), vm), vm)?;
    Ok(dict)
}

/// Makes platform modules and this thread forget the generations.
pub(super) fn purge(generations: &[Arc<Generation>], classes: &[Mark], vm: &VirtualMachine) -> PyResult<()> {
    let is_main = super::registrations::is_main_thread(vm);
    run("purge", vec![vm.ctx.new_bool(is_main).into()], generations, classes, vm)
}

/// Makes abstract classes in platform modules and in modules of the spaces forget which classes they were asked about.
pub(super) fn forget_dead_classes(vm: &VirtualMachine) -> PyResult<()> {
    let generations = Shared::of(vm).map(|shared| shared.generations()).unwrap_or_default();
    let tables = generations.iter().filter_map(|generation| generation.modules(vm).ok());
    // A program's own `sys.modules` would run its code.
    let tables = tables.filter(|modules| modules.class().is(vm.ctx.types.dict_type)).collect();
    run("forget_dead_classes", vec![vm.ctx.new_list(tables).into()], &[], &[], vm)
}

/// Makes sets of platform modules in which things come and go as small as what is in them.
pub(super) fn rebuild_busy_sets(vm: &VirtualMachine) -> PyResult<()> {
    run("rebuild_busy_sets", Vec::new(), &[], &[], vm)
}

/// Takes the generations' variables out of the running thread's context, while their modules say which they are.
pub(super) fn purge_context(generations: &[Arc<Generation>], vm: &VirtualMachine) -> PyResult<()> {
    let Some(context) = vm.context_stack.borrow().last().cloned() else { return Ok(()) };
    if vm.call_method(&context, "__len__", ())?.try_to_value::<usize>(vm)? == 0 {
        return Ok(());
    }
    run("purge_context", Vec::new(), generations, &[], vm)
}

fn run(
    function: &str,
    args: Vec<PyObjectRef>,
    generations: &[Arc<Generation>],
    classes: &[Mark],
    vm: &VirtualMachine,
) -> PyResult<()> {
    let Some(root) = Shared::of(vm).and_then(|shared| shared.root.get()?.current()) else { return Ok(()) };
    let generation = generations.first().unwrap_or(&root);
    let dict = globals(generations, classes, vm)?;
    let result = owner::enter(Owner::Hidden, || {
        boot::run(generation, PURGE, "<frozen modspace.purge>", &dict, vm)?;
        dict.get_item(function, vm)?.call(args, vm)
    });
    dict.clear();
    result.map(drop)
}

fn held(probe: PyRef<Probe>, object: PyObjectRef, vm: &VirtualMachine) -> bool {
    let world = Stopped::new(vm);
    paths::leads_into(&probe.0, &object, &world, &mut ClassCache::default(), vm)
}

/// The ContextVars that stand in modules of the spaces and nowhere else.
fn own_variables(probe: PyRef<Probe>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let mut own = Vec::new();
    for generation in probe.0.generations() {
        own.extend(variables(own_dicts(generation, vm)?, vm)?);
    }
    if own.is_empty() {
        return Ok(own);
    }
    let Some(shared) = Shared::of(vm) else { return Ok(own) };
    let others: Vec<_> = shared.tree.read().values().filter_map(|node| node.current()).collect();
    let mut elsewhere = variables(platform_dicts(vm)?, vm)?;
    for generation in others {
        elsewhere.extend(variables(own_dicts(&generation, vm)?, vm)?);
    }
    own.retain(|variable| !elsewhere.iter().any(|other| other.is(variable)));
    Ok(own)
}

fn platform_variables(_probe: PyRef<Probe>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    variables(platform_dicts(vm)?, vm)
}

fn platform_dicts(vm: &VirtualMachine) -> PyResult<Vec<PyDictRef>> {
    let modules = hidden::modules(vm)?.downcast::<PyDict>().into_iter().flatten();
    Ok(modules.filter_map(|(_, module)| Some(module.downcast_ref::<PyModule>()?.dict())).collect())
}

/// The ContextVars among the values of dicts.
fn variables(dicts: Vec<PyDictRef>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let class = hidden_module("_contextvars", vm)?.dict().get_item("ContextVar", vm)?;
    let values = dicts.into_iter().flatten().map(|(_, value)| value);
    Ok(values.filter(|value| value.class().is(&class)).collect())
}

/// The dicts of the modules that a generation loaded itself. One that was ended by force has none any more.
fn own_dicts(generation: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<Vec<PyDictRef>> {
    let modules = generation.modules(vm).ok().and_then(|modules| modules.downcast::<PyDict>().ok());
    let Some(modules) = modules else { return Ok(Vec::new()) };
    let own = modules.into_iter().filter_map(|(name, module)| {
        let name = name.downcast_ref::<PyStr>()?.to_str()?.to_owned();
        let is_own = generation.table.taken_from(&name).is_none() && !project::is_projected(generation, &name, vm);
        is_own.then(|| module.downcast_ref::<PyModule>().map(|module| module.dict())).flatten()
    });
    Ok(own.collect())
}

/// Gives the thread an empty base context, unless it is inside one that somebody runs. Returns whether it did.
fn new_context(_probe: PyRef<Probe>, vm: &VirtualMachine) -> bool {
    let old = {
        let mut contexts = vm.context_stack.borrow_mut();
        if contexts.len() != 1 {
            return false;
        }
        std::mem::take(&mut *contexts)
    };
    drop(old);
    true
}

/// The classes of native and platform modules that have an attribute of the spaces, with its name, and with what it was
/// before, in a tuple.
fn patched_classes(probe: PyRef<Probe>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let mut classes = Vec::new();
    // Several modules may have a class.
    let mut seen = FxHashSet::default();
    for (_, module) in hidden::modules(vm)?.downcast::<PyDict>().into_iter().flatten() {
        if let Some(module) = module.downcast_ref::<PyModule>() {
            let all = module.dict().into_iter().filter_map(|(_, value)| value.downcast::<PyType>().ok());
            classes.extend(all.filter(|class| seen.insert(class.get_id())));
        }
    }
    let world = Stopped::new(vm);
    let mut cache = ClassCache::default();
    let mut patched = Vec::new();
    for class in classes {
        for (name, value) in class.attributes.entries() {
            let is_data = value.downcast_ref::<PyFunction>().is_none() && value.downcast_ref::<PyProperty>().is_none();
            let theirs = match probe.0.belongs(&value, vm) {
                Belongs::Core => true,
                Belongs::Outside => false,
                Belongs::Unknown if is_data => probe.0.belongs(value.class().as_object(), vm) == Belongs::Core,
                Belongs::Unknown => paths::leads_into(&probe.0, &value, &world, &mut cache, vm),
            };
            if theirs {
                patched.push((class.clone(), name));
            }
        }
    }
    drop(world);
    let Some(shared) = Shared::of(vm) else { return Ok(Vec::new()) };
    let row = |(class, name): (PyRef<PyType>, PyObjectRef)| {
        let original = shared.originals.of(class.as_object(), &name);
        vm.ctx.new_tuple(vec![class.into(), name, vm.ctx.new_tuple(original.into_iter().collect()).into()]).into()
    };
    Ok(patched.into_iter().map(row).collect())
}

fn forget_codec(_probe: PyRef<Probe>, name: rustpython_vm::builtins::PyStrRef, vm: &VirtualMachine) {
    let forgotten = vm.state.codec_registry.forget(&name.to_string_lossy());
    drop(forgotten);
}
