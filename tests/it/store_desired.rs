//! Files that list the pins that a store is to have: a store that follows them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ipfs_accelerate::{
    AddOptions, Cid, DesiredPins, Explain, PinAction, PinKind, PinOptions, PinSyncOptions,
    PinSyncReport, Profile, RemoveOptions, Store, StoreError, hash_path,
};

use super::store_desired_file::HELLO;
use super::store_kit::*;
use super::verify::{damage, verify};

fn desired(stage: &Stage, list: &str) -> DesiredPins {
    let file = stage.file("pins.toml", format!("[pins]\n{list}").as_bytes());
    DesiredPins::read(&file).unwrap()
}

fn prune() -> PinSyncOptions {
    let mut options = PinSyncOptions::default();
    options.prune = true;
    options
}

fn apply(store: &Store, desired: &DesiredPins, options: &PinSyncOptions) -> PinSyncReport {
    let plan = store.plan_pins(desired, options).unwrap();
    store.apply_pins(plan, options).unwrap()
}

type Said = (String, PinAction, Option<Cid>, Option<Cid>);

fn said(report: &PinSyncReport) -> Vec<Said> {
    let said = |c: &ipfs_accelerate::PinChange| (c.name.clone(), c.action, c.cid, c.was);
    report.changes.iter().map(said).collect()
}

/// What a plan that hashes says, which must be what is then done.
fn planned(store: &Store, desired: &DesiredPins, options: &PinSyncOptions) -> Vec<Said> {
    let mut options = options.clone();
    options.hash_paths = true;
    let before = OnDisk::of(store.path());
    let plan = store.plan_pins(desired, &options).unwrap();
    assert_eq!(OnDisk::of(store.path()), before);
    let said = |c: &ipfs_accelerate::PinChange| (c.name.clone(), c.action, c.cid, c.was);
    plan.changes().map(said).collect()
}

fn names(store: &Store) -> Vec<(String, Cid)> {
    let pins = store.pins().unwrap().into_iter();
    pins.map(|pin| (pin.name, pin.cid)).collect()
}

fn step(name: &str, action: PinAction, cid: Option<Cid>, was: Option<Cid>) -> Said {
    (name.to_owned(), action, cid, was)
}

#[test]
fn the_store_follows_the_file_and_a_second_time_nothing_changes() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/weights", &bytes(1, 3_000_000));
    stage.file("m/.hidden", b"h");
    let stored = add_bytes(&store, &bytes(2, 1_000_000)).cid;
    let old = store
        .add_reader(&b"old"[..], &AddOptions::default().named("moves"))
        .unwrap()
        .cid;
    let list = format!(
        "new = 'm'\nall = {{ path = 'm', hidden = true, profile = 'unixfs-v0-2015' }}\n\
         pinned = '{stored}'\nmoves = '{stored}'\n"
    );
    let desired = desired(&stage, &list);
    let new = hash_path(stage.path("m"), &AddOptions::default())
        .unwrap()
        .cid;
    let mut options = AddOptions::default().with_profile(Profile::unixfs_v0_2015());
    options.hidden = true;
    let all = hash_path(stage.path("m"), &options).unwrap().cid;

    let plan = planned(&store, &desired, &PinSyncOptions::default());
    let report = apply(&store, &desired, &PinSyncOptions::default());
    let expected = [
        step("new", PinAction::Add, Some(new), None),
        step("all", PinAction::Add, Some(all), None),
        step("pinned", PinAction::Pin, Some(stored), None),
        step("moves", PinAction::Move, Some(stored), Some(old)),
    ];
    assert_eq!(
        (said(&report), plan),
        (expected.to_vec(), expected.to_vec())
    );
    assert!(report.is_complete() && report.unlisted == 0);
    let expected = [
        ("all", all),
        ("moves", stored),
        ("new", new),
        ("pinned", stored),
    ];
    assert_eq!(
        names(&store),
        expected.map(|(name, cid)| (name.to_owned(), cid))
    );
    assert!(read(&store, &target("new/weights")) == bytes(1, 3_000_000));
    assert!(
        store.has(&of(old)).unwrap(),
        "what the name pointed to stays"
    );

    let before = stage.on_disk();
    let again = apply(&store, &desired, &PinSyncOptions::default());
    assert!(
        again.changes.iter().all(|c| c.action == PinAction::Keep),
        "{again:?}"
    );
    assert_eq!(
        said(&again),
        planned(&store, &desired, &PinSyncOptions::default())
    );
    assert_eq!(stage.on_disk(), before);

    // The folder changes, and the name follows; what was there stays without it.
    stage.file("m/config", b"{}");
    let report = apply(&store, &desired, &PinSyncOptions::default());
    let [now, ..] = &report.changes[..] else {
        panic!("{report:?}")
    };
    assert_eq!((now.action, now.was), (PinAction::Add, Some(new)));
    assert_eq!(read(&store, &target("new/config")), b"{}");
    assert!(store.has(&of(new)).unwrap());
    // And back again: it is there, so the name only moves.
    std::fs::remove_file(stage.path("m/config")).unwrap();
    let back = apply(&store, &desired, &PinSyncOptions::default());
    assert_eq!(
        said(&back)[0],
        step("new", PinAction::Move, Some(new), now.cid)
    );
}

#[test]
fn an_entry_with_a_cid_is_not_read_while_its_object_is_there() {
    let stage = Stage::new();
    let store = stage.create();
    let path = stage.file("m/weights", &bytes(1, 2_000_000));
    let cid = hash_path(stage.path("m"), &AddOptions::default())
        .unwrap()
        .cid;
    let desired = desired(&stage, &format!("m = {{ path = 'm', cid = '{cid}' }}"));
    let reads = Arc::new(AtomicU64::new(0));
    let mut options = prune();
    let count = Arc::clone(&reads);
    options.progress = Some(Arc::new(move |name, _| {
        assert_eq!(name, "m");
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let report = apply(&store, &desired, &options);
    assert_eq!(said(&report), [step("m", PinAction::Add, Some(cid), None)]);
    assert!(reads.swap(0, Ordering::Relaxed) > 0);

    // Not even with the path gone.
    std::fs::remove_file(&path).unwrap();
    let kept = [step("m", PinAction::Keep, Some(cid), None)];
    assert_eq!(said(&apply(&store, &desired, &options)), kept);
    store.unpin(&target("m")).unwrap();
    let again = [step("m", PinAction::Pin, Some(cid), None)];
    assert_eq!(planned(&store, &desired, &options), again);
    assert_eq!(said(&apply(&store, &desired, &options)), again);
    assert_eq!(reads.load(Ordering::Relaxed), 0);

    // Inside another object it is there too.
    stage.file("outer/m/weights", &bytes(1, 2_000_000));
    store.add_path(stage.path("outer"), &unpinned()).unwrap();
    store
        .remove(&of(cid), &RemoveOptions::with_unpin())
        .unwrap();
    assert_eq!(said(&apply(&store, &desired, &options)), again);
    assert!(read(&store, &target("m/weights")) == bytes(1, 2_000_000));
    assert_eq!(reads.load(Ordering::Relaxed), 0);
}

#[test]
fn content_of_another_cid_is_refused_and_nothing_of_it_is_kept() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(300_000));
    let content = bytes(1, 3_000_000);
    stage.file("f", &content);
    let desired = desired(
        &stage,
        &format!("f = {{ path = 'f', cid = '{HELLO}' }}\ng = 'f'"),
    );
    let before = stage.on_disk();
    let mut hashing = PinSyncOptions::default();
    hashing.hash_paths = true;
    let found = ipfs_accelerate::cid_of_reader(&content[..], &Profile::default())
        .unwrap()
        .cid;
    let plan = store.plan_pins(&desired, &hashing).unwrap();
    let planned: Vec<_> = plan.changes().collect();
    assert_eq!(planned[0].action, PinAction::Failed);
    assert_eq!(
        (planned[1].action, planned[1].cid),
        (PinAction::Add, Some(found))
    );
    assert_eq!(stage.on_disk(), before);

    let mut alone = desired.clone();
    alone.entries.pop();
    let report = apply(&store, &alone, &PinSyncOptions::default());
    assert_eq!(stage.on_disk(), before);
    let error = report.changes[0].error.as_ref().unwrap();
    assert!(
        matches!(error, StoreError::OtherCid { expected, found: f, .. }
            if expected.to_string() == HELLO && **f == found),
        "{error}"
    );
    assert_eq!(error.kind(), "other_cid");
    assert!(error.hint().unwrap().contains("check"));

    // The other entry is met all the same.
    let report = apply(&store, &desired, &PinSyncOptions::default());
    let actions: Vec<_> = report.changes.iter().map(|c| c.action).collect();
    assert_eq!(actions, [PinAction::Failed, PinAction::Add]);
    assert!(read(&store, &target("g")) == content);

    // As an option of an add; either version of the CID will do.
    let mut options = unpinned();
    options.expected = Some(
        HELLO
            .parse::<ipfs_accelerate::Target>()
            .unwrap()
            .cid()
            .copied()
            .unwrap(),
    );
    let error = refused(&stage, || store.add_reader(&b"other"[..], &options));
    assert!(matches!(error, StoreError::OtherCid { .. }), "{error}");
    assert!(hash_path(stage.path("f"), &options).is_err());
    store.add_reader(&b"hello world"[..], &options).unwrap();
    let mut v0 = unpinned().with_profile(Profile::unixfs_v0_2015());
    let cid = store.add_reader(&b"v0"[..], &v0).unwrap().cid;
    v0.expected = Some(ipfs_accelerate::canonical(&cid));
    store.add_reader(&b"v0"[..], &v0).unwrap();
}

#[test]
fn pins_that_are_not_listed_go_last_and_only_if_every_entry_was_met() {
    let stage = Stage::new();
    let store = stage.create();
    let kept = store
        .add_reader(&b"kept"[..], &AddOptions::default().named("kept"))
        .unwrap()
        .cid;
    let named = store
        .add_reader(&b"named"[..], &AddOptions::default().named("other"))
        .unwrap()
        .cid;
    let unnamed = store
        .add_reader(&b"unnamed"[..], &AddOptions::default())
        .unwrap()
        .cid;
    let mut direct = PinOptions::named("direct");
    direct.kind = PinKind::Direct;
    store.pin(&of(kept), &direct).unwrap();
    let good = desired(&stage, &format!("kept = '{kept}'"));

    // Not unless asked.
    let report = apply(&store, &good, &PinSyncOptions::default());
    assert_eq!((report.changes.len(), report.unlisted), (1, 3));
    assert_eq!(names(&store).len(), 4);

    // An entry that fails when the plan is made, and one that fails when it is carried out.
    for bad in [
        format!("kept = '{kept}'\nmissing = '{HELLO}'"),
        format!("kept = '{kept}'\nmissing = 'nothing-here'"),
        format!("kept = '{kept}'\nwrong = {{ path = 'pins.toml', cid = '{HELLO}' }}"),
    ] {
        let report = apply(&store, &desired(&stage, &bad), &prune());
        assert!(!report.is_complete(), "{report:?}");
        assert_eq!((report.count(PinAction::Unpin), report.unlisted), (0, 3));
        assert_eq!(names(&store).len(), 4);
    }

    let report = apply(&store, &good, &prune());
    let mut expected = vec![step("kept", PinAction::Keep, Some(kept), None)];
    let mut gone = [
        step("direct", PinAction::Unpin, None, Some(kept)),
        step("other", PinAction::Unpin, None, Some(named)),
        step(&unnamed.to_string(), PinAction::Unpin, None, Some(unnamed)),
    ];
    gone.sort_by(|a, b| a.0.cmp(&b.0));
    expected.extend(gone);
    assert_eq!((said(&report), report.unlisted), (expected, 0));
    assert_eq!(names(&store), [("kept".to_owned(), kept)]);
    assert!(store.has(&of(named)).unwrap() && store.has(&of(unnamed)).unwrap());
    let report = apply(&store, &good, &prune());
    assert_eq!(
        said(&report),
        [step("kept", PinAction::Keep, Some(kept), None)]
    );

    // An empty list is a list.
    let report = apply(&store, &desired(&stage, ""), &prune());
    assert_eq!(report.count(PinAction::Unpin), 1);
    assert_eq!(names(&store), []);
}

#[test]
fn entries_that_cannot_be_met_are_told_and_the_others_are_met() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/a", &bytes(1, 2_000_000));
    let m = store.add_path(stage.path("m"), &unpinned()).unwrap().cid;
    let list = format!(
        "absent = '{HELLO}'\ninside = '{m}/a'\nnowhere = '{m}/b'\nmissing = 'none'\nnull = '/dev/null'\nlast = 'm/a'"
    );
    let report = apply(&store, &desired(&stage, &list), &PinSyncOptions::default());
    let kinds: Vec<_> = report
        .changes
        .iter()
        .map(|c| (&*c.name, c.action, c.error.as_ref().map(Explain::kind)))
        .collect();
    assert_eq!(
        kinds,
        [
            ("absent", PinAction::Failed, Some("not_published")),
            ("inside", PinAction::Pin, None),
            ("nowhere", PinAction::Failed, Some("no_such_path")),
            ("missing", PinAction::Failed, Some("file_not_found")),
            ("null", PinAction::Failed, Some("unsupported_file")),
            // By then `inside` has made an object of it.
            ("last", PinAction::Pin, None),
        ]
    );
    assert_eq!(names(&store).len(), 2);
}

/// The path is for an object that is not here, and no way around what else keeps a pin from being set.
#[test]
fn what_is_here_and_cannot_be_pinned_is_not_added_from_its_path() {
    let stage = Stage::new();
    let store = stage.create();
    let file = stage.file("f", &bytes(1, 100_000));
    let cid = store.add_path(&file, &unpinned()).unwrap().cid;
    let desired = desired(&stage, &format!("f = {{ path = 'f', cid = '{cid}' }}"));
    let options = PinSyncOptions::default();
    let plan = store.plan_pins(&desired, &options).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(stage.store_path().join("names/f")).unwrap();
    let report = store.apply_pins(plan, &options).unwrap();
    assert_eq!(report.changes[0].action, PinAction::Failed);
    let error = report.changes[0].error.as_ref().unwrap().to_string();
    assert!(error.contains("names/f"), "{error}");
}

#[test]
fn what_is_damaged_is_added_again_from_its_path() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 2_000_000);
    stage.file("f", &content);
    let cid = store
        .add_path(stage.path("f"), &AddOptions::default().named("f"))
        .unwrap()
        .cid;
    drop(store);
    for pack in stage.stored("packs") {
        std::fs::remove_file(pack).unwrap();
    }
    let store = stage.open();
    let desired = desired(&stage, &format!("f = {{ path = 'f', cid = '{cid}' }}"));
    let report = apply(&store, &desired, &PinSyncOptions::default());
    assert!(report.is_complete(), "{report:?}");
    assert!(read(&store, &target("f")) == content);
}

#[test]
fn a_sync_that_is_cancelled_keeps_what_was_met_and_removes_no_pin() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 << 20));
    store
        .add_reader(&b"x"[..], &AddOptions::default().named("unlisted"))
        .unwrap();
    stage.file("a", b"a");
    stage.file("b", &bytes(1, 64 << 20));
    stage.file("c", b"c");
    let desired = desired(&stage, "a = 'a'\nb = 'b'\nc = 'c'");
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = prune();
    options.cancel = Some(Arc::clone(&cancel));
    options.progress = Some(Arc::new(move |name, at| {
        if name == "b" && at.done_bytes > 20 << 20 {
            cancel.store(true, Ordering::Relaxed);
        }
    }));
    let report = apply(&store, &desired, &options);
    let kinds: Vec<_> = report
        .changes
        .iter()
        .map(|c| (&*c.name, c.action, c.error.as_ref().map(Explain::kind)))
        .collect();
    assert_eq!(
        kinds,
        [
            ("a", PinAction::Add, None),
            ("b", PinAction::Failed, Some("cancelled")),
            ("c", PinAction::Failed, Some("cancelled")),
        ]
    );
    assert_eq!(report.unlisted, 1);
    assert_eq!(stage.stored("packs").len(), 2, "nothing of b");
    assert_eq!(names(&store).len(), 2);
}

#[test]
fn what_another_entry_brings_is_met_in_the_same_run() {
    let stage = Stage::new();
    let store = stage.create();
    let weights = stage.file("m/w", &bytes(2, 1 << 20));
    let part = hash_path(&weights, &AddOptions::default()).unwrap().cid;
    let text = format!("[pins]\nweights = \"{part}\"\nmodel = \"./m\"\n");
    let desired = DesiredPins::parse(&text, &stage.path("pins.toml"), None).unwrap();
    let options = PinSyncOptions::default();
    for expected in [
        [PinAction::Pin, PinAction::Add],
        [PinAction::Keep, PinAction::Keep],
    ] {
        let plan = store.plan_pins(&desired, &options).unwrap();
        let report = store.apply_pins(plan, &options).unwrap();
        let actions: Vec<PinAction> = report.changes.iter().map(|c| c.action).collect();
        assert_eq!(actions, expected);
    }
}

#[test]
fn an_entry_whose_object_is_damaged_or_lost_is_not_met() {
    let stage = Stage::new();
    let store = stage.create();
    let x = add_bytes(&store, &bytes(1, 1 << 20)).cid;
    let text = format!("[pins]\nx = \"{x}\"\n");
    let desired = DesiredPins::parse(&text, &stage.path("pins.toml"), None).unwrap();
    let options = PinSyncOptions::default();
    let sync = |store: &Store| {
        let plan = store.plan_pins(&desired, &options).unwrap();
        store.apply_pins(plan, &options).unwrap()
    };
    assert!(sync(&store).is_complete());
    drop(store);
    let pack = stage.stored("packs").remove(0);
    fs::rename(&pack, stage.path("away")).unwrap();
    let store = stage.open();
    let report = sync(&store);
    assert!(!report.is_complete(), "{report:?}");
    assert!(report.changes[0].error.is_some());
    drop(store);
    fs::rename(stage.path("away"), &pack).unwrap();
    assert!(sync(&stage.open()).is_complete());
}

#[test]
fn what_is_refused_of_a_damaged_entry_is_the_damaged_part() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    stage.file("m/weights", &content);
    let x = store.add_path(stage.path("m"), &unpinned()).unwrap().cid;
    damage(&stage, &content[1 << 20..2 << 20]);
    verify(&store);
    let desired = desired(&stage, &format!("x = '{x}'"));
    let report = apply(&store, &desired, &PinSyncOptions::default());
    let error = report.changes[0].error.as_ref().unwrap().to_string();
    let refused = "weights: the 1048576 bytes at offset 1048576 are recorded as damaged";
    assert!(error.starts_with(refused), "{error}");
}

/// A name is kept if its object has a root; pinning makes a lost one again, from a path or from what is here.
#[test]
fn a_name_whose_object_has_lost_its_root_is_pinned_again() {
    for with_path in [true, false] {
        let stage = Stage::new();
        let store = stage.create();
        let content = bytes(7, 300_000);
        let path = stage.file("a", &content);
        let options = AddOptions::default().named("a");
        let cid = store.add_path(&path, &options).unwrap().cid;
        fs::remove_file(store.path().join("roots").join(cid.to_string())).unwrap();
        let list = match with_path {
            true => format!("a = {{ path = \"a\", cid = \"{cid}\" }}\n"),
            false => format!("a = \"{cid}\"\n"),
        };
        let desired = desired(&stage, &list);
        let options = PinSyncOptions::default();
        let pinned = [step("a", PinAction::Pin, Some(cid), None)];
        assert_eq!(planned(&store, &desired, &options), pinned);
        assert_eq!(said(&apply(&store, &desired, &options)), pinned);
        assert_eq!(store.to_reader().read(&target("a")).unwrap(), content);
        let kept = [step("a", PinAction::Keep, Some(cid), None)];
        assert_eq!(said(&apply(&store, &desired, &options)), kept);
    }
}
