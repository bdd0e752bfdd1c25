//! Which bytes of the packs are covered by which roots.

use std::collections::HashMap;
use std::ops::Range;

use super::pack::PackId;
use super::root::RootRecord;

/// Sets of byte ranges, by pack.
#[derive(Debug, Default)]
pub(crate) struct Coverage(HashMap<PackId, Vec<Range<u64>>>);

impl Coverage {
    pub(crate) fn add(&mut self, record: &RootRecord) {
        for (pack, range) in record.places() {
            self.add_range(pack, range);
        }
    }

    /// Takes in what another one covers.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (pack, ranges) in &other.0 {
            self.0.entry(*pack).or_default().extend_from_slice(ranges);
        }
    }

    /// What is covered of a pack; sorted and apart once normalized.
    pub(crate) fn of(&self, pack: PackId) -> &[Range<u64>] {
        self.0.get(&pack).map_or(&[], Vec::as_slice)
    }

    /// Every pack of which something is covered.
    pub(crate) fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.0.keys().copied()
    }

    /// Takes packs out as a whole.
    pub(crate) fn retain(&mut self, keeps: impl Fn(PackId) -> bool) {
        self.0.retain(|pack, _| keeps(*pack));
    }

    pub(crate) fn add_range(&mut self, pack: PackId, range: Range<u64>) {
        if !range.is_empty() {
            self.0.entry(pack).or_default().push(range);
        }
    }

    /// Sorts and joins the ranges.
    pub(crate) fn normalize(&mut self) {
        for ranges in self.0.values_mut() {
            ranges.sort_unstable_by_key(|range| range.start);
            let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
            for range in ranges.drain(..) {
                match joined.last_mut() {
                    Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                    _ => joined.push(range),
                }
            }
            *ranges = joined;
        }
    }

    /// Bytes of a range that are covered; normalized before.
    pub(crate) fn bytes_within(&self, pack: PackId, range: &Range<u64>) -> u64 {
        let ranges = self.of(pack);
        let first = ranges.partition_point(|r| r.end <= range.start);
        ranges[first..]
            .iter()
            .take_while(|r| r.start < range.end)
            .map(|r| range.end.min(r.end) - range.start.max(r.start))
            .sum()
    }

    /// Bytes of this coverage that the other one leaves out; both are normalized.
    pub(crate) fn bytes_outside(&self, other: &Self) -> u64 {
        let mut outside = 0;
        for (pack, ranges) in &self.0 {
            for range in ranges {
                outside += range.end - range.start - other.bytes_within(*pack, range);
            }
        }
        outside
    }
}

/// A coverage that says how much of any range it holds, in the time of two searches however the range lies.
#[derive(Debug)]
pub(crate) struct Covered(HashMap<PackId, Vec<Run>>);

/// A range that is covered, and how many bytes of its pack are covered before it.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    end: u64,
    before: u64,
}

impl From<Coverage> for Covered {
    fn from(mut coverage: Coverage) -> Self {
        coverage.normalize();
        let runs = |ranges: Vec<Range<u64>>| {
            let mut before = 0;
            let run = |range: Range<u64>| {
                let run = Run {
                    start: range.start,
                    end: range.end,
                    before,
                };
                before += range.end - range.start;
                run
            };
            ranges.into_iter().map(run).collect()
        };
        let packs = coverage.0.into_iter();
        Self(packs.map(|(pack, ranges)| (pack, runs(ranges))).collect())
    }
}

impl Covered {
    /// Bytes that are covered, each once.
    pub(crate) fn bytes(&self) -> u64 {
        let packs = self.0.values().filter_map(|runs| runs.last());
        packs
            .map(|last| last.before + (last.end - last.start))
            .fold(0, u64::saturating_add)
    }

    /// Bytes of a range that are covered.
    pub(crate) fn within(&self, pack: PackId, range: Range<u64>) -> u64 {
        let Some(runs) = self.0.get(&pack) else {
            return 0;
        };
        let below = |at: u64| {
            let next = runs.partition_point(|run| run.start < at);
            runs[..next]
                .last()
                .map_or(0, |run| run.before + (at.min(run.end) - run.start))
        };
        below(range.end) - below(range.start)
    }

    /// Bytes that both cover.
    pub(crate) fn shared_with(&self, other: &Self) -> u64 {
        let of_pack = |(pack, runs): (&PackId, &Vec<Run>)| -> u64 {
            let within = |run: &Run| other.within(*pack, run.start..run.end);
            runs.iter().map(within).sum()
        };
        self.0.iter().map(of_pack).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_of_a_range_is_counted_from_its_ends() {
        let (pack, other) = (PackId([1; 16]), PackId([2; 16]));
        let mut coverage = Coverage::default();
        for range in [100..200, 150..300, 400..500, 500..510, 7..7] {
            coverage.add_range(pack, range);
        }
        let covered = Covered::from(coverage);
        assert_eq!(covered.bytes(), 310);
        for (range, expected) in [
            (0..100, 0),
            (0..101, 1),
            (100..300, 200),
            (120..130, 10),
            (290..410, 20),
            (505..9_000, 5),
            (300..400, 0),
            (0..9_000, 310),
        ] {
            assert_eq!(covered.within(pack, range.clone()), expected, "{range:?}");
        }
        assert_eq!(covered.within(other, 0..9_000), 0);
        assert_eq!(covered.shared_with(&covered), 310);

        // What a hostile root may say adds up to more than there are numbers.
        let mut huge = Coverage::default();
        for pack in [pack, other] {
            huge.add_range(pack, 0..10);
            huge.add_range(pack, 20..u64::MAX);
        }
        let huge = Covered::from(huge);
        assert_eq!(huge.bytes(), u64::MAX);
        assert_eq!(huge.shared_with(&huge), u64::MAX);
        assert_eq!(huge.within(pack, 5..u64::MAX), u64::MAX - 15);
    }

    #[test]
    fn bytes_outside_are_those_that_nothing_else_covers() {
        let pack = PackId([1; 16]);
        let mut own = Coverage::default();
        own.0.insert(pack, vec![100..200, 150..300, 400..500]);
        let mut others = Coverage::default();
        others.0.insert(pack, vec![120..130, 290..410, 490..600]);
        own.normalize();
        others.normalize();
        assert_eq!(own.bytes_outside(&others), 300 - 10 - 10 - 10 - 10);
        assert_eq!(own.bytes_outside(&Coverage::default()), 300);
        assert_eq!(own.bytes_outside(&own), 0);
    }
}
