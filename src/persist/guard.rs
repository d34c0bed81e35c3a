//! What a change would break: modules and names that go while other modules of the store still import them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use super::{
    error::StoreError,
    imports::{self, ALL, Defined, Names, import_name},
    record::Module,
    snapshot::{Found, Snapshot},
};

/// What is to happen when a change takes away what others import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It is made.
    Allow,
    /// It is made, and said.
    #[default]
    Warn,
    /// It is not made.
    Refuse,
}

impl Policy {
    /// The names that policies have.
    pub const NAMES: [&str; 3] = ["allow", "warn", "refuse"];

    /// The policy's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = StoreError;

    /// # Errors
    /// [`StoreError::Value`] when it is not one of [`Policy::NAMES`].
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let all = [Self::Allow, Self::Warn, Self::Refuse];
        all.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| StoreError::Value {
            what: "the policy for what is in use".to_owned(),
            given: text.chars().take(80).collect(),
            allowed: Self::NAMES.join(" or "),
        })
    }
}

/// A module or a name that goes although other modules import it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InUse {
    /// The module that goes, or that loses the name, as import statements have it.
    pub module: String,
    /// The name; `None` when the whole module goes.
    pub name: Option<String>,
    /// The modules that import it, with the names that they take.
    pub importers: BTreeMap<String, Names>,
}

impl fmt::Display for InUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let importers = self.importers.iter().map(|(importer, names)| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            match (&self.name, &*names) {
                (Some(_), _) | (None, []) => importer.clone(),
                (None, names) => format!("{importer} ({})", names.join(", ")),
            }
        });
        let importers: Vec<_> = importers.collect();
        match &self.name {
            Some(name) => write!(formatter, "{}.{name} goes and is imported by {}", self.module, importers.join(", ")),
            None => write!(formatter, "{} goes and is imported by {}", self.module, importers.join(", ")),
        }
    }
}

/// All of them as one text.
pub(crate) fn listed(all: &[InUse]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A hook that decides for one transaction; it is asked before anything is stored, outside of all locks.
pub type Guard = Box<dyn FnMut(&[InUse]) -> Result<Policy, StoreError> + Send>;

/// A module that loses names.
struct Loss {
    old: Defined,
    new: Defined,
}

/// What the source of a module, as a snapshot has it, defines.
fn defined(snapshot: &Snapshot, name: &str, module: Option<&Module>) -> Result<Defined, StoreError> {
    let Some(module) = module else { return Ok(Defined::default()) };
    let scanned = imports::scan(name, &snapshot.blob(module.source)?);
    // What cannot be compiled may define anything.
    Ok(scanned.map_or_else(|| Defined { is_open: true, ..Defined::default() }, |(_, defined)| defined))
}

fn find(snapshot: &Snapshot, name: &str) -> Result<Option<Found>, StoreError> {
    match snapshot.find(name) {
        Err(StoreError::Name { .. }) => Ok(None),
        found => found,
    }
}

/// What goes between two snapshots although modules of the second one import it. `changed` are the modules that differ.
///
/// # Errors
/// What reading raised.
pub(crate) fn in_use<'name>(
    before: &Snapshot,
    after: &Snapshot,
    changed: impl Iterator<Item = &'name str>,
) -> Result<Vec<InUse>, StoreError> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for name in changed.map(import_name) {
        names.insert(name);
        names.extend(name.match_indices('.').map(|(end, _)| &name[..end]));
    }
    let (mut gone, mut losses): (BTreeSet<&str>, BTreeMap<&str, Loss>) = Default::default();
    for name in names {
        let Some(old) = find(before, name)? else { continue };
        let Some(new) = find(after, name)? else {
            gone.insert(name);
            continue;
        };
        let (old, new) = (old.module(), new.module());
        if old.as_ref().map(|module| module.source) == new.as_ref().map(|module| module.source) {
            continue;
        }
        let (old, new) = (defined(before, name, old.as_ref())?, defined(after, name, new.as_ref())?);
        if !new.is_open && (old.is_open || !old.names.is_subset(&new.names)) {
            losses.insert(name, Loss { old, new });
        }
    }
    if gone.is_empty() && losses.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: BTreeMap<(String, Option<String>), BTreeMap<String, Names>> = BTreeMap::new();
    for (importer, module) in after.modules()? {
        let imports = after.imports_of(&importer, &module)?;
        let importer = import_name(&importer).to_owned();
        let mut note = |module: &str, name: Option<&str>, names: &mut dyn Iterator<Item = &String>| {
            let key = (module.to_owned(), name.map(str::to_owned));
            found.entry(key).or_default().entry(importer.clone()).or_default().extend(names.cloned());
        };
        for (module, names) in imports.iter().filter(|(module, _)| *module != importer) {
            if gone.contains(module) {
                note(module, None, &mut names.iter());
            }
            for name in names.iter().filter(|name| *name != ALL) {
                let submodule = imports::submodule(module, name);
                let goes = submodule.as_deref().is_some_and(|full| gone.contains(full));
                if goes && let Some(full) = &submodule {
                    let code = find(after, module)?.and_then(Found::module);
                    if !gone.contains(module) && !defined(after, module, code.as_ref())?.may_have(name) {
                        note(full, None, &mut std::iter::empty());
                    }
                    continue;
                }
                let Some(loss) = losses.get(module) else { continue };
                // Where all names are taken, only those that were there for sure can be told from others.
                let was_there = loss.old.names.contains(name) || loss.old.is_open && !names.contains(ALL);
                let is_module = || submodule.as_deref().map_or(Ok(None), |full| find(after, full));
                if was_there && !loss.new.may_have(name) && is_module()?.is_none() {
                    note(module, Some(name), &mut std::iter::once(name));
                }
            }
        }
    }
    let all = found.into_iter().map(|((module, name), importers)| InUse { module, name, importers });
    Ok(all.collect())
}
