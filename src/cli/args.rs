//! The command line's options.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{store::StoreOptions, test::TestOptions};
use crate::{Delegation, testing::WORKER};

/// Module spaces for Python: several module systems in one process.
#[derive(Debug, Parser)]
#[command(
    name = "modspace",
    version,
    about,
    long_about = None,
    after_help = "What `python` takes (-c CODE, -m MODULE, a script, options of one letter) is taken as if `run` stood before it."
)]
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

    #[command(flatten)]
    pub(super) python: PythonOptions,

    #[command(flatten)]
    pub(super) program: Program,
}

/// The options of `python`.
#[derive(Args, Debug, Default)]
pub(super) struct PythonOptions {
    /// Warn about bytes that are made to text; -bb raises
    #[arg(short = 'b', action = clap::ArgAction::Count)]
    pub(super) bytes_warning: u8,

    /// Don't write bytecode files
    #[arg(short = 'B')]
    pub(super) dont_write_bytecode: bool,

    /// Ignore Python's environment variables
    #[arg(short = 'E')]
    pub(super) ignore_environment: bool,

    /// As -E, -P and -s
    #[arg(short = 'I')]
    pub(super) isolated: bool,

    /// Optimise: -O removes assertions, -OO documentation strings, too
    #[arg(short = 'O', action = clap::ArgAction::Count)]
    pub(super) optimize: u8,

    /// Don't put the current directory or the script's in front of sys.path
    #[arg(short = 'P')]
    pub(super) safe_path: bool,

    /// Don't take packages of the user's site directory
    #[arg(short = 's')]
    pub(super) no_user_site: bool,

    /// Don't run `site`
    #[arg(short = 'S')]
    pub(super) no_site: bool,

    /// Don't buffer the standard streams
    #[arg(short = 'u')]
    pub(super) unbuffered: bool,

    /// Say of each module where it comes from
    #[arg(short = 'v', action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// Add a warning filter, as `python -W`
    #[arg(short = 'W', value_name = "FILTER")]
    pub(super) warnings: Vec<String>,

    /// Set an option that programs find in sys._xoptions; `dev` is development mode
    #[arg(short = 'X', value_name = "OPTION")]
    pub(super) x_options: Vec<String>,

    /// Taken for python's sake: nothing is printed at the start
    #[arg(short = 'q', hide = true)]
    pub(super) quiet: bool,

    /// Taken for python's sake: hashes are random
    #[arg(short = 'R', hide = true)]
    pub(super) random_hashes: bool,

    /// Taken for python's sake: there is no debug build of the parser
    #[arg(short = 'd', hide = true, action = clap::ArgAction::Count)]
    pub(super) debug: u8,
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
    #[arg(value_name = "PROGRAM")]
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

/// The command line as clap is to see it: `run` in front of one that is `python`'s, which programs give to `sys.executable`
/// (`-c CODE`, say, or a script), and `--` behind `-m MODULE` and `-c CODE` and in front of any other program. All that
/// follows is the program's, as with `python`: `-m pytest -h` is pytest's help.
pub(super) fn separate(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    /// Options of `run` and `tree` that take the next argument, but for those of one letter.
    const WITH_VALUE: [&str; 4] = ["--path", "--share", "--fresh", "--delegation"];
    let mut args = args.peekable();
    let mut separated: Vec<OsString> = args.next().into_iter().collect();
    match args.peek() {
        Some(first) if is_pythons(first) => separated.push("run".into()),
        _ => separated.extend(args.next()),
    }
    if !separated.get(1).is_some_and(|command| command == "run" || command == "tree") {
        separated.extend(args);
        return separated;
    }
    // What is no text is for clap to refuse.
    while let Some(text) = args.peek().and_then(|arg| arg.to_str()).map(str::to_owned) {
        if text == "--" || text == "-" || !text.starts_with('-') {
            break;
        }
        let arg = args.next();
        if text.starts_with("--") {
            separated.extend(arg);
            if WITH_VALUE.contains(&text.as_str()) {
                separated.extend(args.next());
            }
            continue;
        }
        // Several options of one letter may stand together; the rest is the value of the first that takes one.
        let letters = &text[1..];
        let Some((at, letter)) = letters.match_indices(['c', 'm', 'W', 'X']).next() else {
            separated.extend(arg);
            continue;
        };
        let (options, value) = letters.split_at(at + letter.len());
        let value = if value.is_empty() { args.next() } else { Some(value.into()) };
        let Some(value) = value else {
            // clap says what is missing.
            separated.extend(arg);
            return separated;
        };
        // So that clap takes it for the value, whatever it begins with.
        let mut option = OsString::from(format!("-{options}="));
        option.push(value);
        separated.push(option);
        if letter == "c" || letter == "m" {
            separated.push("--".into());
            separated.extend(args);
            return separated;
        }
    }
    if args.peek().is_some_and(|next| next != "--") {
        separated.push("--".into());
    }
    separated.extend(args);
    separated
}

/// Whether a command line that begins so is one for `python`: an option of one letter, `-`, `--`, or a file. Commands, `-h`, `-V`
/// and long options are this program's.
fn is_pythons(first: &OsStr) -> bool {
    let text = first.to_string_lossy();
    if text.starts_with('-') {
        return text == "--" || !text.starts_with("--") && !matches!(&*text, "-h" | "-V");
    }
    let path = Path::new(first);
    let is_command = Arguments::command().find_subcommand(first).is_some() || text == "help";
    !is_command && (path.components().count() > 1 || path.extension() == Some("py".as_ref()) || path.exists())
}
