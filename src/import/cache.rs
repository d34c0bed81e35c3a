//! The code cache: source is compiled once per process, and bytecode is hardly ever decoded more than twice.
//!
//! What is kept is *pristine* code that nobody executes; every space gets a copy of its own (see [`crate::vm::code`]). Only
//! what is rarely run of the import system, which each space has anew, is the same code in all spaces. Most bytecode is
//! loaded by one space and never again, so the first that decodes it gets the code itself, and it is kept from the second
//! time on; to compile takes too long for that.
//!
//! Compiled code is found by the content it was compiled from, so a changed file is never served stale; that a file has
//! not changed is believed without reading it only on the conditions of [`super::source`]. For each file name only the
//! content seen last is kept: the cache grows with the number of files, not with the number of edits.

use dashmap::DashMap;
use rustpython_vm::{PyRef, PyResult, VirtualMachine, builtins::PyCode};

use super::library;
use crate::vm::code::{self, copy_functions, copy_pristine};

/// What a piece of code was compiled from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SourceKey {
    file: String,
    optimize: i64,
}

/// What nearly every space executes that imports anything.
fn is_import_system(name: &str) -> bool {
    matches!(
        name,
        "_frozen_importlib"
            | "_frozen_importlib_external"
            | "importlib"
            | "importlib._abc"
            | "importlib.machinery"
            | "importlib.util"
            | "zipimport"
    )
}

/// The functions of importlib that most imports call: with code of its own, each space specialises it. A name that is missing
/// here costs time when the function is run in a second space, and nothing else.
const RUN_BY_IMPORTS: &[&str] =
    &["ModuleSpec.__init__", "_LoaderBasics.create_module", "_LoaderBasics.exec_module", "_call_with_frames_removed"];

pub(crate) type ContentHash = [u8; 32];

/// Code objects nobody has executed.
#[derive(Default)]
pub(crate) struct CodeCache {
    compiled: DashMap<SourceKey, (ContentHash, PyRef<PyCode>)>,
    /// Without code, as long as it was decoded once.
    unmarshalled: DashMap<String, (ContentHash, Option<PyRef<PyCode>>)>,
    frozen: DashMap<String, Option<PyRef<PyCode>>>,
}

impl CodeCache {
    /// A copy of the frozen code object `name`. Of the import system, it has copies of the functions that most imports run;
    /// the others are those of all spaces.
    pub(crate) fn frozen(&self, name: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyCode>> {
        let is_import_system = is_import_system(name);
        let copy = |code: PyRef<PyCode>| {
            if is_import_system {
                copy_functions(&code, &|function| RUN_BY_IMPORTS.contains(&function), vm).unwrap_or(code)
            } else {
                copy_pristine(&code, vm)
            }
        };
        // Entries are cloned out: a copy allocates, and a collection may run Python code that imports.
        let known = self.frozen.get(name).map(|code| code.clone());
        if let Some(Some(code)) = known {
            return Ok(copy(code));
        }
        let code = match library::source(name) {
            Some(source) => source.code(vm),
            None => code::frozen(name, vm)?,
        };
        let is_kept = known.is_some() || is_import_system;
        self.frozen.insert(name.to_owned(), is_kept.then(|| code.clone()));
        Ok(if is_kept { copy(code) } else { code })
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
        let known = self.compiled.get(&key).filter(|known| known.0 == hash).map(|known| known.1.clone());
        let code = match known {
            Some(code) => code,
            None => {
                let code = compile()?;
                self.compiled.insert(key, (hash, code.clone()));
                code
            }
        };
        Ok(copy_pristine(&code, vm))
    }

    /// Whether something was compiled for `file`: it was imported, and may be again.
    pub(crate) fn has_compiled(&self, file: &str, optimize: i64) -> bool {
        self.compiled.contains_key(&SourceKey { file: file.to_owned(), optimize })
    }

    /// What `load` makes of the bytecode file `file` whose content has this hash, or a copy of that.
    pub(crate) fn unmarshalled(
        &self,
        file: &str,
        hash: ContentHash,
        vm: &VirtualMachine,
        load: impl FnOnce() -> PyResult<PyRef<PyCode>>,
    ) -> PyResult<PyRef<PyCode>> {
        if let Some(code) = self.known_unmarshalled(file, hash, vm) {
            return Ok(code);
        }
        let is_kept = self.unmarshalled.get(file).is_some_and(|known| known.0 == hash);
        let code = load()?;
        self.unmarshalled.insert(file.to_owned(), (hash, is_kept.then(|| code.clone())));
        Ok(if is_kept { copy_pristine(&code, vm) } else { code })
    }

    /// [`CodeCache::unmarshalled`], if it is there.
    pub(crate) fn known_unmarshalled(
        &self,
        file: &str,
        hash: ContentHash,
        vm: &VirtualMachine,
    ) -> Option<PyRef<PyCode>> {
        let known = self.unmarshalled.get(file).filter(|known| known.0 == hash)?.1.clone();
        known.map(|code| copy_pristine(&code, vm))
    }
}
