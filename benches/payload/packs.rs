//! Packs with sled rows: the library as it is, with its own defaults.

use std::error::Error;
use std::path::Path;

use ipfs_accelerate::{Block, Cid, Store, StoreError, StoreOptions};

use super::side::BlockStore;

pub(crate) struct Packs(Store);

impl Packs {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Store::open_or_create(path, StoreOptions::default()).map(Self)
    }
}

impl BlockStore for Packs {
    fn write(&self, blocks: &mut dyn Iterator<Item = Block>) -> Result<(), Box<dyn Error>> {
        let mut session = self.0.session();
        for block in blocks {
            session.put_block(&block)?;
        }
        session.commit()?;
        Ok(())
    }

    fn get(&self, cid: &Cid) -> Result<Option<Block>, Box<dyn Error>> {
        match self.0.get_block(cid) {
            Err(StoreError::BlockAbsent { .. }) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    fn has(&self, cid: &Cid) -> Result<bool, Box<dyn Error>> {
        Ok(self.0.has_block(cid)?)
    }
}
