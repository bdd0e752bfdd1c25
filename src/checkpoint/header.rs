//! The header of a safetensors file, read strictly.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. Eight bytes of header length, the
//! header (JSON), then the data of the tensors without holes.
//!
//! What the `safetensors` crate accepts is accepted here and the other way round (a property test
//! holds both to it), except for what the format's text forbids and that crate lets pass: white
//! space before the `{`, a tensor or a metadata key that stands twice (there the last one wins),
//! and serde's other spellings of a struct and an enum (a tensor's entry as an array, a dtype as
//! an object).

mod length;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::error::LoadError;
use super::json::{Pairs, Skipped, Text, first_duplicate, offset_of};
use length::LENGTH_BYTES;
pub use length::{MAX_HEADER_BYTES, header_len};

/// One tensor as its file's header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name, unique in the checkpoint.
    pub name: Arc<str>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape in elements, outermost dimension first; none for a scalar.
    pub shape: Box<[usize]>,
    /// Where its data lies, in bytes from the start of the file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// Length of its data in bytes.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A checked header: its tensors cover the file from `data_start` to the end, each byte once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Where the data begins, in bytes from the start of the file.
    pub data_start: u64,
    /// The tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// The free-form `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes.
    ///
    /// `json` is exactly the header: the [`header_len`] bytes after the first 8.
    ///
    /// # Errors
    /// If the header is not the JSON that the format asks for, a tensor or a field stands twice, a
    /// dtype is unknown, or the tensors do not cover the data exactly.
    pub fn parse(shard: &str, json: &[u8], file_len: u64) -> Result<Self, LoadError> {
        if json.first() != Some(&b'{') {
            let found = json.first().copied();
            return Err(LoadError::HeaderNotObject {
                shard: shard.to_owned(),
                found,
            });
        }
        let text = str::from_utf8(json).map_err(|source| LoadError::HeaderNotUtf8 {
            shard: shard.to_owned(),
            offset: LENGTH_BYTES + source.valid_up_to() as u64,
            source,
        })?;

        let mut faults = Faults {
            shard,
            fault: None,
            tensor: None,
        };
        let mut parser = serde_json::Deserializer::from_str(text);
        let parsed = HeaderSeed(&mut faults)
            .deserialize(&mut parser)
            .and_then(|raw| parser.end().map(|()| raw));
        let Faults { fault, tensor, .. } = faults;
        let raw = parsed.map_err(|source| {
            fault.unwrap_or_else(|| LoadError::HeaderJson {
                shard: shard.to_owned(),
                tensor,
                offset: LENGTH_BYTES + offset_of(json, &source),
                source,
            })
        })?;

        let data_start = LENGTH_BYTES + json.len() as u64;
        Ok(Self {
            data_start,
            metadata: unique_metadata(shard, raw.metadata)?,
            tensors: checked_tensors(shard, raw.tensors, data_start, file_len)?,
        })
    }

    /// The file's length in bytes.
    pub fn file_len(&self) -> u64 {
        self.tensors
            .last()
            .map_or(self.data_start, |tensor| tensor.range.end)
    }
}

fn unique_metadata(
    shard: &str,
    metadata: Option<Pairs<'_, Text<'_>>>,
) -> Result<BTreeMap<String, String>, LoadError> {
    let Some(pairs) = metadata else {
        return Ok(BTreeMap::new());
    };
    if let Some(key) = pairs.duplicate() {
        return Err(LoadError::DuplicateMetadata {
            shard: shard.to_owned(),
            key: key.to_owned(),
        });
    }
    Ok(pairs
        .0
        .into_iter()
        .map(|(key, Text(value))| (key.into_owned(), value.into_owned()))
        .collect())
}

/// Sorts the tensors by their data, turns their offsets into the file's, and checks that they
/// cover the data exactly.
fn checked_tensors(
    shard: &str,
    mut tensors: Vec<TensorInfo>,
    data_start: u64,
    file_len: u64,
) -> Result<Vec<TensorInfo>, LoadError> {
    if let Some(name) = first_duplicate(tensors.iter().map(|tensor| &*tensor.name)) {
        return Err(LoadError::DuplicateTensor {
            shard: shard.to_owned(),
            tensor: name.to_owned(),
        });
    }
    // By begin and end, so that an empty tensor comes before the one that begins where it lies.
    tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));

    let mut covered = 0;
    for i in 0..tensors.len() {
        let tensor = &tensors[i];
        let Range { start: begin, end } = tensor.range;
        if begin != covered || end < begin {
            let other = i.checked_sub(1).map(|before| &tensors[before]);
            return Err(wrong_offsets(shard, tensor, other, covered, data_start));
        }
        let expected = size_bytes(shard, tensor)?;
        if end - begin != expected {
            return Err(LoadError::TensorSize {
                shard: shard.to_owned(),
                tensor: tensor.name.to_string(),
                offset: data_start.saturating_add(begin),
                expected,
                found: end - begin,
            });
        }
        covered = end;
        // Past the check of the file's length below, neither sum can have been saturated.
        tensors[i].range = data_start.saturating_add(begin)..data_start.saturating_add(end);
    }

    let shard = || shard.to_owned();
    match data_start.checked_add(covered) {
        Some(expected) if expected == file_len => Ok(tensors),
        Some(expected) if expected < file_len => Err(LoadError::DataTooLong {
            shard: shard(),
            expected,
            found: file_len,
        }),
        expected => {
            let expected = expected.unwrap_or(u64::MAX);
            Err(LoadError::DataTooShort {
                shard: shard(),
                expected,
                found: file_len,
            })
        }
    }
}

/// Bytes that a tensor's shape and type need.
fn size_bytes(shard: &str, tensor: &TensorInfo) -> Result<u64, LoadError> {
    let named = || {
        (
            shard.to_owned(),
            tensor.name.to_string(),
            tensor.shape.clone(),
        )
    };
    let dtype = tensor.dtype;
    let bits = tensor
        .shape
        .iter()
        .try_fold(1, |elements: usize, len| elements.checked_mul(*len))
        .and_then(|elements| elements.checked_mul(dtype.bitsize()))
        .ok_or_else(|| {
            let (shard, tensor, shape) = named();
            LoadError::SizeOverflow {
                shard,
                tensor,
                dtype,
                shape,
            }
        })?;
    if !bits.is_multiple_of(8) {
        let (shard, tensor, shape) = named();
        return Err(LoadError::PartialByte {
            shard,
            tensor,
            dtype,
            shape,
        });
    }
    Ok((bits / 8) as u64)
}

#[cold]
fn wrong_offsets(
    shard: &str,
    tensor: &TensorInfo,
    other: Option<&TensorInfo>,
    covered: u64,
    data_start: u64,
) -> LoadError {
    let shard = shard.to_owned();
    let name = tensor.name.to_string();
    let Range { start: begin, end } = tensor.range;
    let expected = data_start.saturating_add(covered);
    let found = data_start.saturating_add(begin);
    match other {
        _ if end < begin => LoadError::ReversedOffsets {
            shard,
            tensor: name,
            begin,
            end,
        },
        Some(other) if begin < covered => {
            let other = other.name.to_string();
            LoadError::Overlap {
                shard,
                tensor: name,
                other,
                expected,
                found,
            }
        }
        _ => LoadError::Hole {
            shard,
            tensor: name,
            expected,
            found,
        },
    }
}

/// What the parser found before the checks; ranges count from the end of the header.
struct RawHeader<'a> {
    metadata: Option<Pairs<'a, Text<'a>>>,
    tensors: Vec<TensorInfo>,
}

/// Where the visitors leave what a `serde_json::Error` cannot carry.
struct Faults<'s> {
    shard: &'s str,
    /// The typed error behind the parser's.
    fault: Option<LoadError>,
    /// The tensor whose entry the parser failed in.
    tensor: Option<String>,
}

impl Faults<'_> {
    /// Keeps the typed error and returns the one that stops the parser.
    #[cold]
    fn stop<E: serde::de::Error>(&mut self, fault: impl FnOnce(String) -> LoadError) -> E {
        self.fault = Some(fault(self.shard.to_owned()));
        E::custom("stopped")
    }
}

struct HeaderSeed<'f, 's>(&'f mut Faults<'s>);

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_, '_> {
    type Value = RawHeader<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_, '_> {
    type Value = RawHeader<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(faults) = self;
        let mut metadata = None;
        let mut tensors = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            if name == "__metadata__" {
                // `null` is let through, as the safetensors crate does.
                let value: Option<Pairs<'de, Text<'de>>> = map.next_value()?;
                if metadata.replace(value).is_some() {
                    return Err(A::Error::duplicate_field("__metadata__"));
                }
                continue;
            }
            match map.next_value_seed(EntrySeed {
                name: &name,
                faults,
            }) {
                Ok(tensor) => tensors.push(tensor),
                Err(error) => {
                    faults.tensor = Some(name.into_owned());
                    return Err(error);
                }
            }
        }
        Ok(RawHeader {
            metadata: metadata.flatten(),
            tensors,
        })
    }
}

/// The fields of a tensor's entry; unknown ones are passed over, as the safetensors crate does.
enum Field {
    Dtype,
    Shape,
    DataOffsets,
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|Text(name)| match &*name {
            "dtype" => Self::Dtype,
            "shape" => Self::Shape,
            "data_offsets" => Self::DataOffsets,
            _ => Self::Other,
        })
    }
}

struct EntrySeed<'f, 's> {
    name: &'f str,
    faults: &'f mut Faults<'s>,
}

impl EntrySeed<'_, '_> {
    fn duplicate<E: serde::de::Error>(&mut self, field: &'static str) -> E {
        let tensor = self.name.to_owned();
        self.faults.stop(|shard| LoadError::DuplicateField {
            shard,
            tensor,
            field,
        })
    }

    fn require<T, E: serde::de::Error>(
        &mut self,
        value: Option<T>,
        field: &'static str,
    ) -> Result<T, E> {
        value.ok_or_else(|| {
            let tensor = self.name.to_owned();
            self.faults.stop(|shard| LoadError::MissingField {
                shard,
                tensor,
                field,
            })
        })
    }
}

impl<'de> DeserializeSeed<'de> for EntrySeed<'_, '_> {
    type Value = TensorInfo;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed<'_, '_> {
    type Value = TensorInfo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Dtype => {
                    let Text(name) = map.next_value()?;
                    // The crate's own list, so that a dtype it learns is known here too.
                    let known = Dtype::deserialize(StrDeserializer::<ValueError>::new(&name));
                    let Ok(known) = known else {
                        let tensor = self.name.to_owned();
                        return Err(self.faults.stop(|shard| LoadError::UnknownDtype {
                            shard,
                            tensor,
                            found: name.into_owned(),
                        }));
                    };
                    if dtype.replace(known).is_some() {
                        return Err(self.duplicate("dtype"));
                    }
                }
                Field::Shape => {
                    if shape.replace(map.next_value::<Vec<usize>>()?).is_some() {
                        return Err(self.duplicate("shape"));
                    }
                }
                Field::DataOffsets => {
                    if offsets.replace(map.next_value::<(u64, u64)>()?).is_some() {
                        return Err(self.duplicate("data_offsets"));
                    }
                }
                Field::Other => {
                    map.next_value::<Skipped>()?;
                }
            }
        }
        let (begin, end) = self.require(offsets, "data_offsets")?;
        Ok(TensorInfo {
            dtype: self.require(dtype, "dtype")?,
            shape: self.require(shape, "shape")?.into_boxed_slice(),
            range: begin..end,
            name: Arc::from(self.name),
        })
    }
}

#[cfg(test)]
mod tests;
