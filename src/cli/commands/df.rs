//! `df`: whose bytes the store's space holds.

use clap::Args;
use ipfs_accelerate::{ObjectSpace, SpaceReport, Target, utc_text};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Note, Output, Table, View};
use crate::cli::text;

/// Show whose bytes the store's space holds
///
/// For each object the bytes that it has for itself, which its removal would free, and those that it shares with
/// others; then what nothing needs any more, and what is only still in use. With TARGETs: what their removal, all
/// of them together, would free.
///
/// Works beside a writer.
///
/// With --json: entries, a list of {cid, name, kind, size, pins, last_used, exclusive_bytes, shared_bytes,
/// damaged_bytes}; live_bytes, loose_bytes, pending_bytes, dead_bytes, damaged_bytes, overhead_bytes, disk_bytes,
/// max_size. With TARGETs: targets, freeable_bytes, shared_bytes.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate df
  ipfs-accelerate df llama-3 llama-3-instruct")]
pub(crate) struct DfArgs {
    /// Objects that may be removed: CIDs or names.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

#[derive(Serialize)]
struct Space<'a> {
    entries: Vec<Object<'a>>,
    live_bytes: u64,
    loose_bytes: u64,
    pending_bytes: u64,
    dead_bytes: u64,
    damaged_bytes: u64,
    overhead_bytes: u64,
    disk_bytes: u64,
    max_size: Option<u64>,
}

#[derive(Serialize)]
struct Object<'a> {
    cid: String,
    name: &'a str,
    kind: &'static str,
    size: u64,
    pins: &'a [String],
    last_used: String,
    exclusive_bytes: u64,
    shared_bytes: u64,
    damaged_bytes: u64,
}

#[derive(Serialize)]
struct Removal<'a> {
    targets: &'a [String],
    freeable_bytes: u64,
    shared_bytes: u64,
}

pub(crate) fn run(args: DfArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let targets: Vec<Target> = args
        .targets
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    let reader = context.reader()?;
    if targets.is_empty() {
        let max_size = context.config.store.max_size.map(|size| size.bytes());
        return Ok(whole(&reader.space()?, max_size));
    }
    let removal = reader.space_of_removal(&targets)?;
    let shared = match removal.shared_bytes {
        0 => String::new(),
        shared => format!(
            "; {} are shared with other objects and stay",
            text::size(shared)
        ),
    };
    Ok(Output::new(&Removal {
        targets: &args.targets,
        freeable_bytes: removal.freeable_bytes,
        shared_bytes: removal.shared_bytes,
    })
    .line(format!(
        "removing {} would free {}{shared}",
        args.targets.join(", "),
        text::size(removal.freeable_bytes),
    ))
    .quiet(removal.freeable_bytes.to_string()))
}

fn whole(space: &SpaceReport, max_size: Option<u64>) -> Output {
    let entries = space.objects.iter().map(|object| Object {
        cid: object.cid.to_string(),
        name: &object.name,
        kind: object.kind.name(),
        size: object.size,
        pins: &object.pins,
        last_used: utc_text(object.last_used_ms),
        exclusive_bytes: object.exclusive_bytes,
        shared_bytes: object.shared_bytes,
        damaged_bytes: object.damaged_bytes,
    });
    let output = Output::new(&Space {
        entries: entries.collect(),
        live_bytes: space.live_bytes,
        loose_bytes: space.loose_bytes,
        pending_bytes: space.pending_bytes,
        dead_bytes: space.dead_bytes,
        damaged_bytes: space.damaged_bytes,
        overhead_bytes: space.overhead_bytes,
        disk_bytes: space.disk_bytes,
        max_size,
    });
    let row = |object: &ObjectSpace| {
        vec![
            object.cid.to_string(),
            match object.pins.is_empty() {
                true => object.name.clone(),
                false => object.pins.join(", "),
            },
            text::size(object.size),
            text::size(object.exclusive_bytes),
            text::size(object.shared_bytes),
        ]
    };
    let of_quota = max_size.map_or_else(String::new, |max| format!(" of {}", text::size(max)));
    let fields = [
        ("objects", space.live_bytes, ""),
        (
            "single blocks",
            space.loose_bytes,
            "kept until the grace time is over",
        ),
        (
            "in use",
            space.pending_bytes,
            "removed, and free once nobody reads it",
        ),
        ("free with gc", space.dead_bytes, ""),
        ("damaged", space.damaged_bytes, "see `verify --heal`"),
        ("overhead", space.overhead_bytes, ""),
    ];
    let shown = fields
        .into_iter()
        .filter(|(label, bytes, _)| *bytes > 0 || *label == "objects");
    let mut fields: Vec<(&'static str, String)> = shown
        .map(|(label, bytes, note)| (label, with_note(&text::size(bytes), note)))
        .collect();
    fields.push((
        "on disk",
        format!("{}{of_quota}", text::size(space.disk_bytes)),
    ));
    let output = output
        .view(View::Table(Table {
            columns: &["OBJECT", "NAME", ">SIZE", ">EXCLUSIVE", ">SHARED"],
            rows: space.objects.iter().map(row).collect(),
            empty: "the store has no objects",
        }))
        .view(View::Fields(fields));
    match space.damaged_bytes {
        0 => output,
        bytes => output.note(Note::Warning(format!(
            "{} are recorded as damaged; `verify --heal FROM` mends them",
            text::size(bytes)
        ))),
    }
}

fn with_note(size: &str, note: &str) -> String {
    match note.is_empty() {
        true => size.to_owned(),
        false => format!("{size} ({note})"),
    }
}
