//! The modules of one commit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use super::{
    backend::{Backend, Overlay},
    error::StoreError,
    imports::{self, Imports, Names, import_name},
    map,
    name::{self, INIT},
    record::{self, Commit, Entry, Identity, Module, Record, RecordId},
    state::State,
    store::Store,
    transaction::{self, Metadata},
};

/// What a name stands for in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A module.
    Module(Module),
    /// A package, with its code if it has any.
    Package(Option<Module>),
}

impl Found {
    /// The module, or that of the package's code.
    #[must_use]
    pub fn module(self) -> Option<Module> {
        match self {
            Self::Module(module) => Some(module),
            Self::Package(code) => code,
        }
    }
}

/// How a module differs between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Its name; that of a package's code ends in `.__init__`.
    pub name: String,
    /// What it was; `None` when it is new.
    pub old: Option<Module>,
    /// What it is; `None` when it was removed.
    pub new: Option<Module>,
}

/// The modules of a store at one commit. It never changes, and needs no commit to be the head of anything.
#[derive(Clone)]
pub struct Snapshot {
    backend: Arc<dyn Backend>,
    /// What keeps the store that it is of, without what is not stored yet.
    stored: Arc<dyn Backend>,
    id: Option<RecordId>,
    modules: Option<RecordId>,
    objects: Option<RecordId>,
    /// The names of modules by identity, once somebody asked.
    identities: Arc<OnceLock<HashMap<Identity, String>>>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Snapshot").field("commit", &self.id).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The snapshot of a commit; without one, that of a branch which has no commits.
    pub(crate) fn new(backend: Arc<dyn Backend>, id: Option<RecordId>) -> Result<Self, StoreError> {
        let (modules, objects) = match id {
            Some(id) => commit(&*backend, id).map(|commit| (commit.modules, commit.objects))?,
            None => (None, None),
        };
        Ok(Self { stored: Arc::clone(&backend), backend, id, modules, objects, identities: Arc::default() })
    }

    /// The same store with other modules and objects, of which some records are not in it.
    pub(super) fn with(&self, modules: Option<RecordId>, objects: Option<RecordId>, records: Vec<Record>) -> Self {
        let records = records.into_iter().map(|record| (record.id, record.bytes)).collect();
        let backend = Arc::new(Overlay { below: Arc::clone(&self.backend), records });
        let stored = Arc::clone(&self.stored);
        Self { backend, stored, id: None, modules, objects, identities: Arc::default() }
    }

    /// The same store, without anything in it.
    pub(crate) fn emptied(&self) -> Self {
        Self { id: None, modules: None, objects: None, identities: Arc::default(), ..self.clone() }
    }

    /// Whether it is of this store.
    #[must_use]
    pub fn is_of(&self, store: &Store) -> bool {
        store.is_kept_by(&self.stored)
    }

    /// The id that bytes have, or would have, as a blob.
    #[must_use]
    pub fn blob_id(bytes: &[u8]) -> RecordId {
        Record::blob(bytes).id
    }

    /// What the snapshot has, as one id: snapshots with the same modules have the same. `None` when there are none.
    #[must_use]
    pub const fn modules_id(&self) -> Option<RecordId> {
        self.modules
    }

    /// The map of the objects.
    pub(super) const fn objects_id(&self) -> Option<RecordId> {
        self.objects
    }

    /// The commit; `None` before the first one.
    #[must_use]
    pub const fn commit(&self) -> Option<RecordId> {
        self.id
    }

    pub(super) fn reader(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn named(&self) -> String {
        self.id.map_or_else(|| "an empty branch".to_owned(), |id| format!("the commit {}", id.short()))
    }

    /// What `name` stands for; `pkg` and `pkg.__init__` both find a package's code.
    ///
    /// # Errors
    /// [`StoreError::Name`], and what reading raised. `None` when there is nothing of that name.
    pub fn find(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let parts = name::parts(name)?;
        let mut package = self.modules;
        for (index, part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            match map::get(self.reader(), package, part)? {
                Some(Entry::Module(module)) if is_last && *part == INIT => {
                    return Ok(Some(Found::Package(Some(module))));
                }
                Some(Entry::Module(module)) if is_last => return Ok(Some(Found::Module(module))),
                Some(Entry::Package(inside)) if is_last => {
                    let code = match map::get(self.reader(), Some(inside), INIT)? {
                        Some(Entry::Module(module)) => Some(module),
                        _ => None,
                    };
                    return Ok(Some(Found::Package(code)));
                }
                Some(Entry::Package(inside)) => package = Some(inside),
                Some(Entry::Module(_)) | None => break,
            }
        }
        Ok(None)
    }

    /// The module of this name, or the code of the package.
    ///
    /// # Errors
    /// [`StoreError::NoModule`] when there is none, [`StoreError::Name`], and what reading raised.
    pub fn module(&self, name: &str) -> Result<Module, StoreError> {
        let found = self.find(name)?.and_then(Found::module);
        found.ok_or_else(|| StoreError::NoModule { name: name.to_owned(), snapshot: self.named() })
    }

    /// What the module with this identity is called: `pkg` for a package's code. `hint`, a name that it may have, is tried
    /// first; otherwise all modules are looked through, once for this snapshot and its clones.
    ///
    /// # Errors
    /// What reading raised. `None` when there is none.
    pub fn name_of(&self, identity: Identity, hint: &str) -> Result<Option<String>, StoreError> {
        if let Ok(Some(found)) = self.find(hint)
            && found.module().is_some_and(|module| module.identity == Some(identity))
        {
            return Ok(Some(hint.to_owned()));
        }
        if let Some(names) = self.identities.get() {
            return Ok(names.get(&identity).cloned());
        }
        let names = self.modules()?.into_iter().filter_map(|(name, module)| {
            let name = name.strip_suffix(".__init__").unwrap_or(&name).to_owned();
            Some((module.identity?, name))
        });
        let names = self.identities.get_or_init(|| names.collect());
        Ok(names.get(&identity).cloned())
    }

    /// The same, with what `other` knows of the names of modules, if it has the same ones.
    pub(crate) fn knowing(self, other: &Self) -> Self {
        if self.modules != other.modules {
            return self;
        }
        Self { identities: Arc::clone(&other.identities), ..self }
    }

    /// A module's source, as the bytes of a file.
    ///
    /// # Errors
    /// As [`Snapshot::module`].
    pub fn source(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.blob(self.module(name)?.source)
    }

    /// What was noted of a module.
    ///
    /// # Errors
    /// What reading raised.
    pub fn metadata(&self, module: &Module) -> Result<Metadata, StoreError> {
        module.metadata.map_or_else(|| Ok(Metadata::new()), |id| transaction::read_metadata(&self.blob(id)?))
    }

    /// What a module, which is called `name` here, imports; nothing when its source cannot be compiled.
    ///
    /// # Errors
    /// What reading raised.
    pub fn imports_of(&self, name: &str, module: &Module) -> Result<Imports, StoreError> {
        match module.imports {
            Some(id) => Imports::from_bytes(&self.blob(id)?),
            // Of the first format.
            None => {
                let scanned = imports::scan(name, &self.blob(module.source)?);
                Ok(scanned.map(|(imports, _)| imports).unwrap_or_default())
            }
        }
    }

    /// What a module imports, from the snapshot or elsewhere.
    ///
    /// # Errors
    /// As [`Self::module`].
    pub(super) fn all_imports(&self, name: &str) -> Result<Imports, StoreError> {
        let module = self.module(name)?;
        let is_package = matches!(self.find(name)?, Some(Found::Package(_)));
        let full = if is_package && import_name(name) == name { join(name, INIT) } else { name.to_owned() };
        self.imports_of(&full, &module)
    }

    /// What a module imports from modules that the snapshot has, as imports name them.
    ///
    /// # Errors
    /// As [`Self::module`].
    pub fn imports(&self, name: &str) -> Result<BTreeMap<String, Names>, StoreError> {
        let mut imports = BTreeMap::new();
        for (module, names) in self.all_imports(name)?.iter() {
            match self.find(module) {
                Ok(Some(_)) => drop(imports.insert(module.to_owned(), names.clone())),
                Ok(None) | Err(StoreError::Name { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(imports)
    }

    /// The modules that import `module`, with the names that they take from it.
    ///
    /// # Errors
    /// What reading raised.
    pub fn importers(&self, module: &str) -> Result<BTreeMap<String, Names>, StoreError> {
        let module = import_name(module);
        let mut importers = BTreeMap::new();
        for (name, record) in self.modules()? {
            let taken = self.imports_of(&name, &record)?.taken(module);
            if import_name(&name) != module
                && let Some(names) = taken
            {
                importers.insert(name, names);
            }
        }
        Ok(importers)
    }

    /// The names of the values that are kept of a module.
    ///
    /// # Errors
    /// What reading raised.
    pub fn kept(&self, module: &Module) -> Result<Names, StoreError> {
        module.state.map_or_else(|| Ok(Names::new()), |id| Ok(State::from_bytes(&self.blob(id)?)?.names()))
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// What reading raised.
    pub fn blob(&self, id: RecordId) -> Result<Vec<u8>, StoreError> {
        blob(self.reader(), id)
    }

    /// All modules, in order of name; the code of a package is called `pkg.__init__`.
    ///
    /// # Errors
    /// What reading raised.
    pub fn modules(&self) -> Result<Vec<(String, Module)>, StoreError> {
        let mut all = Vec::new();
        collect(self.reader(), "", self.modules, &mut all)?;
        all.sort_by(|(one, _), (two, _)| one.cmp(two));
        Ok(all)
    }

    /// The module of this name and what is in the package of this name; nothing when there is neither.
    ///
    /// # Errors
    /// [`StoreError::Name`], and what reading raised.
    pub(super) fn under(&self, name: &str) -> Result<Vec<(String, Module)>, StoreError> {
        let parts = name::parts(name)?;
        let (mut all, mut package) = (Vec::new(), self.modules);
        for (index, part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            match map::get(self.reader(), package, part)? {
                Some(Entry::Module(module)) if is_last => all.push((name.to_owned(), module)),
                Some(Entry::Package(inside)) if is_last => collect(self.reader(), name, Some(inside), &mut all)?,
                Some(Entry::Package(inside)) => package = Some(inside),
                Some(Entry::Module(_)) | None => break,
            }
        }
        Ok(all)
    }

    /// The names of what is in a package, packages among them; at the top without a name.
    ///
    /// # Errors
    /// What reading raised. `None` when there is no such package.
    pub fn children(&self, package: Option<&str>) -> Result<Option<Vec<(String, bool)>>, StoreError> {
        let mut inside = self.modules;
        for part in package.map(name::parts).transpose()?.unwrap_or_default() {
            match map::get(self.reader(), inside, part)? {
                Some(Entry::Package(next)) => inside = Some(next),
                _ => return Ok(None),
            }
        }
        let entries = map::entries::<Entry>(self.reader(), inside)?.into_iter();
        Ok(Some(entries.map(|(name, entry)| (name, matches!(entry, Entry::Package(_)))).collect()))
    }

    /// What is different in `new`, in order of name.
    ///
    /// # Errors
    /// What reading raised.
    pub fn changes(&self, new: &Self) -> Result<Vec<Change>, StoreError> {
        let mut all = Vec::new();
        // The new one may have more records than are stored.
        differences(new.reader(), "", self.modules, new.modules, &mut all)?;
        all.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(all)
    }

    /// The map of modules with these changes made to it.
    ///
    /// # Errors
    /// [`StoreError::ModuleAndPackage`], and what reading raised.
    pub(super) fn edited(
        &self,
        changes: &BTreeMap<String, Option<Module>>,
        written: &mut Vec<Record>,
    ) -> Result<Option<RecordId>, StoreError> {
        let changes = changes.iter().map(|(name, module)| Ok((name::parts(name)?, module.clone())));
        edit(self.reader(), "", self.modules, changes.collect::<Result<_, StoreError>>()?, written)
    }
}

pub(super) fn blob(backend: &dyn Backend, id: RecordId) -> Result<Vec<u8>, StoreError> {
    record::read_blob(id, &backend.bytes(id)?).map(<[u8]>::to_vec)
}

/// The commit of this id.
///
/// # Errors
/// [`StoreError::NoCommit`], and what reading raised.
pub(super) fn commit(backend: &dyn Backend, id: RecordId) -> Result<Commit, StoreError> {
    let bytes = backend.get(id)?.ok_or(StoreError::NoCommit { id })?;
    record::read_commit(id, &bytes)
}

fn join(package: &str, name: &str) -> String {
    if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
}

fn collect(
    reader: &dyn Backend,
    package: &str,
    map: Option<RecordId>,
    all: &mut Vec<(String, Module)>,
) -> Result<(), StoreError> {
    for (name, entry) in map::entries(reader, map)? {
        let name = join(package, &name);
        match entry {
            Entry::Module(module) => all.push((name, module)),
            Entry::Package(inside) => collect(reader, &name, Some(inside), all)?,
        }
    }
    Ok(())
}

fn differences(
    reader: &dyn Backend,
    package: &str,
    old: Option<RecordId>,
    new: Option<RecordId>,
    all: &mut Vec<Change>,
) -> Result<(), StoreError> {
    for (name, old, new) in map::differences::<Entry>(reader, old, new)? {
        let name = join(package, &name);
        let inside = |entry: &Option<Entry>| match entry {
            Some(Entry::Package(inside)) => Some(*inside),
            _ => None,
        };
        if inside(&old).or(inside(&new)).is_some() {
            differences(reader, &name, inside(&old), inside(&new), all)?;
        }
        let module = |entry| match entry {
            Some(Entry::Module(module)) => Some(module),
            _ => None,
        };
        let (old, new) = (module(old), module(new));
        if old != new {
            all.push(Change { name, old, new });
        }
    }
    Ok(())
}

/// A change to a module, with the parts of its name.
type Edit<'name> = (Vec<&'name str>, Option<Module>);

/// The map of a package with these changes; `None` when nothing is left in it.
fn edit(
    reader: &dyn Backend,
    package: &str,
    map: Option<RecordId>,
    changes: Vec<Edit<'_>>,
    written: &mut Vec<Record>,
) -> Result<Option<RecordId>, StoreError> {
    let mut here: BTreeMap<&str, Option<Module>> = BTreeMap::new();
    let mut below: BTreeMap<&str, Vec<Edit<'_>>> = BTreeMap::new();
    for (parts, module) in changes {
        match parts.split_first() {
            Some((name, [])) => drop(here.insert(*name, module)),
            Some((name, rest)) => below.entry(*name).or_default().push((rest.to_vec(), module)),
            None => {}
        }
    }
    let mut edits: BTreeMap<String, Option<Entry>> = BTreeMap::new();
    let names: std::collections::BTreeSet<&str> = here.keys().chain(below.keys()).copied().collect();
    for name in names {
        let full = join(package, name);
        let (module, inside) = match map::get(reader, map, name)? {
            Some(Entry::Module(module)) => (Some(module), None),
            Some(Entry::Package(inside)) => (None, Some(inside)),
            None => (None, None),
        };
        let module = here.remove(name).unwrap_or(module);
        let inside = match below.remove(name) {
            Some(changes) => edit(reader, &full, inside, changes, written)?,
            None => inside,
        };
        let entry = match (module, inside) {
            (Some(_), Some(_)) => return Err(StoreError::ModuleAndPackage { name: full }),
            (Some(module), None) => Some(Entry::Module(module)),
            (None, Some(inside)) => Some(Entry::Package(inside)),
            (None, None) => None,
        };
        edits.insert(name.to_owned(), entry);
    }
    map::edit(reader, map, edits, written)
}
