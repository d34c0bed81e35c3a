//! `modspace store plan`: what a change would do to a program that has the modules loaded.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use clap::Args;
use rustpython_vm::{AsObject, VirtualMachine};
use serde_json::{Value, json};

use super::{Answer, Failure, StoreOptions};
use crate::{
    Error, Runtime, Space,
    import::{context, generation::Generation, level},
    persist::{
        InUse, Snapshot, Store, UpdateKind, UpdateOptions, UpdateReport,
        finder::{self, Attachment},
        guard,
        imports::import_name,
        update,
    },
    space::to_python_error,
    vm::panic,
};

#[derive(Args, Debug)]
pub(super) struct PlanOptions {
    /// Files, or modules, of the checkout; all that differ without any
    files: Vec<PathBuf>,

    /// What going to COMMIT would do, in the place of the files
    #[arg(long, value_name = "COMMIT", conflicts_with = "files")]
    at: Option<String>,

    /// Load NAME first (may be repeated); without, what changes is loaded, and the modules that import that
    #[arg(long = "import", value_name = "NAME")]
    imports: Vec<String>,

    /// Let new classes take the places of those that cannot be updated
    #[arg(long)]
    replace: bool,
}

/// What is planned: from where, to where, and what goes though it is in use.
struct Change {
    store: Store,
    branch: String,
    base: Snapshot,
    target: Snapshot,
    in_use: Vec<InUse>,
}

/// What a plan found.
struct Found {
    report: UpdateReport,
    /// Modules that could not be loaded, with the reason.
    not_loaded: Vec<(String, String)>,
}

impl StoreOptions {
    fn change(&self, options: &PlanOptions) -> Result<Change, Failure> {
        let Some(at) = &options.at else {
            let checkout = self.checkout()?;
            let transaction = checkout.changes(&self.started_in, &options.files)?;
            let (base, target) = (checkout.base()?, transaction.preview()?);
            let (store, branch) = (checkout.store().clone(), checkout.branch().to_owned());
            return Ok(Change { store, branch, base, target, in_use: transaction.in_use()? });
        };
        let (store, branch) = (self.open()?, self.branch()?);
        let base = match &self.store {
            Some(_) => store.snapshot(&branch)?,
            None => self.checkout()?.base()?,
        };
        let target = store.at(self.resolve(at)?)?;
        let changes = base.changes(&target)?;
        let in_use = guard::in_use(&base, &target, changes.iter().map(|change| &*change.name))?;
        Ok(Change { store, branch, base, target, in_use })
    }

    /// # Errors
    /// What the new sources raised, and what cannot be read.
    pub(super) fn plan(&self, options: &PlanOptions) -> Result<Answer, Failure> {
        let change = self.change(options)?;
        let changes = change.base.changes(&change.target)?;
        let (there, new): (Vec<_>, Vec<_>) = changes.iter().partition(|changed| changed.old.is_some());
        let new: Vec<String> = new.into_iter().map(|changed| changed.name.clone()).collect();
        let mut names: BTreeSet<String> = options.imports.iter().cloned().collect();
        if names.is_empty() && !there.is_empty() {
            names.extend(there.iter().map(|changed| import_name(&changed.name).to_owned()));
            let changed = names.clone();
            for (name, module) in change.base.modules()? {
                let imports = change.base.imports_of(&name, &module)?;
                if changed.iter().any(|changed| imports.taken(changed).is_some()) {
                    names.insert(import_name(&name).to_owned());
                }
            }
        }
        let path = std::env::var("PYTHONPATH").unwrap_or_default();
        let path = std::env::split_paths(&path).map(|path| path.to_string_lossy().into_owned());
        let runtime = Runtime::builder()
            .path(path.filter(|entry| !entry.is_empty()))
            .handle_signals(true)
            .write_bytecode(false)
            .build()?;
        let space = runtime.root().child().name("plan").create()?;
        let found = planned(&space, &change, &names, options.replace);
        runtime.shut_down();
        Ok(answer(&change, &new, found?))
    }
}

fn planned(space: &Space, change: &Change, names: &BTreeSet<String>, replace: bool) -> Result<Found, Failure> {
    let attachment = Attachment::new(change.store.clone(), &change.branch, None)?;
    attachment.move_to(Arc::new(change.base.clone()));
    let found = space.runtime.with(|vm| {
        let generation = space.generation()?;
        let body = || panic::catch(vm, || load_and_plan(&generation, attachment, change, names, replace, vm));
        context::enter(Arc::clone(&generation), vm, body).map_err(|error| Error::Python(to_python_error(&error, vm)))
    });
    Ok(found?)
}

fn load_and_plan(
    generation: &Arc<Generation>,
    attachment: Attachment,
    change: &Change,
    names: &BTreeSet<String>,
    replace: bool,
    vm: &VirtualMachine,
) -> rustpython_vm::PyResult<Found> {
    let attachment = finder::attach(generation, attachment, vm)?;
    // What the modules print is not the plan.
    let sys = generation.sys.as_object();
    sys.set_attr("stdout", sys.get_attr("stderr", vm)?, vm)?;
    let mut not_loaded = Vec::new();
    for name in names {
        if let Err(error) = level::import_module(generation, name, vm) {
            if !error.fast_isinstance(vm.ctx.exceptions.exception_type) {
                return Err(error);
            }
            let error = to_python_error(&error, vm);
            not_loaded.push((name.clone(), format!("{}: {}", error.class, error.message)));
        }
    }
    let options = UpdateOptions { replace, ..UpdateOptions::default() };
    let report = update::update(generation, &attachment, || Ok(change.target.clone()), &options, true, vm)?;
    Ok(Found { report, not_loaded })
}

fn answer(change: &Change, new: &[String], Found { report, not_loaded }: Found) -> Answer {
    let named = |snapshot: &Snapshot, other: &str| match snapshot.commit() {
        Some(id) => format!("commit {}", id.short()),
        None => other.to_owned(),
    };
    let (base, target) = (named(&change.base, "the beginning"), named(&change.target, "the files"));
    let (updated, removed) = (report.modules.len(), report.removed.len());
    let mut text = format!("from {base} to {target}: {updated} updated, {removed} removed\n");
    for line in report.to_string().lines().skip(1) {
        text += &format!("{line}\n");
    }
    for name in new {
        text += &format!("  new      {name}\n");
    }
    for in_use in &change.in_use {
        text += &format!("  in use   {in_use}\n");
    }
    for (name, reason) in &not_loaded {
        text += &format!("  not loaded, so not looked at: {name}: {reason}\n");
    }
    let entries = report.entries.iter();
    let entries: Vec<Value> = entries
        .map(|entry| json!({ "kind": entry.kind.as_str(), "path": entry.path, "detail": entry.detail }))
        .collect();
    let not_loaded: Vec<Value> =
        not_loaded.iter().map(|(name, reason)| json!({ "module": name, "reason": reason })).collect();
    let json = json!({
        "from": change.base.commit().map(|id| id.to_string()),
        "to": change.target.commit().map(|id| id.to_string()),
        "modules": report.modules,
        "removed": report.removed,
        "new": new,
        "entries": entries,
        "in_use": super::in_use_json(&change.in_use),
        "not_loaded": not_loaded,
    });
    let is_refused = report.entries.iter().any(|entry| entry.kind == UpdateKind::Refused);
    Answer { text, json, status: u8::from(is_refused) }
}
