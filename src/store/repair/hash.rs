//! Hashing the blocks of a pack side by side.

use rayon::ThreadPool;
use rayon::prelude::*;

use super::pack::Pack;
use super::raw::{Held, RawPack};
use super::watch::Watch;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::{Gone, Why};
use crate::store::overlaps;
use crate::store::pack::{PackId, Row};

/// Blocks that one thread takes at a time, so that it reads forward.
const STEP: usize = 16;

/// Hashes, and says how far it is.
#[derive(Debug)]
pub(super) struct Hasher<'a> {
    pub(super) pool: ThreadPool,
    pub(super) watch: Watch<'a>,
}

impl Hasher<'_> {
    /// For each row, what stands at its place.
    ///
    /// # Errors
    /// [`StoreError::Cancelled`] once it is to stop.
    pub(super) fn held(&self, pack: &RawPack, rows: &[Row]) -> Result<Vec<Held>, StoreError> {
        self.watch.expect(bytes_of(rows));
        self.hash(pack, rows)
    }

    fn hash(&self, pack: &RawPack, rows: &[Row]) -> Result<Vec<Held>, StoreError> {
        let step = |step: &[Row]| {
            self.watch.check()?;
            let held = step
                .iter()
                .map(|row| pack.holds(&row.cid.0, row.offset, row.len));
            let held: Vec<Held> = held.collect();
            self.watch.read(bytes_of(step));
            Ok(held)
        };
        let held = self.pool.install(|| {
            let steps = rows.par_chunks(STEP).map(step);
            steps.collect::<Result<Vec<_>, StoreError>>()
        })?;
        Ok(held.concat())
    }

    /// Hashes the rows that are not dead; how many bytes that will be is known.
    pub(super) fn hashed(
        &self,
        raw: &RawPack,
        pack: &Pack,
        gone: &Gone,
    ) -> Result<Hashed, StoreError> {
        let alive: Vec<Row> = alive(pack, gone).copied().collect();
        let held = self.hash(raw, &alive)?;
        Ok(Hashed::of(pack.id, &alive, &held))
    }
}

/// The rows of a pack that are not dead.
pub(super) fn alive<'p>(pack: &'p Pack, gone: &'p Gone) -> impl Iterator<Item = &'p Row> {
    let is_alive = |row: &&Row| gone.why(pack.id, &row.range()) != Some(Why::Dead);
    pack.rows.iter().filter(is_alive)
}

/// What hashing tells of a pack.
pub(super) struct Hashed {
    /// Rows whose bytes are not those of their blocks.
    pub(super) bad: Vec<Row>,
    /// What reads well of rows that others lie over.
    pub(super) well: Coverage,
}

pub(super) fn bytes_of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> u64 {
    rows.into_iter().map(|row| u64::from(row.len)).sum()
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
