//! `modspace test`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::run::{complain, interpreter};
use crate::{
    Error, lifecycle,
    testing::{self, Isolation, TestRun},
};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IsolationArg {
    /// Each test file has its own modules
    File,
    /// Each class of tests has its own modules
    Class,
    /// Each test has its own modules
    Test,
    /// Plain pytest
    None,
}

impl From<IsolationArg> for Isolation {
    fn from(argument: IsolationArg) -> Self {
        match argument {
            IsolationArg::File => Self::File,
            IsolationArg::Class => Self::Class,
            IsolationArg::Test => Self::Test,
            IsolationArg::None => Self::None,
        }
    }
}

/// The exit codes are pytest's: 0 all passed, 1 some failed, 2 interrupted, 3 an internal error, 4 a wrong command line or no
/// pytest, 5 no tests.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 all tests passed, 1 some failed, 2 interrupted, 3 internal error, 4 wrong usage or no \
                        pytest, 5 no tests were found"
)]
pub(super) struct TestOptions {
    /// Files, directories and node ids, as pytest takes them
    #[arg(value_name = "PATHS")]
    paths: Vec<String>,

    /// Where pytest and the libraries are (may be repeated)
    #[arg(long, value_name = "DIR")]
    python_path: Vec<PathBuf>,

    /// The virtual environment whose site-packages are used [default: the active one]
    #[arg(long, value_name = "DIR", env = "VIRTUAL_ENV", conflicts_with = "python_path")]
    venv: Option<PathBuf>,

    /// What has its own modules
    #[arg(long, value_enum, default_value = "file")]
    isolate: IsolationArg,

    /// Give each file its own copy of modules that match PATTERN, of what pytest shares with tests too (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    fresh: Vec<String>,

    /// Load modules that match PATTERN once, for all files (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    share: Vec<String>,

    /// At the end, say what is left of files whose spaces were discarded, and why
    #[arg(long)]
    leaks: bool,

    /// Only tests whose names match EXPRESSION
    #[arg(short = 'k', value_name = "EXPRESSION", allow_hyphen_values = true)]
    keywords: Option<String>,

    /// Only tests whose markers match EXPRESSION
    #[arg(short = 'm', value_name = "EXPRESSION", allow_hyphen_values = true)]
    markers: Option<String>,

    /// Stop at the first failure
    #[arg(short = 'x', long)]
    exitfirst: bool,

    /// Only tests that failed the last time, or all when none did
    #[arg(long = "lf")]
    last_failed: bool,

    /// Tests that failed the last time first
    #[arg(long = "ff")]
    failed_first: bool,

    /// Only show which tests there are
    #[arg(long = "co")]
    collect_only: bool,

    /// Show more; with -v, also what was put back after each file (may be repeated)
    #[arg(short = 'v', action = clap::ArgAction::Count)]
    verbose: u8,

    /// Show less (may be repeated)
    #[arg(short = 'q', action = clap::ArgAction::Count)]
    quiet: u8,

    /// Don't capture what tests print
    #[arg(short = 's')]
    no_capture: bool,

    /// pytest's own options
    #[arg(last = true, value_name = "PYTEST OPTIONS")]
    pytest: Vec<String>,
}

impl TestOptions {
    /// The arguments for pytest.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let flags = [
            (self.exitfirst, "-x"),
            (self.last_failed, "--lf"),
            (self.failed_first, "--ff"),
            (self.collect_only, "--co"),
            (self.no_capture, "-s"),
        ];
        arguments.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned()));
        arguments.extend(std::iter::repeat_n("-v".to_owned(), self.verbose.into()));
        arguments.extend(std::iter::repeat_n("-q".to_owned(), self.quiet.into()));
        for (option, value) in [("-k", &self.keywords), ("-m", &self.markers)] {
            arguments.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        arguments.extend(self.pytest.iter().cloned());
        arguments.extend(self.paths.iter().cloned());
        arguments
    }

    /// The directories with pytest and the libraries.
    fn site(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.python_path.is_empty() {
            return self.python_path.iter().map(|given| existing(given, "--python-path")).collect();
        }
        let Some(given) = &self.venv else { return Ok(Vec::new()) };
        let venv = existing(given, "--venv")?;
        site_packages(&venv).map(|site| vec![site]).ok_or_else(|| Error::Manifest {
            path: format!("--venv {}", given.display()),
            message: "is no virtual environment: it has no lib/python*/site-packages".to_owned(),
        })
    }
}

fn existing(given: &Path, option: &str) -> Result<PathBuf, Error> {
    let wrong = |message: String| Error::Manifest { path: format!("{option} {}", given.display()), message };
    let path = std::path::absolute(given).map_err(|error| wrong(error.to_string()))?;
    if path.is_dir() { Ok(path) } else { Err(wrong("there is no such directory".to_owned())) }
}

fn site_packages(venv: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    let of_versions = versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python"))
        .map(|entry| entry.path().join("site-packages"));
    let mut all: Vec<_> = of_versions.chain([venv.join("Lib/site-packages")]).filter(|path| path.is_dir()).collect();
    all.sort();
    all.pop()
}

/// Status of a wrong command line, as pytest has it.
pub(super) const USAGE: u8 = 4;

/// Runs the tests and returns the exit status.
pub(super) fn test(options: &TestOptions) -> u8 {
    start(options).unwrap_or_else(|error| {
        complain(&error);
        USAGE
    })
}

fn start(options: &TestOptions) -> Result<u8, Error> {
    let site = options.site()?;
    let path = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let path = std::env::split_paths(&path).filter(|entry| !entry.as_os_str().is_empty());
    let path = path.filter_map(|entry| std::path::absolute(entry).ok()).collect();
    // What is tested is on no `sys.path` but that of the files' own spaces.
    let runtime = interpreter().build()?;
    let entries: Vec<String> = site.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let space = runtime.root().child().name("pytest").create()?;
    space.prepend_path(entries)?;
    let run = TestRun {
        isolation: options.isolate.into(),
        share: options.share.clone(),
        fresh: options.fresh.clone(),
        leaks: options.leaks,
        site,
        path,
        arguments: options.arguments(),
    };
    let status = lifecycle::run_program(&space, |generation, vm| {
        let code = testing::run(generation, &run, vm)?;
        Err(vm.new_exception(vm.ctx.exceptions.system_exit.to_owned(), vec![code]))
    })?;
    Ok(lifecycle::shut_down(&runtime, status))
}
