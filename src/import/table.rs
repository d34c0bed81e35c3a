//! The module table: what a space knows of each module it has met.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;
use rustpython_vm::{AsObject, PyObject, PyObjectRef, VirtualMachine, builtins::PyTuple};

use super::generation::SpaceId;

/// Where a module is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModuleState {
    /// Its code is running for the first time.
    Initialising,
    /// It was loaded, or taken from an ancestor.
    Ready,
    /// Its code raised; it is not in `sys.modules`.
    Failed,
    /// It was unloaded, or the program took it out of `sys.modules`.
    Unloaded,
}

impl ModuleState {
    /// The state's name in Python.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialising => "initialising",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Unloaded => "unloaded",
        }
    }
}

/// An import statement's effect: which module took which names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Importer {
    /// The importing module's `__name__`.
    pub module: String,
    /// The names of a `from` import, in source order; empty for `import m`.
    pub names: Vec<String>,
}

/// What a space knows of one module.
#[derive(Clone, Debug)]
pub struct ModuleRecord {
    /// Where it is in its life.
    pub state: ModuleState,
    /// `spec.origin`: a path, `built-in`, `frozen`, or nothing for a namespace package.
    pub origin: Option<String>,
    /// The class of its spec's loader.
    pub loader: Option<String>,
    /// The ancestor it was taken from; `None` when the space loaded it itself.
    pub from: Option<SpaceId>,
    /// How long it took to find and execute, its own imports included.
    pub load_time: Duration,
    /// When loading began.
    pub loaded_at: SystemTime,
    /// Who imported it, in order of name.
    pub importers: BTreeSet<Importer>,
    /// BLAKE3 of the source file's bytes, when it was loaded from one.
    pub source_hash: Option<[u8; 32]>,
}

impl ModuleRecord {
    fn new(state: ModuleState) -> Self {
        Self {
            state,
            origin: None,
            loader: None,
            from: None,
            load_time: Duration::ZERO,
            loaded_at: SystemTime::now(),
            importers: BTreeSet::new(),
            source_hash: None,
        }
    }
}

/// Identifies an import statement cheaply: by the importing module's name, the name and the from-list, as objects. The
/// last two are constants of the importing code, so a statement that runs again is recognised by their addresses; being
/// kept here, they cannot be freed and their addresses given to others. They are strings and tuples of strings, and
/// hold nothing alive.
pub(crate) struct ImportSite {
    pub(crate) importer: PyObjectRef,
    pub(crate) name: PyObjectRef,
    pub(crate) level: i32,
    pub(crate) names: Option<PyObjectRef>,
}

type SiteKey = (usize, usize, usize, i32);

impl ImportSite {
    fn key(&self) -> SiteKey {
        let address = |object: &PyObjectRef| std::ptr::from_ref::<PyObject>(object).addr();
        (address(&self.importer), address(&self.name), self.names.as_ref().map_or(0, address), self.level)
    }

    /// Whether the parts are what they should be, and not of classes that a program derived.
    fn is_plain(&self, vm: &VirtualMachine) -> bool {
        let is_string = |object: &PyObjectRef| object.class().is(vm.ctx.types.str_type);
        is_string(&self.importer)
            && is_string(&self.name)
            && self.names.as_ref().is_none_or(|names| {
                names.class().is(vm.ctx.types.tuple_type)
                    && names.downcast_ref::<PyTuple>().is_some_and(|names| names.iter().all(is_string))
            })
    }

    fn parts(&self) -> [Option<PyObjectRef>; 3] {
        [Some(self.importer.clone()), Some(self.name.clone()), self.names.clone()]
    }
}

/// How many import sites are remembered; a program that makes more by `exec` pays for recording again.
const MAX_SITES: usize = 65_536;

/// The table itself. Every operation is atomic; readers get copies.
#[derive(Default)]
pub(crate) struct ModuleTable {
    records: DashMap<String, ModuleRecord>,
    /// The addresses of the objects that imports ended with.
    modules: DashMap<String, usize, FxBuildHasher>,
    sites: DashMap<SiteKey, [Option<PyObjectRef>; 3], FxBuildHasher>,
}

impl ModuleTable {
    pub(crate) fn begin(&self, name: &str, origin: Option<String>, loader: Option<String>) {
        let mut record =
            self.records.entry(name.to_owned()).or_insert_with(|| ModuleRecord::new(ModuleState::Initialising));
        record.state = ModuleState::Initialising;
        record.origin = origin;
        record.loader = loader;
        record.from = None;
        record.source_hash = None;
        record.loaded_at = SystemTime::now();
    }

    pub(crate) fn finish(&self, name: &str, state: ModuleState, load_time: Duration) {
        if let Some(mut record) = self.records.get_mut(name) {
            record.state = state;
            record.load_time = load_time;
        }
    }

    pub(crate) fn taken(&self, name: &str, from: SpaceId, parent: Option<ModuleRecord>) {
        let mut record = self.records.entry(name.to_owned()).or_insert_with(|| ModuleRecord::new(ModuleState::Ready));
        record.state = ModuleState::Ready;
        record.from = Some(from);
        if let Some(parent) = parent {
            record.origin = parent.origin;
            record.loader = parent.loader;
            record.source_hash = parent.source_hash;
            record.from = parent.from.or(Some(from));
        }
    }

    pub(crate) fn set_source_hash(&self, name: &str, hash: [u8; 32]) {
        if let Some(mut record) = self.records.get_mut(name) {
            record.source_hash = Some(hash);
        }
    }

    /// Notes that `name` was unloaded.
    pub(crate) fn unloaded(&self, name: &str) {
        if let Some(mut record) = self.records.get_mut(name) {
            record.state = ModuleState::Unloaded;
        }
    }

    /// Notes which object the import of `name` ended with.
    pub(crate) fn end_with(&self, name: &str, module: usize) {
        self.modules.insert(name.to_owned(), module);
    }

    /// The address of the object that the import of `name` ended with, here or where it was taken from.
    pub(crate) fn ended_with(&self, name: &str) -> Option<usize> {
        self.modules.get(name).map(|module| *module)
    }

    /// The space that `name` was taken from, when it was.
    pub(crate) fn taken_from(&self, name: &str) -> Option<SpaceId> {
        self.records.get(name)?.from
    }

    /// Whether this import statement was not recorded yet; it is from now on.
    pub(crate) fn is_new_site(&self, site: &ImportSite, vm: &VirtualMachine) -> bool {
        let key = site.key();
        if self.sites.contains_key(&key) {
            return false;
        }
        if self.sites.len() >= MAX_SITES {
            self.sites.clear();
        }
        if site.is_plain(vm) {
            self.sites.insert(key, site.parts());
        }
        true
    }

    pub(crate) fn imported(&self, name: &str, importer: Importer) {
        let mut record = self.records.entry(name.to_owned()).or_insert_with(|| ModuleRecord::new(ModuleState::Ready));
        record.importers.insert(importer);
    }

    pub(crate) fn get(&self, name: &str) -> Option<ModuleRecord> {
        self.records.get(name).map(|record| record.clone())
    }

    /// Whether `importer` has imported this name from the module, or all names.
    pub(crate) fn has_import(&self, module: &str, importer: &str, name: &str) -> bool {
        let first = Importer { module: importer.to_owned(), names: Vec::new() };
        self.records.get(module).is_some_and(|record| {
            let all = record.importers.range(first..).take_while(|one| one.module == importer);
            all.flat_map(|one| &one.names).any(|one| one == name || one == "*")
        })
    }

    /// The names of all records, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.records.iter().map(|record| record.key().clone()).collect();
        names.sort_unstable();
        names
    }
}
