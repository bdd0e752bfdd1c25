//! What listings and `stat` say.

use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::names::Pin;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EntryType {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// One block, kept by a direct pin.
    Block,
}

impl EntryType {
    /// `file`, `folder`, `symlink` or `block`.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Symlink => "symlink",
            Self::Block => "block",
        }
    }
}

/// One path of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Below what was listed, components joined by `/`.
    pub path: String,
    /// Its CID.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content; for a folder, of all files below it.
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Option<String>,
}

/// What could be listed of a store, and the files of it that could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing<T> {
    /// Objects in the order of their CIDs, or pins in that of their names.
    pub entries: Vec<T>,
    /// A [`StoreError::Damaged`] for each root and each name that cannot be read. Whatever a damaged name keeps is
    /// not told by it, so an object without pins here may be pinned.
    pub damaged: Vec<StoreError>,
}

/// One published object, as a listing of the store shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The object.
    pub cid: Cid,
    /// The name of the file or folder when it was first added.
    pub name: String,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// The profile it was added under.
    pub profile: String,
    /// When it was first added, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last used, in milliseconds since 1970, to the hour.
    pub last_used_ms: u64,
    /// Its pins.
    pub pins: Vec<Pin>,
    /// Bytes of its blocks that are recorded as damaged, and are refused.
    pub damaged_bytes: u64,
}

/// What `stat` says of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStat {
    /// The CID.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// Blocks of its DAG, each place in it counted.
    pub blocks: u64,
    /// `raw` or `dag-pb`.
    pub codec: &'static str,
    /// The hash function's name.
    pub hash: &'static str,
    /// The names of the pins that keep it: its own, and those of the objects that hold it.
    pub pinned_by: Vec<String>,
    /// The published object it was found in.
    pub object: Cid,
    /// The profile that object was added under.
    pub profile: String,
    /// In how many pieces its bytes lie; one is a file that maps whole.
    pub extents: u64,
    /// Bytes of it that are recorded as damaged, and are refused.
    pub damaged_bytes: u64,
    /// Bytes of its content that lie in files outside the store, which were added by reference.
    pub referenced_bytes: u64,
}
