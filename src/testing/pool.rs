//! The worker processes of a run, and which file each one runs.
//!
//! Each place for a worker has a thread, which takes the next file whenever its worker is done with one: so the longest files
//! go first, and nobody waits for a file that another one could run. A worker that dies or runs too long is replaced.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::OwnedFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{
    TestRun,
    protocol::{self, Messages, Reply, Request, TestFile},
};

/// How long a worker may take to end once it has nothing more to say, or was interrupted.
const ENDS: Duration = Duration::from_secs(5);

/// How long a worker that hangs may take to say where.
const ANSWERS: Duration = Duration::from_secs(2);

/// How often to look whether the run was interrupted.
const LOOK: Duration = Duration::from_millis(200);

/// The argument by which the program is a worker.
pub(crate) const WORKER: &str = "test-worker";

/// What a run hears of its workers.
#[derive(Debug)]
pub(crate) struct Event {
    /// The worker's number, from 0.
    pub(crate) worker: usize,
    pub(crate) what: What,
    /// The worker begins no other file before this is dropped.
    heard: Option<Sender<()>>,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A file begins.
    File(TestFile),
    /// A test of it begins.
    Test(String),
    /// Something to be told to pytest.
    Report(Vec<u8>),
    /// The file is done.
    Done { result: Vec<u8>, time: Duration },
    /// The worker died while it ran the file.
    Crashed { test: Option<String>, how: String },
    /// The file took too long, and its worker was killed.
    TimedOut { test: Option<String>, limit: Duration, place: Option<Vec<u8>> },
    /// A test ends the whole run.
    Interrupted(Vec<u8>),
    /// What there is to say after the last file.
    Finished(Vec<u8>),
    /// The worker did not even start, and no other will.
    Broken(String),
}

/// How a run ends early. In the order in which one gives way to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    #[default]
    No,
    /// Tests that run come to their ends.
    AfterTests,
    /// Tests that run get `KeyboardInterrupt`.
    Interrupt,
    /// Nobody waits for anything.
    Kill,
}

/// What the run and the workers' threads share.
struct Shared {
    program: PathBuf,
    run: TestRun,
    timeout: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<TestFile>,
    stop: Stop,
    /// When it was interrupted, or more.
    interrupted: Option<Instant>,
    /// The processes that live, by their places.
    running: Vec<Option<Running>>,
}

/// A process that lives.
struct Running {
    pid: Pid,
    stream: UnixStream,
    /// Whether it has said that it is ready for files. Before that, nothing is lost by killing it.
    is_ready: bool,
}

/// The workers. Those that live when it is dropped are killed.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    /// What a worker waits for, until the event that was given last has been dealt with.
    heard: Mutex<Option<Sender<()>>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("workers", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts to run the files, in their order, in `count` processes at a time. A file that takes longer than `timeout` is
    /// ended.
    ///
    /// # Errors
    /// What the system says when a thread cannot be started.
    pub(crate) fn start(
        program: PathBuf,
        run: TestRun,
        files: Vec<TestFile>,
        count: usize,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let state = State { waiting: files.into(), running: (0..count).map(|_| None).collect(), ..Default::default() };
        let shared = Arc::new(Shared { program, run, timeout, state: Mutex::new(state) });
        let (sender, events) = channel::unbounded();
        let mut pool = Self { shared, events, heard: Mutex::default(), threads: Vec::new() };
        for worker in 0..count {
            let place = Place { shared: Arc::clone(&pool.shared), worker, events: sender.clone() };
            let thread = thread::Builder::new().name(format!("worker {worker}")).spawn(move || place.work())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// The next event, or `Ok(None)` when all workers have ended. Whoever asks for it has dealt with the one before.
    ///
    /// # Errors
    /// `()` when there is none for `time`.
    pub(crate) fn next(&self, time: Duration) -> Result<Option<Event>, ()> {
        *self.heard.lock() = None;
        match self.events.recv_timeout(time) {
            Ok(mut event) => {
                *self.heard.lock() = event.heard.take();
                Ok(Some(event))
            }
            Err(RecvTimeoutError::Timeout) => Err(()),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// Runs no more files, and ends those that run.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut state = self.shared.state.lock();
        state.waiting.clear();
        if stop <= state.stop {
            return;
        }
        state.stop = stop;
        if stop >= Stop::Interrupt {
            state.interrupted.get_or_insert_with(Instant::now);
        }
        for Running { pid, stream, is_ready } in state.running.iter_mut().flatten() {
            // One that has just died hears nothing.
            let _ = match stop {
                Stop::No => Ok(()),
                Stop::AfterTests => protocol::send(stream, &Request::Stop),
                Stop::Interrupt if *is_ready => kill_process(*pid, Signal::INT).map_err(io::Error::from),
                Stop::Interrupt | Stop::Kill => kill_process_group(*pid, Signal::KILL).map_err(io::Error::from),
            };
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop(Stop::Kill);
        for thread in self.threads.drain(..) {
            // It says by an event what went wrong.
            let _ = thread.join();
        }
    }
}

/// One worker after the other.
struct Place {
    shared: Arc<Shared>,
    worker: usize,
    events: Sender<Event>,
}

struct Process {
    child: Child,
    messages: Messages,
}

/// What came of waiting for a worker.
enum Received {
    Reply(Reply),
    /// Its end of the stream is closed: it has died, or is about to.
    End,
    /// Nothing until the deadline, or it was interrupted and did not end.
    Late,
    /// What it sent is no message.
    Wrong(io::Error),
}

impl Place {
    fn say(&self, what: What) {
        // Who no longer listens is about to kill the worker.
        let _ = self.events.send(Event { worker: self.worker, what, heard: None });
    }

    /// Says what may end the run, and waits until the run has heard it, or is to end.
    fn say_and_wait(&self, what: What) {
        let (heard, is_heard) = channel::bounded(0);
        let _ = self.events.send(Event { worker: self.worker, what, heard: Some(heard) });
        while is_heard.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) && self.shared.state.lock().stop == Stop::No
        {
        }
    }

    fn work(&self) {
        let mut process = None;
        while let Some(file) = self.take() {
            let mut running = match process.take() {
                Some(running) => running,
                None => match self.begin() {
                    Ok(running) => running,
                    Err(text) => {
                        let mut state = self.shared.state.lock();
                        state.waiting.clear();
                        let is_expected = state.stop > Stop::No;
                        drop(state);
                        if !is_expected {
                            self.say(What::Broken(text));
                        }
                        return;
                    }
                },
            };
            process = match self.run(&mut running, file) {
                // One that was stopped has no more to do.
                Ok(()) => Some(running),
                Err(what) => {
                    let status = self.end(running, !matches!(what, Ended::ByItself));
                    match what {
                        Ended::ByItself | Ended::Killed => {}
                        Ended::Told(what) => self.say_and_wait(what),
                        Ended::Crashed(test) => self.say_and_wait(What::Crashed { test, how: describe(status) }),
                    }
                    None
                }
            };
        }
        if let Some(mut running) = process {
            // One that has died hears nothing.
            let _ = self.send(&Request::Finish);
            let ended = self.wait_for_end(&mut running);
            self.end(running, !ended);
        }
    }

    fn take(&self) -> Option<TestFile> {
        self.shared.state.lock().waiting.pop_front()
    }

    /// Sends under the lock: another thread may want to stop the worker.
    fn send(&self, request: &Request) -> io::Result<()> {
        match &mut self.shared.state.lock().running[self.worker] {
            Some(running) => protocol::send(&mut running.stream, request),
            None => Ok(()),
        }
    }

    fn receive(&self, process: &mut Process, deadline: Option<Instant>) -> Received {
        loop {
            let interrupted = self.shared.state.lock().interrupted;
            let ends = interrupted.and_then(|interrupted| interrupted.checked_add(ENDS));
            let until = deadline.into_iter().chain(ends).min();
            // Whether the run was interrupted meanwhile is looked at now and then.
            let look = Instant::now() + LOOK;
            match process.messages.next(Some(until.map_or(look, |until| until.min(look)))) {
                Ok(Some(reply)) => return Received::Reply(reply),
                Ok(None) => return Received::End,
                Err(error) if error.kind() != io::ErrorKind::TimedOut => return Received::Wrong(error),
                Err(_) if until.is_some_and(|until| Instant::now() >= until) => return Received::Late,
                Err(_) => {}
            }
        }
    }

    /// Starts a worker and waits until it is ready.
    fn begin(&self) -> Result<Process, String> {
        let failed = |error: io::Error| format!("a worker cannot be started: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut stream = ours.try_clone().map_err(failed)?;
        let mut command = Command::new(&self.shared.program);
        command.arg(WORKER).stdin(Stdio::from(OwnedFd::from(theirs)));
        // A group of its own: what a file starts ends with it, and the terminal's Ctrl-C comes to the run alone.
        command.process_group(0);
        let mut run = self.shared.run.clone();
        if let Some(worker) = &mut run.worker {
            worker.number = self.worker;
            // What suites that know workers choose ports and databases by.
            command.env("PYTEST_XDIST_WORKER", format!("gw{}", self.worker));
            command.env("PYTEST_XDIST_WORKER_COUNT", worker.count.to_string());
        }
        let child = command.spawn().map_err(failed)?;
        // The stream's other end is the child's alone: its end says that the child has died.
        drop(command);
        let pid = pid_of(&child);
        let mut process = Process { child, messages: Messages::new(ours) };
        let mut state = self.shared.state.lock();
        let sent = protocol::send(&mut stream, &Request::Start(Box::new(run)));
        state.running[self.worker] = pid.map(|pid| Running { pid, stream, is_ready: false });
        let is_late = state.stop >= Stop::Interrupt;
        drop(state);
        let received = match sent {
            _ if is_late => Received::Late,
            Ok(()) => self.receive(&mut process, None),
            Err(error) => Received::Wrong(error),
        };
        let what = match received {
            Received::Reply(Reply::Ready) => {
                if let Some(running) = &mut self.shared.state.lock().running[self.worker] {
                    running.is_ready = true;
                }
                return Ok(process);
            }
            Received::Reply(_) => ": it told of tests before there were any".to_owned(),
            Received::End | Received::Late => String::new(),
            Received::Wrong(error) => format!(": {error}"),
        };
        let status = self.end(process, is_late || !what.is_empty());
        Err(format!("a worker could not start{what}; {}", describe(status)))
    }

    /// Runs a file. The error says how the worker has ended, or that it has to.
    fn run(&self, process: &mut Process, file: TestFile) -> Result<(), Ended> {
        let begun = Instant::now();
        let deadline = self.shared.timeout.and_then(|timeout| begun.checked_add(timeout));
        {
            let mut state = self.shared.state.lock();
            if state.stop > Stop::No {
                return Ok(());
            }
            self.say(What::File(file.clone()));
            if let Some(running) = &mut state.running[self.worker] {
                // When it cannot be written, the worker has died, and the stream ends.
                let _ = protocol::send(&mut running.stream, &Request::Run(file));
            }
        }
        let mut test = None;
        loop {
            match self.receive(process, deadline) {
                Received::Reply(Reply::Test(name)) => {
                    self.say(What::Test(name.clone()));
                    test = Some(name);
                }
                Received::Reply(Reply::Event(bytes)) => self.say(What::Report(bytes)),
                Received::Reply(Reply::Done { result, may_end_run }) => {
                    let done = What::Done { result, time: begun.elapsed() };
                    if may_end_run {
                        self.say_and_wait(done);
                    } else {
                        self.say(done);
                    }
                    return Ok(());
                }
                Received::Reply(Reply::Interrupted(bytes)) => {
                    self.say(What::Interrupted(bytes));
                    return Err(if self.wait_for_end(process) { Ended::ByItself } else { Ended::Killed });
                }
                Received::Reply(Reply::Ready | Reply::Finished(_) | Reply::Where(_)) => {}
                Received::End if self.shared.state.lock().stop >= Stop::Interrupt => return Err(Ended::ByItself),
                Received::End => return Err(Ended::Crashed(test)),
                Received::Late if self.shared.state.lock().interrupted.is_some() => return Err(Ended::Killed),
                Received::Late => {
                    let limit = self.shared.timeout.unwrap_or_default();
                    let place = self.ask_where(process);
                    return Err(Ended::Told(What::TimedOut { test, limit, place }));
                }
                Received::Wrong(error) => {
                    let how = format!("it sent what is no message: {error}");
                    return Err(Ended::Told(What::Crashed { test, how }));
                }
            }
        }
    }

    /// Where the tests of a worker are that is about to be ended. What it says beside that comes too late.
    fn ask_where(&self, process: &mut Process) -> Option<Vec<u8>> {
        self.send(&Request::Where).ok()?;
        let deadline = Some(Instant::now() + ANSWERS);
        loop {
            match self.receive(process, deadline) {
                Received::Reply(Reply::Where(bytes)) => return Some(bytes),
                Received::Reply(_) => {}
                Received::End | Received::Late | Received::Wrong(_) => return None,
            }
        }
    }

    /// Whether a worker that has no more to run came to its end, for which it may take as long as a file, and a little for the
    /// interpreter's part.
    fn wait_for_end(&self, process: &mut Process) -> bool {
        let mut deadline = self.shared.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match self.receive(process, deadline) {
                Received::Reply(Reply::Finished(bytes)) => {
                    self.say(What::Finished(bytes));
                    deadline = Some(Instant::now() + ENDS);
                }
                Received::Reply(_) => {}
                Received::End => return true,
                Received::Late | Received::Wrong(_) => return false,
            }
        }
    }

    /// Waits for a process that has ended, or ends it with all that it started.
    fn end(&self, mut process: Process, kill: bool) -> Option<ExitStatus> {
        // Nobody else signals the number from now on. It is the child's as long as that was not waited for.
        self.shared.state.lock().running[self.worker] = None;
        if let (true, Some(pid)) = (kill, pid_of(&process.child)) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        process.child.wait().ok()
    }
}

/// How a worker ends while it runs a file.
enum Ended {
    /// As the run knows already.
    ByItself,
    /// It has to be killed, and the run knows why.
    Killed,
    /// As [`Self::Killed`], and the run is told this.
    Told(What),
    /// It died in a test, or between them.
    Crashed(Option<String>),
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn describe(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("it was ended by {}", name_of(signal)),
            (None, Some(code)) => format!("it exited with status {code}"),
            (None, None) => status.to_string(),
        },
        None => "nobody knows how it ended".to_owned(),
    }
}

fn name_of(signal: i32) -> String {
    let name = match Signal::from_named_raw(signal) {
        Some(Signal::ABORT) => "SIGABRT",
        Some(Signal::BUS) => "SIGBUS",
        Some(Signal::FPE) => "SIGFPE",
        Some(Signal::ILL) => "SIGILL",
        Some(Signal::INT) => "SIGINT",
        Some(Signal::KILL) => "SIGKILL",
        Some(Signal::SEGV) => "SIGSEGV",
        Some(Signal::TERM) => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("{name} (signal {signal})")
}
