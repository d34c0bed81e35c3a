//! Which objects of closed spaces only those spaces keep alive: trial deletion, over these spaces alone.
//!
//! CPython's collector subtracts from each object's reference count the references that come from other candidates; what
//! is left with a count is held from outside (`subtract_refs`, `move_unreachable` in `Python/gc.c`). Here the candidates
//! are not all objects of the process but those that the spaces lead to, so the cost grows with the spaces.
//!
//! From a space one comes to objects of others: platform functions, the host's objects. They must not be followed
//! without end. So candidates come in two kinds. The *core* surely belongs to the spaces: their modules, functions and
//! classes. Everything else is followed once all references to it are accounted for, which shows that only candidates
//! hold it. When that comes to an end, the rest may be cycles, which may hold the core, too: it is followed layer by layer,
//! as far as a part of the size of the spaces; when references to the core are missing, functions and classes of others
//! included and to a higher limit. What is never followed counts as outside. So an error is on one side only: garbage may
//! be taken for held, never the reverse.

use rustc_hash::FxHashMap;
use rustpython_vm::{
    AsObject, PyObject, VirtualMachine,
    builtins::{PyFunction, PyModule, PyType},
};

use super::scope::{Belongs, Scope};
use crate::vm::heap::{ClassCache, Stopped, address};

/// How many uncertain objects are followed for each certain one, when references to the core are missing.
const LAYER_FACTOR: usize = 4;
const LAYER_MINIMUM: usize = 20_000;

/// Of how many certain objects each allows one uncertain object to be followed, when no references to the core are missing.
const REST_SHARE: usize = 4;
const REST_MINIMUM: usize = 1_000;

/// About how many objects a space has that imported a few modules: what is counted is too much to be moved many times.
const LIKELY: usize = 2048;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Nothing but this garbage refers to it: each reference that is counted in an object of it was found in another one.
    pub(crate) garbage: Vec<&'world PyObject>,
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
        let likely = scope.generations().len() * LIKELY;
        census.items.reserve(likely);
        census.index.reserve(likely);
        census.references.reserve(likely);
        for generation in scope.generations() {
            census.meet(generation.key.as_object());
        }
        for class in scope.classes().iter().filter_map(|mark| world.referent(&mark.class)) {
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
        let pinned = self.scope.pinned().any(|pinned| pinned.is(object));
        let count = object.strong_count() - usize::from(pinned);
        let core = belongs == Belongs::Core;
        self.items.push(Item { object, count, found: 0, core, followed: false, references: (0, 0) });
        if core {
            self.missing += count;
        }
        let is_likely = || object.downcast_ref::<PyType>().is_some_and(|class| self.scope.is_likely(class, self.vm));
        if core || self.whole || self.scope.is_projection(object) || is_likely() {
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
        let rest = (certain / REST_SHARE).max(REST_MINIMUM);
        let mut followed = 0;
        while followed < if self.missing > 0 { limit } else { rest } {
            let mut layer = std::mem::take(&mut self.waiting);
            // A cycle has few references of its own; what many refer to is most probably somebody else's.
            layer.sort_by_key(|number| {
                let item = &self.items[*number as usize];
                item.count.saturating_sub(item.found)
            });
            if layer.is_empty() && self.missing > 0 {
                layer = std::mem::take(&mut self.unlikely);
            }
            if layer.is_empty() {
                return;
            }
            for number in layer {
                if self.missing == 0 && followed >= rest {
                    break;
                }
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
            // Found more often than counted: a reference was read twice, and might stand in for one from outside.
            if item.found != item.count || !item.followed || self.scope.is_in_use(item.object) {
                live[number] = true;
                work.push(number as u32);
            }
        }
        while let Some(number) = work.pop() {
            // Code finds its generation by its builtins: while they live, so does all of it.
            let object = self.items[number as usize].object;
            if let Some(key) =
                self.scope.built_on(object).and_then(|generation| self.index.get(&address(generation.key.as_object())))
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
                (false, _) => counted.garbage.push(item.object),
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
