//! Everything that a repair goes by: the files of a store, each read as far as it can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::finding::{RepairObject, is_folder};
use super::pack::{self, Pack};
use super::raw::{RawReader, pack_path};
use super::watch::Watch;
use crate::block::{Cid, canonical};
use crate::store::coverage::{Coverage, Covered};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{self, FileKind, StoreId};
use crate::store::gone::{self, Gone};
use crate::store::inner;
use crate::store::names::{self, Pin};
use crate::store::pack::PackId;
use crate::store::root::{ObjectKind, Remains, RootName, RootRecord};

const ROOT_LIMIT: u64 = 4 << 30;
/// What is read of a damaged one.
const NAME_LIMIT: u64 = 1 << 16;
const GONE_LIMIT: u64 = 64 << 20;

pub(super) struct Survey {
    pub(super) folder: StoreFolder,
    pub(super) id: StoreId,
    pub(super) reader: RawReader,
    pub(super) packs: BTreeMap<PackId, Pack>,
    pub(super) roots: Vec<RootFile>,
    /// Files in `roots/` that are no roots.
    pub(super) strangers: Vec<PathBuf>,
    pub(super) names: Vec<NameFile>,
    /// By object the pins that can be read.
    pub(super) pinned: HashMap<Cid, Vec<Pin>>,
    pub(super) gone: Result<Gone, StoreError>,
    /// What was wrong with `gone`, if one byte of it was and could be put back.
    pub(super) mended_gone: Option<StoreError>,
}

pub(super) struct RootFile {
    pub(super) name: RootName,
    pub(super) path: PathBuf,
    pub(super) state: RootState,
}

#[expect(clippy::large_enum_variant, reason = "one for each root, made once")]
pub(super) enum RootState {
    Whole(RootRecord),
    Damaged {
        why: StoreError,
        remains: Remains,
    },
    /// Another store's or a later version's, and left alone.
    Foreign(StoreError),
}

pub(super) struct NameFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) pin: Result<Pin, StoreError>,
    /// Of a damaged one its bytes, as far as they can be read, and what they say once one byte is put back.
    pub(super) bytes: Vec<u8>,
    pub(super) mended: Option<Pin>,
}

impl RootFile {
    pub(super) fn whole(&self) -> Option<&RootRecord> {
        match &self.state {
            RootState::Whole(record) => Some(record),
            _ => None,
        }
    }

    /// What it says, or what is left of that.
    pub(super) fn remains(&self) -> Option<&RootRecord> {
        match &self.state {
            RootState::Whole(record) => Some(record),
            RootState::Damaged { remains, .. } => remains.record.as_ref(),
            RootState::Foreign(_) => None,
        }
    }

    /// The object whose root it was until that was removed or replaced. A root of no object has a name of its kind, too,
    /// once it was replaced.
    pub(super) fn retired_object(&self) -> Option<Cid> {
        let is_loose = |record: &RootRecord| record.head.kind == ObjectKind::Loose;
        match self.name {
            RootName::Retired(cid) if !self.remains().is_some_and(is_loose) => Some(cid),
            _ => None,
        }
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.name, RootName::Object(_))
    }

    /// The object that it is the root of.
    pub(super) fn object(&self) -> Option<Cid> {
        match self.name {
            RootName::Object(cid) => Some(cid),
            _ => None,
        }
    }
}

impl Survey {
    /// The packs that are there or that a root speaks of, and that cannot be looked at now. Of those it cannot be
    /// known again what of them is dead: nothing is read of them until it was verified.
    pub(super) fn unseen_packs(&self) -> BTreeSet<PackId> {
        let records = self.roots.iter().filter_map(RootFile::remains);
        let named = records.flat_map(|record| record.packs.iter().copied());
        let is_seen = |id: &PackId| self.packs.get(id).is_some_and(Pack::is_readable);
        named
            .chain(self.packs.keys().copied())
            .filter(|id| !is_seen(id))
            .collect()
    }

    pub(super) fn read(
        folder: &StoreFolder,
        id: StoreId,
        watch: &Watch<'_>,
    ) -> Result<Self, StoreError> {
        Self::read_with(folder, id, |pack| {
            let table_len = pack.header.map_or(0, |header| header.table_len);
            watch.expect(table_len);
            watch.read(table_len);
            watch.check()
        })
    }

    /// As [`Survey::read`], for one who only asks what state the packs are in.
    pub(super) fn without_rows(folder: &StoreFolder, id: StoreId) -> Result<Self, StoreError> {
        Self::read_with(folder, id, |pack| {
            pack.rows = Vec::new();
            pack.notes = Vec::new();
            Ok(())
        })
    }

    fn read_with(
        folder: &StoreFolder,
        id: StoreId,
        examined: impl Fn(&mut Pack) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let (gone, mended_gone) = match gone::read(folder, id) {
            // What is not read now may be read later: it is not to be made again for that.
            Err(e @ StoreError::File(_)) => return Err(e),
            Err(e) if is_folder(&e) => return Err(e),
            Err(why) => match mended_gone(folder, id) {
                Some(gone) => (Ok(gone), Some(why)),
                None => (Err(why), None),
            },
            Ok(gone) => (Ok(gone), None),
        };
        let mut survey = Self {
            folder: folder.clone(),
            id,
            reader: RawReader::new(folder),
            packs: BTreeMap::new(),
            roots: Vec::new(),
            strangers: Vec::new(),
            names: Vec::new(),
            pinned: HashMap::new(),
            gone,
            mended_gone,
        };
        // Names before roots and roots before packs: what is made meanwhile is made the other way round.
        survey.read_names()?;
        survey.read_roots()?;
        if folder.files().is_dir(&folder.packs()) {
            for pack in inner::list(folder)? {
                let found = pack::examine(folder, id, pack, &pack_path(folder, pack))?;
                if let Some(mut found) = found {
                    examined(&mut found)?;
                    survey.packs.insert(pack, found);
                }
            }
        }
        Ok(survey)
    }

    fn read_names(&mut self) -> Result<(), StoreError> {
        let folder = self.folder.names();
        let files = self.folder.files();
        if !files.is_dir(&folder) {
            return Ok(());
        }
        for name in files.list(&folder)? {
            let Some(name) = name.to_str() else { continue };
            let pin = match names::read(&self.folder, self.id, name) {
                Ok(None) => continue,
                Ok(Some(pin)) => Ok(pin),
                // What cannot be read now is no damage: it may well be whole.
                Err(e @ StoreError::File(_)) => return Err(e),
                Err(e) => Err(e),
            };
            let path = folder.join(name);
            let bytes = match pin {
                Ok(_) => Vec::new(),
                Err(_) => read_up_to(&self.folder, &path, NAME_LIMIT),
            };
            let longest = format::MENDED_OF_MANY;
            let mended = format::mended(&bytes, FileKind::Name, Some(self.id), longest)
                .and_then(|bytes| names::parse(&bytes, self.id, name, &path).ok());
            self.names.push(NameFile {
                name: name.to_owned(),
                path,
                pin,
                bytes,
                mended,
            });
        }
        self.names.sort_by(|a, b| a.name.cmp(&b.name));
        self.note_pins();
        Ok(())
    }

    /// Done again when a name was mended.
    pub(super) fn note_pins(&mut self) {
        self.pinned.clear();
        for pin in self.names.iter().filter_map(|file| file.pin.as_ref().ok()) {
            self.pinned.entry(pin.cid).or_default().push(pin.clone());
        }
    }

    fn read_roots(&mut self) -> Result<(), StoreError> {
        let folder = self.folder.roots();
        let files = self.folder.files();
        if !files.is_dir(&folder) {
            return Ok(());
        }
        for name in files.list(&folder)? {
            let path = folder.join(&name);
            let text = name.to_str().unwrap_or_default();
            // What a network file system leaves of an unlinked file.
            if text.starts_with(".nfs") {
                continue;
            }
            match RootName::parse(text) {
                None => self.strangers.push(path),
                Some(name) => {
                    let state = self.read_root(&name, &path)?;
                    let root = state.map(|state| RootFile { name, path, state });
                    self.roots.extend(root);
                }
            }
        }
        self.roots.sort_by(|a, b| a.path.cmp(&b.path));
        self.strangers.sort();
        Ok(())
    }

    fn read_root(&self, name: &RootName, path: &Path) -> Result<Option<RootState>, StoreError> {
        let files = self.folder.files();
        let file = match files.open_if_there(path).map_err(StoreError::from) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(why) if is_folder(&why) => return Ok(Some(RootState::Foreign(why))),
            Err(why @ StoreError::Damaged { .. }) => return Ok(Some(unreadable(why))),
            Err(why) => return Err(why),
        };
        let bytes = match format::read_sealed(files, &file, path, ROOT_LIMIT) {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Some(unreadable(why.into()))),
        };
        let parsed = match name {
            RootName::Object(cid) | RootName::Retired(cid) => {
                RootRecord::parse(&bytes, self.id, cid, path, true)
            }
            RootName::Loose => RootRecord::parse_any(&bytes, self.id, path, true),
        };
        Ok(Some(match parsed {
            Ok(record) => RootState::Whole(record),
            Err(
                why @ (StoreError::NewerFormat { .. }
                | StoreError::Damaged {
                    what: "store id", ..
                }),
            ) => RootState::Foreign(why),
            Err(why) => {
                // What follows the head of an object's root is told by its nodes too.
                let longest = match name {
                    RootName::Loose => format::MENDED_OF_ONE,
                    RootName::Object(_) | RootName::Retired(_) => format::MENDED_OF_MANY,
                };
                let mended = format::mended(&bytes, FileKind::Root, Some(self.id), longest);
                let left = mended.as_deref().unwrap_or(&bytes);
                RootState::Damaged {
                    remains: RootRecord::remains(left, self.id, path),
                    why,
                }
            }
        }))
    }

    /// The object under a CID, in the form in which roots and packs speak of it.
    pub(super) fn object(&self, cid: Cid, name: String) -> RepairObject {
        let pins = self.pinned.get(&canonical(&cid)).into_iter().flatten();
        RepairObject {
            cid,
            name,
            pins: pins.map(|pin| pin.name.clone()).collect(),
        }
    }

    /// The object that a root is of.
    pub(super) fn object_of(&self, root: &RootFile) -> Option<RepairObject> {
        let cid = root.object()?;
        let head = root.remains().map(|record| &record.head);
        let head = head.filter(|head| canonical(&head.cid.0) == cid);
        Some(match head {
            Some(head) => self.object(head.cid.0, head.name.clone()),
            None => self.object(cid, String::new()),
        })
    }

    /// The objects whose roots need a pack.
    pub(super) fn objects_over(&self, pack: PackId) -> Vec<RepairObject> {
        let needs = |root: &&RootFile| {
            root.remains()
                .is_some_and(|record| record.packs.contains(&pack))
        };
        let roots = self.roots.iter().filter(needs);
        roots.filter_map(|root| self.object_of(root)).collect()
    }

    /// The objects whose roots place something in these ranges of a pack.
    pub(super) fn objects_within(&self, pack: PackId, ranges: &[Range<u64>]) -> Vec<RepairObject> {
        let mut wanted = Coverage::default();
        for range in ranges {
            wanted.add_range(pack, range.clone());
        }
        let wanted = Covered::from(wanted);
        let mut objects = Vec::new();
        for root in &self.roots {
            let Some(record) = root.remains() else {
                continue;
            };
            let mut places = record.places().filter(|(of, _)| *of == pack);
            if places.any(|(_, range)| wanted.within(pack, range) > 0) {
                objects.extend(self.object_of(root));
            }
        }
        objects
    }

    /// The roots of what repairs before could not put together.
    pub(super) fn remains(&self) -> impl Iterator<Item = (&RootFile, &RootRecord)> {
        let whole = self.roots.iter();
        let whole = whole.filter_map(|root| Some((root, root.whole()?)));
        whole.filter(|(_, record)| record.is_remains())
    }

    /// Whether nothing else is in `roots/`.
    pub(super) fn has_only_remains(&self) -> bool {
        self.remains().count() == self.roots.len()
    }

    /// What all readable roots cover, but those of what repairs before could not put together.
    pub(super) fn covered(&self) -> Coverage {
        let mut all = Coverage::default();
        let whole = self.roots.iter().filter_map(|root| root.whole());
        for record in whole.filter(|record| !record.is_remains()) {
            all.extend(&self.coverage(record));
        }
        all.normalize();
        all
    }

    /// What a root covers. One of single blocks or of an import covers packs as a whole in which it places nothing.
    pub(super) fn coverage(&self, record: &RootRecord) -> Coverage {
        let mut coverage = Coverage::default();
        coverage.add(record);
        if record.head.kind == ObjectKind::Loose {
            let placed: std::collections::HashSet<PackId> =
                record.places().map(|(pack, _)| pack).collect();
            for id in record.packs.iter().filter(|id| !placed.contains(id)) {
                if let Some(pack) = self.packs.get(id) {
                    coverage.add_range(*id, pack.offsets());
                }
            }
        }
        coverage
    }
}

fn unreadable(why: StoreError) -> RootState {
    RootState::Damaged {
        why,
        remains: Remains::default(),
    }
}

/// What can be read of a file, if it is no longer.
fn read_up_to(folder: &StoreFolder, path: &Path, limit: u64) -> Vec<u8> {
    let files = folder.files();
    let file = files.open_if_there(path).ok().flatten();
    let bytes = file.and_then(|file| format::read_sealed(files, &file, path, limit).ok());
    bytes.unwrap_or_default()
}

fn mended_gone(folder: &StoreFolder, id: StoreId) -> Option<Gone> {
    let path = folder.gone();
    let bytes = read_up_to(folder, &path, GONE_LIMIT);
    let bytes = format::mended(&bytes, FileKind::Gone, Some(id), format::MENDED_OF_ONE)?;
    Gone::parse(&bytes, id, &path).ok()
}
