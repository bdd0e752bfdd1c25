//! What the fuzz targets of a checkpoint's files run; see [`crate::fuzzing`].

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensors;
use serde_json::Value;

use super::device_map::DeviceMap;
use super::error::LoadError;
use super::header::{Header, header_len};
use super::shard_index::ShardIndex;
use crate::dag::{Chunker, Cutter};

const SHARD: &str = "model.safetensors";
/// The most payload that is made for a header.
const MAX_DATA_BYTES: u64 = 64 << 10;

/// A safetensors file, and the same bytes as its header: read here and by the `safetensors` crate.
pub fn safetensors_header(data: &[u8]) -> bool {
    let len = data_bytes(data).filter(|len| *len <= MAX_DATA_BYTES);
    let whole = file(data, len.unwrap_or_default() as usize);
    compare_with_crate(data) | compare_with_crate(&whole) | read_of_any_length(data)
}

/// A header whose file is as long as it says, however long that is.
fn read_of_any_length(json: &[u8]) -> bool {
    let Err(LoadError::DataTooLong { expected, .. }) = Header::parse(SHARD, json, u64::MAX) else {
        return false;
    };
    let header = Header::parse(SHARD, json, expected).expect("a file of the length that it says");
    let mut end = header.data_start;
    for tensor in &header.tensors {
        assert_eq!(tensor.range.start, end);
        end += tensor.bytes();
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(
            (elements * tensor.dtype.bitsize()) as u64,
            8 * tensor.bytes()
        );
    }
    assert_eq!((end, header.file_len()), (expected, expected));
    // The chunker reads headers with fewer questions, and what loads has to be cut at its tensors.
    let start = file(json, 0);
    let cutter = Cutter::new(Chunker::TensorV1, &start[..]).expect("bytes in memory");
    assert_eq!(cutter.as_size(), None, "cut as no safetensors file");
    true
}

/// A file of that header and so many bytes of data.
fn file(json: &[u8], data_bytes: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json);
    file.resize(file.len() + data_bytes, 7);
    file
}

/// Where the last tensor ends, if it is JSON.
fn data_bytes(json: &[u8]) -> Option<u64> {
    let header: Value = serde_json::from_slice(json).ok()?;
    let end = |tensor: &Value| tensor.get("data_offsets")?.get(1)?.as_u64();
    header.as_object()?.values().filter_map(end).max()
}

/// Reads the header of a file that is in memory.
pub(super) fn read(file: &[u8]) -> Result<Header, LoadError> {
    let len = header_len(SHARD, file, file.len() as u64)?;
    Header::parse(SHARD, &file[8..8 + len as usize], file.len() as u64)
}

/// Both parsers agree, or the difference is one of those in the documentation of `header`. Says whether
/// the file was accepted.
pub(super) fn compare_with_crate(file: &[u8]) -> bool {
    let (ours, theirs) = match (read(file), SafeTensors::read_metadata(file)) {
        (Err(_), Err(_)) => return false,
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Ok(_), Err(theirs)) => panic!("accepted here only: {theirs}"),
        (Err(stricter), Ok(_)) => {
            assert!(is_intended(&stricter), "refused here only: {stricter}");
            return false;
        }
    };
    let (len, theirs) = theirs;
    assert_eq!(ours.data_start, 8 + len as u64);
    assert_eq!(ours.file_len(), file.len() as u64);
    assert_eq!(ours.tensors.len(), theirs.tensors().len());
    for tensor in &ours.tensors {
        let info = theirs.info(&tensor.name).expect("the same names");
        assert_eq!(tensor.dtype, info.dtype);
        assert_eq!(&*tensor.shape, &*info.shape);
        let (begin, end) = info.data_offsets;
        let range = ours.data_start + begin as u64..ours.data_start + end as u64;
        assert_eq!(tensor.range, range);
    }
    let metadata: HashMap<_, _> = ours.metadata.into_iter().collect();
    assert_eq!(metadata, theirs.metadata().clone().unwrap_or_default());
    true
}

fn is_intended(stricter: &LoadError) -> bool {
    matches!(
        stricter,
        LoadError::DuplicateTensor { .. }
            | LoadError::DuplicateMetadata { .. }
            | LoadError::HeaderNotObject { .. }
    )
}

/// The index of a sharded checkpoint.
pub fn shard_index(data: &[u8]) -> bool {
    let Ok(index) = ShardIndex::parse("index", data) else {
        return false;
    };
    let map: BTreeMap<_, _> = index.weight_map().collect();
    for (tensor, shard) in &map {
        assert_eq!(index.shard_of(tensor), Some(*shard));
        let mut parts = shard.split('/');
        assert!(
            parts.all(|part| !matches!(part, "" | "." | "..")),
            "{shard}"
        );
    }
    assert!(
        index
            .shards()
            .iter()
            .all(|shard| map.values().any(|s| s == shard))
    );
    let json = serde_json::json!({ "weight_map": &map }).to_string();
    let again = ShardIndex::parse("index", json.as_bytes());
    assert_eq!(again.expect("what was written"), index);
    let value: Value = serde_json::from_slice(data).expect("it was read as JSON");
    assert_eq!(value["weight_map"], serde_json::json!(&map));
    true
}

/// A device map.
pub fn device_map(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(map) = DeviceMap::from_json(text) else {
        return false;
    };
    let DeviceMap::Map(devices) = &map else {
        panic!("{map:?} out of JSON");
    };
    let json = serde_json::json!(devices).to_string();
    assert_eq!(DeviceMap::from_json(&json).expect("what was written"), map);
    true
}

#[cfg(test)]
pub(crate) mod seeds {
    use safetensors::tensor::{Dtype, TensorView, serialize};

    use super::*;

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    pub(crate) fn safetensors_header() -> Vec<Vec<u8>> {
        let data = [7_u8; 64];
        let view = |dtype, shape: &[usize], bytes| {
            TensorView::new(dtype, shape.to_vec(), &data[..bytes]).unwrap()
        };
        let tensors = [
            ("model.embed.weight", view(Dtype::F32, &[2, 4], 32)),
            ("model.norm", view(Dtype::BF16, &[3], 6)),
            ("scalar", view(Dtype::I64, &[], 8)),
            ("empty", view(Dtype::F16, &[0, 5], 0)),
            ("packed", view(Dtype::F4, &[4], 2)),
        ];
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let mut seeds: Vec<_> = (0..=tensors.len())
            .map(|count| serialize(tensors[..count].to_vec(), Some(metadata.clone())).unwrap())
            .collect();
        seeds.push(serialize(tensors, None).unwrap());
        for file in seeds.clone() {
            let len = header_len(SHARD, &file, file.len() as u64).unwrap() as usize;
            seeds.push(file[8..8 + len].to_vec());
        }
        seeds.extend(texts(&[
            r#"{"a":{"dtype":"F8_E4M3","shape":[70000,1000000],"data_offsets":[0,70000000000]}}"#,
            r#"{"a":{"extra":[1,{"b":null}],"shape":[1],"data_offsets":[0,1],"dtype":"U8"}}  "#,
            r#"{"__metadata__":null,"\u0061\ud83d\ude00":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#,
        ]));
        seeds
    }

    pub(crate) fn shard_index() -> Vec<Vec<u8>> {
        texts(&[
            include_str!("../../fixtures/silero-vad-sharded/model.safetensors.index.json"),
            r#"{"weight_map":{"a":"model.safetensors"}}"#,
            r#"{"metadata":{"total_size":7,"x":[1,-2.5e3,true,null]},"weight_map":{"b":"s2","\u0061":"d/s1","c":"s2"}}"#,
        ])
    }

    pub(crate) fn device_map() -> Vec<Vec<u8>> {
        texts(&[
            r#"{"":"cpu"}"#,
            r#"{"model.layers.0":0,"model.layers.1":1,"lm_head":"disk","\u0061":"cuda:3"}"#,
            "{}",
        ])
    }
}
