//! The pins that a store is to have, as a file says: read (`document.rs`), compared with the pins that it has by a
//! pure function (`plan.rs`), and carried out (`apply.rs`).
//!
//! Nothing but the pins is kept of an earlier run. Whether a path still has the CID that its name points to can only
//! be known by hashing it, so it is read each time, unless the file says the CID and its object is there.

mod apply;
mod document;
mod entry;
mod error;
mod plan;

pub(crate) use apply::{apply_pins, plan_pins};
pub use entry::{DesiredPath, DesiredPin, DesiredPins, DesiredSource};
pub use error::DesiredPinsError;
pub use plan::{PinAction, PinChange, PinPlan, PinSyncOptions, PinSyncProgress, PinSyncReport};
