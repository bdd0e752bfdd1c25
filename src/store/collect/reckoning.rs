//! What the packs give back as roots go, reckoned root by root: of a pack that nothing names any more all that it
//! takes, of another one the whole pages that nothing covers, where a part can be given back.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::census::Census;
use super::outlook::View;
use super::packs::{Packs, pages_around};
use super::sweep::PackShape;
use crate::store::coverage::Coverage;
use crate::store::pack::PackId;

#[derive(Debug)]
pub(super) struct Reckoning {
    /// Of the pages that are covered.
    census: Census,
    /// By root, the packs that it names.
    named: Vec<Vec<PackId>>,
    packs: HashMap<PackId, Pack>,
    freed_bytes: u64,
}

/// A pack with payload.
#[derive(Clone, Copy, Debug)]
struct Pack {
    disk_bytes: u64,
    whole_only: bool,
    /// What can be given back of it and is dead already.
    dead_bytes: u64,
    /// What nothing covers any more of what roots covered.
    uncovered_bytes: u64,
    /// Who names it.
    names: usize,
}

impl Pack {
    fn freed_bytes(&self) -> u64 {
        match (self.names, self.whole_only) {
            (0, _) => self.disk_bytes,
            (_, true) => 0,
            _ => self.disk_bytes.min(self.dead_bytes + self.uncovered_bytes),
        }
    }
}

impl Reckoning {
    /// `dead` is what can be given back of each pack while all roots stay. What the process itself relies on is one
    /// more root, which never goes.
    pub(super) fn new(view: &View<'_>, dead: &HashMap<PackId, u64>) -> Self {
        let roots = view.roots.roots.iter();
        let mut named: Vec<Vec<PackId>> = roots.clone().map(|root| distinct(&root.packs)).collect();
        named.push(distinct(&view.claims.packs));
        let covered = roots.map(|root| &root.coverage);
        let covered = covered.chain([&view.claims.coverage]);
        let touched: Vec<Coverage> = covered.map(|c| pages(c, &view.packs)).collect();

        let with_payload = view.packs.shapes.iter().filter(|shape| !shape.is_reference);
        let pack = |shape: &PackShape| {
            let space = &view.packs.space[&shape.id];
            let pack = Pack {
                disk_bytes: space.disk_bytes,
                whole_only: space.whole_only().is_some(),
                dead_bytes: dead.get(&shape.id).copied().unwrap_or_default(),
                uncovered_bytes: 0,
                names: 0,
            };
            (shape.id, pack)
        };
        let mut packs: HashMap<PackId, Pack> = with_payload.map(pack).collect();
        for pack in named.iter().flatten() {
            packs
                .get_mut(pack)
                .into_iter()
                .for_each(|pack| pack.names += 1);
        }
        Self {
            census: Census::of(touched.iter()),
            named,
            freed_bytes: packs.values().map(Pack::freed_bytes).sum(),
            packs,
        }
    }

    /// What a collection would give back as it is reckoned now.
    pub(super) fn freed_bytes(&self) -> u64 {
        self.freed_bytes
    }

    /// Takes a root away.
    pub(super) fn remove(&mut self, root: usize) {
        let before = self.freed_of(root);
        let packs = &mut self.packs;
        let is_removed = self.census.remove_each(root, |pack, bytes| {
            if let Some(pack) = packs.get_mut(&pack) {
                pack.uncovered_bytes += bytes;
            }
        });
        if is_removed {
            self.each_named(root, |pack| pack.names -= 1);
        }
        self.freed_bytes = self.freed_bytes - before + self.freed_of(root);
    }

    /// Takes a removal back; says how much less is given back then.
    pub(super) fn put_back(&mut self, root: usize) -> u64 {
        let before = self.freed_of(root);
        let packs = &mut self.packs;
        let is_back = self.census.put_back_each(root, |pack, bytes| {
            if let Some(pack) = packs.get_mut(&pack) {
                pack.uncovered_bytes -= bytes;
            }
        });
        if is_back {
            self.each_named(root, |pack| pack.names += 1);
        }
        let less = before - self.freed_of(root);
        self.freed_bytes -= less;
        less
    }

    fn freed_of(&self, root: usize) -> u64 {
        let packs = self.named[root].iter();
        let packs = packs.filter_map(|pack| self.packs.get(pack));
        packs.map(Pack::freed_bytes).sum()
    }

    fn each_named(&mut self, root: usize, change: impl Fn(&mut Pack)) {
        for pack in &self.named[root] {
            self.packs.get_mut(pack).into_iter().for_each(&change);
        }
    }
}

fn distinct<'a>(packs: impl IntoIterator<Item = &'a PackId>) -> Vec<PackId> {
    let distinct: HashSet<PackId> = packs.into_iter().copied().collect();
    distinct.into_iter().collect()
}

/// The pages of the disk that a coverage touches, of those that can be given back.
fn pages(coverage: &Coverage, packs: &Packs) -> Coverage {
    let mut touched = Coverage::default();
    for pack in coverage.packs() {
        let Some(space) = packs.space.get(&pack) else {
            continue;
        };
        for range in coverage.of(pack) {
            let Range { start, end } = pages_around(range);
            touched.add_range(pack, start.max(space.pages.start)..end.min(space.pages.end));
        }
    }
    touched.normalize();
    touched
}
