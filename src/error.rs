//! What can go wrong, for Rust.

use crate::persist::StoreError;

/// An error of a runtime or a space.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The space was discarded, or its runtime was shut down.
    #[error("the space {name:?} is closed; create another with ModuleSpace()")]
    Closed {
        /// The space's name.
        name: String,
    },
    /// No space has this id.
    #[error("no space has the id {id}; it was discarded, or belongs to another runtime")]
    Unknown {
        /// The id asked for.
        id: u64,
    },
    /// A space with children cannot be discarded alone.
    #[error("the space {name:?} has live child spaces ({children}); discard them first, or pass recursive=True")]
    HasChildren {
        /// The space's name.
        name: String,
        /// Their names.
        children: String,
    },
    /// The root space lives as long as its runtime.
    #[error("the root space cannot be discarded or reloaded; it goes when its runtime shuts down")]
    Root,
    /// A space cannot be discarded by code that runs in it.
    #[error("the space {name:?} cannot be discarded from inside; leave it first")]
    Inside {
        /// The space's name.
        name: String,
    },
    /// A space is reloaded by one call at a time, and not by code that its reload runs.
    #[error("the space {name:?} is being reloaded; reload it when that has come to an end")]
    Reloading {
        /// The space's name.
        name: String,
    },
    /// Not a delegation.
    #[error("delegation must be \"child-first\", \"parent-first\" or \"isolated\", not {value:?}")]
    Delegation {
        /// What was given.
        value: String,
    },
    /// Not a module-name pattern.
    #[error("{value:?} is not a module-name pattern; write a name such as \"typing\", \"collections.*\" or \"*\"")]
    Pattern {
        /// What was given.
        value: String,
    },
    /// Not a name for a space.
    #[error("a space's name must not be empty, longer than 255 characters or hold control characters: {value:?}")]
    Name {
        /// What was given.
        value: String,
    },
    /// Python raised.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// A store could not be used. Such errors are data as well, and live where stores do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A `space.toml` could not be used.
    #[error("{path}: {message}")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it and what to do.
        message: String,
    },
}

/// A Python exception, as data: a Rust handle never holds Python objects.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{class}{}{message}", if message.is_empty() { "" } else { ": " })]
pub struct PythonError {
    /// The exception's class, qualified unless it is a built-in.
    pub class: String,
    /// `str(exception)`.
    pub message: String,
    /// The traceback as Python would print it.
    pub traceback: String,
    /// `__cause__`, what was raised first: for a `modspace.UpdateError`, what a new source raised.
    #[source]
    pub cause: Option<Box<PythonError>>,
}
