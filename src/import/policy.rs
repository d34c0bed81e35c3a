//! Who is asked for a module: the space's own finders, or its parent.

use std::{collections::BTreeMap, str::FromStr, sync::LazyLock};

use serde::Deserialize;

use crate::error::Error;

/// Which of {own finders, parent} is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delegation {
    /// What the space can find itself is its own, the rest comes from the parent.
    #[default]
    ChildFirst,
    /// The parent is asked first, as Java's class loaders do (JVMS §5.3, "parent delegation").
    ParentFirst,
    /// The parent is never asked.
    Isolated,
}

impl Delegation {
    /// The name used in Python, in `space.toml` and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChildFirst => "child-first",
            Self::ParentFirst => "parent-first",
            Self::Isolated => "isolated",
        }
    }
}

impl FromStr for Delegation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::ChildFirst, Self::ParentFirst, Self::Isolated]
            .into_iter()
            .find(|delegation| delegation.as_str() == text)
            .ok_or_else(|| Error::Delegation { value: text.to_owned() })
    }
}

/// A name pattern of `share` or `fresh`: `"typing"`, `"collections.*"`, `"*"`.
///
/// `*` stands for any run of characters, dots included. A pattern that matches a package matches its submodules, which
/// could not sensibly come from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks `text` as a pattern.
    ///
    /// # Errors
    /// [`Error::Pattern`] when it is empty or holds anything but identifier characters, dots and `*`.
    pub fn new(text: &str) -> Result<Self, Error> {
        let valid = |c: char| c == '*' || c == '.' || c == '_' || c.is_alphanumeric();
        if text.is_empty() || text.starts_with('.') || text.ends_with('.') || !text.chars().all(valid) {
            return Err(Error::Pattern { value: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    fn matches(&self, name: &str) -> bool {
        glob(self.0.as_bytes(), name.as_bytes())
            || name.match_indices('.').any(|(dot, _)| glob(self.0.as_bytes(), &name.as_bytes()[..dot]))
    }

    /// How exact the pattern is: the number of characters that are not `*`.
    fn weight(&self) -> usize {
        self.0.bytes().filter(|&byte| byte != b'*').count()
    }
}

/// Whether `pattern`, in which `*` is any run of bytes, matches all of `text`. Takes at most the product of their
/// lengths: only the last `*` met is ever tried again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (p, t) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// What a space's configuration says about one module name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Own finders only.
    Own,
    /// Own finders, then the parent.
    OwnThenParent,
    /// The parent, then own finders.
    ParentThenOwn,
    /// The parent only.
    Parent,
}

/// The configuration of a space's imports; it survives a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) delegation: Delegation,
    pub(crate) share: Vec<Pattern>,
    pub(crate) fresh: Vec<Pattern>,
    /// False for a space made with `path=[]`: it finds nothing itself, not even the frozen standard library.
    pub(crate) own_library: bool,
}

/// Modules that are the space's import system itself; they never come from a parent.
const IMPORT_SYSTEM: [&str; 9] = [
    "sys",
    "builtins",
    "importlib",
    "_frozen_importlib",
    "_frozen_importlib_external",
    "_imp",
    "zipimport",
    "modspace",
    "__main__",
];

/// Whether `name` belongs to the import system of its space.
pub(crate) fn is_import_system(name: &str) -> bool {
    IMPORT_SYSTEM.contains(&name.split('.').next().unwrap_or(name))
}

impl Policy {
    fn weight(patterns: &[Pattern], name: &str) -> Option<usize> {
        patterns.iter().filter(|pattern| pattern.matches(name)).map(Pattern::weight).max()
    }

    /// Whether the space takes its parent's very module object. The more exact of two matching patterns wins, and
    /// `share` when they are equally exact.
    fn is_shared(&self, name: &str) -> bool {
        Self::weight(&self.share, name) >= Self::weight(&self.fresh, name) && Self::weight(&self.share, name).is_some()
    }

    /// Whether the space loads an own copy even of a platform module.
    pub(crate) fn is_fresh(&self, name: &str) -> bool {
        Self::weight(&self.fresh, name).is_some() && !self.is_shared(name)
    }

    pub(crate) fn order(&self, name: &str) -> Order {
        if is_import_system(name) {
            Order::Own
        } else if self.is_shared(name) {
            Order::Parent
        } else if self.delegation == Delegation::Isolated {
            Order::Own
        } else if self.delegation == Delegation::ParentFirst && !self.is_fresh(name) {
            Order::ParentThenOwn
        } else {
            Order::OwnThenParent
        }
    }
}

/// What is done with a module-level value that functions of the module share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// The space has its own state; native code finds it through the lexical space.
    Emulated,
    /// The space has its own module dict over shared functions and types.
    Projected,
    /// Each space gets a copy of the value.
    Copied,
    /// A function that the module calls and that programs assign; the space's own is called.
    Hook,
    /// One object for the whole process.
    Shared,
    /// A space gets an error.
    Refused,
}

/// An attribute of a native or platform module whose value is mutable.
#[derive(Clone, Debug, Deserialize)]
pub struct Attribute {
    /// What is done with it.
    pub treatment: Treatment,
    /// What that means to a program.
    #[serde(default)]
    pub note: String,
}

/// A row of the table of native modules.
#[derive(Clone, Debug, Deserialize)]
pub struct NativeModule {
    /// What is done with the module as a whole.
    pub treatment: Treatment,
    /// Which process-wide state it has; empty for none.
    #[serde(default)]
    pub state: String,
    /// What happens instead of isolation.
    #[serde(default)]
    pub note: String,
    /// Its mutable attributes.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attribute>,
}

/// A row of the table of platform modules.
#[derive(Clone, Debug, Deserialize)]
pub struct PlatformModule {
    /// `types`, `process` or `closure`.
    pub reason: String,
    /// The reason in a sentence.
    pub why: String,
    /// What it imports when it is loaded; all of it native or platform.
    #[serde(default)]
    pub imports: Vec<String>,
    /// The module that stands under this name in `sys.modules` (`os.path` is `posixpath`).
    #[serde(default)]
    pub alias: Option<String>,
    /// Its mutable attributes.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
struct Table<Row> {
    modules: BTreeMap<String, Row>,
}

static NATIVE: LazyLock<BTreeMap<String, NativeModule>> =
    LazyLock::new(|| parse("native.toml", include_str!("../../spaces/policies/native.toml")));

static PLATFORM: LazyLock<BTreeMap<String, PlatformModule>> =
    LazyLock::new(|| parse("platform.toml", include_str!("../../spaces/policies/platform.toml")));

fn parse<Row: for<'row> Deserialize<'row>>(file: &str, text: &str) -> BTreeMap<String, Row> {
    // The tables are part of the program; a test parses them.
    toml::from_str::<Table<Row>>(text).unwrap_or_else(|error| panic!("spaces/policies/{file}: {error}")).modules
}

/// The table of native modules, by name.
#[must_use]
pub fn native_modules() -> &'static BTreeMap<String, NativeModule> {
    &NATIVE
}

/// The table of platform modules, by name.
#[must_use]
pub fn platform_modules() -> &'static BTreeMap<String, PlatformModule> {
    &PLATFORM
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(delegation: Delegation, share: &[&str], fresh: &[&str]) -> Policy {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text).unwrap()).collect();
        Policy { delegation, share: patterns(share), fresh: patterns(fresh), own_library: true }
    }

    #[test]
    fn a_pattern_covers_a_package_and_its_submodules() {
        let pattern = Pattern::new("collections").unwrap();
        assert!(pattern.matches("collections") && pattern.matches("collections.abc"));
        assert!(!pattern.matches("collections_extra"));
        assert!(Pattern::new("collections.*").unwrap().matches("collections.abc"));
        assert!(!Pattern::new("collections.*").unwrap().matches("collections"));
        assert!(Pattern::new("*").unwrap().matches("anything.at.all"));
        assert!(
            Pattern::new("a*b*c").unwrap().matches("axxbxxbc") && !Pattern::new("a*b*c").unwrap().matches("axxbxx")
        );
    }

    #[test]
    fn the_more_exact_pattern_wins() {
        let policy = policy(Delegation::ChildFirst, &["interfaces"], &["*"]);
        assert_eq!(policy.order("interfaces.shapes"), Order::Parent);
        assert!(policy.is_fresh("typing") && !policy.is_fresh("interfaces"));
    }

    #[test]
    fn the_import_system_never_comes_from_a_parent() {
        let policy = policy(Delegation::ParentFirst, &["*"], &[]);
        assert_eq!(policy.order("importlib.util"), Order::Own);
        assert_eq!(policy.order("json"), Order::Parent);
    }

    #[test]
    fn patterns_that_cannot_match_a_name_are_refused() {
        for text in ["", ".", "a.", "a b", "a\0"] {
            assert!(Pattern::new(text).is_err(), "{text:?}");
        }
    }
}
