//! `ls`: the objects of the store, or what stands in a folder.

use clap::Args;
use ipfs_accelerate::{
    Entry, Listing, ObjectInfo, SpaceReport, StoreError, StoreReader, Target, utc_text,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Fault, Note, Output, Table, View};
use crate::cli::text;

/// List the objects of the store, or a folder
///
/// Without TARGET: every object with its CID, the name it was added under, its size, its pins and when it
/// was last used (to the hour). With TARGET: what stands in that folder.
///
/// A root or a name that cannot be read, or a name whose object has lost its root, is said and left out, and the exit
/// code is 1.
///
/// Works beside a writer.
///
/// With --json: entries, a list of {cid, name, kind, size, profile, pinned, pins, created, last_used,
/// damaged_bytes}, and damaged, a list of {kind, message, hint}; or entries of {name, kind, size, cid, link} for a
/// folder. With -q: CIDs, or names.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate ls
  ipfs-accelerate ls llama-3
  ipfs-accelerate ls --json | jq -r '.entries[] | select(.pinned | not).cid'")]
pub(crate) struct LsArgs {
    /// A folder: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
}

#[derive(Serialize)]
struct Objects<'a> {
    entries: Vec<ObjectEntry<'a>>,
    damaged: Vec<Fault>,
}

#[derive(Serialize)]
struct Folder<'a> {
    entries: Vec<FolderEntry<'a>>,
}

#[derive(Serialize)]
struct ObjectEntry<'a> {
    cid: String,
    name: &'a str,
    kind: &'static str,
    size: u64,
    profile: &'a str,
    pinned: bool,
    pins: Vec<&'a str>,
    created: String,
    last_used: String,
    damaged_bytes: u64,
}

#[derive(Serialize)]
struct FolderEntry<'a> {
    name: &'a str,
    kind: &'static str,
    size: u64,
    cid: String,
    link: Option<&'a str>,
}

pub(crate) fn run(args: LsArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Option<Target> = args.target.map(|text| text.parse()).transpose()?;
    let reader = context.reader()?;
    Ok(match target {
        None => {
            let mut listing = reader.list_objects()?;
            // What cannot be read is listed, and may be what names them.
            let lost = match listing.damaged.is_empty() {
                true => lost_packs(&reader, &mut listing.damaged)?,
                false => 0,
            };
            let is_empty = listing.entries.is_empty() && listing.damaged.is_empty();
            let output = objects(&listing, lost);
            match lost {
                0 if is_empty => output.line(without_objects(&reader.space()?)),
                0 => output,
                _ => output.no(true),
            }
        }
        Some(target) => folder(&reader.list(&target)?),
    })
}

/// How many packs no root names. A name whose object has no root is said as one is that cannot be read.
fn lost_packs(reader: &StoreReader, damaged: &mut Vec<StoreError>) -> Result<u64, StoreError> {
    match reader.unrooted_packs() {
        Err(e @ StoreError::NameWithoutRoot { .. }) => {
            damaged.push(e);
            Ok(0)
        }
        packs => packs,
    }
}

/// No root names `lost` packs.
fn objects(listing: &Listing<ObjectInfo>, lost: u64) -> Output {
    let objects = &listing.entries;
    let entry = |object: &ObjectInfo| {
        vec![
            object.cid.to_string(),
            named(&object.name).to_owned(),
            text::size(object.size),
            pins(object),
            text::minute(object.last_used_ms),
        ]
    };
    let entries = objects.iter().map(|object| ObjectEntry {
        cid: object.cid.to_string(),
        name: &object.name,
        kind: object.kind.name(),
        size: object.size,
        profile: &object.profile,
        pinned: !object.pins.is_empty(),
        pins: object.pins.iter().map(|pin| pin.name.as_str()).collect(),
        created: utc_text(object.created_ms),
        last_used: utc_text(object.last_used_ms),
        damaged_bytes: object.damaged_bytes,
    });
    let output = Output::new(&Objects {
        entries: entries.collect(),
        damaged: faults(&listing.damaged),
    });
    let table = Table {
        columns: &["CID", "NAME", ">SIZE", "PINNED", "LAST USED"],
        rows: objects.iter().map(entry).collect(),
        empty: "Nothing is listed, and there are packs: their roots are lost. Run `repair`.",
    };
    let output = match (lost, objects.is_empty()) {
        (0, true) => output,
        (0, false) | (_, true) => output.view(View::Table(table)),
        (packs, false) => output.view(View::Table(table)).note(Note::Warning(format!(
            "The roots of {} are lost: run `repair`.",
            text::count(packs, "pack")
        ))),
    };
    let output = damaged_files(output, &listing.damaged);
    let damaged = objects.iter().filter(|object| object.damaged_bytes > 0);
    let output = damaged.fold(output, |output, object| {
        let bytes = text::size(object.damaged_bytes);
        let (cid, name) = (object.cid, named(&object.name));
        output.note(Note::Warning(format!(
            "{bytes} of {cid} ({name}) are recorded as damaged"
        )))
    });
    objects.iter().fold(output, |output, object| {
        output.quiet(object.cid.to_string())
    })
}

/// What there is where no object is.
fn without_objects(space: &SpaceReport) -> String {
    let size = text::size;
    match (space.disk_bytes, space.remains_bytes) {
        (0, _) => "The store is empty.".to_owned(),
        (_, 0) => format!(
            "There is no object; the packs take {}, and `df` says what for.",
            size(space.disk_bytes)
        ),
        (_, remains) => format!(
            "There is no object, and {} of what a repair could not put together: `repair` says what is lacking.",
            size(remains)
        ),
    }
}

pub(super) fn faults(damaged: &[StoreError]) -> Vec<Fault> {
    damaged.iter().map(|e| Fault::of(e)).collect()
}

/// Says which roots and names cannot be read; the listing is not whole then.
pub(super) fn damaged_files(output: Output, damaged: &[StoreError]) -> Output {
    let said = damaged.iter().map(|e| Note::Warning(Fault::warning(e)));
    said.fold(output, Output::note).no(!damaged.is_empty())
}

fn folder(entries: &[Entry]) -> Output {
    let shown = |entry: &Entry| match &entry.target {
        Some(target) => format!("{} -> {target}", entry.path),
        None => entry.path.clone(),
    };
    let row = |entry: &Entry| {
        let size = text::size(entry.size);
        vec![
            entry.kind.name().to_owned(),
            size,
            shown(entry),
            entry.cid.to_string(),
        ]
    };
    let json = entries.iter().map(|entry| FolderEntry {
        name: &entry.path,
        kind: entry.kind.name(),
        size: entry.size,
        cid: entry.cid.to_string(),
        link: entry.target.as_deref(),
    });
    let output = Output::new(&Folder {
        entries: json.collect(),
    })
    .view(View::Table(Table {
        columns: &["KIND", ">SIZE", "NAME", "CID"],
        rows: entries.iter().map(row).collect(),
        empty: "The folder is empty.",
    }));
    entries
        .iter()
        .fold(output, |output, entry| output.quiet(&*entry.path))
}

/// A stream was added under no name.
fn named(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

/// The pins' names; the one that is the CID itself is just `yes`.
fn pins(object: &ObjectInfo) -> String {
    let pins = object.pins.iter().map(|pin| pin.name.as_str());
    let names = text::names_beside(&object.cid, pins);
    match (object.pins.is_empty(), names.is_empty()) {
        (true, _) => "no".into(),
        (false, true) => "yes".into(),
        (false, false) => names.join(", "),
    }
}
