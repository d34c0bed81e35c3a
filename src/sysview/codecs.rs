//! Codec search functions and error handlers, per space.
//!
//! The interpreter caches what a search function returns under the encoding's name, for the whole process, and native
//! code (`str.encode`, `open`) looks there. So what it is given for a space's codec is a *dispatching* codec: four
//! functions that know only the name, and find the running space's codec each time. Error handlers are done alike.
//! The standard encodings are found first and stay the interpreter's.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;
use rustpython_vm::{
    AsObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyStrRef, PyTuple},
    function::{FuncArgs, IntoFuncArgs, PyMethodDef},
};

use crate::{
    import::{
        generation::Generation,
        owner::{self, Owner},
        project::hidden_module,
    },
    vm::native::{bind, def, function},
};

/// What a space registered.
#[derive(Default)]
pub(crate) struct Registry {
    search: Mutex<Vec<PyObjectRef>>,
    found: DashMap<String, PyObjectRef>,
    errors: DashMap<String, PyObjectRef>,
}

impl Registry {
    /// Everything registered.
    pub(crate) fn objects(&self) -> Vec<PyObjectRef> {
        let mut objects = self.search.lock().clone();
        for map in [&self.found, &self.errors] {
            objects.extend(map.iter().map(|entry| entry.value().clone()));
        }
        objects
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let search = std::mem::take(&mut *self.search.lock());
        let take = |map: &DashMap<String, PyObjectRef>| {
            let taken: Vec<PyObjectRef> = map.iter().map(|entry| entry.value().clone()).collect();
            map.clear();
            taken
        };
        let maps = (take(&self.found), take(&self.errors));
        drop((search, maps));
    }
}

static FUNCTIONS: [PyMethodDef; 7] = [
    def("register", register),
    def("unregister", unregister),
    def("lookup", lookup),
    def("register_error", register_error),
    def("lookup_error", lookup_error),
    def("_forget_codec", forget_codec),
    def("_unregister_error", unregister_error),
];

static SEARCH: PyMethodDef = def("search", search);
static STANDARD: PyMethodDef = def("standard", standard);
static ENCODE: PyMethodDef = def("encode", encode);
static DECODE: PyMethodDef = def("decode", decode);
static READER: PyMethodDef = def("streamreader", stream_reader);
static WRITER: PyMethodDef = def("streamwriter", stream_writer);
static INCREMENTAL_ENCODER: PyMethodDef = def("incrementalencoder", incremental_encoder);
static INCREMENTAL_DECODER: PyMethodDef = def("incrementaldecoder", incremental_decoder);
static HANDLE: PyMethodDef = def("handle", handle);

pub(crate) fn emulate(vm: &VirtualMachine) -> PyResult<()> {
    let native = hidden_module("_codecs", vm)?.dict();
    // `codecs` took its names from `_codecs` when the interpreter started.
    let python = hidden_module("codecs", vm)?.dict();
    for def in &FUNCTIONS {
        let original = native.get_item(def.name, vm)?;
        native.set_item(&*vm.ctx.new_str(plain(def.name)), original, vm)?;
        let function = function(def, "_codecs", vm);
        native.set_item(def.name, function.clone(), vm)?;
        if python.contains_key(def.name, vm) {
            python.set_item(def.name, function, vm)?;
        }
    }
    let registry = &vm.state.codec_registry;
    let standard = hidden_module("encodings", vm)?.dict().get_item("search_function", vm)?;
    registry.unregister(&standard);
    registry.register(bind(&STANDARD, standard, vm), vm)?;
    registry.register(SEARCH.build_function(&vm.ctx).into(), vm)?;
    warm(&native, vm)
}

/// The native charmap functions are Python code that is found at the first call and kept for good: it must not be a
/// space's.
fn warm(native: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    let strict = "strict";
    let table = vm.ctx.new_str("a");
    native.get_item("charmap_build", vm)?.call((vm.ctx.new_str("\0".repeat(256)),), vm)?;
    native.get_item("charmap_encode", vm)?.call(("", strict, vm.ctx.new_dict()), vm)?;
    native.get_item("charmap_decode", vm)?.call((vm.ctx.new_bytes(vec![]), strict, table), vm)?;
    native.get_item("readbuffer_encode", vm)?.call((vm.ctx.new_bytes(vec![]),), vm)?;
    Ok(())
}

/// The standard search function, which loads `encodings.*` modules and remembers what it found for the whole process: it
/// works for the interpreter, whoever asks.
fn standard(standard: PyObjectRef, encoding: PyStrRef, vm: &VirtualMachine) -> PyResult {
    owner::enter(Owner::Hidden, || standard.call((encoding,), vm))
}

/// Under which name the original of an emulated function is kept.
fn plain(name: &str) -> String {
    format!("_plain_{name}")
}

fn original(name: &str, args: impl IntoFuncArgs, vm: &VirtualMachine) -> PyResult {
    let native: PyDictRef = hidden_module("_codecs", vm)?.dict();
    native.get_item(&*plain(name), vm)?.call(args, vm)
}

fn space(vm: &VirtualMachine) -> Option<Arc<Generation>> {
    match owner::current(vm)? {
        Owner::Space(generation) => Some(generation),
        Owner::Hidden => None,
    }
}

/// How encodings are spelled when search functions are asked (`_PyCodec_Lookup`).
fn normalise(encoding: &str) -> String {
    encoding.to_ascii_lowercase().replace([' ', '-'], "_")
}

fn register(function: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let Some(space) = space(vm) else { return original("register", (function,), vm).map(drop) };
    if !function.is_callable() {
        return Err(vm.new_type_error("argument must be callable"));
    }
    space.state.codecs.search.lock().push(function);
    Ok(())
}

fn unregister(function: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let Some(space) = space(vm) else { return original("unregister", (function,), vm).map(drop) };
    let registry = &space.state.codecs;
    let gone: Vec<_> = {
        let mut search = registry.search.lock();
        let (gone, kept) = search.drain(..).partition(|other| other.is(&function));
        *search = kept;
        gone
    };
    let cached: Vec<PyObjectRef> = registry.found.iter().map(|entry| entry.value().clone()).collect();
    registry.found.clear();
    drop((gone, cached));
    Ok(())
}

/// The running space's codec for `encoding`, by its search functions.
fn own_codec(space: &Generation, encoding: &str, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    let registry = &space.state.codecs;
    if let Some(codec) = registry.found.get(encoding).map(|codec| codec.clone()) {
        return Ok(Some(codec));
    }
    let functions = registry.search.lock().clone();
    for function in functions {
        let codec = function.call((encoding,), vm)?;
        if vm.is_none(&codec) {
            continue;
        }
        if codec.downcast_ref::<PyTuple>().is_none_or(|tuple| tuple.len() != 4) {
            return Err(vm.new_type_error("codec search functions must return 4-tuples"));
        }
        registry.found.insert(encoding.to_owned(), codec.clone());
        return Ok(Some(codec));
    }
    Ok(None)
}

/// The one search function of the interpreter's registry that speaks for all spaces. Standard encodings were asked
/// for before it.
fn search(encoding: PyStrRef, vm: &VirtualMachine) -> PyResult {
    let (Some(space), Some(name)) = (space(vm), encoding.to_str()) else { return Ok(vm.ctx.none()) };
    let Some(codec) = own_codec(&space, name, vm)? else { return Ok(vm.ctx.none()) };
    let dispatching = [&ENCODE, &DECODE, &READER, &WRITER].map(|def| bind(def, encoding.clone(), vm));
    // `CodecInfo` is a tuple that also knows whether the codec is between text and bytes.
    let class = hidden_module("codecs", vm)?.dict().get_item("CodecInfo", vm)?;
    let [encode, decode, reader, writer] = dispatching;
    let info = class.call((encode, decode, reader, writer), vm)?;
    if let Some(text) = vm.get_attribute_opt(&codec, "_is_text_encoding")? {
        info.set_attr("_is_text_encoding", text, vm)?;
    }
    info.set_attr("name", encoding.clone(), vm)?;
    for def in [&INCREMENTAL_ENCODER, &INCREMENTAL_DECODER] {
        info.set_attr(def.name, bind(def, encoding.clone(), vm), vm)?;
    }
    Ok(info)
}

fn unknown(encoding: &str, vm: &VirtualMachine) -> PyBaseExceptionRef {
    vm.new_lookup_error(format!("unknown encoding: {encoding}"))
}

fn codec_item(encoding: &PyStrRef, index: usize, vm: &VirtualMachine) -> PyResult {
    let name = encoding.to_string_lossy();
    let space = space(vm).ok_or_else(|| unknown(&name, vm))?;
    own_codec(&space, &name, vm)?.ok_or_else(|| unknown(&name, vm))?.get_item(&index, vm)
}

fn encode(encoding: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    codec_item(&encoding, 0, vm)?.call(args, vm)
}

fn decode(encoding: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    codec_item(&encoding, 1, vm)?.call(args, vm)
}

fn stream_reader(encoding: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    codec_item(&encoding, 2, vm)?.call(args, vm)
}

fn stream_writer(encoding: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    codec_item(&encoding, 3, vm)?.call(args, vm)
}

fn incremental(encoding: &PyStrRef, kind: &'static str, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let name = encoding.to_string_lossy();
    let space = space(vm).ok_or_else(|| unknown(&name, vm))?;
    let codec = own_codec(&space, &name, vm)?.ok_or_else(|| unknown(&name, vm))?;
    match vm.get_attribute_opt(&codec, kind)?.filter(|class| !vm.is_none(class)) {
        Some(class) => class.call(args, vm),
        None => Err(vm.new_lookup_error(format!("the codec {name} has no {kind}"))),
    }
}

fn incremental_encoder(encoding: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    incremental(&encoding, "incrementalencoder", args, vm)
}

fn incremental_decoder(encoding: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    incremental(&encoding, "incrementaldecoder", args, vm)
}

/// Whether `function` is one of those above: bound to a name.
fn is_dispatching(function: &PyObjectRef, vm: &VirtualMachine) -> PyResult<bool> {
    Ok(function.class().is(vm.ctx.types.builtin_function_or_method_type)
        && vm.get_attribute_opt(function, "__self__")?.is_some_and(|this| this.class().is(vm.ctx.types.str_type)))
}

/// `codecs.lookup`: the space's own codec object where it has one and the interpreter has none of the name.
fn lookup(encoding: PyStrRef, vm: &VirtualMachine) -> PyResult {
    let info = original("lookup", (encoding.clone(),), vm)?;
    let Some(space) = space(vm) else { return Ok(info) };
    let name = normalise(&encoding.to_string_lossy());
    if !is_dispatching(&info.get_item(&0usize, vm)?, vm)? {
        return Ok(info);
    }
    own_codec(&space, &name, vm)?.ok_or_else(|| unknown(&name, vm))
}

fn register_error(name: PyStrRef, handler: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let Some(space) = space(vm) else { return original("register_error", (name, handler), vm).map(drop) };
    if !handler.is_callable() {
        return Err(vm.new_type_error("handler must be callable"));
    }
    let text = name.to_string_lossy().into_owned();
    let previous = space.state.codecs.errors.insert(text.clone(), handler);
    drop(previous);
    if vm.state.codec_registry.lookup_error_opt(&text).is_none() {
        // Not the name object given, which may be of a class of the space.
        let name = vm.ctx.new_str(text.as_str());
        let replaced = vm.state.codec_registry.register_error(text, bind(&HANDLE, name, vm));
        drop(replaced);
    }
    Ok(())
}

fn forget_codec(encoding: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
    if let Some(space) = space(vm) {
        let gone = space.state.codecs.found.remove(&normalise(&encoding.to_string_lossy()));
        drop(gone);
    }
    original("_forget_codec", (encoding,), vm).map(drop)
}

fn unregister_error(name: PyStrRef, vm: &VirtualMachine) -> PyResult {
    if let Some(space) = space(vm) {
        let gone = space.state.codecs.errors.remove(&*name.to_string_lossy());
        if gone.is_some() {
            return Ok(vm.ctx.new_bool(true).into());
        }
    }
    original("_unregister_error", (name,), vm)
}

fn lookup_error(name: PyStrRef, vm: &VirtualMachine) -> PyResult {
    let own = space(vm)
        .and_then(|space| space.state.codecs.errors.get(&*name.to_string_lossy()).map(|handler| handler.clone()));
    if let Some(handler) = own {
        return Ok(handler);
    }
    let handler = original("lookup_error", (name.clone(),), vm)?;
    if is_dispatching(&handler, vm)? { Err(unknown_handler(&name.to_string_lossy(), vm)) } else { Ok(handler) }
}

fn unknown_handler(name: &str, vm: &VirtualMachine) -> PyBaseExceptionRef {
    vm.new_lookup_error(format!("unknown error handler name '{name}'"))
}

/// The handler in the interpreter's registry that speaks for all spaces.
fn handle(name: PyStrRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let text = name.to_string_lossy();
    let handler = space(vm).and_then(|space| space.state.codecs.errors.get(&*text).map(|handler| handler.clone()));
    match handler {
        Some(handler) => handler.call(args, vm),
        None => Err(unknown_handler(&text, vm)),
    }
}
