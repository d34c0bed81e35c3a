//! Copies of code objects.
//!
//! RustPython specialises instructions in place while it runs them, and a specialised instruction stays after its
//! guard fails: code that one space has executed runs markedly slower in a second. What spaces share is therefore a
//! *pristine* code object that nobody executes; each space gets its own copy of the instructions. Names and constants
//! are immutable and stay shared, so a copy costs a few allocations per function. Where there are hundreds of functions of
//! which a space runs a few, that is most of what it costs: those that are run rarely are executed as they are. Who watches
//! the code of one of them by `sys.monitoring` hears of it from all spaces.

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyDict, PyFunction, PyStrInterned, PyTuple, PyType},
    bytecode::CodeObject,
    import,
};

/// The frozen code object `name`, decoded anew, with the path of its source.
///
/// RustPython's frozen code names the module where CPython's names a file; tracebacks and `inspect` could show no
/// source. (Upstream should set it, as it does for the two halves of importlib.)
pub(crate) fn frozen(name: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
    let code = import::make_frozen(vm, name)?;
    if let Some(path) = frozen_path(name, vm)
        && code.source_path().as_str() == name
    {
        set_path(&code, path);
    }
    Ok(code)
}

fn frozen_path(name: &str, vm: &VirtualMachine) -> Option<&'static PyStrInterned> {
    let directory = vm.state.config.paths.stdlib_dir.as_ref()?;
    let frozen = vm.state.frozen.get(name)?;
    let tail = if frozen.package { "/__init__.py" } else { ".py" };
    Some(vm.ctx.intern_str(format!("{directory}/{}{tail}", name.replace('.', "/"))))
}

/// Corrects the path of the functions in the dict of the frozen module `name`, and of those in its classes.
pub(crate) fn set_frozen_paths(name: &str, dict: &Py<PyDict>, vm: &VirtualMachine) {
    let Some(path) = frozen_path(name, vm) else { return };
    let correct = |value: &PyObjectRef| {
        if let Some(function) = value.downcast_ref::<PyFunction>()
            && let Ok(code) = function.as_object().get_attr("__code__", vm)
            && let Some(code) = code.downcast_ref::<PyCode>()
            && code.source_path().as_str() == name
        {
            set_path(code, path);
        }
    };
    for (_, value) in dict {
        correct(&value);
        if let Some(class) = value.downcast_ref::<PyType>() {
            class.get_attributes(&vm.ctx).values().for_each(correct);
        }
    }
}

/// Says where the source of a code object is, and of those in it.
pub(crate) fn set_path(code: &PyCode, path: &'static PyStrInterned) {
    code.set_source_path(path);
    for constant in code.code.constants.iter() {
        set_path_in(&PyObjectRef::from(constant.clone()), path);
    }
}

fn set_path_in(constant: &PyObjectRef, path: &'static PyStrInterned) {
    if let Some(code) = constant.downcast_ref::<PyCode>() {
        set_path(code, path);
    } else if let Some(tuple) = constant.downcast_ref::<PyTuple>() {
        tuple.iter().for_each(|item| set_path_in(item, path));
    }
}

/// A copy of `code` and of every code object nested in it, with unspecialised instructions.
///
/// `code` must never have been executed; see the module's documentation.
pub(crate) fn copy_pristine(code: &PyCode, vm: &VirtualMachine) -> PyRef<PyCode> {
    copy(code, |constant| copy_constant(constant, vm), vm)
}

/// [`copy_pristine`] of the functions that `is_wanted` says by their qualified names, and of the code that these stand in.
/// The others are the same in all copies. None when there are no such functions.
pub(crate) fn copy_functions(
    code: &PyCode,
    is_wanted: &dyn Fn(&str) -> bool,
    vm: &VirtualMachine,
) -> Option<PyRef<PyCode>> {
    if is_wanted(code.code.qualname.as_str()) {
        return Some(copy_pristine(code, vm));
    }
    let inner = |constant: &PyObjectRef| copy_functions(constant.downcast_ref::<PyCode>()?, is_wanted, vm);
    let copies: Vec<_> =
        code.code.constants.iter().map(|constant| inner(&PyObjectRef::from(constant.clone()))).collect();
    if copies.iter().all(Option::is_none) {
        return None;
    }
    let mut copies = copies.into_iter();
    Some(copy(code, |constant| copies.next().flatten().map_or(constant, Into::into), vm))
}

/// A copy of `code` with other constants.
fn copy(code: &PyCode, constant: impl FnMut(PyObjectRef) -> PyObjectRef, vm: &VirtualMachine) -> PyRef<PyCode> {
    let source = &code.code;
    let mut constant = constant;
    let copy = CodeObject {
        instructions: source.instructions.clone(),
        locations: source.locations.clone(),
        flags: source.flags,
        posonlyarg_count: source.posonlyarg_count,
        arg_count: source.arg_count,
        kwonlyarg_count: source.kwonlyarg_count,
        source_path: source.source_path,
        first_line_number: source.first_line_number,
        max_stackdepth: source.max_stackdepth,
        obj_name: source.obj_name,
        qualname: source.qualname,
        constants: source.constants.iter().map(|old| constant(PyObjectRef::from(old.clone())).into()).collect(),
        names: source.names.clone(),
        varnames: source.varnames.clone(),
        cellvars: source.cellvars.clone(),
        freevars: source.freevars.clone(),
        localspluskinds: source.localspluskinds.clone(),
        linetable: source.linetable.clone(),
        exceptiontable: source.exceptiontable.clone(),
    };
    let copy = PyCode::new_ref_with_bag(vm, copy);
    // The path of a frozen code object is corrected after decoding, outside `CodeObject`.
    copy.set_source_path(code.source_path());
    copy
}

fn copy_constant(constant: PyObjectRef, vm: &VirtualMachine) -> PyObjectRef {
    if let Some(code) = constant.downcast_ref::<PyCode>() {
        return copy_pristine(code, vm).into();
    }
    match constant.downcast_ref::<PyTuple>() {
        Some(tuple) if tuple.iter().any(|item| item.class().is(vm.ctx.types.code_type)) => {
            let items = tuple.iter().map(|item| copy_constant(item.clone(), vm)).collect();
            vm.ctx.new_tuple(items).into()
        }
        _ => constant,
    }
}
