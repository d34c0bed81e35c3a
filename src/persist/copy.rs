//! Which modules come along when an object is copied with its classes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::StoreError,
    name::INIT,
    pickle::Reference,
    record::Module,
    snapshot::{Found, Snapshot},
    transaction::Transaction,
};

/// Adds the modules that an object refers to, and what these import, to the transaction, as far as they are in the snapshot
/// and the transaction does not have them.
///
/// # Errors
/// [`StoreError::Differ`] when the transaction has other sources under these names, and what adding raised. Some modules may
/// have been added then.
pub(super) fn modules(
    target: &mut Transaction,
    from: &Snapshot,
    key: &str,
    references: &[Reference],
) -> Result<(), StoreError> {
    let mut new = Vec::new();
    let mut differing = Vec::new();
    for (name, module) in needed(from, references)? {
        match there(target, &name, &module)? {
            Some((_, other)) if other.source == module.source => {}
            Some((other, _)) if other == name => differing.push(name),
            Some((other, _)) => differing.push(format!("{name} (there: {other})")),
            None => new.push((name, module)),
        }
    }
    if !differing.is_empty() {
        return Err(StoreError::Differ {
            key: key.to_owned(),
            from: from.reader().describe(),
            to: target.store().describe(),
            modules: differing,
        });
    }
    new.into_iter().try_for_each(|(name, module)| target.adopt(&name, module, from))
}

/// The module that the transaction has under this name, or else with the identity of this one, and its name.
fn there(target: &Transaction, name: &str, module: &Module) -> Result<Option<(String, Module)>, StoreError> {
    if let Some(found) = target.exact(name)? {
        return Ok(Some((name.to_owned(), found)));
    }
    let Some(identity) = module.identity else { return Ok(None) };
    let Some(other) = target.base.name_of(identity, name)? else { return Ok(None) };
    for other in [format!("{other}.{INIT}"), other] {
        if let Some(found) = target.exact(&other)?.filter(|found| found.identity == Some(identity)) {
            return Ok(Some((other, found)));
        }
    }
    Ok(None)
}

/// The modules of the snapshot that must be there for these references to be found: those referred to, the packages above
/// them, and what all of them import, by their full names.
fn needed(from: &Snapshot, references: &[Reference]) -> Result<BTreeMap<String, Module>, StoreError> {
    let mut next = Vec::new();
    for reference in references {
        let name = match reference.identity {
            Some(identity) => from.name_of(identity, &reference.module)?,
            None => None,
        };
        next.push(name.unwrap_or_else(|| reference.module.clone()));
    }
    let mut all = BTreeMap::new();
    let mut seen = BTreeSet::new();
    while let Some(name) = next.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        next.extend(name.match_indices('.').map(|(end, _)| name[..end].to_owned()));
        let found = match from.find(&name) {
            // What no module of a store can be called.
            Err(StoreError::Name { .. }) => None,
            found => found?,
        };
        let Some(found) = found else { continue };
        let is_package = matches!(found, Found::Package(_));
        let Some(module) = found.module() else { continue };
        next.extend(from.all_imports(&name)?.modules());
        all.insert(if is_package { format!("{name}.{INIT}") } else { name }, module);
    }
    Ok(all)
}
