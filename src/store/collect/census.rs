//! How many bytes each root has alone, and what goes when several of them go.

use std::collections::HashMap;

use super::roots::Rooted;
use crate::store::coverage::Coverage;
use crate::store::pack::PackId;

/// The packs' bytes cut where the set of roots that cover them changes.
#[derive(Debug)]
pub(crate) struct Census {
    segments: Vec<Segment>,
    /// By root, the segments that it covers.
    of_root: Vec<Vec<u32>>,
    removed: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    pack: PackId,
    len: u64,
    /// Roots that still cover it.
    roots: u32,
}

impl Census {
    pub(crate) fn new(roots: &[Rooted]) -> Self {
        Self::of(roots.iter().map(|root| &root.coverage))
    }

    /// Of what roots cover, normalized.
    pub(crate) fn of<'a>(roots: impl ExactSizeIterator<Item = &'a Coverage>) -> Self {
        let count = roots.len();
        let mut ends: HashMap<PackId, Vec<(u64, bool, usize)>> = HashMap::new();
        for (index, coverage) in roots.enumerate() {
            for pack in coverage.packs() {
                let ends = ends.entry(pack).or_default();
                for range in coverage.of(pack) {
                    ends.push((range.start, true, index));
                    ends.push((range.end, false, index));
                }
            }
        }
        let mut census = Self {
            segments: Vec::new(),
            of_root: vec![Vec::new(); count],
            removed: vec![false; count],
        };
        for (pack, mut ends) in ends {
            ends.sort_unstable();
            census.cut(pack, &ends);
        }
        census
    }

    /// The ends of one pack's ranges, in order.
    fn cut(&mut self, pack: PackId, ends: &[(u64, bool, usize)]) {
        let mut open: Vec<usize> = Vec::new();
        let mut at = 0;
        for &(next, begins, root) in ends {
            if next > at && !open.is_empty() {
                let number = self.segments.len() as u32;
                self.segments.push(Segment {
                    pack,
                    len: next - at,
                    roots: open.len() as u32,
                });
                open.iter()
                    .for_each(|&root| self.of_root[root].push(number));
            }
            at = next;
            match begins {
                true => open.push(root),
                false => open.retain(|&other| other != root),
            }
        }
    }

    /// Bytes that the root covers.
    pub(crate) fn bytes(&self, root: usize) -> u64 {
        self.sum(root, |_| true)
    }

    /// Bytes that only this root covers of those that are left.
    pub(crate) fn exclusive(&self, root: usize) -> u64 {
        self.sum(root, |segment| segment.roots == 1)
    }

    fn sum(&self, root: usize, counts: impl Fn(&Segment) -> bool) -> u64 {
        let segments = self.of_root[root].iter();
        let segments = segments.map(|&number| &self.segments[number as usize]);
        segments.filter(|s| counts(s)).map(|s| s.len).sum()
    }

    /// Takes a root away; says how many bytes nothing covers any more. Each root goes once.
    pub(crate) fn remove(&mut self, root: usize) -> u64 {
        let mut freed = 0;
        self.remove_each(root, |_, bytes| freed += bytes);
        freed
    }

    /// As [`Census::remove`], pack by pack; says whether the root was there.
    pub(crate) fn remove_each(&mut self, root: usize, mut goes: impl FnMut(PackId, u64)) -> bool {
        if std::mem::replace(&mut self.removed[root], true) {
            return false;
        }
        for &number in &self.of_root[root] {
            let segment = &mut self.segments[number as usize];
            segment.roots -= 1;
            if segment.roots == 0 {
                goes(segment.pack, segment.len);
            }
        }
        true
    }

    /// Takes a removal back; says how many bytes are covered again that nothing covered.
    pub(crate) fn put_back(&mut self, root: usize) -> u64 {
        let mut covered = 0;
        self.put_back_each(root, |_, bytes| covered += bytes);
        covered
    }

    /// As [`Census::put_back`], pack by pack; says whether the root was away.
    pub(crate) fn put_back_each(
        &mut self,
        root: usize,
        mut comes: impl FnMut(PackId, u64),
    ) -> bool {
        if !std::mem::take(&mut self.removed[root]) {
            return false;
        }
        for &number in &self.of_root[root] {
            let segment = &mut self.segments[number as usize];
            if segment.roots == 0 {
                comes(segment.pack, segment.len);
            }
            segment.roots += 1;
        }
        true
    }

    /// Bytes that any root covers.
    pub(crate) fn total(&self) -> u64 {
        let left = self.segments.iter().filter(|segment| segment.roots > 0);
        left.map(|segment| segment.len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::store::root::{ObjectKind, RootName};

    fn root(ranges: &[(u8, std::ops::Range<u64>)]) -> Rooted {
        let mut coverage = Coverage::default();
        for (pack, range) in ranges {
            coverage.add_range(PackId([*pack; 16]), range.clone());
        }
        coverage.normalize();
        Rooted {
            name: RootName::Loose,
            path: Default::default(),
            cid: crate::dag::leaf(b"x", &crate::dag::Profile::default()).cid,
            title: String::new(),
            kind: ObjectKind::File,
            size: 0,
            used: SystemTime::now(),
            coverage,
            packs: Vec::new(),
        }
    }

    #[test]
    fn shared_bytes_go_with_the_last_root_that_covers_them() {
        let roots = [
            root(&[(1, 0..100), (1, 200..300)]),
            root(&[(1, 50..250), (2, 0..10)]),
            root(&[(2, 0..10)]),
        ];
        let mut census = Census::new(&roots);
        assert_eq!(census.total(), 310);
        assert_eq!([0, 1, 2].map(|i| census.bytes(i)), [200, 210, 10]);
        assert_eq!([0, 1, 2].map(|i| census.exclusive(i)), [100, 100, 0]);
        assert_eq!(census.remove(1), 100);
        assert_eq!(census.remove(1), 0, "it went");
        assert_eq!(census.put_back(1), 100);
        assert_eq!(census.put_back(1), 0, "it is back");
        assert_eq!(census.remove(1), 100);
        assert_eq!(census.exclusive(0), 200);
        assert_eq!(census.remove(0), 200);
        assert_eq!(census.remove(2), 10);
        assert_eq!(census.total(), 0);
    }
}
