//! Promise I1 for folders over the limit of one block: their shards are those of other implementations.
//!
//! Vectors of `fixtures/cid_vectors.json`, and those published with IPIP-499 (Kubo,
//! `test/cli/cid_profiles_test.go`).

use std::io::Read;

use ipfs_accelerate::{FolderEntry, Profile, cid_of_reader};

use super::identity::{agreed, keystream, vectors};
use super::store_kit::folder_of;

pub(crate) const HAMT: [&str; 14] = [
    "hamt",
    "hamt-100k",
    "hamt-deep",
    "hamt-nested",
    "hamt-unicode",
    "edge-block-1",
    "edge-block+0",
    "edge-block+1",
    "edge-links-1",
    "edge-links+0",
    "edge-links+1",
    "edge-links34-1",
    "edge-links34+0",
    "edge-links34+1",
];

fn file(name: String, content: &str, profile: &Profile) -> FolderEntry {
    let root = cid_of_reader(content.as_bytes(), profile).unwrap();
    FolderEntry {
        name,
        cid: root.cid,
        tsize: root.tsize,
    }
}

/// Files that hold their own names.
fn files(names: impl IntoIterator<Item = String>, profile: &Profile) -> Vec<FolderEntry> {
    let of_name = |name: String| {
        let content = format!("{name}\n");
        file(name, &content, profile)
    };
    names.into_iter().map(of_name).collect()
}

fn numbered(prefix: &str, count: usize, profile: &Profile) -> Vec<FolderEntry> {
    files((0..count).map(|n| format!("{prefix}{n:05}")), profile)
}

fn folder(name: &str, entries: Vec<FolderEntry>, profile: &Profile) -> FolderEntry {
    let root = folder_of(entries, profile);
    FolderEntry {
        name: name.into(),
        cid: root.cid,
        tsize: root.tsize,
    }
}

/// The entries of a vector, made as its generator says.
fn entries(vector: &str, profile: &Profile) -> Vec<FolderEntry> {
    match vector {
        "hamt" => numbered("f", 10_000, profile),
        "hamt-100k" => (0..100_000)
            .map(|n| file(format!("n{n}"), &format!("{n}\n"), profile))
            .collect(),
        "hamt-unicode" => {
            let name = |n: usize| format!("é日本🎼{n:06}{}", "x".repeat(n % 50));
            files((0..7000).map(name), profile)
        }
        "hamt-deep" => {
            let mut all = numbered("d", 7500, profile);
            let deep = [
                "deep16-148",
                "deep16-185",
                "deep24-1903",
                "deep24-4402",
                "deep32-34911",
                "deep32-70477",
            ];
            all.extend(files(deep.map(String::from), profile));
            all
        }
        "hamt-nested" => {
            let mut all = numbered("r", 7500, profile);
            let small = files(["a", "b", "c"].map(String::from), profile);
            all.push(folder("sub", numbered("s", 6500, profile), profile));
            all.push(folder("small", small, profile));
            all.push(folder("empty", Vec::new(), profile));
            all
        }
        _ => {
            let (measure, more) = vector
                .strip_prefix("edge-")
                .unwrap()
                .split_at(vector.len() - 7);
            let (count, last) = match measure {
                "links" => (1110, 148),
                "links34" => (1120, 30),
                "block" => (1065, 105),
                other => panic!("{other}"),
            };
            let last = last + more.parse::<isize>().unwrap();
            let names = (0..count).map(|n| format!("{n:0200}"));
            let names = names.chain([vec!["y"; last as usize].concat()]);
            names.map(|name| file(name, "x", profile)).collect()
        }
    }
}

#[test]
fn sharded_folders_have_the_cids_of_other_implementations() {
    for profile in Profile::all() {
        for name in HAMT {
            let vector = &vectors()[name];
            if vector["cids"][profile.name()]["agree"] == true {
                let root = folder_of(entries(name, &profile), &profile);
                let expected = agreed(vector, &profile);
                assert_eq!(root.cid.to_string(), expected, "{name} {profile}");
            }
        }
    }
}

/// What boxo 0.36 does, and not its later versions: the one vector of this profile that
/// implementations do not agree on.
#[test]
fn kubo_cidv1_shards_a_folder_of_exactly_the_limit_as_older_versions_did() {
    let profile = Profile::kubo_cidv1();
    let disagreed = |name: &&str| vectors()[name]["cids"]["kubo-cidv1"]["agree"] == false;
    assert_eq!(
        HAMT.into_iter().filter(disagreed).collect::<Vec<_>>(),
        ["edge-links+0"]
    );
    let vector = &vectors()["edge-links+0"]["cids"]["kubo-cidv1"];
    assert_eq!(vector["by"][0], "boxo 0.36.0");
    let root = folder_of(entries("edge-links+0", &profile), &profile);
    assert_eq!(vector["cid"], root.cid.to_string());
    assert_ne!(vector["differs"]["cid"], root.cid.to_string());
}

/// Files that hold `x`, names cut from the keystream of a seed, all of one length but the last.
fn published(
    seed: &str,
    count: usize,
    name_len: usize,
    last_len: usize,
    profile: &Profile,
) -> String {
    let letters = b"abcdefghijklmnopqrstuvwxyz01234567890-_";
    let mut random = keystream(seed, 1 << 20);
    let mut entry = |number: usize| {
        let len = if number + 1 == count {
            last_len
        } else {
            name_len
        };
        let mut name = vec![0; len];
        random.read_exact(&mut name).unwrap();
        let letter = |byte: &u8| char::from(letters[usize::from(*byte) % letters.len()]);
        file(name.iter().map(letter).collect(), "x", profile)
    };
    let entries = (0..count).map(&mut entry).collect();
    folder_of(entries, profile).cid.to_string()
}

#[test]
fn ipip_499_folders_at_the_limit_and_a_byte_over_it() {
    let profile = Profile::unixfs_v1_2025();
    let seed = "hamt-unixfs-v1-2025";
    assert_eq!(
        published(seed, 4766, 11, 21, &profile),
        "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"
    );
    assert_eq!(
        published(seed, 4766, 11, 22, &profile),
        "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"
    );
}

#[test]
fn ipip_499_folders_under_the_profile_of_2015() {
    let profile = Profile::unixfs_v0_2015();
    let seed = "hamt-unixfs-v0-2015";
    assert_eq!(
        published(seed, 4096, 30, 30, &profile),
        "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"
    );
    assert_eq!(
        published(seed, 4033, 31, 31, &profile),
        "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP"
    );
}
