//! References that native objects own and the collector does not see.
//!
//! RustPython's collector asks an object's payload for its references (`Traverse`). Many payloads leave some out, so a
//! cycle through one is never freed. Most of what they leave out can still be read: by an attribute, or by what `pickle`
//! would be given. `spaces/policies/types.toml` says which way, class by class, for every native class of the build.
//! (Upstream should visit these fields.)
//!
//! What a reader visits is owned by the object itself. Readers are called while the world is stopped: they call native
//! functions only, and wait for no lock that a thread holds for longer than an operation on a container.

use std::{collections::HashMap, sync::LazyLock};

use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyRef, VirtualMachine,
    builtins::{PyAsyncGen, PyCoroutine, PyFrozenSet, PyGenerator, PyList, PyStr, PyTuple, PyType},
    frame::FrameObject,
    object::Traverse,
    types::PyTypeFlags,
};
use serde::Deserialize;

use super::arguments;

/// What is known of a native class.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Row {
    Word(Word),
    Hidden(Vec<String>),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    /// The collector sees every reference.
    Traversed,
    /// There are no references.
    Leaf,
    /// There are references that cannot be read.
    Opaque,
}

const TYPES: &str = include_str!("../../spaces/policies/types.toml");

static TABLE: LazyLock<HashMap<String, Row>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the table is part of the program, and a test reads it")]
    toml::from_str(TYPES).expect("types.toml is well-formed")
});

/// How a hidden reference, or several, can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reader {
    /// The value of an attribute; nothing when it raises.
    Attribute(String),
    /// What a class has in its own namespace, and refers to a second time.
    Own(String),
    /// The items of the list of tuples that a method returns, each time new ones.
    Items(String),
    /// The items of `object.__reduce__()[1]`.
    Reduce,
    /// What it calls a method with.
    Arguments,
    /// The dict below the mapping proxy that a dict view makes of it.
    View,
    /// A set's elements.
    Elements,
    /// What a bound native method is bound to; an unbound native function is traversed.
    Method,
    /// The function that computes a type parameter's bound, or the value that a new evaluator wraps.
    Evaluator(String),
    /// The value that an evaluator returns.
    Value,
    /// A generator's frame. What the collector is told of a generator that handles an exception is not its own.
    Frame,
}

impl Reader {
    /// The attribute of the class that it needs.
    fn attribute(&self) -> Option<&str> {
        match self {
            Self::Attribute(name) | Self::Items(name) | Self::Evaluator(name) => Some(name),
            Self::Reduce => Some("__reduce__"),
            Self::View => Some("mapping"),
            Self::Method => Some("__self__"),
            Self::Arguments | Self::Elements | Self::Value | Self::Frame | Self::Own(_) => None,
        }
    }

    fn parse(text: &str) -> Self {
        match text.split_once(' ') {
            Some(("evaluator", name)) => Self::Evaluator(name.to_owned()),
            Some(("own", name)) => Self::Own(name.to_owned()),
            _ => match text {
                "__reduce__" => Self::Reduce,
                "arguments" => Self::Arguments,
                "view" => Self::View,
                "elements" => Self::Elements,
                "method" => Self::Method,
                "call" => Self::Value,
                "frame" => Self::Frame,
                name => match name.strip_suffix("()") {
                    Some(method) => Self::Items(method.to_owned()),
                    None => Self::Attribute(name.to_owned()),
                },
            },
        }
    }
}

/// A reader, with the attribute of the native class that it goes by: a derived class may have its own of that name.
struct Bound {
    reader: Reader,
    attribute: Option<PyObjectRef>,
}

/// How the references of a class's instances are found.
#[derive(Default)]
pub(crate) struct Readers {
    readers: Vec<Bound>,
    /// What the collector is told must not be used.
    instead: bool,
}

/// `__module__.__qualname__` of a class.
fn full_name(class: &Py<PyType>, vm: &VirtualMachine) -> Option<String> {
    let text = |name: &'static str| {
        let value = class.as_object().get_attr(name, vm).ok()?;
        value.downcast_ref::<PyStr>().map(|text| text.to_string_lossy().into_owned())
    };
    Some(format!("{}.{}", text("__module__")?, text("__qualname__")?))
}

/// Whether instances of exactly this class own no references.
pub(crate) fn is_leaf(class: &Py<PyType>, vm: &VirtualMachine) -> bool {
    class.heaptype_ext.is_none()
        && !class.slots.flags.has_feature(PyTypeFlags::HAS_DICT)
        && full_name(class, vm).and_then(|name| TABLE.get(&name)) == Some(&Row::Word(Word::Leaf))
}

impl Readers {
    /// The readers for instances of `class`: those of the native classes it derives from.
    pub(crate) fn of(class: &Py<PyType>, vm: &VirtualMachine) -> Self {
        let mut readers: Vec<Bound> = Vec::new();
        for class in class.mro.read().iter().filter(|class| class.heaptype_ext.is_none()) {
            let row = full_name(class, vm).and_then(|name| TABLE.get(&name));
            if let Some(Row::Hidden(ways)) = row {
                for reader in ways.iter().map(|way| Reader::parse(way)) {
                    if !readers.iter().any(|known| known.reader == reader) {
                        let attribute = reader.attribute().and_then(|name| class.get_attr(vm.ctx.intern_str(name)));
                        readers.push(Bound { reader, attribute });
                    }
                }
            }
        }
        let instead = readers.iter().any(|bound| bound.reader == Reader::Frame);
        Self { readers, instead }
    }

    /// Visits every reference of `object` that can be read.
    pub(crate) fn visit(&self, object: &PyObject, vm: &VirtualMachine, visit: &mut dyn FnMut(&PyObject)) {
        let mut traversed = 0_usize;
        if !self.instead {
            object.traverse(&mut |child| {
                traversed += 1;
                visit(child);
            });
        }
        for bound in &self.readers {
            bound.read(object, traversed, vm, visit);
        }
    }
}

impl Bound {
    fn read(&self, object: &PyObject, traversed: usize, vm: &VirtualMachine, visit: &mut dyn FnMut(&PyObject)) {
        let attribute = || -> Option<PyObjectRef> {
            let attribute = self.attribute.as_ref()?;
            vm.call_get_descriptor_specific(attribute, Some(object), Some(object.class().as_object()))
                .unwrap_or_else(|| Ok(attribute.clone()))
                .ok()
        };
        let call = || attribute()?.call((), vm).ok();
        match &self.reader {
            Reader::Attribute(_) => {
                if let Some(value) = attribute() {
                    visit(&value);
                }
            }
            Reader::Own(name) => {
                let namespace = object.downcast_ref::<PyType>().and_then(|class| class.attributes.as_dict());
                if let Some(Ok(Some(value))) = namespace.map(|namespace| namespace.get_item_opt(&**name, vm)) {
                    visit(&value);
                }
            }
            Reader::Items(_) => {
                let pairs = call().and_then(|pairs| pairs.try_to_value::<Vec<PyObjectRef>>(vm).ok());
                for pair in pairs.unwrap_or_default() {
                    items(&pair, visit);
                }
            }
            Reader::Arguments => arguments::of(object, vm).iter().for_each(|argument| visit(argument)),
            Reader::Reduce => {
                let Some(reduced) = call() else { return };
                let Some([_, arguments, ..]) = reduced.downcast_ref::<PyTuple>().map(|reduced| reduced.as_slice())
                else {
                    return;
                };
                items(arguments, visit);
            }
            Reader::View => {
                if let Some(mapping) = attribute() {
                    // Not of the reference, which would be the proxy: of the object.
                    PyObject::traverse(&mapping, &mut |dict| visit(dict));
                }
            }
            Reader::Elements => {
                if let Some(set) = object.downcast_ref::<PyFrozenSet>() {
                    for element in set.elements() {
                        visit(&element);
                    }
                }
            }
            Reader::Method if traversed > 0 => {}
            Reader::Method => {
                if let Some(this) = attribute() {
                    visit(&this);
                }
            }
            Reader::Evaluator(_) => {
                let Some(evaluator) = attribute() else { return };
                // Made for the answer: it holds the value.
                if evaluator.strong_count() == 1 {
                    value_of(&evaluator, vm, visit);
                } else {
                    visit(&evaluator);
                }
            }
            Reader::Value => value_of(object, vm, visit),
            Reader::Frame => {
                if let Some(frame) = frame_of(object) {
                    visit(frame.as_object());
                }
            }
        }
    }
}

/// The frame that `object` is, or that of a suspended generator or coroutine.
pub(crate) fn frame_of(object: &PyObject) -> Option<PyRef<FrameObject>> {
    if let Some(frame) = object.downcast_ref::<FrameObject>() {
        Some(frame.to_owned())
    } else if let Some(generator) = object.downcast_ref::<PyGenerator>() {
        generator.as_coro().frame_opt()
    } else if let Some(coroutine) = object.downcast_ref::<PyCoroutine>() {
        coroutine.as_coro().frame_opt()
    } else {
        object.downcast_ref::<PyAsyncGen>()?.as_coro().frame_opt()
    }
}

fn value_of(evaluator: &PyObject, vm: &VirtualMachine, visit: &mut dyn FnMut(&PyObject)) {
    if let Ok(value) = evaluator.to_owned().call((1,), vm) {
        visit(&value);
    }
}

fn items(value: &PyObjectRef, visit: &mut dyn FnMut(&PyObject)) {
    let mut each = |items: &[PyObjectRef]| {
        for item in items {
            visit(item);
        }
    };
    if let Some(tuple) = value.downcast_ref::<PyTuple>() {
        each(tuple.as_slice());
    } else if let Some(list) = value.downcast_ref::<PyList>() {
        each(&list.borrow_vec());
    }
}
