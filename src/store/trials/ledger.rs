//! What a store has promised, and whether it keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::block::{Block, Cid};
use crate::store::folder::StoreFolder;
use crate::store::root::{self, RootName};
use crate::store::{Store, StoreError, StoreReader};

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was returned.
    Must,
    /// It is on its way in or out, or failed on it: there whole, or not there.
    May,
    /// It was removed, or never begun.
    MustNot,
}

impl Presence {
    fn allows(self, there: bool) -> bool {
        match self {
            Self::Must => there,
            Self::May => true,
            Self::MustNot => !there,
        }
    }
}

#[derive(Clone, Debug)]
struct Expected {
    content: Arc<[u8]>,
    presence: Presence,
}

/// What is known of a store from what its calls have returned.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    objects: BTreeMap<Cid, Expected>,
    blocks: BTreeMap<Cid, Expected>,
    /// What a name may point to.
    names: BTreeMap<String, BTreeSet<Option<Cid>>>,
    damaged: BTreeSet<Cid>,
    is_made: bool,
}

impl Ledger {
    /// Opening the store has returned.
    pub(super) fn made(&mut self) {
        self.is_made = true;
    }

    pub(super) fn is_made(&self) -> bool {
        self.is_made
    }

    pub(super) fn object(&mut self, cid: Cid, content: &[u8], presence: Presence) {
        Self::set(&mut self.objects, cid, content, presence);
    }

    /// It is being added, and there already if it must be.
    pub(super) fn object_may_come(&mut self, cid: Cid, content: &[u8]) {
        if self.objects.get(&cid).map(|e| e.presence) != Some(Presence::Must) {
            self.object(cid, content, Presence::May);
        }
    }

    /// They are being put, and there already if they must be.
    pub(super) fn blocks_may_come(&mut self, blocks: impl Iterator<Item = Block>) {
        for block in blocks {
            if self.blocks.get(block.cid()).map(|e| e.presence) != Some(Presence::Must) {
                Self::set(&mut self.blocks, *block.cid(), block.data(), Presence::May);
            }
        }
    }

    /// They were.
    pub(super) fn blocks(&mut self, blocks: impl Iterator<Item = Block>) {
        for block in blocks {
            Self::set(&mut self.blocks, *block.cid(), block.data(), Presence::Must);
        }
    }

    /// Some of its bytes are being damaged behind the store's back: they are wrong, or found to be, or whole.
    pub(super) fn may_be_damaged(&mut self, cid: Cid) {
        self.damaged.insert(cid);
    }

    /// Whether some object may be damaged.
    pub(super) fn has_damage(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// What was damaged is whole again.
    pub(super) fn is_healed(&mut self) {
        self.damaged.clear();
    }

    /// What nobody has pinned is being collected.
    pub(super) fn unpinned_may_go(&mut self) {
        let surely = |cid: &Cid| {
            let only = BTreeSet::from([Some(*cid)]);
            self.names.values().any(|may| *may == only)
        };
        let unpinned: Vec<Cid> = self
            .objects
            .keys()
            .filter(|c| !surely(c))
            .copied()
            .collect();
        for cid in unpinned {
            let object = self.objects.get_mut(&cid);
            if let Some(object) = object.filter(|o| o.presence == Presence::Must) {
                object.presence = Presence::May;
            }
        }
        for block in self.blocks.values_mut() {
            block.presence = Presence::May;
        }
    }

    /// It was.
    pub(super) fn unpinned_are_gone(&mut self) {
        let unpinned = self.objects.iter_mut().filter(|(cid, _)| {
            let pinned = Some(**cid);
            !self.names.values().any(|may| may.contains(&pinned))
        });
        unpinned.for_each(|(_, object)| object.presence = Presence::MustNot);
    }

    fn set(all: &mut BTreeMap<Cid, Expected>, cid: Cid, content: &[u8], presence: Presence) {
        let content = content.into();
        all.insert(cid, Expected { content, presence });
    }

    /// A name is being set, moved or removed.
    pub(super) fn name_may(&mut self, name: &str, cid: Option<Cid>) {
        let nothing = || BTreeSet::from([None]);
        let may = self.names.entry(name.to_owned()).or_insert_with(nothing);
        may.insert(cid);
    }

    /// It was.
    pub(super) fn name_is(&mut self, name: &str, cid: Option<Cid>) {
        self.names.insert(name.to_owned(), BTreeSet::from([cid]));
    }

    /// The names that point to an object, or may.
    pub(super) fn names_of(&self, cid: &Cid) -> Vec<String> {
        let own = self
            .names
            .iter()
            .filter(|(_, may)| may.contains(&Some(*cid)));
        own.map(|(name, _)| name.clone()).collect()
    }

    /// Says what a reader sees that it should not, or misses.
    pub(super) fn check_reader(&self, reader: &StoreReader) -> Result<(), String> {
        let said = |e: StoreError| e.to_string();
        let objects: BTreeSet<Cid> = reader
            .objects()
            .map_err(said)?
            .iter()
            .map(|o| o.cid)
            .collect();
        let folder = StoreFolder::new(reader.path());
        let roots: BTreeSet<Cid> = root::published(&folder)
            .map_err(said)?
            .into_iter()
            .collect();
        if roots != objects {
            return Err(format!(
                "of the roots {roots:?} only {objects:?} can be read"
            ));
        }
        if let Some(foreign) = objects.iter().find(|cid| !self.objects.contains_key(cid)) {
            return Err(format!("{foreign} was never added"));
        }
        for (cid, expected) in &self.objects {
            let there = objects.contains(cid);
            if !expected.presence.allows(there) {
                return Err(format!("{cid}: {:?}, found {there}", expected.presence));
            }
            if !there {
                continue;
            }
            if self.damaged.contains(cid) {
                continue;
            }
            let read = reader.read(&(*cid).into());
            let read = read.map_err(|e| format!("{cid} cannot be read: {e}"))?;
            if read != *expected.content {
                return Err(format!("{cid} has other bytes"));
            }
        }
        self.check_names(reader, &objects)
    }

    fn check_names(&self, reader: &StoreReader, objects: &BTreeSet<Cid>) -> Result<(), String> {
        let pins = reader.pins().map_err(|e| e.to_string())?;
        let pins: BTreeMap<String, Cid> = pins.into_iter().map(|p| (p.name, p.cid)).collect();
        for (name, may) in &self.names {
            let found = pins.get(name).copied();
            if !may.contains(&found) {
                return Err(format!("{name:?} may be {may:?}, and is {found:?}"));
            }
        }
        for (name, cid) in &pins {
            if !self.names.contains_key(name) {
                return Err(format!("{name:?} was never set"));
            }
            if !objects.contains(cid) {
                return Err(format!("{name:?} points to {cid}, which is not there"));
            }
        }
        Ok(())
    }

    /// As [`Ledger::check_reader`], with the blocks that no object covers, and no file of ours left over.
    pub(super) fn check(&self, store: &Store) -> Result<(), String> {
        self.check_reader(&store.to_reader())?;
        for (cid, expected) in &self.blocks {
            match (store.get_block(cid), expected.presence) {
                (Ok(block), _) if *block.data() != *expected.content => {
                    return Err(format!("block {cid} has other bytes"));
                }
                (Err(e), Presence::Must) => return Err(format!("block {cid}: {e}")),
                (Err(StoreError::BlockAbsent { .. }), _) => {}
                (Err(e), _) => return Err(format!("block {cid}: {e}")),
                // What was put and not committed may lie in a pack all the same.
                (Ok(_), _) => {}
            }
        }
        let left_over = list(store, "tmp");
        if !left_over.is_empty() {
            return Err(format!("tmp/ still holds {left_over:?}"));
        }
        let roots = list(store, "roots").into_iter();
        let foreign: Vec<String> = roots
            .filter(|name| RootName::parse(name).is_none())
            .collect();
        match foreign.is_empty() {
            true => Ok(()),
            false => Err(format!("roots/ holds {foreign:?}, nothing of ours")),
        }
    }
}

fn list(store: &Store, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(store.path().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}
