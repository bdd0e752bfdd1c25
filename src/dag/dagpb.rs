//! DAG-PB, the frame around UnixFS: links and an opaque byte string.
//!
//! Written as Go and JavaScript write it: `Links` (field 2) before `Data` (field 1); in each link
//! `Hash`, `Name` (present when empty too) and `Tsize`. Read as strictly as the
//! [specification](https://ipld.io/specs/codecs/dag-pb/spec/#protobuf-strictness) asks, and with
//! `Data` in either place, since blocks of both orders exist
//! ([ipfs/specs#531](https://github.com/ipfs/specs/pull/531)).

use std::ops::Range;

use super::error::Malformed;
use super::protobuf::{LEN, Reader, VARINT, put_bytes, put_length, put_number};
use crate::block::{Cid, cid_from_bytes};

const NODE_DATA: u8 = 1;
const NODE_LINKS: u8 = 2;
const LINK_HASH: u8 = 1;
const LINK_NAME: u8 = 2;
const LINK_TSIZE: u8 = 3;

/// A link to another block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PbLink<'a> {
    pub(super) cid: Cid,
    pub(super) name: &'a str,
    /// Bytes of the block and of all below it, as the writer says; nothing checks it.
    pub(super) tsize: u64,
}

/// A block, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PbNode<'a> {
    pub(super) links: Vec<PbLink<'a>>,
    /// Where in the block the data lies.
    pub(super) data: Option<Range<usize>>,
}

/// What stands before the data of a block without links.
pub(super) fn before_data(data_bytes: u64) -> Vec<u8> {
    let mut block = Vec::new();
    put_length(&mut block, NODE_DATA, data_bytes);
    block
}

/// Writes a block in the canonical form.
pub(super) fn encode<'a>(links: impl IntoIterator<Item = PbLink<'a>>, data: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut inner = Vec::new();
    for link in links {
        inner.clear();
        put_bytes(&mut inner, LINK_HASH, &link.cid.to_bytes());
        put_bytes(&mut inner, LINK_NAME, link.name.as_bytes());
        put_number(&mut inner, LINK_TSIZE, link.tsize);
        put_bytes(&mut block, NODE_LINKS, &inner);
    }
    put_bytes(&mut block, NODE_DATA, data);
    block
}

/// Reads a block.
pub(super) fn decode(block: &[u8]) -> Result<PbNode<'_>, Malformed> {
    let mut reader = Reader::new("PBNode", block, 0..block.len());
    let mut node = PbNode {
        links: Vec::new(),
        data: None,
    };
    let mut links_ended = false;
    while let Some(key) = reader.key()? {
        match (key.field, key.wire_type) {
            (2, LEN) if links_ended => return Err(reader.out_of_order(key)),
            (2, LEN) => node.links.push(decode_link(block, reader.bytes()?)?),
            (1, LEN) if node.data.is_some() => return Err(reader.repeated(key)),
            (1, LEN) => {
                node.data = Some(reader.bytes()?);
                links_ended = !node.links.is_empty();
            }
            _ => return Err(reader.unexpected(key)),
        }
    }
    Ok(node)
}

fn decode_link(block: &[u8], range: Range<usize>) -> Result<PbLink<'_>, Malformed> {
    let mut reader = Reader::new("PBLink", block, range);
    let (mut cid, mut name, mut tsize) = (None, "", 0);
    let mut last = 0;
    while let Some(key) = reader.key()? {
        match (key.field, key.wire_type) {
            (1, LEN) | (2, LEN) | (3, VARINT) if key.field == last => {
                return Err(reader.repeated(key));
            }
            (1, LEN) | (2, LEN) | (3, VARINT) if key.field < last => {
                return Err(reader.out_of_order(key));
            }
            (1, LEN) => {
                let at = reader.bytes()?;
                let offset = at.start;
                let read = cid_from_bytes(&block[at]);
                cid = Some(read.map_err(|fault| Malformed::LinkCid { offset, fault })?);
            }
            (2, LEN) => name = text(block, reader.bytes()?)?,
            (3, VARINT) => tsize = reader.number()?,
            _ => return Err(reader.unexpected(key)),
        }
        last = key.field;
    }
    let missing = Malformed::Missing {
        message: reader.message(),
        field: "Hash",
    };
    Ok(PbLink {
        cid: cid.ok_or(missing)?,
        name,
        tsize,
    })
}

/// The text at a range of the block that a reader returned.
pub(super) fn text(block: &[u8], at: Range<usize>) -> Result<&str, Malformed> {
    let offset = at.start;
    std::str::from_utf8(&block[at]).map_err(|source| Malformed::Text { offset, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::{CidFault, HashFunction, RAW};

    fn cid(seed: u8) -> Cid {
        Cid::new_v1(RAW, HashFunction::Sha2_256.digest(&[seed]))
    }

    fn link(name: &str) -> PbLink<'_> {
        PbLink {
            cid: cid(1),
            name,
            tsize: 5,
        }
    }

    /// A link with the given fields after the hash.
    fn raw_link(fields: &[u8]) -> Vec<u8> {
        let mut inner = Vec::new();
        put_bytes(&mut inner, LINK_HASH, &cid(1).to_bytes());
        inner.extend_from_slice(fields);
        let mut block = Vec::new();
        put_bytes(&mut block, NODE_LINKS, &inner);
        block
    }

    #[test]
    fn a_block_has_links_before_data_and_an_empty_name_is_present() {
        let hash = cid(1).to_bytes();
        let expected = [
            &[0x12, 42, 0x0a, 36][..],
            &hash,
            &[0x12, 0, 0x18, 5],
            &[0x0a, 2, 8, 1],
        ]
        .concat();
        assert_eq!(encode([link("")], &[8, 1]), expected);
    }

    #[test]
    fn data_may_stand_before_the_links_but_not_between_them() {
        let (one, data) = (raw_link(&[]), [0x0a, 1, 7]);
        let node = |parts: &[&[u8]]| decode(&parts.concat()).map(|node| node.links.len());
        assert_eq!(node(&[&one, &one, &data]), Ok(2));
        assert_eq!(node(&[&data, &one, &one]), Ok(2));
        let offset = one.len() + data.len();
        let between = Malformed::OutOfOrder {
            message: "PBNode",
            offset,
            field: 2,
        };
        assert_eq!(node(&[&one, &data, &one]), Err(between));
        let twice = Malformed::RepeatedField {
            message: "PBNode",
            offset: 3,
            field: 1,
        };
        assert_eq!(node(&[&data, &data]), Err(twice));
    }

    #[test]
    fn a_link_may_lack_name_and_size_but_not_its_hash() {
        let block = raw_link(&[]);
        assert_eq!(
            decode(&block).unwrap().links,
            [PbLink {
                cid: cid(1),
                name: "",
                tsize: 0
            }]
        );
        let missing = Malformed::Missing {
            message: "PBLink",
            field: "Hash",
        };
        assert_eq!(decode(&[0x12, 2, 0x18, 5]), Err(missing));
    }

    #[test]
    fn fields_of_a_link_that_are_repeated_or_out_of_order_are_refused() {
        let twice = decode(&raw_link(&[0x12, 0, 0x12, 0])).unwrap_err();
        assert_eq!(
            twice,
            Malformed::RepeatedField {
                message: "PBLink",
                offset: 42,
                field: 2
            }
        );
        let order = decode(&raw_link(&[0x18, 5, 0x12, 0])).unwrap_err();
        assert_eq!(
            order,
            Malformed::OutOfOrder {
                message: "PBLink",
                offset: 42,
                field: 2
            }
        );
    }

    #[test]
    fn unknown_fields_and_wire_types_are_refused() {
        for (bytes, field, wire_type) in [
            (&[0x1a, 0][..], 3, 2),
            (&[0x08, 0], 1, 0),
            (&[0x13], 2, 3),
            (&[0x02, 0], 0, 2),
        ] {
            let unexpected = Malformed::UnexpectedField {
                message: "PBNode",
                offset: 0,
                field,
                wire_type,
            };
            assert_eq!(decode(bytes), Err(unexpected));
        }
        assert!(decode(&raw_link(&[0x22, 0])).is_err());
        assert!(decode(&raw_link(&[0x1d, 0, 0, 0, 0])).is_err());
    }

    #[test]
    fn a_link_to_no_cid_and_a_name_that_is_no_text_are_refused() {
        let fault = CidFault::Version { version: 7 };
        assert_eq!(
            decode(&[0x12, 3, 0x0a, 1, 7]),
            Err(Malformed::LinkCid { offset: 4, fault })
        );
        let error = decode(&raw_link(&[0x12, 1, 0xff])).unwrap_err();
        assert!(
            matches!(error, Malformed::Text { offset: 42, .. }),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            links in prop::collection::vec((any::<u8>(), any::<String>(), any::<u64>()), 0..20),
            data: Vec<u8>,
        ) {
            let links: Vec<_> = links
                .iter()
                .map(|(seed, name, tsize)| PbLink { cid: cid(*seed), name, tsize: *tsize })
                .collect();
            let block = encode(links.iter().cloned(), &data);
            let node = decode(&block).unwrap();
            prop_assert_eq!(&node.links, &links);
            prop_assert_eq!(&block[node.data.unwrap()], &data[..]);
        }

        #[test]
        fn reading_hostile_bytes_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn reading_a_damaged_block_never_panics(at: prop::sample::Index, bits in 1u8.., cut: prop::sample::Index) {
            let mut block = encode([link("a"), link("b")], &[8, 1]);
            let at = at.index(block.len());
            block[at] ^= bits;
            let _ = decode(&block);
            let _ = decode(&block[..cut.index(block.len())]);
        }
    }
}
