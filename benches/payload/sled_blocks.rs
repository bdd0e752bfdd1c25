//! Blocks as values in sled: the block's multihash is the key, its bytes are the value.
//!
//! What comes out is checked against its CID as the library checks it.
//! The settings are sled's own, compression apart (the payload does not compress).

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipfs_accelerate::{Block, ByteSize, Cid};

use super::side::BlockStore;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SledSetup {
    pub(crate) cache_bytes: u64,
    /// Values (and tree pages) of over a quarter of it go to a file each.
    pub(crate) segment_bytes: usize,
    /// `Mode::HighThroughput` instead of `Mode::LowSpace`.
    pub(crate) fast: bool,
    /// sled's background thread flushes, cleans up, and fsyncs its log this often.
    pub(crate) flush_every_ms: Option<u64>,
    /// Puts in one `Batch`; 1 inserts one by one.
    pub(crate) batch: usize,
    /// After sled's flush, sync the file system: what sled would have to do for its flush to be durable.
    pub(crate) synced: bool,
}

impl SledSetup {
    /// What `sled::open` does.
    pub(crate) fn documented() -> Self {
        Self {
            cache_bytes: 1 << 30,
            segment_bytes: 512 << 10,
            fast: false,
            flush_every_ms: Some(500),
            batch: 1,
            synced: false,
        }
    }

    /// What suits chunks of this length, as `-- sweep` shows: segments in which a value stays in the log while
    /// the tree's pages of up to 16 values go to files, a small cache, no thread in the background.
    pub(crate) fn tuned(chunk_bytes: usize) -> Self {
        Self {
            cache_bytes: 64 << 20,
            segment_bytes: 8 * chunk_bytes,
            fast: true,
            flush_every_ms: None,
            ..Self::documented()
        }
    }

    pub(crate) fn synced(self) -> Self {
        Self {
            synced: true,
            ..self
        }
    }
}

impl fmt::Display for SledSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let every = self.flush_every_ms.unwrap_or(0);
        let (cache, segment) = (self.cache_bytes, self.segment_bytes);
        let (fast, batch, synced) = (self.fast, self.batch, self.synced);
        write!(f, "sled:{cache}:{segment}:{fast}:{every}:{batch}:{synced}")
    }
}

impl FromStr for SledSetup {
    type Err = Box<dyn Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Vec<&str> = text.split(':').collect();
        let ["sled", cache, segment, fast, every, batch, synced] = fields[..] else {
            return Err(format!("no side: {text}").into());
        };
        Ok(Self {
            cache_bytes: cache.parse::<ByteSize>()?.bytes(),
            segment_bytes: segment.parse()?,
            fast: fast.parse()?,
            flush_every_ms: Some(every.parse()?).filter(|&ms| ms > 0),
            batch: batch.parse()?,
            synced: synced.parse()?,
        })
    }
}

pub(crate) struct SledBlocks {
    db: sled::Db,
    path: PathBuf,
    setup: SledSetup,
}

impl SledBlocks {
    pub(crate) fn open(path: &Path, setup: &SledSetup) -> sled::Result<Self> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(setup.cache_bytes)
            .segment_size(setup.segment_bytes)
            .mode(match setup.fast {
                true => sled::Mode::HighThroughput,
                false => sled::Mode::LowSpace,
            })
            .flush_every_ms(setup.flush_every_ms)
            .open()?;
        Ok(Self {
            db,
            path: path.to_owned(),
            setup: setup.clone(),
        })
    }

    fn put(&self, block: Block) -> sled::Result<()> {
        let key = block.cid().hash().to_bytes();
        self.db.insert(key, block.data()).map(drop)
    }

    fn put_batch(&self, blocks: Vec<Block>) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
        for block in blocks {
            batch.insert(block.cid().hash().to_bytes(), block.data());
        }
        self.db.apply_batch(batch)
    }

    fn flush(&self) -> Result<(), Box<dyn Error>> {
        self.db.flush()?;
        if self.setup.synced {
            rustix::fs::syncfs(File::open(&self.path)?)?;
        }
        Ok(())
    }
}

impl BlockStore for SledBlocks {
    fn write(&self, blocks: &mut dyn Iterator<Item = Block>) -> Result<(), Box<dyn Error>> {
        if self.setup.batch <= 1 {
            for block in blocks {
                self.put(block)?;
            }
            return self.flush();
        }
        loop {
            let batch: Vec<Block> = blocks.take(self.setup.batch).collect();
            if batch.is_empty() {
                return self.flush();
            }
            self.put_batch(batch)?;
        }
    }

    fn get(&self, cid: &Cid) -> Result<Option<Block>, Box<dyn Error>> {
        let Some(value) = self.db.get(cid.hash().to_bytes())? else {
            return Ok(None);
        };
        Ok(Some(Block::verified(*cid, &value[..])?))
    }

    fn has(&self, cid: &Cid) -> Result<bool, Box<dyn Error>> {
        Ok(self.db.contains_key(cid.hash().to_bytes())?)
    }
}
