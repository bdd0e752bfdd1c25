//! What a root file holds.
//!
//! Sections: 0 head · 1 paths, in the byte order of their text · 2 packs and extents · 3 places of the DAG
//! nodes. A load takes 0 to 2; the nodes are for verification, for rebuilding and for the collector.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::{Cid, canonical};
use crate::dag::check_name;
use crate::store::error::StoreError;
use crate::store::format::{self, Envelope, FileKind, StoreId, StoredCid};
use crate::store::pack::PackId;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ObjectKind {
    File,
    Folder,
    Symlink,
    /// One block, kept by a direct pin.
    Block,
    /// The packs of a session or of an unfinished import.
    Loose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) cid: StoredCid,
    pub(crate) kind: ObjectKind,
    pub(crate) profile: String,
    /// The name of the file or folder when it was first added.
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    /// Bytes of content: of all files, for a folder.
    pub(crate) size: u64,
    /// Blocks of the DAG, each place in it counted.
    pub(crate) blocks: u64,
    /// The serialized size of the whole DAG, which a link to the object states.
    pub(crate) tsize: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntryKind {
    /// `first..first + count` of the extents, in file order.
    File {
        first: u32,
        count: u32,
    },
    Folder,
    Symlink {
        target: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathEntry {
    /// Below the object, components joined by `/`; empty for the object itself.
    pub(crate) path: String,
    pub(crate) cid: StoredCid,
    pub(crate) kind: EntryKind,
    pub(crate) size: u64,
}

/// Bytes in a pack; `pack` counts into the list of packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootExtent {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Where a DAG node that is not a raw leaf lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodePlace {
    pub(crate) cid: StoredCid,
    pub(crate) pack: u32,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootRecord {
    pub(crate) head: Head,
    pub(crate) paths: Vec<PathEntry>,
    pub(crate) packs: Vec<PackId>,
    pub(crate) extents: Vec<RootExtent>,
    pub(crate) nodes: Vec<NodePlace>,
}

impl RootRecord {
    pub(crate) fn to_bytes(&self, store: StoreId) -> Vec<u8> {
        let sections = [
            format::section(&self.head),
            format::section(&self.paths),
            format::section(&(&self.packs, &self.extents)),
            format::section(&self.nodes),
        ];
        format::seal(FileKind::Root, store, &sections)
    }

    /// Reads the root of an object; the nodes only when asked for.
    pub(crate) fn parse(
        bytes: &[u8],
        store: StoreId,
        cid: &Cid,
        path: &Path,
        with_nodes: bool,
    ) -> Result<Self, StoreError> {
        let envelope = Envelope::open(bytes, FileKind::Root, Some(store), path)?;
        let take = |index, what| envelope.section(bytes, index, path, what);
        let (packs, extents) = format::decode(take(2, "extents")?, path, "extents")?;
        let record = Self {
            head: format::decode(take(0, "head")?, path, "head")?,
            paths: format::decode(take(1, "paths")?, path, "paths")?,
            packs,
            extents,
            nodes: match with_nodes {
                true => format::decode(take(3, "nodes")?, path, "nodes")?,
                false => Vec::new(),
            },
        };
        check_cid(&record.head, cid, path)?;
        record.check(path)?;
        Ok(record)
    }

    /// Only the head, for listings.
    pub(crate) fn parse_head(
        bytes: &[u8],
        store: StoreId,
        cid: &Cid,
        path: &Path,
    ) -> Result<Head, StoreError> {
        let envelope = Envelope::open(bytes, FileKind::Root, Some(store), path)?;
        let head = format::decode(envelope.section(bytes, 0, path, "head")?, path, "head")?;
        check_cid(&head, cid, path)?;
        Ok(head)
    }

    /// The entry at a path below the object.
    pub(crate) fn entry(&self, path: &str) -> Option<&PathEntry> {
        let found = self
            .paths
            .binary_search_by(|entry| entry.path.as_str().cmp(path));
        found.ok().map(|i| &self.paths[i])
    }

    /// The extents of a file entry, in file order.
    pub(crate) fn extents_of(&self, entry: &PathEntry) -> &[RootExtent] {
        match entry.kind {
            EntryKind::File { first, count } => {
                &self.extents[first as usize..first as usize + count as usize]
            }
            _ => &[],
        }
    }

    pub(crate) fn pack(&self, index: u32) -> PackId {
        self.packs[index as usize]
    }

    /// Refuses what checksums cannot: numbers that point outside, files shorter than their extents.
    fn check(&self, path: &Path) -> Result<(), StoreError> {
        let damaged = |what, expected: String, found: String| StoreError::Damaged {
            path: PathBuf::from(path),
            what,
            expected,
            found,
        };
        let packs = self.packs.len();
        let places = self
            .extents
            .iter()
            .map(|e| e.pack)
            .chain(self.nodes.iter().map(|n| n.pack));
        if let Some(index) = places.into_iter().find(|&index| index as usize >= packs) {
            return Err(damaged(
                "pack number",
                format!("below {packs}"),
                index.to_string(),
            ));
        }
        if !self
            .paths
            .windows(2)
            .all(|pair| pair[0].path < pair[1].path)
        {
            return Err(damaged(
                "paths",
                "each once, in order".into(),
                "another order".into(),
            ));
        }
        let ends = self
            .extents
            .iter()
            .map(|e| (e.offset, e.len))
            .chain(self.nodes.iter().map(|n| (n.offset, u64::from(n.len))));
        if let Some((offset, len)) = ends
            .into_iter()
            .find(|(offset, len)| offset.checked_add(*len).is_none())
        {
            let found = format!("{len} bytes from {offset}");
            return Err(damaged("place", "a range within a pack".into(), found));
        }
        for entry in &self.paths {
            // What is written out of the store is named by these.
            let mut names = entry.path.split('/');
            if !entry.path.is_empty() && !names.all(|name| check_name(name).is_ok()) {
                let expected = "names joined by slashes".into();
                return Err(damaged("path", expected, format!("{:?}", entry.path)));
            }
            let EntryKind::File { first, count } = entry.kind else {
                continue;
            };
            let range = first as usize..(first as usize).saturating_add(count as usize);
            let extents = self.extents.get(range);
            let sum = extents.and_then(|all| {
                all.iter()
                    .try_fold(0_u64, |sum, extent| sum.checked_add(extent.len))
            });
            if sum != Some(entry.size) {
                let found = sum.map_or("extents outside the list".into(), |s| s.to_string());
                return Err(damaged("size of a file", entry.size.to_string(), found));
            }
        }
        Ok(())
    }
}

/// A root under another object's name would give that object other bytes.
fn check_cid(head: &Head, cid: &Cid, path: &Path) -> Result<(), StoreError> {
    if canonical(&head.cid.0) == canonical(cid) {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_path_buf(),
        what: "CID",
        expected: canonical(cid).to_string(),
        found: head.cid.0.to_string(),
    })
}
