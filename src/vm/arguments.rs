//! What a native callable passes on to what it calls.

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::PyStr,
    function::FuncArgs,
    pyclass,
    types::{Callable, GetAttr},
};

use super::native::payload;

/// Every attribute of it is itself; it keeps what it is called with.
#[pyclass(module = "modspace", name = "ArgumentProbe")]
#[derive(Default)]
struct ArgumentProbe(Mutex<Vec<PyObjectRef>>);

payload!(ArgumentProbe);

impl GetAttr for ArgumentProbe {
    fn getattro(zelf: &Py<Self>, _name: &Py<PyStr>, _vm: &VirtualMachine) -> PyResult {
        Ok(zelf.to_owned().into())
    }
}

impl Callable for ArgumentProbe {
    type Args = FuncArgs;

    fn call(zelf: &Py<Self>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
        zelf.0.lock().extend(args.args.iter().chain(args.kwargs.values()).cloned());
        Ok(vm.ctx.none())
    }
}

#[pyclass(with(GetAttr, Callable))]
impl ArgumentProbe {}

/// The arguments with which `caller`, an `operator.methodcaller`, calls a method of what it is given. No Python code runs.
pub(super) fn of(caller: &PyObject, vm: &VirtualMachine) -> Vec<PyObjectRef> {
    let probe = ArgumentProbe::default().into_ref(&vm.ctx);
    let called = caller.call((probe.clone(),), vm);
    drop(called);
    let arguments = std::mem::take(&mut *probe.0.lock());
    debug_assert!(probe.as_object().strong_count() == 1, "the caller keeps nothing");
    arguments
}
