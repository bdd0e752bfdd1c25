//! Collection (I6): what nothing covers goes, with its space, and nothing else does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ipfs_accelerate::{
    AddOptions, Block, Cid, Explain, GcOptions, GcReason, GcReport, HashFunction, PinOptions, RAW,
    RemoveOptions, Store, StoreError, StoreReader,
};

use super::store_kit::*;

pub(crate) fn gc(store: &Store) -> GcReport {
    gc_with(store, &GcOptions::default())
}

pub(crate) fn gc_with(store: &Store, options: &GcOptions) -> GcReport {
    let plan = store.plan_gc(options).unwrap();
    store.apply_gc(&plan).unwrap()
}

pub(crate) fn remove(store: &Store, cid: Cid) {
    store
        .remove(&of(cid), &RemoveOptions::with_unpin())
        .unwrap();
}

pub(crate) fn disk_bytes(stage: &Stage) -> u64 {
    let packs = stage.stored("packs");
    let blocks = packs
        .iter()
        .map(|path| fs::metadata(path).unwrap().blocks());
    blocks.sum::<u64>() * 512
}

pub(crate) fn options(change: impl FnOnce(&mut GcOptions)) -> GcOptions {
    let mut options = GcOptions::default();
    change(&mut options);
    options
}

/// Makes an object look as if it was last used so long ago.
pub(crate) fn age(stage: &Stage, cid: Cid, age: Duration) {
    age_root(&stage.store_path().join("roots").join(cid.to_string()), age);
}

/// As if a root had been used last so long ago.
pub(crate) fn age_root(root: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(root).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn gc_unlinks_the_pack_of_a_removed_object_and_keeps_the_others() {
    let stage = Stage::new();
    let store = stage.create();
    let (kept, gone) = (bytes(1, 3 << 20), bytes(2, 5 << 20));
    let kept_cid = add_bytes(&store, &kept).cid;
    let gone_cid = add_bytes(&store, &gone).cid;
    remove(&store, gone_cid);
    let before = disk_bytes(&stage);

    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    assert_eq!(plan.objects.len(), 1);
    assert_eq!(plan.objects[0].cid, Some(gone_cid));
    assert_eq!(plan.objects[0].reason, GcReason::Removed);
    assert_eq!(plan.objects[0].shared_bytes, 0);
    assert!(plan.objects[0].exclusive_bytes >= 5 << 20);
    assert_eq!(plan.packs, 1);
    assert_eq!(disk_bytes(&stage), before, "a plan changes nothing");

    let report = store.apply_gc(&plan).unwrap();
    assert_eq!(report.objects, plan.objects);
    assert_eq!(report.packs, 1);
    assert_eq!(report.freed_bytes, before - disk_bytes(&stage));
    assert!(report.freed_bytes >= 5 << 20);
    assert_eq!(report.used_bytes, disk_bytes(&stage));
    assert_eq!((report.pending.len(), report.not_freeable.len()), (0, 0));
    assert_eq!(stage.stored("packs").len(), 1);
    assert_eq!(read(&store, &of(kept_cid)), kept);
    assert!(!store.has(&of(gone_cid)).unwrap());

    let again = gc(&store);
    assert_eq!((again.freed_bytes, again.objects.len()), (0, 0));
    // It can be added again, and is whole.
    assert_eq!(add_bytes(&store, &gone).cid, gone_cid);
    assert_eq!(read(&store, &of(gone_cid)), gone);
}

#[test]
fn gc_punches_what_only_the_removed_object_had_and_keeps_what_is_shared() {
    let stage = Stage::new();
    let store = stage.create();
    let shared = bytes(1, 4 << 20);
    let mut first = shared.clone();
    first.extend(bytes(2, 8 << 20));
    let mut second = shared.clone();
    second.extend(bytes(3, 1 << 20));
    let first_cid = add_bytes(&store, &first).cid;
    let second_cid = add_bytes(&store, &second).cid;
    remove(&store, first_cid);
    let before = disk_bytes(&stage);
    let report = gc(&store);
    assert_eq!(report.packs, 0);
    let dead = 8 << 20;
    assert!(report.freed_bytes >= dead / 100 * 99, "{report:?}");
    assert_eq!(before - disk_bytes(&stage), report.freed_bytes);
    assert_eq!(read(&store, &of(second_cid)), second);

    // What is a hole now is not taken for content.
    let again = store.add_reader(&first[..], &unpinned()).unwrap();
    assert_eq!(again.cid, first_cid);
    assert_eq!(again.shared_bytes, 4 << 20);
    assert_eq!(read(&store, &of(first_cid)), first);
    drop(store);
    // Nor after the database was made anew from tables that name it.
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    let store = stage.open();
    assert_eq!(read(&store, &of(first_cid)), first);
    for block in first.chunks(1 << 20) {
        let cid = *Block::new(RAW, HashFunction::Sha2_256, block.to_vec()).cid();
        assert_eq!(store.get_block(&cid).unwrap().data(), block);
    }
}

#[test]
fn gc_frees_nothing_of_what_is_pinned_under_any_option() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 2 << 20);
    let pinned = store
        .add_reader(&content[..], &AddOptions::default().named("kept"))
        .unwrap()
        .cid;
    age(&stage, pinned, Duration::from_secs(1_000_000));
    let options = options(|o| {
        o.unpinned = true;
        o.grace = Duration::ZERO;
        o.max_bytes = Some(0);
    });
    let report = gc_with(&store, &options);
    assert_eq!((report.objects.len(), report.freed_bytes), (0, 0));
    assert_eq!(read(&store, &of(pinned)), content);
}

#[test]
fn gc_of_unpinned_objects_waits_for_the_grace_time() {
    let stage = Stage::new();
    let store = stage.create();
    let (old, young) = (bytes(1, 1 << 20), bytes(2, 1 << 20));
    let old_cid = add_bytes(&store, &old).cid;
    let young_cid = add_bytes(&store, &young).cid;
    age(&stage, old_cid, Duration::from_secs(25 * 3_600));
    assert_eq!(gc(&store).objects.len(), 0, "only when asked for");
    let report = gc_with(&store, &options(|o| o.unpinned = true));
    let went: Vec<_> = report.objects.iter().map(|o| (o.cid, o.reason)).collect();
    assert_eq!(went, [(Some(old_cid), GcReason::Unpinned)]);
    assert!(!store.has(&of(old_cid)).unwrap());
    assert_eq!(read(&store, &of(young_cid)), young);
}

#[test]
fn gc_over_the_quota_takes_the_least_recently_used_first_and_stops_under_it() {
    let stage = Stage::new();
    let store = stage.create();
    let cids: Vec<Cid> = (0..5)
        .map(|seed| add_bytes(&store, &bytes(seed, 2 << 20)).cid)
        .collect();
    for (i, cid) in cids.iter().enumerate() {
        age(&stage, *cid, Duration::from_secs(100 * (5 - i as u64)));
    }
    // The oldest is used again.
    age(&stage, cids[0], Duration::ZERO);
    let report = gc_with(&store, &options(|o| o.max_bytes = Some(7 << 20)));
    let went: Vec<_> = report.objects.iter().map(|o| o.cid.unwrap()).collect();
    assert_eq!(went, [cids[1], cids[2]]);
    assert!(report.objects.iter().all(|o| o.reason == GcReason::Quota));
    assert!(report.used_bytes <= 7 << 20);
}

#[test]
fn gc_leaves_what_was_pinned_or_used_since_the_plan() {
    let stage = Stage::new();
    let store = stage.create();
    let cids: Vec<Cid> = (0..3)
        .map(|seed| add_bytes(&store, &bytes(seed, 1 << 20)).cid)
        .collect();
    let day = Duration::from_secs(48 * 3_600);
    cids.iter().for_each(|cid| age(&stage, *cid, day));
    let plan = store.plan_gc(&options(|o| o.unpinned = true)).unwrap();
    assert_eq!(plan.objects.len(), 3);
    store.pin(&of(cids[0]), &PinOptions::named("now")).unwrap();
    StoreReader::open(stage.store_path())
        .unwrap()
        .read(&of(cids[1]))
        .unwrap();
    let report = store.apply_gc(&plan).unwrap();
    let went: Vec<_> = report.objects.iter().map(|o| o.cid.unwrap()).collect();
    assert_eq!(went, [cids[2]]);
    assert!(store.has(&of(cids[0])).unwrap() && store.has(&of(cids[1])).unwrap());
}

#[test]
fn gc_leaves_what_a_reader_holds_and_says_who_until_it_is_let_go() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let cid = add_bytes(&store, &content).cid;
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let map = reader.open_file(&of(cid)).unwrap().map().unwrap();
    remove(&store, cid);
    let report = gc(&store);
    assert_eq!((report.freed_bytes, report.objects.len()), (0, 0));
    assert_eq!(report.pending.len(), 1);
    let pending = &report.pending[0];
    assert_eq!(pending.cid, Some(cid));
    assert!(pending.bytes >= 3 << 20);
    if let Some(holder) = pending.holders.first() {
        assert_eq!(holder.pid, std::process::id());
    }
    assert_eq!(map.get(0..3 << 20).unwrap(), content);
    drop(map);
    let report = gc(&store);
    assert!(report.freed_bytes >= 3 << 20);
    assert_eq!(report.pending.len(), 0);
}

#[test]
fn gc_frees_the_space_though_a_reader_still_has_the_pack_open_in_its_cache() {
    let stage = Stage::new();
    let store = stage.create();
    let cid = add_bytes(&store, &bytes(1, 3 << 20)).cid;
    let reader = StoreReader::open(stage.store_path()).unwrap();
    drop(reader.read(&of(cid)).unwrap());
    let open = fs::File::open(&stage.stored("packs")[0]).unwrap();
    remove(&store, cid);
    assert_eq!(gc(&store).packs, 1);
    assert!(
        open.metadata().unwrap().blocks() * 512 < 1 << 20,
        "its payload is a hole"
    );
}

#[test]
fn gc_keeps_blocks_of_a_session_for_the_grace_time() {
    let stage = Stage::new();
    let store = stage.create();
    let block = Block::new(RAW, HashFunction::Sha2_256, bytes(1, 100_000));
    let mut session = store.session();
    session.put_block(&block).unwrap();
    session.commit().unwrap();
    gc(&store);
    assert_eq!(store.get_block(block.cid()).unwrap(), block);
    let report = gc_with(&store, &options(|o| o.grace = Duration::ZERO));
    assert_eq!(report.objects[0].reason, GcReason::Expired);
    assert_eq!(report.packs, 1);
    let error = store.get_block(block.cid()).unwrap_err();
    assert!(matches!(error, StoreError::BlockAbsent { .. }), "{error}");
}

#[test]
fn gc_keeps_what_this_process_put_together_from_single_blocks_and_still_reads() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 200_000);
    let cid = add_bytes(&store, &content).cid;
    remove(&store, cid);
    // No root covers it any more, but its blocks are still here.
    let object = store.resolve(&of(cid)).unwrap();
    let file = object.file().unwrap();
    drop(object);
    let report = gc(&store);
    assert_eq!(report.freed_bytes, 0);
    assert_eq!(report.pending[0].cid, None);
    assert_eq!(file.read().unwrap(), content);
    drop(file);
    assert_eq!(gc(&store).packs, 1);
}

#[test]
fn gc_stops_at_what_it_cannot_read_as_a_root() {
    let stage = Stage::new();
    let store = stage.create();
    let kept = add_bytes(&store, &bytes(1, 100_000)).cid;
    let gone = add_bytes(&store, &bytes(2, 100_000)).cid;
    remove(&store, gone);
    let roots = stage.store_path().join("roots");
    let names = stage.store_path().join("names");

    let root = roots.join(kept.to_string());
    let good = fs::read(&root).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&root, bad).unwrap();
    let refused = |kind: &str| {
        let error = store.plan_gc(&GcOptions::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().is_some());
        assert_eq!(stage.stored("packs").len(), 2);
    };
    refused("damaged");
    fs::write(&root, &good).unwrap();

    fs::write(roots.join("notes.txt"), "x").unwrap();
    refused("damaged");
    fs::remove_file(roots.join("notes.txt")).unwrap();

    fs::write(names.join("broken"), "x").unwrap();
    refused("damaged");
    fs::remove_file(names.join("broken")).unwrap();

    let pinned = store.add_reader(&b"pinned"[..], &AddOptions::default().named("p"));
    fs::remove_file(roots.join(pinned.unwrap().cid.to_string())).unwrap();
    let error = store.plan_gc(&GcOptions::default()).unwrap_err();
    assert_eq!(error.kind(), "name_without_root", "{error}");
    fs::remove_file(names.join("p")).unwrap();

    assert!(gc(&store).freed_bytes > 100_000);
    assert_eq!(read(&store, &of(kept)), bytes(1, 100_000));
}

#[test]
fn gc_goes_on_once_a_damaged_root_was_replaced_and_stops_while_somebody_holds_it() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 100_000);
    let cid = add_bytes(&store, &content).cid;
    let gone = add_bytes(&store, &bytes(2, 100_000)).cid;
    let held = store.to_reader().open_file(&of(cid)).unwrap();
    let root = stage.store_path().join("roots").join(cid.to_string());
    let mut damaged = fs::read(&root).unwrap();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&root, damaged).unwrap();
    assert_eq!(add_bytes(&store, &content).cid, cid);
    remove(&store, gone);
    // What the old one keeps for its reader is not known.
    let error = store.plan_gc(&GcOptions::default()).unwrap_err();
    assert_eq!(error.kind(), "damaged", "{error}");
    assert_eq!(held.read().unwrap(), content);
    drop(held);
    assert!(gc(&store).freed_bytes >= 100_000);
    assert_eq!(read(&store, &of(cid)), content);
    assert_eq!(stage.stored("roots").len(), 1);
}

#[test]
fn gc_reads_no_payload() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(1 << 20));
    let mut content = bytes(1, 24 << 20);
    let first = add_bytes(&store, &content).cid;
    content[..12 << 20].copy_from_slice(&bytes(2, 12 << 20));
    let second = add_bytes(&store, &content).cid;
    remove(&store, first);
    drop(store);
    let store = Store::open_with(stage.store_path(), small_packs(1 << 20)).unwrap();
    let read_bytes = || -> u64 {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse().unwrap()
    };
    let before = read_bytes();
    let report = gc(&store);
    let read_now = read_bytes() - before;
    assert!(report.freed_bytes >= 11 << 20, "{report:?}");
    assert!(read_now < 1 << 20, "{read_now}");
    assert_eq!(read(&store, &of(second)), content);
}

#[test]
fn blocks_of_dead_packs_leave_the_index_and_the_memory_tier() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let cid = add_bytes(&store, &content).cid;
    let leaf = *Block::new(RAW, HashFunction::Sha2_256, content[..1 << 20].to_vec()).cid();
    store.get_block(&leaf).unwrap();
    assert!(store.cache_stats().entries > 0);
    remove(&store, cid);
    gc(&store);
    assert_eq!(store.cache_stats().entries, 0);
    assert!(!store.has_block(&leaf).unwrap());
    let error = store.get_block(&leaf).unwrap_err();
    assert!(matches!(error, StoreError::BlockAbsent { .. }), "{error}");
}
