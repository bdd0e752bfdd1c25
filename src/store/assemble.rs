//! Putting an object's record together from its DAG: for what no root covers, and for pins inside objects.

use super::error::StoreError;
use super::format::StoredCid;
use super::ingest::{FileSpans, Moves, RootBuilder};
use super::inner::Inner;
use super::pack::Place;
use super::root::{Head, ObjectKind, RootRecord};
use super::store::get_node;
use super::time::now_ms;
use crate::block::{Cid, RAW};
use crate::dag::Node;

/// Sizes below one CID.
#[derive(Clone, Copy, Default)]
struct Below {
    size: u64,
    blocks: u64,
    tsize: u64,
}

impl Below {
    fn add(&mut self, other: Self) {
        self.size += other.size;
        self.blocks += other.blocks;
        self.tsize += other.tsize;
    }
}

/// The record of the file, folder or link under a CID, every block of which must be here.
pub(crate) fn assemble(store: &Inner, cid: &Cid) -> Result<RootRecord, StoreError> {
    let mut walk = Assembly {
        store,
        root: RootBuilder::default(),
    };
    let (kind, below) = walk.entry(cid, String::new())?;
    let head = head(cid, kind, below);
    Ok(walk.root.build(head, &Moves::default()))
}

/// A record that covers one block only, for a direct pin.
pub(crate) fn single_block(store: &Inner, cid: &Cid) -> Result<RootRecord, StoreError> {
    let place = place(store, cid)?;
    let mut root = RootBuilder::default();
    root.node(*cid, place);
    let below = Below {
        size: u64::from(place.len),
        blocks: 1,
        tsize: u64::from(place.len),
    };
    Ok(root.build(head(cid, ObjectKind::Block, below), &Moves::default()))
}

fn head(cid: &Cid, kind: ObjectKind, below: Below) -> Head {
    Head {
        cid: StoredCid(*cid),
        kind,
        profile: String::new(),
        name: String::new(),
        created_ms: now_ms(),
        size: below.size,
        blocks: below.blocks,
        tsize: below.tsize,
    }
}

fn place(store: &Inner, cid: &Cid) -> Result<Place, StoreError> {
    store
        .place(cid.hash())?
        .ok_or_else(|| StoreError::BlockAbsent {
            cid: *cid,
            path: store.folder().path().to_path_buf(),
        })
}

struct Assembly<'s> {
    store: &'s Inner,
    root: RootBuilder,
}

impl Assembly<'_> {
    fn entry(&mut self, cid: &Cid, path: String) -> Result<(ObjectKind, Below), StoreError> {
        if cid.codec() == RAW {
            return self.file(cid, path);
        }
        let place = place(self.store, cid)?;
        let own = Below {
            size: 0,
            blocks: 1,
            tsize: u64::from(place.len),
        };
        match &*get_node(self.store, cid)? {
            Node::Folder { entries } => {
                self.root.node(*cid, place);
                let mut below = own;
                for entry in entries {
                    let name = &entry.name;
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}/{name}")
                    };
                    below.add(self.entry(&entry.cid, path)?.1);
                }
                self.root.folder(path, *cid, below.size);
                Ok((ObjectKind::Folder, below))
            }
            Node::Symlink { target } => {
                self.root.node(*cid, place);
                self.root.symlink(path, *cid, target.clone());
                Ok((ObjectKind::Symlink, own))
            }
            _ => self.file(cid, path),
        }
    }

    fn file(&mut self, cid: &Cid, path: String) -> Result<(ObjectKind, Below), StoreError> {
        let mut spans = FileSpans::default();
        let below = self.leaves(cid, &mut spans)?;
        self.root.file(path, *cid, spans);
        Ok((ObjectKind::File, below))
    }

    /// Depth is bounded by the DAG's own: a file of 2^64 bytes with two links a node has 64 levels, and a
    /// node with one child is only ever followed down the blocks that are here.
    fn leaves(&mut self, cid: &Cid, spans: &mut FileSpans) -> Result<Below, StoreError> {
        let place = place(self.store, cid)?;
        let mut below = Below {
            size: 0,
            blocks: 1,
            tsize: u64::from(place.len),
        };
        if cid.codec() == RAW {
            below.size = u64::from(place.len);
            if place.len == 0 {
                self.root.node(*cid, place);
            }
            spans.push(place);
            return Ok(below);
        }
        self.root.node(*cid, place);
        match &*get_node(self.store, cid)? {
            Node::File { data, children, .. } => {
                if let Some(range) = data {
                    below.size += range.len() as u64;
                    let offset = place.offset + range.start as u64;
                    spans.push(Place {
                        offset,
                        len: range.len() as u32,
                        ..place
                    });
                }
                for child in children {
                    below.add(self.leaves(&child.cid, spans)?);
                }
                Ok(below)
            }
            Node::Folder { .. } | Node::Symlink { .. } | Node::Shard { .. } | Node::Raw => {
                let target = cid.to_string();
                Err(StoreError::NotAFile {
                    target,
                    found: "folder node inside a file",
                })
            }
        }
    }
}
