//! A runtime: one interpreter and the tree of spaces over it.

use std::sync::{Arc, atomic::AtomicBool};

use dashmap::DashMap;
use parking_lot::RwLock;
use rustpython_vm::{
    AsObject, Context, PyResult, VirtualMachine,
    builtins::{PyModuleDef, PyStrRef, PyTypeRef},
};
use slotmap::SlotMap;

use super::{Config, Space, create, enter};
use crate::{
    error::Error,
    import::{
        cache::CodeCache,
        generation::{Generation, Names, Node, Shared, SpaceId},
        originals::Originals,
        owner::{self, Owner},
        project::hidden_module,
        source::Sources,
    },
    sysview,
    vm::{
        hidden::{self, Flags, InterpreterConfig},
        threads::Machines,
    },
};

/// One Python interpreter and the tree of spaces over it.
///
/// A runtime is a cheap handle; all clones mean the same one. The interpreter belongs to the thread that built it:
/// signals are delivered there, and [`Runtime::shut_down`] works there only. Spaces may be used from any thread.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    machines: Machines,
    shared: Arc<Shared>,
}

impl PartialEq for Runtime {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runtime").field("interpreter", &self.inner.shared.interpreter).finish_non_exhaustive()
    }
}

/// Describes a runtime to be started.
#[derive(Clone, Debug)]
#[must_use = "call build() to start the runtime"]
pub struct RuntimeBuilder {
    interpreter: InterpreterConfig,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self { interpreter: InterpreterConfig { site: true, ..InterpreterConfig::default() } }
    }
}

impl RuntimeBuilder {
    /// Entries that follow the root's own on its `sys.path`, as `PYTHONPATH` does.
    pub fn path<Entry: Into<String>>(mut self, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.interpreter.path.extend(entries.into_iter().map(Into::into));
        self
    }

    /// Whether `SIGINT` raises `KeyboardInterrupt` in the thread that builds the runtime. Off by default: signals
    /// belong to the program that embeds the runtime.
    pub const fn handle_signals(mut self, handle: bool) -> Self {
        self.interpreter.install_signal_handlers = handle;
        self
    }

    /// The optimisation level, as `python -O` sets it: 0, 1 or 2.
    pub const fn optimize(mut self, level: u8) -> Self {
        self.interpreter.optimize = level;
        self
    }

    /// Warning filters, as `python -W` takes them.
    pub fn warnings<Filter: Into<String>>(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.interpreter.warnings.extend(filters.into_iter().map(Into::into));
        self
    }

    /// Whether bytecode files are written, as without `python -B`. On by default.
    pub const fn write_bytecode(mut self, write: bool) -> Self {
        self.interpreter.dont_write_bytecode = !write;
        self
    }

    /// Whether the standard streams are unbuffered, as with `python -u`.
    pub const fn unbuffered(mut self, unbuffered: bool) -> Self {
        self.interpreter.unbuffered = unbuffered;
        self
    }

    /// The seed of `hash()`, as `PYTHONHASHSEED` sets it; random by default. The first runtime of a process decides.
    pub const fn hash_seed(mut self, seed: u32) -> Self {
        self.interpreter.hash_seed = Some(seed);
        self
    }

    /// The encoding and error handler of the standard streams, as `PYTHONIOENCODING` sets them.
    pub fn stdio_encoding(mut self, encoding: Option<String>, errors: Option<String>) -> Self {
        self.interpreter.stdio_encoding = encoding;
        self.interpreter.stdio_errors = errors;
        self
    }

    /// What `python` is told by options of one letter.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.interpreter.flags = flags;
        self
    }

    /// What programs find in `sys._xoptions`, as `python -X` sets it: names, and values of those that have one.
    pub fn x_options(mut self, options: impl IntoIterator<Item = (String, Option<String>)>) -> Self {
        self.interpreter.x_options.extend(options);
        self
    }

    /// Whether the root runs `site`, which adds `site-packages`, handles `.pth` files and defines `exit` and `help`.
    /// On by default.
    pub const fn site(mut self, site: bool) -> Self {
        self.interpreter.site = site;
        self
    }

    /// Starts the interpreter with the native module that `module` defines, makes the root space, and lets `publish` put
    /// into the module what needs the two.
    pub(crate) fn build_with(self, module: ModuleDef, publish: Publish) -> Result<Runtime, Error> {
        let interpreter = hidden::start(&self.interpreter, module);
        let machines = Machines::new(interpreter);
        let started = machines.with(|vm| {
            start(machines.interpreter(), self.interpreter.site, publish, vm)
                .map_err(|error| enter::to_python_error(&error, vm))
        });
        Ok(Runtime { inner: Arc::new(Inner { machines, shared: started? }) })
    }
}

type ModuleDef = fn(&Context) -> &'static PyModuleDef;
type Publish = fn(&Arc<Shared>, &Arc<Node>, &VirtualMachine) -> PyResult<()>;

/// The names that `site` puts into builtins.
const SITE_BUILTINS: [&str; 6] = ["exit", "quit", "copyright", "credits", "license", "help"];

fn start(interpreter: i64, site: bool, publish: Publish, vm: &VirtualMachine) -> PyResult<Arc<Shared>> {
    let prepared = owner::enter(Owner::Hidden, || {
        hidden::correct_paths(vm)?;
        sysview::emulate(vm)?;
        let variable =
            hidden_module("_contextvars", vm)?.dict().get_item("ContextVar", vm)?.call(("modspace.context",), vm)?;
        sysview::dispatch::install(vm)?;
        // Last: from here on, `exec` needs what all spaces share.
        PyResult::Ok((sysview::execution::emulate(vm)?, variable))
    })?;
    let ([exec, eval, build_class], context) = prepared;
    let error = |name: &str, base: PyTypeRef| vm.ctx.new_exception_type("modspace", name, Some(vec![base]));
    let space_error = error("SpaceError", vm.ctx.exceptions.runtime_error.to_owned());
    let shared = Shared {
        interpreter,
        names: Names::new(vm),
        tree: RwLock::new(SlotMap::with_key()),
        root: std::sync::OnceLock::new(),
        code: CodeCache::default(),
        hidden: DashMap::new(),
        originals: Originals::default(),
        sources: Sources::default(),
        handles: DashMap::new(),
        ended: std::sync::atomic::AtomicUsize::new(0),
        retired: crate::vm::change::Retired::default(),
        events: crate::event::Events::default(),
        util: std::sync::OnceLock::new(),
        auditing: AtomicBool::new(false),
        others: parking_lot::Mutex::default(),
        leftovers: parking_lot::Mutex::default(),
        context_get: context.get_attr("get", vm)?,
        context_used: AtomicBool::new(false),
        context,
        closed_error: error("SpaceClosedError", space_error.clone()),
        space_error,
        exec,
        eval,
        build_class,
    }
    .register();
    let config = Config { name: Some("root".to_owned()), ..Config::default() };
    let root = create::create(&shared, None, config, vm).map_err(|failure| match failure {
        create::Failure::Raised(error) => error,
        create::Failure::Refused(error) => vm.new_runtime_error(error.to_string()),
    })?;
    let set = shared.root.set(Arc::clone(&root));
    debug_assert!(set.is_ok(), "a runtime has one root");
    publish(&shared, &root, vm)?;
    if site && let Some(generation) = root.current() {
        run_site(&generation, vm)?;
    }
    Ok(shared)
}

/// Runs `site` for the root: it is platform code, so it works on the root's `sys.path`, `.pth` files import into the
/// root, and what it puts into builtins every space has.
fn run_site(root: &Arc<Generation>, vm: &VirtualMachine) -> PyResult<()> {
    let site = owner::enter(Owner::Hidden, || {
        for name in ["os", "_sitebuiltins", "io", "stat"] {
            hidden::import(name, vm)?;
        }
        // Imported, `site` runs at once, unless a flag forbids it; it is to run for the root, not for the hidden
        // interpreter, so for the length of the import the flag is up.
        let sys = hidden::sys_dict(vm);
        let flags = sys.get_item("flags", vm)?;
        let no_site = vm.ctx.types.namespace_type.as_object().call((), vm)?;
        let names: Vec<PyStrRef> =
            vm.dir(Some(flags.clone()))?.borrow_vec().iter().filter_map(|name| name.clone().downcast().ok()).collect();
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b"_")) {
            no_site.set_attr(name, flags.get_attr(name, vm)?, vm)?;
        }
        no_site.set_attr("no_site", vm.ctx.new_int(1), vm)?;
        sys.set_item("flags", no_site, vm)?;
        let site = hidden::import("site", vm);
        sys.set_item("flags", flags, vm)?;
        site
    })?;
    owner::enter(Owner::Space(Arc::clone(root)), || {
        site.get_attr("main", vm)?.call((), vm)?;
        for name in SITE_BUILTINS {
            if let Some(value) = vm.builtins.dict().get_item_opt(name, vm)? {
                root.builtins_dict.set_item(name, value, vm)?;
            }
        }
        Ok(())
    })
}

impl Runtime {
    /// Starts a runtime with the defaults of [`RuntimeBuilder`].
    ///
    /// # Errors
    /// What the interpreter's start-up code raised.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Starts describing a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Runs `body` inside the interpreter, on whatever thread this is.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&VirtualMachine) -> R) -> R {
        self.inner.machines.with(body)
    }

    /// The top of the tree.
    #[must_use]
    pub fn root(&self) -> Space {
        let id = self.shared().root.get().map(|root| root.id).unwrap_or_default();
        Space { runtime: self.clone(), id }
    }

    /// All live spaces, in order of id: a parent stands before its children.
    #[must_use]
    pub fn spaces(&self) -> Vec<Space> {
        self.shared().tree.read().keys().map(|id| Space { runtime: self.clone(), id }).collect()
    }

    /// Subscribes to what happens in the runtime from now on: every event, in order. The channel has no limit; who
    /// subscribes should take events out, or drop the channel. It ends when the runtime is shut down.
    #[must_use]
    pub fn subscribe(&self) -> crossbeam::channel::Receiver<crate::event::Event> {
        self.shared().events.subscribe().1
    }

    /// The space with this id.
    #[must_use]
    pub fn space(&self, id: SpaceId) -> Option<Space> {
        self.shared().node(id).map(|_| Space { runtime: self.clone(), id })
    }

    pub(crate) fn take_interpreter(&self) -> Option<rustpython_vm::Interpreter> {
        self.inner.machines.take_interpreter()
    }
}
