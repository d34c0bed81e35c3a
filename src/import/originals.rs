//! The classes of platform modules as these modules made them. There is one of each for all spaces, so that what a space
//! assigns to their attributes is seen by all; when it goes, they get back what they had.

use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyModule, PyStr, PyType},
    types::PyTypeFlags,
};

use super::{find, generation::Names};
use crate::vm::{class_version, hidden};

#[derive(Default)]
pub(crate) struct Originals(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The addresses of the modules whose classes are known. They stay loaded as long as the interpreter.
    modules: FxHashSet<usize>,
    /// By address.
    classes: FxHashMap<usize, Class>,
}

struct Class {
    class: PyRef<PyType>,
    attributes: Vec<(PyObjectRef, PyObjectRef)>,
    /// What it has besides, or instead, and may keep.
    accepted: Vec<(PyObjectRef, PyObjectRef)>,
    /// The version of the class when it was last seen to have nothing else. A class that is assigned to has none until
    /// something is looked up in it.
    version: Option<u32>,
}

impl Class {
    fn new(class: PyRef<PyType>) -> Self {
        let attributes = class.attributes.entries();
        Self { class, attributes, accepted: Vec::new(), version: None }
    }

    /// What differs, but for what it may keep.
    fn changed(&mut self, vm: &VirtualMachine) -> Vec<Changed> {
        if self.version.is_some() && class_version::get(&self.class) == self.version {
            return Vec::new();
        }
        // A look gives it a version: before its attributes are compared, so that what changes meanwhile is seen the next time.
        let version = class_version::give(&self.class, vm);
        let now = self.class.attributes.entries();
        let (class, attributes) = (&self.class, &self.attributes);
        let mut all = Vec::new();
        let is_same = now.len() == attributes.len()
            && now.iter().zip(attributes).all(|(now, before)| now.0.is(&before.0) && now.1.is(&before.1));
        if !is_same {
            let value_in = |all: &[(PyObjectRef, PyObjectRef)], name: &PyObject| {
                all.iter().find(|(other, _)| is_same_name(other, name)).map(|(_, value)| value.clone())
            };
            for (name, before) in attributes {
                let value = value_in(&now, name);
                if value.as_ref().is_none_or(|value| !value.is(before)) {
                    let original = Some(before.clone());
                    all.push(Changed { class: class.clone(), name: name.clone(), original, value });
                }
            }
            for (name, value) in &now {
                if value_in(attributes, name).is_none() {
                    let value = Some(value.clone());
                    all.push(Changed { class: class.clone(), name: name.clone(), original: None, value });
                }
            }
            let is_accepted = |change: &Changed| {
                let accepted = value_in(&self.accepted, &change.name);
                accepted.is_some_and(|accepted| change.value.as_ref().is_some_and(|value| value.is(&accepted)))
            };
            all.retain(|change| !is_accepted(change));
        }
        self.version = version.filter(|_| all.is_empty());
        all
    }
}

/// An attribute that has another value than its module gave it.
pub(crate) struct Changed {
    pub(crate) class: PyRef<PyType>,
    pub(crate) name: PyObjectRef,
    /// What it had; `None` where there was no such attribute.
    pub(crate) original: Option<PyObjectRef>,
    /// What it has now, if anything.
    pub(crate) value: Option<PyObjectRef>,
}

impl Originals {
    /// Notes how the classes are of modules that were loaded since the last time.
    pub(crate) fn note(&self, names: &Names, vm: &VirtualMachine) -> PyResult<()> {
        let Ok(modules) = hidden::modules(vm)?.downcast::<PyDict>() else { return Ok(()) };
        let mut known = self.0.lock();
        for (_, module) in modules {
            let Some(module) = module.downcast_ref::<PyModule>() else { continue };
            if known.modules.contains(&module.get_id()) || find::is_initialising(names, module.as_object(), vm)? {
                continue;
            }
            known.modules.insert(module.get_id());
            for (_, value) in module.dict() {
                let Ok(class) = value.downcast::<PyType>() else { continue };
                // RustPython lets some classes that are made in Rust be assigned to, `types.MappingProxyType` for one. (Upstream
                // should refuse that, as CPython does.)
                if class.slots.flags.has_feature(PyTypeFlags::IMMUTABLETYPE) {
                    continue;
                }
                if let Entry::Vacant(entry) = known.classes.entry(class.get_id()) {
                    entry.insert(Class::new(class));
                }
            }
        }
        Ok(())
    }

    /// What a class had under this name.
    pub(crate) fn of(&self, class: &PyObject, name: &PyObject) -> Option<PyObjectRef> {
        let known = self.0.lock();
        let attributes = &known.classes.get(&class.get_id())?.attributes;
        attributes.iter().find(|(other, _)| is_same_name(other, name)).map(|(_, value)| value.clone())
    }

    /// Lets a class keep what it has now under a name. It is no original: that is what the name gets back when it is assigned
    /// to once more.
    pub(crate) fn accept(&self, class: &PyObject, name: &PyObject, value: PyObjectRef) {
        let mut known = self.0.lock();
        let Some(Class { accepted, .. }) = known.classes.get_mut(&class.get_id()) else { return };
        let before = accepted.iter().position(|(other, _)| is_same_name(other, name));
        let before = before.map(|index| accepted.swap_remove(index));
        accepted.push((name.to_owned(), value));
        drop(known);
        // Its finalizer may come back here.
        drop(before);
    }

    /// What differs.
    pub(crate) fn changed(&self, vm: &VirtualMachine) -> Vec<Changed> {
        self.0.lock().classes.values_mut().flat_map(|class| class.changed(vm)).collect()
    }
}

fn is_same_name(one: &PyObject, other: &PyObject) -> bool {
    one.is(other)
        || match (one.downcast_ref::<PyStr>(), other.downcast_ref::<PyStr>()) {
            (Some(one), Some(other)) => one.as_bytes() == other.as_bytes(),
            _ => false,
        }
}
