//! Whose bytes the store's space holds.

use super::census::Census;
use super::plan::Packs;
use super::retire;
use super::roots::{self, Rooted};
use crate::block::Cid;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::pack::PackId;
use crate::store::read::{EntryType, ReadCore, type_of};
use crate::store::root::RootName;
use crate::store::time::unix_ms;

/// Whose bytes the store's space holds. Bytes are those of the packs, names and indexes apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceReport {
    /// The published objects, those first that have most for themselves.
    pub objects: Vec<ObjectSpace>,
    /// Bytes that published objects cover, each once.
    pub live_bytes: u64,
    /// Bytes that only blocks of sessions and of unfinished imports cover.
    pub loose_bytes: u64,
    /// Bytes that only removed objects cover which somebody still uses.
    pub pending_bytes: u64,
    /// Bytes that a collection would give back: nothing covers them, or only what was removed and is not in use.
    pub dead_bytes: u64,
    /// Bytes that are recorded as damaged, of those that something covers.
    pub damaged_bytes: u64,
    /// Headers and tables of the packs.
    pub overhead_bytes: u64,
    /// What the packs take on disk.
    pub disk_bytes: u64,
}

/// The space of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectSpace {
    /// The object.
    pub cid: Cid,
    /// The name of the file or folder when it was first added.
    pub name: String,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// The names that it is pinned under.
    pub pins: Vec<String>,
    /// When it was last used, in milliseconds since 1970.
    pub last_used_ms: u64,
    /// Bytes that nothing else covers: what its removal would free.
    pub exclusive_bytes: u64,
    /// Bytes that something else covers too.
    pub shared_bytes: u64,
    /// Bytes of it that are recorded as damaged.
    pub damaged_bytes: u64,
}

/// What a removal of these objects together would free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovalSpace {
    /// Bytes that only they cover.
    pub freeable_bytes: u64,
    /// Bytes that others go on covering.
    pub shared_bytes: u64,
}

pub(crate) fn space(core: &ReadCore) -> Result<SpaceReport, StoreError> {
    let all = roots::read(core)?;
    let packs = Packs::of(core)?;
    let gone = core.gone()?;
    let damaged: Vec<(PackId, std::ops::Range<u64>)> = gone.damaged().collect();
    let damaged_of = |root: &Rooted| {
        let within = |(pack, range): &(PackId, std::ops::Range<u64>)| {
            root.coverage.bytes_within(*pack, range)
        };
        damaged.iter().map(within).sum::<u64>()
    };
    let mut census = Census::new(&all.roots);
    let mut objects = Vec::new();
    for (index, root) in all.roots.iter().enumerate() {
        let RootName::Object(cid) = root.name else {
            continue;
        };
        let exclusive_bytes = census.exclusive(index);
        objects.push(ObjectSpace {
            cid: root.cid,
            name: root.title.clone(),
            kind: type_of(root.kind),
            size: root.size,
            pins: all.pins_of(&cid).to_vec(),
            last_used_ms: unix_ms(root.used),
            exclusive_bytes,
            shared_bytes: census.bytes(index) - exclusive_bytes,
            damaged_bytes: damaged_of(root),
        });
    }
    objects.sort_by_key(|object| (std::cmp::Reverse(object.exclusive_bytes), object.cid));

    // What is covered by the weaker claims alone goes as they are taken away, the weakest first.
    let covered = all.coverage();
    let swept = packs.sweep(&covered, &all, &Default::default(), &gone);
    let (mut removed, mut pending_bytes, mut loose_bytes) = (0, 0, 0);
    let retired = |root: &Rooted| matches!(root.name, RootName::Retired(_));
    for (index, root) in all.roots.iter().enumerate().filter(|(_, r)| retired(r)) {
        if !retire::is_held(core.folder.files(), &root.path)? {
            removed += census.remove(index);
        }
    }
    for (index, _) in all.roots.iter().enumerate().filter(|(_, r)| retired(r)) {
        pending_bytes += census.remove(index);
    }
    for (index, root) in all.roots.iter().enumerate() {
        if root.name == RootName::Loose {
            loose_bytes += census.remove(index);
        }
    }
    let damaged = damaged
        .iter()
        .map(|(pack, range)| covered.bytes_within(*pack, range));
    let damaged_bytes = damaged.sum();
    Ok(SpaceReport {
        objects,
        live_bytes: census.total(),
        loose_bytes,
        pending_bytes,
        dead_bytes: swept.dead_bytes + removed,
        damaged_bytes,
        overhead_bytes: packs.overhead_bytes,
        disk_bytes: packs.disk_bytes.values().sum(),
    })
}

/// What would be free if these objects went, all of them together.
pub(crate) fn removal(core: &ReadCore, cids: &[Cid]) -> Result<RemovalSpace, StoreError> {
    let all = roots::read(core)?;
    let mut census = Census::new(&all.roots);
    let mut freeable_bytes = 0;
    let mut both = Coverage::default();
    for (index, root) in all.roots.iter().enumerate() {
        if matches!(root.name, RootName::Object(cid) if cids.contains(&cid)) {
            freeable_bytes += census.remove(index);
            both.extend(&root.coverage);
        }
    }
    both.normalize();
    let bytes = both.bytes_outside(&Default::default());
    Ok(RemovalSpace {
        freeable_bytes,
        shared_bytes: bytes - freeable_bytes,
    })
}
