//! Attributes of modules as one thread reads them.
//!
//! A thread can have a [`Reader`], which says what the attributes of modules are for it. The objects are those that all threads
//! have: they can be kept, compared and written to. Names that code looks up in its own namespace are not asked for, and nor is
//! what `__dict__` gives.
//!
//! Upstream, an instruction that has read an attribute of the same module (of the class `module` itself) many times reads its
//! namespace from then on; it should leave that to classes whose slot it is, as it does for objects of other classes.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustpython_vm::{
    AsObject, Context, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyModule, PyStr},
};

use super::native::module_over;

/// Says what the attributes of modules are for a thread.
pub(crate) trait Reader {
    /// What an attribute is, given what it is for others.
    fn read(&self, module: &Py<PyModule>, name: &Py<PyStr>, found: PyResult, vm: &VirtualMachine) -> PyResult;
}

type Getattro = fn(&PyObject, &Py<PyStr>, &VirtualMachine) -> PyResult;

/// How many threads have a reader; asked at every read.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// What the class `module` does without readers. The same for all interpreters.
static PLAIN: OnceLock<Getattro> = OnceLock::new();

thread_local! {
    static READER: RefCell<Option<Rc<dyn Reader>>> = const { RefCell::new(None) };
}

/// Lets modules be read by readers. Classes that derive from `module` take that over when they are made, so it comes first.
pub(super) fn install(context: &Context) {
    let slot = &context.types.module_type.slots.getattro;
    if let Some(plain) = slot.load().filter(|_| PLAIN.get().is_none()) {
        // Who comes second, before the slot is set, has read the same.
        let _ = PLAIN.set(plain);
        slot.store(Some(getattro));
    }
}

fn getattro(object: &PyObject, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult {
    let found = match PLAIN.get() {
        Some(plain) => plain(object, name, vm),
        None => Err(vm.new_attribute_error("modules cannot be read yet")),
    };
    match (reader(), object.downcast_ref::<PyModule>()) {
        (Some(reader), Some(module)) => reader.read(module, name, found, vm),
        _ => found,
    }
}

/// An attribute of a module, if there is one. That there is none is found out without an `AttributeError`, where nobody could
/// see one: making it takes longer than most imports of what is loaded.
pub(crate) fn attribute_opt(module: &PyObject, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    // The class has special names alone, and these two are not among them.
    let is_of_instances = matches!(name.as_bytes(), b"__file__" | b"__path__") || !name.as_bytes().starts_with(b"__");
    if let Some(plain) = module.downcast_ref_if_exact::<PyModule>(vm)
        && is_of_instances
        && reader().is_none()
        && !plain.dict().contains_key("__getattr__", vm)
    {
        return plain.dict().get_item_opt(name, vm);
    }
    vm.get_attribute_opt(module, name)
}

fn reader() -> Option<Rc<dyn Reader>> {
    // A thread sees at least what it stored itself.
    if READERS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    READER.with_borrow(Clone::clone)
}

/// Runs `body`, in which the running thread reads modules by `reader`.
pub(crate) fn reading<R>(reader: Rc<dyn Reader>, body: impl FnOnce() -> R) -> R {
    struct Back(Option<Rc<dyn Reader>>);
    impl Drop for Back {
        fn drop(&mut self) {
            let reader = READER.replace(self.0.take());
            READERS.fetch_sub(1, Ordering::Relaxed);
            drop(reader);
        }
    }
    READERS.fetch_add(1, Ordering::Relaxed);
    let _back = Back(READER.replace(Some(reader)));
    body()
}

/// The module from which `import *` is to take the names: where no `__all__` gives them, that statement reads the namespace
/// itself.
pub(crate) fn for_star(module: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let (Some(reader), Some(live)) = (reader(), module.downcast_ref::<PyModule>()) else { return Ok(module) };
    if live.dict().contains_key("__all__", vm) {
        return Ok(module);
    }
    let seen = vm.ctx.new_dict();
    let mut differs = false;
    for (name, value) in live.dict() {
        let value = match name.downcast_ref::<PyStr>().filter(|name| !name.as_bytes().starts_with(b"_")) {
            Some(name) => {
                let now = reader.read(live, name, Ok(value.clone()), vm)?;
                differs |= !now.is(&value);
                now
            }
            None => value,
        };
        seen.set_item(&*name, value, vm)?;
    }
    Ok(if differs { module_over(seen, vm).into() } else { module })
}
