//! `verify`: whether everything in the store is what it was.

mod notes;
mod output;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{
    FileError, HealOptions, Store, Target, VerifyOptions, VerifyProgress, VerifyReport,
};

use self::output::{Healing, output};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::Output;
use crate::cli::progress::{Progress, set_total};

/// Hash everything again and find what is damaged
///
/// Reads every block, or those of each TARGET, and follows every object from its CID through its nodes to its
/// bytes. A finding says which file of which object is concerned, the block, and the pack and the offset where it
/// lies. Damaged blocks are recorded: from then on every reader refuses them, and adding the same content writes
/// them anew. One that was recorded and reads well now is taken off the record.
///
/// --heal takes good bytes from what the store has itself (the same block at another place, as after its content was
/// added again; nodes follow from what is below them), and from FROM: a file, a folder or another store. A file is cut
/// as the damaged object was, the folders over it follow, each block is hashed before it is used, and the object keeps
/// its CID.
///
/// Exit code 0 without findings, or when all were healed; 1 with some; 2 when it was stopped before the end
/// without any. A healing that fails (heal_error: a full disk) leaves what was found. What the page cache holds is not
/// read from the disk.
///
/// With --json: blocks, of_blocks, bytes, objects, packs, findings [{kind, affected [{object, name, path}],
/// block, file, offset, len, expected, found}], cleared [{block, file, offset}], unused_damaged, recorded,
/// complete, healed [{block, by, from, affected, file, offset, len}], left [as findings] and heal_error {kind, message,
/// hint} with --heal, notes, seconds; kinds are corrupt_block, unreadable_block, missing_block, pack, root, name, structure and
/// unrooted_pack. With -q: the CIDs of what is concerned still.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate verify
  ipfs-accelerate verify llama-3/model-00001-of-00004.safetensors
  ipfs-accelerate verify --sample 5%                 a random twentieth of the blocks, for a daily look
  ipfs-accelerate verify --read-only                 beside a writer, or from a read-only mount
  ipfs-accelerate verify --heal                      damaged blocks from what the store has itself
  ipfs-accelerate verify --heal ~/models/llama-3     and from the original files
  ipfs-accelerate verify llama-3 --heal /backup/store --heal ~/Downloads")]
pub(crate) struct VerifyArgs {
    /// What to verify: CID or name, and a path below it. Everything, if there is none.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Read a random share of the blocks, as 5% or 0.05; the structure is checked whole.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
    /// Record nothing, and need no lock.
    #[arg(long, conflicts_with = "heal")]
    read_only: bool,
    /// Take good bytes for damaged blocks from what the store has itself, and from a file, a folder or another store's
    /// folder, if one is named; may be given again.
    ///
    /// Name the TARGETs before it: what follows it is taken for FROM.
    #[arg(long, value_name = "FROM", num_args = 0..=1)]
    heal: Option<Vec<PathBuf>>,
    #[command(flatten)]
    lock: LockArgs,
}

/// `5%` or `0.05`, more than nothing and at most all.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let number: f64 = number.trim().parse().unwrap_or(f64::NAN);
    let share = number / unit;
    match share > 0.0 && share <= 1.0 {
        true => Ok(share),
        false => Err("write it as 5% or 0.05, up to 100%".into()),
    }
}

pub(crate) fn run(args: VerifyArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let targets: Result<Vec<Target>, _> = args.targets.iter().map(|text| text.parse()).collect();
    for path in args.heal.iter().flatten() {
        fs::metadata(path).map_err(FileError::at("open", path))?;
    }
    let mut options = VerifyOptions::default().with_targets(targets?);
    options.sample = args.sample;
    let begun = Instant::now();
    if args.read_only {
        let reader = context.reader()?;
        let _bar = follow(context, &mut options)?;
        let report = reader.verify(&options)?;
        return Ok(output(
            &report,
            None,
            args.sample,
            Vec::new(),
            begun,
            &context.store_path()?,
        ));
    }
    let store = context.writer(&args.lock)?;
    let bar = follow(context, &mut options)?;
    let report = store.verify(&options)?;
    drop(bar);
    let from = args.heal.as_deref().filter(|_| report.is_complete);
    let healing = from.map(|from| heal(&store, &report, from, &options, context));
    let healing = healing.transpose()?;
    let store = context.store_path()?;
    Ok(output(
        &report,
        healing.as_ref(),
        args.sample,
        context.made_room(),
        begun,
        &store,
    ))
}

fn heal<'f>(
    store: &Store,
    report: &VerifyReport,
    from: &'f [PathBuf],
    verified: &VerifyOptions,
    context: &Context<'_>,
) -> Result<Healing<'f>, CliError> {
    let read = match from.first() {
        Some(path) => path.clone(),
        None => context.store_path()?,
    };
    let progress = context.progress("reading", &read, Some(0));
    let mut options = HealOptions::default();
    options.cancel.clone_from(&verified.cancel);
    options.progress = Some(progress.follow());
    let end = store.heal(report, from, &options);
    Ok(Healing { from, end })
}

/// Shows how far it is, and stops it at a signal.
fn follow(context: &Context<'_>, options: &mut VerifyOptions) -> Result<Progress, CliError> {
    options.cancel = Some(context.cancel()?);
    let progress = context.progress("verifying", &context.store_path()?, Some(0));
    let bar = progress.bar();
    options.progress = Some(Arc::new(move |at: VerifyProgress| {
        set_total(&bar, at.total_bytes);
        bar.set_position(at.done_bytes);
    }));
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_or_a_part_of_one() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.05"), Ok(0.05));
        assert_eq!(share("100 %"), Ok(1.0));
        for bad in [
            "0", "0%", "-1%", "101%", "1.5", "half", "", "%", "nan", "inf",
        ] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
