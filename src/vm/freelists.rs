//! What a thread keeps of dead objects, to use their memory again.
//!
//! When a thread ends, RustPython gives back the memory of the objects themselves and loses what they own, which an emptied
//! dict still does: its table of 64 bytes. That is up to 5 KiB for each thread that there ever was. (Upstream should drop
//! the payloads for which that needs nothing thread-local.)

use std::alloc::{Layout, dealloc};

use rustpython_vm::{Py, PyPayload, builtins::PyDict};

thread_local! {
    static AT_EXIT: AtExit = const { AtExit };
}

/// Frees the thread's dead dicts when the thread ends.
struct AtExit;

impl Drop for AtExit {
    fn drop(&mut self) {
        free_dicts();
    }
}

/// To be called at the end of what a thread has to do: values that are thread-local are dropped in the reverse order of
/// their first use, and the list of dead dicts must still be there.
pub(crate) fn free_at_exit() {
    AT_EXIT.with(|_| ());
}

fn free_dicts() {
    let any = PyDict::default();
    // SAFETY: what is taken out of the list is nobody else's. It is an object of exactly this type whose payload is valid:
    // RustPython drops it in place when it uses the object again. Its items are gone, so dropping it runs nothing. The
    // memory is given back with the layout with which the list itself does.
    unsafe {
        while let Some(object) = PyDict::freelist_pop(&any) {
            let object = object.as_ptr().cast::<Py<PyDict>>();
            let payload: *const PyDict = &**object;
            let offset = payload.addr() - object.addr();
            object.cast::<u8>().add(offset).cast::<PyDict>().drop_in_place();
            dealloc(object.cast(), Layout::new::<Py<PyDict>>());
        }
    }
}
