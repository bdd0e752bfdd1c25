//! Folders, the names in them, and symlinks.

use cid::Cid;

use super::dagpb::{self, PbLink};
use super::error::DagError;
use super::hamt;
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

/// What a folder became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderRoot {
    /// The folder's identifier: its block, or the topmost of its shards.
    pub cid: Cid,
    /// Bytes of its blocks and of all that its entries state: the `Tsize` of a link to it.
    pub tsize: u64,
}

/// Builds the blocks of a folder: one, its entries sorted by the bytes of their names, or, for a folder
/// over the profile's [`FolderLimit`](super::FolderLimit), the shards of a HAMT. `emit` gets them, those
/// below before those above, the folder's own last. No entries make the empty folder.
///
/// ```
/// use ipfs_accelerate::{DagError, FolderEntry, Profile, build_folder, cid_of_reader};
///
/// let profile = Profile::default();
/// let file = cid_of_reader(&b"hello world\n"[..], &profile)?;
/// let entry = FolderEntry { name: "a.txt".into(), cid: file.cid, tsize: file.tsize };
/// let mut blocks = Vec::new();
/// let folder = build_folder(vec![entry], &profile, &mut |block| {
///     blocks.push(block);
///     Ok::<(), DagError>(())
/// })?;
/// assert_eq!((blocks.len(), blocks[0].cid()), (1, &folder.cid));
/// assert!(folder.cid.to_string().starts_with("bafybei"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`DagError::Name`] for a name that cannot be or is there twice; for a folder that is sharded,
/// [`DagError::HashCollision`], and [`DagError::BlockTooLarge`] if names of many kilobytes meet in a
/// shard. What `emit` returns.
pub fn build_folder<E: From<DagError>>(
    mut entries: Vec<FolderEntry>,
    profile: &Profile,
    emit: &mut dyn FnMut(Block) -> Result<(), E>,
) -> Result<FolderRoot, E> {
    sort(&mut entries).map_err(DagError::from)?;
    let Some(block) = whole(&entries, profile) else {
        return hamt::build(&entries, hamt::FANOUT, profile, emit);
    };
    let own = block.data().len() as u64;
    let root = FolderRoot {
        cid: *block.cid(),
        tsize: entries
            .iter()
            .fold(own, |sum, entry| sum.saturating_add(entry.tsize)),
    };
    emit(block)?;
    Ok(root)
}

/// The folder as one block, unless the profile shards it.
fn whole(entries: &[FolderEntry], profile: &Profile) -> Option<Block> {
    let limit = profile.folder_limit();
    let of_links: u64 = entries
        .iter()
        .map(|entry| (entry.name.len() + entry.cid.encoded_len()) as u64)
        .sum();
    // A block is longer than what it links, so that one too long is not even made.
    if of_links > limit.max_bytes {
        return None;
    }
    let links = entries.iter().map(|entry| PbLink {
        cid: entry.cid,
        name: &entry.name,
        tsize: entry.tsize,
    });
    let block = dagpb::encode(links, &unixfs::directory());
    match limit.measure {
        FolderMeasure::Block if block.len() as u64 > limit.max_bytes => None,
        FolderMeasure::Block | FolderMeasure::Links => Some(profile.node(block)),
    }
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

/// The blocks of a folder, its own last.
#[cfg(test)]
pub(super) fn folder_blocks(
    entries: Vec<FolderEntry>,
    profile: &Profile,
) -> Result<Vec<Block>, DagError> {
    let mut blocks = Vec::new();
    let mut keep = |block| {
        blocks.push(block);
        Ok::<_, DagError>(())
    };
    let root = build_folder(entries, profile, &mut keep)?;
    let last = blocks.last().expect("a folder has a block");
    assert_eq!(root.cid, *last.cid());
    assert_eq!(Ok(root.tsize), cumulative_size(last));
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{HashFunction, canonical, parse_cid};
    use crate::dag::{Node, decode, leaf};

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
        match folder_blocks(entries, &Profile::default()) {
            Err(DagError::Name(error)) => error.fault,
            other => panic!("{names:?}: {other:?}"),
        }
    }

    #[test]
    fn entries_are_sorted_by_the_bytes_of_their_names() {
        let profile = Profile::default();
        let given = folder_blocks(["é", "a", "B", "a-b", "Z"].map(entry).into(), &profile).unwrap();
        let node = dagpb::decode(given[0].data()).unwrap();
        let names: Vec<_> = node.links.iter().map(|link| link.name).collect();
        assert_eq!(names, ["B", "Z", "a", "a-b", "é"]);
        let sorted =
            folder_blocks(["B", "Z", "a", "a-b", "é"].map(entry).into(), &profile).unwrap();
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

    /// Whether a folder is sharded, and the length of its own block.
    fn sharded(entries: Vec<FolderEntry>, profile: &Profile) -> (bool, usize) {
        let blocks = folder_blocks(entries, profile).unwrap();
        let last = blocks.last().unwrap();
        let node = decode(last.cid(), last.data()).unwrap();
        let whole = matches!(node, Node::Folder { .. }) && blocks.len() == 1;
        assert!(whole || matches!(node, Node::Shard { fanout: 256, .. }));
        (!whole, last.data().len())
    }

    #[test]
    fn by_block_a_folder_of_exactly_256_kib_stays_whole_and_one_byte_more_is_sharded() {
        let profile = Profile::unixfs_v1_2025();
        let whole = sharded(filled(262_144, in_block, 4), &profile);
        assert_eq!(whole, (false, 262_144));
        let (more, _) = sharded(filled(262_145, in_block, 4), &profile);
        assert!(more);
    }

    #[test]
    fn by_links_a_folder_is_sharded_when_names_and_cids_reach_256_kib() {
        let profile = Profile::kubo_cidv1();
        let in_links = |name| 36 + name;
        let (less, _) = sharded(filled(262_143, in_links, 0), &profile);
        let (exactly, _) = sharded(filled(262_144, in_links, 0), &profile);
        assert_eq!((less, exactly), (false, true));
    }

    #[test]
    fn a_shard_that_long_names_make_larger_than_a_block_may_be_is_refused() {
        let entries = (0..150).map(|n| entry(format!("{n:0>40000}"))).collect();
        let error = folder_blocks(entries, &Profile::default()).unwrap_err();
        let DagError::BlockTooLarge { len, limit, .. } = error else {
            panic!("{error}")
        };
        assert!(len > limit && limit == 2 << 20, "{len}");
    }

    #[test]
    fn the_cumulative_size_counts_the_block_and_what_its_links_state() {
        let profile = Profile::default();
        let mut entries = vec![entry("a"), entry("b")];
        (entries[0].tsize, entries[1].tsize) = (1000, 70);
        let folder = &folder_blocks(entries.clone(), &profile).unwrap()[0];
        assert_eq!(
            cumulative_size(folder),
            Ok(folder.data().len() as u64 + 1070)
        );
        entries[0].tsize = u64::MAX;
        let folder = &folder_blocks(entries, &profile).unwrap()[0];
        assert_eq!(cumulative_size(folder), Ok(u64::MAX));

        let raw = Block::new(crate::block::RAW, HashFunction::Sha2_256, vec![0; 9]);
        assert_eq!(cumulative_size(&raw), Ok(9));
        let broken = Block::new(DAG_PB, HashFunction::Sha2_256, vec![0x12; 9]);
        assert!(cumulative_size(&broken).is_err());
    }
}
