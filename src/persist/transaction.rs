//! A change to a store that nobody sees before it is committed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    backend::Outcome,
    error::{Conflict, StoreError},
    guard::{self, Guard, InUse, Policy},
    imports::{self, import_name},
    name::{self, INIT},
    objects::{self, ObjectChange},
    record::{self, Commit, Identity, Kind, Module, Record, RecordId},
    snapshot::{Change, Found, Snapshot},
    source,
    state::{self, State},
    store::Store,
};

/// What is known of a module besides its source: a JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// So many commits may have been taken back one after the other, and who began at the last of them still hears exactly who
/// changed what since.
const TAKEN_BACK: usize = 16;
/// How many commits are looked through for those that are in the way. It takes about a second, and who began that long ago
/// learns nothing from more of them.
const LOOK_BACK: usize = 1000;

/// What is to become of modules, by name; `None` removes one. That of a package's code ends in `.__init__`.
type Edits = BTreeMap<String, Option<Module>>;

/// A transaction on a branch of a store.
///
/// It sees the branch as it was when the transaction began, and its own changes. Committing is optimistic: when the head
/// has moved meanwhile, the changes are made to the new head, if none of them is to a module or object that changed there,
/// too.
/// Dropped, it changes nothing.
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Transaction {
    store: Store,
    branch: String,
    pub(super) base: Snapshot,
    pub(super) edits: Edits,
    pub(super) objects: objects::Edits,
    /// The blobs that the edits refer to.
    blobs: HashMap<RecordId, Record>,
    /// What the edits were at each savepoint.
    savepoints: Vec<(Savepoint, Edits, objects::Edits)>,
    message: String,
    author: String,
    guard: Option<Guard>,
}

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The head of the branch: the new commit, or the head as it was when there was nothing to commit.
    pub head: Option<RecordId>,
    /// Whether there is a new commit.
    pub is_new: bool,
    /// What went although other modules import it, where that is to be said ([`Policy::Warn`]).
    pub in_use: Vec<InUse>,
}

/// Who decides about a change that takes away what others import.
pub(crate) trait Judge {
    /// Whether it is to be looked for at all.
    fn looks(&mut self) -> Result<bool, StoreError>;

    /// What is to be done about it; `None` to let go of the attempt, and try again when that is known.
    fn decide(&mut self, in_use: &[InUse]) -> Result<Option<Policy>, StoreError>;
}

/// An attempt to commit.
#[derive(Debug)]
pub(crate) enum Attempt {
    Committed(Committed),
    /// Somebody has to decide about this first; nothing has changed.
    Undecided(Vec<InUse>),
}

/// A transaction's guard, or else the store's policy.
struct ByPolicy<'transaction> {
    store: Store,
    guard: Option<&'transaction mut Guard>,
}

impl Judge for ByPolicy<'_> {
    fn looks(&mut self) -> Result<bool, StoreError> {
        Ok(self.guard.is_some() || self.store.removal()? != Policy::Allow)
    }

    fn decide(&mut self, in_use: &[InUse]) -> Result<Option<Policy>, StoreError> {
        self.guard.as_mut().map_or_else(|| self.store.removal(), |guard| guard(in_use)).map(Some)
    }
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
pub struct Savepoint(u64);

/// The number of the next savepoint, of whatever transaction.
static NEXT_SAVEPOINT: AtomicU64 = AtomicU64::new(0);

impl Transaction {
    pub(super) fn begin(store: Store, branch: &str) -> Result<Self, StoreError> {
        let base = store.snapshot(branch)?;
        Ok(Self {
            store,
            branch: branch.to_owned(),
            base,
            edits: Edits::new(),
            objects: objects::Edits::new(),
            blobs: HashMap::new(),
            savepoints: Vec::new(),
            message: String::new(),
            author: String::new(),
            guard: None,
        })
    }

    /// A transaction that began at a commit of the branch and has these changes.
    pub(super) fn reverting(
        store: Store,
        branch: &str,
        commit: RecordId,
        changes: Vec<Change>,
        objects: Vec<ObjectChange>,
    ) -> Result<Self, StoreError> {
        let base = store.at(commit)?;
        let edits = changes.into_iter().map(|change| (change.name, change.new)).collect();
        let objects = objects.into_iter().map(|change| (change.key, change.new)).collect();
        Ok(Self { base, edits, objects, ..Self::begin(store, branch)? })
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

    /// Who decides, in the place of the store's policy, when the transaction takes away what other modules import. What it
    /// raises ends the commit.
    pub fn guard(mut self, guard: impl FnMut(&[InUse]) -> Result<Policy, StoreError> + Send + 'static) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    /// What the commit is to say of itself, and who makes it, as far as that is given.
    pub fn describe(&mut self, message: Option<String>, author: Option<String>) {
        if let Some(message) = message {
            self.message = message;
        }
        if let Some(author) = author {
            self.author = author;
        }
    }

    /// Who makes the change.
    #[must_use]
    pub fn author_name(&self) -> &str {
        &self.author
    }

    /// The store that it is to change.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The branch that it is to change.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.branch
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
        self.edits.insert(name, Some(Module { source, identity, imports: None, ..module }));
        Ok(())
    }

    /// Takes a module away; a package with everything in it.
    ///
    /// # Errors
    /// [`StoreError::NoModule`]; the transaction is unchanged then.
    pub fn remove_module(&mut self, name: &str) -> Result<(), StoreError> {
        for name in self.tree(name)?.into_keys() {
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
            // Relative ones mean other modules now.
            self.edits.insert(name, Some(Module { imports: None, ..module }));
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

    /// Notes something of a module, in the place of what was noted before. Without `"persistent_state": "dict"`, values that
    /// were kept of it are given up.
    ///
    /// # Errors
    /// [`StoreError::NoModule`]; [`StoreError::Value`] for a `persistent_state` that is not known. The transaction is unchanged
    /// then.
    pub fn set_metadata(&mut self, name: &str, metadata: &Metadata) -> Result<(), StoreError> {
        let (name, module) = self.existing(name)?;
        state::check(&name, metadata)?;
        let state = module.state.filter(|_| state::is_wanted(metadata));
        let metadata = if metadata.is_empty() {
            None
        } else {
            let json = serde_json::to_vec(metadata);
            Some(self.blob(&json.map_err(|error| StoreError::Encoding { reason: error.to_string() })?))
        };
        self.edits.insert(name, Some(Module { metadata, state, ..module }));
        Ok(())
    }

    /// The source of a module that is to keep values, as the transaction sees it; `None` when there is none of this full name,
    /// or its metadata does not ask for that.
    pub(crate) fn keeps(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(module) = self.exact(name)? else { return Ok(None) };
        let Some(metadata) = module.metadata else { return Ok(None) };
        if !state::is_wanted(&read_metadata(&self.read(metadata)?)?) {
            return Ok(None);
        }
        self.read(module.source).map(Some)
    }

    pub(crate) fn read_state(&self, id: RecordId) -> Result<State, StoreError> {
        State::from_bytes(&self.read(id)?)
    }

    /// Lets a module keep these values; `None` for no values. They are of a space that sees the commit `at`, and in it the
    /// module as `seen`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the transaction began with another version of the module.
    pub(crate) fn keep(
        &mut self,
        name: &str,
        seen: &Module,
        at: Option<RecordId>,
        state: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let Some(module) = self.exact(name)? else { return Ok(()) };
        if exact(&self.base, name)?.as_ref() != Some(seen) {
            return Err(self.conflict(&self.base, vec![name.to_owned()], Vec::new(), at)?.into());
        }
        let state = state.map(|bytes| self.blob(bytes));
        self.edits.insert(name.to_owned(), Some(Module { state, ..module }));
        Ok(())
    }

    /// A module as the transaction changes it.
    pub(crate) fn edited(&self, name: &str) -> Option<&Module> {
        self.edits.get(name)?.as_ref()
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
        let savepoint = Savepoint(NEXT_SAVEPOINT.fetch_add(1, Ordering::Relaxed));
        self.savepoints.push((savepoint, self.edits.clone(), self.objects.clone()));
        savepoint
    }

    /// Goes back to a savepoint; later ones are gone then, this one stays.
    ///
    /// # Errors
    /// [`StoreError::Savepoint`] when it is gone, or of another transaction.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<(), StoreError> {
        let at = self.savepoints.iter().position(|(other, ..)| *other == savepoint).ok_or(StoreError::Savepoint)?;
        self.savepoints.truncate(at + 1);
        let (_, edits, objects) = &self.savepoints[at];
        (self.edits, self.objects) = (edits.clone(), objects.clone());
        Ok(())
    }

    /// Ends the transaction without a change.
    pub fn abort(self) {}

    /// Makes the changes, all at once, and returns the new head of the branch. A transaction without changes makes no
    /// commit, and returns the head as it is: `None` on an empty branch.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a module or object was changed meanwhile that this transaction changes, too;
    /// [`StoreError::InUse`] when it takes away what others import, and its guard or the store's policy refuses that;
    /// what the guard and the backend raised. The store is unchanged then.
    pub fn commit(self) -> Result<Option<RecordId>, StoreError> {
        self.commit_and_tell().map(|committed| committed.head)
    }

    /// [`Self::commit`], which says, too, what went although other modules import it.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_and_tell(mut self) -> Result<Committed, StoreError> {
        let (store, mut guard) = (self.store.clone(), self.guard.take());
        match self.attempt(&mut ByPolicy { store, guard: guard.as_mut() })? {
            Attempt::Committed(committed) => Ok(committed),
            // It decides at once.
            Attempt::Undecided(in_use) => Err(StoreError::InUse(in_use)),
        }
    }

    /// Commits, if `judge` lets it.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) fn attempt(&mut self, judge: &mut dyn Judge) -> Result<Attempt, StoreError> {
        let time = record::now();
        self.record_imports()?;
        loop {
            let head = self.store.backend().head(&self.branch)?;
            let target = self.rebased(head)?;
            let mut records = Vec::new();
            let modules = match target.edited(&self.edits, &mut records) {
                Err(StoreError::ModuleAndPackage { name }) if head != self.base.commit() => {
                    return Err(self.conflict(&target, vec![name], Vec::new(), self.base.commit())?.into());
                }
                edited => edited?,
            };
            let objects = target.edited_objects(&self.objects, &mut records)?;
            if modules == target.modules_id() && objects == target.objects_id() {
                return Ok(Attempt::Committed(Committed { head, is_new: false, in_use: Vec::new() }));
            }
            let mut in_use = Vec::new();
            if self.takes_away(&target)? && judge.looks()? {
                let all = self.blobs.values().chain(&records).cloned().collect();
                in_use = guard::in_use(&target, &target.with(modules, objects, all), self.changed())?;
            }
            if !in_use.is_empty() {
                match judge.decide(&in_use)? {
                    None => return Ok(Attempt::Undecided(in_use)),
                    Some(Policy::Refuse) => return Err(StoreError::InUse(in_use)),
                    Some(Policy::Allow) => in_use.clear(),
                    Some(Policy::Warn) => {}
                }
            }
            let commit = Commit {
                modules,
                objects,
                parents: head.into_iter().collect(),
                author: self.author.clone(),
                time,
                message: self.message.clone(),
            };
            let commit = Record::of(Kind::Commit, &commit)?;
            let id = commit.id;
            let parts = |module: &Module| [Some(module.source), module.metadata, module.imports, module.state];
            let referred = self.edits.values().flatten().flat_map(parts).flatten();
            let blobs: BTreeSet<RecordId> =
                referred.chain(self.objects.values().flatten().flat_map(objects::records)).collect();
            records.extend(blobs.iter().filter_map(|id| self.blobs.get(id)).cloned());
            records.push(commit);
            if let Outcome::Moved(_) = self.store.backend().move_head(&self.branch, head, Some(id), &records)? {
                return Ok(Attempt::Committed(Committed { head: Some(id), is_new: true, in_use }));
            }
        }
    }

    /// What the changes would take away although other modules import it, if they were committed where the transaction began.
    ///
    /// # Errors
    /// As [`Self::preview`].
    pub fn in_use(&self) -> Result<Vec<InUse>, StoreError> {
        guard::in_use(&self.base, &self.preview()?, self.changed())
    }

    /// Whether a module of `target` gets another source, or goes.
    fn takes_away(&self, target: &Snapshot) -> Result<bool, StoreError> {
        if target.modules_id().is_none() {
            return Ok(false);
        }
        for (name, module) in &self.edits {
            let source = module.as_ref().map(|module| module.source);
            if exact(target, name)?.is_some_and(|old| Some(old.source) != source) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Records what the modules import of which that is not known yet.
    fn record_imports(&mut self) -> Result<(), StoreError> {
        let unknown = self.edits.iter().filter_map(|(name, module)| {
            module.as_ref().filter(|module| module.imports.is_none()).map(|module| (name.clone(), module.source))
        });
        let unknown: Vec<_> = unknown.collect();
        for (name, source) in unknown {
            let Some((imports, _)) = imports::scan(&name, &self.read(source)?) else { continue };
            let imports = self.blob(&imports.to_bytes()?);
            if let Some(Some(module)) = self.edits.get_mut(&name) {
                module.imports = Some(imports);
            }
        }
        Ok(())
    }

    /// The modules and objects as they would be if the changes were committed where the transaction began. Nothing is stored.
    ///
    /// # Errors
    /// [`StoreError::ModuleAndPackage`], and what reading raised.
    pub fn preview(&self) -> Result<Snapshot, StoreError> {
        let mut records = Vec::new();
        let modules = self.base.edited(&self.edits, &mut records)?;
        let objects = self.base.edited_objects(&self.objects, &mut records)?;
        records.extend(self.blobs.values().cloned());
        Ok(self.base.with(modules, objects, records))
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
        let objects = self.objects_in_conflict(&target)?;
        if modules.is_empty() && objects.is_empty() {
            return Ok(target);
        }
        Err(self.conflict(&target, modules, objects, self.base.commit())?.into())
    }

    fn conflict(
        &self,
        target: &Snapshot,
        modules: Vec<String>,
        objects: Vec<String>,
        base: Option<RecordId>,
    ) -> Result<Box<Conflict>, StoreError> {
        let mut others = Vec::new();
        // The base may have been taken back, and others with it.
        let before = self.store.history(base).take(TAKEN_BACK).map(|entry| entry.map(|(id, _)| id));
        let before: BTreeSet<RecordId> = before.collect::<Result<_, _>>()?;
        for entry in self.store.history(target.commit()).take(LOOK_BACK) {
            let (id, commit) = entry?;
            if before.contains(&id) {
                break;
            }
            let parent = Snapshot::new(self.store.shared_backend(), commit.parents.first().copied())?;
            let child = Snapshot::new(self.store.shared_backend(), Some(id))?;
            let changes = parent.changes(&child)?;
            let object_changes = if objects.is_empty() { Vec::new() } else { parent.object_changes(&child)? };
            let is_meant = |name: &str| {
                modules.iter().any(|module| {
                    module == name || name.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with('.'))
                })
            };
            if changes.iter().any(|change| is_meant(&change.name))
                || object_changes.iter().any(|change| objects.contains(&change.key))
            {
                others.push((id, commit.author));
            }
        }
        let (branch, author) = (self.branch.clone(), self.author.clone());
        Ok(Box::new(Conflict { modules, objects, branch, base, author, others }))
    }

    /// Adds a module as it is in another snapshot.
    ///
    /// # Errors
    /// [`StoreError::ModuleAndPackage`], and what reading raised.
    pub(super) fn adopt(&mut self, name: &str, module: Module, from: &Snapshot) -> Result<(), StoreError> {
        self.check_place(&name::parts(name)?)?;
        for id in [Some(module.source), module.metadata, module.imports, module.state].into_iter().flatten() {
            self.blobs.insert(id, from.record(id)?);
        }
        self.edits.insert(name.to_owned(), Some(module));
        Ok(())
    }

    /// Keeps a record that an edit refers to.
    pub(super) fn keep_record(&mut self, record: Option<Record>) {
        self.blobs.extend(record.map(|record| (record.id, record)));
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) -> RecordId {
        let record = Record::blob(bytes);
        let id = record.id;
        self.blobs.insert(id, record);
        id
    }

    pub(super) fn read(&self, id: RecordId) -> Result<Vec<u8>, StoreError> {
        match self.blobs.get(&id) {
            Some(record) => record::read_blob(id, &record.bytes).map(<[u8]>::to_vec),
            None => self.base.blob(id),
        }
    }

    /// The module of exactly this name, as the transaction sees it.
    pub(super) fn exact(&self, name: &str) -> Result<Option<Module>, StoreError> {
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
        if import_name(name) == name
            && let Some(module) = self.exact(&code)?
        {
            return Ok((code, module));
        }
        Err(StoreError::NoModule { name: name.to_owned(), snapshot: self.base.named() })
    }

    /// The modules that `name` stands for: one, or all that are in the package.
    ///
    /// # Errors
    /// [`StoreError::NoModule`] when there are none.
    fn tree(&self, name: &str) -> Result<BTreeMap<String, Module>, StoreError> {
        let all = self.under(name)?;
        if all.is_empty() {
            return Err(StoreError::NoModule { name: name.to_owned(), snapshot: self.base.named() });
        }
        Ok(all)
    }

    /// The module of this name, and what is in the package of this name.
    fn under(&self, name: &str) -> Result<BTreeMap<String, Module>, StoreError> {
        let mut all: BTreeMap<String, Module> = self.base.under(name)?.into_iter().collect();
        // They stand together: no character of a name comes before the dot.
        let is_meant =
            |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        for (other, module) in self.edits.range(name.to_owned()..).take_while(|(other, _)| is_meant(other)) {
            match module {
                Some(module) => all.insert(other.clone(), module.clone()),
                None => all.remove(other),
            };
        }
        Ok(all)
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
        if parts.last() != Some(&INIT) && !self.under(&name)?.is_empty() {
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
