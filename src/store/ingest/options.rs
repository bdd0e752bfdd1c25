//! What an add is told, and what it tells.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::block::{Cid, canonical};
use crate::dag::Profile;
use crate::store::collect::GcObject;
use crate::store::error::StoreError;
use crate::store::read::EntryType;

/// Whether and how an added object is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinAs {
    /// Under its own CID.
    #[default]
    Unnamed,
    /// Under a name; with `replace` a taken name moves to this object.
    Named {
        /// The pin's name.
        name: String,
        /// Whether a name that points elsewhere is moved.
        replace: bool,
    },
    /// Not at all.
    No,
}

/// How [`Store::add_path`](crate::Store::add_path) and its kin work.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct AddOptions {
    /// Chunking, layout and hash, and with them the CID.
    pub profile: Profile,
    /// Whether and how the object is pinned.
    pub pin: PinAs,
    /// Add what symbolic links point to, instead of the links. The path given is always followed.
    pub dereference_symlinks: bool,
    /// Add entries of folders whose names begin with a dot, which the profiles leave out.
    pub hidden: bool,
    /// Globs; an entry whose name, or path below the folder, matches one is left out.
    pub ignore: Vec<String>,
    /// Refuse content that gets another CID than this one, in either version; the store is then as it was.
    pub expected: Option<Cid>,
    /// Leave the bytes of files where they are, and only note in the store where that is: the add writes next to
    /// nothing, and the object is readable for as long as the files stay as they are. They are read and hashed at
    /// each use, and never mapped. Blocks that the store has are taken from there.
    pub reference: bool,
    /// Checked as the add goes; once set, it stops and the store is as it was.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told from time to time how far the add is.
    pub progress: Option<Arc<dyn Fn(AddProgress) + Send + Sync>>,
}

impl AddOptions {
    /// The same with another profile.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The same with another pin.
    #[must_use]
    pub fn with_pin(mut self, pin: PinAs) -> Self {
        self.pin = pin;
        self
    }

    /// The same, pinned under a name that must be free.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.with_pin(PinAs::Named {
            name: name.into(),
            replace: false,
        })
    }

    pub(crate) fn check_expected(&self, name: &str, found: &Cid) -> Result<(), StoreError> {
        match self.expected {
            Some(expected) if canonical(&expected) != canonical(found) => {
                Err(StoreError::OtherCid {
                    name: name.to_owned(),
                    expected: Box::new(expected),
                    found: Box::new(*found),
                })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_cancel(&self) -> Result<(), StoreError> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(StoreError::Cancelled),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for AddOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddOptions")
            .field("profile", &self.profile)
            .field("pin", &self.pin)
            .field("dereference_symlinks", &self.dereference_symlinks)
            .field("hidden", &self.hidden)
            .field("ignore", &self.ignore)
            .field("expected", &self.expected)
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// How far an add is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddProgress {
    /// Content bytes hashed and, where new, written so far.
    pub done_bytes: u64,
    /// All content bytes; unknown for a stream.
    pub total_bytes: Option<u64>,
    /// Of `done_bytes` those that were not in the store before; zero where nothing is stored.
    pub new_bytes: u64,
    /// Of `done_bytes` those that were, or that occurred before in the object; zero where nothing is stored.
    pub shared_bytes: u64,
}

/// Something about an add that the user will want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddNote {
    /// The folder is a snapshot of the Hugging Face cache, so its links were followed.
    FollowedSnapshotLinks {
        /// How many.
        links: u64,
    },
    /// Links were kept as links, and point out of the folder.
    LinksLeaveFolder {
        /// How many.
        links: u64,
        /// One of them.
        example: PathBuf,
    },
    /// Hidden entries were left out, as the profile says.
    SkippedHidden {
        /// How many.
        entries: u64,
        /// One of them.
        example: PathBuf,
    },
    /// Objects that nobody had pinned made way, as the store is not to take more than it may.
    MadeRoom {
        /// How many.
        objects: u64,
        /// One of them.
        example: String,
    },
    /// Safetensors files under a profile that frames leaves in dag-pb, so that they cannot be mapped.
    LoadsByCopying {
        /// How many.
        files: u64,
        /// One of them.
        example: PathBuf,
    },
    /// Objects have bytes on record as damaged, and what was just written may be good ones.
    DamageOnRecord {
        /// How many objects.
        objects: u64,
        /// One of them: its name, or its CID.
        example: String,
    },
}

impl AddNote {
    /// Says what made way, as [`StoreOptions::made_way`](crate::StoreOptions::made_way) was told; none if nothing did.
    pub fn made_room(objects: &[GcObject]) -> Option<Self> {
        let first = objects.first()?;
        let example = match (&first.cid, &*first.name) {
            (_, name) if !name.is_empty() => name.to_owned(),
            (Some(cid), _) => cid.to_string(),
            (None, _) => "single blocks".to_owned(),
        };
        let objects = objects.len() as u64;
        Some(Self::MadeRoom { objects, example })
    }
}

impl fmt::Display for AddNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FollowedSnapshotLinks { links } => {
                write!(
                    f,
                    "a Hugging Face snapshot: {links} {} followed to its blobs",
                    if *links == 1 {
                        "link was"
                    } else {
                        "links were"
                    }
                )
            }
            Self::LinksLeaveFolder { links, example } => write!(
                f,
                "{links} symbolic {} out of the folder ({}) and {}; --dereference-symlinks adds what is \
                 there instead",
                if *links == 1 {
                    "link leads"
                } else {
                    "links lead"
                },
                example.display(),
                if *links == 1 {
                    "is kept as it is"
                } else {
                    "are kept as they are"
                },
            ),
            Self::SkippedHidden { entries, example } => write!(
                f,
                "{entries} hidden {} left out ({}), as the profile says; --hidden adds {}",
                if *entries == 1 {
                    "entry was"
                } else {
                    "entries were"
                },
                example.display(),
                if *entries == 1 { "it" } else { "them" },
            ),
            Self::MadeRoom { objects, example } => write!(
                f,
                "{objects} unpinned {}{example}), as the store may take no more; what is pinned stays",
                match objects {
                    1 => "object made room (",
                    _ => "objects made room (such as ",
                },
            ),
            Self::LoadsByCopying { files, example } => write!(
                f,
                "{files} safetensors {} ({}) will load by copying, as the profile frames leaves in dag-pb; \
                 under one with raw leaves, as unixfs-v1-2025, tensors are mapped",
                if *files == 1 { "file" } else { "files" },
                example.display()
            ),
            Self::DamageOnRecord { objects, example } => write!(
                f,
                "{objects} {} bytes on record as damaged ({example}); `verify --heal` takes good ones where the \
                 store has them now",
                if *objects == 1 {
                    "object has"
                } else {
                    "objects have"
                },
            ),
        }
    }
}

/// An object that has bytes of one that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedWith {
    /// The object.
    pub cid: Cid,
    /// The name of the file or folder when it was first added; empty for a stream.
    pub name: String,
    /// Bytes in the packs that both use.
    pub bytes: u64,
}

/// What an add did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddReport {
    /// The object.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryType,
    /// The name of the file or folder; empty for a stream.
    pub name: String,
    /// Bytes of content.
    pub size: u64,
    /// Content bytes that were not in the store before, and are now.
    pub new_bytes: u64,
    /// Content bytes that were, or that occur again in the object.
    pub shared_bytes: u64,
    /// Content bytes that were not, and stay in the files that were added by reference;
    /// `new_bytes + shared_bytes + referenced_bytes == size`.
    pub referenced_bytes: u64,
    /// The object that has most of the shared bytes, and how many, each place counted once; none where the
    /// object itself was there already, and where no other has any. Looked for among the objects that were
    /// used last.
    pub shared_most_with: Option<SharedWith>,
    /// Blocks of the DAG, each place in it counted.
    pub blocks: u64,
    /// Files in it.
    pub files: u64,
    /// The pin that was set.
    pub pin: Option<String>,
    /// What the user will want to know.
    pub notes: Vec<AddNote>,
    /// Whether the object was there as one of its own, whole.
    pub(crate) was_there: bool,
}
