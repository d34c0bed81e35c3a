//! Which objects of closed spaces only those spaces keep alive: trial deletion, over these spaces alone.
//!
//! CPython's collector subtracts from each object's reference count the references that come from other candidates; what
//! is left with a count is held from outside (`subtract_refs`, `move_unreachable` in `Python/gc.c`). Here the candidates
//! are not all objects of the process but those that the spaces lead to, so the cost grows with the spaces.
//!
//! From a space one comes to objects of others: platform functions, the host's objects. They must not be followed
//! without end. So candidates come in two kinds. The *core* surely belongs to the spaces: their modules, functions and
//! classes. Everything else is followed once all references to it are accounted for, which shows that only candidates
//! hold it. When that comes to an end and references to the core are still missing, the rest may hold them in a cycle: it
//! is followed layer by layer, to a limit, until nothing is missing. What is never followed counts as outside. So an
//! error is on one side only: garbage may be taken for held, never the reverse.

use std::sync::{Arc, OnceLock};

use rustc_hash::{FxHashMap, FxHashSet};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, VirtualMachine,
    builtins::{PyAsyncGen, PyCoroutine, PyDict, PyDictRef, PyFunction, PyGenerator, PyModule, PyStr, PyType},
    frame::FrameObject,
    identifier,
    object::Traverse,
};

use crate::{
    import::{
        generation::{Generation, Mark, SpaceId},
        project,
    },
    vm::{
        heap::{ClassCache, Stopped, address},
        hidden,
    },
};

/// How many uncertain objects are followed for each certain one, when references to the core are missing.
const LAYER_FACTOR: usize = 4;
const LAYER_MINIMUM: usize = 20_000;

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
    builtins: Vec<usize>,
    classes: Vec<Mark>,
    /// Classes that are known to be theirs, whatever is left to show it.
    marked: FxHashMap<usize, SpaceId>,
    /// The namespaces of single modules, when it is they that are counted.
    namespaces: Vec<PyDictRef>,
    /// Their own modules by address, and by name.
    modules: FxHashMap<usize, ()>,
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
        let mut scope = Self {
            namespaces: Vec::new(),
            classes: classes.to_vec(),
            marked: classes
                .iter()
                .filter_map(|mark| mark.class.upgrade().map(|class| (address(&class), mark.space)))
                .collect(),
            builtins: generations.iter().map(|generation| address(generation.builtins_dict.as_object())).collect(),
            generations,
            modules: FxHashMap::default(),
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
            scope.modules.insert(address(generation.sys.as_object()), ());
            scope.modules.insert(address(generation.builtins.as_object()), ());
            let Ok(modules) = generation.modules(vm) else { continue };
            let Some(modules) = modules.downcast_ref::<PyDict>() else { continue };
            for (name, module) in modules {
                let Some(name) = name.downcast_ref::<PyStr>().and_then(|name| name.to_str()) else { continue };
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
                    scope.modules.insert(address(module.as_object()), ());
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
            scope.modules.insert(address(&module), ());
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
            self.modules.contains_key(&address(object))
        } else {
            own(object)
        };
        if ours { Belongs::Core } else { Belongs::Unknown }
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
        self.builtins.contains(&address(object))
    }

    /// Whether no other generation has taken `object` over.
    pub(crate) fn is_own(&self, object: &PyObject) -> bool {
        !self.shared.contains(&address(object))
    }

    /// Whether somebody has a handle of a generation that is among `garbage`.
    pub(crate) fn in_use(&self, garbage: &[PyObjectRef]) -> bool {
        let used = |generation: &Arc<Generation>| Arc::strong_count(generation) > HANDLES;
        garbage.iter().filter_map(|object| self.keyed(object)).any(used)
    }

    /// The generation whose key `object` is.
    fn keyed(&self, object: &PyObject) -> Option<&Arc<Generation>> {
        self.generations.iter().find(|generation| generation.key.as_object().is(object))
    }

    fn of_builtins(&self, builtins: Option<&PyObject>) -> Belongs {
        match builtins {
            Some(builtins) if self.builtins.contains(&address(builtins)) => Belongs::Core,
            Some(builtins) if Generation::of_builtins(builtins).is_some() => Belongs::Outside,
            _ => Belongs::Unknown,
        }
    }

    fn of_globals(&self, dict: &Py<PyDict>, vm: &VirtualMachine) -> Belongs {
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
            if self.modules.contains_key(&address(object)) {
                return Belongs::Core;
            }
            if self.interpreter.contains(&address(object)) {
                return Belongs::Outside;
            }
            if self.projections.contains(&address(object)) {
                return Belongs::Unknown;
            }
            return self.of_globals(&module.dict(), vm);
        }
        if let Some(dict) = object.downcast_ref::<PyDict>() {
            if self.interpreter.contains(&address(object)) {
                return Belongs::Outside;
            }
            if self.projections.contains(&address(object)) {
                return Belongs::Unknown;
            }
            let own =
                |generation: &Arc<Generation>| dict.is(&generation.builtins_dict) || dict.is(&generation.sys_dict);
            return if self.generations.iter().any(own) { Belongs::Core } else { self.of_globals(dict, vm) };
        }
        if self.keyed(object).is_some() { Belongs::Core } else { Belongs::Unknown }
    }

    /// Whether `object` is a frame of the spaces' code, or a generator or coroutine over one.
    pub(crate) fn runs(&self, object: &PyObject) -> bool {
        if let Some(frame) = object.downcast_ref::<FrameObject>() {
            let mut ours = false;
            frame.as_object().traverse(&mut |child| ours |= self.builtins.contains(&address(child)));
            return ours;
        }
        let frame = if let Some(generator) = object.downcast_ref::<PyGenerator>() {
            generator.as_coro().frame_opt()
        } else if let Some(coroutine) = object.downcast_ref::<PyCoroutine>() {
            coroutine.as_coro().frame_opt()
        } else if let Some(generator) = object.downcast_ref::<PyAsyncGen>() {
            generator.as_coro().frame_opt()
        } else {
            None
        };
        frame.is_some_and(|frame| self.runs(frame.as_object()))
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

    /// A class belongs where the functions in its body do; one without functions, where it stands under its name.
    fn of_class(&self, class: &Py<PyType>, vm: &VirtualMachine) -> Belongs {
        let (Some(heap), Some(body)) = (&class.heaptype_ext, class.attributes.as_dict()) else {
            return Belongs::Outside;
        };
        if self.marked.contains_key(&address(class.as_object())) {
            return Belongs::Core;
        }
        let Ok(Some(module)) = body.get_item_opt(identifier!(vm, __module__), vm) else { return Belongs::Unknown };
        let Some(module) = module.downcast_ref::<PyStr>() else { return Belongs::Unknown };
        let name = heap.qualname.read().clone();
        let Some(qualified) = name.to_str() else { return Belongs::Unknown };
        let is_ours = module.to_str().is_some_and(|name| self.names.contains(name));
        for (_, value) in body {
            if let Some(function) = value.downcast_ref::<PyFunction>()
                && let Some(builtins) = builtins_of(function, vm)
            {
                let belongs = self.of_builtins(Some(&builtins));
                // What is a function of platform code here (`dataclass`, `total_ordering`), or was assigned later, says
                // nothing; in a platform class the first one does.
                if belongs == Belongs::Unknown && !is_ours {
                    return Belongs::Unknown;
                }
                if belongs != Belongs::Unknown && is_in_body(function, qualified, vm) {
                    return belongs;
                }
            }
        }
        if !is_ours {
            return Belongs::Unknown;
        }
        match self.generations.iter().find_map(|generation| stands_in(generation, class, module, qualified, vm)) {
            Some(true) if self.is_elsewhere(class, module, qualified, vm) => Belongs::Unknown,
            Some(true) if self.native_classes(vm).contains(&address(class.as_object())) => Belongs::Outside,
            Some(true) => Belongs::Core,
            Some(false) => Belongs::Outside,
            None => Belongs::Unknown,
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
    let modules = modules.downcast_ref_if_exact::<PyDict>(vm)?;
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

struct Item<'world> {
    object: &'world PyObject,
    /// The object's reference count.
    count: usize,
    /// How many of these references were found.
    found: usize,
    core: bool,
    followed: bool,
    /// Where its own references to candidates stand in `Census::references`.
    references: (usize, usize),
}

/// The candidates, counted while the world is stopped.
pub(crate) struct Census<'world> {
    world: &'world Stopped<'world>,
    vm: &'world VirtualMachine,
    scope: &'world Scope,
    /// Whether all objects are candidates, of whomever they are.
    whole: bool,
    classes: ClassCache,
    leaves: FxHashMap<usize, bool>,
    items: Vec<Item<'world>>,
    index: FxHashMap<usize, Option<u32>>,
    references: Vec<u32>,
    /// Candidates that are to be followed.
    ready: Vec<u32>,
    /// Candidates that may have to be.
    waiting: Vec<u32>,
    /// Those among them that are most probably somebody else's.
    unlikely: Vec<u32>,
    /// The references of the object that is being followed.
    buffer: Vec<&'world PyObject>,
    /// How many references to the core were not found yet.
    missing: usize,
}

/// What a census looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What the spaces lead to.
    Spaces,
    /// Every object of the process. That finds garbage from which nothing of the spaces can be reached any more, but
    /// which refers to them, as a class that its module replaced: RustPython's collector finds it only when it sees all
    /// references in it.
    Process,
}

/// What a census found.
pub(crate) struct Counted<'world> {
    /// Nothing but this garbage refers to it; with each object's count.
    pub(crate) garbage: Vec<(&'world PyObject, usize)>,
    /// The core objects that something else holds.
    pub(crate) held: Vec<&'world PyObject>,
    /// The candidates that something else refers to directly.
    pub(crate) external: Vec<&'world PyObject>,
}

impl<'world> Census<'world> {
    /// Counts what belongs to the spaces of `scope`.
    pub(crate) fn take(
        world: &'world Stopped<'world>,
        scope: &'world Scope,
        extent: Extent,
        vm: &'world VirtualMachine,
    ) -> Counted<'world> {
        let mut census = Self::new(world, scope, extent == Extent::Process, vm);
        for generation in scope.generations() {
            census.meet(generation.key.as_object());
        }
        for class in scope.classes.iter().filter_map(|mark| world.referent(&mark.class)) {
            census.meet(class);
        }
        if census.whole {
            for object in world.tracked() {
                census.meet(object);
            }
        }
        census.follow_all();
        census.live()
    }

    fn new(world: &'world Stopped<'world>, scope: &'world Scope, whole: bool, vm: &'world VirtualMachine) -> Self {
        Self {
            world,
            vm,
            scope,
            whole,
            classes: ClassCache::default(),
            leaves: FxHashMap::default(),
            items: Vec::new(),
            index: FxHashMap::default(),
            references: Vec::new(),
            ready: Vec::new(),
            waiting: Vec::new(),
            unlikely: Vec::new(),
            buffer: Vec::new(),
            missing: 0,
        }
    }

    /// The candidate number of `object`; `None` when it is not one.
    fn meet(&mut self, object: &'world PyObject) -> Option<u32> {
        if let Some(known) = self.index.get(&address(object)) {
            return *known;
        }
        let number = self.admit(object);
        self.index.insert(address(object), number);
        number
    }

    fn admit(&mut self, object: &'world PyObject) -> Option<u32> {
        if object.is_immortal() {
            return None;
        }
        let belongs = self.scope.belongs(object, self.vm);
        if belongs == Belongs::Outside && !self.whole {
            return None;
        }
        let number = u32::try_from(self.items.len()).ok()?;
        // The scope's own reference is nobody's.
        let pinned = self.scope.namespaces.iter().any(|namespace| namespace.is(object));
        let count = object.strong_count() - usize::from(pinned);
        let core = belongs == Belongs::Core;
        self.items.push(Item { object, count, found: 0, core, followed: false, references: (0, 0) });
        if core {
            self.missing += count;
        }
        if core || self.whole || self.scope.projections.contains(&address(object)) {
            self.ready.push(number);
        } else if object.downcast_ref::<PyFunction>().is_some()
            || object.downcast_ref::<PyType>().is_some()
            || object.downcast_ref::<PyModule>().is_some()
        {
            self.unlikely.push(number);
        } else {
            self.waiting.push(number);
        }
        Some(number)
    }

    fn is_leaf(&mut self, object: &PyObject) -> bool {
        let class = object.class();
        // Half of all references are names.
        if class.is(self.vm.ctx.types.str_type) || class.is(self.vm.ctx.types.code_type) {
            return true;
        }
        let world = self.world;
        *self.leaves.entry(address(class.as_object())).or_insert_with(|| world.is_leaf(class))
    }

    fn follow_all(&mut self) {
        self.follow_ready();
        let certain = self.items.iter().filter(|item| item.followed).count();
        let limit = (certain * LAYER_FACTOR).max(LAYER_MINIMUM);
        let mut followed = 0;
        while self.missing > 0 && followed < limit {
            let mut layer = std::mem::take(&mut self.waiting);
            if layer.is_empty() {
                layer = std::mem::take(&mut self.unlikely);
            }
            if layer.is_empty() {
                return;
            }
            for number in layer {
                if !self.items[number as usize].followed {
                    followed += 1;
                    self.follow(number);
                    self.follow_ready();
                }
            }
        }
    }

    fn follow_ready(&mut self) {
        while let Some(number) = self.ready.pop() {
            self.follow(number);
        }
    }

    fn follow(&mut self, number: u32) {
        if std::mem::replace(&mut self.items[number as usize].followed, true) {
            return;
        }
        let object = self.items[number as usize].object;
        let mut children = std::mem::take(&mut self.buffer);
        self.world.references(object, &mut self.classes, |child| children.push(child));
        if let Some(generation) = self.scope.keyed(object) {
            generation.references(&mut |child| children.push(child));
        }
        let start = self.references.len();
        for child in children.drain(..) {
            if self.is_leaf(child) {
                continue;
            }
            let Some(number) = self.meet(child) else { continue };
            self.references.push(number);
            let item = &mut self.items[number as usize];
            item.found += 1;
            if item.core {
                self.missing = self.missing.saturating_sub(1);
            } else if item.found == item.count {
                self.ready.push(number);
            }
        }
        self.buffer = children;
        self.items[number as usize].references = (start, self.references.len());
    }

    /// Splits the candidates: what has references that were not found is held, and so is what it leads to.
    fn live(mut self) -> Counted<'world> {
        let mut live = vec![false; self.items.len()];
        let mut work: Vec<u32> = Vec::new();
        for (number, item) in self.items.iter().enumerate() {
            let in_use = || {
                // Somebody is inside, or has just come out of the table of running spaces.
                self.scope.keyed(item.object).is_some_and(|generation| Arc::strong_count(generation) > HANDLES)
            };
            if item.found < item.count || !item.followed || in_use() {
                live[number] = true;
                work.push(number as u32);
            }
        }
        while let Some(number) = work.pop() {
            // Code finds its generation by its builtins: while they live, so does all of it.
            let object = self.items[number as usize].object;
            let generation = self.scope.generations.iter().find(|generation| object.is(&generation.builtins_dict));
            if let Some(key) = generation.and_then(|generation| self.index.get(&address(generation.key.as_object())))
                && let Some(key) = *key
                && !std::mem::replace(&mut live[key as usize], true)
            {
                work.push(key);
            }
            let (start, end) = self.items[number as usize].references;
            for &child in &self.references[start..end] {
                if !std::mem::replace(&mut live[child as usize], true) {
                    work.push(child);
                }
            }
        }
        if self.whole {
            self.keep_others(&mut live);
        }
        tracing::trace!(
            candidates = live.len(),
            followed = self.items.iter().filter(|item| item.followed).count(),
            missing = self.missing,
            "counted"
        );
        let mut counted = Counted { garbage: Vec::new(), held: Vec::new(), external: Vec::new() };
        for (item, live) in self.items.drain(..).zip(live) {
            if item.followed && item.found < item.count {
                counted.external.push(item.object);
            }
            match (live, item.core) {
                (false, _) => counted.garbage.push((item.object, item.object.strong_count())),
                (true, true) => counted.held.push(item.object),
                (true, false) => {}
            }
        }
        counted
    }
}

impl Census<'_> {
    /// Leaves garbage alone that has nothing to do with the spaces: whole components of it, so that the counts of the
    /// others still tell that nothing else refers to them.
    fn keep_others(&self, live: &mut [bool]) {
        let mut neighbours: Vec<Vec<u32>> = vec![Vec::new(); self.items.len()];
        for (number, item) in self.items.iter().enumerate().filter(|(number, _)| !live[*number]) {
            for &child in &self.references[item.references.0..item.references.1] {
                if !live[child as usize] {
                    neighbours[number].push(child);
                    neighbours[child as usize].push(number as u32);
                }
            }
        }
        let mut ours = vec![false; self.items.len()];
        let core = self.items.iter().enumerate().filter(|(number, item)| item.core && !live[*number]);
        let mut work: Vec<u32> = core.map(|(number, _)| number as u32).collect();
        while let Some(number) = work.pop() {
            if !std::mem::replace(&mut ours[number as usize], true) {
                work.extend(&neighbours[number as usize]);
            }
        }
        for (live, ours) in live.iter_mut().zip(ours) {
            *live |= !ours;
        }
    }
}

/// Counts `garbage` again, for the finalizers that ran may have handed on some of it: how many references to each object
/// come from it, and the one of the caller.
pub(crate) fn recount(garbage: &[PyObjectRef], scope: &Scope, world: &Stopped<'_>) -> Vec<usize> {
    let numbers: FxHashMap<usize, usize> =
        garbage.iter().enumerate().map(|(number, object)| (address(object), number)).collect();
    let pinned = |object: &PyObjectRef| scope.namespaces.iter().any(|namespace| namespace.is(object));
    let mut found: Vec<usize> = garbage.iter().map(|object| 1 + usize::from(pinned(object))).collect();
    let mut classes = ClassCache::default();
    for object in garbage {
        let mut count = |child: &PyObject| {
            if let Some(number) = numbers.get(&address(child)) {
                found[*number] += 1;
            }
        };
        world.references(object, &mut classes, &mut count);
        if let Some(generation) = scope.keyed(object) {
            generation.references(&mut count);
        }
    }
    found
}

/// Owned references to `garbage`.
pub(crate) fn pin(garbage: &[(&PyObject, usize)]) -> (Vec<PyObjectRef>, Vec<usize>) {
    garbage.iter().map(|(object, count)| ((*object).to_owned(), count + 1)).unzip()
}
