//! `check_path` with what a store has under the CID: on no match, which paths differ, lack, are extra or are
//! of another kind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ipfs_accelerate::{
    AddOptions, CheckOptions, CheckReport, Cid, Difference, EntryType, Object, Profile, Store,
    check_path, check_reader, hash_path,
};

use super::store_kit::*;

fn added(store: &Store, path: &Path, options: &AddOptions) -> Object {
    let cid = store.add_path(path, options).unwrap().cid;
    store.resolve(&of(cid)).unwrap()
}

fn against(path: &Path, stored: &Object) -> CheckReport {
    let options = CheckOptions::default().with_stored(stored.clone());
    check_path(path, &stored.cid(), &options).unwrap()
}

/// `name path` of each difference.
fn named(report: &CheckReport) -> Vec<String> {
    assert!(!report.is_match());
    let differences = report.differences.as_ref().unwrap().iter();
    differences
        .map(|difference| format!("{} {}", difference.name(), difference.path))
        .collect()
}

fn only(report: &CheckReport) -> &Difference {
    match report.differences.as_deref() {
        Some([only]) => only,
        other => panic!("{other:?}"),
    }
}

fn tree(stage: &Stage) {
    stage.file("m/a.txt", b"a");
    stage.file("m/a/x", b"x");
    stage.file("m/a/deep/er/y", &bytes(1, 300_000));
    stage.file("m/b/one", b"1");
    stage.file("m/b/two", b"2");
    stage.file("m/c", b"c");
    fs::create_dir(stage.path("m/empty")).unwrap();
    symlink("a.txt", stage.path("m/link")).unwrap();
}

#[test]
fn a_folder_that_matches_has_no_differences() {
    let stage = Stage::new();
    tree(&stage);
    for profile in Profile::all() {
        let store = Store::create(stage.path(profile.name())).unwrap();
        let options = unpinned().with_profile(profile.clone());
        let stored = added(&store, &stage.path("m"), &options);
        let report = against(&stage.path("m"), &stored);
        assert_eq!(report.profile, Some(profile));
        assert_eq!(report.differences, None);
    }
}

#[test]
fn what_differs_lacks_or_is_extra_is_named_in_the_order_of_the_paths() {
    let stage = Stage::new();
    tree(&stage);
    let top = stage.path("m");
    for profile in Profile::all() {
        fs::remove_dir_all(&top).unwrap();
        tree(&stage);
        let store = Store::create(stage.path(profile.name())).unwrap();
        let stored = added(&store, &top, &unpinned().with_profile(profile));
        let mut large = bytes(1, 300_000);
        large[299_999] ^= 1;
        stage.file("m/a/deep/er/y", &large);
        fs::remove_dir_all(top.join("b")).unwrap();
        fs::remove_dir(top.join("empty")).unwrap();
        stage.file("m/new/file", b"new");
        fs::create_dir(top.join("new/empty")).unwrap();
        fs::remove_file(top.join("link")).unwrap();
        symlink("c", top.join("link")).unwrap();
        let report = against(&top, &stored);
        assert_eq!(
            named(&report),
            [
                "differs a/deep/er/y",
                "lacks b/one",
                "lacks b/two",
                "lacks empty",
                "differs link",
                "extra new/empty",
                "extra new/file",
            ]
        );
        let differences = report.differences.unwrap();
        let sizes = |difference: &Difference| {
            let size = |side: &Option<ipfs_accelerate::EntrySummary>| side.as_ref()?.size;
            (size(&difference.stored), size(&difference.found))
        };
        assert_eq!(sizes(&differences[0]), (Some(300_000), Some(300_000)));
        assert_eq!(sizes(&differences[1]), (Some(1), None));
        assert_eq!(sizes(&differences[6]), (None, Some(3)));
        let target = |side: &Option<ipfs_accelerate::EntrySummary>| side.clone().unwrap().target;
        assert_eq!(target(&differences[4].stored).as_deref(), Some("a.txt"));
        assert_eq!(target(&differences[4].found).as_deref(), Some("c"));
    }
}

#[test]
fn a_change_of_kind_is_named_once_and_nothing_below_it() {
    let stage = Stage::new();
    tree(&stage);
    let top = stage.path("m");
    let store = stage.create();
    let stored = added(&store, &top, &unpinned());
    fs::remove_dir_all(top.join("a")).unwrap();
    stage.file("m/a", b"no folder");
    fs::remove_file(top.join("c")).unwrap();
    stage.file("m/c/inside", b"no file");
    fs::remove_file(top.join("link")).unwrap();
    stage.file("m/link", b"a");
    fs::remove_file(top.join("a.txt")).unwrap();
    symlink("c", top.join("a.txt")).unwrap();
    let report = against(&top, &stored);
    assert_eq!(
        named(&report),
        ["kind a", "kind a.txt", "kind c", "kind link"]
    );
    let kinds = report.differences.unwrap();
    let kinds = kinds.iter().map(|difference| {
        let kind = |side: &Option<ipfs_accelerate::EntrySummary>| side.as_ref().unwrap().kind;
        (kind(&difference.stored), kind(&difference.found))
    });
    let (file, folder, link) = (EntryType::File, EntryType::Folder, EntryType::Symlink);
    let expected = [(folder, file), (file, link), (file, folder), (link, file)];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);

    // At the top.
    let report = against(&top.join("c/inside"), &stored);
    assert_eq!(named(&report), ["kind "]);
    let file = added(&store, &top.join("c/inside"), &unpinned());
    assert_eq!(named(&against(&top, &file)), ["kind "]);
}

#[test]
fn differences_inside_a_sharded_folder_are_found() {
    let stage = Stage::new();
    let top = stage.path("m/sub");
    fs::create_dir_all(&top).unwrap();
    for n in 0..7_000 {
        fs::write(top.join(format!("{n:040}")), n.to_string()).unwrap();
    }
    let store = stage.create();
    for profile in Profile::all() {
        let stored = added(
            &store,
            &stage.path("m"),
            &unpinned().with_profile(profile.clone()),
        );
        assert!(against(&stage.path("m"), &stored).is_match(), "{profile}");
        fs::write(top.join(format!("{:040}", 17)), "other").unwrap();
        fs::rename(top.join(format!("{:040}", 5_000)), top.join("new")).unwrap();
        let expected = [
            format!("differs sub/{:040}", 17),
            format!("lacks sub/{:040}", 5_000),
            "extra sub/new".to_owned(),
        ];
        assert_eq!(named(&against(&stage.path("m"), &stored)), expected);
        fs::write(top.join(format!("{:040}", 17)), "17").unwrap();
        fs::rename(top.join("new"), top.join(format!("{:040}", 5_000))).unwrap();
    }
}

#[test]
fn a_folder_inside_an_object_is_compared_by_itself() {
    let stage = Stage::new();
    tree(&stage);
    let store = stage.create();
    let stored = added(&store, &stage.path("m"), &unpinned());
    let part = stored.join("b").unwrap();
    assert!(against(&stage.path("m/b"), &part).is_match());
    stage.file("m/b/two", b"22");
    fs::remove_file(stage.path("m/b/one")).unwrap();
    assert_eq!(
        named(&against(&stage.path("m/b"), &part)),
        ["lacks one", "differs two"]
    );
}

#[test]
fn hidden_entries_that_were_added_are_lacking_unless_they_are_asked_for() {
    let stage = Stage::new();
    stage.file("m/.git/HEAD", b"ref");
    stage.file("m/a", b"a");
    let store = stage.create();
    let mut hidden = unpinned();
    hidden.hidden = true;
    let stored = added(&store, &stage.path("m"), &hidden);
    let report = against(&stage.path("m"), &stored);
    assert_eq!(named(&report), ["lacks .git/HEAD"]);
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    let mut options = CheckOptions::default().with_stored(stored.clone());
    options.hidden = true;
    let report = check_path(stage.path("m"), &stored.cid(), &options).unwrap();
    assert!(report.is_match());
}

#[test]
fn of_a_file_the_first_differing_byte_is_told() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(3, 5_000_000);
    let path = stage.file("f", &content);
    for profile in [Profile::unixfs_v1_2025(), Profile::unixfs_v0_2015()] {
        stage.file("f", &content);
        let stored = added(&store, &path, &unpinned().with_profile(profile));
        for at in [0, 1, 1_048_575, 1_048_576, 4_999_999] {
            let mut other = content.clone();
            other[at] ^= 0x80;
            stage.file("f", &other);
            let report = against(&path, &stored);
            assert_eq!(named(&report), ["differs "]);
            assert_eq!(only(&report).offset, Some(at as u64));
        }
        // Cut off, or longer.
        for len in [0, 1, 2_097_152, 4_999_999] {
            stage.file("f", &content[..len]);
            let report = against(&path, &stored);
            assert_eq!(only(&report).offset, Some(len as u64));
            let found = only(&report).found.as_ref().unwrap();
            assert_eq!(found.size, Some(len as u64));
        }
        stage.file("f", &[&content[..], b"x"].concat());
        assert_eq!(only(&against(&path, &stored)).offset, Some(5_000_000));
        // What cannot be read again has no offset.
        let options = CheckOptions::default().with_stored(stored.clone());
        let report = check_reader(&content[1..], &stored.cid(), &options).unwrap();
        assert_eq!(
            (named(&report), only(&report).offset),
            (vec!["differs ".into()], None)
        );
    }
}

/// An object put together from single blocks says nothing of its profile, so files that no usual profile
/// explains are compared byte by byte.
#[test]
fn what_was_put_together_from_blocks_is_compared_by_its_bytes() {
    let stage = Stage::new();
    stage.file("m/large", &bytes(1, 200_000));
    stage.file("m/same", &bytes(2, 100_000));
    stage.file("m/small", b"small");
    let top = stage.path("m");
    let profile: Profile = "unixfs-v1-2025+chunk=size-5000+links=7".parse().unwrap();
    let odd = unpinned().with_profile(profile);
    let cid: Cid = hash_path(&top, &odd).unwrap().cid;
    let store = stage.create();
    // The blocks alone: the object's root goes, and what is left is put together when it is pinned.
    let outer = stage.file("outer/x", b"x");
    fs::rename(&top, outer.with_file_name("m")).unwrap();
    let whole = store.add_path(stage.path("outer"), &odd).unwrap();
    store
        .pin(&of(cid), &ipfs_accelerate::PinOptions::named("part"))
        .unwrap();
    store.remove(&of(whole.cid), &Default::default()).unwrap();
    let stored = store.to_reader().resolve(&target("part")).unwrap();
    assert_eq!((stored.profile(), stored.cid()), ("", cid));

    let top = stage.path("outer/m");
    let report = against(&top, &stored);
    assert_eq!(
        named(&report),
        Vec::<String>::new(),
        "the content is the same"
    );
    let mut large = bytes(1, 200_000);
    large[150_000] ^= 1;
    stage.file("outer/m/large", &large);
    stage.file("outer/m/small", b"smalL");
    let report = against(&top, &stored);
    assert_eq!(named(&report), ["differs large", "differs small"]);
    let differences = report.differences.unwrap();
    assert_eq!(differences[0].offset, Some(150_000));
    assert_eq!(differences[1].offset, Some(4));
}

#[test]
fn a_single_block_in_a_store_is_nothing_to_compare_with() {
    let stage = Stage::new();
    let path = stage.file("f", &bytes(1, 3_000_000));
    let store = stage.create();
    let stored = added(&store, &path, &unpinned());
    let mut options = ipfs_accelerate::PinOptions::default();
    options.kind = ipfs_accelerate::PinKind::Direct;
    store.pin(&of(stored.cid()), &options).unwrap();
    let other = stage.file("other", b"x");
    let report = against(&other, &stored);
    assert_eq!(named(&report), ["differs "]);
    // A node of its own, of which no object is there.
    let node = ipfs_accelerate::symlink_node("x", &Profile::default());
    let mut session = store.session();
    session.put_block(&node).unwrap();
    session.commit().unwrap();
    store.pin(&of(*node.cid()), &options).unwrap();
    let block = store.to_reader().resolve(&of(*node.cid())).unwrap();
    assert_eq!(block.kind(), EntryType::Block);
    assert_eq!(against(&other, &block).differences, None);
}
