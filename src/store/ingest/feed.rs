//! Cutting input into batches of chunks that are hashed side by side.

use std::io::Read;
use std::sync::Arc;

use super::options::AddOptions;
use super::walk::SourceFile;
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
    /// What is left of its file, this chunk included; of a stream, at least this.
    pub(crate) rest: u64,
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
    current: Option<(Arc<SourceFile>, u64)>,
    chunk_bytes: usize,
}

impl FilesFeed {
    pub(crate) fn new(files: Vec<Arc<SourceFile>>, chunk_bytes: usize) -> Self {
        Self {
            files: files.into_iter(),
            current: None,
            chunk_bytes,
        }
    }
}

impl Feed for FilesFeed {
    fn next(&mut self) -> Result<Vec<Chunk>, StoreError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_CHUNKS {
            let next = self
                .current
                .take()
                .or_else(|| self.files.next().map(|file| (file, 0)));
            let Some((file, offset)) = next else { break };
            let left = file.size - offset;
            let len = left.min(self.chunk_bytes as u64) as usize;
            let last = len as u64 == left;
            bytes += len;
            if !last {
                self.current = Some((Arc::clone(&file), offset + len as u64));
            }
            batch.push(Chunk {
                rest: left,
                from: From::File { file, offset },
                len,
                last,
            });
        }
        Ok(batch)
    }
}

/// The chunks of a stream. The last one is known only when the stream ends, so one is held back.
pub(crate) struct StreamFeed<'o, R> {
    reader: R,
    options: &'o AddOptions,
    chunk_bytes: usize,
    held: Option<Vec<u8>>,
    ended: bool,
}

impl<'o, R: Read + Send> StreamFeed<'o, R> {
    pub(crate) fn new(reader: R, options: &'o AddOptions) -> Self {
        Self {
            reader,
            options,
            chunk_bytes: options.profile.chunk_bytes(),
            held: None,
            ended: false,
        }
    }

    /// A whole chunk, or a shorter one at the end of the stream.
    fn read_chunk(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut chunk = Vec::with_capacity(self.chunk_bytes);
        let limit = self.chunk_bytes as u64;
        let read = self.reader.by_ref().take(limit).read_to_end(&mut chunk);
        // A reader that was told to stop too fails in a way of its own.
        self.options.check_cancel()?;
        read.map_err(|e| FileError::new("read", "the stream", e))?;
        Ok(chunk)
    }
}

impl<R: Read + Send> Feed for StreamFeed<'_, R> {
    fn next(&mut self) -> Result<Vec<Chunk>, StoreError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while !self.ended && bytes < BATCH_BYTES {
            let chunk = self.read_chunk()?;
            let full = chunk.len() == self.chunk_bytes;
            bytes += chunk.len();
            let empty = chunk.is_empty();
            if let Some(held) = self.held.replace(chunk) {
                batch.push(Chunk {
                    len: held.len(),
                    // More chunks of this size are to be expected.
                    rest: if empty { held.len() as u64 } else { u64::MAX },
                    from: From::Memory(held),
                    last: empty,
                });
            } else if empty {
                // An empty stream is an empty file.
                batch.push(Chunk {
                    len: 0,
                    rest: 0,
                    from: From::Memory(Vec::new()),
                    last: true,
                });
            }
            if !full {
                self.ended = true;
                if let Some(rest) = self.held.take().filter(|rest| !rest.is_empty()) {
                    batch.push(Chunk {
                        len: rest.len(),
                        rest: rest.len() as u64,
                        from: From::Memory(rest),
                        last: true,
                    });
                }
            }
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
