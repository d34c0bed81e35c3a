//! A space, and what the model knows of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use modspace::{Error, Runtime, Space, persist::RecordId};

use super::{
    COUNTS, IN_PACKAGE, NAMES, Outcome, PACKAGE, ensure, import_name,
    modules::{Body, Fault, Import, Module, Sources, Term, found},
    wrong,
};
use proptest::test_runner::TestCaseError;

/// A value that a function returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u8),
    Tuple(Vec<Value>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Tuple(values) => {
                formatter.write_str("(")?;
                values.iter().try_for_each(|value| write!(formatter, "{value},"))?;
                formatter.write_str(")")
            }
        }
    }
}

/// What an imported name stands for in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Constant(u8),
    Function(usize, &'static str),
    Class(usize, &'static str),
}

/// A module that a space has loaded.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// What was executed last.
    pub(super) module: Rc<Module>,
    /// Which objects its functions and classes are.
    pub(super) objects: BTreeMap<&'static str, usize>,
    /// Which objects the bases of its classes are, where that is known.
    pub(super) bases: BTreeMap<&'static str, Option<usize>>,
    /// Imports whose module or name went since.
    pub(super) stale: BTreeSet<String>,
    /// The constants that it had when it was executed, where that is known.
    pub(super) seen: Option<Vec<u8>>,
    /// Loaded by an attachment that has ended: nobody updates it any more.
    pub(super) is_left: bool,
}

/// A name in `__main__`.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) module: usize,
    pub(super) name: String,
    pub(super) is_stale: bool,
}

pub(super) struct Instance {
    pub(super) number: usize,
    pub(super) module: usize,
    pub(super) class: &'static str,
    /// Which object its class is.
    pub(super) object: usize,
    pub(super) x: u8,
}

pub(super) struct Watched {
    pub(super) space: Space,
    /// Store and branch.
    pub(super) attached: Option<(usize, usize)>,
    pub(super) commit: Option<RecordId>,
    pub(super) sources: Sources,
    pub(super) live: BTreeMap<usize, Live>,
    pub(super) asked: BTreeSet<usize>,
    /// Modules that stayed when their package failed. A package that is imported after that does not have them, in CPython
    /// either.
    pub(super) orphans: BTreeSet<usize>,
    pub(super) bound: BTreeMap<String, Bound>,
    pub(super) instances: Vec<Instance>,
}

/// How an update is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Done,
    /// A source fails when it is executed.
    Fails,
    /// A class cannot be updated in place.
    Refused,
    /// A package that failed left modules behind: either.
    Unknown,
}

/// The numbers of objects, instances and modules: none is used twice.
pub(super) static NEXT: AtomicUsize = AtomicUsize::new(1);

pub(super) fn next() -> usize {
    NEXT.fetch_add(1, Relaxed)
}

impl Watched {
    pub(super) fn new(runtime: &Runtime) -> Result<Self, TestCaseError> {
        let space = runtime.root().child().create().map_err(wrong)?;
        let (live, bound) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            space,
            attached: None,
            commit: None,
            sources: Sources::new(),
            live,
            asked: BTreeSet::new(),
            orphans: BTreeSet::new(),
            bound,
            instances: Vec::new(),
        })
    }

    // What names stand for. `None` is what the model does not know.

    pub(super) fn origin(&self, module: usize, name: &str) -> Option<Origin> {
        let live = self.live.get(&module)?;
        if name == "K" {
            return (!live.module.empty).then_some(Origin::Constant(live.module.constant));
        }
        if let Some((name, _)) = live.module.functions.get_key_value(name) {
            return Some(Origin::Function(module, name));
        }
        if let Some((name, _)) = live.module.classes.get_key_value(name) {
            return Some(Origin::Class(module, name));
        }
        let import = live.module.imports.iter().find(|import| import.name.is_some() && import.alias() == name)?;
        if live.stale.contains(name) { None } else { self.origin(import.from, import.name.as_deref()?) }
    }

    pub(super) fn returned(&self, module: usize, function: &str) -> Option<Value> {
        self.body(module, self.live.get(&module)?.module.functions.get(function)?, &mut |_| None)
    }

    pub(super) fn body(
        &self,
        module: usize,
        body: &Body,
        special: &mut dyn FnMut(&Term) -> Option<Value>,
    ) -> Option<Value> {
        let live = self.live.get(&module)?;
        let mut values = vec![Value::Number(body.number)];
        for term in &body.terms {
            values.push(match term {
                Term::Constant => Value::Number(live.module.constant),
                Term::Name(name) => match self.origin(module, name)? {
                    Origin::Constant(value) => Value::Number(value),
                    _ => return None,
                },
                Term::Call(name) => match self.origin(module, name)? {
                    Origin::Function(module, name) => self.returned(module, name)?,
                    _ => return None,
                },
                Term::Attribute(from) => {
                    let alias = Import { from: *from, name: None }.alias();
                    let other = self.live.get(from).filter(|other| !other.module.empty)?;
                    if live.stale.contains(&alias) || self.orphans.contains(from) {
                        return None;
                    }
                    Value::Number(other.module.constant)
                }
                Term::Instance | Term::Super => special(term)?,
            });
        }
        Some(Value::Tuple(values))
    }

    /// The class that another derives from, if that is still the object which it was.
    pub(super) fn base(&self, module: usize, class: &str) -> Option<(usize, &'static str)> {
        let live = self.live.get(&module)?;
        let name = live.module.classes.get(class)?.base.as_deref()?;
        let Origin::Class(owner, name) = self.origin(module, name)? else { return None };
        let object = self.live.get(&owner)?.objects.get(name)?;
        (live.bases.get(class) == Some(&Some(*object))).then_some((owner, name))
    }

    /// What a method returns for an instance with this attribute.
    pub(super) fn answer(&self, module: usize, class: &str, method: &str, x: u8) -> Option<Value> {
        let own = self.live.get(&module)?.module.classes.get(class)?;
        let Some(body) = own.methods.get(method) else {
            let (module, class) = self.base(module, class)?;
            return self.answer(module, class, method, x);
        };
        self.body(module, body, &mut |term| match term {
            Term::Instance => Some(Value::Number(x)),
            _ => {
                let (module, class) = self.base(module, class)?;
                self.answer(module, class, method, x)
            }
        })
    }

    // What is loaded.

    /// Whether a package failed and left modules of it behind.
    pub(super) fn has_orphans(&self) -> bool {
        !self.live.contains_key(&PACKAGE) && IN_PACKAGE.iter().any(|inside| self.live.contains_key(inside))
    }

    /// Whether an import of the module succeeds, when this is loaded and the rest comes from there.
    pub(super) fn loads(loaded: &BTreeMap<usize, Option<Rc<Module>>>, sources: &Sources, module: usize) -> bool {
        Self::loading(loaded, sources, module, &mut BTreeSet::new())
    }

    pub(super) fn loading(
        loaded: &BTreeMap<usize, Option<Rc<Module>>>,
        sources: &Sources,
        module: usize,
        begun: &mut BTreeSet<usize>,
    ) -> bool {
        if let Some(there) = loaded.get(&module) {
            return there.is_some();
        }
        if !begun.insert(module) {
            return true;
        }
        if IN_PACKAGE.contains(&module) && !Self::loading(loaded, sources, PACKAGE, begun) {
            return false;
        }
        let Some(stored) = found(sources, module) else { return false };
        let executes = |import: &Import, begun: &mut BTreeSet<usize>| {
            let there = || match loaded.get(&import.from) {
                Some(there) => there.clone(),
                None => found(sources, import.from).map(|stored| stored.module),
            };
            Self::loading(loaded, sources, import.from, begun)
                && import.name.as_ref().is_none_or(|name| there().is_some_and(|there| there.names().contains(name)))
        };
        stored.module.imports.iter().all(|import| executes(import, begun)) && stored.module.fault == Fault::None
    }

    pub(super) fn loaded(&self) -> BTreeMap<usize, Option<Rc<Module>>> {
        self.live.iter().map(|(module, live)| (*module, Some(Rc::clone(&live.module)))).collect()
    }

    pub(super) fn begin(&self, module: Rc<Module>) -> Live {
        let names = module.functions.keys().chain(module.classes.keys());
        let objects = names.map(|name| (*name, next())).collect();
        Live { module, objects, bases: BTreeMap::new(), stale: BTreeSet::new(), seen: None, is_left: false }
    }

    /// Notes what the module has just been executed with: constants, and which objects the bases of its classes are.
    pub(super) fn note_executed(&mut self, module: usize) {
        let Some(live) = self.live.get(&module) else { return };
        let value = |name: String| match self.origin(module, &name)? {
            Origin::Constant(value) => Some(value),
            _ => None,
        };
        let seen = live.module.constants().map(value).collect();
        let classes: Vec<_> = live.module.classes.iter().map(|(name, class)| (*name, class.base.clone())).collect();
        let object = |name: &str| match self.origin(module, name)? {
            Origin::Class(owner, name) => self.live.get(&owner)?.objects.get(name).copied(),
            _ => None,
        };
        let bases = classes.into_iter().map(|(name, base)| (name, base.and_then(|base| object(&base)))).collect();
        if let Some(live) = self.live.get_mut(&module) {
            live.bases = bases;
            live.seen = seen;
        }
    }

    /// The modules that the space has in `sys.modules`.
    pub(super) fn really_loaded(&self) -> Result<BTreeSet<usize>, TestCaseError> {
        let names: Vec<_> = (0..NAMES.len()).map(import_name).collect();
        let expression = format!("[name in __import__('sys').modules for name in {names:?}]");
        let there = self.space.eval_repr(&expression).map_err(wrong)?;
        let there = there.trim_matches(['[', ']']).split(", ").map(|one| one == "True");
        Ok(there.enumerate().filter(|(_, is_there)| *is_there).map(|(module, _)| module).collect())
    }

    /// Takes what was loaded since from the commit that the space sees.
    pub(super) fn catch_up(&mut self) -> Outcome {
        let there = self.really_loaded()?;
        let gone: Vec<_> = self.live.keys().filter(|module| !there.contains(module)).map(|one| NAMES[*one]).collect();
        ensure!(gone.is_empty(), "{gone:?} went");
        let new: Vec<usize> = there.into_iter().filter(|module| !self.live.contains_key(module)).collect();
        for module in &new {
            let stored = found(&self.sources, *module);
            let stored = stored.ok_or_else(|| wrong(format!("{} came from nowhere", NAMES[*module])))?;
            let live = self.begin(stored.module);
            self.live.insert(*module, live);
        }
        new.into_iter().for_each(|module| self.note_executed(module));
        if self.has_orphans() {
            self.orphans.extend(IN_PACKAGE);
        }
        self.orphans.retain(|module| self.live.contains_key(module));
        Ok(())
    }

    // What updates do.

    /// The loaded modules that an update changes, and those that it takes away.
    pub(super) fn work(&self, target: &Sources) -> (Vec<usize>, Vec<usize>) {
        let differs = |module: &&usize| found(&self.sources, **module) != found(target, **module);
        let mine = self.live.iter().filter(|(_, live)| !live.is_left).map(|(module, _)| module);
        let (there, gone): (Vec<usize>, Vec<usize>) =
            mine.filter(differs).copied().partition(|module| found(target, *module).is_some());
        (there, gone)
    }

    /// Classes of a module that cannot become what another source says.
    pub(super) fn refused(&self, module: usize, new: &Module) -> BTreeSet<&'static str> {
        let Some(live) = self.live.get(&module) else { return BTreeSet::new() };
        let is_refused = |name: &&str| match (live.module.classes.get(*name), new.classes.get(*name)) {
            (Some(old), Some(new)) => old.slots != new.slots || old.base.is_some() != new.base.is_some(),
            _ => false,
        };
        ["A", "B", "S"].into_iter().filter(|name| is_refused(name)).collect()
    }

    pub(super) fn expected(&self, target: &Sources, replace: bool) -> Expected {
        let (updated, removed) = self.work(target);
        if updated.is_empty() && removed.is_empty() {
            return Expected::Done;
        }
        if self.has_orphans() {
            return Expected::Unknown;
        }
        // What changes is executed anew, and what goes is not there any more.
        let mut loaded = self.loaded();
        updated.iter().for_each(|module| drop(loaded.remove(module)));
        removed.iter().for_each(|module| drop(loaded.insert(*module, None)));
        if !updated.iter().all(|module| Self::loads(&loaded, target, *module)) {
            return Expected::Fails;
        }
        let is_refused = |module: &usize| {
            found(target, *module).is_some_and(|stored| !self.refused(*module, &stored.module).is_empty())
        };
        if !replace && updated.iter().any(is_refused) { Expected::Refused } else { Expected::Done }
    }

    /// The update was made.
    pub(super) fn updated(&mut self, target: Sources, commit: Option<RecordId>) -> Outcome {
        let (updated, removed) = self.work(&target);
        for module in &updated {
            let Some(stored) = found(&target, *module) else { continue };
            let replaced = self.refused(*module, &stored.module);
            let mut new = self.begin(stored.module);
            if let Some(old) = self.live.get(module) {
                let derives = |name: &str, one: &Module| {
                    let base = one.classes.get(name).and_then(|class| class.base.as_deref());
                    base.is_some_and(|base| replaced.contains(base))
                };
                for (name, object) in &mut new.objects {
                    // One that derives from what is replaced may have to be replaced itself.
                    let is_new = replaced.contains(name) || derives(name, &old.module) || derives(name, &new.module);
                    if let Some(before) = old.objects.get(name).filter(|_| !is_new) {
                        *object = *before;
                    }
                }
            }
            self.live.insert(*module, new);
        }
        for module in &removed {
            self.live.remove(module);
        }
        let names: BTreeMap<usize, Vec<String>> =
            self.live.iter().map(|(module, live)| (*module, live.module.names())).collect();
        let is_there = |from: usize, name: Option<&String>| {
            names.get(&from).is_some_and(|names| name.is_none_or(|name| names.contains(name)))
        };
        let was = |module: &usize| updated.contains(module) || removed.contains(module);
        for (_, live) in self.live.iter_mut().filter(|(module, _)| !updated.contains(module)) {
            let gone = live.module.imports.iter().filter(|import| was(&import.from));
            let gone: Vec<_> = gone.filter(|import| !is_there(import.from, import.name.as_ref())).collect();
            live.stale.extend(gone.into_iter().map(Import::alias));
        }
        for bound in self.bound.values_mut().filter(|bound| was(&bound.module)) {
            bound.is_stale |= !is_there(bound.module, Some(&bound.name));
        }
        (self.sources, self.commit) = (target, commit);
        updated.iter().for_each(|module| self.note_executed(*module));
        self.catch_up()
    }

    // What is true of the space.

    pub(super) fn check(&mut self) -> Outcome {
        ensure!(self.space.commit().map_err(wrong)? == self.commit, "it sees another commit");
        let mut script = "import sys\n_m = sys.modules\n_held = globals().setdefault('_held', {})\n\
                          def _is(number, thing):\n    assert _held.setdefault(number, thing) is thing, number\n"
            .to_owned();
        let mut checks = 0;
        let mut check = |line: String| {
            script.push_str(&line);
            script.push('\n');
            checks += 1;
        };
        for module in 0..NAMES.len() {
            let name = import_name(module);
            let Some(live) = self.live.get(&module) else {
                check(format!("assert {name:?} not in _m"));
                continue;
            };
            let here = format!("_m[{name:?}]");
            if live.module.empty {
                check(format!("assert not hasattr({here}, 'K')"));
                continue;
            }
            check(format!("assert {here}.K == {}, {here}.K", live.module.constant));
            if let Some(seen) = &live.seen {
                let seen: String = seen.iter().map(|value| format!("{value},")).collect();
                check(format!("assert {here}.SEEN == ({seen}), {here}.SEEN"));
            }
            for (name, object) in &live.objects {
                check(format!("_is({object}, {here}.{name})"));
            }
            for name in ["f", "g", "A", "B", "S"].into_iter().filter(|name| !live.objects.contains_key(name)) {
                check(format!("assert not hasattr({here}, {name:?}), {name:?}"));
            }
            for name in live.module.functions.keys() {
                if let Some(value) = self.returned(module, name) {
                    check(format!("assert {here}.{name}() == {value}, {here}.{name}()"));
                }
            }
            for import in live.module.imports.iter().filter(|import| import.name.is_some()) {
                let alias = import.alias();
                if let Some(origin) = self.origin(module, &alias) {
                    check(self.is_bound(&format!("{here}.{alias}"), &origin));
                }
            }
            for (name, class) in &live.module.classes {
                if let Some((owner, base)) = self.base(module, name) {
                    let base = format!("_m[{:?}].{base}", import_name(owner));
                    check(format!("assert {here}.{name}.__bases__ == ({base},), {here}.{name}.__mro__"));
                }
                if let Some(value) = self.answer(module, name, "m", class.x) {
                    check(format!("assert {here}.{name}().m() == {value}, {here}.{name}().m()"));
                }
            }
        }
        for (name, bound) in self.bound.iter().filter(|(_, bound)| !bound.is_stale) {
            if let Some(origin) = self.origin(bound.module, &bound.name) {
                check(self.is_bound(name, &origin));
            }
        }
        for instance in &self.instances {
            let Instance { number, module, class, object, x } = instance;
            let is_there = self.live.get(module).is_some_and(|live| live.objects.get(class) == Some(object));
            if !is_there {
                continue;
            }
            check(format!("assert type(_i{number}) is _m[{:?}].{class}", import_name(*module)));
            for method in ["m", "n"] {
                if let Some(value) = self.answer(*module, class, method, *x) {
                    check(format!("assert _i{number}.{method}() == {value}, _i{number}.{method}()"));
                }
            }
        }
        COUNTS.checks.fetch_add(checks, Relaxed);
        self.space.exec(&script).map_err(|error| match error {
            Error::Python(error) => {
                let line = error.traceback.lines().filter_map(|line| line.split("line ").nth(1)).next();
                let line = line.and_then(|line| line.split(',').next()?.parse::<usize>().ok()).unwrap_or(1);
                let line = script.lines().nth(line - 1).unwrap_or_default();
                wrong(format!("{line}\n{}", error.traceback))
            }
            error => wrong(error),
        })
    }

    /// That a name is bound to what it stands for.
    pub(super) fn is_bound(&self, name: &str, origin: &Origin) -> String {
        match origin {
            Origin::Constant(value) => format!("assert {name} == {value}, {name}"),
            Origin::Function(module, function) | Origin::Class(module, function) => {
                format!("assert {name} is _m[{:?}].{function}, {name}", import_name(*module))
            }
        }
    }
}
