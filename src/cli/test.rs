//! `modspace test`.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, ValueEnum};

use super::run::{complain, interpreter};
use crate::{
    Error, Pattern, lifecycle,
    testing::{self, Isolation, Link, TestRun, Unittest},
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
    #[arg(long, value_name = "DIR", conflicts_with = "python_path")]
    venv: Option<PathBuf>,

    /// Run the tests of PATHS (files, directories, dotted names) with unittest's runner, without pytest
    #[arg(
        long,
        conflicts_with_all = [
            "markers", "last_failed", "failed_first", "collect_only", "no_capture", "watch", "changed", "find_pollution", "maxfail",
            "report", "tb", "durations", "plugin", "warnings", "pytest",
        ]
    )]
    unittest: bool,

    /// What has its own modules
    #[arg(long, value_enum, default_value = "file")]
    isolate: IsolationArg,

    /// Give each file its own copy of modules that match PATTERN, of what pytest shares with tests too (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    fresh: Vec<String>,

    /// Load modules that match PATTERN once, for all files (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    share: Vec<String>,

    /// How many processes run files; 1 is this one [default: one for each core]
    #[arg(short = 'j', long = "jobs", value_name = "N", value_parser = count)]
    jobs: Option<usize>,

    /// End a file that takes longer, in seconds, and report the test that was running
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,

    /// Only the K-th of N parts of the files: 1/3, 2/3 and 3/3 are all files, each once
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<(usize, usize)>,

    /// Run all files, and then those again that import what changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["find_pollution", "collect_only", "json", "junit"])]
    watch: bool,

    /// Only files that have imported what is not as in REV, of git, and those of which nobody knows what they import
    #[arg(long, value_name = "REV")]
    changed: Option<String>,

    /// Note which lines of SOURCE run, a directory or a package, in a data file of `coverage` (may be repeated) [default: what
    /// the configuration of `coverage` names, or the current directory]
    #[arg(
        long,
        value_name = "SOURCE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with_all = ["watch", "find_pollution", "collect_only"]
    )]
    cov: Vec<String>,

    /// Instead of testing, find out which tests depend on what other files leave, and what that is
    #[arg(long, conflicts_with_all = ["collect_only", "junit", "json"])]
    find_pollution: bool,

    /// Write the results to FILE in the format of JUnit
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the results to FILE in JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

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

    /// Stop after so many failures
    #[arg(long, value_name = "N")]
    maxfail: Option<String>,

    /// Which outcomes the short summary lists, as pytest's -r
    #[arg(short = 'r', value_name = "CHARS")]
    report: Option<String>,

    /// How failures are shown, as pytest's --tb
    #[arg(long, value_name = "STYLE")]
    tb: Option<String>,

    /// Show the N slowest tests and fixtures
    #[arg(long, value_name = "N")]
    durations: Option<String>,

    /// Load a plugin, or leave it out with no:NAME (may be repeated)
    #[arg(short = 'p', value_name = "NAME")]
    plugin: Vec<String>,

    /// Add a warning filter, as `python -W` (may be repeated)
    #[arg(short = 'W', value_name = "FILTER")]
    warnings: Vec<String>,

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
        for (option, value) in
            [("--maxfail", &self.maxfail), ("-r", &self.report), ("--tb", &self.tb), ("--durations", &self.durations)]
        {
            let join = if option == "-r" { "" } else { "=" };
            arguments.extend(value.iter().map(|value| format!("{option}{join}{value}")));
        }
        for (option, values) in [("-p", &self.plugin), ("-W", &self.warnings)] {
            arguments.extend(values.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        arguments.extend(self.pytest.iter().cloned());
        arguments.extend(self.paths.iter().cloned());
        arguments
    }

    /// The options by which that is said, as a command line has them.
    fn environment(&self) -> Vec<String> {
        let options = |option: &'static str| move |path: &PathBuf| [option.to_owned(), path.display().to_string()];
        let paths = self.python_path.iter().flat_map(options("--python-path"));
        paths.chain(self.venv.iter().flat_map(options("--venv"))).collect()
    }

    /// The directories with pytest and the libraries.
    fn site(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.python_path.is_empty() {
            return self.python_path.iter().map(|given| existing(given, "--python-path")).collect();
        }
        let active = || std::env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty()).map(PathBuf::from);
        let (option, given) = match &self.venv {
            Some(given) => ("--venv", given.clone()),
            None => match active() {
                Some(active) => ("VIRTUAL_ENV", active),
                None => return Ok(Vec::new()),
            },
        };
        let venv = existing(&given, option)?;
        site_packages(&venv).map(|site| vec![site]).ok_or_else(|| Error::Manifest {
            path: format!("{option} {}", given.display()),
            message: "is no virtual environment: it has no lib/python*/site-packages".to_owned(),
        })
    }
}

/// A path without `..`, as Python's `os.path.abspath` has it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            component => normal.push(component),
        }
    }
    normal
}

/// The directories that the `.pth` files of a site directory name, as `site.addsitedir` reads them: projects that are installed
/// in place. Lines that are code are left out, and said to be where a project would be missing.
fn named_by_pth_files(site: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(site)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            !is_hidden && path.extension().is_some_and(|extension| extension == "pth")
        })
        .collect();
    files.sort();
    let mut directories = Vec::new();
    for file in files {
        let text = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim_end) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if line.starts_with("import ") || line.starts_with("import\t") {
                if line.contains("__editable__") {
                    complain(&Error::Manifest {
                        path: file.display().to_string(),
                        message:
                            "finds a project by code, which is not run: name the project's directory in PYTHONPATH"
                                .to_owned(),
                    });
                }
                continue;
            }
            let directory = normal(&site.join(line));
            if directory.exists() && !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    directories
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count >= 1).ok_or_else(|| "a number from 1 on is expected".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "a number of seconds, more than 0, is expected".to_owned())
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(one, of)| Some((one.parse().ok()?, of.parse().ok()?)));
    parts
        .filter(|(one, of)| (1..=*of).contains(one))
        .ok_or_else(|| "K/N is expected, with a K from 1 to N: 1/3, say".to_owned())
}

fn existing(given: &Path, option: &str) -> Result<PathBuf, Error> {
    let wrong = |message: String| Error::Manifest { path: format!("{option} {}", given.display()), message };
    let path = std::path::absolute(given).map_err(|error| wrong(error.to_string()))?;
    if path.is_dir() { Ok(path) } else { Err(wrong("there is no such directory".to_owned())) }
}

/// A path for a file, which must be possible: it would be known after all tests only.
fn writable(given: &Path, option: &str) -> Result<PathBuf, Error> {
    let wrong = |message: String| Error::Manifest { path: format!("{option} {}", given.display()), message };
    let path = std::path::absolute(given).map_err(|error| wrong(error.to_string()))?;
    match path.parent() {
        _ if path.is_dir() => Err(wrong("is a directory".to_owned())),
        Some(parent) if !parent.is_dir() => Err(wrong("is in no directory that exists".to_owned())),
        _ => Ok(path),
    }
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
    run_in_runtime(run_of(options)?, None)
}

// The arguments alone.
#[derive(Debug, Parser)]
#[command(name = "modspace test")]
struct Alone {
    #[command(flatten)]
    options: TestOptions,
}

/// What `modspace test` does with these arguments, or what it says of them.
pub(crate) fn parse(arguments: Vec<String>) -> Result<TestRun, String> {
    let program = std::iter::once("modspace test".to_owned());
    let alone = Alone::try_parse_from(program.chain(arguments)).map_err(|error| error.render().to_string())?;
    run_of(&alone.options).map_err(|error| error.to_string())
}

fn run_of(options: &TestOptions) -> Result<TestRun, Error> {
    let by_files = [
        ("-j", options.jobs.is_some_and(|jobs| jobs > 1)),
        ("--timeout", options.timeout.is_some()),
        ("--shard", options.shard.is_some()),
        ("--changed", options.changed.is_some()),
        ("--watch", options.watch),
        ("--find-pollution", options.find_pollution),
        ("--leaks", options.leaks),
    ];
    let given = by_files.iter().find(|(_, is_given)| *is_given);
    if let (IsolationArg::None, Some((option, _))) = (options.isolate, given) {
        return Err(Error::Manifest {
            path: "--isolate none".to_owned(),
            message: format!("is plain pytest in one process and knows no files: leave out {option}"),
        });
    }
    for (option, patterns) in [("--share", &options.share), ("--fresh", &options.fresh)] {
        for pattern in patterns {
            let wrong = |error: Error| Error::Manifest { path: option.to_owned(), message: error.to_string() };
            Pattern::new(pattern).map_err(wrong)?;
        }
    }
    let path = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let path = std::env::split_paths(&path).filter(|entry| !entry.as_os_str().is_empty());
    let by_workers = by_files[..2].iter().find(|(_, is_given)| *is_given);
    if let (true, Some((option, _))) = (options.find_pollution, by_workers) {
        return Err(Error::Manifest {
            path: "--find-pollution".to_owned(),
            message: format!("runs files in one process: leave out {option}"),
        });
    }
    let site = options.site()?;
    // Of directories that are named by themselves, CPython's `PYTHONPATH` reads none, either.
    let environment = if options.python_path.is_empty() { site.as_slice() } else { &[] };
    let in_place = environment.iter().flat_map(|site| named_by_pth_files(site));
    Ok(TestRun {
        isolation: options.isolate.into(),
        share: options.share.clone(),
        fresh: options.fresh.clone(),
        watch: options.watch,
        changed: options.changed.clone(),
        leaks: options.leaks,
        cov: options.cov.clone(),
        find_pollution: options.find_pollution,
        site: site.clone(),
        in_place: in_place.collect(),
        environment: options.environment(),
        path: path.filter_map(|entry| std::path::absolute(entry).ok()).collect(),
        arguments: if options.unittest { options.paths.clone() } else { options.arguments() },
        unittest: options.unittest.then(|| Unittest {
            verbosity: (1 + options.verbose.min(1)).saturating_sub(options.quiet),
            failfast: options.exitfirst,
            keywords: options.keywords.clone(),
        }),
        workers: options.jobs,
        timeout: options.timeout,
        shard: options.shard,
        junit: options.junit.as_deref().map(|path| writable(path, "--junit")).transpose()?,
        json: options.json.as_deref().map(|path| writable(path, "--json")).transpose()?,
        worker: None,
    })
}

/// Runs test files for another process, with which it talks by standard input.
pub(super) fn worker() -> u8 {
    let connected = testing::connect().map_err(|error| Error::Manifest {
        path: testing::WORKER.to_owned(),
        message: format!("there is no run of tests at the other end of standard input: {error}"),
    });
    connected.and_then(|(run, link)| run_in_runtime(run, Some(link))).unwrap_or_else(|error| {
        complain(&error);
        USAGE
    })
}

fn run_in_runtime(run: TestRun, link: Option<Link>) -> Result<u8, Error> {
    // What is tested is on no `sys.path` but that of the files' own spaces.
    let runtime = interpreter().build()?;
    let entries: Vec<String> = run.site.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let space = runtime.root().child().name("pytest").create()?;
    space.prepend_path(entries)?;
    let status = lifecycle::run_program(&space, |generation, vm| {
        let code = testing::run(generation, run, link, vm)?;
        Err(vm.new_exception(vm.ctx.exceptions.system_exit.to_owned(), vec![code]))
    })?;
    Ok(lifecycle::shut_down(&runtime, status))
}
