//! What a module's source has declared with zope.interface, to be told from what others declare later.

use rustpython_vm::{
    Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyStr, PyTuple},
};

/// What an interface, or the specification of a class, is called.
fn identifier(interface: &PyObject, vm: &VirtualMachine) -> Option<PyObjectRef> {
    let names = interface.dict()?;
    let name = |key: &str| names.get_item_opt(key, vm).ok()?.filter(|name| name.downcast_ref::<PyStr>().is_some());
    name("__identifier__").or_else(|| name("__name__"))
}

/// Whether the value's class, or one that it derives from, has this name.
fn is_a(value: &PyObject, name: &str) -> bool {
    value.class().mro.read().iter().any(|class| &*class.name() == name)
}

fn names<'interfaces>(
    interfaces: impl IntoIterator<Item = &'interfaces PyObjectRef>,
    vm: &VirtualMachine,
) -> Vec<PyObjectRef> {
    interfaces.into_iter().filter_map(|interface| identifier(interface, vm)).collect()
}

/// Notes the interfaces that a class was declared to implement, under its name and ` implements` (with an empty string
/// when it does not inherit its bases' declarations), and those that it provides itself, under ` provides`.
pub(super) fn of_class(body: &Py<PyDict>, qualified: &str, all: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    if let Some(implemented) = body.get_item_opt("__implemented__", vm)?.filter(|value| is_a(value, "Implements"))
        && let Some(state) = implemented.dict()
    {
        let declared = state.get_item_opt("declared", vm)?;
        let mut found = match declared.as_ref().and_then(|declared| declared.downcast_ref::<PyTuple>()) {
            Some(declared) => names(declared.as_slice(), vm),
            None => Vec::new(),
        };
        if state.get_item_opt("inherit", vm)?.is_none_or(|inherit| vm.is_none(&inherit)) {
            found.push(vm.ctx.new_str("").into());
        }
        all.set_item(&*vm.ctx.new_str(format!("{qualified} implements")), vm.ctx.new_list(found).into(), vm)?;
    }
    if let Some(provided) = body.get_item_opt("__provides__", vm)?.filter(|value| is_a(value, "ClassProvides"))
        // A slot; what the class computes is not asked.
        && let Ok(Some(arguments)) =
            provided.generic_getattr_opt(&vm.ctx.new_str("_ClassProvides__args"), None, vm)
        && let Some(arguments) = arguments.downcast_ref::<PyTuple>()
    {
        let found = names(arguments.as_slice().iter().skip(2), vm);
        all.set_item(&*vm.ctx.new_str(format!("{qualified} provides")), vm.ctx.new_list(found).into(), vm)?;
    }
    Ok(())
}

/// Notes the tags of the tagged values that an interface has, under its name and ` tags`.
pub(super) fn of_interface(value: &PyObject, all: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    if !is_a(value, "InterfaceClass") {
        return Ok(());
    }
    let Some(state) = value.dict() else { return Ok(()) };
    let Ok(Some(name)) = value.generic_getattr_opt(&vm.ctx.new_str("__name__"), None, vm) else { return Ok(()) };
    let tags = state.get_item_opt("_Element__tagged_values", vm)?;
    if let (Some(name), Some(Ok(tags))) = (name.downcast_ref::<PyStr>(), tags.map(|tags| tags.downcast::<PyDict>())) {
        let tags = tags.into_iter().map(|(tag, _)| tag).collect();
        all.set_item(&*vm.ctx.new_str(format!("{} tags", name.to_string_lossy())), vm.ctx.new_list(tags).into(), vm)?;
    }
    Ok(())
}
