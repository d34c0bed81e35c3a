//! The native functions that stand in a space's importlib; see [`super::boot`].

use std::sync::Arc;

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, FromArgs, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyBytes, PyCode, PyInt, PyModule, PyStr, PyStrRef},
    function::{FuncArgs, PyMethodDef},
    protocol::{BufferFlags, PyBuffer},
    pyclass,
};

use super::{
    boot, find,
    generation::Generation,
    key::{SpaceKey, closed_function},
    level, load,
    locks::{self, Acquired, Guard, LockKey},
    policy::Order,
    project,
};
use crate::vm::native::{def, payload};

type Key = PyRef<SpaceKey>;

/// The space's `__import__`.
pub(crate) const IMPORT: PyMethodDef = def("__import__", import);
pub(crate) const FIND_AND_LOAD: PyMethodDef = def("_find_and_load", find_and_load);
pub(crate) const FIND_AND_LOAD_UNLOCKED: PyMethodDef = def("_find_and_load_unlocked", find_and_load_unlocked);
pub(crate) const FIND_SPEC: PyMethodDef = def("_find_spec", find_spec);
pub(crate) const LOCK_UNLOCK_MODULE: PyMethodDef = def("_lock_unlock_module", lock_unlock_module);
pub(crate) const ACQUIRE_MODULE_LOCK: PyMethodDef = def("_acquire_module_lock", acquire_module_lock);
pub(crate) const RELEASE_MODULE_LOCK: PyMethodDef = def("_release_module_lock", release_module_lock);
pub(crate) const EXEC: PyMethodDef = def("_exec", exec);
pub(crate) const COMPILE: PyMethodDef = def("compile", compile);
pub(crate) const COMPILE_BYTECODE: PyMethodDef = def("_compile_bytecode", compile_bytecode);
pub(crate) const VALIDATE_TIMESTAMP_PYC: PyMethodDef = def("_validate_timestamp_pyc", validate_timestamp_pyc);
pub(crate) const CREATE_FROZEN: PyMethodDef = def("create_module", create_frozen);
pub(crate) const EXEC_FROZEN: PyMethodDef = def("exec_module", exec_frozen);

fn import(builtins: PyRef<PyModule>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    match Generation::of_builtins(builtins.dict().as_object()) {
        Some(generation) => level::import(&generation, args, vm)
            .inspect_err(|error| rustpython_vm::import::remove_importlib_frames(vm, error)),
        // It was closed between the look-up of this function and its call.
        None => Err(vm.new_runtime_error("the space that this code belongs to was closed")),
    }
}

/// Takes out what makes the `sys` and `builtins` of a closed space refer to themselves. A space in which no code ever ran
/// leaves no garbage then.
pub(crate) fn untie(generation: &Generation, vm: &VirtualMachine) -> PyResult<()> {
    generation.import_state().set_item("modules", vm.ctx.new_dict().into(), vm)?;
    let interpreter = vm.builtins.dict();
    for name in ["exec", "eval", "__build_class__"] {
        generation.builtins_dict.set_item(name, interpreter.get_item(name, vm)?, vm)?;
    }
    generation.builtins_dict.set_item("__import__", closed_function(generation.name(), vm), vm)
}

fn find_and_load(key: Key, name: PyStrRef, _import: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    find::find_and_load(&key.get(vm)?, &name, vm).map(|found| found.module)
}

fn find_and_load_unlocked(key: Key, name: PyStrRef, import: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    find_and_load(key, name, import, vm)
}

fn find_spec(
    key: Key,
    name: PyStrRef,
    path: PyObjectRef,
    target: rustpython_vm::function::OptionalArg,
    vm: &VirtualMachine,
) -> PyResult {
    let target = target.unwrap_or_none(vm);
    find_spec_in(&key.get(vm)?, &name, path, target, vm)
}

/// What `importlib.util.find_spec` finds: the spec that an import would use, the parent's included.
fn find_spec_in(
    generation: &Arc<Generation>,
    name: &PyStrRef,
    path: PyObjectRef,
    target: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    let order = name.to_str().map_or(Ok(Order::Own), |text| find::order(generation, text, vm))?;
    let own = || {
        let importlib = boot::importlib(generation, vm)?;
        load::find_spec(generation, &importlib, name, path.clone(), target.clone(), vm)
    };
    let parent = || {
        let Some(parent) = generation.parent() else { return Ok(vm.ctx.none()) };
        let path = match name.to_str().and_then(|text| text.rsplit_once('.')) {
            None => vm.ctx.none(),
            Some((package, _)) => match parent.loaded(&vm.ctx.new_str(package), vm)? {
                Some(package) => package.get_attr("__path__", vm)?,
                None => return Ok(vm.ctx.none()),
            },
        };
        find_spec_in(&parent, name, path, vm.ctx.none(), vm)
    };
    let or_else = |first: PyObjectRef, second: &dyn Fn() -> PyResult| {
        if vm.is_none(&first) { second() } else { Ok(first) }
    };
    match order {
        Order::Own => own(),
        Order::Parent => parent(),
        Order::OwnThenParent => or_else(own()?, &parent),
        Order::ParentThenOwn => or_else(parent()?, &own),
    }
}

fn lock_unlock_module(key: Key, name: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
    find::wait_for(&*key.get(vm)?, &name, vm)
}

/// `_exec`, which `importlib.reload` calls: the module table notes it like a load.
fn exec(key: Key, spec: PyObjectRef, module: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let importlib = boot::importlib(&generation, vm)?;
    let plain = importlib.get("_plain__exec", vm)?;
    let name = spec.get_attr("name", vm)?;
    let run = || plain.call((spec.clone(), module), vm);
    match name.downcast_ref::<PyStr>().and_then(|name| name.to_str()) {
        Some(name) => find::tracked(&generation, &importlib, name, &spec, vm, run),
        None => run(),
    }
}

/// Holds a module lock for `_ModuleLockManager`.
#[pyclass(module = "modspace", name = "ModuleLock")]
pub(crate) struct ModuleLock(Mutex<Option<Guard>>);

payload!(ModuleLock);

#[pyclass]
impl ModuleLock {}

fn acquire_module_lock(key: Key, name: PyStrRef, vm: &VirtualMachine) -> PyResult<PyRef<ModuleLock>> {
    let generation = key.get(vm)?;
    let text = name.to_string_lossy();
    match locks::acquire(LockKey::new(generation.serial, &text), vm)? {
        Acquired::Lock(guard) => Ok(ModuleLock(Mutex::new(Some(guard))).into_ref(&vm.ctx)),
        Acquired::Deadlock => Err(find::deadlock(&*boot::importlib(&generation, vm)?, &generation, &text, vm)),
    }
}

fn release_module_lock(_key: Key, lock: PyRef<ModuleLock>) {
    drop(lock.0.lock().take());
}

/// The bytes of a bytes-like object.
fn bytes_of(object: &PyObjectRef, vm: &VirtualMachine) -> Option<Vec<u8>> {
    if let Some(bytes) = object.downcast_ref::<PyBytes>() {
        return Some(bytes.as_bytes().to_vec());
    }
    let buffer = PyBuffer::from_object(vm, object, BufferFlags::SIMPLE).ok()?;
    Some(buffer.contiguous_or_collect(<[u8]>::to_vec))
}

/// `compile()` for importlib's `SourceLoader`: source bytes go through the code cache.
fn compile(key: Key, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let compile = generation.builtins_dict.get_item("compile", vm)?;
    // A program's own `compile` makes what it likes of its sources, for its own space.
    if !compile.is(&vm.builtins.dict().get_item("compile", vm)?) {
        return compile.call(args, vm);
    }
    let [data, file, ..] = &*args.args else { return compile.call(args, vm) };
    let (Some(source), Some(file)) = (bytes_of(data, vm), file.downcast_ref::<PyStr>()) else {
        return compile.call(args, vm);
    };
    let file = file.to_string_lossy().into_owned();
    let optimize = args
        .kwargs
        .get("optimize")
        .and_then(|value| value.downcast_ref::<PyInt>())
        .and_then(|value| value.try_to_primitive::<i64>(vm).ok())
        .unwrap_or(-1);
    let hash = *blake3::hash(&source).as_bytes();
    find::note_source(&file, hash);
    let compiled = generation.shared.code.compiled(&file, optimize, hash, vm, || {
        compile.call(args, vm)?.downcast::<PyCode>().map_err(|_| vm.new_type_error("compile() returned no code object"))
    });
    compiled.map(Into::into)
}

#[derive(FromArgs)]
struct BytecodeArgs {
    #[pyarg(any)]
    data: PyObjectRef,
    #[pyarg(any, default)]
    name: Option<PyObjectRef>,
    #[pyarg(any, default)]
    bytecode_path: Option<PyObjectRef>,
    #[pyarg(any, default)]
    source_path: Option<PyObjectRef>,
}

/// `_compile_bytecode`: what a bytecode file holds is read once per process, too.
fn compile_bytecode(key: Key, args: BytecodeArgs, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let plain = || {
        let external = level::import_module(&generation, "_frozen_importlib_external", vm)?;
        let none = |value: &Option<PyObjectRef>| value.clone().unwrap_or_else(|| vm.ctx.none());
        external
            .get_attr("_plain__compile_bytecode", vm)?
            .call((args.data.clone(), none(&args.name), none(&args.bytecode_path), none(&args.source_path)), vm)
    };
    let text = |value: &Option<PyObjectRef>| {
        value.as_ref().and_then(|path| path.downcast_ref::<PyStr>()).map(|path| path.to_string_lossy().into_owned())
    };
    let (Some(data), Some(file)) = (bytes_of(&args.data, vm), text(&args.bytecode_path)) else { return plain() };
    let hash = *blake3::hash(&data).as_bytes();
    let source = text(&args.source_path);
    let key = format!("{file}\0{}", source.as_deref().unwrap_or_default());
    let code = generation.shared.code.unmarshalled(&key, hash, vm, || {
        plain()?.downcast::<PyCode>().map_err(|_| vm.new_type_error("the bytecode file holds no code object"))
    })?;
    if let Some(source) = source {
        generation.shared.sources.note(&source, &file, (key, hash), vm);
    }
    Ok(code.into())
}

/// `_validate_timestamp_pyc`: refuses, besides what CPython refuses, a bytecode file that was not written after the last
/// change of its source's inode. The time stamp in it has a resolution of a second, and can be set back.
fn validate_timestamp_pyc(key: Key, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let external = level::import_module(&generation, "_frozen_importlib_external", vm)?;
    let plain = external.get_attr("_plain__validate_timestamp_pyc", vm)?;
    let [data, _, _, name, details] = &*args.args else { return plain.call(args, vm) };
    let (data, name, details) = (data.clone(), name.clone(), details.clone());
    let result = plain.call(args, vm)?;
    let Ok(bytecode) = details.get_item("path", vm) else { return Ok(result) };
    let source = external.get_attr("source_from_cache", vm)?.call((bytecode.clone(),), vm);
    let text = |path: PyObjectRef| path.downcast_ref::<PyStr>().map(|path| path.to_string_lossy().into_owned());
    if let (Some(bytecode), Some(source)) = (text(bytecode), source.ok().and_then(text))
        && changed_since(&source, &bytecode)
        // A file that holds no code is not stale but broken, which the caller is about to say.
        && holds_code(&external, &data, vm)
    {
        let message = format!("bytecode may be stale for {}", name.repr(vm)?.to_string_lossy());
        return Err(vm.new_import_error(message, vm.ctx.new_str("")));
    }
    Ok(result)
}

/// Whether the file `source` may have been changed since `written` was. Both clocks are the file system's, so an equal
/// time is a doubt.
fn changed_since(source: &str, written: &str) -> bool {
    let (Ok(source), Ok(written)) = (std::fs::metadata(source), std::fs::metadata(written)) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (source.ctime(), source.ctime_nsec()) >= (written.mtime(), written.mtime_nsec())
    }
    #[cfg(not(unix))]
    {
        matches!((source.modified(), written.modified()), (Ok(source), Ok(written)) if source >= written)
    }
}

/// Whether the body of a bytecode file can be read.
fn holds_code(external: &PyObjectRef, data: &PyObjectRef, vm: &VirtualMachine) -> bool {
    let Some(body) = bytes_of(data, vm).and_then(|bytes| bytes.get(16..).map(<[u8]>::to_vec)) else { return false };
    let read = external.get_attr("_plain__compile_bytecode", vm);
    read.and_then(|read| read.call((vm.ctx.new_bytes(body),), vm)).is_ok()
}

fn frozen_importer(generation: &Arc<Generation>, method: &'static str, vm: &VirtualMachine) -> PyResult {
    boot::importlib(generation, vm)?.get("FrozenImporter", vm)?.get_attr(method, vm)
}

/// `FrozenImporter.create_module`: a platform module is projected.
fn create_frozen(key: Key, spec: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let name = spec.get_attr("name", vm)?;
    if let Some(name) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str())
        && project::is_projected(&generation, name, vm)
    {
        return project::create(&generation, name, vm).map(Into::into);
    }
    frozen_importer(&generation, "_plain_create_module", vm)?.call((spec,), vm)
}

/// `FrozenImporter.exec_module`: a projection is completed, any other module executed.
fn exec_frozen(key: Key, module: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let generation = key.get(vm)?;
    let name = module.get_attr("__spec__", vm)?.get_attr("name", vm)?;
    if let Some(name) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str())
        && project::is_projected(&generation, name, vm)
        && let Ok(module) = module.clone().downcast::<PyModule>()
    {
        project::fill(&generation, &module, name, vm)?;
        return Ok(vm.ctx.none());
    }
    frozen_importer(&generation, "_plain_exec_module", vm)?.call((module,), vm)
}
