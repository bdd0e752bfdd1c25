//! Whose bytes the space holds.

use ipfs_accelerate::{AddOptions, Block, HashFunction, RAW, StoreReader};

use super::gc::{gc, remove};
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
    assert!(about(space.dead_bytes, 5));
    let sum = space.live_bytes + space.loose_bytes + space.pending_bytes + space.dead_bytes;
    assert!(space.disk_bytes.abs_diff(sum) < MIB / 2, "{space:?}");

    // What a removal would free is what it frees.
    let both = reader.space_of_removal(&[of(a), of(b)]).unwrap();
    assert!(about(both.freeable_bytes, 7));
    assert_eq!(both.shared_bytes, 0);
    let one = reader.space_of_removal(&[target("a")]).unwrap();
    assert_eq!(one.freeable_bytes, of_object(a).exclusive_bytes);
    assert!(about(one.shared_bytes, 4));

    gc(&store);
    let after = reader.space().unwrap();
    assert!(about(after.pending_bytes, 3));
    assert!(after.dead_bytes < 4_096, "{after:?}");
    drop(file);
    let after = reader.space().unwrap();
    assert_eq!(after.pending_bytes, 0);
    assert!(about(after.dead_bytes, 3));
    let freed = gc(&store).freed_bytes;
    assert!(freed >= after.dead_bytes);
}
