//! Folders too large for one block, sharded into a hash array mapped trie
//! (<https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory>).
//!
//! A shard has as many slots as its fanout says. The hash of a name says which slot the entry has in
//! the topmost shard; where several entries have the same one, it leads to a further shard, which takes
//! the bits of the hash that follow, the most significant first. A link's name is the slot in upper-case
//! hexadecimal digits and then the entry's name, or nothing for a shard. A bitfield says which slots are
//! taken: a number in big-endian bytes without its leading zeros, slot 0 the least significant bit.

mod murmur3;
mod read;
mod write;

use cid::Cid;

use self::murmur3::murmur3_x64_64;
use super::error::DagError;

pub(super) use self::read::read;
pub(super) use self::write::build;

/// Slots of the shards that are written: the fanout of every profile.
pub(super) const FANOUT: Fanout = Fanout { bits: 8 };

/// murmur3-x64-64, the only hash that sharded folders have.
pub(super) const HASH_TYPE: u64 = 0x22;

/// The most bits that the shards above each other take together: a hash has no more.
const HASH_BITS: u32 = 64;

/// A link of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLink {
    /// The slot that it takes, less than the fanout. The slots of a shard's links ascend.
    pub slot: u64,
    /// The name of the folder's entry under it, which [`check_name`](super::check_name) accepts; none
    /// for a further shard.
    pub name: Option<String>,
    /// The entry, or the shard.
    pub cid: Cid,
    /// Bytes of all blocks below, as the writer says; nothing checks it.
    pub tsize: u64,
}

/// How many slots a shard has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fanout {
    bits: u32,
}

impl Fanout {
    /// The widest that is accepted, as in boxo; a wider one makes readers allocate without bound
    /// (CVE-2023-23625).
    pub(super) const MAX: u64 = 1024;

    /// None unless it is a power of two from 8 to 1,024.
    pub(super) fn new(slots: u64) -> Option<Self> {
        let possible = slots.is_power_of_two() && (8..=Self::MAX).contains(&slots);
        possible.then(|| Self {
            bits: slots.trailing_zeros(),
        })
    }

    pub(super) fn slots(self) -> u64 {
        1 << self.bits
    }

    fn bitfield_bytes(self) -> usize {
        self.slots() as usize / 8
    }

    /// Hexadecimal digits before the name of each link.
    fn digits(self) -> usize {
        self.bits.div_ceil(4) as usize
    }
}

/// Sets the bit of a slot.
fn set_slot(bitfield: &mut [u8], slot: u64) {
    let last = bitfield.len() - 1;
    bitfield[last - slot as usize / 8] |= 1 << (slot % 8);
}

fn without_leading_zeros(bitfield: &[u8]) -> &[u8] {
    let zeros = bitfield.iter().take_while(|byte| **byte == 0).count();
    &bitfield[zeros..]
}

/// The first `bits` bits of a hash, as a number. A hash has [`HASH_BITS`].
fn first_bits(hash: u64, bits: u32) -> u64 {
    hash.checked_shr(HASH_BITS - bits).unwrap_or(0)
}

/// Where a shard stands in its folder: how the hashes of the names below it begin.
///
/// A reader checks each shard against its position before it goes on. Since every shard below the
/// topmost has to lead to a name, and a name's hash allows one position only, a few shards that repeat
/// each other cannot stand for a folder without end.
///
/// ```
/// use ipfs_accelerate::{Cid, Node, ShardPosition, Store, StoreError};
///
/// /// Counts the entries of a sharded folder: `count(&store, &cid, ShardPosition::top())`.
/// fn count(store: &Store, shard: &Cid, at: ShardPosition) -> Result<u64, StoreError> {
///     let node = store.get_node(shard)?;
///     at.check(shard, &node)?;
///     let mut entries = 0;
///     if let Node::Shard { fanout, links } = &*node {
///         for link in links {
///             entries += match link.name {
///                 Some(_) => 1,
///                 None => count(store, &link.cid, at.below(*fanout, link.slot))?,
///             };
///         }
///     }
///     Ok(entries)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardPosition {
    /// Bits that the shards above have taken.
    bits: u32,
    /// Those bits.
    prefix: u64,
    /// The fanout above; none for the topmost shard.
    fanout: Option<u64>,
}

impl ShardPosition {
    /// The position of the topmost shard, which the folder's CID names.
    pub fn top() -> Self {
        Self::default()
    }

    /// The position of the shard that a slot of the one here leads to.
    pub fn below(&self, fanout: u64, slot: u64) -> Self {
        let bits = fanout.checked_ilog2().unwrap_or(0);
        Self {
            bits: self.bits.saturating_add(bits),
            prefix: self.prefix.checked_shl(bits).unwrap_or(0) | slot,
            fanout: Some(fanout),
        }
    }

    /// The slot of the shard here that a name's hash leads to.
    pub(crate) fn slot_of(&self, fanout: u64, name: &str) -> u64 {
        let bits = self.below(fanout, 0).bits.min(HASH_BITS);
        first_bits(murmur3_x64_64(name.as_bytes()), bits) % fanout.max(1)
    }

    /// Checks that a node can be the shard here: that it is one, has the fanout of those above, needs
    /// no more bits than a hash has, has a link unless it is the topmost, and that the hash of every
    /// name in it leads to the slot that the name is in.
    ///
    /// # Errors
    ///
    /// [`DagError::Shard`] otherwise.
    pub fn check(&self, cid: &Cid, node: &super::Node) -> Result<(), DagError> {
        self.fault(node).map_err(|fault| DagError::Shard {
            cid: *cid,
            fault: Box::new(fault),
        })
    }

    fn fault(&self, node: &super::Node) -> Result<(), ShardFault> {
        let super::Node::Shard { fanout, links } = node else {
            return Err(ShardFault::OtherNode);
        };
        if let Some(above) = self.fanout {
            if *fanout != above {
                return Err(ShardFault::OtherFanout {
                    fanout: *fanout,
                    above,
                });
            }
            if links.is_empty() {
                return Err(ShardFault::Empty);
            }
        }
        let bits = self.below(*fanout, 0).bits;
        if bits > HASH_BITS {
            return Err(ShardFault::TooDeep { bits });
        }
        for link in links {
            let Some(name) = &link.name else { continue };
            let leads_to = first_bits(murmur3_x64_64(name.as_bytes()), bits);
            let here = self.below(*fanout, link.slot).prefix;
            if leads_to != here {
                return Err(ShardFault::Misplaced {
                    name: name.clone(),
                    bits,
                    here,
                    leads_to,
                });
            }
        }
        Ok(())
    }
}

/// Why a shard cannot stand where a link led to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardFault {
    /// The link of a shard that should lead to a further one leads to something else.
    #[error("it is no shard of a folder, as the link to it says")]
    OtherNode,
    /// The shards of a folder have different widths, which readers take in different ways.
    #[error("its fanout is {fanout}, that of the shard above {above}")]
    OtherFanout {
        /// The width that it states.
        fanout: u64,
        /// The one above.
        above: u64,
    },
    /// A shard other than the topmost has no links.
    #[error("it has no links, which only the topmost shard of a folder may have")]
    Empty,
    /// So many shards stand above each other that a hash has no bits left for this one.
    #[error("down to it {bits} bits of a hash are needed, and a hash has 64")]
    TooDeep {
        /// The bits that its slots would need.
        bits: u32,
    },
    /// A name stands where its hash does not lead, so a look-up would not find it.
    #[error(
        "\"{}\" stands where hashes begin with the {bits} bits {here:#x}, and its own begins with \
         {leads_to:#x}", name.escape_debug()
    )]
    Misplaced {
        /// The name.
        name: String,
        /// Bits compared.
        bits: u32,
        /// The bits that lead to where it stands.
        here: u64,
        /// The bits of its hash.
        leads_to: u64,
    },
}

#[cfg(test)]
mod tests;
