//! One test for each promise of the README, under its name. The depth is in the other files; what stands here
//! must hold before anything else is worth looking at.

use std::fs;
use std::path::Path;
use std::process::Command;

use ipfs_accelerate::{
    AddOptions, Block, Cid, HashFunction, LoadOptions, Profile, RAW, Store, StoreError,
    StoreOptions, StoreReader, Target, cid_of_reader, load_checkpoint_and_dispatch,
};

const FIXTURE: &str = "fixtures/silero-vad-sharded";

fn payload(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn packs(store: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(store.join("packs")).unwrap();
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

fn content(reader: &StoreReader, cid: &Cid) -> Vec<u8> {
    reader.read(&Target::new(cid)).unwrap()
}

#[test]
fn i1_identity_a_stored_object_has_the_cid_that_the_plain_algorithm_computes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    for profile in Profile::all() {
        for len in [0, 1, 262_144, 1_048_577, 5_000_000] {
            let bytes = payload(1, len);
            let plain = cid_of_reader(&bytes[..], &profile).unwrap().cid;
            let options = AddOptions::default().with_profile(profile.clone());
            assert_eq!(
                store.add_reader(&bytes[..], &options).unwrap().cid,
                plain,
                "{profile} {len}"
            );
        }
    }
}

#[test]
fn i2_durable_what_was_returned_survives_sigkill() {
    super::death::what_was_returned_survives(4);
}

#[test]
fn i3_immutable_sealed_packs_never_change_and_damage_makes_no_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::create(&path).unwrap();
    let first = payload(1, 2_000_000);
    let cid = store
        .add_reader(&first[..1_000_000], &AddOptions::default())
        .unwrap()
        .cid;
    let pack = packs(&path).pop().unwrap();
    let before = fs::read(&pack).unwrap();
    store
        .add_reader(&first[..], &AddOptions::default())
        .unwrap();
    store
        .remove(&cid.into(), &ipfs_accelerate::RemoveOptions::with_unpin())
        .unwrap();
    assert!(fs::read(&pack).unwrap() == before);
    assert!(fs::metadata(&pack).unwrap().permissions().readonly());

    // Flip one byte of the payload behind the store's back.
    assert!(store.get_block(&cid).is_ok());
    drop(store);
    let mut damaged = before;
    damaged[70_000] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &damaged).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(matches!(store.get_block(&cid), Err(StoreError::Block(_))));
}

#[test]
fn i4_rebuildable_a_store_without_its_database_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let bytes = payload(1, 3_000_000);
    let cid = {
        let store = Store::create(&path).unwrap();
        store
            .add_reader(&bytes[..], &AddOptions::default().named("kept"))
            .unwrap()
            .cid
    };
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 3] = [
        ("deleted", |db| fs::remove_dir_all(db).unwrap()),
        ("truncated", |db| fs::write(db.join("db"), b"").unwrap()),
        ("overwritten", |db| {
            fs::write(db.join("db"), [0x5A; 70_000]).unwrap()
        }),
    ];
    for (damage, inflict) in damages {
        inflict(&path.join("db"));
        let store = Store::open(&path).unwrap();
        let again = store
            .add_reader(&bytes[..], &AddOptions::default())
            .unwrap();
        assert_eq!((again.cid, again.new_bytes), (cid, 0), "{damage}");
        assert!(store.get_node(&cid).is_ok(), "{damage}");
        assert!(content(&store.to_reader(), &cid) == bytes, "{damage}");
        assert_eq!(store.pins().unwrap().len(), 2, "{damage}");
    }
}

#[test]
fn i5_once_a_block_is_stored_once_and_reaches_a_tensor_uncopied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::create(&path).unwrap();
    let cid = store.add_path(FIXTURE, &AddOptions::default()).unwrap().cid;
    let size = packs(&path)
        .iter()
        .map(|p| fs::metadata(p).unwrap().len())
        .sum::<u64>();
    let again = store.add_path(FIXTURE, &AddOptions::default()).unwrap();
    assert_eq!((again.new_bytes, packs(&path).len()), (0, 1));
    assert_eq!(fs::metadata(&packs(&path)[0]).unwrap().len(), size);
    let loaded = load_checkpoint_and_dispatch(&store, &cid.into(), LoadOptions::default()).unwrap();
    let report = loaded.report();
    assert_eq!((report.tensors, report.copied_bytes), (15, 0));
    assert_eq!(report.zero_copy_bytes, report.bytes);
}

#[test]
fn i7_calm_a_failed_add_is_a_typed_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::create(&path).unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), payload(1, 3_000_000)).unwrap();
    std::os::unix::net::UnixListener::bind(source.join("b")).unwrap();
    let error = store.add_path(&source, &AddOptions::default()).unwrap_err();
    assert!(
        matches!(&error, StoreError::UnsupportedFile { path, .. } if path.ends_with("b")),
        "{error}"
    );
    for folder in ["packs", "roots", "names", "tmp"] {
        assert_eq!(
            fs::read_dir(path.join(folder)).unwrap().count(),
            0,
            "{folder}"
        );
    }
}

#[test]
fn i8_shared_readers_load_beside_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::create(&path).unwrap();
    store
        .add_path(FIXTURE, &AddOptions::default().named("model"))
        .unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for seed in 0..10 {
                store
                    .add_reader(&payload(seed, 500_000)[..], &AddOptions::default())
                    .unwrap();
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..10 {
                    // Each opens the store as another process would.
                    let reader = StoreReader::open(&path).unwrap();
                    let target = "model".parse().unwrap();
                    let options = LoadOptions::default();
                    let loaded = reader
                        .load_checkpoint_and_dispatch(&target, options)
                        .unwrap();
                    assert_eq!(loaded.len(), 15);
                }
            });
        }
        writer.join().unwrap();
    });
    assert!(matches!(Store::open(&path), Err(StoreError::Locked { .. })));
}

#[test]
fn i9_bounded_the_memory_tier_keeps_to_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.memory_bytes = 1_000_000;
    let store = Store::create_with(dir.path().join("store"), options).unwrap();
    let mut session = store.session();
    let blocks: Vec<Block> = (0..100)
        .map(|seed| Block::new(RAW, HashFunction::Sha2_256, payload(seed, 50_000)))
        .collect();
    for block in &blocks {
        session.put_block(block).unwrap();
    }
    session.commit().unwrap();
    for block in &blocks {
        assert!(store.get_block(block.cid()).unwrap() == *block);
        let stats = store.cache_stats();
        assert!(stats.bytes <= stats.budget_bytes, "{stats:?}");
    }
    let stats = store.cache_stats();
    assert!(stats.evictions > 70 && stats.entries > 10, "{stats:?}");
}

/// Run as a process of its own by the test below: adds a long stream, and prints its peak memory.
#[test]
fn i9_bounded_child() {
    let Ok(store) = std::env::var("IPFS_ACCELERATE_TEST_I9_STORE") else {
        return;
    };
    let store = Store::create(store).unwrap();
    let stream = std::io::Read::take(std::io::repeat(7), 400 << 20);
    store.add_reader(stream, &AddOptions::default()).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("peak {}", peak.unwrap().trim());
}

#[test]
fn i9_bounded_a_stream_takes_no_memory_for_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "promises::i9_bounded_child", "--nocapture"])
        .env("IPFS_ACCELERATE_TEST_I9_STORE", dir.path().join("store"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let peak = text
        .split("peak ")
        .nth(1)
        .expect("the child printed its peak");
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 200 << 10, "400 MiB took {kib} KiB");
}
