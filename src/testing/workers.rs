//! The pool of workers, for `spaces/testing/runner.py`.

use std::time::Duration;

use rustpython_vm::{Py, PyObjectRef, PyPayload, PyResult, VirtualMachine, builtins::PyTupleRef, pyclass};

use super::{
    TestRun, Worker,
    pool::{Event, Pool, Stop, What},
    protocol::TestFile,
};
use crate::vm::native::payload;

/// How often to look at signals.
const LOOK: Duration = Duration::from_millis(50);

/// How workers are started.
#[pyclass(module = "modspace", name = "Start")]
pub(super) struct Start(pub(super) TestRun);
payload!(Start);

#[pyclass]
impl Start {
    /// Runs files, pairs of pytest's arguments and a path, in `count` processes at a time.
    #[pymethod]
    fn start(
        zelf: &Py<Self>,
        files: Vec<PyTupleRef>,
        count: usize,
        temporary: String,
        vm: &VirtualMachine,
    ) -> PyResult<PyObjectRef> {
        let file = |pair: &PyTupleRef| match pair.as_slice() {
            [arguments, path] => Ok(TestFile { arguments: arguments.try_to_value(vm)?, path: path.try_to_value(vm)? }),
            _ => Err(vm.new_type_error("a file is a pair of arguments and a path")),
        };
        let files = files.iter().map(file).collect::<PyResult<Vec<_>>>()?;
        let worker = Worker { number: 0, count, temporary };
        let run = TestRun { worker: Some(worker), ..zelf.0.clone() };
        let failed = |error| vm.new_os_error(format!("workers cannot be started: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let timeout = run.timeout;
        let pool = Pool::start(program, run, files, count, timeout).map_err(failed)?;
        Ok(Workers(pool).into_ref(&vm.ctx).into())
    }
}

/// The workers.
#[pyclass(module = "modspace", name = "Workers")]
struct Workers(Pool);
payload!(Workers);

#[pyclass]
impl Workers {
    /// What happens next: a tuple of its name, the worker's number, and what belongs to it; None when all workers have ended;
    /// an empty tuple when nothing happens for `timeout` seconds.
    #[pymethod]
    fn next(zelf: &Py<Self>, timeout: f64, vm: &VirtualMachine) -> PyResult<Option<PyTupleRef>> {
        let mut left = Duration::try_from_secs_f64(timeout).unwrap_or(LOOK);
        loop {
            let step = left.min(LOOK);
            match vm.allow_threads(|| zelf.0.next(step)) {
                Ok(event) => return Ok(event.map(|event| tuple(event, vm))),
                Err(()) => vm.check_signals()?,
            }
            left -= step;
            if left.is_zero() {
                return Ok(Some(vm.ctx.empty_tuple.clone()));
            }
        }
    }

    /// Runs no more files. Tests that run come to their end.
    #[pymethod]
    fn stop(zelf: &Py<Self>) {
        zelf.0.stop(Stop::AfterTests);
    }

    /// Runs no more files. Tests that run get `KeyboardInterrupt`, and five seconds.
    #[pymethod]
    fn interrupt(zelf: &Py<Self>) {
        zelf.0.stop(Stop::Interrupt);
    }

    /// Ends all at once.
    #[pymethod]
    fn kill(zelf: &Py<Self>) {
        zelf.0.stop(Stop::Kill);
    }
}

fn tuple(event: Event, vm: &VirtualMachine) -> PyTupleRef {
    let text = |text: String| -> PyObjectRef { vm.ctx.new_str(text).into() };
    let optional = |text: Option<String>| text.map_or_else(|| vm.ctx.none(), |text| vm.ctx.new_str(text).into());
    let bytes = |bytes: Vec<u8>| -> PyObjectRef { vm.ctx.new_bytes(bytes).into() };
    let seconds = |time: Duration| -> PyObjectRef { vm.ctx.new_float(time.as_secs_f64()).into() };
    let (name, rest) = match event.what {
        What::File(file) => ("file", vec![text(file.path)]),
        What::Test(name) => ("test", vec![text(name)]),
        What::Report(data) => ("report", vec![bytes(data)]),
        What::Done { result, time } => ("done", vec![bytes(result), seconds(time)]),
        What::Crashed { test, how } => ("crashed", vec![optional(test), text(how)]),
        What::TimedOut { test, limit, place } => {
            ("timed_out", vec![optional(test), seconds(limit), place.map_or_else(|| vm.ctx.none(), bytes)])
        }
        What::Interrupted(data) => ("interrupted", vec![bytes(data)]),
        What::Finished(data) => ("finished", vec![bytes(data)]),
        What::Broken(how) => ("broken", vec![text(how)]),
    };
    let worker = vm.ctx.new_int(event.worker).into();
    vm.ctx.new_tuple([text(name.to_owned()), worker].into_iter().chain(rest).collect())
}
