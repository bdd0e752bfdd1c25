//! Roots whose checksums hold and that lie: somebody wrote them on purpose, or a bug did.

use std::path::PathBuf;

use super::*;
use crate::block::Cid;
use crate::store::folder::StoreFolder;
use crate::store::read::ReadCore;
use crate::store::root::{RootRecord, object_path, open_root};
use crate::store::{AddOptions, Store};

/// A store with a folder of two files, and what its root says.
struct Stored {
    dir: tempfile::TempDir,
    core: ReadCore,
    cid: Cid,
    record: RootRecord,
}

impl Stored {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (file, content) in [("top/a", vec![1; 50_000]), ("top/b", vec![2; 3_000])] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let store = Store::create(dir.path().join("store")).unwrap();
        let profile = crate::dag::Profile::default()
            .with_chunk_bytes(1_000)
            .unwrap();
        let options = AddOptions::default().with_profile(profile);
        let cid = store
            .add_path(dir.path().join("top"), &options)
            .unwrap()
            .cid;
        drop(store);
        let core = ReadCore::open(&dir.path().join("store")).unwrap();
        let root = open_root(&core.folder, core.id, &cid, true).unwrap();
        let record = (*root.unwrap().record).clone();
        Self {
            dir,
            core,
            cid,
            record,
        }
    }

    fn folder(&self) -> &StoreFolder {
        &self.core.folder
    }

    fn root(&self) -> PathBuf {
        object_path(self.folder(), &self.cid)
    }

    fn write(&self, record: &RootRecord) {
        std::fs::write(self.root(), record.to_bytes(self.core.id)).unwrap();
    }

    fn repair(&self) -> RepairReport {
        let path = self.dir.path().join("store");
        apply_repair(&plan_repair(path, &RepairOptions::default()).unwrap()).unwrap()
    }
}

#[test]
fn a_root_that_places_blocks_where_they_are_not_is_put_together_anew() {
    type Change = fn(&mut RootRecord);
    let changes: [(&str, Change); 5] = [
        ("outside the pack", |r| r.extents[0].offset = 1 << 40),
        ("before the payload", |r| r.extents[0].offset = 10),
        ("in the table", |r| r.nodes[0].offset += 1 << 20),
        ("another block's place", |r| {
            let first = (r.nodes[0].offset, r.nodes[0].len);
            let last = r.nodes.last_mut().unwrap();
            (last.offset, last.len) = first;
        }),
        ("another pack", |r| {
            r.packs[0] = crate::store::pack::PackId([9; 16])
        }),
    ];
    let stored = Stored::new();
    for (what, change) in changes {
        let mut record = stored.record.clone();
        change(&mut record);
        stored.write(&record);
        let report = stored.repair();
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|f| (f.defect, f.remedy))
            .collect();
        assert_eq!(found, [(Defect::RootPlaces, Remedy::Restored)], "{what}");
        let root = open_root(stored.folder(), stored.core.id, &stored.cid, true).unwrap();
        let mut made = (*root.unwrap().record).clone();
        // Nodes stand in the order in which they are met.
        let by_cid = |record: &mut RootRecord| record.nodes.sort_by_key(|node| node.cid);
        let mut expected = stored.record.clone();
        by_cid(&mut made);
        by_cid(&mut expected);
        assert_eq!(made, expected, "{what}");
        assert_eq!(stored.repair().findings, [], "{what}");
    }
}
