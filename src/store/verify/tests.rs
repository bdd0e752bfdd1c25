//! Roots that say something else than their blocks, and disks that do not give bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::block::{Block, Cid, HashFunction, Multihash, RAW};
use crate::dag::Profile;
use crate::error::Explain;
use crate::fsio::{Files, RealDisk};
use crate::store::format::StoredCid;
use crate::store::index::MemoryIndex;
use crate::store::pack::{Header, Row, Table};
use crate::store::read::ReadCore;
use crate::store::root::{EntryKind, RootRecord, object_path};
use crate::store::trials::faults::{Failure, Fault, FaultyDisk, Kind};
use crate::store::trials::{open_over, open_reader, scratch};
use crate::store::{
    AddOptions, Defect, RepairOptions, Store, StoreOptions, StoreReader, apply_repair, plan_repair,
};

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

/// A store whose pack's payload and rows were changed, with a table whose checksum holds: two files of four leaves, and
/// two small ones that touch.
struct Forged {
    dir: tempfile::TempDir,
    cid: Cid,
}

const LEAF: usize = 50_000;
const FILES: [(&str, usize); 4] = [("a", 4 * LEAF), ("b", 4 * LEAF), ("c", 6_400), ("d", 6_400)];

fn content_of(file: &str) -> Vec<u8> {
    let (number, (_, len)) = FILES
        .iter()
        .enumerate()
        .find(|(_, (name, _))| *name == file)
        .unwrap();
    let mut content = content(*len);
    content.iter_mut().for_each(|byte| *byte ^= number as u8);
    content
}

impl Forged {
    /// The change is given the file, its rows, and the rows of the leaves of each file.
    fn new(change: impl FnOnce(&mut [u8], &mut Vec<Row>, [&[Row]; 4])) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("m")).unwrap();
        for (file, _) in FILES {
            std::fs::write(dir.path().join("m").join(file), content_of(file)).unwrap();
        }
        let store = Store::create(dir.path().join("store")).unwrap();
        let profile = Profile::default().with_chunk_bytes(LEAF).unwrap();
        let options = AddOptions::default().with_profile(profile);
        let cid = store.add_path(dir.path().join("m"), &options).unwrap().cid;
        drop(store);
        let packs = std::fs::read_dir(dir.path().join("store/packs")).unwrap();
        let pack = packs.map(|pack| pack.unwrap().path()).next().unwrap();
        let mut bytes = std::fs::read(&pack).unwrap();
        let header = Header::decode(bytes[..Header::BYTES].try_into().unwrap(), &pack).unwrap();
        let table_at = header.table_offset as usize;
        let mut table = Table::parse(&bytes[table_at..], &pack).unwrap();
        bytes.truncate(table_at);
        let leaves = |file| {
            let content = content_of(file);
            let leaf = |leaf: &[u8]| {
                let at = |row: &&Row| bytes[row.offset as usize..].starts_with(leaf);
                *table.rows.iter().find(at).unwrap()
            };
            content.chunks(LEAF).map(leaf).collect::<Vec<Row>>()
        };
        let [a, b, c, d] = FILES.map(|(file, _)| leaves(file));
        change(&mut bytes, &mut table.rows, [&a, &b, &c, &d]);
        let written = table.to_bytes();
        let header = Header {
            table_len: written.len() as u64,
            table_check: xxhash_rust::xxh3::xxh3_64(&written),
            file_len: header.table_offset + written.len() as u64,
            blocks: table.rows.len() as u64,
            ..header
        };
        bytes.extend(written);
        bytes[..Header::BYTES].copy_from_slice(&header.to_bytes());
        std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&pack, bytes).unwrap();
        // The index is to know the rows too.
        std::fs::remove_dir_all(dir.path().join("store/db")).unwrap();
        drop(Store::open(dir.path().join("store")).unwrap());
        Self { dir, cid }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    fn target(&self, file: &str) -> Target {
        format!("{}/{file}", self.cid).parse().unwrap()
    }

    fn verify(&self, options: &VerifyOptions) -> VerifyReport {
        let patient = StoreOptions {
            lock_timeout: Duration::from_secs(30),
            ..StoreOptions::default()
        };
        let store = Store::open_with(self.path(), patient).unwrap();
        store.verify(options).unwrap()
    }

    /// What a repair that hashes finds, without applying it.
    fn rehash(&self) -> Vec<Defect> {
        let options = RepairOptions {
            rehash: true,
            ..RepairOptions::default()
        };
        let plan = plan_repair(self.path(), &options).unwrap();
        plan.findings.iter().map(|finding| finding.defect).collect()
    }

    /// Which files are refused; the others read as they were added.
    fn refused(&self) -> Vec<&'static str> {
        let reader = StoreReader::open(self.path()).unwrap();
        let is_refused = |file: &&str| match reader.read(&self.target(file)) {
            Ok(read) => {
                assert!(read == content_of(file), "{file} is other bytes");
                false
            }
            Err(e) => {
                assert_eq!(e.kind(), "known_damage");
                true
            }
        };
        FILES
            .map(|(file, _)| file)
            .into_iter()
            .filter(is_refused)
            .collect()
    }

    /// A leaf of `a` is wrong, whatever else is read, and stays so.
    fn assert_a_is_damaged(&self) {
        assert_eq!(self.rehash(), [Defect::Blocks, Defect::RootPlaces]);
        for options in [
            VerifyOptions::default(),
            VerifyOptions::default(),
            VerifyOptions::default().with_sample(0.0),
            VerifyOptions::default().with_targets([self.target("a")]),
        ] {
            let report = self.verify(&options);
            assert_eq!(report.findings.len(), 1, "{report:#?}");
            assert_eq!(report.findings[0].kind, FindingKind::CorruptBlock);
            assert_eq!(report.cleared, []);
            assert_eq!(self.refused(), ["a"]);
        }
        let left = self.rehash();
        assert_eq!(left, [Defect::RootPlaces], "the block is on record");
    }

    fn assert_nothing_is_damaged(&self, unused: u64) {
        assert_eq!(self.rehash(), []);
        for options in [
            VerifyOptions::default(),
            VerifyOptions::default().with_sample(0.0),
            VerifyOptions::default().with_targets([self.target("c")]),
        ] {
            let report = self.verify(&options);
            assert_eq!(report.findings, []);
            assert_eq!(report.unused_damaged, unused);
            assert!(self.refused().is_empty());
        }
    }
}

fn row_of(bytes: &[u8], offset: u64, len: u32) -> Row {
    let cid = StoredCid(*Block::new(RAW, HashFunction::Sha2_256, bytes.to_vec()).cid());
    Row { cid, offset, len }
}

/// A row whose hash nothing here can compute, over the bytes of a good one, as an earlier repair may have left it.
#[test]
fn a_row_over_bytes_that_another_one_names_damages_nothing() {
    let forged = Forged::new(|_, rows, [_, _, c, _]| {
        let hash = Multihash::wrap(0x13, c[0].cid.0.hash().digest()).unwrap();
        let cid = StoredCid(Cid::new_v1(RAW, hash));
        rows.insert(0, Row { cid, ..c[0] });
    });
    forged.assert_nothing_is_damaged(1);
}

/// The bytes of two files read well; what lies over the halves of both is not there.
#[test]
fn a_row_over_parts_of_good_ones_damages_nothing_whatever_is_read() {
    let forged = Forged::new(|_, rows, [_, _, c, d]| {
        assert_eq!(c[0].offset + u64::from(c[0].len), d[0].offset);
        rows.push(row_of(b"nowhere", c[0].offset + 3_200, c[0].len));
    });
    forged.assert_nothing_is_damaged(1);
}

#[test]
fn what_such_a_row_names_is_written_by_an_add_and_not_found_there() {
    let nowhere = [9; 6_400];
    let forged = Forged::new(|_, rows, [_, _, c, _]| {
        rows.push(row_of(&nowhere, c[0].offset, c[0].len));
    });
    forged.assert_nothing_is_damaged(1);
    let plan = plan_repair(forged.path(), &RepairOptions::default()).unwrap();
    assert_eq!(apply_repair(&plan).unwrap().findings, []);
    let store = Store::open(forged.path()).unwrap();
    let added = store.add_reader(&nowhere[..], &AddOptions::default());
    let cid = added.unwrap().cid;
    let read = store.to_reader().read(&cid.to_string().parse().unwrap());
    assert!(read.unwrap() == nowhere);
}

#[test]
fn a_row_that_reaches_into_a_good_one_damages_only_what_is_outside_of_it() {
    let forged = Forged::new(|_, rows, [a, ..]| {
        rows.push(row_of(b"nowhere", a[3].offset + LEAF as u64 - 10, 20));
    });
    let report = forged.verify(&VerifyOptions::default());
    assert_eq!((report.findings.len(), report.unused_damaged), (0, 1));
    assert!(forged.refused().is_empty());
}

#[test]
fn a_byte_that_reads_well_as_another_block_does_not_hide_a_damaged_one() {
    let forged = Forged::new(|bytes, rows, [a, ..]| {
        let at = a[1].offset as usize;
        bytes[at + 10] ^= 1;
        rows.push(row_of(&bytes[at..][..1], at as u64, 1));
    });
    forged.assert_a_is_damaged();
}

#[test]
fn bytes_that_read_well_as_another_block_do_not_hide_the_one_that_a_root_places_there() {
    let forged = Forged::new(|bytes, rows, [a, ..]| {
        let at = a[1].offset as usize;
        bytes[at + 10] ^= 1;
        rows.push(row_of(&bytes[at..][..LEAF], a[1].offset, a[1].len));
    });
    forged.assert_a_is_damaged();
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
