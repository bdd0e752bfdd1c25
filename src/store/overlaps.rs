//! Rows of a pack's table that lie over each other, as no store writes them: a damaged table was made again, or
//! somebody wrote it. Where some of them hold and others do not, verification and repair decide alike what is damaged.

use std::ops::Range;

use super::coverage::Coverage;
use super::gone::outside;
use super::pack::Place;

/// What is damaged at the place of a block whose bytes are not there. Bytes that read well as those of other rows are
/// not, unless this block is what a root places there: then whoever reads by that root would get another one's.
pub(crate) fn damaged_of(place: &Place, is_placed: bool, well: &Coverage) -> Vec<Range<u64>> {
    match is_placed {
        true => vec![place.range()],
        false => outside(&place.range(), well.of(place.pack)).collect(),
    }
}

/// The bytes that several of these ranges lie over, in order and apart; the ranges are in the order of their starts.
pub(crate) fn shared(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut shared: Vec<Range<u64>> = Vec::new();
    let mut end = 0;
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        let over = range.start..range.end.min(end);
        match shared.last_mut() {
            _ if over.is_empty() => {}
            Some(last) if over.start <= last.end => last.end = last.end.max(over.end),
            _ => shared.push(over),
        }
        end = end.max(range.end);
    }
    shared
}

/// Whether a range has any byte of others, which are in order and apart.
pub(crate) fn touches(range: &Range<u64>, others: &[Range<u64>]) -> bool {
    let first = others.partition_point(|other| other.end <= range.start);
    let next = others.get(first);
    next.is_some_and(|next| next.start < range.end && !range.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pack::PackId;

    #[test]
    fn bytes_that_several_lie_over_are_told_apart() {
        let of = |ranges: &[Range<u64>]| shared(ranges.iter().cloned());
        assert_eq!(of(&[0..10, 10..20, 15..15, 30..40]), []);
        assert_eq!(of(&[0..10, 5..20, 7..9, 20..30]), [5..10]);
        assert_eq!(of(&[0..100, 10..20, 20..30, 50..60]), [10..30, 50..60]);
        let shared = [10..30, 50..60];
        assert!(touches(&(0..11), &shared) && touches(&(29..40), &shared));
        assert!(!touches(&(30..50), &shared) && !touches(&(20..20), &shared));
    }

    #[test]
    fn what_reads_well_as_another_block_is_damaged_only_for_the_block_that_a_root_places_there() {
        let pack = PackId([1; 16]);
        let mut well = Coverage::default();
        well.add_range(pack, 100..110);
        well.add_range(pack, 150..200);
        let place = Place {
            pack,
            offset: 100,
            len: 80,
        };
        assert_eq!(damaged_of(&place, true, &well), [100..180]);
        assert_eq!(damaged_of(&place, false, &well), [110..150]);
        well.add_range(pack, 105..150);
        well.normalize();
        assert_eq!(damaged_of(&place, false, &well), []);
    }
}
