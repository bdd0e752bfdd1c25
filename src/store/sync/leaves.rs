//! The leaves of one file of the source, in order.

use std::collections::HashSet;
use std::io::BufReader;
use std::ops::Range;
use std::sync::Arc;

use super::error::SyncObjectError;
use super::source::{BlockPlace, SourceObject};
use crate::block::{Block, Cid, RAW, verify};
use crate::dag::{self, Chunker, Cutter, FileChild, MAX_BLOCK_BYTES, Node};
use crate::store::assemble::{Below, MAX_BLOCKS, MAX_FILE_LEVELS};
use crate::store::error::StoreError;
use crate::store::read::StoredFile;

/// A leaf that is to be copied.
pub(super) struct Leaf {
    pub(super) cid: Cid,
    pub(super) from: From,
    /// Bytes of the file that it is.
    pub(super) len: u32,
    /// It begins a stretch of the file that is to be contiguous.
    pub(super) starts_run: bool,
    /// Length of that stretch.
    pub(super) run_bytes: u64,
}

pub(super) enum From {
    /// A raw leaf: a range of a file.
    Raw { file: Arc<StoredFile>, start: u64 },
    /// A leaf that is framed in dag-pb.
    Framed(BlockPlace),
    /// A node with bytes in it, which was read to know what is below it.
    Read(Block, Range<usize>),
}

impl Leaf {
    /// Length of its block.
    pub(super) fn block_len(&self) -> usize {
        match &self.from {
            From::Raw { .. } => self.len as usize,
            From::Framed(place) => place.len as usize,
            From::Read(block, _) => block.data().len(),
        }
    }
}

/// A file whose leaves are asked for one by one. Memory is one node for each level, and the nodes themselves, which
/// are copied after the leaves so that those stay contiguous.
pub(super) struct OpenFile {
    pub(super) path: String,
    pub(super) cid: Cid,
    file: Arc<StoredFile>,
    cutter: Option<Cutter>,
    /// How much of the file the leaves so far are.
    end: u64,
    /// The nodes that are open: what is left of each, and where it is to end.
    open: Vec<(std::vec::IntoIter<FileChild>, u64)>,
    pub(super) nodes: Vec<Block>,
    known: HashSet<Cid>,
}

impl OpenFile {
    pub(super) fn new(
        source: &SourceObject,
        cid: Cid,
        path: String,
    ) -> Result<Self, SyncObjectError> {
        let file = Arc::new(source.file(&path)?);
        let size = file.size();
        Ok(Self {
            cutter: source.chunker().and_then(|chunker| cutter(chunker, &file)),
            open: vec![(vec![FileChild { cid, size }].into_iter(), size)],
            path,
            cid,
            file,
            end: 0,
            nodes: Vec::new(),
            known: HashSet::new(),
        })
    }

    /// The next leaf; none at the end of the file. `sum` counts what was seen.
    pub(super) fn next(
        &mut self,
        source: &SourceObject,
        sum: &mut Below,
    ) -> Result<Option<Leaf>, SyncObjectError> {
        while let Some((children, until)) = self.open.last_mut() {
            let Some(child) = children.next() else {
                if self.end != *until {
                    return Err(source.damaged("size of a part of a file", *until, self.end));
                }
                self.open.pop();
                continue;
            };
            if sum.blocks > MAX_BLOCKS {
                return Err(self.too_deep(source, "blocks", MAX_BLOCKS as usize));
            }
            sum.blocks += 1;
            if let Some(leaf) = self.enter(source, child, sum)? {
                return Ok(Some(leaf));
            }
        }
        Ok(None)
    }

    /// Opens a node, or takes a leaf.
    fn enter(
        &mut self,
        source: &SourceObject,
        FileChild { cid, size }: FileChild,
        sum: &mut Below,
    ) -> Result<Option<Leaf>, SyncObjectError> {
        if cid.codec() == RAW {
            let leaf = self.raw(source, cid, size, sum)?;
            sum.tsize += size;
            return Ok(Some(leaf));
        }
        // One of no bytes says nothing of any byte.
        let is_leaf =
            |place: &BlockPlace| size > 0 && source.holds(place, &self.file, self.end, size);
        if let Some(place) = source.place(&cid)?.filter(is_leaf) {
            sum.tsize += u64::from(place.len);
            return self
                .leaf(source, cid, size, From::Framed(place), sum)
                .map(Some);
        }
        let block = source.block(&cid)?;
        sum.tsize += block.data().len() as u64;
        let node = dag::decode(&cid, block.data()).map_err(|e| source.unreadable(e.into()))?;
        let Node::File {
            size: own,
            data,
            children,
        } = node
        else {
            let (target, found) = (cid.to_string(), "folder node inside a file");
            return Err(source.unreadable(StoreError::NotAFile { target, found }));
        };
        if own != size {
            return Err(source.damaged("size of a part of a file", own, size));
        }
        if self.open.len() > MAX_FILE_LEVELS {
            return Err(self.too_deep(source, "levels of nodes", MAX_FILE_LEVELS));
        }
        self.open
            .push((children.into_iter(), self.end.saturating_add(size)));
        match data.filter(|range| !range.is_empty()) {
            Some(range) => {
                let len = range.len() as u64;
                let from = From::Read(block, range);
                self.leaf(source, cid, len, from, sum).map(Some)
            }
            None => {
                if self.known.insert(cid) {
                    self.nodes.push(block);
                }
                Ok(None)
            }
        }
    }

    fn raw(
        &mut self,
        source: &SourceObject,
        cid: Cid,
        size: u64,
        sum: &mut Below,
    ) -> Result<Leaf, SyncObjectError> {
        let from = match size {
            // No extent holds it.
            0 => {
                verify(&cid, &[]).map_err(|e| source.unreadable(e.into()))?;
                From::Read(Block::of_checked_data(cid, Vec::new().into()), 0..0)
            }
            _ => From::Raw {
                file: Arc::clone(&self.file),
                start: self.end,
            },
        };
        self.leaf(source, cid, size, from, sum)
    }

    fn leaf(
        &mut self,
        source: &SourceObject,
        cid: Cid,
        len: u64,
        from: From,
        sum: &mut Below,
    ) -> Result<Leaf, SyncObjectError> {
        let size = self.file.size();
        let next = self.end.checked_add(len).filter(|next| *next <= size);
        let short = u32::try_from(len).ok();
        let short = short.filter(|len| *len as usize <= MAX_BLOCK_BYTES);
        let (Some(next), Some(len)) = (next, short) else {
            let expected = format!("up to {MAX_BLOCK_BYTES} bytes of the {size} of the file");
            let found = format!("{len} bytes at {}", self.end);
            return Err(source.damaged("size of a leaf", expected, found));
        };
        let (starts_run, run_bytes) = self.run(u64::from(len));
        self.end = next;
        sum.size += u64::from(len);
        Ok(Leaf {
            cid,
            from,
            len,
            starts_run,
            run_bytes,
        })
    }

    /// Whether a leaf begins a run, and how long that is. A file that was not cut as its profile says is one run.
    fn run(&mut self, len: u64) -> (bool, u64) {
        let size = self.file.size();
        let is_first = self.end == 0;
        let Some(cutter) = &mut self.cutter else {
            return (is_first, size);
        };
        let cut = cutter.next();
        if len == (size - self.end).min(cut.len as u64) {
            return (cut.starts_run, cut.run_bytes.min(size));
        }
        self.cutter = None;
        (is_first, size)
    }

    fn too_deep(&self, source: &SourceObject, what: &'static str, limit: usize) -> SyncObjectError {
        let cid = self.cid;
        source.unreadable(StoreError::TooDeep { cid, what, limit })
    }
}

/// What an add of the file would cut it by. It decides where bytes are put and nothing else, so what it reads need
/// not be checked, and a file that it cannot read is one run.
fn cutter(chunker: Chunker, file: &StoredFile) -> Option<Cutter> {
    let cutter = match chunker {
        Chunker::Size(_) => Cutter::new(chunker, std::io::empty()),
        _ => Cutter::new(chunker, BufReader::new(file.reader())),
    };
    cutter.ok()
}
