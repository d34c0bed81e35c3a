//! In which order new sources are executed, and what they see of modules that are not: what these will have when the update
//! is made. See `spaces/boot/update/rebind.py`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine, builtins::PyStrRef, function::PyMethodDef};

use super::{Work, platform};
use crate::{
    import::{
        generation::Generation,
        owner::{self, Owner},
    },
    persist::imports,
    vm::native::def,
};

/// Which modules import which: what the new sources say for themselves, and the module table for all others.
struct Graph {
    imports: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of(generation: &Generation, work: &Work) -> Self {
        let mut imports: HashMap<String, BTreeSet<String>> = HashMap::new();
        generation.table.each_import(|module, importer| {
            if !work.imports.contains_key(&importer.module) {
                imports.entry(importer.module.clone()).or_default().insert(module.to_owned());
            }
        });
        for (importer, said) in &work.imports {
            imports.insert(importer.clone(), said.modules().collect());
        }
        Self { imports }
    }

    /// What a module imports. A package comes with each module in it.
    fn of_module(&self, name: &str) -> Vec<String> {
        let imported = self.imports.get(name).into_iter().flatten();
        let with_packages = imported.flat_map(|module| {
            module.match_indices('.').map(|(end, _)| module[..end].to_owned()).chain([module.clone()])
        });
        with_packages.filter(|module| module != name).collect()
    }

    /// The modules that these can come to by imports, themselves among them, each after what it imports; in a circle,
    /// after what it imports first.
    fn order<'name>(&self, from: impl Iterator<Item = &'name String>) -> Vec<String> {
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        for name in from {
            if !seen.insert(name.clone()) {
                continue;
            }
            // By a stack of its own: a chain of imports may be longer than that of the thread.
            let mut open = vec![(name.clone(), self.of_module(name).into_iter())];
            while let Some((_, imported)) = open.last_mut() {
                match imported.find(|module| seen.insert(module.clone())) {
                    Some(module) => {
                        let imported = self.of_module(&module).into_iter();
                        open.push((module, imported));
                    }
                    None => order.extend(open.pop().map(|(name, _)| name)),
                }
            }
        }
        order
    }
}

/// What the new sources see.
pub(super) struct Views {
    /// In which order they are executed: places in [`Work::updated`].
    pub(super) order: Vec<usize>,
    /// `rebind.Views`; `None` where only one source is executed, which sees nothing of itself.
    views: Option<PyObjectRef>,
}

impl Views {
    /// For the running thread's own `sys.modules`.
    pub(super) fn new(generation: &Arc<Generation>, work: &Work, vm: &VirtualMachine) -> PyResult<Self> {
        if work.updated.len() < 2 {
            return Ok(Self { order: (0..work.updated.len()).collect(), views: None });
        }
        let graph = Graph::of(generation, work);
        let reached = graph.order(work.updated.iter());
        let places: HashMap<&String, usize> = work.updated.iter().enumerate().map(|(at, name)| (name, at)).collect();
        let order = reached.iter().filter_map(|name| places.get(name).copied()).collect();
        // Packages have what is in them.
        let mut importers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let unchanged: HashSet<&str> =
            reached.iter().map(|name| &**name).filter(|name| !work.imports.contains_key(*name)).collect();
        for module in &unchanged {
            for imported in graph.imports.get(*module).into_iter().flatten() {
                importers.entry(imported).or_default().insert(module);
            }
        }
        for name in &reached {
            if let Some((package, _)) = name.rsplit_once('.')
                && unchanged.contains(package)
            {
                importers.entry(name).or_default().insert(package);
            }
        }
        let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
        let by_module = vm.ctx.new_dict();
        for (module, importers) in importers {
            let importers = importers.into_iter().map(text).collect();
            by_module.set_item(module, vm.ctx.new_list(importers).into(), vm)?;
        }
        let loaded = generation.modules(vm)?;
        let views = owner::enter(Owner::Hidden, || {
            let class = platform::module(generation, "modspace.rebind", vm)?.get_attr("Views", vm)?;
            class.call((loaded, by_module), vm)
        })?;
        Ok(Self { order, views: Some(views) })
    }

    /// The module `name` was executed anew.
    pub(super) fn show(&self, name: &str, old: &PyObjectRef, new: &PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        let Some(views) = &self.views else { return Ok(()) };
        let args = (vm.ctx.new_str(name), old.clone(), new.clone());
        owner::enter(Owner::Hidden, || vm.call_method(views, "show", args)).map(drop)
    }

    /// All sources were executed: nobody sees the views any more. Returns a list of pairs, of a module and its view.
    pub(super) fn end(self, vm: &VirtualMachine) -> PyResult {
        match self.views {
            Some(views) => owner::enter(Owner::Hidden, || vm.call_method(&views, "end", ())),
            None => Ok(vm.ctx.new_list(Vec::new()).into()),
        }
    }
}

pub(super) static ALIASES: PyMethodDef = def("aliases", aliases);

/// What the source of the module `name` takes from another: pairs of a name there and a name here.
fn aliases(
    _none: PyObjectRef,
    name: PyStrRef,
    source: PyStrRef,
    from: PyStrRef,
    vm: &VirtualMachine,
) -> Vec<PyObjectRef> {
    let (Some(name), Some(source), Some(from)) = (name.to_str(), source.to_str(), from.to_str()) else {
        return Vec::new();
    };
    let text = |text: String| -> PyObjectRef { vm.ctx.new_str(text).into() };
    let pairs = imports::aliases(name, source, from).into_iter();
    pairs.map(|(name, local)| vm.ctx.new_tuple(vec![text(name), text(local)]).into()).collect()
}
