//! What the fuzz target of CIDs runs; see [`crate::fuzzing`].

use super::{Cid, canonical, cid_from_bytes, inline_data, parse_cid, verify};

/// A CID in its binary form, and as text.
pub fn cid(data: &[u8]) -> bool {
    let binary = cid_from_bytes(data);
    if let Ok(cid) = &binary {
        assert_eq!(cid.to_bytes(), data, "a CID has one binary form");
        let theirs = Cid::try_from(data).expect("the cid crate refuses it");
        assert_eq!(theirs, *cid);
        check(cid);
    }
    let text = std::str::from_utf8(data).map_or(None, |text| Some((text, parse_cid(text).ok()?)));
    if let Some((text, cid)) = text {
        let bare = text.strip_prefix("ipfs://").unwrap_or(text);
        let bare = bare.strip_prefix("/ipfs/").unwrap_or(bare);
        // That crate takes the letters `/ipfs/` inside a base64 CID for the end of a prefix.
        if !bare.contains("/ipfs/") {
            let theirs = Cid::try_from(bare);
            assert_eq!(theirs.expect("the cid crate refuses it"), cid);
        }
        check(&cid);
    }
    binary.is_ok() || text.is_some()
}

fn check(cid: &Cid) {
    for cid in [*cid, canonical(cid)] {
        assert_eq!(parse_cid(&cid.to_string()), Ok(cid));
        assert_eq!(cid_from_bytes(&cid.to_bytes()), Ok(cid));
        if let Some(inline) = inline_data(&cid) {
            assert_eq!(verify(&cid, inline), Ok(()));
        }
        // The digest of one of them a fuzzer finds by watching the comparison.
        assert!(verify(&cid, b"one").is_err() || verify(&cid, b"two").is_err());
    }
}

#[cfg(test)]
pub(crate) mod seeds {
    use crate::block::{BLAKE3, Cid, DAG_PB, HashFunction, IDENTITY, Multihash, RAW, SHA2_256};
    use cid::multibase::Base;

    pub(crate) fn cid() -> Vec<Vec<u8>> {
        let hash = HashFunction::Sha2_256.digest(b"hello world");
        let wrap = |code, digest: &[u8]| Multihash::wrap(code, digest).unwrap();
        let v0 = Cid::new_v0(hash).unwrap();
        let cids = [
            v0,
            Cid::new_v1(DAG_PB, hash),
            Cid::new_v1(RAW, HashFunction::Blake3.digest(b"hello world")),
            Cid::new_v1(RAW, wrap(IDENTITY, b"inline")),
            Cid::new_v1(RAW, wrap(IDENTITY, b"")),
            Cid::new_v1(RAW, wrap(SHA2_256, &hash.digest()[..20])),
            Cid::new_v1(0x0129, wrap(BLAKE3, &[7; 64])),
        ];
        let mut seeds: Vec<_> = cids.iter().map(Cid::to_bytes).collect();
        seeds.extend(cids.iter().map(|cid| cid.to_string().into_bytes()));
        for base in [
            Base::Base2,
            Base::Base10,
            Base::Base16Upper,
            Base::Base36Lower,
        ] {
            seeds.push(cids[1].to_string_of_base(base).unwrap().into_bytes());
        }
        for base in [Base::Base58Btc, Base::Base64Pad, Base::Base256Emoji] {
            seeds.push(cids[2].to_string_of_base(base).unwrap().into_bytes());
        }
        seeds.push(format!("/ipfs/{v0}").into_bytes());
        seeds.push(format!("ipfs://{}", cids[1]).into_bytes());
        seeds
    }
}
