//! What can be a module's source: the bytes of a file that Python reads.

use std::borrow::Cow;

use super::error::StoreError;

/// Checks that Python could read a source: no NUL, and characters of the encoding that it declares (PEP 263; UTF-8 when it
/// declares none).
///
/// # Errors
/// [`StoreError::Source`].
pub(crate) fn check(name: &str, source: &[u8]) -> Result<(), StoreError> {
    let wrong = |reason: String| StoreError::Source { name: name.to_owned(), reason };
    if let Some(position) = source.iter().position(|byte| *byte == 0) {
        return Err(wrong(format!("it has a NUL at byte {position}")));
    }
    if declares_encoding(source) {
        // Whoever compiles it knows all of Python's encodings.
        return Ok(());
    }
    match std::str::from_utf8(source) {
        Ok(_) => Ok(()),
        Err(error) => {
            let line = 1 + source[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let byte = source[error.valid_up_to()];
            Err(wrong(format!(
                "line {line} has the byte {byte:#04x}, which is not UTF-8, and no encoding is declared (PEP 263)"
            )))
        }
    }
}

/// Checks that Python could compile a source, as far as that can be told without Python: sources in other encodings than
/// UTF-8 are taken as they are.
///
/// # Errors
/// [`StoreError::Source`].
pub(crate) fn check_syntax(name: &str, source: &[u8]) -> Result<(), StoreError> {
    check(name, source)?;
    let Ok(text) = std::str::from_utf8(source) else { return Ok(()) };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match ruff_python_parser::parse_module(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let before = &text[..usize::from(error.location.start()).min(text.len())];
            let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
            Err(StoreError::Source { name: name.to_owned(), reason: format!("line {line}: {}", error.error) })
        }
    }
}

/// A source as text. In another encoding than UTF-8, each byte is a character (Latin-1): which names there are and what is
/// imported can be told all the same where these are ASCII.
pub(crate) fn text(source: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(source) {
        Ok(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(_) => Cow::Owned(source.iter().copied().map(char::from).collect()),
    }
}

/// Whether one of the first two lines is a comment that declares an encoding.
fn declares_encoding(source: &[u8]) -> bool {
    let mut lines = source.split(|byte| *byte == b'\n');
    for _ in 0..2 {
        let Some(line) = lines.next() else { return false };
        let text = line.trim_ascii_start();
        let is_comment = text.first() == Some(&b'#');
        if is_comment && text.windows(7).any(|part| matches!(part, b"coding:" | b"coding=")) {
            return true;
        }
        if !is_comment && !text.is_empty() && text != b"\r" {
            return false;
        }
    }
    false
}
