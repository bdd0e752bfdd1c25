//! What a check is told, and what it tells.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::block::Cid;
use crate::dag::Profile;
use crate::store::ingest::{AddNote, AddOptions, AddProgress};
use crate::store::read::{EntryType, Object};

/// How [`check_path`](crate::check_path) and [`check_reader`](crate::check_reader) work.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The profiles to try; with none, [`Profile::candidates`] for the CID's hash function.
    pub profiles: Vec<Profile>,
    /// What a store has under the CID. Its profile is tried first, and on no match the report says what
    /// differs from it.
    pub stored: Option<Object>,
    /// As in [`AddOptions`](crate::AddOptions::dereference_symlinks).
    pub dereference_symlinks: bool,
    /// As in [`AddOptions`](crate::AddOptions::hidden).
    pub hidden: bool,
    /// As in [`AddOptions`](crate::AddOptions::ignore).
    pub ignore: Vec<String>,
    /// Checked as the reading goes; once set, it stops.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told from time to time how far the reading is.
    pub progress: Option<Arc<dyn Fn(AddProgress) + Send + Sync>>,
}

impl CheckOptions {
    /// The same with other profiles.
    #[must_use]
    pub fn with_profiles(mut self, profiles: Vec<Profile>) -> Self {
        self.profiles = profiles;
        self
    }

    /// The same, compared with what a store has.
    #[must_use]
    pub fn with_stored(mut self, stored: Object) -> Self {
        self.stored = Some(stored);
        self
    }

    /// How an add of the same content would read it.
    pub(super) fn reading(&self) -> AddOptions {
        AddOptions {
            dereference_symlinks: self.dereference_symlinks,
            hidden: self.hidden,
            ignore: self.ignore.clone(),
            cancel: self.cancel.clone(),
            progress: self.progress.clone(),
            ..AddOptions::default()
        }
    }
}

impl fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions")
            .field("profiles", &self.profiles)
            .field("stored", &self.stored)
            .field("dereference_symlinks", &self.dereference_symlinks)
            .field("hidden", &self.hidden)
            .field("ignore", &self.ignore)
            .finish_non_exhaustive()
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The CID that was asked for.
    pub cid: Cid,
    /// The profile under which the content has it; none on no match. Of several, one that gives the CID in
    /// the version asked for, and then the first.
    pub profile: Option<Profile>,
    /// What the content is under each profile that was tried, in their order.
    pub computed: Vec<ComputedCid>,
    /// What the content is.
    pub kind: EntryType,
    /// The name of the file or folder; empty for a stream.
    pub name: String,
    /// Bytes of content.
    pub size: u64,
    /// Files in it.
    pub files: u64,
    /// On no match, where it differs from [`CheckOptions::stored`], in the order of the paths; none without
    /// that. Empty if all content is the same, and only the profile is another.
    pub differences: Option<Vec<Difference>>,
    /// What the user will want to know.
    pub notes: Vec<AddNote>,
}

impl CheckReport {
    /// Whether the content has the CID.
    pub fn is_match(&self) -> bool {
        self.profile.is_some()
    }
}

/// What content is under one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComputedCid {
    /// The profile.
    pub profile: Profile,
    /// The CID, in the version of the profile.
    pub cid: Cid,
}

/// A path at which content differs from what a store has. A folder that one side lacks is named by the files,
/// links and empty folders in it; where the two sides are of different kinds, what is below is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Below the top, components joined by `/`; empty for the top itself.
    pub path: String,
    /// What the store has there; none if the content has something extra.
    pub stored: Option<EntrySummary>,
    /// What the content has there; none if it lacks something.
    pub found: Option<EntrySummary>,
    /// The first byte that differs, where it is known: of a file that was checked by itself.
    pub offset: Option<u64>,
}

impl Difference {
    /// `lacks`, `extra`, `kind` where one side has something of another kind, or `differs`.
    pub fn name(&self) -> &'static str {
        match (&self.stored, &self.found) {
            (_, None) => "lacks",
            (None, Some(_)) => "extra",
            (Some(stored), Some(found)) if stored.kind != found.kind => "kind",
            (Some(_), Some(_)) => "differs",
        }
    }
}

/// What stands at a path on one side of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntrySummary {
    /// What it is.
    pub kind: EntryType,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Where a symbolic link points.
    pub target: Option<String>,
}
