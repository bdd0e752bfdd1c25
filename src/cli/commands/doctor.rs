//! `doctor`: whether the store and the machine are as they should be.

use clap::Args;
use ipfs_accelerate::{Examination, ExamineOptions, Health, HealthCheck, examine};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Output, Table, View};
use crate::cli::text;

/// Look for what is wrong with the store or this machine, and say what to do
///
/// Looks at the store (does it open, who writes to it, what lies in it, which of its files are damaged or missing,
/// what is on record as damaged, what was added by reference and is gone), at its file system (kind, space, locks,
/// holes, maps; what can only be tried is tried in a scratch file that is removed again) and at the machine
/// (memory, control group, limits). Each is ok, a note (worth knowing) or a problem. Works beside a writer, and
/// where there is no store yet: then it looks at the nearest folder above. Content is not read: that is what `verify`
/// is for.
///
/// Exit code 1 if there are problems.
///
/// With --json: store, looked_at, problems, notes, checks, a list of {name, status, found, advice, figures}. With
/// -q: the names of the problems.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate doctor
  ipfs-accelerate --store /data/store doctor --json | jq '.checks[] | select(.status != \"ok\")'
  ipfs-accelerate doctor -q || mail -s 'look at the store' admin")]
pub(crate) struct DoctorArgs {}

#[derive(Serialize)]
struct Examined<'a> {
    store: String,
    looked_at: String,
    problems: usize,
    notes: usize,
    checks: &'a [HealthCheck],
}

pub(crate) fn run(_: DoctorArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let store = context.store_path()?;
    // Held through: the scratch file goes whatever comes.
    let _cancel = context.cancel()?;
    let mut options = ExamineOptions::default();
    options.reader = context.reader_options();
    options.max_bytes = context.config.store.max_size.map(|size| size.bytes());
    let examined = examine(store, &options);
    let (problems, notes) = (
        examined.count(Health::Problem),
        examined.count(Health::Note),
    );
    let output = Output::new(&Examined {
        store: examined.store.display().to_string(),
        looked_at: examined.looked_at.display().to_string(),
        problems,
        notes,
        checks: &examined.checks,
    })
    .view(View::Table(table(&examined)))
    .line("")
    .line(summary(problems, notes))
    .no(problems > 0);
    let faulty = examined
        .checks
        .iter()
        .filter(|check| check.status == Health::Problem);
    Ok(faulty.fold(output, |output, check| output.quiet(check.name)))
}

fn table(examined: &Examination) -> Table {
    let mut rows = Vec::new();
    for check in &examined.checks {
        rows.push(vec![
            check.status.to_string(),
            check.name.replace('_', " "),
            check.found.clone(),
        ]);
        if let Some(advice) = &check.advice {
            rows.push(vec![String::new(), String::new(), format!("  -> {advice}")]);
        }
    }
    Table {
        columns: &["STATUS", "WHAT", "FOUND"],
        rows,
        empty: "",
    }
}

fn summary(problems: usize, notes: usize) -> String {
    match (problems as u64, notes as u64) {
        (0, 0) => "Nothing is wrong.".to_owned(),
        (0, notes) => format!("No problems, {}.", text::count(notes, "note")),
        (problems, 0) => format!("{}.", text::count(problems, "problem")),
        (problems, notes) => format!(
            "{}, {}.",
            text::count(problems, "problem"),
            text::count(notes, "note")
        ),
    }
}
