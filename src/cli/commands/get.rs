//! `get`: files and folders out of the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{ExportOptions, Target, UnsafeLinks};
use serde::Serialize;

use crate::cli::commands::cat;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Note, Output};
use crate::cli::text;

/// Write a file or folder out of the store
///
/// The output appears in one step, whole or not at all, also when the command is stopped. One that is there
/// already is an error; --force replaces it in one step. Symbolic links that are absolute or lead out
/// of the output are refused, unless --unsafe-links says what becomes of them.
///
/// Works beside a writer. It writes to a file or folder .ipfs-accelerate-ID beside the output first, which stays there
/// if the process is killed with SIGKILL, and may then be removed.
///
/// With --json: cid, output, kind, files, bytes, skipped_links, seconds; with `-o -` the content alone.
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
    /// What becomes of symbolic links that are absolute or lead out of the output: refuse all of it, skip them (as
    /// rsync does with --safe-links), or keep them as they are (as tar and restic do).
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Links::Refuse)]
    unsafe_links: Links,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Links {
    Refuse,
    Skip,
    Keep,
}

#[derive(Serialize)]
struct Got<'a> {
    cid: String,
    output: &'a str,
    kind: &'static str,
    files: u64,
    bytes: u64,
    skipped_links: &'a [String],
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
    options.unsafe_links = match args.unsafe_links {
        Links::Refuse => UnsafeLinks::Refuse,
        Links::Skip => UnsafeLinks::Skip,
        Links::Keep => UnsafeLinks::Keep,
    };
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
    let output = Output::new(&Got {
        cid: object.cid().to_string(),
        output: &shown,
        kind: object.kind().name(),
        files: report.files,
        bytes: report.bytes,
        skipped_links: &report.skipped_links,
        seconds,
    });
    let output = match report.skipped_links.as_slice() {
        [] => output,
        links => output.note(Note::Warning(format!(
            "left out {} that would lead out of the output: {}",
            text::count(links.len() as u64, "symbolic link"),
            shortened(links)
        ))),
    };
    Ok(output.line(format!("{shown}  ({})", said.join(", "))))
}

fn shortened(links: &[String]) -> String {
    const SHOWN: usize = 8;
    match links.len() {
        all if all > SHOWN => format!("{} and {} more", links[..SHOWN].join(", "), all - SHOWN),
        _ => links.join(", "),
    }
}

/// The last component of the path, else the CID or name.
fn default_output(target: &Target) -> PathBuf {
    let text = target.to_string();
    PathBuf::from(text.rsplit('/').next().unwrap_or(&text))
}
