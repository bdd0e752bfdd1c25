//! The facade: the seed's names, with results that are true.

use std::fs;
use std::path::Path;

use ipfs_accelerate::checkpoint::Placed;
use ipfs_accelerate::{Config, Error, Explain, IpfsAccelerate, LoadedFrom, StoreReader};

const MODEL: &str = "fixtures/silero-vad-sharded";
const HELLO: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn config(store: &Path) -> Config {
    let mut config = Config::default();
    config
        .set("store", "path", store.to_str().unwrap())
        .unwrap();
    config
}

/// An open store that holds `hello world`, in a folder of its own.
fn opened() -> (tempfile::TempDir, Config, IpfsAccelerate) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("store"));
    let ipfs = IpfsAccelerate::open(&config).unwrap();
    let hello = dir.path().join("hello.txt");
    fs::write(&hello, b"hello world").unwrap();
    let added = ipfs.add_file(&hello).unwrap();
    assert_eq!(
        (added.status, &*added.cid, &added.file),
        ("success", HELLO, &hello)
    );
    (dir, config, ipfs)
}

#[test]
fn the_basic_usage_of_the_seed_works_and_survives_reopening() {
    let (dir, config, ipfs) = opened();
    assert_eq!(ipfs.reader().path(), dir.path().join("store"));
    drop(ipfs);
    let ipfs = IpfsAccelerate::open(&config).unwrap();
    assert!(ipfs.cid_exists(HELLO).unwrap());
    let output = dir.path().join("copy.txt");
    let fetched = ipfs.get_file(HELLO, Some(&output)).unwrap();
    assert_eq!(
        (fetched.status, &*fetched.cid, &fetched.file),
        ("success", HELLO, &output)
    );
    assert_eq!(fs::read(&output).unwrap(), b"hello world");

    let metadata = ipfs.get_cid_metadata(HELLO).unwrap();
    let json = serde_json::to_value(&metadata).unwrap();
    let expected = serde_json::json!({
        "cid": HELLO, "kind": "file", "size": 11, "blocks": 1, "codec": "raw",
        "hash": "sha2-256", "pinned": true,
    });
    assert_eq!(json, expected);

    let model = ipfs.add_file(Path::new(MODEL)).unwrap();
    let loaded = ipfs.load_checkpoint_and_dispatch(&model.cid).unwrap();
    assert_eq!(
        (loaded.status, loaded.source),
        ("success", LoadedFrom::Cache)
    );
    assert_eq!((&loaded.cid, loaded.data.len()), (&model.cid, 15));
    let options = ipfs_accelerate::LoadOptions::default();
    let target = model.cid.parse().unwrap();
    let free =
        ipfs_accelerate::load_checkpoint_and_dispatch(ipfs.reader(), &target, options).unwrap();
    for (info, placed) in free.iter() {
        let bytes = loaded.data.tensor(&info.name).unwrap().bytes();
        assert!(placed.mapped().unwrap().bytes() == bytes, "{}", info.name);
    }
    let folder = ipfs.get_cid_metadata(&model.cid).unwrap();
    let size: u64 = StoreReader::open(ipfs.reader().path())
        .unwrap()
        .resolve(&target)
        .unwrap()
        .size();
    assert_eq!(
        (folder.kind.name(), folder.codec, folder.size),
        ("folder", "dag-pb", size)
    );
}

#[test]
fn get_file_without_an_output_writes_to_a_new_temporary_name() {
    let (_dir, _, ipfs) = opened();
    let first = ipfs.get_file(HELLO, None).unwrap();
    let second = ipfs.get_file(HELLO, None).unwrap();
    assert_ne!(first.file, second.file);
    for fetched in [first, second] {
        assert!(
            fetched.file.starts_with(std::env::temp_dir()),
            "{:?}",
            fetched.file
        );
        assert_eq!(fs::read(&fetched.file).unwrap(), b"hello world");
        fs::remove_file(fetched.file).unwrap();
    }
}

#[test]
fn an_output_that_exists_is_an_error_and_stays_as_it_is() {
    let (dir, _, ipfs) = opened();
    let output = dir.path().join("mine.txt");
    fs::write(&output, b"mine").unwrap();
    let error = ipfs.get_file(HELLO, Some(&output)).unwrap_err();
    assert_eq!(error.kind(), "output_exists");
    assert!(error.to_string().contains("mine.txt"), "{error}");
    assert_eq!(fs::read(&output).unwrap(), b"mine");
    let names = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["hello.txt", "mine.txt", "store"]);
}

#[test]
fn what_is_not_there_is_a_no_or_a_typed_error() {
    let (dir, _, ipfs) = opened();
    let absent = "bafybeiaiych7swwcmblkiq77aw3rjlno5vt7obgkte3veqls2yelv7vyue";
    assert!(!ipfs.cid_exists(absent).unwrap());
    assert!(!ipfs.cid_exists("no-such-name").unwrap());
    let error = ipfs.cid_exists("/ipfs/no-cid").unwrap_err();
    assert_eq!(error.kind(), "not_a_cid");
    for (error, kind) in [
        (
            ipfs.get_cid_metadata("no-such-name").unwrap_err(),
            "no_such_name",
        ),
        (
            ipfs.load_checkpoint_and_dispatch("no-such-name")
                .unwrap_err(),
            "no_such_name",
        ),
        (
            ipfs.load_checkpoint_and_dispatch(HELLO).unwrap_err(),
            "not_safetensors",
        ),
        (
            ipfs.add_file(&dir.path().join("nothing")).unwrap_err(),
            "file_not_found",
        ),
        (
            ipfs.get_file("a/../b", None).unwrap_err(),
            "bad_target_path",
        ),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert!(
        ipfs.get_cid_metadata(absent)
            .unwrap_err()
            .to_string()
            .contains(absent)
    );
}

#[test]
fn the_configured_device_map_limits_and_profile_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let base = config(&dir.path().join("store"));
    let model = IpfsAccelerate::open(&base)
        .unwrap()
        .add_file(Path::new(MODEL))
        .unwrap();
    let load = |config: &Config| {
        let ipfs = IpfsAccelerate::open(config)?;
        Ok::<_, Error>(ipfs.load_checkpoint_and_dispatch(&model.cid)?.data)
    };
    let mut limited = base.clone();
    limited
        .checkpoint
        .max_memory
        .insert("cpu".into(), "500kB".parse().unwrap());
    let devices = load(&limited).unwrap().report().devices.clone();
    assert!(
        devices[0].bytes <= 500_000 && devices[1].tensors > 0,
        "{devices:?}"
    );

    let map = dir.path().join("map.json");
    fs::write(&map, r#"{"": "disk"}"#).unwrap();
    let mut mapped = base.clone();
    mapped
        .set("checkpoint", "device_map", map.to_str().unwrap())
        .unwrap();
    let loaded = load(&mapped).unwrap();
    assert!(
        loaded
            .iter()
            .all(|(_, placed)| matches!(placed, Placed::Disk(_)))
    );
    fs::write(&map, "[]").unwrap();
    assert_eq!(load(&mapped).unwrap_err().kind(), "wrong_device_map");
    fs::remove_file(&map).unwrap();
    let error = load(&mapped).unwrap_err();
    assert_eq!(error.kind(), "file_not_found");
    assert!(error.to_string().contains("map.json"), "{error}");

    // The profile is that of a store's making, and the store keeps it.
    let mut profile = base.clone();
    profile.set("store", "profile", "kubo-cidv1").unwrap();
    let ipfs = IpfsAccelerate::open(&profile).unwrap();
    assert_eq!(ipfs.add_file(Path::new(MODEL)).unwrap().cid, model.cid);
    let other = dir.path().join("other");
    profile
        .set("store", "path", other.to_str().unwrap())
        .unwrap();
    let ipfs = IpfsAccelerate::open(&profile).unwrap();
    assert_ne!(ipfs.add_file(Path::new(MODEL)).unwrap().cid, model.cid);
}

#[test]
fn two_facades_read_one_store_and_one_of_them_writes() {
    let (dir, config, first) = opened();
    let second = IpfsAccelerate::open(&config).unwrap();
    assert!(second.cid_exists(HELLO).unwrap());
    let error = second.add_file(Path::new(MODEL)).unwrap_err();
    assert_eq!(error.kind(), "locked");
    let model = first.add_file(Path::new(MODEL)).unwrap();
    assert_eq!(
        second
            .load_checkpoint_and_dispatch(&model.cid)
            .unwrap()
            .data
            .len(),
        15
    );
    drop(first);
    second.add_file(&dir.path().join("hello.txt")).unwrap();
}

#[test]
fn a_store_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), b"mine").unwrap();
    let error = IpfsAccelerate::open(&config(dir.path())).unwrap_err();
    assert_eq!(error.kind(), "not_a_store");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_system_info_is_this_machines() {
    let (_dir, _, ipfs) = opened();
    let info = ipfs.get_system_info();
    let read = |path: &str| fs::read_to_string(path).unwrap();
    assert_eq!(info.system, read("/proc/sys/kernel/ostype").trim());
    assert_eq!(info.release, read("/proc/sys/kernel/osrelease").trim());
    assert_eq!(info.machine, std::env::consts::ARCH);
    assert_eq!(
        info.platform,
        format!("{}-{}-{}", info.system, info.release, info.machine)
    );
    assert_eq!(
        info.cores,
        std::thread::available_parallelism().unwrap().get()
    );
    let meminfo = read("/proc/meminfo");
    let total = format!("MemTotal:{:>15} kB", info.memory_bytes / 1024);
    assert!(meminfo.contains(&total), "{total}");
    assert!(!info.processor.is_empty());
    assert_eq!(info.available_hardware[0], "cpu");
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["memory_bytes"], info.memory_bytes);
}

#[test]
fn the_configured_time_is_waited_for_another_writer() {
    let (dir, mut config, ipfs) = opened();
    config.set("store", "lock_timeout", "90ms").unwrap();
    let patient = IpfsAccelerate::open(&config).unwrap();
    let error = patient.store().unwrap_err();
    assert_eq!(error.kind(), "locked");
    assert!(
        error.to_string().ends_with("; waited 90ms for it"),
        "{error}"
    );
    drop(ipfs);
    assert_eq!(patient.store().unwrap().path(), dir.path().join("store"));
}

#[test]
fn the_configured_size_bounds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir.path().join("store"));
    config.set("store", "max_size", "1MiB").unwrap();
    let ipfs = IpfsAccelerate::open(&config).unwrap();
    let large = dir.path().join("large");
    let content: Vec<u8> = (0..1_u32 << 19).flat_map(u32::to_le_bytes).collect();
    fs::write(&large, content).unwrap();
    assert_eq!(ipfs.add_file(&large).unwrap_err().kind(), "quota_exceeded");
}
