//! The class `Store`, and what it gives.

use std::collections::BTreeMap;

use rustpython_vm::{
    AsObject, FromArgs, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyStrRef},
    function::FsPath,
    pyclass,
    types::Representable,
};

use super::{
    commit::{self, How},
    convert::{blocking, commit_id, from_json, id_object, module_name, source, string, text, texts},
    module_space, objects,
    transaction::Transaction,
    update_report::UpdateReport,
};
use crate::{
    persist::{self, MAIN, RecordId, StoreError, raise::name_lists},
    vm::native::payload,
};

/// A commit of a store.
#[pyclass(module = "modspace", name = "Commit")]
pub(crate) struct Commit(RecordId, persist::Commit);
payload!(Commit);

impl Representable for Commit {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<Commit {} by {:?}: {:?}>", zelf.0.short(), zelf.1.author, zelf.1.message))
    }
}

#[pyclass(with(Representable))]
impl Commit {
    /// Its id, 64 hexadecimal digits.
    #[pygetset]
    fn id(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }

    /// The ids of the commits it was made from.
    #[pygetset]
    fn parents(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.1.parents.iter().map(|id| id_object(Some(*id), vm)).collect()
    }

    /// Who made it.
    #[pygetset]
    fn author(zelf: &Py<Self>) -> String {
        zelf.1.author.clone()
    }

    /// When, in seconds since the epoch.
    #[pygetset]
    fn time(zelf: &Py<Self>) -> f64 {
        zelf.1.time as f64 / 1e3
    }

    /// What its author said of it.
    #[pygetset]
    fn message(zelf: &Py<Self>) -> String {
        zelf.1.message.clone()
    }
}

/// A module in a store.
#[pyclass(module = "modspace", name = "StoredModule")]
pub(crate) struct StoredModule {
    name: String,
    source: PyObjectRef,
    metadata: PyObjectRef,
    imports: PyDictRef,
    kept: persist::Names,
}
payload!(StoredModule);

impl Representable for StoredModule {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<StoredModule '{}'>", zelf.name))
    }
}

#[pyclass(with(Representable))]
impl StoredModule {
    /// The module's name; that of a package's code ends in `.__init__`.
    #[pygetset]
    fn name(zelf: &Py<Self>) -> String {
        zelf.name.clone()
    }

    /// Its source.
    #[pygetset]
    fn source(zelf: &Py<Self>) -> PyObjectRef {
        zelf.source.clone()
    }

    /// What was noted of it: a dict.
    #[pygetset]
    fn metadata(zelf: &Py<Self>) -> PyObjectRef {
        zelf.metadata.clone()
    }

    /// The modules of the store that it imports: a dict, with a list of the names that it takes from each.
    #[pygetset]
    fn imports(zelf: &Py<Self>) -> PyDictRef {
        zelf.imports.clone()
    }

    /// The names of the globals whose values are kept.
    #[pygetset]
    fn kept(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(&zelf.kept, vm)
    }
}

#[derive(FromArgs)]
struct BranchArgs {
    #[pyarg(any, default)]
    branch: Option<PyStrRef>,
}

pub(super) fn branch(given: Option<PyStrRef>) -> String {
    given.map_or_else(|| MAIN.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[derive(FromArgs)]
struct LogArgs {
    #[pyarg(any, default)]
    branch: Option<PyStrRef>,
    #[pyarg(named, default)]
    limit: Option<usize>,
}

#[derive(FromArgs)]
struct TransactionArgs {
    #[pyarg(named, default)]
    message: Option<PyStrRef>,
    #[pyarg(named, default)]
    author: Option<PyStrRef>,
    #[pyarg(named, default)]
    branch: Option<PyStrRef>,
    #[pyarg(named, default)]
    space: Option<PyObjectRef>,
    #[pyarg(named, default)]
    guard: Option<PyObjectRef>,
}

#[derive(FromArgs)]
struct BeginArgs {
    #[pyarg(named, default)]
    manager: Option<PyObjectRef>,
    #[pyarg(flatten)]
    how: TransactionArgs,
}

#[derive(FromArgs)]
struct ChangeArgs {
    #[pyarg(any)]
    name: PyStrRef,
    #[pyarg(any)]
    source: PyObjectRef,
    #[pyarg(flatten)]
    how: TransactionArgs,
}

#[derive(FromArgs)]
struct RemoveArgs {
    #[pyarg(any)]
    name: PyStrRef,
    #[pyarg(flatten)]
    how: TransactionArgs,
}

#[derive(FromArgs)]
struct RenameArgs {
    #[pyarg(any)]
    old: PyStrRef,
    #[pyarg(any)]
    new: PyStrRef,
    #[pyarg(flatten)]
    how: TransactionArgs,
}

#[derive(FromArgs)]
struct FindArgs {
    #[pyarg(any)]
    name: PyStrRef,
    #[pyarg(named, default)]
    branch: Option<PyStrRef>,
    #[pyarg(named, default)]
    at: Option<PyStrRef>,
}

#[derive(FromArgs)]
struct AtArgs {
    #[pyarg(named, default)]
    branch: Option<PyStrRef>,
    #[pyarg(named, default)]
    at: Option<PyStrRef>,
}

#[derive(FromArgs)]
struct UndoArgs {
    #[pyarg(any)]
    commit: PyStrRef,
    #[pyarg(named, default)]
    branch: Option<PyStrRef>,
    #[pyarg(named, default)]
    author: Option<PyStrRef>,
}

/// A store of persistent modules.
#[pyclass(module = "modspace", name = "Store")]
pub(crate) struct Store(pub(super) persist::Store);
payload!(Store);

impl Representable for Store {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<Store {}>", zelf.0.describe()))
    }
}

impl Store {
    fn snapshot(
        &self,
        given: Option<PyStrRef>,
        at: Option<PyStrRef>,
        vm: &VirtualMachine,
    ) -> PyResult<persist::Snapshot> {
        match at {
            Some(at) => {
                let at = commit_id(&at, vm)?;
                blocking(vm, || self.0.at(at))
            }
            None => {
                let branch = branch(given);
                blocking(vm, || self.0.snapshot(&branch))
            }
        }
    }

    fn begin(zelf: &Py<Self>, args: TransactionArgs, vm: &VirtualMachine) -> PyResult<(persist::Transaction, How)> {
        let text = |value: Option<PyStrRef>, what: &str| {
            value.map_or_else(|| Ok(String::new()), |value| string(&value, what, vm))
        };
        let (message, author) = (text(args.message, "message")?, text(args.author, "author")?);
        let branch = branch(args.branch);
        let guard = match args.guard.filter(|guard| !vm.is_none(guard)) {
            Some(guard) if !guard.is_callable() => {
                let class = guard.class().name().to_string();
                return Err(vm.new_type_error(format!("guard must be callable, not {class}")));
            }
            Some(guard) => Some(guard),
            None => commit::guard_of(zelf.as_object(), vm)?,
        };
        let transaction = blocking(vm, || zelf.0.begin(&branch))?.message(message).author(author);
        let space = commit::space(args.space, &zelf.0, &branch, vm)?;
        Ok((transaction, How { space, guard }))
    }

    fn change(
        zelf: &Py<Self>,
        args: TransactionArgs,
        vm: &VirtualMachine,
        change: impl FnOnce(&mut persist::Transaction) -> Result<(), StoreError>,
    ) -> PyResult {
        let (mut transaction, how) = Self::begin(zelf, args, vm)?;
        blocking(vm, || change(&mut transaction))?;
        Ok(id_object(commit::commit(&mut transaction, how, vm)?.committed.head, vm))
    }
}

#[pyclass(with(Representable), flags(HAS_DICT, HAS_WEAKREF))]
impl Store {
    /// Opens the store in this file, which is made when it is not there.
    #[pystaticmethod]
    fn open(path: PyObjectRef, vm: &VirtualMachine) -> PyResult<Self> {
        let path = FsPath::try_from_path_like(path, true, vm)?.to_path_buf(vm)?;
        blocking(vm, || persist::Store::open(path)).map(Self)
    }

    /// A store that is gone with its last reference.
    #[pystaticmethod]
    fn memory() -> Self {
        Self(persist::Store::memory())
    }

    /// The id of the last commit of a branch, or None.
    #[pymethod]
    fn head(zelf: &Py<Self>, args: BranchArgs, vm: &VirtualMachine) -> PyResult {
        let branch = branch(args.branch);
        Ok(id_object(blocking(vm, || zelf.0.head(&branch))?, vm))
    }

    /// The branches, with their heads.
    #[pymethod]
    fn branches(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<PyDictRef> {
        let heads: BTreeMap<String, RecordId> = blocking(vm, || zelf.0.branches())?;
        let dict = vm.ctx.new_dict();
        for (name, head) in heads {
            dict.set_item(&*name, id_object(Some(head), vm), vm)?;
        }
        Ok(dict)
    }

    /// The commits of a branch, the latest first.
    #[pymethod]
    fn log(zelf: &Py<Self>, args: LogArgs, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        let branch = branch(args.branch);
        let commits = blocking(vm, || {
            let head = zelf.0.head(&branch)?;
            zelf.0.history(head).take(args.limit.unwrap_or(usize::MAX)).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(commits.into_iter().map(|(id, commit)| Commit(id, commit).into_ref(&vm.ctx).into()).collect())
    }

    /// Undoes a commit by another one, and returns its id.
    #[pymethod]
    fn undo(zelf: &Py<Self>, args: UndoArgs, vm: &VirtualMachine) -> PyResult {
        let (branch, commit) = (branch(args.branch), commit_id(&args.commit, vm)?);
        let author = args.author.map_or_else(|| Ok(String::new()), |author| string(&author, "author", vm))?;
        let mut transaction = blocking(vm, || zelf.0.undoing(&branch, commit, &author))?;
        let how = How { guard: commit::guard_of(zelf.as_object(), vm)?, ..How::default() };
        Ok(id_object(commit::commit(&mut transaction, how, vm)?.committed.head, vm))
    }

    /// What becomes of changes that take away what other modules of the store import: "allow", "warn" or "refuse". It holds
    /// for everybody who uses the store.
    #[pygetset]
    fn removal(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<&'static str> {
        Ok(blocking(vm, || zelf.0.removal())?.as_str())
    }

    #[pygetset(setter)]
    fn set_removal(zelf: &Py<Self>, policy: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
        blocking(vm, || zelf.0.set("removal", &policy.to_string_lossy()))
    }

    /// The modules that import a module: a dict, with a list of the names that each takes from it.
    #[pymethod]
    fn importers(zelf: &Py<Self>, args: FindArgs, vm: &VirtualMachine) -> PyResult<PyDictRef> {
        let name = module_name(&args.name, vm)?;
        let snapshot = zelf.snapshot(args.branch, args.at, vm)?;
        name_lists(&blocking(vm, || snapshot.importers(&name))?, vm)
    }

    /// A module, with its source and metadata.
    #[pymethod]
    fn find_module(zelf: &Py<Self>, args: FindArgs, vm: &VirtualMachine) -> PyResult<StoredModule> {
        let name = module_name(&args.name, vm)?;
        let snapshot = zelf.snapshot(args.branch, args.at, vm)?;
        let (name, bytes, metadata, imports, kept) = blocking(vm, || {
            let module = snapshot.module(&name)?;
            let is_code = matches!(snapshot.find(&name)?, Some(persist::Found::Package(_)));
            let imports = snapshot.imports(&name)?;
            let name = if is_code && !name.ends_with(".__init__") { format!("{name}.__init__") } else { name };
            let (metadata, kept) = (snapshot.metadata(&module)?, snapshot.kept(&module)?);
            Ok((name, snapshot.blob(module.source)?, metadata, imports, kept))
        })?;
        let (source, metadata) = (text(bytes, vm)?, from_json(&metadata, vm)?);
        Ok(StoredModule { name, source, metadata, imports: name_lists(&imports, vm)?, kept })
    }

    /// The names of all modules, in order; the code of a package is called `pkg.__init__`.
    #[pymethod]
    fn modules(zelf: &Py<Self>, args: AtArgs, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        let snapshot = zelf.snapshot(args.branch, args.at, vm)?;
        let modules = blocking(vm, || snapshot.modules())?;
        Ok(texts(modules.iter().map(|(name, _)| name), vm))
    }

    /// Adds a module, in one transaction; returns the id of the commit.
    #[pymethod]
    fn new_module(zelf: &Py<Self>, args: ChangeArgs, vm: &VirtualMachine) -> PyResult {
        let name = module_name(&args.name, vm)?;
        let source = source(&zelf.0, &name, &args.source, vm)?;
        Self::change(zelf, args.how, vm, |change| change.new_module(&name, &source))
    }

    /// Gives a module another source, in one transaction; returns the id of the commit.
    #[pymethod]
    fn update_module(zelf: &Py<Self>, args: ChangeArgs, vm: &VirtualMachine) -> PyResult {
        let name = module_name(&args.name, vm)?;
        let source = source(&zelf.0, &name, &args.source, vm)?;
        Self::change(zelf, args.how, vm, |change| change.update_module(&name, &source))
    }

    /// Takes a module away, or a package with everything in it, in one transaction; returns the id of the commit.
    #[pymethod]
    fn remove_module(zelf: &Py<Self>, args: RemoveArgs, vm: &VirtualMachine) -> PyResult {
        let name = module_name(&args.name, vm)?;
        Self::change(zelf, args.how, vm, |change| change.remove_module(&name))
    }

    /// Gives a module or a package another name, in one transaction; returns the id of the commit.
    #[pymethod]
    fn rename_module(zelf: &Py<Self>, args: RenameArgs, vm: &VirtualMachine) -> PyResult {
        let (old, new) = (module_name(&args.old, vm)?, module_name(&args.new, vm)?);
        Self::change(zelf, args.how, vm, |change| change.rename_module(&old, &new))
    }

    /// What updates of modules, given as a dict from name to source, would do in a space that is attached to the store.
    /// Nothing is done, but for what the sources do when they run.
    #[pymethod]
    fn plan(zelf: &Py<Self>, sources: PyDictRef, space: PyObjectRef, vm: &VirtualMachine) -> PyResult<UpdateReport> {
        module_space::plan(&space, &zelf.0, vm, |branch| {
            let mut change = blocking(vm, || zelf.0.begin(branch))?;
            for (name, text) in sources {
                let name: PyStrRef = name.try_into_value(vm)?;
                let name = module_name(&name, vm)?;
                let bytes = source(&zelf.0, &name, &text, vm)?;
                blocking(vm, || match change.source(&name) {
                    Ok(_) => change.update_module(&name, &bytes),
                    Err(_) => change.new_module(&name, &bytes),
                })?;
            }
            blocking(vm, || change.preview())
        })
    }

    /// Begins a transaction. As a context manager it commits at the end, or aborts when an exception leaves it. Modules of
    /// `space` (the caller's, if it is attached to the branch) keep values with it, if their metadata asks for that. `guard`
    /// is called when it takes away what other modules import, with a list of `InUse`, and returns "allow", "warn", "refuse",
    /// or None for what the store says. With `manager`, a transaction manager of PyPI's `transaction`, it is part of that
    /// one's current transaction, and ends with it.
    #[pymethod]
    fn transaction(zelf: &Py<Self>, args: BeginArgs, vm: &VirtualMachine) -> PyResult<PyRef<Transaction>> {
        let manager = args.manager.filter(|manager| !vm.is_none(manager));
        let (message, author) = (args.how.message.clone(), args.how.author.clone());
        let (transaction, how) = Self::begin(zelf, args.how, vm)?;
        let (is_joined, space) = (manager.is_some(), how.space);
        let transaction = Transaction::new(transaction, space, is_joined).into_ref(&vm.ctx);
        commit::set_guard(transaction.as_object(), how.guard, vm)?;
        if let Some(manager) = manager {
            objects::join(&transaction, manager, message, author, vm)?;
        }
        Ok(transaction)
    }

    /// The objects of a branch, by key; with `at`, those of a commit. With `manager`, as each transaction of a transaction
    /// manager of PyPI's `transaction` sees them.
    #[pymethod]
    fn root(zelf: PyRef<Self>, args: objects::RootArgs, vm: &VirtualMachine) -> PyResult {
        objects::root(&zelf, args, vm)
    }
}

/// The store that an argument is.
pub(super) fn store_of(object: &PyObject, vm: &VirtualMachine) -> PyResult<persist::Store> {
    match object.downcast_ref::<Store>() {
        Some(store) => Ok(store.0.clone()),
        None => Err(vm.new_type_error(format!("expected a modspace.Store, not {}", object.class().name()))),
    }
}
