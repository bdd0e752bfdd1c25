//! Folders that fit one block, the names in them, and symlinks.

use cid::Cid;

use super::dagpb::{self, PbLink};
use super::error::DagError;
use super::profile::{FolderMeasure, Profile};
use super::unixfs;
use crate::block::{Block, DAG_PB};
use crate::error::Explain;

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// The name, which [`check_name`] accepts.
    pub name: String,
    /// The file, folder or symlink under that name.
    pub cid: Cid,
    /// Bytes of all blocks below: [`FileRoot::tsize`](super::FileRoot) of a file,
    /// [`cumulative_size`] of a folder or a symlink. It is part of the folder's bytes and so of its
    /// CID.
    pub tsize: u64,
}

/// The block of a folder, its entries sorted by the bytes of their names. No entries make the empty
/// folder.
///
/// ```
/// use ipfs_accelerate::{FolderEntry, Profile, cid_of_reader, folder_node};
///
/// let profile = Profile::default();
/// let file = cid_of_reader(&b"hello world\n"[..], &profile)?;
/// let entry = FolderEntry { name: "a.txt".into(), cid: file.cid, tsize: file.tsize };
/// let folder = folder_node(vec![entry], &profile)?;
/// assert!(folder.cid().to_string().starts_with("bafybei"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`DagError::Name`] for a name that cannot be or is there twice, [`DagError::NeedsHamt`] for a
/// folder that the profile shards.
pub fn folder_node(mut entries: Vec<FolderEntry>, profile: &Profile) -> Result<Block, DagError> {
    sort(&mut entries)?;
    let links = entries.iter().map(|entry| PbLink {
        cid: entry.cid,
        name: &entry.name,
        tsize: entry.tsize,
    });
    let block = dagpb::encode(links, &unixfs::directory());
    let limit = profile.folder_limit();
    let size = match limit.measure {
        FolderMeasure::Block => block.len() as u64,
        FolderMeasure::Links => entries
            .iter()
            .map(|entry| (entry.name.len() + entry.cid.encoded_len()) as u64)
            .sum(),
    };
    if size > limit.max_bytes {
        return Err(DagError::NeedsHamt {
            entries: entries.len(),
            size,
            limit: limit.max_bytes,
        });
    }
    Ok(profile.node(block))
}

/// The block of a symlink. `target` is kept as it is and never followed.
///
/// Always dag-pb, in CIDv1 too: Kubo's `addSymlink` gives a dag-pb node the CID settings of the add
/// and no raw form exists.
pub fn symlink_node(target: &str, profile: &Profile) -> Block {
    profile.node(dagpb::encode([], &unixfs::symlink(target)))
}

/// Bytes of a block and of all below it, the `Tsize` of a link to it: its own length and the sizes
/// that its links state.
///
/// # Errors
///
/// [`DagError::Malformed`] if the block is dag-pb and cannot be read.
pub fn cumulative_size(block: &Block) -> Result<u64, DagError> {
    let own = block.data().len() as u64;
    if block.cid().codec() != DAG_PB {
        return Ok(own);
    }
    let node = dagpb::decode(block.data()).map_err(|fault| DagError::Malformed {
        cid: *block.cid(),
        fault: Box::new(fault),
    })?;
    // Tsize is what writers claim; a false one must not wrap around.
    Ok(node
        .links
        .iter()
        .fold(own, |sum, link| sum.saturating_add(link.tsize)))
}

/// Sorts by the bytes of the names and refuses names that cannot be or are there twice.
pub(super) fn sort(entries: &mut [FolderEntry]) -> Result<(), NameError> {
    for entry in entries.iter() {
        check_name(&entry.name)?;
    }
    entries.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    match entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(NameError::new(&pair[0].name, NameFault::Duplicate)),
        None => Ok(()),
    }
}

/// Checks that an entry of a folder may have that name: not empty, not `.` or `..`, without `/` and
/// NUL. So no name leads out of the folder that it is written to.
///
/// # Errors
///
/// [`NameError`] with the name and the reason.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fault = match name {
        "" => NameFault::Empty,
        "." | ".." => NameFault::Dots,
        _ if name.contains('/') => NameFault::Slash,
        _ if name.contains('\0') => NameFault::Nul,
        _ => return Ok(()),
    };
    Err(NameError::new(name, fault))
}

/// A name that an entry of a folder cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("a folder cannot have an entry called \"{}\": {fault}", name.escape_debug())]
pub struct NameError {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub fault: NameFault,
}

impl NameError {
    fn new(name: &str, fault: NameFault) -> Self {
        Self {
            name: name.to_owned(),
            fault,
        }
    }
}

/// What is wrong with the name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("that name means a folder itself or the one above")]
    Dots,
    /// It holds a `/`.
    #[error("the name holds a \"/\"")]
    Slash,
    /// It holds a NUL.
    #[error("the name holds a NUL")]
    Nul,
    /// Two entries have it.
    #[error("two entries have that name")]
    Duplicate,
}

impl Explain for NameError {
    fn kind(&self) -> &'static str {
        match self.fault {
            NameFault::Duplicate => "name_duplicate",
            _ => "name_invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{HashFunction, canonical, parse_cid};
    use crate::dag::leaf;

    fn entry(name: impl Into<String>) -> FolderEntry {
        let cid = leaf(b"", &Profile::default()).cid;
        FolderEntry {
            name: name.into(),
            cid,
            tsize: 0,
        }
    }

    fn fault(names: &[&str]) -> NameFault {
        let entries = names.iter().copied().map(entry).collect();
        match folder_node(entries, &Profile::default()) {
            Err(DagError::Name(error)) => error.fault,
            other => panic!("{names:?}: {other:?}"),
        }
    }

    #[test]
    fn entries_are_sorted_by_the_bytes_of_their_names() {
        let profile = Profile::default();
        let given = folder_node(["é", "a", "B", "a-b", "Z"].map(entry).into(), &profile).unwrap();
        let node = dagpb::decode(given.data()).unwrap();
        let names: Vec<_> = node.links.iter().map(|link| link.name).collect();
        assert_eq!(names, ["B", "Z", "a", "a-b", "é"]);
        let sorted = folder_node(["B", "Z", "a", "a-b", "é"].map(entry).into(), &profile).unwrap();
        assert_eq!(given, sorted);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!(fault(&["a", ""]), NameFault::Empty);
        assert_eq!(fault(&["."]), NameFault::Dots);
        assert_eq!(fault(&["..", "a"]), NameFault::Dots);
        assert_eq!(fault(&["a/b"]), NameFault::Slash);
        assert_eq!(fault(&["a\0"]), NameFault::Nul);
        assert_eq!(fault(&["b", "a", "b"]), NameFault::Duplicate);
        for name in ["...", ".a", "a\\b", "~", " ", "A", "CON"] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    /// Kubo's own test of symlinks, test/sharness/t0044-add-symlink.sh. It prints CIDv0, and the
    /// block of a symlink is the same in both versions.
    #[test]
    fn symlinks_are_those_of_kubo() {
        for (target, cid) in [
            (
                "files/foo/baz",
                "QmdocmZeF7qwPT9Z8SiVhMSyKA2KKoA2J7jToW6z6WBmxR",
            ),
            (
                "files/does/not/exist",
                "QmWYN8SEXCgNT2PSjB6BnxAx6NJQtazWoBkTRH9GRfPFFQ",
            ),
        ] {
            let block = symlink_node(target, &Profile::default());
            assert_eq!(*block.cid(), canonical(&parse_cid(cid).unwrap()));
        }
    }

    /// A folder of one link less than 256 KiB, filled up to `size` by the length of the last name.
    /// `of_entry` is what an entry with a name of so many bytes counts.
    fn filled(size: usize, of_entry: impl Fn(usize) -> usize, fixed: usize) -> Vec<FolderEntry> {
        let mut entries = Vec::new();
        let mut left = size - fixed;
        while left > 10_000 {
            entries.push(entry(format!("{:0>4000}", entries.len())));
            left -= of_entry(4000);
        }
        let len = (1..).find(|len| of_entry(*len) == left).unwrap();
        entries.push(entry("x".repeat(len)));
        entries
    }

    /// hash 2 + 36, name 3 + n, tsize 2, frame 3, for names from 128 to 16,383 bytes
    fn in_block(name: usize) -> usize {
        46 + name
    }

    #[test]
    fn by_block_a_folder_of_exactly_256_kib_stays_whole_and_one_byte_more_is_sharded() {
        let profile = Profile::unixfs_v1_2025();
        let block = folder_node(filled(262_144, in_block, 4), &profile).unwrap();
        assert_eq!(block.data().len(), 262_144);
        let error = folder_node(filled(262_145, in_block, 4), &profile).unwrap_err();
        let DagError::NeedsHamt { size, limit, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((size, limit), (262_145, 262_144));
        assert!(error.to_string().contains("not built yet"), "{error}");
    }

    #[test]
    fn by_links_a_folder_is_sharded_when_names_and_cids_reach_256_kib() {
        let profile = Profile::kubo_cidv1();
        let in_links = |name| 36 + name;
        assert!(folder_node(filled(262_143, in_links, 0), &profile).is_ok());
        let error = folder_node(filled(262_144, in_links, 0), &profile).unwrap_err();
        let DagError::NeedsHamt { size, entries, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(
            (size, entries),
            (262_144, filled(262_144, in_links, 0).len())
        );
    }

    #[test]
    fn the_cumulative_size_counts_the_block_and_what_its_links_state() {
        let profile = Profile::default();
        let mut entries = vec![entry("a"), entry("b")];
        (entries[0].tsize, entries[1].tsize) = (1000, 70);
        let folder = folder_node(entries.clone(), &profile).unwrap();
        assert_eq!(
            cumulative_size(&folder),
            Ok(folder.data().len() as u64 + 1070)
        );
        entries[0].tsize = u64::MAX;
        let folder = folder_node(entries, &profile).unwrap();
        assert_eq!(cumulative_size(&folder), Ok(u64::MAX));

        let raw = Block::new(crate::block::RAW, HashFunction::Sha2_256, vec![0; 9]);
        assert_eq!(cumulative_size(&raw), Ok(9));
        let broken = Block::new(DAG_PB, HashFunction::Sha2_256, vec![0x12; 9]);
        assert!(cumulative_size(&broken).is_err());
    }
}
