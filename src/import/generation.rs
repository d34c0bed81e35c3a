//! A space as the import system knows it.
//!
//! ```text
//! Shared (one per interpreter) ── tree ──> Node (one per space, in a slotmap)
//!                                           │ generation (ArcSwap)
//!                                           v
//!                                         Generation ── sys, builtins, importlib copy, module table
//!                                           │ node.parent
//!                                           v
//!                                         the parent's Node
//! ```
//!
//! A [`Generation`] is one life of a space's contents and the only place that holds its Python objects. A [`Node`] is
//! the space's place in the tree, and outlives its generations. The cycle between the two is cut when the space is
//! closed, by taking the generation out of its node.

use std::collections::HashSet;
use std::sync::{
    Arc, LazyLock, OnceLock, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxBuildHasher, FxHashSet};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyModule, PyStr, PyStrInterned, PyTypeRef, PyWeak},
    function::PyMethodDef,
    identifier,
};
use slotmap::{Key, SlotMap};

use super::{
    aside::Asides,
    boot::Importlib,
    cache::CodeCache,
    key::SpaceKey,
    life::Life,
    originals::Originals,
    policy::Policy,
    sealable::Sealable,
    source::Sources,
    table::{ModuleRecord, ModuleState, ModuleTable},
};
use crate::{
    event::{Event, EventKind, Events, Worker},
    sysview::State,
    vm::{change::Retired, heap::Stopped},
};

/// The part of `sys` that each generation has for itself once a space was reloaded.
pub(crate) const IMPORT_STATE: [&str; 4] = ["modules", "meta_path", "path_hooks", "path_importer_cache"];

slotmap::new_key_type! {
    /// Identifies a space in its runtime. Ids are generational: the id of a discarded space never names another one.
    pub struct SpaceId;
}

impl SpaceId {
    /// The id as a number, as Python's `ModuleSpace.id` shows it.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.data().as_ffi()
    }

    pub(crate) fn from_u64(id: u64) -> Self {
        slotmap::KeyData::from_ffi(id).into()
    }
}

/// Attribute names that every import looks at.
pub(crate) struct Names {
    pub(crate) spec: &'static PyStrInterned,
    pub(crate) initialising: &'static PyStrInterned,
    pub(crate) path: &'static PyStrInterned,
    pub(crate) file: &'static PyStrInterned,
}

impl Names {
    pub(crate) fn new(vm: &VirtualMachine) -> Self {
        Self {
            spec: vm.ctx.intern_str("__spec__"),
            initialising: vm.ctx.intern_str("_initializing"),
            path: vm.ctx.intern_str("__path__"),
            file: vm.ctx.intern_str("__file__"),
        }
    }
}

/// What all spaces of one interpreter share.
pub(crate) struct Shared {
    pub(crate) interpreter: i64,
    pub(crate) names: Names,
    pub(crate) tree: RwLock<SlotMap<SpaceId, Arc<Node>>>,
    pub(crate) root: OnceLock<Arc<Node>>,
    pub(crate) code: CodeCache,
    /// The ContextVar that holds the id of the context space.
    pub(crate) context: PyObjectRef,
    /// Its bound `get`.
    pub(crate) context_get: PyObjectRef,
    /// Whether it was ever set. Asking it costs as much as the rest of entering a space from native code.
    pub(crate) context_used: AtomicBool,
    /// Hidden modules that are loaded whole.
    pub(crate) hidden: DashMap<String, PyRef<PyModule>>,
    /// How the classes of platform modules were when these were loaded.
    pub(crate) originals: Originals,
    pub(crate) sources: Sources,
    /// The one `ModuleSpace` object of each live space that was asked for it.
    pub(crate) handles: DashMap<SpaceId, PyObjectRef>,
    /// Generations of live spaces beside the current ones.
    pub(crate) others: Mutex<Others>,
    /// Ended generations that something outside held when they were looked at last.
    pub(crate) leftovers: Mutex<Leftovers>,
    /// How many generations in which code ran have ended.
    pub(crate) ended: AtomicUsize,
    /// Functions of ended generations whose replaced code threads still run.
    pub(crate) retired: Retired,
    pub(crate) events: Events,
    /// Functions that `importlib.util` has in every space beside CPython's.
    pub(crate) util: OnceLock<&'static [PyMethodDef]>,
    /// Whether the hook that calls the spaces' audit hooks is in place.
    pub(crate) auditing: AtomicBool,
    pub(crate) space_error: PyTypeRef,
    pub(crate) closed_error: PyTypeRef,
    /// The hidden interpreter's own `exec` and `eval`, which those of the spaces call.
    pub(crate) exec: PyObjectRef,
    pub(crate) eval: PyObjectRef,
    /// Likewise, its `__build_class__`.
    pub(crate) build_class: PyObjectRef,
}

/// Generations of live spaces beside the current ones.
#[derive(Default)]
pub(crate) struct Others {
    /// They were superseded, and threads may still run in them.
    pub(crate) draining: Vec<Arc<Generation>>,
    /// The spaces of which a thread makes or ends one at this moment, with the thread.
    pub(crate) in_work: Vec<(SpaceId, u64)>,
}

/// What is left of ended generations.
#[derive(Default)]
pub(crate) struct Leftovers {
    pub(crate) generations: Vec<WeakGeneration>,
    /// Classes that are held: nothing else of their generation need be left to tell whose they are.
    pub(crate) classes: Vec<Mark>,
}

impl Leftovers {
    pub(crate) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.classes.is_empty()
    }
}

/// A class of an ended generation.
#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) space: SpaceId,
    pub(crate) class: PyRef<PyWeak>,
}

static SHARED: LazyLock<DashMap<i64, Arc<Shared>>> = LazyLock::new(DashMap::new);

impl Shared {
    pub(crate) fn register(self) -> Arc<Self> {
        let shared = Arc::new(self);
        SHARED.insert(shared.interpreter, Arc::clone(&shared));
        shared
    }

    /// The shared part of the interpreter that `vm` runs, unless it has none (a subinterpreter that a program made).
    pub(crate) fn of(vm: &VirtualMachine) -> Option<Arc<Self>> {
        SHARED.get(&vm.state.interpreter_id).map(|entry| Arc::clone(&entry))
    }

    /// The right to reload the space, one thread at a time. A thread that waits for it is out of the interpreter.
    pub(crate) fn reload_turn(&self, id: SpaceId, vm: &VirtualMachine) -> PyResult<super::locks::Acquired> {
        super::locks::acquire(
            super::locks::LockKey::new(0, &format!("reload {} of {}", id.as_u64(), self.interpreter)),
            vm,
        )
    }

    /// Tells subscribers that something happened to a space, given by id and name, in one of its generations.
    pub(crate) fn tell_of(
        &self,
        kind: EventKind,
        (id, name, generation): (SpaceId, &str, u64),
        module: Option<&str>,
        message: impl FnOnce() -> Option<String>,
    ) {
        if self.events.is_wanted() {
            self.events.send(Event {
                kind,
                space: name.to_owned(),
                space_id: id.as_u64(),
                generation,
                module: module.map(str::to_owned),
                message: message(),
                number: 0,
                time: std::time::SystemTime::now(),
            });
        }
    }

    /// Lets go of a discarded space's `ModuleSpace` object.
    pub(crate) fn forget_handle(&self, id: SpaceId) {
        let handle = self.handles.remove(&id);
        drop(handle);
    }

    /// The generations that are current, and those that were superseded and in which threads may still run.
    pub(crate) fn generations(&self) -> Vec<Arc<Generation>> {
        let mut generations: Vec<_> = self.tree.read().values().filter_map(|node| node.current()).collect();
        generations.extend(self.others.lock().draining.iter().cloned());
        generations
    }

    pub(crate) fn node(&self, id: SpaceId) -> Option<Arc<Node>> {
        self.tree.read().get(id).cloned()
    }
}

/// A space's place in the tree.
pub(crate) struct Node {
    pub(crate) id: SpaceId,
    pub(crate) name: String,
    pub(crate) parent: Option<Arc<Node>>,
    pub(crate) generation: ArcSwapOption<Generation>,
    /// Threads that work for the space in all its generations.
    pub(crate) workers: Mutex<Vec<Arc<Worker>>>,
}

impl Node {
    pub(crate) fn current(&self) -> Option<Arc<Generation>> {
        self.generation.load_full()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.generation.load().is_none()
    }

    /// Whether `self` is above `other` in the tree.
    pub(crate) fn is_ancestor_of(&self, other: &Node) -> bool {
        std::iter::successors(other.parent.as_deref(), |node| node.parent.as_deref()).any(|node| node.id == self.id)
    }

    /// The space, then its parent, and so on up to the root.
    pub(crate) fn chain(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        std::iter::successors(Some(Arc::clone(self)), |node| node.parent.clone())
    }
}

/// One life of a space's contents.
pub(crate) struct Generation {
    /// Unique in the process; names the generation in lock keys.
    pub(crate) serial: u64,
    /// 1 for the first generation of its space.
    pub(crate) number: u64,
    pub(crate) node: Arc<Node>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) policy: Policy,
    pub(crate) sys: PyRef<PyModule>,
    pub(crate) sys_dict: PyDictRef,
    pub(crate) builtins: PyRef<PyModule>,
    pub(crate) builtins_dict: PyDictRef,
    /// What built-in functions of the space are bound to.
    pub(crate) key: PyRef<SpaceKey>,
    pub(crate) main: OnceLock<PyRef<PyModule>>,
    pub(crate) importlib: ArcSwapOption<Importlib>,
    pub(crate) booted: AtomicBool,
    pub(crate) table: ModuleTable,
    pub(crate) state: State,
    pub(crate) life: Life,
    /// Where `modules`, `meta_path`, `path_hooks` and `path_importer_cache` are: the `sys` dict, until the space is
    /// reloaded for the first time. From then on each generation has its own, and `sys` finds the running one's.
    /// Sealed when the generation is withdrawn.
    import_state: Sealable<PyDictRef>,
    /// What was imported or run in the space by name from outside.
    pub(crate) asked: Mutex<Vec<Asked>>,
    /// The names that programs which ran as its `__main__` defined there.
    pub(crate) defined: Mutex<HashSet<String>>,
    classes: Mutex<Classes>,
    pub(crate) boot_began: AtomicBool,
    /// Whether its import system is being made.
    pub(crate) booting: AtomicBool,
    /// Import states that single threads have for themselves.
    pub(crate) asides: Asides,
}

/// Classes that class statements made, to be looked through when there are more than `limit`.
#[derive(Default)]
struct Classes {
    noted: Vec<PyRef<PyWeak>>,
    limit: usize,
}

/// Fewer classes are not looked through.
const MIN_CLASSES: usize = 64;

/// What somebody asked a space for, and gets again when it is reloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Import(String),
    Path(std::ffi::OsString, Vec<String>),
    Module(String, Vec<String>),
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// How the generation of a builtins dict is found.
enum Link {
    Open(Arc<Generation>),
    /// The generation is closed: what is left of its code holds it, through the dict (see [`SpaceKey::keep`]).
    Closed(WeakGeneration),
}

/// Finds the generation that a builtins dict belongs to. A generation holds the dict, and its entry goes before it does
/// (see its `Drop`), so an address in the map is never that of another object.
static BY_BUILTINS: LazyLock<DashMap<usize, Link, FxBuildHasher>> = LazyLock::new(DashMap::default);

impl Generation {
    fn next_serial() -> u64 {
        SERIAL.fetch_add(1, Ordering::Relaxed)
    }

    /// A generation over these objects, not yet published.
    pub(crate) fn new(
        node: &Arc<Node>,
        shared: &Arc<Shared>,
        number: u64,
        policy: Policy,
        key: PyRef<SpaceKey>,
        (sys, sys_dict): (PyRef<PyModule>, PyDictRef),
        (builtins, builtins_dict): (PyRef<PyModule>, PyDictRef),
    ) -> Arc<Self> {
        let import_state = Sealable::new(sys_dict.clone());
        let generation = Arc::new(Self {
            serial: Self::next_serial(),
            number,
            node: Arc::clone(node),
            shared: Arc::clone(shared),
            policy,
            sys,
            sys_dict,
            builtins,
            builtins_dict,
            key,
            main: OnceLock::new(),
            importlib: ArcSwapOption::empty(),
            booted: AtomicBool::new(false),
            table: ModuleTable::default(),
            state: State::default(),
            life: Life::default(),
            import_state,
            asked: Mutex::default(),
            defined: Mutex::default(),
            classes: Mutex::default(),
            boot_began: AtomicBool::new(false),
            booting: AtomicBool::new(false),
            asides: Asides::default(),
        });
        generation.key.set(&generation);
        generation
    }

    pub(crate) fn id(&self) -> SpaceId {
        self.node.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.node.name
    }

    /// Makes running frames that use this generation's builtins belong to it.
    pub(crate) fn publish(self: &Arc<Self>) {
        BY_BUILTINS.insert(self.builtins_address(), Link::Open(Arc::clone(self)));
    }

    /// From now on only code of the generation keeps it. Code that something outside still holds goes on working for it.
    pub(crate) fn withdraw(self: &Arc<Self>) {
        self.import_state.seal();
        self.key.keep(Some(Arc::clone(self)));
        let replaced = BY_BUILTINS.insert(self.builtins_address(), Link::Closed(Arc::downgrade(self)));
        drop(replaced);
    }

    /// The interpreter is gone: nothing can run for the generation any more.
    pub(crate) fn unpublish(&self) {
        let removed = BY_BUILTINS.remove(&self.builtins_address());
        drop(removed);
    }

    fn builtins_address(&self) -> usize {
        address(self.builtins_dict.as_object())
    }

    /// The generation whose builtins dict `builtins` is.
    pub(crate) fn of_builtins(builtins: &PyObject) -> Option<Arc<Self>> {
        match &*BY_BUILTINS.get(&address(builtins))? {
            Link::Open(generation) => Some(Arc::clone(generation)),
            Link::Closed(generation) => generation.upgrade(),
        }
    }

    /// Visits every reference to a Python object that the generation owns, but for what its modules registered, which is
    /// taken back when it ends. It must have been withdrawn.
    pub(crate) fn references<'own>(&'own self, visit: &mut dyn FnMut(&'own PyObject)) {
        visit(self.sys.as_object());
        visit(self.sys_dict.as_object());
        if let Some(state) = self.import_state.sealed() {
            visit(state.as_object());
        }
        visit(self.builtins.as_object());
        visit(self.builtins_dict.as_object());
        visit(self.key.as_object());
        if let Some(main) = self.main.get() {
            visit(main.as_object());
        }
    }

    /// Whether there ever was an import system, or an attempt to make one, or a `__main__`: without them, no code ever
    /// ran in the generation.
    pub(crate) fn was_used(&self) -> bool {
        self.boot_began.load(Ordering::Acquire) || self.main.get().is_some()
    }

    /// Where `modules`, `meta_path`, `path_hooks` and `path_importer_cache` are.
    pub(crate) fn import_state(&self) -> PyDictRef {
        self.asides.state().unwrap_or_else(|| self.common_state())
    }

    /// `import_state` of all threads that have none of their own.
    fn common_state(&self) -> PyDictRef {
        self.import_state.get()
    }

    /// Moves the import system's part of `sys` to `dict`, so that each generation can have its own. False when the
    /// generation was withdrawn: then nothing moves any more.
    pub(crate) fn set_import_state(&self, dict: PyDictRef) -> bool {
        self.import_state.set(dict).is_ok()
    }

    /// Notes what was asked for by name, of the generation that took this one's place meanwhile, too.
    pub(crate) fn note(&self, asked: Asked) {
        self.add_asked([asked.clone()]);
        if let Some(current) = self.node.current().filter(|current| !std::ptr::eq(Arc::as_ptr(current), self)) {
            current.add_asked([asked]);
        }
    }

    pub(crate) fn add_asked(&self, asked: impl IntoIterator<Item = Asked>) {
        let mut all = self.asked.lock();
        for asked in asked {
            if !all.contains(&asked) {
                all.push(asked);
            }
        }
    }

    /// Notes a class that a class statement of the space made: it may come to stand under no name.
    pub(crate) fn note_class(&self, class: PyRef<PyWeak>) {
        let full = {
            let mut classes = self.classes.lock();
            classes.noted.push(class);
            classes.noted.len() > classes.limit.max(MIN_CLASSES)
        };
        if full {
            // Outside the lock: what is upgraded may be the last reference by then.
            let noted = self.classes.lock().noted.clone();
            let (alive, dead): (Vec<_>, Vec<_>) = noted.into_iter().partition(|class| class.upgrade().is_some());
            let gone: FxHashSet<usize> = dead.iter().map(|class| address(class.as_object())).collect();
            let mut classes = self.classes.lock();
            classes.limit = alive.len() * 2;
            classes.noted.retain(|class| !gone.contains(&address(class.as_object())));
        }
    }

    /// The living classes that class statements of the space made.
    pub(crate) fn classes(&self) -> Vec<PyRef<PyWeak>> {
        let noted = self.classes.lock().noted.clone();
        noted.into_iter().filter(|class| class.upgrade().is_some()).collect()
    }

    /// The space's `sys.modules`, whatever the program made of it.
    pub(crate) fn modules(&self, vm: &VirtualMachine) -> PyResult<PyObjectRef> {
        match self.asides.state() {
            Some(state) => state.get_item(identifier!(vm, modules), vm),
            None => self.common_modules(vm),
        }
    }

    /// `modules` of all threads that have none of their own.
    pub(crate) fn common_modules(&self, vm: &VirtualMachine) -> PyResult<PyObjectRef> {
        let is_assigned = |name: &&str| self.sys_dict.contains_key(*name, vm);
        if !self.common_state().is(&self.sys_dict) && self.is_current() && IMPORT_STATE.iter().any(is_assigned) {
            self.adopt_assigned(vm)?;
        }
        let modules = self.common_state().get_item_opt(identifier!(vm, modules), vm)?;
        let modules = modules.filter(|modules| !vm.is_none(modules));
        modules.ok_or_else(|| {
            vm.new_runtime_error(format!(
                "the space {:?} has lost its sys.modules; assign a dict to sys.modules to import again",
                self.name()
            ))
        })
    }

    /// What a program has assigned in `sys` since the import state is elsewhere: it means the running generation's.
    fn adopt_assigned(&self, vm: &VirtualMachine) -> PyResult<()> {
        // Keeps every value until the world runs again, so that nothing is freed before.
        let mut values = Vec::new();
        let _world = Stopped::new(vm);
        // Meanwhile `sys` may have become the import state again.
        let state = self.common_state();
        if state.is(&self.sys_dict) {
            return Ok(());
        }
        for name in IMPORT_STATE {
            if let Some(value) = self.sys_dict.get_item_opt(name, vm)? {
                values.push(state.get_item_opt(name, vm)?);
                state.set_item(name, value.clone(), vm)?;
                self.sys_dict.del_item(name, vm)?;
                values.push(Some(value));
            }
        }
        Ok(())
    }

    /// Whether this is what the space's handles lead to.
    fn is_current(&self) -> bool {
        self.node.generation.load().as_ref().is_some_and(|current| std::ptr::eq(Arc::as_ptr(current), self))
    }

    /// What `sys.modules` has under `name`; `None` when it has nothing.
    pub(crate) fn loaded(&self, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        let found = entry(&self.modules(vm)?, name, vm)?;
        // Who makes a second copy has copied `sys.modules` when it began.
        if found.is_none() && name.to_str().and_then(|name| self.asides.copies(name)) == Some(false) {
            return entry(&self.common_modules(vm)?, name, vm);
        }
        Ok(found)
    }

    /// What `sys.modules` has under `name` for threads that import no second copies.
    pub(crate) fn commonly_loaded(&self, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        entry(&self.common_modules(vm)?, name, vm)
    }

    /// Lets all threads have what was loaded for one that imports a second copy of another module.
    pub(crate) fn share_loaded(&self, name: &Py<PyStr>, module: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        if name.to_str().and_then(|name| self.asides.copies(name)) == Some(false) {
            let modules = self.common_modules(vm)?;
            if entry(&modules, name, vm)?.is_none() {
                modules.set_item(name, module.clone(), vm)?;
            }
        }
        Ok(())
    }

    /// What is known of the module `name`; a module that is not in `sys.modules` any more is unloaded.
    pub(crate) fn record(&self, name: &str, vm: &VirtualMachine) -> PyResult<Option<ModuleRecord>> {
        let Some(mut record) = self.table.get(name) else { return Ok(None) };
        // What comes with the import system is loaded before it is in `sys.modules`.
        let is_public = !self.booting.load(Ordering::Acquire);
        if record.state == ModuleState::Ready && is_public && self.loaded(&vm.ctx.new_str(name), vm)?.is_none() {
            record.state = ModuleState::Unloaded;
        }
        Ok(Some(record))
    }

    /// What is known of all modules, in order of name.
    pub(crate) fn records(&self, vm: &VirtualMachine) -> PyResult<Vec<(String, ModuleRecord)>> {
        let names = self.table.names().into_iter();
        names.filter_map(|name| self.record(&name, vm).map(|record| Some((name, record?))).transpose()).collect()
    }

    /// Tells subscribers that something happened in this generation.
    pub(crate) fn tell(&self, kind: EventKind, module: Option<&str>, message: impl FnOnce() -> Option<String>) {
        self.shared.tell_of(kind, (self.id(), self.name(), self.number), module, message);
    }

    /// Whether an import of this generation loaded a module `name`; somebody may have put a stand-in in its place, see
    /// [`Self::is_stand_in`].
    pub(crate) fn has_loaded(&self, name: &str) -> bool {
        let record = self.table.get(name);
        matches!(name, "sys" | "builtins" | "__main__")
            || super::policy::is_import_system(name)
            || record.is_some_and(|record| record.from.is_none() && record.loader.is_some())
    }

    /// Whether `module`, which `sys.modules` has under `name`, was put there by somebody and not by an import of the
    /// space.
    pub(crate) fn is_stand_in(&self, name: &str, module: &PyObject) -> bool {
        match self.table.ended_with(name) {
            Some(imported) => imported != address(module),
            None => !self.has_loaded(name),
        }
    }

    /// The parent's current generation; `None` for the root and for a space whose parent is closed.
    pub(crate) fn parent(&self) -> Option<Arc<Self>> {
        self.node.parent.as_ref()?.current()
    }

    /// `SpaceClosedError`, once the generation is closed.
    pub(crate) fn check_open(&self, vm: &VirtualMachine) -> PyResult<()> {
        if self.life.is_open() { Ok(()) } else { Err(super::key::closed(self.name(), vm)) }
    }

    /// The space's `__main__`, made when first asked for.
    pub(crate) fn main(&self, vm: &VirtualMachine) -> PyResult<PyRef<PyModule>> {
        if let Some(main) = self.main.get() {
            return Ok(main.clone());
        }
        let dict = vm.ctx.new_dict();
        for (name, value) in [
            ("__name__", vm.ctx.new_str("__main__").into()),
            ("__doc__", vm.ctx.none()),
            ("__package__", vm.ctx.none()),
            ("__loader__", vm.ctx.none()),
            ("__spec__", vm.ctx.none()),
            ("__builtins__", self.builtins.clone().into()),
        ] {
            dict.set_item(name, value, vm)?;
        }
        let main = self.main.get_or_init(|| crate::vm::native::module_over(dict, vm)).clone();
        self.modules(vm)?.set_item("__main__", main.clone().into(), vm)?;
        Ok(main)
    }
}

/// What a `sys.modules`, whatever the program made of it, has under `name`.
fn entry(modules: &PyObjectRef, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    if let Some(dict) = modules.downcast_ref_if_exact::<rustpython_vm::builtins::PyDict>(vm) {
        return dict.get_item_opt(name, vm);
    }
    match modules.get_item(name, vm) {
        Ok(module) => Ok(Some(module)),
        Err(error) if error.fast_isinstance(vm.ctx.exceptions.key_error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn address(object: &PyObject) -> usize {
    std::ptr::from_ref(object).addr()
}

impl Drop for Generation {
    fn drop(&mut self) {
        BY_BUILTINS.remove(&self.builtins_address());
    }
}

/// A reference to a generation that does not keep it.
pub(crate) type WeakGeneration = Weak<Generation>;
