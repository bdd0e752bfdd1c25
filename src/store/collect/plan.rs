//! Deciding what goes: reads roots and headers of packs, changes nothing.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::census::Census;
use super::outlook::View;
use super::roots::{self, Rooted, Roots};
use super::sweep::PackShape;
use super::{GcObject, GcOptions, GcPlan, GcReason, NotFreeable};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::inner;
use crate::store::pack::{PackFile, PackId};
use crate::store::read::ReadCore;
use crate::store::root::RootName;
use crate::store::time::unix_ms;

pub(crate) fn plan(core: &ReadCore, options: &GcOptions) -> Result<GcPlan, StoreError> {
    let roots = roots::read(core)?;
    let packs = Packs::of(core)?;
    let chosen = choose(&roots, &packs, options, SystemTime::now());
    let gone = core.gone()?;
    let view = View {
        core,
        roots: &roots,
        packs: &packs,
        gone: &gone,
    };
    let goes: Vec<usize> = chosen.iter().map(|(index, _)| *index).collect();
    let before = view.when_gone(&[])?;
    let after = view.when_gone(&goes)?;
    let not_freeable = (NotFreeable::PartialPages, after.partial_pages);
    Ok(GcPlan {
        dead_bytes: before.freeable_bytes,
        freeable_bytes: after.freeable_bytes,
        packs: after.packs,
        pending: after.pending,
        not_freeable: Some(not_freeable)
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .collect(),
        unfinished_bytes: 0,
        spared: match options.unpinned {
            true => unpinned_left(&roots, &chosen),
            false => 0,
        },
        used_bytes: packs.disk_bytes.values().sum(),
        objects: chosen.into_iter().map(|(_, object)| object).collect(),
        options: options.clone(),
    })
}

/// The packs that can be read, and what they take on disk.
pub(super) struct Packs {
    pub(super) shapes: Vec<PackShape>,
    pub(super) disk_bytes: HashMap<PackId, u64>,
    /// Headers and tables.
    pub(super) overhead_bytes: u64,
}

impl Packs {
    pub(super) fn of(core: &ReadCore) -> Result<Self, StoreError> {
        let mut all = Self {
            shapes: Vec::new(),
            disk_bytes: HashMap::new(),
            overhead_bytes: 0,
        };
        let mut ids: Vec<PackId> = inner::list(&core.folder)?.into_iter().collect();
        ids.sort();
        for id in ids {
            let Some((pack, disk_bytes)) = open(core, id)? else {
                continue;
            };
            let shape = PackShape::of(&pack);
            all.overhead_bytes += pack.file_len() - (shape.payload.end - shape.payload.start);
            all.disk_bytes.insert(id, disk_bytes);
            all.shapes.push(shape);
        }
        Ok(all)
    }
}

/// A pack and the disk that it takes; none for one that is damaged, which a repair is for, or gone meanwhile.
pub(super) fn open(
    core: &ReadCore,
    id: PackId,
) -> Result<Option<(Arc<PackFile>, u64)>, StoreError> {
    let pack = match core.packs.open(id) {
        Ok(pack) => pack,
        Err(e @ StoreError::Damaged { .. }) => {
            tracing::debug!("left alone: {e}");
            return Ok(None);
        }
        Err(StoreError::File(e)) if e.source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let disk_bytes = disk_bytes(core, &pack)?;
    Ok(Some((pack, disk_bytes)))
}

/// What packs take on disk.
pub(crate) fn used_bytes(
    folder: &StoreFolder,
    ids: impl IntoIterator<Item = PackId>,
) -> Result<u64, StoreError> {
    let mut used = 0;
    for id in ids {
        let path = folder.packs().join(id.file_name());
        let found = folder.files().metadata_if_there(&path)?;
        used += found.map_or(0, |found| 512 * found.blocks());
    }
    Ok(used)
}

pub(super) fn disk_bytes(core: &ReadCore, pack: &PackFile) -> Result<u64, StoreError> {
    let files = core.folder.files();
    Ok(512 * files.file_metadata(pack.file(), pack.path())?.blocks())
}

/// Which roots go and why, in this order: what was removed, what expired, then unpinned objects by their last use.
fn choose(
    roots: &Roots,
    packs: &Packs,
    options: &GcOptions,
    now: SystemTime,
) -> Vec<(usize, GcObject)> {
    let mut census = Census::new(&roots.roots);
    let mut chosen = Vec::new();
    let is_old = |since: SystemTime, grace: Duration| {
        now.duration_since(since).is_ok_and(|age| age >= grace)
    };
    let take = |index: usize, reason, census: &mut Census, chosen: &mut Vec<_>| -> u64 {
        let root = &roots.roots[index];
        let bytes = census.bytes(index);
        let freed = census.remove(index);
        chosen.push((index, object(root, reason, freed, bytes - freed)));
        freed
    };
    let names = roots.roots.iter().map(|root| &root.name);
    let objects: HashSet<&Cid> = names
        .filter_map(|name| match name {
            RootName::Object(cid) => Some(cid),
            RootName::Retired(_) | RootName::Loose => None,
        })
        .collect();
    let mut unpinned = Vec::new();
    for (index, root) in roots.roots.iter().enumerate() {
        match &root.name {
            RootName::Retired(cid) => {
                let reason = match objects.contains(cid) {
                    true => GcReason::Replaced,
                    false => GcReason::Removed,
                };
                take(index, reason, &mut census, &mut chosen);
            }
            RootName::Loose if is_old(root.used, options.grace) => {
                take(index, GcReason::Expired, &mut census, &mut chosen);
            }
            RootName::Loose => unpinned.push(index),
            RootName::Object(cid) if roots.pins_of(cid).is_empty() => unpinned.push(index),
            RootName::Object(_) => {}
        }
    }
    unpinned.sort_by_key(|&index| roots.roots[index].used);
    let mut left = Vec::new();
    for index in unpinned {
        let root = &roots.roots[index];
        let is_object = matches!(root.name, RootName::Object(_));
        if options.unpinned && is_object && is_old(root.used, options.grace) {
            take(index, GcReason::Unpinned, &mut census, &mut chosen);
        } else {
            left.push(index);
        }
    }
    if let Some(max_bytes) = options.max_bytes {
        let mut used = census.total() + packs.overhead_bytes;
        for index in left {
            if used <= max_bytes {
                break;
            }
            used = used.saturating_sub(take(index, GcReason::Quota, &mut census, &mut chosen));
        }
    }
    chosen
}

/// Objects without a pin that do not go.
fn unpinned_left(roots: &Roots, chosen: &[(usize, GcObject)]) -> u64 {
    let goes: HashSet<usize> = chosen.iter().map(|(index, _)| *index).collect();
    let is_left = |(index, root): &(usize, &Rooted)| {
        matches!(&root.name, RootName::Object(cid) if roots.pins_of(cid).is_empty())
            && !goes.contains(index)
    };
    roots.roots.iter().enumerate().filter(is_left).count() as u64
}

fn object(root: &Rooted, reason: GcReason, exclusive_bytes: u64, shared_bytes: u64) -> GcObject {
    GcObject {
        cid: match root.name {
            RootName::Object(_) | RootName::Retired(_) => Some(root.cid),
            RootName::Loose => None,
        },
        name: root.title.clone(),
        reason,
        last_used_ms: unix_ms(root.used),
        exclusive_bytes,
        shared_bytes,
        root: root.path.clone(),
    }
}
