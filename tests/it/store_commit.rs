//! What a commit costs and leaves: how many fsyncs, and which files.

use std::fs;

use ipfs_accelerate::{AddOptions, io_tally};

use super::store_kit::*;

/// In a process of its own, because the counters are the process's.
#[test]
fn a_commit_of_a_small_file_makes_three_files_and_three_folders_durable() {
    const CHILD: &str = "STORE_COMMIT_COUNTS";
    if is_child(CHILD).is_some() {
        let stage = Stage::new();
        let store = stage.create();
        let path = stage.file("f", &bytes(1, 1_024));
        let before = io_tally();
        store.add_path(&path, &AddOptions::default()).unwrap();
        let pinned = io_tally().since(before);
        // The pack, the root and the name, each before the rename that makes it count: after a power cut a
        // renamed file that was not synced may be there with no bytes.
        assert_eq!(pinned.file_syncs, 3);
        // packs/, roots/ and names/, each before the next step rests on the name: without the first a root
        // could outlive its pack, without the others a returned CID or pin could be lost.
        assert_eq!(pinned.folder_syncs, 3);

        let before = io_tally();
        store.add_reader(&bytes(2, 1_024)[..], &unpinned()).unwrap();
        let unpinned_add = io_tally().since(before);
        assert_eq!((unpinned_add.file_syncs, unpinned_add.folder_syncs), (2, 2));

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
        "store_commit::a_commit_of_a_small_file_makes_three_files_and_three_folders_durable",
        CHILD,
        "1",
    )
    .output()
    .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
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
