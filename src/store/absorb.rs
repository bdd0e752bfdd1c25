//! Copying in what an object refers to, so that it needs no file outside the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::StoreError;
use super::inner::Inner;
use super::pack::{PackId, Place, Row, SourceReader};
use super::read::Object;
use super::registry::Holder;
use super::relocate::{Good, Relocated, arrange, relocate};
use super::root::EntryKind;
use super::spare::Spared;
use super::target::Target;
use crate::block::{Block, Cid};

/// How [`Store::absorb`](crate::Store::absorb) works.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct AbsorbOptions {
    /// Checked as it goes; once set, it stops and the store is as it was, but for what made way under a
    /// quota.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told how many more bytes are in, as it goes.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl fmt::Debug for AbsorbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbsorbOptions").finish_non_exhaustive()
    }
}

/// What was copied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbsorbReport {
    /// What was asked for.
    pub cid: Cid,
    /// Bytes of blocks that it referred to, each block once.
    pub referenced_bytes: u64,
    /// Bytes of these that were copied; the others were in the store already.
    pub copied_bytes: u64,
    /// Objects that were rewritten: this one, and others that referred to the same files.
    pub objects: u64,
}

pub(crate) fn absorb(
    store: &Inner,
    target: &Target,
    options: &AbsorbOptions,
) -> Result<AbsorbReport, StoreError> {
    let object = store.core.resolve(target)?;
    let mut spared = Spared::new(&store.spares);
    spared.add(&object.record().head.cid.0);
    let blocks = referenced_blocks(store, &object)?;
    let referenced_bytes = blocks.iter().map(|(_, place)| u64::from(place.len)).sum();
    let arranged = arrange(&store.core, blocks)?;
    let shared_bytes = AtomicU64::new(0);
    let source = |block: &Relocated, holder: &Holder| {
        let good = match payload(store, block, holder)? {
            Some(place) => {
                shared_bytes.fetch_add(u64::from(place.len), Ordering::Relaxed);
                Good::Elsewhere(place)
            }
            None => Good::Block(read(store, block, &object)?),
        };
        if let Some(progress) = &options.progress {
            progress(u64::from(block.from.len));
        }
        Ok(Some(good))
    };
    let relocation = relocate(store, &arranged, &source, options.cancel.as_deref())?;
    Ok(AbsorbReport {
        cid: object.cid(),
        referenced_bytes,
        copied_bytes: relocation.new_bytes,
        objects: relocation.roots,
    })
}

/// The blocks of the target that lie in files of the user's, each once.
fn referenced_blocks(store: &Inner, object: &Object) -> Result<Vec<(Cid, Place)>, StoreError> {
    let record = object.record();
    let own = record.entry(object.path()).into_iter();
    let entries = own.chain(object.entries().map(|(_, entry)| entry));
    let mut rows: HashMap<PackId, Arc<[Row]>> = HashMap::new();
    let mut blocks: Vec<(Cid, Place)> = Vec::new();
    let files = entries.filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    for extent in files.flat_map(|entry| record.extents_of(entry)) {
        let id = record.pack(extent.pack);
        if !store.core.packs.is_reference(id) {
            continue;
        }
        let rows = match rows.get(&id) {
            Some(rows) => rows,
            None => {
                let pack = store.core.packs.open(id)?;
                let of_pack = store.core.packs.rows(&pack)?;
                rows.entry(id).or_insert(of_pack)
            }
        };
        let end = extent.offset + extent.len;
        let first = rows.partition_point(|row| row.offset < extent.offset);
        let inside = rows[first..].iter().take_while(|row| row.offset < end);
        blocks.extend(inside.map(|row| {
            let place = Place {
                pack: id,
                offset: row.offset,
                len: row.len,
            };
            (row.cid.0, place)
        }));
    }
    blocks.sort_by_key(|(_, place)| (place.pack, place.offset));
    blocks.dedup_by_key(|(_, place)| *place);
    Ok(blocks)
}

/// Where a pack has a block's bytes already. They are read and hashed: a good file is not given up for a block that
/// is damaged.
fn payload(store: &Inner, block: &Relocated, holder: &Holder) -> Result<Option<Place>, StoreError> {
    let found = store.find(block.cid.hash(), holder)?;
    Ok(found.filter(|place| store.core.block(&block.cid, place).is_ok()))
}

fn read(store: &Inner, block: &Relocated, object: &Object) -> Result<Block, StoreError> {
    let Relocated { cid, from, .. } = block;
    let pack = store.core.packs.open(from.pack)?;
    match pack.source_of(from.offset, u64::from(from.len))? {
        Some((_, source)) => {
            SourceReader::new(source, &object.display()).block(cid, from.offset, from.len as usize)
        }
        None => store.core.block(cid, from),
    }
}
