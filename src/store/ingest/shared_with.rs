//! Whose bytes an added object found in the store.

use std::time::SystemTime;

use super::options::SharedWith;
use crate::block::{Cid, canonical};
use crate::store::coverage::{Coverage, Covered};
use crate::store::inner::Inner;
use crate::store::pack::PackId;
use crate::store::root::{RootName, RootRecord};

/// Not worth a look at other objects.
const LEAST_BYTES: u64 = 64 << 10;
/// Objects that are looked at, those first that were used last.
const MOST_ROOTS: usize = 32;
/// Larger roots are passed over: folders of very many files.
const MOST_ROOT_BYTES: u64 = 8 << 20;

/// The object that has most of what lies outside `own`, the packs that were written for this record. It only
/// informs, so what cannot be read is passed over.
pub(super) fn shared_most_with(
    store: &Inner,
    record: &RootRecord,
    own: &[PackId],
) -> Option<SharedWith> {
    let mut found = Coverage::default();
    for extent in &record.extents {
        let pack = record.pack(extent.pack);
        if !own.contains(&pack) {
            found.add_range(pack, extent.offset..extent.offset + extent.len);
        }
    }
    let found = Covered::from(found);
    if found.bytes() < LEAST_BYTES {
        return None;
    }
    let candidates = last_used(store, &canonical(&record.head.cid.0));
    let with = |cid: Cid| {
        let root = store.core.open_root(&cid, false).ok()??;
        let mut other = Coverage::default();
        for extent in &root.record.extents {
            let range = extent.offset..extent.offset + extent.len;
            other.add_range(root.record.pack(extent.pack), range);
        }
        let bytes = found.shared_with(&Covered::from(other));
        let head = &root.record.head;
        (bytes > 0).then(|| SharedWith {
            cid: head.cid.0,
            name: head.name.clone(),
            bytes,
        })
    };
    // Of two with the same bytes the one that was used last.
    let shared = candidates.into_iter().filter_map(with);
    shared.reduce(|most, next| if next.bytes > most.bytes { next } else { most })
}

fn last_used(store: &Inner, but: &Cid) -> Vec<Cid> {
    let (files, folder) = (store.folder().files(), store.folder().roots());
    let names = files.list(&folder).unwrap_or_default();
    let mut roots: Vec<(SystemTime, Cid)> = names
        .into_iter()
        .filter_map(|name| {
            let Some(RootName::Object(cid)) = name.to_str().and_then(RootName::parse) else {
                return None;
            };
            let metadata = files.symlink_metadata(&folder.join(name)).ok()?;
            let is_wanted = cid != *but && metadata.len() <= MOST_ROOT_BYTES;
            is_wanted.then_some((metadata.modified().ok()?, cid))
        })
        .collect();
    roots.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
    roots.truncate(MOST_ROOTS);
    roots.into_iter().map(|(_, cid)| cid).collect()
}
