//! `gone`: which bytes of the packs are not to be read, because nothing covers them (dead) or because they are
//! known to be wrong (damaged). Replaced as a whole; a store without it says so.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::error::StoreError;
use super::folder::StoreFolder;
use super::format::{self, Envelope, FileKind, StoreId};
use super::pack::{PackId, Place};

/// Some 20 bytes a range; far more than there are blocks in any store.
const LIMIT: u64 = 4 << 30;

/// Why bytes are not to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// No root covers them; they may be a hole.
    Dead,
    /// They are not those of their block.
    Damaged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoneRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) why: Why,
}

/// By pack, in order and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone(BTreeMap<PackId, Vec<GoneRange>>);

impl Gone {
    pub(crate) fn to_bytes(&self, store: StoreId) -> Vec<u8> {
        let rows: Vec<(&PackId, &Vec<GoneRange>)> = self.0.iter().collect();
        format::seal(FileKind::Gone, store, &[format::section(&rows)])
    }

    pub(crate) fn parse(bytes: &[u8], store: StoreId, path: &Path) -> Result<Self, StoreError> {
        let envelope = Envelope::open(bytes, FileKind::Gone, Some(store), path)?;
        let section = envelope.section(bytes, 0, path, "ranges")?;
        let rows: Vec<(PackId, Vec<GoneRange>)> = format::decode(section, path, "ranges")?;
        let count = rows.len();
        let gone = Self(rows.into_iter().collect());
        let apart = |ranges: &Vec<GoneRange>| {
            ranges.iter().all(|range| range.start < range.end)
                && ranges.windows(2).all(|pair| pair[0].end <= pair[1].start)
        };
        if gone.0.len() == count && gone.0.values().all(apart) {
            return Ok(gone);
        }
        Err(StoreError::Damaged {
            path: path.to_path_buf(),
            what: "ranges",
            expected: "ranges in order and apart, each pack once".into(),
            found: "others".into(),
        })
    }

    /// Why a range is not to be read, if any of it is not; of two reasons the worse one.
    pub(crate) fn why(&self, pack: PackId, range: &Range<u64>) -> Option<Why> {
        let mut found = None;
        for gone in self.within(pack, range) {
            match gone.why {
                Why::Damaged => return Some(Why::Damaged),
                Why::Dead => found = Some(Why::Dead),
            }
        }
        found
    }

    /// As [`Gone::why`], for a block. An empty one has no bytes to be gone.
    pub(crate) fn why_not(&self, place: &Place) -> Option<Why> {
        self.why(place.pack, &place.range())
    }

    /// Whether any of a block is dead: then none of it can be trusted to be there.
    pub(crate) fn is_dead(&self, place: &Place) -> bool {
        let mut within = self.within(place.pack, &place.range());
        within.any(|gone| gone.why == Why::Dead)
    }

    /// Whether any of a block is recorded as damaged.
    pub(crate) fn is_damaged(&self, place: &Place) -> bool {
        self.why_not(place) == Some(Why::Damaged)
    }

    /// The entries that overlap a range.
    pub(crate) fn within(
        &self,
        pack: PackId,
        range: &Range<u64>,
    ) -> impl Iterator<Item = GoneRange> + '_ {
        let all = self.of(pack);
        let first = all.partition_point(|gone| gone.end <= range.start);
        let range = range.clone();
        all[first..]
            .iter()
            .take_while(move |gone| gone.start < range.end)
            .filter(move |_| !range.is_empty())
            .copied()
    }

    pub(crate) fn of(&self, pack: PackId) -> &[GoneRange] {
        self.0.get(&pack).map_or(&[], Vec::as_slice)
    }

    #[cfg(any(fuzzing, test))]
    pub(crate) fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.0.keys().copied()
    }

    /// What of a pack is dead.
    pub(crate) fn dead_of(&self, pack: PackId) -> Vec<Range<u64>> {
        let dead = self.of(pack).iter().filter(|gone| gone.why == Why::Dead);
        dead.map(|gone| gone.start..gone.end).collect()
    }

    /// Everything that is recorded as damaged.
    pub(crate) fn damaged(&self) -> impl Iterator<Item = (PackId, Range<u64>)> + '_ {
        self.0.iter().flat_map(|(pack, ranges)| {
            let damaged = ranges.iter().filter(|gone| gone.why == Why::Damaged);
            damaged.map(|gone| (*pack, gone.start..gone.end))
        })
    }

    /// How many of the bytes that are covered are not to be read; the coverage is normalized.
    pub(crate) fn bytes_within(&self, covered: &Coverage) -> u64 {
        let of_pack = |pack: PackId| -> u64 {
            let gone = self.of(pack).iter();
            gone.map(|gone| covered.bytes_within(pack, &(gone.start..gone.end)))
                .sum()
        };
        covered.packs().map(of_pack).sum()
    }

    /// Makes `dead` (in order and apart) what is dead of a pack. What is damaged stays so where it is not dead.
    pub(crate) fn set_dead(&mut self, pack: PackId, dead: &[Range<u64>]) {
        let damaged: Vec<Range<u64>> = self
            .of(pack)
            .iter()
            .filter(|gone| gone.why == Why::Damaged)
            .map(|gone| gone.start..gone.end)
            .collect();
        self.replace(pack, dead, &damaged);
    }

    /// Records bytes as damaged, unless they are dead anyway.
    #[cfg(test)]
    pub(crate) fn set_damaged(&mut self, pack: PackId, range: Range<u64>) {
        self.add_damaged(pack, [range]);
    }

    /// Records ranges of a pack as damaged, unless they are dead anyway.
    pub(crate) fn add_damaged(
        &mut self,
        pack: PackId,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) {
        self.change_damaged(pack, ranges.into_iter().collect(), &[]);
    }

    /// Records ranges of a pack as damaged, unless they are dead anyway, and others as good again.
    pub(crate) fn change_damaged(
        &mut self,
        pack: PackId,
        damaged: Vec<Range<u64>>,
        good: &[Range<u64>],
    ) {
        let of_kind = |why| {
            let of = self.of(pack).iter().filter(move |gone| gone.why == why);
            of.map(|gone| gone.start..gone.end).collect::<Vec<_>>()
        };
        let dead = of_kind(Why::Dead);
        let mut good = good.to_vec();
        good.sort_by_key(|range| range.start);
        let before = of_kind(Why::Damaged).into_iter();
        let mut all: Vec<Range<u64>> = before
            .flat_map(|range| outside(&range, &good).collect::<Vec<_>>())
            .collect();
        all.extend(damaged.into_iter().filter(|range| !range.is_empty()));
        all.sort_by_key(|range| (range.start, range.end));
        all.dedup();
        self.replace(pack, &dead, &all);
    }

    /// Forgets a pack.
    pub(crate) fn forget(&mut self, pack: PackId) {
        self.0.remove(&pack);
    }

    fn replace(&mut self, pack: PackId, dead: &[Range<u64>], damaged: &[Range<u64>]) {
        let range = |why| {
            move |r: Range<u64>| GoneRange {
                start: r.start,
                end: r.end,
                why,
            }
        };
        let mut all: Vec<GoneRange> = dead.iter().cloned().map(range(Why::Dead)).collect();
        let mut end = 0;
        for one in damaged {
            // Blocks are recorded whole, and may overlap where a pack's table is damaged too.
            let one = one.start.max(end)..one.end;
            end = end.max(one.end);
            all.extend(outside(&one, dead).map(range(Why::Damaged)));
        }
        all.sort_by_key(|gone| gone.start);
        match all.is_empty() {
            true => self.0.remove(&pack),
            false => self.0.insert(pack, all),
        };
    }
}

/// The parts of a range that lie outside others, which are in order and apart.
pub(crate) fn outside<'a>(
    range: &Range<u64>,
    others: &'a [Range<u64>],
) -> impl Iterator<Item = Range<u64>> + 'a {
    let (mut at, end) = (range.start, range.end);
    let first = others.partition_point(|other| other.end <= at);
    let mut others = others[first..].iter();
    std::iter::from_fn(move || {
        while at < end {
            let Some(other) = others.next().filter(|other| other.start < end) else {
                return Some(std::mem::replace(&mut at, end)..end);
            };
            let before = at..other.start;
            at = at.max(other.end);
            if !before.is_empty() {
                return Some(before);
            }
        }
        None
    })
}

/// Reads the file.
pub(crate) fn read(folder: &StoreFolder, store: StoreId) -> Result<Gone, StoreError> {
    let path = folder.gone();
    let file = open(folder, &path)?;
    let bytes = format::read_sealed(folder.files(), &file, &path, LIMIT)?;
    Gone::parse(&bytes, store, &path)
}

fn open(folder: &StoreFolder, path: &Path) -> Result<std::fs::File, StoreError> {
    let file = folder.files().open_if_there(path)?;
    file.ok_or_else(|| absent(path))
}

fn absent(path: &Path) -> StoreError {
    StoreError::Damaged {
        path: path.to_path_buf(),
        what: "file",
        expected: "the list of what is dead or damaged".into(),
        found: "no such file".into(),
    }
}

/// The file as a reader sees it: read again once it was replaced.
#[derive(Debug, Default)]
pub(crate) struct GoneView(Mutex<Option<(Version, Arc<Gone>)>>);

/// A replaced file is another inode, or has other times if the number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: (u64, u64),
    len: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl GoneView {
    /// What is gone by now. Asked for after an object's lease is had: what a collection does later leaves that
    /// object's bytes alone.
    pub(crate) fn now(
        &self,
        folder: &StoreFolder,
        store: StoreId,
    ) -> Result<Arc<Gone>, StoreError> {
        use std::os::unix::fs::MetadataExt;
        let path = folder.gone();
        let version = |m: std::fs::Metadata| Version {
            inode: (m.dev(), m.ino()),
            len: m.len(),
            modified: m.modified().ok(),
            changed: (m.ctime(), m.ctime_nsec()),
        };
        let files = folder.files();
        let named = files.metadata_if_there(&path)?;
        let named = version(named.ok_or_else(|| absent(&path))?);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gone)) = seen.as_ref().filter(|(version, _)| *version == named) {
            return Ok(Arc::clone(gone));
        }
        let file = open(folder, &path)?;
        let read = version(files.file_metadata(&file, &path)?);
        let bytes = format::read_sealed(files, &file, &path, LIMIT)?;
        let gone = Arc::new(Gone::parse(&bytes, store, &path)?);
        *seen = Some((read, Arc::clone(&gone)));
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: PackId = PackId([1; 16]);

    #[test]
    fn dead_ranges_are_replaced_and_damaged_ones_stay_where_they_are_not_dead() {
        let mut gone = Gone::default();
        gone.set_damaged(PACK, 100..200);
        gone.set_damaged(PACK, 100..200);
        gone.set_damaged(PACK, 300..400);
        gone.set_dead(PACK, &[0..50, 150..350]);
        assert_eq!(gone.why(PACK, &(0..10)), Some(Why::Dead));
        assert_eq!(gone.why(PACK, &(50..100)), None);
        assert_eq!(gone.why(PACK, &(60..101)), Some(Why::Damaged));
        assert_eq!(gone.why(PACK, &(340..360)), Some(Why::Damaged));
        assert_eq!(gone.why(PACK, &(200..300)), Some(Why::Dead));
        assert_eq!(gone.why(PACK, &(120..120)), None, "no bytes");
        assert_eq!(gone.why(PackId([2; 16]), &(0..1000)), None);
        let damaged: Vec<_> = gone.damaged().collect();
        assert_eq!(damaged, [(PACK, 100..150), (PACK, 350..400)]);
        let place = |offset, len| Place {
            pack: PACK,
            offset,
            len,
        };
        assert!(gone.is_dead(&place(140, 20)) && gone.is_damaged(&place(140, 20)));
        assert!(!gone.is_dead(&place(100, 50)) && gone.is_damaged(&place(100, 50)));
        gone.change_damaged(PACK, vec![60..70, 120..130], &[360..380, 100..110]);
        let damaged: Vec<_> = gone.damaged().map(|(_, range)| range).collect();
        assert_eq!(damaged, [60..70, 110..150, 350..360, 380..400]);
        gone.change_damaged(PACK, Vec::new(), &[60..70]);
        gone.set_dead(PACK, &[100..400]);
        assert_eq!(gone.damaged().count(), 0);
        gone.set_dead(PACK, &[]);
        assert_eq!(gone, Gone::default());
    }

    #[test]
    fn what_was_written_is_read_and_ranges_out_of_order_are_refused() {
        let store = StoreId([7; 16]);
        let path = Path::new("gone");
        let mut gone = Gone::default();
        gone.set_dead(PACK, &[128..256, 300..400]);
        gone.set_damaged(PackId([2; 16]), 5..6);
        let read = |gone: &Gone| Gone::parse(&gone.to_bytes(store), store, path);
        assert_eq!(read(&gone).unwrap(), gone);
        let range = |start, end| GoneRange {
            start,
            end,
            why: Why::Dead,
        };
        for hostile in [
            vec![range(5, 5)],
            vec![range(5, 9), range(8, 10)],
            vec![range(9, 5)],
        ] {
            let gone = Gone(BTreeMap::from([(PACK, hostile)]));
            assert!(matches!(read(&gone), Err(StoreError::Damaged { .. })));
        }
    }

    #[test]
    fn what_lies_outside_others_is_cut_at_their_ends() {
        let others = [10..20, 30..40, 50..60];
        let cut = |range| outside(&range, &others).collect::<Vec<_>>();
        assert_eq!(cut(0..100), [0..10, 20..30, 40..50, 60..100]);
        assert_eq!(cut(12..35), [20..30]);
        assert_eq!(cut(12..18), []);
        assert_eq!(cut(20..30), [20..30]);
        assert_eq!(cut(55..70), [60..70]);
        assert_eq!(cut(7..7), []);
    }
}
