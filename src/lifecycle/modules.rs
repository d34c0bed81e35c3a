//! Reloading, unloading and re-importing single modules.
//!
//! A module's spec may carry the flags `allow_reload`, `allow_unload` and `allow_reimport`; the module sets them on its
//! `__spec__`, or its loader when it makes the spec. They advise: `force` overrides them.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyModule, PyStr, PyStrRef},
};

use super::{census::Extent, collect, paths, report::Held, scope::Scope};
use crate::{
    event::EventKind,
    import::{aside::Copied, find, generation::Generation, level, locks::Acquired, policy, project},
    vm::native::copy_dict,
};

/// What can be done to a module, and which flag speaks about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Reload,
    Unload,
    Reimport,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Reload, Self::Unload, Self::Reimport];

    const fn flag(self) -> &'static str {
        match self {
            Self::Reload => "allow_reload",
            Self::Unload => "allow_unload",
            Self::Reimport => "allow_reimport",
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Unload => "unload",
            Self::Reimport => "reimport",
        }
    }
}

/// What came of unloading a module.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnloadReport {
    /// The modules that were unloaded: the one named, and its submodules.
    pub modules: Vec<String>,
    /// How many container objects were freed.
    pub objects: usize,
    /// What is still held of them, shortest path first.
    pub held: Vec<Held>,
}

impl std::fmt::Display for UnloadReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "unloaded {}: {} objects freed", self.modules.join(", "), self.objects)?;
        for held in &self.held {
            write!(formatter, "\n  held: {held}")?;
        }
        Ok(())
    }
}

fn refuse(message: String, generation: &Generation, vm: &VirtualMachine) -> PyBaseExceptionRef {
    vm.new_exception_msg(generation.shared.space_error.clone(), message.into())
}

/// A module of the space that may be worked on.
struct Subject {
    name: PyStrRef,
    module: PyObjectRef,
}

/// Finds the module that `target`, a module or a name, means in `generation`, and checks that `operation` may be done.
fn subject(
    generation: &Arc<Generation>,
    target: &PyObjectRef,
    operation: Operation,
    force: bool,
    vm: &VirtualMachine,
) -> PyResult<Subject> {
    let verb = operation.verb();
    let name: PyStrRef = if let Some(module) = target.downcast_ref::<PyModule>() {
        let spec_name = vm
            .get_attribute_opt(module.as_object(), "__spec__")?
            .filter(|spec| !vm.is_none(spec))
            .map(|spec| spec.get_attr("name", vm))
            .transpose()?;
        let name = match spec_name {
            Some(name) => name,
            None => module.as_object().get_attr("__name__", vm)?,
        };
        name.downcast().map_err(|_| vm.new_type_error(format!("{verb}(): the module's name is not a str")))?
    } else {
        target.clone().downcast().map_err(|other| {
            vm.new_type_error(format!("{verb}() takes a module or its name, not {}", other.class().name()))
        })?
    };
    let text = name.to_string_lossy().into_owned();
    let space = generation.name();
    if matches!(&*text, "sys" | "builtins" | "__main__") {
        return Err(refuse(format!("cannot {verb} {text:?}: every space has exactly one"), generation, vm));
    }
    if policy::is_import_system(&text) {
        return Err(refuse(format!("cannot {verb} {text:?}: it is the space's import system"), generation, vm));
    }
    let Some(module) = generation.loaded(&name, vm)?.filter(|module| !vm.is_none(module)) else {
        let elsewhere = if target.downcast_ref::<PyModule>().is_some() {
            " (the module object given is not in its sys.modules)"
        } else {
            ""
        };
        let message = format!("cannot {verb} {text:?}: the space {space:?} has not imported it{elsewhere}");
        let error = vm.new_import_error(message, name.clone());
        return Err(error);
    };
    if target.downcast_ref::<PyModule>().is_some() && !module.is(target) {
        let message = format!(
            "cannot {verb} {text:?}: the space {space:?} has another module of that name; {verb} it in its own space"
        );
        return Err(vm.new_import_error(message, name.clone()));
    }
    if let Some(owner) = generation.table.taken_from(&text) {
        let owner =
            generation.shared.node(owner).map_or_else(|| "a parent".to_owned(), |node| format!("{:?}", node.name));
        let message = format!("cannot {verb} {text:?} in the space {space:?}: it belongs to {owner}; {verb} it there");
        return Err(refuse(message, generation, vm));
    }
    if project::is_projected(generation, &text, vm) {
        let what = if crate::vm::hidden::is_native(&text, vm) { "native" } else { "shared platform" };
        return Err(refuse(format!("cannot {verb} {text:?}: it is a {what} module"), generation, vm));
    }
    if find::is_initialising(&generation.shared.names, &module, vm)? {
        let message = format!("cannot {verb} {text:?}: it is in the middle of its import");
        return Err(vm.new_import_error(message, name.clone()));
    }
    check_flags(generation, &text, &module, operation, force, vm)?;
    Ok(Subject { name, module })
}

fn check_flags(
    generation: &Generation,
    name: &str,
    module: &PyObject,
    operation: Operation,
    force: bool,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let Some(spec) = vm.get_attribute_opt(module, "__spec__")?.filter(|spec| !vm.is_none(spec)) else { return Ok(()) };
    if let Some(attributes) = spec.dict() {
        for (key, _) in attributes {
            let Some(flag) = key.downcast_ref::<PyStr>().and_then(|key| key.to_str()) else { continue };
            if flag.starts_with("allow_") && !Operation::ALL.iter().any(|operation| operation.flag() == flag) {
                let known = Operation::ALL.map(Operation::flag).join(", ");
                let message = format!("the spec of {name:?} has an unknown flag {flag:?}; the flags are {known}");
                return Err(vm.new_value_error(message));
            }
        }
    }
    for other in Operation::ALL {
        let Some(value) = vm.get_attribute_opt(&spec, other.flag())? else { continue };
        if !value.class().is(vm.ctx.types.bool_type) {
            let message = format!("{} of {name:?} must be True or False, not {}", other.flag(), value.class().name());
            return Err(vm.new_type_error(message));
        }
        if other == operation && !force && !value.try_to_bool(vm)? {
            let (verb, flag) = (operation.verb(), operation.flag());
            let message =
                format!("{name:?} does not want to be {verb}ed ({flag} is False); pass force=True to do it anyway");
            return Err(refuse(message, generation, vm));
        }
    }
    Ok(())
}

/// The names of the loaded submodules of `name`, in order.
fn submodules(generation: &Generation, name: &str, vm: &VirtualMachine) -> PyResult<Vec<PyStrRef>> {
    let prefix = format!("{name}.");
    let Ok(modules) = generation.modules(vm)?.downcast::<PyDict>() else { return Ok(Vec::new()) };
    let mut names: Vec<PyStrRef> = modules
        .into_iter()
        .filter(|(_, module)| !vm.is_none(module))
        .filter_map(|(name, _)| name.downcast::<PyStr>().ok())
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with(&prefix)))
        .collect();
    names.sort_by_key(|name| name.to_string_lossy().into_owned());
    Ok(names)
}

/// Takes `name` out of a `sys.modules`, if it is there.
fn forget(modules: &PyObjectRef, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<()> {
    match modules.del_item(name, vm) {
        Err(error) if error.fast_isinstance(vm.ctx.exceptions.key_error) => Ok(()),
        result => result,
    }
}

/// `importlib.reload`: runs the module's code again in its namespace, with the flags looked at first.
///
/// # Errors
/// `SpaceError` when the module does not want it or cannot be reloaded, `ImportError` when the space has not imported it
/// or is importing it; what its code raised, with the module as that left it.
pub(crate) fn reload(generation: &Arc<Generation>, target: &PyObjectRef, force: bool, vm: &VirtualMachine) -> PyResult {
    let subject = subject(generation, target, Operation::Reload, force, vm)?;
    let importlib = level::import_module(generation, "importlib", vm)?;
    let module = importlib.get_attr("reload", vm)?.call((subject.module,), vm)?;
    generation.tell(EventKind::Reloaded, subject.name.to_str(), || None);
    Ok(module)
}

/// Takes the module and its submodules out of `sys.modules` and of its package, and frees what nothing holds.
///
/// # Errors
/// As [`reload`]; nothing is unloaded then.
pub(crate) fn unload(
    generation: &Arc<Generation>,
    target: PyObjectRef,
    force: bool,
    vm: &VirtualMachine,
) -> PyResult<UnloadReport> {
    let first = subject(generation, &target, Operation::Unload, force, vm)?;
    drop(target);
    let text = first.name.to_string_lossy().into_owned();
    let mut subjects = Vec::new();
    for name in submodules(generation, &text, vm)? {
        // A module taken from the parent stays the parent's; here it is only forgotten.
        if generation.table.taken_from(&name.to_string_lossy()).is_none() {
            subjects.push(subject(generation, &name.into(), Operation::Unload, force, vm)?);
        }
    }
    subjects.insert(0, first);
    let modules = generation.modules(vm)?;
    for subject in &subjects {
        let name = subject.name.to_string_lossy().into_owned();
        // Another thread may unload it, too.
        forget(&modules, &subject.name, vm)?;
        if let Some((package, child)) = name.rsplit_once('.')
            && let Some(package) = generation.loaded(&vm.ctx.new_str(package), vm)?
            && let Ok(Some(attribute)) = vm.get_attribute_opt(&package, &vm.ctx.new_str(child))
            && attribute.is(&subject.module)
        {
            // A package that does not let go of it will be named as its holder.
            let _ = package.del_attr(&vm.ctx.new_str(child), vm);
        }
        generation.table.unloaded(&name);
        generation.tell(EventKind::Unloaded, Some(&name), || None);
    }
    let mut report = UnloadReport {
        modules: subjects.iter().map(|subject| subject.name.to_string_lossy().into_owned()).collect(),
        ..UnloadReport::default()
    };
    let scope = Scope::of_modules(subjects.iter().map(|subject| subject.module.clone()), report.modules.clone(), vm);
    drop(subjects);
    if let Some(found) = collect::find(&scope, Extent::Process, vm) {
        drop(found.held);
        report.objects = found.garbage.objects().len();
        found.garbage.free();
    }
    report.held = paths::entries(&scope, vm);
    Ok(report)
}

/// Imports the module a second time, with the submodules that are loaded. The first copy stays where it is, for all
/// threads: the second is in the `sys.modules` that the running thread has meanwhile, and afterwards in nobody's.
///
/// # Errors
/// As [`reload`]; what the code raised.
pub(crate) fn reimport(
    generation: &Arc<Generation>,
    target: &PyObjectRef,
    force: bool,
    vm: &VirtualMachine,
) -> PyResult {
    let first = subject(generation, target, Operation::Reimport, force, vm)?;
    let text = first.name.to_string_lossy().into_owned();
    let mut names = submodules(generation, &text, vm)?;
    // A module taken from the parent stays the parent's.
    names.retain(|name| generation.table.taken_from(&name.to_string_lossy()).is_none());
    for name in &names {
        subject(generation, &name.clone().into(), Operation::Reimport, force, vm)?;
    }
    names.insert(0, first.name);
    let copies = second_copies(generation, &text, &names, Copied::Tree(text.clone()), vm, || {
        names
            .iter()
            .map(|name| level::import_module(generation, &name.to_string_lossy(), vm))
            .collect::<PyResult<Vec<_>>>()
    })?;
    copies.into_iter().next().ok_or_else(|| vm.new_system_error("nothing was imported"))
}

/// Frees what belongs to these modules, second copies that nobody needs any more, as far as nothing holds it.
pub(crate) fn free(modules: Vec<PyObjectRef>, names: Vec<String>, vm: &VirtualMachine) {
    free_in(&Scope::of_modules(modules.into_iter(), names, vm), vm);
}

/// [`free`], and what is held all the same. That searches the whole process.
pub(crate) fn free_and_find(modules: Vec<PyObjectRef>, names: Vec<String>, vm: &VirtualMachine) -> Vec<Held> {
    let scope = Scope::of_modules(modules.into_iter(), names, vm);
    free_in(&scope, vm);
    paths::entries(&scope, vm)
}

fn free_in(scope: &Scope, vm: &VirtualMachine) {
    if let Some(found) = collect::find(scope, Extent::Process, vm) {
        drop(found.held);
        found.garbage.free();
    }
}

/// Runs `body` in an import state of this thread's own, in which `names` are not loaded and the modules `copied` are its
/// own. `what` it does that for is said when another thread does the like and waits for this one.
///
/// # Errors
/// What `body` raised.
pub(crate) fn second_copies<R>(
    generation: &Arc<Generation>,
    what: &str,
    names: &[PyStrRef],
    copied: Copied,
    vm: &VirtualMachine,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    // One thread at a time, and no reload of the space meanwhile.
    let Acquired::Lock(turn) = generation.shared.reload_turn(generation.id(), vm)? else {
        let message = format!("cannot import {what:?} a second time: another thread does, and waits for this one");
        return Err(vm.new_import_error(message, vm.ctx.new_str(what)));
    };
    // From here on, `sys.modules` is looked up for the running thread.
    let is_first = super::reload::separate(generation, vm)?;
    let result = aside(generation, names, copied, vm, body);
    if is_first && turn.is_outermost() {
        super::reload::rejoin(generation, vm)?;
    }
    result
}

fn aside<R>(
    generation: &Arc<Generation>,
    names: &[PyStrRef],
    copied: Copied,
    vm: &VirtualMachine,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let state = copy_dict(&generation.import_state(), vm);
    let modules = match generation.modules(vm)?.downcast::<PyDict>() {
        // At once, while other threads import.
        Ok(modules) => copy_dict(&modules, vm).into(),
        Err(modules) => vm.ctx.types.dict_type.as_object().call((modules,), vm)?,
    };
    for name in names {
        // `importlib.reload` takes a module out for a moment.
        forget(&modules, name, vm)?;
    }
    state.set_item("modules", modules, vm)?;
    let _aside = generation.asides.enter(state, Some(copied));
    body()
}
