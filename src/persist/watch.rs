//! Hearing of what other processes write into a file.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};

/// How often to look where the system tells nothing.
const LOOK: Duration = Duration::from_millis(10);

/// How often to look although the system tells: a file system of another machine tells nothing.
const LOOK_SELDOM: Duration = Duration::from_millis(500);

/// How long to look often after a sign: SQLite writes the log first, which the system tells, waits for the disk, and makes the
/// commit visible then in shared memory, which nobody tells.
const SETTLES: Duration = Duration::from_millis(300);

/// How often to look then.
const LOOK_OFTEN: Duration = Duration::from_millis(3);

/// Counts the signs that something was written into an SQLite file or its log.
pub(crate) struct Watch {
    folder: std::path::PathBuf,
    names: Arc<[std::ffi::OsString; 2]>,
    signs: Arc<Signs>,
    /// Made by the first who waits; `None` where the system cannot watch.
    watcher: OnceLock<Option<RecommendedWatcher>>,
}

#[derive(Default)]
struct Signs {
    /// How many there were, and when the last one was.
    count: Mutex<(u64, Option<Instant>)>,
    changed: Condvar,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Signs {
    fn add(&self) {
        let mut count = self.count.lock();
        *count = (count.0 + 1, Some(Instant::now()));
        drop(count);
        self.changed.notify_all();
    }
}

impl Watch {
    pub(crate) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_owned();
        let mut log = name.clone();
        log.push("-wal");
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self {
            folder: folder.to_owned(),
            names: Arc::new([name, log]),
            signs: Arc::default(),
            watcher: OnceLock::new(),
        }
    }

    /// Something was written by this process.
    pub(crate) fn notify(&self) {
        self.signs.add();
    }

    /// How many signs there were. From here on, none is missed.
    pub(crate) fn seen(&self) -> u64 {
        self.watcher.get_or_init(|| {
            let (signs, names) = (Arc::clone(&self.signs), Arc::clone(&self.names));
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // What cannot be told is looked at.
                let concerns = event.is_ok_and(|event| {
                    let is_ours = |path: &std::path::PathBuf| names.iter().any(|name| path.file_name() == Some(name));
                    !event.kind.is_access() && event.paths.iter().any(is_ours)
                });
                if concerns {
                    signs.add();
                }
            })
            .ok()?;
            // The folder, because the log is made and deleted.
            watcher.watch(&self.folder, RecursiveMode::NonRecursive).ok()?;
            Some(watcher)
        });
        self.signs.count.lock().0
    }

    /// Waits until there was a sign that was not seen, or the time is over, or it is time to look without a sign.
    pub(crate) fn wait(&self, seen: u64, timeout: Duration) {
        let is_told = matches!(self.watcher.get(), Some(Some(_)));
        let mut count = self.signs.count.lock();
        let pause = match count.1 {
            Some(last) if last.elapsed() < SETTLES => LOOK_OFTEN,
            _ if is_told => LOOK_SELDOM,
            _ => LOOK,
        };
        let deadline = Instant::now() + timeout.min(pause);
        while count.0 == seen {
            if self.signs.changed.wait_until(&mut count, deadline).timed_out() {
                return;
            }
        }
    }
}
