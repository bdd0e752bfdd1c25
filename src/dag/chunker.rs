//! How files are cut into chunks.

mod tensors;

use std::fmt;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::MAX_BLOCK_BYTES;
use crate::error::Explain;

pub(super) const CHUNK_BYTES: RangeInclusive<usize> = 1..=MAX_BLOCK_BYTES;

/// The length at which `tensor-v1` cuts what is larger, joins what is smaller, and cuts what is no
/// safetensors file. Part of the name: it never changes.
const TENSOR_CHUNK_BYTES: usize = 1 << 20;

/// How files are cut into chunks.
///
/// Written as `size-1048576` and `tensor-v1`, as `ipfs add --chunker` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Chunker {
    /// Chunks of one length in bytes; the last one of a file may be shorter.
    Size(usize),
    /// `tensor-v1`: safetensors files are cut at their tensors, so that a tensor that two files share is
    /// stored once wherever it stands in them.
    ///
    /// - A file is cut so if its first 8 bytes are the length of a header (at most 100,000,000 bytes), the
    ///   header is there whole, begins with `{`, is a JSON object, and the `data_offsets` of its members,
    ///   `__metadata__` apart, cover a range from 0 without holes or overlaps. Nothing else of the file
    ///   counts, dtypes and shapes neither.
    /// - The header, its 8 bytes of length included, is cut at each MiB from its start.
    /// - Tensors follow in the order of their offsets. Those of 64 KiB and more are cut at each MiB from
    ///   their own start. Smaller ones that follow each other share a chunk, as many as fit 1 MiB whole.
    /// - What comes after the last tensor is cut at each MiB from its start.
    /// - Every other file is cut as by `size-1048576`.
    TensorV1,
}

impl Chunker {
    /// How much of a file's start it has to see, given the `start` that there is; at the end of the file,
    /// less is enough.
    pub(crate) fn looks_at(self, start: &[u8]) -> u64 {
        match self {
            Self::Size(_) => 0,
            Self::TensorV1 => tensors::looks_at(start),
        }
    }

    /// The longest chunk it makes, in bytes.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Size(bytes) => bytes,
            Self::TensorV1 => TENSOR_CHUNK_BYTES,
        }
    }
}

impl fmt::Display for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(bytes) => write!(f, "size-{bytes}"),
            Self::TensorV1 => f.write_str("tensor-v1"),
        }
    }
}

impl FromStr for Chunker {
    type Err = ChunkerError;

    fn from_str(text: &str) -> Result<Self, ChunkerError> {
        let unknown = || ChunkerError(text.to_owned());
        match text.strip_prefix("size-") {
            Some(bytes) => Ok(Self::Size(bytes.parse().map_err(|_| unknown())?)),
            None if text == "tensor-v1" => Ok(Self::TensorV1),
            None => Err(unknown()),
        }
    }
}

/// Text that is no chunker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no chunker is called \"{}\"; take size-N, for N bytes a chunk, or tensor-v1", .0.escape_debug())]
pub struct ChunkerError(pub String);

impl Explain for ChunkerError {
    fn kind(&self) -> &'static str {
        "chunker_unknown"
    }
}

/// Where the next chunk of a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Its length; at the end of the file it is shorter.
    pub(crate) len: usize,
    /// It begins a stretch of the file that is to be contiguous wherever it is stored.
    pub(crate) starts_run: bool,
    /// Length of that stretch, or [`u64::MAX`] for all that is left of the file.
    pub(crate) run_bytes: u64,
}

/// Says where the chunks of one file end.
#[derive(Clone, Debug)]
pub(crate) struct Cutter {
    chunk_bytes: usize,
    /// Stretches that are cut from their own starts, and after them the rest of the file.
    runs: std::vec::IntoIter<u64>,
    run_bytes: u64,
    left_of_run: u64,
}

impl Cutter {
    /// Reads as much of the start of a file as the chunker needs to know, and no more.
    pub(crate) fn new(chunker: Chunker, start: impl Read) -> io::Result<Self> {
        let runs = match chunker {
            Chunker::Size(_) => Vec::new(),
            Chunker::TensorV1 => tensors::runs(start)?.unwrap_or_default(),
        };
        Ok(Self {
            chunk_bytes: chunker.max_bytes(),
            runs: runs.into_iter(),
            run_bytes: 0,
            left_of_run: 0,
        })
    }

    /// The chunker of one length that cuts this file in the same way, if there is one.
    pub(crate) fn as_size(&self) -> Option<Chunker> {
        let whole = self.runs.as_slice().is_empty() && self.left_of_run == 0;
        whole.then_some(Chunker::Size(self.chunk_bytes))
    }

    /// The next chunk of the file.
    pub(crate) fn next(&mut self) -> Cut {
        let starts_run = self.left_of_run == 0;
        if starts_run {
            self.run_bytes = self.runs.next().unwrap_or(u64::MAX);
            self.left_of_run = self.run_bytes;
        }
        let len = self.left_of_run.min(self.chunk_bytes as u64);
        if self.run_bytes != u64::MAX {
            self.left_of_run -= len;
        }
        Cut {
            len: len as usize,
            starts_run,
            run_bytes: self.run_bytes,
        }
    }
}

/// A reader, chunk by chunk.
pub(crate) struct ChunkReader<R> {
    /// What the chunker has looked at.
    start: io::Cursor<Vec<u8>>,
    reader: R,
    chunker: Chunker,
    cutter: Option<Cutter>,
}

impl<R: Read> ChunkReader<R> {
    pub(crate) fn new(reader: R, chunker: Chunker) -> Self {
        Self {
            start: io::Cursor::default(),
            reader,
            chunker,
            cutter: None,
        }
    }

    /// Reads the next chunk into `chunk`, which is empty after the last one.
    pub(crate) fn next(&mut self, chunk: &mut Vec<u8>) -> io::Result<Cut> {
        chunk.clear();
        let cutter = match &mut self.cutter {
            Some(cutter) => cutter,
            none => {
                let seen = Seen {
                    reader: &mut self.reader,
                    bytes: self.start.get_mut(),
                };
                none.insert(Cutter::new(self.chunker, seen)?)
            }
        };
        let cut = cutter.next();
        let mut rest = (&mut self.start).chain(&mut self.reader);
        rest.by_ref().take(cut.len as u64).read_to_end(chunk)?;
        Ok(cut)
    }
}

/// Keeps what passes through.
struct Seen<'r, R> {
    reader: R,
    bytes: &'r mut Vec<u8>,
}

impl<R: Read> Read for Seen<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(out)?;
        self.bytes.extend_from_slice(&out[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
