//! A program from its first line to the exit of the process, in the order in which CPython ends one
//! (`Py_FinalizeEx`): report the exception, join non-daemon threads, run `atexit` callbacks, flush, finalise.

use std::{process::ExitCode, sync::Arc};

use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine, builtins::PyDict};

use super::registrations;
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
    space.runtime.with(|vm| {
        let generation = space.generation()?;
        Ok(owner::enter(Owner::Space(Arc::clone(&generation)), || {
            let result = panic::catch(vm, || context::enter(Arc::clone(&generation), vm, || body(&generation, vm)));
            visible::flush(&generation, vm);
            Status(match result {
                Ok(()) => 0,
                // Reporting runs `sys.excepthook`.
                Err(error) => panic::catch(vm, || Ok(vm.handle_exit_exception(error))).unwrap_or(1),
            })
        }))
    })
}

/// Ends the runtime: joins threads, ends the spaces leaves first, each with its `atexit` callbacks, then finalises the
/// interpreter. Returns the process's exit status.
pub(crate) fn shut_down(runtime: &Runtime, status: Status) -> u8 {
    let flushed = runtime.with(|vm| end_spaces(runtime, vm));
    let status = if status.0 == 0 && !flushed { FLUSH_FAILED } else { status.0 };
    if let Err(error) = runtime.with(|vm| hand_over_modules(runtime, vm)) {
        runtime.with(|vm| vm.print_exception(&error));
    }
    let finalised = runtime.take_interpreter().map_or(0, |interpreter| interpreter.finalize(None));
    close_all(runtime);
    runtime.shared().events.close();
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
            registrations::end_workers(&generation.node, None, vm);
            registrations::end_subscriptions(generation, None, vm);
            flushed &= visible::flush(generation, vm);
        });
    }
    flushed
}

/// Puts the modules of all spaces into the root's `sys.modules`, which is what the interpreter finalises
/// (`finalize_modules` in CPython's `Python/pylifecycle.c`): after daemon threads were stopped it lets go of the modules,
/// collects, and empties the dicts of those that something still holds, the youngest first.
fn hand_over_modules(runtime: &Runtime, vm: &VirtualMachine) -> PyResult<()> {
    let as_dict = |modules: PyObjectRef| modules.downcast::<PyDict>();
    let nodes: Vec<_> = runtime.shared().tree.read().values().cloned().collect();
    let mut generations = nodes.iter().filter_map(|node| node.current());
    let Some(Ok(all)) = generations.next().map(|root| root.modules(vm).map(as_dict)).transpose()? else {
        return Ok(());
    };
    // Finalizers still print.
    for name in ["sys", "builtins"] {
        if all.contains_key(name, vm) {
            all.del_item(name, vm)?;
        }
    }
    for generation in generations {
        let Ok(modules) = as_dict(generation.modules(vm)?) else { continue };
        for (name, module) in modules.clone() {
            let name = name.str(vm)?.to_string_lossy().into_owned();
            if !matches!(&*name, "sys" | "builtins") && generation.table.taken_from(&name).is_none() {
                all.set_item(&*vm.ctx.new_str(format!("{name} of {}", generation.serial)), module, vm)?;
            }
        }
        modules.clear();
    }
    Ok(())
}

/// Takes every space out of the tree; their handles give errors from now on.
fn close_all(runtime: &Runtime) {
    let nodes: Vec<_> = runtime.shared().tree.write().drain().map(|(_, node)| node).collect();
    for generation in nodes.iter().filter_map(|node| node.generation.swap(None)) {
        generation.unpublish();
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
        // Ctrl-C, mostly: say what it was that did not come to its end.
        let waited_for = registrations::threads_waited_for(generation, true);
        let threads = registrations::describe_threads(generation, &waited_for, vm).into_iter();
        let names: Vec<_> =
            threads.filter(|thread| waited_for.contains(&thread.ident)).map(|thread| thread.name).collect();
        let which = if names.is_empty() { String::new() } else { format!(", which waits for {}", names.join(", ")) };
        let message = format!("Exception ignored in threading shutdown{which}");
        visible::unraisable(generation, error, message, threading, vm);
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
