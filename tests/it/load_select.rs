//! Loading a part: whole tensors left out, and slices of each, as tensor parallelism needs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ipfs_accelerate::checkpoint::{
    Dtype, LoadOptions, Select, TensorInfo, load_checkpoint_and_dispatch, plan_checkpoint,
};
use ipfs_accelerate::{AddOptions, CopyReason, StoreReader};

use crate::load_files::*;

const RANKS: usize = 8;
/// Where a rank finds what it is to do: store, target, dimension, rank and output, a line each.
const TASK: &str = "IPFS_ACCELERATE_TEST_RANK";

/// The share of a rank; ranks beyond a short dimension get nothing.
fn share(len: usize, rank: usize) -> std::ops::Range<usize> {
    len * rank / RANKS..len * (rank + 1) / RANKS
}

/// Rank by rank along one dimension; what does not have it is whole at the first rank.
fn part(info: &TensorInfo, dim: usize, rank: usize) -> Select {
    match info.shape.get(dim) {
        Some(&len) if !share(len, rank).is_empty() => Select::Slice {
            dim,
            range: share(len, rank),
        },
        None if rank == 0 => Select::Whole,
        _ => Select::Skip,
    }
}

fn rank(task: &str) {
    let lines: Vec<&str> = task.lines().collect();
    let [store, target, dim, rank, output] = lines[..] else {
        panic!("{task}")
    };
    let (dim, rank): (usize, usize) = (dim.parse().unwrap(), rank.parse().unwrap());
    let reader = StoreReader::open(store).unwrap();
    let options = LoadOptions::default().with_select(move |info| part(info, dim, rank));
    let loaded = load_checkpoint_and_dispatch(&reader, &target.parse().unwrap(), options).unwrap();
    assert_adds_up(&loaded);
    let copies = match dim {
        0 => BTreeMap::new(),
        _ => BTreeMap::from([(CopyReason::Gathered, loaded.report().copied_bytes)]),
    };
    assert_eq!(
        loaded.report().copies,
        copies,
        "dimension {dim}, rank {rank}"
    );
    fs::create_dir_all(output).unwrap();
    for (info, placed) in loaded.iter() {
        let tensor = placed.mapped().unwrap();
        tensor.view().expect("as many bytes as its shape asks for");
        fs::write(Path::new(output).join(&*info.name), tensor.bytes()).unwrap();
    }
}

/// Puts the ranks' parts together again: per row of the outer dimensions, one piece from each rank.
fn put_together(shape: &[usize], element: usize, dim: usize, parts: &[Vec<u8>]) -> Vec<u8> {
    let rows: usize = shape[..dim].iter().product();
    let mut whole = Vec::new();
    for row in 0..rows {
        for part in parts {
            let piece = part.len() / rows;
            whole.extend(&part[row * piece..][..piece]);
        }
    }
    assert_eq!(whole.len(), shape.iter().product::<usize>() * element);
    whole
}

#[test]
fn eight_processes_put_the_checkpoint_together_again_byte_for_byte() {
    if let Ok(task) = std::env::var(TASK) {
        return rank(&task);
    }
    let scratch = Scratch::new();
    let cid = scratch
        .store
        .add_path(SHARDED, &AddOptions::default())
        .unwrap()
        .cid;
    let expected = by_the_crate(&shards_of(Path::new(SHARDED)));
    let test = std::thread::current().name().unwrap().to_owned();
    for dim in [0, 1] {
        let outputs: Vec<PathBuf> = (0..RANKS)
            .map(|rank| scratch.path(&format!("{dim}-{rank}")))
            .collect();
        let ranks: Vec<_> = (outputs.iter().enumerate())
            .map(|(rank, output)| {
                let store = scratch.store.path().display();
                let task = format!("{store}\n{cid}\n{dim}\n{rank}\n{}", output.display());
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", &test])
                    .env(TASK, task)
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for (rank, process) in ranks.into_iter().enumerate() {
            let output = process.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "rank {rank}: {text}");
            assert!(
                text.contains("1 passed"),
                "rank {rank} ran another test: {text}"
            );
        }
        let mut sliced = 0;
        for (name, (dtype, shape, bytes)) in &expected {
            let read = |output: &PathBuf| fs::read(output.join(name)).unwrap_or_default();
            let parts: Vec<Vec<u8>> = outputs.iter().map(read).collect();
            let whole = if shape.len() > dim {
                sliced += 1;
                put_together(shape, dtype.bitsize() / 8, dim, &parts)
            } else {
                parts.concat()
            };
            assert!(whole == *bytes, "{name} cut along dimension {dim}");
        }
        assert!(sliced > 4, "{sliced} tensors have dimension {dim}");
    }
}

#[test]
fn a_slice_of_dimension_0_is_borrowed_and_one_of_another_is_gathered() {
    let scratch = Scratch::new();
    let file = file_from(&[("m", Dtype::F32, &[6, 5, 4])], 1024, &noise(480, 8));
    let cid = scratch.add_file(&file);
    let whole = &in_bytes(&file)["m"].2;
    let cut = |dim, range: std::ops::Range<usize>| {
        let options = LoadOptions::default().with_select(move |_| Select::Slice {
            dim,
            range: range.clone(),
        });
        load_checkpoint_and_dispatch(&scratch.store, &cid.into(), options).unwrap()
    };

    let rows = cut(0, 2..5);
    let tensor = rows.tensor("m").unwrap();
    assert_eq!((tensor.copied(), tensor.shape()), (None, &[3, 5, 4][..]));
    assert!(tensor[..] == whole[160..400]);
    assert_eq!(rows.report().bytes, 240);
    assert_eq!(rows.report().zero_copy_bytes, 240);

    for (dim, range) in [(1, 1..3), (2, 3..4), (2, 0..3)] {
        let loaded = cut(dim, range.clone());
        let tensor = loaded.tensor("m").unwrap();
        assert_eq!(tensor.copied(), Some(CopyReason::Gathered));
        let mut expected: Vec<u8> = Vec::new();
        for element in 0..120 {
            let at = [element / 20, element / 4 % 5, element % 4];
            if range.contains(&at[dim]) {
                expected.extend(&whole[element * 4..][..4]);
            }
        }
        assert!(tensor[..] == expected, "{range:?} of dimension {dim}");
        assert_eq!(loaded.report().copied_bytes, expected.len() as u64);
        assert_eq!(
            loaded.report().copies.keys().collect::<Vec<_>>(),
            [&CopyReason::Gathered]
        );
        assert_adds_up(&loaded);
        assert_eq!(tensor.view().unwrap().shape()[dim], range.len());
    }
    // All of an inner dimension is the whole tensor, and nothing is copied.
    assert_eq!(cut(2, 0..4).report().copied_bytes, 0);
}

#[test]
fn what_is_skipped_is_neither_loaded_nor_counted() {
    let scratch = Scratch::new();
    let cid = scratch
        .store
        .add_path(SHARDED, &AddOptions::default())
        .unwrap()
        .cid;
    let all = scratch.load(cid);
    let only = |keep: fn(&str) -> bool| {
        LoadOptions::default().with_select(move |info| match keep(&info.name) {
            true => Select::Whole,
            false => Select::Skip,
        })
    };
    for keep in [
        (|name| name.ends_with("weight")) as fn(&str) -> bool,
        |name| !name.ends_with("weight"),
        |_| false,
    ] {
        let options = only(keep);
        let planned = plan_checkpoint(&scratch.store, &cid.into(), &options).unwrap();
        let loaded = load_checkpoint_and_dispatch(&scratch.store, &cid.into(), options).unwrap();
        let kept: Vec<_> = all.iter().filter(|(info, _)| keep(&info.name)).collect();
        let bytes: u64 = kept.iter().map(|(info, _)| info.bytes()).sum();
        assert_eq!((loaded.len(), loaded.report().bytes), (kept.len(), bytes));
        assert_eq!(planned.tensors.len(), kept.len());
        assert_eq!(planned.tensors.iter().map(|t| t.bytes).sum::<u64>(), bytes);
        for (info, placed) in kept {
            let found = loaded.tensor(&info.name).unwrap();
            assert!(found.bytes() == placed.mapped().unwrap().bytes());
        }
        assert_adds_up(&loaded);
    }
    assert!(all.len() > 8);
}

#[test]
fn selected_bytes_are_what_budgets_are_held_against() {
    let scratch = Scratch::new();
    let file = file_from(&[("m", Dtype::U8, &[10, 10])], 1024, &noise(100, 2));
    let target = scratch.add_file(&file).into();
    for dim in [0, 1] {
        let half = move |_: &TensorInfo| Select::Slice { dim, range: 0..5 };
        let options = LoadOptions::default()
            .with_select(half)
            .with_max_memory("disk", 0)
            .with_max_memory("cpu", 50);
        let loaded =
            load_checkpoint_and_dispatch(&scratch.store, &target, options.clone()).unwrap();
        assert_eq!(loaded.report().devices[0].bytes, 50);
        let error = error_of(&scratch.store, &target, options.with_max_memory("cpu", 49));
        assert_error(
            &error,
            "does_not_fit",
            &["50 bytes", "`m`", "49 bytes"],
            Some("limit"),
        );
    }
}

#[test]
fn a_slice_that_is_left_on_disk_is_read_when_it_is_asked_for() {
    let scratch = Scratch::new();
    let file = file_from(&[("m", Dtype::U8, &[4, 4])], 1024, &noise(16, 2));
    let target = scratch.add_file(&file).into();
    let whole = &in_bytes(&file)["m"].2;
    for (dim, expected, copied) in [
        (0, whole[4..12].to_vec(), None),
        (
            1,
            whole.chunks(4).flat_map(|row| row[1..3].to_vec()).collect(),
            Some(CopyReason::Gathered),
        ),
    ] {
        let options = LoadOptions::default()
            .with_max_memory("cpu", 0)
            .with_select(move |_| Select::Slice { dim, range: 1..3 });
        let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
        assert_eq!(loaded.device_of("m"), Some("disk"));
        let tensor = loaded.get("m").unwrap().disk().unwrap().load().unwrap();
        assert!(tensor[..] == expected);
        assert_eq!(tensor.copied(), copied);
    }
}

#[test]
fn a_selection_that_does_not_exist_names_tensor_and_shape() {
    let scratch = Scratch::new();
    let file = file_from(
        &[
            ("m", Dtype::F32, &[6, 5]),
            ("four.bits", Dtype::F4, &[3, 2]),
        ],
        1024,
        &noise(123, 8),
    );
    let cid = scratch.add_folder(&[("model.safetensors", &file)]);
    let error = |tensor: &'static str, dim, range: std::ops::Range<usize>| {
        let options = LoadOptions::default().with_select(move |info| match &*info.name == tensor {
            true => Select::Slice {
                dim,
                range: range.clone(),
            },
            false => Select::Whole,
        });
        let planned = plan_checkpoint(&scratch.store, &cid.into(), &options).unwrap_err();
        let error = error_of(&scratch.store, &cid.into(), options);
        assert_eq!(planned.to_string(), error.to_string());
        error
    };
    let says = |error, parts: &[&str]| assert_error(&error, "wrong_slice", parts, None);
    says(
        error("m", 2, 0..1),
        &["model.safetensors", "`m`", "no dimension 2", "[6, 5]"],
    );
    says(
        error("m", 0, 4..7),
        &["`m`", "4..7", "dimension 0", "6 elements"],
    );
    says(
        error("m", 1, 2..2),
        &["`m`", "2..2", "dimension 1", "5 elements"],
    );
    let backwards = std::ops::Range { start: 3, end: 1 };
    says(error("m", 1, backwards), &["`m`", "3..1"]);
    says(
        error("four.bits", 1, 0..1),
        &["`four.bits`", "0..1", "cuts through a byte", "F4"],
    );
}

#[test]
fn the_selection_is_asked_once_for_each_tensor() {
    let scratch = Scratch::new();
    let cid = scratch
        .store
        .add_path(SINGLE, &AddOptions::default())
        .unwrap()
        .cid;
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ask = Arc::clone(&asked);
    let options = LoadOptions::default().with_select(move |info| {
        ask.lock().unwrap().push(info.name.to_string());
        Select::Whole
    });
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &cid.into(), options).unwrap();
    let names: Vec<String> = loaded
        .iter()
        .map(|(info, _)| info.name.to_string())
        .collect();
    assert_eq!(*asked.lock().unwrap(), names);
}
