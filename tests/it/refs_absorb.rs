//! Copying in what was added by reference, and verifying what was not.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ipfs_accelerate::{
    AbsorbOptions, AddOptions, Explain, FindingKind, GcOptions, PinKind, PinOptions, Profile,
    Store, StoreError, StoreReader, SyncOptions, VerifyOptions,
};

use super::gc::gc;
use super::refs::{by_reference, pack_disk_bytes, refer};
use super::store_kit::*;

#[test]
fn what_was_absorbed_needs_no_file() {
    let stage = Stage::new();
    let store = stage.create();
    let (one, two) = (bytes(1, 5_000_001), bytes(2, 300_000));
    stage.file("m/sub/one", &one);
    stage.file("m/two", &two);
    stage.file("m/empty", b"");
    let added = store
        .add_path(stage.path("m"), &by_reference().named("m"))
        .unwrap();
    let held = store.to_reader().open_file(&target("m/two")).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&told);
    let mut options = AbsorbOptions::default();
    options.progress = Some(Arc::new(move |bytes| {
        counted.fetch_add(bytes, Ordering::Relaxed);
    }));
    let report = store.absorb(&target("m"), &options).unwrap();
    assert_eq!(report.cid, added.cid);
    assert_eq!(
        (report.referenced_bytes, report.copied_bytes),
        (5_300_001, 5_300_001)
    );
    assert_eq!(
        (report.objects, told.load(Ordering::Relaxed)),
        (1, 5_300_001)
    );
    // Whoever had a file open reads on.
    assert!(held.read().unwrap() == two);
    drop(held);
    fs::remove_dir_all(stage.path("m")).unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert!(reader.read(&target("m/sub/one")).unwrap() == one);
    assert!(reader.read(&target("m/two")).unwrap() == two);
    assert_eq!(reader.read(&target("m/empty")).unwrap(), b"");
    let stat = reader.stat(&target("m/sub/one")).unwrap();
    assert_eq!(
        (stat.referenced_bytes, stat.extents),
        (0, 1),
        "one run, which maps whole"
    );
    assert!(pack_disk_bytes(&store) >= 5_300_001);
    let leaf = ipfs_accelerate::leaf(&one[..1 << 20], &Profile::default()).cid;
    assert!(store.get_block(&leaf).unwrap().data() == &one[..1 << 20]);
    gc(&store);
    assert_eq!(store.totals().unwrap().referenced_bytes, 0);
    let again = store
        .absorb(&target("m"), &AbsorbOptions::default())
        .unwrap();
    assert_eq!(
        (again.referenced_bytes, again.copied_bytes, again.objects),
        (0, 0, 0)
    );
    drop(store);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    let store = stage.open();
    assert!(store.to_reader().read(&target("m/sub/one")).unwrap() == one);
    assert!(
        store
            .verify(&VerifyOptions::default())
            .unwrap()
            .findings
            .is_empty()
    );
}

#[test]
fn one_file_of_an_object_is_absorbed_and_every_object_over_it_follows() {
    let stage = Stage::new();
    let store = stage.create();
    let (one, two) = (bytes(3, 2_500_000), bytes(4, 2_500_000));
    stage.file("m/one", &one);
    stage.file("m/two", &two);
    let whole = store
        .add_path(stage.path("m"), &by_reference())
        .unwrap()
        .cid;
    // A pin inside makes an object of its own over the same places.
    let part = target(format!("{whole}/one"));
    let part_cid = store.pin(&part, &PinOptions::named("one")).unwrap().cid;
    let report = store.absorb(&part, &AbsorbOptions::default()).unwrap();
    assert_eq!(
        (report.cid, report.copied_bytes, report.objects),
        (part_cid, 2_500_000, 2)
    );
    assert_eq!(store.stat(&of(whole)).unwrap().referenced_bytes, 2_500_000);
    fs::remove_file(stage.path("m/one")).unwrap();
    assert!(store.to_reader().read(&target("one")).unwrap() == one);
    assert!(store.to_reader().read(&part).unwrap() == one);
    assert!(
        store
            .to_reader()
            .read(&target(format!("{whole}/two")))
            .unwrap()
            == two
    );
    gc(&store);
    assert!(
        store
            .to_reader()
            .read(&target(format!("{whole}/two")))
            .unwrap()
            == two
    );
    fs::remove_file(stage.path("m/two")).unwrap();
    assert!(
        store
            .to_reader()
            .read(&target(format!("{whole}/two")))
            .is_err()
    );
}

#[test]
fn what_the_store_has_by_now_is_not_copied_again() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(5, 3 << 20);
    let path = stage.file("model", &content);
    let cid = refer(&store, &path).cid;
    let stored = add_bytes(&store, &content[..2 << 20]);
    assert_eq!(stored.new_bytes, 2 << 20);
    let report = store.absorb(&of(cid), &AbsorbOptions::default()).unwrap();
    assert_eq!(
        (report.referenced_bytes, report.copied_bytes),
        (3 << 20, 1 << 20)
    );
    fs::remove_file(&path).unwrap();
    assert!(store.to_reader().read(&of(cid)).unwrap() == content);
}

#[test]
fn an_absorb_of_a_file_that_is_not_as_it_was_changes_nothing() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(6, 40 << 20);
    let path = stage.file("model", &content);
    let cid = refer(&store, &path).cid;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[content[39 << 20] ^ 1], 39 << 20)
        .unwrap();
    let error = refused(&stage, || store.absorb(&of(cid), &AbsorbOptions::default()));
    assert_eq!(error.kind(), "source_differs");
    let text = error.to_string();
    assert!(
        text.contains(&cid.to_string()) && text.contains("model"),
        "{text}"
    );
    file.write_all_at(&content[39 << 20..(39 << 20) + 1], 39 << 20)
        .unwrap();

    let mut options = AbsorbOptions::default();
    options.cancel = Some(Arc::new(AtomicBool::new(true)));
    let error = refused(&stage, || store.absorb(&of(cid), &options));
    assert!(matches!(error, StoreError::Cancelled), "{error}");
    // In the middle of it, too.
    let flag = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&flag);
    options.cancel = Some(flag);
    options.progress = Some(Arc::new(move |_| raise.store(true, Ordering::Relaxed)));
    let error = refused(&stage, || store.absorb(&of(cid), &options));
    assert!(matches!(error, StoreError::Cancelled), "{error}");

    let aside = stage.path("aside");
    fs::rename(&path, &aside).unwrap();
    let error = refused(&stage, || store.absorb(&of(cid), &AbsorbOptions::default()));
    assert_eq!(error.kind(), "source_gone");
    fs::rename(&aside, &path).unwrap();
    store.absorb(&of(cid), &AbsorbOptions::default()).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(store.to_reader().read(&of(cid)).unwrap() == content);
}

#[test]
fn an_object_over_several_packs_of_places_is_absorbed_whole() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(7, 70_000 * 64);
    let path = stage.file("model", &content);
    let mut options = by_reference();
    options.profile = Profile::default().with_chunk_bytes(64).unwrap();
    let cid = store.add_path(&path, &options).unwrap().cid;
    let report = store.absorb(&of(cid), &AbsorbOptions::default()).unwrap();
    assert_eq!(report.copied_bytes, 70_000 * 64);
    fs::remove_file(&path).unwrap();
    assert!(store.to_reader().read(&of(cid)).unwrap() == content);
    assert_eq!(store.stat(&of(cid)).unwrap().extents, 1);
}

#[test]
fn another_store_gets_the_bytes_and_needs_no_file() {
    let stage = Stage::new();
    let there = Store::create(stage.path("there")).unwrap();
    let content = bytes(10, 3_000_000);
    let path = stage.file("model", &content);
    let cid = refer(&there, &path).cid;
    let leaf = ipfs_accelerate::leaf(&content[..1 << 20], &Profile::default()).cid;
    let mut direct = PinOptions::named("leaf");
    direct.kind = PinKind::Direct;
    there.pin(&of(leaf), &direct).unwrap();
    let source = StoreReader::open(stage.path("there")).unwrap();

    // One that refers to the file too has no copy of it yet.
    let here = stage.create();
    refer(&here, &path);
    let report = here.sync_from(&source, &SyncOptions::default()).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.copied(), report.there()), (2, 0));
    let again = here.sync_from(&source, &SyncOptions::default()).unwrap();
    assert_eq!((again.copied(), again.there()), (0, 2));
    fs::remove_file(&path).unwrap();
    assert!(here.to_reader().read(&of(cid)).unwrap() == content);
    assert!(here.get_block(&leaf).unwrap().data() == &content[..1 << 20]);
    assert_eq!(here.stat(&of(cid)).unwrap().referenced_bytes, 0);

    // What the source cannot give is told, and nothing is kept of it.
    let other = Store::create(stage.path("other")).unwrap();
    let report = other.sync_from(&source, &SyncOptions::default()).unwrap();
    assert!(!report.is_complete() && report.copied() == 0, "{report:?}");
    assert!(format!("{report:?}").contains("SourceGone"), "{report:?}");
    assert_eq!(other.objects().unwrap(), []);
}

#[test]
fn verification_reads_referenced_files_and_records_nothing_of_them() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(8, 3_000_000);
    let path = stage.file("model", &content);
    let moved = stage.file("moved", &bytes(9, 200_000));
    let (cid, moved_cid) = (refer(&store, &path).cid, refer(&store, &moved).cid);
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, []);
    assert!(report.bytes >= 3_200_000, "{}", report.bytes);

    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[content[2 << 20] ^ 1], 2 << 20).unwrap();
    fs::rename(&moved, stage.path("aside")).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|one| {
            (
                one.kind,
                one.file.clone(),
                one.offset,
                one.affected[0].object,
            )
        })
        .collect();
    let expected = [
        (
            FindingKind::CorruptBlock,
            path.canonicalize().unwrap(),
            Some(2 << 20),
            cid,
        ),
        (FindingKind::MissingBlock, moved.clone(), Some(0), moved_cid),
    ];
    assert_eq!(found, expected);
    let mut options = VerifyOptions::default();
    options.targets = vec![of(moved_cid)];
    assert_eq!(store.verify(&options).unwrap().findings.len(), 1);

    // Once they are back all is well, without a word.
    file.write_all_at(&content[2 << 20..(2 << 20) + 1], 2 << 20)
        .unwrap();
    fs::rename(stage.path("aside"), &moved).unwrap();
    assert!(store.to_reader().read(&of(cid)).unwrap() == content);
    assert_eq!(
        store.verify(&VerifyOptions::default()).unwrap().findings,
        []
    );
    assert_eq!(store.plan_gc(&GcOptions::default()).unwrap().objects, []);
    assert_eq!(
        store
            .add_path(&path, &AddOptions::default())
            .unwrap()
            .new_bytes,
        3_000_000
    );
}
