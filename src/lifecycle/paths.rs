//! Who holds an object, and how one comes to it.
//!
//! From the roots outside (modules of live spaces and of the interpreter, frames of threads, what native code was given)
//! the whole object graph is searched breadth first, so the path found to an object is a shortest one. That takes time
//! in proportion to the process, and happens only when something is held or somebody asks.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};
use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyDict, PyFunction, PyList, PyModule, PyStr, PyTuple, PyType},
    frame::FrameObject,
};

use super::{
    census::{Census, Extent},
    registrations,
    report::Held,
    scope::{Belongs, Scope},
};
use crate::{
    import::{
        generation::Shared,
        owner::{self, Owner},
    },
    vm::{
        edges,
        heap::{ClassCache, Stopped, StoppedFrame, address},
        hidden,
    },
};

/// How many objects are looked at to see whether one leads to a space.
const NEARBY: usize = 200;
/// How many held objects a report lists.
const LISTED: usize = 50;

/// Whether `object` belongs to a space of `scope`, or leads to what does without going through anybody else's.
pub(crate) fn leads_into(
    scope: &Scope,
    object: &PyObjectRef,
    world: &Stopped<'_>,
    classes: &mut ClassCache,
    vm: &VirtualMachine,
) -> bool {
    let mut seen = FxHashSet::default();
    let mut queue = VecDeque::from([&**object]);
    while let Some(next) = queue.pop_front() {
        if !seen.insert(address(next)) || seen.len() > NEARBY || world.is_leaf(next.class()) {
            continue;
        }
        match scope.belongs(next, vm) {
            Belongs::Core => return true,
            Belongs::Outside => {}
            Belongs::Unknown => world.references(next, classes, |child| queue.push_back(child)),
        }
    }
    false
}

/// Where a search begins.
struct Root {
    label: String,
    object: PyObjectRef,
}

/// A path through the graph: the root's number, then every object up to the one searched for.
struct Path {
    root: usize,
    objects: Vec<PyObjectRef>,
}

/// Searches from `roots` for what `is_target` accepts; targets are not gone through.
fn search(
    roots: &[Root],
    world: &Stopped<'_>,
    limit: usize,
    mut is_target: impl FnMut(&PyObject) -> bool,
    mut is_skipped: impl FnMut(&PyObject) -> bool,
) -> Vec<Path> {
    struct Visit<'world> {
        object: &'world PyObject,
        from: Result<usize, usize>,
    }
    let mut classes = ClassCache::default();
    let mut leaves: FxHashMap<usize, bool> = FxHashMap::default();
    let mut seen = FxHashSet::default();
    let mut visits: Vec<Visit<'_>> = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        if seen.insert(address(&root.object)) {
            visits.push(Visit { object: &root.object, from: Err(number) });
        }
    }
    let mut paths = Vec::new();
    let mut next = 0;
    while next < visits.len() && paths.len() < limit {
        let object = visits[next].object;
        if is_target(object) {
            let mut objects = vec![object.to_owned()];
            let mut at = next;
            let root = loop {
                match visits[at].from {
                    Ok(parent) => {
                        at = parent;
                        objects.push(visits[at].object.to_owned());
                    }
                    Err(root) => break root,
                }
            };
            objects.reverse();
            paths.push(Path { root, objects });
        } else if !is_skipped(object) {
            world.references(object, &mut classes, |child| {
                let class = child.class();
                let leaf = *leaves.entry(address(class.as_object())).or_insert_with(|| world.is_leaf(class));
                if !leaf && seen.insert(address(child)) {
                    visits.push(Visit { object: child, from: Ok(next) });
                }
            });
        }
        next += 1;
    }
    paths
}

/// What roots outside `scope` hold of it, each with the shortest path.
pub(crate) fn entries(scope: &Scope, vm: &VirtualMachine) -> Vec<Held> {
    let roots = roots(vm).unwrap_or_default();
    let (found, natives) = {
        let world = Stopped::new(vm);
        let target = |object: &PyObject| belongs(scope, object, vm);
        let mut found = search(&roots, &world, LISTED, target, |_| false);
        let reached: FxHashSet<usize> =
            found.iter().filter_map(|path| path.objects.last()).map(|object| address(object)).collect();
        // What native code holds is not reached from anywhere.
        let counted = Census::take(&world, scope, Extent::Spaces, vm);
        let natives: Vec<Root> = counted
            .external
            .iter()
            .filter(|object| !reached.contains(&address(object)))
            .map(|object| Root { label: String::new(), object: (*object).to_owned() })
            .collect();
        let paths = if found.is_empty() {
            search(&natives, &world, LISTED, |object| belongs(scope, object, vm), |_| false)
        } else {
            Vec::new()
        };
        found.extend(paths.into_iter().map(|path| Path { root: path.root + roots.len(), ..path }));
        (found, natives)
    };
    let all: Vec<&Root> = roots.iter().chain(&natives).collect();
    let mut held: Vec<Held> = found
        .iter()
        .filter_map(|path| {
            let object = path.objects.last()?;
            let (name, kind) = describe(object, vm);
            let root = all.get(path.root)?;
            let mut text = match root.label.is_empty() {
                true => format!("native code: {}", describe(&root.object, vm).0),
                false => root.label.clone(),
            };
            text.push_str(&steps(&path.objects, vm));
            Some(Held { object: name, kind, path: text, length: path.objects.len() })
        })
        .collect();
    held.sort_by_key(|held| held.length);
    held
}

/// All objects of `scope` that something outside leads to.
pub(crate) fn survivors(scope: &Scope, vm: &VirtualMachine) -> Vec<PyObjectRef> {
    let roots = roots(vm).unwrap_or_default();
    let world = Stopped::new(vm);
    let mut survivors = Vec::new();
    let note = |object: &PyObject| {
        if belongs(scope, object, vm) {
            survivors.push(object.to_owned());
        }
        false
    };
    search(&roots, &world, usize::MAX, note, |_| false);
    let counted = Census::take(&world, scope, Extent::Spaces, vm);
    survivors.extend(counted.held.iter().map(|object| (*object).to_owned()));
    survivors
}

/// The shortest path to `object` from a root that is not a local variable of the running thread; from one that is, when
/// there is no other.
pub(crate) fn why(object: &PyObjectRef, vm: &VirtualMachine) -> Option<String> {
    let roots = roots(vm).ok()?;
    let own = format!("thread {}", thread_name(rustpython_vm::stdlib::_thread::get_ident(), vm));
    let (mine, others): (Vec<Root>, Vec<Root>) = roots.into_iter().partition(|root| root.label.starts_with(&own));
    for roots in [others, mine] {
        let found = {
            let world = Stopped::new(vm);
            let frames = |skipped: &PyObject| {
                &*skipped.class().name() == "frame" && roots.first().is_some_and(|root| !root.label.starts_with(&own))
            };
            search(&roots, &world, 1, |other| other.is(object), frames)
        };
        if let Some(path) = found.first() {
            return Some(format!("{}{}", roots[path.root].label, steps(&path.objects, vm)));
        }
    }
    None
}

/// Whether `object` surely is of the spaces: a module, function or class of theirs, an instance of such a class, or
/// running code.
pub(crate) fn belongs(scope: &Scope, object: &PyObject, vm: &VirtualMachine) -> bool {
    match scope.belongs(object, vm) {
        Belongs::Core => return true,
        Belongs::Outside => return false,
        Belongs::Unknown => {}
    }
    // A class is where it was written, whatever its metaclass is.
    if object.downcast_ref::<PyType>().is_some() {
        return false;
    }
    let class = object.class();
    if class.heaptype_ext.is_some() && scope.belongs(class.as_object(), vm) == Belongs::Core {
        return true;
    }
    scope.runs(object)
}

/// `plugin.Handler` and what it is.
fn describe(object: &PyObjectRef, vm: &VirtualMachine) -> (String, String) {
    let kind = object.class().name().to_string();
    let text = |object: &PyObject, name: &'static str| {
        let value = object.get_attr(name, vm).ok()?;
        value.downcast_ref::<PyStr>().map(|text| text.to_string_lossy().into_owned())
    };
    let qualified = |object: &PyObject| {
        let name = text(object, "__qualname__")?;
        Some(text(object, "__module__").map_or_else(|| name.clone(), |module| format!("{module}.{name}")))
    };
    let name = if object.downcast_ref::<PyFunction>().is_some() || object.downcast_ref::<PyType>().is_some() {
        qualified(object)
    } else if object.downcast_ref::<PyModule>().is_some() {
        text(object, "__name__").map(|name| format!("module {name}"))
    } else if let Some(dict) = object.downcast_ref_if_exact::<PyDict>(vm) {
        let name = dict.get_item_opt("__name__", vm).ok().flatten();
        name.and_then(|name| name.downcast_ref::<PyStr>().map(|name| format!("{}.__dict__", name.to_string_lossy())))
    } else if let Some(frame) = edges::frame_of(object) {
        let module =
            frame.as_object().get_attr("f_globals", vm).ok().and_then(|globals| globals.get_item("__name__", vm).ok());
        let module = module.and_then(|module| module.downcast::<PyStr>().ok());
        let module = module.map_or_else(String::new, |module| format!("{}.", module.to_string_lossy()));
        let code = frame.as_object().get_attr("f_code", vm).ok();
        code.and_then(|code| text(&code, "co_qualname")).map(|name| format!("{kind} of {module}{name}"))
    } else {
        qualified(object.class().as_object()).map(|class| format!("{class} instance"))
    };
    (name.unwrap_or_else(|| format!("{kind} object")), kind)
}

fn thread_name(ident: u64, vm: &VirtualMachine) -> String {
    let name = || -> PyResult<String> {
        let threading = hidden::modules(vm)?.get_item("threading", vm)?;
        let thread = threading.get_attr("_active", vm)?.get_item(&*vm.ctx.new_int(ident).as_object().to_owned(), vm)?;
        thread.get_attr("_name", vm)?.try_to_value(vm)
    };
    name().unwrap_or_else(|_| ident.to_string())
}

/// Everything that keeps objects for its own sake.
fn roots(vm: &VirtualMachine) -> PyResult<Vec<Root>> {
    let Some(shared) = Shared::of(vm) else { return Ok(Vec::new()) };
    let mut roots = Vec::new();
    let nodes: Vec<_> = shared.tree.read().values().cloned().collect();
    for generation in nodes.iter().filter_map(|node| node.current()) {
        for (name, module) in generation.modules(vm)?.downcast::<PyDict>().into_iter().flatten() {
            let Some(name) = name.downcast_ref::<PyStr>() else { continue };
            let name = name.to_string_lossy();
            if module.downcast_ref::<PyModule>().is_some() && generation.table.taken_from(&name).is_none() {
                roots.push(Root { label: format!("{}: {name}", generation.name()), object: module });
            }
        }
        if let Some(main) = generation.main.get() {
            roots.push(Root { label: format!("{}: __main__", generation.name()), object: main.clone().into() });
        }
        for (what, object) in generation.state.objects(vm) {
            roots.push(Root { label: format!("{}: {what}", generation.name()), object });
        }
    }
    // Frames before the interpreter's own modules: a running call says more than a cache.
    roots.extend(frames(vm)?);
    for (what, objects) in registries(vm) {
        roots.extend(objects.into_iter().map(|object| Root { label: format!("interpreter: {what}"), object }));
    }
    for (name, module) in hidden::modules(vm)?.downcast::<PyDict>().into_iter().flatten() {
        if let Some(name) = name.downcast_ref::<PyStr>() {
            roots.push(Root { label: format!("interpreter: {}", name.to_string_lossy()), object: module });
        }
    }
    Ok(roots)
}

/// What runs, on all threads.
fn frames(vm: &VirtualMachine) -> PyResult<Vec<Root>> {
    let mut roots = Vec::new();
    let own = rustpython_vm::stdlib::_thread::get_ident();
    Stopped::new(vm).hide_frame_objects();
    let frames = owner::enter(Owner::Hidden, || hidden::sys_dict(vm).get_item("_current_frames", vm)?.call((), vm))?;
    for (ident, frame) in frames.downcast::<PyDict>().into_iter().flatten() {
        let ident: u64 = ident.try_to_value(vm)?;
        let name = thread_name(ident, vm);
        let mut next = Some(frame);
        while let Some(frame) = next.filter(|frame| !vm.is_none(frame)) {
            let code = frame.get_attr("f_code", vm)?.get_attr("co_name", vm)?.str(vm)?;
            let label = format!("thread {name}: frame {}", code.to_string_lossy());
            // Of another thread, a copy can be asked; what goes on meanwhile cannot, nor for its caller (see `stacks` in
            // `registrations`).
            let is_still = ident == own
                || frame.downcast_ref::<FrameObject>().is_some_and(|frame| frame.previous_iframe().is_null());
            next = None;
            if is_still {
                // The frame object of a function that runs on the thread's own stack does not lead to its variables.
                for (variable, value) in locals(&frame, vm).unwrap_or_default() {
                    roots.push(Root { label: format!("{label} local {variable}"), object: value });
                }
                next = frame.get_attr("f_back", vm).ok();
            }
            roots.push(Root { label, object: frame });
        }
    }
    // The others, as far as they can be read while nothing moves.
    let running: Vec<(u64, PyObjectRef)> = {
        let world = Stopped::new(vm);
        let of_others = world.stacks().into_iter().filter(|(ident, _)| *ident != own);
        let functions = |(ident, frames): (u64, Vec<StoppedFrame<'_>>)| {
            let functions = frames.iter().filter_map(|frame| frame.function()).map(ToOwned::to_owned);
            functions.map(|function| (ident, function)).collect::<Vec<_>>()
        };
        of_others.flat_map(functions).collect()
    };
    for (ident, function) in running {
        let code = function.get_attr("__name__", vm)?.str(vm)?;
        let label = format!("thread {}: frame {}", thread_name(ident, vm), code.to_string_lossy());
        roots.push(Root { label, object: function });
    }
    Ok(roots)
}

/// The variables of a running function.
fn locals(frame: &PyObjectRef, vm: &VirtualMachine) -> PyResult<Vec<(String, PyObjectRef)>> {
    let locals = frame.get_attr("f_locals", vm)?;
    if locals.is(&frame.get_attr("f_globals", vm)?) {
        return Ok(Vec::new());
    }
    let items: Vec<PyObjectRef> = vm.call_method(&locals, "items", ())?.try_to_value(vm)?;
    let pairs = items.iter().filter_map(|item| match item.downcast_ref::<PyTuple>()?.as_slice() {
        [name, value] => Some((name.downcast_ref::<PyStr>()?.to_string_lossy().into_owned(), value.clone())),
        _ => None,
    });
    Ok(pairs.collect())
}

/// What native code was given and keeps.
fn registries(vm: &VirtualMachine) -> Vec<(&'static str, Vec<PyObjectRef>)> {
    let state = &vm.state;
    let mut places = vec![
        ("context", vm.context_stack.borrow().clone()),
        ("before-fork hook", state.before_forkers.lock().clone()),
        ("after-fork hook", state.after_forkers_child.lock().clone()),
        ("after-fork hook", state.after_forkers_parent.lock().clone()),
        (
            "warnings filters",
            vec![state.warnings.filters.to_owned().into(), state.warnings.once_registry.to_owned().into()],
        ),
        ("trace function", vec![vm.trace_func.borrow().clone(), vm.profile_func.borrow().clone()]),
        ("gc.callbacks", vec![state.gc.py_callbacks.clone().into(), state.gc.py_garbage.clone().into()]),
        ("monitoring callback", state.monitoring.lock().callbacks.values().cloned().collect()),
    ];
    let hooks = [&vm.async_gen_firstiter, &vm.async_gen_finalizer];
    places.push(("asynchronous generator hook", hooks.iter().filter_map(|hook| hook.borrow().clone()).collect()));
    let handlers = owner::enter(Owner::Hidden, || -> PyResult<Vec<PyObjectRef>> {
        // On another thread, asking for a handler would take the signals away from the main thread.
        if !registrations::is_main_thread(vm) {
            return Ok(Vec::new());
        }
        let signal = hidden::modules(vm)?.get_item("_signal", vm)?;
        (1..65).filter_map(|number| vm.call_method(&signal, "getsignal", (number,)).ok()).map(Ok).collect()
    });
    places.push(("signal handler", handlers.unwrap_or_default()));
    places
}

/// The steps of a path as Python would write them.
fn steps(objects: &[PyObjectRef], vm: &VirtualMachine) -> String {
    let mut text = String::new();
    for (number, pair) in objects.windows(2).enumerate() {
        let [parent, child] = pair else { continue };
        let above = number.checked_sub(1).and_then(|above| objects.get(above));
        text.push_str(&step(above, parent, child, vm));
    }
    text
}

fn step(above: Option<&PyObjectRef>, parent: &PyObjectRef, child: &PyObjectRef, vm: &VirtualMachine) -> String {
    if let Some(dict) = parent.downcast_ref::<PyDict>() {
        let is_namespace = above.is_some_and(|above| {
            above.dict().is_some_and(|own| own.is(dict))
                || above
                    .downcast_ref::<PyType>()
                    .and_then(|class| class.attributes.as_dict())
                    .is_some_and(|own| own.is(dict))
                || above.downcast_ref::<PyModule>().is_some()
        });
        for (key, value) in dict {
            if value.is(child) {
                return match key.downcast_ref::<PyStr>() {
                    Some(name) if is_namespace => format!(".{}", name.to_string_lossy()),
                    _ => format!("[{}]", short(&key, vm)),
                };
            }
            if key.is(child) {
                return format!(" key {}", short(&key, vm));
            }
        }
        return "[?]".to_owned();
    }
    // A namespace is not a step of its own.
    let is_namespace = parent.dict().is_some_and(|own| own.is(child))
        || parent
            .downcast_ref::<PyType>()
            .and_then(|class| class.attributes.as_dict())
            .is_some_and(|own| own.is(child));
    if is_namespace {
        return String::new();
    }
    if parent.class().is(child) {
        return ".__class__".to_owned();
    }
    let position = |items: &[PyObjectRef]| items.iter().position(|item| item.is(child));
    if let Some(index) = parent.downcast_ref::<PyList>().and_then(|list| position(&list.borrow_vec())) {
        return format!("[{index}]");
    }
    if let Some(index) = parent.downcast_ref::<PyTuple>().and_then(|tuple| position(tuple.as_slice())) {
        // A closure's cells have names.
        if let Some(function) = above.and_then(|above| above.downcast_ref::<PyFunction>())
            && let Ok(names) =
                function.as_object().get_attr("__code__", vm).and_then(|code| code.get_attr("co_freevars", vm))
            && function.as_object().get_attr("__closure__", vm).is_ok_and(|closure| closure.is(parent))
            && let Some(name) = names.downcast_ref::<PyTuple>().and_then(|names| names.as_slice().get(index).cloned())
        {
            return format!(" {}", short(&name, vm).trim_matches('\''));
        }
        return format!("[{index}]");
    }
    if &*parent.class().name() == "frame"
        && let Ok(locals) = parent.get_attr("f_locals", vm)
        && let Ok(items) =
            vm.call_method(&locals, "items", ()).and_then(|items| items.try_to_value::<Vec<PyObjectRef>>(vm))
    {
        let captured = match &*child.class().name() {
            "cell" => child.get_attr("cell_contents", vm).ok(),
            _ => None,
        };
        for item in items {
            if let Some([name, value]) = item.downcast_ref::<PyTuple>().map(|item| item.as_slice())
                && (value.is(child) || captured.as_ref().is_some_and(|captured| captured.is(value)))
            {
                return format!(" local {}", short(name, vm).trim_matches('\''));
            }
        }
        return " stack".to_owned();
    }
    for class in parent.class().mro.read().iter() {
        let native = class.heaptype_ext.is_none();
        for (name, attribute) in class.attributes.entries() {
            let Some(name) = name.downcast_ref::<PyStr>() else { continue };
            let is_field = matches!(&*attribute.class().name(), "member_descriptor" | "getset_descriptor");
            if !is_field || (!native && &*attribute.class().name() != "member_descriptor") {
                continue;
            }
            let value = vm.call_get_descriptor_specific(&attribute, Some(parent), Some(parent.class().as_object()));
            if let Some(Ok(value)) = value
                && value.is(child)
            {
                let name = name.to_string_lossy();
                return if name == "cell_contents" {
                    String::new()
                } else if name == "__closure__" {
                    " closure".to_owned()
                } else {
                    format!(".{name}")
                };
            }
        }
    }
    format!(" ({})", parent.class().name())
}

/// `repr` of a key, if it is a plain one, cut short.
fn short(object: &PyObjectRef, vm: &VirtualMachine) -> String {
    let class = object.class();
    let plain = [vm.ctx.types.str_type, vm.ctx.types.int_type, vm.ctx.types.bytes_type, vm.ctx.types.bool_type];
    if !plain.iter().any(|other| class.is(*other)) {
        return describe(object, vm).0;
    }
    let text = object.repr(vm).map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned());
    if text.chars().count() <= 40 { text } else { text.chars().take(39).chain(['…']).collect() }
}
