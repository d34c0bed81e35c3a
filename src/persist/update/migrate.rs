//! The instances of classes that are updated; see `spaces/boot/update/migrate.py`.

use rustpython_vm::{
    PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyList, PyTuple, PyType},
};

use crate::{import::generation::Generation, vm::heap::Stopped};

/// What is registered in the space: tuples of class, function, and whether it is lazy.
pub(super) fn registered(generation: &Generation, vm: &VirtualMachine) -> PyObjectRef {
    let hooks = generation.state.migrations.all().into_iter().map(|hook| {
        let parts = vec![vm.ctx.new_str(hook.class).into(), hook.function, vm.ctx.new_bool(hook.is_lazy).into()];
        vm.ctx.new_tuple(parts).into()
    });
    vm.ctx.new_list(hooks.collect()).into()
}

/// Classes whose instances are to be listed, with the lists.
pub(super) struct Listing(Vec<(PyRef<PyType>, PyRef<PyList>)>);

impl Listing {
    /// As the plan has them: a list of tuples.
    pub(super) fn of(watched: &PyObjectRef, vm: &VirtualMachine) -> PyResult<Self> {
        let wrong = || vm.new_type_error("the classes to be migrated have another shape");
        let rows = watched.downcast_ref::<PyList>().ok_or_else(wrong)?.borrow_vec().to_vec();
        let row = |row: PyObjectRef| match row.downcast_ref::<PyTuple>().map(|row| row.as_slice()) {
            Some([class, list]) => {
                let class = class.clone().downcast::<PyType>().map_err(|_| wrong())?;
                Ok((class, list.clone().downcast::<PyList>().map_err(|_| wrong())?))
            }
            _ => Err(wrong()),
        };
        rows.into_iter().map(row).collect::<PyResult<_>>().map(Self)
    }

    /// Lists the instances that there are: None, and then these.
    pub(super) fn list(&self, world: &Stopped<'_>, vm: &VirtualMachine) {
        if self.0.is_empty() {
            return;
        }
        let classes: Vec<_> = self.0.iter().map(|(class, _)| &**class).collect();
        for ((_, list), found) in self.0.iter().zip(world.instances(&classes)) {
            let mut list = list.borrow_vec_mut();
            list.push(vm.ctx.none());
            list.extend(found);
        }
    }
}
