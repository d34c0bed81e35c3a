//! Which classes and functions a pickle refers to, without unpickling it.
//!
//! A pickle is a program for a stack machine (see CPython's `pickletools`). A reference is two strings, a module and a
//! qualified name, and an instruction that takes both; or one string of ours, that a persistent id is. What else is on the
//! stack does not matter here, so only strings are followed, through the memo too.

use std::{collections::HashMap, str};

use super::record::Identity;

/// A class, or something else of a module, that an object refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Reference {
    /// The module's name when the object was stored.
    pub module: String,
    /// The qualified name in the module.
    pub name: String,
    /// Which module it is, when the reference goes by that.
    pub identity: Option<Identity>,
}

impl Reference {
    /// A reference by identity as a persistent id: the identity, the module's name and the qualified name.
    #[must_use]
    pub fn to_persistent_id(identity: Identity, module: &str, name: &str) -> String {
        format!("{identity} {module} {name}")
    }

    /// What [`Self::to_persistent_id`] made a persistent id of.
    #[must_use]
    pub fn of_persistent_id(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let identity = parts.next()?.parse().ok()?;
        let (module, name) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self { module, name, identity: Some(identity) })
    }
}

/// What comes after the byte of an instruction.
#[derive(Clone, Copy)]
enum Argument {
    /// So many bytes.
    Bytes(usize),
    /// A length of so many bytes, and as many bytes as that says.
    Counted(usize),
    /// Text up to the end of the line.
    Line,
    /// Two of these.
    Lines,
}

fn argument(instruction: u8) -> Option<Argument> {
    Some(match instruction {
        b'('
        | b'.'
        | b'0'
        | b'1'
        | b'2'
        | b'N'
        | b'Q'
        | b'R'
        | b'a'
        | b'b'
        | b'd'
        | b'}'
        | b'e'
        | b'l'
        | b']'
        | b'o'
        | b's'
        | b't'
        | b')'
        | b'u'
        | 0x81
        | 0x85..=0x89
        | 0x8f..=0x94 => Argument::Bytes(0),
        b'K' | b'h' | b'q' | 0x80 => Argument::Bytes(1),
        b'M' => Argument::Bytes(2),
        b'J' | b'j' | b'r' => Argument::Bytes(4),
        b'G' | 0x95 => Argument::Bytes(8),
        b'U' | b'C' | 0x8a | 0x8c => Argument::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Argument::Counted(4),
        0x8d | 0x8e | 0x96 => Argument::Counted(8),
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => Argument::Line,
        b'c' | b'i' => Argument::Lines,
        _ => return None,
    })
}

/// The rest of a pickle.
struct Bytes<'pickle>(&'pickle [u8]);

impl<'pickle> Bytes<'pickle> {
    fn take(&mut self, count: usize) -> Result<&'pickle [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it ends in the middle")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        let little = self.take(bytes)?.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(little).map_err(|_| "it ends in the middle".to_owned())
    }

    fn line(&mut self) -> Result<&'pickle [u8], String> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or("it ends in the middle")?;
        let line = self.take(end)?;
        self.take(1)?;
        Ok(line)
    }
}

/// The references in a pickle, in order, each once.
///
/// # Errors
/// Why it cannot be stored: it is no pickle, or has parts that only the program that made it can read.
pub(super) fn references(pickle: &[u8]) -> Result<Vec<Reference>, String> {
    let mut found = Vec::new();
    let mut rest = Bytes(pickle);
    // The strings among what was pushed last, and among what was memoized.
    let (mut below, mut top) = (None, None);
    let mut memo: HashMap<usize, &str> = HashMap::new();
    let mut memoized = 0;
    loop {
        let instruction = rest.take(1)?[0];
        let Some(argument) = argument(instruction) else {
            return Err(match instruction {
                0x82..=0x84 => {
                    "it refers to a class by an extension code of copyreg, which other programs do not know; call \
                     copyreg.remove_extension()"
                        .to_owned()
                }
                0x97 | 0x98 => "a part of it is in a buffer outside".to_owned(),
                _ => format!("it is not a pickle: there is no instruction {instruction:#04x}"),
            });
        };
        let (mut bytes, mut second) = (&[][..], &[][..]);
        match argument {
            // An index into the memo, or nothing that matters.
            Argument::Bytes(_) if matches!(instruction, b'h' | b'q' | b'j' | b'r') => {}
            Argument::Bytes(count) => bytes = rest.take(count)?,
            Argument::Counted(count) => {
                let length = rest.number(count)?;
                bytes = rest.take(length)?;
            }
            Argument::Line => bytes = rest.line()?,
            Argument::Lines => (bytes, second) = (rest.line()?, rest.line()?),
        }
        let text = |bytes: &'_ [u8]| String::from_utf8_lossy(bytes).into_owned();
        let index = |bytes: &[u8]| text(bytes).trim().parse::<usize>().map_err(|_| "it has no such index".to_owned());
        match instruction {
            b'.' if rest.0.is_empty() => break,
            b'.' => return Err("something follows its end".to_owned()),
            // Around strings as everywhere.
            0x80 | 0x95 => {}
            // Pushes a string.
            0x8c | b'X' | 0x8d => (below, top) = (top, str::from_utf8(bytes).ok()),
            b'h' | b'j' | b'g' => {
                let index = match instruction {
                    b'h' => rest.number(1)?,
                    b'j' => rest.number(4)?,
                    _ => index(bytes)?,
                };
                (below, top) = (top, memo.get(&index).copied());
            }
            // Memoizes what was pushed last.
            0x94 | b'q' | b'r' | b'p' => {
                let index = match instruction {
                    b'q' => rest.number(1)?,
                    b'r' => rest.number(4)?,
                    b'p' => index(bytes)?,
                    _ => memoized,
                };
                memoized += 1;
                match top {
                    Some(top) => memo.insert(index, top),
                    None => memo.remove(&index),
                };
            }
            0x93 => {
                let (Some(module), Some(name)) = (below, top) else {
                    return Err("it refers to a class by something that is not text".to_owned());
                };
                found.push(Reference { module: module.to_owned(), name: name.to_owned(), identity: None });
                (below, top) = (None, None);
            }
            b'c' | b'i' => {
                found.push(Reference { module: text(bytes), name: text(second), identity: None });
                (below, top) = (None, None);
            }
            b'Q' | b'P' => {
                let id = if instruction == b'P' { Some(text(bytes)) } else { top.map(str::to_owned) };
                let reference = id.as_deref().and_then(Reference::of_persistent_id);
                found.push(reference.ok_or("it has a persistent id of somebody else")?);
                (below, top) = (None, None);
            }
            _ => (below, top) = (None, None),
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pickle: &[u8]) -> Result<Vec<(String, String)>, String> {
        Ok(references(pickle)?.into_iter().map(|one| (one.module, one.name)).collect())
    }

    #[test]
    fn references_are_found_in_every_protocol() {
        // pickle.dumps([decimal.Decimal, decimal.Decimal, datetime.date.today], n)
        let first = b"(lp0\ncdecimal\nDecimal\np1\nag1\nac__builtin__\ngetattr\np2\n(cdatetime\ndate\np3\nVtoday\np4\ntp5\nRp6\na.";
        let fourth = b"\x80\x04\x95T\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x07decimal\x94\x8c\x07Decimal\x94\x93\x94h\x03\
            \x8c\x08builtins\x94\x8c\x07getattr\x94\x93\x94\x8c\x08datetime\x94\x8c\x04date\x94\x93\x94\x8c\x05today\x94\
            \x86\x94R\x94e.";
        let found = |builtins: &str| {
            let all = [(builtins, "getattr"), ("datetime", "date"), ("decimal", "Decimal")];
            Ok(all.map(|(module, name)| (module.to_owned(), name.to_owned())).to_vec())
        };
        assert_eq!(names(first), found("__builtin__"));
        assert_eq!(names(fourth), found("builtins"));
    }

    #[test]
    fn a_module_named_twice_comes_from_the_memo() {
        // Two classes of one module.
        let pickle = b"\x80\x04\x8c\x01m\x94\x8c\x01A\x94\x93\x94h\x00\x8c\x01B\x94\x93\x94\x86\x94.";
        assert_eq!(names(pickle), Ok(vec![("m".into(), "A".into()), ("m".into(), "B".into())]));
    }

    #[test]
    fn text_in_data_is_no_reference() {
        let pickle = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x86\x94.";
        assert_eq!(names(pickle), Ok(vec![]));
    }

    #[test]
    fn what_is_no_pickle_is_refused() {
        for (bytes, reason) in [
            (&b""[..], "it ends in the middle"),
            (b"\x80\x05N", "it ends in the middle"),
            (b"\x80\x05N.N", "something follows its end"),
            (b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "it ends in the middle"),
            (b"\x80\x05\x99.", "it is not a pickle: there is no instruction 0x99"),
            (b"\x80\x05\x97.", "a part of it is in a buffer outside"),
            (b"\x80\x05\x8c\x01x\x94Q.", "it has a persistent id of somebody else"),
            (b"\x80\x05NN\x93.", "it refers to a class by something that is not text"),
        ] {
            assert_eq!(references(bytes), Err(reason.to_owned()));
        }
        assert!(references(b"\x80\x05\x82\x01.").is_err_and(|reason| reason.contains("copyreg")));
    }
}
