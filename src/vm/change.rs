//! Changes to many objects at once, which other threads see all or none of.

use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{
        PyClassMethod, PyDict, PyDictRef, PyFunction, PyList, PyProperty, PySet, PyStaticMethod, PyStrRef, PyType,
    },
    function::PySetterValue,
};

use super::heap::{Stopped, address};

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
    pub(crate) fn functions(&self) -> Vec<PyObjectRef> {
        let swapped = self.0.iter().filter_map(|change| match change {
            Change::Swap { other, .. } if other.downcast_ref::<PyFunction>().is_some() => Some(other.clone()),
            _ => None,
        });
        swapped.collect()
    }
}

/// Functions that have the code of others now, while that code may be running.
///
/// A frame borrows what it runs (code, globals, builtins) from the function that was called. So what was replaced is kept
/// over two more updates, for threads that had come to the function and not yet to its frame, and then until no thread has a
/// frame of it.
#[derive(Default)]
pub(crate) struct Retired(Mutex<Vec<(PyObjectRef, u8)>>);

impl Retired {
    /// Keeps more functions, and lets go of those of which nothing runs any more. Of `new`, those that `is_needed` refuses
    /// are kept only if they run.
    pub(crate) fn add(&self, new: Vec<PyObjectRef>, is_needed: impl Fn(&PyObject) -> bool, vm: &VirtualMachine) {
        let before = std::mem::take(&mut *self.0.lock());
        let young = new.into_iter().map(|function| {
            let updates = if is_needed(&function) { 0 } else { u8::MAX };
            (function, updates)
        });
        let all: Vec<_> = before.into_iter().chain(young).collect();
        let (kept, over) = divide(all, |updates| updates < 2, vm);
        self.0.lock().extend(kept);
        drop(over);
    }

    /// Takes out those that run, and lets go of the others.
    pub(crate) fn take_running(&self, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let all = std::mem::take(&mut *self.0.lock());
        if all.is_empty() {
            return Vec::new();
        }
        let (kept, over) = divide(all, |_| false, vm);
        drop(over);
        kept.into_iter().map(|(function, _)| function).collect()
    }
}

/// What has to be kept, one update older, and what not.
fn divide(
    all: Vec<(PyObjectRef, u8)>,
    is_young: impl Fn(u8) -> bool,
    vm: &VirtualMachine,
) -> (Vec<(PyObjectRef, u8)>, Vec<PyObjectRef>) {
    let codes: Vec<_> = all.iter().map(|(function, _)| function.get_attr("__code__", vm).ok()).collect();
    let running: FxHashSet<usize> = {
        let world = Stopped::new(vm);
        let frames = world.stacks().into_iter().flat_map(|(_, frames)| frames);
        frames.map(|frame| address(frame.code().as_object())).collect()
    };
    let (mut kept, mut over) = (Vec::new(), Vec::new());
    for ((function, updates), code) in all.into_iter().zip(codes) {
        if is_young(updates) || code.is_none_or(|code| running.contains(&address(&code))) {
            kept.push((function, updates.saturating_add(1)));
        } else {
            over.push(function);
        }
    }
    (kept, over)
}

impl Change {
    fn inverse(&self, vm: &VirtualMachine) -> PyResult<Self> {
        Ok(match self {
            Self::Item { dict, key, .. } => {
                Self::Item { dict: dict.clone(), key: key.clone(), value: dict.get_item_opt(&**key, vm)? }
            }
            // A class may say something else of its instances' class.
            Self::Attribute { object, name, .. } if name.as_bytes() == b"__class__" => {
                let value = Some(object.class().to_owned().into());
                Self::Attribute { object: object.clone(), name: name.clone(), value }
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
            Self::Attribute { object, name, value } if name.as_bytes() == b"__class__" => {
                let descriptor = vm.ctx.types.object_type.get_attr(vm.ctx.intern_str("__class__"));
                let descriptor = descriptor.ok_or_else(|| vm.new_attribute_error("object has no __class__"))?;
                match descriptor.class().slots.descr_set.load() {
                    Some(set) => set(&descriptor, object.clone(), given(value), vm),
                    None => Err(vm.new_attribute_error("object.__class__ cannot be set")),
                }
            }
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
    // now belongs to the other object, and the caller keeps that as long as code of it runs (see [`Retired`]). The
    // types have interior mutability, so no compiled code assumes that what it read of them stays as it is.
    unsafe { std::ptr::swap(one, other) };
}
