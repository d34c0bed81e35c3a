//! What new sources see of modules, while they are executed: what these will have when the update is made.
//!
//! In `sys.modules`, the running thread has second copies of the modules that are updated. But sources come to modules and
//! names by other ways, too: an attribute of a package is a module, and a module that is not executed anew may have taken names
//! from one that is, to pass them on. Whatever they read so, they get what comes of the second copy, which is executed first
//! if it was not yet. Code of modules that are not executed anew reads what there is.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyModule, PyStr, PyStrRef},
    frame,
};

use super::{apply::below, caused};
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
    /// The modules that go, by their addresses, with their names.
    removed: HashMap<usize, (PyObjectRef, String)>,
    /// The addresses of what is in the namespaces of the updated ones. Who has passed it on has the same object.
    values: HashSet<usize>,
    /// The spaces whose modules may have taken names from there: this one, and those below it.
    homes: Vec<Arc<Generation>>,
    /// How modules came to their names, by their addresses.
    bindings: RefCell<HashMap<usize, (PyObjectRef, Rc<Bindings>)>>,
    /// Where values come from that were asked for before.
    origins: RefCell<HashMap<Asked, (Kept, Origin)>>,
    /// What modules raised that were executed because somebody read something of them, by name.
    raised: RefCell<HashMap<String, PyBaseExceptionRef>>,
}

/// The address of a module, a name, and the address of the value that it has.
type Asked = (usize, Vec<u8>, usize);

/// The module and the value, whose addresses stay theirs so.
type Kept = (PyObjectRef, PyObjectRef);

/// An updated module, and the name that it has for a value.
type Origin = Option<(PyRef<PyModule>, PyStrRef)>;

impl Ahead {
    pub(super) fn new(
        generation: &Arc<Generation>,
        (updated, removed): (&[String], &[String]),
        olds: &[PyObjectRef],
        vm: &VirtualMachine,
    ) -> PyResult<Self> {
        let named = updated.iter().map(|name| vm.ctx.new_str(&**name));
        let namespaces = olds.iter().filter_map(|old| old.downcast_ref::<PyModule>());
        let mut gone = HashMap::new();
        for name in removed {
            if let Some(module) = generation.commonly_loaded(&vm.ctx.new_str(&**name), vm)? {
                gone.insert(module.get_id(), (module, name.clone()));
            }
        }
        Ok(Self {
            generation: Arc::clone(generation),
            updated: olds.iter().zip(named).map(|(old, name)| (old.get_id(), (old.clone(), name))).collect(),
            removed: gone,
            values: namespaces.flat_map(|module| module.dict().into_iter().map(|(_, value)| value.get_id())).collect(),
            homes: std::iter::once(Arc::clone(generation)).chain(below(generation)).collect(),
            bindings: RefCell::default(),
            origins: RefCell::default(),
            raised: RefCell::default(),
        })
    }

    /// What a module raised when somebody read something of it, before its turn.
    pub(super) fn raised(&self, name: &str) -> Option<PyBaseExceptionRef> {
        self.raised.borrow().get(name).cloned()
    }

    /// The module that raised this error, or the cause of it, when somebody read something of it.
    pub(super) fn culprit(&self, error: &PyBaseExceptionRef) -> Option<String> {
        let raised = self.raised.borrow();
        let cause = error.__cause__();
        let is_it = |other: &PyBaseExceptionRef| other.is(error) || cause.as_ref().is_some_and(|cause| cause.is(other));
        raised.iter().find(|(_, other)| is_it(other)).map(|(name, _)| name.clone())
    }

    /// The second copy of a module that is updated.
    fn copy(&self, module: &PyObject, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
        let Some((_, name)) = self.updated.get(&module.get_id()) else { return Ok(None) };
        if let Some(copy) = self.generation.loaded(name, vm)? {
            return Ok(Some(copy));
        }
        let text = name.to_string_lossy().into_owned();
        let error = match self.raised(&text) {
            Some(error) => error,
            None => match level::import_module(&self.generation, &text, vm) {
                Ok(copy) => return Ok(Some(copy)),
                Err(error) => {
                    self.raised.borrow_mut().insert(text.clone(), error.clone());
                    error
                }
            },
        };
        // As an error of the reading itself, it would say that there is no such attribute.
        if !error.fast_isinstance(vm.ctx.exceptions.attribute_error) {
            return Err(error);
        }
        let message = format!("the new source of {text:?} raised an AttributeError");
        Err(caused(vm.new_import_error(message, name.clone()), error, vm))
    }

    /// What stands for the value of an attribute.
    fn stands(&self, module: &Py<PyModule>, name: &Py<PyStr>, value: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        if let Some((_, removed)) = self.removed.get(&value.get_id())
            && let Some((package, child)) = removed.rsplit_once('.')
            && child.as_bytes() == name.as_bytes()
            && own_name(module, vm)?.is_some_and(|own| own.as_bytes() == package.as_bytes())
        {
            return Err(vm.new_attribute_error(format!("module '{package}' has no attribute '{child}'")));
        }
        if let Some(copy) = self.copy(&value, vm)? {
            return Ok(copy);
        }
        if !self.values.contains(&value.get_id()) {
            return Ok(value);
        }
        let Some((module, name)) = self.origin(module, name, &value, vm)? else { return Ok(value) };
        let now = match self.copy(module.as_object(), vm)?.as_ref().and_then(|copy| copy.downcast_ref::<PyModule>()) {
            Some(copy) => copy.dict().get_item_opt(&*name, vm)?,
            None => None,
        };
        Ok(now.unwrap_or(value))
    }

    /// Which updated module the value of a name comes from, and under which name.
    fn origin(
        &self,
        module: &Py<PyModule>,
        name: &Py<PyStr>,
        value: &PyObject,
        vm: &VirtualMachine,
    ) -> PyResult<Origin> {
        let asked = (module.get_id(), name.as_bytes().to_vec(), value.get_id());
        if let Some((_, origin)) = self.origins.borrow().get(&asked) {
            return Ok(origin.clone());
        }
        let (mut next, mut seen) = (vec![(module.to_owned(), name.to_owned())], HashSet::new());
        let mut origin = None;
        while let Some((module, name)) = next.pop() {
            if self.updated.contains_key(&module.get_id()) {
                origin = Some((module, name));
                break;
            }
            if seen.insert((module.get_id(), name.as_bytes().to_vec())) {
                next.extend(self.taken(&module, &name, value, vm)?);
            }
        }
        let kept = (module.to_owned().into(), value.to_owned());
        self.origins.borrow_mut().insert(asked, (kept, origin.clone()));
        Ok(origin)
    }

    /// Where a module may have taken the value of a name from: modules, and the names there; the last one last.
    fn taken(
        &self,
        module: &Py<PyModule>,
        name: &Py<PyStr>,
        value: &PyObject,
        vm: &VirtualMachine,
    ) -> PyResult<Vec<(PyRef<PyModule>, PyStrRef)>> {
        let mut all = Vec::new();
        let Some(own) = own_name(module, vm)? else { return Ok(all) };
        for home in &self.homes {
            if !home.commonly_loaded(&own, vm)?.is_some_and(|known| known.is(module)) {
                continue;
            }
            let own = own.to_string_lossy();
            for (from, imported) in self.bindings(module, vm).of(&name.to_string_lossy()) {
                if !home.table.has_import(from, &own, imported) {
                    continue;
                }
                let Some(from) = home.commonly_loaded(&vm.ctx.new_str(from), vm)? else { continue };
                let Ok(from) = from.downcast::<PyModule>() else { continue };
                if from.dict().get_item_opt(imported, vm)?.is_some_and(|other| other.is(value)) {
                    all.push((from, vm.ctx.new_str(imported)));
                }
            }
            break;
        }
        Ok(all)
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

    /// A module in a package: one that the running thread has for itself, or one that a second copy of the package has to get.
    fn submodule(
        &self,
        package: &Py<PyModule>,
        name: &Py<PyStr>,
        vm: &VirtualMachine,
    ) -> PyResult<Option<PyObjectRef>> {
        let Some(above) = own_name(package, vm)?.filter(|_| package.dict().contains_key("__path__", vm)) else {
            return Ok(None);
        };
        let full = format!("{}.{}", above.to_string_lossy(), name.to_string_lossy());
        let is = |known: Option<PyObjectRef>| known.is_some_and(|known| known.is(package));
        let is_own = self.generation.asides.copies(&full) == Some(true);
        let has_it =
            is(self.generation.loaded(&above, vm)?) || is_own && is(self.generation.commonly_loaded(&above, vm)?);
        if !has_it {
            return Ok(None);
        }
        self.generation.loaded(&vm.ctx.new_str(full), vm)
    }

    /// Whether the running code is of a module that is executed for this update. All other code works with what it has.
    fn is_new(&self, vm: &VirtualMachine) -> PyResult<bool> {
        let Some(globals) = frame::current_globals() else { return Ok(false) };
        let Some(name) = globals.get_item_opt("__name__", vm)? else { return Ok(false) };
        let Some(name) = name.downcast_ref::<PyStr>() else { return Ok(false) };
        if name.to_str().and_then(|name| self.generation.asides.copies(name)) != Some(true) {
            return Ok(false);
        }
        let module = self.generation.loaded(name, vm)?;
        Ok(module
            .and_then(|module| module.downcast::<PyModule>().ok())
            .is_some_and(|module| module.dict().is(&globals)))
    }
}

/// The name that a module has for itself.
fn own_name(module: &Py<PyModule>, vm: &VirtualMachine) -> PyResult<Option<PyStrRef>> {
    let name = module.dict().get_item_opt("__name__", vm)?;
    Ok(name.and_then(|name| name.downcast::<PyStr>().ok()))
}

impl Reader for Ahead {
    fn read(&self, module: &Py<PyModule>, name: &Py<PyStr>, found: PyResult, vm: &VirtualMachine) -> PyResult {
        if OF_EVERY_MODULE.contains(&name.as_bytes()) {
            return found;
        }
        match found {
            Ok(value) => {
                let key = value.get_id();
                let may_differ =
                    self.values.contains(&key) || self.updated.contains_key(&key) || self.removed.contains_key(&key);
                if may_differ && self.is_new(vm)? { self.stands(module, name, value, vm) } else { Ok(value) }
            }
            Err(error) if error.fast_isinstance(vm.ctx.exceptions.attribute_error) => {
                let found = if self.is_new(vm)? { self.submodule(module, name, vm)? } else { None };
                found.ok_or(error)
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
