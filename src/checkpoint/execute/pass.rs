//! Reading, hashing and copying pieces on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::pieces::{Piece, Use, cut, order_of_use};
use super::ways::Way;
use super::{Done, Job, Outcome};
use crate::checkpoint::device::Device;
use crate::checkpoint::device_map::DeviceKind;
use crate::checkpoint::error::LoadError;
use crate::checkpoint::options::{LoadOptions, Residency};
use crate::checkpoint::plan::Plan;
use crate::checkpoint::shards::Shard;
use crate::checkpoint::tensor::{gather, pick};
use crate::checkpoint::threads::Threads;
use crate::fsio::Finished;
use crate::store::{CopyReason, FileMap};

pub(super) const RELAXED: Ordering = Ordering::Relaxed;

/// What is decided before the first byte of a tensor is read.
pub(super) struct Setup<'a, D: Device> {
    pub(super) shards: &'a [Shard],
    pub(super) maps: Vec<Option<Arc<FileMap>>>,
    pub(super) jobs: Vec<Job>,
    /// Why each job cannot be borrowed, if it cannot.
    pub(super) copies: Vec<Option<CopyReason>>,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a LoadOptions<D>,
    pub(super) residency: Residency,
    /// Bytes that may be read ahead.
    pub(super) room: u64,
    /// Bytes that are copied to stay.
    pub(super) kept_bytes: u64,
    /// Bytes of copies that may be on their way to devices at once.
    pub(super) passing_room: u64,
}

pub(super) struct Pass<'a, D: Device> {
    pub(super) setup: Setup<'a, D>,
    pub(super) ways: Vec<Mutex<Option<Way>>>,
    pub(super) outcomes: Vec<OnceLock<Outcome<D::Handle>>>,
    pub(super) later: Mutex<Vec<usize>>,
    room: AtomicU64,
    pub(super) populated_bytes: AtomicU64,
    pub(super) lazy_bytes: AtomicU64,
    pub(super) verified_bytes: AtomicU64,
    /// Copies that are on their way to a device.
    pub(super) passing_bytes: AtomicU64,
    pub(super) placed_tensors: AtomicUsize,
    pub(super) placed_bytes: AtomicU64,
    pub(super) total_bytes: u64,
    pub(super) nanoseconds: Vec<AtomicU64>,
    is_stopped: AtomicBool,
    error: Mutex<Option<LoadError>>,
}

impl<'a, D: Device> Pass<'a, D> {
    pub(super) fn new(setup: Setup<'a, D>) -> Self {
        let jobs = &setup.jobs;
        Self {
            ways: jobs.iter().map(|_| Mutex::new(None)).collect(),
            outcomes: jobs.iter().map(|_| OnceLock::new()).collect(),
            later: Mutex::default(),
            room: setup.room.into(),
            populated_bytes: 0.into(),
            lazy_bytes: 0.into(),
            verified_bytes: 0.into(),
            passing_bytes: 0.into(),
            placed_tensors: 0.into(),
            placed_bytes: 0.into(),
            total_bytes: jobs.iter().map(|job| job.selection.bytes()).sum(),
            nanoseconds: setup.plan.devices.iter().map(|_| 0.into()).collect(),
            is_stopped: false.into(),
            error: Mutex::default(),
            setup,
        }
    }

    pub(super) fn run(mut self, threads: &Threads) -> Result<Done<D::Handle>, LoadError> {
        let mut read = Vec::new();
        for number in 0..self.setup.jobs.len() {
            match self.is_only_handed_out(number) {
                true => {
                    self.setup.options.check_cancel()?;
                    let begun = Instant::now();
                    self.place(number, None)?;
                    self.note_time(number, begun);
                    let Job {
                        device, selection, ..
                    } = &self.setup.jobs[number];
                    if self.setup.plan.devices[*device].kind == DeviceKind::Cpu {
                        self.lazy_bytes.fetch_add(selection.bytes(), RELAXED);
                    }
                }
                false => read.push(number),
            }
        }
        if !read.is_empty() {
            let order = order_of_use(&self.setup.jobs, read);
            self.read(&order, threads)?;
            let later =
                std::mem::take(self.later.get_mut().unwrap_or_else(PoisonError::into_inner));
            // As many at a time as fit, now that nothing else is on its way.
            for group in self.groups_that_fit(&later) {
                for &number in group {
                    *lock(&self.ways[number]) = None;
                }
                self.read(group, threads)?;
                self.refuse_what_found_no_room()?;
            }
        }
        Ok(self.done())
    }

    /// Handing a slice of a map out is cheaper than waking another thread for it.
    fn is_only_handed_out(&self, number: usize) -> bool {
        match self.setup.plan.devices[self.setup.jobs[number].device].kind {
            DeviceKind::Disk => true,
            DeviceKind::Main => false,
            DeviceKind::Cpu => {
                let is_lazy = self.setup.residency == Residency::Lazy && !self.setup.options.verify;
                is_lazy && self.setup.copies[number].is_none()
            }
        }
    }

    /// Reads the given jobs on all threads, in their order.
    fn read(&self, order: &[usize], threads: &Threads) -> Result<(), LoadError> {
        // What a device lends memory for is copied, and whether it does is seen only then.
        let is_copied = |job: usize| {
            let kind = self.setup.plan.devices[self.setup.jobs[job].device].kind;
            self.setup.copies[job].is_some() || kind == DeviceKind::Main
        };
        let pieces = cut(&self.setup.jobs, order, self.setup.shards, is_copied);
        let pieces = Mutex::new(pieces.into_iter());
        threads.run_on_each(|| {
            let stop = StopOnPanic(&self.is_stopped);
            let mut scratch = Vec::new();
            while !self.is_stopped.load(RELAXED) {
                let Some(piece) = lock(&pieces).next() else {
                    break;
                };
                if let Err(e) = self.piece(piece, &mut scratch) {
                    self.is_stopped.store(true, RELAXED);
                    lock(&self.error).get_or_insert(e);
                }
            }
            drop(stop);
        })?;
        lock(&self.error).take().map_or(Ok(()), Err)
    }

    fn piece(&self, piece: Piece, scratch: &mut Vec<u8>) -> Result<(), LoadError> {
        self.setup.options.check_cancel()?;
        let begun = Instant::now();
        let mut first = None;
        let mut borrowed = Vec::new();
        let mut filled = Vec::new();
        let mut put_off = Vec::new();
        let Piece {
            shard,
            window,
            leaf,
            uses,
        } = piece;
        for one in uses {
            first.get_or_insert(one.job);
            match self.way(&one)? {
                Way::Borrow => borrowed.push(one),
                Way::Fill(_) => filled.push(one),
                Way::Later => put_off.push(one),
            }
        }
        if !borrowed.is_empty() || !filled.is_empty() {
            let read = Reading {
                shard,
                window,
                borrowed: &borrowed,
                filled: &mut filled,
            };
            match leaf {
                Some(leaf) => self.read_checked(read, leaf, scratch)?,
                None => self.read_plain(read)?,
            }
        }
        for one in borrowed.into_iter().chain(filled) {
            if let Finished::Last(buffer) = one.part.finish() {
                self.place(one.job, buffer)?;
            }
        }
        for one in put_off {
            if let Finished::Last(_) = one.part.finish() {
                lock(&self.later).push(one.job);
            }
        }
        first.into_iter().for_each(|job| self.note_time(job, begun));
        Ok(())
    }

    fn read_plain(&self, read: Reading<'_>) -> Result<(), LoadError> {
        let file = &self.setup.shards[read.shard].file;
        for one in read.borrowed {
            let len = read.window.end - read.window.start;
            if self.take_room(len, one) {
                self.map(read.shard)
                    .populate(read.window.clone())
                    .map_err(LoadError::from_source)?;
            }
        }
        for one in read.filled {
            let source = &self.setup.jobs[one.job].selection.source;
            if let Some(to) = one.part.bytes() {
                gather(source, read.window.clone(), file, to)?;
            }
        }
        Ok(())
    }

    /// Hashes the chunk once, wherever its bytes are needed, before any tensor over it is placed.
    fn read_checked(
        &self,
        read: Reading<'_>,
        leaf: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        let Shard { file, leaves, .. } = &self.setup.shards[read.shard];
        let Reading {
            window,
            borrowed,
            filled,
            ..
        } = read;
        let len = (window.end - window.start) as usize;
        let check = |bytes: &[u8]| {
            // What is referenced was hashed as it was read.
            let Some(leaves) = leaves else {
                return Ok(());
            };
            let checked = leaves.check(leaf, bytes, file);
            self.verified_bytes.fetch_add(bytes.len() as u64, RELAXED);
            checked.map_err(LoadError::from_source)
        };
        let fill = |bytes: &mut [u8]| {
            let read = match leaves {
                Some(_) => file.read_unchecked_at(window.start, bytes),
                None => file.read_part_at(window.start, bytes),
            };
            read.map(drop).map_err(LoadError::from_source)
        };
        // Hashed in memory of ours where nothing of it is to stay in the map.
        let mut is_kept = false;
        for one in borrowed {
            let range = &self.setup.jobs[one.job].selection.info.range;
            let part = range.start.max(window.start)..range.end.min(window.end);
            is_kept |= self.take_room(part.end - part.start, one);
        }
        let mapped = match is_kept {
            true => {
                let map = self.map(read.shard);
                map.populate(window.clone())
                    .map_err(LoadError::from_source)?;
                map.get(window.clone())
            }
            false => None,
        };
        let bytes = match mapped {
            Some(bytes) => bytes,
            None => {
                // Read into the tensor itself where the chunk is all its own.
                if let ([], [only]) = (borrowed, &mut *filled)
                    && let Some(to) = only.part.bytes().filter(|to| to.len() == len)
                {
                    fill(to)?;
                    return check(to);
                }
                scratch.resize(len, 0);
                fill(scratch)?;
                scratch
            }
        };
        check(bytes)?;
        for one in filled {
            let source = &self.setup.jobs[one.job].selection.source;
            if let Some(to) = one.part.bytes() {
                pick(source, window.clone(), bytes, to);
            }
        }
        Ok(())
    }

    /// Counts bytes of the map as read ahead, if there is room for them.
    fn take_room(&self, bytes: u64, one: &Use) -> bool {
        if self.setup.plan.devices[self.setup.jobs[one.job].device].kind == DeviceKind::Main {
            // The device is done with them when it has taken the tensor.
            return self.setup.residency != Residency::Lazy;
        }
        let take = |room: u64| room.checked_sub(bytes);
        let taken = self.room.fetch_update(RELAXED, RELAXED, take).is_ok();
        let counter = match taken && self.setup.residency != Residency::Lazy {
            true => &self.populated_bytes,
            false => &self.lazy_bytes,
        };
        counter.fetch_add(bytes, RELAXED);
        taken
    }
}

/// A piece, and those of its uses that are served now.
struct Reading<'p> {
    shard: usize,
    window: Range<u64>,
    borrowed: &'p [Use],
    filled: &'p mut [Use],
}

/// A device that panics ends the work of the other threads too.
struct StopOnPanic<'s>(&'s AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, RELAXED);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
