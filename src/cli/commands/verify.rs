//! `verify`: whether everything in the store is what it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{
    Affected, ClearedBlock, FileError, Finding, FindingKind, HealOptions, HealReport, HealedBlock,
    HealedBy, Store, StoreError, Target, VerifyOptions, VerifyProgress, VerifyReport,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Note, Output, Table, View};
use crate::cli::progress::Progress;
use crate::cli::text;

/// Findings that people are shown; JSON has all.
const SHOWN: usize = 40;

/// Hash everything again and find what is damaged
///
/// Reads every block, or those of each TARGET, and follows every object from its CID through its nodes to its
/// bytes. A finding says which file of which object is concerned, the block, and the pack and the offset where it
/// lies. Damaged blocks are recorded: from then on every reader refuses them, and adding the same content writes
/// them anew. One that was recorded and reads well now is taken off the record.
///
/// --heal takes good bytes from what the store has itself (the same block at another place, as after its content was
/// added again; nodes follow from what is below them), and from FROM: a file, a folder or another store. A file is cut
/// as the damaged object was, each block is hashed before it is used, and the object keeps its CID.
///
/// Exit code 0 without findings, or when all were healed; 1 with some; 2 when it was stopped before the end
/// without any. What the page cache holds is not read from the disk.
///
/// With --json: blocks, of_blocks, bytes, objects, packs, findings [{kind, affected [{object, name, path}],
/// block, file, offset, len, expected, found}], cleared [{block, file, offset}], unused_damaged, recorded,
/// complete, healed [{block, by, from}] and left [as findings] with --heal, notes, seconds; kinds are corrupt_block,
/// unreadable_block, missing_block, pack, root, name, structure and unrooted_pack. With -q: the CIDs of what is concerned still.
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

#[derive(Serialize)]
struct Verified<'a> {
    blocks: u64,
    of_blocks: u64,
    bytes: u64,
    objects: u64,
    packs: u64,
    findings: Vec<Found<'a>>,
    cleared: Vec<Cleared>,
    unused_damaged: u64,
    recorded: bool,
    complete: bool,
    healed: Option<Vec<Healed>>,
    left: Option<Vec<Found<'a>>>,
    notes: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Healed {
    block: String,
    by: &'static str,
    from: Option<String>,
}

#[derive(Serialize)]
struct Found<'a> {
    kind: FindingKind,
    affected: Vec<Concerned<'a>>,
    block: Option<String>,
    file: String,
    offset: Option<u64>,
    len: Option<u64>,
    expected: &'a str,
    found: &'a str,
}

#[derive(Serialize)]
struct Concerned<'a> {
    object: String,
    name: &'a str,
    path: &'a str,
}

#[derive(Serialize)]
struct Cleared {
    block: String,
    file: String,
    offset: u64,
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
    let from = args.heal.as_ref().filter(|_| report.is_complete);
    let healed = from.map(|from| heal(&store, &report, from, &options, context));
    let (healed, is_stopped) = match healed.transpose() {
        Err(CliError::Store(StoreError::Cancelled)) => (None, true),
        healed => (healed?, false),
    };
    let store = context.store_path()?;
    let (healed, made_room) = (healed.as_ref(), context.made_room());
    let output = output(&report, healed, args.sample, made_room, begun, &store);
    Ok(match is_stopped {
        true => output.line(STOPPED).stopped(true),
        false => output,
    })
}

const STOPPED: &str =
    "stopped while it healed: what was healed by then stays so, and `verify` says what is left";

fn heal(
    store: &Store,
    report: &VerifyReport,
    from: &[PathBuf],
    verified: &VerifyOptions,
    context: &Context<'_>,
) -> Result<HealReport, CliError> {
    let read = match from.first() {
        Some(path) => path.clone(),
        None => context.store_path()?,
    };
    let progress = context.progress("reading", &read, Some(0));
    let mut options = HealOptions::default();
    options.cancel.clone_from(&verified.cancel);
    options.progress = Some(progress.follow());
    Ok(store.heal(report, from, &options)?)
}

/// Shows how far it is, and stops it at a signal.
fn follow(context: &Context<'_>, options: &mut VerifyOptions) -> Result<Progress, CliError> {
    options.cancel = Some(context.cancel()?);
    let progress = context.progress("verifying", &context.store_path()?, Some(0));
    let bar = progress.bar();
    options.progress = Some(Arc::new(move |at: VerifyProgress| {
        bar.set_length(at.total_bytes);
        bar.set_position(at.done_bytes);
    }));
    Ok(progress)
}

fn output(
    report: &VerifyReport,
    healed: Option<&HealReport>,
    sample: Option<f64>,
    made_room: Vec<String>,
    begun: Instant,
    store: &Path,
) -> Output {
    let seconds = begun.elapsed().as_secs_f64();
    let output = Output::new(&Verified {
        blocks: report.blocks,
        of_blocks: report.of_blocks,
        bytes: report.bytes,
        objects: report.objects,
        packs: report.packs,
        findings: report.findings.iter().map(found).collect(),
        cleared: report.cleared.iter().map(cleared).collect(),
        unused_damaged: report.unused_damaged,
        recorded: report.is_recorded,
        complete: report.is_complete,
        healed: healed.map(|healed| healed.healed.iter().map(healed_block).collect()),
        left: healed.map(|healed| healed.remaining.iter().map(found).collect()),
        notes: made_room.clone(),
        seconds,
    });
    let found = grouped(&report.findings, store).len();
    let mut output = output.line(summary(report, found as u64, sample, seconds));
    if let Some(healed) = healed {
        output = output.line(format!(
            "healed {}, {} written",
            text::count(healed.healed.len() as u64, "block"),
            text::size(healed.new_bytes)
        ));
    }
    let left = healed.map_or(&report.findings, |healed| &healed.remaining);
    let groups = grouped(left, store);
    if !groups.is_empty() {
        let shown = groups.iter().take(SHOWN);
        output = output.view(View::Table(Table {
            columns: &["FINDING", "IN", "BLOCK", "WHERE", "FOUND"],
            rows: shown.map(|group| row(group, store)).collect(),
            empty: "",
        }));
    }
    if groups.len() > SHOWN {
        let more = groups.len() - SHOWN;
        output = output.line(format!("and {more} more; --json lists all"));
    }
    let mut concerned: Vec<String> = left
        .iter()
        .flat_map(|finding| &finding.affected)
        .map(|affected| affected.object.to_string())
        .collect();
    concerned.sort();
    concerned.dedup();
    output = concerned.into_iter().fold(output, Output::quiet);
    notes(report, left, store)
        .into_iter()
        .map(Note::Note)
        .fold(output.notes(made_room), Output::note)
        .no(!left.is_empty())
        .stopped(!report.is_complete)
}

fn cleared(one: &ClearedBlock) -> Cleared {
    Cleared {
        block: one.block.to_string(),
        file: one.file.display().to_string(),
        offset: one.offset,
    }
}

fn healed_block(one: &HealedBlock) -> Healed {
    Healed {
        block: one.block.to_string(),
        by: one.by.name(),
        from: match &one.by {
            HealedBy::Store(path) | HealedBy::File(path) => Some(path.display().to_string()),
            _ => None,
        },
    }
}

fn summary(report: &VerifyReport, found: u64, sample: Option<f64>, seconds: f64) -> String {
    let blocks = match sample.is_some() || !report.is_complete {
        true => format!(
            "{} of {}",
            report.blocks,
            text::count(report.of_blocks, "block")
        ),
        false => text::count(report.blocks, "block"),
    };
    let mut said = vec![text::size(report.bytes), text::seconds(seconds)];
    said.extend(text::rate(report.bytes, seconds));
    let end = match report.is_complete {
        true => "",
        false => "; stopped before the end",
    };
    let found = match found {
        0 => "nothing is damaged".to_owned(),
        count => text::count(count, "finding"),
    };
    format!(
        "{found}: {blocks} in {} and {}  ({}){end}",
        text::count(report.objects, "object"),
        text::count(report.packs, "pack"),
        said.join(", ")
    )
}

/// Whether what is concerned lies in a file that was added by reference.
fn is_outside(finding: &Finding, store: &Path) -> bool {
    finding.kind.is_block() && !finding.file.starts_with(store)
}

/// The findings one by one; those of a file that was added by reference, which is mostly gone as a whole, together.
fn grouped<'a>(findings: &'a [Finding], store: &Path) -> Vec<&'a [Finding]> {
    let belong =
        |a: &Finding, b: &Finding| a.kind == b.kind && a.file == b.file && is_outside(a, store);
    findings.chunk_by(belong).collect()
}

fn notes(report: &VerifyReport, left: &[Finding], store: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    if left.iter().any(|one| is_outside(one, store)) {
        notes.push(
            "files that were added by reference are hashed at each use, so nothing is recorded of them: put them \
             back as they were, or add good copies again"
                .into(),
        );
    }
    let mut blocks = left.iter().filter(|one| one.kind.is_block());
    let has_blocks = blocks.any(|one| !is_outside(one, store));
    match (has_blocks, report.is_recorded) {
        (true, true) => notes.push(
            "what is damaged is recorded, and refused to every reader; --heal FROM takes good bytes from \
             elsewhere; adding the same content again writes it anew, and --heal then mends what else shares it"
                .into(),
        ),
        (true, false) => notes.push("nothing was recorded; `verify` without --read-only does".into()),
        (false, _) => {}
    }
    if left.iter().any(|one| !one.kind.is_block()) {
        notes.push("`repair` mends roots, names, and headers and tables of packs".into());
    }
    if !report.cleared.is_empty() {
        let cleared = text::count(report.cleared.len() as u64, "block");
        notes.push(match report.is_recorded {
            true => format!("{cleared} recorded as damaged before read well, and are served again"),
            false => format!("{cleared} recorded as damaged read well"),
        });
    }
    if report.unused_damaged > 0 {
        let unused = text::count(report.unused_damaged, "damaged block");
        notes.push(format!(
            "nothing needs {unused} besides; `gc` takes what is removed or replaced"
        ));
    }
    notes
}

fn found(finding: &Finding) -> Found<'_> {
    let concerned = |one: &'_ Affected| -> String { one.object.to_string() };
    Found {
        kind: finding.kind,
        affected: finding
            .affected
            .iter()
            .map(|one| Concerned {
                object: concerned(one),
                name: &one.name,
                path: &one.path,
            })
            .collect(),
        block: finding.block.map(|cid| cid.to_string()),
        file: finding.file.display().to_string(),
        offset: finding.offset,
        len: finding.len,
        expected: &finding.expected,
        found: &finding.found,
    }
}

fn row(group: &[Finding], store: &Path) -> Vec<String> {
    let finding = &group[0];
    let name = |one: &Affected| {
        let object = match one.name.as_str() {
            "" => one.object.to_string(),
            name => name.to_owned(),
        };
        match one.path.as_str() {
            "" => object,
            path => format!("{object}/{path}"),
        }
    };
    let mut concerned: Vec<&Affected> = Vec::new();
    for one in group.iter().flat_map(|finding| &finding.affected) {
        if !concerned.contains(&one) {
            concerned.push(one);
        }
    }
    let place = match concerned.as_slice() {
        [] => "-".to_owned(),
        [one] => name(one),
        [one, more @ ..] => format!("{} and {} more", name(one), more.len()),
    };
    let file = finding.file.strip_prefix(store).unwrap_or(&finding.file);
    let file = file.display();
    let (block, at) = match (group.len(), finding.offset) {
        (1, Some(offset)) => (None, format!("{file} at {offset}")),
        (1, None) => (None, file.to_string()),
        (count, _) => (Some(text::count(count as u64, "block")), file.to_string()),
    };
    let cid = || finding.block.map(|cid| cid.to_string());
    let are_alike = group.iter().all(|one| one.found == finding.found);
    vec![
        finding.kind.name().replace('_', " "),
        place,
        block.or_else(cid).unwrap_or_else(|| "-".to_owned()),
        at,
        match are_alike {
            true => finding.found.clone(),
            false => "others".to_owned(),
        },
    ]
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
