//! The plain part of an update: functions, classes and values whose old and new selves only have to be compared.
//!
//! Most of what a new source defines is what the old one did, or a function with other code. Such names are settled here,
//! and `spaces/boot/update/plan.py` plans the rest. A function is plain when it refers to nothing that an update could replace but
//! its module and, for `super()`, its class; a class is, when all that it has is plain and its counterpart has the same names.
//! What is settled is entered into the planner's tables, as if it had been matched there.

use rustc_hash::{FxHashMap, FxHashSet};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{
        PyClassMethod, PyCode, PyDict, PyDictRef, PyFunction, PyList, PyProperty, PySet, PySlice, PyStaticMethod,
        PyStr, PyStrRef, PyTuple, PyType,
    },
    function::PyMethodDef,
};

use crate::vm::native::def;

/// Names that classes have and that say nothing about them.
const OF_EVERY_CLASS: [&str; 3] = ["__dict__", "__weakref__", "__annotations_cache__"];

/// Of these, the descriptors that are made with a class.
const DESCRIPTORS: [&str; 2] = ["__dict__", "__weakref__"];

/// Names in classes that need the planner.
const UNPLAIN: [&str; 4] = ["__slots__", "__class__", "__modspace_migrate__", "__modspace_migrate_lazily__"];

/// Names in modules that the planner looks at.
const OF_EVERY_MODULE: [&str; 6] = ["__builtins__", "__name__", "__package__", "__path__", "__spec__", "__loader__"];

/// How a function differs from its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// In nothing.
    Same,
    /// It stands on other lines.
    Moved,
    /// In what it does.
    Different,
}

/// Something that is to be done once all of a definition is known to be plain.
enum Step {
    /// The second object stands for the first.
    Pair(PyObjectRef, PyObjectRef),
    /// The function takes the code of its new self.
    Take { old: PyObjectRef, new: PyObjectRef, closure: PyObjectRef },
    /// Somebody else has the second copy of a function: it gets the live namespace.
    Adopt(PyObjectRef),
    /// The class takes a value.
    Item(PyObjectRef, PyObjectRef, PyObjectRef),
    /// The function, under this path, does something else.
    Updated(String),
    /// A second copy of a class.
    Class(PyObjectRef),
}

pub(super) static SETTLE: PyMethodDef = def("settle", settle);

/// Settles what is plain in a module, given its name, its namespace and that of its second copy; returns the settled names.
fn settle(
    _none: PyObjectRef,
    name: PyStrRef,
    live: PyDictRef,
    second: PyDictRef,
    update: PyObjectRef,
    vm: &VirtualMachine,
) -> PyResult {
    let table = |name: &'static str| update.get_attr(name, vm);
    let wrong = |_| vm.new_type_error("a table of the planner has another type");
    let mut walk = Walk {
        vm,
        module: live.get_item_opt("__name__", vm)?.unwrap_or_else(|| name.clone().into()),
        live: live.clone(),
        second: second.clone(),
        forward: table("forward")?.downcast().map_err(wrong)?,
        pairs: FxHashMap::default(),
        taken: FxHashSet::default(),
        steps: Vec::new(),
        of_a_class: references_of_a_class(vm)?,
    };
    let settled = PySet::default();
    let path = name.to_string_lossy().into_owned();
    for (key, new) in &*second {
        let Some(key) = key.downcast_ref::<PyStr>() else { continue };
        if OF_EVERY_MODULE.iter().any(|other| key.as_bytes() == other.as_bytes()) {
            continue;
        }
        let Some(old) = live.get_item_opt(key, vm)? else { continue };
        let before = walk.steps.len();
        if walk.definition(key, &old, &new, &path, None)? {
            settled.add(key.to_owned().into(), vm)?;
        } else {
            walk.give_up(before);
        }
    }
    let forward = walk.forward.clone();
    let taken = table("taken")?.downcast::<PySet>().map_err(wrong)?;
    let (changes, report, classes) = (table("changes")?, table("report")?, table("settled_classes")?);
    let add = |list: &PyObjectRef, item: PyObjectRef| match list.downcast_ref::<PyList>() {
        Some(list) => {
            list.borrow_vec_mut().push(item);
            Ok(())
        }
        None => Err(vm.new_type_error("a list of the planner has another type")),
    };
    let text = |text: &str| -> PyObjectRef { vm.ctx.new_str(text).into() };
    let tuple = |items: Vec<PyObjectRef>| -> PyObjectRef { vm.ctx.new_tuple(items).into() };
    for step in std::mem::take(&mut walk.steps) {
        match step {
            Step::Pair(old, new) => {
                taken.add(vm.ctx.new_int(old.get_id()).into(), vm)?;
                let key: PyObjectRef = vm.ctx.new_int(new.get_id()).into();
                forward.set_item(&*key, tuple(vec![new, old]), vm)?;
            }
            Step::Take { old, new, closure } => {
                let twin = walk.twin(&new, closure)?;
                add(&changes, tuple(vec![text("swap"), old, twin]))?;
            }
            Step::Adopt(function) => {
                // Its `super()` goes on meaning its own class.
                let twin = walk.twin(&function, walk.attribute(&function, "__closure__")?)?;
                add(&changes, tuple(vec![text("swap"), function, twin]))?;
            }
            Step::Item(class, key, value) => add(&changes, tuple(vec![text("class"), class, key, value]))?,
            Step::Updated(path) => add(&report, tuple(vec![text("updated"), text(&path), text("")]))?,
            Step::Class(class) => add(&classes, class)?,
        }
    }
    Ok(rustpython_vm::PyPayload::into_pyobject(settled, vm))
}

/// The class that a definition stands in, and its second copy.
type Inside<'class> = Option<(&'class PyObject, &'class PyObject)>;

struct Walk<'vm> {
    vm: &'vm VirtualMachine,
    /// What classes of the module have as `__module__`.
    module: PyObjectRef,
    live: PyDictRef,
    second: PyDictRef,
    /// The planner's table of what stands for what.
    forward: PyDictRef,
    /// What was paired here: the second object's address, and the first.
    pairs: FxHashMap<usize, PyObjectRef>,
    /// The addresses of the first objects.
    taken: FxHashSet<usize>,
    steps: Vec<Step>,
    /// How many references a class has that only its module refers to.
    of_a_class: usize,
}

/// How many references a class has that nobody refers to, without those of its own [`DESCRIPTORS`].
fn references_of_a_class(vm: &VirtualMachine) -> PyResult<usize> {
    let args = (vm.ctx.new_str("probe"), vm.ctx.new_tuple(Vec::new()), vm.ctx.new_dict());
    let class = vm.ctx.types.type_type.as_object().call(args, vm)?;
    let own = class.downcast_ref::<PyType>().map_or(0, |class| descriptors(class, vm));
    // Less that of this function.
    Ok(class.strong_count().saturating_sub(own + 1))
}

/// How many descriptors a class has made for itself, each with a reference to the class.
fn descriptors(class: &Py<PyType>, vm: &VirtualMachine) -> usize {
    let body = class.attributes.as_dict();
    body.map_or(0, |body| DESCRIPTORS.iter().filter(|name| body.contains_key(**name, vm)).count())
}

impl Walk<'_> {
    fn attribute(&self, object: &PyObject, name: &'static str) -> PyResult {
        object.get_attr(self.vm.ctx.intern_str(name), self.vm)
    }

    fn is_same_attribute(&self, old: &PyObject, new: &PyObject, name: &'static str) -> PyResult<bool> {
        let (old, new) = (self.attribute(old, name)?, self.attribute(new, name)?);
        Ok(is_same_value(&old, &new, self.vm))
    }

    fn has_closure(&self, function: &Py<PyFunction>) -> PyResult<bool> {
        let closure = self.attribute(function.as_object(), "__closure__")?;
        Ok(!self.vm.is_none(&closure))
    }

    /// Forgets the steps after the first so many.
    fn give_up(&mut self, steps: usize) {
        for step in self.steps.drain(steps..) {
            if let Step::Pair(old, new) = step {
                self.pairs.remove(&new.get_id());
                self.taken.remove(&old.get_id());
            }
        }
    }

    fn pair(&mut self, old: &PyObject, new: &PyObject) {
        self.pairs.insert(new.get_id(), old.to_owned());
        self.taken.insert(old.get_id());
        self.steps.push(Step::Pair(old.to_owned(), new.to_owned()));
    }

    /// What stands for an object, if it was paired.
    fn counterpart(&self, new: &PyObject) -> PyResult<Option<PyObjectRef>> {
        if let Some(old) = self.pairs.get(&new.get_id()) {
            return Ok(Some(old.clone()));
        }
        let key: PyObjectRef = self.vm.ctx.new_int(new.get_id()).into();
        let found = self.forward.get_item_opt(&*key, self.vm)?;
        Ok(found.and_then(|entry| entry.downcast_ref::<PyTuple>()?.as_slice().get(1).cloned()))
    }

    /// Whether the old object was paired already.
    fn is_taken(&self, old: &PyObject) -> bool {
        self.taken.contains(&old.get_id())
    }

    /// Whether a name, with its old and its new value, is plain. Then its steps are noted.
    fn definition(
        &mut self,
        name: &Py<PyStr>,
        old: &PyObject,
        new: &PyObject,
        path: &str,
        inside: Inside<'_>,
    ) -> PyResult<bool> {
        if old.is(new) {
            // A class that came from elsewhere may have got second copies; so may what functions refer to.
            return Ok(new.downcast_ref::<PyType>().is_none() && new.downcast_ref::<PyFunction>().is_none());
        }
        if let Some(known) = self.counterpart(new)? {
            return Ok(known.is(old));
        }
        if let (Some(one), Some(other)) = (old.downcast_ref::<PyFunction>(), new.downcast_ref::<PyFunction>()) {
            // What was called otherwise may be the object of another name.
            if !self.is_named(name, new)? || !self.is_named(name, old)? || self.is_taken(old) {
                return Ok(false);
            }
            let Some(likeness) = self.function(one, other, inside)? else { return Ok(false) };
            // One reference is that of the namespace, one is the caller's.
            let is_held = new.strong_count() > 2;
            self.take((old, new), is_held, likeness, || format!("{path}.{}", name.to_string_lossy()), inside)?;
            return Ok(true);
        }
        if let (Some(one), Some(other)) = (old.downcast_ref::<PyType>(), new.downcast_ref::<PyType>()) {
            if !self.is_named(name, new)? || !self.is_named(name, old)? || self.is_taken(old) {
                return Ok(false);
            }
            return self.class(one, other, &format!("{path}.{}", name.to_string_lossy()));
        }
        if inside.is_some()
            && let Some(is_plain) = self.descriptor(name, old, new, path, inside)?
        {
            return Ok(is_plain);
        }
        Ok(is_atomic(new, self.vm) && is_same_value(old, new, self.vm))
    }

    fn is_named(&self, name: &Py<PyStr>, object: &PyObject) -> PyResult<bool> {
        let own = self.attribute(object, "__name__")?;
        Ok(own.downcast_ref::<PyStr>().is_some_and(|own| own.as_bytes() == name.as_bytes()))
    }

    /// Lets a function take what its second copy has; `is_held` says whether somebody else has that copy.
    fn take(
        &mut self,
        (old, new): (&PyObject, &PyObject),
        is_held: bool,
        likeness: Likeness,
        path: impl FnOnce() -> String,
        inside: Inside<'_>,
    ) -> PyResult<()> {
        self.pair(old, new);
        if is_held {
            self.steps.push(Step::Adopt(new.to_owned()));
        }
        if likeness == Likeness::Same {
            return Ok(());
        }
        // That of the old function, because it has the cell with the class that stays.
        let closure = match inside {
            Some(_) => self.attribute(old, "__closure__")?,
            None => self.vm.ctx.none(),
        };
        self.steps.push(Step::Take { old: old.to_owned(), new: new.to_owned(), closure });
        if likeness == Likeness::Different {
            self.steps.push(Step::Updated(path()));
        }
        Ok(())
    }

    /// How a function differs from its counterpart; `None` when it is not plain.
    fn function(&self, old: &Py<PyFunction>, new: &Py<PyFunction>, inside: Inside<'_>) -> PyResult<Option<Likeness>> {
        let (old, new) = (old.as_object(), new.as_object());
        if !self.attribute(new, "__globals__")?.is(&self.second) || !self.attribute(old, "__globals__")?.is(&self.live)
        {
            return Ok(None);
        }
        let has_attributes = |function: &PyObject| function.dict().is_some_and(|dict| !dict.is_empty());
        if has_attributes(old) || has_attributes(new) || !self.is_plain_closure(old, new, inside)? {
            return Ok(None);
        }
        let parameters = self.attribute(new, "__type_params__")?;
        if parameters.downcast_ref::<PyTuple>().is_none_or(|parameters| !parameters.is_empty()) {
            return Ok(None);
        }
        let mut likeness = Likeness::Same;
        for name in ["__name__", "__qualname__", "__module__"] {
            if !self.is_same_attribute(old, new, name)? {
                return Ok(None);
            }
        }
        for name in ["__defaults__", "__kwdefaults__", "__doc__"] {
            let (before, after) = (self.attribute(old, name)?, self.attribute(new, name)?);
            if !is_atomic(&after, self.vm) && !is_atomic_dict(&after, self.vm) {
                return Ok(None);
            }
            if !is_same_value(&before, &after, self.vm) && !is_same_dict(&before, &after, self.vm) {
                likeness = Likeness::Different;
            }
        }
        let (before, after) = (self.attribute(old, "__annotate__")?, self.attribute(new, "__annotate__")?);
        match (before.downcast_ref::<PyFunction>(), after.downcast_ref::<PyFunction>()) {
            (None, None) if self.vm.is_none(&before) && self.vm.is_none(&after) => {
                // Those that somebody has set.
                for function in [old, new] {
                    let annotations = self.attribute(function, "__annotations__")?;
                    if annotations.downcast_ref::<PyDict>().is_none_or(|annotations| !annotations.is_empty()) {
                        return Ok(None);
                    }
                }
            }
            (Some(before), Some(after)) => {
                if self.has_closure(after)? {
                    return Ok(None);
                }
                // What the old one evaluated to may be of classes that are replaced.
                likeness = likeness.max(Likeness::Moved).max(self.code(before.as_object(), after.as_object())?);
            }
            (None, Some(after)) if !self.has_closure(after)? => {
                likeness = Likeness::Different;
            }
            (Some(_), None) if self.vm.is_none(&after) => likeness = Likeness::Different,
            _ => return Ok(None),
        }
        Ok(Some(likeness.max(self.code(old, new)?)))
    }

    fn code(&self, old: &PyObject, new: &PyObject) -> PyResult<Likeness> {
        let (old, new) = (self.attribute(old, "__code__")?, self.attribute(new, "__code__")?);
        Ok(match (old.downcast_ref::<PyCode>(), new.downcast_ref::<PyCode>()) {
            (Some(old), Some(new)) => likeness(old, new, self.vm),
            _ => Likeness::Different,
        })
    }

    /// Whether the functions have no closures, or such with their classes alone.
    fn is_plain_closure(&self, old: &PyObject, new: &PyObject, inside: Inside<'_>) -> PyResult<bool> {
        let (before, after) = (self.attribute(old, "__closure__")?, self.attribute(new, "__closure__")?);
        if self.vm.is_none(&before) && self.vm.is_none(&after) {
            return Ok(true);
        }
        let Some((old_class, new_class)) = inside else { return Ok(false) };
        let only = |function: &PyObject, closure: &PyObject, class: &PyObject| -> PyResult<bool> {
            let code = self.attribute(function, "__code__")?;
            let is_class = code
                .downcast_ref::<PyCode>()
                .is_some_and(|code| matches!(&*code.code.freevars, [name] if name.as_str() == "__class__"));
            let Some([cell]) = closure.downcast_ref::<PyTuple>().map(|cells| cells.as_slice()) else {
                return Ok(false);
            };
            Ok(is_class && self.attribute(cell, "cell_contents").is_ok_and(|value| value.is(class)))
        };
        Ok(only(old, &before, old_class)? && only(new, &after, new_class)?)
    }

    /// Whether a class is plain. Then its steps are noted.
    fn class(&mut self, old: &Py<PyType>, new: &Py<PyType>, path: &str) -> PyResult<bool> {
        let meta = self.vm.ctx.types.type_type;
        if !old.class().is(meta) || !new.class().is(meta) || old.heaptype_ext.is_none() || new.heaptype_ext.is_none() {
            return Ok(false);
        }
        let (Some(before), Some(after)) = (old.attributes.as_dict(), new.attributes.as_dict()) else {
            return Ok(false);
        };
        for body in [before, after] {
            let module = body.get_item_opt("__module__", self.vm)?;
            if !module.is_some_and(|module| is_same_value(&module, &self.module, self.vm))
                || UNPLAIN.iter().any(|name| body.contains_key(*name, self.vm))
            {
                return Ok(false);
            }
        }
        if !self.is_same_attribute(old.as_object(), new.as_object(), "__qualname__")? {
            return Ok(false);
        }
        let (bases, new_bases) = (old.bases.read().as_slice().to_vec(), new.bases.read().as_slice().to_vec());
        if bases.len() != new_bases.len() {
            return Ok(false);
        }
        for (base, new_base) in bases.iter().zip(&new_bases) {
            let new_base = new_base.as_object();
            if !base.is(new_base) && !self.counterpart(new_base)?.is_some_and(|stands| stands.is(base)) {
                return Ok(false);
            }
        }
        let is_own = |name: &Py<PyStr>| !OF_EVERY_CLASS.iter().any(|other| name.as_bytes() == other.as_bytes());
        for (name, _) in before {
            if let Some(name) = name.downcast_ref::<PyStr>()
                && is_own(name)
                && !after.contains_key(name, self.vm)
            {
                return Ok(false);
            }
        }
        // One reference is the namespace's, one is the caller's.
        let mut references = self.of_a_class + descriptors(new, self.vm) + 2;
        let first = self.steps.len();
        self.pair(old.as_object(), new.as_object());
        // The step just noted has another.
        references += 1;
        for (name, value) in after {
            let Some(name) = name.downcast_ref::<PyStr>().filter(|name| is_own(name)) else { continue };
            let Some(previous) = before.get_item_opt(name, self.vm)? else { return Ok(false) };
            if matches!(name.as_bytes(), b"__firstlineno__" | b"__static_attributes__") {
                if !is_same_value(&previous, &value, self.vm) {
                    self.steps.push(Step::Item(old.to_owned().into(), name.to_owned().into(), value));
                }
            } else if !self.definition(name, &previous, &value, path, Some((old.as_object(), new.as_object())))? {
                return Ok(false);
            }
        }
        let functions: Vec<_> = self.steps[first..]
            .iter()
            .filter_map(|step| match step {
                Step::Pair(_, new) if new.downcast_ref::<PyFunction>().is_some() => Some(new.clone()),
                _ => None,
            })
            .collect();
        let has_cell = |function: &PyObjectRef| {
            self.attribute(function, "__closure__").is_ok_and(|closure| !self.vm.is_none(&closure))
        };
        if functions.iter().any(has_cell) {
            references += 1;
        }
        // By a function that is held and names its class, one comes to all of it.
        let is_adopted = |step: &Step| matches!(step, Step::Adopt(function) if has_cell(function));
        if new.as_object().strong_count() > references || self.steps[first..].iter().any(is_adopted) {
            self.steps.extend(functions.into_iter().map(Step::Adopt));
        }
        self.steps.push(Step::Class(new.to_owned().into()));
        Ok(true)
    }

    /// Whether a property, class method or static method is plain; `None` when it is something else. When it is plain, its
    /// steps are noted.
    fn descriptor(
        &mut self,
        name: &Py<PyStr>,
        old: &PyObject,
        new: &PyObject,
        path: &str,
        inside: Inside<'_>,
    ) -> PyResult<Option<bool>> {
        let parts: &[&'static str] = if old.downcast_ref_if_exact::<PyProperty>(self.vm).is_some()
            && new.downcast_ref_if_exact::<PyProperty>(self.vm).is_some()
        {
            &["fget", "fset", "fdel"]
        } else if (old.downcast_ref_if_exact::<PyClassMethod>(self.vm).is_some()
            && new.downcast_ref_if_exact::<PyClassMethod>(self.vm).is_some())
            || (old.downcast_ref_if_exact::<PyStaticMethod>(self.vm).is_some()
                && new.downcast_ref_if_exact::<PyStaticMethod>(self.vm).is_some())
        {
            &["__func__"]
        } else {
            return Ok(None);
        };
        // It has a copy of it.
        if !self.is_same_attribute(old, new, "__doc__")? {
            return Ok(Some(false));
        }
        // As for functions.
        let is_held = new.strong_count() > 2;
        self.pair(old, new);
        for part in parts {
            let (before, after) = (self.attribute(old, part)?, self.attribute(new, part)?);
            if self.vm.is_none(&before) && self.vm.is_none(&after) {
                continue;
            }
            let (Some(one), Some(other)) = (before.downcast_ref::<PyFunction>(), after.downcast_ref::<PyFunction>())
            else {
                return Ok(Some(false));
            };
            if self.is_taken(&before) || self.counterpart(&after)?.is_some() {
                return Ok(Some(false));
            }
            let Some(likeness) = self.function(one, other, inside)? else { return Ok(Some(false)) };
            // One reference is that of the descriptor, one is here.
            let is_held = is_held || after.strong_count() > 2;
            let path = || format!("{path}.{}", name.to_string_lossy());
            self.take((&before, &after), is_held, likeness, path, inside)?;
        }
        Ok(Some(true))
    }

    /// Another function over the live namespace. Its code was never run.
    fn twin(&self, function: &PyObject, closure: PyObjectRef) -> PyResult {
        let vm = self.vm;
        let code = self.attribute(function, "__code__")?;
        let code = vm.call_method(&code, "replace", ())?;
        let args = vec![
            code,
            self.live.clone().into(),
            self.attribute(function, "__name__")?,
            self.attribute(function, "__defaults__")?,
            closure,
            self.attribute(function, "__kwdefaults__")?,
        ];
        let twin = vm.ctx.types.function_type.as_object().call(args, vm)?;
        for name in ["__qualname__", "__doc__", "__module__"] {
            twin.set_attr(name, self.attribute(function, name)?, vm)?;
        }
        let annotate = self.attribute(function, "__annotate__")?;
        if !vm.is_none(&annotate) {
            twin.set_attr("__annotate__", self.twin(&annotate, vm.ctx.none())?, vm)?;
        }
        Ok(twin)
    }
}

/// How code differs from its counterpart.
fn likeness(one: &PyCode, other: &PyCode, vm: &VirtualMachine) -> Likeness {
    let (one, other) = (&one.code, &other.code);
    let is_same = one.flags == other.flags
        && (one.posonlyarg_count, one.arg_count, one.kwonlyarg_count)
            == (other.posonlyarg_count, other.arg_count, other.kwonlyarg_count)
        && one.obj_name == other.obj_name
        && one.qualname == other.qualname
        && one.names == other.names
        && one.varnames == other.varnames
        && one.cellvars == other.cellvars
        && one.freevars == other.freevars
        && one.exceptiontable == other.exceptiontable
        && one.constants.len() == other.constants.len()
        && one.instructions.original_bytes() == other.instructions.original_bytes();
    if !is_same {
        return Likeness::Different;
    }
    let is_moved = one.first_line_number != other.first_line_number || one.linetable != other.linetable;
    let mut likeness = if is_moved { Likeness::Moved } else { Likeness::Same };
    for (one, other) in one.constants.iter().zip(other.constants.iter()) {
        let (one, other): (PyObjectRef, PyObjectRef) = (one.clone().into(), other.clone().into());
        likeness = likeness.max(match (one.downcast_ref::<PyCode>(), other.downcast_ref::<PyCode>()) {
            (Some(one), Some(other)) => self::likeness(one, other, vm),
            _ if is_same_value(&one, &other, vm) => Likeness::Same,
            _ => Likeness::Different,
        });
    }
    likeness
}

/// Whether an update could replace nothing in a value.
fn is_atomic(value: &PyObject, vm: &VirtualMachine) -> bool {
    let (types, class) = (&vm.ctx.types, value.class());
    if class.is(types.tuple_type) {
        return value.downcast_ref::<PyTuple>().is_some_and(|items| items.iter().all(|item| is_atomic(item, vm)));
    }
    [
        types.int_type,
        types.str_type,
        types.none_type,
        types.bool_type,
        types.float_type,
        types.bytes_type,
        types.complex_type,
        types.ellipsis_type,
        types.range_type,
    ]
    .into_iter()
    .any(|atomic| class.is(atomic))
}

/// Whether two values are of one class that has nothing of an update's in it, and equal.
fn is_same_value(one: &PyObject, other: &PyObject, vm: &VirtualMachine) -> bool {
    if one.is(other) {
        return true;
    }
    if !one.class().is(other.class()) {
        return false;
    }
    if let (Some(one), Some(other)) = (one.downcast_ref::<PyTuple>(), other.downcast_ref::<PyTuple>())
        && one.class().is(vm.ctx.types.tuple_type)
    {
        return one.len() == other.len()
            && one.iter().zip(other.iter()).all(|(one, other)| is_same_value(one, other, vm));
    }
    if let (Some(one), Some(other)) = (one.downcast_ref::<PySlice>(), other.downcast_ref::<PySlice>()) {
        let part = |part: &Option<PyObjectRef>| part.clone().unwrap_or_else(|| vm.ctx.none());
        return is_same_value(&part(&one.start), &part(&other.start), vm)
            && is_same_value(&one.stop, &other.stop, vm)
            && is_same_value(&part(&one.step), &part(&other.step), vm);
    }
    let is_frozen = one.class().is(vm.ctx.types.frozenset_type);
    if !is_frozen && !is_atomic(one, vm) {
        return false;
    }
    // `repr` tells 0.0 from -0.0, and one empty range from another; equal values of the other classes are the same.
    let types = &vm.ctx.types;
    if [types.float_type, types.complex_type, types.range_type].into_iter().any(|class| one.class().is(class)) {
        let text = |value: &PyObject| value.repr(vm).map(|text| text.as_bytes().to_vec());
        return text(one).ok() == text(other).ok();
    }
    vm.bool_eq(one, other).unwrap_or(false)
}

/// Whether the keyword defaults of a function are plain.
fn is_atomic_dict(value: &PyObject, vm: &VirtualMachine) -> bool {
    let dict = value.downcast_ref_if_exact::<PyDict>(vm);
    dict.is_some_and(|dict| dict.into_iter().all(|(_, item)| is_atomic(&item, vm)))
}

fn is_same_dict(one: &PyObject, other: &PyObject, vm: &VirtualMachine) -> bool {
    let exact = |value| PyObject::downcast_ref_if_exact::<PyDict>(value, vm);
    let (Some(one), Some(other)) = (exact(one), exact(other)) else { return false };
    let is_there = |key: &PyObject, value: &PyObject| {
        other.get_item_opt(key, vm).is_ok_and(|found| found.is_some_and(|found| is_same_value(value, &found, vm)))
    };
    one.__len__() == other.__len__() && one.into_iter().all(|(key, value)| is_there(&key, &value))
}
