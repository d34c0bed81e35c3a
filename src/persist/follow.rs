//! Spaces that follow a branch as commits come.

use std::{sync::Arc, time::Duration};

use rustpython_vm::{PyResult, VirtualMachine, vm::thread};

use super::{
    finder::Attachment,
    raise::raise,
    store::Heads,
    update::{self, UpdateOptions},
};
use crate::{
    event::Worker,
    import::{context, generation::Node},
    vm::panic,
};

/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Starts a thread that syncs the space as the branch moves, until the space is discarded or detached. What a new source
/// raises is reported through `sys.unraisablehook`; the space stays at the commit before then, until the next one comes.
pub(crate) fn follow(node: &Arc<Node>, attachment: Arc<Attachment>, vm: &VirtualMachine) -> PyResult<()> {
    let heads = vm.allow_threads(|| attachment.subscribe()).map_err(|error| raise(&error, vm))?;
    let worker = Arc::new(Worker::default());
    node.workers.lock().push(Arc::clone(&worker));
    let machine = vm.new_thread();
    let (of_space, of_thread) = (Arc::downgrade(node), Arc::clone(&worker));
    let spawned = std::thread::Builder::new().name("modspace-follow".to_owned()).spawn(move || {
        machine.run(|vm| {
            run(heads, &attachment, &of_thread, || of_space.upgrade(), vm);
            thread::cleanup_current_thread_frames(vm);
        });
        of_thread.finish();
    });
    if let Err(error) = spawned {
        worker.finish();
        return Err(vm.new_os_error(format!("cannot start a thread that follows the store: {error}")));
    }
    Ok(())
}

fn run(
    mut heads: Heads,
    attachment: &Arc<Attachment>,
    worker: &Worker,
    node: impl Fn() -> Option<Arc<Node>>,
    vm: &VirtualMachine,
) {
    // What came between the commit that was attached and the subscription.
    let mut is_behind = true;
    while !worker.is_ended() && !attachment.is_detached() {
        if is_behind && let Some(generation) = node().and_then(|node| node.current()) {
            is_behind = false;
            let options = UpdateOptions::default();
            let updated = context::enter(Arc::clone(&generation), vm, || {
                panic::catch(vm, || update::update(&generation, attachment, || attachment.head(), &options, false, vm))
            });
            if let Err(error) = updated
                && !worker.is_ended()
            {
                let message = format!("Exception ignored while the space {:?} follows its store", generation.name());
                vm.run_unraisable(error, Some(message), vm.ctx.none());
            }
        }
        match vm.allow_threads(|| heads.next(LOOK)) {
            Ok(moves) => is_behind |= !moves.is_empty(),
            Err(error) => {
                vm.run_unraisable(
                    raise(&error, vm),
                    Some("Exception ignored while following a store".to_owned()),
                    vm.ctx.none(),
                );
                // It may come back: a file on another machine, say.
                vm.allow_threads(|| std::thread::sleep(LOOK));
            }
        }
    }
}
