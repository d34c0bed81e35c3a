//! Committing from Python: what the modules of a space keep, and who decides about what would break.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyStr, PyStrRef},
};

use super::{ModuleSpace, calling, enter, module_space, shared};
use crate::{
    import::{
        generation::{Generation, Node, SpaceId},
        level,
    },
    persist::{
        self, Committed, Policy, StoreError,
        finder::{self, Attachment},
        guard::{self, InUse},
        imports::import_name,
        raise::{self, class, raise},
        state::{self, Unkept},
        transaction::{Attempt, Judge},
    },
};

/// What a commit from Python goes by, beside the transaction.
#[derive(Default)]
pub(super) struct How {
    /// The space whose modules keep values with it.
    pub(super) space: Option<SpaceId>,
    /// What decides about what would break, in the place of the store's policy.
    pub(super) guard: Option<PyObjectRef>,
}

/// The space that is attached to the branch of the store: that given, or else the caller's if it is.
///
/// # Errors
/// `TypeError` for something else than a space, `StoreError` for one that is not attached.
pub(super) fn space(
    given: Option<PyObjectRef>,
    store: &persist::Store,
    branch: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<SpaceId>> {
    match given.filter(|given| !vm.is_none(given)) {
        Some(given) => {
            let Some(space) = given.downcast_ref::<ModuleSpace>() else {
                let class = given.class().name().to_string();
                return Err(vm.new_type_error(format!("space must be a ModuleSpace, not {class}")));
            };
            let generation = module_space::generation_of(space, vm)?;
            match attachment(&generation, store, branch, vm)? {
                Some(_) => Ok(Some(generation.id())),
                None => Err(raise(&StoreError::NotAttached { space: generation.name().to_owned() }, vm)),
            }
        }
        None => {
            let generation = calling(vm)?;
            Ok(attachment(&generation, store, branch, vm)?.map(|_| generation.id()))
        }
    }
}

fn attachment(
    generation: &Arc<Generation>,
    store: &persist::Store,
    branch: &str,
    vm: &VirtualMachine,
) -> PyResult<Option<Arc<Attachment>>> {
    let all = finder::attachments(generation, vm)?.into_iter().map(|(_, attachment)| attachment);
    Ok({ all }.find(|one| one.store.is_same(store) && one.branch == branch))
}

/// What came of it.
pub(super) struct Done {
    pub(super) committed: Committed,
    pub(super) unkept: Vec<Unkept>,
}

/// Commits. Warnings come before anything is stored: a filter that makes errors of them refuses the commit.
///
/// # Errors
/// `ConflictError`, `InUseError`, `StoreError`; what the guard raised. The store is unchanged then.
pub(super) fn commit(transaction: &mut persist::Transaction, how: How, vm: &VirtualMachine) -> PyResult<Done> {
    let store = transaction.store().clone();
    let node: Option<Arc<Node>> = how.space.and_then(|id| shared(vm).ok()?.node(id)).filter(|node| !node.is_closed());
    let (mut unkept, mut kept, mut attached) = (Vec::new(), Vec::new(), None);
    if let Some(node) = &node {
        enter(node, vm, |generation| {
            if let Some(attachment) = attachment(generation, &store, transaction.branch(), vm)? {
                (kept, unkept) = state::keep(generation, &attachment, transaction, vm)?;
                attached = Some(attachment);
            }
            Ok(())
        })?;
    }
    for one in &unkept {
        warn(one.to_string(), vm)?;
    }
    let mut judge = Asked { store: store.clone(), is_guarded: how.guard.is_some(), answered: None };
    loop {
        match vm.allow_threads(|| transaction.attempt(&mut judge)).map_err(|error| raise(&error, vm))? {
            Attempt::Undecided(in_use) => {
                decide(&store, how.guard.as_deref(), &in_use, vm)?;
                judge.answered = Some(in_use);
            }
            Attempt::Committed(committed) => {
                if let Some(attachment) = &attached {
                    note(attachment, transaction, &kept, vm)?;
                }
                return Ok(Done { committed, unkept });
            }
        }
    }
}

/// The space has the values that it kept: it sees the modules so already.
fn note(
    attachment: &Attachment,
    transaction: &persist::Transaction,
    kept: &[String],
    vm: &VirtualMachine,
) -> PyResult<()> {
    let noted = vm.allow_threads(|| {
        for name in kept {
            let seen = attachment.sees(import_name(name))?;
            if let (Some(module), Some((_, seen))) = (transaction.edited(name), seen)
                && module.source == seen.source
            {
                attachment.note_own(name, module.clone());
            }
        }
        Ok::<_, StoreError>(())
    });
    noted.map_err(|error| raise(&error, vm))
}

/// Lets the commit wait until Python has been asked, outside of all locks.
struct Asked {
    store: persist::Store,
    is_guarded: bool,
    answered: Option<Vec<InUse>>,
}

impl Judge for Asked {
    fn looks(&mut self) -> Result<bool, StoreError> {
        Ok(self.is_guarded || self.store.removal()? != Policy::Allow)
    }

    fn decide(&mut self, in_use: &[InUse]) -> Result<Option<Policy>, StoreError> {
        Ok((self.answered.as_deref() == Some(in_use)).then_some(Policy::Allow))
    }
}

/// Asks the guard, or else the store's policy; warns, or raises, when they say so.
fn decide(store: &persist::Store, guard: Option<&PyObject>, in_use: &[InUse], vm: &VirtualMachine) -> PyResult<()> {
    let answer = match guard {
        Some(guard) => {
            let all = in_use.iter().map(|one| raise::InUse(one.clone()).into_ref(&vm.ctx).into()).collect();
            policy(guard.call((vm.ctx.new_list(all),), vm)?, vm)?
        }
        None => None,
    };
    let policy = match answer {
        Some(policy) => policy,
        None => vm.allow_threads(|| store.removal()).map_err(|error| raise(&error, vm))?,
    };
    match policy {
        Policy::Allow => Ok(()),
        Policy::Refuse => Err(raise(&StoreError::InUse(in_use.to_vec()), vm)),
        _ => warn(guard::listed(in_use), vm),
    }
}

/// What a guard has answered; `None` leaves it to the store.
fn policy(answer: PyObjectRef, vm: &VirtualMachine) -> PyResult<Option<Policy>> {
    if vm.is_none(&answer) {
        return Ok(None);
    }
    match answer.downcast::<PyStr>() {
        Ok(answer) => answer.to_string_lossy().parse().map(Some).map_err(|error: StoreError| raise(&error, vm)),
        Err(answer) => {
            let names = Policy::NAMES.join(", ");
            let class = answer.class().name().to_string();
            Err(vm.new_type_error(format!("the guard must return one of {names}, or None, not {class}")))
        }
    }
}

/// A `StoreWarning` at the place of the call.
fn warn(message: String, vm: &VirtualMachine) -> PyResult<()> {
    let warnings = level::import_module(&calling(vm)?, "_warnings", vm)?;
    vm.call_method(&warnings, "warn", (message, class("StoreWarning", vm))).map(drop)
}

/// Sets `guard` on an object whose attributes Python's collector sees.
pub(super) fn set_guard(object: &PyObject, guard: Option<PyObjectRef>, vm: &VirtualMachine) -> PyResult<()> {
    guard.map_or(Ok(()), |guard| object.set_attr("guard", guard, vm))
}

/// The `guard` of an object, if it has one.
pub(super) fn guard_of(object: &PyObject, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    let Some(dict) = object.dict() else { return Ok(None) };
    let name: PyStrRef = vm.ctx.new_str("guard");
    Ok(dict.get_item_opt(&*name, vm)?.filter(|guard| !vm.is_none(guard)))
}
