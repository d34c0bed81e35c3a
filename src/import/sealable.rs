//! A value that changes until it is sealed.

use std::sync::OnceLock;

use crate::sync::Mutex;

/// Whoever reads gets the value of that moment: what was set last, or what was there when it was sealed.
///
/// The two places have it between them: it leaves `changing` only after it is in `sealed`, and never comes back.
pub(crate) struct Sealable<T> {
    /// `None` once it is sealed.
    changing: Mutex<Option<T>>,
    sealed: OnceLock<T>,
}

impl<T: Clone> Sealable<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { changing: Mutex::new(Some(value)), sealed: OnceLock::new() }
    }

    pub(crate) fn get(&self) -> T {
        if let Some(value) = self.sealed.get() {
            return value.clone();
        }
        if let Some(value) = &*self.changing.lock() {
            return value.clone();
        }
        // Sealed since the look above.
        self.get()
    }

    /// Returns the value before.
    ///
    /// # Errors
    /// `value`, when it is sealed.
    pub(crate) fn set(&self, value: T) -> Result<T, T> {
        match &mut *self.changing.lock() {
            Some(changing) => Ok(std::mem::replace(changing, value)),
            None => Err(value),
        }
    }

    pub(crate) fn seal(&self) {
        let mut changing = self.changing.lock();
        if let Some(value) = changing.as_ref() {
            let _ = self.sealed.set(value.clone());
        }
        let moved = changing.take();
        drop(changing);
        drop(moved);
    }

    /// The value, if it was sealed.
    pub(crate) fn sealed(&self) -> Option<&T> {
        self.sealed.get()
    }
}
