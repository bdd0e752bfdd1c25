//! The part of the protobuf wire format that DAG-PB and UnixFS need
//! (<https://protobuf.dev/programming-guides/encoding/>), read without trust.

use std::ops::Range;

use super::error::Malformed;

/// Wire type of a number.
pub(super) const VARINT: u8 = 0;
const FIXED64: u8 = 1;
/// Wire type of bytes behind their length.
pub(super) const LEN: u8 = 2;
const FIXED32: u8 = 5;

/// Appends a number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field that is a number. Field numbers are under 16 here, so that a key is one byte.
pub(super) fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | VARINT);
    put_varint(out, value);
}

/// Appends a field that is bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_length(out, field, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends what stands before the bytes of a field.
pub(super) fn put_length(out: &mut Vec<u8>, field: u8, len: u64) {
    out.push(field << 3 | LEN);
    put_varint(out, len);
}

/// The start of a field.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) field: u64,
    pub(super) wire_type: u8,
    pub(super) offset: usize,
}

/// Reads one message, a range of a block.
pub(super) struct Reader<'a> {
    message: &'static str,
    block: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// `range` lies in `block`; it comes from a reader of the block or covers all of it.
    pub(super) fn new(message: &'static str, block: &'a [u8], range: Range<usize>) -> Self {
        Self {
            message,
            block,
            at: range.start,
            end: range.end.min(block.len()),
        }
    }

    pub(super) fn message(&self) -> &'static str {
        self.message
    }

    /// How far it has read, from the start of the block.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.block.get(self.at..self.end).unwrap_or_default()
    }

    /// The next field, none at the end.
    pub(super) fn key(&mut self) -> Result<Option<Key>, Malformed> {
        if self.rest().is_empty() {
            return Ok(None);
        }
        let offset = self.at;
        let key = self.number()?;
        Ok(Some(Key {
            field: key >> 3,
            wire_type: (key & 7) as u8,
            offset,
        }))
    }

    /// A number of up to ten bytes. Longer forms than needed are read, as Go and JavaScript do.
    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let (offset, rest) = (self.at, self.rest());
        let mut value = 0;
        for (at, &byte) in rest.iter().take(10).enumerate() {
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.at += at + 1;
                return Ok(value);
            }
        }
        if rest.len() < 10 {
            let (needed, left) = (rest.len() as u64 + 1, rest.len());
            return Err(Malformed::Truncated {
                message: self.message,
                offset,
                needed,
                left,
            });
        }
        Err(Malformed::Varint {
            message: self.message,
            offset,
        })
    }

    /// Where the bytes of a field lie in the block.
    pub(super) fn bytes(&mut self) -> Result<Range<usize>, Malformed> {
        let len = self.number()?;
        self.take(len)
    }

    /// Passes over a field that means nothing here.
    pub(super) fn skip(&mut self, key: Key) -> Result<(), Malformed> {
        match key.wire_type {
            VARINT => self.number().map(drop),
            FIXED64 => self.take(8).map(drop),
            LEN => self.bytes().map(drop),
            FIXED32 => self.take(4).map(drop),
            _ => Err(self.unexpected(key)),
        }
    }

    fn take(&mut self, len: u64) -> Result<Range<usize>, Malformed> {
        let left = self.rest().len();
        if len > left as u64 {
            let (message, offset) = (self.message, self.at);
            return Err(Malformed::Truncated {
                message,
                offset,
                needed: len,
                left,
            });
        }
        let start = self.at;
        self.at += len as usize;
        Ok(start..self.at)
    }

    pub(super) fn unexpected(&self, key: Key) -> Malformed {
        let Key {
            field,
            wire_type,
            offset,
        } = key;
        Malformed::UnexpectedField {
            message: self.message,
            offset,
            field,
            wire_type,
        }
    }

    pub(super) fn repeated(&self, key: Key) -> Malformed {
        let Key { field, offset, .. } = key;
        Malformed::RepeatedField {
            message: self.message,
            offset,
            field,
        }
    }

    pub(super) fn out_of_order(&self, key: Key) -> Malformed {
        let Key { field, offset, .. } = key;
        Malformed::OutOfOrder {
            message: self.message,
            offset,
            field,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<u64, Malformed> {
        Reader::new("test", bytes, 0..bytes.len()).number()
    }

    #[test]
    fn numbers_past_64_bits_are_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(read(&bytes), Ok(u64::MAX));
        bytes[9] = 2;
        assert_eq!(
            read(&bytes),
            Err(Malformed::Varint {
                message: "test",
                offset: 0
            })
        );
        assert_eq!(
            read(&[0x80; 11]),
            Err(Malformed::Varint {
                message: "test",
                offset: 0
            })
        );
        let truncated = Malformed::Truncated {
            message: "test",
            offset: 0,
            needed: 3,
            left: 2,
        };
        assert_eq!(read(&[0x80; 2]), Err(truncated));
        assert_eq!(read(&[0x81, 0x80, 0x00]), Ok(1));
    }

    #[test]
    fn a_length_past_the_end_is_refused_however_large() {
        for len in [3, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, len);
            let offset = bytes.len();
            bytes.extend([1, 2]);
            let expected = Malformed::Truncated {
                message: "test",
                offset,
                needed: len,
                left: 2,
            };
            assert_eq!(
                Reader::new("test", &bytes, 0..bytes.len()).bytes(),
                Err(expected)
            );
        }
    }

    #[test]
    fn groups_are_not_skipped() {
        for wire_type in [3, 4, 6, 7] {
            let key = Key {
                field: 9,
                wire_type,
                offset: 0,
            };
            assert!(Reader::new("test", &[0; 16], 0..16).skip(key).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_number_reads_as_it_was_written(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(read(&bytes), Ok(value));
        }
    }
}
