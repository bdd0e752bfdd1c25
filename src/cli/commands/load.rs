//! `load`: load a checkpoint, report, exit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use ipfs_accelerate::checkpoint::{LoadProgress, Residency, StageSeconds};
use ipfs_accelerate::{ByteSize, CopyReason, LoadReport, Target, load_checkpoint_and_dispatch};
use serde::Serialize;

use super::plan::CheckpointArgs;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Note, Output, Table, View};
use crate::cli::progress::set_total;
use crate::cli::text;

/// Load a checkpoint, dispatch its tensors, report and exit
///
/// Does what a program that links the library does: maps the tensors for the cpu straight out of the store,
/// leaves those for the disk there, and says how many bytes were copied, and why. TARGET is a safetensors
/// file, its index, or a folder with either. By default pages come into memory at the first touch, so the time
/// is that until the tensors can be used; --residency brings them along.
///
/// With --verify every chunk that is loaded is hashed as it is read, and the DAG above it from the object's
/// CID down; wrong bytes are an error that names file, block and pack, and where it begins in both. What is
/// left on the disk is not loaded, and so not hashed: a warning says how much that is.
///
/// Works beside a writer.
///
/// With --json: tensors, bytes, zero_copy_bytes, copied_bytes, copies {reason: bytes}, residency,
/// populated_bytes, lazy_bytes, verified_bytes, seconds, stages {resolve, headers, plan, execute}, shards,
/// devices {name: {tensors, bytes, limit, thread_seconds}}.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate load llama-3
  ipfs-accelerate load llama-3 --max-memory cpu=2GiB,disk=100GiB
  ipfs-accelerate load llama-3 --residency populate --verify
  ipfs-accelerate load llama-3/model.safetensors --exclude 'lm_head.*' --device-map map.json")]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// How bytes come into memory.
    #[arg(long, value_name = "HOW", value_enum, default_value = "lazy")]
    residency: ResidencyArg,
    /// The most memory that the load may take: more copies are an error, what is read ahead stops there.
    #[arg(long, value_name = "SIZE")]
    memory_cap: Option<ByteSize>,
    /// Hash everything that is loaded, as it is read.
    #[arg(long)]
    verify: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ResidencyArg {
    /// Mapped, and read at the first touch
    Lazy,
    /// Mapped, and read before the load returns, as far as there is memory
    Populate,
    /// Copied into memory of the process
    Copy,
    /// Copy from file systems of the network, populate elsewhere
    Auto,
}

impl From<ResidencyArg> for Residency {
    fn from(arg: ResidencyArg) -> Self {
        match arg {
            ResidencyArg::Lazy => Self::Lazy,
            ResidencyArg::Populate => Self::Populate,
            ResidencyArg::Copy => Self::Copy,
            ResidencyArg::Auto => Self::Auto,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Loaded<'a> {
    tensors: usize,
    bytes: u64,
    zero_copy_bytes: u64,
    copied_bytes: u64,
    copies: &'a BTreeMap<CopyReason, u64>,
    residency: Residency,
    populated_bytes: u64,
    lazy_bytes: u64,
    verified_bytes: u64,
    seconds: f64,
    stages: StageSeconds,
    shards: usize,
    devices: BTreeMap<&'a str, LoadedDevice>,
}

#[derive(Serialize)]
struct LoadedDevice {
    tensors: usize,
    bytes: u64,
    limit: Option<u64>,
    thread_seconds: f64,
}

impl<'a> From<&'a LoadReport> for Loaded<'a> {
    fn from(report: &'a LoadReport) -> Self {
        let devices = report.devices.iter().map(|device| {
            let loaded = LoadedDevice {
                tensors: device.tensors,
                bytes: device.bytes,
                limit: device.limit,
                thread_seconds: device.thread_seconds,
            };
            (device.name.as_str(), loaded)
        });
        Self {
            tensors: report.tensors,
            bytes: report.bytes,
            zero_copy_bytes: report.zero_copy_bytes,
            copied_bytes: report.copied_bytes,
            copies: &report.copies,
            residency: report.residency,
            populated_bytes: report.populated_bytes,
            lazy_bytes: report.lazy_bytes,
            verified_bytes: report.verified_bytes,
            seconds: report.seconds,
            stages: report.stages,
            shards: report.shards,
            devices: devices.collect(),
        }
    }
}

pub(crate) fn run(args: LoadArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.checkpoint.target.parse()?;
    let mut options = args.checkpoint.options(context)?;
    let is_selective = options.select.is_some();
    options.residency = args.residency.into();
    options.memory_cap = args.memory_cap.map(ByteSize::bytes);
    options.verify = args.verify;
    let reader = context.reader()?;
    options.cancel = Some(context.cancel()?);
    let progress = context.progress("loading", args.checkpoint.target.as_ref(), Some(0));
    let bar = progress.bar();
    // Told from several threads, so not always in order.
    let most = AtomicU64::new(0);
    options.progress = Some(Arc::new(move |at: LoadProgress| {
        let so_far = most.fetch_max(at.bytes, Ordering::Relaxed).max(at.bytes);
        set_total(&bar, at.total_bytes);
        bar.set_position(so_far);
    }));
    let loaded = load_checkpoint_and_dispatch(&reader, &target, options)?;
    drop(progress);
    if loaded.is_empty() && is_selective {
        return Err(CliError::NothingSelected);
    }
    let output = output(loaded.report());
    let left = loaded.iter().filter_map(|(_, placed)| placed.disk());
    let left: u64 = left
        .map(|tensor| tensor.info().range.end - tensor.info().range.start)
        .sum();
    Ok(match args.verify && left > 0 {
        true => output.note(Note::Warning(format!(
            "{} left on the disk and not verified",
            text::size(left)
        ))),
        false => output,
    })
}

fn output(report: &LoadReport) -> Output {
    let output = Output::new(&Loaded::from(report));
    summary(report).into_iter().fold(output, Output::view)
}

fn residency(report: &LoadReport) -> String {
    let mut said = vec![format!("residency {}", report.residency.name())];
    let parts = [
        (report.populated_bytes, "read ahead"),
        (report.lazy_bytes, "to be read at the first touch"),
        (report.verified_bytes, "verified"),
    ];
    let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
    said.extend(parts.map(|(bytes, what)| format!("{} {what}", text::size(*bytes))));
    said.join(", ")
}

/// The report for people.
pub(crate) fn summary(report: &LoadReport) -> Vec<View> {
    let StageSeconds {
        resolve,
        headers,
        plan,
        execute,
        ..
    } = report.stages;
    let rows = report.devices.iter().map(|device| {
        let limit = device.limit.map_or_else(|| "-".to_owned(), text::size);
        vec![
            device.name.clone(),
            device.tensors.to_string(),
            text::size(device.bytes),
            limit,
        ]
    });
    let copies = report
        .copies
        .iter()
        .map(|(why, bytes)| format!("{} {}", text::size(*bytes), why.name().replace('_', " ")));
    let copies: Vec<_> = copies.collect();
    let copied = match copies.is_empty() {
        true => "nothing copied".to_owned(),
        false => format!(
            "{} copied ({})",
            text::size(report.copied_bytes),
            copies.join(", ")
        ),
    };
    vec![
        View::Line(format!(
            "loaded {}, {} from {} in {}",
            text::count(report.tensors as u64, "tensor"),
            text::size(report.bytes),
            text::count(report.shards as u64, "shard"),
            text::seconds(report.seconds)
        )),
        View::Line(format!(
            "{} zero-copy, {copied}",
            text::size(report.zero_copy_bytes)
        )),
        View::Line(residency(report)),
        View::Line(format!(
            "resolve {}, headers {}, plan {}, execute {}",
            text::seconds(resolve),
            text::seconds(headers),
            text::seconds(plan),
            text::seconds(execute)
        )),
        View::Line(String::new()),
        View::Table(Table {
            columns: &["DEVICE", ">TENSORS", ">SIZE", ">LIMIT"],
            rows: rows.collect(),
            empty: "",
        }),
    ]
}
