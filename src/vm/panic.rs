//! Panics do not cross the API.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rustpython_vm::{PyResult, VirtualMachine};

use super::frames::FrameMark;

thread_local! {
    static CATCHING: Cell<usize> = const { Cell::new(0) };
}

/// Keeps the standard library's report of a panic off stderr where [`catch`] makes an exception of it. For programs; a
/// library leaves the process's panic hook alone.
pub(crate) fn report_only_uncaught() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if CATCHING.get() == 0 {
            default(info);
        }
    }));
}

/// Runs `body`; a panic in it becomes a Python `SystemError` that carries the panic's message.
///
/// After a panic the thread's Python stack is cut back to where it was, and every other space goes on. What the unwound
/// native code was doing to the objects it held is lost, as after a failed assertion in CPython. A *frame object* of an
/// unwound frame, taken with `sys._getframe()` before the panic, must not be used any more: RustPython completes it when
/// the frame returns, which it never does. (Upstream should do so while unwinding.)
pub(crate) fn catch<R>(vm: &VirtualMachine, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    struct Caught;
    impl Drop for Caught {
        fn drop(&mut self) {
            CATCHING.set(CATCHING.get() - 1);
        }
    }
    let mark = FrameMark::top();
    let depth = vm.current_recursion_depth();
    CATCHING.set(CATCHING.get() + 1);
    let _caught = Caught;
    // `AssertUnwindSafe`: what the closure touches is the VM, whose stack is repaired below, and Python objects, each
    // of which keeps its own invariants under locks that do not poison.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => {
            mark.restore();
            // Frames that were unwound stay counted, and the count cannot be set. (Upstream should count from a guard.)
            let unwound = vm.current_recursion_depth().saturating_sub(depth);
            vm.recursion_limit.set(vm.recursion_limit.get() + unwound);
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
