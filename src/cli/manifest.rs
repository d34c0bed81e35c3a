//! `space.toml`: a program described as a tree of spaces.
//!
//! ```toml
//! name = "editor"
//! path = ["src"]              # relative to this file; in front of the parent's sys.path
//! delegation = "child-first"
//! share = ["interfaces"]
//! fresh = ["random"]
//! entry = "app.py"            # or a module: "editor.main"
//!
//! [[space]]                   # child spaces, made before the entry runs
//! name = "plugin"
//! path = ["plugins/one"]
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Delegation, Error, Pattern, Space};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: Option<String>,
    #[serde(default)]
    path: Vec<String>,
    #[serde(default)]
    delegation: Delegation,
    #[serde(default)]
    share: Vec<String>,
    #[serde(default)]
    fresh: Vec<String>,
    entry: Option<String>,
    #[serde(default)]
    space: Vec<Description>,
}

/// A manifest that was read and checked.
pub(super) struct Loaded {
    description: Description,
    directory: PathBuf,
    file: PathBuf,
}

impl Loaded {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`Error::Manifest`] naming the file and the line.
    pub(super) fn read(file: &Path) -> Result<Self, Error> {
        let fail = |message: String| Error::Manifest { path: file.display().to_string(), message };
        let text = std::fs::read_to_string(file).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let description: Description = toml::from_str(&text).map_err(|error| fail(format!("{error}")))?;
        let directory = std::path::absolute(file).map_err(|error| fail(error.to_string()))?;
        let directory = directory.parent().map(Path::to_owned).unwrap_or_default();
        let loaded = Self { description, directory, file: file.to_owned() };
        match loaded.description.entry.as_deref() {
            None => Err(loaded.fail("has no entry; add a line such as entry = \"main.py\"")),
            Some("") => Err(loaded.fail("entry is empty; name a script or a module")),
            Some(entry) if entry.contains('\0') => Err(loaded.fail("entry holds a null character")),
            Some(entry) if entry.ends_with(".py") && !loaded.directory.join(entry).exists() => {
                Err(loaded.fail(format!("entry names {entry:?}, which is not there")))
            }
            Some(_) => Ok(loaded),
        }
    }

    fn fail(&self, message: impl Into<String>) -> Error {
        Error::Manifest { path: self.file.display().to_string(), message: message.into() }
    }

    /// Makes the space and its children under `parent`.
    ///
    /// # Errors
    /// [`Error::Manifest`] for what the manifest says wrongly.
    pub(super) fn create(&self, parent: &Space) -> Result<Space, Error> {
        self.create_one(&self.description, parent)
    }

    fn create_one(&self, description: &Description, parent: &Space) -> Result<Space, Error> {
        let patterns = |texts: &[String]| -> Result<Vec<Pattern>, Error> {
            texts
                .iter()
                .map(|text| Pattern::new(text))
                .collect::<Result<_, _>>()
                .map_err(|error| self.fail(error.to_string()))
        };
        let mut builder = parent
            .child()
            .delegation(description.delegation)
            .share(patterns(&description.share)?)
            .fresh(patterns(&description.fresh)?);
        let fallback = self.directory.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = description.name.clone().or(fallback) {
            builder = builder.name(name);
        }
        for entry in &description.path {
            builder = builder.prepend_path(self.directory.join(entry).to_string_lossy());
        }
        let space = builder.create().map_err(|error| match error {
            Error::Name { .. } => self.fail(error.to_string()),
            other => other,
        })?;
        for child in &description.space {
            if child.entry.is_some() {
                return Err(self.fail("a child space has an entry; only the program itself has one"));
            }
            self.create_one(child, &space)?;
        }
        Ok(space)
    }

    /// The script or module to run.
    pub(super) fn entry(&self) -> Entry {
        let entry = self.description.entry.clone().unwrap_or_default();
        let file = self.directory.join(&entry);
        if file.exists() { Entry::Path(file) } else { Entry::Module(entry) }
    }
}

/// What a manifest's `entry` means.
pub(super) enum Entry {
    Path(PathBuf),
    Module(String),
}
