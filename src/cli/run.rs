//! `modspace run`.

use std::{
    io::{Read, Write},
    path::Path,
};

use super::{
    args::{PythonOptions, RunOptions, Target},
    manifest::{Entry, Loaded},
};
use crate::{Error, Flags, Runtime, RuntimeBuilder, Space, import::generation::Generation, lifecycle, space::run};

/// Status of a wrong command line or an unusable manifest, as Python and most programs have it.
const USAGE: u8 = 2;

/// Status of a program that ended well, but left something of a space behind, with `--deny-leaks`.
const LEAKS: u8 = 1;

/// Runs the program and returns its exit status.
pub(super) fn run(options: &RunOptions) -> u8 {
    match start(options, |_| ()) {
        Ok(status) => status,
        Err(error) => complain(&error),
    }
}

/// Prints an error of the command line itself.
pub(super) fn complain(error: &Error) -> u8 {
    let text = match error {
        Error::Python(error) => error.traceback.clone(),
        error => format!("modspace: {error}\n"),
    };
    // There is nowhere left to say that stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    USAGE
}

fn runtime(options: &PythonOptions) -> Result<Runtime, Error> {
    let environment = Environment { ignored: options.isolated || options.ignore_environment };
    let path = environment
        .variable("PYTHONPATH")
        .map(|value| std::env::split_paths(&value).map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>());
    environment
        .interpreter(options)
        .path(path.into_iter().flatten().filter(|entry| !entry.is_empty()))
        .site(!options.no_site)
        .build()
}

/// A runtime as Python's environment variables describe it, but for `PYTHONPATH`.
pub(super) fn interpreter() -> RuntimeBuilder {
    Environment { ignored: false }.interpreter(&PythonOptions::default())
}

/// Python's environment variables.
struct Environment {
    ignored: bool,
}

impl Environment {
    /// What is not empty.
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !self.ignored && !value.is_empty())
    }

    fn is_set(&self, name: &str) -> bool {
        self.variable(name).is_some()
    }

    /// A number; any other text is 1 (`_Py_get_env_flag` in CPython's `Python/preconfig.c`).
    fn level(&self, name: &str) -> u8 {
        let number = |value: String| value.parse::<u32>().map_or(1, |number| u8::try_from(number).unwrap_or(u8::MAX));
        self.variable(name).map_or(0, number)
    }

    /// A runtime as the variables and `options` describe it, but for the path and `site`.
    fn interpreter(&self, options: &PythonOptions) -> RuntimeBuilder {
        let x_options = options.x_options.iter().map(|option| match option.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (option.clone(), None),
        });
        let x_options: Vec<_> = x_options.collect();
        let flags = Flags {
            bytes_warning: options.bytes_warning,
            debug: options.debug.max(self.level("PYTHONDEBUG")),
            dev_mode: self.is_set("PYTHONDEVMODE") || x_options.iter().any(|(name, _)| name == "dev"),
            ignore_environment: self.ignored,
            isolated: options.isolated,
            no_user_site: options.no_user_site || options.isolated || self.is_set("PYTHONNOUSERSITE"),
            quiet: options.quiet,
            safe_path: options.safe_path || options.isolated || self.is_set("PYTHONSAFEPATH"),
            verbose: options.verbose.max(self.level("PYTHONVERBOSE")),
        };
        // In this order: of two filters that match, the later counts.
        let from_environment = self.variable("PYTHONWARNINGS");
        let filters = flags.dev_mode.then_some("default").into_iter();
        let filters = filters.chain(from_environment.iter().flat_map(|filters| filters.split(',')));
        let filters = filters.chain(options.warnings.iter().map(String::as_str)).chain(match flags.bytes_warning {
            0 => None,
            1 => Some("default::BytesWarning"),
            2.. => Some("error::BytesWarning"),
        });
        let mut builder = Runtime::builder()
            .handle_signals(true)
            .optimize(options.optimize.max(self.level("PYTHONOPTIMIZE")).min(2))
            .warnings(filters)
            .write_bytecode(!options.dont_write_bytecode && self.level("PYTHONDONTWRITEBYTECODE") == 0)
            .unbuffered(options.unbuffered || self.level("PYTHONUNBUFFERED") > 0)
            .flags(flags)
            .x_options(x_options);
        if let Some(seed) = self.variable("PYTHONHASHSEED").and_then(|value| value.parse().ok())
            && !options.random_hashes
        {
            builder = builder.hash_seed(seed);
        }
        if let Some(encoding) = self.variable("PYTHONIOENCODING") {
            let (encoding, errors) = encoding.split_once(':').map_or((encoding.as_str(), ""), |parts| parts);
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            builder = builder.stdio_encoding(given(encoding), given(errors));
        }
        builder
    }
}

/// The name of a program's space: the file's without its extension.
fn space_name(target: &Target) -> String {
    match target {
        Target::Module(name) => name.clone(),
        Target::Code(_) => "-c".to_owned(),
        Target::StandardInput => "-".to_owned(),
        Target::Manifest(path) | Target::Path(path) => {
            path.file_stem().map_or_else(|| "main".to_owned(), |stem| stem.to_string_lossy().into_owned())
        }
    }
}

/// Starts a runtime, runs the program to its end, calls `afterwards` while everything is still there, and shuts down.
pub(super) fn start(options: &RunOptions, afterwards: impl FnOnce(&Runtime)) -> Result<u8, Error> {
    let Some((target, args)) = options.program.target() else {
        return Err(Error::Manifest {
            path: "run".to_owned(),
            message: "name a script, a directory, -m MODULE, -c CODE or - (try `modspace run --help`)".to_owned(),
        });
    };
    let manifest = match &target {
        Target::Manifest(file) => Some(Loaded::read(file)?),
        _ => None,
    };
    let describes =
        !options.share.is_empty() || !options.fresh.is_empty() || options.delegation.is_some() || options.root;
    if let (Target::Manifest(file), true) = (&target, describes) {
        return Err(Error::Manifest {
            path: file.display().to_string(),
            message: "describes its space itself; leave out --share, --fresh, --delegation and --root".to_owned(),
        });
    }
    let runtime = runtime(&options.python)?;
    let space = match &manifest {
        Some(manifest) => prepend(options, &manifest.create(&runtime.root())?)?,
        None if options.root => prepend(options, &runtime.root())?,
        None => create(options, &target, &runtime)?,
    };
    let input = match target {
        Target::StandardInput => {
            let mut source = Vec::new();
            std::io::stdin()
                .read_to_end(&mut source)
                .map_err(|error| Error::Manifest { path: "<stdin>".to_owned(), message: error.to_string() })?;
            source
        }
        _ => Vec::new(),
    };
    let status = lifecycle::run_program(&space, |generation, vm| match &target {
        Target::Module(name) => run::module_or_exit(generation, name, args, vm),
        Target::Code(source) => run::command(generation, source, args, vm),
        Target::StandardInput => run::standard_input(generation, input, args, vm),
        Target::Manifest(_) => match manifest.as_ref().map(Loaded::entry) {
            Some(Entry::Path(file)) => script(generation, &file, args, vm),
            Some(Entry::Module(name)) => run::module_or_exit(generation, &name, args, vm),
            None => Ok(()),
        },
        Target::Path(path) => script(generation, path, args, vm),
    })?;
    afterwards(&runtime);
    let leaks = (options.leaks || options.deny_leaks) && report_leaks(&runtime);
    let status = lifecycle::shut_down(&runtime, status);
    Ok(if leaks && options.deny_leaks && status == 0 { LEAKS } else { status })
}

/// Discards what spaces there are, and prints what is left of them and of those that the program discarded. Returns
/// whether there is something.
fn report_leaks(runtime: &Runtime) -> bool {
    let reports = lifecycle::leaks(runtime);
    let (clean, leaking): (Vec<_>, Vec<_>) = reports.iter().partition(|report| report.is_clean());
    let objects: usize = reports.iter().map(|report| report.objects).sum();
    let mut text =
        format!("modspace: {} of {} spaces left nothing behind; {objects} objects freed\n", clean.len(), reports.len());
    for report in &leaking {
        text.push_str(&format!("modspace: {report}\n"));
    }
    // There is nowhere left to say that stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    !leaking.is_empty()
}

fn script(
    generation: &std::sync::Arc<Generation>,
    path: &Path,
    args: Vec<String>,
    vm: &rustpython_vm::VirtualMachine,
) -> rustpython_vm::PyResult<()> {
    run::path_or_exit(generation, path.as_os_str(), args, vm)
}

fn create(options: &RunOptions, target: &Target, runtime: &Runtime) -> Result<Space, Error> {
    let patterns = |texts: &[String]| texts.iter().map(|text| crate::Pattern::new(text)).collect::<Result<Vec<_>, _>>();
    let mut builder = runtime
        .root()
        .child()
        .name(space_name(target))
        .share(patterns(&options.share)?)
        .fresh(patterns(&options.fresh)?);
    if let Some(delegation) = options.delegation {
        builder = builder.delegation(delegation.into());
    }
    prepend(options, &builder.create()?)
}

/// Puts the entries of `--path` in front of the space's `sys.path`, as absolute paths: a program may change the current
/// directory.
fn prepend(options: &RunOptions, space: &Space) -> Result<Space, Error> {
    let absolute = |entry: &String| {
        std::path::absolute(entry).map_or_else(|_| entry.clone(), |path| path.to_string_lossy().into_owned())
    };
    space.prepend_path(options.path.iter().map(absolute))?;
    Ok(space.clone())
}
