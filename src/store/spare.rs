//! Objects that make way for nothing while somebody works on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::block::{Cid, canonical};

/// How often each object is spared.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<HashMap<Cid, usize>>);

/// Keeps objects from making way for others under a quota, until it is dropped. Their removal, and a collection that
/// is asked for, are not stopped by it: that takes a pin.
#[derive(Debug)]
pub struct Spared {
    spares: Arc<Spares>,
    cids: Vec<Cid>,
}

impl Spares {
    pub(crate) fn is_spared(&self, cid: &Cid) -> bool {
        self.counts().contains_key(cid)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Cid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spared {
    pub(crate) fn new(spares: &Arc<Spares>) -> Self {
        Self {
            spares: Arc::clone(spares),
            cids: Vec::new(),
        }
    }

    /// Keeps this object too, whether it is there yet or not.
    pub fn add(&mut self, cid: &Cid) {
        let cid = canonical(cid);
        *self.spares.counts().entry(cid).or_default() += 1;
        self.cids.push(cid);
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        let mut counts = self.spares.counts();
        for cid in &self.cids {
            if let Some(count) = counts.get_mut(cid) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(cid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spared_twice_is_spared_until_both_have_ended() {
        let spares = Arc::<Spares>::default();
        let cid = crate::dag::leaf(b"x", &crate::dag::Profile::default()).cid;
        let (mut one, mut other) = (Spared::new(&spares), Spared::new(&spares));
        one.add(&cid);
        other.add(&cid);
        drop(one);
        assert!(spares.is_spared(&cid));
        drop(other);
        assert!(!spares.is_spared(&cid));
    }
}
