//! The profiles that content is usually met under.

use cid::Version;

use super::{LeafFormat, Profile};
use crate::block::HashFunction;
use crate::dag::Chunker;

impl Profile {
    /// The profiles that content of unknown origin is usually met under, the likeliest first: what to try on
    /// a CID that does not say how it was made.
    ///
    /// For sha2-256:
    ///
    /// | profile | made by |
    /// |---|---|
    /// | `unixfs-v1-2025` | IPIP-499, this crate, Helia and ipfs-car |
    /// | `unixfs-v0-2015` | `ipfs add` |
    /// | `kubo-cidv1` | `ipfs add --cid-version=1` |
    /// | `unixfs-v0-2015+leaves=raw` | `ipfs add --raw-leaves` |
    /// | `unixfs-v0-2015+cid=1` | `ipfs add --cid-version=1 --raw-leaves=false` |
    /// | `kubo-cidv1+chunk=size-1048576` | `ipfs add --cid-version=1 --chunker=size-1048576`, Kubo's former profile [`test-cid-v1`](https://github.com/ipfs/kubo/issues/4143) |
    /// | `unixfs-v0-2015+chunk=size-1048576` | `ipfs add --chunker=size-1048576` |
    /// | the three named ones with `chunk=tensor-v1` | this crate |
    ///
    /// For another hash function, those of them that have CIDv1, as CIDv0 names sha2-256 only. They agree on
    /// most of their leaves: all of them together hash a file four times, one that `tensor-v1` cuts
    /// at its tensors six times.
    ///
    /// ```
    /// use ipfs_accelerate::{HashFunction, Profile};
    ///
    /// let candidates = Profile::candidates(HashFunction::Sha2_256);
    /// assert_eq!((candidates.len(), &candidates[0]), (10, &Profile::default()));
    /// let candidates = Profile::candidates(HashFunction::Blake3);
    /// assert!(candidates.iter().all(|profile| profile.name().contains("+hash=blake3")));
    /// ```
    pub fn candidates(hash: HashFunction) -> Vec<Self> {
        const MIB: Chunker = Chunker::Size(1 << 20);
        let (v0, v1) = (Self::unixfs_v0_2015, Self::kubo_cidv1);
        let set = [
            v0().with_leaves(LeafFormat::Raw),
            v0().with_cid_version(Version::V1),
            v1().with_chunker(MIB),
            v0().with_chunker(MIB),
        ];
        let by_tensor = Self::all()
            .into_iter()
            .map(|profile| profile.with_chunker(Chunker::TensorV1));
        let settings = set.into_iter().chain(by_tensor);
        Self::all()
            .into_iter()
            .map(Ok)
            .chain(settings)
            // A setting that does not go with the hash function has no CIDs either.
            .filter_map(|profile| profile.and_then(|p| p.with_hash(hash)).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hash: HashFunction) -> Vec<String> {
        let candidates = Profile::candidates(hash).into_iter();
        candidates.map(|profile| profile.to_string()).collect()
    }

    #[test]
    fn the_candidates_are_those_of_the_table() {
        assert_eq!(
            names(HashFunction::Sha2_256),
            [
                "unixfs-v1-2025",
                "unixfs-v0-2015",
                "kubo-cidv1",
                "unixfs-v0-2015+leaves=raw",
                "unixfs-v0-2015+cid=1",
                "kubo-cidv1+chunk=size-1048576",
                "unixfs-v0-2015+chunk=size-1048576",
                "unixfs-v1-2025+chunk=tensor-v1",
                "unixfs-v0-2015+chunk=tensor-v1",
                "kubo-cidv1+chunk=tensor-v1",
            ]
        );
        assert_eq!(
            names(HashFunction::Blake3),
            [
                "unixfs-v1-2025+hash=blake3",
                "kubo-cidv1+hash=blake3",
                "unixfs-v0-2015+hash=blake3+cid=1",
                "kubo-cidv1+chunk=size-1048576+hash=blake3",
                "unixfs-v1-2025+chunk=tensor-v1+hash=blake3",
                "kubo-cidv1+chunk=tensor-v1+hash=blake3",
            ]
        );
    }

    #[test]
    fn every_candidate_is_another_profile_and_reads_back_from_its_name() {
        for hash in HashFunction::ALL {
            let candidates = Profile::candidates(*hash);
            for (i, profile) in candidates.iter().enumerate() {
                assert_eq!(profile.name().parse().as_ref(), Ok(profile));
                assert!(!candidates[..i].contains(profile), "{profile}");
            }
        }
    }
}
