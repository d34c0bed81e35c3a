//! The plain interpreter of the same build, for comparisons: RustPython without module spaces.

use std::process::ExitCode;

use rustpython::{InterpreterBuilder, InterpreterBuilderExt};

/// As in the program `modspace`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rustpython::run(InterpreterBuilder::new().init_stdlib())
}
