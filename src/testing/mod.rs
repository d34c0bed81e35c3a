//! Running test files in spaces of their own; see `spaces/testing/`.

mod pool;
mod protocol;
mod report;
mod watch;
mod worker;
mod workers;

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustpython_vm::{
    AsObject, PyObjectRef, PyPayload, PyResult, VirtualMachine,
    builtins::{PyBytes, PyCode, PyDictRef, PyListRef, PyStr, PyTuple, PyTupleRef, PyType},
    function::PyMethodDef,
};

use serde::{Deserialize, Serialize};

pub(crate) use pool::WORKER;
pub(crate) use worker::{Link, connect};

use crate::{
    import::{
        generation::{Generation, Shared},
        level,
        originals::Changed,
    },
    vm::{
        hidden,
        native::{bind, def},
    },
};
use report::ReportFiles;
use workers::Start;

/// What a test file has of its own.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Isolation {
    /// All modules, beside those of the test framework.
    File,
    /// As [`Self::File`], for each class of tests; functions that are in no class have theirs together.
    Class,
    /// As [`Self::File`], for each test.
    Test,
    /// Nothing: what plain pytest does, in one process.
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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TestRun {
    pub(crate) isolation: Isolation,
    /// Patterns of modules that all files have together, beside pytest and what it hands to tests.
    pub(crate) share: Vec<String>,
    /// Patterns of modules that each file has for itself.
    pub(crate) fresh: Vec<String>,
    /// Whether to find out which tests depend on what other files leave, instead of testing.
    pub(crate) find_pollution: bool,
    /// Whether to run files again when what they have imported changes.
    pub(crate) watch: bool,
    /// Only files that have imported what is not as in this revision of git.
    pub(crate) changed: Option<String>,
    /// Whether to say what is left of files.
    pub(crate) leaks: bool,
    /// What to measure coverage of: directories and packages; an empty text is what there is if nobody says so. Nothing if
    /// there is none.
    pub(crate) cov: Vec<String>,
    /// Where pytest and the libraries are.
    pub(crate) site: Vec<PathBuf>,
    /// What comes after them: projects that are installed in place.
    pub(crate) in_place: Vec<PathBuf>,
    /// By which options the environment was named.
    pub(crate) environment: Vec<String>,
    /// What comes before them on the `sys.path` of the tests.
    pub(crate) path: Vec<PathBuf>,
    /// pytest's arguments.
    pub(crate) arguments: Vec<String>,
    /// How unittest's own runner runs them, instead of pytest.
    pub(crate) unittest: Option<Unittest>,
    /// How many processes run files: as many as there are cores, if it is not said. A single one is this process.
    pub(crate) workers: Option<usize>,
    /// How long a file may take.
    pub(crate) timeout: Option<Duration>,
    /// Only each N-th file, beginning with the K-th.
    pub(crate) shard: Option<(usize, usize)>,
    /// Where a report in the format of JUnit goes.
    pub(crate) junit: Option<PathBuf>,
    /// Where a report in JSON goes.
    pub(crate) json: Option<PathBuf>,
    /// What this process is, if another one runs the tests.
    pub(crate) worker: Option<Worker>,
}

/// What unittest's runner is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Unittest {
    /// 0 shows little, 1 dots, 2 a line for each test.
    pub(crate) verbosity: u8,
    pub(crate) failfast: bool,
    /// Only tests whose names match.
    pub(crate) keywords: Option<String>,
}

/// A process that runs files for another one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Worker {
    /// From 0.
    pub(crate) number: usize,
    pub(crate) count: usize,
    /// Where its temporary directories are.
    pub(crate) temporary: String,
}

/// Runs the tests in children of the generation, in which pytest is loaded. Returns pytest's exit code.
///
/// # Errors
/// What pytest raised: `KeyboardInterrupt` and `SystemExit` from outside of the tests.
pub(crate) fn run(generation: &Arc<Generation>, run: TestRun, link: Option<Link>, vm: &VirtualMachine) -> PyResult {
    // Code that looks for modules, `inspect` for one, expects a `__main__`.
    generation.main(vm)?;
    let start = level::import_module(generation, "modspace.testing.start", vm)?;
    start.get_attr("run", vm)?.call((options(run, link, vm)?,), vm)
}

static RESTORE_CLASSES: PyMethodDef = def("restore_classes", restore_classes);

/// Gives the classes of platform modules back what they had. Returns what had another value: a class, a name, and whether
/// there was such an attribute.
///
/// Under new names with an underscore, classes keep what they compute, and modules of the standard library complete native
/// classes as they are loaded (`ast` does): these go only if `is_of_tests` says so of the value.
fn restore_classes(_none: PyObjectRef, is_of_tests: PyObjectRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let Some(shared) = Shared::of(vm) else { return Ok(Vec::new()) };
    let mut restored = Vec::new();
    for Changed { class, name, original, value } in shared.originals.changed(vm) {
        let name = name.downcast::<PyStr>().map_err(|_| vm.new_type_error("an attribute's name is a string"))?;
        let is_native = class.attributes.as_dict().is_none();
        let may_be_theirs = is_native || original.is_none() && name.as_bytes().starts_with(b"_");
        if let (true, Some(value)) = (may_be_theirs, value)
            && !is_of_tests.call((value.clone(),), vm)?.try_to_bool(vm)?
        {
            shared.originals.accept(class.as_object(), name.as_object(), value);
            continue;
        }
        let is_known = vm.ctx.new_bool(original.is_some()).into();
        match original {
            Some(original) => class.as_object().set_attr(&name, original, vm)?,
            None => class.as_object().del_attr(&name, vm)?,
        }
        restored.push(vm.ctx.new_tuple(vec![class.into(), name.into(), is_known]).into());
    }
    Ok(restored)
}

static DIFFERING: PyMethodDef = def("differing", differing);

/// Those of `owners` that have other attributes than they had: tuples of anything, a module or a class, anything, and the
/// names and the values of the attributes that it had.
fn differing(_none: PyObjectRef, owners: PyListRef, vm: &VirtualMachine) -> PyResult<Vec<PyObjectRef>> {
    let mut differing = Vec::new();
    for known in owners.borrow_vec().to_vec() {
        let known = known.downcast::<PyTuple>().map_err(|_| vm.new_type_error("owners are tuples"))?;
        let [_, owner, _, names, values] = known.as_slice() else {
            return Err(vm.new_type_error("owners are of five"));
        };
        let (Some(names), Some(values)) = (names.downcast_ref::<PyTuple>(), values.downcast_ref::<PyTuple>()) else {
            return Err(vm.new_type_error("names and values are tuples"));
        };
        let now = match owner.downcast_ref::<PyType>() {
            Some(class) => class.attributes.entries(),
            None => owner.dict().map_or_else(Vec::new, |attributes| attributes.into_iter().collect()),
        };
        let had = names.as_slice().iter().zip(values.as_slice());
        let is_same = now.len() == names.as_slice().len()
            && now.iter().zip(had).all(|((name, value), had)| name.is(had.0) && value.is(had.1));
        if !is_same {
            differing.push(known.into());
        }
    }
    Ok(differing)
}

static LOAD_CODE: PyMethodDef = def("load_code", load_code);

/// `marshal.load` of a file with code, which is decoded once for all spaces.
fn load_code(_none: PyObjectRef, file: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let data = vm.call_method(&file, "read", ())?;
    let load = || vm.call_method(hidden::import("marshal", vm)?.as_object(), "loads", (data.clone(),));
    let (Some(shared), Some(bytes)) = (Shared::of(vm), data.downcast_ref::<PyBytes>()) else { return load() };
    let name = file.get_attr("name", vm)?.str(vm)?;
    let hash = *blake3::hash(bytes.as_bytes()).as_bytes();
    let code = shared.code.unmarshalled(&name.to_string_lossy(), hash, vm, || {
        load()?.downcast::<PyCode>().map_err(|_| vm.new_type_error("the file holds no code object"))
    });
    code.map(Into::into)
}

static WATCH_CODE: PyMethodDef = def("watch_code", watch_code);

/// Sets events of pairs of a code object and these, as `sys.monitoring.set_local_events` does, but lets nobody look at code anew:
/// this takes effect when something else is set.
fn watch_code(_none: PyObjectRef, tool: usize, codes: Vec<PyTupleRef>, vm: &VirtualMachine) -> PyResult<()> {
    let event = |pair: &PyTupleRef| match pair.as_slice() {
        [code, events] => Ok(((tool, code.get_id()), events.try_to_value::<u32>(vm)?)),
        _ => Err(vm.new_type_error("a code object and its events are expected")),
    };
    let events = codes.iter().map(event).collect::<PyResult<Vec<_>>>()?;
    vm.state.monitoring.lock().local_events.extend(events);
    Ok(())
}

pub(crate) fn options(run: TestRun, link: Option<Link>, vm: &VirtualMachine) -> PyResult<PyDictRef> {
    let list =
        |texts: &mut dyn Iterator<Item = PyObjectRef>| -> PyObjectRef { vm.ctx.new_list(texts.collect()).into() };
    let texts = |texts: &[String]| list(&mut texts.iter().map(|text| vm.ctx.new_str(&**text).into()));
    let paths = |paths: &[PathBuf]| list(&mut paths.iter().map(|path| vm.fsdecode(path.clone()).into()));
    let options = vm.ctx.new_dict();
    options.set_item("isolate", vm.ctx.new_str(run.isolation.as_str()).into(), vm)?;
    options.set_item("share", texts(&run.share), vm)?;
    options.set_item("fresh", texts(&run.fresh), vm)?;
    options.set_item("cov", texts(&run.cov), vm)?;
    options.set_item("watch_code", bind(&WATCH_CODE, vm.ctx.none(), vm), vm)?;
    options.set_item("leaks", vm.ctx.new_bool(run.leaks).into(), vm)?;
    options.set_item(
        "unittest",
        run.unittest.as_ref().map_or_else(|| Ok(vm.ctx.none()), |given| unittest(given, vm))?,
        vm,
    )?;
    options.set_item("find_pollution", vm.ctx.new_bool(run.find_pollution).into(), vm)?;
    let watch = if run.watch { bind(&watch::WATCH, vm.ctx.none(), vm) } else { vm.ctx.none() };
    options.set_item("watch", watch, vm)?;
    let changed = run.changed.as_ref().map_or_else(|| vm.ctx.none(), |revision| vm.ctx.new_str(&**revision).into());
    options.set_item("changed", changed, vm)?;
    options.set_item("site", paths(&run.site), vm)?;
    options.set_item("in_place", paths(&run.in_place), vm)?;
    options.set_item("environment", texts(&run.environment), vm)?;
    options.set_item("path", paths(&run.path), vm)?;
    options.set_item("args", texts(&run.arguments), vm)?;
    options.set_item("load_code", bind(&LOAD_CODE, vm.ctx.none(), vm), vm)?;
    options.set_item("differing", bind(&DIFFERING, vm.ctx.none(), vm), vm)?;
    options.set_item("restore_classes", bind(&RESTORE_CLASSES, vm.ctx.none(), vm), vm)?;
    let number = |number: Option<usize>| number.map_or_else(|| vm.ctx.none(), |number| vm.ctx.new_int(number).into());
    options.set_item("workers", number(run.workers), vm)?;
    options.set_item(
        "cores",
        vm.ctx.new_int(std::thread::available_parallelism().map_or(1, usize::from)).into(),
        vm,
    )?;
    options.set_item("has_timeout", vm.ctx.new_bool(run.timeout.is_some()).into(), vm)?;
    let shard =
        run.shard.map(|(one, of)| vm.ctx.new_tuple(vec![vm.ctx.new_int(one).into(), vm.ctx.new_int(of).into()]));
    options.set_item("shard", shard.map_or_else(|| vm.ctx.none(), Into::into), vm)?;
    if let Some(Worker { number, count, temporary }) = &run.worker {
        options.set_item("worker", vm.ctx.new_int(*number).into(), vm)?;
        options.set_item("worker_count", vm.ctx.new_int(*count).into(), vm)?;
        options.set_item("temporary", vm.ctx.new_str(&**temporary).into(), vm)?;
    }
    options.set_item("link", link.map_or_else(|| vm.ctx.none(), |link| link.into_ref(&vm.ctx).into()), vm)?;
    options.set_item("has_reports", vm.ctx.new_bool(run.junit.is_some() || run.json.is_some()).into(), vm)?;
    let files = ReportFiles { junit: run.junit.clone(), json: run.json.clone() };
    options.set_item("write_reports", bind(&report::WRITE, files.into_ref(&vm.ctx), vm), vm)?;
    options.set_item("start_workers", Start(run).into_ref(&vm.ctx).into(), vm)?;
    Ok(options)
}

fn unittest(given: &Unittest, vm: &VirtualMachine) -> PyResult {
    let options = vm.ctx.new_dict();
    options.set_item("verbosity", vm.ctx.new_int(given.verbosity).into(), vm)?;
    options.set_item("failfast", vm.ctx.new_bool(given.failfast).into(), vm)?;
    let keywords = given.keywords.as_ref().map_or_else(|| vm.ctx.none(), |text| vm.ctx.new_str(&**text).into());
    options.set_item("keywords", keywords, vm)?;
    Ok(options.into())
}
