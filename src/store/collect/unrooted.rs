//! Packs that no root names though none was given up: lost roots are never a reason to collect.
//!
//! Whatever goes on purpose leaves a root until it went, or `gone` says that all of it is dead. A pack of which
//! neither is so is left alone as a whole, until a repair has put roots together.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::outlook::View;
use super::packs;
use super::sweep::PackShape;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::gone::{Gone, outside};
use crate::store::ingest::loose_record;
use crate::store::inner::{self, Inner};
use crate::store::pack::PackId;
use crate::store::read::ReadCore;
use crate::store::repair::DAMAGE_LOG;
use crate::store::reserve;
use crate::store::root::{self, LOST};
use crate::store::survey::{self, Writer};

/// Whether a pack may be looked at for what is dead in it; `named` are the packs that roots name, those included that
/// are about to go.
pub(super) fn is_explained(shape: &PackShape, named: &HashSet<PackId>, gone: &Gone) -> bool {
    named.contains(&shape.id) || is_dead(shape, gone)
}

/// Whether nothing is left of a pack.
pub(super) fn is_dead(shape: &PackShape, gone: &Gone) -> bool {
    let dead = gone.dead_of(shape.id);
    outside(&shape.payload, &dead).next().is_none()
}

/// How often, and after how long, packs without a root are looked for again while somebody writes.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at a store until it is settled, or nobody has it open for writing, or that took long enough.
pub(crate) fn settled<T>(
    folder: &StoreFolder,
    look: impl Fn() -> Result<T, StoreError>,
    is_settled: impl Fn(&T) -> bool,
) -> Result<T, StoreError> {
    let mut seen = look()?;
    for _ in 0..TRIES {
        if is_settled(&seen) || matches!(survey::writer(folder)?, Writer::Nobody) {
            break;
        }
        std::thread::sleep(PAUSE);
        seen = look()?;
    }
    Ok(seen)
}

/// The packs of a store that no root names, or only one that stands for lost ones; see [`settled`].
pub(crate) fn unrooted_packs(
    core: &ReadCore,
    writer: Option<&Inner>,
) -> Result<BTreeSet<PackId>, StoreError> {
    let view = View::of(core, writer)?;
    let mut packs = view.roots.lost_packs(&[]);
    packs.retain(|pack| view.packs.space.contains_key(pack));
    packs.extend(&view.unrooted);
    Ok(packs)
}

/// Where no root is left at all, puts one over all packs that are not wholly dead, until a repair has put the lost ones
/// together: what an add finds in one of them would make that one named, and the rest of it collectable.
pub(crate) fn keep_lost(store: &Inner) -> Result<(), StoreError> {
    let folder = store.folder();
    if !has_lost_roots(folder)? {
        return Ok(());
    }
    let gone = store.registry.gone();
    let mut packs = Vec::new();
    for id in inner::list(folder)? {
        let shape = packs::open(&store.core, id)?.map(|pack| PackShape::of(&pack));
        packs.extend(shape.filter(|shape| !is_dead(shape, &gone)).map(|_| id));
    }
    if packs.is_empty() {
        return Ok(());
    }
    packs.sort();
    tell_lost(folder);
    let mut record = loose_record(packs, Vec::new());
    record.head.name = LOST.to_owned();
    let path = root::loose_path(folder)?;
    let bytes = record.to_bytes(store.id());
    reserve::with_space(folder, || folder.publish(&path, &bytes))
}

/// Whether there are packs, and nothing at all in `roots/`.
fn has_lost_roots(folder: &StoreFolder) -> Result<bool, StoreError> {
    let has_roots = !folder.files().list(&folder.roots())?.is_empty();
    Ok(!has_roots && !inner::list(folder)?.is_empty())
}

/// Warns a reader of a store whose roots are lost, unless somebody is just writing its first.
pub(crate) fn warn_of_lost(folder: &StoreFolder) {
    let is_lost = matches!(has_lost_roots(folder), Ok(true));
    if is_lost && matches!(survey::writer(folder), Ok(Writer::Nobody)) {
        tell_lost(folder);
    }
}

fn tell_lost(folder: &StoreFolder) {
    let path = folder.roots();
    let path = path.display();
    tracing::warn!(target: DAMAGE_LOG, "{path} is empty, and there are packs: roots are lost; run `repair`");
}
