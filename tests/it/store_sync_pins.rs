//! The pins that come along with a copy from another store.

use std::sync::atomic::{AtomicBool, Ordering};

use ipfs_accelerate::{
    AddOptions, Cid, Explain, PinAs, PinKind, PinOptions, RemoveOptions, Store, StoreError,
    StoreReader, SyncObjectError, SyncOptions, SyncReport, SyncState, SyncedPinChange,
};

use super::store_kit::*;
use super::store_sync::{only, reader, source, sync_all};

fn pins(store: &Store) -> Vec<(String, Cid, PinKind)> {
    let pins = store.pins().unwrap().into_iter();
    pins.map(|pin| (pin.name, pin.cid, pin.kind)).collect()
}

fn add_as(store: &Store, content: &[u8], name: &str) -> Cid {
    let pin = PinAs::Named {
        name: name.into(),
        replace: true,
    };
    let options = AddOptions::default().with_pin(pin);
    store.add_reader(content, &options).unwrap().cid
}

fn changes(report: &SyncReport) -> Vec<(String, Option<SyncedPinChange>)> {
    let pins = report.objects.iter().flat_map(|object| &object.pins);
    pins.map(|pin| (pin.name.clone(), pin.change.as_ref().ok().copied()))
        .collect()
}

#[test]
fn everything_brings_every_pin_and_what_is_unpinned_stays_so() {
    let stage = Stage::new();
    let there = source(&stage);
    let a = add_as(&there, b"a", "a");
    there.pin(&of(a), &PinOptions::named("also-a")).unwrap();
    let b = there.add_reader(&b"b"[..], &AddOptions::default()).unwrap();
    let loose = add_bytes(&there, b"unpinned");
    // One block of a file of several, kept by a direct pin.
    let content = bytes(1, 3 << 20);
    let whole = add_bytes(&there, &content);
    let mut direct = PinOptions::named("node");
    direct.kind = PinKind::Direct;
    there.pin(&of(whole.cid), &direct).unwrap();
    let here = stage.create();
    let report = sync_all(&here, &stage);
    assert_eq!(pins(&here), pins(&there));
    assert_eq!(pins(&here).len(), 4);
    assert!(here.has(&of(loose.cid)).unwrap());
    assert!(
        changes(&report)
            .iter()
            .all(|(_, change)| *change == Some(SyncedPinChange::Set))
    );
    assert!(pins(&here).contains(&(b.cid.to_string(), b.cid, PinKind::Recursive)));
    let again = sync_all(&here, &stage);
    assert!(
        changes(&again)
            .iter()
            .all(|(_, change)| *change == Some(SyncedPinChange::Kept))
    );

    let other = Stage::new();
    let here = other.create();
    let mut options = SyncOptions::default();
    options.no_pins = true;
    let report = here.sync_from(&reader(&stage), &options).unwrap();
    assert_eq!((report.copied(), pins(&here).len()), (4, 0));
}

#[test]
fn the_block_of_a_direct_pin_comes_alone() {
    let stage = Stage::new();
    let there = source(&stage);
    let content = bytes(1, 3 << 20);
    let whole = add_bytes(&there, &content);
    let mut direct = PinOptions::named("node");
    direct.kind = PinKind::Direct;
    there.pin(&of(whole.cid), &direct).unwrap();
    // The object's own root goes; the node is put back as a block of its own.
    there
        .remove(&of(whole.cid), &RemoveOptions::with_unpin())
        .unwrap();
    there.pin(&of(whole.cid), &direct).unwrap();
    let here = stage.create();
    let report = sync_all(&here, &stage);
    assert_eq!(report.counts().new_blocks, 1);
    assert_eq!(
        pins(&here),
        [("node".to_owned(), whole.cid, PinKind::Direct)]
    );
    assert_eq!(
        here.get_block(&whole.cid).unwrap(),
        there.get_block(&whole.cid).unwrap()
    );

    // The whole object replaces its block, and the block does not replace the object.
    add_bytes(&there, &content);
    sync_all(&here, &stage);
    assert!(read(&here, &of(whole.cid)) == content);
    let other = Stage::new();
    let third = other.create();
    let mut no_pins = only(whole.cid);
    no_pins.no_pins = true;
    third.sync_from(&reader(&stage), &no_pins).unwrap();
    there
        .remove(&of(whole.cid), &RemoveOptions::with_unpin())
        .unwrap();
    there.pin(&of(whole.cid), &direct).unwrap();
    let report = sync_all(&third, &stage);
    assert_eq!((report.copied(), report.there()), (0, 1));
    assert!(read(&third, &of(whole.cid)) == content);
}

#[test]
fn a_target_brings_its_own_name_or_is_pinned_under_its_cid() {
    let stage = Stage::new();
    let there = source(&stage);
    let a = add_as(&there, b"a", "a");
    there.pin(&of(a), &PinOptions::named("also-a")).unwrap();
    let b = add_as(&there, b"b", "b");
    let here = stage.create();
    let options = SyncOptions::default().with_targets(vec![target("a"), of(b)]);
    let report = here.sync_from(&reader(&stage), &options).unwrap();
    assert_eq!(
        changes(&report),
        [
            ("a".to_owned(), Some(SyncedPinChange::Set)),
            (b.to_string(), Some(SyncedPinChange::Set))
        ]
    );
    let mut expected = [
        ("a".to_owned(), a, PinKind::Recursive),
        (b.to_string(), b, PinKind::Recursive),
    ];
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(pins(&here), expected);
}

#[test]
fn a_name_that_is_taken_here_stays_unless_it_is_to_be_replaced() {
    let stage = Stage::new();
    let there = source(&stage);
    let theirs = add_as(&there, b"theirs", "latest");
    add_as(&there, b"other", "other");
    let here = stage.create();
    let ours = add_as(&here, b"ours", "latest");
    for dry_run in [true, false] {
        let mut options = SyncOptions::default();
        options.dry_run = dry_run;
        let report = here.sync_from(&reader(&stage), &options).unwrap();
        assert!(!report.is_complete());
        assert_eq!(
            (report.copied(), report.failed()),
            (2, 0),
            "the objects come"
        );
        let mut all = report.objects.iter().flat_map(|object| &object.pins);
        let taken = all.find(|pin| pin.name == "latest").unwrap();
        let error = taken.change.as_ref().unwrap_err();
        assert!(
            matches!(error, StoreError::NameTaken { name, cid } if name == "latest" && *cid == ours),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--replace"));
    }
    assert!(here.has(&of(theirs)).unwrap());
    assert_eq!(read(&here, &target("latest")), b"ours");
    assert_eq!(read(&here, &target("other")), b"other");

    let mut options = SyncOptions::default();
    options.replace = true;
    let report = here.sync_from(&reader(&stage), &options).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let moved = Some(SyncedPinChange::Moved { was: ours });
    assert!(changes(&report).contains(&("latest".to_owned(), moved)));
    assert_eq!(read(&here, &target("latest")), b"theirs");
    assert!(here.has(&of(ours)).unwrap(), "what it pointed to stays");
}

#[test]
fn a_name_without_its_object_is_told_and_the_rest_comes() {
    let stage = Stage::new();
    let there = source(&stage);
    let gone = add_as(&there, b"gone", "gone");
    add_as(&there, b"kept", "kept");
    std::fs::remove_file(stage.path("there/roots").join(gone.to_string())).unwrap();
    let here = stage.create();
    let report = here
        .sync_from(&reader(&stage), &SyncOptions::default())
        .unwrap();
    assert_eq!((report.copied(), report.failed()), (1, 1));
    let failed = report
        .objects
        .iter()
        .find(|object| object.cid == gone)
        .unwrap();
    let SyncState::Failed(SyncObjectError::Unreadable { source, .. }) = &failed.state else {
        panic!("{failed:?}")
    };
    assert!(matches!(&**source, StoreError::NotPublished { cid, .. } if *cid == gone));
    assert_eq!(pins(&here).len(), 1);
}

#[test]
fn what_was_named_and_is_removed_meanwhile_is_told_and_a_name_that_moves_is_followed() {
    let stage = Stage::new();
    let there = source(&stage);
    let a = add_bytes(&there, b"a").cid;
    let b = add_bytes(&there, b"b").cid;
    let c = add_as(&there, b"c", "n");
    let here = stage.create();
    let mut options = SyncOptions::default().with_targets(vec![of(a), of(b), target("n")]);
    let (once, moving) = (AtomicBool::new(true), there.clone());
    options.progress = Some(std::sync::Arc::new(move |_| {
        if once.swap(false, Ordering::Relaxed) {
            add_as(&moving, b"d", "n");
            for gone in [b, c] {
                moving.remove(&of(gone), &RemoveOptions::default()).unwrap();
            }
        }
    }));
    let report = here.sync_from(&reader(&stage), &options).unwrap();
    assert_eq!((report.copied(), report.failed()), (2, 1));
    let failed = report
        .objects
        .iter()
        .find(|object| object.cid == b)
        .unwrap();
    let SyncState::Failed(error @ SyncObjectError::Removed { object }) = &failed.state else {
        panic!("{failed:?}")
    };
    assert_eq!((**object, error.kind()), (b, "removed"));
    assert_eq!(read(&here, &target("n")), b"d");
    assert!(!here.has(&of(c)).unwrap());
}

#[test]
fn a_source_in_use_gives_whole_objects_and_names_that_lead_to_them() {
    let stage = Stage::new();
    let there = source(&stage);
    for seed in 0..20 {
        add_as(&there, &bytes(seed, 50_000), &format!("kept-{seed}"));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = add_as(&there, &bytes(1_000, 60_000), "latest");
            for seed in 1_001.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let next = add_as(&there, &bytes(seed, 60_000), "latest");
                there.remove(&of(last), &RemoveOptions::default()).unwrap();
                last = next;
            }
        });
        for _ in 0..12 {
            let other = Stage::new();
            let here = other.create();
            let mut options = SyncOptions::default();
            options.replace = true;
            let report = here.sync_from(&reader(&stage), &options).unwrap();
            assert!(report.is_complete(), "{report:?}");
            for pin in here.pins().unwrap() {
                let content = read(&here, &target(&pin.name));
                assert_eq!(
                    content.len(),
                    if pin.name == "latest" { 60_000 } else { 50_000 }
                );
            }
            for seed in 0..20 {
                assert!(read(&here, &target(format!("kept-{seed}"))) == bytes(seed, 50_000));
            }
            for object in here.objects().unwrap() {
                StoreReader::open(other.store_path())
                    .unwrap()
                    .read(&of(object.cid))
                    .unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
