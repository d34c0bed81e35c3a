//! Forced discards: what something outside holds stays, but as a shell that raises `SpaceClosedError`.
//!
//! # Why swapping code is sound here
//! RustPython's frames borrow the code object of the function they run, so a function's code may be replaced only while
//! the old one stays alive for as long as a frame may run it. The swap happens while the world is stopped, with no Python
//! code in between; what was replaced is dropped only when no thread runs code of the space (then no frame borrows it), and
//! kept for the rest of the process otherwise. (Upstream should let frames own their code.)

use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyFunction, PyStrRef, PyTuple, PyType},
    compiler::Mode,
    function::PyMethodDef,
    scope::Scope as Variables,
};

use super::{paths, scope::Scope};
use crate::{
    import::{
        generation::{Generation, Mark},
        key,
    },
    sysview::visible,
    vm::{
        heap::Stopped,
        native::{bind, def},
    },
};

static CLOSED: PyMethodDef = def("__modspace_closed__", closed);

fn closed(space: PyStrRef, vm: &VirtualMachine) -> PyResult {
    Err(key::closed(&space.to_string_lossy(), vm))
}

/// Makes shells of what is held of the generations, and empties their modules.
pub(crate) fn bury(generations: &[Arc<Generation>], classes: &[Mark], vm: &VirtualMachine) {
    let scope = Scope::new(generations.to_vec(), classes, vm);
    let survivors = paths::survivors(&scope, vm);
    // While everything is whole: `finally` blocks run.
    for suspended in survivors.iter().filter(|object| scope.runs(object)) {
        if let Ok(Some(close)) = vm.get_attribute_opt(suspended, "close")
            && let Err(error) = close.call((), vm)
        {
            let message = "Exception ignored in the end of a generator".to_owned();
            match scope.generation_of(suspended, vm) {
                Some(generation) => visible::unraisable(generation, error, message, suspended.clone(), vm),
                None => vm.run_unraisable(error, Some(message), suspended.clone()),
            }
        }
    }
    let mut replaced = Vec::new();
    for generation in generations {
        if let Err(error) = bury_generation(generation, &scope, &survivors, &mut replaced, vm) {
            vm.run_unraisable(error, Some("while forcing a discard".to_owned()), vm.ctx.none());
        }
    }
    if generations.iter().any(|generation| super::discard::is_inside(generation, vm)) {
        std::mem::forget(replaced);
    }
}

fn bury_generation(
    generation: &Arc<Generation>,
    scope: &Scope,
    survivors: &[PyObjectRef],
    replaced: &mut Vec<PyObjectRef>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let builtins = generation.builtins_dict.clone();
    builtins.set_item(CLOSED.name, bind(&CLOSED, vm.ctx.new_str(generation.name()), vm), vm)?;
    let ours = |function: &PyObjectRef| function.get_attr("__builtins__", vm).is_ok_and(|own| own.is(&builtins));
    let functions: Vec<&PyObjectRef> =
        survivors.iter().filter(|object| object.downcast_ref::<PyFunction>().is_some() && ours(object)).collect();
    let mut shells: FxHashMap<usize, PyObjectRef> = FxHashMap::default();
    let mut swaps = Vec::new();
    for function in functions {
        let code = function.get_attr("__code__", vm)?;
        let free =
            code.get_attr("co_freevars", vm)?.downcast_ref::<PyTuple>().map_or(0, |names| names.as_slice().len());
        let shell = match shells.get(&free) {
            Some(shell) => shell.clone(),
            None => {
                let made = shell(free, vm)?;
                shells.insert(free, made.clone());
                made
            }
        };
        // Kept, because nothing may be freed while the world is stopped.
        for name in ["__defaults__", "__kwdefaults__"] {
            replaced.push(function.get_attr(name, vm)?);
        }
        swaps.push((function, code, shell));
    }
    {
        let _world = Stopped::new(vm);
        for (function, _, shell) in &swaps {
            // Defaults first: code with fewer parameters than defaults cannot be called.
            function.set_attr("__defaults__", vm.ctx.none(), vm)?;
            function.set_attr("__kwdefaults__", vm.ctx.none(), vm)?;
            function.set_attr("__code__", shell.clone(), vm)?;
        }
    }
    for (function, code, _) in swaps {
        replaced.push(code);
        if let Some(cells) = function.get_attr("__closure__", vm)?.downcast_ref::<PyTuple>() {
            for cell in cells.as_slice() {
                // An empty cell raises.
                let _ = cell.del_attr("cell_contents", vm);
            }
        }
    }
    let ours = |class: &&Py<PyType>| scope.home(class, vm) == Some(generation.id());
    for class in survivors.iter().filter_map(|object| object.downcast_ref::<PyType>()).filter(ours) {
        bury_class(class, generation.name(), vm)?;
    }
    for dict in survivors
        .iter()
        .filter_map(|object| object.downcast_ref_if_exact::<PyDict>(vm))
        .filter(|dict| !scope.is_builtins(dict.as_object()) && scope.is_own(dict.as_object()))
    {
        dict.clear();
    }
    if let Ok(modules) = generation.modules(vm)
        && let Some(modules) = modules.downcast_ref::<PyDict>()
    {
        modules.clear();
    }
    if scope.is_own(generation.sys_dict.as_object()) {
        generation.sys_dict.clear();
    }
    for name in ["__import__", "exec", "eval", "__build_class__"] {
        if builtins.contains_key(name, vm) {
            builtins.set_item(name, key::closed_function(generation.name(), vm), vm)?;
        }
    }
    generation.key.keep(None);
    Ok(())
}

/// A class keeps its methods, which raise now, and what makes its instances what they are.
fn bury_class(class: &Py<PyType>, space: &str, vm: &VirtualMachine) -> PyResult<()> {
    let Some(body) = class.attributes.as_dict() else { return Ok(()) };
    let raise = vm.ctx.types.staticmethod_type.as_object().call((key::closed_function(space, vm),), vm)?;
    // As a native metaclass does it, which wants to do it itself: one that is written in Python may be the space's.
    let metaclass = class.class().mro_collect().into_iter().find(|class| class.heaptype_ext.is_none());
    let metaclass = metaclass.unwrap_or_else(|| vm.ctx.types.type_type.to_owned());
    let set = metaclass.as_object().get_attr("__setattr__", vm)?;
    for (key, value) in body {
        let is_descriptor = value.class().heaptype_ext.is_none() && value.class().slots.descr_get.load().is_some();
        let stays = is_descriptor || key.str(vm)?.as_bytes().starts_with(b"__");
        if !stays {
            body.del_item(&*key, vm)?;
        }
    }
    set.call((class.to_owned(), "__new__", raise), vm)?;
    class.modified();
    Ok(())
}

/// The code of a function with `free` free variables that raises `SpaceClosedError`, whatever it is called with.
fn shell(free: usize, vm: &VirtualMachine) -> PyResult {
    let names: Vec<String> = (0..free).map(|number| format!("c{number}")).collect();
    let cells: String = names.iter().map(|name| format!("    {name} = None\n")).collect();
    let uses: String = names.iter().map(|name| format!("        {name}\n")).collect();
    let source = format!(
        "def make():\n{cells}    def closed(*args, **kwargs):\n        __modspace_closed__()\n{uses}    return closed\n"
    );
    let code =
        vm.compile(&source, Mode::Exec, "<discarded>").map_err(|error| error.into_pyexception(vm, Some(&source)))?;
    let dict = vm.ctx.new_dict();
    dict.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
    vm.run_code_obj(code, Variables::new(None, dict.clone()))?;
    let code = dict.get_item("make", vm)?.call((), vm)?.get_attr("__code__", vm)?;
    dict.clear();
    Ok(code)
}
