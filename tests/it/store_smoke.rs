use ipfs_accelerate::*;
use std::io::Read;

#[test]
fn add_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let src = dir.path().join("src");
    std::fs::create_dir_all(src.join("sub")).unwrap();
    let big: Vec<u8> = (0..5_500_000u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 13) as u8)
        .collect();
    std::fs::write(src.join("big.bin"), &big).unwrap();
    std::fs::write(src.join("empty"), b"").unwrap();
    std::fs::write(src.join("sub/config.json"), b"{}").unwrap();
    std::os::unix::fs::symlink("sub/config.json", src.join("link")).unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    let a = store
        .add_path(&src, &AddOptions::default().named("m"))
        .unwrap();
    println!("{a:?}");
    let h = hash_path(&src, &AddOptions::default()).unwrap();
    assert_eq!(h.cid, a.cid);
    let b = store.add_path(&src, &AddOptions::default()).unwrap();
    assert_eq!(b.new_bytes, 0);
    assert_eq!(b.cid, a.cid);
    let mut got = Vec::new();
    store
        .reader(&"m/big.bin".parse().unwrap())
        .unwrap()
        .read_to_end(&mut got)
        .unwrap();
    assert!(got == big);
    let s = store.stat(&"m".parse().unwrap()).unwrap();
    println!("{s:?}");
    println!("{:?}", store.stat(&"m/big.bin".parse().unwrap()).unwrap());
    println!("{:?}", store.totals().unwrap());
    println!("{:?}", store.list(&"m".parse().unwrap()).unwrap());
    let slice = store
        .reader(&"m/big.bin".parse().unwrap())
        .unwrap()
        .slice(100..5_000_000)
        .unwrap();
    assert!(slice.copied().is_none());
    assert!(slice[..] == big[100..5_000_000]);
    store
        .export(
            &"m".parse().unwrap(),
            dir.path().join("out"),
            &ExportOptions::default(),
        )
        .unwrap();
    assert!(std::fs::read(dir.path().join("out/link")).unwrap() == b"{}");
    let r = store
        .remove(&"m".parse().unwrap(), &RemoveOptions::with_unpin())
        .unwrap();
    println!("{r:?}");
    let t = io_tally();
    store
        .add_reader(&b"tiny"[..], &AddOptions::default())
        .unwrap();
    println!("{:?}", io_tally().since(t));
}
