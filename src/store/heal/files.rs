//! Good bytes from files of the user's.

use std::collections::HashSet;
use std::path::Path;

use super::report::HealOptions;
use crate::block::Multihash;
use crate::dag::Profile;
use crate::store::error::StoreError;
use crate::store::ingest::{self, AddOptions, InFiles};
use crate::store::inner::Inner;

/// Cuts a file, or every file below a folder, as an object was cut.
pub(super) fn search(
    store: &Inner,
    path: &Path,
    profile: &Profile,
    wanted: &HashSet<Multihash>,
    options: &HealOptions,
    found: &mut InFiles,
) -> Result<(), StoreError> {
    let options = AddOptions {
        // The object may have been added with them.
        hidden: true,
        cancel: options.cancel.clone(),
        progress: options.progress.clone(),
        ..AddOptions::default()
    };
    ingest::search(path, profile, wanted, &options, store.pool()?, found)
}
