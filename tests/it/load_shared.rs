//! Checkpoints whose blocks lie all over the store: stitched, gathered where they must be, and inside the budget of
//! maps that a process has.

use ipfs_accelerate::checkpoint::{Dtype, LoadOptions, Residency, load_checkpoint_and_dispatch};
use ipfs_accelerate::{AddOptions, CopyReason, PinAs, Profile, StoreReader, Target};

use crate::load_files::*;

const CHUNK: usize = 4096;

/// More chunks than a process may hold maps for tensors: a quarter of `vm.max_map_count`.
fn more_than_the_budget() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    text.trim().parse::<usize>().unwrap() / 4 + 1_000
}

fn small_chunks() -> AddOptions {
    AddOptions::default()
        .with_profile(Profile::default().with_chunk_bytes(CHUNK).unwrap())
        .with_pin(PinAs::No)
}

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

#[test]
fn a_checkpoint_of_zeros_is_one_block_on_disk_and_one_map_in_memory() {
    let scratch = Scratch::new();
    let chunks = more_than_the_budget();
    let half = chunks / 2 * CHUNK;
    let tensors: [(&str, Dtype, &[usize]); 3] = [
        ("a", Dtype::U8, &[half]),
        ("b", Dtype::F32, &[half / 4]),
        ("scale", Dtype::F32, &[1]),
    ];
    let mut data = vec![0; 2 * half];
    data.extend(7.5_f32.to_le_bytes());
    let file = file_from(&tensors, 2 * CHUNK, &data);
    let added = scratch
        .store
        .add_reader(&file[..], &small_chunks())
        .unwrap();
    assert!(added.new_bytes < 5 * CHUNK as u64, "{added:?}");
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let target: Target = added.cid.into();
    for residency in [Residency::Lazy, Residency::Populate, Residency::Copy] {
        for verify in [false, true] {
            let mut options = LoadOptions::default().with_residency(residency);
            options.verify = verify;
            let before = maps();
            let loaded = load_checkpoint_and_dispatch(&reader, &target, options).unwrap();
            if residency != Residency::Copy {
                // Other tests of this process map too, but not thousands.
                assert!(maps() < before + 2_000, "{} maps from {before}", maps());
                assert_eq!(loaded.report().copied_bytes, 0);
            }
            for name in ["a", "b"] {
                let tensor = loaded.tensor(name).unwrap();
                assert!(tensor.len() == half && tensor.iter().all(|byte| *byte == 0));
            }
            assert_eq!(loaded.tensor("scale").unwrap()[..], 7.5_f32.to_le_bytes());
        }
    }
}

#[test]
fn a_checkpoint_that_alternates_between_two_others_keeps_to_the_budget_of_maps() {
    let scratch = Scratch::new();
    let chunks = more_than_the_budget();
    let one = noise(chunks / 2 * CHUNK, 1);
    let two = noise(chunks / 2 * CHUNK, 2);
    for source in [&one, &two] {
        scratch
            .store
            .add_reader(&source[..], &small_chunks())
            .unwrap();
    }
    let mut data = Vec::with_capacity(one.len() + two.len());
    for (a, b) in one.chunks(CHUNK).zip(two.chunks(CHUNK)) {
        data.extend_from_slice(a);
        data.extend_from_slice(b);
    }
    let part = data.len() / 4;
    let shape: &[usize] = &[part];
    let file = file_from(
        &["a", "b", "c", "d"].map(|name| (name, Dtype::U8, shape)),
        CHUNK,
        &data,
    );
    let added = scratch
        .store
        .add_reader(&file[..], &small_chunks())
        .unwrap();
    assert_eq!(added.new_bytes, CHUNK as u64, "the header only");
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let expected = in_bytes(&file);
    for verify in [false, true] {
        let mut options = LoadOptions::default().with_residency(Residency::Populate);
        options.verify = verify;
        let loaded =
            load_checkpoint_and_dispatch(&reader, &added.cid.into(), options.clone()).unwrap();
        assert_same(&on_host(&loaded), &expected);
        assert_adds_up(&loaded);
        let report = loaded.report();
        // What the budget holds is stitched; other tests of this process may hold some of it.
        let copied = report.copies.get(&CopyReason::MapBudget).copied();
        assert!(
            copied.is_some_and(|bytes| bytes >= part as u64),
            "{:?}",
            report.copies
        );
        assert_eq!(report.copies.len(), 1);
        // Copies are bounded like all others.
        options.memory_cap = Some(part as u64 - 1);
        let error = error_of(&reader, &added.cid.into(), options);
        assert_error(&error, "memory_cap", &["copied for `cpu`"], None);
    }
    // The maps are given back: again and again, as if for the first time.
    let base = maps();
    for _ in 0..3 {
        let loaded =
            load_checkpoint_and_dispatch(&reader, &added.cid.into(), LoadOptions::default())
                .unwrap();
        drop(loaded);
        assert!(maps() < base + 2_000);
    }
}
