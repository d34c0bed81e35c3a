//! `atexit`, per space.

use std::sync::Arc;

use parking_lot::Mutex;
use rustpython_vm::{
    PyObjectRef, PyResult, VirtualMachine,
    function::{FuncArgs, PyMethodDef},
};

use super::visible;
use crate::{
    import::{generation::Generation, owner, project::hidden_module},
    vm::{
        native::{def, function},
        panic,
    },
};

type Callback = Arc<(PyObjectRef, FuncArgs)>;

/// The callbacks a space registered, oldest first.
#[derive(Default)]
pub(crate) struct Callbacks(Mutex<Vec<Callback>>);

impl Callbacks {
    /// The callbacks with their arguments.
    pub(crate) fn objects(&self, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let callbacks: Vec<Callback> = self.0.lock().clone();
        let all = callbacks.iter().map(|callback| {
            let arguments = callback.1.args.iter().chain(callback.1.kwargs.values());
            vm.ctx.new_tuple(std::iter::once(&callback.0).chain(arguments).cloned().collect()).into()
        });
        all.collect()
    }

    /// Forgets all callbacks.
    pub(crate) fn clear(&self) {
        let callbacks = std::mem::take(&mut *self.0.lock());
        drop(callbacks);
    }
}

static FUNCTIONS: [PyMethodDef; 5] = [
    def("register", register),
    def("unregister", unregister),
    def("_clear", clear),
    def("_run_exitfuncs", run_exit_functions),
    def("_ncallbacks", count),
];

pub(crate) fn emulate(vm: &VirtualMachine) -> PyResult<()> {
    let dict = hidden_module("atexit", vm)?.dict();
    for def in &FUNCTIONS {
        dict.set_item(def.name, function(def, "atexit", vm), vm)?;
    }
    Ok(())
}

fn space(vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
    owner::lexical(vm).ok_or_else(|| vm.new_runtime_error("atexit: no module space is running"))
}

fn register(function: PyObjectRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    if !function.is_callable() {
        return Err(vm.new_type_error("the first argument must be callable"));
    }
    let space = space(vm)?;
    space.check_open(vm)?;
    space.state.exit.0.lock().push(Arc::new((function.clone(), args)));
    Ok(function)
}

fn unregister(function: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let space = space(vm)?;
    let registered: Vec<Callback> = space.state.exit.0.lock().clone();
    for callback in registered {
        // Comparing runs Python code, which may register and unregister itself: no lock is held.
        if vm.bool_eq(&function, &callback.0)? {
            let taken: Vec<Callback> = {
                let mut callbacks = space.state.exit.0.lock();
                let (gone, kept) = callbacks.drain(..).partition(|other| Arc::ptr_eq(other, &callback));
                *callbacks = kept;
                gone
            };
            drop(taken);
        }
    }
    Ok(())
}

fn clear(vm: &VirtualMachine) -> PyResult<()> {
    space(vm)?.state.exit.clear();
    Ok(())
}

fn run_exit_functions(vm: &VirtualMachine) -> PyResult<()> {
    let space = space(vm)?;
    run(&space, vm);
    Ok(())
}

fn count(vm: &VirtualMachine) -> PyResult<usize> {
    Ok(space(vm)?.state.exit.0.lock().len())
}

/// Runs the space's callbacks, the last registered first, those they register included. An exception is reported as
/// `sys.unraisablehook` reports it, and the others run.
pub(crate) fn run(generation: &Arc<Generation>, vm: &VirtualMachine) {
    loop {
        let Some(callback) = generation.state.exit.0.lock().pop() else { return };
        let (function, args) = &*callback;
        if let Err(error) = panic::catch(vm, || function.call(args.clone(), vm)) {
            let shown = function.repr(vm).map_or_else(|_| "?".to_owned(), |repr| repr.to_string_lossy().into_owned());
            let message = format!("Exception ignored in atexit callback {shown}");
            visible::unraisable(generation, error, message, vm.ctx.none(), vm);
        }
    }
}
