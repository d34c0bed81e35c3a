//! Importing from a store: a finder for `sys.meta_path`, which is the loader of what it finds, too.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::ThreadId,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, FromArgs, Py, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyDictRef, PyFunction, PyModule, PyStr, PyStrRef, PyType},
    pyclass,
    types::Representable,
};

use super::{
    declared,
    error::StoreError,
    imports::import_name,
    name::INIT,
    raise::raise,
    record::Module,
    snapshot::{Found, Snapshot},
    state,
    store::{Heads, Store},
};
use crate::{
    import::{boot, find, generation::Generation, level, owner},
    vm::native::payload,
};

/// After how many updates the second copies are looked for that were not freed.
const LOOK_AFTER: usize = 16;

struct Ahead {
    thread: ThreadId,
    snapshot: Arc<Snapshot>,
    /// The values of loaded modules, by name, that stay the objects that they are.
    same: Arc<BTreeMap<String, state::Same>>,
}

/// What attaches a space to a branch of a store: which commit it sees.
pub(crate) struct Attachment {
    pub(crate) store: Store,
    pub(crate) branch: String,
    /// Only this package and what is in it comes from the store.
    prefix: Option<String>,
    snapshot: ArcSwap<Snapshot>,
    /// What became of modules by values that the space itself kept since then: it sees them so already.
    own: Mutex<BTreeMap<String, Module>>,
    /// What one thread sees in its place while it loads the modules of another commit.
    ahead: Mutex<Option<Ahead>>,
    detached: AtomicBool,
    /// How many updates of loaded modules there were.
    updates: AtomicUsize,
}

impl Attachment {
    pub(crate) fn new(store: Store, branch: &str, prefix: Option<String>) -> Result<Self, StoreError> {
        let snapshot = ArcSwap::from_pointee(store.snapshot(branch)?);
        let (ahead, detached) = (Mutex::default(), AtomicBool::new(false));
        let updates = AtomicUsize::new(0);
        let own = Mutex::default();
        Ok(Self { store, branch: branch.to_owned(), prefix, snapshot, own, ahead, updates, detached })
    }

    /// The commit that the running thread sees.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.ahead(|ahead| Arc::clone(&ahead.snapshot)).unwrap_or_else(|| self.snapshot.load_full())
    }

    /// The last commit of the branch.
    pub(crate) fn head(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot(&self.branch)
    }

    /// The moves of the branch's head from now on.
    pub(crate) fn subscribe(&self) -> Result<Heads, StoreError> {
        self.store.subscribe(&self.branch, None)
    }

    /// Whether the space let go of it.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// Whether the second copies that updates leave should be looked for: RustPython's collector does not see all cycles.
    pub(crate) fn is_due(&self) -> bool {
        self.updates.fetch_add(1, Ordering::Relaxed) % LOOK_AFTER == LOOK_AFTER - 1
    }

    /// Lets every thread see another commit.
    pub(crate) fn move_to(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
        self.own.lock().clear();
    }

    /// Notes what became of a module by values that the space kept.
    pub(crate) fn note_own(&self, name: &str, module: Module) {
        self.own.lock().insert(import_name(name).to_owned(), module);
    }

    /// What became of modules by values that the space kept, by the names that imports have for them.
    pub(crate) fn own(&self) -> BTreeMap<String, Module> {
        self.own.lock().clone()
    }

    /// The module of this name, or the code of the package, as the running thread sees it; with its full name.
    pub(crate) fn sees(&self, name: &str) -> Result<Option<(String, Module)>, StoreError> {
        let is_ahead = self.ahead(|_| ()).is_some();
        let (full, module) = match self.snapshot().find(name)? {
            Some(Found::Module(module)) => (name.to_owned(), module),
            Some(Found::Package(Some(code))) => (format!("{name}.{INIT}"), code),
            _ => return Ok(None),
        };
        let own = if is_ahead { None } else { self.own.lock().get(name).cloned() };
        Ok(Some((full, own.unwrap_or(module))))
    }

    /// What the running thread sees of another commit, if it does.
    fn ahead<R>(&self, read: impl FnOnce(&Ahead) -> R) -> Option<R> {
        self.ahead.lock().as_ref().filter(|ahead| ahead.thread == std::thread::current().id()).map(read)
    }

    /// Lets the running thread see another commit while `body` runs, in which the values `same` stay the objects that they
    /// are. One thread at a time does.
    pub(crate) fn while_ahead<R>(
        &self,
        snapshot: Arc<Snapshot>,
        same: BTreeMap<String, state::Same>,
        body: impl FnOnce() -> R,
    ) -> R {
        struct Back<'attachment>(&'attachment Attachment);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                let ahead = self.0.ahead.lock().take();
                drop(ahead);
            }
        }
        let thread = std::thread::current().id();
        *self.ahead.lock() = Some(Ahead { thread, snapshot, same: Arc::new(same) });
        let _back = Back(self);
        body()
    }

    /// Whether a module of this name would come from the store.
    pub(crate) fn has_in_view(&self, name: &str) -> bool {
        self.prefix
            .as_deref()
            .is_none_or(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    fn find(&self, name: &str, vm: &VirtualMachine) -> PyResult<Option<Found>> {
        if !self.has_in_view(name) || name.ends_with("__init__") {
            return Ok(None);
        }
        let snapshot = self.snapshot();
        match vm.allow_threads(|| snapshot.find(name)) {
            // What no module can be called is not here.
            Err(StoreError::Name { .. }) => Ok(None),
            found => found.map_err(|error| raise(&error, vm)),
        }
    }

    /// What tracebacks give as the file of a module.
    pub(crate) fn origin(&self, name: &str, is_package: bool) -> String {
        if is_package { origin(&self.store, &format!("{name}.__init__")) } else { origin(&self.store, name) }
    }
}

/// What tracebacks give as the file of a module, or of the code of a package under its full name.
fn origin(store: &Store, name: &str) -> String {
    format!("{}/{}.py", store.describe(), name.replace('.', "/"))
}

/// Finds and loads the modules of a store.
#[pyclass(module = "modspace", name = "StoreFinder")]
pub(crate) struct StoreFinder(pub(crate) Arc<Attachment>);
payload!(StoreFinder);

/// The full name and the source of a module that is to keep values, and what is kept.
type Keeping = (String, Vec<u8>, Option<Vec<u8>>);

#[derive(FromArgs)]
struct FindArgs {
    #[pyarg(any)]
    name: PyStrRef,
    #[pyarg(any, default)]
    _path: Option<PyObjectRef>,
    #[pyarg(any, default)]
    _target: Option<PyObjectRef>,
}

impl Representable for StoreFinder {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<StoreFinder of {:?} in {}>", zelf.0.branch, zelf.0.store.describe()))
    }
}

#[pyclass(with(Representable))]
impl StoreFinder {
    fn missing(name: &PyStrRef, vm: &VirtualMachine) -> rustpython_vm::builtins::PyBaseExceptionRef {
        vm.new_import_error(format!("the store has no module {:?} any more", name.to_string_lossy()), name.clone())
    }

    /// What the store has for a module: whether it is a package, and its record.
    fn module(zelf: &Py<Self>, name: &PyStrRef, vm: &VirtualMachine) -> PyResult<(bool, Option<Module>)> {
        match name.to_str().map(|name| zelf.0.find(name, vm)).transpose()?.flatten() {
            Some(Found::Module(module)) => Ok((false, Some(module))),
            Some(Found::Package(code)) => Ok((true, code)),
            None => Err(Self::missing(name, vm)),
        }
    }

    fn bytes(zelf: &Py<Self>, module: Option<Module>, vm: &VirtualMachine) -> PyResult<Vec<u8>> {
        let Some(module) = module else { return Ok(Vec::new()) };
        let snapshot = zelf.0.snapshot();
        vm.allow_threads(|| snapshot.blob(module.source)).map_err(|error| raise(&error, vm))
    }

    /// The spec of a module that the store has at the commit which the space sees; else None.
    #[pymethod]
    fn find_spec(zelf: PyRef<Self>, args: FindArgs, vm: &VirtualMachine) -> PyResult {
        let Some(name) = args.name.to_str() else { return Ok(vm.ctx.none()) };
        let is_package = match zelf.0.find(name, vm)? {
            None => return Ok(vm.ctx.none()),
            Some(Found::Package(_)) => true,
            Some(Found::Module(_)) => false,
        };
        let generation = calling(vm)?;
        let class = boot::importlib(&generation, vm)?.get("ModuleSpec", vm)?;
        let spec = class.call((args.name.clone(), PyObjectRef::from(zelf.clone())), vm)?;
        if is_package {
            spec.set_attr("submodule_search_locations", vm.ctx.new_list(Vec::new()), vm)?;
        }
        spec.set_attr("origin", vm.ctx.new_str(zelf.0.origin(name, is_package)), vm)?;
        // Which sets `__file__`; nothing is looked for there.
        spec.set_attr("_set_fileattr", vm.ctx.new_bool(true), vm)?;
        spec.set_attr("cached", vm.ctx.none(), vm)?;
        Ok(spec)
    }

    /// A module that is pickled by its name.
    #[pymethod]
    fn create_module(_zelf: &Py<Self>, spec: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let name = spec.get_attr("name", vm)?;
        StoreModule::class(&vm.ctx).as_object().call((name,), vm)
    }

    #[pymethod]
    fn exec_module(zelf: &Py<Self>, module: PyRef<PyModule>, vm: &VirtualMachine) -> PyResult<()> {
        let generation = calling(vm)?;
        let spec = module.get_attr("__spec__", vm)?;
        let name: PyStrRef = spec.get_attr("name", vm)?.downcast().map_err(|_| vm.new_type_error("no name"))?;
        let code = Self::code(zelf, &generation, &name, vm)?;
        let dict = module.dict();
        // By importlib's way, which tracebacks do not show.
        let exec = generation.builtins_dict.get_item("exec", vm)?;
        let call = boot::importlib(&generation, vm)?.get("_call_with_frames_removed", vm)?;
        call.call((exec, code, dict.clone()), vm)?;
        let loader_state = defined(&dict, &name, vm)?;
        if let Some((full, source, kept)) = Self::kept(zelf, &name, vm)? {
            state::begin(&generation, (&full, &source), kept.as_deref(), &dict, &loader_state, vm)?;
            // What is kept is there already, as the objects that the program has.
            let same = zelf.0.ahead(|ahead| Arc::clone(&ahead.same));
            if let Some(same) = same.as_ref().and_then(|same| same.get(&*name.to_string_lossy())) {
                state::stay(&generation, same, &dict, vm)?;
            }
        }
        spec.set_attr("loader_state", loader_state, vm)
    }

    /// The full name and the source of a module that is to keep values, and what is kept.
    fn kept(zelf: &Py<Self>, name: &PyStrRef, vm: &VirtualMachine) -> PyResult<Option<Keeping>> {
        let Some(name) = name.to_str() else { return Ok(None) };
        let kept = || {
            let Some((full, module)) = zelf.0.sees(name)?.filter(|(_, module)| module.metadata.is_some()) else {
                return Ok(None);
            };
            let snapshot = zelf.0.snapshot();
            if !state::is_wanted(&snapshot.metadata(&module)?) {
                return Ok(None);
            }
            let kept = module.state.map(|id| snapshot.blob(id)).transpose()?;
            Ok(Some((full, snapshot.blob(module.source)?, kept)))
        };
        vm.allow_threads(kept).map_err(|error: StoreError| raise(&error, vm))
    }

    fn code(zelf: &Py<Self>, generation: &Generation, name: &PyStrRef, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
        let (is_package, module) = Self::module(zelf, name, vm)?;
        let source = Self::bytes(zelf, module, vm)?;
        let file = zelf.0.origin(&name.to_string_lossy(), is_package);
        let hash = *blake3::hash(&source).as_bytes();
        find::note_source(&file, hash);
        generation.shared.code.compiled(&file, -1, hash, vm, || compile(source, &file, vm))
    }

    /// The module's code object.
    #[pymethod]
    fn get_code(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
        Self::code(zelf, &*calling(vm)?, &name, vm)
    }

    /// The module's source, decoded as Python decodes it; None for a package without code.
    #[pymethod]
    fn get_source(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult {
        let (_, module) = Self::module(zelf, &name, vm)?;
        if module.is_none() {
            return Ok(vm.ctx.none());
        }
        decode(Self::bytes(zelf, module, vm)?, vm)
    }

    /// Whether the module is a package.
    #[pymethod]
    fn is_package(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult<bool> {
        Self::module(zelf, &name, vm).map(|(is_package, _)| is_package)
    }

    /// What the module's `__file__` is.
    #[pymethod]
    fn get_filename(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult<String> {
        let (is_package, _) = Self::module(zelf, &name, vm)?;
        Ok(zelf.0.origin(&name.to_string_lossy(), is_package))
    }

    #[pymethod]
    fn invalidate_caches(_zelf: &Py<Self>) {}

    /// The branch that the space follows.
    #[pygetset]
    fn branch(zelf: &Py<Self>) -> String {
        zelf.0.branch.clone()
    }

    /// The commit that the space sees, or None.
    #[pygetset]
    fn commit(zelf: &Py<Self>) -> Option<String> {
        zelf.0.snapshot().commit().map(|id| id.to_string())
    }
}

/// A module from a store.
#[pyclass(module = "modspace", name = "StoreModule", base = PyModule)]
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct StoreModule(PyModule);

#[pyclass(flags(BASETYPE, HAS_DICT, HAS_WEAKREF))]
impl StoreModule {
    /// Pickles the module by its name: who reads it imports it.
    #[pymethod]
    fn __reduce_ex__(zelf: PyObjectRef, _protocol: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let import = level::import_module(&calling(vm)?, "importlib", vm)?.get_attr("import_module", vm)?;
        let name = zelf.get_attr("__name__", vm)?;
        Ok(vm.ctx.new_tuple(vec![import, vm.ctx.new_tuple(vec![name]).into()]).into())
    }
}

fn calling(vm: &VirtualMachine) -> PyResult<Arc<Generation>> {
    owner::lexical(vm).ok_or_else(|| vm.new_runtime_error("no module space is running"))
}

/// Whether the attachment's finder loaded the module.
pub(crate) fn is_from(attachment: &Arc<Attachment>, module: &PyObjectRef, vm: &VirtualMachine) -> PyResult<bool> {
    let Some(spec) = vm.get_attribute_opt(module, "__spec__")? else { return Ok(false) };
    let loader = vm.get_attribute_opt(&spec, "loader")?;
    Ok(loader.is_some_and(|loader| {
        loader.downcast_ref::<StoreFinder>().is_some_and(|finder| Arc::ptr_eq(&finder.0, attachment))
    }))
}

/// Compiles a module's source as importlib does.
fn compile(source: Vec<u8>, file: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
    let compile = vm.builtins.dict().get_item("compile", vm)?;
    let args = (vm.ctx.new_bytes(source), vm.ctx.new_str(file), vm.ctx.new_str("exec"), 0, true);
    compile.call(args, vm)?.downcast().map_err(|_| vm.new_type_error("compile() returned no code object"))
}

/// Raises what Python says about a source that is to be stored. What spaces of this process have imported they will have to
/// import again: so that is compiled once for all.
///
/// # Errors
/// `SyntaxError`, and what else compiling raises.
pub(crate) fn check_compiles(store: &Store, name: &str, source: Vec<u8>, vm: &VirtualMachine) -> PyResult<()> {
    let file = origin(store, name);
    let code = &calling(vm)?.shared.code;
    if code.has_compiled(&file, -1) {
        let hash = *blake3::hash(&source).as_bytes();
        code.compiled(&file, -1, hash, vm, || compile(source, &file, vm)).map(drop)
    } else {
        compile(source, &file, vm).map(drop)
    }
}

/// A source as text, with `\n` at the end of each line.
pub(crate) fn decode(source: Vec<u8>, vm: &VirtualMachine) -> PyResult {
    let generation = calling(vm)?;
    boot::importlib(&generation, vm)?;
    let external = generation.modules(vm)?.get_item("_frozen_importlib_external", vm)?;
    external.get_attr("decode_source", vm)?.call((vm.ctx.new_bytes(source),), vm)
}

/// Which names the module's source defined: in the module, under `""`, in its classes, under their qualified names, and as
/// attributes of its functions, under these with `()`.
/// What somebody else sets there later is not of the source.
pub(crate) fn defined(dict: &PyDictRef, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult {
    let all = vm.ctx.new_dict();
    let names = |dict: &PyDictRef| vm.ctx.new_list(dict.clone().into_iter().map(|(name, _)| name).collect());
    all.set_item("", names(dict).into(), vm)?;
    let mut next: Vec<PyObjectRef> = dict.clone().into_iter().map(|(_, value)| value).collect();
    while let Some(value) = next.pop() {
        if let Some(function) = value.downcast_ref::<PyFunction>() {
            let attributes = function.as_object().dict().filter(|attributes| !attributes.is_empty());
            if let Some(attributes) = attributes {
                let qualified = function.as_object().get_attr("__qualname__", vm)?.str(vm)?;
                all.set_item(
                    &*vm.ctx.new_str(format!("{}()", qualified.to_string_lossy())),
                    names(&attributes).into(),
                    vm,
                )?;
            }
            continue;
        }
        let Some(class) = value.downcast_ref::<PyType>() else {
            declared::of_interface(&value, &all, vm)?;
            continue;
        };
        let (Some(heap), Some(body)) = (&class.heaptype_ext, class.attributes.as_dict()) else { continue };
        let qualified = heap.qualname.read().clone();
        let module = body.get_item_opt("__module__", vm)?;
        let is_own = module.is_some_and(|module| {
            module.downcast_ref::<PyStr>().is_some_and(|module| module.as_bytes() == name.as_bytes())
        });
        if is_own && !all.contains_key(&*qualified, vm) {
            let body = body.to_owned();
            all.set_item(&*qualified, names(&body).into(), vm)?;
            declared::of_class(&body, &qualified.to_string_lossy(), &all, vm)?;
            next.extend(body.into_iter().map(|(_, value)| value));
        }
    }
    Ok(all.into())
}

/// The finders of stores on the `sys.meta_path` of a generation.
pub(crate) fn attachments(
    generation: &Generation,
    vm: &VirtualMachine,
) -> PyResult<Vec<(PyObjectRef, Arc<Attachment>)>> {
    let Some(path) = generation.import_state().get_item_opt("meta_path", vm)? else { return Ok(Vec::new()) };
    let items: Vec<PyObjectRef> = path.try_to_value(vm)?;
    Ok(items
        .into_iter()
        .filter_map(|item| {
            let attachment = item.downcast_ref::<StoreFinder>().map(|finder| Arc::clone(&finder.0))?;
            Some((item, attachment))
        })
        .collect())
}

/// Puts a finder for the attachment in front of the others.
pub(crate) fn attach(
    generation: &Arc<Generation>,
    attachment: Attachment,
    vm: &VirtualMachine,
) -> PyResult<Arc<Attachment>> {
    boot::importlib(generation, vm)?;
    let path = generation.import_state().get_item("meta_path", vm)?;
    let finder = StoreFinder(Arc::new(attachment)).into_ref(&vm.ctx);
    let attachment = Arc::clone(&finder.0);
    vm.call_method(&path, "insert", (0, PyObjectRef::from(finder)))?;
    Ok(attachment)
}

/// Takes the finder out again. What was imported stays.
pub(crate) fn detach(generation: &Arc<Generation>, finder: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let path = generation.import_state().get_item("meta_path", vm)?;
    let items: Vec<PyObjectRef> = path.try_to_value(vm)?;
    if let Some(index) = items.iter().position(|item| item.is(finder)) {
        path.del_item(&index, vm)?;
    }
    if let Some(finder) = finder.downcast_ref::<StoreFinder>() {
        finder.0.detached.store(true, Ordering::Release);
    }
    Ok(())
}
