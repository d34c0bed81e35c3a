//! The classes `Store` and `Transaction`.

use std::{
    collections::BTreeMap,
    thread::{self, ThreadId},
};

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, FromArgs, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyBytes, PyDictRef, PyStr, PyStrRef},
    function::{FsPath, FuncArgs},
    pyclass,
    types::Representable,
};

use super::{
    commit::{self, How},
    module_space, objects,
};
use crate::{
    import::{generation::SpaceId, project::hidden_module},
    persist::{
        self, MAIN, Metadata, RecordId, StoreError,
        finder::check_compiles,
        raise::{class, name_lists, raise},
        state::Unkept,
    },
    vm::native::payload,
};

/// Runs a blocking call of a store outside the interpreter.
pub(super) fn blocking<T>(vm: &VirtualMachine, call: impl FnOnce() -> Result<T, StoreError>) -> PyResult<T> {
    vm.allow_threads(call).map_err(|error| raise(&error, vm))
}

/// A module's name.
fn module_name(value: &PyStrRef, vm: &VirtualMachine) -> PyResult<String> {
    let name = value.to_string_lossy().into_owned();
    persist::check_name(&name).map_err(|error| raise(&error, vm))?;
    Ok(name)
}

pub(super) fn string(value: &PyStrRef, what: &str, vm: &VirtualMachine) -> PyResult<String> {
    value
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| vm.new_value_error(format!("{what} holds a surrogate that cannot be encoded")))
}

/// The id of a commit, as Python has it.
pub(super) fn commit_id(text: &PyStrRef, vm: &VirtualMachine) -> PyResult<RecordId> {
    text.to_string_lossy().parse().map_err(|error: StoreError| raise(&error, vm))
}

fn texts<'text>(texts: impl IntoIterator<Item = &'text String>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
    texts.into_iter().map(|text| vm.ctx.new_str(&**text).into()).collect()
}

pub(super) fn id_object(id: Option<RecordId>, vm: &VirtualMachine) -> PyObjectRef {
    id.map_or_else(|| vm.ctx.none(), |id| vm.ctx.new_str(id.to_string()).into())
}

/// A source as the bytes of a file; `str` is written in the encoding that it declares.
fn source(store: &persist::Store, name: &str, source: &PyObject, vm: &VirtualMachine) -> PyResult<Vec<u8>> {
    let wrong = |reason: &str| raise(&StoreError::Source { name: name.to_owned(), reason: reason.to_owned() }, vm);
    let bytes = if let Some(text) = source.downcast_ref::<PyStr>() {
        let text = text.to_str().ok_or_else(|| wrong("it holds a surrogate, which no encoding can write"))?;
        let bytes = text.as_bytes().to_vec();
        match encoding(&bytes, vm) {
            Ok(encoding) if !text.is_ascii() && encoding != "utf-8" => {
                let encoded = vm.call_method(source, "encode", (encoding.clone(),));
                let encoded = encoded.map_err(|_| wrong(&format!("{encoding}, which it declares, cannot write it")))?;
                encoded.try_bytes_like(vm, <[u8]>::to_vec)?
            }
            _ => bytes,
        }
    } else if let Some(bytes) = source.downcast_ref::<PyBytes>() {
        bytes.as_bytes().to_vec()
    } else {
        let class = source.class().name().to_string();
        return Err(vm.new_type_error(format!("the source of {name:?} must be str or bytes, not {class}")));
    };
    persist::check_source(name, &bytes).map_err(|error| raise(&error, vm))?;
    // Python says best what is wrong with it.
    check_compiles(store, name, bytes.clone(), vm)?;
    Ok(bytes)
}

/// The encoding that the bytes of a source declare (PEP 263).
fn encoding(bytes: &[u8], vm: &VirtualMachine) -> PyResult<String> {
    let buffer = hidden_module("io", vm)?.get_attr("BytesIO", vm)?.call((vm.ctx.new_bytes(bytes.to_vec()),), vm)?;
    let detect = hidden_module("tokenize", vm)?.get_attr("detect_encoding", vm)?;
    let found = detect.call((buffer.get_attr("readline", vm)?,), vm)?.get_item(&0, vm)?;
    let found: PyStrRef = found.downcast().map_err(|_| vm.new_type_error("no encoding"))?;
    // A mark at the beginning is a character like others here.
    Ok(found.to_string_lossy().trim_end_matches("-sig").to_owned())
}

/// A source as it was given.
fn text(bytes: Vec<u8>, vm: &VirtualMachine) -> PyResult {
    let encoding = if bytes.is_ascii() { "utf-8".to_owned() } else { encoding(&bytes, vm)? };
    vm.call_method(vm.ctx.new_bytes(bytes).as_object(), "decode", (encoding,))
}

fn to_json(value: &PyDictRef, vm: &VirtualMachine) -> PyResult<Metadata> {
    let text = hidden_module("json", vm)?.get_attr("dumps", vm)?.call((value.clone(),), vm)?;
    let text: PyStrRef = text.downcast().map_err(|_| vm.new_type_error("json.dumps() returned no str"))?;
    serde_json::from_str(&text.to_string_lossy()).map_err(|error| {
        let message = format!("the metadata cannot be stored, as with surrogates, NaN and infinity: {error}");
        vm.new_value_error(message)
    })
}

fn from_json(value: &Metadata, vm: &VirtualMachine) -> PyResult {
    let text = serde_json::to_string(value).map_err(|error| vm.new_value_error(error.to_string()))?;
    hidden_module("json", vm)?.get_attr("loads", vm)?.call((text,), vm)
}

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
        let state = Mutex::new(State::Open(Box::new(transaction)));
        let (thread, unkept) = (thread::current().id(), Mutex::default());
        let transaction = Transaction { thread, space, is_joined, state, unkept }.into_ref(&vm.ctx);
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

fn in_use_object(in_use: persist::InUse, vm: &VirtualMachine) -> PyObjectRef {
    persist::raise::InUse(in_use).into_ref(&vm.ctx).into()
}

enum State {
    Open(Box<persist::Transaction>),
    /// How it ended.
    Ended(&'static str),
}

/// A change to a store that nobody sees before it is committed. Only the thread that began it can use it.
#[pyclass(module = "modspace", name = "Transaction")]
pub(crate) struct Transaction {
    thread: ThreadId,
    /// The space whose modules keep values with it.
    space: Option<SpaceId>,
    /// Whether it ends with a transaction of PyPI's `transaction`.
    is_joined: bool,
    state: Mutex<State>,
    unkept: Mutex<Vec<Unkept>>,
}
payload!(Transaction);

impl Transaction {
    fn check_thread(&self, vm: &VirtualMachine) -> PyResult<()> {
        if thread::current().id() == self.thread {
            return Ok(());
        }
        let message = "this transaction was begun by another thread; each thread begins its own";
        Err(vm.new_exception_msg(class("StoreError", vm), message.into()))
    }

    pub(super) fn with<T>(
        &self,
        vm: &VirtualMachine,
        body: impl FnOnce(&mut persist::Transaction) -> Result<T, StoreError>,
    ) -> PyResult<T> {
        self.check_thread(vm)?;
        // The lock is this thread's alone: no other comes so far.
        match &mut *self.state.lock() {
            State::Open(transaction) => blocking(vm, || body(transaction)),
            State::Ended(how) => Err(raise(&StoreError::Ended { how }, vm)),
        }
    }

    fn end(&self, how: &'static str, vm: &VirtualMachine) -> PyResult<Box<persist::Transaction>> {
        self.check_thread(vm)?;
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Ended(how)) {
            State::Open(transaction) => Ok(transaction),
            State::Ended(before) => {
                *state = State::Ended(before);
                Err(raise(&StoreError::Ended { how: before }, vm))
            }
        }
    }

    fn check_own(&self, verb: &str, vm: &VirtualMachine) -> PyResult<()> {
        if !self.is_joined {
            return Ok(());
        }
        let message = format!("this transaction belongs to a transaction manager; {verb} that one's transaction");
        Err(vm.new_exception_msg(class("StoreError", vm), message.into()))
    }

    fn is_open(&self) -> bool {
        matches!(&*self.state.lock(), State::Open(_))
    }

    /// Makes the changes.
    pub(super) fn finish(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<persist::Committed> {
        let mut transaction = zelf.end("been committed", vm)?;
        objects::forget_objects(zelf, vm)?;
        let guard = commit::guard_of(zelf.as_object(), vm)?;
        match commit::commit(&mut transaction, How { space: zelf.space, guard }, vm) {
            Ok(done) => {
                *zelf.unkept.lock() = done.unkept;
                Ok(done.committed)
            }
            Err(error) => {
                *zelf.state.lock() = State::Ended("failed to commit");
                Err(error)
            }
        }
    }

    /// Ends the transaction without a change, if it has not ended.
    pub(super) fn abandon(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<()> {
        zelf.check_thread(vm)?;
        if zelf.is_open() {
            zelf.end("been aborted", vm)?.abort();
            objects::forget_objects(zelf, vm)?;
        }
        Ok(())
    }
}

#[derive(FromArgs)]
struct NewArgs {
    #[pyarg(any)]
    name: PyStrRef,
    #[pyarg(any)]
    source: PyObjectRef,
    #[pyarg(named, default)]
    metadata: Option<PyDictRef>,
}

#[pyclass(flags(HAS_DICT, HAS_WEAKREF))]
impl Transaction {
    /// Adds a module. Packages above it need not be there; `pkg.__init__` gives a package its code.
    #[pymethod(name = "new")]
    fn new_module(zelf: &Py<Self>, args: NewArgs, vm: &VirtualMachine) -> PyResult<()> {
        let name = module_name(&args.name, vm)?;
        let metadata = args.metadata.map(|metadata| to_json(&metadata, vm)).transpose()?;
        let store = zelf.with(vm, |change| Ok(change.store().clone()))?;
        let source = source(&store, &name, &args.source, vm)?;
        zelf.with(vm, |change| {
            change.new_module(&name, &source)?;
            metadata.map_or(Ok(()), |metadata| change.set_metadata(&name, &metadata))
        })
    }

    /// Gives a module another source; `pkg` means the code of the package, when it is one.
    #[pymethod]
    fn update(zelf: &Py<Self>, args: NewArgs, vm: &VirtualMachine) -> PyResult<()> {
        let name = module_name(&args.name, vm)?;
        let metadata = args.metadata.map(|metadata| to_json(&metadata, vm)).transpose()?;
        let store = zelf.with(vm, |change| Ok(change.store().clone()))?;
        let source = source(&store, &name, &args.source, vm)?;
        zelf.with(vm, |change| {
            change.update_module(&name, &source)?;
            metadata.map_or(Ok(()), |metadata| change.set_metadata(&name, &metadata))
        })
    }

    /// Takes a module away; a package with everything in it.
    #[pymethod]
    fn remove(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
        let name = module_name(&name, vm)?;
        zelf.with(vm, |change| change.remove_module(&name))
    }

    /// Gives a module, or a package with everything in it, another name.
    #[pymethod]
    fn rename(zelf: &Py<Self>, old: PyStrRef, new: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
        let (old, new) = (module_name(&old, vm)?, module_name(&new, vm)?);
        zelf.with(vm, |change| change.rename_module(&old, &new))
    }

    /// A module's source, as the transaction sees it.
    #[pymethod]
    fn source(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult {
        let name = module_name(&name, vm)?;
        text(zelf.with(vm, |change| change.source(&name))?, vm)
    }

    /// What was noted of a module: a dict.
    #[pymethod]
    fn metadata(zelf: &Py<Self>, name: PyStrRef, vm: &VirtualMachine) -> PyResult {
        let name = module_name(&name, vm)?;
        from_json(&zelf.with(vm, |change| change.metadata(&name))?, vm)
    }

    /// Notes something of a module, in the place of what was noted before.
    #[pymethod]
    fn set_metadata(zelf: &Py<Self>, name: PyStrRef, metadata: PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
        let name = module_name(&name, vm)?;
        let metadata = to_json(&metadata, vm)?;
        zelf.with(vm, |change| change.set_metadata(&name, &metadata))
    }

    /// The names of all modules, as the transaction sees them.
    #[pymethod]
    fn modules(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        Ok(texts(&zelf.with(vm, |change| change.modules())?, vm))
    }

    /// The objects as the transaction sees them; what is done to them is part of it.
    #[pymethod]
    fn root(zelf: PyRef<Self>, args: objects::ClassArgs, vm: &VirtualMachine) -> PyResult {
        objects::transaction_root(&zelf, args, vm)
    }

    /// What the changes would do in a space that is attached to the store, if they were committed; see `Store.plan`.
    #[pymethod]
    fn plan(zelf: &Py<Self>, space: PyObjectRef, vm: &VirtualMachine) -> PyResult<UpdateReport> {
        let (store, preview) = zelf.with(vm, |change| Ok((change.store().clone(), change.preview()?)))?;
        module_space::plan(&space, &store, vm, |_| Ok(preview))
    }

    /// The commit that the transaction began at, or None.
    #[pygetset]
    fn base(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        Ok(id_object(zelf.with(vm, |change| Ok(change.base()))?, vm))
    }

    /// A moment to which `rollback` can go back.
    #[pymethod]
    fn savepoint(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<PyRef<Savepoint>> {
        objects::write_objects(zelf, vm)?;
        let savepoint = zelf.with(vm, |change| Ok(change.savepoint()))?;
        Ok(Savepoint(savepoint).into_ref(&vm.ctx))
    }

    /// Goes back to a savepoint; later ones are gone then, this one stays.
    #[pymethod]
    fn rollback(zelf: &Py<Self>, savepoint: PyRef<Savepoint>, vm: &VirtualMachine) -> PyResult<()> {
        zelf.with(vm, |change| change.rollback(savepoint.0))?;
        objects::forget_objects(zelf, vm)
    }

    /// Makes the changes, all at once, and returns the id of the branch's head.
    #[pymethod]
    fn commit(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        zelf.check_own("commit", vm)?;
        objects::write_objects(zelf, vm)?;
        Ok(id_object(Self::finish(zelf, vm)?.head, vm))
    }

    /// What modules could not keep with the commit: triples of module, name and reason.
    #[pygetset]
    fn unkept(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let unkept = zelf.unkept.lock().clone();
        unkept.iter().map(|one| vm.ctx.new_tuple(texts([&one.module, &one.name, &one.reason], vm)).into()).collect()
    }

    /// What the changes would take away although other modules import it, as they are so far: a list of `InUse`.
    #[pygetset]
    fn in_use(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        let in_use = zelf.with(vm, |change| change.in_use())?;
        Ok(in_use.into_iter().map(|one| in_use_object(one, vm)).collect())
    }

    /// Ends the transaction without a change.
    #[pymethod]
    fn abort(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<()> {
        zelf.check_own("abort", vm)?;
        zelf.end("been aborted", vm)?.abort();
        objects::forget_objects(zelf, vm)
    }

    #[pymethod]
    fn __enter__(zelf: PyRef<Self>, vm: &VirtualMachine) -> PyResult<PyRef<Self>> {
        zelf.with(vm, |_| Ok(()))?;
        Ok(zelf)
    }

    #[pymethod]
    fn __exit__(zelf: &Py<Self>, exception: FuncArgs, vm: &VirtualMachine) -> PyResult<()> {
        zelf.check_thread(vm)?;
        if zelf.is_joined || !zelf.is_open() {
            return Ok(());
        }
        if exception.args.first().is_none_or(|class| vm.is_none(class)) {
            let committed = Self::commit(zelf, vm).map(drop);
            // When something could not be pickled it would still be open.
            Self::abandon(zelf, vm)?;
            committed
        } else {
            Self::abort(zelf, vm)
        }
    }
}

/// A moment in a transaction.
#[pyclass(module = "modspace", name = "Savepoint")]
pub(crate) struct Savepoint(persist::Savepoint);
payload!(Savepoint);

#[pyclass]
impl Savepoint {}

/// What an update of a space did, or would do.
#[pyclass(module = "modspace", name = "UpdateReport")]
pub(crate) struct UpdateReport(pub(super) persist::UpdateReport);
payload!(UpdateReport);

impl Representable for UpdateReport {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        Ok(format!("<UpdateReport: {} modules updated>", zelf.0.modules.len()))
    }
}

#[pyclass(with(Representable))]
impl UpdateReport {
    fn paths(&self, kind: persist::UpdateKind, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(self.0.entries.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.path), vm)
    }

    /// The commit that the space saw before, or None.
    #[pygetset]
    fn old_commit(zelf: &Py<Self>, vm: &VirtualMachine) -> PyObjectRef {
        id_object(zelf.0.from, vm)
    }

    /// The commit that it sees then, or None.
    #[pygetset]
    fn commit(zelf: &Py<Self>, vm: &VirtualMachine) -> PyObjectRef {
        id_object(zelf.0.to, vm)
    }

    /// The loaded modules that are updated.
    #[pygetset]
    fn modules(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(&zelf.0.modules, vm)
    }

    /// The loaded modules that go.
    #[pygetset]
    fn removed(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        texts(&zelf.0.removed, vm)
    }

    /// Names that have another value, or whose object takes what the new source says.
    #[pygetset]
    fn updated(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Updated, vm)
    }

    /// New names.
    #[pygetset]
    fn added(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Added, vm)
    }

    /// Names that go.
    #[pygetset]
    fn deleted(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Deleted, vm)
    }

    /// Names in other modules that were imported and get the new value.
    #[pygetset]
    fn rebound(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Rebound, vm)
    }

    /// What cannot be updated in place and has a new object in its place.
    #[pygetset]
    fn replaced(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Replaced, vm)
    }

    /// What cannot be updated in place.
    #[pygetset]
    fn refused(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        zelf.paths(persist::UpdateKind::Refused, vm)
    }

    /// All entries: triples of kind, path and reason.
    #[pygetset]
    fn entries(zelf: &Py<Self>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let entries = zelf.0.entries.iter();
        entries
            .map(|entry| {
                vm.ctx.new_tuple(vec![text(entry.kind.as_str()), text(&entry.path), text(&entry.detail)]).into()
            })
            .collect()
    }

    /// How long it took, in seconds.
    #[pygetset]
    fn duration(zelf: &Py<Self>) -> f64 {
        zelf.0.duration.as_secs_f64()
    }

    #[pymethod]
    fn __str__(zelf: &Py<Self>) -> String {
        zelf.0.to_string()
    }
}

/// The store that an argument is.
pub(super) fn store_of(object: &PyObject, vm: &VirtualMachine) -> PyResult<persist::Store> {
    match object.downcast_ref::<Store>() {
        Some(store) => Ok(store.0.clone()),
        None => Err(vm.new_type_error(format!("expected a modspace.Store, not {}", object.class().name()))),
    }
}
