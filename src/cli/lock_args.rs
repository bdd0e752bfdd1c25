//! The flag of every command that writes to the store.

use clap::Args;
use ipfs_accelerate::TimeSpan;

#[derive(Args)]
pub(crate) struct LockArgs {
    /// Wait so long (30s, 5m) while another process has the store open for writing.
    ///
    /// Without it: `lock_timeout` in [store] of the configuration, then 0, which does not wait. While it waits,
    /// standard error says for whom; SIGINT ends the wait.
    #[arg(long, value_name = "DURATION")]
    pub(crate) lock_timeout: Option<TimeSpan>,
}
