//! What the encoders write, for the corpus.

use super::*;
use crate::block::{HashFunction, RAW};
use crate::dag::{Profile, leaf};
use crate::store::format::StoredCid;
use crate::store::names::PinKind;
use crate::store::pack::{ObjectNote, Row, Source};
use crate::store::root::{NodePlace, ObjectKind, PathEntry, RootExtent};

const STORE: StoreId = StoreId([7; 16]);

fn cid(content: &[u8]) -> StoredCid {
    StoredCid(leaf(content, &Profile::default()).cid)
}

pub(crate) fn pack_header() -> Vec<Vec<u8>> {
    let header = |table_len, blocks| Header {
        kind: match blocks {
            1 => PackKind::References,
            _ => PackKind::Payload,
        },
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

pub(crate) fn pack_sources() -> Vec<Vec<u8>> {
    let source = |base, path: &str, len| Source::new(base, Path::new(path), len, (1, 2));
    let lists = [
        vec![source(0, "/mnt/model.safetensors", 100)],
        vec![source(0, "/a", 1), source(65_536, "/b/é", u64::MAX >> 2)],
    ];
    let with_checks = lists.map(|list| Sources::to_bytes(&list));
    // The list alone, too, which is given its checksum.
    let alone = with_checks.each_ref().map(|bytes| bytes[16..].to_vec());
    with_checks.into_iter().chain(alone).collect()
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
    let blake3 = crate::block::Cid::new_v1(RAW, HashFunction::Blake3.digest(b"x"));
    [
        pin(cid(b"x").0, PinKind::Recursive),
        pin(blake3, PinKind::Direct),
    ]
    .map(|pin| names::to_bytes(&pin, STORE))
    .to_vec()
}

pub(crate) fn gone_file() -> Vec<Vec<u8>> {
    let mut gone = Gone::default();
    let empty = gone.to_bytes(STORE);
    gone.set_dead(PackId([1; 16]), &[128..4_096, 65_536..131_072]);
    let dead = gone.to_bytes(STORE);
    gone.set_damaged(PackId([1; 16]), 200_000..262_144);
    gone.set_damaged(PackId([2; 16]), 128..129);
    vec![empty, dead, gone.to_bytes(STORE)]
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
