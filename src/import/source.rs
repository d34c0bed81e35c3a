//! Code of source files whose bytecode was read before, in this space or another one.
//!
//! `SourceLoader.get_code` looks at the source, reads the bytecode file and compares the two. As long as both files are what
//! they were then, its answer is the same. A file is taken for what it was when its inode, size and times are, and when
//! it had not been changed for a while as they were noted: whoever writes to it later gives it another time (git's index
//! does the same, and calls what is too young racy).

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dashmap::DashMap;
use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyStr, PyType},
    function::PyMethodDef,
    identifier,
};

use super::{boot, cache::ContentHash, find, generation::Generation, key::SpaceKey};
use crate::vm::native::def;

/// How long ago a file must have been changed. File systems may count in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// `_code_of_file`, which the copy's `SourceFileLoader.get_code` asks first.
pub(crate) const CODE_OF_FILE: PyMethodDef = def("_code_of_file", code_of_file);

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
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(path).ok()?;
        let changed = [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())];
        Some(Self { device: file.dev(), inode: file.ino(), size: file.size(), changed })
    }

    /// Nothing tells whether another file was put in its place.
    #[cfg(not(unix))]
    fn of(_path: &Path) -> Option<Self> {
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
    /// `sys.pycache_prefix`, which says where the bytecode is.
    prefix: Option<String>,
}

/// By the names of source files.
#[derive(Default)]
pub(crate) struct Sources(DashMap<String, Known>);

/// A space's `SourceFileLoader`, and the version that the class has as long as nobody changes it or its bases.
#[derive(Default)]
pub(crate) struct SourceLoader {
    class: OnceLock<PyRef<PyType>>,
    version: AtomicU32,
}

impl SourceLoader {
    /// Notes the class as it is now.
    pub(crate) fn note(&self, class: PyObjectRef, vm: &VirtualMachine) {
        let Ok(class) = class.downcast::<PyType>() else { return };
        class.get_attr(identifier!(vm, __module__));
        self.version.store(class.tp_version_tag().load(Ordering::Acquire), Ordering::Release);
        let _ = self.class.set(class);
    }

    /// Whether a loader is an instance of that class, which is what it was.
    fn is_class_of(&self, loader: &PyObject) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let is_it = |class: &PyRef<PyType>| {
            loader.class().is(class) && class.tp_version_tag().load(Ordering::Acquire) == version
        };
        version != 0 && self.class.get().is_some_and(is_it)
    }
}

fn prefix(generation: &Generation, vm: &VirtualMachine) -> Option<String> {
    let prefix = generation.sys_dict.get_item_opt("pycache_prefix", vm).ok()??;
    prefix.downcast_ref::<PyStr>().map(|prefix| prefix.to_string_lossy().into_owned())
}

impl Sources {
    /// Notes that the code of the file `source` was read from the file `bytecode`, which was found to be of it.
    pub(crate) fn note(
        &self,
        generation: &Generation,
        source: &str,
        bytecode: &str,
        code: (String, ContentHash),
        vm: &VirtualMachine,
    ) {
        let found = vm.allow_threads(|| {
            let stamps = (Stamp::of(Path::new(source))?, Stamp::of(Path::new(bytecode))?);
            let is_settled = stamps.0.is_settled() && stamps.1.is_settled();
            let source_hash = *blake3::hash(&std::fs::read(source).ok().filter(|_| is_settled)?).as_bytes();
            Some((stamps, source_hash))
        });
        match found {
            Some(((stamp, bytecode_stamp), source_hash)) => {
                let bytecode = (bytecode.to_owned(), bytecode_stamp);
                let known = Known { source: stamp, bytecode, code, source_hash, prefix: prefix(generation, vm) };
                self.0.insert(source.to_owned(), known);
            }
            None => {
                self.0.remove(source);
            }
        }
    }

    /// What is known of a file that is what it was.
    fn get(&self, generation: &Generation, source: &str, vm: &VirtualMachine) -> Option<Known> {
        let known = self.0.get(source)?.clone();
        if known.prefix != prefix(generation, vm) {
            return None;
        }
        let is = |path: &str, stamp: Stamp| Stamp::of(Path::new(path)) == Some(stamp);
        let is_same = vm.allow_threads(|| is(source, known.source) && is(&known.bytecode.0, known.bytecode.1));
        is_same.then_some(known)
    }
}

/// The code that a `SourceFileLoader` is asked for; None when it has to look for itself.
fn code_of_file(
    key: PyRef<SpaceKey>,
    loader: PyObjectRef,
    name: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<Option<PyRef<PyCode>>> {
    let generation = key.get(vm)?;
    if !boot::importlib(&generation, vm)?.source_loader.is_class_of(&loader) {
        return Ok(None);
    }
    let text = |value: PyObjectRef| value.downcast_ref::<PyStr>().map(|text| text.to_string_lossy().into_owned());
    // What a program set on this loader alone goes before the class's.
    let Some(dict) = loader.dict().filter(|dict| dict.__len__() == 2) else { return Ok(None) };
    let own = |name: &'static str| PyResult::Ok(dict.get_item_opt(name, vm)?.and_then(text));
    let (Some(own_name), Some(path)) = (own("name")?, own("path")?) else { return Ok(None) };
    if text(name).is_none_or(|name| name != own_name) {
        return Ok(None);
    }
    let shared = &generation.shared;
    let Some(known) = shared.sources.get(&generation, &path, vm) else { return Ok(None) };
    let code = shared.code.known_unmarshalled(&known.code.0, known.code.1, vm);
    if code.is_some() {
        find::note_source(&path, known.source_hash);
    }
    Ok(code)
}
