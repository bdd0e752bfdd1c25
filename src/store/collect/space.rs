//! Whose bytes the store's space holds.

use super::census::Census;
use super::outlook::View;
use super::roots::{Rooted, Roots};
use crate::block::Cid;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::inner::Inner;
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
    /// Bytes that only what a repair left covers, which it could not put together: they go as an object without a pin
    /// does.
    pub remains_bytes: u64,
    /// Bytes that only removed objects cover which somebody still uses.
    pub pending_bytes: u64,
    /// Bytes of disk that a collection would give back: nothing covers them, or only what was removed and is not in
    /// use.
    pub dead_bytes: u64,
    /// Bytes that nothing needs, and that keep their space for a reason of [`NotFreeable`](super::NotFreeable).
    pub not_freeable_bytes: u64,
    /// Bytes of disk that work in progress takes in `tmp/`, or what a writer that was killed left there: the next
    /// opening for writing frees that.
    pub unfinished_bytes: u64,
    /// Bytes that are recorded as damaged, of those that something covers that was not removed.
    pub damaged_bytes: u64,
    /// Packs that no root names: their roots are lost, and nothing of them goes until `repair` has put roots together.
    pub unrooted_packs: u64,
    /// Bytes of disk that those take.
    pub unrooted_bytes: u64,
    /// Packs that cannot be read.
    pub unreadable_packs: u64,
    /// Bytes of disk that those take.
    pub unreadable_bytes: u64,
    /// Headers and tables of the packs.
    pub overhead_bytes: u64,
    /// What all packs take on disk, those included that cannot be read.
    pub disk_bytes: u64,
    /// Bytes of files outside the store that its packs refer to.
    pub referenced_bytes: u64,
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
    /// Bytes that nothing else covers but what was removed or replaced: what its removal would free, once nobody uses
    /// it any more.
    pub exclusive_bytes: u64,
    /// Bytes that something else covers too, which was not removed.
    pub shared_bytes: u64,
    /// Bytes of it that are recorded as damaged.
    pub damaged_bytes: u64,
}

/// What a removal of these objects together would free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovalSpace {
    /// Bytes of disk that a collection would give back.
    pub freeable_bytes: u64,
    /// Bytes that others go on covering.
    pub shared_bytes: u64,
    /// Bytes that would be free once nobody uses these objects any more.
    pub pending_bytes: u64,
    /// Bytes that would keep their space for a reason of [`NotFreeable`](super::NotFreeable).
    pub not_freeable_bytes: u64,
}

pub(crate) fn space(core: &ReadCore) -> Result<SpaceReport, StoreError> {
    let mut view = View::of(core, None)?;
    // What lies in packs that are missing or cannot be read is nobody's here: they are counted as a whole.
    let space = &view.packs.space;
    for root in &mut view.roots.roots {
        root.coverage.retain(|pack| space.contains_key(&pack));
    }
    let all = &view.roots;
    let damaged: Vec<(PackId, std::ops::Range<u64>)> = view.gone.damaged().collect();
    let damaged_of = |root: &Rooted| {
        let within = |(pack, range): &(PackId, std::ops::Range<u64>)| {
            root.coverage.bytes_within(*pack, range)
        };
        damaged.iter().map(within).sum::<u64>()
    };
    let mut census = Census::new(&all.roots);
    // What is covered by the weaker claims alone goes as they are taken away, the weakest first.
    let removed = retired(all);
    let outlook = view.when_gone(&removed)?;
    removed.iter().for_each(|&index| {
        census.remove(index);
    });
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

    let (mut loose_bytes, mut remains_bytes) = (0, 0);
    for (index, root) in all.roots.iter().enumerate() {
        if root.name != RootName::Loose {
            continue;
        }
        let bytes = census.remove(index);
        match (root.is_of_lost(), root.is_remains()) {
            // These are counted as whole packs.
            (true, _) => {}
            (false, true) => remains_bytes += bytes,
            (false, false) => loose_bytes += bytes,
        }
    }
    let (unrooted_packs, unrooted_bytes) = view.lost(&[]);
    let mut kept = Coverage::default();
    let is_kept = |root: &&Rooted| !matches!(root.name, RootName::Retired(_));
    let roots = all.roots.iter().filter(is_kept);
    roots.for_each(|root| kept.extend(&root.coverage));
    kept.normalize();
    let within = |(pack, range): &(PackId, std::ops::Range<u64>)| kept.bytes_within(*pack, range);
    let damaged_bytes = damaged.iter().map(within).sum();
    Ok(SpaceReport {
        objects,
        live_bytes: census.total(),
        loose_bytes,
        remains_bytes,
        pending_bytes: outlook.pending_bytes(),
        dead_bytes: outlook.freeable_bytes(),
        not_freeable_bytes: outlook.kept.bytes(),
        unfinished_bytes: core.folder.unfinished_bytes()?,
        damaged_bytes,
        unrooted_packs,
        unrooted_bytes,
        unreadable_packs: view.packs.unreadable.packs,
        unreadable_bytes: view.packs.unreadable.disk_bytes,
        overhead_bytes: view.packs.overhead_bytes,
        disk_bytes: view.packs.disk_bytes(),
        referenced_bytes: view.packs.referenced_bytes,
    })
}

/// The roots that a removal or a newer root has retired, by their numbers.
fn retired(all: &Roots) -> Vec<usize> {
    let roots = all.roots.iter().enumerate();
    let retired = roots.filter(|(_, root)| matches!(root.name, RootName::Retired(_)));
    retired.map(|(index, _)| index).collect()
}

/// What a collection would give back if these objects went, all of them together, besides what it would anyway.
/// The writer knows what it relies on itself.
pub(crate) fn removal(
    core: &ReadCore,
    writer: Option<&Inner>,
    cids: &[Cid],
) -> Result<RemovalSpace, StoreError> {
    let view = View::of(core, writer)?;
    let all = &view.roots;
    let mut goes = retired(all);
    let before = view.when_gone(&goes)?;
    let (mut own, mut others) = (Coverage::default(), Coverage::default());
    for (index, root) in all.roots.iter().enumerate() {
        match root.name {
            RootName::Object(cid) if cids.contains(&cid) => {
                goes.push(index);
                own.extend(&root.coverage);
            }
            RootName::Object(_) | RootName::Loose => others.extend(&root.coverage),
            RootName::Retired(_) => {}
        }
    }
    own.normalize();
    others.normalize();
    let after = view.when_gone(&goes)?;
    Ok(RemovalSpace {
        freeable_bytes: after
            .freeable_bytes()
            .saturating_sub(before.freeable_bytes()),
        shared_bytes: own.bytes_outside(&Coverage::default()) - own.bytes_outside(&others),
        pending_bytes: after.pending_bytes().saturating_sub(before.pending_bytes()),
        not_freeable_bytes: after.kept.bytes().saturating_sub(before.kept.bytes()),
    })
}
