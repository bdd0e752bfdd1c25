//! Giving blocks another place: the one way in which what is alive moves. It heals damaged blocks, takes
//! referenced ones in and joins small packs.
//!
//! The blocks are written into new packs, as an add writes them. Then every root that places one of them at its
//! old place is rewritten: the old root is retired, so that who reads through it keeps it, and the new one takes
//! its name. What lies at the old places is dead at the next collection. A crash leaves each root old or new, and
//! both are whole.

mod arrange;
mod rewrite;

pub(crate) use arrange::arrange;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use self::rewrite::Rewriting;
use super::error::StoreError;
use super::ingest::BlockWriter;
use super::inner::Inner;
use super::pack::{ObjectNote, PackId, Place, Row};
use super::registry::Holder;
use crate::block::{Block, Cid};

/// Blocks are asked for and written up to so many bytes at a time.
const BATCH_BYTES: u64 = 16 << 20;
const BATCH_BLOCKS: usize = 1_024;

/// A block that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocated {
    pub(crate) cid: Cid,
    /// Where the roots place it; nothing is read from there.
    pub(crate) from: Place,
    /// It is the next leaf of the same file as the block before it, and is to follow it directly.
    pub(crate) continues: bool,
    /// Length of the stretch of its file that it belongs to, which decides how it is aligned.
    pub(crate) run_bytes: u64,
}

/// What there is to put in a block's place.
pub(crate) enum Good {
    /// Its bytes, to be written.
    Block(Block),
    /// Another place that has them, which was checked and which the holder relies on.
    Elsewhere(Place),
}

/// Says what to put in a block's place, or that there is nothing; asked for one block after the other, from
/// several threads, so that memory stays bounded. The holder keeps what a [`Good::Elsewhere`] claims.
pub(crate) type Source<'s> =
    dyn Fn(&Relocated, &Holder) -> Result<Option<Good>, StoreError> + Sync + 's;

/// What a relocation did.
#[derive(Debug, Default)]
pub(crate) struct Relocation {
    /// What moved, and where to.
    pub(crate) moved: Vec<(Relocated, Place)>,
    /// What the source had nothing for; it stays where it was.
    pub(crate) left: Vec<Relocated>,
    /// Bytes that were written.
    pub(crate) new_bytes: u64,
    /// Roots that were rewritten.
    pub(crate) roots: u64,
}

/// Moves blocks, in the order in which they are to lie; see [`arrange`].
///
/// # Errors
/// Those of the source, and [`StoreError::File`] when the disk refuses. Before the first root is rewritten an error
/// leaves nothing behind; after it, what was rewritten stays, and moving the rest again goes on.
pub(crate) fn relocate(
    store: &Inner,
    blocks: &[Relocated],
    source: &Source<'_>,
    cancel: Option<&AtomicBool>,
) -> Result<Relocation, StoreError> {
    let from = blocks.iter().map(|block| block.from.pack).collect();
    let mut writer = BlockWriter::new(store)?.instead_of(from);
    let mut relocation = Relocation::default();
    for batch in batches(blocks) {
        if cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(StoreError::Cancelled);
        }
        write(store, batch, source, &mut writer, &mut relocation)?;
    }
    if !relocation.moved.is_empty() {
        commit(store, writer, &mut relocation)?;
    }
    Ok(relocation)
}

fn batches(blocks: &[Relocated]) -> impl Iterator<Item = &[Relocated]> {
    let mut rest = blocks;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |block: &&Relocated| {
            bytes += u64::from(block.from.len);
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH_BLOCKS).take_while(fits).count();
        let (batch, after) = rest.split_at(count.max(1).min(rest.len()));
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Asks for a batch side by side, and gives what there is a place.
fn write(
    store: &Inner,
    batch: &[Relocated],
    source: &Source<'_>,
    writer: &mut BlockWriter<'_>,
    relocation: &mut Relocation,
) -> Result<(), StoreError> {
    let holder = writer.holder();
    let ask = |block: &Relocated| source(block, holder);
    let found: Result<Vec<_>, _> = store
        .pool()?
        .install(|| batch.par_iter().map(ask).collect());
    for (block, good) in batch.iter().zip(found?) {
        if !block.continues {
            writer.end_run();
        }
        match good {
            Some(Good::Elsewhere(place)) if place.len == block.from.len => {
                writer.end_run();
                relocation.moved.push((*block, place));
            }
            Some(Good::Block(data)) if is_it(&data, block) => {
                let seals = store.seals();
                let bytes = data.data().to_vec();
                let (put, _) = writer.put(&block.cid, bytes, block.run_bytes, None, seals)?;
                if put.is_new {
                    relocation.new_bytes += u64::from(block.from.len);
                }
                relocation.moved.push((*block, put.place));
            }
            Some(_) | None => {
                writer.end_run();
                relocation.left.push(*block);
            }
        }
    }
    writer.flush()?;
    writer.note_written();
    Ok(())
}

fn is_it(data: &Block, block: &Relocated) -> bool {
    data.cid().hash() == block.cid.hash() && data.data().len() == block.from.len as usize
}

/// Publishes the last pack and rewrites the roots, all while nobody else commits.
fn commit(
    store: &Inner,
    mut writer: BlockWriter<'_>,
    relocation: &mut Relocation,
) -> Result<(), StoreError> {
    let guard = store.commit_guard()?;
    let given_up = given_up(store, &relocation.moved);
    let own = writer.seal_last(given_up.values().flatten().cloned().collect())?;
    for (_, to) in &mut relocation.moved {
        *to = own.place(*to);
    }
    let packs = given_up.into_keys().collect();
    let mut rewriting = Rewriting::new(store, &relocation.moved, packs);
    let rewritten = rewriting.run();
    relocation.roots = rewriting.roots;
    if rewritten.is_err() && relocation.roots == 0 {
        // It takes its packs back.
        drop(writer);
        return rewritten;
    }
    // What the index does not learn now it learns when the store is next opened.
    if let Err(e) = writer.index_last() {
        tracing::warn!("{e}");
    }
    drop(guard);
    writer.finish();
    rewritten
}

/// The packs every block of which moves, with the objects whose adds ended in them.
fn given_up(store: &Inner, moved: &[(Relocated, Place)]) -> HashMap<PackId, Vec<ObjectNote>> {
    let mut blocks: HashMap<PackId, HashSet<(u64, u32)>> = HashMap::new();
    for (block, _) in moved {
        let of_pack = blocks.entry(block.from.pack).or_default();
        of_pack.insert((block.from.offset, block.from.len));
    }
    let mut given_up = HashMap::new();
    for (id, moved) in blocks {
        // One that cannot be read may hold more than is known of it.
        let Ok(pack) = store.core.packs.open(id) else {
            continue;
        };
        // What moves may be no row, where a table lost some.
        let moves = |row: &Row| moved.contains(&(row.offset, row.len));
        if pack.blocks() <= moved.len() as u64
            && let Ok(table) = pack.table()
            && table.rows.iter().all(moves)
        {
            given_up.insert(id, table.objects);
        }
    }
    given_up
}

#[cfg(test)]
pub(crate) mod tests;
