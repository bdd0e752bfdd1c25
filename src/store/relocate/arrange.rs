//! The order in which blocks that move are to lie: that of the files they are leaves of.

use std::collections::HashMap;
use std::ops::Range;

use super::Relocated;
use crate::block::Cid;
use crate::dag::{Chunker, Profile};
use crate::store::error::StoreError;
use crate::store::pack::{PackId, Place};
use crate::store::read::ReadCore;
use crate::store::root::{self, PathEntry, RootRecord};

/// Puts blocks into the order of the files whose leaves they are, those of the first object that has them, so that
/// a file all of which moves is one run afterwards; what is no leaf comes last. A block that is named twice is
/// taken once.
pub(crate) fn arrange(
    core: &ReadCore,
    blocks: impl IntoIterator<Item = (Cid, Place)>,
) -> Result<Vec<Relocated>, StoreError> {
    let mut wanted = Wanted::new(blocks);
    let mut arranged = Vec::with_capacity(wanted.left);
    for cid in root::published(&core.folder)? {
        if wanted.left == 0 {
            break;
        }
        let opened = match core.open_root(&cid, false) {
            Ok(Some(opened)) => opened,
            Ok(None) => continue,
            Err(e @ StoreError::Damaged { .. }) => {
                tracing::warn!("{e}");
                continue;
            }
            Err(e) => return Err(e),
        };
        let record = &opened.record;
        // Cut by one length, a file is one stretch; under other chunkers a gap may begin a new one.
        let profile = record.head.profile.parse::<Profile>();
        let is_one_run = profile.is_ok_and(|p| matches!(p.chunker(), Chunker::Size(_)));
        for entry in &record.paths {
            wanted.take_file(record, entry, is_one_run, &mut arranged);
        }
    }
    wanted.take_rest(&mut arranged);
    Ok(arranged)
}

struct Wanted {
    /// In the order of their offsets; with each whether it was taken.
    by_pack: HashMap<PackId, Vec<(Cid, Place, bool)>>,
    left: usize,
}

impl Wanted {
    fn new(blocks: impl IntoIterator<Item = (Cid, Place)>) -> Self {
        let mut by_pack: HashMap<PackId, Vec<(Cid, Place, bool)>> = HashMap::new();
        for (cid, place) in blocks {
            let of_pack = by_pack.entry(place.pack).or_default();
            of_pack.push((cid, place, false));
        }
        for of_pack in by_pack.values_mut() {
            of_pack.sort_by_key(|(_, place, _)| (place.offset, place.len));
            of_pack.dedup_by_key(|(_, place, _)| *place);
        }
        Self {
            left: by_pack.values().map(Vec::len).sum(),
            by_pack,
        }
    }

    fn take_file(
        &mut self,
        record: &RootRecord,
        entry: &PathEntry,
        is_one_run: bool,
        arranged: &mut Vec<Relocated>,
    ) {
        let mut at = 0;
        // Where in the file the leaf before ends, and where it lay.
        let mut before: Option<(u64, Place)> = None;
        for extent in record.extents_of(entry) {
            let pack = record.pack(extent.pack);
            let range = extent.offset..extent.offset + extent.len;
            for (cid, place) in self.take_within(pack, &range) {
                let start = at + (place.offset - extent.offset);
                let continues = before.is_some_and(|(end, last)| {
                    let touches = last.pack == place.pack && last.range().end == place.offset;
                    end == start && (is_one_run || touches)
                });
                before = Some((start + u64::from(place.len), place));
                arranged.push(Relocated {
                    cid,
                    from: place,
                    continues,
                    run_bytes: entry.size,
                });
            }
            at += extent.len;
        }
    }

    /// Takes what lies in a range as a whole and was not taken before.
    fn take_within(&mut self, pack: PackId, range: &Range<u64>) -> Vec<(Cid, Place)> {
        let Some(all) = self.by_pack.get_mut(&pack) else {
            return Vec::new();
        };
        let first = all.partition_point(|(_, place, _)| place.offset < range.start);
        let mut taken = Vec::new();
        for (cid, place, is_taken) in &mut all[first..] {
            if place.offset >= range.end {
                break;
            }
            if !*is_taken && place.len > 0 && place.range().end <= range.end {
                *is_taken = true;
                taken.push((*cid, *place));
            }
        }
        self.left -= taken.len();
        taken
    }

    fn take_rest(self, arranged: &mut Vec<Relocated>) {
        let all = self.by_pack.into_values().flatten();
        let rest = all.filter(|(_, _, is_taken)| !is_taken);
        let mut rest: Vec<_> = rest.map(|(cid, place, _)| (cid, place)).collect();
        rest.sort_by_key(|(_, place)| (place.pack, place.offset, place.len));
        arranged.extend(rest.into_iter().map(|(cid, from)| Relocated {
            cid,
            from,
            continues: false,
            run_bytes: u64::from(from.len),
        }));
    }
}
