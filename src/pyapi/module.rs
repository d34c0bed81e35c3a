//! The functions of the module.

use rustpython_vm::{
    FromArgs, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine, function::PyMethodDef, pymodule,
};

use super::{module_space, report};
use crate::{import::key::SpaceKey, lifecycle::modules, vm::native::def};

#[derive(FromArgs)]
pub(crate) struct ForceArgs {
    #[pyarg(any, default)]
    force: Option<PyObjectRef>,
}

impl ForceArgs {
    fn force(self, vm: &VirtualMachine) -> PyResult<bool> {
        module_space::flag(self.force, "force", vm)
    }
}

/// What a space's `importlib.util` has beside CPython's functions.
pub(super) static UTIL: [PyMethodDef; 3] = [def("reload", reload), def("unload", unload), def("reimport", reimport)];

fn reload(key: PyRef<SpaceKey>, module: PyObjectRef, args: ForceArgs, vm: &VirtualMachine) -> PyResult {
    modules::reload(&key.get(vm)?, &module, args.force(vm)?, vm)
}

fn unload(key: PyRef<SpaceKey>, module: PyObjectRef, args: ForceArgs, vm: &VirtualMachine) -> PyResult {
    // The caller's reference would seem to hold it.
    let report = modules::unload(&key.get(vm)?, module, args.force(vm)?, vm)?;
    Ok(report::UnloadReport::from(report).into_ref(&vm.ctx).into())
}

fn reimport(key: PyRef<SpaceKey>, module: PyObjectRef, args: ForceArgs, vm: &VirtualMachine) -> PyResult {
    modules::reimport(&key.get(vm)?, &module, args.force(vm)?, vm)
}

#[pymodule(name = "modspace")]
pub(crate) mod modspace {
    use rustpython_vm::{
        AsObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
        builtins::{PyDictRef, PyStrRef, PyTypeRef},
        class::PyClassImpl,
        function::PosArgs,
    };

    use crate::{
        import::context,
        lifecycle,
        pyapi::{
            self, info, module::ForceArgs, module_space, report, space_of as finder, store, subscription, transaction,
            update_report,
        },
    };

    #[pyattr(name = "ModuleInfo")]
    fn module_info(_vm: &VirtualMachine) -> PyTypeRef {
        info::ModuleInfo::make_static_type()
    }

    #[pyattr(name = "DiscardReport")]
    fn discard_report(_vm: &VirtualMachine) -> PyTypeRef {
        report::DiscardReport::make_static_type()
    }

    #[pyattr(name = "Event")]
    fn event(_vm: &VirtualMachine) -> PyTypeRef {
        subscription::Event::make_static_type()
    }

    #[pyattr(name = "ReloadReport")]
    fn reload_report(_vm: &VirtualMachine) -> PyTypeRef {
        report::ReloadReport::make_static_type()
    }

    #[pyattr(name = "UnloadReport")]
    fn unload_report(_vm: &VirtualMachine) -> PyTypeRef {
        report::UnloadReport::make_static_type()
    }

    #[pyattr(name = "Store")]
    fn store_class(_vm: &VirtualMachine) -> PyTypeRef {
        store::Store::make_static_type()
    }

    #[pyattr(name = "InUse")]
    fn in_use(_vm: &VirtualMachine) -> PyTypeRef {
        crate::persist::raise::InUse::make_static_type()
    }

    #[pyattr(name = "StoreModule")]
    fn store_module(_vm: &VirtualMachine) -> PyTypeRef {
        crate::persist::finder::StoreModule::make_static_type()
    }

    #[pyattr(name = "Transaction")]
    fn transaction_class(_vm: &VirtualMachine) -> PyTypeRef {
        transaction::Transaction::make_static_type()
    }

    #[pyattr(name = "UpdateReport")]
    fn update_report(_vm: &VirtualMachine) -> PyTypeRef {
        update_report::UpdateReport::make_static_type()
    }

    #[pyattr(name = "Commit")]
    fn commit_class(_vm: &VirtualMachine) -> PyTypeRef {
        store::Commit::make_static_type()
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

    /// Runs the code of a module of the calling space again, in its namespace, as `importlib.reload` does.
    #[pyfunction]
    fn reload(module: PyObjectRef, args: ForceArgs, vm: &VirtualMachine) -> PyResult {
        lifecycle::modules::reload(&pyapi::calling(vm)?, &module, args.force(vm)?, vm)
    }

    /// Takes a module of the calling space, and its submodules, out of `sys.modules` and of its package.
    #[pyfunction]
    fn unload(module: PyObjectRef, args: ForceArgs, vm: &VirtualMachine) -> PyResult<PyObjectRef> {
        let generation = pyapi::calling(vm)?;
        let force = args.force(vm)?;
        let report = lifecycle::modules::unload(&generation, module, force, vm)?;
        Ok(report::UnloadReport::from(report).into_ref(&vm.ctx).into())
    }

    /// A second copy of a module of the calling space, with its submodules; the first stays in `sys.modules`.
    #[pyfunction]
    fn reimport(module: PyObjectRef, args: ForceArgs, vm: &VirtualMachine) -> PyResult {
        lifecycle::modules::reimport(&pyapi::calling(vm)?, &module, args.force(vm)?, vm)
    }

    /// Calls `function(event)` for everything that happens from now on, or for events of the kinds named, in order, on a
    /// thread of its own. What it raises is reported through `sys.unraisablehook`.
    #[pyfunction]
    fn subscribe(function: PyObjectRef, kinds: PosArgs<PyStrRef>, vm: &VirtualMachine) -> PyResult<PyObjectRef> {
        if !function.is_callable() {
            return Err(vm.new_type_error(format!("subscribe() takes a function, not {}", function.class().name())));
        }
        let kinds = kinds.into_vec().iter().map(|kind| kind.to_string_lossy().into_owned()).collect();
        let subscription = subscription::subscribe(function, subscription::kinds(kinds, vm)?, vm)?;
        Ok(subscription.into_ref(&vm.ctx).into())
    }

    /// The shortest path from a root to `object`: who keeps it. None when only native code or the caller does.
    #[pyfunction]
    fn why(object: PyObjectRef, vm: &VirtualMachine) -> Option<String> {
        lifecycle::why(&object, vm)
    }

    /// What `modspace test` does with these arguments, for `modspace.testing`.
    #[pyfunction]
    fn _test_options(arguments: Vec<String>, vm: &VirtualMachine) -> PyResult<PyDictRef> {
        let run = crate::cli::test::parse(arguments).map_err(|text| vm.new_value_error(text))?;
        crate::testing::options(run, None, vm)
    }

    /// The space that a module, function, class or instance belongs to; None for native and platform ones.
    #[pyfunction]
    fn space_of(object: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let shared = pyapi::shared(vm)?;
        // A closed space has no other handle than those that are there.
        if object.downcast_ref::<module_space::ModuleSpace>().is_some() {
            return Ok(object);
        }
        Ok(match finder::space_of(&shared, &object, vm)? {
            Some(node) => pyapi::handle(&shared, &node, vm),
            None => vm.ctx.none(),
        })
    }
}
