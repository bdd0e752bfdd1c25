//! Roots that say something else than their blocks, and disks that do not give bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::block::Cid;
use crate::dag::Profile;
use crate::fsio::{Files, RealDisk};
use crate::store::format::StoredCid;
use crate::store::index::MemoryIndex;
use crate::store::read::ReadCore;
use crate::store::root::{EntryKind, RootRecord, object_path};
use crate::store::trials::faults::{Failure, Fault, FaultyDisk, Kind};
use crate::store::trials::{open_over, open_reader, scratch};
use crate::store::{AddOptions, Store, StoreOptions, StoreReader};

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 7 + i / 251 + i / 65_537) as u8)
        .collect()
}

/// A folder with two files, a link and a folder.
fn sample(dir: &Path, profile: &Profile) -> (Store, Cid) {
    let source = dir.join("m");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("a"), content(300_000)).unwrap();
    std::fs::write(source.join("sub/b"), &content(500_000)[100_000..]).unwrap();
    std::os::unix::fs::symlink("a", source.join("link")).unwrap();
    let store = Store::create(dir.join("store")).unwrap();
    let profile = profile.clone().with_chunk_bytes(50_000).unwrap();
    let options = AddOptions::default().with_profile(profile);
    let cid = store.add_path(source, &options).unwrap().cid;
    (store, cid)
}

#[test]
fn a_root_that_says_something_else_than_its_blocks_is_a_finding() {
    type Lie = fn(&mut RootRecord);
    let lies: [(&str, Lie); 10] = [
        ("pieces of a file in another order", |r| {
            let pieces = r.extents_of(&r.paths[1]).to_vec();
            let pieces = match pieces[..] {
                [whole] => {
                    let mut halves = [whole, whole];
                    halves[0].offset += 100_000;
                    halves[0].len -= 100_000;
                    halves[1].len = 100_000;
                    halves.to_vec()
                }
                _ => pieces.into_iter().rev().collect(),
            };
            let (first, count) = (r.extents.len() as u32, pieces.len() as u32);
            r.extents.extend(pieces);
            r.paths[1].kind = EntryKind::File { first, count };
        }),
        ("bytes that are not the file's", |r| {
            r.extents[0].offset += 1
        }),
        ("a file's CID", |r| r.paths[1].cid = r.paths[4].cid),
        ("a path too few", |r| drop(r.paths.pop())),
        ("a path too many", |r| {
            let mut entry = r.paths[2].clone();
            entry.path = "zzz".into();
            r.paths.push(entry);
        }),
        ("a link that points elsewhere", |r| {
            r.paths[2].kind = EntryKind::Symlink {
                target: "sub/b".into(),
            };
        }),
        ("a link that is a folder", |r| {
            r.paths[2].kind = EntryKind::Folder
        }),
        ("a node where none is", |r| r.nodes[0].offset += 1),
        ("a node of another length", |r| r.nodes[0].len -= 1),
        ("a node that is another", |r| {
            let other: StoredCid = r.nodes[1].cid;
            r.nodes[0].cid = other;
        }),
    ];
    for profile in [Profile::default(), Profile::unixfs_v0_2015()] {
        for (what, lie) in lies {
            let dir = tempfile::tempdir().unwrap();
            let (store, cid) = sample(dir.path(), &profile);
            let core = Arc::new(ReadCore::open(store.path()).unwrap());
            let path = object_path(&core.folder, &cid);
            let root = core.open_root(&cid, true).unwrap().unwrap();
            let mut record = (*root.record).clone();
            lie(&mut record);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, record.to_bytes(core.id)).unwrap();
            let report = store.verify(&VerifyOptions::default()).unwrap();
            assert!(!report.findings.is_empty(), "{what}");
            for finding in &report.findings {
                assert_eq!(finding.kind, FindingKind::Structure, "{what}: {finding:?}");
                assert_eq!(finding.file, path, "{what}");
            }
            // The bytes are what they should be, so none is refused.
            assert_eq!(store.to_reader().objects().unwrap()[0].damaged_bytes, 0);
        }
    }
}

/// Reads of a disk fail, at some point or from there on: what cannot be had is put on record, and comes back once
/// the disk is well.
#[test]
fn what_the_disk_does_not_give_is_found_and_is_served_again_once_it_does() {
    let dir = scratch();
    let (store, cid) = sample(dir.path(), &Profile::default());
    drop(store);
    let path = dir.path().join("store");
    let options = StoreOptions {
        memory_bytes: 0,
        threads: 1,
        // A child that another test starts may hold a copy of the lock for a moment.
        lock_timeout: Duration::from_secs(30),
        ..StoreOptions::default()
    };
    let one_thread = VerifyOptions {
        threads: 1,
        ..VerifyOptions::default()
    };
    let (mut unreadable, mut passed) = (0, 0);
    for lasting in [false, true] {
        for nth in 1.. {
            let fault = Fault {
                kinds: &[Kind::Read],
                nth,
                failure: Failure::Errno(Errno::IO),
                lasting,
            };
            let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
            let Ok(store) = open_over(
                &path,
                &disk.files(),
                options.clone(),
                Box::<MemoryIndex>::default(),
            ) else {
                continue;
            };
            if disk.has_failed() {
                continue;
            }
            let report = store.verify(&one_thread).unwrap();
            let kinds = |kind| report.findings.iter().filter(move |f| f.kind == kind);
            unreadable += kinds(FindingKind::UnreadableBlock).count();
            assert_eq!(kinds(FindingKind::CorruptBlock).count(), 0);
            assert_eq!(kinds(FindingKind::Structure).count(), 0, "{report:?}");
            let is_past = !disk.has_failed();
            passed += usize::from(report.findings.is_empty());
            drop(store);

            let on_record = open_reader(&path, Files::real()).unwrap();
            let damaged = on_record.objects().unwrap()[0].damaged_bytes;
            let refused = on_record
                .read(&format!("{cid}/a").parse().unwrap())
                .is_err();
            assert!(damaged > 0 || !refused, "{nth}");
            let store = open_over(
                &path,
                Files::real(),
                options.clone(),
                Box::<MemoryIndex>::default(),
            )
            .unwrap();
            let report = store.verify(&VerifyOptions::default()).unwrap();
            assert_eq!(report.findings, [], "{nth}");
            assert_eq!(report.cleared.is_empty(), damaged == 0, "{nth}");
            drop(store);
            let reader = StoreReader::open(&path).unwrap();
            assert_eq!(reader.objects().unwrap()[0].damaged_bytes, 0);
            reader.read(&format!("{cid}/a").parse().unwrap()).unwrap();
            if is_past {
                break;
            }
        }
    }
    assert!(unreadable > 20 && passed > 2, "{unreadable}, {passed}");
}

/// A row whose hash nothing here can compute, over the bytes of a good one, as an earlier repair may have left it.
#[test]
fn a_row_over_bytes_that_another_one_names_damages_nothing() {
    use std::os::unix::fs::PermissionsExt;

    use crate::block::{Multihash, RAW};
    use crate::store::pack::{Header, Row, Table};
    let dir = tempfile::tempdir().unwrap();
    let (store, cid) = sample(dir.path(), &Profile::default());
    drop(store);
    let path = dir.path().join("store");
    let packs = std::fs::read_dir(path.join("packs")).unwrap();
    let pack = packs.map(|pack| pack.unwrap().path()).next().unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let header = Header::decode(bytes[..Header::BYTES].try_into().unwrap(), &pack).unwrap();
    let table_at = header.table_offset as usize;
    let mut table = Table::parse(&bytes[table_at..], &pack).unwrap();
    let row = table.rows[0];
    let hash = Multihash::wrap(0x13, row.cid.0.hash().digest()).unwrap();
    let cid_of_row = StoredCid(Cid::new_v1(RAW, hash));
    table.rows.insert(
        0,
        Row {
            cid: cid_of_row,
            ..row
        },
    );
    let written = table.to_bytes();
    let header = Header {
        table_len: written.len() as u64,
        table_check: xxhash_rust::xxh3::xxh3_64(&written),
        file_len: header.table_offset + written.len() as u64,
        blocks: table.rows.len() as u64,
        ..header
    };
    bytes.truncate(table_at);
    bytes.extend(written);
    bytes[..Header::BYTES].copy_from_slice(&header.to_bytes());
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let store = Store::open(&path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!((report.findings.len(), report.unused_damaged), (0, 1));
    let read = store.to_reader().read(&format!("{cid}/a").parse().unwrap());
    assert!(read.unwrap() == content(300_000));
}

#[test]
fn damage_of_a_pack_that_was_unlinked_meanwhile_is_not_recorded() {
    use crate::store::folder::StoreFolder;
    use crate::store::writer_lock;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = sample(dir.path(), &Profile::default());
    drop(store);
    let path = dir.path().join("store");
    let options = StoreOptions {
        lock_timeout: Duration::from_secs(30),
        ..StoreOptions::default()
    };
    let lock = writer_lock::take(&StoreFolder::new(&path), &options).unwrap();
    let inner = Inner::open(ReadCore::open(&path).unwrap(), lock, options).unwrap();
    let here = inner.registry.packs()[0];
    let place = |pack| Place {
        pack,
        offset: 65_536,
        len: 10,
    };
    let gone = PackId([9; 16]);
    record(&inner, &[place(here), place(gone)], &[]).unwrap();
    let recorded: Vec<PackId> = inner.registry.gone().packs().collect();
    assert_eq!(recorded, [here]);
}
