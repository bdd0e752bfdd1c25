//! What a repair finds, and what it does about it.

use std::path::{Path, PathBuf};

use crate::block::Cid;
use crate::store::error::{NOT_A_FILE, StoreError};

/// What is wrong with a file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Defect {
    /// A folder of the store is not there.
    FolderMissing,
    /// `FORMAT`, which says what store this is, is missing or damaged.
    Format,
    /// `gone`, which says what is dead or damaged, is missing, damaged or another store's.
    Gone,
    /// The index is missing, damaged, or says something else than the packs.
    Index,
    /// Objects need a pack that is not there.
    PackMissing,
    /// A pack stands under the name of another one.
    PackName,
    /// A pack is shorter or longer than its header says.
    PackLength,
    /// The header of a pack is damaged.
    PackHeader,
    /// The table of a pack is damaged.
    PackTable,
    /// The list of the files that the blocks of a reference pack lie in is damaged.
    PackSources,
    /// A pack is damaged that is a symbolic link to a file elsewhere.
    PackLink,
    /// Blocks are not those of their CIDs.
    Blocks,
    /// An object that a name or a pack speaks of has no root.
    RootMissing,
    /// The root of an object is damaged.
    RootDamaged,
    /// The root of an object places blocks where they are not, or not any more.
    RootPlaces,
    /// Every file in `roots/` is lost.
    RootsLost,
    /// The root of single blocks or of an import that was cut off is damaged.
    LooseRoot,
    /// The root of a removed object is damaged.
    RetiredRoot,
    /// A name is damaged.
    Name,
    /// The disk refuses to be read where the file lies.
    Unreadable,
    /// A file is another store's, or no file of a store at all.
    Foreign,
}

impl Defect {
    /// As it stands in the command line's JSON, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::FolderMissing => "folder_missing",
            Self::Format => "format",
            Self::Gone => "gone",
            Self::Index => "index",
            Self::PackMissing => "pack_missing",
            Self::PackName => "pack_name",
            Self::PackLength => "pack_length",
            Self::PackHeader => "pack_header",
            Self::PackTable => "pack_table",
            Self::PackSources => "pack_sources",
            Self::PackLink => "pack_link",
            Self::Blocks => "blocks",
            Self::RootMissing => "root_missing",
            Self::RootDamaged => "root_damaged",
            Self::RootPlaces => "root_places",
            Self::RootsLost => "roots_lost",
            Self::LooseRoot => "loose_root",
            Self::RetiredRoot => "retired_root",
            Self::Name => "name",
            Self::Unreadable => "unreadable",
            Self::Foreign => "foreign",
        }
    }
}

/// What a repair does about a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// Makes the file or folder anew.
    Made,
    /// Writes the header or table of a pack anew.
    Rebuilt,
    /// Gives a pack the name that its header states.
    Renamed,
    /// Takes away what follows the end of a pack.
    Cut,
    /// Puts the root together from the object's blocks, or the name from what it is called.
    Restored,
    /// Records the bytes as damaged, so that nobody reads them.
    Recorded,
    /// Covers the blocks with a root of its own, for the grace time of a collection.
    Covered,
    /// Removes the file.
    Removed,
    /// Nothing: it needs somebody else's hand.
    Left,
}

impl Remedy {
    /// As it stands in the command line's JSON, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Rebuilt => "rebuilt",
            Self::Renamed => "renamed",
            Self::Cut => "cut",
            Self::Restored => "restored",
            Self::Recorded => "recorded",
            Self::Covered => "covered",
            Self::Removed => "removed",
            Self::Left => "left",
        }
    }
}

/// An object that a finding concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairObject {
    /// The object.
    pub cid: Cid,
    /// The name of the file or folder when it was first added; empty if nothing says it.
    pub name: String,
    /// The names that it is pinned under.
    pub pins: Vec<String>,
}

/// Something that is wrong, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairFinding {
    /// What kind of defect it is.
    pub defect: Defect,
    /// The file or folder, which may be missing.
    pub path: PathBuf,
    /// Which part of it.
    pub what: &'static str,
    /// What stands there in a good store.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What a repair does about it.
    pub remedy: Remedy,
    /// The objects that it concerns, in the order of their CIDs.
    pub objects: Vec<RepairObject>,
    /// Blocks of theirs that are not here, or not good.
    pub lacking: Vec<Cid>,
    /// What is left to do, where something is.
    pub advice: Option<&'static str>,
}

impl RepairFinding {
    pub(super) fn new(
        defect: Defect,
        path: &Path,
        (what, expected, found): (&'static str, String, String),
        remedy: Remedy,
    ) -> Self {
        Self {
            defect,
            path: path.to_path_buf(),
            what,
            expected,
            found,
            remedy,
            objects: Vec::new(),
            lacking: Vec::new(),
            advice: None,
        }
    }

    /// A finding that says what an error says of a file.
    pub(super) fn of_error(
        defect: Defect,
        path: &Path,
        error: &StoreError,
        remedy: Remedy,
    ) -> Self {
        let said = match error {
            StoreError::Damaged {
                what,
                expected,
                found,
                ..
            } => (*what, expected.clone(), found.clone()),
            StoreError::NewerFormat {
                found, supported, ..
            } => ("version", format!("up to {supported}"), found.to_string()),
            other => ("file", "one that can be read".to_owned(), other.to_string()),
        };
        Self::new(defect, path, said, remedy)
    }

    pub(super) fn with_objects(mut self, mut objects: Vec<RepairObject>) -> Self {
        objects.sort_by_cached_key(|object| object.cid.to_string());
        self.objects = objects;
        self
    }

    pub(super) fn advised(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }

    /// Whether the defect is still there after a repair.
    pub fn is_left(&self) -> bool {
        self.remedy == Remedy::Left
    }
}

/// Whether a folder stands in a file's place: no file can be renamed over it, and nothing of ours made it.
pub(super) fn is_folder(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { what: NOT_A_FILE, found, .. } if found == "a folder")
}

/// What is done about such a folder.
pub(super) const IN_THE_WAY: &str = "it is left alone: move it out of the store, then `repair`";

/// Said of a file that the checksums in it mend.
pub(super) const ONE_BYTE: &str = "; one byte of it was changed, and is put back";
