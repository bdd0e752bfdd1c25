//! The packs as a collection finds them: what each takes of the disk, and what of that can be given back.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::NotFreeable;
use super::sweep::PackShape;
use crate::error::FileError;
use crate::fsio::{self, Files, Unfit};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::inner::{self, Inner};
use crate::store::pack::{PackFile, PackId, Sources};
use crate::store::read::ReadCore;

/// The packs that can be read, and what the others take.
pub(super) struct Packs {
    /// Those that a collection looks at.
    pub(super) shapes: Vec<PackShape>,
    pub(super) space: HashMap<PackId, PackSpace>,
    /// Headers and tables.
    pub(super) overhead_bytes: u64,
    /// Bytes of files outside the store that they refer to.
    pub(super) referenced_bytes: u64,
    pub(super) unreadable: Unreadable,
}

/// The packs that cannot be read. They take their space all the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unreadable {
    pub(super) packs: u64,
    pub(super) disk_bytes: u64,
}

impl Unreadable {
    /// Counts a pack, unless it went meanwhile.
    fn count(&mut self, folder: &StoreFolder, id: PackId) -> Result<(), StoreError> {
        if let Some(bytes) = disk_bytes(folder, id)? {
            self.packs += 1;
            self.disk_bytes += bytes;
        }
        Ok(())
    }
}

impl Packs {
    pub(super) fn of(core: &ReadCore, writer: Option<&Inner>) -> Result<Self, StoreError> {
        let mut all = Self {
            shapes: Vec::new(),
            space: HashMap::new(),
            overhead_bytes: 0,
            referenced_bytes: 0,
            unreadable: Unreadable::default(),
        };
        let can_punch = can_punch(core, writer);
        let mut ids: Vec<PackId> = inner::list(&core.folder)?.into_iter().collect();
        ids.sort();
        for id in ids {
            let Some(pack) = open(core, id)? else {
                all.unreadable.count(&core.folder, id)?;
                continue;
            };
            let space = PackSpace::of(core, &pack, can_punch)?;
            all.overhead_bytes += space.overhead_bytes;
            all.referenced_bytes += pack.sources().map_or(0, Sources::referenced_bytes);
            all.space.insert(id, space);
            all.shapes.push(PackShape::of(&pack));
        }
        Ok(all)
    }

    /// What all of them take, as [`used_bytes`] says, those included that cannot be read.
    pub(super) fn disk_bytes(&self) -> u64 {
        let read: u64 = self.space.values().map(|space| space.disk_bytes).sum();
        read + self.unreadable.disk_bytes
    }
}

/// What a pack takes, and what can be given back of it.
#[derive(Clone, Debug)]
pub(super) struct PackSpace {
    /// Of header and table.
    overhead_bytes: u64,
    /// The whole pages of its payload.
    pub(super) pages: Range<u64>,
    pub(super) disk_bytes: u64,
    /// It goes by another name too, of a snapshot by hard links, of which nothing may change.
    pub(super) is_linked: bool,
    can_punch: bool,
}

/// What the dead part of a pack takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeadSpace {
    /// Of the whole pages in it, what is no hole.
    pub(super) bytes: u64,
    /// What shares a page with what is live.
    pub(super) partial_pages: u64,
}

impl PackSpace {
    pub(super) fn of(
        core: &ReadCore,
        pack: &PackFile,
        can_punch: bool,
    ) -> Result<Self, StoreError> {
        let files = core.folder.files();
        let found = files.file_metadata(pack.file(), pack.path())?;
        let payload = pack.payload();
        Ok(Self {
            overhead_bytes: pack.file_len() - (payload.end - payload.start),
            pages: pages_inside(&payload),
            disk_bytes: 512 * found.blocks(),
            is_linked: found.nlink() > 1,
            can_punch,
        })
    }

    /// Why the pack gives space back as a whole only, if it does.
    pub(super) fn whole_only(&self) -> Option<NotFreeable> {
        match (self.is_linked, self.can_punch) {
            (true, _) => Some(NotFreeable::HardLinked),
            (false, false) => Some(NotFreeable::NoHoles),
            (false, true) => None,
        }
    }
}

impl DeadSpace {
    /// Of the dead ranges of a pack. What was punched before is a hole already, and so is what the pack was padded with;
    /// the file itself says so, where its file system tells holes.
    pub(super) fn of(
        core: &ReadCore,
        pack: &PackFile,
        dead: &[Range<u64>],
    ) -> Result<Self, FileError> {
        Self::in_file(core.folder.files(), pack.file(), pack.path(), dead)
    }

    fn in_file(
        files: &Files,
        file: &File,
        path: &Path,
        dead: &[Range<u64>],
    ) -> Result<Self, FileError> {
        let taken = holes(dead).map(|hole| files.data_within(file, &hole, path));
        Ok(Self {
            bytes: taken.sum::<Result<u64, _>>()?,
            partial_pages: len(dead.iter().cloned()) - len(holes(dead)),
        })
    }
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// The whole pages inside a range.
fn pages_inside(range: &Range<u64>) -> Range<u64> {
    range.start.next_multiple_of(page())..range.end / page() * page()
}

/// The pages that a range touches.
pub(super) fn pages_around(range: &Range<u64>) -> Range<u64> {
    range.start / page() * page()..range.end.next_multiple_of(page())
}

/// The whole pages inside ranges, which is what can be punched.
pub(super) fn holes(dead: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> + '_ {
    dead.iter()
        .map(pages_inside)
        .filter(|hole| !hole.is_empty())
}

fn len(ranges: impl Iterator<Item = Range<u64>>) -> u64 {
    ranges.map(|range| range.end - range.start).sum()
}

/// Dead bytes that keep their space, by reason.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<NotFreeable, u64>);

impl Kept {
    pub(super) fn add(&mut self, why: NotFreeable, bytes: u64) {
        if bytes > 0 {
            *self.0.entry(why).or_default() += bytes;
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.values().sum()
    }

    pub(super) fn into_list(self) -> Vec<(NotFreeable, u64)> {
        self.0.into_iter().collect()
    }
}

/// A pack; none for one that is damaged, which a repair is for, or gone meanwhile.
pub(super) fn open(core: &ReadCore, id: PackId) -> Result<Option<Arc<PackFile>>, StoreError> {
    match core.packs.open(id) {
        Ok(pack) => Ok(Some(pack)),
        Err(e @ StoreError::Damaged { .. }) => {
            tracing::debug!("left alone: {e}");
            Ok(None)
        }
        Err(StoreError::File(e)) if e.source.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What packs take on disk.
pub(crate) fn used_bytes(
    folder: &StoreFolder,
    ids: impl IntoIterator<Item = PackId>,
) -> Result<u64, StoreError> {
    let mut used = 0;
    for id in ids {
        used += disk_bytes(folder, id)?.unwrap_or(0);
    }
    Ok(used)
}

/// What a pack takes on disk; none where there is none.
fn disk_bytes(folder: &StoreFolder, id: PackId) -> Result<Option<u64>, StoreError> {
    let path = folder.packs().join(id.file_name());
    match folder.files().metadata_if_there(&path) {
        // A link that leads nowhere is one that takes nothing.
        Err(e) if Unfit::of(&e.source).is_some() => Ok(Some(0)),
        found => Ok(found?.map(|found| 512 * found.blocks())),
    }
}

/// Whether the file system punches holes, as far as that can be told: it is asked for one far behind the end of the
/// lock file, which changes nothing. A reader on an overlay, who would copy that file up, does not ask.
fn can_punch(core: &ReadCore, writer: Option<&Inner>) -> bool {
    const FAR_BEHIND: u64 = 1 << 30;
    let files = core.folder.files();
    let asked = |file: &std::fs::File| match files.punch(file, FAR_BEHIND, 1 << 16) {
        Err(e) => !cannot_punch(&e),
        Ok(()) => true,
    };
    match writer {
        Some(store) => asked(store.lock_file()),
        None if fsio::is_overlay(core.folder.path()) => true,
        None => match files.open_write(&core.folder.lock(), None) {
            Ok(file) => asked(&file),
            Err(_) => true,
        },
    }
}

pub(super) fn cannot_punch(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(disk_bytes: u64) -> PackSpace {
        PackSpace {
            overhead_bytes: 0,
            pages: 0..10 << 20,
            disk_bytes,
            is_linked: false,
            can_punch: true,
        }
    }

    /// A file of 64 pages, of which every other run of 8 is a hole.
    fn striped() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let run = 8 * page();
        file.as_file().set_len(8 * run).unwrap();
        for at in [0, 2, 4, 6] {
            let written = vec![1; run as usize];
            std::os::unix::fs::FileExt::write_all_at(file.as_file(), &written, at * run).unwrap();
        }
        file
    }

    fn dead_space(dead: &[Range<u64>]) -> DeadSpace {
        let file = striped();
        DeadSpace::in_file(Files::real(), file.as_file(), file.path(), dead).unwrap()
    }

    #[test]
    fn of_what_is_dead_only_what_is_no_hole_counts() {
        let page = page();
        let bytes = |dead: Range<u64>| dead_space(&[dead]).bytes;
        assert_eq!(bytes(0..64 * page), 32 * page);
        assert_eq!(bytes(8 * page..16 * page), 0, "a hole");
        assert_eq!(bytes(4 * page..20 * page), 8 * page, "data, a hole, data");
        assert_eq!(bytes(56 * page..80 * page), 0, "a hole and the end");
        let several = [0..2 * page, 9 * page..10 * page, 63 * page..64 * page];
        assert_eq!(dead_space(&several).bytes, 2 * page);
    }

    #[test]
    fn of_a_part_only_whole_pages_count() {
        let page = page();
        let expected = DeadSpace {
            bytes: 2 * page,
            partial_pages: page + 7 - 100,
        };
        assert_eq!(dead_space(&[100..3 * page + 7]), expected);
    }

    #[test]
    fn a_pack_with_another_name_gives_nothing_back_but_as_a_whole() {
        let linked = PackSpace {
            is_linked: true,
            ..space(0)
        };
        assert_eq!(linked.whole_only(), Some(NotFreeable::HardLinked));
        let without_holes = PackSpace {
            can_punch: false,
            ..space(0)
        };
        assert_eq!(without_holes.whole_only(), Some(NotFreeable::NoHoles));
        assert_eq!(space(0).whole_only(), None);
    }
}
