//! Reading CIDs from text and from bytes.
//!
//! The `cid` crate reads them too, but ignores bytes that follow, accepts a CIDv0 behind a multibase
//! prefix and drops the cause of most errors.

use cid::multibase::{self, Base};

use super::{Cid, IDENTITY, Multihash, SHA2_256};
use crate::error::Explain;

/// The shortest digest that is trusted, as in Kubo (boxo's `verifcid`). An identity "digest" is the
/// data and may be shorter.
pub const MIN_DIGEST_BYTES: usize = 20;

/// The longest digest a [`Multihash`] holds.
const MAX_DIGEST_BYTES: usize = 64;

/// No CID with such a digest is longer, in base2 either; it bounds the work on hostile text.
const MAX_TEXT_BYTES: usize = 1024;

/// How much of the text an error repeats.
const SHOWN_CHARS: usize = 120;

/// What a CIDv0 starts with in bytes: the multihash header of sha2-256.
const V0_HEADER: [u8; 2] = [SHA2_256 as u8, 32];

/// Reads a CID from text: CIDv0, CIDv1 in any multibase, `ipfs://CID` or `/ipfs/CID`.
///
/// A path behind the CID is not accepted here.
///
/// ```
/// use ipfs_accelerate::{canonical, parse_cid};
///
/// let v0 = parse_cid("/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")?;
/// let v1 = parse_cid("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")?;
/// assert_eq!(canonical(&v0), v1);
/// # Ok::<(), ipfs_accelerate::CidError>(())
/// ```
///
/// # Errors
///
/// [`CidError`] with the text and what is wrong with it.
pub fn parse_cid(text: &str) -> Result<Cid, CidError> {
    parse(text).map_err(|fault| {
        let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        CidError { text: shown, fault }
    })
}

fn parse(text: &str) -> Result<Cid, CidFault> {
    let inner = text
        .strip_prefix("/ipfs/")
        .or_else(|| text.strip_prefix("ipfs://"));
    let bare = inner.unwrap_or(text);
    if bare.is_empty() {
        return Err(CidFault::Empty);
    }
    if bare.len() > MAX_TEXT_BYTES {
        return Err(CidFault::TextTooLong { len: bare.len() });
    }
    // `/` is a letter of base64, so a bare CID may contain it.
    if bare.contains('/') && (inner.is_some() || multibase::decode(bare).is_err()) {
        return Err(CidFault::PathFollows);
    }
    if bare.starts_with("Qm") {
        if bare.len() != 46 {
            return Err(CidFault::V0Length { len: bare.len() });
        }
        return cid_from_bytes(&Base::Base58Btc.decode(bare).map_err(CidFault::from)?);
    }
    let (_, bytes) = multibase::decode(bare)?;
    if bytes.starts_with(&V0_HEADER) {
        return Err(CidFault::PrefixedV0);
    }
    cid_from_bytes(&bytes)
}

/// Reads a CID from its binary form, which must fill `bytes`.
///
/// # Errors
///
/// [`CidFault`], also for a digest under [`MIN_DIGEST_BYTES`].
pub fn cid_from_bytes(bytes: &[u8]) -> Result<Cid, CidFault> {
    if let Some(digest) = bytes.strip_prefix(&V0_HEADER) {
        let hash = multihash(SHA2_256, 32, digest)?;
        return Cid::new_v0(hash).map_err(|_| CidFault::PrefixedV0);
    }
    let mut rest = bytes;
    let version = varint(&mut rest)?;
    if version != 1 {
        return Err(CidFault::Version { version });
    }
    let codec = varint(&mut rest)?;
    let code = varint(&mut rest)?;
    let len = varint(&mut rest)?;
    Ok(Cid::new_v1(codec, multihash(code, len, rest)?))
}

fn multihash(code: u64, len: u64, digest: &[u8]) -> Result<Multihash, CidFault> {
    if len > MAX_DIGEST_BYTES as u64 {
        return Err(CidFault::DigestTooLong { len });
    }
    if len != digest.len() as u64 {
        return Err(CidFault::DigestLength {
            stated: len,
            found: digest.len(),
        });
    }
    if digest.len() < MIN_DIGEST_BYTES && code != IDENTITY {
        return Err(CidFault::DigestTooShort { len: digest.len() });
    }
    Multihash::wrap(code, digest).map_err(|_| CidFault::DigestTooLong { len })
}

/// An unsigned varint of at most nine bytes in its shortest form, as
/// [multiformats](https://github.com/multiformats/unsigned-varint) demands it.
fn varint(rest: &mut &[u8]) -> Result<u64, CidFault> {
    let mut value = 0;
    for (at, &byte) in rest.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            if byte == 0 && at > 0 {
                return Err(CidFault::Varint);
            }
            *rest = &rest[at + 1..];
            return Ok(value);
        }
    }
    if rest.len() < 9 {
        Err(CidFault::Truncated)
    } else {
        Err(CidFault::Varint)
    }
}

/// Text that is not a CID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("\"{}\" is not a CID: {fault}", text.escape_debug())]
pub struct CidError {
    /// The text, cut off where it is very long.
    pub text: String,
    /// What is wrong with it.
    #[source]
    pub fault: CidFault,
}

/// What is wrong with a CID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidFault {
    /// There is nothing.
    #[error("nothing is there; a CID looks like bafybei… or Qm…")]
    Empty,
    /// The text is longer than any CID.
    #[error("{len} bytes are too many; a CID looks like bafybei… or Qm…")]
    TextTooLong {
        /// Length of the text in bytes.
        len: usize,
    },
    /// A path stands behind the CID.
    #[error("it holds a \"/\"; a path behind a CID is not possible here")]
    PathFollows,
    /// The first letter does not stand for a base.
    #[error("no base is called '{}'; a CID looks like bafybei… or Qm…", prefix.escape_debug())]
    UnknownBase {
        /// The first letter.
        prefix: char,
    },
    /// A letter does not belong to the base, or the number of letters is impossible.
    #[error("letters are wrong or missing for the base its first letter names")]
    Letters,
    /// It starts as a CIDv0 does and has another length.
    #[error("a CID that starts with Qm has 46 letters, this has {len}")]
    V0Length {
        /// Length of the text in bytes.
        len: usize,
    },
    /// A CIDv0 behind a multibase prefix, which the specification forbids.
    #[error("it is a CIDv0 behind a multibase prefix; write it as Qm…")]
    PrefixedV0,
    /// A version that does not exist.
    #[error("version {version} of CIDs does not exist")]
    Version {
        /// The version it states.
        version: u64,
    },
    /// The bytes end early.
    #[error("it ends early")]
    Truncated,
    /// A number is longer than it needs to be, or than nine bytes.
    #[error("it holds a number that is not a shortest varint of at most nine bytes")]
    Varint,
    /// The digest has another length than stated.
    #[error("its digest should have {stated} bytes and has {found}")]
    DigestLength {
        /// Length that the multihash states.
        stated: u64,
        /// Bytes that are there.
        found: usize,
    },
    /// A digest so short that it proves nothing.
    #[error("its digest has {len} bytes, at least {MIN_DIGEST_BYTES} are needed to trust it")]
    DigestTooShort {
        /// Length in bytes.
        len: usize,
    },
    /// A digest longer than any hash function makes.
    #[error("its digest has {len} bytes, at most {MAX_DIGEST_BYTES} are possible")]
    DigestTooLong {
        /// Length in bytes.
        len: u64,
    },
}

impl From<multibase::Error> for CidFault {
    fn from(error: multibase::Error) -> Self {
        match error {
            multibase::Error::UnknownBase(prefix) => Self::UnknownBase { prefix },
            multibase::Error::InvalidBaseString => Self::Letters,
        }
    }
}

impl Explain for CidError {
    fn kind(&self) -> &'static str {
        self.fault.kind()
    }

    fn hint(&self) -> Option<String> {
        self.fault.hint()
    }
}

impl Explain for CidFault {
    fn kind(&self) -> &'static str {
        match self {
            Self::DigestTooShort { .. } => "digest_too_short",
            _ => "cid_invalid",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Letters | Self::V0Length { .. } | Self::Truncated | Self::DigestLength { .. } => {
                Some("letters may be missing: copy the whole CID".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::{DAG_PB, HashFunction, RAW};

    const V0: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    const V1: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

    fn fault(text: &str) -> CidFault {
        parse_cid(text).unwrap_err().fault
    }

    #[test]
    fn a_cid_is_read_in_every_form() {
        let v1 = parse_cid(V1).unwrap();
        assert_eq!((v1.codec(), v1.to_string().as_str()), (DAG_PB, V1));
        for base in [
            Base::Base2,
            Base::Base16Lower,
            Base::Base16Upper,
            Base::Base32Upper,
            Base::Base36Lower,
            Base::Base58Btc,
            Base::Base64,
            Base::Base64Url,
        ] {
            assert_eq!(
                parse_cid(&v1.to_string_of_base(base).unwrap()),
                Ok(v1),
                "{base:?}"
            );
        }
        for prefix in ["ipfs://", "/ipfs/"] {
            assert_eq!(parse_cid(&format!("{prefix}{V1}")), Ok(v1));
            assert_eq!(parse_cid(&format!("{prefix}{V0}")).unwrap().to_string(), V0);
        }
    }

    #[test]
    fn a_base64_cid_may_contain_a_slash() {
        let with_slash = (0u32..)
            .map(|n| Cid::new_v1(RAW, HashFunction::Sha2_256.digest(&n.to_le_bytes())))
            .find(|cid| cid.to_string_of_base(Base::Base64).unwrap().contains('/'))
            .unwrap();
        let text = with_slash.to_string_of_base(Base::Base64).unwrap();
        assert_eq!(parse_cid(&text), Ok(with_slash));
    }

    #[test]
    fn what_is_not_a_cid_is_refused_with_its_cause() {
        assert_eq!(fault(""), CidFault::Empty);
        assert_eq!(fault("/ipfs/"), CidFault::Empty);
        assert_eq!(fault(&format!("/ipfs/{V1}/a.txt")), CidFault::PathFollows);
        assert_eq!(fault(&format!("{V1}/")), CidFault::PathFollows);
        assert_eq!(fault("model.safetensors"), CidFault::Letters);
        assert_eq!(fault("öl"), CidFault::UnknownBase { prefix: 'ö' });
        assert_eq!(fault(&V0[..45]), CidFault::V0Length { len: 45 });
        assert_eq!(fault(&V0.replace('U', "0")), CidFault::Letters);
        assert_eq!(fault(&format!("z{V0}")), CidFault::PrefixedV0);
        assert_eq!(
            fault(&"b".repeat(1025)),
            CidFault::TextTooLong { len: 1025 }
        );
        assert_eq!(
            fault(&V1[..V1.len() - 8]),
            CidFault::DigestLength {
                stated: 32,
                found: 27
            }
        );
        let message = parse_cid("").unwrap_err().to_string();
        assert!(message.contains("bafybei"), "{message}");
        let message = parse_cid(&"\n".repeat(5000)).unwrap_err().to_string();
        assert!(message.len() < 500 && !message.contains('\n'), "{message}");
    }

    #[test]
    fn bytes_that_are_not_a_cid_are_refused_with_their_cause() {
        let digest = [9; 32];
        let with = |head: &[u8], len: usize| cid_from_bytes(&[head, &digest[..len]].concat());
        assert!(with(&[1, 0x55, 0x12, 32], 32).is_ok());
        assert!(with(&[0x12, 32], 32).is_ok());
        assert_eq!(
            with(&[0x12, 32], 31),
            Err(CidFault::DigestLength {
                stated: 32,
                found: 31
            })
        );
        assert_eq!(
            with(&[1, 0x55, 0x12, 31], 32),
            Err(CidFault::DigestLength {
                stated: 31,
                found: 32
            })
        );
        assert_eq!(
            with(&[2, 0x55, 0x12, 32], 32),
            Err(CidFault::Version { version: 2 })
        );
        assert_eq!(
            with(&[1, 0x55, 0x12, 65], 32),
            Err(CidFault::DigestTooLong { len: 65 })
        );
        assert_eq!(
            with(&[1, 0x55, 0x12, 19], 19),
            Err(CidFault::DigestTooShort { len: 19 })
        );
        assert!(with(&[1, 0x55, 0x12, 20], 20).is_ok());
        assert!(with(&[1, 0x55, 0x00, 3], 3).is_ok());
        assert_eq!(with(&[1, 0xd5, 0x00, 0x12, 32], 32), Err(CidFault::Varint));
        assert_eq!(cid_from_bytes(&[1, 0x55]), Err(CidFault::Truncated));
        assert_eq!(cid_from_bytes(&[1, 0xff]), Err(CidFault::Truncated));
        assert_eq!(cid_from_bytes(&[0xff; 12]), Err(CidFault::Varint));
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_what_is_read_writes_the_same_bytes(bytes: Vec<u8>, text: String) {
            let _ = parse_cid(&text);
            if let Ok(cid) = cid_from_bytes(&bytes) {
                prop_assert_eq!(cid.to_bytes(), bytes);
            }
        }

        #[test]
        fn binary_and_text_agree(codec in 0u64..1 << 63, code in 1u64..1 << 63, digest in prop::collection::vec(any::<u8>(), 20..=64)) {
            let cid = Cid::new_v1(codec, Multihash::wrap(code, &digest).unwrap());
            prop_assert_eq!(cid_from_bytes(&cid.to_bytes()), Ok(cid));
            prop_assert_eq!(parse_cid(&cid.to_string()), Ok(cid));
        }
    }
}
