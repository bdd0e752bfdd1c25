//! What can be wrong with a DAG.

use cid::Cid;

use super::folder::NameError;
use super::hamt::ShardFault;
use crate::block::CidFault;
use crate::error::Explain;

/// A block that cannot be read as UnixFS, or a folder that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DagError {
    /// The block is not what its codec says.
    #[error("{cid} is not a readable UnixFS block: {fault}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong, and where.
        #[source]
        fault: Box<Malformed>,
    },
    /// The block is larger than any that IPFS nodes exchange.
    #[error("{cid} has {len} bytes, a block may have {limit}")]
    BlockTooLarge {
        /// The block.
        cid: Cid,
        /// Its length in bytes.
        len: usize,
        /// [`MAX_BLOCK_BYTES`](super::MAX_BLOCK_BYTES).
        limit: usize,
    },
    /// The block holds something other than a file or a folder.
    #[error("{cid} has codec {codec:#x}; files and folders have raw (0x55) or dag-pb (0x70)")]
    Codec {
        /// The block.
        cid: Cid,
        /// Its codec.
        codec: u64,
    },
    /// A name that an entry of a folder cannot have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A shard is well-formed and cannot stand where a link led to it.
    #[error("{cid} is not the shard that its folder should have there: {fault}")]
    Shard {
        /// The block.
        cid: Cid,
        /// Why not.
        #[source]
        fault: Box<ShardFault>,
    },
    /// Two names of a folder that has to be sharded have the same hash, so that no shard can tell
    /// them apart. Names are like that on purpose only.
    #[error(
        "\"{}\" and \"{}\" have the same murmur3-x64-64 hash and cannot stand in one sharded folder",
        first.escape_debug(), second.escape_debug()
    )]
    HashCollision {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
}

impl Explain for DagError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "block_malformed",
            Self::BlockTooLarge { .. } => "block_too_large",
            Self::Codec { .. } => "codec_unknown",
            Self::Name(error) => error.kind(),
            Self::Shard { .. } => "shard_misplaced",
            Self::HashCollision { .. } => "name_collision",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::HashCollision { .. } => {
                Some("rename one of them, or move one to another folder".into())
            }
            Self::Name(error) => error.hint(),
            _ => None,
        }
    }
}

/// What is wrong with the bytes of a dag-pb or UnixFS block. Offsets count from the block's start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A field says that it is longer than what is left.
    #[error("{message}: at byte {offset}, {needed} bytes should follow and {left} do")]
    Truncated {
        /// The protobuf message being read.
        message: &'static str,
        /// Where.
        offset: usize,
        /// Bytes that should follow.
        needed: u64,
        /// Bytes that do.
        left: usize,
    },
    /// A number does not fit 64 bits.
    #[error("{message}: the number at byte {offset} is longer than 64 bits")]
    Varint {
        /// The protobuf message being read.
        message: &'static str,
        /// Where.
        offset: usize,
    },
    /// A field that the message does not have, or of a type that it does not have there.
    #[error("{message}: at byte {offset}, field {field} of wire type {wire_type} is not expected")]
    UnexpectedField {
        /// The protobuf message being read.
        message: &'static str,
        /// Where.
        offset: usize,
        /// Number of the field.
        field: u64,
        /// Protobuf wire type.
        wire_type: u8,
    },
    /// A field stands twice.
    #[error("{message}: at byte {offset}, field {field} stands a second time")]
    RepeatedField {
        /// The protobuf message being read.
        message: &'static str,
        /// Where.
        offset: usize,
        /// Number of the field.
        field: u64,
    },
    /// A field stands behind one that should follow it.
    #[error("{message}: at byte {offset}, field {field} is out of order")]
    OutOfOrder {
        /// The protobuf message being read.
        message: &'static str,
        /// Where.
        offset: usize,
        /// Number of the field.
        field: u64,
    },
    /// A field is not there.
    #[error("{message}: {field} is missing")]
    Missing {
        /// The protobuf message.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
    },
    /// A link leads to something that is not a CID.
    #[error("the link at byte {offset} has no valid CID: {fault}")]
    LinkCid {
        /// Where.
        offset: usize,
        /// What is wrong with it.
        #[source]
        fault: CidFault,
    },
    /// A name or a symlink's target is not text.
    #[error("the text at byte {offset} is not UTF-8: {source}")]
    Text {
        /// Where.
        offset: usize,
        /// What is wrong with it.
        source: std::str::Utf8Error,
    },
    /// A kind of node that UnixFS does not have.
    #[error("UnixFS has no node type {value}")]
    UnknownType {
        /// The number found.
        value: u64,
    },
    /// A kind of node that exists and is not read here.
    #[error("UnixFS nodes of type {name} are not supported")]
    UnsupportedType {
        /// Its name in the specification.
        name: &'static str,
    },
    /// A kind of node that has no links has some.
    #[error("a UnixFS node of type {name} has {links} links and should have none")]
    UnexpectedLinks {
        /// Its name in the specification.
        name: &'static str,
        /// Links found.
        links: usize,
    },
    /// A file does not give one size for each link.
    #[error("the file has {links} links and {sizes} block sizes")]
    BlockSizes {
        /// Links found.
        links: usize,
        /// Sizes found.
        sizes: usize,
    },
    /// A file's size is not the sum of its parts.
    #[error("the file says it has {stated} bytes, its parts have {}", Sum(*found))]
    FileSize {
        /// The size it states.
        stated: u64,
        /// The sum, unless it exceeds 64 bits.
        found: Option<u64>,
    },
    /// A shard of a folder has an impossible or a dangerous width (CVE-2023-23625).
    #[error("the folder's shard has a fanout of {fanout}, not a power of two from 8 to {limit}")]
    Fanout {
        /// The width it states.
        fanout: u64,
        /// The largest accepted.
        limit: u64,
    },
    /// A shard of a folder places names by a hash that is not supported.
    #[error("the folder's shard has hash type {hash_type:#x}, not murmur3-x64-64 (0x22)")]
    ShardHash {
        /// The multihash code it states.
        hash_type: u64,
    },
    /// The name of a shard's link does not begin with a slot of the shard.
    #[error(
        "the shard's link \"{}\" does not begin with {digits} upper-case hexadecimal digits of a slot \
         under {fanout}", name.escape_debug()
    )]
    ShardLink {
        /// The link's name.
        name: String,
        /// Digits that it should begin with.
        digits: usize,
        /// Slots of the shard.
        fanout: u64,
    },
    /// A link of a shard stands behind one whose slot is the same or a later one.
    #[error("the shard's link to slot {slot:#x} stands behind that to slot {after:#x}")]
    ShardOrder {
        /// Its slot.
        slot: u64,
        /// The slot of the link before it.
        after: u64,
    },
    /// A shard's bitfield has more bits than the shard has slots.
    #[error("the shard's bitfield has {len} bytes, its fanout allows {limit}")]
    ShardBitfieldLength {
        /// Bytes found.
        len: usize,
        /// Bytes that hold one bit for each slot.
        limit: usize,
    },
    /// A shard's bitfield says something else than its links.
    #[error(
        "the shard {} a link to slot {slot:#x}, and its bitfield says the opposite",
        if *has_link { "has" } else { "lacks" }
    )]
    ShardBitfield {
        /// The first slot that they differ in.
        slot: u64,
        /// Whether a link leads to it.
        has_link: bool,
    },
    /// An entry of a folder has a name that no entry can have.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Prints a sum that may have overflowed.
struct Sum(Option<u64>);

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(sum) => sum.fmt(f),
            None => f.write_str("more than 64 bits can count"),
        }
    }
}

impl Explain for Malformed {
    fn kind(&self) -> &'static str {
        "block_malformed"
    }
}
