//! Sources whose roots lie, with the checksums right: what is copied is what the CID names, or nothing is.

use proptest::prelude::*;

use super::{SyncObjectError, SyncOptions, SyncReport, SyncState};
use crate::block::Cid;
use crate::dag::Profile;
use crate::error::Explain;
use crate::store::format::StoredCid;
use crate::store::read::ReadCore;
use crate::store::root::{EntryKind, ObjectKind, RootRecord, object_path, open_root};
use crate::store::{AddOptions, Store, StoreOptions, StoreReader};

/// A source with a folder of two files, which lie in several pieces, and a store to copy it to.
struct Stage {
    dir: tempfile::TempDir,
    source: StoreReader,
    cid: Cid,
}

const BIG: usize = 9_000;
const CHUNK: usize = 1_000;

fn content(seed: u32, len: usize) -> Vec<u8> {
    let bytes = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    bytes.map(|byte| byte ^ seed as u8).collect()
}

impl Stage {
    fn new(framed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("m");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("big"), content(1, BIG)).unwrap();
        std::fs::write(folder.join("empty"), b"").unwrap();
        std::fs::write(folder.join("sub/small"), content(2, 1_500)).unwrap();
        let options = StoreOptions {
            pack_bytes: 4_000,
            ..StoreOptions::default()
        };
        let store = Store::create_with(dir.path().join("there"), options).unwrap();
        let profile = match framed {
            true => Profile::unixfs_v0_2015(),
            false => Profile::default(),
        };
        let profile = profile.with_chunk_bytes(CHUNK).unwrap();
        let profile = profile.with_max_links(3).unwrap();
        let options = AddOptions::default().with_profile(profile);
        let cid = store.add_path(&folder, &options).unwrap().cid;
        let source = store.to_reader();
        Self { dir, source, cid }
    }

    /// Rewrites the root with other contents.
    fn rewrite(&self, change: impl FnOnce(&mut RootRecord)) {
        let core = ReadCore::open(self.source.path()).unwrap();
        let root = open_root(&core.folder, core.id, &self.cid, true).unwrap();
        let mut record = (*root.unwrap().record).clone();
        change(&mut record);
        let path = object_path(&core.folder, &self.cid);
        std::fs::write(path, record.to_bytes(core.id)).unwrap();
    }

    /// Copies everything, once as a dry run.
    fn sync(&self) -> (Store, SyncReport) {
        let here = self.dir.path().join("here");
        let _ = std::fs::remove_dir_all(&here);
        let here = Store::create(here).unwrap();
        let mut options = SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        };
        here.sync_from(&self.source, &options).unwrap();
        assert!(here.objects().unwrap().is_empty());
        options.dry_run = false;
        let report = here.sync_from(&self.source, &options).unwrap();
        (here, report)
    }

    /// The copy is right, or it is not there.
    fn check(&self) -> Option<SyncObjectError> {
        let (here, mut report) = self.sync();
        let object = report.objects.pop().unwrap();
        match object.state {
            SyncState::Failed(e) => {
                assert!(here.objects().unwrap().is_empty(), "{e}");
                assert!(here.pins().unwrap().is_empty(), "{e}");
                assert_eq!(here.totals().unwrap().packs, 0, "{e}");
                Some(e)
            }
            _ => {
                let read = |path: &str| {
                    let object = here.to_reader().resolve(&self.cid.into()).unwrap();
                    object.read(path).unwrap()
                };
                assert!(read("big") == content(1, BIG));
                assert!(read("empty").is_empty());
                assert!(read("sub/small") == content(2, 1_500));
                let stat = here.stat(&self.cid.into()).unwrap();
                assert_eq!(stat.size, BIG as u64 + 1_500);
                None
            }
        }
    }
}

type Lie = fn(&mut RootRecord);

#[test]
fn a_root_that_lies_keeps_its_object_out() {
    let lies: [(&str, Lie); 9] = [
        ("block_absent", |record| record.nodes.clear()),
        ("no_such_path", |record| {
            record.paths.retain(|entry| entry.path != "sub/small");
        }),
        ("not_a_file", |record| {
            record.paths[1].kind = EntryKind::Folder;
        }),
        // One file has the bytes of another.
        ("damaged", |record| {
            let (big, small) = (record.paths[1].clone(), record.paths[4].clone());
            record.paths[1].kind = small.kind;
            record.paths[1].size = small.size;
            record.paths[4].kind = big.kind;
            record.paths[4].size = big.size;
        }),
        // The extents in another order.
        ("corrupt", |record| {
            let EntryKind::File { first, count } = record.paths[1].kind else {
                panic!("{:?}", record.paths)
            };
            assert!(count > 1);
            let file = first as usize..(first + count) as usize;
            record.extents[file].reverse();
        }),
        // A place off by one.
        ("corrupt", |record| record.extents[0].offset += 1),
        ("corrupt", |record| record.nodes[1].offset += 1),
        ("damaged", |record| record.nodes[0].len = 3 << 20),
        ("damaged", |record| record.extents[0].offset = u64::MAX / 2),
    ];
    for (kind, lie) in lies {
        let stage = Stage::new(false);
        stage.rewrite(lie);
        let fault = stage.check().unwrap_or_else(|| panic!("{kind}: copied"));
        assert_eq!(fault.kind(), kind, "{fault}");
    }
}

#[test]
fn what_a_root_says_of_the_whole_is_counted_anew() {
    for framed in [false, true] {
        let stage = Stage::new(framed);
        stage.rewrite(|record| {
            record.head.size = u64::MAX;
            record.head.tsize = u64::MAX;
            record.head.blocks = u64::MAX;
            record.head.kind = ObjectKind::Symlink;
        });
        assert!(stage.check().is_none());
        let (here, report) = stage.sync();
        let counts = report.counts();
        let stat = here.stat(&stage.cid.into()).unwrap();
        assert_eq!(stat.blocks, counts.new_blocks + counts.there_blocks);
        assert_eq!(stat.kind.name(), "folder");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_a_root_says_the_copy_is_right_or_not_there(
        framed in any::<bool>(),
        lies in prop::collection::vec((0..12_u8, any::<prop::sample::Index>(), any::<u64>()), 1..4),
    ) {
        let stage = Stage::new(framed);
        stage.rewrite(|record| {
            for (what, index, value) in &lies {
                lie(record, *what, index, *value);
            }
        });
        stage.check();
    }
}

/// Changes one number or name.
fn lie(record: &mut RootRecord, what: u8, index: &prop::sample::Index, value: u64) {
    let small = value % 3_000;
    let node = index.index(record.nodes.len().max(1));
    let extent = index.index(record.extents.len().max(1));
    let path = index.index(record.paths.len().max(1));
    let packs = record.packs.len() as u64;
    let other = record.nodes.first().map(|node| node.cid);
    match what {
        0 => {
            if let Some(node) = record.nodes.get_mut(node) {
                node.offset = small;
            }
        }
        1 => {
            if let Some(node) = record.nodes.get_mut(node) {
                node.len = small as u32;
            }
        }
        2 => {
            if let (Some(node), Some(other)) = (record.nodes.get_mut(node), other) {
                node.cid = other;
            }
        }
        3 => {
            if node < record.nodes.len() {
                record.nodes.remove(node);
            }
        }
        4 => record.extents[extent].offset = value % 5_000,
        5 => record.extents[extent].pack = (value % packs) as u32,
        6 => {
            let len = record.extents[extent].len;
            record.extents[extent].len = small;
            // So that the sums are right.
            for entry in &mut record.paths {
                if let EntryKind::File { first, count } = entry.kind
                    && (first..first + count).contains(&(extent as u32))
                {
                    entry.size = entry.size - len + small;
                }
            }
        }
        7 => record.paths[path].size = value,
        8 => {
            record.paths[path].kind = EntryKind::Symlink {
                target: "elsewhere".into(),
            }
        }
        9 => {
            record.paths.remove(path);
        }
        10 => record.head.size = value,
        _ => {
            if let Some(other) = other {
                record.paths[path].cid = StoredCid(other.0);
            }
        }
    }
}
