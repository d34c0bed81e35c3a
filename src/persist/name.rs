//! Names of modules and branches.

use unicode_ident::{is_xid_continue, is_xid_start};
use unicode_normalization::is_nfkc;

use super::error::StoreError;

/// The name under which a package has its code.
pub(crate) const INIT: &str = "__init__";

/// The longest part of a name, in bytes: with ".py" it is a file name everywhere.
const MAX_PART: usize = 250;

/// The longest name, in bytes.
const MAX_NAME: usize = 1000;

/// The parts of a module's name.
///
/// # Errors
/// [`StoreError::Name`], for what no import statement can name.
pub(crate) fn parts(name: &str) -> Result<Vec<&str>, StoreError> {
    let wrong = |reason: String| StoreError::Name { name: name.chars().take(80).collect(), reason };
    if name.len() > MAX_NAME {
        return Err(wrong(format!("it is longer than {MAX_NAME} bytes")));
    }
    let parts: Vec<_> = name.split('.').collect();
    for (index, part) in parts.iter().enumerate() {
        let mut characters = part.chars();
        match characters.next() {
            None if name.is_empty() => return Err(wrong("it is empty".to_owned())),
            None => return Err(wrong("a part of it is empty".to_owned())),
            Some(first) if first != '_' && !is_xid_start(first) => {
                return Err(wrong(format!("{part:?} is not an identifier")));
            }
            Some(_) if !characters.all(is_xid_continue) => {
                return Err(wrong(format!("{part:?} is not an identifier")));
            }
            Some(_) => {}
        }
        if !is_nfkc(part) {
            return Err(wrong(format!("import statements write {part:?} in its NFKC form, and would not find it")));
        }
        if part.len() > MAX_PART {
            return Err(wrong(format!("a part of it is longer than {MAX_PART} bytes")));
        }
        if *part == INIT && (index == 0 || index + 1 < parts.len()) {
            return Err(wrong(format!("{INIT} is the code of a package, and stands at the end")));
        }
    }
    Ok(parts)
}

/// Whether it can name a branch: parts with "/" between them, as in git, of characters that files and keys can have.
///
/// # Errors
/// [`StoreError::Branch`].
pub(crate) fn check_branch(name: &str) -> Result<(), StoreError> {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '-' | '.' | '_'))
    };
    if name.len() <= 200 && name.split('/').all(is_part) {
        Ok(())
    } else {
        Err(StoreError::Branch { name: name.chars().take(80).collect() })
    }
}
