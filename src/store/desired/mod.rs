//! The pins that a store is to have, as a file says: read (`document.rs`), compared with the pins that it has by a
//! pure function (`plan.rs`), and carried out (`apply.rs`).
//!
//! An entry is looked up in the store (`find.rs`), and in what other entries add: paths without a CID come first, those
//! with one are read only if it is still missing then, and what is to be in the store already comes last. A dry run does
//! the same with what it hashed. So one run meets what can be met, and does what the dry run said.
//!
//! Nothing but the pins is kept of an earlier run. Whether a path still has the CID that its name points to can only
//! be known by hashing it, so it is read each time, unless the file says the CID and its object is there.

mod apply;
mod document;
mod entry;
mod error;
mod find;
mod plan;

pub(crate) use apply::apply_pins;
pub use entry::{DesiredPath, DesiredPin, DesiredPins, DesiredSource};
pub use error::DesiredPinsError;
pub(crate) use find::plan_pins;
pub use plan::{PinAction, PinChange, PinPlan, PinSyncOptions, PinSyncProgress, PinSyncReport};
