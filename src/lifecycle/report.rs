//! What a discard has to say.

use std::time::Duration;

use rustpython_vm::{
    AsObject, PyObject, PyObjectRef,
    builtins::{PyDict, PyList, PyStr, PyTuple},
    object::{SIZEOF_PYOBJECT_HEAD, Traverse},
};

/// What came of discarding a space.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiscardReport {
    /// The space's name.
    pub space: String,
    /// The number of the generation that ended; 0 when the space had been discarded before.
    pub generation: u64,
    /// How many container objects were freed (what `gc` would track).
    pub objects: usize,
    /// Their size in bytes, with that of the strings and bytes that only they held; an estimate from below.
    pub bytes: usize,
    /// How long it took, waiting and callbacks included.
    pub duration: Duration,
    /// Threads that were still inside when the time was up.
    pub threads: Vec<StayingThread>,
    /// What something outside still holds, shortest path first.
    pub held: Vec<Held>,
}

/// A thread that stays inside a discarded space.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StayingThread {
    /// `threading.Thread.name`, or the identifier for a thread that has none.
    pub name: String,
    /// `threading.get_ident()` of the thread.
    pub ident: u64,
    /// Its Python stack, as a traceback shows one.
    pub stack: String,
}

/// An object of a discarded space that something outside holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// What is held: `plugin.Handler`.
    pub object: String,
    /// Its class: `function`, `type`, `module`, or the class of an instance.
    pub kind: String,
    /// From a root outside to the object: `root: app.registry['x']`.
    pub path: String,
    /// How many references the path has.
    pub length: usize,
}

impl std::fmt::Display for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} -> {}", self.path, self.object)
    }
}

impl DiscardReport {
    pub(crate) fn new(space: &str) -> Self {
        Self { space: space.to_owned(), ..Self::default() }
    }

    /// Whether nothing is left of the space.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.held.is_empty() && self.threads.is_empty()
    }

    pub(crate) fn count(&mut self, freed: &[PyObjectRef]) {
        self.objects += freed.len();
        self.bytes += freed.iter().map(size).sum::<usize>();
    }
}

impl std::fmt::Display for DiscardReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "space {:?}: {} objects, {} bytes freed in {:.1} ms",
            self.space,
            self.objects,
            self.bytes,
            self.duration.as_secs_f64() * 1e3
        )?;
        for thread in &self.threads {
            write!(formatter, "\n  thread {:?} is still inside:", thread.name)?;
            for line in thread.stack.lines() {
                write!(formatter, "\n    {line}")?;
            }
        }
        for held in &self.held {
            write!(formatter, "\n  held: {held}")?;
        }
        Ok(())
    }
}

/// `sys.getsizeof`, with the text that only this object holds.
fn size(object: &PyObjectRef) -> usize {
    let (mut references, mut text) = (0, 0);
    if is_container(object) {
        object.traverse(&mut |item| {
            references += 1;
            if let Some(own) = item.downcast_ref::<PyStr>().filter(|_| item.strong_count() == 1) {
                text += SIZEOF_PYOBJECT_HEAD + own.byte_len();
            }
        });
    }
    // Beside a key and a value, a dict has the key's hash.
    let width = if object.downcast_ref::<PyDict>().is_some() { 3 * size_of::<usize>() / 2 } else { size_of::<usize>() };
    SIZEOF_PYOBJECT_HEAD + object.class().slots.basicsize + references * width + text
}

fn is_container(object: &PyObject) -> bool {
    object.downcast_ref::<PyDict>().is_some()
        || object.downcast_ref::<PyList>().is_some()
        || object.downcast_ref::<PyTuple>().is_some()
}
