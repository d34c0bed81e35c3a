//! What the finders of a copy of importlib answer that are on `sys.meta_path` at first, and what their specs say.
//!
//! Each function here is the one of the same name in CPython's `Lib/importlib/_bootstrap.py` or
//! `_bootstrap_external.py`, for what nearly all imports are: files below directories that were looked into before. For
//! anything else, and when a program has changed one of the functions, the finder is asked.

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyFloat, PyList, PyModule, PySet, PyStr, PyStrInterned, PyTuple, PyType},
    function::KwArgs,
};

use super::{source::Settings, untouched::Untouched};

/// What the functions here stand for, and what these call.
const OF_BOOTSTRAP: [&str; 8] = [
    "BuiltinImporter",
    "FrozenImporter",
    "ModuleSpec",
    "_bootstrap_external",
    "_call_with_frames_removed",
    "_imp",
    "_verbose_message",
    "spec_from_loader",
];
const OF_EXTERNAL: [&str; 24] = [
    "BYTECODE_SUFFIXES",
    "FileFinder",
    "PathFinder",
    "SOURCE_SUFFIXES",
    "SourceFileLoader",
    "_NamespacePath",
    "_PYCACHE",
    "_bootstrap",
    "_get_cached",
    "_os",
    "_path_abspath",
    "_path_isabs",
    "_path_isdir",
    "_path_isfile",
    "_path_is_mode_type",
    "_path_join",
    "_path_split",
    "_path_stat",
    "_relax_case",
    "cache_from_source",
    "path_separators",
    "path_sep",
    "spec_from_file_location",
    "sys",
];
const OF_OS: [&str; 2] = ["fspath", "stat"];

/// Where names of files are looked up as they are written.
const IS_CASE_SENSITIVE: bool = cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "cygwin")));

/// How many attributes a `FileFinder` is made with.
const ATTRIBUTES_OF_FILE_FINDER: usize = 5;

/// A space's finders, as they were made.
pub(crate) struct Finders {
    untouched: Untouched,
    builtin: PyObjectRef,
    frozen: PyObjectRef,
    path: PyObjectRef,
    file: PyRef<PyType>,
    spec: PyRef<PyType>,
    source_loader: PyRef<PyType>,
    namespace_path: PyObjectRef,
    imp: PyObjectRef,
    sys: PyObjectRef,
    names: Names,
}

/// Names of attributes.
struct Names {
    cached: &'static PyStrInterned,
    loader: &'static PyStrInterned,
    loader_state: &'static PyStrInterned,
    name: &'static PyStrInterned,
    origin: &'static PyStrInterned,
    path: &'static PyStrInterned,
    search_locations: &'static PyStrInterned,
    set_fileattr: &'static PyStrInterned,
    uninitialised: &'static PyStrInterned,
}

impl Finders {
    /// Notes the finders of a copy, whose two halves these dicts are.
    pub(crate) fn note(bootstrap: &PyDictRef, external: &PyDictRef, vm: &VirtualMachine) -> PyResult<Self> {
        let of_os = match external.get_item("_os", vm)?.downcast::<PyModule>() {
            Ok(os) => Untouched::note(&os.dict(), &OF_OS, vm)?,
            Err(_) => return Err(vm.new_type_error("importlib's _os is no module")),
        };
        let class = |dict: &PyDictRef, name: &'static str| {
            dict.get_item(name, vm)?
                .downcast::<PyType>()
                .map_err(|_| vm.new_type_error(format!("importlib's {name} is not a class")))
        };
        let name = |name: &'static str| vm.ctx.intern_str(name);
        Ok(Self {
            untouched: Untouched::note(bootstrap, &OF_BOOTSTRAP, vm)?
                .and(Untouched::note(external, &OF_EXTERNAL, vm)?)
                .and(of_os),
            builtin: bootstrap.get_item("BuiltinImporter", vm)?,
            frozen: bootstrap.get_item("FrozenImporter", vm)?,
            path: external.get_item("PathFinder", vm)?,
            file: class(external, "FileFinder")?,
            spec: class(bootstrap, "ModuleSpec")?,
            source_loader: class(external, "SourceFileLoader")?,
            namespace_path: external.get_item("_NamespacePath", vm)?,
            imp: bootstrap.get_item("_imp", vm)?,
            sys: external.get_item("sys", vm)?,
            names: Names {
                cached: name("_cached"),
                loader: name("loader"),
                loader_state: name("loader_state"),
                name: name("name"),
                origin: name("origin"),
                path: name("path"),
                search_locations: name("submodule_search_locations"),
                set_fileattr: name("_set_fileattr"),
                uninitialised: name("_uninitialized_submodules"),
            },
        })
    }

    /// Whether the finders, the specs they make and what they call are what they were.
    pub(crate) fn are_untouched(&self, vm: &VirtualMachine) -> bool {
        vm.state.config.settings.verbose == 0 && self.untouched.holds(vm)
    }

    /// Whether a finder is one of these.
    pub(crate) fn has(&self, finder: &PyObject) -> bool {
        [&self.builtin, &self.frozen, &self.path].iter().any(|own| finder.is(own.as_object()))
    }

    /// What a finder that is one of these says to `find_spec(name, path, target)`; `None` when it has to be asked itself.
    pub(crate) fn find_spec(
        &self,
        finder: &PyObject,
        name: &Py<PyStr>,
        path: &PyObject,
        target: &PyObject,
        vm: &VirtualMachine,
    ) -> PyResult<Option<PyObjectRef>> {
        if finder.is(&self.builtin) {
            let is_builtin = self.imp.get_attr("is_builtin", vm)?.call((name.to_owned(),), vm)?;
            Ok((!is_builtin.try_to_bool(vm)?).then(|| vm.ctx.none()))
        } else if finder.is(&self.frozen) {
            self.find_frozen(name, vm)
        } else {
            self.find_on_path(name, path, target, vm)
        }
    }

    /// `FrozenImporter.find_spec`.
    fn find_frozen(&self, name: &Py<PyStr>, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        let info = self.imp.get_attr("find_frozen", vm)?.call((name.to_owned(),), vm)?;
        if vm.is_none(&info) {
            return Ok(Some(info));
        }
        let Some([_, is_package, original]) = info.downcast_ref::<PyTuple>().map(|info| info.as_slice()) else {
            return Ok(None);
        };
        let is_package = is_package.clone().try_to_bool(vm)?;
        let library = vm.get_attribute_opt(&self.sys, "_stdlib_dir")?;
        let separator = vm.get_attribute_opt(&self.frozen, "_SEP")?;
        let text = |value: &PyObject| value.downcast_ref::<PyStr>().and_then(|text| text.to_str()).map(str::to_owned);
        let (Some(library), Some(separator), Some(source), Some(alias)) =
            (library.and_then(|path| text(&path)), separator.and_then(|sep| text(&sep)), text(original), name.to_str())
        else {
            return Ok(None);
        };
        // An alias is what CPython's tests have: `__phello_alias__`, say.
        if source != alias || library.is_empty() {
            return Ok(None);
        }
        let path = format!("{library}{separator}{}", source.replace('.', &separator));
        let file = if is_package { format!("{path}{separator}__init__.py") } else { format!("{path}.py") };
        let locations =
            if is_package { vm.ctx.new_list(vec![vm.ctx.new_str(path).into()]).into() } else { vm.ctx.none() };
        let origin = self.frozen.get_attr("_ORIGIN", vm)?;
        let spec = self.make_spec(name, self.frozen.clone(), origin, locations, vm)?;
        let state = [("filename", vm.ctx.new_str(file).into()), ("origname", original.clone())];
        let state = self
            .sys
            .get_attr("implementation", vm)?
            .class()
            .as_object()
            .call(KwArgs::from_iter(state.map(|(name, value)| (name.to_owned(), value))), vm)?;
        if let Some(own) = spec.dict() {
            own.set_item(self.names.loader_state, state, vm)?;
        }
        Ok(Some(spec))
    }

    /// `PathFinder.find_spec`.
    fn find_on_path(
        &self,
        name: &Py<PyStr>,
        path: &PyObject,
        target: &PyObject,
        vm: &VirtualMachine,
    ) -> PyResult<Option<PyObjectRef>> {
        let of_sys = |name: &'static str| self.sys.get_attr(name, vm);
        let entries = if vm.is_none(path) { of_sys("path")? } else { path.to_owned() };
        let Some(entries) = entries.downcast_ref_if_exact::<PyList>(vm) else { return Ok(None) };
        let portions = vm.ctx.new_list(Vec::new());
        // As a loop in Python: a finder may change the list.
        let mut index = 0;
        while let Some(entry) = { entries.borrow_vec().get(index).cloned() } {
            index += 1;
            let Some(text) = entry.downcast_ref::<PyStr>() else { continue };
            let finders = of_sys("path_importer_cache")?;
            let known = match finders.downcast_ref_if_exact::<PyDict>(vm).filter(|_| !text.is_empty()) {
                Some(finders) => finders.get_item_opt(text, vm)?,
                None => None,
            };
            let finder = match known {
                Some(finder) => finder,
                None => self.path.get_attr("_path_importer_cache", vm)?.call((entry,), vm)?,
            };
            if vm.is_none(&finder) {
                continue;
            }
            let spec = match self.find_in_directory(&finder, name, vm)? {
                Some(spec) => spec,
                None => vm.call_method(&finder, "find_spec", (name.to_owned(), target.to_owned()))?,
            };
            if vm.is_none(&spec) {
                continue;
            }
            let loader = spec.get_attr(self.names.loader, vm)?;
            if !vm.is_none(&loader) {
                return Ok(Some(spec));
            }
            let found = spec.get_attr(self.names.search_locations, vm)?;
            if vm.is_none(&found) {
                return Err(vm.new_import_error("spec missing loader", name.to_owned()));
            }
            vm.call_method(portions.as_object(), "extend", (found,))?;
        }
        if portions.borrow_vec().is_empty() {
            return Ok(Some(vm.ctx.none()));
        }
        let again = self.path.get_attr("_get_spec", vm)?;
        let locations = self.namespace_path.call((name.to_owned(), portions, again), vm)?;
        self.make_spec(name, vm.ctx.none(), vm.ctx.none(), locations, vm).map(Some)
    }

    /// `FileFinder.find_spec`, for a directory that is as it was when the finder looked into it last. `None` when the finder has
    /// to be asked.
    fn find_in_directory(
        &self,
        finder: &PyObject,
        name: &Py<PyStr>,
        vm: &VirtualMachine,
    ) -> PyResult<Option<PyObjectRef>> {
        let Some(own) = finder.dict().filter(|own| {
            // What a program set on this finder alone goes before the class's.
            IS_CASE_SENSITIVE && finder.class().is(&self.file) && own.__len__() == ATTRIBUTES_OF_FILE_FINDER
        }) else {
            return Ok(None);
        };
        let of_finder = |name: &'static str| own.get_item_opt(name, vm);
        let directory = own.get_item_opt(self.names.path, vm)?;
        let directory = directory.as_ref().and_then(|path| path.downcast_ref::<PyStr>()?.to_str());
        let (Some(directory), Some(full_name)) = (directory.filter(|path| path.starts_with('/')), name.to_str()) else {
            return Ok(None);
        };
        // In this order: another thread may look into the directory meanwhile, and sets the time last.
        let modified = vm.allow_threads(|| modified(directory));
        let read = of_finder("_path_mtime")?.and_then(|read| Some(read.downcast_ref::<PyFloat>()?.to_f64()));
        if read.is_none() || modified != read {
            return Ok(None);
        }
        let (Some(entries), Some(loaders)) = (of_finder("_path_cache")?, of_finder("_loaders")?) else {
            return Ok(None);
        };
        let (Some(entries), Some(loaders)) =
            (entries.downcast_ref_if_exact::<PySet>(vm), loaders.downcast_ref_if_exact::<PyList>(vm))
        else {
            return Ok(None);
        };
        let suffixes: Option<Vec<(PyObjectRef, PyObjectRef)>> = loaders
            .borrow_vec()
            .iter()
            .map(|pair| match pair.downcast_ref::<PyTuple>()?.as_slice() {
                [suffix, loader] => Some((suffix.clone(), loader.clone())),
                _ => None,
            })
            .collect();
        let Some(suffixes) = suffixes else { return Ok(None) };
        let tail = full_name.rsplit_once('.').map_or(full_name, |(_, tail)| tail);
        let file = |base: &str, suffix: &PyObject| Some(format!("{base}{}", suffix.downcast_ref::<PyStr>()?.to_str()?));
        let has = |entry: &str| entries.contains(vm.ctx.new_str(entry).as_object(), vm);
        let directory = directory.trim_end_matches('/');
        let base = format!("{directory}/{tail}");
        let is_entry = has(tail)?;
        if is_entry {
            for (suffix, loader) in &suffixes {
                let Some(init) = file(&format!("{base}/__init__"), suffix) else { return Ok(None) };
                if vm.allow_threads(|| std::fs::metadata(&init).is_ok_and(|init| init.is_file())) {
                    let locations = vm.ctx.new_list(vec![vm.ctx.new_str(base).into()]);
                    return self.spec_of_file(name, &init, loader, locations.into(), vm).map(Some);
                }
            }
        }
        for (suffix, loader) in &suffixes {
            let Some(source) = file(tail, suffix) else { return Ok(None) };
            if has(&source)? {
                let source = format!("{directory}/{source}");
                if vm.allow_threads(|| std::fs::metadata(&source).is_ok_and(|source| source.is_file())) {
                    return self.spec_of_file(name, &source, loader, vm.ctx.none(), vm).map(Some);
                }
            }
        }
        if is_entry && vm.allow_threads(|| std::fs::metadata(&base).is_ok_and(|base| base.is_dir())) {
            let locations = vm.ctx.new_list(vec![vm.ctx.new_str(base).into()]);
            return self.make_spec(name, vm.ctx.none(), vm.ctx.none(), locations.into(), vm).map(Some);
        }
        Ok(Some(vm.ctx.none()))
    }

    /// `FileFinder._get_spec` and `spec_from_file_location`, of an absolute path.
    fn spec_of_file(
        &self,
        name: &Py<PyStr>,
        file: &str,
        loader: &PyObject,
        locations: PyObjectRef,
        vm: &VirtualMachine,
    ) -> PyResult {
        let file = vm.ctx.new_str(file);
        let loader = if loader.is(&self.source_loader) {
            let own = vm.ctx.new_dict();
            own.set_item(self.names.name, name.to_owned().into(), vm)?;
            own.set_item(self.names.path, file.clone().into(), vm)?;
            vm.ctx.new_base_object(self.source_loader.clone(), Some(own))
        } else {
            loader.call((name.to_owned(), file.clone()), vm)?
        };
        let spec = self.make_spec(name, loader, file.into(), locations, vm)?;
        if let Some(own) = spec.dict() {
            own.set_item(self.names.set_fileattr, vm.ctx.new_bool(true).into(), vm)?;
        }
        Ok(spec)
    }

    /// `ModuleSpec()`.
    fn make_spec(
        &self,
        name: &Py<PyStr>,
        loader: PyObjectRef,
        origin: PyObjectRef,
        locations: PyObjectRef,
        vm: &VirtualMachine,
    ) -> PyResult {
        let own = vm.ctx.new_dict();
        own.set_item(self.names.name, name.to_owned().into(), vm)?;
        own.set_item(self.names.loader, loader, vm)?;
        own.set_item(self.names.origin, origin, vm)?;
        own.set_item(self.names.loader_state, vm.ctx.none(), vm)?;
        own.set_item(self.names.search_locations, locations, vm)?;
        own.set_item(self.names.uninitialised, vm.ctx.new_list(Vec::new()).into(), vm)?;
        own.set_item(self.names.set_fileattr, vm.ctx.new_bool(false).into(), vm)?;
        own.set_item(self.names.cached, vm.ctx.none(), vm)?;
        Ok(vm.ctx.new_base_object(self.spec.clone(), Some(own)))
    }
}

/// What a spec says of its module.
pub(crate) struct Told {
    pub(crate) parent: PyObjectRef,
    pub(crate) has_location: bool,
    pub(crate) cached: PyObjectRef,
}

impl Finders {
    /// `spec.has_location`; `None` when it has to be asked.
    pub(crate) fn has_location(&self, spec: &PyObject, vm: &VirtualMachine) -> Option<PyObjectRef> {
        let own = spec.dict().filter(|_| spec.class().is(&self.spec))?;
        own.get_item_opt(self.names.set_fileattr, vm).ok()?
    }

    /// `spec.parent`, `has_location` and `cached`; `None` when it has to be asked.
    pub(crate) fn told_by(
        &self,
        spec: &PyObject,
        settings: impl FnOnce() -> Option<Settings>,
        vm: &VirtualMachine,
    ) -> PyResult<Option<Told>> {
        let Some(own) = spec.dict().filter(|_| spec.class().is(&self.spec)) else { return Ok(None) };
        let of_spec = |name: &'static PyStrInterned| own.get_item_opt(name, vm);
        let (Some(name), Some(origin), Some(locations), Some(has_location), Some(cached)) = (
            of_spec(self.names.name)?,
            of_spec(self.names.origin)?,
            of_spec(self.names.search_locations)?,
            of_spec(self.names.set_fileattr)?,
            of_spec(self.names.cached)?,
        ) else {
            return Ok(None);
        };
        let Some(text) = name.downcast_ref_if_exact::<PyStr>(vm).and_then(|name| name.to_str()) else {
            return Ok(None);
        };
        let parent = match text.rsplit_once('.') {
            _ if !vm.is_none(&locations) => name,
            Some((package, _)) => vm.ctx.new_str(package).into(),
            None => vm.ctx.new_str("").into(),
        };
        let has_location = has_location.try_to_bool(vm)?;
        let cached = if has_location && vm.is_none(&cached) && !vm.is_none(&origin) {
            let source = origin.downcast_ref_if_exact::<PyStr>(vm).and_then(|origin| origin.to_str());
            match source.and_then(|source| settings()?.bytecode_of(source)) {
                Some(bytecode) => {
                    let bytecode: PyObjectRef = vm.ctx.new_str(bytecode).into();
                    own.set_item(self.names.cached, bytecode.clone(), vm)?;
                    bytecode
                }
                None => return Ok(None),
            }
        } else {
            cached
        };
        Ok(Some(Told { parent, has_location, cached }))
    }
}

/// `os.stat(path).st_mtime`, as RustPython has it.
#[cfg(unix)]
fn modified(path: &str) -> Option<f64> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "that is what Python's number is")]
    Some(found.mtime() as f64 + found.mtime_nsec() as f64 / 1e9)
}

#[cfg(not(unix))]
fn modified(_path: &str) -> Option<f64> {
    None
}
