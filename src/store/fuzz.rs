//! What the fuzz targets of a store's files and of targets run; see [`crate::fuzzing`].
//!
//! Each kind of file has one function, `gone` excepted, which nothing reads yet. Checksums would stop a fuzzer
//! at the door, so a file is read as it is and once more with its checksums set right. Whatever is accepted has
//! to be written as it was read.

use std::path::Path;

use super::coverage::{Coverage, Covered};
use super::folder::{format_bytes, parse_format};
use super::format::{self, Envelope, FileKind, StoreId, array, resealed};
use super::names::{self, Pin};
use super::pack::{Header, PackId, Table};
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

/// The file `FORMAT`.
pub fn format_file(data: &[u8]) -> bool {
    read_format(data) | read_format(&resealed(data, FileKind::Format))
}

fn read_format(bytes: &[u8]) -> bool {
    let (path, root) = (Path::new("store/FORMAT"), Path::new("store"));
    let Ok((store, profile)) = parse_format(bytes, path, root) else {
        return false;
    };
    let again = parse_format(&format_bytes(store, &profile), path, root);
    assert_eq!(again.expect("what was written"), (store, profile));
    true
}

/// A target as a user writes it, and what else is read from names of files.
pub fn target(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match RootName::parse(text) {
        Some(RootName::Object(cid)) => assert_eq!(canonical(&cid).to_string(), text),
        Some(RootName::Retired) => assert!(!text.contains('/') && text.contains('.')),
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
pub(crate) mod seeds {
    use super::*;
    use crate::block::{Cid, HashFunction, RAW};
    use crate::dag::{Profile, leaf};
    use crate::store::format::StoredCid;
    use crate::store::names::PinKind;
    use crate::store::pack::{ObjectNote, Row};
    use crate::store::root::{NodePlace, ObjectKind, PathEntry, RootExtent};

    const STORE: StoreId = StoreId([7; 16]);

    fn cid(content: &[u8]) -> StoredCid {
        StoredCid(leaf(content, &Profile::default()).cid)
    }

    pub(crate) fn pack_header() -> Vec<Vec<u8>> {
        let header = |table_len, blocks| Header {
            store: STORE,
            pack: PackId([9; 16]),
            table_offset: 1 << 16,
            table_len,
            table_check: 0x1234_5678_9abc_def0,
            file_len: (1 << 16) + table_len,
            blocks,
        };
        [header(0, 0), header(60, 1), header(20 << 20, 1 << 18)]
            .map(|header| header.to_bytes().to_vec())
            .to_vec()
    }

    pub(crate) fn pack_table() -> Vec<Vec<u8>> {
        let row = |seed: u8| Row {
            cid: cid(&[seed]),
            offset: 128 + 64 * u64::from(seed),
            len: 1 << seed,
        };
        let note = |profile: &str, name: &str| ObjectNote {
            cid: cid(b"object"),
            profile: profile.into(),
            name: name.into(),
        };
        let tables = [
            Table::default(),
            Table {
                rows: vec![row(1)],
                objects: vec![note("unixfs-v1-2025", "model.safetensors")],
            },
            Table {
                rows: (0..20).map(row).collect(),
                objects: vec![note("", ""), note("kubo-cidv1+links=3", "é")],
            },
        ];
        tables.map(|table| table.to_bytes()).to_vec()
    }

    fn root(kind: ObjectKind, paths: Vec<PathEntry>, extents: u64) -> Vec<u8> {
        let cid = paths.first().map_or(cid(b"block"), |entry| entry.cid);
        let place = |n: u64| NodePlace {
            cid,
            pack: (n % 2) as u32,
            offset: 1 << (16 + n),
            len: 1 << n,
        };
        let extent = |n: u64| RootExtent {
            pack: (n % 2) as u32,
            offset: 128 + 10 * n,
            len: 10,
        };
        let record = RootRecord {
            head: Head {
                cid,
                kind,
                profile: "unixfs-v1-2025".into(),
                name: "llama".into(),
                created_ms: 1_800_000_000_000,
                size: 10 * extents,
                blocks: extents + 1,
                tsize: 10 * extents + 7,
            },
            paths,
            packs: vec![PackId([1; 16]), PackId([2; 16])],
            extents: (0..extents).map(extent).collect(),
            nodes: (0..extents).map(place).collect(),
        };
        record.to_bytes(STORE)
    }

    fn path(path: &str, size: u64, kind: EntryKind) -> PathEntry {
        PathEntry {
            path: path.into(),
            cid: cid(path.as_bytes()),
            kind,
            size,
        }
    }

    pub(crate) fn root_file() -> Vec<Vec<u8>> {
        let file = |first, count| EntryKind::File { first, count };
        let target = "../b".into();
        let folder = vec![
            path("", 40, EntryKind::Folder),
            path("a", 20, file(0, 2)),
            path("d", 20, EntryKind::Folder),
            path("d/é", 20, file(2, 2)),
            path("link", 0, EntryKind::Symlink { target }),
        ];
        vec![
            root(ObjectKind::File, vec![path("", 30, file(0, 3))], 3),
            root(ObjectKind::Folder, folder, 4),
            root(ObjectKind::Folder, vec![path("", 0, EntryKind::Folder)], 0),
            root(ObjectKind::Block, Vec::new(), 1),
            root(ObjectKind::Loose, Vec::new(), 0),
        ]
    }

    pub(crate) fn name_file() -> Vec<Vec<u8>> {
        let pin = |cid, kind| Pin {
            name: "x".into(),
            cid,
            kind,
            created_ms: 1_800_000_000_000,
        };
        let blake3 = Cid::new_v1(RAW, HashFunction::Blake3.digest(b"x"));
        [
            pin(cid(b"x").0, PinKind::Recursive),
            pin(blake3, PinKind::Direct),
        ]
        .map(|pin| names::to_bytes(&pin, STORE))
        .to_vec()
    }

    pub(crate) fn format_file() -> Vec<Vec<u8>> {
        let changed = "unixfs-v0-2015+chunk=tensor-v1+links=3+leaves=raw+hash=blake3+cid=1";
        let mut profiles = Profile::all();
        profiles.push(changed.parse().unwrap());
        let files = profiles.iter().map(|profile| format_bytes(STORE, profile));
        files.collect()
    }

    pub(crate) fn target() -> Vec<Vec<u8>> {
        let cid = cid(b"x").0;
        let id = "0123456789abcdef0123456789abcdef";
        let texts = [
            "llama-3/model.safetensors".into(),
            "name".into(),
            format!("{cid}"),
            format!("{cid}/a//b/"),
            format!("/ipfs/{cid}/config.json"),
            format!("ipfs://{cid}"),
            "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn".into(),
            format!("{cid}.{id}"),
            format!("{id}.pack"),
            format!("loose-{id}"),
        ];
        texts.map(String::into_bytes).to_vec()
    }
}
