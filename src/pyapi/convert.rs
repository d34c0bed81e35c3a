//! What stores are given and give, as Python has it.

use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyBytes, PyDictRef, PyStr, PyStrRef},
};

use crate::{
    import::project::hidden_module,
    persist::{self, Metadata, RecordId, StoreError, finder::check_compiles, raise::raise},
};

/// Runs a blocking call of a store outside the interpreter.
pub(super) fn blocking<T>(vm: &VirtualMachine, call: impl FnOnce() -> Result<T, StoreError>) -> PyResult<T> {
    vm.allow_threads(call).map_err(|error| raise(&error, vm))
}

/// A module's name.
pub(super) fn module_name(value: &PyStrRef, vm: &VirtualMachine) -> PyResult<String> {
    let name = value.to_string_lossy().into_owned();
    persist::check_name(&name).map_err(|error| raise(&error, vm))?;
    Ok(name)
}

pub(super) fn string(value: &PyStrRef, what: &str, vm: &VirtualMachine) -> PyResult<String> {
    value
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| vm.new_value_error(format!("{what} holds a surrogate that cannot be encoded")))
}

/// The id of a commit, as Python has it.
pub(super) fn commit_id(text: &PyStrRef, vm: &VirtualMachine) -> PyResult<RecordId> {
    text.to_string_lossy().parse().map_err(|error: StoreError| raise(&error, vm))
}

pub(super) fn texts<'text>(texts: impl IntoIterator<Item = &'text String>, vm: &VirtualMachine) -> Vec<PyObjectRef> {
    texts.into_iter().map(|text| vm.ctx.new_str(&**text).into()).collect()
}

pub(super) fn id_object(id: Option<RecordId>, vm: &VirtualMachine) -> PyObjectRef {
    id.map_or_else(|| vm.ctx.none(), |id| vm.ctx.new_str(id.to_string()).into())
}

/// A source as the bytes of a file; `str` is written in the encoding that it declares.
pub(super) fn source(store: &persist::Store, name: &str, source: &PyObject, vm: &VirtualMachine) -> PyResult<Vec<u8>> {
    let wrong = |reason: &str| raise(&StoreError::Source { name: name.to_owned(), reason: reason.to_owned() }, vm);
    let bytes = if let Some(text) = source.downcast_ref::<PyStr>() {
        let text = text.to_str().ok_or_else(|| wrong("it holds a surrogate, which no encoding can write"))?;
        let bytes = text.as_bytes().to_vec();
        match encoding(&bytes, vm) {
            Ok(encoding) if !text.is_ascii() && encoding != "utf-8" => {
                let encoded = vm.call_method(source, "encode", (encoding.clone(),));
                let encoded = encoded.map_err(|_| wrong(&format!("{encoding}, which it declares, cannot write it")))?;
                encoded.try_bytes_like(vm, <[u8]>::to_vec)?
            }
            _ => bytes,
        }
    } else if let Some(bytes) = source.downcast_ref::<PyBytes>() {
        bytes.as_bytes().to_vec()
    } else {
        let class = source.class().name().to_string();
        return Err(vm.new_type_error(format!("the source of {name:?} must be str or bytes, not {class}")));
    };
    persist::check_source(name, &bytes).map_err(|error| raise(&error, vm))?;
    // Python says best what is wrong with it.
    check_compiles(store, name, bytes.clone(), vm)?;
    Ok(bytes)
}

/// The encoding that the bytes of a source declare (PEP 263).
pub(super) fn encoding(bytes: &[u8], vm: &VirtualMachine) -> PyResult<String> {
    let buffer = hidden_module("io", vm)?.get_attr("BytesIO", vm)?.call((vm.ctx.new_bytes(bytes.to_vec()),), vm)?;
    let detect = hidden_module("tokenize", vm)?.get_attr("detect_encoding", vm)?;
    let found = detect.call((buffer.get_attr("readline", vm)?,), vm)?.get_item(&0, vm)?;
    let found: PyStrRef = found.downcast().map_err(|_| vm.new_type_error("no encoding"))?;
    // A mark at the beginning is a character like others here.
    Ok(found.to_string_lossy().trim_end_matches("-sig").to_owned())
}

/// A source as it was given.
pub(super) fn text(bytes: Vec<u8>, vm: &VirtualMachine) -> PyResult {
    let encoding = if bytes.is_ascii() { "utf-8".to_owned() } else { encoding(&bytes, vm)? };
    vm.call_method(vm.ctx.new_bytes(bytes).as_object(), "decode", (encoding,))
}

pub(super) fn to_json(value: &PyDictRef, vm: &VirtualMachine) -> PyResult<Metadata> {
    let text = hidden_module("json", vm)?.get_attr("dumps", vm)?.call((value.clone(),), vm)?;
    let text: PyStrRef = text.downcast().map_err(|_| vm.new_type_error("json.dumps() returned no str"))?;
    serde_json::from_str(&text.to_string_lossy()).map_err(|error| {
        let message = format!("the metadata cannot be stored, as with surrogates, NaN and infinity: {error}");
        vm.new_value_error(message)
    })
}

pub(super) fn from_json(value: &Metadata, vm: &VirtualMachine) -> PyResult {
    let text = serde_json::to_string(value).map_err(|error| vm.new_value_error(error.to_string()))?;
    hidden_module("json", vm)?.get_attr("loads", vm)?.call((text,), vm)
}

pub(super) fn in_use_object(in_use: persist::InUse, vm: &VirtualMachine) -> PyObjectRef {
    persist::raise::InUse(in_use).into_ref(&vm.ctx).into()
}
