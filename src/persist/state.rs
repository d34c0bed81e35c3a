//! State that modules keep: the values of globals that the program changed.
//!
//! A module asks for it with `{"persistent_state": "dict"}` in its metadata. Right after its source was executed, it is noted
//! what each of its values is pickled to; with a commit of the space, the values that have changed since are kept. So a
//! constant that nobody changed is never kept, and follows the source. When the module is executed again, kept values are
//! put in after that.

use std::{collections::BTreeMap, sync::Arc};

use rustpython_vm::{
    AsObject, Py, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyBytes, PyDict, PyDictRef, PyModule, PyStr, PyStrRef, PyTuple},
    function::PyMethodDef,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    error::StoreError,
    finder::{Attachment, is_from},
    imports::{self, Names},
    raise::{class, raise},
    record::Module,
    transaction::{Metadata, Transaction},
};
use crate::{
    import::{
        boot,
        generation::Generation,
        owner::{self, Owner},
        project::hidden_module,
    },
    vm::native::{bind, def},
};

const STATE: &str = include_str!("../../spaces/boot/state.py");

/// Under which key a module's metadata asks for it.
const KEY: &str = "persistent_state";

/// What it asks for: globals.
const DICT: &str = "dict";

/// Where the `loader_state` of a spec notes what the values were: no class or function is called so.
const BEFORE: &str = "<state>";

/// Likewise, what the kept values were when they were put in.
const LOADED: &str = "<kept>";

type Digest = [u8; 32];

/// Values that are kept of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// A pickled dict of them.
    values: Vec<u8>,
    /// What each of them is pickled to alone.
    digests: BTreeMap<String, Digest>,
}

impl State {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        postcard::from_bytes(bytes).map_err(|error| StoreError::Encoding { reason: error.to_string() })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        postcard::to_stdvec(self).map_err(|error| StoreError::Encoding { reason: error.to_string() })
    }

    pub(super) fn names(&self) -> Names {
        self.digests.keys().cloned().collect()
    }
}

/// Whether the metadata asks for it.
pub(crate) fn is_wanted(metadata: &Metadata) -> bool {
    metadata.get(KEY).is_some_and(|value| value == DICT)
}

/// Checks what the metadata of a module asks for.
///
/// # Errors
/// [`StoreError::Value`].
pub(super) fn check(name: &str, metadata: &Metadata) -> Result<(), StoreError> {
    match metadata.get(KEY) {
        Some(value) if value != DICT => Err(StoreError::Value {
            what: format!("{KEY:?} in the metadata of {name:?}"),
            given: match value {
                Value::String(text) => text.chars().take(80).collect(),
                other => other.to_string().chars().take(80).collect(),
            },
            allowed: format!("{DICT:?}, or left out"),
        }),
        _ => Ok(()),
    }
}

/// The names whose values a module can keep: those that its source assigns.
fn candidates(name: &str, source: &[u8]) -> Vec<String> {
    let Some((_, defined)) = imports::scan(name, source) else { return Vec::new() };
    let is_own = |name: &&String| !(name.starts_with("__") && name.ends_with("__"));
    defined.names.difference(&defined.declared).filter(is_own).cloned().collect()
}

/// A value that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unkept {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl std::fmt::Display for Unkept {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{} is not kept: {}", self.module, self.name, self.reason)
    }
}

static DIGEST: PyMethodDef = def("digest", digest);

fn digest(_none: PyObjectRef, bytes: PyRef<PyBytes>, vm: &VirtualMachine) -> PyRef<PyBytes> {
    vm.ctx.new_bytes(blake3::hash(bytes.as_bytes()).as_bytes().to_vec())
}

/// Calls one of the functions of `state.py` for the space. What is pickled may run any code of the program.
fn call(generation: &Arc<Generation>, function: &str, args: Vec<PyObjectRef>, vm: &VirtualMachine) -> PyResult {
    let globals = vm.ctx.new_dict();
    globals.set_item("__name__", vm.ctx.new_str("modspace.state").into(), vm)?;
    globals.set_item("__builtins__", vm.builtins.dict().into(), vm)?;
    globals.set_item("pickle", hidden_module("pickle", vm)?.into(), vm)?;
    globals.set_item(DIGEST.name, bind(&DIGEST, vm.ctx.none(), vm), vm)?;
    let called = owner::enter(Owner::Hidden, || boot::run(generation, STATE, "<frozen modspace.state>", &globals, vm))
        .and_then(|()| {
            let function = globals.get_item(function, vm)?;
            owner::enter(Owner::Space(Arc::clone(generation)), || function.call(args, vm))
        });
    globals.clear();
    called
}

fn list(names: &[String], vm: &VirtualMachine) -> PyObjectRef {
    vm.ctx.new_list(names.iter().map(|name| vm.ctx.new_str(&**name).into()).collect()).into()
}

fn digests(dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<BTreeMap<String, Digest>> {
    let wrong = || vm.new_type_error("a digest has another shape");
    let items = dict.clone().into_iter().map(|(name, digest)| {
        let name = name.str(vm)?.to_string_lossy().into_owned();
        let digest = digest.downcast_ref::<PyBytes>().ok_or_else(wrong)?;
        Ok((name, digest.as_bytes().try_into().map_err(|_| wrong())?))
    });
    items.collect()
}

/// What was noted when the module was executed; `None` when its metadata did not ask for that then.
fn noted(module: &PyObjectRef, key: &str, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    loader_state(module, vm)?.map_or(Ok(None), |state| state.get_item_opt(key, vm))
}

fn loader_state(module: &PyObjectRef, vm: &VirtualMachine) -> PyResult<Option<PyDictRef>> {
    let Some(spec) = vm.get_attribute_opt(module, "__spec__")? else { return Ok(None) };
    Ok(vm.get_attribute_opt(&spec, "loader_state")?.and_then(|state| state.downcast::<PyDict>().ok()))
}

/// The digests, for Python.
fn as_dict(digests: &BTreeMap<String, Digest>, vm: &VirtualMachine) -> PyResult {
    let dict = vm.ctx.new_dict();
    for (name, digest) in digests {
        dict.set_item(&**name, vm.ctx.new_bytes(digest.to_vec()).into(), vm)?;
    }
    Ok(dict.into())
}

/// Notes what the values of a module are that was just executed, in its `loader_state`, and puts in those that are kept.
///
/// # Errors
/// `StoreError` when kept values cannot be read any more; what an interrupt raised.
pub(crate) fn begin(
    generation: &Arc<Generation>,
    (name, source): (&str, &[u8]),
    kept: Option<&[u8]>,
    namespace: &PyDictRef,
    loader_state: &PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let names = list(&candidates(name, source), vm);
    let marks = call(generation, "marks", vec![namespace.clone().into(), names.clone()], vm)?;
    let note = |key: &str, value: PyObjectRef| {
        loader_state.downcast_ref::<PyDict>().map_or(Ok(()), |noted| noted.set_item(key, value, vm))
    };
    note(BEFORE, marks)?;
    let Some(kept) = kept else { return Ok(()) };
    let state = State::from_bytes(kept).map_err(|error| raise(&error, vm))?;
    let marked = as_dict(&state.digests, vm)?;
    let args = vec![namespace.clone().into(), vm.ctx.new_bytes(state.values).into(), marked, names];
    note(LOADED, call(generation, "restore", args, vm).map_err(|error| unreadable(name, error, vm))?)
}

fn unreadable(name: &str, cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let what = cause.class().name().to_string();
    let message = format!(
        "the values that are kept of {name:?} cannot be read: {what}; undo the commit after which that is so, or take \
         {KEY:?} out of its metadata, which gives them up"
    );
    caused(message, cause, vm)
}

/// A `StoreError` with this cause; an interrupt stays what it is.
fn caused(message: String, cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
    if !cause.fast_isinstance(vm.ctx.exceptions.exception_type) {
        return cause;
    }
    let error = vm.new_exception_msg(class("StoreError", vm), message.into());
    // Without it, the message still says what went wrong.
    let _ = error.as_object().set_attr("__cause__", cause, vm);
    error
}

/// Values of a loaded module that are what is kept of it in another commit.
pub(crate) struct Same {
    values: PyObjectRef,
    /// The names of all that is kept there.
    kept: PyObjectRef,
}

/// Looks which values of a loaded module are what is kept of it in another commit.
pub(crate) fn same(
    generation: &Arc<Generation>,
    module: &PyObjectRef,
    kept: &[u8],
    vm: &VirtualMachine,
) -> PyResult<Option<Same>> {
    let loaded = noted(module, LOADED, vm)?.unwrap_or_else(|| vm.ctx.new_dict().into());
    let Some(module) = module.downcast_ref::<PyModule>() else { return Ok(None) };
    let state = State::from_bytes(kept).map_err(|error| raise(&error, vm))?;
    let kept = as_dict(&state.digests, vm)?;
    let values = call(generation, "same", vec![module.dict().into(), kept.clone(), loaded], vm)?;
    Ok(Some(Same { values, kept }))
}

/// Puts them into the second copy of the module, in the place of those that were made anew: they stay the objects that they
/// are, but for what shares objects with values that have changed.
pub(crate) fn stay(generation: &Arc<Generation>, same: &Same, copy: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    call(generation, "stay", vec![copy.clone().into(), same.values.clone(), same.kept.clone()], vm).map(drop)
}

/// The modules that an attachment loaded into a space, by the names that imports have for them.
fn loaded(
    generation: &Arc<Generation>,
    attachment: &Arc<Attachment>,
    vm: &VirtualMachine,
) -> PyResult<BTreeMap<String, PyObjectRef>> {
    let Ok(modules) = generation.modules(vm)?.downcast::<PyDict>() else { return Ok(BTreeMap::new()) };
    let mut found = BTreeMap::new();
    for (name, module) in modules {
        if let Some(name) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str())
            && module.downcast_ref::<PyModule>().is_some()
            && is_from(attachment, &module, vm)?
        {
            found.insert(name.to_owned(), module.clone());
        }
    }
    Ok(found)
}

/// Adds to a transaction what the modules of a space keep; returns the full names of these modules, and what they cannot keep.
///
/// # Errors
/// `ConflictError` when a module has values to be kept of which the store has a later version than the space sees;
/// `StoreError`; what an interrupt raised.
pub(crate) fn keep(
    generation: &Arc<Generation>,
    attachment: &Arc<Attachment>,
    transaction: &mut Transaction,
    vm: &VirtualMachine,
) -> PyResult<(Vec<String>, Vec<Unkept>)> {
    let failed = |error: StoreError| raise(&error, vm);
    let (mut changed, mut unkept) = (Vec::new(), Vec::new());
    for (name, module) in loaded(generation, attachment, vm)? {
        let seen = vm.allow_threads(|| attachment.sees(&name)).map_err(failed)?;
        let Some((full, seen)) = seen else { continue };
        if seen.metadata.is_none() && transaction.edited(&full).is_none() {
            continue;
        }
        let wanted = vm.allow_threads(|| transaction.keeps(&full)).map_err(failed)?;
        let Some(source) = wanted else { continue };
        let names = candidates(&full, &source);
        let Some(namespace) = module.downcast_ref::<PyModule>().map(Py::dict) else { continue };
        let Some(before) = noted(&module, BEFORE, vm)? else {
            // Loaded before its metadata asked for it: what is there now is what the source made of it.
            let marks = call(generation, "marks", vec![namespace.into(), list(&names, vm)], vm)?;
            if let Some(loader_state) = loader_state(&module, vm)? {
                loader_state.set_item(BEFORE, marks, vm)?;
            }
            continue;
        };
        let loaded = noted(&module, LOADED, vm)?.unwrap_or_else(|| vm.ctx.new_dict().into());
        let args = vec![namespace.into(), list(&names, vm), before, loaded];
        let collected = call(generation, "collect", args, vm).map_err(|cause| {
            let what = cause.class().name().to_string();
            let message = format!(
                "the values of {name:?} cannot be pickled together: {what}; if another thread changed them meanwhile, \
                 commit again"
            );
            caused(message, cause, vm)
        })?;
        let (state, lost) = parts(&name, &collected, vm)?;
        unkept.extend(lost);
        vm.allow_threads(|| {
            let known = seen.state.map(|id| transaction.read_state(id)).transpose()?;
            if known.as_ref().map(|known| &known.digests) == state.as_ref().map(|state| &state.digests) {
                return Ok(());
            }
            changed.push(full.clone());
            let bytes = state.map(|state| state.to_bytes()).transpose()?;
            transaction.keep(&full, &seen, attachment.snapshot().commit(), bytes.as_deref())
        })
        .map_err(failed)?;
    }
    Ok((changed, unkept))
}

fn parts(module: &str, collected: &PyObjectRef, vm: &VirtualMachine) -> PyResult<(Option<State>, Vec<Unkept>)> {
    let wrong = || vm.new_type_error("what is kept has another shape");
    let parts = collected.downcast_ref::<PyTuple>().ok_or_else(wrong)?;
    let [values, found, failed] = parts.as_slice() else { return Err(wrong()) };
    let digests = digests(&found.clone().downcast().map_err(|_| wrong())?, vm)?;
    let values = values.downcast_ref::<PyBytes>();
    let state = values.map(|values| State { values: values.as_bytes().to_vec(), digests });
    let failed: Vec<PyRef<PyTuple>> = failed.try_to_value(vm)?;
    let unkept = failed.iter().map(|entry| match entry.as_slice() {
        [name, reason] => {
            let text = |object: &PyObjectRef| -> PyResult<String> {
                let text: PyStrRef = object.clone().try_into_value(vm)?;
                Ok(text.to_string_lossy().into_owned())
            };
            Ok(Unkept { module: module.to_owned(), name: text(name)?, reason: text(reason)? })
        }
        _ => Err(wrong()),
    });
    Ok((state, unkept.collect::<PyResult<_>>()?))
}

/// Whether two records of a module differ in what its code or its values are: metadata is neither.
pub(crate) fn differs(old: Option<&Module>, new: Option<&Module>) -> bool {
    let parts = |module: Option<&Module>| module.map(|module| (module.source, module.state));
    parts(old) != parts(new)
}
