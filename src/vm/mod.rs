//! The one layer that touches RustPython's internals, and the one place that may use `unsafe`.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`hidden`] | how the interpreter is made, and how its own module system is reached |
//! | [`frames`] | how to walk the running thread's Python frames |
//! | [`code`] | how to copy a code object that was never executed |
//! | [`heap`], [`edges`], [`arguments`] | the object graph, with the references that the collector does not see |
//! | [`queue`] | `SimpleQueue`, with items that the collector sees |
//! | [`freelists`] | what a thread that ends leaves behind |
//! | [`native`] | how to make built-in functions that carry a Rust value |
//! | [`mod@panic`] | how to turn a Rust panic into a Python exception |
//! | [`threads`] | which virtual machine belongs to the running thread |

mod arguments;
pub(crate) mod change;
pub(crate) mod class_version;
pub(crate) mod code;
pub(crate) mod deadline;
pub(crate) mod edges;
pub(crate) mod frames;
pub(crate) mod freelists;
pub(crate) mod heap;
pub(crate) mod hidden;
pub(crate) mod native;
pub(crate) mod panic;
pub(crate) mod queue;
pub(crate) mod reads;
pub(crate) mod threads;
