//! `exec`, `eval`, `__build_class__` and the hidden interpreter's `__import__`.
//!
//! Code that runs in a dict without `__builtins__` gets those of the space, as in CPython it gets those of the calling
//! frame (`PyEval_GetBuiltins`). RustPython's own functions insert the interpreter's.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyModule, PyType},
    frame,
    function::{FuncArgs, PyMethodDef},
};

use crate::{
    import::{
        generation::{Generation, Shared},
        level,
        owner::{self, Owner},
    },
    vm::native::{def, function},
};

/// The space's `exec`.
pub(crate) const EXEC: PyMethodDef = def("exec", exec);
/// The space's `eval`.
pub(crate) const EVAL: PyMethodDef = def("eval", eval);
/// The space's `__build_class__`.
pub(crate) const BUILD_CLASS: PyMethodDef = def("__build_class__", build_class);

static HIDDEN_EXEC: PyMethodDef = def("exec", hidden_exec);
static HIDDEN_EVAL: PyMethodDef = def("eval", hidden_eval);
static HIDDEN_IMPORT: PyMethodDef = def("__import__", hidden_import);

/// Replaces `exec`, `eval` and `__import__` in the hidden builtins, and returns what the first two were, and
/// `__build_class__`.
pub(crate) fn emulate(vm: &VirtualMachine) -> PyResult<[PyObjectRef; 3]> {
    let builtins: PyDictRef = vm.builtins.dict();
    let original = |name: &str| builtins.get_item(name, vm);
    let originals = [original("exec")?, original("eval")?, original("__build_class__")?];
    for def in [&HIDDEN_EXEC, &HIDDEN_EVAL, &HIDDEN_IMPORT] {
        builtins.set_item(def.name, function(def, "builtins", vm), vm)?;
    }
    Ok(originals)
}

fn exec(builtins: PyRef<PyModule>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    supply_builtins(&builtins.dict(), &args, vm)?;
    shared(vm)?.exec.call(args, vm)
}

fn eval(builtins: PyRef<PyModule>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    supply_builtins(&builtins.dict(), &args, vm)?;
    shared(vm)?.eval.call(args, vm)
}

/// What a class statement calls. The space remembers its classes: one that is replaced by what a decorator makes of it
/// stands under no name, and still has to be found when the space goes.
fn build_class(builtins: PyRef<PyModule>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let body = args.args.first().cloned();
    let made = shared(vm)?.build_class.call(args, vm)?;
    if let (Some(class), Some(body), Some(generation)) =
        (made.downcast_ref::<PyType>(), body, Generation::of_builtins(builtins.dict().as_object()))
        && is_of_body(class, &body, vm)
    {
        generation.note_class(made.downgrade(None, vm)?);
    }
    Ok(made)
}

/// Whether a class has the name that its body has: a metaclass may return any class, one that was there before among them.
fn is_of_body(class: &Py<PyType>, body: &PyObjectRef, vm: &VirtualMachine) -> bool {
    let namespace = class.attributes.as_dict();
    let module = namespace.and_then(|namespace| namespace.get_item_opt("__module__", vm).ok().flatten());
    let name = class.heaptype_ext.as_ref().map(|heap| heap.qualname.read().clone());
    let of_body = |attribute: &'static str| body.get_attr(attribute, vm).ok();
    let is_same = |one: Option<PyObjectRef>, other: Option<PyObjectRef>| match (one, other) {
        (Some(one), Some(other)) => vm.bool_eq(&one, &other).unwrap_or(false),
        _ => false,
    };
    is_same(module, of_body("__module__")) && is_same(name.map(Into::into), of_body("__qualname__"))
}

fn shared(vm: &VirtualMachine) -> PyResult<Arc<Shared>> {
    Shared::of(vm).ok_or_else(|| vm.new_runtime_error("exec() and eval() are not available in this interpreter"))
}

fn hidden_exec(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    dispatch(args, vm, |shared| &shared.exec)
}

fn hidden_eval(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    dispatch(args, vm, |shared| &shared.eval)
}

/// What platform code imports late, it imports into the space that called it.
fn hidden_import(args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    match owner::current(vm) {
        Some(Owner::Space(generation)) => level::import(&generation, args, vm),
        Some(Owner::Hidden) | None => vm.import_func.call(args, vm),
    }
}

fn dispatch(args: FuncArgs, vm: &VirtualMachine, function: impl Fn(&Shared) -> &PyObjectRef) -> PyResult {
    if let Some(Owner::Space(generation)) = owner::current(vm) {
        supply_builtins(&generation.builtins_dict, &args, vm)?;
    }
    function(&*shared(vm)?).call(args, vm)
}

/// Puts `__builtins__` into the globals argument when it is a dict that has none.
fn supply_builtins(builtins: &PyDictRef, args: &FuncArgs, vm: &VirtualMachine) -> PyResult<()> {
    let globals = args.args.get(1).or_else(|| args.kwargs.get("globals"));
    let Some(globals) = globals.and_then(|globals| globals.downcast_ref::<PyDict>()) else { return Ok(()) };
    if globals.contains_key("__builtins__", vm) {
        return Ok(());
    }
    // Code that runs over a mapping of its own passes it on.
    let running = frame::current_builtins()
        .filter(|builtins| Generation::of_builtins(builtins).is_none() && !builtins.is(&vm.builtins.dict()));
    let supplied = running.unwrap_or_else(|| builtins.clone().into());
    globals.set_item("__builtins__", supplied, vm)
}
