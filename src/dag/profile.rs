//! Profiles: the settings that decide which CID a file or a folder gets.

mod candidates;
mod error;

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use cid::{Cid, Version};

pub use self::error::ProfileError;
use super::chunker::{CHUNK_BYTES, Chunker};
use crate::block::{Block, DAG_PB, HashFunction, Multihash};

/// A node of 8,192 links has about half a MiB.
const MAX_LINKS: RangeInclusive<usize> = 2..=8192;

const UNIXFS_V1_2025: &str = "unixfs-v1-2025";
const UNIXFS_V0_2015: &str = "unixfs-v0-2015";
const KUBO_CIDV1: &str = "kubo-cidv1";

/// How the chunks of a file become blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeafFormat {
    /// A block is the chunk and nothing else, so that files can be mapped out of a store.
    Raw,
    /// A chunk is framed in a dag-pb node, as everything was before CIDv1. Bytes of such files are never
    /// contiguous, so they are loaded by copying.
    DagPb,
}

impl LeafFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::DagPb => "dag-pb",
        }
    }
}

/// The settings that decide which CID a file or a folder gets, after
/// [IPIP-499](https://specs.ipfs.tech/ipips/ipip-0499/). All lay files out as balanced trees.
///
/// A profile is written and read as its name; settings that were changed follow it.
///
/// ```
/// use ipfs_accelerate::{Chunker, HashFunction, Profile};
///
/// let profile: Profile = "kubo-cidv1".parse()?;
/// assert_eq!((profile.chunker(), profile.max_links()), (Chunker::Size(262_144), 174));
///
/// let changed = Profile::default().with_chunker(Chunker::TensorV1)?.with_hash(HashFunction::Blake3)?;
/// assert_eq!(changed.to_string(), "unixfs-v1-2025+chunk=tensor-v1+hash=blake3");
/// assert_eq!(changed.to_string().parse::<Profile>()?, changed);
/// # Ok::<(), ipfs_accelerate::ProfileError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    base: &'static str,
    name: Cow<'static, str>,
    chunker: Chunker,
    leaves: LeafFormat,
    max_links: usize,
    hash: HashFunction,
    cid_version: Version,
    folder_limit: FolderLimit,
}

/// Up to which size a folder stays in one block. A larger one is sharded into a HAMT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderLimit {
    /// What is measured.
    pub measure: FolderMeasure,
    /// The largest size in bytes that stays in one block.
    pub max_bytes: u64,
}

/// How the size of a folder is measured against its [`FolderLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderMeasure {
    /// The whole serialized block.
    Block,
    /// The lengths of all names and binary CIDs, an estimate.
    Links,
}

impl Profile {
    /// `unixfs-v1-2025`: CIDv1, sha2-256, chunks of 1 MiB, 1,024 links, raw leaves; a folder whose
    /// block exceeds 256 KiB is sharded.
    pub const fn unixfs_v1_2025() -> Self {
        Self {
            base: UNIXFS_V1_2025,
            name: Cow::Borrowed(UNIXFS_V1_2025),
            chunker: Chunker::Size(1 << 20),
            leaves: LeafFormat::Raw,
            max_links: 1024,
            hash: HashFunction::Sha2_256,
            cid_version: Version::V1,
            folder_limit: FolderLimit {
                measure: FolderMeasure::Block,
                max_bytes: 256 << 10,
            },
        }
    }

    /// `unixfs-v0-2015`: what `ipfs add` did by default for ten years: CIDv0, sha2-256, chunks of 256 KiB,
    /// 174 links, leaves framed in dag-pb. A folder is sharded when the lengths of its names and CIDs exceed
    /// 256 KiB, as the vectors of IPIP-499 have it; Kubo before that also sharded one of exactly so many.
    pub const fn unixfs_v0_2015() -> Self {
        Self {
            base: UNIXFS_V0_2015,
            name: Cow::Borrowed(UNIXFS_V0_2015),
            chunker: Chunker::Size(256 << 10),
            leaves: LeafFormat::DagPb,
            max_links: 174,
            hash: HashFunction::Sha2_256,
            cid_version: Version::V0,
            folder_limit: FolderLimit {
                measure: FolderMeasure::Links,
                max_bytes: 256 << 10,
            },
        }
    }

    /// `kubo-cidv1`: what `ipfs add --cid-version=1` did before `unixfs-v1-2025`: chunks of 256 KiB,
    /// 174 links, raw leaves.
    ///
    /// A folder is sharded when the lengths of its names and CIDs reach 256 KiB: the comparison was
    /// `>=` up to boxo v0.36 and is `>` since v0.37, which came with IPIP-499
    /// ([ipfs/boxo#1088](https://github.com/ipfs/boxo/pull/1088)). A folder of exactly 262,144
    /// therefore differs between versions of Kubo; this profile follows the older ones.
    pub const fn kubo_cidv1() -> Self {
        Self {
            base: KUBO_CIDV1,
            name: Cow::Borrowed(KUBO_CIDV1),
            chunker: Chunker::Size(256 << 10),
            leaves: LeafFormat::Raw,
            max_links: 174,
            hash: HashFunction::Sha2_256,
            cid_version: Version::V1,
            folder_limit: FolderLimit {
                measure: FolderMeasure::Links,
                max_bytes: (256 << 10) - 1,
            },
        }
    }

    /// Every named profile, the default first.
    pub fn all() -> Vec<Self> {
        vec![
            Self::unixfs_v1_2025(),
            Self::unixfs_v0_2015(),
            Self::kubo_cidv1(),
        ]
    }

    /// The name, which reads back as this profile: `unixfs-v1-2025`, or with changed settings
    /// `unixfs-v1-2025+chunk=size-262144+links=174`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How files are cut.
    pub fn chunker(&self) -> Chunker {
        self.chunker
    }

    /// How chunks become blocks.
    pub fn leaves(&self) -> LeafFormat {
        self.leaves
    }

    /// The most links that a node of a file has.
    pub fn max_links(&self) -> usize {
        self.max_links
    }

    /// What blocks are hashed with.
    pub fn hash(&self) -> HashFunction {
        self.hash
    }

    /// The version of the CIDs of dag-pb nodes; raw leaves have CIDv1 always.
    pub fn cid_version(&self) -> Version {
        self.cid_version
    }

    /// Up to which size a folder stays in one block.
    pub fn folder_limit(&self) -> FolderLimit {
        self.folder_limit
    }

    /// The same profile with files cut otherwise.
    ///
    /// # Errors
    ///
    /// [`ProfileError::OutOfRange`] for chunks of no byte or of more than 2 MiB, the largest block;
    /// [`ProfileError::FrameTooLarge`] for such that exceed it once they are framed.
    pub fn with_chunker(mut self, chunker: Chunker) -> Result<Self, ProfileError> {
        self.chunker = chunker;
        self.checked()
    }

    /// The same profile with chunks of one length in bytes.
    ///
    /// # Errors
    ///
    /// As [`Profile::with_chunker`].
    pub fn with_chunk_bytes(self, chunk_bytes: usize) -> Result<Self, ProfileError> {
        self.with_chunker(Chunker::Size(chunk_bytes))
    }

    /// The same profile with chunks turned into blocks otherwise.
    ///
    /// # Errors
    ///
    /// [`ProfileError::FrameTooLarge`] for chunks that would exceed 2 MiB once they are framed.
    pub fn with_leaves(mut self, leaves: LeafFormat) -> Result<Self, ProfileError> {
        self.leaves = leaves;
        self.checked()
    }

    /// The same profile with another number of links in a node of a file.
    ///
    /// # Errors
    ///
    /// [`ProfileError::OutOfRange`] unless it is from 2 to 8,192.
    pub fn with_max_links(mut self, max_links: usize) -> Result<Self, ProfileError> {
        self.max_links = max_links;
        self.checked()
    }

    /// The same profile with another hash function.
    ///
    /// # Errors
    ///
    /// [`ProfileError::HashNeedsV1`] for any but sha2-256 under CIDv0, which can name no other.
    pub fn with_hash(mut self, hash: HashFunction) -> Result<Self, ProfileError> {
        self.hash = hash;
        self.checked()
    }

    /// The same profile with CIDs of another version.
    ///
    /// # Errors
    ///
    /// [`ProfileError::HashNeedsV1`] for CIDv0 with any hash function but sha2-256.
    pub fn with_cid_version(mut self, version: Version) -> Result<Self, ProfileError> {
        self.cid_version = version;
        self.checked()
    }

    /// Makes a dag-pb block.
    pub(super) fn node(&self, data: Vec<u8>) -> Block {
        let block = Block::new(DAG_PB, self.hash, data);
        let cid = self.node_cid(*block.cid().hash());
        block.with_cid(cid).unwrap_or(block)
    }

    /// The CID of a dag-pb block.
    pub(super) fn node_cid(&self, hash: Multihash) -> Cid {
        let v1 = || Cid::new_v1(DAG_PB, hash);
        match self.cid_version {
            // Only sha2-256 has a CIDv0, and no profile asks for another one.
            Version::V0 => Cid::new_v0(hash).unwrap_or_else(|_| v1()),
            Version::V1 => v1(),
        }
    }

    fn named(name: &str) -> Result<Self, ProfileError> {
        let found = Self::all().into_iter().find(|profile| profile.base == name);
        found.ok_or_else(|| ProfileError::Unknown {
            name: name.to_owned(),
        })
    }

    /// Refuses settings that do not go together.
    fn checked(self) -> Result<Self, ProfileError> {
        if let Chunker::Size(bytes) = self.chunker {
            in_range("chunk", bytes, CHUNK_BYTES)?;
            let longest = *CHUNK_BYTES.end() - super::file::MAX_FRAME_BYTES;
            if self.leaves == LeafFormat::DagPb && bytes > longest {
                return Err(ProfileError::FrameTooLarge {
                    chunk_bytes: bytes,
                    longest,
                });
            }
        }
        in_range("links", self.max_links, MAX_LINKS)?;
        if self.cid_version == Version::V0 && self.hash != HashFunction::Sha2_256 {
            return Err(ProfileError::HashNeedsV1 { hash: self.hash });
        }
        Ok(self.renamed())
    }

    /// Names the settings that differ from those of the profile it started from.
    fn renamed(mut self) -> Self {
        let Ok(base) = Self::named(self.base) else {
            return self;
        };
        let mut name = self.base.to_owned();
        let mut set = |key: &str, value: &dyn fmt::Display, differs: bool| {
            if differs {
                name.push_str(&format!("+{key}={value}"));
            }
        };
        set("chunk", &self.chunker, self.chunker != base.chunker);
        set("links", &self.max_links, self.max_links != base.max_links);
        let leaves = self.leaves.name();
        set("leaves", &leaves, self.leaves != base.leaves);
        set("hash", &self.hash, self.hash != base.hash);
        let version = u64::from(self.cid_version);
        set("cid", &version, self.cid_version != base.cid_version);
        self.name = Cow::Owned(name);
        self
    }

    /// Takes a setting as it stands in a name; what the settings are together is checked afterwards.
    fn set(&mut self, text: &str) -> Result<(), ProfileError> {
        let unknown = || ProfileError::Setting {
            text: text.to_owned(),
        };
        let (key, value) = text.split_once('=').ok_or_else(unknown)?;
        match (key, value) {
            ("chunk", value) => {
                // The form of the first version, which stands in stores that it made.
                let bytes = value.parse().map(Chunker::Size);
                self.chunker = bytes.or_else(|_| value.parse())?;
            }
            ("links", value) => self.max_links = value.parse().map_err(|_| unknown())?,
            ("leaves", "raw") => self.leaves = LeafFormat::Raw,
            ("leaves", "dag-pb") => self.leaves = LeafFormat::DagPb,
            ("hash", value) => self.hash = value.parse().map_err(|_| unknown())?,
            ("cid", "0") => self.cid_version = Version::V0,
            ("cid", "1") => self.cid_version = Version::V1,
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn in_range(
    setting: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), ProfileError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ProfileError::OutOfRange {
        setting,
        value,
        min: *range.start(),
        max: *range.end(),
    })
}

impl Default for Profile {
    fn default() -> Self {
        Self::unixfs_v1_2025()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let mut parts = text.split('+');
        let mut profile = Self::named(parts.next().unwrap_or_default())?;
        parts.try_for_each(|part| profile.set(part))?;
        profile.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_back_from_its_name() {
        for profile in Profile::all() {
            assert_eq!(profile.name().parse(), Ok(profile.clone()));
            let changed = profile
                .clone()
                .with_max_links(3)
                .unwrap()
                .with_chunk_bytes(1000)
                .unwrap();
            assert_eq!(changed.name(), format!("{profile}+chunk=size-1000+links=3"));
            assert_eq!(changed.name().parse(), Ok(changed));
        }
        assert_eq!(Profile::all()[0], Profile::default());
    }

    #[test]
    fn every_setting_reads_back_in_any_order() {
        let profile = Profile::unixfs_v0_2015()
            .with_cid_version(Version::V1)
            .and_then(|profile| profile.with_hash(HashFunction::Blake3))
            .and_then(|profile| profile.with_leaves(LeafFormat::Raw))
            .and_then(|profile| profile.with_chunker(Chunker::TensorV1))
            .unwrap();
        let name = "unixfs-v0-2015+chunk=tensor-v1+leaves=raw+hash=blake3+cid=1";
        assert_eq!(profile.name(), name);
        assert_eq!(name.parse(), Ok(profile.clone()));
        let shuffled = "unixfs-v0-2015+cid=1+leaves=raw+hash=blake3+chunk=tensor-v1";
        assert_eq!(shuffled.parse(), Ok(profile));
    }

    #[test]
    fn a_setting_that_is_the_profiles_own_does_not_change_its_name() {
        let profile = Profile::kubo_cidv1()
            .with_max_links(5)
            .unwrap()
            .with_max_links(174);
        assert_eq!(profile, Ok(Profile::kubo_cidv1()));
        for named in [
            "kubo-cidv1+chunk=size-262144+cid=1",
            "kubo-cidv1+chunk=262144",
        ] {
            assert_eq!(named.parse(), Ok(Profile::kubo_cidv1()));
        }
    }

    #[test]
    fn cid_v0_names_sha2_256_only() {
        let hash = HashFunction::Blake3;
        let refused = Err(ProfileError::HashNeedsV1 { hash });
        assert_eq!(Profile::unixfs_v0_2015().with_hash(hash), refused);
        assert_eq!("unixfs-v1-2025+cid=0+hash=blake3".parse(), refused);
    }

    #[test]
    fn a_framed_chunk_has_to_fit_a_block() {
        let longest = (2 << 20) - super::super::file::MAX_FRAME_BYTES;
        let profile = Profile::unixfs_v0_2015().with_chunk_bytes(longest).unwrap();
        let leaf = super::super::leaf(&vec![0; longest], &profile);
        assert!(leaf.tsize <= 2 << 20);
        let chunk_bytes = longest + 1;
        let refused = Err(ProfileError::FrameTooLarge {
            chunk_bytes,
            longest,
        });
        assert_eq!(profile.with_chunk_bytes(chunk_bytes), refused);
    }

    #[test]
    fn an_unknown_profile_lists_the_known_ones() {
        let error = "ipfs".parse::<Profile>().unwrap_err().to_string();
        for profile in Profile::all() {
            assert!(error.contains(profile.name()), "{error}");
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        for text in [
            "chunk",
            "links=1e3",
            "width=3",
            "",
            "leaves=",
            "hash=md5",
            "cid=2",
        ] {
            let error = format!("kubo-cidv1+{text}").parse::<Profile>().unwrap_err();
            assert_eq!(error, ProfileError::Setting { text: text.into() });
        }
        for text in [
            "",
            "-1",
            "size-",
            "size--1",
            "size-1e3",
            "tensor-v2",
            "rabin",
        ] {
            let error = format!("kubo-cidv1+chunk={text}")
                .parse::<Profile>()
                .unwrap_err();
            let unknown = super::super::chunker::ChunkerError(text.into());
            assert_eq!(error, ProfileError::Chunker(unknown));
        }
        for text in [
            "chunk=size-0",
            "chunk=size-2097153",
            "links=1",
            "links=8193",
        ] {
            let error = format!("kubo-cidv1+{text}").parse::<Profile>().unwrap_err();
            assert!(matches!(error, ProfileError::OutOfRange { .. }), "{error}");
        }
    }
}
