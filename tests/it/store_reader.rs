//! Readers beside the writer: what they know, and that what they hold stays (promises I6 and I8).

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};

use ipfs_accelerate::{AddOptions, EntryType, Profile, RemoveOptions, StoreError, StoreReader};

use super::store_kit::*;

fn model(stage: &Stage) -> (Vec<u8>, std::path::PathBuf) {
    let weights = bytes(1, 2_300_000);
    stage.file("m/sub/weights", &weights);
    stage.file("m/config.json", b"{}");
    std::os::unix::fs::symlink("config.json", stage.path("m/link")).unwrap();
    (weights, stage.path("m"))
}

#[test]
fn a_reader_beside_the_writer_knows_objects_paths_and_the_cids_below() {
    let stage = Stage::new();
    let store = stage.create();
    let (weights, folder) = model(&stage);
    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert_eq!(reader.objects().unwrap(), []);
    let added = store
        .add_path(folder, &AddOptions::default().named("m"))
        .unwrap();
    let objects = reader.objects().unwrap();
    let [object] = &objects[..] else {
        panic!("{objects:?}")
    };
    assert_eq!((object.cid, object.name.as_str()), (added.cid, "m"));
    assert_eq!((object.kind, object.size), (EntryType::Folder, 2_300_002));
    assert_eq!(object.profile, "unixfs-v1-2025");

    let entries = reader.list(&target("m")).unwrap();
    let paths: Vec<_> = entries.iter().map(|e| (e.path.as_str(), e.kind)).collect();
    assert_eq!(
        paths,
        [
            ("config.json", EntryType::File),
            ("link", EntryType::Symlink),
            ("sub", EntryType::Folder)
        ]
    );
    for entry in &entries {
        let by_path = reader.stat(&target(format!("m/{}", entry.path))).unwrap();
        let by_cid = reader.stat(&of(entry.cid)).unwrap();
        assert_eq!(
            (by_path.cid, by_path.kind, by_path.size),
            (entry.cid, entry.kind, entry.size)
        );
        assert_eq!((by_cid.cid, by_cid.object), (entry.cid, added.cid));
        assert_eq!(by_cid.pinned_by, ["m"]);
    }
    let file = reader.stat(&target("m/sub/weights")).unwrap();
    assert_eq!(
        (file.codec, file.hash, file.blocks, file.extents),
        ("dag-pb", "sha2-256", 4, 1)
    );
    assert!(reader.read(&of(file.cid)).unwrap() == weights);
    assert!(
        reader
            .read(&target(format!("/ipfs/{}/sub//weights/", added.cid)))
            .unwrap()
            == weights
    );

    let leaf = ipfs_accelerate::leaf(&weights[..1 << 20], &Profile::default()).cid;
    assert!(store.has(&of(leaf)).unwrap() && !reader.has(&of(leaf)).unwrap());
    let error = reader.read(&of(leaf)).unwrap_err();
    assert!(
        matches!(&error, StoreError::NotPublished { cid, .. } if *cid == leaf),
        "{error}"
    );
    // The writer puts it together from its blocks.
    let mut got = Vec::new();
    store
        .reader(&of(leaf))
        .unwrap()
        .read_to_end(&mut got)
        .unwrap();
    assert!(got == weights[..1 << 20]);
}

#[test]
fn wrong_kinds_and_wrong_paths_are_typed_errors() {
    let stage = Stage::new();
    let store = stage.create();
    let (_, folder) = model(&stage);
    store
        .add_path(folder, &AddOptions::default().named("m"))
        .unwrap();
    let reader = store.to_reader();
    for folder in ["m", "m/sub"] {
        let error = reader.read(&target(folder)).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::NotAFile {
                    found: "folder",
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(matches!(
        reader.read(&target("m/link")),
        Err(StoreError::NotAFile {
            found: "symlink",
            ..
        })
    ));
    for file in ["m/config.json", "m/link"] {
        assert!(matches!(
            reader.list(&target(file)),
            Err(StoreError::NotAFolder { .. })
        ));
    }
    for (path, there) in [
        ("m/sub/weight", "weights"),
        ("m/x/y/z", "config.json"),
        ("m/config.json/x", "sub"),
    ] {
        let error = reader.read(&target(path)).unwrap_err();
        let StoreError::NoSuchPath { there: found, .. } = &error else {
            panic!("{error}")
        };
        assert!(found.iter().any(|f| f == there), "{path}: {found:?}");
        assert!(!reader.has(&target(path)).unwrap());
    }
    assert!(matches!(
        reader.read(&target("x")),
        Err(StoreError::NoSuchName { .. })
    ));
}

#[test]
fn a_file_can_be_read_from_anywhere() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(1 << 20));
    let content = bytes(2, 3_500_000);
    let cid = add_bytes(&store, &content).cid;
    let mut reader = store.reader(&of(cid)).unwrap();
    let mut piece = [0; 1_000];
    for at in [0, 999_999, (1 << 20) - 500, 3_499_000] {
        assert_eq!(reader.seek(SeekFrom::Start(at)).unwrap(), at);
        reader.read_exact(&mut piece).unwrap();
        assert!(piece[..] == content[at as usize..][..1_000], "{at}");
    }
    assert_eq!(reader.seek(SeekFrom::End(-10)).unwrap(), 3_499_990);
    assert_eq!(reader.read(&mut piece).unwrap(), 10);
    assert_eq!(reader.read(&mut piece).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::Current(100)).unwrap(), 3_500_100);
    assert_eq!(reader.read(&mut piece).unwrap(), 0);
    assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
    for bad in [0..3_500_001, u64::MAX - 1..u64::MAX] {
        let error = reader.slice(bad).unwrap_err();
        assert!(
            matches!(&error, StoreError::File(e) if e.source.kind() == std::io::ErrorKind::UnexpectedEof)
        );
    }
    assert_eq!(reader.slice(5..5).unwrap().len(), 0);
}

#[test]
fn what_a_reader_holds_stays_when_the_object_is_removed_and_the_store_closed() {
    let stage = Stage::new();
    let store = stage.create();
    let (weights, folder) = model(&stage);
    store
        .add_path(folder, &AddOptions::default().named("m"))
        .unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let object = reader.resolve(&target("m")).unwrap();
    let sub = object.join("sub").unwrap();
    let file = object.open("sub/weights").unwrap();
    let slice = file.slice(0..file.size()).unwrap();
    store
        .remove(&target("m"), &RemoveOptions::with_unpin())
        .unwrap();
    assert!(matches!(
        reader.resolve(&target("m")),
        Err(StoreError::NoSuchName { .. })
    ));
    drop((store, reader));
    assert!(object.read("sub/weights").unwrap() == weights);
    assert!(file.read().unwrap() == weights && slice[..] == weights[..]);
    // Counting blocks reads the nodes, which the root on disk says.
    assert_eq!(sub.stat().unwrap().blocks, 5);
    // The retired root is the one that the lease is on.
    assert_eq!(stage.stored("roots").len(), 1);
}

#[test]
fn resolving_while_objects_come_and_go_gives_the_object_or_says_that_it_is_gone() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(3, 30_000);
    let cid = add_bytes(&store, &content).cid;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = StoreReader::open(stage.store_path()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    match reader.read(&of(cid)) {
                        Ok(got) => assert!(got == content),
                        Err(StoreError::NotPublished { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    match reader.read(&target("name")) {
                        Ok(got) => assert!(got == content),
                        Err(StoreError::NoSuchName { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    reader.objects().unwrap();
                    reader.totals().unwrap();
                }
            });
        }
        for _ in 0..60 {
            store
                .remove(&of(cid), &RemoveOptions::with_unpin())
                .unwrap();
            store
                .add_reader(&content[..], &AddOptions::default().named("name"))
                .unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_store_that_was_moved_or_copied_is_the_same_store() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(4, 1_500_000);
    store
        .add_reader(&content[..], &AddOptions::default().named("n"))
        .unwrap();
    // Copied while it is open, db/ and the lock left out: readers need neither.
    for folder in ["packs", "roots", "names"] {
        fs::create_dir_all(stage.path("copy").join(folder)).unwrap();
        for path in stage.stored(folder) {
            fs::copy(
                &path,
                stage
                    .path("copy")
                    .join(folder)
                    .join(path.file_name().unwrap()),
            )
            .unwrap();
        }
    }
    for file in ["FORMAT", "gone"] {
        fs::copy(stage.store_path().join(file), stage.path("copy").join(file)).unwrap();
    }
    assert!(
        StoreReader::open(stage.path("copy"))
            .unwrap()
            .read(&target("n"))
            .unwrap()
            == content
    );
    let copy = ipfs_accelerate::Store::open(stage.path("copy")).unwrap();
    assert_eq!(
        copy.add_reader(&content[..], &unpinned())
            .unwrap()
            .new_bytes,
        0
    );

    drop(store);
    fs::rename(stage.store_path(), stage.path("moved")).unwrap();
    let moved = ipfs_accelerate::Store::open(stage.path("moved")).unwrap();
    assert!(read(&moved, &target("n")) == content);
    assert_eq!(
        moved
            .add_reader(&content[..], &unpinned())
            .unwrap()
            .new_bytes,
        0
    );
}

#[test]
fn another_user_reads_a_store_that_it_cannot_write() {
    const CHILD: &str = "STORE_READER_OTHER_USER";
    if let Some(store) = is_child(CHILD) {
        let reader = StoreReader::open(&store).unwrap();
        assert_eq!(reader.read(&target("m/config.json")).unwrap(), b"{}");
        assert_eq!(
            reader.read(&target("m/sub/weights")).unwrap().len(),
            2_300_000
        );
        assert_eq!(reader.objects().unwrap().len(), 1);
        let error = ipfs_accelerate::Store::open(&store).unwrap_err();
        assert!(
            matches!(&error, StoreError::File(e)
            if e.source.kind() == std::io::ErrorKind::PermissionDenied),
            "{error}"
        );
        return;
    }
    let stage = Stage::new();
    let store = stage.create();
    let (_, folder) = model(&stage);
    store
        .add_path(folder, &AddOptions::default().named("m"))
        .unwrap();
    // In the way of nobody, and writable for nobody but its owner; for root the other user is nobody.
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let root = rustix::process::getuid().is_root();
    let chmod = |mode| {
        for entry in [".", "packs", "roots", "names", "lock", "FORMAT"] {
            let path = stage.store_path().join(entry);
            let mode = if path.is_file() { mode & 0o444 } else { mode };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    chmod(0o555);
    let exe = std::env::current_exe().unwrap();
    let readable = stage.path("test-binary");
    fs::copy(exe, &readable).unwrap();
    let mut child = std::process::Command::new(&readable);
    child
        .args([
            "--exact",
            "store_reader::another_user_reads_a_store_that_it_cannot_write",
        ])
        .current_dir("/")
        .env(CHILD, stage.store_path());
    if root {
        child.uid(65_534).gid(65_534);
    }
    let output = child.output().unwrap();
    chmod(0o755);
    assert_passed(&output);
}
