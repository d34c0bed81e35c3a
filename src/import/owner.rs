//! Whose module system running code works on: the lexical space, found by walking the stack.
//!
//! Walking from the innermost frame outwards, the first frame whose builtins belong to a space decides. Frames of the
//! hidden interpreter (platform code), and frames over a mapping that somebody passed to `exec` as `__builtins__`, are
//! transparent. The walk ends at the place where native code last *entered* an owner on this thread: a space entered
//! from Rust, a new thread's starting space, or the hidden interpreter while it loads a platform module.

use std::{cell::RefCell, sync::Arc};

use rustpython_vm::{PyObjectRef, VirtualMachine, stdlib::_thread::get_ident};

use super::generation::{Generation, Shared};
use crate::vm::frames::{FrameMark, find_builtins};

/// A module system.
#[derive(Clone)]
pub(crate) enum Owner {
    /// The interpreter's own.
    Hidden,
    /// That of a space.
    Space(Arc<Generation>),
}

struct Entry {
    owner: Owner,
    /// The frame that was on top when the owner was entered: it belongs to the caller.
    below: FrameMark,
    /// `None` when this leaves the context space as it is.
    context: Option<Context>,
}

/// What the ContextVar of the context space held when an owner was entered, if anybody looked.
type Context = Option<PyObjectRef>;

thread_local! {
    static ENTERED: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` for `owner`: where no Python frame above this call says otherwise, `owner`'s module system is used.
pub(crate) fn enter<R>(owner: Owner, body: impl FnOnce() -> R) -> R {
    push(owner, Some(None), body)
}

/// [`enter`], noting what the ContextVar of the context space holds at this moment.
pub(crate) fn enter_with<R>(owner: Owner, held: PyObjectRef, body: impl FnOnce() -> R) -> R {
    push(owner, Some(Some(held)), body)
}

/// Runs `body`, which does what Python code of `generation` would do, as if a frame of that code did it: where no frame
/// above this call says otherwise, its module system is used. The context space stays what it is.
pub(crate) fn stand_in<R>(generation: &Arc<Generation>, body: impl FnOnce() -> R) -> R {
    push(Owner::Space(Arc::clone(generation)), None, body)
}

fn push<R>(owner: Owner, context: Option<Context>, body: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let left = ENTERED.with_borrow_mut(Vec::pop);
            if let Some(Entry { owner: Owner::Space(generation), .. }) = &left {
                generation.life.leave(get_ident());
            }
            // Outside the borrow: dropping the last reference to a generation runs finalizers, which may enter.
            drop(left);
        }
    }
    if let Owner::Space(generation) = &owner {
        generation.life.enter(get_ident());
    }
    ENTERED.with_borrow_mut(|entered| entered.push(Entry { owner, below: FrameMark::top(), context }));
    let _leave = Leave;
    body()
}

/// The owner of the running code. `None` in an interpreter without spaces.
pub(crate) fn current(vm: &VirtualMachine) -> Option<Owner> {
    let entered = ENTERED.with_borrow(|entered| entered.last().map(|entry| (entry.below, entry.owner.clone())));
    let (stop, outermost) = match entered {
        Some((below, owner)) => (below, Some(owner)),
        None => (FrameMark::bottom(), None),
    };
    if let Some(generation) = find_builtins(stop, Generation::of_builtins) {
        return Some(Owner::Space(generation));
    }
    outermost.or_else(|| Some(Owner::Space(Shared::of(vm)?.root.get()?.current()?)))
}

/// The space of the running code: the lexical space. The root while the hidden interpreter works for itself.
pub(crate) fn lexical(vm: &VirtualMachine) -> Option<Arc<Generation>> {
    match current(vm)? {
        Owner::Space(generation) => Some(generation),
        Owner::Hidden => Shared::of(vm)?.root.get()?.current(),
    }
}

/// The space that native code entered last on this thread, and what the context space's ContextVar held then.
pub(crate) fn entered() -> Option<(Arc<Generation>, Option<PyObjectRef>)> {
    ENTERED.with_borrow(|entered| {
        entered.iter().rev().find_map(|entry| match (&entry.owner, &entry.context) {
            (Owner::Space(generation), Some(context)) => Some((Arc::clone(generation), context.clone())),
            _ => None,
        })
    })
}

/// Whether native code on this thread is inside a space that `belongs` accepts.
pub(crate) fn any_entered(belongs: impl Fn(&Generation) -> bool) -> bool {
    ENTERED.with_borrow(|entered| {
        entered.iter().any(|entry| matches!(&entry.owner, Owner::Space(generation) if belongs(generation)))
    })
}
