//! SIGINT and SIGTERM: the first one asks the command to stop, the second one ends the process. SIGXFSZ: none does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use super::error::CliError;

/// Has a write past the limit of a file's size (`ulimit -f`) fail, with EFBIG, instead of ending the process.
pub(crate) fn outlive_file_size_limit() {
    // Any handler does. Without one it stays as it was.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// A flag that a signal sets.
pub(crate) fn cancel_flag() -> Result<Arc<AtomicBool>, CliError> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag set and takes the default way.
        flag::register_conditional_default(signal, Arc::clone(&cancel))
            .and_then(|_| flag::register(signal, Arc::clone(&cancel)))
            .map_err(CliError::Signals)?;
    }
    Ok(cancel)
}
