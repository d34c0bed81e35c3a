//! The context space: the space entered last by this thread or task.
//!
//! Entering from Python (`with space:`) sets a ContextVar, so the context space follows asyncio tasks; entering from
//! native code is noted on the thread's stack of entered spaces, which is cheaper. Whichever happened last counts: an
//! entry remembers what the variable held, and the variable gets a new object each time it is set, so an unchanged
//! object tells that the entry is the later one. The variable holds an id and keeps no space alive.

use std::sync::Arc;

use rustpython_vm::{AsObject, PyObjectRef, PyResult, VirtualMachine, builtins::PyInt};

use super::{
    generation::{Generation, Node, Shared, SpaceId},
    owner::{self, Owner},
};

/// What the ContextVar holds; `None` the object when it was never set.
fn value(shared: &Shared, vm: &VirtualMachine) -> PyResult {
    shared.context_get.call((vm.ctx.none(),), vm)
}

/// The context space, if one was entered and is still open.
pub(crate) fn current(shared: &Shared, vm: &VirtualMachine) -> PyResult<Option<Arc<Node>>> {
    let value = value(shared, vm)?;
    if let Some((generation, held)) = owner::entered()
        && held.map_or(vm.is_none(&value), |held| held.is(&value))
    {
        return Ok(Some(Arc::clone(&generation.node)).filter(|node| !node.is_closed()));
    }
    let Some(id) = value.downcast_ref::<PyInt>() else { return Ok(None) };
    let id = SpaceId::from_u64(id.try_to_primitive::<u64>(vm)?);
    Ok(shared.node(id).filter(|node| !node.is_closed()))
}

/// Makes `node` the context space and returns the token that undoes it.
pub(crate) fn set(shared: &Shared, node: &Node, vm: &VirtualMachine) -> PyResult {
    vm.call_method(&shared.context, "set", (node.id.as_u64(),))
}

/// Restores what was the context space before the matching [`set`].
pub(crate) fn reset(shared: &Shared, token: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    vm.call_method(&shared.context, "reset", (token,)).map(drop)
}

/// Enters `generation` from native code: it is the space of whatever `body` does outside any Python frame, and the
/// context space.
pub(crate) fn enter<R>(
    generation: Arc<Generation>,
    vm: &VirtualMachine,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let held = value(&generation.shared, vm)?;
    owner::enter_with(Owner::Space(generation), Some(held), body)
}

/// The space that an import which found nothing from `generation` upwards may ask: the context space, when it descends
/// from the importing one.
pub(crate) fn descendant(generation: &Generation, vm: &VirtualMachine) -> PyResult<Option<Arc<Generation>>> {
    let node = current(&generation.shared, vm)?;
    Ok(node.filter(|node| generation.node.is_ancestor_of(node)).and_then(|node| node.current()))
}
