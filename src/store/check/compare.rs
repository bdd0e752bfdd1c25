//! Comparing content with what a store has under the CID that it should have had.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::report::{Difference, EntrySummary};
use crate::block::canonical;
use crate::dag::FileRoot;
use crate::error::FileError;
use crate::fsio;
use crate::store::error::StoreError;
use crate::store::ingest::{Found, Walk};
use crate::store::read::{Entry, EntryType, Object};

/// Two of these are in memory while bytes are compared.
const COMPARE_BYTES: usize = 1 << 20;

/// Collects what differs while the content is read.
pub(super) struct Comparison<'o> {
    stored: &'o Object,
    /// None for a stream, which cannot be read again.
    top: Option<&'o Path>,
    /// Whether what the store has was made under one of the profiles, so that the same content has the
    /// same CID under it.
    same_profile: bool,
    found: Vec<Difference>,
}

impl<'o> Comparison<'o> {
    pub(super) fn new(stored: &'o Object, top: Option<&'o Path>, same_profile: bool) -> Self {
        Self {
            stored,
            top,
            same_profile,
            found: Vec::new(),
        }
    }

    /// A file of the content, as it is under each profile.
    pub(super) fn file(&mut self, path: &str, roots: &[FileRoot]) {
        let size = roots.first().map(|root| root.size);
        let there = self.stored.at(path);
        let is_same = there.as_ref().is_some_and(|there| {
            let cid = canonical(&there.cid);
            there.kind == EntryType::File && roots.iter().any(|root| canonical(&root.cid) == cid)
        });
        if !is_same {
            let (kind, target) = (EntryType::File, None);
            let found = EntrySummary { kind, size, target };
            self.note(path, there, Some(found));
        }
    }

    fn note(&mut self, path: &str, stored: Option<Entry>, found: Option<EntrySummary>) {
        self.found.push(Difference {
            path: path.to_owned(),
            stored: stored.map(summary),
            found,
            offset: None,
        });
    }

    /// Everything that differs.
    pub(super) fn finish(mut self, walk: &Walk) -> Result<Vec<Difference>, StoreError> {
        self.compare_contents()?;
        let mut here = HashSet::new();
        for step in &walk.steps {
            here.insert(step.path.as_str());
            let (kind, target, is_shown) = match &step.found {
                Found::File => continue,
                Found::Symlink(target) => (EntryType::Symlink, Some(target.clone()), true),
                Found::Folder { entries } => (EntryType::Folder, None, *entries == 0),
            };
            let there = self.stored.at(&step.path);
            let differs = match &there {
                None => is_shown,
                Some(there) => there.kind != kind || there.target != target,
            };
            if differs {
                let size = None;
                let found = EntrySummary { kind, size, target };
                self.note(&step.path, there, Some(found));
            }
        }
        let entries: Vec<Entry> = self.stored.walk().collect();
        let filled: HashSet<String> = entries
            .iter()
            .filter_map(|entry| folders_above(&entry.path).next())
            .map(str::to_owned)
            .collect();
        for entry in entries {
            if !filled.contains(&entry.path) && !here.contains(entry.path.as_str()) {
                self.note(&entry.path.clone(), Some(entry), None);
            }
        }
        let changed: HashSet<String> = self
            .found
            .iter()
            .filter(|difference| difference.name() == "kind")
            .map(|difference| difference.path.clone())
            .collect();
        self.found
            .retain(|difference| !folders_above(&difference.path).any(|at| changed.contains(at)));
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.found)
    }

    /// Reads what differs again where CIDs do not say enough: where a file checked by itself differs, and
    /// whether files do at all that were cut in an unknown way.
    fn compare_contents(&mut self) -> Result<(), StoreError> {
        let Some(top) = self.top else { return Ok(()) };
        let mut found = std::mem::take(&mut self.found);
        for difference in &mut found {
            let alone = difference.path.is_empty();
            if difference.name() != "differs" || (self.same_profile && !alone) {
                continue;
            }
            let path = match alone {
                true => top.to_path_buf(),
                false => top.join(&difference.path),
            };
            match first_difference(self.stored, &difference.path, path) {
                Ok(offset) => difference.offset = offset,
                // That it differs is known already.
                Err(e) if self.same_profile => tracing::warn!("{e}"),
                Err(e) => return Err(e),
            }
        }
        if !self.same_profile {
            found
                .retain(|difference| difference.name() != "differs" || difference.offset.is_some());
        }
        self.found = found;
        Ok(())
    }
}

/// The paths of the folders that a path is in, the nearest first; the top is the empty one.
fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/') {
        Some((folder, _)) => Some(folder),
        None => (!path.is_empty()).then_some(""),
    })
    .skip(1)
}

fn summary(entry: Entry) -> EntrySummary {
    EntrySummary {
        kind: entry.kind,
        size: (entry.kind == EntryType::File).then_some(entry.size),
        target: entry.target,
    }
}

/// The first byte at which a file differs from the stored one, or at which the shorter one ends.
fn first_difference(
    stored: &Object,
    below: &str,
    path: PathBuf,
) -> Result<Option<u64>, StoreError> {
    let stored = stored.open(below)?;
    // Something else may stand there by now, and opening a pipe would wait for its writer.
    let mut file = fsio::open_without_waiting(&path)?;
    if !file.metadata().is_ok_and(|now| now.is_file()) {
        let what = "it is no file any more".to_owned();
        return Err(StoreError::SourceChanged { path, what });
    }
    let (mut there, mut here) = (vec![0; COMPARE_BYTES], Vec::with_capacity(COMPARE_BYTES));
    let mut offset = 0;
    loop {
        let stored_bytes = stored.read_at(offset, &mut there)?;
        here.clear();
        let limited = (&mut file).take(COMPARE_BYTES as u64);
        { limited }
            .read_to_end(&mut here)
            .map_err(FileError::at("read", &path))?;
        let there = &there[..stored_bytes];
        if *there != here[..] {
            let same = there.iter().zip(&here).take_while(|(a, b)| a == b).count();
            return Ok(Some(offset + same as u64));
        }
        if here.is_empty() {
            return Ok(None);
        }
        offset += here.len() as u64;
    }
}
