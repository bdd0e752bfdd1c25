//! What is compared: a way to keep blocks, and its settings.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ipfs_accelerate::{Block, Cid};

use super::packs::Packs;
use super::sled_blocks::{SledBlocks, SledSetup};

/// Blocks under their CIDs.
pub(crate) trait BlockStore {
    /// Puts the blocks, and returns once the store says that they are durable.
    fn write(&self, blocks: &mut dyn Iterator<Item = Block>) -> Result<(), Box<dyn Error>>;
    /// The block, its bytes checked against the CID.
    fn get(&self, cid: &Cid) -> Result<Option<Block>, Box<dyn Error>>;
    fn has(&self, cid: &Cid) -> Result<bool, Box<dyn Error>>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sled(SledSetup),
    Packs,
}

impl Side {
    /// The sides of the table, for chunks of this length.
    pub(crate) fn compared(chunk_bytes: usize) -> [Self; 4] {
        [
            Self::Sled(SledSetup::documented()),
            Self::Sled(SledSetup::tuned(chunk_bytes)),
            Self::Sled(SledSetup::tuned(chunk_bytes).synced()),
            Self::Packs,
        ]
    }

    /// How the table calls it.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Packs => "packs, sled rows",
            Self::Sled(setup) if *setup == SledSetup::documented() => "sled values, defaults",
            Self::Sled(setup) if setup.synced => "sled values, tuned, syncfs",
            Self::Sled(_) => "sled values, tuned",
        }
    }

    /// Opens the store at `path`, or makes it.
    pub(crate) fn open(&self, path: &Path) -> Result<Box<dyn BlockStore>, Box<dyn Error>> {
        Ok(match self {
            Self::Sled(setup) => Box::new(SledBlocks::open(path, setup)?),
            Self::Packs => Box::new(Packs::open(path)?),
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(setup) => write!(f, "{setup}"),
            Self::Packs => f.write_str("packs"),
        }
    }
}

impl FromStr for Side {
    type Err = Box<dyn Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "packs" => Ok(Self::Packs),
            _ => text.parse().map(Self::Sled),
        }
    }
}
