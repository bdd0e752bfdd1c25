//! `rm`: an object out of the store.

use clap::Args;
use ipfs_accelerate::{RemoveOptions, Target};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::Output;
use crate::cli::text;

/// Remove an object from the store
///
/// Refuses what is pinned, and names the pin; --unpin removes the pins too, named by its CID all of them, named by a
/// pin that one if it is the only one. The object is gone at once; its
/// space is given back by `gc`. What other objects share with it stays.
///
/// With --json: cid, unpinned, freeable_bytes, shared_bytes, pending_bytes, not_freeable_bytes, freed_bytes (always 0:
/// `gc` frees).
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate rm CID
  ipfs-accelerate rm --unpin llama-3
  ipfs-accelerate pin rm llama-3-old            the name alone")]
pub(crate) struct RmArgs {
    /// The object: CID or name.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Remove its pins too.
    #[arg(long)]
    unpin: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Removed<'a> {
    cid: String,
    unpinned: &'a [String],
    freeable_bytes: u64,
    shared_bytes: u64,
    pending_bytes: u64,
    not_freeable_bytes: u64,
    freed_bytes: u64,
}

pub(crate) fn run(args: RmArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.target.parse()?;
    // Held through: what has begun is finished.
    let _cancel = context.cancel()?;
    let options = if args.unpin {
        RemoveOptions::with_unpin()
    } else {
        RemoveOptions::default()
    };
    let report = context.writer(&args.lock)?.remove(&target, &options)?;
    let cid = report.cid.to_string();
    let names = text::names_beside(&report.cid, report.unpinned.iter().map(String::as_str));
    let unpinned = match (report.unpinned.is_empty(), names.is_empty()) {
        (true, _) => String::new(),
        (false, true) => ", unpinned".to_owned(),
        (false, false) => format!(", unpinned {}", names.join(", ")),
    };
    let space = text::outlook(
        "`gc` will free",
        report.freeable_bytes,
        &[
            (report.pending_bytes, "are free once nobody reads them"),
            (
                report.shared_bytes,
                "are shared with other objects and stay",
            ),
            (report.not_freeable_bytes, text::KEEPS_SPACE),
        ],
    );
    Ok(Output::new(&Removed {
        cid: cid.clone(),
        unpinned: &report.unpinned,
        freeable_bytes: report.freeable_bytes,
        shared_bytes: report.shared_bytes,
        pending_bytes: report.pending_bytes,
        not_freeable_bytes: report.not_freeable_bytes,
        freed_bytes: 0,
    })
    .line(format!("removed {cid}{unpinned}"))
    .line(space))
}
