//! Hashing the blocks of a pack side by side.

use rayon::ThreadPool;
use rayon::prelude::*;

use super::pack::Pack;
use super::raw::{Held, RawPack};
use crate::store::coverage::Coverage;
use crate::store::gone::{Gone, Why};
use crate::store::overlaps;
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

/// What hashing tells of a pack.
pub(super) struct Hashed {
    /// Rows whose bytes are not those of their blocks.
    pub(super) bad: Vec<Row>,
    /// What reads well of rows that others lie over.
    pub(super) well: Coverage,
}

/// Hashes the rows that are not dead.
pub(super) fn hashed(pool: &ThreadPool, raw: &RawPack, pack: &Pack, gone: &Gone) -> Hashed {
    let is_alive = |row: &&Row| gone.why(pack.id, &row.range()) != Some(Why::Dead);
    let alive: Vec<Row> = pack.rows.iter().filter(is_alive).copied().collect();
    let held = held(pool, raw, &alive);
    Hashed::of(pack.id, &alive, &held)
}

impl Hashed {
    /// The rows are in the order of their offsets.
    pub(super) fn of(pack: PackId, rows: &[Row], held: &[Held]) -> Self {
        let shared = overlaps::shared(rows.iter().map(Row::range));
        let (mut bad, mut well) = (Vec::new(), Coverage::default());
        for (row, held) in rows.iter().zip(held) {
            match held {
                held if held.is_bad() => bad.push(*row),
                Held::Good if overlaps::touches(&row.range(), &shared) => {
                    well.add_range(pack, row.range());
                }
                _ => {}
            }
        }
        well.normalize();
        Self { bad, well }
    }
}
