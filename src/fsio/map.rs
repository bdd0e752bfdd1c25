//! Read-only maps of sealed files, several ranges stitched into contiguous memory where pages allow it.

#![expect(unsafe_code, reason = "mapping files is what this module is for")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

/// One range of a file that nobody changes while it is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) file: &'a File,
    pub(crate) offset: u64,
    pub(crate) len: u64,
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
            [only] if only.len == 0 => Ok(Self(Inner::Empty)),
            [only] => {
                let permit = Permit::take(1)?;
                check_length(only)?;
                // SAFETY: the range lies within the file, and the file is sealed (mode 0444, never
                // written again) or its owner has promised not to change it, so the bytes behind the
                // slice stay the same while it lives.
                let map = unsafe {
                    memmap2::MmapOptions::new()
                        .offset(only.offset)
                        .len(usize::try_from(only.len).map_err(io::Error::other)?)
                        .map(only.file)?
                };
                Ok(Self(Inner::Single {
                    map,
                    _permit: permit,
                }))
            }
            many => Ok(Self(Inner::Stitched(Stitched::new(many)?))),
        }
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
        let lead = pieces[0].offset % page;
        for pair in pieces.windows(2) {
            if !stitches(pair[0].offset + pair[0].len, pair[1].offset) {
                return Err(MapError::Unaligned);
            }
        }
        let permit = Permit::take(pieces.len())?;
        let len: u64 = pieces.iter().map(|p| p.len).sum();
        let total = (lead + len).next_multiple_of(page);
        let region = Region::reserve(usize::try_from(total).map_err(io::Error::other)?)?;
        let mut at = 0_u64;
        for (i, piece) in pieces.iter().enumerate() {
            check_length(piece)?;
            let skip = if i == 0 { lead } else { 0 };
            let bytes = (piece.len + skip).next_multiple_of(page);
            region.place(at, bytes, piece.file.as_fd(), piece.offset - skip)?;
            at += piece.len + skip;
        }
        // SAFETY: `lead` is smaller than a page and the region holds at least one.
        let start = unsafe { region.base.add(lead as usize) };
        Ok(Self {
            _region: region,
            start,
            len: len as usize,
            _permit: permit,
        })
    }
}

/// A range of address space of our own.
#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    fn reserve(len: usize) -> io::Result<Self> {
        // SAFETY: a fresh anonymous range chosen by the kernel overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE)
        }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { base, len })
    }

    /// Puts a file range over `at..at + len` of the region.
    fn place(&self, at: u64, len: u64, file: impl AsFd, offset: u64) -> io::Result<()> {
        let (at, len) = (at as usize, len as usize);
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the range was checked to lie inside the region, which this value owns and which
        // nobody has a pointer into yet, so replacing its pages affects nobody else.
        unsafe {
            rustix::mm::mmap(
                self.base.as_ptr().add(at).cast(),
                len,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::FIXED,
                file,
                offset,
            )
        }?;
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the region is ours, and the slices over it borrow the value that owns it.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A map past the end of its file would be a SIGBUS at the first touch; a short file is an error now.
fn check_length(piece: &Piece<'_>) -> io::Result<()> {
    let end = piece.offset.checked_add(piece.len);
    let len = piece.file.metadata()?.len();
    if end.is_none_or(|end| end > len) {
        let why = format!(
            "the file has {len} bytes, and {} from offset {} were expected",
            piece.len, piece.offset
        );
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(())
}

/// A share of the maps this process may hold. At the kernel's own limit even `malloc` fails, so only a
/// quarter of it is ever used.
#[derive(Debug)]
struct Permit(usize);

static MAPS_HELD: AtomicUsize = AtomicUsize::new(0);

impl Permit {
    fn take(wanted: usize) -> Result<Self, MapError> {
        let limit = budget();
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

fn budget() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
        text.trim().parse::<usize>().unwrap_or(65_530) / 4
    })
}

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
            Piece {
                file: &fa,
                offset: 100,
                len: 2 * page as u64 - 100,
            },
            Piece {
                file: &fb,
                offset: page as u64,
                len: page as u64,
            },
            Piece {
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
            Piece {
                file: &f,
                offset: 0,
                len: 100,
            },
            Piece {
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
        let error = Mapping::new(&[Piece {
            file: &f,
            offset: 50,
            len: 51,
        }])
        .unwrap_err();
        assert!(error.to_string().contains("100 bytes"), "{error}");
    }

    #[test]
    fn the_budget_refuses_before_the_kernel_does_and_permits_come_back() {
        let limit = budget();
        assert!(matches!(
            Permit::take(limit + 1),
            Err(MapError::Budget { .. })
        ));
        drop(Permit::take(limit / 2).unwrap());
        drop(Permit::take(limit / 2).unwrap());
    }
}
