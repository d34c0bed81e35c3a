//! Finding and loading: CPython's `_find_and_load`, with delegation.

use std::{cell::RefCell, sync::Arc, time::Instant};

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyStr, PyStrInterned, PyStrRef},
};

use crate::{
    event::EventKind,
    vm::{native::bind_in, reads},
};

use super::{
    boot::{self, Importlib},
    context,
    generation::{Generation, Names},
    load,
    locks::{self, Acquired, LockKey},
    policy::Order,
    table::ModuleState,
};

/// A module, and the space whose `sys.modules` has it.
pub(crate) struct Found {
    pub(crate) module: PyObjectRef,
    /// The importing space, or the context space when only that one had the module.
    pub(crate) home: Arc<Generation>,
}

/// Finds `name` for code of `generation`: there, in its ancestors, and then in the context space.
///
/// # Errors
/// `ModuleNotFoundError` naming the spaces that were asked, or what the module raised.
pub(crate) fn find_and_load(generation: &Arc<Generation>, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Found> {
    if let Some(module) = find(generation, name, vm)? {
        return Ok(Found { module, home: Arc::clone(generation) });
    }
    if let Some(home) = context::descendant(generation, vm)?
        && let Some(module) = find(&home, name, vm)?
    {
        return Ok(Found { module, home });
    }
    Err(not_found(generation, name, vm))
}

/// Finds `name` in `generation` or its ancestors; `None` when none of them has it.
pub(crate) fn find(
    generation: &Arc<Generation>,
    name: &Py<PyStr>,
    vm: &VirtualMachine,
) -> PyResult<Option<PyObjectRef>> {
    loop {
        if let Some(module) = generation.loaded(name, vm)? {
            if vm.is_none(&module) {
                return Err(halted(name, vm));
            }
            if !is_initialising(&generation.shared.names, &module, vm)? {
                return Ok(Some(module));
            }
            wait_for(generation, name, vm)?;
            // A failed import takes its module out again; then this one has to try itself.
            if generation.loaded(name, vm)?.is_some_and(|again| again.is(&module)) {
                return Ok(Some(module));
            }
            continue;
        }
        generation.check_open(vm)?;
        let Some(text) = name.to_str() else { return Ok(None) };
        if text == "__main__" && generation.main.get().is_none() {
            return generation.main(vm).map(|main| Some(main.into()));
        }
        let importlib = boot::importlib(generation, vm)?;
        // The package first, before the lock of the submodule is taken: a package that imports its own submodule takes
        // the two locks in that order, too.
        if let Some((package, _)) = text.rsplit_once('.') {
            let package = vm.ctx.new_str(package);
            if vm.with_recursion("importing a package", || find(generation, &package, vm))?.is_none() {
                return Ok(None);
            }
            if generation.loaded(name, vm)?.is_some() {
                continue;
            }
        } else if generation.loaded(name, vm)?.is_some() {
            // Making the import system loaded it.
            continue;
        }
        return match order(generation, text, vm)? {
            Order::Own => own_only(generation, &importlib, name, text, vm),
            Order::Parent => parent(generation, name, text, vm),
            Order::OwnThenParent => own_then_parent(generation, &importlib, name, text, vm),
            Order::ParentThenOwn => match parent(generation, name, text, vm)? {
                Some(module) => Ok(Some(module)),
                None => own_only(generation, &importlib, name, text, vm),
            },
        };
    }
}

/// Who is asked for `name`. A submodule follows its package: that of a package taken from an ancestor comes from
/// there, and that of an own regular package from the package's own `__path__` only, lest two versions of one library
/// mix. An own namespace package may be completed by the parent's portions.
pub(crate) fn order(generation: &Arc<Generation>, name: &str, vm: &VirtualMachine) -> PyResult<Order> {
    let order = generation.policy.order(name);
    let Some((package, _)) = name.rsplit_once('.') else { return Ok(order) };
    let package_name = vm.ctx.new_str(package);
    let Some(module) = generation.loaded(&package_name, vm)? else { return Ok(order) };
    if generation.table.taken_from(package).is_some()
        && let Some(parent) = generation.parent()
        && parent.loaded(&package_name, vm)?.is_some_and(|theirs| theirs.is(&module))
    {
        return Ok(Order::Parent);
    }
    let is_namespace = is_namespace(&generation.shared.names, &module, vm)?;
    Ok(match order {
        Order::OwnThenParent | Order::ParentThenOwn if !is_namespace => Order::Own,
        order => order,
    })
}

/// What the space's own finders made of a name.
enum Own {
    Loaded(PyObjectRef),
    /// They found a directory without an `__init__`, and nothing was loaded.
    Namespace,
    Nothing,
}

/// The space's own finders, then the parent. As on a single `sys.path` (PEP 420), a regular module of the parent goes
/// before an own namespace package: a data directory that happens to be called `yaml` hides nothing.
fn own_then_parent(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    name: &Py<PyStr>,
    text: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<PyObjectRef>> {
    let own = match load(generation, importlib, name, text, false, vm)? {
        Own::Loaded(module) => return Ok(Some(module)),
        own => own,
    };
    let theirs = match generation.parent() {
        Some(parent) => find_above(&parent, name, vm)?.map(|module| (parent, module)),
        None => None,
    };
    match (own, theirs) {
        (Own::Namespace, Some((_, module))) if is_namespace(&generation.shared.names, &module, vm)? => {
            own_only(generation, importlib, name, text, vm)
        }
        (Own::Namespace, None) => own_only(generation, importlib, name, text, vm),
        (_, Some((parent, module))) => adopt(generation, &parent, name, text, module, vm).map(Some),
        (_, None) => Ok(None),
    }
}

/// The space's own finders alone; `None` when they find nothing.
fn own_only(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    name: &Py<PyStr>,
    text: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<PyObjectRef>> {
    match load(generation, importlib, name, text, true, vm)? {
        Own::Loaded(module) => Ok(Some(module)),
        Own::Namespace | Own::Nothing => Ok(None),
    }
}

/// Whether `module` is a namespace package.
fn is_namespace(names: &Names, module: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    let no_file = reads::attribute_opt(module, names.file, vm)?.is_none_or(|file| vm.is_none(&file));
    let path = reads::attribute_opt(module, names.path, vm)?;
    Ok(no_file && path.is_some_and(|path| &*path.class().name() == "_NamespacePath"))
}

/// Loads `name` with the space's own finders, under the module's lock.
fn load(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    name: &Py<PyStr>,
    text: &str,
    namespaces: bool,
    vm: &VirtualMachine,
) -> PyResult<Own> {
    let lock = locks::acquire(LockKey::new(generation.serial, text), vm)?;
    match (lock, generation.loaded(name, vm)?) {
        (_, Some(module)) if !vm.is_none(&module) => Ok(Own::Loaded(module)),
        (_, Some(_)) => Err(halted(name, vm)),
        (Acquired::Lock(_guard), None) => {
            let own = load_own(generation, importlib, name, text, namespaces, vm)?;
            if let Own::Loaded(module) = &own {
                generation.share_loaded(name, module, vm)?;
            }
            Ok(own)
        }
        (Acquired::Deadlock, None) => Err(deadlock(importlib, generation, text, vm)),
    }
}

/// CPython's `_DeadlockError`: the other importer has not even found the module, so there is no partial one to see.
pub(crate) fn deadlock(
    importlib: &Importlib,
    generation: &Generation,
    name: &str,
    vm: &VirtualMachine,
) -> PyBaseExceptionRef {
    let message = format!(
        "deadlock detected: importing {name:?} in the space {:?} waits for a thread that waits for this one",
        generation.name()
    );
    let class = importlib
        .get("_DeadlockError", vm)
        .and_then(|class| class.downcast().map_err(|_| vm.new_type_error("_DeadlockError is not a class")));
    match class {
        Ok(class) => vm.new_exception_msg(class, message.into()),
        Err(error) => error,
    }
}

/// What is loading on this thread: the module's name, its file, and the hash of what was read from it.
struct Loading {
    file: Option<String>,
    hash: Option<[u8; 32]>,
}

thread_local! {
    static LOADING: RefCell<Vec<Loading>> = const { RefCell::new(Vec::new()) };
}

/// Notes the hash of the source that the module being loaded on this thread was made from, if `file` is its file.
pub(crate) fn note_source(file: &str, hash: [u8; 32]) {
    LOADING.with_borrow_mut(|loading| {
        if let Some(top) = loading.last_mut()
            && top.file.as_deref() == Some(file)
        {
            top.hash = Some(hash);
        }
    });
}

/// `_find_and_load_unlocked`: the module's lock is held, its package is loaded.
fn load_own(
    generation: &Arc<Generation>,
    importlib: &Importlib,
    name: &Py<PyStr>,
    text: &str,
    namespaces: bool,
    vm: &VirtualMachine,
) -> PyResult<Own> {
    let package = match text.rsplit_once('.') {
        Some((package, child)) => Some(Package::of(generation, package, child, name, vm)?),
        None => None,
    };
    if let Some(module) = generation.loaded(name, vm)? {
        return Ok(Own::Loaded(module));
    }
    let path = package.as_ref().map_or_else(|| vm.ctx.none(), |package| package.path.clone());
    let spec = load::find_spec(generation, importlib, name, path, vm.ctx.none(), vm)?;
    if vm.is_none(&spec) {
        return Ok(Own::Nothing);
    }
    if !namespaces && is_namespace_spec(&spec, vm)? {
        return Ok(Own::Namespace);
    }
    // It patches a native class, unless the interpreter's own did before.
    if text == "ast" {
        super::project::hidden_module(text, vm)?;
    }
    let module = tracked(generation, importlib, text, &spec, vm, || load_spec(importlib, &spec, package.as_ref(), vm))?;
    if generation.asides.copies(text) != Some(true) {
        generation.table.end_with(text, std::ptr::from_ref::<PyObject>(&module).addr());
    }
    tracing::trace!(space = generation.name(), module = text, "imported");
    if text == "importlib.util" {
        for def in generation.shared.util.get().copied().unwrap_or_default() {
            module.set_attr(def.name, bind_in(def, generation.key.clone(), "modspace", vm)?, vm)?;
        }
    }
    // Of a second copy, only the copied package knows.
    if let Some(package) = package.filter(|package| {
        generation.asides.copies(text) != Some(true) || generation.asides.copies(&package.name) == Some(true)
    }) {
        package.bind(generation, importlib, &module, vm)?;
    }
    Ok(Own::Loaded(module))
}

/// The hash of a regular file. An origin may be anything, a pipe among it.
fn hash_of_file(file: &str, vm: &VirtualMachine) -> Option<[u8; 32]> {
    let bytes = vm.allow_threads(|| {
        let is_file = std::fs::metadata(file).is_ok_and(|file| file.is_file());
        is_file.then(|| std::fs::read(file).ok()).flatten()
    });
    bytes.map(|bytes| *blake3::hash(&bytes).as_bytes())
}

/// Whether `spec` is that of a namespace package: nothing to execute, only places to look in.
fn is_namespace_spec(spec: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    let absent = |name: &'static str| spec.get_attr(name, vm).map(|value| vm.is_none(&value));
    Ok(absent("origin")?
        && !absent("submodule_search_locations")?
        && loader_name(spec, vm).is_none_or(|name| name == "NamespaceLoader"))
}

/// Runs `load`, which executes the module `name` that `spec` describes, and notes in the module table what came of it.
pub(crate) fn tracked(
    generation: &Generation,
    importlib: &Importlib,
    name: &str,
    spec: &PyObject,
    vm: &VirtualMachine,
    load: impl FnOnce() -> PyResult,
) -> PyResult {
    // The table tells of what is in `sys.modules`, which a second copy never is.
    if generation.asides.copies(name) == Some(true) {
        return load();
    }
    let started = Instant::now();
    let origin = text_attribute(spec, "origin", vm);
    generation.table.begin(name, origin.clone(), loader_name(spec, vm));
    let file = origin.filter(|_| importlib.has_location(spec, vm).unwrap_or(false));
    LOADING.with_borrow_mut(|loading| loading.push(Loading { file, hash: None }));
    let result = load();
    let loading = LOADING.with_borrow_mut(Vec::pop);
    if let Some(Loading { file, hash }) = loading
        && let Some(hash) = hash.or_else(|| hash_of_file(&file?, vm))
    {
        generation.table.set_source_hash(name, hash);
    }
    let state = if result.is_ok() { ModuleState::Ready } else { ModuleState::Failed };
    generation.table.finish(name, state, started.elapsed());
    match &result {
        Ok(_) => generation.tell(EventKind::Imported, Some(name), || None),
        Err(error) => generation.tell(EventKind::Failed, Some(name), || Some(brief(error, vm))),
    }
    result
}

/// The class and message of an exception.
fn brief(error: &PyBaseExceptionRef, vm: &VirtualMachine) -> String {
    let message = error.as_object().str(vm).map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    format!("{}: {message}", error.class().name())
}

fn load_spec(importlib: &Importlib, spec: &PyObjectRef, package: Option<&Package>, vm: &VirtualMachine) -> PyResult {
    // Tells "partially initialised" from "no such attribute" in error messages while the submodule loads.
    let uninitialised = match package {
        Some(package) if !vm.is_none(&package.spec) => {
            let list = package.spec.get_attr("_uninitialized_submodules", vm)?;
            vm.call_method(&list, "append", (package.child.clone(),))?;
            Some(list)
        }
        _ => None,
    };
    // By its name: a program may have put another one there.
    let module = importlib.get("_load_unlocked", vm)?.call((spec.clone(),), vm);
    if let Some(list) = uninitialised {
        vm.call_method(&list, "pop", ())?;
    }
    module
}

/// The package of a submodule that is being loaded.
struct Package {
    name: String,
    child: PyStrRef,
    path: PyObjectRef,
    spec: PyObjectRef,
}

impl Package {
    fn of(
        generation: &Arc<Generation>,
        package: &str,
        child: &str,
        name: &Py<PyStr>,
        vm: &VirtualMachine,
    ) -> PyResult<Self> {
        let key = vm.ctx.new_str(package);
        let module = generation.loaded(&key, vm)?.ok_or_else(|| vm.new_key_error(key.clone().into()))?;
        let Some(path) = vm.get_attribute_opt(&module, "__path__")? else {
            let message = format!("No module named {}; {} is not a package", quoted(name, vm), quoted(&key, vm));
            return Err(module_not_found(message, name, vm));
        };
        let spec = module.get_attr("__spec__", vm)?;
        Ok(Self { name: package.to_owned(), child: vm.ctx.new_str(child), path, spec })
    }

    /// Sets the submodule as an attribute of its package.
    fn bind(
        self,
        generation: &Generation,
        importlib: &Importlib,
        module: &PyObjectRef,
        vm: &VirtualMachine,
    ) -> PyResult<()> {
        let key = vm.ctx.new_str(self.name.as_str());
        let package = generation.loaded(&key, vm)?.ok_or_else(|| vm.new_key_error(key.into()))?;
        match package.set_attr(&self.child, module.clone(), vm) {
            Err(error) if error.fast_isinstance(vm.ctx.exceptions.attribute_error) => {
                let message =
                    format!("Cannot set an attribute on '{}' for child module '{}'", self.name, self.child.as_wtf8());
                let warnings = importlib.get("_warnings", vm)?;
                let category = vm.ctx.exceptions.import_warning.to_owned();
                vm.call_method(&warnings, "warn", (message, category)).map(drop)
            }
            result => result,
        }
    }
}

/// Takes `name` from the parent, which finds it by its own rules.
fn parent(
    generation: &Arc<Generation>,
    name: &Py<PyStr>,
    text: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<PyObjectRef>> {
    let Some(parent) = generation.parent() else { return Ok(None) };
    match find_above(&parent, name, vm)? {
        Some(module) => adopt(generation, &parent, name, text, module, vm).map(Some),
        None => Ok(None),
    }
}

/// [`find`] in a parent; a chain of spaces is as deep as somebody made it.
fn find_above(parent: &Arc<Generation>, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    vm.with_recursion("importing from a parent space", || find(parent, name, vm))
}

/// Enters a module of the parent into the space's `sys.modules`.
fn adopt(
    generation: &Generation,
    parent: &Generation,
    name: &Py<PyStr>,
    text: &str,
    module: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    // Another thread, or the module itself, may have set something here meanwhile: that stands.
    if let Some(present) = generation.loaded(name, vm)? {
        return Ok(present);
    }
    generation.modules(vm)?.set_item(name, module.clone(), vm)?;
    generation.table.taken(text, parent.id(), parent.table.get(text));
    generation.table.end_with(text, std::ptr::from_ref::<PyObject>(&module).addr());
    if let Some((package, child)) = text.rsplit_once('.')
        && generation.table.taken_from(package).is_none()
        && let Some(package) = generation.loaded(&vm.ctx.new_str(package), vm)?
    {
        package.set_attr(&vm.ctx.new_str(child), module.clone(), vm)?;
    }
    Ok(module)
}

/// Whether the module's code is running for the first time (`__spec__._initializing`).
pub(crate) fn is_initialising(names: &Names, module: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    // Nearly every module and spec has these in its dict; anything else is asked as Python would ask it.
    let attribute = |object: &PyObject, name: &'static PyStrInterned| match object.dict() {
        Some(dict) => match dict.get_item_opt(name, vm)? {
            Some(value) => Ok(Some(value)),
            None => vm.get_attribute_opt(object, name),
        },
        None => vm.get_attribute_opt(object, name),
    };
    let Some(spec) = attribute(module, names.spec)? else { return Ok(false) };
    if vm.is_none(&spec) {
        return Ok(false);
    }
    attribute(&spec, names.initialising)?.map_or(Ok(false), |flag| flag.try_to_bool(vm))
}

/// `_lock_unlock_module`: waits until nobody loads `name`, or returns at once when that would never happen.
pub(crate) fn wait_for(generation: &Generation, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<()> {
    let Some(text) = name.to_str() else { return Ok(()) };
    // A module taken from an ancestor is locked there.
    let serial = match generation.table.taken_from(text).and_then(|id| generation.shared.node(id)) {
        Some(owner) => owner.current().map_or(generation.serial, |owner| owner.serial),
        None => generation.serial,
    };
    match locks::acquire(LockKey::new(serial, text), vm)? {
        Acquired::Lock(_) | Acquired::Deadlock => Ok(()),
    }
}

/// `str(getattr(object, name))`, when that is a string.
fn text_attribute(object: &PyObject, name: &'static str, vm: &VirtualMachine) -> Option<String> {
    let value = object.get_attr(name, vm).ok()?;
    value.downcast_ref::<PyStr>().map(|text| text.to_string_lossy().into_owned())
}

fn loader_name(spec: &PyObject, vm: &VirtualMachine) -> Option<String> {
    let loader = spec.get_attr("loader", vm).ok().filter(|loader| !vm.is_none(loader))?;
    Some(match loader.downcast_ref::<rustpython_vm::builtins::PyType>() {
        Some(class) => class.name().to_string(),
        None => loader.class().name().to_string(),
    })
}

/// `repr(name)`.
fn quoted(name: &Py<PyStr>, vm: &VirtualMachine) -> String {
    let quoted = name.as_object().repr(vm);
    quoted.map_or_else(|_| "?".to_owned(), |quoted| quoted.to_string_lossy().into_owned())
}

fn halted(name: &Py<PyStr>, vm: &VirtualMachine) -> PyBaseExceptionRef {
    module_not_found(format!("import of {} halted; None in sys.modules", name.to_string_lossy()), name, vm)
}

fn module_not_found(message: String, name: &Py<PyStr>, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let error = vm.new_exception_msg(vm.ctx.exceptions.module_not_found_error.to_owned(), message.into());
    // A built-in exception takes any attribute.
    let _ = error.as_object().set_attr("name", name.to_owned(), vm);
    error
}

/// How many entries of a `sys.path` an error lists.
const LISTED: usize = 4;

/// `ModuleNotFoundError` for the first package of `name` that nobody has, with a note that says who was asked.
fn not_found(generation: &Arc<Generation>, name: &Py<PyStr>, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let missing = name.to_str().and_then(|text| {
        let prefixes = text.match_indices('.').map(|(dot, _)| &text[..dot]);
        prefixes.map(|prefix| vm.ctx.new_str(prefix)).find(|prefix| matches!(generation.loaded(prefix, vm), Ok(None)))
    });
    let missing = missing.as_deref().unwrap_or(name);
    let error = module_not_found(format!("No module named {}", quoted(missing, vm)), missing, vm);
    let mut asked = Vec::new();
    let mut next = Some(Arc::clone(generation));
    while let Some(current) = next {
        asked.push(format!("{:?} ({})", current.name(), looked_in(&current, vm)));
        let order = missing.to_str().map_or(Order::Own, |text| current.policy.order(text));
        next = if order == Order::Own { None } else { current.parent() };
    }
    let note = format!("modspace: looked in the space {}", asked.join(", then in "));
    // The note explains; without it the error is still the right one.
    let _ = vm.call_method(error.as_object(), "add_note", (note,));
    error
}

fn looked_in(generation: &Generation, vm: &VirtualMachine) -> String {
    let entries =
        generation.sys_dict.get_item("path", vm).ok().and_then(|path| path.try_to_value::<Vec<PyObjectRef>>(vm).ok());
    let Some(entries) = entries else { return "sys.path is not a list".to_owned() };
    if entries.is_empty() {
        return "sys.path is empty".to_owned();
    }
    let mut shown: Vec<String> = entries
        .iter()
        .take(LISTED)
        .map(|entry| entry.repr(vm).map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned()))
        .collect();
    if entries.len() > LISTED {
        shown.push(format!("{} more", entries.len() - LISTED));
    }
    format!("sys.path: {}", shown.join(", "))
}
