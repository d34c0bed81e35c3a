//! What a space sees of the interpreter: `sys`, `builtins`, and the state of native modules that would otherwise be
//! process-wide.
//!
//! | module | what it emulates |
//! | --- | --- |
//! | [`dispatch`] | the hidden `sys`, which finds the space of the running code |
//! | [`visible`] | the `sys` and `builtins` modules that a space's code sees |
//! | [`execution`] | `exec` and `eval` |
//! | [`exit`] | `atexit` |
//! | [`codecs`] | codec search functions and error handlers |
//! | [`hooks`] | functions of platform modules that programs assign |
//! | [`migrations`] | what is called for instances of classes that are updated |
//! | [`natives`] | `_imp`, and the `_thread` functions that carry the space to a new thread |

pub(crate) mod codecs;
pub(crate) mod dispatch;
pub(crate) mod execution;
pub(crate) mod exit;
pub(crate) mod hooks;
pub(crate) mod migrations;
pub(crate) mod natives;
pub(crate) mod visible;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine, builtins::PyDictRef};

use crate::{event::Delivery, import::generation::Generation, vm::change::Retired};

/// What a space has registered with native modules. It goes with its generation.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) exit: exit::Callbacks,
    pub(crate) codecs: codecs::Registry,
    /// The identifiers of the running threads that the space started, and whether a program waits for them when it ends.
    pub(crate) threads: Mutex<HashMap<u64, bool>>,
    /// What it gave to `sqlite3.register_adapter` and `register_converter`.
    pub(crate) adapters: Mutex<Vec<natives::Adapter>>,
    /// What it gave to `os.register_at_fork`.
    pub(crate) fork_hooks: Mutex<Vec<PyObjectRef>>,
    /// The threads that hand events on to its functions.
    pub(crate) subscriptions: Mutex<Vec<Arc<Delivery>>>,
    /// What it gave to `sys.addaudithook`.
    pub(crate) audit_hooks: Mutex<Vec<PyObjectRef>>,
    /// What is called for the instances of classes that are updated.
    pub(crate) migrations: migrations::Hooks,
    /// Functions with replaced code that may still be running.
    pub(crate) retired: Retired,
}

impl State {
    /// What is registered, with what it is.
    pub(crate) fn objects(&self, vm: &VirtualMachine) -> Vec<(&'static str, PyObjectRef)> {
        let mut objects: Vec<_> = self.exit.objects(vm).into_iter().map(|object| ("atexit callback", object)).collect();
        objects.extend(self.audit_hooks.lock().iter().map(|hook| ("audit hook", hook.clone())));
        objects.extend(self.codecs.objects().into_iter().map(|object| ("codec", object)));
        objects.extend(self.migrations.all().into_iter().map(|hook| ("migration", hook.function)));
        objects
    }

    /// Lets go of everything that was registered.
    pub(crate) fn clear(&self) {
        self.exit.clear();
        let audit = std::mem::take(&mut *self.audit_hooks.lock());
        drop(audit);
        self.codecs.clear();
        self.migrations.clear();
    }
}

/// Adapts the dict of a new projection to its space.
pub(crate) fn customise(
    generation: &Arc<Generation>,
    name: &str,
    dict: &PyDictRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    match name {
        // Its functions find their state through `sys.modules`.
        "_elementtree" => dict.set_item("_state", natives::new_state("_elementtree", "_state", vm)?, vm),
        // Programs see the class they know; see `natives::guard_caches`.
        "functools" => dict.set_item("_lru_cache_wrapper", natives::native_cache(vm)?, vm),
        "_sqlite3" => natives::own_adapters(generation, dict, vm),
        // A package: its submodules are written in Python.
        "modspace" => dict.set_item("__path__", vm.ctx.new_list(Vec::new()).into(), vm),
        "weakref" => visible::own_finalizers(generation, dict, vm),
        _ => Ok(()),
    }
}

/// Replaces, in the hidden modules, the functions whose effect belongs to the calling space. They are replaced before
/// any other module could take a reference to them.
pub(crate) fn emulate(vm: &VirtualMachine) -> PyResult<()> {
    natives::emulate(vm)?;
    exit::emulate(vm)?;
    codecs::emulate(vm)
}
