//! What a healing is told, and what it tells.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::block::Cid;
use crate::store::ingest::AddProgress;
use crate::store::verify::Finding;

/// How [`Store::heal`](crate::Store::heal) works.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HealOptions {
    /// Checked as it goes; once set, it stops. What was healed by then stays so.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told how far the reading of files is that may hold what is wanted.
    pub progress: Option<Arc<dyn Fn(AddProgress) + Send + Sync>>,
}

impl fmt::Debug for HealOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealOptions").finish_non_exhaustive()
    }
}

/// Where a block's good bytes came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealedBy {
    /// The store has them at another place too.
    Stored,
    /// They follow from blocks that are whole: a node from what is below it.
    Rebuilt,
    /// Another store.
    Store(PathBuf),
    /// A file, or for a node the file or folder that it follows from.
    File(PathBuf),
}

impl HealedBy {
    /// `stored`, `rebuilt`, `store` or `file`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Rebuilt => "rebuilt",
            Self::Store(_) => "store",
            Self::File(_) => "file",
        }
    }
}

/// A block that has good bytes again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealedBlock {
    /// The block.
    pub block: Cid,
    /// Where they came from.
    pub by: HealedBy,
    /// What was wrong: whose the block is, and where the bytes are that are not used any more.
    pub finding: Finding,
}

/// What a healing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealReport {
    /// What is whole again. The damaged bytes go at the next collection.
    pub healed: Vec<HealedBlock>,
    /// What is wrong still: blocks that nobody had good bytes for, and what is no block.
    pub remaining: Vec<Finding>,
    /// Bytes that were written.
    pub new_bytes: u64,
    /// Roots that were rewritten.
    pub roots: u64,
}
