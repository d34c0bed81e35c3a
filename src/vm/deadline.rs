//! Python code that has to come to an end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use rustpython_vm::{
    AsObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::PyBaseExceptionRef,
    function::{FuncArgs, PyMethodDef},
    pyclass,
    vm::thread as python_thread,
};

use super::native::{bind, def, payload};

/// The exception for code that runs longer than this.
type Error = fn(Duration, &VirtualMachine) -> PyBaseExceptionRef;

/// While this exists, the Python code that the running thread executes has to come to an end: after that, each line that it
/// executes raises an exception, whatever it makes of those before.
///
/// A trace function looks at the clock. It does nothing in a call that is native.
pub(crate) struct Deadline<'vm> {
    vm: &'vm VirtualMachine,
    function: PyObjectRef,
    watch: Arc<Watch>,
}

struct Watch {
    /// The only thread that anything here is done on.
    thread: ThreadId,
    at: Instant,
    limit: Duration,
    error: Error,
    /// Whether it was too late once, whatever the code made of that.
    is_over: AtomicBool,
    /// Whether the code still runs.
    is_active: AtomicBool,
}

impl<'vm> Deadline<'vm> {
    /// `None`, and no deadline, where somebody else traces the thread, or when the limit is longer than the clock goes.
    pub(crate) fn begin(limit: Duration, error: Error, vm: &'vm VirtualMachine) -> Option<Self> {
        let at = Instant::now().checked_add(limit)?;
        if vm.use_tracing.get() {
            return None;
        }
        let watch = Watch {
            thread: thread::current().id(),
            at,
            limit,
            error,
            is_over: AtomicBool::new(false),
            is_active: AtomicBool::new(true),
        };
        let watch = Arc::new(watch);
        let function = bind(&LOOK, Look(Arc::clone(&watch)).into_ref(&vm.ctx), vm);
        trace(&function, vm);
        Some(Self { vm, function, watch })
    }

    /// # Errors
    /// The exception, when it took too long, although the code caught that.
    pub(crate) fn check(&self) -> PyResult<()> {
        let is_over = self.watch.is_over.load(Ordering::Relaxed);
        if is_over { Err((self.watch.error)(self.watch.limit, self.vm)) } else { Ok(()) }
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        self.watch.is_active.store(false, Ordering::Relaxed);
        // The code may have set another one.
        let is_ours = self.vm.trace_func.borrow().is(&self.function);
        if is_ours {
            let replaced = self.vm.trace_func.replace(self.vm.ctx.none());
            drop(replaced);
        }
        let is_used =
            !self.vm.is_none(&self.vm.trace_func.borrow()) || !self.vm.is_none(&self.vm.profile_func.borrow());
        self.vm.use_tracing.set(is_used);
    }
}

fn trace(function: &PyObjectRef, vm: &VirtualMachine) {
    let replaced = vm.trace_func.replace(function.clone());
    drop(replaced);
    vm.use_tracing.set(true);
}

#[pyclass(module = "modspace", name = "Look")]
struct Look(Arc<Watch>);
payload!(Look);

#[pyclass]
impl Look {}

static LOOK: PyMethodDef = def("look", look);

/// The trace function.
fn look(look: PyRef<Look>, _args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let watch = &look.0;
    if !watch.is_active.load(Ordering::Relaxed) {
        return Ok(vm.ctx.none());
    }
    let function = vm.trace_func.borrow().clone();
    if Instant::now() < watch.at {
        return Ok(function);
    }
    watch.is_over.store(true, Ordering::Relaxed);
    let error = (watch.error)(watch.limit, vm);
    let again = Again { function, watch: Arc::clone(watch) }.into_ref(&vm.ctx);
    // Without it, who catches the exception goes on.
    let _ = error.as_object().set_attr("_again", again, vm);
    Err(error)
}

/// What the exception has with it: when it is freed, somebody has caught it, and the trace function, which is taken away as it
/// raises, is set once more.
#[pyclass(module = "modspace", name = "Again")]
struct Again {
    function: PyObjectRef,
    watch: Arc<Watch>,
}
payload!(Again);

#[pyclass]
impl Again {}

impl Drop for Again {
    fn drop(&mut self) {
        if !self.watch.is_active.load(Ordering::Relaxed) || self.watch.thread != thread::current().id() {
            return;
        }
        python_thread::with_current_vm(|vm| {
            trace(&self.function, vm);
            // The frame that caught it has lost its trace function, too. It gets it for each instruction: RustPython lets an
            // exception that is raised at one leave the frame, past all of its handlers.
            if let Some(frame) = vm.current_frame() {
                let frame = frame.as_object();
                // A frame that does not take them is not ended here, but in the next call.
                let _ = frame.set_attr("f_trace", self.function.clone(), vm);
                let _ = frame.set_attr("f_trace_opcodes", vm.ctx.new_bool(true), vm);
            }
        });
    }
}
