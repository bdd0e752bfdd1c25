//! Copying one object: batches are read and hashed side by side while the batch before is written.

use std::ops::Range;

use rayon::prelude::*;

use super::error::{Stop, SyncObjectError};
use super::leaves::{From, Leaf};
use super::report::SyncCounts;
use super::source::SourceObject;
use super::walk::{Step, Walk};
use crate::block::{Block, Cid, RAW};
use crate::dag::{self, Node};
use crate::store::error::StoreError;
use crate::store::format::StoredCid;
use crate::store::ingest::{BlockWriter, Buffers, FileSpans, PinAs, RootBuilder, commit};
use crate::store::inner::Inner;
use crate::store::pack::Place;
use crate::store::root::{Head, ObjectKind};
use crate::store::time::now_ms;

/// Told after each batch: the counts so far, and the content bytes that came. An error of it ends the copy.
pub(super) type Tell<'t> = dyn FnMut(SyncCounts, u64) -> Result<(), Stop> + 't;

/// Copies an object that is not here, or not whole. Until it returns, nothing of it counts.
pub(super) fn copy(
    store: &Inner,
    source: &SourceObject,
    tell: &mut Tell<'_>,
) -> Result<SyncCounts, Stop> {
    let mut target = Target {
        store,
        writer: BlockWriter::new(store)?,
        root: RootBuilder::default(),
        spans: FileSpans::default(),
        counts: SyncCounts::default(),
        bytes: 0,
    };
    let head = match source.is_block() {
        true => target.block(source)?,
        false => target.object(source, tell)?,
    };
    let counts = target.counts;
    // Its pins follow once it is there.
    commit(store, target.writer, target.root, head, &PinAs::No)?;
    Ok(counts)
}

/// What an object is copied into.
struct Target<'s> {
    store: &'s Inner,
    writer: BlockWriter<'s>,
    root: RootBuilder,
    /// Of the file that is open.
    spans: FileSpans,
    counts: SyncCounts,
    bytes: u64,
}

/// A step whose bytes were read and checked, where they were needed.
enum Ready {
    Leaf {
        leaf: Leaf,
        /// Nothing where the block is here already.
        data: Vec<u8>,
        content: Range<usize>,
        seen: Option<Place>,
    },
    Other(Step),
}

type Find<'f> = dyn Fn(&Cid) -> Result<Option<Place>, StoreError> + Sync + 'f;

impl Target<'_> {
    fn object(&mut self, source: &SourceObject, tell: &mut Tell<'_>) -> Result<Head, Stop> {
        let mut walk = Walk::new(source);
        let buffers = Buffers::default();
        let mut unwritten = Vec::new();
        loop {
            tell(self.counts, self.bytes)?;
            let batch = walk.next_batch()?;
            let finished = batch.is_empty();
            let seals = self.store.seals();
            let before = std::mem::take(&mut unwritten);
            let (pack, writer) = (self.writer.open_pack(), &self.writer);
            let find = |cid: &Cid| writer.find(cid.hash());
            let (written, ready) = self.store.pool()?.install(|| {
                rayon::join(
                    || BlockWriter::write(pack, before),
                    || read_batch(batch, source, &buffers, &find),
                )
            });
            written?.into_iter().for_each(|buffer| buffers.put(buffer));
            self.writer.note_written();
            let ready = ready?;
            if finished {
                break;
            }
            for ready in ready {
                match ready {
                    Ready::Leaf {
                        leaf,
                        data,
                        content,
                        seen,
                    } => {
                        let unused = self.leaf(&leaf, data, &content, seen, seals)?;
                        unused.into_iter().for_each(|buffer| buffers.put(buffer));
                    }
                    Ready::Other(step) => self.step(step)?,
                }
            }
            unwritten = self.writer.take_unwritten();
        }
        let (kind, below) = walk.finish();
        Ok(Head {
            cid: StoredCid(source.cid),
            kind,
            profile: source.profile().to_owned(),
            name: source.name().to_owned(),
            created_ms: now_ms(),
            size: below.size,
            blocks: below.blocks,
            tsize: below.tsize,
        })
    }

    /// The one block of a direct pin.
    fn block(&mut self, source: &SourceObject) -> Result<Head, Stop> {
        let block = source.block(&source.cid)?;
        let len = block.data().len() as u64;
        self.node(&block)?;
        Ok(Head {
            cid: StoredCid(source.cid),
            kind: ObjectKind::Block,
            profile: source.profile().to_owned(),
            name: source.name().to_owned(),
            created_ms: now_ms(),
            size: len,
            blocks: 1,
            tsize: len,
        })
    }

    fn leaf(
        &mut self,
        leaf: &Leaf,
        data: Vec<u8>,
        content: &Range<usize>,
        seen: Option<Place>,
        seals: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if leaf.starts_run {
            self.writer.end_run();
        }
        let put = self
            .writer
            .put(&leaf.cid, data, leaf.run_bytes, seen, seals);
        let (put, unused) = put?;
        // What is no extent by itself is remembered as a node: an empty leaf, or a framed one.
        if leaf.len == 0 || leaf.cid.codec() != RAW {
            self.root.node(leaf.cid, put.place);
        }
        self.spans.push(put.place.part(content));
        self.counts.count(u64::from(put.place.len), put.is_new);
        self.bytes += u64::from(leaf.len);
        Ok(unused)
    }

    fn step(&mut self, step: Step) -> Result<(), StoreError> {
        match step {
            Step::File { path, cid, nodes } => {
                for node in &nodes {
                    self.node(node)?;
                }
                self.writer.end_run();
                let spans = std::mem::take(&mut self.spans);
                self.root.file(path, cid, spans);
            }
            Step::Folder { path, cid, size } => self.root.folder(path, cid, size),
            Step::Symlink {
                path,
                block,
                target,
            } => {
                self.node(&block)?;
                self.root.symlink(path, *block.cid(), target);
            }
            Step::Node(block) => self.node(&block)?,
            // Leaves are read before they come to be put.
            Step::Leaf(_) => debug_assert!(false, "a leaf that was not read"),
        }
        Ok(())
    }

    fn node(&mut self, block: &Block) -> Result<(), StoreError> {
        let seals = self.store.seals();
        let seen = self.writer.find(block.cid().hash())?;
        let data = block.data().to_vec();
        let run_bytes = data.len() as u64;
        self.writer.end_run();
        let (put, _) = self.writer.put(block.cid(), data, run_bytes, seen, seals)?;
        self.writer.end_run();
        self.root.node(*block.cid(), put.place);
        self.counts.count(u64::from(put.place.len), put.is_new);
        Ok(())
    }
}

fn read_batch(
    batch: Vec<Step>,
    source: &SourceObject,
    buffers: &Buffers,
    find: &Find<'_>,
) -> Result<Vec<Ready>, Stop> {
    let read = |step: Step| match step {
        Step::Leaf(leaf) => read_leaf(leaf, source, buffers, find),
        other => Ok(Ready::Other(other)),
    };
    batch.into_par_iter().map(read).collect()
}

fn read_leaf(
    leaf: Leaf,
    source: &SourceObject,
    buffers: &Buffers,
    find: &Find<'_>,
) -> Result<Ready, Stop> {
    let seen = find(&leaf.cid)?;
    let (data, content) = match &leaf.from {
        From::Raw { file, start } => {
            let data = match seen {
                Some(there) if there.len == leaf.len => Vec::new(),
                Some(there) => {
                    return Err(source.damaged("size of a leaf", there.len, leaf.len).into());
                }
                None => {
                    let mut data = buffers.take(leaf.len as usize);
                    source.read_leaf(&leaf.cid, file, *start, &mut data)?;
                    data
                }
            };
            (data, 0..leaf.len as usize)
        }
        From::Framed(place) => {
            let block = source.read(&leaf.cid, place)?;
            let content = content(&leaf, &block, source)?;
            (block.data().to_vec(), content)
        }
        From::Read(block, range) => (block.data().to_vec(), range.clone()),
    };
    Ok(Ready::Leaf {
        leaf,
        data,
        content,
        seen,
    })
}

/// Where the bytes of the file lie in a block that the root says is a leaf: it has to be one.
fn content(
    leaf: &Leaf,
    block: &Block,
    source: &SourceObject,
) -> Result<Range<usize>, SyncObjectError> {
    let node = dag::decode(&leaf.cid, block.data()).map_err(|e| source.unreadable(e.into()))?;
    match node {
        Node::File {
            data: Some(range),
            children,
            ..
        } if range.len() == leaf.len as usize && children.is_empty() => Ok(range),
        _ => Err(source.damaged(
            "place of a leaf",
            format!("{} bytes in block {}", leaf.len, leaf.cid),
            "a block that is another node",
        )),
    }
}
