//! Verification: what is damaged is found, named, put on record and refused, and nothing else is.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipfs_accelerate::{
    AddOptions, Block, Cid, Explain, Finding, FindingKind, HashFunction, LeafFormat, LoadOptions,
    PinKind, PinOptions, Profile, RAW, Store, StoreError, StoreReader, VerifyOptions, VerifyReport,
    load_checkpoint_and_dispatch,
};

use super::gc::{gc, remove};
use super::store_kit::*;

pub(crate) fn verify(store: &Store) -> VerifyReport {
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.is_complete && report.is_recorded);
    report
}

#[track_caller]
pub(crate) fn assert_whole(report: &VerifyReport) {
    assert_eq!(report.findings, [], "{report:?}");
    assert_eq!(report.cleared, []);
    assert_eq!(report.blocks, report.of_blocks);
}

/// Changes bytes of a sealed file, as a failing disk does.
pub(crate) fn change(path: &Path, offset: u64, change: impl Fn(u8) -> u8) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[change(byte[0])], offset).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Where bytes lie in the packs of a store.
pub(crate) fn find(stage: &Stage, bytes: &[u8]) -> (PathBuf, u64) {
    for pack in stage.stored("packs") {
        let content = fs::read(&pack).unwrap();
        let found = content.windows(bytes.len()).position(|w| w == bytes);
        if let Some(at) = found {
            return (pack, at as u64);
        }
    }
    panic!("the bytes are in no pack");
}

/// Flips a bit of stored bytes; says where they lie.
pub(crate) fn damage(stage: &Stage, bytes: &[u8]) -> (PathBuf, u64) {
    let (pack, offset) = find(stage, bytes);
    change(&pack, offset + bytes.len() as u64 / 2, |byte| byte ^ 4);
    (pack, offset)
}

fn raw(bytes: &[u8]) -> Cid {
    *Block::new(RAW, HashFunction::Sha2_256, bytes).cid()
}

fn small_chunks() -> Profile {
    Profile::default().with_chunk_bytes(100_000).unwrap()
}

/// Every kind of content: folders in folders, a sharded one, links, empty and framed files, blocks on their own,
/// pins inside objects, over several packs.
fn full(stage: &Stage) -> Store {
    let store = stage.create_with(small_packs(300_000));
    stage.file("m/sub/deep/weights", &bytes(1, 900_000));
    stage.file("m/sub/empty", b"");
    stage.file("m/config", b"{}");
    symlink("config", stage.path("m/link")).unwrap();
    let options = AddOptions::default().with_profile(small_chunks());
    store
        .add_path(stage.path("m"), &options.clone().named("m"))
        .unwrap();
    let blake = small_chunks().with_hash(HashFunction::Blake3).unwrap();
    for profile in [Profile::unixfs_v0_2015(), blake, Profile::kubo_cidv1()] {
        let content = bytes(2, 700_000);
        let options = AddOptions::default().with_profile(profile);
        store.add_reader(&content[..], &options).unwrap();
    }
    for number in 0..3_000 {
        stage.file(
            &format!("wide/{number:0100}"),
            format!("{number}").as_bytes(),
        );
    }
    store.add_path(stage.path("wide"), &options).unwrap();
    let leaf = raw(&bytes(1, 900_000)[..100_000]);
    let mut direct = PinOptions::named("leaf");
    direct.kind = PinKind::Direct;
    store.pin(&of(leaf), &direct).unwrap();
    store
        .pin(&target("m/sub"), &PinOptions::named("sub"))
        .unwrap();
    let mut session = store.session();
    for seed in 10..13 {
        let block = Block::new(RAW, HashFunction::Sha2_256, bytes(seed, 5_000));
        session.put_block(&block).unwrap();
    }
    session.commit().unwrap();
    store
}

#[test]
fn a_whole_store_has_no_findings_and_every_block_is_read_once() {
    let stage = Stage::new();
    let store = full(&stage);
    let report = verify(&store);
    assert_whole(&report);
    let totals = store.totals().unwrap();
    assert_eq!(report.blocks, totals.blocks);
    assert_eq!(report.packs, totals.packs);
    assert!(report.bytes >= 900_000 + 3 * 700_000);
    assert!(report.objects >= 6, "{}", report.objects);
    // What is gone by a collection is not read.
    let gone = add_bytes(&store, &bytes(50, 400_000)).cid;
    assert!(verify(&store).blocks > report.blocks);
    remove(&store, gone);
    gc(&store);
    assert_whole(&verify(&store));
    assert_eq!(verify(&store).blocks, report.blocks);
}

#[test]
fn a_target_is_read_as_far_as_it_goes() {
    let stage = Stage::new();
    let store = full(&stage);
    let of_target = |text: &str| {
        let options = VerifyOptions::default().with_targets([target(text)]);
        let report = store.verify(&options).unwrap();
        assert_whole(&report);
        (report.blocks, report.bytes)
    };
    let (blocks, bytes_of_file) = of_target("m/sub/deep/weights");
    // Nine leaves, the file's node, and the three folders that lead there.
    assert_eq!(blocks, 9 + 1 + 3);
    assert!(
        (900_000..910_000).contains(&bytes_of_file),
        "{bytes_of_file}"
    );
    let (blocks, few) = of_target("m/config");
    assert_eq!((blocks, few < 1_000), (2, true));
    assert!(of_target("m").0 > 13);
    assert_eq!(of_target("leaf").1, 100_000);
    // Damage outside of it is not its own.
    damage(&stage, &bytes(1, 900_000)[300_000..400_000]);
    of_target("m/config");
    let options = VerifyOptions::default().with_targets([target("m/sub")]);
    let report = store.verify(&options).unwrap();
    assert_eq!(report.findings.len(), 1);
    let missing = VerifyOptions::default().with_targets([target("nothing")]);
    let error = store.verify(&missing).unwrap_err();
    assert!(matches!(error, StoreError::NoSuchName { .. }), "{error}");
}

/// The whole way: what the disk changed is found, refused, added anew, and the old bytes go.
#[test]
fn i3_immutable_damage_is_found_refused_healed_by_an_add_and_collected() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 4 << 20);
    let path = stage.file("weights", &content);
    let other = stage.file(
        "other",
        &[&bytes(7, 1 << 20)[..], &content[1 << 20..2 << 20]].concat(),
    );
    let cid = store.add_path(&path, &AddOptions::default()).unwrap().cid;
    let other_cid = store.add_path(&other, &unpinned()).unwrap().cid;
    let chunk = &content[1 << 20..2 << 20];
    let (pack, offset) = damage(&stage, chunk);

    // Before it is looked for, an add cannot know.
    let again = store.add_path(&path, &AddOptions::default()).unwrap();
    assert_eq!((again.cid, again.new_bytes), (cid, 0));
    assert_ne!(read(&store, &of(cid)), content);

    let report = verify(&store);
    let [finding] = &report.findings[..] else {
        panic!("{report:?}");
    };
    assert_eq!(finding.kind, FindingKind::CorruptBlock);
    assert_eq!(
        (&finding.file, finding.offset, finding.len),
        (&pack, Some(offset), Some(1 << 20))
    );
    assert_eq!(finding.block, Some(raw(chunk)));
    assert_eq!(finding.expected, raw(chunk).to_string());
    let mut changed = chunk.to_vec();
    changed[1 << 19] ^= 4;
    assert_eq!(finding.found, raw(&changed).to_string());
    let mut concerned: Vec<Cid> = finding.affected.iter().map(|one| one.object).collect();
    concerned.sort();
    let mut both = [cid, other_cid];
    both.sort();
    assert_eq!(concerned, both);

    refuses(&stage, &store, cid, raw(chunk));
    // Another process sees the record too, and keeps to it after reopening.
    drop(store);
    let store = stage.open();
    refuses(&stage, &store, cid, raw(chunk));
    assert_eq!(
        verify(&store).findings,
        report.findings,
        "it is still there"
    );

    let again = store.add_path(&path, &AddOptions::default()).unwrap();
    assert_eq!((again.cid, again.new_bytes), (cid, 1 << 20));
    assert_eq!(read(&store, &of(cid)), content);
    assert_eq!(store.get_block(&raw(chunk)).unwrap().data(), chunk);
    // The other object is over the damaged bytes still.
    let [finding] = &verify(&store).findings[..] else {
        panic!();
    };
    assert_eq!(finding.affected.len(), 1);
    assert_eq!(finding.affected[0].object, other_cid);
    let again = store.add_path(&other, &unpinned()).unwrap();
    assert_eq!((again.cid, again.new_bytes), (other_cid, 0));

    // What nothing needs any more is no finding, and a collection takes it.
    let report = verify(&store);
    assert_eq!((report.findings.len(), report.unused_damaged), (0, 1));
    let freed = gc(&store).freed_bytes;
    assert!(freed >= 1 << 20, "{freed}");
    let report = verify(&store);
    assert_whole(&report);
    assert_eq!(report.unused_damaged, 0);
    for (cid, path) in [(cid, &path), (other_cid, &other)] {
        assert_eq!(read(&store, &of(cid)), fs::read(path).unwrap());
    }
}

/// Whatever reads the damaged block of the object is told that it is on record.
fn refuses(stage: &Stage, store: &Store, cid: Cid, block: Cid) {
    let known = |what: &str, error: StoreError| {
        assert!(
            matches!(error, StoreError::KnownDamage { .. }),
            "{what}: {error}"
        );
        assert!(error.hint().unwrap().contains("verify --heal"), "{what}");
    };
    let reader = StoreReader::open(stage.store_path()).unwrap();
    known("read", reader.read(&of(cid)).unwrap_err());
    known("get_block", store.get_block(&block).unwrap_err());
    assert!(!store.has_block(&block).unwrap());
    let output = stage.path("out");
    let exported = reader.export(&of(cid), &output, &Default::default());
    known("export", exported.unwrap_err());
    assert!(!output.exists(), "nothing is left of it");
    let file = reader.open_file(&of(cid)).unwrap();
    known("slice", file.slice(0..file.size()).unwrap_err());
    let map = Arc::new(file.map().unwrap());
    let bad = 1 << 20..(1 << 20) + 10;
    known("map", map.slice(bad.clone()).unwrap_err());
    assert!(map.get(bad).is_none());
    // What is not damaged is read as before.
    assert_eq!(map.get(0..1 << 20).map(<[u8]>::len), Some(1 << 20));
    file.slice(2 << 20..3 << 20).unwrap();
    assert_eq!(reader.stat(&of(cid)).unwrap().damaged_bytes, 1 << 20);
    let listed = reader.objects().unwrap();
    let listed = listed.iter().find(|one| one.cid == cid).unwrap();
    assert_eq!(listed.damaged_bytes, 1 << 20);
}

#[test]
fn i7_calm_damaged_nodes_and_framed_leaves_are_named_with_the_path_they_belong_to() {
    let stage = Stage::new();
    let store = full(&stage);
    let content = bytes(20, 700_000);
    let options = AddOptions::default().with_profile(Profile::unixfs_v0_2015());
    assert_eq!(options.profile.leaves(), LeafFormat::DagPb);
    let framed = store.add_reader(&content[..], &options).unwrap();
    let weights = *store
        .resolve(&target("m/sub/deep/weights"))
        .unwrap()
        .file()
        .unwrap()
        .cid()
        .unwrap();
    let node = store.get_block(&weights).unwrap();
    let (node_pack, node_at) = damage(&stage, node.data());
    let leaf = &content[300_000..500_000];
    let (leaf_pack, leaf_at) = damage(&stage, leaf);
    let report = verify(&store);
    assert_eq!(report.findings.len(), 2, "{report:?}");
    let by = |file: &Path, at: u64| -> &Finding {
        let within = |one: &&Finding| {
            let start = one.offset.unwrap();
            one.file == file && (start..start + one.len.unwrap()).contains(&at)
        };
        report.findings.iter().find(within).unwrap()
    };
    let found = by(&node_pack, node_at);
    assert_eq!(found.block, Some(weights));
    let paths: Vec<&str> = found.affected.iter().map(|one| one.path.as_str()).collect();
    assert!(
        paths.contains(&"sub/deep/weights") && paths.contains(&"deep/weights"),
        "{paths:?}"
    );
    let found = by(&leaf_pack, leaf_at);
    assert_eq!(found.affected[0].object, framed.cid);
    // The proof of a file below a node that is on record is refused before it is read.
    let mut load = LoadOptions::default();
    load.verify = true;
    let error = store.resolve(&target("m/sub")).unwrap().stat().unwrap_err();
    assert!(matches!(error, StoreError::KnownDamage { .. }), "{error}");
    let error = store.get_node(&weights).unwrap_err();
    assert!(matches!(error, StoreError::KnownDamage { .. }), "{error}");
    drop(store);
    let store = stage.open();
    assert_eq!(verify(&store).findings, report.findings);
}

#[test]
fn a_load_refuses_what_is_on_record_with_and_without_proof() {
    let stage = Stage::new();
    let store = stage.create();
    let cid = store
        .add_path("fixtures/silero-vad-sharded", &AddOptions::default())
        .unwrap()
        .cid;
    let shard = fs::read_dir("fixtures/silero-vad-sharded").unwrap();
    let shard = shard
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .unwrap();
    let content = fs::read(shard).unwrap();
    damage(&stage, &content[content.len() - 5_000..]);
    assert_eq!(verify(&store).findings.len(), 1);
    let reader = StoreReader::open(stage.store_path()).unwrap();
    for proof in [false, true] {
        let mut options = LoadOptions::default();
        options.verify = proof;
        let error = load_checkpoint_and_dispatch(&reader, &of(cid), options).unwrap_err();
        assert!(error.to_string().contains("recorded as damaged"), "{error}");
    }
}

#[test]
fn a_pack_that_is_missing_or_cut_off_is_found_with_every_block_that_is_lost() {
    for cut in [false, true] {
        let stage = Stage::new();
        let store = stage.create_with(small_packs(300_000));
        let content = bytes(1, 900_000);
        let options = AddOptions::default().with_profile(small_chunks());
        let cid = store.add_reader(&content[..], &options).unwrap().cid;
        drop(store);
        let (pack, _) = find(&stage, &content[..1_000]);
        let mut held = Vec::new();
        let stored = fs::read(&pack).unwrap();
        for chunk in content.chunks(100_000) {
            if stored.windows(1_000).any(|w| w == &chunk[..1_000]) {
                held.push(raw(chunk));
            }
        }
        assert!(held.len() >= 3, "{}", held.len());
        match cut {
            true => {
                fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
                let file = fs::File::options().write(true).open(&pack).unwrap();
                file.set_len(stored.len() as u64 - 10_000).unwrap();
            }
            false => fs::remove_file(&pack).unwrap(),
        }
        let store = stage.open();
        let report = verify(&store);
        let of_kind = |kind| report.findings.iter().filter(move |one| one.kind == kind);
        let lost: Vec<Cid> = of_kind(FindingKind::MissingBlock)
            .map(|one| one.block.unwrap())
            .collect();
        held.sort();
        let mut sorted = lost.clone();
        sorted.sort();
        assert_eq!(sorted, held);
        for one in of_kind(FindingKind::MissingBlock) {
            assert_eq!((&one.file, one.affected[0].object), (&pack, cid));
        }
        let packs: Vec<_> = of_kind(FindingKind::Pack).collect();
        assert_eq!(packs.len(), 1);
        assert_eq!((&packs[0].file, packs[0].affected[0].object), (&pack, cid));
        assert_eq!(report.findings.len(), held.len() + 1);
        // The same content heals it.
        store.add_reader(&content[..], &options).unwrap();
        assert_eq!(read(&store, &of(cid)), content);
    }
}

#[test]
fn blocks_of_a_pack_without_a_table_are_read_all_the_same() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let cid = add_bytes(&store, &content).cid;
    let pack = stage.stored("packs").remove(0);
    let len = fs::metadata(&pack).unwrap().len();
    change(&pack, len - 20, |byte| !byte);
    let report = verify(&store);
    let [finding] = &report.findings[..] else {
        panic!("{report:?}");
    };
    assert_eq!(finding.kind, FindingKind::Pack);
    assert!(
        finding.expected.contains("table checksum"),
        "{}",
        finding.expected
    );
    assert_eq!(finding.affected[0].object, cid);
    damage(&stage, &content[..1 << 20]);
    let report = verify(&store);
    assert_eq!(report.findings.len(), 2);
    assert_eq!(report.findings[0].kind, FindingKind::CorruptBlock);
    assert_eq!(report.findings[0].block, Some(raw(&content[..1 << 20])));
    let error = read_error(&store, cid);
    assert!(matches!(error, StoreError::KnownDamage { .. }), "{error}");
}

fn read_error(store: &Store, cid: Cid) -> StoreError {
    store.to_reader().read(&of(cid)).unwrap_err()
}

#[test]
fn roots_and_names_that_are_damaged_or_alone_are_found() {
    let stage = Stage::new();
    let store = full(&stage);
    let names = stage.store_path().join("names");
    let roots = stage.store_path().join("roots");
    let m = store.pins().unwrap();
    let m = m.iter().find(|pin| pin.name == "m").unwrap().cid;
    change(&names.join("sub"), 60, |byte| !byte);
    change(&roots.join(m.to_string()), 100, |byte| !byte);
    let alone = add_bytes(&store, b"alone").cid;
    store.pin(&of(alone), &PinOptions::named("alone")).unwrap();
    fs::remove_file(roots.join(alone.to_string())).unwrap();
    fs::write(roots.join("stranger"), "x").unwrap();
    let report = verify(&store);
    let mut found: Vec<_> = report
        .findings
        .iter()
        .map(|one| {
            (
                one.kind,
                one.file.file_name().unwrap().to_str().unwrap().to_owned(),
            )
        })
        .collect();
    found.sort();
    let mut expected = [
        (FindingKind::Root, m.to_string()),
        (FindingKind::Root, "stranger".to_owned()),
        (FindingKind::Name, "alone".to_owned()),
        (FindingKind::Name, "sub".to_owned()),
    ];
    expected.sort();
    assert_eq!(found, expected);
    let options = VerifyOptions::default().with_targets([target("m")]);
    let report = store.verify(&options).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::Root);
}

#[test]
fn a_root_over_what_a_collection_gave_back_is_refused_found_and_healed() {
    let stage = Stage::new();
    let store = stage.create();
    let x = bytes(1, 250_000);
    stage.file("top/x", &x);
    stage.file("top/y", &bytes(2, 250_000));
    let options = AddOptions::default().with_profile(small_chunks());
    let top = store.add_path(stage.path("top"), &options).unwrap().cid;
    let inner = unpinned().with_profile(small_chunks());
    let x_cid = store.add_path(stage.path("top/x"), &inner).unwrap().cid;
    let root = stage.store_path().join("roots").join(top.to_string());
    let kept = fs::read(&root).unwrap();
    remove(&store, top);
    gc(&store);
    // As from a backup of the roots alone.
    fs::write(&root, kept).unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let error = reader.read(&target(format!("{top}/y"))).unwrap_err();
    assert_eq!(error.kind(), "collected", "{error}");
    let error = store.stat(&target(format!("{top}/y"))).unwrap_err();
    assert_eq!(error.kind(), "collected", "{error}");
    assert!(reader.stat(&of(top)).unwrap().damaged_bytes >= 250_000);
    assert_eq!(reader.read(&target(format!("{top}/x"))).unwrap(), x);
    assert_eq!(reader.stat(&of(x_cid)).unwrap().damaged_bytes, 0);
    for report in [
        verify(&store),
        reader.verify(&VerifyOptions::default()).unwrap(),
        store
            .verify(&VerifyOptions::default().with_targets([of(top)]))
            .unwrap(),
    ] {
        assert!(!report.findings.is_empty(), "{report:?}");
        for finding in &report.findings {
            assert_eq!(finding.kind, FindingKind::MissingBlock, "{finding:?}");
            assert_eq!(finding.affected[0].object, top);
        }
    }
    let report = verify(&store);
    let healed = store
        .heal(&report, &[stage.path("top")], &Default::default())
        .unwrap();
    assert_eq!(healed.remaining, []);
    assert_whole(&verify(&store));
    assert_eq!(read(&store, &target(format!("{top}/y"))), bytes(2, 250_000));
}

#[test]
fn a_block_on_record_that_reads_well_again_is_served_again() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let cid = add_bytes(&store, &content).cid;
    let chunk = &content[1 << 20..2 << 20];
    let (pack, offset) = damage(&stage, chunk);
    assert_eq!(verify(&store).findings.len(), 1);
    let error = read_error(&store, cid);
    assert!(matches!(error, StoreError::KnownDamage { .. }), "{error}");
    change(&pack, offset + (1 << 19), |byte| byte ^ 4);
    // A reader says so, and changes nothing.
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let report = reader.verify(&VerifyOptions::default()).unwrap();
    assert_eq!((report.findings.len(), report.cleared.len()), (0, 1));
    assert!(!report.is_recorded);
    let error = read_error(&store, cid);
    assert!(matches!(error, StoreError::KnownDamage { .. }), "{error}");

    // Of a sample too small for it, what is on record is read besides.
    let report = store
        .verify(&VerifyOptions::default().with_sample(0.000_001))
        .unwrap();
    let [cleared] = &report.cleared[..] else {
        panic!("{report:?}");
    };
    assert_eq!((&cleared.file, cleared.offset), (&pack, offset));
    assert_eq!(cleared.block, raw(chunk));
    assert_eq!(read(&store, &of(cid)), content);
    assert_eq!(store.get_block(&raw(chunk)).unwrap().data(), chunk);
    drop(store);
    assert_eq!(read(&stage.open(), &of(cid)), content);
}

#[test]
fn a_reader_finds_the_same_and_records_nothing() {
    let stage = Stage::new();
    let store = full(&stage);
    let chunk = &bytes(1, 900_000)[200_000..300_000];
    damage(&stage, chunk);
    let gone = fs::read(stage.store_path().join("gone")).unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let report = reader.verify(&VerifyOptions::default()).unwrap();
    assert!(!report.is_recorded && report.is_complete);
    assert_eq!(fs::read(stage.store_path().join("gone")).unwrap(), gone);
    assert_eq!(report.findings.len(), 1);
    let recorded = verify(&store);
    assert_eq!(recorded.findings, report.findings);
    assert_ne!(fs::read(stage.store_path().join("gone")).unwrap(), gone);
}

#[test]
fn a_sample_reads_a_share_and_says_of_how_many() {
    let stage = Stage::new();
    let store = full(&stage);
    let all = verify(&store);
    let options = VerifyOptions::default().with_sample(0.05);
    let report = store.verify(&options).unwrap();
    assert_eq!(report.of_blocks, all.blocks);
    assert_eq!(report.blocks, (all.blocks as f64 * 0.05).ceil() as u64);
    assert_eq!(
        report.objects, all.objects,
        "the structure is checked whole"
    );
    // What it happens upon it finds: half of all blocks is damaged.
    for seed in 1..=2 {
        for chunk in bytes(seed, 700_000).chunks_exact(100_000) {
            damage(&stage, &chunk[..50_000]);
        }
    }
    let found = (0..20).any(|_| {
        let report = StoreReader::open(stage.store_path())
            .unwrap()
            .verify(&options);
        !report.unwrap().findings.is_empty()
    });
    assert!(found);
}

#[test]
fn a_verification_that_is_told_to_stop_records_what_it_found() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 << 20));
    let content = bytes(1, 40 << 20);
    let cid = add_bytes(&store, &content).cid;
    for chunk in content.chunks(1 << 20) {
        damage(&stage, &chunk[..4_096]);
    }
    let flag = Arc::new(AtomicBool::new(false));
    let mut options = VerifyOptions::default();
    options.threads = 1;
    options.cancel = Some(Arc::clone(&flag));
    options.progress = Some(Arc::new(move |at| {
        assert!(at.done_bytes <= at.total_bytes);
        flag.store(at.done_bytes > 10 << 20, Ordering::Relaxed);
    }));
    let report = store.verify(&options).unwrap();
    assert!(!report.is_complete);
    assert!(
        (10..40).contains(&report.findings.len()),
        "{}",
        report.findings.len()
    );
    // The file's node is whole, and may have been read by then.
    assert!(report.blocks - report.findings.len() as u64 <= 1);
    let damaged = store.stat(&of(cid)).unwrap().damaged_bytes;
    assert_eq!(damaged, (report.findings.len() as u64) << 20);
    assert_eq!(verify(&store).findings.len(), 40);
}

#[test]
fn beside_adds_removals_and_collections_there_is_nothing_to_find() {
    let stage = Stage::new();
    let store = stage.create();
    let kept = add_bytes(&store, &bytes(1, 8 << 20)).cid;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 100..130 {
                // Half of it is shared with what stays, so that packs are punched.
                let content = [&bytes(1, 1 << 20)[..], &bytes(seed, 3 << 20)].concat();
                let cid = add_bytes(&store, &content).cid;
                if seed % 3 > 0 {
                    remove(&store, cid);
                    gc(&store);
                }
            }
            done.store(true, Ordering::Release);
        });
        let reader = StoreReader::open(stage.store_path()).unwrap();
        while !done.load(Ordering::Acquire) {
            let options = VerifyOptions::default();
            for report in [store.verify(&options), reader.verify(&options)] {
                let report = report.unwrap();
                assert_eq!(report.findings, [], "{report:?}");
                assert_eq!((report.unused_damaged, report.cleared.len()), (0, 0));
            }
        }
    });
    assert_whole(&verify(&store));
    assert_eq!(read(&store, &of(kept)), bytes(1, 8 << 20));
}
