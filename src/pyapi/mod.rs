//! The Python module `modspace`.

mod commit;
mod convert;
mod info;
mod migration;
mod module;
mod module_space;
mod objects;
mod report;
mod space_of;
mod store;
mod subscription;
mod transaction;
mod update_report;

use std::sync::Arc;

use rustpython_vm::{
    Context, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyModuleDef},
};

use crate::{
    error::Error,
    import::{
        generation::{Node, Shared},
        owner::{self, Owner},
        project::hidden_module,
    },
    lifecycle,
    space::{Runtime, RuntimeBuilder},
};

pub(crate) use module_space::ModuleSpace;

/// The native module, to be added to an interpreter.
fn module_def(ctx: &Context) -> &'static PyModuleDef {
    module::modspace::module_def(ctx)
}

/// Puts into the hidden `modspace` what exists only once the runtime does; every space's projection copies it.
fn publish(shared: &Arc<Shared>, root: &Arc<Node>, vm: &VirtualMachine) -> PyResult<()> {
    lifecycle::install(vm)?;
    let _ = shared.util.set(&module::UTIL);
    let dict = hidden_module("modspace", vm)?.dict();
    dict.set_item("root", handle(shared, root, vm), vm)?;
    crate::persist::raise::publish(&dict, vm)?;
    dict.set_item("SpaceError", shared.space_error.clone().into(), vm)?;
    dict.set_item("SpaceClosedError", shared.closed_error.clone().into(), vm)
}

/// The `ModuleSpace` object of a space. A space has one, so `is` compares spaces.
pub(crate) fn handle(shared: &Arc<Shared>, node: &Arc<Node>, vm: &VirtualMachine) -> PyObjectRef {
    if let Some(handle) = shared.handles.get(&node.id).map(|handle| handle.clone()) {
        return handle;
    }
    let made: PyObjectRef = ModuleSpace::over(Arc::clone(node)).into_ref(&vm.ctx).into();
    // Nobody would take it out of the table again.
    if node.is_closed() {
        return made;
    }
    shared.handles.entry(node.id).or_insert(made).clone()
}

impl RuntimeBuilder {
    /// Starts the interpreter on this thread and makes the root space.
    ///
    /// # Errors
    /// What the interpreter's start-up code raised.
    pub fn build(self) -> Result<Runtime, Error> {
        self.build_with(module_def, publish)
    }
}

pub(crate) fn shared(vm: &VirtualMachine) -> PyResult<Arc<Shared>> {
    Shared::of(vm).ok_or_else(|| vm.new_runtime_error("this interpreter has no module spaces"))
}

/// The Python exception for an error of this crate.
pub(crate) fn raise(error: &Error, vm: &VirtualMachine) -> PyBaseExceptionRef {
    if let Error::Store(error) = error {
        return crate::persist::raise::raise(error, vm);
    }
    let class = match (error, Shared::of(vm)) {
        (Error::Closed { .. } | Error::Unknown { .. }, Some(shared)) => shared.closed_error.clone(),
        (Error::Delegation { .. } | Error::Pattern { .. } | Error::Name { .. }, _) => {
            vm.ctx.exceptions.value_error.to_owned()
        }
        (_, Some(shared)) => shared.space_error.clone(),
        (_, None) => vm.ctx.exceptions.runtime_error.to_owned(),
    };
    vm.new_exception_msg(class, error.to_string().into())
}

/// Enters the space `node` from a native function: a panic below becomes an exception.
pub(crate) fn enter<R>(
    node: &Arc<Node>,
    vm: &VirtualMachine,
    body: impl FnOnce(&Arc<crate::import::generation::Generation>) -> PyResult<R>,
) -> PyResult<R> {
    let generation = node.current().ok_or_else(|| raise(&Error::Closed { name: node.name.clone() }, vm))?;
    crate::import::context::enter(Arc::clone(&generation), vm, || crate::vm::panic::catch(vm, || body(&generation)))
}

/// The generation of the calling code.
pub(crate) fn calling(vm: &VirtualMachine) -> PyResult<Arc<crate::import::generation::Generation>> {
    owner::lexical(vm).ok_or_else(|| vm.new_runtime_error("no module space is running"))
}

/// The lexical space of the calling code.
pub(crate) fn caller(vm: &VirtualMachine) -> PyResult<Arc<Node>> {
    match owner::current(vm) {
        Some(Owner::Space(generation)) => Ok(Arc::clone(&generation.node)),
        _ => {
            let shared = shared(vm)?;
            shared.root.get().cloned().ok_or_else(|| vm.new_runtime_error("the runtime has no root space"))
        }
    }
}
