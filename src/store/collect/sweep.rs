//! What of the packs is dead: a pure function of what is live.

use std::collections::HashSet;
use std::ops::Range;

use crate::store::coverage::Coverage;
use crate::store::gone::{Gone, Why, outside};
use crate::store::pack::{PackFile, PackId, is_padding};

/// What the sweep needs to know of a pack.
#[derive(Clone, Debug)]
pub(crate) struct PackShape {
    pub(crate) id: PackId,
    pub(crate) payload: Range<u64>,
    /// Its blocks lie in files of the user's: there is nothing to give back but the pack as a whole.
    pub(crate) is_reference: bool,
}

impl PackShape {
    pub(crate) fn of(pack: &PackFile) -> Self {
        Self {
            id: pack.id(),
            payload: pack.payload(),
            is_reference: pack.is_reference(),
        }
    }
}

/// What is dead.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// Packs in which nothing is live.
    pub(crate) whole: Vec<PackId>,
    /// Of the others the dead ranges, those included that were dead before.
    pub(crate) parts: Vec<(PackId, Vec<Range<u64>>)>,
}

/// `needed` are packs that somebody relies on without needing bytes of them.
///
/// What was gone before stays so whatever is live: it may be a hole by now. Between what is live there is padding
/// too, which is not worth an entry; what one of the roots that go covered, `released`, is none.
pub(crate) fn sweep(
    packs: &[PackShape],
    live: &Coverage,
    released: &Coverage,
    needed: &HashSet<PackId>,
    before: &Gone,
) -> Sweep {
    let mut sweep = Sweep::default();
    for pack in packs {
        let (live, released) = (live.of(pack.id), released.of(pack.id));
        if live.is_empty() && !needed.contains(&pack.id) {
            sweep.whole.push(pack.id);
            continue;
        }
        if pack.is_reference {
            continue;
        }
        let gaps = outside(&pack.payload, live);
        let mut dead: Vec<Range<u64>> = gaps.filter(|gap| !is_padding(gap)).collect();
        dead.extend(released.iter().flat_map(|range| outside(range, live)));
        let was = before.of(pack.id).iter();
        let was = was.filter(|gone| gone.why == Why::Dead);
        dead.extend(was.map(|gone| gone.start..gone.end));
        let dead = joined(dead);
        if !dead.is_empty() {
            sweep.parts.push((pack.id, dead));
        }
    }
    sweep
}

fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: PackId = PackId([1; 16]);

    fn swept(live: &[Range<u64>], needed: bool, before: &Gone) -> Sweep {
        swept_without(live, &[], needed, before)
    }

    fn swept_without(
        live: &[Range<u64>],
        went: &[Range<u64>],
        needed: bool,
        before: &Gone,
    ) -> Sweep {
        let mut released = Coverage::default();
        went.iter()
            .for_each(|range| released.add_range(PACK, range.clone()));
        let mut coverage = Coverage::default();
        for range in live {
            coverage.add_range(PACK, range.clone());
        }
        coverage.normalize();
        let packs = [PackShape {
            id: PACK,
            payload: 128..1_000_000,
            is_reference: false,
        }];
        let needed = needed.then_some(PACK).into_iter().collect();
        sweep(&packs, &coverage, &released, &needed, before)
    }

    #[test]
    fn gaps_are_dead_unless_they_are_padding() {
        let sweep = swept(
            &[65_536..200_000, 200_000..200_050, 200_064..300_000],
            false,
            &Gone::default(),
        );
        assert_eq!(sweep.whole, []);
        assert_eq!(sweep.parts, [(PACK, vec![300_000..1_000_000])]);
        let sweep = swept(&[150_000..999_990], false, &Gone::default());
        assert_eq!(sweep.parts, [(PACK, vec![128..150_000])]);
    }

    #[test]
    fn what_lay_where_padding_may_be_is_dead_once_its_root_goes() {
        let live = [65_536..200_000, 200_000..200_050, 200_064..1_000_000];
        assert_eq!(swept(&live, false, &Gone::default()).parts, []);
        let sweep = swept_without(&live, &[128..3_000], false, &Gone::default());
        assert_eq!(sweep.parts, [(PACK, vec![128..3_000])]);
        let live = [128..1_000, 65_536..1_000_000];
        assert_eq!(swept(&live, false, &Gone::default()).parts, []);
        let sweep = swept_without(&live, &[500..3_000], false, &Gone::default());
        assert_eq!(sweep.parts, [(PACK, vec![1_000..3_000])]);
    }

    #[test]
    fn a_pack_goes_when_nothing_in_it_is_live_or_needed() {
        assert_eq!(swept(&[], false, &Gone::default()).whole, [PACK]);
        let kept = swept(&[], true, &Gone::default());
        assert_eq!(
            (kept.whole, kept.parts),
            (vec![], vec![(PACK, vec![128..1_000_000])])
        );
    }

    #[test]
    fn of_a_reference_pack_nothing_is_dead_but_all_of_it() {
        let packs = [PackShape {
            id: PACK,
            payload: 128..256,
            is_reference: true,
        }];
        let mut live = Coverage::default();
        let none = HashSet::new();
        assert_eq!(
            sweep(&packs, &live, &Coverage::default(), &none, &Gone::default()).whole,
            [PACK]
        );
        let needed = HashSet::from([PACK]);
        let kept = sweep(
            &packs,
            &live,
            &Coverage::default(),
            &needed,
            &Gone::default(),
        );
        assert_eq!(kept, Sweep::default());
        live.add_range(PACK, 65_536..65_540);
        assert_eq!(
            sweep(&packs, &live, &Coverage::default(), &none, &Gone::default()),
            Sweep::default()
        );
    }

    #[test]
    fn what_was_dead_stays_dead_though_it_looks_like_padding_now() {
        let mut before = Gone::default();
        before.set_dead(PACK, &[500..600]);
        before.set_damaged(PACK, 700..800);
        let sweep = swept(&[128..550, 550..1_000_000], false, &before);
        assert_eq!(sweep.parts, [(PACK, vec![500..600])]);
    }
}
