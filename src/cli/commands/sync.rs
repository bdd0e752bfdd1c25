//! `sync`: objects from another store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{
    StoreError, StoreReader, SyncOptions, SyncProgress, SyncReport, SyncState, SyncedObject,
    SyncedPin, SyncedPinChange, canonical,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Fault, Note, Output};
use crate::cli::progress::set_total;
use crate::cli::text;

/// Copy objects and pins from another store into this one
///
/// SOURCE is the folder of another store, which may be in use or on a read-only mount; --store names the one that
/// is copied to. It is created if its folder is absent or empty, with the profile of the source. Without a TARGET
/// every object and every pin comes along; with one only that object, and its name (a CID is pinned under
/// itself).
///
/// Only blocks that are missing are read and written, and each is checked against its CID first. An object is
/// there whole or not at all. One that is damaged in the source is reported, and the others are copied all the
/// same; the exit code is then 1, as it is for a name that is taken here. Run it again to go on where it stopped.
///
/// With --json: source, dry_run, objects, a list of {cid, name, kind, size, state, new_blocks, new_bytes,
/// there_blocks, there_bytes, pins, error}, and copied, there, failed, new_blocks, new_bytes, there_blocks,
/// there_bytes, notes, seconds. The state is copied, there or failed; pins are {name, change, was, error}, the change
/// set, kept, moved or failed. With -q: the CIDs of what was copied.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate sync /mnt/disk/store --dry-run                what would be copied
  ipfs-accelerate sync /mnt/disk/store                          everything that is missing
  ipfs-accelerate sync /mnt/disk/store llama-3                  one object with its name
  ipfs-accelerate --store /mnt/disk/store sync ~/.local/share/ipfs-accelerate --replace
                                                                a backup, whose names follow")]
pub(crate) struct SyncArgs {
    /// The folder of the store to copy from.
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Objects of it: CID or name, and a path below it; everything without one.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Leave the pins behind: what is copied may go once space is needed.
    #[arg(long)]
    no_pin: bool,
    /// Move names that point to other objects here.
    #[arg(long, conflicts_with = "no_pin")]
    replace: bool,
    /// Only say what would be copied.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Synced<'a> {
    source: String,
    dry_run: bool,
    objects: Vec<ObjectEntry<'a>>,
    copied: u64,
    there: u64,
    failed: u64,
    new_blocks: u64,
    new_bytes: u64,
    there_blocks: u64,
    there_bytes: u64,
    notes: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct ObjectEntry<'a> {
    cid: String,
    name: &'a str,
    kind: Option<&'static str>,
    size: u64,
    state: &'static str,
    new_blocks: u64,
    new_bytes: u64,
    there_blocks: u64,
    there_bytes: u64,
    pins: Vec<PinEntry<'a>>,
    error: Option<Fault>,
}

#[derive(Serialize)]
struct PinEntry<'a> {
    name: &'a str,
    change: &'static str,
    was: Option<String>,
    error: Option<Fault>,
}

impl<'a> From<&'a SyncedObject> for ObjectEntry<'a> {
    fn from(object: &'a SyncedObject) -> Self {
        let counts = &object.counts;
        Self {
            cid: object.cid.to_string(),
            name: &object.name,
            kind: object.kind.map(|kind| kind.name()),
            size: object.size,
            state: match &object.state {
                SyncState::Copied => "copied",
                SyncState::There => "there",
                _ => "failed",
            },
            new_blocks: counts.new_blocks,
            new_bytes: counts.new_bytes,
            there_blocks: counts.there_blocks,
            there_bytes: counts.there_bytes,
            pins: object.pins.iter().map(PinEntry::from).collect(),
            error: match &object.state {
                SyncState::Failed(e) => Some(Fault::of(e)),
                _ => None,
            },
        }
    }
}

impl<'a> From<&'a SyncedPin> for PinEntry<'a> {
    fn from(pin: &'a SyncedPin) -> Self {
        let (change, was) = match &pin.change {
            Ok(SyncedPinChange::Set) => ("set", None),
            Ok(SyncedPinChange::Moved { was }) => ("moved", Some(was.to_string())),
            Ok(_) => ("kept", None),
            Err(StoreError::NameTaken { cid, .. }) => ("failed", Some(cid.to_string())),
            Err(_) => ("failed", None),
        };
        Self {
            name: &pin.name,
            change,
            was,
            error: pin.change.as_ref().err().map(|e| Fault::of(e)),
        }
    }
}

pub(crate) fn run(args: SyncArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let begun = Instant::now();
    let targets: Result<Vec<_>, _> = args.targets.iter().map(|text| text.parse()).collect();
    let mut options = SyncOptions::default().with_targets(targets?);
    options.no_pins = args.no_pin;
    options.replace = args.replace;
    options.dry_run = args.dry_run;
    let source = StoreReader::open(&args.source).map_err(|e| match e {
        e @ (StoreError::Absent { .. } | StoreError::NotAStore { .. }) => CliError::NoSource(e),
        e => e.into(),
    })?;
    options.cancel = Some(context.cancel()?);
    let target = context.writer_for(args.dry_run, &args.lock, source.profile().clone())?;
    let progress = context.progress("copying from", &args.source, Some(0));
    let bar = progress.bar();
    options.progress = Some(Arc::new(move |at: SyncProgress| {
        set_total(&bar, at.total_bytes);
        bar.set_position(at.done_bytes);
        bar.set_prefix(format!(
            "{} of {} objects, {} new, ",
            at.done_objects,
            at.total_objects,
            text::size(at.new_bytes)
        ));
    }));
    let report = target.store.sync_from(&source, &options)?;
    drop(progress);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(output(&args, &report, context.made_room(), seconds))
}

fn output(args: &SyncArgs, report: &SyncReport, notes: Vec<String>, seconds: f64) -> Output {
    let counts = report.counts();
    let mut output = Output::new(&Synced {
        source: args.source.display().to_string(),
        dry_run: args.dry_run,
        objects: report.objects.iter().map(ObjectEntry::from).collect(),
        copied: report.copied(),
        there: report.there(),
        failed: report.failed(),
        new_blocks: counts.new_blocks,
        new_bytes: counts.new_bytes,
        there_blocks: counts.there_blocks,
        there_bytes: counts.there_bytes,
        notes: notes.clone(),
        seconds,
    });
    for object in &report.objects {
        if let SyncState::Failed(e) = &object.state {
            output = output.note(Note::Warning(Fault::warning(e)));
        }
        for pin in &object.pins {
            if let Err(e) = &pin.change {
                output = output.note(Note::Warning(Fault::warning(e)));
            }
        }
        if let Some(line) = line(object) {
            output = output.line(line);
        }
        if matches!(object.state, SyncState::Copied) {
            output = output.quiet(object.cid.to_string());
        }
    }
    output
        .line(summary(args, report, seconds))
        .notes(notes)
        .no(!report.is_complete())
}

/// `bafy…  llama-3  (4.0 GiB, 412.0 MiB new, pinned as "llama")`; none where nothing changed.
fn line(object: &SyncedObject) -> Option<String> {
    let mut said = Vec::new();
    match &object.state {
        SyncState::Copied => {
            said.push(text::size(object.size));
            said.push(match object.counts.new_bytes {
                0 => "nothing new".to_owned(),
                new => format!("{} new", text::size(new)),
            });
        }
        SyncState::There => {}
        _ => return None,
    }
    for SyncedPin { name, change, .. } in &object.pins {
        match change {
            Ok(SyncedPinChange::Set) if *name == canonical(&object.cid).to_string() => {
                said.push("pinned".to_owned());
            }
            Ok(SyncedPinChange::Set) => said.push(format!("pinned as {name:?}")),
            Ok(SyncedPinChange::Moved { was }) => {
                said.push(format!("{name:?} moved from {was}"));
            }
            Ok(_) | Err(_) => {}
        }
    }
    let name = match object.name.as_str() {
        "" => String::new(),
        name => format!("  {name}"),
    };
    (!said.is_empty()).then(|| format!("{}{name}  ({})", object.cid, said.join(", ")))
}

fn summary(args: &SyncArgs, report: &SyncReport, seconds: f64) -> String {
    let counts = report.counts();
    let blocks =
        |blocks, bytes| format!("{} in {}", text::size(bytes), text::count(blocks, "block"));
    let mut said = vec![
        format!(
            "{} {}",
            if args.dry_run { "would copy" } else { "copied" },
            text::count(report.copied(), "object")
        ),
        format!("{} there already", report.there()),
    ];
    if report.failed() > 0 {
        said.push(format!("{} failed", report.failed()));
    }
    let mut rest = vec![
        format!("{} new", blocks(counts.new_blocks, counts.new_bytes)),
        format!("{} there", blocks(counts.there_blocks, counts.there_bytes)),
        text::seconds(seconds),
    ];
    rest.extend(text::rate(counts.new_bytes, seconds).filter(|_| !args.dry_run));
    format!("{}; {}", said.join(", "), rest.join(", "))
}
