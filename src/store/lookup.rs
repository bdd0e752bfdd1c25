//! Blocks, nodes and targets as the writer finds them: by the memory tier and the index, and then in packs and roots.

use std::sync::Arc;

use super::assemble::{HeldBlocks, assemble};
use super::error::StoreError;
use super::inner::Inner;
use super::read::Object;
use super::root::{Lease, LeasedRoot};
use super::target::Target;
use crate::block::{Block, Cid, inline_data};
use crate::dag::{self, Node};

pub(crate) fn get_block(inner: &Inner, cid: &Cid) -> Result<Block, StoreError> {
    if let Some(data) = inline_data(cid) {
        return Ok(Block::verified(*cid, data)?);
    }
    let since = inner.tier.clears();
    if let Some(block) = inner.tier.block(cid) {
        return Ok(block);
    }
    let Some(place) = inner.place(cid.hash())? else {
        return Err(inner
            .known_damage(cid)?
            .unwrap_or_else(|| block_absent(inner, cid)));
    };
    let block = match inner.core.block(cid, &place) {
        // Its add failed between the two steps.
        Err(StoreError::File(e)) if e.source.kind() == std::io::ErrorKind::NotFound => {
            return Err(match inner.registry.has_pack(place.pack) {
                true => e.into(),
                false => block_absent(inner, cid),
            });
        }
        // A collection took it between the lookup and the read.
        Err(StoreError::Block(_)) if !inner.registry.is_good(&place) => {
            return Err(block_absent(inner, cid));
        }
        read => read?,
    };
    inner.tier.put_block(&block, since);
    Ok(block)
}

fn block_absent(inner: &Inner, cid: &Cid) -> StoreError {
    StoreError::BlockAbsent {
        cid: *cid,
        path: inner.folder().shown().to_path_buf(),
    }
}

pub(crate) fn get_node(inner: &Inner, cid: &Cid) -> Result<Arc<Node>, StoreError> {
    if let Some(node) = inner.tier.node(cid) {
        return Ok(node);
    }
    let since = inner.tier.clears();
    let block = get_block(inner, cid)?;
    let node = Arc::new(dag::decode(cid, block.data())?);
    // A decoded node takes about twice its block: CIDs have a fixed, larger size in memory.
    inner
        .tier
        .put_node(cid, Arc::clone(&node), 2 * block.data().len() as u64, since);
    Ok(node)
}

pub(crate) fn resolve(inner: &Arc<Inner>, target: &Target) -> Result<Object, StoreError> {
    match inner.core.resolve(target) {
        Err(StoreError::NotPublished { cid, .. }) if inner.place(cid.hash())?.is_some() => {
            let holder = inner.registry.holder();
            let blocks = HeldBlocks {
                store: inner,
                holder: &holder,
            };
            let record = Arc::new(assemble(&blocks, &cid)?);
            let lease = Arc::new(Lease::Held(holder));
            let root = LeasedRoot { record, lease };
            Object::new(Arc::clone(&inner.core), root, String::new()).join(target.path())
        }
        other => other,
    }
}
