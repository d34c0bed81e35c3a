//! Runtimes and spaces, for Rust.

pub(crate) mod create;
mod enter;
pub(crate) mod run;
mod runtime;

pub use crate::vm::hidden::Flags;
pub use enter::Entered;
pub(crate) use enter::to_python_error;
pub use runtime::{Runtime, RuntimeBuilder};

use std::sync::Arc;

use crate::{
    error::Error,
    import::{
        generation::{Generation, Node, SpaceId},
        policy::{Delegation, Pattern},
        table::ModuleRecord,
    },
};

pub(crate) use create::{Config, SearchPath};

/// A module space: a handle that holds an id, not Python objects.
///
/// It is cheap to clone and may be sent to and used from any thread. It does not keep the space: using a handle after
/// the space was discarded, or after the runtime was shut down, gives [`Error::Unknown`] or [`Error::Closed`].
#[derive(Clone)]
pub struct Space {
    pub(crate) runtime: Runtime,
    pub(crate) id: SpaceId,
}

impl std::fmt::Debug for Space {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Space").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PartialEq for Space {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.runtime == other.runtime
    }
}

impl Eq for Space {}

impl Space {
    /// The space's id, unique in its runtime for all time.
    #[must_use]
    pub const fn id(&self) -> SpaceId {
        self.id
    }

    pub(crate) fn node(&self) -> Result<Arc<Node>, Error> {
        self.runtime.shared().node(self.id).ok_or(Error::Unknown { id: self.id.as_u64() })
    }

    pub(crate) fn generation(&self) -> Result<Arc<Generation>, Error> {
        let node = self.node()?;
        node.current().ok_or_else(|| Error::Closed { name: node.name.clone() })
    }

    /// The space's name.
    ///
    /// # Errors
    /// [`Error::Unknown`] once the space was discarded.
    pub fn name(&self) -> Result<String, Error> {
        self.node().map(|node| node.name.clone())
    }

    /// The parent; `None` for the root space.
    ///
    /// # Errors
    /// [`Error::Unknown`] once the space was discarded.
    pub fn parent(&self) -> Result<Option<Self>, Error> {
        let node = self.node()?;
        Ok(node.parent.as_ref().map(|parent| Self { runtime: self.runtime.clone(), id: parent.id }))
    }

    /// The live children, in order of id.
    #[must_use]
    pub fn children(&self) -> Vec<Self> {
        let tree = self.runtime.shared().tree.read();
        let children = tree.values().filter(|node| node.parent.as_ref().is_some_and(|parent| parent.id == self.id));
        children.map(|node| Self { runtime: self.runtime.clone(), id: node.id }).collect()
    }

    /// Whether the space was discarded.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.node().map_or(true, |node| node.is_closed())
    }

    /// The number of the space's generation: 1 until the first reload.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded.
    pub fn generation_number(&self) -> Result<u64, Error> {
        self.generation().map(|generation| generation.number)
    }

    /// What the space knows of each module it has met, in order of name. The records are copies; threads may go on
    /// importing.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded.
    pub fn modules(&self) -> Result<Vec<(String, ModuleRecord)>, Error> {
        self.runtime.with(|vm| {
            let records = self.generation()?.records(vm);
            Ok(records.map_err(|error| enter::to_python_error(&error, vm))?)
        })
    }

    /// What the space knows of the module `name`; `None` when it has not met it.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded.
    pub fn module(&self, name: &str) -> Result<Option<ModuleRecord>, Error> {
        self.runtime.with(|vm| {
            let record = self.generation()?.record(name, vm);
            Ok(record.map_err(|error| enter::to_python_error(&error, vm))?)
        })
    }

    /// Puts entries in front of the space's `sys.path`, in their order.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded; [`Error::Python`] when a program made
    /// something of `sys.path` that is no list.
    pub fn prepend_path<Entry: Into<String>>(&self, entries: impl IntoIterator<Item = Entry>) -> Result<(), Error> {
        let entries: Vec<String> = entries.into_iter().map(Into::into).collect();
        self.enter(|entered| {
            let path = entered.sys().get_attr("path", entered.vm())?;
            for entry in entries.into_iter().rev() {
                entered.vm().call_method(&path, "insert", (0, entry))?;
            }
            Ok(())
        })
    }

    /// Starts describing a child of this space.
    pub fn child(&self) -> SpaceBuilder {
        SpaceBuilder { parent: self.clone(), config: Config::default() }
    }
}

/// Describes a space to be created; see [`Space::child`].
#[derive(Clone, Debug)]
#[must_use = "call create() to make the space"]
pub struct SpaceBuilder {
    parent: Space,
    config: Config,
}

impl SpaceBuilder {
    /// The space's name, for messages; by default `space-1`, `space-2`, ….
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Exactly these entries as `sys.path`; none at all makes a space that finds nothing itself. By default the
    /// parent's are copied.
    pub fn path<Entry: Into<String>>(mut self, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.config.path = SearchPath::Exactly(entries.into_iter().map(Into::into).collect());
        self
    }

    /// Puts an entry in front of the `sys.path` described, behind those prepended before.
    pub fn prepend_path(mut self, entry: impl Into<String>) -> Self {
        self.config.prepend.push(entry.into());
        self
    }

    /// Who is asked first for a module.
    pub const fn delegation(mut self, delegation: Delegation) -> Self {
        self.config.delegation = delegation;
        self
    }

    /// Modules that are the parent's very objects.
    pub fn share(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.config.share.extend(patterns);
        self
    }

    /// Modules of which the space loads an own copy, even of platform modules.
    pub fn fresh(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.config.fresh.extend(patterns);
        self
    }

    /// `sys.argv`; by default a copy of the parent's.
    pub fn argv<Arg: Into<String>>(mut self, argv: impl IntoIterator<Item = Arg>) -> Self {
        self.config.argv = Some(argv.into_iter().map(Into::into).collect());
        self
    }

    /// Creates the space.
    ///
    /// # Errors
    /// [`Error::Closed`] when the parent was discarded, [`Error::Name`] for a name that is no name.
    pub fn create(self) -> Result<Space, Error> {
        let parent = self.parent.node()?;
        let runtime = self.parent.runtime.clone();
        let shared = runtime.shared();
        let node = runtime.with(|vm| {
            create::create(shared, Some(&parent), self.config, vm).map_err(|error| match error {
                create::Failure::Refused(error) => error,
                create::Failure::Raised(error) => Error::Python(enter::to_python_error(&error, vm)),
            })
        })?;
        let id = node.id;
        Ok(Space { runtime, id })
    }
}
