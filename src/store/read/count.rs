//! Counting the blocks of a part of an object, which its root does not say.

use std::collections::HashMap;

use super::object::Object;
use crate::block::{Block, Cid, RAW};
use crate::dag::{self, Node};
use crate::store::error::StoreError;
use crate::store::root::{NodePlace, RootRecord};

impl Object {
    /// Counts the blocks of a DAG inside the object by reading its nodes, each once: what a node holds
    /// several times counts as often.
    pub(super) fn count_blocks(&self) -> Result<u64, StoreError> {
        let record = self.record_with_nodes()?;
        let places: HashMap<Cid, &NodePlace> =
            record.nodes.iter().map(|node| (node.cid.0, node)).collect();
        let mut counts: HashMap<Cid, u64> = HashMap::new();
        // A node is looked at again once everything below it is counted.
        let mut open = vec![(self.cid(), None)];
        while let Some((cid, below)) = open.pop() {
            let below: Vec<Cid> = match below {
                Some(below) => below,
                None if counts.contains_key(&cid) => continue,
                None if cid.codec() == RAW => Vec::new(),
                None => {
                    let below = self.children_of(&cid, &record, &places)?;
                    open.push((cid, Some(below.clone())));
                    open.extend(below.into_iter().map(|child| (child, None)));
                    continue;
                }
            };
            let sum = below.iter().fold(1_u64, |sum, child| {
                sum.saturating_add(counts.get(child).copied().unwrap_or(0))
            });
            counts.insert(cid, sum);
        }
        Ok(counts.get(&self.cid()).copied().unwrap_or(0))
    }

    fn children_of(
        &self,
        cid: &Cid,
        record: &RootRecord,
        places: &HashMap<Cid, &NodePlace>,
    ) -> Result<Vec<Cid>, StoreError> {
        let place = places.get(cid).ok_or_else(|| StoreError::BlockAbsent {
            cid: *cid,
            path: self.core.folder.path().to_path_buf(),
        })?;
        let pack = self.core.pack_of(record, place.pack)?;
        self.core.refuse_gone(cid, pack.id(), place)?;
        let data = pack.read(place.offset, place.len as usize)?;
        // Checked, so that no node can lead back to itself.
        let block = Block::verified(*cid, data)?;
        Ok(match dag::decode(cid, block.data())? {
            Node::File { children, .. } => children.iter().map(|c| c.cid).collect(),
            Node::Folder { entries } => entries.iter().map(|e| e.cid).collect(),
            Node::Shard { links, .. } => links.iter().map(|l| l.cid).collect(),
            _ => Vec::new(),
        })
    }
}
