//! Cutting input into batches of chunks that are hashed side by side.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::options::AddOptions;
use super::source::SourceFile;
use crate::dag::{ChunkReader, Chunker, Cut, Cutter};
use crate::error::FileError;
use crate::store::error::StoreError;

/// A batch holds up to this many bytes; two are in memory at once.
pub(crate) const BATCH_BYTES: usize = 16 << 20;
const BATCH_CHUNKS: usize = 1_024;

/// One chunk to be hashed.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) from: From,
    pub(crate) len: usize,
    /// It begins a stretch of its file that is to be contiguous.
    pub(crate) starts_run: bool,
    /// Length of that stretch; of a stream, at least this.
    pub(crate) run_bytes: u64,
    /// The last of its file.
    pub(crate) last: bool,
}

#[derive(Debug)]
pub(crate) enum From {
    File { file: Arc<SourceFile>, offset: u64 },
    Memory(Vec<u8>),
}

/// Where chunks come from, in the order in which they stand in the object.
pub(crate) trait Feed: Send {
    /// The next batch; empty at the end.
    fn next(&mut self) -> Result<Vec<Chunk>, StoreError>;
}

/// The chunks of a list of files. An empty file has one empty chunk.
pub(crate) struct FilesFeed {
    files: std::vec::IntoIter<Arc<SourceFile>>,
    current: Option<(Arc<SourceFile>, Cutter, u64)>,
    chunker: Chunker,
}

impl FilesFeed {
    pub(crate) fn new(files: Vec<Arc<SourceFile>>, chunker: Chunker) -> Self {
        Self {
            files: files.into_iter(),
            current: None,
            chunker,
        }
    }

    fn begin(&self, file: Arc<SourceFile>) -> Result<(Arc<SourceFile>, Cutter, u64), StoreError> {
        let cutter = match self.chunker {
            // Nothing to look at, so the file is opened by who hashes it.
            Chunker::Size(_) => Cutter::new(self.chunker, std::io::empty()),
            _ => Cutter::new(self.chunker, BufReader::new(FromStart(file.file()?, 0))),
        };
        let cutter = cutter.map_err(FileError::at("read", &file.path))?;
        Ok((file, cutter, 0))
    }
}

impl Feed for FilesFeed {
    fn next(&mut self) -> Result<Vec<Chunk>, StoreError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_CHUNKS {
            let (file, mut cutter, offset) = match self.current.take() {
                Some(current) => current,
                None => match self.files.next() {
                    Some(file) => self.begin(file)?,
                    None => break,
                },
            };
            let left = file.size - offset;
            let cut = cutter.next();
            let len = left.min(cut.len as u64) as usize;
            let last = len as u64 == left;
            bytes += len;
            if !last {
                self.current = Some((Arc::clone(&file), cutter, offset + len as u64));
            }
            batch.push(Chunk {
                starts_run: cut.starts_run,
                run_bytes: cut.run_bytes.min(file.size),
                from: From::File { file, offset },
                len,
                last,
            });
        }
        Ok(batch)
    }
}

/// Reads a file from its start, wherever its cursor is.
struct FromStart<'f>(&'f File, u64);

impl Read for FromStart<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.read_at(out, self.1)?;
        self.1 += len as u64;
        Ok(len)
    }
}

/// The chunks of a stream. The last one is known only when the stream ends, so one is held back.
pub(crate) struct StreamFeed<'o, R> {
    chunks: ChunkReader<R>,
    options: &'o AddOptions,
    held: Option<(Vec<u8>, Cut)>,
    ended: bool,
}

impl<'o, R: Read + Send> StreamFeed<'o, R> {
    pub(crate) fn new(reader: R, options: &'o AddOptions) -> Self {
        Self {
            chunks: ChunkReader::new(reader, options.profile.chunker()),
            options,
            held: None,
            ended: false,
        }
    }

    /// A whole chunk, or a shorter one at the end of the stream.
    fn read_chunk(&mut self) -> Result<(Vec<u8>, Cut), StoreError> {
        let mut chunk = Vec::with_capacity(self.options.profile.chunker().max_bytes());
        let read = self.chunks.next(&mut chunk);
        // A reader that was told to stop too fails in a way of its own.
        self.options.check_cancel()?;
        let cut = read.map_err(|e| FileError::new("read", "the stream", e))?;
        Ok((chunk, cut))
    }
}

impl<R: Read + Send> Feed for StreamFeed<'_, R> {
    fn next(&mut self) -> Result<Vec<Chunk>, StoreError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while !self.ended && bytes < BATCH_BYTES && batch.len() < BATCH_CHUNKS {
            let (chunk, cut) = self.read_chunk()?;
            bytes += chunk.len();
            self.ended = chunk.is_empty();
            // An empty stream is an empty file.
            let first = self.held.is_none();
            let ended = self.ended && !first;
            let next = if ended { None } else { Some((chunk, cut)) };
            let ready = std::mem::replace(&mut self.held, next);
            let ready = ready.or_else(|| self.held.take_if(|_| self.ended));
            batch.extend(ready.map(|(data, cut)| Chunk {
                len: data.len(),
                starts_run: cut.starts_run,
                // More of the same is to be expected, unless the stream ends with its first chunk.
                run_bytes: match self.ended && cut.starts_run {
                    true => data.len() as u64,
                    false => cut.run_bytes,
                },
                from: From::Memory(data),
                last: self.ended,
            }));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(len: usize, chunk_bytes: usize) -> Vec<(usize, bool)> {
        let bytes = vec![7; len];
        let profile = crate::dag::Profile::default();
        let options =
            AddOptions::default().with_profile(profile.with_chunk_bytes(chunk_bytes).unwrap());
        let mut feed = StreamFeed::new(&bytes[..], &options);
        let mut all = Vec::new();
        loop {
            let batch = feed.next().unwrap();
            if batch.is_empty() {
                return all;
            }
            all.extend(batch.iter().map(|c| (c.len, c.last)));
        }
    }

    #[test]
    fn a_stream_ends_with_exactly_one_last_chunk() {
        assert_eq!(chunks(0, 10), [(0, true)]);
        assert_eq!(chunks(9, 10), [(9, true)]);
        assert_eq!(chunks(10, 10), [(10, true)]);
        assert_eq!(chunks(11, 10), [(10, false), (1, true)]);
        assert_eq!(chunks(20, 10), [(10, false), (10, true)]);
        let large = chunks(BATCH_BYTES * 2, 1 << 20);
        assert_eq!(large.len(), 32);
        assert_eq!(large.iter().filter(|(_, last)| *last).count(), 1);
        assert_eq!(large.last(), Some(&(1 << 20, true)));
    }
}
