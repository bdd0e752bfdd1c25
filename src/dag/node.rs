//! Reading blocks as the parts of files and folders that they are.

use std::ops::Range;

use cid::Cid;

use super::MAX_BLOCK_BYTES;
use super::dagpb::{self, PbLink, PbNode};
use super::error::{DagError, Malformed};
use super::folder::{self, FolderEntry};
use super::hamt::{self, ShardLink};
use super::unixfs::{self, Kind, UnixFs};
use crate::block::{DAG_PB, RAW};

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Node {
    /// A leaf: the block is bytes of a file.
    Raw,
    /// A file, or a part of one, in dag-pb: first the bytes in this block, then the children.
    File {
        /// Bytes of this part of the file.
        size: u64,
        /// Where in the block the file's bytes lie, if it holds some.
        data: Option<Range<usize>>,
        /// The parts that follow, in order. Their sizes and that of `data` sum up to `size`.
        children: Vec<FileChild>,
    },
    /// A folder in one block.
    Folder {
        /// Its entries, sorted by the bytes of their names; [`check_name`](super::check_name)
        /// accepts each, and no name is there twice.
        entries: Vec<FolderEntry>,
    },
    /// A symlink.
    Symlink {
        /// The path it holds, any text.
        target: String,
    },
    /// A part of a folder that is sharded into a HAMT. Whether it can stand where a link led to it,
    /// [`ShardPosition::check`](super::ShardPosition::check) says.
    Shard {
        /// How many slots it has, a power of two from 8 to 1,024.
        fanout: u64,
        /// The slots that are taken, in ascending order.
        links: Vec<ShardLink>,
    },
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChild {
    /// The block it begins with.
    pub cid: Cid,
    /// Bytes of the file it stands for, as its parent says. The child has to say the same.
    pub size: u64,
}

/// Reads a block. It is not hashed: `data` are the bytes of a [`Block`](crate::block::Block), or come
/// from where they were checked.
///
/// # Errors
///
/// [`DagError`] for a codec other than raw and dag-pb, a block over 2 MiB, and every dag-pb block that
/// is not well-formed UnixFS.
pub fn decode(cid: &Cid, data: &[u8]) -> Result<Node, DagError> {
    if data.len() > MAX_BLOCK_BYTES {
        let (len, limit) = (data.len(), MAX_BLOCK_BYTES);
        return Err(DagError::BlockTooLarge {
            cid: *cid,
            len,
            limit,
        });
    }
    match cid.codec() {
        RAW => Ok(Node::Raw),
        DAG_PB => decode_unixfs(data).map_err(|fault| DagError::Malformed {
            cid: *cid,
            fault: Box::new(fault),
        }),
        codec => Err(DagError::Codec { cid: *cid, codec }),
    }
}

fn decode_unixfs(block: &[u8]) -> Result<Node, Malformed> {
    let PbNode { links, data } = dagpb::decode(block)?;
    let data = data.ok_or(Malformed::Missing {
        message: "PBNode",
        field: "Data",
    })?;
    let unixfs = unixfs::decode(block, data)?;
    if matches!(unixfs.kind, Kind::Raw | Kind::Symlink) && !links.is_empty() {
        let (name, links) = (unixfs.kind.name(), links.len());
        return Err(Malformed::UnexpectedLinks { name, links });
    }
    match unixfs.kind {
        Kind::Raw | Kind::File => file(unixfs, &links),
        Kind::Directory => folder(links),
        Kind::Symlink => {
            let missing = Malformed::Missing {
                message: "UnixFS Data",
                field: "Data",
            };
            let target = dagpb::text(block, unixfs.data.ok_or(missing)?)?;
            Ok(Node::Symlink {
                target: target.to_owned(),
            })
        }
        Kind::HamtShard => hamt::read(block, &unixfs, links),
        Kind::Metadata => Err(Malformed::UnsupportedType {
            name: unixfs.kind.name(),
        }),
    }
}

fn file(unixfs: UnixFs, links: &[PbLink<'_>]) -> Result<Node, Malformed> {
    let UnixFs {
        data,
        file_size,
        block_sizes,
        ..
    } = unixfs;
    if links.len() != block_sizes.len() {
        return Err(Malformed::BlockSizes {
            links: links.len(),
            sizes: block_sizes.len(),
        });
    }
    let own = data.as_ref().map_or(0, |data| data.len() as u64);
    let found = block_sizes
        .iter()
        .try_fold(own, |sum, size| sum.checked_add(*size));
    let size = match (file_size, found) {
        (Some(stated), found) if found != Some(stated) => {
            return Err(Malformed::FileSize { stated, found });
        }
        (None, None) => {
            return Err(Malformed::FileSize {
                stated: 0,
                found: None,
            });
        }
        (stated, found) => stated.or(found).unwrap_or_default(),
    };
    let children = links
        .iter()
        .zip(block_sizes)
        .map(|(link, size)| FileChild {
            cid: link.cid,
            size,
        })
        .collect();
    Ok(Node::File {
        size,
        data,
        children,
    })
}

fn folder(links: Vec<PbLink<'_>>) -> Result<Node, Malformed> {
    let mut entries: Vec<_> = links
        .into_iter()
        .map(|link| FolderEntry {
            name: link.name.to_owned(),
            cid: link.cid,
            tsize: link.tsize,
        })
        .collect();
    folder::sort(&mut entries)?;
    Ok(Node::Folder { entries })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::HashFunction;
    use crate::dag::folder::folder_blocks;
    use crate::dag::{NameFault, Profile, leaf, symlink_node};

    fn cid(codec: u64) -> Cid {
        Cid::new_v1(codec, HashFunction::Sha2_256.digest(b""))
    }

    fn link(name: &str) -> PbLink<'_> {
        PbLink {
            cid: leaf(b"abc", &Profile::default()).cid,
            name,
            tsize: 3,
        }
    }

    /// Reads a block of that many links around a UnixFS message.
    fn read(links: &[&str], message: &[u8]) -> Result<Node, Malformed> {
        let block = dagpb::encode(links.iter().map(|name| link(name)), message);
        decode(&cid(DAG_PB), &block).map_err(|error| match error {
            DagError::Malformed { fault, .. } => *fault,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn raw_blocks_up_to_2_mib_are_leaves() {
        assert_eq!(decode(&cid(RAW), &vec![0; MAX_BLOCK_BYTES]), Ok(Node::Raw));
        let (len, limit) = (MAX_BLOCK_BYTES + 1, MAX_BLOCK_BYTES);
        for codec in [RAW, DAG_PB] {
            let too_large = DagError::BlockTooLarge {
                cid: cid(codec),
                len,
                limit,
            };
            assert_eq!(decode(&cid(codec), &vec![0; len]), Err(too_large));
        }
    }

    #[test]
    fn other_codecs_are_refused() {
        let codec = 0x71;
        assert_eq!(
            decode(&cid(codec), b""),
            Err(DagError::Codec {
                cid: cid(codec),
                codec
            })
        );
    }

    #[test]
    fn the_sizes_of_a_file_have_to_add_up() {
        let Ok(Node::File {
            size: 5,
            data: None,
            children,
        }) = read(&["", ""], &unixfs::file(5, [3, 2]))
        else {
            panic!()
        };
        assert_eq!(
            children.iter().map(|child| child.size).collect::<Vec<_>>(),
            [3, 2]
        );
        assert_eq!(
            read(&["", ""], &unixfs::file(3, [3])),
            Err(Malformed::BlockSizes { links: 2, sizes: 1 })
        );
        assert_eq!(
            read(&[], &unixfs::file(3, [3])),
            Err(Malformed::BlockSizes { links: 0, sizes: 1 })
        );
        assert_eq!(
            read(&["", ""], &unixfs::file(6, [3, 2])),
            Err(Malformed::FileSize {
                stated: 6,
                found: Some(5)
            })
        );
        let overflow = read(&["", ""], &unixfs::file(1, [u64::MAX, 2])).unwrap_err();
        assert_eq!(
            overflow,
            Malformed::FileSize {
                stated: 1,
                found: None
            }
        );
        assert!(overflow.to_string().contains("64 bits"), "{overflow}");
        let mut unstated = vec![0x08, 2];
        for _ in 0..2 {
            unstated.extend([
                0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ]);
        }
        assert!(read(&["", ""], &unstated).is_err());
    }

    #[test]
    fn bytes_inside_a_dag_pb_block_are_found_and_count() {
        // The leaf `hello\n` as older `ipfs add` writes it.
        let block = b"\x0a\x0c\x08\x02\x12\x06hello\n\x18\x06";
        let v0 = Cid::new_v0(HashFunction::Sha2_256.digest(block)).unwrap();
        assert_eq!(
            v0.to_string(),
            "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"
        );
        let node = decode(&v0, block).unwrap();
        assert_eq!(
            node,
            Node::File {
                size: 6,
                data: Some(6..12),
                children: vec![]
            }
        );
        assert_eq!(&block[6..12], b"hello\n");

        let with_child = [0x08, 2, 0x12, 1, 9, 0x18, 4, 0x20, 3];
        assert!(matches!(
            read(&[""], &with_child),
            Ok(Node::File {
                size: 4,
                data: Some(_),
                ..
            })
        ));
        let raw = [0x08, 0, 0x12, 1, 9, 0x18, 1];
        assert!(matches!(read(&[], &raw), Ok(Node::File { size: 1, .. })));
        let links = Malformed::UnexpectedLinks {
            name: "Raw",
            links: 1,
        };
        assert_eq!(read(&[""], &raw), Err(links));
    }

    #[test]
    fn a_folder_is_read_sorted_and_checked() {
        let entries = vec![
            FolderEntry {
                name: "b".into(),
                cid: cid(RAW),
                tsize: 1,
            },
            FolderEntry {
                name: "a".into(),
                cid: cid(DAG_PB),
                tsize: 2,
            },
        ];
        let block = &folder_blocks(entries.clone(), &Profile::default()).unwrap()[0];
        let Ok(Node::Folder {
            entries: read_entries,
        }) = decode(block.cid(), block.data())
        else {
            panic!()
        };
        assert_eq!(read_entries, [entries[1].clone(), entries[0].clone()]);

        let directory = unixfs::directory();
        let Ok(Node::Folder { entries }) = read(&["b", "a"], &directory) else {
            panic!()
        };
        assert_eq!((&*entries[0].name, &*entries[1].name), ("a", "b"));
        for (names, expected) in [
            (&["a", ".."][..], NameFault::Dots),
            (&["../a"], NameFault::Slash),
            (&[""], NameFault::Empty),
            (&["a\0"], NameFault::Nul),
            (&["b", "a", "b"], NameFault::Duplicate),
        ] {
            let Err(Malformed::Name(error)) = read(names, &directory) else {
                panic!("{names:?}")
            };
            assert_eq!(error.fault, expected);
        }
    }

    #[test]
    fn a_symlink_is_read_with_its_target() {
        let block = symlink_node("../weights", &Profile::default());
        let target = "../weights".into();
        assert_eq!(
            decode(block.cid(), block.data()),
            Ok(Node::Symlink { target })
        );
        assert!(read(&["a"], &unixfs::symlink("b")).is_err());
        assert!(matches!(
            read(&[], &[0x08, 4]),
            Err(Malformed::Missing { field: "Data", .. })
        ));
        assert!(matches!(
            read(&[], &[0x08, 4, 0x12, 1, 0xff]),
            Err(Malformed::Text { .. })
        ));
    }

    #[test]
    fn dag_pb_that_is_not_unixfs_and_metadata_are_refused() {
        let missing = Malformed::Missing {
            message: "PBNode",
            field: "Data",
        };
        let error = decode(&cid(DAG_PB), b"").unwrap_err();
        let expected = DagError::Malformed {
            cid: cid(DAG_PB),
            fault: Box::new(missing),
        };
        assert_eq!(error, expected);
        assert_eq!(
            read(&[], &[0x08, 3]),
            Err(Malformed::UnsupportedType { name: "Metadata" })
        );
    }

    proptest! {
        #[test]
        fn reading_hostile_bytes_never_panics(links: Vec<String>, message: Vec<u8>, bytes: Vec<u8>) {
            let links: Vec<_> = links.iter().map(String::as_str).collect();
            let _ = read(&links, &message);
            let _ = decode(&cid(DAG_PB), &bytes);
        }

        #[test]
        fn a_message_of_plausible_fields_never_panics(
            kind in 0u8..7,
            sizes in prop::collection::vec(any::<u64>(), 0..4),
            total: u64,
            fanout: u64,
        ) {
            let mut message = unixfs::file(total, sizes.iter().copied());
            message[1] = kind;
            super::super::protobuf::put_number(&mut message, 6, fanout);
            if let Ok(Node::File { size, children, .. }) = read(&vec![""; sizes.len()], &message) {
                let sum = children.iter().map(|child| u128::from(child.size)).sum::<u128>();
                prop_assert_eq!(u128::from(size), sum);
            }
        }

        #[test]
        fn a_folder_reads_as_it_was_written(names in prop::collection::btree_set("[^/\0]{1,12}", 0..20)) {
            let entries: Vec<_> = names
                .into_iter()
                .filter(|name| name != "." && name != "..")
                .map(|name| FolderEntry { name, cid: cid(RAW), tsize: 7 })
                .collect();
            let reversed = entries.iter().rev().cloned().collect();
            let block = &folder_blocks(reversed, &Profile::default()).unwrap()[0];
            prop_assert_eq!(decode(block.cid(), block.data()), Ok(Node::Folder { entries }));
        }
    }
}
