//! `has`: whether a target is there.

use clap::Args;
use ipfs_accelerate::Target;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Note, Output};
use crate::cli::text;

/// Tell whether a file, folder or pin is in the store
///
/// Prints yes with exit code 0, or no with exit code 1. Knows the objects, every path and CID of a file or
/// folder below them, and the pins. What of it is recorded as damaged is said in a warning. Works beside a writer.
///
/// With --json: has, target, damaged_bytes. With -q: nothing.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate has llama-3/tokenizer.json
  ipfs-accelerate has -q CID || ipfs-accelerate add model.safetensors")]
pub(crate) struct HasArgs {
    /// What to look for: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: String,
}

#[derive(Serialize)]
struct Has {
    has: bool,
    target: String,
    damaged_bytes: u64,
}

pub(crate) fn run(args: HasArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.target.parse()?;
    let reader = context.reader()?;
    let has = reader.has(&target)?;
    let damaged_bytes = match has {
        true => reader.resolve(&target)?.damaged_bytes()?,
        false => 0,
    };
    let output = Output::new(&Has {
        has,
        target: target.to_string(),
        damaged_bytes,
    })
    .line(if has { "yes" } else { "no" })
    .no(!has);
    Ok(match damaged_bytes {
        0 => output,
        bytes => {
            let bytes = text::size(bytes);
            output.note(Note::Warning(format!(
                "{bytes} of it are recorded as damaged"
            )))
        }
    })
}
