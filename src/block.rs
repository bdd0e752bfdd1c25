//! Blocks, their hashes and their content identifiers: the values that everything above is made of.
//!
//! A CID is a version, a codec and a multihash
//! ([CID specification](https://github.com/multiformats/cid)). Blocks are told apart by their
//! multihash, objects by their CIDv1 (see [`canonical`]).

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod parse;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cid::Version;
use sha2::{Digest, Sha256};

pub use self::parse::{CidError, CidFault, MIN_DIGEST_BYTES, cid_from_bytes, parse_cid};
pub use cid::{Cid, Version as CidVersion};

use crate::error::Explain;

/// The hash of a block, with the code of its function, in at most 64 bytes.
pub type Multihash = multihash::Multihash<64>;

/// Codec of a block that is nothing but bytes (`raw` in the multicodec table).
pub const RAW: u64 = 0x55;
/// Codec of a block that links to others (`dag-pb`).
pub const DAG_PB: u64 = 0x70;
/// Multihash code of [`HashFunction::Sha2_256`].
pub const SHA2_256: u64 = 0x12;
/// Multihash code of [`HashFunction::Blake3`].
pub const BLAKE3: u64 = 0x1e;
/// Multihash code of the identity "hash": the digest is the data itself.
pub const IDENTITY: u64 = 0x00;

/// A hash function that blocks can be made and checked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashFunction {
    /// SHA-256, what every IPFS implementation reads.
    #[default]
    Sha2_256,
    /// BLAKE3 with 32 bytes of output: several times as fast, and known to fewer implementations.
    Blake3,
}

impl HashFunction {
    /// Every function this build can compute.
    pub const ALL: &'static [Self] = &[Self::Sha2_256, Self::Blake3];

    /// The code in the multihash table.
    pub const fn code(self) -> u64 {
        match self {
            Self::Sha2_256 => SHA2_256,
            Self::Blake3 => BLAKE3,
        }
    }

    /// The name in the multihash table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha2_256 => "sha2-256",
            Self::Blake3 => "blake3",
        }
    }

    /// The function with that multihash code, if this build can compute it.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|function| function.code() == code)
    }

    /// Hashes `data`.
    pub fn digest(self, data: &[u8]) -> Multihash {
        self.digest_of_parts(&[data])
    }

    /// Hashes parts that follow each other.
    pub(crate) fn digest_of_parts(self, parts: &[&[u8]]) -> Multihash {
        let digest: [u8; 32] = match self {
            Self::Sha2_256 => {
                let mut hasher = Sha256::new();
                parts.iter().for_each(|part| hasher.update(part));
                hasher.finalize().into()
            }
            Self::Blake3 => {
                let mut hasher = blake3::Hasher::new();
                for part in parts {
                    hasher.update(part);
                }
                hasher.finalize().into()
            }
        };
        Multihash::wrap(self.code(), &digest).expect("a digest of at most 64 bytes")
    }
}

impl FromStr for HashFunction {
    type Err = UnknownHashName;

    fn from_str(name: &str) -> Result<Self, UnknownHashName> {
        let mut known = Self::ALL.iter().copied();
        known
            .find(|function| function.name() == name)
            .ok_or_else(|| UnknownHashName(name.to_owned()))
    }
}

/// A name that no hash function of this build has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no hash function is called \"{}\"; known are {}", .0.escape_debug(), hash_names())]
pub struct UnknownHashName(pub String);

fn hash_names() -> String {
    let known: Vec<_> = HashFunction::ALL.iter().map(|hash| hash.name()).collect();
    known.join(", ")
}

impl fmt::Display for HashFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes together with the CID they were hashed to or checked against.
///
/// There is no way to make one from bytes that do not match.
///
/// ```
/// use ipfs_accelerate::{Block, HashFunction, RAW};
///
/// let block = Block::new(RAW, HashFunction::Sha2_256, &b"hello world"[..]);
/// assert_eq!(
///     block.cid().to_string(),
///     "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
/// );
/// assert!(Block::verified(*block.cid(), &b"hello w0rld"[..]).is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    data: Arc<[u8]>,
}

impl Block {
    /// Hashes `data` and names it with a CIDv1 of that codec.
    pub fn new(codec: u64, hash: HashFunction, data: impl Into<Arc<[u8]>>) -> Self {
        let data = data.into();
        let cid = Cid::new_v1(codec, hash.digest(&data));
        Self { cid, data }
    }

    /// Ties `data` to `cid` after hashing it.
    ///
    /// # Errors
    ///
    /// As [`verify`].
    pub fn verified(cid: Cid, data: impl Into<Arc<[u8]>>) -> Result<Self, BlockError> {
        let data = data.into();
        verify(&cid, &data)?;
        Ok(Self { cid, data })
    }

    /// The identifier the bytes match.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The same bytes under another CID with the same multihash; none if the multihash differs.
    pub(crate) fn with_cid(&self, cid: Cid) -> Option<Self> {
        (cid.hash() == self.cid.hash()).then(|| Self {
            cid,
            data: Arc::clone(&self.data),
        })
    }

    /// For who has kept a block's bytes under its multihash: they were checked when that block was made.
    pub(crate) fn of_checked_data(cid: Cid, data: Arc<[u8]>) -> Self {
        Self { cid, data }
    }

    /// The bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, without a copy.
    pub fn into_data(self) -> Arc<[u8]> {
        self.data
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} bytes)", self.cid, self.data.len())
    }
}

/// Checks that `data` is what `cid` names: hashes it, or compares it with the bytes that an identity
/// CID carries.
///
/// A digest that was cut off is compared as far as it goes, down to [`MIN_DIGEST_BYTES`].
///
/// # Errors
///
/// [`BlockError`]: other bytes, a hash that this build cannot compute, or a digest too short to
/// trust.
pub fn verify(cid: &Cid, data: &[u8]) -> Result<(), BlockError> {
    let stated = cid.hash();
    if stated.code() == IDENTITY {
        if stated.digest() == data {
            return Ok(());
        }
        // Bytes that no digest can hold are named by their hash instead.
        let found = Multihash::wrap(IDENTITY, data)
            .unwrap_or_else(|_| HashFunction::default().digest(data));
        return Err(BlockError::mismatch(cid, found));
    }
    let Some(function) = HashFunction::from_code(stated.code()) else {
        return Err(BlockError::UnknownHash {
            cid: *cid,
            code: stated.code(),
        });
    };
    if stated.digest().len() < MIN_DIGEST_BYTES {
        return Err(BlockError::DigestTooShort {
            cid: *cid,
            len: stated.digest().len(),
        });
    }
    let found = function.digest(data).truncate(stated.size());
    if found == *stated {
        Ok(())
    } else {
        Err(BlockError::mismatch(cid, found))
    }
}

/// The name of a CID's hash function, as far as it is known here.
pub(crate) fn hash_name(cid: &Cid) -> &'static str {
    match cid.hash().code() {
        IDENTITY => "identity",
        code => HashFunction::from_code(code).map_or("unknown", HashFunction::name),
    }
}

/// The form objects are keyed by: CIDv1, which prints in base32. A CIDv0 becomes a dag-pb CIDv1 of
/// the same multihash.
pub fn canonical(cid: &Cid) -> Cid {
    Cid::new_v1(cid.codec(), *cid.hash())
}

/// The bytes an identity CID carries in itself; such blocks are never stored.
pub fn inline_data(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == IDENTITY).then(|| cid.hash().digest())
}

/// Bytes that cannot be accepted under a CID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The bytes belong to another CID.
    #[error("the bytes do not match {cid}: they are {found}")]
    Mismatch {
        /// The CID asked for.
        cid: Cid,
        /// The CID, of the same version and codec, that the bytes have.
        found: Box<Cid>,
    },
    /// The CID's hash function is one this build cannot compute.
    #[error("{cid} cannot be checked: hash function {code:#x} is not known here")]
    UnknownHash {
        /// The CID asked for.
        cid: Cid,
        /// Its multihash code.
        code: u64,
    },
    /// The CID's digest is so short that it proves nothing.
    #[error(
        "{cid} cannot be checked: its digest has {len} bytes, at least {MIN_DIGEST_BYTES} are needed"
    )]
    DigestTooShort {
        /// The CID asked for.
        cid: Cid,
        /// Length of its digest in bytes.
        len: usize,
    },
}

impl BlockError {
    fn mismatch(cid: &Cid, found: Multihash) -> Self {
        let found = match cid.version() {
            Version::V0 => Cid::new_v0(found).unwrap_or_else(|_| Cid::new_v1(DAG_PB, found)),
            Version::V1 => Cid::new_v1(cid.codec(), found),
        };
        Self::Mismatch {
            cid: *cid,
            found: Box::new(found),
        }
    }
}

impl Explain for BlockError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Mismatch { .. } => "block_mismatch",
            Self::UnknownHash { .. } => "hash_unknown",
            Self::DigestTooShort { .. } => "digest_too_short",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Mismatch { .. } => {
                Some("the bytes are damaged or are those of another block; fetch them again".into())
            }
            Self::UnknownHash { .. } => Some(format!("known hash functions: {}", hash_names())),
            Self::DigestTooShort { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(code: u64, digest: &[u8]) -> Cid {
        Cid::new_v1(RAW, Multihash::wrap(code, digest).unwrap())
    }

    #[test]
    fn a_block_is_verified_against_its_own_cid_only() {
        let block = Block::new(RAW, HashFunction::Sha2_256, vec![1, 2, 3]);
        let again = Block::verified(*block.cid(), vec![1, 2, 3]).unwrap();
        assert_eq!(again, block);
        assert_eq!(&*again.into_data(), [1, 2, 3]);

        let other = Block::new(RAW, HashFunction::Sha2_256, vec![1, 2, 4]);
        assert_eq!(
            Block::verified(*block.cid(), vec![1, 2, 4]).unwrap_err(),
            BlockError::Mismatch {
                cid: *block.cid(),
                found: Box::new(*other.cid())
            },
        );
    }

    #[test]
    fn a_cid_v0_is_verified_and_a_mismatch_names_a_cid_v0() {
        let data = [0x0a, 0x02, 0x08, 0x01];
        let v0 = Cid::new_v0(HashFunction::Sha2_256.digest(&data)).unwrap();
        assert_eq!(
            v0.to_string(),
            "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
        );
        assert!(Block::verified(v0, &data[..]).is_ok());
        let error = Block::verified(v0, &b"other"[..]).unwrap_err();
        let BlockError::Mismatch { found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(found.version(), Version::V0);
    }

    #[test]
    fn an_identity_cid_is_compared_with_the_bytes_it_carries() {
        let cid = raw(IDENTITY, b"inline");
        assert_eq!(inline_data(&cid), Some(&b"inline"[..]));
        assert!(Block::verified(cid, &b"inline"[..]).is_ok());
        let error = Block::verified(cid, &b"inlin"[..]).unwrap_err();
        assert_eq!(
            error,
            BlockError::Mismatch {
                cid,
                found: Box::new(raw(IDENTITY, b"inlin"))
            }
        );
        assert!(Block::verified(cid, vec![0; 65]).is_err());
        assert_eq!(
            inline_data(Block::new(RAW, HashFunction::Sha2_256, vec![]).cid()),
            None
        );
    }

    #[test]
    fn a_hash_that_cannot_be_computed_is_never_taken_on_trust() {
        let cid = raw(0x13, &[7; 64]);
        assert_eq!(
            verify(&cid, b""),
            Err(BlockError::UnknownHash { cid, code: 0x13 })
        );
    }

    #[test]
    fn a_cut_digest_is_compared_as_far_as_it_goes_but_not_under_20_bytes() {
        let digest = HashFunction::Sha2_256.digest(b"data");
        assert!(verify(&raw(SHA2_256, &digest.digest()[..20]), b"data").is_ok());
        assert!(verify(&raw(SHA2_256, &digest.digest()[..20]), b"other").is_err());
        for len in [0, 4, 19] {
            let cid = raw(SHA2_256, &digest.digest()[..len]);
            assert_eq!(
                verify(&cid, b"data"),
                Err(BlockError::DigestTooShort { cid, len })
            );
        }
        let longer = [digest.digest(), &[0]].concat();
        assert!(verify(&raw(SHA2_256, &longer), b"data").is_err());
    }

    #[test]
    fn the_canonical_form_of_a_cid_v0_is_a_dag_pb_cid_v1() {
        let v0 = parse_cid("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn").unwrap();
        let v1 = canonical(&v0);
        assert_eq!(
            v1.to_string(),
            "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
        );
        assert_eq!(canonical(&v1), v1);
    }

    #[test]
    fn a_hash_function_is_found_by_its_code() {
        assert_eq!(
            HashFunction::from_code(SHA2_256),
            Some(HashFunction::Sha2_256)
        );
        assert_eq!(HashFunction::from_code(IDENTITY), None);
        assert_eq!(HashFunction::Sha2_256.to_string(), "sha2-256");
    }
}
