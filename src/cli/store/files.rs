//! Modules of a store as files.

use std::time::Duration;

use serde_json::json;

use super::{About, Answer, StoreOptions, committed, named};
use crate::persist::{FileState, Merged, RecordId, StoreError};

impl StoreOptions {
    pub(super) fn status(&self) -> Result<Answer, StoreError> {
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

    pub(super) fn sync(&self, watch: bool, about: &About) -> Result<Answer, StoreError> {
        let mut checkout = self.checkout()?;
        let (mut text, mut last) = (String::new(), Merged::default());
        if !watch {
            let merged = checkout.update()?;
            text += &merge_answer(&merged, checkout.commit_id()?).text;
            if merged.conflicts.is_empty() {
                text += &committed(checkout.commit_and_tell(&about.message, &about.author)?.as_ref()).text;
            }
            let status = u8::from(!merged.conflicts.is_empty());
            let json = json!({ "merged": merged, "commit": checkout.commit_id()?.map(|id| id.to_string()) });
            return Ok(Answer { text, json, status });
        }
        let mut heads = checkout.store().subscribe(checkout.branch(), None)?;
        let mut waiting = String::new();
        loop {
            // An editor's half-written file is committed when it compiles; until then it is said once why not.
            let why_not = match checkout.commit_and_tell(&about.message, &about.author) {
                Ok(None) => String::new(),
                Ok(done) => {
                    self.say(&committed(done.as_ref()));
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
}

pub(super) fn merge_answer(merged: &Merged, commit: Option<RecordId>) -> Answer {
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
