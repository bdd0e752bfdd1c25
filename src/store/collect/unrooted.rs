//! Packs that no root names though none was given up: lost roots are never a reason to collect.
//!
//! Whatever goes on purpose leaves a root until it went, or `gone` says that all of it is dead. A pack of which
//! neither is so is left alone as a whole, until a repair has put roots together.

use std::collections::HashSet;

use super::sweep::PackShape;
use crate::store::gone::{Gone, outside};
use crate::store::pack::PackId;

/// Whether a pack may be looked at for what is dead in it; `named` are the packs that roots name, those included that
/// are about to go.
pub(super) fn is_explained(shape: &PackShape, named: &HashSet<PackId>, gone: &Gone) -> bool {
    named.contains(&shape.id) || is_dead(shape, gone)
}

/// Whether nothing is left of a pack.
pub(super) fn is_dead(shape: &PackShape, gone: &Gone) -> bool {
    let dead = gone.dead_of(shape.id);
    outside(&shape.payload, &dead).next().is_none()
}
