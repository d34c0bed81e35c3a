//! A program from its first line to the exit of the process, in the order in which CPython ends one
//! (`Py_FinalizeEx`): report the exception, join non-daemon threads, run `atexit` callbacks, flush, finalise.

use std::{process::ExitCode, sync::Arc};

use rustpython_vm::{PyResult, VirtualMachine};

use super::discard::close;
use crate::{
    error::Error,
    import::{
        context,
        generation::Generation,
        owner::{self, Owner},
    },
    space::{Runtime, Space},
    sysview::{exit, visible},
    vm::panic,
};

/// Python's status when the standard streams could not be flushed.
const FLUSH_FAILED: u32 = 120;

/// How a program ended.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Status(u32);

/// Runs `body` as the program of `space`: an exception is printed as Python prints it, and `SystemExit` gives the
/// status.
///
/// # Errors
/// [`Error::Unknown`] or [`Error::Closed`] when the space is gone.
pub(crate) fn run_program(
    space: &Space,
    body: impl FnOnce(&Arc<Generation>, &VirtualMachine) -> PyResult<()>,
) -> Result<Status, Error> {
    let generation = space.generation()?;
    Ok(space.runtime.with(|vm| {
        owner::enter(Owner::Space(Arc::clone(&generation)), || {
            let result = panic::catch(vm, || context::enter(Arc::clone(&generation), vm, || body(&generation, vm)));
            visible::flush(&generation, vm);
            Status(match result {
                Ok(()) => 0,
                Err(error) => vm.handle_exit_exception(error),
            })
        })
    }))
}

/// Ends the runtime: joins threads, ends the spaces leaves first, each with its `atexit` callbacks, then finalises the
/// interpreter. Returns the process's exit status.
pub(crate) fn shut_down(runtime: &Runtime, status: Status) -> u8 {
    let flushed = runtime.with(|vm| end_spaces(runtime, vm));
    let status = if status.0 == 0 && !flushed { FLUSH_FAILED } else { status.0 };
    // The table of generations holds Python objects: they go while the interpreter can still finalise them.
    runtime.with(|vm| close_all(runtime, vm));
    let finalised = runtime.take_interpreter().map_or(0, |interpreter| interpreter.finalize(None));
    let status = if status == 0 { finalised } else { status };
    // As the C library's exit(): the low eight bits.
    (status & 0xff) as u8
}

fn end_spaces(runtime: &Runtime, vm: &VirtualMachine) -> bool {
    let mut nodes: Vec<_> = runtime.shared().tree.read().values().cloned().collect();
    // Of two spaces at one depth the younger goes first, as `atexit` callbacks do.
    nodes.reverse();
    nodes.sort_by_key(|node| std::cmp::Reverse(node.chain().count()));
    let generations: Vec<_> = nodes.iter().filter_map(|node| node.current()).collect();
    let mut flushed = true;
    for generation in &generations {
        owner::enter(Owner::Space(Arc::clone(generation)), || join_threads(generation, vm));
    }
    for generation in &generations {
        owner::enter(Owner::Space(Arc::clone(generation)), || {
            exit::run(generation, vm);
            flushed &= visible::flush(generation, vm);
        });
    }
    flushed
}

/// Takes every space out of the tree; their handles give errors from now on.
fn close_all(runtime: &Runtime, vm: &VirtualMachine) {
    let shared = runtime.shared();
    let nodes: Vec<_> = shared.tree.read().values().cloned().collect();
    for node in nodes.iter().rev() {
        if node.parent.is_some() {
            close(shared, node, vm);
        }
    }
}

/// `threading._shutdown`: waits for the non-daemon threads that the space's `threading` module started.
fn join_threads(generation: &Arc<Generation>, vm: &VirtualMachine) {
    let threading = generation.loaded(&vm.ctx.new_str("threading"), vm);
    let Ok(Some(threading)) = threading else { return };
    // A stand-in for `threading` has started no threads.
    let shutdown = match vm.get_attribute_opt(&threading, "_shutdown") {
        Ok(Some(shutdown)) => shutdown,
        _ => return,
    };
    if let Err(error) = shutdown.call((), vm) {
        visible::unraisable(generation, error, "Exception ignored in threading shutdown".to_owned(), threading, vm);
    }
}

impl Runtime {
    /// Shuts the runtime down: joins non-daemon threads, ends the spaces, leaves first, each with its `atexit`
    /// callbacks, flushes the standard streams and finalises the interpreter. Using its spaces afterwards is an error.
    ///
    /// Returns what a process that ends here should return: 120 when flushing failed. On any thread but the one that
    /// built the runtime, and inside a space, only the spaces are ended; the interpreter goes with its thread.
    pub fn shut_down(&self) -> ExitCode {
        ExitCode::from(shut_down(self, Status(0)))
    }
}
