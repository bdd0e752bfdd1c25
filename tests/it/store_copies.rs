//! Stores that are copied or moved as folders, at rest and in use.
//!
//! At rest, or while something else holds the writer's lock, any way of copying will do. Beside a writer the order
//! `names`, `roots`, `packs` gives whole objects: what a root covers was there before the root, and stays (packs go
//! with a collection only). A name may then point to an object that was removed between the two.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipfs_accelerate::{
    AddOptions, Block, Cid, Explain, HashFunction, PinAs, PinOptions, RAW, RemoveOptions, Store,
    StoreError, StoreReader, VerifyOptions, cid_of_reader,
};
use rustix::fs::{FlockOperation, flock};

use super::gc::{gc, remove};
use super::store_kit::*;

const LEN: usize = 250_000;

fn add_as(store: &Store, seed: u64, name: &str) -> Cid {
    let pin = PinAs::Named {
        name: name.into(),
        replace: true,
    };
    let options = AddOptions::default().with_pin(pin);
    store
        .add_reader(&bytes(seed, LEN)[..], &options)
        .unwrap()
        .cid
}

fn run(command: &str, args: &[&Path]) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap())
        .args(words)
        .args(args)
        .status();
    assert!(status.unwrap().success(), "{command}");
}

/// Checks that a store holds objects, whole, and can be written.
fn assert_holds(path: &Path, kept: &[(Cid, u64)]) {
    let reader = StoreReader::open(path).unwrap();
    for (cid, seed) in kept {
        assert!(reader.read(&of(*cid)).unwrap() == bytes(*seed, LEN));
    }
    drop(reader);
    let store = Store::open(path).unwrap();
    for (cid, seed) in kept {
        let again = add_bytes(&store, &bytes(*seed, LEN));
        assert_eq!((again.cid, again.new_bytes), (*cid, 0), "each block once");
    }
    let more = add_bytes(&store, &bytes(77_777, LEN));
    assert_eq!(read(&store, &of(more.cid)).len(), LEN);
}

#[test]
fn a_store_at_rest_is_copied_and_moved_as_any_folder() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(100_000));
    let kept: Vec<(Cid, u64)> = (0..3)
        .map(|seed| (add_as(&store, seed, &format!("n{seed}")), seed))
        .collect();
    drop(store);
    for how in ["cp -r", "cp -a", "cp -r --sparse=always"] {
        let copy = stage.path(&how.replace(' ', ""));
        run(how, &[&stage.store_path(), &copy]);
        assert_holds(&copy, &kept);
    }
    // Each goes its own way.
    let copy = Store::open(stage.path("cp-a")).unwrap();
    copy.remove(&of(kept[0].0), &RemoveOptions::with_unpin())
        .unwrap();
    drop(copy);
    assert_holds(&stage.store_path(), &kept);

    fs::create_dir(stage.path("elsewhere")).unwrap();
    let moved = stage.path("elsewhere/moved");
    run("mv", &[&stage.store_path(), &moved]);
    assert_holds(&moved, &kept);
    let names: Vec<_> = StoreReader::open(&moved).unwrap().pins().unwrap();
    assert_eq!(names.len(), 3);
}

#[test]
fn what_holds_the_writers_lock_copies_beside_readers_and_without_writers() {
    let stage = Stage::new();
    let kept = [(add_as(&stage.create(), 1, "n"), 1)];
    // As `flock STORE/lock cp -a STORE COPY` does.
    let lock = File::open(stage.store_path().join("lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = Store::open(stage.store_path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert!(reader.read(&target("n")).unwrap() == bytes(1, LEN));
    run("cp -a", &[&stage.store_path(), &stage.path("copy")]);
    drop(lock);
    assert_holds(&stage.path("copy"), &kept);
    assert_holds(&stage.store_path(), &kept);

    // And the other way round: beside an open writer the lock is not to be had.
    let store = stage.open();
    let lock = File::open(stage.store_path().join("lock")).unwrap();
    assert!(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(store);
}

/// Copies what stands in some folders of a store, one folder after the other, as `cp` would.
fn copy_in_order(from: &Path, to: &Path, folders: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for file in ["FORMAT", "gone"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    for folder in folders {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            match fs::copy(from.join(folder).join(&name), to.join(folder).join(&name)) {
                // It went since it was listed.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// Adds, moves, pins, removes, gives up and commits until it is told to stop. `removed` has every object that it
/// removed, or was about to.
fn use_store(store: &Store, stop: &AtomicBool, steps: &AtomicU64, removed: &Mutex<HashSet<Cid>>) {
    let mut last = add_as(store, 1_000, "latest");
    for seed in 1_001.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let next = add_as(store, seed, "latest");
        removed.lock().unwrap().insert(last);
        store.remove(&of(last), &RemoveOptions::default()).unwrap();
        last = next;
        let other = add_bytes(store, &bytes(seed + 1_000_000, LEN)).cid;
        let name = format!("other-{}", seed % 7);
        let mut options = PinOptions::named(&*name);
        options.replace = true;
        store.pin(&of(other), &options).unwrap();
        if seed % 3 == 0 {
            store.unpin(&target(&name)).unwrap();
            removed.lock().unwrap().insert(other);
            store.remove(&of(other), &RemoveOptions::default()).unwrap();
        }
        // Packs that come and go again, under a loose root.
        let cancel = std::sync::Arc::new(AtomicBool::new(false));
        let mut given_up = unpinned();
        given_up.cancel = Some(std::sync::Arc::clone(&cancel));
        given_up.progress = Some(std::sync::Arc::new(move |_| {
            cancel.store(true, Ordering::Relaxed)
        }));
        let content = bytes(seed + 2_000_000, 17 << 20);
        store.add_reader(&content[..], &given_up).unwrap_err();
        let mut session = store.session();
        let block = Block::new(RAW, HashFunction::Sha2_256, bytes(seed + 3_000_000, 5_000));
        session.put_block(&block).unwrap();
        session.commit().unwrap();
        steps.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_copy_in_the_order_names_roots_packs_holds_whole_objects_while_others_come_and_go() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 << 20));
    let kept: Vec<(Cid, u64)> = (0..4)
        .map(|seed| (add_as(&store, seed, &format!("kept-{seed}")), seed))
        .collect();
    let (stop, steps, removed) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| use_store(&store, &stop, &steps, &removed));
        let mut number = 0;
        while number < 10 || steps.load(Ordering::Relaxed) < 10 {
            assert!(begun.elapsed() < Duration::from_secs(120));
            let copy = stage.path(&format!("copy-{number}"));
            copy_in_order(&stage.store_path(), &copy, &["names", "roots", "packs"]);
            check_copy(&copy, &kept, &removed.lock().unwrap());
            fs::remove_dir_all(&copy).unwrap();
            number += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn check_copy(copy: &Path, kept: &[(Cid, u64)], removed: &HashSet<Cid>) {
    let reader = StoreReader::open(copy).unwrap();
    for object in reader.objects().unwrap() {
        let content = reader.read(&of(object.cid)).unwrap();
        let found = cid_of_reader(&content[..], &Default::default()).unwrap();
        assert_eq!(found.cid, object.cid);
    }
    for (cid, seed) in kept {
        assert!(reader.read(&target(format!("kept-{seed}"))).unwrap() == bytes(*seed, LEN));
        assert!(reader.has(&of(*cid)).unwrap());
    }
    for pin in reader.pins().unwrap() {
        match reader.resolve(&target(&pin.name)) {
            Ok(object) => assert_eq!(object.cid(), pin.cid),
            Err(e) => {
                assert_eq!(e.kind(), "not_published", "{e}");
                assert!(removed.contains(&pin.cid), "{}: {e}", pin.name);
            }
        }
    }
    drop(reader);
    assert_holds(copy, kept);
    // A name that points to nothing can be removed.
    let store = Store::open(copy).unwrap();
    for pin in store.pins().unwrap() {
        if store.resolve(&target(&pin.name)).is_err() {
            store.unpin(&target(&pin.name)).unwrap();
        }
    }
}

#[test]
fn packs_before_roots_is_the_wrong_order() {
    let stage = Stage::new();
    let store = stage.create();
    add_as(&store, 1, "before");
    copy_in_order(&stage.store_path(), &stage.path("copy"), &["packs"]);
    let late = add_as(&store, 2, "late");
    copy_in_order(
        &stage.store_path(),
        &stage.path("copy"),
        &["roots", "names"],
    );
    let reader = StoreReader::open(stage.path("copy")).unwrap();
    assert!(reader.read(&target("before")).unwrap() == bytes(1, LEN));
    let error = reader.read(&of(late)).unwrap_err();
    assert_eq!(error.kind(), "pack_missing", "{error}");
    // The other order leaves it out as a whole.
    copy_in_order(
        &stage.store_path(),
        &stage.path("right"),
        &["names", "roots"],
    );
    let later = add_as(&store, 3, "later");
    copy_in_order(&stage.store_path(), &stage.path("right"), &["packs"]);
    let reader = StoreReader::open(stage.path("right")).unwrap();
    assert!(reader.read(&target("late")).unwrap() == bytes(2, LEN));
    assert!(!reader.has(&of(later)).unwrap());
}

#[test]
fn a_database_that_was_torn_by_copying_is_made_anew() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(100_000));
    let kept: Vec<(Cid, u64)> = (0..5)
        .map(|seed| (add_as(&store, seed, &format!("kept-{seed}")), seed))
        .collect();
    // What is in memory of sled is not on the disk yet, and each file is of another moment.
    for (number, cut) in [0, 1, 100, 4_000, 70_000, 300_000].into_iter().enumerate() {
        let copy = stage.path(&format!("copy-{number}"));
        copy_in_order(&stage.store_path(), &copy, &["names", "roots", "packs"]);
        run("cp -r", &[&stage.store_path().join("db"), &copy.join("db")]);
        let db = File::options()
            .write(true)
            .open(copy.join("db/db"))
            .unwrap();
        let len = db.metadata().unwrap().len();
        db.set_len(len.min(cut)).unwrap();
        assert_holds(&copy, &kept);
    }
    drop(store);
}

/// Of holes an older list says that they hold content. Whoever adds that content again writes it again.
#[test]
fn what_an_older_list_of_what_is_gone_takes_for_content_is_added_anew() {
    let stage = Stage::new();
    let store = stage.create();
    let (shared, zeros) = (bytes(1, 1 << 20), vec![0; 1 << 20]);
    let content = [&shared[..], &zeros, &bytes(2, 4 << 20)].concat();
    let cid = add_bytes(&store, &content).cid;
    let kept = add_bytes(&store, &[&shared[..], &zeros].concat()).cid;
    let gone = stage.store_path().join("gone");
    let older = fs::read(&gone).ok();
    remove(&store, cid);
    assert!(gc(&store).freed_bytes >= 4 << 20);
    drop(store);
    match older {
        Some(older) => fs::write(&gone, older),
        None => fs::remove_file(&gone),
    }
    .unwrap();
    // Of the zeros that are content this makes holes too.
    let copy = stage.path("copy");
    run("cp -r --sparse=always", &[&stage.store_path(), &copy]);
    fs::remove_dir_all(copy.join("db")).unwrap();

    let store = Store::open(&copy).unwrap();
    let added = add_bytes(&store, &content);
    assert_eq!((added.cid, added.new_bytes), (cid, 4 << 20));
    assert_eq!(read(&store, &of(cid)), content);
    assert_eq!(read(&store, &of(kept)), content[..2 << 20]);
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
}
