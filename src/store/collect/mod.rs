//! Collection: what nothing covers is found and its space given back, while adds, reads and loads go on.
//!
//! A plan says which objects go and why; applying it retires their roots, takes what is covered by none but the
//! retired roots that nobody holds, and unlinks those last. Packs that no root names are left alone: their roots are
//! lost. Nothing of the payload is read.

mod apply;
mod census;
mod choice;
mod free;
mod holders;
mod outlook;
mod packs;
mod plan;
mod reckoning;
mod retire;
mod roots;
mod space;
mod sweep;
#[cfg(test)]
mod tests;
mod unrooted;

pub(crate) use apply::collect;
pub(crate) use packs::used_bytes;
pub(crate) use plan::{plan, plan_room, plan_writing};
pub use space::{ObjectSpace, RemovalSpace, SpaceReport};
pub(crate) use space::{removal, space};
pub(crate) use sweep::{PackShape, sweep};
pub(crate) use unrooted::{keep_lost, settled, unrooted_packs, warn_of_lost};

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::block::Cid;

/// What a collection takes besides what nothing needs any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcOptions {
    /// Take unpinned objects too that were not used for as long as `grace`.
    pub unpinned: bool,
    /// How long unpinned objects stay under `unpinned`, and what was put block by block or left by an import
    /// that was cut off. A day unless set.
    pub grace: Duration,
    /// Take unpinned objects, those first that were used least recently, until the packs take at most so many
    /// bytes of disk.
    pub max_bytes: Option<u64>,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            unpinned: false,
            grace: Duration::from_secs(24 * 3_600),
            max_bytes: None,
        }
    }
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GcReason {
    /// It was removed.
    Removed,
    /// A root that made way for a newer one of the same object, which stays: its blocks were moved.
    Replaced,
    /// Blocks of a session or of an import that was cut off, which no object took up in time.
    Expired,
    /// It is not pinned and was not used for as long as the grace time.
    Unpinned,
    /// It is not pinned, and the store is over its quota.
    Quota,
}

impl GcReason {
    /// `removed`, `replaced`, `expired`, `unpinned` or `quota`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Unpinned => "unpinned",
            Self::Quota => "quota",
        }
    }
}

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcObject {
    /// The object; none for blocks that were put one by one, or left by an import.
    pub cid: Option<Cid>,
    /// The name of the file or folder when it was first added.
    pub name: String,
    /// Why it goes.
    pub reason: GcReason,
    /// When it was last used, in milliseconds since 1970.
    pub last_used_ms: u64,
    /// Bytes that nothing else covers once those before it in the plan are gone.
    pub exclusive_bytes: u64,
    /// Bytes that something else covers still.
    pub shared_bytes: u64,
    /// Somebody uses it, as a plan finds it: it is [`GcPlan::pending`], and goes once it is let go.
    pub in_use: bool,
    /// Where its root is.
    pub(crate) root: PathBuf,
    /// When it was last used, exactly: after another use it is not the same plan.
    pub(crate) used: SystemTime,
}

/// What a collection would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcPlan {
    /// What goes, in the order in which it goes.
    pub objects: Vec<GcObject>,
    /// Bytes of disk that nothing covered before, which were not given back yet.
    pub dead_bytes: u64,
    /// Bytes of disk that the packs would take less, those included.
    pub freeable_bytes: u64,
    /// Of those, what the disk has back only once a snapshot by hard links is gone, which has the same packs.
    pub linked_bytes: u64,
    /// Of what goes, what somebody uses, which stays until it is let go.
    pub pending: Vec<GcPending>,
    /// Dead bytes that would keep their space, by reason.
    pub not_freeable: Vec<(NotFreeable, u64)>,
    /// Bytes of disk that a writer that was killed left in `tmp/`: the next opening for writing frees them.
    pub unfinished_bytes: u64,
    /// Packs that will go as a whole.
    pub packs: u64,
    /// Packs that no root names: their roots are lost, and nothing of them goes until `repair` has put roots together.
    pub unrooted_packs: u64,
    /// Bytes of disk that those take.
    pub unrooted_bytes: u64,
    /// Objects without a pin that [`GcOptions::unpinned`] would take and the grace time spares.
    pub spared: u64,
    /// Bytes of disk that all packs take now.
    pub used_bytes: u64,
    pub(crate) options: GcOptions,
}

/// Bytes that are to go, and stay for as long as somebody uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcPending {
    /// The object; none for what this process uses without one: adds that run, and files put together from
    /// single blocks.
    pub cid: Option<Cid>,
    /// Its name.
    pub name: String,
    /// Bytes that will be free once it is let go.
    pub bytes: u64,
    /// The processes that hold it, as far as the system says.
    pub holders: Vec<GcHolder>,
}

/// A process that holds an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcHolder {
    /// Its id.
    pub pid: u32,
    /// The name of its command; empty if it cannot be read.
    pub command: String,
}

/// Why dead bytes keep their space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotFreeable {
    /// They share a page of the disk with what is live.
    PartialPages,
    /// The file system cannot give back a part of a file.
    NoHoles,
    /// The pack has another name too, of a snapshot by hard links, and nothing of that changes: such a pack goes as a
    /// whole only.
    HardLinked,
}

impl NotFreeable {
    /// `partial_pages`, `no_holes` or `hard_linked`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PartialPages => "partial_pages",
            Self::NoHoles => "no_holes",
            Self::HardLinked => "hard_linked",
        }
    }
}

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// What went.
    pub objects: Vec<GcObject>,
    /// Bytes of disk that the packs take less.
    pub freed_bytes: u64,
    /// Of those, what the disk has back only once a snapshot by hard links is gone, which has the same packs.
    pub linked_bytes: u64,
    /// Packs that went as a whole.
    pub packs: u64,
    /// Ranges of packs that were given back.
    pub ranges: u64,
    /// Bytes of disk that a writer that was killed had left in `tmp/`, freed when this store was opened.
    pub unfinished_bytes: u64,
    /// What is to go and is in use.
    pub pending: Vec<GcPending>,
    /// Dead bytes that keep their space, by reason.
    pub not_freeable: Vec<(NotFreeable, u64)>,
    /// Packs that no root names: their roots are lost, and nothing of them goes until `repair` has put roots together.
    pub unrooted_packs: u64,
    /// Bytes of disk that those take.
    pub unrooted_bytes: u64,
    /// Bytes of disk that all packs take now.
    pub used_bytes: u64,
}

impl GcPending {
    /// Of what this process uses without an object.
    fn of_this_process(bytes: u64) -> Self {
        Self {
            cid: None,
            name: String::new(),
            bytes,
            holders: Vec::new(),
        }
    }
}

impl GcPlan {
    /// Bytes that would go and are in use.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.iter().map(|pending| pending.bytes).sum()
    }
}

impl GcReport {
    /// Bytes that are to go and are in use.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.iter().map(|pending| pending.bytes).sum()
    }
}
