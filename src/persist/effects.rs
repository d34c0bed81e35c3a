//! What new sources did outside of their modules while they were executed; see `spaces/boot/effects.py`.

use std::sync::Arc;

use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine, builtins::PyDict, function::PyMethodDef};

use super::update::{UpdateEntry, UpdateKind};
use crate::{
    import::{
        boot,
        generation::Generation,
        owner::{self, Owner},
    },
    lifecycle,
    vm::{
        hidden,
        native::{bind, copy_dict, module_over},
    },
};

const EFFECTS: &str = include_str!("../../spaces/boot/effects.py");

/// The module that `source`, which is part of this program, makes; once for the whole process. It may use the functions
/// `native`, bound to nothing.
pub(super) fn platform_module(
    generation: &Generation,
    name: &'static str,
    source: &str,
    native: &[&'static PyMethodDef],
    vm: &VirtualMachine,
) -> PyResult {
    let modules = hidden::modules(vm)?;
    if let Ok(module) = modules.get_item(name, vm) {
        return Ok(module);
    }
    let globals = vm.ctx.new_dict();
    globals.set_item("__name__", vm.ctx.new_str(name).into(), vm)?;
    globals.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
    globals.set_item("modules", modules.clone(), vm)?;
    for native in native {
        globals.set_item(native.name, bind(native, vm.ctx.none(), vm), vm)?;
    }
    owner::enter(Owner::Hidden, || boot::run(generation, source, &format!("<frozen {name}>"), &globals, vm))?;
    // Another thread may have made it meanwhile.
    vm.call_method(&modules, "setdefault", (name, module_over(globals, vm)))
}

pub(super) fn module(generation: &Generation, vm: &VirtualMachine) -> PyResult {
    platform_module(generation, "modspace.effects", EFFECTS, &[], vm)
}

/// How things were before the new sources ran.
pub(super) struct Before(PyObjectRef);

impl Before {
    pub(super) fn look(generation: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<Self> {
        look(generation, vm).map(Self)
    }

    /// What differs now, for `spaces/boot/update.py`. The modules `updated` are executed anew.
    pub(super) fn compare(
        self,
        generation: &Arc<Generation>,
        updated: Vec<PyObjectRef>,
        vm: &VirtualMachine,
    ) -> PyResult {
        let after = look(generation, vm)?;
        let args = (self.0, after, vm.ctx.new_list(updated));
        owner::enter(Owner::Hidden, || module(generation, vm)?.get_attr("compare", vm)?.call(args, vm))
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
    owner::enter(Owner::Hidden, || module(generation, vm)?.get_attr("look", vm)?.call(args, vm))
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
