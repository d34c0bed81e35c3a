//! What is done with stores and spaces, and what has to come of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use modspace::{
    AttachOptions, Error, Runtime, Store, StoreError, UpdateKind, UpdateOptions, UpdateReport,
    persist::{RecordId, Snapshot},
};
use proptest::{prelude::*, test_runner::TestCaseError};

use super::{
    BRANCHES, COUNTS, NAMES, Outcome, SPACES, STORES, count, ensure, import_name,
    modules::{Seed, Sources, Stored, grown, seed},
    watched::{Bound, Expected, Instance, Watched, next},
    wrong,
};

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Set(usize, Seed),
    Remove(usize),
    Rename(usize, usize),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Commit(usize, usize, Vec<Edit>),
    Undo(usize, usize, usize),
    Sync(usize, bool),
    At(usize, u8, bool),
    Plan(usize),
    Import(usize, usize),
    /// Makes an instance of a class of a loaded module.
    Make(usize, u8),
    /// Binds a name of a loaded module in the space's `__main__`.
    Bind(usize, u8),
    Reload(usize),
    Attach(usize, usize, usize),
    Discard(usize),
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let module = || 0..NAMES.len();
    prop_oneof![
        12 => (module(), seed()).prop_map(|(module, seed)| Edit::Set(module, seed)),
        1 => module().prop_map(Edit::Remove),
        1 => (module(), module()).prop_map(|(one, other)| Edit::Rename(one.min(other), one.max(other))),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (space, store) = (|| 0..SPACES, || 0..STORES);
    // Most of it on one branch of one store, so that spaces have to do with each other.
    let branch = || prop_oneof![5 => Just(0usize), 1 => Just(1usize)];
    let place = move || (prop_oneof![3 => Just(0usize), 1 => store()], branch());
    prop_oneof![
        10 => (place(), prop::collection::vec(edit(), 1..4)).prop_map(|((s, b), edits)| Step::Commit(s, b, edits)),
        1 => (place(), 0..3usize).prop_map(|((s, b), below)| Step::Undo(s, b, below)),
        10 => (space(), prop::bool::weighted(0.3)).prop_map(|(space, replace)| Step::Sync(space, replace)),
        3 => (space(), any::<u8>(), prop::bool::weighted(0.3)).prop_map(|(space, at, replace)| Step::At(space, at, replace)),
        2 => space().prop_map(Step::Plan),
        8 => (space(), 0..NAMES.len()).prop_map(|(space, module)| Step::Import(space, module)),
        4 => (space(), any::<u8>()).prop_map(|(space, which)| Step::Make(space, which)),
        3 => (space(), any::<u8>()).prop_map(|(space, which)| Step::Bind(space, which)),
        1 => space().prop_map(Step::Reload),
        1 => (space(), place()).prop_map(|(space, (s, b))| Step::Attach(space, s, b)),
        1 => space().prop_map(Step::Discard),
    ]
}

pub(super) struct World<'runtime> {
    pub(super) runtime: &'runtime Runtime,
    pub(super) stores: Vec<Store>,
    /// The commits of each branch of each store, with what is in them.
    pub(super) commits: BTreeMap<(usize, usize), Vec<(RecordId, Sources)>>,
    pub(super) spaces: Vec<Watched>,
    pub(super) _folder: tempfile::TempDir,
}

impl<'runtime> World<'runtime> {
    /// Spaces that are attached to a store with these modules.
    pub(super) fn new(runtime: &'runtime Runtime, seeds: &[Seed]) -> Result<Self, TestCaseError> {
        let folder = tempfile::tempdir().map_err(wrong)?;
        let stores = vec![Store::memory(), Store::open(folder.path().join("app.store")).map_err(wrong)?];
        let mut world = Self { runtime, stores, commits: BTreeMap::new(), spaces: Vec::new(), _folder: folder };
        for _ in 0..SPACES {
            world.spaces.push(Watched::new(runtime)?);
        }
        let first: Vec<_> = seeds.iter().cloned().enumerate().map(|(module, seed)| Edit::Set(module, seed)).collect();
        (0..STORES).try_for_each(|store| world.commit(store, 0, &first))?;
        (0..SPACES).try_for_each(|space| world.attach(space, 0, 0))?;
        Ok(world)
    }

    pub(super) fn head(&self, store: usize, branch: usize) -> (Option<RecordId>, Sources) {
        let last = self.commits.get(&(store, branch)).and_then(|commits| commits.last());
        last.map_or_else(|| (None, Sources::new()), |(id, sources)| (Some(*id), sources.clone()))
    }

    pub(super) fn attach(&mut self, space: usize, store: usize, branch: usize) -> Outcome {
        let (commit, sources) = self.head(store, branch);
        let watched = &mut self.spaces[space];
        let options = AttachOptions { branch: BRANCHES[branch].to_owned(), ..AttachOptions::default() };
        watched.space.attach(&self.stores[store], options).map_err(wrong)?;
        watched.live.values_mut().for_each(|live| live.is_left = true);
        (watched.attached, watched.commit, watched.sources) = (Some((store, branch)), commit, sources);
        Ok(())
    }

    pub(super) fn commit(&mut self, store: usize, branch: usize, edits: &[Edit]) -> Outcome {
        let (_, mut sources) = self.head(store, branch);
        let mut change = self.stores[store].begin(BRANCHES[branch]).map_err(wrong)?;
        for edit in edits {
            match edit {
                Edit::Set(module, seed) => {
                    let new = grown(seed, *module, &sources);
                    let source = new.source();
                    let identity = sources.get(module).map(|stored| stored.identity);
                    match identity {
                        Some(_) => change.update_module(NAMES[*module], source.as_bytes()),
                        None => change.new_module(NAMES[*module], source.as_bytes()),
                    }
                    .map_err(wrong)?;
                    let identity = identity.unwrap_or_else(next);
                    sources.insert(*module, Stored { module: Rc::new(new), identity });
                }
                Edit::Remove(module) if sources.contains_key(module) => {
                    change.remove_module(NAMES[*module]).map_err(wrong)?;
                    sources.remove(module);
                }
                Edit::Rename(old, new) if sources.contains_key(old) && !sources.contains_key(new) => {
                    change.rename_module(NAMES[*old], NAMES[*new]).map_err(wrong)?;
                    if let Some(stored) = sources.remove(old) {
                        sources.insert(*new, stored);
                    }
                }
                _ => {}
            }
        }
        let id = change.commit().map_err(wrong)?;
        self.committed(store, branch, id, sources);
        Ok(())
    }

    pub(super) fn committed(&mut self, store: usize, branch: usize, id: Option<RecordId>, sources: Sources) {
        let commits = self.commits.entry((store, branch)).or_default();
        if let Some(id) = id.filter(|id| commits.last().is_none_or(|(last, _)| last != id)) {
            commits.push((id, sources));
        }
    }

    pub(super) fn undo(&mut self, store: usize, branch: usize, below: usize) -> Outcome {
        let Some(commits) = self.commits.get(&(store, branch)) else { return Ok(()) };
        let Some(index) = commits.len().checked_sub(below + 1) else { return Ok(()) };
        let before = if index == 0 { Sources::new() } else { commits[index - 1].1.clone() };
        let (id, after) = commits[index].clone();
        let (_, mut expected) = self.head(store, branch);
        match self.stores[store].undo(BRANCHES[branch], id, "") {
            Ok(id) => {
                count(&COUNTS.undone);
                for module in (0..NAMES.len()).filter(|module| before.get(module) != after.get(module)) {
                    match before.get(&module) {
                        Some(stored) => drop(expected.insert(module, stored.clone())),
                        None => drop(expected.remove(&module)),
                    }
                }
                self.committed(store, branch, id, expected);
                Ok(())
            }
            Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(wrong(error)),
        }
    }

    /// A space came, or did not come, to another commit.
    pub(super) fn moved(
        watched: &mut Watched,
        moved: Result<UpdateReport, Error>,
        (commit, target): (Option<RecordId>, Sources),
        replace: bool,
    ) -> Outcome {
        let expected = watched.expected(&target, replace);
        let (updated, removed) = watched.work(&target);
        match moved {
            Ok(report) => {
                ensure!(matches!(expected, Expected::Done | Expected::Unknown), "{expected:?}, and was done: {report}");
                let names = |modules: &[usize]| -> BTreeSet<String> {
                    modules.iter().map(|module| import_name(*module).to_owned()).collect()
                };
                let told = |names: &[String]| -> BTreeSet<String> {
                    names.iter().filter(|name| *name != "q").cloned().collect()
                };
                ensure!(told(&report.modules) == names(&updated), "updated {updated:?}: {report}");
                ensure!(told(&report.removed) == names(&removed), "removed {removed:?}: {report}");
                ensure!((report.from, report.to) == (watched.commit, commit), "{report}");
                count(&COUNTS.synced);
                if !updated.is_empty() {
                    count(&COUNTS.updated);
                }
                for (kind, counter) in
                    [(UpdateKind::Replaced, &COUNTS.replaced), (UpdateKind::Rebound, &COUNTS.rebound)]
                {
                    if report.entries.iter().any(|entry| entry.kind == kind) {
                        count(counter);
                    }
                }
                watched.updated(target, commit)
            }
            Err(Error::Python(error)) => {
                ensure!(error.class == "modspace.UpdateError", "{}", error.traceback);
                let is_refused = error.cause.is_none();
                let right = match expected {
                    Expected::Fails => !is_refused,
                    Expected::Refused => is_refused,
                    Expected::Unknown => true,
                    Expected::Done => false,
                };
                ensure!(right, "{expected:?}, and raised {}", error.traceback);
                count(if is_refused { &COUNTS.refused } else { &COUNTS.failed });
                Ok(())
            }
            Err(error) => Err(wrong(error)),
        }
    }

    pub(super) fn options(replace: bool) -> UpdateOptions {
        UpdateOptions { replace, ..UpdateOptions::default() }
    }

    pub(super) fn take(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Commit(store, branch, ref edits) => self.commit(store, branch, edits),
            Step::Undo(store, branch, below) => self.undo(store, branch, below),
            Step::Sync(space, replace) => {
                let Some((store, branch)) = self.spaces[space].attached else { return Ok(()) };
                let head = self.head(store, branch);
                let watched = &mut self.spaces[space];
                let moved = watched.space.sync(&Self::options(replace));
                Self::moved(watched, moved, head, replace)
            }
            Step::At(space, which, replace) => {
                let Some((store, _)) = self.spaces[space].attached else { return Ok(()) };
                let of_store = self.commits.iter().filter(|((other, _), _)| *other == store);
                let all: Vec<_> = of_store.flat_map(|(_, commits)| commits).collect();
                let Some((id, sources)) = all.get(usize::from(which) % all.len().max(1)) else { return Ok(()) };
                let target = (Some(*id), sources.clone());
                let watched = &mut self.spaces[space];
                let moved = watched.space.at(*id, &Self::options(replace));
                Self::moved(watched, moved, target, replace)
            }
            Step::Plan(space) => {
                let Some((store, branch)) = self.spaces[space].attached else { return Ok(()) };
                let (_, target) = self.head(store, branch);
                let snapshot: Snapshot = self.stores[store].snapshot(BRANCHES[branch]).map_err(wrong)?;
                let watched = &self.spaces[space];
                let expected = watched.expected(&target, false);
                let plan = watched.space.plan(&snapshot, &UpdateOptions::default());
                count(&COUNTS.planned);
                let right = match (&plan, expected) {
                    (_, Expected::Unknown) => true,
                    (Ok(plan), expected) => {
                        let is_refused = plan.entries.iter().any(|entry| entry.kind == UpdateKind::Refused);
                        expected == if is_refused { Expected::Refused } else { Expected::Done }
                    }
                    (Err(Error::Python(_)), expected) => expected == Expected::Fails,
                    (Err(_), _) => false,
                };
                ensure!(right, "{expected:?}, and planned {plan:?}");
                Ok(())
            }
            Step::Import(space, module) => {
                let watched = &mut self.spaces[space];
                let expected = Watched::loads(&watched.loaded(), &watched.sources, module);
                let is_known = !watched.has_orphans();
                let imported = watched.space.import(import_name(module));
                if is_known {
                    ensure!(imported.is_ok() == expected, "{expected}: {imported:?}");
                }
                count(if imported.is_ok() { &COUNTS.imported } else { &COUNTS.not_imported });
                if imported.is_ok() {
                    watched.asked.insert(module);
                }
                watched.catch_up()
            }
            Step::Make(space, which) => {
                let watched = &mut self.spaces[space];
                let classes = watched.live.iter().flat_map(|(module, live)| {
                    live.module.classes.iter().map(|(name, class)| (*module, *name, class.x, live.objects[name]))
                });
                let classes: Vec<_> = classes.collect();
                let Some(&(module, class, x, object)) = classes.get(usize::from(which) % classes.len().max(1)) else {
                    return Ok(());
                };
                let number = next();
                let made = format!("_i{number} = __import__('sys').modules[{:?}].{class}()", import_name(module));
                watched.space.exec(&made).map_err(wrong)?;
                watched.instances.push(Instance { number, module, class, object, x });
                Ok(())
            }
            Step::Bind(space, which) => {
                let watched = &mut self.spaces[space];
                let names = watched
                    .live
                    .iter()
                    .flat_map(|(module, live)| live.module.names().into_iter().map(|name| (*module, name)));
                let names: Vec<_> = names.filter(|(module, name)| watched.origin(*module, name).is_some()).collect();
                let Some((module, name)) = names.get(usize::from(which) % names.len().max(1)).cloned() else {
                    return Ok(());
                };
                // As an import of the package would fail.
                if watched.has_orphans() {
                    return Ok(());
                }
                // What `exec` ran has no source to look at: there, names of two modules cannot be told apart.
                if watched.bound.get(&name).is_some_and(|bound| bound.module != module) {
                    return Ok(());
                }
                let import = format!("from {} import {name}", import_name(module));
                watched.space.exec(&import).map_err(wrong)?;
                watched.bound.insert(name.clone(), Bound { module, name, is_stale: false });
                Ok(())
            }
            Step::Reload(space) => {
                let watched = &mut self.spaces[space];
                let nothing = BTreeMap::new();
                let expected = watched.asked.iter().all(|module| Watched::loads(&nothing, &watched.sources, *module));
                let reloaded = watched.space.reload();
                ensure!(reloaded.is_ok() == expected, "{expected}: {reloaded:?}");
                if reloaded.is_err() {
                    count(&COUNTS.not_reloaded);
                    return Ok(());
                }
                count(&COUNTS.reloaded);
                watched.live.clear();
                watched.orphans.clear();
                watched.bound.clear();
                watched.instances.clear();
                watched.catch_up()
            }
            Step::Attach(space, store, branch) => {
                self.spaces[space].space.detach(None).map_err(wrong)?;
                self.attach(space, store, branch)
            }
            Step::Discard(space) => {
                let new = Watched::new(self.runtime)?;
                let old = std::mem::replace(&mut self.spaces[space], new);
                let report = old.space.discard().map_err(wrong)?;
                ensure!(report.is_clean(), "{report}");
                count(&COUNTS.discarded);
                self.attach(space, 0, 0)
            }
        }
    }
}
