//! Directories of source files that go with a branch of a store.
//!
//! A checkout has the modules of a commit as files, `pkg/mod.py` and `pkg/__init__.py`, and notes in `.modspace/checkout.json`
//! which commit that was. What changed in the files is committed; what changed in the branch is merged into the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    name,
    record::RecordId,
    snapshot::Snapshot,
    source,
    store::Store,
    transaction::{Committed, Transaction},
};

/// Where a checkout notes what it is of.
const NOTES: &str = ".modspace";

/// How a file differs from the commit that was checked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileState {
    /// It is new.
    Added,
    /// It has another content.
    Modified,
    /// It is not there any more.
    Deleted,
    /// It has the marks of a conflict in it.
    Conflict,
}

/// A file of a checkout that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileChange {
    /// The module.
    pub module: String,
    /// How it differs.
    pub state: FileState,
}

/// What an update did to the files of a checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Merged {
    /// Modules whose files have the branch's content now.
    pub updated: Vec<String>,
    /// Modules whose files have the changes of both.
    pub merged: Vec<String>,
    /// Modules whose files are gone.
    pub deleted: Vec<String>,
    /// Modules that were changed on both sides in ways that do not go together; the marks in their files say where.
    pub conflicts: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Notes {
    store: PathBuf,
    branch: String,
    commit: Option<String>,
}

/// A directory with the modules of a commit as files.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    notes: Notes,
    store: Store,
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), reason: error.to_string() }
}

/// The file of a module, below the directory.
fn path_of(module: &str) -> PathBuf {
    let mut path: PathBuf = module.split('.').collect();
    path.set_extension("py");
    path
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let result = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(".modspace-new");
        fs::write(&aside, bytes)?;
        fs::rename(&aside, path)
    })();
    result.map_err(|error| failed(path, &error))
}

/// Files that are no modules, with the reason.
pub type LeftOut = Vec<(PathBuf, String)>;

/// The modules that the files below a directory are, and the files that are none.
pub type Files = (BTreeMap<String, Vec<u8>>, LeftOut);

/// What a module's file has, and what the commit has that was checked out; `None` where it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// In the file.
    pub file: Option<Vec<u8>>,
    /// In the commit.
    pub base: Option<Vec<u8>>,
}

/// What came of storing the files of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The commit; `None` when nothing differed.
    pub committed: Option<Committed>,
    /// How many modules differed.
    pub changed: usize,
    /// Files that are no modules.
    pub left_out: LeftOut,
}

/// Reads the `.py` files below a directory. Hidden directories and `__pycache__` are left out, and links to directories.
///
/// # Errors
/// [`StoreError::File`].
pub fn read_files(root: &Path) -> Result<Files, StoreError> {
    let (mut modules, mut others) = (BTreeMap::new(), Vec::new());
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, package)) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| failed(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(&folder, &error))?;
            let path = entry.path();
            let text = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|error| failed(&path, &error))?;
            let join = |name: &str| if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") };
            if kind.is_dir() {
                if !text.starts_with('.') && text != "__pycache__" {
                    folders.push((path, join(&text)));
                }
            } else if let Some(stem) = text.strip_suffix(".py") {
                let module = join(stem);
                match name::parts(&module) {
                    Ok(_) => {
                        let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
                        modules.insert(module, bytes);
                    }
                    Err(error) => others.push((path, error.to_string())),
                }
            }
        }
    }
    Ok((modules, others))
}

/// Writes all modules of a snapshot below a directory.
///
/// # Errors
/// [`StoreError::File`], and what reading raised; some files may have been written then.
pub fn write_files(snapshot: &Snapshot, root: &Path, tell: &mut dyn FnMut(usize)) -> Result<usize, StoreError> {
    let modules = snapshot.modules()?;
    for (index, (name, module)) in modules.iter().enumerate() {
        write(&root.join(path_of(name)), &snapshot.blob(module.source)?)?;
        tell(index + 1);
    }
    Ok(modules.len())
}

impl Checkout {
    /// Writes the modules of a branch, at a commit or at its head, into a directory that is empty or not there.
    ///
    /// # Errors
    /// [`StoreError::File`] when there is something in the directory, and what reading and writing raised.
    pub fn create(
        store_path: &Path,
        root: &Path,
        branch: &str,
        commit: Option<RecordId>,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self, StoreError> {
        let store = Store::open_existing(store_path)?;
        if fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some()) {
            let reason =
                "the directory is not empty; choose another one, or use `import` to store its files".to_owned();
            return Err(StoreError::File { path: root.to_owned(), reason });
        }
        let snapshot = match commit {
            Some(commit) => store.at(commit)?,
            None => store.snapshot(branch)?,
        };
        fs::create_dir_all(root).map_err(|error| failed(root, &error))?;
        write_files(&snapshot, root, tell)?;
        let store_path = fs::canonicalize(store_path).map_err(|error| failed(store_path, &error))?;
        let commit = snapshot.commit().map(|id| id.to_string());
        let checkout = Self {
            root: root.to_owned(),
            notes: Notes { store: store_path, branch: branch.to_owned(), commit },
            store,
        };
        checkout.save()?;
        Ok(checkout)
    }

    /// The checkout that a directory is in.
    ///
    /// # Errors
    /// [`StoreError::File`] when it is in none; what opening the store raised.
    pub fn find(directory: &Path) -> Result<Self, StoreError> {
        let start = fs::canonicalize(directory).map_err(|error| failed(directory, &error))?;
        let found = start.ancestors().find(|above| above.join(NOTES).join("checkout.json").is_file());
        let Some(root) = found else {
            let reason = "it is in no checkout; `modspace store checkout` makes one".to_owned();
            return Err(StoreError::File { path: directory.to_owned(), reason });
        };
        let path = root.join(NOTES).join("checkout.json");
        let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        let notes: Notes = serde_json::from_str(&text)
            .map_err(|error| StoreError::File { path: path.clone(), reason: error.to_string() })?;
        let store = Store::open_existing(&notes.store)?;
        Ok(Self { root: root.to_owned(), notes, store })
    }

    fn save(&self) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(&self.notes);
        let text = text.map_err(|error| StoreError::Encoding { reason: error.to_string() })?;
        write(&self.root.join(NOTES).join("checkout.json"), text.as_bytes())
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The branch.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.notes.branch
    }

    /// The commit whose modules the files were; `None` before the first one.
    ///
    /// # Errors
    /// [`StoreError::Id`] when the notes are damaged.
    pub fn commit_id(&self) -> Result<Option<RecordId>, StoreError> {
        self.notes.commit.as_deref().map(str::parse).transpose()
    }

    /// The modules of that commit.
    ///
    /// # Errors
    /// As [`Self::commit_id`], and what reading raised.
    pub fn base(&self) -> Result<Snapshot, StoreError> {
        match self.commit_id()? {
            Some(commit) => self.store.at(commit),
            None => self.store.snapshot(&self.notes.branch).map(|snapshot| snapshot.emptied()),
        }
    }

    /// The sources of a snapshot, by module.
    fn sources(snapshot: &Snapshot) -> Result<BTreeMap<String, RecordId>, StoreError> {
        Ok(snapshot.modules()?.into_iter().map(|(name, module)| (name, module.source)).collect())
    }

    /// The files that differ from the commit, and those that are no modules.
    ///
    /// # Errors
    /// What reading raised.
    pub fn status(&self) -> Result<(Vec<FileChange>, LeftOut), StoreError> {
        let (files, others) = read_files(&self.root)?;
        let base = Self::sources(&self.base()?)?;
        let names: BTreeSet<&String> = files.keys().chain(base.keys()).collect();
        let mut changes = Vec::new();
        for module in names {
            let state = match (base.get(module), files.get(module)) {
                (_, Some(bytes)) if has_conflict(bytes) => FileState::Conflict,
                (None, Some(_)) => FileState::Added,
                (Some(_), None) => FileState::Deleted,
                (Some(source), Some(bytes)) if Snapshot::blob_id(bytes) != *source => FileState::Modified,
                _ => continue,
            };
            changes.push(FileChange { module: module.clone(), state });
        }
        Ok((changes, others))
    }

    /// What a module's file has, and what the commit has.
    ///
    /// # Errors
    /// What reading raised.
    pub fn contents(&self, module: &str) -> Result<Contents, StoreError> {
        let path = self.root.join(path_of(module));
        let file = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, &error)),
        };
        let base = match self.base()?.source(module) {
            Ok(bytes) => Some(bytes),
            Err(StoreError::NoModule { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Contents { file, base })
    }

    /// Commits what differs in the files; returns the commit, or `None` when nothing does.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the branch changed the same modules meanwhile: update first. [`StoreError::Source`] for
    /// files that Python cannot compile or that have marks of a conflict. Nothing is committed then.
    pub fn commit(&mut self, message: &str, author: &str) -> Result<Option<RecordId>, StoreError> {
        Ok(self.commit_and_tell(message, author)?.and_then(|committed| committed.head))
    }

    /// [`Self::commit`], which says, too, what went although other modules import it.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_and_tell(&mut self, message: &str, author: &str) -> Result<Option<Committed>, StoreError> {
        let transaction = self.changes(&self.root, &[])?.message(message).author(author);
        if transaction.changed().next().is_none() {
            return Ok(None);
        }
        let committed = transaction.commit_and_tell()?;
        // Others may have committed in between: what they changed comes with the next update.
        if let Some(head) = committed.head {
            let theirs = self.merge_into_files(head)?;
            debug_assert!(theirs.conflicts.is_empty(), "the transaction would have met it");
        }
        Ok(Some(committed))
    }

    /// What differs in the files, as a transaction that began at the commit that was checked out. `only` names files, from
    /// `folder`, or modules, when not all are meant.
    ///
    /// # Errors
    /// [`StoreError::File`] for one of `only` that does not differ; [`StoreError::Source`] as in [`Self::commit`].
    pub fn changes(&self, folder: &Path, only: &[PathBuf]) -> Result<Transaction, StoreError> {
        let (mut changes, _) = self.status()?;
        if !only.is_empty() {
            let folder = fs::canonicalize(folder).map_err(|error| failed(folder, &error))?;
            let is_meant = |given: &PathBuf, change: &FileChange| {
                given.as_os_str() == &*change.module || folder.join(given) == self.root.join(path_of(&change.module))
            };
            if let Some(path) = only.iter().find(|path| !changes.iter().any(|change| is_meant(path, change))) {
                let reason =
                    "no file of the checkout that differs from its commit; `modspace store status` lists those";
                return Err(StoreError::File { path: path.clone(), reason: reason.to_owned() });
            }
            changes.retain(|change| only.iter().any(|path| is_meant(path, change)));
        }
        let mut transaction = self.store.begin_at(&self.notes.branch, self.commit_id()?)?;
        // What goes makes room for what comes: a module for a package of its name.
        for change in changes.iter().filter(|change| change.state == FileState::Deleted) {
            transaction.remove_module(&change.module)?;
        }
        for change in &changes {
            let wrong = |reason: &str| StoreError::Source { name: change.module.clone(), reason: reason.to_owned() };
            if change.state == FileState::Conflict {
                return Err(wrong("its file has marks of a conflict; edit it, then commit"));
            }
            let Contents { file: Some(bytes), base } = self.contents(&change.module)? else { continue };
            source::check_syntax(&change.module, &bytes)?;
            if base.is_some() {
                transaction.update_module(&change.module, &bytes)?;
            } else {
                transaction.new_module(&change.module, &bytes)?;
            }
        }
        Ok(transaction)
    }

    /// Brings the branch's changes into the files.
    ///
    /// # Errors
    /// What reading and writing raised; files that were written so far stay, and updating again goes on.
    pub fn update(&mut self) -> Result<Merged, StoreError> {
        match self.store.head(&self.notes.branch)? {
            Some(head) => self.merge_into_files(head),
            None => Ok(Merged::default()),
        }
    }

    fn merge_into_files(&mut self, target: RecordId) -> Result<Merged, StoreError> {
        let mut merged = Merged::default();
        let target_snapshot = self.store.at(target)?;
        for change in self.base()?.changes(&target_snapshot)? {
            let path = self.root.join(path_of(&change.name));
            let Contents { file, base } = self.contents(&change.name)?;
            let theirs = change.new.map(|module| target_snapshot.blob(module.source)).transpose()?;
            if file == theirs {
                continue;
            }
            match (file, base, theirs) {
                (Some(file), Some(base), None) if file == base => {
                    fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
                    merged.deleted.push(change.name);
                }
                (file, base, Some(theirs)) if file == base => {
                    write(&path, &theirs)?;
                    merged.updated.push(change.name);
                }
                (Some(file), base, Some(theirs)) => {
                    let base = base.unwrap_or_default();
                    match diffy::merge_bytes(&base, &file, &theirs) {
                        Ok(both) => {
                            write(&path, &both)?;
                            merged.merged.push(change.name);
                        }
                        Err(marked) => {
                            write(&path, &marked)?;
                            merged.conflicts.push(change.name);
                        }
                    }
                }
                // Changed on one side, deleted on the other: what is there stays, or comes.
                (Some(_), _, None) => merged.conflicts.push(change.name),
                (None, _, Some(theirs)) => {
                    write(&path, &theirs)?;
                    merged.conflicts.push(change.name);
                }
                (None, _, None) => {}
            }
        }
        self.notes.commit = Some(target.to_string());
        self.save()?;
        Ok(merged)
    }
}

/// Whether a file has the marks that a merge leaves.
fn has_conflict(bytes: &[u8]) -> bool {
    let has = |mark: &[u8]| bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(mark));
    has(b"<<<<<<< ") && has(b"=======") && has(b">>>>>>> ")
}

/// Puts the modules that files are into a branch, in one transaction; returns the commit, and how many modules changed.
/// With `exactly`, modules without a file go.
///
/// # Errors
/// [`StoreError::Source`], [`StoreError::ModuleAndPackage`]; nothing is committed then.
pub fn import_files(
    store: &Store,
    branch: &str,
    root: &Path,
    exactly: bool,
    (message, author): (&str, &str),
    tell: &mut dyn FnMut(usize),
) -> Result<Imported, StoreError> {
    let (files, others) = read_files(root)?;
    let mut transaction = store.begin(branch)?.message(message).author(author);
    let known = store.snapshot(branch)?;
    let before = Checkout::sources(&known)?;
    if exactly {
        for name in before.keys().filter(|name| !files.contains_key(*name)) {
            transaction.remove_module(name)?;
        }
    }
    for (index, (module, bytes)) in files.iter().enumerate() {
        tell(index + 1);
        match before.get(module) {
            Some(source) if Snapshot::blob_id(bytes) == *source => continue,
            Some(_) => {
                source::check_syntax(module, bytes)?;
                transaction.update_module(module, bytes)?;
            }
            None => {
                source::check_syntax(module, bytes)?;
                transaction.new_module(module, bytes)?;
            }
        }
    }
    let changed = transaction.changed().count();
    let committed = if changed == 0 { None } else { Some(transaction.commit_and_tell()?) };
    Ok(Imported { committed, changed, left_out: others })
}
