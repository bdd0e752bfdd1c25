//! Repair: stores with one defect each, and with two. A dry run changes nothing and says the same as the repair; a
//! second repair finds what the first one left and nothing else; what survives reads whole, and pins stay.

mod fixtures;
mod folders;
mod lost;
mod names;
mod packs;
mod pairs;
mod references;
mod roots;
mod unproven;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipfs_accelerate::{
    AddOptions, Block, Cid, Defect, HashFunction, PinKind, PinOptions, Profile, RAW, Remedy,
    RepairOptions, RepairPlan, RepairReport, Store, StoreReader, apply_repair, canonical,
    plan_repair,
};

use super::store_kit::*;

/// A store of several packs: files over packs, framed leaves, a sharded folder, links, empty files, an object
/// without a pin, a pin of one block, and blocks of no object.
struct Sample {
    stage: Stage,
    objects: Vec<Stored>,
    single: Block,
    direct: Cid,
}

struct Stored {
    title: &'static str,
    cid: Cid,
    is_pinned: bool,
    files: BTreeMap<String, Vec<u8>>,
}

const CHUNK: usize = 20_000;

fn chunked(profile: Profile) -> AddOptions {
    let profile = profile.with_chunk_bytes(CHUNK).unwrap();
    AddOptions::default().with_profile(profile)
}

impl Sample {
    fn new() -> Self {
        Self::of(StoreSize::Large)
    }

    /// With fewer packs and without the sharded folder.
    fn small() -> Self {
        Self::of(StoreSize::Small)
    }

    fn of(size: StoreSize) -> Self {
        let stage = Stage::new();
        let store = stage.create_with(small_packs(150_000));
        let mut objects = Vec::new();
        let mut add = |title: &'static str, files: Vec<(&str, Vec<u8>)>, options: AddOptions| {
            for (path, content) in &files {
                stage.file(&format!("{title}/{path}"), content);
            }
            let added = store.add_path(stage.path(title), &options).unwrap();
            let cid = canonical(&added.cid);
            objects.push(Stored {
                title,
                cid,
                is_pinned: title != "unpinned",
                files: files
                    .into_iter()
                    .map(|(path, bytes)| (path.to_owned(), bytes))
                    .collect(),
            });
        };
        let model = vec![
            ("config.json", b"{}".to_vec()),
            ("empty", Vec::new()),
            ("weights/a.bin", bytes(1, 400_000)),
            ("weights/b.bin", bytes(2, 70_001)),
        ];
        add("model", model, chunked(Profile::default()).named("model"));
        let framed = vec![("f.bin", bytes(3, 130_000)), ("g", bytes(4, 10))];
        let v0 = Profile::unixfs_v0_2015();
        add("framed", framed, chunked(v0).named("framed"));
        // Shares a file with the first one.
        let tuned = vec![("a.bin", bytes(1, 400_000)), ("c.bin", bytes(5, 50_000))];
        let blake = Profile::default();
        add("tuned", tuned, chunked(blake).named("tuned"));
        let unpinned_files = vec![("u", bytes(6, 45_000))];
        let options = chunked(Profile::default()).with_pin(ipfs_accelerate::PinAs::No);
        add("unpinned", unpinned_files, options);
        if size == StoreSize::Large {
            let many: Vec<(String, Vec<u8>)> = (0..1_400)
                .map(|n| (format!("{n:0>200}"), bytes(100 + n, 20 + n as usize % 50)))
                .collect();
            let many = many
                .iter()
                .map(|(name, content)| (name.as_str(), content.clone()));
            add(
                "sharded",
                many.collect(),
                chunked(Profile::default()).named("sharded"),
            );
        }
        let single = Block::new(RAW, HashFunction::Sha2_256, bytes(7, 3_000));
        let mut session = store.session();
        session.put_block(&single).unwrap();
        session.commit().unwrap();
        let direct = ipfs_accelerate::leaf(&bytes(2, 70_001)[..CHUNK], &Profile::default()).cid;
        let mut pin = PinOptions::named("direct");
        pin.kind = PinKind::Direct;
        store.pin(&of(direct), &pin).unwrap();
        drop(store);
        Self {
            stage,
            objects,
            single,
            direct,
        }
    }

    fn store(&self) -> PathBuf {
        self.stage.store_path()
    }

    fn object(&self, title: &str) -> &Stored {
        self.objects
            .iter()
            .find(|object| object.title == title)
            .unwrap()
    }

    fn root(&self, title: &str) -> PathBuf {
        self.store()
            .join("roots")
            .join(self.object(title).cid.to_string())
    }

    /// The pack that holds these bytes.
    fn pack_with(&self, content: &[u8]) -> PathBuf {
        let packs = self.stage.stored("packs").into_iter();
        let holds = |path: &PathBuf| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(content.len()).any(|window| window == content)
        };
        packs.into_iter().find(holds).unwrap()
    }

    /// Everything is here: objects, pins, single blocks.
    #[track_caller]
    fn assert_whole(&self) {
        self.assert_whole_but(&[]);
    }

    /// Everything is here except parts of these objects, which say so.
    #[track_caller]
    fn assert_whole_but(&self, damaged: &[&str]) {
        let reader = StoreReader::open(self.store()).unwrap();
        for object in &self.objects {
            if damaged.contains(&object.title) {
                continue;
            }
            for (path, content) in &object.files {
                let read = reader.read(&target(format!("{}/{path}", object.cid)));
                assert!(read.unwrap() == *content, "{}/{path}", object.title);
            }
            // By its name, from its blocks.
            if object.is_pinned {
                let out = self.stage.path("out");
                reader
                    .export(&target(object.title), &out, &Default::default())
                    .unwrap();
                fs::remove_dir_all(out).unwrap();
            }
        }
        let pins: BTreeMap<String, Cid> = reader
            .pins()
            .unwrap()
            .into_iter()
            .map(|pin| (pin.name, canonical(&pin.cid)))
            .collect();
        let pinned = self.objects.iter().filter(|object| object.is_pinned);
        let mut expected: BTreeMap<String, Cid> = pinned
            .map(|object| (object.title.to_owned(), object.cid))
            .collect();
        expected.insert("direct".to_owned(), self.direct);
        assert_eq!(pins, expected);
        let store = Store::open_with(self.store(), small_packs(150_000)).unwrap();
        assert_eq!(
            store.get_block(&self.single.cid().to_owned()).unwrap(),
            self.single
        );
        for object in self
            .objects
            .iter()
            .filter(|object| !damaged.contains(&object.title))
        {
            let again = store.add_path(self.stage.path(object.title), &self.options(object));
            let again = again.unwrap();
            assert_eq!(
                (canonical(&again.cid), again.new_bytes),
                (object.cid, 0),
                "{}",
                object.title
            );
        }
        store.plan_gc(&Default::default()).unwrap();
    }

    fn options(&self, object: &Stored) -> AddOptions {
        let profile = match object.title {
            "framed" => Profile::unixfs_v0_2015(),
            _ => Profile::default(),
        };
        chunked(profile).with_pin(ipfs_accelerate::PinAs::No)
    }

    /// Adds an object again from its source.
    fn add_again(&self, title: &str) {
        let store = Store::open_with(self.store(), small_packs(150_000)).unwrap();
        let object = self.object(title);
        store
            .add_path(self.stage.path(title), &self.options(object))
            .unwrap();
    }

    fn plan(&self) -> RepairPlan {
        plan_repair(self.store(), &RepairOptions::default()).unwrap()
    }

    #[track_caller]
    fn repair(&self) -> RepairReport {
        self.repair_with(&RepairOptions::default())
    }

    /// A dry run, the repair, and a second one.
    #[track_caller]
    fn repair_with(&self, options: &RepairOptions) -> RepairReport {
        let before = snapshot(&self.store());
        let plan = plan_repair(self.store(), options).unwrap();
        assert!(plan.is_settled);
        assert_eq!(snapshot(&self.store()), before, "a plan changes nothing");
        let report = apply_repair(&plan).unwrap();
        let of_index = |f: &&ipfs_accelerate::RepairFinding| f.defect != Defect::Index;
        let found: Vec<_> = report.findings.iter().filter(of_index).collect();
        let planned: Vec<_> = plan.findings.iter().filter(of_index).collect();
        assert_eq!(found, planned);
        let again = plan_repair(self.store(), options).unwrap();
        let again = apply_repair(&again).unwrap();
        let left = |report: &RepairReport| {
            let left = report.findings.iter().filter(|finding| finding.is_left());
            left.map(|finding| (finding.defect, finding.path.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(again.left(), again.findings.len(), "{:#?}", again.findings);
        assert_eq!(left(&again), left(&report));
        report
    }
}

#[derive(Clone, Copy, PartialEq)]
enum StoreSize {
    Large,
    Small,
}

/// What a report found, and what was done.
fn said(report: &RepairReport) -> Vec<(Defect, Remedy)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| (finding.defect, finding.remedy))
        .collect()
}

fn titles(finding: &ipfs_accelerate::RepairFinding) -> Vec<&str> {
    let mut titles: Vec<&str> = finding
        .objects
        .iter()
        .map(|object| object.name.as_str())
        .collect();
    titles.sort();
    titles
}

/// Every file and folder below a path, but the lock.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode();
            let content = match metadata.file_type() {
                kind if kind.is_dir() => {
                    open.push(path.clone());
                    Vec::new()
                }
                kind if kind.is_symlink() => fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes(),
                _ => fs::read(&path).unwrap(),
            };
            all.insert(path, (mode, content));
        }
    }
    all
}

/// Changes a file of the store, sealed or not.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn flip(path: &Path, at: usize) {
    change(path, |content| content[at] ^= 0x20);
}

fn word(content: &[u8], at: usize) -> usize {
    u64::from_le_bytes(content[at..at + 8].try_into().unwrap()) as usize
}

/// Where a pack's table begins, by its header.
fn table_of(pack: &[u8]) -> usize {
    word(pack, 48)
}

#[test]
fn nothing_is_wrong_with_a_good_store() {
    let sample = Sample::new();
    assert!(sample.stage.stored("packs").len() >= 6);
    for rehash in [false, true] {
        let mut options = RepairOptions::default();
        options.rehash = rehash;
        let report = sample.repair_with(&options);
        assert_eq!(report.findings, []);
        assert_eq!(report.restorable, []);
        assert!(!report.needs_verify);
    }
    sample.assert_whole();
}

#[test]
fn nothing_is_wrong_after_removals_and_a_collection() {
    let sample = Sample::new();
    let store = sample.stage.open();
    store
        .remove(
            &target("tuned"),
            &ipfs_accelerate::RemoveOptions::with_unpin(),
        )
        .unwrap();
    assert_eq!(said(&sample.plan().report()), []);
    let plan = store.plan_gc(&Default::default()).unwrap();
    store.apply_gc(&plan).unwrap();
    drop(store);
    let mut options = RepairOptions::default();
    options.rehash = true;
    let report = sample.repair_with(&options);
    assert_eq!(report.findings, []);
    assert_eq!(report.restorable, []);
}

#[test]
fn a_folder_that_is_no_store_is_left_alone() {
    let stage = Stage::new();
    let options = RepairOptions::default();
    let error = plan_repair(stage.path("absent"), &options).unwrap_err();
    assert_eq!(ipfs_accelerate::Explain::kind(&error), "no_store");
    stage.file("folder/packs/notes.txt", b"notes");
    let error = plan_repair(stage.path("folder"), &options).unwrap_err();
    assert_eq!(ipfs_accelerate::Explain::kind(&error), "not_a_store");
}

#[test]
fn a_plan_that_is_overtaken_is_made_anew_under_the_lock() {
    let sample = Sample::small();
    fs::remove_file(sample.root("model")).unwrap();
    let plan = sample.plan();
    assert_eq!(plan.findings.len(), 1);
    // Somebody brings it back before the plan is carried out.
    sample.add_again("model");
    let report = apply_repair(&plan).unwrap();
    assert_eq!(report.findings, []);
    sample.assert_whole();
}

#[test]
fn a_repair_waits_for_no_writer() {
    let sample = Sample::small();
    let writer = sample.stage.open();
    let plan = sample.plan();
    let error = apply_repair(&plan).unwrap_err();
    assert_eq!(ipfs_accelerate::Explain::kind(&error), "locked");
    drop(writer);
    apply_repair(&plan).unwrap();
}
