//! The end of a space, of a program and of a runtime.

mod discard;
mod program;

pub(crate) use discard::discard;
pub(crate) use program::{run_program, shut_down};
