//! Which roots go and why, in this order: what was removed, what expired, then unpinned objects by their last use.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::census::Census;
use super::retire;
use super::roots::{Rooted, Roots};
use super::{GcObject, GcOptions, GcReason};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::read::ReadCore;
use crate::store::root::RootName;
use crate::store::time::unix_ms;

/// What makes way so that packs take less.
pub(super) struct Room<'a> {
    pub(super) goal: Goal,
    /// Whether a root stays whatever it takes.
    pub(super) is_kept: &'a dyn Fn(&Rooted) -> bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// The packs take at most so much, or as little as can be had.
    Within(u64),
    /// So much is free; nothing makes way where all of it would not be enough.
    Free(u64),
}

impl Goal {
    pub(super) fn to_free(self, used_bytes: u64) -> u64 {
        match self {
            Self::Within(max_bytes) => used_bytes.saturating_sub(max_bytes),
            Self::Free(bytes) => bytes,
        }
    }
}

pub(super) struct Choice<'a> {
    core: &'a ReadCore,
    roots: &'a Roots,
    census: Census,
    pub(super) taken: Vec<(usize, GcObject)>,
    /// What nothing covers once these are gone.
    pub(super) freed_bytes: u64,
    /// What may make way, least recently used first.
    left: Vec<usize>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(core: &'a ReadCore, roots: &'a Roots) -> Self {
        Self {
            core,
            roots,
            census: Census::new(&roots.roots),
            taken: Vec::new(),
            freed_bytes: 0,
            left: Vec::new(),
        }
    }

    pub(super) fn into_objects(self) -> Vec<GcObject> {
        self.taken.into_iter().map(|(_, object)| object).collect()
    }

    /// Takes what was removed, what has expired, and what the options say. What is held is in use, however long ago
    /// that began.
    pub(super) fn take_unneeded(
        &mut self,
        options: &GcOptions,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let roots = self.roots;
        let is_old = |root: &Rooted| age(root.used, now) >= options.grace;
        let objects: HashSet<Cid> = roots.roots.iter().filter_map(object_of).collect();
        let mut unpinned = Vec::new();
        for (index, root) in roots.roots.iter().enumerate() {
            match root.name {
                RootName::Retired(cid) => {
                    let reason = match objects.contains(&cid) {
                        true => GcReason::Replaced,
                        false => GcReason::Removed,
                    };
                    let freed = self.take(index, reason);
                    if self.is_held(root)? {
                        self.freed_bytes -= freed;
                        self.census.put_back(index);
                    }
                }
                RootName::Loose if is_old(root) => drop(self.take(index, GcReason::Expired)),
                RootName::Loose => unpinned.push(index),
                RootName::Object(cid) if roots.pins_of(&cid).is_empty() => unpinned.push(index),
                RootName::Object(_) => {}
            }
        }
        unpinned.sort_by_key(|&index| roots.roots[index].used);
        for index in unpinned {
            let root = &roots.roots[index];
            let is_object = matches!(root.name, RootName::Object(_));
            let goes = options.unpinned && is_object && is_old(root);
            match goes && !self.is_held(root)? {
                true => drop(self.take(index, GcReason::Unpinned)),
                false => self.left.push(index),
            }
        }
        Ok(())
    }

    fn is_held(&self, root: &Rooted) -> Result<bool, StoreError> {
        retire::is_held(self.core.folder.files(), &root.path)
    }

    /// Takes unpinned objects until so many more bytes are free, and none whose going frees nothing: what others
    /// cover too, and what somebody holds. Says whether that was enough.
    pub(super) fn make_room(&mut self, bytes: u64, room: &Room<'_>) -> Result<bool, StoreError> {
        let (first, wanted) = (self.taken.len(), self.freed_bytes + bytes);
        for index in std::mem::take(&mut self.left) {
            if self.freed_bytes >= wanted {
                break;
            }
            let root = &self.roots.roots[index];
            if !(room.is_kept)(root) && !self.is_held(root)? {
                self.take(index, GcReason::Quota);
            }
        }
        let is_enough = self.freed_bytes >= wanted;
        if !is_enough && matches!(room.goal, Goal::Free(_)) {
            self.taken.truncate(first);
            return Ok(false);
        }
        self.give_back_from(first, wanted);
        Ok(is_enough)
    }

    /// Leaves those objects alone again that are not needed after all, the last used first.
    fn give_back_from(&mut self, first: usize, wanted: u64) {
        for at in (first..self.taken.len()).rev() {
            let index = self.taken[at].0;
            let bytes = self.census.put_back(index);
            if bytes == 0 || self.freed_bytes - bytes >= wanted {
                self.freed_bytes -= bytes;
                self.taken.remove(at);
            } else {
                self.census.remove(index);
            }
        }
    }

    /// Says what nothing covers any more.
    fn take(&mut self, index: usize, reason: GcReason) -> u64 {
        let root = &self.roots.roots[index];
        let bytes = self.census.bytes(index);
        let freed = self.census.remove(index);
        self.freed_bytes += freed;
        let object = object(root, reason, freed, bytes - freed);
        self.taken.push((index, object));
        freed
    }
}

/// How long ago a root was used; one of a time to come, by a clock that was wrong, was used now.
pub(super) fn age(used: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(used).unwrap_or_default()
}

/// The object whose root it is.
fn object_of(root: &Rooted) -> Option<Cid> {
    match root.name {
        RootName::Object(cid) => Some(cid),
        RootName::Retired(_) | RootName::Loose => None,
    }
}

fn object(root: &Rooted, reason: GcReason, exclusive_bytes: u64, shared_bytes: u64) -> GcObject {
    GcObject {
        cid: match root.name {
            RootName::Object(_) | RootName::Retired(_) => Some(root.cid),
            RootName::Loose => None,
        },
        name: root.title.clone(),
        reason,
        last_used_ms: unix_ms(root.used),
        used: root.used,
        exclusive_bytes,
        shared_bytes,
        root: root.path.clone(),
    }
}
