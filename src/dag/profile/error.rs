//! Text and settings that make no profile.

use super::{MAX_LINKS, Profile};
use crate::block::HashFunction;
use crate::dag::chunker::ChunkerError;
use crate::error::Explain;

/// Text that does not name a profile, or settings that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No profile has that name.
    #[error("no profile is called \"{}\"; known are {}", name.escape_debug(), known())]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// A setting behind the name that is not one.
    #[error("\"{}\" is not a setting of a profile", text.escape_debug())]
    Setting {
        /// What stands between two `+`.
        text: String,
    },
    /// Text that is no chunker.
    #[error(transparent)]
    Chunker(#[from] ChunkerError),
    /// A setting is outside what blocks can hold.
    #[error("{setting} of a profile must be from {min} to {max}, not {value}")]
    OutOfRange {
        /// `chunk` or `links`.
        setting: &'static str,
        /// The value asked for.
        value: usize,
        /// The smallest possible.
        min: usize,
        /// The largest possible.
        max: usize,
    },
    /// Chunks that make blocks over 2 MiB once they are framed.
    #[error("chunks of {chunk_bytes} bytes do not fit a block of dag-pb, {longest} do")]
    FrameTooLarge {
        /// The length asked for.
        chunk_bytes: usize,
        /// The largest possible.
        longest: usize,
    },
    /// CIDv0 names sha2-256 only.
    #[error("CIDv0 cannot name {hash}")]
    HashNeedsV1 {
        /// The hash function asked for.
        hash: HashFunction,
    },
}

fn known() -> String {
    let names: Vec<_> = Profile::all()
        .into_iter()
        .map(|profile| profile.name)
        .collect();
    names.join(", ")
}

impl Explain for ProfileError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "profile_unknown",
            _ => "profile_setting_invalid",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Setting { .. } => Some(
                "settings follow the name, as in unixfs-v1-2025+chunk=size-262144+links=174; there are \
                 chunk, links, leaves=raw or dag-pb, hash=sha2-256 or blake3, and cid=0 or 1"
                    .into(),
            ),
            Self::OutOfRange { setting: "links", .. } => Some(format!(
                "a node of more than {} links would exceed what other implementations read",
                MAX_LINKS.end()
            )),
            Self::Unknown { .. } | Self::Chunker(_) | Self::OutOfRange { .. } => None,
            Self::FrameTooLarge { .. } => {
                Some("take shorter chunks, or raw leaves, which can also be mapped".into())
            }
            Self::HashNeedsV1 { .. } => {
                Some("take CIDv1 as well: --cid-version 1, or +cid=1 in a profile's name".into())
            }
        }
    }
}
