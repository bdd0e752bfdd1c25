//! What comes of it when certain roots go: what is free then, what is still in use, and what keeps its space.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::census::Census;
use super::packs::{self, DeadSpace, Kept, Packs};
use super::retire;
use super::roots::{self, Roots};
use super::sweep::{PackShape, sweep};
use super::unrooted::{self, is_explained};
use super::{GcHolder, GcPending, NotFreeable};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::inner::Inner;
use crate::store::pack::PackId;
use crate::store::read::ReadCore;
use crate::store::registry::Claims;
use crate::store::root::RootName;

/// What a collection would come to.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// Bytes of disk that the packs would take less, by pack.
    pub(super) freeable: HashMap<PackId, u64>,
    /// Of those, what a snapshot by hard links has too.
    pub(super) linked_bytes: u64,
    /// Packs that would go as a whole.
    pub(super) packs: u64,
    /// Of what goes, what somebody holds.
    pub(super) pending: Vec<GcPending>,
    /// Dead bytes that would keep their space.
    pub(super) kept: Kept,
}

impl Outlook {
    pub(super) fn freeable_bytes(&self) -> u64 {
        self.freeable.values().sum()
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending.iter().map(|pending| pending.bytes).sum()
    }
}

/// A store as it was read, from which several outlooks are made.
pub(super) struct View<'a> {
    pub(super) core: &'a ReadCore,
    pub(super) packs: Packs,
    /// What the process that has it open for writing relies on itself, as far as that is known here.
    pub(super) claims: Claims,
    pub(super) roots: Roots,
    pub(super) gone: Arc<Gone>,
    /// Packs that are left alone because no root names them.
    pub(super) unrooted: Vec<PackId>,
}

impl<'a> View<'a> {
    /// Packs are listed after roots, so beside a writer one may come in between: it is looked at again then.
    pub(super) fn of(core: &'a ReadCore, writer: Option<&Inner>) -> Result<Self, StoreError> {
        unrooted::settled(
            &core.folder,
            || Self::at_once(core, writer),
            |view| writer.is_some() || view.unrooted.is_empty(),
        )
    }

    /// In this order, so that whatever is relied on in a pack that was listed is seen in one place at least.
    fn at_once(core: &'a ReadCore, writer: Option<&Inner>) -> Result<Self, StoreError> {
        let mut packs = Packs::of(core, writer)?;
        let mut claims = writer.map_or_else(Claims::default, |store| store.registry.claims());
        claims
            .coverage
            .retain(|pack| !core.packs.is_reference(pack) && !claims.unsettled.contains(&pack));
        let unsettled = &claims.unsettled;
        packs.shapes.retain(|shape| !unsettled.contains(&shape.id));
        let roots = roots::read(core)?;
        let gone = core.gone()?;
        let named = roots.packs();
        let is_unrooted = |shape: &mut PackShape| !is_explained(shape, &named, &gone);
        let unrooted = packs.shapes.extract_if(.., is_unrooted);
        let unrooted = unrooted.map(|shape| shape.id);
        // What this process relies on may have no root yet.
        let unrooted = unrooted.filter(|pack| !claims.packs.contains(pack));
        Ok(Self {
            unrooted: unrooted.collect(),
            core,
            packs,
            claims,
            roots,
            gone,
        })
    }

    /// How many packs have lost their roots, when these roots go, and the bytes of disk that they take.
    pub(super) fn lost(&self, goes: &[usize]) -> (u64, u64) {
        let mut packs = self.roots.lost_packs(goes);
        packs.extend(&self.unrooted);
        let space = packs.iter().filter_map(|pack| self.packs.space.get(pack));
        space.fold((0, 0), |(packs, bytes), space| {
            (packs + 1, bytes + space.disk_bytes)
        })
    }

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
        let mut outlook = self.swept(&free)?;
        // What this process uses without an object comes last.
        outlook.pending.splice(0..0, self.pending(&free, held));
        Ok(outlook)
    }

    fn swept(&self, free: &HashSet<usize>) -> Result<Outlook, StoreError> {
        let (mut live, mut released) = (Coverage::default(), Coverage::default());
        let mut needed = self.claims.packs.clone();
        for (index, root) in self.roots.roots.iter().enumerate() {
            if !free.contains(&index) {
                live.extend(&root.coverage);
                needed.extend(&root.packs);
            } else if root.name != RootName::Loose {
                released.extend(&root.coverage);
            }
        }
        live.normalize();
        let mut outlook = Outlook::default();
        let claimed_bytes = self.claims.coverage.bytes_outside(&live);
        if claimed_bytes > 0 {
            outlook
                .pending
                .push(GcPending::of_this_process(claimed_bytes));
        }
        live.extend(&self.claims.coverage);
        live.normalize();
        let sweep = sweep(&self.packs.shapes, &live, &released, &needed, &self.gone);
        outlook.packs = sweep.whole.len() as u64;
        for id in sweep.whole {
            let space = &self.packs.space[&id];
            outlook.freeable.insert(id, space.disk_bytes);
            if space.is_linked {
                outlook.linked_bytes += space.disk_bytes;
            }
        }
        for (id, dead) in &sweep.parts {
            let Some(pack) = packs::open(self.core, *id)? else {
                continue;
            };
            let space = &self.packs.space[id];
            let taken = DeadSpace::of(self.core, &pack, dead)?;
            outlook
                .kept
                .add(NotFreeable::PartialPages, taken.partial_pages);
            match space.whole_only() {
                Some(why) => outlook.kept.add(why, taken.bytes),
                None => drop(outlook.freeable.insert(*id, taken.bytes)),
            }
        }
        Ok(outlook)
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
