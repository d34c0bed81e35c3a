//! What new sources see of modules, while they are executed: what these will have when the update is made.
//!
//! In `sys.modules`, the running thread has second copies of the modules that are updated. But sources come to modules and
//! names by other ways, too: an attribute of a package is a module, and a module that is not executed anew may have taken names
//! from one that is, to pass them on. Whatever they read so, they get what comes of the second copy, which is executed first
//! if it was not yet.

use std::{
    cell::{OnceCell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyModule, PyStr, PyStrRef},
};

use super::caused;
use crate::{
    import::{
        generation::Generation,
        level,
        owner::{self, Owner},
    },
    persist::imports::{self, Bindings},
    vm::reads::Reader,
};

/// What modules have that is not of their source.
const OF_EVERY_MODULE: [&[u8]; 11] = [
    b"__builtins__",
    b"__class__",
    b"__dict__",
    b"__doc__",
    b"__file__",
    b"__getattr__",
    b"__loader__",
    b"__name__",
    b"__package__",
    b"__path__",
    b"__spec__",
];

pub(super) struct Ahead {
    generation: Arc<Generation>,
    /// The modules that are executed anew, by their addresses, with their names.
    updated: HashMap<usize, (PyObjectRef, PyStrRef)>,
    /// The addresses of what is in their namespaces. Who has passed it on has the same object.
    values: HashSet<usize>,
    /// The names of the modules that have imported something of them, and of those that imported from these, and so on.
    importers: OnceCell<HashSet<String>>,
    /// How modules came to their names, by their addresses.
    bindings: RefCell<HashMap<usize, (PyObjectRef, Rc<Bindings>)>>,
}

impl Ahead {
    pub(super) fn new(
        generation: &Arc<Generation>,
        names: &[String],
        olds: &[PyObjectRef],
        vm: &VirtualMachine,
    ) -> Self {
        let named = names.iter().map(|name| vm.ctx.new_str(&**name));
        let namespaces = olds.iter().filter_map(|old| old.downcast_ref::<PyModule>());
        Self {
            generation: Arc::clone(generation),
            updated: olds.iter().zip(named).map(|(old, name)| (old.get_id(), (old.clone(), name))).collect(),
            values: namespaces.flat_map(|module| module.dict().into_iter().map(|(_, value)| value.get_id())).collect(),
            importers: OnceCell::new(),
            bindings: RefCell::default(),
        }
    }

    /// The second copy of a module that is updated.
    fn copy(&self, module: &PyObject, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        let Some((_, name)) = self.updated.get(&module.get_id()) else { return Ok(None) };
        if let Some(copy) = self.generation.loaded(name, vm)? {
            return Ok(Some(copy));
        }
        level::import_module(&self.generation, &name.to_string_lossy(), vm).map(Some).map_err(|error| {
            // As an error of the reading itself, it would say that there is no such attribute.
            if !error.fast_isinstance(vm.ctx.exceptions.attribute_error) {
                return error;
            }
            let message = format!("the new source of {:?} raised an AttributeError", name.to_string_lossy());
            caused(vm.new_import_error(message, name.clone()), error, vm)
        })
    }

    /// What stands for the value of an attribute.
    fn stands(&self, module: &Py<PyModule>, name: &Py<PyStr>, value: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        if let Some(copy) = self.copy(&value, vm)? {
            return Ok(copy);
        }
        if !self.values.contains(&value.get_id()) {
            return Ok(value);
        }
        let (mut next, mut seen) = (vec![(module.to_owned(), name.to_owned())], HashSet::new());
        while let Some((module, name)) = next.pop() {
            if !seen.insert((module.get_id(), name.as_bytes().to_vec())) {
                continue;
            }
            if let Some(copy) = self.copy(module.as_object(), vm)? {
                let now = match copy.downcast_ref::<PyModule>() {
                    Some(copy) => copy.dict().get_item_opt(&*name, vm)?,
                    None => None,
                };
                return Ok(now.unwrap_or(value));
            }
            next.extend(self.taken(&module, &name, &value, vm)?);
        }
        Ok(value)
    }

    /// Where a module may have taken the value of a name from: modules, and the names there; the last one last.
    fn taken(
        &self,
        module: &Py<PyModule>,
        name: &Py<PyStr>,
        value: &PyObject,
        vm: &VirtualMachine,
    ) -> PyResult<Vec<(PyRef<PyModule>, PyStrRef)>> {
        let Some(own_name) = module.dict().get_item_opt("__name__", vm)? else { return Ok(Vec::new()) };
        let Some(own_name) = own_name.downcast_ref::<PyStr>() else { return Ok(Vec::new()) };
        if !self.importers().contains(&*own_name.to_string_lossy()) {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for (from, imported) in self.bindings(module, vm).of(&name.to_string_lossy()) {
            let Some(from) = self.generation.commonly_loaded(&vm.ctx.new_str(from), vm)? else { continue };
            let Ok(from) = from.downcast::<PyModule>() else { continue };
            if from.dict().get_item_opt(imported, vm)?.is_some_and(|other| other.is(value)) {
                all.push((from, vm.ctx.new_str(imported)));
            }
        }
        Ok(all)
    }

    fn importers(&self) -> &HashSet<String> {
        self.importers.get_or_init(|| {
            let mut by_module: HashMap<String, Vec<String>> = HashMap::new();
            self.generation.table.each_import(|module, importer| {
                by_module.entry(module.to_owned()).or_default().push(importer.module.clone());
            });
            let mut next: Vec<String> =
                self.updated.values().map(|(_, name)| name.to_string_lossy().into_owned()).collect();
            let mut found = HashSet::new();
            while let Some(name) = next.pop() {
                for importer in by_module.remove(&name).into_iter().flatten() {
                    if found.insert(importer.clone()) {
                        next.push(importer);
                    }
                }
            }
            found
        })
    }

    fn bindings(&self, module: &Py<PyModule>, vm: &VirtualMachine) -> Rc<Bindings> {
        let key = module.get_id();
        if let Some((_, known)) = self.bindings.borrow().get(&key) {
            return Rc::clone(known);
        }
        // Who asks while it is looked for gets none, as where there is no source.
        self.bindings.borrow_mut().insert(key, (module.to_owned().into(), Rc::default()));
        let bindings = Rc::new(bindings(module, vm).unwrap_or_default());
        self.bindings.borrow_mut().insert(key, (module.to_owned().into(), Rc::clone(&bindings)));
        bindings
    }

    /// A module in a package, which the running thread has for itself.
    fn submodule(
        &self,
        package: &Py<PyModule>,
        name: &Py<PyStr>,
        vm: &VirtualMachine,
    ) -> PyResult<Option<PyObjectRef>> {
        let dict = package.dict();
        let Some(above) = dict.get_item_opt("__name__", vm)?.filter(|_| dict.contains_key("__path__", vm)) else {
            return Ok(None);
        };
        let Some(above) = above.downcast_ref::<PyStr>() else { return Ok(None) };
        let full = format!("{}.{}", above.to_string_lossy(), name.to_string_lossy());
        match self.generation.asides.copies(&full) {
            Some(true) => self.generation.loaded(&vm.ctx.new_str(full), vm),
            _ => Ok(None),
        }
    }
}

impl Reader for Ahead {
    fn read(&self, module: &Py<PyModule>, name: &Py<PyStr>, found: PyResult, vm: &VirtualMachine) -> PyResult {
        if OF_EVERY_MODULE.contains(&name.as_bytes()) {
            return found;
        }
        match found {
            Ok(value) => self.stands(module, name, value, vm),
            Err(error) if error.fast_isinstance(vm.ctx.exceptions.attribute_error) => {
                self.submodule(module, name, vm)?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// How a module came to its names; `None` when its source cannot be read.
pub(super) fn bindings(module: &Py<PyModule>, vm: &VirtualMachine) -> Option<Bindings> {
    let read = || -> PyResult<Option<Bindings>> {
        let Some(spec) = module.dict().get_item_opt("__spec__", vm)? else { return Ok(None) };
        let name = spec.get_attr("name", vm)?;
        let (places, loader) = (spec.get_attr("submodule_search_locations", vm)?, spec.get_attr("loader", vm)?);
        let source = vm.call_method(&loader, "get_source", (name.clone(),))?;
        let (Some(name), Some(source)) = (name.downcast_ref::<PyStr>(), source.downcast_ref::<PyStr>()) else {
            return Ok(None);
        };
        let name = name.to_string_lossy();
        let name = if !vm.is_none(&places) { format!("{name}.__init__") } else { name.into_owned() };
        Ok(source.to_str().and_then(|source| imports::bindings(&name, source)))
    };
    // A loader may raise what it likes.
    owner::enter(Owner::Hidden, read).ok().flatten()
}
