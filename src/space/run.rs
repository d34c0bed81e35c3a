//! Running programs as a space's `__main__`: what `python SCRIPT`, `-m`, `-c` and `-` do.

use std::{collections::HashSet, ffi::OsStr, path::Path, sync::Arc};

use rustpython_vm::{
    PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyCode, PyDictRef, PyStr},
    function::ArgMapping,
    scope::Scope,
};

use crate::import::{boot, generation::Generation, level};

/// Sets `sys.argv` to the program and its arguments.
fn set_argv(generation: &Generation, program: &str, args: Vec<String>, vm: &VirtualMachine) -> PyResult<()> {
    let argv = std::iter::once(program.to_owned()).chain(args).map(|arg| vm.fsdecode(arg).into()).collect();
    generation.sys_dict.set_item("argv", vm.ctx.new_list(argv).into(), vm)
}

/// Puts the program's directory in front of `sys.path`, unless the interpreter was told not to.
fn prepend_directory(generation: &Generation, directory: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    if vm.state.config.settings.safe_path { Ok(()) } else { prepend_path(generation, directory, vm) }
}

/// Puts `entry` in front of `sys.path`.
fn prepend_path(generation: &Generation, entry: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
    let path = generation.sys_dict.get_item("path", vm)?;
    vm.call_method(&path, "insert", (0, entry)).map(drop)
}

/// Executes `code` over `__main__`, and notes which names it defines there.
fn execute(
    generation: &Generation,
    code: rustpython_vm::PyRef<PyCode>,
    main: &PyDictRef,
    vm: &VirtualMachine,
) -> PyResult<()> {
    let names = || -> HashSet<String> {
        let names = main.clone().into_iter().filter_map(|(name, _)| name.downcast::<PyStr>().ok());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    };
    let before = names();
    let result = vm.run_code_obj(code, Scope::new(Some(ArgMapping::from_dict_exact(main.clone())), main.clone()));
    generation.defined.lock().extend(names().difference(&before).cloned());
    result.map(drop)
}

/// Runs the script `path`, or the `__main__` of the directory or zip file `path`.
pub(crate) fn path(generation: &Arc<Generation>, path: &OsStr, args: Vec<String>, vm: &VirtualMachine) -> PyResult<()> {
    let given = path.to_string_lossy().into_owned();
    set_argv(generation, &given, args, vm)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let main = generation.main(vm)?.dict();
    if let Some(importer) = path_importer(generation, &absolute, vm)? {
        drop(importer);
        prepend_path(generation, vm.fsdecode(absolute.into_os_string()).into(), vm)?;
        return run_main_of(generation, "__main__", false, vm);
    }
    let source = std::fs::read(&absolute).map_err(|error| {
        let errno = error.raw_os_error().map_or_else(|| vm.ctx.none(), |code| vm.ctx.new_int(code).into());
        let message = vm.ctx.new_str(io_message(&error));
        let class = match error.kind() {
            std::io::ErrorKind::NotFound => vm.ctx.exceptions.file_not_found_error,
            std::io::ErrorKind::PermissionDenied => vm.ctx.exceptions.permission_error,
            std::io::ErrorKind::IsADirectory => vm.ctx.exceptions.is_a_directory_error,
            _ => vm.ctx.exceptions.os_error,
        };
        let error = class.to_owned();
        let args = vec![errno, message.into(), vm.ctx.new_str(given.as_str()).into()];
        rustpython_vm::AsObject::as_object(&error)
            .call(args, vm)
            .and_then(|error| error.downcast().map_err(|_| vm.new_type_error("OSError made no exception")))
            .unwrap_or_else(|error| error)
    })?;
    let directory = std::fs::canonicalize(&absolute).ok().and_then(|real| real.parent().map(Path::to_owned));
    let directory = directory.unwrap_or_default();
    prepend_directory(generation, vm.fsdecode(directory.into_os_string()).into(), vm)?;
    let file = vm.fsdecode(absolute.clone().into_os_string());
    main.set_item("__file__", file.clone().into(), vm)?;
    main.set_item("__cached__", vm.ctx.none(), vm)?;
    let external = level::import_module(generation, "_frozen_importlib_external", vm)?;
    let sourceless = absolute.extension().is_some_and(|extension| extension == "pyc");
    let class = if sourceless { "SourcelessFileLoader" } else { "SourceFileLoader" };
    let loader = external.get_attr(class, vm)?.call(("__main__", file.clone()), vm)?;
    main.set_item("__loader__", loader.clone(), vm)?;
    let code = if sourceless {
        vm.call_method(&loader, "get_code", ("__main__",))?
    } else {
        compile(generation, vm.ctx.new_bytes(source).into(), file.into(), vm)?
    };
    let code = code.downcast::<PyCode>().map_err(|_| vm.new_type_error("the program is no code object"))?;
    execute(generation, code, &main, vm)
}

/// An I/O error's text without the number that `std` appends.
fn io_message(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn compile(generation: &Generation, source: PyObjectRef, file: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let arguments = (source, file, "exec", 0, true);
    generation.builtins_dict.get_item("compile", vm)?.call(arguments, vm)
}

/// The finder for `path` when it is a directory or an archive, which one of `sys.path_hooks` takes.
fn path_importer(generation: &Arc<Generation>, path: &Path, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    boot::importlib(generation, vm)?;
    let external = level::import_module(generation, "_frozen_importlib_external", vm)?;
    let finder = external.get_attr("PathFinder", vm)?;
    let entry = vm.fsdecode(path.as_os_str().to_owned());
    let importer = vm.call_method(&finder, "_path_importer_cache", (entry,))?;
    Ok((!vm.is_none(&importer)).then_some(importer))
}

/// Runs the module `name` as `python -m` does.
pub(crate) fn module(generation: &Arc<Generation>, name: &str, args: Vec<String>, vm: &VirtualMachine) -> PyResult<()> {
    set_argv(generation, "-m", args, vm)?;
    run_main_of(generation, name, false, vm)
}

/// Runs the module `name`, or the `__main__` that `sys.path[0]` holds. A module that cannot be run raises `ImportError`,
/// or `runpy._Error` for a caller that reports it itself.
fn run_main_of(generation: &Arc<Generation>, name: &str, reported: bool, vm: &VirtualMachine) -> PyResult<()> {
    let runpy = level::import_module(generation, "runpy", vm)?;
    let error: PyObjectRef = match reported {
        true => runpy.get_attr("_Error", vm)?,
        false => vm.ctx.exceptions.import_error.to_owned().into(),
    };
    let (details, rename) = if name == "__main__" {
        (vm.call_method(&runpy, "_get_main_module_details", (error,))?, false)
    } else {
        (vm.call_method(&runpy, "_get_module_details", (name, error))?, true)
    };
    let details: Vec<PyObjectRef> = details.try_into_value(vm)?;
    let [_, spec, code] = &*details else { return Err(vm.new_type_error("runpy found no module")) };
    let origin = spec.get_attr("origin", vm)?;
    if rename && let Some(origin) = origin.downcast_ref::<PyStr>() {
        let argv = generation.sys_dict.get_item("argv", vm)?;
        argv.set_item(&0usize, origin.to_owned().into(), vm)?;
    }
    let main = generation.main(vm)?.dict();
    for (key, attribute) in
        [("__loader__", "loader"), ("__package__", "parent"), ("__cached__", "cached"), ("__file__", "origin")]
    {
        main.set_item(key, spec.get_attr(attribute, vm)?, vm)?;
    }
    main.set_item("__spec__", spec.clone(), vm)?;
    let code = code.clone().downcast::<PyCode>().map_err(|_| vm.new_type_error("the module is no code object"))?;
    execute(generation, code, &main, vm)
}

/// Runs `source` as `python -c` does.
pub(crate) fn command(
    generation: &Arc<Generation>,
    source: &str,
    args: Vec<String>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    set_argv(generation, "-c", args, vm)?;
    prepend_directory(generation, vm.ctx.new_str("").into(), vm)?;
    run_source(generation, vm.ctx.new_str(source).into(), "<string>", vm)
}

/// Runs the bytes of standard input as `python -` does.
pub(crate) fn standard_input(
    generation: &Arc<Generation>,
    source: Vec<u8>,
    args: Vec<String>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    set_argv(generation, "-", args, vm)?;
    prepend_directory(generation, vm.ctx.new_str("").into(), vm)?;
    run_source(generation, vm.ctx.new_bytes(source).into(), "<stdin>", vm)
}

fn run_source(generation: &Arc<Generation>, source: PyObjectRef, file: &str, vm: &VirtualMachine) -> PyResult<()> {
    let main = generation.main(vm)?.dict();
    let importlib = boot::importlib(generation, vm)?;
    main.set_item("__loader__", importlib.get("BuiltinImporter", vm)?, vm)?;
    let code = compile(generation, source, vm.ctx.new_str(file).into(), vm)?;
    let code = code.downcast::<PyCode>().map_err(|_| vm.new_type_error("the program is no code object"))?;
    execute(generation, code, &main, vm)
}

/// [`path`], for the command line: a file that cannot be opened is reported as `python` reports it, with status 2.
pub(crate) fn path_or_exit(
    generation: &Arc<Generation>,
    file: &OsStr,
    args: Vec<String>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    if let Err(error) = std::fs::metadata(file) {
        let shown = vm.fsdecode(file.to_owned());
        let shown = rustpython_vm::AsObject::as_object(&shown).repr(vm)?;
        let number = error.raw_os_error().map_or_else(String::new, |code| format!("[Errno {code}] "));
        let message = format!("modspace: can't open file {}: {number}{}", shown.to_string_lossy(), io_message(&error));
        return Err(exit_with(2, &message, generation, vm));
    }
    path(generation, file, args, vm)
}

/// [`module`], for the command line: a module that is not there is reported as `python -m` reports it.
pub(crate) fn module_or_exit(
    generation: &Arc<Generation>,
    name: &str,
    args: Vec<String>,
    vm: &VirtualMachine,
) -> PyResult<()> {
    set_argv(generation, "-m", args, vm)?;
    if let Ok(directory) = std::env::current_dir() {
        prepend_directory(generation, vm.fsdecode(directory.into_os_string()).into(), vm)?;
    }
    let runpy = level::import_module(generation, "runpy", vm)?;
    let error_class = runpy.get_attr("_Error", vm)?;
    match run_main_of(generation, name, true, vm) {
        Err(error) if rustpython_vm::AsObject::as_object(&error).is_instance(&error_class, vm)? => {
            let message = rustpython_vm::AsObject::as_object(&error).str(vm)?;
            let message = format!("modspace: {}", message.to_string_lossy());
            Err(exit_with(1, &message, generation, vm))
        }
        result => result,
    }
}

/// `SystemExit(status)`, after printing `message` to the space's stderr.
fn exit_with(
    status: i32,
    message: &str,
    generation: &Arc<Generation>,
    vm: &VirtualMachine,
) -> rustpython_vm::builtins::PyBaseExceptionRef {
    if let Ok(stderr) = crate::sysview::visible::stream(generation, "stderr", vm) {
        let _ = vm.call_method(&stderr, "write", (format!("{message}\n"),));
    }
    vm.new_system_exit(vec![vm.ctx.new_int(status).into()].into())
}
