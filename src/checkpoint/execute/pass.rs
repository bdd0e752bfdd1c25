//! Reading, hashing, copying and placing, on several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::begun::failed;
use super::pieces::{Piece, Use, cut, order_of_use};
use super::{Done, Job, Outcome};
use crate::checkpoint::device::{Device, StagingBuf, TensorBytes, TensorData};
use crate::checkpoint::device_map::DeviceKind;
use crate::checkpoint::dispatched::{Placed, Slot};
use crate::checkpoint::error::LoadError;
use crate::checkpoint::options::{LoadOptions, LoadProgress, Residency};
use crate::checkpoint::plan::Plan;
use crate::checkpoint::shards::Shard;
use crate::checkpoint::tensor::{LazyTensor, Tensor, borrow, gather, pick};
use crate::checkpoint::threads::Threads;
use crate::fsio::{Finished, Memory};
use crate::store::{CopyReason, FileMap};

const RELAXED: Ordering = Ordering::Relaxed;

/// Memory that a tensor is read into.
pub(super) enum Buffer {
    Host(Memory),
    Device(StagingBuf),
}

impl Buffer {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Host(memory) => memory,
            Self::Device(staging) => staging.bytes_mut(),
        }
    }
}

/// What becomes of a tensor's bytes, decided when the first of them is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They stay in the map.
    Borrow,
    /// They are read into memory of this process, or of a device.
    Fill(CopyReason),
    /// The memory cap has no room for them beside those on their way to devices.
    Later,
}

pub(super) struct Pass<'a, D: Device> {
    shards: &'a [Shard],
    maps: Vec<Option<Arc<FileMap>>>,
    jobs: Vec<Job>,
    /// Why each job cannot be borrowed, if it cannot.
    copies: Vec<Option<CopyReason>>,
    plan: &'a Plan,
    options: &'a LoadOptions<D>,
    residency: Residency,
    ways: Vec<Mutex<Option<Way>>>,
    outcomes: Vec<OnceLock<Outcome<D::Handle>>>,
    later: Mutex<Vec<usize>>,
    /// Bytes that may still be read ahead.
    room: AtomicU64,
    populated_bytes: AtomicU64,
    lazy_bytes: AtomicU64,
    verified_bytes: AtomicU64,
    /// Copies that are on their way to a device.
    passing_bytes: AtomicU64,
    kept_bytes: u64,
    placed_tensors: AtomicUsize,
    placed_bytes: AtomicU64,
    total_bytes: u64,
    nanoseconds: Vec<AtomicU64>,
    is_stopped: AtomicBool,
    error: Mutex<Option<LoadError>>,
}

impl<'a, D: Device> Pass<'a, D> {
    #[expect(clippy::too_many_arguments, reason = "all that was decided before")]
    pub(super) fn new(
        shards: &'a [Shard],
        maps: Vec<Option<Arc<FileMap>>>,
        jobs: Vec<Job>,
        copies: Vec<Option<CopyReason>>,
        plan: &'a Plan,
        options: &'a LoadOptions<D>,
        residency: Residency,
        room: u64,
        kept_bytes: u64,
    ) -> Self {
        Self {
            shards,
            maps,
            copies,
            plan,
            options,
            residency,
            ways: jobs.iter().map(|_| Mutex::new(None)).collect(),
            outcomes: jobs.iter().map(|_| OnceLock::new()).collect(),
            later: Mutex::default(),
            room: room.into(),
            populated_bytes: 0.into(),
            lazy_bytes: 0.into(),
            verified_bytes: 0.into(),
            passing_bytes: 0.into(),
            kept_bytes,
            placed_tensors: 0.into(),
            placed_bytes: 0.into(),
            total_bytes: jobs.iter().map(|job| job.selection.bytes()).sum(),
            nanoseconds: plan.devices.iter().map(|_| 0.into()).collect(),
            is_stopped: false.into(),
            error: Mutex::default(),
            jobs,
        }
    }

    pub(super) fn run(mut self, threads: &Threads) -> Result<Done<D::Handle>, LoadError> {
        let mut read = Vec::new();
        for number in 0..self.jobs.len() {
            match self.is_only_handed_out(number) {
                true => {
                    self.options.check_cancel()?;
                    let begun = Instant::now();
                    self.place(number, None)?;
                    self.note_time(number, begun);
                    let Job {
                        device, selection, ..
                    } = &self.jobs[number];
                    if self.plan.devices[*device].kind == DeviceKind::Cpu {
                        self.lazy_bytes.fetch_add(selection.bytes(), RELAXED);
                    }
                }
                false => read.push(number),
            }
        }
        if !read.is_empty() {
            let order = order_of_use(&self.jobs, read);
            self.read(&order, threads)?;
            let later =
                std::mem::take(self.later.get_mut().unwrap_or_else(PoisonError::into_inner));
            // One by one, now that nothing else is on its way.
            for number in later {
                *lock(&self.ways[number]) = None;
                self.read(&[number], threads)?;
                self.refuse_what_found_no_room()?;
            }
        }
        Ok(self.done())
    }

    /// Handing a slice of a map out is cheaper than waking another thread for it.
    fn is_only_handed_out(&self, number: usize) -> bool {
        match self.plan.devices[self.jobs[number].device].kind {
            DeviceKind::Disk => true,
            DeviceKind::Main => false,
            DeviceKind::Cpu => {
                let is_lazy = self.residency == Residency::Lazy && !self.options.verify;
                is_lazy && self.copies[number].is_none()
            }
        }
    }

    /// Reads the given jobs on all threads, in their order.
    fn read(&self, order: &[usize], threads: &Threads) -> Result<(), LoadError> {
        let pieces = Mutex::new(cut(&self.jobs, order, self.shards).into_iter());
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
        self.options.check_cancel()?;
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
        let file = &self.shards[read.shard].file;
        for one in read.borrowed {
            let len = read.window.end - read.window.start;
            if self.take_room(len, one) {
                self.map(read.shard)
                    .populate(read.window.clone())
                    .map_err(LoadError::from_source)?;
            }
        }
        for one in read.filled {
            let source = &self.jobs[one.job].selection.source;
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
        let Shard { file, leaves, .. } = &self.shards[read.shard];
        let Some(leaves) = leaves else {
            return self.read_plain(read);
        };
        let Reading {
            window,
            borrowed,
            filled,
            ..
        } = read;
        let len = (window.end - window.start) as usize;
        let check = |bytes: &[u8]| {
            let checked = leaves.check(leaf, bytes, file);
            self.verified_bytes.fetch_add(bytes.len() as u64, RELAXED);
            checked.map_err(LoadError::from_source)
        };
        for one in borrowed {
            let range = &self.jobs[one.job].selection.info.range;
            let part = range.start.max(window.start)..range.end.min(window.end);
            self.take_room(part.end - part.start, one);
        }
        // Read into the tensor itself where the chunk is all its own.
        if let ([], [only]) = (borrowed, &mut *filled)
            && let Some(to) = only.part.bytes().filter(|to| to.len() == len)
        {
            gather(&self.jobs[only.job].selection.source, window, file, to)?;
            return check(to);
        }
        let mapped = match borrowed {
            [] => None,
            _ => {
                let map = self.map(read.shard);
                map.populate(window.clone())
                    .map_err(LoadError::from_source)?;
                map.get(window.clone())
            }
        };
        let bytes = match mapped {
            Some(bytes) => bytes,
            None => {
                scratch.resize(len, 0);
                file.read_part_at(window.start, scratch)
                    .map_err(LoadError::from_source)?;
                scratch
            }
        };
        check(bytes)?;
        for one in filled {
            let source = &self.jobs[one.job].selection.source;
            if let Some(to) = one.part.bytes() {
                pick(source, window.clone(), bytes, to);
            }
        }
        Ok(())
    }

    /// Counts bytes of the map as read ahead, if there is room for them.
    fn take_room(&self, bytes: u64, one: &Use) -> bool {
        if self.plan.devices[self.jobs[one.job].device].kind == DeviceKind::Main {
            // The device is done with them when it has taken the tensor.
            return self.residency != Residency::Lazy;
        }
        let take = |room: u64| room.checked_sub(bytes);
        let taken = self.room.fetch_update(RELAXED, RELAXED, take).is_ok();
        let counter = match taken && self.residency != Residency::Lazy {
            true => &self.populated_bytes,
            false => &self.lazy_bytes,
        };
        counter.fetch_add(bytes, RELAXED);
        taken
    }

    /// What becomes of a tensor; memory for it is taken when this is asked first.
    fn way(&self, one: &Use) -> Result<Way, LoadError> {
        let mut way = lock(&self.ways[one.job]);
        if let Some(way) = *way {
            return Ok(way);
        }
        Ok(*way.insert(self.decide(one)?))
    }

    fn decide(&self, one: &Use) -> Result<Way, LoadError> {
        let Job {
            shard,
            selection,
            device,
        } = &self.jobs[one.job];
        let bytes = selection.bytes();
        let is_main = self.plan.devices[*device].kind == DeviceKind::Main;
        if is_main {
            let named = &self.options.devices[*device];
            if let Some(staging) = named.1.staging(bytes as usize) {
                let lent = one.part.provide(Buffer::Device(staging), Buffer::bytes);
                return match lent {
                    Ok(()) => Ok(Way::Fill(CopyReason::DeviceMemory)),
                    Err(found) => Err(failed(
                        named,
                        format!("lent {found} bytes for staging where {bytes} were asked for")
                            .into(),
                    )),
                };
            }
        }
        let Some(why) = self.copies[one.job] else {
            return Ok(Way::Borrow);
        };
        if is_main && !self.pass_by(bytes) {
            return Ok(Way::Later);
        }
        let memory = self.shards[*shard].file.memory(bytes);
        let memory = memory.map_err(LoadError::from_source)?;
        let provided = one.part.provide(Buffer::Host(memory), Buffer::bytes);
        debug_assert_eq!(provided, Ok(()), "memory as long as it was asked for");
        Ok(Way::Fill(why))
    }

    /// Takes room under the memory cap for a copy on its way to a device.
    fn pass_by(&self, bytes: u64) -> bool {
        let cap = self.options.memory_cap.unwrap_or(u64::MAX);
        let room = cap.saturating_sub(self.kept_bytes);
        let take = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= room);
        let taken = self.passing_bytes.fetch_update(RELAXED, RELAXED, take);
        taken.is_ok()
    }

    fn refuse_what_found_no_room(&self) -> Result<(), LoadError> {
        let Some(number) = lock(&self.later).pop() else {
            return Ok(());
        };
        let selection = &self.jobs[number].selection;
        Err(LoadError::MemoryCap {
            what: format!("tensor `{}`", selection.info.name),
            needed: self.kept_bytes.saturating_add(selection.bytes()),
            cap: self.options.memory_cap.unwrap_or(u64::MAX),
        })
    }

    fn place(&self, number: usize, buffer: Option<Buffer>) -> Result<(), LoadError> {
        let Job {
            shard,
            selection,
            device,
        } = &self.jobs[number];
        let bytes = selection.bytes();
        let info = Arc::new(selection.info.clone());
        let why = match *lock(&self.ways[number]) {
            Some(Way::Fill(why)) => Some(why),
            _ => None,
        };
        let placed = match (self.plan.devices[*device].kind, buffer) {
            (DeviceKind::Disk, _) => {
                let Shard { file, leaves, .. } = &self.shards[*shard];
                Placed::Disk(LazyTensor::new(
                    Arc::clone(&info),
                    selection.source.clone(),
                    file.clone(),
                    leaves.clone(),
                ))
            }
            (DeviceKind::Cpu, Some(Buffer::Host(memory))) => {
                let why = why.unwrap_or(CopyReason::Requested);
                Placed::Mapped(Tensor::copied_from(Arc::clone(&info), memory, why))
            }
            (DeviceKind::Cpu, _) => Placed::Mapped(borrow(&info, self.map(*shard))?),
            (DeviceKind::Main, buffer) => {
                let named = &self.options.devices[*device];
                let place = |data| {
                    let tensor = TensorBytes { info: &info, data };
                    named.1.place(tensor).map_err(|e| failed(named, e))
                };
                Placed::Device(match buffer {
                    Some(Buffer::Device(staging)) => place(TensorData::Staged(staging))?,
                    Some(Buffer::Host(memory)) => {
                        let handle = place(TensorData::Borrowed(&memory))?;
                        drop(memory);
                        self.passing_bytes.fetch_sub(bytes, RELAXED);
                        handle
                    }
                    None => {
                        let tensor = borrow(&info, self.map(*shard))?;
                        place(TensorData::Borrowed(tensor.bytes()))?
                    }
                })
            }
        };
        let slot = Slot {
            info,
            device: *device,
            placed,
        };
        let outcome = Outcome {
            slot,
            bytes,
            copied: why,
        };
        let is_first = self.outcomes[number].set(outcome).is_ok();
        debug_assert!(is_first, "each tensor is placed once");
        self.tell(bytes);
        Ok(())
    }

    fn map(&self, shard: usize) -> &Arc<FileMap> {
        self.maps[shard]
            .as_ref()
            .expect("shards that something is borrowed from were mapped")
    }

    fn note_time(&self, job: usize, begun: Instant) {
        let spent = begun.elapsed().as_nanos() as u64;
        self.nanoseconds[self.jobs[job].device].fetch_add(spent, RELAXED);
    }

    fn tell(&self, bytes: u64) {
        let Some(progress) = &self.options.progress else {
            return;
        };
        progress(LoadProgress {
            tensors: self.placed_tensors.fetch_add(1, RELAXED) + 1,
            total_tensors: self.jobs.len(),
            bytes: self.placed_bytes.fetch_add(bytes, RELAXED) + bytes,
            total_bytes: self.total_bytes,
        });
    }

    fn done(self) -> Done<D::Handle> {
        let mut done = Done {
            slots: Vec::with_capacity(self.jobs.len()),
            zero_copy_bytes: 0,
            copies: BTreeMap::new(),
            residency: self.residency,
            populated_bytes: self.populated_bytes.into_inner(),
            lazy_bytes: self.lazy_bytes.into_inner(),
            verified_bytes: self.verified_bytes.into_inner(),
            thread_seconds: Vec::new(),
        };
        for outcome in self.outcomes {
            let outcome = outcome.into_inner().expect("every tensor was placed");
            match outcome.copied {
                None => done.zero_copy_bytes += outcome.bytes,
                Some(why) => *done.copies.entry(why).or_default() += outcome.bytes,
            }
            done.slots.push(outcome.slot);
        }
        let seconds = |spent: AtomicU64| spent.into_inner() as f64 / 1e9;
        done.thread_seconds = self.nanoseconds.into_iter().map(seconds).collect();
        done
    }
}

/// A piece, and those of its uses that are served now.
struct Reading<'p> {
    shard: usize,
    window: std::ops::Range<u64>,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
