//! Which modules come along when an object is copied with its classes.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{
    Stmt,
    statement_visitor::{StatementVisitor, walk_stmt},
};

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
        next.extend(imports(&name, is_package, &from.blob(module.source)?));
        all.insert(if is_package { format!("{name}.{INIT}") } else { name }, module);
    }
    Ok(all)
}

/// The names of what a module may import: `from a import b` may mean `a.b`, too.
fn imports(name: &str, is_package: bool, source: &[u8]) -> Vec<String> {
    struct Imports<'name> {
        name: &'name str,
        is_package: bool,
        found: Vec<String>,
    }
    impl Imports<'_> {
        /// The module that an import with so many dots begins at; `None` when that is above everything.
        fn origin(&self, level: u32) -> Option<String> {
            let up = level.saturating_sub(u32::from(self.is_package));
            (0..up).try_fold(self.name, |name, _| name.rsplit_once('.').map(|(above, _)| above)).map(str::to_owned)
        }
    }
    impl<'tree> StatementVisitor<'tree> for Imports<'_> {
        fn visit_stmt(&mut self, statement: &'tree Stmt) {
            match statement {
                Stmt::Import(import) => self.found.extend(import.names.iter().map(|alias| alias.name.to_string())),
                Stmt::ImportFrom(import) => {
                    let module = import.module.as_ref().map(ToString::to_string);
                    let origin = if import.level == 0 { None } else { self.origin(import.level) };
                    let Some(module) = (match (origin, module, import.level) {
                        (Some(origin), Some(module), _) => Some(format!("{origin}.{module}")),
                        (Some(origin), None, _) => Some(origin),
                        (None, module, 0) => module,
                        (None, ..) => None,
                    }) else {
                        return;
                    };
                    self.found.extend(import.names.iter().map(|alias| format!("{module}.{}", alias.name)));
                    self.found.push(module);
                }
                _ => walk_stmt(self, statement),
            }
        }
    }
    let text = String::from_utf8_lossy(source);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // One that does not compile imports nothing.
    let Ok(parsed) = ruff_python_parser::parse_module(text) else { return Vec::new() };
    let mut imports = Imports { name, is_package, found: Vec::new() };
    imports.visit_body(parsed.suite());
    imports.found
}

#[cfg(test)]
mod tests {
    use super::imports;

    #[test]
    fn imports_are_found_wherever_they_stand() {
        let source = b"import a, b.c as d\nfrom e import f\ndef g():\n    try:\n        from . import h\n    except E:\n        \
            from ..i import j\nclass K:\n    from .... import too_far\n";
        let found = |name, is_package| {
            let mut found = imports(name, is_package, source);
            found.sort();
            found.join(" ")
        };
        assert_eq!(found("p.q.m", false), "a b.c e e.f p.i p.i.j p.q p.q.h");
        assert_eq!(found("p.q", true), "a b.c e e.f p.i p.i.j p.q p.q.h");
        assert_eq!(imports("m", false, b"from . import x\nimport"), [] as [&str; 0]);
    }
}
