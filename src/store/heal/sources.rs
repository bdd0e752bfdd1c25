//! Where good bytes are, for each block that wants some.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::files::search;
use super::other::OtherStore;
use super::rebuild;
use super::report::{HealOptions, HealedBy};
use crate::block::{Block, Cid, HashFunction, Multihash};
use crate::dag::Profile;
use crate::store::error::StoreError;
use crate::store::ingest::InFiles;
use crate::store::inner::Inner;
use crate::store::pack::Place;
use crate::store::registry::Holder;
use crate::store::relocate::{Good, Relocated};
use crate::store::root::RootRecord;
use crate::store::verify::{Access, Finding, Tables};

/// Where to look besides the store itself. Files are read as a whole, so only for what nothing else had.
pub(super) enum From<'p> {
    Stores(&'p [PathBuf]),
    Files(&'p [PathBuf]),
}

#[derive(Default)]
pub(super) struct Sources {
    /// Other places in the store, which were read and checked.
    stored: HashMap<Multihash, Place>,
    rebuilt: HashMap<Multihash, Block>,
    others: Vec<OtherStore>,
    files: InFiles,
    /// Which of the files and folders that were named a node follows from.
    follows_from: HashMap<Multihash, PathBuf>,
    /// Which of the others had the bytes of a block, and not only a place for it.
    had: Mutex<HashMap<Multihash, PathBuf>>,
}

impl Sources {
    /// Looks for the wanted blocks.
    pub(super) fn find(
        store: &Arc<Inner>,
        wanted: &HashMap<Place, Finding>,
        from: &From<'_>,
        options: &HealOptions,
    ) -> Result<Self, StoreError> {
        let mut sources = Self::default();
        let mut open: HashSet<Multihash> = HashSet::new();
        for (place, finding) in wanted {
            let Some(cid) = finding.block else { continue };
            match stored_elsewhere(store, &cid, place)? {
                Some(good) => drop(sources.stored.insert(*cid.hash(), good)),
                None => drop(open.insert(*cid.hash())),
            }
        }
        let records = records(store, wanted)?;
        if !open.is_empty() {
            rebuild(
                store,
                &records,
                &open,
                &HashMap::new(),
                &mut sources.rebuilt,
            )?;
            open.retain(|hash| !sources.rebuilt.contains_key(hash));
        }
        let (stores, files) = match from {
            From::Stores(stores) => (*stores, &[][..]),
            From::Files(files) => (&[][..], *files),
        };
        for path in stores {
            if !open.is_empty() {
                sources.others.push(OtherStore::open(path, &open)?);
            }
        }
        let profiles = profiles(&records, wanted);
        for path in files {
            if open.is_empty() {
                break;
            }
            for profile in &profiles {
                search(store, path, profile, &open, options, &mut sources.files)?;
            }
            let found = &mut sources.files;
            // Those of folders follow from files of which the store may lack all.
            rebuild(store, &records, &open, &found.files, &mut found.nodes)?;
            let nodes = open.iter().filter(|hash| found.nodes.contains_key(hash));
            let nodes = nodes.map(|hash| (*hash, path.clone()));
            sources.follows_from.extend(nodes);
            open.retain(|hash| !found.leaves.contains_key(hash) && !found.nodes.contains_key(hash));
        }
        Ok(sources)
    }

    /// What there is to put in a block's place.
    pub(super) fn take(&self, store: &Inner, block: &Relocated, holder: &Holder) -> Option<Good> {
        let hash = block.cid.hash();
        if let Some(place) = self.stored.get(hash) {
            return holder.claim(place).then_some(Good::Elsewhere(*place));
        }
        let made = self
            .rebuilt
            .get(hash)
            .or_else(|| self.files.nodes.get(hash));
        if let Some(made) = made {
            return made.with_cid(block.cid).map(Good::Block);
        }
        let of_others = self.others.iter().find_map(|other| {
            let found = other.read(&block.cid)?;
            let mut had = self.had.lock().unwrap_or_else(PoisonError::into_inner);
            had.insert(*hash, other.path().to_path_buf());
            Some(found)
        });
        let of_files = || self.files.leaves.get(hash)?.read(&block.cid);
        let found = of_others.or_else(of_files);
        if found.is_none() {
            tracing::debug!(
                "no good bytes for {} in {}",
                block.cid,
                store.folder().path().display()
            );
        }
        found.map(Good::Block)
    }

    /// Where a block's bytes were taken from.
    pub(super) fn by(&self, cid: &Cid) -> HealedBy {
        let hash = cid.hash();
        if self.stored.contains_key(hash) {
            return HealedBy::Stored;
        }
        if self.rebuilt.contains_key(hash) {
            return HealedBy::Rebuilt;
        }
        let had = self.had.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = had.get(hash) {
            return HealedBy::Store(path.clone());
        }
        match self.files.leaves.get(hash) {
            Some(leaf) => HealedBy::File(leaf.path().to_path_buf()),
            None => HealedBy::File(self.follows_from.get(hash).cloned().unwrap_or_default()),
        }
    }
}

/// Makes the nodes that are wanted from what is below them, in the store or in files that were cut.
fn rebuild(
    store: &Arc<Inner>,
    records: &[RootRecord],
    wanted: &HashSet<Multihash>,
    files: &HashMap<Cid, u64>,
    made: &mut HashMap<Multihash, Block>,
) -> Result<(), StoreError> {
    let access = Access {
        core: &store.core,
        store: Some(store),
    };
    let mut tables = Tables::new(&access);
    for record in records {
        let mut nodes = record.nodes.iter();
        if nodes.any(|node| wanted.contains(node.cid.0.hash())) {
            rebuild::nodes(&mut tables, record, wanted, files, made)?;
        }
    }
    Ok(())
}

/// Another place of a block in the store's own packs, if the bytes there are its own. Files of the user's are none:
/// an object that was copied in stays so.
fn stored_elsewhere(store: &Inner, cid: &Cid, from: &Place) -> Result<Option<Place>, StoreError> {
    let is_other = |place: &Place| {
        place != from && place.len == from.len && !store.core.packs.is_reference(place.pack)
    };
    let place = store.place(cid.hash())?.filter(is_other);
    Ok(place.filter(|place| store.core.block(cid, place).is_ok()))
}

/// The roots of the objects that are concerned, as far as they can be read.
fn records(store: &Inner, wanted: &HashMap<Place, Finding>) -> Result<Vec<RootRecord>, StoreError> {
    let affected = wanted.values().flat_map(|finding| &finding.affected);
    let objects: HashSet<Cid> = affected.map(|one| one.object).collect();
    let mut records = Vec::with_capacity(objects.len());
    for cid in objects {
        match store.core.open_root(&cid, true) {
            Ok(Some(root)) => records.push((*root.record).clone()),
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(records)
}

/// The profiles that the objects were made under. Where that is not known, those that are usual.
fn profiles(records: &[RootRecord], wanted: &HashMap<Place, Finding>) -> Vec<Profile> {
    let mut profiles: Vec<Profile> = Vec::new();
    let mut add = |profile: Profile| {
        if !profiles.contains(&profile) {
            profiles.push(profile);
        }
    };
    let mut is_unknown = wanted.values().any(|finding| finding.affected.is_empty());
    for record in records {
        match record.head.profile.parse() {
            Ok(profile) => add(profile),
            Err(_) => is_unknown = true,
        }
    }
    if is_unknown {
        let cids = wanted.values().filter_map(|finding| finding.block);
        let hashes: HashSet<u64> = cids.map(|cid| cid.hash().code()).collect();
        let hashes = hashes.into_iter().filter_map(HashFunction::from_code);
        hashes.flat_map(Profile::candidates).for_each(add);
    }
    profiles
}
