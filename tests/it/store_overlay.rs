//! Stores that are seen through overlayfs: where locks are seen and where not, and what is refused for it.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use ipfs_accelerate::{
    AddOptions, Config, Explain, IpfsAccelerate, ReaderOptions, RemoveOptions, Store, StoreError,
    StoreOptions, StoreReader,
};
use rustix::fs::FlockOperation;

use super::mounts::Layers;
use super::store_kit::*;

fn told() -> ReaderOptions {
    let mut options = ReaderOptions::default();
    options.nobody_collects = true;
    options
}

fn told_writer() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.nobody_collects = true;
    options
}

/// Makes a store with one object of that name.
fn store_of(path: &Path, name: &str) {
    let store = Store::create(path).unwrap();
    store
        .add_reader(name.as_bytes(), &AddOptions::default().named(name))
        .unwrap();
}

/// Both kinds of layers: numbers of files behave differently where they lie on two file systems.
fn layers() -> impl Iterator<Item = Layers> {
    [true, false].into_iter().filter_map(Layers::new)
}

fn is_refused<T: std::fmt::Debug>(opened: Result<T, StoreError>, path: &Path) -> bool {
    matches!(&opened, Err(StoreError::Overlay { path: p }) if p == path)
}

/// Whether somebody holds a lock that this name of the file shows.
fn is_locked(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

#[test]
fn locks_are_seen_through_the_same_overlay_only() {
    for layers in layers() {
        store_of(&layers.lower().join("store"), "n");
        let (Some(overlay), Some(beside)) = (layers.mount(), layers.mount_beside()) else {
            return;
        };
        let reader = StoreReader::open_with(overlay.path().join("store"), &told()).unwrap();
        let object = reader.resolve(&target("n")).unwrap();
        let root = format!("store/roots/{}", object.cid());
        assert!(is_locked(&overlay.path().join(&root)));
        // This is why: a collector here would take the object for one that nobody reads.
        assert!(!is_locked(&layers.lower().join(&root)));
        assert!(!is_locked(&beside.path().join(&root)));

        // Removing it renames the root, which copies it up; the lease stays on it.
        let writer = Store::open_with(overlay.path().join("store"), told_writer()).unwrap();
        writer
            .remove(&target("n"), &RemoveOptions::with_unpin())
            .unwrap();
        let retired = fs::read_dir(overlay.path().join("store/roots"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert!(is_locked(&retired.path()));
        let copied_up = layers.upper().join("store/roots").join(retired.file_name());
        assert!(!is_locked(&copied_up));
        drop((object, reader));
        // A child that another test has just forked may hold a copy for a moment.
        let begun = Instant::now();
        while is_locked(&retired.path()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the lease stays");
        }
    }
}

#[test]
fn a_store_that_is_written_through_an_overlay_is_used_through_it() {
    for layers in layers() {
        let Some(overlay) = layers.mount() else {
            return;
        };
        let path = overlay.path().join("store");
        store_of(&path, "n");
        let read = |path: &Path| StoreReader::open(path).unwrap().read(&target("n")).unwrap();
        assert_eq!(read(&path), b"n");
        add_bytes(&Store::open(&path).unwrap(), b"more");
        drop(overlay);
        // The same container, started again.
        let Some(overlay) = layers.mount() else {
            return;
        };
        let path = overlay.path().join("store");
        assert_eq!(read(&path), b"n");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.objects().unwrap().len(), 2);
        assert_eq!(read(&path), b"n");
    }
}

#[test]
fn a_store_of_a_lower_layer_is_refused_unless_nobody_collects_there() {
    for layers in layers() {
        store_of(&layers.lower().join("store"), "n");
        let Some(overlay) = layers.mount() else {
            return;
        };
        let path = overlay.path().join("store");
        assert!(is_refused(StoreReader::open(&path), &path));
        assert!(is_refused(Store::open(&path), &path));
        let opened = Store::open_or_create(&path, StoreOptions::default());
        assert!(is_refused(opened, &path));
        let error = StoreReader::open(&path).unwrap_err();
        assert_eq!(error.kind(), "overlay");
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("--nobody-collects") && hint.contains("bind mount"),
            "{hint}"
        );
        // Below, it is as it was, and nothing was written here either.
        assert!(StoreReader::open(layers.lower().join("store")).is_ok());
        assert_eq!(fs::read_dir(layers.upper()).unwrap().count(), 0);

        let reader = StoreReader::open_with(&path, &told()).unwrap();
        assert_eq!(reader.read(&target("n")).unwrap(), b"n");
        let mut config = Config::default();
        config.set("store", "path", path.to_str().unwrap()).unwrap();
        assert!(IpfsAccelerate::open(&config).is_err());
        config.set("store", "nobody_collects", true).unwrap();
        let facade = IpfsAccelerate::open(&config).unwrap();
        // A writer that was told has vouched for the layer; from then on it is worked on from here.
        add_bytes(&facade.store().unwrap(), b"more");
        drop(facade);
        assert_eq!(
            StoreReader::open(&path).unwrap().objects().unwrap().len(),
            2
        );
        add_bytes(&Store::open(&path).unwrap(), b"even more");
    }
}

#[test]
fn a_store_that_was_last_written_in_a_layer_is_refused() {
    for layers in layers() {
        let Some(overlay) = layers.mount() else {
            return;
        };
        store_of(&overlay.path().join("store"), "n");
        drop(overlay);
        // From outside, in the container's own layer.
        add_bytes(&Store::open(layers.upper().join("store")).unwrap(), b"more");
        let Some(overlay) = layers.mount() else {
            return;
        };
        let path = overlay.path().join("store");
        assert!(is_refused(StoreReader::open(&path), &path));
        drop(overlay);
        // In another container, whose layer this one's then became the image of.
        let Some(beside) = layers.mount_beside() else {
            return;
        };
        store_of(&beside.path().join("store"), "n");
        let made = beside.path().join("store");
        fs::remove_dir_all(layers.upper().join("store")).unwrap();
        copy_folder(&made, &layers.upper().join("store"));
        let Some(overlay) = layers.mount() else {
            return;
        };
        let path = overlay.path().join("store");
        assert!(StoreReader::open(&made).is_ok());
        assert!(is_refused(StoreReader::open(&path), &path));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_bind_mount_of_the_store_is_no_overlay() {
    for layers in layers() {
        let Some(overlay) = layers.mount() else {
            return;
        };
        let stage = Stage::new();
        let store = stage.create();
        add_bytes(&store, b"outside");
        let point = overlay.path().join("store");
        fs::create_dir(&point).unwrap();
        let bound = std::process::Command::new("mount")
            .arg("--bind")
            .args([&stage.store_path(), &point])
            .status();
        assert!(bound.unwrap().success());
        let reader = StoreReader::open(&point);
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(&point)
            .status();
        assert!(unmounted.unwrap().success());
        reader.unwrap();
    }
}

#[test]
fn where_there_is_no_overlay_the_option_changes_nothing() {
    let stage = Stage::new();
    let store = stage.create_with(told_writer());
    add_bytes(&store, b"x");
    drop(store);
    for options in [ReaderOptions::default(), told()] {
        let reader = StoreReader::open_with(stage.store_path(), &options).unwrap();
        assert_eq!(reader.objects().unwrap().len(), 1);
    }
    // A writer notes an overlay only where there is one.
    let on_overlay = rustix::fs::statfs(stage.store_path()).unwrap().f_type == 0x794c_7630;
    let note = fs::read_to_string(stage.store_path().join("lock")).unwrap();
    assert_eq!(note.contains("\noverlay "), on_overlay, "{note}");
}
