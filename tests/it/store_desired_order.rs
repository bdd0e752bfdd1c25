//! Files that list pins, whose entries bring what others name: one run meets them all, and does what the dry run said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipfs_accelerate::{
    AddOptions, Cid, DesiredPins, Explain, PinAction, PinChange, PinSyncOptions, Store, hash_path,
};

use super::store_kit::*;
use super::verify::{damage, verify};

fn desired(stage: &Stage, list: &str) -> DesiredPins {
    let file = stage.file("pins.toml", format!("[pins]\n{list}").as_bytes());
    DesiredPins::read(&file).unwrap()
}

fn cid_of(stage: &Stage, name: &str) -> Cid {
    let hashed = hash_path(stage.path(name), &AddOptions::default());
    hashed.unwrap().cid
}

type Said = (String, PinAction, Option<Cid>, Option<&'static str>);

fn said<'c>(changes: impl Iterator<Item = &'c PinChange>) -> Vec<Said> {
    let said = |c: &PinChange| {
        let error = c.error.as_ref().map(Explain::kind);
        (
            c.name.clone(),
            c.action,
            c.cid.filter(|_| error.is_none()),
            error,
        )
    };
    changes.map(said).collect()
}

/// What a dry run says and a run does, which must be the same; a second run has nothing to do.
#[track_caller]
fn synced(store: &Store, desired: &DesiredPins, options: &PinSyncOptions) -> Vec<Said> {
    let mut dry = options.clone();
    dry.hash_paths = true;
    let before = OnDisk::of(store.path());
    let foreseen = store.plan_pins(desired, &dry).unwrap();
    assert_eq!(OnDisk::of(store.path()), before);
    let plan = store.plan_pins(desired, options).unwrap();
    let report = store.apply_pins(plan, options).unwrap();
    let done = said(report.changes.iter());
    assert_eq!(
        (said(foreseen.changes()), foreseen.unlisted()),
        (done.clone(), report.unlisted)
    );
    if report.is_complete() {
        let plan = store.plan_pins(desired, options).unwrap();
        let again = store.apply_pins(plan, options).unwrap();
        assert!(
            again.changes.iter().all(|c| c.action == PinAction::Keep),
            "{again:?}"
        );
    }
    done
}

fn step(name: &str, action: PinAction, cid: Cid) -> Said {
    (name.to_owned(), action, Some(cid), None)
}

fn model(stage: &Stage) -> Cid {
    stage.file("m/w", &bytes(2, 1 << 20));
    stage.file("m/sub/config", b"{}");
    cid_of(stage, "m")
}

#[test]
fn a_cid_that_another_entry_brings_is_pinned() {
    let stage = Stage::new();
    let store = stage.create();
    let m = model(&stage);
    let (w, sub) = (cid_of(&stage, "m/w"), cid_of(&stage, "m/sub"));
    let config = cid_of(&stage, "m/sub/config");
    let list = format!(
        "whole = '{m}'\nbelow = '{m}/sub/config'\npart = '{sub}'\ndeep = '{sub}/config'\nw = '{w}'\n\
         nowhere = '{m}/none'\nmodel = 'm'\n"
    );
    let expected = vec![
        step("whole", PinAction::Pin, m),
        step("below", PinAction::Pin, config),
        step("part", PinAction::Pin, sub),
        step("deep", PinAction::Pin, config),
        step("w", PinAction::Pin, w),
        step("model", PinAction::Add, m),
    ];
    let mut found = synced(
        &store,
        &desired(
            &stage,
            &list.replace(&format!("nowhere = '{m}/none'\n"), ""),
        ),
        &PinSyncOptions::default(),
    );
    assert_eq!(found, expected);
    // A path that is not in it fails in both, for the same reason once the object is there.
    found = synced(&store, &desired(&stage, &list), &PinSyncOptions::default());
    assert_eq!(
        found[5],
        (
            "nowhere".to_owned(),
            PinAction::Failed,
            None,
            Some("no_such_path")
        )
    );
}

/// Whichever comes first in the file: the path of an entry with a CID is read only if nothing else brings the object.
#[test]
fn a_path_with_a_cid_waits_for_the_other_paths() {
    for list in [
        "x = 'm'\ny = { path = 'other', cid = 'CID' }",
        "x = { path = 'other', cid = 'CID' }\ny = 'm'",
        "x = { path = 'gone', cid = 'CID' }\ny = 'm'",
    ] {
        let stage = Stage::new();
        let store = stage.create();
        let m = model(&stage);
        stage.file("other/file", b"something else");
        let desired = desired(&stage, &list.replace("CID", &m.to_string()));
        let found = synced(&store, &desired, &PinSyncOptions::default());
        let actions: Vec<_> = found.iter().map(|(_, action, ..)| *action).collect();
        assert!(
            actions.contains(&PinAction::Add) && actions.contains(&PinAction::Pin),
            "{found:?}"
        );
    }
}

/// So is one that other pins make way for: an entry that another one brings has not failed.
#[test]
fn pins_are_pruned_in_the_run_that_brings_what_an_entry_names() {
    let stage = Stage::new();
    let store = stage.create();
    let m = model(&stage);
    let old = AddOptions::default().named("old");
    store.add_reader(&b"old"[..], &old).unwrap();
    let mut options = PinSyncOptions::default();
    options.prune = true;
    let found = synced(
        &store,
        &desired(&stage, &format!("m = '{m}'\nmodel = 'm'")),
        &options,
    );
    assert_eq!(found[0], step("m", PinAction::Pin, m));
    assert_eq!((&*found[2].0, found[2].1), ("old", PinAction::Unpin));
}

#[test]
fn a_path_is_read_once_however_many_names_it_has() {
    let stage = Stage::new();
    let store = stage.create();
    let m = model(&stage);
    let desired = desired(
        &stage,
        "a = 'm'\nb = 'm'\nc = 'm'\nd = { path = 'm', hidden = true }",
    );
    let read = Arc::new(AtomicU64::new(0));
    for hash_paths in [true, false] {
        let mut options = PinSyncOptions::default();
        options.hash_paths = hash_paths;
        let names = Arc::clone(&read);
        options.progress = Some(Arc::new(move |name, _| {
            let bit = name.as_bytes()[0] - b'a';
            names.fetch_or(1 << bit, Ordering::Relaxed);
        }));
        let plan = store.plan_pins(&desired, &options).unwrap();
        if !hash_paths {
            let report = store.apply_pins(plan, &options).unwrap();
            let expected = [
                PinAction::Add,
                PinAction::Pin,
                PinAction::Pin,
                PinAction::Pin,
            ];
            let expected = ["a", "b", "c", "d"].iter().zip(expected);
            let expected: Vec<_> = expected
                .map(|(name, action)| step(name, action, m))
                .collect();
            assert_eq!(said(report.changes.iter()), expected);
        }
        // Under other flags it may be something else.
        assert_eq!(read.swap(0, Ordering::Relaxed), 0b1001);
    }
    assert_eq!(store.pins().unwrap().len(), 4);
}

/// The object's root is over the damaged place, so it is added, though another object has the bytes.
#[test]
fn an_object_with_damage_on_record_is_added() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(3, 3 << 20);
    stage.file("f", &content);
    let f = store
        .add_path(stage.path("f"), &AddOptions::default().named("f"))
        .unwrap()
        .cid;
    damage(&stage, &content[1 << 20..2 << 20]);
    assert_eq!(verify(&store).findings.len(), 1);
    stage.file("both/f", &content);
    stage.file("both/other", b"other");
    store.add_path(stage.path("both"), &unpinned()).unwrap();
    let list = desired(&stage, "f = 'f'");
    let found = synced(&store, &list, &PinSyncOptions::default());
    assert_eq!(found, [step("f", PinAction::Add, f)]);
    assert!(read(&store, &target("f")) == content);
}
