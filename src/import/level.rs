//! `__import__`: CPython's `PyImport_ImportModuleLevelObject`, for one space.

use std::sync::{Arc, atomic::Ordering};

use rustpython_vm::{
    AsObject, FromArgs, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyInt, PyStr, PyStrRef, PyTuple},
    function::FuncArgs,
    identifier,
};

use super::{
    boot, context, find,
    generation::Generation,
    table::{ImportSite, Importer},
};
use crate::vm::reads;

#[derive(FromArgs)]
pub(crate) struct ImportArgs {
    #[pyarg(any)]
    pub(crate) name: PyObjectRef,
    #[pyarg(any, default)]
    pub(crate) globals: Option<PyObjectRef>,
    #[pyarg(any, default)]
    pub(crate) _locals: Option<PyObjectRef>,
    #[pyarg(any, default)]
    pub(crate) fromlist: Option<PyObjectRef>,
    #[pyarg(any, default)]
    pub(crate) level: i32,
}

impl ImportArgs {
    /// An import statement passes exactly five positional arguments; everything else is bound by the signature.
    fn of(mut args: FuncArgs, vm: &VirtualMachine) -> PyResult<Self> {
        if let (true, [_, _, _, _, level]) = (args.kwargs.is_empty(), &*args.args)
            && let Some(level) = level.downcast_ref_if_exact::<PyInt>(vm)
        {
            let level = level.try_to_primitive(vm)?;
            let mut given = args.args.drain(..);
            if let Some(name) = given.next() {
                return Ok(Self { name, globals: given.next(), _locals: given.next(), fromlist: given.next(), level });
            }
        }
        args.bind(vm)
    }
}

/// `__import__(name, globals, locals, fromlist, level)` in `generation`.
pub(crate) fn import(generation: &Arc<Generation>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let args = ImportArgs::of(args, vm)?;
    let name = args.name.downcast_ref::<PyStr>().ok_or_else(|| vm.new_type_error("module name must be a string"))?;
    let globals = args.globals.as_deref();
    let fromlist = match &args.fromlist {
        Some(fromlist) if !vm.is_none(fromlist) && fromlist.clone().try_to_bool(vm)? => Some(fromlist),
        _ => None,
    };
    let absolute = absolute_name(generation, name, globals, args.level, vm)?;
    // Code that has `sys` may take its import system apart, which has to be there for that.
    if !generation.booted.load(Ordering::Relaxed)
        && absolute.as_bytes() == b"sys"
        && generation.importlib.load().is_none()
        && generation.life.is_open()
    {
        boot::importlib(generation, vm)?;
    }
    let loaded = match generation.loaded(&absolute, vm)? {
        Some(module) if !vm.is_none(&module) && !find::is_initialising(&generation.shared.names, &module, vm)? => {
            find::Found { module, home: Arc::clone(generation) }
        }
        _ => find::find_and_load(generation, &absolute, vm)?,
    };
    let statement = Statement { name, level: args.level, fromlist };
    record(&loaded.home, &absolute, globals, &statement, vm);
    match fromlist {
        Some(fromlist) => {
            let module = with_submodules(generation, loaded, fromlist, &absolute, vm)?;
            if takes_all(fromlist) { reads::for_star(module, vm) } else { Ok(module) }
        }
        None => first_package(&loaded, name, &absolute, args.level, vm),
    }
}

/// Whether a from-list is that of `import *`.
fn takes_all(fromlist: &PyObject) -> bool {
    let names = fromlist.downcast_ref::<PyTuple>().map_or(&[][..], |names| names.as_slice());
    matches!(names, [name] if name.downcast_ref::<PyStr>().is_some_and(|name| name.as_bytes() == b"*"))
}

/// Imports the submodules that a from-list names, if the module is a package; returns the module.
fn with_submodules(
    generation: &Generation,
    loaded: find::Found,
    fromlist: &PyObjectRef,
    absolute: &PyStrRef,
    vm: &VirtualMachine,
) -> PyResult {
    // Only a package can have submodules to import.
    if reads::attribute_opt(&loaded.module, generation.shared.names.path, vm)?.is_none() {
        return Ok(loaded.module);
    }
    if has_all(&loaded.module, fromlist, vm)? {
        return Ok(loaded.module);
    }
    if let Some(below) = context::descendant(&loaded.home, vm)?
        && only_below(&loaded, fromlist, absolute, &below, vm)?
    {
        return from_package(&find::find_and_load(&below, absolute, vm)?, fromlist, vm);
    }
    from_package(&loaded, fromlist, vm)
}

/// Imports the submodules that a from-list names, and returns the package (`_handle_fromlist`).
fn from_package(package: &find::Found, fromlist: &PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let find::Found { module, home } = package;
    let importlib = boot::importlib(home, vm)?;
    let names: Option<Vec<(&Py<PyStr>, &str)>> = fromlist.downcast_ref::<PyTuple>().and_then(|names| {
        let names = names.iter().map(|name| {
            let name = name.downcast_ref::<PyStr>()?;
            Some((name, name.to_str().filter(|text| *text != "*")?))
        });
        names.collect()
    });
    let package = module.get_attr(identifier!(vm, __name__), vm).ok();
    let package = package.as_ref().and_then(|name| name.downcast_ref_if_exact::<PyStr>(vm)?.to_str());
    let (Some(names), Some(package), true) = (names, package, importlib.has_own_steps(vm)) else {
        let import = importlib.get("_gcd_import", vm)?;
        return importlib.get("_handle_fromlist", vm)?.call((module.clone(), fromlist.clone(), import), vm);
    };
    for (name, text) in names {
        if reads::attribute_opt(module, name, vm)?.is_some() {
            continue;
        }
        let submodule = vm.ctx.new_str(format!("{package}.{text}"));
        if let Err(error) = find::find_and_load(home, &submodule, vm)
            && !is_missing(&error, home, &submodule, vm)?
        {
            return Err(error);
        }
    }
    Ok(module.clone())
}

/// Whether an error says that there is no module of this name, and nobody has forbidden it by a None in `sys.modules`.
fn is_missing(
    error: &PyBaseExceptionRef,
    generation: &Generation,
    name: &Py<PyStr>,
    vm: &VirtualMachine,
) -> PyResult<bool> {
    if !error.fast_isinstance(vm.ctx.exceptions.module_not_found_error) {
        return Ok(false);
    }
    let about = error.as_object().get_attr("name", vm)?;
    let is_forbidden = || PyResult::Ok(generation.loaded(name, vm)?.is_some_and(|module| vm.is_none(&module)));
    Ok(vm.bool_eq(&about, name.as_object())? && !is_forbidden()?)
}

/// Whether a from-list names a submodule that `package` does not have, nor anything above it, but the context space
/// `below`. Its own package of that name then answers, because nothing is bound above.
fn only_below(
    package: &find::Found,
    fromlist: &PyObject,
    name: &Py<PyStr>,
    below: &Arc<Generation>,
    vm: &VirtualMachine,
) -> PyResult<bool> {
    let Some(names) = fromlist.downcast_ref::<PyTuple>() else { return Ok(false) };
    for item in names {
        let Some(item) = item.downcast_ref::<PyStr>() else { return Ok(false) };
        if item.as_bytes() == b"*" || reads::attribute_opt(&package.module, item, vm)?.is_some() {
            continue;
        }
        let submodule = vm.ctx.new_str(format!("{}.{}", name.to_string_lossy(), item.to_string_lossy()));
        if find::find(&package.home, &submodule, vm)?.is_none() && find::find(below, &submodule, vm)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether every name of a from-list is an attribute already, so that nothing is left to import. Anything unusual
/// (`*`, names that are no strings) is left to importlib.
fn has_all(module: &PyObject, fromlist: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    let Some(names) = fromlist.downcast_ref::<PyTuple>() else { return Ok(false) };
    for name in names {
        let Some(name) = name.downcast_ref::<PyStr>() else { return Ok(false) };
        if name.as_bytes() == b"*" || reads::attribute_opt(module, name, vm)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What `import a.b.c` binds: `a`; for a relative import, the package that the first part names.
fn first_package(
    loaded: &find::Found,
    name: &Py<PyStr>,
    absolute: &Py<PyStr>,
    level: i32,
    vm: &VirtualMachine,
) -> PyResult {
    let (Some(name), Some(absolute)) = (name.to_str(), absolute.to_str()) else { return Ok(loaded.module.clone()) };
    let Some(dot) = name.find('.') else { return Ok(loaded.module.clone()) };
    let cut = absolute.len() - (name.len() - dot);
    let first = vm.ctx.new_str(&absolute[..cut]);
    match loaded.home.loaded(&first, vm)? {
        Some(module) if vm.is_none(&module) => find::find_and_load(&loaded.home, &first, vm).map(|found| found.module),
        Some(module) => Ok(module),
        None if level == 0 => find::find_and_load(&loaded.home, &first, vm).map(|found| found.module),
        None => {
            let message = format!("'{}' not in sys.modules as expected", first.as_wtf8());
            Err(vm.new_key_error(vm.ctx.new_str(message).into()))
        }
    }
}

/// `import_module(name)` for native code: the module itself, not its first package.
pub(crate) fn import_module(generation: &Arc<Generation>, name: &str, vm: &VirtualMachine) -> PyResult {
    find::find_and_load(generation, &vm.ctx.new_str(name), vm).map(|found| found.module)
}

/// The absolute name that an import means (PEP 328).
fn absolute_name(
    generation: &Arc<Generation>,
    name: &Py<PyStr>,
    globals: Option<&PyObject>,
    level: i32,
    vm: &VirtualMachine,
) -> PyResult<PyStrRef> {
    if level < 0 {
        return Err(vm.new_value_error("level must be >= 0"));
    }
    if level == 0 {
        if name.as_bytes().is_empty() {
            return Err(vm.new_value_error("Empty module name"));
        }
        return Ok(name.to_owned());
    }
    let no_parent =
        || vm.new_import_error("attempted relative import with no known parent package", vm.ctx.new_str(""));
    let Some(globals) = globals else {
        return Err(vm.new_key_error(vm.ctx.new_str("'__name__' not in globals").into()));
    };
    let package = if vm.is_none(globals) { None } else { Some(package_of(generation, globals, vm)?) };
    let package = package.filter(|package| !package.as_bytes().is_empty()).ok_or_else(no_parent)?;
    let (Some(package), Some(name)) = (package.to_str(), name.to_str()) else {
        return Err(vm.new_import_error(format!("No module named '{}'", name.as_wtf8()), name.to_owned()));
    };
    let mut base = package;
    for _ in 1..level {
        base = base.rsplit_once('.').map(|(rest, _)| rest).ok_or_else(|| {
            vm.new_import_error("attempted relative import beyond top-level package", vm.ctx.new_str(name))
        })?;
    }
    Ok(vm.ctx.new_str(if name.is_empty() { base.to_owned() } else { format!("{base}.{name}") }))
}

/// The package that relative imports of a module start from, by CPython's rules (`resolve_name` in `Python/import.c`).
fn package_of(generation: &Arc<Generation>, globals: &PyObject, vm: &VirtualMachine) -> PyResult<PyStrRef> {
    let item = |name: &'static str| globals.get_item(name, vm).ok().filter(|value| !vm.is_none(value));
    let spec = item("__spec__");
    if let Some(package) = item("__package__") {
        let package: PyStrRef = package.downcast().map_err(|_| vm.new_type_error("package must be a string"))?;
        if let Some(spec) = spec
            && let Ok(parent) = spec.get_attr("parent", vm)
            && !vm.bool_eq(package.as_object(), &parent)?
        {
            let message = format!(
                "__package__ != __spec__.parent ({} != {})",
                package.as_object().repr(vm)?.to_string_lossy(),
                parent.repr(vm)?.to_string_lossy()
            );
            warn(generation, message, vm.ctx.exceptions.deprecation_warning, vm)?;
        }
        return Ok(package);
    }
    if let Some(spec) = spec
        && let Some(parent) = vm.get_attribute_opt(&spec, "parent")?.filter(|parent| !vm.is_none(parent))
    {
        return parent.downcast().map_err(|_| vm.new_type_error("__spec__.parent must be a string"));
    }
    let message = "can't resolve package from __spec__ or __package__, falling back on __name__ and __path__";
    warn(generation, message.to_owned(), vm.ctx.exceptions.import_warning, vm)?;
    let name = globals
        .get_item("__name__", vm)
        .map_err(|_| vm.new_key_error(vm.ctx.new_str("'__name__' not in globals").into()))?;
    let name: PyStrRef = name.downcast().map_err(|_| vm.new_type_error("__name__ must be a string"))?;
    if globals.get_item("__path__", vm).is_ok() {
        return Ok(name);
    }
    let package = name.to_str().and_then(|name| name.rsplit_once('.')).map_or("", |(package, _)| package);
    Ok(vm.ctx.new_str(package))
}

fn warn(
    generation: &Arc<Generation>,
    message: String,
    category: &'static Py<rustpython_vm::builtins::PyType>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let warnings = import_module(generation, "_warnings", vm)?;
    vm.call_method(&warnings, "warn", (message, category.to_owned())).map(drop)
}

/// An import statement, as its code has it.
struct Statement<'args> {
    name: &'args Py<PyStr>,
    level: i32,
    fromlist: Option<&'args PyObjectRef>,
}

/// Notes in the module table who imports what, once for each import statement.
fn record(
    generation: &Generation,
    name: &Py<PyStr>,
    globals: Option<&PyObject>,
    statement: &Statement<'_>,
    vm: &VirtualMachine,
) {
    let fromlist = statement.fromlist;
    let Some(globals) = globals.and_then(|globals| globals.downcast_ref::<PyDict>()) else { return };
    let Ok(Some(importer)) = globals.get_item_opt(identifier!(vm, __name__), vm) else { return };
    let site = ImportSite {
        importer,
        name: statement.name.to_owned().into(),
        level: statement.level,
        names: fromlist.cloned(),
    };
    if !generation.table.is_new_site(&site, vm) {
        return;
    }
    let text = |object: &PyObject| object.downcast_ref::<PyStr>().map(|text| text.to_string_lossy().into_owned());
    let (Some(module), Some(name)) = (text(&site.importer), name.to_str()) else { return };
    let names = fromlist
        .and_then(|names| names.downcast_ref::<PyTuple>())
        .map(|names| names.iter().filter_map(|name| text(name)).collect())
        .unwrap_or_default();
    generation.table.imported(name, Importer { module, names });
}
