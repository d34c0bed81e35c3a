//! Changes to many objects at once, which other threads see all or none of.

use rustpython_vm::{
    Py, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{
        PyClassMethod, PyDict, PyDictRef, PyFunction, PyList, PyProperty, PySet, PyStaticMethod, PyStrRef, PyType,
    },
    function::PySetterValue,
};

use super::heap::Stopped;

/// One change. Values that are `None` are removed.
pub(crate) enum Change {
    /// An item of a namespace.
    Item { dict: PyDictRef, key: PyStrRef, value: Option<PyObjectRef> },
    /// An attribute, set as `object.__setattr__` does: what the object's class does instead is not asked.
    Attribute { object: PyObjectRef, name: PyStrRef, value: Option<PyObjectRef> },
    /// An attribute of a class, set as `type.__setattr__` does: what the metaclass does instead is not asked.
    ClassAttribute { class: PyObjectRef, name: PyStrRef, value: Option<PyObjectRef> },
    /// What is in two functions, properties, class or static methods, lists, dicts or sets changes places; each keeps its
    /// identity.
    Swap { one: PyObjectRef, other: PyObjectRef },
}

/// What was replaced, to be dropped when the world runs again.
#[must_use = "finalizers must not run before the world does"]
pub(crate) struct Replaced(Vec<Change>);

/// Makes the changes, or none of them.
///
/// # Errors
/// What the object that could not be changed raised; all are as before then.
pub(crate) fn apply(changes: &[Change], world: &Stopped<'_>, vm: &VirtualMachine) -> (Replaced, PyResult<()>) {
    let mut undo = Vec::new();
    for change in changes {
        let inverse = change.inverse(vm);
        if let Err(error) = inverse.and_then(|inverse| {
            undo.push(inverse);
            change.make(world, vm)
        }) {
            let mut kept = Vec::new();
            for change in undo.into_iter().rev() {
                // What was replaced now must be kept, too.
                kept.extend(change.inverse(vm));
                let _ = change.make(world, vm);
                kept.push(change);
            }
            return (Replaced(kept), Err(error));
        }
    }
    (Replaced(undo), Ok(()))
}

impl Replaced {
    /// The functions that have the code of others now.
    pub(crate) fn functions(&self) -> impl Iterator<Item = PyObjectRef> {
        self.0.iter().filter_map(|change| match change {
            Change::Swap { other, .. } if other.downcast_ref::<PyFunction>().is_some() => Some(other.clone()),
            _ => None,
        })
    }
}

impl Change {
    fn inverse(&self, vm: &VirtualMachine) -> PyResult<Self> {
        Ok(match self {
            Self::Item { dict, key, .. } => {
                Self::Item { dict: dict.clone(), key: key.clone(), value: dict.get_item_opt(&**key, vm)? }
            }
            Self::Attribute { object, name, .. } => {
                let value = object.generic_getattr_opt(name, None, vm)?;
                Self::Attribute { object: object.clone(), name: name.clone(), value }
            }
            Self::ClassAttribute { class, name, .. } => {
                let own = class.downcast_ref::<PyType>().and_then(|class| class.attributes.as_dict());
                let value = match name.to_str() {
                    // What is computed is asked for.
                    Some("__bases__" | "__abstractmethods__" | "__name__" | "__qualname__") => {
                        class.get_attr(name, vm).ok()
                    }
                    _ => own.map(|own| own.get_item_opt(&**name, vm)).transpose()?.flatten(),
                };
                Self::ClassAttribute { class: class.clone(), name: name.clone(), value }
            }
            Self::Swap { one, other } => Self::Swap { one: one.clone(), other: other.clone() },
        })
    }

    fn make(&self, world: &Stopped<'_>, vm: &VirtualMachine) -> PyResult<()> {
        let given = |value: &Option<PyObjectRef>| value.clone().map_or(PySetterValue::Delete, PySetterValue::Assign);
        match self {
            Self::Item { dict, key, value: Some(value) } => dict.set_item(&**key, value.clone(), vm),
            Self::Item { dict, key, value: None } if dict.contains_key(&**key, vm) => dict.del_item(&**key, vm),
            Self::Item { .. } => Ok(()),
            Self::Attribute { object, name, value } => set(vm.ctx.types.object_type, object, name, given(value), vm),
            Self::ClassAttribute { class, name, value } => set(vm.ctx.types.type_type, class, name, given(value), vm),
            Self::Swap { one, other } => swap(one, other, world, vm),
        }
    }
}

/// Sets an attribute as instances of `class` do that override nothing.
fn set(
    class: &Py<PyType>,
    object: &PyObject,
    name: &PyStrRef,
    value: PySetterValue,
    vm: &VirtualMachine,
) -> PyResult<()> {
    match class.slots.setattro.load() {
        Some(setattro) => setattro(object, name, value, vm),
        None => Err(vm.new_attribute_error(format!("cannot set {name:?}"))),
    }
}

fn swap(one: &PyObject, other: &PyObject, world: &Stopped<'_>, vm: &VirtualMachine) -> PyResult<()> {
    if swap_exact::<PyFunction>(one, other, world, vm)
        || swap_exact::<PyProperty>(one, other, world, vm)
        || swap_exact::<PyClassMethod>(one, other, world, vm)
        || swap_exact::<PyStaticMethod>(one, other, world, vm)
        || swap_exact::<PyDict>(one, other, world, vm)
        || swap_exact::<PySet>(one, other, world, vm)
    {
        return Ok(());
    }
    if let (Some(one), Some(other)) =
        (one.downcast_ref_if_exact::<PyList>(vm), other.downcast_ref_if_exact::<PyList>(vm))
    {
        std::mem::swap(&mut *one.borrow_vec_mut(), &mut *other.borrow_vec_mut());
    } else {
        let message = format!("{} and {} cannot change places", one.class().name(), other.class().name());
        return Err(vm.new_type_error(message));
    }
    Ok(())
}

/// Swaps two objects of exactly this class; false when they are others.
fn swap_exact<T: PyPayload>(one: &PyObject, other: &PyObject, world: &Stopped<'_>, vm: &VirtualMachine) -> bool {
    match (one.downcast_ref_if_exact::<T>(vm), other.downcast_ref_if_exact::<T>(vm)) {
        (Some(one), Some(other)) => {
            swap_payloads(one, other, world);
            true
        }
        _ => false,
    }
}

/// Lets two objects change places, but for their identity: who refers to one finds what was in the other.
///
/// RustPython has no other way to give a function another closure or other globals. (Upstream should let native code set
/// `__closure__` and `__globals__`, as CPython's `PyFunction_SetClosure` does.)
fn swap_payloads<T: PyPayload>(one: &Py<T>, other: &Py<T>, _world: &Stopped<'_>) {
    if std::ptr::eq(one, other) {
        return;
    }
    let (one, other) = (std::ptr::from_ref::<T>(one).cast_mut(), std::ptr::from_ref::<T>(other).cast_mut());
    // SAFETY: both are payloads of live objects of the same type, which the caller's references keep, and do not overlap.
    // Nothing else reads or writes them meanwhile: the world is stopped, and other threads stand at places where they hold
    // none of the payloads' locks. References into a payload that such a thread, or a caller of this function, has on its
    // stack stay valid, because what they refer to is not freed: a running function's code is owned by the payload, which
    // now belongs to the other object, and the caller keeps that as long as code of it runs (see `persist::update`). The
    // types have interior mutability, so no compiled code assumes that what it read of them stays as it is.
    unsafe { std::ptr::swap(one, other) };
}
