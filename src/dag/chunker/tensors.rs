//! `tensor-v1`: the stretches of a safetensors file that are cut from their own starts.

use std::fmt;
use std::io::{self, Read};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::TENSOR_CHUNK_BYTES;

/// As the `safetensors` crate limits it.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// A tensor of this many bytes or more has chunks of its own.
const LARGE: u64 = 64 << 10;

/// How much of the start of a file [`runs`] has to see: the header, if there is one.
pub(super) fn looks_at(start: &[u8]) -> u64 {
    match start.split_first_chunk::<8>() {
        Some((length, [b'{', ..])) => match u64::from_le_bytes(*length) {
            length @ ..=MAX_HEADER_BYTES => 8 + length,
            _ => 9,
        },
        _ => 9,
    }
}

/// The stretches of a file, its header first; none for what is no safetensors file. Reads the header at
/// most, and of what is none only the first bytes.
pub(super) fn runs(mut start: impl Read) -> io::Result<Option<Vec<u64>>> {
    let mut first = Vec::with_capacity(9);
    start.by_ref().take(9).read_to_end(&mut first)?;
    let Some((length, b"{")) = first.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Ok(None);
    }
    let mut header = first.split_off(8);
    start
        .take(length.saturating_sub(1))
        .read_to_end(&mut header)?;
    if header.len() as u64 != length {
        return Ok(None);
    }
    Ok(tensors(&header).map(|tensors| stretches(8 + length, &tensors)))
}

/// The lengths of the tensors in the order of their bytes; none if they do not cover a range.
fn tensors(header: &[u8]) -> Option<Vec<u64>> {
    let Members(mut ranges) = serde_json::from_slice(header).ok()?;
    ranges.sort_unstable();
    let mut end = 0;
    for (from, to) in &ranges {
        if *from != end || to < from {
            return None;
        }
        end = *to;
    }
    Some(ranges.into_iter().map(|(from, to)| to - from).collect())
}

fn stretches(header_bytes: u64, tensors: &[u64]) -> Vec<u64> {
    let mut runs = vec![header_bytes];
    let mut joined = 0;
    for &len in tensors {
        let large = len >= LARGE;
        if joined > 0 && (large || joined + len > TENSOR_CHUNK_BYTES as u64) {
            runs.push(joined);
            joined = 0;
        }
        if large {
            runs.push(len);
        } else {
            joined += len;
        }
    }
    runs.extend((joined > 0).then_some(joined));
    runs
}

/// Every `data_offsets`, duplicate names too: they overlap, or are empty.
struct Members(Vec<(u64, u64)>);

#[derive(serde::Deserialize)]
struct Offsets {
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut ranges = Vec::new();
                while let Some(Name { is_metadata }) = map.next_key()? {
                    if is_metadata {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        ranges.push(map.next_value::<Offsets>()?.data_offsets);
                    }
                }
                Ok(Members(ranges))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A member's name, of which only one matters.
struct Name {
    is_metadata: bool,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl Visitor<'_> for Look {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                let is_metadata = name == "__metadata__";
                Ok(Name { is_metadata })
            }
        }
        deserializer.deserialize_str(Look)
    }
}
