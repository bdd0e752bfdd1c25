//! Adding: the same CIDs from every way in (promise I1), each byte once (promise I5).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ipfs_accelerate::{
    AddNote, AddOptions, Cid, EntryType, FolderEntry, Profile, StoreError, cid_of_reader,
    hash_path, hash_reader, symlink_node,
};
use proptest::prelude::*;
use serde_json::Value;

use super::store_kit::*;

/// What a tree is made of.
#[derive(Clone, Debug)]
enum Tree {
    File(u64, usize),
    Link(String),
    Folder(BTreeMap<String, Tree>),
}

impl Tree {
    fn write(&self, path: &Path) {
        match self {
            Self::File(seed, len) => fs::write(path, bytes(*seed, *len)).unwrap(),
            Self::Link(to) => symlink(to, path).unwrap(),
            Self::Folder(entries) => {
                fs::create_dir(path).unwrap();
                for (name, below) in entries {
                    below.write(&path.join(name));
                }
            }
        }
    }

    /// CID, Tsize and content bytes by the functions of the DAG layer, which the vectors hold.
    fn cid(&self, profile: &Profile) -> (Cid, u64, u64) {
        match self {
            Self::File(seed, len) => {
                let root = cid_of_reader(&bytes(*seed, *len)[..], profile).unwrap();
                (root.cid, root.tsize, *len as u64)
            }
            Self::Link(to) => {
                let block = symlink_node(to, profile);
                (*block.cid(), block.data().len() as u64, 0)
            }
            Self::Folder(entries) => {
                let mut size = 0;
                let mut links = Vec::new();
                for (name, below) in entries {
                    let (cid, tsize, bytes) = below.cid(profile);
                    size += bytes;
                    let name = name.clone();
                    links.push(FolderEntry { name, cid, tsize });
                }
                let folder = folder_of(links, profile);
                (folder.cid, folder.tsize, size)
            }
        }
    }

    fn assert_at(&self, path: &Path) {
        match self {
            Self::File(seed, len) => assert!(fs::read(path).unwrap() == bytes(*seed, *len)),
            Self::Link(to) => assert_eq!(fs::read_link(path).unwrap(), Path::new(to)),
            Self::Folder(entries) => {
                assert_eq!(
                    fs::read_dir(path).unwrap().count(),
                    entries.len(),
                    "{path:?}"
                );
                for (name, below) in entries {
                    below.assert_at(&path.join(name));
                }
            }
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let name = "[a-zA-Z0-9_é日ß -]{1,8}";
    let leaf = prop_oneof![
        4 => (0_u64..6, prop_oneof![Just(0_usize), 1_usize..5_000]).prop_map(|(s, l)| Tree::File(s, l)),
        1 => "[a-z]{1,5}".prop_map(Tree::Link),
    ];
    let folder = leaf.prop_recursive(4, 24, 6, move |inner| {
        prop::collection::btree_map(name, inner, 0..6).prop_map(Tree::Folder)
    });
    prop::collection::btree_map(name, folder, 0..6).prop_map(Tree::Folder)
}

#[test]
fn every_way_in_gives_the_cid_that_the_bytes_have() {
    let stage = Stage::new();
    let store = stage.create();
    let runs = AtomicU64::new(0);
    let cases = (1_usize..40, 0_usize..7, 0_usize..3, 2_usize..6, 0_u64..4);
    proptest!(ProptestConfig::with_cases(48), |((chunk, chunks, off, links, seed) in cases)| {
        let chunk = chunk * 37;
        let profile = Profile::default().with_chunk_bytes(chunk).unwrap().with_max_links(links).unwrap();
        // One byte less than a whole number of chunks, that number, one more.
        let content = bytes(seed, (chunks * chunk + off).saturating_sub(1));
        let expected = cid_of_reader(&content[..], &profile).unwrap();
        let path = stage.file(&format!("in/{}", runs.fetch_add(1, Ordering::Relaxed)), &content);
        let options = unpinned().with_profile(profile);
        let reports = [
            store.add_path(&path, &options).unwrap(),
            store.add_reader(&content[..], &options).unwrap(),
            hash_path(&path, &options).unwrap(),
            hash_reader(&content[..], &options).unwrap(),
        ];
        for report in &reports {
            prop_assert_eq!(report.cid, expected.cid);
            prop_assert_eq!(report.size, content.len() as u64);
            prop_assert_eq!(report.new_bytes + report.shared_bytes, report.size);
            prop_assert_eq!(report.blocks, reports[0].blocks);
            prop_assert_eq!(report.kind, EntryType::File);
        }
        prop_assert!(read(&store, &of(expected.cid)) == content);
    });
}

#[test]
fn every_tree_gets_the_cid_that_its_parts_have_and_comes_out_as_it_went_in() {
    let stage = Stage::new();
    let store = stage.create();
    let runs = AtomicU64::new(0);
    proptest!(ProptestConfig::with_cases(40), |(tree in trees())| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        let (source, output) = (stage.path(&format!("in{run}")), stage.path(&format!("out{run}")));
        tree.write(&source);
        let profile = Profile::default().with_chunk_bytes(1_000).unwrap();
        let options = unpinned().with_profile(profile.clone());
        let added = store.add_path(&source, &options).unwrap();
        let (cid, _, size) = tree.cid(&profile);
        prop_assert_eq!(added.cid, cid);
        prop_assert_eq!(added.size, size);
        prop_assert_eq!(added.new_bytes + added.shared_bytes, size);
        prop_assert_eq!(hash_path(&source, &options).unwrap().cid, cid);
        store.export(&of(cid), &output, &Default::default()).unwrap();
        tree.assert_at(&output);
        // What was exported is the same object again.
        prop_assert_eq!(hash_path(&output, &options).unwrap().cid, cid);
    });
}

#[test]
fn the_folder_of_the_vectors_has_the_cids_of_other_implementations() {
    let text = include_str!("../../fixtures/cid_vectors.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let stage = Stage::new();
    let pattern: Vec<u8> = (0..(1 << 20) + 1)
        .map(|i: u64| (i * 31 + (i >> 8)) as u8)
        .collect();
    stage.file("dir/a.txt", b"hello world\n");
    stage.file("dir/empty.bin", b"");
    stage.file("dir/sub/p1m+1.bin", &pattern);
    stage.file("dir/sub/deep/b.txt", b"nested\n");
    let path = stage.file("dir/z-é.txt", "café\n".as_bytes());
    let folder = path.parent().unwrap();
    let store = stage.create();
    for profile in Profile::all() {
        let options = unpinned().with_profile(profile.clone());
        let added = store.add_path(folder, &options).unwrap();
        let entries = &vectors["vectors"]["dir"]["entries"][profile.name()];
        assert_eq!(added.cid.to_string(), entries["dir"]);
        for (path, cid) in entries.as_object().unwrap() {
            let below = path.strip_prefix("dir").unwrap();
            let found = store
                .stat(&target(format!("{}{below}", added.cid)))
                .unwrap();
            assert_eq!(&found.cid.to_string(), cid, "{path} {profile}");
        }
    }
}

#[test]
fn adding_again_writes_no_payload_and_leaves_the_root() {
    let stage = Stage::new();
    let store = stage.create();
    let path = stage.file("model/weights.bin", &bytes(1, 3_000_000));
    stage.file("model/config.json", b"{}");
    let folder = path.parent().unwrap();
    let first = store.add_path(folder, &unpinned()).unwrap();
    assert_eq!((first.new_bytes, first.shared_bytes), (3_000_002, 0));
    let before = stage.on_disk();
    let second = store.add_path(folder, &unpinned()).unwrap();
    assert_eq!(second.cid, first.cid);
    assert_eq!((second.new_bytes, second.shared_bytes), (0, 3_000_002));
    assert_eq!(stage.on_disk(), before);

    drop(store);
    let store = stage.open();
    assert_eq!(store.add_path(folder, &unpinned()).unwrap().new_bytes, 0);
    assert_eq!(stage.on_disk(), before);
}

#[test]
fn a_file_that_stands_twice_in_a_folder_is_stored_once() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(2, 2_500_000);
    stage.file("twice/a", &content);
    stage.file("twice/b/c", &content);
    let added = store.add_path(stage.path("twice"), &unpinned()).unwrap();
    assert_eq!(
        (added.new_bytes, added.shared_bytes),
        (2_500_000, 2_500_000)
    );
    assert_eq!(added.files, 2);
    // Three leaves and the file's node, and two folders.
    assert_eq!(store.totals().unwrap().blocks, 4 + 2);
    for path in ["a", "b/c"] {
        let file = target(format!("{}/{path}", added.cid));
        assert!(read(&store, &file) == content);
        assert!(
            store
                .reader(&file)
                .unwrap()
                .slice(0..2_500_000)
                .unwrap()
                .copied()
                .is_none()
        );
    }
}

#[test]
fn what_a_file_shares_with_another_is_counted_as_shared() {
    let stage = Stage::new();
    let store = stage.create();
    let base = bytes(3, 5 << 20);
    add_bytes(&store, &base);
    let mut tuned = base.clone();
    tuned[(2 << 20) + 5] ^= 1;
    let added = add_bytes(&store, &tuned);
    assert_eq!((added.new_bytes, added.shared_bytes), (1 << 20, 4 << 20));
    assert!(read(&store, &of(added.cid)) == tuned);
    assert!(read(&store, &of(add_bytes(&store, &base).cid)) == base);
}

#[test]
fn an_empty_file_and_an_empty_folder_are_objects() {
    let stage = Stage::new();
    let store = stage.create();
    let file = add_bytes(&store, b"");
    assert_eq!((file.size, file.blocks, file.files), (0, 1, 1));
    assert_eq!(read(&store, &of(file.cid)), b"");
    assert_eq!(store.get_block(&file.cid).unwrap().data(), b"");
    fs::create_dir(stage.path("nothing")).unwrap();
    let folder = store.add_path(stage.path("nothing"), &unpinned()).unwrap();
    assert_eq!(
        folder.cid.to_string(),
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    );
    assert_eq!(store.list(&of(folder.cid)).unwrap(), []);
}

#[test]
fn hidden_entries_are_left_out_and_said_so() {
    let stage = Stage::new();
    stage.file("model/.git/config", b"x");
    stage.file("model/.DS_Store", b"y");
    let path = stage.file("model/a", b"a");
    let folder = path.parent().unwrap();
    let report = hash_path(folder, &AddOptions::default()).unwrap();
    assert_eq!(report.files, 1);
    let [
        AddNote::SkippedHidden {
            entries: 2,
            example,
        },
    ] = &report.notes[..]
    else {
        panic!("{:?}", report.notes);
    };
    assert!(example.starts_with(folder), "{example:?}");
    let mut hidden = AddOptions::default();
    hidden.hidden = true;
    let report = hash_path(folder, &hidden).unwrap();
    assert_eq!((report.files, report.notes), (3, vec![]));
}

#[test]
fn ignore_globs_leave_out_names_and_paths() {
    let stage = Stage::new();
    for name in ["a.bin", "b.txt", "sub/c.bin", "logs/x", "logs/y/z"] {
        stage.file(&format!("model/{name}"), name.as_bytes());
    }
    let mut options = AddOptions::default();
    options.ignore = vec!["*.bin".into(), "logs/**".into()];
    let store = stage.create();
    let added = store.add_path(stage.path("model"), &options).unwrap();
    let object = store.resolve(&of(added.cid)).unwrap();
    let files: Vec<String> = object
        .walk()
        .filter(|e| e.kind == EntryType::File)
        .map(|e| e.path)
        .collect();
    assert_eq!(files, ["b.txt"]);

    options.ignore = vec!["a[".into()];
    let error = refused(&stage, || store.add_path(stage.path("model"), &options));
    assert!(matches!(error, StoreError::BadPattern { .. }), "{error}");
}

#[test]
fn a_hugging_face_snapshot_is_followed_to_its_blobs() {
    let stage = Stage::new();
    stage.file("models--a--b/blobs/1234", b"weights");
    fs::create_dir_all(stage.path("models--a--b/snapshots/rev")).unwrap();
    let snapshot = stage.path("models--a--b/snapshots/rev");
    symlink("../../blobs/1234", snapshot.join("model.safetensors")).unwrap();
    let store = stage.create();
    let added = store.add_path(&snapshot, &unpinned()).unwrap();
    assert_eq!(added.notes, [AddNote::FollowedSnapshotLinks { links: 1 }]);
    let file = target(format!("{}/model.safetensors", added.cid));
    assert_eq!(read(&store, &file), b"weights");

    // The same folder elsewhere keeps its links, and says that they lead out.
    fs::create_dir_all(stage.path("other/rev")).unwrap();
    symlink(
        "../../models--a--b/blobs/1234",
        stage.path("other/rev/model"),
    )
    .unwrap();
    let kept = store
        .add_path(stage.path("other/rev"), &unpinned())
        .unwrap();
    assert!(
        matches!(kept.notes[..], [AddNote::LinksLeaveFolder { links: 1, .. }]),
        "{kept:?}"
    );
    let listed = store.list(&of(kept.cid)).unwrap();
    assert_eq!(
        listed[0].target.as_deref(),
        Some("../../models--a--b/blobs/1234")
    );

    let mut follow = unpinned();
    follow.dereference_symlinks = true;
    let followed = store.add_path(stage.path("other/rev"), &follow).unwrap();
    assert_eq!(
        read(&store, &target(format!("{}/model", followed.cid))),
        b"weights"
    );
    assert_eq!(followed.notes, []);
}

#[test]
fn a_link_that_stays_inside_needs_no_note() {
    let stage = Stage::new();
    stage.file("m/sub/a", b"a");
    symlink("sub/a", stage.path("m/one")).unwrap();
    symlink("../sub/./a", stage.path("m/sub/two")).unwrap();
    assert_eq!(
        hash_path(stage.path("m"), &AddOptions::default())
            .unwrap()
            .notes,
        []
    );
    symlink("..", stage.path("m/out")).unwrap();
    let notes = hash_path(stage.path("m"), &AddOptions::default())
        .unwrap()
        .notes;
    assert!(
        matches!(notes[..], [AddNote::LinksLeaveFolder { links: 1, .. }]),
        "{notes:?}"
    );
}

#[test]
fn the_path_given_is_followed_when_it_is_a_link() {
    let stage = Stage::new();
    let real = stage.file("real/a", b"a");
    symlink(real.parent().unwrap(), stage.path("link")).unwrap();
    let by_link = hash_path(stage.path("link"), &AddOptions::default()).unwrap();
    let by_path = hash_path(real.parent().unwrap(), &AddOptions::default()).unwrap();
    assert_eq!((by_link.cid, by_link.name.as_str()), (by_path.cid, "link"));
}

#[test]
fn progress_grows_to_the_whole_and_knows_it_for_files_only() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(4, 40 << 20);
    let path = stage.file("f", &content);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut options = unpinned();
    let note = Arc::clone(&seen);
    options.progress = Some(Arc::new(move |p| note.lock().unwrap().push(p)));
    store.add_path(&path, &options).unwrap();
    let steps = std::mem::take(&mut *seen.lock().unwrap());
    assert!(steps.len() > 1);
    assert!(steps.is_sorted_by_key(|p| p.done_bytes));
    assert_eq!(steps.last().unwrap().done_bytes, 40 << 20);
    assert!(steps.iter().all(|p| p.total_bytes == Some(40 << 20)));
    store.add_reader(&content[..], &options).unwrap();
    assert!(seen.lock().unwrap().iter().all(|p| p.total_bytes.is_none()));
}

#[test]
fn a_folder_of_more_files_than_a_process_may_open_is_added() {
    const CHILD: &str = "STORE_ADD_FEW_DESCRIPTORS";
    if let Some(folder) = is_child(CHILD) {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let few = Rlimit {
            current: Some(128),
            maximum: Some(128),
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let stage = Stage::new();
        let store = stage.create();
        assert_eq!(store.add_path(folder, &unpinned()).unwrap().files, 600);
        return;
    }
    let stage = Stage::new();
    for i in 0..600 {
        // Some have several chunks, so that their first and last are read by different threads.
        let len = if i % 10 == 0 { 1_100_000 } else { 100 };
        stage.file(&format!("many/{}/{i}", i % 7), &bytes(i, len));
    }
    let folder = stage.path("many");
    let child = again_in_a_child(
        "store_add::a_folder_of_more_files_than_a_process_may_open_is_added",
        CHILD,
        folder.to_str().unwrap(),
    )
    .output()
    .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
}

#[test]
fn a_folder_as_deep_as_paths_reach_is_added_listed_and_written_out() {
    let stage = Stage::new();
    let mut deep = stage.path("deep");
    fs::create_dir(&deep).unwrap();
    let mut levels = 0;
    while deep.as_os_str().len() < 3_900 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
        levels += 1;
    }
    assert!(levels > 1_500, "{levels}");
    fs::write(deep.join("f"), b"at the bottom").unwrap();
    let store = stage.create();
    let added = store.add_path(stage.path("deep"), &unpinned()).unwrap();
    let bottom = format!("{}/{}f", added.cid, "d/".repeat(levels));
    assert_eq!(read(&store, &target(&bottom)), b"at the bottom");
    // A pin inside it walks the DAG again.
    let below = target(format!("{}/d", added.cid));
    let pin = store.pin(&below, &Default::default()).unwrap();
    assert_eq!(
        read(
            &store,
            &target(format!("{}/{}f", pin.cid, "d/".repeat(levels - 1)))
        ),
        b"at the bottom"
    );
}
