//! Files of the store that are not what they should be: typed errors, never a panic (promise I7).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ipfs_accelerate::{
    AddOptions, Cid, Explain, PinOptions, RemoveOptions, Store, StoreError, StoreReader,
};
use proptest::prelude::*;

use super::store_kit::*;

/// A store with a pinned folder of two files over several packs.
fn sample() -> (Stage, Cid) {
    let stage = Stage::new();
    stage.file("m/sub/weights", &bytes(1, 900_000));
    stage.file("m/config", b"{}");
    let store = stage.create_with(small_packs(300_000));
    let profile = ipfs_accelerate::Profile::default()
        .with_chunk_bytes(100_000)
        .unwrap();
    let options = AddOptions::default().with_profile(profile).named("m");
    let cid = store.add_path(stage.path("m"), &options).unwrap().cid;
    (stage, cid)
}

fn overwrite(path: &Path, content: &[u8]) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything that can be asked of the store; what it answers, and the errors.
fn use_all(stage: &Stage, cid: Cid) -> (Option<Vec<u8>>, Vec<StoreError>) {
    let mut errors = Vec::new();
    let mut content = None;
    macro_rules! ask {
        ($question:expr) => {
            match $question {
                Ok(answer) => Some(answer),
                Err(e) => {
                    errors.push(StoreError::from(e));
                    None
                }
            }
        };
    }
    if let Some(reader) = ask!(StoreReader::open(stage.store_path())) {
        ask!(reader.objects());
        ask!(reader.pins());
        ask!(reader.totals());
        for text in ["m".to_owned(), cid.to_string(), "m/sub".into()] {
            ask!(reader.list(&target(&text)));
            ask!(reader.stat(&target(&text)));
        }
        content = ask!(reader.read(&target(format!("{cid}/sub/weights"))));
        if let Some(file) = ask!(reader.open_file(&target("m/sub/weights"))) {
            ask!(file.slice(0..file.size()));
        }
        ask!(reader.export(&target("m"), stage.path("out"), &Default::default()));
        let _ = fs::remove_dir_all(stage.path("out"));
    }
    if let Some(store) = ask!(Store::open(stage.store_path())) {
        ask!(store.get_block(&cid));
        ask!(store.get_node(&cid));
        ask!(store.pin(&target("m/sub"), &PinOptions::named("sub")));
        ask!(store.unpin(&target("sub")));
        ask!(store.remove(&of(cid), &RemoveOptions::default()));
    }
    (content, errors)
}

#[test]
fn a_whole_store_answers_everything() {
    let (stage, cid) = sample();
    let (content, errors) = use_all(&stage, cid);
    assert!(content.unwrap() == bytes(1, 900_000));
    // It is pinned, so removing it is the one thing refused.
    assert!(
        matches!(errors[..], [StoreError::Pinned { .. }]),
        "{errors:?}"
    );
}

#[test]
fn a_flipped_bit_or_a_cut_in_any_small_file_is_said_with_its_path() {
    for folder in ["roots", "names", "FORMAT"] {
        let (stage, cid) = sample();
        let path = match folder {
            "FORMAT" => stage.store_path().join("FORMAT"),
            "names" => stage.store_path().join("names/m"),
            _ => stage.store_path().join("roots").join(cid.to_string()),
        };
        let whole = fs::read(&path).unwrap();
        let reader = |path: &Path| -> Result<(), StoreError> {
            let reader = StoreReader::open(path)?;
            let cid = reader.stat(&target("m"))?.cid;
            // Section three, the nodes, is read for the blocks of a part.
            reader.stat(&target(format!("{cid}/sub")))?;
            reader.objects()?;
            Ok(())
        };
        reader(&stage.store_path()).unwrap();
        let assert_said = |what: &str| {
            let error = reader(&stage.store_path()).unwrap_err();
            assert!(
                matches!(
                    error,
                    StoreError::Damaged { .. } | StoreError::NewerFormat { .. }
                ),
                "{folder}, {what}: {error}"
            );
            assert!(
                error
                    .to_string()
                    .contains(stage.store_path().to_str().unwrap()),
                "{error}"
            );
            if let StoreError::Damaged {
                path: named,
                expected,
                found,
                ..
            } = &error
            {
                assert_eq!(*named, path);
                assert_ne!(expected, found, "{error}");
            }
            assert!(error.hint().is_some());
        };
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            overwrite(&path, &flipped);
            assert_said(&format!("byte {at}"));
        }
        for len in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            overwrite(&path, &whole[..len]);
            assert_said(&format!("{len} bytes"));
        }
        overwrite(&path, &whole);
        reader(&stage.store_path()).unwrap();
    }
}

#[test]
fn damage_in_a_pack_is_said_and_its_payload_never_passes_for_a_block() {
    let (stage, cid) = sample();
    let packs = stage.stored("packs");
    assert!(packs.len() >= 3);
    let content = bytes(1, 900_000);
    for path in &packs {
        let whole = fs::read(path).unwrap();
        let places = (0..128)
            .chain((128..whole.len()).step_by(whole.len() / 40))
            .chain(whole.len() - 60..whole.len());
        for at in places {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            overwrite(path, &flipped);
            // Reading does not hash, so what it gives may be damaged payload; a block never is.
            let result = StoreReader::open(stage.store_path())
                .unwrap()
                .read(&target("m/sub/weights"));
            match result {
                Ok(got) => assert_eq!(got.len(), content.len()),
                Err(StoreError::Damaged { path: named, .. }) => assert_eq!(named, *path),
                Err(e) => panic!("{at}: {e}"),
            }
        }
        for len in [0, 1, 127, 128, 5_000, whole.len() - 1] {
            overwrite(path, &whole[..len.min(whole.len() - 1)]);
            let (_, errors) = use_all(&stage, cid);
            assert!(
                errors.iter().any(|e| matches!(e, StoreError::Damaged { path: p, what: "length", .. } if p == path)),
                "{errors:?}"
            );
        }
        overwrite(path, &whole);
    }
    // Every block, with one byte of each pack's payload turned.
    for path in &packs {
        let whole = fs::read(path).unwrap();
        let mut flipped = whole.clone();
        for byte in flipped[128..whole.len() * 3 / 4].iter_mut().step_by(1_000) {
            *byte ^= 1;
        }
        overwrite(path, &flipped);
        let store = stage.open();
        let mut damaged = 0;
        for chunk in content.chunks(100_000) {
            let leaf = ipfs_accelerate::leaf(chunk, &Default::default()).cid;
            match store.get_block(&leaf) {
                Ok(block) => assert!(block.data() == chunk),
                Err(StoreError::Block(e)) => {
                    assert!(e.to_string().contains(&leaf.to_string()));
                    damaged += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
        assert!(damaged > 0 || whole.len() < 10_000, "{path:?}");
        drop(store);
        overwrite(path, &whole);
    }
    assert!(use_all(&stage, cid).0.unwrap() == content);
}

#[test]
fn files_that_belong_to_another_store_or_object_are_refused() {
    let (stage, cid) = sample();
    let (other, other_cid) = sample();
    assert_eq!(cid, other_cid);
    let root = |stage: &Stage| stage.store_path().join("roots").join(cid.to_string());
    let own = fs::read(root(&stage)).unwrap();
    for (path, theirs) in [
        (root(&stage), root(&other)),
        (
            stage.store_path().join("names/m"),
            other.store_path().join("names/m"),
        ),
    ] {
        let whole = fs::read(&path).unwrap();
        overwrite(&path, &fs::read(theirs).unwrap());
        let error = StoreReader::open(stage.store_path())
            .unwrap()
            .read(&target("m/config"))
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { path: p, what: "store id", .. } if *p == path),
            "{error}"
        );
        overwrite(&path, &whole);
    }
    // A root under the name of another object would give that one other bytes.
    let store = stage.open();
    let alone = add_bytes(&store, b"another object").cid;
    drop(store);
    let path = stage.store_path().join("roots").join(alone.to_string());
    overwrite(&path, &own);
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let error = reader.stat(&of(alone)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { path: p, what: "CID", expected, found }
            if *p == path && *expected == alone.to_string() && *found == cid.to_string()),
        "{error}"
    );
    // A listing goes on with the others.
    assert_eq!(reader.objects().unwrap().len(), 1);
    // Adding the object again puts its own root there.
    let store = stage.open();
    add_bytes(&store, b"another object");
    assert_eq!(read(&store, &of(alone)), b"another object");
}

#[test]
fn nothing_is_removed_while_a_pin_cannot_be_read() {
    let (stage, cid) = sample();
    let path = stage.store_path().join("names/m");
    let whole = fs::read(&path).unwrap();
    // Also when the damage makes it look like a file of somebody else's.
    for at in [0, 9, 40, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        overwrite(&path, &flipped);
        let store = stage.open();
        let error = refused(&stage, || store.remove(&of(cid), &RemoveOptions::default()));
        assert!(
            matches!(&error, StoreError::Damaged { path: p, .. } if *p == path),
            "{error}"
        );
    }
    overwrite(&path, &whole);
    let store = stage.open();
    store
        .remove(&of(cid), &RemoveOptions::with_unpin())
        .unwrap();
}

#[test]
fn a_pack_that_is_gone_is_said_and_what_it_held_can_be_added_again() {
    let (stage, cid) = sample();
    for path in stage.stored("packs") {
        fs::remove_file(path).unwrap();
    }
    let error = StoreReader::open(stage.store_path())
        .unwrap()
        .read(&target("m/config"))
        .unwrap_err();
    assert!(error.to_string().contains("packs/"), "{error}");
    let store = stage.open();
    assert!(!store.has_block(&cid).unwrap());
    let profile = ipfs_accelerate::Profile::default()
        .with_chunk_bytes(100_000)
        .unwrap();
    let options = AddOptions::default().with_profile(profile).named("m");
    let again = store.add_path(stage.path("m"), &options).unwrap();
    assert_eq!((again.cid, again.new_bytes), (cid, 900_002));
    assert!(read(&store, &target("m/sub/weights")) == bytes(1, 900_000));
}

#[test]
fn random_damage_never_panics_and_never_gives_other_content_of_another_length() {
    let (stage, cid) = sample();
    let files: Vec<_> = ["roots", "names", "packs"]
        .iter()
        .flat_map(|folder| stage.stored(folder))
        .chain([stage.store_path().join("FORMAT")])
        .collect();
    let wholes: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).unwrap()).collect();
    let runs = std::cell::Cell::new(0);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..6);
    let edit = (
        any::<prop::sample::Index>(),
        edits,
        prop::option::of(any::<prop::sample::Index>()),
    );
    proptest!(ProptestConfig::with_cases(60), |((file, edits, cut) in edit)| {
        runs.set(runs.get() + 1);
        let which = file.index(files.len());
        let mut content = wholes[which].clone();
        for (at, value) in edits {
            // The structure is in the first bytes and the last.
            let at = match at.index(3) {
                0 => at.index(content.len()),
                1 => at.index(content.len().min(200)),
                _ => content.len() - 1 - at.index(content.len().min(400)),
            };
            for (byte, new) in content[at..].iter_mut().zip(value.to_le_bytes()) {
                *byte = new;
            }
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len()));
        }
        let before: BTreeSet<_> = stage.stored("roots").into_iter().collect();
        overwrite(&files[which], &content);
        let used = catch_unwind(AssertUnwindSafe(|| use_all(&stage, cid)));
        for path in stage.stored("roots").into_iter().filter(|p| !before.contains(p)) {
            fs::remove_file(path).unwrap();
        }
        if !files[which].exists() {
            fs::write(&files[which], b"").unwrap();
        }
        overwrite(&files[which], &wholes[which]);
        prop_assert!(used.is_ok(), "{:?} panicked", files[which]);
        let (read, errors) = used.unwrap();
        prop_assert!(read.is_none_or(|read| read.len() == 900_000));
        for error in errors {
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    });
    assert!(runs.get() > 0);
}
