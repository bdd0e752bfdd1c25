//! Healing: good bytes from files, folders, other stores and the store itself, each hashed before it is used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipfs_accelerate::{
    AddOptions, Block, Chunker, Cid, FindingKind, HashFunction, HealOptions, HealReport, HealedBy,
    PinOptions, Profile, RAW, RepairOptions, Store, StoreError, StoreReader, VerifyOptions,
    apply_repair, examine, plan_repair,
};

use super::doctor::check;

use super::gc::gc;
use super::store_kit::*;
use super::verify::{assert_whole, change, damage, find, verify};

fn heal(store: &Store, from: &[&Path]) -> HealReport {
    let report = verify(store);
    let from: Vec<PathBuf> = from.iter().map(|path| path.to_path_buf()).collect();
    store.heal(&report, &from, &HealOptions::default()).unwrap()
}

fn raw(bytes: &[u8]) -> Cid {
    *Block::new(RAW, HashFunction::Sha2_256, bytes).cid()
}

/// After a collection the damaged bytes are gone, and the store is whole.
fn assert_healed(store: &Store, report: &HealReport) {
    assert_eq!(report.remaining, [], "{report:?}");
    let verified = verify(store);
    assert_eq!(verified.findings, []);
    gc(store);
    let verified = verify(store);
    assert_whole(&verified);
    assert_eq!(verified.unused_damaged, 0);
}

#[test]
fn damaged_leaves_are_taken_from_the_file_they_were_added_from() {
    for profile in [
        Profile::default(),
        Profile::unixfs_v0_2015(),
        Profile::default().with_hash(HashFunction::Blake3).unwrap(),
        Profile::default().with_chunker(Chunker::TensorV1).unwrap(),
    ] {
        let stage = Stage::new();
        let store = stage.create();
        let content = bytes(1, 5 << 20);
        let path = stage.file("m/weights", &content);
        stage.file("m/other", b"other");
        let options = AddOptions::default().with_profile(profile.clone());
        let cid = store
            .add_path(stage.path("m"), &options.named("m"))
            .unwrap()
            .cid;
        for at in [0, 2 << 20, (2 << 20) + 300_000, (5 << 20) - 1_000] {
            damage(&stage, &content[at..at + 1_000]);
        }
        let found = verify(&store).findings.len();
        assert!(found >= 3, "{found}");
        // The file alone will do, and so does the folder.
        let report = heal(&store, &[&path]);
        assert_eq!(report.healed.len(), found, "{profile}: {report:?}");
        assert!(
            report
                .healed
                .iter()
                .all(|one| one.by == HealedBy::File(path.clone()))
        );
        assert_eq!(report.roots, 1);
        assert_eq!(read(&store, &target("m/weights")), content);
        assert_eq!(store.pins().unwrap()[0].cid, cid);
        assert_healed(&store, &report);
        assert_eq!(read(&store, &target("m/weights")), content);
        drop(store);
        fs::remove_dir_all(stage.store_path().join("db")).unwrap();
        let store = stage.open();
        assert_whole(&verify(&store));
        assert_eq!(
            store
                .add_path(
                    stage.path("m"),
                    &AddOptions::default().with_profile(profile)
                )
                .unwrap()
                .new_bytes,
            0
        );
    }
}

#[test]
fn every_object_over_a_damaged_block_is_healed_and_readers_keep_what_they_have() {
    let stage = Stage::new();
    let store = stage.create();
    let shared = bytes(1, 2 << 20);
    let first = [&shared[..], &bytes(2, 1 << 20)].concat();
    let second = [&bytes(3, 1 << 20)[..], &shared].concat();
    let first_cid = add_bytes(&store, &first).cid;
    let second_cid = add_bytes(&store, &second).cid;
    let mut direct = PinOptions::named("leaf");
    direct.kind = ipfs_accelerate::PinKind::Direct;
    store.pin(&of(raw(&shared[..1 << 20])), &direct).unwrap();
    let mut session = store.session();
    let block = Block::new(RAW, HashFunction::Sha2_256, &shared[..1 << 20]);
    session.put_block(&block).unwrap();
    let lone = Block::new(RAW, HashFunction::Sha2_256, bytes(9, 70_000));
    session.put_block(&lone).unwrap();
    session.commit().unwrap();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let held = reader.open_file(&of(second_cid)).unwrap();
    damage(&stage, &shared[..1 << 20]);
    damage(&stage, lone.data());
    let original = stage.file("original", &first);
    let lone_file = stage.file("lone", lone.data());
    let report = heal(&store, &[&original, &lone_file]);
    assert_eq!(report.remaining, []);
    assert_eq!(
        (report.healed.len(), report.new_bytes),
        (2, (1 << 20) + 70_000)
    );
    // Both objects, the direct pin's, and the session's.
    assert_eq!(report.roots, 4);
    for (cid, content) in [(first_cid, &first), (second_cid, &second)] {
        assert_eq!(&read(&store, &of(cid)), content);
    }
    assert_eq!(store.get_block(lone.cid()).unwrap().data(), lone.data());
    // A file that was open before reads what it can from where it was.
    let mut some = vec![0; 1 << 20];
    held.read_at(0, &mut some).unwrap();
    assert_eq!(some, second[..1 << 20]);
    drop(held);
    assert_healed(&store, &report);
    assert_eq!(store.get_block(lone.cid()).unwrap().data(), lone.data());
    drop(store);
    assert_whole(&verify(&stage.open()));
}

#[test]
fn a_file_whose_leaves_all_move_is_one_piece_again_and_one_that_is_patched_is_stitched() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 6 << 20);
    let path = stage.file("weights", &content);
    let cid = add_bytes(&store, &content).cid;
    damage(&stage, &content[2 << 20..3 << 20]);
    damage(&stage, &content[3 << 20..4 << 20]);
    assert_eq!(heal(&store, &[&path]).healed.len(), 2);
    assert_eq!(store.stat(&of(cid)).unwrap().extents, 3);
    let file = store.to_reader().open_file(&of(cid)).unwrap();
    let whole = file.slice(0..file.size()).unwrap();
    assert_eq!((whole.copied(), &whole[..]), (None, &content[..]));
    drop((whole, file));
    // So that what is damaged next is not what lies about from before.
    gc(&store);
    for chunk in content.chunks(1 << 20) {
        damage(&stage, &chunk[..100_000]);
    }
    let report = heal(&store, &[&path]);
    assert_eq!(report.healed.len(), 6);
    assert_eq!(store.stat(&of(cid)).unwrap().extents, 1);
    assert_eq!(read(&store, &of(cid)), content);
    gc(&store);
    assert_eq!(stage.stored("packs").len(), 2, "its node is where it was");
}

#[test]
fn nodes_are_made_again_from_what_is_below_them() {
    for profile in [Profile::default(), Profile::unixfs_v0_2015()] {
        let stage = Stage::new();
        let store = stage.create();
        let profile = profile
            .with_chunk_bytes(1_000)
            .unwrap()
            .with_max_links(10)
            .unwrap();
        stage.file("m/sub/weights", &bytes(1, 234_567));
        stage.file("m/sub/empty", b"");
        stage.file("m/one", b"one");
        std::os::unix::fs::symlink("one", stage.path("m/link")).unwrap();
        let options = AddOptions::default().with_profile(profile).named("m");
        store.add_path(stage.path("m"), &options).unwrap();
        let object = store.resolve(&target("m")).unwrap();
        let file = object.open("sub/weights").unwrap();
        let sub = object.join("sub").unwrap().cid();
        let link = object.join("link").unwrap().cid();
        for cid in [*file.cid().unwrap(), sub, link, object.cid()] {
            damage(&stage, store.get_block(&cid).unwrap().data());
        }
        drop((object, file));
        let report = heal(&store, &[]);
        assert!(
            report.healed.iter().all(|one| one.by == HealedBy::Rebuilt),
            "{report:?}"
        );
        assert_eq!(report.healed.len(), 4);
        assert_healed(&store, &report);
        assert_eq!(read(&store, &target("m/sub/weights")), bytes(1, 234_567));
    }
}

#[test]
fn a_missing_pack_is_made_good_from_another_store_node_by_node() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(300_000));
    let profile = Profile::default()
        .with_chunk_bytes(50_000)
        .unwrap()
        .with_max_links(3)
        .unwrap();
    stage.file("m/weights", &bytes(1, 900_000));
    stage.file("m/config", b"{}");
    let options = AddOptions::default().with_profile(profile).named("m");
    let cid = store.add_path(stage.path("m"), &options).unwrap().cid;
    let backup = stage.path("backup");
    let other = Store::create(&backup).unwrap();
    other.add_path(stage.path("m"), &options).unwrap();
    drop((store, other));
    for pack in stage.stored("packs") {
        fs::remove_file(pack).unwrap();
    }
    let store = stage.open();
    let found = verify(&store);
    assert!(
        found
            .findings
            .iter()
            .any(|one| one.kind == FindingKind::Pack)
    );
    let report = heal(&store, &[&backup]);
    assert_eq!(report.remaining, [], "{report:?}");
    assert!(
        report
            .healed
            .iter()
            .all(|one| one.by == HealedBy::Store(backup.clone()))
    );
    // What lay below lost nodes could not be told before these were had.
    assert!(
        report.healed.len() > found.findings.len(),
        "{}",
        report.healed.len()
    );
    assert_eq!(read(&store, &target("m/weights")), bytes(1, 900_000));
    assert_whole(&verify(&store));
    let extents = store.stat(&of(cid)).unwrap().extents;
    assert_eq!(extents, 2, "each of the files is in one piece");
}

#[test]
fn good_bytes_that_the_store_has_elsewhere_are_not_written_again() {
    let stage = Stage::new();
    let store = stage.create();
    let chunk = bytes(1, 1 << 20);
    let first = [&chunk[..], &bytes(2, 1 << 20)].concat();
    let second = [&chunk[..], &bytes(3, 1 << 20)].concat();
    let first_cid = add_bytes(&store, &first).cid;
    let second_cid = add_bytes(&store, &second).cid;
    damage(&stage, &chunk);
    assert_eq!(verify(&store).findings.len(), 1);
    // One of them is added anew; the other is over the damaged bytes still.
    add_bytes(&store, &first);
    let report = heal(&store, &[]);
    assert_eq!(report.healed.len(), 1);
    assert_eq!(
        (&report.healed[0].by, report.new_bytes),
        (&HealedBy::Stored, 0)
    );
    assert_healed(&store, &report);
    assert_eq!(read(&store, &of(first_cid)), first);
    assert_eq!(read(&store, &of(second_cid)), second);
}

#[test]
fn wrong_bytes_are_never_taken_for_good_ones() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let cid = add_bytes(&store, &content).cid;
    // A backup that has the same damage, and one that has another.
    let backup = stage.path("backup");
    let other = Store::create(&backup).unwrap();
    add_bytes(&other, &content);
    drop(other);
    let pack = fs::read_dir(backup.join("packs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let in_backup = fs::read(&pack).unwrap();
    let at = in_backup
        .windows(64)
        .position(|w| w == &content[..64])
        .unwrap();
    change(&pack, at as u64, |byte| !byte);
    let mut changed = content.clone();
    changed[1 << 20] ^= 1;
    let changed = stage.file("changed", &changed);
    damage(&stage, &content[..1 << 20]);
    damage(&stage, &content[1 << 20..2 << 20]);
    let before = verify(&store);
    let report = heal(&store, &[&backup]);
    assert_eq!((report.healed.len(), report.remaining.len()), (1, 1));
    assert_eq!(report.remaining[0].block, Some(raw(&content[..1 << 20])));
    let error = store.to_reader().read(&of(cid)).unwrap_err();
    assert!(matches!(error, StoreError::KnownDamage { .. }), "{error}");
    // What one lacks the other has.
    let report = heal(&store, &[&backup, &changed]);
    assert_eq!(report.remaining, []);
    assert_eq!(read(&store, &of(cid)), content);
    // The old report names blocks that are healed by now.
    let report = store
        .heal(&before, &[changed], &HealOptions::default())
        .unwrap();
    assert_eq!(report.new_bytes, 0, "{report:?}");
    assert_eq!(read(&store, &of(cid)), content);
}

#[test]
fn a_healing_that_is_told_to_stop_or_fails_leaves_the_store_as_it_was() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let path = stage.file("weights", &content);
    add_bytes(&store, &content);
    damage(&stage, &content[..1 << 20]);
    let report = verify(&store);
    let mut options = HealOptions::default();
    options.cancel = Some(std::sync::Arc::new(true.into()));
    let from = [path];
    let error = refused(&stage, || store.heal(&report, &from, &options));
    assert!(matches!(error, StoreError::Cancelled), "{error}");
    let nowhere = [stage.path("nowhere")];
    let error = refused(&stage, || {
        store.heal(&report, &nowhere, &HealOptions::default())
    });
    assert!(matches!(error, StoreError::File(_)), "{error}");
    let healed = store.heal(&report, &from, &HealOptions::default()).unwrap();
    assert_eq!(healed.healed.len(), 1);
}

#[test]
fn a_pack_whose_header_is_damaged_is_healed_out_of() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    let path = stage.file("weights", &content);
    let cid = add_bytes(&store, &content).cid;
    let (pack, _) = find(&stage, &content[..1_000]);
    drop(store);
    change(&pack, 60, |byte| !byte);
    let store = stage.open();
    let report = heal(&store, &[&path]);
    assert_eq!(report.healed.len(), 4);
    assert_eq!(read(&store, &of(cid)), content);
    // The pack itself is for a repair.
    let kinds: Vec<_> = report
        .remaining
        .iter()
        .map(|one| (one.kind, &one.file))
        .collect();
    assert_eq!(kinds, [(FindingKind::Pack, &pack)]);
    let targets = VerifyOptions::default().with_targets([of(cid)]);
    assert_eq!(store.verify(&targets).unwrap().findings, []);
}

#[test]
fn blocks_that_only_a_loose_root_covers_are_healed_once() {
    let stage = Stage::new();
    let store = stage.create();
    let blocks: Vec<Block> = (0..4)
        .map(|seed| Block::new(RAW, HashFunction::Sha2_256, bytes(seed, 90_000)))
        .collect();
    let mut session = store.session();
    for block in &blocks {
        session.put_block(block).unwrap();
    }
    session.commit().unwrap();
    let good = stage.file("good", &bytes(2, 90_000));
    damage(&stage, &bytes(2, 90_000)[..1_000]);
    let report = heal(&store, &[&good]);
    assert_eq!((report.healed.len(), report.remaining.len()), (1, 0));
    let verified = verify(&store);
    assert_eq!(verified.findings, []);
    assert_eq!(verified.unused_damaged, 1);
    gc(&store);
    assert_whole(&verify(&store));
    for block in &blocks {
        assert_eq!(store.get_block(block.cid()).unwrap(), *block);
    }
}

#[test]
fn the_store_that_had_the_bytes_is_named_and_nothing_is_damaged_any_more() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3 << 20);
    add_bytes(&store, &content);
    let others = ["bad", "good"].map(|name| {
        let path = stage.path(name);
        add_bytes(&Store::create(&path).unwrap(), &content);
        path
    });
    let part = &content[1 << 20..2 << 20];
    damage(&stage, part);
    for pack in fs::read_dir(others[0].join("packs")).unwrap() {
        let pack = pack.unwrap().path();
        let stored = fs::read(&pack).unwrap();
        let at = stored.windows(64).position(|window| *window == part[..64]);
        change(&pack, at.unwrap() as u64 + 100, |byte| byte ^ 4);
    }
    let report = heal(&store, &[&others[0], &others[1]]);
    assert_eq!(report.remaining, []);
    assert_eq!(report.healed.len(), 1);
    assert_eq!(report.healed[0].by, HealedBy::Store(others[1].clone()));
    // The retired root covers the damaged bytes still, until they are collected.
    assert_eq!(
        StoreReader::open(stage.store_path())
            .unwrap()
            .space()
            .unwrap()
            .damaged_bytes,
        0
    );
    drop(store);
    let health = examine(stage.store_path(), &Default::default());
    assert_eq!(check(&health, "damage").found, "none on record");
}

/// What a table that was made again lost, because the node that led there was damaged too, is found as missing once that
/// node is whole.
#[test]
fn what_a_repaired_table_lost_is_healed_with_the_node_above_it() {
    let stage = Stage::new();
    let store = stage.create();
    let weights = bytes(1, 8 << 20);
    stage.file("m/weights", &weights);
    stage.file("m/config", b"{}");
    let options = AddOptions::default().named("m");
    store.add_path(stage.path("m"), &options).unwrap();
    drop(store);
    let pack = stage.stored("packs").remove(0);
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(&pack).unwrap();
    file.set_len(3 << 20).unwrap();
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    apply_repair(&plan).unwrap();
    let store = stage.open();
    let found = verify(&store).findings.len();
    let report = heal(&store, &[&stage.path("m")]);
    assert_eq!(report.remaining, []);
    assert!(report.healed.len() > found, "{report:?}");
    assert_eq!(read(&store, &target("m/weights")), weights);
    assert_healed(&store, &report);
    assert_eq!(read(&store, &target("m/weights")), weights);
}

#[test]
fn what_is_found_below_a_healed_node_remains_where_nobody_has_it() {
    let stage = Stage::new();
    // A pack of the leaves, and one of the nodes.
    let store = stage.create_with(small_packs(2 << 20));
    let content = bytes(1, 2 << 20);
    let options = AddOptions::default().named("f");
    let cid = store.add_reader(&content[..], &options).unwrap().cid;
    let node = store.get_block(&cid).unwrap();
    let backup = stage.path("backup");
    let other = Store::create(&backup).unwrap();
    add_bytes(&other, &content);
    drop((store, other));
    let in_backup = fs::read_dir(backup.join("packs")).unwrap().next().unwrap();
    let in_backup = in_backup.unwrap().path();
    let stored = fs::read(&in_backup).unwrap();
    for chunk in content.chunks(1 << 20) {
        let at = stored.windows(64).position(|window| *window == chunk[..64]);
        change(&in_backup, at.unwrap() as u64, |byte| !byte);
    }
    damage(&stage, node.data());
    let (leaves, _) = find(&stage, &content[..64]);
    fs::remove_file(&leaves).unwrap();
    let store = stage.open();
    let report = heal(&store, &[&backup]);
    let healed: Vec<Cid> = report.healed.iter().map(|one| one.block).collect();
    assert_eq!(healed, [cid]);
    assert_eq!(report.healed[0].finding.block, Some(cid));
    let left: Vec<_> = report
        .remaining
        .iter()
        .map(|one| (one.kind, &one.file))
        .collect();
    let missing = (FindingKind::MissingBlock, &leaves);
    assert_eq!(left, [missing, missing, (FindingKind::Pack, &leaves)]);
    assert_eq!(report.remaining, verify(&store).findings);
}

#[test]
fn the_nodes_of_folders_follow_from_the_folder_that_was_added() {
    let profiles = [Profile::default(), Profile::unixfs_v0_2015()];
    for profile in profiles {
        let profile = profile.with_chunk_bytes(20_000).unwrap();
        let stage = Stage::new();
        let store = stage.create();
        let weights = bytes(1, 300_000);
        stage.file("m/sub/weights", &weights);
        stage.file("m/sub/empty", b"");
        stage.file("m/.hidden", b"not added");
        for number in 0..3_000 {
            let name = format!("m/wide/{number:0100}");
            stage.file(&name, format!("{number}").as_bytes());
        }
        std::os::unix::fs::symlink("sub/weights", stage.path("m/link")).unwrap();
        let options = AddOptions::default().with_profile(profile).named("m");
        let cid = store.add_path(stage.path("m"), &options).unwrap().cid;
        drop(store);
        for pack in stage.stored("packs") {
            fs::remove_file(pack).unwrap();
        }
        let store = stage.open();
        let report = heal(&store, &[&stage.path("m")]);
        assert_eq!(report.remaining, [], "{} healed", report.healed.len());
        let root = report.healed.iter().find(|one| one.block == cid).unwrap();
        assert_eq!(root.by, HealedBy::File(stage.path("m")));
        assert_eq!(read(&store, &target("m/sub/weights")), weights);
        assert_healed(&store, &report);
    }
}
