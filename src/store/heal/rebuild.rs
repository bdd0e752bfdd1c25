//! The nodes of files and folders made again from what is below them: the leaves' hashes stand in the tables of the
//! packs, or follow from files of the user's, and the names stand in the root.

use std::collections::{HashMap, HashSet};

use crate::block::{Block, Cid, CidVersion, DAG_PB, Multihash, RAW, canonical};
use crate::dag::{self, DagError, FileBuilder, FileRoot, FolderEntry, LeafFormat, Profile};
use crate::store::error::StoreError;
use crate::store::pack::Row;
use crate::store::root::{EntryKind, PathEntry, RootRecord};
use crate::store::verify::{Known, Tables};

/// Makes the nodes of an object, and keeps those that are wanted. That they are the right ones shows in their
/// hashes. Of the `files` is known already what they are, and the bytes of their blocks.
pub(super) fn nodes(
    tables: &mut Tables<'_>,
    record: &RootRecord,
    wanted: &HashSet<Multihash>,
    files: &HashMap<Cid, u64>,
    made: &mut HashMap<Multihash, Block>,
) -> Result<(), StoreError> {
    let Ok(profile) = record.head.profile.parse::<Profile>() else {
        return Ok(());
    };
    let mut keep = |block: Block| {
        if wanted.contains(block.cid().hash()) {
            made.insert(*block.cid().hash(), block);
        }
    };
    // Deeper paths first, so that a folder comes after all that stands in it.
    let mut order: Vec<&PathEntry> = record.paths.iter().collect();
    order.sort_by_key(|entry| std::cmp::Reverse(depth(&entry.path)));
    // By folder what stands in it; nothing where some of that cannot be told.
    let mut folders: HashMap<&str, Option<Vec<FolderEntry>>> = HashMap::new();
    for entry in order {
        let built = match &entry.kind {
            EntryKind::File { .. } => match files.get(&entry.cid.0) {
                Some(tsize) => Some((entry.cid.0, *tsize)),
                None => file(tables, record, entry, &profile, &mut keep)?,
            },
            EntryKind::Symlink { target } => {
                let block = dag::symlink_node(target, &profile);
                let built = (*block.cid(), block.data().len() as u64);
                keep(block);
                Some(built)
            }
            EntryKind::Folder => {
                let entries = folders.remove(entry.path.as_str());
                match entries.unwrap_or_else(|| Some(Vec::new())) {
                    Some(entries) => folder(entries, &profile, &mut keep),
                    None => None,
                }
            }
        };
        // Under another profile than the object's it would make other folders.
        let is_it = |(cid, _): &(Cid, u64)| canonical(cid) == canonical(&entry.cid.0);
        let built = built.filter(is_it);
        let (parent, name) = split(&entry.path);
        let siblings = folders.entry(parent).or_insert_with(|| Some(Vec::new()));
        match (siblings.as_mut(), built) {
            (Some(siblings), Some((cid, tsize))) => siblings.push(FolderEntry {
                name: name.to_owned(),
                cid,
                tsize,
            }),
            _ => *siblings = None,
        }
    }
    Ok(())
}

fn depth(path: &str) -> usize {
    match path {
        "" => 0,
        path => 1 + path.matches('/').count(),
    }
}

/// The object itself stands in no folder.
fn split(path: &str) -> (&str, &str) {
    match path {
        "" => ("/", ""),
        path => path.rsplit_once('/').unwrap_or(("", path)),
    }
}

fn folder(
    entries: Vec<FolderEntry>,
    profile: &Profile,
    keep: &mut impl FnMut(Block),
) -> Option<(Cid, u64)> {
    let mut put = |block| {
        keep(block);
        Ok::<(), DagError>(())
    };
    let root = dag::build_folder(entries, profile, &mut put).ok()?;
    Some((root.cid, root.tsize))
}

fn file(
    tables: &mut Tables<'_>,
    record: &RootRecord,
    entry: &PathEntry,
    profile: &Profile,
    keep: &mut impl FnMut(Block),
) -> Result<Option<(Cid, u64)>, StoreError> {
    let mut builder = FileBuilder::new(profile);
    for extent in record.extents_of(entry) {
        let Known::Rows(_, rows) = tables.of(record.pack(extent.pack))? else {
            return Ok(None);
        };
        let (mut at, end) = (extent.offset, extent.offset + extent.len);
        while at < end {
            let Some(row) = holding(&rows, at) else {
                return Ok(None);
            };
            // Of a framed leaf only the content is part of the file.
            let next = end.min(row.offset + u64::from(row.len));
            let leaf = FileRoot {
                cid: leaf_cid(row.cid.0.hash(), profile),
                size: next - at,
                tsize: u64::from(row.len),
            };
            builder.push_leaf(leaf, keep);
            at = next;
        }
    }
    let root = builder.finish(keep);
    Ok(Some((root.cid, root.tsize)))
}

/// The row that a byte lies in.
fn holding(rows: &[Row], at: u64) -> Option<&Row> {
    let after = rows.partition_point(|row| row.offset <= at);
    let before = rows[..after].iter().rev();
    // An empty block may begin where another one does.
    let row = before.into_iter().find(|row| row.len > 0)?;
    (at < row.offset + u64::from(row.len)).then_some(row)
}

/// A block may have been put first under another form of its CID.
fn leaf_cid(hash: &Multihash, profile: &Profile) -> Cid {
    match (profile.leaves(), profile.cid_version()) {
        (LeafFormat::Raw, _) => Cid::new_v1(RAW, *hash),
        (LeafFormat::DagPb, CidVersion::V0) => {
            Cid::new_v0(*hash).unwrap_or_else(|_| Cid::new_v1(DAG_PB, *hash))
        }
        (LeafFormat::DagPb, _) => Cid::new_v1(DAG_PB, *hash),
    }
}
