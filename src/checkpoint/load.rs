//! The whole load: resolve, read headers, plan, execute.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::capacity::{available_memory, memory_for_copies};
use super::device::Device;
use super::device_map::{DeviceKind, DeviceLimit, DeviceMap, apply_max_memory};
use super::dispatched::Dispatched;
use super::error::LoadError;
use super::execute::{Job, execute};
use super::modules::PlanItem;
use super::options::{LoadOptions, Residency};
use super::plan::{Plan, plan_devices};
use super::report::{DeviceReport, LoadReport, StageSeconds};
use super::select::{Select, Selection};
use super::shards::{Shard, open, read_headers};
use super::source::Source;
use super::threads::Threads;
use crate::store::{StoreReader, Target};

/// The name of the host's memory in device maps.
const CPU: &str = "cpu";
/// The name of what stays in the store.
const DISK: &str = "disk";

/// Loads a checkpoint and assigns its tensors to devices.
///
/// The target is one safetensors file, an index, or a folder: there the one `*.safetensors.index.json`,
/// else `model.safetensors`, else `adapter_model.safetensors`, else the only `*.safetensors`. Tensors for
/// `cpu` are borrowed from a map of the store (copied only where that cannot be; the report says why), those
/// for `disk` stay there, and the caller's devices get them through [`Device::place`], from several threads.
///
/// # Errors
/// [`LoadError`], with the shard, the tensor, the offset, what was expected and what was found. Devices that
/// were begun are aborted.
///
/// ```
/// use ipfs_accelerate::checkpoint::{LoadOptions, load_checkpoint_and_dispatch};
/// use ipfs_accelerate::{AddOptions, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::create(dir.path().join("store"))?;
/// let cid = store.add_path("fixtures/silero-vad", &AddOptions::default())?.cid;
///
/// let loaded = load_checkpoint_and_dispatch(&store, &cid.into(), LoadOptions::default())?;
/// assert_eq!(loaded.len(), 15);
/// assert_eq!(loaded.report().copied_bytes, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_checkpoint_and_dispatch<D: Device>(
    source: &impl Source,
    target: &Target,
    options: LoadOptions<D>,
) -> Result<Dispatched<D::Handle>, LoadError> {
    let begun = Instant::now();
    let threads = Threads::new(options.threads)?;
    let (prepared, mut stages) = prepare(source, target, &options, &threads)?;
    let Prepared {
        shards,
        selections,
        plan,
    } = prepared;
    let started = Instant::now();
    let jobs = selections
        .into_iter()
        .zip(&plan.assignments)
        .map(|((shard, selection), &device)| Job {
            shard,
            selection,
            device,
        })
        .collect();
    let done = execute(&shards, jobs, &plan, &options, &threads)?;
    stages.execute = started.elapsed().as_secs_f64();
    let mut metadata = BTreeMap::new();
    let shard_count = shards.len();
    for (key, value) in shards.into_iter().flat_map(|shard| shard.header.metadata) {
        metadata.entry(key).or_insert(value);
    }
    let devices = plan.devices.into_iter().zip(done.thread_seconds);
    let report = LoadReport {
        shards: shard_count,
        tensors: done.slots.len(),
        bytes: done.zero_copy_bytes + done.copies.values().sum::<u64>(),
        zero_copy_bytes: done.zero_copy_bytes,
        copied_bytes: done.copies.values().sum(),
        copies: done.copies,
        residency: done.residency,
        populated_bytes: done.populated_bytes,
        lazy_bytes: done.lazy_bytes,
        verified_bytes: done.verified_bytes,
        seconds: begun.elapsed().as_secs_f64(),
        stages,
        devices: devices
            .map(|(device, thread_seconds)| DeviceReport {
                name: device.name,
                tensors: device.tensors,
                bytes: device.bytes,
                limit: device.limit,
                thread_seconds,
            })
            .collect(),
    };
    Ok(Dispatched::new(done.slots, metadata, report))
}

impl StoreReader {
    /// [`load_checkpoint_and_dispatch`] from this reader.
    ///
    /// # Errors
    /// As [`load_checkpoint_and_dispatch`].
    pub fn load_checkpoint_and_dispatch<D: Device>(
        &self,
        target: &Target,
        options: LoadOptions<D>,
    ) -> Result<Dispatched<D::Handle>, LoadError> {
        load_checkpoint_and_dispatch(self, target, options)
    }
}

/// What a load would do, found out without reading payload.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoadPlan {
    /// Every selected tensor, shard by shard in the order of its bytes.
    pub tensors: Vec<PlannedTensor>,
    /// The devices and what each gets.
    pub plan: Plan,
}

/// One tensor of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedTensor {
    /// The tensor's name.
    pub name: String,
    /// Its selected bytes.
    pub bytes: u64,
    /// The device it would be placed on.
    pub device: String,
    /// The shard it lies in.
    pub shard: String,
}

/// Plans a load: headers are read and checked, payload is not.
///
/// # Errors
/// As [`load_checkpoint_and_dispatch`], execution apart.
pub fn plan_checkpoint<D: Device>(
    source: &impl Source,
    target: &Target,
    options: &LoadOptions<D>,
) -> Result<LoadPlan, LoadError> {
    let threads = Threads::new(options.threads)?;
    let (prepared, _) = prepare(source, target, options, &threads)?;
    let devices = &prepared.plan.devices;
    let tensor = |((shard, selection), device): (&(usize, Selection), &usize)| PlannedTensor {
        name: selection.info.name.to_string(),
        bytes: selection.bytes(),
        device: devices[*device].name.clone(),
        shard: prepared.shards[*shard].file.name().to_owned(),
    };
    let tensors = prepared.selections.iter().zip(&prepared.plan.assignments);
    Ok(LoadPlan {
        tensors: tensors.map(tensor).collect(),
        plan: prepared.plan,
    })
}

struct Prepared {
    shards: Vec<Shard>,
    /// The number of the shard, and what is loaded of it.
    selections: Vec<(usize, Selection)>,
    plan: Plan,
}

fn prepare<D: Device>(
    source: &impl Source,
    target: &Target,
    options: &LoadOptions<D>,
    threads: &Threads,
) -> Result<(Prepared, StageSeconds), LoadError> {
    options.check_cancel()?;
    let mut stages = StageSeconds::default();
    let started = Instant::now();
    let opened = open(source, target, options.verify)?;
    stages.resolve = started.elapsed().as_secs_f64();
    tracing::debug!("resolved {target} in {:.6} s", stages.resolve);

    let started = Instant::now();
    // What the kernel says of its memory takes as long to read as a header.
    let is_given = is_cpu_limit_given(options);
    let (shards, memory) = threads.run(|| {
        let memory = || match is_given {
            // A map given by the caller is held against the caller's limits only.
            true => None,
            false if options.residency == Residency::Copy => memory_for_copies(),
            false => available_memory(),
        };
        let (shards, memory) = rayon::join(|| read_headers(opened), memory);
        Ok((shards?, memory))
    })?;
    stages.headers = started.elapsed().as_secs_f64();
    tracing::debug!(
        "read the headers of {} shards in {:.6} s",
        shards.len(),
        stages.headers
    );

    options.check_cancel()?;
    let started = Instant::now();
    let selections = select(&shards, options)?;
    let items: Vec<PlanItem<'_>> = selections
        .iter()
        .map(|(_, selection)| PlanItem {
            name: &selection.info.name,
            bytes: selection.bytes(),
        })
        .collect();
    let plan = plan_devices(&items, &options.device_map, &devices(options, memory)?)?;
    stages.plan = started.elapsed().as_secs_f64();
    tracing::debug!(
        "planned {} tensors over {} devices",
        items.len(),
        plan.devices.len()
    );
    Ok((
        Prepared {
            shards,
            selections,
            plan,
        },
        stages,
    ))
}

fn select<D: Device>(
    shards: &[Shard],
    options: &LoadOptions<D>,
) -> Result<Vec<(usize, Selection)>, LoadError> {
    let count = shards.iter().map(|shard| shard.header.tensors.len()).sum();
    let mut selections = Vec::with_capacity(count);
    for (number, shard) in shards.iter().enumerate() {
        for info in &shard.header.tensors {
            let select = options
                .select
                .as_ref()
                .map_or(Select::Whole, |select| select(info));
            if let Some(selection) = select.apply(shard.file.name(), info)? {
                selections.push((number, selection));
            }
        }
    }
    Ok(selections)
}

/// The caller's devices, then the host's memory, then the disk.
fn devices<D: Device>(
    options: &LoadOptions<D>,
    cpu_limit: Option<u64>,
) -> Result<Vec<DeviceLimit>, LoadError> {
    let own = options.devices.iter().map(|(name, device)| DeviceLimit {
        name: name.clone(),
        limit: device.capacity_bytes(),
        kind: DeviceKind::Main,
    });
    let mut devices: Vec<DeviceLimit> = own.collect();
    devices.push(DeviceLimit {
        name: CPU.into(),
        limit: cpu_limit,
        kind: DeviceKind::Cpu,
    });
    devices.push(DeviceLimit {
        name: DISK.into(),
        limit: None,
        kind: DeviceKind::Disk,
    });
    apply_max_memory(&mut devices, &options.max_memory)?;
    Ok(devices)
}

/// Whether the caller says what the host's memory may take.
fn is_cpu_limit_given<D: Device>(options: &LoadOptions<D>) -> bool {
    options.max_memory.contains_key(CPU) || matches!(options.device_map, DeviceMap::Map(_))
}
