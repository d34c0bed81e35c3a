//! Running test files in spaces of their own; see `spaces/testing/`.

use std::{path::PathBuf, sync::Arc};

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyDictRef, PyModule, PyStr},
    function::PyMethodDef,
};

use crate::{
    import::{
        boot,
        generation::{Generation, Shared},
        level,
        originals::Changed,
    },
    vm::native::{bind, def, module_over},
};

/// What a test file has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// All modules, beside those of the test framework.
    File,
    /// As [`Self::File`], for each class of tests; functions that are in no class have theirs together.
    Class,
    /// As [`Self::File`], for each test.
    Test,
    /// Nothing: what plain pytest does.
    None,
}

impl Isolation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Class => "class",
            Self::Test => "test",
            Self::None => "none",
        }
    }
}

/// How tests are to be run.
#[derive(Clone, Debug)]
pub(crate) struct TestRun {
    pub(crate) isolation: Isolation,
    /// Patterns of modules that all files have together, beside pytest and what it hands to tests.
    pub(crate) share: Vec<String>,
    /// Patterns of modules that each file has for itself.
    pub(crate) fresh: Vec<String>,
    /// Whether to say what is left of files.
    pub(crate) leaks: bool,
    /// Where pytest and the libraries are.
    pub(crate) site: Vec<PathBuf>,
    /// What comes before them on the `sys.path` of the tests.
    pub(crate) path: Vec<PathBuf>,
    /// pytest's arguments.
    pub(crate) arguments: Vec<String>,
}

const PACKAGE: &str = "modspace.testing";

/// In the order in which they use each other.
const PARTS: [(&str, &str); 2] = [
    ("state", include_str!("../../spaces/testing/state.py")),
    ("runner", include_str!("../../spaces/testing/runner.py")),
];

/// Runs the tests in children of the generation, in which pytest is loaded. Returns pytest's exit code.
///
/// # Errors
/// What pytest raised: `KeyboardInterrupt` and `SystemExit` from outside of the tests.
pub(crate) fn run(generation: &Arc<Generation>, run: &TestRun, vm: &VirtualMachine) -> PyResult {
    // Code that looks for modules, `inspect` for one, expects a `__main__`.
    generation.main(vm)?;
    // Nobody has an own `sys.modules` yet, and the parts find each other there.
    let modules = generation.modules(vm)?;
    let package = vm.ctx.new_dict();
    package.set_item("__name__", vm.ctx.new_str(PACKAGE).into(), vm)?;
    package.set_item("__path__", vm.ctx.new_list(Vec::new()).into(), vm)?;
    modules.set_item(PACKAGE, module_over(package.clone(), vm).into(), vm)?;
    level::import_module(generation, "modspace", vm)?;
    for (name, source) in PARTS {
        let dict = part(generation, &format!("{PACKAGE}.{name}"), source, vm)?;
        package.set_item(name, dict.into(), vm)?;
    }
    let runner = package.get_item("runner", vm)?;
    runner.get_attr("run", vm)?.call((options(run, vm)?,), vm)
}

fn part(generation: &Generation, name: &str, source: &str, vm: &VirtualMachine) -> PyResult<PyRef<PyModule>> {
    let dict = vm.ctx.new_dict();
    dict.set_item("__name__", vm.ctx.new_str(name).into(), vm)?;
    dict.set_item("__builtins__", generation.builtins_dict.clone().into(), vm)?;
    let module = module_over(dict.clone(), vm);
    generation.modules(vm)?.set_item(name, module.clone().into(), vm)?;
    boot::run(generation, source, &format!("<frozen {name}>"), &dict, vm)?;
    Ok(module)
}

static RESTORE_CLASSES: PyMethodDef = def("restore_classes", restore_classes);

/// Gives the classes of platform modules back what they had. Returns what had another value: a class, a name, and whether
/// there was such an attribute.
fn restore_classes(_none: PyObjectRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let Some(shared) = Shared::of(vm) else { return Ok(Vec::new()) };
    let mut restored = Vec::new();
    for Changed { class, name, original } in shared.originals.changed() {
        let is_known = vm.ctx.new_bool(original.is_some()).into();
        let name = name.downcast::<PyStr>().map_err(|_| vm.new_type_error("an attribute's name is a string"))?;
        match original {
            Some(original) => class.as_object().set_attr(&name, original, vm)?,
            None => class.as_object().del_attr(&name, vm)?,
        }
        restored.push(vm.ctx.new_tuple(vec![class.into(), name.into(), is_known]).into());
    }
    Ok(restored)
}

fn options(run: &TestRun, vm: &VirtualMachine) -> PyResult<PyDictRef> {
    let list =
        |texts: &mut dyn Iterator<Item = PyObjectRef>| -> PyObjectRef { vm.ctx.new_list(texts.collect()).into() };
    let texts = |texts: &[String]| list(&mut texts.iter().map(|text| vm.ctx.new_str(&**text).into()));
    let paths = |paths: &[PathBuf]| list(&mut paths.iter().map(|path| vm.fsdecode(path.clone()).into()));
    let options = vm.ctx.new_dict();
    options.set_item("isolate", vm.ctx.new_str(run.isolation.as_str()).into(), vm)?;
    options.set_item("share", texts(&run.share), vm)?;
    options.set_item("fresh", texts(&run.fresh), vm)?;
    options.set_item("leaks", vm.ctx.new_bool(run.leaks).into(), vm)?;
    options.set_item("site", paths(&run.site), vm)?;
    options.set_item("path", paths(&run.path), vm)?;
    options.set_item("args", texts(&run.arguments), vm)?;
    options.set_item("restore_classes", bind(&RESTORE_CLASSES, vm.ctx.none(), vm), vm)?;
    Ok(options)
}
