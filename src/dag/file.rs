//! Files: chunks as leaves under a balanced tree.

use std::io::{self, Read};
use std::ops::Range;

use cid::Cid;

use super::chunker::ChunkReader;
use super::dagpb::{self, PbLink};
use super::profile::{LeafFormat, Profile};
use super::unixfs;
use crate::block::{Block, HashFunction, Multihash, RAW};

/// What the frame of a leaf takes at most: two keys with lengths, the type, and the size.
pub(super) const MAX_FRAME_BYTES: usize = 17;

/// What a file became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRoot {
    /// The file's identifier: its only leaf, or the root of its tree.
    pub cid: Cid,
    /// Length of the file in bytes.
    pub size: u64,
    /// Bytes of all blocks of the tree, each as often as it is linked: the `Tsize` of a link to it.
    pub tsize: u64,
}

/// What a chunk of a file becomes.
pub fn leaf(data: &[u8], profile: &Profile) -> FileRoot {
    LeafHash::new(data, profile.leaves(), profile.hash()).root(profile)
}

/// What hashing a chunk gives. It is the same under all profiles that agree on the format of leaves and on
/// the hash function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafHash {
    hash: Multihash,
    size: u64,
    tsize: u64,
}

impl LeafHash {
    pub(crate) fn new(chunk: &[u8], leaves: LeafFormat, hash: HashFunction) -> Self {
        let size = chunk.len() as u64;
        match leaves {
            LeafFormat::Raw => Self {
                hash: hash.digest(chunk),
                size,
                tsize: size,
            },
            LeafFormat::DagPb => {
                // In parts, so that the chunk is not copied.
                let (before, after) = frame(size);
                Self {
                    hash: hash.digest_of_parts(&[&before, chunk, &after]),
                    size,
                    tsize: size + (before.len() + after.len()) as u64,
                }
            }
        }
    }

    /// The leaf under a profile of that format and hash function.
    pub(crate) fn root(&self, profile: &Profile) -> FileRoot {
        FileRoot {
            cid: match profile.leaves() {
                LeafFormat::Raw => Cid::new_v1(RAW, self.hash),
                LeafFormat::DagPb => profile.node_cid(self.hash),
            },
            size: self.size,
            tsize: self.tsize,
        }
    }
}

/// What stands before and after a chunk in a dag-pb leaf.
fn frame(chunk_bytes: u64) -> (Vec<u8>, Vec<u8>) {
    let (in_message, after) = unixfs::leaf(chunk_bytes);
    let message = (in_message.len() + after.len()) as u64 + chunk_bytes;
    let mut before = dagpb::before_data(message);
    before.extend(in_message);
    (before, after)
}

/// A chunk as the block that is stored.
#[derive(Debug)]
pub(crate) struct LeafBlock {
    pub(crate) root: FileRoot,
    pub(crate) data: Vec<u8>,
    /// Where in the block the chunk lies.
    pub(crate) content: Range<usize>,
}

impl LeafBlock {
    pub(crate) fn new(data: Vec<u8>, profile: &Profile) -> Self {
        match profile.leaves() {
            LeafFormat::Raw => Self {
                root: leaf(&data, profile),
                content: 0..data.len(),
                data,
            },
            LeafFormat::DagPb => {
                let (before, after) = frame(data.len() as u64);
                Self {
                    root: leaf(&data, profile),
                    content: before.len()..before.len() + data.len(),
                    data: [&before[..], &data, &after].concat(),
                }
            }
        }
    }
}

/// Builds the tree over the leaves of one file, in the order of the file.
///
/// The tree is balanced: all leaves stand at the same depth, and a node is closed when the link that
/// no longer fits it arrives, so that no node is ever changed. Nodes are handed out children first,
/// the root last. Memory is one open node for each level.
///
/// ```
/// use ipfs_accelerate::{Block, FileBuilder, Profile, cid_of_reader, leaf};
///
/// let profile = Profile::default().with_chunk_bytes(4)?.with_max_links(2)?;
/// let mut nodes = Vec::new();
/// let mut builder = FileBuilder::new(&profile);
/// for chunk in b"hello world\n".chunks(4) {
///     builder.push_leaf(leaf(chunk, &profile), &mut |node| nodes.push(node));
/// }
/// let root = builder.finish(&mut |node| nodes.push(node));
///
/// assert_eq!((root.size, nodes.len()), (12, 3));
/// assert_eq!(nodes.last().map(Block::cid), Some(&root.cid));
/// assert_eq!(cid_of_reader(&b"hello world\n"[..], &profile)?, root);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileBuilder {
    profile: Profile,
    /// The open node of each level, leaves first. A level has links if one above it has.
    levels: Vec<Vec<FileRoot>>,
}

impl FileBuilder {
    /// A builder for one file.
    pub fn new(profile: &Profile) -> Self {
        Self {
            profile: profile.clone(),
            levels: Vec::new(),
        }
    }

    /// Appends the next chunk of the file. `emit` gets the nodes it closes.
    pub fn push_leaf(&mut self, leaf: FileRoot, emit: &mut dyn FnMut(Block)) {
        self.push(0, leaf, emit);
    }

    /// Closes the open nodes and returns the root. A file without chunks is one empty leaf, which `emit`
    /// gets.
    pub fn finish(mut self, emit: &mut dyn FnMut(Block)) -> FileRoot {
        if self.levels.is_empty() {
            let LeafBlock { root, data, .. } = LeafBlock::new(Vec::new(), &self.profile);
            emit(match self.profile.leaves() {
                LeafFormat::Raw => Block::new(RAW, self.profile.hash(), data),
                LeafFormat::DagPb => self.profile.node(data),
            });
            return root;
        }
        let mut level = 0;
        loop {
            let links = std::mem::take(&mut self.levels[level]);
            if let ([root], true) = (&links[..], level + 1 == self.levels.len()) {
                return *root;
            }
            let node = self.close(&links, emit);
            level += 1;
            self.push(level, node, emit);
        }
    }

    fn push(&mut self, level: usize, link: FileRoot, emit: &mut dyn FnMut(Block)) {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == self.profile.max_links() {
            let full = std::mem::take(&mut self.levels[level]);
            let node = self.close(&full, emit);
            self.push(level + 1, node, emit);
        }
        self.levels[level].push(link);
    }

    fn close(&self, links: &[FileRoot], emit: &mut dyn FnMut(Block)) -> FileRoot {
        // Sizes are those of bytes that were read, so 64 bits hold their sum.
        let size = links
            .iter()
            .fold(0, |sum: u64, link| sum.saturating_add(link.size));
        let data = unixfs::file(size, links.iter().map(|link| link.size));
        let pb_links = links.iter().map(|link| PbLink {
            cid: link.cid,
            name: "",
            tsize: link.tsize,
        });
        let node = self.profile.node(dagpb::encode(pb_links, &data));
        let own = node.data().len() as u64;
        let tsize = links
            .iter()
            .fold(own, |sum, link| sum.saturating_add(link.tsize));
        let cid = *node.cid();
        emit(node);
        FileRoot { cid, size, tsize }
    }
}

/// The identifier that a file of these bytes has, without storing anything: one chunk after the
/// other, on one thread.
///
/// ```
/// use ipfs_accelerate::{Profile, cid_of_reader};
///
/// let root = cid_of_reader(&b"hello world"[..], &Profile::default())?;
/// assert_eq!(
///     root.cid.to_string(),
///     "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// What `reader` returns.
pub fn cid_of_reader(reader: impl Read, profile: &Profile) -> io::Result<FileRoot> {
    let mut builder = FileBuilder::new(profile);
    let mut chunks = ChunkReader::new(reader, profile.chunker());
    let mut chunk = Vec::new();
    loop {
        chunks.next(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(builder.finish(&mut drop));
        }
        builder.push_leaf(leaf(&chunk, profile), &mut drop);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::block::{Cid, DAG_PB};
    use crate::dag::{Node, decode};

    fn profile(max_links: usize) -> Profile {
        Profile::default().with_max_links(max_links).unwrap()
    }

    fn leaves(count: usize) -> Vec<FileRoot> {
        (0..count as u64)
            .map(|n| FileRoot {
                cid: leaf(&n.to_le_bytes(), &Profile::default()).cid,
                size: n + 1,
                tsize: n + 1,
            })
            .collect()
    }

    fn build(leaves: &[FileRoot], profile: &Profile) -> (FileRoot, Vec<Block>) {
        let mut nodes = Vec::new();
        let mut builder = FileBuilder::new(profile);
        for leaf in leaves {
            builder.push_leaf(*leaf, &mut |node| nodes.push(node));
        }
        let root = builder.finish(&mut |node| nodes.push(node));
        (root, nodes)
    }

    /// The same tree from the other end: all links of a level are known, cut into groups, and the
    /// groups are the next level. Protobuf is written out by hand.
    fn naive(level: Vec<FileRoot>, max_links: usize) -> FileRoot {
        if let [root] = level[..] {
            return root;
        }
        let varint = |mut value: u64| {
            let mut out = vec![];
            while value > 127 {
                out.push((value % 128) as u8 + 128);
                value /= 128;
            }
            out.push(value as u8);
            out
        };
        let parents = level.chunks(max_links).map(|group| {
            let size: u64 = group.iter().map(|link| link.size).sum();
            let mut data = [vec![8, 2, 0x18], varint(size)].concat();
            let mut block = vec![];
            for link in group {
                data.extend([vec![0x20], varint(link.size)].concat());
                let cid = link.cid.to_bytes();
                let tsize = varint(link.tsize);
                let parts = [
                    &[0x0a, cid.len() as u8],
                    &cid[..],
                    &[0x12, 0, 0x18],
                    &tsize[..],
                ]
                .concat();
                block.extend([vec![0x12], varint(parts.len() as u64), parts].concat());
            }
            block.extend([vec![0x0a], varint(data.len() as u64), data].concat());
            let below: u64 = group.iter().map(|link| link.tsize).sum();
            let tsize = block.len() as u64 + below;
            let cid = *Block::new(DAG_PB, Profile::default().hash(), block).cid();
            FileRoot { cid, size, tsize }
        });
        naive(parents.collect(), max_links)
    }

    fn collect_leaves(cid: &Cid, size: u64, nodes: &HashMap<Cid, &Block>, out: &mut Vec<FileRoot>) {
        let Some(block) = nodes.get(cid) else {
            out.push(FileRoot {
                cid: *cid,
                size,
                tsize: size,
            });
            return;
        };
        let Ok(Node::File {
            size: stated,
            data: None,
            children,
        }) = decode(cid, block.data())
        else {
            panic!("{cid} is not an inner node");
        };
        assert_eq!(stated, size);
        for child in children {
            collect_leaves(&child.cid, child.size, nodes, out);
        }
    }

    #[test]
    fn a_file_of_one_chunk_is_its_leaf() {
        let (root, nodes) = build(&leaves(1), &profile(2));
        assert_eq!((root, nodes.len()), (leaves(1)[0], 0));
    }

    #[test]
    fn an_empty_file_is_one_empty_leaf_which_is_handed_out() {
        let (root, nodes) = build(&[], &profile(2));
        assert_eq!(root, leaf(b"", &profile(2)),);
        assert_eq!(nodes, [Block::new(RAW, profile(2).hash(), vec![])]);
        assert_eq!(cid_of_reader(io::empty(), &profile(2)).unwrap(), root);
    }

    #[test]
    fn the_leaf_after_a_full_node_stands_under_a_node_of_its_own() {
        let (root, nodes) = build(&leaves(3), &profile(2));
        assert_eq!(nodes.len(), 3);
        let Ok(Node::File { children, .. }) = decode(&root.cid, nodes[2].data()) else {
            panic!()
        };
        assert_eq!(
            children.iter().map(|child| child.size).collect::<Vec<_>>(),
            [3, 3]
        );
        let Ok(Node::File { children, .. }) = decode(nodes[1].cid(), nodes[1].data()) else {
            panic!()
        };
        assert_eq!(children.len(), 1);
        assert_eq!(children[0].cid, leaves(3)[2].cid);
    }

    #[test]
    fn a_full_node_is_closed_only_when_one_more_leaf_arrives() {
        let mut builder = FileBuilder::new(&profile(2));
        let mut nodes = 0;
        for (leaf, closed) in leaves(7).iter().zip([0, 0, 1, 1, 2, 2, 4]) {
            builder.push_leaf(*leaf, &mut |_| nodes += 1);
            assert_eq!(nodes, closed);
        }
    }

    #[test]
    fn every_count_up_to_a_fourth_level_builds_the_naive_tree() {
        for max_links in 2..=4 {
            for count in 1..=70 {
                let (root, _) = build(&leaves(count), &profile(max_links));
                assert_eq!(
                    root,
                    naive(leaves(count), max_links),
                    "{count} by {max_links}"
                );
            }
        }
    }

    #[test]
    fn a_reader_that_returns_few_bytes_at_a_time_gives_the_same_file() {
        struct Dribble<'a>(&'a [u8]);
        impl Read for Dribble<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if self.0.len() % 3 == 1 {
                    let (first, rest) = self.0.split_at(1);
                    self.0 = rest;
                    out[..1].copy_from_slice(first);
                    return Ok(1);
                }
                let few = out.len().min(2);
                self.0.read(&mut out[..few])
            }
        }
        let data: Vec<u8> = (0..1000).map(|n| (n % 251) as u8).collect();
        let profile = profile(3).with_chunk_bytes(64).unwrap();
        let whole = cid_of_reader(&data[..], &profile).unwrap();
        assert_eq!(cid_of_reader(Dribble(&data), &profile).unwrap(), whole);
        assert_eq!(whole.size, 1000);
    }

    #[test]
    fn an_error_of_the_reader_is_returned() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let error = cid_of_reader((&b"abc"[..]).chain(Broken), &profile(2)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_builder_equals_the_naive_tree(count in 1usize..600, max_links in 2usize..9) {
            let (root, nodes) = build(&leaves(count), &profile(max_links));
            prop_assert_eq!(root, naive(leaves(count), max_links));

            let by_cid: HashMap<Cid, &Block> = nodes.iter().map(|node| (*node.cid(), node)).collect();
            let mut read = Vec::new();
            collect_leaves(&root.cid, root.size, &by_cid, &mut read);
            prop_assert_eq!(read, leaves(count));
        }

        #[test]
        fn a_node_is_handed_out_after_its_children(count in 2usize..200, max_links in 2usize..5) {
            let (root, nodes) = build(&leaves(count), &profile(max_links));
            let mut ready: Vec<Cid> = leaves(count).iter().map(|leaf| leaf.cid).collect();
            for node in &nodes {
                let Ok(Node::File { children, .. }) = decode(node.cid(), node.data()) else { panic!() };
                prop_assert!(children.iter().all(|child| ready.contains(&child.cid)));
                ready.push(*node.cid());
            }
            prop_assert_eq!(ready.last(), Some(&root.cid));
        }
    }
}
