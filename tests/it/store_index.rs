//! The index is a hint: gone, damaged or older, opening brings everything back (promise I4).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ipfs_accelerate::{AddOptions, Block, HashFunction, RAW};

use super::store_kit::*;

const OBJECTS: u64 = 12;

fn filled(stage: &Stage) {
    let store = stage.create();
    for seed in 0..OBJECTS {
        let options = AddOptions::default().named(format!("n{seed}"));
        store
            .add_reader(&bytes(seed, 150_000)[..], &options)
            .unwrap();
    }
    let mut session = store.session();
    session
        .put_block(&Block::new(RAW, HashFunction::Sha2_256, bytes(100, 1_000)))
        .unwrap();
    session.commit().unwrap();
}

/// Opens the store and asks for everything, by name and by block.
fn assert_whole(stage: &Stage) {
    let store = stage.open();
    for seed in 0..OBJECTS {
        let content = bytes(seed, 150_000);
        assert!(read(&store, &target(format!("n{seed}"))) == content);
        let block = Block::new(RAW, HashFunction::Sha2_256, content.clone());
        assert_eq!(store.get_block(block.cid()).unwrap(), block);
        // What is there is known to be there.
        assert_eq!(add_bytes(&store, &content).new_bytes, 0);
    }
    let single = Block::new(RAW, HashFunction::Sha2_256, bytes(100, 1_000));
    assert_eq!(store.get_block(single.cid()).unwrap(), single);
    assert_eq!(store.pins().unwrap().len() as u64, OBJECTS);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_deleted_index_is_made_anew() {
    let stage = Stage::new();
    filled(&stage);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    assert_whole(&stage);
    assert_whole(&stage);
    // An empty folder, a file and a link in its place are no obstacle.
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    fs::create_dir(stage.store_path().join("db")).unwrap();
    assert_whole(&stage);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    stage.file("store/db", b"a file");
    assert_whole(&stage);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    symlink("nowhere", stage.store_path().join("db")).unwrap();
    assert_whole(&stage);
}

#[test]
fn a_damaged_index_is_made_anew() {
    let stage = Stage::new();
    filled(&stage);
    let db = stage.store_path().join("db");
    copy(&db, &stage.path("whole"));
    let mut files: Vec<_> = fs::read_dir(&db)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|path| path.is_file());
    assert!(!files.is_empty());
    for path in files {
        let whole = fs::read(&path).unwrap();
        let mut garbage = whole.clone();
        garbage.iter_mut().step_by(3).for_each(|byte| *byte ^= 0x5a);
        for content in [
            &b""[..],
            &whole[..whole.len() / 2],
            &garbage,
            &bytes(9, 5_000),
        ] {
            fs::remove_dir_all(&db).unwrap();
            copy(&stage.path("whole"), &db);
            fs::write(&path, content).unwrap();
            assert_whole(&stage);
        }
    }
}

#[test]
fn an_older_copy_of_the_index_learns_what_it_missed() {
    let stage = Stage::new();
    drop(stage.create());
    let db = stage.store_path().join("db");
    copy(&db, &stage.path("empty"));
    let store = stage.open();
    let early = add_bytes(&store, &bytes(50, 100_000)).cid;
    drop(store);
    copy(&db, &stage.path("early"));
    let store = stage.open();
    let late = add_bytes(&store, &bytes(51, 100_000)).cid;
    drop(store);
    for older in ["empty", "early"] {
        fs::remove_dir_all(&db).unwrap();
        copy(&stage.path(older), &db);
        let store = stage.open();
        for cid in [early, late] {
            assert_eq!(*store.get_block(&cid).unwrap().cid(), cid, "{older}");
        }
    }
}

#[test]
fn an_index_that_knows_more_than_the_packs_is_not_believed() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(60, 100_000);
    let cid = add_bytes(&store, &content).cid;
    drop(store);
    for path in stage
        .stored("packs")
        .into_iter()
        .chain(stage.stored("roots"))
    {
        fs::remove_file(path).unwrap();
    }
    let store = stage.open();
    assert!(!store.has_block(&cid).unwrap());
    assert!(store.get_block(&cid).is_err());
    assert_eq!(add_bytes(&store, &content).new_bytes, 100_000);
    assert!(store.get_block(&cid).unwrap().data() == content);
    drop(store);
    assert!(stage.open().get_block(&cid).unwrap().data() == content);
}

#[test]
fn closing_and_opening_at_once_keeps_the_index() {
    let stage = Stage::new();
    filled(&stage);
    // The mark would be gone with an index that was taken for damaged and made anew.
    fs::write(stage.store_path().join("db/mark"), b"").unwrap();
    for _ in 0..30 {
        let store = stage.open();
        assert!(store.has_block(&store.objects().unwrap()[0].cid).unwrap());
    }
    assert!(stage.store_path().join("db/mark").exists());
}

#[test]
fn a_child_that_holds_the_databases_lock_for_a_moment_does_not_cost_the_index() {
    let stage = Stage::new();
    filled(&stage);
    fs::write(stage.store_path().join("db/mark"), b"").unwrap();
    // As a forked child would: the lock belongs to the open file, whoever has a copy.
    let held = fs::File::open(stage.store_path().join("db/db")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let child = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(held);
    });
    drop(stage.open());
    child.join().unwrap();
    assert!(stage.store_path().join("db/mark").exists());
}
