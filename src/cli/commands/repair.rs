//! `repair`: what is wrong with a store, and making it good again.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use ipfs_accelerate::{
    RepairFinding, RepairObject, RepairOptions, RepairProgress, RepairReport, apply_repair,
    plan_repair,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Note, Output};
use crate::cli::progress::set_total;
use crate::cli::text;

/// Find what is wrong with the store, and repair it
///
/// What is lost or damaged of a store's own files is made again from the rest: headers and tables of packs, roots,
/// `gone`, `FORMAT`, the index. Nothing is deleted but the index and damaged roots of removed objects; no payload is
/// changed. What cannot be made again is said, with the objects and blocks that it concerns.
///
/// Tables whose checksums hold are believed; --rehash hashes every block instead, and records those that are damaged.
///
/// Objects that a pack speaks of and that have no root were removed, or were lost: nothing tells which. They are
/// listed, and --restore brings them back. Those that lie in packs that no root names are brought back in any case: roots
/// are lost then. What of such packs belongs to no whole object stays, and goes as an object without a pin does: with
/// `gc --unpinned` after the grace time, or for a quota. An object all of whose blocks were there when it was added is
/// noted in no pack, so only its name brings it back.
///
/// Exit code 0: nothing is wrong. 1: something was, and is repaired or left, as the list says. 2: it could not be
/// done, or a signal stopped it before anything was written.
///
/// With --json: store, dry_run, repaired, left, needs_verify, findings, restorable. With -q: the paths of what is
/// left.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate repair --dry-run    say what is wrong and what would be done
  ipfs-accelerate repair
  ipfs-accelerate repair --rehash     hash every block too")]
pub(crate) struct RepairArgs {
    /// Change nothing; say what is wrong and what would be done.
    ///
    /// Works beside a writer and from a read-only mount. The inside of the index is not looked at.
    #[arg(long)]
    dry_run: bool,
    /// Hash every block instead of believing the tables.
    #[arg(long)]
    rehash: bool,
    /// Bring back every whole object that has no root, removed ones too.
    #[arg(long)]
    restore: bool,
    /// Remove names that cannot be read; what they kept may be collected then.
    #[arg(long)]
    drop_names: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Repaired<'a> {
    store: String,
    dry_run: bool,
    repaired: usize,
    left: usize,
    needs_verify: bool,
    findings: Vec<Found<'a>>,
    restorable: Vec<Concerned<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    defect: &'static str,
    path: String,
    what: &'a str,
    expected: &'a str,
    found: &'a str,
    action: &'static str,
    objects: Vec<Concerned<'a>>,
    lacking: Vec<String>,
    advice: Option<&'a str>,
}

#[derive(Serialize)]
struct Concerned<'a> {
    cid: String,
    name: &'a str,
    pins: &'a [String],
}

impl<'a> From<&'a RepairObject> for Concerned<'a> {
    fn from(object: &'a RepairObject) -> Self {
        Self {
            cid: object.cid.to_string(),
            name: &object.name,
            pins: &object.pins,
        }
    }
}

impl<'a> Found<'a> {
    fn new(finding: &'a RepairFinding, store: &Path) -> Self {
        Self {
            defect: finding.defect.name(),
            path: inside(&finding.path, store),
            what: finding.what,
            expected: &finding.expected,
            found: &finding.found,
            action: finding.remedy.name(),
            objects: finding.objects.iter().map(Concerned::from).collect(),
            lacking: finding.lacking.iter().map(ToString::to_string).collect(),
            advice: finding.advice,
        }
    }
}

/// A path below the store's folder.
fn inside(path: &Path, store: &Path) -> String {
    path.strip_prefix(store)
        .unwrap_or(path)
        .display()
        .to_string()
}

pub(crate) fn run(args: RepairArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let store = context.store_path()?;
    let mut options = RepairOptions::default();
    options.rehash = args.rehash;
    options.restore = args.restore;
    options.drop_names = args.drop_names;
    options.lock_timeout = context.lock_timeout(&args.lock);
    // What has begun to be written is finished.
    options.cancel = Some(context.cancel()?);
    let progress = context.progress("reading", &store, Some(0));
    let bar = progress.bar();
    options.progress = Some(Arc::new(move |at: RepairProgress| {
        set_total(&bar, at.total_bytes);
        bar.set_position(at.done_bytes);
    }));
    let plan = plan_repair(&store, &options)?;
    if !args.dry_run {
        let report = apply_repair(&plan)?;
        drop(progress);
        return Ok(output(&store, false, &report));
    }
    drop(progress);
    let output = output(&store, true, &plan.report());
    Ok(match plan.is_settled {
        true => output,
        false => output.note(Note::Warning(UNSETTLED.into())),
    })
}

const UNSETTLED: &str =
    "another process changed the store meanwhile: a finding may be its work in progress";

fn output(store: &Path, dry_run: bool, report: &RepairReport) -> Output {
    let (left, all) = (report.left(), report.findings.len());
    let mut output = Output::new(&Repaired {
        store: store.display().to_string(),
        dry_run,
        repaired: all - left,
        left,
        needs_verify: report.needs_verify,
        findings: report
            .findings
            .iter()
            .map(|finding| Found::new(finding, store))
            .collect(),
        restorable: report.restorable.iter().map(Concerned::from).collect(),
    })
    .no(all > 0);
    for finding in &report.findings {
        for line in lines(finding, store) {
            output = output.line(line);
        }
        if finding.is_left() {
            output = output.quiet(finding.path.display().to_string());
        }
    }
    let done = if dry_run {
        "to be repaired"
    } else {
        "repaired"
    };
    output = output.line(match all {
        0 => "nothing is wrong".to_owned(),
        _ => format!(
            "{}: {} {done}, {left} left",
            text::count(all as u64, "finding"),
            all - left
        ),
    });
    if !report.restorable.is_empty() {
        let names = report.restorable.iter().map(title).collect::<Vec<_>>();
        output = output.line(format!(
            "without a root, removed or lost, and still whole: {}; --restore brings them back",
            names.join(", ")
        ));
    }
    output
}

/// A finding for people: what is wrong, what is done, and what is left to do.
fn lines(finding: &RepairFinding, store: &Path) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {}: expected {}, found {}",
        inside(&finding.path, store),
        finding.what,
        finding.expected,
        finding.found
    )];
    let mut done = finding.remedy.name().to_owned();
    if !finding.objects.is_empty() {
        let names = finding.objects.iter().map(title).collect::<Vec<_>>();
        done.push_str(&format!("; concerns {}", shortened(&names)));
    }
    lines.push(format!("  {done}"));
    if !finding.lacking.is_empty() {
        let cids: Vec<String> = finding.lacking.iter().map(ToString::to_string).collect();
        lines.push(format!("  lacks {}", shortened(&cids)));
    }
    lines.extend(finding.advice.map(|advice| format!("  {advice}")));
    lines
}

/// How an object is called: by its pins, else by the file's name, and by its CID.
fn title(object: &RepairObject) -> String {
    let cid = object.cid.to_string();
    let pins = text::names_beside(&object.cid, object.pins.iter().map(String::as_str));
    match (pins.is_empty(), object.name.is_empty()) {
        (false, _) => format!("{} ({cid})", pins.join(", ")),
        (true, false) => format!("{:?} ({cid})", object.name),
        (true, true) => cid,
    }
}

const SHOWN: usize = 8;

fn shortened(names: &[String]) -> String {
    match names.len() {
        all if all > SHOWN => {
            format!("{} and {} more", names[..SHOWN].join(", "), all - SHOWN)
        }
        _ => names.join(", "),
    }
}
