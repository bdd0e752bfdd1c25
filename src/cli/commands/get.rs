//! `get`: files and folders out of the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{ExportOptions, Target};
use serde::Serialize;

use crate::cli::commands::cat;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::text;

/// Write a file or folder out of the store
///
/// The output appears in one step, whole or not at all, also when the command is stopped. One that is there
/// already is an error; --force replaces it in one step. Symbolic links that would lead out of the output
/// folder are refused.
///
/// Works beside a writer.
///
/// With --json: cid, output, kind, files, bytes, seconds; with `-o -` the content alone.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate get llama-3                          to ./llama-3
  ipfs-accelerate get llama-3/tokenizer.json           to ./tokenizer.json
  ipfs-accelerate get llama-3 -o /models/llama --force
  ipfs-accelerate get llama-3/config.json -o - | jq .hidden_size")]
pub(crate) struct GetArgs {
    /// What to write: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Where to; `-` is standard output, for a file only.
    ///
    /// Without it: the last part of TARGET, in the current folder.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Replace an existing output.
    #[arg(short, long)]
    force: bool,
}

#[derive(Serialize)]
struct Got<'a> {
    cid: String,
    output: &'a str,
    kind: &'static str,
    files: u64,
    bytes: u64,
    seconds: f64,
}

pub(crate) fn run(args: GetArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let begun = Instant::now();
    let target: Target = args.target.parse()?;
    let reader = context.reader()?;
    if args.output.as_deref() == Some(Path::new("-")) {
        let mut file = reader.open_file(&target)?.reader();
        cat::copy(&mut file, &mut context.content()?)?;
        return Ok(Output::nothing());
    }
    let output = args.output.unwrap_or_else(|| default_output(&target));
    let object = reader.resolve(&target)?;
    let mut options = ExportOptions::default();
    options.force = args.force;
    options.cancel = Some(context.cancel()?);
    let progress = context.progress("writing", &output, Some(object.size()));
    let bar = progress.bar();
    options.progress = Some(Arc::new(move |bytes| bar.inc(bytes)));
    let report = object.export(&output, &options)?;
    drop(progress);

    let seconds = begun.elapsed().as_secs_f64();
    let shown = output.display().to_string();
    let said = [
        text::count(report.files, "file"),
        text::size(report.bytes),
        text::seconds(seconds),
    ];
    Ok(Output::new(&Got {
        cid: object.cid().to_string(),
        output: &shown,
        kind: object.kind().name(),
        files: report.files,
        bytes: report.bytes,
        seconds,
    })
    .line(format!("{shown}  ({})", said.join(", "))))
}

/// The last component of the path, else the CID or name.
fn default_output(target: &Target) -> PathBuf {
    let text = target.to_string();
    PathBuf::from(text.rsplit('/').next().unwrap_or(&text))
}
