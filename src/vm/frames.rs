//! Walking the running thread's Python frames.

use rustpython_vm::{
    PyObject,
    frame::{self, InterpreterFrame},
};

/// The frame that was on top of the running thread's stack at some moment, or none.
///
/// A mark is only ever compared; it is never dereferenced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameMark(*const InterpreterFrame);

impl FrameMark {
    pub(crate) fn top() -> Self {
        Self(frame::current_thread_iframe())
    }

    /// The end of every stack.
    pub(crate) const fn bottom() -> Self {
        Self(std::ptr::null())
    }

    /// Makes the marked frame the top of the running thread's stack again.
    ///
    /// Only a panic needs this: RustPython pops a frame on return and on exception, but not while unwinding, so the
    /// thread's pointer to its top frame would dangle. (Upstream should pop frames from a drop guard in
    /// `VirtualMachine::with_frame` and `enter_iframe`.) The caller has just unwound to the place where it took the
    /// mark, so the frame is live again by the same argument as in [`find_builtins`].
    pub(crate) fn restore(self) {
        let _ = rustpython_vm::vm::thread::set_current_frame(self.0);
    }
}

/// Asks `visit` about the builtins of each running frame of this thread, innermost first, until it answers or until
/// the frame marked `stop` is reached (which is not asked).
pub(crate) fn find_builtins<T>(stop: FrameMark, mut visit: impl FnMut(&PyObject) -> Option<T>) -> Option<T> {
    let mut current = frame::current_thread_iframe();
    while !current.is_null() && current != stop.0 {
        // SAFETY: `current` is the top of this thread's chain of executing frames, or was reached from it by
        // `previous`. A frame is unlinked only by the thread that runs it, when it returns; this thread is here, in a
        // native call made (directly or not) by every frame of the chain, so none of them can return or be freed
        // before this function does. `visit` gets a shared borrow that cannot outlive the iteration, and
        // `InterpreterFrame::builtins` only reads a field that is set once, when the frame is made.
        let frame = unsafe { &*current };
        if let Some(found) = visit(frame.builtins()) {
            return Some(found);
        }
        current = frame.previous();
    }
    None
}
