//! `modspace store`: looking at stores, and working with their modules as files.

mod files;
mod plan;
mod show;
mod upkeep;

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    Error,
    persist::{Checkout, Committed, InUse, MAIN, RecordId, Snapshot, Store, StoreError, import_files, write_files},
};
use files::merge_answer;
use plan::PlanOptions;

#[derive(Args, Debug)]
pub(super) struct StoreOptions {
    /// The store; without it, that of the checkout in DIR
    #[arg(long, value_name = "FILE", global = true, env = "MODSPACE_STORE")]
    store: Option<PathBuf>,

    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR", default_value = ".", global = true)]
    started_in: PathBuf,

    /// The branch; without it, that of the checkout, or main
    #[arg(long, global = true)]
    branch: Option<String>,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    /// Colour differences
    #[arg(long, value_enum, default_value = "auto", global = true)]
    color: When,

    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// On a terminal
    Auto,
    Always,
    Never,
}

#[derive(Args, Debug)]
struct About {
    /// What is to be said of the commit
    #[arg(short, long, default_value = "")]
    message: String,

    /// Who makes it
    #[arg(long, env = "MODSPACE_AUTHOR", default_value = "")]
    author: String,
}

#[derive(Subcommand, Debug)]
enum StoreCommand {
    /// Make a store
    Init {
        /// The file
        file: PathBuf,
    },
    /// List the modules of a commit
    Modules {
        /// A commit, as `log` shows it; the head of the branch without one
        at: Option<String>,
    },
    /// List the branches
    Branches,
    /// List the commits of a branch, the latest first
    Log {
        /// No more than N
        #[arg(short = 'n', value_name = "N")]
        limit: Option<usize>,
    },
    /// Show a commit and what it changed, or the source of a module
    Show {
        /// A commit, as `log` shows it, or a module
        what: Option<String>,
        /// The commit at which a module is shown
        #[arg(long)]
        at: Option<String>,
    },
    /// Show how the files of a checkout differ from their commit, or two commits from each other
    Diff {
        /// The commits
        #[arg(num_args = 0..=2)]
        commits: Vec<String>,
    },
    /// Say which files of a checkout differ, and whether the branch has moved on
    Status,
    /// Make a directory with the modules as files
    Checkout {
        /// The directory, which must be empty or not there
        directory: PathBuf,
        /// A commit; the head of the branch without one
        #[arg(long)]
        at: Option<String>,
    },
    /// Store what differs in the files of a checkout
    Commit {
        #[command(flatten)]
        about: About,
    },
    /// Bring the branch's changes into the files of a checkout
    Update,
    /// Say what committing the files of a checkout would do to a program that has the modules loaded. Status 1 when something
    /// cannot be updated
    Plan(PlanOptions),
    /// Undo a commit by another one
    Undo {
        /// The commit
        commit: String,
        /// Who does
        #[arg(long, env = "MODSPACE_AUTHOR", default_value = "")]
        author: String,
    },
    /// Keep a checkout and its branch in step
    Sync {
        /// Go on until interrupted
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        about: About,
    },
    /// Write the modules as files into a directory
    Export {
        /// The directory
        directory: PathBuf,
        /// A commit; the head of the branch without one
        #[arg(long)]
        at: Option<String>,
    },
    /// Store the files of a directory, in one commit
    Import {
        /// The directory
        directory: PathBuf,
        /// Remove modules that have no file
        #[arg(long)]
        exactly: bool,
        #[command(flatten)]
        about: About,
    },
    /// Print the settings of the store, or set one: removal = allow, warn or refuse, for what others still import
    Config {
        /// The setting
        key: Option<String>,
        /// What it is to be
        value: Option<String>,
    },
    /// Delete records that nothing needs
    Gc,
    /// Read everything and compare the hashes
    Verify,
}

/// What a command found, for people and for programs, and the exit status.
struct Answer {
    text: String,
    json: Value,
    status: u8,
}

impl Answer {
    fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, status: 0 }
    }
}

pub(super) fn store(options: &StoreOptions) -> u8 {
    match options.run() {
        Ok(answer) => {
            let text = if options.json { format!("{:#}\n", answer.json) } else { answer.text };
            super::print(&text).max(answer.status)
        }
        Err(error) => {
            let text = match error {
                Failure::Store(error) => format!("modspace: {error}\n"),
                Failure::Runtime(Error::Python(error)) => error.traceback,
                Failure::Runtime(error) => format!("modspace: {error}\n"),
            };
            complain(&text);
            1
        }
    }
}

fn complain(text: &str) {
    // There is nowhere left to say that stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Why there is no answer.
enum Failure {
    Store(StoreError),
    Runtime(Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Runtime(error)
    }
}

/// How far a long operation is, on a terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template("{spinner} {msg}: {human_pos}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    fn tell(&self) -> impl FnMut(usize) {
        |number| self.0.set_position(number as u64)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl StoreOptions {
    fn run(&self) -> Result<Answer, Failure> {
        match &self.command {
            StoreCommand::Init { file } => {
                Store::open(self.started_in.join(file))?;
                Ok(Answer::new(format!("{} is a store\n", file.display()), json!({ "store": file })))
            }
            StoreCommand::Modules { at } => {
                let modules = self.snapshot(at.as_deref())?.modules()?;
                let names: Vec<String> = modules.into_iter().map(|(name, _)| name).collect();
                Ok(Answer::new(names.iter().map(|name| format!("{name}\n")).collect::<String>(), json!(names)))
            }
            StoreCommand::Branches => {
                let branches = self.open()?.branches()?;
                let text = branches.iter().map(|(name, head)| format!("{} {name}\n", head.short()));
                let json: BTreeMap<_, _> = branches.iter().map(|(name, head)| (name, head.to_string())).collect();
                Ok(Answer::new(text.collect::<String>(), json!(json)))
            }
            StoreCommand::Log { limit } => Ok(self.log(*limit)?),
            StoreCommand::Show { what, at } => Ok(self.show(what.as_deref(), at.as_deref())?),
            StoreCommand::Diff { commits } => Ok(self.diff(commits)?),
            StoreCommand::Status => Ok(self.status()?),
            StoreCommand::Plan(options) => self.plan(options),
            StoreCommand::Config { key, value } => Ok(self.config(key.as_deref(), value.as_deref())?),
            StoreCommand::Checkout { directory, at } => {
                let file = self.file()?;
                let at = at.as_deref().map(|at| self.resolve(at)).transpose()?;
                let progress = Progress::new("writing files");
                let directory = self.started_in.join(directory);
                let checkout = Checkout::create(&file, &directory, &self.branch()?, at, &mut progress.tell())?;
                drop(progress);
                let commit = checkout.commit_id()?;
                let text = format!("{} has {}\n", directory.display(), named(commit));
                Ok(Answer::new(text, json!({ "directory": directory, "commit": commit.map(|id| id.to_string()) })))
            }
            StoreCommand::Commit { about } => {
                let mut checkout = self.checkout()?;
                let done = checkout.commit_and_tell(&about.message, &about.author).map_err(|error| match error {
                    StoreError::Conflict(conflict) => {
                        let reason = format!("{conflict}; in a checkout, `modspace store update` does that");
                        StoreError::File { path: checkout.root().to_owned(), reason }
                    }
                    error => error,
                })?;
                Ok(committed(done.as_ref()))
            }
            StoreCommand::Update => {
                let mut checkout = self.checkout()?;
                let merged = checkout.update()?;
                Ok(merge_answer(&merged, checkout.commit_id()?))
            }
            StoreCommand::Undo { commit, author } => {
                let commit = self.resolve(commit)?;
                let undoing = self.open()?.undoing(&self.branch()?, commit, author)?;
                Ok(committed(Some(&undoing.commit_and_tell()?)))
            }
            StoreCommand::Sync { watch, about } => Ok(self.sync(*watch, about)?),
            StoreCommand::Export { directory, at } => {
                let snapshot = self.snapshot(at.as_deref())?;
                let progress = Progress::new("writing files");
                let count = write_files(&snapshot, &self.started_in.join(directory), &mut progress.tell())?;
                drop(progress);
                Ok(Answer::new(format!("{count} files in {}\n", directory.display()), json!({ "files": count })))
            }
            StoreCommand::Import { directory, exactly, about } => {
                let progress = Progress::new("reading files");
                let directory = self.started_in.join(directory);
                let about = (about.message.as_str(), about.author.as_str());
                let store = self.open()?;
                let imported =
                    import_files(&store, &self.branch()?, &directory, *exactly, about, &mut progress.tell())?;
                drop(progress);
                let mut answer = committed(imported.committed.as_ref());
                for (path, reason) in &imported.left_out {
                    answer.text += &format!("left out: {}: {reason}\n", path.display());
                }
                answer.json["changed"] = json!(imported.changed);
                answer.json["left_out"] = json!(imported.left_out);
                Ok(answer)
            }
            StoreCommand::Gc => {
                let progress = Progress::new("reading records");
                let deleted = self.open()?.collect_garbage(&mut progress.tell())?;
                drop(progress);
                Ok(Answer::new(format!("{deleted} records deleted\n"), json!({ "deleted": deleted })))
            }
            StoreCommand::Verify => Ok(self.verify()?),
        }
    }

    /// The file of the store.
    fn file(&self) -> Result<PathBuf, StoreError> {
        match &self.store {
            Some(file) => Ok(self.started_in.join(file)),
            None => {
                let checkout = Checkout::find(&self.started_in).map_err(|error| match error {
                    StoreError::File { path, .. } => {
                        let reason =
                            "it is in no checkout; name a store with --store FILE, or make a checkout".to_owned();
                        StoreError::File { path, reason }
                    }
                    error => error,
                })?;
                Ok(PathBuf::from(checkout.store().describe()))
            }
        }
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open_existing(self.file()?)
    }

    fn checkout(&self) -> Result<Checkout, StoreError> {
        Checkout::find(&self.started_in)
    }

    fn branch(&self) -> Result<String, StoreError> {
        match (&self.branch, &self.store) {
            (Some(branch), _) => Ok(branch.clone()),
            (None, Some(_)) => Ok(MAIN.to_owned()),
            (None, None) => {
                Ok(self.checkout().map_or_else(|_| MAIN.to_owned(), |checkout| checkout.branch().to_owned()))
            }
        }
    }

    /// The commit that a text means: an id, the beginning of one, or a branch.
    fn resolve(&self, text: &str) -> Result<RecordId, StoreError> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let store = self.open()?;
        let branches = store.branches()?;
        if let Some(head) = branches.get(text) {
            return Ok(*head);
        }
        let mut found = std::collections::BTreeSet::new();
        if text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let wanted = text.to_ascii_lowercase();
            for head in branches.into_values() {
                for entry in store.history(Some(head)) {
                    let (id, _) = entry?;
                    if id.to_string().starts_with(&wanted) {
                        found.insert(id);
                    }
                }
            }
        }
        match found.len() {
            1 => Ok(found.into_iter().next().unwrap_or(RecordId::from_bytes([0; 32]))),
            _ => Err(StoreError::Id { text: text.chars().take(80).collect() }),
        }
    }

    fn snapshot(&self, at: Option<&str>) -> Result<Snapshot, StoreError> {
        match at {
            Some(at) => self.open()?.at(self.resolve(at)?),
            None => self.open()?.snapshot(&self.branch()?),
        }
    }

    /// Prints at once.
    fn say(&self, answer: &Answer) {
        let text = if self.json { format!("{}\n", answer.json) } else { answer.text.clone() };
        let _ = std::io::stdout().write_all(text.as_bytes());
        let _ = std::io::stdout().flush();
    }
}

fn named(commit: Option<RecordId>) -> String {
    commit.map_or_else(|| "no commit".to_owned(), |id| format!("commit {}", id.short()))
}

/// What was committed. What went although it is in use is said on stderr.
fn committed(committed: Option<&Committed>) -> Answer {
    let Some(Committed { head: Some(id), in_use, .. }) = committed else {
        return Answer::new("nothing to commit\n", json!({ "commit": null }));
    };
    for in_use in in_use {
        complain(&format!("modspace: warning: {in_use}\n"));
    }
    let json = json!({ "commit": id.to_string(), "in_use": in_use_json(in_use) });
    Answer::new(format!("commit {}\n", id.short()), json)
}

fn in_use_json(in_use: &[InUse]) -> Value {
    let all = in_use.iter().map(|one| json!({ "module": one.module, "name": one.name, "importers": one.importers }));
    Value::Array(all.collect())
}
