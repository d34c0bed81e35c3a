//! A change to a store that nobody sees before it is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    backend::Outcome,
    error::{Conflict, StoreError},
    name::{self, INIT},
    record::{self, Commit, Identity, Kind, Module, Record, RecordId},
    snapshot::{Change, Found, Snapshot},
    source,
    store::Store,
};

/// What is known of a module besides its source: a JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// What is to become of modules, by name; `None` removes one. That of a package's code ends in `.__init__`.
type Edits = BTreeMap<String, Option<Module>>;

/// A transaction on a branch of a store.
///
/// It sees the branch as it was when the transaction began, and its own changes. Committing is optimistic: when the head
/// has moved meanwhile, the changes are made to the new head, if none of them is to a module that changed there, too.
/// Dropped, it changes nothing.
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Transaction {
    store: Store,
    branch: String,
    base: Snapshot,
    edits: Edits,
    /// The blobs that the edits refer to.
    blobs: HashMap<RecordId, Record>,
    /// What the edits were at each savepoint.
    savepoints: Vec<Edits>,
    message: String,
    author: String,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Transaction");
        debug.field("branch", &self.branch).field("base", &self.base.commit());
        debug.field("edits", &self.edits.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// A moment in a transaction to which it can go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(usize);

impl Transaction {
    pub(super) fn begin(store: Store, branch: &str) -> Result<Self, StoreError> {
        let base = store.snapshot(branch)?;
        Ok(Self {
            store,
            branch: branch.to_owned(),
            base,
            edits: Edits::new(),
            blobs: HashMap::new(),
            savepoints: Vec::new(),
            message: String::new(),
            author: String::new(),
        })
    }

    /// A transaction that began at a commit of the branch and has these changes.
    pub(super) fn reverting(
        store: Store,
        branch: &str,
        commit: RecordId,
        changes: Vec<Change>,
    ) -> Result<Self, StoreError> {
        let base = store.at(commit)?;
        let edits = changes.into_iter().map(|change| (change.name, change.new)).collect();
        Ok(Self { base, edits, ..Self::begin(store, branch)? })
    }

    /// The same over another commit.
    pub(super) fn over(self, base: Snapshot) -> Self {
        Self { base, ..self }
    }

    /// What the commit is to say of itself.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Who makes the change.
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = author.into();
        self
    }

    /// The store that it is to change.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The commit that the transaction began at; `None` on an empty branch.
    #[must_use]
    pub const fn base(&self) -> Option<RecordId> {
        self.base.commit()
    }

    /// The names of the modules that it changes, in order.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        self.edits.keys().map(String::as_str)
    }

    /// Adds a module. Packages above it need not be there; `pkg.__init__` gives a package its code.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::ModuleAndPackage`], [`StoreError::Name`], [`StoreError::Source`]; the
    /// transaction is unchanged then.
    pub fn new_module(&mut self, name: &str, source: &[u8]) -> Result<(), StoreError> {
        let parts = name::parts(name)?;
        if self.exact(name)?.is_some() {
            return Err(StoreError::Exists { name: name.to_owned() });
        }
        self.check_place(&parts)?;
        source::check(name, source)?;
        let source = self.blob(source);
        self.edits.insert(
            name.to_owned(),
            Some(Module { source, metadata: None, identity: Some(Identity::new()), imports: None, state: None }),
        );
        Ok(())
    }

    /// Gives a module another source; `pkg` means the code of the package, when it is one.
    ///
    /// # Errors
    /// [`StoreError::NoModule`], [`StoreError::Source`]; the transaction is unchanged then.
    pub fn update_module(&mut self, name: &str, source: &[u8]) -> Result<(), StoreError> {
        let (name, module) = self.existing(name)?;
        source::check(&name, source)?;
        let source = self.blob(source);
        let identity = module.identity.or_else(|| Some(Identity::new()));
        self.edits.insert(name, Some(Module { source, identity, ..module }));
        Ok(())
    }

    /// Takes a module away; a package with everything in it.
    ///
    /// # Errors
    /// [`StoreError::NoModule`]; the transaction is unchanged then.
    pub fn remove_module(&mut self, name: &str) -> Result<(), StoreError> {
        for (name, _) in self.tree(name)? {
            self.edits.insert(name, None);
        }
        Ok(())
    }

    /// Gives a module, or a package with everything in it, another name.
    ///
    /// # Errors
    /// [`StoreError::NoModule`] for the old name; [`StoreError::Exists`], [`StoreError::ModuleAndPackage`] and
    /// [`StoreError::Name`] for the new one. The transaction is unchanged then.
    pub fn rename_module(&mut self, old: &str, new: &str) -> Result<(), StoreError> {
        let before = self.edits.clone();
        let renamed = self.renamed(old, new);
        if renamed.is_err() {
            self.edits = before;
        }
        renamed
    }

    fn renamed(&mut self, old: &str, new: &str) -> Result<(), StoreError> {
        name::parts(new)?;
        let moved = self.tree(old)?;
        self.remove_module(old)?;
        for (name, module) in moved {
            let name = format!("{new}{}", &name[old.len()..]);
            let parts = name::parts(&name)?;
            if self.exact(&name)?.is_some() {
                return Err(StoreError::Exists { name });
            }
            self.check_place(&parts)?;
            self.edits.insert(name, Some(module));
        }
        Ok(())
    }

    /// A module's source, as the bytes of a file.
    ///
    /// # Errors
    /// [`StoreError::NoModule`], and what reading raised.
    pub fn source(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let (_, module) = self.existing(name)?;
        self.read(module.source)
    }

    /// What was noted of a module.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn metadata(&self, name: &str) -> Result<Metadata, StoreError> {
        let (_, module) = self.existing(name)?;
        module.metadata.map_or_else(|| Ok(Metadata::new()), |id| read_metadata(&self.read(id)?))
    }

    /// Notes something of a module, in the place of what was noted before.
    ///
    /// # Errors
    /// [`StoreError::NoModule`]; the transaction is unchanged then.
    pub fn set_metadata(&mut self, name: &str, metadata: &Metadata) -> Result<(), StoreError> {
        let (name, module) = self.existing(name)?;
        let metadata = if metadata.is_empty() {
            None
        } else {
            let json = serde_json::to_vec(metadata);
            Some(self.blob(&json.map_err(|error| StoreError::Encoding { reason: error.to_string() })?))
        };
        self.edits.insert(name, Some(Module { metadata, ..module }));
        Ok(())
    }

    /// The names of all modules, in order; the code of a package is called `pkg.__init__`.
    ///
    /// # Errors
    /// What reading raised.
    pub fn modules(&self) -> Result<Vec<String>, StoreError> {
        let mut names: BTreeSet<String> = self.base.modules()?.into_iter().map(|(name, _)| name).collect();
        for (name, module) in &self.edits {
            match module {
                Some(_) => names.insert(name.clone()),
                None => names.remove(name),
            };
        }
        Ok(names.into_iter().collect())
    }

    /// A moment to which [`Self::rollback`] can go back.
    pub fn savepoint(&mut self) -> Savepoint {
        self.savepoints.push(self.edits.clone());
        Savepoint(self.savepoints.len() - 1)
    }

    /// Goes back to a savepoint; later ones are gone then, this one stays.
    ///
    /// # Errors
    /// [`StoreError::Savepoint`] when it is gone.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<(), StoreError> {
        self.edits = self.savepoints.get(savepoint.0).ok_or(StoreError::Savepoint)?.clone();
        self.savepoints.truncate(savepoint.0 + 1);
        Ok(())
    }

    /// Ends the transaction without a change.
    pub fn abort(self) {}

    /// Makes the changes, all at once, and returns the new head of the branch. A transaction without changes makes no
    /// commit, and returns the head as it is: `None` on an empty branch.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a module was changed meanwhile that this transaction changes, too;
    /// what the backend raised. The store is unchanged then.
    pub fn commit(self) -> Result<Option<RecordId>, StoreError> {
        let time = record::now();
        loop {
            let head = self.store.backend().head(&self.branch)?;
            let target = self.rebased(head)?;
            let mut records = Vec::new();
            let modules = match target.edited(&self.edits, &mut records) {
                Err(StoreError::ModuleAndPackage { name }) if head != self.base.commit() => {
                    return Err(self.conflict(&target, vec![name])?.into());
                }
                edited => edited?,
            };
            if modules == target.modules_id() {
                return Ok(head);
            }
            let commit = Commit {
                modules,
                objects: target.objects_id(),
                parents: head.into_iter().collect(),
                author: self.author.clone(),
                time,
                message: self.message.clone(),
            };
            let commit = Record::of(Kind::Commit, &commit)?;
            let id = commit.id;
            let referred = self.edits.values().flatten().flat_map(|module| [Some(module.source), module.metadata]);
            let blobs: BTreeSet<RecordId> = referred.flatten().collect();
            records.extend(blobs.iter().filter_map(|id| self.blobs.get(id)).cloned());
            records.push(commit);
            if let Outcome::Moved(_) = self.store.backend().move_head(&self.branch, head, Some(id), &records)? {
                return Ok(Some(id));
            }
        }
    }

    /// The modules as they would be if the changes were committed where the transaction began. Nothing is stored.
    ///
    /// # Errors
    /// [`StoreError::ModuleAndPackage`], and what reading raised.
    pub fn preview(&self) -> Result<Snapshot, StoreError> {
        let mut records = Vec::new();
        let modules = self.base.edited(&self.edits, &mut records)?;
        records.extend(self.blobs.values().cloned());
        Ok(self.base.with(modules, records))
    }

    /// The snapshot at `head`, to which the changes can be made as well as to that where the transaction began.
    fn rebased(&self, head: Option<RecordId>) -> Result<Snapshot, StoreError> {
        if head == self.base.commit() {
            return Ok(self.base.clone());
        }
        let target = Snapshot::new(self.store.shared_backend(), head)?;
        let mut modules = Vec::new();
        for (name, module) in &self.edits {
            let there = exact(&target, name)?;
            if there != exact(&self.base, name)? && there != *module {
                modules.push(name.clone());
            }
        }
        if modules.is_empty() { Ok(target) } else { Err(self.conflict(&target, modules)?.into()) }
    }

    fn conflict(&self, target: &Snapshot, modules: Vec<String>) -> Result<Box<Conflict>, StoreError> {
        let mut others = Vec::new();
        for entry in self.store.history(target.commit()) {
            let (id, commit) = entry?;
            if Some(id) == self.base.commit() {
                break;
            }
            let parent = Snapshot::new(self.store.shared_backend(), commit.parents.first().copied())?;
            let changes = parent.changes(&Snapshot::new(self.store.shared_backend(), Some(id))?)?;
            let is_meant = |name: &str| {
                modules.iter().any(|module| {
                    module == name || name.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with('.'))
                })
            };
            if changes.iter().any(|change| is_meant(&change.name)) {
                others.push((id, commit.author));
            }
        }
        let base = self.base.commit();
        Ok(Box::new(Conflict { modules, branch: self.branch.clone(), base, author: self.author.clone(), others }))
    }

    fn blob(&mut self, bytes: &[u8]) -> RecordId {
        let record = Record::blob(bytes);
        let id = record.id;
        self.blobs.insert(id, record);
        id
    }

    fn read(&self, id: RecordId) -> Result<Vec<u8>, StoreError> {
        match self.blobs.get(&id) {
            Some(record) => record::read_blob(id, &record.bytes).map(<[u8]>::to_vec),
            None => self.base.blob(id),
        }
    }

    /// The module of exactly this name, as the transaction sees it.
    fn exact(&self, name: &str) -> Result<Option<Module>, StoreError> {
        match self.edits.get(name) {
            Some(module) => Ok(module.clone()),
            None => exact(&self.base, name),
        }
    }

    /// The full name and the module that `name` means: a module, or the code of a package.
    fn existing(&self, name: &str) -> Result<(String, Module), StoreError> {
        name::parts(name)?;
        if let Some(module) = self.exact(name)? {
            return Ok((name.to_owned(), module));
        }
        let code = format!("{name}.{INIT}");
        if !name.ends_with(INIT)
            && let Some(module) = self.exact(&code)?
        {
            return Ok((code, module));
        }
        Err(StoreError::NoModule { name: name.to_owned(), snapshot: self.base.named() })
    }

    /// The modules that `name` stands for: one, or all that are in the package.
    fn tree(&self, name: &str) -> Result<Vec<(String, Module)>, StoreError> {
        name::parts(name)?;
        let prefix = format!("{name}.");
        let is_meant = |other: &str| other == name || other.starts_with(&prefix);
        let mut all: BTreeMap<String, Module> =
            self.base.modules()?.into_iter().filter(|(other, _)| is_meant(other)).collect();
        for (other, module) in self.edits.iter().filter(|(other, _)| is_meant(other)) {
            match module {
                Some(module) => all.insert(other.clone(), module.clone()),
                None => all.remove(other),
            };
        }
        if all.is_empty() {
            return Err(StoreError::NoModule { name: name.to_owned(), snapshot: self.base.named() });
        }
        Ok(all.into_iter().collect())
    }

    /// Whether a module can stand under this name: nothing above it may be a module, and it must not be a package.
    fn check_place(&self, parts: &[&str]) -> Result<(), StoreError> {
        for length in 1..parts.len() {
            let above = parts[..length].join(".");
            if self.exact(&above)?.is_some() {
                return Err(StoreError::ModuleAndPackage { name: above });
            }
        }
        let name = parts.join(".");
        if parts.last() != Some(&INIT) && self.tree(&name).is_ok() {
            return Err(StoreError::ModuleAndPackage { name });
        }
        Ok(())
    }
}

pub(super) fn read_metadata(bytes: &[u8]) -> Result<Metadata, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Encoding { reason: error.to_string() })
}

/// The module of exactly this name: not the code of a package of that name.
fn exact(snapshot: &Snapshot, name: &str) -> Result<Option<Module>, StoreError> {
    let is_code = name.ends_with(&format!(".{INIT}"));
    Ok(match snapshot.find(name)? {
        Some(Found::Module(module)) => Some(module),
        Some(Found::Package(code)) if is_code => code,
        _ => None,
    })
}
