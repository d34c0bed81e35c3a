//! Objects of stores in Python: what `spaces/boot/objects.py` needs of Rust.
//!
//! A root has a *source*: an [`ObjectSource`] for a branch or a commit, or a [`Transaction`]. Here are functions that read
//! and change one, in pickles, and those that translate between classes and the identities of their modules.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, FromArgs, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, TryFromObject, VirtualMachine,
    builtins::{PyBytesRef, PyDictRef, PyFunction, PyModule, PyStr, PyStrRef, PyType},
    function::PyMethodDef,
    pyclass,
};

use super::{
    calling,
    convert::{blocking, commit_id, id_object, string},
    store::{Store, branch},
    transaction::Transaction,
};
use crate::{
    import::{
        boot,
        generation::Generation,
        owner::{self, Owner},
    },
    persist::{
        self, MAIN, RecordId, Reference, Snapshot, StoreError,
        finder::{self, StoreFinder},
        raise::{class, raise},
    },
    vm::native::{bind, def, module_over, payload},
};

const OBJECTS: &str = include_str!("../../spaces/boot/objects.py");

/// Where the code of `objects.py` is among the hidden modules.
const MODULE: &str = "modspace.objects";

/// The attribute of a transaction that has its root.
const ROOT: &str = "_root";

/// The arguments of `root` that say how references to classes are stored and found.
#[derive(FromArgs)]
pub(super) struct ClassArgs {
    #[pyarg(named, default)]
    class_factory: Option<PyObjectRef>,
    #[pyarg(named, default)]
    references: Option<PyObjectRef>,
}

impl ClassArgs {
    fn is_empty(&self) -> bool {
        self.class_factory.is_none() && self.references.is_none()
    }

    fn into_pair(self, vm: &VirtualMachine) -> (PyObjectRef, PyObjectRef) {
        let factory = self.class_factory.unwrap_or_else(|| vm.ctx.none());
        (factory, self.references.unwrap_or_else(|| vm.ctx.new_str("name").into()))
    }
}

/// The arguments of `Store.root`.
#[derive(FromArgs)]
pub(super) struct RootArgs {
    #[pyarg(any, default)]
    branch: Option<PyStrRef>,
    #[pyarg(named, default)]
    at: Option<PyStrRef>,
    #[pyarg(named, default)]
    manager: Option<PyObjectRef>,
    #[pyarg(flatten)]
    classes: ClassArgs,
}

/// The objects of a store, but for those of a transaction.
#[pyclass(module = "modspace", name = "ObjectSource")]
pub(crate) struct ObjectSource {
    store: persist::Store,
    place: Place,
    /// What was read last: it may know the names of modules by identity.
    last: Mutex<Option<Snapshot>>,
}
payload!(ObjectSource);

enum Place {
    Branch(String),
    At(RecordId),
}

#[pyclass]
impl ObjectSource {}

impl ObjectSource {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let snapshot = match &self.place {
            Place::Branch(branch) => self.store.snapshot(branch)?,
            Place::At(commit) => self.store.at(*commit)?,
        };
        let mut last = self.last.lock();
        let snapshot = match &*last {
            Some(last) => snapshot.knowing(last),
            None => snapshot,
        };
        Ok(last.insert(snapshot).clone())
    }

    /// Begins a transaction on the branch.
    fn begin(&self, vm: &VirtualMachine) -> PyResult<persist::Transaction> {
        match &self.place {
            Place::Branch(branch) => blocking(vm, || self.store.begin(branch)),
            Place::At(commit) => {
                let message = format!("this root shows the commit {}; objects are put into a branch", commit.short());
                Err(vm.new_exception_msg(class("StoreError", vm), message.into()))
            }
        }
    }
}

fn wrong_source(source: &PyObject, vm: &VirtualMachine) -> PyResult<std::convert::Infallible> {
    Err(vm.new_type_error(format!("expected a modspace.Store or a root of one, not {}", source.class().name())))
}

/// Reads from a source.
fn read<T>(
    source: &PyObject,
    vm: &VirtualMachine,
    snapshot: impl FnOnce(&Snapshot) -> Result<T, StoreError>,
    transaction: impl FnOnce(&mut persist::Transaction) -> Result<T, StoreError>,
) -> PyResult<T> {
    if let Some(source) = source.downcast_ref::<ObjectSource>() {
        return blocking(vm, || snapshot(&source.snapshot()?));
    }
    match source.downcast_ref::<Transaction>() {
        Some(source) => source.with(vm, transaction),
        None => match wrong_source(source, vm)? {},
    }
}

/// Changes the objects of a source; outside of a transaction, in one of its own.
fn write(
    target: &PyObject,
    vm: &VirtualMachine,
    change: impl FnOnce(&mut persist::Transaction) -> Result<(), StoreError>,
) -> PyResult<()> {
    if let Some(target) = target.downcast_ref::<Transaction>() {
        return target.with(vm, change);
    }
    let mut transaction = if let Some(target) = target.downcast_ref::<ObjectSource>() {
        target.begin(vm)?
    } else if let Some(target) = target.downcast_ref::<Store>() {
        blocking(vm, || target.0.begin(MAIN))?
    } else {
        match wrong_source(target, vm)? {}
    };
    blocking(vm, || {
        change(&mut transaction)?;
        transaction.commit().map(drop)
    })
}

/// A key, when objects can have it.
fn key(value: &PyObject, vm: &VirtualMachine) -> PyResult<String> {
    let Some(text) = value.downcast_ref::<PyStr>() else {
        return Err(vm.new_type_error(format!("the key of an object must be str, not {}", value.class().name())));
    };
    let Some(key) = text.to_str() else {
        let (key, reason) = (text.to_string_lossy().chars().take(80).collect(), "it holds a surrogate".to_owned());
        return Err(raise(&StoreError::Key { key, reason }, vm));
    };
    persist::check_key(key).map_err(|error| raise(&error, vm))?;
    Ok(key.to_owned())
}

static CHECK_KEY: PyMethodDef = def("check_key", check_key);

fn check_key(_none: PyObjectRef, value: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    key(&value, vm).map(drop)
}

static CHECK_OPEN: PyMethodDef = def("check_open", check_open);

/// Raises when the transaction has ended, or is of another thread.
fn check_open(_none: PyObjectRef, transaction: PyRef<Transaction>, vm: &VirtualMachine) -> PyResult<()> {
    transaction.with(vm, |_| Ok(()))
}

static KEYS: PyMethodDef = def("keys", keys);

fn keys(_none: PyObjectRef, source: PyObjectRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let of_snapshot = |snapshot: &Snapshot| Ok(snapshot.objects()?.into_iter().map(|(key, _)| key).collect());
    let keys: Vec<String> = read(&source, vm, of_snapshot, |change| change.objects())?;
    Ok(keys.into_iter().map(|key| vm.ctx.new_str(key).into()).collect())
}

static COUNT: PyMethodDef = def("count", count);

fn count(_none: PyObjectRef, source: PyObjectRef, vm: &VirtualMachine) -> PyResult<u64> {
    read(&source, vm, Snapshot::count_objects, |change| change.count_objects())
}

static HAS: PyMethodDef = def("has", has);

fn has(_none: PyObjectRef, source: PyObjectRef, value: PyObjectRef, vm: &VirtualMachine) -> PyResult<bool> {
    let Ok(key) = key(&value, vm) else { return Ok(false) };
    read(&source, vm, |snapshot| Ok(snapshot.object(&key)?.is_some()), |change| change.has_object(&key))
}

static GET: PyMethodDef = def("get", get);

/// The pickle under a key, or None.
fn get(_none: PyObjectRef, source: PyObjectRef, value: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let Ok(key) = key(&value, vm) else { return Ok(vm.ctx.none()) };
    let pickle = read(&source, vm, |snapshot| snapshot.pickle(&key), |change| change.pickle(&key))?;
    Ok(pickle.map_or_else(|| vm.ctx.none(), |pickle| vm.ctx.new_bytes(pickle).into()))
}

static CHANGE: PyMethodDef = def("change", change);

/// Puts pickles under their keys, and takes away what is under keys with None: all of it or nothing.
fn change(_none: PyObjectRef, target: PyObjectRef, objects: PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    let mut changes = BTreeMap::new();
    for (name, pickle) in objects {
        let pickle = if vm.is_none(&pickle) { None } else { Some(PyBytesRef::try_from_object(vm, pickle)?) };
        // What cannot be a key is not there.
        let key = match (key(&name, vm), &pickle) {
            (Err(_), None) => return Err(vm.new_key_error(name)),
            (key, _) => key?,
        };
        changes.insert(key, pickle);
    }
    if changes.is_empty() {
        return Ok(());
    }
    let changes: BTreeMap<&str, Option<&[u8]>> =
        changes.iter().map(|(key, pickle)| (key.as_str(), pickle.as_ref().map(|pickle| pickle.as_bytes()))).collect();
    let mut missing = None;
    let changed = write(&target, vm, |transaction| {
        let changed = transaction.change_objects(&changes);
        if let Err(StoreError::NoObject { key, .. }) = &changed {
            missing = Some(key.clone());
        }
        changed
    });
    match missing {
        Some(key) => Err(vm.new_key_error(vm.ctx.new_str(key).into())),
        None => changed,
    }
}

static REFERENCES: PyMethodDef = def("references", references);

/// What an object refers to: a list of triples.
fn references(_none: PyObjectRef, source: PyObjectRef, value: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let missing = || Err(vm.new_key_error(value.clone()));
    let Ok(key) = key(&value, vm) else { return missing() };
    let of = |snapshot: &Snapshot| snapshot.object(&key)?.map(|object| snapshot.references(&object)).transpose();
    let Some(found) = read(&source, vm, of, |change| of(&change.preview()?))? else { return missing() };
    let text = |text: String| -> PyObjectRef { vm.ctx.new_str(text).into() };
    let triple = |reference: Reference| {
        let identity = reference.identity.map_or_else(|| vm.ctx.none(), |identity| text(identity.to_string()));
        vm.ctx.new_tuple(vec![text(reference.module), text(reference.name), identity]).into()
    };
    Ok(vm.ctx.new_list(found.into_iter().map(triple).collect()).into())
}

static COPY: PyMethodDef = def("copy", copy);

/// Copies an object from one source to another.
fn copy(
    _none: PyObjectRef,
    source: PyObjectRef,
    value: PyObjectRef,
    target: PyObjectRef,
    new_key: PyObjectRef,
    classes: bool,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let missing = || vm.new_key_error(value.clone());
    let (Ok(key), new_key) = (key(&value, vm), self::key(&new_key, vm)?) else { return Err(missing()) };
    let from = read(&source, vm, |snapshot| Ok(snapshot.clone()), |change| change.preview())?;
    if blocking(vm, || from.object(&key))?.is_none() {
        return Err(missing());
    }
    write(&target, vm, |transaction| transaction.copy_object(&new_key, &from, &key, classes))
}

static DIGEST: PyMethodDef = def("digest", digest);

fn digest(_none: PyObjectRef, pickle: PyBytesRef) -> String {
    RecordId::of(pickle.as_bytes()).to_string()
}

static SHOWN: PyMethodDef = def("shown", shown);

/// A text in quotes, as messages of stores have it.
fn shown(_none: PyObjectRef, text: PyStrRef) -> String {
    format!("{:?}", text.to_string_lossy())
}

static DESCRIBE: PyMethodDef = def("describe", describe);

fn describe(_none: PyObjectRef, source: PyObjectRef, vm: &VirtualMachine) -> PyResult<String> {
    if let Some(source) = source.downcast_ref::<ObjectSource>() {
        let store = source.store.describe();
        return Ok(match &source.place {
            Place::Branch(branch) => format!("{branch:?} in the store {store}"),
            Place::At(commit) => format!("the commit {} in the store {store}", commit.short()),
        });
    }
    match source.downcast_ref::<Transaction>() {
        Some(_) => Ok("a transaction".to_owned()),
        None => match wrong_source(&source, vm)? {},
    }
}

static IDENTIFIER: PyMethodDef = def("identifier", identifier);

/// A function that gives persistent ids to the classes and functions of modules from stores, for one pickle. What it said
/// once it says again, with the same object.
fn identifier(_none: PyObjectRef, vm: &VirtualMachine) -> PyObjectRef {
    bind(&IDENTIFY, vm.ctx.new_dict(), vm)
}

static IDENTIFY: PyMethodDef = def("persistent_id", identify);

fn identify(known: PyDictRef, object: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    if object.downcast_ref::<PyType>().is_none() && object.downcast_ref::<PyFunction>().is_none() {
        return Ok(vm.ctx.none());
    }
    let number: PyObjectRef = vm.ctx.new_int(object.get_id()).into();
    if let Some(pair) = known.get_item_opt(&*number, vm)? {
        return pair.get_item(&1usize, vm);
    }
    let id = persistent_id(&object, vm)?.map_or_else(|| vm.ctx.none(), |id| vm.ctx.new_str(id).into());
    known.set_item(&*number, vm.ctx.new_tuple(vec![object, id.clone()]).into(), vm)?;
    Ok(id)
}

/// `None` for what is not of a module from a store, or is not what the module has under its name.
fn persistent_id(object: &PyObjectRef, vm: &VirtualMachine) -> PyResult<Option<String>> {
    let text = |name: &'static str| -> PyResult<Option<PyStrRef>> {
        Ok(vm.get_attribute_opt(object, name)?.and_then(|value| value.downcast().ok()))
    };
    let (Some(module_name), Some(qualified)) = (text("__module__")?, text("__qualname__")?) else { return Ok(None) };
    let Some(module) = calling(vm)?.loaded(&module_name, vm)? else { return Ok(None) };
    let Some(spec) = vm.get_attribute_opt(&module, "__spec__")? else { return Ok(None) };
    let loader = vm.get_attribute_opt(&spec, "loader")?;
    let Some(finder) = loader.as_ref().and_then(|loader| loader.downcast_ref::<StoreFinder>()) else {
        return Ok(None);
    };
    let (Some(module_name), Some(qualified)) = (module_name.to_str(), qualified.to_str()) else { return Ok(None) };
    let mut found = module;
    for part in qualified.split('.') {
        match vm.get_attribute_opt(&found, &vm.ctx.new_str(part))? {
            Some(inside) => found = inside,
            None => return Ok(None),
        }
    }
    if !found.is(object) {
        return Ok(None);
    }
    let snapshot = finder.0.snapshot();
    let record = match vm.allow_threads(|| snapshot.find(module_name)) {
        Err(StoreError::Name { .. }) => None,
        found => found.map_err(|error| raise(&error, vm))?.and_then(persist::Found::module),
    };
    let identity = record.and_then(|module| module.identity);
    Ok(identity.map(|identity| Reference::to_persistent_id(identity, module_name, qualified)))
}

static LOCATE: PyMethodDef = def("locate", locate);

/// What the module of a persistent id is called: in the commit that the space sees, or else in that of the source, or else
/// when the object was stored.
fn locate(_none: PyObjectRef, source: PyObjectRef, id: PyStrRef, vm: &VirtualMachine) -> PyResult<String> {
    let Some((reference, identity)) = id.to_str().and_then(Reference::of_persistent_id).and_then(|reference| {
        let identity = reference.identity?;
        Some((reference, identity))
    }) else {
        return Err(vm.new_value_error(format!("{:?} is no reference to a class", id.to_string_lossy())));
    };
    for generation in seen_by(&calling(vm)?) {
        for (_, attachment) in finder::attachments(&generation, vm)? {
            let snapshot = attachment.snapshot();
            let name = blocking(vm, || snapshot.name_of(identity, &reference.module))?;
            if let Some(name) = name.filter(|name| attachment.has_in_view(name)) {
                return Ok(name);
            }
        }
    }
    let of = |snapshot: &Snapshot| snapshot.name_of(identity, &reference.module);
    let name = read(&source, vm, of, |change| change.name_of(identity, &reference.module))?;
    Ok(name.unwrap_or(reference.module))
}

/// The space, and those above it.
fn seen_by(generation: &std::sync::Arc<Generation>) -> Vec<std::sync::Arc<Generation>> {
    let above = generation.node.parent.iter().flat_map(|parent| parent.chain()).filter_map(|node| node.current());
    std::iter::once(std::sync::Arc::clone(generation)).chain(above).collect()
}

static STORE_OF: PyMethodDef = def("store_of", store_of);

fn store_of(_none: PyObjectRef, transaction: PyRef<Transaction>, vm: &VirtualMachine) -> PyResult<PyRef<Store>> {
    Ok(Store(transaction.with(vm, |change| Ok(change.store().clone()))?).into_ref(&vm.ctx))
}

static END: PyMethodDef = def("end", end);

/// Ends a transaction without a change, if it has not ended.
fn end(_none: PyObjectRef, transaction: PyRef<Transaction>, vm: &VirtualMachine) -> PyResult<()> {
    Transaction::abandon(&transaction, vm)
}

static PREPARE: PyMethodDef = def("prepare", prepare);

/// Gives the transaction what was done to objects, and what the commit is to say.
fn prepare(
    _none: PyObjectRef,
    transaction: PyRef<Transaction>,
    message: PyObjectRef,
    author: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let text = |value: &PyObject, what: &str| {
        value.downcast_ref::<PyStr>().map(|text| string(&text.to_owned(), what, vm)).transpose()
    };
    let (message, author) = (text(&message, "description")?, text(&author, "user")?);
    write_objects(&transaction, vm)?;
    transaction.with(vm, |change| {
        change.describe(message, author);
        Ok(())
    })
}

static VOTE: PyMethodDef = def("vote", vote);

/// Commits a transaction; returns what `take_back` needs, or None when there was nothing to commit.
fn vote(_none: PyObjectRef, transaction: PyRef<Transaction>, vm: &VirtualMachine) -> PyResult {
    let branch = transaction.with(vm, |change| Ok(change.branch().to_owned()))?;
    let author = transaction.with(vm, |change| Ok(change.author_name().to_owned()))?;
    let committed = Transaction::finish(&transaction, vm)?;
    if !committed.is_new {
        return Ok(vm.ctx.none());
    }
    let parts = vec![vm.ctx.new_str(branch).into(), id_object(committed.head, vm), vm.ctx.new_str(author).into()];
    Ok(vm.ctx.new_tuple(parts).into())
}

static TAKE_BACK: PyMethodDef = def("take_back", take_back);

/// Undoes what `vote` did.
fn take_back(
    _none: PyObjectRef,
    store: PyRef<Store>,
    branch: PyStrRef,
    commit: PyStrRef,
    author: PyStrRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let (commit, branch, author) = (commit_id(&commit, vm)?, branch.to_string_lossy(), author.to_string_lossy());
    blocking(vm, || store.0.take_back(&branch, commit, &author)).map(drop)
}

/// What is in the code of `objects.py`, which is run when it is first needed.
fn get_code(name: &str, vm: &VirtualMachine) -> PyResult {
    let generation = calling(vm)?;
    let hidden = &generation.shared.hidden;
    if let Some(module) = hidden.get(MODULE).map(|module| module.clone()) {
        return module.dict().get_item(name, vm);
    }
    let globals = vm.ctx.new_dict();
    globals.set_item("__name__", vm.ctx.new_str(MODULE).into(), vm)?;
    globals.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
    for error in ["StoreError", "ConflictError", "ObjectError"] {
        globals.set_item(error, class(error, vm).into(), vm)?;
    }
    for function in [
        &CHECK_KEY,
        &CHECK_OPEN,
        &KEYS,
        &COUNT,
        &HAS,
        &GET,
        &CHANGE,
        &REFERENCES,
        &COPY,
        &DIGEST,
        &DESCRIBE,
        &SHOWN,
        &IDENTIFIER,
        &LOCATE,
        &STORE_OF,
        &END,
        &PREPARE,
        &VOTE,
        &TAKE_BACK,
    ] {
        globals.set_item(function.name, bind(function, vm.ctx.none(), vm), vm)?;
    }
    owner::enter(Owner::Hidden, || boot::run(&generation, OBJECTS, "<frozen modspace.objects>", &globals, vm))?;
    // Another thread may have been faster.
    let module: PyRef<PyModule> = hidden.entry(MODULE.to_owned()).or_insert_with(|| module_over(globals, vm)).clone();
    module.dict().get_item(name, vm)
}

/// `Store.root`.
pub(super) fn root(store: &PyRef<Store>, args: RootArgs, vm: &VirtualMachine) -> PyResult {
    let (factory, references) = args.classes.into_pair(vm);
    let branch = branch(args.branch);
    if let Some(manager) = args.manager.filter(|manager| !vm.is_none(manager)) {
        if args.at.is_some() {
            return Err(
                vm.new_value_error("a root for a transaction manager is of a branch, not of a commit: leave out at=")
            );
        }
        let branch = vm.ctx.new_str(branch);
        return get_code("JoinedRoot", vm)?.call((store.clone(), branch, manager, factory, references), vm);
    }
    let place = match args.at {
        Some(at) => Place::At(commit_id(&at, vm)?),
        None => Place::Branch(branch),
    };
    let source = ObjectSource { store: store.0.clone(), place, last: Mutex::default() };
    // Neither a wrong name nor a wrong commit is to wait for the first use.
    blocking(vm, || source.snapshot())?;
    get_code("Root", vm)?.call((source.into_ref(&vm.ctx), factory, references), vm)
}

/// `Transaction.root`: it has one.
pub(super) fn transaction_root(transaction: &PyRef<Transaction>, args: ClassArgs, vm: &VirtualMachine) -> PyResult {
    transaction.with(vm, |_| Ok(()))?;
    if let Some(root) = root_of(transaction, vm)? {
        let asks_for_defaults = args.is_empty();
        let (factory, references) = args.into_pair(vm);
        let (own_factory, own_references) = (root.get_attr("_factory", vm)?, root.get_attr("_references", vm)?);
        let is_same = own_factory.is(&factory) && vm.bool_eq(&own_references, &references)?;
        if asks_for_defaults || is_same {
            return Ok(root);
        }
        let message = "this transaction has a root with another class_factory or references; say these the first time";
        return Err(vm.new_value_error(message));
    }
    let (factory, references) = args.into_pair(vm);
    let root = get_code("TransactionRoot", vm)?.call((transaction.clone(), factory, references), vm)?;
    transaction.as_object().set_attr(ROOT, root.clone(), vm)?;
    Ok(root)
}

fn root_of(transaction: &Py<Transaction>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    match transaction.as_object().dict() {
        Some(attributes) => attributes.get_item_opt(ROOT, vm),
        None => Ok(None),
    }
}

/// Gives the transaction what was done to the objects of its root: all of it, or nothing when something cannot be pickled.
pub(super) fn write_objects(transaction: &Py<Transaction>, vm: &VirtualMachine) -> PyResult<()> {
    transaction.with(vm, |_| Ok(()))?;
    match root_of(transaction, vm)? {
        Some(root) => vm.call_method(&root, "_write", ()).map(drop),
        None => Ok(()),
    }
}

/// Lets go of the objects of the transaction's root.
pub(super) fn forget_objects(transaction: &Py<Transaction>, vm: &VirtualMachine) -> PyResult<()> {
    match root_of(transaction, vm)? {
        Some(root) => vm.call_method(&root, "_forget", ()).map(drop),
        None => Ok(()),
    }
}

/// Lets a transaction take part in the current one of a transaction manager.
pub(super) fn join(
    transaction: &PyRef<Transaction>,
    manager: PyObjectRef,
    message: Option<PyStrRef>,
    author: Option<PyStrRef>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let text = |text: Option<PyStrRef>| text.map_or_else(|| vm.ctx.none(), Into::into);
    get_code("join", vm)?.call((manager, transaction.clone(), text(message), text(author)), vm).map(drop)
}
