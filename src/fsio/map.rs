//! Read-only maps of sealed files, several ranges stitched into contiguous memory where pages allow it.

#![expect(unsafe_code, reason = "mapping files is what this module is for")]

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::Advice;

use super::region::Region;

/// What a stretch of a mapping shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    /// One range of a file that nobody changes while it is mapped.
    File {
        file: &'a File,
        offset: u64,
        len: u64,
    },
    /// That many zeros, of no file: they take one map and no memory, however many they are.
    Zeros(u64),
}

impl Piece<'_> {
    fn offset(&self) -> u64 {
        match self {
            Self::File { offset, .. } => *offset,
            Self::Zeros(_) => 0,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::File { len, .. } | Self::Zeros(len) => *len,
        }
    }
}

/// Why a map could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MapError {
    #[error("{wanted} more maps would pass the {limit} that one process may hold for tensors")]
    Budget { wanted: usize, limit: usize },
    #[error("the ranges do not meet at page boundaries")]
    Unaligned,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Read-only memory over ranges of files, contiguous in the order given.
#[derive(Debug)]
pub(crate) struct Mapping(Inner);

#[derive(Debug)]
enum Inner {
    Empty,
    Single { map: memmap2::Mmap, _permit: Permit },
    Stitched(Stitched),
}

/// Whether a range that ends at `end` in its file can be followed in memory by one that begins at
/// `next` in another.
pub(crate) fn stitches(end: u64, next: u64) -> bool {
    let page = rustix::param::page_size() as u64;
    end.is_multiple_of(page) && next.is_multiple_of(page)
}

impl Mapping {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self(Inner::Empty)
    }

    /// Maps the pieces one after the other. The caller vouches that the files are sealed packs, or
    /// files whose owner promised not to change them.
    pub(crate) fn new(pieces: &[Piece<'_>]) -> Result<Self, MapError> {
        match pieces {
            [] => Ok(Self(Inner::Empty)),
            [only] if only.len() == 0 => Ok(Self(Inner::Empty)),
            [Piece::File { file, offset, len }] => {
                let permit = Permit::take(1)?;
                check_length(file, *offset, *len)?;
                // SAFETY: the range lies within the file, and the file is sealed (mode 0444, never
                // written again) or its owner has promised not to change it, so the bytes behind the
                // slice stay the same while it lives.
                let map = unsafe {
                    memmap2::MmapOptions::new()
                        .offset(*offset)
                        .len(usize::try_from(*len).map_err(io::Error::other)?)
                        .map(*file)?
                };
                Ok(Self(Inner::Single {
                    map,
                    _permit: permit,
                }))
            }
            many => Ok(Self(Inner::Stitched(Stitched::new(many)?))),
        }
    }

    /// Tells the kernel to read in steps of huge pages where the file system has them. For what is to be
    /// read whole; who picks single pages reads more than is wanted.
    pub(crate) fn prefer_huge_pages(&self) {
        let bytes = &**self;
        if bytes.is_empty() {
            return;
        }
        let lead = bytes.as_ptr().addr() % rustix::param::page_size();
        // SAFETY: as in `populate`; how pages are sized changes no byte. A hint, which a kernel without
        // huge pages refuses.
        let _ = unsafe {
            let start = bytes.as_ptr().sub(lead).cast_mut().cast();
            rustix::mm::madvise(start, lead + bytes.len(), Advice::LinuxHugepage)
        };
    }

    /// Brings a range into memory, side by side with others. What the disk cannot read is an error here; at
    /// the first touch it would be a SIGBUS. [`io::ErrorKind::Unsupported`] before Linux 5.14.
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let bytes = self
            .get(range)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let page = rustix::param::page_size();
        let lead = bytes.as_ptr().addr() % page;
        let len = (lead + bytes.len()).next_multiple_of(page);
        // Where the kernel asks to try again it does not say for how long.
        for _ in 0..1_000 {
            // SAFETY: maps begin and end at page boundaries, so the pages that the bytes lie in are the
            // mapping's own; reading them in changes no byte.
            let done = unsafe {
                let start = bytes.as_ptr().sub(lead).cast_mut().cast();
                rustix::mm::madvise(start, len, Advice::LinuxPopulateRead)
            };
            return match done {
                Ok(()) => Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(Errno::INVAL) => Err(io::ErrorKind::Unsupported.into()),
                Err(errno) => Err(errno.into()),
            };
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Empty => &[],
            Inner::Single { map, .. } => map,
            // SAFETY: `start..start + len` lies inside the region, every page of it is a file's page
            // mapped for reading, and the region is unmapped only when the value is dropped.
            Inner::Stitched(s) => unsafe { std::slice::from_raw_parts(s.start.as_ptr(), s.len) },
        }
    }
}

#[derive(Debug)]
struct Stitched {
    // Held for its drop, which unmaps; declared before the permit, so that the maps go first.
    _region: Region,
    start: NonNull<u8>,
    len: usize,
    _permit: Permit,
}

// SAFETY: the memory is read-only and owned by the value; nothing in it is tied to a thread.
unsafe impl Send for Stitched {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Stitched {}

impl Stitched {
    fn new(pieces: &[Piece<'_>]) -> Result<Self, MapError> {
        let page = rustix::param::page_size() as u64;
        let lead = pieces[0].offset() % page;
        for pair in pieces.windows(2) {
            if !stitches(pair[0].offset() + pair[0].len(), pair[1].offset()) {
                return Err(MapError::Unaligned);
            }
        }
        let permit = Permit::take(pieces.len())?;
        let len: u64 = pieces.iter().map(Piece::len).sum();
        let total = (lead + len).next_multiple_of(page);
        let total = usize::try_from(total).map_err(io::Error::other)?;
        let region = Region::reserve(total, pieces[0].offset() - lead)?;
        let mut at = 0_u64;
        for (i, piece) in pieces.iter().enumerate() {
            let skip = if i == 0 { lead } else { 0 };
            let bytes = (piece.len() + skip).next_multiple_of(page);
            let placed = match *piece {
                Piece::File { file, offset, len } => check_length(file, offset, len)
                    .and_then(|()| region.place(at, bytes, file.as_fd(), offset - skip)),
                Piece::Zeros(_) => region.allow_reading(at, bytes),
            };
            if let Err(e) = placed {
                // A map that failed may have taken the one below it away, and what stands there by now may
                // be somebody else's: better to lose the addresses than to unmap that.
                std::mem::forget(region);
                return Err(e.into());
            }
            at += piece.len() + skip;
        }
        // SAFETY: `lead` is smaller than a page and the region holds at least one.
        let start = unsafe { region.start().add(lead as usize) };
        Ok(Self {
            _region: region,
            start,
            len: len as usize,
            _permit: permit,
        })
    }
}

/// A map past the end of its file would be a SIGBUS at the first touch; a short file is an error now.
fn check_length(file: &File, offset: u64, wanted: u64) -> io::Result<()> {
    let end = offset.checked_add(wanted);
    let len = file.metadata()?.len();
    if end.is_none_or(|end| end > len) {
        let why =
            format!("the file has {len} bytes, and {wanted} from offset {offset} were expected");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(())
}

/// A share of the maps this process may hold. At the kernel's own limit even `malloc` fails, so only a
/// quarter of it is ever used.
#[derive(Debug)]
pub(super) struct Permit(usize);

static MAPS_HELD: AtomicUsize = AtomicUsize::new(0);

impl Permit {
    pub(super) fn take(wanted: usize) -> Result<Self, MapError> {
        let limit = map_budget();
        let taken = MAPS_HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(wanted).filter(|&sum| sum <= limit)
        });
        taken
            .map(|_| Self(wanted))
            .map_err(|_| MapError::Budget { wanted, limit })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        MAPS_HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// How many maps one process may hold for tensors.
pub(crate) fn map_budget() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
        text.trim().parse::<usize>().unwrap_or(65_530) / 4
    })
}

/// Held by tests that use the whole budget up.
#[cfg(test)]
pub(super) static WHOLE_BUDGET: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn pieces_that_meet_at_pages_read_as_one_slice() {
        let page = rustix::param::page_size();
        let a: Vec<u8> = (0..3 * page).map(|i| (i % 251) as u8).collect();
        let b: Vec<u8> = (0..2 * page).map(|i| (i % 241) as u8).collect();
        let (fa, fb) = (file(&a), file(&b));
        let pieces = [
            Piece::File {
                file: &fa,
                offset: 100,
                len: 2 * page as u64 - 100,
            },
            Piece::File {
                file: &fb,
                offset: page as u64,
                len: page as u64,
            },
            Piece::File {
                file: &fa,
                offset: 0,
                len: 17,
            },
        ];
        let map = Mapping::new(&pieces).unwrap();
        let expected = [&a[100..2 * page], &b[page..2 * page], &a[..17]].concat();
        assert_eq!(&map[..], &expected[..]);
    }

    #[test]
    fn pieces_that_do_not_meet_at_pages_are_refused() {
        let f = file(&[1; 20_000]);
        let pieces = [
            Piece::File {
                file: &f,
                offset: 0,
                len: 100,
            },
            Piece::File {
                file: &f,
                offset: 0,
                len: 4096,
            },
        ];
        assert!(matches!(Mapping::new(&pieces), Err(MapError::Unaligned)));
    }

    #[test]
    fn a_piece_past_the_end_of_its_file_is_an_error_and_no_bus_error() {
        let f = file(&[1; 100]);
        let error = Mapping::new(&[Piece::File {
            file: &f,
            offset: 50,
            len: 51,
        }])
        .unwrap_err();
        assert!(error.to_string().contains("100 bytes"), "{error}");
    }

    #[test]
    fn the_budget_refuses_before_the_kernel_does_and_permits_come_back() {
        let _alone = WHOLE_BUDGET.lock();
        let limit = map_budget();
        assert!(matches!(
            Permit::take(limit + 1),
            Err(MapError::Budget { .. })
        ));
        drop(Permit::take(limit / 2).unwrap());
        drop(Permit::take(limit / 2).unwrap());
    }
}
