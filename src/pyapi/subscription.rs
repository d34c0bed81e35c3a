//! Events for Python functions.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use crossbeam::channel::Receiver;
use rustpython_vm::{
    FromArgs, Py, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine, pyclass, types::Representable, vm::thread,
};

use super::{calling, module_space};
use crate::{
    event::{self, Delivery, EventKind},
    import::{
        generation::Shared,
        key::SpaceKey,
        owner::{self, Owner},
    },
    vm::{native::payload, panic},
};

/// Something that happened in the runtime.
#[pyclass(module = "modspace", name = "Event")]
pub(crate) struct Event(event::Event);
payload!(Event);

#[pyclass(with(Representable))]
impl Event {
    /// "created", "entered", "imported", "reloaded", "unloaded", "closing", "discarded", "leaked" or "failed".
    #[pygetset]
    fn kind(zelf: &Py<Self>) -> &'static str {
        zelf.0.kind.as_str()
    }

    /// The name of the space it happened in.
    #[pygetset]
    fn space(zelf: &Py<Self>) -> String {
        zelf.0.space.clone()
    }

    /// The space's id.
    #[pygetset]
    fn space_id(zelf: &Py<Self>) -> u64 {
        zelf.0.space_id
    }

    /// The generation it happened in.
    #[pygetset]
    fn generation(zelf: &Py<Self>) -> u64 {
        zelf.0.generation
    }

    /// The module it happened to, or None.
    #[pygetset]
    fn module(zelf: &Py<Self>) -> Option<String> {
        zelf.0.module.clone()
    }

    /// What holds a leaked space, or why something failed; or None.
    #[pygetset]
    fn message(zelf: &Py<Self>) -> Option<String> {
        zelf.0.message.clone()
    }

    /// Its number in the order of all events.
    #[pygetset]
    fn number(zelf: &Py<Self>) -> u64 {
        zelf.0.number
    }

    /// When it happened, in seconds since the epoch.
    #[pygetset]
    fn time(zelf: &Py<Self>) -> f64 {
        zelf.0.time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }
}

impl Representable for Event {
    fn repr_str(zelf: &Py<Self>, _vm: &VirtualMachine) -> PyResult<String> {
        let event = &zelf.0;
        let module = event.module.as_ref().map_or_else(String::new, |module| format!(" {module}"));
        Ok(format!("<Event {} {}{module} in {:?}>", event.number, event.kind.as_str(), event.space))
    }
}

/// A function that is told what happens.
#[pyclass(module = "modspace", name = "Subscription")]
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    delivery: Arc<Delivery>,
}
payload!(Subscription);

#[derive(FromArgs)]
struct FlushArgs {
    #[pyarg(any, default)]
    timeout: Option<PyObjectRef>,
}

#[pyclass]
impl Subscription {
    /// Waits until the function was told everything that has happened until now; False when `timeout` seconds were not
    /// enough.
    #[pymethod]
    fn flush(zelf: &Py<Self>, args: FlushArgs, vm: &VirtualMachine) -> PyResult<bool> {
        let timeout = module_space::timeout(args.timeout, vm)?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let until = zelf.shared.events.next_number();
        loop {
            let look = Instant::now() + Duration::from_millis(50);
            let step = deadline.map_or(look, |deadline| deadline.min(look));
            if vm.allow_threads(|| zelf.delivery.wait_for(until, Some(step))) {
                return Ok(true);
            }
            vm.check_signals()?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
    }

    /// Ends the subscription; the function is still told what has happened until now.
    #[pymethod]
    fn close(zelf: &Py<Self>) {
        zelf.shared.events.unsubscribe(zelf.delivery.number);
    }

    #[pymethod]
    fn __enter__(zelf: PyRef<Self>) -> PyRef<Self> {
        zelf
    }

    #[pymethod]
    fn __exit__(zelf: &Py<Self>, _exception: rustpython_vm::function::FuncArgs) {
        Self::close(zelf);
    }
}

/// Starts a thread that calls `function` with every event of `kinds`, in order.
pub(crate) fn subscribe(function: PyObjectRef, kinds: Vec<EventKind>, vm: &VirtualMachine) -> PyResult<Subscription> {
    let generation = calling(vm)?;
    generation.check_open(vm)?;
    let shared = Arc::clone(&generation.shared);
    let machine = vm.new_thread();
    let (number, events) = shared.events.subscribe();
    let delivery = Arc::new(Delivery::new(number));
    generation.state.subscriptions.lock().push(Arc::clone(&delivery));
    let (key, progress) = (generation.key.clone(), Arc::clone(&delivery));
    let spawned = std::thread::Builder::new().name("modspace-events".to_owned()).spawn(move || {
        machine.run(|vm| {
            deliver(&function, &key, &kinds, &events, &progress, vm);
            drop((function, key));
            thread::cleanup_current_thread_frames(vm);
        });
        progress.finish();
    });
    if let Err(error) = spawned {
        shared.events.unsubscribe(number);
        generation.state.subscriptions.lock().retain(|other| other.number != number);
        return Err(vm.new_os_error(format!("cannot start a thread for events: {error}")));
    }
    Ok(Subscription { shared, delivery })
}

fn deliver(
    function: &PyObjectRef,
    key: &Py<SpaceKey>,
    kinds: &[EventKind],
    events: &Receiver<event::Event>,
    progress: &Delivery,
    vm: &VirtualMachine,
) {
    while let Ok(event) = vm.allow_threads(|| events.recv()) {
        let number = event.number;
        if kinds.contains(&event.kind) {
            let event = Event(event).into_ref(&vm.ctx);
            let call = || panic::catch(vm, || function.call((event,), vm));
            let result = match key.get(vm) {
                Ok(generation) => owner::enter(Owner::Space(generation), call),
                Err(_) => call(),
            };
            if let Err(error) = result {
                let shown =
                    function.repr(vm).map_or_else(|_| "?".to_owned(), |repr| repr.to_string_lossy().into_owned());
                vm.run_unraisable(error, Some(format!("Exception ignored in subscriber {shown}")), vm.ctx.none());
            }
        }
        progress.delivered(number);
    }
}

/// The kinds that their names mean; all for none.
pub(crate) fn kinds(names: Vec<String>, vm: &VirtualMachine) -> PyResult<Vec<EventKind>> {
    if names.is_empty() {
        return Ok(EventKind::ALL.to_vec());
    }
    let kind = |name: String| {
        EventKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            vm.new_value_error(format!("{name:?} is not a kind of event; the kinds are {known}"))
        })
    };
    names.into_iter().map(kind).collect()
}
