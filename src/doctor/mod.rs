//! Whether a store and the machine under it are as they should be, and what to do where they are not.

mod contents;
mod file_system;
mod machine;
mod scratch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Explain;
use crate::store::{ReaderOptions, Survey};

/// How a look goes about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExamineOptions {
    /// How the store is opened for reading.
    pub reader: ReaderOptions,
    /// The most that its packs are to take on disk.
    pub max_bytes: Option<u64>,
}

/// How something is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Health {
    /// As it should be.
    Ok,
    /// Worth knowing; everything works.
    Note,
    /// Something does not work, or soon will not.
    Problem,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthCheck {
    /// What it is, in snake case; stays the same from release to release.
    pub name: &'static str,
    /// How it is.
    pub status: Health,
    /// What was found, for people.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The numbers in it, in bytes where the name says so.
    pub figures: BTreeMap<&'static str, u64>,
}

/// What [`examine`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Examination {
    /// The store's folder.
    pub store: PathBuf,
    /// The folder whose file system was looked at: the store's, or the nearest one above it that exists.
    pub looked_at: PathBuf,
    /// Everything that was looked at: of the store, of its file system, of the machine.
    pub checks: Vec<HealthCheck>,
}

impl Examination {
    /// Of how many checks that is the outcome.
    pub fn count(&self, status: Health) -> usize {
        let with = self.checks.iter().filter(|check| check.status == status);
        with.count()
    }
}

/// Looks at the store at a path, at its file system and at this machine. Roots, names, and headers and tables of
/// packs are read; content is not.
///
/// Works where there is no store yet, and beside a writer: it takes no lock of the store's but, for a moment, the
/// shared one that tells whether there is a writer. What it can only find out by doing is done in a scratch file
/// in the store's `tmp/` (without a store in the nearest folder above), which is removed again; nothing else is
/// written. What it cannot look at is a finding, so that there is no error.
///
/// ```
/// use ipfs_accelerate::{ExamineOptions, Health, Store, examine};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store");
/// let store = Store::create(&path)?;
/// let examined = examine(&path, &ExamineOptions::default());
/// assert_eq!(examined.count(Health::Problem), 0, "{examined:?}");
/// let writer = examined.checks.iter().find(|check| check.name == "writer").unwrap();
/// assert!(writer.found.contains(&format!("process {}", std::process::id())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn examine(path: impl AsRef<Path>, options: &ExamineOptions) -> Examination {
    let path = path.as_ref();
    let store = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let survey = Survey::of(&store, &options.reader);
    let looked_at = nearest_folder(&store);
    let mut checks = contents::checks(&survey, options.max_bytes);
    checks.extend(file_system::checks(&survey, &looked_at));
    checks.extend(scratch::checks(&survey, &looked_at));
    checks.extend(machine::checks(&survey));
    Examination {
        store,
        looked_at,
        checks,
    }
}

/// The folder itself, or the nearest one above it that there is.
fn nearest_folder(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| path.is_dir());
    found.unwrap_or(Path::new("/")).to_path_buf()
}

impl HealthCheck {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            status: Health::Ok,
            found: found.into(),
            advice: None,
            figures: BTreeMap::new(),
        }
    }

    fn note(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Health::Note,
            advice: Some(advice.into()),
            ..Self::ok(name, found)
        }
    }

    fn problem(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Health::Problem,
            advice: Some(advice.into()),
            ..Self::ok(name, found)
        }
    }

    /// What an error says, and its hint.
    fn error(name: &'static str, error: &impl Explain) -> Self {
        Self {
            status: Health::Problem,
            advice: error.hint(),
            ..Self::ok(name, error.to_string())
        }
    }

    fn with_figures(mut self, figures: &[(&'static str, u64)]) -> Self {
        self.figures.extend(figures.iter().copied());
        self
    }
}
