//! What the fuzz targets of blocks, folders and chunks run; see [`crate::fuzzing`].
//!
//! A block is read under a CID that is not its own: whoever reads one has hashed it before.

use std::collections::{BTreeMap, HashMap};

use super::chunker::{ChunkReader, Chunker, Cut, Cutter};
use super::dagpb::{self, PbLink};
use super::folder::{FolderEntry, build_folder, check_name, symlink_node};
use super::hamt::{self, Fanout, ShardLink, ShardPosition};
use super::node::{FileChild, Node, decode};
use super::unixfs;
use super::{DagError, Profile, cumulative_size, leaf};
use crate::block::{Block, Cid, DAG_PB, HashFunction};

/// A block of links and data.
pub fn dag_pb(data: &[u8]) -> bool {
    let Ok(node) = dagpb::decode(data) else {
        assert!(read_block(data).is_none(), "UnixFS without its frame");
        return false;
    };
    let message = node.data.map_or(&[][..], |range| &data[range]);
    let written = dagpb::encode(node.links.iter().cloned(), message);
    let again = dagpb::decode(&written).expect("what was written");
    assert_eq!(again.links, node.links);
    assert_eq!(again.data.map(|range| &written[range]), Some(message));
    let block = Block::new(DAG_PB, HashFunction::Sha2_256, data);
    cumulative_size(&block).expect("a readable block");
    let is_unixfs = read_block(data).is_some();
    // Where the links and the data stand in the block makes no other node of it.
    assert_eq!(read_block(&written).is_some(), is_unixfs);
    true
}

/// A UnixFS message in a block of a few links: how many, says the first byte.
pub fn unixfs(data: &[u8]) -> bool {
    let Some((&links, message)) = data.split_first() else {
        return false;
    };
    let names: Vec<_> = (0..links % 8).map(|slot| format!("{slot:02X}")).collect();
    read_block(&block(&names, message)).is_some()
}

/// One shard of a folder: a byte for its fanout, the length of its bitfield, that, and lines that are its
/// links' names.
pub fn hamt_shard(data: &[u8]) -> bool {
    let Some(([exponent, len], rest)) = data.split_first_chunk() else {
        return false;
    };
    let Some((bitfield, names)) = rest.split_at_checked(usize::from(*len)) else {
        return false;
    };
    let Ok(names) = std::str::from_utf8(names) else {
        return false;
    };
    let message = unixfs::shard(bitfield, 1 << (exponent % 16));
    let names: Vec<_> = names.lines().collect();
    read_block(&block(&names, &message)).is_some()
}

/// A folder that is sharded whatever its size: a byte for its fanout, and lines that are the names in it.
pub fn hamt_folder(data: &[u8]) -> bool {
    let Some((&exponent, names)) = data.split_first() else {
        return false;
    };
    let Ok(names) = std::str::from_utf8(names) else {
        return false;
    };
    let names = names.lines().filter(|name| check_name(name).is_ok());
    let cid = some_cid();
    let mut entries: BTreeMap<&str, FolderEntry> = BTreeMap::new();
    for (name, tsize) in names.zip(1..) {
        let entry = FolderEntry {
            name: name.to_owned(),
            cid,
            tsize,
        };
        entries.insert(name, entry);
    }
    let entries: Vec<_> = entries.into_values().collect();
    let fanout = Fanout::new(8 << (exponent % 8)).expect("a power of two from 8 to 1,024");
    let mut blocks = HashMap::new();
    let mut keep = |block: Block| {
        blocks.insert(*block.cid(), block);
        Ok::<_, DagError>(())
    };
    let top = hamt::build(&entries, fanout, &Profile::default(), &mut keep)
        .expect("names without equal hashes");
    let mut found = Vec::new();
    walk(&blocks, &top.cid, ShardPosition::top(), &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, entries);
    true
}

/// Collects what stands below a shard, which has to be one at that position.
fn walk(blocks: &HashMap<Cid, Block>, cid: &Cid, at: ShardPosition, found: &mut Vec<FolderEntry>) {
    let node = read_block(blocks[cid].data()).expect("a shard that was written");
    at.check(cid, &node).expect("a shard where it was written");
    let Node::Shard { fanout, links } = node else {
        panic!("{cid} is no shard");
    };
    for link in links {
        let Some(name) = link.name else {
            walk(blocks, &link.cid, at.below(fanout, link.slot), found);
            continue;
        };
        assert_eq!(at.slot_of(fanout, &name), link.slot);
        found.push(FolderEntry {
            name,
            cid: link.cid,
            tsize: link.tsize,
        });
    }
}

/// A file's start as `tensor-v1` cuts it, and the same bytes as a header behind their length.
pub fn tensor_v1(data: &[u8]) -> bool {
    let mut file = (data.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(data);
    cut(data) | cut(&file)
}

/// Cuts a file, and says whether it is cut at its tensors.
fn cut(file: &[u8]) -> bool {
    let mut reader = ChunkReader::new(file, Chunker::TensorV1);
    let (mut chunk, mut seen) = (Vec::new(), Vec::new());
    loop {
        let cut = reader.next(&mut chunk).expect("bytes in memory");
        assert!(chunk.len() <= cut.len);
        if chunk.is_empty() {
            break;
        }
        seen.extend_from_slice(&chunk);
    }
    assert!(seen == file, "every byte once, in order");

    let mut looks_at = 0;
    while looks_at < file.len() {
        // As the callers ask: with what they have, until it is enough.
        match Chunker::TensorV1.looks_at(&file[..looks_at]) as usize {
            enough if enough <= looks_at => break,
            more => looks_at = more.min(file.len()),
        }
    }
    let cuts = first_cuts(file);
    assert_eq!(
        cuts,
        first_cuts(&file[..looks_at]),
        "{looks_at} bytes are enough"
    );
    cuts.len() > 1
}

/// The cuts up to the rest of the file that has no tensors, 1,000 at most.
fn first_cuts(file: &[u8]) -> Vec<Cut> {
    let longest = Chunker::TensorV1.max_bytes();
    let mut cutter = Cutter::new(Chunker::TensorV1, file).expect("bytes in memory");
    let mut cuts: Vec<Cut> = Vec::new();
    let mut left = 0;
    while cuts.len() < 1_000 {
        let cut = cutter.next();
        assert!((1..=longest).contains(&cut.len), "{cut:?}");
        assert_eq!(cut.starts_run, left == 0, "{cut:?}");
        left = if left == 0 { cut.run_bytes } else { left };
        cuts.push(cut);
        if left == u64::MAX {
            break;
        }
        left = left
            .checked_sub(cut.len as u64)
            .expect("a chunk within its run");
    }
    cuts
}

fn some_cid() -> Cid {
    leaf(b"", &Profile::default()).cid
}

fn block(names: &[impl AsRef<str>], message: &[u8]) -> Vec<u8> {
    let cid = some_cid();
    let links = names.iter().zip(1..).map(|(name, tsize)| PbLink {
        cid,
        name: name.as_ref(),
        tsize,
    });
    dagpb::encode(links, message)
}

/// Reads a block, checks what readers take for granted about the node, and writes it again.
fn read_block(bytes: &[u8]) -> Option<Node> {
    let cid = Cid::new_v1(DAG_PB, *some_cid().hash());
    let node = decode(&cid, bytes).ok()?;
    let again = match &node {
        Node::Raw => panic!("a raw node under dag-pb"),
        Node::File {
            size,
            data,
            children,
        } => {
            let own = data.clone().map_or(0, |range| bytes[range].len() as u64);
            let below: u64 = children.iter().map(|child| child.size).sum();
            assert_eq!(own + below, *size);
            let is_inner = data.is_none();
            is_inner.then(|| written_file(*size, children))
        }
        Node::Folder { entries } => {
            let ordered = entries.windows(2).all(|pair| pair[0].name < pair[1].name);
            assert!(ordered && entries.iter().all(|e| check_name(&e.name).is_ok()));
            written_folder(entries)
        }
        Node::Symlink { target } => {
            let block = symlink_node(target, &Profile::default());
            Some(block.data().to_vec())
        }
        Node::Shard { fanout, links } => {
            assert!(links.windows(2).all(|pair| pair[0].slot < pair[1].slot));
            assert!(links.iter().all(|link| link.slot < *fanout));
            let top = ShardPosition::top();
            let _ = top.check(&cid, &node);
            for link in links {
                let _ = top.below(*fanout, link.slot).check(&cid, &node);
            }
            Some(written_shard(*fanout, links))
        }
    };
    if let Some(again) = again {
        assert_eq!(decode(&cid, &again).as_ref(), Ok(&node));
    }
    Some(node)
}

fn written_file(size: u64, children: &[FileChild]) -> Vec<u8> {
    let message = unixfs::file(size, children.iter().map(|child| child.size));
    let links = children.iter().map(|child| PbLink {
        cid: child.cid,
        name: "",
        tsize: child.size,
    });
    dagpb::encode(links, &message)
}

/// None if the entries are too many for one block.
fn written_folder(entries: &[FolderEntry]) -> Option<Vec<u8>> {
    let mut blocks = Vec::new();
    let mut keep = |block| {
        blocks.push(block);
        Ok::<_, DagError>(())
    };
    build_folder(entries.to_vec(), &Profile::default(), &mut keep).expect("entries that were read");
    match &blocks[..] {
        [block] => Some(block.data().to_vec()),
        _ => None,
    }
}

fn written_shard(fanout: u64, links: &[ShardLink]) -> Vec<u8> {
    let mut bitfield = vec![0; fanout as usize / 8];
    for link in links {
        let from_end = 1 + link.slot as usize / 8;
        let at = bitfield.len() - from_end;
        bitfield[at] |= 1 << (link.slot % 8);
    }
    let digits = format!("{:X}", fanout - 1).len();
    let name = |link: &ShardLink| {
        let name = link.name.as_deref().unwrap_or_default();
        format!("{:0digits$X}{name}", link.slot)
    };
    let names: Vec<_> = links.iter().map(name).collect();
    let pb_links = links.iter().zip(&names).map(|(link, name)| PbLink {
        cid: link.cid,
        name,
        tsize: link.tsize,
    });
    dagpb::encode(pb_links, &unixfs::shard(&bitfield, fanout))
}

#[cfg(test)]
pub(crate) mod seeds {
    use super::*;
    use crate::dag::folder::folder_blocks;
    use crate::dag::{FileBuilder, LeafBlock, LeafFormat};

    fn entry(name: String, tsize: u64) -> FolderEntry {
        let cid = some_cid();
        FolderEntry { name, cid, tsize }
    }

    /// Every kind of node, as it is written.
    fn blocks() -> Vec<Vec<u8>> {
        let mut blocks = vec![symlink_node("../weights", &Profile::default())];
        for count in [0, 1, 5] {
            let entries = (0..count).map(|n| entry(format!("layer-{n}.bin"), 1 << (9 * n)));
            blocks.extend(folder_blocks(entries.collect(), &Profile::default()).unwrap());
        }
        let entries: Vec<_> = (0..40).map(|n| entry(format!("{n}"), n)).collect();
        let mut keep = |block: Block| {
            blocks.push(block);
            Ok::<_, DagError>(())
        };
        for slots in [8, 256, 1024] {
            let fanout = Fanout::new(slots).unwrap();
            hamt::build(&entries, fanout, &Profile::default(), &mut keep).unwrap();
        }
        for profile in Profile::all() {
            let profile = profile.with_chunk_bytes(3).unwrap();
            let profile = profile.with_max_links(4).unwrap();
            let mut builder = FileBuilder::new(&profile);
            for chunk in [&b"abc"[..], b"def", b"ghi", b"jkl", b"m"] {
                let block = LeafBlock::new(chunk.to_vec(), &profile);
                builder.push_leaf(block.root, &mut |block| blocks.push(block));
                if profile.leaves() == LeafFormat::DagPb {
                    blocks.push(profile.node(block.data));
                }
            }
            builder.finish(&mut |block| blocks.push(block));
        }
        let nodes = blocks
            .into_iter()
            .filter(|block| block.cid().codec() == DAG_PB);
        nodes.map(|block| block.data().to_vec()).collect()
    }

    pub(crate) fn dag_pb() -> Vec<Vec<u8>> {
        let mut seeds = blocks();
        // Data before the links, and links without names and sizes.
        let links = block(&["a", "b"], b"");
        let links = links.strip_suffix(&[0x0a, 0]).unwrap();
        seeds.push([&[0x0a, 2, 8, 1], links].concat());
        seeds
    }

    pub(crate) fn unixfs() -> Vec<Vec<u8>> {
        let seeds = blocks().into_iter().filter_map(|block| {
            let node = dagpb::decode(&block).unwrap();
            let links = u8::try_from(node.links.len()).unwrap();
            let message = &block[node.data.unwrap()];
            let whole = [&[links][..], message].concat();
            super::unixfs(&whole).then_some(whole)
        });
        let mut seeds: Vec<_> = seeds.collect();
        let packed = [2, 0x08, 2, 0x18, 0xac, 2, 0x22, 3, 0xc8, 1, 100];
        let with_mode = [0, 0x08, 1, 0x38, 0xa4, 3, 0x42, 7, 8, 1, 0x15, 1, 0, 0, 0];
        seeds.extend([packed.to_vec(), with_mode.to_vec()]);
        seeds
    }

    pub(crate) fn hamt_shard() -> Vec<Vec<u8>> {
        let shards = [
            (8, &[][..], ""),
            (8, &[0x05], "00\n02é"),
            (3, &[0x81], "0a\n7"),
            (10, &[0x02, 0, 0], "011name\n"),
        ];
        let seed = |(exponent, bitfield, names): (u8, &[u8], &str)| {
            [
                &[exponent, bitfield.len() as u8],
                bitfield,
                names.as_bytes(),
            ]
            .concat()
        };
        shards.map(seed).to_vec()
    }

    pub(crate) fn hamt_folder() -> Vec<Vec<u8>> {
        let names = |count| (0..count).fold(String::new(), |text, n| format!("{text}{n}.bin\n"));
        [(0, 60), (5, 200), (7, 1), (5, 0)]
            .map(|(exponent, count)| [&[exponent], names(count).as_bytes()].concat())
            .to_vec()
    }

    pub(crate) fn tensor_v1() -> Vec<Vec<u8>> {
        let headers = [
            "{}",
            r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#,
            r#"{"b":{"data_offsets":[65536,9000000]},"a":{"data_offsets":[0,65536]},"c":{"data_offsets":[9000000,9000001]}}  "#,
            r#"{"a":{"data_offsets":[0,18446744073709551615]}}"#,
        ];
        let mut seeds: Vec<Vec<u8>> = headers.map(|header| header.as_bytes().to_vec()).to_vec();
        let files = seeds.clone().into_iter().map(|header| {
            let length = (header.len() as u64).to_le_bytes();
            [&length[..], &header, b"payload"].concat()
        });
        seeds.extend(files.collect::<Vec<_>>());
        seeds
    }
}
