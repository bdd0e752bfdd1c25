//! Promise I5, the loading half: a tensor comes out of the store with the bytes that went in, without
//! being copied unless alignment or fragmentation forbids it; the report says what was copied and why.

use std::fs;
use std::path::Path;

use ipfs_accelerate::checkpoint::{
    Dispatched, Dtype, LazyTensor, LoadOptions, LoadPlan, LoadReport, Placed, PlainFolder, Tensor,
    load_checkpoint_and_dispatch,
};
use ipfs_accelerate::{
    AddOptions, CopyReason, LeafFormat, PinAs, Profile, RemoveOptions, Store, StoreOptions,
    StoreReader, Target,
};

use crate::load_files::*;

/// Every dtype of the safetensors crate, in its own order.
const DTYPES: [Dtype; 22] = [
    Dtype::BOOL,
    Dtype::F4,
    Dtype::F6_E2M3,
    Dtype::F6_E3M2,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8_E5M2,
    Dtype::F8_E4M3,
    Dtype::F8_E8M0,
    Dtype::F8_E4M3FNUZ,
    Dtype::F8_E5M2FNUZ,
    Dtype::I16,
    Dtype::U16,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I32,
    Dtype::U32,
    Dtype::F32,
    Dtype::C64,
    Dtype::F64,
    Dtype::I64,
    Dtype::U64,
];

#[track_caller]
fn assert_zero_copy(loaded: &Dispatched) {
    assert_adds_up(loaded);
    assert_eq!(loaded.report().copies, [].into());
    assert_eq!(loaded.report().copied_bytes, 0);
    for (info, placed) in loaded.iter() {
        assert_eq!(placed.mapped().unwrap().copied(), None, "{}", info.name);
    }
}

#[test]
fn every_source_gives_the_bytes_that_the_safetensors_crate_reads() {
    let scratch = Scratch::new();
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    for (folder, shards) in [(SINGLE, 1), (SHARDED, 3)] {
        let expected = by_the_crate(&shards_of(Path::new(folder)));
        let added = scratch
            .store
            .add_path(folder, &AddOptions::default())
            .unwrap();
        let target = added.cid.into();
        let plain = PlainFolder::assume_unchanging(folder);
        for (source, loaded) in [
            ("store", load(&scratch.store, &target)),
            ("reader", load(&reader, &target)),
            ("own reader", load(&scratch.store.to_reader(), &target)),
            ("folder", load(&plain, &".".parse().unwrap())),
        ] {
            println!("{folder} from the {source}");
            assert_same(&on_host(&loaded), &expected);
            assert_zero_copy(&loaded);
            assert_eq!(loaded.report().shards, shards);
            assert_eq!(loaded.len(), 15);
            assert!(loaded.get("no such tensor").is_none());
            assert!(loaded.device_of("no such tensor").is_none());
            for name in expected.keys() {
                assert_eq!(loaded.device_of(name), Some("cpu"));
                assert!(loaded.tensor(name).unwrap().bytes() == expected[name].2);
            }
        }
    }
}

#[test]
fn a_checkpoint_is_named_by_cid_pin_path_or_its_index() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    let expected = by_the_crate(&shards_of(Path::new(SHARDED)));
    let added = store
        .add_path(SHARDED, &AddOptions::default().named("vad"))
        .unwrap();
    let shard = "model-00001-of-00003.safetensors";
    let first = by_the_crate(&[Path::new(SHARDED).join(shard)]);
    let models = scratch.path("models");
    fs::create_dir_all(models.join("a/b")).unwrap();
    for file in fs::read_dir(SHARDED).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(file.path(), models.join("a/b").join(file.file_name())).unwrap();
    }
    store
        .add_path(&models, &AddOptions::default().named("models"))
        .unwrap();
    let cid = added.cid;
    let shard_cid = store
        .stat(&format!("vad/{shard}").parse().unwrap())
        .unwrap()
        .cid;
    let nested = store.stat(&"models/a/b".parse().unwrap()).unwrap().cid;
    assert_eq!(nested, cid);

    let whole = [
        cid.to_string(),
        format!("/ipfs/{cid}"),
        format!("ipfs://{cid}/"),
        cid.to_string_of_base(cid::multibase::Base::Base58Btc)
            .unwrap(),
        "vad".into(),
        format!("vad/{INDEX}"),
        format!("{cid}/{INDEX}"),
        "models/a/b".into(),
        format!("models/a/b/{INDEX}"),
    ];
    let one = [
        format!("{cid}/{shard}"),
        format!("vad/{shard}"),
        shard_cid.to_string(),
    ];
    let targets = (whole.iter().map(|t| (t, &expected))).chain(one.iter().map(|t| (t, &first)));
    let reader = StoreReader::open(store.path()).unwrap();
    for (text, expected) in targets {
        println!("{text}");
        let target: Target = text.parse().unwrap();
        assert_same(&on_host(&load(store, &target)), expected);
        assert_same(&on_host(&load(&reader, &target)), expected);
    }
    let plain = PlainFolder::assume_unchanging(&models);
    for text in ["a/b".to_owned(), format!("a/b/{INDEX}")] {
        assert_same(&on_host(&load(&plain, &text.parse().unwrap())), &expected);
    }
    let plain = PlainFolder::assume_unchanging(SHARDED);
    assert_same(&on_host(&load(&plain, &INDEX.parse().unwrap())), &expected);
    assert_same(&on_host(&load(&plain, &shard.parse().unwrap())), &first);
}

#[test]
fn a_folder_is_resolved_in_the_documented_order() {
    let scratch = Scratch::new();
    let (model, adapter, other) = (small(&["model"]), small(&["adapter"]), small(&["other"]));
    let shard_index = index(&[("other", "other.safetensors")]);
    let mut files: Vec<(&str, &[u8])> = vec![
        ("other.safetensors", &other),
        ("config.json", b"{}"),
        ("sub/model.safetensors", &model),
    ];
    let loaded = |files: &[(&str, &[u8])]| {
        let loaded = scratch.load(scratch.add_folder(files));
        loaded
            .iter()
            .map(|(info, _)| info.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(loaded(&files), ["other"]);
    files.push(("adapter_model.safetensors", &adapter));
    assert_eq!(loaded(&files), ["adapter"]);
    files.push(("model.safetensors", &model));
    assert_eq!(loaded(&files), ["model"]);
    files.push(("x.safetensors.index.json", &shard_index));
    assert_eq!(loaded(&files), ["other"]);
}

#[test]
fn shards_may_lie_in_folders_below_the_index() {
    let scratch = Scratch::new();
    let (a, b) = (small(&["a"]), small(&["b"]));
    let places = index(&[
        ("a", "parts/1.safetensors"),
        ("b", "parts/deep/2.safetensors"),
    ]);
    let cid = scratch.add_folder(&[
        ("parts/1.safetensors", &a),
        ("parts/deep/2.safetensors", &b),
        (INDEX, &places),
    ]);
    let loaded = scratch.load(cid);
    let expected = in_bytes(&a).into_iter().chain(in_bytes(&b)).collect();
    assert_same(&on_host(&loaded), &expected);
}

#[test]
fn every_dtype_of_the_safetensors_crate_is_loaded_without_a_copy() {
    let scratch = Scratch::new();
    let views = DTYPES.map(|dtype| {
        let data = noise(8 * dtype.bitsize(), dtype.bitsize() as u64);
        (format!("{dtype:?}"), dtype, data)
    });
    let views = views.iter().map(|(name, dtype, data)| {
        (
            name,
            safetensors::tensor::TensorView::new(*dtype, vec![2, 8, 4], data).unwrap(),
        )
    });
    let file = safetensors::serialize(views, None).unwrap();
    let expected = in_bytes(&file);
    assert_eq!(expected.len(), DTYPES.len());
    let loaded = scratch.load(scratch.add_file(&file));
    assert_same(&on_host(&loaded), &expected);
    assert_zero_copy(&loaded);
    for (_, placed) in loaded.iter() {
        let tensor = placed.mapped().unwrap();
        let size = (tensor.dtype().bitsize() / 8).max(1);
        let part = if tensor.dtype() == Dtype::C64 {
            4
        } else {
            size
        };
        assert!(
            tensor.bytes().as_ptr().addr().is_multiple_of(part),
            "{tensor:?}"
        );
    }
}

/// A byte tensor in front puts the others on odd addresses.
fn misaligned() -> Vec<u8> {
    file_from(
        &[
            ("bytes", Dtype::U8, &[3]),
            ("floats", Dtype::F32, &[2, 3]),
            ("bits", Dtype::F4, &[2]),
            ("halves", Dtype::BF16, &[1]),
            ("more", Dtype::I8, &[2]),
        ],
        1024,
        &noise(3 + 24 + 1 + 2 + 2, 5),
    )
}

#[test]
fn misaligned_tensors_are_copied_and_counted_as_such() {
    let scratch = Scratch::new();
    let file = misaligned();
    let cid = scratch.add_file(&file);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.safetensors"), &file).unwrap();
    let plain = PlainFolder::assume_unchanging(folder.path());
    for loaded in [scratch.load(cid), load(&plain, &".".parse().unwrap())] {
        assert_same(&on_host(&loaded), &in_bytes(&file));
        assert_adds_up(&loaded);
        let report = loaded.report();
        assert_eq!(report.copies, [(CopyReason::Misaligned, 24)].into());
        assert_eq!((report.zero_copy_bytes, report.copied_bytes), (8, 24));
        for (name, why) in [
            ("bytes", None),
            ("floats", Some(CopyReason::Misaligned)),
            ("bits", None),
            ("halves", None),
            ("more", None),
        ] {
            assert_eq!(loaded.tensor(name).unwrap().copied(), why, "{name}");
        }
        let floats = loaded.tensor("floats").unwrap();
        assert!(floats.bytes().as_ptr().cast::<f32>().is_aligned());
    }
}

#[test]
fn empty_tensors_and_empty_checkpoints_are_loaded() {
    let scratch = Scratch::new();
    let file = file_from(
        &[
            ("first", Dtype::F64, &[0]),
            ("some", Dtype::U8, &[5]),
            ("between", Dtype::F32, &[7, 0, 3]),
            ("more", Dtype::I8, &[3]),
            ("last", Dtype::F32, &[0, 1 << 40]),
            ("scalar", Dtype::I64, &[]),
            ("end", Dtype::BOOL, &[0]),
        ],
        2048,
        &noise(16, 1),
    );
    let loaded = scratch.load(scratch.add_file(&file));
    assert_same(&on_host(&loaded), &in_bytes(&file));
    assert_zero_copy(&loaded);
    assert_eq!(loaded.tensor("last").unwrap().shape(), [0, 1 << 40]);

    for header in ["{}", r#"{"__metadata__":{"format":"pt"}}"#] {
        let loaded = scratch.load(scratch.add_file(&raw_file(header, b"")));
        assert!(loaded.is_empty());
        assert_zero_copy(&loaded);
    }
    let empty = file_from(&[("none", Dtype::F32, &[0])], 128, b"");
    let loaded = scratch.load(scratch.add_file(&empty));
    assert_eq!(loaded.tensor("none").unwrap().bytes(), b"");
}

#[test]
fn metadata_is_kept_and_the_first_shard_wins() {
    let scratch = Scratch::new();
    let with = |metadata: &str, name: &str| {
        let header = format!(
            r#"{{"__metadata__":{metadata},"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#
        );
        raw_file(&header, b"x")
    };
    let first = with(r#"{"format":"pt","\u00e9":"\u0000"}"#, "a");
    let second = with(r#"{"format":"tf","only":"here"}"#, "b");
    let places = index(&[("a", "1.safetensors"), ("b", "2.safetensors")]);
    let cid = scratch.add_folder(&[
        ("1.safetensors", &first),
        ("2.safetensors", &second),
        (INDEX, &places),
    ]);
    let loaded = scratch.load(cid);
    let metadata: Vec<(&str, &str)> = loaded
        .metadata()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(metadata, [("format", "pt"), ("only", "here"), ("é", "\0")]);
}

#[test]
fn a_tensor_outlives_its_store_its_checkpoint_and_the_removal_of_its_object() {
    let Scratch { dir, store } = Scratch::new();
    let expected = by_the_crate(&shards_of(Path::new(SHARDED)));
    let cid = store.add_path(SHARDED, &AddOptions::default()).unwrap().cid;
    let options = LoadOptions::default().with_max_memory("cpu", 800_000);
    let reader = StoreReader::open(store.path()).unwrap();
    let loaded = load_checkpoint_and_dispatch(&reader, &cid.into(), options).unwrap();
    let clone = loaded.clone();
    drop(loaded);
    let (mut kept, mut lazy): (Vec<Tensor>, Vec<LazyTensor>) = Default::default();
    for (_, placed) in clone.iter() {
        match placed {
            Placed::Mapped(tensor) => kept.push(tensor.clone()),
            Placed::Disk(tensor) => lazy.push(tensor.clone()),
            other => panic!("{other:?}"),
        }
    }
    assert!(!kept.is_empty() && !lazy.is_empty());
    drop((clone, reader));
    store
        .remove(&cid.into(), &RemoveOptions::with_unpin())
        .unwrap();
    assert!(!store.to_reader().has(&cid.into()).unwrap());
    drop(store);

    let check = |tensor: &Tensor| assert!(tensor[..] == expected[tensor.name()].2);
    lazy.iter()
        .for_each(|tensor| check(&tensor.load().unwrap()));
    // Gone from the folder altogether, as a later collection may have it.
    dir.close().unwrap();
    let reads = kept.into_iter().map(|tensor| {
        let bytes = expected[tensor.name()].2.clone();
        std::thread::spawn(move || assert!(tensor[..] == bytes))
    });
    let reads: Vec<_> = reads.collect();
    reads.into_iter().for_each(|read| read.join().unwrap());
    lazy.iter()
        .for_each(|tensor| check(&tensor.load().unwrap()));
}

#[test]
fn what_a_load_gives_crosses_threads_and_borrows_nothing() {
    fn check<T: Send + Sync + 'static>() {}
    fn check_clone<T: Clone>() {}
    check::<Dispatched>();
    check::<Dispatched<Vec<u8>>>();
    check::<Tensor>();
    check::<LazyTensor>();
    check::<Placed<String>>();
    check::<LoadOptions>();
    check::<LoadPlan>();
    check::<LoadReport>();
    check::<PlainFolder>();
    check::<Store>();
    check::<StoreReader>();
    check_clone::<Tensor>();
    check_clone::<Dispatched<std::sync::Mutex<u8>>>();
}

#[test]
fn a_file_over_several_packs_stays_without_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.pack_bytes = 2 << 20;
    let store = Store::create_with(dir.path().join("store"), options).unwrap();
    let len = (9 << 20) + 12_344;
    let data = noise(len, 9);
    let (head, tail) = ((3 << 20) + 4, (6 << 20) + 12_340);
    let file = file_from(
        &[
            ("head", Dtype::F32, &[head / 4]),
            ("tail", Dtype::F32, &[tail / 4]),
        ],
        4096,
        &data,
    );
    let expected = in_bytes(&file);
    // Framed leaves load by copying, whatever their packs.
    let raw = |profile: &Profile| profile.leaves() == LeafFormat::Raw;
    let profiles: Vec<Profile> = Profile::all().into_iter().filter(raw).collect();
    assert_eq!(profiles.len(), 2);
    for profile in profiles {
        let pin = format!("in {profile}");
        let add = AddOptions::default().with_profile(profile).named(pin);
        let cid = store.add_reader(&file[..], &add).unwrap().cid;
        assert!(store.stat(&cid.into()).unwrap().extents > 2);
        let loaded = load(&store, &cid.into());
        assert_zero_copy(&loaded);
        assert_same(&on_host(&loaded), &expected);
    }
}

#[test]
fn tensors_over_pieces_that_do_not_meet_at_pages_are_gathered() {
    const BLOCK: usize = 1000;
    let scratch = Scratch::new();
    let small_blocks = AddOptions::default()
        .with_profile(Profile::default().with_chunk_bytes(BLOCK).unwrap())
        .with_pin(PinAs::No);
    let there = noise(40 * BLOCK, 3);
    scratch.store.add_reader(&there[..], &small_blocks).unwrap();

    // The data is made of blocks that are there, in another order.
    let order = [7, 3, 30, 31, 32, 9, 1];
    let blocks = order.map(|block| &there[block * BLOCK..][..BLOCK]);
    let file = file_from(
        &[
            ("one", Dtype::F64, &[125]),
            ("over_two", Dtype::F32, &[250, 2]),
            ("rest_of_a_run", Dtype::U8, &[2000]),
            ("ends", Dtype::I16, &[500, 2]),
        ],
        BLOCK,
        &blocks.concat(),
    );
    let added = scratch.store.add_reader(&file[..], &small_blocks).unwrap();
    assert_eq!(added.new_bytes, BLOCK as u64);
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let loaded = load(&reader, &added.cid.into());
    assert_same(&on_host(&loaded), &in_bytes(&file));
    assert_adds_up(&loaded);
    for (name, why) in [
        ("one", None),
        ("over_two", Some(CopyReason::Fragmented)),
        ("rest_of_a_run", None),
        ("ends", Some(CopyReason::Fragmented)),
    ] {
        assert_eq!(loaded.tensor(name).unwrap().copied(), why, "{name}");
    }
    assert_eq!(
        loaded.report().copies,
        [(CopyReason::Fragmented, 4000)].into()
    );

    // Left on disk they are gathered when they are asked for.
    let options = LoadOptions::default().with_max_memory("cpu", 0);
    let on_disk = load_checkpoint_and_dispatch(&reader, &added.cid.into(), options).unwrap();
    assert_eq!(on_disk.report().copied_bytes, 0);
    for (info, placed) in on_disk.iter() {
        let tensor = placed.disk().unwrap().load().unwrap();
        assert!(tensor[..] == *loaded.tensor(&info.name).unwrap().bytes());
        assert_eq!(tensor.copied(), loaded.tensor(&info.name).unwrap().copied());
    }
}

#[test]
fn a_checkpoint_that_shares_its_last_block_is_stitched_or_gathered_with_the_right_bytes() {
    let scratch = Scratch::new();
    let options = AddOptions::default();
    let data = noise((2 << 20) + 5000, 4);
    let file = file_from(
        &[
            ("a", Dtype::U8, &[1 << 20]),
            ("b", Dtype::U8, &[(1 << 20) + 5000]),
        ],
        4096,
        &data,
    );
    // The file's last leaf is there first, in a small run of its own, on no page boundary.
    let tail = &file[2 << 20..];
    scratch
        .store
        .add_reader(&b"in front"[..], &options)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), b"some bytes in front").unwrap();
    fs::write(folder.path().join("b"), tail).unwrap();
    scratch.store.add_path(folder.path(), &options).unwrap();

    let added = scratch.store.add_reader(&file[..], &options).unwrap();
    assert_eq!(added.shared_bytes, tail.len() as u64);
    let loaded = scratch.load(added.cid);
    assert_same(&on_host(&loaded), &in_bytes(&file));
    assert_adds_up(&loaded);
    let expected = [(CopyReason::Fragmented, (1 << 20) + 5000)];
    assert_eq!(loaded.report().copies, expected.into());
}
