//! The envelope that every small file of a store is written in, and the one place that names bincode.
//!
//! ```text
//! magic    8  "IPFSACCL"
//! kind     4  what the file is: FRMT, ROOT, NAME, GONE
//! version  4  of that kind
//! store   16  uuid of the store the file belongs to
//! count    4  of sections
//! sections    count × (length 8, xxh3-64 of the bytes 8)
//! check    8  xxh3-64 of everything above
//! bytes       the sections, one after the other
//! ```
//! Numbers are little-endian. Sections have checksums of their own, so that a reader takes only those it
//! needs.

mod mend;

pub(crate) use mend::{MENDED_OF_MANY, MENDED_OF_ONE, mended};

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::error::StoreError;
use crate::block::{Cid, cid_from_bytes};
use crate::error::FileError;
use crate::fsio::Files;

pub(crate) const MAGIC: &[u8; 8] = b"IPFSACCL";
const FIXED: usize = 8 + 4 + 4 + 16 + 4;
const SECTION: usize = 16;
const MAX_SECTIONS: usize = 64;

/// What an enveloped file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Format,
    Root,
    Name,
    Gone,
}

impl FileKind {
    fn tag(self) -> [u8; 4] {
        match self {
            Self::Format => *b"FRMT",
            Self::Root => *b"ROOT",
            Self::Name => *b"NAME",
            Self::Gone => *b"GONE",
        }
    }

    /// The version that this release writes, and the newest it reads.
    fn version(self) -> u32 {
        1
    }
}

/// Identifies a store; a copied store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StoreId(pub(crate) [u8; 16]);

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::NoLimit,
>;

fn config() -> Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
}

/// The bytes of one section.
pub(crate) fn section(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config()).expect("owned values always serialize to memory")
}

/// Reads one section back; `path` and `what` are for the error.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    path: &Path,
    what: &'static str,
) -> Result<T, StoreError> {
    let damaged = |found: String| StoreError::Damaged {
        path: path.to_path_buf(),
        what,
        expected: "a complete record".into(),
        found,
    };
    // Without a limit bincode allocates whatever a length in the bytes says.
    let decoded = if bytes.len() <= SMALL {
        decode_up_to::<T, SMALL>(bytes)
    } else if bytes.len() <= MIDDLE {
        decode_up_to::<T, MIDDLE>(bytes)
    } else {
        decode_up_to::<T, LARGE>(bytes)
    };
    match decoded {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(damaged(format!("{} bytes after it", bytes.len() - used))),
        Err(e) => Err(damaged(e.to_string())),
    }
}

const SMALL: usize = 64 << 10;
const MIDDLE: usize = 64 << 20;
const LARGE: usize = 4 << 30;

fn decode_up_to<'a, T: Deserialize<'a>, const LIMIT: usize>(
    bytes: &'a [u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    bincode::serde::borrow_decode_from_slice(bytes, config().with_limit::<LIMIT>())
}

/// Wraps sections in the envelope.
pub(crate) fn seal(kind: FileKind, store: StoreId, sections: &[Vec<u8>]) -> Vec<u8> {
    let body: usize = sections.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(FIXED + sections.len() * SECTION + 8 + body);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&kind.tag());
    out.extend_from_slice(&kind.version().to_le_bytes());
    out.extend_from_slice(&store.0);
    out.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    for bytes in sections {
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(&xxh3_64(bytes).to_le_bytes());
    }
    let check = xxh3_64(&out);
    out.extend_from_slice(&check.to_le_bytes());
    for bytes in sections {
        out.extend_from_slice(bytes);
    }
    out
}

/// The bytes with magic, version and checksums set right, as far as the rest of them is an envelope. The last
/// section ends where the bytes do, so that a fuzzer may lengthen and shorten it.
#[cfg(any(fuzzing, test))]
pub(super) fn resealed(bytes: &[u8], kind: FileKind) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let Some(count) = out.get(FIXED - 4..FIXED) else {
        return out;
    };
    let count = u32::from_le_bytes(array(count)) as usize;
    let table_end = FIXED + count.min(MAX_SECTIONS) * SECTION;
    if count > MAX_SECTIONS || out.len() < table_end + 8 {
        return out;
    }
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&kind.tag());
    out[12..16].copy_from_slice(&kind.version().to_le_bytes());
    let mut at = table_end + 8;
    for row in (FIXED..table_end).step_by(SECTION) {
        let left = (out.len() - at) as u64;
        let stated = u64::from_le_bytes(array(&out[row..row + 8]));
        let len = match row + SECTION == table_end {
            true => left,
            false => stated.min(left),
        };
        let end = at + len as usize;
        let check = xxh3_64(&out[at..end]);
        out[row..row + 8].copy_from_slice(&len.to_le_bytes());
        out[row + 8..row + 16].copy_from_slice(&check.to_le_bytes());
        at = end;
    }
    let check = xxh3_64(&out[..table_end]);
    out[table_end..table_end + 8].copy_from_slice(&check.to_le_bytes());
    out
}

/// An envelope whose head was checked; sections are checked as they are taken.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) store: StoreId,
    sections: Vec<(Range<usize>, u64)>,
}

impl Envelope {
    /// More than any file's head has.
    pub(crate) const MAX_HEAD: usize = FIXED + MAX_SECTIONS * SECTION + 8;

    /// Checks the head by itself, and that a file of `len` bytes ends where it says.
    pub(crate) fn check_head(
        bytes: &[u8],
        len: u64,
        kind: FileKind,
        store: StoreId,
        path: &Path,
    ) -> Result<(), StoreError> {
        let (_, rows, head) = Self::head(bytes, kind, Some(store), path)?;
        let sections = rows.chunks_exact(SECTION);
        let sections = sections.map(|row| u64::from_le_bytes(array(&row[..8])));
        let end = sections.fold(head as u64, u64::saturating_add);
        match end <= len {
            true => Ok(()),
            false => Err(StoreError::Damaged {
                path: path.to_path_buf(),
                what: "length",
                expected: format!("{end} bytes"),
                found: format!("{len} bytes"),
            }),
        }
    }

    /// Checks the head. With `store` given, a file of another store is refused.
    pub(crate) fn open(
        bytes: &[u8],
        kind: FileKind,
        store: Option<StoreId>,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let (id, rows, head) = Self::head(bytes, kind, store, path)?;
        let short = || StoreError::Damaged {
            path: path.to_path_buf(),
            what: "length",
            expected: "a whole file".into(),
            found: format!("{} bytes", bytes.len()),
        };
        let mut sections = Vec::with_capacity(rows.len() / SECTION);
        let mut at = head;
        for row in rows.chunks_exact(SECTION) {
            let len = usize::try_from(u64::from_le_bytes(array(&row[..8]))).map_err(|_| short())?;
            let end = at
                .checked_add(len)
                .filter(|&e| e <= bytes.len())
                .ok_or_else(short)?;
            sections.push((at..end, u64::from_le_bytes(array(&row[8..]))));
            at = end;
        }
        if at != bytes.len() {
            return Err(StoreError::Damaged {
                path: path.to_path_buf(),
                what: "length",
                expected: format!("{at} bytes"),
                found: "more".into(),
            });
        }
        Ok(Self {
            store: id,
            sections,
        })
    }

    /// Where the file ends by what its head says, if that holds.
    fn end(head: &[u8]) -> Option<u64> {
        let count = u32::from_le_bytes(array(head.get(FIXED - 4..FIXED)?)) as usize;
        let table_end = FIXED + count.min(MAX_SECTIONS) * SECTION;
        let check = u64::from_le_bytes(array(head.get(table_end..table_end + 8)?));
        let table = head[FIXED..table_end].chunks_exact(SECTION);
        let lengths = table.map(|row| u64::from_le_bytes(array(&row[..8])));
        let end = lengths.fold(table_end as u64 + 8, u64::saturating_add);
        (xxh3_64(&head[..table_end]) == check).then_some(end)
    }

    /// The store, the rows of the sections, and the length of the head.
    fn head<'a>(
        bytes: &'a [u8],
        kind: FileKind,
        store: Option<StoreId>,
        path: &Path,
    ) -> Result<(StoreId, &'a [u8], usize), StoreError> {
        let damaged = |what, expected: String, found: String| StoreError::Damaged {
            path: path.to_path_buf(),
            what,
            expected,
            found,
        };
        let short = || {
            damaged(
                "length",
                "a whole file".into(),
                format!("{} bytes", bytes.len()),
            )
        };
        let head = bytes.get(..FIXED).ok_or_else(short)?;
        if &head[..8] != MAGIC || head[8..12] != kind.tag() {
            let expected = String::from_utf8_lossy(&kind.tag()).into_owned();
            let found = format!("{:?}", String::from_utf8_lossy(&head[..12]));
            return Err(damaged("kind", expected, found));
        }
        let version = u32::from_le_bytes(array(&head[12..16]));
        if version > kind.version() {
            if is_of_version(bytes, kind.version()) {
                let (expected, found) = (kind.version().to_string(), version.to_string());
                return Err(damaged("version", expected, found));
            }
            return Err(StoreError::NewerFormat {
                path: path.to_path_buf(),
                found: version,
                supported: kind.version(),
            });
        }
        let count = u32::from_le_bytes(array(&head[32..36])) as usize;
        if count > MAX_SECTIONS {
            return Err(damaged(
                "sections",
                format!("up to {MAX_SECTIONS}"),
                count.to_string(),
            ));
        }
        let table_end = FIXED + count * SECTION;
        let covered = bytes.get(..table_end).ok_or_else(short)?;
        let check = bytes.get(table_end..table_end + 8).ok_or_else(short)?;
        let (expected, found) = (u64::from_le_bytes(array(check)), xxh3_64(covered));
        if expected != found {
            let (expected, found) = (format!("{expected:016x}"), format!("{found:016x}"));
            return Err(damaged("head checksum", expected, found));
        }
        // Last: whose a damaged file is its head does not say.
        let id = StoreId(array(&head[16..32]));
        if let Some(store) = store.filter(|&s| s != id) {
            return Err(damaged("store id", hex(&store.0), hex(&id.0)));
        }
        Ok((id, &covered[FIXED..], table_end + 8))
    }

    /// The bytes of section `index`, once their checksum holds.
    pub(crate) fn section<'a>(
        &self,
        bytes: &'a [u8],
        index: usize,
        path: &Path,
        what: &'static str,
    ) -> Result<&'a [u8], StoreError> {
        let damaged = |expected: String, found: String| StoreError::Damaged {
            path: path.to_path_buf(),
            what,
            expected,
            found,
        };
        let (range, check) = self
            .sections
            .get(index)
            .ok_or_else(|| damaged("the section".into(), "none".into()))?;
        let taken = &bytes[range.clone()];
        let found = xxh3_64(taken);
        if found != *check {
            return Err(damaged(
                format!("checksum {check:016x}"),
                format!("checksum {found:016x}"),
            ));
        }
        Ok(taken)
    }
}

/// Whether a head was written with this version: its checksum says so, whatever stands in its place now.
fn is_of_version(bytes: &[u8], version: u32) -> bool {
    let count = u32::from_le_bytes(array(&bytes[32..36])) as usize;
    let table_end = FIXED + count.min(MAX_SECTIONS) * SECTION;
    let (Some(covered), Some(check)) =
        (bytes.get(..table_end), bytes.get(table_end..table_end + 8))
    else {
        return false;
    };
    let mut head = covered.to_vec();
    head[12..16].copy_from_slice(&version.to_le_bytes());
    xxh3_64(&head) == u64::from_le_bytes(array(check))
}

/// Reads a file of the store as far as its head says that it goes, and a byte more where there is more: what was
/// appended is seen, and not read.
pub(crate) fn read_sealed(
    files: &Files,
    file: &File,
    path: &Path,
    limit: u64,
) -> Result<Vec<u8>, FileError> {
    let len = files.file_metadata(file, path)?.len();
    if len <= Envelope::MAX_HEAD as u64 {
        return files.read_file(file, path, limit);
    }
    let mut head = vec![0; Envelope::MAX_HEAD];
    files.read_exact_at(file, &mut head, 0, path)?;
    let Some(end) = Envelope::end(&head).filter(|end| *end < len) else {
        return files.read_file(file, path, limit);
    };
    let mut bytes = vec![0; end as usize + 1];
    files.read_exact_at(file, &mut bytes, 0, path)?;
    Ok(bytes)
}

/// A CID as it stands in the store's files: its binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StoredCid(pub(crate) Cid);

impl Serialize for StoredCid {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0.to_bytes())
    }
}

impl<'de> Deserialize<'de> for StoredCid {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        cid_from_bytes(bytes)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// A slice of known length as an array.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller sliced to the length")
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The inverse of [`hex`] for 16 bytes.
pub(crate) fn unhex(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 32
        || bytes
            .iter()
            .any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let mut out = [0; 16];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

/// Sixteen bytes from the operating system's random source.
pub(crate) fn random_id() -> Result<[u8; 16], StoreError> {
    let mut id = [0_u8; 16];
    let mut filled = 0;
    while filled < id.len() {
        filled += rustix::rand::getrandom(&mut id[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| {
                crate::error::FileError::new("read", "the system's random source", e.into())
            })?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    fn path() -> &'static Path {
        Path::new("store/file")
    }

    #[test]
    fn a_length_that_the_bytes_cannot_hold_is_an_error_and_takes_no_memory() {
        // A string, a list of strings and a list of numbers that say they are as long as memory.
        for len in [u64::MAX, u64::MAX >> 1, 1 << 60, 1 << 40, 1 << 33] {
            let mut bytes = len.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[0; 100]);
            assert!(decode::<String>(&bytes, path(), "text").is_err());
            assert!(decode::<Vec<String>>(&bytes, path(), "texts").is_err());
            assert!(decode::<Vec<u64>>(&bytes, path(), "numbers").is_err());
            assert!(decode::<Vec<StoredCid>>(&bytes, path(), "CIDs").is_err());
        }
    }

    #[test]
    fn what_was_sealed_opens_and_each_section_is_checked_alone() {
        let sections = [section(&"one"), section(&vec![1_u64, 2, 3])];
        let bytes = seal(FileKind::Root, STORE, &sections);
        let envelope = Envelope::open(&bytes, FileKind::Root, Some(STORE), path()).unwrap();
        for (i, expected) in sections.iter().enumerate() {
            assert_eq!(
                envelope.section(&bytes, i, path(), "part").unwrap(),
                expected
            );
        }
        assert!(envelope.section(&bytes, 2, path(), "part").is_err());
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(envelope.section(&damaged, 0, path(), "part").is_ok());
        assert!(envelope.section(&damaged, 1, path(), "part").is_err());
        for kind in [FileKind::Name, FileKind::Format] {
            assert!(Envelope::open(&bytes, kind, Some(STORE), path()).is_err());
        }
        let other = StoreId([8; 16]);
        let error = Envelope::open(&bytes, FileKind::Root, Some(other), path()).unwrap_err();
        assert!(error.to_string().contains(&hex(&STORE.0)), "{error}");
    }

    #[test]
    fn a_file_of_a_later_version_is_said_to_be_one() {
        let mut bytes = seal(FileKind::Name, STORE, &[section(&"x")]);
        bytes[12..16].copy_from_slice(&9_u32.to_le_bytes());
        let check_at = FIXED + SECTION;
        let check = xxh3_64(&bytes[..check_at]);
        bytes[check_at..check_at + 8].copy_from_slice(&check.to_le_bytes());
        let error = Envelope::open(&bytes, FileKind::Name, Some(STORE), path()).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::NewerFormat {
                    found: 9,
                    supported: 1,
                    ..
                }
            ),
            "{error}"
        );

        // The checksum tells a later version from a number that was damaged.
        let mut bytes = seal(FileKind::Name, STORE, &[section(&"x")]);
        bytes[13] ^= 1;
        let error = Envelope::open(&bytes, FileKind::Name, Some(STORE), path()).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Damaged {
                    what: "version",
                    ..
                }
            ),
            "{error}"
        );
    }
}
