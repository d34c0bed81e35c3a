//! The code cache: source is compiled, and frozen code decoded, once per process.
//!
//! What is kept is *pristine* code that nobody executes; every space gets a copy of its own (see [`crate::vm::code`]).
//! Compiled code is found by the content it was compiled from, so a changed file is never served stale; that a file has
//! not changed is believed without reading it only on the conditions of [`super::source`]. For each file name only the content seen last is kept: the cache grows with the number of files, not
//! with the number of edits.

use dashmap::DashMap;
use rustpython_vm::{PyRef, PyResult, VirtualMachine, builtins::PyCode};

use super::library;
use crate::vm::code::{self, copy_pristine};

/// What a piece of code was compiled from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SourceKey {
    file: String,
    optimize: i64,
}

pub(crate) type ContentHash = [u8; 32];

/// Code objects nobody has executed.
#[derive(Default)]
pub(crate) struct CodeCache {
    compiled: DashMap<SourceKey, (ContentHash, PyRef<PyCode>)>,
    unmarshalled: DashMap<String, (ContentHash, PyRef<PyCode>)>,
    frozen: DashMap<String, PyRef<PyCode>>,
}

impl CodeCache {
    /// A copy of the frozen code object `name`.
    pub(crate) fn frozen(&self, name: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
        if let Some(code) = self.frozen.get(name).map(|code| code.clone()) {
            return Ok(copy_pristine(&code, vm));
        }
        let code = match library::source(name) {
            Some(source) => source.compile(vm)?,
            None => code::frozen(name, vm)?,
        };
        let copy = copy_pristine(&code, vm);
        self.frozen.insert(name.to_owned(), code);
        Ok(copy)
    }

    /// A copy of what `compile` made, or makes now, of the content with this hash for `file`.
    pub(crate) fn compiled(
        &self,
        file: &str,
        optimize: i64,
        hash: ContentHash,
        vm: &VirtualMachine,
        compile: impl FnOnce() -> PyResult<PyRef<PyCode>>,
    ) -> PyResult<PyRef<PyCode>> {
        let key = SourceKey { file: file.to_owned(), optimize };
        Self::get(&self.compiled, key, hash, vm, compile)
    }

    /// Whether something was compiled for `file`: it was imported, and may be again.
    pub(crate) fn has_compiled(&self, file: &str, optimize: i64) -> bool {
        self.compiled.contains_key(&SourceKey { file: file.to_owned(), optimize })
    }

    /// A copy of what `load` makes of the bytecode file `file` whose content has this hash.
    pub(crate) fn unmarshalled(
        &self,
        file: &str,
        hash: ContentHash,
        vm: &VirtualMachine,
        load: impl FnOnce() -> PyResult<PyRef<PyCode>>,
    ) -> PyResult<PyRef<PyCode>> {
        Self::get(&self.unmarshalled, file.to_owned(), hash, vm, load)
    }

    /// [`CodeCache::unmarshalled`], if it is there.
    pub(crate) fn known_unmarshalled(
        &self,
        file: &str,
        hash: ContentHash,
        vm: &VirtualMachine,
    ) -> Option<PyRef<PyCode>> {
        Self::known(&self.unmarshalled, file, hash, vm)
    }

    fn known<Key: Eq + std::hash::Hash + std::borrow::Borrow<Query>, Query: Eq + std::hash::Hash + ?Sized>(
        map: &DashMap<Key, (ContentHash, PyRef<PyCode>)>,
        key: &Query,
        hash: ContentHash,
        vm: &VirtualMachine,
    ) -> Option<PyRef<PyCode>> {
        // The entry is cloned out: the copy allocates, and a collection may run Python code that imports.
        let known = map.get(key).filter(|entry| entry.0 == hash).map(|entry| entry.1.clone());
        known.map(|code| copy_pristine(&code, vm))
    }

    fn get<Key: Eq + std::hash::Hash>(
        map: &DashMap<Key, (ContentHash, PyRef<PyCode>)>,
        key: Key,
        hash: ContentHash,
        vm: &VirtualMachine,
        make: impl FnOnce() -> PyResult<PyRef<PyCode>>,
    ) -> PyResult<PyRef<PyCode>> {
        if let Some(code) = Self::known(map, &key, hash, vm) {
            return Ok(code);
        }
        let code = make()?;
        let copy = copy_pristine(&code, vm);
        map.insert(key, (hash, code));
        Ok(copy)
    }
}
