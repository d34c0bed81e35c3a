//! The class `ModuleSpace`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustpython_vm::{
    AsObject, FromArgs, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyList, PySet, PyStr, PyStrRef, PyTuple, PyType},
    function::FuncArgs,
    pyclass,
    types::{Constructor, Initializer, Representable},
};

use super::{
    convert::commit_id,
    enter, handle,
    info::ModuleInfo,
    migration::Migration,
    raise,
    report::{DiscardReport, ReloadReport},
    shared,
    store::{self},
    update_report::UpdateReport,
};
use crate::{
    error::Error,
    import::{
        context,
        generation::{Asked, Generation, Node},
        policy::Pattern,
    },
    lifecycle::{self, DiscardOptions},
    persist::{self, AttachOptions, MAIN, UpdateOptions, space as of_store},
    space::{Config, SearchPath, create, run},
    vm::{native::payload, panic},
};

/// A module space.
#[pyclass(module = "modspace", name = "ModuleSpace")]
pub(crate) struct ModuleSpace {
    pub(super) node: OnceLock<Arc<Node>>,
}

payload!(ModuleSpace);

#[derive(FromArgs)]
pub(crate) struct SpaceArgs {
    #[pyarg(any, default)]
    parent: Option<PyObjectRef>,
    #[pyarg(named, default)]
    name: Option<PyObjectRef>,
    #[pyarg(named, default)]
    path: Option<PyObjectRef>,
    #[pyarg(named, default)]
    delegation: Option<PyObjectRef>,
    #[pyarg(named, default)]
    share: Option<PyObjectRef>,
    #[pyarg(named, default)]
    fresh: Option<PyObjectRef>,
    #[pyarg(named, default)]
    argv: Option<PyObjectRef>,
}

/// The strings of `value`, which must be a list, tuple or set of `str`. A single string is refused: it would be taken
/// for its characters.
fn strings(value: &PyObject, what: &str, vm: &VirtualMachine) -> PyResult<Vec<PyStrRef>> {
    let class = value.class().name().to_string();
    let is_collection = value.downcast_ref::<PyList>().is_some()
        || value.downcast_ref::<PyTuple>().is_some()
        || value.downcast_ref::<PySet>().is_some();
    if !is_collection {
        return Err(vm.new_type_error(format!("{what} must be a list or tuple of str, not {class}")));
    }
    let items: Vec<PyObjectRef> = value.to_owned().try_into_value(vm)?;
    items
        .into_iter()
        .map(|item| {
            let class = item.class().name().to_string();
            item.downcast::<PyStr>().map_err(|_| vm.new_type_error(format!("{what} must hold str, not {class}")))
        })
        .collect()
}

fn text(value: &PyStrRef, what: &str, vm: &VirtualMachine) -> PyResult<String> {
    match value.to_str() {
        Some(text) if text.contains('\0') => Err(vm.new_value_error(format!("{what} holds a null character"))),
        Some(text) => Ok(text.to_owned()),
        None => Err(vm.new_value_error(format!("{what} holds a surrogate that cannot be encoded"))),
    }
}

fn patterns(value: Option<PyObjectRef>, what: &str, vm: &VirtualMachine) -> PyResult<Vec<Pattern>> {
    let Some(value) = value.filter(|value| !vm.is_none(value)) else { return Ok(Vec::new()) };
    let texts = match value.downcast::<PyStr>() {
        Ok(single) => vec![single],
        Err(value) => strings(&value, what, vm)?,
    };
    texts.iter().map(|item| Pattern::new(&text(item, what, vm)?).map_err(|error| raise(&error, vm))).collect()
}

impl SpaceArgs {
    fn config(self, vm: &VirtualMachine) -> PyResult<(Option<Arc<Node>>, Config)> {
        let given = |value: Option<PyObjectRef>| value.filter(|value| !vm.is_none(value));
        let parent = match given(self.parent) {
            None => None,
            Some(parent) => Some(ModuleSpace::node_of(&parent, vm)?),
        };
        let string = |value: PyObjectRef, what: &str| -> PyResult<String> {
            let class = value.class().name().to_string();
            let value =
                value.downcast::<PyStr>().map_err(|_| vm.new_type_error(format!("{what} must be str, not {class}")))?;
            text(&value, what, vm)
        };
        let texts = |value: PyObjectRef, what: &str| -> PyResult<Vec<String>> {
            strings(&value, what, vm)?.iter().map(|item| text(item, what, vm)).collect()
        };
        let config = Config {
            name: given(self.name).map(|name| string(name, "name")).transpose()?,
            path: match given(self.path) {
                None => SearchPath::Inherit,
                Some(path) => SearchPath::Exactly(texts(path, "path")?),
            },
            prepend: Vec::new(),
            delegation: match given(self.delegation) {
                None => Default::default(),
                Some(delegation) => string(delegation, "delegation")?.parse().map_err(|error| raise(&error, vm))?,
            },
            share: patterns(self.share, "share", vm)?,
            fresh: patterns(self.fresh, "fresh", vm)?,
            argv: given(self.argv).map(|argv| texts(argv, "argv")).transpose()?,
        };
        Ok((parent, config))
    }
}

impl Constructor for ModuleSpace {
    type Args = FuncArgs;

    fn py_new(_class: &Py<PyType>, _args: FuncArgs, _vm: &VirtualMachine) -> PyResult<Self> {
        Ok(Self { node: OnceLock::new() })
    }
}

impl Initializer for ModuleSpace {
    type Args = SpaceArgs;

    fn init(zelf: &Py<Self>, args: SpaceArgs, vm: &VirtualMachine) -> PyResult<()> {
        let shared = shared(vm)?;
        let (parent, config) = args.config(vm)?;
        if zelf.node.get().is_some() {
            return Err(vm.new_type_error("a ModuleSpace is initialised once"));
        }
        let root = || shared.root.get().cloned();
        let parent = parent.or_else(root).ok_or_else(|| vm.new_runtime_error("the runtime has no root space"))?;
        let node = create::create(&shared, Some(&parent), config, vm).map_err(|failure| match failure {
            create::Failure::Refused(error) => raise(&error, vm),
            create::Failure::Raised(error) => error,
        })?;
        shared.handles.insert(node.id, zelf.to_owned().into());
        let set = zelf.node.set(node);
        debug_assert!(set.is_ok(), "looked at above");
        Ok(())
    }
}

impl Representable for ModuleSpace {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(match zelf.node.get() {
            None => "<ModuleSpace, not initialised>".to_owned(),
            Some(node) => {
                let state = if node.is_closed() { ", closed" } else { "" };
                format!("<ModuleSpace '{}'{state}>", node.name)
            }
        })
    }
}

impl ModuleSpace {
    pub(crate) fn over(node: Arc<Node>) -> Self {
        Self { node: OnceLock::from(node) }
    }

    fn node(&self, vm: &VirtualMachine) -> PyResult<&Arc<Node>> {
        self.node.get().ok_or_else(|| {
            vm.new_runtime_error("this ModuleSpace was not initialised; call super().__init__() in its class")
        })
    }

    fn node_of(object: &PyObject, vm: &VirtualMachine) -> PyResult<Arc<Node>> {
        match object.downcast_ref::<Self>() {
            Some(space) => space.node(vm).cloned(),
            None => Err(vm.new_type_error(format!("parent must be a ModuleSpace, not {}", object.class().name()))),
        }
    }

    fn generation(&self, vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
        let node = self.node(vm)?;
        node.current().ok_or_else(|| raise(&Error::Closed { name: node.name.clone() }, vm))
    }
}

#[pyclass(with(Constructor, Initializer, Representable), flags(BASETYPE, HAS_DICT, HAS_WEAKREF))]
impl ModuleSpace {
    /// The space's name, for messages.
    #[pygetset]
    fn name(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<String> {
        zelf.node(vm).map(|node| node.name.clone())
    }

    /// The space's id, unique in this process.
    #[pygetset]
    fn id(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<u64> {
        zelf.node(vm).map(|node| node.id.as_u64())
    }

    /// The parent space; None for the root.
    #[pygetset]
    fn parent(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        let shared = shared(vm)?;
        Ok(match &zelf.node(vm)?.parent {
            Some(parent) => handle(&shared, parent, vm),
            None => vm.ctx.none(),
        })
    }

    /// The live child spaces.
    #[pygetset]
    fn children(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        let shared = shared(vm)?;
        let id = zelf.node(vm)?.id;
        let is_child = |node: &&Arc<Node>| node.parent.as_ref().is_some_and(|parent| parent.id == id);
        let nodes: Vec<_> = shared.tree.read().values().filter(is_child).cloned().collect();
        Ok(nodes.iter().map(|node| handle(&shared, node, vm)).collect())
    }

    /// Whether the space was discarded.
    #[pygetset]
    fn closed(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<bool> {
        zelf.node(vm).map(|node| node.is_closed())
    }

    /// The number of the space's generation.
    #[pygetset(name = "generation")]
    fn generation_number(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<u64> {
        zelf.generation(vm).map(|generation| generation.number)
    }

    /// The space's emulated `sys`.
    #[pygetset]
    fn sys(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        zelf.generation(vm).map(|generation| generation.sys.clone().into())
    }

    /// The space's `builtins`.
    #[pygetset]
    fn builtins(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        zelf.generation(vm).map(|generation| generation.builtins.clone().into())
    }

    /// The namespace of the space's `__main__`.
    #[pygetset]
    fn ns(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        Ok(zelf.generation(vm)?.main(vm)?.dict().into())
    }

    /// The module table: a dict from module name to ModuleInfo, as it is now.
    #[pygetset]
    fn modules(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        let node = zelf.node(vm)?;
        let table = vm.ctx.new_dict();
        for (name, record) in zelf.generation(vm)?.records(vm)? {
            let info = ModuleInfo::new(name.clone(), Arc::clone(node), record).into_ref(&vm.ctx);
            table.set_item(&*vm.ctx.new_str(name), info.into(), vm)?;
        }
        Ok(table.into())
    }

    /// Imports by importlib.import_module's rules: `import_("foo.bar")` returns `foo.bar`.
    #[pymethod]
    fn import_(zelf: &Py<Self>, name: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let class = name.class().name().to_string();
        let name: PyStrRef =
            name.downcast().map_err(|_| vm.new_type_error(format!("the module name must be str, not {class}")))?;
        if name.as_bytes().is_empty() {
            return Err(vm.new_value_error("Empty module name"));
        }
        if name.as_bytes().starts_with(b".") {
            let message = "import_() takes an absolute name; a relative one needs a package to start from";
            return Err(vm.new_type_error(message));
        }
        enter(zelf.node(vm)?, vm, |generation| {
            let found = crate::import::find::find_and_load(generation, &name, vm);
            if let (Ok(_), Some(name)) = (&found, name.to_str()) {
                generation.note(Asked::Import(name.to_owned()));
            }
            found.map(|found| found.module).inspect_err(|error| {
                rustpython_vm::import::remove_importlib_frames(vm, error);
                if !error.fast_isinstance(vm.ctx.exceptions.module_not_found_error) {
                    let name = name.to_string_lossy();
                    let note = format!("modspace: while importing {name:?} into the space {:?}", generation.name());
                    // The note explains; without it the error is still the right one.
                    let _ = vm.call_method(error.as_object(), "add_note", (note,));
                }
            })
        })
    }

    /// Runs source or code in the space's `__main__`.
    #[pymethod]
    fn exec(zelf: &Py<Self>, source: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        enter(zelf.node(vm)?, vm, |generation| {
            generation.shared.exec.call((source, generation.main(vm)?.dict()), vm).map(drop)
        })
    }

    /// Evaluates an expression in the space's `__main__`.
    #[pymethod]
    fn eval(zelf: &Py<Self>, expression: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        enter(zelf.node(vm)?, vm, |generation| {
            generation.shared.eval.call((expression, generation.main(vm)?.dict()), vm)
        })
    }

    /// Calls a function with this space as the context space.
    #[pymethod]
    fn call(zelf: &Py<Self>, function: PyObjectRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
        enter(zelf.node(vm)?, vm, |_| function.call(args, vm))
    }

    /// Runs a script, or a directory or zip file with a `__main__`, as the space's `__main__`; returns its namespace.
    #[pymethod]
    fn run_path(zelf: &Py<Self>, path: PyObjectRef, args: RunArgs, vm: &VirtualMachine) -> PyResult {
        let path = rustpython_vm::function::FsPath::try_from_path_like(path, true, vm)?.to_path_buf(vm)?;
        let argv = args.argv(vm)?;
        enter(zelf.node(vm)?, vm, |generation| {
            let asked = Asked::Path(path.as_os_str().to_owned(), argv.clone());
            run::path(generation, path.as_os_str(), argv, vm)?;
            generation.note(asked);
            Ok(generation.main(vm)?.dict().into())
        })
    }

    /// Runs a module as `python -m` does, as the space's `__main__`; returns its namespace.
    #[pymethod]
    fn run_module(zelf: &Py<Self>, name: PyStrRef, args: RunArgs, vm: &VirtualMachine) -> PyResult {
        let argv = args.argv(vm)?;
        let name = text(&name, "the module name", vm)?;
        enter(zelf.node(vm)?, vm, |generation| {
            let asked = Asked::Module(name.clone(), argv.clone());
            run::module(generation, &name, argv, vm)?;
            generation.note(asked);
            Ok(generation.main(vm)?.dict().into())
        })
    }

    /// Builds the next generation of the space beside this one, with everything anew that was imported or run by name, and
    /// swaps it in. When that fails, nothing changes.
    #[pymethod]
    fn reload(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<ReloadReport> {
        panic::catch(vm, || {
            let report = lifecycle::reload(&shared(vm)?, zelf.node(vm)?, vm);
            report.map(Into::into).map_err(|failure| lifecycle::raise_reload(failure, |error| raise(error, vm)))
        })
    }

    /// Closes the space, waits up to `timeout` seconds for threads inside, runs its `atexit` callbacks and frees
    /// everything that nothing outside holds; the report says what is left, and why.
    #[pymethod]
    fn discard(zelf: &Py<Self>, args: DiscardArgs, vm: &VirtualMachine) -> PyResult<DiscardReport> {
        let options = args.options(vm)?;
        let discard =
            || lifecycle::discard(&shared(vm)?, zelf.node(vm)?, options, vm).map_err(|error| raise(&error, vm));
        let discarded = panic::catch(vm, discard)?;
        match discarded.interrupt {
            Some(interrupt) => Err(interrupt),
            None => Ok(discarded.report.into()),
        }
    }

    /// Lets the space import the modules of a branch of a store, before any others; with `prefix`, only that package and what
    /// is in it. It sees the branch's last commit until it syncs; with `follow`, a thread of its own syncs it as commits come.
    #[pymethod]
    fn attach(zelf: &Py<Self>, args: AttachArgs, vm: &VirtualMachine) -> PyResult<()> {
        let store = store::store_of(&args.store, vm)?;
        let follow = flag(args.follow, "follow", vm)?;
        let branch = args.branch.map_or_else(|| MAIN.to_owned(), |branch| branch.to_string_lossy().into_owned());
        let prefix = args.prefix.map(|prefix| text(&prefix, "prefix", vm)).transpose()?;
        let options = AttachOptions { branch, prefix, follow };
        enter(zelf.node(vm)?, vm, |generation| of_store::attach(generation, &store, options, vm))
    }

    /// Lets the space see the last commit of the branch: the modules that it has loaded are updated in place, all or none
    /// of a store. With several stores, one after the other.
    #[pymethod]
    fn sync(zelf: &Py<Self>, args: SyncArgs, vm: &VirtualMachine) -> PyResult<UpdateReport> {
        let options = args.options(vm)?;
        enter(zelf.node(vm)?, vm, |generation| of_store::sync(generation, &options, vm)).map(UpdateReport)
    }

    /// Calls `hook(instance, old)` for the instances that there are when a class of the space, given as `"pkg.mod.Class"`, is
    /// updated in place, and for those of what derives from it; `old` maps names to what the class had before. When the
    /// class has a hook itself, that is called first. With `lazy`, an instance is converted when it is touched.
    /// `cancel()` of what is returned ends that, and so does the end of the space.
    #[pymethod]
    fn migrate(zelf: &Py<Self>, args: MigrateArgs, vm: &VirtualMachine) -> PyResult<Migration> {
        let class = text(&args.name, "the class's name", vm)?;
        let parts: Vec<_> = class.split('.').collect();
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            let message = format!("a class is named with its module, as in \"pkg.mod.Class\", not {class:?}");
            return Err(vm.new_value_error(message));
        }
        if !args.hook.is_callable() {
            let message =
                format!("the hook must be callable, not {}; cancel() takes one out again", args.hook.class().name());
            return Err(vm.new_type_error(message));
        }
        let is_lazy = flag(args.lazy, "lazy", vm)?;
        let generation = zelf.generation(vm)?;
        generation.check_open(vm)?;
        let number = generation.state.migrations.add(class.clone(), args.hook, is_lazy);
        Ok(Migration { space: generation.id(), number, class })
    }

    /// Lets the space see this commit, as `sync` does with the last one.
    #[pymethod]
    fn at(zelf: &Py<Self>, commit: PyStrRef, args: SyncArgs, vm: &VirtualMachine) -> PyResult<UpdateReport> {
        let (id, options) = (commit_id(&commit, vm)?, args.options(vm)?);
        enter(zelf.node(vm)?, vm, |generation| of_store::at(generation, id, &options, vm)).map(UpdateReport)
    }

    /// Ends what `attach` began: the last one, or that of a store. What was imported stays.
    #[pymethod]
    fn detach(zelf: &Py<Self>, args: DetachArgs, vm: &VirtualMachine) -> PyResult<()> {
        let store = args.store.map(|store| store::store_of(&store, vm)).transpose()?;
        enter(zelf.node(vm)?, vm, |generation| of_store::detach(generation, store.as_ref(), vm))
    }

    /// The commit of the store that the space sees, or None.
    #[pygetset]
    fn commit(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Option<String>> {
        let commit = of_store::commit(&*zelf.generation(vm)?, vm)?;
        Ok(commit.map(|commit| commit.to_string()))
    }

    #[pymethod]
    fn __enter__(zelf: PyRef<Self>, vm: &VirtualMachine) -> PyResult<PyRef<Self>> {
        zelf.generation(vm)?;
        context::push(&*shared(vm)?, zelf.node(vm)?, vm)?;
        Ok(zelf)
    }

    #[pymethod]
    fn __exit__(zelf: &Py<Self>, _exception: FuncArgs, vm: &VirtualMachine) -> PyResult<()> {
        let node = zelf.node(vm)?;
        if context::pop(&*shared(vm)?, node, vm)? {
            return Ok(());
        }
        Err(vm.new_runtime_error(format!("the space {:?} was not entered by this thread or task", node.name)))
    }
}

/// The current generation of a space.
pub(super) fn generation_of(space: &Py<ModuleSpace>, vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
    space.generation(vm)
}

/// What a space would do to see what `target` makes of the branch that it follows in the store.
pub(super) fn plan(
    space: &PyObject,
    store: &persist::Store,
    vm: &VirtualMachine,
    target: impl FnOnce(&str) -> PyResult<persist::Snapshot>,
) -> PyResult<UpdateReport> {
    let Some(space) = space.downcast_ref::<ModuleSpace>() else {
        return Err(vm.new_type_error(format!("space must be a ModuleSpace, not {}", space.class().name())));
    };
    let options = UpdateOptions::default();
    let is_meant = |one: &persist::Store| one.is_same(store);
    enter(space.node(vm)?, vm, |generation| of_store::plan(generation, is_meant, target, &options, vm))
        .map(UpdateReport)
}

#[derive(FromArgs)]
struct AttachArgs {
    #[pyarg(any)]
    store: PyObjectRef,
    #[pyarg(any, default)]
    branch: Option<PyStrRef>,
    #[pyarg(any, default)]
    prefix: Option<PyStrRef>,
    #[pyarg(named, default)]
    follow: Option<PyObjectRef>,
}

#[derive(FromArgs)]
struct DetachArgs {
    #[pyarg(any, default)]
    store: Option<PyObjectRef>,
}

#[derive(FromArgs)]
struct SyncArgs {
    #[pyarg(named, default)]
    replace: Option<PyObjectRef>,
    #[pyarg(named, default)]
    time_limit: Option<PyObjectRef>,
}

impl SyncArgs {
    fn options(self, vm: &VirtualMachine) -> PyResult<UpdateOptions> {
        let defaults = UpdateOptions::default();
        Ok(UpdateOptions {
            replace: flag(self.replace, "replace", vm)?,
            time_limit: timeout(self.time_limit, vm)?.unwrap_or(defaults.time_limit),
        })
    }
}

#[derive(FromArgs)]
struct MigrateArgs {
    #[pyarg(any)]
    name: PyStrRef,
    #[pyarg(any)]
    hook: PyObjectRef,
    #[pyarg(any, default)]
    lazy: Option<PyObjectRef>,
}

#[derive(FromArgs)]
struct RunArgs {
    #[pyarg(any, default)]
    argv: Option<PyObjectRef>,
}

impl RunArgs {
    fn argv(self, vm: &VirtualMachine) -> PyResult<Vec<String>> {
        let Some(argv) = self.argv.filter(|argv| !vm.is_none(argv)) else { return Ok(Vec::new()) };
        strings(&argv, "argv", vm)?.iter().map(|item| text(item, "argv", vm)).collect()
    }
}

#[derive(FromArgs)]
struct DiscardArgs {
    #[pyarg(any, default)]
    force: Option<PyObjectRef>,
    #[pyarg(any, default)]
    timeout: Option<PyObjectRef>,
    #[pyarg(any, default)]
    recursive: Option<PyObjectRef>,
}

/// A flag that must be a `bool`: `discard("no")` means nothing good.
pub(super) fn flag(value: Option<PyObjectRef>, what: &str, vm: &VirtualMachine) -> PyResult<bool> {
    let Some(value) = value else { return Ok(false) };
    if value.class().is(vm.ctx.types.bool_type) {
        return value.try_to_bool(vm);
    }
    Err(vm.new_type_error(format!("{what} must be True or False, not {}", value.class().name())))
}

/// A number of seconds, or None.
pub(super) fn timeout(value: Option<PyObjectRef>, vm: &VirtualMachine) -> PyResult<Option<Duration>> {
    let Some(value) = value.filter(|value| !vm.is_none(value)) else { return Ok(None) };
    let class = value.class().name().to_string();
    let seconds = match value.try_float(vm) {
        Ok(seconds) => seconds.to_f64(),
        Err(error) if error.fast_isinstance(vm.ctx.exceptions.overflow_error) => return Err(error),
        Err(_) => return Err(vm.new_type_error(format!("timeout must be a number of seconds or None, not {class}"))),
    };
    if seconds.is_nan() || seconds < 0.0 {
        let message = format!("timeout must be a number of seconds that is not negative, not {seconds}");
        return Err(vm.new_value_error(message));
    }
    Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
}

impl DiscardArgs {
    fn options(self, vm: &VirtualMachine) -> PyResult<DiscardOptions> {
        Ok(DiscardOptions {
            force: flag(self.force, "force", vm)?,
            timeout: timeout(self.timeout, vm)?,
            recursive: flag(self.recursive, "recursive", vm)?,
        })
    }
}
