//! `init`: an empty store.

use clap::Args;
use ipfs_accelerate::Store;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::Output;
use crate::cli::profile_args::ProfileArgs;

/// Create an empty store
///
/// `add` creates one by itself where none is there; this command makes one without adding to it, and with
/// another profile, which the store keeps and adds under, in the folder of --store or the configured one, which must be absent or empty.
///
/// With --json: store, profile. With -q: nothing.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate init
  ipfs-accelerate --store /data/store init
  ipfs-accelerate init --profile kubo-cidv1    a store that adds under this profile
  ipfs-accelerate init --chunker tensor-v1     a store that shares tensors between checkpoints")]
pub(crate) struct InitArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Initialised<'a> {
    store: &'a str,
    profile: &'a str,
}

pub(crate) fn run(args: InitArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let mut options = context.store_options(&args.lock)?;
    options.profile = args.profile.over(|| context.configured_profile())?;
    let _cancel = context.cancel()?;
    let store = Store::create_with(context.store_path()?, options)?;
    let shown = store.path().display().to_string();
    let profile = store.profile().name();
    Ok(Output::new(&Initialised {
        store: &shown,
        profile,
    })
    .line(format!(
        "created an empty store at {shown}, profile {profile}"
    )))
}
