//! `init`: an empty store.

use clap::Args;
use ipfs_accelerate::{Config, Store};
use serde::Serialize;

use crate::cli::commands::config;
use crate::cli::context::{Context, config_path};
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// Create an empty store
///
/// `add` creates one by itself where none is named otherwise; this command makes one without adding to it,
/// in the folder of --store or the configured one, which must be absent or empty.
///
/// With --json: store, profile, config (the file that --profile was written to, or null). With -q: nothing.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate init
  ipfs-accelerate --store /data/store init
  ipfs-accelerate init --profile kubo-cidv1    and add under this profile from now on")]
pub(crate) struct InitArgs {
    /// Add under this profile from now on: writes `profile` in [store] of the configuration file.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

#[derive(Serialize)]
struct Initialised<'a> {
    store: &'a str,
    profile: &'a str,
    config: Option<String>,
}

pub(crate) fn run(args: InitArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let profile = context.profile(args.profile.as_deref())?;
    let _cancel = context.cancel()?;
    let store = Store::create_with(context.store_path()?, context.store_options())?;
    let file = config_path(context.global);
    let written = match &args.profile {
        Some(_) => Some(config::write(
            file.as_deref(),
            "store",
            "profile",
            profile.name(),
        )?),
        None => None,
    };
    let shown = store.path().display().to_string();
    let config = written
        .as_ref()
        .and_then(Config::config_path)
        .map(|p| p.display().to_string());
    let mut output = Output::new(&Initialised {
        store: &shown,
        profile: profile.name(),
        config: config.clone(),
    })
    .line(format!("created an empty store at {shown}"));
    if let Some(config) = config {
        output = output.line(format!(
            "set store.profile to {} in {config}",
            profile.name()
        ));
    }
    Ok(output)
}
