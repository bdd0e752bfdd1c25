//! The command line. A command takes its arguments and a [`Context`](context::Context) and returns an
//! [`Output`](output::Output) or a [`CliError`](error::CliError); it prints nothing. What is printed, and
//! how, is decided in one place: [`output`].
//!
//! Exit codes: 0 done, 1 a "no" (`has`, `check`, `config get` of a key without a value), findings (`verify`, `repair`,
//! `doctor`), a listing that lacks what cannot be read (`ls`, `pin ls`), or `sync` and `pin sync` of which something could not be met, 2 error.

mod args;
mod commands;
mod context;
mod error;
mod lock_args;
mod log;
mod output;
mod profile_args;
mod progress;
mod room;
mod signals;
mod stdin;
mod temporary;
mod text;
mod walk_args;

use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::ErrorKind;

use args::{Cli, Command};
use commands::config::ConfigCommand;
use context::Context;
use error::CliError;
use log::Damage;
use output::{Output, Printer};

/// Parses the arguments, runs the command, prints what it returns.
pub(crate) fn main() -> ExitCode {
    signals::outlive_file_size_limit();
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(e) => return refused(&e),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => return refused(&e),
    };
    let printer = Printer::new(cli.global.json, cli.global.quiet);
    let done = run(cli, &printer).and_then(|output| printer.print(&output).map(|()| output));
    match done {
        Ok(output) => ExitCode::from(output.code()),
        Err(CliError::ClosedPipe) => ExitCode::SUCCESS,
        Err(e) => {
            printer.error(&e);
            ExitCode::from(2)
        }
    }
}

/// Help and version are no errors; anything else is, in JSON too if that was asked for.
fn refused(e: &clap::Error) -> ExitCode {
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayVersion = e.kind() {
        // A closed pipe is no error.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    let (message, hint) = args::explain(e, std::env::args_os());
    if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = e.print();
    } else {
        output::say_error(&message, Some(&hint));
    }
    let is_json = |arg: std::ffi::OsString| arg == "--json";
    if std::env::args_os()
        .take_while(|arg| arg != "--")
        .any(is_json)
    {
        output::print_json_error("usage", &message, Some(&hint), &[]);
    }
    ExitCode::from(2)
}

fn run(cli: Cli, printer: &Printer) -> Result<Output, CliError> {
    let Cli {
        mut global,
        command,
    } = cli;
    if matches!(command, Command::Demo(_)) {
        global
            .config
            .take_if(|path| path.as_os_str() == commands::demo::CONFIG_PART);
    }
    // A shell that starts has no business with any configuration.
    if let Command::Completions(args) = &command {
        return Ok(commands::completions::run(args));
    }
    // These two have to work on a file that is missing or broken.
    if let Command::Config(args) = &command {
        match &args.command {
            ConfigCommand::Path => return commands::config::path(&global),
            ConfigCommand::Set(set) => {
                log::start(&global, None, Damage::Logged);
                return commands::config::set(&global, set);
            }
            ConfigCommand::Get(_) | ConfigCommand::Show => {}
        }
    }
    let config = context::load_config(&global)?;
    let damage = match command {
        Command::Verify(_) | Command::Repair(_) | Command::Doctor(_) => Damage::Told,
        _ => Damage::Logged,
    };
    log::start(&global, Some(&config), damage);
    let context = Context::new(&global, config, printer);
    match command {
        Command::Add(args) => commands::add::run(args, &context),
        Command::Absorb(args) => commands::absorb::run(args, &context),
        Command::Get(args) => commands::get::run(args, &context),
        Command::Cat(args) => commands::cat::run(args, &context),
        Command::Ls(args) => commands::ls::run(args, &context),
        Command::Stat(args) => commands::stat::run(args, &context),
        Command::Has(args) => commands::has::run(args, &context),
        Command::Check(args) => commands::check::run(args, &context),
        Command::Rm(args) => commands::rm::run(args, &context),
        Command::Gc(args) => commands::gc::run(args, &context),
        Command::Df(args) => commands::df::run(args, &context),
        Command::Pin(args) => commands::pin::run(args, &context),
        Command::Sync(args) => commands::sync::run(args, &context),
        Command::Verify(args) => commands::verify::run(args, &context),
        Command::Dedup(args) => commands::dedup::run(args, &context),
        Command::Plan(args) => commands::plan::run(args, &context),
        Command::Load(args) => commands::load::run(args, &context),
        Command::Repair(args) => commands::repair::run(args, &context),
        Command::Init(args) => commands::init::run(args, &context),
        Command::Config(args) => commands::config::run(args, &context),
        Command::Doctor(args) => commands::doctor::run(args, &context),
        Command::Demo(args) => commands::demo::run(args, &context),
        Command::Completions(args) => Ok(commands::completions::run(&args)),
    }
}
