//! Ended generations that something held, looked at again.

use std::sync::{Arc, Weak};

use rustpython_vm::{
    PyObjectRef, PyResult, VirtualMachine,
    function::{FuncArgs, PyMethodDef},
};

use super::{
    discard::{DiscardOptions, Effort, discard, reclaim},
    paths,
    reload::drain,
    report::DiscardReport,
    scope::Scope,
};
use crate::{
    import::{
        generation::{Generation, Shared},
        project::hidden_module,
    },
    space::Runtime,
    vm::native::{bind_in, def},
};

static COLLECT: PyMethodDef = def("collect", collect);

/// Makes `gc.collect()` look at ended generations, too: RustPython's collector does not see all that they are made of.
pub(crate) fn install(vm: &VirtualMachine) -> PyResult<()> {
    let gc = hidden_module("gc", vm)?.dict();
    let original = gc.get_item("collect", vm)?;
    gc.set_item("collect", bind_in(&COLLECT, original, "gc", vm)?, vm)
}

fn collect(original: PyObjectRef, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
    let collected = original.call(args, vm)?;
    let Some(shared) = Shared::of(vm) else { return Ok(collected) };
    let freed = sweep(&shared, vm);
    if freed == 0 {
        return Ok(collected);
    }
    let collected: usize = collected.try_to_value(vm)?;
    Ok(vm.ctx.new_int(collected + freed).into())
}

/// Discards every space but the root, leaves first, and says what is left of them and of those that were discarded
/// before.
pub(crate) fn leaks(runtime: &Runtime) -> Vec<DiscardReport> {
    let shared = runtime.shared();
    let mut reports = runtime.with(|vm| {
        sweep(shared, vm);
        let leftovers = std::mem::take(&mut *shared.leftovers.lock());
        let report = |generation: &Arc<Generation>| {
            let mut report = DiscardReport::new(generation.name());
            report.generation = generation.number;
            let classes = leftovers.classes.iter().filter(|mark| mark.space == generation.id()).cloned();
            let scope = Scope::new(vec![Arc::clone(generation)], &classes.collect::<Vec<_>>(), vm);
            report.held = paths::entries(&scope, vm);
            report
        };
        let generations: Vec<_> = leftovers.generations.iter().filter_map(Weak::upgrade).collect();
        let reports = generations.iter().map(report).filter(|report| !report.is_clean()).collect::<Vec<_>>();
        *shared.leftovers.lock() = leftovers;
        reports
    });
    let mut nodes: Vec<_> = shared.tree.read().values().filter(|node| node.parent.is_some()).cloned().collect();
    nodes.reverse();
    nodes.sort_by_key(|node| std::cmp::Reverse(node.chain().count()));
    for node in nodes {
        let options = DiscardOptions { recursive: true, ..DiscardOptions::default() };
        // Only a space that runs on this thread is refused, and nothing does.
        if let Ok(discarded) = runtime.with(|vm| discard(shared, &node, options, vm))
            && discarded.report.generation > 0
        {
            reports.push(discarded.report);
        }
    }
    reports
}

/// Frees ended generations that nothing holds any more. Returns how many objects that were.
pub(crate) fn sweep(shared: &Arc<Shared>, vm: &VirtualMachine) -> usize {
    let drained: usize = drain(shared, Effort::Thorough, vm).iter().map(|(_, report)| report.objects).sum();
    let mut report = DiscardReport::default();
    if !shared.leftovers.lock().is_empty() {
        reclaim(shared, &[], Vec::new(), Effort::Thorough, &mut report, vm);
    }
    drained + report.objects
}
