//! Deciding what goes: reads roots and headers of packs, changes nothing.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use super::choice::{Choice, Goal, Room};
use super::outlook::View;
use super::roots::{self, Rooted, Roots};
use super::sweep::PackShape;
use super::{GcObject, GcOptions, GcPlan, NotFreeable};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::inner::{self, Inner};
use crate::store::pack::{PackFile, PackId};
use crate::store::read::ReadCore;
use crate::store::root::RootName;

pub(crate) fn plan(core: &ReadCore, options: &GcOptions) -> Result<GcPlan, StoreError> {
    let room = options.max_bytes.map(|max_bytes| Room {
        goal: Goal::Within(max_bytes),
        is_kept: &|_| false,
    });
    plan_with(core, options, room.as_ref()).map(|(plan, _)| plan)
}

/// What has to go so that so many bytes are free; none where what may go is not enough.
pub(crate) fn plan_room(store: &Inner, to_free: u64) -> Result<Option<GcPlan>, StoreError> {
    let unsettled = |pack: &PackId| store.registry.is_unsettled(*pack);
    let is_kept = |root: &Rooted| match root.name {
        RootName::Loose => root.packs.iter().any(unsettled),
        RootName::Object(cid) => store.spares.is_spared(&cid),
        RootName::Retired(_) => false,
    };
    let room = Room {
        goal: Goal::Free(to_free),
        is_kept: &is_kept,
    };
    let (plan, is_enough) = plan_with(&store.core, &GcOptions::default(), Some(&room))?;
    Ok(is_enough.then_some(plan))
}

fn plan_with(
    core: &ReadCore,
    options: &GcOptions,
    room: Option<&Room<'_>>,
) -> Result<(GcPlan, bool), StoreError> {
    let roots = roots::read(core)?;
    let packs = Packs::of(core)?;
    let gone = core.gone()?;
    let view = View {
        core,
        roots: &roots,
        packs: &packs,
        gone: &gone,
    };
    let before = view.when_gone(&[])?;
    let mut choice = Choice::new(core, &roots);
    choice.take_unneeded(options, SystemTime::now())?;
    let used_bytes = packs.disk_bytes.values().sum();
    let mut is_enough = true;
    if let Some(room) = room {
        let freed = before.freeable_bytes + choice.freed_bytes;
        let lacking = room.goal.to_free(used_bytes).saturating_sub(freed);
        is_enough = choice.make_room(lacking, room)?;
    }
    let goes: Vec<usize> = choice.taken.iter().map(|(index, _)| *index).collect();
    let after = view.when_gone(&goes)?;
    let not_freeable = (NotFreeable::PartialPages, after.partial_pages);
    let plan = GcPlan {
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
            true => unpinned_left(&roots, &choice.taken),
            false => 0,
        },
        used_bytes,
        objects: choice.into_objects(),
        options: options.clone(),
    };
    Ok((plan, is_enough))
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

/// Objects without a pin that do not go.
fn unpinned_left(roots: &Roots, chosen: &[(usize, GcObject)]) -> u64 {
    let goes: HashSet<usize> = chosen.iter().map(|(index, _)| *index).collect();
    let is_left = |(index, root): &(usize, &Rooted)| {
        matches!(&root.name, RootName::Object(cid) if roots.pins_of(cid).is_empty())
            && !goes.contains(index)
    };
    roots.roots.iter().enumerate().filter(is_left).count() as u64
}
