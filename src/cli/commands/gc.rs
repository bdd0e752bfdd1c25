//! `gc`: space back from what nothing needs.

use clap::Args;
use ipfs_accelerate::{
    GcObject, GcOptions, GcPending, GcPlan, GcReport, NotFreeable, TimeSpan, utc_text,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Output, Table, View};
use crate::cli::text;

/// Give the space of what nothing needs back
///
/// Takes what `rm` removed, roots that a newer one of the same object replaced (the object stays), and what an import that was cut off or single blocks left
/// behind longer than the grace time ago. With --unpinned, objects without a pin too that were not used for that
/// long. Where `max_size` in [store] is passed, unpinned objects go until it is kept, those first that were used
/// least recently. What is pinned never goes, and what a process still reads or maps goes at a later collection.
///
/// Whole packs are unlinked, parts of packs become holes; no content is read. Adds, reads and loads go on
/// meanwhile. Where a root or a name cannot be read nothing is collected: `repair` first. Packs that no root names,
/// because roots were lost, stay as they are until `repair` has put their objects together. What a repair could not put
/// together goes as an object without a pin does.
///
/// With --json: dry_run, objects, a list of {cid, name, reason, last_used, exclusive_bytes, shared_bytes};
/// freeable_bytes, freed_bytes, linked_bytes, unfinished_bytes, packs, ranges; pending, a list of {cid, name, bytes, holders: [{pid, command}]};
/// not_freeable, a list of {reason, bytes}; unrooted_packs, unrooted_bytes, spared, used_bytes, max_size. What is in use is
/// among pending and not among objects. With -q: the bytes that were freed, or would be.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate gc --dry-run
  ipfs-accelerate gc
  ipfs-accelerate gc --unpinned --grace 7d")]
pub(crate) struct GcArgs {
    /// Say what would go and what of it is in use or cannot be freed, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take objects without a pin that were not used within the grace time.
    #[arg(long)]
    unpinned: bool,
    /// How long what nothing has pinned stays (0, 12h, 7d).
    ///
    /// Without it: `grace` in [store] of the configuration, then 1d.
    #[arg(long, value_name = "DURATION")]
    grace: Option<TimeSpan>,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Collected<'a> {
    dry_run: bool,
    objects: Vec<Object<'a>>,
    freeable_bytes: u64,
    freed_bytes: u64,
    linked_bytes: u64,
    unfinished_bytes: u64,
    packs: u64,
    ranges: u64,
    pending: Vec<Pending<'a>>,
    not_freeable: Vec<Kept>,
    unrooted_packs: u64,
    unrooted_bytes: u64,
    spared: u64,
    used_bytes: u64,
    max_size: Option<u64>,
}

#[derive(Serialize)]
struct Object<'a> {
    cid: Option<String>,
    name: &'a str,
    reason: &'static str,
    last_used: String,
    exclusive_bytes: u64,
    shared_bytes: u64,
}

#[derive(Serialize)]
struct Pending<'a> {
    cid: Option<String>,
    name: &'a str,
    bytes: u64,
    holders: Vec<Holder<'a>>,
}

#[derive(Serialize)]
struct Holder<'a> {
    pid: u32,
    command: &'a str,
}

#[derive(Serialize)]
struct Kept {
    reason: &'static str,
    bytes: u64,
}

pub(crate) fn run(args: GcArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let mut options = GcOptions::default();
    options.unpinned = args.unpinned;
    options.grace = args.grace.unwrap_or(context.config.store.grace).duration();
    options.max_bytes = context.config.store.max_size.map(|size| size.bytes());
    if args.dry_run {
        let plan = context.reader()?.plan_gc(&options)?;
        let after = plan.used_bytes.saturating_sub(plan.freeable_bytes);
        let output = planned(&plan, options.max_bytes);
        return Ok(spared(output, &plan, after, options.max_bytes));
    }
    // Held through: what has begun is finished.
    let _cancel = context.cancel()?;
    let store = context.writer(&args.lock)?;
    let plan = store.plan_gc(&options)?;
    let report = store.apply_gc(&plan)?;
    let output = collected(&plan, &report, options.max_bytes);
    Ok(spared(output, &plan, report.used_bytes, options.max_bytes))
}

/// What stays though it might have been expected to go.
fn spared(output: Output, plan: &GcPlan, used_bytes: u64, max_bytes: Option<u64>) -> Output {
    let output = match plan.spared {
        0 => output,
        spared => output.line(format!(
            "{} without a pin {} used within the grace time and stay{}",
            text::count(spared, "object"),
            if spared == 1 { "was" } else { "were" },
            if spared == 1 { "s" } else { "" },
        )),
    };
    match max_bytes {
        Some(max) if used_bytes > max => output.line(format!(
            "the packs take {} of the {} that max_size allows: the rest is pinned, in use, or would give nothing \
             back; unpin or remove something (`df`), or raise it",
            text::size(used_bytes),
            text::size(max),
        )),
        _ => output,
    }
}

fn planned(plan: &GcPlan, max_size: Option<u64>) -> Output {
    let goes = plan.objects.iter().filter(|object| !object.in_use);
    let goes: Vec<&GcObject> = goes.collect();
    let output = Output::new(&Collected {
        dry_run: true,
        objects: goes.iter().copied().map(object).collect(),
        freeable_bytes: plan.freeable_bytes,
        freed_bytes: 0,
        linked_bytes: plan.linked_bytes,
        unfinished_bytes: plan.unfinished_bytes,
        packs: plan.packs,
        ranges: 0,
        pending: in_use(&plan.pending).map(pending).collect(),
        not_freeable: plan.not_freeable.iter().map(not_freeable).collect(),
        unrooted_packs: plan.unrooted_packs,
        unrooted_bytes: plan.unrooted_bytes,
        spared: plan.spared,
        used_bytes: plan.used_bytes,
        max_size,
    });
    let packs = match plan.packs {
        0 => String::new(),
        packs => format!(", {} as a whole", text::count(packs, "pack")),
    };
    let output = objects(output, &goes)
        .line(format!(
            "would free {} of {}{packs}",
            text::size(plan.freeable_bytes),
            text::size(plan.used_bytes),
        ))
        .quiet(plan.freeable_bytes.to_string());
    let output = linked(output, plan.linked_bytes);
    let output = unfinished(output, "would remove", plan.unfinished_bytes);
    let output = unrooted(output, plan.unrooted_packs, plan.unrooted_bytes);
    kept(output, &plan.pending, &plan.not_freeable)
}

fn collected(plan: &GcPlan, report: &GcReport, max_size: Option<u64>) -> Output {
    let went: Vec<&GcObject> = report.objects.iter().collect();
    let output = Output::new(&Collected {
        dry_run: false,
        objects: went.iter().copied().map(object).collect(),
        freeable_bytes: plan.freeable_bytes,
        freed_bytes: report.freed_bytes,
        linked_bytes: report.linked_bytes,
        unfinished_bytes: report.unfinished_bytes,
        packs: report.packs,
        ranges: report.ranges,
        pending: in_use(&report.pending).map(pending).collect(),
        not_freeable: report.not_freeable.iter().map(not_freeable).collect(),
        unrooted_packs: report.unrooted_packs,
        unrooted_bytes: report.unrooted_bytes,
        spared: plan.spared,
        used_bytes: report.used_bytes,
        max_size,
    });
    let output = objects(output, &went)
        .line(format!(
            "freed {}: {} unlinked, {} given back; the packs take {} now",
            text::size(report.freed_bytes),
            text::count(report.packs, "pack"),
            text::count(report.ranges, "range"),
            text::size(report.used_bytes),
        ))
        .quiet(report.freed_bytes.to_string());
    let output = linked(output, report.linked_bytes);
    let output = unfinished(output, "removed", report.unfinished_bytes);
    let output = unrooted(output, report.unrooted_packs, report.unrooted_bytes);
    kept(output, &report.pending, &report.not_freeable)
}

/// What the store takes less, and the disk has not back yet.
fn linked(output: Output, bytes: u64) -> Output {
    match bytes {
        0 => output,
        bytes => output.line(format!(
            "of that the disk has {} back once a snapshot by hard links is gone, which has the same packs",
            text::size(bytes)
        )),
    }
}

/// What a writer that was killed had left.
fn unfinished(output: Output, says: &str, bytes: u64) -> Output {
    match bytes {
        0 => output,
        bytes => output.line(format!(
            "{says} {} in tmp/, which a writer that was killed had left",
            text::size(bytes)
        )),
    }
}

/// What is left alone because its roots are lost.
fn unrooted(output: Output, packs: u64, bytes: u64) -> Output {
    match packs {
        0 => output,
        packs => output.line(format!(
            "left alone {} in {} whose roots are lost: run `repair`",
            text::size(bytes),
            text::count(packs, "pack"),
        )),
    }
}

/// What goes and keeps its space.
fn kept(mut output: Output, pending: &[GcPending], not_freeable: &[(NotFreeable, u64)]) -> Output {
    for pending in in_use(pending) {
        output = output.line(format!(
            "pending {}: {}",
            text::size(pending.bytes),
            user(pending)
        ));
    }
    for (reason, bytes) in not_freeable {
        output = output.line(format!(
            "not freeable {}: {}",
            text::size(*bytes),
            match reason {
                NotFreeable::NoHoles => "the file system cannot give back parts of a file",
                NotFreeable::HardLinked =>
                    "a snapshot has the pack too, by a hard link, and it goes as a whole only",
                _ => "it shares pages of the disk with what is live",
            }
        ));
    }
    output
}

/// What keeps space by being in use; what others cover too would free none.
fn in_use(pending: &[GcPending]) -> impl Iterator<Item = &GcPending> {
    pending.iter().filter(|pending| pending.bytes > 0)
}

fn pending(pending: &GcPending) -> Pending<'_> {
    let holders = pending.holders.iter().map(|holder| Holder {
        pid: holder.pid,
        command: &holder.command,
    });
    Pending {
        cid: pending.cid.map(|cid| cid.to_string()),
        name: &pending.name,
        bytes: pending.bytes,
        holders: holders.collect(),
    }
}

fn not_freeable((reason, bytes): &(NotFreeable, u64)) -> Kept {
    Kept {
        reason: reason.name(),
        bytes: *bytes,
    }
}

/// Who uses it.
fn user(pending: &GcPending) -> String {
    let holders: Vec<String> = pending
        .holders
        .iter()
        .map(|holder| match holder.command.is_empty() {
            true => format!("process {}", holder.pid),
            false => format!("{} ({})", holder.command, holder.pid),
        })
        .collect();
    let what = match (&pending.cid, pending.name.is_empty()) {
        (None, _) => "what this process reads or adds".to_owned(),
        (Some(cid), true) => format!("{cid} is in use"),
        (Some(cid), false) => format!("{cid} ({}) is in use", pending.name),
    };
    match holders.is_empty() {
        true => what,
        false => format!("{what} by {}", holders.join(", ")),
    }
}

fn objects(output: Output, objects: &[&GcObject]) -> Output {
    if objects.is_empty() {
        return output;
    }
    let row = |object: &&GcObject| {
        vec![
            object
                .cid
                .map_or_else(|| "blocks".to_owned(), |cid| cid.to_string()),
            object.name.clone(),
            object.reason.name().to_owned(),
            text::size(object.exclusive_bytes),
            text::size(object.shared_bytes),
            text::minute(object.last_used_ms),
        ]
    };
    output.view(View::Table(Table {
        columns: &[
            "OBJECT",
            "NAME",
            "WHY",
            ">EXCLUSIVE",
            ">SHARED",
            "LAST USED",
        ],
        rows: objects.iter().map(row).collect(),
        empty: "",
    }))
}

fn object(object: &GcObject) -> Object<'_> {
    Object {
        cid: object.cid.map(|cid| cid.to_string()),
        name: &object.name,
        reason: object.reason.name(),
        last_used: utc_text(object.last_used_ms),
        exclusive_bytes: object.exclusive_bytes,
        shared_bytes: object.shared_bytes,
    }
}
