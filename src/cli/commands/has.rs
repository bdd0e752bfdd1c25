//! `has`: whether a target is there.

use clap::Args;
use ipfs_accelerate::Target;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// Tell whether a file, folder or pin is in the store
///
/// Prints yes with exit code 0, or no with exit code 1. Knows the objects, every path and CID of a file or
/// folder below them, and the pins. Works beside a writer.
///
/// With --json: has, target. With -q: nothing.
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
}

pub(crate) fn run(args: HasArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.target.parse()?;
    let has = context.reader()?.has(&target)?;
    Ok(Output::new(&Has {
        has,
        target: target.to_string(),
    })
    .line(if has { "yes" } else { "no" })
    .no(!has))
}
