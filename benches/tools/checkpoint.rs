//! Checkpoints for the tests, the benches and the two tools beside this file:
//! [`synthesize`] makes one of any size, [`shard`] splits one that exists.
//!
//! Both write what Hugging Face tools write: `model-00001-of-0000N.safetensors`
//! with `model.safetensors.index.json`, or a lone `model.safetensors`. Both
//! refuse to replace a file, depend on nothing but their arguments, hold a
//! small buffer however large the checkpoint, and write the index last, so
//! that a sharded folder with an index is a whole one.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "several programs include this file, and each uses its part of it"
)]

// With a path, they are found from wherever this file is included.
#[path = "header.rs"]
mod header;
#[path = "llama.rs"]
mod llama;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::json;

use header::{Header, bytes};
pub use llama::Payload;
use llama::{Architecture, bf16_bytes};

const INDEX_NAME: &str = "model.safetensors.index.json";
const CONFIG_NAME: &str = "config.json";

/// A multiple of 8, as [`Payload::fill`] wants.
const BUFFER_BYTES: usize = 1 << 20;

/// What [`synthesize`] is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Payload in bytes; what is written is at most 1 % less, and never more.
    pub size_bytes: u64,
    /// One shard is a lone `model.safetensors` without an index.
    pub shards: usize,
    /// Each layer has nine tensors; three more stand outside the layers.
    pub layers: usize,
    /// Another seed gives the same tensors with other bytes.
    pub seed: u64,
    /// Leave the payload a hole: all zeros, and next to nothing on disk.
    pub sparse: bool,
    /// Every so many tensors one is of the next seed, as after a fine-tune; 0 for none.
    pub tuned_every: usize,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            size_bytes: 4 << 30,
            shards: 4,
            layers: 44,
            seed: 0,
            sparse: false,
            tuned_every: 0,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// In the order of the index.
    pub shards: Vec<PathBuf>,
    /// None for a lone `model.safetensors`.
    pub index: Option<PathBuf>,
    pub tensors: usize,
    /// Without the headers.
    pub payload_bytes: u64,
    /// All shards, headers included.
    pub shard_bytes: u64,
    /// Bytes of the tensors that [`Spec::tuned_every`] changed.
    pub tuned_bytes: u64,
    /// How many these are.
    pub tuned_tensors: usize,
}

/// Makes a checkpoint with the tensor names and proportions of a Llama model
/// in bf16: every value finite, between 2^-7 and 2 in magnitude, and no two
/// stretches of the payload alike. `dir` is created if it is not there.
pub fn synthesize(dir: &Path, spec: &Spec) -> io::Result<Summary> {
    let model = Architecture::of(spec)?;
    let tensors = model.tensors();
    let sizes: Vec<u64> = tensors.iter().map(|(_, shape)| bf16_bytes(shape)).collect();
    let ranges = shard_ranges(&sizes, spec.shards)?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);

    fs::create_dir_all(dir).map_err(at(dir))?;
    write_new(&dir.join(CONFIG_NAME), &pretty(&model.config(spec))?)?;

    let tuned: BTreeSet<String> = match spec.tuned_every {
        0 => BTreeSet::new(),
        every => {
            let names = tensors.iter().step_by(every);
            names.map(|(name, _)| name.clone()).collect()
        }
    };
    let mut written = Written::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    for (number, range) in ranges.iter().enumerate() {
        // A shard takes its tensors in the model's order and lays them out by
        // name, as save_pretrained does.
        let mut shard = tensors[range.clone()].to_vec();
        shard.sort();
        let header = Header::of_bf16(shard, metadata.clone());
        let path = dir.join(shard_name(number, ranges.len()));
        let mut file = header.create(&path)?;
        if spec.sparse {
            file.set_len(header.file_bytes()?).map_err(at(&path))?;
        } else {
            for (name, info) in &header.tensors {
                let is_tuned = tuned.contains(name);
                let mut payload = Payload::new(spec.seed + u64::from(is_tuned), name);
                if is_tuned {
                    written.tuned_bytes += bytes(info);
                    written.tuned_tensors += 1;
                }
                let mut left = info.data_offsets.1 - info.data_offsets.0;
                while left > 0 {
                    let part = &mut buffer[..left.min(BUFFER_BYTES)];
                    payload.fill(part);
                    file.write_all(part).map_err(at(&path))?;
                    left -= part.len();
                }
            }
        }
        written.add(path, &header)?;
    }
    written.finish(dir)
}

/// Splits one safetensors file into `shards` of about the same size, cut
/// between tensors in the order of the file. The tensors keep their bytes,
/// and every shard keeps the `__metadata__`.
pub fn shard(input: &Path, dir: &Path, shards: usize) -> io::Result<Summary> {
    let mut source = File::open(input).map_err(at(input))?;
    let (whole, data_start) = Header::read(&mut source).map_err(at(input))?;
    let sizes: Vec<u64> = whole.tensors.iter().map(|(_, info)| bytes(info)).collect();
    let ranges = shard_ranges(&sizes, shards)?;

    fs::create_dir_all(dir).map_err(at(dir))?;
    let mut written = Written::default();
    let mut position = data_start;
    source.seek(SeekFrom::Start(position)).map_err(at(input))?;
    for (number, range) in ranges.iter().enumerate() {
        let header = whole.part(range.clone());
        let path = dir.join(shard_name(number, ranges.len()));
        let mut file = header.create(&path)?;
        let len = header.data_bytes();
        let copied = io::copy(&mut (&mut source).take(len), &mut file).map_err(at(&path))?;
        if copied != len {
            return Err(at(input)(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the payload ends at byte {}", position + copied),
            )));
        }
        position += len;
        written.add(path, &header)?;
    }
    written.finish(dir)
}

/// What the index and the summary say in the end.
#[derive(Default)]
struct Written {
    weight_map: BTreeMap<String, String>,
    shards: Vec<PathBuf>,
    payload_bytes: u64,
    shard_bytes: u64,
    tuned_bytes: u64,
    tuned_tensors: usize,
}

impl Written {
    fn add(&mut self, path: PathBuf, header: &Header) -> io::Result<()> {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        for (name, _) in &header.tensors {
            self.weight_map.insert(name.clone(), file_name.to_string());
        }
        self.payload_bytes += header.data_bytes();
        self.shard_bytes += header.file_bytes()?;
        self.shards.push(path);
        Ok(())
    }

    fn finish(self, dir: &Path) -> io::Result<Summary> {
        let mut index = None;
        if self.shards.len() > 1 {
            let path = dir.join(INDEX_NAME);
            let value = json!({
                "metadata": { "total_size": self.payload_bytes },
                "weight_map": self.weight_map,
            });
            write_new(&path, &pretty(&value)?)?;
            index = Some(path);
        }
        Ok(Summary {
            shards: self.shards,
            index,
            tensors: self.weight_map.len(),
            payload_bytes: self.payload_bytes,
            tuned_bytes: self.tuned_bytes,
            tuned_tensors: self.tuned_tensors,
            shard_bytes: self.shard_bytes,
        })
    }
}

/// Cuts a row of sizes into runs whose ends lie as near as they can to equal
/// shares; each has at least one.
fn shard_ranges(sizes: &[u64], shards: usize) -> io::Result<Vec<Range<usize>>> {
    if shards == 0 || shards > sizes.len() {
        return Err(invalid(format!(
            "{} tensors cannot make {shards} shards",
            sizes.len()
        )));
    }
    let total: u64 = sizes.iter().sum();
    let (mut start, mut sum) = (0, 0);
    let mut ranges = Vec::with_capacity(shards);
    for number in 1..=shards {
        let goal = (u128::from(total) * number as u128 / shards as u128) as u64;
        let last_end = sizes.len() - (shards - number);
        let mut end = start;
        while end < last_end {
            let next = sum + sizes[end];
            let nearer = next.abs_diff(goal) <= sum.abs_diff(goal);
            if end > start && number < shards && !nearer {
                break;
            }
            sum = next;
            end += 1;
        }
        ranges.push(start..end);
        start = end;
    }
    Ok(ranges)
}

fn shard_name(number: usize, shards: usize) -> String {
    match shards {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{shards:05}.safetensors", number + 1),
    }
}

fn pretty(value: &serde_json::Value) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path).map_err(at(path))?;
    file.write_all(content).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    fn read(summary: &Summary) -> BTreeMap<String, Vec<u8>> {
        let mut tensors = BTreeMap::new();
        for path in &summary.shards {
            let content = fs::read(path).unwrap();
            for (name, view) in SafeTensors::deserialize(&content).unwrap().iter() {
                tensors.insert(name.to_owned(), view.data().to_vec());
            }
        }
        tensors
    }

    #[test]
    fn the_default_has_399_tensors_and_fills_4_gib_to_within_1_percent() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec {
            sparse: true,
            ..Spec::default()
        };
        let summary = synthesize(dir.path(), &spec).unwrap();
        assert_eq!(summary.tensors, 399);
        assert_eq!(summary.shards.len(), 4);
        let lengths = summary.shards.iter().map(|s| s.metadata().unwrap().len());
        assert_eq!(lengths.sum::<u64>(), summary.shard_bytes);
        assert!(summary.payload_bytes <= spec.size_bytes);
        assert!(summary.payload_bytes >= spec.size_bytes / 100 * 99);
    }

    #[test]
    fn every_size_is_met_to_within_1_percent() {
        for layers in [1, 2, 7, 44, 126] {
            let mut size_bytes = layers as u64 * 4096;
            while size_bytes < 4 << 40 {
                let spec = Spec {
                    size_bytes,
                    layers,
                    ..Spec::default()
                };
                let tensors = Architecture::of(&spec).unwrap().tensors();
                assert!(tensors.iter().all(|(_, shape)| !shape.contains(&0)));
                let payload: u64 = tensors.iter().map(|(_, shape)| bf16_bytes(shape)).sum();
                assert!(payload <= size_bytes, "{payload} of {size_bytes}");
                let short = size_bytes - payload;
                assert!(short <= size_bytes / 100, "{payload} of {size_bytes}");
                size_bytes += size_bytes / 9 + 1;
            }
        }
    }

    #[test]
    fn the_payload_depends_on_seed_and_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let spec = |seed, shards| Spec {
            size_bytes: 100_000,
            shards,
            layers: 2,
            seed,
            sparse: false,
            tuned_every: 0,
        };
        let synthesize = |name: &str, spec: &Spec| {
            let summary = synthesize(&dir.path().join(name), spec).unwrap();
            assert_eq!(summary.index.is_some(), spec.shards > 1);
            read(&summary)
        };
        let first = synthesize("first", &spec(7, 1));
        assert_eq!(first.len(), 21);
        for (name, found) in &first {
            let mut expected = vec![0; found.len()];
            Payload::new(7, name).fill(&mut expected);
            assert_eq!(*found, expected, "{name}");
        }
        assert_eq!(first, synthesize("sharded", &spec(7, 5)));
        assert_ne!(first, synthesize("other", &spec(8, 1)));
    }

    #[test]
    fn no_two_pieces_are_equal_and_every_value_is_finite() {
        let mut seen = std::collections::HashSet::new();
        for name in ["a", "b", "model.layers.1.x", "model.layers.2.x"] {
            let mut bytes = vec![0; 1 << 20];
            Payload::new(0, name).fill(&mut bytes);
            for piece in bytes.chunks_exact(16) {
                assert!(seen.insert(piece.to_vec()), "{piece:?} in {name} again");
            }
            for value in bytes.chunks_exact(2) {
                let bits = u32::from(u16::from_le_bytes([value[0], value[1]])) << 16;
                let magnitude = f32::from_bits(bits).abs();
                assert!((0.0078125..2.0).contains(&magnitude), "{magnitude}");
            }
        }
    }

    #[test]
    fn the_sharded_fixture_is_what_the_tool_makes_of_the_whole_one() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let whole = fixtures.join("silero-vad/silero_vad_16k.safetensors");
        let dir = tempfile::tempdir().unwrap();
        let summary = shard(&whole, dir.path(), 3).unwrap();
        let made = fs::read_dir(dir.path()).unwrap();
        let mut files = 0;
        for file in made.map(Result::unwrap) {
            let checked_in = fixtures.join("silero-vad-sharded").join(file.file_name());
            assert!(fs::read(file.path()).unwrap() == fs::read(checked_in).unwrap());
            files += 1;
        }
        assert_eq!(files, 4);
        let whole = Summary {
            shards: vec![whole],
            ..summary.clone()
        };
        assert_eq!(read(&whole), read(&summary));
    }

    #[test]
    fn shards_are_even_and_none_is_empty() {
        let ranges = |sizes: &[u64], shards| shard_ranges(sizes, shards).unwrap();
        assert_eq!(ranges(&[1, 1, 1, 1], 2), [0..2, 2..4]);
        assert_eq!(ranges(&[9, 1, 1], 3), [0..1, 1..2, 2..3]);
        assert_eq!(ranges(&[1, 1, 9], 2), [0..2, 2..3]);
        assert_eq!(ranges(&[0, 0, 0], 2), [0..2, 2..3]);
        assert_eq!(ranges(&[5, 5], 1).as_slice(), std::slice::from_ref(&(0..2)));
        assert!(shard_ranges(&[5], 2).is_err());
        assert!(shard_ranges(&[5], 0).is_err());
    }

    #[test]
    fn a_file_that_is_there_already_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec {
            size_bytes: 10_000,
            shards: 1,
            layers: 1,
            ..Spec::default()
        };
        let summary = synthesize(dir.path(), &spec).unwrap();
        let error = synthesize(dir.path(), &spec).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(dir.path().join(CONFIG_NAME)).unwrap();
        let before = read(&summary);
        let error = synthesize(dir.path(), &spec).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(before, read(&summary));
    }
}
