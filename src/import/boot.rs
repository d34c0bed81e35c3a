//! A space's own copy of importlib.
//!
//! The frozen `_frozen_importlib` and `_frozen_importlib_external` are executed anew in dicts whose builtins are the
//! space's, and bound to the space's `sys`. That takes milliseconds, so it happens when something first needs it: an
//! import that is not in `sys.modules`, or a look at `sys.meta_path`, `path_hooks` or `path_importer_cache`.
//!
//! A handful of functions of the copy are then replaced by native ones bound to the space. Everything else of
//! importlib (`import_module`, `reload`, finders, loaders, `util`) is its own Python code, and reaches these by name.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use rustpython_vm::{
    AsObject, PyObject, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyModule},
    function::{ArgMapping, PyMethodDef},
    scope::Scope,
    vm::resolve_frozen_alias,
};

use super::{
    generation::Generation,
    hooks, load,
    locks::{self, Acquired, LockKey},
    project,
    search::Finders,
    source::{self, SourceLoader},
    untouched::Untouched,
};
use crate::vm::native::{bind, copy_dict, module_over};

/// A space's copy of `_frozen_importlib`.
pub(crate) struct Importlib {
    pub(crate) dict: PyDictRef,
    made: OnceLock<Made>,
}

/// What the copy was when it was made.
pub(crate) struct Made {
    pub(crate) source_loader: SourceLoader,
    pub(crate) finders: Finders,
    /// [`load::STEPS`].
    steps: Untouched,
}

impl Importlib {
    pub(crate) fn get(&self, name: &str, vm: &VirtualMachine) -> PyResult {
        self.dict.get_item(name, vm)
    }

    /// `None` while it is being made.
    pub(crate) fn made(&self) -> Option<&Made> {
        self.made.get()
    }

    /// The finders, and what they make, as long as no program has changed them.
    pub(crate) fn finders(&self, vm: &VirtualMachine) -> Option<&Finders> {
        self.made().map(|made| &made.finders).filter(|finders| finders.are_untouched(vm))
    }

    /// `spec.has_location`.
    pub(crate) fn has_location(&self, spec: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
        match self.finders(vm).and_then(|finders| finders.has_location(spec, vm)) {
            Some(has_location) => has_location.try_to_bool(vm),
            None => spec.get_attr("has_location", vm)?.try_to_bool(vm),
        }
    }

    fn note(&self, external: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
        let _ = self.made.set(Made {
            source_loader: SourceLoader::note(external, vm)?,
            finders: Finders::note(&self.dict, external, vm)?,
            steps: Untouched::note(&self.dict, &load::STEPS, vm)?,
        });
        Ok(())
    }

    /// Whether no program has put functions of its own in the place of those that loading a module consists of.
    pub(crate) fn has_own_steps(&self, vm: &VirtualMachine) -> bool {
        self.made().is_none_or(|made| made.steps.holds(vm))
    }
}

/// The native functions of the space that stand in the copy, under these names.
static BOOTSTRAP: [PyMethodDef; 8] = [
    hooks::EXEC,
    hooks::FIND_AND_LOAD,
    hooks::FIND_AND_LOAD_UNLOCKED,
    hooks::FIND_SPEC,
    hooks::LOCK_UNLOCK_MODULE,
    hooks::ACQUIRE_MODULE_LOCK,
    hooks::RELEASE_MODULE_LOCK,
    load::LOAD_UNLOCKED,
];

static EXTERNAL: [PyMethodDef; 5] = [
    hooks::COMPILE,
    hooks::COMPILE_BYTECODE,
    hooks::VALIDATE_TIMESTAMP_PYC,
    source::CODE_OF_FILE,
    source::CODE_WAS_READ,
];

static FROZEN_IMPORTER: [PyMethodDef; 2] = [hooks::CREATE_FROZEN, hooks::EXEC_FROZEN];

/// A `_ModuleLockManager` over the native locks, for `importlib.reload`.
const MODULE_LOCK_MANAGER: &str = include_str!("../../spaces/boot/module_lock_manager.py");

/// A `SourceFileLoader.get_code` that first asks for what is known.
const SOURCE_FILE_LOADER: &str = include_str!("../../spaces/boot/source_file_loader.py");

/// The space's importlib, made now if nothing needed it before.
pub(crate) fn importlib(generation: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<Arc<Importlib>> {
    if generation.booted.load(Ordering::Acquire)
        && let Some(importlib) = generation.importlib.load_full()
    {
        return Ok(importlib);
    }
    generation.check_open(vm)?;
    let key = LockKey::new(generation.serial, "_frozen_importlib");
    let Acquired::Lock(_guard) = locks::acquire(key, vm)? else {
        return Err(vm.new_import_error(
            format!("the import system of the space {:?} is still being made", generation.name()),
            vm.ctx.new_str("_frozen_importlib"),
        ));
    };
    // Made while this thread waited, or being made further down this thread's stack.
    if let Some(importlib) = generation.importlib.load_full() {
        return Ok(importlib);
    }
    let made = make(generation, vm);
    match made {
        Ok(_) => generation.booted.store(true, Ordering::Release),
        // An interrupt in the middle: the next import starts again.
        Err(_) => generation.importlib.store(None),
    }
    made
}

fn make(generation: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<Arc<Importlib>> {
    let _span = tracing::debug_span!("boot", space = generation.name()).entered();
    generation.boot_began.store(true, Ordering::Release);
    generation.booting.store(true, Ordering::Release);
    let made = Provisional::new(generation, vm).and_then(|provisional| {
        let aside = generation.asides.enter(provisional.dict.clone(), None);
        let (made, external) = assemble(generation, &provisional, vm)?;
        drop(aside);
        provisional.publish(generation, vm)?;
        made.note(&external, vm)?;
        Ok(made)
    });
    generation.booting.store(false, Ordering::Release);
    made
}

/// The copy, and the dict of its other half.
fn assemble(
    generation: &Arc<Generation>,
    provisional: &Provisional,
    vm: &VirtualMachine,
) -> PyResult<(Arc<Importlib>, PyDictRef)> {
    let (bootstrap, dict) = execute_frozen(generation, "_frozen_importlib", vm)?;
    let importlib = Arc::new(Importlib { dict: dict.clone(), made: OnceLock::new() });
    run(generation, MODULE_LOCK_MANAGER, "<frozen importlib._bootstrap.locks>", &dict, vm)?;
    install(&BOOTSTRAP, &dict, generation, vm)?;
    generation.importlib.store(Some(Arc::clone(&importlib)));

    let modules = &provisional.modules;
    modules.set_item("_frozen_importlib", bootstrap.into(), vm)?;
    let imp = project::create(generation, "_imp", vm)?;
    modules.set_item("_imp", imp.clone().into(), vm)?;
    project::fill(generation, &imp, "_imp", vm)?;
    let importer = dict.get_item("FrozenImporter", vm)?;
    for def in &FROZEN_IMPORTER {
        let native = bind(def, generation.key.clone(), vm);
        let original = importer.get_attr(def.name, vm)?;
        importer.set_attr(vm.ctx.intern_str(format!("_plain_{}", def.name)), original, vm)?;
        importer.set_attr(def.name, native, vm)?;
    }
    importlib.get("_install", vm)?.call((provisional.sys.clone(), imp), vm)?;
    importlib.get("_install_external_importers", vm)?.call((), vm)?;
    let external = modules.get_item("_frozen_importlib_external", vm)?;
    let external: PyDictRef = external
        .get_attr("__dict__", vm)?
        .downcast()
        .map_err(|_| vm.new_type_error("importlib's external half has no dict"))?;
    install(&EXTERNAL, &external, generation, vm)?;
    run(generation, SOURCE_FILE_LOADER, "<frozen importlib._bootstrap_external>", &external, vm)?;
    let zipimport = super::level::import_module(generation, "zipimport", vm)?;
    let path_hooks = provisional.dict.get_item("path_hooks", vm)?;
    vm.call_method(&path_hooks, "insert", (0, zipimport.get_attr("zipimporter", vm)?))?;
    Ok((importlib, external))
}

/// Puts the space's native functions into a dict of its importlib, keeping what they replace as `_plain_NAME`.
fn install(
    defs: &'static [PyMethodDef],
    dict: &PyDictRef,
    generation: &Generation,
    vm: &VirtualMachine,
) -> PyResult<()> {
    for def in defs {
        if let Some(original) = dict.get_item_opt(def.name, vm)? {
            dict.set_item(&*vm.ctx.new_str(format!("_plain_{}", def.name)), original, vm)?;
        }
        dict.set_item(def.name, bind(def, generation.key.clone(), vm), vm)?;
    }
    Ok(())
}

/// Executes frozen code as the module `name`, without an import system.
pub(crate) fn execute_frozen(
    generation: &Generation,
    name: &str,
    vm: &VirtualMachine,
) -> PyResult<(PyRef<PyModule>, PyDictRef)> {
    let dict = vm.ctx.new_dict();
    dict.set_item("__name__", vm.ctx.new_str(name).into(), vm)?;
    dict.set_item("__builtins__", generation.builtins_dict.clone().into(), vm)?;
    dict.set_item("__origname__", vm.ctx.new_str(resolve_frozen_alias(name)).into(), vm)?;
    let module = module_over(dict.clone(), vm);
    let code = generation.shared.code.frozen(name, vm)?;
    vm.run_code_obj(code, Scope::new(Some(ArgMapping::from_dict_exact(dict.clone())), dict.clone()))?;
    Ok((module, dict))
}

/// Runs `source`, which is part of this program, over `dict`.
pub(crate) fn run(
    generation: &Generation,
    source: &str,
    file: &str,
    dict: &PyDictRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let hash = *blake3::hash(source.as_bytes()).as_bytes();
    let code = generation.shared.code.compiled(file, 0, hash, vm, || {
        let code = vm.compile(source, rustpython_vm::compiler::Mode::Exec, file);
        code.map_err(|error| error.into_pyexception(vm, Some(source)))
    })?;
    vm.run_code_obj(code, Scope::new(Some(ArgMapping::from_dict_exact(dict.clone())), dict.clone()))?;
    Ok(())
}

/// A `sys` of its own for the time in which the import system is made. importlib's set-up works on what it finds in
/// `sys.modules` and on `sys.meta_path`; it must not touch what the program put there, and no other thread is to see
/// either of them half made.
struct Provisional {
    sys: PyRef<PyModule>,
    dict: PyDictRef,
    modules: PyDictRef,
}

impl Provisional {
    fn new(generation: &Generation, vm: &VirtualMachine) -> PyResult<Self> {
        let dict = copy_dict(&generation.sys_dict, vm);
        let sys = module_over(dict.clone(), vm);
        let modules = vm.ctx.new_dict();
        modules.set_item("sys", sys.clone().into(), vm)?;
        modules.set_item("builtins", generation.builtins.clone().into(), vm)?;
        dict.set_item("modules", modules.clone().into(), vm)?;
        dict.set_item("meta_path", vm.ctx.new_list(vec![]).into(), vm)?;
        dict.set_item("path_hooks", vm.ctx.new_list(vec![]).into(), vm)?;
        dict.set_item("path_importer_cache", vm.ctx.new_dict().into(), vm)?;
        Ok(Self { sys, dict, modules })
    }

    /// Puts what was made beside what the program has.
    fn publish(&self, generation: &Generation, vm: &VirtualMachine) -> PyResult<()> {
        let modules = generation.modules(vm)?;
        for (name, module) in self.modules.clone() {
            if let Some(dict) = module.downcast_ref::<PyModule>().map(|module| module.dict())
                && dict.get_item_opt("sys", vm)?.is_some_and(|sys| sys.is(&self.sys))
            {
                dict.set_item("sys", generation.sys.clone().into(), vm)?;
            }
            if modules.get_item(&*name, vm).is_err() {
                modules.set_item(&*name, module, vm)?;
            }
        }
        let state = generation.import_state();
        for name in ["meta_path", "path_hooks", "path_importer_cache"] {
            if !state.contains_key(name, vm) {
                state.set_item(name, self.dict.get_item(name, vm)?, vm)?;
            }
        }
        for name in ["__spec__", "__loader__"] {
            if generation.sys_dict.get_item_opt(name, vm)?.is_some_and(|value| vm.is_none(&value)) {
                generation.sys_dict.set_item(name, self.dict.get_item(name, vm)?, vm)?;
            }
        }
        Ok(())
    }
}
