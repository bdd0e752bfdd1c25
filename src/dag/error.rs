//! What can be wrong with a DAG.

use cid::Cid;

use super::folder::NameError;
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
    /// The folder is so large that it has to be split into a HAMT.
    #[error(
        "a folder of {entries} entries ({size} bytes, at most {limit} fit one block) has to be \
         sharded (HAMT), and sharded folders are not built yet"
    )]
    NeedsHamt {
        /// Entries in the folder.
        entries: usize,
        /// Its size in bytes as the profile measures it.
        size: u64,
        /// The largest size that stays in one block.
        limit: u64,
    },
}

impl Explain for DagError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "block_malformed",
            Self::BlockTooLarge { .. } => "block_too_large",
            Self::Codec { .. } => "codec_unknown",
            Self::Name(error) => error.kind(),
            Self::NeedsHamt { .. } => "folder_too_large",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsHamt { .. } => {
                Some("spread the files over subfolders; checkpoints rarely have so many".into())
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
