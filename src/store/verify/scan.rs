//! Reading blocks in the order in which they lie, on several threads, and hashing each.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::access::Access;
use super::feed::{Feed, Piece, Wanted, place_of};
use super::report::{FindingKind, VerifyOptions, VerifyProgress};
use crate::block::{BlockError, Cid, verify};
use crate::fsio;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::pack::{PackId, Place, Row, SourceReader};

/// A block whose bytes are wrong or cannot be had.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) cid: Cid,
    pub(super) place: Place,
    /// The file that it lies in, and where: a pack, or a file that was added by reference.
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    pub(super) kind: FindingKind,
    pub(super) found: String,
    /// Other rows lie over some of its bytes.
    pub(super) is_shared: bool,
    /// What of it is to be recorded: all of it, until the other rows are known.
    pub(super) damaged: Vec<Place>,
}

/// A block that is recorded as damaged and reads well.
#[derive(Debug)]
pub(super) struct Cleared {
    pub(super) cid: Cid,
    pub(super) place: Place,
    pub(super) file: PathBuf,
    /// Other rows lie over some of its bytes.
    pub(super) is_shared: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) blocks: u64,
    pub(super) of_blocks: u64,
    pub(super) bytes: u64,
    pub(super) packs: u64,
    pub(super) bad: Vec<Bad>,
    /// What was read well of rows that others lie over.
    pub(super) well: Coverage,
    pub(super) cleared: Vec<Cleared>,
    pub(super) unreadable: Vec<(PackId, PathBuf, StoreError)>,
    pub(super) is_complete: bool,
}

struct Scan<'a> {
    access: &'a Access<'a>,
    options: &'a VerifyOptions,
    gone: std::sync::Arc<Gone>,
    feed: Mutex<Feed<'a>>,
    total_bytes: u64,
    done_bytes: AtomicU64,
    is_stopped: AtomicBool,
    error: Mutex<Option<StoreError>>,
    scanned: Mutex<Scanned>,
}

/// Reads and hashes the blocks of the packs that are wanted.
pub(super) fn scan<'a>(
    access: &'a Access<'a>,
    options: &'a VerifyOptions,
    packs: Vec<PackId>,
    wanted: Wanted,
) -> Result<Scanned, StoreError> {
    let feed = Feed::new(access, packs, wanted, options.sample)?;
    let scan = Scan {
        access,
        options,
        gone: std::sync::Arc::clone(feed.gone()),
        total_bytes: feed.total_bytes,
        feed: Mutex::new(feed),
        done_bytes: 0.into(),
        is_stopped: false.into(),
        error: Mutex::default(),
        scanned: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..fsio::thread_count(options.threads) {
            scope.spawn(|| scan.work());
        }
    });
    if let Some(error) = lock(&scan.error).take() {
        return Err(error);
    }
    let feed = into_inner(scan.feed);
    let mut scanned = into_inner(scan.scanned);
    scanned.of_blocks = feed.of_blocks;
    scanned.packs = feed.opened;
    scanned.unreadable = feed.unreadable;
    scanned.is_complete = !scan.is_stopped.into_inner();
    Ok(scanned)
}

impl Scan<'_> {
    fn work(&self) {
        let mut mine = Scanned::default();
        if let Err(e) = self.pieces(&mut mine) {
            self.is_stopped.store(true, Ordering::Relaxed);
            lock(&self.error).get_or_insert(e);
        }
        let mut all = lock(&self.scanned);
        all.blocks += mine.blocks;
        all.bytes += mine.bytes;
        all.bad.append(&mut mine.bad);
        all.cleared.append(&mut mine.cleared);
        all.well.extend(&mine.well);
    }

    fn pieces(&self, mine: &mut Scanned) -> Result<(), StoreError> {
        let mut buffer = Vec::new();
        while !self.is_stopped.load(Ordering::Relaxed) {
            if self.options.is_cancelled() {
                self.is_stopped.store(true, Ordering::Relaxed);
                break;
            }
            let Some((piece, ahead)) = lock(&self.feed).next()? else {
                break;
            };
            for (pack, range) in ahead.into_iter().filter(|(pack, _)| !pack.is_reference()) {
                pack.files().ask_for(pack.file(), range);
            }
            self.piece(&piece, &mut buffer, mine)?;
            let len = piece.range.end - piece.range.start;
            let done_bytes = len + self.done_bytes.fetch_add(len, Ordering::Relaxed);
            if let Some(progress) = &self.options.progress {
                progress(VerifyProgress {
                    done_bytes,
                    total_bytes: self.total_bytes.max(done_bytes),
                });
            }
        }
        Ok(())
    }

    fn piece(
        &self,
        piece: &Piece,
        buffer: &mut Vec<u8>,
        mine: &mut Scanned,
    ) -> Result<(), StoreError> {
        let (pack, start) = (&piece.pack, piece.range.start);
        if pack.is_reference() {
            return self.referenced(piece, mine);
        }
        let len = (piece.range.end - start) as usize;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let buffer = &mut buffer[..len];
        let files = pack.files();
        match files.read_range_at(pack.file(), buffer, start, pack.path()) {
            Ok(()) => {
                for row in piece.rows() {
                    let at = (row.offset - start) as usize;
                    self.block(piece, row, &buffer[at..at + row.len as usize], mine)?;
                }
            }
            // Which of its blocks the disk does not give is told by reading them one by one.
            Err(e) if e.is_of_the_medium() => {
                for row in piece.rows() {
                    let buffer = &mut buffer[..row.len as usize];
                    match files.read_exact_at(pack.file(), buffer, row.offset, pack.path()) {
                        Ok(()) => self.block(piece, row, buffer, mine)?,
                        Err(e) if e.is_of_the_medium() => {
                            let kind = FindingKind::UnreadableBlock;
                            let at = (pack.path().to_path_buf(), row.offset);
                            self.bad(piece, row, at, kind, e.to_string(), mine)?;
                        }
                        Err(e) => return Err(e.into()),
                    }
                }
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Reads blocks of files that were added by reference. What is wrong there is told and never recorded: the
    /// files may be put back.
    fn referenced(&self, piece: &Piece, mine: &mut Scanned) -> Result<(), StoreError> {
        let mut open: Option<(usize, SourceReader)> = None;
        for row in piece.rows().iter().filter(|row| row.len > 0) {
            let len = u64::from(row.len);
            let Some((number, source)) = piece.pack.source_of(row.offset, len)? else {
                continue;
            };
            if open.as_ref().is_none_or(|(of, _)| *of != number) {
                let target = piece.pack.path().display().to_string();
                open = Some((number, SourceReader::new(source, &target)));
            }
            let reader = open.as_ref().map(|(_, reader)| reader);
            let read = reader.map(|r| r.block(&row.cid.0, row.offset, row.len as usize));
            let (kind, found) = match read {
                Some(Ok(_)) | None => {
                    mine.blocks += 1;
                    mine.bytes += len;
                    continue;
                }
                Some(Err(StoreError::SourceDiffers { what, .. })) => {
                    (FindingKind::CorruptBlock, format!("other bytes: {what}"))
                }
                Some(Err(StoreError::SourceGone { source, .. })) => {
                    (FindingKind::MissingBlock, source.to_string())
                }
                Some(Err(e)) => return Err(e),
            };
            let file = source.path().to_path_buf();
            self.bad(
                piece,
                row,
                (file, row.offset - source.base),
                kind,
                found,
                mine,
            )?;
        }
        Ok(())
    }

    fn block(
        &self,
        piece: &Piece,
        row: &Row,
        bytes: &[u8],
        mine: &mut Scanned,
    ) -> Result<(), StoreError> {
        let found = match verify(&row.cid.0, bytes) {
            Ok(()) => {
                mine.blocks += 1;
                mine.bytes += bytes.len() as u64;
                let (place, is_shared) = (place_of(piece.pack.id(), row), piece.is_shared(row));
                if is_shared {
                    mine.well.add_range(place.pack, place.range());
                }
                if self.gone.is_damaged(&place) {
                    mine.cleared.push(Cleared {
                        cid: row.cid.0,
                        place,
                        file: piece.pack.path().to_path_buf(),
                        is_shared,
                    });
                }
                return Ok(());
            }
            Err(BlockError::Mismatch { found, .. }) => found.to_string(),
            Err(e) => e.to_string(),
        };
        let at = (piece.pack.path().to_path_buf(), row.offset);
        self.bad(piece, row, at, FindingKind::CorruptBlock, found, mine)
    }

    fn bad(
        &self,
        piece: &Piece,
        row: &Row,
        (file, offset): (PathBuf, u64),
        kind: FindingKind,
        found: String,
        mine: &mut Scanned,
    ) -> Result<(), StoreError> {
        let place = place_of(piece.pack.id(), row);
        // A collection took it between the look at what is gone and the read.
        if self.access.is_dead(&place)? {
            return Ok(());
        }
        mine.blocks += 1;
        mine.bytes += u64::from(row.len);
        mine.bad.push(Bad {
            cid: row.cid.0,
            place,
            file,
            offset,
            kind,
            found,
            is_shared: piece.is_shared(row),
            damaged: vec![place],
        });
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
