//! Whose the damaged blocks are: the files of all objects that lie over them.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::access::{Access, is_lost};
use super::report::Affected;
use super::scan::Bad;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::pack::{PackId, Place};
use crate::store::root::{ObjectKind, ROOT_LIMIT, RootName, RootRecord};

/// What a damaged block concerns.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    /// Something that stays covers it.
    pub(super) is_used: bool,
    pub(super) affected: Vec<Affected>,
}

/// For each of the blocks, in their order, what it concerns.
pub(super) fn of(access: &Access<'_>, bad: &[Bad]) -> Result<Vec<Owner>, StoreError> {
    let mut owners = vec![Owner::default(); bad.len()];
    if bad.is_empty() {
        return Ok(owners);
    }
    let mut search = Search::default();
    for (index, bad) in bad.iter().enumerate() {
        for damaged in &bad.damaged {
            search.add(damaged, index);
        }
    }
    search.order();
    let sees_all = each_root(access, |record| {
        match record.head.kind {
            ObjectKind::Loose => search.loose(record, &mut owners),
            _ => search.object(record, &mut owners),
        }
        Ok(())
    })?;
    // A root that cannot be read may be over any of them.
    owners
        .iter_mut()
        .for_each(|owner| owner.is_used |= !sees_all);
    Ok(owners)
}

/// Shows every root of an object, under its lease, and every loose one; false if some cannot be read. What was replaced
/// or removed goes at the next collection.
pub(super) fn each_root(
    access: &Access<'_>,
    mut shown: impl FnMut(&RootRecord) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let core = access.core;
    let folder = core.folder.roots();
    let mut sees_all = true;
    for name in core.folder.files().list(&folder)? {
        match name.to_str().and_then(RootName::parse) {
            Some(RootName::Object(cid)) => match core.open_root(&cid, true) {
                Ok(Some(opened)) => shown(&opened.record)?,
                Ok(None) => {}
                Err(e) if is_lost(&e) => sees_all = false,
                Err(e) => return Err(e),
            },
            Some(RootName::Loose) => match read_loose(access, &folder.join(&name)) {
                Ok(Some(record)) => shown(&record)?,
                Ok(None) => {}
                Err(e) if is_lost(&e) => sees_all = false,
                Err(e) => return Err(e),
            },
            Some(RootName::Retired(_)) | None => {}
        }
    }
    Ok(sees_all)
}

fn read_loose(access: &Access<'_>, path: &Path) -> Result<Option<RootRecord>, StoreError> {
    let files = access.core.folder.files();
    let Some(file) = files.open_if_there(path)? else {
        return Ok(None);
    };
    let bytes = format::read_sealed(files, &file, path, ROOT_LIMIT)?;
    RootRecord::parse_any(&bytes, access.core.id, path, true).map(Some)
}

/// A range of a pack, and which of the blocks it is of.
struct Damaged {
    range: Range<u64>,
    /// The last end of this one and of those before it.
    last_end: u64,
    index: usize,
}

#[derive(Default)]
struct Search {
    by_pack: HashMap<PackId, Vec<Damaged>>,
}

impl Search {
    fn add(&mut self, damaged: &Place, index: usize) {
        self.by_pack.entry(damaged.pack).or_default().push(Damaged {
            range: damaged.range(),
            last_end: 0,
            index,
        });
    }

    fn order(&mut self) {
        for of_pack in self.by_pack.values_mut() {
            of_pack.sort_by_key(|damaged| damaged.range.start);
            let mut last_end = 0;
            for damaged in of_pack {
                last_end = last_end.max(damaged.range.end);
                damaged.last_end = last_end;
            }
        }
    }

    fn within(&self, pack: PackId, range: &Range<u64>) -> impl Iterator<Item = usize> + '_ {
        let all = self.by_pack.get(&pack).map_or(&[][..], Vec::as_slice);
        let Range { start, end } = *range;
        let first = all.partition_point(|damaged| damaged.last_end <= start);
        let near = all[first..]
            .iter()
            .take_while(move |damaged| damaged.range.start < end);
        let hit = near.filter(move |damaged| damaged.range.end > start);
        hit.map(|damaged| damaged.index)
    }

    fn object(&self, record: &RootRecord, owners: &mut [Owner]) {
        let packs = &record.packs;
        if !packs.iter().any(|pack| self.by_pack.contains_key(pack)) {
            return;
        }
        for entry in &record.paths {
            for extent in record.extents_of(entry) {
                let range = extent.offset..extent.offset + extent.len;
                for index in self.within(record.pack(extent.pack), &range) {
                    owners[index].add(record, &entry.path);
                }
            }
        }
        for node in &record.nodes {
            let range = node.offset..node.offset + u64::from(node.len);
            for index in self.within(record.pack(node.pack), &range) {
                let is_known = |one: &Affected| one.object == record.head.cid.0;
                if !owners[index].affected.last().is_some_and(is_known) {
                    // Which path an inner node belongs to is told by who follows the object.
                    let entry = record.paths.iter().find(|entry| entry.cid == node.cid);
                    owners[index].add(record, entry.map_or("", |entry| &entry.path));
                }
            }
        }
    }

    fn loose(&self, record: &RootRecord, owners: &mut [Owner]) {
        for (pack, range) in record.places() {
            for index in self.within(pack, &range) {
                owners[index].is_used = true;
            }
        }
        for pack in record.whole_packs() {
            for index in self.within(pack, &(0..u64::MAX)) {
                owners[index].is_used = true;
            }
        }
    }
}

impl Owner {
    /// Objects come one after the other, and so do their paths: what is known already came last.
    fn add(&mut self, record: &RootRecord, path: &str) {
        self.is_used = true;
        let affected = Affected {
            object: record.head.cid.0,
            name: record.head.name.clone(),
            path: path.to_owned(),
        };
        if self.affected.last() != Some(&affected) {
            self.affected.push(affected);
        }
    }
}
