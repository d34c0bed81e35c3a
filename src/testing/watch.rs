//! Hearing of changed sources.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Receiver};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use rustpython_vm::{Py, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine, function::PyMethodDef, pyclass};

use crate::vm::native::{def, payload};

/// How often to look at signals.
const LOOK: Duration = Duration::from_millis(50);

/// How long nothing more must happen: editors write, rename and delete.
const QUIET: Duration = Duration::from_millis(15);

/// How long changes are gathered at most.
const GATHERED: Duration = Duration::from_millis(500);

pub(super) static WATCH: PyMethodDef = def("watch", watch);

/// Tells of changed files below some directories.
#[pyclass(module = "modspace", name = "Watcher")]
struct Watcher {
    changed: Receiver<PathBuf>,
    /// Ends when it is dropped.
    _watcher: RecommendedWatcher,
}
payload!(Watcher);

fn watch(_none: PyObjectRef, directories: Vec<String>, vm: &VirtualMachine) -> PyResult<PyRef<Watcher>> {
    let (sender, changed) = channel::unbounded();
    let failed = |error: notify::Error| vm.new_os_error(format!("changes cannot be watched: {error}"));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error is about a directory that has gone meanwhile; what is in it has told that it went.
        for path in event.into_iter().filter(|event| !event.kind.is_access()).flat_map(|event| event.paths) {
            // Who no longer listens has ended the watcher.
            let _ = sender.send(path);
        }
    })
    .map_err(failed)?;
    for directory in &directories {
        watcher.watch(directory.as_ref(), RecursiveMode::Recursive).map_err(failed)?;
    }
    Ok(Watcher { changed, _watcher: watcher }.into_ref(&vm.ctx))
}

#[pyclass]
impl Watcher {
    /// Waits for changes, and until they have settled. Returns the paths of what was changed, made and removed.
    #[pymethod]
    fn next(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
        let mut paths = BTreeSet::new();
        let mut until = None;
        loop {
            let wait = if until.is_some() { QUIET } else { LOOK };
            match vm.allow_threads(|| zelf.changed.recv_timeout(wait)) {
                Ok(path) => {
                    paths.insert(path);
                    let until = *until.get_or_insert_with(|| Instant::now() + GATHERED);
                    if Instant::now() < until {
                        continue;
                    }
                }
                Err(_) if paths.is_empty() => {
                    vm.check_signals()?;
                    continue;
                }
                Err(_) => {}
            }
            return Ok(paths.into_iter().map(|path| vm.fsdecode(path).into()).collect());
        }
    }
}
