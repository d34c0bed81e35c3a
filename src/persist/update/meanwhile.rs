//! What other threads do while an update is being prepared: they import. Its plan holds as long as they have loaded no
//! module that it would have updated, and taken no names from the modules that it updates.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObjectRef, VirtualMachine,
    builtins::{PyDict, PyDictRef, PyStrRef},
};

use super::apply::below;
use crate::{import::generation::Generation, vm::heap::Stopped};

pub(super) struct Meanwhile {
    /// The `sys.modules` of all threads; a program's own kind of it cannot be asked while they stand still.
    modules: Option<PyDictRef>,
    /// Names that were free in it, or had something else than a module of the update.
    seen: Vec<(PyStrRef, Option<PyObjectRef>)>,
    /// Where modules may be that import from those of the update.
    homes: Vec<Arc<Generation>>,
    updated: Vec<String>,
    /// How many imports from these were known when the plan was made.
    importers: usize,
}

impl Meanwhile {
    pub(super) fn new(
        generation: &Arc<Generation>,
        modules: &PyObjectRef,
        seen: Vec<(PyStrRef, Option<PyObjectRef>)>,
        updated: &[String],
    ) -> Self {
        Self {
            modules: modules.clone().downcast::<PyDict>().ok(),
            seen,
            homes: std::iter::once(Arc::clone(generation)).chain(below(generation)).collect(),
            updated: updated.to_vec(),
            importers: 0,
        }
    }

    /// To be called before a plan is made, with the new modules that come with it.
    pub(super) fn begin_plan(&mut self, added: &[(String, PyObjectRef)], vm: &VirtualMachine) {
        self.seen.extend(added.iter().map(|(name, _)| (vm.ctx.new_str(&**name), None)));
        self.importers = self.count_importers();
    }

    /// Whether the plan has all modules that have taken names from others.
    pub(super) fn has_all_importers(&self) -> bool {
        self.count_importers() == self.importers
    }

    fn count_importers(&self) -> usize {
        self.homes.iter().map(|home| home.table.imports_from(&self.updated)).sum()
    }

    /// A number that is another one when somebody has taken names from a module for the first time in between. It can be
    /// read at any moment; who could hold the locks of the tables stands still.
    pub(super) fn imports(&self) -> usize {
        self.homes.iter().fold(0, |sum, home| sum.wrapping_add(home.table.imports()))
    }

    /// Whether `sys.modules` has, under the names in question, what it had.
    pub(super) fn is_as_seen(&self, _world: &Stopped<'_>, vm: &VirtualMachine) -> bool {
        let Some(modules) = &self.modules else { return true };
        self.seen.iter().all(|(name, seen)| match (modules.get_item_opt(&**name, vm), seen) {
            (Ok(Some(now)), Some(seen)) => now.is(seen),
            (Ok(None), None) => true,
            _ => false,
        })
    }
}
