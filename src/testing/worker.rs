//! A process that runs test files for another one.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam::channel::{self, Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process_group};
use rustpython_vm::{
    Py, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBytes, PyBytesRef, PyCode},
    pyclass,
    vm::thread::{self, ThreadedVirtualMachine},
};

use super::{
    TestRun,
    protocol::{self, Messages, Reply, Request, TestFile},
};
use crate::{lifecycle, vm::native::payload};

/// How often to look at signals while there is no file.
const LOOK: Duration = Duration::from_millis(50);

/// The worker's end of the stream, for `spaces/testing/workers.py`.
#[pyclass(module = "modspace", name = "Link")]
pub(crate) struct Link {
    stream: Arc<Mutex<UnixStream>>,
    files: Receiver<TestFile>,
    /// Says where the tests are.
    witness: Arc<Mutex<Option<Witness>>>,
    /// The worker's process. What a test has forked is not the worker: nobody hears what becomes of tests there.
    process: Pid,
}
payload!(Link);

/// A function that says where the tests are, and a machine of its own to run it on: the thread of the tests hangs.
struct Witness {
    machine: ThreadedVirtualMachine,
    function: PyObjectRef,
}

impl Witness {
    /// What it says, on a thread that runs no other Python code. Nothing comes of it when the tests are in native code that
    /// does not let the world be stopped; whoever asks waits no longer than it likes.
    fn ask(self) -> Option<Vec<u8>> {
        let Self { machine, function } = self;
        machine.run(|vm| {
            let said = function.call((), vm).ok();
            drop(function);
            let said = said.and_then(|said| said.downcast_ref::<PyBytes>().map(|bytes| bytes.as_bytes().to_vec()));
            thread::cleanup_current_thread_frames(vm);
            said
        })
    }
}

/// Whether no more test is to begin. There is one worker in a process.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Takes standard input, by which the run talks to its workers, out of the tests' reach, and waits for what to do.
///
/// # Errors
/// What the stream says; `InvalidData` when nobody talks to it who knows how.
pub(crate) fn connect() -> io::Result<(TestRun, Link)> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let nothing = File::open("/dev/null")?;
    let mut messages = Messages::new(stream.try_clone()?);
    let Some(Request::Start(run)) = messages.next(None)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "`modspace test` starts it, and nobody else"));
    };
    rustix::stdio::dup2_stdin(nothing)?;
    let (sender, files) = channel::unbounded();
    let mut sender = Some(sender);
    let witness = Arc::new(Mutex::new(None::<Witness>));
    let stream = Arc::new(Mutex::new(stream));
    let (called, answers) = (Arc::clone(&witness), Arc::clone(&stream));
    std::thread::Builder::new().name("requests".to_owned()).spawn(move || {
        loop {
            match messages.next(None) {
                Ok(Some(Request::Run(file))) => {
                    // Who no longer takes files is about to end.
                    let _ = sender.as_ref().map(|sender| sender.send(file));
                }
                Ok(Some(Request::Stop)) => STOPPED.store(true, Ordering::Relaxed),
                Ok(Some(Request::Finish)) => drop(sender.take()),
                // Whoever asks is about to end this process; the tests say nothing more that counts.
                Ok(Some(Request::Where)) => {
                    let witness = called.lock().take();
                    if let Some(said) = witness.and_then(Witness::ask) {
                        let _ = protocol::send(&mut *answers.lock(), &Reply::Where(said));
                    }
                }
                // The run is gone: nobody wants to know what becomes of the tests, nor of what they started. Whoever started
                // a worker put it at the head of a group of its own.
                Ok(Some(Request::Start(_)) | None) | Err(_) => {
                    let _ = kill_process_group(getpgrp(), Signal::KILL);
                }
            }
        }
    })?;
    Ok((*run, Link { stream, files, witness, process: getpid() }))
}

impl Link {
    fn say(&self, reply: &Reply, vm: &VirtualMachine) -> PyResult<()> {
        if getpid() != self.process {
            return Ok(());
        }
        // Threads of tests may cause warnings, and so messages.
        let sent = vm.allow_threads(|| protocol::send(&mut *self.stream.lock(), reply));
        sent.map_err(|error| vm.new_os_error(format!("the run of which this is a worker cannot be told: {error}")))
    }
}

#[pyclass]
impl Link {
    /// The arguments for pytest and the path of the next file; None when there are no more.
    #[pymethod]
    fn next(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        while getpid() == zelf.process {
            match vm.allow_threads(|| zelf.files.recv_timeout(LOOK)) {
                Ok(TestFile { arguments, path }) => {
                    let arguments = arguments.into_iter().map(|text| vm.ctx.new_str(text).into()).collect();
                    let path = vm.ctx.new_str(path).into();
                    return Ok(Some(vm.ctx.new_tuple(vec![vm.ctx.new_list(arguments).into(), path]).into()));
                }
                Err(RecvTimeoutError::Timeout) => vm.check_signals()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(None)
    }

    /// Whether no more test is to begin.
    #[pymethod]
    fn is_stopped(_zelf: &Py<Self>) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }

    /// There is nothing more to start. `witness` is what says where the tests are, when they are too slow.
    #[pymethod]
    fn ready(zelf: &Py<Self>, witness: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        *zelf.witness.lock() = Some(Witness { machine: vm.new_thread(), function: witness });
        zelf.say(&Reply::Ready, vm)
    }

    /// The code object and line of each call of a thread, the outermost first.
    #[pymethod]
    fn stack(_zelf: &Py<Self>, ident: u64, vm: &VirtualMachine) -> Vec<PyObjectRef> {
        let calls = lifecycle::stacks(&[ident], vm).pop().unwrap_or_default();
        let pair = |(code, line): (PyRef<PyCode>, usize)| {
            vm.ctx.new_tuple(vec![code.into(), vm.ctx.new_int(line).into()]).into()
        };
        calls.into_iter().map(pair).collect()
    }

    #[pymethod]
    fn test(zelf: &Py<Self>, name: String, vm: &VirtualMachine) -> PyResult<()> {
        zelf.say(&Reply::Test(name), vm)
    }

    #[pymethod]
    fn event(zelf: &Py<Self>, data: PyBytesRef, vm: &VirtualMachine) -> PyResult<()> {
        zelf.say(&Reply::Event(data.as_bytes().to_vec()), vm)
    }

    #[pymethod]
    fn done(zelf: &Py<Self>, data: PyBytesRef, may_end_run: bool, vm: &VirtualMachine) -> PyResult<()> {
        zelf.say(&Reply::Done { result: data.as_bytes().to_vec(), may_end_run }, vm)
    }

    #[pymethod]
    fn interrupted(zelf: &Py<Self>, data: PyBytesRef, vm: &VirtualMachine) -> PyResult<()> {
        zelf.say(&Reply::Interrupted(data.as_bytes().to_vec()), vm)
    }

    #[pymethod]
    fn finished(zelf: &Py<Self>, data: PyBytesRef, vm: &VirtualMachine) -> PyResult<()> {
        // It refers to all that there is, and the thread that may ask it does not end.
        let witness = zelf.witness.lock().take();
        drop(witness);
        zelf.say(&Reply::Finished(data.as_bytes().to_vec()), vm)
    }
}
