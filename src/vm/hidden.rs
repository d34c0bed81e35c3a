//! The interpreter's own, hidden module system.
//!
//! Native modules and platform modules live here, once. No space ever sees this module system itself: its `sys` is
//! the dispatching one (see [`crate::sysview`]), and its modules reach spaces as projections.

use rustpython::{InterpreterBuilder, InterpreterBuilderExt};
use rustpython_vm::{
    AsObject, Interpreter, PyObjectRef, PyRef, PyResult, Settings, VirtualMachine,
    builtins::{PyDictRef, PyModule, PyModuleDef, PyStr},
    import,
};

use super::{code, heap, reads};

/// What the interpreter is started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct InterpreterConfig {
    pub(crate) path: Vec<String>,
    pub(crate) install_signal_handlers: bool,
    pub(crate) optimize: u8,
    pub(crate) warnings: Vec<String>,
    pub(crate) dont_write_bytecode: bool,
    pub(crate) unbuffered: bool,
    pub(crate) hash_seed: Option<u32>,
    /// `PYTHONIOENCODING`: the encoding and the error handler of the standard streams.
    pub(crate) stdio_encoding: Option<String>,
    pub(crate) stdio_errors: Option<String>,
    pub(crate) flags: Flags,
    pub(crate) x_options: Vec<(String, Option<String>)>,
    pub(crate) site: bool,
}

/// Flags that `python` is started with. A program finds each in `sys.flags` under the same name, and `subprocess` and
/// `multiprocessing` hand them to the Pythons that they start.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Flags {
    /// `-b`: `BytesWarning` where `str()` is called with bytes (comparing them to text says nothing here); 2 raises it. It
    /// takes a filter, too (see [`RuntimeBuilder::warnings`](crate::RuntimeBuilder::warnings)): `default::BytesWarning`, or
    /// `error::BytesWarning`.
    pub bytes_warning: u8,
    /// `-d`: says nothing here.
    pub debug: u8,
    /// `-X dev`: development mode. It takes the filter `default`, too.
    pub dev_mode: bool,
    /// `-E`: a runtime never reads the environment; whoever builds one is to have ignored it.
    pub ignore_environment: bool,
    /// `-I`: whoever builds the runtime is to have set `ignore_environment`, `no_user_site` and `safe_path`.
    pub isolated: bool,
    /// `-s`: `site` leaves the user's directory out.
    pub no_user_site: bool,
    /// `-q`
    pub quiet: bool,
    /// `-P`: running a program puts neither the current directory nor the program's in front of `sys.path`.
    pub safe_path: bool,
    /// `-v`: what is imported is told on stderr.
    pub verbose: u8,
}

/// Starts an interpreter with the whole standard library and `module`.
pub(crate) fn start(
    config: &InterpreterConfig,
    module: impl FnOnce(&rustpython_vm::Context) -> &'static PyModuleDef,
) -> Interpreter {
    let mut settings = Settings::default();
    settings.install_signal_handlers = config.install_signal_handlers;
    settings.path_list = config.path.clone();
    settings.optimize = config.optimize;
    settings.warnoptions = config.warnings.clone();
    settings.write_bytecode = !config.dont_write_bytecode;
    settings.buffered_stdio = !config.unbuffered;
    settings.hash_seed = config.hash_seed;
    settings.stdio_encoding = config.stdio_encoding.clone();
    settings.stdio_errors = config.stdio_errors.clone();
    let flags = &config.flags;
    settings.bytes_warning = flags.bytes_warning.into();
    settings.debug = flags.debug;
    settings.dev_mode = flags.dev_mode;
    settings.ignore_environment = flags.ignore_environment;
    settings.isolated = flags.isolated;
    settings.user_site_directory = !flags.no_user_site;
    settings.quiet = flags.quiet;
    settings.safe_path = flags.safe_path;
    settings.verbose = flags.verbose;
    settings.xoptions = config.x_options.clone();
    settings.import_site = config.site;
    // UTF-8 whatever the locale, as CPython 3.15 has it and RustPython's own program does (PEP 686).
    settings.utf8_mode = 1;
    let builder = InterpreterBuilder::new().settings(settings).init_stdlib();
    reads::install(&builder.ctx);
    let module = module(&builder.ctx);
    let builder = builder.add_native_module(module);
    heap::while_starting(|| builder.build())
}

/// The dispatching `sys` module's own dict: the hidden module system's values.
pub(crate) fn sys_dict(vm: &VirtualMachine) -> PyDictRef {
    vm.sys_module.dict()
}

/// The hidden `sys.modules`.
pub(crate) fn modules(vm: &VirtualMachine) -> PyResult<PyObjectRef> {
    sys_dict(vm).get_item("modules", vm)
}

/// Whether `name` is implemented in Rust.
pub(crate) fn is_native(name: &str, vm: &VirtualMachine) -> bool {
    vm.state.module_defs.contains_key(name)
}

/// Gives the code that ran while the interpreter started the paths of its sources; see [`code::set_frozen_paths`].
pub(crate) fn correct_paths(vm: &VirtualMachine) -> PyResult<()> {
    let modules: PyDictRef =
        modules(vm)?.downcast().map_err(|_| vm.new_type_error("the hidden sys.modules is not a dict"))?;
    for (name, module) in modules {
        if let (Some(name), Some(module)) = (name.downcast_ref::<PyStr>(), module.downcast_ref::<PyModule>())
            && let Some(name) = name.to_str()
        {
            code::set_frozen_paths(name, &module.dict(), vm);
        }
    }
    Ok(())
}

/// Imports `name` into the hidden module system.
///
/// The caller must have entered the hidden owner, so that everything below looks names up there.
pub(crate) fn import(name: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyModule>> {
    // Also where it is there already: another thread may be in the middle of its import, which this waits for.
    vm.import_func.call((vm.ctx.new_str(name),), vm).inspect_err(|error| {
        import::remove_importlib_frames(vm, error);
    })?;
    let module = modules(vm)?.get_item(name, vm)?;
    module.downcast::<PyModule>().map_err(|other| {
        vm.new_import_error(format!("the hidden module {name:?} is a {}", other.class().name()), vm.ctx.new_str(name))
    })
}
