//! Random sequences of changes, against a simple model of what a store is.

use std::collections::BTreeMap;

use modspace::persist::{Savepoint, Store, StoreError, Transaction};
use proptest::prelude::*;

/// A branch: sources by name.
type Model = BTreeMap<String, String>;

#[derive(Clone, Debug)]
enum Step {
    New(String, u8),
    Update(String, u8),
    Remove(String),
    Rename(String, String),
    Savepoint,
    Rollback(usize),
    Commit,
    Abort,
    /// Undoes the commit that is so many below the head.
    Undo(usize),
}

fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c"]);
    let plain = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("."));
    (plain, prop::bool::weighted(0.2)).prop_map(|(name, code)| if code { format!("{name}.__init__") } else { name })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (name(), any::<u8>()).prop_map(|(name, source)| Step::New(name, source)),
        4 => (name(), 0..4u8).prop_map(|(name, source)| Step::Update(name, source)),
        2 => name().prop_map(Step::Remove),
        2 => (name(), name()).prop_map(|(old, new)| Step::Rename(old, new)),
        1 => Just(Step::Savepoint),
        1 => (0..3usize).prop_map(Step::Rollback),
        3 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => (0..3usize).prop_map(Step::Undo),
    ]
}

fn is_below(name: &str, package: &str) -> bool {
    name.strip_prefix(package).is_some_and(|rest| rest.starts_with('.'))
}

fn can_stand(model: &Model, name: &str) -> bool {
    !model.contains_key(name)
        && !model.keys().any(|other| is_below(name, other))
        && (name.ends_with("__init__") || !model.keys().any(|other| is_below(other, name)))
}

/// What `name` means: itself, or the code of a package.
fn meant(model: &Model, name: &str) -> Option<String> {
    let code = format!("{name}.__init__");
    [name.to_owned(), code].into_iter().find(|name| model.contains_key(name))
}

fn tree(model: &Model, name: &str) -> Model {
    let is_meant = |other: &str| other == name || is_below(other, name);
    model.iter().filter(|(other, _)| is_meant(other)).map(|(name, source)| (name.clone(), source.clone())).collect()
}

/// Does to the model what the transaction is to do; false when it must refuse.
fn change(model: &mut Model, step: &Step) -> bool {
    match step {
        Step::New(name, source) => can_stand(model, name) && model.insert(name.clone(), source.to_string()).is_none(),
        Step::Update(name, source) => match meant(model, name) {
            Some(name) => model.insert(name, source.to_string()).is_some(),
            None => false,
        },
        Step::Remove(name) => {
            let gone = tree(model, name);
            model.retain(|name, _| !gone.contains_key(name));
            !gone.is_empty()
        }
        Step::Rename(old, new) => {
            let moved = tree(model, old);
            let mut next: Model = model.clone();
            next.retain(|name, _| !moved.contains_key(name));
            for (name, source) in &moved {
                let name = format!("{new}{}", &name[old.len()..]);
                // Code of a package that is no name: `x.__init__.y`.
                if name.contains("__init__.") || name == "__init__" || !can_stand(&next, &name) {
                    return false;
                }
                next.insert(name, source.clone());
            }
            *model = next;
            !moved.is_empty()
        }
        _ => true,
    }
}

fn contents(store: &Store) -> Result<Model, StoreError> {
    let snapshot = store.snapshot("main")?;
    let source = |name: &str| snapshot.source(name).map(|source| String::from_utf8(source).expect("UTF-8"));
    snapshot.modules()?.into_iter().map(|(name, _)| Ok((name.clone(), source(&name)?))).collect()
}

fn apply(transaction: &mut Transaction, step: &Step) -> Result<(), StoreError> {
    match step {
        Step::New(name, source) => transaction.new_module(name, source.to_string().as_bytes()),
        Step::Update(name, source) => transaction.update_module(name, source.to_string().as_bytes()),
        Step::Remove(name) => transaction.remove_module(name),
        Step::Rename(old, new) => transaction.rename_module(old, new),
        _ => Ok(()),
    }
}

fn follow(steps: &[Step]) -> Result<(), StoreError> {
    let store = Store::memory();
    let mut history: Vec<Model> = vec![Model::new()];
    let mut model = Model::new();
    let mut transaction = store.begin("main")?;
    let mut savepoints: Vec<(Savepoint, Model)> = Vec::new();
    for step in steps {
        match step {
            Step::Savepoint => savepoints.push((transaction.savepoint(), model.clone())),
            Step::Rollback(index) => {
                if let Some((savepoint, then)) = savepoints.get(*index) {
                    transaction.rollback(*savepoint)?;
                    model = then.clone();
                    savepoints.truncate(index + 1);
                }
            }
            Step::Commit | Step::Abort => {
                let done = std::mem::replace(&mut transaction, store.begin("main")?);
                if matches!(step, Step::Commit) {
                    done.commit()?;
                    if history.last() != Some(&model) {
                        history.push(model.clone());
                    }
                } else {
                    done.abort();
                }
                savepoints.clear();
                model = history.last().expect("one").clone();
                transaction = store.begin("main")?;
                assert_eq!(contents(&store)?, model);
            }
            Step::Undo(below) => {
                let head = store.head("main")?;
                let Some(Ok((id, _))) = store.history(head).nth(*below) else { continue };
                let index = history.len() - 1 - below;
                let mut expected = history.last().expect("one").clone();
                let (before, after) = (&history[index - 1], &history[index]);
                let changed = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
                let changed: Vec<_> = changed.cloned().collect();
                let is_now = |name: &String| expected.get(name) == after.get(name);
                let is_undone = |name: &String| expected.get(name) == before.get(name);
                let mut can = changed.iter().all(|name| is_now(name) || is_undone(name));
                for name in &changed {
                    match before.get(name) {
                        Some(source) => drop(expected.insert(name.clone(), source.clone())),
                        None => drop(expected.remove(name)),
                    }
                }
                can &= expected.keys().all(|name| !expected.keys().any(|other| is_below(name, other)));
                let undone = store.undo("main", id, "");
                assert_eq!(undone.is_ok(), can, "{undone:?}");
                if can && history.last() != Some(&expected) {
                    history.push(expected);
                }
                // The transaction goes on from where it began.
                assert_eq!(contents(&store)?, *history.last().expect("one"));
                transaction = store.begin("main")?;
                savepoints.clear();
                model = history.last().expect("one").clone();
            }
            step => {
                let mut next = model.clone();
                let can = change(&mut next, step);
                let outcome = apply(&mut transaction, step);
                assert_eq!(outcome.is_ok(), can, "{step:?}: {outcome:?} in {model:?}");
                if can {
                    model = next;
                }
                assert_eq!(transaction.modules()?, model.keys().cloned().collect::<Vec<_>>());
            }
        }
    }
    // Every commit is still what it was.
    let commits: Vec<_> = store.history(store.head("main")?).collect::<Result<_, _>>()?;
    for ((id, _), model) in commits.iter().zip(history.iter().rev()) {
        let names: Vec<_> = store.at(*id)?.modules()?.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, model.keys().cloned().collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map_with_a_history(steps in prop::collection::vec(step(), 1..40)) {
        follow(&steps).expect("it works");
    }
}
