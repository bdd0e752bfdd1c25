//! What the fuzz targets of a store's files and of targets run; see [`crate::fuzzing`].
//!
//! Each kind of file has one function. Checksums would stop a fuzzer at the door, so a file is read as it is and once more with its checksums set right. Whatever is accepted has
//! to be written as it was read.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::coverage::{Coverage, Covered};
use super::folder::{format_bytes, parse_format};
use super::format::{self, Envelope, FileKind, StoreId, array, resealed};
use super::gone::Gone;
use super::names::{self, Pin};
use super::pack::{Header, PackId, PackKind, Sources, Table};
use super::root::{EntryKind, Head, RootName, RootRecord};
use super::target::{Head as TargetHead, Target};
use crate::block::canonical;
use crate::dag::check_name;

/// The first 128 bytes of a pack.
pub fn pack_header(data: &[u8]) -> bool {
    let Some(bytes) = data.first_chunk() else {
        return false;
    };
    let number = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
    let meant = Header {
        kind: match bytes[12] {
            1 => PackKind::References,
            _ => PackKind::Payload,
        },
        store: StoreId(array(&bytes[16..32])),
        pack: PackId(array(&bytes[32..48])),
        table_offset: number(48),
        table_len: number(56),
        table_check: number(64),
        file_len: number(72),
        blocks: number(80),
    };
    let path = Path::new("packs/x.pack");
    let parse = |bytes: &[u8; Header::BYTES]| {
        Header::parse(bytes, meant.store, meant.pack, meant.file_len, path)
    };
    if let Ok(read) = parse(bytes) {
        assert_eq!(read, meant, "another header than the bytes say");
    }
    let Ok(read) = parse(&meant.to_bytes()) else {
        return false;
    };
    assert_eq!(read, meant, "another header than was written");
    let table_end = read.table_offset.checked_add(read.table_len);
    assert_eq!(table_end, Some(read.file_len), "the table ends the file");
    assert!(read.table_offset >= Header::BYTES as u64);
    true
}

/// The table at a pack's end, whose checksum stands in the header.
pub fn pack_table(data: &[u8]) -> bool {
    let Ok(table) = Table::parse(data, Path::new("packs/x.pack")) else {
        return false;
    };
    assert_eq!(table.to_bytes(), data, "a table has one form");
    true
}

/// The list of sources of a reference pack.
pub fn pack_sources(data: &[u8]) -> bool {
    read_sources(data) | read_sources(&checked_list(data))
}

fn read_sources(bytes: &[u8]) -> bool {
    let Ok(sources) = Sources::parse(bytes, Path::new("packs/x.pack")) else {
        return false;
    };
    let list = sources.list();
    let written = Sources::to_bytes(list);
    assert_eq!(written, bytes[..written.len()], "a list has one form");
    for (number, source) in list.iter().enumerate() {
        assert!(source.path().is_absolute());
        let found = sources.locate(source.base, source.len);
        assert_eq!(found, Some((number, source)), "each range is of one source");
        let longer = source.len.checked_add(1);
        let found = longer.and_then(|len| sources.locate(source.base, len));
        assert_eq!(found, None, "and of no other");
    }
    true
}

/// The bytes as a list with its checksum.
fn checked_list(data: &[u8]) -> Vec<u8> {
    let mut bytes = xxh3_64(data).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(data.len() as u64).to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// A file of `roots/`.
pub fn root_file(data: &[u8]) -> bool {
    read_root(data) | read_root(&resealed(data, FileKind::Root))
}

fn read_root(bytes: &[u8]) -> bool {
    let path = Path::new("roots/x");
    let Ok(envelope) = Envelope::open(bytes, FileKind::Root, None, path) else {
        return false;
    };
    let head = envelope.section(bytes, 0, path, "head");
    let Ok(head) = head.and_then(|head| format::decode::<Head>(head, path, "head")) else {
        return false;
    };
    let cid = head.cid.0;
    let Ok(record) = RootRecord::parse(bytes, envelope.store, &cid, path, true) else {
        return false;
    };
    let named = RootRecord::parse_head(bytes, envelope.store, &cid, path);
    assert_eq!(named.expect("the head of a root"), record.head);
    let written = record.to_bytes(envelope.store);
    for (index, what) in ["head", "paths", "extents", "nodes"]
        .into_iter()
        .enumerate()
    {
        let read = envelope.section(bytes, index, path, what).expect(what);
        let again = Envelope::open(&written, FileKind::Root, Some(envelope.store), path).and_then(
            |envelope| {
                envelope
                    .section(&written, index, path, what)
                    .map(<[u8]>::to_vec)
            },
        );
        assert_eq!(read, again.expect(what), "{what} have one form");
    }
    check_root(&record);
    true
}

/// What a reader takes for granted about a root.
fn check_root(record: &RootRecord) {
    for entry in &record.paths {
        assert_eq!(record.entry(&entry.path), Some(entry));
        let mut names = entry.path.split('/');
        assert!(entry.path.is_empty() || names.all(|name| check_name(name).is_ok()));
        let extents = record.extents_of(entry);
        if matches!(entry.kind, EntryKind::File { .. }) {
            let sum: u64 = extents.iter().map(|extent| extent.len).sum();
            assert_eq!(sum, entry.size);
        }
        for extent in extents {
            record.pack(extent.pack);
        }
    }
    let mut coverage = Coverage::default();
    coverage.add(record);
    coverage.normalize();
    assert_eq!(coverage.bytes_outside(&coverage), 0);
    let covered = Covered::from(coverage);
    assert_eq!(covered.shared_with(&covered), covered.bytes());
    for extent in &record.extents {
        let range = extent.offset..extent.offset + extent.len;
        assert_eq!(covered.within(record.pack(extent.pack), range), extent.len);
    }
}

/// A file of `names/`.
pub fn name_file(data: &[u8]) -> bool {
    read_name(data) | read_name(&resealed(data, FileKind::Name))
}

fn read_name(bytes: &[u8]) -> bool {
    let path = Path::new("names/x");
    let Ok(envelope) = Envelope::open(bytes, FileKind::Name, None, path) else {
        return false;
    };
    let Ok(pin) = names::parse(bytes, envelope.store, "x", path) else {
        return false;
    };
    let written = names::to_bytes(&pin, envelope.store);
    let again = names::parse(&written, envelope.store, "x", path).expect("what was written");
    let cid = canonical(&pin.cid);
    assert_eq!(again, Pin { cid, ..pin });
    true
}

/// The file `gone`.
pub fn gone_file(data: &[u8]) -> bool {
    read_gone(data) | read_gone(&resealed(data, FileKind::Gone))
}

fn read_gone(bytes: &[u8]) -> bool {
    let path = Path::new("store/gone");
    let Ok(envelope) = Envelope::open(bytes, FileKind::Gone, None, path) else {
        return false;
    };
    let Ok(gone) = Gone::parse(bytes, envelope.store, path) else {
        return false;
    };
    let written = gone.to_bytes(envelope.store);
    let again = Gone::parse(&written, envelope.store, path);
    assert_eq!(again.expect("what was written"), gone);
    for pack in gone.packs() {
        for range in gone.of(pack) {
            assert_eq!(gone.why(pack, &(range.start..range.end)), Some(range.why));
        }
    }
    true
}

/// The file `FORMAT`.
pub fn format_file(data: &[u8]) -> bool {
    read_format(data) | read_format(&resealed(data, FileKind::Format))
}

fn read_format(bytes: &[u8]) -> bool {
    let (path, root) = (Path::new("store/FORMAT"), Path::new("store"));
    let Ok((_, store, profile)) = parse_format(bytes, path, root) else {
        return false;
    };
    let again = parse_format(&format_bytes(store, &profile), path, root);
    let (_, store_again, profile_again) = again.expect("what was written");
    assert_eq!((store_again, profile_again), (store, profile));
    true
}

/// A target as a user writes it, and what else is read from names of files.
pub fn target(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match RootName::parse(text) {
        Some(RootName::Object(cid)) => assert_eq!(canonical(&cid).to_string(), text),
        Some(RootName::Retired(_)) => assert!(!text.contains('/') && text.contains('.')),
        Some(RootName::Loose) | None => {}
    }
    if let Some(pack) = PackId::from_file_name(text) {
        assert_eq!(pack.file_name(), text);
    }
    if names::check(text, None).is_ok() {
        let named: Target = text.parse().expect("a pin's name is a target");
        match named.head() {
            TargetHead::Name(name) => assert_eq!(name, text),
            TargetHead::Cid(cid) => assert_eq!(cid.to_string(), text),
        }
        assert_eq!(named.path(), "");
    }
    let Ok(target) = text.parse::<Target>() else {
        return false;
    };
    let printed = target.to_string();
    assert_eq!(printed.parse(), Ok(target.clone()), "{text:?}, {printed:?}");
    let path = target.path();
    assert!(path.is_empty() || path.split('/').all(|name| check_name(name).is_ok()));
    let below = target.join("a").expect("a name is a path");
    assert!(below.path().ends_with('a'));
    true
}

#[cfg(test)]
pub(crate) mod seeds;
