//! `pin`: names that keep objects.

use clap::{Args, Subcommand};
use ipfs_accelerate::{Pin, PinOptions, Target, utc_text};
use serde::Serialize;

use super::ls::{damaged_files, faults};
use super::pin_sync::{self, PinSyncArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Fault, Output, Table, View};
use crate::cli::text;

/// Add, remove and list pins, or have those that a file lists
///
/// A pin keeps an object from being removed. Its name is unique, points to one object, and stands wherever a
/// CID is taken. `add` pins by itself.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct PinArgs {
    #[command(subcommand)]
    command: PinCommand,
}

#[derive(Subcommand)]
enum PinCommand {
    /// Pin an object, or a file or folder inside one
    ///
    /// With --json: name, cid, kind, created. With -q: the name.
    #[command(after_long_help = "\
Examples:
  ipfs-accelerate pin add CID
  ipfs-accelerate pin add CID --name llama-3
  ipfs-accelerate pin add CID --name llama-3 --replace    move the name")]
    Add(PinAddArgs),
    /// Remove a pin; the object stays until space is needed
    ///
    /// With --json: name, cid, kind, created, as the pin was. With -q: nothing.
    #[command(after_long_help = "\
Examples:
  ipfs-accelerate pin rm llama-3")]
    Rm(PinRmArgs),
    /// List all pins
    ///
    /// Works beside a writer. With --json: entries, a list of {name, cid, kind, created}, and damaged, a list of
    /// {kind, message, hint} of names that cannot be read; with some, the exit code is 1. With -q: names.
    Ls,
    Sync(PinSyncArgs),
}

#[derive(Args)]
struct PinAddArgs {
    /// What to pin: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: String,
    /// The pin's name; without it the pin is named by the CID.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Move the name if it points to another object.
    #[arg(long, requires = "name")]
    replace: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Args)]
struct PinRmArgs {
    /// The pin's name, or the CID of what it pins.
    #[arg(value_name = "PIN")]
    target: String,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct PinEntry<'a> {
    name: &'a str,
    cid: String,
    kind: &'static str,
    created: String,
}

#[derive(Serialize)]
struct Listing<'a> {
    entries: Vec<PinEntry<'a>>,
    damaged: Vec<Fault>,
}

impl<'a> From<&'a Pin> for PinEntry<'a> {
    fn from(pin: &'a Pin) -> Self {
        Self {
            name: &pin.name,
            cid: pin.cid.to_string(),
            kind: pin.kind.name(),
            created: utc_text(pin.created_ms),
        }
    }
}

pub(crate) fn run(args: PinArgs, context: &Context<'_>) -> Result<Output, CliError> {
    match args.command {
        PinCommand::Add(args) => add(args, context),
        PinCommand::Rm(args) => rm(&args, context),
        PinCommand::Ls => ls(context),
        PinCommand::Sync(args) => pin_sync::run(&args, context),
    }
}

fn add(args: PinAddArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.target.parse()?;
    let _cancel = context.cancel()?;
    let mut options = PinOptions::default();
    options.name = args.name;
    options.replace = args.replace;
    let pin = context.writer(&args.lock)?.pin(&target, &options)?;
    let cid = pin.cid.to_string();
    let line = match text::names_beside(&pin.cid, [&*pin.name])[..] {
        [name] => format!("pinned {cid} as {name:?}"),
        _ => format!("pinned {cid}"),
    };
    Ok(Output::new(&PinEntry::from(&pin))
        .line(line)
        .quiet(&*pin.name))
}

fn rm(args: &PinRmArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.target.parse()?;
    let _cancel = context.cancel()?;
    let pin = context.writer(&args.lock)?.unpin(&target)?;
    let line = format!("removed the pin {:?} of {}", pin.name, pin.cid);
    Ok(Output::new(&PinEntry::from(&pin)).line(line))
}

fn ls(context: &Context<'_>) -> Result<Output, CliError> {
    let listed = context.reader()?.list_pins()?;
    let pins = &listed.entries;
    let row = |pin: &Pin| {
        let (kind, created) = (pin.kind.name().to_owned(), utc_text(pin.created_ms));
        vec![pin.name.clone(), pin.cid.to_string(), kind, created]
    };
    let entries = pins.iter().map(PinEntry::from).collect();
    let damaged = faults(&listed.damaged);
    let output = Output::new(&Listing { entries, damaged }).view(View::Table(Table {
        columns: &["NAME", "CID", "KIND", "CREATED"],
        rows: pins.iter().map(row).collect(),
        empty: "There are no pins.",
    }));
    let output = damaged_files(output, &listed.damaged);
    Ok(pins
        .iter()
        .fold(output, |output, pin| output.quiet(&*pin.name)))
}
