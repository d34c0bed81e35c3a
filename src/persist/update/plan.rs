//! Plans how modules take over what their second copies define; see `spaces/boot/update/plan.py`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustpython_vm::{
    AsObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyList, PyModule, PySet, PyStr, PyStrRef, PyTuple, PyType},
    function::{IntoFuncArgs, PyMethodDef},
};

use super::{
    Pair, UpdateEntry, UpdateKind, UpdateOptions, UpdateReport, ahead,
    apply::below,
    caused,
    migrate::{self, Listing},
    platform,
};
use crate::{
    import::{
        generation::Generation,
        key::SpaceKey,
        owner::{self, Owner},
    },
    persist::{imports::Taken, raise::class},
    sysview::visible,
    vm::{
        change::Change,
        native::{bind, def},
    },
};

/// The functions of `plan.py`, for one update.
pub(super) struct Planner {
    functions: PyObjectRef,
    /// What was found about what the new sources did elsewhere.
    executed: PyObjectRef,
}

pub(super) struct Planned {
    pub(super) update: PyObjectRef,
    pub(super) changes: Vec<Change>,
}

impl Planner {
    pub(super) fn new(generation: &Arc<Generation>, executed: PyObjectRef, vm: &VirtualMachine) -> PyResult<Self> {
        let functions = platform::module(generation, "modspace.plan", vm)?;
        Ok(Self { functions, executed })
    }

    pub(super) fn call_with(&self, function: &'static str, args: impl IntoFuncArgs, vm: &VirtualMachine) -> PyResult {
        owner::enter(Owner::Hidden, || self.functions.get_attr(function, vm)?.call(args, vm))
    }

    pub(super) fn plan(
        &self,
        generation: &Arc<Generation>,
        pairs: &[Pair<'_>],
        added: &[(String, PyObjectRef)],
        options: &UpdateOptions,
        report: &mut UpdateReport,
        vm: &VirtualMachine,
    ) -> PyResult<Planned> {
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let list = |items: Vec<PyObjectRef>| -> PyObjectRef { vm.ctx.new_list(items).into() };
        let tuple = |items: Vec<PyObjectRef>| -> PyObjectRef { vm.ctx.new_tuple(items).into() };
        let args: Vec<PyObjectRef> = vec![
            list(pairs.iter().map(|(name, (old, new))| tuple(vec![text(name), old.clone(), new.clone()])).collect()),
            list(added.iter().map(|(_, module)| module.clone()).collect()),
            vm.ctx.new_bool(options.replace).into(),
            bind(&IMPORTERS, generation.key.clone(), vm),
            bind(&UNRAISABLE, generation.key.clone(), vm),
            self.executed.clone(),
        ];
        let planned = self.call_with("plan", args, vm)?;
        let parts = planned.downcast::<PyTuple>().map_err(|_| wrong(vm))?;
        let [update, changes, entries, _refused] = parts.as_slice() else { return Err(wrong(vm)) };
        Ok(Planned { update: update.clone(), changes: planned_changes(changes, entries, report, vm)? })
    }

    /// Changes for names that other threads took from the modules while the plan was made.
    pub(super) fn late(
        &self,
        update: &PyObjectRef,
        report: &mut UpdateReport,
        vm: &VirtualMachine,
    ) -> PyResult<Vec<Change>> {
        let late = self.call_with("late", (update.clone(),), vm)?;
        let parts = late.downcast::<PyTuple>().map_err(|_| wrong(vm))?;
        let [changes, entries] = parts.as_slice() else { return Err(wrong(vm)) };
        planned_changes(changes, entries, report, vm)
    }

    /// What is to be changed beside what the plan has, and whose instances are to be listed then.
    pub(super) fn prepare(
        &self,
        generation: &Generation,
        update: &PyObjectRef,
        vm: &VirtualMachine,
    ) -> PyResult<(Vec<Change>, Listing)> {
        let args = (update.clone(), migrate::registered(generation, vm));
        let changes = self.call_with("prepare", args, vm)?;
        let changes: Vec<PyObjectRef> = changes.try_to_value(vm)?;
        let changes = changes.iter().map(|change| to_change(change, vm)).collect::<PyResult<_>>()?;
        Ok((changes, Listing::of(&update.get_attr("watched", vm)?, vm)?))
    }

    /// Calls a function about what was planned.
    pub(super) fn call(&self, function: &'static str, update: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        self.call_with(function, (update.clone(),), vm).map(drop)
    }
}

fn wrong(vm: &VirtualMachine) -> PyBaseExceptionRef {
    vm.new_type_error("the plan has another shape")
}

/// The changes of a plan; its lines go into the report.
fn planned_changes(
    changes: &PyObjectRef,
    entries: &PyObjectRef,
    report: &mut UpdateReport,
    vm: &VirtualMachine,
) -> PyResult<Vec<Change>> {
    let items = |list: &PyObjectRef| Ok(list.downcast_ref::<PyList>().ok_or_else(|| wrong(vm))?.borrow_vec().to_vec());
    for entry in items(entries)? {
        let entry = entry.downcast::<PyTuple>().map_err(|_| wrong(vm))?;
        let [kind, path, detail] = entry.as_slice() else { return Err(wrong(vm)) };
        let text = |text: &PyObjectRef| -> PyResult<String> {
            let text: PyStrRef = text.clone().try_into_value(vm)?;
            Ok(text.to_string_lossy().into_owned())
        };
        let (kind, path, detail) = (UpdateKind::of(&text(kind)?), text(path)?, text(detail)?);
        report.entries.push(UpdateEntry { kind, path, detail });
    }
    items(changes)?.iter().map(|change| to_change(change, vm)).collect()
}

/// The `UpdateError` for a plan that could not be made.
pub(super) fn unplanned(cause: PyBaseExceptionRef, vm: &VirtualMachine) -> PyBaseExceptionRef {
    if !cause.fast_isinstance(vm.ctx.exceptions.exception_type) {
        return cause;
    }
    let what = cause.class().name().to_string();
    let message = format!("the update could not be planned: {what}; nothing was changed");
    caused(vm.new_exception_msg(class("UpdateError", vm), message.into()), cause, vm)
}

/// Takes the classes of modules that are not needed any more out of the lists of their bases.
pub(super) fn disown_all(generation: &Generation, modules: &[PyObjectRef], vm: &VirtualMachine) -> PyResult<()> {
    let modules = vm.ctx.new_list(modules.to_vec());
    owner::enter(Owner::Hidden, || {
        platform::module(generation, "modspace.plan", vm)?.get_attr("abandon", vm)?.call((modules,), vm).map(drop)
    })
}

pub(super) static DISOWN: PyMethodDef = def("disown", disown);

/// Takes second copies of classes out of the lists of subclasses that their bases have.
fn disown(_none: PyObjectRef, classes: Vec<PyObjectRef>) {
    for class in &classes {
        let Some(class) = class.downcast_ref::<PyType>() else { continue };
        let bases = class.bases.read().as_slice().to_vec();
        for base in bases {
            let mut gone = Vec::new();
            base.subclasses.write().retain(|entry| match entry.upgrade() {
                Some(subclass) if !subclass.is(class) => {
                    gone.push(subclass);
                    true
                }
                Some(subclass) => {
                    gone.push(subclass);
                    false
                }
                None => false,
            });
            drop(gone);
        }
    }
}

/// A change, as the plan has it: what it is, and its parts.
fn to_change(change: &PyObjectRef, vm: &VirtualMachine) -> PyResult<Change> {
    let wrong = || vm.new_type_error("a change in the plan has another shape");
    let parts = change.downcast_ref::<PyTuple>().ok_or_else(wrong)?.as_slice();
    let text = |object: &PyObjectRef| object.clone().downcast::<PyStr>().map_err(|_| wrong());
    let (Some(kind), Some(object)) = (parts.first(), parts.get(1)) else { return Err(wrong()) };
    let value = parts.get(3).cloned();
    let key = parts.get(2).ok_or_else(wrong)?;
    Ok(match text(kind)?.to_str() {
        Some("item") => {
            let dict = object.clone().downcast::<PyDict>().map_err(|_| wrong())?;
            Change::Item { dict, key: text(key)?, value }
        }
        Some("attribute") => Change::Attribute { object: object.clone(), name: text(key)?, value },
        Some("class") => Change::ClassAttribute { class: object.clone(), name: text(key)?, value },
        Some("swap") => Change::Swap { one: object.clone(), other: key.clone() },
        _ => return Err(wrong()),
    })
}

static UNRAISABLE: PyMethodDef = def("unraisable", unraisable);

/// Reports what a program's hook raised, by the space's `sys.unraisablehook`.
fn unraisable(
    key: PyRef<SpaceKey>,
    error: PyBaseExceptionRef,
    function: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let message = "Exception ignored while an instance took over a new class".to_owned();
    visible::unraisable(&key.get(vm)?, error, message, function, vm);
    Ok(())
}

static IMPORTERS: PyMethodDef = def("importers", importers);

/// Who has imported names from a module, and which: in this space, and in those below it that may have taken the module
/// from it.
fn importers(key: PyRef<SpaceKey>, module: PyStrRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let generation = key.get(vm)?;
    let below = below(&generation);
    let mut all = Vec::new();
    for generation in std::iter::once(generation).chain(below) {
        let Some(record) = generation.table.get(&module.to_string_lossy()) else { continue };
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for importer in record.importers {
            names.entry(importer.module).or_default().extend(importer.names);
        }
        for (importer, names) in names.into_iter().filter(|(_, names)| !names.is_empty()) {
            let found = generation.commonly_loaded(&vm.ctx.new_str(importer), vm)?;
            if let Some(found) = found.filter(|found| found.downcast_ref::<PyModule>().is_some()) {
                let names = names.into_iter().map(|name| vm.ctx.new_str(name).into()).collect();
                all.push(vm.ctx.new_tuple(vec![found, vm.ctx.new_list(names).into()]).into());
            }
        }
    }
    Ok(all)
}

pub(super) static BINDINGS: PyMethodDef = def("bindings", bindings);

/// How a module binds what it takes from others: tuples of a module, a name there and a name here, for its own names; the same
/// for names in its classes and functions; and the names that it binds otherwise. None when its source is not known.
fn bindings(_none: PyObjectRef, module: PyRef<PyModule>, vm: &VirtualMachine) -> PyResult {
    let Some(known) = ahead::bindings(&module, vm) else { return Ok(vm.ctx.none()) };
    let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
    let set = |items: Vec<PyObjectRef>| -> PyResult {
        let set = PySet::default();
        items.into_iter().try_for_each(|item| set.add(item, vm))?;
        Ok(set.into_pyobject(vm))
    };
    let taken = |all: &[Taken]| {
        let row = |one: &Taken| vm.ctx.new_tuple(vec![text(&one.module), text(&one.name), text(&one.local)]).into();
        set(all.iter().map(row).collect())
    };
    let own = set(known.own.iter().map(|name| text(name)).collect())?;
    Ok(vm.ctx.new_tuple(vec![taken(&known.global)?, taken(&known.inner)?, own]).into())
}
