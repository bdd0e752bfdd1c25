//! Carrying a plan out: every tensor to its device, in parallel, ending at the first error.
//!
//! What is only borrowed from a map is handed out at once. Everything else is cut into *pieces* of the files
//! (`pieces.rs`), which threads read, hash and copy side by side in the order of use (`pass.rs`), into the map or
//! into memory (`ways.rs`); whoever finishes the last piece of a tensor places it (`place.rs`).

mod begun;
mod pass;
mod pieces;
mod place;
mod ways;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::begun::Begun;
use self::pass::{Pass, Setup};
use super::capacity::{available_memory, memory_for_copies};
use super::device::Device;
use super::device_map::DeviceKind;
use super::dispatched::Slot;
use super::error::LoadError;
use super::options::{LoadOptions, Residency};
use super::plan::Plan;
use super::select::Selection;
use super::shards::Shard;
use super::tensor::copies;
use super::threads::Threads;
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
    pub(super) residency: Residency,
    pub(super) populated_bytes: u64,
    pub(super) lazy_bytes: u64,
    pub(super) verified_bytes: u64,
    /// For each device of the plan.
    pub(super) thread_seconds: Vec<f64>,
}

/// A placed tensor.
struct Outcome<H> {
    slot: Slot<H>,
    bytes: u64,
    copied: Option<CopyReason>,
}

pub(super) fn execute<D: Device>(
    shards: &[Shard],
    jobs: Vec<Job>,
    plan: &Plan,
    options: &LoadOptions<D>,
    threads: &Threads,
) -> Result<Done<D::Handle>, LoadError> {
    let residency = effective(shards, &jobs, plan, options);
    let maps = map_shards(shards, &jobs, plan, residency)?;
    if residency != Residency::Lazy || options.verify {
        maps.iter().flatten().for_each(|map| map.expect_all());
    }
    let why_copied = |job: &Job| match (plan.devices[job.device].kind, &maps[job.shard]) {
        (DeviceKind::Disk, _) => None,
        (_, Some(map)) if residency != Residency::Copy => {
            copies(&job.selection.info, &job.selection.source, map)
        }
        _ => Some(CopyReason::Requested),
    };
    let copies: Vec<Option<CopyReason>> = jobs.iter().map(why_copied).collect();
    let kept_bytes = copied_to_stay(&jobs, &copies, plan, options)?;
    let begun = Begun::begin(&jobs, plan, options)?;
    let room = room(residency, kept_bytes, options);
    // What the kernel says of its memory takes as long as a small load, so it is asked where something passes.
    let passes = |(job, why): (&Job, &Option<CopyReason>)| {
        why.is_some() && plan.devices[job.device].kind == DeviceKind::Main
    };
    let passing_room = match jobs.iter().zip(&copies).any(passes) {
        true => least(memory_for_copies(), options.memory_cap).saturating_sub(kept_bytes),
        false => 0,
    };
    let setup = Setup {
        shards,
        maps,
        jobs,
        copies,
        plan,
        options,
        residency,
        room,
        passing_room,
        kept_bytes,
    };
    let done = Pass::new(setup).run(threads)?;
    options.check_cancel()?;
    begun.finish()?;
    Ok(done)
}

/// What `auto` stands for.
fn effective<D: Device>(
    shards: &[Shard],
    jobs: &[Job],
    plan: &Plan,
    options: &LoadOptions<D>,
) -> Residency {
    if options.residency != Residency::Auto {
        return options.residency;
    }
    let on_host = |job: &&Job| plan.devices[job.device].kind == DeviceKind::Cpu;
    let bytes: u64 = jobs
        .iter()
        .filter(on_host)
        .map(|job| job.selection.bytes())
        .sum();
    let fits = bytes <= room(Residency::Auto, 0, options);
    match fits && shards.iter().any(|shard| shard.file.is_remote()) {
        true => Residency::Copy,
        false => Residency::Populate,
    }
}

/// How many bytes may be read ahead.
fn room<D: Device>(residency: Residency, kept_bytes: u64, options: &LoadOptions<D>) -> u64 {
    if residency == Residency::Lazy {
        return 0;
    }
    least(available_memory(), options.memory_cap).saturating_sub(kept_bytes)
}

/// What is available and what is allowed, whichever is less.
fn least(available: Option<u64>, cap: Option<u64>) -> u64 {
    available.unwrap_or(u64::MAX).min(cap.unwrap_or(u64::MAX))
}

/// Maps what is placed from the shards. What is to be copied is read instead, so that whatever happens to a file
/// is an error and no signal.
fn map_shards(
    shards: &[Shard],
    jobs: &[Job],
    plan: &Plan,
    residency: Residency,
) -> Result<Vec<Option<Arc<FileMap>>>, LoadError> {
    let mut wanted = vec![Vec::new(); shards.len()];
    let mut is_used = vec![false; shards.len()];
    for job in jobs {
        let is_placed = plan.devices[job.device].kind != DeviceKind::Disk;
        if is_placed && residency != Residency::Copy {
            is_used[job.shard] = true;
            wanted[job.shard].push(job.selection.info.range.clone());
        }
    }
    let map = |((shard, wanted), is_used): ((&Shard, &Vec<_>), &bool)| match is_used {
        true => FileMap::new(&shard.file, wanted).map(|map| Some(Arc::new(map))),
        false => Ok(None),
    };
    let maps = shards.iter().zip(&wanted).zip(&is_used).map(map);
    maps.collect::<Result<_, _>>()
        .map_err(LoadError::from_source)
}

/// So many bytes are copied without a look at what memory there is.
const ASKED_FROM: u64 = 1 << 20;

/// Bytes that are copied into this process's memory to stay there. More than there is, or than the cap allows,
/// is refused before any device is begun or any memory taken.
fn copied_to_stay<D: Device>(
    jobs: &[Job],
    copies: &[Option<CopyReason>],
    plan: &Plan,
    options: &LoadOptions<D>,
) -> Result<u64, LoadError> {
    let bytes = jobs.iter().zip(copies).filter_map(|(job, why)| {
        let stays = plan.devices[job.device].kind == DeviceKind::Cpu && why.is_some();
        stays.then(|| job.selection.bytes())
    });
    let bytes: u64 = bytes.sum();
    // Not asked where next to nothing is copied, which is most loads.
    if bytes > ASKED_FROM
        && let Some(available) = memory_for_copies().filter(|available| bytes > *available)
    {
        return Err(LoadError::NotEnoughMemory {
            needed: bytes,
            available,
        });
    }
    match options.memory_cap {
        Some(cap) if bytes > cap => Err(LoadError::MemoryCap {
            what: "what has to be copied for `cpu`".to_owned(),
            needed: bytes,
            cap,
        }),
        _ => Ok(bytes),
    }
}
