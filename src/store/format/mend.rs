//! Files of which one byte was changed: their checksums tell which, and what it was.

use std::ops::Range;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::{Envelope, FIXED, FileKind, SECTION, StoreId, array};

/// How long what is tried may be: the time goes with the square of that, and is a third of a second here.
pub(crate) const MENDED_OF_ONE: usize = 4 << 10;
/// As [`MENDED_OF_ONE`], where any number of files may be damaged: a few milliseconds each.
pub(crate) const MENDED_OF_MANY: usize = 512;
/// No kind of file has more sections. Where a head says so, their number is what is damaged.
const MOST_SECTIONS: usize = 8;

/// The file with one byte put back so that its head holds, or the first section that does not; none if no one byte does
/// it, or what is damaged is longer than `longest`. That another byte does it than the one that was changed is as unlikely
/// as that damage goes unnoticed. What else is damaged stays so.
pub(crate) fn mended(
    bytes: &[u8],
    kind: FileKind,
    store: Option<StoreId>,
    longest: usize,
) -> Option<Vec<u8>> {
    let open = |bytes: &[u8]| Envelope::open(bytes, kind, store, Path::new(""));
    match open(bytes) {
        Err(_) => put_back(bytes, head(bytes)?, longest, |bytes| {
            // Cheaper than an error that says what does not hold.
            Envelope::end(bytes).is_some() && open(bytes).is_ok()
        }),
        Ok(envelope) => {
            let (section, check) = envelope.first_damaged(bytes)?;
            put_back(bytes, section.clone(), longest, |bytes| {
                xxh3_64(&bytes[section.clone()]) == check
            })
        }
    }
}

fn put_back(
    bytes: &[u8],
    suspect: Range<usize>,
    longest: usize,
    holds: impl Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    if suspect.len() > longest {
        return None;
    }
    let mut bytes = bytes.to_vec();
    for at in suspect {
        let was = bytes[at];
        for byte in 0..=u8::MAX {
            bytes[at] = byte;
            if holds(&bytes) {
                return Some(bytes);
            }
        }
        bytes[at] = was;
    }
    None
}

/// The head, as long as it says.
fn head(bytes: &[u8]) -> Option<Range<usize>> {
    let count = u32::from_le_bytes(array(bytes.get(FIXED - 4..FIXED)?)) as usize;
    let len = match count {
        0..=MOST_SECTIONS => FIXED + count * SECTION + 8,
        _ => FIXED,
    };
    Some(0..len.min(bytes.len()))
}

impl Envelope {
    /// The first section whose checksum does not hold, and that.
    fn first_damaged(&self, bytes: &[u8]) -> Option<(Range<usize>, u64)> {
        let mut sections = self.sections.iter();
        let damaged = sections.find(|(range, check)| xxh3_64(&bytes[range.clone()]) != *check);
        damaged.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{seal, section};
    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    #[test]
    fn any_one_byte_is_put_back_and_no_two_are() {
        let sections = [section(&"one"), section(&vec![1_u64, 2, 3])];
        let good = seal(FileKind::Name, STORE, &sections);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            for store in [Some(STORE), None] {
                let mended = mended(&bytes, FileKind::Name, store, MENDED_OF_MANY);
                assert_eq!(mended.as_ref(), Some(&good), "byte {at}");
            }
            bytes[(at + 9) % good.len()] ^= 1;
            let mended = mended(&bytes, FileKind::Name, Some(STORE), MENDED_OF_MANY);
            let is_whole = |bytes: Vec<u8>| {
                Envelope::open(&bytes, FileKind::Name, Some(STORE), Path::new(""))
                    .is_ok_and(|envelope| envelope.first_damaged(&bytes).is_none())
            };
            assert!(!mended.is_some_and(is_whole), "byte {at} and another");
        }
        let mended = |bytes: &[u8], store| mended(bytes, FileKind::Name, store, MENDED_OF_MANY);
        assert_eq!(mended(&good[..good.len() - 1], None), None);
        assert_eq!(mended(&[], None), None);
        let other = mended(&good, Some(StoreId([8; 16])));
        assert_eq!(other, None, "another store's is not made ours");
        // Any number of sections that a damaged head says.
        for byte in 32..36 {
            let mut bytes = good.clone();
            bytes[byte] = 0xff;
            assert_eq!(mended(&bytes, None).as_ref(), Some(&good));
        }
    }

    #[test]
    fn what_is_longer_than_its_number_allows_is_not_tried() {
        let sections = [section(&"head"), section(&vec![7_u64; 100])];
        let good = seal(FileKind::Root, STORE, &sections);
        let mut bytes = good.clone();
        *bytes.last_mut().unwrap() ^= 1;
        let mended = |longest| mended(&bytes, FileKind::Root, None, longest);
        assert_eq!(mended(MENDED_OF_MANY), None);
        assert_eq!(mended(MENDED_OF_ONE), Some(good));
    }
}
