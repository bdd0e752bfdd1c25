//! The store under each profile: framed leaves, blake3, and tensors that are stored once wherever they
//! stand.

use std::fs;
use std::path::Path;

use ipfs_accelerate::checkpoint::{Dtype, LoadOptions, load_checkpoint_and_dispatch};
use ipfs_accelerate::{
    AddNote, AddOptions, AddReport, BLAKE3, Chunker, CidVersion, HashFunction, LeafFormat, Profile,
    Store, StoreReader, canonical, cid_of_reader, hash_path, hash_reader,
};

use crate::load_files::{SINGLE, assert_adds_up, assert_same, by_the_crate, file_from, on_host};
use crate::store_kit::{Stage, bytes, of, read, target};

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn under(profile: Profile) -> AddOptions {
    AddOptions::default().with_profile(profile)
}

pub(crate) fn tensor_v1() -> Profile {
    Profile::default().with_chunker(Chunker::TensorV1).unwrap()
}

/// What differs between profiles, in small, so that files have several levels.
fn small_profiles() -> Vec<Profile> {
    let mut profiles = Vec::new();
    for profile in Profile::all() {
        let small = profile
            .with_chunk_bytes(1_000)
            .and_then(|p| p.with_max_links(3))
            .unwrap();
        let v1 = small.clone().with_cid_version(CidVersion::V1).unwrap();
        profiles.push(v1.clone().with_hash(HashFunction::Blake3).unwrap());
        profiles.push(v1.with_chunker(Chunker::TensorV1).unwrap());
        let leaves = match small.leaves() {
            LeafFormat::Raw => LeafFormat::DagPb,
            _ => LeafFormat::Raw,
        };
        profiles.push(small.clone().with_leaves(leaves).unwrap());
        profiles.push(small);
    }
    profiles
}

#[test]
fn every_profile_gives_back_what_went_in_under_the_cid_that_is_computed_without_a_store() {
    for profile in small_profiles() {
        let stage = Stage::new();
        let store = stage.create();
        for len in [0, 1, 999, 1_000, 1_001, 3_000, 3_001, 20_000] {
            let content = bytes(len as u64, len);
            let added = store
                .add_reader(&content[..], &under(profile.clone()))
                .unwrap();
            let root = cid_of_reader(&content[..], &profile).unwrap();
            assert_eq!((added.cid, added.size), (root.cid, root.size), "{profile}");
            assert!(read(&store, &of(added.cid)) == content, "{profile} {len}");
            assert_eq!(added.new_bytes + added.shared_bytes, added.size);
            let again = store
                .add_reader(&content[..], &under(profile.clone()))
                .unwrap();
            assert_eq!((again.cid, again.new_bytes), (added.cid, 0), "{profile}");
        }
        drop(store);
        // The index is made again from the packs, and every block is found.
        fs::remove_dir_all(stage.store_path().join("db")).unwrap();
        let store = stage.open();
        let content = bytes(20_000, 20_000);
        let root = cid_of_reader(&content[..], &profile).unwrap();
        assert_eq!(store.get_block(&root.cid).unwrap().cid(), &root.cid);
        let again = store
            .add_reader(&content[..], &under(profile.clone()))
            .unwrap();
        assert_eq!(again.new_bytes, 0, "{profile}");
    }
}

#[test]
fn objects_of_cid_v0_are_found_under_both_forms_of_their_cid() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 600_000);
    let added = store
        .add_reader(&content[..], &under(Profile::unixfs_v0_2015()))
        .unwrap();
    let v0 = added.cid.to_string();
    let v1 = canonical(&added.cid).to_string();
    assert!(
        v0.starts_with("Qm") && v1.starts_with("bafybei"),
        "{v0} {v1}"
    );
    assert_eq!(added.pin.as_deref(), Some(v1.as_str()));
    let reader = StoreReader::open(stage.store_path()).unwrap();
    for text in [&v0, &v1] {
        assert!(reader.read(&target(text)).unwrap() == content);
        assert!(store.has(&target(text)).unwrap());
    }
    let listed = reader.objects().unwrap();
    assert_eq!(listed[0].cid, added.cid);
    assert_eq!(listed[0].pins.len(), 1);
    assert_eq!(reader.stat(&target(&v0)).unwrap().blocks, added.blocks);
    // The same again is the same pin.
    let again = store
        .add_reader(&content[..], &under(Profile::unixfs_v0_2015()))
        .unwrap();
    assert_eq!(again.pin, added.pin);
    store.unpin(&target(&v0)).unwrap();
    store.remove(&target(&v0), &Default::default()).unwrap();
    assert!(!reader.has(&target(&v1)).unwrap());
}

#[test]
fn a_checkpoint_in_framed_leaves_is_announced_and_loads_by_copying() {
    let stage = Stage::new();
    let store = stage.create();
    let options = under(Profile::unixfs_v0_2015());
    let added = store.add_path(SINGLE, &options).unwrap();
    let [AddNote::LoadsByCopying { files: 1, example }] = &added.notes[..] else {
        panic!("{:?}", added.notes);
    };
    assert!(example.ends_with("silero_vad_16k.safetensors"));
    assert!(added.notes[0].to_string().contains("load by copying"));
    let raw = Profile::unixfs_v0_2015()
        .with_leaves(LeafFormat::Raw)
        .unwrap();
    assert_eq!(hash_path(SINGLE, &under(raw)).unwrap().notes, []);

    let loaded =
        load_checkpoint_and_dispatch(&store, &of(added.cid), LoadOptions::default()).unwrap();
    assert_adds_up(&loaded);
    let expected = by_the_crate(&[Path::new(SINGLE).join("silero_vad_16k.safetensors")]);
    assert_same(&on_host(&loaded), &expected);
    let spread = loaded.report().copied_bytes;
    assert!(spread > 0, "framed chunks are not contiguous");
}

#[test]
fn blocks_of_blake3_are_made_and_checked() {
    let profile = Profile::default().with_hash(HashFunction::Blake3).unwrap();
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(5, 3 * MIB + 1);
    let added = store.add_reader(&content[..], &under(profile)).unwrap();
    assert_eq!(added.cid.hash().code(), BLAKE3);
    assert!(read(&store, &of(added.cid)) == content);
    let plain = store
        .add_reader(&content[..], &AddOptions::default())
        .unwrap();
    assert_eq!(
        plain.new_bytes,
        content.len() as u64,
        "once for each hash function"
    );
    let block = store.get_block(&added.cid).unwrap();
    assert_eq!(block.cid(), &added.cid);
}

/// A safetensors file of bytes; tensor `number` of checkpoint `seed` where it is changed, else of 0.
pub(crate) fn checkpoint(
    sizes: &[usize],
    changed: &[usize],
    seed: u64,
    header_bytes: usize,
) -> Vec<u8> {
    let names: Vec<String> = (0..sizes.len()).map(|n| format!("t{n:03}")).collect();
    let shapes: Vec<[usize; 1]> = sizes.iter().map(|len| [*len]).collect();
    let mut data = Vec::new();
    for (number, len) in sizes.iter().enumerate() {
        let of = if changed.contains(&number) { seed } else { 0 };
        data.extend(bytes(of * 1_000 + number as u64 + 1, *len));
    }
    let tensors: Vec<_> = names
        .iter()
        .zip(&shapes)
        .map(|(name, shape)| (name.as_str(), Dtype::U8, &shape[..]))
        .collect();
    file_from(&tensors, header_bytes, &data)
}

pub(crate) fn sizes() -> Vec<usize> {
    (0..40)
        .map(|n| match n % 4 {
            0 => 2 * MIB + 12_345 * n,
            1 => 4_096,
            2 => 300_000 + n,
            _ => 64,
        })
        .collect()
}

fn add(store: &Store, content: &[u8]) -> AddReport {
    store.add_reader(content, &under(tensor_v1())).unwrap()
}

#[test]
fn a_fine_tune_adds_the_tensors_that_changed() {
    let stage = Stage::new();
    let store = stage.create();
    let sizes = sizes();
    add(&store, &checkpoint(&sizes, &[], 1, 8_192));
    let changed = [4, 10, 20, 33];
    let tuned = checkpoint(&sizes, &changed, 2, 8_192);
    let added = add(&store, &tuned);
    let changed_bytes: usize = changed.iter().map(|n| sizes[*n]).sum();
    let header_and_small = 8_192 + 3 * 70_000;
    assert!(
        added.new_bytes <= (changed_bytes + header_and_small) as u64,
        "{} of {changed_bytes}",
        added.new_bytes
    );
    assert!(read(&store, &of(added.cid)) == tuned);
}

#[test]
fn the_same_tensors_in_other_shards_and_another_order_are_stored_once() {
    let stage = Stage::new();
    let store = stage.create();
    let sizes: Vec<usize> = (0..12).map(|n| 70_000 + 200_000 * n).collect();
    let whole = checkpoint(&sizes, &[], 1, 8_192);
    let first = add(&store, &whole);
    // The last seven tensors alone, behind a header of another length.
    let names: Vec<String> = (5..12).map(|n| format!("t{n:03}")).collect();
    let shapes: Vec<[usize; 1]> = sizes[5..].iter().map(|len| [*len]).collect();
    let mut tensors: Vec<_> = names
        .iter()
        .zip(&shapes)
        .map(|(name, shape)| (name.as_str(), Dtype::U8, &shape[..]))
        .collect();
    tensors.reverse();
    let data: Vec<u8> = (5..12)
        .rev()
        .flat_map(|n| bytes(n as u64 + 1, sizes[n]))
        .collect();
    let shard = file_from(&tensors, 1_001, &data);
    let added = add(&store, &shard);
    assert_eq!(added.new_bytes, 1_001, "only the header is new");
    assert_eq!(first.shared_bytes, 0);
    assert!(read(&store, &of(added.cid)) == shard);
}

#[test]
fn tensors_cut_at_their_own_start_load_without_a_copy() {
    let stage = Stage::new();
    let store = stage.create();
    let sizes = sizes();
    for content in [
        checkpoint(&sizes, &[], 1, 8_192),
        checkpoint(&sizes, &[0, 8, 16, 21, 24], 2, 8_192),
    ] {
        let added = add(&store, &content);
        let loaded =
            load_checkpoint_and_dispatch(&store, &of(added.cid), LoadOptions::default()).unwrap();
        assert_adds_up(&loaded);
        let expected = crate::load_files::in_bytes(&content);
        assert_same(&on_host(&loaded), &expected);
        for (info, placed) in loaded.iter().filter(|(info, _)| info.bytes() > MIB as u64) {
            assert_eq!(placed.mapped().unwrap().copied(), None, "{}", info.name);
        }
    }
}

#[test]
fn a_stream_and_a_file_are_cut_alike() {
    let stage = Stage::new();
    let content = checkpoint(&sizes(), &[], 1, 8_192);
    for len in [0, 5, 8, 9, 8_000, 8_192, 8_193, 3 * MIB, content.len()] {
        let path = stage.file("part", &content[..len]);
        let by_path = hash_path(&path, &under(tensor_v1())).unwrap();
        let by_reader = hash_reader(&content[..len], &under(tensor_v1())).unwrap();
        let alone = cid_of_reader(&content[..len], &tensor_v1()).unwrap();
        assert_eq!(by_path.cid, by_reader.cid, "{len}");
        assert_eq!(by_path.cid, alone.cid, "{len}");
    }
}

#[test]
fn a_store_keeps_its_profile_with_all_its_settings() {
    let stage = Stage::new();
    let profile = Profile::unixfs_v0_2015()
        .with_cid_version(CidVersion::V1)
        .and_then(|p| p.with_hash(HashFunction::Blake3))
        .and_then(|p| p.with_chunker(Chunker::TensorV1))
        .unwrap();
    let mut options = ipfs_accelerate::StoreOptions::default();
    options.profile = profile.clone();
    drop(stage.create_with(options));
    assert_eq!(stage.open().profile(), &profile);
}
