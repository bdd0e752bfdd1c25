//! Verification: every byte that a tensor gets was hashed, from the object's CID down, and nothing damaged is placed.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ipfs_accelerate::checkpoint::{
    Device, DeviceError, DeviceMap, DevicePlan, LoadOptions, PlainFolder, Residency, Select,
    StagingBuf, TensorBytes, load_checkpoint_and_dispatch,
};
use ipfs_accelerate::{
    AddOptions, Chunker, Cid, Explain, HashFunction, LoadError, PinAs, Profile, StoreReader, Target,
};
use proptest::prelude::*;

use crate::load_files::*;

fn profiles() -> Vec<Profile> {
    let mut profiles = Profile::all();
    let default = Profile::default;
    profiles.push(default().with_hash(HashFunction::Blake3).unwrap());
    profiles.push(default().with_chunker(Chunker::TensorV1).unwrap());
    profiles.push(
        default()
            .with_chunk_bytes(1_000)
            .unwrap()
            .with_max_links(3)
            .unwrap(),
    );
    profiles
}

fn verified(residency: Residency) -> LoadOptions {
    LoadOptions::default()
        .with_residency(residency)
        .with_verification()
}

#[test]
fn what_is_whole_loads_under_every_profile_and_residency() {
    let expected = by_the_crate(&shards_of(Path::new(SHARDED)));
    for profile in profiles() {
        let scratch = Scratch::new();
        let add = AddOptions::default().with_profile(profile.clone());
        let cid = scratch.store.add_path(SHARDED, &add).unwrap().cid;
        let reader = StoreReader::open(scratch.store.path()).unwrap();
        for &residency in Residency::ALL {
            let loaded =
                load_checkpoint_and_dispatch(&reader, &cid.into(), verified(residency)).unwrap();
            assert_same(&on_host(&loaded), &expected);
            assert_adds_up(&loaded);
            let report = loaded.report();
            assert!(
                report.verified_bytes >= report.bytes,
                "{profile} {residency:?}"
            );
            assert!(
                report.verified_bytes < report.bytes + (3 << 20),
                "each chunk once"
            );
        }
    }
}

#[test]
fn a_path_through_a_sharded_folder_is_proven_too() {
    let scratch = Scratch::new();
    let long = "n".repeat(200);
    let mut files: Vec<(String, Vec<u8>)> = (0..1_500)
        .map(|i| (format!("large/{long}{i}"), vec![i as u8; 3]))
        .collect();
    files.push(("large/m.safetensors".into(), small(&["a", "b"])));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (&**n, &**c)).collect();
    let cid = scratch.add_folder(&files);
    let large: Target = format!("{cid}/large/m.safetensors").parse().unwrap();
    let loaded =
        load_checkpoint_and_dispatch(&scratch.store, &large, verified(Residency::Lazy)).unwrap();
    assert_eq!(loaded.len(), 2);
}

#[test]
fn plain_files_cannot_be_verified_and_it_is_said() {
    let plain = PlainFolder::assume_unchanging(SINGLE);
    let error = error_of(&plain, &".".parse().unwrap(), verified(Residency::Lazy));
    assert_error(
        &error,
        "nothing_to_verify",
        &[SINGLE, "no CID"],
        Some("store"),
    );
}

/// Changes bytes of packs, wherever they stand.
fn damage(store: &Path, what: &[u8]) {
    let mut found = 0;
    for pack in fs::read_dir(store.join("packs")).unwrap() {
        let pack = pack.unwrap().path();
        let content = fs::read(&pack).unwrap();
        let places = content.windows(what.len()).enumerate();
        for (at, _) in places.filter(|(_, window)| *window == what) {
            fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
            let file = fs::OpenOptions::new().write(true).open(&pack).unwrap();
            file.write_all_at(&[content[at] ^ 1], at as u64).unwrap();
            found += 1;
        }
    }
    assert!(found > 0, "nothing was damaged");
}

/// Keeps the names of what it was given, and takes it by staging if it is to.
#[derive(Default)]
struct Taker {
    staging: bool,
    placed: Mutex<Vec<String>>,
    aborted: Mutex<usize>,
}

impl Device for Taker {
    type Handle = Vec<u8>;
    fn capacity_bytes(&self) -> Option<u64> {
        None
    }
    fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
        Ok(())
    }
    fn staging(&self, len: usize) -> Option<StagingBuf> {
        self.staging.then(|| StagingBuf::new(vec![0; len]))
    }
    fn place(&self, tensor: TensorBytes<'_>) -> Result<Vec<u8>, DeviceError> {
        self.placed
            .lock()
            .unwrap()
            .push(tensor.info.name.to_string());
        Ok(tensor.bytes().to_vec())
    }
    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn abort(&self) {
        *self.aborted.lock().unwrap() += 1;
    }
}

/// A checkpoint whose tensors share chunks with their neighbours and have some of their own, and the bytes of its tensor `b`.
fn three() -> (Vec<u8>, Vec<u8>) {
    use ipfs_accelerate::checkpoint::Dtype::U8;
    let tensors: [(&str, _, &[usize]); 3] = [
        ("a", U8, &[2_500_000]),
        ("b", U8, &[3_300_000]),
        ("c", U8, &[900_000]),
    ];
    let data = noise(6_700_000, 9);
    let b = data[2_500_000..5_800_000].to_vec();
    (file_from(&tensors, 4096, &data), b)
}

#[test]
fn one_wrong_bit_is_an_error_that_names_it_and_no_tensor_over_it_is_placed() {
    let (file, b) = three();
    for profile in profiles() {
        let scratch = Scratch::new();
        let options = AddOptions::default()
            .with_profile(profile.clone())
            .with_pin(PinAs::No);
        let cid = scratch.store.add_reader(&file[..], &options).unwrap().cid;
        // In the middle of `b`, in a chunk that is all its own.
        damage(scratch.store.path(), &b[1_000_000..1_000_032]);
        let target: Target = cid.into();
        for &residency in Residency::ALL {
            load_checkpoint_and_dispatch(
                &scratch.store,
                &target,
                LoadOptions::default().with_residency(residency),
            )
            .expect("nobody asked");
            let error = error_of(&scratch.store, &target, verified(residency));
            let says = ["bytes at offset", "are not those of block", ".pack"];
            assert_error(&error, "corrupt", &says, Some("verify --heal"));

            for staging in [false, true] {
                let taker = Arc::new(Taker {
                    staging,
                    ..Taker::default()
                });
                let mut options =
                    LoadOptions::with_devices(vec![("gpu".to_owned(), Arc::clone(&taker))])
                        .with_residency(residency)
                        .with_verification();
                options.threads = 2;
                let error = error_of(&scratch.store, &target, options);
                assert_eq!(error.kind(), "corrupt", "{error}");
                let placed = taker.placed.lock().unwrap();
                assert!(!placed.contains(&"b".to_owned()), "{placed:?}");
                assert_eq!(*taker.aborted.lock().unwrap(), 1);
            }
        }
        // What is not loaded is not looked at.
        let select = |options: LoadOptions, name: &'static str| {
            options.with_select(move |tensor| match *tensor.name == *name {
                true => Select::Whole,
                false => Select::Skip,
            })
        };
        let only = select(verified(Residency::Populate), "c");
        load_checkpoint_and_dispatch(&scratch.store, &target, only).unwrap();
        let only = select(verified(Residency::Populate), "b");
        assert_eq!(error_of(&scratch.store, &target, only).kind(), "corrupt");
    }
}

#[test]
fn a_tensor_left_on_disk_is_verified_when_it_is_loaded() {
    let (file, b) = three();
    for profile in profiles() {
        let scratch = Scratch::new();
        let add = AddOptions::default().with_profile(profile.clone());
        let cid = scratch.store.add_reader(&file[..], &add).unwrap().cid;
        let map = DeviceMap::from_json(r#"{"": "disk"}"#).unwrap();
        let whole = || verified(Residency::Lazy).with_device_map(map.clone());
        let strided = || {
            whole().with_select(|tensor| Select::Slice {
                dim: 0,
                range: 1..tensor.shape[0] - 1,
            })
        };
        damage(scratch.store.path(), &b[1_000_000..1_000_032]);
        for options in [whole(), strided()] {
            let loaded =
                load_checkpoint_and_dispatch(&scratch.store, &cid.into(), options).unwrap();
            for (info, placed) in loaded.iter() {
                let tensor = placed.disk().unwrap().load();
                match &*info.name {
                    "b" => assert_eq!(tensor.unwrap_err().kind(), "corrupt", "{profile}"),
                    _ => assert!(
                        file.windows(64)
                            .any(|w| w == &tensor.as_ref().unwrap()[..64])
                    ),
                }
            }
        }
    }
}

#[test]
fn damage_in_headers_indexes_and_nodes_is_found() {
    let expect = |cid: Cid, scratch: &Scratch, kinds: &[&str]| {
        let error = error_of(&scratch.store, &cid.into(), verified(Residency::Lazy));
        assert!(kinds.contains(&error.kind()), "{}: {error}", error.kind());
    };
    // The header: one blank becomes another white space, which no parser minds.
    let scratch = Scratch::new();
    let file = file_from(
        &[("a", ipfs_accelerate::checkpoint::Dtype::U8, &[4])],
        4096,
        b"abcd",
    );
    let cid = scratch.add_folder(&[("m.safetensors", &file)]);
    damage(scratch.store.path(), &[&[b' '; 100][..], b"abcd"].concat());
    expect(cid, &scratch, &["corrupt"]);

    // The index.
    let scratch = Scratch::new();
    let json = index(&[("a", "m.safetensors")]);
    let cid = scratch.add_folder(&[("m.safetensors", &file), (INDEX, &json)]);
    damage(scratch.store.path(), &json[..10]);
    expect(cid, &scratch, &["corrupt"]);

    // The folder's node, and an inner node of the file: found by the names and CIDs in them.
    let scratch = Scratch::new();
    let cid = scratch.add_folder(&[("m.safetensors", &file)]);
    damage(scratch.store.path(), b"m.safetensors");
    let error = error_of(&scratch.store, &cid.into(), verified(Residency::Lazy));
    let says = ["node", &cid.to_string(), ".pack at "];
    assert_error(&error, "corrupt", &says, Some("verify --heal"));
    let (large, _) = three();
    let cid = scratch.add_file(&large);
    let first = ipfs_accelerate::leaf(&large[..1 << 20], &Profile::default()).cid;
    // Not in the table at the end, which the loader does not read: there the CID has its length before it.
    damage(
        scratch.store.path(),
        &[&[0x12, 0x2a + 8, 0x0a, 36], &first.to_bytes()[..]].concat()[3..],
    );
    expect(cid, &scratch, &["corrupt"]);
}

#[test]
fn the_memory_cap_holds_while_chunks_are_shared_and_hashed() {
    use ipfs_accelerate::checkpoint::Dtype;
    let scratch = Scratch::new();
    let tensors: [(&str, Dtype, &[usize]); 3] = [
        ("odd", Dtype::U8, &[1]),
        ("x", Dtype::F32, &[200]),
        ("y", Dtype::F32, &[300]),
    ];
    let file = file_from(&tensors, 256, &noise(2_001, 1));
    let target: Target = scratch.add_file(&file).into();
    for threads in [1, 4] {
        let taker = Arc::new(Taker::default());
        let mut options = LoadOptions::with_devices(vec![("gpu".to_owned(), Arc::clone(&taker))])
            .with_verification();
        options.threads = threads;
        options.memory_cap = Some(1_200);
        let loaded =
            load_checkpoint_and_dispatch(&scratch.store, &target, options.clone()).unwrap();
        assert_eq!(loaded.report().copied_bytes, 2_000);
        let expected = in_bytes(&file);
        for (info, placed) in loaded.iter() {
            assert!(*placed.device().unwrap() == expected[&*info.name].2);
        }
        options.memory_cap = Some(1_199);
        let error = error_of(&scratch.store, &target, options);
        assert!(matches!(error, LoadError::MemoryCap { .. }), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any cut of any tensors under any chunking and residency, against the same cut made by hand.
    #[test]
    fn any_selection_gives_the_bytes_of_the_file(
        rows in prop::collection::vec((1_usize..40, 1_usize..60), 1..6),
        chunk in prop::sample::select(vec![7_usize, 64, 1_000, 4_096, 65_536]),
        residency in prop::sample::select(Residency::ALL.to_vec()),
        verify: bool,
        framed: bool,
        threads in 1_usize..4,
        seed: u64,
        dim in 0_usize..2,
        to_device: bool,
        staging: bool,
    ) {
        use ipfs_accelerate::checkpoint::Dtype::U8;
        use ipfs_accelerate::LeafFormat;
        let names: Vec<String> = (0..rows.len()).map(|i| format!("t.{i}")).collect();
        let shapes: Vec<[usize; 2]> = rows.iter().map(|&(a, b)| [a, b]).collect();
        let tensors: Vec<_> = names.iter().zip(&shapes).map(|(n, s)| (&**n, U8, &s[..])).collect();
        let len = rows.iter().map(|(a, b)| a * b).sum();
        let file = file_from(&tensors, 1024, &noise(len, seed));
        let scratch = Scratch::new();
        let leaves = if framed { LeafFormat::DagPb } else { LeafFormat::Raw };
        let profile = Profile::default()
            .with_chunk_bytes(chunk)
            .and_then(|p| p.with_leaves(leaves))
            .and_then(|p| p.with_max_links(4))
            .unwrap();
        let add = AddOptions::default().with_profile(profile).with_pin(PinAs::No);
        let cid = scratch.store.add_reader(&file[..], &add).unwrap().cid;

        let taker = Arc::new(Taker { staging, ..Taker::default() });
        let devices = match to_device {
            true => vec![("gpu".to_owned(), taker)],
            false => vec![],
        };
        let mut options = LoadOptions::with_devices(devices)
            .with_residency(residency)
            .with_select(move |tensor| {
                let len = tensor.shape[dim];
                Select::Slice { dim, range: len / 3..len - len / 4 }
            });
        options.verify = verify;
        options.threads = threads;
        let loaded = load_checkpoint_and_dispatch(&scratch.store, &cid.into(), options).unwrap();
        assert_adds_up(&loaded);
        let whole = in_bytes(&file);
        prop_assert_eq!(loaded.len(), rows.len());
        for (info, placed) in loaded.iter() {
            let (_, shape, bytes) = &whole[&*info.name];
            let cut = |len: usize| len / 3..len - len / 4;
            let expected: Vec<u8> = bytes
                .chunks(shape[1])
                .enumerate()
                .filter(|(row, _)| dim == 1 || cut(shape[0]).contains(row))
                .flat_map(|(_, row)| if dim == 1 { &row[cut(shape[1])] } else { row })
                .copied()
                .collect();
            let found = match placed.device() {
                Some(bytes) => bytes.clone(),
                None => placed.mapped().unwrap().bytes().to_vec(),
            };
            prop_assert!(found == expected, "{}", info.name);
        }
    }
}
