//! Looking after a store: its settings, and whether everything is there.

use serde_json::json;

use super::{Answer, Progress, StoreOptions};
use crate::persist::StoreError;

impl StoreOptions {
    pub(super) fn verify(&self) -> Result<Answer, StoreError> {
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

    /// All settings, one of them, or one of them set anew.
    pub(super) fn config(&self, key: Option<&str>, value: Option<&str>) -> Result<Answer, StoreError> {
        let store = self.open()?;
        if let (Some(key), Some(value)) = (key, value) {
            store.set(key, value)?;
        }
        let mut settings = store.settings()?;
        if let Some(key) = key {
            let value = store.setting(key)?;
            settings.retain(|name, _| name == key);
            settings.insert(key.to_owned(), value);
        }
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let lines = settings.iter().map(|(name, value)| format!("{name} = {}\n", text(value)));
        Ok(Answer::new(lines.collect::<String>(), json!(settings)))
    }
}
