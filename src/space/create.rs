//! Making a space.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use rustpython_vm::{PyObjectRef, PyPayload, PyResult, VirtualMachine, builtins::PyBaseExceptionRef};

use crate::{
    error::Error,
    event::EventKind,
    import::{
        generation::{Generation, Node, Shared},
        key::SpaceKey,
        policy::{Delegation, Pattern, Policy},
    },
    sysview::visible,
    vm::hidden,
};

/// Where a new space's `sys.path` comes from.
#[derive(Clone, Debug, Default)]
pub(crate) enum SearchPath {
    /// A copy of the parent's.
    #[default]
    Inherit,
    /// Exactly these entries.
    Exactly(Vec<String>),
}

/// What a new space is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) name: Option<String>,
    pub(crate) path: SearchPath,
    pub(crate) prepend: Vec<String>,
    pub(crate) delegation: Delegation,
    pub(crate) share: Vec<Pattern>,
    pub(crate) fresh: Vec<Pattern>,
    pub(crate) argv: Option<Vec<String>>,
}

/// Why a space was not made. Nothing is left of the attempt.
pub(crate) enum Failure {
    Refused(Error),
    Raised(PyBaseExceptionRef),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<PyBaseExceptionRef> for Failure {
    fn from(error: PyBaseExceptionRef) -> Self {
        Self::Raised(error)
    }
}

static UNNAMED: AtomicU64 = AtomicU64::new(1);

/// How long a space's name may be, in characters.
const MAX_NAME: usize = 255;

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::Name { value: name.chars().take(MAX_NAME).collect() });
    }
    Ok(())
}

/// Makes a space under `parent`, or the root.
pub(crate) fn create(
    shared: &Arc<Shared>,
    parent: Option<&Arc<Node>>,
    config: Config,
    vm: &VirtualMachine,
) -> Result<Arc<Node>, Failure> {
    let name = match config.name {
        Some(name) => name,
        None => format!("space-{}", UNNAMED.fetch_add(1, Ordering::Relaxed)),
    };
    check_name(&name)?;
    let above = match parent {
        Some(parent) => Some(parent.current().ok_or_else(|| Error::Closed { name: parent.name.clone() })?),
        None => None,
    };
    let own_library = !matches!(&config.path, SearchPath::Exactly(entries) if entries.is_empty());
    let policy = Policy { delegation: config.delegation, share: config.share, fresh: config.fresh, own_library };
    let id = shared.tree.write().insert_with_key(|id| {
        Arc::new(Node {
            id,
            name,
            parent: parent.cloned(),
            generation: ArcSwapOption::empty(),
            workers: Default::default(),
        })
    });
    let made = (|| {
        let node = shared.node(id).ok_or(Error::Unknown { id: id.as_u64() })?;
        let inherit = above.as_ref().map_or_else(|| hidden::sys_dict(vm), |above| above.sys_dict.clone());
        let generation = generation(shared, &node, policy, 1, &inherit, vm)?;
        if let SearchPath::Exactly(entries) = config.path {
            generation.sys_dict.set_item("path", strings(entries, vm), vm)?;
        }
        if !config.prepend.is_empty() {
            let path = generation.sys_dict.get_item("path", vm)?;
            for entry in config.prepend.into_iter().rev() {
                vm.call_method(&path, "insert", (0, entry))?;
            }
        }
        if let Some(argv) = config.argv {
            generation.sys_dict.set_item("argv", strings(argv, vm), vm)?;
        }
        // Made while the parent was being discarded, it would outlive it.
        if let Some(parent) = parent.filter(|parent| parent.is_closed()) {
            return Err(Error::Closed { name: parent.name.clone() }.into());
        }
        generation.publish();
        let is_in_tree = {
            // Both at once: who discards it with its parent either gets the generation, or it is not given any.
            let tree = shared.tree.write();
            let is_in_tree = tree.contains_key(id);
            if is_in_tree {
                node.generation.store(Some(Arc::clone(&generation)));
            }
            is_in_tree
        };
        if !is_in_tree {
            generation.unpublish();
            return Err(Error::Closed { name: node.name.clone() }.into());
        }
        generation.tell(EventKind::Created, None, || None);
        Ok(node)
    })();
    if made.is_err() {
        shared.tree.write().remove(id);
    }
    made
}

fn strings(items: Vec<String>, vm: &VirtualMachine) -> PyObjectRef {
    vm.ctx.new_list(items.into_iter().map(|item| vm.fsdecode(item).into()).collect()).into()
}

/// A generation of `node`, not yet published.
fn generation(
    shared: &Arc<Shared>,
    node: &Arc<Node>,
    policy: Policy,
    number: u64,
    inherit: &rustpython_vm::builtins::PyDictRef,
    vm: &VirtualMachine,
) -> PyResult<Arc<Generation>> {
    let key = SpaceKey::new(&node.name).into_ref(&vm.ctx);
    let (sys, sys_dict) = visible::new_sys(&key, inherit, node.parent.is_some(), vm)?;
    let (builtins, builtins_dict) = visible::new_builtins(vm)?;
    let modules = vm.ctx.new_dict();
    modules.set_item("sys", sys.clone().into(), vm)?;
    modules.set_item("builtins", builtins.clone().into(), vm)?;
    sys_dict.set_item("modules", modules.into(), vm)?;
    Ok(Generation::new(node, shared, number, policy, key, (sys, sys_dict), (builtins, builtins_dict)))
}
