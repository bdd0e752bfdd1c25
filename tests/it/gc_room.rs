//! Who makes way under a quota, and who does not: what is in use, what is worked on, and what frees nothing stays.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ipfs_accelerate::{
    AbsorbOptions, AddNote, AddOptions, Block, Cid, DesiredPins, Explain, HashFunction,
    HealOptions, PinAction, PinOptions, PinSyncOptions, RAW, Store, StoreOptions, StoreReader,
    SyncOptions, VerifyOptions, hash_path,
};

use super::gc::{age, age_root, disk_bytes, gc, options, remove};
use super::store_kit::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn bounded(stage: &Stage, mib: u64) -> Store {
    let mut options = StoreOptions::default();
    options.max_bytes = Some(mib << 20);
    stage.create_with(options)
}

fn mib(seed: u64, mib: usize) -> Vec<u8> {
    bytes(seed, mib << 20)
}

fn is_object(store: &Store, cid: Cid) -> bool {
    let objects = store.objects().unwrap();
    objects.iter().any(|object| object.cid == cid)
}

#[test]
fn what_somebody_holds_makes_no_way() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let served = add_bytes(&store, &mib(1, 8)).cid;
    let idle = add_bytes(&store, &mib(2, 8)).cid;
    age(&stage, served, 20 * HOUR);
    age(&stage, idle, 10 * HOUR);
    let held = StoreReader::open(stage.store_path()).unwrap();
    let held = held.resolve(&of(served)).unwrap();
    age(&stage, served, 20 * HOUR);
    let report = add_bytes(&store, &mib(3, 8));
    assert!(is_object(&store, served) && !is_object(&store, idle));
    let [AddNote::MadeRoom { objects: 1, .. }] = &report.notes[..] else {
        panic!("{:?}", report.notes);
    };
    drop(held);
    let report = add_bytes(&store, &mib(4, 8));
    assert!(!is_object(&store, served), "{report:?}");
}

#[test]
fn what_is_held_is_in_use_however_long_ago_that_began() {
    let stage = Stage::new();
    let store = stage.create();
    let served = add_bytes(&store, &mib(1, 1)).cid;
    let held = StoreReader::open(stage.store_path()).unwrap();
    let held = held.resolve(&of(served)).unwrap();
    age(&stage, served, 100 * HOUR);
    let unpinned = options(|o| o.unpinned = true);
    let plan = store.plan_gc(&unpinned).unwrap();
    assert_eq!(plan.objects, []);
    drop(held);
    let plan = store.plan_gc(&unpinned).unwrap();
    assert_eq!(plan.objects.len(), 1);
    store.apply_gc(&plan).unwrap();
    assert!(!is_object(&store, served));
}

#[test]
fn what_frees_nothing_makes_no_way() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let referenced = stage.file("ref", &mib(9, 4));
    let mut by_reference = unpinned();
    by_reference.reference = true;
    let referenced = store.add_path(&referenced, &by_reference).unwrap().cid;
    stage.file("top/x", &mib(4, 2));
    let keep = AddOptions::default().named("keep");
    store.add_path(stage.path("top"), &keep).unwrap();
    let part = add_bytes(&store, &mib(4, 2)).cid;
    let idle = add_bytes(&store, &mib(2, 10)).cid;
    age(&stage, referenced, 20 * HOUR);
    age(&stage, part, 19 * HOUR);
    age(&stage, idle, 10 * HOUR);
    add_bytes(&store, &mib(3, 8));
    assert!(is_object(&store, referenced) && is_object(&store, part));
    assert!(!is_object(&store, idle));
}

#[test]
fn two_that_share_everything_make_way_together() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    stage.file("a/x", &mib(4, 8));
    stage.file("b/y", &mib(4, 8));
    let a = store.add_path(stage.path("a"), &unpinned()).unwrap().cid;
    let b = store.add_path(stage.path("b"), &unpinned()).unwrap().cid;
    add_bytes(&store, &mib(3, 14));
    assert!(!is_object(&store, a) && !is_object(&store, b));
}

#[test]
fn nothing_makes_way_for_what_would_not_fit_all_the_same() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let pinned = AddOptions::default().named("pinned");
    store.add_reader(&mib(1, 10)[..], &pinned).unwrap();
    let idle = add_bytes(&store, &mib(2, 4)).cid;
    let other = Stage::new();
    let source = other.create();
    let large = source.add_reader(&mib(5, 12)[..], &pinned).unwrap().cid;
    let reader = source.to_reader();
    let error = refused(&stage, || {
        match store.sync_from(&reader, &SyncOptions::default()) {
            Err(ipfs_accelerate::SyncError::Store(e)) => Err::<(), _>(e),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(error.kind(), "quota_exceeded");
    assert!(is_object(&store, idle) && !is_object(&store, large));
}

/// What a copy finds here stays, so it is no room for the rest of the copy.
#[test]
fn nothing_makes_way_for_a_copy_that_rests_on_the_only_room_there_is() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let idle = add_bytes(&store, &mib(1, 3)).cid;
    let shared = add_bytes(&store, &mib(2, 8)).cid;
    let pinned = AddOptions::default().named("pinned");
    store.add_reader(&mib(3, 4)[..], &pinned).unwrap();
    let other = Stage::new();
    let source = other.create();
    add_bytes(&source, &[mib(2, 8), mib(4, 9)].concat());
    let reader = source.to_reader();
    let error = refused(&stage, || {
        match store.sync_from(&reader, &SyncOptions::default()) {
            Err(ipfs_accelerate::SyncError::Store(e)) => Err::<(), _>(e),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(error.kind(), "quota_exceeded");
    assert!(is_object(&store, idle) && is_object(&store, shared));
}

#[test]
fn what_is_absorbed_or_healed_makes_no_way_for_itself() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let file = stage.file("ref", &mib(9, 6));
    let mut by_reference = unpinned();
    by_reference.reference = true;
    let referenced = store.add_path(&file, &by_reference).unwrap().cid;
    let idle = add_bytes(&store, &mib(2, 16)).cid;
    age(&stage, referenced, 20 * HOUR);
    age(&stage, idle, 10 * HOUR);
    let absorbed = store.absorb(&of(referenced), &AbsorbOptions::default());
    assert_eq!(absorbed.unwrap().objects, 1);
    fs::remove_file(&file).unwrap();
    assert!(read(&store, &of(referenced)) == mib(9, 6));
    assert!(!is_object(&store, idle));

    let other = add_bytes(&store, &mib(3, 13)).cid;
    let damaged = stage.file("good", &mib(3, 13));
    flip_each_mib(&stage, &mib(3, 13));
    age(&stage, other, 20 * HOUR);
    let found = store.verify(&VerifyOptions::default()).unwrap();
    assert!(found.findings.len() > 8, "{found:?}");
    let healed = store.heal(&found, &[damaged], &HealOptions::default());
    // It is too large for two copies of it to be there at once.
    assert_eq!(healed.unwrap_err().kind(), "quota_exceeded");
    assert!(is_object(&store, other));
}

/// Damages this content wherever it lies in a pack.
fn flip_each_mib(stage: &Stage, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    for pack in stage.stored("packs") {
        let mut payload = fs::read(&pack).unwrap();
        let chunks = content.chunks(1 << 20).map(|chunk| &chunk[..64]);
        for head in chunks {
            let found = (0..payload.len().saturating_sub(64))
                .step_by(64)
                .find(|at| payload[*at..*at + 64] == *head);
            if let Some(at) = found {
                payload[at] ^= 1;
            }
        }
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&pack, payload).unwrap();
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o444)).unwrap();
    }
}

#[test]
fn what_a_file_of_pins_lists_makes_no_way_for_the_rest_of_it() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let named = AddOptions::default().named("a");
    let x = store.add_reader(&mib(1, 8)[..], &named).unwrap().cid;
    stage.file("y", &mib(2, 6));
    stage.file("z", &mib(3, 6));
    let text = format!("[pins]\na = \"./y\"\nc = \"./z\"\nb = \"{x}\"\n");
    let desired = DesiredPins::parse(&text, &stage.path("pins.toml"), None).unwrap();
    let sync = PinSyncOptions::default();
    let plan = store.plan_pins(&desired, &sync).unwrap();
    let report = store.apply_pins(plan, &sync).unwrap();
    assert!(report.is_complete() || is_object(&store, x), "{report:?}");
    assert!(is_object(&store, x));
    assert!(disk_bytes(&stage) <= 20 << 20);
}

/// A folder without a pin, of two files: 1 MiB and 8 MiB. Returns the CIDs of the folder and of the small file.
fn folder_of_two(stage: &Stage, store: &Store) -> (Cid, Cid) {
    let small = stage.file("folder/a", &mib(1, 1));
    stage.file("folder/b", &mib(2, 8));
    let folder = store.add_path(stage.path("folder"), &unpinned());
    let small = hash_path(&small, &AddOptions::default()).unwrap();
    (folder.unwrap().cid, small.cid)
}

#[test]
fn what_a_file_of_pins_lists_is_met_though_the_folder_around_it_makes_way() {
    for with_path in [false, true] {
        let stage = Stage::new();
        let store = bounded(&stage, 12);
        let (folder, small) = folder_of_two(&stage, &store);
        stage.file("big", &mib(3, 8));
        stage.file("copy", &mib(1, 1));
        let entry = match with_path {
            false => format!("\"{folder}/a\""),
            true => format!("{{ path = \"./copy\", cid = \"{small}\" }}"),
        };
        let text = format!("[pins]\naa = \"./big\"\nzz = {entry}\n");
        let desired = DesiredPins::parse(&text, &stage.path("pins.toml"), None).unwrap();
        let sync = PinSyncOptions::default();
        let plan = store.plan_pins(&desired, &sync).unwrap();
        let report = store.apply_pins(plan, &sync).unwrap();
        assert!(report.is_complete(), "{report:?}");
        let names: Vec<&str> = report.changes.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["aa", "zz"], "in the order of the file");
        assert!(!is_object(&store, folder) && is_object(&store, small));
        assert!(disk_bytes(&stage) <= 12 << 20);
    }
}

#[test]
fn what_went_since_the_plan_is_added_from_the_path_of_its_entry() {
    let stage = Stage::new();
    let store = stage.create();
    let (folder, small) = folder_of_two(&stage, &store);
    let text = format!("[pins]\nzz = {{ path = \"./folder/a\", cid = \"{small}\" }}\n");
    let desired = DesiredPins::parse(&text, &stage.path("pins.toml"), None).unwrap();
    let sync = PinSyncOptions::default();
    let plan = store.plan_pins(&desired, &sync).unwrap();
    assert_eq!(plan.changes().next().unwrap().action, PinAction::Pin);
    remove(&store, folder);
    gc(&store);
    let report = store.apply_pins(plan, &sync).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.changes[0].action, PinAction::Add);
    assert!(read(&store, &target("zz")) == mib(1, 1));
}

#[test]
fn the_quota_holds_though_adds_end_during_a_collection() {
    let stage = Stage::new();
    let store = bounded(&stage, 96);
    for seed in 0..600 {
        add_bytes(&store, &bytes(seed, 64));
    }
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| (0..20).for_each(|_| drop(gc(&store))));
        for seed in 0..60 {
            let pinned = AddOptions::default().named(format!("n{seed}"));
            let content = mib(10_000 + seed, 4);
            if store.add_reader(&content[..], &pinned).is_err() {
                break;
            }
            assert!(disk_bytes(&stage) <= 96 << 20, "{seed}");
        }
        collecting.join().unwrap();
    });
}

#[test]
fn adding_what_is_there_again_is_a_use() {
    let stage = Stage::new();
    let store = stage.create();
    let content = mib(1, 1);
    let cid = add_bytes(&store, &content).cid;
    let unpinned = options(|o| o.unpinned = true);
    age(&stage, cid, 100 * HOUR);
    assert_eq!(add_bytes(&store, &content).cid, cid);
    assert_eq!(store.plan_gc(&unpinned).unwrap().objects, []);

    // Between a plan and its application too, and however recent the use before was.
    let now = options(|o| {
        o.unpinned = true;
        o.grace = Duration::ZERO;
    });
    let plan = store.plan_gc(&now).unwrap();
    assert_eq!(plan.objects.len(), 1);
    assert_eq!(add_bytes(&store, &content).cid, cid);
    store.apply_gc(&plan).unwrap();
    assert!(is_object(&store, cid));
}

#[test]
fn a_use_in_a_time_to_come_counts_as_one_of_now() {
    let stage = Stage::new();
    let store = stage.create();
    let cid = add_bytes(&store, &mib(1, 1)).cid;
    let root = stage.store_path().join("roots").join(cid.to_string());
    let later = std::time::SystemTime::now() + 1_000 * HOUR;
    fs::File::open(&root).unwrap().set_modified(later).unwrap();
    let plan = store.plan_gc(&options(|o| {
        o.unpinned = true;
        o.grace = Duration::ZERO;
    }));
    assert_eq!(plan.unwrap().objects.len(), 1);
    store.to_reader().read(&of(cid)).unwrap();
    let used = fs::metadata(&root).unwrap().modified().unwrap();
    assert!(used < later - HOUR);
}

#[test]
fn a_snapshot_by_hard_links_keeps_what_it_has() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("top/a", &mib(1, 1));
    stage.file("top/b", &mib(2, 1));
    let top = store.add_path(stage.path("top"), &unpinned()).unwrap().cid;
    add_bytes(&store, &mib(2, 1));
    let whole = add_bytes(&store, &mib(3, 1)).cid;
    let linked = std::process::Command::new("cp")
        .arg("-al")
        .args([stage.store_path(), stage.path("snapshot")])
        .status();
    assert!(linked.unwrap().success());
    remove(&store, top);
    remove(&store, whole);
    let report = gc(&store);
    assert_eq!(report.packs, 1);
    let linked = report.not_freeable.iter();
    let linked = linked.filter(|(why, _)| why.name() == "hard_linked");
    assert!(
        linked.map(|(_, bytes)| bytes).sum::<u64>() > 900 << 10,
        "{report:?}"
    );
    let snapshot = StoreReader::open(stage.path("snapshot")).unwrap();
    let a = snapshot.read(&target(format!("{top}/a")));
    assert!(a.unwrap() == mib(1, 1));
    assert!(snapshot.read(&of(whole)).unwrap() == mib(3, 1));
    drop(snapshot);

    // Once the snapshot is gone, so is what it kept.
    fs::remove_dir_all(stage.path("snapshot")).unwrap();
    let report = gc(&store);
    let linked = report.not_freeable.iter();
    assert!(
        linked
            .filter(|(why, _)| why.name() == "hard_linked")
            .count()
            == 0
    );
    assert!(report.freed_bytes > 900 << 10, "{report:?}");
    assert_eq!(add_bytes(&store, &mib(1, 1)).new_bytes, 1 << 20);
}

#[test]
fn what_a_removed_object_that_is_held_covers_too_makes_no_way() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let a = add_bytes(&store, &mib(1, 8)).cid;
    stage.file("top/a", &mib(1, 8));
    let top = store.add_path(stage.path("top"), &unpinned()).unwrap().cid;
    let idle = add_bytes(&store, &mib(2, 8)).cid;
    let held = StoreReader::open(stage.store_path()).unwrap();
    let held = held.resolve(&of(a)).unwrap();
    remove(&store, a);
    age(&stage, top, 20 * HOUR);
    age(&stage, idle, 10 * HOUR);
    add_bytes(&store, &mib(3, 8));
    assert!(is_object(&store, top) && !is_object(&store, idle));
    drop(held);
}

/// A folder of a part that is pinned by itself, and so much that is not.
fn half_pinned(stage: &Stage, store: &Store, name: &str, seed: u64, rest_mib: usize) -> Cid {
    stage.file(&format!("{name}/kept"), &mib(seed, 1));
    stage.file(&format!("{name}/rest"), &mib(seed + 1, rest_mib));
    let top = store.add_path(stage.path(name), &unpinned()).unwrap().cid;
    let kept = format!("{top}/kept").parse().unwrap();
    store.pin(&kept, &PinOptions::named(name)).unwrap();
    top
}

fn snapshot(stage: &Stage) {
    let linked = std::process::Command::new("cp")
        .arg("-al")
        .args([stage.store_path(), stage.path("snapshot")])
        .status();
    assert!(linked.unwrap().success());
}

#[test]
fn nothing_makes_way_of_packs_that_a_snapshot_has_too_and_that_do_not_go_as_a_whole() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let tops =
        [(10, "a"), (20, "b")].map(|(seed, name)| half_pinned(&stage, &store, name, seed, 7));
    snapshot(&stage);
    let lowered = options(|o| o.max_bytes = Some(8 << 20));
    let plan = store.plan_gc(&lowered).unwrap();
    assert_eq!((&plan.objects[..], plan.freeable_bytes), (&[][..], 0));
    let error = refused(&stage, || {
        store.add_reader(&mib(1, 8)[..], &AddOptions::default())
    });
    assert_eq!(error.kind(), "quota_exceeded");
    assert!(tops.iter().all(|top| is_object(&store, *top)));

    // Beside what does help, too, however long it was not used.
    let idle = add_bytes(&store, &mib(2, 3)).cid;
    tops.iter().for_each(|top| age(&stage, *top, 20 * HOUR));
    add_bytes(&store, &mib(3, 3));
    assert!(!is_object(&store, idle));
    assert!(tops.iter().all(|top| is_object(&store, *top)));
}

#[test]
fn what_is_foretold_of_a_store_with_a_snapshot_by_hard_links_comes() {
    let stage = Stage::new();
    let store = stage.create();
    let part = half_pinned(&stage, &store, "a", 10, 2);
    let whole = add_bytes(&store, &mib(3, 1)).cid;
    snapshot(&stage);
    let removed = [part, whole].map(|cid| {
        let foretold = store.to_reader().space_of_removal(&[of(cid)]).unwrap();
        remove(&store, cid);
        foretold
    });
    assert_eq!(removed[0].freeable_bytes, 0);
    assert!(removed[0].not_freeable_bytes > 2 << 20, "{removed:?}");
    assert!(removed[1].freeable_bytes > 1 << 20, "{removed:?}");
    let space = store.to_reader().space().unwrap();
    let plan = store.plan_gc(&Default::default()).unwrap();
    let (before, report) = (disk_bytes(&stage), gc(&store));
    assert_eq!(report.freed_bytes, before - disk_bytes(&stage));
    assert_eq!(report.freed_bytes, removed[1].freeable_bytes);
    assert_eq!(plan.freeable_bytes, report.freed_bytes);
    assert_eq!(space.dead_bytes, report.freed_bytes);
    assert_eq!(plan.not_freeable, report.not_freeable);
    let kept = report
        .not_freeable
        .iter()
        .map(|(_, bytes)| bytes)
        .sum::<u64>();
    assert_eq!(kept, removed[0].not_freeable_bytes);
    assert_eq!(space.not_freeable_bytes, kept);
    // The disk has it back once the snapshot goes too.
    assert_eq!(plan.linked_bytes, plan.freeable_bytes);
    assert_eq!(report.linked_bytes, report.freed_bytes);

    // A second look says the same of what stays, and once the snapshot is gone it is free.
    assert_eq!(
        store.plan_gc(&Default::default()).unwrap().not_freeable,
        plan.not_freeable
    );
    fs::remove_dir_all(stage.path("snapshot")).unwrap();
    let plan = store.plan_gc(&Default::default()).unwrap();
    assert!(plan.freeable_bytes >= 2 << 20, "{plan:?}");
    let report = gc(&store);
    assert!(report.freed_bytes.abs_diff(plan.freeable_bytes) < 64 << 10);
    assert_eq!((plan.linked_bytes, report.linked_bytes), (0, 0));
    assert_eq!(store.to_reader().space().unwrap().dead_bytes, 0);
}

#[test]
fn a_pack_that_a_snapshot_has_too_makes_way_as_a_whole() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    stage.file("top/a", &mib(1, 4));
    stage.file("top/b", &mib(2, 4));
    let top = store.add_path(stage.path("top"), &unpinned()).unwrap().cid;
    let b = add_bytes(&store, &mib(2, 4)).cid;
    snapshot(&stage);
    let idle = add_bytes(&store, &mib(3, 4)).cid;
    age(&stage, top, 20 * HOUR);
    age(&stage, idle, 19 * HOUR);
    age(&stage, b, 10 * HOUR);
    // Only both of those in the pack free it.
    let report = add_bytes(&store, &mib(4, 14));
    assert!(
        !is_object(&store, top) && !is_object(&store, b),
        "{report:?}"
    );
    assert!(disk_bytes(&stage) <= 20 << 20);
}

#[test]
fn what_a_session_relies_on_makes_no_way() {
    let stage = Stage::new();
    let store = bounded(&stage, 20);
    let content = mib(1, 8);
    let hit = add_bytes(&store, &content).cid;
    let idle = add_bytes(&store, &mib(2, 8)).cid;
    age(&stage, hit, 20 * HOUR);
    age(&stage, idle, 10 * HOUR);
    let mut session = store.session();
    for chunk in content.chunks(1 << 20) {
        session
            .put_block(&Block::new(RAW, HashFunction::Sha2_256, chunk.to_vec()))
            .unwrap();
    }
    let plan = store.plan_gc(&options(|o| o.max_bytes = Some(0))).unwrap();
    assert!(
        plan.objects.iter().all(|object| object.cid != Some(hit)),
        "{plan:?}"
    );
    let report = add_bytes(&store, &mib(3, 8));
    assert!(
        is_object(&store, hit) && !is_object(&store, idle),
        "{report:?}"
    );

    // What goes is still in use then.
    remove(&store, hit);
    let plan = store.plan_gc(&Default::default()).unwrap();
    let report = gc(&store);
    assert_eq!(plan.pending, report.pending);
    assert!(plan.pending_bytes() >= 8 << 20, "{plan:?}");
    assert!(
        plan.freeable_bytes.abs_diff(report.freed_bytes) < 64 << 10,
        "{plan:?} {report:?}"
    );
    drop(session);
    assert!(gc(&store).freed_bytes > 8 << 20);
}

#[test]
fn single_blocks_stay_for_the_configured_grace_time_when_room_is_made() {
    for (grace, stays) in [(HOUR, false), (100 * HOUR, true)] {
        let stage = Stage::new();
        let mut bounded = StoreOptions::default();
        bounded.max_bytes = Some(20 << 20);
        bounded.grace = grace;
        let store = stage.create_with(bounded);
        let idle = add_bytes(&store, &mib(2, 8)).cid;
        age(&stage, idle, 90 * HOUR);
        let mut session = store.session();
        let block = Block::new(RAW, HashFunction::Sha2_256, mib(1, 1));
        session.put_block(&block).unwrap();
        session.commit().unwrap();
        let roots = stage.stored("roots").into_iter();
        let is_loose = |root: &PathBuf| root.to_string_lossy().contains("/loose-");
        let loose: Vec<PathBuf> = roots.filter(is_loose).collect();
        assert_eq!(loose.len(), 1);
        age_root(&loose[0], 30 * HOUR);
        add_bytes(&store, &mib(3, 12));
        assert!(!is_object(&store, idle));
        assert_eq!(store.has(&of(*block.cid())).unwrap(), stays, "{grace:?}");
    }
}
