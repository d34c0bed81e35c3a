//! Which virtual machine belongs to the running thread.
//!
//! RustPython has one `VirtualMachine` per thread over one shared interpreter state. The thread that made the
//! interpreter uses the interpreter's own (the only one that handles signals); a thread that is already inside one
//! stays in it; any other thread gets one at its first entry and keeps it until it ends.

use std::{cell::RefCell, mem::ManuallyDrop, rc::Rc};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustpython_vm::{
    Interpreter, VirtualMachine,
    vm::thread::{self, ThreadedVirtualMachine},
};

enum Machine {
    /// The interpreter itself, on the thread that made it. When the thread ends without shutting it down, it stays:
    /// other threads may still use it, and finalising needs thread-local state that may be gone by then.
    Main(ManuallyDrop<Interpreter>),
    /// A machine made for this thread.
    Thread(ThreadMachine),
}

/// Leaving the thread, it takes the thread out of the interpreter's registry.
struct ThreadMachine(ThreadedVirtualMachine);

impl Machine {
    fn run<R>(&self, body: impl FnOnce(&VirtualMachine) -> R) -> R {
        match self {
            Self::Main(interpreter) => interpreter.enter(body),
            Self::Thread(machine) => machine.0.run(body),
        }
    }
}

impl Drop for ThreadMachine {
    fn drop(&mut self) {
        self.0.run(thread::cleanup_current_thread_frames);
    }
}

thread_local! {
    static MACHINES: RefCell<FxHashMap<i64, Rc<Machine>>> = RefCell::default();
    static AT_EXIT: AtExit = const { AtExit };
}

/// Drops the thread's machines when the thread ends.
///
/// Thread-local values are dropped in the reverse order of their first use. This one is first used after a machine has
/// run something, when everything thread-local that RustPython needs for leaving a thread is in place, so it goes
/// before all of that.
struct AtExit;

impl Drop for AtExit {
    fn drop(&mut self) {
        let machines = MACHINES.try_with(RefCell::take);
        drop(machines);
    }
}

/// Finds or makes the machine of the running thread, for one interpreter.
pub(crate) struct Machines {
    interpreter: i64,
    template: Mutex<ThreadedVirtualMachine>,
}

impl Machines {
    /// Takes over `interpreter`, which stays on the calling thread.
    pub(crate) fn new(interpreter: Interpreter) -> Self {
        let (id, template) = interpreter.enter(|vm| (vm.state.interpreter_id, vm.new_thread()));
        MACHINES
            .with(|machines| machines.borrow_mut().insert(id, Rc::new(Machine::Main(ManuallyDrop::new(interpreter)))));
        Self { interpreter: id, template: Mutex::new(template) }
    }

    pub(crate) fn interpreter(&self) -> i64 {
        self.interpreter
    }

    /// Runs `body` with the running thread's machine.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&VirtualMachine) -> R) -> R {
        if self.inside() {
            // It may have left the interpreter for the length of a blocking call.
            return thread::with_current_vm(|vm| thread::attach_for_callback(vm, || body(vm)));
        }
        let known = MACHINES.with(|machines| machines.borrow().get(&self.interpreter).cloned());
        let machine = known.unwrap_or_else(|| {
            let machine = Rc::new(Machine::Thread(ThreadMachine(self.template.lock().run(|vm| vm.new_thread()))));
            MACHINES.with(|machines| machines.borrow_mut().insert(self.interpreter, Rc::clone(&machine)));
            machine
        });
        let result = machine.run(body);
        super::freelists::free_at_exit();
        AT_EXIT.with(|_| ());
        result
    }

    /// Whether the running thread is inside this interpreter.
    fn inside(&self) -> bool {
        thread::current_vm_is_set() && thread::with_current_vm(|vm| vm.state.interpreter_id == self.interpreter)
    }

    /// Gives the interpreter back to the thread that made it, when that is the running thread and it is not inside.
    pub(crate) fn take_interpreter(&self) -> Option<Interpreter> {
        if self.inside() {
            return None;
        }
        MACHINES.with(|machines| {
            let mut machines = machines.borrow_mut();
            let machine = machines.remove(&self.interpreter)?;
            match Rc::try_unwrap(machine) {
                Ok(Machine::Main(interpreter)) => Some(ManuallyDrop::into_inner(interpreter)),
                Ok(Machine::Thread(_)) => None,
                Err(in_use) => {
                    machines.insert(self.interpreter, in_use);
                    None
                }
            }
        })
    }
}
