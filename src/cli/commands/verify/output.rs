//! What `verify` says: the findings and what was healed, as tables and as JSON.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ipfs_accelerate::{
    Affected, ClearedBlock, Finding, FindingKind, HealReport, HealedBlock, HealedBy, StoreError,
    VerifyReport,
};
use serde::Serialize;

use super::notes::{is_outside, notes};
use crate::cli::output::{Fault, Note, Output, Table, View};
use crate::cli::text;

/// Findings, and blocks that were healed, that people are shown; JSON has all.
const SHOWN: usize = 40;

const STOPPED: &str =
    "stopped while it healed: what was healed by then stays so, and `verify` says what is left";
const FAILED: &str =
    "the healing failed: what was healed by then stays so, and `verify` says what is left";

/// How a healing ended, and where it was to take good bytes from.
pub(super) struct Healing<'a> {
    pub(super) from: &'a [PathBuf],
    pub(super) end: Result<HealReport, StoreError>,
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
    healed: Option<Vec<Healed<'a>>>,
    left: Option<Vec<Found<'a>>>,
    heal_error: Option<Fault>,
    notes: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Healed<'a> {
    block: String,
    by: &'static str,
    from: Option<String>,
    affected: Vec<Concerned<'a>>,
    file: String,
    offset: Option<u64>,
    len: Option<u64>,
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

pub(super) fn output(
    report: &VerifyReport,
    healing: Option<&Healing<'_>>,
    sample: Option<f64>,
    made_room: Vec<String>,
    begun: Instant,
    store: &Path,
) -> Output {
    let seconds = begun.elapsed().as_secs_f64();
    let healed = healing.and_then(|healing| healing.end.as_ref().ok());
    let error = healing.and_then(|healing| healing.end.as_ref().err());
    let is_stopped = matches!(error, Some(StoreError::Cancelled));
    let failure = error.filter(|_| !is_stopped);
    let mut output = Output::new(&Verified {
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
        heal_error: failure.map(|e| Fault::of(e)),
        notes: made_room.clone(),
        seconds,
    });
    let found = grouped(&report.findings, store).len();
    output = output.line(summary(report, found as u64, sample, seconds));
    if let Some(healed) = healed {
        output = with_healed(output, healed, store);
    }
    let left = healed.map_or(&report.findings, |healed| &healed.remaining);
    let groups = grouped(left, store);
    let rows = groups.iter().map(|group| row(group, store));
    let columns = &["FINDING", "IN", "BLOCK", "WHERE", "FOUND"];
    output = with_table(output, columns, rows);
    let mut concerned: Vec<String> = left
        .iter()
        .flat_map(|finding| &finding.affected)
        .map(|affected| affected.object.to_string())
        .collect();
    concerned.sort();
    concerned.dedup();
    output = concerned.into_iter().fold(output, Output::quiet);
    if let Some(e) = failure {
        output = output.line(FAILED).note(Note::Warning(Fault::warning(e)));
    }
    if is_stopped {
        output = output.line(STOPPED);
    }
    let from = healed.and(healing).map(|healing| healing.from);
    notes(report, left, from, store)
        .into_iter()
        .map(Note::Note)
        .fold(output.notes(made_room), Output::note)
        .no(!left.is_empty())
        .stopped(is_stopped || !report.is_complete)
}

/// The blocks that were healed, with the files that they are of.
fn with_healed(output: Output, healed: &HealReport, store: &Path) -> Output {
    let output = output.line(format!(
        "healed {}, {} written",
        text::count(healed.healed.len() as u64, "block"),
        text::size(healed.new_bytes)
    ));
    let rows = healed.healed.iter().map(|one| {
        let mut row = row(std::slice::from_ref(&one.finding), store);
        row[4] = match &one.by {
            HealedBy::Store(path) | HealedBy::File(path) => path.display().to_string(),
            HealedBy::Rebuilt => "what is below it".into(),
            _ => "the store".into(),
        };
        row
    });
    with_table(output, &["HEALED", "IN", "BLOCK", "WAS", "FROM"], rows)
}

/// The first rows, and how many there are besides.
fn with_table(
    output: Output,
    columns: &'static [&'static str],
    mut rows: impl ExactSizeIterator<Item = Vec<String>>,
) -> Output {
    let shown: Vec<_> = rows.by_ref().take(SHOWN).collect();
    if shown.is_empty() {
        return output;
    }
    let output = output.view(View::Table(Table {
        columns,
        rows: shown,
        empty: "",
    }));
    match rows.len() {
        0 => output,
        more => output.line(format!("and {more} more; --json lists all")),
    }
}

fn cleared(one: &ClearedBlock) -> Cleared {
    Cleared {
        block: one.block.to_string(),
        file: one.file.display().to_string(),
        offset: one.offset,
    }
}

fn healed_block(one: &HealedBlock) -> Healed<'_> {
    let Found {
        affected,
        file,
        offset,
        len,
        ..
    } = found(&one.finding);
    Healed {
        affected,
        file,
        offset,
        len,
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

/// The findings one by one; those of a file that was added by reference, which is mostly gone as a whole, together.
fn grouped<'a>(findings: &'a [Finding], store: &Path) -> Vec<&'a [Finding]> {
    let belong =
        |a: &Finding, b: &Finding| a.kind == b.kind && a.file == b.file && is_outside(a, store);
    findings.chunk_by(belong).collect()
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
