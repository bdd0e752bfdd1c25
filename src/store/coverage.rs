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
        let extents = record.extents.iter().map(|e| (e.pack, e.offset, e.len));
        let nodes = record
            .nodes
            .iter()
            .map(|n| (n.pack, n.offset, u64::from(n.len)));
        for (pack, offset, len) in extents.chain(nodes) {
            if len > 0 {
                self.0
                    .entry(record.pack(pack))
                    .or_default()
                    .push(offset..offset + len);
            }
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

    /// Bytes of this coverage that the other one leaves out; both are normalized.
    pub(crate) fn bytes_outside(&self, other: &Self) -> u64 {
        let mut outside = 0;
        for (pack, ranges) in &self.0 {
            let others = other.0.get(pack).map_or(&[][..], Vec::as_slice);
            for range in ranges {
                let first = others.partition_point(|o| o.end <= range.start);
                let shared: u64 = others[first..]
                    .iter()
                    .take_while(|o| o.start < range.end)
                    .map(|o| range.end.min(o.end) - range.start.max(o.start))
                    .sum();
                outside += range.end - range.start - shared;
            }
        }
        outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
