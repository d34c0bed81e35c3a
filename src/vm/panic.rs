//! Panics do not cross the API.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustpython_vm::{PyResult, VirtualMachine};

use super::frames::FrameMark;

/// Runs `body`; a panic in it becomes a Python `SystemError` that carries the panic's message.
///
/// After a panic the thread's Python stack is cut back to where it was. What the unwound native code was doing to the
/// objects it held is lost, as after a failed assertion in CPython; every other space goes on.
pub(crate) fn catch<R>(vm: &VirtualMachine, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let mark = FrameMark::top();
    // `AssertUnwindSafe`: what the closure touches is the VM, whose stack is repaired below, and Python objects, each
    // of which keeps its own invariants under locks that do not poison.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => {
            mark.restore();
            let message = payload
                .downcast_ref::<&str>()
                .map(|message| (*message).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".to_owned());
            tracing::error!(message, "panic in the virtual machine");
            Err(vm.new_system_error(format!("the virtual machine panicked: {message}")))
        }
    }
}
