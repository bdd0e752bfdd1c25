//! What two targets share: the same as a naive computation over their blocks, tensor by tensor and byte by
//! byte, from roots alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipfs_accelerate::checkpoint::{Dtype, compare_checkpoints};
use ipfs_accelerate::{
    AddOptions, AddProgress, Cid, Counterpart, Explain, HashFunction, LoadError, PartTotals,
    Profile, SharedPart, SharedTensors, Store, StoreError, StoreReader,
};
use proptest::prelude::*;

use crate::load_files::file_from;
use crate::store_kit::{Stage, bytes, of, small_packs, target, unpinned};
use crate::store_profiles::{MIB, checkpoint, sizes, tensor_v1, under};

const CHUNK: usize = 1_000;

fn chunked(profile: Profile) -> AddOptions {
    unpinned().with_profile(profile.with_chunk_bytes(CHUNK).unwrap())
}

fn part<'p>(parts: &'p [SharedPart], name: &str) -> &'p SharedPart {
    parts.iter().find(|part| &*part.name == name).unwrap()
}

fn tensors(store: &Store, a: Cid, b: Cid) -> SharedTensors {
    let shared = compare_checkpoints(&store.to_reader(), &of(a), &of(b)).unwrap();
    for side in [&shared.a, &shared.b] {
        for part in side {
            assert!(part.shared_bytes <= part.bytes, "{part:?}");
            if part.counterpart != Counterpart::None {
                assert_eq!(part.shared_bytes, part.bytes, "{part:?}");
            }
        }
    }
    shared
}

/// Files of chunks from a few letters, so that they repeat within and between files; the last one is cut.
fn content(chunks: &[u8], tail: usize) -> Vec<u8> {
    let mut content: Vec<u8> = chunks
        .iter()
        .flat_map(|seed| bytes(u64::from(*seed) + 1, CHUNK))
        .collect();
    content.truncate(content.len().saturating_sub(tail));
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shared_bytes_are_those_of_the_blocks_that_both_have(
        files in prop::collection::vec((prop::collection::vec(0..12_u8, 0..14), 0..CHUNK), 2..5),
        framed in any::<bool>(),
        pack_bytes in prop::sample::select(vec![3_000_u64, 1 << 30]),
    ) {
        let stage = Stage::new();
        let store = stage.create_with(small_packs(pack_bytes));
        let profile = if framed { Profile::unixfs_v0_2015() } else { Profile::default() };
        let contents: Vec<Vec<u8>> = files.iter().map(|(c, tail)| content(c, *tail)).collect();
        let half = contents.len() / 2;
        for (n, content) in contents.iter().enumerate() {
            stage.file(&format!("{}/f{n}", if n < half { "a" } else { "b" }), content);
        }
        let add = |name: &str| {
            store.add_path(stage.path(name), &chunked(profile.clone())).unwrap().cid
        };
        let (a, b) = (add("a"), add("b"));
        let shared = store.to_reader().compare(&of(a), &of(b)).unwrap();

        let blocks = |contents: &[Vec<u8>]| -> BTreeSet<Vec<u8>> {
            contents.iter().flat_map(|c| c.chunks(CHUNK)).map(<[u8]>::to_vec).collect()
        };
        let sum = |blocks: &BTreeSet<Vec<u8>>| blocks.iter().map(|b| b.len() as u64).sum::<u64>();
        let (in_a, in_b) = (blocks(&contents[..half]), blocks(&contents[half..]));
        prop_assert_eq!(shared.shared_bytes, sum(&(&in_a & &in_b)));
        prop_assert_eq!(shared.stored_bytes, sum(&(&in_a | &in_b)));
        prop_assert_eq!((shared.a.stored_bytes, shared.a.only_bytes), (sum(&in_a), sum(&(&in_a - &in_b))));
        prop_assert_eq!((shared.b.stored_bytes, shared.b.only_bytes), (sum(&in_b), sum(&(&in_b - &in_a))));
        let of_content = |contents: &[Vec<u8>], other: &BTreeSet<Vec<u8>>| -> u64 {
            let chunks = contents.iter().flat_map(|c| c.chunks(CHUNK));
            chunks.filter(|chunk| other.contains(*chunk)).map(|chunk| chunk.len() as u64).sum()
        };
        prop_assert_eq!(shared.a.shared_content_bytes, of_content(&contents[..half], &in_b));
        prop_assert_eq!(shared.b.shared_content_bytes, of_content(&contents[half..], &in_a));
        let all = contents[..half].iter().map(|c| c.len() as u64).sum::<u64>();
        prop_assert_eq!(shared.a.content_bytes, all);
        for (n, content) in contents.iter().enumerate() {
            let (side, other, others) = match n < half {
                true => (&shared.a, &in_b, &contents[half..]),
                false => (&shared.b, &in_a, &contents[..half]),
            };
            let file = part(&side.files, &format!("f{n}"));
            prop_assert_eq!(file.shared_bytes, of_content(std::slice::from_ref(content), other));
            // No file stands under the same name on the other side.
            let is_there = !content.is_empty() && others.contains(content);
            prop_assert_eq!(matches!(file.counterpart, Counterpart::OtherName(_)), is_there);
        }
        // The other way round is the same with the sides changed.
        let back = store.to_reader().compare(&of(b), &of(a)).unwrap();
        prop_assert_eq!((&back.a, &back.b), (&shared.b, &shared.a));
    }

    #[test]
    fn of_a_tensor_that_begins_inside_a_chunk_only_its_own_bytes_count(
        lens in prop::collection::vec(0..3_500_usize, 1..8),
        changed in any::<u8>(),
        header in 600..1_700_usize,
    ) {
        let stage = Stage::new();
        let store = stage.create();
        let changed: Vec<usize> = (0..lens.len()).filter(|n| changed & (1 << n) != 0).collect();
        let files = [checkpoint(&lens, &[], 1, header), checkpoint(&lens, &changed, 2, header)];
        let add = |content: &[u8]| store.add_reader(content, &chunked(Profile::default())).unwrap().cid;
        let [a, b] = [add(&files[0]), add(&files[1])];
        let shared = tensors(&store, a, b);
        let in_b: BTreeSet<&[u8]> = files[1].chunks(CHUNK).collect();
        let data = files[0].len() - lens.iter().sum::<usize>();
        let mut start = data;
        for (n, len) in lens.iter().enumerate() {
            let own = start..start + len;
            let naive: usize = files[0]
                .chunks(CHUNK)
                .enumerate()
                .filter(|(_, chunk)| in_b.contains(chunk))
                .map(|(i, chunk)| {
                    let end = (i * CHUNK + chunk.len()).min(own.end);
                    end.saturating_sub((i * CHUNK).max(own.start))
                })
                .sum();
            let found = part(&shared.a, &format!("t{n:03}"));
            prop_assert_eq!((found.bytes, found.shared_bytes), (*len as u64, naive as u64));
            let is_same = naive == *len;
            prop_assert_eq!(found.counterpart == Counterpart::SameName, is_same);
            start = own.end;
        }
    }
}

#[test]
fn a_fine_tune_shares_the_tensors_that_stayed() {
    let stage = Stage::new();
    let store = stage.create();
    let sizes = sizes();
    let changed = [4, 10, 20, 32];
    let add = |changed: &[usize]| {
        let content = checkpoint(&sizes, changed, 2, 8_192);
        store.add_reader(&content[..], &under(tensor_v1())).unwrap()
    };
    let (base, tuned) = (add(&[]), add(&changed));
    let shared = tensors(&store, base.cid, tuned.cid);
    for (n, len) in sizes.iter().enumerate().filter(|(_, len)| **len >= 65_536) {
        let found = part(&shared.a, &format!("t{n:03}"));
        let expected = match changed.contains(&n) {
            true => (0, Counterpart::None),
            false => (*len as u64, Counterpart::SameName),
        };
        assert_eq!((found.shared_bytes, found.counterpart.clone()), expected);
    }
    assert_eq!(shared.bytes.b.only_bytes, tuned.new_bytes);
    assert_eq!(shared.bytes.b.content_bytes, tuned.size);
    let totals = PartTotals::of(&shared.b);
    assert_eq!(totals.same_name.parts + totals.alone.parts, 40);
    assert_eq!(totals.alone.shared_bytes, 0);
    let with = tuned.shared_most_with.unwrap();
    assert_eq!(
        (with.cid, with.bytes),
        (base.cid, shared.bytes.shared_bytes)
    );
    assert_eq!(base.shared_most_with, None);
}

#[test]
fn tensors_in_other_shards_another_order_and_under_other_names_are_found() {
    let stage = Stage::new();
    let store = stage.create();
    let sizes: Vec<usize> = (0..12).map(|n| 70_000 + 200_000 * n).collect();
    let whole = checkpoint(&sizes, &[], 1, 8_192);
    let a = store
        .add_reader(&whole[..], &under(tensor_v1()))
        .unwrap()
        .cid;
    let shard = |numbers: &[usize], prefix: &str, header: usize| {
        let named: Vec<_> = numbers
            .iter()
            .map(|n| (format!("{prefix}{n:03}"), [sizes[*n]]))
            .collect();
        let tensors: Vec<_> = named
            .iter()
            .map(|(name, shape)| (name.as_str(), Dtype::U8, &shape[..]))
            .collect();
        let data: Vec<u8> = numbers
            .iter()
            .flat_map(|n| bytes(*n as u64 + 1, sizes[*n]))
            .collect();
        file_from(&tensors, header, &data)
    };
    let (one, two) = (
        shard(&[9, 3, 0], "t", 1_001),
        shard(&[11, 7], "moved", 2_003),
    );
    let map: BTreeMap<&str, &str> = [
        ("t009", "1.safetensors"),
        ("t003", "1.safetensors"),
        ("t000", "1.safetensors"),
        ("moved011", "2.safetensors"),
        ("moved007", "2.safetensors"),
    ]
    .into();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    stage.file("sharded/1.safetensors", &one);
    stage.file("sharded/2.safetensors", &two);
    stage.file("sharded/m.safetensors.index.json", index.as_bytes());
    let options = AddOptions::default().with_profile(tensor_v1());
    let b = store.add_path(stage.path("sharded"), &options.named("sharded"));
    let b = b.unwrap();
    assert_eq!(b.new_bytes, 1_001 + 2_003 + index.len() as u64);

    let shared = tensors(&store, a, b.cid);
    for n in [0, 3, 9] {
        let found = part(&shared.a, &format!("t{n:03}"));
        assert_eq!(found.counterpart, Counterpart::SameName);
    }
    let moved = part(&shared.a, "t007");
    assert_eq!(moved.counterpart, Counterpart::OtherName("moved007".into()));
    let moved = part(&shared.b, "moved011");
    assert_eq!(moved.counterpart, Counterpart::OtherName("t011".into()));
    let gone = part(&shared.a, "t005");
    assert_eq!(
        (gone.shared_bytes, &gone.counterpart),
        (0, &Counterpart::None)
    );
    // One file of it, and the index by its path, which stands for the folder.
    let reader = store.to_reader();
    let by_index = target("sharded/m.safetensors.index.json");
    assert_eq!(
        compare_checkpoints(&reader, &of(a), &by_index).unwrap().a,
        shared.a
    );
    let file = target("sharded/2.safetensors");
    let file = compare_checkpoints(&reader, &of(a), &file).unwrap();
    assert_eq!((file.a.len(), file.b.len()), (12, 2));
    assert_eq!(file.bytes.shared_bytes, (sizes[7] + sizes[11]) as u64);
}

#[test]
fn the_same_target_twice_is_all_shared_and_empty_tensors_are_matched_by_name() {
    let stage = Stage::new();
    let store = stage.create();
    let (a, b) = (
        checkpoint(&[0, 5_000, 0], &[], 1, 1_000),
        checkpoint(&[0, 5_000], &[1], 2, 1_000),
    );
    let add = |content: &[u8]| {
        store
            .add_reader(content, &chunked(Profile::default()))
            .unwrap()
            .cid
    };
    let (a, b) = (add(&a), add(&b));
    let twice = tensors(&store, a, a);
    assert_eq!(twice.a, twice.b);
    assert!(
        twice
            .a
            .iter()
            .all(|t| t.counterpart == Counterpart::SameName)
    );
    assert_eq!(
        (twice.bytes.shared_bytes, twice.bytes.a.only_bytes),
        (6_000, 0)
    );
    assert_eq!(twice.bytes.stored_bytes, 6_000);

    let shared = tensors(&store, a, b);
    let how = |name| {
        (
            part(&shared.a, name).shared_bytes,
            &part(&shared.a, name).counterpart,
        )
    };
    assert_eq!(how("t000"), (0, &Counterpart::SameName));
    assert_eq!(how("t001"), (0, &Counterpart::None));
    assert_eq!(
        how("t002"),
        (0, &Counterpart::None),
        "nothing is no other nothing"
    );
    let empty = store.add_reader(&[][..], &unpinned()).unwrap().cid;
    let nothing = store.to_reader().compare(&of(empty), &of(a)).unwrap();
    assert_eq!(
        (
            nothing.a.content_bytes,
            nothing.a.stored_bytes,
            nothing.shared_bytes
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_block_that_repeats_is_content_often_and_stored_once() {
    let stage = Stage::new();
    let store = stage.create();
    let zeros = vec![0; 50 * CHUNK];
    let mixed = [&bytes(1, CHUNK)[..], &zeros[..9 * CHUNK]].concat();
    let add = |content: &[u8]| {
        store
            .add_reader(content, &chunked(Profile::default()))
            .unwrap()
    };
    let (a, b) = (add(&zeros), add(&mixed));
    assert_eq!((a.new_bytes, a.shared_bytes), (1_000, 49_000));
    let shared = store.to_reader().compare(&of(a.cid), &of(b.cid)).unwrap();
    assert_eq!((shared.shared_bytes, shared.stored_bytes), (1_000, 2_000));
    assert_eq!(
        (shared.a.content_bytes, shared.a.shared_content_bytes),
        (50_000, 50_000)
    );
    assert_eq!(
        (shared.b.content_bytes, shared.b.shared_content_bytes),
        (10_000, 9_000)
    );
    assert_eq!((shared.a.only_bytes, shared.b.only_bytes), (0, 1_000));
    assert_eq!(shared.a.files[0].counterpart, Counterpart::None);
}

#[test]
fn what_is_stored_apart_is_not_shared() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 * MIB);
    let blake3 = Profile::default().with_hash(HashFunction::Blake3).unwrap();
    let add = |profile| store.add_reader(&content[..], &under(profile)).unwrap().cid;
    let plain = add(Profile::default());
    for other in [add(blake3), add(Profile::unixfs_v0_2015())] {
        let shared = store.to_reader().compare(&of(plain), &of(other)).unwrap();
        assert_eq!(shared.shared_bytes, 0);
        assert_eq!(shared.stored_bytes, 2 * content.len() as u64);
        assert_ne!(shared.a.profile, shared.b.profile);
    }
}

#[test]
fn a_file_and_a_folder_are_compared_file_by_file_from_their_roots_alone() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("folder/deep/one", &bytes(1, 2_500));
    stage.file("folder/two", &bytes(2, 800));
    stage.file("one", &bytes(1, 2_500));
    let options = chunked(Profile::default());
    let folder = store.add_path(stage.path("folder"), &options).unwrap().cid;
    let file = store.add_path(stage.path("one"), &options).unwrap().cid;
    let stream = store.add_reader(&bytes(2, 800)[..], &options).unwrap().cid;
    drop(store);
    // Neither the database nor the payload is there.
    for gone in ["db", "packs"] {
        fs::rename(stage.store_path().join(gone), stage.path(gone)).unwrap();
        fs::create_dir(stage.store_path().join(gone)).unwrap();
    }
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let shared = reader.compare(&of(folder), &of(file)).unwrap();
    assert_eq!(
        (
            shared.shared_bytes,
            shared.a.only_bytes,
            shared.b.only_bytes
        ),
        (2_500, 800, 0)
    );
    assert_eq!(
        part(&shared.a.files, "deep/one").counterpart,
        Counterpart::OtherName("one".into())
    );
    assert_eq!(part(&shared.a.files, "two").counterpart, Counterpart::None);
    // The same file by its path in the folder, and a stream, which has only a CID for a name.
    let below = target(format!("{folder}/deep/one"));
    let shared = reader.compare(&below, &of(file)).unwrap();
    assert_eq!(shared.a.files, shared.b.files);
    assert_eq!(shared.a.files[0].counterpart, Counterpart::SameName);
    let shared = reader.compare(&of(folder), &of(stream)).unwrap();
    assert_eq!(&*shared.b.files[0].name, stream.to_string());
    assert_eq!(
        shared.b.files[0].counterpart,
        Counterpart::OtherName("two".into())
    );
}

#[test]
fn links_blocks_and_absent_targets_are_refused() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("folder/file", b"content");
    std::os::unix::fs::symlink("file", stage.path("folder/link")).unwrap();
    let folder = store
        .add_path(stage.path("folder"), &unpinned())
        .unwrap()
        .cid;
    let reader = store.to_reader();
    // Inside a folder a link is passed over.
    assert_eq!(
        reader
            .compare(&of(folder), &of(folder))
            .unwrap()
            .a
            .files
            .len(),
        1
    );
    let link = target(format!("{folder}/link"));
    let error = reader.compare(&link, &of(folder)).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NotAFile {
                found: "symlink",
                ..
            }
        ),
        "{error}"
    );
    let error = reader.compare(&of(folder), &target("nothing")).unwrap_err();
    assert_eq!(error.kind(), "no_such_name");
    let error = compare_checkpoints(&reader, &of(folder), &of(folder)).unwrap_err();
    assert!(matches!(error, LoadError::NoCheckpoint { .. }), "{error}");
}

#[test]
fn a_hundred_thousand_extents_are_compared_in_no_time() {
    const CHUNKS: usize = 100_000;
    let stage = Stage::new();
    let store = stage.create();
    let profile = Profile::default().with_chunk_bytes(16).unwrap();
    let options = unpinned().with_profile(profile);
    let forward = bytes(1, CHUNKS * 16);
    let backward: Vec<u8> = forward.chunks(16).rev().flatten().copied().collect();
    let a = store.add_reader(&forward[..], &options).unwrap().cid;
    let b = store.add_reader(&backward[..], &options).unwrap();
    assert_eq!(b.new_bytes, 0);
    let reader = store.to_reader();
    assert_eq!(reader.stat(&of(b.cid)).unwrap().extents, CHUNKS as u64);
    let begun = Instant::now();
    for (a, b) in [(a, b.cid), (b.cid, a), (b.cid, b.cid)] {
        let shared = reader.compare(&of(a), &of(b)).unwrap();
        assert_eq!(shared.shared_bytes, 1_600_000);
    }
    // A comparison of each with each would take minutes.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn progress_tells_new_from_shared_as_it_goes() {
    let stage = Stage::new();
    let store = stage.create();
    let known = bytes(1, 40 * MIB);
    store.add_reader(&known[..], &unpinned()).unwrap();
    let told: Arc<Mutex<Vec<AddProgress>>> = Arc::default();
    let tell = Arc::clone(&told);
    let mut options = unpinned();
    options.progress = Some(Arc::new(move |at| tell.lock().unwrap().push(at)));
    let mut content = known;
    content.extend(bytes(2, 40 * MIB));
    let report = store.add_reader(&content[..], &options).unwrap();
    let told = told.lock().unwrap();
    for pair in told.windows(2) {
        assert!(
            pair[0].new_bytes <= pair[1].new_bytes && pair[0].shared_bytes <= pair[1].shared_bytes
        );
    }
    for at in told.iter() {
        assert_eq!(at.new_bytes + at.shared_bytes, at.done_bytes, "{at:?}");
    }
    assert!(
        told.iter()
            .any(|at| at.shared_bytes > 0 && at.new_bytes == 0)
    );
    let last = told.last().unwrap();
    assert_eq!(
        (last.new_bytes, last.shared_bytes),
        (report.new_bytes, report.shared_bytes)
    );
    assert_eq!(report.shared_bytes, 40 * MIB as u64);
}

#[test]
fn an_add_says_which_object_most_of_it_was_found_in() {
    let stage = Stage::new();
    let store = stage.create();
    let (one, two) = (bytes(1, MIB), bytes(2, 2 * MIB));
    stage.file("models/one", &one);
    store.add_path(stage.path("models"), &unpinned()).unwrap();
    let second = store.add_reader(&two[..], &unpinned()).unwrap();
    assert_eq!(second.shared_most_with, None);
    let both = [&one[..], &two, &[7; 100]].concat();
    let report = store.add_reader(&both[..], &unpinned()).unwrap();
    let with = report.shared_most_with.unwrap();
    assert_eq!((with.cid, with.bytes), (second.cid, 2 * MIB as u64));
    // The same again is no news, and what repeats in itself is shared with nobody.
    assert_eq!(
        store
            .add_reader(&both[..], &unpinned())
            .unwrap()
            .shared_most_with,
        None
    );
    let zeros = store
        .add_reader(&vec![0; 3 * MIB][..], &unpinned())
        .unwrap();
    assert_eq!(
        (zeros.shared_bytes, zeros.shared_most_with),
        (2 * MIB as u64, None)
    );
    // Two have all of it: the one that was used last is named.
    let found = store
        .add_path(stage.path("models/one"), &unpinned())
        .unwrap();
    assert_eq!(
        (found.new_bytes, found.shared_most_with.unwrap().cid),
        (0, report.cid)
    );
}
