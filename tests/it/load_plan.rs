//! Plans: what a load would do, found out from headers and limits alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ipfs_accelerate::checkpoint::{
    Device, DeviceError, DeviceMap, DevicePlan, LoadOptions, NoDevice, PlainFolder, Select,
    TensorBytes, load_checkpoint_and_dispatch, plan_checkpoint,
};
use ipfs_accelerate::{AddOptions, LoadPlan, Source, StoreReader, Target};

use crate::load_files::*;
use crate::store_kit::assert_passed;

#[path = "../../benches/tools/checkpoint.rs"]
pub(crate) mod checkpoint;

use checkpoint::{Spec, synthesize};

/// Where the planning process finds the checkpoint.
const TASK: &str = "IPFS_ACCELERATE_TEST_PLAN";

/// Takes what fits, and tells nobody.
struct Shelf {
    bytes: u64,
}

impl Device for Shelf {
    type Handle = u64;

    fn capacity_bytes(&self) -> Option<u64> {
        Some(self.bytes)
    }
    fn begin(&self, plan: &DevicePlan) -> Result<(), DeviceError> {
        assert!(plan.bytes > 0 && plan.bytes <= self.bytes, "{plan:?}");
        Ok(())
    }
    fn place(&self, tensor: TensorBytes<'_>) -> Result<u64, DeviceError> {
        Ok(tensor.bytes().len() as u64)
    }
    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn abort(&self) {}
}

fn shelves(sizes: &[u64]) -> LoadOptions<Shelf> {
    let shelf = |(number, bytes): (usize, &u64)| {
        (format!("shelf:{number}"), Arc::new(Shelf { bytes: *bytes }))
    };
    LoadOptions::with_devices(sizes.iter().enumerate().map(shelf).collect())
}

/// A Llama of four layers and 3 MB in three shards, in a store.
fn llama() -> (Scratch, Target) {
    let scratch = Scratch::new();
    let folder = scratch.path("llama");
    let spec = Spec {
        size_bytes: 3_000_000,
        shards: 3,
        layers: 4,
        ..Spec::default()
    };
    synthesize(&folder, &spec).unwrap();
    let added = scratch
        .store
        .add_path(&folder, &AddOptions::default())
        .unwrap();
    (scratch, added.cid.into())
}

/// Plans, loads, holds one against the other, and gives the plan.
#[track_caller]
fn plan_and_load<D: Device>(
    source: &impl Source,
    target: &Target,
    options: &LoadOptions<D>,
) -> LoadPlan {
    let plan = plan_checkpoint(source, target, options).unwrap();
    let loaded = load_checkpoint_and_dispatch(source, target, options.clone()).unwrap();
    assert_adds_up(&loaded);
    assert_eq!(plan.tensors.len(), loaded.len());
    for (planned, (info, _)) in plan.tensors.iter().zip(loaded.iter()) {
        assert_eq!(planned.name, *info.name);
        assert_eq!(loaded.device_of(&info.name), Some(&*planned.device));
    }
    let devices = loaded.report().devices.iter();
    assert_eq!(plan.plan.devices.len(), devices.len());
    for (planned, device) in plan.plan.devices.iter().zip(devices) {
        assert_eq!(planned.name, device.name);
        assert_eq!(
            (planned.tensors, planned.bytes),
            (device.tensors, device.bytes)
        );
        let own = plan
            .tensors
            .iter()
            .filter(|tensor| tensor.device == planned.name);
        assert_eq!(own.map(|tensor| tensor.bytes).sum::<u64>(), planned.bytes);
        assert!(
            planned.limit.is_none_or(|limit| planned.bytes <= limit),
            "{planned:?}"
        );
    }
    plan
}

#[test]
fn a_load_does_what_the_plan_says() {
    let (scratch, target) = llama();
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let map = DeviceMap::from_json(
        r#"{"": "disk", "model.layers": "shelf:0", "model.layers.2": "cpu", "lm_head": "shelf:1"}"#,
    );
    let map = map.unwrap();
    for device_map in [DeviceMap::Auto, DeviceMap::Sequential, map] {
        for sizes in [[3_000_000, 3_000_000], [2_500_000, 900_000]] {
            let options = shelves(&sizes)
                .with_device_map(device_map.clone())
                .with_max_memory("cpu", 3_000_000);
            let plan = plan_and_load(&scratch.store, &target, &options);
            let again = plan_and_load(&reader, &target, &options);
            assert!(plan == again, "another plan from the reader");
            let half = options.with_select(|info| match info.shape[..] {
                [rows, ..] if rows > 1 => Select::Slice {
                    dim: 0,
                    range: 0..rows / 2,
                },
                _ => Select::Skip,
            });
            let less = plan_and_load(&scratch.store, &target, &half);
            let bytes = |plan: &LoadPlan| plan.tensors.iter().map(|t| t.bytes).sum::<u64>();
            assert!(bytes(&less) <= bytes(&plan) / 2);
        }
    }
}

#[test]
fn a_plan_names_shard_device_and_size_of_every_tensor() {
    let (scratch, target) = llama();
    let plan = plan_checkpoint(&scratch.store, &target, &shelves(&[3_000_000])).unwrap();
    let shards = shards_of(&scratch.path("llama"));
    let mut expected = BTreeMap::new();
    for shard in &shards {
        let name = shard.file_name().unwrap().to_str().unwrap().to_owned();
        for (tensor, (_, _, bytes)) in by_the_crate(std::slice::from_ref(shard)) {
            expected.insert(tensor, (name.clone(), bytes.len() as u64));
        }
    }
    let found: BTreeMap<String, (String, u64)> = (plan.tensors.iter())
        .map(|tensor| (tensor.name.clone(), (tensor.shard.clone(), tensor.bytes)))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), plan.tensors.len());
    assert!(plan.tensors.iter().all(|tensor| tensor.device == "shelf:0"));
    let text = plan.plan.to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.starts_with("shelf:0") && text.contains("of 3,000,000"),
        "{text}"
    );
}

#[test]
fn limits_are_kept_and_layers_stay_whole() {
    let (scratch, target) = llama();
    let layer = |name: &str| {
        let rest = name.strip_prefix("model.layers.")?;
        rest.split_once('.').map(|(number, _)| number.to_owned())
    };
    for sizes in [
        vec![1_200_000, 1_200_000, 1_200_000],
        vec![2_000_000, 2_000_000],
        vec![900_000],
    ] {
        for device_map in [DeviceMap::Auto, DeviceMap::Sequential] {
            let options = shelves(&sizes)
                .with_device_map(device_map)
                .with_max_memory("cpu", 2_900_000);
            let plan = plan_and_load(&scratch.store, &target, &options);
            let mut devices: BTreeMap<String, &str> = BTreeMap::new();
            for tensor in &plan.tensors {
                if let Some(layer) = layer(&tensor.name) {
                    let device = devices.entry(layer).or_insert(&tensor.device);
                    assert_eq!(*device, tensor.device, "{} of {sizes:?}", tensor.name);
                }
            }
            assert_eq!(devices.len(), 4);
        }
    }
    let balanced = shelves(&[3_000_000, 3_000_000]);
    let plan = plan_and_load(&scratch.store, &target, &balanced);
    let [first, second, ..] = &plan.plan.devices[..] else {
        panic!("{plan:?}")
    };
    assert!(first.bytes.abs_diff(second.bytes) < 1_000_000, "{plan:?}");
    let in_turn = balanced.with_device_map(DeviceMap::Sequential);
    let plan = plan_and_load(&scratch.store, &target, &in_turn);
    assert_eq!(plan.plan.devices[1].tensors, 0);
}

/// A counter of this process's in a file of `/proc`, in bytes.
fn counter(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn plan_of_64_gib(folder: &str) {
    let plain = PlainFolder::assume_unchanging(folder);
    let options = LoadOptions::<NoDevice>::default().with_max_memory("cpu", 40 << 30);
    let before = counter("/proc/self/io", "rchar:");
    let plan = plan_checkpoint(&plain, &".".parse().unwrap(), &options).unwrap();
    let read = counter("/proc/self/io", "rchar:") - before;
    assert!(read < 1 << 20, "{read} bytes were read");
    let [cpu, disk] = &plan.plan.devices[..] else {
        panic!("{plan:?}")
    };
    assert_eq!(cpu.tensors + disk.tensors, 399);
    assert!(cpu.bytes > 38 << 30 && cpu.bytes <= 40 << 30, "{cpu:?}");
    assert!(disk.bytes > 23 << 30, "{disk:?}");
    // A lazy load reads no more than that, and takes no memory either.
    plan_and_load(&plain, &".".parse().unwrap(), &options);
    let read = counter("/proc/self/io", "rchar:") - before;
    assert!(read < 3 << 20, "{read} bytes were read");
    let peak_kib = counter("/proc/self/status", "VmHWM:");
    assert!(peak_kib < 128 << 10, "{peak_kib} KiB");
}

/// In a process of its own, whose reads are this plan's.
#[test]
fn a_plan_and_a_lazy_load_of_64_gib_read_no_payload() {
    if let Ok(folder) = std::env::var(TASK) {
        return plan_of_64_gib(&folder);
    }
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec {
        size_bytes: 64 << 30,
        sparse: true,
        ..Spec::default()
    };
    let made = synthesize(dir.path(), &spec).unwrap();
    assert!(made.payload_bytes > 63 << 30);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", std::thread::current().name().unwrap()])
        .env(TASK, dir.path())
        .output()
        .unwrap();
    assert_passed(&output);
}

#[test]
fn planning_a_fixture_equals_loading_it() {
    let folder = Path::new(SHARDED);
    let total: u64 = by_the_crate(&shards_of(folder))
        .values()
        .map(|t| t.2.len() as u64)
        .sum();
    let plain = PlainFolder::assume_unchanging(folder);
    for cpu in [0, total / 3, total - 1, total] {
        let options = LoadOptions::default().with_max_memory("cpu", cpu);
        let plan = plan_and_load(&plain, &".".parse().unwrap(), &options);
        assert_eq!(plan.plan.devices[1].tensors == 0, cpu == total, "{plan:?}");
    }
}

#[test]
fn a_device_map_is_a_regular_file_of_a_sensible_size() {
    use ipfs_accelerate::{DeviceMap, Explain};
    for path in ["/dev/zero", "/", "/nothing/here.json"] {
        let error = DeviceMap::from_file(path).unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
        assert!(!error.kind().is_empty());
    }
}

#[test]
fn a_huge_number_of_threads_is_cut_down() {
    let folder = ipfs_accelerate::PlainFolder::assume_unchanging("fixtures/silero-vad");
    let mut options = ipfs_accelerate::LoadOptions::default();
    options.threads = 1_000_000;
    let plan = ipfs_accelerate::plan_checkpoint(&folder, &".".parse().unwrap(), &options).unwrap();
    assert_eq!(plan.tensors.len(), 15);
}
