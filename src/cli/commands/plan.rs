//! `plan`: what a load would do. Also the options that `load` shares.

use std::collections::BTreeMap;

use std::sync::Arc;

use clap::Args;
use globset::{Glob, GlobSet, GlobSetBuilder};
use ipfs_accelerate::checkpoint::collapse;
use ipfs_accelerate::{
    ByteSize, DeviceMap, DeviceMapSetting, LoadOptions, Select, Target, plan_checkpoint,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Output, Table, View};
use crate::cli::text;

/// Show which tensor a load would bring to which device
///
/// Reads and checks the headers of the safetensors files, and no payload. TARGET is a safetensors file, its
/// index, or a folder with either.
///
/// Works beside a writer.
///
/// With --json: tensors, bytes, device_map {tensor: device}, devices {name: {tensors, bytes, limit}}.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate plan llama-3
  ipfs-accelerate plan llama-3 --max-memory cpu=2GiB,disk=100GiB
  ipfs-accelerate plan llama-3 --include 'model.layers.*' --json | jq .device_map")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
}

/// What `plan` and `load` are both told.
#[derive(Args)]
pub(crate) struct CheckpointArgs {
    /// The checkpoint: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// How a device is found for each tensor: auto, sequential, or a JSON file of {"prefix": "device"}.
    ///
    /// auto is the cpu, then the disk, as there are no other devices here. In a file the longest prefix of a
    /// tensor's name decides, and "" is every tensor. Without it: `device_map` in [checkpoint] of the
    /// configuration.
    #[arg(long, value_name = "auto|sequential|FILE.json")]
    device_map: Option<String>,
    /// The most that each device may hold, as cpu=2GiB,disk=100GiB.
    ///
    /// Devices it does not name keep their limit in [checkpoint.max_memory] of the configuration; without
    /// one the cpu has the memory that is available now, and the disk has none.
    #[arg(long, value_name = "DEVICE=SIZE,…", value_delimiter = ',')]
    max_memory: Vec<String>,
    /// Only tensors whose name matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out tensors whose name matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

impl CheckpointArgs {
    pub(crate) fn options(&self, context: &Context<'_>) -> Result<LoadOptions, CliError> {
        let config = &context.config.checkpoint;
        let mut options =
            LoadOptions::default().with_device_map(match self.device_map.as_deref() {
                Some("auto") => DeviceMap::Auto,
                Some("sequential") => DeviceMap::Sequential,
                Some(path) => DeviceMap::from_file(path)?,
                None => configured_map(&config.device_map)?,
            });
        options.threads = config.threads;
        let limits = config.max_memory.iter();
        options.max_memory = limits
            .map(|(device, size)| (device.clone(), size.bytes()))
            .collect();
        options.max_memory.extend(self.limits()?);
        if !self.include.is_empty() || !self.exclude.is_empty() {
            let include = globs("--include", &self.include)?;
            let exclude = globs("--exclude", &self.exclude)?;
            let all = self.include.is_empty();
            options.select = Some(Arc::new(move |tensor| {
                let name = &*tensor.name;
                match (all || include.is_match(name)) && !exclude.is_match(name) {
                    true => Select::Whole,
                    false => Select::Skip,
                }
            }));
        }
        Ok(options)
    }

    fn limits(&self) -> Result<BTreeMap<String, u64>, CliError> {
        let mut limits = BTreeMap::new();
        for text in self
            .max_memory
            .iter()
            .filter(|text| !text.trim().is_empty())
        {
            let pair = text
                .split_once('=')
                .filter(|(device, _)| !device.trim().is_empty());
            let (device, size) = pair.ok_or_else(|| CliError::MaxMemory { text: text.clone() })?;
            let size: ByteSize = size.parse().map_err(|source| CliError::MaxMemorySize {
                text: text.clone(),
                source,
            })?;
            let device = device.trim().to_owned();
            if limits.insert(device.clone(), size.bytes()).is_some() {
                return Err(CliError::MaxMemoryTwice { device });
            }
        }
        Ok(limits)
    }
}

fn configured_map(setting: &DeviceMapSetting) -> Result<DeviceMap, CliError> {
    match setting {
        DeviceMapSetting::Sequential => Ok(DeviceMap::Sequential),
        DeviceMapSetting::File(path) => Ok(DeviceMap::from_file(path)?),
        _ => Ok(DeviceMap::Auto),
    }
}

/// Patterns over names of tensors, in which `*` takes dots and slashes too.
fn globs(flag: &'static str, patterns: &[String]) -> Result<GlobSet, CliError> {
    let mut set = GlobSetBuilder::new();
    let bad = |pattern: &str, source| {
        let pattern = pattern.to_owned();
        CliError::Glob {
            flag,
            pattern,
            source,
        }
    };
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|e| bad(pattern, e))?);
    }
    set.build().map_err(|e| bad(&patterns.join(" "), e))
}

#[derive(Serialize)]
struct Planned<'a> {
    tensors: usize,
    bytes: u64,
    device_map: BTreeMap<&'a str, &'a str>,
    devices: BTreeMap<&'a str, PlannedDevice>,
}

#[derive(Serialize)]
struct PlannedDevice {
    tensors: usize,
    bytes: u64,
    limit: Option<u64>,
}

pub(crate) fn run(args: PlanArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.checkpoint.target.parse()?;
    let options = args.checkpoint.options(context)?;
    let planned = plan_checkpoint(&context.reader()?, &target, &options)?;
    if planned.tensors.is_empty() && options.select.is_some() {
        return Err(CliError::NothingSelected);
    }
    let names: Vec<&str> = planned
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let modules = collapse(&planned.plan, &names);
    let bytes = planned.tensors.iter().map(|tensor| tensor.bytes).sum();
    let devices = planned.plan.devices.iter().map(|device| {
        let (tensors, bytes, limit) = (device.tensors, device.bytes, device.limit);
        (
            device.name.as_str(),
            PlannedDevice {
                tensors,
                bytes,
                limit,
            },
        )
    });
    let rows = planned.plan.devices.iter().map(|device| {
        let limit = device.limit.map_or_else(|| "-".to_owned(), text::size);
        vec![
            device.name.clone(),
            device.tensors.to_string(),
            text::size(device.bytes),
            limit,
        ]
    });
    let tensors = planned.tensors.iter();
    Ok(Output::new(&Planned {
        tensors: planned.tensors.len(),
        bytes,
        device_map: tensors
            .map(|t| (t.name.as_str(), t.device.as_str()))
            .collect(),
        devices: devices.collect(),
    })
    .line(format!(
        "{}, {}",
        text::count(names.len() as u64, "tensor"),
        text::size(bytes)
    ))
    .line("")
    .view(View::Table(Table {
        columns: &["DEVICE", ">TENSORS", ">SIZE", ">LIMIT"],
        rows: rows.collect(),
        empty: "",
    }))
    .line("")
    .view(View::Table(modules_table(modules))))
}

/// The compact map: a module whose tensors are all on one device has one row.
pub(crate) fn modules_table(modules: BTreeMap<String, String>) -> Table {
    let shown = |name: String| {
        if name.is_empty() {
            "(all)".to_owned()
        } else {
            name
        }
    };
    let rows = modules
        .into_iter()
        .map(|(module, device)| vec![shown(module), device]);
    Table {
        columns: &["MODULE", "DEVICE"],
        rows: rows.collect(),
        empty: "",
    }
}
