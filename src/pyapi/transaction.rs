//! The class `Transaction`.

use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, FromArgs, Py, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyStrRef},
    function::FuncArgs,
    pyclass,
};

use super::{
    commit::{self, How},
    convert::{blocking, from_json, id_object, in_use_object, module_name, source, text, texts, to_json},
    module_space, objects,
    update_report::UpdateReport,
};
use crate::{
    import::generation::SpaceId,
    persist::{
        self, StoreError,
        raise::{class, raise},
        state::Unkept,
    },
    vm::native::payload,
};

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
    /// For the running thread.
    pub(super) fn new(transaction: persist::Transaction, space: Option<SpaceId>, is_joined: bool) -> Self {
        let state = Mutex::new(State::Open(Box::new(transaction)));
        Self { thread: thread::current().id(), space, is_joined, state, unkept: Mutex::default() }
    }

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
