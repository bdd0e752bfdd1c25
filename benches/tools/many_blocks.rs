//! A store of very many small blocks.

use std::error::Error;
use std::path::Path;

use ipfs_accelerate::{AddOptions, Profile, Store};

use crate::checkpoint::Payload;

const BLOCK_BYTES: usize = 256;
const OBJECTS: u64 = 100;

/// Makes a store of so many blocks of 256 bytes, in a hundred objects.
pub(crate) fn store_of(path: &Path, blocks: u64) -> Result<Store, Box<dyn Error>> {
    let store = Store::create(path)?;
    let profile = Profile::default().with_chunk_bytes(BLOCK_BYTES)?;
    for object in 0..OBJECTS {
        let mut content = vec![0; (blocks / OBJECTS) as usize * BLOCK_BYTES];
        Payload::new(object, "many").fill(&mut content);
        let options = AddOptions::default().with_profile(profile.clone());
        store.add_reader(&content[..], &options)?;
    }
    Ok(store)
}
