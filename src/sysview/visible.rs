//! The `sys` and `builtins` modules that a space's code sees.
//!
//! Both are ordinary modules over own dicts. Lists are copies; what is immutable or a function is shared.
//!
//! Two groups of attributes are absent from a new space's `sys.__dict__` and found through a module-level
//! `__getattr__` (PEP 562) until the space has its own: the standard streams, which are the parent's current ones, and
//! what comes with the import system, which is made by the first look.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyList, PyModule, PyStrRef, PyTupleRef},
    function::PyMethodDef,
};

use super::execution;
use crate::{
    import::{
        boot,
        generation::{Generation, IMPORT_STATE},
        hooks,
        key::SpaceKey,
        owner::{self, Owner},
        policy::Treatment,
        project,
    },
    vm::{
        hidden,
        native::{bind, bind_in, copy_dict, def, module_over},
    },
};

static GET_ATTRIBUTE: PyMethodDef = def("__getattr__", get_attribute);
static DIRECTORY: PyMethodDef = def("__dir__", directory);
static REPORT: PyMethodDef = def("report", report);
static IMPORT: PyMethodDef = hooks::IMPORT;
static EXEC: PyMethodDef = execution::EXEC;
static EVAL: PyMethodDef = execution::EVAL;
static BUILD_CLASS: PyMethodDef = execution::BUILD_CLASS;

const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];
/// What no space takes over from the interpreter's own `sys`.
const NOT_INHERITED: [&str; 8] =
    ["last_exc", "last_type", "last_value", "last_traceback", "ps1", "ps2", "__spec__", "__loader__"];

/// A new `sys` module. `inherit` is the `sys` dict whose values it starts from; `has_parent`, whether streams are the
/// parent's until the space assigns own ones.
pub(crate) fn new_sys(
    key: &PyRef<SpaceKey>,
    inherit: &PyDictRef,
    has_parent: bool,
    vm: &VirtualMachine,
) -> PyResult<(PyRef<PyModule>, PyDictRef)> {
    let dict = copy_dict(&hidden::sys_dict(vm), vm);
    for name in NOT_INHERITED.iter().chain(&IMPORT_STATE) {
        if dict.contains_key(*name, vm) {
            dict.del_item(*name, vm)?;
        }
    }
    if has_parent {
        for name in STREAMS {
            dict.del_item(name, vm)?;
        }
    }
    for name in ["path", "argv", "orig_argv", "warnoptions"] {
        let items = |dict: &PyDictRef| -> PyResult<Option<Vec<PyObjectRef>>> {
            let list = dict.get_item_opt(name, vm)?;
            // The items themselves: a program's own list class is not asked.
            Ok(list.and_then(|list| list.downcast_ref::<PyList>().map(|list| list.borrow_vec().to_vec())))
        };
        let inherited = match items(inherit)? {
            Some(inherited) => inherited,
            None => items(&hidden::sys_dict(vm))?.unwrap_or_default(),
        };
        dict.set_item(name, vm.ctx.new_list(inherited).into(), vm)?;
    }
    for (name, attribute) in project::attributes("sys") {
        if attribute.treatment == Treatment::Copied
            && let Some(value) = dict.get_item_opt(name, vm)?
        {
            dict.set_item(name, project::copy(&value, vm)?, vm)?;
        }
    }
    for name in ["dont_write_bytecode", "pycache_prefix"] {
        if let Some(value) = inherit.get_item_opt(name, vm)? {
            dict.set_item(name, value, vm)?;
        }
    }
    dict.set_item("__spec__", vm.ctx.none(), vm)?;
    dict.set_item("__loader__", vm.ctx.none(), vm)?;
    bind_sys(key, &dict, vm)?;
    Ok((module_over(dict.clone(), vm), dict))
}

/// Lets the `sys` dict find by `key` what it does not have itself.
pub(crate) fn bind_sys(key: &PyRef<SpaceKey>, dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    dict.set_item("__getattr__", bind(&GET_ATTRIBUTE, key.clone(), vm), vm)?;
    dict.set_item("__dir__", bind(&DIRECTORY, key.clone(), vm), vm)
}

/// A new `builtins` module.
///
/// Its own functions are bound to the module, as CPython's are, and find the space by it.
pub(crate) fn new_builtins(vm: &VirtualMachine) -> PyResult<(PyRef<PyModule>, PyDictRef)> {
    let dict = copy_dict(&vm.builtins.dict(), vm);
    dict.set_item("__spec__", vm.ctx.none(), vm)?;
    dict.set_item("__loader__", vm.ctx.none(), vm)?;
    let module = module_over(dict.clone(), vm);
    for def in [&IMPORT, &EXEC, &EVAL, &BUILD_CLASS] {
        dict.set_item(def.name, bind_in(def, module.clone(), "builtins", vm)?, vm)?;
    }
    Ok((module, dict))
}

/// The space's current stream `name`: its own, or its parent's.
pub(crate) fn stream(generation: &Arc<Generation>, name: &str, vm: &VirtualMachine) -> PyResult {
    let mut next = Some(Arc::clone(generation));
    while let Some(current) = next {
        if let Some(stream) = current.sys_dict.get_item_opt(name, vm)? {
            return Ok(stream);
        }
        next = current.parent();
    }
    hidden::sys_dict(vm).get_item(name, vm)
}

/// Gives a projection of `weakref` a `finalize` of its own.
pub(crate) fn own_finalizers(generation: &Arc<Generation>, dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    const SOURCE: &str = include_str!("../../spaces/boot/finalize.py");
    let globals = vm.ctx.new_dict();
    globals.set_item("__name__", vm.ctx.new_str("weakref").into(), vm)?;
    globals.set_item("__builtins__", generation.builtins_dict.clone().into(), vm)?;
    globals.set_item("plain", dict.get_item("finalize", vm)?, vm)?;
    boot::run(generation, SOURCE, "<frozen weakref.finalize>", &globals, vm)?;
    dict.set_item("finalize", globals.get_item("finalize", vm)?, vm)
}

/// Reports an exception that nobody can handle to the space's `sys.unraisablehook`.
///
/// The interpreter imports `sys` for that, with the builtins of the topmost Python frame, which may be another space's
/// when a space was entered from native code; so this happens below a frame of the space.
pub(crate) fn unraisable(
    generation: &Arc<Generation>,
    error: PyBaseExceptionRef,
    message: String,
    object: PyObjectRef,
    vm: &VirtualMachine,
) {
    let bound = vm.ctx.new_tuple(vec![error.into(), vm.ctx.new_str(message).into(), object]);
    if let Err(error) = in_space(generation, &REPORT, bound.into(), vm) {
        vm.print_exception(&error);
    }
}

/// Calls `function`, bound to `this`, from a Python frame of the space.
pub(crate) fn in_space(
    generation: &Arc<Generation>,
    function: &'static PyMethodDef,
    this: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    let globals = vm.ctx.new_dict();
    globals.set_item("__builtins__", generation.builtins_dict.clone().into(), vm)?;
    globals.set_item("function", bind(function, this, vm), vm)?;
    generation.shared.eval.call(("function()", globals), vm)
}

/// Calls `function` from a Python frame of its own, which belongs to no space.
pub(crate) fn in_frame(function: &'static PyMethodDef, vm: &VirtualMachine) -> PyResult {
    let globals = vm.ctx.new_dict();
    globals.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
    globals.set_item("function", function.build_function(&vm.ctx).into(), vm)?;
    let code = vm.compile("function()", rustpython_vm::compiler::Mode::Eval, "<frozen modspace.frame>");
    let code = code.map_err(|error| error.into_pyexception(vm, None))?;
    vm.run_code_obj(code, rustpython_vm::scope::Scope::new(None, globals))
}

fn report(bound: PyTupleRef, vm: &VirtualMachine) -> PyResult<()> {
    let [error, message, object] = bound.as_slice() else { return Ok(()) };
    let error: PyBaseExceptionRef = error.clone().downcast().map_err(|_| vm.new_type_error("not an exception"))?;
    let message = message.str(vm)?.to_string_lossy().into_owned();
    // RustPython takes it for granted that there is a hook. (Upstream should fall back on its own, as CPython does.)
    if vm.sys_module.as_object().get_attr("unraisablehook", vm).is_err() {
        vm.print_exception(&error);
        return Ok(());
    }
    vm.run_unraisable(error, (!message.is_empty()).then_some(message), object.clone());
    Ok(())
}

/// Flushes the space's stdout and stderr; false when stdout could not be flushed (`flush_std_files` of CPython).
pub(crate) fn flush(generation: &Arc<Generation>, vm: &VirtualMachine) -> bool {
    let mut flushed = true;
    for name in ["stdout", "stderr"] {
        let Ok(stream) = stream(generation, name, vm) else { continue };
        let closed = stream.get_attr("closed", vm).and_then(|closed| closed.try_to_bool(vm)).unwrap_or(false);
        if vm.is_none(&stream) || closed {
            continue;
        }
        if let Err(error) = vm.call_method(&stream, "flush", ())
            && name == "stdout"
        {
            flushed = false;
            unraisable(generation, error, String::new(), stream, vm);
            // Nothing more can be written to it, and nobody is to try again: once the spaces have ended, RustPython panics where
            // it would tell of that. (Upstream should not unwrap the import of `sys` in `run_unraisable`.)
            for sys in [&generation.sys_dict, &hidden::sys_dict(vm)] {
                let _ = sys.set_item(name, vm.ctx.none(), vm);
            }
        }
    }
    flushed
}

fn get_attribute(key: PyRef<SpaceKey>, name: PyStrRef, vm: &VirtualMachine) -> PyResult {
    let missing = || vm.new_attribute_error(format!("module 'sys' has no attribute '{}'", name.as_wtf8()));
    let text = name.to_str().ok_or_else(missing)?;
    if STREAMS.contains(&text) {
        return stream(&key.get(vm)?, text, vm);
    }
    if IMPORT_STATE.contains(&text) {
        let generation = running(&key, vm)?;
        // The table of modules is there from the start; the rest comes with the import system.
        if text != "modules" {
            boot::importlib(&generation, vm)?;
        }
        return generation.import_state().get_item_opt(text, vm)?.ok_or_else(missing);
    }
    Err(missing())
}

/// The generation for which `sys` is looked at: that of the running code, when it is one of the space's.
fn running(key: &SpaceKey, vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
    let generation = key.get(vm)?;
    match owner::current(vm) {
        Some(Owner::Space(running)) if running.id() == generation.id() => Ok(running),
        _ => Ok(generation),
    }
}

/// `dir(sys)`, with what is found through `__getattr__` and without the two functions that find it.
fn directory(key: PyRef<SpaceKey>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let generation = key.get(vm)?;
    let own = generation.sys_dict.clone().into_iter().map(|(name, _)| name);
    let hidden = ["__getattr__", "__dir__"].map(|name| vm.ctx.new_str(name));
    let mut names: Vec<PyObjectRef> = Vec::new();
    for name in own {
        if !hidden.iter().any(|other| vm.bool_eq(&name, other.as_object()).unwrap_or(false)) {
            names.push(name);
        }
    }
    for name in STREAMS.iter().chain(&IMPORT_STATE) {
        if !generation.sys_dict.contains_key(*name, vm) {
            names.push(vm.ctx.new_str(*name).into());
        }
    }
    Ok(names)
}
