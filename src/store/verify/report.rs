//! What a verification is told, and what it tells.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::block::Cid;
use crate::store::pack::Place;
use crate::store::target::Target;

/// How [`Store::verify`](crate::Store::verify) works.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// What to verify; everything in the store if there are none.
    pub targets: Vec<Target>,
    /// Read only this share of the blocks, from 0 to 1, chosen at random. The structure is checked whole.
    pub sample: Option<f64>,
    /// Threads that read and hash; zero is one a core.
    pub threads: usize,
    /// Checked as it goes; once set, the verification ends with what it has found.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told from time to time how far it is.
    pub progress: Option<Arc<dyn Fn(VerifyProgress) + Send + Sync>>,
}

impl VerifyOptions {
    /// Only these targets.
    #[must_use]
    pub fn with_targets(mut self, targets: impl IntoIterator<Item = Target>) -> Self {
        self.targets = targets.into_iter().collect();
        self
    }

    /// Only this share of the blocks, from 0 to 1.
    #[must_use]
    pub fn with_sample(mut self, share: f64) -> Self {
        self.sample = Some(share);
        self
    }

    pub(super) fn is_cancelled(&self) -> bool {
        let flag = self.cancel.as_ref();
        flag.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for VerifyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("targets", &self.targets)
            .field("sample", &self.sample)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Bytes of packs that were read so far.
    pub done_bytes: u64,
    /// Bytes that will be, to within the gaps between blocks.
    pub total_bytes: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A block's bytes are not those that its CID names.
    CorruptBlock,
    /// The disk does not give a block's bytes.
    UnreadableBlock,
    /// A block lies in a pack that is missing or that cannot be opened, or a root places it where the table of its pack
    /// has none, or where a collection gave the bytes back.
    MissingBlock,
    /// A pack's header or table is damaged, or the pack is missing.
    Pack,
    /// A root cannot be read.
    Root,
    /// A name cannot be read, or its object has no root.
    Name,
    /// A root says something else than the blocks that it places.
    Structure,
    /// No root names a pack: those that did are lost.
    UnrootedPack,
}

impl FindingKind {
    /// `corrupt_block`, `unreadable_block`, `missing_block`, `pack`, `root`, `name`, `structure` or `unrooted_pack`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CorruptBlock => "corrupt_block",
            Self::UnreadableBlock => "unreadable_block",
            Self::MissingBlock => "missing_block",
            Self::Pack => "pack",
            Self::Root => "root",
            Self::Name => "name",
            Self::Structure => "structure",
            Self::UnrootedPack => "unrooted_pack",
        }
    }

    /// Whether one block is concerned, which good bytes would heal.
    pub fn is_block(self) -> bool {
        matches!(
            self,
            Self::CorruptBlock | Self::UnreadableBlock | Self::MissingBlock
        )
    }
}

/// A file or folder that a finding concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Affected {
    /// The published object.
    pub object: Cid,
    /// The name of the file or folder when it was first added.
    pub name: String,
    /// The path below the object; empty for the object itself.
    pub path: String,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// What it concerns; nothing for blocks that were put one by one, and for packs that no object needs.
    pub affected: Vec<Affected>,
    /// The block, if it is one.
    pub block: Option<Cid>,
    /// The file of the store: a pack, a root or a name.
    pub file: PathBuf,
    /// Where in it the bytes begin.
    pub offset: Option<u64>,
    /// How many they are.
    pub len: Option<u64>,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    pub(crate) place: Option<Place>,
}

/// A block that was recorded as damaged and reads well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClearedBlock {
    /// The block.
    pub block: Cid,
    /// The pack that it lies in.
    pub file: PathBuf,
    /// Where in it the bytes begin.
    pub offset: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Blocks that were read and hashed, each place once.
    pub blocks: u64,
    /// How many there are of what was to be verified.
    pub of_blocks: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// Objects whose blocks were followed from their CID down.
    pub objects: u64,
    /// Packs that were opened.
    pub packs: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was recorded as damaged and reads well; such a record is cleared.
    pub cleared: Vec<ClearedBlock>,
    /// Damaged blocks that nothing needs. They are recorded too, and a collection takes them.
    pub unused_damaged: u64,
    /// Whether damaged blocks were recorded, so that every reader refuses them; only the writer can.
    pub is_recorded: bool,
    /// It went through to the end. Otherwise it was told to stop, and what it found by then is here.
    pub is_complete: bool,
}
