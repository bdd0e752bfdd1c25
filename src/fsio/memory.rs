//! Memory for copies: large ones in huge pages, and filled by several threads side by side.

#![expect(unsafe_code, reason = "several threads fill parts of one memory")]

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::map::Permit;
use super::region::Region;

/// From here on memory comes from the system by itself, and goes back to it when it is dropped.
const LARGE: usize = 1 << 20;
/// Where small memory begins: at a multiple of this, more than any element's size.
const ALIGN: usize = 64;

/// Owned bytes that start at a multiple of 64. Where there is no memory it says so, instead of ending the
/// process.
pub(crate) struct Memory {
    backing: Backing,
    start: usize,
    len: usize,
}

enum Backing {
    Small(Vec<u8>),
    /// Counted with the maps, of which a process may hold a limited number.
    Large {
        region: Region,
        _permit: Permit,
    },
}

impl Memory {
    pub(crate) fn zeroed(len: usize) -> io::Result<Self> {
        if len >= LARGE
            && let Ok(permit) = Permit::take(1)
        {
            return Ok(Self {
                backing: Backing::Large {
                    region: Region::memory(len)?,
                    _permit: permit,
                },
                start: 0,
                len,
            });
        }
        let mut bytes = Vec::new();
        let total = len.checked_add(ALIGN).ok_or(io::ErrorKind::OutOfMemory)?;
        bytes
            .try_reserve_exact(total)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(total, 0_u8);
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Ok(Self {
            backing: Backing::Small(bytes),
            start,
            len,
        })
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.backing {
            Backing::Small(bytes) => &bytes[self.start..self.start + self.len],
            // SAFETY: the region is readable memory of at least `start + len` bytes, zeroed when it was
            // made, and only changed through `deref_mut`.
            Backing::Large { region, .. } => unsafe {
                std::slice::from_raw_parts(region.start().as_ptr().add(self.start), self.len)
            },
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.backing {
            Backing::Small(bytes) => &mut bytes[self.start..self.start + self.len],
            // SAFETY: as in `deref`; the region is writable, and borrowed exclusively.
            Backing::Large { region, .. } => unsafe {
                std::slice::from_raw_parts_mut(region.start().as_ptr().add(self.start), self.len)
            },
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// One part of memory that several threads fill, which may not be there yet. Parts are made together and
/// never overlap; the last one to be finished gives the memory's owner back, unless one was dropped instead.
pub(crate) struct Part<T> {
    /// None once it is finished.
    whole: Option<Arc<Whole<T>>>,
    range: Range<usize>,
}

struct Whole<T> {
    /// Touched by whoever sets `base`, and after that by nobody until the last part is gone.
    owner: UnsafeCell<Option<T>>,
    base: OnceLock<Base>,
    len: usize,
    /// A part was dropped before it was finished.
    is_lost: AtomicBool,
}

struct Base {
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is only used through parts, each of which has a range of its own.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}
// SAFETY: the owner moves in on one thread and out on another, and is never shared between them.
unsafe impl<T: Send> Send for Whole<T> {}
// SAFETY: `owner` is written once, inside `OnceLock::get_or_init`, and read only by `Arc::into_inner`.
unsafe impl<T: Send> Sync for Whole<T> {}

/// Parts that end at `ends`, in ascending order, the last of which is the memory's length.
pub(crate) fn parts<T>(ends: &[usize]) -> Vec<Part<T>> {
    let whole = Arc::new(Whole {
        owner: UnsafeCell::new(None),
        base: OnceLock::new(),
        len: ends.last().copied().unwrap_or(0),
        is_lost: AtomicBool::new(false),
    });
    let mut start = 0;
    let part = |end: &usize| {
        assert!(start <= *end, "parts in ascending order");
        let range = start..*end;
        start = *end;
        Part {
            whole: Some(Arc::clone(&whole)),
            range,
        }
    };
    ends.iter().map(part).collect()
}

impl<T> Part<T> {
    /// Brings the memory that the parts are of: `bytes` borrows it from its owner. What is brought after
    /// that is dropped.
    ///
    /// # Errors
    /// The memory's length, if it is not that of all parts together.
    pub(crate) fn provide(
        &self,
        mut owner: T,
        bytes: impl Fn(&mut T) -> &mut [u8],
    ) -> Result<(), usize> {
        let whole = self.whole();
        let found = bytes(&mut owner).len();
        if found != whole.len {
            return Err(found);
        }
        let base = whole.base.get_or_init(|| {
            // SAFETY: `get_or_init` runs one closure at a time and never again once one has returned, so
            // nobody else has a reference to the owner; it stays where it is until the last part is gone.
            let owner = unsafe { (*whole.owner.get()).insert(owner) };
            let bytes = bytes(owner);
            Base {
                start: bytes.as_mut_ptr(),
                len: bytes.len(),
            }
        });
        // It may say another length the second time.
        match base.len == whole.len {
            true => Ok(()),
            false => Err(base.len),
        }
    }

    /// The part's bytes; none while there is no memory.
    pub(crate) fn bytes(&mut self) -> Option<&mut [u8]> {
        let whole = self.whole();
        let base = whole.base.get().filter(|base| base.len == whole.len)?;
        // SAFETY: parts do not overlap, each is borrowed exclusively here, all lie inside the memory, and
        // the memory lives as long as its owner, which the `Arc` keeps.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(base.start.add(self.range.start), self.range.len())
        };
        Some(bytes)
    }

    /// The part is filled, or not needed. The last one returns the owner, if there was one.
    pub(crate) fn finish(mut self) -> Finished<T> {
        match self.whole.take().and_then(Arc::into_inner) {
            Some(whole) if !whole.is_lost.load(Ordering::Relaxed) => {
                Finished::Last(whole.owner.into_inner())
            }
            _ => Finished::Others,
        }
    }

    fn whole(&self) -> &Whole<T> {
        self.whole
            .as_ref()
            .expect("a part has its whole until it is finished")
    }
}

impl<T> Drop for Part<T> {
    fn drop(&mut self) {
        if let Some(whole) = &self.whole {
            // Seen by the last one: giving the count up is a release, and taking the whole an acquire.
            whole.is_lost.store(true, Ordering::Relaxed);
        }
    }
}

/// What the end of a part means for the whole.
pub(crate) enum Finished<T> {
    /// Other parts are not finished yet, or never will be.
    Others,
    /// All are; the owner of the memory, if memory was asked for.
    Last(Option<T>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_of_any_length() {
        for len in [0, 1, 63, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE] {
            let mut memory = Memory::zeroed(len).unwrap();
            assert_eq!(memory.len(), len);
            assert!(memory.iter().all(|byte| *byte == 0));
            assert!(memory.as_ptr().addr().is_multiple_of(ALIGN));
            memory.fill(7);
            assert!(memory.iter().all(|byte| *byte == 7));
        }
        assert!(Memory::zeroed(usize::MAX / 2).is_err());
        assert!(Memory::zeroed(usize::MAX - 10).is_err());
    }

    #[test]
    fn more_memories_than_there_may_be_maps_come_from_elsewhere() {
        let maps = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().count()
        };
        let _alone = crate::fsio::map::WHOLE_BUDGET.lock();
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let before = maps();
        let held: Vec<Memory> = (0..limit / 4 + 100)
            .map(|_| Memory::zeroed(LARGE).unwrap())
            .collect();
        // Other tests take some too.
        assert!(maps() < before + limit / 4 + 2_000, "{} maps", maps());
        assert!(held.last().unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn parts_are_filled_by_several_threads_and_the_last_gives_the_whole_back() {
        let parts = parts::<Vec<u8>>(&[3, 3, 1_000, 70_000]);
        let last = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (i, mut part) in parts.into_iter().enumerate() {
                let last = &last;
                scope.spawn(move || {
                    part.provide(vec![0; 70_000], |owner| owner).unwrap();
                    part.bytes().unwrap().fill(i as u8 + 1);
                    if let Finished::Last(owner) = part.finish() {
                        last.lock().unwrap().push(owner.unwrap());
                    }
                });
            }
        });
        let whole = last.into_inner().unwrap();
        let expected = [vec![1; 3], vec![3; 997], vec![4; 69_000]].concat();
        assert_eq!(whole, [expected]);
    }

    #[test]
    fn parts_that_are_dropped_drop_their_owner() {
        let alive = Arc::new(());
        let mut parts = parts::<(Arc<()>, Vec<u8>)>(&[4, 8]);
        assert!(parts[0].bytes().is_none());
        let owner = (Arc::clone(&alive), vec![0; 8]);
        assert_eq!(parts[1].provide(owner, |owner| &mut owner.1), Ok(()));
        parts[0].bytes().unwrap()[0] = 1;
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(parts);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_part_that_was_dropped_is_never_taken_for_filled() {
        let mut parts = parts::<Vec<u8>>(&[4, 8]);
        parts[0].provide(vec![0; 8], |owner| owner).unwrap();
        let second = parts.pop().unwrap();
        drop(parts);
        assert!(matches!(second.finish(), Finished::Others));
    }

    #[test]
    fn memory_of_another_length_than_the_parts_is_refused() {
        let parts = parts::<Vec<u8>>(&[4]);
        assert_eq!(parts[0].provide(vec![0; 3], |owner| owner), Err(3));
    }
}
