//! Code of source files whose bytecode was read before, in this space or another one.
//!
//! `SourceLoader.get_code` looks at the source, reads the bytecode file and compares the two. As long as both files are what
//! they were then, its answer is the same. A file is taken for what it was when its inode, size and times are, and when
//! it had not been changed for a while as they were noted: whoever writes to it later gives it another time (git's index
//! does the same, and calls what is too young racy). What was read between two looks at the same state is of that state.
//!
//! This holds for the loader and the functions that importlib comes with. Where a program has its own, for the one or the
//! others, nothing is noted, and nothing that is known is used.

use std::{
    cell::RefCell,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dashmap::DashMap;
use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyDictRef, PyInt, PyStr},
    function::PyMethodDef,
};

use super::{boot, cache::ContentHash, find, generation::Generation, key::SpaceKey, untouched::Untouched};
use crate::vm::native::def;

/// How long ago a file must have been changed. File systems may count in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// The header of a bytecode file (PEP 552); behind it is what was marshalled.
const HEADER: usize = 16;

/// What the copy's `SourceFileLoader.get_code` asks first, and tells when it had to look for itself.
pub(crate) const CODE_OF_FILE: PyMethodDef = def("_code_of_file", code_of_file);
pub(crate) const CODE_WAS_READ: PyMethodDef = def("_code_was_read", code_was_read);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970 of the last change of the content, and of the inode.
    changed: [(i64, i64); 2],
}

impl Stamp {
    #[cfg(unix)]
    fn of(path: &str) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(Path::new(path)).ok().filter(std::fs::Metadata::is_file)?;
        let changed = [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())];
        Some(Self { device: file.dev(), inode: file.ino(), size: file.size(), changed })
    }

    /// Nothing tells whether another file was put in its place.
    #[cfg(not(unix))]
    fn of(_path: &str) -> Option<Self> {
        None
    }

    fn is_settled(&self) -> bool {
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return false };
        let Some(before) = now.checked_sub(SETTLED) else { return false };
        self.changed.iter().all(|(seconds, _)| u64::try_from(*seconds).is_ok_and(|seconds| seconds < before.as_secs()))
    }
}

/// Where the code of a source file was read, and what both files were then.
#[derive(Clone, Debug)]
struct Known {
    source: Stamp,
    bytecode: (String, Stamp),
    /// The key and hash by which [`super::cache::CodeCache::unmarshalled`] has the code.
    code: (String, ContentHash),
    source_hash: ContentHash,
    settings: Settings,
}

/// What says where the bytecode of a source is, and whether it is compared with that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `sys.pycache_prefix`.
    prefix: Option<String>,
    /// `sys.implementation.cache_tag`.
    tag: Option<String>,
    /// `sys.flags.optimize`.
    optimize: i64,
}

impl Settings {
    /// `None` when they are not what they are for nearly everybody: strings that name files as they are, and a number.
    pub(crate) fn of(generation: &Generation, vm: &VirtualMachine) -> Option<Self> {
        let sys = |name: &'static str| generation.sys_dict.get_item_opt(name, vm).ok()?;
        let text_or_none = |value: PyObjectRef| if vm.is_none(&value) { Some(None) } else { text(value).map(Some) };
        Some(Self {
            prefix: text_or_none(sys("pycache_prefix")?)?,
            tag: text_or_none(sys("implementation")?.get_attr("cache_tag", vm).ok()?)?,
            optimize: sys("flags")?
                .get_attr("optimize", vm)
                .ok()?
                .downcast_ref::<PyInt>()?
                .try_to_primitive(vm)
                .ok()?,
        })
    }

    /// `cache_from_source(source)`, for a source beside whose directory's other files the bytecode is. `None` for others.
    pub(crate) fn bytecode_of(&self, source: &str) -> Option<String> {
        let tag = self.tag.as_ref().filter(|_| self.prefix.is_none() && self.optimize == 0)?;
        let (directory, file) = source.rsplit_once('/').filter(|_| cfg!(unix))?;
        let name = file.strip_suffix(".py").filter(|name| !name.is_empty())?;
        let directory = directory.trim_end_matches('/');
        (!directory.is_empty()).then(|| format!("{directory}/__pycache__/{name}.{tag}.pyc"))
    }
}

/// A string that names a file as it is; `None` for what is none.
fn text(value: PyObjectRef) -> Option<String> {
    value.downcast_ref::<PyStr>()?.to_str().map(str::to_owned)
}

/// By the names of source files.
#[derive(Default)]
pub(crate) struct Sources(DashMap<String, Known>);

/// A space's `SourceFileLoader`, as it was made.
pub(crate) struct SourceLoader {
    class: PyObjectRef,
    untouched: Untouched,
}

/// The class, and what its `get_code` calls.
const READING_CODE: [&str; 9] = [
    "MAGIC_NUMBER",
    "SourceFileLoader",
    "_classify_pyc",
    "_compile_bytecode",
    "_path_stat",
    "_validate_hash_pyc",
    "_validate_timestamp_pyc",
    "cache_from_source",
    "decode_source",
];

impl SourceLoader {
    /// Notes the class in the dict of `_frozen_importlib_external`.
    pub(crate) fn note(external: &PyDictRef, vm: &VirtualMachine) -> PyResult<Self> {
        let class = external.get_item("SourceFileLoader", vm)?;
        Ok(Self { class, untouched: Untouched::note(external, &READING_CODE, vm)? })
    }

    /// Whether a loader is an instance of that class, and this and what it calls are what they were.
    fn is_original(&self, loader: &PyObject, vm: &VirtualMachine) -> bool {
        loader.class().is(&self.class) && self.untouched.holds(vm)
    }
}

/// A file whose code a loader looks for on this thread.
struct Reading {
    source: String,
    stamp: Stamp,
    settings: Settings,
}

thread_local! {
    static READING: RefCell<Vec<Option<Reading>>> = const { RefCell::new(Vec::new()) };
}

impl Sources {
    /// Notes where the code of a source file was read, if it is what a loader looks for on this thread.
    pub(crate) fn note(&self, source: &str, bytecode: &str, code: (String, ContentHash), vm: &VirtualMachine) {
        let reading = READING.with_borrow_mut(|reading| reading.last_mut().and_then(Option::take));
        let Some(reading) = reading.filter(|reading| reading.source == source) else { return };
        let found = vm.allow_threads(|| {
            let stamp = Stamp::of(bytecode).filter(Stamp::is_settled)?;
            let data = std::fs::read(bytecode).ok()?;
            // The flags are those of a file that is compared by time: others may be believed, or not.
            let is_timed = data.get(4..8)? == [0; 4];
            let is_read = *blake3::hash(data.get(HEADER..)?).as_bytes() == code.1;
            let source_hash = *blake3::hash(&std::fs::read(source).ok()?).as_bytes();
            let is_same = Stamp::of(bytecode) == Some(stamp) && Stamp::of(source) == Some(reading.stamp);
            (is_timed && is_read && is_same).then_some((stamp, source_hash))
        });
        if let Some((stamp, source_hash)) = found {
            let Reading { source, stamp: source_stamp, settings } = reading;
            let bytecode = (bytecode.to_owned(), stamp);
            self.0.insert(source, Known { source: source_stamp, bytecode, code, source_hash, settings });
        }
    }

    /// What is known of a file that is what it was.
    fn get(&self, source: &str, settings: &Settings, vm: &VirtualMachine) -> Option<Known> {
        let known = self.0.get(source).filter(|known| known.settings == *settings)?.clone();
        let is = |path: &str, stamp: Stamp| Stamp::of(path) == Some(stamp);
        vm.allow_threads(|| is(source, known.source) && is(&known.bytecode.0, known.bytecode.1)).then_some(known)
    }
}

/// The code that a `SourceFileLoader` is asked for; None when it has to look for itself, and is to say when it has.
fn code_of_file(
    key: PyRef<SpaceKey>,
    loader: PyObjectRef,
    name: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<Option<PyRef<PyCode>>> {
    let generation = key.get(vm)?;
    let asked = file_of(&generation, &loader, name, vm)?.zip(Settings::of(&generation, vm));
    let (code, reading) = match asked {
        None => (None, None),
        Some((source, settings)) => {
            let shared = &generation.shared;
            let known = shared.sources.get(&source, &settings, vm);
            let code = known.as_ref().and_then(|known| shared.code.known_unmarshalled(&known.code.0, known.code.1, vm));
            match (known, &code) {
                (Some(known), Some(_)) => {
                    find::note_source(&source, known.source_hash);
                    (code, None)
                }
                _ => {
                    let stamp = vm.allow_threads(|| Stamp::of(&source)).filter(Stamp::is_settled);
                    (None, stamp.map(|stamp| Reading { source, stamp, settings }))
                }
            }
        }
    };
    if code.is_none() {
        READING.with_borrow_mut(|all| all.push(reading));
    }
    Ok(code)
}

fn code_was_read(_key: PyRef<SpaceKey>) {
    READING.with_borrow_mut(|all| drop(all.pop()));
}

/// The source file of a loader that is asked for the module `name`, if it is an original one.
fn file_of(
    generation: &Arc<Generation>,
    loader: &PyObject,
    name: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<Option<String>> {
    if !boot::importlib(generation, vm)?.made().is_some_and(|made| made.source_loader.is_original(loader, vm)) {
        return Ok(None);
    }
    // What a program set on this loader alone goes before the class's.
    let Some(dict) = loader.dict().filter(|dict| dict.__len__() == 2) else { return Ok(None) };
    let own = |name: &'static str| PyResult::Ok(dict.get_item_opt(name, vm)?.and_then(text));
    let own_name = own("name")?;
    if own_name.is_none() || own_name != text(name) {
        return Ok(None);
    }
    own("path")
}
