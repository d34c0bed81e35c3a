//! `modspace store`: looking at stores, and working with their modules as files.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::persist::{
    Checkout, Commit, FileState, MAIN, Merged, RecordId, Snapshot, Store, StoreError, import_files, write_files,
};

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
            // There is nowhere left to say that stderr is closed.
            let _ = writeln!(std::io::stderr(), "modspace: {error}");
            1
        }
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

fn when(time: i64) -> String {
    // Days since 1970-01-01 to a date of the Gregorian calendar, by counting years of 400.
    let (seconds, days) = (time.div_euclid(1000).rem_euclid(86400), time.div_euclid(86_400_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn commit_json(id: RecordId, commit: &Commit) -> Value {
    json!({
        "id": id.to_string(),
        "parents": commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "author": commit.author,
        "time": commit.time,
        "message": commit.message,
    })
}

fn commit_text(id: RecordId, commit: &Commit) -> String {
    let mut text = format!("commit {id}\n");
    if !commit.author.is_empty() {
        text += &format!("author {}\n", commit.author);
    }
    text += &format!("date   {}\n", when(commit.time));
    for line in commit.message.lines() {
        text += &format!("\n    {line}");
    }
    text.push('\n');
    text
}

impl StoreOptions {
    fn run(&self) -> Result<Answer, StoreError> {
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
            StoreCommand::Log { limit } => self.log(*limit),
            StoreCommand::Show { what, at } => self.show(what.as_deref(), at.as_deref()),
            StoreCommand::Diff { commits } => self.diff(commits),
            StoreCommand::Status => self.status(),
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
                let commit = checkout.commit(&about.message, &about.author).map_err(|error| match error {
                    StoreError::Conflict(conflict) => {
                        let reason = format!("{conflict}; in a checkout, `modspace store update` does that");
                        StoreError::File { path: checkout.root().to_owned(), reason }
                    }
                    error => error,
                })?;
                Ok(committed(commit))
            }
            StoreCommand::Update => {
                let mut checkout = self.checkout()?;
                let merged = checkout.update()?;
                Ok(merge_answer(&merged, checkout.commit_id()?))
            }
            StoreCommand::Undo { commit, author } => {
                let commit = self.resolve(commit)?;
                Ok(committed(self.open()?.undo(&self.branch()?, commit, author)?))
            }
            StoreCommand::Sync { watch, about } => self.sync(*watch, about),
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
                let mut answer = committed(imported.commit);
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
            StoreCommand::Verify => self.verify(),
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

    fn log(&self, limit: Option<usize>) -> Result<Answer, StoreError> {
        let store = self.open()?;
        let head = store.head(&self.branch()?)?;
        let (mut text, mut all) = (String::new(), Vec::new());
        for entry in store.history(head).take(limit.unwrap_or(usize::MAX)) {
            let (id, commit) = entry?;
            if !text.is_empty() {
                text.push('\n');
            }
            text += &commit_text(id, &commit);
            all.push(commit_json(id, &commit));
        }
        Ok(Answer::new(text, json!(all)))
    }

    fn show(&self, what: Option<&str>, at: Option<&str>) -> Result<Answer, StoreError> {
        let store = self.open()?;
        let id = match what {
            Some(what) => match self.resolve(what) {
                Ok(id) => Some(id),
                Err(StoreError::Id { .. }) => {
                    let source = self.snapshot(at)?.source(what)?;
                    let text = String::from_utf8_lossy(&source).into_owned();
                    return Ok(Answer::new(text.clone(), json!({ "module": what, "source": text })));
                }
                Err(error) => return Err(error),
            },
            None => store.head(&self.branch()?)?,
        };
        let Some(id) = id else { return Ok(Answer::new("there are no commits yet\n", Value::Null)) };
        let commit = store.commit(id)?;
        let (text, changes) = self.changes(&self.before(&store, &commit)?, &store.at(id)?)?;
        let mut json = commit_json(id, &commit);
        json["changes"] = changes;
        Ok(Answer::new(format!("{}\n{text}", commit_text(id, &commit)), json))
    }

    /// The snapshot that a commit was made from.
    fn before(&self, store: &Store, commit: &Commit) -> Result<Option<Snapshot>, StoreError> {
        commit.parents.first().map(|parent| store.at(*parent)).transpose()
    }

    /// The differences between two snapshots.
    fn changes(&self, old: &Option<Snapshot>, new: &Snapshot) -> Result<(String, Value), StoreError> {
        let empty = new.emptied();
        let old = old.as_ref().unwrap_or(&empty);
        let (mut text, mut all) = (String::new(), Vec::new());
        for change in old.changes(new)? {
            let source = |module: &Option<crate::persist::Module>| {
                module.as_ref().map(|module| new.blob(module.source)).transpose()
            };
            let (before, after) = (source(&change.old)?, source(&change.new)?);
            let patch = self.patch(&change.name, before.as_deref(), after.as_deref());
            all.push(json!({
                "module": change.name,
                "kind": match (&before, &after) { (None, _) => "added", (_, None) => "removed", _ => "changed" },
                "metadata_changed": change.old.as_ref().map(|module| module.metadata) != change.new.as_ref().map(|module| module.metadata),
                "diff": plain_patch(&change.name, before.as_deref(), after.as_deref()),
            }));
            text += &patch;
        }
        Ok((text, json!(all)))
    }

    fn is_coloured(&self) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn patch(&self, module: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> String {
        if !self.is_coloured() {
            return plain_patch(module, old, new);
        }
        with_patch(module, old, new, |patch| diffy::PatchFormatter::new().with_color().fmt_patch(patch).to_string())
    }

    fn diff(&self, commits: &[String]) -> Result<Answer, StoreError> {
        if let [old, rest @ ..] = commits {
            let store = self.open()?;
            let old = store.at(self.resolve(old)?)?;
            let new = match rest.first() {
                Some(new) => store.at(self.resolve(new)?)?,
                None => store.snapshot(&self.branch()?)?,
            };
            let (text, json) = self.changes(&Some(old), &new)?;
            return Ok(Answer::new(text, json));
        }
        let checkout = self.checkout()?;
        let (mut text, mut all) = (String::new(), Vec::new());
        for change in checkout.status()?.0 {
            let contents = checkout.contents(&change.module)?;
            let (file, base) = (contents.file, contents.base);
            text += &self.patch(&change.module, base.as_deref(), file.as_deref());
            all.push(json!({
                "module": change.module,
                "state": change.state,
                "diff": plain_patch(&change.module, base.as_deref(), file.as_deref()),
            }));
        }
        Ok(Answer::new(text, json!(all)))
    }

    fn status(&self) -> Result<Answer, StoreError> {
        let checkout = self.checkout()?;
        let (changes, others) = checkout.status()?;
        let (commit, head) = (checkout.commit_id()?, checkout.store().head(checkout.branch())?);
        let mut text = format!("on {} of {}, at {}\n", checkout.branch(), checkout.store().describe(), named(commit));
        if head != commit {
            text += &format!("the branch has moved on to {}; `modspace store update` merges it\n", named(head));
        }
        for change in &changes {
            let state = match change.state {
                FileState::Added => "added",
                FileState::Modified => "modified",
                FileState::Deleted => "deleted",
                _ => "conflict",
            };
            text += &format!("  {state:9} {}\n", change.module);
        }
        for (path, reason) in &others {
            text += &format!("  left out: {}: {reason}\n", path.display());
        }
        if changes.is_empty() {
            text += "nothing to commit\n";
        }
        let json = json!({
            "store": checkout.store().describe(),
            "branch": checkout.branch(),
            "commit": commit.map(|id| id.to_string()),
            "head": head.map(|id| id.to_string()),
            "changes": changes,
            "left_out": others,
        });
        Ok(Answer::new(text, json))
    }

    fn sync(&self, watch: bool, about: &About) -> Result<Answer, StoreError> {
        let mut checkout = self.checkout()?;
        let (mut text, mut last) = (String::new(), Merged::default());
        if !watch {
            let merged = checkout.update()?;
            text += &merge_answer(&merged, checkout.commit_id()?).text;
            if merged.conflicts.is_empty() {
                text += &committed(checkout.commit(&about.message, &about.author)?).text;
            }
            let status = u8::from(!merged.conflicts.is_empty());
            let json = json!({ "merged": merged, "commit": checkout.commit_id()?.map(|id| id.to_string()) });
            return Ok(Answer { text, json, status });
        }
        let mut heads = checkout.store().subscribe(checkout.branch(), None)?;
        let mut waiting = String::new();
        loop {
            // An editor's half-written file is committed when it compiles; until then it is said once why not.
            let why_not = match checkout.commit(&about.message, &about.author) {
                Ok(None) => String::new(),
                Ok(commit) => {
                    self.say(&committed(commit));
                    String::new()
                }
                Err(StoreError::Conflict(_)) => String::new(),
                Err(error) => error.to_string(),
            };
            if !why_not.is_empty() && why_not != waiting {
                self.say(&Answer::new(format!("waiting: {why_not}\n"), json!({ "waiting": why_not })));
            }
            waiting = why_not;
            let merged = checkout.update()?;
            if merged != last && merged != Merged::default() {
                self.say(&merge_answer(&merged, checkout.commit_id()?));
            }
            last = merged;
            heads.next(Duration::from_millis(300))?;
        }
    }

    /// Prints at once.
    fn say(&self, answer: &Answer) {
        let text = if self.json { format!("{}\n", answer.json) } else { answer.text.clone() };
        let _ = std::io::stdout().write_all(text.as_bytes());
        let _ = std::io::stdout().flush();
    }

    fn verify(&self) -> Result<Answer, StoreError> {
        let progress = Progress::new("reading records");
        let found = self.open()?.verify(&mut progress.tell())?;
        drop(progress);
        let mut text = String::new();
        for problem in &found.problems {
            text += &format!("{} in {}: {}\n", problem.what, problem.commit.short(), problem.reason);
        }
        text += &format!("{} commits, {} records, {} problems\n", found.commits, found.records, found.problems.len());
        let problems: Vec<_> = found
            .problems
            .iter()
            .map(|problem| {
                json!({
                    "record": problem.record.to_string(),
                    "commit": problem.commit.to_string(),
                    "what": problem.what,
                    "reason": problem.reason,
                })
            })
            .collect();
        let json = json!({ "commits": found.commits, "records": found.records, "problems": problems });
        Ok(Answer { text, json, status: u8::from(!found.problems.is_empty()) })
    }
}

fn named(commit: Option<RecordId>) -> String {
    commit.map_or_else(|| "no commit".to_owned(), |id| format!("commit {}", id.short()))
}

fn committed(commit: Option<RecordId>) -> Answer {
    match commit {
        Some(id) => Answer::new(format!("commit {}\n", id.short()), json!({ "commit": id.to_string() })),
        None => Answer::new("nothing to commit\n", json!({ "commit": null })),
    }
}

fn merge_answer(merged: &Merged, commit: Option<RecordId>) -> Answer {
    let mut text = String::new();
    let parts = [
        ("updated", &merged.updated),
        ("merged", &merged.merged),
        ("deleted", &merged.deleted),
        ("conflict", &merged.conflicts),
    ];
    for (what, names) in parts {
        for name in names {
            text += &format!("  {what:9} {name}\n");
        }
    }
    if !merged.conflicts.is_empty() {
        text += "edit the files with conflicts, then commit\n";
    }
    text += &format!("at {}\n", named(commit));
    let mut json = json!(merged);
    json["commit"] = json!(commit.map(|id| id.to_string()));
    Answer { text, json, status: u8::from(!merged.conflicts.is_empty()) }
}

fn plain_patch(module: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> String {
    with_patch(module, old, new, |patch| patch.to_string())
}

/// A unified diff, as `git diff` writes the names.
fn with_patch(
    module: &str,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    write: impl FnOnce(&diffy::Patch<'_, str>) -> String,
) -> String {
    let file = format!("{}.py", Path::new(&module.replace('.', "/")).display());
    let name = |side: &str, bytes: Option<&[u8]>| {
        if bytes.is_some() { format!("{side}/{file}") } else { "/dev/null".to_owned() }
    };
    let text = |bytes: Option<&[u8]>| bytes.map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let mut options = diffy::DiffOptions::new();
    options.set_original_filename(name("a", old)).set_modified_filename(name("b", new));
    let (old, new) = (text(old), text(new));
    write(&options.create_patch(&old, &new))
}
