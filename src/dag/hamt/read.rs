//! Reading one shard.

use std::ops::Range;

use super::{Fanout, HASH_TYPE, ShardLink, set_slot, without_leading_zeros};
use crate::dag::dagpb::PbLink;
use crate::dag::error::Malformed;
use crate::dag::folder::check_name;
use crate::dag::node::Node;
use crate::dag::unixfs::UnixFs;

/// The shard that a block's links and message say.
pub(in crate::dag) fn read(
    block: &[u8],
    unixfs: &UnixFs,
    links: Vec<PbLink<'_>>,
) -> Result<Node, Malformed> {
    let missing = |field| Malformed::Missing {
        message: "UnixFS Data",
        field,
    };
    let hash_type = unixfs.hash_type.ok_or_else(|| missing("hashType"))?;
    if hash_type != HASH_TYPE {
        return Err(Malformed::ShardHash { hash_type });
    }
    let stated = unixfs.fanout.ok_or_else(|| missing("fanout"))?;
    let fanout = Fanout::new(stated).ok_or(Malformed::Fanout {
        fanout: stated,
        limit: Fanout::MAX,
    })?;
    let mut read: Vec<ShardLink> = Vec::with_capacity(links.len());
    for link in links {
        let link = shard_link(fanout, link)?;
        match read.last() {
            Some(last) if last.slot >= link.slot => {
                return Err(Malformed::ShardOrder {
                    slot: link.slot,
                    after: last.slot,
                });
            }
            _ => read.push(link),
        }
    }
    // Without a taken slot the field may be absent.
    let bitfield = unixfs.data.clone().unwrap_or(Range { start: 0, end: 0 });
    check_bitfield(fanout, &block[bitfield], &read)?;
    Ok(Node::Shard {
        fanout: fanout.slots(),
        links: read,
    })
}

fn shard_link(fanout: Fanout, link: PbLink<'_>) -> Result<ShardLink, Malformed> {
    let fault = || Malformed::ShardLink {
        name: link.name.to_owned(),
        digits: fanout.digits(),
        fanout: fanout.slots(),
    };
    let (digits, name) = link
        .name
        .split_at_checked(fanout.digits())
        .ok_or_else(fault)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    if !digits.bytes().all(is_digit) {
        return Err(fault());
    }
    let slot = u64::from_str_radix(digits, 16).map_err(|_| fault())?;
    if slot >= fanout.slots() {
        return Err(fault());
    }
    if !name.is_empty() {
        check_name(name)?;
    }
    Ok(ShardLink {
        slot,
        name: (!name.is_empty()).then(|| name.to_owned()),
        cid: link.cid,
        tsize: link.tsize,
    })
}

fn check_bitfield(fanout: Fanout, bitfield: &[u8], links: &[ShardLink]) -> Result<(), Malformed> {
    if bitfield.len() > fanout.bitfield_bytes() {
        return Err(Malformed::ShardBitfieldLength {
            len: bitfield.len(),
            limit: fanout.bitfield_bytes(),
        });
    }
    let mut taken = vec![0; fanout.bitfield_bytes()];
    for link in links {
        set_slot(&mut taken, link.slot);
    }
    if without_leading_zeros(bitfield) == without_leading_zeros(&taken) {
        return Ok(());
    }
    let bit = |bytes: &[u8], slot: u64| {
        let byte = bytes.len().checked_sub(1 + slot as usize / 8);
        byte.is_some_and(|at| bytes[at] >> (slot % 8) & 1 == 1)
    };
    let differs = |slot: &u64| bit(bitfield, *slot) != bit(&taken, *slot);
    let slot = (0..fanout.slots()).find(differs).unwrap_or_default();
    Err(Malformed::ShardBitfield {
        slot,
        has_link: bit(&taken, slot),
    })
}
