//! The import system of a space.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`generation`] | a space as imports see it, and its place in the tree |
//! | [`owner`] | whose module system running code works on |
//! | [`boot`], [`hooks`] | a space's own importlib, and the native functions in it |
//! | [`level`] | `__import__` |
//! | [`find`], [`search`], [`load`] | finding and loading, with delegation |
//! | [`untouched`] | whether a program has changed the importlib of its space |
//! | [`policy`] | who is asked for a name; the tables of native and platform modules |
//! | [`project`] | projections |
//! | [`context`] | the context space |
//! | [`locks`], [`waits`] | module locks and the waits-for graph |
//! | [`aside`] | import states that one thread has for itself |
//! | [`library`] | submodules of `modspace` |
//! | [`life`] | who is inside a generation, and who may be |
//! | [`sealable`] | a value that changes until it is sealed |
//! | [`cache`] | the code cache |
//! | [`table`] | the module table |

pub(crate) mod aside;
pub(crate) mod boot;
pub(crate) mod cache;
pub(crate) mod context;
pub(crate) mod find;
pub(crate) mod generation;
pub(crate) mod hooks;
pub(crate) mod key;
pub(crate) mod level;
pub(crate) mod library;
pub(crate) mod life;
mod load;
pub(crate) mod locks;
pub(crate) mod originals;
pub(crate) mod owner;
pub(crate) mod policy;
pub(crate) mod project;
mod sealable;
mod search;
pub(crate) mod source;
pub(crate) mod table;
mod untouched;
pub(crate) mod waits;
