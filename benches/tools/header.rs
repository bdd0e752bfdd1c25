//! The header of a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;

use super::llama::bf16_bytes;
use super::{at, invalid};

/// The longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A safetensors header, its tensors in the order of the file.
pub(super) struct Header {
    metadata: BTreeMap<String, String>,
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    pub(super) fn of_bf16(
        tensors: Vec<(String, Vec<usize>)>,
        metadata: BTreeMap<String, String>,
    ) -> Self {
        let mut end = 0;
        let tensors = tensors.into_iter().map(|(name, shape)| {
            let start = end;
            end += bf16_bytes(&shape) as usize;
            let info = TensorInfo {
                dtype: Dtype::BF16,
                shape,
                data_offsets: (start, end),
            };
            (name, info)
        });
        Self {
            tensors: tensors.collect(),
            metadata,
        }
    }

    /// Also returns where the payload begins.
    pub(super) fn read(file: &mut File) -> io::Result<(Self, u64)> {
        let mut len = [0; 8];
        file.read_exact(&mut len)?;
        let len = u64::from_le_bytes(len);
        if len > MAX_HEADER_BYTES {
            return Err(invalid(format!("a header of {len} bytes")));
        }
        let mut json = vec![0; len as usize];
        file.read_exact(&mut json)?;
        let header: Metadata = serde_json::from_slice(&json).map_err(invalid)?;
        let (expected, found) = (8 + len + header.data_len() as u64, file.metadata()?.len());
        if expected != found {
            return Err(invalid(format!("{found} bytes, not {expected}")));
        }
        let in_order = header.offset_keys().into_iter();
        let tensors = in_order.filter_map(|name| {
            let info = header.info(&name)?.clone();
            Some((name, info))
        });
        let header = Self {
            tensors: tensors.collect(),
            metadata: header.metadata().iter().flatten().map(owned).collect(),
        };
        Ok((header, 8 + len))
    }

    /// The header of a shard with these tensors.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let mut tensors = self.tensors[range].to_vec();
        let base = tensors.first().map_or(0, |(_, info)| info.data_offsets.0);
        for (_, info) in &mut tensors {
            info.data_offsets.0 -= base;
            info.data_offsets.1 -= base;
        }
        Self {
            tensors,
            metadata: self.metadata.clone(),
        }
    }

    /// Length, JSON, and spaces up to a multiple of 8. It is put together here
    /// because the crate writes `__metadata__` in the order of a hash map; the
    /// crate then reads it back, so that nothing it would refuse is written.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut json = b"{".to_vec();
        if !self.metadata.is_empty() {
            entry(&mut json, "__metadata__", &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            entry(&mut json, name, info)?;
        }
        json.push(b'}');
        json.resize(json.len().next_multiple_of(8), b' ');
        serde_json::from_slice::<Metadata>(&json).map_err(invalid)?;

        let mut encoded = (json.len() as u64).to_le_bytes().to_vec();
        encoded.append(&mut json);
        Ok(encoded)
    }

    /// A new file that ends where the payload begins.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        let mut file = File::create_new(path).map_err(at(path))?;
        file.write_all(&self.encode()?).map_err(at(path))?;
        Ok(file)
    }

    pub(super) fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, info)| bytes(info)).sum()
    }

    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.encode()?.len() as u64 + self.data_bytes())
    }
}

pub(super) fn bytes(info: &TensorInfo) -> u64 {
    (info.data_offsets.1 - info.data_offsets.0) as u64
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn entry(json: &mut Vec<u8>, key: &str, value: &impl Serialize) -> io::Result<()> {
    if json.len() > 1 {
        json.push(b',');
    }
    serde_json::to_writer(&mut *json, key)?;
    json.push(b':');
    Ok(serde_json::to_writer(json, value)?)
}
