//! Where leaves lie: runs start on page boundaries, so that files map whole even across packs.

use ipfs_accelerate::{AddOptions, Profile, Store, StoreOptions};

#[test]
fn a_file_of_small_chunks_over_several_packs_is_one_slice() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.pack_bytes = 300_000;
    let store = Store::create_with(dir.path().join("store"), options).unwrap();
    let bytes: Vec<u8> = (0..250_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let file = dir.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    let profile = Profile::default().with_chunk_bytes(4096).unwrap();
    let add = AddOptions::default().with_profile(profile);
    // A small file first, so that the run does not stand at the start of a pack by chance.
    store.add_reader(&b"small"[..], &add).unwrap();
    // A stream does not say how long it is, and is aligned all the same.
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    for (cid, bytes) in [
        (store.add_path(&file, &add).unwrap().cid, &bytes),
        (
            store.add_reader(&reversed[..], &add).unwrap().cid,
            &reversed,
        ),
    ] {
        let stored = store.reader(&cid.into()).unwrap();
        let slice = stored.slice(0..stored.file().size()).unwrap();
        assert_eq!(slice.copied(), None);
        assert!(slice[..] == bytes[..]);
    }
    assert!(store.totals().unwrap().packs >= 4);
}
