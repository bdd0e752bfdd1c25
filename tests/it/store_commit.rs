//! What a commit costs and leaves: how many fsyncs, and which files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use ipfs_accelerate::{AddOptions, Store, io_tally};

use super::store_kit::*;

/// In a process of its own, because the counters are the process's.
#[test]
fn a_commit_of_a_small_file_makes_four_files_and_four_folders_durable() {
    const CHILD: &str = "STORE_COMMIT_COUNTS";
    if is_child(CHILD).is_some() {
        let stage = Stage::new();
        let store = stage.create();
        let path = stage.file("f", &bytes(1, 1_024));
        let before = io_tally();
        store.add_path(&path, &AddOptions::default()).unwrap();
        let pinned = io_tally().since(before);
        // The loose root, the pack, the root and the name, each before the rename that makes it count: after a
        // power cut a renamed file that was not synced may be there with no bytes.
        assert_eq!(pinned.file_syncs, 4);
        // roots/, packs/, roots/ and names/, each before the next step rests on the name: without the first a
        // pack could be there without any root, as if that was lost, without the second a root could outlive its
        // pack, without the others a returned CID or pin could be lost.
        assert_eq!(pinned.folder_syncs, 4);

        let before = io_tally();
        store.add_reader(&bytes(2, 1_024)[..], &unpinned()).unwrap();
        let unpinned_add = io_tally().since(before);
        assert_eq!((unpinned_add.file_syncs, unpinned_add.folder_syncs), (3, 3));

        let before = io_tally();
        store.add_reader(&bytes(2, 1_024)[..], &unpinned()).unwrap();
        store.add_path(&path, &AddOptions::default()).unwrap();
        let again = io_tally().since(before);
        assert_eq!(
            (again.file_syncs, again.folder_syncs),
            (0, 0),
            "nothing is written"
        );

        let before = io_tally();
        store.unpin(&of(store.pins().unwrap()[0].cid)).unwrap();
        store
            .remove(&of(store.objects().unwrap()[0].cid), &Default::default())
            .unwrap();
        let removed = io_tally().since(before);
        assert_eq!((removed.file_syncs, removed.folder_syncs), (0, 2));
        return;
    }
    let output = again_in_a_child(
        "store_commit::a_commit_of_a_small_file_makes_four_files_and_four_folders_durable",
        CHILD,
        "1",
    )
    .output()
    .unwrap();
    assert_passed(&output);
}

#[test]
fn a_commit_leaves_one_pack_one_root_and_one_name() {
    let stage = Stage::new();
    let store = stage.create();
    let added = store
        .add_reader(&bytes(3, 10_000)[..], &AddOptions::default().named("n"))
        .unwrap();
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let packs = stage.stored("packs");
    assert!(packs.len() == 1 && name(&packs[0]).len() == 37 && name(&packs[0]).ends_with(".pack"));
    let roots: Vec<String> = stage.stored("roots").iter().map(name).collect();
    assert_eq!(roots, [added.cid.to_string()]);
    assert_eq!(
        stage.stored("names").iter().map(name).collect::<Vec<_>>(),
        ["n"]
    );
    assert!(stage.stored("tmp").is_empty());
    for path in stage
        .stored("packs")
        .iter()
        .chain(&stage.stored("roots"))
        .chain(&stage.stored("names"))
    {
        let content = fs::read(path).unwrap();
        assert!(
            content.starts_with(b"IPFSACCL") || content.starts_with(b"IPFSPACK"),
            "{path:?}"
        );
    }
}

/// Copies the store as it stands once so many bytes were taken: what a kill in that moment leaves.
struct KilledAfter<'a> {
    content: &'a [u8],
    left: usize,
    from: PathBuf,
    to: PathBuf,
}

impl Read for KilledAfter<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.to.exists() {
            let copied = Command::new("cp")
                .arg("-a")
                .args([&self.from, &self.to])
                .status()?;
            assert!(copied.success());
        }
        let len = match self.left {
            0 => buf.len(),
            left => left.min(buf.len()),
        };
        self.left = self.left.saturating_sub(len);
        self.content.read(&mut buf[..len])
    }
}

/// A store as it was when the import of 44 of 48 MiB was killed.
fn killed_import(stage: &Stage, content: &[u8]) -> PathBuf {
    let killed = stage.path("killed");
    let store = stage.create_with(small_packs(4 << 20));
    let source = KilledAfter {
        content,
        left: 44 << 20,
        from: stage.store_path(),
        to: killed.clone(),
    };
    let named = AddOptions::default().named("a");
    store.add_reader(source, &named).unwrap();
    killed
}

/// How many loose roots a store has.
fn loose(store: &Path) -> usize {
    let roots = fs::read_dir(store.join("roots")).unwrap();
    let names = roots.map(|root| root.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("loose-")).count()
}

#[test]
fn the_loose_root_of_an_import_waits_for_a_pack_that_is_away() {
    let stage = Stage::new();
    let content = bytes(1, 48 << 20);
    let killed = killed_import(&stage, &content);
    let packs = fs::read_dir(killed.join("packs")).unwrap();
    let packs = packs.map(|entry| entry.unwrap().path());
    let first = packs.min_by_key(|path| path.metadata().unwrap().modified().unwrap());
    let first = first.unwrap();
    fs::rename(&first, stage.path("away")).unwrap();
    let store = Store::open_with(&killed, small_packs(4 << 20)).unwrap();
    let ended = store.add_reader(&content[..], &unpinned()).unwrap();
    assert!(ended.shared_bytes > 0, "{ended:?}");
    assert_eq!(loose(&killed), 1);
    drop(store);
    fs::rename(stage.path("away"), &first).unwrap();
    super::gc::gc(&Store::open(&killed).unwrap());
    assert!(first.exists());
}

#[test]
fn an_import_that_was_killed_and_ended_later_leaves_no_loose_root() {
    let stage = Stage::new();
    let content = bytes(1, 48 << 20);
    let options = |name: &str| AddOptions::default().named(name);
    let killed = killed_import(&stage, &content);
    assert_eq!(loose(&killed), 1, "killed");
    let store = Store::open_with(&killed, small_packs(4 << 20)).unwrap();
    // An object that has nothing of it, and one that has a part.
    store
        .add_reader(&bytes(2, 60_000)[..], &options("b"))
        .unwrap();
    let part = store
        .add_reader(&content[..1 << 20], &options("c"))
        .unwrap();
    assert!(part.shared_bytes > 0);
    assert_eq!(loose(&killed), 1, "others");
    let ended = store.add_reader(&content[..], &options("a")).unwrap();
    assert!(ended.shared_bytes >= 8 << 20, "{ended:?}");
    assert_eq!(loose(&killed), 0, "ended");
    assert!(read(&store, &target("a")) == content);
    let space = store.to_reader().space().unwrap();
    assert_eq!(space.loose_bytes, 0);
    drop(store);
    assert!(read(&Store::open(&killed).unwrap(), &target("a")) == content);
}
