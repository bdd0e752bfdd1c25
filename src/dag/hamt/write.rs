//! Building the shards of a folder.

use cid::Cid;

use super::{Fanout, HASH_BITS, first_bits, murmur3_x64_64, set_slot, without_leading_zeros};
use crate::block::Block;
use crate::dag::dagpb::{self, PbLink};
use crate::dag::error::DagError;
use crate::dag::folder::{FolderEntry, FolderRoot};
use crate::dag::profile::Profile;
use crate::dag::{MAX_BLOCK_BYTES, unixfs};

/// Builds the shards over entries whose names are checked and different. `emit` gets them children
/// first, the topmost last.
pub(in crate::dag) fn build<E: From<DagError>>(
    entries: &[FolderEntry],
    fanout: Fanout,
    profile: &Profile,
    emit: &mut dyn FnMut(Block) -> Result<(), E>,
) -> Result<FolderRoot, E> {
    let mut hashed: Vec<_> = entries
        .iter()
        .map(|entry| (murmur3_x64_64(entry.name.as_bytes()), entry))
        .collect();
    // Sorted by their hashes, the entries below any shard stand side by side.
    hashed.sort_by_key(|(hash, _)| *hash);
    let mut builder = Builder {
        fanout,
        profile,
        emit,
    };
    builder.shard(&hashed, 0)
}

struct Builder<'b, E> {
    fanout: Fanout,
    profile: &'b Profile,
    emit: &'b mut dyn FnMut(Block) -> Result<(), E>,
}

impl<E: From<DagError>> Builder<'_, E> {
    /// The shard over entries whose hashes have the first `above` bits in common. Calls itself at most
    /// once for every level, of which a hash allows 8 at a fanout of 256.
    fn shard(&mut self, entries: &[(u64, &FolderEntry)], above: u32) -> Result<FolderRoot, E> {
        let bits = above + self.fanout.bits;
        if let ([(_, first), (_, second), ..], true) = (entries, bits > HASH_BITS) {
            return Err(E::from(DagError::HashCollision {
                first: first.name.clone(),
                second: second.name.clone(),
            }));
        }
        let mut bitfield = vec![0; self.fanout.bitfield_bytes()];
        let mut links: Vec<(String, Cid, u64)> = Vec::new();
        for group in entries.chunk_by(|a, b| first_bits(a.0, bits) == first_bits(b.0, bits)) {
            let slot = first_bits(group[0].0, bits) % self.fanout.slots();
            set_slot(&mut bitfield, slot);
            let (name, cid, tsize) = match group {
                [(_, entry)] => (entry.name.as_str(), entry.cid, entry.tsize),
                _ => {
                    let below = self.shard(group, bits)?;
                    ("", below.cid, below.tsize)
                }
            };
            let digits = self.fanout.digits();
            links.push((format!("{slot:0digits$X}{name}"), cid, tsize));
        }
        let data = unixfs::shard(without_leading_zeros(&bitfield), self.fanout.slots());
        let pb_links = links.iter().map(|(name, cid, tsize)| PbLink {
            cid: *cid,
            name,
            tsize: *tsize,
        });
        let block = self.profile.node(dagpb::encode(pb_links, &data));
        let (cid, len) = (*block.cid(), block.data().len());
        if len > MAX_BLOCK_BYTES {
            let limit = MAX_BLOCK_BYTES;
            return Err(E::from(DagError::BlockTooLarge { cid, len, limit }));
        }
        (self.emit)(block)?;
        let tsize = links
            .iter()
            .fold(len as u64, |sum, (_, _, tsize)| sum.saturating_add(*tsize));
        Ok(FolderRoot { cid, tsize })
    }
}
