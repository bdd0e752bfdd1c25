//! What can go wrong when a store is copied from: with one object, or with all of it.

use std::path::PathBuf;

use crate::block::Cid;
use crate::error::Explain;
use crate::store::error::StoreError;

/// An error that ends [`Store::sync_from`](crate::Store::sync_from). What was copied before it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The store cannot be written, or what was asked for is not in the source.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store cannot be copied into itself.
    #[error("{} is the store that is copied to, under another path perhaps", path.display())]
    SameStore {
        /// The source, as it was named.
        path: PathBuf,
    },
    /// The caller asked to stop.
    #[error("cancelled; what was copied before stays: {copied} objects")]
    Cancelled {
        /// Objects that were copied whole.
        copied: u64,
    },
}

/// Why an object of the source was not copied. Nothing of it is in the store; the others are not affected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncObjectError {
    /// A block of the source is damaged.
    #[error(
        "{object}: block {block} is damaged in the source: the bytes are those of {found} ({} at {pack_offset})",
        pack.display()
    )]
    Corrupt {
        /// The object that was to be copied.
        object: Box<Cid>,
        /// The block.
        block: Box<Cid>,
        /// What its bytes are.
        found: Box<Cid>,
        /// The file of the source that they lie in.
        pack: PathBuf,
        /// Where in it they begin.
        pack_offset: u64,
    },
    /// The source does not hold the object as it should.
    #[error("{object} cannot be read from the source: {source}")]
    Unreadable {
        /// The object that was to be copied.
        object: Box<Cid>,
        /// What was found.
        source: Box<StoreError>,
    },
    /// It was removed from the source while others were copied.
    #[error("{object} was removed from the source meanwhile")]
    Removed {
        /// The object that was to be copied.
        object: Box<Cid>,
    },
}

impl Explain for SyncError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Store(e) => e.kind(),
            Self::SameStore { .. } => "same_store",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.hint(),
            Self::SameStore { .. } => Some("name another store; --store names the target".into()),
            Self::Cancelled { .. } => Some("the same command goes on from there".into()),
        }
    }
}

impl Explain for SyncObjectError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "corrupt",
            Self::Unreadable { source, .. } => source.kind(),
            Self::Removed { .. } => "removed",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Corrupt { .. } => {
                Some("copy it from another store, or add it from a good copy".into())
            }
            Self::Unreadable { source, .. } => source.hint(),
            Self::Removed { .. } => None,
        }
    }
}

/// Where copying one object stops: at a fault of that object, or for good.
pub(super) enum Stop {
    Object(SyncObjectError),
    All(SyncError),
}

impl From<SyncObjectError> for Stop {
    fn from(e: SyncObjectError) -> Self {
        Self::Object(e)
    }
}

impl From<SyncError> for Stop {
    fn from(e: SyncError) -> Self {
        Self::All(e)
    }
}

/// An error of the store that is written; those of the source are mapped where it is read.
impl From<StoreError> for Stop {
    fn from(e: StoreError) -> Self {
        Self::All(e.into())
    }
}
