//! Carrying a plan out: every tensor to its device, in parallel, ending at the first error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use super::device::{Device, DeviceError, DevicePlan, TensorBytes, TensorData};
use super::device_map::DeviceKind;
use super::dispatched::{Placed, Slot};
use super::error::LoadError;
use super::header::TensorInfo;
use super::options::{LoadOptions, LoadProgress};
use super::plan::Plan;
use super::select::Selection;
use super::shards::Shard;
use super::tensor::{LazyTensor, gather, is_borrowed, place};
use crate::store::{CopyReason, FileMap};

/// One tensor to be placed.
pub(super) struct Job {
    pub(super) shard: usize,
    pub(super) selection: Selection,
    /// Counts into the plan's devices.
    pub(super) device: usize,
}

/// What was placed, and how.
pub(super) struct Done<H> {
    pub(super) slots: Vec<Slot<H>>,
    pub(super) zero_copy_bytes: u64,
    pub(super) copies: BTreeMap<CopyReason, u64>,
    /// For each device of the plan.
    pub(super) thread_seconds: Vec<f64>,
}

pub(super) fn execute<D: Device>(
    shards: &[Shard],
    jobs: Vec<Job>,
    plan: &Plan,
    options: &LoadOptions<D>,
) -> Result<Done<D::Handle>, LoadError> {
    let maps = map_shards(shards, &jobs, plan)?;
    let mut run = Run {
        shards,
        maps,
        plan,
        options,
        total_tensors: jobs.len(),
        total_bytes: jobs.iter().map(|job| job.selection.bytes()).sum(),
        placed_tensors: AtomicUsize::new(0),
        placed_bytes: AtomicU64::new(0),
        kept_bytes: 0,
        passing_bytes: AtomicU64::new(0),
    };
    // Borrowing from a map is cheaper than handing the work to another thread.
    let copies = jobs.iter().any(|job| !run.is_borrowed(job));
    if copies {
        run.kept_bytes = run.copied_to_stay(&jobs)?;
    }
    let begun = Begun::begin(&jobs, plan, options)?;
    let outcomes: Vec<Outcome<D::Handle>> = match copies {
        true => {
            let tried: Vec<Tried<D::Handle>> = jobs
                .into_par_iter()
                .map(|job| run.place(job))
                .collect::<Result<_, _>>()?;
            tried
                .into_iter()
                .map(|tried| run.place_alone(tried))
                .collect::<Result<_, _>>()?
        }
        false => jobs
            .into_iter()
            .map(|job| run.place(job).and_then(|tried| run.place_alone(tried)))
            .collect::<Result<_, _>>()?,
    };
    options.check_cancel()?;
    begun.finish()?;
    let mut done = Done {
        slots: Vec::with_capacity(outcomes.len()),
        zero_copy_bytes: 0,
        copies: BTreeMap::new(),
        thread_seconds: vec![0.0; plan.devices.len()],
    };
    for outcome in outcomes {
        match outcome.copied {
            None => done.zero_copy_bytes += outcome.bytes,
            Some(why) => *done.copies.entry(why).or_default() += outcome.bytes,
        }
        done.thread_seconds[outcome.slot.device] += outcome.seconds;
        done.slots.push(outcome.slot);
    }
    Ok(done)
}

/// Maps the shards that something is placed from.
fn map_shards(
    shards: &[Shard],
    jobs: &[Job],
    plan: &Plan,
) -> Result<Vec<Option<Arc<FileMap>>>, LoadError> {
    let mut wanted = vec![false; shards.len()];
    for job in jobs {
        wanted[job.shard] |= plan.devices[job.device].kind != DeviceKind::Disk;
    }
    let map = |(shard, wanted): (&Shard, bool)| match wanted {
        true => shard
            .file
            .map()
            .map(|map| Some(Arc::new(map)))
            .map_err(LoadError::from_source),
        false => Ok(None),
    };
    shards.iter().zip(wanted).map(map).collect()
}

struct Outcome<H> {
    slot: Slot<H>,
    bytes: u64,
    copied: Option<CopyReason>,
    seconds: f64,
}

/// What a device made of a tensor, and why its bytes were copied on the way.
type Taken<H> = (H, Option<CopyReason>);

/// What came of one job.
enum Tried<H> {
    Placed(Outcome<H>),
    /// The memory cap has no room for its copy beside those on their way to devices.
    Later(Job),
}

struct Run<'a, D: Device> {
    shards: &'a [Shard],
    maps: Vec<Option<Arc<FileMap>>>,
    plan: &'a Plan,
    options: &'a LoadOptions<D>,
    total_tensors: usize,
    total_bytes: u64,
    placed_tensors: AtomicUsize,
    placed_bytes: AtomicU64,
    /// Copies that stay in this process's memory.
    kept_bytes: u64,
    /// Copies that are on their way to a device.
    passing_bytes: AtomicU64,
}

impl<D: Device> Run<'_, D> {
    fn is_borrowed(&self, job: &Job) -> bool {
        match self.plan.devices[job.device].kind {
            DeviceKind::Disk => true,
            DeviceKind::Cpu => is_borrowed(&job.selection, self.map(job.shard)),
            DeviceKind::Main => false,
        }
    }

    /// Bytes that are copied into this process's memory to stay there. More than the cap allows is
    /// refused before any device is begun or any memory taken.
    fn copied_to_stay(&self, jobs: &[Job]) -> Result<u64, LoadError> {
        let cpu = |job: &&Job| self.plan.devices[job.device].kind == DeviceKind::Cpu;
        let copied = jobs.iter().filter(cpu).filter(|job| !self.is_borrowed(job));
        let bytes = copied.map(|job| job.selection.bytes()).sum();
        match self.options.memory_cap {
            Some(cap) if bytes > cap => Err(LoadError::MemoryCap {
                what: "what has to be copied for `cpu`".to_owned(),
                needed: bytes,
                cap,
            }),
            _ => Ok(bytes),
        }
    }

    fn place(&self, job: Job) -> Result<Tried<D::Handle>, LoadError> {
        self.options.check_cancel()?;
        let started = Instant::now();
        let bytes = job.selection.bytes();
        let device = job.device;
        let (placed, copied, info) = match self.plan.devices[device].kind {
            DeviceKind::Disk => {
                let info = Arc::new(job.selection.info.clone());
                let file = self.shards[job.shard].file.clone();
                (
                    Placed::Disk(LazyTensor::new(job.selection, file)),
                    None,
                    info,
                )
            }
            DeviceKind::Cpu => {
                let info = Arc::new(job.selection.info);
                let tensor = place(&info, &job.selection.source, self.map(job.shard))?;
                let copied = tensor.copied();
                (Placed::Mapped(tensor), copied, info)
            }
            DeviceKind::Main => {
                let info = Arc::new(job.selection.info.clone());
                match self.on_device(&info, &job)? {
                    Some((handle, copied)) => (Placed::Device(handle), copied, info),
                    None => return Ok(Tried::Later(job)),
                }
            }
        };
        self.tell(bytes);
        let seconds = started.elapsed().as_secs_f64();
        Ok(Tried::Placed(Outcome {
            slot: Slot {
                info,
                device,
                placed,
            },
            bytes,
            copied,
            seconds,
        }))
    }

    /// Places what found no room, once nothing else is on its way.
    fn place_alone(&self, tried: Tried<D::Handle>) -> Result<Outcome<D::Handle>, LoadError> {
        let job = match tried {
            Tried::Placed(outcome) => return Ok(outcome),
            Tried::Later(job) => job,
        };
        let (name, bytes) = (Arc::clone(&job.selection.info.name), job.selection.bytes());
        match self.place(job)? {
            Tried::Placed(outcome) => Ok(outcome),
            Tried::Later(_) => Err(LoadError::MemoryCap {
                what: format!("tensor `{name}`"),
                needed: self.kept_bytes.saturating_add(bytes),
                cap: self.options.memory_cap.unwrap_or(u64::MAX),
            }),
        }
    }

    fn map(&self, shard: usize) -> &Arc<FileMap> {
        self.maps[shard]
            .as_ref()
            .expect("shards with placed tensors were mapped")
    }

    /// Gives a tensor to its device; none if the memory cap has no room for the copy that takes.
    fn on_device(
        &self,
        info: &Arc<TensorInfo>,
        job: &Job,
    ) -> Result<Option<Taken<D::Handle>>, LoadError> {
        let (source, bytes) = (&job.selection.source, job.selection.bytes());
        let (name, device) = &self.options.devices[job.device];
        let failed = |source| LoadError::Device {
            device: name.clone(),
            source,
        };
        if let Some(mut staging) = device.staging(bytes as usize) {
            let found = staging.bytes().len() as u64;
            if found != bytes {
                let why = format!("lent {found} bytes for staging where {bytes} were asked for");
                return Err(failed(why.into()));
            }
            gather(source, &self.shards[job.shard].file, staging.bytes_mut())?;
            let data = TensorData::Staged(staging);
            let handle = device.place(TensorBytes { info, data }).map_err(failed)?;
            return Ok(Some((handle, Some(CopyReason::DeviceMemory))));
        }
        let map = self.map(job.shard);
        let passing = match is_borrowed(&job.selection, map) {
            true => 0,
            false => bytes,
        };
        let cap = self.options.memory_cap.unwrap_or(u64::MAX);
        let room = cap.saturating_sub(self.kept_bytes);
        let take = |held: u64| held.checked_add(passing).filter(|sum| *sum <= room);
        let order = Ordering::Relaxed;
        if passing > 0 && self.passing_bytes.fetch_update(order, order, take).is_err() {
            return Ok(None);
        }
        let tensor = place(info, source, map)?;
        let data = TensorData::Borrowed(tensor.bytes());
        let handle = device.place(TensorBytes { info, data }).map_err(failed)?;
        let copied = tensor.copied();
        drop(tensor);
        self.passing_bytes.fetch_sub(passing, order);
        Ok(Some((handle, copied)))
    }

    fn tell(&self, bytes: u64) {
        let Some(progress) = &self.options.progress else {
            return;
        };
        progress(LoadProgress {
            tensors: self.placed_tensors.fetch_add(1, Ordering::Relaxed) + 1,
            total_tensors: self.total_tensors,
            bytes: self.placed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
            total_bytes: self.total_bytes,
        });
    }
}

/// Devices that were begun: aborted when dropped, whatever went wrong, unless they were finished.
struct Begun<'a, D: Device> {
    devices: Vec<&'a (String, Arc<D>)>,
}

impl<'a, D: Device> Begun<'a, D> {
    fn begin(jobs: &[Job], plan: &Plan, options: &'a LoadOptions<D>) -> Result<Self, LoadError> {
        let mut begun = Self {
            devices: Vec::new(),
        };
        for (number, named) in options.devices.iter().enumerate() {
            let planned = &plan.devices[number];
            if planned.tensors == 0 {
                continue;
            }
            let own = jobs.iter().filter(|job| job.device == number);
            let largest = own.map(|job| job.selection.bytes()).max();
            let totals = DevicePlan {
                tensors: planned.tensors,
                bytes: planned.bytes,
                largest_bytes: largest.unwrap_or(0),
            };
            begun.devices.push(named);
            named
                .1
                .begin(&totals)
                .map_err(|source| failed(named, source))?;
        }
        Ok(begun)
    }

    /// A device that cannot finish is aborted with all the others.
    fn finish(mut self) -> Result<(), LoadError> {
        for named in &self.devices {
            named.1.finish().map_err(|source| failed(named, source))?;
        }
        self.devices.clear();
        Ok(())
    }
}

impl<D: Device> Drop for Begun<'_, D> {
    fn drop(&mut self) {
        for (_, device) in &self.devices {
            device.abort();
        }
    }
}

fn failed<D>(named: &(String, Arc<D>), source: DeviceError) -> LoadError {
    LoadError::Device {
        device: named.0.clone(),
        source,
    }
}
