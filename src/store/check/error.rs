//! Why content cannot be compared with a CID.

use crate::block::{Cid, HashFunction};
use crate::error::Explain;
use crate::store::error::StoreError;

/// An error of [`check_path`](crate::check_path) and [`check_reader`](crate::check_reader).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The content cannot be read, or the object that it was to be compared with.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CID is of a kind that files and folders do not have.
    #[error(
        "{cid} names a block of codec {codec:#x}; files and folders are raw (0x55) or dag-pb (0x70)"
    )]
    Codec {
        /// The CID.
        cid: Cid,
        /// Its codec.
        codec: u64,
    },
    /// The CID carries its block in itself.
    #[error("{cid} is an identity CID: it holds its block itself, and no profile makes such a CID")]
    Identity {
        /// The CID.
        cid: Cid,
    },
    /// The CID's hash function is one this build cannot compute.
    #[error("{cid} cannot be checked: hash function {code:#x} is not known here")]
    Hash {
        /// The CID.
        cid: Cid,
        /// Its multihash code.
        code: u64,
    },
    /// The CID's digest was cut off, or is no digest of its hash function.
    #[error("{cid} has a digest of {len} bytes, and those of every profile have {DIGEST_BYTES}")]
    Digest {
        /// The CID.
        cid: Cid,
        /// Length of its digest in bytes.
        len: usize,
    },
}

/// What every hash function here gives.
const DIGEST_BYTES: usize = 32;

/// The hash function of a CID that a file or folder can have.
pub(super) fn hash_of(cid: &Cid) -> Result<HashFunction, CheckError> {
    use crate::block::{DAG_PB, IDENTITY, RAW};

    let (cid, hash) = (*cid, cid.hash());
    if hash.code() == IDENTITY {
        return Err(CheckError::Identity { cid });
    }
    if !matches!(cid.codec(), RAW | DAG_PB) {
        let codec = cid.codec();
        return Err(CheckError::Codec { cid, codec });
    }
    let code = hash.code();
    let function = HashFunction::from_code(code).ok_or(CheckError::Hash { cid, code })?;
    match hash.digest().len() {
        DIGEST_BYTES => Ok(function),
        len => Err(CheckError::Digest { cid, len }),
    }
}

impl Explain for CheckError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Store(e) => e.kind(),
            Self::Codec { .. } => "not_a_file_cid",
            Self::Identity { .. } => "identity_cid",
            Self::Hash { .. } => "hash_unknown",
            Self::Digest { .. } => "digest_length",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.hint(),
            Self::Codec { .. } => Some("name the CID of a file or folder".into()),
            Self::Identity { .. } => Some("compare the file with the bytes in the CID".into()),
            Self::Hash { .. } => {
                let known = HashFunction::ALL.iter().map(|hash| hash.name());
                let known: Vec<_> = known.collect();
                Some(format!("known hash functions: {}", known.join(", ")))
            }
            Self::Digest { .. } => Some("take the CID whole".into()),
        }
    }
}
