//! Spaces on stores: attaching, and going from one commit to another.

use std::sync::Arc;

use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine};

use super::{
    MAIN,
    error::StoreError,
    finder::{self, Attachment},
    follow, name,
    raise::{raise, typed},
    record::RecordId,
    snapshot::Snapshot,
    store::Store,
    transaction::Transaction,
    update::{self, UpdateOptions, UpdateReport},
};
use crate::{error::Error, import::generation::Generation, space::Space};

/// How a space is attached to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// The branch that the space sees.
    pub branch: String,
    /// Only this package and what is in it comes from the store; everything when there is none.
    pub prefix: Option<String>,
    /// Whether a thread syncs the space as commits come.
    pub follow: bool,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self { branch: MAIN.to_owned(), prefix: None, follow: false }
    }
}

/// What a space could come to see; see [`Space::plan`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Target<'target> {
    /// The modules of a commit.
    Snapshot(&'target Snapshot),
    /// What the changes of a transaction would make of the commit that it began at.
    Transaction(&'target Transaction),
}

impl<'target> From<&'target Snapshot> for Target<'target> {
    fn from(snapshot: &'target Snapshot) -> Self {
        Self::Snapshot(snapshot)
    }
}

impl<'target> From<&'target Transaction> for Target<'target> {
    fn from(transaction: &'target Transaction) -> Self {
        Self::Transaction(transaction)
    }
}

/// What attaches the space to stores, the last one first; an error when nothing does.
fn attachments(generation: &Generation, vm: &VirtualMachine) -> PyResult<Vec<(PyObjectRef, Arc<Attachment>)>> {
    let attachments = finder::attachments(generation, vm)?;
    if attachments.is_empty() { Err(not_attached(generation, vm)) } else { Ok(attachments) }
}

fn not_attached(generation: &Generation, vm: &VirtualMachine) -> rustpython_vm::builtins::PyBaseExceptionRef {
    raise(&StoreError::NotAttached { space: generation.name().to_owned() }, vm)
}

/// See [`Space::attach`].
pub(crate) fn attach(
    generation: &Arc<Generation>,
    store: &Store,
    options: AttachOptions,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let AttachOptions { branch, prefix, follow } = options;
    let attachment = vm.allow_threads(|| {
        prefix.as_deref().map(name::parts).transpose()?;
        Attachment::new(store.clone(), &branch, prefix)
    });
    let attachment = attachment.map_err(|error| raise(&error, vm))?;
    let attachment = finder::attach(generation, attachment, vm)?;
    if !follow {
        return Ok(());
    }
    follow::follow(&generation.node, Arc::clone(&attachment), vm).inspect_err(|_| {
        // All or nothing. Should it fail, the error that is raised says what is wrong.
        let found = finder::attachments(generation, vm).unwrap_or_default();
        if let Some((finder, _)) = found.iter().find(|(_, other)| Arc::ptr_eq(other, &attachment)) {
            let _ = finder::detach(generation, finder, vm);
        }
    })
}

/// See [`Space::sync`].
pub(crate) fn sync(
    generation: &Arc<Generation>,
    options: &UpdateOptions,
    vm: &VirtualMachine,
) -> PyResult<UpdateReport> {
    let mut report: Option<UpdateReport> = None;
    for (_, attachment) in attachments(generation, vm)? {
        let done = update::update(generation, &attachment, || attachment.head(), options, false, vm)?;
        match &mut report {
            None => report = Some(done),
            Some(report) => report.add(done),
        }
    }
    Ok(report.unwrap_or_default())
}

/// See [`Space::at`].
pub(crate) fn at(
    generation: &Arc<Generation>,
    commit: RecordId,
    options: &UpdateOptions,
    vm: &VirtualMachine,
) -> PyResult<UpdateReport> {
    let mut missing = None;
    for (_, attachment) in attachments(generation, vm)? {
        match vm.allow_threads(|| attachment.store.at(commit)) {
            Ok(target) => return update::update(generation, &attachment, || Ok(target), options, false, vm),
            Err(error) => missing = Some(error),
        }
    }
    Err(missing.map_or_else(|| not_attached(generation, vm), |error| raise(&error, vm)))
}

/// What the space would do to see what `target` makes of the branch that it sees in the store. See [`Space::plan`].
pub(crate) fn plan(
    generation: &Arc<Generation>,
    is_meant: impl Fn(&Store) -> bool,
    target: impl FnOnce(&str) -> PyResult<Snapshot>,
    options: &UpdateOptions,
    vm: &VirtualMachine,
) -> PyResult<UpdateReport> {
    let attachment = attachments(generation, vm)?.into_iter().map(|(_, one)| one).find(|one| is_meant(&one.store));
    let attachment = attachment.ok_or_else(|| not_attached(generation, vm))?;
    let target = target(&attachment.branch)?;
    update::update(generation, &attachment, || Ok(target), options, true, vm)
}

/// See [`Space::detach`].
pub(crate) fn detach(generation: &Arc<Generation>, store: Option<&Store>, vm: &VirtualMachine) -> PyResult<()> {
    let is_meant = |one: &Attachment| store.is_none_or(|store| store.is_same(&one.store));
    let found = attachments(generation, vm)?.into_iter().find(|(_, one)| is_meant(one));
    let (finder, _) = found.ok_or_else(|| not_attached(generation, vm))?;
    finder::detach(generation, &finder, vm)
}

/// See [`Space::commit`].
pub(crate) fn commit(generation: &Generation, vm: &VirtualMachine) -> PyResult<Option<RecordId>> {
    Ok(finder::attachments(generation, vm)?.first().and_then(|(_, attachment)| attachment.snapshot().commit()))
}

/// Persistent modules: what a space has to do with stores. The same as the methods of `ModuleSpace` in Python.
///
/// ```
/// use modspace::{AttachOptions, Runtime, Store, UpdateOptions};
///
/// let runtime = Runtime::new()?;
/// let store = Store::memory();
/// let mut change = store.begin("main")?.author("Ann").message("first");
/// change.new_module("prices", b"RATE = 10\ndef gross(net):\n    return net + net * RATE // 100\n")?;
/// change.commit()?;
///
/// let space = runtime.root().child().name("shop").create()?;
/// space.attach(&store, AttachOptions::default())?;
/// space.exec("from prices import gross")?;
/// assert_eq!(space.eval_repr("gross(200)")?, "220");
///
/// let mut change = store.begin("main")?.author("Bob").message("the rate");
/// change.update_module("prices", b"RATE = 20\ndef gross(net):\n    return net + net * RATE // 100\n")?;
/// // What it would do, without doing it.
/// let plan = space.plan(&change, &UpdateOptions::default())?;
/// assert_eq!((plan.modules, plan.entries[0].path.as_str()), (vec!["prices".to_owned()], "prices.RATE"));
/// let commit = change.commit()?;
/// assert_eq!(space.eval_repr("gross(200)")?, "220", "committed, and not yet seen here");
///
/// space.sync(&UpdateOptions::default())?;
/// assert_eq!(space.eval_repr("gross(200)")?, "240");
/// assert_eq!(space.commit()?, commit);
/// # Ok::<(), modspace::Error>(())
/// ```
impl Space {
    /// Lets the space import the modules of a branch of a store, before any others. It sees the branch's last commit until
    /// it syncs; with [`AttachOptions::follow`], a thread of its own syncs it as commits come, and reports what fails
    /// through `sys.unraisablehook`. What the space has loaded already stays as it is.
    ///
    /// A space can be attached to several stores; of those that have a module, the one attached last gives it.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be read, or has no such branch name; [`Error::Unknown`] or
    /// [`Error::Closed`] once the space was discarded. The space is not attached then.
    pub fn attach(&self, store: &Store, options: AttachOptions) -> Result<(), Error> {
        self.on_store(|generation, vm| attach(generation, store, options, vm))
    }

    /// Lets the space see the last commit of the branch: the modules that it has loaded are updated in place, all or none
    /// of a store. With several stores, one after the other.
    ///
    /// # Errors
    /// [`Error::Python`] with the class `modspace.UpdateError` when a new source raises, which is the
    /// [cause](crate::PythonError::cause) then, runs too long, or cannot be applied in place: the space and its modules
    /// are as before. [`Error::Store`] when the store cannot be read, [`StoreError::NotAttached`] among them.
    pub fn sync(&self, options: &UpdateOptions) -> Result<UpdateReport, Error> {
        self.on_store(|generation, vm| sync(generation, options, vm))
    }

    /// Lets the space see this commit, as [`Space::sync`] does with the last one. It need not be of the branch.
    ///
    /// # Errors
    /// As [`Space::sync`]; [`StoreError::NoCommit`].
    pub fn at(&self, commit: RecordId, options: &UpdateOptions) -> Result<UpdateReport, Error> {
        self.on_store(|generation, vm| at(generation, commit, options, vm))
    }

    /// What the space would do to see a commit, or the changes of a transaction that is not committed. Nothing is done, but
    /// for what the new sources do when they run. What would be refused is in the report.
    ///
    /// # Errors
    /// As [`Space::sync`]: a source that raises has no plan. [`StoreError::NotAttached`] when the space is not attached to
    /// the target's store.
    pub fn plan<'target>(
        &self,
        target: impl Into<Target<'target>>,
        options: &UpdateOptions,
    ) -> Result<UpdateReport, Error> {
        let target = target.into();
        self.on_store(|generation, vm| {
            let is_meant = |store: &Store| match target {
                Target::Snapshot(snapshot) => snapshot.is_of(store),
                Target::Transaction(change) => change.store().is_same(store),
            };
            let snapshot = |_: &str| match target {
                Target::Snapshot(snapshot) => Ok(snapshot.clone()),
                Target::Transaction(change) => vm.allow_threads(|| change.preview()).map_err(|error| raise(&error, vm)),
            };
            plan(generation, is_meant, snapshot, options, vm)
        })
    }

    /// Ends what [`Space::attach`] began: the last one, or that of a store. What was imported stays, and is not updated any
    /// more, also when the space is attached again.
    ///
    /// # Errors
    /// [`StoreError::NotAttached`]; [`Error::Unknown`] or [`Error::Closed`] once the space was discarded.
    pub fn detach(&self, store: Option<&Store>) -> Result<(), Error> {
        self.on_store(|generation, vm| detach(generation, store, vm))
    }

    /// The commit that the space sees of the store that it was attached to last; `None` when there is no such store, or it
    /// had no commits.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded.
    pub fn commit(&self) -> Result<Option<RecordId>, Error> {
        self.on_store(|generation, vm| commit(generation, vm))
    }

    /// Enters the space; an error of a store comes out as one.
    fn on_store<R>(&self, body: impl FnOnce(&Arc<Generation>, &VirtualMachine) -> PyResult<R>) -> Result<R, Error> {
        let mut of_store = None;
        let done = self.enter(|entered| {
            let (done, error) = typed(|| body(entered.generation(), entered.vm()));
            of_store = error;
            done
        });
        match (done, of_store) {
            (Err(Error::Python(_)), Some(error)) => Err(error.into()),
            (done, _) => done,
        }
    }
}
