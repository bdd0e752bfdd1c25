//! Any number of processes load from a store while one adds, removes and collects (I8): each sees the whole content
//! or is told that it is not there, and what it holds stays.

use std::path::Path;
use std::process::Stdio;

use ipfs_accelerate::checkpoint::{Dtype, LoadOptions, Residency, load_checkpoint_and_dispatch};
use ipfs_accelerate::{AddOptions, Cid, Explain, StoreError, StoreReader, Target};

use super::gc::{gc, remove};
use super::load_files::{Tensors, file_from, in_bytes, noise, on_host};
use super::store_kit::*;

const LOADER: &str = "IPFS_ACCELERATE_TEST_LOADER";
const PROCESSES: usize = 3;

/// A checkpoint whose first tensor another one may share.
pub(crate) fn checkpoint(shared: u64, own: u64) -> Vec<u8> {
    let half: &[usize] = &[2 << 20];
    let tensors = [("shared", Dtype::U8, half), ("own", Dtype::U8, half)];
    let data = [noise(2 << 20, shared), noise(2 << 20, own)].concat();
    file_from(&tensors, 4_096, &data)
}

/// Run as a process of its own by the test below.
#[test]
fn a_process_that_loads() {
    let Some(told) = is_child(LOADER) else { return };
    let [store, kept, comes_and_goes, stop]: [&str; 4] =
        told.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let kept = (kept.parse::<Target>().unwrap(), checkpoint(1, 2));
    let moving = (comes_and_goes.parse::<Target>().unwrap(), checkpoint(1, 3));
    let (mut whole, mut absent) = (0, 0);
    while !Path::new(stop).exists() {
        for residency in [Residency::Lazy, Residency::Populate, Residency::Copy] {
            assert!(load(store, &kept, residency), "what is kept is not there");
            match load(store, &moving, residency) {
                true => whole += 1,
                false => absent += 1,
            }
        }
        // A reader that stays, and one file of it that is held while the store moves on.
        let reader = StoreReader::open(store).unwrap();
        match reader.open_file(&moving.0) {
            Ok(file) => {
                let map = file.map().unwrap();
                for _ in 0..3 {
                    assert!(map.get(0..file.size()).unwrap() == moving.1);
                    assert!(file.read().unwrap() == moving.1);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            Err(StoreError::NotPublished { .. }) => absent += 1,
            Err(e) => panic!("{e}"),
        }
    }
    println!("\nsays: {whole} {absent}");
}

/// Whether it was there; what is there is whole.
fn load(store: &str, (target, content): &(Target, Vec<u8>), residency: Residency) -> bool {
    let reader = StoreReader::open(store).unwrap();
    let options = LoadOptions::default().with_residency(residency);
    match load_checkpoint_and_dispatch(&reader, target, options) {
        Ok(loaded) => {
            let (found, expected): (Tensors, _) = (on_host(&loaded), in_bytes(content));
            assert!(found == expected, "{residency:?}: other bytes");
            true
        }
        Err(e) => {
            assert_eq!(e.kind(), "not_published", "{residency:?}: {e}");
            false
        }
    }
}

#[test]
fn processes_load_whole_or_not_at_all_beside_one_that_adds_removes_and_collects() {
    let stage = Stage::new();
    let store = stage.create();
    let add = |content: &[u8], options: &AddOptions| -> Cid {
        store.add_reader(content, options).unwrap().cid
    };
    let kept = add(&checkpoint(1, 2), &AddOptions::default().named("kept"));
    let moving = checkpoint(1, 3);
    let moving_cid = add(&moving, &unpinned());
    let stop = stage.path("stop");
    let told = [
        stage.store_path().to_str().unwrap(),
        &kept.to_string(),
        &moving_cid.to_string(),
        stop.to_str().unwrap(),
    ]
    .join("\n");
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            again_in_a_child("sharing_processes::a_process_that_loads", LOADER, &told)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let begun = std::time::Instant::now();
    let mut freed = 0;
    // On a busy machine all of them may hold it each time.
    let seconds = |seconds| std::time::Duration::from_secs(seconds);
    while begun.elapsed() < seconds(4) || (freed == 0 && begun.elapsed() < seconds(60)) {
        std::thread::sleep(std::time::Duration::from_millis(50));
        // Only its own half goes, as a hole in its pack or with it.
        remove(&store, moving_cid);
        freed += gc(&store).freed_bytes;
        assert_eq!(add(&moving, &unpinned()), moving_cid);
        freed += gc(&store).freed_bytes;
    }
    std::fs::write(stop, "").unwrap();
    let (mut whole, mut absent) = (0, 0);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        let said = String::from_utf8(output.stdout).unwrap();
        let said = said.split("says: ").nth(1).unwrap();
        let mut numbers = said.split_whitespace().map(|n| n.parse::<u64>().unwrap());
        whole += numbers.next().unwrap();
        absent += numbers.next().unwrap();
    }
    println!("{whole} loads, {absent} absences, {freed} bytes freed");
    assert!(whole > 0 && freed > 0, "{whole} loads, {freed} bytes freed");
    drop(gc(&store));
    assert_eq!(read(&store, &of(moving_cid)), moving);
    assert_eq!(read(&store, &target("kept")), checkpoint(1, 2));
}
