//! What a root file holds.
//!
//! Sections: 0 head · 1 paths, in the byte order of their text · 2 packs and extents · 3 places of the DAG
//! nodes. A load takes 0 to 2; the nodes are for verification, for rebuilding and for the collector.

use std::collections::HashSet;
use std::ops::Range;
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

/// The name in a loose root of what was not committed.
pub(crate) const UNFINISHED: &str = "unfinished import";
/// The name in a loose root of what a repair found in packs without a root and could not put together.
pub(crate) const REMAINS: &str = "remains";
/// As [`REMAINS`], while no repair has looked at those packs to the end.
pub(crate) const LOST: &str = "lost roots";

/// As [`RootRecord::is_remains`], of a root with this kind and name.
pub(crate) fn is_remains(kind: ObjectKind, name: &str) -> bool {
    kind == ObjectKind::Loose && [REMAINS, LOST].contains(&name)
}

/// As [`RootRecord::is_of_lost`], of a root with this kind and name.
pub(crate) fn is_of_lost(kind: ObjectKind, name: &str) -> bool {
    kind == ObjectKind::Loose && name == LOST
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

/// What is left of a damaged root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remains {
    pub(crate) head: Option<Head>,
    /// With the parts that are damaged empty; none if what is left does not fit together.
    pub(crate) record: Option<RootRecord>,
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
        let record = Self::parse_any(bytes, store, path, with_nodes)?;
        check_cid(&record.head, cid, path)?;
        Ok(record)
    }

    /// As [`RootRecord::parse`], whatever object it is of.
    pub(crate) fn parse_any(
        bytes: &[u8],
        store: StoreId,
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
        record.check(path)?;
        Ok(record)
    }

    /// What a damaged root still says: each part whose own checksum holds.
    pub(crate) fn remains(bytes: &[u8], store: StoreId, path: &Path) -> Remains {
        let Ok(envelope) = Envelope::open(bytes, FileKind::Root, Some(store), path) else {
            return Remains::default();
        };
        fn part<'a, T: Deserialize<'a>>(
            (envelope, bytes, path): (&Envelope, &'a [u8], &Path),
            index: usize,
        ) -> Option<T> {
            let section = envelope.section(bytes, index, path, "part").ok()?;
            format::decode(section, path, "part").ok()
        }
        let from = (&envelope, bytes, path);
        let head: Option<Head> = part(from, 0);
        let (packs, extents) = part(from, 2).unwrap_or_default();
        let record = head.as_ref().map(|head| Self {
            head: head.clone(),
            paths: part(from, 1).unwrap_or_default(),
            packs,
            extents,
            nodes: part(from, 3).unwrap_or_default(),
        });
        Remains {
            record: record.filter(|record| record.check(path).is_ok()),
            head,
        }
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

    /// Every range of a pack that the root places something at; empty blocks too.
    pub(crate) fn places(&self) -> impl Iterator<Item = (PackId, Range<u64>)> + '_ {
        let extents = self.extents.iter().map(|e| (e.pack, e.offset, e.len));
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|n| (n.pack, n.offset, u64::from(n.len)));
        let places = extents.chain(nodes);
        places.map(|(pack, offset, len)| (self.pack(pack), offset..offset + len))
    }

    /// Whether it keeps the packs of an import that did not get to its commit, which nobody was promised. A loose root
    /// that does not say so is of a committed session, or of a repair.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.head.kind == ObjectKind::Loose && self.head.name == UNFINISHED
    }

    /// Whether it keeps what a repair could not put together. That goes as an object without a pin does.
    pub(crate) fn is_remains(&self) -> bool {
        is_remains(self.head.kind, &self.head.name)
    }

    /// Whether it keeps packs whose roots are lost until a repair has put those together.
    pub(crate) fn is_of_lost(&self) -> bool {
        is_of_lost(self.head.kind, &self.head.name)
    }

    /// Of a loose root the packs that nothing of it is placed in, in the order of their sealing: it covers them as a
    /// whole.
    pub(crate) fn whole_packs(&self) -> Vec<PackId> {
        let placed: HashSet<PackId> = self.places().map(|(pack, _)| pack).collect();
        let whole = self.packs.iter().filter(|pack| !placed.contains(pack));
        whole.copied().collect()
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
        if self.extents.iter().any(|extent| extent.len == 0) {
            let found = "one of no bytes".into();
            return Err(damaged("extent", "bytes of a file".into(), found));
        }
        let sums = sums(&self.extents);
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
            let end = (first as usize).saturating_add(count as usize);
            let sum = match (sums.get(first as usize), sums.get(end)) {
                (Some(before), Some(all)) => Some(all - before),
                _ => None,
            };
            if sum != Some(u128::from(entry.size)) {
                let found = sum.map_or("extents outside the list".into(), |s| s.to_string());
                return Err(damaged("size of a file", entry.size.to_string(), found));
            }
        }
        Ok(())
    }
}

/// The bytes of all extents before each, and of all: files may share their extents and cost no more.
fn sums(extents: &[RootExtent]) -> Vec<u128> {
    let mut sums = Vec::with_capacity(extents.len() + 1);
    sums.push(0);
    sums.extend(extents.iter().scan(0, |sum, extent| {
        #[cfg(test)]
        tests::ADDITIONS.set(tests::ADDITIONS.get() + 1);
        *sum += u128::from(extent.len);
        Some(*sum)
    }));
    sums
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

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    thread_local! {
        pub(super) static ADDITIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    fn record() -> RootRecord {
        let cid = StoredCid(crate::dag::leaf(b"x", &crate::dag::Profile::default()).cid);
        RootRecord {
            head: Head {
                cid,
                kind: ObjectKind::Folder,
                profile: String::new(),
                name: String::new(),
                created_ms: 0,
                size: 10,
                blocks: 2,
                tsize: 10,
            },
            paths: vec![
                PathEntry {
                    path: String::new(),
                    cid,
                    kind: EntryKind::Folder,
                    size: 10,
                },
                PathEntry {
                    path: "a".into(),
                    cid,
                    kind: EntryKind::File { first: 0, count: 1 },
                    size: 10,
                },
            ],
            packs: vec![PackId([1; 16])],
            extents: vec![RootExtent {
                pack: 0,
                offset: 128,
                len: 10,
            }],
            nodes: vec![NodePlace {
                cid,
                pack: 0,
                offset: 192,
                len: 5,
            }],
        }
    }

    fn parse(record: &RootRecord) -> Result<RootRecord, StoreError> {
        let path = Path::new("roots/x");
        RootRecord::parse(
            &record.to_bytes(STORE),
            STORE,
            &record.head.cid.0,
            path,
            true,
        )
    }

    /// Checksums hold in all of these: somebody wrote them on purpose.
    #[test]
    fn a_hostile_root_is_refused() {
        assert_eq!(parse(&record()).unwrap(), record());
        type Change = fn(&mut RootRecord);
        let changes: [(&str, Change); 13] = [
            ("an extent of no bytes", |r| {
                r.extents.push(RootExtent {
                    pack: 0,
                    offset: 128,
                    len: 0,
                });
            }),
            ("an absolute path", |r| {
                r.paths[1].path = "/etc/passwd".into()
            }),
            ("a step up", |r| r.paths[1].path = "../a".into()),
            ("a step up inside", |r| r.paths[1].path = "a/../../b".into()),
            ("an empty name", |r| r.paths[1].path = "a//b".into()),
            ("a zero byte", |r| r.paths[1].path = "a\0b".into()),
            ("the same path twice", |r| r.paths[1].path = String::new()),
            ("a pack that is not listed", |r| r.extents[0].pack = 1),
            ("a node's pack that is not listed", |r| {
                r.nodes[0].pack = u32::MAX
            }),
            ("an extent past all ends", |r| {
                r.extents[0].offset = u64::MAX - 3
            }),
            ("a node past all ends", |r| r.nodes[0].offset = u64::MAX),
            ("extents outside the list", |r| {
                r.paths[1].kind = EntryKind::File {
                    first: u32::MAX,
                    count: u32::MAX,
                };
            }),
            ("another size", |r| r.paths[1].size = 11),
        ];
        for (what, change) in changes {
            let mut hostile = record();
            change(&mut hostile);
            let error = parse(&hostile).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "{what}: {error}"
            );
        }
    }

    /// 10,000,000,000 additions if each file's extents are summed for themselves.
    #[test]
    fn extents_that_files_share_are_added_up_once() {
        let many = 100_000_u32;
        let mut hostile = record();
        hostile.extents = vec![hostile.extents[0]; many as usize];
        hostile.paths.truncate(1);
        hostile.paths.extend((0..many).map(|n| PathEntry {
            path: format!("{n:06}"),
            cid: hostile.head.cid,
            kind: EntryKind::File {
                first: 0,
                count: many,
            },
            size: 10 * u64::from(many),
        }));
        ADDITIONS.set(0);
        hostile.check(Path::new("roots/x")).unwrap();
        assert_eq!(ADDITIONS.get(), u64::from(many));
    }

    #[test]
    fn a_root_under_another_name_is_refused() {
        let other = crate::dag::leaf(b"y", &crate::dag::Profile::default()).cid;
        let path = Path::new("roots/y");
        let bytes = record().to_bytes(STORE);
        assert!(RootRecord::parse(&bytes, STORE, &other, path, false).is_err());
        assert!(RootRecord::parse_head(&bytes, STORE, &other, path).is_err());
    }
}
