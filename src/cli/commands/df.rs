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
/// For each object the bytes that it has for itself, and those that it shares with others; then what nothing needs
/// any more, and what is only still in use. With TARGETs: what `gc` would free once they are removed, all of them
/// together. What is on disk is what the packs take; what is unfinished lies beside them, and what is
/// referenced in files outside the store.
///
/// Works beside a writer.
///
/// With --json: entries, a list of {cid, name, kind, size, pins, last_used, exclusive_bytes, shared_bytes,
/// damaged_bytes}; live_bytes, loose_bytes, remains_bytes, pending_bytes, dead_bytes, not_freeable_bytes,
/// unfinished_bytes, damaged_bytes, unrooted_packs, unrooted_bytes, unreadable_packs, unreadable_bytes, overhead_bytes,
/// disk_bytes, referenced_bytes, max_size. With TARGETs: targets, freeable_bytes, shared_bytes,
/// pending_bytes, not_freeable_bytes. With -q: the bytes that would be free, with TARGETs.
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
    remains_bytes: u64,
    pending_bytes: u64,
    dead_bytes: u64,
    not_freeable_bytes: u64,
    unfinished_bytes: u64,
    damaged_bytes: u64,
    unrooted_packs: u64,
    unrooted_bytes: u64,
    unreadable_packs: u64,
    unreadable_bytes: u64,
    overhead_bytes: u64,
    disk_bytes: u64,
    referenced_bytes: u64,
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
    pending_bytes: u64,
    not_freeable_bytes: u64,
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
    Ok(Output::new(&Removal {
        targets: &args.targets,
        freeable_bytes: removal.freeable_bytes,
        shared_bytes: removal.shared_bytes,
        pending_bytes: removal.pending_bytes,
        not_freeable_bytes: removal.not_freeable_bytes,
    })
    .line(text::outlook(
        &format!("removing {} would free", args.targets.join(", ")),
        removal.freeable_bytes,
        &[
            (removal.pending_bytes, "are free once nobody reads them"),
            (
                removal.shared_bytes,
                "are shared with other objects and stay",
            ),
            (removal.not_freeable_bytes, text::KEEPS_SPACE),
        ],
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
        remains_bytes: space.remains_bytes,
        pending_bytes: space.pending_bytes,
        dead_bytes: space.dead_bytes,
        not_freeable_bytes: space.not_freeable_bytes,
        unfinished_bytes: space.unfinished_bytes,
        damaged_bytes: space.damaged_bytes,
        unrooted_packs: space.unrooted_packs,
        unrooted_bytes: space.unrooted_bytes,
        unreadable_packs: space.unreadable_packs,
        unreadable_bytes: space.unreadable_bytes,
        overhead_bytes: space.overhead_bytes,
        disk_bytes: space.disk_bytes,
        referenced_bytes: space.referenced_bytes,
        max_size,
    });
    let row = |object: &ObjectSpace| {
        vec![
            object.cid.to_string(),
            named(object),
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
            "remains",
            space.remains_bytes,
            "what a repair could not put together; goes as an object without a pin",
        ),
        (
            "in use",
            space.pending_bytes,
            "removed, and free once nobody reads it",
        ),
        ("free with gc", space.dead_bytes, ""),
        (
            "not freeable",
            space.not_freeable_bytes,
            "dead, on pages or in packs that hold what is live: `gc --dry-run` says why",
        ),
        (
            "unfinished",
            space.unfinished_bytes,
            "in tmp/, of an add at work or one that was killed: `gc` removes that",
        ),
        ("damaged", space.damaged_bytes, "see `verify --heal`"),
        (
            "without a root",
            space.unrooted_bytes,
            "in packs whose roots are lost: run `repair`",
        ),
        (
            "unreadable",
            space.unreadable_bytes,
            "packs that cannot be read: `repair` says why",
        ),
        ("overhead", space.overhead_bytes, ""),
        (
            "referenced",
            space.referenced_bytes,
            "in files outside the store",
        ),
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

/// Its pins' names; what it was called when it was added if it has none of its own.
fn named(object: &ObjectSpace) -> String {
    let names = text::names_beside(&object.cid, object.pins.iter().map(String::as_str));
    match names.is_empty() {
        true => object.name.clone(),
        false => names.join(", "),
    }
}

fn with_note(size: &str, note: &str) -> String {
    match note.is_empty() {
        true => size.to_owned(),
        false => format!("{size} ({note})"),
    }
}
