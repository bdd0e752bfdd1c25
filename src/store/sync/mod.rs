//! Copying objects from one store to another, as blocks: what is there is left alone, what is not is checked
//! against its CID before it is written.
//!
//! An object is walked from its CID down (`walk.rs`), read and hashed in batches (`copy.rs`) and committed as an
//! add commits, so that it is there whole or not at all, and a copy that is killed keeps the packs it had
//! sealed. Nothing of the source's root is believed but where to look.

mod copy;
mod count;
mod error;
mod leaves;
mod options;
mod pins;
mod report;
mod run;
mod selection;
mod source;
mod walk;

#[cfg(test)]
mod tests;

pub use error::{SyncError, SyncObjectError};
pub use options::{SyncOptions, SyncProgress};
pub use report::{SyncCounts, SyncReport, SyncState, SyncedObject, SyncedPin, SyncedPinChange};
pub(crate) use run::sync_from;
