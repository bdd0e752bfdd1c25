//! Promise I1: a CID equals what other IPFS implementations compute under the same profile.
//!
//! `fixtures/cid_vectors.json` holds CIDs that other implementations computed, and how each input is
//! made; only those they agreed on count. The second source is the table of vectors published with
//! IPIP-499. Inputs are generated while they are hashed, so that 1 GiB needs no memory.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ipfs_accelerate::{FileRoot, FolderEntry, FolderRoot, Profile, cid_of_reader};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::identity_hamt::HAMT;
use super::store_kit::folder_of;

const MIB: u64 = 1 << 20;

/// A reader over generated blocks of `N` bytes, cut to a length.
struct Stream<const N: usize, F> {
    block: F,
    next: u64,
    buffer: [u8; N],
    used: usize,
    left: u64,
}

impl<const N: usize, F: FnMut(u64, &mut [u8; N])> Stream<N, F> {
    fn new(len: u64, block: F) -> Self {
        Self {
            block,
            next: 0,
            buffer: [0; N],
            used: N,
            left: len,
        }
    }
}

impl<const N: usize, F: FnMut(u64, &mut [u8; N])> Read for Stream<N, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == N {
            (self.block)(self.next, &mut self.buffer);
            (self.next, self.used) = (self.next + 1, 0);
        }
        let len = out
            .len()
            .min(N - self.used)
            .min(self.left.try_into().unwrap_or(usize::MAX));
        out[..len].copy_from_slice(&self.buffer[self.used..][..len]);
        (self.used, self.left) = (self.used + len, self.left - len as u64);
        Ok(len)
    }
}

/// Inputs `p*`: byte i is `i * 31 + (i >> 8)`, so it repeats every 65,536 bytes.
pub(crate) fn pattern(len: u64) -> impl Read {
    Stream::new(len, |_, block: &mut [u8; 65_536]| {
        for (i, byte) in block.iter_mut().enumerate() {
            *byte = (i * 31 + (i >> 8)) as u8;
        }
    })
}

/// Inputs `s*`: splitmix64 from seed 0.
pub(crate) fn splitmix(len: u64) -> impl Read {
    Stream::new(len, |number, block: &mut [u8; 4096]| {
        for (word, k) in block.chunks_exact_mut(8).zip(number * 512 + 1..) {
            let mut z = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
    })
}

/// One block of ChaCha20 (RFC 8439, section 2.3).
fn chacha20_block(key: &[u8; 32], nonce: &[u8; 12], counter: u32, out: &mut [u8; 64]) {
    fn quarter(s: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
        for (left, right) in [(16, 12), (8, 7)] {
            s[a] = s[a].wrapping_add(s[b]);
            s[d] = (s[d] ^ s[a]).rotate_left(left);
            s[c] = s[c].wrapping_add(s[d]);
            s[b] = (s[b] ^ s[c]).rotate_left(right);
        }
    }
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let mut start = [0; 16];
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    for (at, bytes) in key.chunks(4).enumerate() {
        start[4 + at] = word(bytes);
    }
    start[12] = counter;
    for (at, bytes) in nonce.chunks(4).enumerate() {
        start[13 + at] = word(bytes);
    }
    let mut state = start;
    for _ in 0..10 {
        for i in 0..4 {
            quarter(&mut state, i, 4 + i, 8 + i, 12 + i);
        }
        for i in 0..4 {
            quarter(
                &mut state,
                i,
                4 + (i + 1) % 4,
                8 + (i + 2) % 4,
                12 + (i + 3) % 4,
            );
        }
    }
    for (bytes, (word, start)) in out.chunks_exact_mut(4).zip(state.iter().zip(start)) {
        bytes.copy_from_slice(&word.wrapping_add(start).to_le_bytes());
    }
}

/// Inputs of IPIP-499: a ChaCha20 keystream with key sha256(seed) and a zero nonce.
pub(crate) fn keystream(seed: &str, len: u64) -> impl Read {
    let key: [u8; 32] = Sha256::digest(seed).into();
    Stream::new(len, move |number, block: &mut [u8; 64]| {
        chacha20_block(&key, &[0; 12], number.try_into().unwrap(), block);
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn vectors() -> Value {
    let file: Value =
        serde_json::from_str(include_str!("../../fixtures/cid_vectors.json")).unwrap();
    file["vectors"].clone()
}

/// The CID of an input, provided that several implementations agreed on it.
pub(crate) fn agreed(vector: &Value, profile: &Profile) -> String {
    let entry = &vector["cids"][profile.name()];
    assert_eq!(entry["agree"], true);
    assert!(entry["by"].as_array().unwrap().len() >= 2);
    entry["cid"].as_str().unwrap().to_owned()
}

/// Computes a vector whose name is `p…` or `s…`.
fn computed(name: &str, profile: &Profile) -> FileRoot {
    let size = vectors()[name]["size"].as_u64().unwrap();
    match name.as_bytes()[0] {
        b'p' => cid_of_reader(pattern(size), profile),
        b's' => cid_of_reader(splitmix(size), profile),
        _ => panic!("{name} is not generated"),
    }
    .unwrap()
}

fn check(name: &str, profile: &Profile) {
    let root = computed(name, profile);
    assert_eq!(
        root.cid.to_string(),
        agreed(&vectors()[name], profile),
        "{name} {profile}"
    );
    assert_eq!(vectors()[name]["size"], root.size, "{name}");
}

const GENERATED: [&str; 13] = [
    "p256k-1", "p256k+1", "p1m-1", "p1m", "p1m+1", "p44m", "p44m+1", "p300m", "s1m", "s1m+1",
    "s2m", "s44m+1", "s1g",
];

#[test]
fn the_generators_make_the_inputs_that_the_vectors_are_of() {
    let vectors = vectors();
    for name in GENERATED
        .into_iter()
        .filter(|name| *name != "s1g" && *name != "p300m")
    {
        let size = vectors[name]["size"].as_u64().unwrap();
        let mut input: Box<dyn Read> = if name.starts_with('p') {
            Box::new(pattern(size))
        } else {
            Box::new(splitmix(size))
        };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match input.read(&mut buffer).unwrap() {
                0 => break,
                len => hasher.update(&buffer[..len]),
            }
        }
        assert_eq!(vectors[name]["sha256"], hex(&hasher.finalize()), "{name}");
    }
}

#[test]
fn chacha20_makes_the_keystreams_of_rfc_8439() {
    let mut block = [0; 64];
    // Section 2.3.2.
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    chacha20_block(
        &key,
        &[0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0],
        1,
        &mut block,
    );
    assert_eq!(
        hex(&block),
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e\
         d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    );
    // Appendix A.1, test vector 1.
    chacha20_block(&[0; 32], &[0; 12], 0, &mut block);
    assert_eq!(
        hex(&block),
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
         da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    );
}

#[test]
fn every_vector_is_checked_by_a_test_here() {
    let mut names: Vec<_> = GENERATED.into_iter().map(String::from).collect();
    names.extend(["empty", "hello", "s1g+1", "dir"].map(String::from));
    names.extend(HAMT.map(String::from));
    names.sort();
    let vectors = vectors();
    let mut given: Vec<_> = vectors.as_object().unwrap().keys().cloned().collect();
    given.sort();
    assert_eq!(names, given);
}

#[test]
fn short_files_have_the_cids_of_other_implementations() {
    for profile in Profile::all() {
        for (name, input) in [("empty", &b""[..]), ("hello", b"hello world\n")] {
            let root = cid_of_reader(input, &profile).unwrap();
            assert_eq!(
                root.cid.to_string(),
                agreed(&vectors()[name], &profile),
                "{name} {profile}"
            );
        }
    }
}

#[test]
fn files_up_to_44_mib_have_the_cids_of_other_implementations() {
    for profile in Profile::all() {
        for name in GENERATED
            .into_iter()
            .filter(|name| *name != "s1g" && *name != "p300m")
        {
            check(name, &profile);
        }
    }
}

#[test]
fn unixfs_v1_2025_of_300_mib() {
    check("p300m", &Profile::unixfs_v1_2025());
}

#[test]
fn kubo_cidv1_of_300_mib() {
    check("p300m", &Profile::kubo_cidv1());
}

#[test]
fn unixfs_v0_2015_of_300_mib() {
    check("p300m", &Profile::unixfs_v0_2015());
}

#[test]
fn unixfs_v1_2025_of_1_gib() {
    check("s1g", &Profile::unixfs_v1_2025());
}

#[test]
fn unixfs_v1_2025_of_1_gib_and_a_byte() {
    check("s1g+1", &Profile::unixfs_v1_2025());
}

#[test]
fn kubo_cidv1_of_1_gib() {
    check("s1g", &Profile::kubo_cidv1());
}

#[test]
fn kubo_cidv1_of_1_gib_and_a_byte() {
    check("s1g+1", &Profile::kubo_cidv1());
}

#[test]
fn unixfs_v0_2015_of_1_gib() {
    check("s1g", &Profile::unixfs_v0_2015());
}

#[test]
fn unixfs_v0_2015_of_1_gib_and_a_byte() {
    check("s1g+1", &Profile::unixfs_v0_2015());
}

#[test]
fn files_under_single_parameters_have_the_cids_of_other_implementations() {
    let file: Value =
        serde_json::from_str(include_str!("../../fixtures/cid_parameters.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    for vector in vectors {
        let name = vector["profile"].as_str().unwrap();
        let size = vector["size"].as_u64().unwrap();
        let profile: Profile = name.parse().unwrap();
        let root = cid_of_reader(splitmix(size), &profile).unwrap();
        assert_eq!(vector["cid"], root.cid.to_string(), "{name}, {size} bytes");
        assert_eq!(vector["tsize"], root.tsize, "{name}, {size} bytes");
    }
    let of_blake3 = |v: &&Value| v["profile"].as_str().unwrap().contains("blake3");
    assert_eq!(
        (vectors.len(), vectors.iter().filter(of_blake3).count()),
        (104, 32)
    );
}

/// A vector published with IPIP-499, for `unixfs-v1-2025`.
fn check_published(input: impl Read, cid: &str) {
    let root = cid_of_reader(input, &Profile::unixfs_v1_2025()).unwrap();
    assert_eq!(root.cid.to_string(), cid);
}

#[test]
fn ipip_499_short_files_and_the_empty_folder() {
    check_published(
        &b"hello world"[..],
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
    );
    check_published(
        keystream("chunk-v1-seed", MIB),
        "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta",
    );
    check_published(
        keystream("chunk-v1-seed", MIB + 1),
        "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
    );
    let folder = folder_of(Vec::new(), &Profile::unixfs_v1_2025());
    assert_eq!(
        folder.cid.to_string(),
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
    );
}

#[test]
fn ipip_499_file_of_1_gib() {
    check_published(
        keystream("v1-2025-seed", 1024 * MIB),
        "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
    );
}

#[test]
fn ipip_499_file_of_1_gib_and_a_byte() {
    check_published(
        keystream("v1-2025-seed", 1024 * MIB + 1),
        "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe",
    );
}

/// Names the entries, notes each CID under its path and returns the folder as an entry of its
/// parent.
fn folder(
    path: &str,
    entries: Vec<(&str, FolderEntry)>,
    profile: &Profile,
    seen: &mut BTreeMap<String, String>,
) -> FolderEntry {
    let mut named = Vec::new();
    for (name, mut entry) in entries {
        seen.insert(format!("{path}/{name}"), entry.cid.to_string());
        entry.name = name.to_owned();
        named.push(entry);
    }
    let FolderRoot { cid, tsize } = folder_of(named, profile);
    FolderEntry {
        name: String::new(),
        cid,
        tsize,
    }
}

#[test]
fn a_tree_of_folders_has_the_cids_of_other_implementations() {
    let vector = &vectors()["dir"];
    for profile in Profile::all() {
        let entry = |root: FileRoot| FolderEntry {
            name: String::new(),
            cid: root.cid,
            tsize: root.tsize,
        };
        let file = |text: &str| entry(cid_of_reader(text.as_bytes(), &profile).unwrap());
        let mut seen = BTreeMap::new();
        let deep = folder(
            "dir/sub/deep",
            vec![("b.txt", file("nested\n"))],
            &profile,
            &mut seen,
        );
        let large = entry(computed("p1m+1", &profile));
        let sub = vec![("p1m+1.bin", large), ("deep", deep)];
        let sub = folder("dir/sub", sub, &profile, &mut seen);
        let dir = vec![
            ("z-é.txt", file("café\n")),
            ("a.txt", file("hello world\n")),
            ("sub", sub),
            ("empty.bin", file("")),
        ];
        let dir = folder("dir", dir, &profile, &mut seen);
        seen.insert("dir".into(), dir.cid.to_string());

        assert_eq!(seen["dir"], agreed(vector, &profile), "{profile}");
        let expected = vector["entries"][profile.name()].as_object().unwrap();
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(path, cid)| (path.clone(), cid.as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(seen, expected, "{profile}");
    }
}
