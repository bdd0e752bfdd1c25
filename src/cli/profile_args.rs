//! The flags that decide a CID.

use clap::{Args, ValueEnum};
use ipfs_accelerate::{Chunker, CidVersion, HashFunction, LeafFormat, Profile};

use super::error::CliError;

/// A profile, and single settings of it. Each sets just what it says.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "What decides the CID")]
pub(crate) struct ProfileArgs {
    /// How files are cut and hashed: unixfs-v1-2025, unixfs-v0-2015 or kubo-cidv1.
    ///
    /// Settings may follow the name, as in unixfs-v1-2025+chunk=tensor-v1. Without it: the profile that the
    /// store was made with; for a new one `profile` in [store] of the configuration, unixfs-v1-2025 unless
    /// set. `check` tries all usual ones.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// How files are cut: size-N, for N bytes a chunk, or tensor-v1, which cuts at tensors.
    ///
    /// tensor-v1 stores a tensor once however many checkpoints hold it, and cuts what is no safetensors file
    /// as size-1048576 does.
    #[arg(long, value_name = "CHUNKER")]
    chunker: Option<Chunker>,
    /// The most links of a node of a file.
    #[arg(long, value_name = "N")]
    max_links: Option<usize>,
    /// Store chunks as they are (true), or framed in dag-pb (false), which cannot be mapped.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    raw_leaves: Option<bool>,
    /// The version of CIDs.
    #[arg(long, value_name = "VERSION")]
    cid_version: Option<Version>,
    /// The hash function: sha2-256, which all of IPFS reads, or blake3, which is several times as fast.
    #[arg(long, value_name = "NAME")]
    hash: Option<HashFunction>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "0")]
    V0,
    #[value(name = "1")]
    V1,
}

impl ProfileArgs {
    /// The profiles that are left once the flags hold for each of them: one if they name one, fewer if a
    /// setting is what they differ in. Those that a setting does not go with fall out.
    ///
    /// # Errors
    /// That of the first profile, if none is left.
    pub(crate) fn over_each(&self, profiles: Vec<Profile>) -> Result<Vec<Profile>, CliError> {
        let mut left: Vec<Profile> = Vec::new();
        let mut refused = None;
        for profile in profiles {
            match self.over(|| Ok(profile)) {
                Ok(profile) if left.contains(&profile) => {}
                Ok(profile) => left.push(profile),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        match refused {
            Some(e) if left.is_empty() => Err(e),
            _ => Ok(left),
        }
    }

    /// The profile that the flags name, over the one that holds without them.
    pub(crate) fn over(
        &self,
        otherwise: impl FnOnce() -> Result<Profile, CliError>,
    ) -> Result<Profile, CliError> {
        let mut profile = match &self.profile {
            Some(name) => name.parse()?,
            None => otherwise()?,
        };
        // In the order in which one makes way for the next: CIDv1 for blake3, raw leaves for long chunks.
        if let Some(Version::V1) = self.cid_version {
            profile = profile.with_cid_version(CidVersion::V1)?;
        }
        if let Some(hash) = self.hash {
            profile = profile.with_hash(hash)?;
        }
        if let Some(Version::V0) = self.cid_version {
            profile = profile.with_cid_version(CidVersion::V0)?;
        }
        if let Some(true) = self.raw_leaves {
            profile = profile.with_leaves(LeafFormat::Raw)?;
        }
        if let Some(chunker) = self.chunker {
            profile = profile.with_chunker(chunker)?;
        }
        if let Some(false) = self.raw_leaves {
            profile = profile.with_leaves(LeafFormat::DagPb)?;
        }
        if let Some(links) = self.max_links {
            profile = profile.with_max_links(links)?;
        }
        Ok(profile)
    }
}
