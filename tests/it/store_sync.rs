//! Copying objects from one store to another: everything that an object is comes along, nothing twice, and in the
//! layout that an add would have given it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ipfs_accelerate::{
    AddOptions, Cid, EntryType, Explain, HashFunction, LoadOptions, Node, Profile, Store,
    StoreError, StoreReader, SyncError, SyncOptions, SyncReport, SyncState,
    load_checkpoint_and_dispatch, parse_cid,
};

use super::store_kit::*;
use super::store_profiles::{MIB, checkpoint, sizes, tensor_v1, under};

/// A source at `there` and a target at `store`.
pub(crate) fn source(stage: &Stage) -> Store {
    Store::create(stage.path("there")).unwrap()
}

pub(crate) fn reader(stage: &Stage) -> StoreReader {
    StoreReader::open(stage.path("there")).unwrap()
}

pub(crate) fn only(cid: Cid) -> SyncOptions {
    SyncOptions::default().with_targets(vec![of(cid)])
}

pub(crate) fn sync_all(store: &Store, stage: &Stage) -> SyncReport {
    let report = store
        .sync_from(&reader(stage), &SyncOptions::default())
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    report
}

/// Every block below a CID, read from a store that has to hold them all.
fn blocks(store: &Store, cid: Cid) -> BTreeSet<Cid> {
    let mut found = BTreeSet::new();
    let mut open = vec![cid];
    while let Some(cid) = open.pop() {
        if !found.insert(cid) {
            continue;
        }
        match &*store.get_node(&cid).unwrap() {
            Node::File { children, .. } => open.extend(children.iter().map(|child| child.cid)),
            Node::Folder { entries } => open.extend(entries.iter().map(|entry| entry.cid)),
            Node::Shard { links, .. } => open.extend(links.iter().map(|link| link.cid)),
            _ => {}
        }
    }
    found
}

/// What two stores say of an object, the places apart.
fn assert_same_object(there: &StoreReader, here: &Store, cid: Cid) {
    let (a, b) = (
        there.resolve(&of(cid)).unwrap(),
        here.to_reader().resolve(&of(cid)).unwrap(),
    );
    assert_eq!(
        a.walk().collect::<Vec<_>>(),
        b.walk().collect::<Vec<_>>(),
        "{cid}"
    );
    let (a, b) = (a.stat().unwrap(), b.stat().unwrap());
    assert_eq!(
        (a.cid, a.kind, a.size, a.blocks, a.profile),
        (b.cid, b.kind, b.size, b.blocks, b.profile)
    );
    let info = |objects: Vec<ipfs_accelerate::ObjectInfo>| {
        let mut objects = objects.into_iter();
        let object = objects.find(|object| object.cid == cid).unwrap();
        (object.cid.to_string(), object.name, object.kind)
    };
    assert_eq!(
        info(there.objects().unwrap()),
        info(here.objects().unwrap())
    );
}

fn contents(reader: &StoreReader, cid: Cid) -> BTreeMap<String, Vec<u8>> {
    let object = reader.resolve(&of(cid)).unwrap();
    let files: Vec<_> = match object.kind() {
        EntryType::File => vec![String::new()],
        _ => {
            let entries = object.walk();
            let files = entries.filter(|entry| entry.kind == EntryType::File);
            files.map(|entry| entry.path).collect()
        }
    };
    let read = |path: String| {
        let content = object.read(&path).unwrap();
        (path, content)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn objects_of_every_kind_and_profile_arrive_with_all_their_blocks() {
    let stage = Stage::new();
    stage.file("m/weights", &bytes(1, 3 * MIB + 77));
    stage.file("m/empty", b"");
    stage.file("m/sub/again", &bytes(1, 3 * MIB + 77));
    stage.file("m/sub/zeros", &vec![0; 5 * MIB]);
    fs::create_dir_all(stage.path("m/none")).unwrap();
    std::os::unix::fs::symlink("sub/again", stage.path("m/link")).unwrap();
    let there = source(&stage);
    let mut profiles: Vec<Profile> = Profile::all().into_iter().collect();
    profiles.push(tensor_v1());
    profiles.push(Profile::default().with_hash(HashFunction::Blake3).unwrap());
    // Several levels of nodes.
    let deep = Profile::default().with_chunk_bytes(50_000).unwrap();
    profiles.push(deep.with_max_links(3).unwrap());
    let mut cids = Vec::new();
    for profile in profiles {
        let options = AddOptions::default().with_profile(profile);
        cids.push(there.add_path(stage.path("m"), &options).unwrap().cid);
        for len in [0, 1, 300_000, 2 * MIB] {
            let added = there.add_reader(&bytes(2, len)[..], &options).unwrap();
            cids.push(added.cid);
        }
    }
    // A sharded folder, and a file that is one symbolic link away.
    for number in 0..7_000 {
        stage.file(&format!("many/weights-of-some-length-{number:05}"), b"x");
    }
    let many = there.add_path(stage.path("many"), &unpinned()).unwrap();
    cids.push(many.cid);
    cids.sort();
    cids.dedup();

    let here = stage.create();
    let report = sync_all(&here, &stage);
    assert_eq!(
        (report.copied() as usize, report.there(), report.failed()),
        (cids.len(), 0, 0)
    );
    for cid in &cids {
        assert_same_object(&reader(&stage), &here, *cid);
        assert_eq!(
            contents(&reader(&stage), *cid),
            contents(&here.to_reader(), *cid)
        );
        assert_eq!(blocks(&there, *cid), blocks(&here, *cid));
    }
    // Each block once, and all of them.
    let (a, b) = (there.totals().unwrap(), here.totals().unwrap());
    assert_eq!((a.objects, a.blocks, a.pins), (b.objects, b.blocks, b.pins));
    let counts = report.counts();
    assert_eq!(counts.new_blocks, b.blocks);
    let names = |store: &Store| -> Vec<_> {
        let pins = store.pins().unwrap().into_iter();
        pins.map(|pin| (pin.name, pin.cid, pin.kind)).collect()
    };
    assert_eq!(names(&there), names(&here));

    // The index is rebuilt from what was copied, and a second time nothing is.
    drop(here);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    let here = stage.open();
    let before = stage.on_disk();
    let again = sync_all(&here, &stage);
    assert_eq!((again.copied(), again.there() as usize), (0, cids.len()));
    let counts = again.counts();
    assert_eq!((counts.new_blocks, counts.new_bytes), (0, 0));
    let objects = again.objects.iter();
    let places: u64 = objects.map(|object| object.counts.there_blocks).sum();
    assert_eq!(counts.there_blocks, places);
    assert_eq!(stage.on_disk(), before);
}

#[test]
fn only_what_is_missing_is_read_and_written() {
    let stage = Stage::new();
    let there = source(&stage);
    let (old, new) = (bytes(1, 6 * MIB), bytes(2, 2 * MIB + 5));
    let content = [&old[..], &new].concat();
    let cid = there.add_reader(&content[..], &unpinned()).unwrap().cid;
    let here = stage.create();
    add_bytes(&here, &old);
    let before = here.totals().unwrap().blocks;

    // What is here is not read there: it may be damaged.
    let [pack] = &fs::read_dir(stage.path("there/packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>()[..]
    else {
        panic!("one pack")
    };
    damage(pack, &old[MIB..MIB + 100]);
    let report = here.sync_from(&reader(&stage), &only(cid)).unwrap();
    let [object] = &report.objects[..] else {
        panic!("{report:?}")
    };
    assert!(matches!(object.state, SyncState::Copied), "{report:?}");
    // Three leaves and the node over all nine.
    let node = here.get_block(&cid).unwrap().data().len() as u64;
    let counts = object.counts;
    assert_eq!((counts.new_blocks, counts.there_blocks), (4, 6));
    assert_eq!(counts.new_bytes, new.len() as u64 + node);
    assert_eq!(counts.there_bytes, old.len() as u64);
    assert_eq!(here.totals().unwrap().blocks, before + 4);
    assert!(read(&here, &of(cid)) == content);
}

/// Changes a byte of a piece of content, wherever it lies in a pack.
pub(crate) fn damage(pack: &Path, piece: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let mut content = fs::read(pack).unwrap();
    let starts = (0..content.len()).step_by(2);
    let at = starts
        .filter(|&at| content[at..].starts_with(piece))
        .collect::<Vec<_>>();
    let [at] = at[..] else { panic!("{at:?}") };
    content[at + piece.len() / 2] ^= 1;
    fs::set_permissions(pack, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(pack, content).unwrap();
}

#[test]
fn what_was_scattered_in_the_source_is_one_run_in_the_copy() {
    let stage = Stage::new();
    let there = Store::create_with(stage.path("there"), small_packs(3 * MIB as u64)).unwrap();
    // Every other chunk is stored before, with others between.
    let chunks: Vec<Vec<u8>> = (0..12).map(|n| bytes(n, MIB)).collect();
    let odd: Vec<u8> = chunks
        .iter()
        .skip(1)
        .step_by(2)
        .flatten()
        .copied()
        .collect();
    add_bytes(&there, &odd);
    let content = [chunks.concat(), bytes(99, 1_234)].concat();
    let cid = add_bytes(&there, &content).cid;
    assert!(there.stat(&of(cid)).unwrap().extents > 10);

    let here = stage.create();
    here.sync_from(&reader(&stage), &only(cid)).unwrap();
    let stat = here.stat(&of(cid)).unwrap();
    assert_eq!(stat.extents, 1);
    let stored = here.reader(&of(cid)).unwrap();
    let slice = stored.slice(0..content.len() as u64).unwrap();
    assert_eq!(slice.copied(), None);
    assert!(slice[..] == content);

    // Over several packs it is stitched.
    let other = Stage::new();
    let here = other.create_with(small_packs(2 * MIB as u64));
    here.sync_from(&reader(&stage), &only(cid)).unwrap();
    assert!(other.stored("packs").len() > 3);
    let stored = here.reader(&of(cid)).unwrap();
    let slice = stored.slice(7..content.len() as u64 - 3).unwrap();
    assert_eq!(slice.copied(), None);
    assert!(slice[..] == content[7..content.len() - 3]);
    assert_eq!(other.stored("roots").len(), 1, "the loose root is gone");
}

#[test]
fn checkpoints_cut_at_their_tensors_load_from_the_copy_without_being_copied() {
    let stage = Stage::new();
    let there = source(&stage);
    let one = checkpoint(&sizes(), &[], 0, 8_192);
    let two = checkpoint(&sizes(), &[4, 8, 12], 1, 4_096);
    let mut cids = Vec::new();
    for content in [&one, &two] {
        let folder = format!("c{}", cids.len());
        stage.file(&format!("{folder}/model.safetensors"), content);
        let options = under(tensor_v1());
        cids.push(there.add_path(stage.path(&folder), &options).unwrap().cid);
    }
    let here = stage.create();
    // The second one first, so that the first one is what is new of it.
    for cid in [cids[1], cids[0]] {
        let report = here.sync_from(&reader(&stage), &only(cid)).unwrap();
        assert!(report.is_complete(), "{report:?}");
        let options = LoadOptions::default().with_verification();
        let loaded = load_checkpoint_and_dispatch(&here.to_reader(), &of(cid), options).unwrap();
        let report = loaded.report();
        assert_eq!((report.tensors, report.copied_bytes), (40, 0));
    }
    // An add of the same lays it out alike: as many pieces.
    let other = Stage::new();
    let added = other.create();
    for (number, cid) in [(1, cids[1]), (0, cids[0])] {
        added
            .add_path(stage.path(&format!("c{number}")), &under(tensor_v1()))
            .unwrap();
        let extents = |store: &Store| store.stat(&of(cid)).unwrap().extents;
        assert_eq!(extents(&here), extents(&added));
    }
    assert_eq!(
        here.totals().unwrap().blocks,
        added.totals().unwrap().blocks
    );
}

#[test]
fn targets_are_copied_alone_and_parts_of_objects_become_objects() {
    let stage = Stage::new();
    let there = source(&stage);
    stage.file("m/sub/a", &bytes(1, 2 * MIB));
    stage.file("m/b", &bytes(2, MIB));
    let folder = there
        .add_path(stage.path("m"), &AddOptions::default().named("m"))
        .unwrap();
    add_bytes(&there, b"something else");
    let here = stage.create();
    let options = SyncOptions::default()
        .with_targets(vec![target("m/sub"), target(format!("{}/sub", folder.cid))]);
    let report = here.sync_from(&reader(&stage), &options).unwrap();
    let [object] = &report.objects[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        (&*object.name, object.kind),
        ("sub", Some(EntryType::Folder))
    );
    let objects = here.objects().unwrap();
    let [info] = &objects[..] else {
        panic!("{objects:?}")
    };
    let profile = Profile::default();
    assert_eq!((&*info.name, &*info.profile), ("sub", profile.name()));
    assert_eq!(info.pins.len(), 1, "pinned under its CID");
    assert!(read(&here, &target(format!("{}/a", info.cid))) == bytes(1, 2 * MIB));
    let b = there.resolve(&target("m/b")).unwrap().cid();
    assert!(!here.has_block(&b).unwrap());

    // What is not there is refused before anything is copied.
    for (missing, kind) in [
        ("nobody", "no_such_name"),
        ("m/nothing", "no_such_path"),
        (
            "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
            "not_published",
        ),
    ] {
        let options = SyncOptions::default().with_targets(vec![target("m/b"), target(missing)]);
        let before = stage.on_disk();
        let error = here.sync_from(&reader(&stage), &options).unwrap_err();
        assert!(matches!(error, SyncError::Store(_)), "{error}");
        assert_eq!((error.kind(), stage.on_disk()), (kind, before));
    }
}

#[test]
fn a_cid_keeps_the_version_that_it_was_added_under() {
    let stage = Stage::new();
    let there = source(&stage);
    let options = AddOptions::default().with_profile(Profile::unixfs_v0_2015());
    let content = bytes(5, 700_000);
    let cid = there.add_reader(&content[..], &options).unwrap().cid;
    assert!(cid.to_string().starts_with("Qm"));
    let here = stage.create();
    sync_all(&here, &stage);
    assert_eq!(here.objects().unwrap()[0].cid, cid);
    assert!(read(&here, &of(parse_cid(&cid.to_string()).unwrap())) == content);
}

/// Every file of a store with its length, mode and times.
fn exactly(store: &Path) -> BTreeMap<std::path::PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for folder in ["", "packs", "roots", "names", "tmp", "db"] {
        for entry in fs::read_dir(store.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let modified = metadata.modified().unwrap();
            found.insert(entry.path(), (metadata.len(), modified));
        }
    }
    found
}

#[test]
fn the_source_stays_as_it_is() {
    let stage = Stage::new();
    let there = source(&stage);
    there
        .add_reader(&bytes(1, MIB)[..], &AddOptions::default().named("n"))
        .unwrap();
    drop(there);
    // Long unused, so that a use would be noted.
    for entry in fs::read_dir(stage.path("there/roots")).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let before = exactly(&stage.path("there"));
    let here = stage.create();
    sync_all(&here, &stage);
    assert_eq!(exactly(&stage.path("there")), before);
}

#[test]
fn a_dry_run_says_what_a_copy_then_does_and_changes_nothing() {
    let stage = Stage::new();
    let there = source(&stage);
    stage.file("m/a", &bytes(1, 3 * MIB));
    stage.file("m/b", &bytes(2, 70_000));
    for profile in [Profile::default(), Profile::unixfs_v0_2015()] {
        let options = AddOptions::default().with_profile(profile);
        there.add_path(stage.path("m"), &options).unwrap();
        // Shares its blocks with the folder.
        there.add_path(stage.path("m/a"), &options).unwrap();
    }
    there
        .add_reader(&bytes(7, 10)[..], &AddOptions::default().named("n"))
        .unwrap();
    let here = stage.create();
    add_bytes(&here, &bytes(1, MIB));
    let said = |report: &SyncReport| -> Vec<_> {
        let objects = report.objects.iter();
        objects
            .map(|object| {
                let pins = object.pins.iter().map(|pin| {
                    let change = pin.change.as_ref().unwrap();
                    (pin.name.clone(), *change)
                });
                let is_new = matches!(object.state, SyncState::Copied);
                (object.cid, is_new, object.counts, pins.collect::<Vec<_>>())
            })
            .collect()
    };
    let before = stage.on_disk();
    let mut options = SyncOptions::default();
    options.dry_run = true;
    let planned = here.sync_from(&reader(&stage), &options).unwrap();
    assert_eq!(stage.on_disk(), before);
    let done = sync_all(&here, &stage);
    assert_eq!(said(&planned), said(&done));
    assert_eq!(done.copied(), 5);
    assert!(done.counts().new_bytes > 0);
}

#[test]
fn a_store_cannot_be_copied_into_itself_but_into_a_copy_of_itself() {
    let stage = Stage::new();
    let here = stage.create();
    let cid = add_bytes(&here, &bytes(1, MIB)).cid;
    std::os::unix::fs::symlink(stage.store_path(), stage.path("alias")).unwrap();
    for path in [stage.store_path(), stage.path("alias")] {
        let source = StoreReader::open(&path).unwrap();
        let error = here
            .sync_from(&source, &SyncOptions::default())
            .unwrap_err();
        assert!(
            matches!(&error, SyncError::SameStore { path: p } if *p == path),
            "{error}"
        );
        assert_eq!(error.kind(), "same_store");
    }
    drop(here);
    // A copy has the same id, and is another store from then on.
    let copied = Command::new("cp")
        .arg("-a")
        .args([stage.store_path(), stage.path("there")])
        .status();
    assert!(copied.unwrap().success());
    let here = stage.open();
    let more = bytes(2, MIB);
    let there = Store::open(stage.path("there")).unwrap();
    let added = there.add_reader(&more[..], &unpinned()).unwrap();
    let report = sync_all(&here, &stage);
    assert_eq!((report.copied(), report.there()), (1, 1));
    assert!(read(&here, &of(added.cid)) == more);
    assert!(read(&here, &of(cid)) == bytes(1, MIB));
}

#[test]
fn progress_reaches_the_whole_and_never_goes_back() {
    let stage = Stage::new();
    let there = source(&stage);
    for seed in 0..3 {
        add_bytes(&there, &bytes(seed, 20 * MIB));
    }
    let here = stage.create();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut options = SyncOptions::default();
    let sink = Arc::clone(&seen);
    options.progress = Some(Arc::new(move |at| sink.lock().unwrap().push(at)));
    here.sync_from(&reader(&stage), &options).unwrap();
    let seen = seen.lock().unwrap();
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].done_bytes <= pair[1].done_bytes
                && pair[0].done_objects <= pair[1].done_objects
                && pair[0].new_bytes <= pair[1].new_bytes)
    );
    let last = seen.last().unwrap();
    assert_eq!((last.done_objects, last.total_objects), (3, 3));
    assert_eq!(
        (last.done_bytes, last.total_bytes),
        (60 * MIB as u64, 60 * MIB as u64)
    );
    assert!(last.new_bytes > 60 * MIB as u64, "the nodes count too");
    assert!(seen.len() >= 6, "{}", seen.len());
}

#[test]
fn what_is_added_here_meanwhile_is_stored_once() {
    let stage = Stage::new();
    let there = source(&stage);
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| bytes(seed, 3 * MIB + 9)).collect();
    let profile = Profile::default().with_chunk_bytes(64 << 10).unwrap();
    let options = AddOptions::default().with_profile(profile);
    let mut cids = Vec::new();
    for content in &contents {
        cids.push(there.add_reader(&content[..], &options).unwrap().cid);
    }
    let here = stage.create_with(small_packs(MIB as u64));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| sync_all(&here, &stage));
        }
        scope.spawn(|| {
            for content in contents.iter().rev() {
                here.add_reader(&content[..], &options).unwrap();
            }
        });
    });
    for (cid, content) in cids.iter().zip(&contents) {
        assert!(read(&here, &of(*cid)) == *content);
    }
    assert_eq!(
        here.totals().unwrap().blocks,
        there.totals().unwrap().blocks
    );
}

/// Run as a process of its own by the test below: copies what it is told to, and prints its peak memory.
#[test]
fn a_copy_takes_no_memory_for_its_length() {
    const CHILD: &str = "STORE_SYNC_MEMORY";
    if let Some(stage) = is_child(CHILD) {
        let stage = Path::new(&stage);
        let here = Store::create(stage.join("store")).unwrap();
        let source = StoreReader::open(stage.join("there")).unwrap();
        let report = here.sync_from(&source, &SyncOptions::default()).unwrap();
        assert_eq!((report.copied(), report.failed()), (1, 0));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        println!("peak {}", peak.unwrap().trim());
        return;
    }
    let stage = Stage::new();
    let there = source(&stage);
    add_bytes(&there, &bytes(1, 400 * MIB));
    drop(there);
    let test = "store_sync::a_copy_takes_no_memory_for_its_length";
    let output = again_in_a_child(test, CHILD, stage.path("").to_str().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let peak = text.split("peak ").nth(1).expect("the child printed it");
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 150 << 10, "400 MiB took {kib} KiB");
}

#[test]
fn an_unpublished_target_cannot_be_copied() {
    let stage = Stage::new();
    let there = source(&stage);
    let content = bytes(1, 3 * MIB);
    add_bytes(&there, &content);
    // A leaf is no object of a reader's.
    let leaf = ipfs_accelerate::leaf(&content[..MIB], &Profile::default()).cid;
    let here = stage.create();
    let error = here.sync_from(&reader(&stage), &only(leaf)).unwrap_err();
    assert!(
        matches!(&error, SyncError::Store(StoreError::NotPublished { cid, .. }) if *cid == leaf),
        "{error}"
    );
}
