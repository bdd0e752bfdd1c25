//! `pin sync`: the pins that a file lists.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{
    AddProgress, Cid, DesiredPins, PinAction, PinChange, PinSyncOptions, StoreError,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Fault, Note, Output, Table, View};
use crate::cli::text;

/// Have the pins that a file lists, and print what changed
///
/// FILE has a table [pins] of NAME = "CID", whose object has to be there, or NAME = "PATH", relative to FILE, which
/// is added; NAME = { path = "…", cid = "…" } is both: it is added if the object is missing, and refused if it gets
/// another CID. Further keys of such a table are profile, hidden, dereference-symlinks and ignore, as the flags of
/// `add`. A name with a dot is quoted.
///
/// What is missing is added and pinned, and names move; the object that a name pointed to stays, unpinned. --prune
/// removes all other pins, those named by their CID too, last, and only if every entry was met; if FILE lists no pin at
/// all, which is more likely a slip, only with --allow-empty. Running it again
/// changes nothing. A path is read and hashed each time, as nothing else says whether it is the same, which takes as
/// long as `add` of what is there; an entry with a cid is not read while its object is there.
///
/// A file that is not right changes nothing. An entry that cannot be met is reported, does not stop the others, and
/// makes the exit code 1; changes alone do not, in a dry run neither.
///
/// With --json: file, dry_run, entries, a list of {name, action, cid, was, error}, and changed, kept, failed,
/// unlisted, notes, seconds; the action is add, pin, move, keep, unpin or failed, and unlisted counts the pins that FILE
/// does not list and that are still there. With -q: the names that changed.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate pin sync pins.toml --dry-run --prune      what would be done
  ipfs-accelerate pin sync pins.toml --prune -q             in cron

FILE:
  [pins]
  llama = \"bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe\"
  mistral = \"../models/mistral-7b\"
  \"whisper-v3.1\" = { path = \"~/models/whisper\", cid = \"bafy…\", profile = \"unixfs-v1-2025\" }")]
pub(crate) struct PinSyncArgs {
    /// The list of pins, in TOML.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Remove the pins that the file does not list.
    #[arg(long)]
    prune: bool,
    /// With --prune, take a file that lists no pin at its word: every pin goes.
    #[arg(long, requires = "prune")]
    allow_empty: bool,
    /// Only say what would be done; paths are read all the same.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Synced<'a> {
    file: String,
    dry_run: bool,
    entries: Vec<Entry<'a>>,
    changed: u64,
    kept: u64,
    failed: u64,
    unlisted: u64,
    notes: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    action: &'static str,
    cid: Option<String>,
    was: Option<String>,
    error: Option<Fault>,
}

impl<'a> From<&'a PinChange> for Entry<'a> {
    fn from(change: &'a PinChange) -> Self {
        Self {
            name: &change.name,
            action: change.action.name(),
            cid: change.cid.as_ref().map(Cid::to_string),
            was: change.was.as_ref().map(Cid::to_string),
            error: change.error.as_ref().map(|e| Fault::of(e)),
        }
    }
}

pub(crate) fn run(args: &PinSyncArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let begun = Instant::now();
    let desired = DesiredPins::read(&args.file)?;
    if args.prune && desired.entries.is_empty() && !args.allow_empty {
        return Err(CliError::NoPinsListed {
            path: args.file.clone(),
        });
    }
    let mut options = PinSyncOptions::default();
    options.prune = args.prune;
    options.hash_paths = args.dry_run;
    options.cancel = Some(context.cancel()?);
    let target = context.writer_for(args.dry_run, &args.lock, context.configured_profile()?)?;
    let progress = context.progress("reading for", &args.file, Some(0));
    let (bar, follow) = (progress.bar(), progress.follow());
    options.progress = Some(Arc::new(move |name: &str, at: AddProgress| {
        bar.set_message(text::harmless(&format!("reading {name}")));
        follow(at);
    }));
    let plan = target.store.plan_pins(&desired, &options)?;
    let output = if args.dry_run {
        let changes: Vec<&PinChange> = plan.changes().collect();
        output(args, &changes, plan.unlisted(), Vec::new(), begun)
    } else {
        let report = target.store.apply_pins(plan, &options)?;
        let changes: Vec<&PinChange> = report.changes.iter().collect();
        output(args, &changes, report.unlisted, context.made_room(), begun)
    };
    drop(progress);
    Ok(output)
}

fn output(
    args: &PinSyncArgs,
    changes: &[&PinChange],
    unlisted: u64,
    notes: Vec<String>,
    begun: Instant,
) -> Output {
    let count = |action| changes.iter().filter(|c| c.action == action).count() as u64;
    let (kept, failed) = (count(PinAction::Keep), count(PinAction::Failed));
    let changed = changes.len() as u64 - kept - failed;
    let seconds = begun.elapsed().as_secs_f64();
    let mut output = Output::new(&Synced {
        file: args.file.display().to_string(),
        dry_run: args.dry_run,
        entries: changes.iter().map(|change| Entry::from(*change)).collect(),
        changed,
        kept,
        failed,
        unlisted,
        notes: notes.clone(),
        seconds,
    });
    let mut rows = Vec::new();
    for change in changes {
        match (&change.error, change.action) {
            (Some(e), _) => {
                let warning = format!("{}: {}", change.name, Fault::warning(e));
                output = output.note(Note::Warning(warning));
                rows.push(row(change));
            }
            (None, PinAction::Keep) => {}
            (None, _) => {
                output = output.quiet(&*change.name);
                rows.push(row(change));
            }
        }
    }
    if !rows.is_empty() {
        output = output.view(View::Table(Table {
            columns: &["ACTION", "NAME", "CID", "WAS"],
            rows,
            empty: "",
        }));
    }
    let mut said = vec![
        match (changed, args.dry_run) {
            (0, _) => "nothing to change".to_owned(),
            (n, true) => format!("{n} would change"),
            (n, false) => format!("{n} changed"),
        },
        format!("{kept} kept"),
    ];
    if failed > 0 {
        said.push(format!("{failed} failed"));
    }
    match (unlisted, args.prune) {
        (0, _) => {}
        (n, true) => said.push(format!(
            "{} not in the file, kept because an entry failed",
            text::count(n, "pin")
        )),
        (n, false) => said.push(format!("{} not in the file", text::count(n, "pin"))),
    }
    said.push(text::seconds(seconds));
    let is_cancelled = |change: &&PinChange| {
        let error = change.error.as_ref();
        error.is_some_and(|error| matches!(error, StoreError::Cancelled))
    };
    let is_stopped = changes.iter().any(is_cancelled);
    output = output.line(said.join(", ")).notes(notes);
    if is_stopped {
        output = output.line(STOPPED);
    }
    output.no(failed > 0 && !is_stopped).stopped(is_stopped)
}

const STOPPED: &str =
    "stopped before the end: what was done stays so, and the same command again does what is left";

fn row(change: &PinChange) -> Vec<String> {
    let text = |cid: &Option<Cid>| cid.as_ref().map(Cid::to_string).unwrap_or_default();
    vec![
        change.action.name().to_owned(),
        change.name.clone(),
        text(&change.cid),
        text(&change.was),
    ]
}
