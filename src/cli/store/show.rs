//! What a store has: commits, sources, and how they differ.

use std::{io::IsTerminal, path::Path};

use serde_json::{Value, json};

use super::{Answer, StoreOptions, When};
use crate::persist::{Commit, RecordId, Snapshot, Store, StoreError};

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
    pub(super) fn log(&self, limit: Option<usize>) -> Result<Answer, StoreError> {
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

    pub(super) fn show(&self, what: Option<&str>, at: Option<&str>) -> Result<Answer, StoreError> {
        let store = self.open()?;
        let id = match what {
            Some(what) => match self.resolve(what) {
                Ok(id) => Some(id),
                Err(StoreError::Id { .. }) => {
                    let snapshot = self.snapshot(at)?;
                    let module = snapshot.module(what)?;
                    let text = String::from_utf8_lossy(&snapshot.blob(module.source)?).into_owned();
                    let json = json!({
                        "module": what,
                        "source": text,
                        "metadata": snapshot.metadata(&module)?,
                        "imports": snapshot.imports(what)?,
                        "importers": snapshot.importers(what)?,
                        "kept": snapshot.kept(&module)?,
                    });
                    return Ok(Answer::new(text, json));
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
                "state_changed": change.old.as_ref().map(|module| module.state) != change.new.as_ref().map(|module| module.state),
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

    pub(super) fn diff(&self, commits: &[String]) -> Result<Answer, StoreError> {
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
