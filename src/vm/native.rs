//! Built-in functions that carry a Rust value.

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyModule},
    function::{IntoPyNativeFn, ItemDoc, PyMethodDef, PyMethodFlags},
};

/// The definition of a built-in function, to be kept in a `static` and bound with [`bind`].
pub(crate) const fn def<Kind>(name: &'static str, function: impl IntoPyNativeFn<Kind>) -> PyMethodDef {
    PyMethodDef::new_const(name, function, PyMethodFlags::EMPTY, ItemDoc::NONE)
}

/// A built-in function object that passes `this` as its first argument.
pub(crate) fn bind(def: &'static PyMethodDef, this: impl Into<PyObjectRef>, vm: &VirtualMachine) -> PyObjectRef {
    def.build_bound_function(&vm.ctx, this.into()).into()
}

/// A built-in function that says it is of `module`, as one that stands in for another must: pickling goes by that.
pub(crate) fn function(def: &'static PyMethodDef, module: &'static str, vm: &VirtualMachine) -> PyObjectRef {
    def.to_function().with_module(vm.ctx.intern_str(module)).into_ref(&vm.ctx).into()
}

/// [`bind`], with a module as in [`function`].
pub(crate) fn bind_in(
    def: &'static PyMethodDef,
    this: impl Into<PyObjectRef>,
    module: &'static str,
    vm: &VirtualMachine,
) -> PyResult {
    let function = bind(def, this, vm);
    function.set_attr("__module__", vm.ctx.intern_str(module).to_owned(), vm)?;
    Ok(function)
}

/// Frees a mutex that a thread may have held which did not survive a fork; what it guards starts anew then, because
/// the thread may have been in the middle of changing it.
pub(crate) fn unlock_after_fork<T: Default>(mutex: &parking_lot::Mutex<T>) {
    if mutex.is_locked() {
        // SAFETY: called in the child of a fork, whose only thread is this one and holds the mutex nowhere.
        unsafe { mutex.force_unlock() };
        // Moved, and not looked at.
        std::mem::forget(std::mem::take(&mut *mutex.lock()));
    }
}

/// A new dict with the items of `dict`.
pub(crate) fn copy_dict(dict: &Py<PyDict>, vm: &VirtualMachine) -> PyDictRef {
    dict.copy().into_ref(&vm.ctx)
}

/// A module object over `dict`, without the attributes that module creation would add.
pub(crate) fn module_over(dict: PyDictRef, vm: &VirtualMachine) -> PyRef<PyModule> {
    PyRef::new_ref(PyModule::new(), vm.ctx.types.module_type.to_owned(), Some(dict))
}

/// Whether `object` is an instance of `types.ModuleType` or of a subclass.
pub(crate) fn is_module(object: &PyObjectRef, vm: &VirtualMachine) -> bool {
    object.fast_isinstance(vm.ctx.types.module_type)
}

/// Makes a `#[pyclass]` struct the payload of Python objects. Its class is made when it is first needed.
macro_rules! payload {
    ($class:ident) => {
        impl rustpython_vm::PyPayload for $class {
            fn class(_ctx: &rustpython_vm::Context) -> &'static rustpython_vm::Py<rustpython_vm::builtins::PyType> {
                use rustpython_vm::class::{PyClassImpl as _, StaticType as _};
                if Self::static_cell().get().is_none() {
                    let _ = Self::make_static_type();
                }
                Self::static_type()
            }
        }

        impl std::fmt::Debug for $class {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($class)).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use payload;
