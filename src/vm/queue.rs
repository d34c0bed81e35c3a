//! `_queue.SimpleQueue`, with items that the collector sees.
//!
//! RustPython's own keeps its items from the collector, and nothing outside can read them, so a cycle through a queue was
//! never freed. (Upstream should implement `Traverse` for it.) The behaviour is that of CPython's
//! `Modules/_queuemodule.c`: no limit, and `put` may be called from `__del__` and signal handlers.

use std::{
    collections::VecDeque,
    sync::OnceLock,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustpython_vm::{
    AsObject, FromArgs, Py, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyGenericAlias, PyType, PyTypeRef},
    class::PyClassImpl,
    function::{FuncArgs, TimeoutSeconds},
    object::{Traverse, TraverseFn},
    pyclass,
    types::Constructor,
};

use super::native::payload;

/// How long a waiting thread stays away from the interpreter before it looks for signals.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

static EMPTY: OnceLock<PyTypeRef> = OnceLock::new();

/// Puts the class into the dict of `_queue`.
pub(crate) fn install(dict: &PyDictRef, vm: &VirtualMachine) -> PyResult<()> {
    let empty = dict.get_item("Empty", vm)?.downcast().map_err(|_| vm.new_type_error("_queue.Empty is not a class"))?;
    let _ = EMPTY.set(empty);
    dict.set_item("SimpleQueue", SimpleQueue::make_static_type().into(), vm)
}

/// An unbounded first-in first-out queue.
#[pyclass(module = "_queue", name = "SimpleQueue", traverse = "manual")]
#[derive(Default)]
pub(crate) struct SimpleQueue {
    items: Mutex<VecDeque<PyObjectRef>>,
    arrived: Condvar,
}

// SAFETY: it visits each item once, and each item is one owned reference. It is called while the world is stopped, and
// the mutex is free then or about to be: whoever holds it does nothing but an operation on the deque, or, outside the
// interpreter, a wait that gives it up.
unsafe impl Traverse for SimpleQueue {
    fn traverse(&self, visit: &mut TraverseFn<'_>) {
        for item in self.items.lock().iter() {
            item.traverse(visit);
        }
    }

    fn clear(&mut self, released: &mut Vec<PyObjectRef>) {
        released.extend(self.items.get_mut().drain(..));
    }
}

payload!(SimpleQueue);

impl Constructor for SimpleQueue {
    type Args = FuncArgs;

    /// A derived class may have an `__init__` that takes arguments.
    fn py_new(class: &Py<PyType>, args: FuncArgs, vm: &VirtualMachine) -> PyResult<Self> {
        if class.is(Self::class(&vm.ctx)) && (!args.args.is_empty() || !args.kwargs.is_empty()) {
            return Err(vm.new_type_error("SimpleQueue() takes no arguments"));
        }
        Ok(Self::default())
    }
}

#[derive(FromArgs)]
struct ItemArg {
    #[pyarg(any)]
    item: PyObjectRef,
}

/// As for `queue.Queue`, where there is something to wait for.
#[derive(FromArgs)]
struct PutArgs {
    #[pyarg(any)]
    item: PyObjectRef,
    #[expect(dead_code, reason = "accepted for the sake of `queue.Queue`'s signature")]
    #[pyarg(any, default)]
    block: Option<PyObjectRef>,
    #[expect(dead_code, reason = "likewise")]
    #[pyarg(any, default)]
    timeout: Option<PyObjectRef>,
}

#[derive(FromArgs)]
struct GetArgs {
    #[pyarg(any, default)]
    block: Option<PyObjectRef>,
    #[pyarg(any, default)]
    timeout: Option<TimeoutSeconds>,
}

impl SimpleQueue {
    fn push(&self, item: PyObjectRef) {
        self.items.lock().push_back(item);
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<PyObjectRef> {
        self.items.lock().pop_front()
    }

    /// Waits, for a while, until there may be an item; the thread touches no object meanwhile.
    fn wait(&self, deadline: Option<Instant>, vm: &VirtualMachine) {
        let check = Instant::now() + SIGNAL_CHECK;
        let until = deadline.map_or(check, |deadline| deadline.min(check));
        vm.allow_threads(|| {
            let mut items = self.items.lock();
            if items.is_empty() {
                self.arrived.wait_until(&mut items, until);
            }
        });
    }
}

fn empty(vm: &VirtualMachine) -> PyBaseExceptionRef {
    let class = EMPTY.get().cloned().unwrap_or_else(|| vm.ctx.exceptions.index_error.to_owned());
    vm.new_exception_empty(class)
}

#[pyclass(with(Constructor), flags(BASETYPE, HAS_WEAKREF, IMMUTABLETYPE))]
impl SimpleQueue {
    /// Whether there is no item now.
    #[pymethod]
    fn empty(zelf: &Py<Self>) -> bool {
        zelf.items.lock().is_empty()
    }

    /// How many items there are now.
    #[pymethod]
    fn qsize(zelf: &Py<Self>) -> usize {
        zelf.items.lock().len()
    }

    /// Adds an item; never blocks.
    #[pymethod]
    fn put(zelf: &Py<Self>, args: PutArgs) {
        zelf.push(args.item);
    }

    /// Adds an item; never blocks.
    #[pymethod]
    fn put_nowait(zelf: &Py<Self>, args: ItemArg) {
        zelf.push(args.item);
    }

    /// Takes the oldest item out, and waits for one, for `timeout` seconds if that is not None. Raises Empty.
    #[pymethod]
    fn get(zelf: &Py<Self>, args: GetArgs, vm: &VirtualMachine) -> PyResult {
        let block = args.block.map_or(Ok(true), |block| block.try_to_bool(vm))?;
        let timeout = args.timeout.filter(|_| block).map(TimeoutSeconds::to_secs_f64);
        if timeout.is_some_and(|seconds| seconds < 0.0) {
            return Err(vm.new_value_error("'timeout' must be a non-negative number"));
        }
        let limit = timeout.map(Duration::try_from_secs_f64).transpose();
        let limit = limit.map_err(|_| vm.new_overflow_error("timeout value is too large"))?;
        // Longer than the clock goes is for ever.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            if let Some(item) = zelf.pop() {
                return Ok(item);
            }
            if !block || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(empty(vm));
            }
            zelf.wait(deadline, vm);
            vm.check_signals()?;
        }
    }

    /// Takes the oldest item out. Raises Empty.
    #[pymethod]
    fn get_nowait(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        zelf.pop().ok_or_else(|| empty(vm))
    }

    #[pyclassmethod]
    fn __class_getitem__(class: PyTypeRef, item: PyObjectRef, vm: &VirtualMachine) -> PyResult<PyGenericAlias> {
        PyGenericAlias::from_args(class, item, vm)
    }
}
