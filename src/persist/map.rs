//! Maps from names to values, in records.
//!
//! A hash trie. A node with at most [`LEAF`] names is a leaf and has them in order; any other is a branch, with a child for
//! each next four bits of the names' hashes. So equal maps are equal records, in whatever order their names came; a change
//! writes the nodes on the way to what it changes and no others; and two maps are compared only where they differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    backend::Backend,
    error::StoreError,
    record::{self, Kind, Record, RecordId},
};

/// How many names a leaf has at most.
const LEAF: usize = 24;

/// What a value of a map can be.
pub(crate) trait Value: Clone + PartialEq + Serialize + DeserializeOwned {}

impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Value for T {}

#[derive(Serialize, Deserialize)]
enum Node<V> {
    /// In order of name.
    Leaf(Vec<(String, V)>),
    /// In order of slot.
    Branch(Vec<Child>),
}

#[derive(Clone, Serialize, Deserialize)]
struct Child {
    /// The four bits that the names below it have in common.
    slot: u8,
    id: RecordId,
    /// How many names are below it.
    names: u64,
}

/// Part of a map that is being made.
enum Part<V> {
    /// At most [`LEAF`] names, in order.
    Few(Vec<(String, V)>),
    Many(Vec<Child>),
}

impl<V> Part<V> {
    fn names(&self) -> u64 {
        match self {
            Self::Few(entries) => entries.len() as u64,
            Self::Many(children) => children.iter().map(|child| child.names).sum(),
        }
    }
}

/// The bits of the name's hash that decide at this depth.
fn slot(name: &str, depth: usize) -> u8 {
    let hash = blake3::hash(name.as_bytes());
    let byte = hash.as_bytes()[depth / 2];
    if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

fn read<V: Value>(reader: &dyn Backend, id: RecordId) -> Result<Node<V>, StoreError> {
    record::read(Kind::Package, id, &reader.bytes(id)?)
}

/// What the map has under `name`.
pub(crate) fn get<V: Value>(reader: &dyn Backend, map: Option<RecordId>, name: &str) -> Result<Option<V>, StoreError> {
    let mut next = map;
    for depth in 0.. {
        let Some(id) = next else { break };
        match read::<V>(reader, id)? {
            Node::Leaf(entries) => {
                let found = entries.binary_search_by(|(other, _)| other.as_str().cmp(name));
                return Ok(found.ok().and_then(|index| entries.into_iter().nth(index)).map(|(_, value)| value));
            }
            Node::Branch(children) => {
                let slot = slot(name, depth);
                next = children.iter().find(|child| child.slot == slot).map(|child| child.id);
            }
        }
    }
    Ok(None)
}

/// Everything in the map, in order of name.
pub(crate) fn entries<V: Value>(reader: &dyn Backend, map: Option<RecordId>) -> Result<Vec<(String, V)>, StoreError> {
    let mut all = Vec::new();
    let mut nodes: Vec<RecordId> = map.into_iter().collect();
    while let Some(id) = nodes.pop() {
        match read(reader, id)? {
            Node::Leaf(entries) => all.extend(entries),
            Node::Branch(children) => nodes.extend(children.into_iter().map(|child| child.id)),
        }
    }
    all.sort_by(|(one, _), (two, _)| one.cmp(two));
    Ok(all)
}

/// How many names the map has.
pub(crate) fn count<V: Value>(reader: &dyn Backend, map: Option<RecordId>) -> Result<u64, StoreError> {
    let Some(id) = map else { return Ok(0) };
    Ok(match read::<V>(reader, id)? {
        Node::Leaf(entries) => entries.len() as u64,
        Node::Branch(children) => children.iter().map(|child| child.names).sum(),
    })
}

/// What is in one node: the nodes below it, or names.
pub(crate) type Inside<V> = (Vec<RecordId>, Vec<(String, V)>);

/// One node of a map.
pub(crate) fn node<V: Value>(reader: &dyn Backend, id: RecordId) -> Result<Inside<V>, StoreError> {
    Ok(match read(reader, id)? {
        Node::Leaf(entries) => (Vec::new(), entries),
        Node::Branch(children) => (children.into_iter().map(|child| child.id).collect(), Vec::new()),
    })
}

/// A difference between two maps: the name, and what each has under it.
pub(crate) type Difference<V> = (String, Option<V>, Option<V>);

/// Where two maps differ, in order of name.
pub(crate) fn differences<V: Value>(
    reader: &dyn Backend,
    old: Option<RecordId>,
    new: Option<RecordId>,
) -> Result<Vec<Difference<V>>, StoreError> {
    let mut found = Vec::new();
    compare(reader, old, new, &mut found)?;
    found.sort_by(|(one, ..), (two, ..)| one.cmp(two));
    Ok(found)
}

fn compare<V: Value>(
    reader: &dyn Backend,
    old: Option<RecordId>,
    new: Option<RecordId>,
    found: &mut Vec<Difference<V>>,
) -> Result<(), StoreError> {
    if old == new {
        return Ok(());
    }
    let node = |id: Option<RecordId>| id.map_or_else(|| Ok(Node::Leaf(Vec::new())), |id| read::<V>(reader, id));
    if let (Node::Branch(before), Node::Branch(after)) = (node(old)?, node(new)?) {
        let child = |children: &[Child], slot| children.iter().find(|child| child.slot == slot).map(|child| child.id);
        for slot in 0..16 {
            compare(reader, child(&before, slot), child(&after, slot), found)?;
        }
        return Ok(());
    }
    let mut before: BTreeMap<String, V> = entries(reader, old)?.into_iter().collect();
    for (name, value) in entries(reader, new)? {
        let was = before.remove(&name);
        if was.as_ref() != Some(&value) {
            found.push((name, was, Some(value)));
        }
    }
    found.extend(before.into_iter().map(|(name, value)| (name, Some(value), None)));
    Ok(())
}

/// The map with these names set, or taken out where there is no value; `None` when nothing is left. The records that are
/// new, some of which may have been there before, go to `written`.
pub(crate) fn edit<V: Value>(
    reader: &dyn Backend,
    map: Option<RecordId>,
    changes: BTreeMap<String, Option<V>>,
    written: &mut Vec<Record>,
) -> Result<Option<RecordId>, StoreError> {
    let part = edited(reader, map, 0, changes, written)?;
    if part.names() == 0 { Ok(None) } else { write(part, written).map(Some) }
}

fn edited<V: Value>(
    reader: &dyn Backend,
    map: Option<RecordId>,
    depth: usize,
    changes: BTreeMap<String, Option<V>>,
    written: &mut Vec<Record>,
) -> Result<Part<V>, StoreError> {
    let children = match map.map(|id| read(reader, id)).transpose()? {
        Some(Node::Branch(children)) => children,
        Some(Node::Leaf(entries)) => return apply(entries, depth, changes, written),
        None => return apply(Vec::new(), depth, changes, written),
    };
    let mut parts: BTreeMap<u8, Result<Part<V>, Child>> =
        children.into_iter().map(|child| (child.slot, Err(child))).collect();
    for (slot, changes) in by_slot(changes, depth) {
        let child = parts.remove(&slot).and_then(Result::err).map(|child| child.id);
        parts.insert(slot, Ok(edited(reader, child, depth + 1, changes, written)?));
    }
    let names: u64 = parts.values().map(|part| part.as_ref().map_or_else(|child| child.names, Part::names)).sum();
    if names > LEAF as u64 {
        let mut children = Vec::new();
        for (slot, part) in parts {
            match part {
                Ok(part) if part.names() == 0 => {}
                Ok(part) => children.push(Child { slot, names: part.names(), id: write(part, written)? }),
                Err(child) => children.push(child),
            }
        }
        return Ok(Part::Many(children));
    }
    // So few are left that they fit into a leaf.
    let mut few = Vec::new();
    for part in parts.into_values() {
        match part {
            Ok(Part::Few(entries)) => few.extend(entries),
            Ok(Part::Many(_)) => unreachable!("more than {LEAF} names"),
            Err(child) => few.extend(entries(reader, Some(child.id))?),
        }
    }
    few.sort_by(|(one, _), (two, _)| one.cmp(two));
    Ok(Part::Few(few))
}

/// The changes, made to a leaf.
fn apply<V: Value>(
    entries: Vec<(String, V)>,
    depth: usize,
    changes: BTreeMap<String, Option<V>>,
    written: &mut Vec<Record>,
) -> Result<Part<V>, StoreError> {
    let mut all: BTreeMap<String, V> = entries.into_iter().collect();
    for (name, value) in changes {
        match value {
            Some(value) => all.insert(name, value),
            None => all.remove(&name),
        };
    }
    divide(all, depth, written)
}

/// Names that come to stand at this depth.
fn divide<V: Value>(all: BTreeMap<String, V>, depth: usize, written: &mut Vec<Record>) -> Result<Part<V>, StoreError> {
    if all.len() <= LEAF {
        return Ok(Part::Few(all.into_iter().collect()));
    }
    let mut children = Vec::new();
    for (slot, all) in by_slot(all, depth) {
        let part = divide(all, depth + 1, written)?;
        children.push(Child { slot, names: part.names(), id: write(part, written)? });
    }
    Ok(Part::Many(children))
}

fn by_slot<T>(all: BTreeMap<String, T>, depth: usize) -> BTreeMap<u8, BTreeMap<String, T>> {
    let mut slots: BTreeMap<u8, BTreeMap<String, T>> = BTreeMap::new();
    for (name, value) in all {
        slots.entry(slot(&name, depth)).or_default().insert(name, value);
    }
    slots
}

fn write<V: Value>(part: Part<V>, written: &mut Vec<Record>) -> Result<RecordId, StoreError> {
    let node = match part {
        Part::Few(entries) => Node::Leaf(entries),
        Part::Many(children) => Node::Branch(children),
    };
    let record = Record::of(Kind::Package, &node)?;
    let id = record.id;
    written.push(record);
    Ok(id)
}
