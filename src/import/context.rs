//! The context space: the space entered last by this thread or task.
//!
//! Entering from Python (`with space:`) sets a ContextVar, so the context space follows asyncio tasks; entering from
//! native code is noted on the thread's stack of entered spaces, which is cheaper. Whichever happened last counts: an
//! entry remembers what the variable held, and the variable gets a new object each time it is set, so an unchanged
//! object tells that the entry is the later one. The variable holds ids and keeps no space alive.

use std::sync::{Arc, atomic::Ordering};

use rustpython_vm::{
    AsObject, PyObject, PyResult, VirtualMachine,
    builtins::{PyInt, PyTuple},
};

use crate::event::EventKind;

use super::{
    generation::{Generation, Node, Shared, SpaceId},
    owner::{self, Owner},
};

/// What the ContextVar holds: `None`, or the id of the context space and what it held before that space was entered.
fn value(shared: &Shared, vm: &VirtualMachine) -> PyResult {
    // A thread sees what it stored itself, and a context that was copied for it came with what was stored before.
    if !shared.context_used.load(Ordering::Acquire) {
        return Ok(vm.ctx.none());
    }
    shared.context_get.call((vm.ctx.none(),), vm)
}

fn id_of(value: &PyObject, vm: &VirtualMachine) -> PyResult<Option<SpaceId>> {
    let Some(entry) = value.downcast_ref::<PyTuple>() else { return Ok(None) };
    let id = entry.first().and_then(|id| id.downcast_ref::<PyInt>());
    id.map(|id| id.try_to_primitive::<u64>(vm).map(SpaceId::from_u64)).transpose()
}

/// The context space, if one was entered and is still open.
pub(crate) fn current(shared: &Shared, vm: &VirtualMachine) -> PyResult<Option<Arc<Node>>> {
    let value = value(shared, vm)?;
    if let Some((generation, held)) = owner::entered()
        && held.map_or(vm.is_none(&value), |held| held.is(&value))
    {
        return Ok(Some(Arc::clone(&generation.node)).filter(|node| !node.is_closed()));
    }
    let node = id_of(&value, vm)?.and_then(|id| shared.node(id));
    Ok(node.filter(|node| !node.is_closed()))
}

/// Makes `node` the context space of this thread or task.
pub(crate) fn push(shared: &Shared, node: &Node, vm: &VirtualMachine) -> PyResult<()> {
    let entry = vm.ctx.new_tuple(vec![vm.ctx.new_int(node.id.as_u64()).into(), value(shared, vm)?]);
    shared.context_used.store(true, Ordering::Release);
    vm.call_method(&shared.context, "set", (entry,)).map(drop)
}

/// Undoes the last [`push`] of `node` in this thread or task; false when there was none.
pub(crate) fn pop(shared: &Shared, node: &Node, vm: &VirtualMachine) -> PyResult<bool> {
    // Entered and left in any order (by hand, or by interleaved generators): entries above the space's own stay.
    let mut above = Vec::new();
    let mut entry = value(shared, vm)?;
    loop {
        let Some(id) = id_of(&entry, vm)? else { return Ok(false) };
        let below = entry.get_item(&1usize, vm)?;
        if id == node.id {
            entry = below;
            break;
        }
        above.push(id);
        entry = below;
    }
    for id in above.into_iter().rev() {
        entry = vm.ctx.new_tuple(vec![vm.ctx.new_int(id.as_u64()).into(), entry]).into();
    }
    vm.call_method(&shared.context, "set", (entry,))?;
    Ok(true)
}

/// Enters `generation` from native code: it is the space of whatever `body` does outside any Python frame, and the
/// context space.
///
/// # Errors
/// `SpaceClosedError` when the generation was closed meanwhile; what `body` raised.
pub(crate) fn enter<R>(
    generation: Arc<Generation>,
    vm: &VirtualMachine,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let held = value(&generation.shared, vm)?;
    let entered = Arc::clone(&generation);
    owner::enter_with(Owner::Space(generation), held, || {
        // Only now: whoever closes it either sees this thread inside, or is seen.
        entered.check_open(vm)?;
        entered.tell(EventKind::Entered, None, || None);
        drop(entered);
        body()
    })
}

/// The space that an import which found nothing from `generation` upwards may ask: the context space, when it descends
/// from the importing one.
pub(crate) fn descendant(generation: &Generation, vm: &VirtualMachine) -> PyResult<Option<Arc<Generation>>> {
    let node = current(&generation.shared, vm)?;
    Ok(node.filter(|node| generation.node.is_ancestor_of(node)).and_then(|node| node.current()))
}
