//! Putting an object's record together from its DAG: for what no root covers, and for pins inside objects.

use std::path::Path;
use std::sync::Arc;

use super::error::StoreError;
use super::format::StoredCid;
use super::ingest::{FileSpans, Moves, RootBuilder};
use super::inner::Inner;
use super::lookup::get_node;
use super::pack::Place;
use super::registry::Holder;
use super::root::{Head, ObjectKind, RootRecord};
use super::time::now_ms;
use crate::block::{Cid, RAW};
use crate::dag::{Node, ShardPosition};

/// Where the blocks come from that a record is put together of.
pub(crate) trait Blocks {
    /// Where a block lies, if it is here and good.
    fn find(&self, cid: &Cid) -> Result<Option<Place>, StoreError>;

    /// A block that is no leaf, checked against its CID.
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, StoreError>;

    /// The store's folder.
    fn path(&self) -> &Path;
}

/// The blocks of an open store. What is found stays as long as the holder does.
pub(crate) struct HeldBlocks<'s> {
    pub(crate) store: &'s Inner,
    pub(crate) holder: &'s Holder,
}

impl Blocks for HeldBlocks<'_> {
    fn find(&self, cid: &Cid) -> Result<Option<Place>, StoreError> {
        self.store.find_or_referenced(cid.hash(), self.holder)
    }

    fn node(&self, cid: &Cid) -> Result<Arc<Node>, StoreError> {
        get_node(self.store, cid)
    }

    fn path(&self) -> &Path {
        self.store.folder().path()
    }
}

/// Sizes below one CID.
#[derive(Clone, Copy, Default)]
pub(super) struct Below {
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) tsize: u64,
}

/// The record of the file, folder or link under a CID, every block of which must be here.
pub(crate) fn assemble(store: &dyn Blocks, cid: &Cid) -> Result<RootRecord, StoreError> {
    let mut walk = Assembly {
        store,
        root: RootBuilder::default(),
        paths: 0,
    };
    let (kind, below) = walk.object(cid)?;
    let head = head(cid, kind, below);
    Ok(walk.root.build(head, &Moves::default()))
}

/// A record that covers one block only, for a direct pin.
pub(crate) fn single_block(store: &dyn Blocks, cid: &Cid) -> Result<RootRecord, StoreError> {
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

fn place(store: &dyn Blocks, cid: &Cid) -> Result<Place, StoreError> {
    store.find(cid)?.ok_or_else(|| StoreError::BlockAbsent {
        cid: *cid,
        path: store.path().to_path_buf(),
    })
}

struct Assembly<'s> {
    store: &'s dyn Blocks,
    root: RootBuilder,
    paths: usize,
}

/// Levels below a file's root. One of 2^64 bytes over nodes of two links has 64.
pub(super) const MAX_FILE_LEVELS: usize = 128;
/// Below an object; longer than any path of a file system.
const MAX_PATH_BYTES: usize = 16_384;

/// Blocks of one object, each place counted: 16 TiB in chunks of 1 MiB. A few nodes that repeat each other
/// can stand for any number.
pub(super) const MAX_BLOCKS: u64 = 1 << 24;
/// Paths of one object, for the same reason.
pub(super) const MAX_PATHS: usize = 1 << 20;

/// What is left to do, the next one last.
enum Task {
    Enter(Cid, String),
    /// A further shard of the folder at a path.
    Shard(Cid, String, ShardPosition),
    /// Everything in the folder is counted, on top of what was counted before it.
    Leave(Cid, String, Below),
}

/// The path of an entry of the folder at a path, one of whose blocks is `cid`.
pub(super) fn below(cid: Cid, path: &str, name: &str) -> Result<String, StoreError> {
    let below = match path {
        "" => name.to_owned(),
        above => format!("{above}/{name}"),
    };
    if below.len() > MAX_PATH_BYTES {
        let (what, limit) = ("bytes of path", MAX_PATH_BYTES);
        return Err(StoreError::TooDeep { cid, what, limit });
    }
    Ok(below)
}

impl Assembly<'_> {
    fn object(&mut self, cid: &Cid) -> Result<(ObjectKind, Below), StoreError> {
        let mut top = None;
        let mut sum = Below::default();
        let mut tasks = vec![Task::Enter(*cid, String::new())];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Enter(cid, path) => {
                    let kind = self.enter(cid, path, &mut sum, &mut tasks)?;
                    top.get_or_insert(kind);
                }
                Task::Shard(cid, path, position) => {
                    self.shard(cid, &path, position, &mut sum, &mut tasks)?;
                }
                Task::Leave(cid, path, before) => {
                    self.root.folder(path, cid, sum.size - before.size);
                }
            }
        }
        Ok((top.expect("there is a first task"), sum))
    }

    fn enter(
        &mut self,
        cid: Cid,
        path: String,
        sum: &mut Below,
        tasks: &mut Vec<Task>,
    ) -> Result<ObjectKind, StoreError> {
        self.paths += 1;
        if self.paths > MAX_PATHS {
            let (what, limit) = ("paths", MAX_PATHS);
            return Err(StoreError::TooDeep { cid, what, limit });
        }
        if cid.codec() == RAW {
            return self.file(cid, path, sum);
        }
        let node = self.store.node(&cid)?;
        match &*node {
            Node::Folder { entries } => {
                let before = *sum;
                self.node(&cid, sum)?;
                tasks.push(Task::Leave(cid, path.clone(), before));
                for entry in entries.iter().rev() {
                    tasks.push(Task::Enter(entry.cid, below(cid, &path, &entry.name)?));
                }
                Ok(ObjectKind::Folder)
            }
            Node::Shard { .. } => {
                tasks.push(Task::Leave(cid, path.clone(), *sum));
                self.shard(cid, &path, ShardPosition::top(), sum, tasks)?;
                Ok(ObjectKind::Folder)
            }
            Node::Symlink { target } => {
                self.node(&cid, sum)?;
                self.root.symlink(path, cid, target.clone());
                Ok(ObjectKind::Symlink)
            }
            _ => self.file(cid, path, sum),
        }
    }

    /// A shard of the folder at a path. The position bounds how many there are: every shard leads to
    /// an entry, and no entry is below two.
    fn shard(
        &mut self,
        cid: Cid,
        path: &str,
        position: ShardPosition,
        sum: &mut Below,
        tasks: &mut Vec<Task>,
    ) -> Result<(), StoreError> {
        let node = self.store.node(&cid)?;
        position.check(&cid, &node)?;
        self.node(&cid, sum)?;
        if let Node::Shard { fanout, links } = &*node {
            for link in links.iter().rev() {
                tasks.push(match &link.name {
                    Some(name) => Task::Enter(link.cid, below(cid, path, name)?),
                    None => {
                        let position = position.below(*fanout, link.slot);
                        Task::Shard(link.cid, path.to_owned(), position)
                    }
                });
            }
        }
        Ok(())
    }

    fn node(&mut self, cid: &Cid, sum: &mut Below) -> Result<Place, StoreError> {
        let place = place(self.store, cid)?;
        self.root.node(*cid, place);
        sum.blocks += 1;
        sum.tsize += u64::from(place.len);
        Ok(place)
    }

    fn file(&mut self, cid: Cid, path: String, sum: &mut Below) -> Result<ObjectKind, StoreError> {
        let mut spans = FileSpans::default();
        self.leaves(&cid, &mut spans, sum, 0)?;
        self.root.file(path, cid, spans);
        Ok(ObjectKind::File)
    }

    fn leaves(
        &mut self,
        cid: &Cid,
        spans: &mut FileSpans,
        sum: &mut Below,
        level: usize,
    ) -> Result<(), StoreError> {
        if sum.blocks > MAX_BLOCKS {
            let (cid, what, limit) = (*cid, "blocks", MAX_BLOCKS as usize);
            return Err(StoreError::TooDeep { cid, what, limit });
        }
        if level > MAX_FILE_LEVELS {
            let (cid, what, limit) = (*cid, "levels of nodes", MAX_FILE_LEVELS);
            return Err(StoreError::TooDeep { cid, what, limit });
        }
        if cid.codec() == RAW {
            let place = place(self.store, cid)?;
            if place.len == 0 {
                self.root.node(*cid, place);
            }
            spans.push(place);
            sum.size += u64::from(place.len);
            sum.blocks += 1;
            sum.tsize += u64::from(place.len);
            return Ok(());
        }
        let place = self.node(cid, sum)?;
        match &*self.store.node(cid)? {
            Node::File { data, children, .. } => {
                if let Some(range) = data {
                    sum.size += range.len() as u64;
                    let offset = place.offset + range.start as u64;
                    spans.push(Place {
                        offset,
                        len: range.len() as u32,
                        ..place
                    });
                }
                for child in children {
                    self.leaves(&child.cid, spans, sum, level + 1)?;
                }
                Ok(())
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
