//! Which roots go and why, in this order: what was removed, what expired, then unpinned objects by their last use.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::census::Census;
use super::outlook::{Outlook, View};
use super::reckoning::Reckoning;
use super::retire;
use super::roots::Rooted;
use super::{GcObject, GcOptions, GcReason};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::root::{ObjectKind, RootName};
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
    view: &'a View<'a>,
    /// Whose bytes they are.
    census: Census,
    /// What the packs give back.
    reckoning: Reckoning,
    pub(super) taken: Vec<(usize, GcObject)>,
    /// What may make way, least recently used first.
    left: Vec<usize>,
}

impl<'a> Choice<'a> {
    /// `before` is what comes of it when nothing goes.
    pub(super) fn new(view: &'a View<'a>, before: &Outlook) -> Self {
        Self {
            view,
            census: Census::new(&view.roots.roots),
            reckoning: Reckoning::new(view, &before.freeable),
            taken: Vec::new(),
            left: Vec::new(),
        }
    }

    /// The roots that are taken, by their numbers.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.taken.iter().map(|(index, _)| *index).collect()
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
        let roots = &self.view.roots;
        let is_old = |root: &Rooted| age(root.used, now) >= options.grace;
        let objects: HashSet<Cid> = roots.roots.iter().filter_map(object_of).collect();
        let mut unpinned = Vec::new();
        for (index, root) in roots.roots.iter().enumerate() {
            match root.name {
                RootName::Retired(cid) => {
                    let is_replaced = objects.contains(&cid) || root.kind == ObjectKind::Loose;
                    let reason = match is_replaced {
                        true => GcReason::Replaced,
                        false => GcReason::Removed,
                    };
                    self.take(index, reason);
                    if self.is_held(root)? {
                        self.stays_for_now(index);
                    }
                }
                RootName::Loose if root.is_of_lost() => {}
                RootName::Loose if root.is_remains() => unpinned.push(index),
                RootName::Loose if is_old(root) => self.take(index, GcReason::Expired),
                RootName::Loose => unpinned.push(index),
                RootName::Object(cid) if roots.pins_of(&cid).is_empty() => unpinned.push(index),
                RootName::Object(_) => {}
            }
        }
        unpinned.sort_by_key(|&index| roots.roots[index].used);
        for index in unpinned {
            let root = &roots.roots[index];
            let is_object = matches!(root.name, RootName::Object(_));
            let goes = options.unpinned && (is_object || root.is_remains()) && is_old(root);
            match goes && !self.is_held(root)? {
                true => self.take(index, GcReason::Unpinned),
                false => self.left.push(index),
            }
        }
        Ok(())
    }

    fn is_held(&self, root: &Rooted) -> Result<bool, StoreError> {
        retire::is_held(self.view.core.folder.files(), &root.path)
    }

    /// Takes unpinned objects until so many bytes are free, and none whose going frees nothing: what others cover too,
    /// what somebody holds, and parts of packs that give nothing back but as a whole. Says whether that was enough.
    /// Chooses anew each time.
    pub(super) fn make_room(&mut self, wanted: u64, room: &Room<'_>) -> Result<bool, StoreError> {
        let by_quota = |(_, object): &(usize, GcObject)| object.reason == GcReason::Quota;
        let first = self.taken.iter().position(by_quota);
        let first = first.unwrap_or(self.taken.len());
        self.leave_from(first);
        for at in 0..self.left.len() {
            if self.reckoning.freed_bytes() >= wanted {
                break;
            }
            let index = self.left[at];
            let root = &self.view.roots.roots[index];
            if !(room.is_kept)(root) && !self.is_held(root)? {
                self.take(index, GcReason::Quota);
            }
        }
        let is_enough = self.reckoning.freed_bytes() >= wanted;
        match is_enough || matches!(room.goal, Goal::Within(_)) {
            true => self.leave_unneeded_from(first, wanted),
            false => self.leave_from(first),
        }
        Ok(is_enough)
    }

    /// Leaves those objects alone again that are not needed after all, the last used first.
    fn leave_unneeded_from(&mut self, first: usize, wanted: u64) {
        for at in (first..self.taken.len()).rev() {
            let index = self.taken[at].0;
            let bytes = self.reckoning.put_back(index);
            if bytes == 0 || self.reckoning.freed_bytes() >= wanted {
                self.census.put_back(index);
                self.taken.remove(at);
            } else {
                self.reckoning.remove(index);
            }
        }
    }

    fn leave_from(&mut self, first: usize) {
        for (index, _) in self.taken.split_off(first) {
            self.put_back(index);
        }
    }

    fn take(&mut self, index: usize, reason: GcReason) {
        let root = &self.view.roots.roots[index];
        let bytes = self.census.bytes(index);
        let freed = self.census.remove(index);
        self.reckoning.remove(index);
        let object = object(root, reason, freed, bytes - freed);
        self.taken.push((index, object));
    }

    /// What was taken last is in use: it is part of the plan, and frees nothing before it is let go.
    fn stays_for_now(&mut self, index: usize) {
        self.put_back(index);
        let last = self.taken.last_mut();
        last.into_iter()
            .for_each(|(_, object)| object.in_use = true);
    }

    fn put_back(&mut self, index: usize) {
        self.census.put_back(index);
        self.reckoning.put_back(index);
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
            _ if root.kind == ObjectKind::Loose => None,
            _ => Some(root.cid),
        },
        name: root.title.clone(),
        reason,
        last_used_ms: unix_ms(root.used),
        used: root.used,
        exclusive_bytes,
        shared_bytes,
        in_use: false,
        root: root.path.clone(),
    }
}
