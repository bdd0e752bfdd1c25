//! Collecting findings: each block and each pack once, with everything that it concerns.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::report::{Affected, Finding, FindingKind};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::pack::{PackId, Place};

#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    by_place: HashMap<Place, usize>,
    by_pack: HashMap<PackId, usize>,
    /// What each is known to concern: one block may lie in any number of files.
    concerned: HashSet<(usize, Affected)>,
}

impl Findings {
    /// A block of a pack.
    pub(super) fn block(
        &mut self,
        kind: FindingKind,
        cid: Cid,
        place: Place,
        pack: &Path,
        found: String,
        affected: Option<&Affected>,
    ) {
        self.block_at(kind, cid, place, (pack, place.offset), found, affected);
    }

    /// As [`Findings::block`], for one that lies in another file than its pack.
    pub(super) fn block_at(
        &mut self,
        kind: FindingKind,
        cid: Cid,
        place: Place,
        (file, offset): (&Path, u64),
        found: String,
        affected: Option<&Affected>,
    ) {
        let index = *self.by_place.entry(place).or_insert_with(|| {
            self.list.push(Finding {
                kind,
                affected: Vec::new(),
                block: Some(cid),
                file: file.to_path_buf(),
                offset: Some(offset),
                len: Some(u64::from(place.len)),
                expected: cid.to_string(),
                found,
                place: Some(place),
            });
            self.list.len() - 1
        });
        self.concerns(index, affected);
    }

    /// A pack that is missing or damaged.
    pub(super) fn pack(
        &mut self,
        pack: PackId,
        path: &Path,
        error: &StoreError,
        affected: Option<&Affected>,
    ) {
        let index = *self.by_pack.entry(pack).or_insert_with(|| {
            self.list.push(of_file(FindingKind::Pack, path, error));
            self.list.len() - 1
        });
        self.concerns(index, affected);
    }

    /// A root or a name that cannot be read.
    pub(super) fn file(&mut self, kind: FindingKind, path: &Path, error: &StoreError) {
        self.list.push(of_file(kind, path, error));
    }

    /// Something that two parts of the store say differently.
    pub(super) fn differs(
        &mut self,
        kind: FindingKind,
        file: PathBuf,
        block: Option<Cid>,
        expected: String,
        found: String,
        affected: Option<&Affected>,
    ) {
        let affected = affected.cloned().into_iter().collect();
        self.list.push(Finding {
            kind,
            affected,
            block,
            file,
            offset: None,
            len: None,
            expected,
            found,
            place: None,
        });
    }

    fn concerns(&mut self, index: usize, affected: Option<&Affected>) {
        let new = affected.filter(|one| self.concerned.insert((index, (*one).clone())));
        self.list[index].affected.extend(new.cloned());
    }

    pub(super) fn has(&self, place: &Place) -> bool {
        self.by_place.contains_key(place)
    }

    /// Damaged blocks, whose places are to be recorded.
    pub(super) fn damaged(&self) -> impl Iterator<Item = Place> + '_ {
        let recorded = |kind| {
            matches!(
                kind,
                FindingKind::CorruptBlock | FindingKind::UnreadableBlock
            )
        };
        let damaged = self.list.iter().filter(move |one| recorded(one.kind));
        damaged.filter_map(|one| one.place)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_list(mut self) -> Vec<Finding> {
        self.list
            .sort_by(|a, b| (a.kind, &a.file, a.offset).cmp(&(b.kind, &b.file, b.offset)));
        self.list
    }
}

fn of_file(kind: FindingKind, path: &Path, error: &StoreError) -> Finding {
    let (expected, found) = match error {
        StoreError::Damaged {
            what,
            expected,
            found,
            ..
        } => (format!("{what}: {expected}"), found.clone()),
        other => ("a file that can be read".into(), other.to_string()),
    };
    Finding {
        kind,
        affected: Vec::new(),
        block: None,
        file: path.to_path_buf(),
        offset: None,
        len: None,
        expected,
        found,
        place: None,
    }
}
