//! The UnixFS message inside a dag-pb block (<https://specs.ipfs.tech/unixfs/#data>).
//!
//! The enumeration is boxo's `unixfs.proto`: Raw 0, Directory 1, File 2. The specification's text had
//! two of them swapped.

use std::ops::Range;

use super::error::Malformed;
use super::hamt;
use super::protobuf::{LEN, Reader, VARINT, put_bytes, put_length, put_number};

const TYPE: u8 = 1;
const DATA: u8 = 2;
const FILE_SIZE: u8 = 3;
const BLOCK_SIZES: u8 = 4;
const HASH_TYPE: u8 = 5;
const FANOUT: u8 = 6;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Raw = 0,
    Directory = 1,
    File = 2,
    Metadata = 3,
    Symlink = 4,
    HamtShard = 5,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Raw,
        Self::Directory,
        Self::File,
        Self::Metadata,
        Self::Symlink,
        Self::HamtShard,
    ];

    /// The name in the specification.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "Raw",
            Self::Directory => "Directory",
            Self::File => "File",
            Self::Metadata => "Metadata",
            Self::Symlink => "Symlink",
            Self::HamtShard => "HAMTShard",
        }
    }

    fn from_number(value: u64) -> Result<Self, Malformed> {
        let known = Self::ALL.into_iter().find(|kind| *kind as u64 == value);
        known.ok_or(Malformed::UnknownType { value })
    }
}

/// The message, decoded. Mode and modification time are passed over: the profiles do not use them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnixFs {
    pub(super) kind: Kind,
    /// Where in the block the data lies.
    pub(super) data: Option<Range<usize>>,
    pub(super) file_size: Option<u64>,
    pub(super) block_sizes: Vec<u64>,
    pub(super) hash_type: Option<u64>,
    pub(super) fanout: Option<u64>,
}

/// The message of an inner node of a file, which has one size for each link and no data.
pub(super) fn file(file_size: u64, block_sizes: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, TYPE, Kind::File as u64);
    put_number(&mut out, FILE_SIZE, file_size);
    for size in block_sizes {
        put_number(&mut out, BLOCK_SIZES, size);
    }
    out
}

/// What stands before and after a chunk in its message. As in boxo an empty one has no `Data`.
pub(super) fn leaf(chunk_bytes: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    put_number(&mut before, TYPE, Kind::File as u64);
    if chunk_bytes > 0 {
        put_length(&mut before, DATA, chunk_bytes);
    }
    put_number(&mut after, FILE_SIZE, chunk_bytes);
    (before, after)
}

/// The message of a folder that fits one block.
pub(super) fn directory() -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, TYPE, Kind::Directory as u64);
    out
}

/// The message of a shard of a folder. Like boxo it has no bitfield if that is empty.
pub(super) fn shard(bitfield: &[u8], fanout: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, TYPE, Kind::HamtShard as u64);
    if !bitfield.is_empty() {
        put_bytes(&mut out, DATA, bitfield);
    }
    put_number(&mut out, HASH_TYPE, hamt::HASH_TYPE);
    put_number(&mut out, FANOUT, fanout);
    out
}

/// The message of a symlink. Like Kubo (boxo's `SymlinkData`) it states no size.
pub(super) fn symlink(target: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, TYPE, Kind::Symlink as u64);
    put_bytes(&mut out, DATA, target.as_bytes());
    out
}

/// Reads the message at a range of a block. Block sizes may be packed; later fields of the format
/// are passed over, repeated ones are refused since readers would differ about them.
pub(super) fn decode(block: &[u8], range: Range<usize>) -> Result<UnixFs, Malformed> {
    let mut reader = Reader::new("UnixFS Data", block, range);
    let (mut kind, mut data, mut file_size) = (None, None, None);
    let (mut hash_type, mut fanout) = (None, None);
    let mut block_sizes = Vec::new();
    let mut seen = 0u8;
    while let Some(key) = reader.key()? {
        match key.field {
            4 => {}
            1..=8 => {
                let bit = 1 << (key.field - 1);
                if seen & bit != 0 {
                    return Err(reader.repeated(key));
                }
                seen |= bit;
            }
            0 => return Err(reader.unexpected(key)),
            _ => {}
        }
        match (key.field, key.wire_type) {
            (1, VARINT) => kind = Some(Kind::from_number(reader.number()?)?),
            (2, LEN) => data = Some(reader.bytes()?),
            (3, VARINT) => file_size = Some(reader.number()?),
            (4, VARINT) => block_sizes.push(reader.number()?),
            (4, LEN) => {
                let packed = reader.bytes()?;
                let end = packed.end;
                let mut sizes = Reader::new("packed blocksizes", block, packed);
                while sizes.offset() < end {
                    block_sizes.push(sizes.number()?);
                }
            }
            (5, VARINT) => hash_type = Some(reader.number()?),
            (6, VARINT) => fanout = Some(reader.number()?),
            (7, VARINT) | (8, LEN) | (9.., _) => reader.skip(key)?,
            _ => return Err(reader.unexpected(key)),
        }
    }
    let missing = Malformed::Missing {
        message: reader.message(),
        field: "Type",
    };
    Ok(UnixFs {
        kind: kind.ok_or(missing)?,
        data,
        file_size,
        block_sizes,
        hash_type,
        fanout,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<UnixFs, Malformed> {
        decode(bytes, 0..bytes.len())
    }

    #[test]
    fn messages_are_written_byte_for_byte_as_kubo_writes_them() {
        assert_eq!(directory(), [0x08, 0x01]);
        assert_eq!(
            file(300, [200, 100]),
            [0x08, 2, 0x18, 0xac, 2, 0x20, 0xc8, 1, 0x20, 100]
        );
        assert_eq!(symlink("a/b"), [0x08, 4, 0x12, 3, b'a', b'/', b'b']);
    }

    #[test]
    fn packed_block_sizes_are_read_like_unpacked_ones() {
        let packed = read(&[0x08, 2, 0x18, 0xac, 2, 0x22, 3, 0xc8, 1, 100]).unwrap();
        assert_eq!(packed, read(&file(300, [200, 100])).unwrap());
        assert_eq!(packed.block_sizes, [200, 100]);
        assert!(
            read(&[0x08, 2, 0x22, 1, 0xc8, 1]).is_err(),
            "a number that leaves the packed field"
        );
    }

    #[test]
    fn the_type_is_required_and_must_exist() {
        let missing = Malformed::Missing {
            message: "UnixFS Data",
            field: "Type",
        };
        assert_eq!(read(&[]), Err(missing));
        assert_eq!(read(&[0x08, 6]), Err(Malformed::UnknownType { value: 6 }));
        for kind in Kind::ALL {
            assert_eq!(read(&[0x08, kind as u8]).unwrap().kind, kind);
        }
    }

    #[test]
    fn mode_mtime_and_later_fields_are_passed_over() {
        let mut bytes = directory();
        bytes.extend([0x38, 0xa4, 3]);
        bytes.extend([0x42, 7, 0x08, 1, 0x15, 1, 0, 0, 0]);
        bytes.extend([0x48, 1, 0x52, 1, 0, 0x5d, 0, 0, 0, 0]);
        assert_eq!(read(&bytes), read(&directory()));
    }

    #[test]
    fn repeated_fields_and_wrong_wire_types_are_refused() {
        let repeated = Malformed::RepeatedField {
            message: "UnixFS Data",
            offset: 2,
            field: 1,
        };
        assert_eq!(read(&[0x08, 1, 0x08, 2]), Err(repeated));
        for bytes in [
            &[0x0a, 0][..],
            &[0x10, 0],
            &[0x1a, 0],
            &[0x25, 0, 0, 0, 0],
            &[0x32, 0],
        ] {
            let error = read(bytes).unwrap_err();
            assert!(
                matches!(error, Malformed::UnexpectedField { offset: 0, .. }),
                "{error}"
            );
        }
        assert!(read(&[0x08, 1, 0x4b]).is_err(), "a group");
        assert!(read(&[0x00, 1]).is_err(), "field 0");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(size: u64, sizes: Vec<u64>, target: String) {
            let bytes = file(size, sizes.iter().copied());
            let node = read(&bytes).unwrap();
            prop_assert_eq!((node.kind, node.file_size), (Kind::File, Some(size)));
            prop_assert_eq!((node.block_sizes, node.data), (sizes, None));
            let bytes = symlink(&target);
            let node = read(&bytes).unwrap();
            prop_assert_eq!(&bytes[node.data.unwrap()], target.as_bytes());
        }

        #[test]
        fn reading_hostile_bytes_never_panics(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
