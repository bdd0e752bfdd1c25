//! Good bytes from another store.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::block::{Block, Cid, Multihash};
use crate::fsio::Files;
use crate::store::error::StoreError;
use crate::store::inner;
use crate::store::pack::Place;
use crate::store::read::ReadCore;

/// A store, and where it has what is wanted. Its tables are believed as far as a look is worth it: every block is
/// hashed before it is used.
pub(super) struct OtherStore {
    core: ReadCore,
    places: HashMap<Multihash, Place>,
}

impl OtherStore {
    pub(super) fn is_at(path: &Path) -> bool {
        Files::real().exists(&path.join("FORMAT"))
    }

    pub(super) fn open(path: &Path, wanted: &HashSet<Multihash>) -> Result<Self, StoreError> {
        let core = ReadCore::open(path)?;
        // Without the list of what is gone, the hashes tell.
        let gone = core.gone().ok();
        let mut places = HashMap::new();
        for id in inner::list(&core.folder)? {
            let table = match core.packs.open(id).and_then(|pack| pack.table()) {
                Ok(table) => table,
                Err(e) => {
                    tracing::warn!("passed over: {e}");
                    continue;
                }
            };
            for row in table.rows {
                let hash = row.cid.0.hash();
                let place = Place {
                    pack: id,
                    offset: row.offset,
                    len: row.len,
                };
                let is_good = gone
                    .as_ref()
                    .is_none_or(|gone| gone.why_not(&place).is_none());
                if is_good && wanted.contains(hash) {
                    places.insert(*hash, place);
                }
            }
        }
        Ok(Self { core, places })
    }

    pub(super) fn path(&self) -> &Path {
        self.core.folder.path()
    }

    pub(super) fn read(&self, cid: &Cid) -> Option<Block> {
        let place = self.places.get(cid.hash())?;
        let pack = self.core.packs.open(place.pack).ok()?;
        let data = pack.read(place.offset, place.len as usize).ok()?;
        Block::verified(*cid, data).ok()
    }
}
