//! Writing single blocks: they count once the session commits.

use crate::block::{Block, Cid};
use crate::dag::{DagError, MAX_BLOCK_BYTES};
use crate::store::error::StoreError;
use crate::store::ingest::BlockWriter;
use crate::store::inner::Inner;
use crate::store::pack::Place;

/// The CID of a block that a session holds and has not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingCid(Cid);

impl PendingCid {
    /// The CID, which the store does not vouch for before the session's commit.
    pub fn uncommitted(&self) -> &Cid {
        &self.0
    }
}

/// What a session's commit made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionReport {
    /// Every block that was put, in the order of the puts.
    pub cids: Vec<Cid>,
    /// Blocks that were not in the store before.
    pub new_blocks: u64,
    /// Their bytes.
    pub new_bytes: u64,
}

/// Puts blocks one by one; [`WriteSession::commit`] makes them durable together. Dropped before that, it
/// leaves nothing behind.
///
/// Blocks that no object covers are kept as unpinned content is.
///
/// ```
/// use ipfs_accelerate::{Block, HashFunction, RAW, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::create(dir.path().join("store"))?;
/// let block = Block::new(RAW, HashFunction::Sha2_256, *b"hello world");
/// let mut session = store.session();
/// session.put_block(&block)?;
/// assert!(!store.has_block(block.cid())?);
/// session.commit()?;
/// assert_eq!(store.get_block(block.cid())?.data(), b"hello world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WriteSession<'s> {
    store: &'s Inner,
    /// Begins with the first put.
    writer: Option<BlockWriter<'s>>,
    cids: Vec<Cid>,
    /// Blocks that were there already.
    found: Vec<(Cid, Place)>,
    new_blocks: u64,
    new_bytes: u64,
    waiting_bytes: u64,
}

/// Puts are written out when this much waits.
const FLUSH_BYTES: u64 = 16 << 20;

impl<'s> WriteSession<'s> {
    pub(crate) fn new(store: &'s Inner) -> Self {
        Self {
            store,
            writer: None,
            cids: Vec::new(),
            found: Vec::new(),
            new_blocks: 0,
            new_bytes: 0,
            waiting_bytes: 0,
        }
    }

    /// Puts a block; one that is in the store already writes nothing.
    ///
    /// # Errors
    /// [`StoreError::File`] when the pack cannot be written; [`StoreError::Dag`] for a block over 2 MiB.
    pub fn put_block(&mut self, block: &Block) -> Result<PendingCid, StoreError> {
        let cid = *block.cid();
        let len = block.data().len();
        if len > MAX_BLOCK_BYTES {
            let limit = MAX_BLOCK_BYTES;
            return Err(DagError::BlockTooLarge { cid, len, limit }.into());
        }
        if crate::block::inline_data(&cid).is_some() {
            self.cids.push(cid);
            return Ok(PendingCid(cid));
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(BlockWriter::new(self.store)?),
        };
        let seals = self.store.seals();
        let seen = self.store.find(cid.hash(), writer.holder())?;
        writer.end_run();
        let (put, _) = writer.put(&cid, block.data().to_vec(), len as u64, seen, seals)?;
        self.cids.push(cid);
        if put.is_new {
            self.new_blocks += 1;
            self.new_bytes += len as u64;
            self.waiting_bytes += len as u64;
        } else {
            self.found.push((cid, put.place));
        }
        if self.waiting_bytes >= FLUSH_BYTES {
            writer.flush()?;
            self.waiting_bytes = 0;
        }
        Ok(PendingCid(cid))
    }

    /// Makes everything that was put durable, in one step.
    ///
    /// # Errors
    /// [`StoreError::File`] when it cannot be made durable; nothing was then committed.
    pub fn commit(self) -> Result<SessionReport, StoreError> {
        if let Some(mut writer) = self.writer {
            writer.flush()?;
            let guard = self.store.commit_guard()?;
            writer.seal_last(Vec::new())?;
            writer.keep_loose(&self.found)?;
            // What the index does not learn now it learns when the store is next opened.
            if let Err(e) = writer.index_last() {
                tracing::warn!("{e}");
            }
            drop(guard);
            writer.finish();
        }
        Ok(SessionReport {
            cids: self.cids,
            new_blocks: self.new_blocks,
            new_bytes: self.new_bytes,
        })
    }
}
