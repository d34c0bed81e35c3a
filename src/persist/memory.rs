//! A store in memory: for tests, and for programs that throw it away.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    backend::{Backend, Move, Outcome},
    error::StoreError,
    record::{Record, RecordId},
};

/// A backend that lives as long as its value.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<RecordId, Vec<u8>>,
    heads: BTreeMap<String, RecordId>,
    moves: Vec<Move>,
}

impl State {
    fn last(&self) -> u64 {
        self.moves.last().map_or(0, |last| last.number)
    }
}

impl Backend for Memory {
    fn describe(&self) -> String {
        "in memory".to_owned()
    }

    fn get(&self, id: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.lock().records.get(&id).cloned())
    }

    fn heads(&self) -> Result<BTreeMap<String, RecordId>, StoreError> {
        Ok(self.state.lock().heads.clone())
    }

    fn head(&self, branch: &str) -> Result<Option<RecordId>, StoreError> {
        Ok(self.state.lock().heads.get(branch).copied())
    }

    fn move_head(
        &self,
        branch: &str,
        from: Option<RecordId>,
        to: Option<RecordId>,
        records: &[Record],
    ) -> Result<Outcome, StoreError> {
        let mut state = self.state.lock();
        let now = state.heads.get(branch).copied();
        if now != from {
            return Ok(Outcome::Elsewhere(now));
        }
        for record in records {
            state.records.entry(record.id).or_insert_with(|| record.bytes.clone());
        }
        match to {
            Some(to) => state.heads.insert(branch.to_owned(), to),
            None => state.heads.remove(branch),
        };
        let number = state.last() + 1;
        state.moves.push(Move { number, branch: branch.to_owned(), from, to });
        drop(state);
        self.moved.notify_all();
        Ok(Outcome::Moved(number))
    }

    fn moves(&self, after: u64) -> Result<Vec<Move>, StoreError> {
        let state = self.state.lock();
        Ok(state.moves[state.moves.partition_point(|one| one.number <= after)..].to_vec())
    }

    fn number_of(&self, branch: &str, commit: RecordId) -> Result<Option<u64>, StoreError> {
        let state = self.state.lock();
        let found = state.moves.iter().rfind(|one| one.branch == branch && one.to == Some(commit));
        Ok(found.map(|found| found.number))
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, StoreError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        while state.last() <= after {
            match deadline {
                Some(deadline) if self.moved.wait_until(&mut state, deadline).timed_out() => break,
                Some(_) => {}
                // Longer than the clock goes.
                None => self.moved.wait(&mut state),
            }
        }
        Ok(state.last())
    }

    fn records(&self) -> Result<Vec<RecordId>, StoreError> {
        Ok(self.state.lock().records.keys().copied().collect())
    }

    fn sweep(&self, number: u64, keep: &dyn Fn(RecordId) -> bool) -> Result<Option<usize>, StoreError> {
        let mut state = self.state.lock();
        if state.last() != number {
            return Ok(None);
        }
        let before = state.records.len();
        state.records.retain(|id, _| keep(*id));
        Ok(Some(before - state.records.len()))
    }
}
