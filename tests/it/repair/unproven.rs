//! Roots that cannot be put together and stay as they are: a reader gets what he was promised or an error, and never
//! what happens to lie in the places of what was lost.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use ipfs_accelerate::RemoveOptions;

use super::*;

/// A store with a folder in one pack, of which each file is an object too.
struct Parts {
    stage: Stage,
    files: Vec<(Cid, Vec<u8>)>,
    folder: Cid,
}

const CHUNKS: usize = 65_536;

impl Parts {
    fn new() -> Self {
        let stage = Stage::new();
        let store = stage.create();
        let mut files = Vec::new();
        for (number, len) in [50_000, 600_000, 150_000].into_iter().enumerate() {
            let content = bytes(10 + number as u64, len);
            stage.file(&format!("top/{number}"), &content);
            files.push((Cid::default(), content));
        }
        let profile = Profile::default().with_chunk_bytes(CHUNKS).unwrap();
        let options = unpinned().with_profile(profile);
        let folder = store.add_path(stage.path("top"), &options).unwrap().cid;
        for (number, (cid, _)) in files.iter_mut().enumerate() {
            let path = stage.path(&format!("top/{number}"));
            *cid = store.add_path(path, &options).unwrap().cid;
        }
        drop(store);
        Self {
            stage,
            files,
            folder,
        }
    }

    fn pack(&self) -> PathBuf {
        let packs = self.stage.stored("packs");
        assert_eq!(packs.len(), 1);
        packs[0].clone()
    }

    fn collect(&self, removed: &[Cid]) {
        let store = self.stage.open();
        for cid in removed {
            store.remove(&of(*cid), &RemoveOptions::default()).unwrap();
        }
        let plan = store.plan_gc(&Default::default()).unwrap();
        store.apply_gc(&plan).unwrap();
    }

    /// Cuts the pack off inside the second file.
    fn cut(&self) {
        let pack = fs::read(self.pack()).unwrap();
        let second = find(&pack, &self.files[1].1[..CHUNKS]);
        set_len(&self.pack(), second + 5 * CHUNKS as u64 + 1_000);
    }

    fn repair(&self, options: &RepairOptions) -> RepairReport {
        let path = self.stage.store_path();
        apply_repair(&plan_repair(path, options).unwrap()).unwrap()
    }

    /// Repairs, and again; says which files are there, all others being refused.
    #[track_caller]
    fn repaired(&self, options: &RepairOptions) -> Vec<usize> {
        let first = self.repair(options);
        let there = self.read();
        let again = self.repair(options);
        assert_eq!(again.left(), again.findings.len(), "{:#?}", again.findings);
        assert_eq!(again.left(), first.left());
        assert_eq!(self.read(), there);
        there
    }

    #[track_caller]
    fn read(&self) -> Vec<usize> {
        let reader = StoreReader::open(self.stage.store_path()).unwrap();
        let mut there = Vec::new();
        for (number, (cid, content)) in self.files.iter().enumerate() {
            if let Ok(read) = reader.read(&of(*cid)) {
                assert!(read == *content, "file {number} has other bytes");
                there.push(number);
            }
        }
        there
    }
}

fn writable(path: &Path) -> fs::File {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    OpenOptions::new().write(true).open(path).unwrap()
}

fn set_len(path: &Path, len: u64) {
    writable(path).set_len(len).unwrap();
}

fn write_at(path: &Path, bytes: &[u8], at: u64) {
    writable(path).write_all_at(bytes, at).unwrap();
}

fn find(pack: &[u8], part: &[u8]) -> u64 {
    let at = pack.windows(part.len()).position(|window| window == part);
    at.unwrap() as u64
}

fn rehashing() -> RepairOptions {
    let mut options = RepairOptions::default();
    options.rehash = true;
    options
}

#[test]
fn a_pack_that_is_cut_off_inside_a_file_whose_node_is_lost() {
    for (without_header, with_dead) in [(false, false), (true, false), (false, true), (true, true)]
    {
        let parts = Parts::new();
        if with_dead {
            parts.collect(&[parts.folder, parts.files[2].0]);
        }
        parts.cut();
        if without_header {
            write_at(&parts.pack(), &[0xff; 8], 40);
        }
        let there = parts.repaired(&RepairOptions::default());
        assert_eq!(there, [0], "{without_header} {with_dead}");
    }
}

#[test]
fn a_damaged_leaf_and_its_node_under_a_table_that_is_cut_off() {
    let parts = Parts::new();
    let path = parts.pack();
    let pack = fs::read(&path).unwrap();
    let last = &parts.files[1].1[9 * CHUNKS..];
    let leaf = find(&pack, last);
    // The node of the file has the CID of each leaf in it.
    let cid = ipfs_accelerate::leaf(last, &Profile::default()).cid;
    let node = find(&pack[..table_of(&pack)], &cid.to_bytes());
    write_at(&path, &[0; 4], leaf + 10);
    write_at(&path, &[0; 4], node + 10);
    set_len(&path, pack.len() as u64 - 12);
    assert_eq!(parts.repaired(&rehashing()), [0, 2]);
    parts.stage.open().verify(&Default::default()).unwrap();
    assert_eq!(parts.read(), [0, 2]);
}

type Objects = Vec<(Cid, Vec<u8>)>;

/// Three objects of the same layout, each in a pack of its own.
fn twins() -> (Stage, Objects, Vec<PathBuf>) {
    let stage = Stage::new();
    let store = stage.create();
    let mut objects = Vec::new();
    let mut packs = Vec::new();
    let profile = Profile::default().with_chunk_bytes(CHUNKS).unwrap();
    for seed in [1, 2, 3] {
        let content = bytes(seed, 300_000);
        let options = unpinned().with_profile(profile.clone());
        let cid = store.add_reader(&content[..], &options).unwrap().cid;
        let new = stage.stored("packs").into_iter();
        packs.extend(new.filter(|pack| !packs.contains(pack)).collect::<Vec<_>>());
        objects.push((cid, content));
    }
    drop(store);
    (stage, objects, packs)
}

#[track_caller]
fn assert_own_or_refused(stage: &Stage, objects: &[(Cid, Vec<u8>)], expected: &[usize]) {
    let reader = StoreReader::open(stage.store_path()).unwrap();
    for (number, (cid, content)) in objects.iter().enumerate() {
        match reader.read(&of(*cid)) {
            Ok(read) => assert!(read == *content, "{number} has other bytes"),
            Err(e) => assert!(!expected.contains(&number), "{number}: {e}"),
        }
    }
}

fn swap(a: &Path, b: &Path) {
    let between = a.with_extension("swap");
    fs::rename(a, &between).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(between, b).unwrap();
}

fn repair(stage: &Stage) -> RepairReport {
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    apply_repair(&plan).unwrap()
}

#[test]
fn packs_with_each_others_names_and_damaged_headers_are_not_taken_for_each_other() {
    for damaged in [&[0][..], &[1], &[0, 1]] {
        let (stage, objects, packs) = twins();
        swap(&packs[0], &packs[1]);
        for &number in damaged {
            write_at(&packs[number], &[0xff; 8], 40);
        }
        let before: Vec<Vec<u8>> = packs.iter().map(|pack| fs::read(pack).unwrap()).collect();
        for _ in 0..2 {
            let report = repair(&stage);
            assert!(report.left() >= 2, "{damaged:?} {:#?}", report.findings);
            assert!(report.findings.iter().all(|finding| finding.is_left()));
            assert_own_or_refused(&stage, &objects, &[2]);
        }
        let after: Vec<Vec<u8>> = packs.iter().map(|pack| fs::read(pack).unwrap()).collect();
        assert!(before == after, "nothing is written over another pack");
        // As the advice says: out of the way, and back under the names that are free.
        swap(&packs[0], &packs[1]);
        let report = repair(&stage);
        assert_eq!(report.left(), 0, "{damaged:?} {:#?}", report.findings);
        assert_own_or_refused(&stage, &objects, &[0, 1, 2]);
    }
}

#[test]
fn a_chain_of_packs_under_each_others_names_is_put_right_at_once() {
    let (stage, objects, packs) = twins();
    let free = packs[0].with_file_name(format!("{}.pack", "0f".repeat(16)));
    fs::rename(&packs[2], &free).unwrap();
    fs::rename(&packs[1], &packs[2]).unwrap();
    fs::rename(&packs[0], &packs[1]).unwrap();
    let report = repair(&stage);
    assert_eq!(said(&report), [(Defect::PackName, Remedy::Renamed); 3]);
    let named = report.findings.iter().map(|finding| finding.objects.len());
    assert!(named.min() == Some(1));
    assert_own_or_refused(&stage, &objects, &[0, 1, 2]);
    assert_eq!(repair(&stage).findings, []);
}

/// Nothing speaks for the blocks of a pack without a table: an index that did is not believed, and what is added again is
/// written again.
#[test]
fn what_lies_in_a_pack_whose_table_is_lost_is_written_again() {
    for options in [RepairOptions::default(), rehashing()] {
        let parts = Parts::new();
        let pack = fs::read(parts.pack()).unwrap();
        let table = table_of(&pack);
        write_at(&parts.pack(), &vec![0; pack.len() - table], table as u64);
        let second = find(&pack, &parts.files[1].1[..CHUNKS]);
        write_at(&parts.pack(), b"rotten", second + 1_000);
        for root in parts.stage.stored("roots") {
            fs::remove_file(root).unwrap();
        }
        parts.repair(&options);
        let profile = Profile::default().with_chunk_bytes(CHUNKS).unwrap();
        let store = parts.stage.open();
        let path = parts.stage.path("top/1");
        let added = store.add_path(path, &unpinned().with_profile(profile));
        assert_eq!(added.unwrap().cid, parts.files[1].0);
        drop(store);
        assert_eq!(parts.read(), [1]);
    }
}
