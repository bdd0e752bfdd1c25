//! Reading content in windows: each byte once, however many ways to cut it there are.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::options::AddOptions;
use super::source::SourceFile;
use crate::dag::{Chunker, Profile};
use crate::error::FileError;
use crate::store::error::StoreError;

/// A window holds up to this many new bytes; two are in memory at once.
const WINDOW_BYTES: usize = 16 << 20;
/// Short chunks cost more memory as results than as bytes, so for them windows are shorter.
const WINDOW_CHUNKS: usize = 4_096;
const MIN_WINDOW_BYTES: usize = 64 << 10;
/// Files in a window.
const WINDOW_FILES: usize = 1_024;
/// What one thread reads at a time.
const READ_BYTES: usize = 1 << 20;

/// A part of the content.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) data: Vec<u8>,
    /// None at the end.
    pub(super) pieces: Vec<Piece>,
    /// Bytes that no window before had.
    pub(super) new_bytes: u64,
}

/// The part of one file in a window.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where in the window it lies.
    pub(super) at: Range<usize>,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// The file ends with it.
    pub(super) ends: bool,
}

/// Where windows come from, in the order of the files.
pub(super) trait Windows {
    /// The next window, in the memory of one that is done. It begins with `carry`: the end of the one
    /// before, as far as its last file goes on and is not cut up yet.
    fn next(
        &mut self,
        carry: &[u8],
        buffer: Vec<u8>,
        pool: &ThreadPool,
    ) -> Result<Window, StoreError>;
}

fn window_bytes(profiles: &[Profile]) -> usize {
    let shortest = profiles.iter().map(|profile| match profile.chunker() {
        Chunker::Size(bytes) => bytes,
        // On average, as of two stretches that follow each other one has so many bytes.
        Chunker::TensorV1 => 32 << 10,
    });
    let shortest = shortest.min().unwrap_or(WINDOW_BYTES);
    (shortest * WINDOW_CHUNKS).clamp(MIN_WINDOW_BYTES, WINDOW_BYTES)
}

/// The content of a list of files.
pub(super) struct FileWindows {
    files: std::vec::IntoIter<Arc<SourceFile>>,
    /// The file that goes on, and what was read of it.
    current: Option<(Arc<SourceFile>, u64)>,
    window_bytes: usize,
}

impl FileWindows {
    pub(super) fn new(files: Vec<Arc<SourceFile>>, profiles: &[Profile]) -> Self {
        Self {
            files: files.into_iter(),
            current: None,
            window_bytes: window_bytes(profiles),
        }
    }
}

impl Windows for FileWindows {
    fn next(
        &mut self,
        carry: &[u8],
        mut data: Vec<u8>,
        pool: &ThreadPool,
    ) -> Result<Window, StoreError> {
        let mut pieces = Vec::new();
        let mut reads = Vec::new();
        let (mut end, mut left, mut carried) = (0, self.window_bytes, carry.len());
        while left > 0 && pieces.len() < WINDOW_FILES {
            let next = self.current.take();
            let next = next.or_else(|| self.files.next().map(|file| (file, 0)));
            let Some((file, offset)) = next else { break };
            let len = (file.size - offset).min(left as u64) as usize;
            let ends = offset + len as u64 == file.size;
            if !ends {
                self.current = Some((Arc::clone(&file), offset + len as u64));
            }
            pieces.push(Piece {
                at: end..end + carried + len,
                offset: offset - carried as u64,
                ends,
            });
            reads.push((file, offset, len));
            end += carried + len;
            left -= len;
            carried = 0;
        }
        // Within what was filled before this writes nothing.
        data.resize(end, 0);
        let (front, mut rest) = data.split_at_mut(carry.len().min(end));
        front.copy_from_slice(&carry[..front.len()]);
        let mut parts = Vec::new();
        for (file, mut offset, len) in reads {
            let (mut unread, after) = rest.split_at_mut(len);
            rest = after;
            // One part of an empty file too, which is opened like any other.
            loop {
                let (part, more) = unread.split_at_mut(unread.len().min(READ_BYTES));
                let part_bytes = part.len() as u64;
                parts.push((Arc::clone(&file), offset, part));
                if more.is_empty() {
                    break;
                }
                (unread, offset) = (more, offset + part_bytes);
            }
        }
        // A file is closed with the last of its parts.
        let read =
            |(file, offset, part): (Arc<SourceFile>, u64, &mut [u8])| file.read(part, offset);
        pool.install(|| parts.into_par_iter().try_for_each(read))?;
        Ok(Window {
            data,
            pieces,
            new_bytes: (self.window_bytes - left) as u64,
        })
    }
}

/// The content of a stream, which is one file.
pub(super) struct StreamWindows<'o, R> {
    reader: R,
    options: &'o AddOptions,
    offset: u64,
    ended: bool,
    window_bytes: usize,
}

impl<'o, R: Read> StreamWindows<'o, R> {
    pub(super) fn new(reader: R, profiles: &[Profile], options: &'o AddOptions) -> Self {
        Self {
            reader,
            options,
            offset: 0,
            ended: false,
            window_bytes: window_bytes(profiles),
        }
    }
}

impl<R: Read> Windows for StreamWindows<'_, R> {
    fn next(
        &mut self,
        carry: &[u8],
        mut data: Vec<u8>,
        _: &ThreadPool,
    ) -> Result<Window, StoreError> {
        data.clear();
        let mut pieces = Vec::new();
        let begun = self.offset;
        if !self.ended {
            data.extend_from_slice(carry);
            let full = carry.len() + self.window_bytes;
            while !self.ended && data.len() < full {
                self.options.check_cancel()?;
                let wanted = READ_BYTES.min(full - data.len());
                let read = (&mut self.reader)
                    .take(wanted as u64)
                    .read_to_end(&mut data);
                // A reader that was told to stop too fails in a way of its own.
                self.options.check_cancel()?;
                let read = read.map_err(|e| FileError::new("read", "the stream", e))?;
                self.offset += read as u64;
                self.ended = read < wanted;
            }
            pieces.push(Piece {
                at: 0..data.len(),
                offset: begun - carry.len() as u64,
                ends: self.ended,
            });
        }
        Ok(Window {
            data,
            pieces,
            new_bytes: self.offset - begun,
        })
    }
}
