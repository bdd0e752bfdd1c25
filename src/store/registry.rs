//! Who relies on which bytes inside the writing process: adds and sessions that have no root yet, and readers of
//! what no root covers. A lookup that counts and the registration of its place are one step under one lock, and
//! the collector decides what is dead under the same lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::coverage::Coverage;
use super::gone::Gone;
use super::pack::{PackId, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HolderId(u64);

#[derive(Debug)]
pub(crate) struct Registry(RwLock<State>);

#[derive(Debug)]
struct State {
    /// The packs that are there.
    here: HashSet<PackId>,
    /// Those whose add has not committed yet, and whether somebody else came to rely on a block in them: what
    /// did may have committed since.
    unsettled: HashMap<PackId, (HolderId, bool)>,
    gone: Arc<Gone>,
    /// What its file says; none while that is not known.
    published: Option<Arc<Gone>>,
    holders: HashMap<HolderId, Held>,
    next: u64,
    /// While a collection runs, what was held by those who have ended since it began: their roots may be newer
    /// than its reading of the roots.
    ended: Option<Held>,
}

/// What the writing process relies on besides roots.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Normalized.
    pub(crate) coverage: Coverage,
    /// Packs of which something is needed, if only empty blocks.
    pub(crate) packs: HashSet<PackId>,
    /// Packs that running adds write, which no collection looks at.
    pub(crate) unsettled: HashSet<PackId>,
}

/// Ranges that somebody relies on. They come in the order of a file's leaves, so most join the one before.
#[derive(Debug, Default)]
struct Held(HashMap<PackId, BTreeMap<u64, u64>>);

impl Held {
    fn add(&mut self, pack: PackId, range: Range<u64>) {
        let ranges = self.0.entry(pack).or_default();
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &its_end)) = ranges.range(..=start).next_back() {
            if its_end >= end {
                return;
            }
            if its_end >= start {
                start = before;
            }
        }
        while let Some((&after, &its_end)) = ranges.range(start..=end).next() {
            end = end.max(its_end);
            ranges.remove(&after);
        }
        ranges.insert(start, end);
    }

    fn take_in(&mut self, other: Self) {
        for (pack, ranges) in other.0 {
            for (start, end) in ranges {
                self.add(pack, start..end);
            }
        }
    }

    fn cover(&self, coverage: &mut Coverage, packs: &mut HashSet<PackId>) {
        for (pack, ranges) in &self.0 {
            packs.insert(*pack);
            for (start, end) in ranges {
                coverage.add_range(*pack, *start..*end);
            }
        }
    }
}

impl Registry {
    pub(crate) fn new(here: HashSet<PackId>, gone: Gone) -> Arc<Self> {
        let gone = Arc::new(gone);
        Arc::new(Self(RwLock::new(State {
            here,
            unsettled: HashMap::new(),
            published: Some(Arc::clone(&gone)),
            gone,
            holders: HashMap::new(),
            next: 0,
            ended: None,
        })))
    }

    /// Somebody new who may come to rely on blocks.
    pub(crate) fn holder(self: &Arc<Self>) -> Holder {
        let mut state = self.write();
        let id = HolderId(state.next);
        state.next += 1;
        Holder {
            registry: Arc::clone(self),
            id,
        }
    }

    pub(crate) fn packs(&self) -> Vec<PackId> {
        self.read().here.iter().copied().collect()
    }

    /// The packs that no running add writes.
    pub(crate) fn settled(&self) -> Vec<PackId> {
        self.read().settled()
    }

    /// Whether a running add writes a pack.
    pub(crate) fn is_unsettled(&self, pack: PackId) -> bool {
        self.read().unsettled.contains_key(&pack)
    }

    /// What is relied on now. Who ends has published its root before: what roots cover is read after this.
    pub(crate) fn claims(&self) -> Claims {
        let state = self.read();
        let mut claims = Claims {
            unsettled: state.unsettled.keys().copied().collect(),
            ..Claims::default()
        };
        state.cover(&mut claims.coverage, &mut claims.packs);
        claims.coverage.normalize();
        claims
    }

    pub(crate) fn has_pack(&self, pack: PackId) -> bool {
        self.read().here.contains(&pack)
    }

    /// Whether a place can be read: its pack is there and it is neither dead nor damaged.
    pub(crate) fn is_good(&self, place: &Place) -> bool {
        self.read().is_good(place)
    }

    /// What is not to be read.
    pub(crate) fn gone(&self) -> Arc<Gone> {
        Arc::clone(&self.read().gone)
    }

    /// Changes what is gone, in memory; the caller publishes it.
    pub(crate) fn change_gone(&self, change: impl FnOnce(&mut Gone)) {
        change(Arc::make_mut(&mut self.write().gone));
    }

    /// What is gone, unless its file says so already. Until `published` is called nothing is known of the file.
    pub(crate) fn begin_publishing(&self) -> Option<Arc<Gone>> {
        let mut state = self.write();
        let gone = Arc::clone(&state.gone);
        let is_there = state.published.as_ref().is_some_and(|there| *there == gone);
        if is_there {
            return None;
        }
        state.published = None;
        Some(gone)
    }

    /// The file says this.
    pub(crate) fn published(&self, gone: Arc<Gone>) {
        self.write().published = Some(gone);
    }

    /// A pack that was to go and is still there.
    pub(crate) fn put_back(&self, pack: PackId) {
        self.write().here.insert(pack);
    }

    /// A pack that is not there after all, or cannot be read.
    pub(crate) fn withdraw(&self, pack: PackId) {
        let mut state = self.write();
        state.here.remove(&pack);
        state.unsettled.remove(&pack);
    }

    /// From now on what ends is kept in mind, until the value is dropped. Returns the packs that may be looked
    /// at: what an add that still runs has sealed is its own.
    pub(crate) fn begin_collection(self: &Arc<Self>) -> (Collecting, Vec<PackId>) {
        let mut state = self.write();
        debug_assert!(state.ended.is_none(), "collections take turns");
        state.ended = Some(Held::default());
        let packs = state.settled();
        (Collecting(Arc::clone(self)), packs)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn settled(&self) -> Vec<PackId> {
        let settled = |pack: &&PackId| !self.unsettled.contains_key(pack);
        self.here.iter().filter(settled).copied().collect()
    }

    /// Takes in what is registered.
    fn cover(&self, coverage: &mut Coverage, packs: &mut HashSet<PackId>) {
        let held = self.holders.values().chain(&self.ended);
        held.for_each(|held| held.cover(coverage, packs));
    }

    fn is_good(&self, place: &Place) -> bool {
        self.here.contains(&place.pack) && self.gone.why_not(place).is_none()
    }
}

/// A collection that is under way.
#[derive(Debug)]
pub(crate) struct Collecting(Arc<Registry>);

impl Collecting {
    /// Takes what is registered into `live`, has `decide` say what is dead besides, and puts that into force,
    /// all while nothing can be registered. `decide` is given what is live, the packs that somebody relies on
    /// without needing bytes of them, and what was gone before; it returns what is gone now and the packs that
    /// are to go as a whole.
    pub(crate) fn decide<T>(
        &self,
        mut live: Coverage,
        decide: impl FnOnce(&Coverage, &HashSet<PackId>, &Gone) -> (Gone, Vec<PackId>, T),
    ) -> T {
        let mut state = self.0.write();
        let mut packs = HashSet::new();
        state.cover(&mut live, &mut packs);
        live.normalize();
        let (gone, whole, result) = decide(&live, &packs, &state.gone);
        for pack in whole {
            state.here.remove(&pack);
        }
        state.gone = Arc::new(gone);
        result
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.0.write().ended = None;
    }
}

/// Keeps what it has claimed from being collected, until it is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    registry: Arc<Registry>,
    id: HolderId,
}

impl Holder {
    /// Relies on a block; false when it is not here, or dead, or damaged.
    pub(crate) fn claim(&self, place: &Place) -> bool {
        let mut state = self.registry.write();
        if !state.is_good(place) {
            return false;
        }
        if let Some((owner, hit)) = state.unsettled.get_mut(&place.pack) {
            *hit |= *owner != self.id;
        }
        let held = state.holders.entry(self.id).or_default();
        held.add(place.pack, place.range());
        true
    }

    /// A pack of this holder's is about to stand in `packs/`; its add may still fail.
    pub(crate) fn announce(&self, pack: PackId) {
        let mut state = self.registry.write();
        state.here.insert(pack);
        state.unsettled.insert(pack, (self.id, false));
    }

    /// The add that wrote a pack committed.
    pub(crate) fn settle(&self, pack: PackId) {
        self.registry.write().unsettled.remove(&pack);
    }

    /// The add that wrote a pack failed: unless somebody else found a block in it, it counts as absent, and
    /// `remove` is called before anybody can find it again. Says whether it went.
    pub(crate) fn take_back(&self, pack: PackId, remove: impl FnOnce()) -> bool {
        let mut state = self.registry.write();
        if let Some((_, true)) = state.unsettled.remove(&pack) {
            return false;
        }
        state.here.remove(&pack);
        remove();
        true
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut state = self.registry.write();
        let held = state.holders.remove(&self.id);
        if let (Some(ended), Some(held)) = (&mut state.ended, held) {
            ended.take_in(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: PackId = PackId([1; 16]);

    fn place(offset: u64, len: u32) -> Place {
        Place {
            pack: PACK,
            offset,
            len,
        }
    }

    /// What a collection with nothing else live would take of the pack's first 100 bytes.
    fn dead(collecting: &Collecting) -> Vec<Range<u64>> {
        collecting.decide(Coverage::default(), |live, _, gone| {
            let dead = super::super::gone::outside(&(0..100), live.of(PACK)).collect();
            (gone.clone(), Vec::new(), dead)
        })
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        let mut held = Held::default();
        for range in [10..20, 30..40, 20..30, 5..12, 50..60, 0..1, 35..55, 12..13] {
            held.add(PACK, range);
        }
        let ranges: Vec<_> = held.0[&PACK].iter().collect();
        assert_eq!(ranges, [(&0, &1), (&5, &60)]);
    }

    #[test]
    fn what_is_claimed_is_not_dead_until_its_holder_ends_and_the_collection_with_it() {
        let registry = Registry::new(HashSet::from([PACK]), Gone::default());
        let holder = registry.holder();
        assert!(holder.claim(&place(10, 10)));
        let (collecting, packs) = registry.begin_collection();
        assert_eq!(packs, [PACK]);
        assert_eq!(dead(&collecting), [0..10, 20..100]);
        drop(holder);
        assert_eq!(dead(&collecting), [0..10, 20..100], "its root may be newer");
        drop(collecting);
        let (collecting, _) = registry.begin_collection();
        assert_eq!(dead(&collecting), [0..100]);
    }

    #[test]
    fn what_is_dead_or_damaged_or_in_no_pack_cannot_be_claimed() {
        let registry = Registry::new(HashSet::from([PACK]), Gone::default());
        registry.change_gone(|gone| {
            gone.set_dead(PACK, &[0..10]);
            gone.set_damaged(PACK, 20..30);
        });
        let holder = registry.holder();
        assert!(!holder.claim(&place(5, 10)));
        assert!(!holder.claim(&place(25, 1)));
        assert!(holder.claim(&place(10, 10)));
        registry.withdraw(PACK);
        assert!(!holder.claim(&place(10, 10)));
    }

    #[test]
    fn a_pack_of_a_failed_add_stays_once_another_has_found_a_block_in_it() {
        let registry = Registry::new(HashSet::new(), Gone::default());
        let (writer, other) = (registry.holder(), registry.holder());
        writer.announce(PACK);
        assert!(other.claim(&place(0, 10)));
        // It may have committed by now.
        drop(other);
        assert!(!writer.take_back(PACK, || panic!("it stays")));
        assert!(registry.has_pack(PACK));
        let (_collecting, packs) = registry.begin_collection();
        assert_eq!(packs, [PACK], "it is nobody's any more");
    }

    #[test]
    fn a_pack_of_a_running_add_is_not_looked_at() {
        let registry = Registry::new(HashSet::new(), Gone::default());
        let writer = registry.holder();
        writer.announce(PACK);
        let (collecting, packs) = registry.begin_collection();
        assert_eq!(packs, []);
        writer.settle(PACK);
        drop(collecting);
        assert_eq!(registry.begin_collection().1, [PACK]);
    }
}
