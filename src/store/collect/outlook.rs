//! What comes of it when certain roots go: what is free then, what is still in use, and what keeps its space.

use std::collections::HashSet;
use std::ops::Range;

use super::census::Census;
use super::plan::Packs;
use super::retire;
use super::roots::Roots;
use super::sweep::sweep;
use super::{GcHolder, GcPending};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::{Gone, Why};
use crate::store::pack::PackId;
use crate::store::read::ReadCore;
use crate::store::root::RootName;

/// What a collection would come to.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// Bytes of disk that would be given back.
    pub(super) freeable_bytes: u64,
    /// Packs that would go as a whole.
    pub(super) packs: u64,
    /// Of what goes, what somebody holds.
    pub(super) pending: Vec<GcPending>,
    /// Dead bytes that share a page with what is live.
    pub(super) partial_pages: u64,
}

impl Outlook {
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending.iter().map(|pending| pending.bytes).sum()
    }
}

/// A store as it was read, from which several outlooks are made.
pub(super) struct View<'a> {
    pub(super) core: &'a ReadCore,
    pub(super) roots: &'a Roots,
    pub(super) packs: &'a Packs,
    pub(super) gone: &'a Gone,
}

impl View<'_> {
    /// What comes of it when these roots go, by their numbers.
    pub(super) fn when_gone(&self, goes: &[usize]) -> Result<Outlook, StoreError> {
        let mut held: Vec<(usize, Vec<GcHolder>)> = Vec::new();
        let mut free: HashSet<usize> = HashSet::new();
        for &index in goes {
            let root = &self.roots.roots[index];
            let holders = match root.name {
                RootName::Loose => None,
                _ => retire::holders(self.core.folder.files(), &root.path)?,
            };
            match holders {
                Some(holders) => held.push((index, holders)),
                None => {
                    free.insert(index);
                }
            }
        }
        let mut outlook = self.swept(&free);
        outlook.pending = self.pending(&free, held);
        Ok(outlook)
    }

    fn swept(&self, free: &HashSet<usize>) -> Outlook {
        let (mut live, mut released) = (Coverage::default(), Coverage::default());
        let mut needed: HashSet<PackId> = HashSet::new();
        for (index, root) in self.roots.roots.iter().enumerate() {
            if !free.contains(&index) {
                live.extend(&root.coverage);
                needed.extend(&root.packs);
            } else if root.name != RootName::Loose {
                released.extend(&root.coverage);
            }
        }
        live.normalize();
        let sweep = sweep(&self.packs.shapes, &live, &released, &needed, self.gone);
        let whole = sweep.whole.iter().map(|id| self.packs.disk_bytes[id]);
        let mut outlook = Outlook {
            freeable_bytes: whole.sum(),
            packs: sweep.whole.len() as u64,
            ..Outlook::default()
        };
        for (id, dead) in &sweep.parts {
            let all = in_holes(dead);
            let before = self.gone.of(*id).iter();
            let before = before.filter(|gone| gone.why == Why::Dead);
            let before: Vec<_> = before.map(|gone| gone.start..gone.end).collect();
            outlook.freeable_bytes += all.saturating_sub(in_holes(&before));
            outlook.partial_pages += len(dead) - all;
        }
        outlook
    }

    /// What held roots alone keep once the others are gone; of what several of them keep, each is told once.
    fn pending(&self, free: &HashSet<usize>, held: Vec<(usize, Vec<GcHolder>)>) -> Vec<GcPending> {
        if held.is_empty() {
            return Vec::new();
        }
        let mut census = Census::new(&self.roots.roots);
        free.iter().for_each(|&index| {
            census.remove(index);
        });
        let pending = held.into_iter().map(|(index, holders)| GcPending {
            cid: Some(self.roots.roots[index].cid),
            name: self.roots.roots[index].title.clone(),
            bytes: census.remove(index),
            holders,
        });
        pending.collect()
    }
}

/// The whole pages inside ranges, which is what can be punched.
pub(super) fn holes(dead: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> + '_ {
    let page = rustix::param::page_size() as u64;
    let inside =
        move |range: &Range<u64>| range.start.next_multiple_of(page)..range.end / page * page;
    dead.iter().map(inside).filter(|hole| !hole.is_empty())
}

fn in_holes(dead: &[Range<u64>]) -> u64 {
    holes(dead).map(|hole| hole.end - hole.start).sum()
}

fn len(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
