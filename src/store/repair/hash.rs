//! Hashing the blocks of a pack side by side.

use std::ops::Range;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::raw::{Held, RawPack};
use crate::store::gone::{Gone, Why};
use crate::store::pack::{PackId, Row};

/// Blocks that one thread takes at a time, so that it reads forward.
const STEP: usize = 16;

/// For each row, what stands at its place.
pub(super) fn held(pool: &ThreadPool, pack: &RawPack, rows: &[Row]) -> Vec<Held> {
    let held = |row: &Row| pack.holds(&row.cid.0, row.offset, row.len);
    pool.install(|| {
        let steps = rows.par_chunks(STEP);
        steps.flat_map_iter(|step| step.iter().map(held)).collect()
    })
}

/// The rows that are not dead and whose bytes are not those of their blocks.
pub(super) fn damaged(
    pool: &ThreadPool,
    pack: &RawPack,
    id: PackId,
    rows: &[Row],
    gone: &Gone,
) -> Vec<Range<u64>> {
    let range = |row: &Row| row.offset..row.offset + u64::from(row.len);
    let is_alive = |row: &&Row| gone.why(id, &range(row)) != Some(Why::Dead);
    let alive: Vec<Row> = rows.iter().filter(is_alive).copied().collect();
    let held = held(pool, pack, &alive);
    let bad = alive.iter().zip(held);
    let bad = bad.filter(|(_, held)| held.is_bad());
    bad.map(|(row, _)| range(row)).collect()
}
