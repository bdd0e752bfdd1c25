//! Whose bytes the space holds.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ipfs_accelerate::{
    AbsorbOptions, AddOptions, Block, GcOptions, GcReason, HashFunction, NotFreeable, RAW,
    RemoveOptions, Store, StoreReader, VerifyOptions,
};
use rustix::fs::FallocateFlags;

use super::gc::{disk_bytes, gc, remove};
use super::store_kit::*;

const MIB: u64 = 1 << 20;

#[test]
fn exclusive_shared_dead_and_pending_bytes_are_told_apart_and_add_up() {
    let stage = Stage::new();
    let store = stage.create();
    let shared = bytes(1, 4 << 20);
    let with = |seed, len| [shared.clone(), bytes(seed, len)].concat();
    let a = store
        .add_reader(&with(2, 2 << 20)[..], &AddOptions::default().named("a"))
        .unwrap()
        .cid;
    let b = add_bytes(&store, &with(3, 1 << 20)).cid;
    let held = add_bytes(&store, &bytes(4, 3 << 20)).cid;
    let dead = add_bytes(&store, &bytes(5, 5 << 20)).cid;
    let mut session = store.session();
    session
        .put_block(&Block::new(RAW, HashFunction::Sha2_256, bytes(6, 1 << 20)))
        .unwrap();
    session.commit().unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let file = reader.open_file(&of(held)).unwrap();
    remove(&store, held);
    remove(&store, dead);

    let space = reader.space().unwrap();
    let about = |bytes: u64, mib: u64| (mib * MIB..mib * MIB + 4_096).contains(&bytes);
    // Of a pack that goes as a whole the header and the table are freed too, and what it has been padded with.
    let on_disk = |bytes: u64, mib: u64| (mib * MIB..mib * MIB + 131_072).contains(&bytes);
    let of_object = |cid| space.objects.iter().find(|o| o.cid == cid).unwrap();
    assert_eq!(space.objects.len(), 2);
    assert!(about(of_object(a).exclusive_bytes, 2), "{space:?}");
    assert!(about(of_object(a).shared_bytes, 4));
    assert!(about(of_object(b).exclusive_bytes, 1));
    assert_eq!(of_object(a).pins, ["a"]);
    assert!(about(space.live_bytes, 7));
    // Of a session the whole pack is covered, padding included.
    assert!((MIB..MIB + (128 << 10)).contains(&space.loose_bytes));
    assert!(about(space.pending_bytes, 3));
    assert!(on_disk(space.dead_bytes, 5), "{space:?}");
    let sum = space.live_bytes + space.loose_bytes + space.pending_bytes + space.dead_bytes;
    assert!(space.disk_bytes.abs_diff(sum) < MIB / 2, "{space:?}");

    // What a removal would free is what it frees.
    let both = reader.space_of_removal(&[of(a), of(b)]).unwrap();
    assert!(on_disk(both.freeable_bytes, 7), "{both:?}");
    assert_eq!(both.shared_bytes, 0);
    let one = reader.space_of_removal(&[target("a")]).unwrap();
    assert!(
        on_disk(one.freeable_bytes, 2) || about(one.freeable_bytes + 4_096, 2),
        "{one:?}"
    );
    assert!(one.freeable_bytes + one.not_freeable_bytes >= of_object(a).exclusive_bytes);
    assert!(about(one.shared_bytes, 4));

    gc(&store);
    let after = reader.space().unwrap();
    assert!(about(after.pending_bytes, 3));
    assert!(after.dead_bytes < 4_096, "{after:?}");
    drop(file);
    let after = reader.space().unwrap();
    assert_eq!(after.pending_bytes, 0);
    assert!(on_disk(after.dead_bytes, 3), "{after:?}");
    let freed = gc(&store).freed_bytes;
    assert!(freed >= after.dead_bytes);
}

/// What a removal, a listing of the space and a plan say is what a collection does.
#[test]
fn removal_listing_plan_and_collection_say_the_same() {
    let stage = Stage::new();
    let store = stage.create();
    let shared = bytes(1, 3 << 20);
    let with = |seed, len| [&shared[..], &bytes(seed, len)].concat();
    let kept = add_bytes(&store, &with(2, 900_000)).cid;
    let goes = add_bytes(&store, &with(3, 1_500_000)).cid;
    let held = add_bytes(&store, &with(4, 700_000)).cid;
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let file = reader.open_file(&of(held)).unwrap();

    let foretold = [goes, held].map(|cid| reader.space_of_removal(&[of(cid)]).unwrap());
    let removed = [goes, held].map(|cid| {
        store
            .remove(&of(cid), &RemoveOptions::with_unpin())
            .unwrap()
    });
    for (foretold, removed) in foretold.iter().zip(&removed) {
        assert_eq!(removed.freeable_bytes, foretold.freeable_bytes);
        assert_eq!(removed.pending_bytes, foretold.pending_bytes);
        assert_eq!(removed.not_freeable_bytes, foretold.not_freeable_bytes);
        assert_eq!(removed.shared_bytes, foretold.shared_bytes);
    }
    let [goes, in_use] = &removed;
    assert!(
        goes.freeable_bytes > 1_490_000 && goes.pending_bytes == 0,
        "{goes:?}"
    );
    assert!(
        in_use.freeable_bytes == 0 && in_use.pending_bytes >= 700_000,
        "{in_use:?}"
    );

    let space = reader.space().unwrap();
    let plan = reader.plan_gc(&GcOptions::default()).unwrap();
    assert_eq!(plan.freeable_bytes, goes.freeable_bytes);
    assert_eq!(plan.freeable_bytes, space.dead_bytes);
    assert_eq!(plan.pending_bytes(), space.pending_bytes);
    assert_eq!(plan.pending_bytes(), in_use.pending_bytes);
    assert_eq!(plan.pending[0].cid, Some(held));
    assert_eq!(plan.pending[0].holders[0].pid, std::process::id());
    let report = gc(&store);
    assert_eq!(report.freed_bytes, plan.freeable_bytes);
    assert_eq!(report.pending, plan.pending);
    assert_eq!(report.not_freeable, plan.not_freeable);

    drop(file);
    let plan = reader.plan_gc(&GcOptions::default()).unwrap();
    assert_eq!(gc(&store).freed_bytes, plan.freeable_bytes);
    assert!(
        plan.pending.is_empty() && plan.freeable_bytes > 0,
        "{plan:?}"
    );
    assert_eq!(read(&store, &of(kept)), with(2, 900_000));
    let left = reader.plan_gc(&GcOptions::default()).unwrap();
    assert_eq!((left.freeable_bytes, left.dead_bytes), (0, 0), "{left:?}");
}

/// Between two runs of leaves there is padding; what was removed from there is dead all the same.
#[test]
fn a_small_file_between_large_ones_is_accounted_for_once_it_is_removed() {
    let stage = Stage::new();
    let store = stage.create();
    for (name, len) in [("a.bin", 200_000), ("license", 1_000), ("z.bin", 200_000)] {
        stage.file(
            &format!("m/{name}"),
            &bytes(name.len() as u64 + u64::from(name.as_bytes()[0]), len),
        );
    }
    let folder = store
        .add_path(stage.path("m"), &AddOptions::default())
        .unwrap();
    for name in ["a.bin", "z.bin"] {
        let path = target(format!("{}/{name}", folder.cid));
        store.pin(&path, &Default::default()).unwrap();
    }
    let license = store
        .stat(&target(format!("{}/license", folder.cid)))
        .unwrap()
        .cid;
    let removed = store
        .remove(&of(folder.cid), &RemoveOptions::with_unpin())
        .unwrap();
    assert!(removed.not_freeable_bytes > 1_000, "{removed:?}");
    assert_eq!(removed.freeable_bytes, 0);
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let plan = reader.plan_gc(&GcOptions::default()).unwrap();
    let expected = [(NotFreeable::PartialPages, removed.not_freeable_bytes)];
    assert_eq!(
        (plan.freeable_bytes, &plan.not_freeable[..]),
        (0, &expected[..])
    );
    let report = gc(&store);
    assert_eq!(
        (report.freed_bytes, &report.not_freeable[..]),
        (0, &expected[..])
    );
    let space = reader.space().unwrap();
    assert_eq!(
        (space.dead_bytes, space.not_freeable_bytes),
        (0, removed.not_freeable_bytes)
    );
    // Nobody finds it any more, and a verification counts what the two files have.
    assert!(!store.has_block(&license).unwrap());
    assert_eq!(store.verify(&VerifyOptions::default()).unwrap().blocks, 2);
    drop(store);
    assert_eq!(
        stage
            .open()
            .verify(&VerifyOptions::default())
            .unwrap()
            .blocks,
        2
    );
}

/// The runs of a folder's files begin at multiples of 64 KiB, and what lies between them was never written.
#[test]
fn padding_within_what_is_dead_is_no_space_that_comes_free() {
    let stage = Stage::new();
    let store = stage.create();
    for seed in 0..12 {
        stage.file(&format!("m/{seed:02}"), &bytes(seed, 70_000));
    }
    let added = store.add_path(stage.path("m"), &AddOptions::default());
    let m = added.unwrap().cid;
    let file = target(format!("{m}/00"));
    let kept = store.pin(&file, &Default::default()).unwrap().cid;
    let removed = store.remove(&of(m), &RemoveOptions::with_unpin()).unwrap();
    let runs = 11 * 18 * 4_096;
    assert!(
        (runs - 2 * 4_096..runs + 4 * 4_096).contains(&removed.freeable_bytes),
        "{removed:?}"
    );
    collected_as_foretold(&stage, &store, removed.freeable_bytes);
    assert_eq!(read(&store, &of(kept)), bytes(0, 70_000));
}

/// A collection that was cut off leaves some of what is dead as it is, and some as holes.
#[test]
fn what_is_a_hole_of_what_is_dead_is_no_space_that_comes_free() {
    let stage = Stage::new();
    let store = stage.create();
    let shared = bytes(1, 1 << 20);
    let goes = add_bytes(&store, &[&shared[..], &bytes(2, 6 << 20)].concat()).cid;
    let kept = add_bytes(&store, &shared).cid;
    let removed = store
        .remove(&of(goes), &RemoveOptions::with_unpin())
        .unwrap();
    let packs = stage.stored("packs");
    let pack = packs
        .iter()
        .max_by_key(|pack| fs::metadata(pack).unwrap().len());
    punch(pack.unwrap(), 3 << 20, 2 << 20);
    collected_as_foretold(&stage, &store, removed.freeable_bytes - (2 << 20));
    assert_eq!(read(&store, &of(kept)), shared);
}

fn punch(pack: &Path, offset: u64, len: u64) {
    let mut permissions = fs::metadata(pack).unwrap().permissions();
    permissions.set_mode(0o644);
    fs::set_permissions(pack, permissions).unwrap();
    let file = fs::File::options().write(true).open(pack).unwrap();
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, flags, offset, len).unwrap();
}

/// What the accounts and a plan say is free is so much, and is what a collection gives back; nothing is left then.
fn collected_as_foretold(stage: &Stage, store: &Store, bytes: u64) {
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let plan = || reader.plan_gc(&GcOptions::default()).unwrap();
    let dead = || reader.space().unwrap().dead_bytes;
    assert_eq!((plan().freeable_bytes, dead()), (bytes, bytes));
    let before = disk_bytes(stage);
    assert_eq!(gc(store).freed_bytes, bytes);
    assert_eq!(before - disk_bytes(stage), bytes);
    assert_eq!((plan().freeable_bytes, dead()), (0, 0));
    assert_eq!(gc(store).freed_bytes, 0);
}

/// What an object covers is its own, though a root of it that was removed or replaced stands there still.
#[test]
fn what_only_a_removed_root_covers_besides_is_the_objects_own() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 2 << 20);
    let cid = add_bytes(&store, &content).cid;
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let own = || {
        let space = reader.space().unwrap();
        let [object] = &space.objects[..] else {
            panic!("{space:?}");
        };
        (object.exclusive_bytes, object.shared_bytes)
    };
    let alone = own();
    assert!((2 * MIB..2 * MIB + 4_096).contains(&alone.0));
    let file = reader.open_file(&of(cid)).unwrap();
    remove(&store, cid);
    assert_eq!(add_bytes(&store, &content).new_bytes, 0);
    assert_eq!(own(), alone, "while the removed root is held");
    let plan = reader.plan_gc(&GcOptions::default()).unwrap();
    let [object] = &plan.objects[..] else {
        panic!("{plan:?}");
    };
    assert!(object.in_use, "{plan:?}");
    drop(file);
    assert_eq!(own(), alone);
    let freeable = reader.space_of_removal(&[of(cid)]).unwrap().freeable_bytes;
    assert!(freeable >= alone.0, "{freeable}");
    let plan = reader.plan_gc(&GcOptions::default()).unwrap();
    assert!(!plan.objects[0].in_use, "{plan:?}");
}

#[test]
fn packs_that_cannot_be_read_or_have_lost_their_roots_are_in_the_accounts() {
    let stage = Stage::new();
    let store = stage.create();
    for (seed, name) in [(1, "kept"), (2, "damaged"), (3, "lost")] {
        let options = AddOptions::default().named(name);
        let content = bytes(seed, (seed as usize) << 20);
        let cid = store.add_reader(&content[..], &options).unwrap().cid;
        if name == "lost" {
            fs::remove_file(stage.store_path().join("names").join(name)).unwrap();
            fs::remove_file(stage.store_path().join("roots").join(cid.to_string())).unwrap();
        }
    }
    drop(store);
    let on_disk = |mib: u64, bytes: u64| (mib * MIB..mib * MIB + 131_072).contains(&bytes);
    let packs = stage.stored("packs");
    let len = |pack: &&std::path::PathBuf| fs::metadata(pack).unwrap().len();
    let damaged = packs.iter().find(|pack| on_disk(2, len(pack))).unwrap();
    fs::set_permissions(damaged, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(damaged).unwrap();
    file.set_len(MIB).unwrap();

    let reader = StoreReader::open(stage.store_path()).unwrap();
    let space = reader.space().unwrap();
    let unreadable = 512 * fs::metadata(damaged).unwrap().blocks();
    let found = (space.unreadable_packs, space.unreadable_bytes);
    assert_eq!(found, (1, unreadable));
    assert!((MIB..MIB + 4_096).contains(&space.live_bytes), "{space:?}");
    assert_eq!(space.unrooted_packs, 1, "{space:?}");
    assert!(on_disk(3, space.unrooted_bytes), "{space:?}");
    assert_eq!(space.disk_bytes, disk_bytes(&stage));
    let plan = reader.plan_gc(&GcOptions::default()).unwrap();
    assert_eq!(plan.used_bytes, space.disk_bytes);
    assert_eq!(plan.unrooted_bytes, space.unrooted_bytes);
    let report = gc(&stage.open());
    assert_eq!(report.used_bytes, space.disk_bytes);
}

#[test]
fn what_is_referenced_is_in_the_accounts() {
    let stage = Stage::new();
    let store = stage.create();
    let file = stage.file("weights.bin", &bytes(1, 300_000));
    let mut options = AddOptions::default();
    options.reference = true;
    store.add_path(&file, &options).unwrap();
    let space = store.to_reader().space().unwrap();
    assert_eq!(space.referenced_bytes, 300_000, "{space:?}");
}

#[test]
fn a_root_that_made_way_for_a_newer_one_of_its_object_is_replaced_and_not_removed() {
    let stage = Stage::new();
    let store = stage.create();
    let file = stage.file("weights.bin", &bytes(1, 200_000));
    let mut options = AddOptions::default();
    options.reference = true;
    let cid = store.add_path(&file, &options).unwrap().cid;
    let gone = add_bytes(&store, &bytes(2, 100_000)).cid;
    remove(&store, gone);
    store.absorb(&of(cid), &AbsorbOptions::default()).unwrap();
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    let mut why: Vec<_> = plan
        .objects
        .iter()
        .map(|o| (o.cid.unwrap(), o.reason))
        .collect();
    why.sort_by_key(|(_, reason)| *reason);
    assert_eq!(why, [(gone, GcReason::Removed), (cid, GcReason::Replaced)]);
    let report = store.apply_gc(&plan).unwrap();
    assert_eq!(report.objects.len(), 2);
    assert_eq!(read(&store, &of(cid)), bytes(1, 200_000));
}

#[test]
fn what_a_killed_writer_left_is_in_the_accounts_and_freed_by_the_next_one() {
    let stage = Stage::new();
    let store = stage.create();
    add_bytes(&store, &bytes(1, 10_000));
    let left = stage
        .store_path()
        .join("tmp")
        .join(format!("{}.pack", "a".repeat(32)));
    fs::write(&left, bytes(2, 1 << 20)).unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let plan = || {
        reader
            .plan_gc(&GcOptions::default())
            .unwrap()
            .unfinished_bytes
    };
    assert_eq!(plan(), 0, "it may be the writer's own");
    drop(store);
    assert!(plan() >= MIB);
    assert_eq!(reader.space().unwrap().unfinished_bytes, plan());
    let expected = plan();
    let store = stage.open();
    assert!(!left.exists());
    let reports = [(); 2].map(|()| gc(&store).unfinished_bytes);
    assert_eq!(reports, [expected, 0], "it is told once");
    assert_eq!(reader.space().unwrap().unfinished_bytes, 0);
}
