//! Address space of our own: file ranges are put over it, or it is memory.

#![expect(unsafe_code, reason = "mapping memory is what this module is for")]

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

/// What a huge page has on the processors that have them; a region aligned to it may use them.
const HUGE_PAGE: usize = 2 << 20;

/// A range of address space of our own.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned by the value, and nothing in it is tied to a thread.
unsafe impl Send for Region {}
// SAFETY: shared references give no access to the memory by themselves.
unsafe impl Sync for Region {}

impl Region {
    /// A range that nobody may touch until something is put over it. It starts where the file range from
    /// `offset` on can be shown in huge pages.
    pub(super) fn reserve(len: usize, offset: u64) -> io::Result<Self> {
        match len < HUGE_PAGE {
            true => Self::new(len, ProtFlags::empty()),
            false => Self::aligned(len, offset, ProtFlags::empty()),
        }
    }

    /// Zeroed memory of `len` bytes, in huge pages where the kernel has them.
    pub(super) fn memory(len: usize) -> io::Result<Self> {
        let region = Self::aligned(len, 0, ProtFlags::READ | ProtFlags::WRITE)?;
        // SAFETY: the range is the region's own; how its pages are sized changes no byte. A kernel without
        // huge pages refuses, and small ones do.
        let _ =
            unsafe { rustix::mm::madvise(region.base.as_ptr().cast(), len, Advice::LinuxHugepage) };
        Ok(region)
    }

    /// A range whose start is `offset` bytes past a place where a huge page can begin.
    fn aligned(len: usize, offset: u64, protection: ProtFlags) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let len = len
            .checked_next_multiple_of(page)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let total = len
            .checked_add(HUGE_PAGE)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let whole = std::mem::ManuallyDrop::new(Self::new(total, protection)?);
        let wanted = offset as usize % HUGE_PAGE;
        let skip = (wanted + HUGE_PAGE - whole.base.as_ptr().addr() % HUGE_PAGE) % HUGE_PAGE;
        let cut = |at: usize, len: usize| match len {
            0 => Ok(()),
            // SAFETY: the range lies inside the region, which nobody has a pointer into yet, and it is left
            // out of the one that is returned.
            _ => unsafe { rustix::mm::munmap(whole.base.as_ptr().add(at).cast(), len) },
        };
        cut(0, skip)?;
        cut(skip + len, HUGE_PAGE - skip)?;
        // SAFETY: `skip` is smaller than the region that was mapped.
        let base = unsafe { whole.base.add(skip) };
        Ok(Self { base, len })
    }

    fn new(len: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a fresh anonymous range chosen by the kernel overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE)
        }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { base, len })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.base
    }

    /// Makes `at..at + len` of the region readable: zeros that take no memory.
    pub(super) fn allow_reading(&self, at: u64, len: u64) -> io::Result<()> {
        let (at, len) = self.inside(at, len)?;
        // SAFETY: the range was checked to lie inside the region, which this value owns; nobody writes to
        // it, and it holds the zeros of fresh anonymous memory.
        unsafe {
            let start = self.base.as_ptr().add(at).cast();
            rustix::mm::mprotect(start, len, MprotectFlags::READ)
        }?;
        Ok(())
    }

    fn inside(&self, at: u64, len: u64) -> io::Result<(usize, usize)> {
        let (at, len) = (at as usize, len as usize);
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok((at, len)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Puts a file range over `at..at + len` of the region.
    pub(super) fn place(&self, at: u64, len: u64, file: impl AsFd, offset: u64) -> io::Result<()> {
        let (at, len) = self.inside(at, len)?;
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
