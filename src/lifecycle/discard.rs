//! Closing a space and taking it out of the tree.

use std::{collections::HashSet, sync::Arc};

use rustpython_vm::VirtualMachine;

use crate::{
    error::Error,
    import::{
        generation::{Generation, Node, Shared},
        hooks,
        owner::{self, Owner},
    },
    space::Space,
    sysview::exit,
    vm::frames,
};

/// Closes `node`: runs its `atexit` callbacks, the children's first, and takes it out of the tree. Functions and objects
/// that outside code holds can still be called; imports that would load something raise `SpaceClosedError`, and what
/// native code does on their behalf (printing, `atexit`) it does for the caller's space.
///
/// # Errors
/// [`Error::Root`], [`Error::Inside`], and [`Error::HasChildren`] unless `recursive`. The space is unchanged then.
pub(crate) fn discard(
    shared: &Arc<Shared>,
    node: &Arc<Node>,
    recursive: bool,
    vm: &VirtualMachine,
) -> Result<(), Error> {
    let Some(generation) = node.current() else { return Ok(()) };
    if node.parent.is_none() {
        return Err(Error::Root);
    }
    let subtree = subtree_of(shared, node);
    if subtree.len() > 1 && !recursive {
        let children = subtree.iter().filter(|other| other.id != node.id).map(|other| format!("{:?}", other.name));
        let children = children.collect::<Vec<_>>().join(", ");
        return Err(Error::HasChildren { name: node.name.clone(), children });
    }
    if runs_on_this_thread(&subtree) {
        return Err(Error::Inside { name: node.name.clone() });
    }
    drop(generation);
    // A callback may make a child; it goes with the others.
    let mut ended = HashSet::new();
    loop {
        let next = subtree_of(shared, node).into_iter().find(|node| !ended.contains(&node.id));
        let Some(next) = next else { break };
        ended.insert(next.id);
        if let Some(generation) = next.current() {
            owner::enter(Owner::Space(Arc::clone(&generation)), || exit::run(&generation, vm));
        }
    }
    for node in subtree_of(shared, node) {
        close(shared, &node, vm);
    }
    Ok(())
}

/// `node` and its descendants, leaves first.
fn subtree_of(shared: &Shared, node: &Node) -> Vec<Arc<Node>> {
    let belongs = |other: &&Arc<Node>| other.id == node.id || node.is_ancestor_of(other);
    let mut subtree: Vec<Arc<Node>> = shared.tree.read().values().filter(belongs).cloned().collect();
    subtree.sort_by_key(|node| std::cmp::Reverse(node.chain().count()));
    subtree
}

/// Takes `node` out of the tree; imports see a closed space from here on. Of two threads that close it, one does.
fn close(shared: &Arc<Shared>, node: &Arc<Node>, vm: &VirtualMachine) {
    let Some(generation) = node.generation.swap(None) else { return };
    generation.withdraw();
    let removed = shared.tree.write().remove(node.id);
    shared.forget_handle(node.id);
    // Only dict operations, which cannot fail for lack of anything but memory; a space that is gone for imports is
    // closed either way.
    let _ = hooks::close(&generation, vm);
    tracing::debug!(space = generation.name(), "discarded");
    drop(removed);
}

/// Whether a frame of one of these spaces is below this call, or one of them was entered from native code.
fn runs_on_this_thread(nodes: &[Arc<Node>]) -> bool {
    let belongs = |generation: &Generation| nodes.iter().any(|node| node.id == generation.id());
    let mut found = false;
    frames::find_builtins(frames::FrameMark::bottom(), |builtins| {
        found = Generation::of_builtins(builtins).is_some_and(|generation| belongs(&generation));
        found.then_some(())
    });
    found || owner::any_entered(belongs)
}

impl Space {
    /// Discards the space: runs its `atexit` callbacks, closes it and takes it out of the tree.
    ///
    /// Functions and objects that outside code holds can still be called. Importing what is not loaded raises
    /// `SpaceClosedError` there, and what native code does on their behalf (printing, `atexit`) it does for the caller's
    /// space. Discarding a discarded space does nothing.
    ///
    /// # Errors
    /// [`Error::Root`] for the root, [`Error::HasChildren`] while it has live children (use
    /// [`Space::discard_tree`]), [`Error::Inside`] when code of the space is running on this thread. The space is
    /// unchanged then.
    pub fn discard(&self) -> Result<(), Error> {
        self.discard_with(false)
    }

    /// Discards the space and all its descendants, leaves first.
    ///
    /// # Errors
    /// As [`Space::discard`], without [`Error::HasChildren`].
    pub fn discard_tree(&self) -> Result<(), Error> {
        self.discard_with(true)
    }

    fn discard_with(&self, recursive: bool) -> Result<(), Error> {
        let Ok(node) = self.node() else { return Ok(()) };
        self.runtime.with(|vm| discard(self.runtime.shared(), &node, recursive, vm))
    }
}
