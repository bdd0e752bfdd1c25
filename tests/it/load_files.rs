//! What the loader's tests load: the fixtures, and files written byte by byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ipfs_accelerate::checkpoint::{
    Device, Dispatched, Dtype, LoadError, LoadOptions, NoDevice, Source,
    load_checkpoint_and_dispatch,
};
use ipfs_accelerate::{AddOptions, Cid, Explain, PinAs, Store, Target};
use safetensors::SafeTensors;

/// Type, shape and bytes of each tensor.
pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub(crate) const SINGLE: &str = "fixtures/silero-vad";
pub(crate) const SHARDED: &str = "fixtures/silero-vad-sharded";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// A store in a folder of its own.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Adds files as one folder, which is not pinned.
    pub(crate) fn add_folder(&self, files: &[(&str, &[u8])]) -> Cid {
        let folder = tempfile::tempdir_in(self.dir.path()).unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let options = AddOptions::default().with_pin(PinAs::No);
        self.store.add_path(folder.path(), &options).unwrap().cid
    }

    pub(crate) fn add_file(&self, content: &[u8]) -> Cid {
        let options = AddOptions::default().with_pin(PinAs::No);
        self.store.add_reader(content, &options).unwrap().cid
    }

    pub(crate) fn load(&self, cid: Cid) -> Dispatched {
        load(&self.store, &cid.into())
    }
}

pub(crate) fn load(source: &impl Source, target: &Target) -> Dispatched {
    load_checkpoint_and_dispatch(source, target, LoadOptions::default()).unwrap()
}

pub(crate) fn load_error(source: &impl Source, target: &Target) -> LoadError {
    error_of(source, target, LoadOptions::<NoDevice>::default())
}

pub(crate) fn error_of<D: Device>(
    source: &impl Source,
    target: &Target,
    options: LoadOptions<D>,
) -> LoadError {
    match load_checkpoint_and_dispatch(source, target, options) {
        Ok(loaded) => panic!("{} tensors were loaded", loaded.len()),
        Err(error) => error,
    }
}

/// What the `safetensors` crate finds in files.
pub(crate) fn by_the_crate(files: &[PathBuf]) -> Tensors {
    let mut tensors = Tensors::new();
    for file in files {
        let content = fs::read(file).unwrap();
        tensors.extend(in_bytes(&content));
    }
    tensors
}

/// What the `safetensors` crate finds in the bytes of a file.
pub(crate) fn in_bytes(content: &[u8]) -> Tensors {
    let read = SafeTensors::deserialize(content).unwrap();
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (name.to_owned(), (dtype, shape, view.data().to_vec()))
    };
    read.iter().map(tensor).collect()
}

/// The `*.safetensors` directly in a folder.
pub(crate) fn shards_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut shards: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    shards.sort();
    assert!(!shards.is_empty(), "{} has no shards", folder.display());
    shards
}

/// Everything that was loaded to `cpu`.
pub(crate) fn on_host<H>(loaded: &Dispatched<H>) -> Tensors {
    let tensor = |(info, placed): (
        &ipfs_accelerate::checkpoint::TensorInfo,
        &ipfs_accelerate::Placed<H>,
    )| {
        let tensor = placed.mapped().expect("placed in memory");
        assert_eq!(tensor.info(), info);
        let view = tensor.view().unwrap();
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (info.name.to_string(), (dtype, shape, view.data().to_vec()))
    };
    loaded.iter().map(tensor).collect()
}

/// Compares without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(found: &Tensors, expected: &Tensors) {
    let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (name, (dtype, shape, bytes)) in expected {
        let (found_dtype, found_shape, found_bytes) = &found[name];
        assert_eq!((found_dtype, found_shape), (dtype, shape), "{name}");
        assert!(found_bytes == bytes, "{name} has other bytes");
    }
}

/// The sums of a report, which hold for every load.
#[track_caller]
pub(crate) fn assert_adds_up<H>(loaded: &Dispatched<H>) {
    let report = loaded.report();
    assert_eq!(report.tensors, loaded.len());
    assert_eq!(report.bytes, report.zero_copy_bytes + report.copied_bytes);
    assert_eq!(report.copied_bytes, report.copies.values().sum::<u64>());
    for device in &report.devices {
        let own = loaded
            .iter()
            .filter(|(info, _)| loaded.device_of(&info.name) == Some(&device.name));
        assert_eq!(device.tensors, own.count(), "{}", device.name);
    }
    let (tensors, bytes) = report
        .devices
        .iter()
        .fold((0, 0), |(tensors, bytes), device| {
            (tensors + device.tensors, bytes + device.bytes)
        });
    assert_eq!((tensors, bytes), (report.tensors, report.bytes));
    let stages = &report.stages;
    let sum = stages.resolve + stages.headers + stages.plan + stages.execute;
    assert!(sum <= report.seconds, "{sum} s of {} s", report.seconds);
}

/// Bytes that repeat nowhere, another row of them for each seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A header as given, and data after it.
pub(crate) fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A file whose tensors lie in the order given, with a header as long as is asked for, so that the
/// data begins at `data_start`.
pub(crate) fn file_from(
    tensors: &[(&str, Dtype, &[usize])],
    data_start: usize,
    data: &[u8],
) -> Vec<u8> {
    let mut at = 0;
    let entries: Vec<String> = (tensors.iter())
        .map(|(name, dtype, shape)| {
            let end = at + shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let dtype = serde_json::to_string(dtype).unwrap();
            let entry = format!(
                r#""{name}":{{"dtype":{dtype},"shape":{shape:?},"data_offsets":[{at},{end}]}}"#
            );
            at = end;
            entry
        })
        .collect();
    assert_eq!(at, data.len(), "the tensors take all the data");
    let header = format!("{{{}}}", entries.join(","));
    raw_file(&format!("{header:<width$}", width = data_start - 8), data)
}

/// A small good file with tensors of one row of bytes each.
pub(crate) fn small(names: &[&str]) -> Vec<u8> {
    let shape: &[usize] = &[4];
    let tensors: Vec<_> = names.iter().map(|name| (*name, Dtype::U8, shape)).collect();
    let data = noise(4 * names.len(), names.len() as u64);
    file_from(&tensors, 1024, &data)
}

/// An index over tensors and their shards.
pub(crate) fn index(places: &[(&str, &str)]) -> Vec<u8> {
    let map: BTreeMap<&str, &str> = places.iter().copied().collect();
    serde_json::to_vec(&serde_json::json!({ "weight_map": map })).unwrap()
}

/// Checks what every error of bad input says; returns its message.
#[track_caller]
pub(crate) fn assert_error(error: &LoadError, kind: &str, says: &[&str], hint: Option<&str>) {
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for part in says {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
    let found = error.hint();
    match (hint, &found) {
        (Some(part), Some(found)) => assert!(found.contains(part), "{part:?} is not in: {found}"),
        (Some(part), None) => panic!("no hint where {part:?} is wanted: {message}"),
        (None, _) => {}
    }
}
