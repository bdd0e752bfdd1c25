//! Copies that cannot be made whole: damage in the source, a stop, a kill. An object is there whole or not at all,
//! and the others are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipfs_accelerate::{
    AddOptions, Cid, Explain, Profile, Store, StoreError, StoreReader, SyncError, SyncObjectError,
    SyncOptions, SyncState, leaf,
};

use super::store_kit::*;
use super::store_profiles::MIB;
use super::store_sync::{damage, only, reader, source};

fn packs(stage: &Stage) -> Vec<PathBuf> {
    let entries = fs::read_dir(stage.path("there/packs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Copies everything; one object has to fail.
#[track_caller]
fn one_fault(here: &Store, stage: &Stage, cid: Cid) -> SyncObjectError {
    let report = here
        .sync_from(&reader(stage), &SyncOptions::default())
        .unwrap();
    assert!(!report.is_complete());
    let mut fault = None;
    for object in report.objects {
        match object.state {
            SyncState::Failed(e) => {
                assert_eq!(object.cid, cid, "{e}");
                assert_eq!(object.pins.len(), 0);
                fault = Some(e);
            }
            _ => assert!(here.has(&of(object.cid)).unwrap()),
        }
    }
    assert!(!here.to_reader().has(&of(cid)).unwrap());
    assert!(here.pins().unwrap().iter().all(|pin| pin.cid != cid));
    let fault = fault.expect("one that failed");
    assert!(!fault.to_string().contains('\n'), "{fault}");
    fault
}

#[test]
fn a_damaged_leaf_is_named_with_its_place_and_keeps_its_object_out() {
    for profile in [Profile::default(), Profile::unixfs_v0_2015()] {
        let stage = Stage::new();
        let there = source(&stage);
        let profile = profile.with_chunk_bytes(100_000).unwrap();
        let content = bytes(1, 20 * 100_000 + 3);
        let options = AddOptions::default().with_profile(profile.clone());
        let cid = there.add_reader(&content[..], &options).unwrap().cid;
        let before = packs(&stage);
        there
            .add_reader(&b"another"[..], &AddOptions::default().named("n"))
            .unwrap();
        drop(there);
        let chunk = &content[700_000..800_000];
        damage(&before[0], &chunk[..200]);

        let here = stage.create_with(small_packs(300_000));
        let fault = one_fault(&here, &stage, cid);
        let SyncObjectError::Corrupt {
            object,
            block,
            found,
            pack,
            pack_offset,
        } = &fault
        else {
            panic!("{fault}")
        };
        assert_eq!((**object, **block), (cid, leaf(chunk, &profile).cid));
        assert_ne!(found, block);
        assert_eq!(*pack, before[0]);
        let stored = fs::read(pack).unwrap();
        let lies = &stored[*pack_offset as usize..];
        // The block begins there: the chunk, or the frame around it.
        assert!(lies[..120].windows(50).any(|part| part == &chunk[..50]));
        assert_eq!(fault.kind(), "corrupt");
        for part in [cid.to_string(), block.to_string(), pack_offset.to_string()] {
            assert!(fault.to_string().contains(&part), "{fault}");
        }
        // Nothing of it is kept, not even the packs that were sealed on the way.
        assert_eq!(stage.stored("packs").len(), 1);
        assert_eq!(stage.stored("roots").len(), 1);
        assert_eq!(read(&here, &target("n")), b"another");
    }
}

#[test]
fn damaged_nodes_roots_and_packs_keep_their_object_out() {
    type Damage = fn(&Stage, Cid);
    fn only_pack(stage: &Stage) -> PathBuf {
        // The first one: the other object's is written later.
        let mut packs = packs(stage);
        packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
        let pack = packs.pop().unwrap();
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
        pack
    }
    let cases: [(&str, Damage); 5] = [
        ("corrupt", |stage, cid| {
            let node = Store::open(stage.path("there"))
                .unwrap()
                .get_block(&cid)
                .unwrap();
            damage(&only_pack(stage), node.data());
        }),
        ("damaged", |stage, _| {
            let file = fs::File::options().write(true).open(only_pack(stage));
            file.unwrap().set_len(70_000).unwrap();
        }),
        ("file_not_found", |stage, _| {
            fs::remove_file(only_pack(stage)).unwrap();
        }),
        ("damaged", |stage, cid| {
            let root = stage.path("there/roots").join(cid.to_string());
            let mut content = fs::read(&root).unwrap();
            let last = content.len() - 10;
            content[last] ^= 1;
            fs::write(&root, content).unwrap();
        }),
        ("damaged", |stage, cid| {
            let root = stage.path("there/roots").join(cid.to_string());
            fs::write(&root, b"").unwrap();
        }),
    ];
    for (kind, damage) in cases {
        let stage = Stage::new();
        let there = source(&stage);
        let cid = there
            .add_reader(&bytes(1, 3 * MIB)[..], &AddOptions::default().named("m"))
            .unwrap()
            .cid;
        there
            .add_reader(&b"another"[..], &AddOptions::default().named("n"))
            .unwrap();
        drop(there);
        damage(&stage, cid);
        let here = stage.create();
        let fault = one_fault(&here, &stage, cid);
        assert_eq!(fault.kind(), kind, "{fault}");
        assert!(fault.to_string().contains(&cid.to_string()), "{fault}");
        assert_eq!(read(&here, &target("n")), b"another");
        assert_eq!(stage.stored("packs").len(), 1);
    }
}

#[test]
fn what_is_damaged_here_is_written_again() {
    let stage = Stage::new();
    let there = source(&stage);
    let content = bytes(1, 3 * MIB);
    let cid = add_bytes(&there, &content).cid;
    let here = stage.create();
    here.sync_from(&reader(&stage), &only(cid)).unwrap();
    drop(here);
    let [pack] = &stage.stored("packs")[..] else {
        panic!("one pack")
    };
    fs::remove_file(pack).unwrap();
    let here = stage.open();
    let report = here.sync_from(&reader(&stage), &only(cid)).unwrap();
    assert_eq!((report.copied(), report.counts().new_blocks), (1, 4));
    assert!(read(&here, &of(cid)) == content);
}

#[test]
fn a_copy_that_is_cancelled_keeps_whole_objects_and_nothing_else() {
    let stage = Stage::new();
    let there = source(&stage);
    let mut cids: Vec<Cid> = (0..3)
        .map(|seed| add_bytes(&there, &bytes(seed, 40 * MIB)).cid)
        .collect();
    cids.sort_by_key(Cid::to_string);
    let here = stage.create_with(small_packs(4 * MIB as u64));
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = SyncOptions::default();
    options.cancel = Some(Arc::clone(&cancel));
    let packs = stage.store_path().join("packs");
    options.progress = Some(Arc::new(move |at| {
        if at.done_objects == 1 && at.done_bytes >= 70 * MIB as u64 {
            assert!(fs::read_dir(&packs).unwrap().count() > 14, "sealed some");
            cancel.store(true, Ordering::Relaxed);
        }
    }));
    let error = here.sync_from(&reader(&stage), &options).unwrap_err();
    assert!(
        matches!(error, SyncError::Cancelled { copied: 1 }),
        "{error}"
    );
    assert_eq!(error.kind(), "cancelled");
    let other = Stage::new();
    let alone = other.create_with(small_packs(4 * MIB as u64));
    alone.sync_from(&reader(&stage), &only(cids[0])).unwrap();
    assert_eq!(stage.stored("packs").len(), other.stored("packs").len());
    assert_eq!(stage.stored("roots").len(), 1);
    assert!(stage.on_disk().has_nothing_in_tmp());

    // Again, it goes on with the second one.
    let report = here
        .sync_from(&reader(&stage), &SyncOptions::default())
        .unwrap();
    assert_eq!((report.copied(), report.there()), (2, 1));
}

#[test]
fn a_killed_copy_keeps_its_sealed_packs_and_goes_on_from_there() {
    const CHILD: &str = "STORE_SYNC_KILLED";
    if let Some(stage) = is_child(CHILD) {
        let stage = std::path::Path::new(&stage);
        let options = small_packs(8 * MIB as u64);
        let here = Store::open_with(stage.join("store"), options).unwrap();
        let source = StoreReader::open(stage.join("there")).unwrap();
        let mut options = SyncOptions::default();
        options.progress = Some(Arc::new(|at| {
            if at.done_bytes >= 40 * MIB as u64 {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
            }
        }));
        let _ = here.sync_from(&source, &options);
        panic!("it should have been killed");
    }
    let stage = Stage::new();
    let there = source(&stage);
    let content = bytes(4, 64 * MIB);
    let cid = add_bytes(&there, &content).cid;
    drop(there);
    drop(stage.create());
    let test = "store_sync_faults::a_killed_copy_keeps_its_sealed_packs_and_goes_on_from_there";
    let child = again_in_a_child(test, CHILD, stage.path("").to_str().unwrap())
        .output()
        .unwrap();
    assert!(!child.status.success());
    assert!(!String::from_utf8_lossy(&child.stdout).contains("should have been"));
    let sealed = stage.stored("packs");
    assert!((3..=5).contains(&sealed.len()), "{sealed:?}");

    let here = stage.open();
    assert!(here.objects().unwrap().is_empty());
    let report = here
        .sync_from(&reader(&stage), &SyncOptions::default())
        .unwrap();
    let counts = report.counts();
    assert!(counts.there_blocks >= 8 * sealed.len() as u64, "{counts:?}");
    assert_eq!(counts.new_blocks + counts.there_blocks, 65);
    assert!(sealed.iter().all(|pack| pack.exists()));
    assert!(read(&here, &of(cid)) == content);
}

#[test]
fn a_store_that_cannot_be_written_ends_the_copy() {
    let stage = Stage::new();
    let there = source(&stage);
    add_bytes(&there, &bytes(1, MIB));
    let here = stage.create();
    // Nothing can be written aside any more.
    fs::remove_dir(stage.store_path().join("tmp")).unwrap();
    let error = here
        .sync_from(&reader(&stage), &SyncOptions::default())
        .unwrap_err();
    assert!(
        matches!(&error, SyncError::Store(StoreError::File(_))),
        "{error}"
    );
    assert!(here.objects().unwrap().is_empty());
}
