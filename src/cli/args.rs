//! What is parsed: the global flags, the commands, and the grouped help.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use ipfs_accelerate::{ByteSizeError, Explain, TimeSpanError};

use super::commands;

/// An embedded content-addressed store for safetensors checkpoints, and the loader that maps their tensors
/// straight out of it.
#[derive(Parser)]
#[command(name = "ipfs-accelerate", version, propagate_version = true)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100
)]
#[command(after_help = AFTER, after_long_help = AFTER_LONG)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
A TARGET is a CID or the name of a pin, and a path below it: CID, NAME, CID/path, NAME/path;
/ipfs/CID and ipfs://CID are taken too. `ipfs-accelerate help COMMAND` says more, with examples.";

const AFTER_LONG: &str = "\
A TARGET is a CID or the name of a pin, and a path below it: CID, NAME, CID/path, NAME/path;
/ipfs/CID and ipfs://CID are taken too. `ipfs-accelerate help COMMAND` says more, with examples.

Exit codes:
  0  done
  1  a \"no\": `has` found nothing, `check` no match, `config get` a key without a value;
     findings of `verify`, `repair` and `doctor`; `ls` and `pin ls` could not read all of it;
     `sync` and `pin sync` could not do all of it
  2  an error; one line says what, a second one what to do

Environment:
  IPFS_ACCELERATE_STORE            the store's folder, unless --store names one
  IPFS_ACCELERATE__SECTION__KEY    a setting, for instance IPFS_ACCELERATE__CACHE__MAX_SIZE_MB=200
  NO_COLOR                         no colours; there are none either where the output is no terminal

Examples:
  ipfs-accelerate add --pin-name llama ~/models/llama-3    add a checkpoint under a name
  ipfs-accelerate load llama --max-memory cpu=16GiB        load it, the rest stays on disk
  ipfs-accelerate get llama/config.json -o -               print one of its files
  ipfs-accelerate demo                                     see it all work, in a temporary folder";

/// Flags of every command.
#[derive(Args, Clone)]
pub(crate) struct GlobalArgs {
    /// The store's folder.
    ///
    /// Without it: IPFS_ACCELERATE_STORE, then `path` in [store] of the configuration, then
    /// $XDG_DATA_HOME/ipfs-accelerate or ~/.local/share/ipfs-accelerate.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) store: Option<PathBuf>,
    /// The configuration file, which must exist.
    ///
    /// Without it: $XDG_CONFIG_HOME/ipfs-accelerate/config.toml or ~/.config/ipfs-accelerate/config.toml,
    /// which need not exist. `config set` creates it.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Use a store on an overlay file system though it was last written outside of it.
    ///
    /// In a container, locks that are taken on an overlay file system are not seen outside, so such a store is
    /// refused; this says that nobody removes content from it there, as from the container's image. So does
    /// `nobody_collects` in [store] of the configuration.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        help_heading = "Global options"
    )]
    pub(crate) nobody_collects: bool,
    /// Print JSON: one object, or one a line where there are several.
    ///
    /// Success carries "status": "success". An error is {"status": "error", "kind", "message", "hint"} on
    /// standard output, with its line on standard error as well. Sizes are in bytes, times in UTC.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Print only what a script needs: CIDs, names, values, or nothing.
    ///
    /// Progress and notes are left out, warnings and errors stay.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Log more: -v each step, -vv the database's too.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Add(commands::add::AddArgs),
    Absorb(commands::absorb::AbsorbArgs),
    Get(commands::get::GetArgs),
    Cat(commands::cat::CatArgs),
    Ls(commands::ls::LsArgs),
    Stat(commands::stat::StatArgs),
    Has(commands::has::HasArgs),
    Check(commands::check::CheckArgs),
    Rm(commands::rm::RmArgs),
    Verify(commands::verify::VerifyArgs),
    Gc(commands::gc::GcArgs),
    Df(commands::df::DfArgs),
    Pin(commands::pin::PinArgs),
    Sync(commands::sync::SyncArgs),
    Dedup(commands::dedup::DedupArgs),
    Plan(commands::plan::PlanArgs),
    Load(commands::load::LoadArgs),
    Repair(commands::repair::RepairArgs),
    Init(commands::init::InitArgs),
    Config(commands::config::ConfigArgs),
    Doctor(commands::doctor::DoctorArgs),
    Demo(commands::demo::DemoArgs),
    Completions(commands::completions::CompletionsArgs),
}

/// The commands as the help shows them.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Content",
        &[
            "add", "absorb", "get", "cat", "ls", "stat", "has", "check", "rm", "pin", "sync",
        ],
    ),
    ("Upkeep", &["verify", "repair", "gc", "df", "doctor"]),
    ("Checkpoints", &["plan", "load", "dedup"]),
    (
        "Setting up",
        &["init", "config", "demo", "completions", "help"],
    ),
];

/// The parser, with the commands grouped in its help.
pub(crate) fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    let heading = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut listing = String::new();
    for (group, names) in GROUPS {
        listing.push_str(&format!("{heading}{group}:{heading:#}\n"));
        for name in *names {
            let found = command.find_subcommand(name);
            let about = found.and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            listing.push_str(&format!("  {literal}{name:<7}{literal:#} {about}\n"));
        }
        listing.push('\n');
    }
    let template =
        format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{listing}{{options}}{{after-help}}\n");
    Cli::command().help_template(template)
}

/// The first paragraph of clap's message without its `error: `, and what it suggests to do about the command line.
pub(crate) fn explain(e: &clap::Error, line: impl Iterator<Item = OsString>) -> (String, String) {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = e.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let message = one_line(first.strip_prefix("error: ").unwrap_or(first));
    let mut hint = String::new();
    for tip in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "))
    {
        hint.push_str(&format!("{}; ", one_line(tip)));
    }
    if let Some(tip) = std::error::Error::source(e).and_then(hint_of) {
        hint.push_str(&format!("{tip}; "));
    }
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    // `ipfs-accelerate COMMAND [SUBCOMMAND] …`, as far as it is words.
    let command = usage.map_or_else(
        || command_in(line),
        |usage| {
            let words = usage.split_whitespace();
            let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
            words.take_while(is_name).collect::<Vec<_>>().join(" ")
        },
    );
    hint.push_str(&format!("see `{command} --help`"));
    (message, hint)
}

/// What to write instead of a value that cannot be read, where its type tells.
fn hint_of(e: &(dyn std::error::Error + 'static)) -> Option<String> {
    let span = e.downcast_ref::<TimeSpanError>().and_then(Explain::hint);
    span.or_else(|| e.downcast_ref::<ByteSizeError>().and_then(Explain::hint))
}

/// Whether a word is a long flag that the next word is the value of.
fn takes_value(command: &clap::Command, word: &OsStr) -> bool {
    let name = word.to_str().and_then(|word| word.strip_prefix("--"));
    name.is_some_and(|name| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name) && flag.get_action().takes_values())
    })
}

/// The command that a command line names; clap does not say it of a value that cannot be read.
fn command_in(line: impl Iterator<Item = OsString>) -> String {
    let mut command = &Cli::command();
    let mut found = vec!["ipfs-accelerate"];
    let mut is_value = false;
    for word in line.skip(1) {
        let next = command.find_subcommand(&word).filter(|_| !is_value);
        is_value = takes_value(command, &word);
        if let Some(next) = next {
            found.push(next.get_name());
            command = next;
        }
    }
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_leads_to_the_help_of_its_command_and_to_the_units() {
        for (line, says) in [
            (
                "gc --grace 1",
                "write it as 500ms, 30s, 5m, 24h or 7d, or as a sum such as 1h 30m; see `ipfs-accelerate gc --help`",
            ),
            (
                "--store gc pin rm a --lock-timeout x",
                "see `ipfs-accelerate pin rm --help`",
            ),
            (
                "verify --sample many",
                "see `ipfs-accelerate verify --help`",
            ),
            ("gc --nothing", "see `ipfs-accelerate gc --help`"),
        ] {
            let line = format!("ipfs-accelerate {line}");
            let words = || line.split(' ').map(OsString::from);
            let e = command().try_get_matches_from(words()).unwrap_err();
            let (_, hint) = explain(&e, words());
            assert!(hint.ends_with(says), "{line}: {hint}");
        }
    }

    #[test]
    fn the_parser_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_grouped_help_names_every_command_once() {
        let mut built = Cli::command();
        built.build();
        let mut known: Vec<_> = built
            .get_subcommands()
            .map(|c| c.get_name().to_owned())
            .collect();
        let mut shown: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .map(|n| n.to_string())
            .collect();
        known.sort();
        shown.sort();
        assert_eq!(shown, known);
    }

    #[test]
    fn every_command_has_a_summary_of_one_line() {
        fn check(command: &clap::Command) {
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                !about.is_empty() && about.len() < 80,
                "{}: {about:?}",
                command.get_name()
            );
            command.get_subcommands().for_each(check);
        }
        command().get_subcommands().for_each(check);
    }
}
