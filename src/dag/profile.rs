//! Profiles: the settings that decide which CID a file or a folder gets.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use cid::Version;

use super::MAX_BLOCK_BYTES;
use crate::block::HashFunction;
use crate::error::Explain;

const CHUNK_BYTES: RangeInclusive<usize> = 1..=MAX_BLOCK_BYTES;
/// A node of 8,192 links has about half a MiB.
const MAX_LINKS: RangeInclusive<usize> = 2..=8192;

const UNIXFS_V1_2025: &str = "unixfs-v1-2025";
const UNIXFS_V0_2015: &str = "unixfs-v0-2015";
const KUBO_CIDV1: &str = "kubo-cidv1";

/// The settings that decide which CID a file or a folder gets, after
/// [IPIP-499](https://specs.ipfs.tech/ipips/ipip-0499/). All lay files out as balanced trees over raw
/// leaves.
///
/// A profile is written and read as its name; settings that were changed follow it.
///
/// ```
/// use ipfs_accelerate::Profile;
///
/// let profile: Profile = "kubo-cidv1".parse()?;
/// assert_eq!((profile.chunk_bytes(), profile.max_links()), (262_144, 174));
///
/// let larger = Profile::default().with_chunk_bytes(2 << 20)?;
/// assert_eq!(larger.to_string(), "unixfs-v1-2025+chunk=2097152");
/// assert_eq!(larger.to_string().parse::<Profile>()?, larger);
/// # Ok::<(), ipfs_accelerate::ProfileError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    base: &'static str,
    name: Cow<'static, str>,
    chunk_bytes: usize,
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
            chunk_bytes: 1 << 20,
            max_links: 1024,
            hash: HashFunction::Sha2_256,
            cid_version: Version::V1,
            folder_limit: FolderLimit {
                measure: FolderMeasure::Block,
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
            chunk_bytes: 256 << 10,
            max_links: 174,
            hash: HashFunction::Sha2_256,
            cid_version: Version::V1,
            folder_limit: FolderLimit {
                measure: FolderMeasure::Links,
                max_bytes: (256 << 10) - 1,
            },
        }
    }

    /// Every named profile of this build, the default first.
    pub fn all() -> Vec<Self> {
        vec![Self::unixfs_v1_2025(), Self::kubo_cidv1()]
    }

    /// The name, which reads back as this profile: `unixfs-v1-2025`, or with changed settings
    /// `unixfs-v1-2025+chunk=262144+links=174`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length of a chunk in bytes; the last one of a file may be shorter.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The most links that a node of a file has.
    pub fn max_links(&self) -> usize {
        self.max_links
    }

    /// What blocks are hashed with.
    pub fn hash(&self) -> HashFunction {
        self.hash
    }

    /// The version of the CIDs.
    pub fn cid_version(&self) -> Version {
        self.cid_version
    }

    /// Up to which size a folder stays in one block.
    pub fn folder_limit(&self) -> FolderLimit {
        self.folder_limit
    }

    /// The same profile with chunks of another length.
    ///
    /// # Errors
    ///
    /// [`ProfileError::OutOfRange`] unless it is from 1 byte to 2 MiB, the largest block.
    pub fn with_chunk_bytes(mut self, chunk_bytes: usize) -> Result<Self, ProfileError> {
        in_range("chunk", chunk_bytes, CHUNK_BYTES)?;
        self.chunk_bytes = chunk_bytes;
        Ok(self.renamed())
    }

    /// The same profile with another number of links in a node of a file.
    ///
    /// # Errors
    ///
    /// [`ProfileError::OutOfRange`] unless it is from 2 to 8,192.
    pub fn with_max_links(mut self, max_links: usize) -> Result<Self, ProfileError> {
        in_range("links", max_links, MAX_LINKS)?;
        self.max_links = max_links;
        Ok(self.renamed())
    }

    fn named(name: &str) -> Result<Self, ProfileError> {
        match name {
            UNIXFS_V1_2025 => Ok(Self::unixfs_v1_2025()),
            KUBO_CIDV1 => Ok(Self::kubo_cidv1()),
            UNIXFS_V0_2015 => Err(ProfileError::NotBuilt {
                name: UNIXFS_V0_2015,
            }),
            _ => Err(ProfileError::Unknown {
                name: name.to_owned(),
            }),
        }
    }

    /// Names the settings that differ from those of the profile it started from.
    fn renamed(mut self) -> Self {
        self.name = Cow::Borrowed(self.base);
        if let Ok(base) = Self::named(self.base) {
            if self.chunk_bytes != base.chunk_bytes {
                self.name
                    .to_mut()
                    .push_str(&format!("+chunk={}", self.chunk_bytes));
            }
            if self.max_links != base.max_links {
                self.name
                    .to_mut()
                    .push_str(&format!("+links={}", self.max_links));
            }
        }
        self
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
        for part in parts {
            let setting = || ProfileError::Setting {
                text: part.to_owned(),
            };
            let (key, value) = part.split_once('=').ok_or_else(setting)?;
            let value = value.parse().map_err(|_| setting())?;
            profile = match key {
                "chunk" => profile.with_chunk_bytes(value)?,
                "links" => profile.with_max_links(value)?,
                _ => return Err(setting()),
            };
        }
        Ok(profile)
    }
}

/// Text that does not name a profile of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No profile has that name.
    #[error("no profile is called \"{}\"; known are {}", name.escape_debug(), known())]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The profile exists, and this build cannot compute it.
    #[error(
        "the profile {name} is not built yet: its leaves are framed in dag-pb; use one of {}",
        known()
    )]
    NotBuilt {
        /// The name asked for.
        name: &'static str,
    },
    /// A setting behind the name that is not one.
    #[error("\"{}\" is not a setting of a profile, as chunk=1048576 or links=1024 are", text.escape_debug())]
    Setting {
        /// What stands between two `+`.
        text: String,
    },
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
            Self::NotBuilt { .. } => "profile_not_built",
            Self::Setting { .. } | Self::OutOfRange { .. } => "profile_setting_invalid",
        }
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
            assert_eq!(changed.name(), format!("{profile}+chunk=1000+links=3"));
            assert_eq!(changed.name().parse(), Ok(changed));
        }
        assert_eq!(Profile::all()[0], Profile::default());
    }

    #[test]
    fn a_setting_that_is_the_profiles_own_does_not_change_its_name() {
        let profile = Profile::kubo_cidv1()
            .with_max_links(5)
            .unwrap()
            .with_max_links(174);
        assert_eq!(profile, Ok(Profile::kubo_cidv1()));
        assert_eq!("kubo-cidv1+chunk=262144".parse(), Ok(Profile::kubo_cidv1()));
    }

    #[test]
    fn a_profile_that_is_not_built_yet_says_so() {
        let error = "unixfs-v0-2015".parse::<Profile>().unwrap_err();
        assert_eq!(
            error,
            ProfileError::NotBuilt {
                name: "unixfs-v0-2015"
            }
        );
        assert!(error.to_string().contains("not built yet"), "{error}");
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
        for text in ["chunk", "chunk=", "chunk=-1", "links=1e3", "width=3", ""] {
            let error = format!("kubo-cidv1+{text}").parse::<Profile>().unwrap_err();
            assert_eq!(error, ProfileError::Setting { text: text.into() });
        }
        for text in ["chunk=0", "chunk=2097153", "links=1", "links=8193"] {
            let error = format!("kubo-cidv1+{text}").parse::<Profile>().unwrap_err();
            assert!(matches!(error, ProfileError::OutOfRange { .. }), "{error}");
        }
    }
}
