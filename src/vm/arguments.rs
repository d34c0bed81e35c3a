//! What a native callable passes on to what it calls.

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, Context, Py, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyStr, PyType},
    function::FuncArgs,
    pyclass,
    types::{Callable, GetAttr},
};

/// Every attribute of it is itself; it keeps what it is called with.
#[pyclass(module = "modspace", name = "ArgumentProbe")]
#[derive(Default)]
struct ArgumentProbe(Mutex<Vec<PyObjectRef>>);

impl std::fmt::Debug for ArgumentProbe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ArgumentProbe")
    }
}

impl PyPayload for ArgumentProbe {
    fn class(_ctx: &Context) -> &'static Py<PyType> {
        use rustpython_vm::class::PyClassImpl;
        // The first time it makes the class.
        static CLASS: std::sync::OnceLock<&'static Py<PyType>> = std::sync::OnceLock::new();
        CLASS.get_or_init(|| {
            let _ = Self::make_static_type();
            <Self as rustpython_vm::class::StaticType>::static_type()
        })
    }
}

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
