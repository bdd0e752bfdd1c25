//! The blocks that a root places in packs, leaves included: what a lost table is made again from.

use std::collections::HashMap;

use super::raw::RawReader;
use crate::block::{Cid, Multihash, RAW};
use crate::dag::{self, Node};
use crate::store::assemble::{MAX_BLOCKS, MAX_FILE_LEVELS};
use crate::store::error::StoreError;
use crate::store::pack::{PackId, Place};
use crate::store::root::{EntryKind, PathEntry, RootExtent, RootRecord};

/// Every block whose CID and place can be told. Nodes are read, checked against their CIDs; below one that cannot be
/// told the leaves are not known. An error where the disk refuses to be read.
pub(super) fn blocks_of(
    record: &RootRecord,
    reader: &RawReader,
) -> Result<Vec<(Cid, Place)>, StoreError> {
    let place = |pack: PackId, offset, len| Place { pack, offset, len };
    let nodes = record.nodes.iter();
    let nodes = nodes.map(|n| (n.cid.0, place(record.pack(n.pack), n.offset, n.len)));
    let mut walk = Walk {
        reader,
        record,
        nodes: nodes.clone().map(|(cid, at)| (*cid.hash(), at)).collect(),
        blocks: nodes.collect(),
        visits: 0,
    };
    for entry in &record.paths {
        if let EntryKind::File { .. } = entry.kind {
            walk.file(entry)?;
        }
    }
    Ok(walk.blocks)
}

struct Walk<'a> {
    reader: &'a RawReader,
    record: &'a RootRecord,
    nodes: HashMap<Multihash, Place>,
    blocks: Vec<(Cid, Place)>,
    visits: u64,
}

/// How far a file's bytes have been told apart.
struct Cursor<'a> {
    extents: &'a [RootExtent],
    /// Into the first of them.
    at: u64,
}

impl Cursor<'_> {
    /// The next bytes of the file; none if they do not lie in one piece.
    fn take(&mut self, len: u64) -> Option<(u32, u64)> {
        let first = self.extents.first()?;
        let from = (first.pack, first.offset + self.at);
        let is_one = len <= first.len - self.at;
        self.skip(len);
        is_one.then_some(from)
    }

    fn skip(&mut self, mut len: u64) {
        while let Some(first) = self.extents.first() {
            let left = first.len - self.at;
            if len < left {
                self.at += len;
                return;
            }
            len -= left;
            self.at = 0;
            self.extents = &self.extents[1..];
        }
    }
}

impl Walk<'_> {
    fn file(&mut self, entry: &PathEntry) -> Result<(), StoreError> {
        let mut cursor = Cursor {
            extents: self.record.extents_of(entry),
            at: 0,
        };
        self.part(&entry.cid.0, entry.size, &mut cursor, 0)
    }

    /// A part of a file of so many bytes.
    fn part(
        &mut self,
        cid: &Cid,
        size: u64,
        cursor: &mut Cursor<'_>,
        level: usize,
    ) -> Result<(), StoreError> {
        self.visits += 1;
        if self.visits > MAX_BLOCKS || level > MAX_FILE_LEVELS {
            return Ok(());
        }
        if cid.codec() == RAW {
            let Ok(len) = u32::try_from(size) else {
                cursor.skip(size);
                return Ok(());
            };
            if let Some((pack, offset)) = cursor.take(size).filter(|_| len > 0) {
                let pack = self.record.pack(pack);
                self.blocks.push((*cid, Place { pack, offset, len }));
            }
            return Ok(());
        }
        let Some(Node::File { data, children, .. }) = self.node(cid)? else {
            cursor.skip(size);
            return Ok(());
        };
        cursor.skip(data.map_or(0, |range| range.len() as u64));
        for child in children {
            self.part(&child.cid, child.size, cursor, level + 1)?;
        }
        Ok(())
    }

    fn node(&self, cid: &Cid) -> Result<Option<Node>, StoreError> {
        let Some(place) = self.nodes.get(cid.hash()) else {
            return Ok(None);
        };
        let bytes = self.reader.block(cid, *place)?;
        Ok(bytes.and_then(|bytes| dag::decode(cid, &bytes).ok()))
    }
}
