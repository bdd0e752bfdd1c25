//! Repair: what of a damaged store can be told from the rest of it is made again, and the rest is said.
//!
//! A plan is a pure reading of the store: which defects there are and what is done about each. Applying it writes
//! `FORMAT` and `gone` first, then packs, then roots, then names, each in a way that can be cut off and begun again.
//! Nothing is deleted but the index, what lies in `tmp/`, damaged roots of objects that were removed, and roots over
//! packs without another one that have one now; payload is never changed, and what a CID can be checked against is
//! checked before it counts.

mod apply;
mod blocks;
mod contest;
mod finding;
mod glance;
mod hash;
mod identity;
mod index;
mod leaves;
mod look;
mod misnamed;
mod objects;
mod pack;
mod plan;
mod raw;
mod references;
mod rest;
mod salvage;
mod steps;
mod survey;
mod tables;
mod unrooted;
mod watch;

#[cfg(test)]
pub(crate) use apply::apply_on;
pub use apply::apply_repair;
pub use finding::{Defect, Remedy, RepairFinding, RepairObject};
pub use glance::DAMAGE_LOG;
pub(crate) use glance::{advised, warn_of_damage};
pub(crate) use look::{Fault, Sight, look};
#[cfg(test)]
pub(crate) use plan::plan as plan_on;
pub use plan::plan_repair;
pub use watch::RepairProgress;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use steps::{Seen, Steps};

/// How a repair works.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Hash every block that is not dead, instead of believing tables whose checksums hold.
    pub rehash: bool,
    /// Put together every object that a pack speaks of and that has no root. It was lost or it was removed: nothing
    /// tells which.
    pub restore: bool,
    /// Remove names that cannot be read. What they kept is not known, so the objects they stood for may be collected
    /// from then on.
    pub drop_names: bool,
    /// Threads for hashing; zero is one a core.
    pub threads: usize,
    /// How long to wait for another writer before anything is done.
    pub lock_timeout: std::time::Duration,
    /// Checked as it goes; once set, planning and waiting for the lock end with [`StoreError::Cancelled`]. What has begun
    /// to be written is finished.
    ///
    /// [`StoreError::Cancelled`]: crate::StoreError::Cancelled
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told from time to time how far it is.
    pub progress: Option<Arc<dyn Fn(RepairProgress) + Send + Sync>>,
}

impl fmt::Debug for RepairOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairOptions")
            .field("rehash", &self.rehash)
            .field("restore", &self.restore)
            .field("drop_names", &self.drop_names)
            .field("threads", &self.threads)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a store, and what a repair would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct RepairPlan {
    /// The store's folder.
    pub path: PathBuf,
    /// What is wrong, file by file.
    pub findings: Vec<RepairFinding>,
    /// Objects that packs speak of, that are whole, and that have no root: they were removed and not collected yet,
    /// their add was cut off before its end, or their roots were lost. No defect by itself;
    /// [`RepairOptions::restore`] brings them back.
    pub restorable: Vec<RepairObject>,
    /// Damage that was recorded before is not known any more, so the store should be verified.
    pub needs_verify: bool,
    /// No other process changed the store while it was looked at. Otherwise a finding may be work in progress.
    pub is_settled: bool,
    options: RepairOptions,
    steps: Steps,
    seen: Seen,
}

/// What a repair found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was wrong, file by file, with what was done about it.
    pub findings: Vec<RepairFinding>,
    /// See [`RepairPlan::restorable`].
    pub restorable: Vec<RepairObject>,
    /// See [`RepairPlan::needs_verify`].
    pub needs_verify: bool,
}

impl RepairReport {
    /// How many defects are still there.
    pub fn left(&self) -> usize {
        left(&self.findings)
    }
}

impl RepairPlan {
    /// How many defects a repair leaves.
    pub fn left(&self) -> usize {
        left(&self.findings)
    }

    /// What a repair would report.
    pub fn report(&self) -> RepairReport {
        RepairReport {
            findings: self.findings.clone(),
            restorable: self.restorable.clone(),
            needs_verify: self.needs_verify,
        }
    }
}

fn left(findings: &[RepairFinding]) -> usize {
    findings.iter().filter(|finding| finding.is_left()).count()
}

#[cfg(test)]
mod tests {
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
}
