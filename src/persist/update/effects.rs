//! What new sources did outside of their modules while they were executed; see `spaces/boot/update/effects.py`.

use std::sync::Arc;

use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine, builtins::PyDict};

use super::{UpdateEntry, UpdateKind, platform};
use crate::{
    import::{
        generation::Generation,
        owner::{self, Owner},
    },
    lifecycle,
    vm::native::copy_dict,
};

/// How things were before the new sources ran.
pub(super) struct Before(PyObjectRef);

impl Before {
    pub(super) fn look(generation: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<Self> {
        look(generation, vm).map(Self)
    }

    /// What differs now, for `spaces/boot/update/plan.py`. The modules `updated` are executed anew.
    pub(super) fn compare(
        self,
        generation: &Arc<Generation>,
        updated: Vec<PyObjectRef>,
        vm: &VirtualMachine,
    ) -> PyResult {
        let after = look(generation, vm)?;
        let args = (self.0, after, vm.ctx.new_list(updated));
        owner::enter(Owner::Hidden, || {
            platform::module(generation, "modspace.effects", vm)?.get_attr("compare", vm)?.call(args, vm)
        })
    }
}

fn look(generation: &Arc<Generation>, vm: &VirtualMachine) -> PyResult {
    let names = copy_dict(&generation.sys_dict, vm);
    for (name, value) in generation.import_state() {
        names.set_item(&*name, value, vm)?;
    }
    let modules = generation.modules(vm)?;
    // A program's own `sys.modules` would run its code.
    let modules =
        if modules.downcast_ref_if_exact::<PyDict>(vm).is_some() { modules } else { vm.ctx.new_dict().into() };
    let row = |what: &str, object: PyObjectRef| vm.ctx.new_tuple(vec![vm.ctx.new_str(what).into(), object]).into();
    let state = &generation.state;
    let mut registered: Vec<PyObjectRef> =
        state.objects(vm).into_iter().map(|(what, object)| row(what, object)).collect();
    registered.extend(state.fork_hooks.lock().iter().map(|hook| row("fork hook", hook.clone())));
    registered.extend(
        lifecycle::started_threads(generation).into_iter().map(|ident| row("thread", vm.ctx.new_int(ident).into())),
    );
    let args = (names, modules, vm.ctx.new_list(registered), lifecycle::is_main_thread(vm));
    owner::enter(Owner::Hidden, || {
        platform::module(generation, "modspace.effects", vm)?.get_attr("look", vm)?.call(args, vm)
    })
}

/// What refers to second copies that are not needed any more: they are freed, and what is held is noted.
pub(super) fn held_copies(copies: Vec<PyObjectRef>, names: Vec<String>, vm: &VirtualMachine) -> Vec<UpdateEntry> {
    let note = |held: lifecycle::Held| UpdateEntry {
        kind: UpdateKind::Note,
        detail: format!("refers to a second copy of {}; let the program look it up when it is needed", held.object),
        path: held.path,
    };
    lifecycle::modules::free_and_find(copies, names, vm).into_iter().map(note).collect()
}
