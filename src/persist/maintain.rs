//! Looking after a store: is everything there and whole, and what is needed by nothing.

use std::collections::HashSet;

use super::{
    error::StoreError,
    map,
    objects::{self, Object},
    record::{Entry, RecordId},
    snapshot,
    store::Store,
};

/// Something that is wrong in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The record that is damaged or missing.
    pub record: RecordId,
    /// The newest commit that needs it.
    pub commit: RecordId,
    /// What it is in that commit: a module, a package, an object, or the commit itself.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a look through a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// How many commits were read.
    pub commits: usize,
    /// How many records were read, commits among them.
    pub records: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What was read so far, and what for.
struct Walk<'store, 'tell> {
    store: &'store Store,
    seen: HashSet<RecordId>,
    found: Verification,
    tell: &'tell mut dyn FnMut(usize),
}

impl Walk<'_, '_> {
    /// Reads a record that was not read yet; `None` when it was, or when something is wrong with it.
    fn read<T>(
        &mut self,
        record: RecordId,
        commit: RecordId,
        what: &str,
        read: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Option<T> {
        if !self.seen.insert(record) {
            return None;
        }
        self.found.records += 1;
        (self.tell)(self.found.records);
        match read(self.store) {
            Ok(value) => Some(value),
            Err(error) => {
                let (what, reason) = (what.to_owned(), error.to_string());
                self.found.problems.push(Problem { record, commit, what, reason });
                None
            }
        }
    }

    fn package(&mut self, commit: RecordId, package: &str, root: RecordId) {
        let mut nodes = vec![root];
        while let Some(node) = nodes.pop() {
            let what =
                if package.is_empty() { "the table of modules".to_owned() } else { format!("the package {package:?}") };
            let Some((children, entries)) =
                self.read(node, commit, &what, |store| map::node::<Entry>(store.backend(), node))
            else {
                continue;
            };
            nodes.extend(children);
            for (name, entry) in entries {
                let name = if package.is_empty() { name } else { format!("{package}.{name}") };
                match entry {
                    Entry::Package(inside) => self.package(commit, &name, inside),
                    Entry::Module(module) => {
                        for (blob, part) in [
                            (Some(module.source), "the source of"),
                            (module.metadata, "the metadata of"),
                            (module.imports, "the imports of"),
                            (module.state, "the state of"),
                        ] {
                            if let Some(blob) = blob {
                                let what = format!("{part} {name:?}");
                                self.read(blob, commit, &what, |store| snapshot::blob(store.backend(), blob).map(drop));
                            }
                        }
                    }
                }
            }
        }
    }

    fn objects(&mut self, commit: RecordId, root: RecordId) {
        let mut nodes = vec![root];
        while let Some(node) = nodes.pop() {
            let read = |store: &Store| map::node::<Object>(store.backend(), node);
            let Some((children, entries)) = self.read(node, commit, "the table of objects", read) else { continue };
            nodes.extend(children);
            for (key, object) in entries {
                let what = format!("the object {key:?}");
                let pickle = object.pickle;
                self.read(pickle, commit, &what, |store| objects::read_pickle(store.backend(), pickle));
                if let Some(id) = object.references {
                    let what = format!("what the object {key:?} refers to");
                    self.read(id, commit, &what, |store| objects::read_references(store.backend(), id));
                }
            }
        }
    }
}

impl Store {
    /// Reads everything that the branches and their history need, and compares the hashes. `tell` hears how many records
    /// were read so far.
    ///
    /// # Errors
    /// What the backend raised. What is damaged or missing is no error, but in the result.
    pub fn verify(&self, tell: &mut dyn FnMut(usize)) -> Result<Verification, StoreError> {
        self.walk(tell).map(|walk| walk.found)
    }

    fn walk<'store, 'tell>(&'store self, tell: &'tell mut dyn FnMut(usize)) -> Result<Walk<'store, 'tell>, StoreError> {
        let mut walk = Walk { store: self, seen: HashSet::new(), found: Verification::default(), tell };
        if let Some(id) = self.settings_id()? {
            walk.read(id, id, "the settings", |store| snapshot::blob(store.backend(), id).map(drop));
        }
        let mut commits: Vec<RecordId> = self.branches()?.into_values().collect();
        while let Some(id) = commits.pop() {
            let Some(commit) = walk.read(id, id, "the commit", |store| store.commit(id)) else { continue };
            walk.found.commits += 1;
            commits.extend(&commit.parents);
            if let Some(modules) = commit.modules {
                walk.package(id, "", modules);
            }
            if let Some(objects) = commit.objects {
                walk.objects(id, objects);
            }
        }
        Ok(walk)
    }

    /// Deletes the records that no branch and no history needs; returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when something that is needed cannot be read, because what that needs is not known then;
    /// what the backend raised. Nothing is deleted then.
    pub fn collect_garbage(&self, tell: &mut dyn FnMut(usize)) -> Result<usize, StoreError> {
        loop {
            // Before the look: what is committed meanwhile is not known here.
            let number = self.last_move()?;
            let walk = self.walk(tell)?;
            if let Some(problem) = walk.found.problems.first() {
                let reason = format!("{} cannot be read: {}", problem.what, problem.reason);
                return Err(StoreError::Damaged { path: self.describe().into(), reason });
            }
            if let Some(deleted) = self.backend().sweep(number, &|id| walk.seen.contains(&id))? {
                return Ok(deleted);
            }
        }
    }
}
