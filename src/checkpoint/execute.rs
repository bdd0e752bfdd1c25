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
use super::select::{SelectedBytes, Selection};
use super::shards::Shard;
use super::tensor::{LazyTensor, Tensor, gather, place};
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
    let begun = Begun::begin(&jobs, plan, options)?;
    let run = Run {
        shards,
        maps,
        plan,
        options,
        total_tensors: jobs.len(),
        total_bytes: jobs.iter().map(|job| job.selection.bytes()).sum(),
        placed_tensors: AtomicUsize::new(0),
        placed_bytes: AtomicU64::new(0),
        copied_bytes: AtomicU64::new(0),
    };
    // Borrowing from a map is cheaper than handing the work to another thread.
    let copies = jobs.iter().any(|job| !run.is_borrowed(job));
    let outcomes: Vec<Outcome<D::Handle>> = match copies {
        true => jobs
            .into_par_iter()
            .map(|job| run.place(job))
            .collect::<Result<_, _>>()?,
        false => jobs
            .into_iter()
            .map(|job| run.place(job))
            .collect::<Result<_, _>>()?,
    };
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

struct Run<'a, D: Device> {
    shards: &'a [Shard],
    maps: Vec<Option<Arc<FileMap>>>,
    plan: &'a Plan,
    options: &'a LoadOptions<D>,
    total_tensors: usize,
    total_bytes: u64,
    placed_tensors: AtomicUsize,
    placed_bytes: AtomicU64,
    copied_bytes: AtomicU64,
}

impl<D: Device> Run<'_, D> {
    fn is_borrowed(&self, job: &Job) -> bool {
        match (self.plan.devices[job.device].kind, &job.selection.source) {
            (DeviceKind::Disk, _) => true,
            (DeviceKind::Cpu, SelectedBytes::Contiguous(range)) => self.maps[job.shard]
                .as_ref()
                .is_some_and(|map| map.get(range.clone()).is_some()),
            _ => false,
        }
    }

    fn place(&self, job: Job) -> Result<Outcome<D::Handle>, LoadError> {
        self.options.check_cancel()?;
        let started = Instant::now();
        let bytes = job.selection.bytes();
        let (placed, copied, info) = match self.plan.devices[job.device].kind {
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
                let tensor = self.host_tensor(&info, &job.selection.source, job.shard, bytes)?;
                let copied = tensor.copied();
                (Placed::Mapped(tensor), copied, info)
            }
            DeviceKind::Main => {
                let info = Arc::new(job.selection.info);
                let (handle, copied) =
                    self.on_device(&info, &job.selection.source, job.shard, job.device, bytes)?;
                (Placed::Device(handle), copied, info)
            }
        };
        self.tell(bytes);
        let seconds = started.elapsed().as_secs_f64();
        Ok(Outcome {
            slot: Slot {
                info,
                device: job.device,
                placed,
            },
            bytes,
            copied,
            seconds,
        })
    }

    fn map(&self, shard: usize) -> &Arc<FileMap> {
        self.maps[shard]
            .as_ref()
            .expect("shards with placed tensors were mapped")
    }

    fn host_tensor(
        &self,
        info: &Arc<TensorInfo>,
        source: &SelectedBytes,
        shard: usize,
        bytes: u64,
    ) -> Result<Tensor, LoadError> {
        let map = self.map(shard);
        let borrowed =
            matches!(source, SelectedBytes::Contiguous(range) if map.get(range.clone()).is_some());
        if !borrowed {
            self.take_from_cap(info, bytes)?;
        }
        place(info, source, map)
    }

    /// Refuses to copy more than the cap allows, before the memory is taken.
    fn take_from_cap(&self, info: &TensorInfo, bytes: u64) -> Result<(), LoadError> {
        let copied = self.copied_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match self.options.memory_cap {
            Some(cap) if copied > cap => Err(LoadError::MemoryCap {
                what: info.name.to_string(),
                needed: copied,
                cap,
            }),
            _ => Ok(()),
        }
    }

    fn on_device(
        &self,
        info: &Arc<TensorInfo>,
        source: &SelectedBytes,
        shard: usize,
        number: usize,
        bytes: u64,
    ) -> Result<(D::Handle, Option<CopyReason>), LoadError> {
        let (name, device) = &self.options.devices[number];
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
            gather(source, &self.shards[shard].file, staging.bytes_mut())?;
            let data = TensorData::Staged(staging);
            let handle = device.place(TensorBytes { info, data }).map_err(failed)?;
            return Ok((handle, Some(CopyReason::DeviceMemory)));
        }
        let tensor = self.host_tensor(info, source, shard, bytes)?;
        let data = TensorData::Borrowed(tensor.bytes());
        let handle = device.place(TensorBytes { info, data }).map_err(failed)?;
        if tensor.copied().is_some() {
            // The copy goes with the tensor.
            self.copied_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok((handle, tensor.copied()))
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
