//! The part of updates that is written in Python. It runs as platform code, over the interpreter's own modules, once for the
//! whole process.

use rustpython_vm::{PyResult, VirtualMachine, function::PyMethodDef};

use super::{
    adopt::INSTANCES,
    plan::{BINDINGS, DISOWN},
    settle::SETTLE,
};
use crate::{
    import::{
        boot,
        generation::Generation,
        owner::{self, Owner},
        project::LOADED,
    },
    vm::{
        hidden,
        native::{bind, module_over},
    },
};

struct Part {
    name: &'static str,
    source: &'static str,
    /// The functions that it may use, bound to nothing.
    native: &'static [&'static PyMethodDef],
}

macro_rules! part {
    ($name:literal $(, $native:ident)*) => {
        Part {
            name: concat!("modspace.", $name),
            source: include_str!(concat!("../../../spaces/boot/update/", $name, ".py")),
            native: &[$(&$native),*],
        }
    };
}

/// Each uses those before it.
static PARTS: [Part; 8] = [
    part!("values"),
    part!("effects"),
    part!("adopt", INSTANCES),
    part!("migrate"),
    part!("match"),
    part!("references"),
    part!("rebind", BINDINGS),
    part!("plan", SETTLE, DISOWN),
];

/// The module `name`, and what it uses.
pub(super) fn module(generation: &Generation, name: &str, vm: &VirtualMachine) -> PyResult {
    let modules = hidden::modules(vm)?;
    if let Ok(module) = modules.get_item(name, vm) {
        return Ok(module);
    }
    for part in &PARTS {
        let Part { name: part_name, source, native } = part;
        if modules.get_item(*part_name, vm).is_err() {
            let globals = vm.ctx.new_dict();
            globals.set_item("__name__", vm.ctx.new_str(*part_name).into(), vm)?;
            globals.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
            globals.set_item("modules", modules.clone(), vm)?;
            for native in native.iter().copied().chain([&LOADED]) {
                globals.set_item(native.name, bind(native, vm.ctx.none(), vm), vm)?;
            }
            let file = format!("<frozen {part_name}>");
            owner::enter(Owner::Hidden, || boot::run(generation, source, &file, &globals, vm))?;
            // Another thread may have made it meanwhile.
            vm.call_method(&modules, "setdefault", (*part_name, module_over(globals, vm)))?;
        }
        if *part_name == name {
            break;
        }
    }
    modules.get_item(name, vm)
}
