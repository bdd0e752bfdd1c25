//! What the library logs goes to standard error.

use std::io::{self, IsTerminal, Write};

use ipfs_accelerate::{Config, DAMAGE_LOG, LogLevel, Origin};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;

use super::args::GlobalArgs;
use super::output::wants_colour;

/// Flags go before the configuration; where neither says anything, warnings and errors are shown.
fn level(global: &GlobalArgs, config: Option<&Config>) -> LogLevel {
    match (global.quiet, global.verbose) {
        (true, _) => return LogLevel::Error,
        (_, 1) => return LogLevel::Debug,
        (_, 2..) => return LogLevel::Trace,
        _ => {}
    }
    let Some(config) = config else {
        return LogLevel::Warning;
    };
    let is_set = |key| config.origin("general", key) != Some(Origin::Default);
    match is_set("log_level") || is_set("debug") {
        true => config.general.level(),
        false => LogLevel::Warning,
    }
}

/// What commands tell themselves that look for damage is not logged too, unless more is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Logged,
    Told,
}

/// Writes each event, which comes as a whole, as one line of standard error, whatever names stand in it. What else would
/// steer a terminal is escaped where the event is formatted.
struct EventLines;

impl Write for EventLines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        writeln!(io::stderr().lock(), "{}", text.replace('\n', "\\n"))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

pub(crate) fn start(global: &GlobalArgs, config: Option<&Config>, damage: Damage) {
    let leaves_out = damage == Damage::Told && global.verbose == 0;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(level(global, config)))
        .with_writer(|| EventLines)
        .with_ansi(wants_colour(io::stderr().is_terminal()))
        .with_target(false)
        .without_time();
    // Fails only where one was set before, and this is the only place.
    let filter = filter_fn(move |event| !leaves_out || event.target() != DAMAGE_LOG);
    let _ = tracing::subscriber::set_global_default(subscriber.finish().with(filter));
}
