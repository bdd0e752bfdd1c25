//! UnixFS: how files and folders become blocks, and how such blocks are read.
//!
//! Bytes in, bytes out; nothing here touches a file. Formats: [UnixFS](https://specs.ipfs.tech/unixfs/),
//! [DAG-PB](https://ipld.io/specs/codecs/dag-pb/spec/), profiles by
//! [IPIP-499](https://specs.ipfs.tech/ipips/ipip-0499/).

mod chunker;
mod dagpb;
mod error;
mod file;
mod folder;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod hamt;
mod node;
mod profile;
mod protobuf;
mod unixfs;

pub(crate) use self::chunker::{ChunkReader, Cut, Cutter};
pub use self::chunker::{Chunker, ChunkerError};
pub use self::error::{DagError, Malformed};
pub use self::file::{FileBuilder, FileRoot, cid_of_reader, leaf};
pub(crate) use self::file::{LeafBlock, LeafHash};
pub use self::folder::{
    FolderEntry, FolderRoot, NameError, NameFault, build_folder, check_name, cumulative_size,
    symlink_node,
};
pub use self::hamt::{ShardFault, ShardLink, ShardPosition};
pub use self::node::{FileChild, Node, decode};
pub use self::profile::{FolderLimit, FolderMeasure, LeafFormat, Profile, ProfileError};

/// The largest block that is read or written: what
/// [Bitswap](https://specs.ipfs.tech/bitswap-protocol/#block-sizes) transfers.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;
