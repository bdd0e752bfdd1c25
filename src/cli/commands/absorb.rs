//! `absorb`: the bytes of referenced files into the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{AbsorbOptions, Target};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::Output;
use crate::cli::text;

/// Copy in what was added by reference, so that the files are needed no longer
///
/// Blocks that lie in files outside the store are read, checked and written into it; what the store has already is
/// not written again. Other objects that refer to the same places of these files are rewritten with it. A file
/// that is gone, cut off or changed is an error that names it, and then nothing is kept. SIGINT and SIGTERM leave
/// the object as it was. What made way under `max_size` is said. The files themselves are left alone.
///
/// With --json: cid, referenced_bytes, copied_bytes, objects, notes, seconds. With -q: nothing.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate absorb llama-3                      all of it
  ipfs-accelerate absorb llama-3/model.safetensors    one of its files
  ipfs-accelerate stat llama-3 --json | jq .referenced_bytes")]
pub(crate) struct AbsorbArgs {
    /// What to copy in: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Absorbed {
    cid: String,
    referenced_bytes: u64,
    copied_bytes: u64,
    objects: u64,
    notes: Vec<String>,
    seconds: f64,
}

pub(crate) fn run(args: AbsorbArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let begun = Instant::now();
    let target: Target = args.target.parse()?;
    let store = context.writer(&args.lock)?;
    let total = store.stat(&target)?.referenced_bytes;
    let progress = context.progress("absorbing", Path::new(&args.target), Some(total));
    let bar = progress.bar();
    let mut options = AbsorbOptions::default();
    options.cancel = Some(context.cancel()?);
    options.progress = Some(Arc::new(move |bytes| bar.inc(bytes)));
    let report = store.absorb(&target, &options)?;
    drop(progress);
    let (cid, seconds) = (report.cid.to_string(), begun.elapsed().as_secs_f64());
    let line = match report.referenced_bytes {
        0 => format!("{cid} refers to no file outside the store"),
        referenced => {
            let there = match referenced - report.copied_bytes {
                0 => String::new(),
                there => format!(", {} were there", text::size(there)),
            };
            let copied = text::size(report.copied_bytes);
            let objects = text::count(report.objects, "object");
            let seconds = text::seconds(seconds);
            format!("{cid}  ({copied} copied{there}, {objects} rewritten, {seconds})")
        }
    };
    let notes = context.made_room();
    Ok(Output::new(&Absorbed {
        cid,
        referenced_bytes: report.referenced_bytes,
        copied_bytes: report.copied_bytes,
        objects: report.objects,
        notes: notes.clone(),
        seconds,
    })
    .line(line)
    .notes(notes))
}
