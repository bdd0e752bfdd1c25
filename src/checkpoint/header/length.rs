//! The first bytes of a safetensors file, or of what was taken for one.

use super::super::error::{Foreign, LoadError};

/// Bytes of the number that says how long the header is.
pub(super) const LENGTH_BYTES: u64 = 8;

/// The longest header that the format allows, in bytes.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// How long the header of a safetensors file is, in bytes, after the 8 bytes that say so.
///
/// `first_bytes` is the beginning of the file: at least 8 bytes if it has as many; with more, what
/// is no safetensors file is told from a damaged one. `file_len` is the file's length.
///
/// # Errors
/// If the file is too short, too long in its header or ends inside it, or is a git-lfs pointer, a
/// web page, a PyTorch checkpoint or the like.
///
/// ```
/// # use ipfs_accelerate::checkpoint::header_len;
/// let file = b"\x02\0\0\0\0\0\0\0{}";
/// assert_eq!(header_len("model.safetensors", file, 10).unwrap(), 2);
/// assert_eq!(header_len("model.safetensors", &file[..8], 9).unwrap_err().to_string(),
///     "model.safetensors: ends inside its header, at least 1 bytes short: not downloaded whole");
/// ```
pub fn header_len(shard: &str, first_bytes: &[u8], file_len: u64) -> Result<u64, LoadError> {
    let shard = || shard.to_owned();
    let Some((length, rest)) = first_bytes.split_first_chunk() else {
        return Err(if file_len < LENGTH_BYTES {
            LoadError::FileTooShort {
                shard: shard(),
                found: file_len,
            }
        } else {
            LoadError::ShortRead {
                shard: shard(),
                offset: 0,
                expected: LENGTH_BYTES,
                found: first_bytes.len() as u64,
            }
        });
    };
    let length = u64::from_le_bytes(*length);
    let begins_as_header = rest.first().is_none_or(|byte| *byte == b'{');
    if length > 0
        && length <= MAX_HEADER_BYTES
        && length <= file_len.saturating_sub(LENGTH_BYTES)
        && begins_as_header
    {
        return Ok(length);
    }

    // Only now: `PK\x03\x04` and others are header lengths that a real file may have.
    if first_bytes.starts_with(b"version https://git-lfs") {
        return Err(LoadError::LfsPointer {
            shard: shard(),
            size: pointer_size(first_bytes),
        });
    }
    if let Some(found) = foreign(first_bytes) {
        return Err(LoadError::NotSafetensors {
            shard: shard(),
            found,
        });
    }
    Err(if length > MAX_HEADER_BYTES {
        LoadError::HeaderTooLarge {
            shard: shard(),
            found: length,
            limit: MAX_HEADER_BYTES,
        }
    } else if length == 0 || !begins_as_header {
        let found = rest.first().copied().filter(|_| length > 0);
        LoadError::HeaderNotObject {
            shard: shard(),
            found,
        }
    } else {
        LoadError::HeaderTruncated {
            shard: shard(),
            expected: LENGTH_BYTES + length,
            found: file_len,
        }
    })
}

/// The line `size N` of a git-lfs pointer.
fn pointer_size(first_bytes: &[u8]) -> Option<u64> {
    let text = str::from_utf8(first_bytes.get(..first_bytes.len().min(1024))?).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("size "))?
        .trim()
        .parse()
        .ok()
}

fn foreign(first_bytes: &[u8]) -> Option<Foreign> {
    let start = &first_bytes[..first_bytes.len().min(512)];
    let text = start
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(start)
        .trim_ascii_start();
    let begins = |tag: &str| {
        text.get(..tag.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
    };
    let is_text = match str::from_utf8(start) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    } && !start
        .iter()
        .any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace());
    Some(match start {
        [b'P', b'K', 3, 4, ..] => Foreign::Zip,
        [b'G', b'G', b'U', b'F', ..] => Foreign::Gguf,
        [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | 0x8a | 0x95, ..] => Foreign::Pickle,
        _ if begins("<!doctype") || begins("<html") || begins("<head") => Foreign::Html,
        _ if start.iter().all(|byte| *byte == 0) => Foreign::Zeros,
        _ if !is_text => return None,
        _ if begins("{") => Foreign::Json,
        _ => Foreign::Text,
    })
}
