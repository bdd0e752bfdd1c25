//! Which store it is, when `FORMAT` does not say: what the other files of the store name, and the profile that most
//! of its objects were added under.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::finding::{Defect, ONE_BYTE, Remedy, RepairFinding, is_folder};
use super::raw::{RawPack, pack_path};
use crate::dag::Profile;
use crate::store::error::StoreError;
use crate::store::folder::{StoreFolder, format_bytes, parse_format};
use crate::store::format::{self, Envelope, FileKind, StoreId, hex, random_id};
use crate::store::inner;
use crate::store::root::RootRecord;

const FILE_LIMIT: u64 = 4 << 30;

pub(super) struct Identity {
    pub(super) id: StoreId,
    /// `FORMAT` as it is to be written, and what is said about it; none where it is good.
    pub(super) anew: Option<(Vec<u8>, RepairFinding)>,
}

/// What `FORMAT` says, or what can be told without it.
pub(super) fn identify(folder: &StoreFolder) -> Result<Identity, StoreError> {
    let why = match folder.identify() {
        Ok((id, _)) => return Ok(Identity { id, anew: None }),
        Err(why @ StoreError::Damaged { .. }) if !is_folder(&why) => why,
        Err(e) => return Err(e),
    };
    if let Some((id, bytes)) = mended(folder) {
        let mut finding =
            RepairFinding::of_error(Defect::Format, &folder.format(), &why, Remedy::Made);
        finding.found.push_str(ONE_BYTE);
        let anew = Some((bytes, finding));
        return Ok(Identity { id, anew });
    }
    let votes = Votes::of(folder)?;
    let (id, of_all) = match votes.most() {
        Some((id, count, total)) => (id, format!("{count} of {total} files")),
        // Nothing else is in the store, or nothing that says whose it is.
        None => (StoreId(random_id()?), "no other file says it".to_owned()),
    };
    let profile = votes.profile();
    let bytes = format_bytes(id, &profile);
    let mut finding = RepairFinding::of_error(Defect::Format, &folder.format(), &why, Remedy::Made);
    finding.found.push_str(&format!(
        "; the store is {} by {of_all}, its profile {profile}",
        hex(&id.0)
    ));
    let anew = Some((bytes, finding));
    Ok(Identity { id, anew })
}

/// What `FORMAT` says once the one byte is put back that was changed.
fn mended(folder: &StoreFolder) -> Option<(StoreId, Vec<u8>)> {
    let path = folder.format();
    let longest = format::MENDED_OF_ONE;
    let bytes = format::mended(&read(folder, &path)?, FileKind::Format, None, longest)?;
    let (_, id, _) = parse_format(&bytes, &path, folder.path()).ok()?;
    Some((id, bytes))
}

#[derive(Default)]
struct Votes {
    /// Of roots, names, `gone` and what is left of `FORMAT`, which nobody puts into another store.
    ids: BTreeMap<StoreId, u64>,
    /// Of packs, which count only where there is none of those.
    ids_of_packs: BTreeMap<StoreId, u64>,
    /// Of objects, by their roots.
    profiles: BTreeMap<String, u64>,
    /// Of objects, by the packs that their adds ended in.
    of_packs: BTreeMap<String, u64>,
}

impl Votes {
    fn of(folder: &StoreFolder) -> Result<Self, StoreError> {
        let mut votes = Self::default();
        if folder.files().is_dir(&folder.packs()) {
            for pack in inner::list(folder)? {
                let read = RawPack::open(folder, pack_path(folder, pack))
                    .and_then(|pack| Ok((pack.header()?, pack)));
                if let Ok((header, pack)) = read {
                    *votes.ids_of_packs.entry(header.store).or_default() += 1;
                    let notes = pack
                        .table(&header)
                        .map_or(Vec::new(), |table| table.objects);
                    for note in notes {
                        *votes.of_packs.entry(note.profile).or_default() += 1;
                    }
                }
            }
        }
        for path in files_in(folder, folder.roots()) {
            let Some(bytes) = read(folder, &path) else {
                continue;
            };
            let Ok(envelope) = Envelope::open(&bytes, FileKind::Root, None, &path) else {
                continue;
            };
            votes.count(envelope.store);
            let head = RootRecord::remains(&bytes, envelope.store, &path).head;
            if let Some(head) = head {
                *votes.profiles.entry(head.profile).or_default() += 1;
            }
        }
        let names = files_in(folder, folder.names()).into_iter();
        let names = names.map(|path| (path, FileKind::Name));
        let fixed = [
            (folder.gone(), FileKind::Gone),
            (folder.format(), FileKind::Format),
        ];
        for (path, kind) in names.chain(fixed) {
            let bytes = read(folder, &path).unwrap_or_default();
            if let Ok(envelope) = Envelope::open(&bytes, kind, None, &path) {
                votes.count(envelope.store);
            }
        }
        Ok(votes)
    }

    fn count(&mut self, id: StoreId) {
        *self.ids.entry(id).or_default() += 1;
    }

    /// The one that most files say, how many say it, and how many say any.
    fn most(&self) -> Option<(StoreId, u64, u64)> {
        let ids = match self.ids.is_empty() {
            true => &self.ids_of_packs,
            false => &self.ids,
        };
        let (id, count) = ids.iter().max_by_key(|(_, count)| **count)?;
        Some((*id, *count, ids.values().sum()))
    }

    /// The most frequent one of the objects, else the default.
    fn profile(&self) -> Profile {
        let most = |of: &BTreeMap<String, u64>| -> Option<Profile> {
            let known = of.iter().filter_map(|(name, count)| {
                // What was put together from single blocks has none.
                let profile = (!name.is_empty()).then(|| name.parse().ok())?;
                Some((profile?, count))
            });
            known
                .max_by_key(|(_, count)| **count)
                .map(|(profile, _)| profile)
        };
        let of_roots = most(&self.profiles);
        of_roots
            .or_else(|| most(&self.of_packs))
            .unwrap_or_default()
    }
}

fn files_in(folder: &StoreFolder, path: PathBuf) -> Vec<PathBuf> {
    let names = folder.files().list(&path).unwrap_or_default();
    names.into_iter().map(|name| path.join(name)).collect()
}

fn read(folder: &StoreFolder, path: &Path) -> Option<Vec<u8>> {
    let files = folder.files();
    let file = files.open(path).ok()?;
    format::read_sealed(files, &file, path, FILE_LIMIT).ok()
}
