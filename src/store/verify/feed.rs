//! What is to be read, in the order in which it lies: pieces of packs, with the blocks in them.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::access::Access;
use super::tables::{self, Known};
use crate::dag::MAX_BLOCK_BYTES;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::format::{array, random_id};
use crate::store::gone::{Gone, outside};
use crate::store::overlaps;
use crate::store::pack::{PackFile, PackId, Place, Row};

/// Blocks that lie close together are read at once, up to so many bytes.
const PIECE_BYTES: u64 = 4 << 20;
/// A gap that is shorter is read along.
const GAP_BYTES: u64 = 64 << 10;
/// So many pieces are asked for before somebody waits for them: the disk goes on while all threads hash.
const AHEAD: usize = 6;

/// A part of a pack that is read at once.
pub(super) struct Piece {
    pub(super) pack: Arc<PackFile>,
    pub(super) range: Range<u64>,
    rows: Arc<[Row]>,
    numbers: Range<usize>,
    /// Bytes that several rows of the pack lie over, in order and apart.
    shared: Arc<[Range<u64>]>,
}

impl Piece {
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows[self.numbers.clone()]
    }

    /// Whether another row of the pack lies over bytes of this one.
    pub(super) fn is_shared(&self, row: &Row) -> bool {
        overlaps::touches(&row.range(), &self.shared)
    }
}

/// What will be read soon.
type Ahead = (Arc<PackFile>, Range<u64>);

/// Which blocks are wanted.
pub(super) enum Wanted {
    All,
    /// Those that lie in these ranges, which are in order and apart.
    Within(Coverage),
}

pub(super) struct Feed<'a> {
    access: &'a Access<'a>,
    packs: std::vec::IntoIter<PackId>,
    wanted: Wanted,
    draw: Option<Draw>,
    gone: Arc<Gone>,
    queue: VecDeque<Piece>,
    /// How many of the queue were asked for.
    asked: usize,
    pub(super) total_bytes: u64,
    /// Blocks that are wanted, those included that were not drawn.
    pub(super) of_blocks: u64,
    pub(super) opened: u64,
    pub(super) unreadable: Vec<(PackId, PathBuf, StoreError)>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(
        access: &'a Access<'a>,
        mut packs: Vec<PackId>,
        wanted: Wanted,
        sample: Option<f64>,
    ) -> Result<Self, StoreError> {
        packs.sort();
        let gone = access.gone()?;
        let mut total_bytes = 0;
        for pack in &packs {
            total_bytes += match &wanted {
                Wanted::Within(covered) => sum(covered.of(*pack)),
                // What cannot be opened is told when its turn comes.
                Wanted::All => access.core.packs.open(*pack).map_or(0, |open| {
                    if let Some(sources) = open.sources() {
                        return sources.referenced_bytes();
                    }
                    let dead = gone.of(*pack).iter().map(|gone| gone.start..gone.end);
                    let dead: Vec<Range<u64>> = dead.collect();
                    outside(&open.payload(), &dead)
                        .map(|r| r.end - r.start)
                        .sum()
                }),
            };
        }
        let draw = sample.map(Draw::new).transpose()?;
        if let Some(draw) = &draw {
            total_bytes = (total_bytes as f64 * draw.share) as u64;
        }
        Ok(Self {
            access,
            packs: packs.into_iter(),
            wanted,
            draw,
            gone,
            queue: VecDeque::new(),
            asked: 0,
            total_bytes,
            of_blocks: 0,
            opened: 0,
            unreadable: Vec::new(),
        })
    }

    /// Whether a block was recorded as damaged when the reading began.
    pub(super) fn gone(&self) -> &Arc<Gone> {
        &self.gone
    }

    /// The next piece, and what is to be asked for meanwhile.
    pub(super) fn next(&mut self) -> Result<Option<(Piece, Vec<Ahead>)>, StoreError> {
        while self.queue.len() <= AHEAD {
            let Some(id) = self.packs.next() else { break };
            self.load(id)?;
        }
        let Some(piece) = self.queue.pop_front() else {
            return Ok(None);
        };
        self.asked = self.asked.saturating_sub(1);
        let ahead = self.queue.iter().take(AHEAD).skip(self.asked);
        let ahead: Vec<_> = ahead
            .map(|piece| (Arc::clone(&piece.pack), piece.range.clone()))
            .collect();
        self.asked += ahead.len();
        Ok(Some((piece, ahead)))
    }

    fn load(&mut self, id: PackId) -> Result<(), StoreError> {
        let (pack, rows) = match tables::open(self.access, id)? {
            Known::Rows(pack, rows) => (pack, rows),
            Known::NoTable(pack, error) => {
                let path = pack.path().to_path_buf();
                self.unreadable
                    .extend(Arc::into_inner(error).map(|e| (id, path, e)));
                return Ok(());
            }
            // One that went since the packs were listed was collected; whether an object lacks it, those who
            // follow the objects see.
            Known::Lost(error) if is_missing(&error) => return Ok(()),
            Known::Lost(error) => {
                // One that went since the packs were listed was collected.
                if self.access.is_here(id)? {
                    let path = self.access.core.folder.packs().join(id.file_name());
                    self.unreadable
                        .extend(Arc::into_inner(error).map(|e| (id, path, e)));
                }
                return Ok(());
            }
        };
        self.opened += 1;
        let mut wanted = self.chosen(id, &rows);
        if let Some(e) = wanted.iter().find_map(|row| check(&pack, row).err()) {
            self.unreadable.push((id, pack.path().to_path_buf(), e));
            return Ok(());
        }
        self.of_blocks += wanted.len() as u64;
        let shared: Arc<[Range<u64>]> = overlaps::shared(wanted.iter().map(Row::range)).into();
        if let Some(draw) = &mut self.draw {
            let is_damaged = |row: &Row| self.gone.is_damaged(&place_of(id, row));
            let is_shared = |row: &Row| overlaps::touches(&row.range(), &shared);
            draw.choose(&mut wanted, |row| is_damaged(row) || is_shared(row));
        }
        self.cut(&pack, wanted.into(), shared);
        Ok(())
    }

    /// The rows that are wanted and not dead. Those that lie over each other are read together or not at all: only all
    /// of them tell which of them are wrong.
    fn chosen(&self, id: PackId, rows: &[Row]) -> Vec<Row> {
        let mut chosen = Vec::with_capacity(rows.len());
        let (mut first, mut end, mut is_wanted) = (0, 0, false);
        for row in rows {
            let place = place_of(id, row);
            if self.gone.is_dead(&place) {
                continue;
            }
            if row.offset >= end {
                if !is_wanted {
                    chosen.truncate(first);
                }
                (first, is_wanted) = (chosen.len(), false);
            }
            chosen.push(*row);
            end = end.max(row.range().end);
            is_wanted |= self.wants(&place);
        }
        if !is_wanted {
            chosen.truncate(first);
        }
        chosen
    }

    fn wants(&self, place: &Place) -> bool {
        let Wanted::Within(covered) = &self.wanted else {
            return true;
        };
        overlaps::touches(&place.range(), covered.of(place.pack))
    }

    /// Cuts a pack's blocks into pieces.
    fn cut(&mut self, pack: &Arc<PackFile>, rows: Arc<[Row]>, shared: Arc<[Range<u64>]>) {
        let mut first = 0;
        while let Some(row) = rows.get(first) {
            let start = row.offset;
            let mut end = start + u64::from(row.len);
            let mut next = first + 1;
            while let Some(row) = rows.get(next) {
                let row_end = row.offset + u64::from(row.len);
                if row.offset > end + GAP_BYTES || row_end.max(end) - start > PIECE_BYTES {
                    break;
                }
                end = end.max(row_end);
                next += 1;
            }
            self.queue.push_back(Piece {
                pack: Arc::clone(pack),
                range: start..end,
                rows: Arc::clone(&rows),
                numbers: first..next,
                shared: Arc::clone(&shared),
            });
            first = next;
        }
    }
}

pub(super) fn place_of(pack: PackId, row: &Row) -> Place {
    Place {
        pack,
        offset: row.offset,
        len: row.len,
    }
}

fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::File(e) if e.source.kind() == std::io::ErrorKind::NotFound)
}

fn sum(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

fn check(pack: &PackFile, row: &Row) -> Result<(), StoreError> {
    if row.len as usize > MAX_BLOCK_BYTES {
        return Err(StoreError::Damaged {
            path: pack.path().to_path_buf(),
            what: "length of a block",
            expected: format!("up to {MAX_BLOCK_BYTES} bytes"),
            found: format!("{} bytes from {}", row.len, row.offset),
        });
    }
    match row.len {
        0 => Ok(()),
        len => pack.check_range(row.offset, u64::from(len)),
    }
}

/// Draws blocks at random, an exact share of all that it sees, and one at least.
struct Draw {
    share: f64,
    seen: u64,
    drawn: u64,
    state: u64,
}

impl Draw {
    fn new(share: f64) -> Result<Self, StoreError> {
        let id = random_id()?;
        Ok(Self {
            share: share.clamp(0.0, 1.0),
            seen: 0,
            drawn: 0,
            state: u64::from_le_bytes(array(&id[..8])) | 1,
        })
    }

    /// Leaves a share of the rows, and those that are to stay.
    fn choose(&mut self, rows: &mut Vec<Row>, stays: impl Fn(&Row) -> bool) {
        let mut left = rows.len() as u64;
        self.seen += left;
        let due = (self.seen as f64 * self.share).ceil() as u64;
        let mut wanted = due.saturating_sub(self.drawn).min(left);
        self.drawn += wanted;
        rows.retain(|row| {
            let is_drawn = self.below(left) < wanted;
            left -= 1;
            wanted -= u64::from(is_drawn);
            is_drawn || stays(row)
        });
    }

    /// A number below `end`: xorshift64*.
    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(random) * u128::from(end)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, HashFunction, RAW};
    use crate::store::format::StoredCid;

    fn rows(count: u64) -> Vec<Row> {
        let cid = *Block::new(RAW, HashFunction::Sha2_256, vec![]).cid();
        let row = |n| Row {
            cid: StoredCid(cid),
            offset: n,
            len: 1,
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn a_sample_is_an_exact_share_of_all_and_never_the_same() {
        let mut draw = Draw::new(0.05).unwrap();
        let mut drawn = Vec::new();
        for count in [1, 7, 1_000, 0, 992] {
            let mut some = rows(count);
            draw.choose(&mut some, |_| false);
            drawn.push(some);
        }
        assert_eq!(drawn[0].len(), 1, "one at least");
        assert_eq!(drawn.iter().map(Vec::len).sum::<usize>(), 100);
        let mut other = rows(1_000);
        Draw::new(0.05).unwrap().choose(&mut other, |_| false);
        assert_eq!(other.len(), 50);
        assert_ne!(other, drawn[2]);
        let mut kept = rows(1_000);
        Draw::new(0.0)
            .unwrap()
            .choose(&mut kept, |row| row.offset == 3);
        assert_eq!(kept.len(), 1);
        let mut all = rows(10);
        Draw::new(1.0).unwrap().choose(&mut all, |_| false);
        assert_eq!(all.len(), 10);
    }
}
