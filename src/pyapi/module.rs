//! The functions of the module.

use rustpython_vm::pymodule;

#[pymodule(name = "modspace")]
pub(crate) mod modspace {
    use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine, builtins::PyTypeRef, class::PyClassImpl};

    use crate::{
        import::context,
        pyapi::{self, info, module_space, space_of as finder},
    };

    #[pyattr(name = "ModuleInfo")]
    fn module_info(_vm: &VirtualMachine) -> PyTypeRef {
        info::ModuleInfo::make_static_type()
    }

    #[pyattr(name = "ModuleSpace")]
    fn module_space_class(_vm: &VirtualMachine) -> PyTypeRef {
        module_space::ModuleSpace::make_static_type()
    }

    #[pyattr]
    fn __version__(vm: &VirtualMachine) -> PyObjectRef {
        vm.ctx.new_str(env!("CARGO_PKG_VERSION")).into()
    }

    /// The space of the calling function: the one whose `builtins` its globals name.
    #[pyfunction]
    fn current(vm: &VirtualMachine) -> PyResult {
        Ok(pyapi::handle(&pyapi::shared(vm)?, &pyapi::caller(vm)?, vm))
    }

    /// The space that this thread or task entered last, or None.
    #[pyfunction]
    fn context(vm: &VirtualMachine) -> PyResult {
        let shared = pyapi::shared(vm)?;
        Ok(match context::current(&shared, vm)? {
            Some(node) => pyapi::handle(&shared, &node, vm),
            None => vm.ctx.none(),
        })
    }

    /// All live spaces; a parent stands before its children.
    #[pyfunction]
    fn spaces(vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        let shared = pyapi::shared(vm)?;
        let nodes: Vec<_> = shared.tree.read().values().cloned().collect();
        Ok(nodes.iter().map(|node| pyapi::handle(&shared, node, vm)).collect())
    }

    /// The space that a module, function, class or instance belongs to; None for native and platform ones.
    #[pyfunction]
    fn space_of(object: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let shared = pyapi::shared(vm)?;
        Ok(match finder::space_of(&shared, &object, vm)? {
            Some(node) => pyapi::handle(&shared, &node, vm),
            None => vm.ctx.none(),
        })
    }
}
