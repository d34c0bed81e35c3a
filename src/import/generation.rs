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

use std::sync::{
    Arc, LazyLock, OnceLock, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use parking_lot::RwLock;
use rustc_hash::FxBuildHasher;
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyModule, PyStr, PyStrInterned, PyTypeRef},
    identifier,
};
use slotmap::{Key, SlotMap};

use super::{
    boot::Importlib,
    cache::CodeCache,
    policy::Policy,
    table::{ModuleRecord, ModuleState, ModuleTable},
};
use crate::sysview::State;

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
}

impl Names {
    pub(crate) fn new(vm: &VirtualMachine) -> Self {
        Self {
            spec: vm.ctx.intern_str("__spec__"),
            initialising: vm.ctx.intern_str("_initializing"),
            path: vm.ctx.intern_str("__path__"),
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
    /// Hidden modules that are loaded whole.
    pub(crate) hidden: DashMap<String, PyRef<PyModule>>,
    /// The one `ModuleSpace` object of each live space that was asked for it.
    pub(crate) handles: DashMap<SpaceId, PyObjectRef>,
    pub(crate) space_error: PyTypeRef,
    pub(crate) closed_error: PyTypeRef,
    /// The hidden interpreter's own `exec` and `eval`, which those of the spaces call.
    pub(crate) exec: PyObjectRef,
    pub(crate) eval: PyObjectRef,
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

    /// Lets go of a discarded space's `ModuleSpace` object.
    pub(crate) fn forget_handle(&self, id: SpaceId) {
        let handle = self.handles.remove(&id);
        drop(handle);
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
    pub(crate) key: PyRef<super::key::SpaceKey>,
    pub(crate) main: OnceLock<PyRef<PyModule>>,
    pub(crate) importlib: ArcSwapOption<Importlib>,
    pub(crate) booted: AtomicBool,
    pub(crate) table: ModuleTable,
    pub(crate) state: State,
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Finds the generation that a builtins dict belongs to. An entry holds the generation, and so the dict, so an address
/// in the map is never that of another object.
static BY_BUILTINS: LazyLock<DashMap<usize, Arc<Generation>, FxBuildHasher>> = LazyLock::new(DashMap::default);

impl Generation {
    pub(crate) fn next_serial() -> u64 {
        SERIAL.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> SpaceId {
        self.node.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.node.name
    }

    /// Makes running frames that use this generation's builtins belong to it.
    pub(crate) fn publish(self: &Arc<Self>) {
        BY_BUILTINS.insert(self.builtins_address(), Arc::clone(self));
    }

    pub(crate) fn withdraw(&self) {
        BY_BUILTINS.remove(&self.builtins_address());
    }

    fn builtins_address(&self) -> usize {
        address(self.builtins_dict.as_object())
    }

    /// The generation whose builtins dict `builtins` is.
    pub(crate) fn of_builtins(builtins: &PyObject) -> Option<Arc<Self>> {
        BY_BUILTINS.get(&address(builtins)).map(|entry| Arc::clone(&entry))
    }

    /// The space's `sys.modules`, whatever the program made of it.
    pub(crate) fn modules(&self, vm: &VirtualMachine) -> PyResult<PyObjectRef> {
        let modules = self.sys_dict.get_item_opt(identifier!(vm, modules), vm)?.filter(|modules| !vm.is_none(modules));
        modules.ok_or_else(|| {
            vm.new_runtime_error(format!(
                "the space {:?} has lost its sys.modules; assign a dict to sys.modules to import again",
                self.name()
            ))
        })
    }

    /// What `sys.modules` has under `name`; `None` when it has nothing.
    pub(crate) fn loaded(&self, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        let modules = self.modules(vm)?;
        if let Some(dict) = modules.downcast_ref_if_exact::<rustpython_vm::builtins::PyDict>(vm) {
            return dict.get_item_opt(name, vm);
        }
        match modules.get_item(name, vm) {
            Ok(module) => Ok(Some(module)),
            Err(error) if error.fast_isinstance(vm.ctx.exceptions.key_error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is known of the module `name`; a module that is not in `sys.modules` any more is unloaded.
    pub(crate) fn record(&self, name: &str, vm: &VirtualMachine) -> PyResult<Option<ModuleRecord>> {
        let Some(mut record) = self.table.get(name) else { return Ok(None) };
        if record.state == ModuleState::Ready && self.loaded(&vm.ctx.new_str(name), vm)?.is_none() {
            record.state = ModuleState::Unloaded;
        }
        Ok(Some(record))
    }

    /// What is known of all modules, in order of name.
    pub(crate) fn records(&self, vm: &VirtualMachine) -> PyResult<Vec<(String, ModuleRecord)>> {
        let names = self.table.names().into_iter();
        names.filter_map(|name| self.record(&name, vm).map(|record| Some((name, record?))).transpose()).collect()
    }

    /// The parent's current generation; `None` for the root and for a space whose parent is closed.
    pub(crate) fn parent(&self) -> Option<Arc<Self>> {
        self.node.parent.as_ref()?.current()
    }

    /// `SpaceClosedError`, once the space is closed.
    pub(crate) fn check_open(&self, vm: &VirtualMachine) -> PyResult<()> {
        if self.node.is_closed() { Err(self.closed(vm)) } else { Ok(()) }
    }

    fn closed(&self, vm: &VirtualMachine) -> PyBaseExceptionRef {
        let error = crate::error::Error::Closed { name: self.name().to_owned() };
        vm.new_exception_msg(self.shared.closed_error.clone(), error.to_string().into())
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

fn address(object: &PyObject) -> usize {
    std::ptr::from_ref(object).addr()
}

/// A reference to a generation that does not keep it.
pub(crate) type WeakGeneration = Weak<Generation>;
