//! Whose an object is: does it belong to the spaces that end, or to somebody else?

use std::sync::{Arc, OnceLock};

use rustc_hash::{FxHashMap, FxHashSet};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyFunction, PyModule, PyStr, PyType},
    identifier,
    object::Traverse,
};

use crate::{
    import::{
        generation::{Generation, Mark, SpaceId},
        project,
    },
    vm::{edges, heap::address, hidden},
};

/// How many handles an ended generation has while it is counted: its key's, the scope's and that of who ended it.
const HANDLES: usize = 3;

/// Whose an object is, as far as the object itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// To the spaces.
    Core,
    /// To nobody in particular: found out by counting.
    Unknown,
    /// Surely not to the spaces, or it owns no references.
    Outside,
}

/// The spaces that are counted.
pub(crate) struct Scope {
    generations: Vec<Arc<Generation>>,
    /// Their keys, and their builtins dicts, by address, with their places among the generations.
    keys: FxHashMap<usize, usize>,
    builtins: FxHashMap<usize, usize>,
    /// Their `sys` dicts.
    sys_dicts: FxHashSet<usize>,
    /// Classes that are known to be theirs, whatever is left to show it; and the same by address.
    classes: Vec<Mark>,
    marked: FxHashMap<usize, SpaceId>,
    /// The namespaces of single modules, when it is they that are counted.
    namespaces: Vec<PyDictRef>,
    /// Their own modules by address, and by name.
    modules: FxHashSet<usize>,
    names: FxHashSet<String>,
    /// Their projections of native and platform modules, and the dicts of these.
    projections: FxHashSet<usize>,
    /// What belongs to the generation that superseded one of them.
    shared: FxHashSet<usize>,
    native_classes: OnceLock<FxHashSet<usize>>,
    /// The interpreter's own `builtins` and `sys`, and their dicts.
    interpreter: [usize; 4],
}

/// `function.__builtins__`.
fn builtins_of(function: &Py<PyFunction>, vm: &VirtualMachine) -> Option<PyObjectRef> {
    let member = vm.ctx.types.function_type.get_attr(identifier!(vm, __builtins__))?;
    let class = vm.ctx.types.function_type.as_object();
    vm.call_get_descriptor_specific(&member, Some(function.as_object()), Some(class))?.ok()
}

impl Scope {
    /// `classes` are known to be theirs.
    pub(crate) fn new(generations: Vec<Arc<Generation>>, classes: &[Mark], vm: &VirtualMachine) -> Self {
        let places = |of: fn(&Generation) -> &PyObject| -> FxHashMap<usize, usize> {
            generations.iter().enumerate().map(|(place, generation)| (address(of(generation)), place)).collect()
        };
        let mut scope = Self {
            namespaces: Vec::new(),
            marked: FxHashMap::default(),
            classes: classes.to_vec(),
            keys: places(|generation| generation.key.as_object()),
            builtins: places(|generation| generation.builtins_dict.as_object()),
            sys_dicts: generations.iter().map(|generation| address(generation.sys_dict.as_object())).collect(),
            generations,
            modules: FxHashSet::default(),
            names: FxHashSet::default(),
            projections: FxHashSet::default(),
            shared: FxHashSet::default(),
            native_classes: OnceLock::new(),
            interpreter: [
                address(vm.builtins.as_object()),
                address(vm.builtins.dict().as_object()),
                address(vm.sys_module.as_object()),
                address(vm.sys_module.dict().as_object()),
            ],
        };
        for generation in &scope.generations {
            let space = generation.id();
            scope.classes.extend(generation.classes().into_iter().map(|class| Mark { space, class }));
        }
        for mark in &scope.classes {
            if let Some(class) = mark.class.upgrade() {
                scope.marked.insert(address(&class), mark.space);
            }
        }
        for generation in &scope.generations {
            // What the next generation has taken over is not theirs any more.
            let mut shared = FxHashSet::default();
            if let Some(next) = generation.node.current() {
                shared.insert(address(next.sys.as_object()));
                shared.insert(address(next.sys_dict.as_object()));
                if let Some(main) = next.main.get() {
                    shared.insert(address(main.as_object()));
                    shared.insert(address(main.dict().as_object()));
                }
            }
            scope.shared.extend(&shared);
            scope.modules.insert(address(generation.sys.as_object()));
            scope.modules.insert(address(generation.builtins.as_object()));
            let Ok(modules) = generation.modules(vm) else { continue };
            let Some(modules) = modules.downcast_ref::<PyDict>() else { continue };
            for (name, module) in modules {
                let Some(name) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str()) else { continue };
                if generation.is_stand_in(name, &module) {
                    continue;
                }
                if let Some(module) = module.downcast_ref::<PyModule>()
                    && (generation.has_loaded(name) || project::is_projected(generation, name, vm))
                {
                    if matches!(name, "sys" | "builtins") {
                        continue;
                    }
                    // Native code remembers some projections that it imported; they are found by counting.
                    if project::is_projected(generation, name, vm) {
                        scope.projections.insert(address(module.as_object()));
                        scope.projections.insert(address(module.dict().as_object()));
                        continue;
                    }
                    scope.modules.insert(address(module.as_object()));
                    scope.names.insert(name.to_owned());
                }
            }
        }
        scope
    }

    /// Single modules of a space that goes on.
    pub(crate) fn of_modules(
        modules: impl Iterator<Item = PyObjectRef>,
        names: Vec<String>,
        vm: &VirtualMachine,
    ) -> Self {
        let mut scope = Self::new(Vec::new(), &[], vm);
        scope.names = names.into_iter().collect();
        for module in modules {
            scope.modules.insert(address(&module));
            if let Some(module) = module.downcast_ref::<PyModule>() {
                scope.namespaces.push(module.dict());
            }
        }
        scope
    }

    /// Whether `object` belongs to one of the single modules.
    fn belongs_to_module(&self, object: &PyObject, vm: &VirtualMachine) -> Belongs {
        let own = |dict: &PyObject| self.namespaces.iter().any(|namespace| namespace.is(dict));
        let of_function = |function: &Py<PyFunction>| {
            function.as_object().get_attr("__globals__", vm).is_ok_and(|globals| own(&globals))
        };
        let ours = if let Some(function) = object.downcast_ref::<PyFunction>() {
            of_function(function)
        } else if let Some(class) = object.downcast_ref::<PyType>() {
            let Some(body) = class.attributes.as_dict() else { return Belongs::Outside };
            let mut functions =
                body.into_iter().filter_map(|(_, value)| value.downcast::<PyFunction>().ok()).peekable();
            if functions.peek().is_some() {
                functions.any(|function| of_function(&function))
            } else {
                let name = class.heaptype_ext.as_ref().map(|heap| heap.qualname.read().clone());
                let stands = |namespace: &PyDictRef| {
                    let found = namespace.get_item_opt(&**name.as_ref()?, vm).ok()??;
                    Some(found.is(class))
                };
                self.namespaces.iter().any(|namespace| stands(namespace).unwrap_or(false))
            }
        } else if object.downcast_ref::<PyModule>().is_some() {
            self.modules.contains(&address(object))
        } else {
            own(object)
        };
        if ours { Belongs::Core } else { Belongs::Unknown }
    }

    /// The generation that a function, or an instance of a class, is of; some generation, when that cannot be told.
    pub(crate) fn generation_of(&self, object: &PyObject, vm: &VirtualMachine) -> Option<&Arc<Generation>> {
        let builtins = object.downcast_ref::<PyFunction>().and_then(|function| builtins_of(function, vm));
        let home = || {
            let space = self.home(object.class(), vm)?;
            self.generations.iter().find(|generation| generation.id() == space)
        };
        builtins.and_then(|builtins| self.built_on(&builtins)).or_else(home).or(self.generations.first())
    }

    /// Whether there is nothing to count.
    pub(crate) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.marked.is_empty() && self.namespaces.is_empty()
    }

    /// The space whose class this is.
    pub(crate) fn home(&self, class: &Py<PyType>, vm: &VirtualMachine) -> Option<SpaceId> {
        if let Some(space) = self.marked.get(&address(class.as_object())) {
            return Some(*space);
        }
        let home = |generation: &&Arc<Generation>| {
            let alone = Self { marked: FxHashMap::default(), ..Self::new(vec![Arc::clone(generation)], &[], vm) };
            alone.of_class(class, vm) == Belongs::Core
        };
        self.generations.iter().find(home).map(|generation| generation.id())
    }

    pub(crate) fn generations(&self) -> &[Arc<Generation>] {
        &self.generations
    }

    /// Whether `object` is the builtins dict of one of the generations.
    pub(crate) fn is_builtins(&self, object: &PyObject) -> bool {
        self.builtins.contains_key(&address(object))
    }

    /// Whether no other generation has taken `object` over.
    pub(crate) fn is_own(&self, object: &PyObject) -> bool {
        !self.shared.contains(&address(object))
    }

    /// Whether somebody has a handle of the generation whose key `object` is, and may use what it leads to.
    pub(crate) fn is_in_use(&self, object: &PyObject) -> bool {
        self.keyed(object).is_some_and(|generation| Arc::strong_count(generation) > HANDLES)
    }

    /// The generation whose key `object` is.
    pub(crate) fn keyed(&self, object: &PyObject) -> Option<&Arc<Generation>> {
        self.keys.get(&address(object)).map(|place| &self.generations[*place])
    }

    /// The generation whose builtins dict `object` is.
    pub(crate) fn built_on(&self, object: &PyObject) -> Option<&Arc<Generation>> {
        self.builtins.get(&address(object)).map(|place| &self.generations[*place])
    }

    /// The classes that are known to be the spaces'.
    pub(crate) fn classes(&self) -> &[Mark] {
        &self.classes
    }

    /// Whether `object` is one of the spaces' projections, or the dict of one.
    pub(crate) fn is_projection(&self, object: &PyObject) -> bool {
        self.projections.contains(&address(object))
    }

    /// The objects that the scope itself refers to, once each.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = &PyObject> {
        self.namespaces.iter().map(|namespace| namespace.as_object())
    }

    fn of_builtins(&self, builtins: Option<&PyObject>) -> Belongs {
        match builtins {
            Some(builtins) if self.is_builtins(builtins) => Belongs::Core,
            Some(builtins) if Generation::of_builtins(builtins).is_some() => Belongs::Outside,
            _ => Belongs::Unknown,
        }
    }

    fn of_globals(&self, dict: &Py<PyDict>, vm: &VirtualMachine) -> Belongs {
        // Another class may have a `__missing__`, which is not to be called.
        if !dict.class().is(vm.ctx.types.dict_type) {
            return Belongs::Unknown;
        }
        match dict.get_item_opt(identifier!(vm, __builtins__), vm) {
            Ok(Some(builtins)) => match builtins.downcast_ref::<PyModule>() {
                Some(module) => self.of_builtins(Some(module.dict().as_object())),
                None if builtins.is(&vm.builtins.dict()) => Belongs::Outside,
                None => self.of_builtins(Some(&builtins)),
            },
            _ => Belongs::Unknown,
        }
    }

    pub(crate) fn belongs(&self, object: &PyObject, vm: &VirtualMachine) -> Belongs {
        if !self.namespaces.is_empty() {
            return self.belongs_to_module(object, vm);
        }
        if !self.shared.is_empty() && self.shared.contains(&address(object)) {
            return Belongs::Outside;
        }
        if let Some(function) = object.downcast_ref::<PyFunction>() {
            return self.of_builtins(builtins_of(function, vm).as_deref());
        }
        if let Some(class) = object.downcast_ref::<PyType>() {
            return self.of_class(class, vm);
        }
        if let Some(module) = object.downcast_ref::<PyModule>() {
            if self.modules.contains(&address(object)) {
                return Belongs::Core;
            }
            if self.interpreter.contains(&address(object)) {
                return Belongs::Outside;
            }
            if self.is_projection(object) {
                return Belongs::Unknown;
            }
            return self.of_globals(&module.dict(), vm);
        }
        if let Some(dict) = object.downcast_ref::<PyDict>() {
            if self.interpreter.contains(&address(object)) {
                return Belongs::Outside;
            }
            if self.is_projection(object) {
                return Belongs::Unknown;
            }
            let is_own = self.is_builtins(object) || self.sys_dicts.contains(&address(object));
            return if is_own { Belongs::Core } else { self.of_globals(dict, vm) };
        }
        if self.keyed(object).is_some() { Belongs::Core } else { Belongs::Unknown }
    }

    /// Whether `object` is a frame of the spaces' code, or a generator or coroutine over one.
    pub(crate) fn runs(&self, object: &PyObject) -> bool {
        let Some(frame) = edges::frame_of(object) else { return false };
        let mut ours = false;
        frame.as_object().traverse(&mut |child| ours |= self.is_builtins(child));
        ours
    }

    /// Whether another space's module of the same name has the class, too: it may be that one's.
    fn is_elsewhere(&self, class: &Py<PyType>, module: &Py<PyStr>, qualified: &str, vm: &VirtualMachine) -> bool {
        // Every program has a `__main__`.
        if module.as_bytes() == b"__main__" {
            return false;
        }
        let Some(shared) = self.generations.first().map(|generation| &generation.shared) else { return false };
        let others: Vec<_> = shared.tree.read().values().filter_map(|node| node.current()).collect();
        others.iter().any(|other| stands_in(other, class, module, qualified, vm) == Some(true))
    }

    /// The classes that native modules made; a module may say that they are its own (`struct.error`).
    fn native_classes(&self, vm: &VirtualMachine) -> &FxHashSet<usize> {
        self.native_classes.get_or_init(|| {
            let modules = hidden::modules(vm).ok().and_then(|modules| modules.downcast::<PyDict>().ok());
            let native = modules.into_iter().flatten().filter(|(name, _)| {
                name.downcast_ref::<PyStr>()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| hidden::is_native(name, vm))
            });
            let values = native.filter_map(|(_, module)| Some(module.downcast_ref::<PyModule>()?.dict())).flatten();
            values
                .filter(|(_, value)| value.downcast_ref::<PyType>().is_some())
                .map(|(_, value)| address(&value))
                .collect()
        })
    }

    /// Whether a class of which nothing tells whose it is was probably made for the spaces by platform code, as
    /// `namedtuple` and `types.new_class` do: it is not what the module that it names has under its name.
    pub(crate) fn is_likely(&self, class: &Py<PyType>, vm: &VirtualMachine) -> bool {
        let is_at_home = || -> Option<bool> {
            let name = class.heaptype_ext.as_ref()?.qualname.read().clone();
            let module = class.attributes.as_dict()?.get_item_opt(identifier!(vm, __module__), vm).ok()??;
            let module = module.downcast_ref::<PyStr>()?;
            let modules = hidden::modules(vm).ok()?;
            Some(stands_under(modules.downcast_ref()?, class, module, name.to_str()?, vm) == Some(true))
        };
        self.namespaces.is_empty() && is_at_home() == Some(false)
    }

    /// A class belongs where the functions in its body do; one without functions, where it stands under its name.
    fn of_class(&self, class: &Py<PyType>, vm: &VirtualMachine) -> Belongs {
        let (Some(heap), Some(body)) = (&class.heaptype_ext, class.attributes.as_dict()) else {
            return Belongs::Outside;
        };
        let is_marked = self.marked.contains_key(&address(class.as_object()));
        let unknown = if is_marked { Belongs::Core } else { Belongs::Unknown };
        let Ok(Some(module)) = body.get_item_opt(identifier!(vm, __module__), vm) else { return unknown };
        let Some(module) = module.downcast_ref::<PyStr>() else { return unknown };
        let name = heap.qualname.read().clone();
        let Some(qualified) = name.to_str() else { return unknown };
        let is_ours = module.to_str().is_some_and(|name| self.names.contains(name));
        for (_, value) in body {
            if let Some(function) = value.downcast_ref::<PyFunction>()
                && let Some(builtins) = builtins_of(function, vm)
            {
                let belongs = self.of_builtins(Some(&builtins));
                // What is a function of platform code here (`dataclass`, `total_ordering`), or was assigned later, says
                // nothing; in a platform class the first one does.
                if belongs == Belongs::Unknown && !is_ours && !is_marked {
                    return Belongs::Unknown;
                }
                if belongs != Belongs::Unknown && is_in_body(function, qualified, vm) {
                    return belongs;
                }
            }
        }
        if is_marked || !is_ours {
            return unknown;
        }
        match self.generations.iter().find_map(|generation| stands_in(generation, class, module, qualified, vm)) {
            Some(true) if self.is_elsewhere(class, module, qualified, vm) => Belongs::Unknown,
            Some(true) if self.native_classes(vm).contains(&address(class.as_object())) => Belongs::Outside,
            Some(true) => Belongs::Core,
            // Nothing stands there, or another class: this one may be its base.
            Some(false) | None => Belongs::Unknown,
        }
    }
}

/// Whether the class stands under its name in the generation's module; `None` when nothing does.
fn stands_in(
    generation: &Arc<Generation>,
    class: &Py<PyType>,
    module: &Py<PyStr>,
    qualified: &str,
    vm: &VirtualMachine,
) -> Option<bool> {
    // A program's own `sys.modules` would run its code.
    let modules = generation.modules(vm).ok()?;
    stands_under(modules.downcast_ref_if_exact::<PyDict>(vm)?, class, module, qualified, vm)
}

/// [`stands_in`], for a `sys.modules`.
fn stands_under(
    modules: &Py<PyDict>,
    class: &Py<PyType>,
    module: &Py<PyStr>,
    qualified: &str,
    vm: &VirtualMachine,
) -> Option<bool> {
    let dict = modules.get_item_opt(module, vm).ok()??.downcast_ref::<PyModule>()?.dict();
    let mut names = qualified.split('.');
    let mut found = dict.get_item_opt(names.next()?, vm).ok()??;
    for name in names {
        found = found.downcast_ref::<PyType>()?.attributes.as_dict()?.get_item_opt(name, vm).ok()??;
    }
    Some(found.is(class))
}

/// Whether a function was written in the body of the class of this qualified name.
fn is_in_body(function: &Py<PyFunction>, class: &str, vm: &VirtualMachine) -> bool {
    let name = function.as_object().get_attr("__qualname__", vm).ok();
    let name = name.as_ref().and_then(|name| name.downcast_ref::<PyStr>()).and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix(class)).is_some_and(|rest| rest.starts_with('.'))
}
