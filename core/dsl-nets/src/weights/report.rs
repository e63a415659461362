//! What became of each key and each parameter when a file was loaded.

use std::fmt;

/// A parameter that the file does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKey {
    /// The key that was looked for.
    pub key: String,
    /// A key of the file that nothing asked for and that is spelt almost the same.
    pub did_you_mean: Option<String>,
}

/// A parameter whose shape in the file is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The key.
    pub key: String,
    /// The network's shape, as a file would hold it.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

/// The outcome of loading a weight file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys whose values the network now has.
    pub applied: Vec<String>,
    /// Parameters that kept their values, because the file has none for them.
    pub missing: Vec<MissingKey>,
    /// Keys of the file that the network has no parameter for.
    pub unused: Vec<String>,
    /// Parameters that kept their values, because the file's have another shape.
    pub mismatched: Vec<ShapeMismatch>,
}

impl LoadReport {
    /// Whether every parameter was found; keys left over do not matter.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty()
    }
}

/// How many entries of a list are spelt out before "and n more".
const SHOWN: usize = 5;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} applied", self.applied.len())?;
        list(f, "missing", &self.missing, |missing| {
            match &missing.did_you_mean {
                Some(near) => format!("`{}` (the file has `{near}`)", missing.key),
                None => format!("`{}`", missing.key),
            }
        })?;
        list(f, "of another shape", &self.mismatched, |m| {
            format!(
                "`{}` (expected {:?}, found {:?})",
                m.key, m.expected, m.found
            )
        })?;
        list(f, "unused", &self.unused, |key| format!("`{key}`"))
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    items: &[T],
    show: impl Fn(&T) -> String,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = items.iter().take(SHOWN).map(show).collect();
    write!(f, "; {} {what}: {}", items.len(), shown.join(", "))?;
    match items.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
