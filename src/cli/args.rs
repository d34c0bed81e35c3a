//! The command line's options.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{store::StoreOptions, test::TestOptions};
use crate::{Delegation, testing::WORKER};

/// Module spaces for Python: several module systems in one process.
#[derive(Debug, Parser)]
#[command(name = "modspace", version, about, long_about = None)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a program in a space of its own under the root
    Run(RunOptions),
    /// Run a program, then print the spaces, their modules, origins and sizes
    Tree(TreeOptions),
    /// Look at a store of persistent modules, and work with its modules as files
    Store(StoreOptions),
    /// Run a test suite with pytest, each test file in a space of its own
    Test(Box<TestOptions>),
    /// Run test files for a `modspace test`, which starts it
    #[command(name = WORKER, hide = true)]
    TestWorker,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DelegationArg {
    /// What the space can find itself is its own, the rest comes from the parent
    ChildFirst,
    /// The parent is asked first
    ParentFirst,
    /// The parent is never asked
    Isolated,
}

impl From<DelegationArg> for Delegation {
    fn from(argument: DelegationArg) -> Self {
        match argument {
            DelegationArg::ChildFirst => Self::ChildFirst,
            DelegationArg::ParentFirst => Self::ParentFirst,
            DelegationArg::Isolated => Self::Isolated,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct RunOptions {
    /// Put DIR in front of the space's sys.path (may be repeated)
    #[arg(long, value_name = "DIR")]
    pub(super) path: Vec<String>,

    /// Take modules that match PATTERN from the parent, as the very same objects (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    pub(super) share: Vec<String>,

    /// Load own copies of modules that match PATTERN, of platform modules too (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    pub(super) fresh: Vec<String>,

    /// Who is asked first for a module
    #[arg(long, value_enum)]
    pub(super) delegation: Option<DelegationArg>,

    /// Run in the root space itself instead of a child of it
    #[arg(long, conflicts_with_all = ["share", "fresh", "delegation"])]
    pub(super) root: bool,

    /// At the end, discard the program's spaces and print what is left of them, and why
    #[arg(long)]
    pub(super) leaks: bool,

    /// As --leaks, and exit with status 1 when something is left
    #[arg(long)]
    pub(super) deny_leaks: bool,

    /// Don't write bytecode files
    #[arg(short = 'B')]
    pub(super) dont_write_bytecode: bool,

    /// Optimise: -O removes assertions, -OO documentation strings, too
    #[arg(short = 'O', action = clap::ArgAction::Count)]
    pub(super) optimize: u8,

    /// Don't buffer the standard streams
    #[arg(short = 'u')]
    pub(super) unbuffered: bool,

    /// Add a warning filter, as `python -W`
    #[arg(short = 'W', value_name = "FILTER")]
    pub(super) warnings: Vec<String>,

    /// Don't run `site`
    #[arg(short = 'S')]
    pub(super) no_site: bool,

    #[command(flatten)]
    pub(super) program: Program,
}

/// What to run.
#[derive(Args, Debug)]
pub(super) struct Program {
    /// Run the module MODULE, as `python -m`
    #[arg(short = 'm', value_name = "MODULE", conflicts_with = "code")]
    pub(super) module: Option<String>,

    /// Run CODE, as `python -c`
    #[arg(short = 'c', value_name = "CODE", allow_hyphen_values = true)]
    pub(super) code: Option<String>,

    /// A script, a directory with a space.toml or a __main__.py, a zip file, or `-` for standard input; then the
    /// program's own arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) rest: Vec<String>,
}

/// What [`Program`] means.
pub(super) enum Target {
    Module(String),
    Code(String),
    StandardInput,
    Manifest(PathBuf),
    Path(PathBuf),
}

impl Program {
    /// The target and the program's own arguments.
    pub(super) fn target(&self) -> Option<(Target, Vec<String>)> {
        if let Some(module) = &self.module {
            return Some((Target::Module(module.clone()), self.rest.clone()));
        }
        if let Some(code) = &self.code {
            return Some((Target::Code(code.clone()), self.rest.clone()));
        }
        let (program, args) = self.rest.split_first()?;
        let path = PathBuf::from(program);
        let manifest = path.join("space.toml");
        let target = if program == "-" {
            Target::StandardInput
        } else if manifest.is_file() {
            Target::Manifest(manifest)
        } else {
            Target::Path(path)
        };
        Some((target, args.to_vec()))
    }
}

#[derive(Args, Debug)]
pub(super) struct TreeOptions {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    pub(super) run: RunOptions,
}

/// Puts `--` behind `-m MODULE` and `-c CODE`, after which, as with `python`, everything is the program's: `-m pytest -h`
/// is pytest's help.
pub(super) fn separate(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    /// Options of `run` and `tree` that take the next argument.
    const WITH_VALUE: [&str; 5] = ["--path", "--share", "--fresh", "--delegation", "-W"];
    let mut separated: Vec<OsString> = Vec::new();
    let mut args = args.peekable();
    let takes_program = |seen: &[OsString]| seen.get(1).is_some_and(|command| command == "run" || command == "tree");
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        separated.push(arg);
        if !takes_program(&separated) || separated.len() == 2 {
            continue;
        }
        if text == "-m" || text == "-c" {
            separated.extend(args.next());
            if args.peek().is_some_and(|next| next != "--") {
                separated.push("--".into());
            }
            break;
        }
        if WITH_VALUE.contains(&text.as_str()) {
            separated.extend(args.next());
        } else if text == "-" || !text.starts_with('-') {
            // The program itself: clap takes everything behind it.
            break;
        }
    }
    separated.extend(args);
    separated
}
