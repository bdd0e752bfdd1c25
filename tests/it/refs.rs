//! Adding by reference: bytes stay in the user's files, and everything reads as if they were in the store.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ipfs_accelerate::checkpoint::{LoadOptions, Residency, load_checkpoint_and_dispatch};
use ipfs_accelerate::{
    AddOptions, AddReport, Block, Chunker, CopyReason, ExportOptions, LeafFormat, PinOptions,
    Profile, RAW, Store, StoreError, StoreReader, check_path,
};

use super::gc::{gc, remove};
use super::load_files::{INDEX, SHARDED, assert_same, by_the_crate, on_host, shards_of};
use super::store_kit::*;

pub(crate) fn by_reference() -> AddOptions {
    let mut options = AddOptions::default();
    options.reference = true;
    options
}

pub(crate) fn refer(store: &Store, path: &Path) -> AddReport {
    store.add_path(path, &by_reference()).unwrap()
}

/// Bytes of disk that the packs take.
pub(crate) fn pack_disk_bytes(store: &Store) -> u64 {
    store.totals().unwrap().pack_disk_bytes
}

/// What a file is: its bytes, its blocks on the disk, its mode and its time.
fn untouched(path: &Path) -> (Vec<u8>, u64, u32, i64, i64) {
    let found = fs::metadata(path).unwrap();
    let bytes = fs::read(path).unwrap();
    let (mode, time, nanos) = (found.mode(), found.mtime(), found.mtime_nsec());
    (bytes, found.blocks(), mode, time, nanos)
}

fn copy_folder(from: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_referenced_file_takes_no_space_and_reads_as_a_stored_one() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 9_000_001);
    let path = stage.file("model", &content);
    let before = untouched(&path);

    let added = refer(&store, &path);
    assert_eq!(
        added.cid,
        ipfs_accelerate::hash_path(&path, &AddOptions::default())
            .unwrap()
            .cid
    );
    assert_eq!((added.new_bytes, added.shared_bytes), (0, 0));
    assert_eq!((added.referenced_bytes, added.size), (9_000_001, 9_000_001));
    // One pack of places and one with the node.
    assert_eq!(stage.stored("packs").len(), 2);
    assert!(
        pack_disk_bytes(&store) <= 16 << 10,
        "{}",
        pack_disk_bytes(&store)
    );
    let totals = store.totals().unwrap();
    assert_eq!(
        (totals.referenced_bytes, totals.content_bytes),
        (9_000_001, 9_000_001)
    );
    let stat = store.stat(&of(added.cid)).unwrap();
    assert_eq!(
        (stat.referenced_bytes, stat.size, stat.extents),
        (9_000_001, 9_000_001, 1)
    );

    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert!(reader.read(&of(added.cid)).unwrap() == content);
    let file = reader.open_file(&of(added.cid)).unwrap();
    for (offset, len) in [
        (0, 1),
        (1 << 20, 1 << 20),
        ((1 << 20) - 1, 2),
        (8_999_999, 100),
        (3_333_333, 4_444_444),
    ] {
        let mut part = vec![0; len];
        let read = file.read_at(offset as u64, &mut part).unwrap();
        let end = content.len().min(offset + len);
        assert_eq!(read, end - offset);
        assert!(part[..read] == content[offset..end], "{offset} {len}");
    }
    let slice = file.slice(5..2_000_000).unwrap();
    assert!(slice[..] == content[5..2_000_000]);
    assert_eq!(slice.copied(), Some(CopyReason::Referenced));
    let map = file.map().unwrap();
    assert!(
        map.get(0..1).is_none(),
        "what is referenced is never mapped"
    );
    map.populate(0..9_000_001).unwrap();

    let output = stage.path("out");
    store
        .export(&of(added.cid), &output, &ExportOptions::default())
        .unwrap();
    assert!(fs::read(&output).unwrap() == content);
    let leaf = ipfs_accelerate::leaf(&content[..1 << 20], &Profile::default()).cid;
    assert!(store.has_block(&leaf).unwrap());
    assert!(store.get_block(&leaf).unwrap().data() == &content[..1 << 20]);
    let mut whole = Vec::new();
    store
        .reader(&of(leaf))
        .unwrap()
        .read_to_end(&mut whole)
        .unwrap();
    assert!(whole == content[..1 << 20]);
    assert_eq!(untouched(&path), before);
}

#[test]
fn a_folder_is_one_pack_of_places_whatever_it_holds() {
    let stage = Stage::new();
    let store = stage.create();
    let big = bytes(2, 2_500_000);
    stage.file("m/big", &big);
    stage.file("m/sub/big again", &big);
    stage.file("m/empty", b"");
    stage.file("m/.hidden", b"left out");
    stage.file("m/notes.txt", b"ignored");
    for i in 0..300 {
        stage.file(&format!("m/small/{i:03}"), &bytes(100 + i, 10 + i as usize));
    }
    symlink("big", stage.path("m/link")).unwrap();
    let mut options = by_reference();
    options.ignore = vec!["*.txt".into()];
    let added = store.add_path(stage.path("m"), &options).unwrap();
    let mut plain = AddOptions::default();
    plain.ignore = vec!["*.txt".into()];
    let hashed = ipfs_accelerate::hash_path(stage.path("m"), &plain).unwrap();
    assert_eq!(
        (added.cid, added.size, added.blocks),
        (hashed.cid, hashed.size, hashed.blocks)
    );
    // Each file has places of its own, its twin's content too.
    assert_eq!(added.referenced_bytes, added.size);
    assert_eq!(stage.stored("packs").len(), 2);
    assert!(pack_disk_bytes(&store) <= 128 << 10);

    let reader = store.to_reader();
    let object = reader.resolve(&of(added.cid)).unwrap();
    assert!(object.read("big").unwrap() == big);
    assert!(object.read("sub/big again").unwrap() == big);
    assert_eq!(object.read("empty").unwrap(), b"");
    for i in 0..300 {
        let path = format!("small/{i:03}");
        assert!(object.read(&path).unwrap() == bytes(100 + i, 10 + i as usize));
    }
    store
        .export(&of(added.cid), stage.path("out"), &ExportOptions::default())
        .unwrap();
    assert!(fs::read(stage.path("out/sub/big again")).unwrap() == big);
    let stored = reader.resolve(&of(added.cid)).unwrap();
    let mut options = ipfs_accelerate::CheckOptions::default().with_stored(stored);
    options.ignore = vec!["*.txt".into()];
    let checked = check_path(stage.path("m"), &added.cid, &options).unwrap();
    assert!(checked.is_match());

    // A twin does not rest on the other file.
    fs::remove_file(stage.path("m/big")).unwrap();
    let object = reader.resolve(&of(added.cid)).unwrap();
    assert!(object.read("sub/big again").unwrap() == big);
    assert!(object.read("big").is_err());
}

#[test]
fn links_are_followed_where_that_is_asked_for_and_the_real_path_is_kept() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(3, 100_000);
    let real = stage.file("blobs/abc", &content);
    fs::create_dir(stage.path("m")).unwrap();
    symlink("../blobs/abc", stage.path("m/model")).unwrap();
    let mut options = by_reference();
    options.dereference_symlinks = true;
    let added = store.add_path(stage.path("m"), &options).unwrap();
    assert_eq!(added.referenced_bytes, 100_000);
    fs::remove_dir_all(stage.path("m")).unwrap();
    assert!(
        store
            .to_reader()
            .read(&target(format!("{}/model", added.cid)))
            .unwrap()
            == content
    );
    fs::remove_file(&real).unwrap();
    let error = store
        .to_reader()
        .read(&target(format!("{}/model", added.cid)))
        .unwrap_err();
    let expected = real.canonicalize().unwrap_err().kind();
    assert!(
        matches!(&error, StoreError::SourceGone { path, source, .. }
            if path.ends_with("blobs/abc") && source.kind() == expected),
        "{error}"
    );
    // A path that is a link itself is followed as in any add.
    let other = stage.file("other", &bytes(4, 70_000));
    symlink(&other, stage.path("to other")).unwrap();
    let added = refer(&store, &stage.path("to other"));
    fs::remove_file(stage.path("to other")).unwrap();
    assert!(store.to_reader().read(&of(added.cid)).unwrap() == bytes(4, 70_000));
}

#[test]
fn a_referenced_checkpoint_loads_by_copying_in_every_residency() {
    for chunker in [
        Chunker::Size(1 << 20),
        Chunker::Size(4 << 10),
        Chunker::TensorV1,
    ] {
        let stage = Stage::new();
        let store = stage.create();
        let folder = stage.path("vad");
        copy_folder(SHARDED, &folder);
        let expected = by_the_crate(&shards_of(&folder));
        let mut options = by_reference();
        options.profile = Profile::default().with_chunker(chunker).unwrap();
        let added = store.add_path(&folder, &options).unwrap();
        assert_eq!(added.referenced_bytes, added.size);
        let reader = StoreReader::open(stage.store_path()).unwrap();
        for residency in [
            Residency::Lazy,
            Residency::Populate,
            Residency::Copy,
            Residency::Auto,
        ] {
            for verify in [false, true] {
                let mut options = LoadOptions::default();
                options.residency = residency;
                options.verify = verify;
                let loaded =
                    load_checkpoint_and_dispatch(&reader, &of(added.cid), options).unwrap();
                assert_same(&on_host(&loaded), &expected);
                let report = loaded.report();
                let why = match residency {
                    Residency::Copy => CopyReason::Requested,
                    _ => CopyReason::Referenced,
                };
                assert_eq!(report.copies, [(why, report.bytes)].into());
                assert_eq!(report.zero_copy_bytes, 0);
                assert_eq!(report.verified_bytes > 0, verify);
            }
        }
        let index = target(format!("{}/{INDEX}", added.cid));
        let plan = LoadOptions::default();
        assert!(load_checkpoint_and_dispatch(&reader, &index, plan).is_ok());
    }
}

#[test]
fn what_the_store_has_as_payload_is_not_referred_to() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(5, 3 << 20);
    let path = stage.file("model", &content);
    let plain = store.add_path(&path, &AddOptions::default()).unwrap();
    let packs = stage.stored("packs");
    let again = refer(&store, &path);
    assert_eq!(
        (again.cid, again.referenced_bytes, again.new_bytes),
        (plain.cid, 0, 0)
    );
    assert_eq!(again.shared_bytes, 3 << 20);
    assert_eq!(stage.stored("packs"), packs);
    // A part of a longer file too.
    let longer = [&content[..], &bytes(6, 1 << 20)].concat();
    let added = refer(&store, &stage.file("longer", &longer));
    assert_eq!(
        (added.shared_bytes, added.referenced_bytes),
        (3 << 20, 1 << 20)
    );
    let stat = store.stat(&of(added.cid)).unwrap();
    assert_eq!((stat.referenced_bytes, stat.extents), (1 << 20, 2));
    let file = store.to_reader().open_file(&of(added.cid)).unwrap();
    assert!(file.read().unwrap() == longer);
    // The part in packs is mapped, the other is copied, and what lies over both is too.
    for (range, why) in [
        (0..3 << 20, None),
        ((3 << 20) - 1..(3 << 20) + 1, Some(CopyReason::Referenced)),
        (3 << 20..4 << 20, Some(CopyReason::Referenced)),
    ] {
        let slice = file.slice(range.clone()).unwrap();
        assert_eq!(slice.copied(), why);
        assert!(slice[..] == longer[range.start as usize..range.end as usize]);
    }
    // The blocks of the first object are in no reference pack.
    fs::remove_file(&path).unwrap();
    fs::remove_file(stage.path("longer")).unwrap();
    assert!(store.to_reader().read(&of(plain.cid)).unwrap() == content);
}

#[test]
fn adding_what_is_referenced_already_writes_nothing() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(7, 3_000_000);
    // The first and the last chunk are the same.
    let content = [
        &content[..],
        &vec![0; (1 << 20) - 3_000_000 % (1 << 20)],
        &content[..1 << 20],
    ]
    .concat();
    let path = stage.file("model", &content);
    let added = refer(&store, &path);
    assert_eq!(added.shared_bytes, 1 << 20);
    let before = stage.on_disk();
    let again = refer(&store, &path);
    assert_eq!(
        (again.cid, again.shared_bytes, again.referenced_bytes),
        (added.cid, added.size, 0)
    );
    assert_eq!(stage.on_disk(), before);
}

#[test]
fn a_plain_add_copies_what_was_referenced_and_then_rests_on_no_file() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(8, 5_000_000);
    let path = stage.file("model", &content);
    let referenced = refer(&store, &path);
    let other = refer(
        &store,
        &stage.file("other", &[&content[..2 << 20], b"more"].concat()),
    );
    let old = store.to_reader().open_file(&of(referenced.cid)).unwrap();

    let plain = store.add_path(&path, &AddOptions::default()).unwrap();
    assert_eq!((plain.cid, plain.new_bytes), (referenced.cid, 5_000_000));
    let again = store.add_path(&path, &AddOptions::default()).unwrap();
    assert_eq!((again.new_bytes, again.shared_bytes), (0, 5_000_000));
    assert_eq!(store.stat(&of(plain.cid)).unwrap().referenced_bytes, 0);
    // Whoever had it open reads on.
    assert!(old.read().unwrap() == content);
    drop(old);

    fs::remove_file(&path).unwrap();
    assert!(store.to_reader().read(&of(plain.cid)).unwrap() == content);
    assert!(store.to_reader().read(&of(other.cid)).unwrap()[..2 << 20] == content[..2 << 20]);
    let leaf = ipfs_accelerate::leaf(&content[..1 << 20], &Profile::default()).cid;
    assert!(store.get_block(&leaf).unwrap().data() == &content[..1 << 20]);
    let report = gc(&store);
    assert_eq!(report.packs, 1, "the places of the first");
    drop(store);
    let store = stage.open();
    assert!(store.to_reader().read(&of(plain.cid)).unwrap() == content);
}

#[test]
fn a_session_stores_a_block_that_is_only_referenced() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(9, 500_000);
    let path = stage.file("model", &content);
    refer(&store, &path);
    let block = Block::new(RAW, Default::default(), content.clone());
    let mut session = store.session();
    session.put_block(&block).unwrap();
    assert_eq!(session.commit().unwrap().new_bytes, 500_000);
    fs::remove_file(&path).unwrap();
    assert!(store.get_block(block.cid()).unwrap().data() == content);
}

#[test]
fn collection_leaves_the_users_files_alone_and_takes_dead_places() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(10, 4_000_000);
    let (path, kept) = (
        stage.file("model", &content),
        stage.file("kept", &bytes(11, 1_000_000)),
    );
    let before = (untouched(&path), untouched(&kept));
    let added = refer(&store, &path);
    let kept_cid = refer(&store, &kept).cid;
    // A folder of both, with one of them removed from it later, keeps the pack as a whole.
    let report = store
        .remove(
            &of(added.cid),
            &ipfs_accelerate::RemoveOptions::with_unpin(),
        )
        .unwrap();
    assert!(
        report.freeable_bytes <= 8 << 10,
        "nothing of the file: {}",
        report.freeable_bytes
    );
    let plan = store.plan_gc(&Default::default()).unwrap();
    assert!(plan.objects[0].exclusive_bytes < 4 << 10);
    let report = store.apply_gc(&plan).unwrap();
    assert_eq!(report.packs, 2);
    assert!(report.freed_bytes <= 16 << 10);
    assert_eq!((untouched(&path), untouched(&kept)), before);
    assert!(store.to_reader().read(&of(kept_cid)).unwrap() == bytes(11, 1_000_000));
    assert!(!store.has(&of(added.cid)).unwrap());
    let leaf = ipfs_accelerate::leaf(&content[..1 << 20], &Profile::default()).cid;
    assert!(!store.has_block(&leaf).unwrap());
    // Under any quota nothing of it goes either.
    let mut options = ipfs_accelerate::GcOptions::default();
    options.max_bytes = Some(64 << 10);
    let plan = store.plan_gc(&options).unwrap();
    assert_eq!(plan.objects, [], "two packs of places take next to nothing");
    remove(&store, kept_cid);
    gc(&store);
    assert_eq!(stage.stored("packs").len(), 0);
    assert_eq!((untouched(&path), untouched(&kept)), before);
}

#[test]
fn a_collection_of_payload_does_not_hide_blocks_that_are_referenced_too() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(12, 1 << 20);
    let longer = [&content[..], b"end"].concat();
    refer(&store, &stage.file("longer", &longer));
    let plain = add_bytes(&store, &content);
    assert_eq!(plain.new_bytes, 1 << 20);
    remove(&store, plain.cid);
    gc(&store);
    assert!(store.get_block(&plain.cid).unwrap().data() == content);
}

#[test]
fn the_database_is_made_again_with_payload_before_references() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(13, 2 << 20);
    let path = stage.file("model", &content);
    let referenced = refer(&store, &stage.file("only", &bytes(14, 2 << 20)));
    refer(&store, &path);
    let plain = store.add_path(&path, &AddOptions::default()).unwrap();
    drop(store);
    for _ in 0..4 {
        // The order in which packs are listed changes nothing.
        fs::remove_dir_all(stage.store_path().join("db")).unwrap();
        let store = stage.open();
        let again = store.add_path(&path, &AddOptions::default()).unwrap();
        assert_eq!((again.new_bytes, again.shared_bytes), (0, 2 << 20));
        assert!(store.to_reader().read(&of(referenced.cid)).unwrap() == bytes(14, 2 << 20));
        assert!(store.to_reader().read(&of(plain.cid)).unwrap() == content);
    }
    fs::remove_file(&path).unwrap();
    let store = stage.open();
    let leaf = ipfs_accelerate::leaf(&content[..1 << 20], &Profile::default()).cid;
    assert!(store.get_block(&leaf).unwrap().data() == &content[..1 << 20]);
    let first = &bytes(14, 2 << 20)[..1 << 20];
    let leaf = ipfs_accelerate::leaf(first, &Profile::default()).cid;
    assert!(store.get_block(&leaf).unwrap().data() == first);
}

#[test]
fn a_part_of_a_referenced_object_can_be_pinned() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(15, 2_200_000);
    stage.file("m/model", &content);
    stage.file("m/other", b"other");
    let added = store.add_path(stage.path("m"), &by_reference()).unwrap();
    let part = target(format!("{}/model", added.cid));
    let pin = store.pin(&part, &PinOptions::named("part")).unwrap();
    remove(&store, added.cid);
    gc(&store);
    assert!(store.to_reader().read(&target("part")).unwrap() == content);
    assert_eq!(
        store.stat(&of(pin.cid)).unwrap().referenced_bytes,
        2_200_000
    );
}

#[test]
fn many_blocks_are_sealed_in_several_packs_of_places() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(16, 70_000 * 64);
    let path = stage.file("model", &content);
    let mut options = by_reference();
    options.profile = Profile::default().with_chunk_bytes(64).unwrap();
    let added = store.add_path(&path, &options).unwrap();
    assert_eq!(added.referenced_bytes, 70_000 * 64);
    assert_eq!(stage.stored("packs").len(), 3);
    assert_eq!(stage.stored("roots").len(), 1, "no loose root stays");
    assert!(store.to_reader().read(&of(added.cid)).unwrap() == content);
    let before = stage.on_disk();
    store.add_path(&path, &options).unwrap();
    assert_eq!(stage.on_disk(), before);
}

#[test]
fn what_cannot_be_referred_to_is_refused_before_anything_is_written() {
    let stage = Stage::new();
    let store = stage.create();
    let path = stage.file("model", &bytes(17, 100_000));
    let mut framed = by_reference();
    framed.profile = "unixfs-v0-2015".parse().unwrap();
    assert_eq!(framed.profile.leaves(), LeafFormat::DagPb);
    let error = refused(&stage, || store.add_path(&path, &framed));
    assert!(error.to_string().contains("unixfs-v0-2015"), "{error}");
    assert!(hint(&error).contains("unixfs-v1-2025"));
    assert!(matches!(error, StoreError::NotReferable { .. }));

    let error = refused(&stage, || {
        store.add_reader(&b"content"[..], &by_reference())
    });
    assert!(matches!(error, StoreError::NotReferable { .. }), "{error}");

    store.add_path(&path, &AddOptions::default()).unwrap();
    let inside = stage.stored("packs").remove(0);
    symlink(&inside, stage.path("to pack")).unwrap();
    fs::create_dir(stage.path("m")).unwrap();
    symlink(&inside, stage.path("m/link")).unwrap();
    let mut following = by_reference();
    following.dereference_symlinks = true;
    for path in [
        inside,
        stage.path("to pack"),
        stage.path("m"),
        stage.store_path(),
    ] {
        let error = refused(&stage, || store.add_path(&path, &following));
        assert!(
            matches!(&error, StoreError::NotReferable { why, .. } if why.contains("store")),
            "{error}"
        );
    }
    let mut cancelled = by_reference();
    cancelled.cancel = Some(std::sync::Arc::new(true.into()));
    let error = refused(&stage, || store.add_path(&path, &cancelled));
    assert!(matches!(error, StoreError::Cancelled), "{error}");
}

fn hint(error: &StoreError) -> String {
    ipfs_accelerate::Explain::hint(error).unwrap()
}

/// Killed at any moment, the store has the object or it has not, and adding again is whole.
#[test]
fn an_add_by_reference_that_is_killed_leaves_nothing_half() {
    const CHILD: &str = "IPFS_ACCELERATE_TEST_REFERENCE";
    if let Some(dir) = is_child(CHILD) {
        let dir = PathBuf::from(dir);
        let store = Store::open(dir.join("store")).unwrap();
        let mut options = by_reference();
        options.profile = Profile::default().with_chunk_bytes(64).unwrap();
        store.add_path(dir.join("model"), &options).unwrap();
        return;
    }
    let stage = Stage::new();
    drop(stage.create());
    let content = bytes(18, 70_000 * 64);
    let path = stage.file("model", &content);
    let test = "refs::an_add_by_reference_that_is_killed_leaves_nothing_half";
    let dir = path.parent().unwrap().to_str().unwrap().to_owned();
    for wait_ms in [20, 60, 100, 150, 200, 300, 400] {
        let mut child = again_in_a_child(test, CHILD, &dir).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = stage.open();
        for object in store.objects().unwrap() {
            assert!(store.to_reader().read(&of(object.cid)).unwrap() == content);
        }
        gc(&store);
        drop(store);
        let reader = StoreReader::open(stage.store_path()).unwrap();
        for object in reader.objects().unwrap() {
            assert!(reader.read(&of(object.cid)).unwrap() == content);
        }
    }
    let store = stage.open();
    let mut options = by_reference();
    options.profile = Profile::default().with_chunk_bytes(64).unwrap();
    let added = store.add_path(&path, &options).unwrap();
    assert!(store.to_reader().read(&of(added.cid)).unwrap() == content);
    let unchanged = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(unchanged & 0o777, 0o644);
}
